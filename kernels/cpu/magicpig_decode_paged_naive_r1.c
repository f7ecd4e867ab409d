/* The textbook with MagicPIG's correction: each kept token's logit loses the logarithm of the
 * probability that LSH sampled it, computed in double. */
#include "core/attention.h"

static const struct lookup lookup = {
    .place = lookup_paged,
    .sees = SEES_LIST,
};

static size_t scratch_bytes(const struct attn_problem *problem) {
    return attention_scratch_bytes(problem, &lookup, NAIVE);
}

static const char *launch(const struct attn_problem *problem, const struct attn_call *call) {
    return attention_launch(problem, call, &lookup, NAIVE);
}

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CPU,
    .variant = ATTN_MAGICPIG_DECODE_PAGED,
    .name = "naive",
    .revision = 1,
    .grade = 'A',
    .change = "the textbook: 80 ms on a core at f16 Hq32 S60000 D256 P256, 2 % kept (Zen 5)",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_MAGICPIG | ATTN_SOFTCAP |
              ATTN_DV | ATTN_KSHARED | ATTN_SINK | ATTN_QLENS | ATTN_ALIBI | ATTN_KV_E4M3 |
              ATTN_KV_INT8 | ATTN_KV_HEAD | ATTN_KV_TOKEN | ATTN_OUT_E4M3 | ATTN_NHD | ATTN_THD |
              ATTN_STRIDED,
    .dtypes = 1u << ATTN_F32 | 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_F32,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = HEAD_DIM_MAX,
    .scratch_bytes = scratch_bytes,
    .launch = launch,
};
