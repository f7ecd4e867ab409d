/* The numbers of deviation.h on answers small enough to do by hand, and what must hold of them on
 * drawn ones. Here an answer is made up: nothing multiplies q and k. */
#include "deviation.h"
#include "tolerance.h"
#include "../../kernels/attn_number.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double u32 = 0x1p-24;

/* A problem with an answer of o = 1, A = 2, R = 1/2, S = 0, lse = 1, and an output of zeros; sizes
 * as set before stage(). */
struct stage {
    struct attn_problem problem;
    struct attn_tensor tensors[ATTN_SLOT_ROOM];
    struct rule_view view;
    struct answer answer;
    int64_t rows, elements; /* of out */
    void *out;
    float *lse;
};

static double uniform(int64_t n) {
    const uint64_t mixed = (uint64_t)(n + 1) * 0x9e3779b97f4a7c15u;
    return (double)((mixed ^ mixed >> 29) * 0xbf58476d1ce4e5b9u >> 11) * 0x1p-53;
}

static void put(struct stage *stage, int64_t at, double x) {
    if (stage->problem.traits & ATTN_OUT_E4M3) { /* over a scale of 1 */
        ((uint8_t *)stage->out)[at] = attn_f64_to_e4m3_sat(x);
    } else if (stage->problem.dtype == ATTN_F32) {
        ((float *)stage->out)[at] = (float)x;
    } else {
        ((uint16_t *)stage->out)[at] =
            stage->problem.dtype == ATTN_F16 ? attn_f64_to_f16(x) : attn_f64_to_bf16(x);
    }
}

static void put_code(struct stage *stage, int64_t at, uint32_t code) {
    if (stage->problem.traits & ATTN_OUT_E4M3) {
        ((uint8_t *)stage->out)[at] = (uint8_t)code;
    } else if (stage->problem.dtype == ATTN_F32) {
        ((uint32_t *)stage->out)[at] = code;
    } else {
        ((uint16_t *)stage->out)[at] = (uint16_t)code;
    }
}

static struct stage stage(struct attn_problem problem) {
    if (problem.kv_heads == 0) problem.kv_heads = problem.q_heads;
    struct stage stage = {.problem = problem};
    const int64_t heads = problem.batch * problem.q_heads;
    stage.rows = heads * problem.q_len;
    stage.elements = stage.rows * problem.value_dim;
    stage.out = calloc((size_t)stage.elements, 4);
    stage.lse = calloc((size_t)stage.rows, sizeof *stage.lse);
    struct answer *answer = &stage.answer;
    answer->batch = problem.batch;
    answer->q_heads = problem.q_heads;
    answer->value_dim = problem.value_dim;
    answer->row_count = problem.q_len;
    answer->rows = calloc((size_t)problem.q_len, sizeof *answer->rows);
    answer->out = calloc((size_t)stage.elements, sizeof(double));
    answer->p_abs_v = calloc((size_t)stage.elements, sizeof(double));
    answer->p_rms_v = calloc((size_t)stage.elements, sizeof(double));
    answer->lse = calloc((size_t)stage.rows, sizeof(double));
    answer->logit_abs = calloc((size_t)stage.rows, sizeof(double));
    answer->logit_max = calloc((size_t)stage.rows, sizeof(double));
    answer->sum_bias = calloc((size_t)stage.rows, sizeof(double));
    for (int64_t i = 0; i < problem.q_len; i++) answer->rows[i] = i;
    for (int64_t n = 0; n < stage.rows; n++) {
        answer->lse[n] = 1;
        stage.lse[n] = 1;
    }
    for (int64_t n = 0; n < stage.elements; n++) {
        answer->out[n] = 1;
        answer->p_abs_v[n] = 2;
        answer->p_rms_v[n] = 0.5;
    }
    /* Values of random sign, so that all their columns move independently. */
    const int64_t values = problem.batch * problem.kv_heads * problem.kv_len * problem.head_dim;
    void *v = calloc((size_t)values + 1, 4);
    for (int64_t n = 0; n < values; n++) {
        const float value = uniform(n) < 0.5 ? -1 : 1;
        if (problem.dtype == ATTN_F32) {
            ((float *)v)[n] = value;
        } else {
            ((uint16_t *)v)[n] =
                problem.dtype == ATTN_F16 ? attn_f32_to_f16(value) : attn_f32_to_bf16(value);
        }
    }
    stage.tensors[ATTN_V].data = v;
    return stage;
}

