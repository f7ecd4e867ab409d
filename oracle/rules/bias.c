/* A tensor added to the logits, after a softcap: a mask or a learned bias, as attn_mask of PyTorch
 * and ONNX and bias of JAX are. It may be the same for all sequences, or for all query heads. f32
 * holds those of 16 bits exactly. Where it is -infinity a key has weight 0, and is seen all the
 * same: libraries read it, multiply its value with that 0, and make NaN of NaN. */
#include "../rule.h"

#include <inttypes.h>
#include <math.h>

static const struct rule_tensor tensors[] = {
    {ATTN_BIAS, ATTN_F32, 4, {SIZE_BIAS_BATCH, SIZE_BIAS_HEADS, SIZE_Q_LEN, SIZE_KV_LEN}},
    {.rank = 0}};

/* Of a key that is hidden the size stays: it has no weight. */
static void add_bias(const struct rule_view *view, int64_t b, int64_t h, struct rule_logit *logit) {
    const double bias = (double)rules_bias(view, b, h, logit->i)[logit->t];
    logit->value = bias == -INFINITY ? bias : logit->value + bias;
    if (bias != -INFINITY) logit->size += fabs(bias);
}

/* |bias| is in S, which says how far a kernel may be off: a finite -1e4 that is to hide keys would
 * hide errors, too. */
static const float most = 1000;

static bool check(const struct rule_view *view, struct fault *fault) {
    const struct attn_problem *problem = view->problem;
    const float *bias = view->tensors[ATTN_BIAS].data;
    const int64_t rows = problem->bias_batch * problem->bias_heads * problem->q_len;
    for (int64_t n = 0; n < rows * problem->kv_len; n++)
        if (!(fabsf(bias[n]) <= most) && bias[n] != -INFINITY)
            return fault_set(fault, FAULT_INPUT,
                             "bias[%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64
                             "] is %g: expected %g to %g, or -infinity",
                             n / problem->kv_len / problem->q_len / problem->bias_heads,
                             n / problem->kv_len / problem->q_len % problem->bias_heads,
                             n / problem->kv_len % problem->q_len, n % problem->kv_len,
                             (double)bias[n], (double)-most, (double)most);
    return true;
}

/* Multiples of 1/32 in [-4, 4), which bf16 holds, too; one of eight is -infinity, and all of one
 * row of sixteen. */
static void draw_bias(const struct rule_view *view, const struct rule_draw *draw) {
    const struct attn_problem *problem = view->problem;
    float *bias = view->tensors[ATTN_BIAS].data;
    const int64_t rows = problem->bias_batch * problem->bias_heads * problem->q_len;
    for (int64_t row = 0; row < rows; row++) {
        const uint64_t of_row = (uint64_t)1 << 62 | (uint64_t)row;
        const bool hidden = rule_below(&draw->random, ATTN_BIAS, of_row, 16) == 0;
        for (int64_t t = 0; t < problem->kv_len; t++, bias++) {
            const int64_t drawn = rule_below(&draw->random, ATTN_BIAS,
                                             (uint64_t)(row * problem->kv_len + t), 8 * 256);
            *bias = hidden || drawn >= 7 * 256 ? -INFINITY : (float)(drawn % 256 - 128) / 32;
        }
    }
}

const struct rule rule_bias = {
    .trait = ATTN_BIASED,
    .name = "bias",
    .meaning = "a tensor is added to the logits; -infinity: a key has weight 0",
    .words = "bias or bias1,1: of so many sequences and query heads",
    .tensors = tensors,
    .by_place = true,
    .logit = add_bias,
    .check = check,
    .draw = draw_bias,
};
