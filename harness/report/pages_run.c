/* The first page of a run. */
#define _GNU_SOURCE
#include "pages.h"
#include "pages_inside.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void write_kernel_link(FILE *to, const struct book *book, const char *kernel) {
    print_html(to, "<a href=\"%s\">%s</a>", book_chapter(book, kernel)->page, kernel);
}

/* The row that stands for others of its kernel and status. */
static const struct row *row_of_item(const struct book *book, const struct headline_item *item) {
    const struct chapter *chapter = book_chapter(book, item->kernel);
    for (int64_t n = 0; chapter != NULL && n < chapter->count; n++) {
        const struct row *row = chapter->shown[n].row;
        if (row_is_failure(row) && !strcmp(row->line, item->line) &&
            !strcmp(row->reason, item->reason))
            return row;
    }
    return NULL;
}

/* Of each kernel and status the worst row; all of them are on the kernels' pages. */
static void write_wrong(FILE *to, const struct book *book) {
    const struct headline *headline = &book->headline;
    fputs("<h2 id=\"wrong\">What is wrong</h2>\n", to);
    if (book->run->torn > 0)
        fprintf(to,
                "<p>The file of the run ends torn (%s): it was killed. <code>attest run "
                "--resume</code> completes it.</p>\n",
                number_count(book->run->torn, "unreadable line").text);
    if (headline->well) fputs("<p>Nothing: no row that was judged has failed.</p>\n", to);
    for (int64_t n = 0; n < headline->item_count && n < FAILURES_MOST; n++) {
        const struct headline_item *item = &headline->items[n];
        const struct row *row = row_of_item(book, item);
        if (row == NULL) continue;
        fputs("<div class=\"wrong\">", to);
        write_kernel_link(to, book, row->kernel);
        print_html(to, ": <span class=\"s bad\">%s</span>%s", item->what,
                   item->rows > 1 ? ", the worst" : "");
        write_failure(to, row);
        fputs("</div>\n", to);
    }
    write_warnings(to, book->view.shown, book->view.count);
}

static double gain_of(const struct tally *tally) {
    return tally->gains > 0 ? exp(tally->log_gains / (double)tally->gains) : NAN;
}

static void write_gain(FILE *to, const struct tally *tally) {
    if (tally->gains > 0)
        fprintf(to, "<td>%s x</td>", number_plain(gain_of(tally)).text);
    else
        fputs("<td>–</td>", to);
    if (isfinite(tally->share))
        fprintf(to, "<td>%.3g %%</td>", tally->share);
    else
        fputs("<td>–</td>", to);
}

static const struct html_column kernel_columns[] = {
    {"kernel", NULL, true},
    {"right", "rows", false},
    {"failed", NULL, false},
    {"refused", "not declared by the kernel", false},
    {"grade", "the worst: A is a good flash kernel", true},
    {"rho", "worst block; 1 is what an honest kernel has", false},
    {"t", "worst element; beyond 1 is wrong", false},
    {"speed-up", "over the baseline, geometric mean", false},
    {"of ceiling", "its best row", false},
};
enum { KERNEL_COLUMNS = sizeof kernel_columns / sizeof kernel_columns[0] };

static void write_kernels(FILE *to, const struct book *book, const struct part *part) {
    html_table(to, kernel_columns, KERNEL_COLUMNS);
    for (int64_t n = 0; n < part->matrix.kernel_count; n++) {
        const char *kernel = part->matrix.kernels[n];
        const struct tally tally = tally_of(part->shown, part->count, kernel);
        fputs("<tr><td>", to);
        write_kernel_link(to, book, kernel);
        fprintf(to, "</td><td>%lld</td><td%s>%lld</td><td>%lld</td><td class=\"t\">%c</td>",
                (long long)tally.right, tally.failed > 0 ? " class=\"s bad\"" : "",
                (long long)tally.failed, (long long)tally.refused, tally.grade);
        fprintf(to, "<td>%s</td><td>%s</td>", number_plain(tally.rho).text,
                number_plain(tally.t).text);
        write_gain(to, &tally);
        fputs("</tr>\n", to);
    }
    html_table_end(to);
}

static void write_cell(FILE *to, const struct row *row) {
    if (row == NULL) {
        fputs("<td class=\"t\"></td>", to);
        return;
    }
    fputs("<td class=\"t\">", to);
    html_status(to, row->status);
    if (row_is_timed(row) && row->ceiling[0] != '\0' && isfinite(row->ceiling_percent))
        print_html(to, " %.3g %% of %s", row->ceiling_percent, row->ceiling);
    fputs("</td>", to);
}

static const struct row *row_of_problem(const struct matrix *matrix, int64_t problem) {
    for (int64_t n = 0; n < matrix->kernel_count; n++) {
        const struct row *row = matrix->cells[problem * matrix->kernel_count + n];
        if (row != NULL) return row;
    }
    return NULL;
}

