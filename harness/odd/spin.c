/* A kernel of kernels/cpu that takes SPIN_PERCENT longer: what comparisons are tried on
 * (harness/report/rates). After each launch it adds numbers as often as takes that share of a
 * launch, which prepare finds out, by the processor time of both in turn: other users of a machine
 * are in neither. SPIN_NAME makes libraries that do the same and are not the same file. */
#define _GNU_SOURCE
#define attn_export attn_base
#include SPIN_KERNEL /* NOLINT(bugprone-suspicious-include) */
#undef attn_export

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { STEPS = 20000, ROUNDS_MIN = 7, ROUNDS_MAX = 201 };
static const double rounds_us = 25e3;

/* Data, so that the code of all shares is the same, and lies where it does: 32 bytes further a
 * decode is 3 % faster or slower while another thread has the other half of its core. */
static volatile const double share = SPIN_PERCENT / 100.0;

static int64_t steps; /* after each launch */

static double used_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec * 1e-3;
}

static void spin(int64_t count) {
    uint64_t x = 1;
    for (int64_t n = 0; n < count; n++) {
        x += (uint64_t)n ^ x << 7; /* each step waits for the one before */
        __asm__ volatile("" : "+r"(x));
    }
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int n) {
    qsort(values, (size_t)n, sizeof *values, ascending);
    return values[n / 2];
}

/* As many steps as take the share of a launch: the median of each, of some in turn. (Of the fastest
 * launch a share of 2 % was 1.9 % of those that are timed.) */
static const char *calibrate(const struct attn_problem *problem, const struct attn_call *call) {
    static double launch_us[ROUNDS_MAX], spin_us[ROUNDS_MAX];
    double total_us = 0;
    int n = 0;
    for (; n < ROUNDS_MAX && (n < ROUNDS_MIN || total_us < rounds_us); n++) {
        const double start = used_us();
        const char *reason = attn_base.launch(problem, call);
        if (reason != NULL) return reason;
        const double between = used_us();
        spin(STEPS);
        const double end = used_us();
        launch_us[n] = between - start;
        spin_us[n] = end - between;
        total_us += end - start;
    }
    steps = (int64_t)(share * median(launch_us, n) / median(spin_us, n) * STEPS + 0.5);
    return NULL;
}

static const char *spin_prepare(const struct attn_problem *problem, struct attn_call *call) {
    static struct attn_problem known;
    const char *reason = attn_base.prepare != NULL ? attn_base.prepare(problem, call) : NULL;
    if (reason != NULL || share == 0 || memcmp(&known, problem, sizeof known) == 0) return reason;
    known = *problem;
    return calibrate(problem, call);
}

static const char *spin_launch(const struct attn_problem *problem, const struct attn_call *call) {
    const char *reason = attn_base.launch(problem, call);
    spin(steps);
    return reason;
}

ATTN_VISIBLE struct attn_kernel attn_export;

__attribute__((constructor)) static void wrap(void) {
    attn_export = attn_base;
    attn_export.change = "takes longer by a share, " SPIN_NAME ": see harness/odd/spin.c";
    attn_export.prepare = spin_prepare;
    attn_export.launch = spin_launch;
}
