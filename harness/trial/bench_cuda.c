/* How fast is a CUDA kernel, by a program that shares nothing with attest's worker but attn.h and
 * the fixtures? What attest's times are checked against, and what kernels are tuned with.
 *
 *     bench_cuda [cold] [x3] KERNEL.so... LINE...
 *
 * Each kernel runs the lines of its variant, three times in turn with x3, of which the median.
 * Graphs of as many launches as last 2 ms are started one behind the other, half a second in all,
 * with an event between each and the next, after half a second of rest; nobody waits in between.
 * burst: the median of the first 40 ms; sustained: of what comes after 150 ms. With `cold`,
 * launches take turns with as many copies of all tensors, outputs and scratch too, as it takes to
 * read four times the L2 between two uses of one. */
#define _GNU_SOURCE
#include "../../fixtures/fixture.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COPIES_MAX = 8192, PIECES_MAX = 4096 };
static const double piece_ms = 2, burst_ms = 40, settled_ms = 150, all_ms = 500;

static void check(cudaError_t error, const char *what) {
    if (error == cudaSuccess) return;
    fprintf(stderr, "bench_cuda: %s: %s\n", what, cudaGetErrorString(error));
    exit(4);
}

static void check_text(const char *text, const char *what) {
    if (text == NULL) return;
    fprintf(stderr, "bench_cuda: %s: %s\n", what, text);
    exit(1);
}

static void *allocate(size_t bytes) {
    void *memory = NULL;
    check(cudaMalloc(&memory, bytes > 0 ? bytes : 1), "memory");
    return memory;
}

/* A call with memory of its own. */
static void call_make(struct attn_call *call, const struct attn_kernel *kernel,
                      const struct fixture *fixture, cudaStream_t stream) {
    const struct attn_problem *problem = &fixture->problem.attn;
    struct fault fault;
    *call = (struct attn_call){.abi = ATTN_ABI, .threads = 1, .stream = stream};
    for (int slot = 0; slot < ATTN_SLOT_COUNT; slot++) {
        struct attn_tensor *tensor = &call->tensors[slot];
        const bool output = slot == ATTN_OUT || slot == ATTN_LSE;
        *tensor = fixture->tensors[slot];
        if (output && !tensor_shape(tensor, problem, (enum attn_slot)slot, &fault)) exit(2);
        if (!output && tensor->data == NULL) continue;
        const size_t bytes = (size_t)tensor_bytes(tensor);
        tensor->data = allocate(bytes);
        if (!output)
            check(cudaMemcpy(tensor->data, tensor->host, bytes, cudaMemcpyHostToDevice), "copy");
    }
    call->scratch_bytes = kernel->scratch_bytes != NULL ? kernel->scratch_bytes(problem) : 0;
    call->scratch = allocate(call->scratch_bytes);
    if (kernel->prepare != NULL) check_text(kernel->prepare(problem, call), "prepare");
}

static void call_free(struct attn_call *call, const struct attn_kernel *kernel,
                      const struct attn_problem *problem) {
    if (kernel->finish != NULL) kernel->finish(problem, call);
    for (int slot = 0; slot < ATTN_SLOT_COUNT; slot++) cudaFree(call->tensors[slot].data);
    cudaFree(call->scratch);
}

static size_t call_bytes(const struct attn_call *call) {
    size_t bytes = 0;
    for (int slot = 0; slot < ATTN_SLOT_COUNT; slot++) {
        if (call->tensors[slot].data != NULL) bytes += (size_t)tensor_bytes(&call->tensors[slot]);
    }
    return bytes;
}

