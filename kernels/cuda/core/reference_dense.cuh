/* All tokens of all heads, as many heads together as CHUNK_BYTES holds; sequences of unequal length
 * are padded and masked. */
#ifndef ATTN_CUDA_REFERENCE_DENSE_CUH
#define ATTN_CUDA_REFERENCE_DENSE_CUH

#include "reference.cuh"

namespace attn {

/* mask[b][i][j] = 1 where query i of sequence b sees key j; without lengths there is one b. */
__global__ void make_mask(uint8_t *mask, const int32_t *lens, int q_len, int kv_len, int64_t pitch,
                          int causal) {
    const int b = blockIdx.y, i = blockIdx.x;
    const int queries = lens ? lens[b] : q_len, keys = lens ? min(lens[b], kv_len) : kv_len;
    const int seen = causal ? min(keys, i + keys - queries + 1) : keys;
    uint8_t *row = mask + ((int64_t)b * q_len + i) * pitch;
    for (int j = threadIdx.x; j < pitch; j += blockDim.x) row[j] = i < queries && j < seen;
}

/* What one kv head takes: of its query heads scores, P, repeated K and V. */
inline int64_t dense_bytes(const struct attn_problem *p) {
    return p->q_heads / p->kv_heads *
           (p->q_len * padded(p->kv_len) * 6 + p->kv_len * p->head_dim * 4);
}

/* kv heads that are taken together, of all B Hkv. blockIdx.y is a query head. */
inline int64_t dense_batch(const struct attn_problem *p) {
    const int64_t heads = p->batch * p->kv_heads, bytes = dense_bytes(p);
    int64_t fit = bytes > 0 ? CHUNK_BYTES / bytes : heads;
    const int64_t limit = 65535 / (p->q_heads / p->kv_heads);
    if (fit > limit) fit = limit;
    return fit < 1 ? 1 : fit < heads ? fit : heads;
}

/* Masks, one for every sequence if they have lengths. */
inline int64_t dense_masks(const struct attn_problem *p) {
    return p->traits & ATTN_RAGGED ? p->batch : p->traits & ATTN_CAUSAL ? 1 : 0;
}

inline size_t dense_scratch_bytes(const struct attn_problem *p) {
    return CUBLAS_BYTES + (size_t)(dense_batch(p) * dense_bytes(p)) +
           (size_t)(dense_masks(p) * p->q_len * padded(p->kv_len)) + 4096;
}

inline const char *dense_launch(const struct attn_problem *problem, const struct attn_call *call) {
    const auto method = [](reference &r, arena &scratch) {
        const struct attn_problem &p = r.p;
        const bool ragged = p.traits & ATTN_RAGGED;
        const int64_t batch = dense_batch(&p), heads = p.batch * p.kv_heads, dim = p.head_dim;
        const int64_t keys = p.kv_len, pitch = padded(keys), masks = dense_masks(&p);
        if (keys == 0 || p.q_len == 0) {
            r.fill(0, p.batch * p.q_heads, p.q_len, 0, -INFINITY);
            return;
        }
        float *scores = static_cast<float *>(scratch.take(batch * r.group * p.q_len * pitch * 4));
        void *weights = scratch.take(batch * r.group * p.q_len * pitch * 2);
        uint16_t *kv[2];
        for (int i = 0; i < 2; i++)
            kv[i] = static_cast<uint16_t *>(scratch.take(batch * r.group * keys * dim * 2));
        uint8_t *mask = static_cast<uint8_t *>(scratch.take(masks * p.q_len * pitch));
        const int32_t *lens = ragged ? r.on_device<int32_t>(ATTN_SEQ_LENS) : NULL;
        if (masks > 0)
            make_mask<<<dim3((unsigned)p.q_len, (unsigned)masks), REFERENCE_THREADS, 0, r.stream>>>(
                mask, lens, (int)p.q_len, (int)keys, pitch, p.traits & ATTN_CAUSAL ? 1 : 0);
        for (int64_t first = 0; first < heads; first += batch) {
            const int64_t count = (batch < heads - first ? batch : heads - first) * r.group;
            const int64_t q_head = first * r.group, row = q_head * p.q_len;
            for (int i = 0; i < 2; i++)
                r.repeat(
                    {.from = r.on_device<uint16_t>(i == 1 ? ATTN_V : ATTN_K) + first * keys * dim,
                     .to = kv[i],
                     .lens = lens,
                     .mask = NULL,
                     .tokens = keys,
                     .dim = dim,
                     .pitch = 0,
                     .first = q_head,
                     .per_length = p.q_heads,
                     .group = (int)r.group},
                    count);
            const scores_args s = {scores, pitch, (int)keys};
            r.multiply_keys(r.on_device<uint16_t>(ATTN_Q) + row * dim, kv[0], scores, p.q_len, keys,
                            pitch, count);
            r.scale(s, count * p.q_len);
            if (masks > 0)
                r.mask(s, {mask, q_head, ragged ? p.q_heads : p.batch * p.q_heads, (int)p.q_len},
                       count * p.q_len);
            r.softmax(s, r.lse(row), count * p.q_len);
            r.round(s, weights, count * p.q_len);
            r.multiply_values(weights, kv[1], r.out(row), p.q_len, keys, pitch, count);
        }
        for (int64_t b = 0; ragged && b < p.batch; b++)
            r.fill(b * p.q_heads * p.q_len, p.q_heads, p.q_len,
                   r.on_host<int32_t>(ATTN_SEQ_LENS)[b], 0.f);
    };
    return reference_launch(problem, call, method);
}

} // namespace attn

#endif
