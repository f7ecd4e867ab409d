/* Decode over tokens that LSH sampled, in pages, by a mask, r1: as sparse_decode_paged_bymask_r1,
 * with a kernel that corrects the scores of all tokens. A baseline; the method is in
 * core/reference_mask.cuh.
 *
 * Floor: as there.
 *
 * Measured on an H200, B3 32/8 D256 P256, 270, 350 and 321 pages, 2 %: 9.8 ms. */
#include "core/reference_mask.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_MAGICPIG_DECODE_PAGED,
    .name = "bymask",
    .revision = 1,
    .grade = 'B',
    .change = "scores of all tokens, masked by the lists",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_MAGICPIG,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::reference_refuse,
    .scratch_bytes = attn::mask_scratch_bytes,
    .prepare = attn::reference_prepare,
    .finish = attn::reference_finish,
    .launch = attn::mask_launch,
};
