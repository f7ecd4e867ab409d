/* Prefill in f32 on the FMA units, r1: for f32, and for what the other methods refuse -- every
 * trait, any D and Dv to 1024, f16 and bf16 as well, keys and values of 8 bits -- all known at run
 * time. P is not rounded. The method, and what a block, a warp and a thread own, is in
 * core/fma_prefill.cuh.
 *
 * Floor: 2 B Hq Sq Skv (D + Dv) operations, half of that if causal, over the rate of the FMA units:
 * 67 TFLOP/s of an H200 (132 SMs of 128, 1.98 GHz). With values of more than 256 columns the
 * scores are computed once for every 256.
 *
 * Of what a warp issues, by the code for sm_90a, D = Dv = 64, 128 and 256: 78, 78 and 76 % are FMAs
 * (in the loops over scores 90, 90 and 84 %, over values 92, 92 and 94 %; the rest are copies,
 * the softmax, and 2 to 3 % for sums of 32 columns apart), so that no more can be reached.
 * Measured on an H200, bench_cuda, us sustained, f32, B1, 8 heads, S2048, not causal: D128 499 (34
 * TFLOP/s), D64 350 (25): 128 tiles of rows, where there is room for two on each of 132 SMs.
 * - Scores 8 x 4 a thread at 128 columns, three blocks on an SM instead of two: 168 registers were
 *   too few by 26, and scores would take shared memory 96 clocks of 128, not 64.
 * - Maxima and sums in shared memory, and what a block works on: 16 registers, without which there
 *   were spills.
 * f16 and bf16 are widened in registers between two barriers, and wait there for what they read:
 * f32 does not. */
#include "core/fma_prefill.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_PREFILL,
    .name = "fma",
    .revision = 1,
    .grade = 'A',
    .change = "flash in f32 on the FMA units, 8 rows a thread; every trait at run time",
    .traits = ATTN_GQA | ATTN_CAUSAL | ATTN_WINDOW | ATTN_SOFTCAP | ATTN_SINK | ATTN_ALIBI |
              ATTN_BIASED | ATTN_DV | ATTN_KSHARED | ATTN_KV_E4M3 | ATTN_KV_INT8 | ATTN_KV_HEAD |
              ATTN_KV_TOKEN,
    .dtypes = 1u << ATTN_F32 | 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_F32,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 1024,
    .refuse = attn::fma_prefill_refuse,
    .prepare = attn::fma_prefill_prepare,
    .finish = attn::kernel_state_free,
    .launch = attn::fma_prefill_launch,
};
