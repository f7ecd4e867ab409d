/* Paired times whose difference is known, on machines that drift, hiccup and remember. */
#include "paired.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

enum { ROUNDS = 400, RUNS = 400 };

static uint64_t state;

static double uniform(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(state >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(void) {
    return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform());
}

/* What a machine does: `common` to a round, drifting; each launch's own noise, of which the share
 * `memory` is the last one's; and now and then a launch that takes three times as long. */
struct machine {
    double drift, noise, memory, spikes;
};

enum { OLD, NEW, OLD_COPY, NEW_COPY, SIDES };

static double memory[SIDES][ROUNDS];
static const struct paired_times all = {{memory[OLD], memory[OLD_COPY]},
                                        {memory[NEW], memory[NEW_COPY]},
                                        ROUNDS},
                                 no_copies = {{memory[OLD]}, {memory[NEW]}, ROUNDS};

static void take(const struct machine *machine, double factor) {
    double own[SIDES] = {0}, common = 0;
    for (int64_t i = 0; i < ROUNDS; i++) {
        common += machine->drift * normal();
        for (int side = 0; side < SIDES; side++) {
            own[side] = machine->memory * own[side] +
                        sqrt(1 - machine->memory * machine->memory) * normal();
            double *us = &memory[side][i];
            *us = 100 * exp(common + machine->noise * own[side]) * (side % 2 == NEW ? factor : 1);
            if (uniform() < machine->spikes) *us *= 3;
        }
    }
}

struct found {
    int called, missed, outside;
};

static struct found try(const struct machine *machine, double factor, double least) {
    struct found found = {0};
    for (int run = 0; run < RUNS; run++) {
        struct versus versus;
        struct paired paired;
        take(machine, factor);
        cr_assert(paired_compare(&versus, &all, least));
        cr_assert(paired_measure(&paired, &all));
        const enum paired_verdict verdict = paired_verdict(&versus, least);
        found.called += verdict == PAIRED_FASTER || verdict == PAIRED_SLOWER;
        found.missed += verdict != (factor > 1 ? PAIRED_SLOWER : PAIRED_FASTER);
        found.outside += paired.low > log(factor) || paired.high < log(factor);
    }
    return found;
}

static const struct machine quiet = {.noise = 0.005}, drifts = {.drift = 0.02, .noise = 0.01},
                            hiccups = {.noise = 0.01, .spikes = 0.1},
                            remembers = {.noise = 0.01, .memory = 0.7};

Test(paired, interval_holds_the_truth_also_where_neighbours_are_alike) {
    const struct machine *machines[] = {&quiet, &drifts, &hiccups, &remembers};
    for (size_t n = 0; n < sizeof machines / sizeof machines[0]; n++) {
        const struct found found = try(machines[n], 1.03, 0.01);
        /* 1 % of them; 4 of 400, 12 with less than 1e-3; and twice that where batches are few. */
        cr_assert(found.outside <= (n == 3 ? 20 : 12), "%zu: %d of %d", n, found.outside, RUNS);
    }
}

Test(paired, same_kernel_is_not_called_faster_or_slower) {
    const struct machine *machines[] = {&quiet, &drifts, &hiccups, &remembers};
    for (size_t n = 0; n < sizeof machines / sizeof machines[0]; n++)
        cr_assert(try(machines[n], 1, 0).called <= 4, "%zu", n);
}

Test(paired, finds_what_there_is_in_either_direction) {
    cr_assert(try(&quiet, 1.02, 0.01).missed <= 4);
    cr_assert(try(&quiet, 1 / 1.02, 0.01).missed <= 4);
    cr_assert(try(&drifts, 1.05, 0.01).missed <= 4);
    cr_assert(try(&hiccups, 0.95, 0.01).missed <= 4);
}

Test(paired, memory_of_a_machine_is_paid_for) {
    struct paired independent, alike;
    take(&quiet, 1);
    cr_assert(paired_measure(&independent, &no_copies));
    take(&remembers, 1);
    cr_assert(paired_measure(&alike, &no_copies));
    cr_assert(independent.inflation < 2.5 && alike.inflation > 2.5, "%g %g", independent.inflation,
              alike.inflation);
}

/* Whichever of the four lies where it is slower: nothing is called. */
Test(paired, copy_that_differs_widens_every_interval) {
    for (int side = 0; side < SIDES; side++) {
        struct versus versus, alone;
        take(&quiet, 1);
        for (int i = 0; i < ROUNDS; i++) memory[side][i] *= 1.04;
        cr_assert(paired_compare(&alone, &no_copies, 0.01));
        cr_assert(paired_compare(&versus, &all, 0.01));
        const enum paired_verdict fooled = side == OLD   ? PAIRED_FASTER
                                           : side == NEW ? PAIRED_SLOWER
                                                         : PAIRED_SAME;
        cr_assert(paired_verdict(&alone, 0.01) == fooled && isnan(alone.needed), "%d", side);
        cr_assert(paired_verdict(&versus, 0.01) == PAIRED_UNDECIDED, "%d", side);
        cr_assert(versus.needed == 0 && versus.p > 1e-4); /* no number of rounds is enough */
        const double off = log(1.04);
        const double control = side < OLD_COPY ? -off : off, ratio = side % 2 == NEW ? off : -off;
        cr_assert(fabs(log(versus.control) - control) < 0.003, "%g", versus.control);
        cr_assert(fabs(log(versus.ratio) - ratio / 2) < 0.002, "%g", versus.ratio);
        cr_assert(versus.high - versus.low < 0.045, "%g %g", versus.low, versus.high);
    }
}

/* Three in ten of many differences are beyond what a copy is off: that is no evidence, though
 * the probability of exactly so many is less than the smallest double. */
Test(paired, of_many_rounds_few_beyond_what_the_control_is_off_are_no_evidence) {
    enum { MANY = 12000 };
    static double old[MANY], copy[MANY], new[MANY];
    const struct paired_times times = {{old, copy}, {new}, MANY};
    struct versus versus;
    for (int i = 0; i < MANY; i++) {
        old[i] = 100;
        copy[i] = i % 10 < 6 ? 104 : 100;
        new[i] = (i % 10 < 3 ? 99.99 : 101) * exp(1e-5 * normal());
    }
    cr_assert(paired_compare(&versus, &times, 0.01));
    cr_assert(versus.p > 0.99, "%g", versus.p);
}

Test(paired, takes_a_copy_of_either_alone) {
    const struct paired_times without[] = {
        {{memory[OLD], memory[OLD_COPY]}, {memory[NEW]}, ROUNDS},
        {{memory[OLD]}, {memory[NEW], memory[NEW_COPY]}, ROUNDS},
    };
    take(&quiet, 1.02);
    for (int i = 0; i < ROUNDS; i++) {
        memory[OLD_COPY][i] *= 1.004;
        memory[NEW_COPY][i] *= 1.004;
    }
    for (int n = 0; n < 2; n++) {
        struct versus versus;
        cr_assert(paired_compare(&versus, &without[n], 0.01));
        const double ratio = log(1.02) + (n == 0 ? -0.002 : 0.002);
        cr_assert(fabs(log(versus.ratio) - ratio) < 0.001, "%d: %g", n, versus.ratio);
        cr_assert(fabs(log(versus.control) - 0.004) < 0.001, "%d: %g", n, versus.control);
        cr_assert(versus.inflation >= 2.0 / 3 - 1e-9, "%g", versus.inflation);
        cr_assert(paired_verdict(&versus, 0.01) == PAIRED_SLOWER);
        cr_assert(paired_enough(&without[n], 0.01));
    }
}

Test(paired, verdict_needs_the_whole_interval) {
    static const struct {
        double low, high;
        enum paired_verdict verdict;
    } cases[] = {
        {1.011, 1.5, PAIRED_SLOWER},     {1.009, 1.5, PAIRED_UNDECIDED},
        {0.5, 0.98, PAIRED_FASTER},      {0.5, 0.995, PAIRED_UNDECIDED},
        {0.991, 1.01, PAIRED_SAME},      {0.9, 1.1, PAIRED_UNDECIDED},
        {0, INFINITY, PAIRED_UNDECIDED},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        const struct versus versus = {.low = cases[n].low, .high = cases[n].high};
        cr_assert(paired_verdict(&versus, 0.01) == cases[n].verdict, "%zu", n);
    }
}

Test(paired, few_rounds_say_nothing_and_how_many_would) {
    static const struct machine noisy = {.noise = 0.02}, exact = {.noise = 1e-3};
    struct paired_times times = all;
    struct versus versus;
    take(&exact, 1.1);
    for (times.n = 0; times.n < PAIRED_MIN; times.n++) {
        cr_assert(paired_compare(&versus, &times, 0.01));
        cr_assert(paired_verdict(&versus, 0.01) == PAIRED_UNDECIDED && versus.pairs == times.n);
        cr_assert(!paired_enough(&times, 0.01));
    }
    cr_assert(paired_compare(&versus, &times, 0.01)); /* of PAIRED_MIN */
    cr_assert(paired_verdict(&versus, 0.01) == PAIRED_SLOWER);
    take(&noisy, 1.02);
    times.n = 30;
    cr_assert(paired_compare(&versus, &times, 0.01));
    cr_assert(paired_verdict(&versus, 0.01) == PAIRED_UNDECIDED);
    cr_assert(versus.needed > 30, "%g", versus.needed);
}

/* Of 8 the smallest and the largest enclose the median with 99.2 %; of 100 the 37th and the 64th
 * (Conover, Practical Nonparametric Statistics: n = 100, 99 %: 2 P(K <= 36) = 0.0066). */
Test(paired, ranks_are_those_of_the_binomial_distribution) {
    double ones[100], ranks[100];
    struct paired paired;
    for (int i = 0; i < 100; i++) {
        ones[i] = 1;
        ranks[i] = exp((double)(i * 37 % 100 + 1)); /* 37 and 100 have no divisor in common */
    }
    cr_assert(paired_measure(&paired, &(struct paired_times){{ones}, {ranks}, 8}));
    cr_assert(fabs(paired.low - 1) < 1e-9 && fabs(paired.high - 86) < 1e-9, "%g %g", paired.low,
              paired.high);
    cr_assert(paired_measure(&paired, &(struct paired_times){{ones}, {ranks}, 7}));
    cr_assert(isinf(paired.low) && isinf(paired.high));
    cr_assert(paired_measure(&paired, &(struct paired_times){{ones}, {ranks}, 100}));
    cr_assert(paired.inflation == 1, "%g", paired.inflation); /* neighbours alternate */
    cr_assert(fabs(paired.low - 37) < 1e-9 && fabs(paired.high - 64) < 1e-9, "%g %g", paired.low,
              paired.high);
    cr_assert(fabs(paired.median - 50.5) < 1e-9);
}

Test(paired, width_alone_says_when_there_are_enough) {
    struct paired_times few = all;
    few.n = 20;
    take(&quiet, 1);
    cr_assert(paired_enough(&all, 0.01));
    take(&quiet, 1.0101); /* at the edge of a verdict */
    cr_assert(paired_enough(&all, 0.01));
    for (int i = 0; i < ROUNDS; i++) memory[OLD_COPY][i] *= 1.001;
    cr_assert(paired_enough(&all, 0.01));
    cr_assert(!paired_enough(&few, 0.01));
}
