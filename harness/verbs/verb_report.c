/* attest report: a run, finished or not, as Markdown, CSV or JSON. */
#define _GNU_SOURCE
#include "../report/export.h"
#include "../report/report.h"
#include "../verb.h"
#include "../../fixtures/problem.h"
#include "../../fixtures/replace.h"
#include "../../oracle/regular.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPTION_CSV = 256, OPTION_MARKDOWN, OPTION_JSON, OPTION_BASELINE };
enum form { FORM_MARKDOWN, FORM_CSV, FORM_JSON };

struct options {
    enum form form;
    bool form_given;
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

static void choose_form(struct options *options, enum form form, struct argp_state *state) {
    if (options->form_given && options->form != form)
        argp_error(state, "--csv, --json and --markdown are one form each, expected one of them");
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

static bool write_report(FILE *to, struct row_index *index, const struct options *options,
                         struct fault *fault) {
    const struct report_options report = {.name = options->run, .baseline = options->baseline};
    switch (options->form) {
    case FORM_CSV:
        return export_csv(to, index, fault);
    case FORM_JSON:
        return export_json(to, index, options->baseline, fault);
    default:
        return report_markdown(to, index, &report, fault);
    }
}

/* A name that the run in the same folder uses, or will. */
static bool is_of_a_run(const char *path) {
    static const char *const names[] = {"run.jsonl", "samples.h5", "samples", "at-hand"};
    char folder[4096], run[4200];
    struct stat status;
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    bool is = false;
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) is = is || !strcmp(name, names[n]);
    snprintf(folder, sizeof folder, "%.*s", slash != NULL ? (int)(name - path) : 2,
             slash != NULL ? path : "./");
    snprintf(run, sizeof run, "%srun.jsonl", folder);
    return is && stat(run, &status) == 0;
}

/* A report is never written over what attest reads, or has open: a run, this one or another, a
 * fixture or the samples of a run, a suite, a kernel. */
static bool may_replace(const char *path, struct fault *fault) {
    static const unsigned char hdf5[] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    static const unsigned char elf[] = {0x7f, 'E', 'L', 'F'};
    unsigned char begin[sizeof hdf5] = {0};
    const char *is = NULL;
    char *target = realpath(path, NULL); /* a link is followed */
    const bool taken = is_of_a_run(target != NULL ? target : path);
    free(target);
    if (taken)
        return fault_set(fault, FAULT_INPUT,
                         "'%.900s' is the name of a run's own file, expected another", path);
    struct run_reader run;
    struct suite suite;
    struct fault none;
    FILE *file = regular_open(path);
    if (file == NULL) return true;
    if (fread(begin, 1, sizeof begin, file) == sizeof begin && !memcmp(begin, hdf5, sizeof hdf5))
        is = "an HDF5 file";
    else if (!memcmp(begin, elf, sizeof elf))
        is = "a library or a program";
    fclose(file);
    if (is == NULL && run_open(&run, path, &none)) {
        is = "a run";
        run_close(&run);
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

/* Takes `path`, which is open for writing as `to`. */
static bool write_to(FILE *to, const char *path, struct row_index *index,
                     const struct options *options, struct fault *fault) {
    if (to == NULL)
        return fault_set(fault, FAULT_INPUT, "cannot write '%.900s': %s", path, strerror(errno));
    const bool made = write_report(to, index, options, fault);
    const bool failed = fflush(to) != 0;
    const int error = errno;
    const bool closed = fclose(to) == 0;
    if (made && (failed || !closed))
        return fault_set(fault, FAULT_INPUT, "cannot write '%.900s': %s", path,
                         strerror(failed ? error : errno));
    return made;
}

/* Opening a pipe would wait for its reader. */
static FILE *open_special(const char *path) {
    const int file = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file >= 0 && fcntl(file, F_SETFL, 0) == 0) return fdopen(file, "w");
    if (file >= 0) close(file);
    return NULL;
}

/* A file appears whole or not at all; a pipe or a device is written to. */
static bool write_file(struct row_index *index, const struct options *options,
                       struct fault *fault) {
    const char *path = options->output;
    struct stat status;
    if (stat(path, &status) == 0 && !S_ISREG(status.st_mode)) {
        FILE *to = open_special(path);
        if (to == NULL && errno == ENXIO)
            return fault_set(fault, FAULT_INPUT, "cannot write '%.900s': nobody reads it", path);
        return write_to(to, path, index, options, fault);
    }
    struct replace replace;
    const bool well = replace_begin(&replace, path, fault) &&
                      write_to(fopen(replace.temporary, "we"), path, index, options, fault) &&
                      replace_commit(&replace, fault);
    replace_abort(&replace);
    if (!well) fault->code = FAULT_INPUT; /* the user's folder or disk */
    return well;
}

static int report(int argc, char **argv) {
    struct options options = {.form = FORM_MARKDOWN};
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    struct fault fault = {0};
    struct row_index index = {0};
    const bool ok = row_index_make(&index, options.run, options.baseline, &fault) &&
                    check_baseline(&index, &options, &fault) &&
                    (options.output == NULL || may_replace(options.output, &fault)) &&
                    (options.output != NULL ? write_file(&index, &options, &fault)
                                            : write_report(stdout, &index, &options, &fault));
    row_index_free(&index);
    return ok ? 0 : fault_tell(&fault);
}

const struct verb verb_report = {
    .name = "report",
    .arguments = "RUN",
    .summary = "a run as Markdown, CSV or JSON",
    .argp = &argp,
    .run = report,
};
