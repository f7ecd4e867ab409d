/* Flash attention on wgmma, for prefill with and without lengths.
 *
 * A block has an SM to itself: one warpgroup that copies and 2 to 4 that compute. One of these owns
 * a share, 64 queries of one head; together they take neighbouring shares of one kv head, heads
 * first, so that K and V, 64 keys at a time, are copied once for all of them into a ring. The
 * scores of a tile are begun before the values of the last are added, and softmax runs under both.
 *
 * What is to be done is a list made by prepare, which knows the lengths: pieces, heaviest first,
 * that blocks take from a counter. The copying thread posts a piece with its queries, the next one
 * while this one is computed, and asks for another when two tiles are left: who has less to do has
 * it sooner. Where pieces are few or long, their keys are divided, and the last warpgroup to arrive
 * adds the parts up, always in the same order.
 *
 * In a cluster the pieces are as many times larger, each block copies its part of the tiles, and
 * the TMA brings them to all.
 *
 * With shape::ANY the same for windows and sinks, known at run time: a piece's tiles begin at the
 * first key that its first query sees, wherever that is, and everything but the copies counts keys
 * from there.
 *
 * A piece of S = 1024, D = 64 takes 5,000 of its 17,300 clocks before and after its loop (H200,
 * clock64 in the first of the warpgroups, medians): 600 to find it, 510 for the first scores, 1,470
 * for their softmax and 1,770 for the output, since the warpgroups come there together and a
 * scheduler has the instructions of four warps to issue. With 400 instead of 300 instructions of
 * each for softmax and output these were 1,800 and 2,140.
 */
#ifndef ATTN_CUDA_PREFILL_HOPPER_CUH
#define ATTN_CUDA_PREFILL_HOPPER_CUH

#include "hopper.cuh"
#include "online.cuh"

#include <algorithm>
#include <queue>
#include <vector>

