/* The calls of Ascend C's pure C API that the kernels use, emulated on a CPU; never run on a 910B2.
 * (Besides: asc_duplicate of 16-bit elements, asc_ub_set, asc_on_vector and some calls' second
 * forms, which only the tests use or asc.h names.) Written from the public documentation; nothing
 * here is CANN's code. The comment at each call names the page it follows ("page: ...", in "Ascend
 * C API, SIMD, C API") and says what the twin checks. Where the documentation is silent or
 * contradicts itself the stricter reading is taken, and said.
 *
 * What holds for all calls
 * - A core's instructions go to pipes that run beside each other: S (scalar), V (vector), M (cube),
 *   MTE1 (L1 to L0), MTE2 (global memory to UB or L1), MTE3 (UB to global memory), FIX (L0C to
 *   global memory). Nothing orders two pipes but asc_sync_notify/wait, and nothing orders two
 *   instructions of one pipe that touch the same bytes, one of them writing, but asc_sync_pipe
 *   (page: intra-core synchronisation overview). What is not ordered is FAIL_RACE, though the
 *   numbers come out right here, where every instruction runs when it is issued. One instruction
 *   may read and write the same place.
 * - Memories start unwritten: reading such bytes is FAIL_UNINITIALISED. Bytes outside a memory or
 *   outside what the host declared are FAIL_OOB_READ or FAIL_OOB_WRITE. A size, stride, repeat or
 *   alignment beyond the documented limits is "CRASH: limit". Waiting for ever is "HANG: deadlock".
 * - Start addresses: UB and L1 32 bytes, L0A and L0B 512, L0C 64, global memory the element (page:
 *   general instructions and constraints).
 * - Strides of vector calls count blocks of 32 bytes; a repeat is 8 blocks = 256 bytes: 64 f32,
 *   128 f16. `block` strides go from block to block in a repeat (1 = dense), `repeat` strides from
 *   repeat to repeat (8 = dense). At most 255 repeats. Limits come from the prototypes' types.
 * - Calls return nothing; after the first finding the launch ends and returns it. */
#ifndef ATTEST_ASCEND_TWIN_H
#define ATTEST_ASCEND_TWIN_H

#include <stdint.h>

#include "machine.h"

/* Qualifiers. Address spaces are checked at run time, by address. */
#define __gm__
#define __ubuf__
#define __cbuf__
#define __ca__
#define __cb__
#define __cc__
#define __global__
#define __aicore__
#define __vector__
#define __cube__
#define __mix__(cube, vector)

/* 16-bit elements; scalar code holds their bits only. */
struct half {
    uint16_t bits;
};
struct bfloat16_t {
    uint16_t bits;
};

enum pipe_t {
    PIPE_S,
    PIPE_V,
    PIPE_M,
    PIPE_MTE1,
    PIPE_MTE2,
    PIPE_MTE3,
    PIPE_FIX,
    PIPE_ALL /* asc_sync_pipe only */
};

/* Eight flags for each ordered pair of pipes of a core. */
enum event_t {
    EVENT_ID0,
    EVENT_ID1,
    EVENT_ID2,
    EVENT_ID3,
    EVENT_ID4,
    EVENT_ID5,
    EVENT_ID6,
    EVENT_ID7
};

enum QuantMode_t { NoQuant, F322F16, F322BF16 };

/* ---- Who am I --------------------------------------------------------------------------------
 */

/* Resets the core's state: mask all ones. First call of every kernel. (page: asc_init; that the
 * mask is full afterwards is taken from it, in other words.) */
void asc_init(twin_site at = twin_site::here());

/* Which block, of how many; which of the two vector cores (0 on a cube core). The block is the same
 * number on a cube core and its vector cores. (pages: asc_get_block_idx, asc_get_sub_block_id) */
int64_t asc_block();
int64_t asc_blocks();
int64_t asc_sub_block();
bool asc_on_cube();
bool asc_on_vector();

/* Where flags between cores live; `address` is what aclrtGetHardwareSyncAddr gave the host, not 0.
 * Before the first asc_core_arrive. (page: asc_sync_block_arrive, its example) */
