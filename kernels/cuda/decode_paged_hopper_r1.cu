/* Decode over paged keys for sm_90, r1: decode_paged_mma_r1's loops. A block has a sequence and kv
 * head to itself where that takes no longer than to share it and add up, which blocks find out from
 * the lengths, read in one trip; those that share add up a slice each, and a launch begins while
 * the one before it ends. No plan on the host. What a block, a warp and a thread own is in
 * core/decode_split.cuh.
 *
 * Floor: K and V of valid tokens once, 4 B Hkv mean(len) D bytes, over the read rate; for short
 * sequences four round trips: lengths, table, keys, result. */
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
    .change = "short sequences not shared, slices added up by all that share, launches overlap",
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
