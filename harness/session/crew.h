/* Processes that work side by side on what they share: forked from this one, which waits for them
 * and outlives them. A process and not a thread each, so that one that dies takes with it only what
 * it had at hand. A child has none of its parent's threads, and a BLAS on OpenMP would wait for
 * them for ever: who starts crews leaves to them, be it to a crew of one, all that works with
 * threads. */
#ifndef ATTEST_CREW_H
#define ATTEST_CREW_H

#include "../../oracle/fault.h"

#include <pthread.h>
#include <stddef.h>

/* Zeroed memory that processes forked from now on share; NULL when there is none. */
void *crew_memory(size_t bytes);
void crew_release(void *memory, size_t bytes);

/* A lock in shared memory. Its holder's death releases it: what it guards must be such that being
 * left in the middle of a change does no harm. */
struct crew_lock {
    pthread_mutex_t mutex;
};
bool crew_lock_make(struct crew_lock *lock, struct fault *fault);
void crew_lock(struct crew_lock *lock);
void crew_unlock(struct crew_lock *lock);

struct crew_task {
    int (*work)(void *context, int member); /* in the member's process; returns its exit status */
    /* Here, of a member that did not live to return: "SIGSEGV", "cannot be started: ...". Returns
     * whether to start another in its place; there must be an end to that. */
    bool (*lost)(void *context, int member, const char *how);
    void *context;
};
enum { CREW_MAX = 64 };
/* Runs work(context, 0), ..., work(context, count - 1) at once; returns the worst exit status when
 * all have ended. A member that is lost for good counts as FAULT_OURS. What members and their
 * workers leave behind is ended; one that somebody stops goes on. */
int crew_run(const struct crew_task *task, int count);
/* Ends the crew that runs now, workers (client.h) of its members and what these left behind
 * included, and waits until it is gone, not for ever. For a signal handler that then ends the
 * program; members themselves heed only SIGTERM. */
void crew_stop(void);

#endif
