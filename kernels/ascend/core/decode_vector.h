/* A vector core of decode: half of the rows of each pair, their softmax, sums and results; decode.h
 * has the idea. Emulated; never run on a 910B2. */
#ifndef ATTEST_ASCEND_DECODE_VECTOR_H
#define ATTEST_ASCEND_DECODE_VECTOR_H

#include <math.h>

#include "decode_tiles.h"

__aicore__ inline void decode_round(__ubuf__ half *to, __ubuf__ float *from, int repeat) {
    asc_float2half_rn(to, from, repeat, 1, 1, 4, 8);
}
__aicore__ inline void decode_round(__ubuf__ bfloat16_t *to, __ubuf__ float *from, int repeat) {
    asc_float2bfloat16_rn(to, from, repeat, 1, 1, 4, 8);
}

template <typename T, int D> struct decode_vector {
    using work = decode_work<D>;
    static constexpr int keys = work::keys;
    static constexpr int lanes = 64;      /* f32 a repeat */
    static constexpr uint32_t line = 256; /* one repeat: 8 rows' m and such, or 8 broadcast */
    static constexpr int line_blocks = 8;
    static constexpr uint32_t s_bytes = work::s_bytes / 2, p_bytes = work::p_bytes / 2,
                              pv_bytes = work::pv_bytes / 2; /* 8 rows */
    /* UB. Flags MTE2 -> V (loaded) and V -> MTE2 (free): s 0, 1 and pv 2, 3. V -> MTE3 (computed):
     * p 0, 1, stage 2, zeros 3. MTE3 -> V (free): stage; p is free when the cube core has answered.
     */
    static constexpr uint32_t s_at = 0, p_at = s_at + 2 * s_bytes, pv_at = p_at + 2 * p_bytes,
                              o_at = pv_at + 2 * pv_bytes, stage_at = o_at + pv_bytes,
                              stage_ml_at = stage_at + pv_bytes, zero_at = stage_ml_at + line,
                              lowest_at = zero_at + pv_bytes, fold_at = lowest_at + line,
                              small_at = fold_at + decode_rows_max * line;
    static constexpr uint32_t m_at = small_at, l_at = m_at + 2 * line, max_at = l_at + 2 * line,
                              sum_at = max_at + line, alpha_at = sum_at + line,
                              spread_at = alpha_at + line, alphas_at = spread_at + line,
                              parts_at = alphas_at + 2 * line;
    static constexpr uint32_t parts_bytes = ASC_CUBE_CORES * 64;
    static constexpr uint32_t sinks_at = parts_at + parts_bytes, ub_end = sinks_at + line;
    static_assert(ub_end <= ASC_UB_BYTES, "UB");
    static constexpr int s_id = 0, pv_id = 2, p_id = 0, stage_id = 2, zero_id = 3;

    struct me {
        int first, rows; /* of the group */
        __gm__ char *work_at;
    };

    static __aicore__ void full_mask() {
        asc_set_vector_mask(~0ull, ~0ull);
    }

    /* What stays in UB: zeros, -infinity, and all lanes of m and such defined. */
    static __aicore__ void constants() {
        asc_set_mask_norm();
        full_mask();
        asc_duplicate(asc_ub<float>(zero_at), 0.0f, pv_bytes / line, 1, line_blocks);
        asc_duplicate(asc_ub<float>(lowest_at), -INFINITY, 1, 1, line_blocks);
        asc_duplicate(asc_ub<float>(small_at), 0.0f, (parts_at - small_at) / line, 1, line_blocks);
        asc_sync_notify(PIPE_V, PIPE_MTE3, zero_id);
        asc_sync_wait(PIPE_V, PIPE_MTE3, zero_id);
    }

    static __aicore__ void store(const decode_args &a, const me &i, int64_t b, int64_t h,
                                 uint32_t out_at, uint32_t lse_at) {
        const int64_t row = (b * a.kv_heads + h) * a.group + i.first;
        asc_copy_ub2gm((__gm__ T *)a.out + row * D, asc_ub<T>(out_at),
                       static_cast<uint32_t>(i.rows * D * 2));
        asc_copy_ub2gm_align(a.lse + row, asc_ub<float>(lse_at), static_cast<uint32_t>(i.rows * 4));
    }

    /* A pair's sinks, one a lane; the last in all lanes beyond. */
    static __aicore__ __ubuf__ float *sinks_of(const decode_args &a, const me &i, int64_t h) {
        __ubuf__ float *sinks = asc_ub<float>(sinks_at);
        for (int row = 0; row < i.rows; row++) {
            asc_set_vector_mask(0, ~0ull << row);
            asc_duplicate(sinks, asc_gm_get(a.sinks + h * a.group + i.first + row), 1, 1,
                          line_blocks);
            asc_sync_pipe(PIPE_V);
        }
        full_mask();
        return sinks;
    }

    /* Rows that see no key, dealt over the blocks: out 0, lse -infinity or the sink; 0 where there
     * is no query. */
    static __aicore__ void empty(const decode_args &a, const me &i) {
        for (int64_t b = asc_block(); b < a.batch && i.rows > 0; b += asc_blocks()) {
            const token_lengths lengths = tokens_lengths(a.kv, b);
            const token_span seen = decode_seen(a, lengths);
            if (seen.end > seen.first) continue;
            const bool asked = lengths.q > 0;
            for (int64_t h = 0; h < a.kv_heads; h++) {
                uint32_t lse_at = asked ? lowest_at : zero_at;
                if (asked && a.sinks != nullptr) {
                    asc_sync(); /* the last pair's are stored; then these are there */
                    sinks_of(a, i, h);
                    asc_sync();
                    lse_at = sinks_at;
                }
                store(a, i, b, h, zero_at, lse_at);
            }
        }
    }

    /* The `wide` chunks of 64 of each row folded into one: maxima or sums; where they are. */
    template <bool sum>
    static __aicore__ __ubuf__ float *fold(__ubuf__ float *s, int rows, int wide) {
        if (wide == 1) return s;
        __ubuf__ float *to = asc_ub<float>(fold_at), *from = s;
        for (int chunk = 1; chunk < wide; chunk++) {
            const int from_stride = (from == to ? 1 : wide) * line_blocks;
            __ubuf__ float *next = s + chunk * lanes;
            if (sum) {
                asc_add(to, from, next, rows, 1, 1, 1, line_blocks, from_stride,
                        wide * line_blocks);
            } else {
                asc_max(to, from, next, rows, 1, 1, 1, line_blocks, from_stride,
                        wide * line_blocks);
            }
            asc_sync_pipe(PIPE_V);
            from = to;
        }
        return to;
    }

    /* P, m, l and what O shrinks by, of tile t. */
    static __aicore__ void weights(const decode_args &a, const me &i, const decode_place &at,
                                   int t) {
        asc_core_wait(DECODE_SCORES);
        if (i.rows > 0) {
            const uint32_t b = static_cast<uint32_t>(t % 2), state = at.segment % 2;
            const int id = static_cast<int>(b), columns = decode_up16(at.count);
            const int wide = (at.count + lanes - 1) / lanes, all = i.rows * wide;
            const int row_blocks = wide * line_blocks;
            __ubuf__ float *s = asc_ub<float>(s_at + b * s_bytes);
            __ubuf__ T *p = asc_ub<T>(p_at + b * p_bytes);
            __ubuf__ float *m = asc_ub<float>(m_at + state * line);
            __ubuf__ float *l = asc_ub<float>(l_at + state * line);
            __ubuf__ float *top = asc_ub<float>(max_at), *sum = asc_ub<float>(sum_at);
            __ubuf__ float *alpha = asc_ub<float>(alpha_at);
            __ubuf__ float *spread = asc_ub<float>(spread_at);

            asc_sync_wait(PIPE_V, PIPE_MTE2, s_id + id);
            asc_copy_gm2ub(
                s, (__gm__ float *)(i.work_at + work::s + b * work::s_bytes) + i.first * keys,
                i.rows, columns / 8, (keys - columns) / 8, (wide * lanes - columns) / 8);
            asc_sync_notify(PIPE_MTE2, PIPE_V, s_id + id);
            asc_sync_wait(PIPE_MTE2, PIPE_V, s_id + id);
            const uint64_t beyond = at.count % lanes ? ~0ull << (at.count % lanes) : 0;
            if (beyond) hide(s + (wide - 1) * lanes, 0.0f, beyond, i.rows, row_blocks);
            asc_mul_scalar(s, s, a.scale, all, 1, 1, 8, 8);
            asc_sync_pipe(PIPE_V);
            if (beyond) hide(s + (wide - 1) * lanes, decode_lowest, beyond, i.rows, row_blocks);

            __ubuf__ float *folded = fold<false>(s, i.rows, wide);
            asc_repeat_reduce_max(at.begins ? m : top, folded, i.rows, 1, 1, line_blocks);
            asc_sync_pipe(PIPE_V);
            if (!at.begins) {
                asc_max(top, top, m, 1, 1, 1, 1, 8, 8, 8);
                asc_sync_pipe(PIPE_V);
                asc_sub(alpha, m, top, 1, 1, 1, 1, 8, 8, 8);
                asc_sync_pipe(PIPE_V);
                asc_exp(alpha, alpha, 1, 1, 1, 8, 8);
                asc_copy_ub2ub(m, top, line);
                asc_sync_pipe(PIPE_V);
                asc_mul(l, l, alpha, 1, 1, 1, 1, 8, 8, 8);
                asc_brcb(asc_ub<float>(alphas_at + b * line), alpha, 1, 8, 1);
            }
            asc_brcb(spread, m, 1, 8, 1);
            asc_sync_pipe(PIPE_V);
            for (int chunk = 0; chunk < wide; chunk++) {
                asc_sub(s + chunk * lanes, s + chunk * lanes, spread, i.rows, 1, 1, 0, row_blocks,
                        row_blocks, 1);
            }
            asc_sync_pipe(PIPE_V);
            asc_exp(s, s, all, 1, 1, 8, 8);
            asc_sync_pipe(PIPE_V);
            decode_round(p, s, all);
            asc_sync_notify(PIPE_V, PIPE_MTE3, p_id + id);
            asc_sync_wait(PIPE_V, PIPE_MTE3, p_id + id);
            asc_copy_ub2gm((__gm__ T *)(i.work_at + work::p + b * work::p_bytes) + i.first * keys,
                           p, i.rows, columns / 16, (wide * lanes - columns) / 16,
                           (keys - columns) / 16);
            asc_core_arrive(PIPE_MTE3, ASC_CUBE_VECTOR, DECODE_WEIGHTS);

            folded = fold<true>(s, i.rows, wide); /* while the cube core goes on */
            asc_repeat_reduce_sum(at.begins ? l : sum, folded, i.rows, 1, 1, line_blocks);
            asc_sync_pipe(PIPE_V);
            if (!at.begins) asc_add(l, l, sum, 1, 1, 1, 1, 8, 8, 8);
            asc_sync_notify(PIPE_V, PIPE_MTE2, s_id + id);
        } else {
            asc_core_arrive(PIPE_MTE3, ASC_CUBE_VECTOR, DECODE_WEIGHTS);
        }
    }

    /* Overwrites the lanes of `mask` in a chunk of every row. */
    static __aicore__ void hide(__ubuf__ float *chunk, float value, uint64_t mask, int rows,
                                int row_blocks) {
        asc_set_vector_mask(0, mask);
        asc_duplicate(chunk, value, rows, 1, row_blocks);
        asc_sync_pipe(PIPE_V);
        full_mask();
    }

    /* rows x D of f32: to = from * (one factor a row). */
    static __aicore__ void times(__ubuf__ float *to, __ubuf__ float *from, __ubuf__ float *factors,
                                 int rows) {
        for (int chunk = 0; chunk < D; chunk += lanes) {
            asc_mul(to + chunk, from + chunk, factors, rows, 1, 1, 0, D / 8, D / 8, 1);
        }
        asc_sync_pipe(PIPE_V);
    }

    /* O of tile t, and what becomes of it where the segment ends. */
    static __aicore__ void outputs(const decode_args &a, const me &i, const decode_place &at,
                                   int t) {
        asc_core_wait(DECODE_PRODUCTS);
        if (i.rows == 0) return;
        const uint32_t b = static_cast<uint32_t>(t % 2);
        const int id = pv_id + static_cast<int>(b);
        const uint32_t bytes = static_cast<uint32_t>(i.rows * D * 4);
        __ubuf__ float *pv = asc_ub<float>(pv_at + b * pv_bytes), *o = asc_ub<float>(o_at);
        asc_sync_wait(PIPE_V, PIPE_MTE2, id);
        asc_copy_gm2ub(
            pv, (__gm__ float *)(i.work_at + work::pv + b * work::pv_bytes) + i.first * D, bytes);
        asc_sync_notify(PIPE_MTE2, PIPE_V, id);
        asc_sync_wait(PIPE_MTE2, PIPE_V, id);
        if (at.begins) {
            asc_copy_ub2ub(o, pv, bytes);
        } else {
            times(o, o, asc_ub<float>(alphas_at + b * line), i.rows);
            asc_add(o, o, pv, i.rows * D / lanes, 1, 1, 1, 8, 8, 8);
        }
        asc_sync_pipe(PIPE_V);
        asc_sync_notify(PIPE_V, PIPE_MTE2, id);
        if (!at.ends) return;
        asc_sync_wait(PIPE_MTE3, PIPE_V, stage_id);
        const bool whole = at.opened && at.closed;
        const uint32_t state = at.segment % 2;
        __ubuf__ float *m = asc_ub<float>(m_at + state * line);
        __ubuf__ float *l = asc_ub<float>(l_at + state * line);
        __ubuf__ float *ml = asc_ub<float>(stage_ml_at);
        if (whole) {
            __ubuf__ float *spread = asc_ub<float>(spread_at);
            if (a.sinks != nullptr) {
                add_sinks(m, l, sinks_of(a, i, at.h));
                asc_brcb(spread, asc_ub<float>(sum_at), 1, 8, 1);
            } else {
                asc_brcb(spread, l, 1, 8, 1);
            }
            asc_log(ml, l, 1, 1, 1, 8, 8);
            asc_sync_pipe(PIPE_V);
            asc_add(ml, ml, m, 1, 1, 1, 1, 8, 8, 8);
            for (int chunk = 0; chunk < D; chunk += lanes) {
                asc_div(o + chunk, o + chunk, spread, i.rows, 1, 1, 0, D / 8, D / 8, 1);
            }
            asc_sync_pipe(PIPE_V);
            decode_round(asc_ub<T>(stage_at), o, i.rows * D / lanes);
        } else {
            asc_copy_ub2ub(ml, m, 32);
            asc_copy_ub2ub(ml + 8, l, 32);
            asc_copy_ub2ub(asc_ub<float>(stage_at), o, bytes);
        }
        asc_sync_pipe(PIPE_V);
        asc_sync_notify(PIPE_V, PIPE_MTE3, stage_id);
        asc_sync_wait(PIPE_V, PIPE_MTE3, stage_id);
        if (whole) {
            store(a, i, at.b, at.h, stage_at, stage_ml_at);
        } else {
            const uint32_t slot = at.opened ? 1 : 0;
            asc_copy_ub2gm(partial_o(i.work_at, slot) + i.first * D, asc_ub<float>(stage_at),
                           bytes);
            asc_copy_ub2gm(partial_ml(i.work_at, slot), ml, 64);
        }
        asc_sync_notify(PIPE_MTE3, PIPE_V, stage_id);
    }

    /* The sinks into l and, with a barrier to come, m of a whole segment. At `sum` is then what O
     * is divided by, l over what the old m has become: infinite where the sink leaves nothing to
     * keys.
     */
    static __aicore__ void add_sinks(__ubuf__ float *m, __ubuf__ float *l, __ubuf__ float *sinks) {
        __ubuf__ float *top = asc_ub<float>(max_at), *sum = asc_ub<float>(sum_at);
        asc_max(top, m, sinks, 1, 1, 1, 1, 8, 8, 8);
        asc_sync_pipe(PIPE_V);
        asc_sub(m, m, top, 1, 1, 1, 1, 8, 8, 8);
        asc_sub(sinks, sinks, top, 1, 1, 1, 1, 8, 8, 8);
        asc_sync_pipe(PIPE_V);
        asc_exp(m, m, 1, 1, 1, 8, 8);
        asc_exp(sinks, sinks, 1, 1, 1, 8, 8);
        asc_sync_pipe(PIPE_V);
        asc_mul(l, l, m, 1, 1, 1, 1, 8, 8, 8);
        asc_sync_pipe(PIPE_V);
        asc_add(l, l, sinks, 1, 1, 1, 1, 8, 8, 8);
        asc_sync_pipe(PIPE_V);
        asc_div(sum, l, m, 1, 1, 1, 1, 8, 8, 8);
        asc_sync_pipe(PIPE_V);
        asc_copy_ub2ub(m, top, line);
    }

    static __aicore__ __gm__ float *partial_o(__gm__ char *work_at, uint32_t slot) {
        return (__gm__ float *)(work_at + work::o + slot * work::pv_bytes);
    }
    static __aicore__ __gm__ float *partial_ml(__gm__ char *work_at, uint32_t slot) {
        const uint32_t mine = static_cast<uint32_t>(asc_sub_block()) * 64;
        return (__gm__ float *)(work_at + work::ml + slot * 128 + mine);
    }

    /* The pair that begins in this block and goes on in the next `n` - 1. In UB `parts` is m and l
     * of each, 8 rows and 8 rows; m becomes the factor of each part's O. */
    static __aicore__ void combine(const decode_args &a, const me &i, const decode_place &at,
                                   int n) {
        __ubuf__ float *parts = asc_ub<float>(parts_at);
        __ubuf__ float *top = asc_ub<float>(max_at), *sum = asc_ub<float>(sum_at);
        __ubuf__ float *o = asc_ub<float>(o_at), *ml = asc_ub<float>(stage_ml_at);
        const uint32_t bytes = static_cast<uint32_t>(i.rows * D * 4);
        for (int part = 0; part < n; part++) {
            asc_copy_gm2ub(parts + part * 16,
                           partial_ml(i.work_at + part * int64_t{work::bytes}, part == 0), 64);
        }
        __ubuf__ float *sinks = a.sinks != nullptr ? sinks_of(a, i, at.h) : nullptr;
        asc_sync_notify(PIPE_MTE2, PIPE_V, s_id);
        asc_sync_wait(PIPE_MTE2, PIPE_V, s_id);
        asc_set_vector_mask(0, 0xff); /* 8 rows */
        asc_copy_ub2ub(top, sinks != nullptr ? sinks : parts, 32);
        asc_sync_pipe(PIPE_V);
        for (int part = sinks != nullptr ? 0 : 1; part < n; part++) {
            asc_max(top, top, parts + part * 16, 1, 1, 1, 1, 8, 8, 8);
            asc_sync_pipe(PIPE_V);
        }
        asc_sub(parts, parts, top, n, 1, 1, 1, 2, 2, 0);
        asc_sync_pipe(PIPE_V);
        asc_exp(parts, parts, n, 1, 1, 2, 2);
        asc_sync_pipe(PIPE_V);
        asc_mul(parts + 8, parts + 8, parts, n, 1, 1, 1, 2, 2, 2);
        asc_sync_pipe(PIPE_V);
        if (sinks != nullptr) {
            asc_sub(sum, sinks, top, 1, 1, 1, 1, 8, 8, 8);
            asc_sync_pipe(PIPE_V);
            asc_exp(sum, sum, 1, 1, 1, 8, 8);
        } else {
            asc_copy_ub2ub(sum, parts + 8, 32);
        }
        asc_sync_pipe(PIPE_V);
        for (int part = sinks != nullptr ? 0 : 1; part < n; part++) {
            asc_add(sum, sum, parts + part * 16 + 8, 1, 1, 1, 1, 8, 8, 8);
            asc_sync_pipe(PIPE_V);
        }
        asc_div(parts, parts, sum, n, 1, 1, 1, 2, 2, 0);
        asc_sync_wait(PIPE_MTE3, PIPE_V, stage_id);
        asc_log(ml, sum, 1, 1, 1, 8, 8);
        asc_sync_pipe(PIPE_V);
        asc_add(ml, ml, top, 1, 1, 1, 1, 8, 8, 8);
        full_mask();
        for (int part = 0; part < n; part++) {
            const uint32_t b = static_cast<uint32_t>(part % 2);
            const int id = pv_id + static_cast<int>(b);
            __ubuf__ float *from = asc_ub<float>(pv_at + b * pv_bytes);
            __ubuf__ float *factors = asc_ub<float>(alphas_at + b * line);
            asc_sync_wait(PIPE_V, PIPE_MTE2, id);
            asc_copy_gm2ub(
                from, partial_o(i.work_at + part * int64_t{work::bytes}, part == 0) + i.first * D,
                bytes);
            asc_sync_notify(PIPE_MTE2, PIPE_V, id);
            asc_brcb(factors, parts + part * 16, 1, 8, 1);
            asc_sync_wait(PIPE_MTE2, PIPE_V, id);
            asc_sync_pipe(PIPE_V);
            times(part == 0 ? o : from, from, factors, i.rows);
            if (part > 0) asc_add(o, o, from, i.rows * D / lanes, 1, 1, 1, 8, 8, 8);
            asc_sync_pipe(PIPE_V);
            asc_sync_notify(PIPE_V, PIPE_MTE2, id);
        }
        decode_round(asc_ub<T>(stage_at), o, i.rows * D / lanes);
        asc_sync_notify(PIPE_V, PIPE_MTE3, stage_id);
        asc_sync_wait(PIPE_V, PIPE_MTE3, stage_id);
        store(a, i, at.b, at.h, stage_at, stage_ml_at);
        asc_sync_notify(PIPE_MTE3, PIPE_V, stage_id);
    }

    static __aicore__ void open_flags() {
        for (int id = 0; id < 4; id++) asc_sync_notify(PIPE_V, PIPE_MTE2, id);
        asc_sync_notify(PIPE_MTE3, PIPE_V, stage_id);
    }
    static __aicore__ void close_flags() {
        for (int id = 0; id < 4; id++) asc_sync_wait(PIPE_V, PIPE_MTE2, id);
        asc_sync_wait(PIPE_MTE3, PIPE_V, stage_id);
    }

    static __aicore__ void run(const decode_args &a, decode_walk walk, __gm__ char *work_at) {
        const int most = (a.group + 1) / 2;
        me i = {asc_sub_block() == 0 ? 0 : most, asc_sub_block() == 0 ? most : a.group - most,
                work_at};
        constants();
        if (asc_sub_block() == 0) {
            asc_copy_ub2gm((__gm__ float *)(work_at + work::zeros), asc_ub<float>(zero_at), 512);
        }
        asc_core_arrive(PIPE_MTE3, ASC_CUBE_VECTOR, DECODE_ZEROS);
        empty(a, i);
        open_flags();
        decode_place place[2] = {};
        bool more = decode_next<keys>(a, walk, place[0]);
        int t = 0;
        for (; more; t++) {
            weights(a, i, place[t % 2], t);
            if (t > 0) outputs(a, i, place[(t - 1) % 2], t - 1);
            more = decode_next<keys>(a, walk, place[(t + 1) % 2]);
        }
        const decode_place last = place[(t + 1) % 2];
        if (t > 0) outputs(a, i, last, t - 1);
        if (walk.parts > 1) {
            asc_core_arrive(PIPE_MTE3, ASC_ALL_CORES, DECODE_ALL);
            asc_core_wait(DECODE_ALL);
            if (t > 0 && i.rows > 0 && last.opened && !last.closed) {
                const int64_t end = walk.end + walk.tiles - walk.tile; /* of the pair */
                int64_t block = asc_block() + 1;
                while (walk.total * (block + 1) / walk.parts < end) block++;
                combine(a, i, last, static_cast<int>(block - asc_block() + 1));
            }
        }
        close_flags();
    }
};

#endif
