/* The instructions the kernels are made of, for sm_80 and later: m16n8k16 products, ldmatrix,
 * cp.async, and the 16-bit types. Registers of a product (lane = 4 g + t):
 *   A, 16 x 16  {(g, 2t..), (g + 8, 2t..), (g, 2t + 8..), (g + 8, 2t + 8..)}, two elements each
 *   B, 16 x 8   {(2t.., g), (2t + 8.., g)}
 *   C, 16 x 8   {(g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)}
 * so the accumulators of two neighbouring 8-column tiles, packed, are an A operand of 16 columns.
 *
 * Shared tiles hold rows of 16-byte chunks; chunk c of row r lies at c ^ (r & 7), which makes
 * ldmatrix and the copies free of bank conflicts for rows of 128 bytes and more. */
#ifndef ATTN_CUDA_TENSOR_CORE_CUH
#define ATTN_CUDA_TENSOR_CORE_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

namespace attn {

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

__host__ __device__ constexpr int ceil_div(int a, int b) {
    return (a + b - 1) / b;
}

template <typename T> struct number;

template <> struct number<__half> {
    static __device__ __forceinline__ uint32_t pack(float low, float high) {
        const __half2 two = __floats2half2_rn(low, high);
        return reinterpret_cast<const uint32_t &>(two);
    }
    static __device__ __forceinline__ float2 unpack(uint32_t bits) {
        return __half22float2(reinterpret_cast<const __half2 &>(bits));
    }
    /* A mean of finite values is no larger than they are, but a rounded P may say otherwise. */
    static __device__ __forceinline__ float bound(float x) {
        return fabsf(x) < 1e30f ? fminf(fmaxf(x, -65504.f), 65504.f) : x;
    }
    /* The largest magnitudes of two packed pairs; and whether one of these is infinite, or was too
     * large for its type. */
    static __device__ __forceinline__ uint32_t larger(uint32_t a, uint32_t b) {
        const __half2 most = __hmax2(reinterpret_cast<const __half2 &>(a),
                                     __habs2(reinterpret_cast<const __half2 &>(b)));
        return reinterpret_cast<const uint32_t &>(most);
    }
    static __device__ __forceinline__ bool overflowed(uint32_t largest) {
        return (largest & 0xffff) == 0x7c00 || largest >> 16 == 0x7c00;
    }
    static __device__ __forceinline__ void multiply_add(float (&c)[4], const uint32_t (&a)[4],
                                                        uint32_t b0, uint32_t b1) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
            "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
};

template <> struct number<__nv_bfloat16> {
    static __device__ __forceinline__ uint32_t pack(float low, float high) {
        const __nv_bfloat162 two = __floats2bfloat162_rn(low, high);
        return reinterpret_cast<const uint32_t &>(two);
    }
    static __device__ __forceinline__ float2 unpack(uint32_t bits) {
        return make_float2(__uint_as_float(bits << 16), __uint_as_float(bits & 0xffff0000u));
    }
    static __device__ __forceinline__ float bound(float x) {
        return x;
    }
    static __device__ __forceinline__ uint32_t larger(uint32_t, uint32_t) {
        return 0;
    }
    static __device__ __forceinline__ bool overflowed(uint32_t) {
        return false;
    }
    static __device__ __forceinline__ void multiply_add(float (&c)[4], const uint32_t (&a)[4],
                                                        uint32_t b0, uint32_t b1) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
            "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
};

/* Two elements of the output. */
template <typename T> __device__ __forceinline__ uint32_t pack_out(float low, float high) {
    return number<T>::pack(number<T>::bound(low), number<T>::bound(high));
}

__device__ __forceinline__ uint32_t shared_address(const void *pointer) {
    return (uint32_t)__cvta_generic_to_shared(pointer);
}

/* Where chunk 0 or 1 of a row lies, in a tile of rows of `pitch` bytes that begins at a multiple of
 * 128; and from there the place 2 `step` chunks on, which costs one exclusive-or. Rows of 64 bytes
 * have four chunks, and two of them lie where one of 128 does. */
__device__ __forceinline__ uint32_t chunk_address(uint32_t tile, int pitch, int row, int chunk) {
    if (pitch == 64) return tile + row * pitch + ((chunk ^ (row >> 1 & 3)) << 4);
    return tile + row * pitch + ((chunk ^ (row & 7)) << 4);
}

__device__ __forceinline__ uint32_t chunk_step(uint32_t address, int step) {
    return (address ^ ((step & 3) << 5)) + (step >> 2) * 128;
}

/* Four 8 x 8 tiles; lane l gives the address of row l % 8 of tile l / 8. */
__device__ __forceinline__ void load_matrix(uint32_t (&r)[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address));
}

__device__ __forceinline__ void load_matrix_transposed(uint32_t (&r)[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address));
}

__device__ __forceinline__ void store_shared(uint32_t to, uint32_t x) {
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(to), "r"(x) : "memory");
}

__device__ __forceinline__ void store_shared(uint32_t to, float x) {
    store_shared(to, __float_as_uint(x));
}

__device__ __forceinline__ void store_shared(uint32_t to, uint4 x) {
    asm volatile("st.shared.v4.u32 [%0], {%1,%2,%3,%4};" ::"r"(to), "r"(x.x), "r"(x.y), "r"(x.z),
                 "r"(x.w)
                 : "memory");
}

__device__ __forceinline__ uint32_t load_shared_word(uint32_t from) {
    uint32_t x;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(x) : "r"(from) : "memory");
    return x;
}

__device__ __forceinline__ float load_shared_float(uint32_t from) {
    return __uint_as_float(load_shared_word(from));
}

__device__ __forceinline__ float2 load_shared_pair(uint32_t from) {
    float2 x;
    asm volatile("ld.shared.v2.f32 {%0,%1}, [%2];" : "=f"(x.x), "=f"(x.y) : "r"(from) : "memory");
    return x;
}

__device__ __forceinline__ uint4 load_shared(uint32_t from) {
    uint4 x;
    asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "r"(from)
                 : "memory");
    return x;
}

/* 16 bytes from global to shared memory, or 16 zero bytes and no read. */
__device__ __forceinline__ void copy_async(uint32_t to, const void *from, bool read) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to),
                 "l"(__cvta_generic_to_global(from)), "r"(read ? 16 : 0)
                 : "memory");
}

__device__ __forceinline__ void copy_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Until at most N groups of this thread are under way. */
template <int N> __device__ __forceinline__ void copy_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Within 2^-22 of the result; subnormal x are 0. */
__device__ __forceinline__ float log2_fast(float x) {
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Within an ulp; x is an ordinary number. */
__device__ __forceinline__ float inverse_of(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Keeps the compiler from holding what follows from x in registers from one use to the next, where
 * to compute it again is cheaper than the registers. */
template <typename I> __device__ __forceinline__ void forget(I &x) {
    asm volatile("" : "+r"(x));
}

/* Over the four lanes that hold one row of C. */
__device__ __forceinline__ float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 1));
    return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 2));
}

__device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(ALL_LANES, x, 1);
    return x + __shfl_xor_sync(ALL_LANES, x, 2);
}

} // namespace attn

#endif
