/* How large an error may honestly be. The formulas are those of reports/README.md, "When is a
 * kernel right", for an element o of a row that sees n keys, with A = sum p |v|, R = sqrt(sum p^2
 * v^2) and S, the largest scale * sum |q| |k| of the row:
 *
 *   tau     = u_out |o| + min(u A, 4 u R) + (2 (8 S + 8) + 8) u32 A
 *             + 2 sqrt(n) u32 (|o| + R) + m / 2 (|o| + A) + c u_P |o| + half a subnormal ulp
 *             + lost_abs_v + 4 sqrt(3) lost_rms_v, where P is kept in f16
 *             of an output of 8 bits, for u_out |o| and half a subnormal ulp, half an ulp at |o| +
 *             all else
 *   model^2 = (o rounded - o)^2 + 0.18 u_P^2 R^2
 *             + 6.25 u32^2 (S + 1)^2 R^2 [n R^2 where D = 1] + 0.2 n u32^2 (o^2 + R^2)
 *             + (m^2 / 25 + 0.18 u_P^2 c^2) o^2 + lost_rms_v^2, where P is kept in f16
 *   lse     within 2 (u32 (8 S + 8) + 2^-22 (1 + |lse|)) + sqrt(n) u32 + m / 2
 *           of grade B: u_P + 2^-13 + n 2^-25 more, the last where P is kept in f16; where S is
 * kept in 16 bits, as much of u_S X more as u has
 *           of base 2: 2^-23 |lse| more, the product with log2 e and that constant as f32
 *
 * u is u_P, and u_S X more for a promise of grade B, 2 u_S X for C: logits rounded to 16 bits once,
 * or twice because the scale is a rounding of its own. X is the largest |logit|. What such an S
 * adds to model^2, 0.18 of the square of that times R^2, widens the limits on rho of B and C alone:
 * rho itself is measured with one rule whatever a kernel promises.
 *
 * The terms with n are what a plain f32 sum of n terms may do, whose rounding errors walk at
 * random: 0.3 to 0.4 sqrt(n) u32 of the partial sums. m, `sum_bias`, is what errors of one sign
 * come to: of addends that are equal, and of those that vanish beside the sum (with A only where P
 * is kept in f32). c = m / (n u32), at most 1, is the part of P that is equal and rounded alike.
 * The term with S is the rounding of logits, independent from key to key, but where D is 1: there
 * all cosines are 1 or -1, MagicPIG's u is one of two numbers, and its errors add up (n R^2 is at
 * least A^2). Beside a 16-bit u_P these vanish (f16, 4,096 keys: less than 1 % of tau, 0.01 % of
 * model); of a kernel that keeps P in f32 they are the better part.
 *
 * f16 has subnormals (answer.h): a weight below 2^-14 of the row's largest is rounded by up to
 * 2^-25, whatever its size, and is 0 below that. Kernels round relative to a running maximum, which
 * is never larger than the last one: what they lose is never more. What is rounded to 0 has one
 * sign and adds up; the rest is independent, at most sqrt(3) of its root mean square.
 *
 * Without a sink the largest weight is 1, and what f32 rounds or flushes below 2^-126 does not
 * show -- but where the values of all keys of more weight are exactly 0, as those of 8 bits often
 * are: then n 2^-126 |v| may be lost, of the largest |v| of the column (tolerance_flushed). With a
 * sink all of a row's weights may be that small: then as much is at most A times the ratio of that
 * to the largest weight, exp(-X - sink) or more.
 *
 * An output of 8 bits is stored over a scale, and an ulp is E4M3's times that. u_out |o| is up to a
 * whole ulp, 2^-3 of an element, beside which no other error shows. So tau has half an ulp there,
 * and the rest of tau once: what is not the answer rounded has to be its neighbour, near a tie.
 * What E4M3 cannot say is stored as the largest of its sign, and compared with that.
 *
 * An lse of grade B comes from a sum of the rounded P, each within u_P of itself, or from an
 * exponential by a polynomial of degree 3, whose relative error is 2^-13.5. */
#ifndef ATTEST_TOLERANCE_H
#define ATTEST_TOLERANCE_H

#include "../../kernels/attn_number.h"
#include "../../oracle/answer.h"
#include "../../oracle/rule.h"

#include <math.h>

/* Unit roundoff of a float dtype: f16 2^-11, bf16 2^-8, f32 2^-24. */
double unit_roundoff(enum attn_dtype dtype);
/* That of an output: as of q, or, of 8 bits, 2^-4. */
double roundoff_of_out(const struct attn_problem *problem);

