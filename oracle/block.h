/* A block of query rows that read the same kv head of the same sequence, answered: what oracle.c's
 * threads do. */
#ifndef ATTEST_BLOCK_H
#define ATTEST_BLOCK_H

#include "oracle.h"

#include <stdatomic.h>

/* Gathered and multiplied at a time. 256 rows by 256 keys: two score blocks of 512 KB; of 128..512
 * by 256..1024 the best, by a few per cent, with Haswell and SkylakeX kernels (2-core EPYC, Zen 5).
 */
enum { BLOCK_ROWS = 256, BLOCK_KEYS = 256 };

/* What all blocks of a problem have in common. */
struct job {
    const struct rule_view *view;
    struct answer *answer;
    int64_t D, Dv, group;  /* head_dim, value_dim; query heads to a kv head */
    bool ruled, norms;     /* rules change logits; and want |q| and |k| for it */
    atomic_bool subnormal; /* some row has a weight below 2^-14 (answer.h) */
};

struct block {
    int64_t b, g, first, rows; /* rows first .. first + rows - 1 of those that read (b, g) */
    int64_t key, keys; /* the tokens that any of its rows sees: the first of them, how many; with a
                          list, how many are on it */
    int64_t range_keys;
    int ranges;
    atomic_int ranges_left;
    atomic_bool special; /* met NaN or infinity */
    double *range_sums;  /* [ranges] sums, one after another; NULL when there is one range */
};

/* A thread's own memory, one allocation. */
struct space {
    double *memory;
    double *q, *q_abs, *q_norm; /* [rows, D], [rows, D], [rows] */
    double *k, *k_abs, *k_norm; /* [keys, D], [keys, D], [keys] */
    double *k_first;            /* [D] */
    double *v, *v_square;       /* [keys, 2 Dv]: v, then |v|; [keys, Dv] */
    double *score, *other;      /* [rows, keys]: logits, then p; |q||k|, then p^2 */
    double *lost, *lost_square; /* [rows, Dv] each: sums for answer.h's lost_abs_v, lost_rms_v */
    double *sums;               /* of a block with one range */
    double flops;               /* of products done so far */
};

/* Lays a space for blocks of up to `rows` rows out in `memory`, or only measures it if that is
 * NULL; returns its size in doubles. */
int64_t space_lay(struct space *space, double *memory, int64_t rows, int64_t D, int64_t Dv);

/* The doubles that one range's sums take. */
int64_t block_sums_doubles(int64_t rows, int64_t Dv);

/* What row r of the block sees: of a list all, else some of the block's tokens. */
struct rule_keys block_keys(const struct job *job, const struct block *block, int64_t r);

/* Sums over one range of the block's keys, into range_sums or, if there is one range, into space.
 * Sets block->special, and leaves the sums undone, where NaN or infinity comes up. */
void block_sum(const struct job *job, struct space *space, struct block *block, int range);

/* Writes the block's rows of the answer, all ranges being summed. */
void block_finish(struct job *job, struct space *space, const struct block *block);

/* For each row of a block of one query: the share of the plain softmax over all that it would see
 * without lists (at least one token) that lies on the tokens on the row's list. */
void block_mass(const struct job *job, struct space *space, const struct block *block,
                struct rule_keys all, double *mass);

#endif
