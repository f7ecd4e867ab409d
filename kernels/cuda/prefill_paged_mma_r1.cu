/* Prefill over paged keys on mma.sync, r1: chunks of prompts, guesses to verify. As prefill_mma_r1
 * for problems with traits, with the page table walked on the device: a lane reads the page of one
 * key, a tile ahead of the copies, and the copies take the rows from the lanes, so pages may have
 * any size. What a block, a warp and a thread own is in core/prefill.cuh.
 *
 * Floor: as of prefill_mma_r1; and 4 bytes a page, kv head and tile of queries. */
#include "core/prefill.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_PREFILL_PAGED,
    .name = "mma",
    .revision = 1,
    .grade = 'A',
    .change = "prefill_mma_r1 with keys looked up in the page table by lanes, a tile ahead",
    .traits = ATTN_GQA | ATTN_CAUSAL | ATTN_RAGGED | ATTN_PAGE | ATTN_QLENS | ATTN_WINDOW |
              ATTN_SOFTCAP | ATTN_SINK | ATTN_DV | attn::BYTE_TRAITS,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::prefill_refuse_any,
    .prepare = attn::prefill_prepare<attn::paged_keys>,
    .finish = attn::kernel_state_free,
    .launch = attn::prefill_launch<attn::paged_keys>,
};
