/* Prefill over paged keys on wgmma, r1: chunks of prompts, guesses to verify. As prefill_hopper_r4
 * in single blocks; tiles of keys are copied by the TMA in boxes that lie in one page, and who does
 * what is found on the device. The method, and what a block, a warpgroup and a thread own, is in
 * core/prefill_hopper.cuh, what pages add in core/prefill_hopper_paged.cuh.
 *
 * Pages whose size is no multiple of 8 are left to prefill_paged_mma.
 *
 * Floor: as of prefill_hopper_r1; and 4 bytes a page, kv head and piece, and the plan before it.
 *
 * Predicted, not yet measured: 512 of 8192 tokens, 32/8 heads, D 128, pages of 64: 110 us
 * sustained, where without pages prefill_hopper_r4 takes 104.5 and r3 111.8: 4 us for the plan, 0.5
 * % for its lengths of parts. With pages of 16 a tile is 16 copies instead of 4, of which each
 * holds the copying warp for some 45 clocks, 720 of the 2,000 that a tile takes: the same. With
 * pages of 8 at D 256 it is 64, and that warp is what all wait for. */
#include "core/prefill_hopper_paged.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_PREFILL_PAGED,
    .name = "hopper",
    .revision = 1,
    .grade = 'A',
    .change =
        "prefill_hopper_r4 with boxes of pages copied by the TMA, and a plan made on the device",
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
