/* Launches that a device records (device.h) to replay them as one, in the worker; and the copies of
 * all inputs that these read in turn, so that caches have forgotten what a launch reads. `struct
 * series s = {0}` holds nothing. */
#ifndef ATTEST_SERIES_H
#define ATTEST_SERIES_H

#include "device.h"

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
};

enum { SERIES_COPIES_MAX = 64 };
/* Of a launch this long, what the host takes to start it is nothing: it need not be recorded. */
static const double series_us_max = 10e3;

struct series {
    struct attn_call calls[SERIES_COPIES_MAX]; /* calls[0] is the subject's own */
    void *placed[SERIES_COPIES_MAX]; /* the inputs of calls[n], all memories in one; NULL of n == 0,
                                        and of copies that are another's */
    int64_t count;                   /* calls; 0: nothing is recorded */
    int64_t launches;                /* of one replay */
    int which;                       /* on the device */
    bool recorded;
};

/* The subject's own call and, cold, as many copies more as it takes to forget one, of which a
 * launch reads `touched_bytes` at least; or the copies of `lender`, prepared for this subject too.
 * False, holding nothing, when there is no room for so many. */
bool series_fill(struct series *series, const struct subject *subject, bool cold,
                 double touched_bytes, const struct series *lender);
/* Records `launches` of them or a few more, so that each copy is read as often, as number `which`.
 * NULL; or why that cannot be, and it holds nothing. */
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

/* One launch alone; and the median of a few, of one if that takes long. */
const char *subject_launch(const struct subject *subject, double *us);
const char *subject_time(const struct subject *subject, double *us);

/* How often a thread of this process had to leave a processor that it could have used on. */
long series_interruptions(void);

#endif
