/* What is true of attention whatever the numbers, and so of the oracle. */
#include "oracle.h"
#include "../fixtures/test_drawn.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct answer answered(const struct fixture *fixture, int64_t rows, int threads) {
    struct fault fault = {0};
    struct answer answer = {0};
    const struct rule_view view = fixture_view(fixture);
    cr_assert(oracle_answer(&answer, &view, rows, threads, NULL, &fault), "%s", fault.text);
    return answer;
}

static float *numbers(const struct fixture *fixture, enum attn_slot slot) {
    cr_assert(fixture->tensors[slot].dtype == ATTN_F32);
    return fixture->tensors[slot].data;
}

static int64_t row_total(const struct answer *answer) {
    return answer->batch * answer->q_heads * answer->row_count;
}

static bool same_bits(const struct answer *x, const struct answer *y) {
    const size_t rows = (size_t)row_total(x), elements = rows * (size_t)x->value_dim;
    return row_total(x) == row_total(y) && memcmp(x->out, y->out, elements * sizeof(double)) == 0 &&
           memcmp(x->p_abs_v, y->p_abs_v, elements * sizeof(double)) == 0 &&
           memcmp(x->p_rms_v, y->p_rms_v, elements * sizeof(double)) == 0 &&
           memcmp(x->lse, y->lse, rows * sizeof(double)) == 0 &&
           memcmp(x->logit_abs, y->logit_abs, rows * sizeof(double)) == 0;
}

/* Row `rx` of x says what row `ry` of y says, but for rounding; lse too, shifted by `shift`. */
static bool same_row(const struct answer *x, int64_t rx, const struct answer *y, int64_t ry,
                     double shift) {
    const int64_t D = x->value_dim;
    for (int64_t d = 0; d < D; d++) {
        const int64_t ex = rx * D + d, ey = ry * D + d;
        const double tolerance = 1e-13 * y->p_abs_v[ey];
        if (!(fabs(x->out[ex] - y->out[ey]) <= tolerance &&
              fabs(x->p_abs_v[ex] - y->p_abs_v[ey]) <= tolerance &&
              fabs(x->p_rms_v[ex] - y->p_rms_v[ey]) <= tolerance))
            return false;
    }
    if (x->lse[rx] == y->lse[ry]) return true;
    return fabs(x->lse[rx] - shift - y->lse[ry]) <= 1e-12 * (1 + fabs(y->lse[ry]) + fabs(shift));
}

static bool same(const struct answer *x, const struct answer *y) {
    bool all = row_total(x) == row_total(y);
    for (int64_t row = 0; all && row < row_total(x); row++) all = same_row(x, row, y, row, 0);
    return all;
}

/* Frees what a test compared. */
static void done(struct fixture *fixture, struct answer *answer) {
    fixture_free(fixture);
    answer_free(answer);
}

Test(oracle, returns_a_constant_v) {
    struct fixture fixture = test_drawn("f32-b1-hq4-hkv2-q300-kv700-d16-causal", 1);
    float *v = numbers(&fixture, ATTN_V);
    for (int64_t n = 0; n < 2 * 700 * 16; n++)
        v[n] = (float)(n / (700 * 16) + 1) * (n % 2 ? -3 : 1);
    struct answer answer = answered(&fixture, 0, 1);
    for (int64_t e = 0; e < 4 * 300 * 16; e++) {
        const double expected = (double)(e / (300 * 16) / 2 + 1) * (e % 2 ? -3 : 1);
        cr_assert(fabs(answer.out[e] - expected) <= 1e-14 * fabs(expected));
        cr_assert(fabs(answer.p_abs_v[e] - fabs(expected)) <= 1e-14 * fabs(expected));
        cr_assert(answer.p_rms_v[e] <= answer.p_abs_v[e]);
    }
    done(&fixture, &answer);
}

