/* Decode for sm_90: the loops of decode.cuh, and between blocks as few waits as there can be.
 *
 * What a problem of 1 to 20 MB takes beside its bytes is the launch, and that blocks which share a
 * segment add up their partial sums: 2 to 3 us through global memory, more where one block adds up
 * more than 16. So
 * - how many blocks share a segment comes from a model of both costs (split_plan_dense; where
 *   lengths are known on the device alone, split_work_of): for short segments or many, none;
 * - blocks that share one add up a slice each (slices.cuh), once they have nothing else to do;
 * - up to CLUSTER_MAX of them are a cluster instead and send their slices to one another's shared
 *   memory, which takes one trip: no counter, no scratch;
 * - a launch begins while the one before it ends (overlap.cuh).
 *
 * A FORM is a class: template <int D> shape, a decode_form; int CLUSTER_MAX; bool PREFETCH. */
#ifndef ATTN_CUDA_DECODE_SPLIT_CUH
#define ATTN_CUDA_DECODE_SPLIT_CUH

#include "decode.cuh"
#include "hopper.cuh"
#include "overlap.cuh"
#include "slices.cuh"

namespace attn {

constexpr int SPLIT_CLUSTER_MAX = 16;

struct split_args {
    int alone;   /* tiles more that a block may take rather than share a segment */
    int cluster; /* blocks of a segment that are a cluster; 1: none */
};

/* Paged keys whose lengths take one trip to memory: the last page's is not read only where there
 * are pages. */
struct split_paged_keys : paged_keys {
    __device__ __forceinline__ int tokens(int b) const {
        const int pages = __ldg(&indptr[b + 1]) - __ldg(&indptr[b]);
        const int on_last = __ldg(&last_page_len[b]);
        return pages > 0 ? (pages - 1) * page_size + on_last : 0;
    }
};

inline split_paged_keys keys_make(split_paged_keys, const struct attn_problem *p,
                                  const struct attn_call *call) {
    return {keys_make(paged_keys{}, p, call)};
}

/* What a block does: `tiles` from `at`. `whole`: block n has all of segment n. */
struct split_work {
    part line;
    place at;
    int tiles;
    bool whole;
};

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
    split_work work{};
    part &line = work.line;
    line.total = __reduce_add_sync(ALL_LANES, sum) * segments.inners;
    line.parts = max(1, min(blocks, line.total / Segments::TILES_MIN));
    longest = __reduce_max_sync(ALL_LANES, longest);
    const int outer = block / segments.inners;
    work.whole = segments.outers * segments.inners <= blocks &&
                 longest <= ceil_div(line.total, line.parts) + alone;
    if (work.whole) {
        if (outer >= segments.outers) return work;
        work.at.open(segments, outer);
        work.at.inner = block - outer * segments.inners;
        work.tiles = work.at.tiles;
    } else if (block < line.parts) {
        line.first = line.start_of(block);
        line.end = line.start_of(block + 1);
        work.tiles = line.end - line.first;
        if (work.tiles > 0) work.at = place_of(segments, line.first);
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
    unsigned before; /* of the counter */
};

/* In shared memory, behind the rings. */
template <typename Shape> struct split_shared {
    float sums[Shape::HEADS * Shape::SUM_PITCH]; /* or what a cluster sends */
    float2 stats[(Shape::WARPS + 1) * Shape::HEADS];
    float2 sent_stats[SPLIT_CLUSTER_MAX * Shape::HEADS]; /* [part][row] */
    uint64_t sent;                                       /* a barrier */
    part line; /* this and `whole` as in split_work, here to leave registers free */
    bool whole;
    int segment_tile; /* where the next segment begins on the line */
    place at;         /* in the segment that is gone through */
    int first, last;  /* blocks that have it */
    int debt_count;
    split_debt debts[2];

    static constexpr int BYTES = Shape::WARPS * Shape::RING_BYTES + (int)sizeof(split_shared);
};

/* What a cluster's blocks sent: a slice's columns of each part, and the rows' stats. */
template <int HEADS> struct parts_sent {
    const float4 *columns; /* [part][each] */
    const float2 *pairs;   /* [part][HEADS] */
    slice mine;

    __device__ __forceinline__ float2 stats(int part, int row) const {
        return pairs[part * HEADS + row];
    }
    __device__ __forceinline__ float4 sums(int part, int column) const {
        return columns[part * mine.each + column - mine.begin];
    }
};

/* Stores 16 or 8 bytes in the memory of a block of the cluster, whose barrier counts them. */
__device__ __forceinline__ void send(uint32_t rank, const void *to, float4 x, uint32_t barrier) {
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], "
                 "{%1, %2, %3, %4}, [%5];" ::"r"(address_in(rank, shared_address(to))),
                 "f"(x.x), "f"(x.y), "f"(x.z), "f"(x.w), "r"(address_in(rank, barrier))
                 : "memory");
}

