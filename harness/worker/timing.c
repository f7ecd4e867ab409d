/* Order statistics. Timings are skewed and have outliers, so nothing here assumes a distribution:
 * the median, quartiles, and an interval for the median from the binomial distribution of how many
 * samples fall below it. */
#include "timing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double coverage = 0.95;
static const double plateau_ratio = 0.9;
enum { LOOK_SAMPLES = 100 };
static const double look_ms = 20;
static const double apart_factor = 1.25, apart_us = 5;
static const double spoilt_factor = 1.3, spoilt_us_more = 2;
static const double noticed_factor = 2, noticed_us_more = 10;

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, int64_t n, double p) {
    const double at = (double)(n - 1) * p;
    const int64_t low = (int64_t)at, high = low + 1 < n ? low + 1 : low;
    return sorted[low] + (at - (double)low) * (sorted[high] - sorted[low]);
}

/* The largest rank l, from 1, for which the l-th smallest and the l-th largest of n samples enclose
 * the median with at least `coverage`: the median lies there iff l <= K <= n - l of them are below
 * it, K binomial with p = 1/2. Adds up the probabilities of K from the middle outwards. */
static int64_t interval_rank(int64_t n) {
    int64_t k = n / 2;
    double p = exp(lgamma((double)n + 1) - lgamma((double)k + 1) - lgamma((double)(n - k) + 1) -
                   (double)n * log(2));
    double inside = n % 2 == 0 ? p : 2 * p;
    while (inside < coverage && k > 0) {
        p *= (double)k / (double)(n - k + 1);
        inside += 2 * p;
        k--;
    }
    return k < 1 ? 1 : k;
}

void timing_summarise(struct timing *timing, double *samples_us, int64_t n) {
    timing->n = n;
    if (n == 0) return;
    qsort(samples_us, (size_t)n, sizeof *samples_us, ascending);
    const int64_t rank = interval_rank(n);
    timing->min_us = samples_us[0];
    timing->q1_us = quantile(samples_us, n, 0.25);
    timing->median_us = quantile(samples_us, n, 0.5);
    timing->q3_us = quantile(samples_us, n, 0.75);
    timing->max_us = samples_us[n - 1];
    timing->ci_low_us = samples_us[rank - 1];
    timing->ci_high_us = samples_us[n - rank];
}

double timing_control_us(const struct timing *timing) {
    double sum = 0;
    for (int third = 0; third < 3; third++) sum += timing->control_us[third];
    return timing->n > 0 && sum > 0 ? sum / 3 : NAN;
}

bool timing_join(struct timing *timing, const struct timing *other) {
    if (other->n == 0) return false;
    const bool stands = timing->n == 0 || other->q1_us < timing->q1_us;
    const struct timing slower = stands ? *timing : *other;
    const int64_t of_slower = slower.n == 0 ? 0 : slower.processes > 0 ? slower.processes : 1;
    if (stands) *timing = *other;
    const double other_control = timing_control_us(&slower);
    if (other_control > 0 && !(timing_control_us(timing) <= other_control))
        memcpy(timing->control_us, slower.control_us, sizeof timing->control_us);
    if (timing->processes == 0) timing->processes = 1;
    timing->processes += of_slower;
    if (of_slower > 0) timing->next_us = fmin(timing->next_us, slower.q1_us); /* NaN is not less */
    return stands;
}

double timing_gap(const struct timing *timing) {
    return timing->processes > 1 ? log(timing->next_us / timing->q1_us) : 0;
}

bool timing_apart(const struct timing *usual, const struct timing *other, double allowed_us,
                  bool surely) {
    return usual->n > 0 && other->n > 0 &&
           other->median_us > apart_factor * usual->median_us + apart_us + allowed_us &&
           (!surely || other->ci_low_us > usual->ci_high_us);
}

double timing_spoilt(double spoilt_us, double usual_us) {
    return spoilt_us - spoilt_factor * usual_us - spoilt_us_more;
}

double timing_noticed(double spoilt_us, double sample_us) {
    return spoilt_us - noticed_factor * sample_us - noticed_us_more;
}

