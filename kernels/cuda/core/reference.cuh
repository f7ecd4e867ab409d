/* The baselines: attention written as PyTorch code without a fused kernel writes it, an operation a
 * kernel: K and V repeated for every query head, scores by cuBLAS into memory in f32, the scale, a
 * mask that lies in memory, softmax in f32, P rounded to the type of the input, P V by cuBLAS. No
 * kernel is slow on purpose: accesses are 16 bytes wide, rows are padded to 16 bytes, and heads are
 * taken together as far as CHUNK_BYTES goes.
 *
 *   dense     prefill and decode; sequences of unequal length are padded and masked
 *   gather    pages: sequence by sequence, lists: row by row, keys and values are copied together
 *   by mask   lists: scores of all tokens of a sequence, those not on the list masked away
 *
 * 0 * NaN is NaN, so copies of V are zero where nothing may be read. P is stored as 1024 p and the
 * product divided by 1024: both exact, and small weights of long rows stay out of binary16's
 * subnormals. The host's mirrors of lengths and tables direct the loops. */
#ifndef ATTN_CUDA_REFERENCE_CUH
#define ATTN_CUDA_REFERENCE_CUH

#include "host.cuh"
#include "magicpig.cuh"
#include "tensor_core.cuh"

#include <cublas_v2.h>

