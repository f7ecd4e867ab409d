/* Flash attention over rows of queries, for prefill with and without lengths.
 *
 * A block owns ROWS queries of one head and walks over the keys KEYS at a time, K and V of a step
 * in a ring of STAGES in shared memory, filled by cp.async. A warp owns 16 M_TILES of the rows
 * alone: scores, weights and output stay in its registers, P goes from accumulator to operand
 * without leaving them. 32 rows a warp (D <= 128) halve the reads of shared memory per product,
 * which would otherwise bound it: an m16n8k16 takes about 1.6 clocks of an H200's SM, its B
 * operand 2 clocks of shared memory.
 *
 * Causal: heavy tiles come first; a warp skips tiles none of its rows sees, and masks only those
 * on its diagonal. Odd blocks hand their slabs to the warps in reverse, because a warp's number
 * fixes its scheduler, and the last slab has the most keys.
 *
 * With Keys::ANY the same for keys in pages, lengths of queries, windows, softcaps, sinks and any
 * head dims, of keys and of values, all known at run time: a block begins at the first key that its
 * first row sees, a warp skips and masks on either side, and a lane looks up a tile ahead where a
 * key lies. Columns that D has and the head dim has not are zeros in shared memory, and never read
 * or written outside. Keys and values of 8 bits lie in the ring as they are; a step begins by
 * making 16 of them in tiles beside it, each thread of what it copied itself (bytes.cuh,
 * key_copies.cuh). */
#ifndef ATTN_CUDA_PREFILL_CUH
#define ATTN_CUDA_PREFILL_CUH

#include "key_copies.cuh"

