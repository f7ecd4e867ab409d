/* A run, a comparison or several runs as pages of HTML (html.h): the verdict in a sentence first,
 * then what is wrong, then what is fast; a page for each kernel. What a page shows that is not in
 * run.jsonl -- timings one by one, a failing block -- comes from the samples.h5 beside it, where
 * there is one. */
#ifndef ATTEST_PAGES_H
#define ATTEST_PAGES_H

#include "compare.h"
#include "report.h"

/* Writes the folder, whole or not at all; FAULT_INPUT where it may not be written. Without gnuplot
 * the pages have tables and no pictures, which standard error says. */
bool pages_run(const char *folder, const struct run *run, const struct report_options *options,
               struct fault *fault);
bool pages_compare(const char *folder, const struct comparison *comparison, const char *before,
                   const char *after, struct fault *fault);
/* Runs, or folders with runs in them, by their times. */
bool pages_history(const char *folder, const char *const *runs, int64_t count, struct fault *fault);

#endif
