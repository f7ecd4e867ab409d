/* attn.h as it was before windows, softcaps, sinks and lengths of queries, without its comments:
 * what a library has that was built then, and is not built again (test_trial.c). */
#ifndef ATTN_H
#define ATTN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ATTN_ABI 1u

enum attn_dtype {
    ATTN_INPUT = 0,
    ATTN_F32 = 1,
    ATTN_F16 = 2,
    ATTN_BF16 = 3,
    ATTN_I32 = 4,
    ATTN_U8 = 5
};

enum attn_device { ATTN_CPU = 1, ATTN_CUDA = 2, ATTN_ASCEND = 3, ATTN_ASCEND_TWIN = 4 };

#define ATTN_VARIANTS(X)                                                                           \
    X(PREFILL, prefill, 0)                                                                         \
    X(PREFILL_VARLEN, prefill_varlen, ATTN_RAGGED)                                                 \
    X(DECODE, decode, 0)                                                                           \
    X(DECODE_PAGED, decode_paged, ATTN_RAGGED | ATTN_PAGE)                                         \
    X(SPARSE_DECODE, sparse_decode, ATTN_KEEP)                                                     \
    X(SPARSE_DECODE_PAGED, sparse_decode_paged, ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP)               \
    X(MAGICPIG_DECODE_PAGED, magicpig_decode_paged,                                                \
      ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_MAGICPIG)

enum attn_variant {
#define ATTN_X(symbol, name, traits) ATTN_##symbol,
    ATTN_VARIANTS(ATTN_X)
#undef ATTN_X
        ATTN_VARIANT_COUNT
};

enum attn_trait {
    ATTN_GQA = 1 << 0,
    ATTN_CAUSAL = 1 << 1,
    ATTN_RAGGED = 1 << 2,
    ATTN_PAGE = 1 << 3,
    ATTN_KEEP = 1 << 4,
    ATTN_MAGICPIG = 1 << 5
};

#define ATTN_SLOTS(X)                                                                              \
    X(Q, q)                                                                                        \
    X(K, k)                                                                                        \
    X(V, v)                                                                                        \
    X(KV_CACHE, kv_cache)                                                                          \
    X(KV_PAGE_INDPTR, kv_page_indptr)                                                              \
    X(KV_PAGE_INDICES, kv_page_indices)                                                            \
    X(KV_LAST_PAGE_LEN, kv_last_page_len)                                                          \
    X(SEQ_LENS, seq_lens)                                                                          \
    X(SPARSE_IND, sparse_ind)                                                                      \
    X(SPARSE_NNZ, sparse_nnz)                                                                      \
    X(SPARSE_MASK, sparse_mask)                                                                    \
    X(LSH_K, lsh_k)                                                                                \
    X(LSH_L, lsh_l)                                                                                \
    X(OUT, out)                                                                                    \
    X(LSE, lse)

enum attn_slot {
#define ATTN_X(symbol, name) ATTN_##symbol,
    ATTN_SLOTS(ATTN_X)
#undef ATTN_X
        ATTN_SLOT_COUNT,
    ATTN_SLOT_ROOM = 32
};

struct attn_problem {
    uint32_t abi;
    int32_t variant;
    int32_t dtype;
    int32_t reserved0;
    uint64_t traits;
    int64_t batch, q_heads, kv_heads, q_len, kv_len, head_dim;
    int64_t page_size;
    int64_t pages;
    int64_t page_entries;
    int64_t kept_max;
    double scale;
    int64_t reserved[16];
};

struct attn_tensor {
    void *data;
    const void *host;
    int32_t dtype;
    int32_t rank;
    int64_t shape[5];
    int64_t stride[5];
};

struct attn_call {
    uint32_t abi;
    int32_t device_index;
    int32_t threads;
    int32_t reserved0;
    struct attn_tensor tensors[ATTN_SLOT_ROOM];
    void *scratch;
    size_t scratch_bytes;
    void *stream;
    void *state;
    void *reserved[8];
};

enum attn_flag { ATTN_WRITES_LSE = 1 << 0, ATTN_NONDETERMINISTIC = 1 << 1 };

struct attn_kernel {
    uint32_t abi;
    uint32_t bytes;
    int32_t device;
    int32_t variant;
    const char *name;
    int32_t revision;
    int32_t grade;
    const char *change;
    uint64_t traits;
    uint32_t dtypes;
    int32_t p_dtype;
    uint32_t flags;
    int32_t head_dim_max;

    const char *(*refuse)(const struct attn_problem *problem);
    size_t (*scratch_bytes)(const struct attn_problem *problem);

    const char *(*prepare)(const struct attn_problem *problem, struct attn_call *call);
    void (*finish)(const struct attn_problem *problem, struct attn_call *call);

    const char *(*launch)(const struct attn_problem *problem, const struct attn_call *call);
    int32_t lse_grade;
    int32_t reserved0;
    void *reserved[7];
};

#define ATTN_VISIBLE __attribute__((visibility("default")))
#ifdef __cplusplus
#define ATTN_PUBLIC
#else
#define ATTN_PUBLIC ATTN_VISIBLE
#endif
extern ATTN_VISIBLE const struct attn_kernel attn_export;

#ifdef __cplusplus
}
#endif

#endif
