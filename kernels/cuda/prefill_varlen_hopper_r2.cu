/* Prefill of sequences of unequal length on wgmma, r2: clusters of two blocks for D > 64, as in
 * prefill_hopper_r2.cu. The method is in core/prefill_hopper.cuh.
 *
 * Measured on H200s, us burst / sustained (bench_cuda, r1 in the same run in brackets): bf16 B4
 * 32/8 S1024 D128 causal, ragged: 25.3 / 25.3 (26.9 / 26.9), and 28.1 / 28.1 (28.2 / 28.2) on
 * another card.
 */
#include "core/prefill_hopper.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_PREFILL_VARLEN,
    .name = "hopper",
    .revision = 2,
    .grade = 'A',
    .change = "clusters of two blocks, for both of which keys and values are copied once (D > 64)",
    .traits = ATTN_GQA | ATTN_CAUSAL | ATTN_RAGGED,
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
