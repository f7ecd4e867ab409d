/* Many questions asked at once: of 1,000 rows of the same library ten have p below 1 %. The q value
 * of a row is the share of false ones to expect among all rows that are at least as striking as it
 * (Benjamini and Hochberg, 1995). */
#ifndef ATTEST_DISCOVERY_H
#define ATTEST_DISCOVERY_H

#include <stdbool.h>
#include <stdint.h>

/* q[n] of p[n]. Where p is NaN nothing was asked: q is NaN, and counts for none of the others.
 * False: out of memory, and q is 1 where p is not NaN. `q` may be `p`. */
bool discovery_rates(double *q, const double *p, int64_t count);

#endif
