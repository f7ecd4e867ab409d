/* Decode for sm_90: the loops of decode.cuh, and between blocks as few waits as there can be.
 *
 * What a problem of 1 to 20 MB takes beside its bytes is the launch, trips to memory one after the
 * other, and that blocks which share a segment add up their partial sums. So
 * - how many blocks share a segment comes from a model of what both cost (split_plan_dense; where
 *   lengths are known on the device alone, split_work_of): for short segments or many, none;
 * - a block has keys of one segment, unless there are more segments than blocks: then tiles are
 *   laid end to end (share.cuh), and warps add up between segments, in turns;
 * - blocks that share a segment add up a slice each (slices.cuh), once they have nothing else to
 *   do;
 * - of a page table, what a block needs is copied to shared memory in one trip, and all of a small
 *   one while lengths are still being read;
 * - a launch begins while the one before it ends (overlap.cuh): a block has an SM to itself, so
 * that the next launch's come where this one's end, and not two on one SM.
 *
 * Where there are more segments than SMs, or of unequal length more than a third as many, it is the
 * kernel of decode.cuh, with launches that overlap: of two blocks on an SM one reads while the
 * other is between two segments.
 */
#ifndef ATTN_CUDA_DECODE_SPLIT_CUH
#define ATTN_CUDA_DECODE_SPLIT_CUH

#include "decode.cuh"
#include "overlap.cuh"
#include "slices.cuh"

#include <algorithm>

namespace attn {

/* One block an SM, and most of its shared memory for keys under way: as many warps as that needs.
 */
template <int D, int BYTES>
using split_shape = decode_form<D, D == 64 ? 16 : 8, D == 64 ? 12 : 24, 1, BYTES>;

struct split_args {
    part_places places;
    int parts; /* blocks of each segment, where lengths are equal */
    int alone; /* tiles more that a block may take rather than add up more */
};

/* Entries of a page table that shared memory has room for. */
constexpr int SPLIT_TABLE_ROOM = 1024;

/* Lengths take one trip to memory: the last page's is read whether there are pages or not. */
struct split_paged_keys : paged_keys {
    int entries;
    const int32_t *table; /* indices, or a copy of those after the first `skipped` */
    uint32_t skipped;

    __device__ __forceinline__ int tokens(int b) const {
        const int pages = __ldg(&indptr[b + 1]) - __ldg(&indptr[b]);
        const int on_last = __ldg(&last_page_len[b]);
        return pages > 0 ? (pages - 1) * page_size + on_last : 0;
    }
    __device__ __forceinline__ uint32_t row(uint32_t beginning, int g, int token) const {
        return row_among(2, beginning, g, token);
    }
    __device__ __forceinline__ uint32_t row_among(uint32_t each, uint32_t beginning, int g,
                                                  int token) const {
        const uint32_t entry = (uint32_t)token / (uint32_t)page_size;
        const uint32_t page = (uint32_t)table[beginning + entry - skipped];
        return (page * each * (uint32_t)kv_heads + (uint32_t)g) * (uint32_t)page_size +
               ((uint32_t)token - entry * (uint32_t)page_size);
    }
    __device__ __forceinline__ uint32_t scale_row(uint32_t beginning, int g, int token) const {
        return row_among(1, beginning, g, token);
    }
    /* Entries first to end - 1, if there is room. By all threads, which then wait. */
    __device__ __forceinline__ bool copy_table(int32_t *room, int first, int end) {
        first -= first % 4;
        if (end - first > SPLIT_TABLE_ROOM) return false;
        for (int i = 4 * (int)threadIdx.x; i < end - first; i += 4 * (int)blockDim.x)
            copy_async(shared_address(room + i), indices + first + i, true);
        copy_commit();
        table = room;
        skipped = (uint32_t)first;
        return true;
    }
    /* Those of sequences `from` to `to`. */
    __device__ __forceinline__ bool copy_table_of(int32_t *room, int from, int to) {
        return copy_table(room, __ldg(&indptr[from]), __ldg(&indptr[to + 1]));
    }
    /* Those of tokens first to end - 1. */
    __device__ __forceinline__ bool copy_table_in(int32_t *room, int b, int first, int end) {
        const int begin = __ldg(&indptr[b]);
        return copy_table(room, begin + first / page_size, begin + (end - 1) / page_size + 1);
    }
};

inline split_paged_keys keys_make(split_paged_keys, const struct attn_problem *p,
                                  const struct attn_call *call) {
    return {keys_make(paged_keys{}, p, call), (int)p->page_entries,
            static_cast<const int32_t *>(call->tensors[ATTN_KV_PAGE_INDICES].data), 0};
}

/* What a block does: `tiles` from `at`. `own`: they are of one segment, which blocks first to last
 * share; otherwise the block has its part of the line. */
struct split_work {
    place at;
    int tiles;
    bool own;
    int first, last;
    part line;

