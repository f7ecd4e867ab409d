/* attest selftest: is the judge to be believed? Kernels with one planted bug each (planted/) run in
 * real workers, and each must end in its own status, for its own reason; then every CPU kernel runs
 * on the suite smoke and must pass. */
#include "obtain.h"
#include "trial.h"
#include "verb.h"
#include "../oracle/clock.h"

#include <stdlib.h>
#include <string.h>

enum { OPTION_JSON = 256 };

/* A planted kernel may take this long; only the one that hangs does. */
static const double planted_watchdog_seconds = 2;

struct options {
    bool json;
    int threads;
};

static const struct argp_option argp_options[] = {
    {"threads", 't', "N", 0, "threads for kernels (default: all cores)", 0},
    {"json", OPTION_JSON, NULL, 0, "one object instead of a table", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case 't':
        options->threads = (int)verb_count(argument, 1, VERB_THREADS_MAX, "threads", state);
        return 0;
    case OPTION_JSON:
        options->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'", argument);
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .doc =
        "Runs kernels with planted bugs -- a dropped key, a scale wrong by a thousandth, a write "
        "past the end, a crash -- and checks that each is found for what it is; then runs every "
        "CPU kernel on the suite smoke, where all must pass. Says which expectation failed, if "
        "one did.",
};

/* Problems on which a bug has to show. Sequences do not fill their last page: there is a key after
 * the last. */
#define DECODE "f16-b2-hq8-hkv2-q1-kv4096-d64-normal-seed1"
#define DECODE_BF16 "bf16-b2-hq8-hkv2-q1-kv4096-d64-normal-seed1"
#define PREFILL "f16-b1-hq2-hkv1-q64-kv4096-d64-causal-normal-seed1"
#define PREFILL_BF16 "bf16-b1-hq2-hkv1-q64-kv4096-d64-causal-normal-seed1"
#define PAGED "f16-b3-hq4-hkv2-q1-kv4000-d64-page64-lens4000,1000,190-normal-seed1"
#define PAGED_EMPTY "f16-b3-hq4-hkv2-q1-kv1000-d64-page64-lens1000,0,190-normal-seed1"

static const struct expectation {
    const char *kernel, *line;
    enum status status;
    const char *reason; /* what the reason says among other things */
    bool unpoisoned;    /* run on memory as it is, so that only the numbers can tell */
} expectations[] = {
    {"decode_flash_r1", DECODE, STATUS_PASS, "", false},
    {"decode_flash_r1", DECODE_BF16, STATUS_PASS, "", false},
    {"decode_zeros_r1", DECODE, STATUS_FAIL_ACCURACY, "gate 2", false},
    {"decode_last_key_dropped_r1", DECODE, STATUS_FAIL_ACCURACY, "gate 2", false},
    {"decode_last_block_dropped_r1", DECODE, STATUS_FAIL_ACCURACY, "gate 2", false},
    {"decode_key_twice_r1", DECODE, STATUS_FAIL_ACCURACY, "gate 2", false},
    {"decode_rescale_missed_r1", DECODE, STATUS_FAIL_ACCURACY, "gate 2", false},
    {"decode_scale_1_01_r1", DECODE, STATUS_FAIL_ACCURACY, "gate 2", false},
    {"decode_scale_1_001_r1", DECODE, STATUS_FAIL_ACCURACY, "gate", false},
    {"decode_out_16bit_r1", DECODE, STATUS_FAIL_ACCURACY, "gate", false},
    {"decode_denominator_16bit_r1", DECODE, STATUS_FAIL_ACCURACY, "gate 2", false},
    {"decode_scores_ignored_r1", DECODE, STATUS_FAIL_ACCURACY, "gate 2", false},
    {"decode_denominator_stale_r1", DECODE, STATUS_FAIL_ACCURACY, "gate 2", false},
    {"decode_wrong_kv_head_r1", DECODE, STATUS_FAIL_ACCURACY, "gate 2", false},
    {"decode_lse_base_2_r1", DECODE, STATUS_FAIL_LSE, "gate 5", false},
    {"decode_out_overrun_r1", DECODE, STATUS_FAIL_OOB_WRITE, "out", false},
    {"decode_input_changed_r1", DECODE, STATUS_FAIL_INPUT_CHANGED, "", false},
    {"decode_previous_call_r1", DECODE, STATUS_FAIL_NONDET, "previous call", false},
    {"decode_runs_differ_r1", DECODE, STATUS_FAIL_NONDET, "differed", false},
    {"decode_crashes_r1", DECODE, STATUS_CRASH, "", false},
    {"decode_hangs_r1", DECODE, STATUS_HANG, "", false},
    {"prefill_exp2_r1", PREFILL, STATUS_PASS, "", false},
    {"prefill_p_truncated_r1", PREFILL, STATUS_FAIL_ACCURACY, "gate 3", false},
    {"prefill_exp_16bit_r1", PREFILL, STATUS_FAIL_ACCURACY, "gate 3", false},
    {"prefill_out_truncated_r1", PREFILL, STATUS_FAIL_ACCURACY, "gate 3", false},
    {"prefill_tile_unwritten_r1", PREFILL, STATUS_FAIL_UNWRITTEN, "never written", false},
    {"prefill_exp2_r1", PREFILL_BF16, STATUS_PASS, "", false},
    {"prefill_p_truncated_r1", PREFILL_BF16, STATUS_FAIL_ACCURACY, "gate 3", false},
    {"prefill_out_truncated_r1", PREFILL_BF16, STATUS_FAIL_ACCURACY, "gate 3", false},
    {"decode_paged_split_r1", PAGED, STATUS_PASS, "", false},
    {"decode_paged_pages_swapped_r1", PAGED, STATUS_FAIL_ACCURACY, "gate 2", false},
    {"decode_paged_key_too_many_r1", PAGED, STATUS_FAIL_ACCURACY, "gate 2", true},
    {"decode_paged_key_too_many_r1", PAGED, STATUS_FAIL_OOB_READ, "must not be read", false},
    {"decode_paged_length_overread_r1", PAGED, STATUS_FAIL_OOB_READ, "must not be read", false},
    {"decode_paged_split_r1", PAGED_EMPTY, STATUS_PASS, "", false},
    {"decode_paged_empty_row_nan_r1", PAGED_EMPTY, STATUS_FAIL_NAN, "gate 1", false},
};
enum { EXPECTATIONS = sizeof expectations / sizeof expectations[0] };

struct selftest {
    struct options options;
    struct plugin_list planted, kernels;
    struct suite smoke;
    struct fixture fixture;
    char line[PROBLEM_LINE_BYTES]; /* of the fixture that is held; "" when it is not as drawn */
    json_t *rows;
    int64_t planted_right, planted_wrong, honest_right, honest_wrong;
    int64_t found[STATUS_COUNT];
};

/* Holds the fixture of `line`. */
static bool hold(struct selftest *test, const char *line, struct fault *fault) {
    const struct obtain_options options = {
        .program = verb_program(), .threads = test->options.threads, .uncached = true};
    if (!strcmp(test->line, line)) return true;
    fixture_free(&test->fixture);
    test->fixture = (struct fixture){0};
    test->line[0] = '\0';
    if (!obtain_line(&test->fixture, line, &options, fault)) return false;
    snprintf(test->line, sizeof test->line, "%s", line);
    return true;
}

static bool run_kernel(struct selftest *test, const struct plugin *plugin, const char *line,
                       const struct trial_options *options, struct row *row, struct fault *fault) {
    bool spoilt;
    if (!options->poison) test->line[0] = '\0'; /* an earlier trial left its poison */
    *row = (struct row){0};
    if (!hold(test, line, fault) ||
        !trial_run(row, plugin, &test->fixture, options, &spoilt, fault))
        return false;
    if (spoilt) test->line[0] = '\0';
    return true;
}

static const struct plugin *find(const struct plugin_list *list, const char *name) {
    for (int64_t n = 0; n < list->count; n++) {
        const char *slash = strrchr(list->plugins[n].id, '/');
        if (!strcmp(slash != NULL ? slash + 1 : list->plugins[n].id, name))
            return &list->plugins[n];
    }
    return NULL;
}

static void report(struct selftest *test, const struct row *row, const char *expected, bool right) {
    if (test->options.json) {
        json_array_append_new(test->rows,
                              json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:f}", "kernel",
                                        row->kernel, "line", row->line, "expected", expected,
                                        "status", row->status, "reason", row->reason, "grade",
                                        row->grade, "right", right, "seconds", row->seconds));
        return;
    }
    printf("%-5s  %-34s %-18s %s\n", right ? "right" : "WRONG", row->kernel, row->status,
           row->reason);
    if (!right) printf("       expected %s; repeat: %s\n", expected, row->repeat);
    fflush(stdout);
}

