/* Keys and values that lie apart are copied together first: all of a sequence's, or those on the
 * list of a row. A kernel copies them at once; or a loop on the host does it token by token, with a
 * copy for the key and one for the value, found through the table and the list as the host has
 * them. The loop is how PyTorch code is written that paged kernels are checked against; its time
 * is that of so many small copies, not of their bytes. */
#ifndef ATTN_CUDA_REFERENCE_GATHER_CUH
#define ATTN_CUDA_REFERENCE_GATHER_CUH

#include "magicpig.cuh"
#include "reference.cuh"

namespace attn {

/* Of a loop, in one launch, so that neither its time nor, in a graph, its nodes get out of hand:
 * the sparse problems of the seed suite take some 307,000. */
constexpr int64_t COPIES_MAX = 600000;

enum gather_method { BY_KERNEL, BY_LOOP };

/* Rows of K or of V. What looks them up is on the device by a kernel, on the host by a loop. */
struct gather_args {
    const uint16_t *from;
    uint16_t *to;           /* [heads][count][dim] */
    const int32_t *list;    /* tokens, or NULL: token i is i */
    const int32_t *indices; /* pages of the sequence, or NULL: contiguous */
    int64_t count, heads, dim;
    int64_t head_stride, page_stride, page_size; /* elements, elements, tokens */

    /* Where row n of the first head is copied from. */
    __host__ __device__ const uint16_t *row(int64_t n) const {
        const int64_t token = list ? list[n] : n;
        if (!indices) return from + token * dim;
        return from + indices[token / page_size] * page_stride + token % page_size * dim;
    }
};

__global__ void gather_rows(const gather_args a) {
    const int64_t chunks = a.dim / 8, total = a.heads * a.count * chunks;
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < total;
         i += (int64_t)gridDim.x * blockDim.x) {
        const int64_t chunk = i % chunks, n = i / chunks % a.count, head = i / chunks / a.count;
        reinterpret_cast<uint4 *>(a.to + (head * a.count + n) * a.dim)[chunk] =
            reinterpret_cast<const uint4 *>(a.row(n) + head * a.head_stride)[chunk];
    }
}

struct correct_args {
    float *scores;         /* [rows][pitch], logits; row r belongs to kv head r / group */
    const uint16_t *q, *k; /* [rows][dim], [kv heads][keys][dim] */
    const float *lsh_k, *lsh_l;
    int64_t pitch, keys, dim;
    int group;
    float scale;
};

template <typename T> __device__ float norm_of(const uint16_t *row, int64_t dim) {
    float square = 0.f;
    for (int64_t i = threadIdx.x % WARP * 2; i < dim; i += WARP * 2) {
        const float2 two = number<T>::unpack(*reinterpret_cast<const uint32_t *>(row + i));
        square += two.x * two.x + two.y * two.y;
    }
#pragma unroll
    for (int step = 1; step < WARP; step *= 2) square += __shfl_xor_sync(ALL_LANES, square, step);
    return sqrtf(square);
}

/* A warp owns a key: its norm is computed by 32 lanes, then each corrects it for one row. */
template <typename T> __global__ void correct_scores(const correct_args a) {
    const int64_t key = (blockIdx.x * (int64_t)blockDim.x + threadIdx.x) / WARP;
    if (key >= a.keys) return;
    const int64_t kv_head = blockIdx.y;
    const float k_norm = norm_of<T>(a.k + (kv_head * a.keys + key) * a.dim, a.dim);
    for (int h = 0; h < a.group; h++) {
        const int64_t row = kv_head * a.group + h;
        const float q_norm = norm_of<T>(a.q + row * a.dim, a.dim);
        if (threadIdx.x % WARP) continue;
        float *score = &a.scores[row * a.pitch + key];
        *score -= magicpig_log_u(*score / a.scale, q_norm, k_norm, a.lsh_k[row], a.lsh_l[row]);
    }
}

inline void correct(const reference &r, const correct_args &args, int64_t kv_heads) {
    const dim3 blocks((unsigned)((args.keys + 7) / 8), (unsigned)kv_heads);
    if (r.half)
        correct_scores<__half><<<blocks, REFERENCE_THREADS, 0, r.stream>>>(args);
    else
        correct_scores<__nv_bfloat16><<<blocks, REFERENCE_THREADS, 0, r.stream>>>(args);
}

