/* The warpgroup that copies. */
#ifndef ATTN_CUDA_PREFILL_HOPPER_COPY_CUH
#define ATTN_CUDA_PREFILL_HOPPER_COPY_CUH

#include "prefill_hopper_shape.cuh"

namespace attn {

/* Of keys in pages a lane copies one box of each tile, if there are so many: of some keys, which
 * lie in one page, and a panel. Where these are is looked up one tile ahead of the copy of the
 * keys, and kept for that of the values. */
template <typename shape> struct hopper_boxes {
    uint32_t ahead, keys, values; /* first rows, or NO_ROW: of the tile that is copied next, of the
                                     last whose keys were, of the one before that */
    uint32_t entries;             /* of the sequence in the table */
    int head, key;                /* kv head; the first key ahead */

    static __device__ __forceinline__ int lane() {
        int thread = threadIdx.x; /* few registers: known anew each time */
        forget(thread);
        return thread % WARP;
    }
    __device__ __forceinline__ void look_up(const typename shape::args &a) {
        ahead = key >= 0 && lane() / shape::PANELS * a.box_rows < shape::KEYS
                    ? a.keys.row(entries, head, key)
                    : NO_ROW;
    }

    /* From tile `last` on, whose boxes beyond the end of the sequence, after `end` keys from
     * first_key on, are not copied. */
    __device__ __forceinline__ void begin(const typename shape::args &a, int kv_head, int first_key,
                                          int end, int last) {
        const int b = kv_head / a.keys.kv_heads;
        head = kv_head - b * a.keys.kv_heads;
        entries = a.keys.begin(b, head);
        key = last * shape::KEYS + lane() / shape::PANELS * a.box_rows;
        const bool beyond = key >= end;
        key = beyond ? -1 : key + first_key;
        look_up(a);
        if (beyond) key = last * shape::KEYS + lane() / shape::PANELS * a.box_rows + first_key;
    }
    __device__ __forceinline__ void advance(const typename shape::args &a) {
        values = keys;
        keys = ahead;
        key -= shape::KEYS;
        look_up(a); /* before the piece's first tile, too, if there are keys */
    }
    /* The boxes of a tile: at least one, since tiles end where keys do. Each is whole, so the
     * barrier counts all its bytes; they are expected by the one arrival that the phase waits for,
     * and by the time that it is made none has been asked for. */
    __device__ __forceinline__ void copy(const typename shape::args &a, const CUtensorMap *map,
                                         uint32_t row, uint32_t to, uint32_t full) const {
        const int bytes = a.box_rows * PANEL * 2;
        const int boxes = __popc(__ballot_sync(ALL_LANES, row != NO_ROW));
        if (lane() == 0) barrier_expect(full, boxes * bytes);
        __syncwarp();
        const int chunk = lane() / shape::PANELS, panel = lane() % shape::PANELS;
        if (row != NO_ROW)
            copy_box(to + panel * shape::PANEL_BYTES + chunk * bytes, map, row, panel, full);
    }
};

/* One thread, or with pages one warp: takes pieces, posts them, and copies their queries, keys and
 * values in the order of their use: from the last tile to the first, K a tile ahead of V. In a
 * cluster the first block asks for pieces and tells the others; they copy stages in turn, each for
 * all. */
template <typename shape>
__device__ __forceinline__ void
hopper_copy(const typename shape::args &a, const hopper_places<shape> &at, int rank,
            const CUtensorMap *q, const CUtensorMap *k, const CUtensorMap *v) {
    constexpr int CLUSTER = shape::CLUSTER;
    const bool leads = !shape::PAGED || threadIdx.x % WARP == 0;
    [[maybe_unused]] hopper_boxes<shape> boxes = {};
    ring_place<shape::STAGES> place; /* of the next keys; of values, the one before */
    [[maybe_unused]] int first_key = 0;
    const auto copy = [&](const CUtensorMap *map, const ring_place<shape::STAGES> &place, int half,
                          int tile, int kv_head, uint32_t row) {
        const int n = 2 * place.stage + half;
        const uint32_t to = at.tile(n), full = at.full + 8 * n;
        barrier_wait(at.empty + 8 * n, place.parity ^ 1);
        if constexpr (shape::PAGED) {
            boxes.copy(a, map, row, to, full);
            return;
        }
        barrier_expect(full, shape::TILE_BYTES);
        int key = tile * shape::KEYS;
        if constexpr (shape::ANY) key += first_key;
        if constexpr (CLUSTER == 1)
            copy_tile(to, map, key, kv_head, full);
        else if (n % CLUSTER == rank)
            copy_tile_to_all<CLUSTER>(to, map, key, kv_head, full);
    };
    const auto copy_keys = [&](int tile, int kv_head) {
        if constexpr (shape::PAGED) boxes.advance(a);
        copy(k, place, KEYS_HALF, tile, kv_head, boxes.keys);
        place.advance();
    };
    const auto copy_values = [&](int tile, int kv_head, bool last_tile) {
        copy(v, last_tile ? place.before() : place.before().before(), VALUES_HALF, tile, kv_head,
             last_tile ? boxes.keys : boxes.values);
    };
    /* Registers are few: what a piece says is read again where it is needed. */
    const auto words = [&](int piece, int n) {
        return __ldg(reinterpret_cast<const int4 *>(a.pieces + piece) + n);
    };
    if (leads) prefetch_map(k), prefetch_map(v), prefetch_map(q);
    int index = (int)blockIdx.x / CLUSTER;
    for (unsigned n = 0;; n++) {
        const int buffer = buffer_of<shape::QUERY_BUFFERS>(n);
        const uint32_t queries_full = at.queries_full + 8 * buffer;
        const uint32_t posted = at.posted_of(n);
        const bool more = index < a.count;
        int4 about = {-1, 0, 0, 0}; /* kv head, first and end tile, shares */
        if (more) {
            about = words(index, 0);
            if constexpr (shape::PAGED) {
                boxes.begin(a, about.x, words(index, 2).w, words(index, 1).w, about.z - 1);
            } else if constexpr (shape::ANY) {
                first_key = words(index, 2).w;
            }
            copy_keys(about.z - 1, about.x);
        }
        barrier_wait(at.queries_empty + 8 * buffer, parity_of<shape::QUERY_BUFFERS>(n) ^ 1);
        if (leads) {
            store_shared(posted, about);
            if (!more) {
                store_shared(posted + 16, int4{});
                barrier_arrive(queries_full);
                return;
            }
            const int4 where = words(index, 1); /* query tile and member of the first share */
            store_shared(posted + 16, where);
            store_shared(posted + 32, words(index, 2));
            const int mine = min(shape::CONSUMERS, (about.w - rank + CLUSTER - 1) / CLUSTER);
            barrier_expect(queries_full, mine * shape::TILE_BYTES);
#pragma unroll 1
            for (int w = 0; w < mine; w++) {
                const hopper_rows_place rows = hopper_rows_of<shape>(a, about.x, where.x, where.y,
                                                                     hopper_number<shape>(w, rank));
                copy_tile(at.queries_of(buffer, w), q, rows.query, rows.head, queries_full);
            }
        } else if (!more) {
            return;
        }
        if constexpr (shape::PAGED) __syncwarp();
        const int kv_head = about.x, first_tile = about.y;
        int tile = about.z - 1;
        /* Who asks late asks for what others, who have less to do, do not take; but so that the
         * answer is there when the last tile is copied. */
        const int ask = min(tile, first_tile + 2);
#pragma unroll 1
        for (;; tile--) {
            if (tile == ask && rank == 0 && leads)
                index = (int)gridDim.x / CLUSTER + (int)atomicInc(a.next, (unsigned)a.count - 1);
            if (tile == first_tile) break;
            copy_keys(tile - 1, kv_head);
            copy_values(tile, kv_head, false);
        }
        copy_values(tile, kv_head, true);
        if constexpr (shape::PAGED) index = __shfl_sync(ALL_LANES, index, 0);
        if constexpr (CLUSTER > 1) {
            const int slot = n % shape::INDICES;
            const uint32_t told = at.indices + 4 * slot, full = at.indices_full + 8 * slot;
            if (rank == 0) {
                for (int peer = 1; peer < CLUSTER; peer++) send_word(peer, told, index, full);
            } else {
                barrier_expect(full, 4);
                barrier_wait(full, parity_of<shape::INDICES>(n));
                index = (int)load_shared_word(told);
            }
        }
    }
}

/* The other warps of the copying warpgroup: tiles of queries that no piece has, since they are
 * beyond a sequence's length or see no key. */
template <typename shape>
__device__ __forceinline__ void hopper_clear(const typename shape::args &a, int thread) {
    constexpr int D = shape::D, ROWS = shape::ROWS, THREADS = WARPGROUP - WARP;
    const int tiles = ceil_div(a.q_len, ROWS);
    for (int i = blockIdx.x; i < a.heads * tiles; i += gridDim.x) {
        const int head = i / tiles, first = (i - head * tiles) * ROWS;
        const auto [q_len, kv_len] = hopper_lengths_of<shape>(a, head / a.q_heads);
        int seen = min(first + ROWS, q_len) + (a.causal ? kv_len - q_len : 0);
        float lse = -INFINITY;
        if constexpr (shape::ANY) {
            seen += a.behind;
            if (a.sinks) lse = __ldg(&a.sinks[head % a.q_heads]);
        }
        if (first < q_len && seen > 0 && kv_len > 0) continue;
        const int64_t row = (int64_t)head * a.q_len + first;
        const int rows = min(ROWS, a.q_len - first);
        uint4 *out = static_cast<uint4 *>(a.out) + row * (D / 8);
#pragma unroll 1
        for (int n = thread; n < rows * (D / 8); n += THREADS) out[n] = make_uint4(0, 0, 0, 0);
        for (int n = thread; n < rows; n += THREADS) a.lse[row + n] = first + n < q_len ? lse : 0.f;
    }
}

} // namespace attn

#endif
