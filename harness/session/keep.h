/* A row's way to the run on disk, from whatever process of the run, and to who looks on. */
#ifndef ATTEST_KEEP_H
#define ATTEST_KEEP_H

#include "session.h"

/* Samples first: run.jsonl says which there are. A fault is the disk's. */
bool keep_row(struct session *session, const struct row *row, const struct samples *samples,
              struct fault *fault);
/* `before`, the row that is there, tried again. */
bool keep_again(struct session *session, const struct row *row, const struct row *before,
                const struct samples *samples, struct fault *fault);
/* A row that was not brought to its end. `trial` says for which device and by which file. */
bool keep_lost(struct session *session, const struct plugin *kernel, const struct item *item,
               const struct trial_options *trial, enum status status, const char *reason,
               struct fault *fault);
/* Whether the run on disk has the row: who died may have come to write it. */
bool keep_has(const struct session *session, const struct plugin *kernel, const struct item *item);

#endif
