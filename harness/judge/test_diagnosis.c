/* A wrong output is told for what it is: planted bugs, each by a kernel that computes in f32,
 * answers of the oracle to another problem, and every hypothesis by its own course; and nothing is
 * told of what is honest, or wrong in a way that no hypothesis describes. */
#include "deviation.h"
#include "diagnosis.h"
#include "hypothesis.h"
#include "../planted/planted.h"
#include "../trial/obtain.h"
#include "../verb.h"
#include "../../kernels/attn_number.h"
#include "../../oracle/oracle.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DECODE "f16-b2-hq8-hkv2-q1-kv4096-d64-normal-seed1"
#define SHORT "f16-b2-hq8-hkv2-q1-kv2048-d64-normal-seed1"
#define PREFILL "f16-b1-hq4-hkv2-q64-kv200-d64-normal-seed1"
#define CAUSAL "f16-b1-hq4-hkv2-q64-kv200-d64-causal-normal-seed1"
#define CAUSAL_D80 "f16-b1-hq4-hkv2-q64-kv200-d80-causal-normal-seed1"
#define CAUSAL_BF16 "bf16-b1-hq2-hkv1-q64-kv4096-d64-causal-normal-seed1"
#define VARLEN "f16-b3-hq4-hkv2-q200-kv200-d64-lens200,77,130-normal-seed1"
#define VARLEN_CAUSAL "f16-b3-hq4-hkv2-q200-kv200-d64-causal-lens200,77,130-normal-seed1"
#define PAGED "f16-b3-hq4-hkv2-q1-kv4000-d64-page64-lens4000,1000,190-normal-seed1"
#define PAGED_EMPTY "f16-b3-hq4-hkv2-q1-kv1000-d64-page64-lens1000,0,190-normal-seed1"
#define SPARSE "f16-b2-hq8-hkv2-q1-kv1000-d64-keep0.1-normal-seed1"
#define ANY_ORDER "f16-b1-hq8-hkv1-q1-kv1000-d64-keep100-normal-seed1"
#define HEADS "f16-b2-hq16-hkv4-q1-kv300-d64-normal-seed1"
#define MODEL "f16-b1-hq4-hkv2-q1-kv4096-d64-model-seed1"
#define WINDOW "f16-b1-hq4-hkv2-q64-kv200-d64-window20,30-normal-seed1"
#define BIASED "f16-b2-hq4-hkv2-q40-kv40-d64-softcap5-bias-normal-seed1"
#define E4M3_HEADS "f16-b2-hq6-hkv3-q4-kv300-d64-kve4m3head-normal-seed1"
#define E4M3_PAGES "f16-b2-hq4-hkv2-q1-kv300-d64-page16-lens300,200-kve4m3token-normal-seed1"
#define INT8_TOKENS "f16-b2-hq4-hkv2-q1-kv300-d64-kvint8token-normal-seed1"
#define OUT8 "f16-b1-hq4-hkv2-q64-kv200-d64-causal-oute4m3-normal-seed1"
#define LISTS "f16-b1-hq6-hkv3-q5-kv200-d64-page16-causal-keep40-keepgroup-normal-seed1"
#define WIDE "f16-b2-hq4-hkv2-q1-kv300-d64-dv80-normal-seed1"
#define LATENT "f16-b2-hq8-hkv1-q1-kv300-d192-dv128-kshared-scale0.125-normal-seed1"
#define OF_TODAY "f16-b1-hq4-hkv2-q64-kv200-d64-causal-window40-softcap2-sinks-alibi-normal-seed1"
#define CHUNKS "f16-b2-hq4-hkv2-q8-kv208-d64-page256-causal-lens208,40-qlens8,5-normal-seed1"
#define LARGE "f16-b1-hq1-hkv1-q1-kv65600-d64-normal-seed1"
#define MAGICPIG "f16-b2-hq4-hkv2-q1-kv1000-d64-page16-lens1000,700-keep0.2-magicpig-normal-seed1"