namespace attn {

struct hopper_args;
struct hopper_any_args;

template <int D_, int CLUSTER_, bool ANY_ = false> struct hopper_shape {
    static constexpr bool ANY = ANY_;
    using args = std::conditional_t<ANY, hopper_any_args, hopper_args>;
    static constexpr int D = D_;
    static constexpr int CLUSTER = CLUSTER_; /* blocks that share what they copy */
    static constexpr int CONSUMERS = D == 64 ? 4 : D == 128 ? 3 : 2; /* warpgroups */
    static constexpr int THREADS = (CONSUMERS + 1) * WARPGROUP;
    /* What registers of a launch of THREADS are dealt to: 64 Ki in all. */
    static constexpr int REGISTERS = D == 64 ? 112 : D == 128 ? 160 : 240;
    static constexpr int REGISTERS_COPYING = D <= 128 ? 32 : 24;
    static constexpr int ROWS = 64, KEYS = 64;
    static constexpr int PANELS = D / PANEL;
    static constexpr int PANEL_BYTES = 64 * PANEL * 2; /* of 64 rows or keys */
    static constexpr int TILE_BYTES = PANELS * PANEL_BYTES;
    static constexpr int QUERY_BUFFERS = D <= 128 ? 2 : 1;
    static constexpr int POSTED = 2; /* pieces; with DIRECT one more than has its queries there */
    /* Threads store what they have, and queries are handed back with the last scores; else output
     * goes through the queries' place, which takes fewer instructions. */
    static constexpr bool DIRECT = QUERY_BUFFERS == 1;
    static constexpr int QUERY_BYTES = CONSUMERS * TILE_BYTES;
    static constexpr int STAGES = D <= 128 ? 4 : 2;    /* each of a tile of K and one of V */
    static constexpr int SHARES = CONSUMERS * CLUSTER; /* of a piece */
    static constexpr int INDICES = 8; /* a block that copies is at most 5 pieces ahead of another */
    static_assert(STAGES * 2 % CLUSTER == 0);
    /* Tiles begin at multiples of 1024. */
    static constexpr int SHARED_BYTES =
        1024 + QUERY_BUFFERS * QUERY_BYTES + STAGES * 2 * TILE_BYTES + 512;
    static_assert(SHARED_BYTES <= 227 * 1024);
};

/* A piece of work: the keys of some tiles for `shares` shares of a kv head, one a warpgroup. After
 * the last head of the group comes the first, with the next tile of queries. */
struct __align__(16) hopper_piece {
    int kv_head;              /* of all B Hkv; negative: there is no more */
    int first_tile, end_tile; /* of KEYS keys */
    int shares;
    int query_tile, member; /* of the first share: ROWS queries, head of the group */
    int q_len, kv_len;      /* of the sequence; keys from first_key on */
    int part, parts;        /* of the shares' keys */
    int slot;               /* of part 0, among partial results */
    int first_key;          /* where tile 0 begins; plain: 0 */
};

/* Partial results of a warpgroup, as its threads hold them: [D / 8 + 1][WARPGROUP] float4, the last
 * {max, max, sum, sum}. */
template <typename S> struct hopper_partials {
    static constexpr int PIECES_MAX = 264 / S::CLUSTER; /* two an SM */
    static constexpr int FLOATS = (S::D / 2 + 4) * WARPGROUP;
    static constexpr size_t BYTES = sizeof(float) * FLOATS * S::SHARES * PIECES_MAX;
};

struct hopper_args {
    const hopper_piece *pieces;
    unsigned *next;     /* counts pieces that were asked for; zero between launches */
    unsigned *arrivals; /* [PIECES_MAX][SHARES], zero between launches */
    float *partials;
    void *out;
    float *lse;
    const int32_t *seq_lens; /* NULL: all tokens are valid */
    int count;               /* pieces */
    int group, q_heads, heads;
    int q_len, kv_len;
    int causal; /* 0 or 1 */
    int unseen; /* there may be queries that no piece has */
    softmax_scale scale;
};

/* A query sees the keys from `before` before its place on the diagonal to `behind` behind it. */
struct hopper_any_args : hopper_args {
    int before, behind;
    const float *sinks; /* [Hq] or NULL */
};

/* Buffer and parity of the n-th use of something there are `COUNT` of. */
template <int COUNT> __device__ __forceinline__ int buffer_of(unsigned n) {
    return COUNT == 1 ? 0 : n % COUNT;
}
template <int COUNT> __device__ __forceinline__ uint32_t parity_of(unsigned n) {
    return n / COUNT & 1;
}

/* Where things lie in shared memory. */
template <typename shape> struct hopper_places {
    uint32_t queries, ring, full, empty, queries_full, queries_empty, posted, flags, indices_full,
        indices;

    __device__ __forceinline__ hopper_places(uint32_t base) {
        queries = (base + 1023) & ~1023u;
        ring = queries + shape::QUERY_BUFFERS * shape::QUERY_BYTES;
        full = ring + shape::STAGES * 2 * shape::TILE_BYTES;
        empty = full + 16 * shape::STAGES;
        queries_full = empty + 16 * shape::STAGES;
        queries_empty = queries_full + 16;
        posted = queries_empty + 16;
        flags = posted + shape::POSTED * (int)sizeof(hopper_piece);
        indices_full = flags + 4 * 4;
        indices = indices_full + 8 * shape::INDICES;
    }
    __device__ __forceinline__ uint32_t queries_of(int buffer, int warpgroup) const {
        return queries + buffer * shape::QUERY_BYTES + warpgroup * shape::TILE_BYTES;
    }
    __device__ __forceinline__ uint32_t posted_of(unsigned n) const {
        return posted + buffer_of<shape::POSTED>(n) * (int)sizeof(hopper_piece);
    }
    __device__ __forceinline__ uint32_t tile(int n) const {
        return ring + n * shape::TILE_BYTES;
    }
};

/* Where a tile's keys and values lie: tiles 2 stage and 2 stage + 1 of the ring, whose barriers
 * `parity` is for. */
template <int STAGES> struct ring_place {
    int stage = 0;
    uint32_t parity = 0;

    __device__ __forceinline__ void advance() {
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        if (stage == 0) parity ^= 1;
    }
    __device__ __forceinline__ ring_place before() const {
        return {stage == 0 ? STAGES - 1 : stage - 1, stage == 0 ? parity ^ 1 : parity};
    }
};
enum { KEYS_HALF, VALUES_HALF };

/* What a warpgroup holds of its 64 rows. */
template <typename T, typename shape> struct hopper_rows {
    static constexpr int D = shape::D, KEYS = shape::KEYS;
    float s[KEYS / 2], out[D / 2];
    uint32_t p[KEYS / 16][4];
    float max[2], sum[2], factor[2];
    float minus[2]; /* minus_reference of max */
    bool moved;

    static __device__ __forceinline__ int lane() {
        return threadIdx.x % WARP;
    }
    /* The first of the two rows of this lane, of 64. */
    static __device__ __forceinline__ int row() {
        return threadIdx.x % WARPGROUP / WARP * 16 + lane() / 4;
    }

    __device__ __forceinline__ void start() {
#pragma unroll
        for (int i = 0; i < D / 2; i++) out[i] = 0.f;
        max[0] = max[1] = -INFINITY;
        sum[0] = sum[1] = 0.f;
    }

    /* Begins s = Q K^T; both are operands. */
    __device__ __forceinline__ void begin_scores(uint64_t queries, uint64_t keys) {
        product_fence();
#pragma unroll
        for (int i = 0; i < D / 16; i++) {
            const int at = (i / 4 * shape::PANEL_BYTES + i % 4 * 32) / 16;
            warpgroup_product<T, KEYS>::multiply(s, queries + at, keys + at, i != 0);
        }
        product_commit();
    }

    /* Begins out += P V. */
    __device__ __forceinline__ void begin_values(uint64_t values) {
        product_fence();
#pragma unroll
        for (int i = 0; i < KEYS / 16; i++)
            warpgroup_product<T, D>::multiply_rows(out, p[i], values + i * (2048 / 16));
        product_commit();
    }

    /* Row r sees keys below `seen` + causal r, and none from kv_len on. Which of the lane's scores
     * that leaves are bits of a word, which are tested seven at a time. */
    __device__ __forceinline__ void mask(int first_key, int seen, int kv_len, int causal) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int limit =
                min(seen + causal * (row() + r * 8), kv_len) - first_key - (lane() & 3) * 2;
            const int count = limit < 0 ? 0 : limit / 8 * 2 + min(limit % 8, 2);
            const uint32_t bits = count < KEYS / 4 ? (1u << count) - 1 : ~0u;
#pragma unroll
            for (int i = 0; i < KEYS / 4; i++)
                if (!(bits & 1u << i)) s[i / 2 * 4 + r * 2 + i % 2] = -INFINITY;
        }
    }

    /* Nor does row r see those below `low` + r. */
    __device__ __forceinline__ void mask_low(int first_key, int low) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int limit = low + row() + r * 8 - first_key - (lane() & 3) * 2;
            const int count = limit < 0 ? 0 : limit / 8 * 2 + min(limit % 8, 2);
            const uint32_t bits = count < KEYS / 4 ? (1u << count) - 1 : ~0u;
