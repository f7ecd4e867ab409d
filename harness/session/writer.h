/* Writing a run (record.h says what it holds): a folder of its own, one line a record, each in one
 * write, so that whoever is killed leaves at most one torn line behind and several processes can
 * append. */
#ifndef ATTEST_WRITER_H
#define ATTEST_WRITER_H

#include "../record/record.h"

struct writer {
    int file;
    char folder[4096];
    double synced_s; /* when what was written was last forced to disk */
};

/* Makes `folder`, or with NULL <runs>/<time>-<commit>-<device><suffix>, and writes the header. */
bool writer_create(struct writer *writer, const char *folder, const char *runs, const char *suffix,
                   const struct machine *machine, struct fault *fault);
/* Opens the run in `folder` to append to it; a torn last line is cut off. */
bool writer_resume(struct writer *writer, const char *folder, struct fault *fault);
bool writer_append(struct writer *writer, const struct row *row, struct fault *fault);
bool writer_close(struct writer *writer, struct fault *fault);

#endif
