/* A query sees no key after itself. Bottom-right aligned: the last query sees every key, and with
 * more queries than keys the first ones see none. */
#include "../rule.h"

static void span(const struct rule_view *view, int64_t b, int64_t i, int64_t *first, int64_t *end) {
    const int64_t seen = rule_place(view, b, i) + 1;
    (void)first;
    *end = seen < *end ? seen : *end;
}

const struct rule rule_causal = {
    .trait = ATTN_CAUSAL,
    .name = "causal",
    .meaning = "query i sees key j iff j <= i + Skv - Sq, lengths taken per sequence",
    .words = "causal",
    .by_place = true,
    .span = span,
};
