/* Flash attention over rows of queries in f32, as a matrix product on the FMA units.
 *
 * The queries of all heads of a kv head are its rows, query by query, head by head. A block owns
 * ROWS of them and VALUES columns of the output, and walks over the keys KEYS at a time; values
 * that are wider are shared out to blocks that compute the same weights. What a step needs passes
 * through two places in shared memory in pieces: COLUMNS columns of Q and K each for the scores, so
 * that any head dim will do and none takes more shared memory, then PIECE_KEYS rows of V. While a
 * piece is used the next is copied, by cp.async, or, where elements have to be widened, scaled or
 * read one by one, through registers.
 *
 * A warp owns SLAB rows alone: its weights go through shared memory, and no other warp waits for
 * them. A thread has EACH of these rows, ROW_LANES apart, and of them every KEY_LANES-th score, and
 * as many columns of the output in fours. Per four columns of Q and K it reads EACH + KEYS_EACH
 * times 16 bytes and does 4 EACH KEYS_EACH FMAs: 16 reads to 256, or 12 to 128 for 256 values. A
 * read takes shared memory two clocks where lanes that differ by 1 or 2 read the same, which is why
 * lanes alternate between rows first: while four warps issue 128 FMAs each, in 128 clocks, shared
 * memory is busy for 64, or 96. */
#ifndef ATTN_CUDA_FMA_PREFILL_CUH
#define ATTN_CUDA_FMA_PREFILL_CUH

#include "fma.cuh"

