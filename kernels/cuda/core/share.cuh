/* Work that is spread evenly over the blocks of one wave, whatever the lengths are.
 *
 * A segment is a run of keys that one softmax sees: a sequence and kv head, or one row's list of
 * tokens. Its keys are cut into tiles, the tiles of all segments are laid end to end, and every
 * block takes an equal part of that line, found on the device from the lengths alone. A block that
 * holds all of a segment writes its result; otherwise the blocks that share it write partial sums,
 * and the last of them to arrive adds these up, in the order of the blocks: the same bits on every
 * run.
 *
 * Segments number outer * inners + inner; all inners of an outer have as many keys. `Segments` has
 *   int outers, inners;  int keys(int outer);  TILE keys make a tile, and a block takes at least
 * TILES_MIN of them, since to merge costs something too. */
#ifndef ATTN_CUDA_SHARE_CUH
#define ATTN_CUDA_SHARE_CUH

#include "online.cuh"

namespace attn {

/* Blocks that may share the work, whatever the device holds: partial sums have room for these. */
constexpr int BLOCKS_MAX = 1024;
struct part {
    int total, parts; /* tiles, blocks */
    int first, end;   /* tiles of this block */

    __device__ __forceinline__ int start_of(int index) const {
        return (int)((int64_t)total * index / parts);
    }
    __device__ __forceinline__ int owner_of(int tile) const {
        return (int)((((int64_t)tile + 1) * parts - 1) / total);
    }
};

/* A tile on the line. */
struct place {
    int outer, inner;
    int tile, tiles, keys; /* in the segment; of it; its keys */

    template <typename Segments>
    __device__ __forceinline__ void open(const Segments &segments, int new_outer) {
        outer = new_outer;
        keys = segments.keys(outer);
        tiles = ceil_div(keys, Segments::TILE);
    }

