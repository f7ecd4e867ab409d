#include "compare.h"
#include "../verb.h"
#include "../../fixtures/test_folder.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A kernel's row on a problem: its id gives device, variant, method and revision. */
static struct row row_of(const char *kernel, const char *line, double median_us) {
    struct row row = {.kept_mass = NAN};
    snprintf(row.kernel, sizeof row.kernel, "%s", kernel);
    sscanf(kernel, "%15[^/]/%31[^_]_%47[^_]_r%ld", row.device, row.variant, row.method,
           &row.revision);
    snprintf(row.line, sizeof row.line, "%s", line);
    strcpy(row.fixture_digest, "d1");
    strcpy(row.status, "PASS");
    strcpy(row.grade, "A");
    row.warm = (struct timing){.n = 100,
                               .median_us = median_us,
                               .q1_us = 0.98 * median_us,
                               .q3_us = 1.02 * median_us,
                               .ci_low_us = 0.995 * median_us,
                               .ci_high_us = 1.005 * median_us,
                               .control_us = {50, 50, 50}};
    return row;
}

static struct run run_of(struct row *rows, int64_t count) {
    struct run run = {.rows = rows, .count = count};
    strcpy(run.machine.cpu, "a CPU");
    strcpy(run.machine.device, "cpu");
    run.machine.cores = 2;
    return run;
}

static struct comparison compare(const struct run *before, const struct run *after,
                                 const char *old_glob, const char *new_glob) {
    struct comparison comparison;
    struct fault fault = {0};
    const struct compare_options options = {old_glob, new_glob, false, compare_least};
    cr_assert(compare_runs(&comparison, before, after, &options, &fault), "%s", fault.text);
    return comparison;
}

/* The verdict of one kernel that took 100 us and now takes `after` with quartiles 2 % away. */
static struct compare_pair compare_times(double before_us, double after_us) {
    struct row old = row_of("cpu/decode_flash_r1", "line", before_us);
    struct row new = row_of("cpu/decode_flash_r1", "line", after_us);
    struct run before = run_of(&old, 1), after = run_of(&new, 1);
    struct comparison comparison = compare(&before, &after, NULL, NULL);
    cr_assert(comparison.pair_count == 1);
    struct compare_pair pair = comparison.pairs[0];
    compare_free(&comparison);
    return pair;
}

/* As it is read back: an endless interval has no upper end, and what it takes was asked of 1 %. */
Test(compare, rows_launched_in_turn_are_judged_anew_and_few_rounds_have_endless_intervals) {
    struct row rows[] = {row_of("cpu/decode_flash_r1", "line", 100),
                         row_of("cpu/decode_flash_r2", "line", 103)};
    struct versus *versus = &rows[1].versus_warm;
    const struct run run = run_of(rows, 2);
    struct comparison comparison;
    struct compare_summary summary;
    struct fault fault = {0};
    strcpy(rows[1].versus, rows[0].kernel);
    rows[1].versus_least = 0.01;
    *versus = (struct versus){.pairs = 5, .ratio = 1.03, .high = NAN, .p = 1, .needed = 12};
    cr_assert(compare_live(&comparison, &run, &(struct compare_options){.least = 0.01}, &fault));
    compare_summarise(&summary, &comparison, NULL);
    cr_assert(comparison.pairs[0].verdict == COMPARE_UNDECIDED && summary.low == 0);
    cr_assert(isinf(comparison.pairs[0].high) && isinf(summary.high));
    cr_assert_str_eq(comparison.pairs[0].why, "5 of about 12 pairs");
    compare_free(&comparison);
    versus->pairs = 100, versus->low = 1.008, versus->high = 1.05, versus->p = 1e-6;
    versus->needed = 300;
    cr_assert(compare_live(&comparison, &run, &(struct compare_options){.least = 0.005}, &fault));
    cr_assert(comparison.pairs[0].verdict == COMPARE_SLOWER);
    cr_assert_str_eq(comparison.pairs[0].why, "");
    compare_free(&comparison);
}