/* sequence b has lens[b] tokens */
static void set_lengths(struct stage *stage, int32_t *lens) {
    stage->problem.traits |= ATTN_RAGGED;
    stage->problem.variant = ATTN_PREFILL_VARLEN;
    stage->tensors[ATTN_SEQ_LENS].data = lens;
}

static struct deviation measure(struct stage *stage, enum attn_dtype p_dtype, int threads) {
    struct deviation deviation;
    stage->view = (struct rule_view){&stage->problem, stage->tensors};
    const struct promise promise = {.p_dtype = p_dtype, .grade = 'A', .lse_grade = 'A'};
    deviation_measure(&deviation, &stage->view, &stage->answer, stage->out, stage->lse, &promise,
                      threads);
    return deviation;
}

static void strike(struct stage *stage) {
    free(stage->out);
    free(stage->lse);
    free(stage->answer.rows);
    free(stage->answer.out);
    free(stage->answer.p_abs_v);
    free(stage->answer.p_rms_v);
    free(stage->answer.lse);
    free(stage->answer.logit_abs);
    free(stage->answer.logit_max);
    free(stage->answer.sum_bias);
    free(stage->tensors[ATTN_V].data);
}

static bool near(double a, double b) {
    return fabs(a - b) <= 1e-12 * fabs(b);
}

static struct attn_problem decode_problem(enum attn_dtype dtype, int64_t kv_len, int64_t head_dim) {
    return (struct attn_problem){.variant = ATTN_DECODE,
                                 .dtype = dtype,
                                 .batch = 1,
                                 .q_heads = 1,
                                 .q_len = 1,
                                 .kv_len = kv_len,
                                 .head_dim = head_dim,
                                 .value_dim = head_dim,
                                 .scale = 1};
}

Test(deviation, tolerance_and_model_are_the_formulas) {
    static const struct {
        enum attn_dtype dtype, p_dtype;
        double u_out, u_p, half_least;
    } table[] = {{ATTN_F16, ATTN_INPUT, 0x1p-11, 0x1p-11, 0x1p-25},
                 {ATTN_F16, ATTN_F32, 0x1p-11, 0x1p-24, 0x1p-25},
                 {ATTN_BF16, ATTN_INPUT, 0x1p-8, 0x1p-8, 0x1p-134},
                 {ATTN_F32, ATTN_INPUT, 0x1p-24, 0x1p-24, 0x1p-150},
                 {ATTN_F32, ATTN_BF16, 0x1p-24, 0x1p-8, 0x1p-150}};
    for (size_t n = 0; n < sizeof table / sizeof table[0]; n++) {
        struct stage stage_ = stage(decode_problem(table[n].dtype, 4, 1));
        stage_.answer.logit_abs[0] = 3;
        const double error = 4 * table[n].u_out; /* two ulp */
        put(&stage_, 0, 1 + error);
        const struct deviation deviation = measure(&stage_, table[n].p_dtype, 1);
        /* min(u_P A, 4 u_P R) = 2 u_P; 2 (8 * 3 + 8) + 8 = 72; 2 sqrt(4) = 4 */
        const double tau = table[n].u_out + 2 * table[n].u_p + 72 * u32 * 2 + 4 * u32 * (1 + 0.5) +
                           table[n].half_least;
        const double u_p = table[n].u_p;
        /* Of one column the logits' R^2 is taken four times. */
        const double model2 = 0.18 * u_p * u_p * 0.25 + 6.25 * u32 * u32 * 16 * 0.25 * 4 +
                              0.2 * 4 * u32 * u32 * (1 + 0.25);
        cr_assert(near(deviation.worst.tolerance, tau), "%zu: %g %g", n, deviation.worst.tolerance,
                  tau);
        cr_assert(near(deviation.t_max, error / tau));
        cr_assert(near(deviation.rho, error / sqrt(model2)), "%zu: %g", n, deviation.rho);
        cr_assert(near(deviation.rho_block, deviation.rho));
        cr_assert(near(deviation.bias, error / sqrt(model2)));
        cr_assert(deviation.ulp_max == 2);
        strike(&stage_);
    }
}

