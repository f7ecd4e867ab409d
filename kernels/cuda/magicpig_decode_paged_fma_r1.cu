/* Decode over tokens that LSH sampled, in pages, in f32 on the FMA units, r1: as
 * sparse_decode_paged_fma_r1, with the norm of K computed from the row in flight and the correction
 * one token a lane, in f32 without cancellation (core/magicpig.cuh). What a block, a warp and a
 * thread own is in core/fma_decode.cuh.
 *
 * Floor: the kept rows of K and V once, at the rate of a gather. Right on an H200, not yet timed.
 */
#include "core/fma_decode.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_MAGICPIG_DECODE_PAGED,
    .name = "fma",
    .revision = 1,
    .grade = 'A',
    .change = "sparse_decode_paged_fma_r1, the correction in f32 without cancellation",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_PAGE | ATTN_QLENS | ATTN_MAGICPIG | ATTN_KEEP |
              ATTN_SOFTCAP | ATTN_SINK | ATTN_ALIBI | ATTN_DV | ATTN_KSHARED | ATTN_KV_E4M3 |
              ATTN_KV_INT8 | ATTN_KV_HEAD | ATTN_KV_TOKEN,
    .dtypes = 1u << ATTN_F32 | 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_F32,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 1024,
    .refuse = attn::fma_refuse,
    .scratch_bytes = attn::fma_decode_scratch_bytes,
    .prepare = attn::fma_decode_prepare<true>,
    .finish = attn::kernel_state_free,
    .launch = attn::fma_decode_launch,
};
