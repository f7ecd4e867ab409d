/* One kept list for each kv head: all query heads of its group share it, as those have it who
 * choose tokens once for a group (Native Sparse Attention, arXiv:2502.11089, section 3.3.2), or
 * once for all heads of latent attention (DeepSeek-V3.2's lightning indexer). The lists are those
 * of keep.c in every other way. */
#include "../rule.h"

static void reshape(const struct attn_problem *problem, struct rule_tensor *tensor) {
    (void)problem;
    if (tensor->slot == ATTN_SPARSE_IND || tensor->slot == ATTN_SPARSE_NNZ ||
        tensor->slot == ATTN_SPARSE_MASK)
        tensor->shape[1] = SIZE_KV_HEADS;
}

const struct rule rule_keep_group = {
    .trait = ATTN_KEEP_GROUP,
    .name = "keepgroup",
    .meaning = "with keep: the query heads of a kv head share a list",
    .words = "keepgroup (with keep or keeptop, hkv below hq)",
    .reshape = reshape,
};
