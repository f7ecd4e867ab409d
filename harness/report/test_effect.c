#include "effect.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { ROWS = 20 };
static struct timing before[ROWS], after[ROWS];
static struct effect effects[ROWS];
static struct effect_machine machine;

/* Rows of 100 us whose samples are all but alike, and a control that is always the same. */
static void rows(void) {
    for (int n = 0; n < ROWS; n++) {
        before[n] = (struct timing){.n = 100,
                                    .q1_us = 100,
                                    .median_us = 101,
                                    .ci_low_us = 100.95,
                                    .ci_high_us = 101.05,
                                    .control_us = {50, 50, 50}};
        after[n] = before[n];
        effects[n] = (struct effect){.before = &before[n], .after = &after[n]};
    }
}

static void measure(int64_t count, bool alike) {
    cr_assert(effects_measure(effects, count, alike, &machine));
}

static double half(const struct effect *effect) {
    return log(effect->high / effect->low) / 2;
}

/* What one row says is not more than is known of such machines. */
Test(effect, of_one_row_the_spread_is_what_it_is_elsewhere) {
    rows();
    after[0].q1_us = 102;
    measure(1, true);
    cr_assert(machine.shift == 0 && machine.spread == 0.005 && effects[0].control == 1);
    cr_assert(fabs(effects[0].ratio - 1.02) < 1e-12);
    cr_assert(fabs(half(&effects[0]) / (3.7074 * 0.005) - 1) < 0.01, "%g", half(&effects[0]));
    strcpy(before[0].how, "clock");
    measure(1, true);
    cr_assert(machine.spread == 0.025);
}

Test(effect, on_a_machine_that_stands_still_samples_alone_decide) {
    rows();
    after[0].q1_us = 102;
    measure(ROWS, true);
    cr_assert(machine.shift == 0 && machine.spread == 0);
    /* 3.71 sqrt(2) 0.1 % / (2 1.96) */
    cr_assert(fabs(half(&effects[0]) - 1.325e-3) < 2e-6, "%g", half(&effects[0]));
    cr_assert(effects[0].p < 1e-6);
}

/* On a CPU rows that stand still are not believed: the next process finds something else. */
Test(effect, on_a_cpu_the_interval_is_what_processes_differ_by) {
    const struct {
        int64_t processes;
        double next_us, spread;
    } cases[] = {{0, NAN, 0.025}, {1, NAN, 0.025}, {2, 100, 0.025}, {3, 100, 0.0135}};
    for (int n = 0; n < 4; n++) {
        rows();
        for (int i = 0; i < ROWS; i++) {
            strcpy(before[i].how, "clock");
            before[i].processes = after[i].processes = cases[n].processes;
            before[i].next_us = after[i].next_us = cases[n].next_us;
        }
        after[0].q1_us = after[0].next_us = 110;
        measure(ROWS, true);
        const double off = half(&effects[0]) / (3.7074 * cases[n].spread) - 1;
        cr_assert(fabs(off) < 0.01, "%lld: %g", (long long)cases[n].processes, half(&effects[0]));
    }
    /* ... and more where no two of them agree */
    after[0].next_us = 110 * exp(0.05);
    measure(ROWS, true);
    cr_assert(fabs(half(&effects[0]) / (3.7074 * hypot(0.0135, 0.4 * 0.05)) - 1) < 0.01);
}

/* As R's 2 * pt(-t, 6) has it. */
Test(effect, p_is_that_of_a_t_distribution) {
    rows();
    const double error = sqrt(2) * log(101.05 / 100.95) / (2 * 1.96);
    const double t[] = {1, 2.446912, 3.707428, 8}, p[] = {0.3559177, 0.05, 0.01, 2.033e-4};
    for (int n = 0; n < 4; n++) {
        after[0].q1_us = 100 * exp(t[n] * error);
        measure(ROWS, true);
        cr_assert(fabs(effects[0].p / p[n] - 1) < 1e-3, "%g: %g", t[n], effects[0].p);
    }
}

