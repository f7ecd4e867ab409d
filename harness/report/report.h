/* A run for people (Markdown) and for programs (CSV, JSON): pure functions over a run read back,
 * finished or not. What the columns mean is written down in reports/README.md. */
#ifndef ATTEST_REPORT_H
#define ATTEST_REPORT_H

#include "../record/record.h"

struct report_options {
    const char *name;     /* of the run, for the title and for commands */
    const char *baseline; /* globs of the kernels that others are compared with, commas between */
};
#define REPORT_BASELINE "*_naive_*,*_reference_r1" /* what one would write first */

/* The machine; counts by status; each kernel in one line; failures with the commands that repeat
 * them; warnings; then every problem with the accuracy and the speed of every kernel. */
bool report_markdown(FILE *to, const struct run *run, const struct report_options *options,
                     struct fault *fault);
/* Every field of every row under its name, RFC 4180; NaN and what was not measured are empty. */
void report_csv(FILE *to, const struct run *run);
/* {"machine": ..., "torn": n, "statuses": {...}, "rows": [...]}; a row has its fields and
 * speedup_baseline and speedup_bymask, null where there is nothing to compare with. */
bool report_json(json_t **json, const struct run *run, const struct report_options *options,
                 struct fault *fault);

#endif
