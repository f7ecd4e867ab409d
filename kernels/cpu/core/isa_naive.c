/* The textbook: all scores of a row, their maximum, exponentials, their sum, the weighted sum of
 * values. Plain loops for the compiler to vectorise, libm's expf. Scores and probabilities are f32;
 * the two long sums are double, as over 131,072 keys an f32 sum loses 7 bits. */
#include "isa.h"

struct look {
    const void *keys[KEY_BLOCK], *values[KEY_BLOCK];
};

/* Where the nth position of the task lies; they are asked for in ascending order. */
static int64_t place(struct look *look, const struct task *task, int64_t n) {
    const int64_t key = task->key + n, left = task->key_end - key;
    if (n % KEY_BLOCK == 0)
        task->place(task->call, task->b, task->g, task->list, key,
                    left < KEY_BLOCK ? left : KEY_BLOCK, look->keys, look->values);
    return n % KEY_BLOCK;
}

/* By 256 columns, added up in the end: over 1,024 in order, as without vectors, products of one
 * sign would be off by twice as much. */
static float dot(const float *a, const float *b, int64_t count) {
    enum { STRETCH = 256 };
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
    const int32_t dtype = task->problem->dtype;
    float query[HEAD_DIM_MAX], row[HEAD_DIM_MAX], *score = task->workspace;
    struct look look;
    struct magicpig magicpig = {0};

    widen_query(query, task, task->row, head_dim);
    if (task->magicpig) magicpig = magicpig_row(task, task->row, query);
    for (int64_t j = 0; j < end; j++) {
        widen_rows(row, &look.keys[place(&look, task, j)], 1, head_dim, head_dim, dtype);
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
        widen_rows(row, &look.values[place(&look, task, j)], 1, value_dim, value_dim, dtype);
        for (int64_t d = 0; d < value_dim; d++) out[d] += (double)score[j] * row[d];
    }

    *task->max = max;
    *task->sum = (float)sum;
    for (int64_t d = 0; d < value_dim; d++) task->out[d] = (float)(out[d] / sum);
}
