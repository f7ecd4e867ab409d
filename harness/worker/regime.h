/* What ran on a GPU before it is timed decides what a launch takes: at rest its clock is the
 * highest, and the power cap bites after some 40 ms of work. (One prefill on an H200 took 2849,
 * 2637 and 2644 us in three runs.) So samples are of one of two regimes, and are compared within
 * it:
 *
 *   sustained  launches go on, uncounted, until median and clock have settled, and for 150 ms at
 *              least; samples come after that. After a pause, in which outputs were fetched,
 *              launches go on for as long as that was before there is another, and for 150 ms
 *              where the GPU had been slowed; and where there are pauses, one sample in eight has
 *              its outputs looked at.
 *   burst      samples are of the first 40 ms of work after half a second of rest; then it rests
 *              again, until there are enough. */
#ifndef ATTEST_REGIME_H
#define ATTEST_REGIME_H

#include <stdbool.h>
#include <stdint.h>

/* In microseconds of work; in haste (haste.h) it rests and settles in less. */
static const double regime_burst_us = 40e3, regime_rest_us = 500e3, regime_settle_us = 150e3;

/* `struct regime r = {.burst = ...}` has not begun. */
struct regime {
    bool burst;
    double rested_s; /* in all, which is no time that sampling took */
    double busy_us;  /* work since it rested */
    double end_s;    /* when the last launch had ended; 0: there was none */
    bool begun;
    bool pauses; /* there have been some */
};

/* "sustained" or "burst". */
const char *regime_name(bool burst);
/* False where there is no such name. */
bool regime_find(const char *name, bool *burst);

/* Before a sample: rests where that is due. */
void regime_begin(struct regime *regime);
/* A launch, or several, that worked for so long has ended now. */
void regime_note(struct regime *regime, double us);
/* For how long launches must go on, uncounted, since nothing has been at work; `slowed`: it was at
 * a limit before. 0: they need not. */
double regime_lost_us(struct regime *regime, bool slowed);

/* Whether it has settled: the last launches -- 50 ms of them, 3 to 16 -- have the median of as many
 * before them within 1 %, and of the clock too; or 500 ms of work were not enough. `struct settling
 * s = {0}` has seen none. */
enum { SETTLING_ROOM = 32 };
struct settling {
    double us[SETTLING_ROOM], clock_mhz[SETTLING_ROOM]; /* the last ones; clock NaN: not known */
    double total_us;
    int64_t n;
};
bool settling_add(struct settling *settling, double us, double clock_mhz);

#endif
