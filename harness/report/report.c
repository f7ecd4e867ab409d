/* The report is tables, and the tables are made of columns: a title and a function that prints one
 * row's cell. What a cell needs beyond its row -- the baseline's row on the same problem -- is
 * looked up once, before anything is printed. */
#include "report.h"
#include "print.h"
#include "row_set.h"
#include "../worker/protocol.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A row and those it is measured against. */
struct shown {
    const struct row *row;
    const char *digest;                  /* of the problem it belongs to */
    const struct row *baseline, *bymask; /* NULL: none, or the row itself */
};

static double speedup(const struct row *row, const struct row *over) {
    if (over == NULL || row->warm.n == 0 || over->warm.n == 0) return NAN;
    return over->warm.median_us / row->warm.median_us;
}

/* Whether a kernel matches one of several globs, with commas between them. */
static bool matches_any(const char *kernel, const char *globs) {
    char glob[128];
    for (size_t length; *globs != '\0'; globs += length + (globs[length] == ',')) {
        length = strcspn(globs, ",");
        snprintf(glob, sizeof glob, "%.*s", (int)length, globs);
        if (kernel_matches(kernel, glob)) return true;
    }
    return false;
}

/* The latest revision that matches, on the same device, on the problem of `row`. */
static const struct row *find_baseline(const struct row_set *set, const struct row *row,
                                       const char *globs) {
    int64_t count;
    const struct row_place *others = row_set_find(set, row, &count);
    const struct row *found = NULL;
    for (int64_t n = 0; n < count; n++) {
        const struct row *other = others[n].row;
        if (!rows_share_inputs(other, row) || strcmp(other->device, row->device) != 0 ||
            !matches_any(other->kernel, globs))
            continue;
        if (found == NULL || other->revision > found->revision) found = other;
    }
    return found != NULL && found != row ? found : NULL;
}

struct view {
    int64_t count;
    struct shown *shown; /* in reading order */
};

static bool view_make(struct view *view, const struct run *run, const char *baseline,
                      struct fault *fault) {
    struct row_set set = {0}, read = {0};
    *view = (struct view){0};
    bool ok = row_set_make(&set, run, fault) && row_set_make(&read, run, fault);
    if (ok) {
        row_set_arrange(&read);
        view->shown = calloc((size_t)read.count + 1, sizeof *view->shown);
        if (view->shown == NULL) ok = fault_set(fault, FAULT_OURS, "out of memory for the report");
    }
    for (int64_t n = 0; view->shown != NULL && n < read.count; n++) {
        const struct row *row = read.places[n].row;
        view->shown[view->count++] =
            (struct shown){row, read.places[n].digest, find_baseline(&set, row, baseline),
                           find_baseline(&set, row, "*_bymask_*")};
    }
    row_set_free(&set);
    row_set_free(&read);
    return ok;
}

/* Columns. */

struct column {
    const char *title;
    void (*print)(FILE *to, const struct shown *shown);
};

static void cell_kernel(FILE *to, const struct shown *shown) {
    print_markdown(to, "%s", shown->row->kernel);
}
static void cell_status(FILE *to, const struct shown *shown) {
    print_markdown(to, "%s", shown->row->status);
}
static void cell_grade(FILE *to, const struct shown *shown) {
    print_markdown(to, "%s", shown->row->grade);
}

#define NUMBER_CELL(name, value)                                                                   \
    static void cell_##name(FILE *to, const struct shown *shown) {                                 \
        const struct row *row = shown->row;                                                        \
        fputs(number_plain(row->deviation.elements > 0 ? (double)(value) : NAN).text, to);         \
    }
NUMBER_CELL(rho, row->deviation.rho)
NUMBER_CELL(rho_block, row->deviation.rho_block)
NUMBER_CELL(t_max, row->deviation.t_max)
NUMBER_CELL(lse, row->deviation.lse_judged ? row->deviation.lse_max : NAN)
NUMBER_CELL(max_ref, row->deviation.max_ref)
NUMBER_CELL(max_out, row->deviation.max_out)
NUMBER_CELL(max_abs, row->deviation.max_abs)

static void cell_nan(FILE *to, const struct shown *shown) {
    const struct row *row = shown->row;
    if (row->deviation.elements == 0) {
        fputs("–", to);
        return;
    }
    fprintf(to, "%lld (%.3g %%)", (long long)row->deviation.nan_count, 100 * row->nan_ratio);
}

