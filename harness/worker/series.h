/* Launches that a device records (device.h) to replay them as one, in the worker; and the copies of
 * all inputs, outputs and scratch that these use in turn, so that caches have forgotten what a
 * launch reads and writes. (With scratch and outputs that are the same for all, cold decodes seemed
 * 4 to 5 % faster on an H200.) `struct series s = {0}` holds nothing. */
#ifndef ATTEST_SERIES_H
#define ATTEST_SERIES_H

#include "device.h"
#include "watch.h"

#include <stddef.h>

/* A memory that tensors lie in, on the host and where kernels find it. */
struct memory {
    unsigned char *host, *device;
    size_t bytes;
    bool output;
};

/* What is timed. */
struct subject {
    const struct device *device;
    const struct attn_kernel *kernel;
    const struct attn_problem *problem;
    const struct attn_call *call; /* prepared */
    const struct memory *memories;
    size_t memory_count;
    size_t
        scratch_bytes; /* room behind call->scratch, of all subjects on these memories the same */
};

/* Copies may be so many, as long as there is room for them: of few bytes each it takes many. Where
 * they are more than a few, going through all of them once takes 100 ms at most, and preparing the
 * kernel for them 2 s. */
enum { SERIES_COPIES_MAX = 4096, SERIES_COPIES_FEW = 64 };
/* Of a launch this long, what the host takes to start it is nothing: it need not be recorded. */
static const double series_us_max = 10e3;

struct series {
    struct attn_call *calls; /* calls[0] is the subject's own */
    unsigned char *placed;   /* what calls[1], calls[2], ... are copies in, one behind the other */
    bool lent;               /* ... which is another's */
    int64_t count;           /* calls; 0: nothing is recorded */
    int64_t launches;        /* of one replay */
    int which;               /* on the device */
    bool recorded;
};

/* What is asked of copies. */
struct series_plan {
    bool cold;
    double touched_bytes; /* that a launch reads at least */
    double launch_us;     /* about what one takes */
};

/* The subject's own call and, cold, as many copies more as it takes to forget one; or the copies of
 * `lender`, prepared for this subject too. False, holding nothing, when there is no room for so
 * many, or they take too long. */
bool series_fill(struct series *series, const struct subject *subject,
                 const struct series_plan *plan, const struct series *lender);
/* Records `launches` of them or a few more, so that each copy is used as often, as number `which`.
 * The last one is the subject's own: what that leaves is what a replay leaves. NULL; or why that
 * cannot be, and it holds nothing. */
const char *series_record(struct series *series, const struct subject *subject, int which,
                          double launches);
/* A replay, *us its time for each launch; `state` may be NULL. */
const char *series_replay(const struct series *series, const struct subject *subject, double *us,
                          struct device_state *state);
/* What a launch takes in a replay, of which the first, that uploads it, does not count; 0 if one
 * fails: the next will say why. A launch alone may take the host far longer than that: Python's do.
 */
double series_launch_us(const struct series *series, const struct subject *subject);
/* Gives back what it holds; what a lender lent is the lender's. Forgets what others recorded, too.
 */
void series_forget(struct series *series, const struct subject *subject);

/* Replays once more, into outputs that hold nothing, and looks at those of every copy, as sample
 * `sample` left them. */
const char *series_look(const struct series *series, const struct subject *subject,
                        struct watch *watch, int64_t sample);

/* One launch alone, `state` may be NULL; and the median of a few, of one if that takes long. */
const char *subject_launch(const struct subject *subject, double *us, struct device_state *state);
const char *subject_time(const struct subject *subject, double *us);

/* How often a thread of this process had to leave a processor that it could have used on. */
long series_interruptions(void);

#endif
