/* Decode in f32 on the FMA units: one query token, over all keys, over those in a window, or over
 * lists; contiguous or in pages.
 *
 * The keys of all sequences and kv heads, or of all lists, are one line of tiles (share.cuh), of
 * which every block of one wave takes an equal part. LANES lanes of a warp hold a row of K or V,
 * QUADS times four elements each. A warp has DEPTH rows a group of lanes under way, of K and of V,
 * all asked for before the first is used, and uses them for HEADS query heads of the kv head: each
 * lane has its elements of q and of the output of each. The HEADS DEPTH sums over the lanes of a
 * row are reduced together, by halves, and leave scores of one head in a lane; there the logit is
 * made, and the weight. In pages and lists a lane looks up one key, a tile ahead.
 *
 * 8 KiB of K and V, in rows of 512 bytes, take a warp about 1,200 instructions for 8 heads and 400
 * for one (sm_90a, f32); in the time that they take at the read rate an SM of an H200 issues 1,700.
 */
#ifndef ATTN_CUDA_FMA_DECODE_CUH
#define ATTN_CUDA_FMA_DECODE_CUH

#include "fma.cuh"

namespace attn {

/* PLAIN: f32, read together. */
template <int ROW_LANES, int ROW_QUADS, int ROW_HEADS, bool IS_PLAIN> struct fma_decode_shape {
    static constexpr bool PLAIN = IS_PLAIN;
    static constexpr int WARPS = 4;
    static constexpr int THREADS = WARPS * WARP;
    static constexpr int LANES = ROW_LANES;
    static constexpr int QUADS = ROW_QUADS;
    static constexpr int HEADS = ROW_HEADS;
    static constexpr int D = LANES * QUADS * 4;
    static constexpr int DEPTH = 8 / QUADS;
    static constexpr int GROUPS = WARP / LANES;
    static constexpr int WARP_KEYS = GROUPS * DEPTH;
    static constexpr int TILE = WARPS * WARP_KEYS;
    /* Sums over a row's lanes, of which a lane is left with SCORES, of one head: numbered by half
     * of the rows, head, and row in its half. ALIKE lanes have the same; HEAD_LANES neighbours have
     * those of one head and half. */
    static constexpr int SUMS = HEADS * DEPTH;
    static constexpr int SCORES = SUMS > LANES ? SUMS / LANES : 1;
    static constexpr int ALIKE = SUMS < LANES ? LANES / SUMS : 1;
    static constexpr int HALVES = DEPTH > 1 ? 2 : 1;
    static constexpr int HALF = DEPTH / HALVES;
    static constexpr int HEAD_LANES = LANES / (HEADS * HALVES);
    static __device__ constexpr int number(int head, int row) {
        return (row / HALF * HEADS + head) * HALF + row % HALF;
    }
    static constexpr int SHARED_BYTES = ((WARPS + 1) * HEADS * (D + 2)) * 4 + 16;
    static constexpr int BLOCKS_PER_SM = HEADS == 1 && QUADS < 8 ? 3 : 2; /* by registers */
    static_assert(SCORES <= HALF && HEADS * HALVES <= LANES);
};

struct fma_segments {
    int outers, inners;
    const fma_args &a;
    bool lists;

