/* A file that a report is written to: it appears whole or not at all, and never in the place of
 * what attest reads. A pipe or a device is written to. */
#ifndef ATTEST_DESTINATION_H
#define ATTEST_DESTINATION_H

#include "../../oracle/fault.h"

#include <stdio.h>

/* Whether a report may be written to `path`, and can be; FAULT_INPUT: it is a run's own file, or a
 * run, a fixture, samples, a suite, a kernel; or its folder is not there. */
bool destination_check(const char *path, struct fault *fault);
/* Has `write` write it. */
bool destination_write(const char *path,
                       bool (*write)(FILE *to, void *context, struct fault *fault), void *context,
                       struct fault *fault);

#endif
