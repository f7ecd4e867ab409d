/* Running workers under compute-sanitizer, and what it found as a row's status. A worker serves
 * many rows; the findings of one are the lines that the sanitizer's log has gained by its end. */
#ifndef ATTEST_SANITIZER_H
#define ATTEST_SANITIZER_H

#include "../judge/judge.h"
#include "../../oracle/fault.h"

struct sanitizer {
    char tool[16];
    char log[4096];
    int lock;  /* the log, open and locked (flock) while this process has it */
    long seen; /* bytes of the log */
    const char *command[16];
};

/* "memcheck, racecheck, initcheck, synccheck" */
extern const char sanitizer_tools[];
/* False, with a fault, when the tool is unknown or the program is not installed. Makes the log, a
 * temporary file. */
bool sanitizer_open(struct sanitizer *sanitizer, const char *tool, struct fault *fault);
/* Removes the log. Harmless on what was not opened. */
void sanitizer_close(struct sanitizer *sanitizer);
/* What the log has gained: STATUS_PASS when nothing, else the status of the gravest finding and in
 * `reason` the sanitizer's own words for it, with kernel and source line as far as known. */
enum status sanitizer_look(struct sanitizer *sanitizer, char reason[256]);

#endif