/* Half the interval of the ratio is 3.71 times 0.5 %, of the machine, and sqrt(2) 0.5 % / 1.96
 * together: 2.29 %. */
Test(compare, an_interval_beyond_what_matters_decides) {
    const struct compare_pair slower = compare_times(100, 104);
    cr_assert(slower.verdict == COMPARE_SLOWER && slower.regression);
    cr_assert(fabs(slower.ratio - 1.04) < 1e-12);
    cr_assert(slower.low > 1.015 && slower.low < slower.ratio && slower.high > slower.ratio);
    cr_assert(slower.q < 0.01 && slower.n_before == 100 && slower.n_after == 100);
    const struct compare_pair faster = compare_times(104, 100);
    cr_assert(faster.verdict == COMPARE_FASTER && !faster.regression);
    const struct compare_pair near = compare_times(100, 102.5);
    cr_assert(near.verdict == COMPARE_UNDECIDED && !near.regression && near.q < 0.01);
    cr_assert(compare_times(100, 100).verdict == COMPARE_UNDECIDED);
}

/* What a run of before does not say is taken as it always was. */
Test(compare, rows_of_another_regime_have_no_verdict) {
    static const struct {
        const char *old, *new;
        bool compared;
    } cases[] = {{"sustained", "burst", false},
                 {"burst", "sustained", false},
                 {"burst", "burst", true},
                 {"", "sustained", true},
                 {"burst", "", true}};
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        struct row old[] = {row_of("cuda/decode_mma_r1", "line", 100),
                            row_of("cuda/decode_mma_r1", "other", 100)};
        struct row new[] = {row_of("cuda/decode_mma_r1", "line", 150),
                            row_of("cuda/decode_mma_r1", "other", 150)};
        strcpy(old[0].regime, cases[n].old);
        strcpy(new[0].regime, cases[n].new);
        struct run before = run_of(old, 2), after = run_of(new, 2);
        struct comparison comparison = compare(&before, &after, NULL, NULL);
        const struct compare_pair *pair = &comparison.pairs[0];
        cr_assert(comparison.pair_count == 2 && comparison.pairs[1].verdict == COMPARE_SLOWER);
        cr_assert((pair->verdict == COMPARE_SLOWER) == cases[n].compared, "%zu", n);
        cr_assert_str_eq(pair->why, cases[n].compared ? "" : "another regime");
        cr_assert(comparison.regressions == (cases[n].compared ? 2 : 1));
        cr_assert(cases[n].compared || isnan(pair->ratio));
        compare_free(&comparison);
    }
}

Test(compare, too_few_samples_decide_nothing) {
    struct row old = row_of("cpu/decode_flash_r1", "line", 100);
    struct row new = row_of("cpu/decode_flash_r1", "line", 200);
    struct run before = run_of(&old, 1), after = run_of(&new, 1);
    new.warm.n = 12;
    struct comparison comparison = compare(&before, &after, NULL, NULL);
    cr_assert(comparison.pairs[0].verdict == COMPARE_UNDECIDED && comparison.regressions == 0);
    cr_assert_str_eq(comparison.pairs[0].why, "too few samples: 12 of 30");
    cr_assert(isnan(comparison.pairs[0].q) && comparison.pairs[0].ratio == 2);
    compare_free(&comparison);

    old = row_of("cpu/decode_flash_r1", "line", 10100); /* of long launches fewer are enough */
    new = row_of("cpu/decode_flash_r1", "line", 20200);
    old.warm.n = new.warm.n = 8;
    comparison = compare(&before, &after, NULL, NULL);
    cr_assert(comparison.pairs[0].verdict == COMPARE_SLOWER && comparison.regressions == 1);
    compare_free(&comparison);
    old.warm.n = 7;
    comparison = compare(&before, &after, NULL, NULL);
    cr_assert_str_eq(comparison.pairs[0].why, "too few samples: 7 of 8");
    compare_free(&comparison);
}