    /* `count` tiles on, at most to the end of the segment; there must be a tile there. */
    template <typename Segments>
    __device__ __forceinline__ void advance(const Segments &segments, int count) {
        tile += count;
        if (tile < tiles) return;
        tile = 0;
        if (++inner < segments.inners) return;
        inner = 0;
        do open(segments, outer + 1);
        while (tiles == 0);
    }
};

/* What this block has of a line of `total` tiles. */
template <typename Segments> __device__ __forceinline__ part part_of_line(int total) {
    part p;
    p.total = total;
    p.parts = max(1, min((int)gridDim.x, p.total / Segments::TILES_MIN));
    const bool idle = (int)blockIdx.x >= p.parts;
    p.first = idle ? p.total : p.start_of(blockIdx.x);
    p.end = idle ? p.total : p.start_of(blockIdx.x + 1);
    return p;
}

/* Each warp for itself, so that nothing has to wait for the block. */
template <typename Segments> __device__ part part_of_block(const Segments &segments) {
    const int lane = threadIdx.x % WARP;
    int tiles = 0;
#pragma unroll 4
    for (int o = lane; o < segments.outers; o += WARP)
        tiles += ceil_div(segments.keys(o), Segments::TILE);
    return part_of_line<Segments>(__reduce_add_sync(ALL_LANES, tiles) * segments.inners);
}

/* The place of a tile that exists. */
template <typename Segments> __device__ place place_of(const Segments &segments, int tile) {
    const int lane = threadIdx.x % WARP;
    int before = 0;
    for (int base = 0;; base += WARP) {
        const int o = base + lane;
        const int tiles =
            o < segments.outers ? ceil_div(segments.keys(o), Segments::TILE) * segments.inners : 0;
        int through = tiles;
#pragma unroll
        for (int step = 1; step < WARP; step *= 2) {
            const int other = __shfl_up_sync(ALL_LANES, through, step);
            if (lane >= step) through += other;
        }
        const unsigned beyond = __ballot_sync(ALL_LANES, before + through > tile);
        if (beyond) {
            const int owner = __ffs(beyond) - 1;
            const int offset = tile - before - __shfl_sync(ALL_LANES, through - tiles, owner);
            place at{};
            at.open(segments, base + owner);
            at.inner = offset / at.tiles;
            at.tile = offset % at.tiles;
            return at;
        }
        before += __shfl_sync(ALL_LANES, through, WARP - 1);
    }
}

/* Where partial sums wait: for each block two, of the segment it continues and of the one it
 * begins; of each [rows][D] sums, then [rows] pairs {reference, sum of weights}. */
struct partials {
    float *data;
    unsigned *counters; /* one a segment, zero between launches */
    int rows;
};

inline size_t partials_bytes(int64_t rows, int64_t dim) {
    return (size_t)BLOCKS_MAX * 2 * (size_t)((rows * (dim + 2) + 3) / 4 * 4) * sizeof(float);
}

template <int D> __device__ __forceinline__ float *partial_at(const partials &store, int index) {
    return store.data + (size_t)index * ((store.rows * (D + 2) + 3) / 4 * 4);
}

/* One segment's share of a block, in shared memory. ANY: rows of out have `dim` elements, and there
 * may be sinks. */
template <typename T, int D, bool ANY = false> struct segment_sums {
    const float *sums; /* [rows][pitch] */
    int pitch;
    const float2 *stats; /* [rows] {reference, sum of weights} */
    int rows;
    T *out; /* [rows][D] */
    float *lse;
    int number, first_tile, tiles; /* the segment's; its place on the line */
    int dim;
    const float *sinks; /* [rows] or NULL */

    __device__ __forceinline__ row_end end(int row, float r, float sum) const {
        return end_with_sink(r, sum, sinks ? __ldg(&sinks[row]) : -INFINITY);
    }
    /* What the sums of a row are multiplied with, and its lse. */
    __device__ __forceinline__ float factor(int row, float r, float sum) const {
        if constexpr (ANY)
            return end(row, r, sum).factor;
        else
            return sum > 0.f ? inverse_of(sum) : 0.f;
    }
    __device__ __forceinline__ float lse_at(int row, float r, float sum) const {
        if constexpr (ANY)
            return end(row, r, sum).lse;
        else
            return lse_of(r, sum);
    }
    /* Writes the i-th piece of [rows][D], which begins at `column`. */
    template <typename Piece>
    __device__ __forceinline__ void put(int i, int row, int column, Piece piece) const {
        if constexpr (!ANY)
            reinterpret_cast<Piece *>(out)[i] = piece;
        else if (column < dim)
            *reinterpret_cast<Piece *>(out + row * dim + column) = piece;
    }
};

template <typename T, int D, bool ANY>
__device__ void write_result(const segment_sums<T, D, ANY> &s) {
    for (int i = threadIdx.x; i < s.rows * (D / 8); i += blockDim.x) {
        const int row = i / (D / 8), column = i % (D / 8) * 8;
        const float2 stats = s.stats[row];
        const float factor = s.factor(row, stats.x, stats.y);
        const float4 low = *reinterpret_cast<const float4 *>(&s.sums[row * s.pitch + column]);
        const float4 high = *reinterpret_cast<const float4 *>(&s.sums[row * s.pitch + column + 4]);
        s.put(i, row, column,
              make_uint4(pack_out<T>(low.x * factor, low.y * factor),
                         pack_out<T>(low.z * factor, low.w * factor),
                         pack_out<T>(high.x * factor, high.y * factor),
                         pack_out<T>(high.z * factor, high.w * factor)));
        if (column == 0) s.lse[row] = s.lse_at(row, stats.x, stats.y);
    }
}

template <typename T, int D, bool ANY>
__device__ void write_partial(const segment_sums<T, D, ANY> &s, float *to) {
    for (int i = threadIdx.x; i < s.rows * (D / 4); i += blockDim.x) {
        const int row = i / (D / 4), column = i % (D / 4) * 4;
        reinterpret_cast<float4 *>(to)[i] =
            *reinterpret_cast<const float4 *>(&s.sums[row * s.pitch + column]);
    }
    float2 *stats = reinterpret_cast<float2 *>(to + s.rows * D);
    for (int i = threadIdx.x; i < s.rows; i += blockDim.x) stats[i] = s.stats[i];
}

/* Adds up the partial sums of blocks first .. last, by the last of them to arrive: DEPTH at a time,
 * all asked for before the first is used. Loads bypass L1, which does not see what other blocks
 * wrote. */
template <int DEPTH, typename T, int D, bool ANY>
__device__ void combine(const segment_sums<T, D, ANY> &s, const partials &store, int first,
                        int last) {
    for (int i = threadIdx.x; i < s.rows * (D / 4); i += blockDim.x) {
        const int row = i / (D / 4), column = i % (D / 4) * 4;
        float top = -INFINITY, weight = 0.f;
        float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
        for (int base = first; base <= last; base += DEPTH) {
            float2 stats[DEPTH];
            float4 x[DEPTH];
#pragma unroll
            for (int n = 0; n < DEPTH; n++) {
                const int block = base + n;
                const float *from = partial_at<D>(store, 2 * block + (block == first ? 1 : 0));
                stats[n] = make_float2(-INFINITY, 0.f);
                x[n] = make_float4(0.f, 0.f, 0.f, 0.f);
                if (block > last) continue;
                stats[n] = __ldcg(reinterpret_cast<const float2 *>(from + s.rows * D) + row);
                x[n] = __ldcg(reinterpret_cast<const float4 *>(from) + i);
            }
            const float before = top;
#pragma unroll
            for (int n = 0; n < DEPTH; n++) top = fmaxf(top, stats[n].x);
            const float kept = toward(top, before);
            weight *= kept;
            sum = make_float4(sum.x * kept, sum.y * kept, sum.z * kept, sum.w * kept);
#pragma unroll
            for (int n = 0; n < DEPTH; n++) {
                const float factor = toward(top, stats[n].x);
                weight = fmaf(factor, stats[n].y, weight);
                sum.x = fmaf(factor, x[n].x, sum.x);
                sum.y = fmaf(factor, x[n].y, sum.y);
                sum.z = fmaf(factor, x[n].z, sum.z);
                sum.w = fmaf(factor, x[n].w, sum.w);
            }
        }
        const float factor = s.factor(row, top, weight);
        s.put(i, row, column,
              make_uint2(pack_out<T>(sum.x * factor, sum.y * factor),
                         pack_out<T>(sum.z * factor, sum.w * factor)));
        if (column == 0) s.lse[row] = s.lse_at(row, top, weight);
    }
}

/* By all threads of a block, which have written their part of a segment that `others` more blocks
 * have parts of: whether it is the last to come, who then sees all of them. `flag` is shared. */
__device__ __forceinline__ bool arrives_last(unsigned *counter, int others, int *flag) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) /* wraps to zero with the last arrival */
        *flag = atomicInc(counter, (unsigned)others) == (unsigned)others;
    __syncthreads();
    if (!*flag) return false;
    __threadfence();
    return true;
}

/* By all threads of a block once the segment's sums are in shared memory; they may be overwritten
 * after the next barrier. `flag` is shared. */
template <int DEPTH, typename T, int D, bool ANY>
__device__ void settle(const segment_sums<T, D, ANY> &s, const part &p, const partials &store,
                       int *flag) {
    const int first = p.owner_of(s.first_tile), last = p.owner_of(s.first_tile + s.tiles - 1);
    if (first == last) {
        write_result(s);
        return;
    }
    const int index = 2 * (int)blockIdx.x + ((int)blockIdx.x == first ? 1 : 0);
    write_partial(s, partial_at<D>(store, index));
    if (!arrives_last(&store.counters[s.number], last - first, flag)) return;
    combine<DEPTH>(s, store, first, last);
}

} // namespace attn

#endif
