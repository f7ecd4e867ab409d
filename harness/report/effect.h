/* What two timings of one problem, taken in other seconds and often in other processes, say of each
 * other: their ratio and how far off it may be. */
#ifndef ATTEST_EFFECT_H
#define ATTEST_EFFECT_H

#include "../worker/timing.h"

struct effect {
    double ratio, low, high; /* median after / median before, and its interval */
    double p;                /* of no difference */
};

/* Of the intervals. */
extern const double effect_confidence;

/* `machine`: by how much, as a logarithm, one and the same thing may take longer in one of the
 * runs; the interval is wider by that on both sides. Of two timings that have samples. */
struct effect effect_of(const struct timing *before, const struct timing *after, double machine);

/* So many samples a verdict needs: 30, or 8 where a launch takes more than 10 ms. */
int64_t effect_samples_needed(const struct timing *timing);

#endif