__device__ __forceinline__ void send(uint32_t rank, const void *to, float2 x, uint32_t barrier) {
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], "
                 "{%1, %2}, [%3];" ::"r"(address_in(rank, shared_address(to))),
                 "f"(x.x), "f"(x.y), "r"(address_in(rank, barrier))
                 : "memory");
}

/* As barrier_wait, and what other blocks of the cluster stored is seen. */
__device__ __forceinline__ void barrier_wait_cluster(uint32_t barrier, uint32_t parity) {
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "again_%=:\n"
                 "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra again_%=;\n"
                 "}" ::"r"(barrier),
                 "r"(parity)
                 : "memory");
}

__device__ __forceinline__ void cluster_arrive() {
    asm volatile("barrier.cluster.arrive.release;" ::: "memory");
}

__device__ __forceinline__ void cluster_wait() {
    asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
}

/* The keys of the next rows, and their values, on their way to L2: it is where all blocks see the
 * same, so that nothing has to be waited for. */
template <int D>
__device__ void prefetch_dense(const split_work &work, const decode_args &a, const dense_keys &keys,
                               int chunks, int tile_keys, int tiles_most) {
    const int lane = threadIdx.x;
    const int tiles = min(min(work.tiles, tiles_most), work.at.tiles - work.at.tile);
    if (lane >= 2 * tiles) return;
    const int token = (work.at.tile + lane / 2) * tile_keys;
    const uint32_t row = keys.row(keys.begin(work.at.outer, work.at.inner / chunks), 0, token);
    const uint16_t *from = (lane % 2 ? a.bases.v : a.bases.k) + (int64_t)row * D;
    const int bytes = min(tile_keys, work.at.keys - token) * D * 2;
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(__cvta_generic_to_global(from)),
                 "r"(bytes)
                 : "memory");
}

