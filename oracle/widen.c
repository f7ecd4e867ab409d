/* Rows of f16, bf16, f32 or 8 bits as f64, exactly, with what the oracle needs beside them. */
#include "bulk.h"
#include "../kernels/attn_number.h"

/* The bits moved into f64's fields are the value times 2^-1008, subnormal or not; only NaN and
 * infinity need their exponent filled. gcc 12 makes 0.5 ns an element of this and 1.8 of
 * attn_f16_to_f64, for want of a conversion from unsigned (2-core EPYC, Zen 5). */
BULK static void from_f16(double *restrict value, const uint16_t *restrict source, int64_t n) {
    for (int64_t d = 0; d < n; d++) {
        const uint64_t code = source[d];
        const double scaled = attn_f64_from_bits((code & 0x7fff) << 42) * 0x1p1008;
        const uint64_t special = (code & 0x7c00) == 0x7c00 ? (uint64_t)0x7ff << 52 : 0;
        value[d] = attn_f64_from_bits(attn_f64_bits(scaled) | special | (code & 0x8000) << 48);
    }
}

BULK static void from_bf16(double *restrict value, const uint16_t *restrict source, int64_t n) {
    for (int64_t d = 0; d < n; d++)
        value[d] = (double)attn_f32_from_bits((uint32_t)source[d] << 16);
}

BULK static void from_f32(double *restrict value, const float *restrict source, int64_t n) {
    for (int64_t d = 0; d < n; d++) value[d] = (double)source[d];
}

/* As from_f16. */
BULK static void from_e4m3(double *restrict value, const uint8_t *restrict source, int64_t n) {
    for (int64_t d = 0; d < n; d++) {
        const uint64_t code = source[d];
        const double scaled = attn_f64_from_bits((code & 0x7f) << 49) * 0x1p1016;
        const uint64_t special = (code & 0x7f) == 0x7f ? (uint64_t)0x7ff << 52 : 0;
        value[d] = attn_f64_from_bits(attn_f64_bits(scaled) | special | (code & 0x80) << 56);
    }
}

BULK static void from_i8(double *restrict value, const int8_t *restrict source, int64_t n) {
    for (int64_t d = 0; d < n; d++) value[d] = source[d];
}

BULK static void magnitudes(double *restrict magnitude, const double *restrict value, int64_t n) {
    for (int64_t d = 0; d < n; d++)
        magnitude[d] = attn_f64_from_bits(attn_f64_bits(value[d]) & INT64_MAX);
}

BULK static void squares(double *restrict square, const double *restrict value, int64_t n) {
    for (int64_t d = 0; d < n; d++) square[d] = value[d] * value[d];
}

/* A NaN or an infinity has all bits of the exponent, and adding one to them carries into the sign.
 */
BULK static bool all_finite(const double *value, int64_t n) {
    uint64_t carry = 0;
    for (int64_t d = 0; d < n; d++)
        carry |= (attn_f64_bits(value[d]) & INT64_MAX) + ((uint64_t)1 << 52);
    return carry >> 63 == 0;
}

BULK static void scale(double *x, double factor, int64_t n) {
    for (int64_t d = 0; d < n; d++) x[d] *= factor;
}

void bulk_scale(double *x, double factor, int64_t n) {
    scale(x, factor, n);
}

static void widen(double *value, const void *source, enum attn_dtype dtype, int64_t n) {
    if (dtype == ATTN_F16)
        from_f16(value, source, n);
    else if (dtype == ATTN_BF16)
        from_bf16(value, source, n);
    else if (dtype == ATTN_E4M3)
        from_e4m3(value, source, n);
    else if (dtype == ATTN_I8)
        from_i8(value, source, n);
    else
        from_f32(value, source, n);
}

static bool look_at(const double *value, double *magnitude, double *square, int64_t n) {
    if (magnitude) magnitudes(magnitude, value, n);
    if (square) squares(square, value, n);
    return all_finite(value, n);
}

bool bulk_widen(double *value, double *magnitude, double *square, const void *source,
                enum attn_dtype dtype, int64_t n) {
    widen(value, source, dtype, n);
    return look_at(value, magnitude, square, n);
}

bool bulk_widen_kv(double *value, double *magnitude, double *square, const struct rule_view *view,
                   int64_t b, int64_t g, int64_t t, bool of_value, int64_t n) {
    const enum attn_dtype dtype = rules_kv_dtype(view->problem);
    widen(value, rules_row(view, b, g, t, of_value), dtype, n);
    if (dtype == ATTN_E4M3 || dtype == ATTN_I8)
        scale(value, rules_scale(view, rules_row_index(view, b, g, t, of_value), of_value), n);
    return look_at(value, magnitude, square, n);
}

bool bulk_widen_out(double *value, const struct rule_view *view, const void *source, int64_t n) {
    const enum attn_dtype dtype = rules_out_dtype(view->problem);
    widen(value, source, dtype, n);
    if (dtype == ATTN_E4M3) scale(value, rules_out_scale(view), n);
    return all_finite(value, n);
}

BULK static void subtract(double *restrict x, const double *restrict y, int64_t n) {
    for (int64_t d = 0; d < n; d++) x[d] -= y[d];
}

void bulk_subtract(double *x, const double *y, int64_t n) {
    subtract(x, y, n);
}
