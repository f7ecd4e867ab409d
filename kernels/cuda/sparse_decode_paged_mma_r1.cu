/* Decode over lists of tokens in pages, r1: as sparse_decode_mma_r1, with the page table read a
 * tile ahead, the list two. What a block, a warp and a thread own is in core/sparse.cuh.
 *
 * Floor: the kept rows of K and V once, 4 D bytes a token and query head, at the rate of a gather
 * (on an H200 4.1 TB/s for rows of 256 bytes and more).
 *
 * Measured on an H200 (gather of such rows 4.1 TB/s):
 * - B3 32/8 D256 P256, 270, 350 and 321 pages, 2 %: 46 us warm and cold, 3.4 TB/s, 83 % of a
 * gather; Triton 168. What is missing is the start and the end: 96 rows over 528 blocks.
 * - 8 warps a block, two blocks: the same. */
#include "core/sparse.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_SPARSE_DECODE_PAGED,
    .name = "mma",
    .revision = 1,
    .grade = 'A',
    .change = "rows gathered eight deep through the page table, read a tile ahead",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_SOFTCAP | ATTN_SINK | ATTN_DV |
              attn::BYTE_TRAITS,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_F32,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::sparse_refuse,
    .scratch_bytes = attn::sparse_scratch_bytes,
    .prepare = attn::sparse_prepare<attn::paged_keys, false>,
    .finish = attn::kernel_state_free,
    .launch = attn::sparse_launch<attn::paged_keys>,
};
