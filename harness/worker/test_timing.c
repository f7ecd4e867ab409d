/* Order statistics against hand-computed and published numbers. */
#include "timing.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* 1, 2, ..., n, out of order, so that a value is its own rank. */
static struct timing ranks(int64_t n) {
    static double samples[4096];
    struct timing timing = {0};
    for (int64_t i = 0; i < n; i++) samples[i] = (double)((i * 7919) % n + 1);
    timing_summarise(&timing, samples, n);
    return timing;
}

/* Conover, Practical Nonparametric Statistics; also e.g. NIST's tables of ranks for the median. */
Test(timing, interval_of_the_median_has_the_published_ranks) {
    static const struct {
        int64_t n, low, high;
    } table[] = {{6, 1, 6},    {7, 1, 7},    {8, 1, 8},     {9, 2, 8},       {10, 2, 9},
                 {11, 2, 10},  {12, 3, 10},  {15, 4, 12},   {20, 6, 15},     {25, 8, 18},
                 {30, 10, 21}, {50, 18, 33}, {100, 40, 61}, {1000, 469, 532}};
    for (size_t n = 0; n < sizeof table / sizeof table[0]; n++) {
        const struct timing timing = ranks(table[n].n);
        cr_assert(timing.ci_low_us == (double)table[n].low, "n = %lld: %g", (long long)table[n].n,
                  timing.ci_low_us);
        cr_assert(timing.ci_high_us == (double)table[n].high, "n = %lld: %g", (long long)table[n].n,
                  timing.ci_high_us);
    }
}

Test(timing, too_few_samples_for_95_percent_give_their_whole_range) {
    for (int64_t n = 1; n < 6; n++) {
        const struct timing timing = ranks(n);
        cr_assert(timing.ci_low_us == 1 && timing.ci_high_us == (double)n, "n = %lld",
                  (long long)n);
    }
}

Test(timing, quartiles_lie_linearly_between_samples) {
    double samples[] = {40, 15, 20, 35, 50}; /* numpy.percentile: 20, 35, 40 */
    double even[] = {4, 1, 3, 2};            /* 1.75, 2.5, 3.25 */
    struct timing timing = {0};
    timing_summarise(&timing, samples, 5);
    cr_assert(timing.q1_us == 20 && timing.median_us == 35 && timing.q3_us == 40);
    cr_assert(timing.n == 5 && timing.min_us == 15 && timing.max_us == 50);
    timing_summarise(&timing, even, 4);
    cr_assert(timing.q1_us == 1.75 && timing.median_us == 2.5 && timing.q3_us == 3.25);
}

Test(timing, nothing_measured_is_n_0) {
    struct timing timing = {0};
    timing_summarise(&timing, NULL, 0);
    cr_assert(timing.n == 0);
}

Test(timing, is_apart_by_its_medians_and_surely_by_its_intervals) {
    const struct timing usual = {.n = 9, .median_us = 100, .ci_low_us = 90, .ci_high_us = 110};
    struct timing other = {.n = 9, .median_us = 131, .ci_low_us = 109, .ci_high_us = 150};
    const struct timing none = {0};
    cr_assert(timing_apart(&usual, &other, 0, false) && !timing_apart(&usual, &other, 0, true));
    other.ci_low_us = 111;
    cr_assert(timing_apart(&usual, &other, 0, true) && !timing_apart(&usual, &other, 2, true));
    other.median_us = 129; /* 1.25 times, and 5 us */
    cr_assert(!timing_apart(&usual, &other, 0, false));
    cr_assert(!timing_apart(&usual, &none, 0, false) && !timing_apart(&none, &other, 0, false));
}

Test(timing, of_spoilt_launches_may_be_a_third_longer) {
    cr_assert(timing_spoilt(14.9, 10) < 0 && timing_spoilt(15.1, 10) > 0);
    cr_assert(timing_noticed(29.9, 10) < 0 && timing_noticed(30.1, 10) > 0);
}

static const struct timing_plan plan = {
    .samples_min = 20, .samples_max = 3000, .total_ms_max = 1e9, .ci_target = 0.005};