    /* Of a list, or of the window of a sequence, if it asks a query. */
    __device__ __forceinline__ int keys(int outer) const {
        const int b = lists ? outer / a.q_heads : outer;
        if (fma_q_len(a, b) == 0) return 0;
        return lists ? __ldg(&a.nnz[outer]) : min(fma_kv_len(a, b), a.before + 1);
    }
};

template <typename Shape> struct fma_decode_segments : fma_segments {
    static constexpr int TILE = Shape::TILE;
    static constexpr int TILES_MIN = 1;
};

/* What a lane knows of a key; where a tile has no more, of the last. */
struct fma_key {
    uint32_t row;
    int token;
    float k_scale, v_scale;
};

/* Looks up keys along a block's tiles. */
template <typename Shape> struct fma_lookup {
    const fma_decode_segments<Shape> &segments;
    const fma_args &a;
    place at;
    int left;        /* tiles */
    int b, g, first; /* of the segment; first: token, but of lists */

    __device__ __forceinline__ void enter() {
        b = segments.lists ? at.outer / a.q_heads : at.outer;
        g = segments.lists ? (at.outer - b * a.q_heads) / a.group : at.inner / a.chunks;
        first = segments.lists ? 0 : fma_kv_len(a, b) - at.keys;
    }

    __device__ __forceinline__ fma_key next() {
        fma_key key = {0, 0, 1.f, 1.f};
        if (left == 0) return key;
        const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
        if (lane < Shape::WARP_KEYS) {
            const int i = min(at.tile * Shape::TILE + warp * Shape::WARP_KEYS + lane, at.keys - 1);
            key.token = segments.lists ? __ldg(&a.ind[at.outer * a.kept_max + i]) : first + i;
            key.row = fma_row(a, b, g, key.token);
            if (!Shape::PLAIN && a.k_scale) {
                key.k_scale = fma_scale(a, a.k_scale, g, key.row);
                key.v_scale = fma_scale(a, a.v_scale, g, key.row);
            }
        }
        if (--left > 0) {
            at.advance(segments, 1);
            if (at.tile == 0) enter();
        }
        return key;
    }
};

/* The query heads of a segment. */
struct fma_heads {
    int b, first, count;
};

__device__ __forceinline__ fma_heads fma_heads_of(const fma_args &a, const place &at, int most,
                                                  bool lists) {
    if (lists) return {at.outer / a.q_heads, at.outer % a.q_heads, 1};
    const int g = at.inner / a.chunks, done = at.inner % a.chunks * most;
    return {at.outer, g * a.group + done, min(most, a.group - done)};
}

/* x[n] summed over the LANES lanes of a group: lane l of it is left with sums l N / LANES and on,
 * in place of the first. */
template <int LANES, int N> __device__ __forceinline__ void fma_reduce(float (&x)[N]) {
    const int lane = threadIdx.x % WARP;
    int count = N;
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2) {
        if (count > 1) {
            count /= 2;
#pragma unroll
            for (int n = 0; n < N / 2; n++) {
                if (n >= count) continue;
                const bool upper = lane & step;
                const float other = __shfl_xor_sync(ALL_LANES, upper ? x[n] : x[n + count], step);
                x[n] = (upper ? x[n + count] : x[n]) + other;
            }
        } else {
            x[0] += __shfl_xor_sync(ALL_LANES, x[0], step);
        }
    }
}

