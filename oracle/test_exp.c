/* The loops under the oracle: exp and its row sum, conversions, maxima. */
#include "bulk.h"
#include "oracle.h"
#include "../kernels/attn_number.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* Error relative to exp(x), or in units of the smallest subnormal where that is coarser. */
static double error_at(double x) {
    double got = x;
    oracle_exp(&got, 1);
    const long double expected = expl((long double)x);
    const long double unit = expected * 0x1p-51L > 0x1p-1074L ? expected : 0x1p-1023L;
    return (double)(fabsl((long double)got - expected) / unit);
}

static double next_uniform(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) * 0x1p-53;
}

Test(exp, is_within_2_to_the_minus_51_over_its_range) {
    uint64_t state = 1;
    for (int n = 0; n < 2000000; n++) {
        const double x = n % 2 ? -745 + 1454 * next_uniform(&state) : -40 * next_uniform(&state);
        cr_assert(error_at(x) <= 0x1p-51, "exp(%a) is off by %a", x, error_at(x));
    }
}

Test(exp, is_within_2_to_the_minus_51_where_it_changes_reduction) {
    for (int k = -1074; k <= 1022; k++)
        for (int step = -3; step <= 3; step++) {
            const double x = (k + 0.5) * 0x1.62e42fefa39efp-1 * (1 + step * 0x1p-52);
            cr_assert(error_at(x) <= 0x1p-51, "exp(%a) is off by %a", x, error_at(x));
        }
}

Test(exp, knows_its_ends) {
    double x[] = {0, -0.0, -INFINITY, -746, -1e300, -745, 709.5, 710, INFINITY, 1e-300, NAN};
    oracle_exp(x, 11);
    cr_expect(x[0] == 1 && x[1] == 1);
    cr_expect(x[2] == 0 && x[3] == 0 && x[4] == 0);
    cr_expect(x[5] == 0x1p-1074);
    cr_expect(isfinite(x[6]) && isinf(x[7]) && isinf(x[8]));
    cr_expect(x[9] == 1 && isnan(x[10]));
}

Test(exp, of_a_row_is_the_same_value_by_value_for_every_length) {
    for (int64_t n = 0; n <= 70; n++) {
        double x[70], alone[70], square[70];
        long double sum = 0;
        for (int64_t j = 0; j < n; j++) x[j] = alone[j] = (double)(j * j % 37) * -0.7;
        for (int64_t j = 0; j < n; j++) alone[j] -= 1.5;
        oracle_exp(alone, n);
        for (int64_t j = 0; j < n; j++) sum += (long double)alone[j];
        const double got = bulk_exp_sum(x, square, n, 1.5);
        for (int64_t j = 0; j < n; j++)
            cr_assert(x[j] == alone[j] && square[j] == alone[j] * alone[j]);
        cr_assert(fabsl((long double)got - sum) <= sum * 0x1p-50L);
    }
}

Test(bulk, max_finds_the_largest_wherever_it_is) {
    double x[45] = {0};
    cr_assert(bulk_max(x, 0) == -INFINITY);
    for (int64_t n = 1; n <= 45; n++)
        for (int64_t at = 0; at < n; at++) {
            for (int64_t j = 0; j < n; j++) x[j] = -5 - (double)j;
            x[at] = -4;
            cr_assert(bulk_max(x, n) == -4);
        }
}

static bool same(double x, double y) {
    return (isnan(x) && isnan(y)) || attn_f64_bits(x) == attn_f64_bits(y);
}

Test(bulk, widens_every_code_of_f16_and_bf16_exactly) {
    for (uint32_t code = 0; code < 0x10000; code++) {
        const uint16_t source = (uint16_t)code;
        const double f16 = attn_f16_to_f64(source), bf16 = attn_bf16_to_f64(source);
        double value, magnitude, square;
        cr_assert(bulk_widen(&value, &magnitude, &square, &source, ATTN_F16, 1) ==
                  (isfinite(f16) != 0));
        cr_assert(same(value, f16) && same(magnitude, fabs(f16)) && same(square, f16 * f16));
        cr_assert(bulk_widen(&value, &magnitude, NULL, &source, ATTN_BF16, 1) ==
                  (isfinite(bf16) != 0));
        cr_assert(same(value, bf16) && same(magnitude, fabs(bf16)));
    }
}

Test(bulk, widens_rows_of_any_length_and_sees_one_nan_among_them) {
    for (int64_t n = 1; n <= 40; n++) {
        uint16_t f16[40];
        float f32[40];
        double from_f16[40], from_f32[40];
        for (int64_t d = 0; d < n; d++) {
            f32[d] = (float)(d - 20) * 0.125f;
            f16[d] = attn_f32_to_f16(f32[d]);
        }
        cr_assert(bulk_widen(from_f16, NULL, NULL, f16, ATTN_F16, n));
        cr_assert(bulk_widen(from_f32, NULL, NULL, f32, ATTN_F32, n));
        for (int64_t d = 0; d < n; d++)
            cr_assert(from_f16[d] == (double)f32[d] && from_f32[d] == (double)f32[d]);
        f16[n / 2] = 0x7e00;
        f32[n - 1] = -INFINITY;
        cr_assert(!bulk_widen(from_f16, NULL, NULL, f16, ATTN_F16, n));
        cr_assert(!bulk_widen(from_f32, NULL, NULL, f32, ATTN_F32, n));
    }
}

Test(blas, says_what_it_is_and_how_fast) {
    cr_assert(strstr(oracle_blas(), "OpenBLAS"));
    cr_assert(oracle_dgemm_rate(64, 1) > 1e6);
    cr_assert(oracle_sgemm_rate(64, 2) > 1e6);
}
