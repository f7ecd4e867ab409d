/* Rows from global into tiles in shared memory, by all threads of a block of prefill: of queries,
 * and of keys and values, which may be looked up and may have 8 bits. */
#ifndef ATTN_CUDA_KEY_COPIES_CUH
#define ATTN_CUDA_KEY_COPIES_CUH

#include "bytes.cuh"

namespace attn {

/* Lanes that copy a row of so many chunks: a power of two. */
__host__ __device__ constexpr int lanes_of_row(int chunks) {
    int lanes = 1;
    while (lanes < chunks) lanes *= 2;
    return lanes;
}

/* Rows first .. first + ROWS - 1 of the [.., dim] tensor that begins `from` rows after `base` into
 * shared memory; those from `limit` on become zeros and are not read, as are columns to D. */
template <int D, int ROWS, int THREADS>
__device__ __forceinline__ void copy_rows(uint32_t to, const void *base, uint32_t from, int first,
                                          int limit, int dim = D) {
    constexpr int CHUNKS = D / 8, LANES = lanes_of_row(CHUNKS), STEP = THREADS / LANES;
    int thread = threadIdx.x;
    forget(thread);
    const int chunk = thread % LANES, row0 = thread / LANES;
    const uint16_t *source = static_cast<const uint16_t *>(base) +
                             ((int64_t)(from + (uint32_t)(first + row0)) * dim + chunk * 8);
#pragma unroll
    for (int i = 0; i < ROWS / STEP; i++) {
        const int row = row0 + i * STEP;
        const bool read = first + row < limit && chunk * 8 < dim;
        if (LANES > CHUNKS && chunk >= CHUNKS) continue;
        copy_async(to + row * (D * 2) + ((chunk ^ (row & 7)) << 4), source + i * STEP * dim, read);
    }
}

/* What a lane knows of one key. */
struct found_key {
    uint32_t row;
    float k_scale, v_scale; /* of 8 bits */
};

/* The same of keys and values that are looked up: a lane finds the row of one key of those that its
 * warp copies, and the copies take the rows from the lanes. BYTES: of an element. Those of 8 bits
 * lie as they were copied, and each thread makes 16 bits of what it copied itself. */
template <int D, int KEYS, int THREADS, int BYTES, int DV> struct key_copies {
    static constexpr int CHUNKS = D * BYTES / 16, VALUE_CHUNKS = DV * BYTES / 16;
    static constexpr int LANES = lanes_of_row(CHUNKS), STEP = THREADS / LANES, EACH = WARP / LANES;
    static_assert(2 * KEYS <= THREADS && KEYS % STEP == 0);
    static_assert(DV <= D && (BYTES == 2 || (DV == D && CHUNKS == LANES)));

    static __device__ __forceinline__ int key_of_lane() {
        const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
        return lane / EACH * STEP + warp * EACH + lane % EACH;
    }

    /* Of the tile from first_key on; none from `limit` on. */
    template <typename Keys>
    static __device__ __forceinline__ found_key look_up(const Keys &keys, int b, int g,
                                                        int first_key, int limit) {
        const int key = key_of_lane();
        found_key found = {NO_ROW, 0.f, 0.f};
        if (key >= KEYS || first_key + key >= limit) return found;
        const uint32_t beginning = keys.begin(b, g);
        found.row = keys.row(beginning, g, first_key + key);
        if constexpr (BYTES == 1) {
            found.k_scale = keys.scale(keys.k_scale, beginning, g, first_key + key);
            found.v_scale = keys.scale(keys.v_scale, beginning, g, first_key + key);
        }
        return found;
    }

    /* Of rows of dim and value_dim elements. */
    static __device__ __forceinline__ void copy(uint32_t keys_to, uint32_t values_to,
                                                const key_bases &bases, const found_key &found,
                                                int dim, int value_dim) {
        const int lane = threadIdx.x % WARP, chunk = lane % LANES;
        const int words = dim * BYTES / 2, value_words = value_dim * BYTES / 2;
#pragma unroll
        for (int i = 0; i < KEYS / STEP; i++) {
            const uint32_t row = __shfl_sync(ALL_LANES, found.row, i * EACH + lane / LANES);
            const bool key = row != NO_ROW && chunk * 8 < words;
            const bool value = row != NO_ROW && chunk * 8 < value_words;
            const int at = i * STEP + (int)threadIdx.x / LANES;
            const uint32_t raw = (i * THREADS + threadIdx.x) * 16;
            if (CHUNKS == LANES || chunk < CHUNKS)
                copy_async(keys_to + (BYTES == 1 ? raw : chunk_address(0, D * 2, at, chunk)),
                           bases.k + (key ? (int64_t)row * words + chunk * 8 : 0), key);
            if (VALUE_CHUNKS == LANES || chunk < VALUE_CHUNKS)
                copy_async(values_to + (BYTES == 1 ? raw : chunk_address(0, DV * 2, at, chunk)),
                           bases.v + (value ? (int64_t)row * value_words + chunk * 8 : 0), value);
        }
    }

    /* Of 8 bits: the scales of a tile, [2][KEYS]. */
    static __device__ __forceinline__ void put_scales(uint32_t to, const found_key &found) {
        const int key = key_of_lane();
        if (key >= KEYS) return;
        store_shared(to + key * 4, found.k_scale);
        store_shared(to + (KEYS + key) * 4, found.v_scale);
    }

    /* .. as they are used: [4][KEYS], factor, e, f, inverse (bytes.cuh). */
    template <typename Keys>
    static __device__ __forceinline__ void prepare_scales(uint32_t to, uint32_t scales,
                                                          const Keys &keys, softmax_scale softmax) {
        const int key = threadIdx.x % (THREADS / 2);
        if (key >= KEYS) return;
        if (threadIdx.x < THREADS / 2) {
            const float scale = load_shared_float(scales + key * 4);
            store_shared(to + key * 4, keys.factor(scale, softmax));
        } else {
            const value_scale of_value =
                value_scale_of(load_shared_float(scales + (KEYS + key) * 4));
            store_shared(to + (KEYS + key) * 4, of_value.e);
            store_shared(to + (2 * KEYS + key) * 4, of_value.f);
            store_shared(to + (3 * KEYS + key) * 4, of_value.inverse);
        }
    }

    /* .. and the thread's elements of a tile. */
    template <typename T, int DTYPE>
    static __device__ __forceinline__ void widen_rows(uint32_t to, uint32_t from) {
        const int chunk = threadIdx.x % CHUNKS * 2;
#pragma unroll
        for (int i = 0; i < KEYS / STEP; i++) {
            const uint4 bytes = load_shared(from + (i * THREADS + threadIdx.x) * 16);
            uint32_t low[4], high[4];
            widen_eight<T, DTYPE>(low, bytes.x, bytes.y);
            widen_eight<T, DTYPE>(high, bytes.z, bytes.w);
            const int row = i * STEP + (int)threadIdx.x / CHUNKS;
            const uint32_t at = chunk_address(to, D * 2, row, chunk);
            store_shared(at, make_uint4(low[0], low[1], low[2], low[3]));
            store_shared(at ^ 16, make_uint4(high[0], high[1], high[2], high[3]));
        }
    }
};

} // namespace attn

#endif
