/* Scores of all tokens of a sequence, those not on the list masked away. */
#ifndef ATTN_CUDA_REFERENCE_MASK_CUH
#define ATTN_CUDA_REFERENCE_MASK_CUH

#include "reference_gather.cuh"

namespace attn {

/* mask[row][token] = 1 for the tokens on the lists of rows first .. first + rows - 1. */
__global__ void mark_lists(uint8_t *mask, const int32_t *ind, const int32_t *nnz, int64_t first,
                           int64_t kept_max, int64_t pitch) {
    const int64_t row = blockIdx.x;
    const int32_t *list = ind + (first + row) * kept_max;
    const int count = nnz[first + row];
    for (int i = threadIdx.x; i < count; i += blockDim.x) mask[row * pitch + list[i]] = 1;
}

inline size_t mask_scratch_bytes(const struct attn_problem *p) {
    const int64_t keys = padded(tokens_max(p));
    const int64_t copied = p->traits & ATTN_PAGE ? p->kv_heads : 0;
    return CUBLAS_BYTES +
           (size_t)(keys * ((copied + p->q_heads) * p->head_dim * 4 + p->q_heads * 7)) + 4096;
}

/* All tokens of a sequence, under a mask made of its lists. */
inline const char *mask_launch(const struct attn_problem *problem, const struct attn_call *call) {
    const auto method = [](reference &r, arena &scratch) {
        const struct attn_problem &p = r.p;
        const bool paged = p.traits & ATTN_PAGE;
        const int64_t room = padded(tokens_max(&p)), dim = p.head_dim;
        uint16_t *copy[2], *repeated[2];
        for (int i = 0; i < 2; i++) {
            copy[i] =
                static_cast<uint16_t *>(scratch.take(paged ? room * p.kv_heads * dim * 2 : 0));
            repeated[i] = static_cast<uint16_t *>(scratch.take(room * p.q_heads * dim * 2));
        }
        float *scores = static_cast<float *>(scratch.take(room * p.q_heads * 4));
        void *weights = scratch.take(room * p.q_heads * 2);
        uint8_t *mask = static_cast<uint8_t *>(scratch.take(room * p.q_heads));
        for (int64_t b = 0; b < p.batch; b++) {
            const int64_t keys = r.tokens(b), pitch = padded(keys), row = b * p.q_heads;
            if (keys == 0) {
                r.fill(row, p.q_heads, 1, 0, -INFINITY);
                continue;
            }
            cudaMemsetAsync(mask, 0, (size_t)(p.q_heads * pitch), r.stream);
            if (p.kept_max > 0)
                mark_lists<<<(unsigned)p.q_heads, REFERENCE_THREADS, 0, r.stream>>>(
                    mask, r.on_device<int32_t>(ATTN_SPARSE_IND),
                    r.on_device<int32_t>(ATTN_SPARSE_NNZ), row, p.kept_max, pitch);
            const uint16_t *kv[2];
            for (int i = 0; i < 2; i++) {
                gather_args a = gather_source(r, b, 0, i == 1, BY_KERNEL);
                kv[i] = paged ? copy[i] : a.from;
                if (paged) {
                    a.to = copy[i];
                    a.count = keys;
                    a.heads = p.kv_heads;
                    gather(r, a, BY_KERNEL);
                }
                repeat_args x = {};
                x.from = kv[i];
                x.to = repeated[i];
                x.mask = i == 1 ? mask : NULL;
                x.tokens = keys;
                x.dim = dim;
                x.pitch = pitch;
                x.group = (int)r.group;
                r.repeat(x, p.q_heads);
            }
            const mask_args under = {mask, 0, 1, 1};
            const correct_args correction = {.scores = scores,
                                             .q = r.on_device<uint16_t>(ATTN_Q) + row * dim,
                                             .k = kv[0],
                                             .lsh_k = r.on_device<float>(ATTN_LSH_K) + row,
                                             .lsh_l = r.on_device<float>(ATTN_LSH_L) + row,
                                             .pitch = pitch,
                                             .keys = keys,
                                             .dim = dim,
                                             .group = (int)r.group,
                                             .scale = (float)p.scale};
            attend(r, row, p.q_heads, repeated[0], repeated[1], {scores, pitch, (int)keys}, weights,
                   &under, p.traits & ATTN_MAGICPIG ? &correction : NULL);
        }
    };
    return reference_launch(problem, call, method);
}

} // namespace attn

#endif
