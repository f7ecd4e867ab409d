/* attest report: a run, finished or not, as Markdown, CSV or JSON. */
#include "../report/report.h"
#include "../verb.h"
#include "../../fixtures/problem.h"
#include "../../oracle/regular.h"

#include <errno.h>
#include <string.h>

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
    if (options->form == FORM_CSV) {
        report_csv(to, run);
    } else if (options->form == FORM_JSON) {
        json_t *json = NULL;
        if (!report_json(&json, run, &report, fault)) return false;
        json_dumpf(json, to, JSON_INDENT(2));
        fputc('\n', to);
        json_decref(json);
    } else if (!report_markdown(to, run, &report, fault)) {
        return false;
    }
    if (fflush(to) != 0 || ferror(to))
        return fault_set(fault, FAULT_OURS, "cannot write the report: %s", strerror(errno));
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

static int report(int argc, char **argv) {
    struct options options = {.baseline = REPORT_BASELINE};
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    struct fault fault = {0};
    struct run run = {0};
    FILE *to = stdout;
    bool ok = run_read(&run, options.run, &fault) &&
              (options.output == NULL || may_replace(options.output, &fault));
    if (ok && options.output != NULL) {
        to = fopen(options.output, "w");
        if (to == NULL)
            ok = fault_set(&fault, FAULT_INPUT, "cannot write '%s': %s", options.output,
                           strerror(errno));
    }
    ok = ok && write_report(to, &run, &options, &fault);
    if (to != NULL && to != stdout) fclose(to);
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