namespace attn {

/* What a block works on; in shared memory, because registers are short. */
struct fma_prefill_block {
    int b, g, first_row, first_value;
    int q_len, kv_len;
    int rows;       /* of ROWS, those that are a query's */
    int begin, end; /* keys that some row sees */
};

template <int WIDTH> struct fma_prefill_shape {
    static constexpr int VALUES = WIDTH;
    static constexpr int WARPS = 4;
    static constexpr int THREADS = WARPS * WARP;
    static constexpr int KEY_LANES = VALUES <= 64 ? 8 : 16;
    static constexpr int ROW_LANES = WARP / KEY_LANES;
    static constexpr int EACH = 8;
    static constexpr int SLAB = ROW_LANES * EACH;
    static constexpr int ROWS = WARPS * SLAB;
    static constexpr int KEYS = VALUES == 128 ? 128 : 64; /* 8 x 8 scores a thread, or 8 x 4 */
    static constexpr int KEYS_EACH = KEYS / KEY_LANES;
    static constexpr int QUADS = VALUES / 4 / KEY_LANES;
    static constexpr int COLUMNS = 32;
    static constexpr int PIECE_KEYS = 4096 / VALUES;
    static constexpr int PIECE = (ROWS + KEYS) * COLUMNS; /* floats; 4096 of V fit */
    static constexpr int PITCH = KEYS + KEY_LANES; /* of weights: lanes hit banks of their own */
    static constexpr int SHARED_BYTES = (2 * PIECE + ROWS * PITCH) * 4 + ROWS * 16 + 2 * KEYS * 4 +
                                        (int)sizeof(fma_prefill_block); /* 56 to 90 KiB */
    static constexpr int BLOCKS_PER_SM = 2; /* by registers: 253 or 254 a thread */
};

/* What a row of the block is: where on the diagonal, and whose; head -1: none. */
struct fma_row_place {
    int place, head;
};

template <typename Shape> struct fma_prefill_memory {
    float *pieces;         /* [2][PIECE] */
    float *weights;        /* [ROWS][PITCH] */
    float *tops;           /* [ROWS] */
    fma_row_place *places; /* [ROWS] */
    uint32_t *q_rows;      /* [ROWS] */
    uint32_t *key_rows;    /* [2][KEYS], of this step and the next */
    fma_prefill_block *block;

    __device__ __forceinline__ explicit fma_prefill_memory(unsigned char *shared) {
        pieces = reinterpret_cast<float *>(shared);
        weights = pieces + 2 * Shape::PIECE;
        tops = weights + Shape::ROWS * Shape::PITCH;
        places = reinterpret_cast<fma_row_place *>(tops + Shape::ROWS);
        q_rows = reinterpret_cast<uint32_t *>(places + Shape::ROWS);
        key_rows = q_rows + Shape::ROWS;
        block = reinterpret_cast<fma_prefill_block *>(key_rows + 2 * Shape::KEYS);
    }
    /* Whether some row of the warp sees some of the keys from `first_key` on, and whether all see
     * all.
     */
    __device__ __forceinline__ bool sees(const fma_prefill_block &at, const fma_args &a,
                                         int first_key) const {
        const int slab = threadIdx.x / WARP * Shape::SLAB;
        const int last = min(at.rows, slab + Shape::SLAB) - 1;
        return slab < at.rows && first_key + Shape::KEYS > places[slab].place - a.before &&
               first_key <= places[last].place + a.behind;
    }
    __device__ __forceinline__ bool sees_all(const fma_prefill_block &at, const fma_args &a,
                                             int first_key) const {
        const int slab = threadIdx.x / WARP * Shape::SLAB;
        const int last = min(at.rows, slab + Shape::SLAB) - 1;
        return first_key >= places[last].place - a.before &&
               first_key + Shape::KEYS <= min(places[slab].place + a.behind + 1, at.kv_len);
    }
};

template <typename Shape>
__device__ __forceinline__ fma_prefill_block fma_prefill_block_of(const fma_args &a) {
    const int block = blockIdx.x, each = a.batch * a.kv_heads * a.chunks;
    const int turn = block / each, rest = block - turn * each;
    const int head = rest / a.chunks;
    fma_prefill_block at;
    at.b = head / a.kv_heads;
    at.g = head - at.b * a.kv_heads;
    at.first_value = (rest - head * a.chunks) * Shape::VALUES;
    at.first_row = (a.heavy_last ? a.tiles - 1 - turn : turn) * Shape::ROWS;
    at.q_len = fma_q_len(a, at.b);
    at.kv_len = fma_kv_len(a, at.b);
    at.rows = max(0, min(Shape::ROWS, at.q_len * a.group - at.first_row));
    const int shift = at.kv_len - at.q_len;
    at.begin = max(0, at.first_row / a.group + shift - a.before);
    at.end = min(at.kv_len, (at.first_row + at.rows - 1) / a.group + shift + a.behind + 1);
    if (at.rows == 0) at.end = at.begin;
    return at;
}

/* Copies pieces: of Q and K, chunk c of 16 bytes of row r to c ^ (r & 7), or of V. */
template <typename Shape> struct fma_loader {
    static constexpr int THREADS = Shape::THREADS;
    const fma_args &a;
    const fma_prefill_memory<Shape> &memory;

    /* Piece `piece` of a step, of which `score_pieces` are of Q and K. */
    __device__ __forceinline__ void load(int piece, int score_pieces, int step, float *to) const {
        const uint32_t *key_rows = memory.key_rows + step % 2 * Shape::KEYS;
        const bool of_values = piece >= score_pieces;
        if (of_values) key_rows += (piece - score_pieces) * Shape::PIECE_KEYS;
        if (!a.asynchronous)
            through_registers(to, key_rows, of_values,
                              of_values ? memory.block->first_value : piece * Shape::COLUMNS);
        else if (of_values)
            values(to, key_rows);
        else
            scores(to, key_rows, piece * Shape::COLUMNS);
        copy_commit();
    }

    __device__ __forceinline__ void scores(float *to, const uint32_t *key_rows, int column) const {
        const int chunk = threadIdx.x % 8, first = threadIdx.x / 8;
        constexpr int STEP = THREADS / 8;
        const bool there = column + chunk * 4 < a.dim;
        float *place = to + first * Shape::COLUMNS + ((chunk ^ (first & 7)) << 2);
#pragma unroll
        for (int n = 0; n < (Shape::ROWS + Shape::KEYS) / STEP; n++) {
            const bool query = n < Shape::ROWS / STEP;
            const uint32_t row =
                query ? memory.q_rows[first + n * STEP] : key_rows[first + n * STEP - Shape::ROWS];
            const bool read = row != NO_ROW && there;
            copy_async(shared_address(place + n * STEP * Shape::COLUMNS),
                       static_cast<const float *>(query ? a.q : a.k) +
                           (read ? (int64_t)row * a.dim + column + chunk * 4 : 0),
                       read);
        }
    }

    __device__ __forceinline__ void values(float *to, const uint32_t *key_rows) const {
        constexpr int CHUNKS = Shape::VALUES / 4, STEP = THREADS / CHUNKS;
        const int chunk = threadIdx.x % CHUNKS, first = threadIdx.x / CHUNKS;
        const int column = memory.block->first_value + chunk * 4;
#pragma unroll
        for (int n = 0; n < Shape::PIECE_KEYS / STEP; n++) {
            const uint32_t row = key_rows[first + n * STEP];
            const bool read = row != NO_ROW && column < a.value_dim;
            copy_async(shared_address(to + threadIdx.x * 4 + n * STEP * Shape::VALUES),
                       static_cast<const float *>(a.v) +
                           (read ? (int64_t)row * a.v_pitch + column : 0),
                       read);
        }
    }

    /* The same of numbers that cannot be copied as they are; the code is there once. */
    __device__ __forceinline__ void through_registers(float *to, const uint32_t *key_rows,
                                                      bool of_values, int first_column) const {
        constexpr int BATCH = 4, SHIFT = Shape::VALUES == 64 ? 4 : Shape::VALUES == 128 ? 5 : 6;
        static_assert(Shape::VALUES == 4 << SHIFT);
        const int shift = of_values ? SHIFT : 3;
#pragma unroll 1
        for (int of_keys = of_values ? 1 : 0; of_keys < 2; of_keys++) {
            const void *base = of_values ? a.v : of_keys ? a.k : a.q;
            const float *scales = of_values ? a.v_scale : of_keys ? a.k_scale : NULL;
            const uint32_t *rows = of_keys ? key_rows : memory.q_rows;
            const int dtype = of_keys ? a.kv_dtype : a.dtype;
            const int pitch = of_values ? a.v_pitch : a.dim;
            const int width = of_values ? a.value_dim : a.dim;
            const int count = (of_values ? Shape::PIECE_KEYS
                               : of_keys ? Shape::KEYS
                                         : Shape::ROWS)
                              << shift;
            float *place = to + (!of_values && of_keys ? Shape::ROWS * Shape::COLUMNS : 0);
#pragma unroll 1
            for (int i = threadIdx.x; i < count; i += THREADS * BATCH) {
                uint4 bits[BATCH];
                float scale[BATCH];
#pragma unroll
                for (int n = 0; n < BATCH; n++) {
                    const int four = i + n * THREADS;
                    const uint32_t row = rows[four >> shift];
                    const int column = first_column + ((four & ((1 << shift) - 1)) << 2);
                    const int left = row == NO_ROW ? 0 : width - column;
                    bits[n] = read_four(base, left > 0 ? (int64_t)row * pitch + column : 0, left,
                                        dtype, a.together);
                    scale[n] =
                        scales && left > 0 ? fma_scale(a, scales, memory.block->g, row) : 1.f;
                }
#pragma unroll
                for (int n = 0; n < BATCH; n++) {
                    const int four = i + n * THREADS, row = four >> shift;
                    const int swizzle = of_values ? 0 : row & 7;
                    reinterpret_cast<float4 *>(place)[four ^ swizzle] =
                        times(widen_four(bits[n], dtype, a.together), scale[n]);
                }
            }
        }
    }
};

template <typename Shape> struct fma_prefill_thread {
    static constexpr int EACH = Shape::EACH, KEYS_EACH = Shape::KEYS_EACH, QUADS = Shape::QUADS;

    float4 out[EACH][QUADS];
    float *row_weights, *row_tops; /* of the thread's first row */

    static __device__ __forceinline__ int key_lane() {
        return threadIdx.x % WARP / 2 % Shape::KEY_LANES;
    }
    static __device__ __forceinline__ int row_lane() {
        const int lane = threadIdx.x % WARP;
        return lane % 2 + lane / (2 * Shape::KEY_LANES) * 2;
    }
    /* The first of the thread's rows, in the block. */
    static __device__ __forceinline__ int first_row() {
        return threadIdx.x / WARP * Shape::SLAB + row_lane();
    }

    /* Of row i of the thread, in shared memory for want of registers: weights [KEYS]; the sum of
     * those that this lane made; the largest q.k, or logit in log2. */
    __device__ __forceinline__ float *weights(int i) const {
        return row_weights + i * Shape::ROW_LANES * Shape::PITCH;
    }
    __device__ __forceinline__ float &sum(int i) const {
        return weights(i)[Shape::KEYS + key_lane()];
    }
    __device__ __forceinline__ float &top(int i) const {
        return row_tops[i * Shape::ROW_LANES];
    }

    __device__
        __forceinline__ explicit fma_prefill_thread(const fma_prefill_memory<Shape> &memory) {
        row_weights = memory.weights + first_row() * Shape::PITCH;
        row_tops = memory.tops + first_row();
#pragma unroll
        for (int i = 0; i < EACH; i++) {
#pragma unroll
            for (int n = 0; n < QUADS; n++) out[i][n] = make_float4(0.f, 0.f, 0.f, 0.f);
            sum(i) = 0.f;
            if (key_lane() == 0) top(i) = -INFINITY;
        }
    }

    /* s += Q K^T over `columns` columns, or some more that are zero. What is more of, rows or keys
     * of a thread, is read one at a time, to save registers. */
    __device__ __forceinline__ void score(float (&s)[EACH][KEYS_EACH], const float *piece,
                                          int columns) const {
        const float *queries = piece + first_row() * Shape::COLUMNS;
        const float *keys = piece + (Shape::ROWS + key_lane()) * Shape::COLUMNS;
#pragma unroll 1
        for (int part = 0; part < Shape::COLUMNS / 4 && part * 4 < columns; part += 4) {
            /* Chunk c ^ (row & 7), so put that most of it is known to the compiler. */
            constexpr int LANES = Shape::ROW_LANES;
            const float *near = queries + (part << 2), *far = queries + ((part ^ 4) << 2);
            const auto query = [&](int i, int c) {
                const int low = ((row_lane() ^ c) & (LANES - 1)) + ((c ^ i * LANES) & 3 & -LANES);
                const float *from = i * LANES & 4 ? far : near;
                return *reinterpret_cast<const float4 *>(from + i * LANES * Shape::COLUMNS +
                                                         (low << 2));
            };
            const auto key = [&](int j, int c) {
                return *reinterpret_cast<const float4 *>(keys +
                                                         j * Shape::KEY_LANES * Shape::COLUMNS +
                                                         (((part + c) ^ (key_lane() & 7)) << 2));
            };
#pragma unroll
            for (int c = 0; c < 4; c++) {
                if constexpr (KEYS_EACH < EACH) {
                    float4 k[KEYS_EACH];
#pragma unroll
                    for (int j = 0; j < KEYS_EACH; j++) k[j] = key(j, c);
#pragma unroll
                    for (int i = 0; i < EACH; i++) add_products(s[i], query(i, c), k);
                } else {
                    float4 q[EACH];
#pragma unroll
                    for (int i = 0; i < EACH; i++) q[i] = query(i, c);
#pragma unroll
                    for (int j = 0; j < KEYS_EACH; j++) {
                        float column[EACH];
#pragma unroll
                        for (int i = 0; i < EACH; i++) column[i] = s[i][j];
                        add_products(column, key(j, c), q);
#pragma unroll
                        for (int i = 0; i < EACH; i++) s[i][j] = column[i];
                    }
                }
            }
        }
    }

    template <int N>
    static __device__ __forceinline__ void add_products(float (&sums)[N], float4 x,
                                                        const float4 (&y)[N]) {
#pragma unroll
        for (int n = 0; n < N; n++) sums[n] = fmaf(x.x, y[n].x, sums[n]);
#pragma unroll
        for (int n = 0; n < N; n++) sums[n] = fmaf(x.y, y[n].y, sums[n]);
#pragma unroll
        for (int n = 0; n < N; n++) sums[n] = fmaf(x.z, y[n].z, sums[n]);
#pragma unroll
        for (int n = 0; n < N; n++) sums[n] = fmaf(x.w, y[n].w, sums[n]);
    }

    /* Adds scores up in shared memory and begins anew, after every piece of 32 columns: plain sums
     * of 239 products, half of them equal, had an lse 1.22 times its bound off; of 64, 0.56 times,
     * and of 32, 0.01. */
    __device__ __forceinline__ void put_aside(float (&s)[EACH][KEYS_EACH], bool first) const {
#pragma unroll
        for (int i = 0; i < EACH; i++)
#pragma unroll
            for (int j = 0; j < KEYS_EACH; j++) {
                float &x = weights(i)[key_lane() + j * Shape::KEY_LANES];
                x = first ? s[i][j] : x + s[i][j];
                s[i][j] = 0.f;
            }
    }
    __device__ __forceinline__ void take_up(float (&s)[EACH][KEYS_EACH]) const {
#pragma unroll
        for (int i = 0; i < EACH; i++)
#pragma unroll
            for (int j = 0; j < KEYS_EACH; j++)
                s[i][j] += weights(i)[key_lane() + j * Shape::KEY_LANES];
    }

    /* Makes logits, in units of log2, of q.k of keys from first_key on; by way of shared memory, so
     * that the code is there once and takes few registers. */
    __device__ __forceinline__ void change(float (&s)[EACH][KEYS_EACH], const fma_args &a,
                                           const fma_row_place *places, const fma_prefill_block &at,
                                           int first_key) const {
#pragma unroll
        for (int i = 0; i < EACH; i++)
#pragma unroll
            for (int j = 0; j < KEYS_EACH; j++)
                weights(i)[key_lane() + j * Shape::KEY_LANES] = s[i][j];
#pragma unroll 1
        for (int i = 0; i < EACH; i++) {
            const fma_row_place row = places[first_row() + i * Shape::ROW_LANES];
            if (row.head < 0) break;
            const int query = row.place - at.kv_len + at.q_len;
            const fma_logits logits(a, at.b, row.head, query, row.place);
#pragma unroll 1
            for (int j = key_lane(); j < Shape::KEYS && first_key + j < at.end;
                 j += Shape::KEY_LANES)
                weights(i)[j] = logits(a, weights(i)[j], first_key + j);
        }
#pragma unroll
        for (int i = 0; i < EACH; i++)
#pragma unroll
            for (int j = 0; j < KEYS_EACH; j++)
                s[i][j] = weights(i)[key_lane() + j * Shape::KEY_LANES];
    }

    __device__ __forceinline__ void mask(float (&s)[EACH][KEYS_EACH], const fma_args &a,
                                         const fma_row_place *places, int first_key,
                                         int kv_len) const {
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            const int place = places[first_row() + i * Shape::ROW_LANES].place;
            const int column = first_key + key_lane();
            const int first = place - a.before - column;
            const int end = min(place + a.behind + 1, kv_len) - column;
#pragma unroll
            for (int j = 0; j < KEYS_EACH; j++)
                if (j * Shape::KEY_LANES < first || j * Shape::KEY_LANES >= end)
                    s[i][j] = -INFINITY;
        }
    }

