/* A row sees only the tokens on its list: sparse_nnz distinct valid tokens of sparse_ind, in any
 * order, then -1. There is one for each (sequence, query head), and of several queries for each of
 * them, of tokens that it may see (keepgroup.c: query heads that share one). sparse_mask says the
 * same as zeros and ones; whoever reads a file with a mask makes the list from it, and only lists
 * are used. */
#include "../rule.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

static const struct rule_tensor tensors[] = {
    {ATTN_SPARSE_IND, ATTN_I32, 3, {SIZE_BATCH, SIZE_Q_HEADS, SIZE_KEPT_MAX}},
    {ATTN_SPARSE_NNZ, ATTN_I32, 2, {SIZE_BATCH, SIZE_Q_HEADS}},
    {ATTN_SPARSE_MASK, ATTN_U8, 3, {SIZE_BATCH, SIZE_Q_HEADS, SIZE_KV_LEN}},
    {.rank = 0}};

static void reshape(const struct attn_problem *problem, struct rule_tensor *tensor) {
    if (tensor->slot != ATTN_SPARSE_IND && tensor->slot != ATTN_SPARSE_NNZ &&
        tensor->slot != ATTN_SPARSE_MASK)
        return;
    if (problem->q_len <= 1) return;
    for (int axis = tensor->rank++; axis > 2; axis--) tensor->shape[axis] = tensor->shape[axis - 1];
    tensor->shape[2] = SIZE_Q_LEN;
}

struct rule_lists rule_lists(const struct attn_problem *problem) {
    const bool shared = problem->traits & ATTN_KEEP_GROUP;
    return (struct rule_lists){.heads = shared ? problem->kv_heads : problem->q_heads,
                               .group = shared ? problem->q_heads / problem->kv_heads : 1,
                               .queries = problem->q_len};
}

int64_t rule_lists_count(const struct attn_problem *problem) {
    const struct rule_lists lists = rule_lists(problem);
    return problem->batch * lists.heads * lists.queries;
}

int64_t rule_list_of(const struct attn_problem *problem, int64_t b, int64_t h, int64_t i) {
    const struct rule_lists lists = rule_lists(problem);
    return (b * lists.heads + h / lists.group) * lists.queries + i;
}

struct rule_list rule_list_at(const struct attn_problem *problem, int64_t list) {
    const struct rule_lists lists = rule_lists(problem);
    const int64_t head = list / lists.queries;
    return (struct rule_list){
        .b = head / lists.heads, .h = head % lists.heads * lists.group, .i = list % lists.queries};
}

/* The list of that number. */
static struct rule_keys list_of(const struct rule_view *view, int64_t list) {
    return (struct rule_keys){.count = ((const int32_t *)view->tensors[ATTN_SPARSE_NNZ].data)[list],
                              .list = (const int32_t *)view->tensors[ATTN_SPARSE_IND].data +
                                      list * view->problem->kept_max};
}

static void keys(const struct rule_view *view, int64_t b, int64_t h, int64_t i,
                 struct rule_keys *keys) {
    *keys = list_of(view, rule_list_of(view->problem, b, h, i));
}

/* "sparse_ind[b,h,n]", in the order of its axes; n below 0: of sparse_nnz. */
static void say_where(char where[96], const struct attn_problem *problem, int64_t list, int64_t n) {
    const struct rule_lists lists = rule_lists(problem);
    const struct rule_list at = rule_list_at(problem, list);
    int used = snprintf(where, 96, "%s[%" PRId64 ",%" PRId64, n < 0 ? "sparse_nnz" : "sparse_ind",
                        at.b, at.h / lists.group);
    if (lists.queries > 1) used += snprintf(where + used, (size_t)(96 - used), ",%" PRId64, at.i);
    if (n >= 0) used += snprintf(where + used, (size_t)(96 - used), ",%" PRId64, n);
    snprintf(where + used, (size_t)(96 - used), "]");
}

static bool refuse(const struct attn_problem *problem, int64_t list, int64_t n, int64_t value,
                   const char *expected, struct fault *fault) {
    char where[96];
    say_where(where, problem, list, n);
    return fault_set(fault, FAULT_INPUT, "%s is %" PRId64 ": expected %s", where, value, expected);
}

