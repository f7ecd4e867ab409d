/* Decode over lists of tokens for sm_90, r1: sparse_decode_mma_r2 whose launches overlap, its lists
 * read while the launch before ends, and the parts of a row added up in slices, in one trip
 * (core/sparse_split.cuh).
 *
 * Floor: the kept rows of K and V once, 4 D bytes a token and query head; at 10 MB two trips, for
 * the rows and for what other blocks have.
 *
 * Not yet measured; the same problem by sparse_decode_mma_r2, B1 32/8 S32000 D128 2 %: 6.05 us warm
 * and 7.7 cold on an H200. Its head tells of partial sums with a stamp in every word, for which one
 * block waited: 0.9 us slower than the last to arrive. */
#include "core/sparse_split.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_SPARSE_DECODE,
    .name = "hopper",
    .revision = 1,
    .grade = 'A',
    .change =
        "launches overlap, lists are read before the wait, slices of a row added up in one trip",
    .traits = ATTN_GQA | ATTN_KEEP,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_F32,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::sparse_refuse,
    .scratch_bytes = attn::sparse_scratch_bytes,
    .prepare = attn::sparse_split_prepare<attn::dense_keys, false>,
    .finish = attn::sparse_split_finish,
    .launch = attn::sparse_split_launch<attn::dense_keys>,
};
