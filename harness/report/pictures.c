/* From rows to points. Each picture answers one question, which its note says; what cannot be told
 * from the record it leaves out, and a picture of nothing is none. */
#define _GNU_SOURCE
#include "pictures.h"
#include "print.h"
#include "../../oracle/fault.h"
#include "../../oracle/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { MATRIX_COLUMNS = 240, STRIP_SAMPLES = 500, HEAT_CELLS = 32, FOREST_ROWS = 40, FAMILIES = 3 };

PRINT_FORMAT(2) static void set_note(struct plot *plot, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(plot->note, sizeof plot->note, format, arguments);
    va_end(arguments);
}

static double time_of(const struct row *row, bool cold_first) {
    if (cold_first && row->cold.n > 0) return row->cold.median_us;
    return row->warm.n > 0 ? row->warm.median_us : row->cold.n > 0 ? row->cold.median_us : NAN;
}

/* Matrix */

static int64_t kernel_of(const struct matrix *matrix, const char *kernel) {
    int64_t at = 0;
    while (at < matrix->kernel_count && strcmp(matrix->kernels[at], kernel) != 0) at++;
    return at;
}

void matrix_make(struct matrix *matrix, const struct shown *shown, int64_t count) {
    *matrix = (struct matrix){.kernels = allocate_or_abort(count, sizeof(const char *))};
    for (int64_t n = 0; n < count; n++) {
        if (n == 0 || !shown_together(&shown[n - 1], &shown[n])) matrix->problem_count++;
        if (strcmp(shown[n].row->device, "anchor") == 0) continue;
        const int64_t at = kernel_of(matrix, shown[n].row->kernel);
        if (at == matrix->kernel_count)
            matrix->kernels[matrix->kernel_count++] = shown[n].row->kernel;
    }
    matrix->cells =
        allocate_or_abort(matrix->problem_count * matrix->kernel_count, sizeof(const struct row *));
    int64_t problem = -1;
    for (int64_t n = 0; n < count; n++) {
        if (n == 0 || !shown_together(&shown[n - 1], &shown[n])) problem++;
        const int64_t at = kernel_of(matrix, shown[n].row->kernel);
        if (at < matrix->kernel_count)
            matrix->cells[problem * matrix->kernel_count + at] = shown[n].row;
    }
}

void matrix_free(struct matrix *matrix) {
    free(matrix->kernels);
    free(matrix->cells);
    *matrix = (struct matrix){0};
}

enum {
    COLOUR_NONE,
    COLOUR_LITTLE,
    COLOUR_ALL,
    COLOUR_REFUSED,
    COLOUR_UNSTABLE,
    COLOUR_WRONG,
    COLOUR_DEAD
};
const struct picture_colour picture_colours[] = {
    [COLOUR_NONE] = {"right, no share of a ceiling known", 0x9ccbb5},
    [COLOUR_LITTLE] = {"right, 0 % of the ceiling", 0xc7dcef},
    [COLOUR_ALL] = {"100 % of it", 0x08519c},
    [COLOUR_REFUSED] = {"refused", 0xb8b8b8},
    [COLOUR_UNSTABLE] = {"unstable", 0xe69f00},
    [COLOUR_WRONG] = {"wrong", 0xd55e00},
    [COLOUR_DEAD] = {"crashed, hung or out of memory", 0x6a1b6e},
    {NULL, 0},
};

static uint32_t between(uint32_t from, uint32_t to, double share) {
    uint32_t colour = 0;
    for (int shift = 0; shift < 24; shift += 8) {
        const double a = from >> shift & 255, b = to >> shift & 255;
        colour |= (uint32_t)lround(a + (b - a) * fmin(fmax(share, 0), 1)) << shift;
    }
    return colour;
}

