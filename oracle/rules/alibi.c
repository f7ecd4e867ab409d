/* Attention with linear biases: a key weighs less the further it stands from the query, by a slope
 * of each query head (arXiv:2108.12409). slopes[h] (j - i'), i' the query's place on the diagonal:
 * of keys behind it, where any is seen, more, as the distance has a sign. */
#include "../rule.h"

#include <inttypes.h>
#include <math.h>

static const struct rule_tensor tensors[] = {{ATTN_SLOPES, ATTN_F32, 1, {SIZE_Q_HEADS}},
                                             {.rank = 0}};

static void add_bias(const struct rule_view *view, int64_t b, int64_t h, struct rule_logit *logit) {
    const double slope = (double)((const float *)view->tensors[ATTN_SLOPES].data)[h];
    const double bias = slope * (double)(logit->t - rule_place(view, b, logit->i));
    logit->value += bias;
    logit->size += fabs(bias);
}

static bool check(const struct rule_view *view, struct fault *fault) {
    const float *slopes = view->tensors[ATTN_SLOPES].data;
    for (int64_t h = 0; h < view->problem->q_heads; h++)
        if (!isfinite(slopes[h]))
            return fault_set(fault, FAULT_INPUT,
                             "slopes[%" PRId64 "] is %g: expected a finite number", h,
                             (double)slopes[h]);
    return true;
}

/* Uniform in (0, 0.5], multiples of 2^-16: as those of models, of which the steepest is 1/2. */
static void draw_slopes(const struct rule_view *view, const struct rule_draw *draw) {
    float *slopes = view->tensors[ATTN_SLOPES].data;
    for (int64_t h = 0; h < view->problem->q_heads; h++)
        slopes[h] =
            (float)(1 + rule_below(&draw->random, ATTN_SLOPES, (uint64_t)h, 0x8000)) * 0x1p-16f;
}

const struct rule rule_alibi = {
    .trait = ATTN_ALIBI,
    .name = "alibi",
    .meaning = "logit += slope_h (j - i'), i' = i + Skv - Sq",
    .words = "alibi",
    .tensors = tensors,
    .by_place = true,
    .logit = add_bias,
    .check = check,
    .draw = draw_slopes,
};