struct output {
    struct fixture fixture;
    struct rule_view view;
    uint16_t *out;
    float *lse;
    bool base_2; /* lse is, and is said to be */
};

/* A fixture, and room for an output: the right answer, rounded. */
static void begin(struct output *output, const char *line) {
    struct fault fault = {0};
    const struct obtain_options options = {.program = verb_program(), .uncached = true};
    *output = (struct output){0};
    cr_assert(obtain_line(&output->fixture, line, &options, &fault), "%s", fault.text);
    output->view = fixture_view(&output->fixture);
    const struct attn_problem *problem = output->view.problem;
    const int64_t rows = problem->batch * problem->q_heads * problem->q_len;
    cr_assert(output->fixture.answer.row_count == problem->q_len);
    output->out = calloc((size_t)(rows * problem->value_dim), sizeof *output->out);
    output->lse = calloc((size_t)rows, sizeof *output->lse);
    cr_assert(output->out != NULL && output->lse != NULL);
}

static void end(struct output *output) {
    fixture_free(&output->fixture);
    free(output->out);
    free(output->lse);
}

static void put_lse(const struct output *output, int64_t at, double lse) {
    output->lse[at] = (float)(output->base_2 ? lse * 0x1.71547652b82fep+0 : lse);
}

static void put_row(const struct output *output, int64_t at, const double *out, double lse) {
    const struct attn_problem *problem = output->view.problem;
    const bool byte = problem->traits & ATTN_OUT_E4M3;
    const double unit = rules_out_scale(&output->view);
    uint8_t *bytes = (uint8_t *)output->out + at * problem->value_dim;
    for (int64_t d = 0; byte && d < problem->value_dim; d++)
        bytes[d] = attn_f64_to_e4m3_sat(out[d] / unit);
    for (int64_t d = 0; !byte && d < problem->value_dim; d++)
        output->out[at * problem->value_dim + d] =
            problem->dtype == ATTN_F16 ? attn_f64_to_f16(out[d]) : attn_f64_to_bf16(out[d]);
    put_lse(output, at, lse);
}

static void put_answer(const struct output *output, const struct answer *answer) {
    const struct attn_problem *problem = output->view.problem;
    for (int64_t at = 0; at < problem->batch * problem->q_heads * problem->q_len; at++)
        put_row(output, at, answer->out + at * problem->value_dim, answer->lse[at]);
}

/* What is said of it, to be freed; NULL: nothing. In *status what the judge says; where it passes,
 * the diagnosis is made as if it had missed its grade. */
static char *diagnose(const struct output *output, enum status *status) {
    struct deviation deviation;
    const struct promise promise = {.grade = 'A', .lse_grade = 'A', .lse_base_2 = output->base_2};
    const struct answer *answer = &output->fixture.answer;
    deviation_measure(&deviation, &output->view, answer, output->out, output->lse, &promise, 0);
    *status = judge(&deviation, &(struct observation){.grade_promised = 'A'}).status;
    return diagnosis_make(
        *status == STATUS_PASS ? STATUS_FAIL_ACCURACY : *status, &deviation,
        &(struct diagnosis_output){&output->view, answer, output->out, output->lse, promise});
}

static char *diagnose_planted(enum planted bug, const char *line, enum status *status) {
    struct output output;
    begin(&output, line);
    struct attn_tensor out, lse;
    struct attn_call call = {0};
    struct fault fault;
    cr_assert(tensor_shape(&out, output.view.problem, ATTN_OUT, &fault) &&
              tensor_shape(&lse, output.view.problem, ATTN_LSE, &fault));
    out.data = output.out;
    lse.data = output.lse;
    memcpy(call.tensors, output.fixture.tensors, sizeof call.tensors);
    call.tensors[ATTN_OUT] = out;
    call.tensors[ATTN_LSE] = lse;
    cr_assert(planted_launch(bug, output.view.problem, &call, 0) == NULL);
    if (bug == PLANTED_TILE_UNWRITTEN) {
        const int64_t dim = output.view.problem->value_dim;
        for (int64_t n = 0; n < output.fixture.answer.q_heads * 64 * dim; n++)
            if (n % dim >= dim - 16) output.out[n] = UNWRITTEN_16;
    }
    char *text = diagnose(&output, status);
    end(&output);
    return text;
}