Test(deviation, what_small_weights_lose_in_f16_is_allowed_and_modelled) {
    for (int lost = 0; lost < 2; lost++) {
        struct stage stage_ = stage(decode_problem(ATTN_F16, 4, 1));
        double abs_v = 0x1p-9, rms_v = 0x1p-10;
        if (lost) {
            stage_.answer.lost_abs_v = &abs_v;
            stage_.answer.lost_rms_v = &rms_v;
        }
        put(&stage_, 0, 1 + 0x1p-9);
        const struct deviation f16 = measure(&stage_, ATTN_INPUT, 1);
        const struct deviation f32 = measure(&stage_, ATTN_F32, 1);
        static double tau_16, tau_32, rho_16;
        if (!lost) tau_16 = f16.worst.tolerance, tau_32 = f32.worst.tolerance, rho_16 = f16.rho;
        if (lost) {
            cr_assert(near(f16.worst.tolerance - tau_16, 0x1p-9 + 4 * sqrt(3) * 0x1p-10));
            const double model = 0x1p-9 / rho_16;
            cr_assert(fabs(0x1p-9 / f16.rho / hypot(model, 0x1p-10) - 1) < 1e-9);
            cr_assert(near(f32.worst.tolerance, tau_32), "P in f32 loses nothing");
        }
        strike(&stage_);
    }
}

Test(deviation, community_numbers_of_two_elements) {
    struct stage stage_ = stage(decode_problem(ATTN_F32, 4, 2));
    stage_.answer.out[0] = 3;
    stage_.answer.out[1] = -4;
    put(&stage_, 0, 3.5);
    put(&stage_, 1, -4.25);
    const struct deviation deviation = measure(&stage_, ATTN_INPUT, 1);
    cr_assert(deviation.elements == 2);
    cr_assert(deviation.max_ref == 4 && deviation.max_out == 4.25);
    cr_assert(deviation.max_abs == 0.5 && deviation.mean_abs == 0.375);
    cr_assert(near(deviation.rms_abs, sqrt(0.3125 / 2)));
    cr_assert(near(deviation.rms_relative, sqrt(0.3125) / 5));
    cr_assert(near(deviation.cosine, (3 * 3.5 + 4 * 4.25) / (5 * sqrt(3.5 * 3.5 + 4.25 * 4.25))));
    cr_assert(near(deviation.mare, 0.5 / (3 + 1e-7)));
    cr_assert(near(deviation.mere, (0.5 / (3 + 1e-7) + 0.25 / (4 + 1e-7)) / 2));
    cr_assert(deviation.bias > 0, "both are too far from zero");
    cr_assert(isnan(deviation.rho_std16));
    strike(&stage_);
}

Test(deviation, an_ulp_is_one_of_the_output_type_at_o) {
    static const struct {
        enum attn_dtype dtype;
        double o, ulp;
    } table[] = {{ATTN_F16, 1, 0x1p-10},        {ATTN_F16, 1.999, 0x1p-10}, {ATTN_F16, 2, 0x1p-9},
                 {ATTN_F16, 0x1p-20, 0x1p-24},  {ATTN_F16, 0, 0x1p-24},     {ATTN_BF16, -5, 0x1p-5},
                 {ATTN_BF16, 0x1p-20, 0x1p-27}, {ATTN_F32, 1, 0x1p-23}};
    for (size_t n = 0; n < sizeof table / sizeof table[0]; n++) {
        struct stage stage_ = stage(decode_problem(table[n].dtype, 4, 1));
        stage_.answer.out[0] = table[n].o;
        put(&stage_, 0, table[n].o + 8 * table[n].ulp);
        const struct deviation deviation = measure(&stage_, ATTN_INPUT, 1);
        cr_assert(fabs(deviation.ulp_max - 8) <= 1, "%g: %g", table[n].o, deviation.ulp_max);
        cr_assert(deviation.ulp_median >= deviation.ulp_max &&
                      deviation.ulp_median <= deviation.ulp_max * 1.0626,
                  "%g", deviation.ulp_median);
        strike(&stage_);
    }
}

