/* How much of what a program can use this host has, as far as that is to be read off it: for those
 * who size threads, buffers and problems by it. What a run keeps of the machine is machine.h's. */
#ifndef ATTEST_HOST_H
#define ATTEST_HOST_H

#include <stdint.h>

/* Cores this process may run on. */
int host_cores(void);
/* All last-level caches together; 32 MiB where the kernel does not tell. */
int64_t host_cache_bytes(void);
/* Memory that is installed; -1 if the kernel does not tell. */
int64_t host_memory_bytes(void);
/* What could still be allocated without swapping, within this process' control group. */
int64_t host_memory_free(void);

#endif
