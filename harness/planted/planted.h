/* Kernels with one planted bug each, and a few honest ones that look suspicious: what the judge is
 * tested on (`attest selftest`, test_planted.c). All are one flash kernel for 16-bit inputs --
 * blocks of 64 keys, online softmax, P rounded to 16 bits, sums in f32 -- that goes wrong at one
 * place. A shared library has one bug (planted.c, compiled once for each); the unit test calls
 * planted_row directly. */
#ifndef ATTEST_PLANTED_H
#define ATTEST_PLANTED_H

#include "../../kernels/attn.h"

enum { PLANTED_BLOCK = 64, PLANTED_HEAD_DIM_MAX = 256 };

/* X(symbol, name, variant of its library, what it does). CMakeLists.txt reads this list: one
 * complete entry a line. */
/* clang-format off */
#define PLANTED(X)                                                                                 \
    X(FLASH, flash, decode, "honest: blocks of 64 keys, P in 16 bit")                              \
    X(SPLIT, split, decode_paged, "honest: four shares of the keys, then combined")                \
    X(EXP2, exp2, prefill, "honest: scale and log2 e folded, exp2 for exp")                        \
    X(ZEROS, zeros, decode, "writes zeros")                                                        \
    X(LAST_KEY_DROPPED, last_key_dropped, decode, "stops one key early")                           \
    X(LAST_BLOCK_DROPPED, last_block_dropped, decode, "stops 64 keys early")                       \
    X(KEY_TOO_MANY, key_too_many, decode_paged, "counts the key after the last")                   \
    X(KEY_TWICE, key_twice, decode, "counts the first key twice")                                  \
    X(RESCALE_MISSED, rescale_missed, decode, "once does not rescale the output")                  \
    X(SCALE_1_01, scale_1_01, decode, "softmax scale 1 % too large")                               \
    X(SCALE_1_001, scale_1_001, decode, "softmax scale 0.1 % too large")                           \
    X(P_TRUNCATED, p_truncated, prefill, "cuts P off instead of rounding it")                      \
    X(OUT_16BIT, out_16bit, decode, "sums the output in 16 bit")                                   \
    X(DENOMINATOR_16BIT, denominator_16bit, decode, "sums the denominator in 16 bit")              \
    X(PAGES_SWAPPED, pages_swapped, decode_paged, "reads the values of two pages swapped")         \
    X(EXP_16BIT, exp_16bit, prefill, "takes exp of a 16-bit argument")                             \
    X(SCORES_IGNORED, scores_ignored, decode, "gives all keys the same weight")                    \
    X(OUT_TRUNCATED, out_truncated, prefill, "cuts the output off instead of rounding it")         \
    X(DENOMINATOR_STALE, denominator_stale, decode, "never rescales the denominator")              \
    X(LSE_BASE_2, lse_base_2, decode, "writes the lse in base 2")                                  \
    X(EMPTY_ROW_NAN, empty_row_nan, decode_paged, "divides by zero where no key is seen")          \
    X(LENGTH_OVERREAD, length_overread, decode_paged, "multiplies keys past the length by zero")   \
    X(OUT_OVERRUN, out_overrun, decode, "writes one element past the end of the output")           \
    X(WRONG_KV_HEAD, wrong_kv_head, decode, "one head reads another head's keys and values")       \
    X(PREVIOUS_CALL, previous_call, decode, "returns what it computed at its first call")          \
    X(TILE_UNWRITTEN, tile_unwritten, prefill, "leaves the last 16 elements of a row")             \
    X(INPUT_CHANGED, input_changed, decode, "writes into q")                                       \
    X(RUNS_DIFFER, runs_differ, decode, "combines the keys in an order that changes")              \
    X(CRASHES, crashes, decode, "writes where there is no memory")                                 \
    X(HANGS, hangs, decode, "never returns")
/* clang-format on */

enum planted {
#define X(symbol, name, variant, meaning) PLANTED_##symbol,
    PLANTED(X)
#undef X
        PLANTED_COUNT
};

/* One query row. k and v point to the rows of keys and values in order; entry `keys` of each, the
 * one after the last, is only followed by bugs that read it. */
struct planted_row {
    int32_t dtype; /* ATTN_F16 or ATTN_BF16 */
    int64_t keys, head_dim;
    const uint16_t *q;
    const uint16_t *const *k, *const *v;
    float scale;
    int64_t call; /* how many calls came before */
};

/* Writes the row's out [head_dim] and *lse with that bug in it, as far as a bug shows in a row. */
void planted_row(enum planted bug, const struct planted_row *row, uint16_t *out, float *lse);

#endif