namespace attn {

constexpr int64_t CHUNK_BYTES = (int64_t)4 << 30; /* of scores, P, repeated K and V at a time */
constexpr size_t CUBLAS_BYTES = (size_t)32 << 20; /* cuBLAS's workspace */
constexpr float P_SCALE = 1024;
constexpr int REFERENCE_THREADS = 256;
constexpr int WIDE_THREADS = 1024;            /* for the softmax of long rows */
constexpr int SLICE = REFERENCE_THREADS * 16; /* elements of a row that a block takes */

struct reference_state {
    cublasHandle_t cublas;
};

__host__ __device__ inline int64_t padded(int64_t tokens) {
    return (tokens + 7) / 8 * 8;
}

__device__ inline float block_reduce(float x, bool maximum) {
    __shared__ float shared[WIDE_THREADS / WARP];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
#pragma unroll
    for (int step = 1; step < WARP; step *= 2) {
        const float other = __shfl_xor_sync(ALL_LANES, x, step);
        x = maximum ? fmaxf(x, other) : x + other;
    }
    __syncthreads();
    if (lane == 0) shared[warp] = x;
    __syncthreads();
    x = shared[0];
    for (int w = 1; w < (int)blockDim.x / WARP; w++)
        x = maximum ? fmaxf(x, shared[w]) : x + shared[w];
    return x;
}

/* [rows][pitch] of f32, of which `keys` columns are used. */
struct scores_args {
    float *scores;
    int64_t pitch;
    int keys;
};

/* Calls each(j) for every fourth column of this block's slice of row blockIdx.x. */
template <typename Each> __device__ __forceinline__ void for_slice(int keys, Each &&each) {
    const int first = blockIdx.y * SLICE, end = min(keys, first + SLICE);
    for (int j = first + threadIdx.x * 4; j < end; j += REFERENCE_THREADS * 4) each(j);
}

__global__ void __launch_bounds__(REFERENCE_THREADS) scale_rows(scores_args a, float scale) {
    float *row = a.scores + blockIdx.x * a.pitch;
    for_slice(a.keys, [&](int j) {
        float4 &x = *reinterpret_cast<float4 *>(row + j);
        x = make_float4(x.x * scale, x.y * scale, x.z * scale, x.w * scale);
    });
}

/* Row r of the scores, query r % q_len of head r / q_len, lies under row
 * head / per_mask q_len + query of the mask: one mask for all heads of a sequence, say. */
struct mask_args {
    const uint8_t *mask; /* [..][q_len][pitch], 1 where a key is seen */
    int64_t first_head, per_mask;
    int q_len;
};

__global__ void __launch_bounds__(REFERENCE_THREADS) mask_rows(scores_args a, mask_args m) {
    float *row = a.scores + blockIdx.x * a.pitch;
    const int64_t head = m.first_head + blockIdx.x / (unsigned)m.q_len;
    const uint8_t *mask =
        m.mask + (head / m.per_mask * m.q_len + blockIdx.x % (unsigned)m.q_len) * a.pitch;
    for_slice(a.keys, [&](int j) {
        const uchar4 seen = *reinterpret_cast<const uchar4 *>(mask + j);
        float4 x = *reinterpret_cast<const float4 *>(row + j);
        x = make_float4(seen.x ? x.x : -INFINITY, seen.y ? x.y : -INFINITY,
                        seen.z ? x.z : -INFINITY, seen.w ? x.w : -INFINITY);
        *reinterpret_cast<float4 *>(row + j) = x;
    });
}

/* One block a row, in place. A row without a visible key becomes zeros. */
__global__ void softmax_rows(scores_args a, float *lse) {
    float *row = a.scores + blockIdx.x * a.pitch;
    const int step = blockDim.x;
    float max = -INFINITY, sum = 0.f;
#pragma unroll 4
    for (int j = threadIdx.x; j < a.keys; j += step) max = fmaxf(max, row[j]);
    max = block_reduce(max, true);
    const float base = max == -INFINITY ? 0.f : max;
#pragma unroll 4
    for (int j = threadIdx.x; j < a.keys; j += step) sum += expf(row[j] - base);
    sum = block_reduce(sum, false);
    const float factor = sum > 0.f ? 1 / sum : 0.f;
#pragma unroll 4
    for (int j = threadIdx.x; j < a.keys; j += step) row[j] = expf(row[j] - base) * factor;
    if (threadIdx.x == 0) lse[blockIdx.x] = sum > 0.f ? max + logf(sum) : -INFINITY;
}

template <typename T>
__global__ void __launch_bounds__(REFERENCE_THREADS) round_rows(scores_args a, T *p) {
    const float *row = a.scores + blockIdx.x * a.pitch;
    uint2 *to = reinterpret_cast<uint2 *>(p + blockIdx.x * a.pitch);
    for_slice(a.keys, [&](int j) {
        const float4 x = *reinterpret_cast<const float4 *>(row + j);
        to[j / 4] = make_uint2(number<T>::pack(x.x * P_SCALE, x.y * P_SCALE),
                               number<T>::pack(x.z * P_SCALE, x.w * P_SCALE));
    });
}

/* mask[b][i][j] = 1 where query i of sequence b sees key j; without lengths there is one b. */
__global__ void make_mask(uint8_t *mask, const int32_t *lens, int q_len, int kv_len, int64_t pitch,
                          int causal) {
    const int b = blockIdx.y, i = blockIdx.x;
    const int queries = lens ? lens[b] : q_len, keys = lens ? min(lens[b], kv_len) : kv_len;
    const int seen = causal ? min(keys, i + keys - queries + 1) : keys;
    uint8_t *row = mask + ((int64_t)b * q_len + i) * pitch;
    for (int j = threadIdx.x; j < pitch; j += blockDim.x) row[j] = i < queries && j < seen;
}

struct repeat_args {
    const uint16_t *from; /* [heads / group][tokens][dim] */
    uint16_t *to;         /* [heads][tokens][dim] */
    const int32_t *lens;  /* tokens of sequence (first + head) / per_length on are zero, or NULL */
    const uint8_t *mask;  /* [heads][pitch], tokens not marked are zero, or NULL */
    int64_t tokens, dim, pitch, first, per_length;
    int group;
};

/* blockIdx.y is a head of `to`. */
__global__ void __launch_bounds__(REFERENCE_THREADS) repeat_heads(const repeat_args a) {
    const int64_t head = blockIdx.y, size = a.tokens * a.dim / 8, chunks = a.dim / 8;
    const uint4 *from = reinterpret_cast<const uint4 *>(a.from) + head / a.group * size;
    uint4 *to = reinterpret_cast<uint4 *>(a.to) + head * size;
    const int64_t end = a.lens ? a.lens[(a.first + head) / a.per_length] * chunks : size;
    const uint8_t *mask = a.mask ? a.mask + head * a.pitch : NULL;
    const int64_t step = (int64_t)gridDim.x * blockDim.x;
#pragma unroll 4
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < size; i += step) {
        const bool read = i < end && (!mask || mask[(unsigned)i / (unsigned)chunks]);
        to[i] = read ? from[i] : make_uint4(0, 0, 0, 0);
    }
}

