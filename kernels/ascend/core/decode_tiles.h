/* What the cores of decode agree on: arguments, sizes, the workspace, and which tiles are a
 * block's. decode.h has the idea. Emulated; never run on a 910B2. */
#ifndef ATTEST_ASCEND_DECODE_TILES_H
#define ATTEST_ASCEND_DECODE_TILES_H

#include "tokens.h"

struct decode_args {
    tokens kv;
    __gm__ void *q, *out;
    __gm__ float *lse, *sinks; /* sinks: NULL where there are none */
    __gm__ char *work;
    int64_t q_batch, q_head; /* strides in elements; of out and lse they are dense */
    int32_t batch, kv_heads, group, head_dim;
    float scale;
    uint64_t flags_address;
};

/* ---- Sizes ----------------------------------------------------------------------------------- */

static constexpr int decode_m = 16;            /* rows of a product */
static constexpr int decode_rows_max = 8;      /* of a vector core */
static constexpr uint32_t decode_tile = 65536; /* bytes of K */
static constexpr int decode_part_keys = 512;   /* what a part should have at least */
static constexpr float decode_lowest = -3.0e38f;

/* Between cores. */
enum { DECODE_SCORES, DECODE_WEIGHTS, DECODE_PRODUCTS, DECODE_ZEROS, DECODE_ALL };

constexpr int decode_keys(int d) {
    return static_cast<int>(decode_tile / 2) / d;
}

/* A block's workspace, by byte. Two partial results: 0 of a pair begun in an earlier block, 1 of
 * one that begins here. Their m and l: a line of 64 bytes, 8 f32 each, for each vector core. */
template <int D> struct decode_work {
    static constexpr int keys = decode_keys(D);
    static constexpr uint32_t s_bytes = decode_m * keys * 4, p_bytes = decode_m * keys * 2,
                              pv_bytes = decode_m * D * 4;
    static constexpr uint32_t zeros = 0, s = 512, p = s + 2 * s_bytes, pv = p + 2 * p_bytes,
                              o = pv + 2 * pv_bytes, ml = o + 2 * pv_bytes, bytes = ml + 256;
};

/* ---- The tiles of a part --------------------------------------------------------------------- */

struct decode_place {
    int64_t b, h, first; /* the pair, its first key here */
    int32_t count;       /* keys, at least 1 */
    int32_t segment;     /* counts from 0 in this part */
    bool begins, ends;   /* the segment */
    bool opened, closed; /* the segment has the pair's first tile; this tile is the pair's last */
};

struct decode_walk {
    int64_t b, h, tile, tiles;       /* next tile, of how many of the pair */
    token_span seen;                 /* by the pair's queries */
    int64_t left, end, total, parts; /* in this part; where it ends in the order of all */
    int32_t segment;
    bool fresh, opened;
};

/* The keys that a sequence's new token sees: none where there is no such token. */
__aicore__ inline token_span decode_seen(const decode_args &a, token_lengths lengths) {
    if (lengths.q == 0) return {0, 0};
    return tokens_seen(a.kv, lengths, 0, 1);
}

template <int keys> __aicore__ inline void decode_enter(const decode_args &a, decode_walk &w) {
    w.seen = decode_seen(a, tokens_lengths(a.kv, w.b));
    w.tiles = (w.seen.end - w.seen.first + keys - 1) / keys;
}

/* To this block's part. Every core of a block walks it alike. */
template <int keys>
__aicore__ inline decode_walk decode_begin(const decode_args &a, int64_t block, int64_t blocks) {
    decode_walk w = {};
    int64_t pairs = 0;
    for (w.b = 0; w.b < a.batch; w.b++) {
        decode_enter<keys>(a, w);
        w.total += w.tiles * a.kv_heads;
        if (w.tiles > 0) pairs += a.kv_heads;
    }
    constexpr int64_t tiles_min = decode_part_keys / keys;
    const int64_t wanted = (w.total + tiles_min - 1) / tiles_min;
    w.parts = wanted > pairs ? wanted : pairs;
    if (w.parts > blocks) w.parts = blocks;
    if (block >= w.parts) return w;

    int64_t first = w.total * block / w.parts;
    w.end = w.total * (block + 1) / w.parts;
    w.left = w.end - first;
    w.fresh = true;
    w.segment = -1;
    for (w.b = 0;; w.b++) {
        decode_enter<keys>(a, w);
        if (first < w.tiles * a.kv_heads) break;
        first -= w.tiles * a.kv_heads;
    }
    w.h = first / w.tiles;
    w.tile = first % w.tiles;
    return w;
}

/* False: there are no more. */
template <int keys>
__aicore__ inline bool decode_next(const decode_args &a, decode_walk &w, decode_place &to) {
    if (w.left == 0) return false;
    if (w.tile == w.tiles) { /* the next pair that has keys */
        w.tile = 0;
        w.h++;
        while (w.h == a.kv_heads || w.tiles == 0) {
            w.h = 0;
            w.b++;
            decode_enter<keys>(a, w);
        }
    }
    if (w.fresh) {
        w.segment++;
        w.opened = w.tile == 0;
    }
    to.b = w.b;
    to.h = w.h;
    to.first = w.seen.first + w.tile * keys;
    const int64_t rest = w.seen.end - to.first;
    to.count = static_cast<int32_t>(rest < keys ? rest : keys);
    to.segment = w.segment;
    to.begins = w.fresh;
    to.opened = w.opened;
    w.tile++;
    w.left--;
    to.closed = w.tile == w.tiles;
    to.ends = to.closed || w.left == 0;
    w.fresh = to.ends;
    return true;
}

__aicore__ inline int decode_up16(int n) {
    return (n + 15) / 16 * 16;
}

#endif
