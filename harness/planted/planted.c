/* A planted kernel as a plug-in. PLANTED_BUG names the bug, PLANTED_VARIANT and PLANTED_NAME make
 * the library's name, PLANTED_DEVICE is where it runs: all from planted.h by way of CMakeLists.txt.
 */
#include "planted.h"

static const char *launch(const struct attn_problem *problem, const struct attn_call *call) {
    static int64_t calls;
    return planted_launch(PLANTED_BUG, problem, call, calls++);
}

/* Floats for each row. */
static size_t scratch_bytes(const struct attn_problem *problem) {
    const size_t rows = (size_t)(problem->batch * problem->q_heads * problem->q_len);
    if (PLANTED_BUG == PLANTED_UNINITIALISED) return rows * sizeof(float);
    if (PLANTED_BUG == PLANTED_SPLIT_UNWRITTEN)
        return rows * PLANTED_SHARES * ((size_t)problem->value_dim + 2) * sizeof(float);
    return PLANTED_IS_CHEAT(PLANTED_BUG) ? 8192 : 0;
}

static const char *prepare(const struct attn_problem *problem, struct attn_call *call) {
    return planted_prepare(PLANTED_BUG, problem, call);
}

static void finish(const struct attn_problem *problem, struct attn_call *call) {
    planted_finish(PLANTED_BUG, problem, call);
}

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = PLANTED_DEVICE,
    .variant = PLANTED_VARIANT,
    .name = PLANTED_NAME,
    .revision = 1,
    .grade = PLANTED_GRADE(PLANTED_BUG),
    .change = "planted for the selftest: see harness/planted/planted.h",
    .traits = ATTN_GQA | ATTN_CAUSAL | ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_MAGICPIG |
              ATTN_WINDOW | ATTN_SOFTCAP | ATTN_SINK | ATTN_QLENS | ATTN_ALIBI | ATTN_BIASED |
              ATTN_DV | ATTN_KSHARED | ATTN_KV_E4M3 | ATTN_KV_INT8 | ATTN_KV_HEAD | ATTN_KV_TOKEN |
              ATTN_KEEP_GROUP |
              (PLANTED_DEVICE == ATTN_CPU ? ATTN_NHD | ATTN_THD | ATTN_STRIDED | ATTN_OUT_E4M3 : 0),
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = PLANTED_BUG == PLANTED_P_F32 ? ATTN_F32 : ATTN_INPUT,
    .flags = ATTN_WRITES_LSE |
             (PLANTED_BUG == PLANTED_SPLIT_ANY_ORDER ? (unsigned)ATTN_NONDETERMINISTIC : 0) |
             (PLANTED_SAYS_BASE_2(PLANTED_BUG) ? (unsigned)ATTN_LSE_BASE_2 : 0),
    .head_dim_max = PLANTED_HEAD_DIM_MAX,
    .scratch_bytes = scratch_bytes,
    .prepare = prepare,
    .finish = finish,
    .launch = launch,
    .lse_grade = PLANTED_HAS_LSE_OF_GRADE_B(PLANTED_BUG) ? 'B' : 'A',
};
