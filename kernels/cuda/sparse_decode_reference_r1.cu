/* Decode over lists of tokens as PyTorch code without a fused kernel does it, r1: a loop over
 * sequences and query heads, in each the rows on the list are copied together, then cuBLAS q K^T,
 * scale, softmax, rounding, cuBLAS p V. The baseline of every speed-up; the method is in
 * core/reference_gather.cuh.
 *
 * Floor: seven launches a row of the output.
 *
 * Measured on an H200, B1 32/8 S32000 D128 2 %: 441 us in a graph. PyTorch 2.11 itself
 * (torch_baseline.py): 592 us (f16) and 730 (f32) in a graph, 4.8 and 5.4 ms launched as PyTorch
 * launches. */
#include "core/reference_gather.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_SPARSE_DECODE,
    .name = "reference",
    .revision = 1,
    .grade = 'B',
    .change = "a row at a time: its tokens copied together, cuBLAS, softmax, cuBLAS",
    .traits = ATTN_GQA | ATTN_KEEP,
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