Test(compare, one_library_is_no_regression_of_itself) {
    struct row old = row_of("cpu/decode_flash_r1", "line", 100);
    struct row new = row_of("cpu/decode_flash_r1", "line", 200);
    struct run before = run_of(&old, 1), after = run_of(&new, 1);
    strcpy(old.library_digest, "d");
    strcpy(new.library_digest, "d");
    struct comparison comparison = compare(&before, &after, NULL, NULL);
    cr_assert(comparison.pairs[0].verdict == COMPARE_UNDECIDED && comparison.regressions == 0);
    cr_assert_str_eq(comparison.pairs[0].why, "same library: the machine");
    compare_free(&comparison);
    strcpy(new.library_digest, "e");
    comparison = compare(&before, &after, NULL, NULL);
    cr_assert(comparison.pairs[0].verdict == COMPARE_SLOWER && comparison.regressions == 1);
    compare_free(&comparison);
}

/* Of 400 rows one has p 0.0003: alone it would count. */
Test(compare, a_row_that_chance_makes_among_many_is_no_verdict) {
    enum { ROWS = 400 };
    static struct row old[ROWS], new[ROWS];
    static char lines[ROWS][16];
    for (int n = 0; n < ROWS; n++) {
        snprintf(lines[n], sizeof lines[n], "line%d", n);
        old[n] = row_of("cpu/decode_flash_r1", lines[n], 100);
        new[n] = row_of("cpu/decode_flash_r1", lines[n], n == 7 ? 105 : 100);
        old[n].warm.ci_low_us = new[n].warm.ci_low_us *= 0.996;
        old[n].warm.ci_high_us = new[n].warm.ci_high_us *= 1.004;
    }
    struct run before = run_of(old, ROWS), after = run_of(new, ROWS);
    const struct compare_options options = {NULL, NULL, false, 0};
    struct comparison comparison;
    struct fault fault = {0};
    cr_assert(compare_runs(&comparison, &before, &after, &options, &fault));
    for (int64_t n = 0; n < comparison.pair_count; n++)
        cr_assert(comparison.pairs[n].verdict != COMPARE_SLOWER);
    compare_free(&comparison);
    before.rows = &old[7];
    after.rows = &new[7];
    before.count = after.count = 1;
    cr_assert(compare_runs(&comparison, &before, &after, &options, &fault));
    cr_assert(comparison.pairs[0].verdict == COMPARE_SLOWER, "%g %g", comparison.pairs[0].p,
              comparison.pairs[0].low);
    compare_free(&comparison);
}

Test(compare, a_wrong_kernel_has_no_ratio_and_a_worse_status_is_a_regression) {
    struct row old = row_of("cpu/decode_flash_r1", "line", 100);
    struct row new = row_of("cpu/decode_flash_r1", "line", 10);
    strcpy(new.status, "FAIL_ACCURACY");
    struct run before = run_of(&old, 1), after = run_of(&new, 1);
    struct comparison comparison = compare(&before, &after, NULL, NULL);
    cr_assert(comparison.pairs[0].verdict == COMPARE_UNTIMED);
    cr_assert(isnan(comparison.pairs[0].ratio));
    cr_assert(comparison.pairs[0].status_change == 1 && comparison.regressions == 1);
    compare_free(&comparison);

    comparison = compare(&after, &before, NULL, NULL);
    cr_assert(comparison.pairs[0].status_change == -1 && comparison.regressions == 0);
    compare_free(&comparison);
}

Test(compare, statuses_are_worse_in_the_order_right_refused_wrong_dead) {
    static const char *const order[] = {"PASS", "REFUSED", "FAIL_LSE", "CRASH"};
    struct row old = row_of("cpu/decode_flash_r1", "line", 100), new = old;
    struct run before = run_of(&old, 1), after = run_of(&new, 1);
    for (int a = 0; a < 4; a++) {
        for (int b = 0; b < 4; b++) {
            strcpy(old.status, order[a]);
            strcpy(new.status, order[b]);
            struct comparison comparison = compare(&before, &after, NULL, NULL);
            cr_assert(comparison.pairs[0].status_change == (b > a) - (b < a), "%s -> %s", order[a],
                      order[b]);
            compare_free(&comparison);
        }
    }
}

