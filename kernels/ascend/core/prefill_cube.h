/* The cube core's part of core/prefill.h, which includes this: what it owns and how it is ordered
 * is said there. Emulated; never run on a 910B2.
 *
 * In L1 a tile of n rows is an Nz image of n rounded up to 16: fractal (row, column) at
 * column * rows + row. That of Q and P goes to L0A a row of fractals a call; that of K is the Zn
 * image of K^T as it stands; that of V goes to L0B transposed, 16 keys a call. */
#ifndef ATTEST_ASCEND_PREFILL_CUBE_H
#define ATTEST_ASCEND_PREFILL_CUBE_H

#include "prefill.h"

/* Which half of each ping-pong is next. */
struct prefill_turns {
    int32_t operands, results;
};

/* The cube core's flags: (MTE2, MTE1) by buffer of L1. Those of Q and V are implied by K's and P's,
 * which are copied after them and waited for as well; they keep each buffer's story whole. */
enum prefill_l1 { prefill_l1_q, prefill_l1_k = 2, prefill_l1_v = 4, prefill_l1_p = 6 };
static constexpr int32_t prefill_l1_buffers = 7;

/* All buffers begin free, and are free at the end. */
__aicore__ inline void prefill_cube_open() {
    for (int32_t i = 0; i < prefill_l1_buffers; i++)
        asc_sync_notify(PIPE_MTE1, PIPE_MTE2, prefill_id(i));
    for (int32_t i = 0; i < 2; i++) {
        asc_sync_notify(PIPE_M, PIPE_MTE1, prefill_id(i));
        asc_sync_notify(PIPE_FIX, PIPE_M, prefill_id(i));
    }
}
__aicore__ inline void prefill_cube_close() {
    for (int32_t i = 0; i < prefill_l1_buffers; i++)
        asc_sync_wait(PIPE_MTE1, PIPE_MTE2, prefill_id(i));
    for (int32_t i = 0; i < 2; i++) {
        asc_sync_wait(PIPE_M, PIPE_MTE1, prefill_id(i));
        asc_sync_wait(PIPE_FIX, PIPE_M, prefill_id(i));
    }
}

/* The rows that fill an image of `rows` rows of D up to whole fractals: zeros. */
template <typename T, int D>
__aicore__ inline void prefill_fill(const prefill_args &args, uint32_t l1, int32_t rows) {
    const int32_t image = prefill_up(rows, prefill_side);
    if (image == rows) return;
    asc_copy_gm2l1_nd2nz(asc_l1<T>(l1) + rows * prefill_side,
                         (__gm__ T *)(args.work + prefill_tiling<D>::zeros), 1, image - rows, D, 0,
                         D, image, 1, 1);
}

/* Rows `rows` by `columns` of an image of `rows` rows, from its fractal column `first`, to L0A. */
template <typename T>
__aicore__ inline void prefill_l0a(__ca__ T *to, __cbuf__ T *image, int32_t rows, int32_t columns,
                                   int32_t first) {
    const int32_t down = rows / prefill_side, across = columns / prefill_side;
    for (int32_t row = 0; row < down; row++) {
        asc_copy_l12l0a(to + row * across * prefill_side * prefill_side, image, first * down + row,
                        across, down, 0);
    }
}

/* Keys or values of a step. */
template <typename T, int D>
__aicore__ inline void prefill_load(const prefill_args &args, const token_rows &from,
                                    const prefill_step &step, uint32_t l1) {
    const int32_t keys = prefill_width(step);
    tokens_load<T>(args.kv, from, step.b, step.h / args.group, prefill_key(step), keys, D, l1,
                   prefill_up(keys, prefill_side));
    prefill_fill<T, D>(args, l1, keys);
}

/* Q, where an item begins, and K of a step into L1. */
template <typename T, int D>
__aicore__ inline void prefill_load_qk(const prefill_args &args, const prefill_step &step,
                                       int32_t g) {
    using tiling = prefill_tiling<D>;
    const int32_t q = step.item % 2, k = g % 2;
    if (step.step == 0) {
        const uint32_t l1 = tiling::l1_q + (uint32_t)q * tiling::tile_bytes;
        asc_sync_wait(PIPE_MTE1, PIPE_MTE2, prefill_id(prefill_l1_q + q));
        __gm__ T *from = (__gm__ T *)args.q + step.b * args.q_batch + step.h * args.q_head +
                         step.first * args.q_row;
        asc_copy_gm2l1_nd2nz(asc_l1<T>(l1), from, 1, step.rows, D, 0, static_cast<int>(args.q_row),
                             prefill_up(step.rows, prefill_side), 1, 1);
        prefill_fill<T, D>(args, l1, step.rows);
        asc_sync_notify(PIPE_MTE2, PIPE_MTE1, prefill_id(prefill_l1_q + q));
    }
    asc_sync_wait(PIPE_MTE1, PIPE_MTE2, prefill_id(prefill_l1_k + k));
    prefill_load<T, D>(args, args.kv.k, step, tiling::l1_k + (uint32_t)k * tiling::tile_bytes);
    asc_sync_notify(PIPE_MTE2, PIPE_MTE1, prefill_id(prefill_l1_k + k));
}

