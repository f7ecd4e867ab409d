/* What an NVIDIA GPU can reach: a library of its own (harness/worker/probe_library.h), for compute
 * capability 8.0 and later. Every number is a rate at which something was done, so none is too
 * high; lest one be too low, several ways are tried (loads in flight a thread, blocks, algorithms),
 * and the fastest is measured at length. Times are between events, one after every launch.
 *
 * - Read: 16-byte loads; bytes read. A launch reads a quarter of the region below, launches take
 *   the quarters in turn.
 * - Copy: 16-byte loads and stores, a quarter of the region to the one after the next; bytes read
 *   plus bytes written.
 * - Gather: whole rows of 128 to 1024 bytes at random places of the region, 8 or 16 under way a
 *   lane group; bytes of the rows. Their numbers lie in memory, as a kernel finds its lists: a
 *   permutation, so that four launches gather each row once. Those 4 bytes a row (3 % at 128
 *   bytes) are not counted.
 * - GEMM: cuBLASLt, A^T B of size 8192, f16 or bf16 in and out, summed in f32; 2 8192^3 operations.
 *   A and B are random, nearly normal in [-1, 1]: zeros would leave the multipliers idle and the
 *   clock high, at a rate that no data reach. The median of all launches after the chip was kept
 *   busy for WARM_S is the sustained rate; that of the launches in BURST_S after REST_S of rest,
 *   when the power cap does not bite yet, the rate in a burst (harness/worker/regime.h).
 * - Launch: an empty kernel between two events on an idle stream; and one of GRAPH_KERNELS in a
 *   graph, the time of the replay over their number.
 *
 * The region is 8 GiB of random bits, less where memory is short, but CACHES_MIN L2 sizes at least.
 * What is read was last touched when at least half of the region had yet to pass through the L2, so
 * it comes from memory; even a cache that keeps old lines on purpose could add no more than its own
 * size to a turn of the quarters, 0.7 % on an H200. */
/* The one include that leaves kernels/: only here may CUDA be used, and what is asked is the
 * worker's to say. */
#include "../../harness/worker/probe_library.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int THREADS = 256;
constexpr int QUARTERS = 4;
constexpr size_t CACHES_MIN = 32;
constexpr size_t REGION_BYTES = (size_t)8 << 30, REGION_BYTES_MIN = (size_t)512 << 20;
constexpr int GEMM_SIZE = 8192;
constexpr size_t GEMM_BYTES = (size_t)GEMM_SIZE * GEMM_SIZE * 2; /* of one matrix */
constexpr size_t WORKSPACE_BYTES = (size_t)64 << 20;             /* cuBLASLt's */
static_assert(3 * GEMM_BYTES + WORKSPACE_BYTES <= REGION_BYTES_MIN, "products lie in the region");
constexpr int ALGORITHMS = 8;
constexpr int GRAPH_KERNELS = 1000;
constexpr int BATCH = 64; /* launches under way at most */
constexpr double WARM_S = 0.15, REST_S = 0.5, BURST_S = 0.04;

/* Blocks per SM; 0: one for every step. */
constexpr int GRIDS[] = {16, 8, 4, 0};
constexpr int SHAPES = 2 * (sizeof GRIDS / sizeof *GRIDS); /* each with few and many loads */

/* ---- kernels ---- */

__device__ unsigned mix(unsigned x) {
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

__device__ unsigned fold(uint4 x) {
    return x.x ^ x.y ^ x.z ^ x.w;
}

/* The compiler cannot know that (nearly) nobody writes. */
__device__ void keep(unsigned sum, unsigned *sink) {
    if (sum == 0x12345678u) *sink = sum;
}

__global__ void empty() {
}

__global__ void fill_bits(uint4 *to, size_t count) {
    const size_t step = (size_t)gridDim.x * THREADS;
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += step) {
        const unsigned n = 4 * (unsigned)i;
        to[i] = make_uint4(mix(n), mix(n + 1), mix(n + 2), mix(n + 3));
    }
}

/* The sum of four uniform bytes, scaled to [-1, 1]: standard deviation 0.29. */
template <typename T> __global__ void fill_numbers(T *to, unsigned count) {
    const unsigned step = gridDim.x * THREADS;
    for (unsigned i = blockIdx.x * THREADS + threadIdx.x; i < count; i += step) {
        const unsigned bits = mix(i);
        const int sum = (bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24);
        to[i] = static_cast<T>((float)(sum - 510) / 510);
    }
}