void asc_set_ffts_base_addr(uint64_t address, twin_site at = twin_site::here());

/* ---- Places ----------------------------------------------------------------------------------
 * A pointer to byte `byte` of a memory of this core. Pure arithmetic: mixed kernels may name any
 * memory on any core; touching one that the core lacks is a finding. (page: asc_get_phy_buf_addr)
 */
template <typename T> __ubuf__ T *asc_ub(uint32_t byte) {
    return reinterpret_cast<T *>(twin_place(TWIN_UB, byte));
}
template <typename T> __cbuf__ T *asc_l1(uint32_t byte) {
    return reinterpret_cast<T *>(twin_place(TWIN_L1, byte));
}
template <typename T> __ca__ T *asc_l0a(uint32_t byte) {
    return reinterpret_cast<T *>(twin_place(TWIN_L0A, byte));
}
template <typename T> __cb__ T *asc_l0b(uint32_t byte) {
    return reinterpret_cast<T *>(twin_place(TWIN_L0B, byte));
}
template <typename T> __cc__ T *asc_l0c(uint32_t byte) {
    return reinterpret_cast<T *>(twin_place(TWIN_L0C, byte));
}

/* ---- Scalar unit ------------------------------------------------------------------------------
 * One element of 4, 2, 8 or 1 bytes. Pipe S: a vector result needs notify/wait(PIPE_V, PIPE_S)
 * first, a scalar store (PIPE_S, PIPE_V) or (PIPE_S, PIPE_MTE3) after. Instructions issued after a
 * wait of S come after it. asc_gm_get reads through the data cache, which nothing keeps coherent:
 * only what no core wrote in this launch may be read, and a later write must be ordered after the
 * read as after any other. (pages: hardware architecture; asc_dcci) */
void twin_scalar(const void *place, unsigned bytes, bool gm, bool write, twin_site at);
template <typename T> T asc_gm_get(__gm__ T *from, twin_site at = twin_site::here()) {
    twin_scalar(from, sizeof(T), true, false, at);
    return *from;
}
template <typename T> T asc_ub_get(__ubuf__ T *from, twin_site at = twin_site::here()) {
    twin_scalar(from, sizeof(T), false, false, at);
    return *from;
}
template <typename T, typename V>
void asc_ub_set(__ubuf__ T *to, V value, twin_site at = twin_site::here()) {
    twin_scalar(to, sizeof(T), false, true, at);
    *to = static_cast<T>(value);
}

/* ---- Between pipes ----------------------------------------------------------------------------
 */

/* notify: when all earlier instructions of `from` are complete, flag (from, to, id) becomes 1.
 * wait: later instructions of `to` wait until it is 1, and make it 0. A flag set twice (or where
 * nothing orders the second notify after the wait of the first: the machine's flag is one bit),
 * left set at the end, or of a pair that the core does not have is a finding. A wait must be issued
 * after its notify (stricter than the machine for to != PIPE_S). (pages: asc_sync_notify,
 * asc_sync_wait, intra-core synchronisation overview, tables 2 and 3: on a cube core no pair with
 * S) */
void asc_sync_notify(pipe_t from, pipe_t to, int id, twin_site at = twin_site::here());
void asc_sync_wait(pipe_t from, pipe_t to, int id, twin_site at = twin_site::here());

/* Later instructions of `pipe` start after its earlier ones are complete; says nothing to other
 * pipes, but for PIPE_ALL, which orders all of them. Not for PIPE_S. (page: asc_sync_pipe) */
void asc_sync_pipe(pipe_t pipe, twin_site at = twin_site::here());
/* All pipes. (page: asc_sync) */
void asc_sync(twin_site at = twin_site::here());

/* ---- Between cores ----------------------------------------------------------------------------
 * arrive: when all earlier instructions of `pipe` are complete, this core has arrived at flag 0..15
 * in `mode` (asc.h). ASC_CUBE_VECTOR: the cube core's arrival adds 1 to the counter of both its
 * vector cores; when both vector cores have arrived, 1 to the cube core's. ASC_VECTOR_PAIR: when
 * both vector cores of the block have, 1 to each. ASC_ALL_CORES: when all cores of this core's kind
 * have, 1 to each. wait: blocks *every* pipe of this core until its counter is above 0, takes 1.
 * A counter above 15 or left above 0 at the end is a finding; so is any of it in a launch of kind
 * ASC_VECTOR or ASC_CUBE, or without asc_set_ffts_base_addr. Flags of different modes must differ.
 * (pages: asc_sync_block_arrive, asc_sync_block_wait; 0..10 in one version of the first, 0..15 in
 * the others) */
