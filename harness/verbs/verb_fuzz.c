/* attest fuzz: drawn problems, every kernel that takes them, no timing and no cache. Small problems
 * also go to the definition, which has to agree with the oracle. A line that fails is shrunk while
 * the same kernel fails on it. */
#include "fuzz.h"
#include "../report/row_set.h"
#include "../report/table.h"
#include "../trial/obtain.h"
#include "../trial/trial.h"
#include "../verb.h"
#include "../../oracle/clock.h"
#include "../../oracle/oracle.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    OPTION_JSON = 256,
    DEFINITION_PRODUCTS_MAX = 1 << 18,
    SHRINK_TRIALS = 200,
    SHRINKS_MAX = 3, /* a kernel: one that is always wrong would be shrunk all day */
    WATCHDOG_SECONDS = 10
};

struct options {
    bool json;
    int64_t count;
    double minutes;
    uint64_t seed;
    int threads;
    const char **globs;
    int64_t glob_count;
};

static const struct argp_option argp_options[] = {
    {"count", 'n', "N", 0, "so many problems (default 1000 where --minutes is not given)", 0},
    {"minutes", 'm', "M", 0, "stop after so many minutes", 0},
    {"seed", 's', "S", 0, "which problems: the same seed draws the same ones (default 1)", 0},
    {"kernels", 'k', "GLOB", 0,
     "only kernels that match, or that a path to an .so names; may be repeated; default: all but "
     "the "
     "twin's",
     0},
    {"threads", 't', "N", 0, "threads for kernels (default: 1 for most problems, else 2 to 4)", 0},
    {"json", OPTION_JSON, NULL, 0, "counts and failing rows as one object", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case 'n':
        options->count = verb_count(argument, 1, INT64_MAX, "count", state);
        return 0;
    case 'm':
        options->minutes = verb_number(argument, 0.001, 1e6, "minutes", state);
        return 0;
    case 's':
        options->seed = (uint64_t)verb_count(argument, 0, INT64_MAX, "seed", state);
        return 0;
    case 't':
        options->threads = (int)verb_count(argument, 0, VERB_THREADS_MAX, "threads", state);
        return 0;
    case 'k':
        options->globs[options->glob_count++] = argument;
        return 0;
    case OPTION_JSON:
        options->json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .doc =
        "Draws legal problems of every variant, dtype and kind of data, at odd sizes, and runs "
        "every kernel that takes them. What fails is printed with the command that repeats it "
        "and shrunk to the simplest line that still fails, ready to be put into a suite.\v"
        "Ended by Ctrl-C or SIGTERM it says what it found until then. The exit status is that of "
        "what was found, 5 if no row of what was named was judged; a kernel that was named and "
        "cannot be loaded is one row, 3.",
};

static volatile sig_atomic_t interrupted;

static void interrupt(int signal) {
    (void)signal;
    interrupted = 1;
}

struct fuzz {
    struct options options;
    struct plugin_list plugins;
    struct effort {
        int shrinks;
        int64_t judged; /* rows that were not refused */
    } * efforts;        /* so far, on each plugin */
    int threads;        /* for kernels, on the problem at hand */
    int64_t lines, answers_checked, right, refused, wrong, dead, answers_wrong;
    json_t *failures;
    bool broken; /* attest itself failed; `fault` says how */
    struct fault fault;
};

static bool obtain(struct fuzz *fuzz, struct fixture *fixture, const char *line) {
    const struct obtain_options options = {
        .program = verb_program(), .threads = 1, .uncached = true};
    if (obtain_line(fixture, line, &options, &fuzz->fault)) return true;
    fuzz->broken = true;
    return false;
}

static bool try_kernel(struct fuzz *fuzz, const struct plugin *plugin, struct fixture *fixture,
                       struct row *row, bool *spoilt) {
    struct trial_options options = trial_defaults;
    options.program = verb_program();
    options.threads = fuzz->threads;
    options.time = false;
    options.watchdog_seconds = WATCHDOG_SECONDS;
    *row = (struct row){0};
    if (trial_run(row, plugin, fixture, &options, spoilt, &fuzz->fault)) return true;
    fuzz->broken = true;
    return false;
}

static int row_exit(const struct row *row) {
    const enum status status = status_of(row);
    return status == STATUS_COUNT ? EXIT_WRONG_RESULT : status_exit(status);
}

/* One question of the shrinking: does this kernel fail on that line? */
struct suspect {
    struct fuzz *fuzz;
    const struct plugin *plugin;
};

static bool suspect_fails(const char *line, void *context) {
    const struct suspect *suspect = context;
    struct fixture fixture = {0};
    struct problem problem;
    struct row row = {0};
    struct fault fault;
    char reason[256];
    bool spoilt = false;
    if (interrupted || suspect->fuzz->broken || !problem_parse(&problem, line, &fault) ||
        plugin_refusal(&suspect->plugin->kernel, &problem.attn, reason) != NULL)
        return false;
    const bool fails = obtain(suspect->fuzz, &fixture, line) &&
                       try_kernel(suspect->fuzz, suspect->plugin, &fixture, &row, &spoilt) &&
                       row_exit(&row) != 0;
    fixture_free(&fixture);
    return fails;
}

static void report_row(struct fuzz *fuzz, const struct row *row, const char *shrunk) {
    json_t *failure = row_to_json(row);
    json_object_set_new(failure, "shrunk", json_string(shrunk));
    json_array_append_new(fuzz->failures, failure);
    if (fuzz->options.json) return;
    struct print_line line = {.to = stdout};
    print_piece(&line, "%s", row->status);
    print_piece(&line, "%s", row->kernel);
    if (*row->line) print_piece(&line, "%s", row->line);
    print_line_end(&line);
    print_words(stdout, 0, 4, "    %s", row->reason);
    if (text_given(row->diagnosis)) print_words(stdout, 0, 4, "    %s", row->diagnosis);
    print_plain(stdout, "    repeat: %s\n", row->repeat);
    if (*shrunk)
        print_plain(stdout, "    for a suite:\n%s # %s %s\n", shrunk, row->kernel, row->status);
    fflush(stdout);
}

static void report_failure(struct fuzz *fuzz, const struct plugin *plugin, const struct row *row) {
    struct suspect suspect = {fuzz, plugin};
    int *const shrinks = &fuzz->efforts[plugin - fuzz->plugins.plugins].shrinks;
    char shrunk[PROBLEM_LINE_BYTES];
    snprintf(shrunk, sizeof shrunk, "%s", row->line);
    if (status_of(row) != STATUS_HANG && (*shrinks)++ < SHRINKS_MAX)
        fuzz_shrink(shrunk, suspect_fails, &suspect, SHRINK_TRIALS);
    report_row(fuzz, row, shrunk);
}

/* A kernel that cannot be loaded is no different on another problem: one row, without one. */
static void report_unloadable(struct fuzz *fuzz) {
    for (int64_t n = 0; n < fuzz->plugins.count && !fuzz->broken; n++) {
        const struct plugin *plugin = &fuzz->plugins.plugins[n];
        struct fixture none = {.line = ""};
        struct row row;
        bool spoilt;
        if (plugin->trouble == STATUS_PASS) continue;
        if (plugin->kernel.variant != PLUGIN_VARIANT_UNKNOWN)
            none.problem.attn.variant = plugin->kernel.variant;
        if (!try_kernel(fuzz, plugin, &none, &row, &spoilt)) break;
        fuzz->dead++;
        report_row(fuzz, &row, "");
    }
}

/* How far two answers may be apart, in units of A: what f64 makes of a logit -- the rule of gate 2
 * with 2^-53 for 2^-24, because S knows how badly conditioned a logit is (deep: 2e5; MagicPIG at
 * opposite vectors: more) -- sqrt(D) S more for its D sums, which f64 rounds where products are
 * f32's (deep, D 256: up to 1.25 times the rule without; one answer of 12,000), and 1e-12 for
 * everything else. */
static double answer_tolerance(double s, int64_t head_dim) {
    return 1e-12 + 2 * ((8 + sqrt((double)head_dim)) * s + 8) * 0x1p-53;
}

/* What weights below f64's least normal may lose, each up to 2^-1075, of values up to 2^17. */
static const double lost_most = 0x1p-1030;

/* The largest |difference| of out and lse in units of what is tolerated. */
static double disagreement(const struct answer *a, const struct answer *b, int64_t head_dim) {
    double worst = 0;
    const int64_t rows = a->batch * a->q_heads * a->row_count;
    for (int64_t row = 0; row < rows; row++) {
        if (isinf(a->lse[row]) != isinf(b->lse[row])) return INFINITY;
        if (isinf(a->lse[row])) continue;
        const double tolerance = answer_tolerance(a->logit_abs[row], head_dim);
        worst = fmax(worst, fabs(a->lse[row] - b->lse[row]) / tolerance / (1 + fabs(b->lse[row])));
        for (int64_t n = row * a->value_dim; n < (row + 1) * a->value_dim; n++) {
            const double difference = fabs(a->out[n] - b->out[n]);
            if (difference > lost_most) worst = fmax(worst, difference / tolerance / b->p_abs_v[n]);
        }
    }
    return worst;
}

/* Before any trial: those overwrite what must not be read. */
static void check_answer(struct fuzz *fuzz, const struct fixture *fixture) {
    if (fuzz_products(&fixture->problem) > DEFINITION_PRODUCTS_MAX) return;
    const struct rule_view view = fixture_view(fixture);
    struct answer answer = {0};
    if (!definition_answer(&answer, &view, fixture->problem.rows, 1, &fuzz->fault)) {
        fuzz->broken = true;
    } else {
        fuzz->answers_checked++;
        const double worst =
            disagreement(&fixture->answer, &answer, fixture->problem.attn.head_dim);
        if (!(worst <= 1)) {
            fuzz->answers_wrong++;
            fprintf(stderr,
                    "attest: oracle and definition differ by %.3g times the tolerance on %s\n",
                    worst, fixture->line);
        }
    }
    answer_free(&answer);
}

static void try_line(struct fuzz *fuzz, const char *line) {
    struct fixture fixture = {0};
    if (!obtain(fuzz, &fixture, line)) return;
    fuzz->lines++;
    check_answer(fuzz, &fixture);
    bool spoilt = false;
    for (int64_t n = 0; n < fuzz->plugins.count && !fuzz->broken && !interrupted; n++) {
        const struct plugin *plugin = &fuzz->plugins.plugins[n];
        struct row row;
        char reason[256];
        if (plugin->trouble != STATUS_PASS ||
            plugin_refusal(&plugin->kernel, &fixture.problem.attn, reason) != NULL)
            continue;
        if (spoilt) {
            fixture_free(&fixture);
            spoilt = false;
            if (!obtain(fuzz, &fixture, line)) return;
        }
        if (!try_kernel(fuzz, plugin, &fixture, &row, &spoilt)) break;
        const int exit = row_exit(&row);
        fuzz->efforts[n].judged += row_is_judged(&row);
        fuzz->refused += status_of(&row) == STATUS_REFUSED;
        fuzz->right += exit == 0 && status_of(&row) != STATUS_REFUSED;
        fuzz->dead += exit == EXIT_CRASH;
        fuzz->wrong += exit == EXIT_WRONG_RESULT;
        if (exit != 0) report_failure(fuzz, plugin, &row);
    }
    fixture_free(&fixture);
}

static void fuzz_all(struct fuzz *fuzz) {
    const struct options *options = &fuzz->options;
    const bool talks = isatty(STDERR_FILENO);
    const double start = clock_s();
    for (int64_t n = 0; !interrupted && !fuzz->broken; n++) {
        if (options->count > 0 && n >= options->count) break;
        if (options->minutes > 0 && clock_s() - start > 60 * options->minutes) break;
        char line[PROBLEM_LINE_BYTES];
        fuzz_line(line, options->seed, (uint64_t)n);
        fuzz->threads = options->threads > 0 ? options->threads : n % 4 == 3 ? 2 + n / 4 % 3 : 1;
        try_line(fuzz, line);
        if (talks && n % 10 == 9)
            dprintf(STDERR_FILENO, "\r%s, %lld right, %lld wrong, %lld dead",
                    number_count(fuzz->lines, "problem").text, (long long)fuzz->right,
                    (long long)fuzz->wrong, (long long)fuzz->dead);
    }
    if (talks) dprintf(STDERR_FILENO, "\r\033[K");
}

static void print_summary(struct fuzz *fuzz) {
    if (fuzz->options.json) {
        json_t *json = json_pack(
            "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "seed", (json_int_t)fuzz->options.seed,
            "problems", (json_int_t)fuzz->lines, "right", (json_int_t)fuzz->right, "refused",
            (json_int_t)fuzz->refused, "wrong", (json_int_t)fuzz->wrong, "dead",
            (json_int_t)fuzz->dead, "answers_checked", (json_int_t)fuzz->answers_checked,
            "answers_wrong", (json_int_t)fuzz->answers_wrong, "failures", fuzz->failures);
        print_json(stdout, json, JSON_INDENT(2));
        return;
    }
    print_words(stdout, 0, 4,
                "seed %llu: %s, %s right, %lld refused, %lld wrong, %lld dead; %s checked against "
                "the definition, %lld differ",
                (unsigned long long)fuzz->options.seed, number_count(fuzz->lines, "problem").text,
                number_count(fuzz->right, "row").text, (long long)fuzz->refused,
                (long long)fuzz->wrong, (long long)fuzz->dead,
                number_count(fuzz->answers_checked, "answer").text, (long long)fuzz->answers_wrong);
}

/* Whether each glob had a kernel that was judged; without globs, whether any was. */
static bool judged_all(struct fuzz *fuzz) {
    const struct options *options = &fuzz->options;
    for (int64_t n = 0; n < options->glob_count || n == 0; n++) {
        const char *glob = options->glob_count > 0 ? options->globs[n] : "*";
        int64_t judged = 0;
        for (int64_t k = 0; k < fuzz->plugins.count; k++) {
            if (plugin_matches(&fuzz->plugins.plugins[k], glob)) judged += fuzz->efforts[k].judged;
        }
        if (judged == 0)
            return fault_set(&fuzz->fault, FAULT_NOTHING,
                             "no row of '%s' was judged: %lld problems were drawn, and it takes "
                             "none of them",
                             glob, (long long)fuzz->lines);
    }
    return true;
}

static int fuzz_status(struct fuzz *fuzz) {
    if (fuzz->broken) return fault_tell(&fuzz->fault);
    if (fuzz->answers_wrong > 0) return FAULT_OURS;
    if (fuzz->dead > 0) return EXIT_CRASH;
    if (fuzz->wrong > 0) return EXIT_WRONG_RESULT;
    return judged_all(fuzz) ? 0 : fault_tell(&fuzz->fault);
}

/* What ends a run early; ignored stays ignored, as under nohup. */
static void heed_signals(void) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t n = 0; n < sizeof signals / sizeof signals[0]; n++) {
        struct sigaction action;
        if (sigaction(signals[n], NULL, &action) != 0 || action.sa_handler == SIG_IGN) continue;
        action = (struct sigaction){.sa_handler = interrupt, .sa_flags = SA_RESTART};
        sigaction(signals[n], &action, NULL);
    }
}