/* A permutation of the numbers below 2^bits: each step can be undone. */
__global__ void permute(unsigned *rows, int bits) {
    const unsigned count = 1u << bits, step = gridDim.x * THREADS;
    for (unsigned i = blockIdx.x * THREADS + threadIdx.x; i < count; i += step) {
        unsigned x = i;
        for (int round = 0; round < 3; round++) {
            x = (x * 0x9e3779b1u + 0x7f4a7c15u) & (count - 1);
            x ^= x >> bits / 2;
        }
        rows[i] = x;
    }
}

/* Reads `count` words, and copies them or folds them into one that nearly never is written. A block
 * takes WIDE * THREADS consecutive words a step; they divide count, as all sizes are powers of two.
 * In these launch bounds the 1 matters: without it ptxas saves registers for more blocks and waits
 * for the first loads before it issues the last. */
template <int WIDE, bool COPY>
__global__ void __launch_bounds__(THREADS, 1)
    pass_words(uint4 *__restrict__ to, const uint4 *__restrict__ from, size_t count) {
    const size_t step = (size_t)gridDim.x * THREADS * WIDE;
    unsigned sum = 0;
    for (size_t at = (size_t)blockIdx.x * THREADS * WIDE; at < count; at += step) {
        uint4 x[WIDE];
#pragma unroll
        for (int n = 0; n < WIDE; n++) x[n] = __ldcs(from + at + n * THREADS + threadIdx.x);
#pragma unroll
        for (int n = 0; n < WIDE; n++) {
            if constexpr (COPY)
                __stcs(to + at + n * THREADS + threadIdx.x, x[n]);
            else
                sum ^= fold(x[n]);
        }
    }
    if constexpr (!COPY) keep(sum, &to->x);
}

template <int ROW_BYTES> struct row_shape {
    static constexpr int WORDS = ROW_BYTES / sizeof(uint4);
    static constexpr int LANES = WORDS < 32 ? WORDS : 32; /* that share a row: a lane group */
    static constexpr int EACH = WORDS / LANES;            /* words of a row to a lane */
    static constexpr int GROUPS = THREADS / LANES;        /* in a block */
};

template <int ROWS> __device__ void load_numbers(unsigned (&numbers)[ROWS], const unsigned *rows) {
#pragma unroll
    for (int n = 0; n < ROWS; n += 4) {
        const uint4 four = __ldcs(reinterpret_cast<const uint4 *>(rows + n));
        numbers[n] = four.x, numbers[n + 1] = four.y;
        numbers[n + 2] = four.z, numbers[n + 3] = four.w;
    }
}

/* A lane group takes ROWS rows a step, all their loads before the first use, and loads the numbers
 * of the next step's behind them. */
template <int ROW_BYTES, int ROWS>
__global__ void __launch_bounds__(THREADS, 1)
    gather_rows(const uint4 *from, const unsigned *rows, unsigned count, unsigned *sink) {
    using shape = row_shape<ROW_BYTES>;
    const unsigned group = blockIdx.x * shape::GROUPS + threadIdx.x / shape::LANES;
    const unsigned step = gridDim.x * shape::GROUPS * ROWS;
    const uint4 *mine = from + threadIdx.x % shape::LANES;
    unsigned sum = 0, numbers[ROWS];
    load_numbers(numbers, rows + group * ROWS);
    for (unsigned at = group * ROWS; at < count; at += step) {
        uint4 x[ROWS][shape::EACH];
#pragma unroll
        for (int n = 0; n < ROWS; n++)
#pragma unroll
            for (int e = 0; e < shape::EACH; e++)
                x[n][e] = __ldg(mine + (size_t)numbers[n] * shape::WORDS + e * shape::LANES);
        if (at + step < count) load_numbers(numbers, rows + at + step);
#pragma unroll
        for (int n = 0; n < ROWS; n++)
#pragma unroll
            for (int e = 0; e < shape::EACH; e++) sum ^= fold(x[n][e]);
    }
    keep(sum, sink);
}

/* ---- timing ---- */

[[noreturn]] void fail(const std::string &what, const std::string &why) {
    throw std::runtime_error(what + ": " + why);
}

void check(cudaError_t error, const char *what) {
    if (error != cudaSuccess) fail(what, cudaGetErrorString(error));
}

void check(cublasStatus_t status, const char *what) {
    if (status != CUBLAS_STATUS_SUCCESS) fail(what, cublasLtGetStatusString(status));
}

