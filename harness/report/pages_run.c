/* The pages of a run. Pictures are planned first, drawn together, and written where they belong:
 * the parts of the report know theirs by number. */
#define _GNU_SOURCE
#include "pages.h"
#include "headline.h"
#include "html.h"
#include "pictures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FAILURES_MOST = 200, WARNINGS_OPEN = 5, STRIPS_MOST = 3 };

/* The rows of a variant. */
struct part {
    const struct shown *shown;
    int64_t count;
    struct matrix matrix;
    int64_t matrix_picture, length, pareto, mass, ulp;
};

/* The rows of a kernel, which have a page. */
struct chapter {
    const char *kernel;
    char page[HTML_NAME_BYTES];
    struct shown *shown;
    int64_t count;
    int64_t length, ulp, strips[STRIPS_MOST], strip_count;
    struct {
        const struct row *row;
        int64_t picture;
    } heats[STRIPS_MOST];
    int64_t heat_count;
};

struct book {
    const struct run *run;
    const struct report_options *options;
    struct headline headline;
    struct view view;
    struct album album;
    struct part parts[ATTN_VARIANT_COUNT + 1];
    int part_count;
    struct chapter *chapters;
    int64_t chapter_count;
    int64_t roofs[MACHINE_DEVICES_MAX + 1];
    int roof_count;
};

static bool is_anchor(const struct row *row) {
    return strcmp(row->device, "anchor") == 0;
}

/* Planning */

/* The rows on the problem that most kernels were tried on and whose errors are known best. */
static void plan_ulp(struct book *book, struct part *part) {
    int64_t best = -1, best_end = 0, most = 0;
    for (int64_t begin = 0, end; begin < part->count; begin = end) {
        int64_t known = 0;
        for (end = begin;
             end < part->count && shown_together(&part->shown[begin], &part->shown[end]); end++)
            known += part->shown[end].row->deviation.elements > 0 &&
                     !row_is_failure(part->shown[end].row);
        if (known <= most) continue;
        best = begin, best_end = end, most = known;
    }
    part->ulp = -1;
    if (best < 0) return;
    struct plot *plot = album_begin(&book->album);
    part->ulp =
        album_end(&book->album, picture_ulp(plot, part->shown + best, best_end - best, NULL));
}

/* A kernel has one colour in all pictures of its variant. */
static void colour_kernels(struct plot *plot, const struct matrix *matrix) {
    for (int64_t n = 0; n < plot->series_count; n++)
        for (int64_t kernel = 0; kernel < matrix->kernel_count; kernel++)
            if (strcmp(plot->series[n].name, matrix->kernels[kernel]) == 0)
                plot->series[n].colour = (int)kernel + 1;
}

static void plan_part(struct book *book, struct part *part) {
    const char *variant = part->shown[0].row->variant;
    struct album *album = &book->album;
    matrix_make(&part->matrix, part->shown, part->count);
    struct plot *plot = album_begin(album);
    part->matrix_picture = album_end(album, picture_matrix(plot, variant, &part->matrix));
    plot = album_begin(album);
    part->length = album_end(album, picture_length(plot, variant, part->shown, part->count));
    plot = album_begin(album);
    part->pareto = album_end(album, picture_pareto(plot, variant, part->shown, part->count));
    plot = album_begin(album);
    part->mass = album_end(album, picture_mass(plot, variant, part->shown, part->count));
    plan_ulp(book, part);
    const int64_t pictures[] = {part->length, part->pareto, part->mass, part->ulp};
    for (size_t n = 0; n < sizeof pictures / sizeof pictures[0]; n++)
        if (pictures[n] >= 0) colour_kernels(album->plots[pictures[n]], &part->matrix);
}

static void plan_parts(struct book *book) {
    const struct view *view = &book->view;
    for (int64_t begin = 0, end; begin < view->count; begin = end) {
        end = begin;
        while (end < view->count &&
               variant_rank(view->shown[begin].row) == variant_rank(view->shown[end].row))
            end++;
        struct part *part = &book->parts[book->part_count++];
        *part = (struct part){.shown = view->shown + begin, .count = end - begin};
        plan_part(book, part);
    }
}