Test(deviation, quantiles_in_ulp_are_those_of_the_elements) {
    struct stage stage_ = stage(decode_problem(ATTN_F16, 4, 200));
    /* Three elements of 200 are 100 ulp off, the others 1. */
    for (int64_t n = 0; n < 200; n++) put(&stage_, n, 1 + (n < 3 ? 100 : 1) * 0x1p-10);
    const struct deviation deviation = measure(&stage_, ATTN_INPUT, 1);
    cr_assert(deviation.ulp_median >= 1 && deviation.ulp_median < 1.0626);
    cr_assert(deviation.ulp_p99 >= 100 && deviation.ulp_p99 < 106.3);
    cr_assert(deviation.ulp_max == 100);
    /* 1 ulp is where an octave begins, 2^7 of them above the least; 100 is in the seventh. */
    cr_assert(deviation.ulp_counts[1 + 7] == 197 && deviation.ulp_counts[1 + 7 + 6] == 3);
    strike(&stage_);
}

Test(deviation, the_answer_rounded_once_has_rho_at_most_1_and_is_exact) {
    static const enum attn_dtype dtypes[] = {ATTN_F16, ATTN_BF16, ATTN_F32};
    for (int n = 0; n < 3; n++) {
        struct stage stage_ = stage(decode_problem(dtypes[n], 1024, 256));
        for (int64_t at = 0; at < 256; at++) {
            const double o = (uniform(at) - 0.5) * pow(2, (double)(at % 40) - 30);
            stage_.answer.out[at] = o;
            stage_.answer.p_rms_v[at] = 0;
            put(&stage_, at, o);
        }
        const struct deviation deviation = measure(&stage_, ATTN_INPUT, 1);
        cr_assert(deviation.rho <= 1, "%g", deviation.rho);
        cr_assert(dtypes[n] == ATTN_F32 || deviation.rho > 0.9, "%g", deviation.rho);
        cr_assert(deviation.ulp_max <= 0.5 && deviation.t_max <= 1);
        cr_assert(deviation.inexact_count == 0);
        strike(&stage_);
    }
}

Test(deviation, inexact_elements_are_counted_where_keys_are_a_power_of_two) {
    for (int64_t keys = 1023; keys <= 1024; keys++) {
        struct stage stage_ = stage(decode_problem(ATTN_F16, keys, 8));
        for (int64_t n = 0; n < 8; n++) put(&stage_, n, n < 3 ? 1 + 0x1p-10 : 1);
        const struct deviation deviation = measure(&stage_, ATTN_INPUT, 1);
        cr_assert(deviation.inexact_count == (keys == 1024 ? 3 : 0));
        strike(&stage_);
    }
}

/* As from shares that are divided before they are merged: 0 is the smallest subnormal, a tie goes
 * the other way. */
Test(deviation, a_tie_or_a_zero_that_f32_moved_is_exact_all_the_same) {
    struct stage stage_ = stage(decode_problem(ATTN_F16, 1024, 8));
    for (int64_t n = 0; n < 8; n++) {
        stage_.answer.out[n] = n % 2 == 0 ? 0 : 1 + 0x1p-11;
        stage_.answer.p_abs_v[n] = 1;
        put(&stage_, n, n % 2 == 0 ? 0x1p-24 : 1 + 0x1p-10);
    }
    cr_assert(measure(&stage_, ATTN_INPUT, 1).inexact_count == 0);
    put(&stage_, 2, 0x1p-20);
    put(&stage_, 5, 1 + 0x1p-9);
    const struct deviation deviation = measure(&stage_, ATTN_INPUT, 1);
    cr_assert(deviation.inexact_count == 2);
    cr_assert(deviation.inexact.d == 2 && deviation.inexact.got == 0x1p-20);
    strike(&stage_);
}

