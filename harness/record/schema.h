/* The record of a run for programs that check it: JSON Schema (2020-12) of a line of run.jsonl.
 * Made from the tables of record.h, so that a field is described once. */
#ifndef ATTEST_SCHEMA_H
#define ATTEST_SCHEMA_H

#include <jansson.h>

/* A line is the machine, which is the first, or a row. Fields may be missing, as in runs of older
 * programs, but for those without which it is neither; what a member is in is its "unit". */
json_t *run_schema(void);

#endif
