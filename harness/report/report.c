/* The report is tables, and the tables are made of columns: a title and a function that prints one
 * row's cell. The run is gone through three times: for what is said of it as a whole, for the rows
 * that are listed by themselves, and for the problems, of which one is in memory at a time. */
#include "report.h"
#include "overview.h"
#include "print.h"
#include "../worker/protocol.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A row and those it is measured against. */
struct shown {
    struct row row;
    json_t *json;                          /* which texts of the row are in */
    double speedup_baseline, speedup_mask; /* NaN: none, or over itself */
};

/* Columns. */

struct column {
    const char *title;
    void (*print)(FILE *to, const struct shown *shown);
    bool (*given)(const struct row *row); /* of no row: there is no such column; NULL: there is */
};

static void cell_kernel(FILE *to, const struct shown *shown) {
    print_markdown(to, "%s", shown->row.kernel);
}
static void cell_status(FILE *to, const struct shown *shown) {
    print_markdown(to, "%s", shown->row.status);
}
static void cell_grade(FILE *to, const struct shown *shown) {
    print_markdown(to, "%s", shown->row.grade);
}

#define NUMBER_CELL(name, value)                                                                   \
    static void cell_##name(FILE *to, const struct shown *shown) {                                 \
        const struct row *row = &shown->row;                                                       \
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
    const struct row *row = &shown->row;
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
    print_quartiles(to, &shown->row.cold);
}
static void cell_warm(FILE *to, const struct shown *shown) {
    print_quartiles(to, &shown->row.warm);
}

static void cell_regime(FILE *to, const struct shown *shown) {
    fputs(row_is_timed(&shown->row) ? shown->row.regime : "–", to);
}
/* What the GPU's clock and power were, in either regime. */
static void cell_burst(FILE *to, const struct shown *shown) {
    const struct row *row = &shown->row;
    if (!row_has_burst(row)) {
        fputs("–", to);
        return;
    }
    fprintf(to, "%s at %.0f MHz, %.0f W; not %.0f MHz, %.0f W", number_time(row->burst_us).text,
            row->burst_clock_mhz, row->burst_watts, row->warm.clock_mhz, row->watts);
}

static bool is_prepared(const struct row *row) {
    return row->prepare_us > 0;
}
static void cell_prepare(FILE *to, const struct shown *shown) {
    fputs(number_time(is_prepared(&shown->row) ? shown->row.prepare_us : NAN).text, to);
}

static void cell_tflops(FILE *to, const struct shown *shown) {
    fputs(number_plain(row_is_timed(&shown->row) ? shown->row.tflops : NAN).text, to);
}
static void cell_gbs(FILE *to, const struct shown *shown) {
    fputs(number_plain(row_is_timed(&shown->row) ? shown->row.gbs : NAN).text, to);
}
static void cell_ceiling(FILE *to, const struct shown *shown) {
    const struct row *row = &shown->row;
    if (!row_is_timed(row) || row->ceiling[0] == 0 || !isfinite(row->ceiling_percent))
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
    print_speedup(to, shown->speedup_baseline);
}
static void cell_bymask(FILE *to, const struct shown *shown) {
    print_speedup(to, shown->speedup_mask);
}

static const struct column accuracy_columns[] = {
    {"kernel", cell_kernel, NULL},
    {"status", cell_status, NULL},
    {"grade", cell_grade, NULL},
    {"rho", cell_rho, NULL},
    {"worst block", cell_rho_block, NULL},
    {"t_max", cell_t_max, NULL},
    {"lse", cell_lse, NULL},
    {"NaN", cell_nan, NULL},
    {"max abs ref", cell_max_ref, NULL},
    {"max abs out", cell_max_out, NULL},
    {"max abs diff", cell_max_abs, NULL},
    {NULL, NULL, NULL},
};
static const struct column speed_columns[] = {
    {"kernel", cell_kernel, NULL},
    {"cold [quartiles]", cell_cold, NULL},
    {"warm [quartiles]", cell_warm, NULL},
    {"regime", cell_regime, row_is_burst},
    {"warm, in a burst", cell_burst, row_has_burst},
    {"prepare", cell_prepare, is_prepared},
    {"TFLOP/s", cell_tflops, NULL},
    {"GB/s", cell_gbs, NULL},
    {"ceiling", cell_ceiling, NULL},
    {"x baseline", cell_baseline, NULL},
    {"x by-mask", cell_bymask, NULL},
    {NULL, NULL, NULL},
};

