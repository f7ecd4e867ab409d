/* attest merge: the shards of a run, or a run and what completes it, as one run.
 *
 * Rows do not say which machine they were measured on, the run's first record does; so only runs
 * of machines that are alike, and of one commit, are put together. Where several runs hold a row of
 * the same kernel library and fixture, the last run wins. Which shards there should be is in the
 * runs' commands (--shard I/N); one that is missing is a warning, and the merged run then keeps the
 * shard in its command, so that nobody takes it for the whole. */
#define _GNU_SOURCE
#include "../record/samples.h"
#include "../report/compare.h"
#include "../report/print.h"
#include "../verb.h"
#include "../worker/protocol.h"
#include "../../fixtures/replace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* One row's identity, and which of the rows with that identity came last. */
struct entry {
    const struct row *row;
    const char *run;
    int64_t order;
};

static int same_row(const struct row *a, const struct row *b) {
    int order = strcmp(a->line, b->line);
    if (order == 0) order = strcmp(a->fixture_digest, b->fixture_digest);
    if (order == 0) order = strcmp(a->kernel, b->kernel);
    return order != 0 ? order : strcmp(a->library_digest, b->library_digest);
}

static int identity_order(const void *left, const void *right) {
    const struct entry *a = left, *b = right;
    const int order = same_row(a->row, b->row);
    return order != 0 ? order : (a->order > b->order) - (a->order < b->order);
}

static int position_order(const void *left, const void *right) {
    const struct entry *a = left, *b = right;
    return (a->order > b->order) - (a->order < b->order);
}

/* All rows in order, replaced ones dropped; the caller's. */
static struct entry *collect(const struct run *runs, const char *const *paths, int64_t run_count,
                             int64_t *count, int64_t *replaced) {
    int64_t total = 0;
    for (int64_t n = 0; n < run_count; n++) total += runs[n].count;
    struct entry *entries = calloc((size_t)total + 1, sizeof *entries);
    if (entries == NULL) return NULL;
    int64_t at = 0;
    for (int64_t n = 0; n < run_count; n++) {
        for (int64_t m = 0; m < runs[n].count; m++, at++)
            entries[at] = (struct entry){&runs[n].rows[m], paths[n], at};
    }
    qsort(entries, (size_t)total, sizeof *entries, identity_order);
    *count = 0;
    for (int64_t n = 0; n < total; n++) {
        if (n + 1 < total && same_row(entries[n].row, entries[n + 1].row) == 0) continue;
        entries[(*count)++] = entries[n];
    }
    *replaced = total - *count;
    qsort(entries, (size_t)*count, sizeof *entries, position_order);
    return entries;
}

/* "--shard I/N" in a command. */
struct shard {
    long index, of;
};

static bool shard_find(struct shard *shard, const char *command) {
    static const char option[] = "--shard";
    const char *at = command != NULL ? strstr(command, option) : NULL;
    if (at == NULL) return false;
    const char separator = at[sizeof option - 1];
    if (separator != ' ' && separator != '=') return false;
    char *end;
    shard->index = strtol(at + sizeof option, &end, 10);
    if (*end != '/') return false;
    shard->of = strtol(end + 1, &end, 10);
    return shard->of > 0 && shard->index >= 1 && shard->index <= shard->of;
}