/* A table or list, where `method` reads it. */
inline const int32_t *look_up(const reference &r, int slot, gather_method method) {
    return method == BY_LOOP ? r.on_host<int32_t>(slot) : r.on_device<int32_t>(slot);
}

/* From where keys or values are copied: kv heads g and on of sequence b. */
inline gather_args gather_source(const reference &r, int64_t b, int64_t g, bool values,
                                 gather_method method) {
    const struct attn_problem &p = r.p;
    gather_args a = {};
    a.dim = p.head_dim;
    if (p.traits & ATTN_PAGE) {
        a.head_stride = p.page_size * a.dim;
        a.page_stride = 2 * p.kv_heads * a.head_stride;
        a.page_size = p.page_size;
        a.indices =
            look_up(r, ATTN_KV_PAGE_INDICES, method) + r.on_host<int32_t>(ATTN_KV_PAGE_INDPTR)[b];
        a.from = r.on_device<uint16_t>(ATTN_KV_CACHE) + (values ? p.kv_heads * a.head_stride : 0) +
                 g * a.head_stride;
    } else {
        a.head_stride = p.kv_len * a.dim;
        a.from =
            r.on_device<uint16_t>(values ? ATTN_V : ATTN_K) + (b * p.kv_heads + g) * a.head_stride;
    }
    return a;
}

/* A token at a time, all its heads in one copy. */
inline void copy_tokens(const gather_args &a, cudaStream_t stream) {
    const size_t bytes = (size_t)a.dim * 2;
    cudaError_t error = cudaSuccess; /* the launch finds it with cudaGetLastError */
    for (int64_t n = 0; n < a.count && error == cudaSuccess; n++) {
        uint16_t *to = a.to + n * a.dim;
        error = a.heads == 1
                    ? cudaMemcpyAsync(to, a.row(n), bytes, cudaMemcpyDeviceToDevice, stream)
                    : cudaMemcpy2DAsync(to, (size_t)a.count * bytes, a.row(n),
                                        (size_t)a.head_stride * 2, bytes, (size_t)a.heads,
                                        cudaMemcpyDeviceToDevice, stream);
    }
}

inline void gather(const reference &r, const gather_args &a, gather_method method) {
    if (method == BY_LOOP)
        copy_tokens(a, r.stream);
    else if (a.count * a.heads > 0)
        gather_rows<<<blocks_for(a.heads * a.count * a.dim / 8), REFERENCE_THREADS, 0, r.stream>>>(
            a);
}

/* With so few tokens the pitches of the copies, which are a page of one head and a sequence of one
 * head, stay below the 2^31 bytes that CUDA takes. */
inline const char *loop_refuse(const struct attn_problem *p) {
    const int64_t tokens = p->traits & ATTN_KEEP ? p->batch * p->q_heads * p->kept_max
                                                 : p->page_entries * p->page_size;
    if (tokens > COPIES_MAX / 2) return "more than 600000 copies, token by token";
    return reference_refuse(p);
}

/* One token's attention for `heads` query heads, whose keys and values are laid out already. */
inline void attend(reference &r, int64_t row, int64_t heads, const uint16_t *k, const uint16_t *v,
                   const scores_args &s, void *weights, const mask_args *mask,
                   const correct_args *correction) {
    r.multiply_keys(r.on_device<uint16_t>(ATTN_Q) + row * r.p.head_dim, k, s.scores, 1, s.keys,
                    s.pitch, heads);
    r.scale(s, heads);
    if (correction) correct(r, *correction, heads / correction->group);
    if (mask) r.mask(s, *mask, heads);
    r.softmax(s, r.lse(row), heads);
    r.round(s, weights, heads);
    r.multiply_values(weights, v, r.out(row), 1, s.keys, s.pitch, heads);
}

inline size_t paged_scratch_bytes(const struct attn_problem *p) {
    const int64_t keys = padded(tokens_max(p));
    return CUBLAS_BYTES +
           (size_t)(keys * ((p->kv_heads + p->q_heads) * p->head_dim * 4 + p->q_heads * 6)) + 4096;
}

