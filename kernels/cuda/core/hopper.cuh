/* What sm_90a adds to tensor_core.cuh: products of a warpgroup, copies of boxes by the TMA, and the
 * barriers that say when these have landed. PTX ISA, "asynchronous warpgroup level matrix
 * instructions" and "cp.async.bulk.tensor".
 *
 * A warpgroup is four warps. Its products have 64 rows; warp w has rows 16 w to 16 w + 15 of the
 * accumulator, laid out as in tensor_core.cuh with n columns: lane 4 g + t holds, of columns 8 i +
 * 2 t and 8 i + 2 t + 1, row g in c[4 i], c[4 i + 1] and row g + 8 in c[4 i + 2], c[4 i + 3]. So 16
 * columns of an accumulator, packed, are an A operand, as there.
 *
 * Shared tiles are panels of 64 columns: rows of 128 bytes, swizzled in 1024 bytes by the TMA. As
 * the operand of columns (K: rows are n) a step of 16 columns is 32 bytes on; as the operand of
 * rows (V: rows are k) a step of 16 rows is 2048 bytes on, and a panel is one of n. */
#ifndef ATTN_CUDA_HOPPER_CUH
#define ATTN_CUDA_HOPPER_CUH

#include "host.cuh"
#include "tensor_core.cuh"

#include <cuda.h>
#include <cudaTypedefs.h>

namespace attn {

constexpr int WARPGROUP = 128;
constexpr int PANEL = 64; /* columns */

/* Barriers in shared memory. A wait names the parity of the phase that must have ended. */
__device__ __forceinline__ void barrier_init(uint32_t barrier, int arrivals) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

/* What was initialised is seen by the TMA and by other threads after their next barrier. */
__device__ __forceinline__ void barrier_init_done() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void barrier_arrive(uint32_t barrier) {
    asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/* Arrives, and the phase ends no sooner than `bytes` have been copied. */
__device__ __forceinline__ void barrier_expect(uint32_t barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t parity) {
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "again_%=:\n"
                 "mbarrier.try_wait.parity.shared.b64 done, [%0], %1;\n"
                 "@!done bra again_%=;\n"
                 "}" ::"r"(barrier),
                 "r"(parity)
                 : "memory");
}

/* In a cluster of blocks, whose shared memory is laid out alike: the barrier that lies at `barrier`
 * in block `rank`. */
__device__ __forceinline__ uint32_t address_in(uint32_t rank, uint32_t address) {
    uint32_t there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
    return there;
}

__device__ __forceinline__ void barrier_arrive_at(uint32_t rank, uint32_t barrier) {
    asm volatile("mbarrier.arrive.relaxed.cluster.shared::cluster.b64 _, [%0];" ::"r"(
                     address_in(rank, barrier))
                 : "memory");
}

/* Stores a word in the memory of block `rank`; its barrier counts 4 bytes as copied. */
__device__ __forceinline__ void send_word(uint32_t rank, uint32_t to, int word, uint32_t barrier) {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(
                     address_in(rank, to)),
                 "r"(word), "r"(address_in(rank, barrier))
                 : "memory");
}

__device__ __forceinline__ int cluster_rank() {
    int rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

/* Of all threads of all its blocks that have not ended. */
__device__ __forceinline__ void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}

/* Of `threads` threads, by number: after a kernel's roles part, __syncthreads is not for them. */
__device__ __forceinline__ void named_barrier(int number, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

/* What this thread stored in shared memory will be seen by products and by the TMA. */
__device__ __forceinline__ void fence_for_async() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void clear_shared(uint32_t at) {
    asm volatile("st.shared.v4.u32 [%0], {%1, %1, %1, %1};" ::"r"(at), "r"(0) : "memory");
}

__device__ __forceinline__ void store_shared(uint32_t to, int4 x) {
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(x.x), "r"(x.y), "r"(x.z),
                 "r"(x.w)
                 : "memory");
}

/* A word of global memory that one block tells another by, and what that wrote before it, behind a
 * fence, with it. */
__device__ __forceinline__ unsigned load_acquire(const unsigned *from) {
    unsigned x;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(x) : "l"(from) : "memory");
    return x;
}
__device__ __forceinline__ void store_relaxed(unsigned *to, unsigned x) {
    asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(to), "r"(x) : "memory");
}

/* A tile of a [heads][rows][D] tensor: as many rows as its map says, from `row`, of one head. Rows
 * that the tensor does not have become zeros and count as copied. */
