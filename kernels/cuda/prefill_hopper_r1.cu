/* Prefill on wgmma, r1. The method, and what a block, a warpgroup and a thread own, is in
 * core/prefill_hopper.cuh.
 *
 * Floor: 4 B Hq Sq Skv D operations, half of that if causal, over the rate of the tensor cores; at
 * D = 64 the exponentials take as long. What is left is power: after 150 ms an H200 runs at 1500 to
 * 1750 MHz, so that instructions and bytes count also where nobody waits for them.
 *
 * Measured on H200s, us burst / sustained (bench_cuda; the cards differ by 4 %), B8 64/16 S1024 D64
 * causal unless said:
 * - 156 to 160 / 171 to 180 (prefill_mma_r1 246 / 256); D 128 247 / 287; B2 32/8 S8192 D128 causal
 *   1433 / 1631 to 1672 (mma 2632 / 2821), full 2815 / 3152; D64 950 / 1075; B2 16/4 D256 1425 /
 * 1663.
 * - One buffer for queries instead of two: 193 / 195. One piece a block instead of a counter: 206 /
 *   206, and 1480 / 1696 at S8192 D128.
 * - Stages for 12 tiles instead of 8 (D128: 6): the same. Groups of kv heads of 20 MB instead of
 * 40, hints that K and V stay in L2 and Q and out do not: within 1 % either way.
 * - Exponentials of a diagonal tile skipped where a warp sees none: 161 / 179, the branches cost
 *   more. Q in registers does not fit beside 4, 3 or 2 warpgroups (ptxas serialises).
 * - Shares of 16 queries of 4 heads, so that tiles on the diagonal are cut to 16 or 32 keys: 164 /
 *   177, and 1509 / 1669 at S8192 D128, since the ring's place is then no longer in uniform
 * registers.
 * - With fewer instructions before and after the loop (core/prefill_hopper.cuh) 3 % in burst.
 * - ncu: tensor cores 47 % of what they can, issue slots 56 %, memory 40 %.
 */
#include "core/prefill_hopper.cuh"

namespace {
struct revision {
    template <int D> using shape = attn::hopper_shape<D, 1>;
};
} // namespace

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_PREFILL,
    .name = "hopper",
    .revision = 1,
    .grade = 'A',
    .change = "flash on wgmma: a warpgroup copies, others take row tiles of the heads of a kv head",
    .traits = ATTN_GQA | ATTN_CAUSAL,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::prefill_refuse,
    .scratch_bytes = attn::hopper_prefill_scratch<revision>,
    .prepare = attn::hopper_prefill_prepare<revision>,
    .finish = attn::hopper_prefill_finish,
    .launch = attn::hopper_prefill_launch,
};
