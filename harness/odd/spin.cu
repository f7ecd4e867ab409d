/* As spin.c, of a kernel of kernels/cuda: after each launch one warp adds numbers as long as takes
 * SPIN_PERCENT of the launch, in a launch of its own -- which is there, and adds nothing, where the
 * share is 0. What both take prepare finds out, each replayed from a graph. */
#define attn_export attn_base
#include SPIN_KERNEL
#undef attn_export

#include <algorithm>
#include <cstring>

namespace spin {

constexpr int LAUNCHES = 20, ROUNDS = 25;
constexpr long long STEPS = 20000;
long long steps; /* after each launch */

__global__ void add(long long count) {
    unsigned long long x = threadIdx.x;
    for (long long n = 0; n < count; n++) {
        x += n ^ x << 7; /* each step waits for the one before */
        asm volatile("" : "+l"(x));
    }
}

const char *launch_with(const attn_problem *problem, const attn_call *call, long long count) {
    const char *reason = attn_base.launch(problem, call);
    add<<<1, 32, 0, static_cast<cudaStream_t>(call->stream)>>>(count);
    return reason;
}

const char *launch(const attn_problem *problem, const attn_call *call) {
    return launch_with(problem, call, steps);
}

/* Microseconds of one launch among LAUNCHES in a graph, the fastest of some replays; below 0 where
 * that cannot be recorded. */
double time_us(const attn_problem *problem, const attn_call *call, long long count) {
    const auto stream = static_cast<cudaStream_t>(call->stream);
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t replay = nullptr;
    cudaEvent_t begin, end;
    float least_ms = -1;
    cudaEventCreate(&begin);
    cudaEventCreate(&end);
    cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    for (int n = 0; n < LAUNCHES; n++) launch_with(problem, call, count);
    if (cudaStreamEndCapture(stream, &graph) == cudaSuccess &&
        cudaGraphInstantiate(&replay, graph, 0) == cudaSuccess) {
        for (int n = 0; n < ROUNDS; n++) {
            float ms = 0;
            cudaEventRecord(begin, stream);
            cudaGraphLaunch(replay, stream);
            cudaEventRecord(end, stream);
            cudaEventSynchronize(end);
            cudaEventElapsedTime(&ms, begin, end);
            least_ms = n == 0 ? ms : std::min(least_ms, ms);
        }
        cudaGraphExecDestroy(replay);
    }
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    return 1e3 * least_ms / LAUNCHES;
}

/* Copies of the inputs are prepared one by one: they take the same. */
const char *prepare(const attn_problem *problem, attn_call *call) {
    static attn_problem known;
    const char *reason = attn_base.prepare != nullptr ? attn_base.prepare(problem, call) : nullptr;
    if (reason != nullptr || SPIN_PERCENT == 0 || !memcmp(&known, problem, sizeof known))
        return reason;
    const double launch_us = time_us(problem, call, 0);
    const double more_us = time_us(problem, call, STEPS) - launch_us;
    if (!(launch_us > 0 && more_us > 0)) return "a launch that cannot be recorded takes no share";
    known = *problem;
    steps = (long long)(SPIN_PERCENT / 100.0 * launch_us / more_us * STEPS + 0.5);
    return nullptr;
}

attn_kernel wrapped() {
    attn_kernel kernel = attn_base;
    kernel.change = "takes longer by a share, " SPIN_NAME ": see harness/odd/spin.cu";
    kernel.prepare = prepare;
    kernel.launch = launch;
    return kernel;
}

} // namespace spin

extern "C" ATTN_VISIBLE attn_kernel attn_export;
attn_kernel attn_export = spin::wrapped();
