/* What a wrong output looks like, in a line: where its wrong elements are, and, where one of the
 * hypotheses explains it, that one -- "as if a query saw one key fewer". For a reader only: it
 * decides nothing. A hypothesis is said if in each of a few rows, the worst among them, every
 * element is within its tolerance by the hypothesis' own sizes, and the rows are nearer to it than
 * to the right answer by a quarter at least. Costs one pass over the output, and for each
 * hypothesis tried what a row costs. */
#ifndef ATTEST_DIAGNOSIS_H
#define ATTEST_DIAGNOSIS_H

#include "judge.h"

/* As deviation_measure takes it. */
struct diagnosis_output {
    const struct rule_view *view;
    const struct answer *answer;
    const void *out;
    const float *lse; /* NULL if not written */
    struct promise promise;
};

/* The line, to be freed. NULL for a status other than FAIL_UNWRITTEN, FAIL_NAN, FAIL_ACCURACY and
 * FAIL_LSE, and where there is nothing to say. What must not be read may hold anything: a
 * hypothesis that reads it is tried on what it holds now. */
char *diagnosis_make(enum status status, const struct deviation *deviation,
                     const struct diagnosis_output *output);

#endif