void asc_core_arrive(pipe_t pipe, int mode, int flag, twin_site at = twin_site::here());
void asc_core_wait(int flag, twin_site at = twin_site::here());

/* ---- Global memory <-> UB, and within UB (vector cores) ---------------------------------------
 * Bursts: `n` 1..4095 runs of `length` with gaps, tail to head, between them. In the plain forms
 * length (1..65535) and gaps count 32 bytes; `bytes` is a multiple of 32. */

/* MTE2. (page: asc_copy_gm2ub) */
void asc_copy_gm2ub(__ubuf__ void *dst, __gm__ void *src, uint32_t bytes,
                    twin_site at = twin_site::here());
void asc_copy_gm2ub(__ubuf__ void *dst, __gm__ void *src, int n, int length, int src_gap,
                    int dst_gap, twin_site at = twin_site::here());
/* MTE3. (page: asc_copy_ub2gm) */
void asc_copy_ub2gm(__gm__ void *dst, __ubuf__ void *src, uint32_t bytes,
                    twin_site at = twin_site::here());
void asc_copy_ub2gm(__gm__ void *dst, __ubuf__ void *src, int n, int length, int src_gap,
                    int dst_gap, twin_site at = twin_site::here());
/* V. (page: asc_copy_ub2ub) */
void asc_copy_ub2ub(__ubuf__ void *dst, __ubuf__ void *src, uint32_t bytes,
                    twin_site at = twin_site::here());
void asc_copy_ub2ub(__ubuf__ void *dst, __ubuf__ void *src, int n, int length, int src_gap,
                    int dst_gap, twin_site at = twin_site::here());

/* MTE2, any number of bytes: `bytes` 1..2097151, each burst begins at a multiple of 32 in UB.
 * Padding must be 0; whatever fills a burst's last 32 bytes counts as unwritten. Gaps: UB in 32
 * bytes; for global memory one page says 32 bytes and another (DataCopyPad) bytes, so only 0 is
 * emulated: rows apart by multiples of 32 bytes go with asc_copy_gm2ub. Elements of 1, 2 or 4
 * bytes. (pages: asc_copy_gm2ub_align, copy_gm_to_ubuf_align) */
void twin_gm2ub_align(void *dst, void *src, int64_t n, int64_t bytes, int64_t left, int64_t right,
                      int64_t src_gap, int64_t dst_gap, unsigned element, twin_site at);
template <typename T>
void asc_copy_gm2ub_align(__ubuf__ T *dst, __gm__ T *src, uint32_t bytes,
                          twin_site at = twin_site::here()) {
    twin_gm2ub_align(dst, src, 1, bytes, 0, 0, 0, 0, sizeof(T), at);
}
template <typename T>
void asc_copy_gm2ub_align(__ubuf__ T *dst, __gm__ T *src, int n, int bytes, int left, int right,
                          int src_gap, int dst_gap, twin_site at = twin_site::here()) {
    twin_gm2ub_align(dst, src, n, bytes, left, right, src_gap, dst_gap, sizeof(T), at);
}

/* MTE3, any number of bytes; what fills the last 32 bytes in UB is read but dropped. Padding must
 * be 0. Neighbouring bytes may be written by other cores: the documentation gives no limit.
 * (pages: asc_copy_ub2gm_align, copy_ubuf_to_gm_align) */
void twin_ub2gm_align(void *dst, void *src, int64_t n, int64_t bytes, int64_t left, int64_t right,
                      int64_t src_gap, int64_t dst_gap, unsigned element, twin_site at);