namespace attn {

/* With few keys the start and the end of a block weigh as much as its steps, and three blocks on an
 * SM hide them better than two: SHORT, at D = 64, has half the keys a step and reads Q from shared
 * memory each time, to fit the registers. */
constexpr int SHORT_KEYS = 2048;

template <int DIM, bool SHORT, bool TRAITS = false, int ELEMENT = 2, int VALUE_DIM = DIM>
struct prefill_shape {
    static_assert(!SHORT || DIM == 64);
    static constexpr int D = DIM;
    static constexpr int DV = VALUE_DIM; /* of values */
    static constexpr bool ANY = TRAITS;
    static constexpr int BYTES = ELEMENT; /* of an element of K or V */
    static constexpr int WARPS = 4;
    static constexpr int THREADS = WARPS * WARP;
    static constexpr int BLOCKS_PER_SM = SHORT ? 3 : 2;
    static constexpr int M_TILES = DV <= 128 ? 2 : 1;
    static constexpr int SLAB = 16 * M_TILES; /* rows of a warp */
    static constexpr int ROWS = WARPS * SLAB;
    static constexpr int KEYS = SHORT      ? 32
                                : D <= 64  ? 64
                                : D <= 128 ? (BYTES == 1 ? 32 : 48) /* more would spill */
                                           : 32;
    /* At most 96 KiB, which every sm_8x has, and BLOCKS_PER_SM on an SM of sm_90. */
    static constexpr int STAGES = SHORT ? 4 : D <= 64 ? 3 : 2;
    static constexpr bool Q_STAYS = D <= 64 && !SHORT; /* in registers */
    static constexpr int PITCH = D * 2;
    static constexpr int VALUE_PITCH = DV * 2;
    static constexpr int CHUNKS = DV / 8; /* of a row of the output */
    static constexpr int TILE_BYTES = KEYS * PITCH;
    static constexpr int VALUES_BYTES = KEYS * VALUE_PITCH;
    /* A stage is a tile of keys and one of values; of 8 bits they are made 16 elsewhere, beside the
     * scales, of which a key and its value have four. */
    static constexpr int RAW_BYTES = TILE_BYTES * BYTES / 2;
    static constexpr int STAGE_BYTES =
        RAW_BYTES + VALUES_BYTES * BYTES / 2 + (BYTES == 1 ? 8 * KEYS : 0);
    static constexpr int WIDE_BYTES = BYTES == 1 ? TILE_BYTES + VALUES_BYTES + 16 * KEYS : 0;
    static constexpr int SHARED_BYTES = ROWS * PITCH + WIDE_BYTES + STAGES * STAGE_BYTES;
};

struct prefill_args {
    const void *q;
    key_bases bases;
    void *out;
    float *lse;
    const int32_t *q_lens; /* NULL: q_len each; plain, and as many keys */
    int batch, q_heads, group;
    int q_len, kv_len;
    int tiles;  /* of ROWS queries */
    int causal; /* 0 or 1 */
    softmax_scale scale;
};

template <typename T, typename Shape> struct prefill_warp {
    using shape = Shape;
    static constexpr int D = shape::D, DV = shape::DV, BYTES = shape::BYTES;
    static constexpr bool ANY = shape::ANY;
    static constexpr int M_TILES = shape::M_TILES;
    static constexpr int K_STEPS = D / 16;
    static constexpr int PITCH = shape::PITCH;

    float out[M_TILES][DV / 8][4];
    float sum[M_TILES][2], max[M_TILES][2];
    uint32_t q[shape::Q_STAYS ? K_STEPS : 1][M_TILES][4];

    static __device__ __forceinline__ int lane() {
        return threadIdx.x % WARP;
    }

    __device__ __forceinline__ void start() {
#pragma unroll
        for (int m = 0; m < M_TILES; m++) {
#pragma unroll
            for (int n = 0; n < DV / 8; n++)
                out[m][n][0] = out[m][n][1] = out[m][n][2] = out[m][n][3] = 0.f;
            sum[m][0] = sum[m][1] = 0.f;
            max[m][0] = max[m][1] = -INFINITY;
        }
    }

    /* `base` is where the lane finds its row of step 0. */
    static __device__ __forceinline__ void load_queries(uint32_t (&a)[M_TILES][4], uint32_t base,
                                                        int step) {
#pragma unroll
        for (int m = 0; m < M_TILES; m++)
            load_matrix(a[m], chunk_step(base, step) + m * 16 * PITCH);
    }

    static __device__ __forceinline__ uint32_t queries_of(uint32_t q_rows) {
        uint32_t base = chunk_address(q_rows, PITCH, lane() & 15, lane() >> 4);
        forget(base);
        return base;
    }

    __device__ __forceinline__ void keep_queries(uint32_t q_rows) {
        if constexpr (shape::Q_STAYS) {
            const uint32_t base = queries_of(q_rows);
#pragma unroll
            for (int step = 0; step < K_STEPS; step++) load_queries(q[step], base, step);
        }
    }

    /* s = Q K^T of one tile. */
    __device__ __forceinline__ void score(float (&s)[M_TILES][shape::KEYS / 8][4], uint32_t q_rows,
                                          uint32_t keys) const {
        const uint32_t q_base = queries_of(q_rows);
        const uint32_t base =
            chunk_address(keys, PITCH, (lane() & 7) + ((lane() >> 4) << 3), (lane() >> 3) & 1);
#pragma unroll
        for (int step = 0; step < K_STEPS; step++) {
            uint32_t a[M_TILES][4];
            if constexpr (shape::Q_STAYS) {
#pragma unroll
                for (int i = 0; i < M_TILES * 4; i++) a[i / 4][i % 4] = q[step][i / 4][i % 4];
            } else {
                load_queries(a, q_base, step);
            }
#pragma unroll
            for (int n = 0; n < shape::KEYS / 16; n++) {
                uint32_t b[4];
                load_matrix(b, chunk_step(base, step) + n * 16 * PITCH);
#pragma unroll
                for (int m = 0; m < M_TILES; m++) {
                    number<T>::multiply_add(s[m][2 * n], a[m], b[0], b[1]);
                    number<T>::multiply_add(s[m][2 * n + 1], a[m], b[2], b[3]);
                }
            }
        }
    }

    /* Row r of the slab sees keys below diagonal + causal r. */
    __device__ __forceinline__ void mask(float (&s)[M_TILES][shape::KEYS / 8][4], int first_key,
                                         int diagonal, int causal) const {
#pragma unroll
        for (int m = 0; m < M_TILES; m++)
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const int row = causal * (m * 16 + (lane() >> 2) + r * 8);
                const int seen = diagonal + row - first_key - (lane() & 3) * 2;
#pragma unroll
                for (int n = 0; n < shape::KEYS / 8; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++)
                        if (n * 8 + e >= seen) s[m][n][r * 2 + e] = -INFINITY;
            }
    }