    /* Share `index` of `parts` of the segment that is open. */
    __device__ __forceinline__ void take(int index, int parts) {
        const int each = at.tiles / parts, more = at.tiles - each * parts;
        own = true;
        first = (int)blockIdx.x - index;
        last = first + parts - 1;
        at.tile = index * each + min(index, more);
        tiles = each + (index < more ? 1 : 0);
    }
    template <typename Segments>
    __device__ __forceinline__ void take_line(const Segments &segments, int total) {
        own = false;
        line = part_of_line<Segments>(total);
        tiles = line.end - line.first;
        if (tiles > 0) at = place_of(segments, line.first);
    }
};

/* Segments as how many blocks have a share of at most `most` tiles: a "key" is a block. */
template <typename Segments> struct split_shares {
    static constexpr int TILE = 1;
    const Segments &of;
    int outers, inners, most;

    __device__ __forceinline__ int keys(int outer) const {
        return ceil_div(ceil_div(of.keys(outer), Segments::TILE), most);
    }
    __device__ __forceinline__ int blocks() const {
        int sum = 0;
        for (int o = threadIdx.x % WARP; o < outers; o += WARP) sum += keys(o);
        return __reduce_add_sync(ALL_LANES, sum) * inners;
    }
};

/* Where lengths differ: the fewest tiles a block that leave each block one segment, or all of it,
 * or else the line. */
template <typename Segments>
__device__ __forceinline__ split_work split_work_of(const Segments &segments, int alone) {
    const int lane = threadIdx.x % WARP, blocks = (int)gridDim.x, block = (int)blockIdx.x;
    int sum = 0, longest = 0;
#pragma unroll 4
    for (int o = lane; o < segments.outers; o += WARP) {
        const int tiles = ceil_div(segments.keys(o), Segments::TILE);
        sum += tiles;
        longest = max(longest, tiles);
    }
    const int total = __reduce_add_sync(ALL_LANES, sum) * segments.inners;
    longest = __reduce_max_sync(ALL_LANES, longest);
    split_work work{};
    if (total == 0) return work;
    const int most = ceil_div(total, blocks) + alone;
    split_shares<Segments> shares{segments, segments.outers, segments.inners, most - alone};
    int used = segments.outers * segments.inners;
    const bool whole = used <= blocks && longest <= most;
    if (!whole)
        for (used = shares.blocks(); used > blocks && shares.most < most; used = shares.blocks())
            shares.most++;
    if (used > blocks) {
        work.take_line(segments, total);
    } else if (block < used) {
        const place share = whole ? place{block / segments.inners, block % segments.inners, 0, 1, 1}
                                  : place_of(shares, block);
        work.at.open(segments, share.outer);
        work.at.inner = share.inner;
        work.take(share.tile, share.tiles);
    }
    return work;
}

/* Sums of a segment's rows in shared memory, in COUNT pieces that have to be added up. */
template <int COUNT> struct sum_pieces {
    const float *sums; /* [COUNT] stride [rows][pitch] */
    int stride, pitch;
    const float2 *stats; /* [COUNT] stats_stride [rows] {reference, sum of weights} */
    int stats_stride;

    __device__ __forceinline__ float2 row(int row) const {
        float top = -INFINITY, weight = 0.f;
#pragma unroll
        for (int n = 0; n < COUNT; n++) top = fmaxf(top, stats[n * stats_stride + row].x);
#pragma unroll
        for (int n = 0; n < COUNT; n++) {
            const float2 pair = stats[n * stats_stride + row];
            weight = fmaf(toward(top, pair.x), pair.y, weight);
        }
        return make_float2(top, weight);
    }

    template <int D> __device__ __forceinline__ column_sum column(int i) const {
        const int row = i / (D / 4), offset = row * pitch + i % (D / 4) * 4;
        column_sum sum = column_of_nothing();
#pragma unroll
        for (int n = 0; n < COUNT; n++) sum.top = fmaxf(sum.top, stats[n * stats_stride + row].x);
#pragma unroll
        for (int n = 0; n < COUNT; n++)
            column_add(sum, stats[n * stats_stride + row],
                       *reinterpret_cast<const float4 *>(&sums[n * stride + offset]));
        return sum;
    }
};

/* A segment that a block shares, and whose slice it has yet to add up. */
struct split_debt {
    int outer, inner;
    int first, last; /* blocks */
};

/* In shared memory, behind the rings. */
template <typename Shape> struct split_shared {
    float sums[Shape::HEADS * Shape::SUM_PITCH];
    float2 stats[(Shape::WARPS + 1) * Shape::HEADS];
    split_work work;  /* here to leave registers free */
    int segment_tile; /* where the next segment begins on the line */
    place at;         /* in the segment that is gone through */
    int first, last;  /* blocks that have it */
    int debt_count;
    split_debt debts[2];
    alignas(16) int32_t table[SPLIT_TABLE_ROOM];

    static constexpr int BYTES = Shape::WARPS * Shape::RING_BYTES + (int)sizeof(split_shared);
};

template <typename T, int DIM, typename Keys> struct split_block {
    using shape = split_shape<DIM, Keys::BYTES>;
    using memory = split_shared<shape>;
    using segment_list = decode_segments<shape, Keys>;
    static constexpr int D = DIM;

    const decode_args &a;
    const split_args &split;
    const segment_list &segments;
    memory &shared;
    float *rings; /* that nothing is under way to any more, in the end */

    __device__ __forceinline__ int heads_of(int inner) const {
        return min(shape::HEADS, a.group - inner % a.chunks * shape::HEADS);
    }
    __device__ __forceinline__ int64_t row_of(int outer, int inner) const {
        return (int64_t)outer * a.q_heads + inner / a.chunks * a.group +
               inner % a.chunks * shape::HEADS;
    }
    __device__ __forceinline__ const T *queries(const place &at) const {
        return static_cast<const T *>(a.q) + row_of(at.outer, at.inner) * D;
    }
    __device__ __forceinline__ T *out_of(int64_t row) const {
        return static_cast<T *>(a.out) + row * D;
    }

    /* By one thread: what is to be known of the next segment when its keys are done with. */
    __device__ __forceinline__ void note(const place &at) const {
        const split_work &work = shared.work;
        const int tile = shared.segment_tile;
        shared.at = at;
        shared.first = work.own ? work.first : work.line.owner_of(tile);
        shared.last = work.own ? work.last : work.line.owner_of(tile + at.tiles - 1);
        shared.segment_tile = tile + at.tiles;
    }

    /* By all threads, once the owners and the segment's pieces are in shared
     * memory; they may be overwritten after the next barrier. */
    template <int COUNT> __device__ __forceinline__ void settle(const sum_pieces<COUNT> &pieces) {
        const place at = shared.at;
        const int heads = heads_of(at.inner), columns = heads * (D / 4);
        const int64_t row = row_of(at.outer, at.inner);
        const int block = (int)blockIdx.x, first = shared.first, last = shared.last;
        if (first == last) {
            for (int i = threadIdx.x; i < columns; i += shape::THREADS)
                write_column<T, D>(out_of(row), a.lse + row, i, pieces.template column<D>(i));
            return;
        }
        for (int i = threadIdx.x; i < columns; i += shape::THREADS)
            split.places.put(block, block == first, i, pieces.template column<D>(i));
        if (threadIdx.x == 0) shared.debts[shared.debt_count++] = {at.outer, at.inner, first, last};
    }

    __device__ __forceinline__ void pay() {
        __syncthreads();
        for (int n = 0; n < shared.debt_count; n++) {
            const split_debt debt = shared.debts[n];
            const int parts = debt.last - debt.first + 1;
            const slice mine =
                slice_of(heads_of(debt.inner) * (D / 4), parts, (int)blockIdx.x - debt.first);
            if (mine.count == 0) continue;
            const int64_t row = row_of(debt.outer, debt.inner);
            add_slice<shape::THREADS, T, D>(parts_in_memory{split.places, debt.first}, parts, mine,
                                            out_of(row), a.lse + row, rings);
        }
    }
};

/* Keeps the compiler from finding out, before it comes here, where a pointer points. */
template <typename T> __device__ __forceinline__ void find_here(const T *&pointer) {
    asm volatile("" : "+l"(pointer));
}

/* As decode_warp::start, with one address, which is found behind the copies before it. */
template <typename T, typename Shape, typename Keys>
__device__ __forceinline__ void take_queries(decode_warp<T, Shape, Keys> &state, const T *queries,
                                             int heads) {
    using warp = decode_warp<T, Shape, Keys>;
    constexpr int D = Shape::D;
    const int lane = threadIdx.x % WARP;
    const T *from = queries + (lane >> 2) * D + (lane & 3) * warp::LANE_COLUMNS;
    find_here(from);
#pragma unroll
    for (int step = 0; step < D / 16; step++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const T *pair = from + i % 2 * 8 * D + step * 16 + i / 2 * warp::SECOND_PAIR;
            state.q[step][i] = (lane >> 2) + i % 2 * 8 < heads
                                   ? __ldg(reinterpret_cast<const uint32_t *>(pair))
                                   : 0;
        }
#pragma unroll
    for (int n = 0; n < D / 8; n++)
        state.out[n][0] = state.out[n][1] = state.out[n][2] = state.out[n][3] = 0.f;
    state.sum[0] = state.sum[1] = 0.f;
    state.max[0] = state.max[1] = -INFINITY;
}

/* The warp's sums to its ring, where nothing is under way any more. */
template <typename T, typename Shape, typename Keys>
__device__ __forceinline__ void hand_over(const decode_warp<T, Shape, Keys> &state, float *ring,
                                          float2 *stats, int heads, softmax_scale scale) {
    const int lane = threadIdx.x % WARP;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const float weight = quad_sum(state.sum[r]);
        if ((lane & 3) == 0)
            stats[(lane >> 2) + r * 8] =
                make_float2(reference(state.max[r], scale.to_log2), weight);
    }
    const float factor[2] = {1.f, 1.f};
    state.add_to(ring, heads, factor, true);
}

