/* Decode over tokens that LSH sampled, in pages, as PyTorch code without a fused kernel does it,
 * r1: as sparse_decode_paged_reference_r1, a loop over tokens with two copies each, and a kernel
 * that corrects the scores. This is the baseline of speed-ups; r2 has no loop over tokens. The
 * method is in core/reference_gather.cuh.
 *
 * Floor: two copies a token of every list and six launches a row of the output. */
#include "core/reference_gather.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_MAGICPIG_DECODE_PAGED,
    .name = "reference",
    .revision = 1,
    .grade = 'B',
    .change = "a row at a time: its tokens copied one by one, then cuBLAS, softmax, cuBLAS",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_MAGICPIG,
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