static void plan_roof(struct book *book, const char *device, int64_t index) {
    struct plot *plot = album_begin(&book->album);
    const int64_t number = album_end(
        &book->album, picture_roofline(plot, &book->view, &book->run->machine, device, index));
    if (number >= 0) book->roofs[book->roof_count++] = number;
}

static int chapter_order(const void *left, const void *right) {
    return strcmp(((const struct chapter *)left)->kernel, ((const struct chapter *)right)->kernel);
}

static struct chapter *chapter_of(const struct book *book, const char *kernel) {
    for (int64_t n = 0; n < book->chapter_count; n++)
        if (strcmp(book->chapters[n].kernel, kernel) == 0) return &book->chapters[n];
    return NULL;
}

/* How much of a row's timings is worth a look: those that were not to be trusted, then those that
 * spread. */
static double restlessness(const struct row *row) {
    const struct timing *timing = row->warm.n > 0 ? &row->warm : &row->cold;
    if (timing->n < 6) return -1;
    return (status_of(row) == STATUS_UNSTABLE ? 1e6 : 0) +
           (timing->q3_us - timing->q1_us) / timing->median_us;
}

static void plan_samples(struct book *book, struct chapter *chapter, store_id file) {
    const struct row *restless = NULL;
    struct album *album = &book->album;
    for (int64_t n = 0; n < chapter->count; n++) {
        const struct row *row = chapter->shown[n].row;
        struct samples samples = {0};
        if (restless == NULL || restlessness(row) > restlessness(restless)) restless = row;
        if (!row_is_failure(row) || chapter->heat_count == STRIPS_MOST) continue;
        samples_read(file, row, &samples);
        struct plot *plot = album_begin(album);
        const int64_t number = album_end(album, picture_heat(plot, row, &samples));
        samples_free(&samples);
        if (number < 0) continue;
        chapter->heats[chapter->heat_count].row = row;
        chapter->heats[chapter->heat_count++].picture = number;
    }
    if (restless == NULL || restlessness(restless) < 0) return;
    struct samples samples = {0};
    samples_read(file, restless, &samples);
    struct plot *plot = album_begin(album);
    const int64_t number = album_end(album, picture_strip(plot, restless, &samples));
    samples_free(&samples);
    if (number >= 0) chapter->strips[chapter->strip_count++] = number;
}

/* The errors of the row that is furthest off, beside the anchors of its problem. */
static void plan_errors(struct book *book, struct chapter *chapter) {
    const struct row *worst = NULL;
    for (int64_t n = 0; n < chapter->count; n++) {
        const struct row *row = chapter->shown[n].row;
        if (row->deviation.elements == 0) continue;
        if (worst == NULL || row->deviation.rho_block > worst->deviation.rho_block) worst = row;
    }
    chapter->ulp = -1;
    for (int64_t n = 0; worst != NULL && n < book->view.count; n++) {
        if (book->view.shown[n].row != worst) continue;
        int64_t begin = n, end = n + 1;
        while (begin > 0 && shown_together(&book->view.shown[begin - 1], &book->view.shown[n]))
            begin--;
        while (end < book->view.count &&
               shown_together(&book->view.shown[end], &book->view.shown[n]))
            end++;
        struct plot *plot = album_begin(&book->album);
        chapter->ulp = album_end(&book->album, picture_ulp(plot, book->view.shown + begin,
                                                           end - begin, chapter->kernel));
        return;
    }
}