Test(oracle, does_not_mind_a_constant_added_to_every_logit_of_a_row) {
    struct fixture fixture = test_drawn("f32-b1-hq2-hkv1-q40-kv600-d8", 1);
    float *q = numbers(&fixture, ATTN_Q), *k = numbers(&fixture, ATTN_K);
    for (int64_t n = 0; n < 600 * 8; n++)
        k[n] = rintf(k[n] * 256) / 256; /* so that k + 50 is exact */
    struct answer before = answered(&fixture, 0, 1);
    for (int64_t n = 0; n < 600 * 8; n++) k[n] += 50;
    struct answer after = answered(&fixture, 0, 1);
    for (int64_t row = 0; row < 80; row++) {
        double shift = 0;
        for (int64_t d = 0; d < 8; d++) shift += 50 * (double)q[row * 8 + d] / sqrt(8);
        cr_expect(same_row(&after, row, &before, row, shift));
    }
    answer_free(&before);
    done(&fixture, &after);
}

Test(oracle, does_not_mind_the_order_of_keys) {
    struct fixture fixture = test_drawn("f32-b1-hq2-hkv1-q40-kv600-d8", 1);
    struct answer before = answered(&fixture, 0, 1);
    const enum attn_slot slots[] = {ATTN_K, ATTN_V};
    for (int s = 0; s < 2; s++) {
        float *x = numbers(&fixture, slots[s]), swapped[8];
        for (int64_t j = 0; j < 300; j++) {
            memcpy(swapped, x + j * 8, sizeof swapped);
            memcpy(x + j * 8, x + (599 - j) * 8, sizeof swapped);
            memcpy(x + (599 - j) * 8, swapped, sizeof swapped);
        }
    }
    struct answer after = answered(&fixture, 0, 1);
    cr_expect(same(&before, &after));
    answer_free(&before);
    done(&fixture, &after);
}

Test(oracle, sees_no_difference_between_pages_in_order_and_no_pages) {
    struct fixture plain = test_drawn("f32-b2-hq4-hkv2-kv48-d8", 1);
    struct fixture paged = test_drawn("f32-b2-hq4-hkv2-d8-page16-lens48,48", 1);
    const struct rule_view view = fixture_view(&paged);
    const float *k = numbers(&plain, ATTN_K), *v = numbers(&plain, ATTN_V);
    memcpy(numbers(&paged, ATTN_Q), numbers(&plain, ATTN_Q), 2 * 4 * 8 * sizeof(float));
    for (int64_t b = 0; b < 2; b++)
        for (int64_t g = 0; g < 2; g++)
            for (int64_t t = 0; t < 48; t++)
                for (int value = 0; value < 2; value++)
                    memcpy(numbers(&paged, ATTN_KV_CACHE) +
                               8 * rules_row_index(&view, b, g, t, value),
                           (value ? v : k) + 8 * ((b * 2 + g) * 48 + t), 8 * sizeof(float));
    struct answer x = answered(&plain, 0, 1), y = answered(&paged, 0, 1);
    cr_expect(same_bits(&x, &y));
    done(&plain, &x);
    done(&paged, &y);
}

Test(oracle, sees_no_difference_between_all_tokens_kept_and_dense) {
    struct fixture dense = test_drawn("f32-b2-hq4-hkv2-kv700-d8", 1);
    struct fixture kept = test_drawn("f32-b2-hq4-hkv2-kv700-d8-keep700", 1);
    const enum attn_slot slots[] = {ATTN_Q, ATTN_K, ATTN_V};
    for (int s = 0; s < 3; s++)
        memcpy(numbers(&kept, slots[s]), numbers(&dense, slots[s]),
               (size_t)tensor_bytes(&dense.tensors[slots[s]]));
    struct answer x = answered(&dense, 0, 1), y = answered(&kept, 0, 1);
    cr_expect(same(&x, &y));
    cr_expect(y.kept_ratio == 1 && fabs(y.kept_mass - 1) < 1e-12);
    done(&dense, &x);
    done(&kept, &y);
}

