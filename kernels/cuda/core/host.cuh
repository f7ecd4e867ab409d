/* The host's side of the kernels: what they refuse, what prepare makes, how they are launched. */
#ifndef ATTN_CUDA_HOST_CUH
#define ATTN_CUDA_HOST_CUH

#include "../../attn.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <initializer_list>
#include <new>
#include <type_traits>

namespace attn {

/* What prepare leaves for launch. Counters are zero between launches: the kernel that counts
 * leaves them so. */
struct kernel_state {
    const void *function;
    int threads, shared_bytes;
    int resident; /* blocks that the device holds at once */
    unsigned *counters;
};

struct kernel_choice {
    const void *function;
    int threads, shared_bytes;
};

/* Farther than any key is from any query of a problem that refuse_any lets pass. */
constexpr int64_t NO_BOUND = INT64_C(1) << 29;

/* The D of the kernel that is chosen for a problem. */
inline int dim_at_least(const struct attn_problem *p) {
    const int64_t dim = p->head_dim > p->value_dim ? p->head_dim : p->value_dim;
    return dim <= 64 ? 64 : dim <= 128 ? 128 : 256;
}

inline bool dim_is_plain(const struct attn_problem *p) {
    return p->head_dim == dim_at_least(p) && p->value_dim == p->head_dim;
}

/* Keys and values of 8 bits, and all that their scales may be of. */
constexpr uint64_t BYTE_TRAITS = ATTN_KV_E4M3 | ATTN_KV_INT8 | ATTN_KV_HEAD | ATTN_KV_TOKEN;

inline bool has_bytes(const struct attn_problem *p) {
    return p->traits & (ATTN_KV_E4M3 | ATTN_KV_INT8);
}

/* Whether it is for the kernels without traits at run time. */
inline bool is_plain(const struct attn_problem *p) {
    const uint64_t lengths = p->variant == ATTN_DECODE ? ATTN_RAGGED : 0;
    return dim_is_plain(p) && !has_bytes(p) &&
           !(p->traits & (ATTN_WINDOW | ATTN_SOFTCAP | ATTN_SINK | ATTN_QLENS | lengths));
}

/* Of kernels for any head dim. */
inline const char *refuse_any(const struct attn_problem *p) {
    if (p->head_dim % 8) return "head dim is not a multiple of 8";
    if (p->value_dim % 8) return "head dim of values is not a multiple of 8";
    if (has_bytes(p) && p->value_dim != p->head_dim)
        return "keys and values of 8 bits have different head dims";
    if (!(p->scale > 0 && p->scale < 1e30)) return "the softmax scale is not positive and finite";
    if (p->kv_heads < 1 || p->q_heads % p->kv_heads) return "kv heads do not divide query heads";
    if (p->batch * p->q_heads > INT32_MAX / 2) return "more than 2^30 heads";
    if (p->q_len >= NO_BOUND || p->kv_len >= NO_BOUND) return "more than 2^29 tokens";
    return NULL;
}

inline const char *refuse_common(const struct attn_problem *p) {
    return dim_is_plain(p) ? refuse_any(p) : "head dim is not 64, 128 or 256";
}

/* An attribute of the device in use; 0 if it does not say. */
inline int device_attribute(enum cudaDeviceAttr attribute) {
    int device = 0, value = 0;
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&value, attribute, device) != cudaSuccess)
        return 0;
    return value;
}

inline int processor_count() {
    return device_attribute(cudaDevAttrMultiProcessorCount);
}

/* By prepare: what is compiled for sm_90a, or uses what came with it. */
inline const char *refuse_but_hopper() {
    return device_attribute(cudaDevAttrComputeCapabilityMajor) == 9
               ? NULL
               : "REFUSED: it is for GPUs of compute capability 9.0";
}

/* Rows of keys are numbered in 32 bits by the kernels that look them up; with rows of 128 bytes
 * and more that is 512 GiB. */
inline bool rows_fit(const struct attn_problem *p) {
    const int64_t rows = p->traits & ATTN_PAGE ? p->pages * 2 * p->kv_heads * p->page_size
                                               : p->batch * p->kv_heads * p->kv_len;
    return rows < UINT32_MAX;
}

/* Rows of keys and values are copied 16 bytes at a time. */
inline const char *refuse_part_rows(const struct attn_problem *p) {
    return has_bytes(p) && p->head_dim % 16
               ? "head dim is not a multiple of 16, with keys and values of 8 bits"
               : NULL;
}

