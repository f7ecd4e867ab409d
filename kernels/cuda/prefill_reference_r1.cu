/* Prefill as PyTorch code without a fused kernel does it, r1: K and V repeated for every query
 * head, cuBLAS Q K^T in f32 into memory, scale, mask, softmax, rounding of P, cuBLAS P V, a kernel
 * each. The baseline of every speed-up; the method is in core/reference_dense.cuh.
 *
 * Floor: scores are written and read by five kernels, P by two: 36 B Hq Sq Skv bytes, causal or
 * not, over the copy rate.
 *
 * Measured on an H200, B8 64/16 S1024 D64 causal: 5.78 ms. PyTorch 2.11 itself (torch_baseline.py):
 * 5.1 to 5.4 ms in f16 with softmax in f32, 8.9 to 9.3 in f32 throughout. One fused kernel for
 * scale, mask and softmax, and K and V not repeated: 2.73 ms; that is what PyTorch does not do. */
#include "core/reference_dense.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_PREFILL,
    .name = "reference",
    .revision = 1,
    .grade = 'B',
    .change = "K and V repeated, cuBLAS scores, scale, mask, softmax, cuBLAS values",
    .traits = ATTN_GQA | ATTN_CAUSAL,
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
