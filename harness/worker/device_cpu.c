/* The CPU as a device: memory is memory, a launch is a call, and caches are emptied by streaming
 * through a buffer twice the size of the last level (a share of it in haste). */
#define _GNU_SOURCE
#include "device.h"
#include "fence.h"
#include "haste.h"
#include "host.h"
#include "../../oracle/clock.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const char *cpu_open(struct attn_call *call) {
    call->stream = NULL;
    return NULL;
}

static void *cpu_allocate(size_t bytes) {
    void *memory = NULL;
    return posix_memalign(&memory, 4096, bytes) == 0 ? memory : NULL;
}

static void *cpu_place(void *host, size_t bytes) {
    (void)bytes;
    return host;
}

static void cpu_unplace(void *placed) {
    (void)placed;
}

static void cpu_upload(void *placed, const void *host, size_t bytes) {
    if (placed != host) memcpy(placed, host, bytes);
}

static void cpu_fill(void *memory, int byte, size_t bytes) {
    memset(memory, byte, bytes);
}

static const char *cpu_launch(const struct attn_kernel *kernel, const struct attn_problem *problem,
                              const struct attn_call *call, double *us,
                              struct device_state *state) {
    (void)state;
    fence_faults(false);
    const double start = clock_s();
    const char *reason = kernel->launch(problem, call);
    *us = (clock_s() - start) * 1e6;
    fence_faults(true);
    return reason;
}

/* Each thread writes to its own part: reading alone would leave the lines that another core's
 * private cache holds. */
struct sweep {
    pthread_t thread;
    uint64_t *at;
    size_t words;
};

static void *sweep_run(void *argument) {
    const struct sweep *sweep = argument;
    for (size_t n = 0; n < sweep->words; n += 8) sweep->at[n]++;
    return NULL;
}

static bool cpu_evict(int threads) {
    enum { SWEEPS_MAX = 256, LARGE_PAGE = 2 << 20 };
    static uint64_t *buffer;
    static size_t words;
    if (buffer == NULL) {
        const size_t bytes = 2 * (size_t)(host_cache_bytes() / haste());
        if (posix_memalign((void **)&buffer, LARGE_PAGE, bytes) != 0) return false;
        madvise(buffer, bytes, MADV_HUGEPAGE); /* a sweep takes half the time */
        memset(buffer, 0, bytes);
        words = bytes / sizeof *buffer;
    }
    struct sweep sweeps[SWEEPS_MAX];
    const int count = threads < SWEEPS_MAX ? threads : SWEEPS_MAX;
    bool started[SWEEPS_MAX];
    for (int t = 0; t < count; t++) {
        const size_t share = words / (size_t)count;
        sweeps[t] = (struct sweep){.at = buffer + (size_t)t * share, .words = share};
        started[t] = t > 0 && !pthread_create(&sweeps[t].thread, NULL, sweep_run, &sweeps[t]);
    }
    for (int t = 0; t < count; t++) {
        if (!started[t]) sweep_run(&sweeps[t]);
    }
    for (int t = 0; t < count; t++) {
        if (started[t]) pthread_join(sweeps[t].thread, NULL);
    }
    return true;
}

const struct device device_cpu = {
    .kind = ATTN_CPU,
    .open = cpu_open,
    .allocate = cpu_allocate,
    .release = free,
    .place = cpu_place,
    .unplace = cpu_unplace,
    .upload = cpu_upload,
    .download = cpu_upload,
    .fill = cpu_fill,
    .launch = cpu_launch,
    .evict = cpu_evict,
};

static const struct device *const devices[] = {&device_cpu, &device_cuda, &device_ascend,
                                               &device_twin};

const struct device *device_find(enum attn_device kind) {
    for (size_t n = 0; n < sizeof devices / sizeof devices[0]; n++) {
        if (devices[n]->kind == kind) return devices[n];
    }
    return NULL;
}
