/* A run for programs, row by row: CSV and JSON. */
#ifndef ATTEST_EXPORT_H
#define ATTEST_EXPORT_H

#include "row_index.h"

/* Every field of every row under its name, also of rows that were replaced, RFC 4180; NaN and what
 * was not measured are empty. */
bool export_csv(FILE *to, struct row_index *index, struct fault *fault);
/* {"machine": ..., "torn": n, "baseline": ..., "statuses": {...}, "rows": [...]}; a row has its
 * fields and speedup_baseline and speedup_bymask, null where there is nothing to compare with. */
bool export_json(FILE *to, struct row_index *index, const char *baseline, struct fault *fault);

#endif
