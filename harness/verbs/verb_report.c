/* attest report: a run, finished or not, for people and for programs. */
#include "../report/destination.h"
#include "../report/export.h"
#include "../report/pages.h"
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
    OPTION_BASELINE,
    OPTION_HTML,
    OPTION_HISTORY
};
enum form { FORM_MARKDOWN, FORM_CSV, FORM_JSON, FORM_SUMMARY };
enum { RUNS_MAX = 1024 };

struct options {
    enum form form;
    bool form_given, history;
    const char *baseline, *output, *junit, *html, *run;
    const char *runs[RUNS_MAX]; /* the first is `run` */
    int64_t run_count;
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
    {"html", OPTION_HTML, "DIR", 0,
     "write that, pages with pictures (by gnuplot) in a new folder or in place of a report, and of "
     "the other forms those that are asked for",
     0},
    {"history", OPTION_HISTORY, NULL, 0,
     "with --html: kernels over several runs; RUN may be a folder of runs", 0},
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
    case OPTION_HTML:
        take_once(&options->html, argument, "html", state);
        return 0;
    case OPTION_HISTORY:
        options->history = true;
        return 0;
    case OPTION_BASELINE:
        take_once(&options->baseline, argument, "baseline", state);
        return 0;
    case 'o':
        take_once(&options->output, argument, "output", state);
        return 0;
    case ARGP_KEY_ARG:
        if (options->run_count == RUNS_MAX) argp_error(state, "%d runs at most", RUNS_MAX);
        options->runs[options->run_count++] = argument;
        options->run = options->runs[0];
        return 0;
    case ARGP_KEY_END:
        if (options->run == NULL) argp_error(state, "a run is missing");
        if (options->run_count > 1 && !options->history)
            argp_error(state, "one run at a time: '%s'; more with --history", options->runs[1]);
        if (options->history && options->html == NULL)
            argp_error(state, "--history goes with --html DIR");
        if (options->history &&
            (options->form_given || options->output != NULL || options->junit != NULL))
            argp_error(state, "--history is told by --html alone");
        if (options->baseline == NULL) options->baseline = REPORT_BASELINE;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .args_doc = "RUN\nRUN... --history",
    .doc = "Reports a run: its folder or its run.jsonl. A run that was killed is reported as far "
           "as it came. --html writes a folder of pages, index.html the first, that need nothing "
           "but themselves; without gnuplot (Debian package gnuplot-nox) they have no pictures.",
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

/* A baseline that was named has rows in the run, of which one of the two is given; of the default
 * that is not asked. */
static bool check_baseline(const struct row_index *index, const struct run *run,
                           const struct options *options, struct fault *fault) {
    const char *at = options->baseline;
    if (strcmp(at, REPORT_BASELINE) == 0) return true;
    for (char glob[128]; *at != '\0'; at += *at == ',') {
        snprintf(glob, sizeof glob, "%.*s", (int)strcspn(at, ","), at);
        if (!(run != NULL ? run_has_kernel(run, options->run, glob, fault)
                          : row_index_has_kernel(index, options->run, glob, fault)))
            return false;
        at += strcspn(at, ",");
    }
    return true;
}

/* Of a run as a whole: pages look at its rows many times. */
static bool write_pages(const struct options *options, struct fault *fault) {
    struct run run;
    const struct report_options report = {.name = options->run, .baseline = options->baseline};
    if (!run_read(&run, options->run, fault)) return false;
    const bool written = check_baseline(NULL, &run, options, fault) &&
                         pages_run(options->html, &run, &report, fault);
    run_free(&run);
    return written;
}

static bool write_forms(struct writing *writing, struct fault *fault) {
    const struct options *options = writing->options;
    const char *output = options->output, *junit = options->junit;
    if (junit != NULL && !destination_write(junit, write_junit, writing, fault)) return false;
    if (output != NULL) return destination_write(output, write_report, writing, fault);
    return (junit != NULL && !options->form_given) || write_report(stdout, writing, fault);
}

static bool write_all(const struct options *options, struct fault *fault) {
    struct writing writing = {.options = options};
    if (options->history)
        return pages_history(options->html, options->runs, options->run_count, fault);
    /* Nothing is written before all of it may be. */
    if ((options->output != NULL && !destination_check(options->output, fault)) ||
        (options->junit != NULL && !destination_check(options->junit, fault)) ||
        (options->html != NULL && !write_pages(options, fault)))
        return false;
    if (options->html != NULL && !options->form_given && options->output == NULL &&
        options->junit == NULL)
        return true;
    const bool ok = row_index_make(&writing.index, options->run, options->baseline, fault) &&
                    check_baseline(&writing.index, NULL, options, fault) &&
                    write_forms(&writing, fault);
    row_index_free(&writing.index);
    return ok;
}

static int report(int argc, char **argv) {
    struct options options = {.form = FORM_MARKDOWN};
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    struct fault fault = {0};
    return write_all(&options, &fault) ? 0 : fault_tell(&fault);
}

const struct verb verb_report = {
    .name = "report",
    .arguments = "RUN | RUN... --history",
    .summary = "a run as Markdown, CSV, JSON, HTML or JUnit's XML",
    .argp = &argp,
    .run = report,
};
