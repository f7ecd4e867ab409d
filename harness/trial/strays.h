/* Processes that a kernel leaves behind. A worker's descendants that lose their parent become
 * children of this process (PR_SET_CHILD_SUBREAPER), whatever session or group they moved to; a
 * child that nobody here started is one of them, and is ended. It works unprivileged and in
 * containers; it does not see what a kernel has others start (a service manager, a container's
 * daemon). */
#ifndef ATTEST_STRAYS_H
#define ATTEST_STRAYS_H

#include <stdbool.h>
#include <sys/types.h>

/* Orphans come to this process from now on. Children that it has already, as one that was exec'd by
 * a shell with jobs may, are left alone. After a fork, the child says so for itself. */
void strays_adopt(void);
/* A child of ours, until strays_drop. */
void strays_keep(pid_t child);
void strays_drop(pid_t child);
/* Ends all that are not kept, and those that they leave in turn; waits for them for a few seconds
 * at most. Safe in a signal handler. */
void strays_end(void);
/* Whether `process` has children. */
bool strays_has_children(pid_t process);

#endif