/* What a launch reads at least: of keys and values on lists as much as is kept. */
static double read_bytes(const struct fixture *fixture, const struct attn_call *call) {
    double bytes = 0, kept = 1;
    const struct attn_problem *p = &fixture->problem.attn;
    if (p->traits & ATTN_KEEP) {
        const int32_t *counts = call->tensors[ATTN_SPARSE_NNZ].host;
        kept = 0;
        for (int64_t n = 0; n < p->batch * p->q_heads; n++) kept += counts[n];
        kept /= (double)(p->batch * p->kv_heads * p->kv_len);
    }
    for (int slot = 0; slot < ATTN_SLOT_COUNT; slot++) {
        if (call->tensors[slot].data == NULL || slot == ATTN_SPARSE_MASK) continue;
        const bool keys = slot == ATTN_K || slot == ATTN_V || slot == ATTN_KV_CACHE;
        const double all = (double)tensor_bytes(&call->tensors[slot]);
        bytes += keys && kept < 1 ? kept * all : all;
    }
    return bytes;
}

static int ascending(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double median(float *values, int n) {
    qsort(values, (size_t)n, sizeof *values, ascending);
    return n > 0 ? values[n / 2] : 0;
}

/* Of a launch, in microseconds. */
struct times {
    double burst, sustained;
    int copies, launches; /* of a graph */
};

static cudaGraphExec_t record(const struct attn_kernel *kernel, const struct attn_problem *problem,
                              const struct attn_call *calls, int copies, int launches,
                              cudaStream_t stream) {
    cudaGraph_t graph;
    cudaGraphExec_t ready;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
    for (int n = 0; n < launches; n++)
        check_text(kernel->launch(problem, &calls[n % copies]), "launch");
    check(cudaStreamEndCapture(stream, &graph), "capture");
    check(cudaGraphInstantiate(&ready, graph, 0), "graph");
    check(cudaGraphUpload(ready, stream), "graph");
    cudaGraphDestroy(graph);
    return ready;
}

/* The time of a graph, in milliseconds, and how each of a series of them fared in pieces[]. */
static int replay(cudaGraphExec_t graph, int count, float *pieces, cudaStream_t stream) {
    static cudaEvent_t events[PIECES_MAX + 1];
    if (count > PIECES_MAX) count = PIECES_MAX;
    for (int n = 0; n <= count; n++) {
        if (events[n] == NULL) check(cudaEventCreate(&events[n]), "event");
    }
    check(cudaEventRecord(events[0], stream), "event");
    for (int n = 0; n < count; n++) {
        check(cudaGraphLaunch(graph, stream), "graph");
        check(cudaEventRecord(events[n + 1], stream), "event");
    }
    check(cudaStreamSynchronize(stream), "the kernel");
    for (int n = 0; n < count; n++)
        check(cudaEventElapsedTime(&pieces[n], events[n], events[n + 1]), "event");
    return count;
}

static struct times measure(const struct attn_kernel *kernel, const struct fixture *fixture,
                            bool cold, cudaStream_t stream) {
    static struct attn_call calls[COPIES_MAX];
    static float pieces[PIECES_MAX];
    const struct attn_problem *problem = &fixture->problem.attn;
    struct times times = {.copies = 1};
    int l2 = 0;
    size_t room = 0, all;
    call_make(&calls[0], kernel, fixture, stream);
    if (cold) {
        check(cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, 0), "device");
        check(cudaMemGetInfo(&room, &all), "device");
        times.copies = 2 + (int)(4. * l2 / read_bytes(fixture, &calls[0]));
        const double most =
            .8 * (double)room / (double)(call_bytes(&calls[0]) + calls[0].scratch_bytes);
        if (times.copies > COPIES_MAX || times.copies > most) {
            fprintf(stderr, "bench_cuda: cold takes %d copies, too many\n", times.copies);
            exit(2);
        }
        for (int n = 1; n < times.copies; n++) call_make(&calls[n], kernel, fixture, stream);
    }
    cudaGraphExec_t one = record(kernel, problem, calls, times.copies, times.copies, stream);
    replay(one, 3, pieces, stream);
    const double once_ms = median(pieces, 3) / times.copies;
    cudaGraphExecDestroy(one);
    const int rounds = 1 + (int)(piece_ms / once_ms / times.copies);
    times.launches = rounds * times.copies;
    cudaGraphExec_t graph = record(kernel, problem, calls, times.copies, times.launches, stream);
    const int count = 2 + (int)(all_ms / (once_ms * times.launches));
    replay(graph, 2, pieces, stream);
    usleep(500000);
    const int n = replay(graph, count, pieces, stream);
    double at = 0;
    int first = 1, settled = n - 1; /* the first piece begins before the GPU is awake */
    for (int i = 0; i < n; i++) {
        at += pieces[i];
        if (at <= burst_ms) first = i + 1;
        if (at <= settled_ms) settled = i + 1 < n ? i + 1 : n - 1;
    }
    static float early[PIECES_MAX]; /* a median leaves its values in another order */
    memcpy(early, pieces, sizeof early);
    times.sustained = median(pieces + settled, n - settled) * 1e3 / times.launches;
    times.burst = median(early + (first > 1), first > 1 ? first - 1 : 1) * 1e3 / times.launches;
    cudaGraphExecDestroy(graph);
    for (int i = 0; i < times.copies; i++) call_free(&calls[i], kernel, problem);
    return times;
}

