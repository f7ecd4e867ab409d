/* binary16 and bfloat16, as bits in a uint16_t, to and from float and double; OCP's E4M3, as bits
 * in a uint8_t, to and from float; and how many bytes an element has.
 *
 * Every conversion rounds once, to nearest with ties to even: from double straight to 16 bits and
 * not by way of float, which would round twice. Overflow gives infinity, subnormals are kept, NaN
 * stays NaN: quiet, with its sign and the top bits of its payload. Nothing but IEEE arithmetic in
 * the default rounding mode, so host and device agree bit by bit; flush-to-zero does no harm.
 * C11, C++17, CUDA. */
#ifndef ATTN_NUMBER_H
#define ATTN_NUMBER_H

#include "attn.h"

#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define ATTN_NUMBER static inline __host__ __device__
#else
#define ATTN_NUMBER static inline
#endif

/* Of an element of a tensor; `dtype` is an enum attn_dtype, not ATTN_INPUT. */
ATTN_NUMBER int64_t attn_dtype_bytes(int32_t dtype) {
    const int byte = dtype == ATTN_U8 || dtype == ATTN_E4M3 || dtype == ATTN_I8;
    return dtype == ATTN_F16 || dtype == ATTN_BF16 ? 2 : byte ? 1 : 4;
}

ATTN_NUMBER uint32_t attn_f32_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

ATTN_NUMBER float attn_f32_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

ATTN_NUMBER uint64_t attn_f64_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

