/* A row finds its fellows by a binary search in rows that are sorted by line. */
#include "view.h"
#include "../worker/protocol.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double row_speedup(const struct row *row, const struct row *over) {
    if (over == NULL || row->warm.n == 0 || over->warm.n == 0 || !rows_share_regime(row, over))
        return NAN;
    return over->warm.median_us / row->warm.median_us;
}

/* The latest revision that matches, on the same device, on the problem of `row`. */
static const struct row *find_baseline(const struct row_set *set, const struct row *row,
                                       const char *globs) {
    int64_t count;
    const struct row_place *others = row_set_find(set, row, &count);
    const struct row *found = NULL;
    for (int64_t n = 0; n < count; n++) {
        const struct row *other = others[n].row;
        if (!rows_share_inputs(other, row) || strcmp(other->device, row->device) != 0 ||
            !kernel_matches_any(other->kernel, globs))
            continue;
        if (found == NULL || other->revision > found->revision) found = other;
    }
    return found != NULL && found != row ? found : NULL;
}

bool view_make(struct view *view, const struct run *run, const char *baseline,
               struct fault *fault) {
    struct row_set set = {0}, read = {0};
    *view = (struct view){0};
    bool ok = row_set_make(&set, run, fault) && row_set_make(&read, run, fault);
    if (ok) {
        row_set_arrange(&read);
        view->shown = calloc((size_t)read.count + 1, sizeof *view->shown);
        if (view->shown == NULL) ok = fault_set(fault, FAULT_OURS, "out of memory for the report");
    }
    for (int64_t n = 0; view->shown != NULL && n < read.count; n++) {
        const struct row *row = read.places[n].row;
        view->shown[view->count++] =
            (struct shown){row, read.places[n].digest, find_baseline(&set, row, baseline),
                           find_baseline(&set, row, "*_bymask_*")};
    }
    row_set_free(&set);
    row_set_free(&read);
    return ok;
}

void view_free(struct view *view) {
    free(view->shown);
    *view = (struct view){0};
}

bool shown_together(const struct shown *a, const struct shown *b) {
    return strcmp(a->row->line, b->row->line) == 0 && strcmp(a->digest, b->digest) == 0;
}