/* Adds the warps' sums in shared memory, sums [heads][SUM_PITCH] and stats [heads], where rings are
 * in use: every warp at once, each at other columns. */
template <typename T, typename Shape, typename Keys>
__device__ __forceinline__ void add_in_turns(const decode_warp<T, Shape, Keys> &state, float *sums,
                                             float2 *stats, int heads, softmax_scale scale) {
    constexpr int TILES = Shape::D / 8, EACH = TILES > Shape::WARPS ? TILES / Shape::WARPS : 1;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    float2 *warp_stats = stats + Shape::HEADS; /* [WARPS][HEADS] */
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const float weight = quad_sum(state.sum[r]);
        if ((lane & 3) == 0)
            warp_stats[warp * Shape::HEADS + (lane >> 2) + r * 8] =
                make_float2(reference(state.max[r], scale.to_log2), weight);
    }
    __syncthreads();
    float factor[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int row = (lane >> 2) + r * 8;
        const sum_pieces<Shape::WARPS> pieces{NULL, 0, 0, warp_stats, Shape::HEADS};
        const float2 all = pieces.row(row);
        factor[r] = toward(all.x, warp_stats[warp * Shape::HEADS + row].x);
        if (warp == 0 && (lane & 3) == 0) stats[row] = all;
    }
    for (int turn = 0; turn < Shape::WARPS; turn++) {
        const int group = (warp + turn) % Shape::WARPS;
#pragma unroll
        for (int n = 0; n < TILES; n++) {
            if (n / EACH != group) continue;
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const int row = (lane >> 2) + r * 8;
                if (row >= heads) continue;
                float2 &to = *reinterpret_cast<float2 *>(sums + row * Shape::SUM_PITCH +
                                                         (lane & 3) * state.LANE_COLUMNS +
                                                         n / 2 * 16 + n % 2 * state.SECOND_PAIR);
                const float2 x = turn == 0 ? make_float2(0.f, 0.f) : to;
                const float2 more = state.pair(n, r);
                to = make_float2(fmaf(factor[r], more.x, x.x), fmaf(factor[r], more.y, x.y));
            }
        }
        __syncthreads();
    }
}

