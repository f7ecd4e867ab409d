/* attest report: a run, finished or not, as Markdown, CSV or JSON. */
#include "../report/print.h"
#include "../report/report.h"
#include "../report/row_set.h"
#include "../verb.h"
#include "../../fixtures/problem.h"
#include "../../fixtures/replace.h"
#include "../../oracle/regular.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum { OPTION_CSV = 256, OPTION_MARKDOWN, OPTION_JSON, OPTION_BASELINE };
enum form { FORM_MARKDOWN, FORM_CSV, FORM_JSON };

struct options {
    enum form form;
    const char *baseline, *output, *run;
};

static const struct argp_option argp_options[] = {
    {"markdown", OPTION_MARKDOWN, NULL, 0, "a summary to read (the default)", 0},
    {"csv", OPTION_CSV, NULL, 0, "every field of every row", 0},
    {"json", OPTION_JSON, NULL, 0, "the machine, counts and rows as one object", 0},
    {"baseline", OPTION_BASELINE, "GLOB[,GLOB...]", 0,
     "the kernels that speed-ups are over, on the same problem of the same run "
     "(default " REPORT_BASELINE ")",
     0},
    {"output", 'o', "FILE", 0, "write there instead of to standard output", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case OPTION_CSV:
        options->form = FORM_CSV;
        return 0;
    case OPTION_MARKDOWN:
        options->form = FORM_MARKDOWN;
        return 0;
    case OPTION_JSON:
        options->form = FORM_JSON;
        return 0;
    case OPTION_BASELINE:
        options->baseline = argument;
        return 0;
    case 'o':
        options->output = argument;
        return 0;
    case ARGP_KEY_ARG:
        if (options->run != NULL) argp_error(state, "one run at a time: '%s'", argument);
        options->run = argument;
        return 0;
    case ARGP_KEY_END:
        if (options->run == NULL) argp_error(state, "a run is missing");
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

static bool write_report(FILE *to, const struct run *run, const struct options *options,
                         struct fault *fault) {
    const struct report_options report = {.name = options->run, .baseline = options->baseline};
    if (options->form == FORM_MARKDOWN) return report_markdown(to, run, &report, fault);
    json_t *json = NULL;
    if (options->form == FORM_CSV)
        report_csv(to, run);
    else if (report_json(&json, run, &report, fault))
        print_json(to, json, JSON_INDENT(2));
    else
        return false;
    return true;
}

/* A report is never written over what attest reads: a run, this one or another, a fixture or the
 * samples of a run, a suite. */
static bool may_replace(const char *path, struct fault *fault) {
    static const unsigned char hdf5[] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    unsigned char begin[sizeof hdf5] = {0};
    const char *is = NULL;
    struct run run;
    struct suite suite;
    struct fault none;
    FILE *file = regular_open(path);
    if (file == NULL) return true;
    if (fread(begin, 1, sizeof begin, file) == sizeof begin && !memcmp(begin, hdf5, sizeof hdf5))
        is = "an HDF5 file";
    fclose(file);
    if (is == NULL && run_read(&run, path, &none)) {
        is = "a run";
        run_free(&run);
    }
    if (is == NULL && strchr(path, '.') != NULL && suite_read(&suite, "", path, &none)) {
        if (suite.count > 0) is = "a suite";
        suite_free(&suite);
    }
    return is == NULL ||
           fault_set(fault, FAULT_INPUT, "'%.900s' is %s, expected a file to write a report to",
                     path, is);
}

/* A baseline that was named has rows in the run; of the default that is not asked. */
static bool check_baseline(const struct run *run, const struct options *options,
                           struct fault *fault) {
    const char *at = options->baseline;
    if (strcmp(at, REPORT_BASELINE) == 0) return true;
    for (char glob[128]; *at != '\0'; at += *at == ',') {
        snprintf(glob, sizeof glob, "%.*s", (int)strcspn(at, ","), at);
        if (!run_has_kernel(run, options->run, glob, fault)) return false;
        at += strcspn(at, ",");
    }
    return true;
}

/* Takes `path`, which is open for writing as `to`. */
static bool write_to(FILE *to, const char *path, const struct run *run,
                     const struct options *options, struct fault *fault) {
    if (to == NULL)
        return fault_set(fault, FAULT_INPUT, "cannot write '%.900s': %s", path, strerror(errno));
    const bool made = write_report(to, run, options, fault);
    const bool failed = fflush(to) != 0;
    const int error = errno;
    const bool closed = fclose(to) == 0;
    if (made && (failed || !closed))
        return fault_set(fault, FAULT_INPUT, "cannot write '%.900s': %s", path,
                         strerror(failed ? error : errno));
    return made;
}

/* A file appears whole or not at all; a pipe or a device is written to. */
static bool write_file(const struct run *run, const struct options *options, struct fault *fault) {
    const char *path = options->output;
    struct stat status;
    if (stat(path, &status) == 0 && !S_ISREG(status.st_mode))
        return write_to(fopen(path, "we"), path, run, options, fault);
    struct replace replace;
    const bool well = replace_begin(&replace, path, fault) &&
                      write_to(fopen(replace.temporary, "we"), path, run, options, fault) &&
                      replace_commit(&replace, fault);
    replace_abort(&replace);
    if (!well) fault->code = FAULT_INPUT; /* the user's folder or disk */
    return well;
}

static int report(int argc, char **argv) {
    struct options options = {.baseline = REPORT_BASELINE};
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    struct fault fault = {0};
    struct run run = {0};
    const bool ok = run_read(&run, options.run, &fault) && check_baseline(&run, &options, &fault) &&
                    (options.output == NULL || may_replace(options.output, &fault)) &&
                    (options.output != NULL ? write_file(&run, &options, &fault)
                                            : write_report(stdout, &run, &options, &fault));
    run_free(&run);
    return ok ? 0 : fault_tell(&fault);
}

const struct verb verb_report = {
    .name = "report",
    .arguments = "RUN",
    .summary = "a run as Markdown, CSV or JSON",
    .argp = &argp,
    .run = report,
};
