/* The constants of the formulas, and what they were measured on. */
#include "tolerance.h"
#include "../../fixtures/problem.h"
#include "../../oracle/bulk.h"

static const double u32 = 0x1p-24;

/* The mean square of a relative rounding error, in units of u^2: 1/3 (uniform) times E[1/m^2] of a
 * mantissa m that is uniform in the logarithm, 3 / (8 ln 2). */
static const double rounding_variance = 0.18;

/* What f32 adds to the model. Three f32 kernels -- the textbook, a flash kernel with plain sums,
 * one with eight partial sums -- were judged 26,961 times (D 1 to 256, 1 to 131,072 keys, eleven
 * kinds of data): with these constants rho was at most 1.06 rho_chance, and t_max 0.84.
 *
 * Errors of logits, in units of u32 (S + 1): a dot product of D terms of one sign, summed in order,
 * has 0.4 sqrt(D / 3), which is 3.7 for D = 256; of random signs a tenth of that. Beyond, the slope
 * grows as that does: summed in order D 576 had a rho of 2.5 and D 1,024 of 3.6 otherwise, on data
 * whose products have one sign, where D 256 has 1.7 (84 problems in f32, 500 keys). */
static const double logit_slope = 2.5, slope_head_dim = 256;

/* The square of a plain sum's error, in units of n u32^2 times its size squared: 0.18 for a partial
 * sum of average mantissa, 1/3 at worst; a third of that for one that grows evenly; twice, because
 * numerator and denominator have it. */
static const double sum_variance = 0.2;
/* ... and the most it may be, in units of sqrt(n) u32: about six times its root mean square. */
static const double sum_most = 2;

/* Of errors of one sign, each at most half an ulp of the sum: plain sums of 1,024 to 131,072 equal
 * addends, or of addends that vanish beside the first, came to at most 0.43 of sum_bias; and a mean
 * square of (1/5)^2. */
static const double bias_most = 0.5, bias_variance = 0.04;

/* How much of a row has equal weights, whose rounding errors are one. */
static double common_part(const struct row_size *size) {
    return size->keys > 0 ? fmin(size->sum_bias / (u32 * (double)size->keys), 1) : 0;
}

double unit_roundoff(enum attn_dtype dtype) {
    switch (dtype) {
    case ATTN_F16:
        return 0x1p-11;
    case ATTN_BF16:
        return 0x1p-8;
    default:
        return 0x1p-24;
    }
}

double roundoff_of_out(const struct attn_problem *problem) {
    return rules_out_dtype(problem) == ATTN_E4M3 ? 0x1p-4
                                                 : unit_roundoff((enum attn_dtype)problem->dtype);
}

struct rounding rounding_of(const struct rule_view *view, const struct promise *promise) {
    const enum attn_dtype dtype = (enum attn_dtype)view->problem->dtype;
    const enum attn_dtype kept = promise->p_dtype == ATTN_INPUT ? dtype : promise->p_dtype;
    /* S rounded once, and twice where the scale is a rounding of its own. */
    const double s_roundings = promise->grade == 'B' ? 1 : promise->grade == 'C' ? 2 : 0;
    struct rounding rounding = {
        .dtype = rules_out_dtype(view->problem),
        .unit = rules_out_scale(view),
        .roundoff = roundoff_of_out(view->problem),
        .ulp_least = 0x1p-149,
        .overflow = 0x1.ffffffp127,
        .most = INFINITY,
        .p_roundoff = unit_roundoff(kept),
        .s_roundoff = s_roundings * unit_roundoff(dtype),
        .p_subnormal = kept == ATTN_F16,
        .lse_unit = promise->lse_base_2 ? 0x1.62e42fefa39efp-1 : 1,
    };
    if (dtype == ATTN_F16) rounding.ulp_least = 0x1p-24, rounding.overflow = 65520;
    if (dtype == ATTN_BF16) rounding.ulp_least = 0x1p-133, rounding.overflow = 0x1.ffp127;
    if (rounding.dtype == ATTN_E4M3) {
        rounding.ulp_least = 0x1p-9;
        rounding.overflow = INFINITY;
        rounding.most = 448 * rounding.unit;
    }
    return rounding;
}

struct row_size row_size_of(const struct rule_view *view, const struct answer *answer, int64_t b,
                            int64_t h, int64_t row) {
    const int64_t at = (b * answer->q_heads + h) * answer->row_count + row;
    const bool sized = isfinite(answer->logit_abs[at]) && isfinite(answer->logit_max[at]);
    struct row_size size = {.logit_abs = sized ? answer->logit_abs[at] : 0,
                            .logit_max = sized ? answer->logit_max[at] : 0,
                            .sum_bias = answer->sum_bias[at],
                            .keys = rules_keys(view, b, h, answer->rows[row]).count,
                            .head_dim = view->problem->head_dim};
    /* Of what the sink leaves less than 2^-33 of, the rest is not told by lse. */
    const double sink = rules_sink(view, b, h);
    if (sink != -INFINITY && answer->lse[at] - sink < 0x1p-33)
        size.flushed = fmin(1, (double)size.keys * 0x1p-126 * exp(size.logit_max + sink));
    /* Logits that are all nearly 0: the addends differ by less than an ulp of their sum. */
    const double equal = (double)size.keys * u32;
    if (size.logit_max <= equal)
        size.sum_bias = fmax(size.sum_bias, fmin(equal, 4 * size.logit_max));
    return size;
}

