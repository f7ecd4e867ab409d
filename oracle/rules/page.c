/* Keys and values in pages of P tokens, found through a table: sequence b owns the entries
 * kv_page_indptr[b] .. kv_page_indptr[b + 1] - 1 of kv_page_indices, all of them full but the last.
 * Drawn tables are shuffled and leave some pages of the pool to nobody, so that a kernel which
 * walks the pool instead of the table is seen.
 *
 * A page holds its keys, then its values; where these are of another width, or part of the keys,
 * keys and values have pages of their own, in k and v, under the same table. */
#include "../rule.h"

#include <inttypes.h>

static const struct rule_tensor tensors[] = {
    {ATTN_KV_CACHE, ATTN_INPUT, 5, {SIZE_PAGES, SIZE_2, SIZE_KV_HEADS, SIZE_PAGE, SIZE_HEAD_DIM}},
    {ATTN_KV_PAGE_INDPTR, ATTN_I32, 1, {SIZE_BATCH_1}},
    {ATTN_KV_PAGE_INDICES, ATTN_I32, 1, {SIZE_PAGE_ENTRIES}},
    {ATTN_KV_LAST_PAGE_LEN, ATTN_I32, 1, {SIZE_BATCH}},
    {.rank = 0}};

static bool is_apart(const struct attn_problem *problem) {
    return problem->traits & (ATTN_DV | ATTN_KSHARED);
}

static void reshape(const struct attn_problem *problem, struct rule_tensor *tensor) {
    const bool value = tensor->slot == ATTN_V;
    if (!is_apart(problem)) return;
    if (tensor->slot == ATTN_KV_CACHE) tensor->rank = 0;
    if (tensor->slot != ATTN_K && !value) return;
    *tensor = (struct rule_tensor){
        tensor->slot,
        ATTN_INPUT,
        4,
        {SIZE_PAGES, SIZE_KV_HEADS, SIZE_PAGE, value ? SIZE_VALUE_DIM : SIZE_HEAD_DIM}};
}

static int64_t q_len(const struct rule_view *view, int64_t b) {
    (void)b; /* the table holds lengths of keys: an empty sequence still asks its query */
    return view->problem->q_len;
}

static int64_t kv_len(const struct rule_view *view, int64_t b) {
    const int32_t *indptr = view->tensors[ATTN_KV_PAGE_INDPTR].data;
    const int32_t *last_len = view->tensors[ATTN_KV_LAST_PAGE_LEN].data;
    const int64_t entries = (int64_t)indptr[b + 1] - indptr[b];
    return entries ? (entries - 1) * view->problem->page_size + last_len[b] : 0;
}

static int64_t row_index(const struct rule_view *view, int64_t b, int64_t g, int64_t t,
                         bool value) {
    const struct attn_problem *problem = view->problem;
    const int32_t *indptr = view->tensors[ATTN_KV_PAGE_INDPTR].data;
    const int32_t *indices = view->tensors[ATTN_KV_PAGE_INDICES].data;
    /* 32-bit division is several times faster and tokens are below 2^31. */
    const uint32_t page_size = (uint32_t)problem->page_size;
    const int64_t page = indices[indptr[b] + (int64_t)((uint32_t)t / page_size)];
    const int64_t half = is_apart(problem) ? page : page * 2 + value;
    return (half * problem->kv_heads + g) * page_size + (uint32_t)t % page_size;
}

static bool check_sequence(const struct rule_view *view, int64_t b, struct fault *fault) {
    const struct attn_problem *problem = view->problem;
    const int32_t *indptr = view->tensors[ATTN_KV_PAGE_INDPTR].data;
    const int32_t *indices = view->tensors[ATTN_KV_PAGE_INDICES].data;
    const int32_t last_len = ((const int32_t *)view->tensors[ATTN_KV_LAST_PAGE_LEN].data)[b];

    if (indptr[b + 1] < indptr[b] || indptr[b + 1] > problem->page_entries)
        return fault_set(fault, FAULT_INPUT,
                         "kv_page_indptr[%" PRId64 "] is %" PRId32 ": expected %" PRId32
                         "..%" PRId64,
                         b + 1, indptr[b + 1], indptr[b], problem->page_entries);
    const bool empty = indptr[b + 1] == indptr[b];
    const int64_t len_min = empty ? 0 : 1, len_max = empty ? 0 : problem->page_size;
    if (last_len < len_min || last_len > len_max)
        return fault_set(fault, FAULT_INPUT,
                         "kv_last_page_len[%" PRId64 "] is %" PRId32 ": expected %" PRId64
                         "..%" PRId64,
                         b, last_len, len_min, len_max);
    if (kv_len(view, b) > problem->kv_len)
        return fault_set(fault, FAULT_INPUT,
                         "sequence %" PRId64 " has pages for %" PRId64
                         " tokens: expected at most %" PRId64,
                         b, kv_len(view, b), problem->kv_len);
    for (int64_t n = indptr[b]; n < indptr[b + 1]; n++)
        if (indices[n] < 0 || indices[n] >= problem->pages)
            return fault_set(fault, FAULT_INPUT,
                             "kv_page_indices[%" PRId64 "] is %" PRId32 ": expected 0..%" PRId64, n,
                             indices[n], problem->pages - 1);
    return true;
}