/* Those missing of 1..N, as "2, 5", if any run was a shard; true when none is missing. */
static bool shards_complete(const struct run *runs, int64_t count, char missing[256]) {
    struct shard first, shard;
    missing[0] = 0;
    if (!shard_find(&first, runs[0].machine.command)) return true;
    size_t used = 0;
    for (long index = 1; index <= first.of; index++) {
        bool found = false;
        for (int64_t n = 0; n < count && !found; n++)
            found = shard_find(&shard, runs[n].machine.command) && shard.of == first.of &&
                    shard.index == index;
        if (!found && used < 240)
            used += (size_t)snprintf(missing + used, 256 - used, "%s%ld", used ? ", " : "", index);
    }
    return used == 0;
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

/* The command without "--option value" or "--option=value". */
static const char *without(const char *command, const char *option) {
    const size_t length = strlen(option);
    char *rest = NULL;
    for (const char *at = command; at != NULL && *at != '\0'; at = word_end(at)) {
        if (strncmp(at, option, length) != 0 || (at[length] != ' ' && at[length] != '=')) continue;
        const char *end = word_end(at);
        if (at[length] == ' ') end = word_end(end);
        if (asprintf(&rest, "%.*s%s", (int)(at - command), command, end) < 0) return command;
        command = text_kept(rest);
        free(rest);
        break;
    }
    return command;
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

static bool write_lines(const char *path, const struct machine *machine,
                        const struct entry *entries, int64_t count) {
    FILE *to = fopen(path, "we");
    if (to == NULL) return false;
    bool ok = write_line(to, machine_to_json(machine));
    for (int64_t n = 0; ok && n < count; n++) ok = write_line(to, row_to_json(entries[n].row));
    ok = fflush(to) == 0 && ok;
    return fclose(to) == 0 && ok;
}

static bool write_run(const char *path, const struct machine *machine, const struct entry *entries,
                      int64_t count, struct fault *fault) {
    struct replace replace;
    bool ok = replace_begin_entry(&replace, path, fault);
    if (ok && !write_lines(replace.temporary, machine, entries, count))
        ok = fault_set(fault, FAULT_INPUT, "cannot write '%s': %s", path, strerror(errno));
    ok = ok && replace_commit(&replace, fault);
    replace_abort(&replace);
    return ok;
}

static bool write_samples(const char *folder, const struct entry *entries, int64_t count,
                          struct fault *fault) {
    struct samples_source *sources = calloc((size_t)count + 1, sizeof *sources);
    if (sources == NULL) return fault_set(fault, FAULT_OURS, "out of memory for the samples");
    for (int64_t n = 0; n < count; n++)
        sources[n] = (struct samples_source){entries[n].row, entries[n].run};
    const bool ok = samples_gather(folder, sources, count, fault);
    free(sources);
    return ok;
}

static bool read_alike(struct run *runs, const struct options *options, struct fault *fault) {
    char difference[512];
    for (int64_t n = 0; n < options->count; n++) {
        if (!run_read(&runs[n], options->paths[n], fault)) return false;
        const struct machine *first = &runs[0].machine, *machine = &runs[n].machine;
        if (!machines_alike(first, machine, difference))
            return fault_set(fault, FAULT_NOTHING, "'%s' and '%s' are of different machines: %s",
                             options->paths[0], options->paths[n], difference);
        if (strcmp(first->commit, machine->commit) != 0)
            return fault_set(fault, FAULT_NOTHING, "'%s' is of commit %s and '%s' of %s",
                             options->paths[0], first->commit, options->paths[n], machine->commit);
        if (strcmp(first->deal, machine->deal) != 0)
            return fault_set(fault, FAULT_NOTHING,
                             "'%s' and '%s' are parts of different deals: of other costs (--by), "
                             "kernels or problems",
                             options->paths[0], options->paths[n]);
        if (runs[n].torn > 0) fault_say("'%s' ends torn: the run was killed", options->paths[n]);
    }
    return true;
}

static int merge(int argc, char **argv) {
    struct options options = {.paths = calloc((size_t)argc, sizeof *options.paths)};
    if (options.paths != NULL) argp_parse(&argp, argc, argv, 0, NULL, &options);
    struct run *runs = calloc((size_t)argc, sizeof *runs);
    struct fault fault = {0};
    struct entry *entries = NULL;
    int64_t count = 0, replaced = 0;
    char missing[256] = "";
    bool ok = options.paths != NULL && runs != NULL;
    if (!ok) fault_set(&fault, FAULT_OURS, "out of memory for the runs");
    ok = ok && read_alike(runs, &options, &fault);
    if (ok) {
        entries = collect(runs, options.paths, options.count, &count, &replaced);
        if (entries == NULL) ok = fault_set(&fault, FAULT_OURS, "out of memory for the rows");
    }
    if (ok && entries != NULL) {
        struct machine machine = runs[0].machine;
        if (shards_complete(runs, options.count, missing)) {
            machine.command = without(without(machine.command, "--shard"), "--by");
            machine.deal[0] = '\0';
        }
        char path[4096];
        /* The run itself last: with it the merging is done. */
        ok = make_folder(options.out, path, &fault) &&
             write_samples(options.out, entries, count, &fault) &&
             write_run(path, &machine, entries, count, &fault);
    }
    if (ok && missing[0]) fault_say("missing shards: %s", missing);
    if (ok && options.json)
        print_json(stdout,
                   json_pack("{s:o, s:I, s:I, s:I, s:s}", "run", text_to_json(options.out), "runs",
                             (json_int_t)options.count, "rows", (json_int_t)count, "replaced",
                             (json_int_t)replaced, "missing_shards", missing),
                   JSON_INDENT(2));
    else if (ok)
        print_plain(stdout,
                    replaced > 0 ? "%s: %s of %s, %lld replaced by later ones\n" : "%s: %s of %s\n",
                    options.out, number_count(count, "row").text,
                    number_count(options.count, "run").text, (long long)replaced);
    for (int64_t n = 0; runs != NULL && n < options.count; n++) run_free(&runs[n]);
    free(runs);
    free(entries);
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