static uint32_t colour_of(const struct row *row) {
    const enum status status = status_of(row);
    const int exit = status < STATUS_COUNT ? status_exit(status) : 1;
    if (status == STATUS_REFUSED) return picture_colours[COLOUR_REFUSED].colour;
    if (status == STATUS_UNSTABLE) return picture_colours[COLOUR_UNSTABLE].colour;
    if (exit != 0) return picture_colours[exit == 3 ? COLOUR_DEAD : COLOUR_WRONG].colour;
    if (!row_is_timed(row) || row->ceiling[0] == '\0' || !isfinite(row->ceiling_percent))
        return picture_colours[COLOUR_NONE].colour;
    return between(picture_colours[COLOUR_LITTLE].colour, picture_colours[COLOUR_ALL].colour,
                   row->ceiling_percent / 100);
}

/* Of two rows of one kernel that share a column, the one that must be seen. */
static const struct row *worse_of(const struct row *a, const struct row *b) {
    if (a == NULL || b == NULL) return a != NULL ? a : b;
    if (row_is_failure(a) != row_is_failure(b)) return row_is_failure(a) ? a : b;
    if (row_is_refused(a) != row_is_refused(b)) return row_is_refused(a) ? b : a;
    return row_is_timed(b) && !(a->ceiling_percent <= b->ceiling_percent) ? b : a;
}

bool picture_matrix(struct plot *plot, const char *variant, const struct matrix *matrix) {
    const int64_t each = (matrix->problem_count + MATRIX_COLUMNS - 1) / MATRIX_COLUMNS;
    const int64_t columns = each > 0 ? (matrix->problem_count + each - 1) / each : 0;
    if (matrix->kernel_count == 0) return false;
    snprintf(plot->title, sizeof plot->title, "%s: status and share of the ceiling", variant);
    if (each > 1)
        set_note(plot,
                 "%lld problems in the order of the run, %lld a column, which shows the worst",
                 (long long)matrix->problem_count, (long long)each);
    else
        set_note(plot, "A column a problem, in the order of the run.");
    plot->x = (struct plot_axis){
        .title = "problem", .unit = PLOT_LENGTH, .least = 0.4, .most = (double)columns + 0.6};
    plot->y = (struct plot_axis){.names = matrix->kernels, .name_count = matrix->kernel_count};
    plot->width = columns > 40 ? 1160 : 560;
    plot->height = 70 + 24 * (int)matrix->kernel_count;
    struct plot_series *series = plot_series(plot, "status", PLOT_CELLS);
    for (int64_t column = 0; column < columns; column++) {
        for (int64_t kernel = 0; kernel < matrix->kernel_count; kernel++) {
            const struct row *row = NULL;
            for (int64_t n = column * each; n < (column + 1) * each && n < matrix->problem_count;
                 n++)
                row = worse_of(row, matrix->cells[n * matrix->kernel_count + kernel]);
            if (row == NULL) continue;
            plot_add(series, (struct plot_point){.x = (double)column + 1,
                                                 .y = (double)kernel,
                                                 .colour = colour_of(row),
                                                 .label = row->line});
        }
    }
    return plot_points(plot) > 0;
}

/* Roofline */

struct ceilings {
    double flops, read, gather; /* a second; 0: not known */
    const char *flops_name;
};

static struct ceilings ceilings_of(const struct machine *machine, const char *device, int64_t index,
                                   bool burst) {
    if (strcmp(device, "cpu") == 0)
        return (struct ceilings){machine->fma_flops, machine->read_bytes_s, 0, "f32 multiply-adds"};
    for (int64_t n = 0; n < machine->device_count; n++) {
        const struct machine_device *found = &machine->devices[n];
        if (strcmp(found->device, device) == 0 && found->index == index)
            return (struct ceilings){burst ? found->f16_burst_flops : found->f16_flops,
                                     found->read_bytes_s, found->gather_512_bytes_s,
                                     burst ? "f16 products in a burst" : "f16 products"};
    }
    return (struct ceilings){0, 0, 0, ""};
}

