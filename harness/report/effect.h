/* What two timings of one problem, taken in other seconds and often in other processes, say of each
 * other: the ratio of their lower quartiles, and how far off it may be.
 *
 * The samples of one timing, a fraction of a second, say nothing of the next minute: a neighbour on
 * the same core, a lower clock, memory that lies elsewhere make another time of the same kernel.
 * What that may be is estimated from what should not differ and does:
 *
 * - shift: of the control (worker/control.h), a fixed piece of work timed beside every sample; the
 *   median over all rows, or the row's own if that is larger; 2.5 times that, since a kernel
 *   suffers up to so much more. It widens the interval as it is.
 *   Of two machines it is what their probes differ by in what bounds the row, if that is more.
 * - spread: of the control's ratios, three a row, or of the rows' own, if that is larger; 1.48
 *   times the median deviation from the median, which rows that did change do not enter as long as
 *   they are fewer than half. Of rows whose library is the same in both runs, if there are five,
 *   else of all, if kernels are compared with themselves; of those whose control is within 3 % of
 *   the others', if there are five. Of fewer it is 2.5 % on a CPU and 0.5 % on a GPU at least. On a
 *   CPU it is at least what processes differ by that find memory elsewhere and other neighbours:
 *   1.35 % where both timings are the fastest of three processes or more, else 2.5 %.
 * - error: of the row's own samples, and of a CPU 0.4 times what the next process was slower by,
 *   which is little where two found the same.
 *
 * The interval is the shift, and 3.71 times spread and error together: 99 % of a t distribution
 * with 6 degrees of freedom, for such differences have long tails. */
#ifndef ATTEST_EFFECT_H
#define ATTEST_EFFECT_H

#include "../worker/timing.h"

/* Of the intervals. */
extern const double effect_confidence;

struct effect {
    const struct timing *before, *after; /* of the same device, both with samples */
    bool same;                           /* one library, not only one kernel */
    double ceilings; /* by what the two machines' probes differ, as a logarithm; NaN: one machine */
    /* found */
    double ratio, low, high; /* after / before, and its interval */
    double p;                /* of no difference */
    double shift;            /* by which, as a logarithm, the interval is wider on both sides */
    double control;          /* the same ratio of the control; NaN: not known */
};

/* What is known of the machine, as logarithms. */
struct effect_machine {
    double shift;  /* of the control, after / before; NaN: there is none */
    double spread; /* NaN: nothing is known of it */
};

/* Of all rows of one device. `alike`: kernels are compared with themselves. Where neither the
 * control nor other rows say anything of the machine intervals are infinite. False: out of memory.
 */
bool effects_measure(struct effect *effects, int64_t count, bool alike,
                     struct effect_machine *machine);

/* Why samples of a timing are not worth a verdict, "" if they are: fewer than 30, or 8 where a
 * launch takes more than 10 ms; more than half of them interrupted by others who wanted the
 * processor. */
void effect_doubt(const struct timing *timing, char why[96]);

#endif