struct row_bounds row_bounds_of(const struct rounding *rounding, const struct row_size *size,
                                double columns, int64_t value_dim) {
    const double u_p = rounding->p_roundoff, bias = size->sum_bias * bias_most;
    const double common = common_part(size),
                 o_part = rounding_variance * u_p * u_p * common * common;
    const double u_s = rounding->s_roundoff * size->logit_max, u = u_p + u_s;
    const double longer = sqrt(fmax(1, (double)size->head_dim / slope_head_dim));
    const double logit = logit_slope * longer * u32 * (size->logit_abs + 1);
    const double together = size->head_dim == 1 ? (double)size->keys : 1;
    const double sum2 = sum_variance * (double)size->keys * u32 * u32;
    const double sum = sum_most * sqrt((double)size->keys) * u32;
    const bool byte = rounding->dtype == ATTN_E4M3;
    return (struct row_bounds){
        .o_slope = (byte ? 0 : rounding->roundoff) + sum + bias + common * u_p,
        .p_a_slope = u,
        .p_r_slope = 4 * u,
        .a_slope = (2 * (8 * size->logit_abs + 8) + 8) * u32 +
                   (rounding->p_roundoff > u32 ? 0 : bias) + size->flushed,
        .r_slope = sum,
        .constant = byte ? 0 : rounding->ulp_least / 2,
        .unit = byte ? rounding->unit : 0,
        .roundoff = rounding->roundoff,
        .ulp_least = rounding->ulp_least,
        .r2_slope = rounding_variance * u_p * u_p + logit * logit * together + sum2 +
                    size->flushed * size->flushed * (double)size->keys, /* A^2 is at most n R^2 */
        .s2_slope = rounding_variance * u_s * u_s,
        .o2_slope = sum2 + size->sum_bias * size->sum_bias * bias_variance + o_part,
        .shared = fmax(1 / columns - 1 / (double)value_dim, 0),
    };
}

/* 2^31 keys of the largest f16 come to 2^-79. */
static const double flushed_most = 0x1p-60;

double tolerance_flushed(const struct rule_view *view, const struct answer *answer, int64_t b,
                         int64_t h, int64_t row, int64_t d) {
    const struct attn_problem *problem = view->problem;
    const struct rule_keys keys = rules_keys(view, b, h, answer->rows[row]);
    const int64_t g = h / (problem->q_heads / problem->kv_heads);
    const int64_t from = (b * answer->q_heads + h) * answer->row_count + row;
    const double a = answer->p_abs_v[from * answer->value_dim + d];
    double most = 0, v[PROBLEM_HEAD_DIM_MAX];
    if (!(a > 0 && a < flushed_most)) return 0;
    for (int64_t n = 0; n < keys.count; n++) {
        bulk_widen_kv(v, NULL, NULL, view, b, g, rule_token(&keys, n), true, d + 1);
        most = fmax(most, fabs(v[d]));
    }
    return fmin(a, (double)keys.count * 0x1p-126 * most);
}

double tolerance_of_lse(const struct rounding *rounding, const struct row_size *size,
                        double expected, char lse_grade) {
    const double keys = (double)size->keys;
    const double a = 2 * (u32 * (8 * size->logit_abs + 8) + 0x1p-22 * (1 + fabs(expected))) +
                     sqrt(keys) * u32 + size->sum_bias * bias_most +
                     (rounding->lse_unit != 1 ? 2 * u32 * fabs(expected) : 0);
    if (lse_grade != 'B') return a;
    return a + rounding->p_roundoff + 0x1p-13 + (rounding->p_subnormal ? keys * 0x1p-25 : 0) +
           rounding->s_roundoff * size->logit_max;
}

double tolerance_at(const struct rule_view *view, const struct answer *answer,
                    const struct promise *promise, int64_t b, int64_t h, int64_t row, int64_t d) {
    const int64_t from = (b * answer->q_heads + h) * answer->row_count + row;
    const struct row_size size = row_size_of(view, answer, b, h, row);
    const struct rounding rounding = rounding_of(view, promise);
    const double lse = answer->lse[from];
    if (d < 0)
        return isfinite(lse) ? tolerance_of_lse(&rounding, &size, lse, promise->lse_grade) : 0;
    const int64_t at = from * answer->value_dim + d;
    const struct row_bounds bounds = row_bounds_of(&rounding, &size, 1, answer->value_dim);
    if (!isfinite(answer->out[at])) return 0;
    const double lost = rounding.p_subnormal && answer->lost_abs_v != NULL
                            ? tolerance_lost(answer->lost_abs_v[at], answer->lost_rms_v[at])
                            : tolerance_flushed(view, answer, b, h, row, d);
    return tolerance_tau(&bounds, rounding_target(&rounding, answer->out[at]), answer->p_abs_v[at],
                         answer->p_rms_v[at], lost);
}
