/* What the cores of decode agree on: arguments, sizes, the workspace, and which tiles are a
 * block's. decode.h has the idea. Emulated; never run on a 910B2. */
#ifndef ATTEST_ASCEND_DECODE_TILES_H
#define ATTEST_ASCEND_DECODE_TILES_H

#include "../asc.h"

/* Where token rows lie: page `p`, kv head h, row r is at p * page + h * head + r * row elements.
 * Keys in rows are pages as long as kv_len, one a sequence. */
struct decode_rows {
    __gm__ void *base;
    int64_t page, head, row;
};

struct decode_args {
    decode_rows k, v;
    __gm__ int32_t *indptr, *indices, *last_page_len; /* NULL without pages */
    __gm__ void *q, *out;
    __gm__ float *lse;
    __gm__ char *work;
    int64_t q_batch, q_head; /* strides in elements; of out and lse they are dense */
    int64_t page_size;
    int32_t batch, kv_heads, group, kv_len, head_dim;
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
    int64_t b, h, tile, tiles, length; /* next tile, of how many of the pair */
    int64_t left, end, total, parts;   /* in this part; where it ends in the order of all */
    int32_t segment;
    bool fresh, opened;
};

template <bool paged> __aicore__ inline int64_t decode_length(const decode_args &a, int64_t b) {
    if constexpr (!paged) return a.kv_len;
    const int64_t pages = asc_gm_get(a.indptr + b + 1) - asc_gm_get(a.indptr + b);
    if (pages <= 0) return 0;
    return (pages - 1) * a.page_size + asc_gm_get(a.last_page_len + b);
}

template <bool paged, int keys>
__aicore__ inline void decode_enter(const decode_args &a, decode_walk &w) {
    w.length = decode_length<paged>(a, w.b);
    w.tiles = (w.length + keys - 1) / keys;
}

/* To this block's part. Every core of a block walks it alike. */
template <bool paged, int keys>
__aicore__ inline decode_walk decode_begin(const decode_args &a, int64_t block, int64_t blocks) {
    decode_walk w = {};
    int64_t pairs = 0;
    for (w.b = 0; w.b < a.batch; w.b++) {
        decode_enter<paged, keys>(a, w);
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
        decode_enter<paged, keys>(a, w);
        if (first < w.tiles * a.kv_heads) break;
        first -= w.tiles * a.kv_heads;
    }
    w.h = first / w.tiles;
    w.tile = first % w.tiles;
    return w;
}

/* False: there are no more. */
template <bool paged, int keys>
__aicore__ inline bool decode_next(const decode_args &a, decode_walk &w, decode_place &to) {
    if (w.left == 0) return false;
    if (w.tile == w.tiles) { /* the next pair that has keys */
        w.tile = 0;
        w.h++;
        while (w.h == a.kv_heads || w.tiles == 0) {
            w.h = 0;
            w.b++;
            decode_enter<paged, keys>(a, w);
        }
    }
    if (w.fresh) {
        w.segment++;
        w.opened = w.tile == 0;
    }
    to.b = w.b;
    to.h = w.h;
    to.first = w.tile * keys;
    const int64_t rest = w.length - to.first;
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