__device__ __forceinline__ void copy_tile(uint32_t to, const CUtensorMap *map, int row, int head,
                                          uint32_t barrier) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
                 " [%0], [%1, {%4, %2, %3, %4}], [%5];" ::"r"(to),
                 "l"(map), "r"(row), "r"(head), "r"(0), "r"(barrier)
                 : "memory");
}

/* The same of one panel of a [rows][D] tensor. */
__device__ __forceinline__ void copy_box(uint32_t to, const CUtensorMap *map, uint32_t row,
                                         int panel, uint32_t barrier) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
                 " [%0], [%1, {%3, %2, %3, %4}], [%5];" ::"r"(to),
                 "l"(map), "r"(row), "r"(0), "r"(panel), "r"(barrier)
                 : "memory");
}

/* The same, to the same place in all blocks of a cluster; the barrier of each counts. */
template <int CLUSTER>
__device__ __forceinline__ void copy_tile_to_all(uint32_t to, const CUtensorMap *map, int row,
                                                 int head, uint32_t barrier) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
                 ".multicast::cluster [%0], [%1, {%4, %2, %3, %4}], [%5], %6;" ::"r"(to),
                 "l"(map), "r"(row), "r"(head), "r"(0), "r"(barrier),
                 "h"((uint16_t)((1 << CLUSTER) - 1))
                 : "memory");
}

/* And back: rows that the tensor does not have are not written. */
__device__ __forceinline__ void store_tile(const CUtensorMap *map, int row, int head,
                                           uint32_t from) {
    asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%3, %1, %2, %3}], "
                 "[%4];" ::"l"(map),
                 "r"(row), "r"(head), "r"(0), "r"(from)
                 : "memory");
}

/* Long before its first use: else that waits for it, too. */
__device__ __forceinline__ void prefetch_map(const CUtensorMap *map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

__device__ __forceinline__ void store_commit() {
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

/* Until shared memory that this thread's stores read may be written. */
__device__ __forceinline__ void store_wait_read() {
    asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}

template <int N> __device__ __forceinline__ void registers_raise() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

template <int N> __device__ __forceinline__ void registers_lower() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

/* Products are begun between product_fence and product_commit; product_wait<N> until at most N
 * groups are under way. */
__device__ __forceinline__ void product_fence() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void product_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int N> __device__ __forceinline__ void product_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

/* Keeps the compiler from moving reads and writes of a running product's registers past here. */
template <int N> __device__ __forceinline__ void pin(float (&x)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) asm volatile("" : "+f"(x[i])::"memory");
}

/* Where an operand lies: `stride` bytes between panels where panels are columns of the result. */
__device__ __forceinline__ uint64_t operand(uint32_t at, int stride) {
    constexpr uint64_t SWIZZLE_128 = 1ull << 62, GROUP_OF_8_ROWS = 1024;
    return (uint64_t)((at & 0x3ffff) >> 4) | (uint64_t)(stride >> 4) << 16 |
           GROUP_OF_8_ROWS >> 4 << 32 | SWIZZLE_128;
}

/* The registers of an accumulator as operands of asm, and their numbers in its text. */
#define ATTN_F8(i)                                                                                 \
    "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]),    \
        "+f"(c[i + 6]), "+f"(c[i + 7])
#define ATTN_F16(i) ATTN_F8(i), ATTN_F8(i + 8)
#define ATTN_F32(i) ATTN_F16(i), ATTN_F16(i + 16)
#define ATTN_F64(i) ATTN_F32(i), ATTN_F32(i + 32)
#define ATTN_F128(i) ATTN_F64(i), ATTN_F64(i + 64)
#define ATTN_TEN(t)                                                                                \
    "%" #t "0,%" #t "1,%" #t "2,%" #t "3,%" #t "4,%" #t "5,%" #t "6,%" #t "7,%" #t "8,%" #t "9,"
#define ATTN_FIFTY(a, b, c, d, e) ATTN_TEN(a) ATTN_TEN(b) ATTN_TEN(c) ATTN_TEN(d) ATTN_TEN(e)
#define ATTN_NAMES_32 ATTN_TEN() ATTN_TEN(1) ATTN_TEN(2) "%30,%31"
#define ATTN_NAMES_64 ATTN_FIFTY(, 1, 2, 3, 4) ATTN_TEN(5) "%60,%61,%62,%63"
#define ATTN_NAMES_128                                                                             \
    ATTN_FIFTY(, 1, 2, 3, 4)                                                                       \
    ATTN_FIFTY(5, 6, 7, 8, 9)                                                                      \
    ATTN_TEN(10) ATTN_TEN(11) "%120,%121,%122,%123,%124,%125,%126,%127"

/* c [64][N] = A B (add: +=) over 16 columns of A. `multiply`: A [64][16] and B [N][16] in shared
 * memory; `multiply_rows`: A in registers, B [16][N], and +=. */
template <typename T, int N> struct warpgroup_product;

/* C: registers of c; a0 ..: the numbers of the operands that follow them. */
#define ATTN_PRODUCT(T, TYPE, N, C, a0, a1, a2, a3, a4)                                            \
    template <> struct warpgroup_product<T, N> {                                                   \
        static __device__ __forceinline__ void multiply(float (&c)[C], uint64_t a, uint64_t b,     \
                                                        int add) {                                 \
            asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" #a2 ", 0;\n"                     \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE           \
                         " {" ATTN_NAMES_##C "}, %" #a0 ", %" #a1 ", add, 1, 1, 0, 0;\n}"          \
                         : ATTN_F##C(0)                                                            \
                         : "l"(a), "l"(b), "r"(add));                                              \
        }                                                                                          \
        static __device__ __forceinline__ void multiply_rows(float (&c)[C],                        \
                                                             const uint32_t (&a)[4], uint64_t b) { \
            asm volatile("wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE           \
                         " {" ATTN_NAMES_##C "}, {%" #a0 ", %" #a1 ", %" #a2 ", %" #a3 "}, %" #a4  \
                                             ", 1, 1, 1, 1;"                                       \
                         : ATTN_F##C(0)                                                            \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                    \
        }                                                                                          \
    };
