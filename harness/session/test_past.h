/* For test_shards.c and bench_shards.c: what rows of suites took in a past run, and what parts of
 * them come to. */
#ifndef ATTEST_TEST_PAST_H
#define ATTEST_TEST_PAST_H

#include "costs.h"
#include "shards.h"
#include "../record/record.h"
#include "../verb.h"

#include <stdlib.h>
#include <string.h>

enum { PAST_ROWS_MAX = 8000, PAST_PROBLEMS_MAX = 2000, PAST_PARTS_MAX = 1000 };

struct past {
    struct shards_row rows[PAST_ROWS_MAX];
    char kernels[PAST_ROWS_MAX][96];
    int64_t problem_us[PAST_PROBLEMS_MAX];
    char lines[PAST_PROBLEMS_MAX][PROBLEM_LINE_BYTES];
    int64_t count, problems;
};

static inline int64_t past_find(const struct past *past, const char *line) {
    for (int64_t n = 0; n < past->problems; n++)
        if (!strcmp(past->lines[n], line)) return n;
    return -1;
}

static inline bool past_add(struct past *past, const char *suite_name, struct fault *fault) {
    struct suite suite;
    struct problem problem;
    bool well = suite_read(&suite, verb_suites(), suite_name, fault);
    for (int64_t n = 0; well && n < suite.count; n++) {
        if (past_find(past, suite.lines[n]) >= 0 || past->problems == PAST_PROBLEMS_MAX) continue;
        well = problem_parse(&problem, suite.lines[n], fault);
        strcpy(past->lines[past->problems], suite.lines[n]);
        past->problem_us[past->problems++] = costs_problem_us(&problem);
    }
    suite_free(&suite);
    return well;
}

/* The run holds each row once, as those of accelerators do. */
static inline bool past_read(struct past *past, const char *run, const char *const *suites,
                             int count, struct fault *fault) {
    struct run_reader reader;
    struct costs costs;
    struct row row;
    struct problem problem;
    *past = (struct past){.count = 0};
    for (int n = 0; n < count; n++)
        if (!past_add(past, suites[n], fault)) return false;
    if (!costs_read(&costs, run, fault)) return false;
    bool well = run_open(&reader, run, fault);
    while (well && run_next(&reader, &row)) {
        const int64_t found = past_find(past, row.line);
        if (found < 0 || past->count == PAST_ROWS_MAX) continue;
        well = problem_parse(&problem, row.line, fault);
        strcpy(past->kernels[past->count], row.kernel);
        past->rows[past->count++] =
            (struct shards_row){found, costs_row_us(&costs, row.kernel, row.line, NULL, &problem)};
    }
    run_close(&reader);
    costs_free(&costs);
    return well;
}

struct balance {
    int64_t most, least, longest_row, made; /* us; fixtures made, in all parts */
    double mean;
};

/* What parts cost truly: a part pays for a problem once. */
static inline struct balance past_balance(const struct past *past, const int32_t *part,
                                          int64_t parts) {
    static bool pays[PAST_PARTS_MAX][PAST_PROBLEMS_MAX];
    static int64_t loads[PAST_PARTS_MAX];
    struct balance balance = {.least = INT64_MAX};
    memset(pays, 0, sizeof pays);
    memset(loads, 0, sizeof loads);
    for (int64_t n = 0; n < past->count; n++) {
        const struct shards_row *row = &past->rows[n];
        if (part[n] < 0 || part[n] >= parts) abort();
        const int64_t own = past->problem_us[row->problem];
        if (!pays[part[n]][row->problem]) loads[part[n]] += own;
        balance.made += !pays[part[n]][row->problem];
        pays[part[n]][row->problem] = true;
        loads[part[n]] += row->us;
        if (own + row->us > balance.longest_row) balance.longest_row = own + row->us;
    }
    for (int64_t n = 0; n < parts; n++) {
        balance.mean += (double)loads[n] / (double)parts;
        if (loads[n] > balance.most) balance.most = loads[n];
        if (loads[n] < balance.least) balance.least = loads[n];
    }
    return balance;
}

#endif
