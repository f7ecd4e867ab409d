/* Partial sums of a segment, added up by all the blocks that made them: each adds up a slice of the
 * columns, all of its parts asked for at once. With one block that adds up everything, that block's
 * reads take longer than the keys of a whole problem: 27 us for 256 parts of 4 KiB on an H200.
 *
 * A column is four neighbouring elements of a row of the output, and column i of a segment of
 * `rows` rows is elements 4 i to 4 i + 3. Parts are added in an order that follows from their
 * number and the slice alone: the same bits on every run.
 *
 * Between blocks columns go through places in global memory, and a word of a place that nobody has
 * written is all ones, which no sum is: a NaN that an instruction makes is 0x7fffffff. The one
 * thread that reads a place asks until all of its words are there, and leaves it empty for the next
 * launch. So what a block has reaches the others in one store and one load; a counter would take
 * a fence, an atomic and a load more, each a trip to L2. All blocks of such a launch must be
 * resident at once. */
#ifndef ATTN_CUDA_SLICES_CUH
#define ATTN_CUDA_SLICES_CUH

#include "host.cuh"
#include "share.cuh"

namespace attn {

/* Columns of a slice at least: 64 bytes of a part, two sectors. */
constexpr int SLICE_COLUMNS_MIN = 4;

/* Sums of a column over some keys, under the reference `top`. */
struct column_sum {
    float top, weight;
    float4 x;
};

__device__ __forceinline__ column_sum column_of_nothing() {
    return {-INFINITY, 0.f, make_float4(0.f, 0.f, 0.f, 0.f)};
}

__device__ __forceinline__ void column_rescale(column_sum &a, float top) {
    const float factor = toward(top, a.top);
    a = {top, a.weight * factor,
         make_float4(a.x.x * factor, a.x.y * factor, a.x.z * factor, a.x.w * factor)};
}

/* `b` must be under a reference no larger than a's. */
__device__ __forceinline__ void column_add(column_sum &a, float2 stats, float4 x) {
    const float factor = toward(a.top, stats.x);
    a.weight = fmaf(factor, stats.y, a.weight);
    a.x.x = fmaf(factor, x.x, a.x.x);
    a.x.y = fmaf(factor, x.y, a.x.y);
    a.x.z = fmaf(factor, x.z, a.x.z);
    a.x.w = fmaf(factor, x.w, a.x.w);
}

/* Column i of rows of D elements. */
template <typename T, int D>
__device__ __forceinline__ void write_column(T *out, float *lse, int i, const column_sum &sum) {
    const float inverse = sum.weight > 0.f ? inverse_of(sum.weight) : 0.f;
    reinterpret_cast<uint2 *>(out)[i] =
        make_uint2(pack_out<T>(sum.x.x * inverse, sum.x.y * inverse),
                   pack_out<T>(sum.x.z * inverse, sum.x.w * inverse));
    if (i % (D / 4) == 0) lse[i / (D / 4)] = lse_of(sum.top, sum.weight);
}

/* The slice of part `index` of a segment. */
struct slice {
    int each, begin, count; /* columns: of every slice but the last ones; of this one */
};

__device__ __forceinline__ slice slice_of(int columns, int parts, int index) {
    const int each = max(SLICE_COLUMNS_MIN, ceil_div(columns, parts));
    const int begin = min(columns, each * index);
    return {each, begin, min(each, columns - begin)};
}

constexpr unsigned NOT_THERE = 0xffffffffu;

__device__ __forceinline__ bool is_there(float x) {
    return __float_as_uint(x) != NOT_THERE;
}

/* Past L1, which does not see what other blocks write. Every word is for itself. */
__device__ __forceinline__ void share_words(float4 *to, float4 x) {
    asm volatile(
        "st.relaxed.gpu.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)),
        "f"(x.x), "f"(x.y), "f"(x.z), "f"(x.w)
        : "memory");
}

__device__ __forceinline__ void share_words(float2 *to, float2 x) {
    asm volatile("st.relaxed.gpu.global.v2.f32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(to)),
                 "f"(x.x), "f"(x.y)
                 : "memory");
}

__device__ __forceinline__ float4 shared_words(const float4 *from) {
    float4 x;
    asm volatile("ld.relaxed.gpu.global.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
                 : "l"(__cvta_generic_to_global(from))
                 : "memory");
    return x;
}

__device__ __forceinline__ float2 shared_words(const float2 *from) {
    float2 x;
    asm volatile("ld.relaxed.gpu.global.v2.f32 {%0, %1}, [%2];"
                 : "=f"(x.x), "=f"(x.y)
                 : "l"(__cvta_generic_to_global(from))
                 : "memory");
    return x;
}

/* Of each block two parts, of the segment it continues and of the one it begins; of each [columns]
 * sums, then [columns] pairs {reference, sum of weights}: once a column, so that a place has one
 * reader. */
struct part_places {
    float4 *data;
    int columns; /* that a part has room for, an even number */

    __device__ __forceinline__ float4 *sums(int block, bool begins) const {
        return data + (size_t)(2 * block + (begins ? 1 : 0)) * (columns + columns / 2);
    }
    __device__ __forceinline__ float2 *stats(int block, bool begins) const {
        return reinterpret_cast<float2 *>(sums(block, begins) + columns);
    }
    __device__ __forceinline__ void put(int block, bool begins, int column,
                                        const column_sum &sum) const {
        share_words(sums(block, begins) + column, sum.x);
        share_words(stats(block, begins) + column, make_float2(sum.top, sum.weight));
    }
};

/* Parts of a segment that blocks `first` and after share. */
struct parts_in_memory {
    part_places places;
    int first;

