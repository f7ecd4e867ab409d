/* A query sees no key after itself. Bottom-right aligned: the last query sees every key, and with
 * more queries than keys the first ones see none. */
#include "../rule.h"

static int64_t key_end(const struct rule_view *view, int64_t b, int64_t i, int64_t end) {
    const int64_t seen = i + rules_kv_len(view, b) - rules_q_len(view, b) + 1;
    if (seen < 0) return 0;
    return seen < end ? seen : end;
}

const struct rule rule_causal = {
    .trait = ATTN_CAUSAL,
    .name = "causal",
    .meaning = "query i sees key j iff j <= i + Skv - Sq, lengths taken per sequence",
    .words = "causal",
    .key_end = key_end,
};