    /* Moves the references, and leaves weights in shared memory. `unit` is what scores are in log2.
     */
    __device__ __forceinline__ void weigh(const float (&s)[EACH][KEYS_EACH], float unit) {
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            const float before = top(i);
            float after = before;
#pragma unroll
            for (int j = 0; j < KEYS_EACH; j++) after = fmaxf(after, s[i][j]);
#pragma unroll
            for (int step = 2; step < 2 * Shape::KEY_LANES; step *= 2)
                after = fmaxf(after, __shfl_xor_sync(ALL_LANES, after, step));
            if (key_lane() == 0) top(i) = after;
            const float minus = after == -INFINITY ? 0.f : -after * unit;
            const float kept = before == -INFINITY ? 0.f : exp2_fast(fmaf(before, unit, minus));
            float total = sum(i) * kept;
#pragma unroll
            for (int n = 0; n < QUADS; n++) out[i][n] = times(out[i][n], kept);
#pragma unroll
            for (int j = 0; j < KEYS_EACH; j++) {
                const float p = exp2_fast(fmaf(s[i][j], unit, minus));
                total += p;
                weights(i)[key_lane() + j * Shape::KEY_LANES] = p;
            }
            sum(i) = total;
        }
        __syncwarp();
    }

    /* out += P V of `keys` keys, or some more whose weights and values are 0, from number `first`
     * of the step on. */
    __device__ __forceinline__ void add_values(int first, const float *piece, int keys) {
        const float *from = row_weights + first;
        const float *values = piece + key_lane() * 4;
#pragma unroll 2
        for (int j = 0; j < keys; j += 4) {
            float4 p[EACH];
#pragma unroll
            for (int i = 0; i < EACH; i++)
                p[i] = *reinterpret_cast<const float4 *>(from +
                                                         i * Shape::ROW_LANES * Shape::PITCH + j);
#pragma unroll
            for (int n = 0; n < QUADS; n++) {
                const float *column = values + j * Shape::VALUES + n * Shape::KEY_LANES * 4;
                float4 v[4];
#pragma unroll
                for (int e = 0; e < 4; e++)
                    v[e] = *reinterpret_cast<const float4 *>(column + e * Shape::VALUES);
#pragma unroll
                for (int i = 0; i < EACH; i++) out[i][n] = add_times(p[i].x, v[0], out[i][n]);
#pragma unroll
                for (int i = 0; i < EACH; i++) out[i][n] = add_times(p[i].y, v[1], out[i][n]);
#pragma unroll
                for (int i = 0; i < EACH; i++) out[i][n] = add_times(p[i].z, v[2], out[i][n]);
#pragma unroll
                for (int i = 0; i < EACH; i++) out[i][n] = add_times(p[i].w, v[3], out[i][n]);
            }
        }
    }

    /* Writes the rows of the block, zeros beyond a sequence's queries, by way of shared memory: the
     * code is there once, and rows are written whole. */
    __device__ __forceinline__ void finish(const fma_args &a, const fma_prefill_block &at,
                                           const fma_prefill_memory<Shape> &memory, float unit) {
        const int lane = threadIdx.x % WARP, slab = threadIdx.x / WARP * Shape::SLAB;
        float2 *stats = reinterpret_cast<float2 *>(memory.weights + slab * Shape::PITCH);
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            float total = sum(i);
#pragma unroll
            for (int step = 2; step < 2 * Shape::KEY_LANES; step *= 2)
                total += __shfl_xor_sync(ALL_LANES, total, step);
            if (key_lane() == 0)
                stats[row_lane() + i * Shape::ROW_LANES] = make_float2(top(i) * unit, total);
        }
        __syncwarp();
        if (lane < Shape::SLAB) {
            row_end end = {0.f, 0.f};
            if (slab + lane < at.rows) {
                const float sink =
                    a.sinks ? __ldg(&a.sinks[memory.places[slab + lane].head]) : -INFINITY;
                end = end_with_sink(stats[lane].x, stats[lane].y, sink);
            }
            const int64_t row = row_of(a, at, slab + lane);
            if (row >= 0 && at.first_value == 0) a.lse[row] = end.lse;
            stats[lane].x = end.factor;
        }
        constexpr int AT_ONCE = 2 * Shape::KEY_LANES; /* fours of a row */
        float4 *own = reinterpret_cast<float4 *>(memory.pieces) + slab * AT_ONCE;
