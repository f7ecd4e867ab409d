/* Sequences of different lengths in one tensor: the first seq_lens[b] tokens of sequence b are
 * valid, in q and in k and v alike. With pages, the page table holds the lengths and there is no
 * seq_lens; this rule then only draws them. */
#include "../rule.h"

#include <inttypes.h>

static const struct rule_tensor tensors[] = {{ATTN_SEQ_LENS, ATTN_I32, 1, {SIZE_BATCH}},
                                             {.rank = 0}};

static int64_t length(const struct rule_view *view, int64_t b) {
    const int32_t *lens = view->tensors[ATTN_SEQ_LENS].data;
    return lens ? lens[b] : view->problem->kv_len;
}

static bool check(const struct rule_view *view, struct fault *fault) {
    const int32_t *lens = view->tensors[ATTN_SEQ_LENS].data;
    const struct attn_problem *problem = view->problem;
    const int64_t most = problem->q_len < problem->kv_len ? problem->q_len : problem->kv_len;
    for (int64_t b = 0; lens && b < problem->batch; b++)
        if (lens[b] < 0 || lens[b] > most)
            return fault_set(fault, FAULT_INPUT,
                             "seq_lens[%" PRId64 "] is %" PRId32 ": expected 0..%" PRId64, b,
                             lens[b], most);
    return true;
}

/* One sequence is as long as the room, so that the sizes mean what they say. */
static void size(struct attn_problem *problem, const struct rule_draw *draw) {
    if (draw->lens_given) return;
    for (int64_t b = 0; b < problem->batch; b++)
        draw->lens[b] =
            b == 0 ? problem->kv_len
                   : rule_below(&draw->random, ATTN_SEQ_LENS, (uint64_t)b, problem->kv_len + 1);
}

static void draw_lens(const struct rule_view *view, const struct rule_draw *draw) {
    int32_t *lens = view->tensors[ATTN_SEQ_LENS].data;
    for (int64_t b = 0; lens && b < view->problem->batch; b++) lens[b] = (int32_t)draw->lens[b];
}

const struct rule rule_ragged = {
    .trait = ATTN_RAGGED,
    .name = "ragged",
    .meaning = "each sequence has its own number of valid tokens",
    .words = "lens194,22,131 or ragged",
    .tensors = tensors,
    .q_len = length,
    .kv_len = length,
    .check = check,
    .size = size,
    .draw = draw_lens,
};