template <typename T, int D>
__aicore__ inline void prefill_load_v(const prefill_args &args, const prefill_step &step,
                                      int32_t g) {
    using tiling = prefill_tiling<D>;
    const int32_t v = g % 2;
    asc_sync_wait(PIPE_MTE1, PIPE_MTE2, prefill_id(prefill_l1_v + v));
    prefill_load<T, D>(args, args.kv.v, step, tiling::l1_v + (uint32_t)v * tiling::tile_bytes);
    asc_sync_notify(PIPE_MTE2, PIPE_MTE1, prefill_id(prefill_l1_v + v));
}

/* The result in L0C goes to `rows` rows of global memory, `apart` elements from one to the next. */
template <int D>
__aicore__ inline void prefill_store(prefill_turns &turns, __gm__ float *to, int32_t rows,
                                     int32_t columns, int32_t apart) {
    const int32_t c = turns.results++ % 2;
    asc_sync_notify(PIPE_M, PIPE_FIX, prefill_id(c));
    asc_sync_wait(PIPE_M, PIPE_FIX, prefill_id(c));
    asc_copy_l0c2gm(to, asc_l0c<float>((uint32_t)c * prefill_tiling<D>::result_bytes), columns,
                    rows, (uint32_t)apart, rows, 0, NoQuant, 0, false, true);
    asc_sync_notify(PIPE_FIX, PIPE_M, prefill_id(c));
}

/* S = Q K^T of step g, to scratch. */
template <typename T, int D>
__aicore__ inline void prefill_score(const prefill_args &args, const prefill_step &step, int32_t g,
                                     prefill_turns &turns) {
    using tiling = prefill_tiling<D>;
    const int32_t rows = prefill_up(step.rows, prefill_side);
    const int32_t keys = prefill_up(prefill_width(step), prefill_side);
    const int32_t q = step.item % 2, k = g % 2, c = turns.results % 2;
    __cbuf__ T *queries = asc_l1<T>(tiling::l1_q + (uint32_t)q * tiling::tile_bytes);
    __cbuf__ T *image = asc_l1<T>(tiling::l1_k + (uint32_t)k * tiling::tile_bytes);
    constexpr int32_t across = tiling::wide / prefill_side;

    if (step.step == 0) asc_sync_wait(PIPE_MTE2, PIPE_MTE1, prefill_id(prefill_l1_q + q));
    asc_sync_wait(PIPE_MTE2, PIPE_MTE1, prefill_id(prefill_l1_k + k));
    for (int32_t part = 0; part < tiling::parts; part++) {
        const int32_t x = turns.operands++ % 2;
        __ca__ T *a = asc_l0a<T>((uint32_t)x * tiling::operand_bytes);
        __cb__ T *b = asc_l0b<T>((uint32_t)x * tiling::operand_bytes);
        asc_sync_wait(PIPE_M, PIPE_MTE1, prefill_id(x));
        prefill_l0a(a, queries, rows, tiling::wide, part * across);
        asc_copy_l12l0b(b, image, part * across * keys / prefill_side, across * keys / prefill_side,
                        1, 0);
        asc_sync_notify(PIPE_MTE1, PIPE_M, prefill_id(x));

        asc_sync_wait(PIPE_MTE1, PIPE_M, prefill_id(x));
        if (part == 0) {
            asc_sync_wait(PIPE_FIX, PIPE_M, prefill_id(c));
        } else {
            asc_sync_pipe(PIPE_M); /* adds to what the last one wrote */
        }
        asc_mmad(asc_l0c<float>((uint32_t)c * tiling::result_bytes), a, b, rows, tiling::wide, keys,
                 0, false, false, part == 0);
        asc_sync_notify(PIPE_M, PIPE_MTE1, prefill_id(x));
    }
    asc_sync_notify(PIPE_MTE1, PIPE_MTE2, prefill_id(prefill_l1_k + k));
    if (prefill_ends(step)) asc_sync_notify(PIPE_MTE1, PIPE_MTE2, prefill_id(prefill_l1_q + q));
    prefill_store<D>(turns, (__gm__ float *)(args.work + tiling::scores + k * tiling::score_bytes),
                     rows, keys, prefill_keys);
    asc_core_arrive(PIPE_FIX, ASC_CUBE_VECTOR, prefill_scored);
}