#pragma unroll
        for (int n = 0; n < QUADS; n += 2) {
            __syncwarp();
#pragma unroll
            for (int i = 0; i < EACH; i++)
#pragma unroll
                for (int e = 0; e < 2; e++)
                    own[(row_lane() + i * Shape::ROW_LANES) * AT_ONCE + key_lane() +
                        e * Shape::KEY_LANES] = out[i][n + e];
            __syncwarp();
#pragma unroll 1
            for (int i = lane; i < Shape::SLAB * AT_ONCE; i += WARP) {
                const int row = i / AT_ONCE;
                const int64_t to = row_of(a, at, slab + row);
                const int column = at.first_value + (n * Shape::KEY_LANES + i % AT_ONCE) * 4;
                float4 x = make_float4(0.f, 0.f, 0.f, 0.f);
                if (slab + row < at.rows) x = times(own[i], stats[row].x);
                if (to >= 0)
                    write_four(a.out, to * a.value_dim + column, a.value_dim - column, x, a.dtype,
                               a.together);
            }
        }
    }

    /* The number of a row of the block in out and lse, or -1. */
    static __device__ __forceinline__ int64_t row_of(const fma_args &a, const fma_prefill_block &at,
                                                     int row) {
        const int query = (at.first_row + row) / a.group;
        const int head = at.g * a.group + at.first_row + row - query * a.group;
        return query < a.q_len ? ((int64_t)at.b * a.q_heads + head) * a.q_len + query : -1;
    }
};

