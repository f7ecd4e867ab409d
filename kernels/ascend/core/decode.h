/* Decode on cube and vector cores together: one new token a sequence, or none, against the keys
 * that it sees, in rows or in pages. Emulated; never run on a 910B2.
 *
 * A *pair* is a sequence and a kv head. The `group` <= 16 query heads of a pair are the rows of one
 * product with M = 16, zeros in the rows beyond, so that keys and values are read once for all of
 * them. The keys of a pair, from the first in its window on, are cut into *tiles* of 32,768 / D (64
 * KiB of K), and the tiles of all pairs, in order, into equal *parts*, one a block (a cube core and
 * its two vector cores), so that blocks are balanced to a tile however lengths differ. A *segment*
 * is what one part has of one pair. If that is all of it, the block writes the result; otherwise
 * (at most twice a block) it leaves m, l and O in the workspace, and after a barrier of all vector
 * cores the block in which the pair begins combines them. There is a part for every block, unless
 * that makes them smaller than 512 keys on average and than a pair.
 *
 * For tile t the cube core computes S = Q K^T, the vector cores P = exp(scale S - m), rounded to
 * the input's type, the cube core P V, the vector cores O = O exp(m_old - m) + P V in f32; S, P and
 * P V pass through global memory, two buffers each. The cube core is one tile ahead, and issues the
 * loads of K and V of the tile after that before it waits for P, so that MTE2 is never without
 * work. A vector core owns half of the rows (with one row the second only answers the flags).
 *     cube    S(0)  S(1)  PV(0)  S(2)  PV(1)  S(3) ...
 *     vector        P(0)  P(1)   O(0)  P(2)   O(1) ...
 *
 * Flags between cores: `scores`, `products` (cube to vector), `zeros`, `weights` (vector to cube),
 * `all`. One id each: arrivals are in order and at most two pending. They also free the buffers
 * that the data pass through, on chip and in the workspace: S(t) comes after P(t - 2), P(t) after
 * PV(t - 2), PV(t) after P(t), which comes after O(t - 2). Flags within a core are listed with the
 * buffers in decode_cube.h and decode_vector.h. Each is needed by some problem: with any of them
 * left out the twin has a finding on one of six (b30 hq6 hkv2 kv100 d64 and b3 hq6 hkv2 kv600 d128
 * among them), as it has with any barrier (twin/test_twin_decode.cpp).
 *
 * What must not be read: only rows of valid keys are copied. The k of P V is the tile's keys
 * rounded up to 16, and the rows of K and V that fill up, like the rows of Q and P beyond the
 * group, are copied from 512 bytes of zeros which the vector cores wrote at the start: P there is
 * 0, and 0 * NaN would be NaN. Columns of S beyond the keys are overwritten, under the mask, before
 * the maximum is taken.
 *
 * Sinks are added to m and l once a pair: where its only segment ends, or where segments are
 * combined. P is relative to the largest logit, not to a sink above it.
 *
 * Budget in bytes for D 64, which has the widest tiles; the code asserts all three:
 *     L1   K 2 x 65,536, V 3 x 65,536, Q 2 x 2,048, P 2 x 16,384    364,544 of 524,032
 *     L0A  Q 2 x 2,048, P 2 x 16,384                                 36,864 of  65,536
 *     L0B  2 x 32,768, each half a tile of K (by D) or V (by keys)   65,536 of  65,536
 *     L0C  S 2 x 32,768, PV 2 x 4,096                                73,728 of 131,072
 *     UB   S 2 x 16,384, P 2 x 8,192, PV 2 x 2,048, the rest         66,304 of 188,160
 *
 * Traffic in bytes, equal to what the twin counts (twin/test_twin_decode.cpp); c: a tile's keys
 * rounded up to 16, g: the group; pages, windows and sinks add nothing:
 *     global memory to L1   (4 D + 2 g) c a tile, 2 g D a segment, 4 (16 - g) (D + 32,768 / D) of
 *                           zeros a part
 *     L0C to global memory  4 g (c + D) a tile
 *     global memory to UB   4 g (c + D) a tile, x a split segment
 *     UB to global memory   2 g c a tile, 2 g D + 4 g a pair, x a split segment, 512 a block
 * with x = 4 g D + 128, or 4 D + 64 where g is 1.
 * Of that K and V of valid keys, 4 D Hkv a token, must come from HBM; the rest turns over within
 * the L2 cache. */
