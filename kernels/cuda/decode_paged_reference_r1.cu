/* Decode over pages as PyTorch code without a fused kernel does it, r1: a loop over the sequences
 * and in it a loop over the tokens, which looks up the page and copies the key of all heads and
 * the value of all heads, two copies a token; then K and V repeated for every query head, cuBLAS
 * q K^T, scale, softmax, rounding, cuBLAS p V. This is the baseline of speed-ups: what a loop over
 * tokens costs, which is its copies. r2 has no loop over tokens; the method is in
 * core/reference_gather.cuh.
 *
 * Floor: two copies a token and seven launches a sequence.
 *
 * Measured on an H200, 3 sequences of 194, 22 and 131 tokens, 4/2 heads, D64, P64: 0.78 ms replayed
 * from a graph, 3.6 ms launched by the host. */
#include "core/reference_gather.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_DECODE_PAGED,
    .name = "reference",
    .revision = 1,
    .grade = 'B',
    .change = "a sequence at a time: its tokens copied one by one, then as decode_reference",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_PAGE,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::loop_refuse,
    .scratch_bytes = attn::paged_scratch_bytes,
    .prepare = attn::reference_prepare,
    .finish = attn::reference_finish,
    .launch = attn::paged_launch<attn::BY_LOOP>,
};
