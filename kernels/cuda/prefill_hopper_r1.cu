/* Prefill on wgmma, r1. The method, and what a block, a warpgroup and a thread own, is in
 * core/prefill_hopper.cuh.
 *
 * Floor: 4 B Hq Sq Skv D operations, half of that if causal, over the rate of the tensor cores; at
 * D = 64 the exponentials take as long. What is left is power: after 150 ms an H200 runs at 1500 to
 * 1750 MHz, so that instructions and bytes count also where nobody waits for them.
 *
 * Measured on H200s, us burst / sustained (bench_cuda; the cards differ by 4 %), B8 64/16 S1024 D64
 * causal unless said; in brackets what it was compared with, in the same run:
 * - 154 to 157 / 173 to 179 (prefill_mma_r1 246 / 256).
 * - One buffer for queries instead of two: 193 / 195. One piece a block instead of a counter: 206 /
 *   206, and 1480 / 1696 at S8192 D128.
 * - Stages for 12 tiles instead of 8 (D128: 6): the same. Groups of kv heads of 20 MB instead of
 *   40, hints that K and V stay in L2 and Q and out do not: within 1 % either way.
 * - Exponentials of a diagonal tile skipped where a warp sees none: 161 / 179, the branches cost
 *   more.
 * - Shares of 16 queries of 4 heads, so that tiles on the diagonal are cut to 16 or 32 keys: 164 /
 *   177, and 1509 / 1669 at S8192 D128, since the ring's place is then no longer in uniform
 *   registers.
 * - Queries in registers, since two operands from shared memory take all of its 128 bytes a clock:
 *   predicted 10 %; fits beside three warpgroups only: 173 / 194 (155 / 176), S8192 1015 / 1157
 * (953 / 1099).
 * - The next piece's first scores begun before the output of this one is written, to hide 1,000 of
 *   5,000 clocks between loops: 156 / 175 (150 / 172). What is there is work and not waiting.
 * - Output stored from registers instead of by the TMA: 151 / 174 (150 / 172), D128 236 / 280 (231
 * / 276); at D = 256, where it hands the one query buffer back sooner, B2 16/4 S8192 1399 / 1571
 *   (1413 / 1598): taken there.
 * - Warpgroups begun 500 clocks apart, against marching in step: the same.
 * - One logarithm a lane instead of two: 154.1 / 174.2 (155.0 / 175.8).
 * - The next piece asked for when two tiles are left instead of when this one begins, and lengths
 * of parts by the order that makes: bf16 B1 16/8 S2048 D256 53 / 59 (69 / 70), 32/8 512 of 8192
 * D128 108 / 118 (123 / 129).
 * - References move only where floats say so, too, and not wherever a row's maximum is far below
 *   zero: on data like a model's B1 32/8 S2048 D128 64 / 68 (69 / 72).
 * - ncu: tensor cores 47 % of what they can, issue slots 56 %, memory 40 %.
 */
#include "core/prefill_hopper.cuh"

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
    .scratch_bytes = attn::hopper_prefill_scratch,
    .prepare = attn::hopper_prefill_prepare<attn::hopper_alone>,
    .finish = attn::hopper_prefill_finish,
    .launch = attn::hopper_prefill_launch,
};
