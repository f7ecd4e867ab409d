/* Chunks of prompts over pages: as prefill_flash, its keys and values looked up through the page
 * table 64 at a time, and widened once for all rows of a task. Where a group has at most 16 rows --
 * a few guesses to verify -- as decode_flash. */
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
    .variant = ATTN_PREFILL_PAGED,
    .name = "flash",
    .revision = 1,
    .grade = 'A',
    .change = "prefill_flash_r1 through a page table",
    .traits = ATTN_GQA | ATTN_CAUSAL | ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_KEEP_GROUP |
              ATTN_WINDOW | ATTN_SOFTCAP | ATTN_DV | ATTN_KSHARED | ATTN_SINK | ATTN_QLENS |
              ATTN_ALIBI | ATTN_BIASED | ATTN_KV_E4M3 | ATTN_KV_INT8 | ATTN_KV_HEAD |
              ATTN_KV_TOKEN | ATTN_OUT_E4M3 | ATTN_NHD | ATTN_THD | ATTN_STRIDED,
    .dtypes = 1u << ATTN_F32 | 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_F32,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = HEAD_DIM_MAX,
    .scratch_bytes = scratch_bytes,
    .launch = launch,
};
