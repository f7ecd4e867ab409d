/* attest make: draws fixtures and answers them, one at a time, so that the largest alone decides
 * how much memory it takes. What is in the cache and loads is left as it is. */
#include "../report/table.h"
#include "../session/costs.h"
#include "../session/select.h"
#include "../session/shards.h"
#include "../trial/obtain.h"
#include "../verb.h"
#include "../worker/protocol.h"

#include <jansson.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { OPTION_JSON = 256, OPTION_AGAIN, OPTION_SHARD };

struct options {
    bool json, again;
    int threads;
    struct suite lines;
    struct select_word *words;
    int64_t word_count;
    int64_t shard, shards; /* 1..shards; 0: all */
};

static const struct argp_option argp_options[] = {
    {"again", OPTION_AGAIN, NULL, 0, "make fixtures anew that are in the cache", 0},
    {"shard", OPTION_SHARD, "I/N", 0,
     "only part I of N; the parts are disjoint, all of it, and take about as long as each other",
     0},
    {"threads", 't', "N", 0, "how many threads draw and answer (default: one a core)", 0},
    {"json", OPTION_JSON, NULL, 0, "an object a line instead of columns", 0},
    {0},
};

static bool add_lines(struct options *options, const char *argument, struct fault *fault) {
    struct suite added;
    if (!obtain_lines(&added, argument, verb_suites(), fault)) return false;
    struct suite *all = &options->lines;
    const size_t count = (size_t)(all->count + added.count);
    void *lines = realloc(all->lines, count * sizeof *all->lines);
    if (lines == NULL) {
        suite_free(&added);
        return fault_set(fault, FAULT_OURS, "out of memory");
    }
    all->lines = lines;
    memcpy(all->lines + all->count, added.lines, (size_t)added.count * sizeof *added.lines);
    all->count += added.count;
    suite_free(&added);
    return true;
}