template <typename Shape> struct fma_decode_warp {
    static constexpr int HEADS = Shape::HEADS, QUADS = Shape::QUADS, DEPTH = Shape::DEPTH;
    static constexpr int LANES = Shape::LANES, SCORES = Shape::SCORES;

    const fma_args &a;
    float4 q[HEADS][QUADS], out[HEADS][QUADS];
    float sum, max; /* of the lane's head, in log2: of the scores it had, of the warp's */
    float q_norm;   /* MagicPIG's, of one head */

    static __device__ __forceinline__ int lane() {
        return threadIdx.x % WARP;
    }
    static __device__ __forceinline__ int column(int n) {
        return (lane() % LANES + n * LANES) * 4;
    }
    /* The head whose scores this lane has, and the first row of these in its group. */
    static __device__ __forceinline__ int own_head() {
        return lane() % LANES / Shape::HEAD_LANES % HEADS;
    }
    static __device__ __forceinline__ int own_row() {
        const int number = lane() % LANES / Shape::ALIKE * SCORES;
        return number / (HEADS * Shape::HALF) * Shape::HALF + number % Shape::HALF;
    }
    /* Calls with(step) for every step between lanes that have scores of one head. */
    template <typename With>
    static __device__ __forceinline__ void over_head(int first_step, With &&with) {
#pragma unroll
        for (int step = 1; step < WARP; step *= 2) {
            const bool same = step < Shape::HEAD_LANES || step >= LANES ||
                              (Shape::HALVES == 2 && step == LANES / 2);
            if (same && step >= first_step) with(step);
        }
    }

    __device__ __forceinline__ void start(const fma_heads &heads) {
#pragma unroll
        for (int h = 0; h < HEADS; h++)
#pragma unroll
            for (int n = 0; n < QUADS; n++) {
                const int64_t row = (int64_t)heads.b * a.q_heads + heads.first + h;
                const int left = h < heads.count ? a.dim - column(n) : 0;
                q[h][n] = widen_four(read_four(a.q, left > 0 ? row * a.dim + column(n) : 0, left,
                                               a.dtype, a.together),
                                     a.dtype, a.together);
                out[h][n] = make_float4(0.f, 0.f, 0.f, 0.f);
            }
        sum = 0.f;
        max = -INFINITY;
        if (HEADS == 1 && a.lsh_k) {
            float square = 0.f;
#pragma unroll
            for (int n = 0; n < QUADS; n++) square = dot(q[0][n], q[0][n], square);
#pragma unroll
            for (int step = 1; step < LANES; step *= 2)
                square += __shfl_xor_sync(ALL_LANES, square, step);
            q_norm = sqrtf(square);
        }
    }

    static __device__ __forceinline__ float dot(float4 x, float4 y, float more) {
        return fmaf(x.w, y.w, fmaf(x.z, y.z, fmaf(x.y, y.y, fmaf(x.x, y.x, more))));
    }

    /* Rows of the group as they are stored. */
    __device__ __forceinline__ void read(uint4 (&bits)[DEPTH][QUADS], const void *base,
                                         uint32_t found, int pitch, int dim) const {
        const int first = lane() / LANES * DEPTH;
#pragma unroll
        for (int i = 0; i < DEPTH; i++) {
            const int64_t row = (int64_t)__shfl_sync(ALL_LANES, found, first + i) * pitch;
#pragma unroll
            for (int n = 0; n < QUADS; n++) {
                if constexpr (Shape::PLAIN)
                    bits[i][n] = read_four(base, row + column(n), dim - column(n), ATTN_F32, true);
                else
                    bits[i][n] =
                        read_four(base, row + column(n), dim - column(n), a.kv_dtype, a.together);
            }
        }
    }

    /* Of which `keys` are the warp's; the rest are not to be, not even times 0. */
    static __device__ __forceinline__ void clear(uint4 (&bits)[DEPTH][QUADS], int keys) {
#pragma unroll
        for (int i = 0; i < DEPTH; i++)
#pragma unroll
            for (int n = 0; n < QUADS; n++)
                if (lane() / LANES * DEPTH + i >= keys) bits[i][n] = make_uint4(0, 0, 0, 0);
    }

    __device__ __forceinline__ float4 widen(uint4 bits) const {
        if constexpr (Shape::PLAIN)
            return widen_four(bits, ATTN_F32, true);
        else
            return widen_four(bits, a.kv_dtype, a.together);
    }

    __device__ __forceinline__ float product(int head, const uint4 (&bits)[QUADS]) const {
        float sum = 0.f;
#pragma unroll
        for (int n = 0; n < QUADS; n++) sum = dot(q[head][n], widen(bits[n]), sum);
        return sum;
    }

    /* q.k of this lane's scores, the scale of k not yet in it. */
    __device__ __forceinline__ void score(float (&s)[SCORES],
                                          const uint4 (&bits)[DEPTH][QUADS]) const {
        constexpr int HALF = Shape::HALF;
        float x[HEADS * HALF];
#pragma unroll
        for (int i = 0; i < HALF; i++)
#pragma unroll
            for (int h = 0; h < HEADS; h++) {
                x[h * HALF + i] = product(h, bits[i]);
                if constexpr (Shape::HALVES == 2) { /* at once, to save registers */
                    const float other = product(h, bits[i + HALF]);
                    const bool upper = lane() & LANES / 2;
                    x[h * HALF + i] =
                        (upper ? other : x[h * HALF + i]) +
                        __shfl_xor_sync(ALL_LANES, upper ? x[h * HALF + i] : other, LANES / 2);
                }
            }
        fma_reduce<LANES / Shape::HALVES>(x);
#pragma unroll
        for (int e = 0; e < SCORES; e++) s[e] = x[e];
    }

    /* What MagicPIG takes from the logit of this lane's key, of q.k = product. */
    __device__ __forceinline__ float magicpig(const uint4 (&bits)[DEPTH][QUADS], float product,
                                              float scale, int row) const {
        float square[DEPTH];
#pragma unroll
        for (int i = 0; i < DEPTH; i++) {
            square[i] = 0.f;
#pragma unroll
            for (int n = 0; n < QUADS; n++) {
                const float4 k = widen(bits[i][n]);
                square[i] = dot(k, k, square[i]);
            }
        }
        fma_reduce<LANES>(square);
        return magicpig_log_u(product, q_norm, sqrtf(square[0]) * scale, __ldg(&a.lsh_k[row]),
                              __ldg(&a.lsh_l[row]));
    }

    /* Moves the references if some key's logit outgrew its head's by more than the slack. */
    __device__ __forceinline__ void follow(const float (&x)[SCORES]) {
        float top = x[0];
#pragma unroll
        for (int e = 1; e < SCORES; e++) top = fmaxf(top, x[e]);
        if (!__any_sync(ALL_LANES, top > max + P_SLACK)) return;
        float max_new = fmaxf(max, top);
        over_head(1, [&](int step) {
            max_new = fmaxf(max_new, __shfl_xor_sync(ALL_LANES, max_new, step));
        });
        const float kept = toward(max_new, max);
        max = max_new;
        sum *= kept;
#pragma unroll
        for (int h = 0; h < HEADS; h++) {
            const float of_head = __shfl_sync(ALL_LANES, kept, h * Shape::HEAD_LANES);
#pragma unroll
            for (int n = 0; n < QUADS; n++) out[h][n] = times(out[h][n], of_head);
        }
    }

    /* The first `keys` of those that `key` is of, one a lane. */
    __device__ __forceinline__ void add_tile(const fma_key &key, const fma_heads &heads,
                                             const uint4 (&k)[DEPTH][QUADS],
                                             const uint4 (&v)[DEPTH][QUADS], int keys, int kv_len) {
        const int first = lane() / LANES * DEPTH;
        float s[SCORES], x[SCORES], p[SCORES];
        score(s, k);
#pragma unroll
        for (int e = 0; e < SCORES; e++) {
            const int from = first + own_row() + e;
            const bool there = from < keys;
            float product = s[e];
            float k_scale = 1.f;
            if (!Shape::PLAIN) {
                k_scale = __shfl_sync(ALL_LANES, key.k_scale, from);
                product *= k_scale;
            }
            x[e] = product * a.to_log2;
            if (a.changes) {
                const int token = __shfl_sync(ALL_LANES, key.token, from);
                const int head = heads.first + min(own_head(), heads.count - 1);
                float less = 0.f;
                if constexpr (HEADS == 1)
                    if (a.lsh_k) less = magicpig(k, product, k_scale, heads.b * a.q_heads + head);
                const fma_logits logits(a, heads.b, head, 0, kv_len - 1);
                x[e] = there ? logits(a, product, token, less) : 0.f;
            }
            if (!there) x[e] = -INFINITY;
        }
        follow(x);
#pragma unroll
        for (int e = 0; e < SCORES; e++) {
            p[e] = x[e] == -INFINITY ? 0.f : exp2f(x[e] - max);
            sum += p[e];
            if (!Shape::PLAIN) p[e] *= __shfl_sync(ALL_LANES, key.v_scale, first + own_row() + e);
        }
#pragma unroll
        for (int i = 0; i < DEPTH; i++) {
            float weight[HEADS];
#pragma unroll
            for (int h = 0; h < HEADS; h++) {
                const int n = Shape::number(h, i); /* which lane has it, and where */
                weight[h] = __shfl_sync(ALL_LANES, p[n % SCORES],
                                        lane() / LANES * LANES + n / SCORES * Shape::ALIKE);
            }
#pragma unroll
            for (int n = 0; n < QUADS; n++) {
                const float4 y = widen(v[i][n]);
#pragma unroll
                for (int h = 0; h < HEADS; h++) out[h][n] = add_times(weight[h], y, out[h][n]);
            }
        }
    }

    /* Adds the warps' sums, in their order: sums [HEADS][D], stats [HEADS]. `room` has a
     * [HEADS][D] and [HEADS] pairs for each warp. */
    __device__ __forceinline__ void merge(float *sums, float2 *stats, float *room) {
        constexpr int D = Shape::D, WARPS = Shape::WARPS;
        const int warp = threadIdx.x / WARP;
        float2 *warp_stats = reinterpret_cast<float2 *>(room + WARPS * HEADS * D);
        float weight = sum;
        over_head(Shape::ALIKE,
                  [&](int step) { weight += __shfl_xor_sync(ALL_LANES, weight, step); });

#pragma unroll
        for (int step = LANES; step < WARP; step *= 2) {
#pragma unroll
            for (int h = 0; h < HEADS; h++)
#pragma unroll
                for (int n = 0; n < QUADS; n++) {
                    float4 &x = out[h][n];
                    x.x += __shfl_xor_sync(ALL_LANES, x.x, step);
                    x.y += __shfl_xor_sync(ALL_LANES, x.y, step);
                    x.z += __shfl_xor_sync(ALL_LANES, x.z, step);
                    x.w += __shfl_xor_sync(ALL_LANES, x.w, step);
                }
        }
        if (lane() < LANES) {
#pragma unroll
            for (int h = 0; h < HEADS; h++)
#pragma unroll
                for (int n = 0; n < QUADS; n++)
                    *reinterpret_cast<float4 *>(&room[(warp * HEADS + h) * D + column(n)]) =
                        out[h][n];
            if (lane() % Shape::HEAD_LANES == 0 && lane() < Shape::HEAD_LANES * HEADS)
                warp_stats[warp * HEADS + own_head()] = make_float2(max, weight);
        }
        __syncthreads();
        for (int i = threadIdx.x; i < HEADS * (D / 4); i += Shape::THREADS) {
            const int head = i / (D / 4);
            float top = -INFINITY, total = 0.f;
#pragma unroll
            for (int w = 0; w < WARPS; w++) top = fmaxf(top, warp_stats[w * HEADS + head].x);
            float4 x = make_float4(0.f, 0.f, 0.f, 0.f);
#pragma unroll
            for (int w = 0; w < WARPS; w++) {
                const float2 of_warp = warp_stats[w * HEADS + head];
                const float factor = toward(top, of_warp.x);
                total = fmaf(factor, of_warp.y, total);
                x = add_times(factor,
                              reinterpret_cast<const float4 *>(room)[w * HEADS * (D / 4) + i], x);
            }
            reinterpret_cast<float4 *>(sums)[i] = x;
            if (i % (D / 4) == 0) stats[head] = make_float2(top, total);
        }
        __syncthreads();
    }
};