/* Rows valid .. room - 1 of each of `heads` heads of [heads][room][dim] become `lse_value`, 0. */
__global__ void fill_rows(uint16_t *out, float *lse, int64_t heads, int64_t room, int64_t valid,
                          int64_t dim, float lse_value) {
    const int64_t rows = heads * (room - valid);
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < rows * dim;
         i += (int64_t)gridDim.x * blockDim.x) {
        const int64_t row = i / dim,
                      at = row / (room - valid) * room + valid + row % (room - valid);
        out[at * dim + i % dim] = 0;
        if (i % dim == 0) lse[at] = lse_value;
    }
}

struct gather_args {
    const uint16_t *from;
    uint16_t *to;           /* [heads][count][dim] */
    const int32_t *list;    /* tokens, or NULL: token i is i */
    const int32_t *indices; /* pages of the sequence, or NULL: contiguous */
    int64_t count, heads, dim;
    int64_t head_stride, page_stride, page_size; /* elements, elements, tokens */
};

__global__ void gather_rows(const gather_args a) {
    const int64_t chunks = a.dim / 8, total = a.heads * a.count * chunks;
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < total;
         i += (int64_t)gridDim.x * blockDim.x) {
        const int64_t chunk = i % chunks, n = i / chunks % a.count, head = i / chunks / a.count;
        const int64_t token = a.list ? a.list[n] : n;
        const int64_t row = a.indices ? token % a.page_size : token;
        const int64_t page = a.indices ? a.indices[token / a.page_size] : 0;
        const uint16_t *from = a.from + page * a.page_stride + head * a.head_stride + row * a.dim;
        reinterpret_cast<uint4 *>(a.to + (head * a.count + n) * a.dim)[chunk] =
            reinterpret_cast<const uint4 *>(from)[chunk];
    }
}

