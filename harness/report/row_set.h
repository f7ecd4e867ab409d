/* The rows of a run, found again: by kernel, by problem, and without those that were replaced.
 * Pure functions over a run that was read back; no device, no files. */
#ifndef ATTEST_ROW_SET_H
#define ATTEST_ROW_SET_H

#include "../record/record.h"

/* True iff the kernel's id ("cpu/decode_flash_r1") matches; a glob without '/' is matched against
 * the name alone. */
bool kernel_matches(const char *kernel, const char *glob);
/* ... one of several, joined by commas. */
bool kernel_matches_any(const char *kernel, const char *globs);

/* Whether rows of a run are of kernels that match; else FAULT_INPUT, with the name in the run that
 * the glob may have been meant for. `name` is the run's. */
bool run_has_kernel(const struct run *run, const char *name, const char *glob, struct fault *fault);
/* The same of `count` kernels of a run; changes `kernels`. */
bool kernels_have(const char **kernels, int64_t count, const char *name, const char *glob,
                  struct fault *fault);

/* Whether two rows of one line are about the same tensors. A row that ended before there was a
 * fixture -- refused, or too large -- has no digest and goes with any. */
bool rows_share_inputs(const struct row *a, const struct row *b);

/* The rows of a run without those that a later row of the same kernel and problem replaces
 * (`--resume` after a crash). Sorted by line, so that rows of one line are neighbours. */
struct row_set {
    int64_t count;
    struct row_place {
        const struct row *row;
        const char *digest; /* the row's fixture digest, or one of its line's where it has none */
        int64_t first;      /* position in the run of the line's first row */
    } * places;
};
bool row_set_make(struct row_set *set, const struct run *run, struct fault *fault);
/* The neighbours on the line of `row`, which may be of another run; NULL and 0 if none. */
const struct row_place *row_set_find(const struct row_set *set, const struct row *row,
                                     int64_t *count);
/* For people: by variant, then as the lines came, by fixture and kernel. row_set_find needs the
 * order that this destroys. */
void row_set_arrange(struct row_set *set);
void row_set_free(struct row_set *set);

/* The place of a row's variant among the variants; their number if it is none of them. */
int variant_rank(const struct row *row);

#endif
