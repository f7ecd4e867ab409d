/* A fixed piece of work that is timed beside each kernel: what it takes longer in one run than in
 * another is the machine's doing. On a CPU it is done here, by as many threads as the kernel has;
 * on a GPU by a library (probe_library.h). */
#ifndef ATTEST_CONTROL_H
#define ATTEST_CONTROL_H

#include "../../kernels/attn.h"

#include <stdbool.h>

/* Once; false where there is none for this device. `library` may be NULL. */
bool control_take(double *us, const struct attn_call *call, enum attn_device device,
                  const char *library);

#endif
