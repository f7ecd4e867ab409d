/* A run as Markdown for people, finished or not; it may have a million rows. What the columns mean
 * is written down in reports/README.md, and said in short in the report (headline.h). */
#ifndef ATTEST_REPORT_H
#define ATTEST_REPORT_H

#include "row_index.h"

struct report_options {
    const char *name;     /* of the run, for the title and for commands */
    const char *baseline; /* globs of the kernels that others are compared with, commas between */
};
#define REPORT_BASELINE "*_naive_*,*_reference_r1" /* what one would write first */

/* The verdict and what is wrong; the machine; counts by status; each kernel in one line; failures
 * with the commands that repeat them; warnings; then every problem with the accuracy and the speed
 * of every kernel. The index is of the same baseline. */
bool report_markdown(FILE *to, struct row_index *index, const struct report_options *options,
                     struct fault *fault);

#endif
