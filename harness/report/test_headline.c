#include "headline.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct row row_of(const char *kernel, const char *line, const char *status) {
    struct row row = {.deviation = {.elements = 64, .t_max = 0.3}, .repeat = "attest run it"};
    snprintf(row.kernel, sizeof row.kernel, "cpu/%s", kernel);
    snprintf(row.line, sizeof row.line, "%s", line);
    snprintf(row.status, sizeof row.status, "%s", status);
    snprintf(row.reason, sizeof row.reason, "%s", strcmp(status, "PASS") != 0 ? "a reason" : "");
    strcpy(row.device, "cpu");
    strcpy(row.variant, "decode");
    strcpy(row.grade, "A");
    row.warm = (struct timing){.n = 50, .q1_us = 99, .median_us = 100, .q3_us = 101};
    return row;
}

static struct headline headline_of(struct row *rows, int64_t count, int64_t torn) {
    struct headline headline;
    struct fault fault;
    const struct run run = {.rows = rows, .count = count, .torn = torn};
    cr_assert(headline_of_run(&headline, &run, &fault), "%s", fault.text);
    return headline;
}

static void expect_verdict(struct headline headline, const char *verdict) {
    cr_assert(strcmp(headline.verdict, verdict) == 0, "'%s', expected '%s'", headline.verdict,
              verdict);
    headline_free(&headline);
}

Test(run, of_which_all_is_right_says_how_good_it_is) {
    struct row rows[] = {row_of("a_r1", "1", "PASS"), row_of("a_r1", "2", "PASS"),
                         row_of("b_r1", "1", "PASS"), row_of("b_r1", "2", "REFUSED")};
    expect_verdict(headline_of(rows, 1, 0), "The row that was judged is right, of grade A.");
    expect_verdict(headline_of(rows, 4, 0),
                   "All 3 rows that were judged are right, all of grade A; 1 is refused.");
    strcpy(rows[0].grade, "B");
    strcpy(rows[1].grade, "-");
    strcpy(rows[2].status, "UNSTABLE");
    strcpy(rows[3].status, "PASS");
    strcpy(rows[3].device, "anchor");
    expect_verdict(headline_of(rows, 4, 1),
                   "All 3 rows that were judged are right, 1 of grade A, 1 of grade B, 1 without a "
                   "grade; 1 is computed, not run; 1 has a time that is UNSTABLE; the run is not "
                   "complete: it was killed.");
}

Test(run, in_which_nothing_was_judged_is_not_right) {
    struct row rows[] = {row_of("a_r1", "1", "REFUSED"), row_of("b_r1", "1", "REFUSED")};
    expect_verdict(headline_of(rows, 2, 0), "No row was judged; 2 are refused.");
    expect_verdict(headline_of(rows, 0, 0), "No row was judged.");
}

Test(run, names_what_failed_the_dead_first_and_of_each_kernel_the_worst) {
    struct row rows[] = {row_of("a_r1", "1", "FAIL_ACCURACY"), row_of("a_r1", "2", "PASS"),
                         row_of("a_r1", "3", "FAIL_ACCURACY"), row_of("b_r1", "1", "CRASH"),
                         row_of("c_r1", "1", "PASS"),          row_of("c_r1", "2", "odd")};
    rows[0].deviation.t_max = 2;
    rows[2].deviation.t_max = 3;
    rows[3].deviation.elements = 0;
    strcpy(rows[3].reason, "SIGSEGV");
    struct headline headline = headline_of(rows, 6, 0);
    cr_assert(!headline.well && headline.item_count == 3);
    static const struct {
        const char *kernel, *what, *line;
    } expected[] = {{"cpu/b_r1", "1 of 1 row CRASH", "1"},
                    {"cpu/a_r1", "2 of 3 rows FAIL_ACCURACY", "3"},
                    {"cpu/c_r1", "1 of 2 rows odd", "2"}};
    for (int n = 0; n < 3; n++) {
        const struct headline_item *item = &headline.items[n];
        cr_assert(strcmp(item->kernel, expected[n].kernel) == 0, "%d: %s", n, item->kernel);
        cr_assert(strcmp(item->what, expected[n].what) == 0, "%d: %s", n, item->what);
        cr_assert(strcmp(item->line, expected[n].line) == 0, "%d: %s", n, item->line);
    }
    cr_assert(strcmp(headline.items[0].reason, "SIGSEGV") == 0);
    cr_assert(strcmp(headline.items[0].repeat, "attest run it") == 0);
    expect_verdict(headline, "4 of 6 rows fail, in 3 of 3 kernels: 1 CRASH, 2 FAIL_ACCURACY, 1 "
                             "unknown.");
}

