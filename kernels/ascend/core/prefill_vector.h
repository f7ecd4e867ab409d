/* A vector core's part of core/prefill.h, which includes this: what it owns and how it is ordered
 * is said there. Emulated; never run on a 910B2.
 *
 * S lies in UB as 64 rows of 128 f32: 16 blocks of 32 bytes a row, two repeats. Calls go over a
 * column of repeats, a repeat a row, where rows have numbers of their own (`spread`: a block of 32
 * bytes a row holds the row's number 8 times, read with block stride 0), over all of S at once
 * where they have none. */
#ifndef ATTEST_ASCEND_PREFILL_VECTOR_H
#define ATTEST_ASCEND_PREFILL_VECTOR_H

#include "prefill.h"

/* Flags of a vector core: (MTE2, V) by buffer; (V, MTE3). */
enum prefill_ub { prefill_ub_s, prefill_ub_o = 2 };
enum prefill_ub_out { prefill_ub_p, prefill_ub_lse };

__aicore__ inline void prefill_vector_open() {
    for (int32_t i = 0; i < 3; i++) asc_sync_notify(PIPE_V, PIPE_MTE2, prefill_id(i));
    for (int32_t i = 0; i < 2; i++) asc_sync_notify(PIPE_MTE3, PIPE_V, prefill_id(i));
}
__aicore__ inline void prefill_vector_close() {
    for (int32_t i = 0; i < 3; i++) asc_sync_wait(PIPE_V, PIPE_MTE2, prefill_id(i));
    for (int32_t i = 0; i < 2; i++) asc_sync_wait(PIPE_MTE3, PIPE_V, prefill_id(i));
}

/* Rounding to the input's type. */
__aicore__ inline void prefill_narrow(__ubuf__ half *to, __ubuf__ float *from, int32_t rows,
                                      int32_t to_stride, int32_t from_stride) {
    asc_float2half_rn(to, from, rows, 1, 1, to_stride, from_stride);
}
__aicore__ inline void prefill_narrow(__ubuf__ bfloat16_t *to, __ubuf__ float *from, int32_t rows,
                                      int32_t to_stride, int32_t from_stride) {
    asc_float2bfloat16_rn(to, from, rows, 1, 1, to_stride, from_stride);
}

/* The step's rows of this core, those that fill up to 16 included: 0, 16, 32, 48 or 64. */
__aicore__ inline int32_t prefill_own_rows(const prefill_step &step, int32_t sub) {
    const int32_t rows = prefill_up(step.rows, prefill_side) - sub * prefill_half;
    return prefill_most(0, prefill_least(prefill_half, rows));
}

/* ---- What no step writes --------------------------------------------------------------------
 */

/* In UB: f32 of zeros, then as many of -infinity or a sink. */
static constexpr int32_t prefill_blank = 4096;

/* Rows [from, to) of a head: out 0, lse `lse` of blank. */
template <typename T, int D>
__aicore__ inline void prefill_blank_rows(const prefill_args &args, int64_t from, int64_t to,
                                          __ubuf__ float *zero, __ubuf__ float *lse) {
    constexpr int64_t rows_a_copy = prefill_blank * 2 / D;
    for (int64_t row = from; row < to; row += rows_a_copy) {
        const int64_t rows = to - row < rows_a_copy ? to - row : rows_a_copy;
        asc_copy_ub2gm((__gm__ T *)args.out + row * D, zero, (uint32_t)(rows * D * 2));
    }
    for (int64_t row = from; row < to; row += prefill_blank) {
        const int64_t rows = to - row < prefill_blank ? to - row : prefill_blank;
        asc_copy_ub2gm_align(args.lse + row, lse, (uint32_t)(rows * 4));
    }
}

/* Rows past a sequence's length: 0. Rows of tiles that see no key, the first ones of a sequence: 0
 * and -infinity, or the head's sink. Heads are dealt over the vector cores. And the zeros that the
 * cube core fills up with. */
