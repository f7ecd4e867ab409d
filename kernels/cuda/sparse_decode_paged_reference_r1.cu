/* Decode over lists of tokens in pages as PyTorch code without a fused kernel does it, r1: a loop
 * over sequences, query heads and the tokens on the list, which looks up the page and copies the
 * key and the value, two copies a token; then cuBLAS q K^T, scale, softmax, rounding, cuBLAS p V.
 * This is the baseline of speed-ups: what a loop over tokens costs, which is its copies. r2 has no
 * loop over tokens; the method is in core/reference_gather.cuh.
 *
 * Floor: two copies a token of every list and five launches a row of the output.
 *
 * Measured on an H200, B3 32/8 D256 P256, 270, 350 and 321 pages, 2 %: 1.66 s for 307,000 copies,
 * which is what the host takes to ask for them. PyTorch 2.11 with such a loop (torch_baseline.py)
 * takes 25.6 ms for one row of the 96, 2.5 s for all. */
#include "core/reference_gather.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_SPARSE_DECODE_PAGED,
    .name = "reference",
    .revision = 1,
    .grade = 'B',
    .change = "a row at a time: its tokens copied one by one, then cuBLAS, softmax, cuBLAS",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::loop_refuse,
    .scratch_bytes = attn::lists_scratch_bytes,
    .prepare = attn::reference_prepare,
    .finish = attn::reference_finish,
    .launch = attn::lists_launch<attn::BY_LOOP>,
};
