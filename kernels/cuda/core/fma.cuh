/* What the kernels of the method fma share: a problem as a kernel is told it, numbers of every
 * type, what is done to a logit, and rows of the output. They compute in f32, on the FMA units, and
 * take at run time all that a problem can say. A trait costs a branch that all threads take alike,
 * once a tile.
 *
 * Four neighbouring elements of a row are read and written at once, where all rows begin at
 * multiples of four elements (`together`), else one by one. */
#ifndef ATTN_CUDA_FMA_CUH
#define ATTN_CUDA_FMA_CUH

#include "../../attn_number.h"
#include "keys.cuh"
#include "magicpig.cuh"
#include "share.cuh"

namespace attn {

struct fma_args {
    const void *q, *k, *v; /* v may be k; of a kv_cache, where values begin */
    void *out;
    float *lse;
    /* NULL where a problem has none. */
    const int32_t *seq_lens, *q_lens, *indptr, *indices, *last_page_len, *ind, *nnz;
    const float *sinks, *slopes, *bias, *k_scale, *v_scale, *lsh_k, *lsh_l;
    partials store; /* of decode */
    int64_t kept_max;
    int64_t bias_batch, bias_head; /* elements from one to the next, or 0 */
    uint32_t page_rows;            /* of k, and of v, from a page to the next */
    int dtype, kv_dtype;           /* enum attn_dtype */
    int batch, q_heads, kv_heads, group;
    int q_len, kv_len, dim, value_dim;
    int v_pitch; /* elements from a value to the next */
    int page_size;
    int before, behind;       /* keys that a query sees beside that at its place */
    float to_log2, inner;     /* scale log2 e, or softcap log2 e; scale / softcap, or 0 */
    bool alike;               /* seq_lens are of q, too */
    bool together;            /* four elements */
    bool asynchronous;        /* copied as they are: f32, together */
    bool per_head, per_token; /* scales */
    bool changes;             /* logits are more than scale q.k */
    int tiles, chunks;        /* prefill: of rows and values; decode: of heads of a kv head */
    bool heavy_last;          /* prefill: the last rows see the most keys, and come first */
};

__device__ __forceinline__ int fma_kv_len(const fma_args &a, int b) {
    if (a.indptr) {
        const int pages = __ldg(&a.indptr[b + 1]) - __ldg(&a.indptr[b]);
        return pages > 0 ? (pages - 1) * a.page_size + __ldg(&a.last_page_len[b]) : 0;
    }
    return a.seq_lens ? __ldg(&a.seq_lens[b]) : a.kv_len;
}

__device__ __forceinline__ int fma_q_len(const fma_args &a, int b) {
    if (a.q_lens) return __ldg(&a.q_lens[b]);
    return a.alike ? __ldg(&a.seq_lens[b]) : a.q_len;
}

/* The number of a key's row, and of its value's (keys.cuh). */
__device__ __forceinline__ uint32_t fma_row(const fma_args &a, int b, int g, int token) {
    if (!a.indptr) return (uint32_t)(b * a.kv_heads + g) * (uint32_t)a.kv_len + (uint32_t)token;
    const int entry = token / a.page_size;
    const uint32_t page = (uint32_t)__ldg(&a.indices[__ldg(&a.indptr[b]) + entry]);
    return page * a.page_rows + (uint32_t)(g * a.page_size + token - entry * a.page_size);
}

/* What a stored key or value of 8 bits is multiplied with. */
__device__ __forceinline__ float fma_scale(const fma_args &a, const float *scales, int g,
                                           uint32_t row) {
    if (a.per_head) return __ldg(&scales[g]);
    if (!a.per_token) return __ldg(scales);
    if (!a.indptr) return __ldg(&scales[row]);
    const uint32_t rows = (uint32_t)(a.kv_heads * a.page_size), page = row / a.page_rows;
    return __ldg(&scales[page * rows + row - page * a.page_rows]);
}

/* Four elements as they are stored: in the first 16, 8 or 4 bytes, or, where they were not read
 * together, one in each word. */
__device__ __forceinline__ uint4 read_four(const void *base, int64_t at, int left, int dtype,
                                           bool together) {
    uint4 bits = make_uint4(0, 0, 0, 0);
    const int bytes = dtype == ATTN_F32 ? 4 : dtype == ATTN_F16 || dtype == ATTN_BF16 ? 2 : 1;
    const char *from = static_cast<const char *>(base) + at * bytes;
    if (together) {
        if (left <= 0) return bits;
        if (bytes == 4) return __ldg(reinterpret_cast<const uint4 *>(from));
        if (bytes == 2) {
            const uint2 two = __ldg(reinterpret_cast<const uint2 *>(from));
            return make_uint4(two.x, two.y, 0, 0);
        }
        bits.x = __ldg(reinterpret_cast<const unsigned *>(from));
        return bits;
    }
    const auto one = [&](int i) -> uint32_t {
        if (i >= left) return 0;
        if (bytes == 4) return __ldg(reinterpret_cast<const unsigned *>(from) + i);
        if (bytes == 2) return __ldg(reinterpret_cast<const unsigned short *>(from) + i);
        return __ldg(reinterpret_cast<const unsigned char *>(from) + i);
    };
    return make_uint4(one(0), one(1), one(2), one(3));
}

__device__ __forceinline__ float4 widen_four(uint4 bits, int dtype, bool together) {
    uint32_t x[4] = {bits.x, bits.y, bits.z, bits.w};
    if (dtype == ATTN_F32)
        return make_float4(__uint_as_float(x[0]), __uint_as_float(x[1]), __uint_as_float(x[2]),
                           __uint_as_float(x[3]));
    if (together) {
        const bool half = dtype == ATTN_F16 || dtype == ATTN_BF16;
        const uint32_t low = x[0], high = x[1];
        for (int i = 0; i < 4; i++)
            x[i] = half ? (i < 2 ? low : high) >> i % 2 * 16 & 0xffff : low >> i * 8 & 0xff;
    }
    float y[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        if (dtype == ATTN_F16)
            y[i] = __half2float(__ushort_as_half((unsigned short)x[i]));
        else if (dtype == ATTN_BF16)
            y[i] = __uint_as_float(x[i] << 16);
        else if (dtype == ATTN_E4M3)
            y[i] = attn_e4m3_to_f32((uint8_t)x[i]);
        else
            y[i] = (float)(int8_t)x[i];
    }
    return make_float4(y[0], y[1], y[2], y[3]);
}

__device__ __forceinline__ float4 times(float4 x, float y) {
    return make_float4(x.x * y, x.y * y, x.z * y, x.w * y);
}

__device__ __forceinline__ float4 add_times(float x, float4 y, float4 z) {
    return make_float4(fmaf(x, y.x, z.x), fmaf(x, y.y, z.y), fmaf(x, y.z, z.z), fmaf(x, y.w, z.w));
}

__device__ __forceinline__ void write_four(void *base, int64_t at, int left, float4 x, int dtype,
                                           bool together) {
    if (left <= 0) return;
    if (dtype == ATTN_F32) {
        float *to = static_cast<float *>(base) + at;
        if (together) {
            *reinterpret_cast<float4 *>(to) = x;
            return;
        }
        const float y[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (i < left) to[i] = y[i];
        return;
    }
    const bool half = dtype == ATTN_F16;
    const uint2 bits =
        half ? make_uint2(pack_out<__half>(x.x, x.y), pack_out<__half>(x.z, x.w))
             : make_uint2(pack_out<__nv_bfloat16>(x.x, x.y), pack_out<__nv_bfloat16>(x.z, x.w));
    unsigned short *to = static_cast<unsigned short *>(base) + at;
    if (together) {
        *reinterpret_cast<uint2 *>(to) = bits;
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
        if (i < left) to[i] = (unsigned short)((i < 2 ? bits.x : bits.y) >> i % 2 * 16);
}

/* Of the logits of one row, where they are more than scale q.k. */
struct fma_logits {
    const float *bias; /* of the row, or NULL */
    float slope;
    int place;

    __device__ __forceinline__ fma_logits(const fma_args &a, int b, int head, int i, int row_place)
        : bias(NULL), slope(a.slopes ? __ldg(&a.slopes[head]) : 0.f), place(row_place) {
        if (a.bias) bias = a.bias + b * a.bias_batch + head * a.bias_head + (int64_t)i * a.kv_len;
    }
    /* In units of log2, of q.k and key j; `less` is what MagicPIG takes away. */
    __device__ __forceinline__ float operator()(const fma_args &a, float s, int j,
                                                float less = 0.f) const {
        float more = slope * (float)(j - place) - less;
        if (bias) more += __ldg(&bias[j]);
        return fmaf(more, (float)LOG2_E, (a.inner > 0.f ? tanh_of(s * a.inner) : s) * a.to_log2);
    }
};

inline const char *fma_refuse(const struct attn_problem *p) {
    if (!(p->scale > 0 && p->scale < 1e30)) return "the softmax scale is not positive and finite";
    if (p->kv_heads < 1 || p->q_heads % p->kv_heads) return "kv heads do not divide query heads";
    if (p->batch * p->q_heads > INT32_MAX / 2) return "more than 2^30 heads";
    if (p->q_len >= NO_BOUND || p->kv_len >= NO_BOUND) return "more than 2^29 tokens";
    if (!rows_fit(p)) return "keys and values have more than 2^32 rows";
    return NULL;
}

inline const char *fma_check(const struct attn_problem *p, const struct attn_call *call) {
    const bool cache = call->tensors[ATTN_KV_CACHE].data;
    const char *fault = p->traits & ATTN_KSHARED ? call_check(p, call, {ATTN_Q, ATTN_K})
                        : cache                  ? call_check(p, call, {ATTN_Q, ATTN_KV_CACHE})
                                                 : call_check(p, call, {ATTN_Q, ATTN_K, ATTN_V});
    if (fault || !(p->traits & ATTN_KEEP)) return fault;
    if (!call->tensors[ATTN_SPARSE_IND].data && p->kept_max > 0) return "no tensor 'sparse_ind'";
    return call->tensors[ATTN_SPARSE_NNZ].data ? NULL : "no tensor 'sparse_nnz'";
}

inline fma_args fma_args_of(const struct attn_problem *p, const struct attn_call *call) {
    const auto tensor = [&](int slot) { return call->tensors[slot].data; };
    const auto floats = [&](int slot) { return static_cast<const float *>(tensor(slot)); };
    const auto ints = [&](int slot) { return static_cast<const int32_t *>(tensor(slot)); };
    const auto bound = [](int64_t keys) { return (int)(keys < NO_BOUND ? keys : NO_BOUND); };
    const bool window = p->traits & ATTN_WINDOW, causal = p->traits & ATTN_CAUSAL;
    const bool cache = tensor(ATTN_KV_CACHE), shared = p->traits & ATTN_KSHARED;
    fma_args a{};
    a.q = tensor(ATTN_Q);
    a.k = tensor(cache ? ATTN_KV_CACHE : ATTN_K);
    a.v = tensor(shared ? ATTN_K : ATTN_V);
    a.kv_dtype = call->tensors[cache ? ATTN_KV_CACHE : ATTN_K].dtype;
    const int64_t page = p->kv_heads * p->page_size; /* rows of k in a page */
    if (cache)
        a.v = static_cast<const char *>(a.k) + page * p->head_dim * attn_dtype_bytes(a.kv_dtype);
    a.out = tensor(ATTN_OUT);
    a.lse = static_cast<float *>(tensor(ATTN_LSE));
    a.seq_lens = ints(ATTN_SEQ_LENS);
    a.q_lens = ints(ATTN_Q_LENS);
    a.indptr = ints(ATTN_KV_PAGE_INDPTR);
    a.indices = ints(ATTN_KV_PAGE_INDICES);
    a.last_page_len = ints(ATTN_KV_LAST_PAGE_LEN);
    a.ind = ints(ATTN_SPARSE_IND);
    a.nnz = ints(ATTN_SPARSE_NNZ);
    a.sinks = floats(ATTN_SINKS);
    a.slopes = floats(ATTN_SLOPES);
    a.bias = floats(ATTN_BIAS);
    a.k_scale = floats(ATTN_K_SCALE);
    a.v_scale = floats(shared ? ATTN_K_SCALE : ATTN_V_SCALE); /* a part of its key has its scale */
    a.lsh_k = floats(ATTN_LSH_K);
    a.lsh_l = floats(ATTN_LSH_L);
    a.kept_max = p->kept_max;
    const int64_t bias = p->q_len * p->kv_len;
    a.bias_head = p->bias_heads > 1 ? bias : 0;
    a.bias_batch = p->bias_batch > 1 ? bias * p->bias_heads : 0;
    a.page_rows = (uint32_t)(cache ? 2 * page : page);
    a.dtype = p->dtype;
    a.batch = (int)p->batch;
    a.q_heads = (int)p->q_heads;
    a.kv_heads = (int)p->kv_heads;
    a.group = (int)(p->q_heads / p->kv_heads);
    a.q_len = (int)p->q_len;
    a.kv_len = (int)p->kv_len;
    a.dim = (int)p->head_dim;
    a.value_dim = (int)p->value_dim;
    a.v_pitch = shared ? a.dim : a.value_dim;
    a.page_size = (int)p->page_size;
    a.before = bound(window ? p->window_left : NO_BOUND);
    a.behind = causal ? 0 : bound(window ? p->window_right : NO_BOUND);
    const bool capped = p->traits & ATTN_SOFTCAP;
    a.to_log2 = (float)((capped ? p->softcap : p->scale) * LOG2_E);
    a.inner = capped ? (float)(p->scale / p->softcap) : 0.f;
    a.alike = a.seq_lens && !a.q_lens && p->q_len == p->kv_len;
    a.together = a.dim % 4 == 0 && a.value_dim % 4 == 0;
    a.asynchronous = a.together && a.dtype == ATTN_F32 && a.kv_dtype == ATTN_F32;
    a.per_head = p->traits & ATTN_KV_HEAD;
    a.per_token = p->traits & ATTN_KV_TOKEN;
    a.changes = capped || a.slopes || a.bias || a.lsh_k;
    return a;
}

} // namespace attn

#endif