/* It is null in the record. */
Test(run, names_an_infinite_error_before_a_finite_one) {
    struct row rows[] = {row_of("a_r1", "1", "FAIL_NAN"), row_of("a_r1", "2", "FAIL_NAN"),
                         row_of("b_r1", "1", "FAIL_NAN"), row_of("b_r1", "2", "FAIL_NAN")};
    rows[1].deviation.t_max = NAN;
    struct headline headline = headline_of(rows, 4, 0);
    cr_assert(headline.item_count == 2);
    cr_assert(strcmp(headline.items[0].kernel, "cpu/a_r1") == 0);
    cr_assert(strcmp(headline.items[0].line, "2") == 0, "%s", headline.items[0].line);
    cr_assert(strcmp(headline.items[1].line, "1") == 0, "%s", headline.items[1].line);
    headline_free(&headline);
}

Test(run, counts_a_row_that_was_run_again_once) {
    struct row rows[] = {row_of("a_r1", "1", "CRASH"), row_of("a_r1", "1", "PASS")};
    expect_verdict(headline_of(rows, 2, 0), "The row that was judged is right, of grade A.");
}

static struct compare_pair pair_of(const struct row *before, const struct row *after, double ratio,
                                   enum compare_verdict verdict) {
    return (struct compare_pair){.before = before,
                                 .after = after,
                                 .ratio = ratio,
                                 .verdict = verdict,
                                 .regression = verdict == COMPARE_SLOWER};
}

static void expect_comparison(struct compare_pair *pairs, int64_t count, const char *differ,
                              const char *verdict) {
    struct comparison comparison = {.pairs = pairs, .pair_count = count};
    struct headline headline;
    struct fault fault;
    snprintf(comparison.machines_differ, sizeof comparison.machines_differ, "%s", differ);
    cr_assert(headline_of_comparison(&headline, &comparison, &fault), "%s", fault.text);
    expect_verdict(headline, verdict);
}

Test(comparison, says_whether_anything_became_worse_and_then_what) {
    const struct row right = row_of("a_r1", "1", "PASS"), wrong = row_of("a_r1", "2", "CRASH");
    struct compare_pair pairs[] = {pair_of(&right, &right, 1, COMPARE_SAME),
                                   pair_of(&right, &right, 0.5, COMPARE_FASTER),
                                   pair_of(&right, &right, 1.125, COMPARE_SLOWER),
                                   pair_of(&right, &wrong, NAN, COMPARE_UNTIMED)};
    pairs[3].status_change = 1;
    pairs[3].regression = true;
    expect_comparison(pairs, 2, "", "No regression in 2 rows: 1 same, 1 faster.");
    expect_comparison(pairs, 1, "CPU 'a' and 'b'",
                      "No regression in 1 row: 1 same; the machines differ, so "
                      "times do not count.");
    expect_comparison(pairs, 3, "",
                      "1 of 3 rows became worse: 1 slower, by 12.5 % at most; 1 same, 1 faster.");
    const struct comparison comparison = {.pairs = pairs, .pair_count = 4};
    struct headline headline;
    struct fault fault;
    cr_assert(headline_of_comparison(&headline, &comparison, &fault));
    cr_assert(headline.item_count == 2);
    cr_assert(strcmp(headline.items[0].what, "PASS → CRASH") == 0);
    cr_assert(strcmp(headline.items[0].line, "2") == 0);
    cr_assert(strcmp(headline.items[1].what, "slower by 12.5 %") == 0);
    headline_free(&headline);
}
