/* What may have been made of keys, values and outputs of 8 bits: with other scales, or as other
 * numbers. */
#include "hypothesis.h"
#include "../../kernels/attn_number.h"

static bool has(const struct course *course, uint64_t trait) {
    return (course->traits & trait) != 0;
}

static bool powers(struct course *course, double of_k, double of_v) {
    course->k_scale_power = of_k;
    course->v_scale_power = of_v;
    return has(course, ATTN_KV_E4M3 | ATTN_KV_INT8);
}

static bool no_k_scale(struct course *course) {
    return powers(course, 0, 1);
}

static bool no_v_scale(struct course *course) {
    return powers(course, 1, 0);
}

static bool no_scales(struct course *course) {
    return powers(course, 0, 0);
}

static bool k_scale_twice(struct course *course) {
    return powers(course, 2, 1);
}

static bool v_scale_twice(struct course *course) {
    return powers(course, 1, 2);
}

static bool v_divided(struct course *course) {
    return powers(course, 1, -1);
}

static bool swapped(struct course *course) {
    course->scales_swapped = true;
    return has(course, ATTN_KV_E4M3 | ATTN_KV_INT8) && !has(course, ATTN_KSHARED);
}

static int64_t kv_heads(const struct rule_view *view) {
    const int64_t heads = view->problem->kv_heads;
    return heads < 64 ? heads : 64;
}

static bool scale_of_head(struct course *course) {
    course->scale_g = (int64_t)course->number;
    course->said[0] = course->number;
    return has(course, ATTN_KV_HEAD | ATTN_KV_TOKEN);
}

static bool scale_of_query_head(struct course *course) {
    course->scale_g = course->h % course->view->problem->kv_heads;
    return has(course, ATTN_KV_HEAD | ATTN_KV_TOKEN) && has(course, ATTN_GQA);
}

static int64_t token_before(const struct course *course, int64_t t) {
    (void)course;
    return t > 0 ? t - 1 : t;
}

static int64_t token_behind(const struct course *course, int64_t t) {
    return t + 1 < rules_kv_len(course->view, course->keys_b) ? t + 1 : t;
}

static int64_t token_first(const struct course *course, int64_t t) {
    (void)course, (void)t;
    return 0;
}

static int64_t page_before(const struct course *course, int64_t t) {
    const int64_t page = course->view->problem->page_size;
    return t >= page ? t - page : t;
}

static int64_t page_behind(const struct course *course, int64_t t) {
    const int64_t page = course->view->problem->page_size;
    return t + page < rules_kv_len(course->view, course->keys_b) ? t + page : t;
}

static int64_t page_first(const struct course *course, int64_t t) {
    return t - t % course->view->problem->page_size;
}

static bool scale_of_token(struct course *course,
                           int64_t (*scale_of)(const struct course *course, int64_t t)) {
    course->scale_of = scale_of;
    return has(course, ATTN_KV_TOKEN);
}

static bool scale_before(struct course *course) {
    return scale_of_token(course, token_before);
}

static bool scale_behind(struct course *course) {
    return scale_of_token(course, token_behind);
}

static bool scale_of_first(struct course *course) {
    return scale_of_token(course, token_first);
}

static bool scale_page_before(struct course *course) {
    return scale_of_token(course, page_before) && has(course, ATTN_PAGE);
}

static bool scale_page_behind(struct course *course) {
    return scale_of_token(course, page_behind) && has(course, ATTN_PAGE);
}

static bool scale_of_page(struct course *course) {
    return scale_of_token(course, page_first) && has(course, ATTN_PAGE);
}

/* E5M2 is f16 without its last eight bits. */
static double of_e5m2(uint8_t code) {
    return attn_f16_to_f64((uint16_t)(code << 8));
}

/* Of AMD's MI300: the exponents are one less, and 0x80 alone is NaN. */
static double of_e4m3fnuz(uint8_t code) {
    if (code == 0x80) return NAN;
    if ((code & 0x7f) == 0x7f) return code & 0x80 ? -240 : 240;
    return (double)attn_e4m3_to_f32(code) / 2;
}