static void print_quartiles(FILE *to, const struct timing *timing) {
    if (timing->n == 0) {
        fputs("–", to);
        return;
    }
    fputs(number_time(timing->median_us).text, to);
    fputs(" [", to);
    fputs(number_time(timing->q1_us).text, to);
    fputs(", ", to);
    fputs(number_time(timing->q3_us).text, to);
    fputs("]", to);
}

static void cell_cold(FILE *to, const struct shown *shown) {
    print_quartiles(to, &shown->row->cold);
}
static void cell_warm(FILE *to, const struct shown *shown) {
    print_quartiles(to, &shown->row->warm);
}

static bool is_timed(const struct row *row) {
    return row->warm.n > 0 || row->cold.n > 0;
}

static void cell_tflops(FILE *to, const struct shown *shown) {
    fputs(number_plain(is_timed(shown->row) ? shown->row->tflops : NAN).text, to);
}
static void cell_gbs(FILE *to, const struct shown *shown) {
    fputs(number_plain(is_timed(shown->row) ? shown->row->gbs : NAN).text, to);
}
static void cell_ceiling(FILE *to, const struct shown *shown) {
    const struct row *row = shown->row;
    if (!is_timed(row) || row->ceiling[0] == 0 || !isfinite(row->ceiling_percent))
        fputs("–", to);
    else
        print_markdown(to,
                       strcmp(row->ceiling_from, "data sheet") != 0 ? "%.3g %% of %s"
                                                                    : "%.3g %% of %s, data sheet",
                       row->ceiling_percent, row->ceiling);
}

static void print_speedup(FILE *to, double value) {
    fputs(number_plain(value).text, to);
    if (!isnan(value)) fputs("x", to);
}
static void cell_baseline(FILE *to, const struct shown *shown) {
    print_speedup(to, speedup(shown->row, shown->baseline));
}
static void cell_bymask(FILE *to, const struct shown *shown) {
    print_speedup(to, speedup(shown->row, shown->bymask));
}

static const struct column accuracy_columns[] = {
    {"kernel", cell_kernel},
    {"status", cell_status},
    {"grade", cell_grade},
    {"rho", cell_rho},
    {"worst block", cell_rho_block},
    {"t_max", cell_t_max},
    {"lse", cell_lse},
    {"NaN", cell_nan},
    {"max abs ref", cell_max_ref},
    {"max abs out", cell_max_out},
    {"max abs diff", cell_max_abs},
    {NULL, NULL},
};
static const struct column speed_columns[] = {
    {"kernel", cell_kernel},
    {"cold [quartiles]", cell_cold},
    {"warm [quartiles]", cell_warm},
    {"TFLOP/s", cell_tflops},
    {"GB/s", cell_gbs},
    {"ceiling", cell_ceiling},
    {"x baseline", cell_baseline},
    {"x by-mask", cell_bymask},
    {NULL, NULL},
};

/* Of twins, whose rows have no time. */
static bool is_estimated(const struct row *row) {
    return isfinite(row->estimate_us) && row->estimate_us > 0;
}

static void cell_estimate(FILE *to, const struct shown *shown) {
    fputs(number_time(shown->row->estimate_us).text, to);
}
static void cell_tflops_at_most(FILE *to, const struct shown *shown) {
    fputs(number_plain(shown->row->flops / shown->row->estimate_us * 1e-6).text, to);
}

static const struct column estimate_columns[] = {
    {"kernel", cell_kernel},
    {"estimate, not a time: 910B2 at least", cell_estimate},
    {"TFLOP/s at most", cell_tflops_at_most},
    {NULL, NULL},
};

static void print_table(FILE *to, const struct column *columns, const struct shown *shown,
                        int64_t count, bool (*wanted)(const struct row *)) {
    fputs("\n|", to);
    for (const struct column *column = columns; column->title; column++)
        fprintf(to, " %s |", column->title);
    fputs("\n|---|", to);
    for (const struct column *column = columns + 1; column->title; column++) fputs("--:|", to);
    fputc('\n', to);
    for (int64_t n = 0; n < count; n++) {
        if (!wanted(shown[n].row)) continue;
        fputc('|', to);
        for (const struct column *column = columns; column->title; column++) {
            fputc(' ', to);
            column->print(to, &shown[n]);
            fputs(" |", to);
        }
        fputc('\n', to);
    }
}