/* What a kernel says of its accuracy. */
struct promise {
    enum attn_dtype p_dtype; /* as in attn_kernel: ATTN_INPUT is the dtype of q */
    char grade, lse_grade;   /* 'A', 'B', 'C'; of lse 'A' or 'B' */
    bool lse_base_2;         /* lse is to base 2 */
};

/* What a kernel rounds to: its output's type, and those of S and P. */
struct rounding {
    enum attn_dtype dtype;
    double unit;       /* what is stored times that is meant: out_scale, or 1 */
    double roundoff;   /* u_out */
    double ulp_least;  /* the distance of subnormals, as stored */
    double overflow;   /* from here on a value rounds to Inf */
    double most;       /* of 8 bits the largest there is, times unit; else Inf */
    double p_roundoff; /* u_P */
    double s_roundoff; /* u_S of grade B, 2 u_S of grade C; 0 of A: S is kept in f32 */
    bool p_subnormal;  /* P is kept in f16 */
    double lse_unit;   /* an lse times that is natural, as all lse are judged: 1, of base 2 ln 2 */
};
struct rounding rounding_of(const struct rule_view *view, const struct promise *promise);
/* What an element should be whose answer is o. */
static inline double rounding_target(const struct rounding *rounding, double o) {
    return o > rounding->most ? rounding->most : o < -rounding->most ? -rounding->most : o;
}

/* What the answer and the rules say of a row. */
struct row_size {
    double logit_abs, logit_max; /* answer.h */
    double sum_bias;             /* the same; where X <= n u32, at least min(n u32, 4 X) */
    double flushed;              /* by which part of A weights below f32's least normal may be off:
                                    0 but where a sink leaves the keys next to nothing */
    int64_t keys, head_dim;
};
/* Of row `row` of those that the answer holds of (b, h), which is query `i`. A row that holds no
 * number has no sizes: it is judged by that alone. */
struct row_size row_size_of(const struct rule_view *view, const struct answer *answer, int64_t b,
                            int64_t h, int64_t row);

/* What a row's elements have in common. */
struct row_bounds {
    /* of tau, see tolerance_tau */
    double o_slope, p_a_slope, p_r_slope, a_slope, r_slope, constant;
    double unit, roundoff, ulp_least; /* of an output of 8 bits: struct rounding; unit 0: of none */
    double r2_slope, o2_slope; /* model^2 = (o rounded - o)^2 + r2_slope R^2 + o2_slope o^2 */
    double s2_slope;           /* S in 16 bits, of a promise below A: s2_slope R^2 more */
    double shared;             /* what columns of V that move together add to 1 / n_eff */
};
/* `columns` as chance_columns (chance.h) counts them; 1 where only tau is asked for. */
struct row_bounds row_bounds_of(const struct rounding *rounding, const struct row_size *size,
                                double columns, int64_t value_dim);

/* Inlined, so that it is part of a caller's vector loop. `lost`: tolerance_lost, where weights are.
 */
static inline __attribute__((always_inline)) double
tolerance_tau(const struct row_bounds *bounds, double o, double a, double r, double lost) {
    const double p_a = bounds->p_a_slope * a, p_r = bounds->p_r_slope * r;
    const double tau = bounds->o_slope * fabs(o) + (p_a < p_r ? p_a : p_r) + bounds->a_slope * a +
                       bounds->r_slope * r + bounds->constant + lost;
    if (bounds->unit == 0) return tau;
    const double stored = (fabs(o) + tau) / bounds->unit;
    const double half =
        attn_f64_from_bits(attn_f64_bits(stored) & 0x7ff0000000000000u) * bounds->roundoff;
    const double least = bounds->ulp_least / 2;
    return tau + bounds->unit * (half > least ? half : least);
}

/* What tau grows by where weights are lost. */
static inline __attribute__((always_inline)) double tolerance_lost(double lost_abs_v,
                                                                   double lost_rms_v) {
    return lost_abs_v + 4 * 0x1.bb67ae8584caap+0 * lost_rms_v;
}

/* How much of an element is of weights that f32 may lose: 0 where A is more than such weights make.
 */
double tolerance_flushed(const struct rule_view *view, const struct answer *answer, int64_t b,
                         int64_t h, int64_t row, int64_t d);

/* How far an lse may be from `expected`. */
double tolerance_of_lse(const struct rounding *rounding, const struct row_size *size,
                        double expected, char lse_grade);

/* How far an element of out -- with d -1, an lse -- may be from the answer; 0 where that is not
 * finite. `row` counts the rows that the answer holds of (b, h). */
double tolerance_at(const struct rule_view *view, const struct answer *answer,
                    const struct promise *promise, int64_t b, int64_t h, int64_t row, int64_t d);

#endif