template <typename T>
void asc_copy_ub2gm_align(__gm__ T *dst, __ubuf__ T *src, uint32_t bytes,
                          twin_site at = twin_site::here()) {
    twin_ub2gm_align(dst, src, 1, bytes, 0, 0, 0, 0, sizeof(T), at);
}
template <typename T>
void asc_copy_ub2gm_align(__gm__ T *dst, __ubuf__ T *src, int n, int bytes, int left, int right,
                          int src_gap, int dst_gap, twin_site at = twin_site::here()) {
    twin_ub2gm_align(dst, src, n, bytes, left, right, src_gap, dst_gap, sizeof(T), at);
}

/* ---- Vector: mask -----------------------------------------------------------------------------
 */

/* Which elements of a repeat take part in calls of the repeat form: bit i of (high:low) is element
 * i; of 32-bit elements only `low` counts, and at least one bit must be set. Elements left out are
 * not written (and count for nothing in reductions). Calls of the `count` form use the mask
 * themselves; that they put it back is documented nowhere, so after one the mask is undefined until
 * asc_set_mask_norm and asc_set_vector_mask are called again.
 * (pages: asc_set_vector_mask, asc_set_mask_norm, asc_set_mask_count, mask operations) */
void asc_set_mask_norm(twin_site at = twin_site::here());
void asc_set_vector_mask(uint64_t high, uint64_t low, twin_site at = twin_site::here());

/* ---- Vector: arithmetic -----------------------------------------------------------------------
 * `dst` may be a source itself, fully, not shifted. Rounding is IEEE to nearest even. The machine's
 * accuracy of exp, log, div and sqrt is not documented; here they are libm's. */

/* f32. (pages: asc_add, asc_sub, asc_mul, asc_max, asc_div) */
#define TWIN_DECLARE(name, T)                                                                      \
    inline void asc_##name(__ubuf__ T *dst, __ubuf__ T *src0, __ubuf__ T *src1, uint32_t count,    \
                           twin_site at = twin_site::here()) {                                     \
        twin_binary(TWIN_##name, dst, src0, src1, twin_count(count), at);                          \
    }                                                                                              \
    inline void asc_##name(__ubuf__ T *dst, __ubuf__ T *src0, __ubuf__ T *src1, int repeat,        \
                           int dst_block_stride, int src0_block_stride, int src1_block_stride,     \
                           int dst_repeat_stride, int src0_repeat_stride, int src1_repeat_stride,  \
                           twin_site at = twin_site::here()) {                                     \
        twin_binary(TWIN_##name, dst, src0, src1,                                                  \
                    twin_repeat(repeat, dst_block_stride, src0_block_stride, src1_block_stride,    \
                                dst_repeat_stride, src0_repeat_stride, src1_repeat_stride),        \
                    at);                                                                           \
    }
TWIN_DECLARE(add, float)
TWIN_DECLARE(sub, float)
TWIN_DECLARE(mul, float)
TWIN_DECLARE(max, float)
TWIN_DECLARE(div, float)
#undef TWIN_DECLARE

/* dst = src op value, f32. (pages: asc_add_scalar, asc_mul_scalar, asc_max_scalar,
 * asc_min_scalar) */
