/* Attention over kept lists on the vector cores: what sparse_decode_vector_r1,
 * sparse_decode_paged_vector_r1 and magicpig_decode_paged_vector_r1 share. Emulated; never run on a
 * 910B2.
 *
 * A row is a (sequence, query head); it sees the tokens on its list, which no other row shares, and
 * so each key and value is used once: nothing for the cube to do. There is no gather from global
 * memory; one copy fetches one token's row, or a run of neighbours.
 *
 * Which tiles are a core's is in lists_plan.h: an equal share of all tiles of all lists, so that
 * its first and its last row may be shared with other cores.
 *
 * A core's work, three cursors over its tiles, each running ahead of the next:
 *     MTE2 --list here--> S --list free--> MTE2      8 lists of 64 token numbers
 *     MTE2 --rows here--> V --rows free--> MTE2      `stages` tiles of keys and values, and queries
 *     V --result--> MTE3 --result free--> V          a finished row
 * S reads the list, and a page table's entry by entry, and issues the copies.
 *
 * A tile: rows widened to f32; q.k = products, halves added, repeat_reduce_sum; online softmax in
 * f32 with its maximum m and sum l in all 64 lanes of a vector; weights, 8 lanes each by brcb,
 * times values; their sum by halving the rows; added to the rescaled O.
 *
 * Rows cut between cores. Whoever continues a row writes (m, l, O) to its slot of scratch; after
 * all cores have met, the core where the row began adds the slots to its own in order, so that
 * repeats of a call give the same bits. Where no row is cut nobody waits.
 *
 * Bytes of a call: GM -> UB  sum over rows of nnz (4 D + 4), 2 D for each of a row's parts
 *                  UB -> GM  2 D + 4 a row
 *                  512 + 4 D more, in both directions, for each part of a row but the first. */
#ifndef ATTEST_ASCEND_LISTS_H
#define ATTEST_ASCEND_LISTS_H

#include "lists_plan.h"
#include "magicpig.h"

static constexpr uint32_t lists_slots = 8; /* of token numbers */
static constexpr uint32_t lists_ahead = 2; /* lists fetched beyond the rows being fetched */
/* The maximum of no logits, and the logit of no token: its exponential is 0. */
static constexpr float lists_lowest = -3.0e38f;

/* ---- Types (pages: asc_half2float, asc_bfloat162float, asc_float2half, asc_float2bfloat16) ----
 */

__aicore__ inline void lists_widen(__ubuf__ float *dst, __ubuf__ half *src, int repeat) {
    asc_half2float(dst, src, repeat, 1, 1, 8, 4);
}
__aicore__ inline void lists_widen(__ubuf__ float *dst, __ubuf__ bfloat16_t *src, int repeat) {
    asc_bfloat162float(dst, src, repeat, 1, 1, 8, 4);
}
__aicore__ inline void lists_narrow(__ubuf__ half *dst, __ubuf__ float *src, int repeat) {
    asc_float2half_rn(dst, src, repeat, 1, 1, 4, 8);
}
__aicore__ inline void lists_narrow(__ubuf__ bfloat16_t *dst, __ubuf__ float *src, int repeat) {
    asc_float2bfloat16_rn(dst, src, repeat, 1, 1, 4, 8);
}

/* Later calls of V may read what earlier ones wrote. (page: asc_sync_pipe) */
__aicore__ inline void lists_then() {
    asc_sync_pipe(PIPE_V);
}
__aicore__ inline void lists_mask(int64_t count) {
    const uint64_t all = ~static_cast<uint64_t>(0);
    asc_set_vector_mask(all, count < lists_tile ? (static_cast<uint64_t>(1) << count) - 1 : all);
}

/* ---- UB -------------------------------------------------------------------------------------- */

