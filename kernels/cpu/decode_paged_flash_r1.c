/* Decoding over pages: as decode_flash, the 64 rows of a block looked up through the page table,
 * one 32-bit division a token. */
#include "core/attention.h"

static const struct lookup lookup = {
    .place = lookup_paged,
    .sees = SEES_ALL,
};

static size_t scratch_bytes(const struct attn_problem *problem) {
    return attention_scratch_bytes(problem, &lookup, FLASH);
}

static const char *launch(const struct attn_problem *problem, const struct attn_call *call) {
    return attention_launch(problem, call, &lookup, FLASH);
}

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CPU,
    .variant = ATTN_DECODE_PAGED,
    .name = "flash",
    .revision = 1,
    .grade = 'A',
    .change = "decode_flash_r1 through a page table: 14 GB/s a core at f16 S8192 D128 P64 "
              "(Zen 5, busy machine), 5 times naive",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_PAGE | ATTN_WINDOW | ATTN_SOFTCAP | ATTN_DV |
              ATTN_KSHARED | ATTN_SINK | ATTN_QLENS | ATTN_ALIBI | ATTN_BIASED | ATTN_KV_E4M3 |
              ATTN_KV_INT8 | ATTN_KV_HEAD | ATTN_KV_TOKEN | ATTN_OUT_E4M3 | ATTN_NHD | ATTN_THD |
              ATTN_STRIDED,
    .dtypes = 1u << ATTN_F32 | 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_F32,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = HEAD_DIM_MAX,
    .scratch_bytes = scratch_bytes,
    .launch = launch,
};
