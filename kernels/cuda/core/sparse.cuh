/* Decode over lists: every query head has its own tokens, K and V contiguous or in pages.
 *
 * The lists of one kv head hardly overlap, so nothing is shared and nothing is a matrix product:
 * rows are gathered, and the arithmetic, a fifth of the time of the bytes, is done in f32 on them.
 * The tokens of all rows are one line of tiles (share.cuh), and every block of one wave takes an
 * equal part. Of a tile a warp owns WARP_KEYS keys: D / 8 lanes hold a row, 16 bytes each, eight
 * rows of K and eight of V one after the other, 8 KiB a warp, all asked for before the first is
 * used. Meanwhile the rows of the next tile are looked up, and the list is read for the one after.
 *
 * The eight sums over a row's lanes are reduced together, by halves, in 7 to 9 shuffles, and leave
 * one key's score in a lane: there the weight is computed, and MagicPIG's correction.
 *
 * With OVERLAP launches overlap (overlap.cuh), for sm_90: who has what, the first rows and the list
 * of the next are found out before the wait. Blocks fill the SMs, so that the next launch's come
 * where this one's end.
 *
 * With Keys::ANY the same for softcaps, sinks and any head dims, all known at run time. Of keys and
 * values of 8 bits a lane has 8 bytes; a key's scale multiplies its score, a value's its weight. */
#ifndef ATTN_CUDA_SPARSE_CUH
#define ATTN_CUDA_SPARSE_CUH

#include "bytes.cuh"
#include "magicpig.cuh"
#include "overlap.cuh"
#include "share.cuh"

namespace attn {

template <int D> struct sparse_shape {
    static constexpr int WARPS = 4;
    static constexpr int THREADS = WARPS * WARP;
    static constexpr int BLOCKS_PER_SM = 4;
    static constexpr int LANES = D / 8; /* that hold a row */
    static constexpr int GROUPS = WARP / LANES;
    static constexpr int DEPTH = 8; /* rows of a group under way */
    static constexpr int WARP_KEYS = GROUPS * DEPTH;
    static constexpr int TILE = WARPS * WARP_KEYS;
};

struct sparse_args {
    const void *q;
    key_bases bases;
    const int32_t *ind, *nnz; /* [B Hq][kept_max], [B Hq] */
    const float *lsh_k, *lsh_l;
    void *out;
    float *lse;
    partials store;
    int rows, q_heads, group; /* B Hq, Hq, Hq / Hkv */
    int64_t kept_max;
    softmax_scale scale;
};

template <int D> struct sparse_segments {
    static constexpr int TILE = sparse_shape<D>::TILE;
    static constexpr int TILES_MIN = 2;
    const int32_t *nnz;
    int outers, inners;

    __device__ __forceinline__ int keys(int outer) const {
        return __ldg(&nnz[outer]);
    }
};

/* Not to be kept in L1: a row is read once. */
__device__ __forceinline__ uint4 load_once(const uint16_t *from) {
    uint4 x;
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "l"(__cvta_generic_to_global(from)));
    return x;
}

__device__ __forceinline__ uint2 load_half_once(const uint16_t *from) {
    uint2 x;
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v2.u32 {%0,%1}, [%2];"
                 : "=r"(x.x), "=r"(x.y)
                 : "l"(__cvta_generic_to_global(from)));
    return x;
}

/* Eight elements of a key or value. DTYPE: of 8 bits, or 0: of T. */
template <int DTYPE> using eight = std::conditional_t<DTYPE == 0, uint4, uint2>;

template <typename T> __device__ __forceinline__ void unpack_eight(float (&to)[8], uint4 x) {
    const uint32_t words[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float2 two = number<T>::unpack(words[i]);
        to[2 * i] = two.x;
        to[2 * i + 1] = two.y;
    }
}

