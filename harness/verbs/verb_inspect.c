/* attest inspect: what attest takes a file to be, before anything is computed from it: every
 * dataset, what was assumed where the file says nothing, and what looks like another layout. The
 * words are made once, as JSON, and printed from there. */
#include "../report/print.h"
#include "../verb.h"
#include "../worker/protocol.h"
#include "../../fixtures/fixture.h"
#include "../../oracle/oracle.h"
#include "../../oracle/text.h"

#include <jansson.h>

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { OPTION_JSON = 256 };

struct options {
    bool json;
    char **paths;
    int64_t path_count;
};

static const struct argp_option argp_options[] = {
    {"json", OPTION_JSON, NULL, 0, "an object a line instead of text", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case OPTION_JSON:
        options->json = true;
        return 0;
    case ARGP_KEY_ARG:
        options->paths[options->path_count++] = argument;
        return 0;
    case ARGP_KEY_END:
        if (options->path_count == 0) argp_error(state, "a fixture file is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .args_doc = "FILE...",
    .doc = "Says what attest takes fixture files to be: the problem, each dataset with its type "
           "and shape, how many keys the rows see, what was assumed where a file says nothing, "
           "what looks as if axes were in another order, and whose answer it holds. Nothing is "
           "computed and nothing is written.",
};

/* A sentence at the end of the list. */
__attribute__((format(printf, 2, 3))) static void say(json_t *list, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    json_array_append_new(list, json_string(text));
}

static json_t *datasets_of(const struct fixture *fixture) {
    json_t *datasets = json_array();
    for (int slot = 0; slot < ATTN_SLOT_COUNT; slot++) {
        const char *type = fixture->source.datasets[slot].type;
        if (*type == '\0') continue;
        json_t *shape = json_array();
        for (int d = 0; d < fixture->source.datasets[slot].rank; d++)
            json_array_append_new(shape, json_integer(fixture->source.datasets[slot].shape[d]));
        json_array_append_new(datasets,
                              json_pack("{s:s, s:s, s:o}", "name", slot_name((enum attn_slot)slot),
                                        "type", type, "shape", shape));
    }
    return datasets;
}

static json_t *traits_of(const struct attn_problem *attn) {
    json_t *traits = json_array();
    for (int r = 0; rules[r] != NULL; r++)
        if (attn->traits & rules[r]->trait)
            json_array_append_new(traits, json_pack("{s:s, s:s}", "trait", rules[r]->name,
                                                    "meaning", rules[r]->meaning));
    return traits;
}

/* The keys that rows see, of all rows within the lengths of their sequences. */
static json_t *rows_of(const struct fixture *fixture) {
    const struct rule_view view = fixture_view(fixture);
    const struct attn_problem *attn = view.problem;
    int64_t rows = 0, empty = 0, least = INT64_MAX, most = 0;
    double keys = 0;
    for (int64_t b = 0; b < attn->batch; b++)
        for (int64_t h = 0; h < attn->q_heads; h++)
            for (int64_t i = 0, q_len = rules_q_len(&view, b); i < q_len; i++, rows++) {
                const int64_t count = rules_keys(&view, b, h, i).count;
                if (count < least) least = count;
                if (count > most) most = count;
                empty += count == 0;
                keys += (double)count;
            }
    return json_pack("{s:I, s:I, s:I, s:f, s:I}", "rows", (json_int_t)rows, "keys_min",
                     (json_int_t)(rows > 0 ? least : 0), "keys_max", (json_int_t)most, "keys_mean",
                     rows > 0 ? keys / (double)rows : 0, "rows_without_a_key", (json_int_t)empty);
}

static json_t *sizes_of(const struct attn_problem *attn) {
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "batch",
                     (json_int_t)attn->batch, "q_heads", (json_int_t)attn->q_heads, "kv_heads",
                     (json_int_t)attn->kv_heads, "q_len", (json_int_t)attn->q_len, "kv_len",
                     (json_int_t)attn->kv_len, "head_dim", (json_int_t)attn->head_dim, "value_dim",
                     (json_int_t)attn->value_dim, "page_size", (json_int_t)attn->page_size, "pages",
                     (json_int_t)attn->pages);
}

static json_t *answer_of(const struct fixture *fixture) {
    const struct answer *answer = &fixture->answer;
    const struct fixture_source *source = &fixture->source;
    if (answer->rows == NULL)
        return json_pack("{s:s}", "state",
                         !source->has_answer          ? "none"
                         : source->answer_says_inputs ? "to other tensors"
                                                      : "does not say to which inputs");
    const bool current = strcmp(answer->oracle, ORACLE_VERSION) == 0;
    return json_pack("{s:s, s:I, s:s, s:s, s:s}", "state",
                     current ? "current" : "by another oracle", "rows",
                     (json_int_t)answer->row_count, "oracle", answer->oracle, "blas", answer->blas,
                     "cpu", answer->cpu);
}

static bool has(const struct fixture *fixture, enum attn_slot slot) {
    return fixture->source.datasets[slot].type[0] != '\0';
}

static json_t *assumed_of(const struct fixture *fixture) {
    const struct fixture_source *source = &fixture->source;
    const struct attn_problem *attn = &fixture->problem.attn;
    json_t *assumed = json_array();
    if (!source->has_dtype)
        say(assumed, "elements are %s, as those of q: there is no attribute 'dtype'",
            dtype_name((enum attn_dtype)attn->dtype));
    else if (strstr(source->datasets[ATTN_Q].type, "float") == NULL)
        say(assumed, "%s are bits of %s: the attribute 'dtype' says so",
            source->datasets[ATTN_Q].type, dtype_name((enum attn_dtype)attn->dtype));
    const enum attn_slot stored = has(fixture, ATTN_KV_CACHE) ? ATTN_KV_CACHE : ATTN_K;
    if (attn->traits & ATTN_KV_E4M3)
        say(assumed, "%s of %s are bits of e4m3: the attribute 'kv_dtype' says so",
            source->datasets[stored].type, slot_name(stored));
    if (attn->traits & ATTN_OUT_E4M3 && !source->has_line)
        say(assumed, "the output is e4m3, times out_scale: it is there");
    if (!source->has_scale)
        say(assumed, "scale is 1/sqrt(%lld): there is no attribute 'scale'",
            (long long)attn->head_dim);
    if (attn->q_len == 1 && source->causal)
        say(assumed, "one query sees all keys: 'causal' changes nothing");
    if (attn->q_len > 1 && !source->has_causal && !source->has_line)
        say(assumed, "queries see keys after themselves: there is no attribute 'causal'");
    if (attn->traits & ATTN_DV && !(attn->traits & ATTN_KSHARED))
        say(assumed, "values and output have %lld elements where keys have %lld: v has",
            (long long)attn->value_dim, (long long)attn->head_dim);
    if (attn->traits & ATTN_PAGE)
        say(assumed, "there are %lld key tokens, as the longest sequence has",
            (long long)attn->kv_len);
    if (attn->traits & ATTN_KEEP_GROUP)
        say(assumed, "%lld query heads share a list: there are lists of %lld heads, as of keys",
            (long long)rule_lists(attn).group, (long long)attn->kv_heads);
    if (has(fixture, ATTN_SPARSE_MASK) && has(fixture, ATTN_SPARSE_IND))
        say(assumed, "sparse_ind and sparse_mask choose the same tokens: kernels are given both");
    else if (has(fixture, ATTN_SPARSE_MASK))
        say(assumed, "sparse_ind is the tokens of sparse_mask in ascending order");
    if (!source->has_line)
        say(assumed, "the line is made of what is in the file, which alone repeats it");
    return assumed;
}

/* Axes in another order give other sizes, and these are seldom what anyone has. */
static json_t *hints_of(const struct fixture *fixture, const json_t *rows) {
    const struct attn_problem *attn = &fixture->problem.attn;
    const long long hq = attn->q_heads, hkv = attn->kv_heads, q = attn->q_len, kv = attn->kv_len;
    const long long dim = attn->head_dim, page = attn->page_size;
    const long long empty = json_integer_value(json_object_get(rows, "rows_without_a_key"));
    const double usual = attn->scale * sqrt((double)dim);
    const bool apart = attn->traits & (ATTN_DV | ATTN_KSHARED);
    json_t *hints = json_array();
    if (page == 0 && kv > 0 && (hq > kv || (q > 1 && hq > q)))
        say(hints,
            "%lld query heads are more than there are tokens (%lld queries, %lld keys): are the "
            "tensors [B,S,H,D]? they are read as [B,H,S,D]",
            hq, q, kv);
    if (page > 0 && hkv > page)
        say(hints,
            "%lld key/value heads are more than a page has tokens (%lld): is %s? it is read as %s",
            hkv, page, apart ? "k [pages,P,Hkv,D]" : "kv_cache [pages,2,P,Hkv,D]",
            apart ? "[pages,Hkv,P,D]" : "[pages,2,Hkv,P,D]");
    if (page == 0 && kv == dim)
        say(hints,
            "k is as long as it is wide (%lld): if it is [B,Hkv,D,S], nothing shows it; it is read "
            "as [B,Hkv,S,D]",
            dim);
    if (dim % 8 != 0)
        say(hints, "%lld elements a head are unusual: is the last axis that of the head dim?", dim);
    if (usual >= 7 || usual <= 1. / 7)
        say(hints, "scale is %.3g times 1/sqrt(%lld): logits are scale * q.k", usual, dim);
    if (empty > 0) say(hints, "%lld rows see no key: their out is 0, their lse -infinity", empty);
    return hints;
}

static json_t *describe(const struct fixture *fixture, const char *path) {
    const struct attn_problem *attn = &fixture->problem.attn;
    json_t *rows = rows_of(fixture), *hints = hints_of(fixture, rows);
    return json_pack("{s:o, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:f, s:o, s:o, s:o, s:o}", "file",
                     path_to_json(path), "variant", variant_name((enum attn_variant)attn->variant),
                     "line", fixture->line, "digest", fixture->digest, "dtype",
                     dtype_name((enum attn_dtype)attn->dtype), "sizes", sizes_of(attn), "traits",
                     traits_of(attn), "rows", rows, "scale", attn->scale, "datasets",
                     datasets_of(fixture), "answer", answer_of(fixture), "assumed",
                     assumed_of(fixture), "hints", hints);
}

/* Printing */

static const char *text_in(const json_t *json, const char *key) {
    return json_string_value(json_object_get(json, key));
}

static long long count_in(const json_t *json, const char *key) {
    return json_integer_value(json_object_get(json, key));
}

/* "1 page", "2 pages"; `many` may end in what they are of. */
static void print_count(const char *before, long long count, const char *one, const char *many) {
    printf("%s%lld %s", before, count, count == 1 ? one : many);
}

/* After its label, wrapped between words. */
static void print_item(const char *label, const char *text) {
    enum { INDENT = 12, WIDTH = 100 };
    char *shown = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&shown, &bytes);
    if (to == NULL) return;
    text_show(to, text);
    if (fclose(to) != 0) return;
    int column = printf("  %-9s", label);
    char *rest = NULL;
    for (char *word = strtok_r(shown, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest)) {
        const int columns = 1 + text_columns(word);
        if (column + columns > WIDTH) {
            printf("\n%*s", INDENT - 1, "");
            column = INDENT - 1;
        }
        printf(" %s", word);
        column += columns;
    }
    putchar('\n');
    free(shown);
}

