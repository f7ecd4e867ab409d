/* Prefill over paged keys on wgmma, r1: chunks of prompts, guesses to verify. As prefill_hopper_r4
 * in single blocks; tiles of keys are copied by the TMA in boxes that lie in one page. The method,
 * and what a block, a warpgroup and a thread own, is in core/prefill_hopper.cuh, what pages add in
 * core/prefill_hopper_paged.cuh.
 *
 * Pages whose size is no multiple of 8 are left to prefill_paged_mma.
 *
 * Floor: as of prefill_hopper_r1, and 4 bytes a page, kv head and piece.
 *
 * Measured on H200s, us burst / sustained, 512 of 8192 tokens, 32/8 heads, D 128, bf16: 101 / 115
 * with pages of 64, 126 / 133 of 16 (prefill_paged_mma_r1 284 and 297; without pages
 * prefill_hopper_r4 92 / 101 to 104). With the list of pieces made by a block of its own before the
 * kernel, from lengths on the device: 119 / 125 and 143 / 143, where 4 us had been predicted for
 * it.
 */
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
