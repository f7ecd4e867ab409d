/* Vectors of the instruction set a file is being compiled for (ATTN_ISA): GCC's vector extensions,
 * with intrinsics only where the language has no word, to widen f16 and bytes.
 *
 *   WIDTH  floats in a vector
 *   STEP   rows of the left operand that a register tile of the matrix products takes
 *   TILE   vectors of the right operand it takes: STEP * TILE accumulators, TILE operands and a
 *          broadcast fill the 32 registers of AVX-512 and the 16 of AVX2 and SSE2 */
#ifndef ATTN_CPU_ISA_H
#define ATTN_CPU_ISA_H

#include "attention.h"
#include "../../attn_number.h"

#include <math.h>
#include <string.h>

#if defined(ATTN_ISA_avx512)
#include <immintrin.h>
enum { WIDTH = 16, STEP = 8, TILE = 3 };
#elif defined(ATTN_ISA_avx2)
#include <immintrin.h>
enum { WIDTH = 8, STEP = 4, TILE = 3 };
#else
enum { WIDTH = 4, STEP = 4, TILE = 2 };
#endif
enum { LANES = TILE * WIDTH, TALL_TILES = 4 };

#define ATTN_JOIN_(a, b) a##b
#define ATTN_JOIN(a, b) ATTN_JOIN_(a, b)
#define ISA_NAME(stem) ATTN_JOIN(stem, ATTN_ISA)
/* Inlined so that its constant arguments unroll its loops. */
#define TEMPLATE static inline __attribute__((always_inline))
/* for (i = 0; i < count; i++), unrolled so that arrays of accumulators become registers. */
#if defined(__clang__)
#define UNROLL(i, count) _Pragma("unroll") for (int i = 0; i < (count); i++)
#else
#define UNROLL(i, count) _Pragma("GCC unroll 16") for (int i = 0; i < (count); i++)
#endif

typedef float floats __attribute__((vector_size(WIDTH * 4)));
typedef int32_t ints __attribute__((vector_size(WIDTH * 4)));
typedef uint32_t words __attribute__((vector_size(WIDTH * 4)));
typedef uint16_t halves __attribute__((vector_size(WIDTH * 2)));
typedef uint8_t bytes __attribute__((vector_size(WIDTH)));

void ISA_NAME(tall_)(const struct task *task);
void ISA_NAME(flat_)(const struct task *task);
void ISA_NAME(naive_)(const struct task *task);
size_t ISA_NAME(tall_workspace_)(int64_t head_dim, int64_t value_dim);
size_t ISA_NAME(flat_workspace_)(int64_t head_dim, int64_t value_dim);

TEMPLATE floats splat(float value) {
    return value - (floats){0};
}

TEMPLATE floats load(const float *from) {
    floats value;
    memcpy(&value, from, sizeof value);
    return value;
}

TEMPLATE void store(float *to, floats value) {
    memcpy(to, &value, sizeof value);
}

/* Where `condition` has ones a, elsewhere b. */
TEMPLATE floats choose(ints condition, floats a, floats b) {
    return (floats)((condition & (ints)a) | (~condition & (ints)b));
}

/* a > b ? a : b: b where either is NaN. */
TEMPLATE floats larger(floats a, floats b) {
#if defined(ATTN_ISA_avx512)
    return (floats)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(ATTN_ISA_avx2)
    return (floats)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return choose(a > b, a, b);
#endif
}

TEMPLATE floats load_f16(const uint16_t *from) {
#if defined(ATTN_ISA_avx512)
    return (floats)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
#elif defined(ATTN_ISA_avx2)
    return (floats)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
#else
    /* As attn_f16_to_f32. */
    halves code;
    memcpy(&code, from, sizeof code);
    const words wide = __builtin_convertvector(code, words);
    const ints magnitude = (ints)(wide & 0x7fff);
    const floats small = __builtin_convertvector(magnitude, floats) * 0x1p-24f;
    const ints normal = (magnitude << 13) + (112 << 23);
    const ints special = 0x7f800000 | magnitude << 13 | ((magnitude > 0x7c00) & 0x400000);
    const floats large = choose(magnitude < 0x7c00, (floats)normal, (floats)special);
    return (floats)((words)choose(magnitude < 0x400, small, large) | (wide & 0x8000) << 16);
#endif
}