static void add_roof(struct plot *plot, const char *name, double flops, double bytes, double from,
                     double to) {
    if (!(bytes > 0)) return;
    struct plot_series *roof = plot_series(plot, name, PLOT_ROOF);
    const double ridge = flops > 0 ? flops / bytes : to;
    plot_add(roof,
             (struct plot_point){.x = from, .y = fmin(from * bytes, flops > 0 ? flops : INFINITY)});
    if (ridge > from && ridge < to)
        plot_add(roof, (struct plot_point){.x = ridge, .y = ridge * bytes});
    plot_add(roof,
             (struct plot_point){.x = to, .y = flops > 0 ? fmin(flops, to * bytes) : to * bytes});
}

bool picture_roofline(struct plot *plot, const struct view *view, const struct machine *machine,
                      const char *device, int64_t index) {
    double from = INFINITY, to = 0;
    bool burst = false;
    for (int64_t n = 0; n < view->count; n++) {
        const struct row *row = view->shown[n].row;
        if (strcmp(row->device, device) != 0 || row->device_index != index || !row_is_right(row) ||
            !(row->flops > 0) || !(row->bytes > 0) || !row_is_timed(row))
            continue;
        const double intensity = row->flops / row->bytes;
        burst |= row_is_burst(row);
        from = fmin(from, intensity);
        to = fmax(to, intensity);
        plot_add(plot_series(plot, row->variant, PLOT_POINTS),
                 (struct plot_point){.x = intensity,
                                     .y = row->flops / time_of(row, true) * 1e6,
                                     .label = row->line});
    }
    const struct ceilings ceilings = ceilings_of(machine, device, index, burst);
    if (plot_points(plot) == 0 || !(ceilings.read > 0)) return false;
    char name[96];
    snprintf(plot->title, sizeof plot->title, "Roofline of %s:%lld", device, (long long)index);
    snprintf(name, sizeof name, "read %s, %s %s", number_rate(ceilings.read, "B/s").text,
             ceilings.flops_name, number_rate(ceilings.flops, "FLOP/s").text);
    add_roof(plot, name, ceilings.flops, ceilings.read, from / 2, to * 2);
    snprintf(name, sizeof name, "gather of 512-byte rows %s",
             number_rate(ceilings.gather, "B/s").text);
    add_roof(plot, name, ceilings.flops, ceilings.gather, from / 2, to * 2);
    set_note(plot, "What a problem needs, over its cold median (warm where there is no cold). "
                   "Dashed: what the device was measured to reach.");
    plot->name_title = "variant";
    plot->label_title = "problem";
    plot->width = 900;
    plot->height = 400;
    plot->x = (struct plot_axis){.title = "operations a byte", .log = true};
    plot->y = (struct plot_axis){.title = "FLOP/s", .unit = PLOT_RATE, .log = true};
    return true;
}

/* Length */

/* The words of a problem's line that do not say how long it is; queries are as many as keys, or
 * they are none of it. */
static void family_of(char family[PROBLEM_LINE_BYTES], const struct row *row) {
    size_t used = 0;
    for (const char *at = row->line; *at != '\0';) {
        const size_t length = strcspn(at, "-");
        const bool queries = at[0] == 'q' && strtoll(at + 1, NULL, 10) == row->kv_len;
        if (!queries && strncmp(at, "kv", 2) != 0 && strncmp(at, "lens", 4) != 0 &&
            strncmp(at, "rows", 4) != 0 && used + length + 2 < PROBLEM_LINE_BYTES) {
            memcpy(family + used, at, length);
            used += length;
            family[used++] = '-';
        }
        at += length + (at[length] == '-');
    }
    family[used] = '\0';
}

struct member {
    char family[PROBLEM_LINE_BYTES];
    const struct row *row;
};

static int member_order(const void *left, const void *right) {
    const struct member *a = left, *b = right;
    int order = strcmp(a->family, b->family);
    if (order == 0) order = strcmp(a->row->kernel, b->row->kernel);
    return order != 0 ? order
                      : (a->row->kv_len > b->row->kv_len) - (a->row->kv_len < b->row->kv_len);
}

static int64_t family_end(const struct member *members, int64_t begin, int64_t count) {
    int64_t end = begin + 1;
    while (end < count && strcmp(members[begin].family, members[end].family) == 0) end++;
    return end;
}

