/* The logit of a token that LSH sampled. In double: near c = 1 an f32 acos loses half its digits,
 * and this is done once a kept token, not once an element. */
#include "attention.h"

#include <math.h>

struct magicpig magicpig_row(const struct task *task, int64_t r, const float *query) {
    const int64_t h = task->g * task->group + r % task->group;
    const struct attn_tensor *k = &task->call->tensors[ATTN_LSH_K];
    const struct attn_tensor *l = &task->call->tensors[ATTN_LSH_L];
    double square = 0;
    for (int64_t d = 0; d < task->problem->head_dim; d++) square += (double)query[d] * query[d];
    return (struct magicpig){
        .scale = task->problem->scale,
        .softcap = task->problem->softcap,
        .query_norm = sqrt(square),
        .k = ((const float *)k->data)[task->b * k->stride[0] + h * k->stride[1]],
        .l = ((const float *)l->data)[task->b * l->stride[0] + h * l->stride[1]],
    };
}

float magicpig_logit(const struct magicpig *row, float dot, float key_square, float bias) {
    const double limit = 1 - 1e-7;
    double c = dot / (row->query_norm * sqrt(key_square) + 1e-8);
    c = c > limit ? limit : c;
    c = c < -limit ? -limit : c;
    const double p = 1 - acos(c) / 3.14159265358979323846;
    const double x = pow(p, row->k);
    const double u = -expm1((row->l - 1) * log1p(-x) + log1p((row->l - 1) * x));
    double logit = row->scale * dot;
    if (row->softcap > 0) logit = row->softcap * tanh(logit / row->softcap);
    return (float)(logit + bias - log(u < 1e-10 ? 1e-10 : u));
}
