/* attn_number.h over every code of both types. The codes of one sign are ascending numbers, so
 * rounding is right everywhere if it is right at each code, at each midpoint between neighbours,
 * and one step of the wider type beside the midpoint. */
#include "attn_number.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdbool.h>

struct format {
    const char *name;
    int fraction_bits;
    int exponent_bias;
    uint16_t infinity;
    float (*to_f32)(uint16_t code);
    double (*to_f64)(uint16_t code);
    uint16_t (*from_f32)(float value);
    uint16_t (*from_f64)(double value);
};

static const struct format formats[] = {
    {"f16", 10, 15, 0x7c00, attn_f16_to_f32, attn_f16_to_f64, attn_f32_to_f16, attn_f64_to_f16},
    {"bf16", 7, 127, 0x7f80, attn_bf16_to_f32, attn_bf16_to_f64, attn_f32_to_bf16,
     attn_f64_to_bf16},
};
enum { FORMATS = sizeof formats / sizeof *formats };

/* The number a code of positive sign stands for, from the definition; the code of infinity gives
 * the power of two that would come after the largest number. */
static double meaning(const struct format *format, uint32_t code) {
    const int exponent = (int)(code >> format->fraction_bits);
    const int fraction = (int)(code & ((1u << format->fraction_bits) - 1));
    const int lead = exponent > 0 ? 1 << format->fraction_bits : 0;
    return ldexp(lead + fraction,
                 (exponent > 0 ? exponent : 1) - format->exponent_bias - format->fraction_bits);
}

Test(number, every_finite_code_means_what_the_definition_says) {
    for (int f = 0; f < FORMATS; f++) {
        const struct format *format = &formats[f];
        for (uint32_t code = 0; code < format->infinity; code++) {
            const double value = meaning(format, code);
            const uint16_t negative = (uint16_t)(code | 0x8000);
            cr_assert(format->to_f64((uint16_t)code) == value, "%s %04x", format->name, code);
            cr_assert(format->to_f64(negative) == -value, "%s -%04x", format->name, code);
            cr_assert((double)format->to_f32((uint16_t)code) == value, "%s %04x", format->name,
                      code);
            cr_assert((double)format->to_f32(negative) == -value, "%s -%04x", format->name, code);
        }
    }
}

/* OCP's table: s eeee mmm, bias 7, no infinity, s 1111 111 NaN. */
static double of_e4m3(int code) {
    const int exponent = code >> 3 & 15, mantissa = code & 7;
    return exponent == 0 ? ldexp(mantissa, -9) : ldexp(8 + mantissa, exponent - 10);
}

Test(number, e4m3_is_ocps_and_rounds_to_nearest_even) {
    cr_assert(attn_e4m3_to_f32(0x7e) == 448 && attn_e4m3_to_f32(0x01) == 0x1p-9f);
    cr_assert(isnan(attn_e4m3_to_f32(0x7f)) && isnan(attn_e4m3_to_f32(0xff)));
    for (int code = 0; code < 0x7f; code++) {
        const double value = of_e4m3(code), next = code == 0x7e ? 480 : of_e4m3(code + 1);
        const float middle = (float)((value + next) / 2);
        cr_assert((double)attn_e4m3_to_f32((uint8_t)code) == value, "%02x", code);
        cr_assert((double)attn_e4m3_to_f32((uint8_t)(code | 0x80)) == -value, "-%02x", code);
        cr_assert(attn_f32_to_e4m3((float)value) == code);
        cr_assert(attn_f32_to_e4m3(-(float)value) == (code | 0x80));
        cr_assert(attn_f32_to_e4m3(nextafterf(middle, 0)) == code);
        cr_assert(attn_f32_to_e4m3(nextafterf(middle, 1e9f)) == code + 1); /* 0x7f: NaN */
        cr_assert(attn_f32_to_e4m3(middle) == code + code % 2);
    }
    cr_assert(attn_f32_to_e4m3(INFINITY) == 0x7f && attn_f32_to_e4m3(-1e30f) == 0xff);
    cr_assert((attn_f32_to_e4m3(NAN) & 0x7f) == 0x7f && attn_f32_to_e4m3(1e-30f) == 0);
}

/* From float and from double, which is not rounded to float before. */
Test(number, outputs_in_e4m3_saturate_and_have_one_nan) {
    for (int code = 0; code < 0x7f; code++) {
        const double value = of_e4m3(code), next = code == 0x7e ? 480 : of_e4m3(code + 1);
        const double middle = (value + next) / 2;
        const int above = code == 0x7e ? code : code + 1,
                  even = code == 0x7e ? code : code + code % 2;
        for (int sign = 0; sign < 2; sign++) {
            const double side = sign ? -1 : 1;
            const int bit = sign << 7;
            cr_assert(attn_f32_to_e4m3_sat((float)(side * value)) == (code | bit));
            cr_assert(attn_f32_to_e4m3_sat((float)(side * middle)) == (even | bit));
            cr_assert(attn_f32_to_e4m3_sat(nextafterf((float)(side * middle), 0)) == (code | bit));
            cr_assert(attn_f64_to_e4m3_sat(side * value) == (code | bit), "%02x", code);
            cr_assert(attn_f64_to_e4m3_sat(side * middle) == (even | bit), "%02x", code);
            cr_assert(attn_f64_to_e4m3_sat(side * nextafter(middle, 0)) == (code | bit), "%02x",
                      code);
            cr_assert(attn_f64_to_e4m3_sat(side * nextafter(middle, 1e9)) == (above | bit), "%02x",
                      code);
        }
    }
    const double beyond[] = {448.1, 465, 1e30, 1e300, INFINITY};
    for (int n = 0; n < 5; n++) {
        cr_assert(attn_f32_to_e4m3_sat((float)beyond[n]) == 0x7e);
        cr_assert(attn_f64_to_e4m3_sat(beyond[n]) == 0x7e);
        cr_assert(attn_f32_to_e4m3_sat(-(float)beyond[n]) == 0xfe);
        cr_assert(attn_f64_to_e4m3_sat(-beyond[n]) == 0xfe);
    }
    cr_assert(attn_f32_to_e4m3_sat(NAN) == 0x7f && attn_f32_to_e4m3_sat(-NAN) == 0x7f);
    cr_assert(attn_f64_to_e4m3_sat((double)NAN) == 0x7f &&
              attn_f64_to_e4m3_sat(-(double)NAN) == 0x7f);
    cr_assert(attn_f64_to_e4m3_sat(1e-300) == 0 && attn_f64_to_e4m3_sat(-0.0) == 0x80);
}

