/* Prefill of sequences of unequal length as PyTorch code without a fused kernel does it, r1: as
 * prefill_reference_r1 over all tokens, those beyond a length masked away. The baseline of every
 * speed-up; the method is in core/reference_dense.cuh.
 *
 * Floor: 36 B Hq Sq Skv bytes, whatever the lengths, over the copy rate.
 *
 * Measured on an H200, B8 64/16 S1024 D64 causal, lengths 1024 468 631 258 353 599 732 94: 5.86 ms.
 * PyTorch 2.11 itself (torch_baseline.py): padded and masked 5.4 to 5.6 ms in f16, 9.1 to 9.5 in
 * f32; a loop over the sequences 2.35 to 2.5 ms and 3.5 to 3.7. */
#include "core/reference_dense.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_PREFILL_VARLEN,
    .name = "reference",
    .revision = 1,
    .grade = 'B',
    .change = "all tokens, padded and masked: as prefill_reference",
    .traits = ATTN_GQA | ATTN_CAUSAL | ATTN_RAGGED,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::reference_refuse,
    .scratch_bytes = attn::dense_scratch_bytes,
    .prepare = attn::reference_prepare,
    .finish = attn::reference_finish,
    .launch = attn::dense_launch,
};
