/* The unit is the largest that leaves at least 1. */
#include "number.h"

#include <math.h>
#include <stdio.h>

struct number number_plain(double value) {
    struct number number;
    if (isnan(value))
        snprintf(number.text, sizeof number.text, "–");
    else if (fabs(value) >= 1000 && fabs(value) < 1e7)
        snprintf(number.text, sizeof number.text, "%.0f", value);
    else
        snprintf(number.text, sizeof number.text, "%.3g", value);
    return number;
}

/* `value` in the largest unit of `units` that leaves at least 1; they are `step` apart. */
static struct number in_unit(double value, double step, const char *const *units, const char *of) {
    struct number number;
    if (!isfinite(value)) {
        snprintf(number.text, sizeof number.text, "–");
        return number;
    }
    while (units[1] != NULL && fabs(value) >= step) {
        value /= step;
        units++;
    }
    const int digits = fabs(value) < 9.995 ? 2 : fabs(value) < 99.95 ? 1 : 0;
    snprintf(number.text, sizeof number.text, "%.*f %s%s", digits, value, *units, of);
    return number;
}

struct number number_time(double us) {
    static const char *const units[] = {"µs", "ms", "s", NULL};
    return in_unit(us, 1000, units, "");
}

struct number number_bytes(double bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", NULL};
    return in_unit(bytes, 1024, units, "");
}

struct number number_rate(double per_second, const char *unit) {
    static const char *const units[] = {"", "k", "M", "G", "T", "P", NULL};
    return in_unit(per_second, 1000, units, unit);
}

struct number number_count(long long count, const char *what) {
    struct number number;
    snprintf(number.text, sizeof number.text, "%lld %s%s", count, what, count == 1 ? "" : "s");
    return number;
}
