/* Prefill of sequences of unequal length on wgmma, r3: single blocks or clusters of two, by what
 * the plan of each says, as in prefill_hopper_r3.cu. The method is in core/prefill_hopper.cuh.
 *
 * Measured on H200s, us burst / sustained: B8 64/16 S1024 D64 causal, lengths 1024 468 631 258 353
 * 599 732 94: 70 / 76; bf16 B4 ragged S1024 (bench_cuda; r1, r2 in the same run): 32/8 D128 24.1 /
 * 25.0 (24.1 / 24.8, 25.1 / 25.5), 16/8 D256 30.4 / 30.4 (29.7 / 29.8, 30.2 / 30.2).
 */
#include "core/prefill_hopper.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_PREFILL_VARLEN,
    .name = "hopper",
    .revision = 3,
    .grade = 'A',
    .change = "single blocks or clusters of two, by what the plan says is done sooner",
    .traits = ATTN_GQA | ATTN_CAUSAL | ATTN_RAGGED | ATTN_WINDOW | ATTN_SINK | ATTN_QLENS,
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
