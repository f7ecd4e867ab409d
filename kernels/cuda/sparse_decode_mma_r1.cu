/* Decode over lists of tokens, r1: rows gathered by 16-byte loads, the lists spread evenly over one
 * wave of blocks. No product has more than one row, so the tensor cores are not used, and P is not
 * rounded; what a block, a warp and a thread own is in core/sparse.cuh.
 *
 * Floor: the kept rows of K and V once, 4 D bytes a token and query head, at the rate of a gather
 * (on an H200 4.1 TB/s for rows of 256 bytes and more). At 10 MB latency bounds it: the list, the
 * rows, the partial sums are three round trips.
 *
 * Measured on an H200 (gather of such rows 4.1 TB/s):
 * - B1 32/8 S32000 D128 2 %: 8.1 to 8.6 us warm, 9.2 cold; B16 S65536: 86 us, 4.0 TB/s, 97 %.
 * - One tile a block at least instead of two: 8.1 to 8.6; with 8 warps a block 8.9; partial sums
 *   added 16 at a time 8.7: not taken. */
#include "core/sparse.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_SPARSE_DECODE,
    .name = "mma",
    .revision = 1,
    .grade = 'A',
    .change = "rows gathered eight deep, one score a lane, equal parts of all lists a block",
    .traits = ATTN_GQA | ATTN_KEEP | ATTN_SOFTCAP | ATTN_SINK | ATTN_DV | attn::BYTE_TRAITS,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_F32,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::sparse_refuse,
    .scratch_bytes = attn::sparse_scratch_bytes,
    .prepare = attn::sparse_prepare<attn::dense_keys, false>,
    .finish = attn::kernel_state_free,
    .launch = attn::sparse_launch<attn::dense_keys>,
};
