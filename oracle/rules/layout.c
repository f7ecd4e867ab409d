/* Where a kernel finds tensors: pages token by token, with keys and values apart (vLLM's and
 * FlashInfer's "NHD"); sequences one behind another, with no padding (Transformer Engine's "thd",
 * FlashAttention's varlen); parts of larger tensors, as slices of a fused q, k, v are. Three traits
 * that change nothing a rule could be asked: tensors here are dense whatever they say, and whoever
 * calls a kernel lays them out for it (harness/worker/views.h). */
#include "../rule.h"

const struct rule rule_nhd = {
    .trait = ATTN_NHD,
    .name = "nhd",
    .meaning = "pages are [P, Hkv, D], of keys and of values apart",
    .words = "nhd",
};

const struct rule rule_thd = {
    .trait = ATTN_THD,
    .name = "thd",
    .meaning = "sequences are packed, [tokens, heads, D], and found through cu_seqlens",
    .words = "thd",
};

const struct rule rule_strided = {
    .trait = ATTN_STRIDED,
    .name = "strided",
    .meaning = "tensors are parts of larger ones: any strides, bases at multiples of 16 bytes",
    .words = "strided",
};
