/* Two kernels nobody has to run, to put beside the others in a report: they say how much of a
 * deviation is the output type's, and how much of it people are used to.
 *   ideal   the exact output rounded once to the output type, the exact lse rounded to f32
 *   std16   attention as a textbook writes it in 16 bits: K times scale rounded, S rounded, P
 *           normalised and rounded, P V summed in f32; lse from the rounded S. Not for f32. */
#ifndef ATTEST_ANCHOR_H
#define ATTEST_ANCHOR_H

#include "deviation.h"

enum anchor { ANCHOR_IDEAL, ANCHOR_STD16, ANCHOR_COUNT };

const char *anchor_name(enum anchor anchor);

/* Whether there is such a row for the problem. */
bool anchor_exists(enum anchor anchor, const struct attn_problem *problem);

/* Fills out [batch, q_heads, q_len, value_dim] as the problem has it and lse [batch, q_heads,
 * q_len] where the answer has rows, with 0 elsewhere. False only without memory. */
bool anchor_out(enum anchor anchor, const struct rule_view *view, const struct answer *answer,
                void *out, float *lse, int threads, struct fault *fault);

/* The anchor's deviation. std16 costs as much as a naive kernel: it is computed for as many rows of
 * each head, evenly taken from those the answer has, as keep visible pairs times D below work_max,
 * but at least for one. rho is a ratio of means and hardly depends on which; so the quotient of a
 * kernel's rho and this one's is the kernel's rho_std16. */
bool anchor_measure(struct deviation *deviation, enum anchor anchor, const struct rule_view *view,
                    const struct answer *answer, double work_max, int threads, struct fault *fault);

#endif
