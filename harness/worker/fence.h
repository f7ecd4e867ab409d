/* What a kernel may not do to the processes around its own. */
#ifndef ATTEST_FENCE_H
#define ATTEST_FENCE_H

#include <stdbool.h>
#include <sys/types.h>

/* From now on, and for all threads and descendants, it ends this process with SIGSYS to send a
 * signal to one of the `keepers`, to their process groups or to all there are, to trace a keeper or
 * to read or write its memory. Costs no other call anything. Where the system has no such filters,
 * there is no fence. */
enum { FENCE_KEEPERS = 2 };
void fence_raise(const pid_t keepers[FENCE_KEEPERS]);

/* Whether this thread's next fault of memory ends the process, whatever handlers there are: so
 * after a launch, when what it left is looked at, and a handler could yet make it. On and off take
 * 0.7 us (EPYC, Zen 5). */
void fence_faults(bool deadly);

#endif