template <typename T, int DTYPE>
__device__ __forceinline__ void unpack_key(float (&to)[8], eight<DTYPE> x) {
    if constexpr (DTYPE == 0) {
        unpack_eight<T>(to, x);
    } else {
        uint32_t halves[4];
        widen_eight<__half, DTYPE>(halves, x.x, x.y);
        unpack_eight<__half>(to, make_uint4(halves[0], halves[1], halves[2], halves[3]));
    }
}

__device__ __forceinline__ float dot_eight(const float (&a)[8], const float (&b)[8]) {
    float even = a[0] * b[0], odd = a[1] * b[1];
#pragma unroll
    for (int i = 2; i < 8; i += 2) {
        even = fmaf(a[i], b[i], even);
        odd = fmaf(a[i + 1], b[i + 1], odd);
    }
    return even + odd;
}

/* x[i] summed over the LANES of a group, for i = lane % 8. */
template <int LANES> __device__ __forceinline__ float reduce_eight(const float (&x)[8]) {
    const int lane = threadIdx.x % WARP;
    float four[4], two[2];
#pragma unroll
    for (int i = 0; i < 4; i++)
        four[i] = (lane & 4 ? x[i + 4] : x[i]) +
                  __shfl_xor_sync(ALL_LANES, lane & 4 ? x[i] : x[i + 4], 4);
#pragma unroll
    for (int i = 0; i < 2; i++)
        two[i] = (lane & 2 ? four[i + 2] : four[i]) +
                 __shfl_xor_sync(ALL_LANES, lane & 2 ? four[i] : four[i + 2], 2);
    float one =
        (lane & 1 ? two[1] : two[0]) + __shfl_xor_sync(ALL_LANES, lane & 1 ? two[0] : two[1], 1);
#pragma unroll
    for (int step = 8; step < LANES; step *= 2) one += __shfl_xor_sync(ALL_LANES, one, step);
    return one;
}

/* Looks ahead along a block's tiles: the list two tiles before its rows are needed, the rows one.
 */
template <int D, typename Keys> struct sparse_lookup {
    using shape = sparse_shape<D>;
    const sparse_segments<D> &segments;
    const sparse_args &args;
    const Keys &keys;
    place at;
    int left;               /* tiles whose list is yet to be read */
    int token, outer;       /* of the tile after the next; token -1: none */
    uint32_t row;           /* of the next tile */
    float k_scale, v_scale; /* .. of 8 bits */

    __device__ __forceinline__ void read_list() {
        token = -1;
        if (left == 0) return;
        const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
        const int i = at.tile * shape::TILE + warp * shape::WARP_KEYS + lane;
        outer = at.outer;
        if (lane < shape::WARP_KEYS && i < at.keys)
            token = __ldg(&args.ind[(int64_t)outer * args.kept_max + i]);
        if (--left > 0) at.advance(segments, 1);
    }

    __device__ __forceinline__ void find_row() {
        const int b = outer / args.q_heads, g = (outer - b * args.q_heads) / args.group;
        row = token < 0 ? NO_ROW : keys.row(keys.begin(b, g), g, token);
        if constexpr (Keys::BYTES == 1) {
            k_scale = token < 0 ? 0.f : keys.scale(keys.k_scale, keys.begin(b, g), g, token);
            v_scale = token < 0 ? 0.f : keys.scale(keys.v_scale, keys.begin(b, g), g, token);
        }
    }

    __device__ __forceinline__ void start(const place &first, int tiles) {
        at = first;
        left = tiles;
        read_list();
        find_row();
        read_list();
    }

    __device__ __forceinline__ void step() {
        find_row();
        read_list();
    }
};

