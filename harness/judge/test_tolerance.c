/* Each term of the formulas, alone. */
#include "tolerance.h"

#include <criterion/criterion.h>

static const double u32 = 0x1p-24;

static bool near(double a, double b) {
    return fabs(a - b) <= 1e-12 * fabs(b);
}

static double tau(const struct promise *promise, struct row_size size, double o, double a,
                  double r) {
    const struct rounding rounding = rounding_of(ATTN_F16, promise);
    const struct row_bounds bounds = row_bounds_of(&rounding, &size, 1, 64);
    return tolerance_tau(&bounds, o, a, r);
}

Test(tolerance, a_promise_below_grade_a_has_its_scores_in_16_bits) {
    const struct row_size size = {.logit_max = 3, .keys = 1024};
    const double a = tau(&(struct promise){.grade = 'A'}, size, 1, 2, 0.25);
    const double b = tau(&(struct promise){.grade = 'B'}, size, 1, 2, 0.25);
    const double c = tau(&(struct promise){.grade = 'C'}, size, 1, 2, 0.25);
    cr_assert(near(b - a, 4 * 0x1p-11 * 3 * 0.25), "%g", b - a);
    cr_assert(near(c - a, 2 * (b - a)), "%g", c - a);
}

Test(tolerance, sums_of_one_sign_are_allowed_what_they_come_to) {
    const struct promise f16 = {.grade = 'A'}, f32 = {.grade = 'A', .p_dtype = ATTN_F32};
    const struct row_size plain = {.keys = 4096}, equal = {.keys = 4096, .sum_bias = 1024 * u32};
    /* of P in 16 bits the denominator, and a quarter of P that is rounded alike */
    cr_assert(near(tau(&f16, equal, 1, 2, 0.25) - tau(&f16, plain, 1, 2, 0.25),
                   512 * u32 + 0.25 * 0x1p-11));
    /* of P in f32 the numerator too */
    cr_assert(near(tau(&f32, equal, 1, 2, 0.25) - tau(&f32, plain, 1, 2, 0.25),
                   512 * u32 * (1 + 2) + 0.25 * u32));
}

Test(tolerance, an_lse_of_grade_b_is_allowed_a_rounded_p_and_a_cubic) {
    const struct row_size size = {
        .logit_abs = 3, .logit_max = 2, .sum_bias = 0x1p-20, .keys = 1 << 20};
    const struct promise a = {.grade = 'A'}, b = {.grade = 'B'};
    const struct promise f32 = {.grade = 'A', .p_dtype = ATTN_F32};
    struct rounding rounding = rounding_of(ATTN_F16, &a);
    const double of_a = tolerance_of_lse(&rounding, &size, 7, 'A');
    cr_assert(near(of_a, 2 * (u32 * 32 + 0x1p-22 * 8) + 1024 * u32 + 0x1p-21));
    cr_assert(near(tolerance_of_lse(&rounding, &size, 7, 'B') - of_a, 0x1p-11 + 0x1p-13 + 0x1p-5));
    rounding = rounding_of(ATTN_F16, &f32); /* which loses nothing */
    cr_assert(near(tolerance_of_lse(&rounding, &size, 7, 'B') - of_a, u32 + 0x1p-13));
    rounding = rounding_of(ATTN_F16, &b);
    cr_assert(near(tolerance_of_lse(&rounding, &size, 7, 'B') - of_a,
                   0x1p-11 + 0x1p-13 + 0x1p-5 + 2 * 0x1p-11));
}

Test(tolerance, only_a_p_in_f16_has_subnormals) {
    const struct promise own = {.grade = 'A'}, f32 = {.grade = 'A', .p_dtype = ATTN_F32};
    cr_assert(rounding_of(ATTN_F16, &own).p_subnormal && !rounding_of(ATTN_F16, &f32).p_subnormal);
    cr_assert(!rounding_of(ATTN_BF16, &own).p_subnormal);
    cr_assert(near(tolerance_lost(0.5, 0.25), 0.5 + sqrt(3)));
}
