/* What one process of a run does: takes rows for its device as they are dealt, and has a fixture in
 * memory once for all rows of a problem that it gets one after the other. */
#ifndef ATTEST_LANE_H
#define ATTEST_LANE_H

#include "deal.h"
#include "session.h"

struct lane_options {
    struct session *session; /* this process' own copy, but for its board */
    struct deal *deal;       /* rows of problem n: session_choose's; of a file, at most as many */
    int member;              /* in the deal */
    struct target target;
    int threads;
};
/* Until nothing is left; returns the exit status. */
int lane_run(const struct lane_options *options);

#endif
