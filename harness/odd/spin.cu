/* As spin.c, of a kernel of kernels/cuda: after each launch one warp adds numbers as long as takes
 * SPIN_PERCENT of the launch, in a launch of its own -- which is there, and adds nothing, where the
 * share is 0. What both take prepare finds out, replayed from two graphs in turn. */
#define attn_export attn_base
#include SPIN_KERNEL
#undef attn_export

#include <algorithm>
#include <cstring>

namespace spin {

constexpr int LAUNCHES = 10, ROUNDS = 31;
constexpr unsigned STEPS = 20000;
unsigned steps; /* after each launch */

/* An empty asm, as in spin.c, would not do: it is no instruction of PTX, and what comes of it is
 * not used. So the last number is written, should it ever be that one. */
__device__ unsigned never;
__global__ void add(unsigned count) {
    unsigned x = threadIdx.x;
#pragma unroll 1
    for (unsigned n = 0; n < count; n++) x = x * 5 + n; /* each step waits for the one before */
    if (count > 0 && x == 0x9e3779b9) never = x;
}

const char *launch_with(const attn_problem *problem, const attn_call *call, unsigned count) {
    const char *reason = attn_base.launch(problem, call);
    add<<<1, 32, 0, static_cast<cudaStream_t>(call->stream)>>>(count);
    return reason;
}

const char *launch(const attn_problem *problem, const attn_call *call) {
    return launch_with(problem, call, steps);
}

/* LAUNCHES in a graph; nullptr where they cannot be recorded. */
cudaGraphExec_t record(const attn_problem *problem, const attn_call *call, unsigned count) {
    const auto stream = static_cast<cudaStream_t>(call->stream);
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t replay = nullptr;
    const char *reason = nullptr;
    cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    for (int n = 0; n < LAUNCHES && reason == nullptr; n++)
        reason = launch_with(problem, call, count);
    if (cudaStreamEndCapture(stream, &graph) == cudaSuccess && reason == nullptr)
        cudaGraphInstantiate(&replay, graph, 0);
    if (graph != nullptr) cudaGraphDestroy(graph);
    return replay;
}

double replay_us(cudaGraphExec_t replay, cudaStream_t stream, const cudaEvent_t events[2]) {
    float ms = 0;
    cudaEventRecord(events[0], stream);
    cudaGraphLaunch(replay, stream);
    cudaEventRecord(events[1], stream);
    cudaEventSynchronize(events[1]);
    cudaEventElapsedTime(&ms, events[0], events[1]);
    return 1e3 * ms / LAUNCHES;
}

double median(double (&values)[ROUNDS]) {
    std::sort(values, values + ROUNDS);
    return values[ROUNDS / 2];
}

const char *calibrate(const attn_problem *problem, const attn_call *call) {
    const auto stream = static_cast<cudaStream_t>(call->stream);
    double launch_us[ROUNDS], more_us[ROUNDS];
    cudaEvent_t events[2];
    cudaGraphExec_t one = record(problem, call, 0), both = record(problem, call, STEPS);
    if (one == nullptr || both == nullptr) return "a launch that cannot be recorded takes no share";
    for (cudaEvent_t &event : events) cudaEventCreate(&event);
    for (int n = 0; n < ROUNDS; n++) {
        launch_us[n] = replay_us(one, stream, events);
        more_us[n] = replay_us(both, stream, events) - launch_us[n];
    }
    for (cudaEvent_t &event : events) cudaEventDestroy(event);
    cudaGraphExecDestroy(one);
    cudaGraphExecDestroy(both);
    const double share = SPIN_PERCENT / 100.0 * median(launch_us) / median(more_us);
    if (!(share > 0)) return "the share of a launch cannot be measured";
    steps = (unsigned)(share * STEPS + 0.5);
    return nullptr;
}

/* Copies of the inputs are prepared one by one: they take the same. */
const char *prepare(const attn_problem *problem, attn_call *call) {
    static attn_problem known;
    const char *reason = attn_base.prepare != nullptr ? attn_base.prepare(problem, call) : nullptr;
    if (reason != nullptr || SPIN_PERCENT == 0 || !memcmp(&known, problem, sizeof known))
        return reason;
    reason = calibrate(problem, call);
    if (reason == nullptr) known = *problem;
    return reason;
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
