/* Launches of several kernels, timed in turn: rounds of one launch of each, close together and in
 * any order, so that what the machine does meanwhile happens to all of them. What two kernels
 * differ by is the median of the logarithm of their ratio, round by round, with an interval from
 * order statistics, which assumes no distribution. It would be too narrow where rounds are alike
 * that follow each other: so the number of rounds that are worth as much as independent ones is
 * what is counted (batch means: paired.c).
 *
 * A copy of each kernel takes part: where libraries and scratch happen to lie makes a difference
 * that is none of the kernel's. Of each kernel it is the middle between it and its copy that is
 * compared, and every interval is wider, both ways, by half of what one of them differs from its
 * copy, the one that does so more: if one of four places is unlike the others, that is as much as
 * it can have moved the middle. */
#ifndef ATTEST_PAIRED_H
#define ATTEST_PAIRED_H

#include <stdbool.h>
#include <stdint.h>

/* Logarithms, of a time over another. */
struct paired {
    int64_t n;                /* rounds; 0: nothing is known */
    double median, low, high; /* and its 99 % interval; infinite with too few rounds */
    double inflation; /* rounds that are worth an independent difference: below 1 with copies */
};

/* Of each round the time of a launch, of the old kernel and the new and a copy of each; a copy's
 * may be NULL: it did not take part. */
struct paired_times {
    const double *old_us[2], *new_us[2];
    int64_t n;
};

/* New over old. False: out of memory. */
bool paired_measure(struct paired *paired, const struct paired_times *times);

/* What two kernels differ by, as it is written down. */
struct versus {
    int64_t pairs;           /* rounds; 0: not timed */
    double ratio, low, high; /* new over old and its interval, widened */
    double p;                /* that they differ by no more than it was widened by, two-sided */
    /* A copy over what it is one of, old or new, the one that is farther from 1; NaN: none was. */
    double control, control_low, control_high;
    double inflation; /* as above */
    double needed;    /* rounds for a verdict with this ratio; NaN: there is one, 0: no number is
                         enough, since what it is widened by is more than there is to tell */
};

/* `least`: a smaller share of the time is no difference. False: out of memory. */
bool paired_compare(struct versus *versus, const struct paired_times *times, double least);
/* Whether the intervals are as narrow as it takes to tell `least`, wherever they lie. */
bool paired_enough(const struct paired_times *times, double least);
/* Of fewer rounds paired_compare knows no interval: nothing could be said of neighbours. */
enum { PAIRED_MIN = 12 };

enum paired_verdict { PAIRED_UNDECIDED, PAIRED_SAME, PAIRED_FASTER, PAIRED_SLOWER };
/* By the interval alone: beyond 1 / (1 + least) .. 1 + least, within it, or neither. */
enum paired_verdict paired_verdict(const struct versus *versus, double least);

#endif