Test(diagnosis, every_planted_bug_that_a_hypothesis_describes_is_told_by_it) {
    static const struct {
        enum planted bug;
        const char *line, *words;
    } cases[] = {
        {PLANTED_ZEROS, DECODE, "as if it wrote zeros"},
        {PLANTED_LAST_KEY_DROPPED, DECODE, "as if a query saw one key fewer, the last left out"},
        {PLANTED_LAST_KEY_DROPPED, CAUSAL, "as if a query saw one key fewer, the last left out"},
        {PLANTED_LAST_BLOCK_DROPPED, DECODE, "as if the last 64 keys were left out"},
        {PLANTED_KEY_TOO_MANY, PAGED, "as if a query saw one key more, the one after its last"},
        {PLANTED_KEY_TWICE, DECODE, "as if the first key were counted twice"},
        {PLANTED_RESCALE_MISSED, DECODE,
         "as if the output were not rescaled when the maximum first grew, in blocks of 64 keys"},
        {PLANTED_SCALE_1_01, DECODE, "as if logits were 1.01 times what they are"},
        {PLANTED_SCALE_1_001, DECODE, "as if logits were 1.00"},
        {PLANTED_DENOMINATOR_16BIT, DECODE,
         "as if the sum of the weights were off: a row is the answer times a number"},
        {PLANTED_PAGES_SWAPPED, PAGED, "as if the values of pages 0 and 1 were swapped"},
        {PLANTED_PAGES_SWAPPED, DECODE,
         "as if the values of tiles 0 and 1 of 64 keys were swapped"},
        {PLANTED_SCORES_IGNORED, DECODE,
         "as if scores were ignored and all keys had the same weight"},
        {PLANTED_DENOMINATOR_STALE, DECODE,
         "as if the sum of the weights were never rescaled to a new maximum, in blocks of 64"},
        {PLANTED_EXP_16BIT, PREFILL, "as if the arguments of exp were rounded to the type of q"},
        {PLANTED_LSE_BASE_2, DECODE, "as if lse were in base 2"},
        {PLANTED_WRONG_KV_HEAD, DECODE, "as if it read kv head 1"},
        {PLANTED_WRONG_KV_HEAD, DECODE, "wrong in 2 of 16 rows, head 0"},
        {PLANTED_P_TRUNCATED, CAUSAL_BF16,
         "as if the output, or the weights, were cut off and not rounded"},
        {PLANTED_OUT_TRUNCATED, CAUSAL_BF16,
         "as if the output, or the weights, were cut off and not rounded"},
        {PLANTED_OUT_TRUNCATED, OUT8,
         "as if the output, or the weights, were cut off and not rounded"},
        {PLANTED_OUT_SCALE_FORGOTTEN, OUT8, "as if out_scale were forgotten"},
        {PLANTED_CAUSAL_TOP_LEFT, OUT8, "as if the causal mask were aligned to the top left"},
        {PLANTED_TILE_UNWRITTEN, CAUSAL, "wrong in 256 of 256 rows, columns 48-63"},
        {PLANTED_EMPTY_ROW_NAN, PAGED_EMPTY,
         "wrong in 4 of 12 rows, sequence 1, all of them rows that see no key"},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        enum status status;
        char *text = diagnose_planted(cases[n].bug, cases[n].line, &status);
        cr_expect(status != STATUS_PASS, "%s", cases[n].words);
        cr_expect(text != NULL && strstr(text, cases[n].words) != NULL, "'%s' is not in '%s'",
                  cases[n].words, text);
        free(text);
    }
}

