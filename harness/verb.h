/* A verb of the program: one file each, listed in verb.c. --help, the man page and what a shell
 * completes are all made from what is here, so none can say what the others do not. */
#ifndef ATTEST_VERB_H
#define ATTEST_VERB_H

#include "../oracle/fault.h"

#include <argp.h>
#include <stdint.h>

struct verb {
    const char *name;
    const char *arguments;             /* "SUITE|LINE..." */
    const char *summary;               /* one line */
    const struct argp *argp;           /* options and long text; NULL for hidden verbs */
    int (*run)(int argc, char **argv); /* argv[0] is "attest VERB"; returns the exit status */
};

extern const struct verb verb_judge, verb_convert, verb_make, verb_run, verb_list, verb_oracle,
    verb_compare, verb_report, verb_merge, verb_fuzz, verb_selftest, verb_doctor, verb_probe,
    verb_inspect, verb_cache;
extern const struct verb *const verbs[]; /* in the order of --help; ends with NULL */

/* Every variable of the environment that the program reads, and kernels of this tree. */
struct variable {
    const char *name, *meaning; /* a line */
};
extern const struct variable variables[]; /* ends with name == NULL */

/* What `text` says as the argument of --`option`; a usage error, which ends the program, unless it
 * is a number, or a whole number, from least to most. */
double verb_number(const char *text, double least, double most, const char *option,
                   struct argp_state *state);
int64_t verb_count(const char *text, int64_t least, int64_t most, const char *option,
                   struct argp_state *state);
/* A share, as 1% or 0.01, likewise. */
double verb_share(const char *text, double most, const char *option, struct argp_state *state);
/* The most that --threads takes. */
enum { VERB_THREADS_MAX = 4096 };
/* The path of the attest executable: $ATTEST_PROGRAM, else /proc/self/exe. */
const char *verb_program(void);
/* Where suites, kernels and runs are: $ATTEST_SUITES, $ATTEST_KERNELS, $ATTEST_RUNS, else what the
 * build tree or the installation says. */
const char *verb_suites(void);
const char *verb_kernels(void);
const char *verb_runs(void);
/* Committed runs: $ATTEST_BASELINE, else the source tree's. */
const char *verb_baseline(void);
/* The kernels of `attest selftest`: $ATTEST_PLANTED, else likewise. */
const char *verb_planted(void);
/* The libraries that measure ceilings (probe_library.h): $ATTEST_PROBES, else likewise. */
const char *verb_probes(void);
/* Of kernels in Python: the interpreter, $ATTEST_PYTHON, else python3; the folder that the module
 * is in and the worker as a shared library, $ATTEST_MODULES and $ATTEST_WORKER, else likewise. */
const char *verb_python(void);
const char *verb_modules(void);
const char *verb_worker(void);

#endif
