/* Seconds that went by: a clock that never jumps, for differences only. */
#ifndef ATTEST_CLOCK_H
#define ATTEST_CLOCK_H

#include <time.h>

static inline double clock_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

#endif