/* mask[row][token] = 1 for the tokens on the lists of rows first .. first + rows - 1. */
__global__ void mark_lists(uint8_t *mask, const int32_t *ind, const int32_t *nnz, int64_t first,
                           int64_t kept_max, int64_t pitch) {
    const int64_t row = blockIdx.x;
    const int32_t *list = ind + (first + row) * kept_max;
    const int count = nnz[first + row];
    for (int i = threadIdx.x; i < count; i += blockDim.x) mask[row * pitch + list[i]] = 1;
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

inline unsigned blocks_for(int64_t items) {
    const int64_t blocks = (items + REFERENCE_THREADS - 1) / REFERENCE_THREADS;
    return (unsigned)(blocks < 1 ? 1 : blocks > 65535 ? 65535 : blocks);
}

/* Scratch, handed out front to back in pieces of 256 bytes. */
struct arena {
    char *base;
    size_t used;

    void *take(int64_t bytes) {
        void *piece = base + used;
        used += ((size_t)bytes + 255) / 256 * 256;
        return piece;
    }
};

/* One call, and what all methods do with it. */
struct reference {
    const struct attn_problem &p;
    const struct attn_call &call;
    cublasHandle_t cublas;
    cudaStream_t stream;
    int64_t group;
    bool half;
    cublasStatus_t status;

    const void *device(int slot) const {
        return call.tensors[slot].data;
    }
    template <typename V> const V *on_device(int slot) const {
        return static_cast<const V *>(call.tensors[slot].data);
    }
    template <typename V> const V *on_host(int slot) const {
        return static_cast<const V *>(call.tensors[slot].host);
    }
    uint16_t *out(int64_t row) const {
        return static_cast<uint16_t *>(call.tensors[ATTN_OUT].data) + row * p.head_dim;
    }
    float *lse(int64_t row) const {
        return static_cast<float *>(call.tensors[ATTN_LSE].data) + row;
    }
    cudaDataType type() const {
        return half ? CUDA_R_16F : CUDA_R_16BF;
    }

    /* scores[n] [m][pitch] = q[n] [m][dim] k[n] [keys][dim]^T, n < count */
    void multiply_keys(const uint16_t *q, const uint16_t *k, float *scores, int64_t m, int64_t keys,
                       int64_t pitch, int64_t count) {
        const float one = 1, zero = 0;
        const cublasStatus_t s = cublasGemmStridedBatchedEx(
            cublas, CUBLAS_OP_T, CUBLAS_OP_N, (int)keys, (int)m, (int)p.head_dim, &one, k, type(),
            (int)p.head_dim, keys * p.head_dim, q, type(), (int)p.head_dim, m * p.head_dim, &zero,
            scores, CUDA_R_32F, (int)pitch, m * pitch, (int)count, CUBLAS_COMPUTE_32F,
            CUBLAS_GEMM_DEFAULT);
        if (status == CUBLAS_STATUS_SUCCESS) status = s;
    }

    /* out[n] [m][dim] = p[n] [m][pitch] v[n] [keys][dim] / P_SCALE */
    void multiply_values(const void *weights, const uint16_t *v, uint16_t *to, int64_t m,
                         int64_t keys, int64_t pitch, int64_t count) {
        const float one = 1 / P_SCALE, zero = 0;
        const cublasStatus_t s = cublasGemmStridedBatchedEx(
            cublas, CUBLAS_OP_N, CUBLAS_OP_N, (int)p.head_dim, (int)m, (int)keys, &one, v, type(),
            (int)p.head_dim, keys * p.head_dim, weights, type(), (int)pitch, m * pitch, &zero, to,
            type(), (int)p.head_dim, m * p.head_dim, (int)count, CUBLAS_COMPUTE_32F,
            CUBLAS_GEMM_DEFAULT);
        if (status == CUBLAS_STATUS_SUCCESS) status = s;
    }

    static dim3 slices(int64_t rows, int64_t keys) {
        return dim3((unsigned)rows, (unsigned)((keys + SLICE - 1) / SLICE));
    }

    void scale(const scores_args &args, int64_t rows) {
        scale_rows<<<slices(rows, args.keys), REFERENCE_THREADS, 0, stream>>>(args, (float)p.scale);
    }

    void mask(const scores_args &args, const mask_args &under, int64_t rows) {
        mask_rows<<<slices(rows, args.keys), REFERENCE_THREADS, 0, stream>>>(args, under);
    }

    void softmax(const scores_args &args, float *lse_rows, int64_t rows) {
        const int threads = args.keys > 4096 ? WIDE_THREADS : REFERENCE_THREADS;
        softmax_rows<<<(unsigned)rows, (unsigned)threads, 0, stream>>>(args, lse_rows);
    }

    void round(const scores_args &args, void *to, int64_t rows) {
        if (half)
            round_rows<<<slices(rows, args.keys), REFERENCE_THREADS, 0, stream>>>(
                args, static_cast<__half *>(to));
        else
            round_rows<<<slices(rows, args.keys), REFERENCE_THREADS, 0, stream>>>(
                args, static_cast<__nv_bfloat16 *>(to));
    }

    void repeat(const repeat_args &args, int64_t heads) {
        const int64_t blocks = (args.tokens * args.dim / 8 + 1023) / 1024;
        if (blocks == 0) return;
        repeat_heads<<<dim3((unsigned)blocks, (unsigned)heads), REFERENCE_THREADS, 0, stream>>>(
            args);
    }

    void fill(int64_t row, int64_t heads, int64_t room, int64_t valid, float lse_value) {
        if (heads * (room - valid) == 0) return;
        fill_rows<<<blocks_for(heads * (room - valid) * p.head_dim), REFERENCE_THREADS, 0,
                    stream>>>(out(row), lse(row), heads, room, valid, p.head_dim, lse_value);
    }

    void gather(const gather_args &args) {
        if (args.count * args.heads == 0) return;
        gather_rows<<<blocks_for(args.heads * args.count * args.dim / 8), REFERENCE_THREADS, 0,
                      stream>>>(args);
    }

    void correct(const correct_args &args, int64_t kv_heads) {
        const dim3 blocks((unsigned)((args.keys + 7) / 8), (unsigned)kv_heads);
        if (half)
            correct_scores<__half><<<blocks, REFERENCE_THREADS, 0, stream>>>(args);
        else
            correct_scores<__nv_bfloat16><<<blocks, REFERENCE_THREADS, 0, stream>>>(args);
    }

    /* Where row 0 of kv head `g` of sequence b is, keys or values, for gather. */
    gather_args source(int64_t b, int64_t g, bool values) const {
        const int64_t dim = p.head_dim;
        gather_args a = {};
        a.dim = dim;
        if (p.traits & ATTN_PAGE) {
            a.head_stride = p.page_size * dim;
            a.page_stride = 2 * p.kv_heads * a.head_stride;
            a.page_size = p.page_size;
            a.indices =
                on_device<int32_t>(ATTN_KV_PAGE_INDICES) + on_host<int32_t>(ATTN_KV_PAGE_INDPTR)[b];
            a.from = on_device<uint16_t>(ATTN_KV_CACHE) +
                     (values ? p.kv_heads * a.head_stride : 0) + g * a.head_stride;
        } else {
            a.head_stride = p.kv_len * dim;
            a.from = on_device<uint16_t>(values ? ATTN_V : ATTN_K) +
                     (b * p.kv_heads + g) * a.head_stride;
        }
        return a;
    }

    int64_t tokens(int64_t b) const {
        if (!(p.traits & ATTN_PAGE)) return p.kv_len;
        const int32_t *indptr = on_host<int32_t>(ATTN_KV_PAGE_INDPTR);
        const int64_t pages = indptr[b + 1] - indptr[b];
        return pages > 0 ? (pages - 1) * p.page_size + on_host<int32_t>(ATTN_KV_LAST_PAGE_LEN)[b]
                         : 0;
    }
};

/* The most tokens one sequence has; what scratch is sized for. */
inline int64_t tokens_max(const struct attn_problem *p) {
    const int64_t room = p->page_entries * p->page_size;
    return p->traits & ATTN_PAGE && room < p->kv_len ? room : p->kv_len;
}

inline const char *reference_refuse(const struct attn_problem *p) {
    if (p->head_dim % 8) return "head dim is not a multiple of 8";
    if (p->kv_heads < 1 || p->q_heads % p->kv_heads) return "kv heads do not divide query heads";
    if (p->batch > 65535 || p->q_heads > 65535) return "more than 65535 sequences or heads";
    if (p->q_heads / p->kv_heads * p->q_len * padded(p->kv_len) > INT32_MAX)
        return "the scores of one kv head have 2^31 elements";
    return NULL;
}

inline void reference_finish(const struct attn_problem *, struct attn_call *call) {
    struct reference_state *state = static_cast<struct reference_state *>(call->state);
    if (!state) return;
    if (state->cublas) cublasDestroy(state->cublas);
    delete state;
    call->state = NULL;
}

inline const char *reference_prepare(const struct attn_problem *problem, struct attn_call *call) {
    struct reference_state *state = new (std::nothrow) reference_state{};
    if (!state) return "out of host memory";
    call->state = state;
    const cublasStatus_t status = cublasCreate(&state->cublas);
    if (status == CUBLAS_STATUS_SUCCESS) return NULL;
    reference_finish(problem, call);
    return cublasGetStatusString(status);
}

/* Calls method(reference, arena) with a handle on the stream and its workspace in scratch. */
template <typename Method>
const char *reference_launch(const struct attn_problem *problem, const struct attn_call *call,
                             std::initializer_list<int> mirrored, Method &&method) {
    const char *fault = call_check(problem, call, {ATTN_Q});
    if (fault) return fault;
    for (int slot : mirrored)
        if (!call->tensors[slot].host) return "an index tensor has no mirror on the host";
    const struct reference_state *state = static_cast<const struct reference_state *>(call->state);
    arena scratch{static_cast<char *>(call->scratch), 0};
    reference r{*problem,
                *call,
                state->cublas,
                static_cast<cudaStream_t>(call->stream),
                problem->q_heads / problem->kv_heads,
                problem->dtype == ATTN_F16,
                CUBLAS_STATUS_SUCCESS};
    r.status = cublasSetStream(r.cublas, r.stream);
    if (r.status == CUBLAS_STATUS_SUCCESS)
        r.status = cublasSetWorkspace(r.cublas, scratch.take(CUBLAS_BYTES), CUBLAS_BYTES);
    for (int64_t b = 0; problem->traits & ATTN_PAGE && b < problem->batch; b++)
        if (r.tokens(b) > problem->kv_len) return "a sequence has more tokens than kv_len";
    if (r.status == CUBLAS_STATUS_SUCCESS) method(r, scratch);
    if (r.status != CUBLAS_STATUS_SUCCESS) return cublasGetStatusString(r.status);
    const cudaError_t error = cudaGetLastError();
    return error == cudaSuccess ? NULL : cudaGetErrorString(error);
}

/* ---- dense ---- */

/* What one kv head takes: of its query heads scores, P, repeated K and V. */
inline int64_t dense_bytes(const struct attn_problem *p) {
    return p->q_heads / p->kv_heads *
           (p->q_len * padded(p->kv_len) * 6 + p->kv_len * p->head_dim * 4);
}

/* kv heads that are taken together, of all B Hkv. blockIdx.y is a query head. */
inline int64_t dense_batch(const struct attn_problem *p) {
    const int64_t heads = p->batch * p->kv_heads, bytes = dense_bytes(p);
    int64_t fit = bytes > 0 ? CHUNK_BYTES / bytes : heads;
    const int64_t limit = 65535 / (p->q_heads / p->kv_heads);
    if (fit > limit) fit = limit;
    return fit < 1 ? 1 : fit < heads ? fit : heads;
}

/* Masks, one for every sequence if they have lengths. */
inline int64_t dense_masks(const struct attn_problem *p) {
    return p->traits & ATTN_RAGGED ? p->batch : p->traits & ATTN_CAUSAL ? 1 : 0;
}

inline size_t dense_scratch_bytes(const struct attn_problem *p) {
    return CUBLAS_BYTES + (size_t)(dense_batch(p) * dense_bytes(p)) +
           (size_t)(dense_masks(p) * p->q_len * padded(p->kv_len)) + 4096;
}

inline const char *dense_launch(const struct attn_problem *problem, const struct attn_call *call) {
    const auto method = [](reference &r, arena &scratch) {
        const struct attn_problem &p = r.p;
        const bool ragged = p.traits & ATTN_RAGGED;
        const int64_t batch = dense_batch(&p), heads = p.batch * p.kv_heads, dim = p.head_dim;
        const int64_t keys = p.kv_len, pitch = padded(keys), masks = dense_masks(&p);
        if (keys == 0 || p.q_len == 0) {
            r.fill(0, p.batch * p.q_heads, p.q_len, 0, -INFINITY);
            return;
        }
        float *scores = static_cast<float *>(scratch.take(batch * r.group * p.q_len * pitch * 4));
        void *weights = scratch.take(batch * r.group * p.q_len * pitch * 2);
        uint16_t *kv[2];
        for (int i = 0; i < 2; i++)
            kv[i] = static_cast<uint16_t *>(scratch.take(batch * r.group * keys * dim * 2));
        uint8_t *mask = static_cast<uint8_t *>(scratch.take(masks * p.q_len * pitch));
        const int32_t *lens = ragged ? r.on_device<int32_t>(ATTN_SEQ_LENS) : NULL;
        if (masks > 0)
            make_mask<<<dim3((unsigned)p.q_len, (unsigned)masks), REFERENCE_THREADS, 0, r.stream>>>(
                mask, lens, (int)p.q_len, (int)keys, pitch, p.traits & ATTN_CAUSAL ? 1 : 0);
        for (int64_t first = 0; first < heads; first += batch) {
            const int64_t count = (batch < heads - first ? batch : heads - first) * r.group;
            const int64_t q_head = first * r.group, row = q_head * p.q_len;
            for (int i = 0; i < 2; i++)
                r.repeat(
                    {.from = r.on_device<uint16_t>(i == 1 ? ATTN_V : ATTN_K) + first * keys * dim,
                     .to = kv[i],
                     .lens = lens,
                     .mask = NULL,
                     .tokens = keys,
                     .dim = dim,
                     .pitch = 0,
                     .first = q_head,
                     .per_length = p.q_heads,
                     .group = (int)r.group},
                    count);
            const scores_args s = {scores, pitch, (int)keys};
            r.multiply_keys(r.on_device<uint16_t>(ATTN_Q) + row * dim, kv[0], scores, p.q_len, keys,
                            pitch, count);
            r.scale(s, count * p.q_len);
            if (masks > 0)
                r.mask(s, {mask, q_head, ragged ? p.q_heads : p.batch * p.q_heads, (int)p.q_len},
                       count * p.q_len);
            r.softmax(s, r.lse(row), count * p.q_len);
            r.round(s, weights, count * p.q_len);
            r.multiply_values(weights, kv[1], r.out(row), p.q_len, keys, pitch, count);
        }
        for (int64_t b = 0; ragged && b < p.batch; b++)
            r.fill(b * p.q_heads * p.q_len, p.q_heads, p.q_len,
                   r.on_host<int32_t>(ATTN_SEQ_LENS)[b], 0.f);
    };
    if (problem->traits & ATTN_RAGGED)
        return reference_launch(problem, call, {ATTN_SEQ_LENS}, method);
    return reference_launch(problem, call, {}, method);
}

/* ---- gather ---- */

/* One token's attention for `heads` query heads, whose keys and values are laid out already. */
inline void attend(reference &r, int64_t row, int64_t heads, const uint16_t *k, const uint16_t *v,
                   const scores_args &s, void *weights, const mask_args *mask,
                   const correct_args *correct) {
    r.multiply_keys(r.on_device<uint16_t>(ATTN_Q) + row * r.p.head_dim, k, s.scores, 1, s.keys,
                    s.pitch, heads);
    r.scale(s, heads);
    if (correct) r.correct(*correct, heads / correct->group);
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
inline const char *paged_launch(const struct attn_problem *problem, const struct attn_call *call) {
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
                gather_args a = r.source(b, 0, i == 1);
                a.to = kv[i];
                a.count = keys;
                a.heads = p.kv_heads;
                r.gather(a);
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
    return reference_launch(problem, call, {ATTN_KV_PAGE_INDPTR, ATTN_KV_LAST_PAGE_LEN}, method);
}

inline size_t lists_scratch_bytes(const struct attn_problem *p) {
    return CUBLAS_BYTES + (size_t)(padded(p->kept_max) * (p->head_dim * 4 + 6)) + 4096;
}

/* The tokens of each row's list, copied together. */
inline const char *lists_launch(const struct attn_problem *problem, const struct attn_call *call) {
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
                gather_args a = r.source(b, g, i == 1);
                a.to = kv[i];
                a.list = r.on_device<int32_t>(ATTN_SPARSE_IND) + row * p.kept_max;
                a.count = keys;
                a.heads = 1;
                r.gather(a);
            }
            const correct_args correct = {.scores = scores,
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
                   p.traits & ATTN_MAGICPIG ? &correct : NULL);
        }
    };
    if (problem->traits & ATTN_PAGE)
        return reference_launch(
            problem, call, {ATTN_SPARSE_NNZ, ATTN_KV_PAGE_INDPTR, ATTN_KV_LAST_PAGE_LEN}, method);
    return reference_launch(problem, call, {ATTN_SPARSE_NNZ}, method);
}