template <typename T, int D, bool MAGICPIG, bool ANY = false, int DTYPE = 0> struct sparse_warp {
    using shape = sparse_shape<D>;
    using piece = eight<DTYPE>;
    static constexpr int DEPTH = shape::DEPTH;

    float q[8], out[8]; /* this lane's elements */
    float q_norm, lsh_k, lsh_l;
    float sum, max; /* sum: of the keys whose score this lane had; max: of the warp */

    __device__ __forceinline__ void start(const sparse_args &a, int row, int dim = D) {
        const int chunk = threadIdx.x % shape::LANES;
        const uint16_t *from = static_cast<const uint16_t *>(a.q) + (int64_t)row * dim + chunk * 8;
        unpack_eight<T>(q, ANY && chunk * 8 >= dim ? make_uint4(0, 0, 0, 0)
                                                   : *reinterpret_cast<const uint4 *>(from));
#pragma unroll
        for (int i = 0; i < 8; i++) out[i] = 0.f;
        sum = 0.f;
        max = -INFINITY;
        if constexpr (MAGICPIG) {
            float square = dot_eight(q, q);
#pragma unroll
            for (int step = 1; step < shape::LANES; step *= 2)
                square += __shfl_xor_sync(ALL_LANES, square, step);
            q_norm = sqrtf(square);
            lsh_k = __ldg(&a.lsh_k[row]);
            lsh_l = __ldg(&a.lsh_l[row]);
        }
    }

    /* q.k of the key whose score this lane has, and what its logit has on top, in units of log2. */
    __device__ __forceinline__ float score(const piece (&k)[DEPTH], float k_scale,
                                           float *on_top) const {
        float dot[DEPTH], square[DEPTH];
#pragma unroll
        for (int i = 0; i < DEPTH; i++) {
            float x[8];
            unpack_key<T, DTYPE>(x, k[i]);
            dot[i] = dot_eight(x, q);
            if constexpr (MAGICPIG) square[i] = dot_eight(x, x);
        }
        float product = reduce_eight<shape::LANES>(dot);
        if constexpr (DTYPE != 0) product *= k_scale;
        *on_top = 0.f;
        if constexpr (MAGICPIG) {
            float k_norm = sqrtf(reduce_eight<shape::LANES>(square));
            if constexpr (DTYPE != 0) k_norm *= k_scale;
            *on_top = -(float)LOG2_E * magicpig_log_u(product, q_norm, k_norm, lsh_k, lsh_l);
        }
        return product;
    }

    __device__ __forceinline__ void follow(float x) {
        if (!__any_sync(ALL_LANES, x > max + P_SLACK)) return;
        float max_new = fmaxf(max, x);
#pragma unroll
        for (int step = 1; step < WARP; step *= 2)
            max_new = fmaxf(max_new, __shfl_xor_sync(ALL_LANES, max_new, step));
        const float factor = max == -INFINITY ? 0.f : exp2f(max - max_new);
        max = max_new;
        sum *= factor;
#pragma unroll
        for (int i = 0; i < 8; i++) out[i] *= factor;
    }

    /* `key` says whether there is a key in the lane's place; its scales are for 8 bits. */
    __device__ __forceinline__ void add_tile(const piece (&k)[DEPTH], const piece (&v)[DEPTH],
                                             bool key, softmax_scale scale, float inner = 0.f,
                                             float k_scale = 1.f, float v_scale = 1.f) {
        const int lane = threadIdx.x % WARP;
        float on_top;
        float product = score(k, k_scale, &on_top);
        if constexpr (ANY)
            if (inner > 0.f) product = tanh_of(product * inner);
        follow(key ? fmaf(product, scale.to_log2, on_top) : -INFINITY);
        const float p = key ? exp2f(fmaf(product, scale.to_log2, on_top - max)) : 0.f;
        sum += p;
        const float of_value = DTYPE == 0 ? p : p * v_scale;
#pragma unroll
        for (int i = 0; i < DEPTH; i++) {
            const float weight = __shfl_sync(ALL_LANES, of_value, (lane & ~(shape::LANES - 1)) | i);
            float y[8];
            unpack_key<T, DTYPE>(y, v[i]);
#pragma unroll
            for (int e = 0; e < 8; e++) out[e] = fmaf(weight, y[e], out[e]);
        }
    }

    /* Adds the groups' sums; the warp's are then in shared memory, for all after a barrier. */
    __device__ __forceinline__ void hand_over(float (*warp_sums)[D], float2 *warp_stats) {
        const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
        float weight = sum; /* in every lane of its key's row: count the first eight of a group */
#pragma unroll
        for (int step = 1; step < 8; step *= 2) weight += __shfl_xor_sync(ALL_LANES, weight, step);
#pragma unroll
        for (int step = shape::LANES; step < WARP; step *= 2) {
            weight += __shfl_xor_sync(ALL_LANES, weight, step);
#pragma unroll
            for (int i = 0; i < 8; i++) out[i] += __shfl_xor_sync(ALL_LANES, out[i], step);
        }
        if (lane < shape::LANES) {
            float4 *to = reinterpret_cast<float4 *>(&warp_sums[warp][lane * 8]);
            to[0] = make_float4(out[0], out[1], out[2], out[3]);
            to[1] = make_float4(out[4], out[5], out[6], out[7]);
        }
        if (lane == 0) warp_stats[warp] = make_float2(max, weight);
    }

    /* Adds the warps' sums, in their order: sums [D], one pair of stats. */
    __device__ __forceinline__ void merge(float *sums, float2 *stats, float (*warp_sums)[D],
                                          float2 *warp_stats) {
        hand_over(warp_sums, warp_stats);
        __syncthreads();
        float top = -INFINITY, total = 0.f, factor[shape::WARPS];
#pragma unroll
        for (int w = 0; w < shape::WARPS; w++) top = fmaxf(top, warp_stats[w].x);
#pragma unroll
        for (int w = 0; w < shape::WARPS; w++) {
            factor[w] = toward(top, warp_stats[w].x);
            total = fmaf(factor[w], warp_stats[w].y, total);
        }
        for (int d = threadIdx.x; d < D; d += shape::THREADS) {
            float x = 0.f;
#pragma unroll
            for (int w = 0; w < shape::WARPS; w++) x = fmaf(factor[w], warp_sums[w][d], x);
            sums[d] = x;
        }
        if (threadIdx.x == 0) *stats = make_float2(top, total);
        __syncthreads();
    }
};