Test(oracle, sees_no_difference_between_lists_of_all_a_chunk_may_see_and_dense) {
    static const char *const lines[][2] = {
        {"f32-b3-hq4-hkv2-q30-d8-page16-causal-lens70,33,9-qlens30,11,20",
         "f32-b3-hq4-hkv2-q30-d8-page16-causal-lens70,33,9-qlens30,11,20-keep70-keepgroup"},
        {"f32-b2-hq4-hkv2-q5-d8-page16-lens70,33",
         "f32-b2-hq4-hkv2-q5-d8-page16-lens70,33-keep1.0"},
    };
    for (int n = 0; n < 2; n++) {
        struct fixture dense = test_drawn(lines[n][0], 1), kept = test_drawn(lines[n][1], 1);
        struct answer x = answered(&dense, 0, 1), y = answered(&kept, 0, 1);
        cr_expect(same(&x, &y), "%s", lines[n][1]);
        cr_expect(y.kept_ratio == 1 && fabs(y.kept_mass - 1) < 1e-12);
        done(&dense, &x);
        done(&kept, &y);
    }
}

Test(oracle, sees_no_difference_between_a_list_that_heads_share_and_each_its_copy) {
    struct fixture shared =
        test_drawn("f32-b2-hq6-hkv2-q4-d8-page16-causal-lens70,33-keep20-keepgroup", 1);
    struct fixture copies = test_drawn("f32-b2-hq6-hkv2-q4-d8-page16-causal-lens70,33-keep20", 1);
    const int32_t *from = shared.tensors[ATTN_SPARSE_IND].data;
    int32_t *to = copies.tensors[ATTN_SPARSE_IND].data;
    for (int64_t row = 0; row < 2 * 6; row++)
        memcpy(to + row * 4 * 20, from + row / 3 * 4 * 20, 4 * 20 * sizeof *to);
    struct answer x = answered(&shared, 0, 1), y = answered(&copies, 0, 1);
    cr_expect(same(&x, &y) && fabs(x.kept_mass - y.kept_mass) < 1e-12);
    done(&shared, &x);
    done(&copies, &y);
}

Test(oracle, decodes_as_the_last_row_of_a_causal_prefill) {
    struct fixture prefill = test_drawn("f32-b1-hq4-hkv2-q300-kv300-d8-causal", 1);
    struct fixture decode = test_drawn("f32-b1-hq4-hkv2-kv300-d8", 1);
    for (int64_t h = 0; h < 4; h++)
        memcpy(numbers(&decode, ATTN_Q) + h * 8, numbers(&prefill, ATTN_Q) + (h * 300 + 299) * 8,
               8 * sizeof(float));
    memcpy(numbers(&decode, ATTN_K), numbers(&prefill, ATTN_K), 2 * 300 * 8 * sizeof(float));
    memcpy(numbers(&decode, ATTN_V), numbers(&prefill, ATTN_V), 2 * 300 * 8 * sizeof(float));
    struct answer x = answered(&prefill, 0, 1), y = answered(&decode, 0, 1);
    for (int64_t h = 0; h < 4; h++) cr_expect(same_row(&y, h, &x, h * 300 + 299, 0));
    done(&prefill, &x);
    done(&decode, &y);
}

Test(oracle, groups_queries_as_if_key_heads_were_repeated) {
    struct fixture grouped = test_drawn("f32-b1-hq6-hkv2-q70-kv300-d8", 1);
    struct fixture repeated = test_drawn("f32-b1-hq6-hkv6-q70-kv300-d8", 1);
    memcpy(numbers(&repeated, ATTN_Q), numbers(&grouped, ATTN_Q), 6 * 70 * 8 * sizeof(float));
    for (int64_t h = 0; h < 6; h++) {
        const size_t head = 300 * 8;
        memcpy(numbers(&repeated, ATTN_K) + (size_t)h * head,
               numbers(&grouped, ATTN_K) + (size_t)(h / 3) * head, head * sizeof(float));
        memcpy(numbers(&repeated, ATTN_V) + (size_t)h * head,
               numbers(&grouped, ATTN_V) + (size_t)(h / 3) * head, head * sizeof(float));
    }
    struct answer x = answered(&grouped, 0, 1), y = answered(&repeated, 0, 1);
    cr_expect(same(&x, &y));
    done(&grouped, &x);
    done(&repeated, &y);
}

