/* The constants of the formulas, and what they were measured on. */
#include "tolerance.h"

static const double u32 = 0x1p-24;

/* The mean square of a relative rounding error, in units of u^2: 1/3 (uniform) times E[1/m^2] of a
 * mantissa m that is uniform in the logarithm, 3 / (8 ln 2). */
static const double rounding_variance = 0.18;

/* What f32 adds to the model. Three f32 kernels -- the textbook, a flash kernel with plain sums,
 * one with eight partial sums -- were judged 26,961 times (D 1 to 256, 1 to 131,072 keys, eleven
 * kinds of data): with these constants rho was at most 1.06 rho_chance, and t_max 0.84.
 *
 * Errors of logits, in units of u32 (S + 1): a dot product of D terms of one sign, summed in order,
 * has 0.4 sqrt(D / 3), which is 3.7 for D = 256; of random signs a tenth of that. */
static const double logit_slope = 2.5;

/* The square of a plain sum's error, in units of n u32^2 times its size squared: 0.18 for a partial
 * sum of average mantissa, 1/3 at worst; a third of that for one that grows evenly; twice, because
 * numerator and denominator have it. */
static const double sum_variance = 0.2;
/* ... and the most it may be, in units of sqrt(n) u32: about six times its root mean square. */
static const double sum_most = 2;

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

struct rounding rounding_of(enum attn_dtype dtype, enum attn_dtype p_dtype) {
    const double u_p = unit_roundoff(p_dtype == ATTN_INPUT ? dtype : p_dtype);
    switch (dtype) {
    case ATTN_F16:
        return (struct rounding){dtype, 0x1p-11, 0x1p-24, 65520.0, u_p};
    case ATTN_BF16:
        return (struct rounding){dtype, 0x1p-8, 0x1p-133, 0x1.ffp127, u_p};
    default:
        return (struct rounding){dtype, 0x1p-24, 0x1p-149, 0x1.ffffffp127, u_p};
    }
}

struct row_bounds row_bounds_of(const struct rounding *rounding, double logit_abs, int64_t keys,
                                double columns, int64_t head_dim) {
    const double u_p = rounding->p_roundoff;
    const double logit = logit_slope * u32 * (logit_abs + 1);
    const double sum2 = sum_variance * (double)keys * u32 * u32;
    const double sum = sum_most * sqrt((double)keys) * u32;
    return (struct row_bounds){
        .o_slope = rounding->roundoff + sum,
        .p_a_slope = u_p,
        .p_r_slope = 4 * u_p,
        .a_slope = (2 * (8 * logit_abs + 8) + 8) * u32,
        .r_slope = sum,
        .constant = rounding->ulp_least / 2,
        .r2_slope = rounding_variance * u_p * u_p + logit * logit + sum2,
        .o2_slope = sum2,
        .shared = fmax(1 / columns - 1 / (double)head_dim, 0),
    };
}

double tolerance_of_lse(double expected, double logit_abs, int64_t keys) {
    return 2 * (u32 * (8 * logit_abs + 8) + 0x1p-22 * (1 + fabs(expected))) +
           sqrt((double)keys) * u32;
}

double tolerance_at(const struct rule_view *view, const struct answer *answer,
                    enum attn_dtype p_dtype, int64_t b, int64_t h, int64_t row, int64_t d) {
    const int64_t from = (b * answer->q_heads + h) * answer->row_count + row;
    const int64_t keys = rules_keys(view, b, h, answer->rows[row]).count;
    const double logit_abs = answer->logit_abs[from];
    if (d < 0)
        return isfinite(answer->lse[from]) ? tolerance_of_lse(answer->lse[from], logit_abs, keys)
                                           : 0;
    const int64_t at = from * answer->head_dim + d;
    const struct rounding rounding = rounding_of((enum attn_dtype)view->problem->dtype, p_dtype);
    const struct row_bounds bounds = row_bounds_of(&rounding, logit_abs, keys, 1, answer->head_dim);
    return isfinite(answer->out[at])
               ? tolerance_tau(&bounds, answer->out[at], answer->p_abs_v[at], answer->p_rms_v[at])
               : 0;
}