/* Of twins, whose rows have no time. */
static bool is_estimated(const struct row *row) {
    return isfinite(row->estimate_us) && row->estimate_us > 0;
}

static void cell_estimate(FILE *to, const struct shown *shown) {
    fputs(number_time(shown->row.estimate_us).text, to);
}
static void cell_tflops_at_most(FILE *to, const struct shown *shown) {
    fputs(number_plain(shown->row.flops / shown->row.estimate_us * 1e-6).text, to);
}

static const struct column estimate_columns[] = {
    {"kernel", cell_kernel, NULL},
    {"estimate, not a time: 910B2 at least", cell_estimate, NULL},
    {"TFLOP/s at most", cell_tflops_at_most, NULL},
    {NULL, NULL, NULL},
};

static bool any_row(const struct shown *shown, int64_t count, bool (*wanted)(const struct row *),
                    bool (*given)(const struct row *)) {
    for (int64_t n = 0; n < count; n++)
        if (wanted(&shown[n].row) && (given == NULL || given(&shown[n].row))) return true;
    return false;
}

/* Of the rows that are wanted; nothing if there are none. */
static void print_table(FILE *to, const struct column *columns, const struct shown *shown,
                        int64_t count, bool (*wanted)(const struct row *)) {
    const struct column *used[16] = {NULL};
    int used_count = 0;
    if (!any_row(shown, count, wanted, NULL)) return;
    for (const struct column *column = columns; column->title; column++)
        if (any_row(shown, count, wanted, column->given)) used[used_count++] = column;
    fputs("\n|", to);
    for (int n = 0; n < used_count; n++) fprintf(to, " %s |", used[n]->title);
    fputs("\n|---|", to);
    for (int n = 1; n < used_count; n++) fputs("--:|", to);
    fputc('\n', to);
    for (int64_t n = 0; n < count; n++) {
        if (!wanted(&shown[n].row)) continue;
        fputc('|', to);
        for (int column = 0; column < used_count; column++) {
            fputc(' ', to);
            used[column]->print(to, &shown[n]);
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
                   "| its ceilings%s | f16 %s, bf16 %s, in a burst %s and %s, read %s, copy %s, "
                   "gather of 128, 256, 512, "
                   "1024 B %s, %s, %s, %s, launch %s alone, %s in a graph |\n",
                   kept(device->ceilings), number_rate(device->f16_flops, "FLOP/s").text,
                   number_rate(device->bf16_flops, "FLOP/s").text,
                   number_rate(device->f16_burst_flops, "FLOP/s").text,
                   number_rate(device->bf16_burst_flops, "FLOP/s").text,
                   number_rate(device->read_bytes_s, "B/s").text,
                   number_rate(device->copy_bytes_s, "B/s").text,
                   number_rate(device->gather_128_bytes_s, "B/s").text,
                   number_rate(device->gather_256_bytes_s, "B/s").text,
                   number_rate(device->gather_512_bytes_s, "B/s").text,
                   number_rate(device->gather_1024_bytes_s, "B/s").text,
                   number_time(device->launch_us).text, number_time(device->graph_launch_us).text);
}

static void print_machine(FILE *to, const struct machine *machine) {
    fputs("| machine | |\n|---|---|\n", to);
    print_markdown(to, "| made | %s on %s, commit %.12s%s%s |\n", machine->time, machine->host,
                   machine->commit[0] ? machine->commit : "unknown",
                   machine->dirty ? " (dirty)" : "", machine_doubt(machine));
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
    if (machine_turns(machine)[0] != '\0')
        print_markdown(to, "| GPUs timed | %s |\n", machine_turns(machine));
}

static bool is_taken(const struct row *row) {
    return !row_is_refused(row);
}

/* What is said of the run as a whole. */

static void print_counts(FILE *to, const struct headline *headline, const struct row_index *index) {
    fprintf(to, "\n**%s**", number_count(index->count, "row").text);
    const char *separator = ": ";
    for (int status = 0; status <= STATUS_COUNT; status++) {
        const int64_t count = headline->counts[status];
        if (count == 0) continue;
        fprintf(to, "%s%lld %s", separator, (long long)count,
                status < STATUS_COUNT ? status_name(status) : "unknown");
        separator = " · ";
    }
    fputs(".\n", to);
    if (index->total > index->count)
        fprintf(to, "\nEach as it stands last: %s of the same kernels and problems came before.\n",
                number_count(index->total - index->count, "row").text);
    if (index->reader.torn > 0)
        fprintf(to,
                "\n**The run is not complete:** its file ends torn (%s), so it was killed. "
                "`attest run --resume` completes it.\n",
                number_count(index->reader.torn, "unreadable line").text);
}

static void print_kernels(FILE *to, const struct overview *overview, const char *baseline) {
    fputs("\n## Kernels\n\n", to);
    tallies_print_titles(to, baseline);
    for (int64_t n = 0; n < overview->tally_count; n++) tally_print(to, &overview->tallies[n]);
}

static void print_left_out(FILE *to, const struct overview *overview) {
    bool any = false;
    for (int n = 0; n < LEFT_OUT; n++) {
        if (overview->left_out[n].rows == 0) continue;
        if (!any) fputs("\n## Not shown to be read anew\n\n", to);
        any = true;
        print_markdown(to, "- %s: %lld rows (%s)\n",
                       n == LEFT_OUT - 1 ? "any input" : left_out_names[n],
                       (long long)overview->left_out[n].rows, overview->left_out[n].why);
    }
}

/* Rows that are listed by themselves. */

static void print_failure(FILE *to, const struct row *row) {
    print_markdown(to, "\n- **%s** %s `%s`\n  %s\n", row->status, row->kernel, row->line,
                   row->reason);
    if (text_given(row->diagnosis)) print_markdown(to, "\n  %s\n", row->diagnosis);
    if (!text_given(row->repeat)) return;
    fputc('\n', to);
    print_markdown_block(to, "  ", "sh", row->repeat);
}

static void print_warning(FILE *to, const struct row *row) {
    print_markdown(to, "- %s `%s`:", row->kernel, row->line);
    if (row->bias_warning) {
        fputs(" biased, mean(sign(o) error) is ", to);
        fputs(number_plain(row->deviation.bias).text, to);
        fputs(" of the model's rms (at most 0.3 expected)", to);
    }
    if (status_of(row) == STATUS_UNSTABLE)
        print_markdown(to, "%s UNSTABLE %s", row->bias_warning ? ";" : "", row->reason);
    fputc('\n', to);
}

static bool print_list(FILE *to, struct row_index *index, bool warnings, struct fault *fault) {
    struct row row;
    bool any = false;
    for (int64_t n = 0; n < index->count; n++) {
        const struct indexed_row *at = row_index_at(index, n);
        if (!(warnings ? at->warned : at->failed)) continue;
        if (!row_index_read(index, n, &row, fault)) return false;
        if (!any) fputs(warnings ? "\n## Warnings\n\n" : "\n## Failures\n", to);
        any = true;
        (warnings ? print_warning : print_failure)(to, &row);
    }
    return true;
}

/* Problems. */

static void print_refusals(FILE *to, const struct shown *shown, int64_t count) {
    for (int64_t n = 0; n < count; n++) {
        const struct row *row = &shown[n].row;
        if (row_is_refused(row)) print_markdown(to, "\n%s refused: %s\n", row->kernel, row->reason);
    }
}

/* In the twin's words, which are lines. */
static void print_counted(FILE *to, const struct shown *shown, int64_t count) {
    for (int64_t n = 0; n < count; n++) {
        const struct row *row = &shown[n].row;
        if (!is_estimated(row) || row->counted[0] == 0) continue;
        print_markdown(to, "\n%s, what the estimate is of:\n\n", row->kernel);
        print_markdown_block(to, "", "", row->counted);
    }
}

static void print_shapes(FILE *to, const struct row *row) {
    struct problem problem;
    struct fault fault;
    const bool known = problem_parse(&problem, row->line, &fault);
    const uint64_t traits = known ? problem.attn.traits : 0;
    const long long dim = row->head_dim, wide = traits & ATTN_DV ? problem.attn.value_dim : dim;
    const bool paged = row->page_size > 0, apart = traits & (ATTN_DV | ATTN_KSHARED);
    const long long first = paged ? row->pages : row->batch, heads = row->kv_heads;
    const long long tokens = paged ? row->page_size : row->kv_len;
    print_markdown(to, "%s · q%s [%lld, %lld, %lld, %lld]", row->dtype, wide == dim ? ", out" : "",
                   (long long)row->batch, (long long)row->q_heads, (long long)row->q_len, dim);
    if (wide != dim) fprintf(to, ", out [..., %lld]", wide);
    if (paged && !apart)
        fprintf(to, " · kv_cache [%lld, 2, %lld, %lld, %lld]", first, heads, tokens, dim);
    else
        fprintf(to, " · k%s [%lld, %lld, %lld, %lld]", apart ? "" : ", v", first, heads, tokens,
                dim);
    if (traits & ATTN_KSHARED)
        fprintf(to, ", v its first %lld columns", wide);
    else if (apart)
        fprintf(to, ", v [..., %lld]", wide);
    if (traits & (ATTN_NHD | ATTN_THD | ATTN_STRIDED))
        fprintf(to, " · which kernels find laid out:%s%s%s", traits & ATTN_NHD ? " nhd" : "",
                traits & ATTN_THD ? " thd" : "", traits & ATTN_STRIDED ? " strided" : "");
}

static void print_problem(FILE *to, const struct shown *shown, int64_t count) {
    /* A row that was judged knows all about its problem; one that was refused, only the line. */
    const struct row *row = &shown[0].row;
    for (int64_t n = 0; n < count && row->deviation.elements == 0; n++) row = &shown[n].row;
    print_markdown(to, "\n### `%s`\n\n", row->line);
    print_shapes(to, row);
    if (row->deviation.elements > 0 && row_keeps_lists(row)) {
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

    print_table(to, accuracy_columns, shown, count, is_taken);
    print_table(to, speed_columns, shown, count, row_is_timed);
    print_table(to, estimate_columns, shown, count, is_estimated);
    print_counted(to, shown, count);
    print_refusals(to, shown, count);
}

/* The rows of one problem, in memory while it is printed. */
struct problem_rows {
    int64_t count, room;
    struct shown *shown;
};

static void problem_clear(struct problem_rows *problem) {
    for (int64_t n = 0; n < problem->count; n++) json_decref(problem->shown[n].json);
    problem->count = 0;
}

static bool problem_add(struct problem_rows *problem, struct row_index *index, int64_t place,
                        struct fault *fault) {
    if (problem->count == problem->room) {
        const int64_t room = 2 * problem->room + 16;
        struct shown *larger = realloc(problem->shown, (size_t)room * sizeof *problem->shown);
        if (larger == NULL) return fault_set(fault, FAULT_OURS, "out of memory for a problem");
        problem->shown = larger;
        problem->room = room;
    }
    struct shown *shown = &problem->shown[problem->count];
    const struct indexed_row *at = row_index_at(index, place);
    if (!row_index_read(index, place, &shown->row, fault)) return false;
    shown->json = json_incref(index->reader.json);
    shown->speedup_baseline = row_index_speedup(index, at, at->baseline);
    shown->speedup_mask = row_index_speedup(index, at, at->bymask);
    problem->count++;
    return true;
}

static bool print_problems(FILE *to, struct row_index *index, struct fault *fault) {
    struct problem_rows problem = {0};
    char variant[sizeof((struct row *)NULL)->variant] = "";
    bool well = true;
    for (int64_t begin = 0, end; well && begin < index->count; begin = end) {
        well = problem_add(&problem, index, begin, fault);
        for (end = begin + 1;
             well && end < index->count && row_index_same_problem(index, begin, end); end++)
            well = problem_add(&problem, index, end, fault);
        if (!well || problem.shown == NULL) break;
        const struct row *row = &problem.shown[0].row;
        if (strcmp(variant, row->variant) != 0) print_markdown(to, "\n## %s\n", row->variant);
        memcpy(variant, row->variant, sizeof variant);
        print_problem(to, problem.shown, problem.count);
        problem_clear(&problem);
    }
    problem_clear(&problem);
    free(problem.shown);
    return well;
}

bool report_markdown(FILE *to, struct row_index *index, const struct report_options *options,
                     struct fault *fault) {
    struct overview overview;
    bool well = overview_make(&overview, index, fault);
    if (well) {
        print_markdown(to, "# %s\n\n", options->name);
        headline_print_markdown(to, &overview.headline, HEADLINE_ITEMS);
        print_machine(to, &index->reader.machine);
        print_counts(to, &overview.headline, index);
        print_kernels(to, &overview, options->baseline);
        fputs("\nWhat the columns say, here and below:\n\n", to);
        legend_print_markdown(to, accuracy_legend);
        legend_print_markdown(to, speed_legend);
        well = print_list(to, index, false, fault) && print_list(to, index, true, fault);
    }
    if (well) print_left_out(to, &overview);
    well = well && print_problems(to, index, fault);
    overview_free(&overview);
    return well;
}
