/* Values of another width than keys, as multi-head latent attention has them where a model is
 * trained or a prompt read: 192 and 128 (DeepSeek-V2, arXiv:2405.04434). The shapes say it all; the
 * trait is there for kernels to declare. */
#include "../rule.h"

const struct rule rule_dv = {
    .trait = ATTN_DV,
    .name = "dv",
    .meaning = "values and output have another width than keys",
    .words = "dv128 (other than d)",
};