static void print_sizes(const json_t *sizes) {
    print_count("  sizes     ", count_in(sizes, "batch"), "sequence", "sequences");
    print_count(", ", count_in(sizes, "q_heads"), "query head", "query heads");
    print_count(", ", count_in(sizes, "kv_heads"), "key/value head", "key/value heads");
    print_count(",\n            ", count_in(sizes, "q_len"), "query token", "query tokens");
    print_count(", ", count_in(sizes, "kv_len"), "key token", "key tokens");
    print_count(", ", count_in(sizes, "head_dim"), "element a head", "elements a head");
    if (count_in(sizes, "value_dim") != count_in(sizes, "head_dim"))
        print_count(", ", count_in(sizes, "value_dim"), "a value", "a value");
    if (count_in(sizes, "page_size") > 0) {
        print_count(",\n            ", count_in(sizes, "pages"), "page", "pages");
        print_count(" of ", count_in(sizes, "page_size"), "token", "tokens");
    }
    putchar('\n');
}

static void print_rows(const json_t *rows) {
    const long long least = count_in(rows, "keys_min"), most = count_in(rows, "keys_max");
    print_count("  rows      ", count_in(rows, "rows"), "row sees ", "rows see ");
    if (least == most)
        print_count("", most, "key", "keys");
    else
        printf("%lld to %lld keys, %.4g in the mean", least, most,
               json_real_value(json_object_get(rows, "keys_mean")));
    putchar('\n');
}

