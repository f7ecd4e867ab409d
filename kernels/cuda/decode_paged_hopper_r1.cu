/* Decode over paged keys for sm_90, r1: decode_paged_mma_r1's loops, and fewer trips to memory that
 * wait for one another. Blocks find out from the lengths who has what: each has one segment, or a
 * share of one where that takes less time, and only where there are more segments than SMs a run of
 * several. Lengths and the entries of the page table that a block needs, copied to shared memory in
 * one trip, do not change between launches, and are read while the launch before ends. Blocks that
 * share a segment add up a slice each. No plan on the host. What a block, a warp and a thread own
 * is in core/decode_split.cuh.
 *
 * Floor: K and V of valid tokens once, 4 B Hkv mean(len) D bytes, over the read rate; for short
 * sequences two trips, keys and result.
 *
 * What its ideas were worth, us warm / cold on an H200, in a form where blocks that share counted
 * their arrivals, lengths and table were read behind the wait, and blocks that were left over had
 * a run of two segments (the next run has the numbers of this one):
 *                                     seed       B8 8/1 P64   B32 8/1 P16  B32 32/8 P16
 *                                     D64        S8192 D128   S4096 D128   S4096 D128
 *   decode_paged_mma_r1               7.4 / 7.9  19.4 / 21.8  16.9 / 20.1  66.3 / 67.0
 *   4 warps, two blocks an SM         5.9 / 6.4  14.3 / 16.6  16.6 / 20.0  69.6 / 70.1
 *   .. without launches that overlap  6.2 / 6.7  14.9 / 17.1  17.9 / 20.7  71.0 / 71.1
 *   8 warps, one block an SM          4.9 / 5.5  15.8 / 17.9  18.4 / 21.8  82.4 / 81.9
 *   8 warps of 12 KiB, two an SM      4.6 / 5.2  11.4 / 13.6  19.9 / 22.5  83.9 / 84.5
 * - Not to share short sequences: the seed problem 5.9, shared 7.3.
 * - Eight warps that add up one after the other between two segments keep an SM from reading; here
 *   they do it all at once, each at other columns. */
#include "core/decode_split.cuh"

namespace {
/* One block an SM, and most of its shared memory for rings: as many warps as registers allow. */
struct few {
    template <int D> using shape = attn::decode_form<D, D == 64 ? 16 : 8, D == 64 ? 12 : 24, 1>;
    static constexpr int CLUSTER_MAX = 1;
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
    .variant = ATTN_DECODE_PAGED,
    .name = "hopper",
    .revision = 1,
    .grade = 'A',
    .change = "a segment a block or shares of one, lengths and table read before the wait, slices",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_PAGE,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::decode_refuse,
    .prepare = attn::split_prepare<attn::split_paged_keys, few, many>,
    .finish = attn::split_finish,
    .launch = attn::split_launch<attn::split_paged_keys>,
};
