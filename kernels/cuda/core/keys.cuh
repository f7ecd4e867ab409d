/* Where a token's key lies: the number of its row of D elements, counted from the start of K or of
 * the cache. Its value has the same number, counted from the start of V. A tensor that fits a GPU
 * has fewer than 2^32 such rows; their addresses take 64 bits. */
#ifndef ATTN_CUDA_KEYS_CUH
#define ATTN_CUDA_KEYS_CUH

#include "host.cuh"
#include "tensor_core.cuh"

namespace attn {

constexpr uint32_t NO_ROW = 0xffffffffu;

/* K and V are [B, Hkv, Skv, D]. */
struct dense_keys {
    static constexpr bool LENGTHS_ARE_READ = false;
    static constexpr bool ANY = false; /* plain attention: no trait that any_keys is for */
    static constexpr int BYTES = 2;    /* of an element */
    int kv_heads, kv_len;

    __device__ __forceinline__ int tokens(int) const {
        return kv_len;
    }
    /* What finding a row of sequence b starts from. */
    __device__ __forceinline__ uint32_t begin(int b, int g) const {
        return (uint32_t)(b * kv_heads + g) * (uint32_t)kv_len;
    }
    __device__ __forceinline__ int first(int) const {
        return 0;
    }
    __device__ __forceinline__ uint32_t row(uint32_t beginning, int, int token) const {
        return beginning + (uint32_t)token;
    }
    __device__ __forceinline__ uint32_t row_among(uint32_t, uint32_t beginning, int g,
                                                  int token) const {
        return row(beginning, g, token);
    }
    __device__ __forceinline__ uint32_t scale_row(uint32_t beginning, int g, int token) const {
        return row(beginning, g, token);
    }
};

/* kv_cache is [pages, 2, Hkv, P, D], V begins Hkv P rows after K. */
struct paged_keys {
    static constexpr bool LENGTHS_ARE_READ = true; /* from global memory */
    static constexpr bool ANY = false;
    static constexpr int BYTES = 2;
    const int32_t *indptr, *indices, *last_page_len;
    int kv_heads, page_size;