/* The work of the largest problem of a family, 0 where no kernel was timed at three lengths. */
static double worth_of(const struct member *members, int64_t count) {
    int64_t most = 0, here = 0;
    double flops = 0;
    for (int64_t n = 0; n < count; n++) {
        const bool same = n > 0 && strcmp(members[n - 1].row->kernel, members[n].row->kernel) == 0;
        if (!same) here = 0;
        here += !same || members[n - 1].row->kv_len != members[n].row->kv_len;
        if (here > most) most = here;
        flops = fmax(flops, members[n].row->flops);
    }
    return most >= 3 ? flops : 0;
}

static void add_lengths(struct plot *plot, const struct member *members, int64_t count,
                        bool joined) {
    for (int64_t n = 0; n < count; n++) {
        const struct row *row = members[n].row;
        struct plot_series *series =
            plot_series(plot, row->kernel, joined ? PLOT_LINES : PLOT_POINTS);
        const bool begins = n == 0 || strcmp(members[n - 1].row->kernel, row->kernel) != 0;
        plot_add(series, (struct plot_point){.x = (double)row->kv_len,
                                             .y = time_of(row, false),
                                             .label = row->line,
                                             .apart = begins && series->count > 0});
    }
}

/* What the row would take at the whole of its ceiling; NAN where none is known. */
static double floor_us_of(const struct row *row) {
    return row->ceiling_percent > 0 ? time_of(row, true) * row->ceiling_percent / 100 : NAN;
}

/* Of a family, which has rows of one kernel one after the other: by those of the kernel that has
 * most. */
static void add_floor(struct plot *plot, const struct member *members, int64_t count) {
    int64_t first = 0, most = 0;
    for (int64_t begin = 0, end; begin < count; begin = end) {
        for (end = begin + 1; end < count; end++)
            if (strcmp(members[begin].row->kernel, members[end].row->kernel) != 0) break;
        if (end - begin > most) first = begin, most = end - begin;
    }
    struct plot_series *series = plot_series(plot, "at the ceiling", PLOT_ROOF);
    bool begins = series->count > 0;
    for (int64_t n = first; n < first + most; n++) {
        const struct row *row = members[n].row;
        const double us = floor_us_of(row);
        if (isnan(us)) continue;
        plot_add(series,
                 (struct plot_point){
                     .x = (double)row->kv_len, .y = us, .label = row->line, .apart = begins});
        begins = false;
    }
}

bool picture_length(struct plot *plot, const char *title, const struct shown *shown,
                    int64_t count) {
    struct member *members = allocate_or_abort(count, sizeof *members);
    int64_t used = 0, places[FAMILIES] = {0};
    double best[FAMILIES] = {0};
    for (int64_t n = 0; n < count; n++) {
        if (!row_is_right(shown[n].row) || !row_is_timed(shown[n].row) || shown[n].row->kv_len <= 0)
            continue;
        family_of(members[used].family, shown[n].row);
        members[used++].row = shown[n].row;
    }
    qsort(members, (size_t)used, sizeof *members, member_order);
    for (int64_t begin = 0, end; begin < used; begin = end) {
        end = family_end(members, begin, used);
        double worth = worth_of(members + begin, end - begin);
        int64_t place = begin;
        for (int n = 0; n < FAMILIES; n++) { /* the largest first */
            if (worth <= best[n]) continue;
            const double less = best[n];
            const int64_t other = places[n];
            best[n] = worth, places[n] = place;
            worth = less, place = other;
        }
    }
    const bool joined = best[0] > 0;
    for (int n = 0; joined && n < FAMILIES; n++) {
        if (best[n] <= 0) continue;
        const int64_t size = family_end(members, places[n], used) - places[n];
        add_lengths(plot, members + places[n], size, true);
        add_floor(plot, members + places[n], size);
    }
    if (!joined) add_lengths(plot, members, used, false);
    free(members);
    snprintf(plot->title, sizeof plot->title, "%s: time over length", title);
    set_note(plot, joined
                       ? "Warm medians. A line joins problems that differ in their length alone. "
                         "Dashed: the bytes or operations that they need, at the ceiling."
                       : "Warm medians. The problems differ in more than their length.");
    plot->name_title = "kernel";
    plot->label_title = "problem";
    plot->x = (struct plot_axis){.title = "keys", .unit = PLOT_LENGTH, .log = true};
    plot->y = (struct plot_axis){.title = "time", .unit = PLOT_TIME_US, .log = true};
    return plot_points(plot) > 1;
}

