/* Planted kernels on a GPU: a warp for each row, four rows a block. -fmad=false when this is
 * compiled, so that a sum is rounded as it is on a CPU and the same bugs are found by the same
 * gate.
 *
 * Errors of a launch are what cudaLaunchKernel returned, never cudaGetLastError: that would also
 * tell of a recording that failed before. */
#include "place.c"
#include "row.c"

#include <cuda_runtime.h>

namespace {

enum { THREADS = 128 };

/* RACE. Goes unnoticed unless the first thread clears the sum between another warp's writing it and
 * reading it back. */
__device__ bool block_sees_keys(int64_t keys) {
    __shared__ volatile int64_t sum;
    if (threadIdx.x == 0) sum = 0;
    if (LANE == 0) sum = sum + keys;
    return sum != 0;
}

/* UNINITIALISED. Scratch is read, and what it holds is not taken: no output can tell. */
__device__ float scale_or_scratch(const struct planted_row *row, const volatile float *scratch) {
    const float left = *scratch;
    return row->keys < 0 ? left : row->scale;
}

__global__ void attend(const enum planted bug, const __grid_constant__ struct attn_problem problem,
                       const __grid_constant__ struct attn_call call, const int64_t calls) {
    const int64_t at = (blockIdx.x * (int64_t)blockDim.x + threadIdx.x) / LANES;
    if (at >= problem.batch * problem.q_heads * problem.q_len) return;
    struct planted_row row = planted_row_at(bug, &problem, &call, at);
    row.call = calls;
    if (bug == PLANTED_RACE && !block_sees_keys(row.keys)) return;
    if (bug == PLANTED_UNINITIALISED)
        row.scale = scale_or_scratch(&row, (const float *)call.scratch + at);
    planted_row(bug, &row, (uint16_t *)call.tensors[ATTN_OUT].data + at * problem.head_dim,
                (float *)call.tensors[ATTN_LSE].data + at);
}

__device__ volatile int never; /* a flag that nobody sets */

/* One thread does what a kernel can do wrong apart from computing the wrong thing. */
__global__ void misbehave(const enum planted bug, uint16_t *q, uint16_t *out_end) {
    if (bug == PLANTED_OUT_OVERRUN) *out_end = 0;
    if (bug == PLANTED_INPUT_CHANGED) q[0]++;
    if (bug == PLANTED_CRASHES) {
        volatile uintptr_t nowhere = 64; /* volatile: compilers refuse what they see through */
        *(volatile int *)nowhere = 0;
    }
    if (bug == PLANTED_HANGS) {
        while (!never) continue;
    }
}

cudaError_t run_attend(enum planted bug, const struct attn_problem *problem,
                       const struct attn_call *call, int64_t calls, cudaStream_t stream) {
    const int64_t rows = problem->batch * problem->q_heads * problem->q_len;
    const dim3 blocks((unsigned)((rows * LANES + THREADS - 1) / THREADS));
    void *arguments[] = {&bug, (void *)problem, (void *)call, &calls};
    if (rows == 0) return cudaSuccess;
    return cudaLaunchKernel((const void *)attend, blocks, dim3(THREADS), arguments, 0, stream);
}

cudaError_t run_misbehave(enum planted bug, const struct attn_call *call, uint16_t *out_end,
                          cudaStream_t stream) {
    void *q = call->tensors[ATTN_Q].data;
    void *arguments[] = {&bug, &q, &out_end};
    return cudaLaunchKernel((const void *)misbehave, dim3(1), dim3(1), arguments, 0, stream);
}

cudaError_t return_first_call(uint16_t *out, int64_t elements, int64_t calls, cudaStream_t stream) {
    static uint16_t *first;
    const size_t bytes = (size_t)elements * sizeof *first;
    if (calls > 0) return cudaMemcpyAsync(out, first, bytes, cudaMemcpyDeviceToDevice, stream);
    const cudaError_t error = cudaMalloc((void **)&first, bytes);
    return error != cudaSuccess
               ? error
               : cudaMemcpyAsync(first, out, bytes, cudaMemcpyDeviceToDevice, stream);
}

const char *text(cudaError_t error) {
    return error == cudaSuccess ? NULL : cudaGetErrorString(error);
}

} // namespace

const char *planted_prepare(enum planted bug, const struct attn_problem *, struct attn_call *call) {
    if (bug != PLANTED_WRONG_STREAM) return NULL;
    return text(cudaStreamCreateWithFlags((cudaStream_t *)&call->state, cudaStreamNonBlocking));
}

void planted_finish(const struct attn_problem *, struct attn_call *call) {
    if (call->state != NULL) cudaStreamDestroy((cudaStream_t)call->state);
}

const char *planted_launch(enum planted bug, const struct attn_problem *problem,
                           const struct attn_call *call, int64_t calls) {
    const cudaStream_t given = (cudaStream_t)call->stream, own = (cudaStream_t)call->state;
    const int64_t elements = problem->batch * problem->q_heads * problem->q_len * problem->head_dim;
    uint16_t *out = (uint16_t *)call->tensors[ATTN_OUT].data;
    const cudaError_t error =
        run_attend(bug, problem, call, calls, bug == PLANTED_WRONG_STREAM ? own : given);
    if (error != cudaSuccess) return text(error);
    switch (bug) {
    case PLANTED_OUT_OVERRUN:
    case PLANTED_INPUT_CHANGED:
    case PLANTED_CRASHES:
    case PLANTED_HANGS:
        return text(run_misbehave(bug, call, out + elements, given));
    case PLANTED_PREVIOUS_CALL:
        return text(return_first_call(out, elements, calls, given));
    case PLANTED_SYNCHRONISES:
        return text(cudaStreamSynchronize(given));
    default:
        return NULL;
    }
}
