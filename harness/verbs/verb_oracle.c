/* attest oracle: the exact answer to fixtures made elsewhere, stored in their files; and, for
 * whoever doubts it, how far the plain definition is from it. */
#include "../report/print.h"
#include "../trial/obtain.h"
#include "../verb.h"
#include "../worker/protocol.h"

#include <jansson.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { OPTION_JSON = 256, OPTION_AGAIN, OPTION_DEFINITION, OPTION_ROWS };

struct options {
    bool json, again, definition;
    int threads;
    int64_t rows;
    char **paths;
    int64_t path_count;
};

static const struct argp_option argp_options[] = {
    {"rows", OPTION_ROWS, "N", 0, "answer N query rows of each head, spread over all", 0},
    {"again", OPTION_AGAIN, NULL, 0, "compute answers anew that are there", 0},
    {"definition", OPTION_DEFINITION, NULL, 0,
     "compute it once more by a plain loop in long double, and show the largest difference", 0},
    {"threads", 't', "N", 0, "how many threads compute (default: one a core)", 0},
    {"json", OPTION_JSON, NULL, 0, "an object a line instead of text", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case OPTION_JSON:
        options->json = true;
        return 0;
    case OPTION_AGAIN:
        options->again = true;
        return 0;
    case OPTION_DEFINITION:
        options->definition = true;
        return 0;
    case OPTION_ROWS:
        options->rows = verb_count(argument, 1, INT64_MAX, "rows", state);
        return 0;
    case 't':
        options->threads = (int)verb_count(argument, 1, VERB_THREADS_MAX, "threads", state);
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
    .doc = "Computes the exact answer to fixture files that other programs wrote, and stores it in "
           "them under the digest of their tensors. A file that has its answer is left as it is, "
           "unless another version of the oracle made it.",
};

/* Where two answers to one problem differ most, relative to A = sum p|v|. */
struct difference {
    double out, lse;
    int64_t element; /* of out */
};

static void keep_larger(double *most, double value) {
    if (value > *most || isnan(value)) *most = value;
}

static struct difference differ(const struct answer *answer, const struct answer *other) {
    struct difference difference = {0};
    const int64_t rows = answer->batch * answer->q_heads * answer->row_count;
    for (int64_t n = 0; n < rows * answer->value_dim; n++) {
        const double apart = fabs(answer->out[n] - other->out[n]);
        const double relative = apart == 0 ? 0 : apart / other->p_abs_v[n];
        if (relative > difference.out || isnan(relative)) difference.element = n;
        keep_larger(&difference.out, relative);
    }
    for (int64_t row = 0; row < rows; row++)
        if (answer->lse[row] != other->lse[row])
            keep_larger(&difference.lse, fabs(answer->lse[row] - other->lse[row]));
    return difference;
}

static json_t *describe(const struct fixture *fixture, const char *path,
                        const struct obtain_report *report) {
    const struct answer *answer = &fixture->answer;
    json_t *mass = isfinite(answer->kept_mass) ? json_real(answer->kept_mass) : json_null();
    return json_pack(
        "{s:o, s:s, s:s, s:s, s:I, s:b, s:f, s:f, s:I, s:f, s:o, s:s, s:s, s:s}", "file",
        path_to_json(path), "line", fixture->line, "variant",
        variant_name((enum attn_variant)fixture->problem.attn.variant), "digest", fixture->digest,
        "rows", (json_int_t)answer->row_count, "cached", report->cached, "seconds",
        report->oracle_seconds, "product_flops", report->cost.product_flops, "memory_bytes",
        (json_int_t)report->cost.memory_bytes, "kept_ratio", answer->kept_ratio, "kept_mass", mass,
        "oracle", answer->oracle, "blas", answer->blas, "cpu", answer->cpu);
}

static void print_text(const struct fixture *fixture, const char *path,
                       const struct obtain_report *report) {
    const struct answer *answer = &fixture->answer;
    print_plain(stdout, "%s\n  line        %s\n  variant     %s\n  digest      %s\n", path,
                fixture->line, variant_name((enum attn_variant)fixture->problem.attn.variant),
                fixture->digest);
    print_plain(stdout, "  answer      %lld of %s a head, %s", (long long)answer->row_count,
                number_count(fixture->problem.attn.q_len, "row").text, answer->oracle);
    if (report->cached)
        printf(", as stored\n");
    else
        printf(", %s, %s, stored\n", number_time(report->oracle_seconds * 1e6).text,
               number_rate(report->cost.product_flops / report->oracle_seconds, "FLOP/s").text);
    printf("  kept        %.6g of the tokens, %.6g of the softmax mass\n", answer->kept_ratio,
           answer->kept_mass);
}

static bool compare_definition(const struct options *options, const struct fixture *fixture,
                               struct difference *difference, struct fault *fault) {
    const struct rule_view view = fixture_view(fixture);
    struct answer definition = {0};
    const struct answer *answer = &fixture->answer;
    bool compared =
        definition_answer(&definition, &view, answer->row_count, options->threads, fault);
    if (compared && memcmp(definition.rows, answer->rows,
                           (size_t)answer->row_count * sizeof *answer->rows) != 0)
        compared = fault_set(fault, FAULT_INPUT,
                             "'%s' has an answer to other rows than attest would choose: compute "
                             "it --again",
                             fixture->line);
    if (compared) *difference = differ(answer, &definition);
    answer_free(&definition);
    return compared;
}

static int answer_one(const struct options *options, const char *path) {
    struct obtain_report report = {.cached = false};
    const struct obtain_options obtain = {.program = verb_program(),
                                          .threads = options->threads,
                                          .again = options->again,
                                          .must_store = true,
                                          .rows = options->rows,
                                          .report = &report};
    struct fixture fixture;
    struct fault fault;
    struct difference difference = {0};
    if (!obtain_file(&fixture, path, &obtain, &fault)) return fault_tell(&fault);
    if (options->definition && !compare_definition(options, &fixture, &difference, &fault)) {
        fixture_free(&fixture);
        return fault_tell(&fault);
    }
    if (options->json) {
        json_t *json = describe(&fixture, path, &report);
        if (options->definition) {
            json_object_set_new(json, "definition_out", json_real(difference.out));
            json_object_set_new(json, "definition_lse", json_real(difference.lse));
        }
        print_json(stdout, json, JSON_COMPACT);
    } else {
        print_text(&fixture, path, &report);
        if (options->definition)
            printf("  definition  out differs by at most %.2g of sum p|v| (element %lld), lse by "
                   "%.2g\n",
                   difference.out, (long long)difference.element, difference.lse);
    }
    fflush(stdout);
    fixture_free(&fixture);
    return 0;
}

static int oracle_run(int argc, char **argv) {
    struct options options = {.paths = calloc((size_t)argc, sizeof *options.paths)};
    if (options.paths == NULL) return FAULT_OURS;
    argp_err_exit_status = FAULT_INPUT;
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    int status = 0;
    for (int64_t n = 0; n < options.path_count; n++) {
        const int one = answer_one(&options, options.paths[n]);
        if (status == 0) status = one; /* the other files are answered all the same */
    }
    free(options.paths);
    return status;
}

const struct verb verb_oracle = {
    .name = "oracle",
    .arguments = "FILE...",
    .summary = "answers for files made elsewhere",
    .argp = &argp,
    .run = oracle_run,
};
