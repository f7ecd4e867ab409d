/* attest report: a run, finished or not, for people and for programs. */
#include "../report/destination.h"
#include "../report/export.h"
#include "../report/report.h"
#include "../report/summary.h"
#include "../verb.h"

#include <string.h>

enum {
    OPTION_CSV = 256,
    OPTION_MARKDOWN,
    OPTION_JSON,
    OPTION_SUMMARY,
    OPTION_JUNIT,
    OPTION_BASELINE
};
enum form { FORM_MARKDOWN, FORM_CSV, FORM_JSON, FORM_SUMMARY };

struct options {
    enum form form;
    bool form_given;
    const char *baseline, *output, *junit, *run;
};

static const struct argp_option argp_options[] = {
    {"markdown", OPTION_MARKDOWN, NULL, 0, "all of it, to read (the default)", 0},
    {"csv", OPTION_CSV, NULL, 0, "every field of every row", 0},
    {"json", OPTION_JSON, NULL, 0, "the machine, counts and rows as one object", 0},
    {"summary", OPTION_SUMMARY, NULL, 0,
     "what matters most in 60 kB of Markdown, as a comment on a pull request takes it", 0},
    {"junit", OPTION_JUNIT, "FILE", 0,
     "write that, JUnit's XML, and of the other forms those that are asked for: a row that failed "
     "is a failure, one that was refused is skipped",
     0},
    {"baseline", OPTION_BASELINE, "GLOB[,GLOB...]", 0,
     "the kernels that speed-ups are over, on the same problem of the same run "
     "(default " REPORT_BASELINE ")",
     0},
    {"output", 'o', "FILE", 0, "write there instead of to standard output", 0},
    {0},
};

static void choose_form(struct options *options, enum form form, struct argp_state *state) {
    if (options->form_given && options->form != form)
        argp_error(
            state,
            "--csv, --json, --summary and --markdown are one form each, expected one of them");
    options->form = form;
    options->form_given = true;
}

/* The second of two would be the first's end. */
static void take_once(const char **value, const char *text, const char *option,
                      struct argp_state *state) {
    if (*text == '\0') argp_error(state, "--%s is empty", option);
    if (*value != NULL && strcmp(*value, text) != 0)
        argp_error(state, "--%s is '%s' already, not '%s' too", option, *value, text);
    *value = text;
}

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case OPTION_CSV:
        choose_form(options, FORM_CSV, state);
        return 0;
    case OPTION_MARKDOWN:
        choose_form(options, FORM_MARKDOWN, state);
        return 0;
    case OPTION_JSON:
        choose_form(options, FORM_JSON, state);
        return 0;
    case OPTION_SUMMARY:
        choose_form(options, FORM_SUMMARY, state);
        return 0;
    case OPTION_JUNIT:
        take_once(&options->junit, argument, "junit", state);
        return 0;
    case OPTION_BASELINE:
        take_once(&options->baseline, argument, "baseline", state);
        return 0;
    case 'o':
        take_once(&options->output, argument, "output", state);
        return 0;
    case ARGP_KEY_ARG:
        if (options->run != NULL) argp_error(state, "one run at a time: '%s'", argument);
        options->run = argument;
        return 0;
    case ARGP_KEY_END:
        if (options->run == NULL) argp_error(state, "a run is missing");
        if (options->baseline == NULL) options->baseline = REPORT_BASELINE;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .args_doc = "RUN",
    .doc = "Reports a run: its folder or its run.jsonl. A run that was killed is reported as far "
           "as it came.",
};

struct writing {
    struct row_index index;
    const struct options *options;
};

static bool write_junit(FILE *to, void *context, struct fault *fault) {
    struct writing *writing = context;
    return export_junit(to, &writing->index, fault);
}

static bool write_report(FILE *to, void *context, struct fault *fault) {
    struct writing *writing = context;
    struct row_index *index = &writing->index;
    const struct options *options = writing->options;
    const struct report_options report = {.name = options->run, .baseline = options->baseline};
    switch (options->form) {
    case FORM_CSV:
        return export_csv(to, index, fault);
    case FORM_JSON:
        return export_json(to, index, options->baseline, fault);
    case FORM_SUMMARY:
        return summary_of_run(to, index, &report, fault);
    default:
        return report_markdown(to, index, &report, fault);
    }
}

/* A baseline that was named has rows in the run; of the default that is not asked. */
static bool check_baseline(const struct row_index *index, const struct options *options,
                           struct fault *fault) {
    const char *at = options->baseline;
    if (strcmp(at, REPORT_BASELINE) == 0) return true;
    for (char glob[128]; *at != '\0'; at += *at == ',') {
        snprintf(glob, sizeof glob, "%.*s", (int)strcspn(at, ","), at);
        if (!row_index_has_kernel(index, options->run, glob, fault)) return false;
        at += strcspn(at, ",");
    }
    return true;
}

/* Nothing is written before all of it may be. */
static bool write_all(struct writing *writing, struct fault *fault) {
    const struct options *options = writing->options;
    const char *output = options->output, *junit = options->junit;
    if ((output != NULL && !destination_check(output, fault)) ||
        (junit != NULL && !destination_check(junit, fault)) ||
        (junit != NULL && !destination_write(junit, write_junit, writing, fault)))
        return false;
    if (output != NULL) return destination_write(output, write_report, writing, fault);
    return (junit != NULL && !options->form_given) || write_report(stdout, writing, fault);
}

static int report(int argc, char **argv) {
    struct options options = {.form = FORM_MARKDOWN};
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    struct fault fault = {0};
    struct writing writing = {.options = &options};
    const bool ok = row_index_make(&writing.index, options.run, options.baseline, &fault) &&
                    check_baseline(&writing.index, &options, &fault) && write_all(&writing, &fault);
    row_index_free(&writing.index);
    return ok ? 0 : fault_tell(&fault);
}

const struct verb verb_report = {
    .name = "report",
    .arguments = "RUN",
    .summary = "a run as Markdown, CSV, JSON or JUnit's XML",
    .argp = &argp,
    .run = report,
};
