/* Decode for sm_90, r1: decode_mma_r1's loops, and as little as can be beside reading K and V. A
 * block of 8 warps, 16 at D = 64, has an SM to itself, with 192 KiB of its shared memory for keys
 * under way; how many blocks share the keys of a kv head comes from a model of what reading and
 * adding up cost; those that share add up a slice each, through memory in one trip; and a launch
 * begins while the one before it ends. Where there are more segments than SMs it is decode_mma_r1.
 * What a block, a warp and a thread own is in core/decode_split.cuh.
 *
 * Floor: K and V read once, 4 B Hkv Skv D bytes over the read rate, of 8 bits half of that. What is
 * left at small sizes is the launch, one trip for the first keys, and one to the blocks that share.
 *
 * Keys and values of E4M3, B64 32/8 S8192 D128 f16: 287 to 292 us, of f16 473 to 475 (decode_mma_r1
 * 318 and 476): 1.63 times as fast, not the 1.9 of the bytes.
 *
 * Model: 4.5 TB/s of all memory, 40 KB a us and SM, 1.5 us to share and 2 ns with each block more.
 *
 * Measured on H200s, us warm / cold (bench_cuda; decode_mma_r1 in another run):
 *   B8 64/16 S1024 D64       7.0 / 10.5   (11.8 / 14.6); with 8 warps instead of 16 8.1 / 10.2
 *   B1 32/8 S4096 D128       7.4 / 9.3    (10.7 / 12.9)
 *   B1 8/1 S8192             6.5 / 7.3    (23.3 / 24.0)
 *   B1 8/1 S131072           22.7 / 22.8  (53.7 / 53.8)
 *   B16 8/1 S2048            7.4 / 9.3    (11.0 / 13.2)
 *   B16 32/8 S2048           32.4 / 32.4  (36.7 / 36.8)
 *   B1 32/8 S131072          125.7        (127.9)
 *
 * What its ideas were worth, us warm, in a form where blocks that share counted their arrivals:
 *                                   8/1 S8192  8/1 S131072  B16 8/1 S2048  32/8 S4096  64/16 S1024
 *                                        D128         D128           D128        D128      B8, D64
 *   decode_mma_r1                        23.3         53.5           11.0        10.7         11.7
 *   slices, 4 warps, two blocks an SM     8.0         22.8            9.8         9.8         12.8
 *   .. and launches that overlap          7.3         24.0            9.2         9.1         13.9
 *   .. and 8 warps, one block an SM       7.3         21.1            8.8         8.6          8.7
 *   and here                              6.6         22.9            7.4         7.4          8.1
 * - Launches that overlap lose where blocks leave room on the SMs, for the next ones come two on
 *   an SM: B1 32/8 S131072 142.8, without 124.0, with one block an SM 123.3.
 * - Blocks that share as a cluster, by distributed shared memory: predicted 0.7 us less; an H200
 * has room for 15 clusters of 8 blocks of this size, 7 of 16: B16 S2048 13.4, S4096 13.7, where two
 *   waves come of it; 4 blocks each of 64 in all 8.4 (7.4 with 128 blocks).
 * - Keys prefetched to L2 before the wait: nothing warm; cold 0.3 less to 0.9 more.
 * - 8 warps of 12 KiB, two blocks an SM: 11.7, 11.0 and 9.4 where 24 KiB take 8.7, 8.6 and 7.3. */
#include "core/decode_split.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_DECODE,
    .name = "hopper",
    .revision = 1,
    .grade = 'A',
    .change =
        "a block an SM, blocks a segment by a model of costs, slices added up by all, overlap",
    .traits = ATTN_GQA | attn::BYTE_TRAITS,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::decode_refuse,
    .scratch_bytes = attn::decode_scratch_bytes,
    .prepare = attn::split_prepare<attn::dense_keys, attn::dense_keys>,
    .finish = attn::split_finish,
    .launch = attn::split_launch<attn::dense_keys, attn::dense_keys>,
};
