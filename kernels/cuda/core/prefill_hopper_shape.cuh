/* What the parts of prefill_hopper.cuh share: how large things are and where they lie in shared
 * memory, what a piece of work says, and what of it is a warpgroup's. */
#ifndef ATTN_CUDA_PREFILL_HOPPER_SHAPE_CUH
#define ATTN_CUDA_PREFILL_HOPPER_SHAPE_CUH

#include "hopper.cuh"
#include "keys.cuh"
#include "online.cuh"

namespace attn {

struct hopper_args;
struct hopper_any_args;
struct hopper_paged_args;

constexpr int SHARE_ROWS = 64; /* queries of a warpgroup */
constexpr int TILE_KEYS = 64;  /* of a step */

template <int D_, int CLUSTER_, bool ANY_ = false, bool PAIRS_ = false> struct hopper_shape {
    static constexpr bool ANY = ANY_, PAGED = false;
    using args = std::conditional_t<ANY, hopper_any_args, hopper_args>;
    static constexpr int D = D_;
    /* Of two parts one stays in registers; at D = 256 there are not enough of them. */
    static constexpr bool PAIRS = PAIRS_ && D <= 128;
    static constexpr int CLUSTER = CLUSTER_; /* blocks that share what they copy */
    static constexpr int CONSUMERS = D == 64 ? 4 : D == 128 ? 3 : 2; /* warpgroups */
    static constexpr int THREADS = (CONSUMERS + 1) * WARPGROUP;
    /* What registers of a launch of THREADS are dealt to: 64 Ki in all. */
    static constexpr int REGISTERS = D == 64 ? 112 : D == 128 ? 160 : 240;
    static constexpr int REGISTERS_COPYING = D <= 128 ? 32 : 24;
    static constexpr int ROWS = SHARE_ROWS, KEYS = TILE_KEYS;
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

/* The same for keys in pages, whose kernels all have windows and sinks. */
template <int D> struct hopper_paged_shape : hopper_shape<D, 1, true, true> {
    static constexpr bool PAGED = true;
    using args = hopper_paged_args;
    /* A warp that looks up pages needs more of them than a thread that does not. */
    static constexpr int REGISTERS = D == 256 ? 232 : hopper_shape<D, 1>::REGISTERS;
    static constexpr int REGISTERS_COPYING = D == 256 ? 40 : 32;
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
    int first_key;          /* where tile 0 begins; plain: 0, paged: a multiple of KEYS */
};

/* Partial results of a warpgroup, as its threads hold them: [D / 8 + 1][WARPGROUP] float4, the last
 * {max, max, sum, sum}. */
template <typename S> struct hopper_partials {
    static constexpr int PIECES_MAX = 264 / S::CLUSTER; /* two an SM */
    static constexpr int FLOATS = (S::D / 2 + 4) * WARPGROUP;
    static constexpr size_t BYTES = sizeof(float) * FLOATS * S::SHARES * PIECES_MAX;
    static constexpr int PLACES = PIECES_MAX * S::SHARES;
    static constexpr int STEP = FLOATS / 4 * S::SHARES; /* float4, from one part to the next */
};

struct hopper_args {
    const hopper_piece *pieces;
    unsigned *next; /* counts pieces that were asked for; zero between launches */
    /* [PLACES] counters, and with PAIRS as many words that say whether a part is there; zero
     * between launches. */
    unsigned *arrivals;
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
    const float *sinks;    /* [Hq] or NULL */
    const int32_t *q_lens; /* [B]; NULL: q_len each, or as many as keys */
};

/* A tile is copied in boxes of `box_rows` keys, which lie in one page, and of one panel. */
struct hopper_paged_args : hopper_any_args {
    paged_keys keys;
    int box_rows; /* 8, 16, 32 or 64 */
};

/* Valid tokens of a sequence. */
struct hopper_lengths {
    int q, kv;
};

template <typename shape>
__device__ __forceinline__ hopper_lengths hopper_lengths_of(const typename shape::args &a, int b) {
    if constexpr (shape::PAGED) return {a.q_lens ? __ldg(&a.q_lens[b]) : a.q_len, a.keys.tokens(b)};
    if constexpr (shape::ANY)
        if (a.q_lens) return {__ldg(&a.q_lens[b]), __ldg(&a.seq_lens[b])};
    const int q_len = a.seq_lens ? min(__ldg(&a.seq_lens[b]), a.q_len) : a.q_len;
    return {q_len, a.seq_lens ? min(q_len, a.kv_len) : a.kv_len};
}

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
        indices_full = flags + (shape::PAIRS ? 8 : 4) * 4;
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

} // namespace attn

#endif