#ifndef ATTEST_ASCEND_DECODE_H
#define ATTEST_ASCEND_DECODE_H

#include "decode_cube.h"
#include "decode_vector.h"
#include "host.h"

/* ---- A kernel -------------------------------------------------------------------------------- */

template <typename T, int D> __aicore__ inline void decode_core(const decode_args &a) {
    __gm__ char *work_at = a.work + asc_block() * int64_t{decode_work<D>::bytes};
    const decode_walk walk = decode_begin<decode_keys(D)>(a, asc_block(), asc_blocks());
    if (asc_on_cube()) {
        decode_cube<T, D>::run(a, walk, work_at);
    } else {
        decode_vector<T, D>::run(a, walk, work_at);
    }
}

template <typename T> __aicore__ inline void decode_body(const decode_args &a) {
    asc_init();
    asc_set_ffts_base_addr(a.flags_address);
    if (a.head_dim == 64) {
        decode_core<T, 64>(a);
    } else if (a.head_dim == 128) {
        decode_core<T, 128>(a);
    } else {
        decode_core<T, 256>(a);
    }
}

/* ---- The host -------------------------------------------------------------------------------- */

/* No more blocks than tiles, were all sequences as long as the longest. */
inline int64_t decode_blocks(const struct attn_problem *problem) {
    const int64_t keys = decode_keys(static_cast<int>(problem->head_dim));
    int64_t seen = problem->kv_len;
    if (problem->traits & ATTN_WINDOW && problem->window_left < seen)
        seen = problem->window_left + 1;
    const int64_t tiles = problem->batch * problem->kv_heads * ((seen + keys - 1) / keys);
    return tiles < 1 ? 1 : tiles < ASC_CUBE_CORES ? tiles : ASC_CUBE_CORES;
}

inline size_t decode_scratch_bytes(const struct attn_problem *problem) {
    const size_t bytes = problem->head_dim == 64    ? decode_work<64>::bytes
                         : problem->head_dim == 128 ? decode_work<128>::bytes
                                                    : decode_work<256>::bytes;
    return static_cast<size_t>(decode_blocks(problem)) * bytes;
}

/* NULL, or what the kernel cannot take. */
inline const char *decode_args_set(decode_args &a, const struct attn_problem *problem,
                                   const struct attn_call *call) {
    const int64_t d = problem->head_dim;
    if (!host_dense(call, ATTN_OUT) || !host_dense(call, ATTN_LSE))
        return "out and lse must be dense";
    a.kv = tokens_of(problem, call);
    a.q = host_data<void>(call, ATTN_Q);
    a.out = host_data<void>(call, ATTN_OUT);
    a.lse = host_data<float>(call, ATTN_LSE);
    a.sinks = host_data<float>(call, ATTN_SINKS);
    a.work = host_scratch<char>(call, 0);
    a.q_batch = host_stride(call, ATTN_Q, 0);
    a.q_head = host_stride(call, ATTN_Q, 1);
    a.batch = static_cast<int32_t>(problem->batch);
    a.kv_heads = static_cast<int32_t>(problem->kv_heads);
    a.group = static_cast<int32_t>(problem->q_heads / problem->kv_heads);
    a.head_dim = static_cast<int32_t>(d);
    a.scale = static_cast<float>(problem->scale);
    a.flags_address = host_flags_address();
    return a.q_head > 65535 ? "rows more than 65,535 elements apart" : tokens_wrong(a.kv);
}

#endif
