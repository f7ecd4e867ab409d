/* What the twin says of a launch beside its output: the work it counted, and the time that this
 * work takes at least on a 910B2 by the public rates of its parts, overlap assumed perfect. An
 * estimate, never a time: emulated, never run on a 910B2. A library that exports the symbol is
 * asked after every launch. C11 and C++. */
#ifndef ATTEST_ASCEND_ESTIMATE_H
#define ATTEST_ASCEND_ESTIMATE_H

#include "../attn.h"

#ifdef __cplusplus
extern "C" {
#endif

struct attest_estimate {
    double estimate_us;
    const char *text; /* what was counted; lives until the next launch; may be NULL */
};

/* Of the last launch. ATTN_PUBLIC struct attest_estimate attest_estimate; */
extern ATTN_VISIBLE struct attest_estimate attest_estimate;

#ifdef __cplusplus
}
#endif

#endif