/* The lane of a group that has looked up the key whose score this one will have. */
template <int D> __device__ __forceinline__ int lane_of_key() {
    using shape = sparse_shape<D>;
    const int lane = threadIdx.x % WARP;
    return lane / shape::LANES * shape::DEPTH + lane % shape::DEPTH;
}

/* The group's rows, each from the lane that found it; absent ones are zero, and columns from `dim`
 * or, of values, `value_dim` on. Says whether there is a key in the place whose score this lane
 * will have. */
template <int D, bool ANY = false, int DTYPE = 0>
__device__ __forceinline__ bool load_rows(eight<DTYPE> (&k)[sparse_shape<D>::DEPTH],
                                          eight<DTYPE> (&v)[sparse_shape<D>::DEPTH], uint32_t found,
                                          const key_bases &bases, int dim = D, int value_dim = D) {
    using shape = sparse_shape<D>;
    int lane = threadIdx.x % WARP;
    forget(lane);
    const int first = lane / shape::LANES * shape::DEPTH, column = lane % shape::LANES * 8;
#pragma unroll
    for (int i = 0; i < shape::DEPTH; i++) {
        const uint32_t row = __shfl_sync(ALL_LANES, found, first + i);
        k[i] = v[i] = eight<DTYPE>{};
        if constexpr (DTYPE != 0) {
            const int64_t at = ((int64_t)row * dim + column) / 2;
            if (row != NO_ROW && column < dim) {
                k[i] = load_half_once(bases.k + at);
                v[i] = load_half_once(bases.v + at);
            }
        } else if constexpr (ANY) {
            if (row != NO_ROW && column < dim)
                k[i] = load_once(bases.k + (int64_t)row * dim + column);
            if (row != NO_ROW && column < value_dim)
                v[i] = load_once(bases.v + (int64_t)row * value_dim + column);
        } else if (row != NO_ROW) {
            const int64_t at = (int64_t)row * dim + lane % shape::LANES * 8;
            k[i] = load_once(bases.k + at);
            v[i] = load_once(bases.v + at);
        }
    }
    return __shfl_sync(ALL_LANES, found, first + lane % shape::DEPTH) != NO_ROW;
}