template <typename T, int D, typename Keys>
__global__ void __launch_bounds__(split_shape<D, Keys::BYTES>::THREADS, 1)
    decode_split_kernel(const decode_args a, const Keys source, const split_args split) {
    using shape = split_shape<D, Keys::BYTES>;
    using memory = split_shared<shape>;
    static_assert(shape::RING_BYTES >= shape::HEADS * shape::SUM_PITCH * 4, "sums fit in a ring");
    extern __shared__ __align__(1024) unsigned char rings[];
    memory &shared = *reinterpret_cast<memory *>(rings + shape::WARPS * shape::RING_BYTES);
    const int warp = threadIdx.x / WARP;
    unsigned char *ring = rings + warp * shape::RING_BYTES;

    let_next_start();
    const decode_segments<shape, Keys> lengths{source, a.batch, a.kv_heads * a.chunks};
    decode_segments<shape, Keys> segments = lengths;
    split_work work{};
    if constexpr (Keys::LENGTHS_ARE_READ) {
        bool copied = source.entries <= SPLIT_TABLE_ROOM &&
                      segments.source.copy_table(shared.table, 0, source.entries);
        work = split_work_of(lengths, split.alone);
        if (!copied && work.tiles > 0) {
            const int first = work.at.tile * shape::TILE;
            const int end = min(first + work.tiles * shape::TILE, work.at.keys);
            copied =
                work.own
                    ? segments.source.copy_table_in(shared.table, work.at.outer, first, end)
                    : segments.source.copy_table_of(shared.table, work.at.outer,
                                                    place_of(lengths, work.line.end - 1).outer);
        }
        if (copied) {
            copy_wait<0>();
            __syncthreads();
        }
    } else {
        const int segment = (int)blockIdx.x / split.parts;
        const int outer = segment / segments.inners;
        if (source.kv_len > 0) {
            work.at.open(segments, outer);
            work.at.inner = segment - outer * segments.inners;
            work.take((int)blockIdx.x - segment * split.parts, split.parts);
        }
    }
    place at = work.at;
    decode_loader<shape, Keys> loader{segments, a, shared_address(ring)};
    decode_warp<T, shape, Keys> state{loader};
    split_block<T, D, Keys> block{a, split, segments, shared, reinterpret_cast<float *>(rings)};
    if (threadIdx.x == 0) {
        shared.work = work;
        shared.debt_count = 0;
        shared.segment_tile = work.line.first - at.tile;
    }
    /* Behind the first keys and before the rest; for rows in pieces that takes too many registers.
     */
    constexpr bool QUERIES_FIRST = shape::PARTS == 1;
    int heads = block.heads_of(at.inner);
    state.slot = 0;
    if (work.tiles > 0) loader.open(at, work.tiles);
    wait_for_previous();
    if (work.tiles > 0) {
        if constexpr (QUERIES_FIRST) {
            loader.template copy<0>();
            take_queries(state, block.queries(at), heads);
            loader.template fill<1>();
        } else {
            loader.template fill<0>();
        }
    }
    clear_empty_sequences<D>(a, source);
    if (work.tiles == 0) return;

    for (int left = work.tiles;;) {
        const int count = min(at.tiles - at.tile, left);
        /* Here, where keys are waited for and registers free: to divide 64 bits takes a while. */
        if (threadIdx.x == 0) block.note(at);
        if constexpr (!QUERIES_FIRST) state.start(block.queries(at), heads);
        int keys = at.keys - at.tile * shape::TILE - warp * shape::WARP_KEYS;
        for (int i = 0; i < count; i++, keys -= shape::TILE) state.add_tile(keys, a.scale);
        left -= count;
        if (left == 0) {
            copy_wait<0>();
            __syncwarp();
            hand_over(state, reinterpret_cast<float *>(ring),
                      &shared.stats[(warp + 1) * shape::HEADS], heads,
                      softmax_scale_in<Keys>(a.scale));
            __syncthreads();
            block.settle(sum_pieces<shape::WARPS>{reinterpret_cast<const float *>(rings),
                                                  shape::RING_BYTES / 4, shape::SUM_PITCH,
                                                  shared.stats + shape::HEADS, shape::HEADS});
            break;
        }
        add_in_turns(state, shared.sums, shared.stats, heads, softmax_scale_in<Keys>(a.scale));
        block.settle(sum_pieces<1>{shared.sums, 0, shape::SUM_PITCH, shared.stats, 0});
        at = shared.at;
        __syncthreads();
        at.advance(segments, at.tiles - at.tile);
        heads = block.heads_of(at.inner);
        if constexpr (QUERIES_FIRST) take_queries(state, block.queries(at), heads);
    }
    block.pay();
}