/* Bytes in UB for head dim D. `sampled`: MagicPIG, which needs |k|^2 too. */
template <int D, bool sampled> struct lists_room {
    /* Tiles of keys and values that fit beside the rest: 128 KiB of them for D 128 and 256. */
    static constexpr uint32_t stages = D == 256 ? 2 : 4;
    /* Tokens that are widened at once: 32 KiB of f32, or 16 of keys and 16 of their squares. */
    static constexpr int chunk_max = (sampled ? 4096 : 8192) / D;
    static constexpr int chunk = chunk_max < lists_tile ? chunk_max : lists_tile;

    static constexpr uint32_t vector = lists_tile * 4;
    static constexpr uint32_t row_bytes = D * 2;
    static constexpr uint32_t tile_bytes = lists_tile * row_bytes;
    static constexpr uint32_t stage_bytes = 2 * tile_bytes + row_bytes; /* and the query */
    static constexpr uint32_t part_bytes = 2 * vector + 4 * D;          /* m, l, O */

    static constexpr uint32_t at_stages = 0;
    static constexpr uint32_t at_wide = at_stages + stages * stage_bytes;
    static constexpr uint32_t at_squares = at_wide + static_cast<uint32_t>(chunk) * D * 4;
    static constexpr uint32_t at_lists =
        at_squares + (sampled ? static_cast<uint32_t>(chunk) * D * 4 : 0);
    static constexpr uint32_t at_query = at_lists + lists_slots * vector;
    static constexpr uint32_t at_part = at_query + D * 4;
    static constexpr uint32_t at_result = at_part + part_bytes;
    static constexpr uint32_t at_lse = at_result + row_bytes;
    static constexpr uint32_t at_weights = at_lse + vector; /* 8 lanes a token */
    static constexpr uint32_t at_vectors = at_weights + lists_tile * 32;
    static constexpr uint32_t vectors = 7;
    static constexpr uint32_t at_magicpig = at_vectors + vectors * vector;
    static constexpr uint32_t bytes = at_magicpig + (sampled ? magicpig_room_bytes + vector : 0);
    static_assert(bytes <= ASC_UB_BYTES, "UB");
    static_assert(at_wide % 32 == 0 && chunk * D / 64 <= 255, "alignment, repeats");
    /* The parts of a row are added one by one through the stages' room. */
    static_assert(stages * stage_bytes >= part_bytes, "a part of a row");
};

/* ---- A core ---------------------------------------------------------------------------------- */

