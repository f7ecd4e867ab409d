/* The baselines: attention written as PyTorch code without a fused kernel writes it, an operation a
 * kernel: K and V repeated for every query head, scores by cuBLAS into memory in f32, the scale, a
 * mask that lies in memory, softmax in f32, P rounded to the type of the input, P V by cuBLAS. No
 * kernel is slow on purpose: accesses are 16 bytes wide, rows are padded to 16 bytes, and heads are
 * taken together as far as CHUNK_BYTES goes. Here is what the methods share:
 *
 *   reference_dense.cuh   prefill and decode; sequences of unequal length are padded and masked
 *   reference_gather.cuh  pages: sequence by sequence, lists: row by row, keys and values are
 *                         copied together, by a kernel or token by token
 *   reference_mask.cuh    lists: scores of all tokens, those not on the list masked away
 *
 * 0 * NaN is NaN, so copies of V are zero where nothing may be read. P is stored as 1024 p and the
 * product divided by 1024: both exact, and small weights of long rows stay out of binary16's
 * subnormals. The host's mirrors of lengths and tables direct the loops, so that a launch waits for
 * nothing and can be captured. */
#ifndef ATTN_CUDA_REFERENCE_CUH
#define ATTN_CUDA_REFERENCE_CUH

#include "host.cuh"
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

/* Scratch is set once because initcheck (compute-sanitizer of CUDA 13.0) does not see what some of
 * cuBLAS' kernels for sm_90 store: it reports the scores of a 48 x 48 x 64 product, every element
 * of which is right, as never written. */
inline const char *reference_prepare(const struct attn_problem *problem, struct attn_call *call) {
    struct reference_state *state = new (std::nothrow) reference_state{};
    if (!state) return "out of host memory";
    call->state = state;
    const cublasStatus_t status = cublasCreate(&state->cublas);
    const cudaError_t error = cudaMemset(call->scratch, 0, call->scratch_bytes);
    if (status == CUBLAS_STATUS_SUCCESS && error == cudaSuccess) return NULL;
    reference_finish(problem, call);
    return error != cudaSuccess ? cudaGetErrorString(error) : cublasGetStatusString(status);
}

/* Whether the host has the lengths, tables and lists of this problem. */
inline bool mirrored(const struct attn_problem *problem, const struct attn_call *call) {
    static constexpr struct {
        int slot;
        uint64_t with, without; /* traits */
    } needed[] = {
        {ATTN_SEQ_LENS, ATTN_RAGGED, ATTN_PAGE}, {ATTN_KV_PAGE_INDPTR, ATTN_PAGE, 0},
        {ATTN_KV_PAGE_INDICES, ATTN_PAGE, 0},    {ATTN_KV_LAST_PAGE_LEN, ATTN_PAGE, 0},
        {ATTN_SPARSE_IND, ATTN_KEEP, 0},         {ATTN_SPARSE_NNZ, ATTN_KEEP, 0},
    };
    for (const auto &need : needed)
        if ((problem->traits & (need.with | need.without)) == need.with &&
            !call->tensors[need.slot].host)
            return false;
    return true;
}

/* Calls method(reference, arena) with a handle on the stream and its workspace in scratch. */
template <typename Method>
const char *reference_launch(const struct attn_problem *problem, const struct attn_call *call,
                             Method &&method) {
    const char *fault = call_check(problem, call, {ATTN_Q});
    if (fault) return fault;
    if (!mirrored(problem, call)) return "an index tensor has no mirror on the host";
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

} // namespace attn

#endif
