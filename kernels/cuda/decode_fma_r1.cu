/* Decode in f32 on the FMA units, r1: for f32, and for what the other methods refuse -- every
 * trait, any D and Dv to 1024, f16 and bf16 as well, keys and values of 8 bits -- all known at run
 * time. P is not rounded. The method, and what a block, a warp and a thread own, is in
 * core/fma_decode.cuh.
 *
 * Floor: K and V read once, 2 B Hkv Skv (D + Dv) times the bytes of an element, over the read rate.
 * For more query heads a kv head than 8 (D to 128), 4 (to 256) or 1 they are read again, from L2
 * where it holds them: absorbed MLA, 128 heads of 576, reads its keys 128 times.
 * Measured on an H200, bench_cuda: f32 B16, 8 heads, S8192, D128 242 us, 97 % of the read rate.
 */
#include "core/fma_decode.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_DECODE,
    .name = "fma",
    .revision = 1,
    .grade = 'A',
    .change =
        "equal parts of all tiles a block, rows shared by up to 8 heads; every trait at run time",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_QLENS | ATTN_WINDOW | ATTN_SOFTCAP | ATTN_SINK |
              ATTN_ALIBI | ATTN_BIASED | ATTN_DV | ATTN_KSHARED | ATTN_KV_E4M3 | ATTN_KV_INT8 |
              ATTN_KV_HEAD | ATTN_KV_TOKEN,
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