#pragma unroll
            for (int i = 0; i < KEYS / 4; i++)
                if (bits & 1u << i) s[i / 2 * 4 + r * 2 + i % 2] = -INFINITY;
        }
    }

    /* Whether some row may have outgrown its reference by more than the slack. The bits of positive
     * floats are in order, and three integers are compared at once; where a threshold is not
     * positive, or is NaN, the answer is yes, and follow looks again. */
    __device__ __forceinline__ bool outgrown(float slack) const {
        bool grown = false;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            int x = 0, y = 0;
#pragma unroll
            for (int n = 0; n < KEYS / 2; n += 8) {
                x = __vimax3_s32(x, __float_as_int(s[n + r * 2]), __float_as_int(s[n + 4 + r * 2]));
                y = __vimax3_s32(y, __float_as_int(s[n + r * 2 + 1]),
                                 __float_as_int(s[n + 5 + r * 2]));
            }
            const float limit = max[r] + slack;
            grown |= !(limit > 0.f) || ::max(x, y) > __float_as_int(limit);
        }
        return grown;
    }

    /* Moves the references to the maxima of what was seen so far, FIRST: of the first tile; false:
     * no row outgrew its own after all. `out` is rescaled later, when nothing is being added to it.
     */
    template <bool FIRST> __device__ __forceinline__ bool follow(softmax_scale scale) {
        float top[2];
        bool grown = FIRST;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            top[r] = fmaxf(s[r * 2], s[r * 2 + 1]);
#pragma unroll
            for (int n = 4; n < KEYS / 2; n += 4)
                top[r] = fmaxf(top[r], fmaxf(s[n + r * 2], s[n + r * 2 + 1]));
            grown |= !(top[r] <= max[r] + scale.slack);
        }
        if (!FIRST && !__any_sync(ALL_LANES, grown)) return false;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            top[r] = quad_max(top[r]);
            if (!FIRST) {
                top[r] = fmaxf(top[r], max[r]);
                factor[r] = rescaling(max[r], top[r], scale.to_log2);
                sum[r] *= factor[r];
            }
            max[r] = top[r];
            minus[r] = minus_reference(top[r], scale.to_log2);
        }
        return true;
    }

    /* Weights of the scores in their place. */
    template <bool FIRST> __device__ __forceinline__ void weigh(softmax_scale scale) {
        moved = FIRST || __any_sync(ALL_LANES, outgrown(scale.slack));
        if (moved) moved = follow<FIRST>(scale);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float x = FIRST ? 0.f : sum[r], y = 0.f;
#pragma unroll
            for (int n = 0; n < KEYS / 2; n += 4) {
                float &low = s[n + r * 2], &high = s[n + r * 2 + 1];
                low = exp2_fast(fmaf(low, scale.to_log2, minus[r]));
                high = exp2_fast(fmaf(high, scale.to_log2, minus[r]));
                x += low;
                y += high;
            }
            sum[r] = x + y;
        }
    }

    /* A panel of out times the rows' factors, packed as store_matrix takes 16 columns: row half
     * i % 2, column half i / 2. A mean of finite values is one itself, but a rounded P may say
     * otherwise: only where that happened each element is looked at. */
    __device__ __forceinline__ void normalise(uint32_t (&bits)[4][4], int panel,
                                              const float (&inverse)[2]) const {
        uint32_t largest = 0;
#pragma unroll
        for (int i = 0; i < 16; i++) {
            const float *o = &out[panel * 32 + i / 4 * 8 + i % 4 / 2 * 4 + i % 2 * 2];
            bits[i / 4][i % 4] = number<T>::pack(o[0] * inverse[i % 2], o[1] * inverse[i % 2]);
            largest = number<T>::larger(largest, bits[i / 4][i % 4]);
        }
        if (!number<T>::overflowed(largest)) return;
#pragma unroll
        for (int i = 0; i < 16; i++) {
            const float *o = &out[panel * 32 + i / 4 * 8 + i % 4 / 2 * 4 + i % 2 * 2];
            bits[i / 4][i % 4] = pack_out<T>(o[0] * inverse[i % 2], o[1] * inverse[i % 2]);
        }
    }

    __device__ __forceinline__ void rescale() {
        if (!moved) return;
#pragma unroll
        for (int i = 0; i < D / 2; i++) out[i] *= factor[i / 2 % 2];
    }

    __device__ __forceinline__ void pack() {
#pragma unroll
        for (int i = 0; i < KEYS / 16; i++)
#pragma unroll
            for (int h = 0; h < 4; h++)
                p[i][h] = number<T>::pack(s[i * 8 + h * 2], s[i * 8 + h * 2 + 1]);
    }
};

/* Where a share's rows are. */
struct hopper_rows_place {
    int head, query; /* the first: of all B Hq, of its sequence */
};

/* Of the piece's share `number`. */
template <typename shape>
__device__ __forceinline__ hopper_rows_place hopper_rows_of(const hopper_args &a, int kv_head,
                                                            int query_tile, int member,
                                                            int number) {
    member += number;
    for (; member >= a.group; query_tile++) member -= a.group;
    return {kv_head * a.group + member, query_tile * shape::ROWS};
}

/* Of a cluster's blocks each has a share in turn, so that all have as many keys to go through. */
template <typename shape> __device__ __forceinline__ int hopper_number(int warpgroup, int rank) {
    return shape::CLUSTER == 1 ? warpgroup : warpgroup * shape::CLUSTER + rank;
}

/* What a warpgroup has to do. */
struct hopper_share {
    int head, query;
    int seen;       /* row r sees keys below seen + causal r, of kv_len */
    int end, clear; /* tiles: what is seen ends at, what all rows see whole ends at */
    int low;        /* ANY: and none below low + r */
};

template <typename shape>
__device__ __forceinline__ hopper_share hopper_share_of(const typename shape::args &a,
                                                        const hopper_piece &piece, int number) {
    constexpr int ROWS = shape::ROWS, KEYS = shape::KEYS;
    const hopper_rows_place rows =
        hopper_rows_of<shape>(a, piece.kv_head, piece.query_tile, piece.member, number);
    hopper_share share;
    share.head = rows.head;
    share.query = rows.query;
    share.seen = a.causal ? rows.query + piece.kv_len - piece.q_len + 1 : piece.kv_len;
    if constexpr (shape::ANY) {
        share.low = share.seen - 1 - a.before;
        share.seen += a.behind;
    }
    const int most = min(share.seen + a.causal * (ROWS - 1), piece.kv_len);
    share.end = number < piece.shares ? min((most + KEYS - 1) / KEYS, piece.end_tile) : 0;
    share.clear = max(0, min(share.seen, piece.kv_len)) / KEYS;
    return share;
}

/* The same, with what of its piece it takes to compute it. */
struct hopper_work {
    int first_tile, end_tile; /* the piece's; 0: there is no more */
    int begin;                /* the share's tiles end here */
    int seen, clear, kv_len;
    int low, whole; /* ANY: from tile `whole` on all rows see the first key */
};