Test(number, every_code_comes_back_and_nan_comes_back_quiet) {
    for (int f = 0; f < FORMATS; f++) {
        const struct format *format = &formats[f];
        const uint32_t quiet = 1u << (format->fraction_bits - 1);
        for (uint32_t code = 0; code < 0x10000; code++) {
            const bool nan = (code & 0x7fff) > format->infinity;
            const uint32_t expected = nan ? code | quiet : code;
            const float single = format->to_f32((uint16_t)code);
            const double wide = format->to_f64((uint16_t)code);
            cr_assert(nan == !!isnan(single) && nan == !!isnan(wide), "%s %04x", format->name,
                      code);
            cr_assert(format->from_f32(single) == expected, "%s %04x", format->name, code);
            cr_assert(format->from_f64(wide) == expected, "%s %04x", format->name, code);
        }
    }
}

Test(number, infinity_stays_infinity) {
    for (int f = 0; f < FORMATS; f++) {
        const struct format *format = &formats[f];
        cr_assert(format->to_f32(format->infinity) == INFINITY);
        cr_assert(format->to_f64(format->infinity) == INFINITY);
        cr_assert(format->from_f32(-INFINITY) == (format->infinity | 0x8000));
        cr_assert(format->from_f64(-INFINITY) == (format->infinity | 0x8000));
    }
}

Test(number, midpoints_round_to_the_even_code_and_their_neighbours_do_not) {
    for (int f = 0; f < FORMATS; f++) {
        const struct format *format = &formats[f];
        for (uint32_t code = 0; code < format->infinity; code++) {
            const double middle = (meaning(format, code) + meaning(format, code + 1)) / 2;
            const float single = (float)middle; /* exact: one bit more than the format has */
            const uint32_t even = code + (code & 1);
            cr_assert((double)single == middle);
            for (uint32_t sign = 0; sign <= 0x8000; sign += 0x8000) {
                const float s = sign ? -1.0f : 1.0f;
                cr_assert(format->from_f32(s * single) == (even | sign), "%s %04x", format->name,
                          code);
                cr_assert(format->from_f32(s * nextafterf(single, 0)) == (code | sign), "%s %04x",
                          format->name, code);
                cr_assert(format->from_f32(s * nextafterf(single, INFINITY)) == ((code + 1) | sign),
                          "%s %04x", format->name, code);
                cr_assert(format->from_f64(s * middle) == (even | sign), "%s %04x", format->name,
                          code);
                cr_assert(format->from_f64(s * nextafter(middle, 0)) == (code | sign), "%s %04x",
                          format->name, code);
                cr_assert(format->from_f64(s * nextafter(middle, INFINITY)) == ((code + 1) | sign),
                          "%s %04x", format->name, code);
            }
        }
    }
}

Test(number, beyond_the_range_is_zero_or_infinity) {
    for (int f = 0; f < FORMATS; f++) {
        const struct format *format = &formats[f];
        cr_assert(format->from_f64(5e-324) == 0);
        cr_assert(format->from_f64(-1e-300) == 0x8000);
        cr_assert(format->from_f64(-1e300) == (format->infinity | 0x8000));
        cr_assert(format->from_f32(0x1p-149f) == 0);
        cr_assert(format->from_f32(-0x1.fffffep127f) == (format->infinity | 0x8000));
    }
}

Test(number, double_is_rounded_once) {
    /* Just above a midpoint, by less than a float can see: by way of float it would tie down. */
    cr_assert(attn_f64_to_f16(1.0 + 0x1p-11 + 0x1p-40) == 0x3c01);
    cr_assert(attn_f32_to_f16((float)(1.0 + 0x1p-11 + 0x1p-40)) == 0x3c00);
    cr_assert(attn_f64_to_bf16(1.0 + 0x1p-8 + 0x1p-40) == 0x3f81);
    cr_assert(attn_f32_to_bf16((float)(1.0 + 0x1p-8 + 0x1p-40)) == 0x3f80);
}

Test(number, nan_keeps_the_top_of_its_payload) {
    cr_assert(attn_f32_to_f16(attn_f32_from_bits(0xff812345)) == (0xfe00 | 0x12345 >> 13));
    cr_assert(attn_f32_to_bf16(attn_f32_from_bits(0x7f800001)) == 0x7fc0);
    cr_assert(attn_f64_to_f16(attn_f64_from_bits(0x7ff0000000000001)) == 0x7e00);
    cr_assert(attn_f64_to_bf16(attn_f64_from_bits(0xfff4000000000000)) == 0xffe0);
}
