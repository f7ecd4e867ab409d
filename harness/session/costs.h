/* What rows will cost, in microseconds: what they took in a past run or, of those that it does not
 * hold, what the work of their problem makes likely. The same on every host: whole numbers, from
 * the run's file and the problem alone. */
#ifndef ATTEST_COSTS_H
#define ATTEST_COSTS_H

#include "../../fixtures/problem.h"

struct costs {
    struct costs_row *rows; /* sorted */
    int64_t row_count;
    struct costs_kind *kinds; /* each kernel and device */
    int64_t kind_count;
};

/* Of a run, its folder or its run.jsonl; FAULT_INPUT where that is none. Zeroed costs are valid:
 * they know no row. */
bool costs_read(struct costs *costs, const char *run, struct fault *fault);
void costs_free(struct costs *costs);

/* A row, but for what its problem costs. `file` as in struct row, or NULL. One that is not known is
 * estimated, and the estimate is off by as much as those of its kernel's known rows are in the
 * sum; else of its device's, if any. */
int64_t costs_row_us(const struct costs *costs, const char *kernel, const char *line,
                     const char *file, const struct problem *problem);
/* To draw a problem's fixture, answer it and write it; of a file, to read it. */
int64_t costs_problem_us(const struct problem *problem);

#endif
