#include "haste.h"
#include "regime.h"
#include "../../oracle/clock.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

/* The subject is time. */
static void take_time(void) {
    unsetenv("ATTEST_HASTE");
}

/* How many replays of so many us, whose time and clock `of` says, until it has settled. */
static int64_t settle(double (*us_of)(double worked_us), double (*mhz_of)(double worked_us),
                      double *worked_us) {
    struct settling settling = {0};
    *worked_us = 0;
    for (int64_t n = 1;; n++) {
        const double us = us_of(*worked_us), mhz = mhz_of(*worked_us);
        *worked_us += us;
        if (settling_add(&settling, us, mhz)) return n;
        cr_assert(n < 10000);
    }
}

static double steady_us(double worked_us) {
    (void)worked_us;
    return 1500;
}

static double long_us(double worked_us) {
    (void)worked_us;
    return 70e3;
}

static double longest_us(double worked_us) {
    (void)worked_us;
    return 900e3;
}

static double slower_us(double worked_us) { /* until 200 ms have gone by */
    return 1500 * (1 + fmin(worked_us, 200e3) / 400e3);
}

static double endless_us(double worked_us) {
    return 1500 * (1 + worked_us / 100e3);
}

static double known(double worked_us) {
    (void)worked_us;
    return 1980;
}

static double unknown(double worked_us) {
    (void)worked_us;
    return NAN;
}

static double falling_mhz(double worked_us) {
    return worked_us < 220e3 ? 1980 - worked_us / 1e3 : 1760;
}

Test(regime, settles_in_150_ms_at_least) {
    take_time();
    double worked_us;
    settle(steady_us, known, &worked_us);
    cr_assert(worked_us >= 150e3 && worked_us < 152e3, "%g", worked_us);
    settle(steady_us, unknown, &worked_us);
    cr_assert(worked_us >= 150e3 && worked_us < 152e3, "%g", worked_us);
    cr_assert(settle(long_us, known, &worked_us) == 6, "two windows of three");
    cr_assert(settle(longest_us, known, &worked_us) == 1);
}

Test(regime, is_not_settled_as_long_as_median_or_clock_change) {
    take_time();
    double worked_us;
    settle(slower_us, known, &worked_us);
    cr_assert(worked_us > 200e3 && worked_us < 300e3, "%g", worked_us);
    settle(steady_us, falling_mhz, &worked_us);
    cr_assert(worked_us > 210e3 && worked_us < 300e3, "%g", worked_us);
    settle(endless_us, known, &worked_us);
    cr_assert(worked_us >= 500e3 && worked_us < 520e3, "%g", worked_us); /* it never does */
}

Test(regime, a_burst_is_40_ms_of_work_after_half_a_second_of_rest) {
    take_time();
    struct regime regime = {.burst = true};
    for (int rests = 1; rests <= 2; rests++) {
        const double start = clock_s();
        regime_begin(&regime);
        cr_assert(clock_s() - start >= 0.49 && regime.rested_s >= 0.49 * rests);
        for (int n = 0; n < 4; n++) {
            const double began = clock_s();
            regime_begin(&regime);
            cr_assert(clock_s() - began < 0.4, "it works on");
            regime_note(&regime, 10e3);
        }
    }
    cr_assert(regime_lost_us(&regime, false) == 0);
}

Test(regime, sustained_work_makes_up_for_its_pauses) {
    take_time();
    struct regime regime = {0};
    regime_begin(&regime);
    cr_assert(regime.rested_s == 0 && regime_lost_us(&regime, false) == 0);
    regime_note(&regime, 1500);
    cr_assert(regime_lost_us(&regime, false) == 0 || clock_s() - regime.end_s > 3e-4);
    regime.end_s = clock_s() - 0.02;
    cr_assert(regime_lost_us(&regime, false) >= 20e3);
    regime.end_s = clock_s() - 5;
    cr_assert(regime_lost_us(&regime, false) == 150e3, "no longer than it takes to settle");
}

Test(regime, in_haste_rests_less_and_settles_sooner) {
    setenv("ATTEST_HASTE", "20", 1);
    struct regime regime = {.burst = true};
    double worked_us;
    regime_begin(&regime);
    cr_assert(regime.rested_s >= 0.025 && regime.rested_s < 0.4, "%g s", regime.rested_s);
    settle(steady_us, known, &worked_us);
    cr_assert(worked_us >= 7.5e3 && worked_us < 10e3, "%g", worked_us);
    settle(endless_us, known, &worked_us);
    cr_assert(worked_us >= 25e3 && worked_us < 27e3, "%g", worked_us);
    regime = (struct regime){.end_s = clock_s() - 5};
    cr_assert(regime_lost_us(&regime, false) == 7.5e3);
}

Test(haste, is_a_whole_number_or_none) {
    static const struct {
        const char *text;
        int64_t times;
    } cases[] = {{"20", 20}, {"1000", 1000}, {"1001", 1}, {"1", 1}, {"0", 1},
                 {"-3", 1},  {"", 1},        {"2x", 1},   {"x", 1}};
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        setenv("ATTEST_HASTE", cases[n].text, 1);
        cr_assert(haste() == cases[n].times, "'%s': %lld", cases[n].text, (long long)haste());
    }
    unsetenv("ATTEST_HASTE");
    cr_assert(haste() == 1);
}

Test(regime, has_a_name) {
    bool burst;
    cr_assert(regime_find("burst", &burst) && burst && regime_find("sustained", &burst) && !burst);
    cr_assert(!regime_find("", &burst) && !regime_find(NULL, &burst) && !regime_find("x", &burst));
    cr_assert_str_eq(regime_name(true), "burst");
}