    /* Row r of the slab, which is at `place` + r, sees keys from there - before to there + behind.
     */
    template <typename Keys>
    __device__ __forceinline__ void mask_around(float (&s)[M_TILES][shape::KEYS / 8][4],
                                                int first_key, int place, int kv_len,
                                                const Keys &source) const {
#pragma unroll
        for (int m = 0; m < M_TILES; m++)
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const int at = place + m * 16 + (lane() >> 2) + r * 8;
                const int column = first_key + (lane() & 3) * 2;
                const int first = at - source.before - column;
                const int end = min(at + source.behind + 1, kv_len) - column;
#pragma unroll
                for (int n = 0; n < shape::KEYS / 8; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++)
                        if (n * 8 + e < first || n * 8 + e >= end) s[m][n][r * 2 + e] = -INFINITY;
            }
    }

    __device__ __forceinline__ void cap(float (&s)[M_TILES][shape::KEYS / 8][4],
                                        float inner) const {
#pragma unroll
        for (int m = 0; m < M_TILES; m++)
#pragma unroll
            for (int n = 0; n < shape::KEYS / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) s[m][n][e] = tanh_of(s[m][n][e] * inner);
    }

    /* What is stored for the lane's pair of keys of 8 in `scales`. */
    static __device__ __forceinline__ float2 scales_at(uint32_t scales, int which, int n) {
        return load_shared_pair(scales + (which * shape::KEYS + n * 8 + (lane() & 3) * 2) * 4);
    }

    /* Scores of 8 bits in units of log2 (bytes.cuh). */
    template <typename Keys>
    __device__ __forceinline__ void apply_scales(float (&s)[M_TILES][shape::KEYS / 8][4],
                                                 uint32_t scales, const Keys &source,
                                                 softmax_scale scale) const {
#pragma unroll
        for (int n = 0; n < shape::KEYS / 8; n++) {
            const float2 factor = scales_at(scales, 0, n), e = scales_at(scales, 1, n);
#pragma unroll
            for (int m = 0; m < M_TILES; m++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    s[m][n][i] = source.apply(s[m][n][i], i % 2 ? factor.y : factor.x,
                                              i % 2 ? e.y : e.x, scale);
        }
    }

    /* Moves the references if some row outgrew its own by more than the slack. */
    __device__ __forceinline__ void follow(const float (&s)[M_TILES][shape::KEYS / 8][4],
                                           softmax_scale scale) {
        float top[M_TILES][2];
        bool outgrown = false;
#pragma unroll
        for (int m = 0; m < M_TILES; m++)
#pragma unroll
            for (int r = 0; r < 2; r++) {
                float t = fmaxf(s[m][0][r * 2], s[m][0][r * 2 + 1]);
#pragma unroll
                for (int n = 1; n < shape::KEYS / 8; n++)
                    t = fmaxf(t, fmaxf(s[m][n][r * 2], s[m][n][r * 2 + 1]));
                top[m][r] = t;
                outgrown |= t > max[m][r] + scale.slack;
            }
        if (!__any_sync(ALL_LANES, outgrown)) return;
#pragma unroll
        for (int m = 0; m < M_TILES; m++)
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const float max_new = fmaxf(max[m][r], quad_max(top[m][r]));
                const float factor = rescaling(max[m][r], max_new, scale.to_log2);
                max[m][r] = max_new;
                sum[m][r] *= factor;
#pragma unroll
                for (int n = 0; n < DV / 8; n++) {
                    out[m][n][r * 2] *= factor;
                    out[m][n][r * 2 + 1] *= factor;
                }
            }
    }

    /* out += P V, with the weights of 16 keys made just before they are used, so that the
     * exponentials of one step overlap the products of the last. `scales`: of 8 bits. */
    __device__ __forceinline__ void add_values(const float (&s)[M_TILES][shape::KEYS / 8][4],
                                               uint32_t values, softmax_scale scale,
                                               uint32_t scales = 0) {
        float minus[M_TILES][2];
#pragma unroll
        for (int m = 0; m < M_TILES; m++)
#pragma unroll
            for (int r = 0; r < 2; r++) minus[m][r] = minus_reference(max[m][r], scale.to_log2);
        const uint32_t base = chunk_address(values, shape::VALUE_PITCH, lane() & 15, lane() >> 4);
#pragma unroll
        for (int step = 0; step < shape::KEYS / 16; step++) {
            uint32_t p[M_TILES][4];
#pragma unroll
            for (int m = 0; m < M_TILES; m++)
#pragma unroll
                for (int i = 0; i < 4; i++) { /* i as in A: row half i % 2, column half i / 2 */
                    const float *x = &s[m][step * 2 + i / 2][(i % 2) * 2];
                    const float low = exp2_fast(fmaf(x[0], scale.to_log2, minus[m][i % 2]));
                    const float high = exp2_fast(fmaf(x[1], scale.to_log2, minus[m][i % 2]));
                    if constexpr (BYTES == 1) {
                        const float2 f = scales_at(scales, 2, step * 2 + i / 2);
                        const float2 inverse = scales_at(scales, 3, step * 2 + i / 2);
                        sum[m][i % 2] = fmaf(low, inverse.x, fmaf(high, inverse.y, sum[m][i % 2]));
                        p[m][i] = number<T>::pack(low * f.x, high * f.y);
                    } else {
                        sum[m][i % 2] += low + high;
                        p[m][i] = number<T>::pack(low, high);
                    }
                }
#pragma unroll
            for (int n = 0; n < DV / 16; n++) {
                uint32_t b[4];
                load_matrix_transposed(b, chunk_step(base, n) + step * 16 * shape::VALUE_PITCH);
#pragma unroll
                for (int m = 0; m < M_TILES; m++) {
                    number<T>::multiply_add(out[m][2 * n], p[m], b[0], b[1]);
                    number<T>::multiply_add(out[m][2 * n + 1], p[m], b[2], b[3]);
                }
            }
        }
    }

    template <bool MASKED>
    __device__ __forceinline__ void add_tile(uint32_t q_rows, uint32_t keys, uint32_t values,
                                             int first_key, int diagonal, const prefill_args &a) {
        float s[M_TILES][shape::KEYS / 8][4] = {};
        score(s, q_rows, keys);
        if constexpr (MASKED) mask(s, first_key, diagonal, a.causal);
        follow(s, a.scale);
        add_values(s, values, a.scale);
    }

    /* The same with all traits, if some row of the slab sees some of the keys. */
    template <typename Keys>
    __device__ __forceinline__ void
    add_tile_around(uint32_t q_rows, uint32_t keys, uint32_t values, uint32_t scales, int first_key,
                    int place, int kv_len, const Keys &source, const prefill_args &a) {
        const int last_place = place + shape::SLAB - 1, end_key = first_key + shape::KEYS;
        if (end_key <= place - source.before || first_key > last_place + source.behind) return;
        float s[M_TILES][shape::KEYS / 8][4] = {};
        score(s, q_rows, keys);
        if constexpr (BYTES == 1)
            apply_scales(s, scales, source, a.scale);
        else if (source.inner > 0.f)
            cap(s, source.inner);
        if (first_key < last_place - source.before ||
            end_key > min(place + source.behind + 1, kv_len))
            mask_around(s, first_key, place, kv_len, source);
        follow(s, softmax_scale_in<Keys>(a.scale));
        add_values(s, values, softmax_scale_in<Keys>(a.scale), scales);
    }

    /* Normalises, gathers whole rows in this warp's part of Q's shared memory and writes rows
     * below `room`, those from `valid` on as zeros. `out` and `lse` are those of the slab's first
     * row, of `dim` elements. */
    __device__ __forceinline__ void finish(uint32_t q_rows, T *out_rows, float *lse_rows, int valid,
                                           int room, softmax_scale scale, int dim, float sink) {
#pragma unroll
        for (int m = 0; m < M_TILES; m++)
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const int row = m * 16 + (lane() >> 2) + r * 8;
                const float total = quad_sum(sum[m][r]);
                float inverse = total > 0.f ? inverse_of(total) : 0.f;
                row_end end{};
                if constexpr (ANY) {
                    end = end_with_sink(reference(max[m][r], scale.to_log2), total, sink);
                    inverse = end.factor;
                }
#pragma unroll
                for (int n = 0; n < DV / 8; n++) {
                    const uint32_t to =
                        q_rows + row * PITCH + ((n ^ (row & 7)) << 4) + (lane() & 3) * 4;
                    store_shared(to, pack_out<T>(out[m][n][r * 2] * inverse,
                                                 out[m][n][r * 2 + 1] * inverse));
                }
                if ((lane() & 3) == 0 && row < room)
                    lse_rows[row] = row >= valid ? 0.f
                                    : ANY        ? end.lse
                                          : lse_of(reference(max[m][r], scale.to_log2), total);
            }
        __syncwarp();
