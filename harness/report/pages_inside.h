/* What the pages of a run are made of: which rows stand together, and their pictures, which are
 * planned first, drawn together, and written where they belong -- the parts know theirs by number.
 */
#ifndef ATTEST_PAGES_INSIDE_H
#define ATTEST_PAGES_INSIDE_H

#include "headline.h"
#include "html.h"
#include "pictures.h"
#include "report.h"

enum { FAILURES_MOST = 200, STRIPS_MOST = 3 };

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

/* A line of a table of kernels, over the rows of one. */
struct tally {
    int64_t right, failed, refused, gains;
    double rho, t, share, log_gains;
    char grade;
};

/* pages_plan.c: of a book whose run, options, headline and view are there, the parts and chapters,
 * and in its album their pictures. */
void book_plan(struct book *book);
void book_free(struct book *book);
/* The rows of a kernel; NULL: it has none. */
struct chapter *book_chapter(const struct book *book, const char *kernel);
/* Over those of `shown` that are the kernel's. */
struct tally tally_of(const struct shown *shown, int64_t count, const char *kernel);

/* pages_kernel.c: the page of a kernel, and what the first page has of it. */
bool write_chapter(const struct html_folder *folder, const struct book *book,
                   const struct chapter *chapter, struct fault *fault);
void write_failure(FILE *to, const struct row *row);
void write_warnings(FILE *to, const struct shown *shown, int64_t count);

#endif
