/* Every CPU kernel on every problem of the suite `smoke`: one test a variant, one case a problem,
 * so that a Criterion run is a verdict on the kernels too. */
#include "obtain.h"
#include "trial.h"
#include "../verb.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

/* Each case runs in a process of its own, so it carries its line with it. */
struct subject {
    char line[256];
};

/* Counts the problems of a variant; fills `cases` unless it is NULL. */
static size_t find_subjects(struct subject *cases, const struct suite *suite,
                            enum attn_variant variant) {
    size_t count = 0;
    for (int64_t n = 0; n < suite->count; n++) {
        struct problem problem;
        struct fault fault;
        if (!problem_parse(&problem, suite->lines[n], &fault) ||
            problem.attn.variant != (int32_t)variant)
            continue;
        if (cases != NULL) snprintf(cases[count].line, sizeof cases->line, "%s", suite->lines[n]);
        count++;
    }
    return count;
}

static struct criterion_test_params subjects(enum attn_variant variant) {
    struct suite suite = {0};
    struct fault fault;
    if (!suite_read(&suite, verb_suites(), "smoke", &fault)) suite.count = 0;
    struct subject *cases = cr_calloc((size_t)suite.count + 1, sizeof *cases);
    const size_t count = find_subjects(cases, &suite, variant);
    suite_free(&suite);
    return cr_make_param_array(struct subject, cases, count);
}

static void obtain(struct fixture *fixture, const char *line) {
    const struct obtain_options options = {.program = verb_program()};
    struct fault fault = {0};
    fixture_free(fixture);
    cr_assert(obtain_line(fixture, line, &options, &fault), "%s", fault.text);
}

static void judge_kernels(const char *line) {
    struct plugin_list kernels = {0};
    struct fixture fixture = {0};
    struct fault fault = {0};
    struct trial_options options = trial_defaults;
    options.program = verb_program();
    options.time = false;
    obtain(&fixture, line);
    char glob[64];
    const char *const globs[] = {glob};
    snprintf(glob, sizeof glob, "cpu/%s_*", variant_name(fixture.problem.attn.variant));
    cr_assert(plugin_scan(&kernels, verb_program(), verb_kernels(), globs, 1, &fault), "%s",
              fault.text);
    int64_t right = 0;
    for (int64_t n = 0; n < kernels.count; n++) {
        const struct plugin *kernel = &kernels.plugins[n];
        if (kernel->kernel.variant != fixture.problem.attn.variant) continue;
        struct row row = {0};
        bool spoilt = false;
        cr_assert(trial_run(&row, kernel, &fixture, &options, &spoilt, &fault), "%s", fault.text);
        const enum status status = status_of(&row);
        cr_expect(status == STATUS_PASS || status == STATUS_REFUSED, "%s on %s: %s, %s", kernel->id,
                  line, row.status, row.reason);
        right += status == STATUS_PASS;
        if (spoilt) obtain(&fixture, line);
    }
    cr_assert(right > 0, "no CPU kernel takes %s", line);
    fixture_free(&fixture);
    plugin_list_free(&kernels);
}

#define KERNEL_TEST(symbol, name)                                                                  \
    ParameterizedTestParameters(kernels, are_right_on_##name) {                                    \
        return subjects(ATTN_##symbol);                                                            \
    }                                                                                              \
    ParameterizedTest(struct subject *subject, kernels, are_right_on_##name) {                     \
        judge_kernels(subject->line);                                                              \
    }

KERNEL_TEST(PREFILL, prefill)
KERNEL_TEST(PREFILL_VARLEN, prefill_varlen)
KERNEL_TEST(DECODE, decode)
KERNEL_TEST(DECODE_PAGED, decode_paged)
KERNEL_TEST(SPARSE_DECODE, sparse_decode)
KERNEL_TEST(SPARSE_DECODE_PAGED, sparse_decode_paged)
KERNEL_TEST(MAGICPIG_DECODE_PAGED, magicpig_decode_paged)

/* A variant without problems would pass silently. */
Test(kernels, smoke_has_problems_of_every_variant) {
    struct suite suite = {0};
    struct fault fault = {0};
    cr_assert(suite_read(&suite, verb_suites(), "smoke", &fault), "%s", fault.text);
    for (int variant = 0; variant < ATTN_VARIANT_COUNT; variant++)
        cr_expect(find_subjects(NULL, &suite, variant) > 0, "%s", variant_name(variant));
    suite_free(&suite);
}