/* All tokens of a sequence's pages, copied together, then repeated. */
template <gather_method METHOD>
const char *paged_launch(const struct attn_problem *problem, const struct attn_call *call) {
    const auto method = [](reference &r, arena &scratch) {
        const struct attn_problem &p = r.p;
        const int64_t room = padded(tokens_max(&p)), dim = p.head_dim;
        uint16_t *kv[2], *repeated[2];
        for (int i = 0; i < 2; i++) {
            kv[i] = static_cast<uint16_t *>(scratch.take(room * p.kv_heads * dim * 2));
            repeated[i] = static_cast<uint16_t *>(scratch.take(room * p.q_heads * dim * 2));
        }
        float *scores = static_cast<float *>(scratch.take(room * p.q_heads * 4));
        void *weights = scratch.take(room * p.q_heads * 2);
        for (int64_t b = 0; b < p.batch; b++) {
            const int64_t keys = r.tokens(b), row = b * p.q_heads;
            if (keys == 0) {
                r.fill(row, p.q_heads, 1, 0, -INFINITY);
                continue;
            }
            for (int i = 0; i < 2; i++) {
                gather_args a = gather_source(r, b, 0, i == 1, METHOD);
                a.to = kv[i];
                a.count = keys;
                a.heads = p.kv_heads;
                gather(r, a, METHOD);
                repeat_args x = {};
                x.from = kv[i];
                x.to = repeated[i];
                x.tokens = keys;
                x.dim = dim;
                x.group = (int)r.group;
                r.repeat(x, p.q_heads);
            }
            attend(r, row, p.q_heads, repeated[0], repeated[1], {scores, padded(keys), (int)keys},
                   weights, NULL, NULL);
        }
    };
    return reference_launch(problem, call, method);
}

inline size_t lists_scratch_bytes(const struct attn_problem *p) {
    return CUBLAS_BYTES + (size_t)(padded(p->kept_max) * (p->head_dim * 4 + 6)) + 4096;
}

/* The tokens of each row's list, copied together. */
template <gather_method METHOD>
const char *lists_launch(const struct attn_problem *problem, const struct attn_call *call) {
    const auto method = [](reference &r, arena &scratch) {
        const struct attn_problem &p = r.p;
        const int64_t room = padded(p.kept_max), dim = p.head_dim;
        uint16_t *kv[2];
        for (int i = 0; i < 2; i++) kv[i] = static_cast<uint16_t *>(scratch.take(room * dim * 2));
        float *scores = static_cast<float *>(scratch.take(room * 4));
        void *weights = scratch.take(room * 2);
        for (int64_t row = 0; row < p.batch * p.q_heads; row++) {
            const int64_t b = row / p.q_heads, g = row % p.q_heads / r.group;
            const int64_t keys = r.on_host<int32_t>(ATTN_SPARSE_NNZ)[row];
            if (keys == 0) {
                r.fill(row, 1, 1, 0, -INFINITY);
                continue;
            }
            for (int i = 0; i < 2; i++) {
                gather_args a = gather_source(r, b, g, i == 1, METHOD);
                a.to = kv[i];
                a.list = look_up(r, ATTN_SPARSE_IND, METHOD) + row * p.kept_max;
                a.count = keys;
                a.heads = 1;
                gather(r, a, METHOD);
            }
            const correct_args correction = {.scores = scores,
                                             .q = r.on_device<uint16_t>(ATTN_Q) + row * dim,
                                             .k = kv[0],
                                             .lsh_k = r.on_device<float>(ATTN_LSH_K) + row,
                                             .lsh_l = r.on_device<float>(ATTN_LSH_L) + row,
                                             .pitch = padded(keys),
                                             .keys = keys,
                                             .dim = dim,
                                             .group = 1,
                                             .scale = (float)p.scale};
            attend(r, row, 1, kv[0], kv[1], {scores, padded(keys), (int)keys}, weights, NULL,
                   p.traits & ATTN_MAGICPIG ? &correction : NULL);
        }
    };
    return reference_launch(problem, call, method);
}

} // namespace attn

#endif
