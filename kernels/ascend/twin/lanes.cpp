#include "lanes.h"

#include <cmath>
#include <cstring>

namespace twin {

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Exponent and fraction shifted into place and scaled by 2^112; infinity and NaN keep the largest
 * exponent. */
float half_to_float(uint16_t bits) {
    const uint32_t magnitude = (bits & 0x7fffu) << 13;
    const float scaled = float_of(magnitude) * 0x1p112f;
    const uint32_t special = (bits & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0;
    return float_of(bits_of(scaled) | special | (bits & 0x8000u) << 16);
}

uint16_t float_to_half(float value) {
    const uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude >= 0x7f800000u) {
        return static_cast<uint16_t>(sign | 0x7c00u | (magnitude > 0x7f800000u ? 0x0200u : 0));
    }
    if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { /* below 2^-14: adding 0.5 aligns the last place */
        return static_cast<uint16_t>(sign | (bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u));
    }
    const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1);
    return static_cast<uint16_t>(sign | (rounded - 0x38000000u) >> 13);
}

float bfloat16_to_float(uint16_t bits) {
    return float_of(static_cast<uint32_t>(bits) << 16);
}
uint16_t float_to_bfloat16(float value) {
    const uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(bits >> 16 | 0x40);
    return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

float tree_sum(const float *x, int n) {
    float part[lanes];
    memcpy(part, x, static_cast<size_t>(n) * sizeof(float));
    for (; n > 1; n /= 2) {
        for (int i = 0; i < n / 2; i++) part[i] = part[2 * i] + part[2 * i + 1];
    }
    return part[0];
}

#define EACH(name, result, expression)                                                             \
    static void name(lane_row &dst, const lane_row &a, const lane_row &b) {                        \
        (void)b;                                                                                   \
        for (int i = 0; i < lanes; i++) dst.result[i] = (expression);                              \
    }
EACH(add_f32, f32, a.f32[i] + b.f32[i])
EACH(sub_f32, f32, a.f32[i] - b.f32[i])
EACH(mul_f32, f32, a.f32[i] * b.f32[i])
EACH(div_f32, f32, a.f32[i] / b.f32[i])
EACH(max_f32, f32, a.f32[i] > b.f32[i] ? a.f32[i] : b.f32[i])
EACH(min_f32, f32, a.f32[i] < b.f32[i] ? a.f32[i] : b.f32[i])
EACH(exp_f32, f32, std::exp(a.f32[i]))
EACH(log_f32, f32, std::log(a.f32[i]))
EACH(sqrt_f32, f32, std::sqrt(a.f32[i]))
EACH(abs_f32, f32, std::fabs(a.f32[i]))
EACH(from_half, f32, half_to_float(a.u16[i]))
EACH(from_bfloat16, f32, bfloat16_to_float(a.u16[i]))
EACH(to_half, u16, float_to_half(a.f32[i]))
EACH(to_bfloat16, u16, float_to_bfloat16(a.f32[i]))
EACH(is_lt, u32, a.f32[i] < b.f32[i])
#undef EACH

lane_function lanes_of(twin_operation operation) {
    static const lane_function functions[] = {
        add_f32,  sub_f32, mul_f32,   max_f32,       min_f32, div_f32,     exp_f32, log_f32,
        sqrt_f32, abs_f32, from_half, from_bfloat16, to_half, to_bfloat16, is_lt,
    };
    static_assert(sizeof functions / sizeof *functions == TWIN_lt + 1, "one an operation");
    return functions[operation];
}

} // namespace twin
