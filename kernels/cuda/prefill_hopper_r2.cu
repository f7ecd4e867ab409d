/* Prefill on wgmma, r2: clusters of two blocks, for both of which keys and values are copied once.
 * The method, and what a block, a warpgroup and a thread own, is in core/prefill_hopper.cuh.
 *
 * Predicted: a sustained prefill is bound by power, and fewer bytes from L2 are worth clock.
 *
 * Measured on H200s, us burst / sustained (bench_cuda, r1 in the same runs in brackets):
 * - B2 16/4 S8192 D256 causal 1386 / 1565 (1399 / 1668); B2 32/8 S8192 D128 causal 1436 / 1612
 * (1439 / 1651), full 2818 / 3090 (2822 / 3125); B8 64/16 S1024 D128 243 / 284 (245 / 290).
 * - At D = 64, where four warpgroups share a tile already, 966 / 1076 (964 / 1087) at S8192 and 165
 * / 177 (158 / 175) at S1024: there it is r1.
 * - Clusters of four: 1458 / 1627 at D 256, 1520 / 1698 at D 128: not taken.
 * - Arriving at the neighbour's barrier as .release.cluster compiles to fences for all of memory:
 *   1774 / 2004 at S8192 D128. What was read was read by products that have ended: .relaxed does.
 */
#include "core/prefill_hopper.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_PREFILL,
    .name = "hopper",
    .revision = 2,
    .grade = 'A',
    .change = "clusters of two blocks, for both of which keys and values are copied once (D > 64)",
    .traits = ATTN_GQA | ATTN_CAUSAL,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::prefill_refuse,
    .scratch_bytes = attn::hopper_prefill_scratch,
    .prepare = attn::hopper_prefill_prepare<attn::hopper_in_twos>,
    .finish = attn::hopper_prefill_finish,
    .launch = attn::hopper_prefill_launch,
};
