/* An answer's arrays. */
#include "oracle.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* The rows asked for: spread evenly with both ends; the last one alone if only one is asked, for it
 * is the one that sees most. */
static void choose_rows(int64_t *rows, int64_t row_count, int64_t q_len) {
    for (int64_t n = 0; n < row_count; n++)
        rows[n] = row_count == 1 ? q_len - 1 : n * (q_len - 1) / (row_count - 1);
}

bool answer_alloc(struct answer *answer, const struct attn_problem *problem, int64_t rows,
                  struct fault *fault) {
    const int64_t q_len = problem->q_len;
    *answer = (struct answer){
        .batch = problem->batch,
        .q_heads = problem->q_heads,
        .value_dim = problem->value_dim,
        .row_count = rows <= 0 || rows > q_len ? q_len : rows,
        .kept_ratio = 1,
        .kept_mass = 1,
    };
    const int64_t row_total = answer->batch * answer->q_heads * answer->row_count;
    const size_t elements = (size_t)(row_total * answer->value_dim);
    answer->rows = calloc((size_t)answer->row_count, sizeof *answer->rows);
    answer->out = calloc(elements, sizeof *answer->out);
    answer->p_abs_v = calloc(elements, sizeof *answer->p_abs_v);
    answer->p_rms_v = calloc(elements, sizeof *answer->p_rms_v);
    answer->lost_abs_v = calloc(elements, sizeof *answer->lost_abs_v);
    answer->lost_rms_v = calloc(elements, sizeof *answer->lost_rms_v);
    answer->lse = calloc((size_t)row_total, sizeof *answer->lse);
    answer->logit_abs = calloc((size_t)row_total, sizeof *answer->logit_abs);
    answer->logit_max = calloc((size_t)row_total, sizeof *answer->logit_max);
    answer->sum_bias = calloc((size_t)row_total, sizeof *answer->sum_bias);
    if (!answer->rows || !answer->out || !answer->p_abs_v || !answer->p_rms_v ||
        !answer->lost_abs_v || !answer->lost_rms_v || !answer->lse || !answer->logit_abs ||
        !answer->logit_max || !answer->sum_bias) {
        answer_free(answer);
        return fault_set(fault, FAULT_OURS, "out of memory for an answer of %" PRId64 " rows",
                         row_total);
    }
    choose_rows(answer->rows, answer->row_count, q_len);
    for (int64_t row = 0; row < row_total; row++) answer->lse[row] = -INFINITY;
    return true;
}

void answer_drop_lost(struct answer *answer) {
    free(answer->lost_abs_v);
    free(answer->lost_rms_v);
    answer->lost_abs_v = answer->lost_rms_v = NULL;
}

void answer_free(struct answer *answer) {
    free(answer->rows);
    free(answer->out);
    free(answer->p_abs_v);
    free(answer->p_rms_v);
    answer_drop_lost(answer);
    free(answer->lse);
    free(answer->logit_abs);
    free(answer->logit_max);
    free(answer->sum_bias);
    *answer = (struct answer){0};
}
