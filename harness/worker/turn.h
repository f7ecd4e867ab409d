/* Values that change between timed launches, in the worker, so that what is right afterwards is
 * known: the sign of some columns of V, for all valid tokens of a sequence and kv head. The output
 * of the query heads that read them has the same columns negated, bit for bit, since rounding to
 * nearest does not care for the sign; lse stays. Places are drawn when they are needed, from a seed
 * that is drawn late, so that no kernel can foresee them. `struct turn t = {0}` turns nothing. */
#ifndef ATTEST_TURN_H
#define ATTEST_TURN_H

#include "device.h"

/* Columns d0 .. d1 - 1 of kv head g in the sequences b0 .. b1 - 1; several where they share pages.
 */
struct turn_slice {
    int64_t b0, b1, g, d0, d1;
};

struct turn {
    const struct device *device;
    const struct attn_problem *problem;
    const struct attn_tensor *tensors; /* of the call */
    bool whole;                        /* sequences share pages: all are turned at once */
    int64_t groups;                    /* of sequences that can be turned apart: batch, or 1 */
    unsigned char *turned; /* [groups, kv_heads, value_dim]: the sign is not the first */
    uint64_t seed, drawn;  /* of what is drawn, the former from the system's entropy */
    double lines_bytes;    /* most that one slice has made its device read and write again */
};

/* False: out of memory, or there is nothing that could be turned, or no sign to turn. */
bool turn_begin(struct turn *turn, const struct device *device, const struct attn_problem *problem,
                const struct attn_call *call);
/* Draws a slice and turns it. */
struct turn_slice turn_next(struct turn *turn);
/* Draws a slice and writes it as it is: caches are left as turn_next leaves them. */
void turn_touch(struct turn *turn);
/* Every value has the sign that it had at first. */
void turn_back(struct turn *turn);
void turn_end(struct turn *turn);

/* For copies on the device, between launches that are recorded: all columns of a kv head, of one
 * sequence, or with pages of all, as rows of bytes; `at` from where V, or kv_cache, begins. Not
 * where values are part of keys: q would have to be turned as well. */
struct turn_block {
    struct turn_slice slice;
    size_t at, pitch, width, rows;
};
struct turn_block turn_block(struct turn *turn);
/* The block's values as they are and with the other sign, rows one after the other: as many bytes
 * each as it has. */
void turn_read(const struct turn *turn, const struct turn_block *block, unsigned char *plain,
               unsigned char *negated);
/* Takes note of a slice that was turned, or turned back, by such copies. */
void turn_note(struct turn *turn, const struct turn_slice *slice);

/* The other sign for `count` elements from `at` on; with *all 0 instead of ~0 they are written as
 * they are. Integers of 8 bits have one but for -128. */
void turn_flip(void *at, int64_t count, enum attn_dtype dtype, volatile const uint32_t *all);
/* Whether a tensor's elements, in host memory, all have another sign. */
bool turn_can_flip(const struct attn_tensor *tensor);

/* 0 .. count - 1, count at least 1. */
int64_t turn_draw(struct turn *turn, int64_t count);
static inline bool turn_is(const struct turn *turn, int64_t b, int64_t g, int64_t d) {
    const int64_t group = turn->whole ? 0 : b;
    return turn->turned[(group * turn->problem->kv_heads + g) * turn->problem->value_dim + d];
}

#endif