/* Takes samples from `draw` until it is enough; returns how many that were. */
static int64_t sample(double (*draw)(int64_t n), char stop[12]) {
    static double samples[4096];
    for (int64_t n = 0; n < 4096;) {
        samples[n] = draw(n);
        n++;
        if (timing_enough(samples, n, 0, &plan, stop)) return n;
    }
    return 0;
}

static double uniform(int64_t n) {
    return (double)((uint64_t)(n + 1) * 0x9e3779b97f4a7c15u >> 11) * 0x1p-53;
}

static double steady(int64_t n) {
    return 100 + 0.5 * uniform(n);
}

static double noisy(int64_t n) {
    return 100 + 20 * uniform(n);
}

/* Slower and slower: the interval never narrows. */
static double drifting(int64_t n) {
    return 100 + (double)n * 0.5;
}

/* A hundred, or as many as take 20 ms: then the next of an eighth more each time. */
Test(timing, steady_samples_end_at_the_first_look_after_a_hundred) {
    char stop[12];
    const int64_t n = sample(steady, stop);
    cr_assert(n >= 100 && n < 113, "%lld", (long long)n);
    cr_assert(!strcmp(stop, "ci"));
    double samples[20];
    for (int64_t i = 0; i < 20; i++) samples[i] = steady(i);
    cr_assert(!timing_enough(samples, 20, 19.9, &plan, stop));
    cr_assert(timing_enough(samples, 20, 20, &plan, stop));
}

Test(timing, noisy_samples_go_on_until_the_interval_is_narrow) {
    char stop[12];
    const int64_t n = sample(noisy, stop);
    cr_assert(n > 2 * plan.samples_min && n < plan.samples_max, "%lld", (long long)n);
    cr_assert(!strcmp(stop, "ci"), "%s", stop);
}

Test(timing, a_drifting_machine_is_a_plateau) {
    char stop[12];
    cr_assert(sample(drifting, stop) < 113);
    cr_assert(!strcmp(stop, "plateau"), "%s", stop);
}

Test(timing, the_cap_is_in_samples_and_in_time) {
    char stop[12] = "";
    const double samples[] = {1, 2, 3};
    const struct timing_plan tight = {
        .samples_min = 2, .samples_max = 3, .total_ms_max = 50, .ci_target = 0.005};
    cr_assert(!timing_enough(samples, 2, 10, &tight, stop));
    cr_assert(timing_enough(samples, 3, 10, &tight, stop) && !strcmp(stop, "cap"));
    stop[0] = '\0';
    cr_assert(!timing_enough(samples, 1, 50, &tight, stop)); /* it grows for two */
    cr_assert(timing_enough(samples, 2, 50, &tight, stop) && !strcmp(stop, "cap"));
}

Test(timing, sets_aside_what_a_low_clock_made_slow) {
    double us[] = {10, 14, 11, 12, 13}, clock[] = {1980, 1500, 1970, NAN, 1925}, median;
    double session = 0;
    cr_assert(timing_set_aside(us, clock, 5, false, &session, &median) == 4 && session == median);
    cr_assert(median == 1947.5); /* of 1500, 1925, 1970, 1980 */
    cr_assert(us[0] == 10 && us[1] == 11 && us[2] == 12 && us[3] == 13);
}

Test(timing, keeps_everything_when_no_clock_is_known) {
    double us[] = {3, 1, 2}, clock[] = {NAN, NAN, NAN}, median, session = 1980;
    cr_assert(timing_set_aside(us, clock, 3, false, &session, &median) == 3 && isnan(median));
    cr_assert(timing_set_aside(us, clock, 0, false, &session, &median) == 0 && isnan(median));
    cr_assert(session == 1980);
}

Test(timing, measures_low_clocks_by_the_sessions_unless_the_kernel_has_them_throughout) {
    double us[] = {10, 11, 12, 13}, clock[] = {1930, 1930, 1930, 1915}, median, session = 1980;
    cr_assert(timing_set_aside(us, clock, 4, false, &session, &median) == 3 && session == 1980);
    cr_assert(us[2] == 12 && median == 1930);
    double slow_us[] = {10, 11, 12}, slow[] = {1700, 1690, 1500};
    cr_assert(timing_set_aside(slow_us, slow, 3, false, &session, &median) == 2 && median == 1690);
}