static void print_answer(const json_t *answer, const char *path, long long q_len) {
    const char *state = text_in(answer, "state");
    if (json_object_get(answer, "oracle") == NULL) {
        printf("  answer    %s: `attest oracle ", state);
        text_quote(stdout, path);
        fputs("` computes it\n", stdout);
        return;
    }
    char text[512];
    snprintf(text, sizeof text, "%s: %lld of %lld rows a head, '%s', %s", state,
             count_in(answer, "rows"), q_len, text_in(answer, "oracle"), text_in(answer, "blas"));
    print_item("answer", text);
    if (strcmp(state, "current") != 0)
        print_item("",
                   "this program has '" ORACLE_VERSION "', and makes it anew when it is asked for");
}

static void print_text(const json_t *json, const char *path) {
    size_t n, d;
    json_t *item, *size;
    text_show(stdout, path);
    print_plain(stdout, "\n  variant   %s of %s\n  line      %s\n  digest    %s\n",
                text_in(json, "variant"), text_in(json, "dtype"), text_in(json, "line"),
                text_in(json, "digest"));
    print_sizes(json_object_get(json, "sizes"));
    print_rows(json_object_get(json, "rows"));
    json_array_foreach(json_object_get(json, "traits"), n, item) {
        print_item(text_in(item, "trait"), text_in(item, "meaning"));
    }
    printf("  scale     %.17g\n", json_real_value(json_object_get(json, "scale")));
    json_array_foreach(json_object_get(json, "datasets"), n, item) {
        print_plain(stdout, "  dataset   %-16s %s [", text_in(item, "name"), text_in(item, "type"));
        json_array_foreach(json_object_get(item, "shape"), d, size) {
            printf("%s%lld", d > 0 ? ", " : "", (long long)json_integer_value(size));
        }
        printf("]\n");
    }
    print_answer(json_object_get(json, "answer"), path,
                 count_in(json_object_get(json, "sizes"), "q_len"));
    json_array_foreach(json_object_get(json, "assumed"), n, item) {
        print_item("assumed", json_string_value(item));
    }
    json_array_foreach(json_object_get(json, "hints"), n, item) {
        print_item("hint", json_string_value(item));
    }
}

static int inspect_one(const struct options *options, const char *path) {
    struct fixture fixture;
    struct fault fault;
    if (!fixture_load(&fixture, verb_program(), path, &fault)) return fault_tell(&fault);
    json_t *json = describe(&fixture, path);
    fixture_free(&fixture);
    if (options->json) {
        json_dumpf(json, stdout, JSON_COMPACT);
        putchar('\n');
    } else {
        print_text(json, path);
    }
    json_decref(json);
    fflush(stdout);
    return 0;
}

static int inspect_run(int argc, char **argv) {
    struct options options = {.paths = calloc((size_t)argc, sizeof *options.paths)};
    if (options.paths == NULL) return FAULT_OURS;
    argp_err_exit_status = FAULT_INPUT;
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    int status = 0;
    for (int64_t n = 0; n < options.path_count; n++) {
        const int one = inspect_one(&options, options.paths[n]);
        if (status == 0) status = one; /* the other files are inspected all the same */
    }
    free(options.paths);
    return status;
}

const struct verb verb_inspect = {
    .name = "inspect",
    .arguments = "FILE...",
    .summary = "what attest takes fixture files to be",
    .argp = &argp,
    .run = inspect_run,
};