template <typename T, int D, typename Tokens, bool sampled> struct lists_core {
    using room = lists_room<D, sampled>;
    static constexpr int repeats = D / 64;   /* of f32 a row, */
    static constexpr int row_blocks = D / 8; /* and blocks */

    const lists_call &call;
    lists_share mine;
    bool result_pending;

    __aicore__ inline static __ubuf__ float *f32(uint32_t byte) {
        return asc_ub<float>(byte);
    }
    __aicore__ inline static __ubuf__ float *vector(uint32_t n) {
        return f32(room::at_vectors + n * room::vector);
    }
    __aicore__ inline static __ubuf__ float *dots() {
        return vector(0);
    }
    __aicore__ inline static __ubuf__ float *logits() {
        return vector(1);
    }
    __aicore__ inline static __ubuf__ float *weight() {
        return vector(2);
    }
    __aicore__ inline static __ubuf__ float *shrink() {
        return vector(3);
    } /* exp(m old - m) */
    __aicore__ inline static __ubuf__ float *one() {
        return vector(4);
    } /* of reductions */
    __aicore__ inline static __ubuf__ float *norms() {
        return vector(5);
    } /* |k|^2 */
    __aicore__ inline static __ubuf__ float *spread() {
        return vector(6);
    } /* one(), broadcast */
    __aicore__ inline static __ubuf__ float *wide() {
        return f32(room::at_wide);
    }
    __aicore__ inline static __ubuf__ float *query() {
        return f32(room::at_query);
    }
    __aicore__ inline static __ubuf__ float *max() {
        return f32(room::at_part);
    }
    __aicore__ inline static __ubuf__ float *sum() {
        return f32(room::at_part + room::vector);
    }
    __aicore__ inline static __ubuf__ float *total() {
        return f32(room::at_part + 2 * room::vector);
    }
    __aicore__ inline static __ubuf__ T *stage(uint32_t n, uint32_t byte) {
        return asc_ub<T>(room::at_stages + n % room::stages * room::stage_bytes + byte);
    }

    /* ---- Fetching ---- */

    /* Token numbers of a tile, the n-th. (pages: asc_copy_gm2ub_align, asc_sync_notify) */
    __aicore__ inline void fetch_list(const lists_work &work, uint32_t n) {
        const int slot = static_cast<int>(n % lists_slots);
        if (n >= lists_slots) asc_sync_wait(PIPE_S, PIPE_MTE2, slot);
        if (work.count > 0)
            asc_copy_gm2ub_align(asc_ub<int32_t>(room::at_lists + n % lists_slots * room::vector),
                                 call.list + work.b * call.list_stride[0] +
                                     work.h * call.list_stride[1] + work.token,
                                 static_cast<uint32_t>(work.count) * 4);
        asc_sync_notify(PIPE_MTE2, PIPE_S, slot);
    }

    /* Rows of a run of tokens. (page: asc_copy_gm2ub) */
    __aicore__ inline void fetch_run(__ubuf__ T *to, __gm__ T *from, int count, int64_t stride) {
        asc_copy_gm2ub(to, from, count, D / 16, static_cast<int>((stride - D) / 16), 0);
    }

    /* Keys and values of a tile, and the row's query where it is the first. */
    __aicore__ inline void fetch_rows(const lists_work &work, uint32_t n) {
        const int slot = static_cast<int>(n % lists_slots);
        const int here = static_cast<int>(n % room::stages);
        const int64_t g = work.h / call.group;
        __ubuf__ int32_t *list = asc_ub<int32_t>(room::at_lists + n % lists_slots * room::vector);
        asc_sync_wait(PIPE_MTE2, PIPE_S, slot);
        if (n >= room::stages) asc_sync_wait(PIPE_V, PIPE_MTE2, here);
        if (work.opens)
            asc_copy_gm2ub(stage(n, 2 * room::tile_bytes),
                           (__gm__ T *)call.q + work.b * call.q_stride[0] +
                               work.h * call.q_stride[1],
                           room::row_bytes);
        int32_t next = work.count > 0 ? asc_ub_get(list) : 0;
        for (int i = 0; i < work.count;) {
            const int32_t token = next;
            const lists_place<T> place = Tokens::find(call, work.b, g, token);
            int count = 0;
            do {
                count++;
                if (i + count < work.count) next = asc_ub_get(list + i + count);
            } while (i + count < work.count && next == token + count && count < place.more);
            const uint32_t to = static_cast<uint32_t>(i) * room::row_bytes;
            fetch_run(stage(n, to), place.key, count, call.k_stride[2]);
            fetch_run(stage(n, room::tile_bytes + to), place.value, count, call.v_stride[2]);
            i += count;
        }
        asc_sync_notify(PIPE_S, PIPE_MTE2, slot);
        asc_sync_notify(PIPE_MTE2, PIPE_V, here);
    }

    /* ---- A row's beginning and end ---- */

    __aicore__ inline void open(const lists_work &work, uint32_t n, magicpig_row &sampling) {
        lists_then(); /* the last row's end */
        asc_duplicate(max(), lists_lowest, 1, 1, 8);
        asc_duplicate(sum(), 0.0f, 1, 1, 8);
        asc_duplicate(total(), 0.0f, repeats, 1, 8);
        lists_widen(query(), stage(n, 2 * room::tile_bytes), repeats);
        lists_then();
        if (!sampled) return;
        sampling.k =
            asc_gm_get(call.lsh_k + work.b * call.lsh_k_stride[0] + work.h * call.lsh_k_stride[1]);
        sampling.l =
            asc_gm_get(call.lsh_l + work.b * call.lsh_l_stride[0] + work.h * call.lsh_l_stride[1]);
        asc_mul(wide(), query(), query(), repeats, 1, 1, 1, 8, 8, 8);
        lists_then();
        add_up_rows(repeats, 1);
        asc_repeat_reduce_sum(one(), wide(), 1, 1, 1, 8);
        lists_then();
        asc_sqrt(one(), one(), 1, 1, 1, 8, 8);
        lists_then();
        asc_brcb(sampling.q_norm, one(), 1, 8, 1); /* read after score's barriers */
    }

    __aicore__ inline void close(const lists_work &work) {
        if (!work.begins) {
            write_part();
        } else if (work.ends) {
            write_row(work);
        } /* else meet_and_add does */
    }

    /* (m, l, O) to this core's slot; at most once a core. (page: asc_copy_ub2gm) */
    __aicore__ inline void write_part() {
        asc_sync_notify(PIPE_V, PIPE_MTE3, EVENT_ID1);
        asc_sync_wait(PIPE_V, PIPE_MTE3, EVENT_ID1);
        asc_copy_ub2gm(call.parts + asc_block() * (room::part_bytes / 4), max(), room::part_bytes);
        asc_sync_notify(PIPE_MTE3, PIPE_V, EVENT_ID1);
        asc_sync_wait(PIPE_MTE3, PIPE_V, EVENT_ID1);
    }

    /* (pages: asc_div, asc_log, asc_copy_ub2gm, asc_copy_ub2gm_align) */
    __aicore__ inline void write_row(const lists_work &work) {
        __ubuf__ float *lse = f32(room::at_lse);
        __ubuf__ T *result = asc_ub<T>(room::at_result);
        if (result_pending) asc_sync_wait(PIPE_MTE3, PIPE_V, EVENT_ID0);
        if (work.count > 0) {
            asc_div(total(), total(), sum(), repeats, 1, 1, 0, 8, 8, 0);
            asc_log(lse, sum(), 1, 1, 1, 8, 8);
            lists_then();
            asc_add(lse, lse, max(), 1, 1, 1, 1, 8, 8, 8);
        } else {
            asc_duplicate(lse, -__builtin_inff(), 1, 1, 8); /* total is 0 */
        }
        lists_narrow(result, total(), repeats);
        asc_sync_notify(PIPE_V, PIPE_MTE3, EVENT_ID0);
        asc_sync_wait(PIPE_V, PIPE_MTE3, EVENT_ID0);
        asc_copy_ub2gm((__gm__ T *)call.out + work.b * call.out_stride[0] +
                           work.h * call.out_stride[1],
                       result, room::row_bytes);
        if (call.lse)
            asc_copy_ub2gm_align(
                call.lse + work.b * call.lse_stride[0] + work.h * call.lse_stride[1], lse, 4);
        asc_sync_notify(PIPE_MTE3, PIPE_V, EVENT_ID0);
        result_pending = true;
    }

    /* ---- A tile ---- */

    /* Of each of `rows` rows of D f32, the D / 64 parts added into the first. (page: asc_add) */
    __aicore__ inline void fold(__ubuf__ float *x, int rows) {
        for (int half = D / 2; half >= 64; half /= 2) {
            for (int at = 0; at < half; at += 64)
                asc_add(x + at, x + at, x + half + at, rows, 1, 1, 1, row_blocks, row_blocks,
                        row_blocks);
            lists_then();
        }
    }

    /* The first of `rows` rows, each `each` repeats, becomes their sum, by halves. */
    __aicore__ inline void add_up_rows(int rows, int each) {
        while (rows > 1) {
            const int keep = (rows + 1) / 2;
            asc_add(wide(), wide(), wide() + keep * each * 64, (rows - keep) * each, 1, 1, 1, 8, 8,
                    8);
            lists_then();
            rows = keep;
        }
    }

    /* q.k of the tile's tokens to dots; sampled: |k|^2 to norms. (pages: asc_mul,
     * asc_repeat_reduce_sum) */
    __aicore__ inline void score(const lists_work &work, uint32_t n) {
        __ubuf__ float *squares = f32(room::at_squares);
        for (int at = 0; at < work.count; at += room::chunk) {
            const int rows = work.count - at < room::chunk ? work.count - at : room::chunk;
            lists_widen(wide(), stage(n, static_cast<uint32_t>(at) * room::row_bytes),
                        rows * repeats);
            lists_then();
            if (sampled) {
                asc_mul(squares, wide(), wide(), rows * repeats, 1, 1, 1, 8, 8, 8);
                lists_then();
            }
            for (int d = 0; d < D; d += 64)
                asc_mul(wide() + d, wide() + d, query() + d, rows, 1, 1, 1, row_blocks, row_blocks,
                        0);
            lists_then();
            fold(wide(), rows);
            asc_repeat_reduce_sum(dots() + at, wide(), rows, 1, 1, row_blocks);
            if (sampled) {
                fold(squares, rows);
                asc_repeat_reduce_sum(norms() + at, squares, rows, 1, 1, row_blocks);
            }
            lists_then();
        }
    }

    /* dots to logits, in lanes without a token the lowest. */
    __aicore__ inline void scale(const lists_work &work, const magicpig_row &sampling) {
        asc_duplicate(logits(), lists_lowest, 1, 1, 8);
        if (sampled) {
            asc_mul_scalar(weight(), dots(), call.scale, 1, 1, 1, 8, 8);
            magicpig_log_u(dots(), norms(), sampling);
        } else {
            lists_then();
        }
        lists_mask(work.count);
        if (sampled) {
            asc_sub(logits(), weight(), dots(), 1, 1, 1, 1, 8, 8, 8);
        } else {
            asc_mul_scalar(logits(), dots(), call.scale, 1, 1, 1, 8, 8);
        }
        lists_mask(lists_tile);
        lists_then();
    }

    /* Online softmax: m, l and O are brought to the new maximum, the tile's weights added to l and
     * spread over 8 lanes each. (pages: asc_repeat_reduce_max, asc_brcb, asc_exp) */
    __aicore__ inline void soften() {
        asc_repeat_reduce_max(one(), logits(), 1, 1, 1, 8);
        lists_then();
        asc_brcb(spread(), one(), 1, 8, 1);
        lists_then();
        asc_max(dots(), max(), spread(), 1, 1, 1, 0, 8, 8, 0);
        lists_then();
        asc_sub(shrink(), max(), dots(), 1, 1, 1, 1, 8, 8, 8);
        asc_sub(weight(), logits(), dots(), 1, 1, 1, 1, 8, 8, 8);
        lists_then();
        asc_exp(shrink(), shrink(), 1, 1, 1, 8, 8);
        asc_exp(weight(), weight(), 1, 1, 1, 8, 8);
        asc_max(max(), max(), spread(), 1, 1, 1, 0, 8, 8, 0);
        lists_then();
        asc_mul(sum(), sum(), shrink(), 1, 1, 1, 1, 8, 8, 8);
        asc_mul(total(), total(), shrink(), repeats, 1, 1, 0, 8, 8, 0);
        asc_brcb(f32(room::at_weights), weight(), 1, 8, lists_tile / 8);
        asc_repeat_reduce_sum(one(), weight(), 1, 1, 1, 8);
        lists_then();
        asc_brcb(spread(), one(), 1, 8, 1);
        lists_then();
        asc_add(sum(), sum(), spread(), 1, 1, 1, 0, 8, 8, 0);
    }

    /* O += weights times values. */
    __aicore__ inline void add_values(const lists_work &work, uint32_t n) {
        for (int at = 0; at < work.count; at += room::chunk) {
            const int rows = work.count - at < room::chunk ? work.count - at : room::chunk;
            __ubuf__ float *weights = f32(room::at_weights) + 8 * at;
            lists_widen(wide(),
                        stage(n, room::tile_bytes + static_cast<uint32_t>(at) * room::row_bytes),
                        rows * repeats);
            lists_then();
            for (int d = 0; d < D; d += 64)
                asc_mul(wide() + d, wide() + d, weights, rows, 1, 1, 0, row_blocks, row_blocks, 1);
            lists_then();
            add_up_rows(rows, repeats);
            asc_add(total(), total(), wide(), repeats, 1, 1, 1, 8, 8, 8);
            lists_then();
        }
    }

    /* ---- Rows cut between cores ---- */

    __aicore__ inline void add_part(uint32_t n) {
        __ubuf__ float *part_max = f32(room::at_stages + n * room::part_bytes);
        __ubuf__ float *part_sum = part_max + 64, *part_total = part_sum + 64;
        asc_max(logits(), max(), part_max, 1, 1, 1, 1, 8, 8, 8);
        lists_then();
        asc_sub(shrink(), max(), logits(), 1, 1, 1, 1, 8, 8, 8);
        asc_sub(weight(), part_max, logits(), 1, 1, 1, 1, 8, 8, 8);
        lists_then();
        asc_exp(shrink(), shrink(), 1, 1, 1, 8, 8);
        asc_exp(weight(), weight(), 1, 1, 1, 8, 8);
        asc_max(max(), max(), part_max, 1, 1, 1, 1, 8, 8, 8);
        lists_then();
        asc_mul(sum(), sum(), shrink(), 1, 1, 1, 1, 8, 8, 8);
        asc_mul(part_sum, part_sum, weight(), 1, 1, 1, 1, 8, 8, 8);
        asc_mul(total(), total(), shrink(), repeats, 1, 1, 0, 8, 8, 0);
        asc_mul(part_total, part_total, weight(), repeats, 1, 1, 0, 8, 8, 0);
        lists_then();
        asc_add(sum(), sum(), part_sum, 1, 1, 1, 1, 8, 8, 8);
        asc_add(total(), total(), part_total, repeats, 1, 1, 1, 8, 8, 8);
        lists_then();
    }

    /* All cores meet; then the parts that later cores have of this core's last row are added, in
     * their order. (pages: asc_sync_block_arrive, asc_sync_block_wait) */
    __aicore__ inline void meet_and_add(const lists_work &last) {
        asc_core_arrive(PIPE_MTE3, ASC_ALL_CORES, 0);
        asc_core_wait(0);
        if (mine.first == mine.last || !last.begins || last.ends) return;
        uint32_t parts = 0;
        for (int64_t core = asc_block() + 1;; core++) {
            const int64_t from = cut_of(last, core), to = cut_of(last, core + 1);
            if (from >= last.row_tiles) break;
            if (to <= from) continue;
            asc_copy_gm2ub(f32(room::at_stages + parts * room::part_bytes),
                           call.parts + core * (room::part_bytes / 4), room::part_bytes);
            parts++;
        }
        asc_sync_notify(PIPE_MTE2, PIPE_V, EVENT_ID0);
        asc_sync_wait(PIPE_MTE2, PIPE_V, EVENT_ID0);
        for (uint32_t n = 0; n < parts; n++) add_part(n);
        write_row(last);
    }

    /* Where in a row a core begins. */
    __aicore__ inline int64_t cut_of(const lists_work &work, int64_t core) {
        const int64_t inside = core * mine.share - work.row_first;
        return inside < work.row_tiles ? lists_cut(inside, work.row_tiles, mine.share)
                                       : work.row_tiles;
    }

    /* ---- All of it ---- */

    __aicore__ inline void clear() {
        asc_set_mask_norm();
        lists_mask(lists_tile);
        asc_duplicate(vector(0), 0.0f, static_cast<int>(room::vectors), 1, 8);
        if (sampled)
            asc_duplicate(f32(room::at_magicpig), 0.0f,
                          static_cast<int>((room::bytes - room::at_magicpig) / 256), 1, 8);
    } /* open has the barrier */

    __aicore__ inline void run() {
        lists_cursor lists = {mine.row, mine.row_first, mine.first}, rows = lists, here = lists;
        lists_work work = {}, ahead = {};
        magicpig_row sampling = {1, 1, f32(room::at_magicpig + magicpig_room_bytes),
                                 f32(room::at_magicpig)};
        uint32_t listed = 0, fetched = 0, done = 0;
        clear();
        while (here.at < mine.last) {
            while (listed < done + room::stages + lists_ahead &&
                   lists_next(call, mine, lists, ahead))
                fetch_list(ahead, listed++);
            while (fetched < done + room::stages && lists_next(call, mine, rows, ahead))
                fetch_rows(ahead, fetched++);

            lists_next(call, mine, here, work);
            const int stage_here = static_cast<int>(done % room::stages);
            asc_sync_wait(PIPE_MTE2, PIPE_V, stage_here);
            if (work.opens) open(work, done, sampling);
            if (work.count > 0) {
                score(work, done);
                scale(work, sampling);
                soften();
                add_values(work, done);
            }
            asc_sync_notify(PIPE_V, PIPE_MTE2, stage_here);
            if (work.closes) close(work);
            done++;
        }
        for (uint32_t n = done < room::stages ? 0 : done - room::stages; n < done; n++)
            asc_sync_wait(PIPE_V, PIPE_MTE2, static_cast<int>(n % room::stages));
        for (uint32_t n = done < lists_slots ? 0 : done - lists_slots; n < done; n++)
            asc_sync_wait(PIPE_S, PIPE_MTE2, static_cast<int>(n % lists_slots));
        if (mine.cut) meet_and_add(work);
        if (result_pending) asc_sync_wait(PIPE_MTE3, PIPE_V, EVENT_ID0);
    }

    static_assert(room::stages * room::stage_bytes >= (ASC_VECTOR_CORES - 1) * room::part_bytes,
                  "all parts of a row in the room of the stages");
};

/* A kernel's body, for head dim D. */
template <typename T, int D, typename Tokens, bool sampled>
__aicore__ inline void lists_run(const lists_call &call) {
    lists_core<T, D, Tokens, sampled> core = {call, lists_share_of(call, asc_block(), asc_blocks()),
                                              false};
    core.run();
}

template <typename T, typename Tokens, bool sampled>
__aicore__ inline void lists_run(const lists_call &call) {
    asc_init();
    asc_set_ffts_base_addr(call.flags_address);
    switch (call.head_dim) {
    case 64:
        lists_run<T, 64, Tokens, sampled>(call);
        break;
    case 128:
        lists_run<T, 128, Tokens, sampled>(call);
        break;
    case 256:
        lists_run<T, 256, Tokens, sampled>(call);
        break;
    default:
        break;
    }
}

#endif
