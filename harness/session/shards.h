/* A run cut into parts of about the same cost, for machines that do not know of each other: each
 * deals all rows and keeps its own. So the deal depends on nothing but its arguments: whole
 * numbers, no order but that of the rows. */
#ifndef ATTEST_SHARDS_H
#define ATTEST_SHARDS_H

#include "../../oracle/fault.h"

#include <stdint.h>

enum { SHARDS_MAX = 1000000 };

/* "I/N", I in 1..N, N at most SHARDS_MAX; false: it is not. */
bool shards_parse(const char *text, int64_t *shard, int64_t *shards);

/* The part, 0..shards - 1, of a row by what it is alone: `problem` is its line or its file. */
int64_t shards_hashed(const char *kernel, const char *problem, int64_t shards);

struct shards_row {
    int64_t problem; /* its place in problem_us */
    int64_t us;      /* what it costs, without what its problem does */
};
/* part[n], 0..shards - 1, of each row; problem_us[] is what each part pays that has rows of a
 * problem. Rows of one problem stay together up to a fifth of what a part has in the mean, or up
 * to what the problem costs where that is more. */
bool shards_deal(int32_t *part, const struct shards_row *rows, int64_t count,
                 const int64_t *problem_us, int64_t shards, struct fault *fault);

#endif
