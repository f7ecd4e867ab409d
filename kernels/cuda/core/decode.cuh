/* Decode: one query token, K and V contiguous or in pages.
 *
 * The work is one line of tiles of 64 keys over all sequences and kv heads (share.cuh), and every
 * block of one wave takes an equal part. Up to 16 query heads of a kv head are the rows of one
 * product, so K and V are read once. A warp owns 16 keys of every tile and its own ring in shared
 * memory: it copies, waits and computes without the other three. The ring holds UNITS pieces of 16
 * rows and at most 256 bytes of each row; all but one are under way while one is used, on an H200
 * 128 KiB and more on an SM. A lane first looks up the row of one key (in pages: reads the page
 * table, a tile ahead), and the copies take the rows from the lanes (decode_ring.cuh).
 *
 * Keys and values of 8 bits are made 16 on the way from shared memory to a product (bytes.cuh).
 *
 * At the end of a segment the warps merge their sums, in their order, in shared memory.
 *
 * With Keys::ANY the same for lengths, windows, softcaps, sinks and any head dims, of keys and of
 * values, all known at run time: a segment begins where the window does. */
#ifndef ATTN_CUDA_DECODE_CUH
#define ATTN_CUDA_DECODE_CUH

#include "decode_ring.cuh"
#include "overlap.cuh"

