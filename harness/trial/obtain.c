/* Fixtures on demand. The cache is a folder of files named after their lines; a file in it is used
 * if it loads, was drawn by this generator, and is what its name says. One that is new is written
 * once, with its answer. */
#include "obtain.h"
#include "../../oracle/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Adds what went by since *begin to *seconds, and begins again. */
static void lap(double *seconds, double *begin) {
    const double end = clock_s();
    *seconds += end - *begin;
    *begin = end;
}

static bool answer_it(struct fixture *fixture, int64_t rows, const struct obtain_options *options,
                      struct obtain_report *report, struct fault *fault) {
    const struct rule_view view = fixture_view(fixture);
    double begin = clock_s();
    answer_free(&fixture->answer);
    if (!oracle_answer(&fixture->answer, &view, rows, options->threads, &report->cost, fault))
        return false;
    lap(&report->oracle_seconds, &begin);
    return true;
}

/* `rows` as asked for is all of them where there are not more. */
static bool answer_fits(const struct fixture *fixture, int64_t rows) {
    const int64_t q_len = fixture->problem.attn.q_len;
    return fixture->answer.rows != NULL && strcmp(fixture->answer.oracle, ORACLE_VERSION) == 0 &&
           fixture->answer.row_count == (rows > 0 && rows < q_len ? rows : q_len);
}

/* A failed write: the fixture in memory is good all the same. */
static bool unstored(const struct obtain_options *options, const struct fault *inner,
                     struct fault *fault) {
    *fault = *inner;
    if (options->must_store) return false;
    fault_say("%s: it will be computed again next time", inner->text);
    return true;
}

bool obtain_folders(const char *path, struct fault *fault) {
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    for (char *slash = strchr(folder + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(folder, 0777) != 0 && errno != EEXIST)
            return fault_set(fault, FAULT_INPUT, "cannot make the folder '%.900s' (%s)", folder,
                             strerror(errno));
        *slash = '/';
    }
    return true;
}

int64_t obtain_bytes_max(void) {
    return (int64_t)(0.9 * (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGE_SIZE));
}

static bool check_memory(const struct problem *problem, const char *line, struct fault *fault) {
    const double gigabyte = 1 << 30;
    const int64_t needed = fixture_bytes(problem), most = obtain_bytes_max();
    return needed < most ||
           fault_set(fault, FAULT_INPUT,
                     "'%s' takes %.2f GiB of memory with its answer, expected less than %.2f, 0.9 "
                     "of what this machine has",
                     line, (double)needed / gigabyte, (double)most / gigabyte);
}

/* Draws and answers the line, and caches it. Of hosts that do so at once the first is kept: it has
 * the same bits, and others may have begun to read it. */
static bool make(struct fixture *fixture, const struct problem *problem, const char *path,
                 const struct obtain_options *options, struct obtain_report *report,
                 struct fault *fault) {
    double begin = clock_s();
    struct stat status;
    const bool first = lstat(path, &status) != 0; /* nothing is there that has to be replaced */
    if (!fixture_generate(fixture, problem, options->threads, fault)) return false;
    lap(&report->generate_seconds, &begin);
    if (!answer_it(fixture, problem->rows, options, report, fault)) return false;
    if (options->uncached) return true;

    struct fault inner;
    begin = clock_s();
    const bool stored =
        obtain_folders(path, &inner) &&
        (first ? fixture_write_first(fixture, path, &inner) : fixture_write(fixture, path, &inner));
    lap(&report->write_seconds, &begin);
    return stored || unstored(options, &inner, fault);
}

/* The cached fixture, if it is what its name says. */
static bool load_cached(struct fixture *fixture, const char *line, const char *path,
                        const struct obtain_options *options, struct obtain_report *report) {
    struct fault fault;
    double begin = clock_s();
    const char *why = NULL;
    if (access(path, F_OK) != 0) return false;
    if (!fixture_load(fixture, options->program, path, &fault))
        why = fault.text;
    else if (strcmp(fixture->line, line) != 0)
        why = "it holds another line";
    else if (fixture->generator != FIXTURE_GENERATOR)
        why = "it was drawn by another version of the generator";
    lap(&report->load_seconds, &begin);
    if (why == NULL) return true;
    fault_say("'%s' in the cache is made anew: %s", line, why);
    fixture_free(fixture);
    return false;
}