/* Sections. */

static const char *kept(const char *ceilings) {
    return !strcmp(ceilings, "kept") ? ", as an earlier run measured them" : "";
}

static void print_device(FILE *to, const struct machine_device *device) {
    print_markdown(to, "| %s:%lld | %s, %s, %lld %s, %s, L2 %s |\n", device->device,
                   (long long)device->index, device->name, device->driver,
                   (long long)device->processors,
                   strcmp(device->device, "ascend") == 0 ? "AI cores" : "multiprocessors",
                   number_bytes(device->memory_bytes).text, number_bytes(device->cache_bytes).text);
    if (!(device->read_bytes_s > 0)) return;
    print_markdown(to,
                   "| its ceilings%s | f16 %s, bf16 %s, read %s, copy %s, gather of 128, 256, 512, "
                   "1024 B %s, %s, %s, %s, launch %s alone, %s in a graph |\n",
                   kept(device->ceilings), number_rate(device->f16_flops, "FLOP/s").text,
                   number_rate(device->bf16_flops, "FLOP/s").text,
                   number_rate(device->read_bytes_s, "B/s").text,
                   number_rate(device->copy_bytes_s, "B/s").text,
                   number_rate(device->gather_128_bytes_s, "B/s").text,
                   number_rate(device->gather_256_bytes_s, "B/s").text,
                   number_rate(device->gather_512_bytes_s, "B/s").text,
                   number_rate(device->gather_1024_bytes_s, "B/s").text,
                   number_time(device->launch_us).text, number_time(device->graph_launch_us).text);
}

static void print_machine(FILE *to, const struct run *run) {
    const struct machine *machine = &run->machine;
    fputs("| machine | |\n|---|---|\n", to);
    print_markdown(to, "| made | %s on %s, commit %.12s%s |\n", machine->time, machine->host,
                   machine->commit[0] ? machine->commit : "unknown",
                   machine->dirty ? " (dirty)" : "");
    print_markdown(to, "| command | `%s` |\n",
                   text_given(machine->command) ? machine->command : "");
    print_markdown(to, "| CPU | %s, %lld cores, %s, %s |\n", machine->cpu,
                   (long long)machine->cores, machine->isa,
                   number_bytes(machine->memory_bytes).text);
    print_markdown(to, "| software | %s; %s; %s; HDF5 %s |\n", machine->os, machine->compiler,
                   machine->blas, machine->hdf5);
    if (machine->sgemm_flops > 0 || machine->read_bytes_s > 0)
        print_markdown(to, "| ceilings%s | sgemm %s, dgemm %s, FMA %s, memory read %s, copy %s |\n",
                       kept(machine->ceilings), number_rate(machine->sgemm_flops, "FLOP/s").text,
                       number_rate(machine->dgemm_flops, "FLOP/s").text,
                       number_rate(machine->fma_flops, "FLOP/s").text,
                       number_rate(machine->read_bytes_s, "B/s").text,
                       number_rate(machine->copy_bytes_s, "B/s").text);
    for (int64_t n = 0; n < machine->device_count; n++) print_device(to, &machine->devices[n]);
}

static bool is_refused(const struct row *row) {
    return status_of(row) == STATUS_REFUSED;
}
static bool is_taken(const struct row *row) {
    return !is_refused(row);
}

static void print_counts(FILE *to, const struct view *view, const struct run *run) {
    int64_t counts[STATUS_COUNT + 1] = {0};
    for (int64_t n = 0; n < view->count; n++) counts[status_of(view->shown[n].row)]++;
    fprintf(to, "\n**%s**", number_count(view->count, "row").text);
    const char *separator = ": ";
    for (int status = 0; status <= STATUS_COUNT; status++) {
        if (counts[status] == 0) continue;
        fprintf(to, "%s%lld %s", separator, (long long)counts[status],
                status < STATUS_COUNT ? status_name(status) : "unknown");
        separator = " · ";
    }
    fputs(".\n", to);
    if (run->count > view->count)
        fprintf(to, "\nReplaced by later rows of the same kernel and problem: %s.\n",
                number_count(run->count - view->count, "row").text);
    if (run->torn > 0)
        fprintf(to,
                "\n**The run is not complete:** its file ends torn (%s), so it was killed. "
                "`attest run --resume` completes it.\n",
                number_count(run->torn, "unreadable line").text);
}

