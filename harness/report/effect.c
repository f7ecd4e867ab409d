/* Logarithms of times are what adds up: a machine that is busy is slower by a share. */
#include "effect.h"

#include <math.h>

const double effect_confidence = 0.99;
/* Of a normal distribution, two-sided: beyond these lie 1 % and 5 %. */
static const double z_99 = 2.5758, z_95 = 1.96;
static const double slow_us = 10e3;
enum { SAMPLES = 30, SAMPLES_SLOW = 8 };

int64_t effect_samples_needed(const struct timing *timing) {
    return timing->median_us > slow_us ? SAMPLES_SLOW : SAMPLES;
}

/* The standard error of the logarithm of the median: timing's interval covers 95 %. */
static double error_of(const struct timing *timing) {
    return log(timing->ci_high_us / timing->ci_low_us) / (2 * z_95);
}

struct effect effect_of(const struct timing *before, const struct timing *after, double machine) {
    const double difference = log(after->median_us / before->median_us);
    const double error = hypot(error_of(before), error_of(after));
    const double half = z_99 * error + machine;
    const double beyond = fmax(0, fabs(difference) - machine);
    return (struct effect){.ratio = exp(difference),
                           .low = exp(difference - half),
                           .high = exp(difference + half),
                           .p = beyond > 0 ? erfc(beyond / error / sqrt(2)) : 1};
}
