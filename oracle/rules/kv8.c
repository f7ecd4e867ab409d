/* Keys and values of 8 bits: what is stored, times a scale, is meant, and the answer is that of
 * these products, in double exact. Four traits, for they say one thing together: which numbers the
 * bytes are -- OCP's E4M3, or integers -- and what has a scale of its own: all keys (and all
 * values) have one, each kv head, or each token of each kv head.
 *
 * A token's scale lies where the token lies, so that it moves with it; and where the token may not
 * be read neither may its scale, which may be NaN there. Values that are part of keys (kshared)
 * have the scale of the key, and there is no v_scale. */
#include "../rule.h"

#include <inttypes.h>
#include <math.h>

static const enum attn_slot scales[] = {ATTN_K_SCALE, ATTN_V_SCALE};

static const struct rule_tensor of_all[] = {
    {ATTN_K_SCALE, ATTN_F32, 1, {SIZE_1}}, {ATTN_V_SCALE, ATTN_F32, 1, {SIZE_1}}, {.rank = 0}};
static const struct rule_tensor of_heads[] = {{ATTN_K_SCALE, ATTN_F32, 1, {SIZE_KV_HEADS}},
                                              {ATTN_V_SCALE, ATTN_F32, 1, {SIZE_KV_HEADS}},
                                              {.rank = 0}};
static const struct rule_tensor of_tokens[] = {
    {ATTN_K_SCALE, ATTN_F32, 3, {SIZE_SCALE_BLOCKS, SIZE_KV_HEADS, SIZE_SCALE_TOKENS}},
    {ATTN_V_SCALE, ATTN_F32, 3, {SIZE_SCALE_BLOCKS, SIZE_KV_HEADS, SIZE_SCALE_TOKENS}},
    {.rank = 0}};

static int64_t scale_of_all(const struct attn_problem *problem, int64_t row) {
    (void)problem, (void)row;
    return 0;
}

/* Tokens that follow each other in a row of a kv head. */
static int64_t stretch(const struct attn_problem *problem) {
    return problem->traits & ATTN_PAGE ? problem->page_size : problem->kv_len;
}

static int64_t scale_of_head(const struct attn_problem *problem, int64_t row) {
    return row / stretch(problem) % problem->kv_heads;
}

/* In a cache keys and values of a page lie behind one another, their scales in two tensors; values
 * that have pages of their own, or none, do not. */
static int64_t scale_of_token(const struct attn_problem *problem, int64_t row) {
    const int64_t page = problem->kv_heads * stretch(problem);
    const bool apart = problem->traits & (ATTN_DV | ATTN_KSHARED);
    return problem->traits & ATTN_PAGE && !apart ? row / page / 2 * page + row % page : row;
}

static bool refuse(float scale, const char *where, struct fault *fault) {
    return fault_set(fault, FAULT_INPUT, "%s is %g: expected a finite number above 0", where,
                     (double)scale);
}

static bool is_scale(float scale) {
    return isfinite(scale) && scale > 0;
}

static bool check_few(const struct rule_view *view, int64_t count, struct fault *fault) {
    char where[64];
    for (int n = 0; n < 2; n++) {
        const float *scale = view->tensors[scales[n]].data;
        for (int64_t g = 0; scale != NULL && g < count; g++) {
            snprintf(where, sizeof where, "%c_scale[%" PRId64 "]", "kv"[n], g);
            if (!is_scale(scale[g])) return refuse(scale[g], where, fault);
        }
    }
    return true;
}

static bool check_one(const struct rule_view *view, struct fault *fault) {
    const bool many = view->problem->traits & (ATTN_KV_HEAD | ATTN_KV_TOKEN);
    return many || check_few(view, 1, fault);
}

static bool check_heads(const struct rule_view *view, struct fault *fault) {
    return check_few(view, view->problem->kv_heads, fault);
}

struct checker {
    const struct rule_view *view;
    struct fault *fault;
    bool good;
};

static void check_token(void *context, int64_t b, int64_t g, int64_t t) {
    struct checker *checker = context;
    const struct rule_view *view = checker->view;
    const int64_t size = stretch(view->problem), heads = view->problem->kv_heads;
    for (int n = 0; n < 2 && checker->good; n++) {
        const int64_t at = scale_of_token(view->problem, rules_row_index(view, b, g, t, n == 1));
        const float *all = view->tensors[scales[n]].data;
        const float scale = all != NULL ? all[at] : 1;
        char where[128];
        if (is_scale(scale)) continue;
        snprintf(where, sizeof where,
                 "%c_scale[%" PRId64 ",%" PRId64 ",%" PRId64 "], of token %" PRId64
                 " of sequence %" PRId64 ",",
                 "kv"[n], at / size / heads, g, at % size, t, b);
        checker->good = refuse(scale, where, checker->fault);
    }
}

static bool check_tokens(const struct rule_view *view, struct fault *fault) {
    struct checker checker = {view, fault, true};
    for (int64_t g = 0; g < view->problem->kv_heads && checker.good; g++)
        rules_seen(view, g, check_token, &checker);
    return checker.good;
}

/* In [1, 2), multiples of 2^-16: by how much a scale is larger than the data ask for, which who
 * draws them multiplies it with. So scales differ where data do not, and some headroom is left, as
 * calibration leaves it. */
static void draw_scales(const struct rule_view *view, const struct rule_draw *draw) {
    for (int n = 0; n < 2; n++) {
        const struct attn_tensor *tensor = &view->tensors[scales[n]];
        int64_t count = tensor->data != NULL;
        for (int axis = 0; axis < tensor->rank; axis++) count *= tensor->shape[axis];
        for (int64_t at = 0; at < count; at++)
            ((float *)tensor->data)[at] =
                1 + (float)rule_below(&draw->random, scales[n], (uint64_t)at, 0x10000) * 0x1p-16f;
    }
}

const struct rule rule_kv_e4m3 = {
    .trait = ATTN_KV_E4M3,
    .name = "kve4m3",
    .meaning = "keys and values are 8-bit floats (OCP E4M3) times a scale",
    .words = "kve4m3, kve4m3head, kve4m3token",
    .tensors = of_all,
    .kv_dtype = ATTN_E4M3,
    .scale_index = scale_of_all,
    .check = check_one,
    .draw = draw_scales,
};

const struct rule rule_kv_int8 = {
    .trait = ATTN_KV_INT8,
    .name = "kvint8",
    .meaning = "keys and values are 8-bit integers times a scale",
    .words = "kvint8, kvint8head, kvint8token",
    .tensors = of_all,
    .kv_dtype = ATTN_I8,
    .scale_index = scale_of_all,
    .check = check_one,
    .draw = draw_scales,
};

const struct rule rule_kv_head = {
    .trait = ATTN_KV_HEAD,
    .name = "kvhead",
    .meaning = "with kve4m3 or kvint8: each kv head has scales of its own",
    .words = "kve4m3head, kvint8head",
    .tensors = of_heads,
    .scale_index = scale_of_head,
    .check = check_heads,
};

const struct rule rule_kv_token = {
    .trait = ATTN_KV_TOKEN,
    .name = "kvtoken",
    .meaning = "with kve4m3 or kvint8: each token of each kv head has scales of its own",
    .words = "kve4m3token, kvint8token",
    .tensors = of_tokens,
    .scale_index = scale_of_token,
    .check = check_tokens,
};
