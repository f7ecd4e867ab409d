/* What a worker prints, on its way to our standard error: its first lines, cut to a width, with
 * what would steer a terminal escaped (text.h); then how many there were more. A kernel that prints
 * for each element neither fills a terminal nor waits for one. */
#ifndef ATTEST_ECHO_H
#define ATTEST_ECHO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ECHO_LINES_MAX = 20, ECHO_LINE_BYTES = 300 };

struct echo {
    bool open;
    int file; /* the reading end of a pipe, which does not block */
    char line[ECHO_LINE_BYTES + 1];
    size_t used;
    int64_t lines; /* that were printed, or would have been */
};

/* The empty value is valid. Opens the pipe; the writing end is the caller's, -1 where there is none
 * to be had. */
int echo_open(struct echo *echo);
/* Passes on what is there now. */
void echo_take(struct echo *echo);
/* The same, and what is left of a line, and how many lines were left out; then counts anew. */
void echo_end_row(struct echo *echo);
void echo_close(struct echo *echo);

#endif