/* Column i of sums [heads][D], which are complete. */
template <int D>
__device__ __forceinline__ void fma_put(const fma_args &a, const fma_heads &heads, int i,
                                        float2 stats, float4 x) {
    const int head = heads.first + i / (D / 4), column = i % (D / 4) * 4;
    const int64_t row = (int64_t)heads.b * a.q_heads + head;
    const row_end end =
        end_with_sink(stats.x, stats.y, a.sinks ? __ldg(&a.sinks[head]) : -INFINITY);
    write_four(a.out, row * a.value_dim + column, a.value_dim - column, times(x, end.factor),
               a.dtype, a.together);
    if (column == 0) a.lse[row] = end.lse;
}

/* As settle of share.cuh: one block's share of a segment, or the last to arrive for all. */
template <int D>
__device__ __forceinline__ void fma_settle(const fma_args &a, const fma_heads &heads,
                                           const float *sums, const float2 *stats, const part &p,
                                           int number, int first_tile, int tiles, int *flag) {
    const int first = p.owner_of(first_tile), last = p.owner_of(first_tile + tiles - 1);
    const int columns = heads.count * (D / 4), stats_at = a.store.rows * D;
    if (first == last) {
        for (int i = threadIdx.x; i < columns; i += blockDim.x)
            fma_put<D>(a, heads, i, stats[i / (D / 4)], reinterpret_cast<const float4 *>(sums)[i]);
        return;
    }
    const bool begins = (int)blockIdx.x == first;
    float *to = partial_at<D>(a.store, 2 * (int)blockIdx.x + (begins ? 1 : 0));
    for (int i = threadIdx.x; i < columns; i += blockDim.x)
        reinterpret_cast<float4 *>(to)[i] = reinterpret_cast<const float4 *>(sums)[i];
    for (int i = threadIdx.x; i < heads.count; i += blockDim.x)
        reinterpret_cast<float2 *>(to + stats_at)[i] = stats[i];
    if (!arrives_last(&a.store.counters[number], last - first, flag)) return;
    constexpr int DEPTH = 8;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) {
        float2 all = make_float2(-INFINITY, 0.f);
        float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
        for (int base = first; base <= last; base += DEPTH) {
            float2 pairs[DEPTH];
            float4 x[DEPTH];
#pragma unroll
            for (int n = 0; n < DEPTH; n++) {
                const int block = base + n;
                const float *from = partial_at<D>(a.store, 2 * block + (block == first ? 1 : 0));
                pairs[n] = make_float2(-INFINITY, 0.f);
                x[n] = make_float4(0.f, 0.f, 0.f, 0.f);
                if (block > last) continue;
                pairs[n] = __ldcg(reinterpret_cast<const float2 *>(from + stats_at) + i / (D / 4));
                x[n] = __ldcg(reinterpret_cast<const float4 *>(from) + i);
            }
            float top = all.x;
#pragma unroll
            for (int n = 0; n < DEPTH; n++) top = fmaxf(top, pairs[n].x);
            const float kept = toward(top, all.x);
            all = make_float2(top, all.y * kept);
            sum = times(sum, kept);
#pragma unroll
            for (int n = 0; n < DEPTH; n++) {
                const float factor = toward(top, pairs[n].x);
                all.y = fmaf(factor, pairs[n].y, all.y);
                sum = add_times(factor, x[n], sum);
            }
        }
        fma_put<D>(a, heads, i, all, sum);
    }
}

