/* Flash attention of prompts, or chunks of them, on cube and vector cores together, over keys in
 * rows or in pages. Emulated; never run on a 910B2.
 *
 * Work. An item is 128 queries of one head of one sequence; a step of it is 128 of the keys that
 * they see, from the first one on, which with a window is where the first query's begins. What lies
 * before that, past the diagonal or the length is no step, and is not read. Items are dealt over
 * the blocks from the last query tile down (causal: the heaviest first), every second round
 * backwards. All steps of a block are one stream, so that nothing drains between items.
 *
 * A block is one cube core and two vector cores, which meet through its own part of scratch: S
 * [128][128] f32, P [128][128] 16-bit and O [128][D] f32, each twice.
 * - The cube core computes S = Q K^T of step g, then O = P V of step g - 1, and has K of g + 1 and
 *   V of g on their way into L1 before it waits for P of g - 1.
 * - Each vector core owns 64 rows. It turns S of step g into P (scale, hide, running maximum,
 *   exponentials, running sum: f32) and then adds O of step g - 1 to the f32 sum in its UB,
 *   rescaled. After an item's last step it divides, rounds, and writes out and lse.
 *
 * What nobody may see. Keys past the length, past the diagonal and outside a row's window are not
 * computed with: in S they become -infinity by masked stores, so that P is 0 there whatever was in
 * their place; what fills K, V and Q up to whole fractals of 16 comes from a page of zeros. A
 * maximum is at least -3.4e38, so that rows which saw nothing yet stay free of NaN; at the end such
 * a row has l = 0, hence out 0 and lse -infinity. A sink is added to l there, at an item's end, and
 * not before, so that P is relative to the largest logit and not to a sink above it, which would
 * cost P of 16 bits its small weights.
 *
 * Flags between cores (all cube with its two vector cores): `scored` S of a step is in scratch,
 * `weighed` P is, `added` O is, `zeroed` the zeros are. They also say that the ping-pong's other
 * half is free: S(g + 2) overwrites S(g) after `weighed` of g; P(g + 2) overwrites P(g) after
 * `added` of g; O(g + 2) overwrites O(g) after `weighed` of g + 2, which its vector core says after
 * it fetched O(g).
 * Flags between pipes: every buffer has a pair, full and free; free ones are given once at the
 * start and taken back at the end. Cube: MTE2/MTE1 0-1 Q, 2-3 K, 4-5 V, 6 P; MTE1/M 0-1 L0A with
 * L0B; M/FIX 0-1 L0C. Vector: MTE2/V 0-1 S, 2 O; V/MTE3 0 P and out, 1 lse.
 *
 * Budget at D 256, asserted below: UB 184,576 of 188,160 bytes (S twice 65,536; P, and out, 16,384;
 * 128 columns of O 32,768; the sum 65,536; numbers of rows 4,352). L1 425,984 of 524,032 (Q, K, V
 * twice, P once). L0A and L0B 65,536 each, two operands of 128 x 128; D 256 is two products, in S
 * over k, in O over n. L0C 131,072, two results. Scratch 466,944 bytes a block.
 *
 * Traffic of a step over r queries and c keys, both rounded up to 16, and of an item, in bytes
 * (rows that fill up to 16 come from the zeros; pages and windows add nothing). The twin's counts
 * are equal to this, see twin/test_twin_prefill.cpp:
 *     GM -> L1    4 c D + 2 r c    and 2 r D an item
 *     L1 -> L0A   2 r D + 2 r c ceil(D / 128)
 *     L1 -> L0B   4 c D
 *     L0C -> GM   4 r c + 4 r D
 *     GM -> UB    4 r c + 4 r D
 *     UB -> GM    2 r c            and 2 r D + 4 r an item, of valid rows, and 32 D a block
 * and 2 r c D multiply-adds. Rows of out and lse that no step writes cost their bytes.
 *
 * Floors of a full step (r = c = 128), in cycles of a core, by the rates in twin/count.cpp:
 *                          D 64   D 128   D 256
 *     cube                  512    1024    2048    4096 multiply-adds a cycle
 *     L0C -> GM            1143    1524    2286    86 B a cycle: the slowest path
 *     GM -> L1              596     894    1490    110 B a cycle
 *     GM -> UB, a core      447     596     894    110 B a cycle
 *     UB -> GM, a core      256     256     256    64 B a cycle
 *     vector, a core        920    1048    1304    one 256-byte repeat a cycle
 *     of 354 TFLOP/s        45 %    67 %    90 %
 * What bounds it is writing S and O out of L0C. The twin's estimate at D 128, 3 heads, 8192 tokens:
 * full 433.5 us, 238 TFLOP/s; causal 220.2 us, 234 (cube alone: 291.3 and 147.9 us). This takes the
 * workspace's traffic at the rates of a core's way to L2, not of HBM: 324 KiB a block at D 128, 7.6
 * MiB in all, are rewritten before anything need drive them out of 192 MB of L2. Through HBM (9.4
 * MB a step of 24 blocks at 1.6 TB/s) the same traffic would allow 34 TFLOP/s. No public figure
 * says what L2 serves to 24 blocks at once, nor what the way from L0C writes (86 is L2's): the
 * estimate is a floor. Steps of 256 keys would halve what O moves. */