ATTN_NUMBER double attn_f64_from_bits(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

ATTN_NUMBER float attn_f16_to_f32(uint16_t code) {
    const uint32_t sign = (uint32_t)(code & 0x8000u) << 16;
    const uint32_t magnitude = code & 0x7fffu;
    /* Codes below 0x400 are multiples of 2^-24. */
    const uint32_t small = attn_f32_bits((float)magnitude * 5.9604644775390625e-8f);
    const uint32_t normal = (magnitude << 13) + (112u << 23);
    const uint32_t special = 0x7f800000u | magnitude << 13 | (magnitude > 0x7c00u ? 0x400000u : 0u);
    return attn_f32_from_bits(
        sign | (magnitude < 0x400u ? small : (magnitude < 0x7c00u ? normal : special)));
}

ATTN_NUMBER double attn_f16_to_f64(uint16_t code) {
    return (double)attn_f16_to_f32(code);
}

ATTN_NUMBER uint16_t attn_f32_to_f16(float value) {
    const uint32_t bits = attn_f32_bits(value);
    const uint32_t sign = bits >> 16 & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    /* Adding 1/2, whose last place is 2^-24, rounds a subnormal. */
    const uint32_t small = attn_f32_bits(attn_f32_from_bits(magnitude) + 0.5f) - 0x3f000000u;
    const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
    const uint32_t nan = 0x7e00u | (magnitude >> 13 & 0x3ffu);
    uint32_t code = magnitude < 0x38800000u ? small : normal;
    code = magnitude < 0x477ff000u ? code : 0x7c00u; /* 65520 and more round to infinity */
    code = magnitude > 0x7f800000u ? nan : code;
    return (uint16_t)(sign | code);
}

ATTN_NUMBER uint16_t attn_f64_to_f16(double value) {
    const uint64_t bits = attn_f64_bits(value);
    const uint64_t sign = bits >> 48 & 0x8000u;
    const uint64_t magnitude = bits & 0x7fffffffffffffffu;
    /* As above; the last place of 2^28 is 2^-24. */
    const uint64_t small =
        attn_f64_bits(attn_f64_from_bits(magnitude) + 268435456.0) - 0x41b0000000000000u;
    const uint64_t normal =
        (magnitude - ((uint64_t)1008 << 52) + 0x1ffffffffffu + (magnitude >> 42 & 1u)) >> 42;
    const uint64_t nan = 0x7e00u | (magnitude >> 42 & 0x3ffu);
    uint64_t code = magnitude < 0x3f10000000000000u ? small : normal;
    code = magnitude < 0x40effe0000000000u ? code : 0x7c00u;
    code = magnitude > 0x7ff0000000000000u ? nan : code;
    return (uint16_t)(sign | code);
}

ATTN_NUMBER float attn_bf16_to_f32(uint16_t code) {
    const uint32_t quiet = (code & 0x7fffu) > 0x7f80u ? 0x400000u : 0u;
    return attn_f32_from_bits((uint32_t)code << 16 | quiet);
}

ATTN_NUMBER double attn_bf16_to_f64(uint16_t code) {
    /* Not through float: a device that flushes would lose the subnormals, multiples of 2^-133. */
    const uint64_t sign = (uint64_t)(code & 0x8000u) << 48;
    const uint64_t magnitude = code & 0x7fffu;
    const uint64_t small =
        attn_f64_bits((double)magnitude * attn_f64_from_bits(0x37a0000000000000u));
    const uint64_t normal = (magnitude << 45) + ((uint64_t)896 << 52);
    const uint64_t special =
        0x7ff0000000000000u | magnitude << 45 | (magnitude > 0x7f80u ? 0x8000000000000u : 0u);
    return attn_f64_from_bits(
        sign | (magnitude < 0x80u ? small : (magnitude < 0x7f80u ? normal : special)));
}

ATTN_NUMBER uint16_t attn_f32_to_bf16(float value) {
    const uint32_t bits = attn_f32_bits(value);
    const uint32_t magnitude = bits & 0x7fffffffu;
    const uint32_t code =
        magnitude > 0x7f800000u ? bits >> 16 | 0x40u : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    return (uint16_t)code;
}

ATTN_NUMBER uint16_t attn_f64_to_bf16(double value) {
    const uint64_t bits = attn_f64_bits(value);
    const uint64_t sign = bits >> 48 & 0x8000u;
    const uint64_t magnitude = bits & 0x7fffffffffffffffu;
    /* As for binary16; the last place of 2^-81 is 2^-133. */
    const uint64_t small =
        attn_f64_bits(attn_f64_from_bits(magnitude) + attn_f64_from_bits(0x3ae0000000000000u)) -
        0x3ae0000000000000u;
    const uint64_t normal =
        (magnitude - ((uint64_t)896 << 52) + 0xfffffffffffu + (magnitude >> 45 & 1u)) >> 45;
    const uint64_t nan = 0x7fc0u | (magnitude >> 45 & 0x7fu);
    uint64_t code = magnitude < 0x3810000000000000u ? small : normal;
    code = magnitude < 0x47eff00000000000u ? code : 0x7f80u; /* 2^128 - 2^119 and more */
    code = magnitude > 0x7ff0000000000000u ? nan : code;
    return (uint16_t)(sign | code);
}

/* Exact, as all of f16 and of bf16 are. */
ATTN_NUMBER float attn_e4m3_to_f32(uint8_t code) {
    const uint32_t sign = (uint32_t)(code & 0x80u) << 24;
    const uint32_t magnitude = code & 0x7fu;
    /* Codes below 8 are multiples of 2^-9. */
    const uint32_t small = attn_f32_bits((float)magnitude * 0.001953125f);
    const uint32_t normal = (magnitude << 20) + (120u << 23);
    return attn_f32_from_bits(
        sign | (magnitude < 8u ? small : (magnitude < 0x7fu ? normal : 0x7fc00000u)));
}

/* There is no infinity: what would round to more than 448 is NaN, as of ml_dtypes and PyTorch (and
 * not 448, as of CUDA's saturating conversion). */
ATTN_NUMBER uint8_t attn_f32_to_e4m3(float value) {
    const uint32_t bits = attn_f32_bits(value);
    const uint32_t sign = bits >> 24 & 0x80u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    /* Adding 2^14, whose last place is 2^-9, rounds a subnormal. */
    const uint32_t small = attn_f32_bits(attn_f32_from_bits(magnitude) + 16384.0f) - 0x46800000u;
    const uint32_t normal = (magnitude - (120u << 23) + 0x7ffffu + (magnitude >> 20 & 1u)) >> 20;
    const uint32_t code = magnitude < 0x3c800000u ? small : normal;
    return (uint8_t)(sign | (magnitude > 0x43e80000u ? 0x7fu : code)); /* 464, a tie, is 448 */
}

/* As outputs are stored, and CUDA's cvt.rn.satfinite converts: what is beyond 448 is 448 of its
 * sign, NaN is 0x7f. */
ATTN_NUMBER uint8_t attn_f32_to_e4m3_sat(float value) {
    if (value != value) return 0x7f;
    return attn_f32_to_e4m3(value > 448 ? 448 : value < -448 ? -448 : value);
}

ATTN_NUMBER uint8_t attn_f64_to_e4m3_sat(double value) {
    const uint64_t bits = attn_f64_bits(value);
    const uint64_t sign = bits >> 56 & 0x80u;
    const uint64_t magnitude = bits & 0x7fffffffffffffffu;
    /* As above; the last place of 2^43 is 2^-9. */
    const uint64_t small =
        attn_f64_bits(attn_f64_from_bits(magnitude) + 8796093022208.0) - 0x42a0000000000000u;
    const uint64_t normal =
        (magnitude - ((uint64_t)1016 << 52) + 0xffffffffffffu + (magnitude >> 49 & 1u)) >> 49;
    uint64_t code = magnitude < 0x3f90000000000000u ? small : normal;
    code = sign | (magnitude < 0x407c000000000000u ? code : 0x7eu);
    return (uint8_t)(magnitude > 0x7ff0000000000000u ? 0x7fu : code);
}

#undef ATTN_NUMBER

#endif
