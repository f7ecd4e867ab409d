/* Decode over paged keys on mma.sync, r1: as decode_mma_r1, with the page table walked on the
 * device a tile ahead of the copies. No plan on the host: blocks find their equal parts from indptr
 * and the last pages' lengths, one round trip at the start. Pages of any size; a key's row is
 * looked up by a lane of its own, so pages need not divide tiles. What a block, a warp and a thread
 * own is in core/decode.cuh.
 *
 * Floor: K and V of valid tokens once, 4 B Hkv mean(len) D bytes, of 8 bits half of that, over the
 * read rate; plus 4 bytes a page and kv head.
 *
 * Measured on an H200 (read rate 4.40 to 4.60 TB/s by machine):
 * - B64 32/8 D128, mean 8k, pages of 64: 485 to 506 us, 97 % of the read rate; of 16: 497 to 513.
 * - 3 sequences of 194, 22 and 131 tokens, 4/2 heads, D64: 9.9 us with two tiles a block at least,
 *   7.3 to 7.9 with one: five round trips, and the launch. */
#include "core/decode.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_DECODE_PAGED,
    .name = "mma",
    .revision = 1,
    .grade = 'A',
    .change = "equal parts of all tiles found on the device, page table read a tile ahead",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_PAGE | ATTN_QLENS | ATTN_WINDOW | ATTN_SOFTCAP |
              ATTN_SINK | ATTN_DV | attn::BYTE_TRAITS,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::decode_refuse_any,
    .scratch_bytes = attn::decode_scratch_bytes,
    .prepare = attn::decode_prepare<attn::paged_keys, true, false>,
    .finish = attn::kernel_state_free,
    .launch = attn::decode_launch<attn::paged_keys, true, false>,
};
