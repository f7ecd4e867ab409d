/* Decode over paged keys for sm_90, r1: decode_paged_mma_r1's loops, and fewer trips to memory that
 * wait for one another. Blocks find out from the lengths who has what: each has one segment, or a
 * share of one where that takes less time. Lengths and the entries of the page table that a block
 * needs, copied to shared memory in one trip, do not change between launches, and are read while
 * the launch before ends. Blocks that share a segment add up a slice each. No plan on the host.
 * Where there are more segments than SMs, or of unequal length more than a third as many, it is
 * decode_paged_mma_r1 with launches that overlap. What a block, a warp and a thread own is in
 * core/decode_split.cuh.
 *
 * Floor: K and V of valid tokens once, 4 B Hkv mean(len) D bytes, of 8 bits half of that, over the
 * read rate; for short sequences two trips, keys and result.
 *
 * Measured on H200s, us warm / cold (bench_cuda; in the first form blocks that share counted their
 * arrivals, and lengths and table were read behind the wait):
 *                                         seed       B8 8/1 P64   B32 8/1 P16  B32 32/8 P16
 *                                         D64        S8192 D128   S4096 D128   S4096 D128
 *   decode_paged_mma_r1                   7.3 / 7.8  19.3 / 21.8  16.9 / 20.2  66.9 / 67.9
 *   first, 4 warps, two blocks an SM      5.9 / 6.4  14.3 / 16.6  16.6 / 20.0  69.6 / 70.1
 *   .. without launches that overlap      6.2 / 6.7  14.9 / 17.1  17.9 / 20.7  71.0 / 71.1
 *   .. 8 warps, one block an SM           4.9 / 5.5  15.8 / 17.9  18.4 / 21.8  82.4 / 81.9
 *   here                                  4.0 / 4.0  9.2 / 10.8   10.8 / 13.2  not: 75.3 / 75.0
 *   .. lengths and table behind the wait  5.2 / 5.6
 *   .. the table in memory                                        11.1         72.4
 *   .. 8 warps instead of 16 at D = 64    4.2 / 4.2
 * attest, FlashAttention-3 in the same run, bf16: B8 8/1 S8192 P64 9.2 (15.6), B32 8/1 S4096
 * P16 10.8 (16.8), B32 32/8 65.8 (70.3). Of E4M3, B64 32/8 P64 ragged 178, of f16 244.
 *
 * Tried where lengths differ (bf16, D 128, ragged; bench_cuda on an H200, us warm; bytes: at 4.54
 * TB/s; FlashAttention-3 by attest, in another run):
 *                                         B8 32/8    B32 32/4   B32 32/8   B32 8/1   B8 8/1
 *                                         S8192 P64  S4096 P16  S4096 P16  S4096 P16 S8192 P64
 *   bytes                                 28.2       25.9       51.8       6.5       3.5
 *   FlashAttention-3                      41.8       42.2       70.3       16.8      15.6
 *   decode_paged_mma_r1                   41.3       41.2       67.2       17.1      19.7
 *   mma's loop beyond as many segments    47.0       57.9       65.2       10.7      9.0
 *     as SMs
 *   here: beyond a third as many          39.5       39.6       64.7       10.7      9.0
 *   a warp has a stretch of the line of   40.5       41.7       69.8       13.3      10.9
 *     16-key tiles, queries in its ring
 *   .. never a segment to a block         40.4       41.8       69.9       15.5      12.5
 *   .. 4 warps, the next launch's block   40.8       43.2       70.2       14.3      11.1
 *     beside this one's
 * Predicted for the stretches of warps, where a boundary between segments holds up one warp and no
 * block: 35, 32.5, 58, 10.8 and 9.2. It takes away what boundaries cost, and no more. What is left
 * above the bytes is about the same for 32/4 and for 32/8, 13 to 18 us, and for FlashAttention-3
 * too; dense keys (decode_hopper_r1, B16 32/8 S2048) have 3. What it is is not known. */
#include "core/decode_split.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_DECODE_PAGED,
    .name = "hopper",
    .revision = 1,
    .grade = 'A',
    .change = "a segment a block or shares of one, lengths and table read before the wait, slices",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_PAGE | attn::BYTE_TRAITS,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::decode_refuse,
    .scratch_bytes = attn::decode_scratch_bytes,
    .prepare = attn::split_prepare<attn::split_paged_keys, attn::paged_keys>,
    .finish = attn::split_finish,
    .launch = attn::split_launch<attn::split_paged_keys, attn::paged_keys>,
};
