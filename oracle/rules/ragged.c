/* Sequences of different lengths in one tensor: the first seq_lens[b] tokens of sequence b are
 * valid, in k and v and, where there are as many queries as keys, in q alike -- unless lengths of
 * their own say otherwise (qlens.c). With pages, the page table holds the lengths and there is no
 * seq_lens; this rule then only draws them. */
#include "../rule.h"

#include <inttypes.h>

static const struct rule_tensor tensors[] = {{ATTN_SEQ_LENS, ATTN_I32, 1, {SIZE_BATCH}},
                                             {.rank = 0}};

static int64_t kv_len(const struct rule_view *view, int64_t b) {
    const int32_t *lens = view->tensors[ATTN_SEQ_LENS].data;
    return lens ? lens[b] : view->problem->kv_len;
}

static int64_t q_len(const struct rule_view *view, int64_t b) {
    const struct attn_problem *problem = view->problem;
    return problem->q_len == problem->kv_len ? kv_len(view, b) : problem->q_len;
}

static bool check(const struct rule_view *view, struct fault *fault) {
    const int32_t *lens = view->tensors[ATTN_SEQ_LENS].data;
    const struct attn_problem *problem = view->problem;
    for (int64_t b = 0; lens && b < problem->batch; b++)
        if (lens[b] < 0 || lens[b] > problem->kv_len)
            return fault_set(fault, FAULT_INPUT,
                             "seq_lens[%" PRId64 "] is %" PRId32 ": expected 0..%" PRId64, b,
                             lens[b], problem->kv_len);
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
    .q_len = q_len,
    .kv_len = kv_len,
    .check = check,
    .size = size,
    .draw = draw_lens,
};