/* What costs are weighed by, in us and bytes a us. Fitted on an H200 to 8 to 128 blocks for one kv
 * head of 8,192 keys of 128, and 4 and 8 for each of 16 of 2,048. */
constexpr double SPLIT_DEVICE_RATE = 4.5e6; /* of all of memory */
constexpr double SPLIT_SM_RATE = 40e3;      /* of one SM */
constexpr double SPLIT_MERGE_US = 1.5;      /* to share a segment */
constexpr double SPLIT_PART_US = 0.002;     /* .. and with each block more */
constexpr double SPLIT_LINE_US = 1.5;       /* not to have one segment alone */

/* Blocks for a segment, at least, where lengths differ. On an H200 32 segments are faster so, 10.7
 * us and not 17.1, and 64 slower, 47.0 and not 39.5 (decode_paged_hopper_r1). */
constexpr int SPLIT_BLOCKS_UNEQUAL = 3;

struct split_state {
    struct kernel_state *kernel;
    part_places places;
    int blocks, parts, alone; /* blocks 0: it is the kernel of decode.cuh */
};

inline void split_finish(const struct attn_problem *problem, struct attn_call *call) {
    split_state *state = static_cast<split_state *>(call->state);
    if (!state) return;
    cudaFree(state->places.data);
    call->state = state->kernel;
    kernel_state_free(problem, call);
    delete state;
}

