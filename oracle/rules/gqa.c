/* Grouped queries: Hkv < Hq, and query head h reads key head h / (Hq / Hkv). The shapes say it all;
 * the trait is there for kernels to declare. */
#include "../rule.h"

const struct rule rule_gqa = {
    .trait = ATTN_GQA,
    .name = "gqa",
    .meaning = "several query heads share a key/value head",
    .words = "hkv8 (below hq)",
};
