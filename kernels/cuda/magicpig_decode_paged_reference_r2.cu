/* Decode over tokens that LSH sampled, in pages, as PyTorch code without a fused kernel does it,
 * r2: as sparse_decode_paged_reference_r2, with a kernel that corrects the scores. The method is in
 * core/reference_gather.cuh.
 *
 * Floor: eight launches a row of the output.
 *
 * Measured on an H200, B3 32/8 D256 P256, 270, 350 and 321 pages, 2 %: 2.2 ms in a graph. */
#include "core/reference_gather.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_MAGICPIG_DECODE_PAGED,
    .name = "reference",
    .revision = 2,
    .grade = 'B',
    .change = "gathers with one kernel instead of a copy a token",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_MAGICPIG,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::reference_refuse,
    .scratch_bytes = attn::lists_scratch_bytes,
    .prepare = attn::reference_prepare,
    .finish = attn::reference_finish,
    .launch = attn::lists_launch<attn::BY_KERNEL>,
};
