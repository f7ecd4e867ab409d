/* The verdict on constructed numbers: each finding, what it is called, and which comes first. */
#include "judge.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static struct deviation good_deviation(void) {
    return (struct deviation){.elements = 1000,
                              .t_max = 0.4,
                              .rho = 0.95,
                              .rho_chance = 1,
                              .rho_wide = 1,
                              .rho_block = 1.1,
                              .rho_block_chance = 1,
                              .rho_block_wide = 1,
                              .rho_block_most = 1.1,
                              .bias = 0.02,
                              .lse_judged = true,
                              .lse_max = 0.3};
}

static const struct observation nothing = {.grade_promised = 'A'};

Test(judge, a_good_output_passes_with_grade_a_and_no_reason) {
    const struct deviation deviation = good_deviation();
    const struct verdict verdict = judge(&deviation, &nothing);
    cr_assert(verdict.status == STATUS_PASS);
    cr_assert(verdict.grade == 'A' && !verdict.bias_warning && verdict.reason[0] == '\0');
}

/* One finding each, in order of precedence. */
enum finding {
    GUARD,
    INPUT,
    UNWRITTEN,
    LEAK,
    DIFFERED,
    STRUCTURE,
    EMPTY_ROW,
    INEXACT,
    TOLERANCE,
    GRADE,
    BLOCK_GRADE,
    LSE,
    FINDINGS
};

static const struct {
    enum status status;
    const char *reason;
} expected[FINDINGS] = {
    [GUARD] = {STATUS_FAIL_OOB_WRITE, "after out"},
    [INPUT] = {STATUS_FAIL_INPUT_CHANGED, "input changed"},
    [UNWRITTEN] = {STATUS_FAIL_UNWRITTEN, "7 of 1000 elements were never written"},
    [LEAK] = {STATUS_FAIL_OOB_READ, "must not be read"},
    [DIFFERED] = {STATUS_FAIL_NONDET, "differed"},
    [STRUCTURE] = {STATUS_FAIL_NAN, "gate 1"},
    [EMPTY_ROW] = {STATUS_FAIL_ACCURACY, "see no key"},
    [INEXACT] = {STATUS_FAIL_ACCURACY, "exact data: 9"},
    [TOLERANCE] = {STATUS_FAIL_ACCURACY, "gate 2, every element: 1.01 times"},
    [GRADE] = {STATUS_FAIL_ACCURACY, "gate 3, quality: rho 1.26 > 1.25 of grade A"},
    [BLOCK_GRADE] = {STATUS_FAIL_ACCURACY, "block at b=1 h=2 i=128"},
    [LSE] = {STATUS_FAIL_LSE, "gate 5, lse: 1.5 times"},
};

static void plant(enum finding finding, struct deviation *deviation, struct observation *seen) {
    switch (finding) {
    case GUARD:
        seen->guard_broken = true;
        strcpy(seen->guard_where, "after out");
        break;
    case INPUT:
        seen->input_changed = true;
        break;
    case UNWRITTEN:
        deviation->unwritten_count = 7;
        break;
    case LEAK:
        seen->poison_leaked = true;
        break;
    case DIFFERED:
        seen->repeat_differed = true;
        break;
    case STRUCTURE:
        deviation->structure_count = 3;
        break;
    case EMPTY_ROW:
        deviation->empty_row_wrong = 1;
        break;
    case INEXACT:
        seen->exact_expected = true;
        deviation->inexact_count = 9;
        break;
    case TOLERANCE:
        deviation->t_max = 1.01;
        break;
    case GRADE:
        deviation->rho = 1.26;
        break;
    case BLOCK_GRADE:
        deviation->rho_block = 1.26;
        deviation->rho_block_b = 1;
        deviation->rho_block_h = 2;
        deviation->rho_block_i = 128;
        break;
    case LSE:
        deviation->lse_wrong = 2;
        deviation->lse_max = 1.5;
        break;
    case FINDINGS:
        break;
    }
}

Test(judge, each_finding_has_its_own_words) {
    for (int n = 0; n < FINDINGS; n++) {
        struct deviation deviation = good_deviation();
        struct observation seen = nothing;
        plant((enum finding)n, &deviation, &seen);
        const struct verdict verdict = judge(&deviation, &seen);
        cr_assert(verdict.status == expected[n].status, "%d: %s", n, status_name(verdict.status));
        cr_assert(strstr(verdict.reason, expected[n].reason) != NULL, "%s", verdict.reason);
    }
}

