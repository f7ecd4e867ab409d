/* Prefill of sequences of unequal length on mma.sync, r1. The method, and what a block, a warp and
 * a thread own, is in core/prefill.cuh.
 *
 * Floor: 4 B Hq Sq Skv D operations, half of that if causal, over the rate of the tensor cores;
 * mma.sync reaches about two thirds of what wgmma does on an H200. At D = 64 a 64 x 128 tile takes
 * about 800 clocks of an SM in products and 512 in exponentials. Bytes do not bound it.
 *
 * Measured on an H200, B8 64/16 S1024 D64 causal, lengths 1024 468 631 258 353 599 732 94:
 * - 108 us warm and cold, 210 TFLOP/s of valid pairs; FlashAttention-3 100, Triton 116.
 * - Two blocks on an SM with 64 keys a step: 116 us; three with 32 keys: 109; a fourth stage: 108.
 * - Blocks of 64 rows, six on an SM: 111 to 112: not taken. */
#include "core/prefill.cuh"

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CUDA,
    .variant = ATTN_PREFILL_VARLEN,
    .name = "mma",
    .revision = 1,
    .grade = 'A',
    .change = "flash on mma.sync: 32 rows a warp, lazy rescaling, causal tiles skipped by warp",
    .traits = ATTN_GQA | ATTN_CAUSAL | ATTN_RAGGED | ATTN_QLENS | ATTN_WINDOW | ATTN_SOFTCAP |
              ATTN_SINK | ATTN_DV | attn::BYTE_TRAITS,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = 256,
    .refuse = attn::prefill_refuse_any,
    .prepare = attn::prefill_prepare<attn::dense_keys>,
    .finish = attn::kernel_state_free,
    .launch = attn::prefill_launch<attn::dense_keys>,
};
