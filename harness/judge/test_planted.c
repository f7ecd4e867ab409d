/* The study behind the rule, as a test: a flash kernel with each planted bug in turn, on 512 to
 * 32,768 keys, is always found; without a bug it never is, on data of every kind. In one process,
 * numbers only: what a kernel does around its rows is what `attest selftest` looks at. */
#include "deviation.h"
#include "judge.h"
#include "../planted/planted.h"
#include "../trial/obtain.h"
#include "../verb.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void draw(struct fixture *fixture, const char *line) {
    struct fault fault = {0};
    const struct obtain_options options = {.program = verb_program(), .uncached = true};
    cr_assert(obtain_line(fixture, line, &options, &fault), "%s", fault.text);
}

/* Runs the planted kernel on every row of the fixture and judges it. */
static struct verdict verdict_on(enum planted bug, const struct fixture *fixture) {
    const struct rule_view view = fixture_view(fixture);
    const struct attn_problem *problem = view.problem;
    const int64_t rows = problem->batch * problem->q_heads * problem->q_len;
    const int64_t dim = problem->head_dim;
    int32_t *tokens = calloc((size_t)problem->kv_len + 1, sizeof *tokens);
    uint16_t *out = calloc((size_t)(rows * dim), sizeof *out);
    float *lse = calloc((size_t)rows, sizeof *lse);
    for (int64_t row = 0; row < rows; row++) {
        const int64_t i = row % problem->q_len, h = row / problem->q_len % problem->q_heads;
        const int64_t b = row / problem->q_len / problem->q_heads;
        const int64_t g = h / (problem->q_heads / problem->kv_heads);
        const struct rule_keys keys = rules_keys(&view, b, h, i);
        for (int64_t n = 0; n < keys.count; n++) tokens[n] = (int32_t)rule_token(&keys, n);
        /* The key after the last is the first of all: in the next page, it could be any. */
        tokens[keys.count] = tokens[0];
        const struct planted_row task = {
            .dtype = problem->dtype,
            .keys = keys.count,
            .head_dim = dim,
            .value_dim = dim,
            .q = (const uint16_t *)view.tensors[ATTN_Q].data + row * dim,
            .k = rules_row(&view, b, g, 0, false),
            .v = rules_row(&view, b, g, 0, true),
            .pages = tokens,
            .page_size = 1,
            .page_stride = dim,
            .value_page_stride = dim,
            .key_step = dim,
            .value_step = dim,
            .scale = (float)problem->scale,
            .sink = -INFINITY,
        };
        planted_row(bug, &task, out + row * dim, lse + row);
    }
    struct deviation deviation;
    const struct promise promise = {.p_dtype = bug == PLANTED_P_F32 ? ATTN_F32 : ATTN_INPUT,
                                    .grade = PLANTED_GRADE(bug),
                                    .lse_grade = PLANTED_HAS_LSE_OF_GRADE_B(bug) ? 'B' : 'A',
                                    .lse_base_2 = PLANTED_SAYS_BASE_2(bug)};
    deviation_measure(&deviation, &view, &fixture->answer, out, lse, &promise, 0);
    free(tokens);
    free(out);
    free(lse);
    return judge(&deviation,
                 &(struct observation){.grade_promised = PLANTED_GRADE(bug),
                                       .exact_expected = fixture->problem.data == DATA_EXACT});
}

static const char *const names[] = {
#define X(symbol, name, variant, devices, meaning) #name,
    PLANTED(X)
#undef X
};

static const enum planted honest[] = {
    PLANTED_FLASH,          PLANTED_SPLIT,           PLANTED_EXP2,        PLANTED_EXP_DEGREE_3,
    PLANTED_EXP_DEGREE_5,   PLANTED_P_TIMES_256,     PLANTED_P_F32,       PLANTED_SUM_F64,
    PLANTED_SUM_OF_ROUNDED, PLANTED_LAZY_RESCALE,    PLANTED_SUM_STRIDED, PLANTED_SUM_PAIRWISE,
    PLANTED_P_NORMALISED,   PLANTED_SPLIT_ANY_ORDER, PLANTED_BASE_2,
};
enum { HONEST = sizeof honest / sizeof honest[0] };

/* The bugs that a row of numbers shows. */
static const enum planted bugs[] = {PLANTED_ZEROS,
                                    PLANTED_LAST_KEY_DROPPED,
                                    PLANTED_LAST_BLOCK_DROPPED,
                                    PLANTED_KEY_TOO_MANY,
                                    PLANTED_KEY_TWICE,
                                    PLANTED_RESCALE_MISSED,
                                    PLANTED_SCALE_1_01,
                                    PLANTED_SCALE_1_001,
                                    PLANTED_P_TRUNCATED,
                                    PLANTED_OUT_16BIT,
                                    PLANTED_DENOMINATOR_16BIT,
                                    PLANTED_PAGES_SWAPPED,
                                    PLANTED_EXP_16BIT,
                                    PLANTED_SCORES_IGNORED,
                                    PLANTED_OUT_TRUNCATED,
                                    PLANTED_DENOMINATOR_STALE,
                                    PLANTED_FIRST_KEY_DROPPED,
                                    PLANTED_LAST_KEY_TWICE,
                                    PLANTED_VALUE_BEFORE,
                                    PLANTED_PRODUCTS_16BIT,
                                    PLANTED_SCORES_16BIT,
                                    PLANTED_RESCALE_TWICE,
                                    PLANTED_SHARES_AVERAGED};

