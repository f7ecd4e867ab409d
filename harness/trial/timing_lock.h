/* One at a time: whoever times on an accelerator of this host, in this run or in another that has
 * the same cache, holds this lock meanwhile. What several GPUs share -- processors, memory, PCIe,
 * power -- is then one kernel's while it is timed, but for what others do to judge: oracle, copies,
 * launches that are checked. It is a lock on a byte of a file in the cache's folder, where no
 * kernel reaches, and each boot of each host has a byte of its own: a folder may be shared by
 * hosts, and by containers of one. Whose process ends, however it does, holds it no more. */
#ifndef ATTEST_TIMING_LOCK_H
#define ATTEST_TIMING_LOCK_H

#include "../../oracle/fault.h"

struct timing_lock {
    int file; /* -1: none, and nobody is waited for */
    char path[4096];
};

/* FAULT_INPUT where there is no such file to be had, or locks do not work there. A process opens it
 * once at a time, and not what it forked from: closing one loses the lock of all. */
bool timing_lock_open(struct timing_lock *lock, struct fault *fault);
/* Waits for its turn; returns the seconds that took. Says who is waited for once it is a minute. Of
 * NULL, as the next two, nothing. */
double timing_lock_take(const struct timing_lock *lock);
void timing_lock_release(const struct timing_lock *lock);
void timing_lock_close(struct timing_lock *lock);

#endif
