/* attest merge: the shards of a run, or a run and what completes it, as one run.
 *
 * Rows do not say which machine they were measured on, the run's first record does; so only runs
 * of machines that are alike, and of one commit, are put together. Where several runs hold a row of
 * the same kernel library and fixture, the last run wins. Which shards there should be is in the
 * runs' commands (--shard I/N); one that is missing is a warning, and the merged run then keeps the
 * shard in its command, so that nobody takes it for the whole.
 *
 * Of a row 48 bytes are kept: a digest of its identity and where it begins. Lines are copied as
 * they are. What takes time is to read JSON, so runs are read side by side. */
#define _GNU_SOURCE
#include "../record/samples.h"
#include "../report/compare.h"
#include "../report/print.h"
#include "../session/shards.h"
#include "../verb.h"
#include "../worker/protocol.h"
#include "../../fixtures/replace.h"
#include "../../fixtures/spread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { OPTION_JSON = 256 };

struct options {
    bool json;
    const char *out;
    const char **paths; /* the runs */
    int64_t count;
};

static const struct argp_option argp_options[] = {
    {"json", OPTION_JSON, NULL, 0, "say what was merged as one object", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case OPTION_JSON:
        options->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (options->out == NULL)
            options->out = argument;
        else
            options->paths[options->count++] = argument;
        return 0;
    case ARGP_KEY_END:
        if (options->count == 0) argp_error(state, "merging takes a new run and those to merge");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .args_doc = "OUT RUN...",
    .doc = "Writes the run OUT with the rows of all RUNs, which must come from machines that are "
           "alike and from one commit. The first record is that of the first RUN. A row that "
           "several runs hold is taken from the last, and so are its samples. Shards that are "
           "missing are named.",
};

/* Where a row is, by what it is told from others, and the place it has among all. */
struct entry {
    XXH128_hash_t identity; /* of line, fixture, kernel and its library */
    int64_t order, at;
    int32_t part;
};
struct entries {
    struct entry *list;
    int64_t count, replaced;
};

/* A run that is merged. */
struct part {
    const char *path;
    struct machine machine;
    bool has_samples;
    struct entries rows;
    struct fault fault; /* of reading them */
};

static XXH128_hash_t identity_of(const struct row *row) {
    char key[PROBLEM_LINE_BYTES + 256];
    const int length = snprintf(key, sizeof key, "%s\n%s\n%s\n%s", row->line, row->fixture_digest,
                                row->kernel, row->library_digest);
    return XXH3_128bits(key, (size_t)length);
}

static bool add_entry(struct entries *entries, const struct entry *entry, struct fault *fault) {
    if ((entries->count & (entries->count + 1)) == 0) { /* 0, 1, 3, 7, ...: room doubles */
        struct entry *more =
            realloc(entries->list, (size_t)(2 * entries->count + 1) * sizeof *more);
        if (more == NULL) return fault_set(fault, FAULT_OURS, "out of memory for the rows");
        entries->list = more;
    }
    entries->list[entries->count] = *entry;
    entries->list[entries->count].order = entries->count;
    entries->count++;
    return true;
}

static int identity_order(const void *left, const void *right) {
    const struct entry *a = left, *b = right;
    const int order = XXH128_cmp(&a->identity, &b->identity);
    return order != 0 ? order : (a->order > b->order) - (a->order < b->order);
}

static int position_order(const void *left, const void *right) {
    const struct entry *a = left, *b = right;
    return (a->order > b->order) - (a->order < b->order);
}

/* Keeps of each row the last, in order. */
static void drop_replaced(struct entries *entries) {
    struct entry *list = entries->list;
    int64_t kept = 0;
    if (entries->count == 0) return;
    qsort(list, (size_t)entries->count, sizeof *list, identity_order);
    for (int64_t n = 0; n < entries->count; n++) {
        if (n + 1 < entries->count && XXH128_isEqual(list[n].identity, list[n + 1].identity))
            continue;
        list[kept++] = list[n];
    }
    entries->replaced = entries->count - kept;
    entries->count = kept;
    qsort(list, (size_t)kept, sizeof *list, position_order);
}

/* Behind the word that begins at `at`, as bash reads it, and the blank after it. */
static const char *word_end(const char *at) {
    for (char quote = '\0'; *at != '\0' && (quote != '\0' || *at != ' '); at++) {
        if (*at == '\\' && at[1] != '\0')
            at++;
        else if (*at == '\'' && (quote == '\0' || quote == '\''))
            quote = quote == '\0' ? '\'' : '\0';
    }
    return at + (*at == ' ');
}

/* Where "--option value" or "--option=value" begins in a command; NULL: nowhere. */
static const char *find_option(const char *command, const char *option) {
    const size_t length = strlen(option);
    for (const char *at = command; at != NULL && *at != '\0'; at = word_end(at)) {
        if (strncmp(at, option, length) == 0 && (at[length] == ' ' || at[length] == '=')) return at;
    }
    return NULL;
}

static const char *without(const char *command, const char *option) {
    const char *at = find_option(command, option);
    char *rest = NULL;
    if (at == NULL) return command;
    const char *end = word_end(at);
    if (at[strlen(option)] == ' ') end = word_end(end);
    if (asprintf(&rest, "%.*s%s", (int)(at - command), command, end) < 0) return command;
    command = text_kept(rest);
    free(rest);
    return command;
}

struct shard {
    int64_t index, of;
};

/* "--shard I/N" in a command. */
static bool shard_find(struct shard *shard, const char *command) {
    static const char option[] = "--shard";
    char value[64];
    const char *at = find_option(command, option);
    if (at == NULL) return false;
    at += sizeof option; /* the blank or '=', too */
    snprintf(value, sizeof value, "%.*s", (int)strcspn(at, " "), at);
    return shards_parse(value, &shard->index, &shard->of);
}

/* Those missing of 1..N, as "2, 5", if any run was a shard; true when none is missing. */
static bool shards_complete(const struct part *parts, int64_t count, char missing[256]) {
    struct shard first, shard;
    missing[0] = 0;
    if (!shard_find(&first, parts[0].machine.command)) return true;
    size_t used = 0;
    for (int64_t index = 1; index <= first.of; index++) {
        bool found = false;
        for (int64_t n = 0; n < count && !found; n++)
            found = shard_find(&shard, parts[n].machine.command) && shard.of == first.of &&
                    shard.index == index;
        if (!found && used < 240)
            used += (size_t)snprintf(missing + used, 256 - used, "%s%lld", used ? ", " : "",
                                     (long long)index);
    }
    return used == 0;
}

static bool write_line(FILE *to, json_t *record) {
    const bool ok = record != NULL && json_dumpf(record, to, JSON_COMPACT) == 0;
    json_decref(record);
    return ok && fputc('\n', to) != EOF;
}

static bool make_folder(const char *folder, char path[4096], struct fault *fault) {
    if (snprintf(path, 4096, "%s/run.jsonl", folder) >= 4096)
        return fault_set(fault, FAULT_INPUT, "the name '%.100s...' is too long", folder);
    if (access(path, F_OK) == 0)
        return fault_set(fault, FAULT_INPUT, "'%s' exists: merging makes a new run", path);
    return mkdir(folder, 0777) == 0 || errno == EEXIST ||
           fault_set(fault, FAULT_INPUT, "cannot make '%s': %s", folder, strerror(errno));
}

struct merging {
    const struct part *parts;
    struct entries entries;
    struct run_reader reader; /* of part `open`; -1: of none */
    int64_t open;
};

static bool open_part(struct merging *merging, int64_t part, struct fault *fault) {
    if (merging->open == part) return true;
    run_close(&merging->reader);
    merging->open = -1;
    if (!run_open(&merging->reader, merging->parts[part].path, fault)) return false;
    merging->open = part;
    return true;
}

static bool copy_lines(struct merging *merging, FILE *to, struct fault *fault) {
    for (int64_t n = 0; n < merging->entries.count; n++) {
        const struct entry *entry = &merging->entries.list[n];
        if (!open_part(merging, entry->part, fault)) return false;
        if (!run_copy(&merging->reader, entry->at, to, fault)) return false;
    }
    return true;
}

static bool write_run(struct merging *merging, const char *path, const struct machine *machine,
                      struct fault *fault) {
    struct replace replace;
    bool ok = replace_begin_entry(&replace, path, fault);
    FILE *to = ok ? fopen(replace.temporary, "we") : NULL;
    if (to != NULL) {
        bool written = write_line(to, machine_to_json(machine));
        ok = copy_lines(merging, to, fault);
        written = fflush(to) == 0 && !ferror(to) && written;
        written = fclose(to) == 0 && written;
        if (ok && !written) to = NULL;
    }
    if (ok && to == NULL)
        ok = fault_set(fault, FAULT_INPUT, "cannot write '%s': %s", path, strerror(errno));
    ok = ok && replace_commit(&replace, fault);
    replace_abort(&replace);
    return ok;
}

static bool find_samples(void *context, int64_t n, struct samples_source *source,
                         struct fault *fault) {
    static struct row row;
    struct merging *merging = context;
    const struct entry *entry = &merging->entries.list[n];
    const struct part *part = &merging->parts[entry->part];
    if (!part->has_samples) return true;
    *source = (struct samples_source){&row, part->path};
    return open_part(merging, entry->part, fault) &&
           run_row_at(&merging->reader, entry->at, &row, fault);
}

/* Whether it may stand in one run with the first. */
static bool check_alike(const struct part *first, const struct part *part, struct fault *fault) {
    char difference[512];
    if (!machines_alike(&first->machine, &part->machine, difference))
        return fault_set(fault, FAULT_NOTHING, "'%s' and '%s' are of different machines: %s",
                         first->path, part->path, difference);
    if (strcmp(first->machine.commit, part->machine.commit) != 0)
        return fault_set(fault, FAULT_NOTHING, "'%s' is of commit %s and '%s' of %s", first->path,
                         first->machine.commit, part->path, part->machine.commit);
    return !strcmp(first->machine.deal, part->machine.deal) ||
           fault_set(fault, FAULT_NOTHING,
                     "'%s' and '%s' are parts of different deals: of other costs (--by), kernels "
                     "or problems",
                     first->path, part->path);
}

/* By one of several threads. */
static void read_rows(void *context, int64_t n) {
    struct part *part = (struct part *)context + n;
    struct run_reader reader;
    struct row row;
    bool well = run_open(&reader, part->path, &part->fault);
    while (well && run_next(&reader, &row))
        well = add_entry(&part->rows,
                         &(struct entry){identity_of(&row), .at = reader.at, .part = (int32_t)n},
                         &part->fault);
    if (well && reader.torn > 0) fault_say("'%s' ends torn: the run was killed", part->path);
    run_close(&reader);
}

static bool read_parts(struct part *parts, const struct options *options, struct entries *entries,
                       struct fault *fault) {
    bool well = true;
    for (int64_t n = 0; well && n < options->count; n++) {
        struct run_reader reader;
        if (!run_open(&reader, options->paths[n], fault)) return false;
        parts[n] = (struct part){.path = options->paths[n],
                                 .machine = reader.machine,
                                 .has_samples = samples_exist(options->paths[n])};
        run_close(&reader);
        well = check_alike(&parts[0], &parts[n], fault);
    }
    if (well) spread(0, options->count, read_rows, parts);
    for (int64_t n = 0; n < options->count; n++) {
        if (well && parts[n].fault.text[0] != '\0') {
            *fault = parts[n].fault;
            well = false;
        }
        for (int64_t row = 0; well && row < parts[n].rows.count; row++)
            well = add_entry(entries, &parts[n].rows.list[row], fault);
        free(parts[n].rows.list);
        parts[n].rows = (struct entries){0};
    }
    if (well) drop_replaced(entries);
    return well;
}

static void say(const struct options *options, const struct entries *entries, const char *missing) {
    if (missing[0]) fault_say("missing shards: %s", missing);
    if (options->json)
        print_json(stdout,
                   json_pack("{s:o, s:I, s:I, s:I, s:s}", "run", text_to_json(options->out), "runs",
                             (json_int_t)options->count, "rows", (json_int_t)entries->count,
                             "replaced", (json_int_t)entries->replaced, "missing_shards", missing),
                   JSON_INDENT(2));
    else
        print_plain(stdout,
                    entries->replaced > 0 ? "%s: %s of %s, %lld replaced by later ones\n"
                                          : "%s: %s of %s\n",
                    options->out, number_count(entries->count, "row").text,
                    number_count(options->count, "run").text, (long long)entries->replaced);
}

static int merge(int argc, char **argv) {
    struct options options = {.paths = calloc((size_t)argc, sizeof *options.paths)};
    if (options.paths != NULL) argp_parse(&argp, argc, argv, 0, NULL, &options);
    struct part *parts = calloc((size_t)argc, sizeof *parts);
    struct merging merging = {.parts = parts, .open = -1};
    struct fault fault = {0};
    char missing[256] = "", path[4096];
    bool ok = options.paths != NULL && parts != NULL;
    if (!ok) fault_set(&fault, FAULT_OURS, "out of memory for the runs");
    if (ok) ok = read_parts(parts, &options, &merging.entries, &fault);
    if (ok) {
        struct machine machine = parts[0].machine;
        if (shards_complete(parts, options.count, missing)) {
            machine.command = without(without(machine.command, "--shard"), "--by");
            machine.deal[0] = '\0';
        }
        const struct samples_sources samples = {find_samples, &merging, merging.entries.count};
        /* The run itself last: with it the merging is done. */
        ok = make_folder(options.out, path, &fault) &&
             samples_gather(options.out, &samples, &fault) &&
             write_run(&merging, path, &machine, &fault);
    }
    if (ok) say(&options, &merging.entries, missing);
    run_close(&merging.reader);
    free(merging.entries.list);
    free(parts);
    free(options.paths);
    return ok ? 0 : fault_tell(&fault);
}

const struct verb verb_merge = {
    .name = "merge",
    .arguments = "OUT RUN...",
    .summary = "the shards of a run as one",
    .argp = &argp,
    .run = merge,
};