__device__ __forceinline__ hopper_piece posted_piece(uint32_t from) {
    hopper_piece piece;
#pragma unroll
    for (int i = 0; i < 3; i++) reinterpret_cast<uint4 *>(&piece)[i] = load_shared(from + i * 16);
    return piece;
}

/* One thread: takes pieces, posts them, and copies their queries, keys and values in the order of
 * their use: from the last tile to the first, K a tile ahead of V. In a cluster the first block
 * asks for pieces and tells the others; they copy stages in turn, each for all. */
template <typename shape>
__device__ __forceinline__ void
hopper_copy(const typename shape::args &a, const hopper_places<shape> &at, int rank,
            const CUtensorMap *q, const CUtensorMap *k, const CUtensorMap *v) {
    constexpr int CLUSTER = shape::CLUSTER;
    ring_place<shape::STAGES> place; /* of the next keys; of values, the one before */
    [[maybe_unused]] int first_key = 0;
    const auto copy = [&](const CUtensorMap *map, const ring_place<shape::STAGES> &place, int half,
                          int tile, int kv_head) {
        const int n = 2 * place.stage + half;
        const uint32_t to = at.tile(n), full = at.full + 8 * n;
        barrier_wait(at.empty + 8 * n, place.parity ^ 1);
        barrier_expect(full, shape::TILE_BYTES);
        int key = tile * shape::KEYS;
        if constexpr (shape::ANY) key += first_key;
        if constexpr (CLUSTER == 1)
            copy_tile(to, map, key, kv_head, full);
        else if (n % CLUSTER == rank)
            copy_tile_to_all<CLUSTER>(to, map, key, kv_head, full);
    };
    const auto copy_keys = [&](int tile, int kv_head) {
        copy(k, place, KEYS_HALF, tile, kv_head);
        place.advance();
    };
    const auto copy_values = [&](int tile, int kv_head, bool last_tile) {
        copy(v, last_tile ? place.before() : place.before().before(), VALUES_HALF, tile, kv_head);
    };
    /* Registers are few: what a piece says is read again where it is needed. */
    const auto words = [&](int piece, int n) {
        return __ldg(reinterpret_cast<const int4 *>(a.pieces + piece) + n);
    };
    prefetch_map(k), prefetch_map(v), prefetch_map(q);
    int index = (int)blockIdx.x / CLUSTER;
    for (unsigned n = 0;; n++) {
        const int buffer = buffer_of<shape::QUERY_BUFFERS>(n);
        const uint32_t queries_full = at.queries_full + 8 * buffer;
        const uint32_t posted = at.posted_of(n);
        const bool more = index < a.count;
        int4 about = {-1, 0, 0, 0}; /* kv head, first and end tile, shares */
        if (more) {
            about = words(index, 0);
            if constexpr (shape::ANY) first_key = words(index, 2).w;
            copy_keys(about.z - 1, about.x);
        }
        barrier_wait(at.queries_empty + 8 * buffer, parity_of<shape::QUERY_BUFFERS>(n) ^ 1);
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
            const hopper_rows_place rows =
                hopper_rows_of<shape>(a, about.x, where.x, where.y, hopper_number<shape>(w, rank));
            copy_tile(at.queries_of(buffer, w), q, rows.query, rows.head, queries_full);
        }
        const int kv_head = about.x, first_tile = about.y;
        int tile = about.z - 1;
        /* Who asks late asks for what others, who have less to do, do not take; but so that the
         * answer is there when the last tile is copied. */
        const int ask = min(tile, first_tile + 2);
#pragma unroll 1
        for (;; tile--) {
            if (tile == ask && rank == 0)
                index = (int)gridDim.x / CLUSTER + (int)atomicInc(a.next, (unsigned)a.count - 1);
            if (tile == first_tile) break;
            copy_keys(tile - 1, kv_head);
            copy_values(tile, kv_head, false);
        }
        copy_values(tile, kv_head, true);
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
        const int q_len = a.seq_lens ? min(__ldg(&a.seq_lens[head / a.q_heads]), a.q_len) : a.q_len;
        const int kv_len = a.seq_lens ? min(q_len, a.kv_len) : a.kv_len;
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

/* Leaves this part of a result for others, or, as the last to arrive, adds all of them up in `x`.
 * By a warpgroup; false: another will. */
template <typename T, typename shape>
__device__ __forceinline__ bool hopper_combine(hopper_rows<T, shape> &x, const hopper_args &a,
                                               const hopper_piece &piece, int warpgroup, int number,
                                               uint32_t flag) {
    constexpr int D = shape::D,
                  STEP = hopper_partials<shape>::FLOATS / 4; /* from one to the next */
    const int thread = threadIdx.x % WARPGROUP;
    const int64_t place = (int64_t)piece.slot * shape::SHARES + number;
    float4 *const first = reinterpret_cast<float4 *>(a.partials) + place * STEP + thread;
    const auto part = [&](int n) { return first + (int64_t)n * (shape::SHARES * STEP); };
    float4 *mine = part(piece.part);
#pragma unroll
    for (int i = 0; i < D / 8; i++)
        mine[i * WARPGROUP] =
            make_float4(x.out[i * 4], x.out[i * 4 + 1], x.out[i * 4 + 2], x.out[i * 4 + 3]);
    mine[D / 8 * WARPGROUP] = make_float4(x.max[0], x.max[1], x.sum[0], x.sum[1]);
    __threadfence();
    named_barrier(1 + warpgroup, WARPGROUP);
    if (thread == 0) /* wraps to zero with the last arrival */
        store_shared(flag, atomicInc(&a.arrivals[place], (unsigned)piece.parts - 1) ==
                               (unsigned)piece.parts - 1);
    named_barrier(1 + warpgroup, WARPGROUP);
    if (load_shared_word(flag) == 0) return false;
    __threadfence();
    x.start();
    for (int n = 0; n < piece.parts; n++) {
        const float4 *from = part(n);
        const float4 stats = __ldcg(from + D / 8 * WARPGROUP);
        const float max[2] = {stats.x, stats.y}, sum[2] = {stats.z, stats.w};
        float kept[2], added[2];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const float top = fmaxf(x.max[r], max[r]);
            kept[r] = rescaling(x.max[r], top, a.scale.to_log2);
            added[r] = rescaling(max[r], top, a.scale.to_log2);
            x.max[r] = top;
            x.sum[r] = x.sum[r] * kept[r] + sum[r] * added[r];
        }
#pragma unroll
        for (int i = 0; i < D / 8; i++) {
            const float4 y = __ldcg(from + i * WARPGROUP);
            float *o = &x.out[i * 4];
            o[0] = o[0] * kept[0] + y.x * added[0];
            o[1] = o[1] * kept[0] + y.y * added[0];
            o[2] = o[2] * kept[1] + y.z * added[1];
            o[3] = o[3] * kept[1] + y.w * added[1];
        }
    }
    return true;
}

