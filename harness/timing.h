/* Numbers about a set of timings, and when to stop taking more. */
#ifndef ATTEST_TIMING_H
#define ATTEST_TIMING_H

#include <stdint.h>

struct timing {
    int64_t n; /* samples; 0: not timed */
    double min_us, q1_us, median_us, q3_us, max_us;
    double ci_low_us, ci_high_us; /* 95 % of the median, distribution-free (order statistics) */
    char stop[12];                /* "ci", "plateau" or "cap": why sampling ended */
};

struct timing_plan {
    int64_t samples_min, samples_max;
    double total_ms_max; /* the cap, for one of cold and warm */
    double ci_target;    /* half width / median, 0.005 */
};

/* Sorts `samples_us` in place. */
void timing_summarise(struct timing *timing, double *samples_us, int64_t n);
/* True when the n samples so far suffice; says why in stop[12]. Called by the worker after each. */
int timing_enough(const double *samples_us, int64_t n, double total_ms,
                  const struct timing_plan *plan, char stop[12]);

#endif