/* Rows that keep no token belong to no tile. */
template <int D, typename Keys>
__device__ void clear_empty_rows(const sparse_args &a, const Keys &keys) {
    const int chunks = value_dim_of<D>(keys) / 8;
    for (int row = blockIdx.x * blockDim.x + threadIdx.x; row < a.rows;
         row += gridDim.x * blockDim.x) {
        if (a.nnz[row] > 0) continue;
        uint4 *out = static_cast<uint4 *>(a.out) + (int64_t)row * chunks;
        for (int i = 0; i < chunks; i++) out[i] = make_uint4(0, 0, 0, 0);
        a.lse[row] = sink_of(keys, Keys::ANY ? row % a.q_heads : 0);
    }
}

template <typename T, int D, typename Keys, bool MAGICPIG, bool OVERLAP>
__global__ void __launch_bounds__(sparse_shape<D>::THREADS, sparse_shape<D>::BLOCKS_PER_SM)
    sparse_kernel(const sparse_args a, const Keys keys) {
    using shape = sparse_shape<D>;
    constexpr int DEPTH = shape::DEPTH;
    constexpr bool ANY = Keys::ANY;
    constexpr int DTYPE = dtype_of<Keys>();
    const int dim = dim_of<D>(keys), value_dim = value_dim_of<D>(keys);
    __shared__ __align__(16) float warp_sums[shape::WARPS][D], sums[D];
    __shared__ float2 warp_stats[shape::WARPS], stats;
    __shared__ int flag;

    if constexpr (OVERLAP) let_next_start();
    const sparse_segments<D> segments{a.nnz, a.rows, 1};
    const part mine = part_of_block(segments);
    if (mine.first < mine.end) {
        place at = place_of(segments, mine.first);
        sparse_lookup<D, Keys> lookup{segments, a, keys};
        lookup.start(at, mine.end - mine.first);
        if constexpr (OVERLAP) wait_for_previous_with(lookup.row);
        sparse_warp<T, D, MAGICPIG, ANY, DTYPE> state;

        for (int tile = mine.first; tile < mine.end;) {
            const int count = min(at.tiles - at.tile, mine.end - tile);
            state.start(a, at.outer, dim);
            for (int n = 0; n < count; n++) {
                eight<DTYPE> k[DEPTH], v[DEPTH];
                const bool key =
                    load_rows<D, ANY, DTYPE>(k, v, lookup.row, a.bases, dim, value_dim);
                float k_scale = 1.f, v_scale = 1.f;
                if constexpr (DTYPE != 0) {
                    k_scale = __shfl_sync(ALL_LANES, lookup.k_scale, lane_of_key<D>());
                    v_scale = __shfl_sync(ALL_LANES, lookup.v_scale, lane_of_key<D>());
                }
                lookup.step();
                if constexpr (ANY)
                    state.add_tile(k, v, key, a.scale, keys.inner, k_scale, v_scale);
                else
                    state.add_tile(k, v, key, a.scale);
            }
            state.merge(sums, &stats, warp_sums, warp_stats);
            settle<8>(
                segment_sums<T, D, ANY>{sums, D, &stats, 1,
                                        static_cast<T *>(a.out) + (int64_t)at.outer * value_dim,
                                        a.lse + at.outer, at.outer, tile - at.tile, at.tiles,
                                        value_dim, sinks_of(keys, ANY ? at.outer % a.q_heads : 0)},
                mine, a.store, &flag);
            __syncthreads();
            tile += count;
            if (tile < mine.end) at.advance(segments, count);
        }
    } else if constexpr (OVERLAP) {
        wait_for_previous();
    }
    clear_empty_rows<D>(a, keys);
}

