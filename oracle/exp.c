/* exp in f64 for whole rows, and what a softmax does along a row.
 *
 * x = k ln 2 + r with |r| <= ln(2)/2; exp(r) by its Taylor polynomial of degree 13, whose remainder
 * is below 2^-57; then two multiplications by powers of two, each 2^(k/2), so that no intermediate
 * leaves the range of f64 before the result does. No branch, no table, no fused operation: every
 * machine has the same bits. Worst error seen: 1.53 x 2^-53. */
#include "bulk.h"
#include "oracle.h"
#include "../kernels/attn_number.h"

#include <math.h>

/* Adding and subtracting it rounds to an integer; its low bits then hold that integer. */
static const double rounder = 0x1.8p52;

/* ln 2 in two parts, the first with 21 zeros at its end: k times it is exact. */
static const double ln2_high = 0x1.62e42fee00000p-1, ln2_low = 0x1.a39ef35793c76p-33;

static const double taylor[] = {1.0 / 479001600,
                                1.0 / 39916800,
                                1.0 / 3628800,
                                1.0 / 362880,
                                1.0 / 40320,
                                1.0 / 5040,
                                1.0 / 720,
                                1.0 / 120,
                                1.0 / 24,
                                1.0 / 6,
                                1.0 / 2,
                                1,
                                1};

static inline double exp_one(double x) {
    x = x < -746 ? -746 : x; /* exp(-746) rounds to 0, exp(710) to infinity; NaN passes */
    x = x > 710 ? 710 : x;
    const double k = (x * 0x1.71547652b82fep+0 + rounder) - rounder;
    const double r = (x - k * ln2_high) - k * ln2_low;
    double sum = 1.0 / 6227020800;
    for (int n = 0; n < 13; n++) sum = sum * r + taylor[n];
    const double half = k * 0.5 + rounder, rest = (k - (half - rounder)) + rounder;
    return sum * attn_f64_from_bits((attn_f64_bits(half) + 1023) << 52) *
           attn_f64_from_bits((attn_f64_bits(rest) + 1023) << 52);
}

BULK static void exp_all(double *x, int64_t n) {
    for (int64_t j = 0; j < n; j++) x[j] = exp_one(x[j]);
}

/* Sixteen partial sums, always combined in the same order. */
BULK static double exp_sum(double *restrict x, double *restrict square, int64_t n, double shift) {
    double lane[16] = {0};
    int64_t j = 0;
    for (; j + 16 <= n; j += 16)
        for (int l = 0; l < 16; l++) {
            x[j + l] = exp_one(x[j + l] - shift);
            square[j + l] = x[j + l] * x[j + l];
            lane[l] += x[j + l];
        }
    for (; j < n; j++) {
        x[j] = exp_one(x[j] - shift);
        square[j] = x[j] * x[j];
        lane[j % 16] += x[j];
    }
    for (int width = 8; width; width /= 2)
        for (int l = 0; l < width; l++) lane[l] += lane[l + width];
    return lane[0];
}

BULK static double max(const double *x, int64_t n) {
    double lane[16];
    int64_t j = 0;
    for (int l = 0; l < 16; l++) lane[l] = -INFINITY;
    for (; j + 16 <= n; j += 16)
        for (int l = 0; l < 16; l++) lane[l] = x[j + l] > lane[l] ? x[j + l] : lane[l];
    for (; j < n; j++) lane[0] = x[j] > lane[0] ? x[j] : lane[0];
    for (int l = 1; l < 16; l++) lane[0] = lane[l] > lane[0] ? lane[l] : lane[0];
    return lane[0];
}

BULK static double min(const double *x, int64_t n) {
    double lane[16];
    int64_t j = 0;
    for (int l = 0; l < 16; l++) lane[l] = INFINITY;
    for (; j + 16 <= n; j += 16)
        for (int l = 0; l < 16; l++) lane[l] = x[j + l] < lane[l] ? x[j + l] : lane[l];
    for (; j < n; j++) lane[0] = x[j] < lane[0] ? x[j] : lane[0];
    for (int l = 1; l < 16; l++) lane[0] = lane[l] < lane[0] ? lane[l] : lane[0];
    return lane[0];
}

BULK static double ties(const double *restrict x, int64_t n, double top, double *at_top) {
    enum { APART = 16 };
    double lane[APART] = {0}, lane_top[APART] = {0};
    if (n <= APART) return *at_top = 0;
    for (int64_t block = 0; block < n; block += APART) {
        const int64_t other = block == 0 ? APART : block - APART;
        const int64_t left = n - (block > other ? block : other);
        const int count = left < APART ? (int)left : APART;
        for (int l = 0; l < count; l++) {
            const double tie = fabs(x[block + l] - x[other + l]) < 0x1p-26 ? 1 : 0;
            const double is_top = fabs(x[block + l] - top) < 0x1p-26 ? 1 : 0;
            lane[l] += tie * (1 - is_top);
            lane_top[l] += tie * is_top;
        }
    }
    double sum = 0;
    *at_top = 0;
    for (int l = 0; l < APART; l++) {
        sum += lane[l];
        *at_top += lane_top[l];
    }
    return sum;
}

void oracle_exp(double *x, int64_t n) {
    exp_all(x, n);
}

double bulk_exp_sum(double *x, double *square, int64_t n, double shift) {
    return exp_sum(x, square, n, shift);
}

double bulk_max(const double *x, int64_t n) {
    return max(x, n);
}

double bulk_min(const double *x, int64_t n) {
    return min(x, n);
}

double bulk_ties(const double *x, int64_t n, double top, double *at_top) {
    return ties(x, n, top, at_top);
}
