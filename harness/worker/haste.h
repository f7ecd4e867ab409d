/* For tests that are not about time: what is done only for its sake -- emptying the caches before a
 * cold launch, reading memory for a ceiling, a GPU's rest and settling -- is done a number of times
 * less. Times taken so are no times; a run's first record says that they were (`haste`). */
#ifndef ATTEST_HASTE_H
#define ATTEST_HASTE_H

#include <stdint.h>

/* $ATTEST_HASTE, a whole number from 2 to 1000; else, and in every build without tests, 1. */
int64_t haste(void);

#endif
