/* Decode over pages as PyTorch code without a fused kernel does it, r2: a loop over the sequences,
 * in each a kernel copies all keys together and one all values, instead of r1's copies token by
 * token; the rest as r1. What PyTorch does where the pages are an index of one operation. The
 * method is in core/reference_gather.cuh.
 *
 * Floor: nine launches a sequence.
 *
 * Measured on an H200, 3 sequences of 194, 22, 131 tokens, 4/2 heads, P64 D64: 50 us in a graph.
 * PyTorch 2.11 itself (torch_baseline.py): 48 us (f16) and 71 (f32) in a graph, but 467 and 518
 * launched as PyTorch launches: the host's share, which a graph hides. */
#include "core/reference_gather.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_DECODE_PAGED,
    .name = "reference",
    .revision = 2,
    .grade = 'B',
    .change = "gathers with one kernel instead of a copy a token",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_PAGE,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::reference_refuse,
    .scratch_bytes = attn::paged_scratch_bytes,
    .prepare = attn::reference_prepare,
    .finish = attn::reference_finish,
    .launch = attn::paged_launch<attn::BY_KERNEL>,
};