/* Pareto */

struct standing {
    const char *kernel;
    double log_sum, rho_sum;
    int64_t count;
};

static void stand(struct standing *standings, int64_t *count, const struct row *row,
                  double fastest) {
    int64_t at = 0;
    while (at < *count && strcmp(standings[at].kernel, row->kernel) != 0) at++;
    if (at == *count) standings[(*count)++] = (struct standing){.kernel = row->kernel};
    standings[at].log_sum += log(time_of(row, false) / fastest);
    standings[at].rho_sum += row->deviation.rho;
    standings[at].count++;
}

static bool competes(const struct row *row) {
    return row_is_right(row) && row_is_timed(row) && isfinite(row->deviation.rho) &&
           row->deviation.elements > 0 && time_of(row, false) > 0;
}

bool picture_pareto(struct plot *plot, const char *variant, const struct shown *shown,
                    int64_t count) {
    struct standing *standings = allocate_or_abort(count, sizeof *standings);
    int64_t used = 0;
    for (int64_t begin = 0, end; begin < count; begin = end) {
        double fastest = INFINITY;
        int64_t rivals = 0;
        for (end = begin; end < count && shown_together(&shown[begin], &shown[end]); end++) {
            if (!competes(shown[end].row)) continue;
            fastest = fmin(fastest, time_of(shown[end].row, false));
            rivals++;
        }
        for (int64_t n = begin; rivals > 1 && n < end; n++)
            if (competes(shown[n].row)) stand(standings, &used, shown[n].row, fastest);
    }
    double most = 1;
    for (int64_t n = 0; n < used; n++) {
        const struct standing *standing = &standings[n];
        const double x = exp(standing->log_sum / (double)standing->count);
        most = fmax(most, x);
        plot_add(plot_series(plot, standing->kernel, PLOT_POINTS),
                 (struct plot_point){.x = x, .y = standing->rho_sum / (double)standing->count});
    }
    free(standings);
    if (used < 2) return false;
    struct plot_series *limit = plot_series(plot, "grade A ends", PLOT_ROOF);
    plot_add(limit, (struct plot_point){.x = 1, .y = RHO_GRADE_A});
    plot_add(limit, (struct plot_point){.x = most, .y = RHO_GRADE_A});
    snprintf(plot->title, sizeof plot->title, "%s: time and rho", variant);
    set_note(plot,
             "Warm time over that of the fastest kernel on the same problem, geometric mean; mean "
             "rho, of which 1 is what an honest kernel has. Better is left and below.");
    plot->name_title = "kernel";
    plot->x = (struct plot_axis){.title = "time over the fastest's", .log = true};
    plot->y = (struct plot_axis){.title = "rho"};
    return true;
}

bool picture_mass(struct plot *plot, const char *variant, const struct shown *shown,
                  int64_t count) {
    for (int64_t n = 0; n < count; n++) {
        const struct row *row = shown[n].row;
        if (!row_is_right(row) || !row_keeps_lists(row) || !isfinite(row->kept_mass) ||
            row->deviation.elements == 0 || shown[n].bymask == NULL)
            continue;
        plot_add(plot_series(plot, row->kernel, PLOT_POINTS),
                 (struct plot_point){.x = row->kept_mass,
                                     .y = row_speedup(row, shown[n].bymask),
                                     .label = row->line});
    }
    snprintf(plot->title, sizeof plot->title, "%s: softmax mass kept and speed-up", variant);
    set_note(plot, "Over the dense kernel with a mask, on the same problem, warm.");
    plot->name_title = "kernel";
    plot->label_title = "problem";
    plot->x = (struct plot_axis){.title = "share of the softmax mass kept", .unit = PLOT_PERCENT};
    plot->y = (struct plot_axis){.title = "times as fast", .log = true};
    return plot_points(plot) > 0;
}

