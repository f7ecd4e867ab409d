/* Kernels beside each other: what is right is timed, and what would be faster for what the other
 * one left is not. */
#include "duel.h"
#include "obtain.h"
#include "../verb.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static const char line[] = "f16-b2-hq4-hkv2-kv100-d64-normal-seed1";

static struct fixture obtain(const char *of) {
    struct fixture fixture = {0};
    struct fault fault = {0};
    const struct obtain_options options = {.program = verb_program(), .uncached = true};
    cr_assert(obtain_line(&fixture, of, &options, &fault), "%s", fault.text);
    return fixture;
}

static struct plugin_list kernel(const char *name) {
    char path[4096];
    struct plugin_list list = {0};
    struct fault fault = {0};
    const char *slash = strchr(name, '/'), *glob = slash + 1;
    snprintf(path, sizeof path, "%s/../%.*s", verb_kernels(), (int)(slash - name), name);
    cr_assert(plugin_scan(&list, verb_program(), path, &glob, 1, &fault), "%s", fault.text);
    cr_assert(list.count == 1, "%s", name);
    return list;
}

struct rows {
    struct row old, new;
};

/* Each by itself, without the timing that finds cheats, and then both. */
static struct rows fight(const char *old_name, const char *new_name, const char *of, bool cold) {
    static struct rows rows;
    struct fixture fixture = obtain(of);
    struct fault fault = {0};
    struct plugin_list old = kernel(old_name), new = kernel(new_name);
    struct trial_options options = trial_defaults;
    options.program = verb_program();
    options.time = false;
    options.threads = 1;
    options.watchdog_seconds = 20;
    const struct duel duel = {&old.plugins[0], &new.plugins[0], cold, true, 0.01, 30};
    bool spoilt;
    cr_assert(trial_run(&rows.old, duel.old, &fixture, &options, &spoilt, &fault), "%s",
              fault.text);
    cr_assert(trial_run(&rows.new, duel.new, &fixture, &options, &spoilt, &fault), "%s",
              fault.text);
    cr_assert(duel_run(&rows.old, &rows.new, &duel, &fixture, &options, NULL, &spoilt, &fault),
              "%s", fault.text);
    cr_assert(!spoilt);
    plugin_list_free(&old);
    plugin_list_free(&new);
    fixture_free(&fixture);
    return rows;
}

static void is_timed(const struct rows *rows, const struct versus *versus) {
    cr_assert_str_eq(rows->old.status, "PASS", "%s", rows->old.reason);
    cr_assert_str_eq(rows->new.status, "PASS", "%s", rows->new.reason);
    cr_assert_str_eq(rows->new.versus, rows->old.kernel);
    cr_assert_str_eq(rows->new.versus_digest, rows->old.library_digest);
    cr_assert_str_eq(rows->new.versus_why, "");
    cr_assert(versus->pairs >= PAIRED_MIN && versus->ratio > 0, "%lld", (long long)versus->pairs);
    cr_assert(versus->low <= versus->ratio && versus->ratio <= versus->high);
    cr_assert(versus->control_low <= versus->control_high && versus->control_low > 0);
    cr_assert(versus->p >= 0 && versus->p <= 1 && versus->inflation > 0.4);
}

Test(duel, two_kernels_that_are_right_are_timed_in_turn) {
    const struct rows rows =
        fight("kernels/decode_naive_r1", "kernels/decode_flash_r1", line, true);
    is_timed(&rows, &rows.new.versus_warm);
    is_timed(&rows, &rows.new.versus_cold);
    cr_assert(rows.old.versus[0] == '\0' && rows.old.versus_warm.pairs == 0);
    cr_assert(rows.old.warm.n == rows.new.versus_warm.pairs &&rows.new.warm.n == rows.old.warm.n);
    cr_assert(rows.old.cold.n == rows.new.versus_cold.pairs);
    cr_assert_str_eq(rows.new.warm.how, "clock");
    cr_assert(rows.new.tflops > 0 && rows.new.deviation.elements > 0);
}

