/* The rows of a run found again in its file: what is kept of a row is where it begins and what it
 * is told from others by, 100 bytes, so that a run of any length can be reported. The counterpart
 * of row_set.h, which has the rows themselves, and has the same order. A kernel's name is kept
 * once. */
#ifndef ATTEST_ROW_INDEX_H
#define ATTEST_ROW_INDEX_H

#include "row_set.h"

/* A digest of 128 bits, in the order of its text where that is one in hexadecimal; 0: none. */
struct index_digest {
    uint64_t high, low;
};

struct indexed_row {
    int64_t at; /* where it begins in the file */
    struct index_digest line, inputs;
    const char *kernel, *device, *status; /* text_kept: those that are equal are one */
    double warm_us;                       /* median; NaN: not timed */
    int32_t revision;
    int32_t first;                 /* the first row of its line, by number */
    int32_t baseline, bymask;      /* by number the row that it is compared with; -1: none */
    float seconds;                 /* wall time of the row */
    uint8_t variant;               /* variant_rank */
    bool replaced : 1;             /* by a later row of its kernel and problem */
    bool failed : 1, warned : 1;   /* for who reports them */
    bool sustained : 1, burst : 1; /* the regime of its times; neither: not known */
};

_Static_assert(sizeof(struct indexed_row) + sizeof(int32_t) <= 100, "what a row may take");

struct row_index {
    struct run_reader reader;
    int64_t total, count; /* rows; those that are not replaced */
    struct indexed_row *rows;
    int32_t *order; /* `count` numbers of rows: by variant, then as lines came, fixture, kernel */
};

/* `baseline` and bymask of a row: the latest revision on its device and problem that one of the
 * globs, joined by commas, matches, unless it is the row. */
bool row_index_make(struct row_index *index, const char *path, const char *baseline,
                    struct fault *fault);
/* A row, by its place in the order. Its texts are the reader's until the next one. */
struct indexed_row *row_index_at(const struct row_index *index, int64_t place);
bool row_index_read(struct row_index *index, int64_t place, struct row *row, struct fault *fault);
/* Whether two places are about one problem. */
bool row_index_same_problem(const struct row_index *index, int64_t a, int64_t b);
/* How many times as fast as row number `over`, warm; NaN: not known. */
double row_index_speedup(const struct row_index *index, const struct indexed_row *row,
                         int32_t over);
/* As run_has_kernel. */
bool row_index_has_kernel(const struct row_index *index, const char *name, const char *glob,
                          struct fault *fault);
void row_index_free(struct row_index *index);

#endif