/* One line a kernel. */
struct tally {
    const char *kernel;
    int64_t right, refused, failed;
    char grade;
    double t_max, rho_block, log_sum;
    int64_t log_count;
};

static int tally_order(const void *left, const void *right) {
    const struct tally *a = left, *b = right;
    return strcmp(a->kernel, b->kernel);
}

static void tally_add(struct tally *tally, const struct shown *shown) {
    const struct row *row = shown->row;
    if (is_refused(row)) {
        tally->refused++;
        return;
    }
    if (row_failed(row))
        tally->failed++;
    else
        tally->right++;
    if (row->grade[0] >= 'A' && row->grade[0] > tally->grade) tally->grade = row->grade[0];
    if (row->deviation.elements > 0) {
        tally->t_max = fmax(tally->t_max, row->deviation.t_max);
        tally->rho_block = fmax(tally->rho_block, row->deviation.rho_block);
    }
    const double gain = speedup(row, shown->baseline);
    if (isfinite(gain) && gain > 0) {
        tally->log_sum += log(gain);
        tally->log_count++;
    }
}

static bool print_kernels(FILE *to, const struct view *view, const char *baseline,
                          struct fault *fault) {
    struct tally *tallies = calloc((size_t)view->count + 1, sizeof *tallies);
    if (tallies == NULL) return fault_set(fault, FAULT_OURS, "out of memory for the report");
    int64_t count = 0;
    for (int64_t n = 0; n < view->count; n++) {
        int64_t at = 0;
        while (at < count && strcmp(tallies[at].kernel, view->shown[n].row->kernel) != 0) at++;
        if (at == count)
            tallies[count++] = (struct tally){
                .kernel = view->shown[n].row->kernel, .grade = '-', .t_max = NAN, .rho_block = NAN};
        tally_add(&tallies[at], &view->shown[n]);
    }
    qsort(tallies, (size_t)count, sizeof *tallies, tally_order);
    print_markdown(
        to,
        "\n## Kernels\n\n| kernel | right | failed | refused | worst grade | worst block "
        "rho | worst t_max | speed-up over `%s` |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|\n",
        baseline);
    for (int64_t n = 0; n < count; n++) {
        const struct tally *tally = &tallies[n];
        print_markdown(to, "| %s | %lld | %lld | %lld | %c | %s | %s | ", tally->kernel,
                       (long long)tally->right, (long long)tally->failed, (long long)tally->refused,
                       tally->grade, number_plain(tally->rho_block).text,
                       number_plain(tally->t_max).text);
        print_speedup(to, tally->log_count ? exp(tally->log_sum / (double)tally->log_count) : NAN);
        fputs(" |\n", to);
    }
    free(tallies);
    return true;
}

static void print_failures(FILE *to, const struct view *view) {
    bool any = false;
    for (int64_t n = 0; n < view->count; n++) {
        const struct row *row = view->shown[n].row;
        if (!row_failed(row)) continue;
        if (!any) fputs("\n## Failures\n", to);
        any = true;
        print_markdown(to, "\n- **%s** %s `%s`\n  %s\n", row->status, row->kernel, row->line,
                       row->reason);
        if (text_given(row->diagnosis)) print_markdown(to, "\n  %s\n", row->diagnosis);
        if (!text_given(row->repeat)) continue;
        fputc('\n', to);
        print_markdown_block(to, "  ", "sh", row->repeat);
    }
}

static void print_warnings(FILE *to, const struct view *view) {
    bool any = false;
    for (int64_t n = 0; n < view->count; n++) {
        const struct row *row = view->shown[n].row;
        const bool unstable = status_of(row) == STATUS_UNSTABLE;
        if (!unstable && !row->bias_warning) continue;
        if (!any) fputs("\n## Warnings\n\n", to);
        any = true;
        print_markdown(to, "- %s `%s`:", row->kernel, row->line);
        if (row->bias_warning) {
            fputs(" biased, mean(sign(o) error) is ", to);
            fputs(number_plain(row->deviation.bias).text, to);
            fputs(" of the model's rms (at most 0.3 expected)", to);
        }
        if (unstable)
            print_markdown(to, "%s UNSTABLE %s", row->bias_warning ? ";" : "", row->reason);
        fputc('\n', to);
    }
}

