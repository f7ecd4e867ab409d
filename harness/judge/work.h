/* What a problem needs, whoever computes it: the least arithmetic and the least traffic. */
#ifndef ATTEST_WORK_H
#define ATTEST_WORK_H

#include "../../oracle/rule.h"

struct work {
    double flops; /* 4 D for each visible (query, key): q.k and p v */
    double bytes; /* each visible row of k and v once, however many heads or sequences share it;
                     valid queries, their outputs, tables */
    double read_bytes; /* of these, without the outputs */
};

/* False only without memory. */
bool work_count(struct work *work, const struct rule_view *view, struct fault *fault);

#endif