#pragma unroll
        for (int i = lane(); i < shape::SLAB * shape::CHUNKS; i += WARP) {
            const int row = i / shape::CHUNKS, chunk = i % shape::CHUNKS;
            uint4 bits = load_shared(q_rows + row * PITCH + ((chunk ^ (row & 7)) << 4));
            if (row >= valid) bits = make_uint4(0, 0, 0, 0);
            if constexpr (ANY) {
                if (row < room && chunk * 8 < dim)
                    *reinterpret_cast<uint4 *>(out_rows + row * dim + chunk * 8) = bits;
            } else {
                if (row < room) reinterpret_cast<uint4 *>(out_rows)[i] = bits;
            }
        }
    }
};

/* Rows of `out` and `lse` beyond a sequence's length. */
template <int THREADS>
__device__ __forceinline__ void clear_rows(void *out, float *lse, int rows, int dim) {
    for (int i = threadIdx.x; i < rows * (dim / 8); i += THREADS)
        static_cast<uint4 *>(out)[i] = make_uint4(0, 0, 0, 0);
    for (int i = threadIdx.x; i < rows; i += THREADS) lse[i] = 0.f;
}

/* What a block and its warp work on. Read twice, because the registers that hold it are needed in
 * between. */
struct prefill_place {
    int head;      /* of all B Hq */
    int first_row; /* of the block */
    int q_len, kv_len;
};

