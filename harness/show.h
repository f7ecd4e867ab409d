/* What a run prints while it goes. Rows are results and go to standard output: one line each, or
 * one JSON object; progress goes to standard error, as a bar when that is a terminal (then only
 * rows that did not pass get a line). */
#ifndef ATTEST_SHOW_H
#define ATTEST_SHOW_H

#include "record.h"

struct show {
    bool json, quiet, bar, colour;
    int64_t done, total;
    int64_t counts[STATUS_COUNT];
    double start_s;
    char step[PROBLEM_LINE_BYTES];
};

void show_start(struct show *show, bool json, bool quiet, int64_t total);
/* What is being worked on: a problem that is made, a kernel that runs. */
void show_step(struct show *show, const char *step);
void show_row(struct show *show, const struct row *row);
void show_end(struct show *show, const char *folder, int64_t resumed);

#endif