Test(judge, of_two_findings_the_earlier_is_told) {
    for (int first = 0; first < FINDINGS; first++) {
        for (int second = first + 1; second < FINDINGS; second++) {
            struct deviation deviation = good_deviation();
            struct observation seen = nothing;
            plant((enum finding)second, &deviation, &seen);
            plant((enum finding)first, &deviation, &seen);
            const struct verdict verdict = judge(&deviation, &seen);
            cr_assert(verdict.status == expected[first].status, "%d before %d: %s", first, second,
                      verdict.reason);
        }
    }
}

Test(judge, grades_end_where_the_rule_says) {
    static const struct {
        double rho;
        char grade;
    } table[] = {{1.25, 'A'}, {1.26, 'B'}, {2.5, 'B'}, {2.51, 'C'}, {5, 'C'}, {5.01, 'F'}};
    for (size_t n = 0; n < sizeof table / sizeof table[0]; n++) {
        for (int of_block = 0; of_block < 2; of_block++) {
            struct deviation deviation = good_deviation();
            *(of_block ? &deviation.rho_block : &deviation.rho) = table[n].rho;
            for (int promised = 'A'; promised <= 'C'; promised++) {
                const struct observation seen = {.grade_promised = promised};
                const struct verdict verdict = judge(&deviation, &seen);
                cr_assert(verdict.grade == table[n].grade);
                cr_assert((verdict.status == STATUS_PASS) == (table[n].grade <= promised),
                          "rho %g, promised %c: %s", table[n].rho, promised,
                          status_name(verdict.status));
            }
        }
    }
}

Test(judge, what_chance_may_do_widens_the_limit) {
    struct deviation deviation = good_deviation();
    deviation.rho_block = 1.8;
    deviation.rho_block_chance = 1.5;
    cr_assert(judge(&deviation, &nothing).status == STATUS_PASS);
    deviation.rho_block_chance = 1.4;
    cr_assert(judge(&deviation, &nothing).status == STATUS_FAIL_ACCURACY);
}

Test(judge, large_logits_in_16_bits_widen_the_limits_of_b_and_c_alone) {
    struct deviation deviation = good_deviation();
    deviation.rho = deviation.rho_block = deviation.rho_block_most = 9;
    deviation.rho_wide = deviation.rho_block_wide = 4;
    const struct observation promises_b = {.grade_promised = 'B'};
    cr_assert(judge(&deviation, &promises_b).grade == 'B');
    cr_assert(judge(&deviation, &promises_b).status == STATUS_PASS);
    deviation.rho = deviation.rho_block = 4.9; /* of 1.25 times 4 */
    cr_assert(judge(&deviation, &promises_b).grade == 'B');
    deviation.rho_block_wide = 1.9;
    cr_assert(judge(&deviation, &promises_b).status == STATUS_FAIL_ACCURACY);
}

Test(judge, a_grade_nobody_defined_is_held_to_a) {
    struct deviation deviation = good_deviation();
    deviation.rho = 1.3;
    cr_assert(judge(&deviation, &(struct observation){.grade_promised = 'Z'}).status ==
              STATUS_FAIL_ACCURACY);
}

Test(judge, numbers_that_are_nan_do_not_pass) {
    struct deviation deviation = good_deviation();
    deviation.rho = (double)NAN;
    cr_assert(judge(&deviation, &nothing).status == STATUS_FAIL_ACCURACY);
    cr_assert(judge(&deviation, &nothing).grade == 'F');
    deviation = good_deviation();
    deviation.t_max = (double)NAN;
    cr_assert(judge(&deviation, &nothing).status == STATUS_FAIL_ACCURACY);
}

Test(judge, bias_only_warns) {
    struct deviation deviation = good_deviation();
    deviation.bias = -0.31;
    const struct verdict verdict = judge(&deviation, &nothing);
    cr_assert(verdict.status == STATUS_PASS && verdict.bias_warning);
    deviation.bias = 0.3;
    cr_assert(!judge(&deviation, &nothing).bias_warning);
}

Test(judge, declared_nondeterminism_is_no_finding) {
    const struct deviation deviation = good_deviation();
    const struct observation seen = {
        .repeat_differed = true, .nondeterminism_declared = true, .grade_promised = 'A'};
    cr_assert(judge(&deviation, &seen).status == STATUS_PASS);
}

Test(judge, an_lse_that_was_not_written_is_not_wrong) {
    struct deviation deviation = good_deviation();
    deviation.lse_judged = false;
    deviation.lse_wrong = 5;
    cr_assert(judge(&deviation, &nothing).status == STATUS_PASS);
}