template <int VALUES>
__global__ void __launch_bounds__(fma_prefill_shape<VALUES>::THREADS,
                                  fma_prefill_shape<VALUES>::BLOCKS_PER_SM)
    fma_prefill_kernel(const fma_args a) {
    using shape = fma_prefill_shape<VALUES>;
    extern __shared__ __align__(1024) unsigned char shared[];
    const fma_prefill_memory<shape> memory(shared);
    const fma_prefill_block &at = *memory.block;
    if (threadIdx.x == 0) *memory.block = fma_prefill_block_of<shape>(a);
    __syncthreads();
    const auto look_up = [&](int first_key, int step) {
        if (threadIdx.x < shape::KEYS) {
            const int key = first_key + (int)threadIdx.x;
            memory.key_rows[step % 2 * shape::KEYS + threadIdx.x] =
                key < at.end ? fma_row(a, at.b, at.g, key) : NO_ROW;
        }
    };
    look_up(at.begin, 0);
    const int row = threadIdx.x;
    static_assert(shape::ROWS <= shape::THREADS);
    if (row < shape::ROWS) {
        const int query = (at.first_row + row) / a.group;
        const int head = at.g * a.group + at.first_row + row - query * a.group;
        const bool there = row < at.rows;
        memory.places[row].place = there ? query + at.kv_len - at.q_len : -2 * (int)NO_BOUND;
        memory.places[row].head = there ? head : -1;
        memory.q_rows[row] =
            there ? (uint32_t)(at.b * a.q_heads + head) * (uint32_t)a.q_len + (uint32_t)query
                  : NO_ROW;
    }
    __syncthreads();

    const int score_pieces = ceil_div(a.dim, shape::COLUMNS);
    const int pieces = score_pieces + shape::KEYS / shape::PIECE_KEYS;
    const fma_loader<shape> loader{a, memory};
    fma_prefill_thread<shape> state(memory);
    const float unit = a.changes ? 1.f : a.to_log2;
    int slot = 1;
    for (int first_key = at.begin, step = 0; first_key < at.end; first_key += shape::KEYS, step++) {
        const int end_key = first_key + shape::KEYS;
        const bool seen = memory.sees(at, a, first_key);
        float s[shape::EACH][shape::KEYS_EACH] = {};
#pragma unroll 1
        for (int piece = step == 0 ? -1 : 0; piece < pieces; piece++, slot ^= 1) {
            copy_wait<0>();
            __syncthreads(); /* this piece is whole, the place of the last is free */
            if (piece == 0) look_up(end_key, step + 1);
            const bool last = piece + 1 == pieces;
            if (!last || end_key < at.end)
                loader.load(last ? 0 : piece + 1, score_pieces, last ? step + 1 : step,
                            memory.pieces + (slot ^ 1) * shape::PIECE);
            if (!seen || piece < 0) continue;
            const float *here = memory.pieces + slot * shape::PIECE;
            if (piece < score_pieces) {
                state.score(s, here, a.dim - piece * shape::COLUMNS);
                if (piece + 1 < score_pieces) state.put_aside(s, piece == 0);
            } else {
                const int first = (piece - score_pieces) * shape::PIECE_KEYS;
                if (first == 0) {
                    if (score_pieces > 1) state.take_up(s);
                    if (a.changes) state.change(s, a, memory.places, at, first_key);
                    if (!memory.sees_all(at, a, first_key))
                        state.mask(s, a, memory.places, first_key, at.kv_len);
                    state.weigh(s, unit);
                }
                state.add_values(first, here, min(shape::PIECE_KEYS, at.end - first_key - first));
            }
        }
        if (seen) __syncwarp(); /* all lanes have read the weights */
    }
    __syncthreads(); /* all pieces have been used */
    state.finish(a, at, memory, unit);
}