int64_t timing_set_aside(double *samples_us, double *clock_mhz, int64_t n, bool sustained,
                         double *session_mhz, double *median_mhz) {
    static const double low = 0.97;
    double *known = malloc((size_t)(n > 0 ? n : 1) * sizeof *known);
    int64_t count = 0, kept = 0;
    for (int64_t i = 0; known != NULL && i < n; i++) {
        if (isfinite(clock_mhz[i])) known[count++] = clock_mhz[i];
    }
    if (count > 0) qsort(known, (size_t)count, sizeof *known, ascending);
    *median_mhz = count > 0 ? quantile(known, count, 0.5) : NAN;
    free(known);
    if (*median_mhz > *session_mhz) *session_mhz = *median_mhz;
    const double measure = *median_mhz < low * *session_mhz ? *median_mhz : *session_mhz;
    for (int64_t i = 0; i < n; i++) {
        if (!sustained && clock_mhz[i] < low * measure) continue; /* not of NaN */
        samples_us[kept] = samples_us[i];
        clock_mhz[kept++] = clock_mhz[i];
    }
    return kept;
}

bool timing_is_quiet(double control_us, double quiet_us) {
    static const double factor = 1.05;
    return control_us <= factor * quiet_us;
}

int64_t timing_keep_quiet(double *samples_us, double *control_us, int64_t n, int64_t enough,
                          double *quiet_us) {
    double *sorted = malloc((size_t)(n > 0 ? n : 1) * sizeof *sorted);
    int64_t count = 0, kept = 0;
    for (int64_t i = 0; sorted != NULL && i < n; i++) {
        if (isfinite(control_us[i])) sorted[count++] = control_us[i];
    }
    if (count > 0) {
        qsort(sorted, (size_t)count, sizeof *sorted, ascending);
        const double best = quantile(sorted, count, 0.1);
        if (!(*quiet_us > 0 && *quiet_us < best)) *quiet_us = best;
    }
    free(sorted);
    for (int64_t i = 0; i < n; i++) kept += timing_is_quiet(control_us[i], *quiet_us);
    if (kept < enough) return n;
    kept = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!timing_is_quiet(control_us[i], *quiet_us)) continue;
        samples_us[kept] = samples_us[i];
        control_us[kept++] = control_us[i];
    }
    return kept;
}

/* Half the width of the interval over the median. */
static double relative_width(const double *samples_us, int64_t n, double *sorted) {
    struct timing timing = {0}; /* of no samples: NaN, which is no plateau */
    memcpy(sorted, samples_us, (size_t)n * sizeof *sorted);
    timing_summarise(&timing, sorted, n);
    return (timing.ci_high_us - timing.ci_low_us) / 2 / timing.median_us;
}

/* samples_min, and then an eighth more each time: sorting at each of these costs little. */
static int is_checkpoint(int64_t n, int64_t samples_min) {
    int64_t at = samples_min < 1 ? 1 : samples_min;
    while (at < n) at += at / 8 + 1;
    return at == n;
}

int timing_enough(const double *samples_us, int64_t n, double total_ms,
                  const struct timing_plan *plan, char stop[12]) {
    if (n >= plan->samples_max || (n >= plan->samples_min && total_ms >= plan->total_ms_max)) {
        strcpy(stop, "cap");
        return 1;
    }
    if (!is_checkpoint(n, plan->samples_min) || (n < LOOK_SAMPLES && total_ms < look_ms)) return 0;
    double *sorted = malloc((size_t)n * sizeof *sorted);
    if (sorted == NULL) return 0; /* the cap will end it */
    const double width = relative_width(samples_us, n, sorted);
    const char *why = NULL;
    if (width <= plan->ci_target) {
        why = "ci";
    } else if (n / 2 >= plan->samples_min &&
               width > plateau_ratio * relative_width(samples_us, n / 2, sorted)) {
        why = "plateau";
    }
    free(sorted);
    if (why != NULL) strcpy(stop, why);
    return why != NULL;
}
