/* A row sees only the tokens on its list, one list for each (sequence, query head): sparse_nnz
 * distinct valid tokens of sparse_ind, in any order, then -1. sparse_mask says the same as zeros
 * and ones; whoever reads a file with a mask makes the list from it, and only lists are used. */
#include "../rule.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

static const struct rule_tensor tensors[] = {
    {ATTN_SPARSE_IND, ATTN_I32, 3, {SIZE_BATCH, SIZE_Q_HEADS, SIZE_KEPT_MAX}},
    {ATTN_SPARSE_NNZ, ATTN_I32, 2, {SIZE_BATCH, SIZE_Q_HEADS}},
    {ATTN_SPARSE_MASK, ATTN_U8, 3, {SIZE_BATCH, SIZE_Q_HEADS, SIZE_KV_LEN}},
    {.rank = 0}};

static void keys(const struct rule_view *view, int64_t b, int64_t h, struct rule_keys *keys) {
    const int64_t row = b * view->problem->q_heads + h;
    keys->count = ((const int32_t *)view->tensors[ATTN_SPARSE_NNZ].data)[row];
    keys->list =
        (const int32_t *)view->tensors[ATTN_SPARSE_IND].data + row * view->problem->kept_max;
}

/* Marks the row's tokens in `seen`, one bit a token, and takes the marks back. */
static bool check_row(const struct rule_view *view, int64_t b, int64_t h, uint64_t *seen,
                      struct fault *fault) {
    struct rule_keys row;
    keys(view, b, h, &row);
    const int64_t room = view->problem->kept_max, tokens = rules_kv_len(view, b);
    if (row.count < 0 || row.count > room)
        return fault_set(fault, FAULT_INPUT,
                         "sparse_nnz[%" PRId64 ",%" PRId64 "] is %" PRId64 ": expected 0..%" PRId64,
                         b, h, row.count, room);
    for (int64_t n = 0; n < row.count; n++) {
        const int32_t t = row.list[n];
        if (t < 0 || t >= tokens)
            return fault_set(fault, FAULT_INPUT,
                             "sparse_ind[%" PRId64 ",%" PRId64 ",%" PRId64 "] is %" PRId32
                             ": expected a token of 0..%" PRId64,
                             b, h, n, t, tokens - 1);
        if (seen[t / 64] >> t % 64 & 1)
            return fault_set(fault, FAULT_INPUT,
                             "sparse_ind[%" PRId64 ",%" PRId64 ",%" PRId64 "] is %" PRId32
                             ": expected no token twice",
                             b, h, n, t);
        seen[t / 64] |= (uint64_t)1 << t % 64;
    }
    for (int64_t n = 0; n < row.count; n++) seen[row.list[n] / 64] = 0;
    for (int64_t n = row.count; n < room; n++)
        if (row.list[n] != -1)
            return fault_set(fault, FAULT_INPUT,
                             "sparse_ind[%" PRId64 ",%" PRId64 ",%" PRId64 "] is %" PRId32
                             ": expected -1 beyond sparse_nnz",
                             b, h, n, row.list[n]);
    return true;
}

static bool check(const struct rule_view *view, struct fault *fault) {
    const struct attn_problem *problem = view->problem;
    uint64_t *seen = calloc((size_t)problem->kv_len / 64 + 1, sizeof *seen);
    if (!seen) return fault_set(fault, FAULT_OURS, "out of memory for sparse_ind's tokens");
    bool good = true;
    for (int64_t b = 0; good && b < problem->batch; b++)
        for (int64_t h = 0; good && h < problem->q_heads; h++)
            good = check_row(view, b, h, seen, fault);
    free(seen);
    return good;
}

/* Draws by probability come in order, draws by count in any order: both happen outside. Fills
 * `list` unless it is NULL; returns how many. */
static int64_t draw_row(const struct rule_draw *draw, uint64_t row, int64_t tokens, int32_t *list) {
    if (draw->keep_top && draw->keep_probability > 0) {
        const int64_t count = (int64_t)ceil(draw->keep_probability * (double)tokens);
        return count < tokens ? count : tokens;
    }
    if (draw->keep_probability == 0) {
        const int64_t count = draw->keep_count < tokens ? draw->keep_count : tokens;
        if (list && !draw->keep_top)
            rule_choose(&draw->random, ATTN_SPARSE_IND, row, tokens, count, list);
        return count;
    }
    const uint64_t below = (uint64_t)(draw->keep_probability * 0x1p32);
    int64_t count = 0;
    for (int64_t t = 0; t < tokens; t++)
        if (draw->random.word(&draw->random, ATTN_SPARSE_IND, row << 32 | (uint64_t)t) < below) {
            if (list) list[count] = (int32_t)t;
            count++;
        }
    return count;
}

/* The longest of lists drawn by probability, to all intents: eight standard deviations and 32 more
 * tokens than the mean (Bernstein: a list is longer once in 10^11). */
static int64_t longest(int64_t tokens, double probability) {
    const double mean = (double)tokens * probability;
    const double most = mean + 8 * sqrt(mean * (1 - probability)) + 32;
    return most < (double)tokens ? (int64_t)most : tokens;
}

static void size(struct attn_problem *problem, const struct rule_draw *draw) {
    const bool undrawn = draw->undrawn && draw->keep_probability > 0 && !draw->keep_top;
    problem->kept_max = 1; /* so that no table is without an element */
    for (int64_t row = 0; row < problem->batch * problem->q_heads; row++) {
        const int64_t tokens = rule_draw_len(problem, draw, row / problem->q_heads);
        const int64_t count = undrawn ? longest(tokens, draw->keep_probability)
                                      : draw_row(draw, (uint64_t)row, tokens, NULL);
        if (count > problem->kept_max) problem->kept_max = count;
    }
}

static void draw_lists(const struct rule_view *view, const struct rule_draw *draw) {
    const struct attn_problem *problem = view->problem;
    int32_t *nnz = view->tensors[ATTN_SPARSE_NNZ].data;
    int32_t *list = view->tensors[ATTN_SPARSE_IND].data;
    const int64_t rows = problem->batch * problem->q_heads;
    for (int64_t n = 0; n < rows * problem->kept_max; n++) list[n] = -1;
    for (int64_t row = 0; row < rows; row++) {
        const int64_t tokens = rule_draw_len(problem, draw, row / problem->q_heads);
        nnz[row] = (int32_t)draw_row(draw, (uint64_t)row, tokens, list + row * problem->kept_max);
    }
}

const struct rule rule_keep = {
    .trait = ATTN_KEEP,
    .name = "keep",
    .meaning = "a row sees only the tokens on its list",
    .words = "keep0.02 or keep640",
    .tensors = tensors,
    .keys = keys,
    .check = check,
    .size = size,
    .draw = draw_lists,
};
