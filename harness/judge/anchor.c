/* The anchors, row by row from the rules: whom a row sees, where that is stored, what becomes of a
 * logit. One piece of work is a head. */
#include "anchor.h"
#include "../../fixtures/problem.h"
#include "../../fixtures/spread.h"
#include "../../kernels/attn_number.h"
#include "../../oracle/bulk.h"
#include "../../oracle/oracle.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_DIM_MAX = PROBLEM_HEAD_DIM_MAX };

struct job {
    enum anchor anchor;
    const struct rule_view *view;
    const struct answer *answer;
    void *out;
    float *lse;
    enum attn_dtype dtype; /* of out */
    double unit;           /* what is stored times that is meant */
    atomic_bool out_of_memory;
};

const char *anchor_name(enum anchor anchor) {
    static const char *const names[] = {[ANCHOR_IDEAL] = "ideal", [ANCHOR_STD16] = "std16"};
    return names[anchor];
}

bool anchor_exists(enum anchor anchor, const struct attn_problem *problem) {
    return anchor == ANCHOR_IDEAL || problem->dtype != ATTN_F32;
}

static double round_to(enum attn_dtype dtype, double x) {
    return dtype == ATTN_F16    ? attn_f16_to_f64(attn_f64_to_f16(x))
           : dtype == ATTN_BF16 ? attn_bf16_to_f64(attn_f64_to_bf16(x))
                                : (double)(float)x;
}

static void store(const struct job *job, int64_t at, double x) {
    switch (job->dtype) {
    case ATTN_F32:
        ((float *)job->out)[at] = (float)x;
        return;
    case ATTN_E4M3:
        ((uint8_t *)job->out)[at] = attn_f64_to_e4m3_sat(x / job->unit);
        return;
    case ATTN_F16:
        ((uint16_t *)job->out)[at] = attn_f64_to_f16(x);
        return;
    default:
        ((uint16_t *)job->out)[at] = attn_f64_to_bf16(x);
    }
}