/* Errors in ulp */

static void add_shares(struct plot_series *series, const struct deviation *deviation) {
    int64_t all = 0, below = 0;
    if (strcmp(series->name, "anchor/ideal") == 0) series->colour = 8;
    if (strcmp(series->name, "anchor/std16") == 0) series->colour = 7;
    for (int n = 0; n < DEVIATION_OCTAVES; n++) all += deviation->ulp_counts[n];
    if (all == 0) { /* an older record has but three of them */
        const double ulps[] = {deviation->ulp_median, deviation->ulp_p99, deviation->ulp_max};
        const double shares[] = {0.5, 0.99, 1};
        for (int n = 0; n < 3; n++)
            plot_add(series, (struct plot_point){.x = ulps[n], .y = shares[n]});
        return;
    }
    double edge = DEVIATION_ULP_LEAST;
    for (int n = 0; n < DEVIATION_OCTAVES - 1; n++, edge *= 2) {
        below += deviation->ulp_counts[n];
        plot_add(series, (struct plot_point){.x = fmin(edge, deviation->ulp_max),
                                             .y = (double)below / (double)all});
        if (below == all) return;
    }
    plot_add(series, (struct plot_point){.x = deviation->ulp_max, .y = 1});
}

bool picture_ulp(struct plot *plot, const struct shown *shown, int64_t count, const char *kernel) {
    bool ideal = false;
    for (int64_t n = 0; n < count; n++) {
        const struct row *row = shown[n].row;
        const bool anchor = strcmp(row->device, "anchor") == 0;
        if (row->deviation.elements == 0 || !(row->deviation.ulp_max > 0)) continue;
        if (!anchor && kernel != NULL && strcmp(row->kernel, kernel) != 0) continue;
        ideal = ideal || strcmp(row->kernel, "anchor/ideal") == 0;
        add_shares(plot_series(plot, row->kernel, PLOT_LINES), &row->deviation);
    }
    if (plot_points(plot) == 0) return false;
    if (!ideal) {
        struct plot_series *rounded =
            plot_series(plot, "rounded once, and no other error", PLOT_ROOF);
        for (double ulp = DEVIATION_ULP_LEAST; ulp <= 0.5; ulp *= 2)
            plot_add(rounded, (struct plot_point){.x = ulp, .y = 2 * ulp});
    }
    snprintf(plot->title, sizeof plot->title, "Errors in ulp");
    set_note(plot, "Share of the elements that are at most so far off, of %s", shown[0].row->line);
    plot->name_title = "kernel";
    plot->x = (struct plot_axis){.title = "ulp", .log = true};
    plot->y = (struct plot_axis){.title = "of all elements", .unit = PLOT_PERCENT, .most = 1};
    return true;
}

/* Samples */

static void add_strip(struct plot *plot, const char *name, const double *values, int64_t count,
                      bool second) {
    if (values == NULL || count == 0) return;
    const int64_t step = (count + STRIP_SAMPLES - 1) / STRIP_SAMPLES;
    struct plot_series *series = plot_series(plot, name, PLOT_POINTS);
    series->second = second;
    for (int64_t n = 0; n < count; n += step)
        plot_add(series, (struct plot_point){.x = (double)n + 1, .y = values[n]});
}

bool picture_strip(struct plot *plot, const struct row *row, const struct samples *samples) {
    const bool warm = samples->warm_count > 0;
    const int64_t count = warm ? samples->warm_count : samples->cold_count;
    const double *clock = warm ? samples->warm_clock_mhz : samples->cold_clock_mhz;
    add_strip(plot, warm ? "warm launches" : "cold launches",
              warm ? samples->warm_us : samples->cold_us, count, false);
    add_strip(plot, "the GPU's clock, MHz", clock, count, true);
    snprintf(plot->title, sizeof plot->title, "Samples in the order taken");
    set_note(plot, "%s%s", row->line, count > STRIP_SAMPLES ? "; some are left out, evenly" : "");
    plot->name_title = "what";
    plot->x = (struct plot_axis){.title = "sample", .unit = PLOT_LENGTH};
    plot->y = (struct plot_axis){.title = "a launch", .unit = PLOT_TIME_US};
    plot->second = (struct plot_axis){.title = "MHz"};
    return plot_points(plot) > 5;
}

