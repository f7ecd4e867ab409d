/* Where a kernel writes: out and lse in one shared memory file, guards around both, filled before
 * each launch with what nobody computes. Each begins at a multiple of 4096 bytes, and what follows
 * its last byte is guard at once. */
#ifndef ATTEST_OUTPUTS_H
#define ATTEST_OUTPUTS_H

#include "../judge/deviation.h"

struct outputs {
    int file; /* memfd; valid iff memory != NULL */
    unsigned char *memory;
    size_t bytes, out_at, out_bytes, lse_at, lse_bytes;
};

bool outputs_allocate(struct outputs *outputs, const struct attn_problem *problem,
                      struct fault *fault);
void outputs_free(struct outputs *outputs);
/* Sets the guards, once. */
void outputs_guard(struct outputs *outputs);
/* Which guard was written to, or NULL. */
const char *outputs_guard_broken(const struct outputs *outputs);
/* The unwritten patterns of deviation.h, all over out, which is of `dtype`, and lse. */
void outputs_fill(struct outputs *outputs, enum attn_dtype dtype);

/* `first` holds lse and then out, lse_bytes + out_bytes: so both are aligned, whatever out is. */
void outputs_copy(const struct outputs *outputs, unsigned char *first);
void outputs_put(struct outputs *outputs, const unsigned char *first);
/* Bit by bit, rows that are valid only, lse if with_lse. */
bool outputs_equal(const struct outputs *outputs, const unsigned char *first,
                   const struct rule_view *view, bool with_lse);
/* Where they differ: how many valid rows of out do, and the first element of them; with d = -1, the
 * first lse where no row of out does. `got` is what is there now, `expected` what `first` has. */
int64_t outputs_difference(const struct outputs *outputs, const unsigned char *first,
                           const struct rule_view *view, struct deviation_place *place);
/* Whether an element of a valid row of out is as outputs_fill left it. */
bool outputs_any_unwritten(const struct outputs *outputs, const struct rule_view *view);
/* Whether a valid row of out that is neither 0 nor NaN everywhere is, bit by bit, what it was. */
bool outputs_row_kept(const struct outputs *outputs, const unsigned char *first,
                      const struct rule_view *view);

#endif