static const struct attn_kernel *load(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct attn_kernel *kernel = library != NULL ? dlsym(library, "attn_export") : NULL;
    if (kernel == NULL) {
        fprintf(stderr, "bench_cuda: %s\n", dlerror());
        exit(2);
    }
    return kernel;
}

enum { KERNELS_MAX = 32, ROUNDS_MAX = 16 };

/* Rounds of all kernels: a GPU that gets warm is slower, and so the same kernel measured later. */
static void measure_all(const struct fixture *fixture, const char *line, char **paths, int count,
                        bool cold, int rounds, cudaStream_t stream) {
    static float burst[KERNELS_MAX][ROUNDS_MAX], sustained[KERNELS_MAX][ROUNDS_MAX];
    struct times times[KERNELS_MAX] = {0};
    const struct attn_problem *p = &fixture->problem.attn;
    for (int round = 0; round < rounds; round++) {
        for (int k = 0; k < count; k++) {
            const struct attn_kernel *kernel = load(paths[k]);
            if (kernel->variant != p->variant ||
                (kernel->refuse != NULL && kernel->refuse(p) != NULL))
                continue;
            times[k] = measure(kernel, fixture, cold, stream);
            burst[k][round] = (float)times[k].burst;
            sustained[k][round] = (float)times[k].sustained;
        }
    }
    for (int k = 0; k < count; k++) {
        const char *name = strrchr(paths[k], '/');
        if (times[k].launches == 0) continue;
        printf("%9.2f %9.2f  %-28s %s  (%d copies, %d launches a graph)\n",
               median(burst[k], rounds), median(sustained[k], rounds),
               name != NULL ? name + 1 : paths[k], line, times[k].copies, times[k].launches);
    }
    fflush(stdout);
}

int main(int argc, char **argv) {
    cudaStream_t stream;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
    char *paths[KERNELS_MAX];
    int count = 0, rounds = 1;
    bool cold = false;
    for (int n = 1; n < argc; n++) {
        if (strstr(argv[n], ".so") != NULL && count < KERNELS_MAX) paths[count++] = argv[n];
        if (!strcmp(argv[n], "cold")) cold = true;
        if (argv[n][0] == 'x') rounds = atoi(argv[n] + 1);
    }
    if (rounds < 1 || rounds > ROUNDS_MAX) rounds = 1;
    printf("%9s %9s  us, %s\n", "burst", "sustained", cold ? "cold" : "warm");
    for (int n = 1; n < argc; n++) {
        struct fixture fixture = {0};
        struct problem problem;
        struct fault fault;
        if (strstr(argv[n], ".so") != NULL || !strcmp(argv[n], "cold") || argv[n][0] == 'x')
            continue;
        if (!problem_parse(&problem, argv[n], &fault) ||
            !fixture_generate(&fixture, &problem, 0, &fault)) {
            fprintf(stderr, "bench_cuda: %s\n", fault.text);
            return 2;
        }
        measure_all(&fixture, argv[n], paths, count, cold, rounds, stream);
        fixture_free(&fixture);
    }
    return 0;
}
