/* The one header through which the Ascend kernels reach their machine. Emulated; never run on a
 * 910B2.
 *
 * Compiled by bisheng (`.asc`, CANN 9.0 or later, --npu-arch=dav-2201) it includes Ascend C's pure
 * C API and adds the few names of ours that stand where CANN's differ between 9.0 and 9.1, so that
 * a rename is a change to this file. Compiled by anything else it includes twin/twin.h, which
 * declares the same calls and is their manual: units, limits, alignment, and the documentation's
 * page for each. A kernel uses nothing that twin/twin.h does not declare.
 *
 * Names of ours, on both sides:
 *   ASC_UB_BYTES ...            what a core has
 *   asc_block, asc_blocks, asc_sub_block, asc_on_cube, asc_on_vector    who I am
 *   asc_ub<T>(byte), asc_l1, asc_l0a, asc_l0b, asc_l0c                  a typed place in a memory
 *   asc_gm_get, asc_ub_get, asc_ub_set                                  the scalar unit's accesses
 *   asc_core_arrive, asc_core_wait                                      between cores
 *   ASC_LAUNCH and the declarations of global memory for the host
 * The vector calls come in the two forms of the C API: the first `count` elements, and `repeat`
 * iterations of 256 bytes under the mask with strides in blocks of 32 bytes. */
#ifndef ATTEST_ASC_H
#define ATTEST_ASC_H

#include <stddef.h>
#include <stdint.h>

/* Bytes a kernel may use. UB: 192 KiB less 256 B and less the 8 KiB that the tools keep by
 * default; L1: 512 KiB less 256 B. */
#define ASC_UB_BYTES (192 * 1024 - 8 * 1024 - 256)
#define ASC_L1_BYTES (512 * 1024 - 256)
#define ASC_L0A_BYTES (64 * 1024)
#define ASC_L0B_BYTES (64 * 1024)
#define ASC_L0C_BYTES (128 * 1024)
#define ASC_CUBE_CORES 24   /* AIC of a 910B2 */
#define ASC_VECTOR_CORES 48 /* AIV: two beside each AIC */

/* How asc_core_arrive meets (page: asc_sync_block_arrive, its three modes). */
#define ASC_ALL_CORES 0   /* every cube core, or every vector core, of the launch */
#define ASC_VECTOR_PAIR 1 /* the two vector cores of one block */
#define ASC_CUBE_VECTOR 2 /* a cube core and its two vector cores, in either direction */

/* What a launch starts. It must agree with the kernel's qualifier. Flags between cores need one of
 * the __mix__ kinds. */
#define ASC_MIX_1_2 0 /* __mix__(1, 2): blocks of one cube and two vector cores, at most 24 */
#define ASC_MIX_0_1 1 /* __mix__(0, 1): blocks of one vector core, at most 48 */
#define ASC_MIX_1_0 2 /* __mix__(1, 0): blocks of one cube core, at most 24 */
#define ASC_VECTOR 3  /* __vector__: as ASC_MIX_0_1, no flags between cores */
#define ASC_CUBE 4    /* __cube__: as ASC_MIX_1_0, no flags between cores */

#ifdef __CCE__ /* bisheng's .asc mode. Everything from here to #else has never been compiled. */

#include "c_api/asc_simd.h"

template <typename T> __aicore__ inline __ubuf__ T *asc_ub(uint32_t byte) {
    return (__ubuf__ T *)asc_get_phy_buf_addr(byte);
}
template <typename T> __aicore__ inline __cbuf__ T *asc_l1(uint32_t byte) {
    return (__cbuf__ T *)asc_get_phy_buf_addr(byte);
}
template <typename T> __aicore__ inline __ca__ T *asc_l0a(uint32_t byte) {
    return (__ca__ T *)asc_get_phy_buf_addr(byte);
}
template <typename T> __aicore__ inline __cb__ T *asc_l0b(uint32_t byte) {
    return (__cb__ T *)asc_get_phy_buf_addr(byte);
}
template <typename T> __aicore__ inline __cc__ T *asc_l0c(uint32_t byte) {
    return (__cc__ T *)asc_get_phy_buf_addr(byte);
}

