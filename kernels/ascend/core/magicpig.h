/* MagicPIG's correction of a tile of logits, in f32 on the vector unit, 64 tokens a repeat. The
 * definition is in attn.h. Emulated; never run on a 910B2.
 *
 * What cancels there is put so that it does not:
 *   1 - acos(c) / pi      r = acos(|c|) / pi = sqrt(1 - |c|) R(|c|), R a polynomial; p is r where
 *                         c < 0 and 1 - r elsewhere: small p keep their digits
 *   y = (L-1) log1p(-x) + log1p((L-1) x)
 *                         with t(z) = log1p(z) - z it is (L-1) t(-x) + t((L-1) x): the linear terms
 *                         are gone, both that remain are negative. t by the series of
 *                         log1p(z) = 2 atanh(s), s = z / (2 + z), where |s| <= 1/3, that is, for
 *                         -1/2 <= z <= 1, and as log(1 + z) - z elsewhere
 *   -expm1(-w)            w (1 - w/2 + w^2/6 - ...) up to w = 3/8, 1 - exp(-w) above
 * Both t go through the unit as one vector of 2 x 64. About 75 calls a tile, each of one or two
 * repeats.
 *
 * pages: asc_mul, asc_div, asc_sqrt, asc_log, asc_exp, asc_lt_scalar, asc_set_cmp_mask, asc_select.
 */
#ifndef ATTEST_ASCEND_MAGICPIG_H
#define ATTEST_ASCEND_MAGICPIG_H

#include "../asc.h"

/* A row's constants: |q| in 8 lanes; and room for vectors of 64 and 128 tokens. */
struct magicpig_row {
    float k, l;
    __ubuf__ float *q_norm;
    __ubuf__ float *room; /* magicpig_room_bytes, zeros before the first use */
};
static constexpr uint32_t magicpig_vector_bytes = 256; /* 64 f32 */
static constexpr uint32_t magicpig_room_bytes = 9 * magicpig_vector_bytes;

/* One call, and what follows may read its result. */
__aicore__ inline void magicpig_mul(__ubuf__ float *dst, __ubuf__ float *a, __ubuf__ float *b,
                                    int repeat) {
    asc_mul(dst, a, b, repeat, 1, 1, 1, 8, 8, 8);
    asc_sync_pipe(PIPE_V);
}
__aicore__ inline void magicpig_sub(__ubuf__ float *dst, __ubuf__ float *a, __ubuf__ float *b,
                                    int repeat) {
    asc_sub(dst, a, b, repeat, 1, 1, 1, 8, 8, 8);
    asc_sync_pipe(PIPE_V);
}
__aicore__ inline void magicpig_div(__ubuf__ float *dst, __ubuf__ float *a, __ubuf__ float *b,
                                    int repeat) {
    asc_div(dst, a, b, repeat, 1, 1, 1, 8, 8, 8);
    asc_sync_pipe(PIPE_V);
}
__aicore__ inline void magicpig_add_scalar(__ubuf__ float *dst, __ubuf__ float *a, float value,
                                           int repeat) {
    asc_add_scalar(dst, a, value, repeat, 1, 1, 8, 8);
    asc_sync_pipe(PIPE_V);
}
__aicore__ inline void magicpig_mul_scalar(__ubuf__ float *dst, __ubuf__ float *a, float value,
                                           int repeat) {
    asc_mul_scalar(dst, a, value, repeat, 1, 1, 8, 8);
    asc_sync_pipe(PIPE_V);
}

/* sum = coefficient[0] + x coefficient[1] + ..., by Horner. `sum` is not `x`. */
__aicore__ inline void magicpig_polynomial(__ubuf__ float *sum, __ubuf__ float *x,
                                           const float *coefficients, int terms, int repeat) {
    magicpig_mul_scalar(sum, x, coefficients[terms - 1], repeat);
    for (int n = terms - 2; n > 0; n--) {
        magicpig_add_scalar(sum, sum, coefficients[n], repeat);
        magicpig_mul(sum, sum, x, repeat);
    }
    magicpig_add_scalar(sum, sum, coefficients[0], repeat);
}

/* dst = tested < limit ? yes : no, one repeat; `bits` is 32 bytes, 16 of them ever written. */
__aicore__ inline void magicpig_choose(__ubuf__ float *dst, __ubuf__ float *tested, float limit,
                                       __ubuf__ float *yes, __ubuf__ float *no,
                                       __ubuf__ uint8_t *bits) {
    asc_lt_scalar(bits, tested, limit, 1, 1, 1, 8, 8);
    asc_sync_pipe(PIPE_V);
    asc_set_cmp_mask(bits);
    asc_sync_pipe(PIPE_V);
    asc_select(dst, yes, no, 1, 1, 1, 1, 8, 8, 8);
    asc_sync_pipe(PIPE_V);
}

/* The probability p that q and k agree in one bit, in place of `dots`; `squares` is |k|^2 and is
 * overwritten. a and b are scratch. */