/* Marks a list's tokens in `seen`, one bit a token, and takes the marks back. One query's list may
 * hold all tokens of its sequence, whether the query is asked or not. */
static bool check_list(const struct rule_view *view, int64_t list, uint64_t *seen,
                       struct fault *fault) {
    const struct attn_problem *problem = view->problem;
    const struct rule_keys row = list_of(view, list);
    const struct rule_list at = rule_list_at(problem, list);
    const bool one = problem->q_len == 1;
    const int64_t tokens = rules_kv_len(view, at.b), room = problem->kept_max;
    struct rule_keys may = {.count = tokens};
    if (!one) may = rules_span(view, at.b, at.i);
    const int64_t end = may.first + may.count;
    char expected[96];
    if (!one && at.i >= rules_q_len(view, at.b) && row.count != 0)
        return refuse(problem, list, -1, row.count, "0 beyond the queries of a sequence", fault);
    if (row.count < 0 || row.count > room) {
        snprintf(expected, sizeof expected, "0..%" PRId64, room);
        return refuse(problem, list, -1, row.count, expected, fault);
    }
    for (int64_t n = 0; n < row.count; n++) {
        const int32_t t = row.list[n];
        if (t < may.first || t >= end) {
            snprintf(expected, sizeof expected, "a token %sof %" PRId64 "..%" PRId64,
                     t >= end && t < tokens ? "that its query may see, " : "", may.first, end - 1);
            return refuse(problem, list, n, t, expected, fault);
        }
        if (seen[t / 64] >> t % 64 & 1) return refuse(problem, list, n, t, "no token twice", fault);
        seen[t / 64] |= (uint64_t)1 << t % 64;
    }
    for (int64_t n = 0; n < row.count; n++) seen[row.list[n] / 64] = 0;
    for (int64_t n = row.count; n < room; n++)
        if (row.list[n] != -1)
            return refuse(problem, list, n, row.list[n], "-1 beyond sparse_nnz", fault);
    return true;
}

static bool check(const struct rule_view *view, struct fault *fault) {
    const struct attn_problem *problem = view->problem;
    uint64_t *seen = calloc((size_t)problem->kv_len / 64 + 1, sizeof *seen);
    if (!seen) return fault_set(fault, FAULT_OURS, "out of memory for sparse_ind's tokens");
    bool good = true;
    for (int64_t list = 0; good && list < rule_lists_count(problem); list++)
        good = check_list(view, list, seen, fault);
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
    for (int64_t row = 0; row < rule_lists_count(problem); row++) {
        const struct rule_list at = rule_list_at(problem, row);
        const int64_t tokens = rule_draw_seen(problem, draw, at.b, at.i);
        const int64_t count = undrawn ? longest(tokens, draw->keep_probability)
                                      : draw_row(draw, (uint64_t)row, tokens, NULL);
        if (count > problem->kept_max) problem->kept_max = count;
    }
}

static void draw_lists(const struct rule_view *view, const struct rule_draw *draw) {
    const struct attn_problem *problem = view->problem;
    int32_t *nnz = view->tensors[ATTN_SPARSE_NNZ].data;
    int32_t *list = view->tensors[ATTN_SPARSE_IND].data;
    const int64_t rows = rule_lists_count(problem);
    for (int64_t n = 0; n < rows * problem->kept_max; n++) list[n] = -1;
    for (int64_t row = 0; row < rows; row++) {
        const struct rule_list at = rule_list_at(problem, row);
        const int64_t tokens = rule_draw_seen(problem, draw, at.b, at.i);
        nnz[row] = (int32_t)draw_row(draw, (uint64_t)row, tokens, list + row * problem->kept_max);
    }
}

const struct rule rule_keep = {
    .trait = ATTN_KEEP,
    .name = "keep",
    .meaning = "a row sees only the tokens on its list",
    .words = "keep0.02 or keep640",
    .tensors = tensors,
    .reshape = reshape,
    .keys = keys,
    .check = check,
    .size = size,
    .draw = draw_lists,
};