Test(diagnosis, nothing_is_made_up) {
    static const char *const lines[] = {
        DECODE,
        CAUSAL,
        PAGED,
        "bf16-b2-hq8-hkv2-q1-kv4096-d64-normal-seed1",
        "f16-b1-hq8-hkv2-q1-kv1000-d8-normal-seed2",
        "bf16-b1-hq2-hkv1-q64-kv4096-d64-causal-normal-seed1",
        "f16-b1-hq4-hkv2-q64-kv512-d64-causal-model-seed1",
        "f16-b1-hq4-hkv2-q64-kv512-d64-causal-oute4m3-model-seed1",
        "f16-b1-hq8-hkv8-q1-kv300-d64-peaked3-seed1",
        MAGICPIG,
    };
    /* The honest ones, but for those which do what a hypothesis says, and one that none describes.
     */
    for (int n = 0; n <= PLANTED_ZEROS; n++) {
        if (n == PLANTED_P_NORMALISED || n == PLANTED_BASE_2) continue;
        const enum planted kernel = n < PLANTED_ZEROS ? (enum planted)n : PLANTED_OUT_16BIT;
        for (size_t line = 0; line < sizeof lines / sizeof lines[0]; line++) {
            enum status status;
            char *text = diagnose_planted(kernel, lines[line], &status);
            cr_expect(text == NULL || strstr(text, "as if") == NULL, "%d on %s: %s", (int)kernel,
                      lines[line], text);
            free(text);
        }
    }
}

Test(diagnosis, is_made_of_wrong_outputs_only) {
    struct output output;
    struct deviation deviation = {0};
    begin(&output, CAUSAL);
    put_answer(&output, &output.fixture.answer);
    const struct diagnosis_output asked = {
        &output.view, &output.fixture.answer, output.out, output.lse, {.grade = 'A'}};
    cr_assert(diagnosis_make(STATUS_PASS, &deviation, &asked) == NULL);
    cr_assert(diagnosis_make(STATUS_FAIL_NONDET, &deviation, &asked) == NULL);
    cr_assert(diagnosis_make(STATUS_FAIL_OOB_READ, &deviation, &asked) == NULL);
    end(&output);
}

/* The course that is not bent is what the oracle computes, sizes and all. */
Test(course, that_is_right_is_the_oracles_answer) {
    static const char *const lines[] = {DECODE,
                                        CAUSAL,
                                        VARLEN,
                                        PAGED,
                                        SPARSE,
                                        MAGICPIG,
                                        "f32-b1-hq2-hkv1-q3-kv300-d5-causal-model-seed1",
                                        "f16-b1-hq4-hkv2-q64-kv512-d64-causal-model-seed1"};
    for (size_t n = 0; n < sizeof lines / sizeof lines[0]; n++) {
        struct output output;
        struct course_row row;
        begin(&output, lines[n]);
        const struct answer *answer = &output.fixture.answer;
        cr_assert(course_room(&row, &output.view));
        for (int64_t at = 0; at < answer->batch * answer->q_heads * answer->row_count; at++) {
            const int64_t head = at / answer->row_count, dim = answer->value_dim;
            const struct course course =
                course_right(&output.view, answer, head / answer->q_heads, head % answer->q_heads,
                             at % answer->row_count);
            if (course.end == 0) continue;
            cr_assert(course_compute(&row, &course, 0, answer->value_dim), "%s", lines[n]);
            cr_assert(fabs(row.lse - answer->lse[at]) < 1e-9);
            cr_assert(fabs(row.size.logit_abs / answer->logit_abs[at] - 1) < 1e-9);
            cr_assert(fabs(row.size.logit_max - answer->logit_max[at]) < 1e-9);
            for (int64_t d = at * dim; d < (at + 1) * dim; d++) {
                const double size = answer->p_abs_v[d];
                cr_assert(fabs(row.out[d - at * dim] - answer->out[d]) <= 1e-9 * size);
                cr_assert(fabs(row.a[d - at * dim] - size) <= 1e-9 * size);
                cr_assert(fabs(row.r[d - at * dim] - answer->p_rms_v[d]) <= 1e-9 * size);
                if (answer->lost_rms_v == NULL) continue;
                cr_assert(fabs(row.lost_rms[d - at * dim] - answer->lost_rms_v[d]) <= 1e-9 * size);
                cr_assert(fabs(row.lost_abs[d - at * dim] - answer->lost_abs_v[d]) <= 1e-9 * size);
            }
        }
        course_free(&row);
        end(&output);
    }
}