Test(judge, an_lse_that_is_off_by_a_known_factor_is_told_by_it) {
    static const struct {
        double got, scale;
        bool base_2;
        const char *words;
    } table[] = {{14.426950409, 0.125, false, "in base 2, not e"},
                 {6.931471806, 0.125, true, "natural, not in base 2"},
                 {14.426950409, 0.125, true, NULL},
                 {6.931471806, 0.125, false, NULL},
                 {1.25, 0.125, false, "the scale of the logits"},
                 {80, 0.125, false, "the scale of the logits"},
                 {11, 0.125, false, NULL},
                 {10.0001, 1, false, NULL}};
    for (size_t n = 0; n < sizeof table / sizeof table[0]; n++) {
        struct deviation deviation = good_deviation();
        deviation.lse_wrong = 1;
        deviation.lse_worst = (struct deviation_place){.got = table[n].got, .expected = 10};
        const struct verdict verdict =
            judge(&deviation, &(struct observation){.grade_promised = 'A',
                                                    .scale = table[n].scale,
                                                    .lse_base_2 = table[n].base_2});
        cr_assert(verdict.status == STATUS_FAIL_LSE);
        cr_assert(table[n].words == NULL ? strchr(verdict.reason, '?') == NULL
                                         : strstr(verdict.reason, table[n].words) != NULL,
                  "%s", verdict.reason);
    }
}

Test(judge, inexact_elements_count_only_where_exactness_is_asked) {
    struct deviation deviation = good_deviation();
    deviation.inexact_count = 9;
    cr_assert(judge(&deviation, &nothing).status == STATUS_PASS);
}

Test(judge, nothing_to_judge_has_no_grade) {
    const struct deviation deviation = {
        .rho_chance = 1, .rho_wide = 1, .rho_block_chance = 1, .rho_block_wide = 1};
    const struct verdict verdict = judge(&deviation, &nothing);
    cr_assert(verdict.status == STATUS_PASS && verdict.grade == '-');
}

Test(judge, statuses_have_names_and_exit_codes) {
    cr_assert_str_eq(status_name(STATUS_FAIL_OOB_READ), "FAIL_OOB_READ");
    cr_assert_str_eq(status_name(STATUS_COUNT), "?");
    cr_assert(status_exit(STATUS_PASS) == 0 && status_exit(STATUS_REFUSED) == 0);
    cr_assert(status_exit(STATUS_UNSTABLE) == 0);
    cr_assert(status_exit(STATUS_CRASH) == 3 && status_exit(STATUS_HANG) == 3 &&
              status_exit(STATUS_OOM) == 3);
    cr_assert(status_exit(STATUS_FAIL_LSE) == 1 && status_exit(STATUS_FAIL_OOB_WRITE) == 1);
    cr_assert(status_exit(STATUS_INVALID_PHYSICS) == 1);
}

Test(status, a_text_that_begins_with_one_that_fails_tells_it) {
    static const struct {
        const char *text, *reason;
        enum status status;
    } told[] = {
        {"FAIL_RACE: x.asc:3: two writes", "x.asc:3: two writes", STATUS_FAIL_RACE},
        {"FAIL_OOB_WRITE:beyond", "beyond", STATUS_FAIL_OOB_WRITE},
        {"HANG: deadlock: of two", "deadlock: of two", STATUS_HANG},
        {"CRASH:", "", STATUS_CRASH},
        {"OOM: no room", "no room", STATUS_OOM},
    };
    for (size_t n = 0; n < sizeof told / sizeof told[0]; n++) {
        enum status status = STATUS_COUNT;
        const char *reason = NULL;
        cr_assert(status_told(told[n].text, &status, &reason), "%s", told[n].text);
        cr_assert(status == told[n].status && !strcmp(reason, told[n].reason), "%s", reason);
    }
}

Test(status, is_not_told_by_other_words_and_what_is_no_failure_not_at_all) {
    static const char *const others[] = {
        "",          "the moon is full",     "FAIL_RACE",      "fail_race: low",
        "FAIL: all", "FAIL_RACES: too many", ": FAIL_RACE: x", "FAIL_RACE x: y",
        "PASS: me",  "REFUSED: not mine",    "UNSTABLE: so so"};
    for (size_t n = 0; n < sizeof others / sizeof others[0]; n++) {
        enum status status = STATUS_COUNT;
        const char *reason = NULL;
        cr_assert(!status_told(others[n], &status, &reason), "%s", others[n]);
        cr_assert(status == STATUS_COUNT && reason == NULL);
    }
}