Test(compare, an_unstable_timing_is_no_regression) {
    struct row old = row_of("cpu/decode_flash_r1", "line", 100);
    struct row new = row_of("cpu/decode_flash_r1", "line", 200);
    strcpy(new.status, "UNSTABLE");
    struct run before = run_of(&old, 1), after = run_of(&new, 1);
    struct comparison comparison = compare(&before, &after, NULL, NULL);
    cr_assert(comparison.pairs[0].verdict == COMPARE_UNSTABLE && comparison.regressions == 0);
    compare_free(&comparison);
}

Test(compare, the_summary_is_a_geometric_mean) {
    struct row old[] = {row_of("cpu/decode_flash_r1", "line1", 100),
                        row_of("cpu/decode_flash_r1", "line2", 100),
                        row_of("cpu/prefill_flash_r1", "line3", 100)};
    struct row new[] = {row_of("cpu/decode_flash_r1", "line1", 50),
                        row_of("cpu/decode_flash_r1", "line2", 800),
                        row_of("cpu/prefill_flash_r1", "line3", 25)};
    struct run before = run_of(old, 3), after = run_of(new, 3);
    struct comparison comparison = compare(&before, &after, NULL, NULL);
    struct compare_summary decode, all;
    compare_summarise(&decode, &comparison, "decode");
    compare_summarise(&all, &comparison, NULL);
    cr_assert(decode.pairs == 2 && all.pairs == 3);
    cr_assert(fabs(decode.ratio - 2) < 1e-12);
    cr_assert(fabs(all.ratio - 1) < 1e-12);
    cr_assert(all.verdicts[COMPARE_FASTER] == 2 && all.verdicts[COMPARE_SLOWER] == 1);
    compare_free(&comparison);
}

/* A machine that is 4 % slower is no less so for all rows together. */
Test(compare, rows_together_are_known_better_but_for_what_the_machine_did) {
    enum { ROWS = 25 };
    static struct row old[ROWS], new[ROWS];
    static char lines[ROWS][16];
    struct compare_summary all;
    for (int again = 0; again < 2; again++) {
        for (int n = 0; n < ROWS; n++) {
            snprintf(lines[n], sizeof lines[n], "line%d", n);
            old[n] = row_of("cpu/decode_flash_r1", lines[n], 100);
            new[n] = row_of("cpu/decode_flash_r1", lines[n], 104);
            for (int third = 0; third < 3; third++) new[n].warm.control_us[third] += 2 * again;
        }
        struct run before = run_of(old, ROWS), after = run_of(new, ROWS);
        struct comparison comparison = compare(&before, &after, NULL, NULL);
        compare_summarise(&all, &comparison, NULL);
        cr_assert(again == 0 ? all.low > 1.035 : all.low < 1);
        cr_assert(again > 0 || comparison.pairs[3].low < all.low);
        cr_assert(all.verdicts[COMPARE_SLOWER] == (again == 0 ? ROWS : 0));
        compare_free(&comparison);
    }
}

Test(compare, other_inputs_are_not_compared_and_said_so) {
    struct row old = row_of("cpu/decode_flash_r1", "line", 100);
    struct row new = row_of("cpu/decode_flash_r1", "line", 100);
    strcpy(new.fixture_digest, "d2");
    struct run before = run_of(&old, 1), after = run_of(&new, 1);
    struct comparison comparison = compare(&before, &after, NULL, NULL);
    cr_assert(comparison.pair_count == 0 && comparison.redrawn == 1);
    cr_assert(comparison.before_only_count == 1 && comparison.before_only[0] == &old);
    cr_assert(comparison.after_only_count == 1 && comparison.after_only[0] == &new);
    compare_free(&comparison);
}