inline int fma_prefill_values(const struct attn_problem *p) {
    return p->value_dim <= 64 ? 64 : p->value_dim <= 128 ? 128 : 256;
}

inline int64_t fma_prefill_tiles(const struct attn_problem *p) {
    const int64_t rows =
        fma_prefill_values(p) == 64 ? fma_prefill_shape<64>::ROWS : fma_prefill_shape<128>::ROWS;
    static_assert(fma_prefill_shape<128>::ROWS == fma_prefill_shape<256>::ROWS);
    return (p->q_len * (p->q_heads / p->kv_heads) + rows - 1) / rows;
}

inline int64_t fma_prefill_chunks(const struct attn_problem *p) {
    return (p->value_dim + fma_prefill_values(p) - 1) / fma_prefill_values(p);
}

inline const char *fma_prefill_refuse(const struct attn_problem *p) {
    const char *reason = fma_refuse(p);
    if (reason) return reason;
    const int64_t group = p->q_heads / p->kv_heads;
    if (p->q_len * group >= NO_BOUND) return "more than 2^29 queries of a kv head";
    if (p->batch * p->q_heads * p->q_len >= UINT32_MAX) return "q has more than 2^32 rows";
    if (fma_prefill_tiles(p) * fma_prefill_chunks(p) * p->batch * p->kv_heads > INT32_MAX)
        return "more than 2^31 blocks";
    return NULL;
}