static void write_colours(FILE *to) {
    fputs("<div class=\"key\">", to);
    for (const struct picture_colour *colour = picture_colours; colour->name != NULL; colour++)
        fprintf(to, "<span><span class=\"c\" style=\"background:#%06x\"></span>%s</span>",
                colour->colour, colour->name);
    fputs("</div>\n", to);
}

static void write_matrix(FILE *to, const struct book *book, const struct part *part) {
    const struct matrix *matrix = &part->matrix;
    if (part->matrix_picture < 0) return;
    struct html_column *columns = allocate_or_abort(matrix->kernel_count + 1, sizeof *columns);
    columns[0] = (struct html_column){"problem", NULL, true};
    for (int64_t n = 0; n < matrix->kernel_count; n++)
        columns[n + 1] = (struct html_column){matrix->kernels[n], NULL, true};
    html_figure_begin(to, book->album.plots[part->matrix_picture], write_colours);
    html_table(to, columns, (int)matrix->kernel_count + 1);
    free(columns);
    int64_t written = 0;
    for (int64_t problem = 0; problem < matrix->problem_count && written < HTML_ROWS_MOST;
         problem++) {
        const struct row *row = row_of_problem(matrix, problem);
        if (row == NULL) continue;
        written++;
        print_html(to, "<tr><td><code>%s</code></td>", row->line);
        for (int64_t n = 0; n < matrix->kernel_count; n++)
            write_cell(to, matrix->cells[problem * matrix->kernel_count + n]);
        fputs("</tr>\n", to);
    }
    html_table_end(to);
    if (matrix->problem_count > HTML_ROWS_MOST)
        fprintf(to, "<p class=\"soft\">%lld problems more are on the kernels' pages.</p>\n",
                (long long)(matrix->problem_count - HTML_ROWS_MOST));
    html_figure_end(to);
}

static void write_fact(FILE *to, const char *name, const char *value) {
    if (value[0] != '\0')
        print_html(to, "<tr><td>%s</td><td class=\"t w\">%s</td></tr>\n", name, value);
}

static void write_machine(FILE *to, const struct machine *machine) {
    char text[512];
    fputs("<h2 id=\"machine\">The machine</h2>\n<div class=\"scroll\"><table><tbody>\n", to);
    snprintf(text, sizeof text, "%s on %s, commit %.12s%s%s", machine->time, machine->host,
             machine->commit[0] ? machine->commit : "unknown", machine->dirty ? " (dirty)" : "",
             machine_doubt(machine));
    write_fact(to, "made", text);
    write_fact(to, "command", text_given(machine->command) ? machine->command : "");
    snprintf(text, sizeof text, "%s, %lld cores, %s, %s", machine->cpu, (long long)machine->cores,
             machine->isa, number_bytes(machine->memory_bytes).text);
    write_fact(to, "CPU", text);
    snprintf(text, sizeof text, "%s; %s; %s; HDF5 %s", machine->os, machine->compiler,
             machine->blas, machine->hdf5);
    write_fact(to, "software", text);
    if (machine->fma_flops > 0) {
        snprintf(text, sizeof text, "f32 multiply-adds %s, memory read %s, copy %s",
                 number_rate(machine->fma_flops, "FLOP/s").text,
                 number_rate(machine->read_bytes_s, "B/s").text,
                 number_rate(machine->copy_bytes_s, "B/s").text);
        write_fact(to, "its ceilings", text);
    }
    for (int64_t n = 0; n < machine->device_count; n++) {
        const struct machine_device *device = &machine->devices[n];
        char name[32];
        snprintf(name, sizeof name, "%s:%lld", device->device, (long long)device->index);
        snprintf(text, sizeof text, "%s, %s, %lld processors, %s, L2 %s", device->name,
                 device->driver, (long long)device->processors,
                 number_bytes(device->memory_bytes).text, number_bytes(device->cache_bytes).text);
        write_fact(to, name, text);
        if (!(device->read_bytes_s > 0)) continue;
        snprintf(text, sizeof text,
                 "f16 %s, bf16 %s, in a burst %s and %s, read %s, gather of 512-byte rows %s, "
                 "launch %s alone, %s in a graph",
                 number_rate(device->f16_flops, "FLOP/s").text,
                 number_rate(device->bf16_flops, "FLOP/s").text,
                 number_rate(device->f16_burst_flops, "FLOP/s").text,
                 number_rate(device->bf16_burst_flops, "FLOP/s").text,
                 number_rate(device->read_bytes_s, "B/s").text,
                 number_rate(device->gather_512_bytes_s, "B/s").text,
                 number_time(device->launch_us).text, number_time(device->graph_launch_us).text);
        write_fact(to, "its ceilings", text);
    }
    if (machine_turns(machine)[0] != '\0') write_fact(to, "GPUs timed", machine_turns(machine));
    fputs("</tbody></table></div>\n", to);
}

