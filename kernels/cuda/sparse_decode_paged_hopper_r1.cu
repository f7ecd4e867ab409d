/* Decode over lists of tokens in pages for sm_90, r1: sparse_decode_paged_mma_r1 whose launches
 * overlap, its lists and its page table read while the launch before ends; short lists cut on the
 * host as in sparse_decode_hopper_r1 (core/sparse_split.cuh).
 *
 * Floor: the kept rows of K and V once, 4 D bytes a token and query head, at the rate of a gather
 * (on an H200 4.1 TB/s for rows of 256 bytes and more).
 *
 * Not yet measured; B3 32/8 D256 P256, 270, 350 and 321 pages, 2 %, by sparse_decode_paged_mma_r1:
 * 45.6 us, at 4.1 TB/s it would be 38. */
#include "core/sparse_split.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_SPARSE_DECODE_PAGED,
    .name = "hopper",
    .revision = 1,
    .grade = 'A',
    .change = "launches overlap, lists and page table are read before the wait",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_F32,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::sparse_refuse,
    .scratch_bytes = attn::sparse_scratch_bytes,
    .prepare = attn::sparse_split_prepare<attn::paged_keys, false>,
    .finish = attn::sparse_split_finish,
    .launch = attn::sparse_split_launch<attn::paged_keys>,
};
