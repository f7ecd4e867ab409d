/* The warpgroups that compute, and the kernel. */
#ifndef ATTN_CUDA_PREFILL_HOPPER_COMPUTE_CUH
#define ATTN_CUDA_PREFILL_HOPPER_COMPUTE_CUH

#include "prefill_hopper_copy.cuh"
#include "prefill_hopper_parts.cuh"

namespace attn {

/* One of the warpgroups that compute. */
template <typename T, typename shape>
__device__ __forceinline__ void hopper_compute(const typename shape::args &a,
                                               const hopper_places<shape> &at,
                                               const CUtensorMap *out, int warpgroup, int rank) {
    constexpr int D = shape::D, KEYS = shape::KEYS, ALL = shape::CONSUMERS * WARPGROUP;
    const int number = hopper_number<shape>(warpgroup, rank);
    const bool leader = threadIdx.x % WARPGROUP == 0;
    ring_place<shape::STAGES> place; /* of the next keys */
    hopper_rows<T, shape> x;
    const uint64_t first_keys = operand(at.tile(KEYS_HALF), 16);
    const uint64_t first_values = operand(at.tile(VALUES_HALF), shape::PANEL_BYTES);
    const auto operand_at = [](uint64_t first, int stage) {
        return first + (uint64_t)(stage * (2 * shape::TILE_BYTES / 16));
    };

    const auto acquire = [&](const ring_place<shape::STAGES> &place, int half) {
        barrier_wait(at.full + 16 * place.stage + 8 * half, place.parity);
    };
    const auto release = [&](const ring_place<shape::STAGES> &place, int half) {
        const uint32_t empty = at.empty + 16 * place.stage + 8 * half;
        if constexpr (shape::CLUSTER > 1) {
            const uint32_t peer = threadIdx.x % WARPGROUP;
            if (peer < shape::CLUSTER) barrier_arrive_at(peer, empty);
        } else if (leader) {
            barrier_arrive(empty);
        }
    };
    /* Of a tile that this warpgroup does not need; nothing else keeps its warps together. */
    const auto skip = [&](const ring_place<shape::STAGES> &place, int half) {
        acquire(place, half);
        named_barrier(1 + warpgroup, WARPGROUP);
        release(place, half);
    };
    const auto clear_values = [&](const ring_place<shape::STAGES> &values, int first, int end,
                                  int thread, int threads) {
        constexpr int CHUNKS = D / 8;
        for (int i = thread; i < (end - first) * CHUNKS; i += threads) {
            const int row = first + i / CHUNKS, chunk = i % CHUNKS;
            clear_shared(at.tile(2 * values.stage + VALUES_HALF) + chunk / 8 * shape::PANEL_BYTES +
                         row * 128 + chunk % 8 * 16);
        }
        fence_for_async();
    };
    /* Values past the sequence may be NaN, which weights of 0 do not hide. They are those of the
     * piece's first tile. */
    const auto hide_tail = [&](int kv_len) {
        acquire(place, VALUES_HALF);
        clear_values(place, kv_len % KEYS, KEYS, threadIdx.x, ALL);
        named_barrier(1 + shape::CONSUMERS, ALL);
    };
    /* Nor do weights of 0 hide values before all that a piece's queries see: in its first tile,
     * which begins where a page may. Each warpgroup clears them for itself. */
    const auto hide_head = [&](const ring_place<shape::STAGES> &values, uint32_t posted) {
        if constexpr (shape::PAGED) {
            const hopper_piece piece = posted_piece(posted);
            const int low = piece.query_tile * shape::ROWS + piece.kv_len - piece.q_len - a.before;
            if (piece.first_tile > 0 || low <= 0) return;
            acquire(values, VALUES_HALF);
            clear_values(values, 0, low, threadIdx.x % WARPGROUP, WARPGROUP);
            named_barrier(1 + warpgroup, WARPGROUP);
        }
    };
    /* Waits for the n-th piece of this block. */
    const auto find = [&](unsigned n) {
        const int buffer = buffer_of<shape::QUERY_BUFFERS>(n);
        barrier_wait(at.queries_full + 8 * buffer, parity_of<shape::QUERY_BUFFERS>(n));
        const hopper_piece piece = posted_piece(at.posted_of(n));
        const hopper_share share = hopper_share_of<shape>(a, piece, number);
        /* What queries beyond the sequence hold may not even decide when references move. */
        const int rows = piece.q_len - share.query;
        if (piece.end_tile > 0 && piece.q_len < a.q_len && rows < shape::ROWS) {
            const uint32_t queries = at.queries_of(buffer, warpgroup);
#pragma unroll 1
            for (int i = threadIdx.x % WARPGROUP; i < shape::ROWS * (D / 8); i += WARPGROUP) {
                const int row = i / (D / 8), chunk = i % (D / 8);
                if (row >= rows)
                    clear_shared(queries + chunk / 8 * shape::PANEL_BYTES + row * 128 +
                                 chunk % 8 * 16);
            }
            fence_for_async();
            named_barrier(1 + warpgroup, WARPGROUP);
        }
        hopper_work work;
        work.first_tile = piece.first_tile;
        work.end_tile = piece.end_tile;
        work.begin = max(min(share.end, piece.end_tile), piece.first_tile);
        work.seen = share.seen;
        work.clear = share.clear;
        work.kv_len = piece.kv_len;
        if constexpr (shape::ANY) {
            work.low = share.low;
            work.whole = max(0, share.low + shape::ROWS - 1 + KEYS - 1) / KEYS;
        }
        return work;
    };
    const auto begin_values = [&](const ring_place<shape::STAGES> &values) {
        acquire(values, VALUES_HALF);
        x.begin_values(operand_at(first_values, values.stage));
    };
    for (unsigned n = 0;; n++) {
        const hopper_work work = find(n);
        if (work.end_tile == 0) break;
        const int buffer = buffer_of<shape::QUERY_BUFFERS>(n);
        const uint32_t queries = at.queries_of(buffer, warpgroup);
        const uint64_t query_operand = operand(queries, 16);
        /* Queries, once nothing reads or writes in their place: with DIRECT this piece's, else the
         * other buffer's, which the leader's stores have read meanwhile. */
        const auto hand_back = [&](bool last_scores) {
            if (!leader || last_scores != shape::DIRECT) return;
            if (shape::DIRECT) {
                barrier_arrive(at.queries_empty + 8 * buffer);
            } else if (n > 0) {
                store_wait_read();
                barrier_arrive(at.queries_empty + 8 * (buffer ^ 1));
            }
        };
        const auto begin_scores = [&] {
            acquire(place, KEYS_HALF);
            x.begin_scores(query_operand, operand_at(first_keys, place.stage));
        };
        if ((shape::PAGED || work.kv_len < a.kv_len) && work.kv_len % KEYS > 0 &&
            work.end_tile > work.kv_len / KEYS)
            hide_tail(work.kv_len);
        int tile = work.end_tile; /* the last whose keys were taken */
        x.start();
        for (; tile > work.begin; tile--) {
            skip(place, KEYS_HALF);
            skip(place, VALUES_HALF);
            place.advance();
        }
        /* With PAIRS: who comes second to a share in two parts finds it out. */
        const auto meet = [&] {
            if (!shape::PAIRS || !leader) return;
            const hopper_piece piece = posted_piece(at.posted_of(n));
            if (number < piece.shares && piece.parts == 2)
                store_shared(at.flags + 16 + warpgroup * 4,
                             atomicInc(&a.arrivals[piece.slot * shape::SHARES + number], 1));
        };
        if (tile == work.first_tile) {
            hand_back(false);
            hand_back(true);
            meet();
        } else {
            const auto take_scores = [&] {
                pin(x.s);
                release(place, KEYS_HALF);
                place.advance();
                if (--tile >= work.clear) x.mask(tile * KEYS, work.seen, work.kv_len, a.causal);
                if constexpr (shape::ANY)
                    if (tile < work.whole) x.mask_low(tile * KEYS, work.low);
            };
            begin_scores();
            product_wait<0>();
            take_scores();
            x.template weigh<true>(a.scale);
            x.pack();
            hand_back(false);
            while (tile > work.first_tile) {
                const ring_place<shape::STAGES> values = place.before();
                pin(x.s);
                pin(x.out);
                begin_scores();
                begin_values(values);
                product_wait<1>();
                take_scores();
                x.template weigh<false>(a.scale);
                product_wait<0>();
                pin(x.out);
                release(values, VALUES_HALF);
                x.rescale();
                x.pack();
            }
            hand_back(true);
            const ring_place<shape::STAGES> values = place.before();
            hide_head(values, at.posted_of(n));
            pin(x.out);
            begin_values(values);
            meet();
            product_wait<0>();
            pin(x.out);
            release(values, VALUES_HALF);
        }
        /* Read again where it is needed, and not by those who may be late. */
        const hopper_piece piece = posted_piece(at.posted_of(n));
        const auto alone = [&] {
            if (piece.parts == 1) return true;
            if constexpr (shape::PAIRS)
                if (piece.parts == 2)
                    return hopper_pair(x, a, piece.slot * shape::SHARES + number, warpgroup, leader,
                                       at.flags + 16 + warpgroup * 4);
            return hopper_combine(x, a, piece, warpgroup, number, at.flags + warpgroup * 4);
        };
        if (number < piece.shares && alone())
            hopper_finish(x, a, piece, warpgroup, number, queries, out);
    }
    if (leader) store_wait_read();
}

template <typename T, typename shape>
__global__ void __launch_bounds__(shape::THREADS, 1)
    hopper_prefill_kernel(const __grid_constant__ CUtensorMap q,
                          const __grid_constant__ CUtensorMap k,
                          const __grid_constant__ CUtensorMap v,
                          const __grid_constant__ CUtensorMap out, const typename shape::args a) {
    extern __shared__ unsigned char shared[];
    const hopper_places<shape> at(shared_address(shared));
    const int warpgroup = __shfl_sync(ALL_LANES, threadIdx.x / WARPGROUP, 0);
    const int rank = shape::CLUSTER > 1 ? cluster_rank() : 0;
    if (threadIdx.x == 0) {
        for (int i = 0; i < 2 * shape::STAGES; i++) {
            barrier_init(at.full + 8 * i, 1);
            barrier_init(at.empty + 8 * i, shape::SHARES);
        }
        for (int i = 0; i < shape::QUERY_BUFFERS; i++) {
            barrier_init(at.queries_full + 8 * i, 1);
            barrier_init(at.queries_empty + 8 * i, shape::CONSUMERS);
        }
        for (int i = 0; i < shape::INDICES; i++) barrier_init(at.indices_full + 8 * i, 1);
        barrier_init_done();
    }
    if constexpr (shape::CLUSTER > 1)
        cluster_barrier();
    else
        __syncthreads();
    if (warpgroup < shape::CONSUMERS) {
        registers_raise<shape::REGISTERS>();
        hopper_compute<T, shape>(a, at, &out, warpgroup, rank);
    } else {
        registers_lower<shape::REGISTERS_COPYING>();
        const int thread = threadIdx.x - shape::CONSUMERS * WARPGROUP;
        if (thread >= WARP) {
            if (a.unseen) hopper_clear<shape>(a, thread - WARP);
        } else if (shape::PAGED || thread == 0) {
            hopper_copy<shape>(a, at, rank, &q, &k, &v);
        }
    }
    /* Nobody leaves while others copy into its memory or arrive at its barriers. */
    if constexpr (shape::CLUSTER > 1) cluster_barrier();
}

} // namespace attn

#endif