/* A link in the cache is replaced whole, by a file of ours; one that the user names is followed. */
static bool is_linked_entry(const char *path, bool cached) {
    struct stat status;
    return cached && lstat(path, &status) == 0 && !S_ISREG(status.st_mode);
}

static bool answer_and_store(struct fixture *fixture, const char *path, bool cached, int64_t rows,
                             const struct obtain_options *options, struct obtain_report *report,
                             struct fault *fault) {
    struct fault inner;
    if (!answer_it(fixture, rows, options, report, fault)) return false;
    double begin = clock_s();
    const bool stored = is_linked_entry(path, cached)
                            ? fixture_write(fixture, path, &inner)
                            : fixture_store(fixture, options->program, path, &inner);
    lap(&report->write_seconds, &begin);
    return stored || unstored(options, &inner, fault);
}

bool obtain_line(struct fixture *fixture, const char *line, const struct obtain_options *options,
                 struct fault *fault) {
    struct obtain_report unread = {.cached = false},
                         *report = options->report ? options->report : &unread;
    struct problem problem, drawn;
    char canonical[PROBLEM_LINE_BYTES], room[PROBLEM_LINE_BYTES], path[4096];
    *report = (struct obtain_report){.cached = false};
    *fixture = (struct fixture){.line = ""};
    if (!problem_parse(&problem, line, fault)) return false;
    if (problem.data == DATA_FILE)
        return fault_set(fault, FAULT_INPUT,
                         "'%s' was made elsewhere and cannot be drawn: name its file (-f)", line);
    problem_print(&problem, canonical);
    const char *stored = fixture_line(canonical, room);
    if (!problem_parse(&drawn, stored, fault) || !check_memory(&problem, canonical, fault))
        return false;
    fixture_cache_path(canonical, path);

    bool obtained;
    if (!options->uncached && !options->again &&
        load_cached(fixture, stored, path, options, report)) {
        report->cached = answer_fits(fixture, problem.rows);
        obtained = report->cached ||
                   answer_and_store(fixture, path, true, problem.rows, options, report, fault);
    } else {
        obtained = make(fixture, &drawn, path, options, report, fault);
    }
    if (!obtained) {
        fixture_free(fixture);
        return false;
    }
    fixture->problem.attn.traits |= problem.attn.traits & RULE_LAYOUTS;
    memcpy(fixture->line, canonical, sizeof canonical);
    return true;
}

bool obtain_file(struct fixture *fixture, const char *path, const struct obtain_options *options,
                 struct fault *fault) {
    struct obtain_report unread = {.cached = false},
                         *report = options->report ? options->report : &unread;
    double begin = clock_s();
    *report = (struct obtain_report){.cached = false};
    if (!fixture_load(fixture, options->program, path, fault)) return false;
    lap(&report->load_seconds, &begin);

    const struct answer *answer = &fixture->answer;
    const bool other = answer->rows != NULL && strcmp(answer->oracle, ORACLE_VERSION) != 0;
    const bool any = options->rows == 0 && answer->rows != NULL && !options->again;
    const int64_t rows = options->rows > 0 ? options->rows
                         : any             ? answer->row_count /* as someone chose them */
                                           : fixture->problem.rows;
    if (other)
        fault_say("the answer in '%s' is by '%s' and is made anew by '%s'", path, answer->oracle,
                  ORACLE_VERSION);
    report->cached = !options->again && answer_fits(fixture, rows);
    if (report->cached || answer_and_store(fixture, path, false, rows, options, report, fault))
        return true;
    fixture_free(fixture);
    return false;
}

bool obtain_lines(struct suite *lines, const char *argument, const char *suites,
                  struct fault *fault) {
    struct problem problem;
    struct fault as_line, as_suite;
    *lines = (struct suite){.count = 0};
    if (problem_parse(&problem, argument, &as_line)) {
        lines->lines = malloc(sizeof *lines->lines);
        if (lines->lines == NULL) return fault_set(fault, FAULT_OURS, "out of memory");
        problem_print(&problem, lines->lines[lines->count++]);
        return true;
    }
    if (suite_read(lines, suites, argument, &as_suite)) return true;
    /* Lines have sizes joined by hyphens; no suite of that shape was there. */
    const bool line_meant = strstr(argument, "-hq") != NULL || strstr(argument, "-kv") != NULL ||
                            strstr(argument, "-d") != NULL;
    *fault = line_meant ? as_line : as_suite;
    return false;
}