/* Rows of segments without a key belong to no tile. */
__device__ __forceinline__ void fma_clear(const fma_args &a, const fma_segments &segments) {
    const int rows = a.batch * a.q_heads, fours = ceil_div(a.value_dim, 4);
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        const int b = row / a.q_heads;
        if (segments.keys(segments.lists ? row : b) > 0) continue;
        for (int i = threadIdx.x; i < fours; i += blockDim.x)
            write_four(a.out, (int64_t)row * a.value_dim + i * 4, a.value_dim - i * 4,
                       make_float4(0.f, 0.f, 0.f, 0.f), a.dtype, a.together);
        if (threadIdx.x > 0) continue;
        const float sink = a.sinks ? __ldg(&a.sinks[row - b * a.q_heads]) : -INFINITY;
        a.lse[row] = fma_q_len(a, b) == 0 ? 0.f : sink;
    }
}

template <typename Shape>
__global__ void __launch_bounds__(Shape::THREADS, Shape::BLOCKS_PER_SM)
    fma_decode_kernel(const fma_args a) {
    constexpr int D = Shape::D;
    extern __shared__ __align__(1024) unsigned char shared[];
    float *room = reinterpret_cast<float *>(shared);
    float *sums = room + Shape::WARPS * Shape::HEADS * (D + 2);
    float2 *stats = reinterpret_cast<float2 *>(sums + Shape::HEADS * D);
    int *flag = reinterpret_cast<int *>(stats + Shape::HEADS);

    const bool lists = a.nnz;
    const int warp = threadIdx.x / WARP;
    const fma_decode_segments<Shape> segments{
        {lists ? a.batch * a.q_heads : a.batch, lists ? 1 : a.kv_heads * a.chunks, a, lists}};
    const part mine = part_of_block(segments);
    if (mine.first < mine.end) {
        place at = place_of(segments, mine.first);
        fma_lookup<Shape> lookup{segments, a, at, mine.end - mine.first};
        lookup.enter();
        fma_key key = lookup.next();
        fma_decode_warp<Shape> state{a};

        for (int tile = mine.first; tile < mine.end;) {
            const int count = min(at.tiles - at.tile, mine.end - tile);
            const fma_heads heads = fma_heads_of(a, at, Shape::HEADS, lists);
            const int kv_len = fma_kv_len(a, heads.b);
            state.start(heads);
            for (int n = 0; n < count; n++) {
                const int keys = min(Shape::WARP_KEYS, at.keys - (at.tile + n) * Shape::TILE -
                                                           warp * Shape::WARP_KEYS);
                uint4 k[Shape::DEPTH][Shape::QUADS], v[Shape::DEPTH][Shape::QUADS];
                state.read(k, a.k, key.row, a.dim, a.dim);
                state.read(v, a.v, key.row, a.v_pitch, a.value_dim);
                const fma_key next = lookup.next();
                if (keys < Shape::WARP_KEYS) {
                    state.clear(k, keys);
                    state.clear(v, keys);
                }
                state.add_tile(key, heads, k, v, keys, kv_len);
                key = next;
            }
            state.merge(sums, stats, room);
            fma_settle<D>(a, heads, sums, stats, mine, at.outer * segments.inners + at.inner,
                          tile - at.tile, at.tiles, flag);
            __syncthreads();
            tile += count;
            if (tile < mine.end) at.advance(segments, count);
        }
    }
    fma_clear(a, segments);
}

