/* How large an error may honestly be. The formulas are those of reports/README.md, "When is a
 * kernel right", for an element o of a row that sees n keys, with A = sum p |v|, R = sqrt(sum p^2
 * v^2) and S, the largest scale * sum |q| |k| of the row:
 *
 *   tau     = u_out |o| + min(u_P A, 4 u_P R) + (2 (8 S + 8) + 8) u32 A
 *             + 2 sqrt(n) u32 (|o| + R) + half a subnormal ulp
 *   model^2 = (o rounded - o)^2 + 0.18 u_P^2 R^2
 *             + 6.25 u32^2 (S + 1)^2 R^2 + 0.2 n u32^2 (o^2 + R^2)
 *   lse     within 2 (u32 (8 S + 8) + 2^-22 (1 + |lse|)) + sqrt(n) u32
 *
 * The terms with n are what a plain f32 sum of n terms may do, whose rounding errors walk at
 * random: 0.3 to 0.4 sqrt(n) u32 of the partial sums. The one with S is the rounding of logits,
 * independent from key to key. Beside a 16-bit u_P both vanish (f16, 4,096 keys: less than 1 % of
 * tau, 0.01 % of model); of a kernel that keeps P in f32 they are the better part. */
#ifndef ATTEST_TOLERANCE_H
#define ATTEST_TOLERANCE_H

#include "../../oracle/answer.h"
#include "../../oracle/rule.h"

#include <math.h>

/* Unit roundoff of a float dtype: f16 2^-11, bf16 2^-8, f32 2^-24. */
double unit_roundoff(enum attn_dtype dtype);

/* What a kernel rounds to: its output's type, and that of P. */
struct rounding {
    enum attn_dtype dtype;
    double roundoff;   /* u_out */
    double ulp_least;  /* the distance of subnormals */
    double overflow;   /* from here on a value rounds to Inf */
    double p_roundoff; /* u_P */
};
/* p_dtype as in attn_kernel: ATTN_INPUT is `dtype`. */
struct rounding rounding_of(enum attn_dtype dtype, enum attn_dtype p_dtype);

/* What a row's elements have in common. */
struct row_bounds {
    double o_slope, p_a_slope, p_r_slope, a_slope, r_slope,
        constant;              /* of tau, see tolerance_tau */
    double r2_slope, o2_slope; /* model^2 = (o rounded - o)^2 + r2_slope R^2 + o2_slope o^2 */
    double shared;             /* what columns of V that move together add to 1 / n_eff */
};
/* `columns` as chance_columns (chance.h) counts them; 1 where only tau is asked for. */
struct row_bounds row_bounds_of(const struct rounding *rounding, double logit_abs, int64_t keys,
                                double columns, int64_t head_dim);

/* Inlined, so that it is part of a caller's vector loop. */
static inline __attribute__((always_inline)) double tolerance_tau(const struct row_bounds *bounds,
                                                                  double o, double a, double r) {
    const double p_a = bounds->p_a_slope * a, p_r = bounds->p_r_slope * r;
    return bounds->o_slope * fabs(o) + (p_a < p_r ? p_a : p_r) + bounds->a_slope * a +
           bounds->r_slope * r + bounds->constant;
}

double tolerance_of_lse(double expected, double logit_abs, int64_t keys);

/* How far an element of out -- with d -1, an lse -- may be from the answer; 0 where that is not
 * finite. `row` counts the rows that the answer holds of (b, h). */
double tolerance_at(const struct rule_view *view, const struct answer *answer,
                    enum attn_dtype p_dtype, int64_t b, int64_t h, int64_t row, int64_t d);

#endif
