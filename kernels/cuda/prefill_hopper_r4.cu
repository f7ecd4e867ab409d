/* Prefill on wgmma, r4: r3, and of a share whose keys are divided in two one part stays in
 * registers. The method is in core/prefill_hopper.cuh, what is new in
 * core/prefill_hopper_parts.cuh.
 *
 * Predicted: to write a part, and for the last to read all, costs as much as 4 steps of a tile,
 * which is why 512 of 8192 tokens of 32/8 heads are planned as 92.5 steps where 83 would be even.
 * Half the bytes, and no fence or counter to wait for in between: 1.5 steps, 88.5 in all, 4 % less.
 *
 * Measured on an H200, us burst / sustained (bench_cuda; r3 in the same run), bf16, causal:
 * - B1 32/8, 512 of 8192, D128: 92.5 / 104.5 (100.2 / 111.8); 32/4 92 / 100 (99 / 107); 64/8 D64
 * 120 / 131 (121 / 131); eight heads of one kv head 34 (36).
 * - S2048: 32/8 D128 53 / 61 (57 / 62), eight heads of one 22 (23).
 * - f16 B8 64/16 S1024 D64: 152 / 173 (154.5 / 175.6).
 * - That a part is there said when the next piece is found, not at once: the same, and warpgroups
 *   could wait for one another in a circle.
 * - Launches that overlap (overlap.cuh): eight heads of one kv head, S2048, 21.6 instead of 22.3,
 * 512 of 8192 33.6 instead of 33.3; 32/8 the same.
 * - At D = 64, where exponentials take half of the time by their number, an eighth, a quarter or
 *   three of them as polynomials on the units that multiply: predicted 140 in a burst, got 178 /
 * 194, 184 / 202 and 193 / 210 (151 / 172). A warp has no time to issue more between products.
 */
#include "core/prefill_hopper.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_PREFILL,
    .name = "hopper",
    .revision = 4,
    .grade = 'A',
    .change = "of keys divided in two one part stays in registers",
    .traits = ATTN_GQA | ATTN_CAUSAL | ATTN_WINDOW | ATTN_SINK,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::prefill_refuse,
    .scratch_bytes = attn::hopper_prefill_scratch,
    .prepare =
        attn::hopper_prefill_prepare_any<attn::hopper_alone_pairs, attn::hopper_in_twos_pairs>,
    .finish = attn::hopper_prefill_finish,
    .launch = attn::hopper_prefill_launch,
};
