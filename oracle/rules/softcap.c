/* Logits that cannot grow: c tanh(logit / c), before a mask hides any (Gemma 2, arXiv:2408.00118,
 * section 2). Where it saturates an error of q.k does not show; tanh has one of its own, relative
 * to the logit. */
#include "../rule.h"

#include <math.h>

static void cap(const struct rule_view *view, int64_t b, int64_t h, struct rule_logit *logit) {
    (void)b, (void)h;
    const double most = view->problem->softcap, part = tanh(logit->value / most);
    logit->value = most * part;
    logit->size = (1 - part * part) * logit->size + fabs(logit->value);
}

const struct rule rule_softcap = {
    .trait = ATTN_SOFTCAP,
    .name = "softcap",
    .meaning = "logit = c tanh(logit / c), before any mask",
    .words = "softcap30",
    .logit = cap,
};
