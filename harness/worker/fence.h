/* What a kernel may not do to the processes around its own. */
#ifndef ATTEST_FENCE_H
#define ATTEST_FENCE_H

#include <sys/types.h>

/* From now on, and for all threads and descendants, it ends this process with SIGSYS to send a
 * signal to one of the `keepers`, to their process groups or to all there are, to trace a keeper or
 * to write to its memory. Costs no other call anything. Where the system has no such filters, there
 * is no fence. */
enum { FENCE_KEEPERS = 2 };
void fence_raise(const pid_t keepers[FENCE_KEEPERS]);

#endif
