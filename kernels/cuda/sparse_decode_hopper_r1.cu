/* Decode over lists for sm_90, r1: sparse_decode_mma_r2's kernels, and launches that overlap
 * (core/overlap.cuh): lengths, lists and the numbers of the first rows are read while the launch
 * before ends.
 *
 * Floor: the kept rows of K and V once, 4 D bytes a token and query head.
 *
 * Measured on an H200, us warm / cold (bench_cuda; sparse_decode_mma_r2 in the same run):
 *   B1 32/8 S32000 D128 2 %      5.5 / 7.1   (5.9 / 7.4)
 *   B16 32/8 S65536 D128 2 %     85.0 / 86.2 (86.3 / 86.7)
 * Room on the SMs for the next launch's blocks beside this one's, at 80 registers a thread, which
 * spill: 6.6 / 7.8 for the first.
 *
 * Other ways to gather, all with launches that overlap; predicted at 39 us for B3 32/8 S89366 D256
 * P256 2 % and 81 for B16 S65536, which mma does in 44.4 and 84.0 without:
 * - Rows always under way in shared memory by cp.async, each thread's 16 bytes in a place that no
 *   other reads; a block an SM, even parts, a list's parts added up in slices: 46.9 and 92.2 with
 *   192 KiB under way, 46.3 and 90.4 with 96, so that there is room for the next launch's blocks,
 *   too. Without the arithmetic 44.0 and 86.9: the gather alone takes what mma takes in all. Of 132
 *   even parts the first is done after 34 us and the last after 41.
 * - So chunks of 96 keys (192 at D128), which blocks take as they get done; a warp of its own adds
 *   up a chunk, the last to arrive a list: 68.5 and 86.5. Chunks twice as large: 47.7 and 86.2.
 * - .. a list by whoever has its last chunk, as soon as the others are there: blocks that wait for
 *   one another stand in each other's way, 108 and 127. */
#include "core/sparse_rows.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_SPARSE_DECODE,
    .name = "hopper",
    .revision = 1,
    .grade = 'A',
    .change = "launches that overlap; lengths, lists and first rows' numbers before the wait",
    .traits = ATTN_GQA | ATTN_KEEP | ATTN_SOFTCAP | ATTN_SINK | ATTN_DV | attn::BYTE_TRAITS,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_F32,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::sparse_refuse,
    .scratch_bytes = attn::sparse_scratch_bytes,
    .prepare = attn::sparse_rows_prepare<attn::dense_keys, false, true>,
    .finish = attn::kernel_state_free,
    .launch = attn::sparse_rows_launch<attn::dense_keys, true>,
};