    __device__ __forceinline__ int tokens(int b) const {
        const int pages = __ldg(&indptr[b + 1]) - __ldg(&indptr[b]);
        return pages > 0 ? (pages - 1) * page_size + __ldg(&last_page_len[b]) : 0;
    }
    __device__ __forceinline__ uint32_t begin(int b, int) const {
        return (uint32_t)__ldg(&indptr[b]);
    }
    __device__ __forceinline__ int first(int) const {
        return 0;
    }
    __device__ __forceinline__ uint32_t row(uint32_t beginning, int g, int token) const {
        return row_among(2, beginning, g, token);
    }
    /* .. where a page has 2 rows for a token, or 1: values may have pages of their own, and scales
     * do. */
    __device__ __forceinline__ uint32_t row_among(uint32_t each, uint32_t beginning, int g,
                                                  int token) const {
        const uint32_t entry = (uint32_t)token / (uint32_t)page_size;
        const uint32_t page = (uint32_t)__ldg(&indices[beginning + entry]);
        return (page * each * (uint32_t)kv_heads + (uint32_t)g) * (uint32_t)page_size +
               ((uint32_t)token - entry * (uint32_t)page_size);
    }
    __device__ __forceinline__ uint32_t scale_row(uint32_t beginning, int g, int token) const {
        return row_among(1, beginning, g, token);
    }
};

/* Either, in a kernel that has all traits at run time (lengths, windows, softcaps, sinks) and any
 * head dims, beside the plain one, which they would cost registers; and which traits those are.
 * They are no part of the plain kernel's parameters: ptxas makes another program where these grow.
 */
template <typename Keys> struct any_keys : Keys {
    static constexpr bool ANY = true;
    const int32_t *seq_lens, *q_lens; /* [B]; NULL: as Keys and the problem say */
    const float *sinks;               /* [Hq] or NULL */
    int dim, value_dim;               /* head dim, of keys and of values */
    int each;                         /* rows that a page has for a token of a kv head, 1 or 2 */
    int before, behind;               /* keys that a query sees beside that at its place */
    float inner;                      /* scale / softcap, or 0: not capped */

    __device__ __forceinline__ int length(int b) const {
        return seq_lens ? __ldg(&seq_lens[b]) : Keys::tokens(b);
    }
    /* That the one query of sequence b sees, if it asks one; and where they begin. */
    __device__ __forceinline__ int tokens(int b) const {
        return q_lens && __ldg(&q_lens[b]) == 0 ? 0 : min(length(b), before + 1);
    }
    __device__ __forceinline__ int first(int b) const {
        return max(length(b) - before - 1, 0);
    }
    __device__ __forceinline__ uint32_t row(uint32_t beginning, int g, int token) const {
        return Keys::row_among((uint32_t)each, beginning, g, token);
    }
};

/* Of either: its head dims, where D is what the kernel is compiled for; the sinks from `head` on,
 * or NULL; and one. */
template <int D, typename Keys> __device__ __forceinline__ int dim_of(const Keys &keys) {
    if constexpr (Keys::ANY)
        return keys.dim;
    else
        return D;
}

template <int D, typename Keys> __device__ __forceinline__ int value_dim_of(const Keys &keys) {
    if constexpr (Keys::ANY)
        return keys.value_dim;
    else
        return D;
}

template <typename Keys>
__device__ __forceinline__ const float *sinks_of(const Keys &keys, int head) {
    if constexpr (Keys::ANY) return keys.sinks ? keys.sinks + head : NULL;
    return NULL;
}

template <typename Keys> __device__ __forceinline__ float sink_of(const Keys &keys, int head) {
    const float *sink = sinks_of(keys, head);
    return sink ? __ldg(sink) : -INFINITY;
}

/* Of elements of 8 bits, two are one of these. */
struct key_bases {
    const uint16_t *k, *v;
};

inline dense_keys keys_make(dense_keys, const struct attn_problem *p, const struct attn_call *) {
    return {.kv_heads = (int)p->kv_heads, .kv_len = (int)p->kv_len};
}

inline paged_keys keys_make(paged_keys, const struct attn_problem *p,
                            const struct attn_call *call) {
    const struct attn_tensor *tensors = call->tensors;
    return {
        .indptr = static_cast<const int32_t *>(tensors[ATTN_KV_PAGE_INDPTR].data),
        .indices = static_cast<const int32_t *>(tensors[ATTN_KV_PAGE_INDICES].data),
        .last_page_len = static_cast<const int32_t *>(tensors[ATTN_KV_LAST_PAGE_LEN].data),
        .kv_heads = (int)p->kv_heads,
        .page_size = (int)p->page_size,
    };
}

template <typename Keys>
any_keys<Keys> keys_make(any_keys<Keys>, const struct attn_problem *p,
                         const struct attn_call *call) {
    const bool window = p->traits & ATTN_WINDOW, causal = p->traits & ATTN_CAUSAL;
    const auto bound = [](int64_t keys) { return (int)(keys < NO_BOUND ? keys : NO_BOUND); };
    any_keys<Keys> keys{keys_make(Keys{}, p, call)};
    keys.seq_lens = static_cast<const int32_t *>(call->tensors[ATTN_SEQ_LENS].data);
    keys.q_lens = static_cast<const int32_t *>(call->tensors[ATTN_Q_LENS].data);
    keys.sinks = static_cast<const float *>(call->tensors[ATTN_SINKS].data);
    keys.dim = (int)p->head_dim;
    keys.value_dim = (int)p->value_dim;
    keys.each = p->traits & ATTN_DV ? 1 : 2;
    keys.before = bound(window ? p->window_left : NO_BOUND);
    keys.behind = causal ? 0 : bound(window ? p->window_right : NO_BOUND);
    keys.inner = p->traits & ATTN_SOFTCAP ? (float)(p->scale / p->softcap) : 0.f;
    return keys;
}

inline bool keys_in_cache(const struct attn_problem *p) {
    return p->traits & ATTN_PAGE && !(p->traits & ATTN_DV);
}

inline key_bases key_bases_of(const struct attn_problem *p, const struct attn_call *call) {
    if (!keys_in_cache(p))
        return {static_cast<const uint16_t *>(call->tensors[ATTN_K].data),
                static_cast<const uint16_t *>(call->tensors[ATTN_V].data)};
    const uint16_t *cache = static_cast<const uint16_t *>(call->tensors[ATTN_KV_CACHE].data);
    const int64_t page = p->kv_heads * p->page_size * p->head_dim;
    return {cache, cache + (has_bytes(p) ? page / 2 : page)};
}

/* What every kernel that looks up its keys needs of a call. */
inline const char *keys_check(const struct attn_problem *p, const struct attn_call *call) {
    const bool scales = call->tensors[ATTN_K_SCALE].data && call->tensors[ATTN_V_SCALE].data;
    if (has_bytes(p) && !scales) return "no tensor 'k_scale' or 'v_scale'";
    return keys_in_cache(p) ? call_check(p, call, {ATTN_Q, ATTN_KV_CACHE})
                            : call_check(p, call, {ATTN_Q, ATTN_K, ATTN_V});
}

} // namespace attn

#endif
