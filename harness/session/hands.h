/* What each process of a run has at hand, on disk beside the run: for the case that all of them are
 * killed at once, by a cgroup's end or by what a kernel does, so that the resumed run does not die
 * of the same row for ever. Best effort: where it cannot be written, nothing is known. */
#ifndef ATTEST_HANDS_H
#define ATTEST_HANDS_H

#include "crew.h"

#include <stdint.h>

#define HANDS_NAME "at-hand"

struct hands_entry {
    int64_t times; /* that the run ended without a word while this was at hand */
    char kernel[96], item[512];
};
struct hands {
    int file; /* -1: none */
    char path[4200];
    struct hands_entry before[2 * CREW_MAX]; /* as the run left them when it ended */
    int64_t before_count;
};

/* Reads what the run in `folder` left, and begins anew, remembering it. */
void hands_open(struct hands *hands, const char *folder);
/* Process `member` begins a row. */
void hands_take(const struct hands *hands, int member, const char *kernel, const char *item);
/* How often the run ended at that row. */
int64_t hands_times(const struct hands *hands, const char *kernel, const char *item);
/* The run ends in order. Safe in a signal handler. */
void hands_remove(const struct hands *hands);

#endif