#ifndef ATTEST_ASCEND_PREFILL_H
#define ATTEST_ASCEND_PREFILL_H

#include "tokens.h"

static constexpr int32_t prefill_rows = 128;            /* queries an item */
static constexpr int32_t prefill_keys = 128;            /* keys a step */
static constexpr int32_t prefill_half = 64;             /* rows of a vector core; f32 of a repeat */
static constexpr int32_t prefill_side = 16;             /* of a fractal */
static constexpr float prefill_floor = -3.40282347e38f; /* no sink is below */

enum prefill_flag { prefill_scored, prefill_weighed, prefill_added, prefill_zeroed };

/* Where things lie, in bytes. */
template <int D> struct prefill_tiling {
    static constexpr int32_t wide = D < 128 ? D : 128; /* columns of D in one product */
    static constexpr int32_t parts = D / wide;

    /* Scratch of a block. */
    static constexpr uint32_t score_bytes = 4 * prefill_rows * prefill_keys;
    static constexpr uint32_t weight_bytes = 2 * prefill_rows * prefill_keys;
    static constexpr uint32_t sum_bytes = 4 * prefill_rows * D;
    static constexpr uint32_t zero_bytes = 2 * prefill_side * D;
    static constexpr uint32_t scores = 0;
    static constexpr uint32_t weights = scores + 2 * score_bytes;
    static constexpr uint32_t sums = weights + 2 * weight_bytes;
    static constexpr uint32_t zeros = sums + 2 * sum_bytes;
    static constexpr uint32_t block_bytes = zeros + zero_bytes;

    /* L1: Q, K and V twice, P once. */
    static constexpr uint32_t tile_bytes = 2 * 128 * D;
    static constexpr uint32_t l1_q = 0;
    static constexpr uint32_t l1_k = l1_q + 2 * tile_bytes;
    static constexpr uint32_t l1_v = l1_k + 2 * tile_bytes;
    static constexpr uint32_t l1_p = l1_v + 2 * tile_bytes;
    static_assert(l1_p + weight_bytes <= ASC_L1_BYTES, "L1");

    /* L0: two operands of 128 x 128, two results. D 256 is two products in either direction. */
    static constexpr uint32_t operand_bytes = 2 * 128 * 128;
    static constexpr uint32_t result_bytes = 4 * 128 * 128;
    static_assert(2 * operand_bytes <= ASC_L0A_BYTES, "L0A");
    static_assert(2 * operand_bytes <= ASC_L0B_BYTES, "L0B");
    static_assert(2 * result_bytes <= ASC_L0C_BYTES, "L0C");

    /* UB: S twice, P (and out) once, 128 columns of O once, the f32 sum, numbers of rows. */
    static constexpr uint32_t row_bytes = 4 * prefill_half;     /* a number a row */
    static constexpr uint32_t spread_bytes = 32 * prefill_half; /* the same, a block each */
    static constexpr uint32_t ub_s = 0;
    static constexpr uint32_t ub_p = ub_s + 2 * 4 * prefill_half * prefill_keys;
    static constexpr uint32_t ub_o = ub_p + 2 * prefill_half * prefill_keys;
    static constexpr uint32_t ub_sum = ub_o + 4 * prefill_half * wide;
    static constexpr uint32_t ub_max = ub_sum + 4 * prefill_half * D; /* by parity of the item */
    static constexpr uint32_t ub_total = ub_max + 2 * row_bytes;      /* by parity of the item */
    static constexpr uint32_t ub_factor = ub_total + 2 * row_bytes;   /* by parity of the step */
    static constexpr uint32_t ub_a = ub_factor + 2 * row_bytes;
    static constexpr uint32_t ub_b = ub_a + row_bytes;
    static constexpr uint32_t ub_lse = ub_b + row_bytes;
    static constexpr uint32_t ub_spread = ub_lse + row_bytes;
    static constexpr uint32_t ub_end = ub_spread + spread_bytes;
    static_assert(ub_end <= ASC_UB_BYTES, "UB");
};

