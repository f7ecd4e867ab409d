/* Prefill over paged keys on wgmma, r1: chunks of prompts, guesses to verify. As prefill_hopper_r4
 * in single blocks; tiles of keys are copied by the TMA in boxes that lie in one page. The method,
 * and what a block, a warpgroup and a thread own, is in core/prefill_hopper.cuh, what pages add in
 * core/prefill_hopper_paged.cuh.
 *
 * Pages whose size is no multiple of 8 are left to prefill_paged_mma.
 *
 * Floor: as of prefill_hopper_r1, and 4 bytes a page, kv head and piece.
 *
 * Measured on an H200, us burst / sustained, bench_cuda, 512 of 8192 tokens, 32/8 heads, D 128,
 * bf16, with the list of pieces made by a block of its own before the kernel, from lengths on the
 * device: 119 / 125 with pages of 64, 143 / 143 of 16 (prefill_paged_mma_r1 283 / 281 and 299 /
 * 297; without pages prefill_hopper_r4 92 / 101). Predicted had been 4 us for that list and the
 * same else. It is prepare that makes it now, as of the kernels without pages. */
#include "core/prefill_hopper_paged.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_PREFILL_PAGED,
    .name = "hopper",
    .revision = 1,
    .grade = 'A',
    .change = "prefill_hopper_r4 with boxes of pages copied by the TMA",
    .traits =
        ATTN_GQA | ATTN_CAUSAL | ATTN_RAGGED | ATTN_PAGE | ATTN_QLENS | ATTN_WINDOW | ATTN_SINK,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::hopper_paged_refuse,
    .scratch_bytes = attn::hopper_paged_scratch,
    .prepare = attn::hopper_paged_prepare,
    .finish = attn::hopper_prefill_finish,
    .launch = attn::hopper_paged_launch,
};
