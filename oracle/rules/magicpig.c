/* MagicPIG: the kept tokens were sampled by locality-sensitive hashing, and each logit is corrected
 * by the log of the probability u that its token was sampled (at least two of L tables of K bits
 * agree). With c the cosine of q and k, p = 1 - acos(c)/pi and x = p^K:
 *     u = 1 - (1-x)^L - L x (1-x)^(L-1)
 * which cancels for small x, and so it is evaluated as -expm1(y) with
 *     y = (L-1) log1p(-x) + log1p((L-1) x)
 * whose first-order terms cancel too; where x is small, y is summed from its second-order term on.
 *
 * Its error: a kernel computes c in f32, off by some units of u32 = 2^-24, and the logit moves by
 * |d log u / d c| times that. Gate 2 allows (8 S + 8) u32 for a logit, so adding |d log u / d c|
 * to S allows exactly 8 u32 of error in c. */
#include "../rule.h"

#include <inttypes.h>
#include <math.h>

static const double cosine_max = 1 - 1e-7, u_min = 1e-10;

static const struct rule_tensor tensors[] = {{ATTN_LSH_K, ATTN_F32, 2, {SIZE_BATCH, SIZE_Q_HEADS}},
                                             {ATTN_LSH_L, ATTN_F32, 2, {SIZE_BATCH, SIZE_Q_HEADS}},
                                             {.rank = 0}};

/* (L-1) log1p(-x) + log1p((L-1) x) to a few units in its own last place; a = L - 1. Its series is
 * -sum over n >= 2 of (a + (-a)^n) x^n / n: below 0.01, ten terms leave nothing to 2^-53. */
static double log_missed(double x, double a) {
    if (x * (a > 1 ? a : 1) >= 0.01) return a * log1p(-x) + log1p(a * x);
    double sum = 0, x_n = x, a_n = -a * x;
    for (int n = 2; n <= 11; n++) {
        x_n *= x;
        a_n *= -a * x;
        sum -= (a * x_n + a_n) / n;
    }
    return sum;
}

static void logit_correct(const struct rule_view *view, int64_t b, int64_t h,
                          struct rule_logit *logit) {
    const int64_t row = b * view->problem->q_heads + h;
    const double K = ((const float *)view->tensors[ATTN_LSH_K].data)[row];
    const double L = ((const float *)view->tensors[ATTN_LSH_L].data)[row];
    const double pi = 0x1.921fb54442d18p+1;

    double c = logit->dot / (logit->q_norm * logit->k_norm + 1e-8);
    c = c > cosine_max ? cosine_max : c < -cosine_max ? -cosine_max : c; /* NaN stays */
    const double p = acos(-c) / pi; /* 1 - acos(c)/pi, without cancelling near c = -1 */
    const double x = pow(p, K);
    double u = -expm1(log_missed(x, L - 1));
    u = u < u_min ? u_min : u;
    logit->value -= log(u);

    /* du/dx = L (L-1) x (1-x)^(L-2), dx/dp = K x/p, dp/dc = 1 / (pi sqrt(1 - c^2)) */
    const double du_dx = L * (L - 1) * x * pow(1 - x, L - 2);
    logit->size += du_dx * K * x / p / (pi * sqrt((1 - c) * (1 + c))) / u;
}

static bool check(const struct rule_view *view, struct fault *fault) {
    const struct attn_problem *problem = view->problem;
    static const struct {
        enum attn_slot slot;
        const char *name;
    } checked[] = {{ATTN_LSH_K, "lsh_k"}, {ATTN_LSH_L, "lsh_l"}};
    for (int c = 0; c < 2; c++) {
        const float *values = view->tensors[checked[c].slot].data;
        for (int64_t row = 0; row < problem->batch * problem->q_heads; row++)
            if (!isfinite(values[row]) || values[row] < 1)
                return fault_set(fault, FAULT_INPUT,
                                 "%s[%" PRId64 ",%" PRId64 "] is %g: expected a number from 1 up",
                                 checked[c].name, row / problem->q_heads, row % problem->q_heads,
                                 (double)values[row]);
    }
    return true;
}

/* Uniform in [1, 6), multiples of 2^-16: exact in f32. */
static void draw_tables(const struct rule_view *view, const struct rule_draw *draw) {
    const enum attn_slot slots[] = {ATTN_LSH_K, ATTN_LSH_L};
    for (int s = 0; s < 2; s++) {
        float *values = view->tensors[slots[s]].data;
        for (int64_t row = 0; row < view->problem->batch * view->problem->q_heads; row++)
            values[row] =
                (float)(0x10000 + rule_below(&draw->random, slots[s], (uint64_t)row, 5 * 0x10000)) *
                0x1p-16f;
    }
}

const struct rule rule_magicpig = {
    .trait = ATTN_MAGICPIG,
    .name = "magicpig",
    .meaning = "logits lose log u, the probability that LSH sampled the token",
    .words = "magicpig",
    .tensors = tensors,
    .needs_norms = true,
    .corrects = true,
    .logit = logit_correct,
    .check = check,
    .draw = draw_tables,
};
