/* Decode over tokens that LSH sampled, in pages, r1: as sparse_decode_paged_mma_r1, with the norm
 * of K computed from the row in flight and the correction one token a lane, in f32 without
 * cancellation (core/magicpig.cuh). What a block, a warp and a thread own is in core/sparse.cuh.
 *
 * Floor: the kept rows of K and V once, 4 D bytes a token and query head, at the rate of a gather;
 * the correction takes about 150 instructions for the keys of a warp's tile.
 *
 * Measured on an H200: B3 32/8 D256 P256, 270, 350 and 321 pages, 2 %: 48.7 us, 2.5 more than
 * without the correction. */
#include "core/sparse.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_MAGICPIG_DECODE_PAGED,
    .name = "mma",
    .revision = 1,
    .grade = 'A',
    .change = "correction one token a lane, in f32 without cancellation",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_MAGICPIG | ATTN_SOFTCAP |
              ATTN_SINK | ATTN_DV | attn::BYTE_TRAITS,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_F32,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::sparse_refuse,
    .scratch_bytes = attn::sparse_scratch_bytes,
    .prepare = attn::sparse_prepare<attn::paged_keys, true>,
    .finish = attn::kernel_state_free,
    .launch = attn::sparse_launch<attn::paged_keys>,
};