namespace attn {

template <typename T, typename Shape, typename Keys> struct decode_warp {
    using shape = Shape;
    static constexpr int D = shape::D;
    static constexpr int K_STEPS = shape::PART / 16; /* of a piece */

    decode_loader<shape, Keys> &loader;
    int slot; /* of the piece used next */
    float out[D / 8][4];
    float sum[2], max[2];
    uint32_t q[D / 16][4];

    /* A lane has two pairs of every 16 columns. Of 8 bits they are neighbours, since it has four
     * bytes of a row at once; the columns of a product are as good in one order as in another. */
    static constexpr int LANE_COLUMNS = shape::BYTES == 1 ? 4 : 2;
    static constexpr int SECOND_PAIR = shape::BYTES == 1 ? 2 : 8;

    /* The rows of the product: `heads` query heads of `dim` elements, the rest zero. */
    __device__ __forceinline__ void start(const T *queries, int heads, int dim = D) {
        const int lane = threadIdx.x % WARP;
#pragma unroll
        for (int step = 0; step < D / 16; step++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int row = (lane >> 2) + i % 2 * 8;
                const int column = step * 16 + i / 2 * SECOND_PAIR + (lane & 3) * LANE_COLUMNS;
                q[step][i] =
                    row < heads && (!Keys::ANY || column < dim)
                        ? __ldg(reinterpret_cast<const uint32_t *>(queries + row * dim + column))
                        : 0;
            }
#pragma unroll
        for (int n = 0; n < D / 8; n++) out[n][0] = out[n][1] = out[n][2] = out[n][3] = 0.f;
        sum[0] = sum[1] = 0.f;
        max[0] = max[1] = -INFINITY;
    }

    /* Waits for the next piece, refills the one used last, and returns where the next one is. */
    template <int UNIT> __device__ __forceinline__ uint32_t next() {
        copy_wait<shape::UNITS - 2>();
        __syncwarp();
        if constexpr (shape::BYTES == 1) /* it is, and so takes no register */
            loader.slot = slot == 0 ? shape::UNITS - 1 : slot - 1;
        loader.template copy<(UNIT + shape::UNITS - 1) % shape::UNITS_PER_TILE>();
        const uint32_t piece = loader.ring + slot * shape::UNIT_BYTES;
        slot = slot == shape::UNITS - 1 ? 0 : slot + 1;
        return piece;
    }

    template <int PART> __device__ __forceinline__ void score(float (&s)[2][4]) {
        const int lane = threadIdx.x % WARP;
        const uint32_t base = chunk_address(next<PART>(), shape::PITCH,
                                            (lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1);
#pragma unroll
        for (int step = 0; step < K_STEPS; step++) {
            uint32_t b[4];
            load_matrix(b, chunk_step(base, step));
            number<T>::multiply_add(s[0], q[PART * K_STEPS + step], b[0], b[1]);
            number<T>::multiply_add(s[1], q[PART * K_STEPS + step], b[2], b[3]);
        }
        if constexpr (PART + 1 < shape::PARTS) score<PART + 1>(s);
    }

    /* The same of 8 bits: a load has 32 columns. Returns where the last piece is. */
    template <int PART> __device__ __forceinline__ uint32_t score_bytes(float (&s)[2][4]) {
        const int lane = threadIdx.x % WARP;
        const uint32_t piece = next<PART>();
        const uint32_t base =
            chunk_address(piece, shape::PITCH, (lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1);
#pragma unroll
        for (int step = 0; step < K_STEPS; step += 2) {
            uint32_t x[4];
            load_matrix(x, chunk_step(base, step / 2));
#pragma unroll
            for (int i = 0; i < 4; i++) {
                uint32_t b[2];
                widen<T, Keys::DTYPE>(b, x[i]);
                number<T>::multiply_add(s[i / 2], q[PART * K_STEPS + step + i % 2], b[0], b[1]);
            }
        }
        if constexpr (PART + 1 < shape::PARTS)
            return score_bytes<PART + 1>(s);
        else
            return piece;
    }

    /* `keys` of this warp's 16 are there. */
    __device__ __forceinline__ void mask(float (&s)[2][4], int keys) const {
        const int left = keys - (threadIdx.x & 3) * 2;
#pragma unroll
        for (int n = 0; n < 2; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (n * 8 + e % 2 >= left) s[n][e] = -INFINITY;
    }

    __device__ __forceinline__ void follow(const float (&s)[2][4], softmax_scale scale) {
        float top[2];
        bool outgrown = false;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            top[r] =
                fmaxf(fmaxf(s[0][r * 2], s[0][r * 2 + 1]), fmaxf(s[1][r * 2], s[1][r * 2 + 1]));
            outgrown |= top[r] > max[r] + scale.slack;
        }
        if (!__any_sync(ALL_LANES, outgrown)) return;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const float max_new = fmaxf(max[r], quad_max(top[r]));
            const float factor = rescaling(max[r], max_new, scale.to_log2);
            max[r] = max_new;
            sum[r] *= factor;
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                out[n][r * 2] *= factor;
                out[n][r * 2 + 1] *= factor;
            }
        }
    }

    __device__ __forceinline__ void weigh(uint32_t (&p)[4], const float (&s)[2][4],
                                          softmax_scale scale) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float minus = minus_reference(max[i % 2], scale.to_log2);
            const float low = exp2_fast(fmaf(s[i / 2][i % 2 * 2], scale.to_log2, minus));
            const float high = exp2_fast(fmaf(s[i / 2][i % 2 * 2 + 1], scale.to_log2, minus));
            sum[i % 2] += low + high;
            p[i] = number<T>::pack(low, high);
        }
    }

    template <int PART> __device__ __forceinline__ void add_values(const uint32_t (&p)[4]) {
        const int lane = threadIdx.x % WARP;
        const uint32_t base =
            chunk_address(next<shape::PARTS + PART>(), shape::PITCH, lane & 15, lane >> 4);
#pragma unroll
        for (int n = 0; n < K_STEPS; n++) {
            uint32_t b[4];
            load_matrix_transposed(b, chunk_step(base, n));
            number<T>::multiply_add(out[(PART * K_STEPS + n) * 2], p, b[0], b[1]);
            number<T>::multiply_add(out[(PART * K_STEPS + n) * 2 + 1], p, b[2], b[3]);
        }
        if constexpr (PART + 1 < shape::PARTS) add_values<PART + 1>(p);
    }

    /* A load has two keys' bytes of two columns: pairs of keys come of it, of even columns and of
     * odd ones. */
    template <int PART>
    __device__ __forceinline__ void add_values_bytes(const uint32_t (&p)[4], uint32_t piece) {
        const int lane = threadIdx.x % WARP;
        const uint32_t base = chunk_address(piece, shape::PITCH, lane & 15, lane >> 4);
#pragma unroll
        for (int n = 0; n < K_STEPS; n++) {
            uint32_t x[4], low[2], high[2];
            if (n % 2 == 0) load_matrix_transposed(x, chunk_step(base, n / 2));
            widen<T, Keys::DTYPE>(low, __byte_perm(x[n % 2 * 2], 0, 0x3120));
            widen<T, Keys::DTYPE>(high, __byte_perm(x[n % 2 * 2 + 1], 0, 0x3120));
            number<T>::multiply_add(out[(PART * K_STEPS + n) * 2], p, low[0], high[0]);
            number<T>::multiply_add(out[(PART * K_STEPS + n) * 2 + 1], p, low[1], high[1]);
        }
        if constexpr (PART + 1 < shape::PARTS)
            add_values_bytes<PART + 1>(p, next<shape::PARTS + PART + 1>());
    }

    /* Two scales, of the lane's two pairs of keys (loader.put_scales). */
    static __device__ __forceinline__ void read_scales(float2 (&first)[2], float2 (&second)[2],
                                                       uint32_t scales) {
#pragma unroll
        for (int n = 0; n < 2; n++) {
            const uint32_t pair = scales + n * 32 + (threadIdx.x & 3) * 8;
            first[n] = load_shared_pair(pair);
            second[n] = load_shared_pair(pair + shape::WARP_KEYS * 4);
        }
    }

    __device__ __forceinline__ void weigh_bytes(uint32_t (&p)[4], const float (&s)[2][4],
                                                uint32_t scales, softmax_scale scale) {
        float2 f[2], inverse[2];
        read_scales(f, inverse, scales);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float minus = minus_reference(max[i % 2], scale.to_log2);
            const float low = exp2_fast(s[i / 2][i % 2 * 2] + minus);
            const float high = exp2_fast(s[i / 2][i % 2 * 2 + 1] + minus);
            sum[i % 2] = fmaf(low, inverse[i / 2].x, fmaf(high, inverse[i / 2].y, sum[i % 2]));
            p[i] = number<T>::pack(low * f[i / 2].x, high * f[i / 2].y);
        }
    }

    __device__ __forceinline__ void add_tile_bytes(int keys) {
        const softmax_scale scale = softmax_scale_in<Keys>(loader.args.scale);
        float s[2][4] = {};
        const uint32_t keys_piece = score_bytes<0>(s);
        float2 factor[2], e[2];
        read_scales(factor, e, keys_piece + shape::ROWS_BYTES);
#pragma unroll
        for (int n = 0; n < 2; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                s[n][i] = loader.segments.source.apply(s[n][i], i % 2 ? factor[n].y : factor[n].x,
                                                       i % 2 ? e[n].y : e[n].x, loader.args.scale);
        if (keys < shape::WARP_KEYS) mask(s, keys);
        follow(s, scale);
        const uint32_t values = next<shape::PARTS>();
        uint32_t p[4];
        weigh_bytes(p, s, values + shape::ROWS_BYTES, scale);
        add_values_bytes<0>(p, values);
    }

    __device__ __forceinline__ void add_tile(int keys, softmax_scale scale) {
        if constexpr (shape::BYTES == 1) return add_tile_bytes(keys);
        float s[2][4] = {};
        uint32_t p[4];
        score<0>(s);
        if constexpr (Keys::ANY)
            if (const float inner = loader.segments.source.inner; inner > 0.f) {
#pragma unroll
                for (int i = 0; i < 8; i++) s[i / 4][i % 4] = tanh_of(s[i / 4][i % 4] * inner);
            }
        if (keys < shape::WARP_KEYS) mask(s, keys);
        follow(s, scale);
        weigh(p, s, scale);
        add_values<0>(p);
    }

    /* Adds the warps' sums in shared memory: sums [heads][SUM_PITCH], stats [heads]. */
    __device__ __forceinline__ void merge(float *sums, float2 *stats, int heads,
                                          softmax_scale scale) {
        const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
        float2 *warp_stats = stats + shape::HEADS; /* [WARPS][HEADS] */
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const float weight = quad_sum(sum[r]);
            if ((lane & 3) == 0)
                warp_stats[warp * shape::HEADS + (lane >> 2) + r * 8] =
                    make_float2(reference(max[r], scale.to_log2), weight);
        }
        __syncthreads();
        float factor[2];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const float2 *of_row = warp_stats + (lane >> 2) + r * 8;
            float top = -INFINITY, weight = 0.f;
#pragma unroll
            for (int w = 0; w < shape::WARPS; w++) top = fmaxf(top, of_row[w * shape::HEADS].x);
#pragma unroll
            for (int w = 0; w < shape::WARPS; w++)
                weight += toward(top, of_row[w * shape::HEADS].x) * of_row[w * shape::HEADS].y;
            factor[r] = toward(top, of_row[warp * shape::HEADS].x);
            if (warp == 0 && (lane & 3) == 0) stats[(lane >> 2) + r * 8] = make_float2(top, weight);
        }
        for (int w = 0; w < shape::WARPS; w++) {
            if (w == warp) add_to(sums, heads, factor, w == 0);
            __syncthreads();
        }
    }

    /* Columns n / 2 * 16 + n % 2 * SECOND_PAIR and the next, from the lane's first on, of row r. */
    __device__ __forceinline__ float2 pair(int n, int r) const {
        if constexpr (shape::BYTES == 1)
            return make_float2(out[n / 2 * 2][r * 2 + n % 2], out[n / 2 * 2 + 1][r * 2 + n % 2]);
        return make_float2(out[n][r * 2], out[n][r * 2 + 1]);
    }

    __device__ __forceinline__ void add_to(float *sums, int heads, const float (&factor)[2],
                                           bool first) const {
        const int lane = threadIdx.x % WARP;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int row = (lane >> 2) + r * 8;
            if (row >= heads) continue;
            float *to = sums + row * shape::SUM_PITCH + (lane & 3) * LANE_COLUMNS;
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                float2 &at = *reinterpret_cast<float2 *>(to + n / 2 * 16 + n % 2 * SECOND_PAIR);
                float2 x = first ? make_float2(0.f, 0.f) : at;
                x.x = fmaf(factor[r], pair(n, r).x, x.x);
                x.y = fmaf(factor[r], pair(n, r).y, x.y);
                at = x;
            }
        }
    }
};

