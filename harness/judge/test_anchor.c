/* The anchors are what they are called: the ideal row cannot be better, and the textbook's is as
 * bad as people are used to. */
#include "anchor.h"
#include "judge.h"
#include "../trial/obtain.h"
#include "../verb.h"

#include <criterion/criterion.h>
#include <math.h>

static void draw(struct fixture *fixture, const char *line) {
    struct fault fault = {0};
    const struct obtain_options options = {
        .program = verb_program(), .threads = 1, .uncached = true};
    cr_assert(obtain_line(fixture, line, &options, &fault), "%s", fault.text);
}

static struct deviation measure(const struct fixture *fixture, enum anchor anchor, double work_max,
                                int threads) {
    struct fault fault = {0};
    struct deviation deviation;
    const struct rule_view view = fixture_view(fixture);
    cr_assert(
        anchor_measure(&deviation, anchor, &view, &fixture->answer, work_max, threads, &fault),
        "%s", fault.text);
    return deviation;
}

static struct verdict verdict_of(const struct deviation *deviation) {
    return judge(deviation, &(struct observation){.grade_promised = 'A'});
}

/* MagicPIG's - log u makes larger logits, and so larger errors of a 16-bit S. */
static const struct {
    const char *line;
    double std16_most;
} lines[] = {
    {"f16-b2-hq4-hkv2-q40-kv300-d64-causal-normal-seed1", 2.5},
    {"bf16-b2-hq4-hkv2-q40-kv300-d64-causal-normal-seed1", 2.5},
    {"f32-b2-hq4-hkv2-q40-kv300-d64-causal-normal-seed1", 0},
    {"f16-b3-hq4-hkv2-q30-kv30-d64-lens30,0,7-normal-seed1", 2.5},
    {"bf16-b2-hq4-hkv2-q1-kv900-d128-page64-lens900,70-normal-seed1", 2.5},
    {"f16-b2-hq4-hkv2-q1-kv900-d64-page64-lens900,700-keep0.2-magicpig-normal-seed1", 5},
};
enum { LINES = sizeof lines / sizeof lines[0] };
/* Beside whose rounding nothing else shows. */
static const char *const bytes[] = {
    "f16-b2-hq4-hkv2-q40-kv300-d64-causal-oute4m3-normal-seed1",
    "f32-b2-hq4-hkv2-q1-kv190-d64-page16-lens190,0-kve4m3token-oute4m3-model-seed1"};

Test(anchor, ideal_is_half_an_ulp_off_and_grade_a) {
    for (int n = 0; n < LINES; n++) {
        struct fixture fixture = {0};
        draw(&fixture, lines[n].line);
        const struct deviation deviation = measure(&fixture, ANCHOR_IDEAL, 1, 2);
        cr_assert(deviation.ulp_max <= 0.5 && deviation.rho <= 1, "%s", lines[n].line);
        cr_assert(verdict_of(&deviation).status == STATUS_PASS, "%s", lines[n].line);
        cr_assert(deviation.elements > 0 && deviation.lse_max < 1);
        fixture_free(&fixture);
    }
}

Test(anchor, of_8_bits_both_are_half_an_ulp_off) {
    for (int n = 0; n < 2; n++) {
        struct fixture fixture = {0};
        draw(&fixture, bytes[n]);
        const struct deviation ideal = measure(&fixture, ANCHOR_IDEAL, 1, 2);
        cr_assert(ideal.ulp_max <= 0.5 && ideal.ulp_max > 0.4 && ideal.t_max < 1);
        cr_assert(ideal.rho <= 1 && ideal.rho > 0.99 && verdict_of(&ideal).grade == 'A');
        cr_assert(anchor_exists(ANCHOR_STD16, &fixture.problem.attn) == (n == 0));
        if (n == 0) {
            const struct deviation std16 = measure(&fixture, ANCHOR_STD16, 1e12, 2);
            cr_assert(std16.t_max < 1 && std16.ulp_max > 0.5 && std16.rho < 1.1, "%g", std16.rho);
        }
        fixture_free(&fixture);
    }
}

Test(anchor, std16_is_grade_b_and_with_larger_logits_c) {
    for (int n = 0; n < LINES; n++) {
        struct fixture fixture = {0};
        draw(&fixture, lines[n].line);
        if (anchor_exists(ANCHOR_STD16, &fixture.problem.attn)) {
            const struct deviation deviation = measure(&fixture, ANCHOR_STD16, 1e12, 2);
            cr_assert(deviation.rho > 1 && deviation.rho < lines[n].std16_most, "%s: %g",
                      lines[n].line, deviation.rho);
            cr_assert(deviation.t_max < 1, "%s: %g", lines[n].line, deviation.t_max);
            if (lines[n].std16_most < 5)
                cr_assert(verdict_of(&deviation).grade == 'B', "%s", lines[n].line);
            cr_assert(deviation.structure_count == 0 && deviation.empty_row_wrong == 0);
        } else {
            cr_assert(lines[n].std16_most == 0);
        }
        fixture_free(&fixture);
    }
}

/* rho is measured as of a kernel that keeps S in f32, and grows with the logits; the limit too. */
Test(anchor, std16_is_grade_b_whatever_the_logits) {
    static const char *const large[] = {"bf16-b1-hq2-hkv2-q1-kv1024-d64-ascending-seed1",
                                        "bf16-b1-hq2-hkv2-q1-kv1024-d64-outlier-seed1",
                                        "bf16-b1-hq2-hkv2-q1-kv1024-d64-peaked3-seed1",
                                        "f16-b1-hq2-hkv2-q1-kv1024-d64-descending-seed1"};
    double largest = 0;
    for (size_t n = 0; n < sizeof large / sizeof large[0]; n++) {
        struct fixture fixture = {0};
        draw(&fixture, large[n]);
        const struct deviation deviation = measure(&fixture, ANCHOR_STD16, 1e12, 2);
        cr_assert(verdict_of(&deviation).grade == 'B', "%s: rho %g", large[n], deviation.rho);
        largest = fmax(largest, deviation.rho);
        fixture_free(&fixture);
    }
    cr_assert(largest > 5, "%g", largest);
}

Test(anchor, a_work_bound_takes_fewer_rows_and_hardly_another_rho) {
    struct fixture fixture = {0};
    draw(&fixture, lines[0].line);
    const struct deviation all = measure(&fixture, ANCHOR_STD16, 1e12, 1);
    const struct deviation few = measure(&fixture, ANCHOR_STD16, 1e6, 2);
    cr_assert(few.elements < all.elements / 4 && few.elements > 0);
    cr_assert(fabs(few.rho / all.rho - 1) < 0.2, "%g %g", few.rho, all.rho);
    const struct deviation one = measure(&fixture, ANCHOR_STD16, 0, 1);
    cr_assert(one.elements == 2 * 4 * 64, "one row of each head");
    fixture_free(&fixture);
}