/* O = P V of step g, to scratch, as soon as P is there. */
template <typename T, int D>
__aicore__ inline void prefill_add(const prefill_args &args, const prefill_step &step, int32_t g,
                                   prefill_turns &turns) {
    using tiling = prefill_tiling<D>;
    const int32_t rows = prefill_up(step.rows, prefill_side);
    const int32_t keys = prefill_up(prefill_width(step), prefill_side);
    const int32_t v = g % 2;
    __cbuf__ T *weights = asc_l1<T>(tiling::l1_p);
    __cbuf__ T *values = asc_l1<T>(tiling::l1_v + (uint32_t)v * tiling::tile_bytes);
    __gm__ float *to = (__gm__ float *)(args.work + tiling::sums + v * tiling::sum_bytes);
    constexpr int32_t across = tiling::wide / prefill_side;
    const int32_t deep = keys / prefill_side;

    asc_core_wait(prefill_weighed);
    asc_sync_wait(PIPE_MTE1, PIPE_MTE2, prefill_id(prefill_l1_p));
    asc_copy_gm2l1_nd2nz(weights,
                         (__gm__ T *)(args.work + tiling::weights + v * tiling::weight_bytes), 1,
                         rows, keys, 0, prefill_keys, rows, 1, 1);
    asc_sync_notify(PIPE_MTE2, PIPE_MTE1, prefill_id(prefill_l1_p));

    asc_sync_wait(PIPE_MTE2, PIPE_MTE1, prefill_id(prefill_l1_v + v));
    asc_sync_wait(PIPE_MTE2, PIPE_MTE1, prefill_id(prefill_l1_p));
    for (int32_t part = 0; part < tiling::parts; part++) {
        const int32_t x = turns.operands++ % 2, c = turns.results % 2;
        __ca__ T *a = asc_l0a<T>((uint32_t)x * tiling::operand_bytes);
        __cb__ T *b = asc_l0b<T>((uint32_t)x * tiling::operand_bytes);
        asc_sync_wait(PIPE_M, PIPE_MTE1, prefill_id(x));
        prefill_l0a(a, weights, rows, keys, 0);
        for (int32_t key = 0; key < deep; key++) {
            asc_copy_l12l0b_trans(b + key * across * prefill_side * prefill_side, values,
                                  part * across * deep + key, across, deep, 0, false, 0);
        }
        asc_sync_notify(PIPE_MTE1, PIPE_M, prefill_id(x));

        asc_sync_wait(PIPE_MTE1, PIPE_M, prefill_id(x));
        asc_sync_wait(PIPE_FIX, PIPE_M, prefill_id(c));
        asc_mmad(asc_l0c<float>((uint32_t)c * tiling::result_bytes), a, b, rows, keys, tiling::wide,
                 0, false, false, true);
        asc_sync_notify(PIPE_M, PIPE_MTE1, prefill_id(x));
        prefill_store<D>(turns, to + part * tiling::wide, rows, tiling::wide, D);
    }
    asc_sync_notify(PIPE_MTE1, PIPE_MTE2, prefill_id(prefill_l1_v + v));
    asc_sync_notify(PIPE_MTE1, PIPE_MTE2, prefill_id(prefill_l1_p));
    asc_core_arrive(PIPE_FIX, ASC_CUBE_VECTOR, prefill_added);
}

template <typename T, int D> __aicore__ inline void prefill_cube(const prefill_args &args) {
    prefill_walk walk = prefill_begin(args, (int32_t)asc_block(), (int32_t)asc_blocks());
    prefill_step before = {}, now = {}, after = {};
    prefill_turns turns = {};

    asc_set_l0c_copy_params(1, 1, 1);
    prefill_cube_open();
    asc_core_wait(prefill_zeroed);
    bool more = prefill_next(walk, args, now);
    if (more) prefill_load_qk<T, D>(args, now, 0);
    for (int32_t g = 0; more || before.steps > 0; g++) {
        bool follows = false;
        if (more) {
            prefill_score<T, D>(args, now, g, turns);
            prefill_load_v<T, D>(args, now, g);
            follows = prefill_next(walk, args, after);
            if (follows) prefill_load_qk<T, D>(args, after, g + 1);
        }
        if (g > 0) prefill_add<T, D>(args, before, g - 1, turns);
        before = more ? now : prefill_step{};
        now = after;
        more = follows;
    }
    prefill_cube_close();
}

#endif
