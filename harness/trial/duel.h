/* Two kernels on one problem, in one process and on one allocation of inputs and outputs, whose
 * launches are timed in turn (worker/race.h), beside a copy of each one's library as control.
 * Both were tried before, each by itself (trial.h), and were right: here they are once more, and
 * what they leave meanwhile is compared with that. */
#ifndef ATTEST_DUEL_H
#define ATTEST_DUEL_H

#include "trial.h"

struct duel {
    const struct plugin *old, *new; /* for the same kind of device; may be one and the same file */
    bool cold, warm;                /* which are timed */
    double least;                   /* a share of the time that matters */
    double total_ms_max;            /* of sampling, for each of cold and warm */
};

/* Both rows are those of trial_run; the new one gets what it is compared with. Where both are
 * right, PASS or UNSTABLE, they get the times of the duel instead of their own, and the new one how
 * it did; a row that did not do well here has a status that says so. `options` are those of
 * trial_run; `old_samples` may be NULL, and options->samples is the new row's. Faults and
 * *fixture_spoilt as there. */
bool duel_run(struct row *old_row, struct row *new_row, const struct duel *duel,
              struct fixture *fixture, const struct trial_options *options,
              struct samples *old_samples, bool *fixture_spoilt, struct fault *fault);

#endif
