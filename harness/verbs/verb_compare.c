/* attest compare: two runs, or two kernels within one, row by row. */
#include "../report/compare.h"
#include "../report/pages.h"
#include "../report/print.h"
#include "../report/summary.h"
#include "../verb.h"

#include <string.h>

enum {
    OPTION_KERNELS = 256,
    OPTION_COLD,
    OPTION_LEAST,
    OPTION_JSON,
    OPTION_MARKDOWN,
    OPTION_SUMMARY,
    OPTION_HTML
};

struct options {
    struct compare_options compare;
    bool json, markdown, summary;
    const char *html;
    const char *runs[2];
    int run_count;
};

static const struct argp_option argp_options[] = {
    {"kernels", OPTION_KERNELS, "OLD NEW", 0,
     "compare kernels that match the glob OLD with those that match NEW, within one run or across "
     "two",
     0},
    {"cold", OPTION_COLD, NULL, 0, "compare cold timings instead of warm ones", 0},
    {"least", OPTION_LEAST, "SHARE", 0,
     "a difference that matters: slower and faster is what is beyond it; 1% (default) or 0.01", 0},
    {"json", OPTION_JSON, NULL, 0, "one object instead of columns", 0},
    {"summary", OPTION_SUMMARY, NULL, 0,
     "what matters most in 60 kB of Markdown, as a comment on a pull request takes it", 0},
    {"markdown", OPTION_MARKDOWN, NULL, 0, "tables in Markdown instead of columns", 0},
    {"html", OPTION_HTML, "DIR", 0,
     "besides, pages with pictures (by gnuplot), in a new folder or in place of a report", 0},
    {0},
};

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
        options->json = true;
        return 0;
    case OPTION_SUMMARY:
        options->summary = true;
        return 0;
    case OPTION_MARKDOWN:
        options->markdown = true;
        return 0;
    case OPTION_HTML:
        if (*argument == '\0') argp_error(state, "--html is empty");
        if (options->html != NULL) argp_error(state, "--html is '%s' already", options->html);
        options->html = argument;
        return 0;
    case ARGP_KEY_ARG:
        if (options->run_count == 2) argp_error(state, "two runs at most: '%s'", argument);
        options->runs[options->run_count++] = argument;
        return 0;
    case ARGP_KEY_END:
        if (options->run_count == 0) argp_error(state, "a run is missing");
        if (options->json + options->markdown + options->summary > 1)
            argp_error(state, "--json, --markdown and --summary are one form each, expected one of "
                              "them");
        if (options->run_count == 1 && options->compare.kernels_before == NULL)
            argp_error(state, "one run is compared with another, or with --kernels OLD NEW");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .args_doc = "OLD NEW\nRUN --kernels OLD NEW",
    .doc = "Joins the rows of two runs by kernel and problem and says which became faster, slower "
           "or wrong. A verdict on time needs an interval of the ratio that lies beyond --least; "
           "without it a row is the same, or undecided. Without "
           "--kernels a kernel is compared with itself. With it, each is paired with its next of "
           "kin: same device and method where there are such pairs, so that '*_r1' '*_r2' compares "
           "revisions, and otherwise any, so that 'decode_naive_*' 'decode_flash_*' compares "
           "methods. Exit status 2 when any row became slower or worse, 5 when nothing joins.",
};

static int compare(int argc, char **argv) {
    struct options options = {.compare.least = compare_least};
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    const char *const before_name = options.runs[0];
    const char *const after_name = options.runs[options.run_count - 1];

    struct fault fault = {0};
    struct run before = {0}, after = {0};
    struct comparison comparison = {0};
    const bool one = options.run_count == 1;
    const char *const old_glob = options.compare.kernels_before;
    bool ok =
        run_read(&before, before_name, &fault) && (one || run_read(&after, after_name, &fault));
    ok = ok && (old_glob == NULL || (run_has_kernel(&before, before_name, old_glob, &fault) &&
                                     run_has_kernel(one ? &before : &after, after_name,
                                                    options.compare.kernels_after, &fault)));
    ok = ok && compare_runs(&comparison, &before, one ? &before : &after, &options.compare, &fault);
    if (ok && comparison.pair_count == 0) {
        ok = fault_set(&fault, FAULT_NOTHING,
                       "no row of '%s' has a counterpart in '%s': same %sline and fixture digest "
                       "expected%s",
                       before_name, after_name, old_glob == NULL ? "kernel, " : "",
                       comparison.redrawn > 0 ? "; lines agree, but the inputs changed" : "");
    }
    const char *const old_side = one ? options.compare.kernels_before : before_name;
    const char *const new_side = one ? options.compare.kernels_after : after_name;
    ok = ok && (options.html == NULL ||
                pages_compare(options.html, &comparison, old_side, new_side, &fault));
    if (ok && options.json)
        print_json(stdout, compare_json(&comparison), JSON_INDENT(2));
    else if (ok && options.summary)
        ok = summary_of_comparison(stdout, &comparison, old_side, new_side, &fault);
    else if (ok)
        compare_print(stdout, &comparison, old_side, new_side, options.markdown);
    const int status = !ok ? fault_tell(&fault) : comparison.regressions > 0 ? EXIT_REGRESSION : 0;
    if (ok && comparison.machines_differ[0])
        fault_say("the machines differ: %s", comparison.machines_differ);
    compare_free(&comparison);
    run_free(&before);
    run_free(&after);
    return status;
}

const struct verb verb_compare = {
    .name = "compare",
    .arguments = "OLD NEW | RUN --kernels OLD NEW",
    .summary = "which kernel became faster, slower or wrong",
    .argp = &argp,
    .run = compare,
};