static float dot(const float *x, const float *y, int64_t n) {
    float sum[8] = {0};
    int64_t d = 0;
    for (; d + 8 <= n; d += 8) {
        for (int l = 0; l < 8; l++) sum[l] += x[d + l] * y[d + l];
    }
    for (; d < n; d++) sum[0] += x[d] * y[d];
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

static void narrow(const struct job *job, const double *wide, int64_t dim, double scale,
                   float *values) {
    const enum attn_dtype dtype = (enum attn_dtype)job->view->problem->dtype;
    for (int64_t d = 0; d < dim; d++)
        values[d] = (float)(scale == 1 ? wide[d] : round_to(dtype, wide[d] * scale));
}

static void widen_q(const struct job *job, const void *row, float *values) {
    const struct attn_problem *problem = job->view->problem;
    double wide[HEAD_DIM_MAX];
    bulk_widen(wide, NULL, NULL, row, (enum attn_dtype)problem->dtype, problem->head_dim);
    narrow(job, wide, problem->head_dim, 1, values);
}

static void widen_kv(const struct job *job, int64_t b, int64_t g, int64_t t, bool value,
                     double scale, float *values) {
    const struct attn_problem *problem = job->view->problem;
    const int64_t dim = value ? problem->value_dim : problem->head_dim;
    double wide[HEAD_DIM_MAX];
    bulk_widen_kv(wide, NULL, NULL, job->view, b, g, t, value, dim);
    narrow(job, wide, dim, scale, values);
}

/* One logit, rounded: s = q.(k scale), then what the rules make of it. */
static float logit_of(const struct job *job, int64_t b, int64_t h, int64_t i, int64_t t,
                      const float *q, double q_norm) {
    const struct attn_problem *problem = job->view->problem;
    const int64_t g = h / (problem->q_heads / problem->kv_heads);
    float k[HEAD_DIM_MAX];
    widen_kv(job, b, g, t, false, problem->scale, k);
    struct rule_logit logit = {.value = (double)dot(q, k, problem->head_dim), .i = i, .t = t};
    if (rules_need_norms(problem)) {
        widen_kv(job, b, g, t, false, 1, k);
        logit.dot = (double)dot(q, k, problem->head_dim);
        logit.q_norm = q_norm;
        logit.k_norm = (double)sqrtf(dot(k, k, problem->head_dim));
    }
    rules_logit(job->view, b, h, &logit);
    return (float)round_to((enum attn_dtype)problem->dtype, logit.value);
}

static void std16_row(const struct job *job, int64_t b, int64_t h, int64_t i, float *s) {
    const struct rule_view *view = job->view;
    const struct attn_problem *problem = view->problem;
    const enum attn_dtype dtype = (enum attn_dtype)problem->dtype;
    const int64_t g = h / (problem->q_heads / problem->kv_heads), dim = problem->value_dim;
    const int64_t at = (b * problem->q_heads + h) * problem->q_len + i;
    struct rule_keys keys = rules_keys(view, b, h, i);
    float q[HEAD_DIM_MAX], v[HEAD_DIM_MAX], o[HEAD_DIM_MAX] = {0};
    const float sink = (float)rules_sink(view, b, h);
    float m = sink, l = 0;
    widen_q(job, (const uint16_t *)view->tensors[ATTN_Q].data + at * problem->head_dim, q);
    const double q_norm = (double)sqrtf(dot(q, q, problem->head_dim));
    for (int64_t n = 0; n < keys.count; n++) {
        const int64_t j = rule_token(&keys, n);
        s[n] = logit_of(job, b, h, i, j, q, q_norm);
        m = fmaxf(m, s[n]);
    }
    if (m == -INFINITY) keys.count = 0; /* all hidden by a bias */
    for (int64_t n = 0; n < keys.count; n++) l += expf(s[n] - m);
    if (sink != -INFINITY) l += expf(sink - m);
    for (int64_t n = 0; n < keys.count; n++) {
        const int64_t j = rule_token(&keys, n);
        const float p = (float)round_to(dtype, (double)(expf(s[n] - m) / l));
        widen_kv(job, b, g, j, true, 1, v);
        for (int64_t d = 0; d < dim; d++) o[d] += p * v[d];
    }
    for (int64_t d = 0; d < dim; d++) store(job, at * dim + d, (double)o[d]);
    job->lse[at] = keys.count > 0 ? m + logf(l) : sink;
}

static void ideal_row(const struct job *job, int64_t b, int64_t h, int64_t row) {
    const struct attn_problem *problem = job->view->problem;
    const int64_t head = b * problem->q_heads + h, dim = problem->value_dim;
    const int64_t from = head * job->answer->row_count + row;
    const int64_t at = head * problem->q_len + job->answer->rows[row];
    for (int64_t d = 0; d < dim; d++) store(job, at * dim + d, job->answer->out[from * dim + d]);
    job->lse[at] = (float)job->answer->lse[from];
}

static void fill_head(void *context, int64_t head) {
    struct job *job = context;
    const struct attn_problem *problem = job->view->problem;
    const int64_t b = head / problem->q_heads, h = head % problem->q_heads;
    const int64_t q_len = rules_q_len(job->view, b);
    float *s = malloc(sizeof *s * (size_t)(problem->kv_len + 1));
    if (s == NULL) {
        job->out_of_memory = true;
        return;
    }
    for (int64_t row = 0; row < job->answer->row_count; row++) {
        const int64_t i = job->answer->rows[row];
        if (i >= q_len) break;
        if (job->anchor == ANCHOR_IDEAL) {
            ideal_row(job, b, h, row);
        } else {
            std16_row(job, b, h, i, s);
        }
    }
    free(s);
}

bool anchor_out(enum anchor anchor, const struct rule_view *view, const struct answer *answer,
                void *out, float *lse, int threads, struct fault *fault) {
    const struct attn_problem *problem = view->problem;
    const int64_t heads = problem->batch * problem->q_heads, rows = heads * problem->q_len;
    const enum attn_dtype dtype = rules_out_dtype(problem);
    struct job job = {anchor, view, answer, out, lse, dtype, rules_out_scale(view), false};
    memset(out, 0, (size_t)(rows * problem->value_dim) * attn_dtype_bytes(dtype));
    memset(lse, 0, (size_t)rows * sizeof *lse);
    spread(threads, heads, fill_head, &job);
    return !job.out_of_memory || fault_set(fault, FAULT_OURS, "out of memory for a row of scores");
}

/* Visible pairs times D over the answer's rows. */
static double work_of(const struct rule_view *view, const struct answer *answer) {
    const struct attn_problem *problem = view->problem;
    double pairs = 0;
    for (int64_t b = 0; b < problem->batch; b++) {
        const int64_t q_len = rules_q_len(view, b);
        for (int64_t h = 0; h < problem->q_heads; h++) {
            for (int64_t row = 0; row < answer->row_count && answer->rows[row] < q_len; row++)
                pairs += (double)rules_keys(view, b, h, answer->rows[row]).count;
        }
    }
    return pairs * (double)problem->head_dim;
}

/* An answer with `count` of the rows, evenly taken; its arrays are the caller's to free. */
static bool thin_answer(struct answer *few, const struct answer *answer, int64_t count) {
    const int64_t heads = answer->batch * answer->q_heads, dim = answer->value_dim;
    const size_t values = (size_t)(heads * count), bytes = sizeof(double);
    *few = *answer;
    few->row_count = count;
    few->rows = malloc((size_t)count * sizeof *few->rows);
    few->out = malloc(values * (size_t)dim * bytes);
    few->p_abs_v = malloc(values * (size_t)dim * bytes);
    few->p_rms_v = malloc(values * (size_t)dim * bytes);
    const bool lossy = answer->lost_abs_v != NULL;
    few->lost_abs_v = lossy ? malloc(values * (size_t)dim * bytes) : NULL;
    few->lost_rms_v = lossy ? malloc(values * (size_t)dim * bytes) : NULL;
    few->lse = malloc(values * bytes);
    few->logit_abs = malloc(values * bytes);
    few->logit_max = malloc(values * bytes);
    few->sum_bias = malloc(values * bytes);
    if (few->rows == NULL || few->out == NULL || few->p_abs_v == NULL || few->p_rms_v == NULL ||
        (lossy && (few->lost_abs_v == NULL || few->lost_rms_v == NULL)) || few->lse == NULL ||
        few->logit_abs == NULL || few->logit_max == NULL || few->sum_bias == NULL)
        return false;
    for (int64_t row = 0; row < count; row++) {
        const int64_t taken = row * answer->row_count / count;
        few->rows[row] = answer->rows[taken];
        for (int64_t head = 0; head < heads; head++) {
            const int64_t to = head * count + row, from = head * answer->row_count + taken;
            memcpy(few->out + to * dim, answer->out + from * dim, (size_t)dim * bytes);
            memcpy(few->p_abs_v + to * dim, answer->p_abs_v + from * dim, (size_t)dim * bytes);
            memcpy(few->p_rms_v + to * dim, answer->p_rms_v + from * dim, (size_t)dim * bytes);
            if (lossy) {
                memcpy(few->lost_abs_v + to * dim, answer->lost_abs_v + from * dim,
                       (size_t)dim * bytes);
                memcpy(few->lost_rms_v + to * dim, answer->lost_rms_v + from * dim,
                       (size_t)dim * bytes);
            }
            few->lse[to] = answer->lse[from];
            few->logit_abs[to] = answer->logit_abs[from];
            few->logit_max[to] = answer->logit_max[from];
            few->sum_bias[to] = answer->sum_bias[from];
        }
    }
    return true;
}

bool anchor_measure(struct deviation *deviation, enum anchor anchor, const struct rule_view *view,
                    const struct answer *answer, double work_max, int threads,
                    struct fault *fault) {
    const struct attn_problem *problem = view->problem;
    const struct promise promise = {.grade = anchor == ANCHOR_STD16 ? 'B' : 'A', .lse_grade = 'A'};
    const size_t rows = (size_t)(problem->batch * problem->q_heads * problem->q_len);
    const double work = anchor == ANCHOR_STD16 ? work_of(view, answer) : 0;
    const double part = work > work_max ? work_max / work : 1;
    int64_t count = (int64_t)((double)answer->row_count * part);
    if (count < 1) count = 1; /* every answer has a row */
    struct answer few = {0};
    const size_t row_bytes =
        (size_t)problem->value_dim * attn_dtype_bytes(rules_out_dtype(problem));
    void *out = malloc(rows * row_bytes + 1);
    float *lse = malloc(rows * sizeof *lse + 1);
    bool well = out != NULL && lse != NULL && thin_answer(&few, answer, count);
    if (!well)
        fault_set(fault, FAULT_OURS, "out of memory for the anchor '%s'", anchor_name(anchor));
    well = well && anchor_out(anchor, view, &few, out, lse, threads, fault);
    if (well) deviation_measure(deviation, view, &few, out, lse, &promise, threads);
    answer_free(&few);
    free(out);
    free(lse);
    return well;
}