inline int64_t split_segments(const struct attn_problem *p) {
    return p->batch * p->kv_heads * decode_chunks(p);
}

/* Whether a block has a segment or a share of one, rather than a part of the line in the kernel of
 * decode.cuh. Lengths are equal where the table has as many pages as with the longest of all. */
inline bool split_takes(const struct attn_problem *p) {
    const int most = std::min(processor_count(), BLOCKS_MAX);
    const int64_t pages =
        p->traits & ATTN_PAGE ? p->batch * ((p->kv_len + p->page_size - 1) / p->page_size) : 0;
    return split_segments(p) <= (p->page_entries < pages ? most / SPLIT_BLOCKS_UNEQUAL : most);
}

template <typename shape> void split_plan_dense(const struct attn_problem *p, split_state *state) {
    const int64_t segments = split_segments(p), resident = state->kernel->resident;
    const int64_t tiles = (p->kv_len + shape::TILE - 1) / shape::TILE;
    double best_us = INFINITY;
    for (int64_t parts = 1; parts == 1 || (parts <= tiles && parts * segments <= resident);
         parts++) {
        const double bytes =
            shape::TILE * shape::D * shape::BYTES * 2. * (double)((tiles + parts - 1) / parts);
        const double all_us = bytes * (double)(parts * segments) / SPLIT_DEVICE_RATE;
        const double one_us = bytes / SPLIT_SM_RATE;
        const double merge_us = parts > 1 ? SPLIT_MERGE_US + SPLIT_PART_US * (double)parts : 0;
        const double us = merge_us + (all_us > one_us ? all_us : one_us);
        if (us >= best_us) continue;
        best_us = us;
        state->parts = (int)parts;
    }
    state->blocks = (int)(state->parts * segments);
}