template <int ROWS, typename Keys>
__device__ __forceinline__ prefill_place prefill_place_of(const prefill_args &a,
                                                          const Keys &source) {
    int block = blockIdx.x;
    forget(block);
    const int heads = a.batch * a.q_heads, turn = block / heads;
    prefill_place at;
    at.head = block - turn * heads;
    at.first_row = (a.causal ? a.tiles - 1 - turn : turn) * ROWS;
    at.q_len = a.q_lens ? a.q_lens[at.head / a.q_heads] : a.q_len;
    if constexpr (Keys::ANY)
        at.kv_len = source.length(at.head / a.q_heads);
    else
        at.kv_len = a.q_lens ? min(at.q_len, a.kv_len) : a.kv_len;
    return at;
}

template <int WARPS> __device__ __forceinline__ int slab_of_warp() {
    int thread = threadIdx.x;
    forget(thread);
    const int warp = thread / WARP;
    return blockIdx.x & 1 ? WARPS - 1 - warp : warp;
}

/* Values narrower than keys, as MLA has them in prefill, beside D = 192: 32 rows fit a warp, and
 * products are five eighths of those of 256 columns of each. */
template <typename Keys> struct narrow_values : Keys { static constexpr int DV = 128; };

template <int D, typename Keys> __host__ __device__ constexpr int value_columns() {
    if constexpr (D == 192)
        return Keys::DV;
    else
        return D;
}

template <int D, bool SHORT, typename Keys>
using prefill_form = prefill_shape<D, SHORT, Keys::ANY, Keys::BYTES, value_columns<D, Keys>()>;

