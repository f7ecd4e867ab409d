/* What decode has under way: the shape of a block, and how a warp fills its ring in shared memory
 * (decode.cuh). Of keys and values of 8 bits a piece has half the bytes and its keys' scales behind
 * its rows, and the ring more pieces, so that as many bytes are under way. */
#ifndef ATTN_CUDA_DECODE_RING_CUH
#define ATTN_CUDA_DECODE_RING_CUH

#include "bytes.cuh"
#include "share.cuh"

namespace attn {

template <int DIM, int BLOCK_WARPS, int RING_KIB, int BLOCKS, int ELEMENT> struct decode_form {
    static constexpr int D = DIM;
    static constexpr int BYTES = ELEMENT; /* of an element of K or V */
    static constexpr int WARPS = BLOCK_WARPS;
    static constexpr int THREADS = WARPS * WARP;
    static constexpr int BLOCKS_PER_SM = BLOCKS;
    static constexpr int HEADS = 16;     /* rows of a product */
    static constexpr int WARP_KEYS = 16; /* of a tile */
    static constexpr int TILE = WARPS * WARP_KEYS;
    static constexpr int PARTS = ceil_div(D, 128); /* pieces of a row of K or V */
    static constexpr int PART = D / PARTS;
    static constexpr int PITCH = PART * BYTES;
    static constexpr int WORDS = PITCH / 2;                   /* of 16 bits, in a piece */
    static constexpr int ROWS_BYTES = WARP_KEYS * PITCH;      /* behind them, of 8 bits: */
    static constexpr int SCALES_BYTES = BYTES == 1 ? 128 : 0; /* two floats a key */
    static constexpr int UNIT_BYTES = ROWS_BYTES + SCALES_BYTES;
    static constexpr int UNITS_PER_TILE = 2 * PARTS;   /* K's, then V's */
    static constexpr int RING_BYTES = RING_KIB * 1024; /* of a warp */
    static constexpr int UNITS = RING_BYTES / UNIT_BYTES;
    static_assert(UNITS * UNIT_BYTES + 5 * SCALES_BYTES <= RING_BYTES); /* loader.kept */
    static constexpr int SUM_PITCH = D + 8; /* floats; spreads the rows of C over the banks */
    static constexpr int SHARED_BYTES =
        WARPS * RING_BYTES + HEADS * SUM_PITCH * 4 + (WARPS + 1) * HEADS * 8 + 16;
};

/* 97 KiB for D = 256: every sm_8x has 99, and two blocks fit on an SM of sm_90. */
template <int D, int BYTES = 2> using decode_shape = decode_form<D, 4, 20, 2, BYTES>;

struct decode_args {
    const void *q;
    key_bases bases;
    void *out;
    float *lse;
    partials store;
    int batch, q_heads, kv_heads, group;
    int chunks; /* of 16 query heads or fewer, that one kv head has */
    softmax_scale scale;
};

/* inner = kv head * chunks + chunk */
template <typename Shape, typename Keys> struct decode_segments {
    static constexpr int TILE = Shape::TILE;
    static constexpr int TILES_MIN = 1;
    Keys source;
    int outers, inners;

    __device__ __forceinline__ int keys(int outer) const {
        return source.tokens(outer);
    }
};

/* Fills a warp's ring, UNITS - 1 pieces ahead of their use. */
template <typename Shape, typename Keys> struct decode_loader {
    using shape = Shape;
    static constexpr int D = shape::D;
    const decode_segments<shape, Keys> &segments;
    const decode_args &args;
    uint32_t ring;
    int slot;
    place at;           /* of rows_next */
    int looked, loaded; /* tiles yet to be looked up, to be copied; looked not of 8 bits */
    uint32_t rows, rows_next;
    float scale_next; /* of 8 bits: of lane i's key, of lane 16 + i's value */

    /* Of 8 bits a lane has a word behind the ring for what there is no register for, beside 256
     * columns: the row and the scale of the tile that is copied, and three of at's. */
    enum word { ROW, SCALE, OUTER, INNER, KEYS };
    __device__ __forceinline__ uint32_t kept(word which) const {
        return ring + shape::UNITS * shape::UNIT_BYTES + (which * WARP + threadIdx.x % WARP) * 4;
    }
    __device__ __forceinline__ void keep_place() const {
        store_shared(kept(OUTER), (uint32_t)at.outer);
        store_shared(kept(INNER), (uint32_t)at.inner);
        store_shared(kept(KEYS), (uint32_t)at.keys);
    }

    /* The next of `left` tiles. */
    __device__ __forceinline__ void look_up(int &left) {
        rows_next = NO_ROW;
        if constexpr (shape::BYTES == 1) scale_next = 0.f;
        if (left == 0) return;
        if constexpr (shape::BYTES == 1) {
            at.outer = (int)load_shared_word(kept(OUTER));
            at.inner = (int)load_shared_word(kept(INNER));
            at.keys = (int)load_shared_word(kept(KEYS));
        }
        const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
        const int key = shape::BYTES == 1 ? lane % shape::WARP_KEYS : lane;
        const int token = at.tile * shape::TILE + warp * shape::WARP_KEYS + key;
        const int g = at.inner / args.chunks;
        const uint32_t beginning = segments.source.begin(at.outer, g);
        if (key < shape::WARP_KEYS && token < at.keys) {
            rows_next = segments.source.row(beginning, g, segments.source.first(at.outer) + token);
            if constexpr (shape::BYTES == 1)
                scale_next = segments.source.scale(
                    lane < shape::WARP_KEYS ? segments.source.k_scale : segments.source.v_scale,
                    beginning, g, segments.source.first(at.outer) + token);
        }
        if (--left > 0) at.advance(segments, 1);
        if constexpr (shape::BYTES == 1) keep_place();
    }

    /* Of 8 bits, behind the rows of a tile's last piece of keys: a factor a key, an e a value; of
     * its first piece of values: an f and an inverse (bytes.cuh). */
    template <int UNIT> __device__ __forceinline__ void put_scales(uint32_t to) const {
        const int lane = threadIdx.x % WARP;
        const float scale = load_shared_float(kept(SCALE));
        const value_scale of_value = value_scale_of(scale);
        if constexpr (UNIT == shape::PARTS - 1)
            store_shared(to + lane * 4, lane < shape::WARP_KEYS
                                            ? segments.source.factor(scale, args.scale)
                                            : of_value.e);
        if constexpr (UNIT == shape::PARTS)
            if (lane >= shape::WARP_KEYS) {
                store_shared(to + (lane - shape::WARP_KEYS) * 4, of_value.f);
                store_shared(to + lane * 4, of_value.inverse);
            }
    }

    /* Copies the next piece; UNIT is its number in its tile. */
    template <int UNIT> __device__ __forceinline__ void copy() {
        constexpr int CHUNKS = shape::WORDS / 8, STEP = WARP / CHUNKS;
        int lane = threadIdx.x % WARP;
        forget(lane);
        if constexpr (UNIT == 0 && shape::BYTES == 1) {
            store_shared(kept(ROW), rows_next);
            store_shared(kept(SCALE), scale_next);
            int left = max(loaded - 1, 0);
            look_up(left);
        } else if constexpr (UNIT == 0) {
            rows = rows_next;
            look_up(looked);
        }
        if (loaded > 0) {
            if constexpr (shape::BYTES == 1) rows = load_shared_word(kept(ROW));
            const int column = UNIT % shape::PARTS * shape::WORDS + lane % CHUNKS * 8;
            const uint16_t *base = (UNIT < shape::PARTS ? args.bases.k : args.bases.v) + column;
            const int dim = (UNIT < shape::PARTS ? dim_of<D>(segments.source)
                                                 : value_dim_of<D>(segments.source)) *
                            shape::BYTES / 2;
            const uint32_t to = ring + slot * shape::UNIT_BYTES;
#pragma unroll
            for (int i = 0; i < shape::WARP_KEYS / STEP; i++) {
                const int key = lane / CHUNKS + i * STEP;
                const uint32_t row = __shfl_sync(ALL_LANES, rows, key);
                const bool read = row != NO_ROW && (!Keys::ANY || column < dim);
                copy_async(chunk_address(to, shape::PITCH, key, 0) ^ (lane % CHUNKS << 4),
                           base + (read ? (int64_t)row * dim : 0), read);
            }
            if constexpr (shape::BYTES == 1) put_scales<UNIT>(to + shape::ROWS_BYTES);
        }
        copy_commit();
        if constexpr (UNIT == shape::UNITS_PER_TILE - 1) loaded--;
        slot = slot == shape::UNITS - 1 ? 0 : slot + 1;
    }

    template <int UNIT> __device__ __forceinline__ void fill() {
        if constexpr (UNIT < shape::UNITS - 1) {
            copy<UNIT % shape::UNITS_PER_TILE>();
            fill<UNIT + 1>();
        }
    }

    /* Finds the first rows; fill<0> then asks for keys. */
    __device__ __forceinline__ void open(const place &first, int tiles) {
        at = first;
        if constexpr (shape::BYTES == 1) keep_place();
        slot = 0;
        looked = loaded = tiles;
        look_up(looked);
    }
};

} // namespace attn

#endif
