/* Prefill in blocks of 64 keys with online softmax. A task is 192 rows (AVX-512) of one kv head,
 * the query heads of a group one after another, and all keys they see; its keys and values are
 * widened once and shared by four register-tiled tiles of 48 rows. */
#include "core/attention.h"

static const struct lookup lookup = {
    .place = lookup_dense,
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
    .variant = ATTN_PREFILL,
    .name = "flash",
    .revision = 1,
    .grade = 'A',
    .change = "rows across the lanes, nothing transposed but queries: a core does 180 GFLOP/s "
              "at f32 S4096 D128, 170 causal (Zen 5; OpenBLAS sgemm 190, PyTorch 2.15 86)",
    .traits = ATTN_GQA | ATTN_CAUSAL | ATTN_WINDOW | ATTN_SOFTCAP | ATTN_DV | ATTN_KSHARED |
              ATTN_SINK | ATTN_ALIBI | ATTN_BIASED | ATTN_KV_E4M3 | ATTN_KV_INT8 | ATTN_KV_HEAD |
              ATTN_KV_TOKEN | ATTN_OUT_E4M3 | ATTN_STRIDED,
    .dtypes = 1u << ATTN_F32 | 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_F32,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = HEAD_DIM_MAX,
    .scratch_bytes = scratch_bytes,
    .launch = launch,
};