Test(deviation, cutting_off_is_a_bias_and_rounding_is_none) {
    for (int cut = 0; cut < 2; cut++) {
        struct stage stage_ = stage(decode_problem(ATTN_BF16, 1000, 256));
        for (int64_t n = 0; n < 256; n++) {
            stage_.answer.out[n] = uniform(n) - 0.5;
            stage_.answer.p_rms_v[n] = 0;
            const uint32_t bits = attn_f32_bits((float)stage_.answer.out[n]);
            put_code(&stage_, n, cut ? bits >> 16 : attn_f32_to_bf16(attn_f32_from_bits(bits)));
        }
        const struct deviation deviation = measure(&stage_, ATTN_INPUT, 1);
        cr_assert(cut ? deviation.bias < -1 : fabs(deviation.bias) < 0.3, "%g", deviation.bias);
        strike(&stage_);
    }
}

Test(deviation, unwritten_elements_are_that_and_nothing_else) {
    static const struct {
        enum attn_dtype dtype;
        uint32_t code;
        uint64_t traits;
    } table[] = {{ATTN_F16, UNWRITTEN_16, 0},
                 {ATTN_BF16, UNWRITTEN_BF16, 0},
                 {ATTN_F32, UNWRITTEN_32, 0},
                 {ATTN_F16, UNWRITTEN_E4M3, ATTN_OUT_E4M3}};
    for (size_t n = 0; n < sizeof table / sizeof table[0]; n++) {
        struct attn_problem problem = decode_problem(table[n].dtype, 4, 10);
        problem.traits |= table[n].traits;
        struct stage stage_ = stage(problem);
        for (int64_t d = 0; d < 10; d++) put(&stage_, d, 1);
        put(&stage_, 2, 5);
        put_code(&stage_, 4, table[n].code);
        put_code(&stage_, 7, table[n].code);
        const struct deviation deviation = measure(&stage_, ATTN_INPUT, 1);
        cr_assert(deviation.elements == 10 && deviation.unwritten_count == 2);
        cr_assert(deviation.nan_count == 0 && deviation.structure_count == 0);
        cr_assert(deviation.mean_abs == 0.5 && deviation.max_out == 5, "8 elements, one 4 off");
        cr_assert(deviation.worst.d == 4 && isinf(deviation.t_max));
        strike(&stage_);
    }
}

/* What it means is what counts; ulps are those of what is stored. */
Test(deviation, an_output_of_8_bits_is_times_its_scale) {
    struct attn_problem problem = decode_problem(ATTN_F16, 4, 8);
    problem.traits |= ATTN_OUT_E4M3;
    struct stage stage_ = stage(problem);
    float scale = 0.75f;
    stage_.tensors[ATTN_OUT_SCALE].data = &scale;
    /* 1 / 0.75 = 1.333 lies between 1.25 and 1.375, a third of an ulp below the latter. */
    for (int64_t d = 0; d < 8; d++) put(&stage_, d, 1.375);
    struct deviation deviation = measure(&stage_, ATTN_INPUT, 1);
    cr_assert(fabs(deviation.ulp_max - 1.0 / 3) < 1e-12, "%g", deviation.ulp_max);
    cr_assert(fabs(deviation.max_abs - 0.03125) < 1e-12 && deviation.max_out == 1.03125);
    cr_assert(deviation.t_max < 1 && fabs(deviation.rho - 1) < 1e-3, "%g", deviation.rho);
    /* Its neighbour is two thirds off, and no tie is near. */
    put(&stage_, 3, 1.25);
    deviation = measure(&stage_, ATTN_INPUT, 1);
    cr_assert(deviation.t_max > 1 && deviation.worst.d == 3 && deviation.worst.got == 0.9375);
    cr_assert(deviation.worst.tolerance > 0.75 * 0x1p-4 &&
              deviation.worst.tolerance < 0.75 * 0x1p-3);
    strike(&stage_);
}