template <typename T, typename FORM, int DIM, typename Keys> struct split_block {
    using shape = typename FORM::template shape<DIM>;
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
        const int block = (int)blockIdx.x, tile = shared.segment_tile;
        shared.at = at;
        shared.first = shared.whole ? block : shared.line.owner_of(tile);
        shared.last = shared.whole ? block : shared.line.owner_of(tile + at.tiles - 1);
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
        if (FORM::CLUSTER_MAX > 1 && split.cluster > 1) {
            exchange(pieces, heads, row);
            return;
        }
        float *to = partial_at<D>(a.store, 2 * block + (block == first ? 1 : 0));
        for (int i = threadIdx.x; i < columns; i += shape::THREADS) {
            const column_sum sum = pieces.template column<D>(i);
            reinterpret_cast<float4 *>(to)[i] = sum.x;
            if (i % (D / 4) == 0)
                reinterpret_cast<float2 *>(to + a.store.rows * D)[i / (D / 4)] =
                    make_float2(sum.top, sum.weight);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            const unsigned before = arrive(&a.store.counters[at.outer * segments.inners + at.inner],
                                           block == first, last - first + 1);
            shared.debts[shared.debt_count++] = {at.outer, at.inner, first, last, before};
        }
    }

    /* Between the blocks of a cluster: every column to the block that adds it up. */
    template <int COUNT>
    __device__ __forceinline__ void exchange(const sum_pieces<COUNT> &pieces, int heads,
                                             int64_t row) {
        const int columns = heads * (D / 4), rank = cluster_rank(), parts = split.cluster;
        const slice mine = slice_of(columns, parts, rank);
        const uint32_t barrier = shared_address(&shared.sent);
        if (threadIdx.x == 0) barrier_expect(barrier, parts * (mine.count * 16 + heads * 8));
        cluster_wait();
        for (int i = threadIdx.x; i < parts * heads; i += shape::THREADS)
            send((uint32_t)(i / heads), &shared.sent_stats[rank * shape::HEADS + i % heads],
                 pieces.row(i % heads), barrier);
        for (int i = threadIdx.x; i < columns; i += shape::THREADS) {
            const int owner = i / mine.each;
            send((uint32_t)owner, &shared.sums[4 * (rank * mine.each + i - owner * mine.each)],
                 pieces.template column<D>(i).x, barrier);
        }
        __syncthreads(); /* the pieces are read, and make room */
        barrier_wait_cluster(barrier, 0);
        const parts_sent<shape::HEADS> parts_here{reinterpret_cast<const float4 *>(shared.sums),
                                                  shared.sent_stats, mine};
        add_slice<shape::THREADS, T, D>(parts_here, parts, mine, out_of(row), a.lse + row, rings);
    }

    __device__ __forceinline__ void pay() {
        __syncthreads();
        for (int n = 0; n < shared.debt_count; n++) {
            const split_debt debt = shared.debts[n];
            const int parts = debt.last - debt.first + 1;
            const slice mine =
                slice_of(heads_of(debt.inner) * (D / 4), parts, (int)blockIdx.x - debt.first);
            if (mine.count == 0) continue;
            if (threadIdx.x == 0)
                wait_for_all(&a.store.counters[debt.outer * segments.inners + debt.inner],
                             debt.before);
            __syncthreads();
            const int64_t row = row_of(debt.outer, debt.inner);
            add_slice<shape::THREADS, T, D>(parts_in_memory<D>{a.store, debt.first}, parts, mine,
                                            out_of(row), a.lse + row, rings);
        }
    }
};

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

template <typename T, typename FORM, int D, typename Keys>
__global__ void __launch_bounds__(FORM::template shape<D>::THREADS,
                                  FORM::template shape<D>::BLOCKS_PER_SM)
    decode_split_kernel(const decode_args a, const Keys source, const split_args split) {
    using shape = typename FORM::template shape<D>;
    using memory = split_shared<shape>;
    static_assert(shape::RING_BYTES >= shape::HEADS * shape::SUM_PITCH * 4, "sums fit in a ring");
    extern __shared__ __align__(1024) unsigned char rings[];
    memory &shared = *reinterpret_cast<memory *>(rings + shape::WARPS * shape::RING_BYTES);
    const int warp = threadIdx.x / WARP;
    unsigned char *ring = rings + warp * shape::RING_BYTES;

    let_next_start();
    if (FORM::CLUSTER_MAX > 1 && split.cluster > 1) {
        if (threadIdx.x == 0) {
            barrier_init(shared_address(&shared.sent), 1);
            barrier_init_done();
        }
        cluster_arrive();
    }
    const decode_segments<shape, Keys> segments{source, a.batch, a.kv_heads * a.chunks};
    split_work work;
    if constexpr (Keys::LENGTHS_ARE_READ) {
        static_assert(!FORM::PREFETCH, "before lengths are read nobody knows where keys lie");
        wait_for_previous();
        work = split_work_of(segments, split.alone);
    } else {
        work = split_work_of(segments, split.alone);
        if constexpr (FORM::PREFETCH)
            prefetch_dense<D>(work, a, source, a.chunks, shape::TILE, shape::UNITS / 2);
        wait_for_previous();
    }
    place at = work.at;
    decode_loader<shape, Keys> loader{segments, a, shared_address(ring)};
    decode_warp<T, shape, Keys> state{loader};
    split_block<T, FORM, D, Keys> block{a, split, segments, shared,
                                        reinterpret_cast<float *>(rings)};
    if (threadIdx.x == 0) {
        shared.line = work.line;
        shared.whole = work.whole;
        shared.debt_count = 0;
        shared.segment_tile = work.line.first - at.tile;
    }
    if (work.tiles > 0) {
        loader.start(at, work.tiles);
        state.slot = 0;
    }
    clear_empty_sequences<D>(a, source);
    if (work.tiles == 0) return;

    for (int left = work.tiles;;) {
        const int count = min(at.tiles - at.tile, left);
        const int heads = block.heads_of(at.inner);
        /* Here, where keys are waited for and registers free: to divide 64 bits takes a while. */
        if (threadIdx.x == 0) block.note(at);
        state.start(block.queries(at), heads);
        int keys = at.keys - at.tile * shape::TILE - warp * shape::WARP_KEYS;
        for (int i = 0; i < count; i++, keys -= shape::TILE) state.add_tile(keys, a.scale);
        left -= count;
        if (left == 0) {
            copy_wait<0>();
            __syncwarp();
            hand_over(state, reinterpret_cast<float *>(ring),
                      &shared.stats[(warp + 1) * shape::HEADS], heads, a.scale);
            __syncthreads();
            block.settle(sum_pieces<shape::WARPS>{reinterpret_cast<const float *>(rings),
                                                  shape::RING_BYTES / 4, shape::SUM_PITCH,
                                                  shared.stats + shape::HEADS, shape::HEADS});
            break;
        }
        state.merge(shared.sums, shared.stats, heads, a.scale);
        block.settle(sum_pieces<1>{shared.sums, 0, shape::SUM_PITCH, shared.stats, 0});
        at = shared.at;
        __syncthreads();
        at.advance(segments, at.tiles - at.tile);
    }
    block.pay();
}

