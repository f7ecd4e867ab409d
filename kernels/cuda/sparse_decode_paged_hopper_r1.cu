/* Decode over lists of tokens in pages for sm_90, r1: sparse_decode_paged_mma_r1's kernel, and
 * launches that overlap (core/overlap.cuh): lengths, lists, pages and the numbers of the first rows
 * are read while the launch before ends. Other ways to gather that lost are in the head of
 * sparse_decode_hopper_r1.cu.
 *
 * Floor: the kept rows of K and V once, 4 D bytes a token and query head.
 *
 * Measured on an H200, us warm / cold (bench_cuda; sparse_decode_paged_mma_r1 in the same run):
 * B3 32/8 D256 P256, 270, 350 and 321 pages, 2 %: 44.5 / 44.7 (45.4 / 46.1). */
#include "core/sparse.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_SPARSE_DECODE_PAGED,
    .name = "hopper",
    .revision = 1,
    .grade = 'A',
    .change = "launches that overlap; lengths, lists and first rows' numbers before the wait",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_SOFTCAP | ATTN_SINK | ATTN_DV |
              attn::BYTE_TRAITS,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_F32,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::sparse_refuse,
    .scratch_bytes = attn::sparse_scratch_bytes,
    .prepare = attn::sparse_prepare<attn::paged_keys, false, true>,
    .finish = attn::kernel_state_free,
    .launch = attn::sparse_launch<attn::paged_keys, true>,
};
