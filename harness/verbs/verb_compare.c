/* attest compare: two runs, or two kernels within one, row by row. */
#include "live.h"
#include "../report/history.h"
#include "../report/print.h"
#include "../verb.h"

#include <stdlib.h>
#include <string.h>

static const double live_ms_max = 200;

enum {
    OPTION_KERNELS = 256,
    OPTION_COLD,
    OPTION_LEAST,
    OPTION_JSON,
    OPTION_MARKDOWN,
    OPTION_SUMMARY,
    OPTION_HTML,
    OPTION_LIVE,
    OPTION_WARM,
    OPTION_TIME_MS,
};

struct options {
    struct compare_options compare;
    struct forms forms;
    const char *runs[2];
    int run_count;
    bool is_live, warm;
    const char *for_live; /* an option that is of use only so; NULL: none was told */
    struct live_options live;
};

static const struct argp_option argp_options[] = {
    {"kernels", OPTION_KERNELS, "OLD NEW", 0,
     "compare kernels that match the glob OLD with those that match NEW, within one run or across "
     "two",
     0},
    {"cold", OPTION_COLD, NULL, 0,
     "compare cold timings instead of warm ones; live, time nothing else", 0},
    {"least", OPTION_LEAST, "SHARE", 0,
     "a difference that matters: slower and faster is what is beyond it; 1% (default) or 0.01", 0},
    {"json", OPTION_JSON, NULL, 0, "one object instead of columns", 0},
    {"summary", OPTION_SUMMARY, NULL, 0,
     "what matters most in 60 kB of Markdown, as a comment on a pull request takes it", 0},
    {"markdown", OPTION_MARKDOWN, NULL, 0, "tables in Markdown instead of columns", 0},
    {"html", OPTION_HTML, "DIR", 0,
     "besides, pages with pictures (by gnuplot), in a new folder or in place of a report", 0},
    {"live", OPTION_LIVE, NULL, 0,
     "run kernels beside each other now: OLD and NEW are libraries or names, as `attest run` takes "
     "them; what follows are problems",
     1},
    ASK_OPTIONS,
    {"device", 'd', "LIST", 0, "As of `attest run`; kernels are compared on the same device", 0},
    {"threads", 't', "N", 0, "As of `attest run`", 0},
    {"warm", OPTION_WARM, NULL, 0, "Time nothing cold", 0},
    {"time-ms", OPTION_TIME_MS, "MS", 0,
     "Cap on timing a row, for cold and for warm each; default 200. On a CPU of processor "
     "time, and five times as long by the clock. Twelve rounds are taken, if they take 20 s at "
     "most",
     0},
    {0},
};

/* Of use with --live only. */
static error_t parse_live(int key, char *argument, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case OPTION_WARM:
        options->warm = true;
        break;
    case OPTION_TIME_MS:
        options->live.session.live.total_ms_max = verb_number(argument, 1, 1e6, "time-ms", state);
        break;
    default: {
        const error_t error =
            ask_parse(&options->live.session, &options->live.names, key, argument, state);
        if (error != 0) return error;
    }
    }
    for (const struct argp_option *option = argp_options; option->name != NULL; option++) {
        if (option->key == key) options->for_live = option->name;
    }
    return 0;
}

static void check_live(struct options *options, struct argp_state *state) {
    const struct texts *names = &options->live.names;
    if (names->count < 2) argp_error(state, "--live compares two kernels: OLD NEW");
    if (names->count > 2)
        argp_error(state, "--live compares two kernels, and '%s' is no problem", names->list[2]);
    if (options->compare.kernels_before != NULL)
        argp_error(state, "--kernels picks rows of runs, and --live runs OLD and NEW");
    if (options->compare.cold && options->warm)
        argp_error(state, "--cold and --warm each leave out the other");
    options->live.session.live.cold = !options->warm;
    options->live.session.live.warm = !options->compare.cold;
}