/* A power cap moves the clock up and down: without the slower half it would be a fast kernel. */
Test(timing, sets_nothing_aside_of_what_is_slowed_for_good) {
    double us[] = {10, 11, 12, 13}, clock[] = {1980, 1720, 1650, 1500}, median, session = 1980;
    cr_assert(timing_set_aside(us, clock, 4, true, &session, &median) == 4 && median == 1685);
    cr_assert(us[0] == 10 && us[3] == 13 && session == 1980);
}

Test(timing, keeps_what_was_taken_while_the_core_was_quiet) {
    double us[] = {10, 16, 11, 12, 17}, control[] = {13, 20, 13.1, 13.6, 17}, quiet = 0;
    cr_assert(timing_keep_quiet(us, control, 5, 3, &quiet) == 3);
    cr_assert(fabs(quiet - 13.04) < 1e-9); /* the lower tenth */
    cr_assert(us[0] == 10 && us[1] == 11 && us[2] == 12 && control[2] == 13.6);
}

Test(timing, keeps_everything_where_it_never_was) {
    double us[] = {10, 16, 11}, control[] = {20, 21, 13.1}, quiet = 13;
    cr_assert(timing_keep_quiet(us, control, 3, 2, &quiet) == 3 && quiet == 13 && us[1] == 16);
    double none[] = {NAN, NAN, NAN};
    cr_assert(timing_keep_quiet(us, none, 3, 2, &quiet) == 3 && quiet == 13);
    quiet = 0;
    cr_assert(timing_keep_quiet(us, none, 3, 2, &quiet) == 3 && quiet == 0);
    cr_assert(timing_keep_quiet(us, control, 0, 2, &quiet) == 0 && quiet == 0);
}

Test(timing, of_several_processes_the_fastest_stands_and_the_next_is_known) {
    const double q1_us[] = {105, 100, 103, 101};
    const double next_us[] = {NAN, 105, 103, 101};
    struct timing all = {.n = 0, .next_us = NAN};
    for (int n = 0; n < 4; n++) {
        const struct timing one = {
            .n = 30, .q1_us = q1_us[n], .max_us = n, .processes = 1, .next_us = NAN};
        cr_assert(timing_join(&all, &one) == (n < 2));
        cr_assert(all.n == 30 && all.processes == n + 1 && all.q1_us == (n == 0 ? 105 : 100));
        cr_assert(all.next_us == next_us[n] || (n == 0 && isnan(all.next_us)));
    }
    cr_assert(all.max_us == 1 && fabs(timing_gap(&all) - log(1.01)) < 1e-12);
    const struct timing none = {.n = 0, .q1_us = NAN};
    cr_assert(!timing_join(&all, &none) && all.processes == 4);
    /* those of older runs do not know how many they are */
    struct timing old = {.n = 30, .q1_us = 100, .next_us = NAN};
    cr_assert(timing_gap(&old) == 0 && !timing_join(&old, &(struct timing){.n = 30, .q1_us = 102}));
    cr_assert(old.processes == 2 && old.next_us == 102);
}

/* The kernel's time is the least of several, so is what the machine is measured by. */
Test(timing, of_several_processes_the_control_is_that_of_the_one_where_it_was_fastest) {
    const double q1_us[] = {105, 100, 103}, control_us[] = {13, 14, 13.5};
    struct timing all = {.n = 0, .next_us = NAN, .control_us = {NAN, NAN, NAN}};
    for (int n = 0; n < 3; n++) {
        struct timing one = {.n = 30, .q1_us = q1_us[n], .processes = 1, .next_us = NAN};
        for (int third = 0; third < 3; third++) one.control_us[third] = control_us[n] + third;
        timing_join(&all, &one);
        cr_assert(all.control_us[0] == 13 && all.control_us[1] == 14 && all.control_us[2] == 15);
    }
    cr_assert(all.q1_us == 100);
    /* one that is not known is none */
    struct timing unknown = {.n = 30, .q1_us = 90, .control_us = {NAN, NAN, NAN}, .next_us = NAN};
    cr_assert(timing_join(&all, &unknown) && all.q1_us == 90 && all.control_us[0] == 13);
    unknown = (struct timing){.n = 30, .q1_us = 110, .control_us = {NAN, 1, 1}, .next_us = NAN};
    cr_assert(!timing_join(&all, &unknown) && all.control_us[0] == 13);
}
