/* The number that a hypothesis has to have to come nearest to an output, where there are too many
 * to try: a factor of the logits, a tile of `size` keys. From the rows [0 .. count), the worst
 * first, each on its right course. False where none can be told. */
#ifndef ATTEST_SEARCH_H
#define ATTEST_SEARCH_H

#include "course.h"

bool search_scale(const struct course *rows, int64_t count, int64_t size, double *number);
/* The tile, counted from 0, that is left out; that is counted twice; whose values stand in the
 * place of the next one's, and the reverse (size 0: pages). */
bool search_left_out(const struct course *rows, int64_t count, int64_t size, double *number);
bool search_twice(const struct course *rows, int64_t count, int64_t size, double *number);
bool search_swapped(const struct course *rows, int64_t count, int64_t size, double *number);

#endif
