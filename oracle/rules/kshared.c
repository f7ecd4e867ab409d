/* Values that are the first elements of their keys: multi-head latent attention with its
 * projections absorbed into q and the output. A token is a latent vector of 512 elements, which is
 * its value, and 64 more that tell its place; all 576 are its key (DeepSeek-V2, arXiv:2405.04434,
 * section 2.1). */
#include "../rule.h"

static void reshape(const struct attn_problem *problem, struct rule_tensor *tensor) {
    (void)problem;
    if (tensor->slot == ATTN_V || tensor->slot == ATTN_V_SCALE) tensor->rank = 0;
}

const struct rule rule_kshared = {
    .trait = ATTN_KSHARED,
    .name = "kshared",
    .meaning = "no v: a value is the first dv elements of its key",
    .words = "kshared",
    .reshape = reshape,
};
