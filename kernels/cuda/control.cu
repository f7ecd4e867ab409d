/* The control of an NVIDIA GPU: a library of its own (harness/worker/probe_library.h), loaded
 * beside kernels, and so without cuBLASLt. All multiprocessors multiply and add over 16 MiB, which
 * the L2 holds: clock, power and L2 as a kernel finds them. The same work on every GPU. */
/* As in probe.cu the one include that leaves kernels/. */
#include "../../harness/worker/probe_library.h"

#include <cuda_runtime.h>

namespace {

constexpr int BLOCKS = 1024, THREADS = 256, PASSES = 32;
constexpr int WORDS = (16 << 20) / sizeof(float4);

__device__ float4 numbers[WORDS];
__device__ float sink;

__global__ void fill() {
    for (int n = blockIdx.x * THREADS + threadIdx.x; n < WORDS; n += BLOCKS * THREADS) {
        const float x = 1 + (float)n / WORDS;
        numbers[n] = {x, -x, x / 2, 1 / x};
    }
}

__global__ void work() {
    float4 sum = {0, 0, 0, 0};
    for (int pass = 0; pass < PASSES; pass++) {
        for (int n = blockIdx.x * THREADS + threadIdx.x; n < WORDS; n += BLOCKS * THREADS) {
            const float4 x = __ldcg(&numbers[n]); /* from the L2, not from the L1 */
            sum.x = sum.x * 0.5f + x.x;
            sum.y = sum.y * 0.5f + x.y;
            sum.z = sum.z * 0.5f + x.z;
            sum.w = sum.w * 0.5f + x.w;
        }
    }
    if (sum.x + sum.y + sum.z + sum.w == 12345) sink = sum.x; /* nobody, which nobody can know */
}

struct stopwatch {
    cudaEvent_t begin = nullptr, end = nullptr;
    stopwatch() {
        cudaEventCreate(&begin);
        cudaEventCreate(&end);
        fill<<<BLOCKS, THREADS>>>();
        cudaDeviceSynchronize();
    }
};

} // namespace

/* It lives as long as the process and its context do. */
const char *attest_control(void *stream, double *us) {
    static const stopwatch watch;
    const auto on = static_cast<cudaStream_t>(stream);
    float ms = 0;
    cudaEventRecord(watch.begin, on);
    work<<<BLOCKS, THREADS, 0, on>>>();
    cudaEventRecord(watch.end, on);
    cudaEventSynchronize(watch.end);
    cudaEventElapsedTime(&ms, watch.begin, watch.end);
    *us = 1e3 * ms;
    const cudaError_t error = cudaGetLastError();
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
