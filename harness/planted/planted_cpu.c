/* Planted kernels on a CPU: one thread, rows one after the other. */
#include "planted.h"
#include "../../kernels/attn_number.h"

#include <stdlib.h>
#include <string.h>

/* Loads a row as if it were one: volatile, or it would not be done. */
static void load(const uint16_t *row, int64_t dim) {
    for (int64_t d = 0; d < dim; d++) (void)((const volatile uint16_t *)row)[d];
}

/* Everything a kernel can do wrong apart from computing the wrong thing. */
static void misbehave(enum planted bug, const struct attn_problem *problem,
                      const struct attn_call *call, int64_t calls) {
    const int64_t elements =
        problem->batch * problem->q_heads * problem->q_len * problem->value_dim;
    const int64_t keys = problem->batch * problem->kv_heads * problem->kv_len;
    uint16_t *out = call->tensors[ATTN_OUT].data;
    if (bug == PLANTED_OUT_OVERRUN) out[elements] = 0;
    if (bug == PLANTED_PAST_END)
        load((const uint16_t *)call->tensors[ATTN_V].data + keys * problem->value_dim,
             problem->value_dim);
    if (bug == PLANTED_BEFORE_BEGIN)
        load((const uint16_t *)call->tensors[ATTN_K].data - problem->head_dim, problem->head_dim);
    if (bug == PLANTED_WRITES_BACK) {
        volatile uint16_t *q = call->tensors[ATTN_Q].data;
        const uint16_t before = q[1];
        q[1] = 0;
        q[1] = before;
    }
    if (bug == PLANTED_INPUT_CHANGED) ((uint16_t *)call->tensors[ATTN_Q].data)[0]++;
    if (bug == PLANTED_CRASHES) {
        volatile uintptr_t nowhere = 64; /* volatile: compilers refuse what they see through */
        *(volatile int *)nowhere = 0;
    }
    if (bug == PLANTED_HANGS) {
        for (volatile int64_t n = 0;; n++) {
        }
    }
    if ((bug == PLANTED_RARELY_WRONG && calls % 100 == 99) ||
        (bug == PLANTED_LATELY_WRONG && calls >= 40))
        memset(out, 0, (size_t)problem->value_dim * sizeof *out);
    if (bug == PLANTED_PREVIOUS_CALL) {
        static uint16_t *first;
        const size_t bytes = (size_t)elements * sizeof *first;
        if (calls == 0 && (first = malloc(bytes)) != NULL) memcpy(first, out, bytes);
        if (first != NULL) memcpy(out, first, bytes);
    }
}

/* What the tensor held at the first call. */
static void keep(struct attn_call *call, enum attn_slot slot, int64_t elements, size_t bytes) {
    static void *kept[ATTN_SLOT_COUNT];
    if (kept[slot] == NULL) {
        kept[slot] = malloc((size_t)elements * bytes + 1);
        if (kept[slot] == NULL) return;
        memcpy(kept[slot], call->tensors[slot].data, (size_t)elements * bytes);
    }
    call->tensors[slot].data = kept[slot];
}

/* A call with what bugs keep in place of what there is. */
static struct attn_call kept_call(enum planted bug, const struct attn_problem *problem,
                                  const struct attn_call *now) {
    static struct attn_call first;
    if (first.abi == 0) first = *now;
    struct attn_call call = bug == PLANTED_KEEPS_ADDRESSES ? first : *now;
    const int64_t dim = problem->head_dim,
                  rows = problem->batch * problem->q_heads * problem->q_len;
    if (bug == PLANTED_KEEPS_Q_AND_K || bug == PLANTED_KEEPS_P) /* P is a function of the two */
        keep(&call, ATTN_Q, rows * dim, sizeof(uint16_t));
    if (bug == PLANTED_KEEPS_K || bug == PLANTED_KEEPS_Q_AND_K || bug == PLANTED_KEEPS_P)
        keep(&call, ATTN_K, problem->batch * problem->kv_heads * problem->kv_len * dim,
             sizeof(uint16_t));
    if (bug == PLANTED_KEEPS_PAGES)
        keep(&call, ATTN_KV_PAGE_INDICES, problem->page_entries, sizeof(int32_t));
    return call;
}

static bool is_packed_away(const struct attn_call *call, int64_t b, int64_t i) {
    const int32_t *first = call->tensors[ATTN_CU_SEQLENS_Q].data;
    return first != NULL && i >= first[b + 1] - first[b];
}

/* As if each sequence had its own room: what is behind its queries is another's. */
static void blank_padding(const struct attn_problem *problem, const struct attn_call *call) {
    const int32_t *first = call->tensors[ATTN_CU_SEQLENS_Q].data;
    for (int64_t row = 0; row < problem->batch * problem->q_len; row++) {
        const int64_t b = row / problem->q_len, i = row % problem->q_len;
        if (!is_packed_away(call, b, i) || first[b] + i >= first[problem->batch]) continue;
        memset(planted_row_of(call, ATTN_OUT, b, 0, i), 0,
               (size_t)problem->value_dim * sizeof(uint16_t));
    }
}

const char *planted_launch(enum planted bug, const struct attn_problem *problem,
                           const struct attn_call *given, int64_t calls) {
    if (planted_clocked(bug, problem, given)) return NULL;
    if (PLANTED_IS_CHEAT(bug)) {
        planted_cheat(bug, problem, given);
        return NULL;
    }
    const struct attn_call own = kept_call(bug, problem, given), *call = &own;
    const int64_t rows = problem->batch * problem->q_heads * problem->q_len;
    for (int64_t at = 0; at < rows; at++) {
        const int64_t i = at % problem->q_len, h = at / problem->q_len % problem->q_heads;
        const int64_t b = at / problem->q_len / problem->q_heads;
        if (is_packed_away(call, b, i)) continue;
        struct planted_row row = planted_row_at(bug, problem, call, at);
        row.call = calls;
        row.keys_max = problem->kv_len;
        if (call->scratch != NULL)
            row.shares = (float *)call->scratch + at * PLANTED_SHARES * (problem->value_dim + 2);
        uint16_t *out = planted_row_of(call, ATTN_OUT, b, h, i);
        planted_row(bug, &row, out, planted_row_of(call, ATTN_LSE, b, h, i));
        if (bug == PLANTED_GAP_WRITTEN) out[problem->value_dim] = 0;
        if (bug == PLANTED_GAP_READ)
            out[0] =
                attn_f32_to_f16(attn_f16_to_f32(out[0]) +
                                0 * attn_f16_to_f32(((const uint16_t *)row.v)[problem->value_dim]));
    }
    if (bug == PLANTED_PACKED_PADDING) blank_padding(problem, call);
    misbehave(bug, problem, call, calls);
    return NULL;
}