static const char *const every_variant[] = {
    "f16-b1-hq4-hkv2-q600-kv700-d16-causal",
    "bf16-b3-hq4-hkv2-q90-kv90-d16-lens90,0,31-causal",
    "f16-b1-hq4-hkv1-kv9000-d16",
    "f32-b3-hq4-hkv2-d16-page16-lens5000,1,333",
    "f16-b1-hq4-hkv2-kv3000-d16-keep0.3",
    "f16-b3-hq4-hkv2-d16-page16-lens900,0,77-keep50",
    "bf16-b3-hq4-hkv2-d16-page16-lens900,0,77-keep0.1-magicpig",
    "f16-b3-hq6-hkv2-q5-d16-page16-causal-lens900,0,77-qlens5,2,3-keep0.1-keepgroup",
};
enum { VARIANTS = sizeof every_variant / sizeof *every_variant };

Test(oracle, has_the_same_bits_for_any_number_of_threads) {
    for (int n = 0; n < VARIANTS; n++) {
        struct fixture fixture = test_drawn(every_variant[n], 1);
        struct answer one = answered(&fixture, 0, 1);
        for (int threads = 2; threads <= 7; threads++) {
            struct answer more = answered(&fixture, 0, threads);
            cr_expect(same_bits(&one, &more), "%s, %d threads", every_variant[n], threads);
            cr_expect(more.kept_mass == one.kept_mass);
            answer_free(&more);
        }
        done(&fixture, &one);
    }
}

Test(oracle, is_not_touched_by_what_nobody_may_read) {
    for (int n = 0; n < VARIANTS; n++)
        for (int poison = POISON_NAN; poison <= POISON_BIG; poison++) {
            struct fixture fixture = test_drawn(every_variant[n], 1);
            struct answer before = answered(&fixture, 0, 2);
            const int64_t written = fixture_poison(&fixture, (enum poison)poison, 1);
            struct answer after = answered(&fixture, 0, 2);
            cr_expect(n == 0 || n == 2 || written > 0, "%s hides nothing", every_variant[n]);
            cr_expect(same_bits(&before, &after), "%s", every_variant[n]);
            answer_free(&before);
            done(&fixture, &after);
        }
}

Test(oracle, answers_sampled_rows_as_it_answers_them_all) {
    struct fixture fixture = test_drawn("f16-b2-hq4-hkv2-q601-kv700-d16-causal", 1);
    struct answer all = answered(&fixture, 0, 1), some = answered(&fixture, 7, 1);
    cr_assert(all.row_count == 601 && some.row_count == 7);
    for (int64_t n = 0; n < 7; n++) cr_expect(some.rows[n] == 100 * n);
    for (int64_t head = 0; head < 8; head++)
        for (int64_t n = 0; n < 7; n++)
            cr_expect(same_row(&some, head * 7 + n, &all, head * 601 + 100 * n, 0));
    answer_free(&some);
    some = answered(&fixture, 1, 1);
    cr_expect(some.row_count == 1 && some.rows[0] == 600);
    answer_free(&some);
    some = answered(&fixture, 1000, 1);
    cr_expect(some.row_count == 601 && some.rows[600] == 600 && same_bits(&some, &all));
    answer_free(&some);
    done(&fixture, &all);
}

Test(oracle, leaves_rows_that_see_nothing_at_zero_and_minus_infinity) {
    struct fixture fixture = test_drawn("f16-b3-hq2-hkv1-q30-kv30-d8-lens30,0,11", 1);
    struct answer answer = answered(&fixture, 0, 2);
    for (int64_t row = 0; row < row_total(&answer); row++) {
        const int64_t b = row / 60, i = row % 30;
        const bool sees = b == 0 || (b == 2 && i < 11);
        cr_expect(isfinite(answer.lse[row]) == sees);
        cr_expect(sees || (answer.lse[row] == -INFINITY && answer.logit_abs[row] == 0));
        for (int64_t d = 0; d < 8; d++) cr_expect((answer.out[row * 8 + d] != 0) == sees);
    }
    done(&fixture, &answer);
}

