/* The cube's arithmetic: f32 sums of products of 16-bit numbers. */
#ifndef ATTEST_ASCEND_TWIN_PRODUCT_H
#define ATTEST_ASCEND_TWIN_PRODUCT_H

#include <stdint.h>

namespace twin {

/* c [m][n] += a [m][k] b [k][n], all f32 and dense, n a multiple of 16; each sum in the order of k.
 * Products of 16-bit numbers are exact in f32, so that a fused and a plain multiply-add agree. */
void product_add(float *c, const float *a, const float *b, int64_t m, int64_t k, int64_t n);

} // namespace twin

#endif
