/* Samples of several kernels, or copies of one, on the same inputs and into the same outputs, taken
 * in rounds: one of each, in an order that is drawn anew each time. A sample is one as in
 * sampling.h, a shorter replay where the device records. Before each one outputs are filled with
 * what was never written -- the answer that the kernel before it left would be there otherwise --
 * and before each round values are turned (turn.h), so that none is timed on inputs that it has
 * seen, but the copy of the old kernel; after each sample outputs are what its own kernel should
 * leave, or it is taken note of. On a GPU, whose outputs and values have
 * to be fetched and brought, as often as sampling.h does that; within a replay launches find both
 * as the one before them left them. */
#ifndef ATTEST_RACE_H
#define ATTEST_RACE_H

#include "series.h"
#include "watch.h"

/* By their numbers; a copy's is its original's and 2. */
enum { RACER_OLD, RACER_NEW, RACER_OLD_COPY, RACER_NEW_COPY, RACERS_MAX };
enum { RACE_STRETCH_MAX = 5 };
_Static_assert((int)RACERS_MAX <= (int)DEVICE_RECORDS, "each is recorded");

struct racer {
    struct subject subject;
    struct watch *watch;    /* begun; all share one turn, or have none */
    double *us, *clock_mhz; /* a launch, of each round; clock_mhz NaN: not known */
    double single_us;       /* found: a single launch between two events, before; 0: not taken */
};

struct race {
    /* asked for; all subjects are of one device */
    struct racer *racers; /* the old kernel, the new, and copies of both, or of the old, or none */
    int count;            /* 2, 3 or 4 */
    bool cold, burst;
    double touched_bytes; /* as in struct sampling */
    int64_t rounds_max;   /* room in `us` */
    /* From PAIRED_MIN rounds on (paired.h), which take 20 s at most; of a CPU what threads have had
     * one for, and RACE_STRETCH_MAX times as long by the clock at most. */
    double total_ms_max;
    double least; /* rounds are enough when they tell this (paired.h) */
    /* found */
    int64_t rounds, launches, copies;
    char how[12], stop[12]; /* as in struct timing; "width": there were enough */
    const char *regime;     /* of all samples, as in struct sampling */
    char unrecorded[160];   /* why the kernels cannot all be recorded; "": they can, or need not */
    struct device_state last;
};

/* NULL, or what went wrong; then *which is whose launch it was. Values are as they were. */
const char *race_run(struct race *race, int *which);

#endif
