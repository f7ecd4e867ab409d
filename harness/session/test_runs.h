/* For tests of `attest run`: runs of ten rows, on the CPU and on GPUs that are stand-ins. */
#ifndef ATTEST_TEST_RUNS_H
#define ATTEST_TEST_RUNS_H

#include "../record/record.h"
#include "../test_program.h"
#include "../../fixtures/test_folder.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINES                                                                                      \
    "f16-b2-hq4-hkv2-kv100-d64-normal-seed1", "f32-b1-hq2-kv33-d32-normal-seed1",                  \
        "bf16-b2-hq4-hkv4-kv64-d64-uniform-seed2",                                                 \
        "f16-b2-hq4-hkv2-kv100-d64-page16-lens100,37-normal-seed1",                                \
        "f32-b1-hq2-q32-kv32-d32-causal-normal-seed1"
enum { LINE_COUNT = 5, ROWS = 10 /* each has a naive and a flash kernel */ };

/* Starts `attest run --no-probe --no-time naive and flash kernels, LINES, ...`. */
static inline pid_t start(const char *const *more, int out) {
    const char *arguments[40] = {
        "attest", "run", "--no-probe", "--no-time", "cpu/*_naive_r1", "cpu/*_flash_r1", LINES};
    int count = 6 + LINE_COUNT;
    for (; *more != NULL; more++) arguments[count++] = *more;
    return test_start(arguments, out);
}

static inline struct run read_run(const char *folder) {
    struct run run;
    struct fault fault = {0};
    cr_assert(run_read(&run, folder, &fault), "%s", fault.text);
    return run;
}

static inline void pause_ms(long ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* Waits until the run in `folder` has so many rows. */
static inline void await_rows(const char *folder, int64_t rows) {
    for (int tries = 0; tries < 4000; tries++, pause_ms(5)) {
        struct run run;
        struct fault fault = {0};
        if (!run_read(&run, folder, &fault)) continue;
        const bool enough = run.count >= rows;
        run_free(&run);
        if (enough) return;
    }
    cr_assert(false, "'%s' does not fill", folder);
}

static inline bool same_row(const struct row *a, const struct row *b) {
    return !strcmp(a->kernel, b->kernel) && !strcmp(a->line, b->line);
}

static inline void assert_complete(const char *folder) {
    struct run run = read_run(folder);
    cr_assert(run.count == ROWS && run.torn == 0, "%lld rows, %lld torn", (long long)run.count,
              (long long)run.torn);
    for (int64_t n = 0; n < run.count; n++) {
        cr_assert(!strcmp(run.rows[n].status, "PASS"), "%s: %s", run.rows[n].kernel,
                  run.rows[n].reason);
        for (int64_t m = 0; m < n; m++) cr_assert(!same_row(&run.rows[n], &run.rows[m]));
    }
    run_free(&run);
}

static inline int status_of_run(const char *const *arguments) {
    return test_finish(test_start(arguments, -1));
}

/* Two GPUs that are stand-ins (odd/standin_cuda.c), a kernel for them, and problems for it. */
struct gpus {
    char kernel[4400], folder[64], suite[128];
};
enum { GPU_ROWS = 40 };

static inline struct gpus gpus_make(void) {
    struct gpus gpus = {.kernel = ""};
    char driver[4400];
    snprintf(driver, sizeof driver, "%s/../standin/libcuda.so.1", verb_kernels());
    setenv("ATTEST_LIBCUDA", driver, 1);
    snprintf(gpus.kernel, sizeof gpus.kernel, "%s/../standin/cuda/decode_honest_r1.so",
             verb_kernels());
    test_folder_make(gpus.folder);
    snprintf(gpus.suite, sizeof gpus.suite, "%s/many.txt", gpus.folder);
    FILE *suite = fopen(gpus.suite, "w");
    cr_assert(suite != NULL);
    for (int seed = 1; seed <= GPU_ROWS; seed++)
        fprintf(suite, "f16-b1-hq1-kv64-d16-normal-seed%d\n", seed);
    fclose(suite);
    return gpus;
}

/* Starts `attest run --no-probe --no-time KERNEL -s SUITE HOW FOLDER MORE...`. */
static inline pid_t gpus_start(const struct gpus *gpus, const char *how, const char *const *more) {
    const char *arguments[20] = {"attest", "run",       "--no-probe", "--no-time", gpus->kernel,
                                 "-s",     gpus->suite, how,          gpus->folder};
    for (int count = 9; *more != NULL; more++) arguments[count++] = *more;
    return test_start(arguments, -1);
}

static inline void assert_each_once(const struct run *run, int64_t least) {
    cr_assert(run->count >= least && run->count <= GPU_ROWS && run->torn == 0, "%lld rows",
              (long long)run->count);
    for (int64_t n = 0; n < run->count; n++) {
        cr_assert(!strcmp(run->rows[n].status, "PASS"), "%s", run->rows[n].reason);
        for (int64_t m = 0; m < n; m++) cr_assert(!same_row(&run->rows[n], &run->rows[m]));
    }
}

#endif
