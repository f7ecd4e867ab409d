/* Decode over lists of tokens in pages as PyTorch code without a fused kernel does it, r2: a loop
 * over sequences and query heads, in each a kernel copies all keys on the list together and one all
 * values, instead of r1's copies token by token; the rest as r1. What PyTorch does where the list
 * is an index of one operation. The method is in core/reference_gather.cuh.
 *
 * Floor: seven launches a row of the output.
 *
 * Measured on an H200, B3 32/8 D256 P256, 270, 350 and 321 pages, 2 %: 1.88 ms in a graph.
 * PyTorch 2.11 itself (torch_baseline.py): 3.5 ms (f16) and 4.5 (f32) in a graph, 29 and 36 ms
 * launched as PyTorch launches. */
#include "core/reference_gather.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_SPARSE_DECODE_PAGED,
    .name = "reference",
    .revision = 2,
    .grade = 'B',
    .change = "gathers with one kernel instead of a copy a token",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::reference_refuse,
    .scratch_bytes = attn::lists_scratch_bytes,
    .prepare = attn::reference_prepare,
    .finish = attn::reference_finish,
    .launch = attn::lists_launch<attn::BY_KERNEL>,
};
