/* Prefill of sequences of unequal length on wgmma, r4: r3, and of a share whose keys are divided in
 * two one part stays in registers, as in prefill_hopper_r4.cu. The method is in
 * core/prefill_hopper.cuh.
 *
 * Measured on an H200, us burst / sustained (bench_cuda; r3 in the same run): B8 64/16 S1024 D64
 * causal, lengths 1024 468 631 258 353 599 732 94: 68.5 / 75.4 (70.0 / 76.6); bf16 B4 ragged S1024:
 * 32/8 D128 23.8 / 25.0 (24.4 / 25.5), eight heads of one kv head 15.3 (15.8).
 */
#include "core/prefill_hopper.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_PREFILL_VARLEN,
    .name = "hopper",
    .revision = 4,
    .grade = 'A',
    .change = "of keys divided in two one part stays in registers",
    .traits = ATTN_GQA | ATTN_CAUSAL | ATTN_RAGGED | ATTN_WINDOW | ATTN_SINK | ATTN_QLENS,
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