/* NaN or infinity that a row does see must come out, and in no other row. */
static void expect_special(enum attn_slot slot, float value, int64_t at_token) {
    struct fixture fixture = test_drawn("f32-b1-hq2-hkv1-q300-kv300-d8-causal", 1);
    const struct rule_view view = fixture_view(&fixture);
    struct fault fault = {0};
    struct answer before = answered(&fixture, 0, 2), definition = {0};
    numbers(&fixture, slot)[at_token * 8 + 3] = value;
    struct answer after = answered(&fixture, 0, 2);
    cr_assert(definition_answer(&definition, &view, 0, 2, &fault));
    for (int64_t row = 0; row < 600; row++) {
        const bool touched = slot == ATTN_Q ? row == at_token : row % 300 >= at_token;
        cr_expect(touched || same_row(&after, row, &before, row, 0), "row %lld", (long long)row);
        if (isnan(value)) cr_expect(isnan(after.out[row * 8 + 3]) == touched);
        for (int64_t d = 0; d < 8; d++) {
            const double x = after.out[row * 8 + d], y = definition.out[row * 8 + d];
            cr_expect(isfinite(y) ? fabs(x - y) < 1e-12
                      : isnan(y)  ? isnan(x)
                                  : x == y,
                      "row %lld element %lld: %g, not %g", (long long)row, (long long)d, x, y);
        }
        const double x = after.lse[row], y = definition.lse[row];
        cr_expect(isfinite(y) ? fabs(x - y) < 1e-12 * (1 + fabs(y)) : isnan(y) ? isnan(x) : x == y);
    }
    answer_free(&before);
    answer_free(&definition);
    done(&fixture, &after);
}

Test(oracle, lets_a_nan_in_v_reach_the_rows_that_see_it_and_no_other) {
    expect_special(ATTN_V, NAN, 77);
    expect_special(ATTN_V, INFINITY, 299);
    expect_special(ATTN_V, -INFINITY, 0);
}

Test(oracle, lets_a_nan_in_k_reach_the_rows_that_see_it_and_no_other) {
    expect_special(ATTN_K, NAN, 280);
    expect_special(ATTN_K, INFINITY, 100);
    expect_special(ATTN_K, NAN, 0);
}

Test(oracle, lets_a_nan_in_q_reach_its_own_row_and_no_other) {
    expect_special(ATTN_Q, NAN, 5);
    expect_special(ATTN_Q, -INFINITY, 299);
}

Test(oracle, says_what_share_a_list_keeps) {
    struct fixture fixture = test_drawn("f16-b2-hq4-hkv2-kv640-d16-keep64", 1);
    struct answer answer = answered(&fixture, 0, 1);
    cr_expect(fabs(answer.kept_ratio - 0.1) < 1e-15);
    cr_expect(answer.kept_mass > 0.05 && answer.kept_mass < 0.2);
    done(&fixture, &answer);
    /* 10 of the 91 to 100 that queries may see. */
    fixture = test_drawn("f16-b1-hq4-hkv2-q10-kv100-d16-page16-causal-keep10-keepgroup", 1);
    answer = answered(&fixture, 0, 1);
    cr_expect(fabs(answer.kept_ratio - 10 / 95.5) < 1e-15);
    cr_expect(answer.kept_mass > 0.05 && answer.kept_mass < 0.2);
    done(&fixture, &answer);
    fixture = test_drawn("f16-b2-hq4-hkv2-d16-page16-lens0,0-keep64", 1);
    answer = answered(&fixture, 0, 1);
    cr_expect(answer.kept_ratio == 1 && answer.kept_mass == 1);
    done(&fixture, &answer);
}

Test(oracle, counts_its_products_and_stays_within_64_mb_a_thread) {
    struct fixture fixture = test_drawn("f16-b1-hq2-hkv2-q512-kv600-d256", 1);
    const struct rule_view view = fixture_view(&fixture);
    struct fault fault = {0};
    struct oracle_cost cost;
    struct answer answer = {0};
    cr_assert(oracle_answer(&answer, &view, 0, 1, &cost, &fault));
    cr_expect(cost.product_flops == 10.0 * 2 * 512 * 600 * 256);
    cr_expect(cost.memory_bytes > 0 && cost.memory_bytes < 64 << 20);
    cr_expect(cost.seconds > 0);
    cr_expect(strcmp(answer.oracle, "oracle 2") == 0 && strstr(answer.blas, "OpenBLAS"));
    cr_expect(strlen(answer.cpu) > 0);
    done(&fixture, &answer);
}