/* What a row of lanes has room for, and how many query heads of a kv head share its keys in a
 * block: the kernel that is chosen for a problem. */
struct fma_decode_form {
    int dim, heads;
    bool plain;
};

inline fma_decode_form fma_decode_form_of(const struct attn_problem *p) {
    const uint64_t of_8_bits = ATTN_KV_E4M3 | ATTN_KV_INT8;
    const int64_t most = p->head_dim > p->value_dim ? p->head_dim : p->value_dim;
    const bool plain = p->dtype == ATTN_F32 && !(p->traits & of_8_bits) && p->head_dim % 4 == 0 &&
                       p->value_dim % 4 == 0 && most <= 256;
    const int dim = most <= 64 && plain ? 64 : most <= 128 ? 128 : most <= 256 ? 256 : 1024;
    const bool alone = plain && dim <= 128 && p->q_heads == p->kv_heads;
    const bool one = alone || dim > 256 || p->traits & ATTN_KEEP;
    return {dim, one ? 1 : dim <= 128 ? 8 : 4, plain};
}

inline int64_t fma_decode_chunks(const struct attn_problem *p) {
    const int64_t group = p->traits & ATTN_KEEP ? 1 : p->q_heads / p->kv_heads;
    const int heads = fma_decode_form_of(p).heads;
    return (group + heads - 1) / heads;
}

