/* Logarithms of times are what adds up: a machine that is busy is slower by a share. */
#include "effect.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const double effect_confidence = 0.99;
static const double t_99 = 3.7074; /* two-sided, 6 degrees of freedom */
static const double z_95 = 1.96;
static const double slow_us = 10e3;
static const double sensitivity = 2.5; /* of kernels, where the control's is 1 */
static const double alike_within = 0.03;
static const double spread_of_mad = 1.4826;
/* Of a CPU, by the host's clock; effect.h says where from. */
static const double spread_of_three = 0.0135, spread_of_one = 0.025, share_of_gap = 0.4;
enum { SAMPLES = 30, SAMPLES_SLOW = 8, ROWS_MIN = 5, PROCESSES = 3 };

void effect_doubt(const struct timing *timing, char why[96]) {
    const long long n = timing->n, needed = timing->median_us > slow_us ? SAMPLES_SLOW : SAMPLES;
    why[0] = '\0';
    if (n < needed)
        snprintf(why, 96, "too few samples: %lld of %lld", n, needed);
    else if (2 * timing->interrupted > n + timing->set_aside)
        snprintf(why, 96, "the machine is busy: %lld of %lld samples were interrupted",
                 (long long)timing->interrupted, n + (long long)timing->set_aside);
}

/* The standard error of the logarithm of a timing, whose interval covers 95 %. */
static double error_of(const struct timing *timing) {
    return hypot(log(timing->ci_high_us / timing->ci_low_us) / (2 * z_95),
                 share_of_gap * timing_gap(timing));
}

static bool by_host(const struct effect *effect) {
    return strcmp(effect->before->how, "clock") == 0;
}

/* What a process finds on a CPU, and the next does not, is not seen in the rows that it left alone,
 * which are most. */
static double spread_of_processes(const struct effect *effect) {
    const bool several =
        effect->before->processes >= PROCESSES && effect->after->processes >= PROCESSES;
    return !by_host(effect) ? 0 : several ? spread_of_three : spread_of_one;
}

/* That |t| is larger by chance. */
static double tail(double t) {
    const double u = 6 / (6 + t * t);
    return fmax(0, 1 - sqrt(1 - u) * (1 + u / 2 + 3 * u * u / 8));
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* NaN of nothing. Sorts. */
static double median(double *values, int64_t n) {
    if (n == 0) return NAN;
    qsort(values, (size_t)n, sizeof *values, ascending);
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

/* 1.48 times the median distance from the median. Overwrites. */
static double spread(double *values, int64_t n, double middle) {
    for (int64_t i = 0; i < n; i++) values[i] = fabs(values[i] - middle);
    return spread_of_mad * median(values, n);
}

static bool has_control(const struct effect *effect) {
    for (int third = 0; third < 3; third++) {
        if (!(effect->before->control_us[third] > 0 && effect->after->control_us[third] > 0))
            return false;
    }
    return true;
}

static double control_ratio(const struct effect *effect, int third) {
    return log(effect->after->control_us[third] / effect->before->control_us[third]);
}

/* The control's shift. `values` has room for three a row. */
static double shift_of_control(struct effect *effects, int64_t count, double *values) {
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++) {
        double sum = 0;
        effects[i].control = NAN;
        if (!has_control(&effects[i])) continue;
        for (int third = 0; third < 3; third++)
            sum += values[n++] = control_ratio(&effects[i], third);
        effects[i].control = exp(sum / 3);
    }
    return median(values, n);
}

/* Whether the machine did the same for a row as for the others, as far as is known. */
static bool is_steady(const struct effect *effect, double shift) {
    return isnan(effect->control) || fabs(log(effect->control) - shift) <= alike_within;
}

static double spread_of_control(const struct effect *effects, int64_t count, double shift,
                                double *values) {
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++) {
        for (int third = 0; third < 3 && has_control(&effects[i]); third++) {
            if (is_steady(&effects[i], shift)) values[n++] = control_ratio(&effects[i], third);
        }
    }
    return spread(values, n, shift);
}

/* The ratios of rows, only of steady ones, only of those that are the same library. */
static int64_t take_rows(const struct effect *effects, int64_t count, double shift, bool same,
                         bool steady, double *values) {
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++) {
        if ((effects[i].same || !same) && (is_steady(&effects[i], shift) || !steady))
            values[n++] = log(effects[i].ratio);
    }
    return n;
}

/* How far apart rows are that should be one; what all of them differ by is no spread. */
static double spread_of_rows(const struct effect *effects, int64_t count, double shift, bool alike,
                             double *values) {
    int64_t n = 0;
    for (int way = 0; way < (alike ? 4 : 2) && n < ROWS_MIN; way++)
        n = take_rows(effects, count, shift, way < 2, way % 2 == 0, values);
    return n < ROWS_MIN ? NAN : spread(values, n, median(values, n));
}

/* What rows differ by between runs where there are too few to see. */
static double spread_unseen(const struct effect *effects) {
    return by_host(&effects[0]) ? spread_of_processes(&effects[0]) : 0.005;
}

/* By as much the machine alone moves a row, in one direction. Without a control what all rows
 * differ by is the machine's. */
static double shift_of(const struct effect *effect, const struct effect_machine *machine,
                       double rows_shift) {
    const double probed = fmax(fabs(effect->ceilings), 0); /* 0 of NaN */
    if (isnan(machine->shift)) return fmax(fabs(rows_shift), probed);
    const double own = isnan(effect->control) ? 0 : fabs(log(effect->control));
    return fmax(sensitivity * fmax(fabs(machine->shift), own), probed);
}

static void conclude(struct effect *effect, const struct effect_machine *machine,
                     double rows_shift) {
    const double difference = log(effect->ratio);
    const double of_processes = spread_of_processes(effect); /* of nothing known it is no bound */
    const double spread = machine->spread < of_processes ? of_processes : machine->spread;
    const double error = hypot(spread, hypot(error_of(effect->before), error_of(effect->after)));
    const double shift = shift_of(effect, machine, rows_shift);
    effect->shift = shift;
    const double half = shift + t_99 * error, beyond = fabs(difference) - shift;
    effect->low = exp(difference - half);
    effect->high = exp(difference + half);
    effect->p = beyond > 0 ? tail(beyond / error) : 1;
    if (isfinite(half)) return;
    effect->low = 0;
    effect->high = INFINITY;
    effect->p = 1;
}

bool effects_measure(struct effect *effects, int64_t count, bool alike,
                     struct effect_machine *machine) {
    double *values = malloc(3 * (size_t)count * sizeof *values + 1);
    if (values == NULL) return false;
    for (int64_t i = 0; i < count; i++)
        effects[i].ratio = effects[i].after->q1_us / effects[i].before->q1_us;
    machine->shift = shift_of_control(effects, count, values);
    const double of_control = spread_of_control(effects, count, machine->shift, values);
    const double of_rows = spread_of_rows(effects, count, machine->shift, alike, values);
    const bool unknown = isnan(of_rows) && !isnan(of_control);
    machine->spread = fmax(of_control, unknown ? spread_unseen(effects) : of_rows);
    for (int64_t i = 0; i < count; i++) values[i] = log(effects[i].ratio);
    const double rows_shift = median(values, count);
    for (int64_t i = 0; i < count; i++) conclude(&effects[i], machine, rows_shift);
    free(values);
    return true;
}