Test(compare, on_another_machine_slower_is_no_regression) {
    struct row old = row_of("cpu/decode_flash_r1", "line", 100);
    struct row new = row_of("cpu/decode_flash_r1", "line", 200);
    struct run before = run_of(&old, 1), after = run_of(&new, 1);
    after.machine.cores = 64;
    after.machine.haste = 20;
    after.machine.command = "attest run --threads=7 -s seed";
    struct comparison comparison = compare(&before, &after, NULL, NULL);
    cr_assert(comparison.pairs[0].verdict == COMPARE_SLOWER && comparison.regressions == 0);
    cr_assert(strstr(comparison.machines_differ, "cores 2 and 64") != NULL);
    cr_assert(strstr(comparison.machines_differ, "haste 0 and 20") != NULL);
    cr_assert(strstr(comparison.machines_differ, "--threads 0 and 7") != NULL);
    compare_free(&comparison);
}

Test(compare, the_last_row_of_a_kernel_and_problem_counts) {
    struct row rows[] = {row_of("cpu/decode_flash_r1", "line", 100),
                         row_of("cpu/decode_naive_r1", "line", 400),
                         row_of("cpu/decode_flash_r1", "line", 300)};
    struct run run = run_of(rows, 3);
    struct row_set set;
    struct fault fault;
    cr_assert(row_set_make(&set, &run, &fault));
    cr_assert(set.count == 2);
    int64_t count;
    const struct row_place *places = row_set_find(&set, &rows[0], &count);
    cr_assert(count == 2 && places[0].row == &rows[2] && places[1].row == &rows[1]);
    row_set_free(&set);
}

Test(compare, a_row_without_a_fixture_is_of_any) {
    struct row old = row_of("cpu/decode_flash_r1", "line", 100);
    struct row new = row_of("cpu/decode_flash_r1", "line", 0);
    strcpy(new.status, "REFUSED");
    new.fixture_digest[0] = 0;
    new.warm.n = 0;
    struct run before = run_of(&old, 1), after = run_of(&new, 1);
    struct comparison comparison = compare(&before, &after, NULL, NULL);
    cr_assert(comparison.pair_count == 1 && comparison.regressions == 1);
    compare_free(&comparison);

    struct row both[] = {old, new};
    struct run run = run_of(both, 2);
    struct row_set set;
    struct fault fault;
    cr_assert(row_set_make(&set, &run, &fault));
    cr_assert(set.count == 1 && set.places[0].row == &both[1]);
    cr_assert(strcmp(set.places[0].digest, "d1") == 0);
    row_set_free(&set);
}

Test(compare, globs_pair_revisions_of_one_method) {
    struct row rows[] = {
        row_of("cpu/decode_naive_r1", "line", 400), row_of("cpu/decode_flash_r1", "line", 100),
        row_of("cpu/decode_flash_r2", "line", 50),  row_of("cuda/decode_flash_r1", "line", 4),
        row_of("cuda/decode_flash_r2", "line", 5),
    };
    struct run run = run_of(rows, 5);
    struct comparison comparison = compare(&run, &run, "*_r1", "*_r2");
    cr_assert(comparison.pair_count == 2);
    cr_assert(comparison.pairs[0].before == &rows[1] && comparison.pairs[0].after == &rows[2]);
    cr_assert(comparison.pairs[1].before == &rows[3] && comparison.pairs[1].after == &rows[4]);
    cr_assert(comparison.before_only_count == 1 && comparison.before_only[0] == &rows[0]);
    cr_assert(comparison.after_only_count == 0);
    cr_assert(comparison.regressions == 1);
    compare_free(&comparison);
}

Test(compare, globs_pair_methods_where_none_is_shared) {
    struct row rows[] = {row_of("cpu/decode_naive_r1", "line", 400),
                         row_of("cpu/decode_flash_r1", "line", 100),
                         row_of("cuda/decode_flash_r1", "line", 4)};
    struct run run = run_of(rows, 3);
    struct comparison comparison = compare(&run, &run, "decode_naive_*", "decode_flash_*");
    cr_assert(comparison.pair_count == 1);
    cr_assert(comparison.pairs[0].after == &rows[1]);
    compare_free(&comparison);

    comparison = compare(&run, &run, "cpu/decode_naive_*", "cuda/*");
    cr_assert(comparison.pair_count == 1);
    cr_assert(comparison.pairs[0].after == &rows[2]);
    compare_free(&comparison);
}

