/* Decode over tokens that LSH sampled, in pages, for sm_90, r1: magicpig_decode_paged_mma_r1's
 * kernel, and launches that overlap, as sparse_decode_paged_hopper_r1.
 *
 * Floor: the kept rows of K and V once, 4 D bytes a token and query head, and what the correction
 * takes. */
#include "core/sparse.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_MAGICPIG_DECODE_PAGED,
    .name = "hopper",
    .revision = 1,
    .grade = 'A',
    .change = "launches that overlap; lengths, lists and first rows' numbers before the wait",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_MAGICPIG | ATTN_SOFTCAP |
              ATTN_SINK | ATTN_DV | attn::BYTE_TRAITS,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_F32,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::sparse_refuse,
    .scratch_bytes = attn::sparse_scratch_bytes,
    .prepare = attn::sparse_prepare<attn::paged_keys, true, true>,
    .finish = attn::kernel_state_free,
    .launch = attn::sparse_launch<attn::paged_keys, true>,
};