static bool run_planted(struct selftest *test, struct fault *fault) {
    struct trial_options options = trial_defaults;
    options.program = verb_program();
    options.threads = test->options.threads;
    options.time = false;
    options.watchdog_seconds = planted_watchdog_seconds;
    for (int n = 0; n < EXPECTATIONS; n++) {
        const struct expectation *expectation = &expectations[n];
        const struct plugin *plugin = find(&test->planted, expectation->kernel);
        if (plugin == NULL)
            return fault_set(fault, FAULT_NOTHING, "no planted kernel '%s' in '%s'",
                             expectation->kernel, verb_planted());
        struct row row;
        options.poison = !expectation->unpoisoned;
        if (!run_kernel(test, plugin, expectation->line, &options, &row, fault)) return false;
        const bool right = !strcmp(row.status, status_name(expectation->status)) &&
                           strstr(row.reason, expectation->reason) != NULL &&
                           (expectation->status != STATUS_PASS || row.grade[0] == 'A');
        ++*(right ? &test->planted_right : &test->planted_wrong);
        if (right) test->found[expectation->status]++;
        report(test, &row, status_name(expectation->status), right);
    }
    return true;
}

/* The table prints only what went wrong here: hundreds of rows that pass say nothing. */
static bool run_honest(struct selftest *test, struct fault *fault) {
    struct trial_options options = trial_defaults;
    options.program = verb_program();
    options.threads = test->options.threads;
    options.time = false;
    for (int64_t line = 0; line < test->smoke.count; line++) {
        for (int64_t n = 0; n < test->kernels.count; n++) {
            const struct plugin *plugin = &test->kernels.plugins[n];
            struct row row;
            char reason[256];
            if (plugin->kernel.device != ATTN_CPU) continue;
            if (!hold(test, test->smoke.lines[line], fault)) return false;
            if (plugin_refusal(&plugin->kernel, &test->fixture.problem.attn, reason) != NULL)
                continue;
            if (!run_kernel(test, plugin, test->smoke.lines[line], &options, &row, fault))
                return false;
            if (!strcmp(row.status, status_name(STATUS_REFUSED))) continue;
            const bool right = !strcmp(row.status, status_name(STATUS_PASS));
            ++*(right ? &test->honest_right : &test->honest_wrong);
            if (!right || test->options.json) report(test, &row, status_name(STATUS_PASS), right);
        }
    }
    return true;
}