__aicore__ inline void magicpig_agreement(__ubuf__ float *dots, __ubuf__ float *squares,
                                          __ubuf__ float *q_norm, __ubuf__ float *a,
                                          __ubuf__ float *b, __ubuf__ uint8_t *bits) {
    /* acos(x) / (pi sqrt(1 - x)) on [0, 1] to 2^-26, interpolated at Chebyshev's points. */
    const float acos_terms[] = {0.5f,
                                -0.06830988079309464f,
                                0.02834411896765232f,
                                -0.01614750176668167f,
                                0.010547676123678684f,
                                -0.007000185549259186f,
                                0.004003920592367649f,
                                -0.0015780804678797722f,
                                0.00029809310217387974f};
    const float cosine_max = 0.99999988f; /* 1 - 1e-7, to nearest */

    asc_sqrt(squares, squares, 1, 1, 1, 8, 8);
    asc_sync_pipe(PIPE_V);
    asc_mul(squares, squares, q_norm, 1, 1, 1, 0, 8, 8, 0);
    asc_sync_pipe(PIPE_V);
    magicpig_add_scalar(squares, squares, 1e-8f, 1);
    magicpig_div(dots, dots, squares, 1);
    asc_max_scalar(dots, dots, -cosine_max, 1, 1, 1, 8, 8);
    asc_sync_pipe(PIPE_V);
    asc_min_scalar(dots, dots, cosine_max, 1, 1, 1, 8, 8);
    asc_sync_pipe(PIPE_V);

    asc_abs(a, dots, 1, 1, 1, 8, 8);
    asc_sync_pipe(PIPE_V);
    magicpig_polynomial(b, a, acos_terms, 9, 1);
    magicpig_mul_scalar(a, a, -1.0f, 1);
    magicpig_add_scalar(a, a, 1.0f, 1);
    asc_sqrt(a, a, 1, 1, 1, 8, 8);
    asc_sync_pipe(PIPE_V);
    magicpig_mul(a, a, b, 1);
    magicpig_mul_scalar(b, a, -1.0f, 1);
    magicpig_add_scalar(b, b, 1.0f, 1);
    magicpig_choose(dots, dots, 0.0f, a, b, bits);
}

/* dots, the products q.k of 64 tokens, become log u; squares, |k|^2, are overwritten. Lanes without
 * a token come out as some number too. */
__aicore__ inline void magicpig_log_u(__ubuf__ float *dots, __ubuf__ float *squares,
                                      const magicpig_row &row) {
    const float atanh_terms[] = {1.0f / 3,  1.0f / 5,  1.0f / 7,  1.0f / 9,
                                 1.0f / 11, 1.0f / 13, 1.0f / 15, 1.0f / 17};
    const float expm1_terms[] = {1.0f,       -1.0f / 2,   1.0f / 6,    -1.0f / 24,
                                 1.0f / 120, -1.0f / 720, 1.0f / 5040, -1.0f / 40320};
    const float s_square_max = 0.1112f; /* a little more than 1/9 */
    const float w_small = 0.375f;
    __ubuf__ float *z = row.room, *s = z + 128, *t = s + 128, *s_square = t + 128;
    __ubuf__ uint8_t *bits = (__ubuf__ uint8_t *)(s_square + 128);
    __ubuf__ float *x = dots;
    const float others = row.l - 1;

    magicpig_agreement(dots, squares, row.q_norm, z, s, bits);
    asc_log(x, x, 1, 1, 1, 8, 8);
    asc_sync_pipe(PIPE_V);
    magicpig_mul_scalar(x, x, row.k, 1);
    asc_exp(x, x, 1, 1, 1, 8, 8);
    asc_sync_pipe(PIPE_V);

    magicpig_mul_scalar(z, x, -1.0f, 1);
    magicpig_mul_scalar(z + 64, x, others, 1);
    magicpig_add_scalar(s, z, 2.0f, 2);
    magicpig_div(s, z, s, 2);
    magicpig_mul(s_square, s, s, 2);
    magicpig_polynomial(t, s_square, atanh_terms, 8, 2);
    magicpig_mul(t, t, s_square, 2);
    magicpig_mul_scalar(t, t, 2.0f, 2);
    magicpig_sub(t, t, z, 2);
    magicpig_mul(t, t, s, 2); /* near zero: s (2 s^2 (1/3 + ...) - z) */
    magicpig_add_scalar(s, z, 1.0f, 2);
    asc_log(s, s, 2, 1, 1, 8, 8);
    asc_sync_pipe(PIPE_V);
    magicpig_sub(s, s, z, 2); /* farther away */
    magicpig_choose(z, s_square, s_square_max, t, s, bits);
    magicpig_choose(z + 64, s_square + 64, s_square_max, t + 64, s + 64, bits);

    __ubuf__ float *w = z;
    magicpig_mul_scalar(w, w, -others, 1);
    magicpig_sub(w, w, z + 64, 1);
    magicpig_polynomial(t, w, expm1_terms, 8, 1);
    magicpig_mul(t, t, w, 1);
    magicpig_mul_scalar(s, w, -1.0f, 1);
    asc_exp(s, s, 1, 1, 1, 8, 8);
    asc_sync_pipe(PIPE_V);
    magicpig_mul_scalar(s, s, -1.0f, 1);
    magicpig_add_scalar(s, s, 1.0f, 1);
    magicpig_choose(x, w, w_small, t, s, bits);
    asc_max_scalar(x, x, 1e-10f, 1, 1, 1, 8, 8);
    asc_sync_pipe(PIPE_V);
    asc_log(x, x, 1, 1, 1, 8, 8);
    asc_sync_pipe(PIPE_V);
}

#endif