inline const char *fma_prefill_prepare(const struct attn_problem *problem, struct attn_call *call) {
    const int values = fma_prefill_values(problem);
    return kernel_state_make(problem, call, 0, [values](auto, auto) -> kernel_choice {
        using narrow = fma_prefill_shape<64>;
        using usual = fma_prefill_shape<128>;
        using wide = fma_prefill_shape<256>;
        if (values == 64)
            return {(const void *)fma_prefill_kernel<64>, narrow::THREADS, narrow::SHARED_BYTES};
        if (values == 128)
            return {(const void *)fma_prefill_kernel<128>, usual::THREADS, usual::SHARED_BYTES};
        return {(const void *)fma_prefill_kernel<256>, wide::THREADS, wide::SHARED_BYTES};
    });
}

inline const char *fma_prefill_launch(const struct attn_problem *problem,
                                      const struct attn_call *call) {
    const char *fault = fma_check(problem, call);
    if (fault) return fault;
    fma_args args = fma_args_of(problem, call);
    args.tiles = (int)fma_prefill_tiles(problem);
    args.chunks = (int)fma_prefill_chunks(problem);
    args.heavy_last = args.behind == 0;
    void *parameters[] = {&args};
    return kernel_launch(static_cast<const struct kernel_state *>(call->state),
                         (int64_t)args.tiles * args.chunks * args.batch * args.kv_heads, parameters,
                         call);
}

} // namespace attn

#endif