Test(compare, a_glob_without_a_folder_matches_the_name) {
    cr_assert(kernel_matches("cpu/decode_naive_r1", "*_naive_*"));
    cr_assert(kernel_matches("cpu/decode_naive_r1", "decode_*"));
    cr_assert(kernel_matches("cpu/decode_naive_r1", "cpu/*"));
    cr_assert(!kernel_matches("cpu/decode_naive_r1", "cuda/*"));
    cr_assert(!kernel_matches("cpu/decode_naive_r1", "cpu*"));
}

Test(compare, a_launch_that_is_faster_because_it_is_prepared_is_told) {
    struct row old = row_of("cpu/decode_flash_r1", "line", 1000);
    struct row new = row_of("cpu/decode_flash_r1", "line", 500);
    old.prepare_us = 100;
    new.prepare_us = 650;
    struct run before = run_of(&old, 1), after = run_of(&new, 1);
    for (int n = 0; n < 2; n++) {
        struct comparison comparison = compare(&before, &after, NULL, NULL);
        char *text = NULL;
        size_t bytes;
        FILE *to = open_memstream(&text, &bytes);
        compare_print(to, &comparison, "before", "after", true);
        fclose(to);
        cr_assert((strstr(text, "| faster, prepare 100 µs → 650 µs |") != NULL) == (n == 0), "%s",
                  text);
        free(text);
        compare_free(&comparison);
        new.prepare_us = 550; /* no more than the launch has lost */
    }
}

Test(compare, the_table_shows_what_changed) {
    struct row old[] = {row_of("cpu/decode_flash_r1", "line1", 1000),
                        row_of("cpu/decode_flash_r1", "line2", 1000)};
    struct row new[] = {row_of("cpu/decode_flash_r1", "line1", 1500)};
    strcpy(new[0].grade, "B");
    old[0].deviation.rho_block = 1;
    new[0].deviation.rho_block = 2;
    struct run before = run_of(old, 2), after = run_of(new, 1);
    struct comparison comparison = compare(&before, &after, NULL, NULL);
    char *text = NULL;
    size_t bytes;
    FILE *to = open_memstream(&text, &bytes);
    compare_print(to, &comparison, "before", "after", true);
    fclose(to);
    cr_assert(strstr(text, "# before → after\n") == text);
    cr_assert(strstr(text, "| decode | 1 | 1.5 \\[1.47, 1.53] | 0 | 0 | 1 | 0 | 0 | 0 | 0/0 |\n"),
              "%s", text);
    cr_assert(strstr(text, "| cpu/decode_flash_r1 | 1.00 ms \\[0.98, 1.02] n 100 | 1.50 ms "
                           "\\[1.47, 1.53] n 100 | 1.5 \\[1.47, 1.53] | 1, 0.000 | slower, "
                           "regression | PASS A 1 → PASS B 2 | `line1` |\n"),
              "%s", text);
    cr_assert(strstr(text, "## Only in before (1)\n\n- cpu/decode_flash_r1 `line2` PASS\n"));
    free(text);

    to = open_memstream(&text, &bytes);
    compare_print(to, &comparison, "before", "after", false);
    fclose(to);
    cr_assert(strstr(text, "before → after\n") == text);
    cr_assert(strstr(text, "slower,") != NULL, "%s", text);
    cr_assert(strstr(text, "Only in before (1)\nPASS  cpu/decode_flash_r1  line2\n"), "%s", text);
    free(text);

    json_t *json = compare_json(&comparison);
    const json_t *pair = json_array_get(json_object_get(json, "pairs"), 0);
    cr_assert(json_integer_value(json_object_get(json, "regressions")) == 1);
    cr_assert(json_real_value(json_object_get(pair, "ratio")) == 1.5);
    cr_assert(strcmp(json_string_value(json_object_get(pair, "verdict")), "slower") == 0);
    cr_assert(json_array_size(json_object_get(json, "only_old")) == 1);
    json_decref(json);
    compare_free(&comparison);
}

/* The verbs, on files. */

static char folder[64];

static void make_folder(void) {
    test_folder_make(folder);
    fclose(stdout); /* what the verbs print is not of interest here */
    stdout = fopen("/dev/null", "w");
}