Test(duel, one_library_is_four_when_it_is_compared_with_itself) {
    const struct rows rows =
        fight("kernels/decode_flash_r1", "kernels/decode_flash_r1", line, false);
    is_timed(&rows, &rows.new.versus_warm);
    cr_assert(rows.new.versus_cold.pairs == 0 && rows.new.cold.n == 0);
    cr_assert(isnan(rows.new.cold.median_us) && isnan(rows.new.cold.control_us[0]));
}

/* Only of four ratios are less than 2/3 of a round worth an independent one, where they are. */
Test(duel, a_copy_of_either_takes_part) {
    double least = 1;
    for (int n = 0; n < 20 && least >= 0.65; n++) {
        const struct rows rows =
            fight("kernels/decode_naive_r1", "kernels/decode_flash_r1", line, false);
        is_timed(&rows, &rows.new.versus_warm);
        least = fmin(least, rows.new.versus_warm.inflation);
    }
    cr_assert(least < 0.65, "%g", least);
}

Test(duel, a_kernel_that_is_wrong_on_either_side_is_not_timed_and_says_so) {
    static const char *const cases[][3] = {
        {"planted/decode_zeros_r1", "planted/decode_flash_r1", "old is FAIL_ACCURACY"},
        {"planted/decode_flash_r1", "odd/decode_exits_r1", "new is CRASH"},
        {"odd/decode_refuses_r1", "planted/decode_flash_r1", "old is REFUSED"},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        const struct rows rows = fight(cases[n][0], cases[n][1], line, false);
        cr_assert_str_eq(rows.new.versus_why, cases[n][2]);
        cr_assert(rows.new.versus_warm.pairs == 0 && isnan(rows.new.versus_warm.ratio));
        cr_assert_str_eq(rows.new.versus, rows.old.kernel);
    }
}

/* Where the answer of the kernel before it stands, and where inputs are those of a call that it
 * remembers: each would take a tenth of the time. */
Test(duel, what_the_other_kernel_left_is_no_answer) {
    static const char *const cheats[] = {"planted/decode_answer_stands_r1",
                                         "planted/decode_hashes_inputs_r1"};
    for (size_t n = 0; n < sizeof cheats / sizeof cheats[0]; n++) {
        const struct rows rows = fight("planted/decode_flash_r1", cheats[n],
                                       "f16-b1-hq1-hkv1-kv300-d64-normal-seed1", false);
        is_timed(&rows, &rows.new.versus_warm);
        cr_assert(rows.new.versus_warm.ratio > 0.5, "%s: %g", cheats[n],
                  rows.new.versus_warm.ratio);
        cr_assert(rows.new.warm.min_us > 0.5 * rows.old.warm.min_us, "%s: %g", cheats[n],
                  rows.new.warm.min_us);
    }
}

Test(duel, what_is_left_while_it_is_timed_is_looked_at) {
    static const char *const cases[][2] = {
        {"planted/decode_fingerprints_inputs_r1", "FAIL_NONDET"},
        {"planted/decode_later_when_timed_r1", "FAIL_UNWRITTEN"},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        const struct rows rows = fight("planted/decode_flash_r1", cases[n][0], line, false);
        cr_assert_str_eq(rows.old.status, "PASS", "%s", rows.old.reason);
        cr_assert(!strncmp(rows.new.status, cases[n][1], strlen(cases[n][1])), "%s: %s: %s",
                  cases[n][0], rows.new.status, rows.new.reason);
        cr_assert(!strncmp(rows.new.reason, "beside cpu/decode_flash_r1: ", 28), "%s",
                  rows.new.reason);
        cr_assert(strstr(rows.new.repeat, "attest compare --live ") != NULL);
        cr_assert(rows.new.versus_why[0] != '\0' && rows.new.versus_warm.pairs == 0);
        const struct rows turned = fight(cases[n][0], "planted/decode_flash_r1", line, false);
        cr_assert(!strncmp(turned.old.status, cases[n][1], strlen(cases[n][1])), "%s: %s: %s",
                  cases[n][0], turned.old.status, turned.old.reason);
        cr_assert_str_eq(turned.new.status, "PASS", "%s", turned.new.reason);
    }
}