/* Lane t of four has word t of each of four rows of words, and gets row t. */
__device__ __forceinline__ void transpose_quad(uint32_t (&x)[4]) {
    const int lane = threadIdx.x;
#pragma unroll
    for (int step = 1; step <= 2; step *= 2) {
        const bool high = lane & step;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (i & step) continue;
            uint32_t &a = x[i], &b = x[i + step];
            const uint32_t other = __shfl_xor_sync(ALL_LANES, high ? a : b, step);
            (high ? a : b) = other;
        }
    }
}

/* Normalises rows and stores them, from registers or by way of `to`, where the queries were; rows
 * beyond the sequence become zeros. */
template <typename T, typename shape>
__device__ __forceinline__ void hopper_finish(const hopper_rows<T, shape> &x,
                                              const typename shape::args &a,
                                              const hopper_piece &piece, int warpgroup, int number,
                                              uint32_t to, const CUtensorMap *out) {
    const hopper_rows_place rows =
        hopper_rows_of<shape>(a, piece.kv_head, piece.query_tile, piece.member, number);
    const int lane = x.lane(), first = rows.query + x.row();
    const int64_t row = (int64_t)rows.head * a.q_len + first;
    const bool ends = rows.query + shape::ROWS > piece.q_len; /* some rows are beyond */
    float total[2], inverse[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        total[r] = quad_sum(x.sum[r]);
        inverse[r] = total[r] > 0.f ? inverse_of(total[r]) : 0.f;
    }
    /* Of the four lanes of two rows two have a logarithm to take. */
    const bool second = lane & 1;
    const int query = first + second * 8;
    if constexpr (shape::ANY) {
        const float sink = a.sinks ? __ldg(&a.sinks[rows.head % a.q_heads]) : -INFINITY;
        row_end end[2];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            end[r] = end_with_sink(reference(x.max[r], a.scale.to_log2), total[r], sink);
            inverse[r] = end[r].factor;
        }
        if ((lane & 2) == 0 && query < a.q_len)
            a.lse[row + second * 8] =
                query < piece.q_len ? (second ? end[1].lse : end[0].lse) : 0.f;
    } else if ((lane & 2) == 0 && query < a.q_len)
        a.lse[row + second * 8] =
            query < piece.q_len ? lse_of(reference(second ? x.max[1] : x.max[0], a.scale.to_log2),
                                         second ? total[1] : total[0])
                                : 0.f;
    uint4 *to_row = static_cast<uint4 *>(a.out) + row * (shape::D / 8) + (lane & 3);
    const int y = threadIdx.x % WARPGROUP / WARP * 16 + (lane & 15), chunk = lane >> 4;
    /* All four warps have read their queries. */
    if (!shape::DIRECT) named_barrier(1 + warpgroup, WARPGROUP);
#pragma unroll
    for (int panel = 0; panel < shape::PANELS; panel++) {
        uint32_t bits[4][4];
        x.normalise(bits, panel, inverse);
        if (ends)
#pragma unroll
            for (int i = 0; i < 16; i++)
                if (first + i % 2 * 8 >= piece.q_len) bits[i / 4][i % 4] = 0;
        if constexpr (shape::DIRECT) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int r = i % 2, half = i / 2 * 2;
                uint32_t w[4] = {bits[half][r], bits[half][r + 2], bits[half + 1][r],
                                 bits[half + 1][r + 2]};
                transpose_quad(w);
                if (!ends || first + r * 8 < a.q_len)
                    to_row[r * 8 * (shape::D / 8) + panel * 8 + half * 2] =
                        make_uint4(w[0], w[1], w[2], w[3]);
            }
        } else {
#pragma unroll
            for (int n = 0; n < 4; n++)
                store_matrix(to + panel * shape::PANEL_BYTES + y * 128 +
                                 (((n * 2 + chunk) ^ (y & 7)) << 4),
                             bits[n]);
        }
    }
    if (shape::DIRECT) return;
    fence_for_async();
    named_barrier(1 + warpgroup, WARPGROUP);
    if (threadIdx.x % WARPGROUP != 0) return;
    store_tile(out, rows.query, rows.head, to);
    store_commit();
}

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
    /* Values past the sequence may be NaN, which weights of 0 do not hide. They are those of the
     * piece's first tile. */
    const auto hide_tail = [&](int kv_len) {
        acquire(place, VALUES_HALF);
        constexpr int CHUNKS = D / 8;
        const int tail = kv_len % KEYS;
        for (int i = threadIdx.x; i < (KEYS - tail) * CHUNKS; i += ALL) {
            const int row = tail + i / CHUNKS, chunk = i % CHUNKS;
            clear_shared(at.tile(2 * place.stage + VALUES_HALF) + chunk / 8 * shape::PANEL_BYTES +
                         row * 128 + chunk % 8 * 16);
        }
        fence_for_async();
        named_barrier(1 + shape::CONSUMERS, ALL);
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
        if (work.kv_len < a.kv_len && work.kv_len % KEYS > 0 && work.end_tile > work.kv_len / KEYS)
            hide_tail(work.kv_len);
        int tile = work.end_tile; /* the last whose keys were taken */
        x.start();
        for (; tile > work.begin; tile--) {
            skip(place, KEYS_HALF);
            skip(place, VALUES_HALF);
            place.advance();
        }
        if (tile == work.first_tile) {
            hand_back(false);
            hand_back(true);
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
            pin(x.out);
            begin_values(values);
            product_wait<0>();
            pin(x.out);
            release(values, VALUES_HALF);
        }
        /* Read again where it is needed, and not by those who may be late. */
        const hopper_piece piece = posted_piece(at.posted_of(n));
        if (number < piece.shares &&
            (piece.parts == 1 ||
             hopper_combine(x, a, piece, warpgroup, number, at.flags + warpgroup * 4)))
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
        } else if (thread == 0) {
            hopper_copy<shape>(a, at, rank, &q, &k, &v);
        }
    }
    /* Nobody leaves while others copy into its memory or arrive at its barriers. */
    if constexpr (shape::CLUSTER > 1) cluster_barrier();
}

