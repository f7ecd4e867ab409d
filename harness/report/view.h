/* The rows of a run as a reader wants them: in reading order, each with those of the same problem
 * that it is measured against. */
#ifndef ATTEST_VIEW_H
#define ATTEST_VIEW_H

#include "row_set.h"

/* A row and those it is measured against. */
struct shown {
    const struct row *row;
    const char *digest;                  /* of the problem it belongs to */
    const struct row *baseline, *bymask; /* NULL: none, or the row itself */
};

struct view {
    int64_t count;
    struct shown *shown; /* by variant, then as the lines came, by fixture and kernel */
};

/* `baseline`: globs with commas between; of the kernels that match, the latest revision on the same
 * device. The run must outlive the view. */
bool view_make(struct view *view, const struct run *run, const char *baseline, struct fault *fault);
void view_free(struct view *view);

/* Whether two rows of a view are neighbours on one problem. */
bool shown_together(const struct shown *a, const struct shown *b);
/* How many times as fast, by warm medians; NaN where that cannot be said. */
double row_speedup(const struct row *row, const struct row *over);

#endif