/* A failing block */

static uint32_t heat_of(double t) {
    if (!isfinite(t)) return picture_colours[COLOUR_DEAD].colour;
    if (t <= 1) return between(0xe3edf5, 0x7fb2d9, t);
    return between(0xf2b48a, 0x8f1d00, log10(t) / 3);
}

bool picture_heat(struct plot *plot, const struct row *row, const struct samples *samples) {
    const struct samples_block *block = &samples->out;
    if (block->count == 0 || !row_is_failure(row)) return false;
    int64_t first = INT64_MAX, last = 0;
    for (int64_t n = 0; n < block->count; n++) {
        first = block->index[n][2] < first ? block->index[n][2] : first;
        last = block->index[n][2] > last ? block->index[n][2] : last;
    }
    const int64_t width = row->value_dim > 0 ? row->value_dim : row->head_dim;
    const int64_t dim = width > 0 ? width : 1, queries = last - first + 1;
    const int64_t wide = (dim + HEAT_CELLS - 1) / HEAT_CELLS;
    const int64_t high = (queries + HEAT_CELLS - 1) / HEAT_CELLS;
    double cells[HEAT_CELLS][HEAT_CELLS];
    for (int y = 0; y < HEAT_CELLS; y++)
        for (int x = 0; x < HEAT_CELLS; x++) cells[y][x] = -1;
    for (int64_t n = 0; n < block->count; n++) {
        const int64_t x = block->index[n][3] / wide, y = (block->index[n][2] - first) / high;
        const double error = fabs(block->got[n] - block->expected[n]);
        const double t = isnan(error) ? INFINITY : error == 0 ? 0 : error / block->tolerance[n];
        if (x < 0 || x >= HEAT_CELLS || y < 0 || y >= HEAT_CELLS) continue;
        if (t > cells[y][x]) cells[y][x] = t;
    }
    struct plot_series *series = plot_series(plot, "error over tolerance", PLOT_CELLS);
    for (int64_t y = 0; y < HEAT_CELLS; y++)
        for (int64_t x = 0; x < HEAT_CELLS; x++)
            if (cells[y][x] >= 0)
                plot_add(series, (struct plot_point){.x = (double)x,
                                                     .y = (double)y,
                                                     .low = cells[y][x],
                                                     .colour = heat_of(cells[y][x])});
    snprintf(plot->title, sizeof plot->title, "Error over tolerance around the worst element");
    set_note(plot,
             "b=%lld h=%lld, queries %lld to %lld; a cell is the largest of %lld x %lld "
             "elements: blue is within, orange to brown 1 to 1,000 times beyond, purple no number",
             (long long)block->index[0][0], (long long)block->index[0][1], (long long)first,
             (long long)last, (long long)high, (long long)wide);
    char title[64];
    snprintf(title, sizeof title, "element d, in steps of %lld", (long long)wide);
    plot->x = (struct plot_axis){
        .unit = PLOT_LENGTH, .least = -0.6, .most = (double)((dim + wide - 1) / wide) - 0.4};
    text_copy(plot->x.title, sizeof plot->x.title, title);
    snprintf(title, sizeof title, "query, in steps of %lld", (long long)high);
    plot->y = (struct plot_axis){
        .unit = PLOT_LENGTH, .least = -0.6, .most = (double)((queries + high - 1) / high) - 0.4};
    text_copy(plot->y.title, sizeof plot->y.title, title);
    plot->value_title = "error over tolerance";
    return plot_points(plot) > 0;
}

/* Comparisons */

static int ratio_order(const void *left, const void *right) {
    const struct compare_pair *a = *(const struct compare_pair *const *)left;
    const struct compare_pair *b = *(const struct compare_pair *const *)right;
    return (a->ratio > b->ratio) - (a->ratio < b->ratio);
}