template <typename T, int D, bool SHORT, typename Keys>
__global__ void __launch_bounds__(prefill_form<D, SHORT, Keys>::THREADS,
                                  prefill_form<D, SHORT, Keys>::BLOCKS_PER_SM)
    prefill_kernel(const prefill_args a, const Keys source) {
    constexpr bool ANY = Keys::ANY;
    constexpr int BYTES = Keys::BYTES;
    using shape = prefill_form<D, SHORT, Keys>;
    using copies = key_copies<D, shape::KEYS, shape::THREADS, BYTES, shape::DV>;
    extern __shared__ __align__(1024) unsigned char shared[];
    const uint32_t q_tile = shared_address(shared);
    const uint32_t wide = q_tile + shape::ROWS * shape::PITCH; /* of 8 bits */
    const uint32_t ring = wide + shape::WIDE_BYTES;
    const auto slab = [] { return slab_of_warp<shape::WARPS>(); };
    const auto q_rows = [&] { return q_tile + slab() * shape::SLAB * shape::PITCH; };
    const int dim = dim_of<D>(source), value_dim = value_dim_of<D>(source);
    prefill_warp<T, shape> state;

    prefill_place at = prefill_place_of<shape::ROWS>(a, source);
    if (at.first_row >= at.q_len) {
        const int64_t row = (int64_t)at.head * a.q_len + at.first_row;
        clear_rows<shape::THREADS>(static_cast<T *>(a.out) + row * value_dim, a.lse + row,
                                   min(shape::ROWS, a.q_len - at.first_row), value_dim);
        return;
    }
    state.start();
    /* Plain: row r of the block sees keys below r + diagonal; for a valid row that is at most
     * kv_len. With all traits: the keys around r + diagonal. */
    const int rows = min(shape::ROWS, at.q_len - at.first_row);
    const int kv_len = at.kv_len;
    int diagonal, begin = 0, seen;
    if constexpr (ANY) {
        diagonal = at.first_row + kv_len - at.q_len;
        begin = max(0, diagonal - source.before);
        seen = min(rows + diagonal + source.behind, kv_len);
    } else {
        diagonal = a.causal ? at.first_row + kv_len - at.q_len + 1 : kv_len;
        seen = a.causal ? max(0, min(rows - 1 + diagonal, kv_len)) : kv_len;
    }
    const uint32_t kv_row = (uint32_t)(at.head / a.group) * (uint32_t)a.kv_len; /* in K and V */
    found_key found{NO_ROW, 0.f, 0.f}; /* ANY: of the tile to be loaded next */
    const auto look_up = [&](int first_key) {
        if constexpr (ANY) {
            int head = at.head;
            forget(head);
            const int b = head / a.q_heads;
            found = copies::look_up(source, b, (head - b * a.q_heads) / a.group, first_key, seen);
        }
    };
    const auto load = [&](int first_key, int stage) {
        const uint32_t to = ring + stage * shape::STAGE_BYTES;
        if constexpr (ANY) {
            copies::copy(to, to + shape::RAW_BYTES, a.bases, found, dim, value_dim);
            if constexpr (BYTES == 1) copies::put_scales(to + 2 * shape::RAW_BYTES, found);
            look_up(first_key + shape::KEYS);
        } else {
            copy_rows<D, shape::KEYS, shape::THREADS>(to, a.bases.k, kv_row, first_key, kv_len);
            copy_rows<D, shape::KEYS, shape::THREADS>(to + shape::TILE_BYTES, a.bases.v, kv_row,
                                                      first_key, kv_len);
        }
    };
    copy_rows<D, shape::ROWS, shape::THREADS>(q_tile, a.q, (uint32_t)at.head * (uint32_t)a.q_len,
                                              at.first_row, at.q_len, dim);
    look_up(begin);
#pragma unroll
    for (int stage = 0; stage < shape::STAGES - 1; stage++) {
        if (begin + stage * shape::KEYS < seen) load(begin + stage * shape::KEYS, stage);
        copy_commit();
    }

    int stage = 0;
    for (int first_key = begin; first_key < seen; first_key += shape::KEYS) {
        copy_wait<shape::STAGES - 2>();
        __syncthreads(); /* this step's tiles are whole, the last step's are free */
        const int ahead = first_key + (shape::STAGES - 1) * shape::KEYS;
        if (ahead < seen) load(ahead, stage == 0 ? shape::STAGES - 1 : stage - 1);
        copy_commit();
        if (first_key == begin) state.keep_queries(q_rows());

        uint32_t keys = ring + stage * shape::STAGE_BYTES;
        uint32_t values = keys + shape::TILE_BYTES, scales = 0;
        if constexpr (BYTES == 1) {
            const uint32_t raw = keys;
            keys = wide;
            values = wide + shape::TILE_BYTES;
            scales = values + shape::VALUES_BYTES;
            copies::template widen_rows<T, Keys::DTYPE>(keys, raw);
            copies::template widen_rows<T, Keys::DTYPE>(values, raw + shape::RAW_BYTES);
            copies::prepare_scales(scales, raw + 2 * shape::RAW_BYTES, source, a.scale);
            __syncthreads();
        }
        if constexpr (ANY) {
            state.add_tile_around(q_rows(), keys, values, scales, first_key,
                                  diagonal + slab() * shape::SLAB, kv_len, source, a);
        } else {
            const int slab_diagonal = diagonal + a.causal * slab() * shape::SLAB;
            if (first_key + shape::KEYS <= slab_diagonal)
                state.template add_tile<false>(q_rows(), keys, values, first_key, slab_diagonal, a);
            else if (first_key < slab_diagonal + a.causal * (shape::SLAB - 1))
                state.template add_tile<true>(q_rows(), keys, values, first_key, slab_diagonal, a);
        }
        stage = stage == shape::STAGES - 1 ? 0 : stage + 1;
    }

    copy_wait<0>();
    __syncthreads(); /* also without a step: Q's rows must have landed before they are reused */
    at = prefill_place_of<shape::ROWS>(a, source);
    const int slab_row = at.first_row + slab() * shape::SLAB;
    const int64_t row = (int64_t)at.head * a.q_len + slab_row;
    const float sink = sink_of(source, ANY ? at.head % a.q_heads : 0);
    state.finish(q_rows(), static_cast<T *>(a.out) + row * value_dim, a.lse + row,
                 at.q_len - slab_row, a.q_len - slab_row, softmax_scale_in<Keys>(a.scale),
                 value_dim, sink);
}

