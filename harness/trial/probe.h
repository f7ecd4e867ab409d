/* The machine's ceilings, measured: what a kernel could reach, so that its rates can be read as
 * shares of something, and so that a rate no machine like this has is noticed. */
#ifndef ATTEST_PROBE_H
#define ATTEST_PROBE_H

#include "../record/record.h"

/* Fills dgemm_flops, sgemm_flops, fma_flops, read_bytes_s and copy_bytes_s, on `threads` threads
 * (0: all cores), spending about `seconds` in all. */
void probe_measure(struct machine *machine, int threads, double seconds);

#endif
