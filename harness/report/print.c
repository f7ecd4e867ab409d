/* The unit is the largest that leaves at least 1. */
#include "print.h"

#include <math.h>

void print_number(FILE *to, double value) {
    if (isnan(value))
        fputs("–", to);
    else if (value != 0 && fabs(value) >= 1000 && fabs(value) < 1e7)
        fprintf(to, "%.0f", value);
    else
        fprintf(to, "%.3g", value);
}

/* `value` in the largest unit of `units` that leaves at least 1; they are `step` apart. */
static void print_unit(FILE *to, double value, double step, const char *const *units) {
    if (!isfinite(value)) {
        fputs("–", to);
        return;
    }
    while (units[1] != NULL && fabs(value) >= step) {
        value /= step;
        units++;
    }
    fprintf(to,
            fabs(value) < 9.995   ? "%.2f %s"
            : fabs(value) < 99.95 ? "%.1f %s"
                                  : "%.0f %s",
            value, *units);
}

void print_time(FILE *to, double us) {
    static const char *const units[] = {"µs", "ms", "s", NULL};
    print_unit(to, us, 1000, units);
}

void print_bytes(FILE *to, double bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", NULL};
    print_unit(to, bytes, 1024, units);
}

void print_rate(FILE *to, double per_second, const char *unit) {
    static const char *const units[] = {"", "k", "M", "G", "T", "P", NULL};
    print_unit(to, per_second, 1000, units);
    fputs(unit, to);
}

void print_cell(FILE *to, const char *text) {
    for (; *text; text++) {
        if (*text == '|') fputc('\\', to);
        fputc(*text == '\n' ? ' ' : *text, to);
    }
}
