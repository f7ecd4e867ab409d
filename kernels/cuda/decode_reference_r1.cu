/* Decode as PyTorch code without a fused kernel does it, r1: K and V repeated for every query head,
 * cuBLAS q K^T in f32 into memory, scale, softmax, rounding of p, cuBLAS p V, a kernel each. The
 * baseline of every speed-up; the method is in core/reference_dense.cuh.
 *
 * Floor: K and V read, written for every query head and read again, 4 B (Hkv + 2 Hq) Skv D bytes,
 * over the copy rate.
 *
 * Measured on an H200, B8 64/16 S1024 D64: 107 us. PyTorch 2.11 itself (torch_baseline.py): 206 us
 * in f16 with softmax in f32, 538 in f32 (graphs). With the query heads of a kv head as rows of one
 * product instead of repeated K and V: 17 us. */
#include "core/reference_dense.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_DECODE,
    .name = "reference",
    .revision = 1,
    .grade = 'B',
    .change = "K and V repeated, cuBLAS scores, scale, softmax, cuBLAS values",
    .traits = ATTN_GQA,
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
