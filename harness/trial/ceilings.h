/* What a machine can reach where it was not measured in this run: what was measured here before,
 * which is kept in the cache's folder, a small file for the CPU and one for each name of a GPU;
 * else what the maker says; of a CPU else a bound that none keeps. So that a row that is faster
 * than its machine is noticed whatever else was asked for. */
#ifndef ATTEST_CEILINGS_H
#define ATTEST_CEILINGS_H

#include "../record/record.h"

/* Keeps what was measured, and fills in what was not from what was kept; says in `ceilings` of the
 * machine and of its devices which it is, "measured" or "kept". `threads`: that the CPU was
 * measured with, 0: all cores. What cannot be written or read is done without. */
void ceilings_settle(struct machine *machine, int threads);

/* Operations and bytes a second; 0: not known. */
struct ceilings {
    double flops, bytes_s;
};
/* 16-bit products with sums in f32, dense, and reading memory, by the data sheet of the device that
 * the driver calls so. */
struct ceilings ceilings_of_sheet(const char *name);
/* f32 multiply-adds, and reading memory, that no CPU of so many cores and such instructions has. */
struct ceilings ceilings_bound(int64_t cores, const char *isa);

#endif