static void plan_chapters(struct book *book) {
    book->chapters = allocate_or_abort(book->view.count, sizeof *book->chapters);
    book->chapter_count = 0;
    for (int64_t n = 0; n < book->view.count; n++) {
        const struct row *row = book->view.shown[n].row;
        struct chapter *chapter = chapter_of(book, row->kernel);
        if (is_anchor(row)) continue;
        if (chapter == NULL) {
            chapter = &book->chapters[book->chapter_count++];
            *chapter = (struct chapter){.kernel = row->kernel};
        }
        chapter->count++;
    }
    qsort(book->chapters, (size_t)book->chapter_count, sizeof *book->chapters, chapter_order);
    for (int64_t n = 0; n < book->chapter_count; n++) {
        html_kernel_page(book->chapters[n].page, book->chapters[n].kernel, n);
        book->chapters[n].shown = allocate_or_abort(book->chapters[n].count, sizeof(struct shown));
        book->chapters[n].count = 0;
    }
    for (int64_t n = 0; n < book->view.count; n++) {
        const struct row *row = book->view.shown[n].row;
        struct chapter *chapter = is_anchor(row) ? NULL : chapter_of(book, row->kernel);
        if (chapter != NULL) chapter->shown[chapter->count++] = book->view.shown[n];
    }
    STORE_HELD samples = samples_open(book->options->name);
    for (int64_t n = 0; n < book->chapter_count; n++) {
        struct chapter *chapter = &book->chapters[n];
        struct plot *plot = album_begin(&book->album);
        chapter->length = album_end(
            &book->album, picture_length(plot, chapter->kernel, chapter->shown, chapter->count));
        plan_errors(book, chapter);
        plan_samples(book, chapter, samples);
    }
}

static void plan(struct book *book) {
    plan_parts(book);
    plan_roof(book, "cpu", 0);
    for (int64_t n = 0; n < book->run->machine.device_count; n++)
        plan_roof(book, book->run->machine.devices[n].device, book->run->machine.devices[n].index);
    plan_chapters(book);
}

static void book_free(struct book *book) {
    for (int n = 0; n < book->part_count; n++) matrix_free(&book->parts[n].matrix);
    for (int64_t n = 0; n < book->chapter_count; n++) free(book->chapters[n].shown);
    free(book->chapters);
    album_free(&book->album);
    headline_free(&book->headline);
    view_free(&book->view);
}

/* Parts of pages */

static void write_kernel_link(FILE *to, const struct book *book, const char *kernel) {
    print_html(to, "<a href=\"%s\">%s</a>", chapter_of(book, kernel)->page, kernel);
}

static void write_failure(FILE *to, const struct row *row) {
    print_html(to, " <code>%s</code><br>%s", row->line, row->reason);
    if (text_given(row->diagnosis)) print_html(to, "<br><strong>%s</strong>", row->diagnosis);
    if (text_given(row->repeat)) print_html(to, "<pre>%s</pre>", row->repeat);
}

static bool is_warned_of(const struct row *row) {
    return row->bias_warning || status_of(row) == STATUS_UNSTABLE;
}

static void write_warnings(FILE *to, const struct shown *shown, int64_t count) {
    static const struct html_column columns[] = {
        {"kernel", NULL, true}, {"problem", NULL, true}, {"warning", NULL, true}};
    int64_t all = 0, written = 0;
    for (int64_t n = 0; n < count; n++) all += is_warned_of(shown[n].row);
    if (all == 0) return;
    fprintf(to, "<details%s><summary>%s</summary>\n", all <= WARNINGS_OPEN ? " open" : "",
            number_count(all, "warning").text);
    html_table(to, columns, 3);
    for (int64_t n = 0; n < count && written < FAILURES_MOST; n++) {
        const struct row *row = shown[n].row;
        if (!is_warned_of(row)) continue;
        written++;
        print_html(to, "<tr><td>%s</td><td class=\"t\"><code>%s</code></td><td class=\"t w\">",
                   row->kernel, row->line);
        if (row->bias_warning)
            fprintf(to,
                    "biased: mean(sign(o) error) is %s of the model's rms, at most 0.3 expected ",
                    number_plain(row->deviation.bias).text);
        if (status_of(row) == STATUS_UNSTABLE) print_html(to, "%s: %s", row->status, row->reason);
        fputs("</td></tr>\n", to);
    }
    html_table_end(to);
    if (all > written) fprintf(to, "<p>%lld more are left out.</p>\n", (long long)(all - written));
    fputs("</details>\n", to);
}