TEMPLATE floats load_bf16(const uint16_t *from) {
    halves value;
    memcpy(&value, from, sizeof value);
    return (floats)(__builtin_convertvector(value, words) << 16);
}

/* GCC 12 makes one byte after the other of a conversion from bytes to words at once. */
TEMPLATE words load_bytes(const uint8_t *from) {
#if defined(ATTN_ISA_avx512)
    return (words)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)from));
#elif defined(ATTN_ISA_avx2)
    return (words)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from));
#else
    bytes code;
    memcpy(&code, from, sizeof code);
    return __builtin_convertvector(__builtin_convertvector(code, halves), words);
#endif
}

/* As attn_e4m3_to_f32. */
TEMPLATE floats load_e4m3(const uint8_t *from) {
    const words wide = load_bytes(from);
    const ints magnitude = (ints)(wide & 0x7f);
    const floats small = __builtin_convertvector(magnitude, floats) * 0x1p-9f;
    const floats normal = (floats)((magnitude << 20) + (120 << 23));
    const floats size = choose(magnitude < 8, small, normal);
    const ints nan = (magnitude == 0x7f) & 0x7fc00000;
    return (floats)((words)size | (words)nan | (wide & 0x80) << 24);
}

TEMPLATE floats load_i8(const int8_t *from) {
    const ints value = (ints)(load_bytes((const uint8_t *)from) << 24) >> 24;
    return __builtin_convertvector(value, floats);
}

/* WIDTH elements of a row of dtype, from element `at` on. */
TEMPLATE floats load_row(const void *row, int64_t at, int32_t dtype) {
    return dtype == ATTN_F32    ? load((const float *)row + at)
           : dtype == ATTN_F16  ? load_f16((const uint16_t *)row + at)
           : dtype == ATTN_BF16 ? load_bf16((const uint16_t *)row + at)
           : dtype == ATTN_E4M3 ? load_e4m3((const uint8_t *)row + at)
                                : load_i8((const int8_t *)row + at);
}

/* exp(x) for x <= 0, within 1.1 units in the last place, and 0 below -87.7; NaN stays NaN.
 * x = n ln 2 + r with |r| <= ln 2 / 2, n by adding 1.5 * 2^23, ln 2 in two parts of which the first
 * times n is exact, and a polynomial for e^r. At -88, where smaller x are moved, n is -127 and 2^n
 * is made of an exponent field of 0: zero. */
