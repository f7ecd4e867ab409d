/* The cube core of decode: S = Q K^T of tile t, then P V of tile t - 1; decode.h has the idea.
 * Emulated; never run on a 910B2. */
#ifndef ATTEST_ASCEND_DECODE_CUBE_H
#define ATTEST_ASCEND_DECODE_CUBE_H

#include "decode_tiles.h"

template <typename T, int D> struct decode_cube {
    using work = decode_work<D>;
    static constexpr int keys = work::keys;
    static constexpr uint32_t q_bytes = decode_m * D * 2, l0b_half = decode_tile / 2;
    /* L1, and the ids of the flags MTE2 -> MTE1 (loaded) and MTE1 -> MTE2 (free). P's flag says
     * that V is loaded too, and K's that Q is: MTE2 works in order. P is free by the time that its
     * successor comes from the vector cores, Q when the segment's first K is. */
    static constexpr uint32_t k_at = 0, v_at = 2 * decode_tile, q_at = 5 * decode_tile,
                              p_at = q_at + 2 * q_bytes, l1_end = p_at + 2 * work::p_bytes;
    static constexpr int k_id = 0, v_id = 2, free_ids = 5, p_id = 2;
    /* L0A: reuse is ordered by the flags of L0B, which the same instructions wait for. */
    static constexpr uint32_t p_l0a = 2 * q_bytes;
    /* L0B: halves 0 and 1, and so the ids of MTE1 -> M (loaded) and M -> MTE1 (free). L0C, and the
     * ids of M -> FIX (computed); it is free when the vector cores have answered. */
    static constexpr uint32_t pv_l0c = 2 * work::s_bytes;
    static constexpr int s_id = 0, pv_id = 2;
    static_assert(l1_end <= ASC_L1_BYTES, "L1");
    static_assert(p_l0a + 2 * work::p_bytes <= ASC_L0A_BYTES, "L0A");
    static_assert(2 * l0b_half <= ASC_L0B_BYTES, "L0B");
    static_assert(pv_l0c + 2 * work::pv_bytes <= ASC_L0C_BYTES, "L0C");
    static_assert(q_bytes % 512 == 0 && work::p_bytes % 512 == 0, "L0A is aligned to 512");

    /* Rows [row, 16) of `columns` fractals in a row of fractals become zeros: a matrix a fractal,
     * all read from the same place. Fractals are `rows` * 16 elements apart. */
    static __aicore__ void pad(uint32_t l1, int row, int rows, int columns, __gm__ char *work_at) {
        if (row % 16 == 0) return;
        const uint32_t at = l1 + 32 * static_cast<uint32_t>(row);
        asc_copy_gm2l1_nd2nz(asc_l1<T>(at), (__gm__ T *)(work_at + work::zeros), columns,
                             16 - row % 16, 16, 0, 16, 16, 1, rows * 16);
    }

    /* Keys or values of a tile as an Nz image of decode_up16(count) rows. */
    static __aicore__ void load_rows(const decode_args &a, const token_rows &from,
                                     const decode_place &at, uint32_t l1, __gm__ char *work_at) {
        const int rows = decode_up16(at.count);
        tokens_load<T>(a.kv, from, at.b, at.h, at.first, at.count, D, l1, rows);
        pad(l1, at.count, rows, D / 16, work_at);
    }

    static __aicore__ void load(const decode_args &a, const decode_place &at, int t,
                                __gm__ char *work_at) {
        const int kb = t % 2, vb = t % 3;
        asc_sync_wait(PIPE_MTE1, PIPE_MTE2, k_id + kb);
        if (at.begins) {
            const int qb = at.segment % 2;
            __gm__ T *q = (__gm__ T *)a.q + at.b * a.q_batch + at.h * a.group * a.q_head;
            asc_copy_gm2l1_nd2nz(asc_l1<T>(q_at + static_cast<uint32_t>(qb) * q_bytes), q, 1,
                                 a.group, D, 0, static_cast<int>(a.q_head), 16, 1, 1);
        }
        load_rows(a, a.kv.k, at, k_at + static_cast<uint32_t>(kb) * decode_tile, work_at);
        asc_sync_notify(PIPE_MTE2, PIPE_MTE1, k_id + kb);

        asc_sync_wait(PIPE_MTE1, PIPE_MTE2, v_id + vb);
        load_rows(a, a.kv.v, at, v_at + static_cast<uint32_t>(vb) * decode_tile, work_at);
    }

    /* S = Q K^T in two halves of D. The Nz image of K is the Zn image of K^T, and half of D is half
     * of it in one piece. (page: Mmad, data formats) */
    static __aicore__ void scores(const decode_args &a, const decode_place &at, int t,
                                  __gm__ char *work_at) {
        const uint32_t sb = static_cast<uint32_t>(t % 2), qb = at.segment % 2;
        const int id = static_cast<int>(sb), rows = decode_up16(at.count);
        const int fractals = D / 32 * (rows / 16); /* of K in a half */
        __cc__ float *s = asc_l0c<float>(sb * work::s_bytes);
        asc_sync_wait(PIPE_MTE2, PIPE_MTE1, k_id + id);
        for (int part = 0; part < 2; part++) {
            asc_sync_wait(PIPE_M, PIPE_MTE1, part);
            if (part == 0 && at.begins) {
                asc_copy_l12l0a(asc_l0a<T>(qb * q_bytes), asc_l1<T>(q_at + qb * q_bytes), 0, D / 16,
                                1, 0);
            }
            const uint32_t to = static_cast<uint32_t>(part);
            asc_copy_l12l0b(asc_l0b<T>(to * l0b_half), asc_l1<T>(k_at + sb * decode_tile),
                            part * fractals, fractals, 1, 0);
            asc_sync_notify(PIPE_MTE1, PIPE_M, part);
            asc_sync_wait(PIPE_MTE1, PIPE_M, part);
            if (part > 0) asc_sync_pipe(PIPE_M); /* adds to the first half's sum */
            asc_mmad(s, asc_l0a<T>(qb * q_bytes + to * (q_bytes / 2)), asc_l0b<T>(to * l0b_half),
                     decode_m, D / 2, rows, 0, false, false, part == 0);
            asc_sync_notify(PIPE_M, PIPE_MTE1, part);
        }
        asc_sync_notify(PIPE_MTE1, PIPE_MTE2, k_id + id);
        asc_sync_notify(PIPE_M, PIPE_FIX, s_id + id);
        asc_sync_wait(PIPE_M, PIPE_FIX, s_id + id);
        asc_copy_l0c2gm((__gm__ float *)(work_at + work::s + sb * work::s_bytes), s, rows, a.group,
                        keys, decode_m, 0, NoQuant, 0, false, true);
        asc_core_arrive(PIPE_FIX, ASC_CUBE_VECTOR, DECODE_SCORES);
    }

    /* P V in two halves of the keys. */
    static __aicore__ void products(const decode_args &a, const decode_place &at, int t,
                                    __gm__ char *work_at) {
        const uint32_t pb = static_cast<uint32_t>(t % 2), vb = static_cast<uint32_t>(t % 3);
        const int id = static_cast<int>(pb);
        const int rows = decode_up16(at.count);
        const uint32_t p_l1 = p_at + pb * work::p_bytes, v_l1 = v_at + vb * decode_tile;
        const uint32_t p = p_l0a + pb * work::p_bytes;
        __cc__ float *pv = asc_l0c<float>(pv_l0c + pb * work::pv_bytes);

        asc_core_wait(DECODE_WEIGHTS);
        asc_copy_gm2l1_nd2nz(asc_l1<T>(p_l1), (__gm__ T *)(work_at + work::p + pb * work::p_bytes),
                             1, a.group, rows, 0, keys, decode_m, 1, 1);
        asc_sync_notify(PIPE_MTE2, PIPE_MTE1, p_id + id);
        asc_sync_wait(PIPE_MTE2, PIPE_MTE1, p_id + id);
        for (int part = 0; part * (keys / 2) < rows; part++) {
            const int first = part * (keys / 2);
            const int n = rows - first < keys / 2 ? rows - first : keys / 2;
            const uint32_t to = static_cast<uint32_t>(part) * l0b_half;
            asc_sync_wait(PIPE_M, PIPE_MTE1, part);
            if (part == 0) asc_copy_l12l0a(asc_l0a<T>(p), asc_l1<T>(p_l1), 0, rows / 16, 1, 0);
            for (int row = 0; row < n / 16; row++) { /* of fractals, each transposed */
                asc_copy_l12l0b_trans(asc_l0b<T>(to + static_cast<uint32_t>(row) * 32 * D),
                                      asc_l1<T>(v_l1), first / 16 + row, D / 16, rows / 16, 0,
                                      false, 0);
            }
            asc_sync_notify(PIPE_MTE1, PIPE_M, part);
            asc_sync_wait(PIPE_MTE1, PIPE_M, part);
            if (part > 0) asc_sync_pipe(PIPE_M);
            asc_mmad(pv, asc_l0a<T>(p + static_cast<uint32_t>(first) * 32), asc_l0b<T>(to),
                     decode_m, n, D, 0, false, false, part == 0);
            asc_sync_notify(PIPE_M, PIPE_MTE1, part);
        }
        asc_sync_notify(PIPE_MTE1, PIPE_MTE2, v_id + static_cast<int>(vb));
        asc_sync_notify(PIPE_M, PIPE_FIX, pv_id + id);
        asc_sync_wait(PIPE_M, PIPE_FIX, pv_id + id);
        asc_copy_l0c2gm((__gm__ float *)(work_at + work::pv + pb * work::pv_bytes), pv, D, a.group,
                        D, decode_m, 0, NoQuant, 0, false, true);
        asc_core_arrive(PIPE_FIX, ASC_CUBE_VECTOR, DECODE_PRODUCTS);
    }

    /* All buffers free; at the end the same flags are taken back. */
    static __aicore__ void open_flags() {
        for (int id = 0; id < free_ids; id++) asc_sync_notify(PIPE_MTE1, PIPE_MTE2, id);
        for (int id = 0; id < 2; id++) asc_sync_notify(PIPE_M, PIPE_MTE1, id);
    }
    static __aicore__ void close_flags() {
        for (int id = 0; id < free_ids; id++) asc_sync_wait(PIPE_MTE1, PIPE_MTE2, id);
        for (int id = 0; id < 2; id++) asc_sync_wait(PIPE_M, PIPE_MTE1, id);
    }

    static __aicore__ void run(const decode_args &a, decode_walk walk, __gm__ char *work_at) {
        asc_core_wait(DECODE_ZEROS);
        decode_place place[3]; /* of tile t, by t % 3 */
        if (!decode_next<keys>(a, walk, place[0])) return;
        asc_set_l0c_copy_params(1, 1, 1);
        for (uint32_t b = 0; b < 2; b++) {
            pad(q_at + b * q_bytes, a.group, decode_m, D / 16, work_at);
            pad(p_at + b * work::p_bytes, a.group, decode_m, keys / 16, work_at);
        }
        open_flags();
        load(a, place[0], 0, work_at);
        bool more = true;
        for (int t = 0; more; t++) {
            scores(a, place[t % 3], t, work_at);
            more = decode_next<keys>(a, walk, place[(t + 1) % 3]);
            if (more) load(a, place[(t + 1) % 3], t + 1, work_at);
            if (t > 0) products(a, place[(t - 1) % 3], t - 1, work_at);
            if (!more) products(a, place[t % 3], t, work_at);
        }
        close_flags();
    }
};

#endif
