/* A run for programs, row by row: CSV, JSON and JUnit. */
#ifndef ATTEST_EXPORT_H
#define ATTEST_EXPORT_H

#include "row_index.h"

/* Every field of every row under its name, also of rows that were replaced, RFC 4180; NaN and what
 * was not measured are empty. */
bool export_csv(FILE *to, struct row_index *index, struct fault *fault);
/* {"machine": ..., "torn": n, "baseline": ..., "statuses": {...}, "rows": [...]}; a row has its
 * fields and speedup_baseline and speedup_bymask, null where there is nothing to compare with. */
bool export_json(FILE *to, struct row_index *index, const char *baseline, struct fault *fault);

/* JUnit's XML: a suite a variant, a case a row. A row that failed is a failure of its status, with
 * the reason, the diagnosis and the command that repeats it; a refusal is skipped. Valid by the
 * schemas of Ant (windyroad) and of Jenkins (junit-10). */
bool export_junit(FILE *to, struct row_index *index, struct fault *fault);

#endif