static void remove_folder(void) {
    test_folder_remove(folder);
}

static void write_run(const char *name, const char *command, const struct row *rows,
                      int64_t count) {
    char path[256];
    struct run run = run_of(NULL, 0);
    run.machine.command = command;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *to = fopen(path, "w");
    json_t *json = machine_to_json(&run.machine);
    for (int64_t n = 0; n <= count; n++) {
        json_dumpf(json, to, JSON_COMPACT);
        fputc('\n', to);
        json_decref(json);
        json = n < count ? row_to_json(&rows[n]) : NULL;
    }
    fclose(to);
}

/* Runs a verb; "@x" stands for the file x in the folder. */
static int call(const struct verb *verb, const char *const *words) {
    static char paths[8][256];
    char *argv[9] = {0};
    int argc = 0;
    for (; words[argc] != NULL; argc++) {
        if (words[argc][0] == '@')
            snprintf(paths[argc], sizeof paths[0], "%s/%s", folder, words[argc] + 1);
        else
            snprintf(paths[argc], sizeof paths[0], "%s", words[argc]);
        argv[argc] = paths[argc];
    }
    return verb->run(argc, argv);
}
#define CALL(verb, ...) call(&verb, (const char *const[]){__VA_ARGS__, NULL})

static struct run read_back(const char *name) {
    char path[256];
    struct run run;
    struct fault fault;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    cr_assert(run_read(&run, path, &fault), "%s", fault.text);
    return run;
}

Test(verbs, compare_exits_2_on_a_regression_and_5_when_nothing_joins) {
    make_folder();
    const struct row fast = row_of("cpu/decode_flash_r1", "line", 100);
    const struct row slow = row_of("cpu/decode_flash_r2", "line", 200);
    const struct row both[] = {fast, slow};
    write_run("a", "attest run", &fast, 1);
    write_run("b", "attest run", &slow, 1);
    write_run("c", "attest run", both, 2);
    cr_assert(CALL(verb_compare, "compare", "@a", "@a") == 0);
    cr_assert(CALL(verb_compare, "compare", "@a", "@b") == FAULT_NOTHING);
    cr_assert(CALL(verb_compare, "compare", "@a", "--kernels", "*_r1", "*_r2", "@b") ==
              EXIT_REGRESSION);
    cr_assert(CALL(verb_compare, "compare", "@c", "--kernels", "*_r1", "*_r2") == EXIT_REGRESSION);
    cr_assert(CALL(verb_compare, "compare", "@c", "--json", "--kernels", "*_r2", "*_r1") == 0);
    cr_assert(CALL(verb_compare, "compare", "@c", "--kernels", "*_r1", "*_r2", "--least", "90%") ==
              EXIT_REGRESSION);
    cr_assert(CALL(verb_compare, "compare", "@c", "--kernels", "*_r1", "*_r2", "--least", "1") ==
              0);
    cr_assert(CALL(verb_compare, "compare", "@missing", "@a") == FAULT_INPUT);
    /* each glob is of a kernel in its own run */
    cr_assert(CALL(verb_compare, "compare", "@c", "--kernels", "*_r1", "*_r3") == FAULT_INPUT);
    cr_assert(CALL(verb_compare, "compare", "@c", "--kernels", "*_r3", "*_r1") == FAULT_INPUT);
    cr_assert(CALL(verb_compare, "compare", "@a", "@b", "--kernels", "*_r2", "*_r2") ==
              FAULT_INPUT);
    cr_assert(CALL(verb_report, "report", "@c", "--baseline", "*_r1,*_r2") == 0);
    cr_assert(CALL(verb_report, "report", "@c", "--baseline", "*_r1,*_r3") == FAULT_INPUT);
    remove_folder();
}

