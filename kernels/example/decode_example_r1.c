/* Decode, the shortest kernel that passes: one query row at a time, two passes over its keys, sums
 * in double. A starting point to copy; see attn.h for what each member means. */
#include <attn.h>

#include <math.h>

/* The logit of key j for one query row: q and k are D floats. */
static double logit(const float *q, const float *k, const struct attn_problem *problem) {
    double dot = 0;
    for (int64_t d = 0; d < problem->head_dim; d++) dot += (double)q[d] * k[d];
    return dot * problem->scale;
}

static const char *launch(const struct attn_problem *problem, const struct attn_call *call) {
    const int64_t D = problem->head_dim, group = problem->q_heads / problem->kv_heads;
    for (int64_t row = 0; row < problem->batch * problem->q_heads; row++) {
        const float *q = (const float *)call->tensors[ATTN_Q].data + row * D;
        const int64_t head = row / group * problem->kv_len * D;
        const float *k = (const float *)call->tensors[ATTN_K].data + head;
        const float *v = (const float *)call->tensors[ATTN_V].data + head;
        float *out = (float *)call->tensors[ATTN_OUT].data + row * D;

        double max = -INFINITY, sum = 0, weighted[256] = {0};
        for (int64_t j = 0; j < problem->kv_len; j++) max = fmax(max, logit(q, k + j * D, problem));
        for (int64_t j = 0; j < problem->kv_len; j++) {
            const double p = exp(logit(q, k + j * D, problem) - max);
            sum += p;
            for (int64_t d = 0; d < D; d++) weighted[d] += p * v[j * D + d];
        }
        for (int64_t d = 0; d < D; d++) out[d] = (float)(weighted[d] / sum);
        ((float *)call->tensors[ATTN_LSE].data)[row] = (float)(max + log(sum));
    }
    return NULL;
}

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CPU,
    .variant = ATTN_DECODE,
    .name = "example",
    .revision = 1,
    .grade = 'A',
    .change = "the definition, in double",
    .traits = ATTN_GQA,
    .dtypes = 1u << ATTN_F32,
    .p_dtype = ATTN_F32,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .launch = launch,
};
