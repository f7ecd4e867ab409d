/* Counts what is visible by asking the rules, row by row; a bit for each key row tells those that
 * were counted already from those that were not, which is what sharing pages and heads comes to. */
#include "work.h"
#include "../../kernels/attn_number.h"
#include "../../fixtures/fixture.h"

#include <stdlib.h>

struct counter {
    const struct rule_view *view;
    uint64_t *seen; /* a bit for each row of k or kv_cache */
    int64_t rows;   /* of K that are visible to anyone */
    double pairs;   /* (query, key) */
    int64_t listed; /* entries of kept lists */
};

static void see(struct counter *counter, int64_t b, int64_t g, int64_t t) {
    const int64_t row = rules_row_index(counter->view, b, g, t, false);
    const uint64_t bit = (uint64_t)1 << (row & 63);
    counter->rows += !(counter->seen[row >> 6] & bit);
    counter->seen[row >> 6] |= bit;
}

static void count_head(struct counter *counter, int64_t b, int64_t h) {
    const struct attn_problem *problem = counter->view->problem;
    const int64_t g = h / (problem->q_heads / problem->kv_heads);
    const int64_t queries = rules_q_len(counter->view, b);
    const bool shared = h % rule_lists(problem).group != 0; /* its list is that of another head */
    int64_t done = 0; /* tokens before it are counted, as far as rows that are left see them */
    for (int64_t i = 0; i < queries; i++) {
        const struct rule_keys keys = rules_keys(counter->view, b, h, i);
        counter->pairs += (double)keys.count;
        if (keys.list == NULL) {
            const int64_t end = keys.first + keys.count;
            for (int64_t t = keys.first > done ? keys.first : done; t < end; t++)
                see(counter, b, g, t);
            done = end > done ? end : done;
            continue;
        }
        if (shared) continue;
        counter->listed += keys.count;
        for (int64_t n = 0; n < keys.count; n++) see(counter, b, g, keys.list[n]);
    }
}

static double table_bytes(const struct counter *counter) {
    double bytes = 0;
    for (int slot = ATTN_KV_PAGE_INDPTR; slot < ATTN_SLOT_COUNT; slot++) {
        const struct attn_tensor *tensor = &counter->view->tensors[slot];
        const bool scales = slot == ATTN_K_SCALE || slot == ATTN_V_SCALE;
        if (slot == ATTN_SPARSE_IND || slot == ATTN_SPARSE_MASK || tensor->data == NULL) continue;
        if (scales && counter->view->problem->traits & ATTN_KV_TOKEN)
            bytes += (double)(counter->rows * (int64_t)sizeof(float)); /* those of visible rows */
        else
            bytes += (double)tensor_bytes(tensor);
    }
    return bytes + (double)counter->listed * sizeof(int32_t);
}

bool work_count(struct work *work, const struct rule_view *view, struct fault *fault) {
    const struct attn_problem *problem = view->problem;
    const struct attn_tensor *cache = &view->tensors[ATTN_KV_CACHE];
    const struct attn_tensor *keys = cache->data != NULL ? cache : &view->tensors[ATTN_K];
    int64_t all = 1, queries = 0;
    for (int n = 0; n < keys->rank - 1; n++) all *= keys->shape[n];
    struct counter counter = {.view = view,
                              .seen = calloc((size_t)(all / 64 + 1), sizeof *counter.seen)};
    if (counter.seen == NULL) return fault_set(fault, FAULT_OURS, "out of memory to count work");
    for (int64_t b = 0; b < problem->batch; b++) {
        queries += rules_q_len(view, b);
        for (int64_t h = 0; h < problem->q_heads; h++) count_head(&counter, b, h);
    }
    const double element = (double)attn_dtype_bytes(problem->dtype);
    const double stored = (double)attn_dtype_bytes(rules_kv_dtype(problem));
    const double head_dim = (double)problem->head_dim, value_dim = (double)problem->value_dim;
    const double token = problem->traits & ATTN_KSHARED ? head_dim : head_dim + value_dim;
    const double rows = (double)(queries * problem->q_heads);
    work->flops = 2 * (head_dim + value_dim) * counter.pairs;
    work->read_bytes =
        token * stored * (double)counter.rows + head_dim * element * rows + table_bytes(&counter);
    work->bytes =
        work->read_bytes + value_dim * (double)attn_dtype_bytes(rules_out_dtype(problem)) * rows;
    free(counter.seen);
    return true;
}
