/* The accelerators of this machine, as workers see them: the parent never opens a driver. */
#ifndef ATTEST_DEVICES_H
#define ATTEST_DEVICES_H

#include "../record/record.h"

/* Those of one kind, identified (device, index, name, driver, sizes), ceilings unknown; *count is 0
 * without a driver. `devices` has room for MACHINE_DEVICES_MAX. */
bool devices_find(enum attn_device kind, struct machine_device *devices, int64_t *count,
                  const char *program, struct fault *fault);
/* Measures one's ceilings in about `seconds`, with the library for its kind in the folder `probes`
 * (probe_library.h); where there is none they stay 0. */
bool devices_probe(struct machine_device *device, const char *program, const char *probes,
                   double seconds, struct fault *fault);

#endif
