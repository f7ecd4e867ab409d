/* Ceilings. Multiply-adds stay in registers, in more independent chains than two units of latency
 * five can have under way; reads and copies go through a buffer of 512 MiB or eight times the
 * last-level caches, each thread in a part that it touched first. The best of several passes
 * counts: other users of a machine can only make it look slower than it is. */
#include "probe.h"
#include "../worker/haste.h"
#include "../worker/host.h"
#include "../../oracle/clock.h"
#include "../../oracle/oracle.h"

#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { GEMM_SIZE = 1024, CHAINS = 12, FMA_STEPS = 1 << 16, FMA_ROUNDS = 8, THREADS_MAX = 1024 };

/* The same body for each vector width; this file is compiled with contraction on, so that it
 * becomes multiply-adds where the target has them. Returns the operations done. */
#define FMA_LOOP(name, attribute, lanes)                                                           \
    attribute static double name(void) {                                                           \
        typedef float vector __attribute__((vector_size((lanes) * sizeof(float))));                \
        vector chain[CHAINS], by = {0}, add = {0}, sum = {0};                                      \
        by += 0.999f;                                                                              \
        add += 0.001f;                                                                             \
        for (int c = 0; c < CHAINS; c++) chain[c] = by + (float)c;                                 \
        for (int step = 0; step < FMA_STEPS; step++)                                               \
            for (int c = 0; c < CHAINS; c++) chain[c] = chain[c] * by + add;                       \
        for (int c = 0; c < CHAINS; c++) sum += chain[c];                                          \
        __asm__ volatile("" : : "r"(&sum) : "memory"); /* all lanes of it are wanted */            \
        return 2.0 * (lanes)*CHAINS * FMA_STEPS;                                                   \
    }

FMA_LOOP(fma_portable, , 4)
#if defined(__x86_64__)
FMA_LOOP(fma_avx2, __attribute__((target("avx2,fma"))), 8)
FMA_LOOP(fma_avx512, __attribute__((target("avx512f"))), 16)
#endif

static double fma_best(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return fma_avx512();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return fma_avx2();
#endif
    return fma_portable();
}

struct team;

struct member {
    struct team *team;
    pthread_t thread;
    uint64_t *at; /* its part of the buffer */
    size_t words;
    double work; /* done in one pass: operations or bytes */
    double begin_s, end_s;
};

/* All threads do a pass, between two barriers, as long as there is time. */
struct team {
    pthread_barrier_t barrier;
    double (*pass)(struct member *member);
    struct member *members;
    int count;
    bool end;
};

static double pass_fma(struct member *member) {
    (void)member;
    double operations = 0;
    for (int n = 0; n < FMA_ROUNDS; n++) operations += fma_best();
    return operations;
}

static double pass_touch(struct member *member) {
    memset(member->at, 1, member->words * sizeof *member->at);
    return 1;
}

static double pass_read(struct member *member) {
    uint64_t sum[8] = {0};
    for (size_t n = 0; n + 8 <= member->words; n += 8) {
        for (int lane = 0; lane < 8; lane++) sum[lane] += member->at[n + (size_t)lane];
    }
    for (int lane = 1; lane < 8; lane++) sum[0] += sum[lane];
    volatile uint64_t sink = sum[0];
    (void)sink;
    return (double)(member->words * sizeof *member->at);
}

static double pass_copy(struct member *member) {
    const size_t half = member->words / 2;
    memcpy(member->at, member->at + half, half * sizeof *member->at);
    return 2.0 * (double)(half * sizeof *member->at);
}

static void *member_run(void *argument) {
    struct member *member = argument;
    for (;;) {
        pthread_barrier_wait(&member->team->barrier);
        if (member->team->end) return NULL;
        member->begin_s = clock_s();
        member->work = member->team->pass(member);
        member->end_s = clock_s();
        pthread_barrier_wait(&member->team->barrier);
    }
}

/* The best rate of `pass` over some passes, in work a second. Members keep their own time: this
 * thread may wake long after they began, when they occupy all cores. */
static double team_rate(struct team *team, double (*pass)(struct member *member), double seconds) {
    double best = 0;
    team->pass = pass;
    const double start = clock_s();
    for (int passes = 0; passes < 3 || clock_s() - start < seconds; passes++) {
        double work = 0, begin = INFINITY, end = 0;
        pthread_barrier_wait(&team->barrier);
        pthread_barrier_wait(&team->barrier);
        for (int t = 0; t < team->count; t++) {
            work += team->members[t].work;
            begin = fmin(begin, team->members[t].begin_s);
            end = fmax(end, team->members[t].end_s);
        }
        best = fmax(best, work / (end - begin));
    }
    return best;
}

static int team_start(struct team *team, int threads, uint64_t *buffer, size_t words) {
    *team = (struct team){.members = calloc((size_t)threads, sizeof *team->members)};
    if (team->members == NULL) return 0;
    pthread_barrier_init(&team->barrier, NULL, (unsigned)threads + 1);
    for (; team->count < threads; team->count++) {
        struct member *member = &team->members[team->count];
        *member = (struct member){.team = team, .words = words / (size_t)threads};
        member->at = buffer + member->words * (size_t)team->count;
        if (pthread_create(&member->thread, NULL, member_run, member) != 0) break;
    }
    return team->count;
}

static void team_stop(struct team *team, int threads) {
    team->end = true;
    if (team->count == threads) pthread_barrier_wait(&team->barrier);
    for (int t = 0; t < team->count; t++) {
        if (team->count < threads) pthread_cancel(team->members[t].thread);
        pthread_join(team->members[t].thread, NULL);
    }
    pthread_barrier_destroy(&team->barrier);
    free(team->members);
}

void probe_measure(struct machine *machine, int threads, double seconds) {
    if (threads <= 0) threads = host_cores();
    if (threads > THREADS_MAX) threads = THREADS_MAX;
    machine->dgemm_flops = oracle_dgemm_rate(GEMM_SIZE, threads);
    machine->sgemm_flops = oracle_sgemm_rate(GEMM_SIZE, threads);

    int64_t bytes = 8 * host_cache_bytes();
    if (bytes < (int64_t)512 << 20) bytes = (int64_t)512 << 20;
    bytes /= haste();
    if (bytes > host_memory_free() / 4) bytes = host_memory_free() / 4;
    uint64_t *buffer = malloc((size_t)bytes);
    if (buffer == NULL) return;
    struct team team;
    if (team_start(&team, threads, buffer, (size_t)bytes / sizeof *buffer) == threads) {
        machine->fma_flops = team_rate(&team, pass_fma, 0.15 * seconds);
        team_rate(&team, pass_touch, 0);
        machine->read_bytes_s = team_rate(&team, pass_read, 0.25 * seconds);
        machine->copy_bytes_s = team_rate(&team, pass_copy, 0.2 * seconds);
    }
    team_stop(&team, threads);
    free(buffer);
}