/* The oracle's answer to another problem, as an output for this one. */
static void expect_of_other(const char *line,
                            void (*change)(struct attn_problem *, uint16_t *k, uint16_t *v),
                            const char *words) {
    struct output output;
    struct answer other = {0};
    struct fault fault = {0};
    enum status status;
    begin(&output, line);
    struct attn_problem problem = *output.view.problem;
    struct attn_tensor tensors[ATTN_SLOT_ROOM];
    memcpy(tensors, output.fixture.tensors, sizeof tensors);
    const size_t bytes = (size_t)tensor_bytes(&tensors[ATTN_K]);
    uint16_t *k = malloc(bytes), *v = malloc(bytes);
    cr_assert(k != NULL && v != NULL);
    memcpy(k, tensors[ATTN_K].data, bytes);
    memcpy(v, tensors[ATTN_V].data, bytes);
    tensors[ATTN_K].data = k;
    tensors[ATTN_V].data = v;
    change(&problem, k, v);
    const struct rule_view view = {.problem = &problem, .tensors = tensors};
    cr_assert(oracle_answer(&other, &view, 0, 1, NULL, &fault), "%s", fault.text);
    put_answer(&output, &other);
    char *text = diagnose(&output, &status);
    cr_expect(status != STATUS_PASS && text != NULL && strstr(text, words) != NULL,
              "'%s' is not in '%s'", words, text);
    free(text);
    free(k);
    free(v);
    answer_free(&other);
    end(&output);
}

static void leave_out_causal(struct attn_problem *problem, uint16_t *k, uint16_t *v) {
    (void)k, (void)v;
    problem->traits &= ~(uint64_t)ATTN_CAUSAL;
}

static void make_causal(struct attn_problem *problem, uint16_t *k, uint16_t *v) {
    (void)k, (void)v;
    problem->traits |= ATTN_CAUSAL;
}

static void leave_out_scale(struct attn_problem *problem, uint16_t *k, uint16_t *v) {
    (void)k, (void)v;
    problem->scale = 1;
}

static void scale_by_1_3(struct attn_problem *problem, uint16_t *k, uint16_t *v) {
    (void)k, (void)v;
    problem->scale *= 1.3;
}

/* Each row of V holds the one before it. */
static void move_values(struct attn_problem *problem, uint16_t *k, uint16_t *v) {
    (void)k;
    const int64_t row = problem->value_dim;
    for (int64_t head = 0; head < problem->batch * problem->kv_heads; head++) {
        uint16_t *first = v + head * problem->kv_len * row;
        memmove(first + row, first, (size_t)((problem->kv_len - 1) * row) * sizeof *v);
    }
}

Test(diagnosis, the_answer_to_another_problem_is_told_by_what_differs) {
    expect_of_other(CAUSAL, leave_out_causal, "as if the causal mask were left out");
    expect_of_other(VARLEN_CAUSAL, leave_out_causal, "as if the causal mask were left out");
    expect_of_other(PREFILL, make_causal, "as if it were causal, which is not asked");
    expect_of_other(PREFILL, leave_out_scale, "as if logits were not scaled");
    expect_of_other(DECODE, leave_out_scale, "as if logits were not scaled, and its lse as well");
    expect_of_other(DECODE, scale_by_1_3, "as if logits were 1.3 times what they are");
    expect_of_other(DECODE, move_values, "as if the value of key j were read from the row before");
}