template <typename T, int D, bool SHORT, typename Keys> kernel_choice prefill_choice() {
    using shape = prefill_form<D, SHORT, Keys>;
    return {(const void *)prefill_kernel<T, D, SHORT, Keys>, shape::THREADS, shape::SHARED_BYTES};
}

inline bool values_are_narrow(const struct attn_problem *p) {
    return !has_bytes(p) && p->head_dim > 128 && p->head_dim <= 192 && p->value_dim <= 128;
}

template <typename Keys>
const char *prefill_prepare(const struct attn_problem *problem, struct attn_call *call) {
    const bool plain = !Keys::LENGTHS_ARE_READ && is_plain(problem);
    const bool few = problem->kv_len <= SHORT_KEYS;
    return kernel_state_make(problem, call, 0, [problem, plain, few](auto type, auto dim) {
        using T = decltype(type);
        constexpr int D = decltype(dim)::value;
        if constexpr (!Keys::LENGTHS_ARE_READ)
            if (plain)
                return few ? prefill_choice<T, D, D == 64, Keys>()
                           : prefill_choice<T, D, false, Keys>();
        using any = any_keys<Keys>;
        if constexpr (D == 256)
            if (values_are_narrow(problem))
                return prefill_choice<T, 192, false, narrow_values<any>>();
        return choose_bytes<any>(
            problem, [](auto keys) { return prefill_choice<T, D, false, decltype(keys)>(); });
    });
}

template <typename Keys>
const char *prefill_launch(const struct attn_problem *problem, const struct attn_call *call) {
    const char *fault = keys_check(problem, call);
    if (fault) return fault;
    const struct kernel_state *state = static_cast<const struct kernel_state *>(call->state);
    const int rows = dim_at_least(problem) <= 128 || values_are_narrow(problem)
                         ? prefill_shape<128, false>::ROWS
                         : prefill_shape<256, false>::ROWS;
    static_assert(prefill_shape<64, false>::ROWS == prefill_shape<128, false>::ROWS &&
                  prefill_shape<64, true>::ROWS == prefill_shape<128, false>::ROWS &&
                  prefill_shape<192, false, true, 2, 128>::ROWS == prefill_shape<128, false>::ROWS);
    const int64_t tiles = (problem->q_len + rows - 1) / rows;
    using all = byte_keys<any_keys<Keys>, ATTN_E4M3>;
    all keys = keys_make(all{}, problem, call);
    prefill_args args = {
        .q = call->tensors[ATTN_Q].data,
        .bases = key_bases_of(problem, call),
        .out = call->tensors[ATTN_OUT].data,
        .lse = static_cast<float *>(call->tensors[ATTN_LSE].data),
        .q_lens = keys.q_lens                         ? keys.q_lens
                  : problem->q_len == problem->kv_len ? keys.seq_lens
                                                      : NULL,
        .batch = (int)problem->batch,
        .q_heads = (int)problem->q_heads,
        .group = (int)(problem->q_heads / problem->kv_heads),
        .q_len = (int)problem->q_len,
        .kv_len = (int)problem->kv_len,
        .tiles = (int)tiles,
        .causal = problem->traits & ATTN_CAUSAL ? 1 : 0,
        .scale = softmax_scale_of(problem),
    };
    void *parameters[] = {&args, &keys}; /* of which the others' are the beginning */
    return kernel_launch(state, tiles * problem->batch * problem->q_heads, parameters, call);
}

} // namespace attn

#endif
