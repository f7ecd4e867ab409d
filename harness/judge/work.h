/* What a problem needs, whoever computes it: the least arithmetic and the least traffic. */
#ifndef ATTEST_WORK_H
#define ATTEST_WORK_H

#include "../../oracle/rule.h"

struct work {
    double flops; /* 2 (D + Dv) for each visible (query, key): q.k and p v */
    double bytes; /* each visible row of k and v once, however many heads or sequences share it, and
                     values that are part of keys with these;
                     valid queries, their outputs, tables */
    double read_bytes; /* of these, without the outputs */
};

/* False only without memory. */
bool work_count(struct work *work, const struct rule_view *view, struct fault *fault);

#endif