/* 448 is the largest there is: of its sign, and of infinity, too. NaN is not. */
Test(deviation, what_8_bits_cannot_say_is_their_largest) {
    struct attn_problem problem = decode_problem(ATTN_F16, 4, 6);
    problem.traits |= ATTN_OUT_E4M3;
    struct stage stage_ = stage(problem);
    const double o[] = {500, -1e5, INFINITY, -INFINITY, (double)NAN, 448};
    for (int64_t d = 0; d < 6; d++) {
        put(&stage_, d, o[d]);
        stage_.answer.out[d] = o[d];
    }
    struct deviation deviation = measure(&stage_, ATTN_INPUT, 1);
    cr_assert(deviation.structure_count == 0 && deviation.nan_count == 1 && deviation.t_max == 0);
    cr_assert(deviation.max_ref == 448 && deviation.rho == 0);
    put(&stage_, 0, 416);
    put(&stage_, 2, (double)NAN);
    deviation = measure(&stage_, ATTN_INPUT, 1);
    cr_assert(deviation.structure_count == 1 && deviation.nan_count == 2 && deviation.worst.d == 2);
    cr_assert(deviation.worst.expected == 448 && deviation.max_abs == 32);
    strike(&stage_);
}

Test(deviation, nan_and_inf_belong_where_the_answer_has_them) {
    struct stage stage_ = stage(decode_problem(ATTN_F16, 4, 6));
    const double got[] = {(double)NAN, (double)NAN, INFINITY, INFINITY, 1, 1};
    const double o[] = {(double)NAN, 1, INFINITY, -INFINITY, INFINITY, 1};
    for (int64_t d = 0; d < 6; d++) {
        put(&stage_, d, got[d]);
        stage_.answer.out[d] = o[d];
    }
    const struct deviation deviation = measure(&stage_, ATTN_INPUT, 1);
    cr_assert(deviation.nan_count == 2 && deviation.inf_count == 2);
    cr_assert(deviation.structure_count == 3, "elements 1, 3 and 4");
    cr_assert(deviation.worst.d == 1 && isnan(deviation.worst.got) &&
              deviation.worst.expected == 1);
    cr_assert(deviation.max_abs == 0 && deviation.max_out == 1);
    strike(&stage_);
}

Test(deviation, an_overflow_within_the_tolerance_is_forgiven) {
    struct stage stage_ = stage(decode_problem(ATTN_F16, 4, 2));
    for (int64_t d = 0; d < 2; d++) {
        stage_.answer.out[d] = d == 0 ? 65504 : 65000; /* tau is about 96; Inf begins at 65520 */
        stage_.answer.p_abs_v[d] = 65504;
        stage_.answer.p_rms_v[d] = 32000;
        put(&stage_, d, INFINITY);
    }
    const struct deviation deviation = measure(&stage_, ATTN_INPUT, 1);
    cr_assert(deviation.inf_count == 2 && deviation.structure_count == 1);
    cr_assert(deviation.worst.d == 1);
    strike(&stage_);
}

Test(deviation, a_row_that_sees_no_key_is_exactly_zero) {
    /* Three queries, one key, causal: only the last sees it. */
    struct attn_problem problem = decode_problem(ATTN_F16, 1, 4);
    problem.variant = ATTN_PREFILL;
    problem.q_len = 3;
    problem.traits = ATTN_CAUSAL;
    struct stage stage_ = stage(problem);
    for (int64_t n = 0; n < 8; n++)
        stage_.answer.out[n] = stage_.answer.p_abs_v[n] = stage_.answer.p_rms_v[n] = 0;
    for (int64_t n = 8; n < 12; n++) put(&stage_, n, 1);
    stage_.answer.lse[0] = stage_.answer.lse[1] = -INFINITY;
    stage_.lse[0] = stage_.lse[1] = -INFINITY;
    struct deviation deviation = measure(&stage_, ATTN_INPUT, 1);
    cr_assert(deviation.empty_row_count == 2 && deviation.empty_row_wrong == 0);
    cr_assert(deviation.lse_wrong == 0 && deviation.t_max == 0 && deviation.rho == 0);

    put(&stage_, 5, 0x1p-24); /* the smallest there is */
    deviation = measure(&stage_, ATTN_INPUT, 1);
    cr_assert(deviation.empty_row_wrong == 1 && deviation.t_max > 1);
    cr_assert(deviation.worst.i == 1 && deviation.worst.d == 1);

    put(&stage_, 5, (double)NAN);
    deviation = measure(&stage_, ATTN_INPUT, 1);
    cr_assert(deviation.empty_row_wrong == 1 && deviation.structure_count == 1);

    stage_.lse[1] = 0;
    deviation = measure(&stage_, ATTN_INPUT, 1);
    cr_assert(deviation.lse_wrong == 1 && isinf(deviation.lse_max) && deviation.lse_worst.i == 1);
    strike(&stage_);
}

