/* Prefill of sequences of unequal length on wgmma, r1. The method, and what a block, a warpgroup
 * and a thread own, is in core/prefill_hopper.cuh; floors, and what was tried, in
 * prefill_hopper_r1.cu.
 *
 * Measured on H200s, us burst / sustained (bench_cuda): B8 64/16 S1024 D64 causal, lengths 1024 468
 * 631 258 353 599 732 94: 70 to 71 / 76 to 78 (prefill_varlen_mma_r1 107 / 107).
 */
#include "core/prefill_hopper.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_PREFILL_VARLEN,
    .name = "hopper",
    .revision = 1,
    .grade = 'A',
    .change = "flash on wgmma: a warpgroup copies, others take row tiles of the heads of a kv head",
    .traits = ATTN_GQA | ATTN_CAUSAL | ATTN_RAGGED,
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