template <typename T, int D>
__aicore__ inline void prefill_blanks(const prefill_args &args, int32_t sub) {
    using tiling = prefill_tiling<D>;
    __ubuf__ float *zero = asc_ub<float>(tiling::ub_s);
    __ubuf__ float *nothing = asc_ub<float>(tiling::ub_s + 4 * prefill_blank);
    constexpr int32_t repeats = prefill_blank / prefill_half;
    asc_duplicate(zero, 0.0f, repeats, 1, 8);
    asc_duplicate(nothing, -__builtin_inff(), repeats, 1, 8);
    asc_sync_notify(PIPE_V, PIPE_MTE3, prefill_id(prefill_ub_p));
    asc_sync_wait(PIPE_V, PIPE_MTE3, prefill_id(prefill_ub_p));
    if (sub == 0) {
        asc_copy_ub2gm((__gm__ T *)(args.work + tiling::zeros), zero, tiling::zero_bytes);
    }
    asc_core_arrive(PIPE_MTE3, ASC_CUBE_VECTOR, prefill_zeroed);

    const int32_t cores = 2 * (int32_t)asc_blocks();
    for (int32_t head = 2 * (int32_t)asc_block() + sub; head < args.batch * args.q_heads;
         head += cores) {
        const token_lengths lengths = tokens_lengths(args.kv, head / args.q_heads);
        const int64_t row = (int64_t)head * args.q_len;
        int64_t blind = 0;
        for (int32_t tile = 0; blind < lengths.q; tile++) {
            const token_span seen = prefill_seen(args, lengths, tile);
            if (seen.end > seen.first) break;
            blind = lengths.q - blind < prefill_rows ? lengths.q : blind + prefill_rows;
        }
        if (args.sinks != nullptr && blind > 0) {
            asc_sync(); /* the last head's are stored; then these are there */
            asc_duplicate(nothing, asc_gm_get(args.sinks + head % args.q_heads), repeats, 1, 8);
            asc_sync();
        }
        prefill_blank_rows<T, D>(args, row, row + blind, zero, nothing);
        prefill_blank_rows<T, D>(args, row + lengths.q, row + args.q_len, zero, zero);
    }
    asc_sync();
}

/* ---- P ---------------------------------------------------------------------------------------
 */

/* A column as seen from a tile: what is further off than any of its rows and columns is as far. */
__aicore__ inline int32_t prefill_column(int64_t column) {
    constexpr int64_t far = 1024;
    return static_cast<int32_t>(column < -far ? -far : column < far ? column : far);
}

/* Bits of the columns [0, column) of a repeat. */
__aicore__ inline uint64_t prefill_before(int32_t column) {
    if (column <= 0) return 0;
    return column < prefill_half ? ((uint64_t)1 << column) - 1 : ~(uint64_t)0;
}

/* Row r sees columns [first + r, end + r), those before `width`; the others of S become -infinity,
 * a call for each run of rows of which the same ones of a repeat are hidden. */
__aicore__ inline void prefill_hide(__ubuf__ float *s, int32_t rows, int32_t width, int32_t first,
                                    int32_t end) {
    const bool alike = end >= width && first + rows <= 1; /* no edge crosses the rows */
    if (alike && width == prefill_keys) return;
    for (int32_t at = 0; at < prefill_keys; at += prefill_half) {
        uint64_t hidden = 0;
        int32_t from = 0; /* the run's first row */
        for (int32_t r = 0; r <= rows; r += alike ? rows : 1) {
            const int32_t to = prefill_least(width, end + r);
            const uint64_t mine =
                r < rows ? prefill_before(first + r - at) | ~prefill_before(to - at) : 0;
            if (r > 0 && mine == hidden) continue;
            if (hidden != 0) {
                asc_set_vector_mask(0, hidden);
                asc_duplicate(s + from * prefill_keys + at, -__builtin_inff(), r - from, 1, 16);
            }
            hidden = mine;
            from = r;
        }
    }
    asc_set_vector_mask(~(uint64_t)0, ~(uint64_t)0);
}

