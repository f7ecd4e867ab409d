/* Drawing problems nobody thought of, and making the ones that fail small. Both know problem lines
 * only; what runs them is verb_fuzz.c. */
#ifndef ATTEST_FUZZ_H
#define ATTEST_FUZZ_H

#include "../../fixtures/problem.h"

/* The `number`th line of `seed`: a pure function of both. Legal, canonical, of any variant, dtype
 * and kind of data, with sizes at and around what kernels block by, and at most
 * FUZZ_PRODUCTS_MAX products q.k times D, or Dv, so that a kernel takes milliseconds. */
void fuzz_line(char line[PROBLEM_LINE_BYTES], uint64_t seed, uint64_t number);
enum { FUZZ_PRODUCTS_MAX = 1 << 21 };

/* B Hq Sq Skv D. */
int64_t fuzz_products(const struct problem *problem);

/* Replaces `line` by one that still fails and of which no simpler neighbour does -- smaller sizes,
 * plainer data, fewer traits -- asking `fails` at most `budget` times. */
void fuzz_shrink(char line[PROBLEM_LINE_BYTES], bool (*fails)(const char *line, void *context),
                 void *context, int budget);

#endif
