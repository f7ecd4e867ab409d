/* Sequences that ask differently many queries, whatever their keys: chunks of a prompt, a few
 * guesses to verify, none. The first q_lens[b] queries of sequence b are valid; the last of them
 * stands at the last token. */
#include "../rule.h"

#include <inttypes.h>

static const struct rule_tensor tensors[] = {{ATTN_Q_LENS, ATTN_I32, 1, {SIZE_BATCH}}, {.rank = 0}};

static int64_t q_len(const struct rule_view *view, int64_t b) {
    return ((const int32_t *)view->tensors[ATTN_Q_LENS].data)[b];
}

static bool check(const struct rule_view *view, struct fault *fault) {
    for (int64_t b = 0; b < view->problem->batch; b++)
        if (q_len(view, b) < 0 || q_len(view, b) > view->problem->q_len)
            return fault_set(fault, FAULT_INPUT,
                             "q_lens[%" PRId64 "] is %" PRId64 ": expected 0..%" PRId64, b,
                             q_len(view, b), view->problem->q_len);
    return true;
}

/* One sequence asks as many as there is room for, so that the size means what it says. */
static void size(struct attn_problem *problem, const struct rule_draw *draw) {
    if (draw->q_lens_given) return;
    for (int64_t b = 0; b < problem->batch; b++)
        draw->q_lens[b] =
            b == 0 ? problem->q_len
                   : rule_below(&draw->random, ATTN_Q_LENS, (uint64_t)b, problem->q_len + 1);
}

static void draw_lens(const struct rule_view *view, const struct rule_draw *draw) {
    int32_t *lens = view->tensors[ATTN_Q_LENS].data;
    for (int64_t b = 0; b < view->problem->batch; b++) lens[b] = (int32_t)draw->q_lens[b];
}

const struct rule rule_qlens = {
    .trait = ATTN_QLENS,
    .name = "qlens",
    .meaning = "each sequence has its own number of queries",
    .words = "qlens5,1,0 or qragged",
    .tensors = tensors,
    .q_len = q_len,
    .check = check,
    .size = size,
    .draw = draw_lens,
};