/* A number a row becomes a block a row. */
template <int D> __aicore__ inline __ubuf__ float *prefill_spread(__ubuf__ float *numbers) {
    __ubuf__ float *spread = asc_ub<float>(prefill_tiling<D>::ub_spread);
    asc_brcb(spread, numbers, 1, 8, prefill_half / 8);
    asc_sync_pipe(PIPE_V);
    return spread;
}

/* S of step g on its way into UB. */
template <typename T, int D>
__aicore__ inline void prefill_fetch(const prefill_args &args, const prefill_step &step, int32_t g,
                                     int32_t sub) {
    using tiling = prefill_tiling<D>;
    asc_core_wait(prefill_scored);
    const int32_t rows = prefill_own_rows(step, sub), s = g % 2;
    if (rows == 0) return;
    const int32_t blocks = prefill_up(prefill_width(step), prefill_side) / 8;
    constexpr uint32_t half_bytes = tiling::score_bytes / 2;
    asc_sync_wait(PIPE_V, PIPE_MTE2, prefill_id(prefill_ub_s + s));
    asc_copy_gm2ub(
        asc_ub<float>(tiling::ub_s + (uint32_t)s * half_bytes),
        (__gm__ float *)(args.work + tiling::scores + s * tiling::score_bytes + sub * half_bytes),
        rows, blocks, prefill_keys / 8 - blocks, prefill_keys / 8 - blocks);
    asc_sync_notify(PIPE_MTE2, PIPE_V, prefill_id(prefill_ub_s + s));
}

/* S becomes P in place, in f32; the rows' maxima and sums follow, and what the sums so far are
 * multiplied with is kept. */
template <int D>
__aicore__ inline void prefill_softmax(__ubuf__ float *s, const prefill_args &args,
                                       const prefill_step &step, int32_t g, int32_t rows) {
    using tiling = prefill_tiling<D>;
    const uint32_t item = (uint32_t)(step.item % 2) * tiling::row_bytes;
    __ubuf__ float *max = asc_ub<float>(tiling::ub_max + item);
    __ubuf__ float *total = asc_ub<float>(tiling::ub_total + item);
    __ubuf__ float *factor =
        asc_ub<float>(tiling::ub_factor + (uint32_t)(g % 2) * tiling::row_bytes);
    __ubuf__ float *a = asc_ub<float>(tiling::ub_a), *b = asc_ub<float>(tiling::ub_b);
    __ubuf__ float *right = s + prefill_half;

    if (step.step == 0) {
        asc_duplicate(max, prefill_floor, 1, 1, 8);
        asc_duplicate(total, 0.0f, 1, 1, 8);
    }
    asc_sync_pipe(PIPE_V);
    asc_mul_scalar(s, s, args.scale, 2 * rows, 1, 1, 8, 8);
    asc_sync_pipe(PIPE_V);
    asc_repeat_reduce_max(a, s, rows, 1, 1, 16);
    asc_repeat_reduce_max(b, right, rows, 1, 1, 16);
    asc_sync_pipe(PIPE_V);
    asc_max(a, a, b, 1, 1, 1, 1, 8, 8, 8);
    asc_sync_pipe(PIPE_V);
    asc_max(a, a, max, 1, 1, 1, 1, 8, 8, 8);
    asc_sync_pipe(PIPE_V);
    asc_sub(factor, max, a, 1, 1, 1, 1, 8, 8, 8);
    asc_sync_pipe(PIPE_V);
    asc_exp(factor, factor, 1, 1, 1, 8, 8);
    asc_copy_ub2ub(max, a, tiling::row_bytes);
    __ubuf__ float *spread = prefill_spread<D>(a);
    asc_sub(s, s, spread, rows, 1, 1, 0, 16, 16, 1);
    asc_sub(right, right, spread, rows, 1, 1, 0, 16, 16, 1);
    asc_sync_pipe(PIPE_V);
    asc_exp(s, s, 2 * rows, 1, 1, 8, 8);
    asc_mul(total, total, factor, 1, 1, 1, 1, 8, 8, 8);
    asc_sync_pipe(PIPE_V);
    asc_repeat_reduce_sum(a, s, rows, 1, 1, 16);
    asc_repeat_reduce_sum(b, right, rows, 1, 1, 16);
    asc_sync_pipe(PIPE_V);
    asc_add(a, a, b, 1, 1, 1, 1, 8, 8, 8);
    asc_sync_pipe(PIPE_V);
    asc_add(total, total, a, 1, 1, 1, 1, 8, 8, 8);
}