inline size_t fma_decode_scratch_bytes(const struct attn_problem *p) {
    const fma_decode_form form = fma_decode_form_of(p);
    return partials_bytes(form.heads, form.dim);
}

/* LISTS: of lists alone, which have one head each. */
template <bool LISTS> kernel_choice fma_decode_choice(const fma_decode_form &form) {
    const auto of = [](auto shape) -> kernel_choice {
        using Shape = decltype(shape);
        return {(const void *)fma_decode_kernel<Shape>, Shape::THREADS, Shape::SHARED_BYTES};
    };
    if (form.plain && form.heads == 1 && form.dim == 64)
        return of(fma_decode_shape<16, 1, 1, true>{});
    if (form.plain && form.heads == 1 && form.dim == 128)
        return of(fma_decode_shape<32, 1, 1, true>{});
    if constexpr (LISTS) {
        if (form.plain) return of(fma_decode_shape<32, 2, 1, true>{});
        if (form.dim == 128) return of(fma_decode_shape<32, 1, 1, false>{});
        if (form.dim == 256) return of(fma_decode_shape<32, 2, 1, false>{});
        return of(fma_decode_shape<32, 8, 1, false>{});
    } else {
        if (form.plain && form.dim == 64) return of(fma_decode_shape<16, 1, 8, true>{});
        if (form.plain && form.dim == 128) return of(fma_decode_shape<32, 1, 8, true>{});
        if (form.plain) return of(fma_decode_shape<32, 2, 4, true>{});
        if (form.dim == 128) return of(fma_decode_shape<32, 1, 8, false>{});
        if (form.dim == 256) return of(fma_decode_shape<32, 2, 4, false>{});
        return of(fma_decode_shape<32, 8, 1, false>{});
    }
}

template <bool LISTS>
const char *fma_decode_prepare(const struct attn_problem *problem, struct attn_call *call) {
    const int64_t heads = LISTS ? problem->q_heads : problem->kv_heads * fma_decode_chunks(problem);
    return kernel_state_make(problem, call, problem->batch * heads, [problem](auto, auto) {
        return fma_decode_choice<LISTS>(fma_decode_form_of(problem));
    });
}

inline const char *fma_decode_launch(const struct attn_problem *problem,
                                     const struct attn_call *call) {
    const char *fault = fma_check(problem, call);
    if (fault) return fault;
    const struct kernel_state *state = static_cast<const struct kernel_state *>(call->state);
    fma_args args = fma_args_of(problem, call);
    args.store = {static_cast<float *>(call->scratch), state->counters,
                  fma_decode_form_of(problem).heads};
    args.chunks = (int)fma_decode_chunks(problem);
    void *parameters[] = {&args};
    const int blocks = state->resident < BLOCKS_MAX ? state->resident : BLOCKS_MAX;
    return kernel_launch(state, problem->batch > 0 ? blocks : 0, parameters, call);
}

} // namespace attn

#endif