Test(deviation, lse_has_its_own_bound) {
    struct stage stage_ = stage(decode_problem(ATTN_F16, 16, 1));
    put(&stage_, 0, 1);
    stage_.answer.logit_abs[0] = 3;
    stage_.answer.lse[0] = 7;
    stage_.lse[0] = 7 + 0x1p-12f;
    const struct deviation deviation = measure(&stage_, ATTN_INPUT, 1);
    const double bound = 2 * (u32 * 32 + 0x1p-22 * 8) + 4 * u32;
    cr_assert(deviation.lse_judged && deviation.lse_wrong == 1);
    cr_assert(near(deviation.lse_max, 0x1p-12 / bound));
    cr_assert(near(deviation.lse_worst.tolerance, bound) && deviation.lse_worst.d == -1);
    strike(&stage_);
}

Test(deviation, an_lse_that_is_not_given_is_not_judged) {
    struct stage stage_ = stage(decode_problem(ATTN_F16, 16, 1));
    free(stage_.lse);
    stage_.lse = NULL;
    const struct deviation deviation = measure(&stage_, ATTN_INPUT, 1);
    cr_assert(!deviation.lse_judged && deviation.lse_wrong == 0 && deviation.lse_worst.b == -1);
    strike(&stage_);
}

Test(deviation, padding_is_told_by_rows_and_not_judged) {
    int32_t lens[] = {4, 1};
    struct attn_problem problem = decode_problem(ATTN_F16, 4, 2);
    problem.batch = 2;
    problem.q_len = 4;
    struct stage stage_ = stage(problem);
    set_lengths(&stage_, lens);
    for (int64_t n = 0; n < stage_.elements; n++) put(&stage_, n, 1);
    put_code(&stage_, 10, UNWRITTEN_16); /* row 1 of sequence 1: left */
    put_code(&stage_, 11, UNWRITTEN_16);
    put(&stage_, 12, 0); /* row 2: zeroed */
    put(&stage_, 13, -0.0);
    put_code(&stage_, 14, UNWRITTEN_16); /* row 3: partly overwritten */
    const struct deviation deviation = measure(&stage_, ATTN_INPUT, 1);
    cr_assert(deviation.elements == 10 && deviation.unwritten_count == 0);
    cr_assert(deviation.t_max == 0);
    cr_assert(deviation.pad_rows == 3 && deviation.pad_left == 1 && deviation.pad_zeroed == 1 &&
              deviation.pad_overwritten == 1);
    strike(&stage_);
}

Test(deviation, only_the_rows_of_the_answer_are_judged) {
    struct attn_problem problem = decode_problem(ATTN_F32, 300, 4);
    problem.variant = ATTN_PREFILL;
    problem.q_len = 300;
    problem.q_heads = 2;
    struct stage stage_ = stage(problem);
    stage_.answer.row_count = 3;
    stage_.answer.rows[1] = 130;
    stage_.answer.rows[2] = 299;
    for (int64_t h = 0; h < 2; h++) {
        for (int64_t row = 0; row < 3; row++) {
            for (int64_t d = 0; d < 4; d++)
                put(&stage_, (h * 300 + stage_.answer.rows[row]) * 4 + d, 1);
        }
    }
    put(&stage_, (300 + 130) * 4 + 1, 1.5);
    const struct deviation deviation = measure(&stage_, ATTN_INPUT, 1);
    cr_assert(deviation.elements == 24 && deviation.max_abs == 0.5);
    cr_assert(deviation.worst.h == 1 && deviation.worst.i == 130 && deviation.worst.d == 1);
    cr_assert(deviation.worst.got == 1.5 && deviation.worst.expected == 1);
    strike(&stage_);
}