/* Rows of sequences without a token belong to no tile. */
template <int D, typename Keys>
__device__ void clear_empty_sequences(const decode_args &a, const Keys &keys) {
    for (int b = blockIdx.x; b < a.batch; b += gridDim.x) {
        if (keys.tokens(b) > 0) continue;
        const int chunks = value_dim_of<D>(keys) / 8;
        uint4 *out = static_cast<uint4 *>(a.out) + (int64_t)b * a.q_heads * chunks;
        for (int i = threadIdx.x; i < a.q_heads * chunks; i += blockDim.x)
            out[i] = make_uint4(0, 0, 0, 0);
        for (int i = threadIdx.x; i < a.q_heads; i += blockDim.x)
            a.lse[(int64_t)b * a.q_heads + i] = sink_of(keys, i);
    }
}

/* The query heads of a segment: the first one, how many, and their first row. */
struct decode_rows {
    int head, heads;
    int64_t first;
};

__device__ __forceinline__ decode_rows decode_rows_of(const decode_args &a, const place &at) {
    const int heads = decode_shape<64>::HEADS;
    const int g = at.inner / a.chunks, done = at.inner % a.chunks * heads;
    return {g * a.group + done, min(heads, a.group - done),
            (int64_t)at.outer * a.q_heads + g * a.group + done};
}

