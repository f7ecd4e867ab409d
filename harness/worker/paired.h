/* Launches of several kernels, timed in turn: rounds of one launch of each, close together and in
 * any order, so that what the machine does meanwhile happens to all of them. What two kernels
 * differ by is the median of the logarithm of their ratio, round by round, with an interval from
 * order statistics, which assumes no distribution. It would be too narrow where rounds are alike
 * that follow each other: so the number of rounds that are worth as much as independent ones is
 * what is counted (batch means: paired.c).
 *
 * A copy of the old kernel takes part: where libraries and scratch happen to lie, and what a launch
 * finds in caches that the one before it has left, makes a difference that is none of the kernel's.
 * The new one is compared with both in each round, and every interval is wider, both ways, by half
 * of what they differ by. */
#ifndef ATTEST_PAIRED_H
#define ATTEST_PAIRED_H

#include <stdbool.h>
#include <stdint.h>

/* Logarithms, of a time over another. */
struct paired {
    int64_t n;                /* rounds; 0: nothing is known */
    double median, low, high; /* and its 99 % interval; infinite with too few rounds */
    double inflation;         /* how many rounds are worth an independent one: 1 or more */
};

/* Of n rounds, `after` over `before` and, if that is not NULL, over `copy`. False: out of memory.
 */
bool paired_measure(struct paired *paired, const double *before_us, const double *copy_us,
                    const double *after_us, int64_t n);

/* What two kernels differ by, as it is written down. */
struct versus {
    int64_t pairs;           /* rounds; 0: not timed */
    double ratio, low, high; /* new over old and its interval, widened */
    double p;                /* that they differ by no more than it was widened by, two-sided */
    double control, control_low, control_high; /* the copy of old over old; NaN: there was none */
    double inflation;                          /* as above */
    double needed; /* rounds for a verdict with this ratio; NaN: there is one, 0: no number is
                      enough, since what it is widened by is more than there is to tell */
};

/* `copy_us` NULL: there is no control. `least`: a smaller share of the time is no difference. */
bool paired_compare(struct versus *versus, const double *old_us, const double *copy_us,
                    const double *new_us, int64_t n, double least);
/* Whether the intervals are as narrow as it takes to tell `least`, wherever they lie. */
bool paired_enough(const double *old_us, const double *copy_us, const double *new_us, int64_t n,
                   double least);
/* The number of rounds below which no verdict is possible. */
enum { PAIRED_MIN = 12 };

enum paired_verdict { PAIRED_UNDECIDED, PAIRED_SAME, PAIRED_FASTER, PAIRED_SLOWER };
/* By the interval alone: beyond 1 / (1 + least) .. 1 + least, within it, or neither. */
enum paired_verdict paired_verdict(const struct versus *versus, double least);

#endif
