/* What a call of a kernel moved and computed, and the time that a 910B2 needs for it at the very
 * least. Emulated; never run on a 910B2: an estimate, never a time. */
#ifndef ATTEST_ASCEND_TWIN_COUNT_H
#define ATTEST_ASCEND_TWIN_COUNT_H

#include <stddef.h>
#include <stdint.h>

#include "../estimate.h"

/* attest_estimate (estimate.h) is written after each launch, over all launches since
 * asc_host_begin. */
namespace twin {

enum path { gm_ub, ub_gm, gm_l1, l1_l0a, l1_l0b, l0c_gm, ub_ub, paths };

/* Of one core, or of a launch. */
struct counts {
    uint64_t bytes[paths];
    uint64_t macs_f16, macs_bf16;
    uint64_t vector_repeats;
    uint64_t instructions[8]; /* by pipe */
    uint64_t notifies, barriers, arrivals;
};

/* Adds `from` to `to`. */
void counts_add(counts &to, const counts &from);

/* The slowest datapath of a core, in us. */
double counts_core_us(const counts &core);

/* Begins, then adds a launch: its cores' counts, and the bytes of global memory that it moved at
 * least once. */
void estimate_begin();
void estimate_add(const char *kernel, int blocks, const counts *cores, int n, double hbm_bytes);

/* Since asc_host_begin, all cores together. */
const counts &estimate_total();

} // namespace twin

#endif