template <typename T, int D, typename Keys, bool OVERLAP>
__global__ void __launch_bounds__(decode_shape<D>::THREADS, decode_shape<D>::BLOCKS_PER_SM)
    decode_kernel(const decode_args a, const Keys keys) {
    using shape = decode_shape<D, Keys::BYTES>;
    extern __shared__ __align__(1024) unsigned char shared[];
    float *sums = reinterpret_cast<float *>(shared + shape::WARPS * shape::RING_BYTES);
    float2 *stats = reinterpret_cast<float2 *>(sums + shape::HEADS * shape::SUM_PITCH);
    int *flag = reinterpret_cast<int *>(stats + (shape::WARPS + 1) * shape::HEADS);
    const int warp = threadIdx.x / WARP;
    const int dim = dim_of<D>(keys), value_dim = value_dim_of<D>(keys);

    if constexpr (OVERLAP) let_next_start();
    const decode_segments<shape, Keys> segments{keys, a.batch, a.kv_heads * a.chunks};
    const part mine = part_of_block(segments);
    if (mine.first < mine.end) {
        place at = place_of(segments, mine.first);
        decode_loader<shape, Keys> loader{segments, a,
                                          shared_address(shared) + warp * shape::RING_BYTES};
        loader.open(at, mine.end - mine.first);
        if constexpr (OVERLAP) wait_for_previous();
        loader.template fill<0>();
        decode_warp<T, shape, Keys> state{loader};
        state.slot = 0;

        for (int tile = mine.first; tile < mine.end;) {
            const int count = min(at.tiles - at.tile, mine.end - tile);
            const decode_rows queries = decode_rows_of(a, at);
            state.start(static_cast<const T *>(a.q) + queries.first * dim, queries.heads, dim);
            for (int i = 0; i < count; i++)
                state.add_tile(at.keys - (at.tile + i) * shape::TILE - warp * shape::WARP_KEYS,
                               a.scale);
            /* With all traits there is no register to keep them in while tiles are added. */
            if constexpr (Keys::ANY) forget(at.inner);
            const decode_rows rows = decode_rows_of(a, at);
            state.merge(sums, stats, rows.heads, softmax_scale_in<Keys>(a.scale));
            settle<16>(
                segment_sums<T, D, Keys::ANY>{sums, shape::SUM_PITCH, stats, rows.heads,
                                              static_cast<T *>(a.out) + rows.first * value_dim,
                                              a.lse + rows.first,
                                              at.outer * segments.inners + at.inner, tile - at.tile,
                                              at.tiles, value_dim, sinks_of(keys, rows.head)},
                mine, a.store, flag);
            __syncthreads();
            tile += count;
            if (tile < mine.end) at.advance(segments, count);
        }
        copy_wait<0>();
    } else if constexpr (OVERLAP) {
        wait_for_previous();
    }
    clear_empty_sequences<D>(a, keys);
}

