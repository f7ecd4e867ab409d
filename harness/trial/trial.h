/* One kernel on one problem: run it in a worker of its own, provoke it, measure, judge, time.
 *
 * 1. output filled with the unwritten NaN, guards set, inputs digested; everything that must not be
 *    read holds NaN; launch; out is what is judged
 * 2. repeats (10 launches in all, fewer when one takes long), each with another number in scratch:
 *    bit-identical, or FAIL_UNINITIALISED where scratch makes the difference, else FAIL_NONDET;
 *    on a CPU one launch with inputs that end where memory does (edges.c): FAIL_OOB_READ;
 *    and one or two launches with inputs changed, which must be right for them (renew.c)
 * 3. the same with 6e4 and with +Inf in what must not be read: bit-identical, or FAIL_OOB_READ
 *    where two launches agree and the first poison brings the first output back
 * 4. guards after every launch, input digests after each of these phases: FAIL_OOB_WRITE,
 *    FAIL_INPUT_CHANGED
 * 5. only when all is well, and not in the twin of a device: timing, cold and warm; afterwards the
 *    output once more, bitwise
 * The parent holds the answer and the guards' contents; the worker sees inputs and outputs only. */
#ifndef ATTEST_TRIAL_H
#define ATTEST_TRIAL_H

#include "plugin.h"
#include "../record/record.h"
#include "../record/samples.h"
#include "../../fixtures/fixture.h"

struct trial_options {
    const char *program;     /* the attest executable, for workers */
    const char *probes;      /* folder of the libraries that measure ceilings; used with machine */
    int threads;             /* for kernels and for judging; 0: all cores */
    int64_t device_index;    /* which GPU or NPU */
    struct client *client;   /* a worker that rows for GPUs and NPUs share as long as they end well,
                                since a device is slow to open; NULL: each has its own */
    bool poison;             /* default true; false runs the fixture's data as they are */
    int repeats;             /* default 10 */
    bool repeats_asked;      /* all of them, whatever time they take */
    double watchdog_seconds; /* one launch may take at most this, 10 times as much in the twin;
                                default 60 */
    double repeat_seconds;   /* budget for poison and repeat launches of one row; default 2 */
    bool time;
    bool only_warm; /* nothing is timed cold */
    bool burst;     /* GPU rows are timed in bursts (worker/regime.h); default false: sustained */
    struct timing_plan plan;
    const struct timing_lock *timing_lock; /* held while it is timed; NULL: none is */
    struct sanitizer *sanitizer;   /* under which workers run, GPU kernels only; NULL: none. Each
                                      kernel is then launched once and not timed */
    double *clock_mhz;             /* of the GPU: the highest median that a row was timed at so far;
                                      may be NULL */
    double *quiet_us;              /* of the CPU: what the control took at its best so far
                                      (timing_keep_quiet); may be NULL */
    const char *file;              /* the fixture's path where it was named by it; may be NULL */
    const struct machine *machine; /* ceilings, for percentages and INVALID_PHYSICS; may be NULL */
    int64_t memory_max;            /* bytes a worker may allocate; 0: no limit of ours */
    struct samples *samples;       /* empty: gets what the row sums up; may be NULL */
};
extern const struct trial_options trial_defaults;

/* Fills `row` completely; a kernel's misbehaviour is a status, never a fault. Of the fixture no
 * more than its problem is looked at where the kernel cannot be loaded or does not declare that.
 * Else its unread elements are overwritten (poison), its inputs otherwise stay as they were: where
 * a kernel changed them they are restored from a copy or *fixture_spoilt is set and the caller must
 * load anew. */
bool trial_run(struct row *row, const struct plugin *plugin, struct fixture *fixture,
               const struct trial_options *options, bool *fixture_spoilt, struct fault *fault);
/* `row` and `before` are the same trial on a CPU in two processes, both right: `row` becomes what
 * stands of both. `samples` are the row's, `earlier` are those of `before`, and both are
 * exchanged where its stand. */
void trial_join(struct row *row, const struct row *before, const struct machine *machine,
                struct samples *samples, struct samples *earlier);
/* A row that was not brought to its end: who and what, `status` and why, and how to repeat it. */
__attribute__((format(printf, 6, 7))) void trial_lose(struct row *row, const struct plugin *plugin,
                                                      const struct fixture *fixture,
                                                      const struct trial_options *options,
                                                      enum status status, const char *format, ...);
/* A row of an output that was computed elsewhere, by no kernel that there is: `plugin` says who
 * made it and what it promises. out is [B, Hq, Sq, D] of the problem's dtype; lse, f32 [B, Hq, Sq],
 * may be NULL. Judged and diagnosed as a first launch's output is; what takes launches is not
 * shown. */
bool trial_judge(struct row *row, const struct plugin *plugin, struct fixture *fixture,
                 const struct trial_options *options, const void *out, const void *lse,
                 struct fault *fault);
/* Only who and what. */
void trial_describe(struct row *row, const struct plugin *plugin, const struct fixture *fixture,
                    const struct trial_options *options);

#endif