/* A call, by value. */
struct prefill_args {
    tokens kv;
    __gm__ void *q, *out;
    __gm__ float *lse, *sinks;      /* sinks: NULL where there are none */
    __gm__ uint8_t *work;           /* on a core: its block's */
    int64_t q_batch, q_head, q_row; /* strides in elements; of out and lse they are dense */
    int32_t batch, q_heads, group, q_len, head_dim;
    float scale;
    uint64_t flags_address;
};

/* One step: 128 keys of one item. */
struct prefill_step {
    int32_t item;    /* of this block, from 0 */
    int32_t b, h;    /* sequence, query head */
    int32_t first;   /* query of the tile's first row */
    int32_t rows;    /* valid ones */
    int64_t shift;   /* the place of query i is i + shift */
    token_span seen; /* keys, by the tile */
    int32_t step, steps;
};

/* Goes through the steps of one block. */
struct prefill_walk {
    int32_t block, blocks;
    int32_t tile, b, h;
    int32_t number; /* of the item at (tile, b, h), over all blocks */
    int32_t item;
    prefill_step at;
};

__aicore__ inline event_t prefill_id(int32_t flag) {
    return (event_t)flag;
}
__aicore__ inline int32_t prefill_least(int32_t a, int32_t b) {
    return a < b ? a : b;
}
__aicore__ inline int32_t prefill_most(int32_t a, int32_t b) {
    return a > b ? a : b;
}
__aicore__ constexpr int32_t prefill_up(int32_t n, int32_t to) {
    return (n + to - 1) / to * to;
}

/* The keys that the queries of a tile see. */
__aicore__ inline token_span prefill_seen(const prefill_args &args, token_lengths lengths,
                                          int32_t tile) {
    const int64_t first = int64_t{tile} * prefill_rows, end = first + prefill_rows;
    if (first >= lengths.q) return {0, 0};
    return tokens_seen(args.kv, lengths, first, end < lengths.q ? end : lengths.q);
}

__aicore__ inline prefill_walk prefill_begin(const prefill_args &args, int32_t block,
                                             int32_t blocks) {
    prefill_walk walk = {};
    walk.block = block;
    walk.blocks = blocks;
    walk.tile = prefill_up(args.q_len, prefill_rows) / prefill_rows - 1;
    return walk;
}

__aicore__ inline bool prefill_dealt(const prefill_walk &walk) {
    const int32_t round = walk.number / walk.blocks, turn = walk.number % walk.blocks;
    return (round % 2 == 0 ? turn : walk.blocks - 1 - turn) == walk.block;
}

/* The next item of this block that has steps; false behind the last. */
__aicore__ inline bool prefill_next_item(prefill_walk &walk, const prefill_args &args) {
    for (; walk.tile >= 0; walk.tile--, walk.b = 0) {
        for (; walk.b < args.batch; walk.b++, walk.h = 0) {
            const token_lengths lengths = tokens_lengths(args.kv, walk.b);
            const token_span seen = prefill_seen(args, lengths, walk.tile);
            const int32_t keys = static_cast<int32_t>(seen.end - seen.first);
            if (keys == 0) continue;
            for (; walk.h < args.q_heads; walk.h++, walk.number++) {
                if (!prefill_dealt(walk)) continue;
                const int32_t first = walk.tile * prefill_rows;
                walk.at = {walk.item++,
                           walk.b,
                           walk.h,
                           first,
                           prefill_least(prefill_rows, static_cast<int32_t>(lengths.q) - first),
                           lengths.kv - lengths.q,
                           seen,
                           0,
                           prefill_up(keys, prefill_keys) / prefill_keys};
                walk.h++;
                walk.number++;
                return true;
            }
        }
    }
    return false;
}

