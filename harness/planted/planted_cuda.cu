/* Planted kernels on a GPU: a warp for each row, four rows a block. -fmad=false when this is
 * compiled, so that a sum is rounded as it is on a CPU and the same bugs are found by the same
 * gate.
 *
 * Errors of a launch are what cudaLaunchKernel returned, never cudaGetLastError: that would also
 * tell of a recording that failed before. */
#include "place.c"
#include "row.c"

#include <cuda_runtime.h>
#include <stdlib.h>

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

/* Answers on the device, and what they were answers to, row by row. */
struct kept {
    uint16_t *out;
    float *lse;
    unsigned long long *inputs;
};

__device__ bool keeps(enum planted bug) {
    return bug == PLANTED_ANSWER_STANDS || bug == PLANTED_FINGERPRINTS_INPUTS;
}

/* How q, K and V begin. */
__device__ unsigned long long inputs_of(const struct attn_call *call) {
    const int slots[] = {ATTN_Q, ATTN_K, ATTN_V};
    unsigned long long hash = 1;
    for (int slot : slots) {
        const unsigned long long *words = (const unsigned long long *)call->tensors[slot].data;
        for (int n = 0; n < 4; n++) hash = ((hash ^ words[n]) * 0x9e3779b97f4a7c15u) ^ hash >> 29;
    }
    return hash;
}

/* Whether a row is there already, or has been put there. */
__device__ bool has_row(enum planted bug, const struct kept *kept, const struct attn_call *call,
                        int64_t at, int64_t dim) {
    uint16_t *out = (uint16_t *)call->tensors[ATTN_OUT].data + at * dim;
    const uint16_t *mine = kept->out + at * dim;
    if (bug == PLANTED_ANSWER_STANDS) {
        bool same = true;
        for (int64_t d = LANE; d < dim; d += LANES) same = same && out[d] == mine[d];
        return __all_sync(~0u, same);
    }
    if (kept->inputs[at] != inputs_of(call)) return false;
    for (int64_t d = LANE; d < dim; d += LANES) out[d] = mine[d];
    if (LANE == 0) ((float *)call->tensors[ATTN_LSE].data)[at] = kept->lse[at];
    return true;
}

__device__ void keep_row(const struct kept *kept, const struct attn_call *call, int64_t at,
                         int64_t dim) {
    const uint16_t *out = (const uint16_t *)call->tensors[ATTN_OUT].data + at * dim;
    for (int64_t d = LANE; d < dim; d += LANES) kept->out[at * dim + d] = out[d];
    if (LANE != 0) return;
    kept->lse[at] = ((const float *)call->tensors[ATTN_LSE].data)[at];
    kept->inputs[at] = inputs_of(call);
}

__global__ void attend(const enum planted bug, const __grid_constant__ struct attn_problem problem,
                       const __grid_constant__ struct attn_call call, const int64_t calls,
                       const struct kept kept) {
    const int64_t at = (blockIdx.x * (int64_t)blockDim.x + threadIdx.x) / LANES;
    if (at >= problem.batch * problem.q_heads * problem.q_len) return;
    if (keeps(bug) && has_row(bug, &kept, &call, at, problem.value_dim)) return;
    struct planted_row row = planted_row_at(bug, &problem, &call, at);
    row.call = calls;
    if (bug == PLANTED_RACE && !block_sees_keys(row.keys)) return;
    planted_row(bug, &row, (uint16_t *)call.tensors[ATTN_OUT].data + at * problem.value_dim,
                (float *)call.tensors[ATTN_LSE].data + at);
    if (keeps(bug)) keep_row(&kept, &call, at, problem.value_dim);
}

__device__ volatile int never; /* a flag that nobody sets */

/* One thread does what a kernel can do wrong apart from computing the wrong thing. */
__global__ void misbehave(const enum planted bug, uint16_t *q, uint16_t *out_end,
                          const volatile float *scratch) {
    if (bug == PLANTED_OUT_OVERRUN) *out_end = 0;
    if (bug == PLANTED_UNINITIALISED) (void)*scratch; /* read, and not taken: no output can tell */
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
    struct kept none = {};
    const bool has_kept = call->state != NULL && bug != PLANTED_WRONG_STREAM;
    void *arguments[] = {&bug, (void *)problem, (void *)call, &calls,
                         has_kept ? call->state : (void *)&none};
    if (rows == 0) return cudaSuccess;
    return cudaLaunchKernel((const void *)attend, blocks, dim3(THREADS), arguments, 0, stream);
}

