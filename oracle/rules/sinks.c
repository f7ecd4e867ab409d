/* A place for weight to go where no key deserves it: one more logit for each query head, learned,
 * that takes part in the softmax and has no value (gpt-oss, arXiv:2508.10925, section 2.2). It is
 * neither scaled nor capped. A row that sees no key has all its weight there: out 0, lse the sink.
 */
#include "../rule.h"

#include <inttypes.h>
#include <math.h>

static const struct rule_tensor tensors[] = {{ATTN_SINKS, ATTN_F32, 1, {SIZE_Q_HEADS}},
                                             {.rank = 0}};

static double sink(const struct rule_view *view, int64_t b, int64_t h) {
    (void)b;
    return (double)((const float *)view->tensors[ATTN_SINKS].data)[h];
}

static bool check(const struct rule_view *view, struct fault *fault) {
    for (int64_t h = 0; h < view->problem->q_heads; h++)
        if (!isfinite(sink(view, 0, h)))
            return fault_set(fault, FAULT_INPUT,
                             "sinks[%" PRId64 "] is %g: expected a finite number", h,
                             sink(view, 0, h));
    return true;
}

/* Uniform in [0, 8), multiples of 2^-16: of 1,000 keys of logits N(0, 1), whose lse is 7.4, they
 * take from nearly nothing to more than half. */
static void draw_sinks(const struct rule_view *view, const struct rule_draw *draw) {
    float *values = view->tensors[ATTN_SINKS].data;
    for (int64_t h = 0; h < view->problem->q_heads; h++)
        values[h] =
            (float)rule_below(&draw->random, ATTN_SINKS, (uint64_t)h, 8 * 0x10000) * 0x1p-16f;
}

const struct rule rule_sinks = {
    .trait = ATTN_SINK,
    .name = "sinks",
    .meaning = "one more logit per query head in the denominator, without a value",
    .words = "sinks",
    .tensors = tensors,
    .sink = sink,
    .check = check,
    .draw = draw_sinks,
};
