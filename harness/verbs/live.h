/* attest compare --live: two kernels, or two sets of them, run beside each other now. */
#ifndef ATTEST_LIVE_H
#define ATTEST_LIVE_H

#include "ask.h"
#include "../report/compare.h"

/* How a comparison is shown: in columns where none of these is asked for; pages are besides. */
struct forms {
    bool json, markdown, summary;
    const char *html;
};
/* All but JSON. The names are those of what is compared. */
bool forms_show(const struct forms *forms, const struct comparison *comparison,
                const char *const names[2], struct fault *fault);

struct live_options {
    struct session_options session;
    struct texts names; /* OLD and NEW */
    double least;
    struct forms forms;
};

/* Runs, prints the comparison, and returns the exit status; `argv` is the command. */
int live_compare(struct live_options *options, int argc, char **argv);
/* The same of a run that is there. A summary and pages are of one timing, the warm one unless
 * options->cold; the exit status is of both. */
int live_print(const struct run *run, const char *name, const struct compare_options *options,
               const struct forms *forms);

#endif