/* What prepare leaves for launch. */
struct hopper_state {
    kernel_state *kernel;
    CUtensorMap q, k, v, out;
    hopper_piece *pieces; /* on the device */
    int count;
    int cluster, clusters; /* blocks of one; how many the device holds at once */
    double end;            /* when all is done, in steps of a tile */
};

/* What pieces cost, in steps of one tile of keys. Fitted on an H200 to what the plans of the suite
 * models' prefills take there, sustained. */
struct hopper_costs {
    double piece = 2.5; /* beside its tiles: queries, the first scores, the output */
    double part = 4;    /* to write a partial result and to read it again */
    /* Where two blocks share copies: what is left of all that, at D = 128 and 256, and what it
     * takes once to begin and to end together. */
    double shared_128 = .96, shared_256 = .92, together = 1.2;
};

inline int hopper_bound(int64_t keys) {
    return (int)(keys < NO_BOUND ? keys : NO_BOUND);
}

/* All pieces, undivided, in the order of kv heads. */
template <typename shape>
std::vector<hopper_piece> hopper_pieces(const struct attn_problem *p, const int32_t *seq_lens) {
    const int group = (int)(p->q_heads / p->kv_heads), room = (int)p->q_len;
    const bool causal = p->traits & ATTN_CAUSAL, window = p->traits & ATTN_WINDOW;
    /* Keys are seen from which place on, and to which, as hopper_share_of has it. */
    const bool bounded = shape::ANY || causal;
    const int before = window ? hopper_bound(p->window_left) : NO_BOUND;
    const int behind = causal ? 0 : window ? hopper_bound(p->window_right) : NO_BOUND;
    std::vector<hopper_piece> pieces;
    for (int kv_head = 0; kv_head < (int)(p->batch * p->kv_heads); kv_head++) {
        const int q_len = seq_lens ? std::min(seq_lens[kv_head / p->kv_heads], room) : room;
        const int kv_len = seq_lens ? std::min(q_len, (int)p->kv_len) : (int)p->kv_len;
        const int unseen = /* queries that see no key */
            bounded ? std::max(0, q_len - kv_len - behind) : 0;
        const int shares = ceil_div(q_len, shape::ROWS) * group;
        if (kv_len <= 0) continue;
        for (int first = unseen / shape::ROWS * group; first < shares; first += shape::SHARES) {
            const int count = std::min(shape::SHARES, shares - first);
            const int queries = ((first + count - 1) / group + 1) * shape::ROWS;
            const int seen = bounded ? std::min(queries + kv_len - q_len + behind, kv_len) : kv_len;
            const int first_key =
                std::max(0, first / group * shape::ROWS + kv_len - q_len - before);
            pieces.push_back({.kv_head = kv_head,
                              .first_tile = 0,
                              .end_tile = ceil_div(seen - first_key, shape::KEYS),
                              .shares = count,
                              .query_tile = first / group,
                              .member = first % group,
                              .q_len = q_len,
                              .kv_len = kv_len - first_key,
                              .part = 0,
                              .parts = 1,
                              .slot = 0,
                              .first_key = first_key});
        }
    }
    return pieces;
}

/* Into how many parts of `length` tiles a piece is divided, the last of which may be shorter;
 * length 0: it is whole. */
inline int hopper_parts(int tiles, int length) {
    return length > 0 ? ceil_div(tiles, length) : 1;
}

/* In parts, and heaviest first; but whole pieces of kv heads whose keys and values would not stay
 * in L2 together come one group of kv heads after the other. */
inline std::vector<hopper_piece> hopper_order(const std::vector<hopper_piece> &pieces, int length,
                                              int heads_together) {
    std::vector<hopper_piece> ordered;
    int slots = 0;
    for (hopper_piece piece : pieces) {
        const int tiles = piece.end_tile;
        piece.parts = hopper_parts(tiles, length);
        piece.slot = slots;
        if (piece.parts > 1) slots += piece.parts;
        for (piece.part = 0; piece.part < piece.parts; piece.part++) {
            piece.first_tile = piece.part * length;
            piece.end_tile = piece.parts > 1 ? std::min(tiles, piece.first_tile + length) : tiles;
            ordered.push_back(piece);
        }
    }
    std::stable_sort(ordered.begin(), ordered.end(),
                     [length, heads_together](const hopper_piece &x, const hopper_piece &y) {
                         const int group_x = length > 0 ? 0 : x.kv_head / heads_together,
                                   group_y = length > 0 ? 0 : y.kv_head / heads_together;
                         return group_x != group_y
                                    ? group_x < group_y
                                    : x.end_tile - x.first_tile > y.end_tile - y.first_tile;
                     });
    return ordered;
}

/* When the last of `blocks` is done, if they take pieces one by one. */
inline double hopper_makespan(const std::vector<hopper_piece> &pieces, int blocks) {
    const hopper_costs cost;
    std::priority_queue<double, std::vector<double>, std::greater<double>> until;
    for (int n = 0; n < blocks; n++) until.push(0);
    double end = 0;
    for (const hopper_piece &piece : pieces) {
        const double done = until.top() + (piece.end_tile - piece.first_tile) + cost.piece +
                            (piece.parts > 1 ? cost.part : 0);
        until.pop();
        until.push(done);
        end = std::max(end, done);
    }
    return end;
}