static void print_summary(struct selftest *test, double seconds) {
    if (test->options.json) {
        json_t *json = json_pack("{s:O, s:I, s:I, s:I, s:I, s:f}", "rows", test->rows,
                                 "planted_right", (json_int_t)test->planted_right, "planted_wrong",
                                 (json_int_t)test->planted_wrong, "honest_right",
                                 (json_int_t)test->honest_right, "honest_wrong",
                                 (json_int_t)test->honest_wrong, "seconds", seconds);
        json_dumpf(json, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(json);
        return;
    }
    printf("\nplanted: %lld as expected, %lld not:", (long long)test->planted_right,
           (long long)test->planted_wrong);
    for (int status = 0; status < STATUS_COUNT; status++) {
        if (test->found[status] > 0)
            printf(" %s %lld", status_name((enum status)status), (long long)test->found[status]);
    }
    printf("\nhonest CPU kernels on smoke: %lld pass, %lld do not\n%.1f s\n",
           (long long)test->honest_right, (long long)test->honest_wrong, seconds);
}

static int run_selftest(int argc, char **argv) {
    const double start = clock_s();
    struct selftest test = {.rows = json_array()};
    struct fault fault = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &test.options);
    const bool ran = plugin_scan(&test.planted, verb_program(), verb_planted(), NULL, 0, &fault) &&
                     plugin_scan(&test.kernels, verb_program(), verb_kernels(), NULL, 0, &fault) &&
                     suite_read(&test.smoke, verb_suites(), "smoke", &fault) &&
                     run_planted(&test, &fault) && run_honest(&test, &fault);
    if (ran) print_summary(&test, clock_s() - start);
    const int status = !ran                                         ? verb_fault(&fault)
                       : test.planted_wrong + test.honest_wrong > 0 ? EXIT_WRONG_RESULT
                       : test.honest_right == 0                     ? FAULT_NOTHING
                                                                    : 0;
    fixture_free(&test.fixture);
    plugin_list_free(&test.planted);
    plugin_list_free(&test.kernels);
    suite_free(&test.smoke);
    json_decref(test.rows);
    return status;
}

const struct verb verb_selftest = {
    .name = "selftest",
    .arguments = "",
    .summary = "the judge against planted bugs, and all CPU kernels",
    .argp = &argp,
    .run = run_selftest,
};