/* Every hypothesis, by its own course: on some problem it is what is said, and whatever is said
 * explains the output. Lines from ANY_ORDER on are for what shows nowhere else; on the last lse is
 * to base 2. */
Test(diagnosis, every_hypothesis_is_told_from_the_others) {
    static const char *const lines[] = {SHORT,      PREFILL,    CAUSAL,      VARLEN, PAGED, SPARSE,
                                        MAGICPIG,   CAUSAL_D80, ANY_ORDER,   HEADS,  MODEL, LARGE,
                                        WINDOW,     OF_TODAY,   CHUNKS,      BIASED, WIDE,  LATENT,
                                        E4M3_HEADS, E4M3_PAGES, INT8_TOKENS, LISTS,  OUT8,  SHORT};
    enum { HYPOTHESES_MAX = 200, LINES = sizeof lines / sizeof lines[0] };
    bool told[HYPOTHESES_MAX] = {false};
    const struct hypothesis *one;
    for (size_t line = 0; line < LINES; line++) {
        struct output output;
        struct course_row room;
        begin(&output, lines[line]);
        output.base_2 = line == LINES - 1;
        const struct answer *answer = &output.fixture.answer;
        const int64_t dim = answer->value_dim;
        cr_assert(course_room(&room, &output.view));
        for (int64_t at_list = 0; (one = hypothesis_at(at_list)) != NULL; at_list++) {
            char words[256] = "";
            if (told[at_list]) continue;
            const int64_t candidates = one->candidates != NULL ? one->candidates(&output.view)
                                       : one->find != NULL     ? 3
                                                               : 1;
            const double number = candidates < 3 ? (double)candidates - 1 : 2;
            double *got = calloc((size_t)dim, sizeof *got);
            cr_assert(got != NULL && at_list < HYPOTHESES_MAX);
            put_answer(&output, answer);
            bool bent = false;
            for (int64_t at = 0; at < answer->batch * answer->q_heads * answer->row_count; at++) {
                const int64_t head = at / answer->row_count;
                struct course course = course_right(&output.view, answer, head / answer->q_heads,
                                                    head % answer->q_heads, at % answer->row_count);
                for (int64_t d = 0; d < dim; d++) got[d] = 1.25 * answer->out[at * dim + d];
                course.got = got;
                course.lse_base_2 = output.base_2;
                course.size = one->size;
                course.number = number;
                if (course.end <= course.first || !one->bend(&course) ||
                    !course_compute(&room, &course, 0, dim))
                    continue;
                bent = true;
                if (one->of & OF_OUT)
                    put_row(&output, at, room.out, one->of & OF_LSE ? room.lse : answer->lse[at]);
                else
                    put_lse(&output, at, room.lse);
                snprintf(words, sizeof words, one->words, course.said[0], course.said[1]);
            }
            free(got);
            if (!bent) continue;
            enum status status;
            char *text = diagnose(&output, &status);
            if (status == STATUS_FAIL_ACCURACY || status == STATUS_FAIL_LSE) {
                cr_expect(text != NULL && strstr(text, "as if ") != NULL, "%s on %s: %s", words,
                          lines[line], text);
                told[at_list] |= text != NULL && strstr(text, words) != NULL;
                if (getenv("SHOW") && strstr(text, words) == NULL)
                    fprintf(stderr, "%s\n   %s\n   %s\n", lines[line], words, text);
            }
            free(text);
        }
        course_free(&room);
        end(&output);
    }
    for (int64_t n = 0; (one = hypothesis_at(n)) != NULL; n++) cr_expect(told[n], "%s", one->words);
}