/* "flash_r1 kv4096-d64": enough to know it again; the table has all of it. */
static const char *short_name(const struct row *row) {
    char name[160], line[PROBLEM_LINE_BYTES];
    snprintf(line, sizeof line, "%s", row->line);
    char *end = strstr(line, "-seed1");
    if (end != NULL && end[6] == '\0') *end = '\0';
    snprintf(name, sizeof name, "%s_r%lld  %.38s%s", row->method, (long long)row->revision, line,
             strlen(line) > 38 ? "..." : "");
    return text_kept(name);
}

/* The pair that is missed least: none that is slower, as long as there are others. */
static int64_t least_telling(const struct compare_pair *const *pairs, int64_t count) {
    int64_t least = 0;
    for (int64_t n = 1; n < count; n++) {
        const bool slower = pairs[n]->verdict == COMPARE_SLOWER;
        const bool least_slower = pairs[least]->verdict == COMPARE_SLOWER;
        if (slower != least_slower ? least_slower
                                   : fabs(log(pairs[n]->ratio)) < fabs(log(pairs[least]->ratio)))
            least = n;
    }
    return least;
}

bool picture_forest(struct plot *plot, const char *variant, const struct comparison *comparison) {
    const struct compare_pair **pairs =
        allocate_or_abort(comparison->pair_count, sizeof(const struct compare_pair *));
    int64_t count = 0, left_out = 0;
    for (int64_t n = 0; n < comparison->pair_count; n++) {
        const struct compare_pair *pair = &comparison->pairs[n];
        if (strcmp(pair->after->variant, variant) == 0 && isfinite(pair->ratio) && pair->ratio > 0)
            pairs[count++] = pair;
    }
    qsort(pairs, (size_t)count, sizeof(const struct compare_pair *), ratio_order);
    for (; count > FOREST_ROWS; count--, left_out++) {
        const int64_t least = least_telling(pairs, count);
        memmove(&pairs[least], &pairs[least + 1],
                (size_t)(count - least - 1) * sizeof(const struct compare_pair *));
    }
    const char **names = plot->owned = allocate_or_abort(count, sizeof *names);
    double least = 1, most = 1;
    for (int64_t n = 0; n < count; n++) {
        const struct compare_pair *pair = pairs[n];
        least = fmin(least, pair->ratio);
        most = fmax(most, pair->ratio);
        struct plot_point point = {.x = pair->ratio, .y = (double)n, .label = pair->after->line};
        const bool ends = pair->low > 0 && isfinite(pair->high); /* one end alone would mislead */
        point.low = ends ? pair->low : pair->ratio;
        point.high = ends ? pair->high : pair->ratio;
        names[n] = short_name(pair->after);
        struct plot_series *series =
            plot_series(plot, compare_verdict_name(pair->verdict), PLOT_INTERVALS);
        series->colour = pair->verdict == COMPARE_FASTER   ? 1
                         : pair->verdict == COMPARE_SLOWER ? 2
                                                           : 8;
        plot_add(series, point);
    }
    free(pairs);
    struct plot_series *one = plot_series(plot, "no difference", PLOT_ROOF);
    plot_add(one, (struct plot_point){.x = 1, .y = -0.6});
    plot_add(one, (struct plot_point){.x = 1, .y = (double)count - 0.4});
    snprintf(plot->title, sizeof plot->title, "%s: new over old", variant);
    if (left_out > 0)
        set_note(plot,
                 "Ratios and their intervals; left of 1 is faster. %lld rows that differ less are "
                 "left out.",
                 (long long)left_out);
    else
        set_note(plot, "Ratios and their intervals; left of 1 is faster.");
    plot->name_title = "verdict";
    plot->label_title = "problem";
    plot->x = (struct plot_axis){.title = "new over old", .log = most > 3 * least};
    plot->y = (struct plot_axis){.names = names, .name_count = count};
    plot->width = 900;
    plot->height = 90 + 17 * (int)count;
    return count > 0;
}