/* P of step g from S, to scratch. */
template <typename T, int D>
__aicore__ inline void prefill_weigh(const prefill_args &args, const prefill_step &step, int32_t g,
                                     int32_t sub) {
    using tiling = prefill_tiling<D>;
    const int32_t rows = prefill_own_rows(step, sub), turn = g % 2;
    if (rows > 0) {
        const int32_t width = prefill_width(step);
        const int32_t row = step.first + sub * prefill_half;
        __ubuf__ float *s = asc_ub<float>(tiling::ub_s + (uint32_t)turn * tiling::score_bytes / 2);
        __ubuf__ T *p = asc_ub<T>(tiling::ub_p);
        asc_sync_wait(PIPE_MTE2, PIPE_V, prefill_id(prefill_ub_s + turn));
        const int64_t place = row + step.shift - prefill_key(step); /* of row 0, as a column */
        prefill_hide(s, rows, width, prefill_column(place - args.kv.before),
                     prefill_column(place + args.kv.behind + 1));
        prefill_softmax<D>(s, args, step, g, rows);

        asc_sync_wait(PIPE_MTE3, PIPE_V, prefill_id(prefill_ub_p));
        prefill_narrow(p, s, rows, 8, 16);
        prefill_narrow(p + prefill_half, s + prefill_half, rows, 8, 16);
        asc_sync_notify(PIPE_V, PIPE_MTE2, prefill_id(prefill_ub_s + turn));
        asc_sync_notify(PIPE_V, PIPE_MTE3, prefill_id(prefill_ub_p));

        asc_sync_wait(PIPE_V, PIPE_MTE3, prefill_id(prefill_ub_p));
        const int32_t blocks = prefill_up(width, prefill_side) / 16;
        asc_copy_ub2gm((__gm__ T *)(args.work + tiling::weights + turn * tiling::weight_bytes +
                                    sub * (tiling::weight_bytes / 2)),
                       p, rows, blocks, prefill_keys / 16 - blocks, prefill_keys / 16 - blocks);
        asc_sync_notify(PIPE_MTE3, PIPE_V, prefill_id(prefill_ub_p));
    }
    asc_core_arrive(PIPE_MTE3, ASC_CUBE_VECTOR, prefill_weighed);
}

/* ---- O ---------------------------------------------------------------------------------------
 */

/* Columns [128 part, ...) of O of step g on their way into UB. */
template <typename T, int D>
__aicore__ inline void prefill_fetch_part(const prefill_args &args, int32_t g, int32_t sub,
                                          int32_t rows, int32_t part) {
    using tiling = prefill_tiling<D>;
    __gm__ float *from = (__gm__ float *)(args.work + tiling::sums + g % 2 * tiling::sum_bytes +
                                          sub * (tiling::sum_bytes / 2));
    asc_sync_wait(PIPE_V, PIPE_MTE2, prefill_id(prefill_ub_o));
    asc_copy_gm2ub(asc_ub<float>(tiling::ub_o), from + part * tiling::wide, rows, tiling::wide / 8,
                   (D - tiling::wide) / 8, 0);
    asc_sync_notify(PIPE_MTE2, PIPE_V, prefill_id(prefill_ub_o));
}

/* `wide` columns of the sum from column `at` on: what came before times the row's factor. */
template <int D>
__aicore__ inline void prefill_scale(__ubuf__ float *sum, __ubuf__ float *spread, int32_t rows,
                                     int32_t columns) {
    for (int32_t column = 0; column < columns; column += prefill_half) {
        asc_mul(sum + column, sum + column, spread, rows, 1, 1, 0, D / 8, D / 8, 1);
    }
    asc_sync_pipe(PIPE_V);
}