/* The places of "; not NAME (WHY)" in a row's checks. */
static void print_left_out(FILE *to, const struct view *view) {
    static const char *const names[] = {"values", "signs", "keys", "pages", "batch", "none"};
    bool any = false;
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
        char sought[16], why[64] = "";
        int64_t count = 0;
        snprintf(sought, sizeof sought, "%s (", names[n]);
        for (int64_t at = 0; at < view->count; at++) {
            const char *found = strstr(view->shown[at].row->checks, sought);
            if (found == NULL) continue;
            found += strlen(sought);
            if (count++ == 0) snprintf(why, sizeof why, "%.*s", (int)strcspn(found, ")"), found);
            if (strncmp(found, why, strlen(why)) != 0 && strstr(why, ", ...") == NULL)
                strncat(why, ", ...", sizeof why - strlen(why) - 1);
        }
        if (count == 0) continue;
        if (!any) fputs("\n## Not shown to be read anew\n\n", to);
        any = true;
        print_markdown(to, "- %s: %lld rows (%s)\n", n == 5 ? "any input" : names[n],
                       (long long)count, why);
    }
}

static void print_refusals(FILE *to, const struct shown *shown, int64_t count) {
    for (int64_t n = 0; n < count; n++) {
        const struct row *row = shown[n].row;
        if (is_refused(row)) print_markdown(to, "\n%s refused: %s\n", row->kernel, row->reason);
    }
}

/* In the twin's words, which are lines. */
/* What a kernel does once is in no column: said where it is no trifle beside a launch. */
static void print_prepared(FILE *to, const struct shown *shown, int64_t count) {
    static const double trifle = 0.01;
    const char *separator = "Prepared once, apart from what was timed:";
    for (int64_t n = 0; n < count; n++) {
        const struct row *row = shown[n].row;
        if (row->warm.n == 0 || !(row->prepare_us > trifle * row->warm.median_us)) continue;
        if (*separator != ',') fputc('\n', to);
        print_markdown(to, "%s %s %s", separator, row->kernel, number_time(row->prepare_us).text);
        separator = ",";
    }
    if (*separator == ',') fputs(".\n", to);
}

static void print_counted(FILE *to, const struct shown *shown, int64_t count) {
    for (int64_t n = 0; n < count; n++) {
        const struct row *row = shown[n].row;
        if (!is_estimated(row) || row->counted[0] == 0) continue;
        print_markdown(to, "\n%s, what the estimate is of:\n\n", row->kernel);
        print_markdown_block(to, "", "", row->counted);
    }
}

static void print_shapes(FILE *to, const struct row *row) {
    print_markdown(to, "%s · q, out [%lld, %lld, %lld, %lld]", row->dtype, (long long)row->batch,
                   (long long)row->q_heads, (long long)row->q_len, (long long)row->head_dim);
    if (row->page_size > 0)
        fprintf(to, " · kv_cache [%lld, 2, %lld, %lld, %lld]", (long long)row->pages,
                (long long)row->kv_heads, (long long)row->page_size, (long long)row->head_dim);
    else
        fprintf(to, " · k, v [%lld, %lld, %lld, %lld]", (long long)row->batch,
                (long long)row->kv_heads, (long long)row->kv_len, (long long)row->head_dim);
}

static bool keeps_lists(const struct row *row) {
    return strstr(row->variant, "sparse") != NULL || strstr(row->variant, "magicpig") != NULL;
}