double now_s() {
    using namespace std::chrono;
    return duration<double>(steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> &values) {
    const auto middle = values.begin() + (ptrdiff_t)(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

struct effort {
    double seconds;
    int candidates = 1;
    double warm_s = 0; /* of the seconds, before anything counts */
    int rounds = 5;    /* about as many; the best of their medians counts */
    int batch = BATCH; /* launches before the host waits; 1: on an idle stream */
};

/* The region, and whatever else is freed at the end. */
struct bench {
    cudaStream_t stream;
    int processors = 0;
    uint4 *region = nullptr;
    size_t region_bytes = 0;
    unsigned *rows = nullptr; /* region_bytes / 128 numbers, then the sink */
    unsigned *sink = nullptr;
    cudaEvent_t events[BATCH + 1] = {};
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t replay = nullptr;
    unsigned turn = 0; /* counts launches: which quarter is next */

    explicit bench(cudaStream_t on) : stream(on) {
    }
    bench(const bench &) = delete;
    ~bench() {
        cudaStreamSynchronize(stream);
        if (replay) cudaGraphExecDestroy(replay);
        if (graph) cudaGraphDestroy(graph);
        for (cudaEvent_t event : events)
            if (event) cudaEventDestroy(event);
        cudaFree(rows);
        cudaFree(region);
    }

    size_t quarter_words() const {
        return region_bytes / QUARTERS / sizeof(uint4);
    }
    uint4 *quarter(unsigned number) const {
        return region + number % QUARTERS * quarter_words();
    }
    /* Blocks in candidate `shape`, of which each takes `step` of `count` at a time. */
    unsigned blocks(int shape, size_t count, size_t step) const {
        const size_t all = count / step, some = (size_t)GRIDS[shape / 2] * (size_t)processors;
        return (unsigned)(some == 0 ? all : std::min(some, all));
    }

    void make() {
        int device = 0, cache_bytes = 0;
        size_t free_bytes = 0, total_bytes = 0;
        check(cudaGetDevice(&device), "finding the device");
        check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device),
              "its SMs");
        check(cudaDeviceGetAttribute(&cache_bytes, cudaDevAttrL2CacheSize, device), "its L2");
        check(cudaMemGetInfo(&free_bytes, &total_bytes), "its memory");

        const size_t bytes_min = std::max(REGION_BYTES_MIN, CACHES_MIN * (size_t)cache_bytes);
        size_t bytes = REGION_BYTES;
        while (bytes < bytes_min) bytes *= 2;
        while (bytes + bytes / 32 > free_bytes / 8 * 7) bytes /= 2;
        if (bytes < bytes_min)
            fail("measuring needs " + std::to_string(bytes_min >> 20) +
                     " MiB of device memory and more",
                 std::to_string(free_bytes >> 20) + " MiB are free");
        check(cudaMalloc((void **)&region, bytes), "allocating what is read");
        check(cudaMalloc((void **)&rows, bytes / 32 + sizeof *sink), "allocating numbers of rows");
        region_bytes = bytes;
        sink = rows + bytes / 128;
        for (cudaEvent_t &event : events) check(cudaEventCreate(&event), "creating an event");
        fill_bits<<<processors * 8, THREADS, 0, stream>>>(region, bytes / sizeof(uint4));
        check(cudaGetLastError(), "filling memory");
    }

    /* Appends the times of `count` launches, BATCH at most. */
    template <typename Launch>
    void take(std::vector<double> &seconds, int count, int candidate, Launch &&launch) {
        check(cudaEventRecord(events[0], stream), "recording an event");
        for (int n = 0; n < count; n++) {
            launch(candidate, turn++);
            check(cudaGetLastError(), "launching");
            check(cudaEventRecord(events[n + 1], stream), "recording an event");
        }
        check(cudaStreamSynchronize(stream), "measuring");
        for (int n = 0; n < count; n++) {
            float ms = 0;
            check(cudaEventElapsedTime(&ms, events[n], events[n + 1]), "reading a time");
            seconds.push_back((double)ms * 1e-3);
        }
    }

    /* Seconds that launch(candidate, turn) takes with the best candidate. Trials end when half the
     * time is spent, so likely ones come first. */
    template <typename Launch> double best_s(const effort &plan, Launch &&launch) {
        const int few = std::min(QUARTERS, plan.batch);
        std::vector<double> times;
        for (int n = 0; n < plan.candidates; n++) take(times, 1, n, launch); /* loads their code */

        const double begin_s = now_s(), end_s = begin_s + plan.seconds;
        const double trial_s = begin_s + plan.warm_s, trial_end_s = (trial_s + end_s) / 2;
        while (now_s() < trial_s) take(times, few, 0, launch);

        double least_s = 0;
        int winner = 0;
        for (int n = 0; n < plan.candidates && (n == 0 || now_s() < trial_end_s); n++) {
            times.clear();
            take(times, few, n, launch);
            const double time_s = median(times);
            if (n > 0 && time_s >= least_s) continue;
            least_s = time_s;
            winner = n;
        }

        const double round_s = (end_s - now_s()) / plan.rounds;
        const double fit =
            std::clamp(round_s / std::max(least_s, 1e-6), (double)few, (double)BATCH);
        const int batch = std::min((int)fit, plan.batch);
        least_s = INFINITY;
        do {
            times.clear();
            const double round_end_s = now_s() + round_s;
            do take(times, batch, winner, launch);
            while (times.size() < 2 * QUARTERS || now_s() < round_end_s);
            least_s = std::min(least_s, median(times));
        } while (now_s() < end_s);
        return least_s;
    }

    /* Seconds that launch(candidate, turn) takes after rest, when it takes about `about_s`. */
    template <typename Launch> double rested_s(int candidate, double about_s, Launch &&launch) {
        std::vector<double> times;
        check(cudaStreamSynchronize(stream), "resting");
        std::this_thread::sleep_for(std::chrono::duration<double>(REST_S));
        take(times, (int)std::clamp(BURST_S / about_s, 1.0, (double)BATCH), candidate, launch);
        return median(times);
    }
};

/* ---- what is measured ---- */

template <bool COPY> double pass_rate(bench &b, double seconds) {
    const size_t count = b.quarter_words();
    const double pass_s = b.best_s({seconds, SHAPES}, [&](int shape, unsigned turn) {
        const int wide = shape % 2 ? 4 : 8;
        const auto kernel = wide == 4 ? pass_words<4, COPY> : pass_words<8, COPY>;
        kernel<<<b.blocks(shape, count, wide * THREADS), THREADS, 0, b.stream>>>(
            b.quarter(turn + 2), b.quarter(turn), count);
    });
    return (double)((COPY ? 2 : 1) * count * sizeof(uint4)) / pass_s;
}

template <int ROW_BYTES> double gather_rate(bench &b, double seconds) {
    int bits = 0;
    while ((size_t)ROW_BYTES << (bits + 1) <= b.region_bytes) bits++;
    permute<<<b.processors * 8, THREADS, 0, b.stream>>>(b.rows, bits);
    const unsigned count = (1u << bits) / QUARTERS;
    const double gather_s = b.best_s({seconds, SHAPES}, [&](int shape, unsigned turn) {
        const int rows = shape % 2 ? 16 : 8;
        const auto kernel = rows == 16 ? gather_rows<ROW_BYTES, 16> : gather_rows<ROW_BYTES, 8>;
        const unsigned blocks = b.blocks(shape, count, rows * row_shape<ROW_BYTES>::GROUPS);
        kernel<<<blocks, THREADS, 0, b.stream>>>(b.region, b.rows + turn % QUARTERS * count, count,
                                                 b.sink);
    });
    return (double)count * ROW_BYTES / gather_s;
}

double launch_us(bench &b, double seconds) {
    const auto launch = [&](int, unsigned) { empty<<<1, 32, 0, b.stream>>>(); };
    return b.best_s({.seconds = seconds, .batch = 1}, launch) * 1e6;
}

double graph_launch_us(bench &b, double seconds) {
    check(cudaStreamBeginCapture(b.stream, cudaStreamCaptureModeThreadLocal), "recording a graph");
    for (int n = 0; n < GRAPH_KERNELS; n++) empty<<<1, 32, 0, b.stream>>>();
    check(cudaStreamEndCapture(b.stream, &b.graph), "recording a graph");
    check(cudaGraphInstantiate(&b.replay, b.graph, 0), "making a graph ready");
    const auto launch = [&](int, unsigned) {
        check(cudaGraphLaunch(b.replay, b.stream), "replaying a graph");
    };
    return b.best_s({.seconds = seconds, .batch = 1}, launch) * 1e6 / GRAPH_KERNELS;
}

/* D = A^T B, the three and the workspace one after another, matrices column by column. */
struct product {
    cublasLtHandle_t handle = nullptr;
    cublasLtMatmulDesc_t operation = nullptr;
    cublasLtMatrixLayout_t layout = nullptr; /* of all three */
    cublasLtMatmulPreference_t preference = nullptr;
    cublasLtMatmulHeuristicResult_t algorithms[ALGORITHMS];
    int count = 0;

    product() = default;
    product(const product &) = delete;
    ~product() {
        if (preference) cublasLtMatmulPreferenceDestroy(preference);
        if (layout) cublasLtMatrixLayoutDestroy(layout);
        if (operation) cublasLtMatmulDescDestroy(operation);
        if (handle) cublasLtDestroy(handle);
    }

    void make(cudaDataType type) {
        const auto sure = [](cublasStatus_t status) { check(status, "choosing a product"); };
        const cublasOperation_t transpose = CUBLAS_OP_T;
        sure(cublasLtCreate(&handle));
        sure(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
        sure(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                                            sizeof transpose));
        sure(cublasLtMatrixLayoutCreate(&layout, type, GEMM_SIZE, GEMM_SIZE, GEMM_SIZE));
        sure(cublasLtMatmulPreferenceCreate(&preference));
        sure(cublasLtMatmulPreferenceSetAttribute(preference,
                                                  CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                  &WORKSPACE_BYTES, sizeof WORKSPACE_BYTES));
        sure(cublasLtMatmulAlgoGetHeuristic(handle, operation, layout, layout, layout, layout,
                                            preference, ALGORITHMS, algorithms, &count));
        int known = 0;
        for (int n = 0; n < count; n++)
            if (algorithms[n].state == CUBLAS_STATUS_SUCCESS) algorithms[known++] = algorithms[n];
        count = known;
        if (count == 0) fail("choosing a product", "cuBLASLt knows none");
    }

    void run(int algorithm, char *at, cudaStream_t stream) const {
        const float one = 1, zero = 0;
        char *b = at + GEMM_BYTES, *d = b + GEMM_BYTES;
        check(cublasLtMatmul(handle, operation, &one, at, layout, b, layout, &zero, d, layout, d,
                             layout, &algorithms[algorithm].algo, d + GEMM_BYTES, WORKSPACE_BYTES,
                             stream),
              "multiplying");
    }
};

struct rates {
    double sustained, burst;
};

template <typename T> rates product_rates(bench &b, cudaDataType type, double seconds) {
    T *operands = reinterpret_cast<T *>(b.region);
    fill_numbers<<<b.processors * 8, THREADS, 0, b.stream>>>(operands, 2 * GEMM_BYTES / sizeof(T));
    product gemm;
    gemm.make(type);
    const effort plan = {seconds, gemm.count, WARM_S, 1};
    int last = 0; /* the fastest: it is what counts in the end */
    const auto run = [&](int algorithm, unsigned) {
        gemm.run(last = algorithm, reinterpret_cast<char *>(b.region), b.stream);
    };
    const double operations = 2.0 * GEMM_SIZE * GEMM_SIZE * GEMM_SIZE;
    const double product_s = b.best_s(plan, run);
    return {operations / product_s, operations / b.rested_s(last, product_s, run)};
}

char error_text[256];

} // namespace