/* O of step g into the sum. The first part is on its way already. */
template <typename T, int D>
__aicore__ inline void prefill_sum(const prefill_args &args, const prefill_step &step, int32_t g,
                                   int32_t sub, int32_t rows) {
    using tiling = prefill_tiling<D>;
    __ubuf__ float *o = asc_ub<float>(tiling::ub_o);
    __ubuf__ float *spread = nullptr;
    asc_sync_pipe(PIPE_V); /* the numbers of the rows, the sum as the last item's end read it */
    if (step.step > 0) {
        spread = prefill_spread<D>(
            asc_ub<float>(tiling::ub_factor + (uint32_t)(g % 2) * tiling::row_bytes));
    }
    for (int32_t part = 0; part < tiling::parts; part++) {
        __ubuf__ float *sum = asc_ub<float>(tiling::ub_sum) + part * tiling::wide;
        if (part > 0) prefill_fetch_part<T, D>(args, g, sub, rows, part);
        asc_sync_wait(PIPE_MTE2, PIPE_V, prefill_id(prefill_ub_o));
        if (step.step == 0) {
            asc_copy_ub2ub(sum, o, rows, tiling::wide / 8, 0, (D - tiling::wide) / 8);
        } else {
            prefill_scale<D>(sum, spread, rows, tiling::wide);
            for (int32_t column = 0; column < tiling::wide; column += prefill_half) {
                asc_add(sum + column, sum + column, o + column, rows, 1, 1, 1, D / 8, D / 8,
                        tiling::wide / 8);
            }
        }
        asc_sync_notify(PIPE_V, PIPE_MTE2, prefill_id(prefill_ub_o));
    }
}

/* The sink of an item's head into m and l; what m has become less by, as a factor, into b. */
template <int D>
__aicore__ inline void prefill_add_sink(__ubuf__ float *max, __ubuf__ float *total, float sink) {
    using tiling = prefill_tiling<D>;
    __ubuf__ float *a = asc_ub<float>(tiling::ub_a), *b = asc_ub<float>(tiling::ub_b);
    asc_max_scalar(a, max, sink, 1, 1, 1, 8, 8);
    asc_sync_pipe(PIPE_V);
    asc_sub(b, max, a, 1, 1, 1, 1, 8, 8, 8);
    asc_sync_pipe(PIPE_V);
    asc_exp(b, b, 1, 1, 1, 8, 8);
    asc_copy_ub2ub(max, a, tiling::row_bytes);
    asc_sync_pipe(PIPE_V);
    asc_mul(total, total, b, 1, 1, 1, 1, 8, 8, 8);
    asc_mul_scalar(a, a, -1.0f, 1, 1, 1, 8, 8);
    asc_sync_pipe(PIPE_V);
    asc_add_scalar(a, a, sink, 1, 1, 1, 8, 8);
    asc_sync_pipe(PIPE_V);
    asc_exp(a, a, 1, 1, 1, 8, 8);
    asc_sync_pipe(PIPE_V);
    asc_add(total, total, a, 1, 1, 1, 1, 8, 8, 8);
    asc_sync_pipe(PIPE_V);
}

