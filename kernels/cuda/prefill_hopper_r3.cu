/* Prefill on wgmma, r3: single blocks or clusters of two, by what the plan of each says. The
 * method, and what a block, a warpgroup and a thread own, is in core/prefill_hopper.cuh.
 *
 * Predicted: where pieces are few, twice as many of half the size are dealt more evenly than
 * clusters save in copies: 512 of 8192 tokens of 32/8 heads are 88 pieces for 132 blocks, or 48 for
 * 66, the last of each head partly empty: 92.5 steps of a tile against 103.5.
 *
 * Measured on an H200, us burst / sustained (bench_cuda; r1, r2 in the same run), bf16, causal:
 * - B1 32/8, 512 of 8192, D128: 100 / 110 (100 / 110, 108 / 117); 32/4 99 / 106 (99 / 107, 99 /
 * 107).
 * - S2048: 32/8 D128 56 / 61 (56 / 61, 57 / 60); 16/8 D256 53 / 60 (53 / 60, 52 / 58), where the
 * plan said single blocks; what it takes sharing to be worth at D = 256 was fitted to that since.
 * - Eight heads of one kv head: S2048 24 (23, 24), 512 of 8192 36 (34, 36).
 */
#include "core/prefill_hopper.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_PREFILL,
    .name = "hopper",
    .revision = 3,
    .grade = 'A',
    .change = "single blocks or clusters of two, by what the plan says is done sooner",
    .traits = ATTN_GQA | ATTN_CAUSAL | ATTN_WINDOW | ATTN_SINK,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::prefill_refuse,
    .scratch_bytes = attn::hopper_prefill_scratch,
    .prepare = attn::hopper_prefill_prepare_any<attn::hopper_alone, attn::hopper_in_twos>,
    .finish = attn::hopper_prefill_finish,
    .launch = attn::hopper_prefill_launch,
};
