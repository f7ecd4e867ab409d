/* Runs of many machines, in the order of their time: found in folders, and asked what was the last
 * of a kernel, a problem and a device. Of a run its first record is kept, and rows are read when
 * they are asked for. */
#ifndef ATTEST_HISTORY_H
#define ATTEST_HISTORY_H

#include "../record/record.h"

struct history_run {
    const char *path; /* text_kept */
    struct machine machine;
};
struct history {
    struct history_run *runs; /* by time, then path */
    int64_t count, room;
};

/* Whether it is a run: a folder with a run.jsonl, or a file whose name ends in .jsonl. */
bool history_is_run(const char *path);
/* Whether it is a folder and no run: one of runs, if anything. */
bool history_is_folder(const char *path);
/* Adds a run, or a folder of runs; what cannot be read there is left out, and said. FAULT_INPUT
 * where it is neither. */
bool history_add(struct history *history, const char *path, struct fault *fault);
void history_free(struct history *history);

/* Of all rows in runs that began before `after` did, those that it can be compared with: on a line
 * that it has, of a kernel that it has there -- or that the glob `kernels` matches, unless it is
 * NULL --, on such a device (rows_alike), of each kernel the last -- or the last that was
 * timed, if the last is right and was not. Their machines are the history's, which must outlive
 * them. */
bool history_before(struct run *before, const struct history *history, const struct run *after,
                    const char *kernels, struct fault *fault);

#endif
