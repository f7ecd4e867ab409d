/* Arithmetic of vector calls on the 64 lanes of one repeat of 32-bit elements, as plain loops that
 * compilers turn into SIMD. Emulated; never run on a 910B2. */
#ifndef ATTEST_ASCEND_TWIN_LANES_H
#define ATTEST_ASCEND_TWIN_LANES_H

#include <stdint.h>

#include "machine.h"

namespace twin {

constexpr int lanes = 64;

/* One operand's lanes; 16-bit elements use the first 64 of `u16`. */
union lane_row {
    float f32[lanes];
    int32_t i32[lanes];
    uint32_t u32[lanes];
    uint16_t u16[2 * lanes];
};

/* dst = a op b; of calls with one source b is not read. */
using lane_function = void (*)(lane_row &dst, const lane_row &a, const lane_row &b);
lane_function lanes_of(twin_operation operation);

float half_to_float(uint16_t bits);
uint16_t float_to_half(float value); /* to nearest even, overflow to infinity */
float bfloat16_to_float(uint16_t bits);
uint16_t float_to_bfloat16(float value);

/* Neighbours first, then neighbours of those. */
float tree_sum(const float *x, int n);

} // namespace twin

#endif