static int run_fuzz(int argc, char **argv) {
    struct fuzz fuzz = {.options = {.seed = 1}, .failures = json_array()};
    fuzz.options.globs = calloc((size_t)argc, sizeof *fuzz.options.globs);
    fuzz.broken = fuzz.failures == NULL || fuzz.options.globs == NULL;
    if (fuzz.broken) fault_set(&fuzz.fault, FAULT_OURS, "out of memory");
    if (!fuzz.broken) {
        argp_parse(&argp, argc, argv, 0, NULL, &fuzz.options);
        if (fuzz.options.count == 0 && fuzz.options.minutes == 0) fuzz.options.count = 1000;
        fuzz.broken = !plugin_scan(&fuzz.plugins, verb_program(), verb_kernels(),
                                   fuzz.options.globs, fuzz.options.glob_count, &fuzz.fault);
        if (!fuzz.broken && fuzz.options.glob_count == 0)
            plugin_list_leave_out(&fuzz.plugins, ATTN_ASCEND_TWIN); /* emulation is slow */
    }
    if (!fuzz.broken && fuzz.plugins.count == 0) {
        fuzz.broken = true;
        fault_set(&fuzz.fault, FAULT_NOTHING, "no kernels in '%s'", verb_kernels());
    }
    if (!fuzz.broken) {
        fuzz.efforts = calloc((size_t)fuzz.plugins.count, sizeof *fuzz.efforts);
        fuzz.broken = fuzz.efforts == NULL;
        if (fuzz.broken) fault_set(&fuzz.fault, FAULT_OURS, "out of memory");
    }
    if (!fuzz.broken) {
        heed_signals();
        /* Idle threads that spin cost more than these kernels do. */
        setenv("OMP_WAIT_POLICY", "passive", 0);
        report_unloadable(&fuzz);
        fuzz_all(&fuzz);
        print_summary(&fuzz);
        plugin_list_tell_left_out(&fuzz.plugins);
    }
    const int status = fuzz_status(&fuzz);
    plugin_list_free(&fuzz.plugins);
    json_decref(fuzz.failures);
    free(fuzz.options.globs);
    free(fuzz.efforts);
    return status;
}

const struct verb verb_fuzz = {
    .name = "fuzz",
    .arguments = "[--count N] [--minutes M] [--seed S]",
    .summary = "drawn problems, every kernel that takes them",
    .argp = &argp,
    .run = run_fuzz,
};
