/* Prefill of sequences of unequal length in f32 on the FMA units, r1: as prefill_fma_r1, with
 * lengths of keys and of queries. What a block, a warp and a thread own is in core/fma_prefill.cuh.
 *
 * Floor: as of prefill_fma_r1, of valid pairs. Right on an H200, not yet timed. */
#include "core/fma_prefill.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_PREFILL_VARLEN,
    .name = "fma",
    .revision = 1,
    .grade = 'A',
    .change = "prefill_fma_r1 with lengths",
    .traits = ATTN_GQA | ATTN_CAUSAL | ATTN_RAGGED | ATTN_QLENS | ATTN_WINDOW | ATTN_SOFTCAP |
              ATTN_SINK | ATTN_ALIBI | ATTN_BIASED | ATTN_DV | ATTN_KSHARED | ATTN_KV_E4M3 |
              ATTN_KV_INT8 | ATTN_KV_HEAD | ATTN_KV_TOKEN,
    .dtypes = 1u << ATTN_F32 | 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_F32,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 1024,
    .refuse = attn::fma_prefill_refuse,
    .prepare = attn::fma_prefill_prepare,
    .finish = attn::kernel_state_free,
    .launch = attn::fma_prefill_launch,
};
