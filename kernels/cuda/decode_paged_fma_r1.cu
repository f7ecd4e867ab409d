/* Decode over paged keys in f32 on the FMA units, r1: as decode_fma_r1, with a key's row looked up
 * in the page table by a lane, a tile ahead. What a block, a warp and a thread own is in
 * core/fma_decode.cuh.
 *
 * Floor: as of decode_fma_r1, of valid tokens; and 4 bytes a page and kv head. Right on an H200,
 * not yet timed. */
#include "core/fma_decode.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_DECODE_PAGED,
    .name = "fma",
    .revision = 1,
    .grade = 'A',
    .change = "decode_fma_r1 with keys looked up in the page table, a tile ahead",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_QLENS | ATTN_PAGE | ATTN_WINDOW | ATTN_SOFTCAP |
              ATTN_SINK | ATTN_ALIBI | ATTN_BIASED | ATTN_DV | ATTN_KSHARED | ATTN_KV_E4M3 |
              ATTN_KV_INT8 | ATTN_KV_HEAD | ATTN_KV_TOKEN,
    .dtypes = 1u << ATTN_F32 | 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_F32,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 1024,
    .refuse = attn::fma_refuse,
    .scratch_bytes = attn::fma_decode_scratch_bytes,
    .prepare = attn::fma_decode_prepare<false>,
    .finish = attn::kernel_state_free,
    .launch = attn::fma_decode_launch,
};