inline const char *sparse_refuse(const struct attn_problem *p) {
    const char *reason = refuse_any(p);
    if (reason) return reason;
    return rows_fit(p) ? NULL : "keys and values have more than 2^32 rows";
}

inline size_t sparse_scratch_bytes(const struct attn_problem *p) {
    return partials_bytes(1, dim_at_least(p));
}

template <typename Keys, bool MAGICPIG, bool OVERLAP = false>
const char *sparse_prepare(const struct attn_problem *problem, struct attn_call *call) {
    if (OVERLAP)
        if (const char *fault = refuse_but_hopper()) return fault;
    return kernel_state_make(
        problem, call, problem->batch * problem->q_heads, [problem](auto type, auto dim) {
            using T = decltype(type);
            constexpr int D = decltype(dim)::value;
            constexpr int THREADS = sparse_shape<D>::THREADS;
            if (is_plain(problem))
                return kernel_choice{(const void *)sparse_kernel<T, D, Keys, MAGICPIG, OVERLAP>,
                                     THREADS, 0};
            return choose_bytes<any_keys<Keys>>(problem, [](auto keys) {
                using source = decltype(keys);
                return kernel_choice{(const void *)sparse_kernel<T, D, source, MAGICPIG, OVERLAP>,
                                     THREADS, 0};
            });
        });
}

inline const char *sparse_check(const struct attn_problem *problem, const struct attn_call *call) {
    const char *fault = keys_check(problem, call);
    if (fault) return fault;
    const struct attn_tensor *tensors = call->tensors;
    if (!tensors[ATTN_SPARSE_IND].data && problem->kept_max > 0) return "no tensor 'sparse_ind'";
    if (!tensors[ATTN_SPARSE_NNZ].data) return "no tensor 'sparse_nnz'";
    return NULL;
}

inline sparse_args sparse_args_of(const struct attn_problem *problem,
                                  const struct attn_call *call) {
    const struct attn_tensor *tensors = call->tensors;
    const struct kernel_state *state = static_cast<const struct kernel_state *>(call->state);
    return {
        .q = tensors[ATTN_Q].data,
        .bases = key_bases_of(problem, call),
        .ind = static_cast<const int32_t *>(tensors[ATTN_SPARSE_IND].data),
        .nnz = static_cast<const int32_t *>(tensors[ATTN_SPARSE_NNZ].data),
        .lsh_k = static_cast<const float *>(tensors[ATTN_LSH_K].data),
        .lsh_l = static_cast<const float *>(tensors[ATTN_LSH_L].data),
        .out = tensors[ATTN_OUT].data,
        .lse = static_cast<float *>(tensors[ATTN_LSE].data),
        .store = {static_cast<float *>(call->scratch), state->counters, 1},
        .rows = (int)(problem->batch * problem->q_heads),
        .q_heads = (int)problem->q_heads,
        .group = (int)(problem->q_heads / problem->kv_heads),
        .kept_max = problem->kept_max,
        .scale = softmax_scale_of(problem),
    };
}

template <typename Keys, bool OVERLAP = false>
const char *sparse_launch(const struct attn_problem *problem, const struct attn_call *call) {
    const char *fault = sparse_check(problem, call);
    if (fault) return fault;
    const struct kernel_state *state = static_cast<const struct kernel_state *>(call->state);
    sparse_args args = sparse_args_of(problem, call);
    using all = byte_keys<any_keys<Keys>, ATTN_E4M3>;
    all keys = keys_make(all{}, problem, call);
    void *parameters[] = {&args, &keys}; /* of which the others' are the beginning */
    const int blocks = state->resident < BLOCKS_MAX ? state->resident : BLOCKS_MAX;
    return launch_either_way<OVERLAP>(state, problem->batch > 0 ? blocks : 0, parameters, call);
}

} // namespace attn

#endif