static void print_problem(FILE *to, const struct shown *shown, int64_t count) {
    /* A row that was judged knows all about its problem; one that was refused, only the line. */
    const struct row *row = shown[0].row;
    for (int64_t n = 0; n < count && row->deviation.elements == 0; n++) row = shown[n].row;
    print_markdown(to, "\n### `%s`\n\n", row->line);
    print_shapes(to, row);
    if (row->deviation.elements > 0 && keeps_lists(row)) {
        fprintf(to, " · kept ratio %.5g", row->kept_ratio);
        if (isfinite(row->kept_mass)) fprintf(to, " · kept mass %.4g", row->kept_mass);
    }
    if (row->flops > 0) {
        fputs(" · needs ", to);
        fputs(number_rate(row->flops, "FLOP").text, to);
        fputs(", ", to);
        fputs(number_bytes(row->bytes).text, to);
    }
    if (text_given(row->file)) print_markdown(to, " · file `%s`", row->file);
    fputc('\n', to);

    bool taken = false, timed = false, estimated = false;
    for (int64_t n = 0; n < count; n++) {
        taken = taken || is_taken(shown[n].row);
        timed = timed || is_timed(shown[n].row);
        estimated = estimated || is_estimated(shown[n].row);
    }
    if (taken) print_table(to, accuracy_columns, shown, count, is_taken);
    if (timed) print_table(to, speed_columns, shown, count, is_timed);
    if (estimated) print_table(to, estimate_columns, shown, count, is_estimated);
    print_prepared(to, shown, count);
    print_counted(to, shown, count);
    print_refusals(to, shown, count);
}

static bool same_problem(const struct shown *a, const struct shown *b) {
    return strcmp(a->row->line, b->row->line) == 0 && strcmp(a->digest, b->digest) == 0;
}

bool report_markdown(FILE *to, const struct run *run, const struct report_options *options,
                     struct fault *fault) {
    struct view view;
    bool ok = view_make(&view, run, options->baseline, fault);
    if (ok) {
        print_markdown(to, "# %s\n\n", options->name);
        print_machine(to, run);
        print_counts(to, &view, run);
        ok = print_kernels(to, &view, options->baseline, fault);
    }
    if (ok) {
        print_failures(to, &view);
        print_warnings(to, &view);
        print_left_out(to, &view);
        const char *variant = "";
        for (int64_t begin = 0, end; begin < view.count; begin = end) {
            const struct row *row = view.shown[begin].row;
            for (end = begin + 1; end < view.count; end++)
                if (!same_problem(&view.shown[begin], &view.shown[end])) break;
            if (strcmp(variant, row->variant) != 0) print_markdown(to, "\n## %s\n", row->variant);
            variant = row->variant;
            print_problem(to, &view.shown[begin], end - begin);
        }
    }
    free(view.shown);
    return ok;
}

static void print_csv_value(FILE *to, const json_t *value) {
    if (json_is_string(value))
        print_csv(to, json_string_value(value));
    else if (json_is_integer(value))
        fprintf(to, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        fprintf(to, "%.17g", json_real_value(value));
    else if (json_is_boolean(value))
        fputc(json_is_true(value) ? '1' : '0', to);
}

void report_csv(FILE *to, const struct run *run) {
    for (const struct row_field *field = row_fields; field->name; field++) {
        if (field > row_fields) fputc(',', to);
        print_csv(to, field->name);
    }
    fputs("\r\n", to);
    for (int64_t n = 0; n < run->count; n++) {
        json_t *row = row_to_json(&run->rows[n]);
        for (const struct row_field *field = row_fields; field->name; field++) {
            if (field > row_fields) fputc(',', to);
            print_csv_value(to, json_object_get(row, field->name));
        }
        fputs("\r\n", to);
        json_decref(row);
    }
}

static json_t *real_or_null(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

bool report_json(json_t **json, const struct run *run, const struct report_options *options,
                 struct fault *fault) {
    struct view view;
    if (!view_make(&view, run, options->baseline, fault)) return false;
    json_t *rows = json_array(), *statuses = json_object();
    for (int64_t n = 0; n < view.count; n++) {
        const struct shown *shown = &view.shown[n];
        json_t *row = row_to_json(shown->row);
        json_object_set_new(row, "speedup_baseline",
                            real_or_null(speedup(shown->row, shown->baseline)));
        json_object_set_new(row, "speedup_bymask",
                            real_or_null(speedup(shown->row, shown->bymask)));
        json_array_append_new(rows, row);
        const json_int_t before = json_integer_value(json_object_get(statuses, shown->row->status));
        json_object_set_new(statuses, shown->row->status, json_integer(before + 1));
    }
    free(view.shown);
    *json = json_pack("{s:o, s:I, s:o, s:o, s:o}", "machine", machine_to_json(&run->machine),
                      "torn", (json_int_t)run->torn, "baseline", text_to_json(options->baseline),
                      "statuses", statuses, "rows", rows);
    return true;
}