/* What costs are weighed by, in us and bytes a us, as measured on an H200. */
constexpr double SPLIT_DEVICE_RATE = 4.5e6; /* of all of memory */
constexpr double SPLIT_SM_RATE = 40e3;      /* of one SM */
constexpr double SPLIT_MERGE_US = 2.0;      /* to share a segment, by slices */
constexpr double SPLIT_PART_US = 0.002;     /* .. and with each block more */
constexpr double SPLIT_CLUSTER_US = 1.0;    /* in a cluster */

struct split_state {
    struct kernel_state *kernel;
    int blocks, cluster, alone;
};

inline void split_finish(const struct attn_problem *problem, struct attn_call *call) {
    split_state *state = static_cast<split_state *>(call->state);
    if (!state) return;
    call->state = state->kernel;
    kernel_state_free(problem, call);
    delete state;
}

/* How long it takes if every one of `blocks` has `tiles`, and `parts` share a segment. */
inline double split_us(double tile_bytes, int processors, int64_t blocks, int64_t tiles,
                       int64_t parts, int cluster) {
    const double bytes = tile_bytes * (double)tiles;
    const double all_us = bytes * (double)blocks / SPLIT_DEVICE_RATE;
    const double one_us = bytes * (double)((blocks + processors - 1) / processors) / SPLIT_SM_RATE;
    const double read_us = all_us > one_us ? all_us : one_us;
    if (parts == 1) return read_us;
    return read_us +
           (cluster > 1 ? SPLIT_CLUSTER_US : SPLIT_MERGE_US + SPLIT_PART_US * (double)parts);
}

/* `clusters[n]`: how many clusters of n blocks the device holds. */
template <typename shape>
void split_plan_dense(const struct attn_problem *p, int processors, const int *clusters,
                      split_state *state) {
    const int64_t segments = p->batch * p->kv_heads * decode_chunks(p);
    const int64_t tiles = (p->kv_len + shape::TILE - 1) / shape::TILE, total = tiles * segments;
    const int64_t resident =
        state->kernel->resident < BLOCKS_MAX ? state->kernel->resident : BLOCKS_MAX;
    const double tile_bytes = shape::TILE * shape::D * 4.;
    double best_us = INFINITY;
    const auto consider = [&](int64_t blocks, int64_t parts, int cluster) {
        const double us =
            split_us(tile_bytes, processors, blocks, (total + blocks - 1) / blocks, parts, cluster);
        if (us >= best_us) return;
        best_us = us;
        state->blocks = (int)blocks;
        state->cluster = cluster;
    };
    state->blocks = (int)(p->batch < resident ? p->batch : resident);
    state->cluster = 1;
    if (total == 0) return;
    for (int64_t parts = 1; parts <= tiles && parts * segments <= resident; parts++) {
        if (parts > 1 && parts <= SPLIT_CLUSTER_MAX && clusters[parts] >= segments)
            consider(parts * segments, parts, (int)parts);
        consider(parts * segments, parts, 1);
    }
    const int64_t all = total < resident ? total : resident;
    consider(all, 2 + tiles * all / total, 1);
}

