/* What a dense kernel with a mask costs over pages: the list is made a mask of a byte a token, and
 * decode_paged_flash's method goes over all valid tokens, hiding scores and blanking values of
 * those not kept. */
#include "core/attention.h"

static const struct lookup lookup = {
    .place = lookup_paged,
    .sees = SEES_MASK,
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
    .variant = ATTN_SPARSE_DECODE_PAGED,
    .name = "bymask",
    .revision = 1,
    .grade = 'A',
    .change = "dense: reads 490 MB in 73 ms on a core at f16 S60000 D256 P256 (Zen 5, busy "
              "machine); flash takes 11 ms at 2 % kept",
    .traits = ATTN_GQA | ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_KEEP_GROUP | ATTN_SOFTCAP |
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
