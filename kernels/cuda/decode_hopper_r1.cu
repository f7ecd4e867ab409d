/* Decode for sm_90, r1: decode_mma_r1's loops, and as little as can be beside reading K and V. A
 * block of 8 warps has an SM to itself, with 192 KiB of its shared memory for keys under way; how
 * many blocks share the keys of a kv head comes from a model of what reading and adding up cost;
 * those that share add up a slice each, up to 16 as a cluster, more through memory in one trip; and
 * a launch begins while the one before it ends. What a block, a warp and a thread own is in
 * core/decode_split.cuh.
 *
 * Floor: K and V read once, 4 B Hkv Skv D bytes over the read rate. What is left at small sizes is
 * the launch, one trip for the first keys, and one to the blocks that share.
 *
 * Model: 4.5 TB/s of all memory, 40 KB a us and SM, 1.5 us to share through memory and 2 ns with
 * each block more, 0.8 us in a cluster. The first two were fitted with 4 warps a block on B1 8/1
 * S8192 and B16 8/1 S2048, 4 to 128 blocks a kv head; what sharing costs is a guess until measured.
 *
 * What its ideas were worth, us warm on an H200, in a form where blocks that share counted their
 * arrivals (the next run has the numbers of this one):
 *                                   8/1 S8192  8/1 S131072  B16 8/1 S2048  32/8 S4096  64/16 S1024
 *                                        D128         D128           D128        D128      B8, D64
 *   decode_mma_r1                        23.3         53.5           11.0        10.7         11.7
 *   slices, 4 warps, two blocks an SM     8.0         22.8            9.8         9.8         12.8
 *   .. and launches that overlap          7.3         24.0            9.2         9.1         13.9
 *   .. and 8 warps, one block an SM       7.3         21.1            8.8         8.6          8.7
 * - Launches that overlap lose where blocks leave room on the SMs, for the next ones come two on
 *   an SM: B1 32/8 S131072 142.8, without 124.0, with one block an SM 123.3 (decode_mma_r1 125.4).
 * - A cluster instead of memory, 2, 4, 8 blocks: 0.7, 0.7 to 0.9, 0.1 to 0.8 less. Of 16 blocks two
 *   of which fit on an SM: 188 at S131072, for it then has half of the SMs.
 * - Keys prefetched to L2 before the wait: nothing warm; cold 0.3 less to 0.9 more.
 * - 8 warps of 12 KiB, two blocks an SM: 11.7, 11.0 and 9.4 where 24 KiB take 8.7, 8.6 and 7.3. */
#include "core/decode_split.cuh"

namespace {
/* One block an SM, and most of its shared memory for rings: the next launch's blocks come where
 * these end. */
struct few {
    template <int D> using shape = attn::decode_form<D, 8, 24, 1>;
    static constexpr int CLUSTER_MAX = 16;
};
/* More segments than SMs: while one block adds up what its warps have, the other reads. */
struct many {
    template <int D> using shape = attn::decode_form<D, 4, D == 256 ? 20 : 24, 2>;
    static constexpr int CLUSTER_MAX = 1;
};
} // namespace

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
    .traits = ATTN_GQA,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::decode_refuse,
    .prepare = attn::split_prepare<attn::dense_keys, few, many>,
    .finish = attn::split_finish,
    .launch = attn::split_launch<attn::dense_keys>,
};