/* Of tiles of 64 queries and more. */
inline const char *prefill_refuse_any(const struct attn_problem *problem) {
    const char *reason = refuse_any(problem);
    if (!reason) reason = refuse_part_rows(problem);
    if (reason) return reason;
    if (!rows_fit(problem) || problem->batch * problem->q_heads * problem->q_len >= UINT32_MAX)
        return "a tensor has more than 2^32 rows";
    const int64_t tiles = (problem->q_len + 63) / 64;
    if (problem->batch * problem->q_heads * tiles > INT32_MAX) return "more than 2^31 blocks";
    return NULL;
}

inline const char *prefill_refuse(const struct attn_problem *problem) {
    const char *reason = refuse_common(problem);
    return reason ? reason : prefill_refuse_any(problem);
}

inline bool is_dense(const struct attn_tensor *tensor) {
    int64_t stride = 1;
    for (int i = tensor->rank - 1; i >= 0; i--) {
        if (tensor->shape[i] != 1 && tensor->stride[i] != stride) return false;
        stride *= tensor->shape[i];
    }
    return true;
}

/* `inputs` and out are read and written 16 bytes at a time. */
inline const char *call_check(const struct attn_problem *, const struct attn_call *call,
                              std::initializer_list<int> inputs) {
    if (!call->state) return "launch without prepare";
    if (!call->tensors[ATTN_LSE].data) return "no tensor 'lse'";
    const struct attn_tensor *out = &call->tensors[ATTN_OUT];
    if (!is_dense(out) || (uintptr_t)out->data % 16) return "out is not dense and 16-byte aligned";
    for (int slot : inputs) {
        const struct attn_tensor *tensor = &call->tensors[slot];
        if (!is_dense(tensor) || (uintptr_t)tensor->data % 16)
            return "an input is not dense and 16-byte aligned";
    }
    return NULL;
}

/* Calls pick(T{}, integral_constant<int, D>{}) for the problem's type and D. */
template <typename Pick> kernel_choice choose(const struct attn_problem *p, Pick &&pick) {
    const auto by_dim = [&](auto type) {
        if (dim_at_least(p) == 64) return pick(type, std::integral_constant<int, 64>{});
        if (dim_at_least(p) == 128) return pick(type, std::integral_constant<int, 128>{});
        return pick(type, std::integral_constant<int, 256>{});
    };
    return p->dtype == ATTN_F16 ? by_dim(__half{}) : by_dim(__nv_bfloat16{});
}

inline void kernel_state_free(const struct attn_problem *, struct attn_call *call) {
    struct kernel_state *state = static_cast<struct kernel_state *>(call->state);
    if (!state) return;
    cudaFree(state->counters);
    delete state;
    call->state = NULL;
}

/* Chooses the kernel, gives it its shared memory, and makes `counters` zeroed counters. */
template <typename Pick>
const char *kernel_state_make(const struct attn_problem *problem, struct attn_call *call,
                              int64_t counters, Pick &&pick) {
    const kernel_choice choice = choose(problem, pick);
    struct kernel_state *state = new (std::nothrow) kernel_state{};
    if (!state) return "out of host memory";
    call->state = state;
    state->function = choice.function;
    state->threads = choice.threads;
    state->shared_bytes = choice.shared_bytes;
    int device = 0, processors = 0, per_processor = 0;
    cudaError_t error = cudaGetDevice(&device);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    if (error == cudaSuccess)
        error = cudaFuncSetAttribute(choice.function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     choice.shared_bytes);
    if (error == cudaSuccess)
        error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(
            &per_processor, choice.function, choice.threads, (size_t)choice.shared_bytes);
    if (error == cudaSuccess && counters > 0) {
        const size_t bytes = (size_t)counters * sizeof(unsigned);
        error = cudaMalloc((void **)&state->counters, bytes);
        if (error == cudaSuccess) error = cudaMemset(state->counters, 0, bytes);
        if (error == cudaSuccess) error = cudaDeviceSynchronize();
    }
    state->resident = processors * per_processor;
    if (error == cudaSuccess && state->resident > 0) return NULL;
    kernel_state_free(problem, call);
    return error == cudaSuccess ? "no block of the kernel fits on this device"
                                : cudaGetErrorString(error);
}

inline const char *kernel_launch(const struct kernel_state *state, int64_t blocks,
                                 void **parameters, const struct attn_call *call) {
    if (blocks == 0) return NULL;
    const cudaError_t error = cudaLaunchKernel(
        state->function, dim3((unsigned)blocks), dim3((unsigned)state->threads), parameters,
        (size_t)state->shared_bytes, static_cast<cudaStream_t>(call->stream));
    return error == cudaSuccess ? NULL : cudaGetErrorString(error);
}

} // namespace attn

#endif