/* Lengths are read on the device; what is known is how many tokens have room in the table. */
template <typename shape> void split_plan_paged(const struct attn_problem *p, split_state *state) {
    const int64_t inners = p->kv_heads * decode_chunks(p);
    const int64_t tiles_most = inners * (p->page_entries * p->page_size / shape::TILE + p->batch);
    const int64_t resident = state->kernel->resident;
    state->blocks = (int)(tiles_most < resident ? tiles_most : resident);
    const double tile_us = shape::TILE * shape::D * shape::BYTES * 2. / SPLIT_SM_RATE;
    state->alone = (int)((SPLIT_MERGE_US + SPLIT_LINE_US) / tile_us);
}

template <typename Keys>
const char *split_prepare_kernel(const struct attn_problem *problem, struct attn_call *call) {
    return kernel_state_make(problem, call, 0, [problem](auto type, auto dim) {
        return choose_bytes<Keys>(problem, [](auto keys) {
            using T = decltype(type);
            using source = decltype(keys);
            constexpr int D = decltype(dim)::value;
            using shape = split_shape<D, source::BYTES>;
            return kernel_choice{(const void *)decode_split_kernel<T, D, source>, shape::THREADS,
                                 split_shared<shape>::BYTES};
        });
    });
}

/* `Plain`: the keys of decode.cuh's kernel. */
template <typename Keys, typename Plain>
const char *split_prepare(const struct attn_problem *problem, struct attn_call *call) {
    const char *fault = refuse_but_hopper();
    if (fault) return fault;
    const bool split = split_takes(problem);
    fault = split ? split_prepare_kernel<Keys>(problem, call)
                  : decode_prepare<Plain, false, true>(problem, call);
    if (fault) return fault;
    split_state *state = new (std::nothrow) split_state{};
    if (!state) {
        kernel_state_free(problem, call);
        return "out of host memory";
    }
    state->kernel = static_cast<kernel_state *>(call->state);
    call->state = state;
    if (!split || problem->batch == 0) return NULL;
    choose(problem, [&](auto, auto dim) {
        return choose_bytes<Keys>(problem, [&](auto keys) {
            using shape = split_shape<decltype(dim)::value, decltype(keys)::BYTES>;
            if (problem->traits & ATTN_PAGE)
                split_plan_paged<shape>(problem, state);
            else
                split_plan_dense<shape>(problem, state);
            return kernel_choice{};
        });
    });
    const int64_t group = problem->q_heads / problem->kv_heads;
    const int64_t heads = group < decode_shape<64>::HEADS ? group : decode_shape<64>::HEADS;
    fault = part_places_make(&state->places, state->blocks, heads * problem->head_dim / 4);
    if (fault) split_finish(problem, call);
    return fault;
}

template <typename Keys, typename Plain>
const char *split_launch(const struct attn_problem *problem, const struct attn_call *call) {
    const char *fault = keys_check(problem, call);
    if (fault) return fault;
    const split_state *state = static_cast<const split_state *>(call->state);
    if (state->blocks == 0) {
        struct attn_call inner = *call;
        inner.state = state->kernel;
        return decode_launch<Plain, false, true>(problem, &inner);
    }
    decode_args args = decode_args_of(problem, call, state->kernel);
    split_args split = {state->places, state->parts, state->alone};
    using all = byte_keys<Keys, ATTN_E4M3>;
    all keys = keys_make(all{}, problem, call);
    void *parameters[] = {&args, &keys, &split}; /* plain keys are the beginning of all of them */
    return overlap_launch(state->kernel, state->blocks, parameters, call->stream);
}

} // namespace attn

#endif
