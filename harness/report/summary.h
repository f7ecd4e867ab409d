/* A run or a comparison in what a comment on a pull request takes: Markdown as GitHub shows it, of
 * at most SUMMARY_BYTES. What matters most comes first -- the verdict, what is wrong and how to see
 * it again -- and what there is no room for is counted. */
#ifndef ATTEST_SUMMARY_H
#define ATTEST_SUMMARY_H

#include "report.h"
#include "compare.h"

enum { SUMMARY_BYTES = 60000 }; /* GitHub takes 65,536 characters */

bool summary_of_run(FILE *to, struct row_index *index, const struct report_options *options,
                    struct fault *fault);
/* The names are the runs', or those of the kernels that are compared. */
bool summary_of_comparison(FILE *to, const struct comparison *comparison, const char *before,
                           const char *after, struct fault *fault);

#endif
