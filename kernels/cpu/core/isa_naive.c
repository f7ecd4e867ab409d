/* The textbook: all scores of a row, their maximum, exponentials, their sum, the weighted sum of
 * values. Plain loops for the compiler to vectorise, libm's expf. Scores and probabilities are f32;
 * the two long sums are double, as over 131,072 keys an f32 sum loses 7 bits. */
#include "isa.h"

struct look {
    const void *keys[KEY_BLOCK], *values[KEY_BLOCK];
    float k_scale[KEY_BLOCK], v_scale[KEY_BLOCK];
};

/* Where the nth position of the task lies; they are asked for in ascending order. */
static int64_t place(struct look *look, const struct task *task, int64_t n) {
    const int64_t key = task->key + n, left = task->key_end - key;
    const int64_t count = left < KEY_BLOCK ? left : KEY_BLOCK;
    if (n % KEY_BLOCK != 0) return n % KEY_BLOCK;
    task->place(task->call, task->b, task->g, task->list, key, count, look->keys, look->values);
    if (task->scaled)
        lookup_scales(task->call, task->b, task->g, task->list, key, count, look->k_scale,
                      look->v_scale);
    return 0;
}

static void widen_one(float *row, struct look *look, const struct task *task, int64_t n,
                      bool value) {
    const int64_t at = place(look, task, n);
    const int64_t dim = value ? task->problem->value_dim : task->problem->head_dim;
    widen_rows(row, value ? &look->values[at] : &look->keys[at], 1, dim, dim, task->stored);
    if (task->scaled) scale_row(row, dim, value ? look->v_scale[at] : look->k_scale[at]);
}

/* By 64 columns, added up in the end: in order, as without vectors, equal products round to one
 * side, and of 239 columns are 22 units of 2^-24 off. */
static float dot(const float *a, const float *b, int64_t count) {
    enum { STRETCH = 64 };
    float all = 0;
    for (int64_t start = 0; start < count; start += STRETCH) {
        const int64_t end = start + STRETCH < count ? start + STRETCH : count;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t n = start; n < end; n++) sum += a[n] * b[n];
        all += sum;
    }
    return all;
}

void ISA_NAME(naive_)(const struct task *task) {
    const int64_t head_dim = task->problem->head_dim, value_dim = task->problem->value_dim;
    const int64_t end = task->key_end - task->key;
    float query[HEAD_DIM_MAX], row[HEAD_DIM_MAX], *score = task->workspace;
    struct look look;
    struct magicpig magicpig = {0};

    widen_query(query, task, task->row, head_dim);
    if (task->magicpig) magicpig = magicpig_row(task, task->row, query);
    for (int64_t j = 0; j < end; j++) {
        widen_one(row, &look, task, j, false);
        score[j] = dot(query, row, head_dim);
        const float bias = added(task, task->row, task->key + j);
        if (task->logits) score[j] *= task->product_scale;
        if (task->logits && task->softcap > 0)
            score[j] = task->softcap * tanhf(score[j] / task->softcap);
        if (task->logits) score[j] += bias;
        if (task->magicpig)
            score[j] = magicpig_logit(&magicpig, score[j], dot(row, row, head_dim), bias);
    }

    float max = -INFINITY;
    for (int64_t j = 0; j < end; j++) max = score[j] > max ? score[j] : max;
    double sum = 0, out[HEAD_DIM_MAX] = {0};
    const float origin = max == -INFINITY ? 0 : max; /* all hidden by a bias: exp is 0 */
    for (int64_t j = 0; j < end; j++) score[j] = expf((score[j] - origin) * task->softmax_scale);
    for (int64_t j = 0; j < end; j++) sum += score[j];
    for (int64_t j = 0; j < end; j++) {
        widen_one(row, &look, task, j, true);
        for (int64_t d = 0; d < value_dim; d++) out[d] += (double)score[j] * row[d];
    }

    *task->max = max;
    *task->sum = (float)sum;
    for (int64_t d = 0; d < value_dim; d++) task->out[d] = (float)(out[d] / sum);
}