    __device__ __forceinline__ float2 stats(int part, int column) const {
        return shared_words(places.stats(first + part, part == 0) + column);
    }
    __device__ __forceinline__ float4 sums(int part, int column) const {
        return shared_words(places.sums(first + part, part == 0) + column);
    }
    /* What was read may not have been there yet. */
    __device__ __forceinline__ void make_sure(int part, int column, float2 &pair, float4 &x) const {
        while (!(is_there(pair.x) && is_there(pair.y) && is_there(x.x) && is_there(x.y) &&
                 is_there(x.z) && is_there(x.w))) {
            pair = stats(part, column);
            x = sums(part, column);
        }
        const float empty = __uint_as_float(NOT_THERE);
        share_words(places.stats(first + part, part == 0) + column, make_float2(empty, empty));
        share_words(places.sums(first + part, part == 0) + column,
                    make_float4(empty, empty, empty, empty));
    }
};

constexpr int SLICE_DEPTH = 8; /* parts that a thread has asked for at once */

/* By all threads of a block, of which THREADS or more do it: adds up the parts of its slice. `room`
 * is shared memory, 24 bytes a thread. Threads are `lanes` columns wide, and as deep in parts as
 * that leaves. */
template <int THREADS, typename T, int D>
__device__ void add_slice(const parts_in_memory &from, int parts, const slice &mine, T *out,
                          float *lse, void *room) {
    float4 *sums = static_cast<float4 *>(room);
    float2 *stats = reinterpret_cast<float2 *>(sums + THREADS);
    int lanes = SLICE_COLUMNS_MIN;
    while (lanes < mine.count && lanes < THREADS) lanes *= 2;
    const int lane = threadIdx.x % lanes, depth = THREADS / lanes;

    for (int base = 0; base < mine.count; base += lanes) {
        const bool there = (int)threadIdx.x < THREADS && base + lane < mine.count;
        const int column = mine.begin + base + lane;
        column_sum sum = column_of_nothing();
        for (int first = threadIdx.x / lanes; first < parts; first += depth * SLICE_DEPTH) {
            float2 pair[SLICE_DEPTH];
            float4 x[SLICE_DEPTH];
#pragma unroll
            for (int n = 0; n < SLICE_DEPTH; n++) {
                const int part = first + n * depth;
                pair[n] = make_float2(-INFINITY, 0.f);
                x[n] = make_float4(0.f, 0.f, 0.f, 0.f);
                if (!there || part >= parts) continue;
                pair[n] = from.stats(part, column);
                x[n] = from.sums(part, column);
            }
#pragma unroll
            for (int n = 0; n < SLICE_DEPTH; n++) {
                const int part = first + n * depth;
                if (there && part < parts) from.make_sure(part, column, pair[n], x[n]);
            }
            float top = sum.top;
#pragma unroll
            for (int n = 0; n < SLICE_DEPTH; n++) top = fmaxf(top, pair[n].x);
            column_rescale(sum, top);
#pragma unroll
            for (int n = 0; n < SLICE_DEPTH; n++) column_add(sum, pair[n], x[n]);
        }
        for (int step = lanes; step < WARP; step *= 2) {
            const float2 pair = make_float2(__shfl_xor_sync(ALL_LANES, sum.top, step),
                                            __shfl_xor_sync(ALL_LANES, sum.weight, step));
            const float4 x = make_float4(__shfl_xor_sync(ALL_LANES, sum.x.x, step),
                                         __shfl_xor_sync(ALL_LANES, sum.x.y, step),
                                         __shfl_xor_sync(ALL_LANES, sum.x.z, step),
                                         __shfl_xor_sync(ALL_LANES, sum.x.w, step));
            column_rescale(sum, fmaxf(sum.top, pair.x));
            column_add(sum, pair, x);
        }
        const int width = max(lanes, WARP); /* threads of one entry of a column */
        if ((int)threadIdx.x < THREADS && (int)threadIdx.x % width < lanes) {
            const int entry = (int)threadIdx.x / width * lanes + lane;
            sums[entry] = sum.x;
            stats[entry] = make_float2(sum.top, sum.weight);
        }
        __syncthreads();
        if ((int)threadIdx.x < lanes && there) {
            const int entries = THREADS / width;
            float top = -INFINITY;
            for (int n = 0; n < entries; n++) top = fmaxf(top, stats[n * lanes + lane].x);
            column_sum all = column_of_nothing();
            all.top = top;
            for (int n = 0; n < entries; n++)
                column_add(all, stats[n * lanes + lane], sums[n * lanes + lane]);
            write_column<T, D>(out, lse, column, all);
        }
        __syncthreads();
    }
}

/* Places for the parts of `blocks` blocks, with nothing there yet. */
inline const char *part_places_make(part_places *places, int64_t blocks, int64_t columns) {
    places->columns = (int)columns;
    const size_t bytes = (size_t)(blocks * 2 * columns) * (sizeof(float4) + sizeof(float2));
    cudaError_t error = cudaMalloc((void **)&places->data, bytes);
    if (error == cudaSuccess) error = cudaMemset(places->data, 0xff, bytes);
    if (error == cudaSuccess) error = cudaDeviceSynchronize();
    return error == cudaSuccess ? NULL : cudaGetErrorString(error);
}

} // namespace attn

#endif