TEMPLATE floats exp_nonpositive(floats x) {
    x = larger(splat(-88.0f), x);
    const floats shifted = x * 0x1.715476p0f + 0x1.8p23f;
    const floats n = shifted - 0x1.8p23f;
    const floats r = (x - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;
    floats y = splat(0x1.6d117cp-10f);
    y = y * r + 0x1.120be2p-7f;
    y = y * r + 0x1.555518p-5f;
    y = y * r + 0x1.5554dcp-3f;
    y = y * r + 0x1.000000p-1f;
    y = y * (r * r) + r;
    return (y + 1.0f) * (floats)((((words)shifted) << 23) + 0x3f800000u);
}

/* tanh(x), within 2 units in the last place; NaN stays NaN. Below 9/16 x times an even polynomial
 * (off by 2^-29; Lawson's iteration), above it (1 - e) / (1 + e), e = exp(-2 |x|) < 1/3. */
TEMPLATE floats tanh_of(floats x) {
    const floats size = (floats)((ints)x & 0x7fffffff);
    const floats e = exp_nonpositive(size * -2.0f), z = x * x;
    floats y = splat(-0x1.95001ap-8f);
    y = y * z + 0x1.582fb0p-6f;
    y = y * z + -0x1.b90946p-5f;
    y = y * z + 0x1.110c72p-3f;
    y = y * z + -0x1.555548p-2f;
    const floats small = y * z * x + x, large = (1.0f - e) / (1.0f + e);
    return choose(size < 0.5625f, small, (floats)((ints)large | ((ints)x & (int32_t)0x80000000)));
}

/* Products scaled, and capped where that is asked: c tanh(scale x / c). */
TEMPLATE floats cap(const struct task *task, floats x) {
    if (!(task->softcap > 0)) return x * task->product_scale;
    return tanh_of(x * (task->product_scale / task->softcap)) * task->softcap;
}

/* A row of dtype as f32, with zeros up to `padded` elements. */
TEMPLATE void widen_row(float *to, const void *row, int64_t count, int64_t padded, int32_t dtype) {
    int64_t e = 0;
    for (; e + WIDTH <= count; e += WIDTH) store(to + e, load_row(row, e, dtype));
    for (; e < count; e++)
        to[e] = dtype == ATTN_F32    ? ((const float *)row)[e]
                : dtype == ATTN_F16  ? attn_f16_to_f32(((const uint16_t *)row)[e])
                : dtype == ATTN_BF16 ? attn_bf16_to_f32(((const uint16_t *)row)[e])
                : dtype == ATTN_E4M3 ? attn_e4m3_to_f32(((const uint8_t *)row)[e])
                                     : (float)((const int8_t *)row)[e];
    for (; e < padded; e++) to[e] = 0;
}

/* The same for `row_count` rows, `padded` elements apart. */
static inline void widen_rows(float *to, const void *const *rows, int64_t row_count, int64_t count,
                              int64_t padded, int32_t dtype) {
    for (int64_t n = 0; n < row_count; n++, to += padded) {
        if (dtype == ATTN_F32)
            widen_row(to, rows[n], count, padded, ATTN_F32);
        else if (dtype == ATTN_F16)
            widen_row(to, rows[n], count, padded, ATTN_F16);
        else if (dtype == ATTN_BF16)
            widen_row(to, rows[n], count, padded, ATTN_BF16);
        else if (dtype == ATTN_E4M3)
            widen_row(to, rows[n], count, padded, ATTN_E4M3);
        else
            widen_row(to, rows[n], count, padded, ATTN_I8);
    }
}

static inline void scale_row(float *row, int64_t count, float scale) {
    int64_t e = 0;
    for (; e + WIDTH <= count; e += WIDTH) store(row + e, load(row + e) * scale);
    for (; e < count; e++) row[e] *= scale;
}

/* The keys and values of `count` positions from `key` on, at most KEY_BLOCK, which lie at `keys`
 * and `values`: widened, `padded` and `value_padded` elements apart, and those of 8 bits times
 * their scale. Without wide_values keys alone. */
static inline void widen_block(float *wide_keys, float *wide_values, const struct task *task,
                               int64_t key, int64_t count, int64_t padded, int64_t value_padded,
                               const void *const *keys, const void *const *values) {
    const struct attn_problem *problem = task->problem;
    float k_scale[KEY_BLOCK], v_scale[KEY_BLOCK];
    widen_rows(wide_keys, keys, count, problem->head_dim, padded, task->stored);
    if (wide_values)
        widen_rows(wide_values, values, count, problem->value_dim, value_padded, task->stored);
    if (!task->scaled) return;
    lookup_scales(task->call, task->b, task->g, task->list, key, count, k_scale, v_scale);
    for (int64_t n = 0; n < count; n++) {
        scale_row(wide_keys + n * padded, padded, k_scale[n]);
        if (wide_values) scale_row(wide_values + n * value_padded, value_padded, v_scale[n]);
    }
}

/* Query row r of the group, widened, with zeros up to `padded` elements. */
static inline void widen_query(float *to, const struct task *task, int64_t r, int64_t padded) {
    const int64_t head = task->g * task->group + r % task->group;
    const void *row = lookup_row(task->call, ATTN_Q, task->b, head, r / task->group);
    widen_rows(to, &row, 1, task->problem->head_dim, padded, task->problem->dtype);
    for (int64_t d = 0; d < padded; d++) to[d] *= task->query_sign;
}

#endif