inline int64_t decode_chunks(const struct attn_problem *p) {
    const int heads = decode_shape<64>::HEADS;
    return (p->q_heads / p->kv_heads + heads - 1) / heads;
}

/* Blocks for segments of equal length: a few less, if each then has a whole part of one segment and
 * merges once. Not where a block has many tiles, and a block less costs more than a merge. */
inline int decode_blocks(const struct attn_problem *p, int resident) {
    const bool all = !(p->traits & ATTN_WINDOW) || p->window_left >= p->kv_len;
    const int64_t keys = all ? p->kv_len : p->window_left + 1;
    const int64_t tiles = (keys + decode_shape<64>::TILE - 1) / decode_shape<64>::TILE;
    const int64_t total = tiles * p->batch * p->kv_heads * decode_chunks(p);
    const int64_t share = (total + resident - 1) / resident;
    if (p->traits & ATTN_RAGGED || share < 2 || share > 16) return resident;
    for (int64_t whole = share; whole <= share + share / 4; whole++)
        if (tiles % whole == 0) return (int)(total / whole);
    return resident;
}

inline const char *decode_refuse_any(const struct attn_problem *p) {
    const char *reason = refuse_any(p);
    if (!reason) reason = refuse_part_rows(p);
    if (reason) return reason;
    return rows_fit(p) ? NULL : "keys and values have more than 2^32 rows";
}