/* ---- by mask ---- */

inline size_t mask_scratch_bytes(const struct attn_problem *p) {
    const int64_t keys = padded(tokens_max(p));
    const int64_t copied = p->traits & ATTN_PAGE ? p->kv_heads : 0;
    return CUBLAS_BYTES +
           (size_t)(keys * ((copied + p->q_heads) * p->head_dim * 4 + p->q_heads * 7)) + 4096;
}

/* All tokens of a sequence, under a mask made of its lists. */
inline const char *mask_launch(const struct attn_problem *problem, const struct attn_call *call) {
    const auto method = [](reference &r, arena &scratch) {
        const struct attn_problem &p = r.p;
        const bool paged = p.traits & ATTN_PAGE;
        const int64_t room = padded(tokens_max(&p)), dim = p.head_dim;
        uint16_t *copy[2], *repeated[2];
        for (int i = 0; i < 2; i++) {
            copy[i] =
                static_cast<uint16_t *>(scratch.take(paged ? room * p.kv_heads * dim * 2 : 0));
            repeated[i] = static_cast<uint16_t *>(scratch.take(room * p.q_heads * dim * 2));
        }
        float *scores = static_cast<float *>(scratch.take(room * p.q_heads * 4));
        void *weights = scratch.take(room * p.q_heads * 2);
        uint8_t *mask = static_cast<uint8_t *>(scratch.take(room * p.q_heads));
        for (int64_t b = 0; b < p.batch; b++) {
            const int64_t keys = r.tokens(b), pitch = padded(keys), row = b * p.q_heads;
            if (keys == 0) {
                r.fill(row, p.q_heads, 1, 0, -INFINITY);
                continue;
            }
            cudaMemsetAsync(mask, 0, (size_t)(p.q_heads * pitch), r.stream);
            if (p.kept_max > 0)
                mark_lists<<<(unsigned)p.q_heads, REFERENCE_THREADS, 0, r.stream>>>(
                    mask, r.on_device<int32_t>(ATTN_SPARSE_IND),
                    r.on_device<int32_t>(ATTN_SPARSE_NNZ), row, p.kept_max, pitch);
            const uint16_t *kv[2];
            for (int i = 0; i < 2; i++) {
                gather_args a = r.source(b, 0, i == 1);
                kv[i] = paged ? copy[i] : a.from;
                if (paged) {
                    a.to = copy[i];
                    a.count = keys;
                    a.heads = p.kv_heads;
                    r.gather(a);
                }
                repeat_args x = {};
                x.from = kv[i];
                x.to = repeated[i];
                x.mask = i == 1 ? mask : NULL;
                x.tokens = keys;
                x.dim = dim;
                x.pitch = pitch;
                x.group = (int)r.group;
                r.repeat(x, p.q_heads);
            }
            const mask_args under = {mask, 0, 1, 1};
            const correct_args correct = {.scores = scores,
                                          .q = r.on_device<uint16_t>(ATTN_Q) + row * dim,
                                          .k = kv[0],
                                          .lsh_k = r.on_device<float>(ATTN_LSH_K) + row,
                                          .lsh_l = r.on_device<float>(ATTN_LSH_L) + row,
                                          .pitch = pitch,
                                          .keys = keys,
                                          .dim = dim,
                                          .group = (int)r.group,
                                          .scale = (float)p.scale};
            attend(r, row, p.q_heads, repeated[0], repeated[1], {scores, pitch, (int)keys}, weights,
                   &under, p.traits & ATTN_MAGICPIG ? &correct : NULL);
        }
    };
    if (problem->traits & ATTN_PAGE)
        return reference_launch(
            problem, call, {ATTN_SPARSE_NNZ, ATTN_KV_PAGE_INDPTR, ATTN_KV_LAST_PAGE_LEN}, method);
    return reference_launch(problem, call, {ATTN_SPARSE_NNZ}, method);
}

} // namespace attn

#endif
