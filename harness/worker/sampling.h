/* Taking the samples of a timing, in the worker.
 *
 * Where a device records (device.h), a sample is one replay of many launches over their number; so
 * a launch pays what it costs in a graph and not what it costs the host. Warm, all of them are the
 * same call. Cold, launches use copies of all inputs, tables and lists too, of outputs and of
 * scratch in turn, of which there are so many that between two uses of one at least
 * device->forget_bytes() are touched, counting each byte that a launch must read once and no more;
 * the outputs of each are looked at after sampling, and those of one after each sample. Where that
 * takes more copies than there is room for, and where a launch cannot be recorded or takes so long
 * that it need not be, a sample is one launch between two events, and cold the caches are emptied
 * before it.
 *
 * Single launches do not find the values that the launch before them found (turn.h). Cold, values
 * are turned before each, before caches are emptied. Warm, they are turned before one in eight, at
 * random; those are no samples: that they take longer than samples would say that a kernel keeps
 * what it computed. If they seem to, because lines that were just written are slow to read,
 * threads fall asleep meanwhile, or the machine is another than it was during the samples, more
 * launches are taken beside each other, one after values were turned, one after lines were written
 * in the same way and turned nothing, and one after nothing. */
#ifndef ATTEST_SAMPLING_H
#define ATTEST_SAMPLING_H

#include "series.h"
#include "timing.h"
#include "watch.h"

enum { SAMPLING_EXTRA_MAX = 256 };

/* Of launches that are recorded with their outputs filled and values turned before each (spoil.h),
 * a launch, without what that takes. */
struct spoilt {
    int64_t launches;      /* 0: it was not done */
    double us, touched_us; /* touched: filled and written as much, and changed nothing */
    double alone_us;       /* the filling and turning before a launch */
    double usual_us;       /* of samples, taken again where they were faster than half of `us` */
    char why[160];         /* why it was not done; "": it need not be, or it was */
};

/* What launches take in the other regime: in one burst, warm, the median. */
struct sampling_burst {
    double us, clock_mhz, watts; /* us NaN: it was not measured */
};

struct sampling {
    /* asked for */
    struct timing_plan plan;
    bool cold;
    bool burst;           /* a GPU's samples are of bursts (regime.h); else sustained */
    double touched_bytes; /* that one launch must read at least; 0: not known */
    int64_t watched_min; /* so many samples are taken, if the cap allows, also when fewer are enough
                            to know the time */
    /* As in timing_keep_quiet, of a CPU: samples_min quiet ones are waited for, for a third of the
     * cap; 0: any are as good. */
    double quiet_us;
    const char *control; /* the library that has the control (control.h); NULL: it needs none */
    struct watch *watch; /* begun; NULL: what samples leave is not looked at */
    /* found; the caller frees the arrays */
    double *us, *clock_mhz; /* of each sample; clock_mhz NaN: not known */
    double *control_us;     /* the control (control.h) before or after it, the longer; NaN: none */
    int64_t n, launches, copies;
    int64_t interrupted;    /* samples by the host's clock during which others got the processor */
    double single_us;       /* a single launch between two events, before; 0: not taken */
    char how[12], stop[12]; /* as in struct timing */
    char unrecorded[160];   /* why the kernel cannot be recorded; "": it was not tried or it can */
    /* Warm, single launches; not among `us`. `surprised`: after values were turned. `touched` and
     * `plain`: only if those seemed to take longer, one for each of the last of them. */
    double surprised_us[SAMPLING_EXTRA_MAX], touched_us[SAMPLING_EXTRA_MAX],
        plain_us[SAMPLING_EXTRA_MAX];
    int64_t surprised, touched, plain;
    struct spoilt spoilt;
    const char *regime;                 /* "sustained" or "burst"; "": no GPU's */
    struct sampling_burst burst_beside; /* sustained, warm, where the GPU was slowed, or its clock
                                           more than 1 % below its highest */
    double turned_bytes;      /* of the lines that were written to turn values, the most at once */
    struct device_state last; /* as it was during the last sample that was replayed; slowed: during
                                 any of them */
};

/* What is recorded stays so until the next sampling or sampling_forget. NULL, or what went wrong:
 * words of the kernel or the device. */
const char *sampling_take(struct sampling *sampling, const struct subject *subject);
/* Replays, once, what was recorded; without that a launch. */
const char *sampling_repeat(const struct subject *subject);
/* Frees what a sampling keeps: the copies and their kernel states. */
void sampling_forget(const struct subject *subject);

#endif
