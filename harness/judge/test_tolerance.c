/* Each term of the formulas, alone. */
#include "tolerance.h"

#include <criterion/criterion.h>

static const double u32 = 0x1p-24;

static bool near(double a, double b) {
    return fabs(a - b) <= 1e-12 * fabs(b);
}

static struct rounding of(enum attn_dtype dtype, const struct promise *promise) {
    const struct attn_problem problem = {.dtype = (int32_t)dtype};
    const struct attn_tensor tensors[ATTN_SLOT_ROOM] = {{.data = NULL}};
    return rounding_of(&(struct rule_view){&problem, tensors}, promise);
}

static double tau(const struct promise *promise, struct row_size size, double o, double a,
                  double r) {
    const struct rounding rounding = of(ATTN_F16, promise);
    const struct row_bounds bounds = row_bounds_of(&rounding, &size, 1, 64);
    return tolerance_tau(&bounds, o, a, r, 0);
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
    struct rounding rounding = of(ATTN_F16, &a);
    const double of_a = tolerance_of_lse(&rounding, &size, 7, 'A');
    cr_assert(near(of_a, 2 * (u32 * 32 + 0x1p-22 * 8) + 1024 * u32 + 0x1p-21));
    cr_assert(near(tolerance_of_lse(&rounding, &size, 7, 'B') - of_a, 0x1p-11 + 0x1p-13 + 0x1p-5));
    rounding = of(ATTN_F16, &f32); /* which loses nothing */
    cr_assert(near(tolerance_of_lse(&rounding, &size, 7, 'B') - of_a, u32 + 0x1p-13));
    rounding = of(ATTN_F16, &b);
    cr_assert(near(tolerance_of_lse(&rounding, &size, 7, 'B') - of_a,
                   0x1p-11 + 0x1p-13 + 0x1p-5 + 2 * 0x1p-11));
}

Test(tolerance, only_a_p_in_f16_has_subnormals) {
    const struct promise own = {.grade = 'A'}, f32 = {.grade = 'A', .p_dtype = ATTN_F32};
    cr_assert(of(ATTN_F16, &own).p_subnormal && !of(ATTN_F16, &f32).p_subnormal);
    cr_assert(!of(ATTN_BF16, &own).p_subnormal);
    cr_assert(near(tolerance_lost(0.5, 0.25), 0.5 + sqrt(3)));
}

/* In [1, 2) an ulp is 2^-3, of what is stored. */
Test(tolerance, an_output_of_8_bits_is_the_answer_rounded_or_its_neighbour_near_a_tie) {
    const struct attn_problem problem = {.dtype = ATTN_F16, .traits = ATTN_OUT_E4M3};
    float scale = 0.5f;
    const struct attn_tensor tensors[ATTN_SLOT_ROOM] = {[ATTN_OUT_SCALE] = {.data = &scale}};
    const struct rule_view view = {&problem, tensors};
    const struct promise promise = {.grade = 'A'};
    const struct rounding rounding = rounding_of(&view, &promise), f32 = of(ATTN_F32, &promise);
    const struct row_size size = {.keys = 16};
    cr_assert(rounding.p_roundoff == 0x1p-11 && rounding.p_subnormal); /* as of q */
    struct row_bounds bounds = row_bounds_of(&rounding, &size, 1, 64);
    const double rest = (4 * 0x1p-11 + 8 * u32) * 0.01 + 24 * u32 * 0.1; /* R, A; but for o's */
    for (double o = 0.5; o < 0.9; o += 0.09) {
        const double tau = tolerance_tau(&bounds, o, 0.1, 0.01, 0);
        cr_assert(near(tau, 0.5 * 0x1p-4 + rest + 8 * u32 * o), "%g: %g", o, tau);
    }
    /* where all else carries it over a power of two, half an ulp there */
    const double over = tolerance_tau(&bounds, 0.999, 0.1, 0.01, 0.1);
    cr_assert(near(over, 0.5 * 0x1p-3 + 0.1 + rest + 8 * u32 * 0.999), "%g", over);
    /* below 2^-6 values are 2^-9 apart, times the scale */
    cr_assert(near(tolerance_tau(&bounds, 0, 0, 0, 0), 0.5 * 0x1p-10));
    cr_assert(rounding_target(&rounding, 225) == 224 &&
              rounding_target(&rounding, -INFINITY) == -224);
    cr_assert(rounding_target(&rounding, -224) == -224 &&
              isnan(rounding_target(&rounding, (double)NAN)));
    cr_assert(rounding_target(&f32, INFINITY) == INFINITY && rounding_target(&f32, 1e30) == 1e30);
}
