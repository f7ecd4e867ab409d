/* What a person meant who wrote a name that is not known: for "did you mean 'causal'?". */
#ifndef ATTEST_NEAREST_H
#define ATTEST_NEAREST_H

#include <stdbool.h>
#include <stddef.h>

/* The one of `names` that `word` is likely a slip of, NULL if none is near; one of the pointers
 * given, of several as near the first. A name is near if at most two insertions, deletions,
 * substitutions or swaps of neighbours lie between them -- a quarter of its letters where that is
 * more -- and at least half of it is right. Failing that, it is near if one of the two, of four
 * letters or more, is a part of the other: `scale` of `sm_scale`. Capitals do not matter. Beyond
 * 127 characters nothing is near anything. */
const char *nearest(const char *word, const char *const *names, size_t count);
/* The same among what lies in a folder and ends in `suffix`, which neither side is compared with;
 * `name` comes back without it. False if none is near or the folder cannot be read. */
enum { NEAREST_BYTES = 128 };
bool nearest_file(const char *word, const char *folder, const char *suffix,
                  char name[NEAREST_BYTES]);

#endif