static struct stage drawn_stage(void) {
    struct attn_problem problem = decode_problem(ATTN_F16, 512, 72);
    problem.variant = ATTN_PREFILL;
    problem.batch = 2;
    problem.q_heads = 3;
    problem.q_len = 300;
    struct stage drawn = stage(problem);
    for (int64_t n = 0; n < drawn.elements; n++) {
        drawn.answer.out[n] = uniform(3 * n) - 0.5;
        put(&drawn, n, drawn.answer.out[n] + (uniform(3 * n + 1) - 0.5) * 4e-4);
    }
    for (int64_t n = 0; n < drawn.rows; n++) drawn.lse[n] += (float)(uniform(n) * 1e-5);
    return drawn;
}

Test(deviation, the_worst_block_is_found) {
    struct stage stage_ = drawn_stage();
    const int64_t row = (1 * 3 + 2) * 300 + 140; /* b = 1, h = 2, block of rows 128..255 */
    for (int64_t d = 0; d < 72; d++) {
        const int64_t at = row * 72 + d;
        put(&stage_, at, stage_.answer.out[at] + 0.03);
    }
    const struct deviation deviation = measure(&stage_, ATTN_INPUT, 2);
    cr_assert(deviation.rho_block_b == 1 && deviation.rho_block_h == 2 &&
              deviation.rho_block_i == 128);
    cr_assert(deviation.rho_block > 3 * deviation.rho, "%g %g", deviation.rho_block, deviation.rho);
    cr_assert(deviation.rho_chance == 1 && deviation.rho_block_chance == 1);
    strike(&stage_);
}

Test(deviation, numbers_do_not_depend_on_the_thread_count) {
    struct stage stage_ = drawn_stage();
    put_code(&stage_, 12345, 0x7e00);
    const struct deviation one = measure(&stage_, ATTN_INPUT, 1);
    for (int threads = 2; threads <= 7; threads++) {
        const struct deviation more = measure(&stage_, ATTN_INPUT, threads);
        cr_assert(one.rho == more.rho && one.bias == more.bias && one.cosine == more.cosine &&
                  one.rms_abs == more.rms_abs && one.mere == more.mere);
        cr_assert(one.rho_block == more.rho_block && one.lse_max == more.lse_max);
        cr_assert(one.ulp_median == more.ulp_median && one.ulp_p99 == more.ulp_p99);
        cr_assert(one.worst.i == more.worst.i && one.worst.d == more.worst.d);
    }
    strike(&stage_);
}

Test(deviation, small_samples_are_allowed_more) {
    double before = 6.001;
    for (int64_t head_dim = 1; head_dim <= 256; head_dim *= 4) {
        struct stage stage_ = stage(decode_problem(ATTN_F16, 1024, head_dim));
        for (int64_t d = 0; d < head_dim; d++) stage_.answer.p_rms_v[d] = 2 / sqrt(1024);
        const struct deviation deviation = measure(&stage_, ATTN_INPUT, 1);
        cr_assert(deviation.rho_chance < before && deviation.rho_chance >= 1);
        before = deviation.rho_chance;
        strike(&stage_);
    }
    cr_assert(before < 1.3);
}

Test(deviation, one_key_or_one_column_scatters_as_one) {
    struct stage stage_ = stage(decode_problem(ATTN_F16, 1024, 64));
    for (int64_t d = 0; d < 64; d++) stage_.answer.p_rms_v[d] = 2; /* R = A: a single key */
    cr_assert(measure(&stage_, ATTN_INPUT, 1).rho_chance > 3);
    for (int64_t d = 0; d < 64; d++) stage_.answer.p_rms_v[d] = 2 / sqrt(1024);
    cr_assert(measure(&stage_, ATTN_INPUT, 1).rho_chance < 2);
    uint16_t *v = stage_.tensors[ATTN_V].data;
    for (int64_t n = 0; n < 1024 * 64; n++) v[n] = n / 64 % 2 ? 0x3c00 : 0xbc00; /* rows of +-1 */
    cr_assert(measure(&stage_, ATTN_INPUT, 1).rho_chance > 3);
    strike(&stage_);
}

Test(deviation, roundoffs_are_those_of_the_types) {
    cr_assert(unit_roundoff(ATTN_F16) == 0x1p-11 && unit_roundoff(ATTN_BF16) == 0x1p-8 &&
              unit_roundoff(ATTN_F32) == 0x1p-24);
}