/* The AI core's number on cube and vector cores alike. Pages differ on whether asc_get_block_idx
 * counts vector cores in a mixed kernel; the built-in block_idx does not. */
__aicore__ inline int64_t asc_block() {
    return block_idx;
}
__aicore__ inline int64_t asc_blocks() {
    return block_num;
}
__aicore__ inline int64_t asc_sub_block() {
    return asc_get_sub_block_id();
}
__aicore__ inline bool asc_on_cube() {
    if ASC_IS_AIC {
        return true;
    }
    return false;
}
__aicore__ inline bool asc_on_vector() {
    return !asc_on_cube();
}

template <typename T> __aicore__ inline T asc_gm_get(__gm__ T *from) {
    return *from;
}
template <typename T> __aicore__ inline T asc_ub_get(__ubuf__ T *from) {
    return *from;
}
template <typename T> __aicore__ inline void asc_ub_set(__ubuf__ T *to, T value) {
    *to = value;
}

/* 9.0: asc_sync_block_arrive(pipe, mode, flag) and asc_sync_block_wait(flag). 9.1: macros of two
 * arguments, one pair of names a mode (release notes of the C API, 9.1). */
#ifdef asc_sync_block_wait
#define asc_core_arrive(pipe, mode, flag)                                                          \
    ((mode) == ASC_ALL_CORES     ? asc_sync_inter_arrive(pipe, flag)                               \
     : (mode) == ASC_VECTOR_PAIR ? asc_sync_subblock_arrive(pipe, flag)                            \
                                 : asc_sync_block_arrive(pipe, flag))
#define asc_core_wait(flag) asc_sync_block_wait(PIPE_S, flag)
#else
#define asc_core_arrive(pipe, mode, flag) asc_sync_block_arrive(pipe, mode, flag)
#define asc_core_wait(flag) asc_sync_block_wait(flag)
#endif

/* Kernels number flags with integers; the C API has a type for them. (Where its names are macros
 * themselves, that must be settled here.) */
#ifndef asc_sync_notify
#define asc_sync_notify(from, to, id) asc_sync_notify(from, to, (event_t)(id))
#define asc_sync_wait(from, to, id) asc_sync_wait(from, to, (event_t)(id))
#endif

/* The page gives this form an unused first number, sid, which the way back lacks. */
template <typename T>
__aicore__ inline void asc_copy_gm2ub_align(__ubuf__ T *dst, __gm__ T *src, uint16_t n_burst,
                                            uint32_t len_burst, uint8_t left_padding,
                                            uint8_t right_padding, uint32_t src_gap,
                                            uint32_t dst_gap) {
    asc_copy_gm2ub_align(dst, src, (uint8_t)0, n_burst, len_burst, left_padding, right_padding,
                         src_gap, dst_gap);
}

/* Broadcasting moves bits; the C API has it for unsigned types. */
__aicore__ inline void asc_brcb(__ubuf__ float *dst, __ubuf__ float *src, uint16_t dst_block_stride,
                                uint16_t dst_repeat_stride, uint8_t repeat) {
    asc_brcb((__ubuf__ uint32_t *)dst, (__ubuf__ uint32_t *)src, dst_block_stride,
             dst_repeat_stride, repeat);
}

/* The maximum alone (pages: asc_repeat_reduce_max, order ONLY_VALUE, and its 9.0 form). */
__aicore__ inline void asc_repeat_reduce_max(__ubuf__ float *dst, __ubuf__ float *src,
                                             uint8_t repeat, uint16_t dst_repeat_stride,
                                             uint16_t src_block_stride,
                                             uint16_t src_repeat_stride) {
    asc_repeat_reduce_max_only_value(dst, src, repeat, dst_repeat_stride, src_block_stride,
                                     src_repeat_stride);
}

#define ASC_LAUNCH(kind, kernel, blocks, stream, ...)                                              \
    (kernel<<<(blocks), nullptr, (stream)>>>(__VA_ARGS__), (const char *)nullptr)
#define asc_host_begin(threads) ((void)(threads))
#define asc_host_gm(data, bytes, access, name) ((void)(data))

#else
#include "twin/twin.h"
#endif

#endif
