/* Writing a run (record.h says what it holds): a folder of its own, one line a record. Whoever is
 * killed leaves at most one torn line behind, which the next record replaces. One run writes at a
 * time: it locks run.jsonl, for itself and the processes that it forks; among these, one at a time
 * appends. What the disk or the folder does not allow is FAULT_INPUT. */
#ifndef ATTEST_WRITER_H
#define ATTEST_WRITER_H

#include "../record/record.h"

struct writer {
    int file;
    char folder[4096];
    double synced_s; /* when what was written was last forced to disk */
};

/* Makes `folder`, or with NULL <runs>/<time>-<commit>-<device><suffix>, and writes the header. A
 * folder that is there will do as long as no run began in it. */
bool writer_create(struct writer *writer, const char *folder, const char *runs, const char *suffix,
                   const struct machine *machine, struct fault *fault);
/* Opens the run in `folder` to append to it; before it is read, so that nobody adds to it since. */
bool writer_resume(struct writer *writer, const char *folder, struct fault *fault);
/* Whether `folder` is a run's whose first line was never written: it can be created again. */
bool writer_never_began(const char *folder);
bool writer_append(struct writer *writer, const struct row *row, struct fault *fault);
bool writer_close(struct writer *writer, struct fault *fault);

#endif