static bool add_word(struct options *options, const char *argument, struct fault *fault) {
    const size_t count = (size_t)options->word_count + 1;
    void *words = realloc(options->words, count * sizeof *options->words);
    if (words == NULL) return fault_set(fault, FAULT_OURS, "out of memory");
    options->words = words;
    return select_parse(&options->words[options->word_count++], argument, fault);
}

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    struct options *options = state->input;
    struct fault fault;
    switch (key) {
    case OPTION_JSON:
        options->json = true;
        return 0;
    case OPTION_AGAIN:
        options->again = true;
        return 0;
    case OPTION_SHARD:
        if (!shards_parse(argument, &options->shard, &options->shards))
            argp_error(state, "--shard takes I/N with I in 1..N, not '%s'", argument);
        return 0;
    case 't':
        options->threads = (int)verb_count(argument, 1, VERB_THREADS_MAX, "threads", state);
        return 0;
    case ARGP_KEY_ARG:
        if (select_is_word(argument) ? !add_word(options, argument, &fault)
                                     : !add_lines(options, argument, &fault))
            argp_failure(state, fault.code, 0, "%s", fault.text);
        return 0;
    case ARGP_KEY_END:
        if (state->arg_num == (unsigned)options->word_count)
            argp_error(state, "a suite or a problem line is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .args_doc = "SUITE|LINE... [WORD...]",
    .doc = "Draws the fixtures of problem lines, computes their answers and stores both in the "
           "cache ($ATTEST_CACHE, by default fixtures/cache). A fixture is a function of its line: "
           "the same bits on every machine. WORDs pick lines: variant=decode dtype=bf16 kv>=4096."
           "\vPrints the digest of the inputs, the size, the time it took and the path.",
};

/* Keeps the lines that the words pick. */
static void pick_lines(struct options *options) {
    struct suite *lines = &options->lines;
    int64_t kept = 0;
    for (int64_t n = 0; n < lines->count; n++) {
        struct problem problem;
        struct fault none;
        if (problem_parse(&problem, lines->lines[n], &none) &&
            select_holds(options->words, options->word_count, &problem))
            memmove(lines->lines[kept++], lines->lines[n], sizeof *lines->lines);
    }
    lines->count = kept;
}

/* Keeps those of the part that was asked for. */
static bool deal_lines(struct options *options, struct fault *fault) {
    struct suite *lines = &options->lines;
    const size_t room = (size_t)lines->count + 1;
    struct shards_row *rows = calloc(room, sizeof *rows);
    int64_t *us = calloc(room, sizeof *us), kept = 0;
    int32_t *part = calloc(room, sizeof *part);
    bool well = rows != NULL && us != NULL && part != NULL;
    if (!well) fault_set(fault, FAULT_OURS, "out of memory for problems");
    for (int64_t n = 0; well && n < lines->count; n++) {
        struct problem problem;
        rows[n].problem = n;
        well = problem_parse(&problem, lines->lines[n], fault);
        if (well) us[n] = costs_problem_us(&problem);
    }
    well = well && shards_deal(part, rows, lines->count, us, options->shards, fault);
    for (int64_t n = 0; well && n < lines->count; n++)
        if (part[n] == options->shard - 1)
            memmove(lines->lines[kept++], lines->lines[n], sizeof *lines->lines);
    lines->count = kept;
    free(rows);
    free(us);
    free(part);
    return well && (kept > 0 ||
                    fault_set(fault, FAULT_NOTHING, "nothing to make: part %lld of %lld is empty",
                              (long long)options->shard, (long long)options->shards));
}

static bool choose_lines(struct options *options, struct fault *fault) {
    const int64_t named = options->lines.count;
    pick_lines(options);
    if (options->lines.count == 0)
        return fault_set(fault, FAULT_NOTHING, "nothing to make: %s%s",
                         number_count(named, "problem").text,
                         named > 0 ? ", and the words pick none" : "");
    return options->shards == 0 || deal_lines(options, fault);
}

static void print_made(const struct options *options, const struct fixture *fixture,
                       const struct obtain_report *report) {
    char path[4096];
    struct stat status = {.st_size = 0};
    fixture_cache_path(fixture->line, path);
    stat(path, &status);
    const double seconds = report->load_seconds + report->generate_seconds +
                           report->oracle_seconds + report->write_seconds;
    if (!options->json) {
        struct print_line line = {.to = stdout};
        print_piece(&line, "%s", fixture->digest);
        print_piece(&line, "%s", number_bytes((double)status.st_size).text);
        print_piece(&line, "%s", number_time(seconds * 1e6).text);
        print_piece(&line, "%s", path);
        print_line_end(&line);
    } else {
        json_t *json = json_pack(
            "{s:s, s:o, s:I, s:f, s:s, s:b, s:f, s:f, s:f, s:f, s:f, s:I}", "line", fixture->line,
            "path", path_to_json(path), "bytes", (json_int_t)status.st_size, "seconds", seconds,
            "digest", fixture->digest, "cached", report->cached, "load_seconds",
            report->load_seconds, "generate_seconds", report->generate_seconds, "oracle_seconds",
            report->oracle_seconds, "write_seconds", report->write_seconds, "oracle_product_flops",
            report->cost.product_flops, "oracle_memory_bytes",
            (json_int_t)report->cost.memory_bytes);
        print_json(stdout, json, JSON_COMPACT);
    }
    fflush(stdout);
}

static int make_one(const struct options *options, const char *line, int64_t number,
                    int64_t count) {
    struct obtain_report report = {.cached = false};
    const struct obtain_options obtain = {.program = verb_program(),
                                          .threads = options->threads,
                                          .again = options->again,
                                          .must_store = true,
                                          .report = &report};
    struct fixture fixture;
    struct fault fault;
    if (!obtain_line(&fixture, line, &obtain, &fault)) return fault_tell(&fault);
    if (report.cached)
        fprintf(stderr, "%lld/%lld %s: cached, loaded in %s\n", (long long)number, (long long)count,
                fixture.line, number_time(report.load_seconds * 1e6).text);
    else
        fprintf(stderr, "%lld/%lld %s: drawn in %s, answered in %s, written in %s\n",
                (long long)number, (long long)count, fixture.line,
                number_time(report.generate_seconds * 1e6).text,
                number_time(report.oracle_seconds * 1e6).text,
                number_time(report.write_seconds * 1e6).text);
    print_made(options, &fixture, &report);
    fixture_free(&fixture);
    return 0;
}

static int make_run(int argc, char **argv) {
    struct options options = {.json = false};
    argp_err_exit_status = FAULT_INPUT;
    argp_parse(&argp, argc, argv, 0, NULL, &options);

    struct fault fault;
    const struct suite *lines = &options.lines;
    int status = choose_lines(&options, &fault) ? 0 : fault_tell(&fault);
    for (int64_t n = 0; status == 0 && n < lines->count; n++)
        status = make_one(&options, lines->lines[n], n + 1, lines->count);
    suite_free(&options.lines);
    free(options.words);
    return status;
}

const struct verb verb_make = {
    .name = "make",
    .arguments = "SUITE|LINE... [WORD...]",
    .summary = "fixtures and their answers",
    .argp = &argp,
    .run = make_run,
};