/* Lengths are read on the device; what is known is how many tokens have room in the table. */
template <typename shape> void split_plan_paged(const struct attn_problem *p, split_state *state) {
    const int64_t inners = p->kv_heads * decode_chunks(p);
    const int64_t tiles_most = inners * (p->page_entries * p->page_size / shape::TILE + p->batch);
    const int64_t resident =
        state->kernel->resident < BLOCKS_MAX ? state->kernel->resident : BLOCKS_MAX;
    state->blocks = (int)(tiles_most < resident ? tiles_most : resident);
    state->cluster = 1;
    const double tile_us = shape::TILE * shape::D * 4. / SPLIT_SM_RATE;
    state->alone = (int)(SPLIT_MERGE_US / tile_us);
}

/* clusters[n] = how many clusters of n blocks, n = 2, 4, .., most, the device holds at once. */
inline const char *split_count_clusters(const struct kernel_state *kernel, int most,
                                        int *clusters) {
    if (most > 8) {
        const cudaError_t error = cudaFuncSetAttribute(
            kernel->function, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
        if (error != cudaSuccess) return cudaGetErrorString(error);
    }
    for (int n = 2; n <= most; n *= 2) {
        overlap_launch launch;
        overlap_launch_make(&launch, kernel, kernel->resident / n * n, n, NULL);
        const cudaError_t error =
            cudaOccupancyMaxActiveClusters(&clusters[n], kernel->function, &launch.config);
        if (error != cudaSuccess) return cudaGetErrorString(error);
    }
    return NULL;
}

template <typename Keys, typename FORM>
const char *split_prepare(const struct attn_problem *problem, struct attn_call *call) {
    int device = 0, major = 0, processors = 0;
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
        cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device) !=
            cudaSuccess ||
        major != 9)
        return "REFUSED: it is for GPUs of compute capability 9.0";
    const int64_t segments = problem->batch * problem->kv_heads * decode_chunks(problem);
    const char *fault = kernel_state_make(problem, call, segments, [](auto type, auto dim) {
        constexpr int D = decltype(dim)::value;
        using shape = typename FORM::template shape<D>;
        return kernel_choice{(const void *)decode_split_kernel<decltype(type), FORM, D, Keys>,
                             shape::THREADS, split_shared<shape>::BYTES};
    });
    if (fault) return fault;
    split_state *state = new (std::nothrow) split_state{};
    if (!state) {
        kernel_state_free(problem, call);
        return "out of host memory";
    }
    state->kernel = static_cast<kernel_state *>(call->state);
    call->state = state;
    int clusters[SPLIT_CLUSTER_MAX + 1] = {0};
    if constexpr (FORM::CLUSTER_MAX > 1)
        if (!(problem->traits & ATTN_PAGE))
            fault = split_count_clusters(state->kernel, FORM::CLUSTER_MAX, clusters);
    if (fault) {
        split_finish(problem, call);
        return fault;
    }
    choose(problem, [&](auto, auto dim) {
        using shape = typename FORM::template shape<decltype(dim)::value>;
        if (problem->traits & ATTN_PAGE)
            split_plan_paged<shape>(problem, state);
        else
            split_plan_dense<shape>(problem, processors, clusters, state);
        return kernel_choice{};
    });
    return NULL;
}

template <typename Keys>
const char *split_launch(const struct attn_problem *problem, const struct attn_call *call) {
    const char *fault = keys_check(problem, call);
    if (fault) return fault;
    const split_state *state = static_cast<const split_state *>(call->state);
    decode_args args = decode_args_of(problem, call, state->kernel);
    Keys keys = keys_make(Keys{}, problem, call);
    split_args split = {state->alone, state->cluster};
    void *parameters[] = {&args, &keys, &split};
    if (problem->batch == 0) return NULL;
    overlap_launch launch;
    overlap_launch_make(&launch, state->kernel, state->blocks, state->cluster, call->stream);
    const cudaError_t error =
        cudaLaunchKernelExC(&launch.config, state->kernel->function, parameters);
    return error == cudaSuccess ? NULL : cudaGetErrorString(error);
}

} // namespace attn

#endif
