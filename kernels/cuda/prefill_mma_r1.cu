/* Prefill on mma.sync, r1. The method, and what a block, a warp and a thread own, is in
 * core/prefill.cuh.
 *
 * Floor: 4 B Hq Sq Skv D operations, half of that if causal, over the rate of the tensor cores;
 * mma.sync reaches about two thirds of what wgmma does on an H200. At D = 64 a 64 x 128 tile takes
 * about 800 clocks of an SM in products and 512 in exponentials. Bytes do not bound it.
 *
 * Measured on an H200 (cuBLAS GEMM rate 760 TFLOP/s), B8 64/16 S1024 D64 causal unless said:
 * - 246 to 255 us warm, 258 to 265 cold, 275 TFLOP/s; cuDNN 207, FlashAttention-3 224, Triton 278.
 * - Two blocks on an SM, 64 keys a step, Q in registers: 258 to 268 us, and varlen 116. Three
 * blocks, 32 keys, Q from shared memory: 250 to 261, varlen 109, but 1670 instead of 1610 us at B2
 * S8192: so the number of keys decides (SHORT_KEYS). A fourth stage: 1 % better, if anything.
 * - Three blocks with Q in registers 260 to 281 us; 48 keys 273 to 278; 32 keys and two blocks 275
 * to 283; 16 rows a warp, in blocks of 4 or 8 warps, 257 to 276; two stages 263 to 275: not taken.
 * - Blocks of 64 rows, six on an SM: 236 to 244 warm, but 269 cold and varlen 112: not taken.
 * - The chip is power-limited: the same binary took 299 us just after GEMMs of 8192^3.
 * - D 128, B2 S8192 causal 2.66 ms (413 TFLOP/s), full 5.7 ms; D 256 3.5 ms (317): half of wgmma's.
 */
#include "core/prefill.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_PREFILL,
    .name = "mma",
    .revision = 1,
    .grade = 'A',
    .change = "flash on mma.sync: 32 rows a warp, lazy rescaling, causal tiles skipped by warp",
    .traits = ATTN_GQA | ATTN_CAUSAL | ATTN_WINDOW | ATTN_SOFTCAP | ATTN_SINK | ATTN_DV |
              attn::BYTE_TRAITS,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::prefill_refuse_any,
    .prepare = attn::prefill_prepare<attn::dense_keys>,
    .finish = attn::kernel_state_free,
    .launch = attn::prefill_launch<attn::dense_keys>,
};