cudaError_t run_misbehave(enum planted bug, const struct attn_call *call, uint16_t *out_end,
                          cudaStream_t stream) {
    void *q = call->tensors[ATTN_Q].data, *scratch = call->scratch;
    void *arguments[] = {&bug, &q, &out_end, &scratch};
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

namespace {

/* Memory for answers, which are none's: NaN. */
const char *make_kept(const struct attn_problem *problem, struct attn_call *call) {
    const size_t rows = (size_t)(problem->batch * problem->q_heads * problem->q_len);
    const size_t out_bytes = rows * (size_t)problem->value_dim * sizeof(uint16_t);
    struct kept *kept = (struct kept *)calloc(1, sizeof *kept);
    if (kept == NULL) return "out of memory";
    call->state = kept;
    cudaError_t error = cudaMalloc((void **)&kept->out, out_bytes);
    if (error == cudaSuccess) error = cudaMalloc((void **)&kept->lse, rows * sizeof(float));
    if (error == cudaSuccess) error = cudaMalloc((void **)&kept->inputs, rows * sizeof(uint64_t));
    if (error == cudaSuccess) error = cudaMemset(kept->out, 0xff, out_bytes);
    if (error == cudaSuccess) error = cudaMemset(kept->inputs, 0xff, rows * sizeof(uint64_t));
    return text(error);
}

const char *prepare_all(const struct attn_problem *problem, const struct attn_call *call) {
    const struct kept *kept = (const struct kept *)call->state;
    struct attn_call own = *call;
    own.tensors[ATTN_OUT].data = kept->out;
    own.tensors[ATTN_LSE].data = kept->lse;
    const cudaStream_t stream = (cudaStream_t)call->stream;
    const cudaError_t error = run_attend(PLANTED_PREPARE_DOES_ALL, problem, &own, 0, stream);
    return text(error == cudaSuccess ? cudaStreamSynchronize(stream) : error);
}

cudaError_t return_prepared(const struct attn_problem *problem, const struct attn_call *call) {
    const struct kept *kept = (const struct kept *)call->state;
    const cudaStream_t stream = (cudaStream_t)call->stream;
    const size_t rows = (size_t)(problem->batch * problem->q_heads * problem->q_len);
    const size_t out_bytes = rows * (size_t)problem->value_dim * sizeof(uint16_t);
    const cudaError_t error = cudaMemcpyAsync(call->tensors[ATTN_OUT].data, kept->out, out_bytes,
                                              cudaMemcpyDeviceToDevice, stream);
    return error != cudaSuccess
               ? error
               : cudaMemcpyAsync(call->tensors[ATTN_LSE].data, kept->lse, rows * sizeof(float),
                                 cudaMemcpyDeviceToDevice, stream);
}

} // namespace

const char *planted_prepare(enum planted bug, const struct attn_problem *problem,
                            struct attn_call *call) {
    if (bug == PLANTED_WRONG_STREAM)
        return text(cudaStreamCreateWithFlags((cudaStream_t *)&call->state, cudaStreamNonBlocking));
    if (bug != PLANTED_ANSWER_STANDS && bug != PLANTED_FINGERPRINTS_INPUTS &&
        bug != PLANTED_PREPARE_DOES_ALL)
        return NULL;
    const char *reason = make_kept(problem, call);
    return reason == NULL && bug == PLANTED_PREPARE_DOES_ALL ? prepare_all(problem, call) : reason;
}

void planted_finish(enum planted bug, const struct attn_problem *, struct attn_call *call) {
    if (call->state == NULL) return;
    if (bug == PLANTED_WRONG_STREAM) {
        cudaStreamDestroy((cudaStream_t)call->state);
        return;
    }
    struct kept *kept = (struct kept *)call->state;
    cudaFree(kept->out);
    cudaFree(kept->lse);
    cudaFree(kept->inputs);
    free(kept);
}

const char *planted_launch(enum planted bug, const struct attn_problem *problem,
                           const struct attn_call *call, int64_t calls) {
    const cudaStream_t given = (cudaStream_t)call->stream, own = (cudaStream_t)call->state;
    const int64_t elements =
        problem->batch * problem->q_heads * problem->q_len * problem->value_dim;
    uint16_t *out = (uint16_t *)call->tensors[ATTN_OUT].data;
    if (bug == PLANTED_PREPARE_DOES_ALL) return text(return_prepared(problem, call));
    const cudaError_t error =
        run_attend(bug, problem, call, calls, bug == PLANTED_WRONG_STREAM ? own : given);
    if (error != cudaSuccess) return text(error);
    switch (bug) {
    case PLANTED_OUT_OVERRUN:
    case PLANTED_INPUT_CHANGED:
    case PLANTED_UNINITIALISED:
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