/* The row that stands for others of its kernel and status. */
static const struct row *row_of_item(const struct book *book, const struct headline_item *item) {
    const struct chapter *chapter = chapter_of(book, item->kernel);
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

/* A line of a table of kernels, over the rows of one. */
struct tally {
    int64_t right, failed, refused, gains;
    double rho, t, share, log_gains;
    char grade;
};

static struct tally tally_of(const struct shown *shown, int64_t count, const char *kernel) {
    struct tally tally = {.rho = NAN, .t = NAN, .share = NAN, .grade = '-'};
    for (int64_t n = 0; n < count; n++) {
        const struct row *row = shown[n].row;
        if (strcmp(row->kernel, kernel) != 0) continue;
        const bool failed = row_is_failure(row), refused = row_is_refused(row);
        tally.failed += failed;
        tally.refused += refused;
        tally.right += !failed && !refused;
        if (row->grade[0] >= 'A' && row->grade[0] > tally.grade) tally.grade = row->grade[0];
        if (row->deviation.elements > 0) {
            tally.rho = fmax(tally.rho, row->deviation.rho_block);
            tally.t = fmax(tally.t, row->deviation.t_max);
        }
        if (row_is_timed(row) && row->ceiling[0] != '\0')
            tally.share = fmax(tally.share, row->ceiling_percent);
        const double gain = row_speedup(row, shown[n].baseline);
        if (gain > 0 && isfinite(gain)) tally.log_gains += log(gain), tally.gains++;
    }
    return tally;
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
    snprintf(text, sizeof text, "%s on %s, commit %.12s%s", machine->time, machine->host,
             machine->commit[0] ? machine->commit : "unknown", machine->dirty ? " (dirty)" : "");
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
        snprintf(
            text, sizeof text,
            "f16 %s, bf16 %s, read %s, gather of 512-byte rows %s, launch %s alone, %s in a graph",
            number_rate(device->f16_flops, "FLOP/s").text,
            number_rate(device->bf16_flops, "FLOP/s").text,
            number_rate(device->read_bytes_s, "B/s").text,
            number_rate(device->gather_512_bytes_s, "B/s").text,
            number_time(device->launch_us).text, number_time(device->graph_launch_us).text);
        write_fact(to, "its ceilings", text);
    }
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

/* The page of a kernel */

static const struct html_column row_columns[] = {
    {"problem", NULL, true},
    {"status", NULL, true},
    {"grade", "reached", true},
    {"rho", "1 is what an honest kernel has", false},
    {"t", "error over tolerance; beyond 1 is wrong", false},
    {"cold", "median, caches emptied", false},
    {"warm", "median", false},
    {"quartiles", "warm", false},
    {"of ceiling", "as measured", false},
    {"x baseline", "times as fast", false},
    {"x by-mask", "times as fast", false},
    {"TFLOP/s", NULL, false},
    {"GB/s", NULL, false},
    {"prepare", "once, apart", false},
    {"worst block", "rho of a head and 128 queries", false},
    {"lse", "error over tolerance", false},
    {"NaN", "elements", false},
    {"max |out|", NULL, false},
    {"max error", NULL, false},
};
enum { ROW_COLUMNS = sizeof row_columns / sizeof row_columns[0] };

static void write_number(FILE *to, struct number number) {
    fprintf(to, "<td>%s</td>", number.text);
}

static void write_row(FILE *to, const struct shown *shown) {
    const struct row *row = shown->row;
    const struct deviation *deviation = &row->deviation;
    const bool judged = deviation->elements > 0, timed = row_is_timed(row);
    print_html(to, "<tr><td><code>%s</code></td><td class=\"t\">", row->line);
    html_status(to, row->status);
    print_html(to, "</td><td class=\"t\">%s</td>", row->grade);
    write_number(to, number_plain(judged ? deviation->rho : NAN));
    write_number(to, number_plain(judged ? deviation->t_max : NAN));
    write_number(to, number_time(row->cold.n > 0 ? row->cold.median_us : NAN));
    write_number(to, number_time(row->warm.n > 0 ? row->warm.median_us : NAN));
    if (row->warm.n > 0)
        fprintf(to, "<td>%s – %s</td>", number_time(row->warm.q1_us).text,
                number_time(row->warm.q3_us).text);
    else
        fputs("<td>–</td>", to);
    if (timed && row->ceiling[0] != '\0' && isfinite(row->ceiling_percent))
        print_html(to, "<td>%.3g %% of %s</td>", row->ceiling_percent, row->ceiling);
    else
        fputs("<td>–</td>", to);
    write_number(to, number_plain(row_speedup(row, shown->baseline)));
    write_number(to, number_plain(row_speedup(row, shown->bymask)));
    write_number(to, number_plain(timed ? row->tflops : NAN));
    write_number(to, number_plain(timed ? row->gbs : NAN));
    write_number(to, number_time(row->prepare_us > 0 ? row->prepare_us : NAN));
    write_number(to, number_plain(judged ? deviation->rho_block : NAN));
    write_number(to, number_plain(judged && deviation->lse_judged ? deviation->lse_max : NAN));
    write_number(to, number_plain(judged ? (double)deviation->nan_count : NAN));
    write_number(to, number_plain(judged ? deviation->max_out : NAN));
    write_number(to, number_plain(judged ? deviation->max_abs : NAN));
    fputs("</tr>\n", to);
}

static bool row_is_taken(const struct shown *shown) {
    return !row_is_refused(shown->row);
}

static void write_refusals(FILE *to, const struct chapter *chapter) {
    int64_t refused = 0;
    for (int64_t n = 0; n < chapter->count; n++) refused += !row_is_taken(&chapter->shown[n]);
    if (refused == 0) return;
    fprintf(to, "<details><summary>Refused: %s</summary>\n<ul>\n",
            number_count(refused, "row").text);
    for (int64_t n = 0; n < chapter->count; n++) {
        const struct row *row = chapter->shown[n].row;
        if (row_is_refused(row))
            print_html(to, "<li><code>%s</code> %s</li>\n", row->line, row->reason);
    }
    fputs("</ul></details>\n", to);
}

static void write_chapter_failures(FILE *to, const struct book *book,
                                   const struct chapter *chapter) {
    int64_t failures = 0, written = 0;
    for (int64_t n = 0; n < chapter->count; n++) failures += row_is_failure(chapter->shown[n].row);
    if (failures == 0) return;
    fputs("<h2 id=\"wrong\">What is wrong</h2>\n", to);
    for (int64_t n = 0; n < chapter->count; n++) {
        const struct row *row = chapter->shown[n].row;
        if (!row_is_failure(row) || written++ >= FAILURES_MOST) continue;
        fputs("<div class=\"wrong\">", to);
        html_status(to, row->status);
        write_failure(to, row);
        for (int64_t m = 0; m < chapter->heat_count; m++)
            if (chapter->heats[m].row == row)
                html_figure(to, &book->album, chapter->heats[m].picture);
        fputs("</div>\n", to);
    }
}

static bool write_chapter(const struct html_folder *folder, const struct book *book,
                          const struct chapter *chapter, struct fault *fault) {
    FILE *to = html_page(folder, chapter->page, chapter->kernel, "index.html", fault);
    if (to == NULL) return false;
    const struct row *row = chapter->shown[0].row;
    const struct tally tally = tally_of(chapter->shown, chapter->count, chapter->kernel);
    print_html(to, "<h1>%s: ", chapter->kernel);
    if (tally.failed > 0) fprintf(to, "%lld wrong, ", (long long)tally.failed);
    fprintf(to, "%lld right, %lld refused</h1>\n", (long long)tally.right,
            (long long)tally.refused);
    if (row->change[0] != '\0') print_html(to, "<p>%s</p>\n", row->change);
    print_html(to, "<p class=\"soft\">Library <code>%s</code>, run %s, %s</p>\n",
               row->library_digest[0] != '\0' ? row->library_digest : "unknown",
               book->options->name, book->run->machine.time);
    write_chapter_failures(to, book, chapter);
    write_warnings(to, chapter->shown, chapter->count);
    fputs("<h2>Pictures</h2>\n<div class=\"pictures\">\n", to);
    html_figure(to, &book->album, chapter->length);
    html_figure(to, &book->album, chapter->ulp);
    for (int64_t n = 0; n < chapter->strip_count; n++)
        html_figure(to, &book->album, chapter->strips[n]);
    fputs("</div>\n<h2>Rows</h2>\n", to);
    html_table(to, row_columns, ROW_COLUMNS);
    for (int64_t n = 0; n < chapter->count; n++)
        if (row_is_taken(&chapter->shown[n])) write_row(to, &chapter->shown[n]);
    html_table_end(to);
    write_refusals(to, chapter);
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
        plan(&book);
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
