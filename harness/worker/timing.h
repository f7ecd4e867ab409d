/* Numbers about a set of timings, and when to stop taking more. */
#ifndef ATTEST_TIMING_H
#define ATTEST_TIMING_H

#include <stdbool.h>
#include <stdint.h>

struct timing {
    int64_t n;                                      /* samples; 0: not timed */
    double min_us, q1_us, median_us, q3_us, max_us; /* quantiles: linear between the two nearest
                                                       samples, at (n - 1) p from the smallest
                                                       (numpy's and R's default, type 7) */
    /* 95 % of the median whatever the distribution: two order statistics, the innermost pair whose
     * binomial coverage is at least that. Fewer than 6 samples cannot give it: min and max. */
    double ci_low_us, ci_high_us;
    char stop[12]; /* "ci", "plateau" or "cap": why sampling ended; or as in race.h */
    /* What a sample was: "graph", a replay of `launches` launches, over their number; "events", one
     * launch between two events of a GPU; "clock", one call by the host's clock. */
    char how[12];
    int64_t launches;
    int64_t copies;    /* of inputs, outputs and scratch, that cold launches went through in turn;
                          0: caches were emptied before each launch, or the timing is warm */
    int64_t set_aside; /* samples that do not count: the GPU's clock was low, or the CPU busy */
    /* A fixed piece of work (control.h) beside the samples that count: lower quartiles of that at
     * their beginning, in the middle and at the end; NaN: there is none. Of several processes those
     * of the one where it was fastest, as the kernel's are of that where the kernel was. */
    double control_us[3];
    int64_t interrupted; /* samples during which others got the processor */
    double clock_mhz;    /* median during the samples that count; NaN: not known */
    /* Of this one and of others in other processes, where it is the one whose lower quartile is
     * least: how many there are, 0 as 1, and the least lower quartile of the others, NaN if none.
     */
    int64_t processes;
    double next_us;
};

struct timing_plan {
    int64_t samples_min, samples_max;
    double total_ms_max; /* the cap, for one of cold and warm, once there are samples_min */
    double ci_target;    /* half width / median, 0.005 */
};

/* Brings the samples whose clock was at least 97 % of the session's to the front, in their order,
 * and returns their number; *median_mhz is the clock's median over all of them. The session's clock
 * is *session_mhz, the highest median so far, which this one may raise. All are kept where the
 * clock is low for the kernel's work: `sustained`, that a GPU was slowed is what is measured, and
 * to leave out the slower of its samples would make it fast; else where the median is below 97 % of
 * the session's, which is the measure then. Clocks that are not known (NaN) are not low. */
int64_t timing_set_aside(double *samples_us, double *clock_mhz, int64_t n, bool sustained,
                         double *session_mhz, double *median_mhz);
/* On a CPU another thread on the same core makes everything slower, and so the control (control.h).
 * Brings the samples beside which it took at most 1.05 times *quiet_us to the front, in their
 * order, with their control, and returns their number; *quiet_us is what it took at its best in
 * this session, the lower tenth of a row's, which this row's may lower; 0: not known yet. All are
 * kept where those are fewer than `enough`. */
int64_t timing_keep_quiet(double *samples_us, double *control_us, int64_t n, int64_t enough,
                          double *quiet_us);
/* Whether a control says so. */
bool timing_is_quiet(double control_us, double quiet_us);
/* Sets n, the quantiles and the interval. Sorts `samples_us` in place. */
void timing_summarise(struct timing *timing, double *samples_us, int64_t n);
/* The mean of what the control took beside the samples; NaN: not known. */
double timing_control_us(const struct timing *timing);
/* `timing` becomes what stands of itself and `other`, taken in other processes. Whether that is
 * `other`. One without samples does not count. */
bool timing_join(struct timing *timing, const struct timing *other);
/* By how much the process that was next was slower, as a logarithm; 0: there is none. */
double timing_gap(const struct timing *timing);
/* Whether launches of one kind take clearly longer than those of another: by the medians, beyond
 * 1.25 times the other's and 5 us and `allowed_us`; `surely`, the intervals do not meet either. Not
 * of no samples. */
bool timing_apart(const struct timing *usual, const struct timing *other, double allowed_us,
                  bool surely);
/* By how many microseconds a recorded launch whose outputs and values were spoilt takes longer than
 * beside others it may: 1.3 times theirs, and 2 us. 0 or less: it does not. */
double timing_spoilt(double spoilt_us, double usual_us);
/* The same beside a sample: twice its time, and 10 us. */
double timing_noticed(double spoilt_us, double sample_us);
/* True when the n samples so far suffice; says why in stop[12]. Called by the worker after each.
 *   cap      samples_max samples or, from samples_min on, total_ms_max milliseconds
 *   ci       half the width of the interval is at most ci_target of the median
 *   plateau  twice the samples have not made the interval a tenth narrower (chance alone would
 *            make it 0.71 times as wide): the machine drifts, more samples do not help
 * ci and plateau are looked at each time there are an eighth more samples, from samples_min on and
 * not before there are 100 or they took 20 ms: a shorter look says nothing of the next second. */
int timing_enough(const double *samples_us, int64_t n, double total_ms,
                  const struct timing_plan *plan, char stop[12]);

#endif