static void write_headline(FILE *to, const struct book *book) {
    print_html(to, "<h1>%s</h1>\n", book->headline.verdict);
    const struct machine *machine = &book->run->machine;
    print_html(to, "<p class=\"soft\">Run %s, %s, on %s: %s", book->options->name, machine->time,
               machine->host, machine->device_count > 0 ? machine->device : machine->cpu);
    print_html(to, ". Speed-ups are over <code>%s</code>.</p>\n", book->options->baseline);
}

static void write_contents(FILE *to, const struct book *book) {
    fputs("<nav><a href=\"#wrong\">What is wrong</a><a href=\"#fast\">What is fast</a>", to);
    for (int n = 0; n < book->part_count; n++) {
        const char *variant = book->parts[n].shown[0].row->variant;
        print_html(to, "<a href=\"#%s\">%s</a>", variant, variant);
    }
    fputs("<a href=\"#machine\">The machine</a></nav>\n", to);
}

static void write_part(FILE *to, const struct book *book, const struct part *part) {
    const char *variant = part->shown[0].row->variant;
    print_html(to, "<h2 id=\"%s\">%s</h2>\n", variant, variant);
    write_kernels(to, book, part);
    write_matrix(to, book, part);
    fputs("<div class=\"pictures\">\n", to);
    html_figure(to, &book->album, part->length);
    html_figure(to, &book->album, part->pareto);
    html_figure(to, &book->album, part->mass);
    html_figure(to, &book->album, part->ulp);
    fputs("</div>\n", to);
}

/* Of each variant the kernel that gains most over the baseline, or comes nearest to a ceiling. */
static void write_fastest(FILE *to, const struct book *book) {
    static const struct html_column columns[] = {
        {"variant", NULL, true},
        {"the fastest kernel", NULL, true},
        {"speed-up", "over the baseline, geometric mean", false},
        {"of ceiling", "its best row", false},
        {"grade", "the worst", true},
    };
    bool any = false;
    for (int n = 0; n < book->part_count; n++) {
        const struct part *part = &book->parts[n];
        const char *variant = part->shown[0].row->variant, *fastest = NULL;
        struct tally best = {0};
        for (int64_t kernel = 0; kernel < part->matrix.kernel_count; kernel++) {
            const char *name = part->matrix.kernels[kernel];
            const struct tally tally = tally_of(part->shown, part->count, name);
            if (tally.gains == 0 && !isfinite(tally.share)) continue;
            if (fastest == NULL || gain_of(&tally) > gain_of(&best) ||
                (!isfinite(gain_of(&best)) && tally.share > best.share))
                fastest = name, best = tally;
        }
        if (fastest == NULL) continue;
        if (!any) html_table(to, columns, sizeof columns / sizeof columns[0]);
        any = true;
        print_html(to, "<tr><td><a href=\"#%s\">%s</a></td><td class=\"t\">", variant, variant);
        write_kernel_link(to, book, fastest);
        fputs("</td>", to);
        write_gain(to, &best);
        fprintf(to, "<td class=\"t\">%c</td></tr>\n", best.grade);
    }
    if (any)
        html_table_end(to);
    else
        fputs("<p>No row was timed beside a baseline, or below a ceiling that is known.</p>\n", to);
}

static bool write_index(const struct html_folder *folder, const struct book *book,
                        struct fault *fault) {
    FILE *to = html_page(folder, "index.html", book->options->name, NULL, fault);
    if (to == NULL) return false;
    write_headline(to, book);
    write_contents(to, book);
    write_wrong(to, book);
    fputs("<h2 id=\"fast\">What is fast</h2>\n", to);
    write_fastest(to, book);
    for (int n = 0; n < book->roof_count; n++) html_figure(to, &book->album, book->roofs[n]);
    for (int n = 0; n < book->part_count; n++) write_part(to, book, &book->parts[n]);
    write_machine(to, &book->run->machine);
    return html_page_end(to, folder, fault);
}

bool pages_run(const char *path, const struct run *run, const struct report_options *options,
               struct fault *fault) {
    struct html_folder folder;
    struct book book = {.run = run, .options = options};
    bool well = headline_of_run(&book.headline, run, fault) &&
                view_make(&book.view, run, options->baseline, fault) &&
                html_begin(&folder, path, fault);
    if (well) {
        book_plan(&book);
        album_draw(&book.album, folder.temporary);
        well = write_index(&folder, &book, fault);
        for (int64_t n = 0; well && n < book.chapter_count; n++)
            well = write_chapter(&folder, &book, &book.chapters[n], fault);
        well = well && html_commit(&folder, fault);
        html_abort(&folder);
    }
    book_free(&book);
    return well;
}
