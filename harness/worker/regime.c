#define _GNU_SOURCE
#include "regime.h"
#include "haste.h"
#include "timing.h"
#include "../../oracle/clock.h"

#include <math.h>
#include <string.h>
#include <time.h>

/* A pause is one from here on: the control and NVML take less between samples. */
static const double pause_us_min = 300;
static const double settle_us_max = 500e3, window_us = 50e3, alike = 0.01;
enum { WINDOW_MIN = 3, WINDOW_MAX = SETTLING_ROOM / 2 };

static const char *const names[] = {"sustained", "burst"};

static double hastened(double us) {
    return us / (double)haste();
}

const char *regime_name(bool burst) {
    return names[burst];
}

bool regime_find(const char *name, bool *burst) {
    *burst = name != NULL && !strcmp(name, names[1]);
    return name != NULL && (*burst || !strcmp(name, names[0]));
}

void regime_begin(struct regime *regime) {
    if (!regime->burst || (regime->begun && regime->busy_us < regime_burst_us)) return;
    const double start = clock_s();
    const struct timespec rest = {.tv_nsec = (long)(hastened(regime_rest_us) * 1e3)};
    nanosleep(&rest, NULL);
    regime->rested_s += clock_s() - start;
    regime->busy_us = 0;
    regime->begun = true;
}

void regime_note(struct regime *regime, double us) {
    regime->busy_us += us;
    regime->end_s = clock_s();
}

double regime_lost_us(struct regime *regime, bool slowed) {
    const double pause_us = regime->end_s > 0 ? (clock_s() - regime->end_s) * 1e6 : 0;
    if (regime->burst || pause_us < pause_us_min) return 0;
    regime->pauses = true;
    const double settle_us = hastened(regime_settle_us);
    return slowed ? settle_us : fmin(pause_us, settle_us);
}

/* Of `count` of the last ones, without the `skipped` that came after them. */
static double median(const double *values, int64_t n, int64_t skipped, int64_t count) {
    double some[WINDOW_MAX];
    struct timing timing = {.median_us = NAN};
    for (int64_t i = 0; i < count; i++) some[i] = values[(n - skipped - count + i) % SETTLING_ROOM];
    timing_summarise(&timing, some, count);
    return timing.median_us;
}

/* Clocks that are not known are alike. */
static bool is_steady(const double *values, int64_t n, int64_t window) {
    const double change = median(values, n, 0, window) / median(values, n, window, window) - 1;
    return !(fabs(change) > alike);
}

bool settling_add(struct settling *settling, double us, double clock_mhz) {
    settling->us[settling->n % SETTLING_ROOM] = us;
    settling->clock_mhz[settling->n++ % SETTLING_ROOM] = clock_mhz;
    settling->total_us += us;
    if (settling->total_us >= hastened(settle_us_max)) return true;
    const double count = ceil(hastened(window_us) / fmax(us, 1));
    const int64_t window = (int64_t)fmin(fmax(count, WINDOW_MIN), WINDOW_MAX);
    return settling->total_us >= hastened(regime_settle_us) && settling->n >= 2 * window &&
           is_steady(settling->us, settling->n, window) &&
           is_steady(settling->clock_mhz, settling->n, window);
}