#define ATTN_PRODUCTS(T, TYPE)                                                                     \
    ATTN_PRODUCT(T, TYPE, 64, 32, 32, 33, 34, 35, 36)                                              \
    ATTN_PRODUCT(T, TYPE, 128, 64, 64, 65, 66, 67, 68)                                             \
    ATTN_PRODUCT(T, TYPE, 256, 128, 128, 129, 130, 131, 132)
ATTN_PRODUCTS(__half, "f16")
ATTN_PRODUCTS(__nv_bfloat16, "bf16")
#undef ATTN_PRODUCTS
#undef ATTN_PRODUCT

/* Four 8 x 8 tiles of 16-bit numbers, as load_matrix finds them. */
__device__ __forceinline__ void store_matrix(uint32_t address, const uint32_t (&r)[4]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(address),
                 "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
                 : "memory");
}

/* The TMA's view of a dense [heads][rows][D] tensor of 16-bit numbers, in tiles of `tile_rows` rows
 * of a head: [panels][tile_rows][PANEL] in shared memory, or, for copy_box, with one panel each.
 * NULL, or what went wrong. */
inline const char *tensor_map_make(CUtensorMap *map, const void *data, int64_t heads, int64_t rows,
                                   int dim, int tile_rows, bool one_panel = false) {
    static PFN_cuTensorMapEncodeTiled_v12000 encode;
    if (!encode) {
        void *function = NULL;
        cudaDriverEntryPointQueryResult found;
        const cudaError_t error = cudaGetDriverEntryPointByVersion(
            "cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
        if (error != cudaSuccess || found != cudaDriverEntryPointSuccess)
            return "the driver has no tensor maps";
        encode = (PFN_cuTensorMapEncodeTiled_v12000)function;
    }
    const cuuint64_t row_bytes = (cuuint64_t)dim * 2;
    const cuuint32_t panels = (cuuint32_t)(dim / PANEL);
    const cuuint64_t sizes[] = {PANEL, (cuuint64_t)rows, (cuuint64_t)heads, panels};
    const cuuint64_t strides[] = {row_bytes, (cuuint64_t)rows * row_bytes, PANEL * 2};
    const cuuint32_t tile[] = {PANEL, (cuuint32_t)tile_rows, 1, one_panel ? 1 : panels},
                     steps[] = {1, 1, 1, 1};
    const CUresult result =
        encode(map, CU_TENSOR_MAP_DATA_TYPE_UINT16, 4, const_cast<void *>(data), sizes, strides,
               tile, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
               CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return result == CUDA_SUCCESS ? NULL : "a tensor cannot be mapped for the TMA";
}

} // namespace attn

#endif
