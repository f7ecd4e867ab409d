/* Decode over lists of tokens by a mask, r1: K and V repeated for every query head, values that are
 * not on the list as zeros, cuBLAS scores of all tokens, scale, the mask, softmax, rounding, cuBLAS
 * p V. A baseline; the method is in core/reference_mask.cuh.
 *
 * Floor: K and V read, written for every query head and read again, 4 B (Hkv + 2 Hq) Skv D bytes,
 * over the copy rate.
 *
 * Measured on an H200, B1 32/8 S32000 D128 2 %: 325 us. PyTorch 2.11 itself (torch_baseline.py):
 * 711 us in f16 with softmax in f32, 1716 in f32 (graphs). With a fused softmax and K and V not
 * repeated: 206 us. */
#include "core/reference_mask.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_SPARSE_DECODE,
    .name = "bymask",
    .revision = 1,
    .grade = 'B',
    .change = "scores of all tokens, masked by the lists",
    .traits = ATTN_GQA | ATTN_KEEP,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::reference_refuse,
    .scratch_bytes = attn::mask_scratch_bytes,
    .prepare = attn::reference_prepare,
    .finish = attn::reference_finish,
    .launch = attn::mask_launch,
};
