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

/* Saturating, NaN to 0. */
static int32_t to_int(float x) {
    if (std::isnan(x)) return 0;
    if (x >= 0x1p31f) return INT32_MAX;
    if (x < -0x1p31f) return INT32_MIN;
    return static_cast<int32_t>(x);
}
static int32_t wrap(int64_t x) {
    return static_cast<int32_t>(static_cast<uint32_t>(x));
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
EACH(add_i32, i32, wrap(int64_t{a.i32[i]} + b.i32[i]))
EACH(sub_i32, i32, wrap(int64_t{a.i32[i]} - b.i32[i]))
EACH(mul_i32, i32, wrap(int64_t{a.i32[i]} * b.i32[i]))
EACH(max_i32, i32, a.i32[i] > b.i32[i] ? a.i32[i] : b.i32[i])
EACH(min_i32, i32, a.i32[i] < b.i32[i] ? a.i32[i] : b.i32[i])
EACH(axpy_f32, f32, std::fma(a.f32[i], b.f32[i], dst.f32[i]))
EACH(exp_f32, f32, std::exp(a.f32[i]))
EACH(log_f32, f32, std::log(a.f32[i]))
EACH(sqrt_f32, f32, std::sqrt(a.f32[i]))
EACH(rsqrt_f32, f32, 1 / std::sqrt(a.f32[i]))
EACH(rcp_f32, f32, 1 / a.f32[i])
EACH(abs_f32, f32, std::fabs(a.f32[i]))
EACH(relu_f32, f32, a.f32[i] > 0 ? a.f32[i] : 0)
EACH(from_half, f32, half_to_float(a.u16[i]))
EACH(from_bfloat16, f32, bfloat16_to_float(a.u16[i]))
EACH(to_half, u16, float_to_half(a.f32[i]))
EACH(to_bfloat16, u16, float_to_bfloat16(a.f32[i]))
EACH(to_int_rn, i32, to_int(std::nearbyint(a.f32[i])))
EACH(to_int_rz, i32, to_int(a.f32[i]))
EACH(to_int_rd, i32, to_int(std::floor(a.f32[i])))
EACH(from_int, f32, static_cast<float>(a.i32[i]))
EACH(is_lt, u32, a.f32[i] < b.f32[i])
EACH(is_le, u32, a.f32[i] <= b.f32[i])
EACH(is_gt, u32, a.f32[i] > b.f32[i])
EACH(is_ge, u32, a.f32[i] >= b.f32[i])
EACH(is_eq, u32, a.f32[i] == b.f32[i])
EACH(is_ne, u32, a.f32[i] != b.f32[i])
#undef EACH

lane_function lanes_of(twin_operation operation, twin_type type) {
    static const lane_function floats[] = {
        add_f32,   sub_f32,       mul_f32,  max_f32,     min_f32,   div_f32,   axpy_f32,
        exp_f32,   log_f32,       sqrt_f32, rsqrt_f32,   rcp_f32,   abs_f32,   relu_f32,
        from_half, from_bfloat16, to_half,  to_bfloat16, to_int_rn, to_int_rz, to_int_rd,
        from_int,  is_lt,         is_le,    is_gt,       is_ge,     is_eq,     is_ne,
    };
    static const lane_function ints[] = {add_i32, sub_i32, mul_i32, max_i32, min_i32};
    static_assert(sizeof floats / sizeof *floats == TWIN_ne + 1, "one an operation");
    return type == TWIN_I32 ? ints[operation] : floats[operation];
}

} // namespace twin