Test(run_has_kernel, names_the_kernel_of_the_run_that_a_glob_is_a_slip_of) {
    struct row rows[] = {row_of("cpu/decode_flash_r1", "line", 1),
                         row_of("cpu/prefill_flash_r1", "line", 1)};
    const struct run run = run_of(rows, 2);
    struct fault fault = {0};
    cr_assert(run_has_kernel(&run, "monday", "decode_*", &fault));
    cr_assert(run_has_kernel(&run, "monday", "cpu/prefill_flash_r1", &fault));
    cr_assert(!run_has_kernel(&run, "monday", "decode_flsh_r1", &fault));
    cr_assert(fault.code == FAULT_INPUT);
    cr_assert_str_eq(fault.text, "no kernel in 'monday' matches 'decode_flsh_r1', did you mean "
                                 "'decode_flash_r1'?");
    cr_assert(!run_has_kernel(&run, "monday", "cuda/*", &fault));
    cr_assert_str_eq(fault.text, "no kernel in 'monday' matches 'cuda/*'");
}

Test(verbs, merge_joins_shards_and_the_last_row_wins) {
    make_folder();
    const struct row one[] = {row_of("cpu/decode_flash_r1", "line1", 1),
                              row_of("cpu/decode_flash_r1", "line2", 2)};
    const struct row two[] = {row_of("cpu/decode_flash_r1", "line3", 3),
                              row_of("cpu/decode_flash_r1", "line1", 4)};
    write_run("one", "attest run --by 'my costs' --shard 1/2 -s seed", one, 2);
    write_run("two", "attest run --by 'my costs' --shard 2/2 -s seed", two, 2);
    cr_assert(CALL(verb_merge, "merge", "@out", "@one", "@two") == 0);
    struct run run = read_back("out");
    cr_assert(run.count == 3 && run.torn == 0);
    cr_assert(strcmp(run.rows[0].line, "line2") == 0);
    cr_assert(strcmp(run.rows[1].line, "line3") == 0);
    cr_assert(strcmp(run.rows[2].line, "line1") == 0 && run.rows[2].warm.median_us == 4);
    cr_assert(strcmp(run.machine.command, "attest run -s seed") == 0);
    run_free(&run);
    cr_assert(CALL(verb_merge, "merge", "@out", "@one", "@two") == FAULT_INPUT);
    remove_folder();
}

Test(verbs, a_report_is_not_written_over_what_is_read) {
    make_folder();
    const struct row row = row_of("cpu/decode_flash_r1", "line1", 1);
    write_run("one", "attest run", &row, 1);
    write_run("two", "attest run", &row, 1);
    cr_assert(CALL(verb_report, "report", "@one", "-o", "@one") == FAULT_INPUT);
    cr_assert(CALL(verb_report, "report", "@one", "-o", "@two") == FAULT_INPUT);
    struct run run = read_back("one");
    cr_assert(run.count == 1 && run.torn == 0);
    run_free(&run);
    cr_assert(CALL(verb_report, "report", "@one", "-o", "@report.md") == 0);
    cr_assert(CALL(verb_report, "report", "@one", "-o", "@report.md") == 0);
    remove_folder();
}

Test(verbs, merge_keeps_the_shard_in_the_command_while_others_are_missing) {
    make_folder();
    const struct row row = row_of("cpu/decode_flash_r1", "line1", 1);
    write_run("one", "attest run -s seed --shard=1/3", &row, 1);
    write_run("three", "attest run -s seed --shard=3/3", &row, 1);
    cr_assert(CALL(verb_merge, "merge", "--json", "@out", "@one", "@three") == 0);
    struct run run = read_back("out");
    cr_assert(strcmp(run.machine.command, "attest run -s seed --shard=1/3") == 0);
    run_free(&run);
    remove_folder();
}

Test(verbs, merge_refuses_rows_of_different_machines) {
    make_folder();
    const struct row row = row_of("cpu/decode_flash_r1", "line1", 1);
    write_run("one", "attest run --threads 1", &row, 1);
    write_run("two", "attest run --threads 2", &row, 1);
    cr_assert(CALL(verb_merge, "merge", "@out", "@one", "@two") == FAULT_NOTHING);
    char path[256];
    snprintf(path, sizeof path, "%s/out", folder);
    cr_assert(access(path, F_OK) != 0);
    remove_folder();
}