__aicore__ inline bool prefill_next(prefill_walk &walk, const prefill_args &args,
                                    prefill_step &step) {
    walk.at.step++;
    if (walk.at.step >= walk.at.steps && !prefill_next_item(walk, args)) return false;
    step = walk.at;
    return true;
}

/* A step's first key, and how many there are. */
__aicore__ inline int64_t prefill_key(const prefill_step &step) {
    return step.seen.first + int64_t{step.step} * prefill_keys;
}
__aicore__ inline int32_t prefill_width(const prefill_step &step) {
    const int64_t left = step.seen.end - prefill_key(step);
    return left < prefill_keys ? static_cast<int32_t>(left) : prefill_keys;
}
__aicore__ inline bool prefill_ends(const prefill_step &step) {
    return step.step + 1 == step.steps;
}

#include "prefill_cube.h"
#include "prefill_vector.h"

/* One core's part. */
template <typename T, int D> __aicore__ inline void prefill_run(prefill_args args) {
    args.work += asc_block() * (int64_t)prefill_tiling<D>::block_bytes;
    if (asc_on_cube()) {
        prefill_cube<T, D>(args);
    } else {
        prefill_vector<T, D>(args);
    }
}

template <typename T> __aicore__ inline void prefill_kernel(const prefill_args &args) {
    asc_init();
    asc_set_ffts_base_addr(args.flags_address);
    if (args.head_dim == 64) prefill_run<T, 64>(args);
    if (args.head_dim == 128) prefill_run<T, 128>(args);
    if (args.head_dim == 256) prefill_run<T, 256>(args);
}

/* ---- The host's part -------------------------------------------------------------------------
 */

/* As many blocks as there can be items, 24 at most. */
inline int64_t prefill_blocks(const struct attn_problem *problem) {
    const int64_t tiles = (problem->q_len + prefill_rows - 1) / prefill_rows;
    const int64_t items = tiles * problem->batch * problem->q_heads;
    return items < 1 ? 1 : items < ASC_CUBE_CORES ? items : ASC_CUBE_CORES;
}

inline const char *prefill_refuse(const struct attn_problem *problem) {
    /* 31 bits, and room to round up. */
    constexpr int64_t limit = INT32_MAX - 1024;
    if (problem->q_len > limit || problem->kv_len > limit) return "more than 2147482623 tokens";
    if (problem->batch * problem->q_heads * (problem->q_len / prefill_rows + 1) > limit)
        return "more than 2147482623 tiles of 128 queries";
    if (!(problem->scale > 0)) return "scale is not positive: hidden keys are marked before it";
    return host_refuse(problem);
}

inline size_t prefill_scratch(const struct attn_problem *problem) {
    const size_t bytes = problem->head_dim == 64    ? prefill_tiling<64>::block_bytes
                         : problem->head_dim == 128 ? prefill_tiling<128>::block_bytes
                                                    : prefill_tiling<256>::block_bytes;
    return (size_t)prefill_blocks(problem) * bytes;
}

/* NULL, or what the kernel cannot take. */
inline const char *prefill_args_set(prefill_args &args, const struct attn_problem *problem,
                                    const struct attn_call *call) {
    if (!host_dense(call, ATTN_OUT) || !host_dense(call, ATTN_LSE))
        return "out and lse must be dense";
    args.kv = tokens_of(problem, call);
    args.q = host_data<void>(call, ATTN_Q);
    args.out = host_data<void>(call, ATTN_OUT);
    args.lse = host_data<float>(call, ATTN_LSE);
    args.sinks = host_data<float>(call, ATTN_SINKS);
    args.work = host_scratch<uint8_t>(call, 0);
    args.q_batch = host_stride(call, ATTN_Q, 0);
    args.q_head = host_stride(call, ATTN_Q, 1);
    args.q_row = host_stride(call, ATTN_Q, 2);
    args.batch = (int32_t)problem->batch;
    args.q_heads = (int32_t)problem->q_heads;
    args.group = (int32_t)(problem->q_heads / problem->kv_heads);
    args.q_len = (int32_t)problem->q_len;
    args.head_dim = (int32_t)problem->head_dim;
    args.scale = (float)problem->scale;
    args.flags_address = host_flags_address();
    return args.q_row > 65535 ? "rows more than 65,535 elements apart" : tokens_wrong(args.kv);
}

#endif