static bool check(const struct rule_view *view, struct fault *fault) {
    const int32_t first = *(const int32_t *)view->tensors[ATTN_KV_PAGE_INDPTR].data;
    const int64_t page_size = view->problem->page_size;
    if (page_size < 1 || page_size > INT32_MAX)
        return fault_set(fault, FAULT_INPUT, "page size %" PRId64 ": expected 1..2^31 - 1",
                         page_size);
    if (first != 0)
        return fault_set(fault, FAULT_INPUT, "kv_page_indptr[0] is %" PRId32 ": expected 0", first);
    for (int64_t b = 0; b < view->problem->batch; b++)
        if (!check_sequence(view, b, fault)) return false;
    return true;
}

static int64_t entries_of(const struct attn_problem *problem, const struct rule_draw *draw,
                          int64_t b) {
    return (rule_draw_len(problem, draw, b) + problem->page_size - 1) / problem->page_size;
}

/* How many leading pages sequence b takes from b - 1: those full in both. */
static int64_t shared_of(const struct attn_problem *problem, const struct rule_draw *draw,
                         int64_t b) {
    if (!draw->pages_shared || b % 2 == 0) return 0;
    const int64_t mine = rule_draw_len(problem, draw, b) / problem->page_size;
    const int64_t theirs = rule_draw_len(problem, draw, b - 1) / problem->page_size;
    return mine < theirs ? mine : theirs;
}

static int64_t distinct_pages(const struct attn_problem *problem, const struct rule_draw *draw) {
    int64_t distinct = 0;
    for (int64_t b = 0; b < problem->batch; b++)
        distinct += entries_of(problem, draw, b) - shared_of(problem, draw, b);
    return distinct;
}

/* A pool or a table is never without an element, though all sequences be empty. */
static void size(struct attn_problem *problem, const struct rule_draw *draw) {
    const int64_t distinct = distinct_pages(problem, draw);
    int64_t entries = 0, unused = distinct / 16 > 1 ? distinct / 16 : 1;
    for (int64_t b = 0; b < problem->batch; b++) entries += entries_of(problem, draw, b);
    if (draw->pages_ordered && distinct > 0) unused = 0;
    problem->pages = distinct + unused;
    problem->page_entries = entries > 0 ? entries : 1;
}

static void draw_tables(const struct rule_view *view, const struct rule_draw *draw) {
    const struct attn_problem *problem = view->problem;
    int32_t *indptr = view->tensors[ATTN_KV_PAGE_INDPTR].data;
    int32_t *indices = view->tensors[ATTN_KV_PAGE_INDICES].data;
    int32_t *last_len = view->tensors[ATTN_KV_LAST_PAGE_LEN].data;
    const int64_t distinct = distinct_pages(problem, draw);

    for (int64_t n = 0; n < problem->page_entries; n++) indices[n] = n < distinct ? (int32_t)n : -1;
    if (!draw->pages_ordered)
        rule_choose(&draw->random, ATTN_KV_PAGE_INDICES, 0, problem->pages, distinct, indices);

    indptr[0] = 0;
    for (int64_t b = 0; b < problem->batch; b++) {
        const int64_t length = rule_draw_len(problem, draw, b);
        indptr[b + 1] = indptr[b] + (int32_t)entries_of(problem, draw, b);
        last_len[b] = length > 0 ? (int32_t)((length - 1) % problem->page_size + 1) : 0;
    }

    /* Entries that are a sequence's own move to their places from the back, so that none is
     * overwritten before it has moved; then the shared ones are copied from the neighbour. */
    int64_t from = distinct;
    for (int64_t b = problem->batch - 1; b >= 0; b--)
        for (int64_t n = indptr[b + 1] - 1; n >= indptr[b] + shared_of(problem, draw, b); n--)
            indices[n] = indices[--from];
    for (int64_t b = 1; b < problem->batch; b++)
        for (int64_t n = 0; n < shared_of(problem, draw, b); n++)
            indices[indptr[b] + n] = indices[indptr[b - 1] + n];
}

const struct rule rule_page = {
    .trait = ATTN_PAGE,
    .name = "page",
    .meaning = "keys and values live in pages of P tokens, found through a table",
    .words = "page64, pagesordered, pagesshared",
    .tensors = tensors,
    .hides = 1u << ATTN_K | 1u << ATTN_V | 1u << ATTN_SEQ_LENS,
    .reshape = reshape,
    .q_len = q_len,
    .kv_len = kv_len,
    .row_index = row_index,
    .check = check,
    .size = size,
    .draw = draw_tables,
};