static void check_runs(struct options *options, struct argp_state *state) {
    const struct session_options *asked = &options->live.session;
    const struct texts *names = &options->live.names;
    if (options->for_live != NULL) argp_error(state, "--%s is for --live", options->for_live);
    if (asked->lines.count + asked->words.count > 0)
        argp_error(state, "'%s' is a problem, which is for --live",
                   asked->lines.count > 0 ? asked->lines.list[0] : asked->words.list[0]);
    if (names->count == 0) argp_error(state, "a run is missing");
    if (names->count > 2) argp_error(state, "two runs at most: '%s'", names->list[2]);
    options->run_count = (int)names->count;
    for (int n = 0; n < options->run_count; n++) options->runs[n] = names->list[n];
}

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case OPTION_KERNELS:
        /* argp knows options of one argument; the second is the next word. */
        if (state->next >= state->argc) argp_error(state, "--kernels takes two globs: OLD NEW");
        if (options->compare.kernels_before != NULL)
            argp_error(state, "--kernels is '%s' '%s' already", options->compare.kernels_before,
                       options->compare.kernels_after);
        options->compare.kernels_before = argument;
        options->compare.kernels_after = state->argv[state->next++];
        return 0;
    case OPTION_COLD:
        options->compare.cold = true;
        return 0;
    case OPTION_LEAST:
        options->compare.least = verb_share(argument, 1, "least", state);
        return 0;
    case OPTION_JSON:
        options->forms.json = true;
        return 0;
    case OPTION_SUMMARY:
        options->forms.summary = true;
        return 0;
    case OPTION_MARKDOWN:
        options->forms.markdown = true;
        return 0;
    case OPTION_HTML:
        if (*argument == '\0') argp_error(state, "--html is empty");
        if (options->forms.html != NULL)
            argp_error(state, "--html is '%s' already", options->forms.html);
        options->forms.html = argument;
        return 0;
    case OPTION_LIVE:
        options->is_live = true;
        return 0;
    case ARGP_KEY_END:
        if (options->forms.json + options->forms.markdown + options->forms.summary > 1)
            argp_error(state, "--json, --markdown and --summary are one form each, expected one of "
                              "them");
        (options->is_live ? check_live : check_runs)(options, state);
        return 0;
    default:
        return parse_live(key, argument, state);
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .args_doc = "OLD NEW\nHISTORY NEW\nRUN --kernels OLD NEW\n--live OLD NEW [-s SUITE|-f "
                "FILE|LINE...] [WORD...]",
    .doc =
        "Joins the rows of two runs by kernel and problem and says which became faster, slower "
        "or wrong. A verdict on time needs an interval of the ratio that lies beyond --least; "
        "without it a row is the same, or undecided. Without "
        "--kernels a kernel is compared with itself. With it, each is paired with its next of "
        "kin: same device and method where there are such pairs, so that '*_r1' '*_r2' compares "
        "revisions, and otherwise any, so that 'decode_naive_*' 'decode_flash_*' compares "
        "methods. HISTORY is a folder of runs, of many machines perhaps: each row of NEW is "
        "compared with the last one of its kernel, problem and device name before. "
        "Exit status 2 when any row became slower or worse, 5 when nothing joins."
        "\vWith --live OLD and NEW are tried by themselves, and where both are right launched in "
        "turn in one process, beside a copy of each as control. What is found is a run like any "
        "other, which `attest compare RUN` shows again. reports/README.md says how verdicts are "
        "reached.",
};

static int compare_live_now(struct options *options, int argc, char **argv) {
    options->live.least = options->compare.least;
    options->live.forms = options->forms;
    return live_compare(&options->live, argc, argv);
}

/* A run, or of a folder of runs what came before `after`. */
static bool read_before(struct run *before, struct history *history, const char *name,
                        const struct run *after, const char *kernels, struct fault *fault) {
    if (after == NULL || !history_is_folder(name)) return run_read(before, name, fault);
    return history_add(history, name, fault) &&
           history_before(before, history, after, kernels, fault);
}

static int compare_stored(struct options options) {
    const char *const before_name = options.runs[0];
    const char *const after_name = options.runs[options.run_count - 1];

    struct fault fault = {0};
    struct run before = {0}, after = {0};
    struct history history = {0};
    struct comparison comparison = {0};
    const bool one = options.run_count == 1;
    const char *const old_glob = options.compare.kernels_before;
    bool ok = (one || run_read(&after, after_name, &fault)) &&
              read_before(&before, &history, before_name, one ? NULL : &after, old_glob, &fault);
    if (ok && one && old_glob == NULL && run_is_live(&before)) {
        const int status = live_print(&before, before_name, &options.compare, &options.forms);
        run_free(&before);
        return status;
    }
    if (ok && one && old_glob == NULL)
        ok = fault_set(&fault, FAULT_INPUT,
                       "'%s' is one run, expected two, --kernels OLD NEW, or one by --live",
                       before_name);
    ok = ok && (old_glob == NULL || (run_has_kernel(&before, before_name, old_glob, &fault) &&
                                     run_has_kernel(one ? &before : &after, after_name,
                                                    options.compare.kernels_after, &fault)));
    ok = ok && compare_runs(&comparison, &before, one ? &before : &after, &options.compare, &fault);
    if (ok && comparison.pair_count == 0) {
        ok = fault_set(&fault, FAULT_NOTHING,
                       "no row of '%s' has a counterpart in '%s': same %sline and fixture digest "
                       "expected%s%s",
                       before_name, after_name, old_glob == NULL ? "kernel, " : "",
                       history.count > 0 ? ", and in an earlier run on such a device" : "",
                       comparison.redrawn > 0 ? "; lines agree, but the inputs changed" : "");
    }
    const char *const sides[] = {one ? options.compare.kernels_before : before_name,
                                 one ? options.compare.kernels_after : after_name};
    ok = ok && forms_show(&options.forms, &comparison, sides, &fault);
    if (ok && options.forms.json) print_json(stdout, compare_json(&comparison), JSON_INDENT(2));
    const int status = !ok ? fault_tell(&fault) : comparison.regressions > 0 ? EXIT_REGRESSION : 0;
    if (ok && comparison.machines_differ[0])
        fault_say("the machines differ: %s", comparison.machines_differ);
    compare_free(&comparison);
    run_free(&before);
    run_free(&after);
    history_free(&history);
    return status;
}

static int compare(int argc, char **argv) {
    struct options options = {
        .compare.least = compare_least,
        .live.session = {.trial = trial_defaults, .live.total_ms_max = live_ms_max},
    };
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    const int status =
        options.is_live ? compare_live_now(&options, argc, argv) : compare_stored(options);
    ask_free(&options.live.session);
    free(options.live.names.list);
    return status;
}

const struct verb verb_compare = {
    .name = "compare",
    .arguments = "OLD NEW | RUN --kernels OLD NEW | --live",
    .summary = "which kernel became faster, slower or wrong",
    .argp = &argp,
    .run = compare,
};