static double of_int8(uint8_t code) {
    return (int8_t)code;
}

static double of_uint8(uint8_t code) {
    return code;
}

static bool read_as(struct course *course, uint64_t trait, double (*decode)(uint8_t code)) {
    course->decode = decode;
    return has(course, trait);
}

static bool as_e5m2(struct course *course) {
    return read_as(course, ATTN_KV_E4M3, of_e5m2);
}

static bool as_e4m3fnuz(struct course *course) {
    return read_as(course, ATTN_KV_E4M3, of_e4m3fnuz);
}

static bool e4m3_as_int8(struct course *course) {
    return read_as(course, ATTN_KV_E4M3, of_int8);
}

static bool as_uint8(struct course *course) {
    return read_as(course, ATTN_KV_INT8, of_uint8);
}

/* Times this power of it. What E4M3 cannot say then is as if it were 448. */
static bool out_scale(struct course *course, double power) {
    const double scale = rules_out_scale(course->view);
    course->out_scale = pow(scale, power);
    return has(course, ATTN_OUT_E4M3) && scale != 1;
}

static bool no_out_scale(struct course *course) {
    return out_scale(course, 1);
}

static bool out_scale_twice(struct course *course) {
    return out_scale(course, -1);
}

static bool out_multiplied(struct course *course) {
    return out_scale(course, 2);
}

const struct hypothesis hypotheses_of_kv8[] = {
    {"the scales of keys were left out", OF_BOTH, 0, NULL, NULL, no_k_scale},
    {"the scales of values were left out", OF_OUT, 0, NULL, NULL, no_v_scale},
    {"the scales of keys and values were left out", OF_BOTH, 0, NULL, NULL, no_scales},
    {"keys were multiplied twice with their scales", OF_BOTH, 0, NULL, NULL, k_scale_twice},
    {"values were multiplied twice with their scales", OF_OUT, 0, NULL, NULL, v_scale_twice},
    {"values were divided by their scales", OF_OUT, 0, NULL, NULL, v_divided},
    {"keys had the scales of values, and values those of keys", OF_BOTH, 0, NULL, NULL, swapped},
    {"query head h had the scales of kv head h % Hkv", OF_BOTH, 0, NULL, NULL, scale_of_query_head},
    {"all had the scales of kv head %1$.0f", OF_BOTH, 0, kv_heads, NULL, scale_of_head},
    {"a token had the scales of the token before", OF_BOTH, 0, NULL, NULL, scale_before},
    {"a token had the scales of the token behind", OF_BOTH, 0, NULL, NULL, scale_behind},
    {"all tokens had the scales of the first", OF_BOTH, 0, NULL, NULL, scale_of_first},
    {"a token had the scales of its place in the page before", OF_BOTH, 0, NULL, NULL,
     scale_page_before},
    {"a token had the scales of its place in the page behind", OF_BOTH, 0, NULL, NULL,
     scale_page_behind},
    {"all tokens of a page had the scales of its first", OF_BOTH, 0, NULL, NULL, scale_of_page},
    {"E4M3 were read as E5M2", OF_BOTH, 0, NULL, NULL, as_e5m2},
    {"E4M3 were read as E4M3FNUZ", OF_BOTH, 0, NULL, NULL, as_e4m3fnuz},
    {"E4M3 were read as integers", OF_BOTH, 0, NULL, NULL, e4m3_as_int8},
    {"integers were read without their sign", OF_BOTH, 0, NULL, NULL, as_uint8},
    {"out_scale were forgotten", OF_OUT, 0, NULL, NULL, no_out_scale},
    {"the output were divided twice by out_scale", OF_OUT, 0, NULL, NULL, out_scale_twice},
    {"the output were multiplied with out_scale", OF_OUT, 0, NULL, NULL, out_multiplied},
    {NULL, 0, 0, NULL, NULL, NULL},
};
