/* A planted kernel as a plug-in. PLANTED_BUG names the bug, PLANTED_VARIANT the variant, both from
 * planted.h by way of CMakeLists.txt. One thread, rows one after the other; scratch holds the
 * addresses of a row's keys and values. Bugs that do not show in a row but in what a kernel does
 * around it are here. */
#include "planted.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const enum planted bug = PLANTED_BUG;

static size_t scratch_bytes(const struct attn_problem *problem) {
    return 2 * sizeof(void *) * (size_t)(problem->kv_len + 1);
}

/* The row of token t of sequence b for kv head g; also one past the last token, and then with
 * pages only where the last page has room. */
static const uint16_t *token_row(const struct attn_problem *problem, const struct attn_call *call,
                                 bool value, int64_t b, int64_t g, int64_t t) {
    const int64_t dim = problem->head_dim, page_size = problem->page_size;
    if (!(problem->traits & ATTN_PAGE)) {
        const uint16_t *data = call->tensors[value ? ATTN_V : ATTN_K].data;
        return data + ((b * problem->kv_heads + g) * problem->kv_len + t) * dim;
    }
    const uint16_t *data = call->tensors[ATTN_KV_CACHE].data;
    const int32_t *first = call->tensors[ATTN_KV_PAGE_INDPTR].data;
    const int32_t *pages = call->tensors[ATTN_KV_PAGE_INDICES].data;
    const int64_t entry = first[b] + t / page_size;
    if (entry >= first[b + 1]) return NULL;
    return data +
           (((pages[entry] * 2 + value) * problem->kv_heads + g) * page_size + t % page_size) * dim;
}

static int64_t sequence_keys(const struct attn_problem *problem, const struct attn_call *call,
                             int64_t b) {
    if (!(problem->traits & ATTN_PAGE)) return problem->kv_len;
    const int32_t *first = call->tensors[ATTN_KV_PAGE_INDPTR].data;
    const int32_t *last_page = call->tensors[ATTN_KV_LAST_PAGE_LEN].data;
    const int64_t pages = first[b + 1] - first[b];
    return pages == 0 ? 0 : (pages - 1) * problem->page_size + last_page[b];
}

static int64_t kv_head_of(const struct attn_problem *problem, int64_t h) {
    const int64_t g = h / (problem->q_heads / problem->kv_heads);
    return bug == PLANTED_WRONG_KV_HEAD && h == 0 ? problem->kv_heads - 1 : g;
}

static void attend_all(const struct attn_problem *problem, const struct attn_call *call,
                       int64_t calls) {
    const uint16_t **k = call->scratch, **v = k + problem->kv_len + 1;
    const int64_t dim = problem->head_dim;
    const uint16_t *q = call->tensors[ATTN_Q].data;
    uint16_t *out = call->tensors[ATTN_OUT].data;
    float *lse = call->tensors[ATTN_LSE].data;
    for (int64_t b = 0; b < problem->batch; b++) {
        const int64_t keys = sequence_keys(problem, call, b);
        for (int64_t h = 0; h < problem->q_heads; h++) {
            const int64_t g = kv_head_of(problem, h);
            for (int64_t t = 0; t <= keys; t++) {
                k[t] = token_row(problem, call, false, b, g, t);
                v[t] = token_row(problem, call, true, b, g, t);
            }
            for (int64_t i = 0; i < problem->q_len; i++) {
                const int64_t at = (b * problem->q_heads + h) * problem->q_len + i;
                const int64_t end = i + keys - problem->q_len + 1;
                const struct planted_row row = {
                    .dtype = problem->dtype,
                    .keys = !(problem->traits & ATTN_CAUSAL) ? keys
                            : end > 0                        ? end
                                                             : 0,
                    .head_dim = dim,
                    .q = q + at * dim,
                    .k = k,
                    .v = v,
                    .scale = (float)problem->scale,
                    .call = calls,
                };
                planted_row(bug, &row, out + at * dim, lse + at);
            }
        }
    }
}

/* Everything a kernel can do wrong apart from computing the wrong thing. */
static void misbehave(const struct attn_problem *problem, const struct attn_call *call,
                      int64_t calls) {
    const int64_t elements = problem->batch * problem->q_heads * problem->q_len * problem->head_dim;
    uint16_t *out = call->tensors[ATTN_OUT].data;
    if (bug == PLANTED_OUT_OVERRUN) out[elements] = 0;
    if (bug == PLANTED_INPUT_CHANGED) ((uint16_t *)call->tensors[ATTN_Q].data)[0] ^= 1;
    if (bug == PLANTED_CRASHES) {
        volatile uintptr_t nowhere = 64; /* volatile: compilers refuse what they see through */
        *(volatile int *)nowhere = 0;
    }
    if (bug == PLANTED_HANGS) {
        for (volatile int64_t n = 0;; n++) {
        }
    }
    if (bug == PLANTED_PREVIOUS_CALL) {
        static uint16_t *first;
        const size_t bytes = (size_t)elements * sizeof *first;
        if (calls == 0 && (first = malloc(bytes)) != NULL) memcpy(first, out, bytes);
        if (first != NULL) memcpy(out, first, bytes);
    }
}

static const char *launch(const struct attn_problem *problem, const struct attn_call *call) {
    static int64_t calls;
    attend_all(problem, call, calls);
    misbehave(problem, call, calls++);
    return NULL;
}

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CPU,
    .variant = PLANTED_VARIANT,
    .name = PLANTED_NAME,
    .revision = 1,
    .grade = 'A',
    .change = "planted for the selftest: see harness/planted/planted.h",
    .traits = ATTN_GQA | ATTN_CAUSAL | ATTN_RAGGED | ATTN_PAGE,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = PLANTED_HEAD_DIM_MAX,
    .scratch_bytes = scratch_bytes,
    .launch = launch,
};
