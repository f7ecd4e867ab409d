/* Decode on mma.sync, r1: split over the keys by equal parts of all tiles, the query heads of a kv
 * head packed in one product. What a block, a warp and a thread own is in core/decode.cuh.
 *
 * Floor: K and V read once, 4 B Hkv Skv D bytes, of 8 bits half, over the read rate; a product of
 * 16 rows takes an eighth of that time. What is left at small sizes is latency: one round trip for
 * K and V, one for the partial sums.
 *
 * Measured on an H200 (read rate 4.40 to 4.60 TB/s by machine), D 128 unless said:
 * - B64 32/8 S8192 475 to 492 us, 98 to 99 % of the read rate; B1 S131072 127 to 132 us, 93 %.
 * - B8 64/16 S1024 D64: 14.6 us with the tiles spread over all 264 blocks, so that blocks took
 * parts of two segments and merged twice; 11.7 to 12.5 warm, 15 cold with 256 blocks of one part
 * (cuDNN 9.7).
 * - B1 32/8 S4096: 12.0 us with partial sums added 8 at a time, 10.9 to 11.3 with 16 (cuDNN 9.2).
 */
#include "core/decode.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_DECODE,
    .name = "mma",
    .revision = 1,
    .grade = 'A',
    .change = "equal parts of all tiles a block, query heads packed, last block combines",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_QLENS | ATTN_WINDOW | ATTN_SOFTCAP | ATTN_SINK |
              ATTN_DV | attn::BYTE_TRAITS,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::decode_refuse_any,
    .scratch_bytes = attn::decode_scratch_bytes,
    .prepare = attn::decode_prepare<attn::dense_keys, true, false>,
    .finish = attn::kernel_state_free,
    .launch = attn::decode_launch<attn::dense_keys, true, false>,
};