/* The order in which all blocks are done soonest, of pieces that are whole or in parts, `parts_max`
 * of these at most; it matters only where blocks have few pieces each. Lengths are tried a
 * hundredth apart: 48 pieces of 124 tiles keep 66 clusters busy as parts of 97 and 27, not as
 * halves. `end_of_all`: when that is. */
inline std::vector<hopper_piece> hopper_schedule(const std::vector<hopper_piece> &pieces,
                                                 int blocks, int parts_max, int heads_together,
                                                 double *end_of_all) {
    int most = 0;
    for (const hopper_piece &piece : pieces) most = std::max(most, piece.end_tile);
    std::vector<hopper_piece> best = hopper_order(pieces, 0, heads_together);
    double &soonest = *end_of_all = hopper_makespan(best, blocks);
    if ((int64_t)pieces.size() > 8 * (int64_t)blocks) return best;
    for (int length = most - 1; length >= std::max(4, most / 64);
         length -= std::max(1, most / 100)) {
        int parts = 0;
        for (const hopper_piece &piece : pieces) {
            const int n = hopper_parts(piece.end_tile, length);
            parts += n > 1 ? n : 0;
        }
        if (parts > parts_max) break;
        std::vector<hopper_piece> other = hopper_order(pieces, length, heads_together);
        const double end = hopper_makespan(other, blocks);
        if (end < soonest) {
            soonest = end;
            best = std::move(other);
        }
    }
    return best;
}

inline void hopper_prefill_finish(const struct attn_problem *problem, struct attn_call *call) {
    hopper_state *state = static_cast<hopper_state *>(call->state);
    if (!state) return;
    cudaFree(state->pieces);
    call->state = state->kernel;
    delete state;
    kernel_state_free(problem, call);
}

template <typename shape>
const char *hopper_plan(const struct attn_problem *p, const struct attn_call *call,
                        hopper_state *state) {
    constexpr double L2_BYTES = 40e6; /* of 60 MB, what K and V may take */
    const struct attn_tensor *tensors = call->tensors;
    const int32_t *seq_lens =
        p->traits & ATTN_RAGGED ? static_cast<const int32_t *>(tensors[ATTN_SEQ_LENS].host) : NULL;
    const double head_bytes = 4. * (double)p->kv_len * (double)p->head_dim;
    const std::vector<hopper_piece> pieces = hopper_schedule(
        hopper_pieces<shape>(p, seq_lens), state->clusters, hopper_partials<shape>::PIECES_MAX,
        std::max(1, (int)(L2_BYTES / head_bytes)), &state->end);
    if (shape::CLUSTER > 1) {
        const hopper_costs cost;
        state->end *= shape::D == 128 ? cost.shared_128 : cost.shared_256;
        state->end += cost.together;
    }
    state->count = (int)pieces.size();
    if (pieces.empty()) return NULL;

    const int64_t heads = p->batch * p->q_heads, kv_heads = p->batch * p->kv_heads;
    constexpr int D = shape::D, KEYS = shape::KEYS;
    const struct {
        CUtensorMap *map;
        enum attn_slot slot;
        int64_t heads, rows;
        int tile_rows;
    } maps[] = {{&state->q, ATTN_Q, heads, p->q_len, shape::ROWS},
                {&state->k, ATTN_K, kv_heads, p->kv_len, KEYS},
                {&state->v, ATTN_V, kv_heads, p->kv_len, KEYS},
                {&state->out, ATTN_OUT, heads, p->q_len, shape::ROWS}};
    const char *fault = NULL;
    for (const auto &m : maps)
        if (!fault)
            fault = tensor_map_make(m.map, tensors[m.slot].data, m.heads, m.rows, D, m.tile_rows);
    if (fault) return fault;
    const size_t bytes = pieces.size() * sizeof pieces[0];
    cudaError_t error = cudaMalloc((void **)&state->pieces, bytes);
    if (error == cudaSuccess)
        error = cudaMemcpy(state->pieces, pieces.data(), bytes, cudaMemcpyHostToDevice);
    return error == cudaSuccess ? NULL : cudaGetErrorString(error);
}

/* Calls pick(shape{}) with a form's shape for the problem's head dim. */
template <typename FORM, typename Pick>
auto hopper_shape_for(const struct attn_problem *p, Pick &&pick) {
    if (p->head_dim == 64) return pick(typename FORM::template shape<64>{});
    if (p->head_dim == 128) return pick(typename FORM::template shape<128>{});
    return pick(typename FORM::template shape<256>{});
}

/* What a revision is made of: one form or several, of which the plan takes one. */
struct hopper_alone {
    template <int D> using shape = hopper_shape<D, 1>;
};
struct hopper_in_twos {
    template <int D> using shape = hopper_shape<D, D == 64 ? 1 : 2>;
};
struct hopper_any {
    template <int D> using shape = hopper_shape<D, 1, true>;
};

inline bool hopper_is_any(const struct attn_problem *p) {
    return p->traits & (ATTN_WINDOW | ATTN_SINK);
}

inline size_t hopper_prefill_scratch(const struct attn_problem *problem) {
    return hopper_shape_for<hopper_alone>(
        problem, [](auto shape) { return hopper_partials<decltype(shape)>::BYTES; });
}

/* A launch of `clusters` of them; `attribute` is where it says how large they are. */
inline cudaLaunchConfig_t hopper_config(const kernel_state *kernel, int clusters, int cluster,
                                        void *stream, cudaLaunchAttribute *attribute) {
    attribute->id = cudaLaunchAttributeClusterDimension;
    attribute->val.clusterDim = {(unsigned)cluster, 1, 1};
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)(clusters * cluster));
    config.blockDim = dim3((unsigned)kernel->threads);
    config.dynamicSmemBytes = (size_t)kernel->shared_bytes;
    config.stream = static_cast<cudaStream_t>(stream);
    config.attrs = attribute;
    config.numAttrs = cluster > 1;
    return config;
}

