/* What a run prints while it goes. Rows are results and go to standard output: one line each, or
 * one JSON object; progress goes to standard error, as a bar when that is a terminal. The processes
 * of a run (crew.h) share one `struct show`: each call is one turn, so that lines stay whole and
 * the counts are common. */
#ifndef ATTEST_SHOW_H
#define ATTEST_SHOW_H

#include "crew.h"
#include "../record/record.h"

struct show {
    struct crew_lock lock;
    bool json, quiet, bar, colour;
    bool silent; /* rows are not printed: what they come to is, later */
    int64_t done, total, resumed;
    int64_t counts[STATUS_COUNT];
    double start_s;
    char step[PROBLEM_LINE_BYTES];
};

/* In shared memory where processes share it; before they are forked. */
bool show_start(struct show *show, bool json, bool quiet, int64_t total, struct fault *fault);
/* What is being worked on: a problem that is made, a kernel that runs. */
void show_step(struct show *show, const char *step);
/* `final`: it will not be tried again. JSON is printed of rows that are. */
void show_row(struct show *show, const struct row *row, bool final);
/* Was shown as `before`: again only if that was something else. */
void show_again(struct show *show, const struct row *row, const struct row *before, bool final);
/* So many more rows were there already. */
void show_resumed(struct show *show, int64_t rows);
void show_end(struct show *show, const char *folder);

#endif