const char *attest_probe(void *stream, double seconds, struct probe_ceilings *ceilings) {
    try {
        *ceilings = {};
        bench b(static_cast<cudaStream_t>(stream));
        b.make();
        ceilings->read_bytes_s = pass_rate<false>(b, 0.14 * seconds);
        ceilings->gather_bytes_s[0] = gather_rate<128>(b, 0.07 * seconds);
        ceilings->gather_bytes_s[1] = gather_rate<256>(b, 0.07 * seconds);
        ceilings->gather_bytes_s[2] = gather_rate<512>(b, 0.07 * seconds);
        ceilings->gather_bytes_s[3] = gather_rate<1024>(b, 0.07 * seconds);
        ceilings->copy_bytes_s = pass_rate<true>(b, 0.12 * seconds);
        ceilings->launch_us = launch_us(b, 0.03 * seconds);
        ceilings->graph_launch_us = graph_launch_us(b, 0.03 * seconds);
        const rates f16 = product_rates<__half>(b, CUDA_R_16F, 0.2 * seconds);
        const rates bf16 = product_rates<__nv_bfloat16>(b, CUDA_R_16BF, 0.2 * seconds);
        ceilings->f16_flops = f16.sustained;
        ceilings->f16_burst_flops = f16.burst;
        ceilings->bf16_flops = bf16.sustained;
        ceilings->bf16_burst_flops = bf16.burst;
        return nullptr;
    } catch (const std::exception &error) {
        snprintf(error_text, sizeof error_text, "%s", error.what());
        return error_text;
    }
}
