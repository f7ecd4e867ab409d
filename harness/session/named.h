/* What a run was asked for by name: problems, kernels, devices. Nothing of a run begins before all
 * of it was read, is there, and is of use. */
#ifndef ATTEST_NAMED_H
#define ATTEST_NAMED_H

#include "session.h"

/* The problems, and the kernels and targets that are left of what there is; of a live run the
 * others, too, and which is whose. Files that were named are loaded once, and hidden from workers,
 * for they may hold answers. */
bool named_read(struct session *session, struct fault *fault);
/* Each kernel that was named is for one of the problems. */
bool named_are_of_use(const struct session *session, struct fault *fault);

#endif