static void catch_all(const char *line) {
    struct fixture fixture = {0};
    draw(&fixture, line);
    for (size_t n = 0; n < sizeof bugs / sizeof bugs[0]; n++) {
        const struct verdict verdict = verdict_on(bugs[n], &fixture);
        cr_expect(verdict.status == STATUS_FAIL_ACCURACY || verdict.status == STATUS_FAIL_LSE,
                  "%s passes on %s", names[bugs[n]], line);
    }
    for (int n = 0; n < HONEST; n++) {
        const struct verdict verdict = verdict_on(honest[n], &fixture);
        cr_expect(verdict.status == STATUS_PASS && verdict.grade <= PLANTED_GRADE(honest[n]),
                  "%s on %s: %s", names[honest[n]], line, verdict.reason);
    }
    fixture_free(&fixture);
}

static void answer_anew(struct fixture *fixture) {
    struct fault fault = {0};
    const struct rule_view view = fixture_view(fixture);
    answer_free(&fixture->answer);
    cr_assert(oracle_answer(&fixture->answer, &view, 0, 1, NULL, &fault), "%s", fault.text);
}

/* What is no number spoils its own rows only, and hides nothing: query 3 has a NaN; key 180 of head
 * 0 has an infinity, and queries 20 to 39 see it. Where q is -1 there its logit is -infinity: it
 * has weight 0 and spoils nothing. */
Test(planted, rows_without_numbers_are_judged_by_that_alone) {
    enum { Q_NAN, K_INFINITY, K_UNSEEN };
    const uint16_t nan = 0x7e00, infinity = 0x7c00, minus_one = 0xbc00;
    for (int kind = Q_NAN; kind <= K_UNSEEN; kind++) {
        struct fixture fixture = {0};
        draw(&fixture, "f16-b1-hq2-hkv2-q40-kv200-d64-causal-normal-seed3");
        uint16_t *q = fixture.tensors[ATTN_Q].data, *k = fixture.tensors[ATTN_K].data;
        for (int64_t i = 0; i < 40 && kind == K_UNSEEN; i++) q[i * 64 + 7] = minus_one;
        if (kind == Q_NAN) q[3 * 64 + 5] = nan;
        if (kind != Q_NAN) k[180 * 64 + 7] = infinity;
        answer_anew(&fixture);
        int64_t spoilt = 0;
        for (int64_t row = 0; row < 80; row++) spoilt += !isfinite(fixture.answer.lse[row]);
        if (kind != K_INFINITY) cr_expect(spoilt == (kind == Q_NAN));
        if (kind == K_INFINITY) cr_expect(spoilt > 0 && spoilt <= 20);
        for (int n = 0; n < HONEST; n++) {
            const struct verdict verdict = verdict_on(honest[n], &fixture);
            cr_expect(verdict.status == STATUS_PASS, "%d: %s: %s", kind, names[honest[n]],
                      verdict.reason);
        }
        for (size_t n = 0; n < sizeof bugs / sizeof bugs[0]; n++) {
            const struct verdict verdict = verdict_on(bugs[n], &fixture);
            cr_expect(verdict.status != STATUS_PASS, "%d: %s passes", kind, names[bugs[n]]);
        }
        fixture_free(&fixture);
    }
}

Test(planted, every_bug_is_found_among_512_keys) {
    catch_all("f16-b1-hq32-hkv1-q1-kv512-d128-normal-seed1");
    catch_all("bf16-b1-hq32-hkv1-q1-kv512-d128-normal-seed1");
}

Test(planted, every_bug_is_found_among_4096_keys) {
    catch_all("f16-b1-hq32-hkv1-q1-kv4096-d128-normal-seed1");
    catch_all("bf16-b1-hq32-hkv1-q1-kv4096-d128-normal-seed1");
}

Test(planted, every_bug_is_found_among_32768_keys) {
    catch_all("f16-b1-hq8-hkv1-q1-kv32768-d128-normal-seed1");
    catch_all("bf16-b1-hq8-hkv1-q1-kv32768-d128-normal-seed1");
}

Test(planted, an_honest_kernel_is_never_rejected) {
    static const char *const shapes[] = {"b1-hq1-hkv1-q1-kv1-d1",
                                         "b1-hq1-hkv1-q1-kv2-d64",
                                         "b1-hq2-hkv1-q1-kv3-d128",
                                         "b1-hq1-hkv1-q1-kv17-d3",
                                         "b2-hq4-hkv2-q1-kv64-d64",
                                         "b1-hq8-hkv2-q1-kv1000-d128",
                                         "b1-hq2-hkv2-q70-kv130-d40-causal",
                                         "b1-hq1-hkv1-q1-kv5000-d16"};
    static const char *const data[] = {
        "normal",      "normal0.1", "uniform", "peaked",  "needle",    "constv",
        "outlier",     "cancel",    "exact",   "ties",    "ascending", "descending",
        "alternating", "subnormal", "model",   "peaked3", "lead"};
    int judged = 0;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        for (size_t shape = 0; shape < sizeof shapes / sizeof shapes[0]; shape++) {
            for (size_t kind = 0; kind < sizeof data / sizeof data[0]; kind++) {
                char line[PROBLEM_LINE_BYTES];
                struct fixture fixture = {0};
                snprintf(line, sizeof line, "%s-%s-%s-seed7", bf16 ? "bf16" : "f16", shapes[shape],
                         data[kind]);
                draw(&fixture, line);
                for (int n = 0; n < HONEST; n++) {
                    const struct verdict verdict = verdict_on(honest[n], &fixture);
                    judged++;
                    cr_expect(verdict.status == STATUS_PASS &&
                                  verdict.grade <= PLANTED_GRADE(honest[n]),
                              "%s on %s: %s", names[honest[n]], line, verdict.reason);
                }
                fixture_free(&fixture);
            }
        }
    }
    cr_assert(judged == 2 * 8 * 17 * HONEST);
}
