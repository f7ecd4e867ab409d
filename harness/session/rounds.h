/* Running what a session has gathered, on its devices. */
#ifndef ATTEST_ROUNDS_H
#define ATTEST_ROUNDS_H

#include "session.h"

/* Runs all rows, ends the run on disk and says how it went. False for what keeps the run from going
 * on; rows that did not pass, problems that cannot be had and processes that die are *exit_status.
 */
bool rounds_run(struct session *session, int *exit_status, struct fault *fault);

#endif