/* How many clusters the device holds at once: an SM without a neighbour has none. */
template <typename shape> const char *hopper_count_clusters(hopper_state *state) {
    state->cluster = shape::CLUSTER;
    state->clusters = state->kernel->resident;
    if (shape::CLUSTER == 1) return NULL;
    cudaLaunchAttribute attribute;
    const cudaLaunchConfig_t config = hopper_config(state->kernel, state->clusters / shape::CLUSTER,
                                                    shape::CLUSTER, NULL, &attribute);
    const cudaError_t error =
        cudaOccupancyMaxActiveClusters(&state->clusters, state->kernel->function, &config);
    if (error != cudaSuccess) return cudaGetErrorString(error);
    return state->clusters > 0 ? NULL : "no cluster of blocks fits on this device";
}

/* Leaves in call->state what it takes to launch FORM. */
template <typename FORM>
const char *hopper_prepare_form(const struct attn_problem *problem, struct attn_call *call) {
    using most = typename FORM::template shape<64>;
    const int64_t counters = 1 + hopper_partials<most>::PIECES_MAX * most::SHARES;
    const char *fault = kernel_state_make(problem, call, counters, [](auto type, auto dim) {
        using shape = typename FORM::template shape<decltype(dim)::value>;
        return kernel_choice{(const void *)hopper_prefill_kernel<decltype(type), shape>,
                             shape::THREADS, shape::SHARED_BYTES};
    });
    if (fault) return fault;
    hopper_state *state = new (std::nothrow) hopper_state{};
    if (!state) {
        kernel_state_free(problem, call);
        return "out of host memory";
    }
    state->kernel = static_cast<kernel_state *>(call->state);
    call->state = state;
    fault = hopper_shape_for<FORM>(problem, [&](auto shape) {
        const char *reason = hopper_count_clusters<decltype(shape)>(state);
        return reason ? reason : hopper_plan<decltype(shape)>(problem, call, state);
    });
    if (fault) hopper_prefill_finish(problem, call);
    return fault;
}

/* Of the forms the one that is done first by its plan. */
template <typename FORM, typename... OTHERS>
const char *hopper_prefill_prepare(const struct attn_problem *problem, struct attn_call *call) {
    const char *fault = refuse_but_hopper();
    if (!fault) fault = hopper_prepare_form<FORM>(problem, call);
    [[maybe_unused]] const auto compare = [&](auto form) {
        const int cluster = hopper_shape_for<decltype(form)>(
            problem, [](auto shape) { return decltype(shape)::CLUSTER; });
        if (fault || cluster == static_cast<hopper_state *>(call->state)->cluster) return;
        struct attn_call other = *call;
        fault = hopper_prepare_form<decltype(form)>(problem, &other);
        if (fault) {
            hopper_prefill_finish(problem, call);
            return;
        }
        if (static_cast<hopper_state *>(other.state)->end <
            static_cast<hopper_state *>(call->state)->end)
            std::swap(call->state, other.state);
        hopper_prefill_finish(problem, &other);
    };
    (compare(OTHERS{}), ...);
    return fault;
}

/* The same of a revision that takes windows and sinks, in single blocks. */
template <typename... FORMS>
const char *hopper_prefill_prepare_any(const struct attn_problem *problem, struct attn_call *call) {
    return hopper_is_any(problem) ? hopper_prefill_prepare<hopper_any>(problem, call)
                                  : hopper_prefill_prepare<FORMS...>(problem, call);
}

inline const char *hopper_prefill_launch(const struct attn_problem *problem,
                                         const struct attn_call *call) {
    const char *fault = call_check(problem, call, {ATTN_Q, ATTN_K, ATTN_V});
    if (fault) return fault;
    const hopper_state *state = static_cast<const hopper_state *>(call->state);
    const struct attn_tensor *tensors = call->tensors;
    const bool causal = problem->traits & ATTN_CAUSAL, ragged = problem->traits & ATTN_RAGGED;
    const bool any = hopper_is_any(problem), window = problem->traits & ATTN_WINDOW;
    hopper_any_args args; /* of which the plain kernel's are the beginning */
    args.before = window ? hopper_bound(problem->window_left) : NO_BOUND;
    args.behind = causal ? 0 : window ? hopper_bound(problem->window_right) : NO_BOUND;
    args.sinks = static_cast<const float *>(tensors[ATTN_SINKS].data);
    static_cast<hopper_args &>(args) = {
        .pieces = state->pieces,
        .next = state->kernel->counters,
        .arrivals = state->kernel->counters + 1,
        .partials = static_cast<float *>(call->scratch),
        .out = tensors[ATTN_OUT].data,
        .lse = static_cast<float *>(tensors[ATTN_LSE].data),
        .seq_lens = ragged ? static_cast<const int32_t *>(tensors[ATTN_SEQ_LENS].data) : NULL,
        .count = state->count,
        .group = (int)(problem->q_heads / problem->kv_heads),
        .q_heads = (int)problem->q_heads,
        .heads = (int)(problem->batch * problem->q_heads),
        .q_len = (int)problem->q_len,
        .kv_len = (int)problem->kv_len,
        .causal = causal || any,
        .unseen =
            ragged || problem->kv_len == 0 || ((causal || any) && problem->q_len > problem->kv_len),
        .scale = softmax_scale_of(problem),
    };
    void *parameters[] = {
        const_cast<CUtensorMap *>(&state->q), const_cast<CUtensorMap *>(&state->k),
        const_cast<CUtensorMap *>(&state->v), const_cast<CUtensorMap *>(&state->out), &args};
    const int clusters = args.unseen ? state->clusters : std::min(state->count, state->clusters);
    if (clusters == 0) return NULL;
    cudaLaunchAttribute attribute;
    const cudaLaunchConfig_t config =
        hopper_config(state->kernel, clusters, state->cluster, call->stream, &attribute);
    const cudaError_t error = cudaLaunchKernelExC(&config, state->kernel->function, parameters);
    return error == cudaSuccess ? NULL : cudaGetErrorString(error);
}

} // namespace attn

#endif
