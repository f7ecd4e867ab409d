/* Which rows stand together on the pages of a run, and which pictures are drawn of them. */
#include "pages_inside.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_anchor(const struct row *row) {
    return strcmp(row->device, "anchor") == 0;
}

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

struct chapter *book_chapter(const struct book *book, const char *kernel) {
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
        struct chapter *chapter = book_chapter(book, row->kernel);
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
        struct chapter *chapter = is_anchor(row) ? NULL : book_chapter(book, row->kernel);
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

void book_plan(struct book *book) {
    plan_parts(book);
    plan_roof(book, "cpu", 0);
    for (int64_t n = 0; n < book->run->machine.device_count; n++)
        plan_roof(book, book->run->machine.devices[n].device, book->run->machine.devices[n].index);
    plan_chapters(book);
}

void book_free(struct book *book) {
    for (int n = 0; n < book->part_count; n++) matrix_free(&book->parts[n].matrix);
    for (int64_t n = 0; n < book->chapter_count; n++) free(book->chapters[n].shown);
    free(book->chapters);
    album_free(&book->album);
    headline_free(&book->headline);
    view_free(&book->view);
}

struct tally tally_of(const struct shown *shown, int64_t count, const char *kernel) {
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
