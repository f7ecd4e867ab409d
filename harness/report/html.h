/* Pages of HTML: a folder of them that appears whole or not at all, the frame of each, and what
 * pages are made of -- tables, and pictures with their numbers beneath. A page needs nothing but
 * itself: no script, no font, no request; it is light or dark as the reader's system is. */
#ifndef ATTEST_HTML_H
#define ATTEST_HTML_H

#include "plot.h"
#include "print.h"
#include "../../oracle/fault.h"

/* A report on its way into a folder. */
struct html_folder {
    char path[4096];      /* where it will be */
    char temporary[4096]; /* "": nothing to remove */
};

/* Begins a report in a new folder, an empty one, or one that holds a report; FAULT_INPUT for a
 * folder that holds anything else, of which nothing is touched. */
bool html_begin(struct html_folder *folder, const char *path, struct fault *fault);
bool html_commit(struct html_folder *folder, struct fault *fault);
/* Removes what was not committed. Twice is harmless. */
void html_abort(struct html_folder *folder);

/* The name of the page of a kernel, unlike that of any other whose `number` is another. */
enum { HTML_NAME_BYTES = 160 };
void html_kernel_page(char name[HTML_NAME_BYTES], const char *kernel, int64_t number);

/* A page begins with its title; `above` is the page to go back to, NULL: none. */
FILE *html_page(const struct html_folder *folder, const char *name, const char *title,
                const char *above, struct fault *fault);
bool html_page_end(FILE *page, const struct html_folder *folder, struct fault *fault);

/* The columns of a table, the first aligned left, the others as `text` says. */
struct html_column {
    const char *title;
    const char *legend; /* what the number means, under the title; NULL: the title says it */
    bool text;
};
void html_table(FILE *to, const struct html_column *columns, int count);
void html_table_end(FILE *to);

/* "LOW – HIGH", or nothing where an end is not known. */
void html_interval(FILE *to, double low, double high);
/* Sets a status, as PASS, in its colour. */
void html_status(FILE *to, const char *status);
/* A picture with its title, a sentence, and its numbers, the first `html_rows_most` of them. */
enum { HTML_ROWS_MOST = 400 };
void html_figure(FILE *to, const struct album *album, int64_t number); /* -1: nothing */
/* The same around numbers, and with a key (NULL: of the series), that the caller writes, until
 * html_figure_end. */
void html_figure_begin(FILE *to, const struct plot *plot, void (*key)(FILE *to));
void html_figure_end(FILE *to);

#endif
