/* Decode for sm_90, r1: decode_mma_r1's loops; how many blocks share the keys of a kv head comes
 * from a model of what reading and adding up cost, those that share add up a slice each, up to 8 of
 * them as a cluster, and a launch begins while the one before it ends. What a block, a warp and a
 * thread own is in core/decode_split.cuh.
 *
 * Floor: K and V read once, 4 B Hkv Skv D bytes over the read rate. What is left at small sizes is
 * the launch, one round trip for the first keys, and two to share: there, and back. */
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
    .change = "blocks a segment by a model of costs, slices added up by all, launches overlap",
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
