/* Rows dealt to the processes that run them, one at a time, so that none waits while another has
 * much to do. A row is a place in a problem's list; the processes agree on the lists, and share the
 * deal (crew.h). */
#ifndef ATTEST_DEAL_H
#define ATTEST_DEAL_H

#include "../../oracle/fault.h"

#include <stdint.h>

struct deal;

/* For processes 0..members - 1; counts[n] is how many rows problem n has. */
struct deal *deal_make(const int64_t *counts, int64_t problems, int members, struct fault *fault);
void deal_free(struct deal *deal);

struct deal_row {
    int64_t problem, row; /* row 0: the first of its problem that anybody gets */
};
/* The next row for `member`: of the problem that it had last; else of the first that nobody has
 * begun; else of the one with most rows left, which others have in memory too by then. False when
 * none is left. */
bool deal_next(struct deal *deal, int member, struct deal_row *row);
/* What `member` got last is done. */
void deal_done(struct deal *deal, int member);
/* Problem `problem` turned out to have no more than `count` rows. */
void deal_limit(struct deal *deal, int64_t problem, int64_t count);
/* Rows that nobody got. */
int64_t deal_left(const struct deal *deal);
/* What `member` got last; false when it has nothing at hand, or has done it. */
bool deal_at_hand(const struct deal *deal, int member, struct deal_row *row);

#endif
