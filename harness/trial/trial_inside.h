/* What the parts of a trial share: trial.c runs a kernel and judges it, provoke.c provokes it,
 * trial_time.c times it. Each step asks the worker for something and looks at what it did; the
 * first that ends the matter sets the verdict and returns false, and what would follow is skipped.
 */
#ifndef ATTEST_TRIAL_INSIDE_H
#define ATTEST_TRIAL_INSIDE_H

#include "client.h"
#include "outputs.h"
#include "trial.h"

enum { LAUNCHES_MAX = 256 }; /* whose times are kept */

struct trial {
    const struct plugin *plugin;
    const struct trial_options *options;
    struct fixture *fixture;
    struct row *row;
    struct rule_view view;
    struct client *client;
    int side;   /* of several in one worker: what is asked is asked about this one */
    int blamed; /* whose launch an answer says failed; `side` if it does not say */
    struct outputs outputs;
    unsigned char *first; /* out and lse of the first launch */
    int threads;
    bool writes_lse, nondeterministic;
    bool interpreted; /* its worker is an interpreter's */
    struct promise promise;
    struct observation seen;
    bool late;      /* the first output was written after its launch had returned */
    bool stale;     /* returned what it had returned before V changed its sign */
    char kept[128]; /* which inputs are not read anew, in words; "": all are */
    bool stateless; /* ... and are read wrongly by a process that has read no others, too */
    int64_t scratch_bytes;
    double filling;            /* what the next launch finds in every float of its scratch */
    enum poison gaps;          /* what is between elements that a layout keeps apart, from the next
                                  prepare on; */
    enum attn_slot nan_around; /* around one tensor NaN; ATTN_SLOT_COUNT: none */
    const char *no_edges;      /* why none is with inputs behind protected pages; NULL: some are */
    bool edges;                /* the next launch is */
    bool beyond;               /* one went there, and ended its process: `seen` says where */
    bool suspected;            /* of reading what it must not: no other reason was found */
    struct verdict later;      /* of an output that differs, and may, and is wrong; PASS: none is */
    uint64_t inputs;           /* digest of the inputs as the kernel was given them last */
    bool inputs_known;
    struct verdict verdict;
    double read_bytes; /* that a launch needs at least */
    double launches_us[LAUNCHES_MAX];
    int64_t launches;
    double start_s;
};

/* All that is known before a worker is. */
void trial_make(struct trial *trial, struct row *row, const struct plugin *plugin,
                struct fixture *fixture, const struct trial_options *options);
/* Memory, and a worker, `own` unless one is kept. False: a fault or, with fault->code FAULT_NONE,
 * the verdict. */
bool trial_enter(struct trial *trial, struct client *own, struct fault *fault);
/* Its kernel, and in the worker's memory the fixture. */
bool trial_load(struct trial *trial);
bool trial_map(struct trial *trial);
/* Gives back memory and worker; `entered` is what trial_enter returned. Whether the fixture's
 * inputs are what they were. */
bool trial_leave(struct trial *trial, struct client *own, bool entered);

__attribute__((format(printf, 3, 4))) bool trial_end(struct trial *trial, enum status status,
                                                     const char *format, ...);
/* Asks the worker. False when the row is at its end: it died, hung, or said no. */
bool trial_ask(struct trial *trial, json_t *request, double seconds, json_t **reply);
/* ... with open files, at most CLIENT_FILES_MAX. */
bool trial_ask_with(struct trial *trial, json_t *request, const int *files, int file_count,
                    double seconds, json_t **reply);
/* A request about the trial's kernel, the caller's. */
json_t *trial_request(const struct trial *trial, const char *op);
bool trial_prepare(struct trial *trial);
/* One launch into filled outputs, and a look at the guards around them; `recorded`: of what was
 * timed last, as it was timed. */
bool trial_launch(struct trial *trial, bool recorded);
bool trial_finish(struct trial *trial);
/* All three, with the inputs as they are now. */
bool trial_call(struct trial *trial);
/* What `ask` asks is asked of a process in which the kernel has not run yet. False when nothing was
 * learned; the row goes on with the process that it has. */
bool trial_ask_afresh(struct trial *trial, bool (*ask)(struct trial *trial, void *argument),
                      void *argument);
/* The option that names the interpreter, where it is not the usual one. */
void trial_repeat_python(FILE *to);
/* The first says most. */
__attribute__((format(printf, 2, 0))) void trial_break_guard(struct trial *trial,
                                                             const char *format, const char *where);
void trial_look_at_scratch(struct trial *trial, const json_t *reply);
/* Whether the problem's tensors lie in a way of their own, with something between them. */
static inline bool trial_lays_out(const struct trial *trial) {
    return trial->view.problem->traits & RULE_LAYOUTS;
}
bool trial_same_as_first(const struct trial *trial);
/* provoke.c: the same bits as the first launch's or, where launches may differ, right where that
 * was. */
bool trial_stands(struct trial *trial);
/* What the output that is there now is worth, by its numbers alone; and whether the first launch's
 * was right by the same measure. */
struct verdict trial_judge_now(const struct trial *trial, struct deviation *deviation);
bool trial_first_was_right(const struct trial *trial);

/* provoke.c: the first half. Sets `first`, and in `seen` what speaks against the kernel. */
bool trial_provoke(struct trial *trial);
/* edges.c: a launch with inputs that end where memory does, and can only be read. Where the kernel
 * goes beyond, false, with `beyond` set. Afterwards nothing is prepared. */
bool trial_edges(struct trial *trial, enum poison poison);
/* A launch with inputs behind protected pages, as they lie. */
bool trial_launch_edges(struct trial *trial);
/* leak.c: of a kernel whose output depends on what must not be read, on what of it, where that
 * shows, and samples; `poison` is one under which the output is not the first. */
void trial_name_leak(struct trial *trial, enum poison poison);
/* renew.c: launches with changed inputs, and what they say in `stale` and `kept`; afterwards
 * nothing is prepared. `left_out`: why it is not done, NULL: it is. Fills row->checks. */
bool trial_renew(struct trial *trial, const char *left_out);
uint64_t trial_digest_inputs(const struct fixture *fixture);
void trial_look_at_inputs(struct trial *trial, enum poison poison, uint64_t digest);

/* trial_time.c: the second half, of a kernel that is right. */
bool trial_time(struct trial *trial);
/* Rates, and what speaks against them. */
void trial_rate(struct trial *trial);
/* For kernels that are timed side by side (duel.c), too: what samples should leave, for the worker,
 * as the first launch left it; what it answered, into the row; and those that left another output,
 * of which the furthest is in shared memory. */
json_t *trial_watch_for(struct trial *trial, bool cold);
void trial_read_samples(struct trial *trial, bool cold, const json_t *reply);
bool trial_look_at_samples(struct trial *trial, bool cold, const json_t *reply);
/* Rates alone. */
void trial_set_rates(struct trial *trial);

/* outside.c: launches whose times the worker's clock says add up to no more than passed meanwhile;
 * and what was timed last, once more in a row, takes as long by our clock. Else INVALID_PHYSICS. */
bool trial_look_at_sum(struct trial *trial, double sum_us, double launches, double wall_us);
bool trial_clock_outside(struct trial *trial);

#endif