Test(effect, what_the_control_differs_by_is_the_machines) {
    rows();
    for (int n = 0; n < ROWS; n++) {
        after[n].q1_us = 110;
        for (int third = 0; third < 3; third++) after[n].control_us[third] = 55;
    }
    measure(ROWS, true);
    cr_assert(fabs(machine.shift - log(1.1)) < 1e-12 && fabs(effects[3].control - 1.1) < 1e-12);
    cr_assert(effects[3].p == 1 && effects[3].low < 1);
    /* of one row alone, too, where it differs there alone */
    rows();
    after[3].q1_us = after[4].q1_us = 110;
    for (int third = 0; third < 3; third++) after[3].control_us[third] = 55;
    measure(ROWS, true);
    cr_assert(machine.shift == 0 && effects[3].p == 1 && effects[3].low < 1);
    cr_assert(effects[4].p < 1e-6 && effects[4].low > 1.09);
}

Test(effect, a_control_that_wavers_makes_intervals_wide) {
    rows();
    after[0].q1_us = 110;
    after[1].control_us[0] = 60; /* of one row in twenty it does not */
    after[1].control_us[2] = 50 * 50 / 60.0;
    measure(ROWS, true);
    cr_assert(machine.spread == 0 && effects[0].low > 1.09);
    for (int n = 0; n < ROWS; n++) {
        after[n].control_us[n % 3] = 60;
        after[n].control_us[(n + 1) % 3] = 50 * 50 / 60.0;
    }
    measure(ROWS, true);
    cr_assert(machine.spread > 0.1 && effects[0].low < 1 && effects[0].p > 0.05);
}

/* Every other row is 4 % faster or slower, and none of it is the kernels'. */
static void scatter(void) {
    rows();
    for (int n = 0; n < ROWS; n++) after[n].q1_us = 100 * exp(n % 2 == 0 ? 0.04 : -0.04);
    after[7].q1_us = 110;
}

Test(effect, rows_that_scatter_say_what_one_row_may) {
    scatter();
    measure(ROWS, true);
    cr_assert(machine.spread > 0.03 && effects[7].low < 1);
    /* ... unless other kernels are compared, which differ */
    measure(ROWS, false);
    cr_assert(machine.spread == 0.005 && effects[7].low > 1.07);
    /* ... and rows whose libraries are the same are asked first */
    for (int n = 0; n < ROWS; n += 4) effects[n].same = true;
    measure(ROWS, true);
    cr_assert(machine.spread == 0 && effects[7].low > 1.09);
}

Test(effect, that_all_rows_are_slower_is_no_scatter) {
    rows();
    for (int n = 0; n < ROWS; n++) after[n].q1_us = 110;
    measure(ROWS, true);
    cr_assert(machine.spread == 0 && effects[7].low > 1.09);
    /* ... but might be the machine, where there is no control */
    for (int n = 0; n < ROWS; n++) after[n].control_us[1] = NAN;
    measure(ROWS, true);
    cr_assert(isnan(machine.shift) && isnan(effects[7].control));
    cr_assert(effects[7].low < 1 && effects[7].p == 1);
    after[7].q1_us = 130;
    measure(ROWS, true);
    cr_assert(effects[7].low > 1.15);
}

Test(effect, of_few_rows_without_a_control_nothing_is_known) {
    rows();
    for (int n = 0; n < ROWS; n++) before[n].control_us[0] = 0; /* an older run has none */
    after[0].q1_us = 200;
    measure(4, true);
    cr_assert(effects[0].low == 0 && isinf(effects[0].high) && effects[0].p == 1);
    cr_assert(effects[0].ratio == 2);
}

Test(effect, few_samples_and_those_that_were_interrupted_are_doubted) {
    char why[96];
    struct timing timing = {.n = 29, .median_us = 100};
    effect_doubt(&timing, why);
    cr_assert_str_eq(why, "too few samples: 29 of 30");
    timing.n = 30;
    timing.interrupted = 15;
    effect_doubt(&timing, why);
    cr_assert_str_eq(why, "");
    timing.interrupted = 16;
    effect_doubt(&timing, why);
    cr_assert_str_eq(why, "the machine is busy: 16 of 30 samples were interrupted");
    timing = (struct timing){.n = 8, .median_us = 10001};
    effect_doubt(&timing, why);
    cr_assert_str_eq(why, "");
}
