/* Decode over lists of tokens, r2: as r1, but short lists of few rows are cut on the host, one
 * round of rows a block (core/sparse_rows.cuh); other problems run r1's kernel.
 *
 * Floor: the kept rows of K and V once, 4 D bytes a token and query head. At 10 MB latency bounds
 * it: on an H200 128 blocks that read lists and lengths take 1.5 us, and 4.7 warm, 5.8 cold, when
 * they gather, multiply and add up within the block too; the rest is to combine the blocks.
 *
 * Measured on an H200, B1 32/8 S32000 D128 2 %, 640 tokens a list, us warm / cold; r1 8.1 / 9.2:
 * - 4 blocks a row of 10 warps, each with all of its 16 rows: 6.3 / 7.8. Of 12 warps 6.6 / 7.9, of
 *   16 warps 6.7 / 8.1, 8 blocks of 8 warps 6.6 / 7.9. One thread's fence for the block instead of
 *   every thread's: 0.05 to 0.1 less. These had their warps fixed at compile time; here the host
 *   chooses them, 4 blocks of 10.
 * - Two rounds: 4 blocks of 8 warps 6.6 to 7.5 / 8.5, 8 of 4 6.9 / 8.7, 2 of 16 7.7 / 9.2.
 * - A cluster a row, added up through distributed shared memory: 4 blocks of 16 warps 8.5 / 10.3,
 *   8 of 8 8.0 / 9.7, since 30 of the 32 clusters are all that the device holds at once. Smaller
 *   blocks fit but take two rounds: 7.1 / 8.2 at best.
 * - Partial sums with a stamp in every word, which the last block waits for: 7.2 / 8.5.
 * - q.k by mma, its operand loaded as it lies, 64 bytes of a row at a time: in clusters 0.2 slower.
 * - Such cuts for B16 S65536: 85.5 to 135, to r1's 84.3; so its even parts stay there.
 * - Launches that overlap, lists read before the wait, and each of a row's blocks adds up a slice
 * of its columns, in one trip (core/slices.cuh): predicted 4.7, 7.4 / 9.1 (here 5.9 / 7.5 in that
 *   run). */
#include "core/sparse_rows.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_SPARSE_DECODE,
    .name = "mma",
    .revision = 2,
    .grade = 'A',
    .change = "short lists cut on the host: one round of rows a block, no prefix over the lengths",
    .traits = ATTN_GQA | ATTN_KEEP | ATTN_SOFTCAP | ATTN_SINK | ATTN_DV | attn::BYTE_TRAITS,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_F32,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::sparse_refuse,
    .scratch_bytes = attn::sparse_scratch_bytes,
    .prepare = attn::sparse_rows_prepare<attn::dense_keys, false>,
    .finish = attn::kernel_state_free,
    .launch = attn::sparse_rows_launch<attn::dense_keys>,
};
