/* The oracle's inner loops, written so that the compiler makes vectors of them, in three versions
 * of which the loader picks one for the machine. BULK marks static functions only: clang 14 gives a
 * cloned function's symbol a name that other files do not find. */
#ifndef ATTEST_BULK_H
#define ATTEST_BULK_H

#include "rule.h"

#include <stdbool.h>

#if defined(__x86_64__) && defined(__GLIBC__)
#define BULK __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define BULK
#endif

/* value[0..n) = source as f64, magnitude = |value|, square = value^2 (magnitude and square may be
 * NULL). False if any value is NaN or infinite. */
bool bulk_widen(double *value, double *magnitude, double *square, const void *source,
                enum attn_dtype dtype, int64_t n);

/* The same of the first n elements of a key, or a value: of what is stored, times its scale where
 * the problem has one, which is exact. */
bool bulk_widen_kv(double *value, double *magnitude, double *square, const struct rule_view *view,
                   int64_t b, int64_t g, int64_t t, bool of_value, int64_t n);

/* The same of n elements of an output: of what is stored, times its scale where there is one. */
bool bulk_widen_out(double *value, const struct rule_view *view, const void *source, int64_t n);

/* x *= factor */
void bulk_scale(double *x, double factor, int64_t n);

/* x -= y */
void bulk_subtract(double *x, const double *y, int64_t n);

/* x = exp(x - shift), square = x^2; returns the sum of x. */
double bulk_exp_sum(double *x, double *square, int64_t n, double shift);

/* The largest of x, -infinity if n is 0; the smallest, infinity if n is 0. No NaN. */
double bulk_max(const double *x, int64_t n);
double bulk_min(const double *x, int64_t n);

/* How many of x are within 2^-26 of the value 16 before them -- of the first 16: behind -- and not
 * within that of `top`; and in *at_top how many are within that of both. */
double bulk_ties(const double *x, int64_t n, double top, double *at_top);

#endif
