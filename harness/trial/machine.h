/* What there is to know about the machine that a program can read off it (record.h says what a run
 * keeps of that); its ceilings are measured, in probe.h. */
#ifndef ATTEST_MACHINE_H
#define ATTEST_MACHINE_H

#include "../record/record.h"

/* Cores this process may run on. */
int machine_cores(void);
/* All last-level caches together; 32 MiB where the kernel does not tell. */
int64_t machine_cache_bytes(void);
/* What could still be allocated without swapping, within this process' control group. */
int64_t machine_memory_free(void);

#endif