inline const char *decode_refuse(const struct attn_problem *p) {
    const char *reason = refuse_common(p);
    return reason ? reason : decode_refuse_any(p);
}

inline size_t decode_scratch_bytes(const struct attn_problem *p) {
    const int64_t group = p->q_heads / p->kv_heads, heads = decode_shape<64>::HEADS;
    return partials_bytes(group < heads ? group : heads, dim_at_least(p));
}

template <typename T, int D, typename Keys, bool OVERLAP> kernel_choice decode_choice() {
    using shape = decode_shape<D, Keys::BYTES>;
    return {(const void *)decode_kernel<T, D, Keys, OVERLAP>, shape::THREADS, shape::SHARED_BYTES};
}

/* The keys of problems that are not plain. OTHERS: with all traits, which a kernel may have refused
 * instead. */
template <typename Keys, bool OTHERS>
using decode_keys = std::conditional_t<OTHERS, any_keys<Keys>, Keys>;

/* OVERLAP: launches overlap (overlap.cuh), for sm_90. */
template <typename Keys, bool OTHERS, bool OVERLAP>
const char *decode_prepare(const struct attn_problem *problem, struct attn_call *call) {
    const int64_t segments = problem->batch * problem->kv_heads * decode_chunks(problem);
    return kernel_state_make(problem, call, segments, [problem](auto type, auto dim) {
        using T = decltype(type);
        constexpr int D = decltype(dim)::value;
        return choose_bytes<decode_keys<Keys, OTHERS>>(problem, [problem](auto keys) {
            using source = decltype(keys);
            if constexpr (OTHERS && source::BYTES == 2)
                if (is_plain(problem)) return decode_choice<T, D, Keys, OVERLAP>();
            return decode_choice<T, D, source, OVERLAP>();
        });
    });
}

inline decode_args decode_args_of(const struct attn_problem *problem, const struct attn_call *call,
                                  const struct kernel_state *state) {
    const int group = (int)(problem->q_heads / problem->kv_heads);
    return {
        .q = call->tensors[ATTN_Q].data,
        .bases = key_bases_of(problem, call),
        .out = call->tensors[ATTN_OUT].data,
        .lse = static_cast<float *>(call->tensors[ATTN_LSE].data),
        .store = {static_cast<float *>(call->scratch), state->counters,
                  group < decode_shape<64>::HEADS ? group : decode_shape<64>::HEADS},
        .batch = (int)problem->batch,
        .q_heads = (int)problem->q_heads,
        .kv_heads = (int)problem->kv_heads,
        .group = group,
        .chunks = (int)decode_chunks(problem),
        .scale = softmax_scale_of(problem),
    };
}

template <typename Keys, bool OTHERS, bool OVERLAP>
const char *decode_launch(const struct attn_problem *problem, const struct attn_call *call) {
    const char *fault = keys_check(problem, call);
    if (fault) return fault;
    const struct kernel_state *state = static_cast<const struct kernel_state *>(call->state);
    decode_args args = decode_args_of(problem, call, state);
    using all = byte_keys<decode_keys<Keys, OTHERS>, ATTN_E4M3>;
    all keys = keys_make(all{}, problem, call);
    void *parameters[] = {&args, &keys}; /* of which the others' are the beginning */
    const int resident = state->resident < BLOCKS_MAX ? state->resident : BLOCKS_MAX;
    const int blocks = decode_blocks(problem, resident);
    return launch_either_way<OVERLAP>(state, problem->batch > 0 ? blocks : 0, parameters, call);
}

} // namespace attn

#endif