/* An item's end: out = sum / l, lse = m + log l. */
template <typename T, int D>
__aicore__ inline void prefill_finish(const prefill_args &args, const prefill_step &step,
                                      int32_t sub, int32_t rows) {
    using tiling = prefill_tiling<D>;
    const uint32_t item = (uint32_t)(step.item % 2) * tiling::row_bytes;
    __ubuf__ float *max = asc_ub<float>(tiling::ub_max + item);
    __ubuf__ float *total = asc_ub<float>(tiling::ub_total + item);
    __ubuf__ float *a = asc_ub<float>(tiling::ub_a), *b = asc_ub<float>(tiling::ub_b);
    __ubuf__ float *lse = asc_ub<float>(tiling::ub_lse);
    __ubuf__ T *out = asc_ub<T>(tiling::ub_p);
    const int32_t valid = prefill_least(rows, step.rows - sub * prefill_half);
    const int64_t head = (int64_t)step.b * args.q_heads + step.h;
    const int64_t row = head * args.q_len + step.first + sub * prefill_half;

    if (args.sinks != nullptr) {
        prefill_add_sink<D>(max, total, asc_gm_get(args.sinks + step.h));
    } else {
        asc_duplicate(b, 1.0f, 1, 1, 8);
    }
    asc_max_scalar(a, total, 0.5f, 1, 1, 1, 8, 8); /* l is 0, or at least 1 */
    asc_sync_pipe(PIPE_V);
    asc_div(b, b, a, 1, 1, 1, 1, 8, 8, 8);
    asc_sync_wait(PIPE_MTE3, PIPE_V, prefill_id(prefill_ub_lse));
    asc_log(lse, total, 1, 1, 1, 8, 8);
    asc_sync_pipe(PIPE_V);
    asc_add(lse, lse, max, 1, 1, 1, 1, 8, 8, 8);
    asc_sync_notify(PIPE_V, PIPE_MTE3, prefill_id(prefill_ub_lse));
    asc_sync_wait(PIPE_V, PIPE_MTE3, prefill_id(prefill_ub_lse));
    asc_copy_ub2gm_align(args.lse + row, lse, (uint32_t)valid * 4);
    asc_sync_notify(PIPE_MTE3, PIPE_V, prefill_id(prefill_ub_lse));

    __ubuf__ float *spread = prefill_spread<D>(b);
    for (int32_t part = 0; part < tiling::parts; part++) {
        __ubuf__ float *sum = asc_ub<float>(tiling::ub_sum) + part * tiling::wide;
        prefill_scale<D>(sum, spread, rows, tiling::wide);
        asc_sync_wait(PIPE_MTE3, PIPE_V, prefill_id(prefill_ub_p));
        for (int32_t column = 0; column < tiling::wide; column += prefill_half) {
            prefill_narrow(out + column, sum + column, rows, tiling::wide / 16, D / 8);
        }
        asc_sync_notify(PIPE_V, PIPE_MTE3, prefill_id(prefill_ub_p));
        asc_sync_wait(PIPE_V, PIPE_MTE3, prefill_id(prefill_ub_p));
        asc_copy_ub2gm((__gm__ T *)args.out + row * D + part * tiling::wide, out, valid,
                       tiling::wide / 16, 0, (D - tiling::wide) / 16);
        asc_sync_notify(PIPE_MTE3, PIPE_V, prefill_id(prefill_ub_p));
    }
}

template <typename T, int D> __aicore__ inline void prefill_vector(const prefill_args &args) {
    using tiling = prefill_tiling<D>;
    const int32_t sub = (int32_t)asc_sub_block();
    prefill_walk walk = prefill_begin(args, (int32_t)asc_block(), (int32_t)asc_blocks());
    prefill_step before = {}, now = {}, after = {};

    prefill_blanks<T, D>(args, sub);
    prefill_vector_open();
    /* Numbers of rows that a tile does not have take part in calls over all 64. */
    asc_duplicate(asc_ub<float>(tiling::ub_max), 0.0f,
                  (int32_t)((tiling::ub_spread - tiling::ub_max) / 256), 1, 8);
    asc_sync_pipe(PIPE_V);
    bool more = prefill_next(walk, args, now);
    if (more) prefill_fetch<T, D>(args, now, 0, sub);
    for (int32_t g = 0; more || before.steps > 0; g++) {
        const int32_t rows = prefill_own_rows(before, sub);
        bool follows = false;
        if (more) {
            prefill_weigh<T, D>(args, now, g, sub);
            follows = prefill_next(walk, args, after);
        }
        if (g > 0) {
            asc_core_wait(prefill_added);
            if (rows > 0) prefill_fetch_part<T, D>(args, g - 1, sub, rows, 0);
        }
        if (follows) prefill_fetch<T, D>(args, after, g + 1, sub);
        if (g > 0 && rows > 0) {
            prefill_sum<T, D>(args, before, g - 1, sub, rows);
            if (prefill_ends(before)) prefill_finish<T, D>(args, before, sub, rows);
        }
        before = more ? now : prefill_step{};
        now = after;
        more = follows;
    }
    prefill_vector_close();
}

#endif