#define TWIN_DECLARE(call, name, T)                                                                \
    inline void call(__ubuf__ T *dst, __ubuf__ T *src, T value, uint32_t count,                    \
                     twin_site at = twin_site::here()) {                                           \
        twin_unary(TWIN_##name, dst, src, twin_bits(value), twin_count(count), at);                \
    }                                                                                              \
    inline void call(__ubuf__ T *dst, __ubuf__ T *src, T value, int repeat, int dst_block_stride,  \
                     int src_block_stride, int dst_repeat_stride, int src_repeat_stride,           \
                     twin_site at = twin_site::here()) {                                           \
        twin_unary(TWIN_##name, dst, src, twin_bits(value),                                        \
                   twin_repeat(repeat, dst_block_stride, src_block_stride, 0, dst_repeat_stride,   \
                               src_repeat_stride, 0),                                              \
                   at);                                                                            \
    }
TWIN_DECLARE(asc_add_scalar, add, float)
TWIN_DECLARE(asc_mul_scalar, mul, float)
TWIN_DECLARE(asc_max_scalar, max, float)
TWIN_DECLARE(asc_min_scalar, min, float)
#undef TWIN_DECLARE

/* f32. (pages: asc_exp, asc_log (natural), asc_sqrt, asc_abs)
 * Conversions: strides of each operand count its own 32-byte blocks, so f16 -> f32 dense is
 * dst_repeat_stride 8, src_repeat_stride 4; a repeat is 64 elements. _rn: to nearest even, above
 * the largest f16 becomes infinity. (pages: asc_half2float, asc_bfloat162float, asc_float2half,
 * asc_float2bfloat16) */
#define TWIN_DECLARE(call, name, D, S)                                                             \
    inline void call(__ubuf__ D *dst, __ubuf__ S *src, uint32_t count,                             \
                     twin_site at = twin_site::here()) {                                           \
        twin_unary(TWIN_##name, dst, src, 0, twin_count(count), at);                               \
    }                                                                                              \
    inline void call(__ubuf__ D *dst, __ubuf__ S *src, int repeat, int dst_block_stride,           \
                     int src_block_stride, int dst_repeat_stride, int src_repeat_stride,           \
                     twin_site at = twin_site::here()) {                                           \
        twin_unary(TWIN_##name, dst, src, 0,                                                       \
                   twin_repeat(repeat, dst_block_stride, src_block_stride, 0, dst_repeat_stride,   \
                               src_repeat_stride, 0),                                              \
                   at);                                                                            \
    }
TWIN_DECLARE(asc_exp, exp, float, float)
TWIN_DECLARE(asc_log, log, float, float)
TWIN_DECLARE(asc_sqrt, sqrt, float, float)
TWIN_DECLARE(asc_abs, abs, float, float)
TWIN_DECLARE(asc_half2float, half2float, float, half)
TWIN_DECLARE(asc_bfloat162float, bfloat162float, float, bfloat16_t)
TWIN_DECLARE(asc_float2half_rn, float2half, half, float)
TWIN_DECLARE(asc_float2bfloat16_rn, float2bfloat16, bfloat16_t, float)
#undef TWIN_DECLARE

/* Fills with a value. (page: asc_duplicate; no source, no source strides) */
#define TWIN_DECLARE(T)                                                                            \
    inline void asc_duplicate(__ubuf__ T *dst, T value, uint32_t count,                            \
                              twin_site at = twin_site::here()) {                                  \
        twin_duplicate(dst, twin_bits(value), sizeof(T), twin_count(count), at);                   \
    }                                                                                              \
    inline void asc_duplicate(__ubuf__ T *dst, T value, int repeat, int dst_block_stride,          \
                              int dst_repeat_stride, twin_site at = twin_site::here()) {           \
        twin_duplicate(dst, twin_bits(value), sizeof(T),                                           \
                       twin_repeat(repeat, dst_block_stride, 0, 0, dst_repeat_stride, 0, 0), at);  \
    }
inline uint32_t twin_bits(half value) {
    return value.bits;
}
inline uint32_t twin_bits(bfloat16_t value) {
    return value.bits;
}
TWIN_DECLARE(float)
TWIN_DECLARE(half)
TWIN_DECLARE(bfloat16_t)
#undef TWIN_DECLARE

/* Each repeat reads 8 elements of src, in a row, and fills 8 blocks of 32 bytes of dst with one
 * each; the next repeat reads the next 8. dst and src must not overlap; the mask does not count.
 * (page: asc_brcb; f32 by its bits) */
void twin_brcb(float *dst, float *src, int dst_block_stride, int dst_repeat_stride, int repeat,
               twin_site at);
inline void asc_brcb(__ubuf__ float *dst, __ubuf__ float *src, int dst_block_stride,
                     int dst_repeat_stride, int repeat, twin_site at = twin_site::here()) {
    twin_brcb(dst, src, dst_block_stride, dst_repeat_stride, repeat, at);
}
/* One f32 a repeat: the maximum, or the sum, of its elements under the mask; dst_repeat_stride
 * counts elements of dst (1 = dense). dst 32-byte aligned, in no block of src's. The sum goes in
 * pairs, as a tree.
 * (pages: asc_repeat_reduce_max, value only; asc_repeat_reduce_sum; asc_repeat_reduce_config) */
void twin_reduce(bool sum, float *dst, float *src, int repeat, int dst_repeat_stride,
                 int src_block_stride, int src_repeat_stride, twin_site at);
inline void asc_repeat_reduce_max(__ubuf__ float *dst, __ubuf__ float *src, int repeat,
                                  int dst_repeat_stride, int src_block_stride,
                                  int src_repeat_stride, twin_site at = twin_site::here()) {
    twin_reduce(false, dst, src, repeat, dst_repeat_stride, src_block_stride, src_repeat_stride,
                at);
}
inline void asc_repeat_reduce_sum(__ubuf__ float *dst, __ubuf__ float *src, int repeat,
                                  int dst_repeat_stride, int src_block_stride,
                                  int src_repeat_stride, twin_site at = twin_site::here()) {
    twin_reduce(true, dst, src, repeat, dst_repeat_stride, src_block_stride, src_repeat_stride, at);
}

/* Bit i of dst, from the lowest, is src[i] < value; each repeat writes its 64 bits (f32) behind the
 * last ones; dst strides are not documented for this and must be 1 and 8. The mask does not count.
 * (page: asc_lt_scalar) */
inline void asc_lt_scalar(__ubuf__ uint8_t *dst, __ubuf__ float *src, float value, int repeat,
                          int dst_block_stride, int src_block_stride, int dst_repeat_stride,
                          int src_repeat_stride, twin_site at = twin_site::here()) {
    twin_compare(TWIN_lt, dst, src, value,
                 twin_repeat(repeat, dst_block_stride, src_block_stride, 0, dst_repeat_stride,
                             src_repeat_stride, 0),
                 at);
}

/* dst = bit ? src0 : src1, bits from the 8 bytes that asc_set_cmp_mask read (V; then
 * asc_sync_pipe(PIPE_V), and again between a select and the next mask), the same for every repeat
 * of 64 f32. (pages: asc_select, asc_set_cmp_mask; that repeats reuse the mask: Select, mode 0) */
void asc_set_cmp_mask(__ubuf__ void *bits, twin_site at = twin_site::here());
void asc_select(__ubuf__ float *dst, __ubuf__ float *src0, __ubuf__ float *src1, int repeat,
                int dst_block_stride, int src0_block_stride, int src1_block_stride,
                int dst_repeat_stride, int src0_repeat_stride, int src1_repeat_stride,
                twin_site at = twin_site::here());

/* ---- Cube cores -------------------------------------------------------------------------------
 * Layouts, in fractals of 16 x 16 (512 bytes of 16-bit elements, 1024 of f32); R and C are rows and
 * columns in fractals, (r, c) a fractal:
 *   L1  Nz  fractal (r, c) at c * R + r, rows inside dense     what nd2nz makes
 *   L0A Zz  m x k: fractal (m1, k1) at m1 * K + k1, inside (m, k) at 16 m + k
 *   L0B Zn  k x n: fractal (k1, n1) at k1 * N + n1, inside (k, n) at 16 n + k
 *   L0C Nz  m x n: fractal (m1, n1) at n1 * M + m1, inside (m, n) at 16 m + n
 * K stored [N][D] and loaded with nd2nz already is the Zn image of K^T (k = D, n = N); V stored
 * [keys][D] needs asc_copy_l12l0b_trans. (pages: Mmad, data formats; asc_copy_l12l0b_trans) */

/* MTE2. nd_num (0..4095) matrices of n_value (0..16384) rows by d_value (0..65535) columns of
 * 16-bit elements: src rows src_d_value (1..65535) elements apart, matrices src_matrix_stride
 * (0..65535). Of row n the 16 elements from column 16 c go to byte 32 * (c * c0_stride + n *
 * n_stride) of dst; a last part below 16 is filled with zeros. c0_stride is the number of rows of
 * the Nz image (a multiple of 16 for whole fractals), n_stride 1; both 1..16384. Rows that pad
 * n_value to 16 are not written. dst matrices are dst_matrix_stride elements apart.
 * (page: asc_copy_gm2l1_nd2nz, architecture 2201) */
void twin_nd2nz(void *dst, void *src, int nd_num, int n_value, int d_value, int src_matrix_stride,
                int src_d_value, int dst_c0_stride, int dst_n_stride, int dst_matrix_stride,
                twin_site at);
template <typename T>
void asc_copy_gm2l1_nd2nz(__cbuf__ T *dst, __gm__ T *src, int nd_num, int n_value, int d_value,
                          int src_matrix_stride, int src_d_value, int dst_c0_stride,
                          int dst_n_stride, int dst_matrix_stride,
                          twin_site at = twin_site::here()) {
    static_assert(sizeof(T) == 2, "16-bit elements");
    twin_nd2nz(dst, src, nd_num, n_value, d_value, src_matrix_stride, src_d_value, dst_c0_stride,
               dst_n_stride, dst_matrix_stride, at);
}

/* MTE1. `repeat` (1..255) fractals of 512 bytes; the first is src fractal start_index, then every
 * src_stride-th (0..65535); dst fractals follow each other with dst_gap fractals between.
 * Nz -> Zz: one call a row of fractals, start m1, repeat K, src_stride R, gap 0.
 * _trans: the same, each fractal transposed; `decrement` must be false, fractal_gap is not used
 * for 16-bit elements. Nz of V [keys][D] -> Zn of V: one call a row of fractals (16 keys), start
 * key1, repeat D / 16, src_stride R, gap 0.
 * (pages: asc_copy_l12l0a, asc_copy_l12l0b, asc_copy_l12l0b_trans; that src_stride counts fractals
 * of 512 bytes: Load2D) */
void twin_l12l0(twin_memory_kind to, void *dst, void *src, int start_index, int repeat,
                int src_stride, int dst_gap, bool transpose, bool decrement, twin_site at);
#define TWIN_DECLARE(T)                                                                            \
    inline void asc_copy_l12l0a(__ca__ T *dst, __cbuf__ T *src, int start_index, int repeat,       \
                                int src_stride, int dst_gap, twin_site at = twin_site::here()) {   \
        twin_l12l0(TWIN_L0A, dst, src, start_index, repeat, src_stride, dst_gap, false, false,     \
                   at);                                                                            \
    }                                                                                              \
    inline void asc_copy_l12l0b(__cb__ T *dst, __cbuf__ T *src, int start_index, int repeat,       \
                                int src_stride, int dst_gap, twin_site at = twin_site::here()) {   \
        twin_l12l0(TWIN_L0B, dst, src, start_index, repeat, src_stride, dst_gap, false, false,     \
                   at);                                                                            \
    }                                                                                              \
    inline void asc_copy_l12l0b_trans(__cb__ T *dst, __cbuf__ T *src, int start_index, int repeat, \
                                      int src_stride, int dst_gap, bool decrement,                 \
                                      int fractal_gap, twin_site at = twin_site::here()) {         \
        (void)fractal_gap;                                                                         \
        twin_l12l0(TWIN_L0B, dst, src, start_index, repeat, src_stride, dst_gap, true, decrement,  \
                   at);                                                                            \
    }
TWIN_DECLARE(half)
TWIN_DECLARE(bfloat16_t)
#undef TWIN_DECLARE

/* M. c (m x n, f32) = a (m x k) b (k x n), plus c where init_zero is false. m, k, n 0..4095; any 0:
 * nothing happens. Fractals are whole: a reads ceil16(m) x ceil16(k), b ceil16(k) x ceil16(n), c is
 * ceil16(m) x ceil16(n); elements beyond m and n of c count as unwritten, those beyond k are not
 * summed. unit_flag 0 and k_align, bias false only. A product that adds to what an earlier one
 * wrote needs asc_sync_pipe(PIPE_M) between them. MACs count whole fractals. The order of sums is
 * documented nowhere; as the machine multiplies 16 x 16 x 16 a cycle, here each 16 of k are summed
 * one by one in f32, from zero, and that sum is added to c. (page: asc_mmad; its names for k and n
 * are confused, the order m, k, n is that of later versions) */
void twin_mmad(float *c, void *a, void *b, bool bf16, int m, int k, int n, int unit_flag,
               bool k_align, bool bias, bool init_zero, twin_site at);
inline void asc_mmad(__cc__ float *c, __ca__ half *a, __cb__ half *b, int m, int k, int n,
                     int unit_flag, bool k_align, bool bias, bool init_zero,
                     twin_site at = twin_site::here()) {
    twin_mmad(c, a, b, false, m, k, n, unit_flag, k_align, bias, init_zero, at);
}
inline void asc_mmad(__cc__ float *c, __ca__ bfloat16_t *a, __cb__ bfloat16_t *b, int m, int k,
                     int n, int unit_flag, bool k_align, bool bias, bool init_zero,
                     twin_site at = twin_site::here()) {
    twin_mmad(c, a, b, true, m, k, n, unit_flag, k_align, bias, init_zero, at);
}

/* FIX. How many matrices asc_copy_l0c2gm writes, and how far apart; only nd_num 1 is emulated. Must
 * be called once before. (page: asc_set_l0c_copy_params) */
void asc_set_l0c_copy_params(int nd_num, int src_nd_stride, int dst_nd_stride,
                             twin_site at = twin_site::here());

/* FIX. m_size (1..8192) x n_size (1..4095) of an Nz image in L0C to rows in global memory,
 * dst_stride elements apart; src_stride is the image's rows (M * 16: columns of fractals are
 * 64 * src_stride bytes apart). quant: NoQuant to f32, F322F16 and F322BF16 round to nearest even
 * and saturate (not infinity: "no INF_NAN mode"). nz2nd true, unit_flag 0, relu 0, split false
 * only. dst 32-byte aligned. (page: asc_copy_l0c2gm, architecture 2201; it says MTE1, the overview
 * FIX)
 */
void twin_l0c2gm(void *dst, float *src, int element, int n_size, int m_size, int64_t dst_stride,
                 int src_stride, int unit_flag, uint64_t quant, int relu, bool split, bool nz2nd,
                 twin_site at);
#define TWIN_DECLARE(T, element)                                                                   \
    inline void asc_copy_l0c2gm(__gm__ T *dst, __cc__ float *src, int n_size, int m_size,          \
                                uint32_t dst_stride, int src_stride, int unit_flag,                \
                                uint64_t quant, int relu, bool split, bool nz2nd,                  \
                                twin_site at = twin_site::here()) {                                \
        twin_l0c2gm(dst, src, element, n_size, m_size, dst_stride, src_stride, unit_flag, quant,   \
                    relu, split, nz2nd, at);                                                       \
    }
TWIN_DECLARE(float, NoQuant)
TWIN_DECLARE(half, F322F16)
TWIN_DECLARE(bfloat16_t, F322BF16)
#undef TWIN_DECLARE

/* ---- The host's side --------------------------------------------------------------------------
 * asc_host_begin(threads) before the launches of one call of a kernel: forgets earlier declarations
 *   and counts; at most `threads` cores run at once.
 * asc_host_gm(data, bytes, access, name) declares what kernels may touch: ASC_GM_IN is read only;
 *   ASC_GM_OUT and ASC_GM_WORK start unwritten. `name` must live on. 0 bytes: nothing.
 * ASC_LAUNCH(kind, kernel, blocks, stream, arguments...) runs it to the end and is a
 *   `const char *`: NULL or the finding, which lives until the next asc_host_begin. Launches of one
 *   call follow each other: what one wrote the next may read. After all of them, attest_estimate
 *   (count.h) holds what the call counted.
 * Only one call at a time in a process. */
#define ASC_GM_IN TWIN_GM_IN
#define ASC_GM_OUT TWIN_GM_OUT
#define ASC_GM_WORK TWIN_GM_WORK
#define ASC_LAUNCH(kind, kernel, blocks, stream, ...)                                              \
    ((void)(stream), twin_launch((kind), (blocks), #kernel, [&] { kernel(__VA_ARGS__); }))
inline void asc_host_begin(int threads) {
    twin_begin(threads);
}
inline void asc_host_gm(const void *data, uint64_t bytes, twin_access access, const char *name) {
    twin_declare(data, bytes, access, name);
}

#endif
