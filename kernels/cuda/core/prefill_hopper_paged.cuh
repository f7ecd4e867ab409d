/* Prefill over pages on wgmma: prefill_hopper.cuh with keys looked up in the page table, and with
 * pieces that are made on the device, since lengths are known there first.
 *
 * A tile of 64 keys is up to 8 x D / 64 boxes of the TMA, each of keys of one page and of one panel
 * of 64 columns: as many keys as divide both a page and a tile, at least 8, which is what a panel
 * is swizzled in. So a tile lies in shared memory as a dense one does. Of a last page only boxes
 * with keys of the sequence are copied, and expected; what lies beyond is masked, and cleared where
 * it is values.
 *
 * One block makes the list of pieces first (hopper_plan_kernel): it measures what sequences ask,
 * chooses how long parts are, and sorts. The kernel's blocks start meanwhile. */
#ifndef ATTN_CUDA_PREFILL_HOPPER_PAGED_CUH
#define ATTN_CUDA_PREFILL_HOPPER_PAGED_CUH

#include "overlap.cuh"
#include "prefill_hopper.cuh"

namespace attn {

constexpr int PLANNERS = 1024; /* threads */
constexpr int TRIED = 32;      /* lengths of parts, one a warp */
constexpr int BUCKETS = 4096;  /* by which pieces are sorted */
constexpr int LEVELS = BUCKETS / TRIED;
constexpr int LISTED_MAX = 2048;

struct hopper_planning {
    hopper_cut cut;
    paged_keys keys;
    const int32_t *q_lens; /* [B]; NULL: q_len each */
    int batch, q_len;
    int each; /* pieces of a kv head at most */
    int blocks, parts_max, pairs;
    int heads_together;
    hopper_piece *pieces;
    int *made;
};

/* What a piece or one of its parts costs, in half steps of a tile. */
__host__ __device__ constexpr int hopper_cost(int tiles, int parts, bool pairs) {
    constexpr hopper_costs cost;
    return 2 * tiles + (int)(2 * (cost.piece + hopper_joining(parts, pairs)));
}

/* A piece of each kv head of a sequence, if it has so many. */
struct hopper_item {
    int sequence, number;
    hopper_lengths length;

    __device__ __forceinline__ hopper_item(const hopper_planning &p, int i) {
        sequence = i / p.each;
        number = i - sequence * p.each;
        length = {p.q_lens ? __ldg(&p.q_lens[sequence]) : p.q_len, p.keys.tokens(sequence)};
    }
    __device__ __forceinline__ bool is_there(const hopper_planning &p) const {
        return number < hopper_piece_count(p.cut, length.q, length.kv);
    }
    __device__ __forceinline__ hopper_piece of_head(const hopper_planning &p, int head) const {
        return hopper_piece_of(p.cut, sequence * p.keys.kv_heads + head, length.q, length.kv,
                               number);
    }
};

/* By a warp: when pieces of `count` sizes end, one of each kv head, in parts of `length`; NEVER if
 * these are more than there may be. The order is not made for it, as hopper_makespan does: it ends
 * no sooner than if all blocks had as much to do; than the largest piece; than k + 1 times the one
 * that is left when each block has had k; and, where none has three, than the two that a block with
 * two has. Costs are sorted into levels, a 127th of the largest apart. Of 150 drawn problems
 * emulated on a CPU, those of few pieces ended 0.7 % later in the mean than hopper_schedule's
 * best, at most 14 %. */
constexpr long long NEVER = 1ll << 31;

__device__ inline long long hopper_end_of(const hopper_planning &p, const int *tiles, int count,
                                          int most, int length, unsigned *levels) {
    const int lane = threadIdx.x % WARP, copies = p.keys.kv_heads, blocks = p.blocks;
    const bool pairs = p.pairs;
    const int largest = length > 0 ? hopper_cost(length, 3, pairs) : hopper_cost(most, 1, pairs);
    const auto level = [largest](int cost) {
        return (int)((long long)(largest - cost) * (LEVELS - 1) / largest);
    };
    const auto cost_of = [largest](int level) {
        return largest - (int)((long long)level * largest / (LEVELS - 1));
    };
    for (int i = lane; i < LEVELS; i += WARP) levels[i] = 0;
    __syncwarp();
    long long total = 0;
    int divided = 0;
    for (int i = lane; i < count; i += WARP) {
        const int parts = hopper_parts(tiles[i], length);
        const int rest = hopper_cost(tiles[i] - (parts - 1) * length, parts, pairs);
        if (parts > 1) {
            const int whole = hopper_cost(length, parts, pairs);
            total += (long long)copies * (parts - 1) * whole;
            divided += copies * parts;
            atomicAdd(&levels[level(whole)], copies * (parts - 1));
        }
        total += (long long)copies * rest;
        atomicAdd(&levels[level(rest)], copies);
    }
#pragma unroll
    for (int step = 1; step < WARP; step *= 2) total += __shfl_xor_sync(ALL_LANES, total, step);
    if (__reduce_add_sync(ALL_LANES, divided) > p.parts_max) return NEVER;
    __syncwarp();
    /* How many cost as much as a level or more; of those of a lane. */
    unsigned upto[LEVELS / WARP], sum = 0;
#pragma unroll
    for (int i = 0; i < LEVELS / WARP; i++) upto[i] = sum += levels[lane * (LEVELS / WARP) + i];
    unsigned before = sum;
#pragma unroll
    for (int step = 1; step < WARP; step *= 2) {
        const unsigned other = __shfl_up_sync(ALL_LANES, before, step);
        if (lane >= step) before += other;
    }
    const unsigned all = __shfl_sync(ALL_LANES, before, WARP - 1);
    before -= sum;
    /* Of the n-th, counted from the largest, which is 0. */
    const auto nth = [&](unsigned n) {
        int below = 0;
#pragma unroll
        for (int i = 0; i < LEVELS / WARP; i++) below += before + upto[i] <= n;
        return cost_of(__reduce_add_sync(ALL_LANES, below));
    };
    long long end = max((total + blocks - 1) / blocks, (long long)nth(0));
    for (int k = 1; (unsigned)(k * blocks) < all; k++)
        end = max(end, (long long)(k + 1) * nth(k * blocks));
    if (all <= 2u * blocks)
        for (int j = 0; j < blocks && (unsigned)(blocks + j) < all; j += max(1, blocks / 16))
            end = max(end, (long long)nth(blocks - 1 - j) + nth(blocks + j));
    return min(end, NEVER - 1);
}

/* One block. */
__global__ void __launch_bounds__(PLANNERS, 1) hopper_plan_kernel(const hopper_planning p) {
    __shared__ __align__(16) unsigned buckets[BUCKETS];
    __shared__ int listed[LISTED_MAX];
    __shared__ unsigned warp_sums[WARP];
    __shared__ unsigned long long tiles, best;
    __shared__ int count, most, slots;
    const int thread = threadIdx.x, lane = thread % WARP, warp = thread / WARP;
    const int heads = p.keys.kv_heads, items = p.batch * p.each;
    const bool are_listed = items <= LISTED_MAX;
    let_next_start();
    if (thread == 0) tiles = 0, count = most = slots = 0;
    __syncthreads();

    /* What there is: tiles of pieces of one head of each sequence. */
    int mine = 0, mine_most = 0;
    unsigned long long mine_tiles = 0;
    for (int i = thread; i < items; i += PLANNERS) {
        const hopper_item item(p, i);
        if (!item.is_there(p)) continue;
        const int n = item.of_head(p, 0).end_tile;
        mine_tiles += n;
        mine_most = max(mine_most, n);
        mine++;
        if (are_listed) listed[atomicAdd(&count, 1)] = n;
    }
#pragma unroll
    for (int step = 1; step < WARP; step *= 2)
        mine_tiles += __shfl_xor_sync(ALL_LANES, mine_tiles, step);
    mine = __reduce_add_sync(ALL_LANES, mine);
    mine_most = __reduce_max_sync(ALL_LANES, mine_most);
    if (lane == 0 && mine > 0) {
        atomicAdd(&tiles, mine_tiles);
        atomicMax(&most, mine_most);
        if (!are_listed) atomicAdd(&count, mine);
    }
    if (thread == 0) best = ~0ull;
    __syncthreads();

    /* How long parts are: of 31 lengths around what is a block's, and whole. */
    int length = 0;
    if (are_listed && count > 0 && (long long)count * heads <= 8 * p.blocks) {
        int mine_length = 0;
        if (warp > 0) {
            const float share = (float)tiles * heads / p.blocks;
            mine_length = max(4, (int)(share * (.3f + .9f / (TRIED - 2) * (warp - 1)) + .5f));
        }
        if (mine_length < most) {
            long long end =
                hopper_end_of(p, listed, count, most, mine_length, &buckets[warp * LEVELS]);
            /* In groups of heads the last to begin are not the smallest. */
            if (mine_length == 0 && p.batch * heads > p.heads_together) end += most;
            if (lane == 0) atomicMin(&best, (unsigned long long)end << 32 | (unsigned)mine_length);
        }
        __syncthreads();
        length = (int)(unsigned)best;
    }

    /* By size, the largest first; whole pieces of kv heads that do not stay in L2 together one
     * group of heads after the other. */
    const int groups = length > 0 ? 1 : ceil_div(p.batch * heads, p.heads_together);
    const int spread = max(1, BUCKETS / groups);
    const auto bucket_of = [&](int head, int n) {
        const int group = length > 0 ? 0 : head / p.heads_together;
        return (int)((long long)group * min(BUCKETS, groups * spread) / groups) +
               (int)((long long)(most - n) * spread / most);
    };
    for (int i = thread; i < BUCKETS; i += PLANNERS) buckets[i] = 0;
    __syncthreads();
    for (int i = thread; i < items * heads; i += PLANNERS) {
        const hopper_item item(p, i / heads);
        if (!item.is_there(p)) continue;
        const hopper_piece piece = item.of_head(p, i % heads);
        const int parts = hopper_parts(piece.end_tile, length);
        if (parts > 1) atomicAdd(&buckets[bucket_of(piece.kv_head, length)], parts - 1);
        atomicAdd(&buckets[bucket_of(piece.kv_head, piece.end_tile - (parts - 1) * length)], 1);
    }
    __syncthreads();
    constexpr int OWN = BUCKETS / PLANNERS;
    unsigned own[OWN], sum = 0;
#pragma unroll
    for (int i = 0; i < OWN; i++) {
        own[i] = sum;
        sum += buckets[thread * OWN + i];
    }
    unsigned before = sum;
#pragma unroll
    for (int step = 1; step < WARP; step *= 2) {
        const unsigned other = __shfl_up_sync(ALL_LANES, before, step);
        if (lane >= step) before += other;
    }
    if (lane == WARP - 1) warp_sums[warp] = before;
    __syncthreads();
    const unsigned below = warp_sums[lane];
    before += __reduce_add_sync(ALL_LANES, lane < warp ? below : 0) - sum;
    if (thread == PLANNERS - 1) *p.made = (int)(before + sum);
#pragma unroll
    for (int i = 0; i < OWN; i++) buckets[thread * OWN + i] = before + own[i];
    __syncthreads();

    /* In a bucket they lie in any order; parts of a piece are added up in theirs. */
    for (int i = thread; i < items * heads; i += PLANNERS) {
        const hopper_item item(p, i / heads);
        if (!item.is_there(p)) continue;
        hopper_piece piece = item.of_head(p, i % heads);
        const int end = piece.end_tile;
        piece.parts = hopper_parts(end, length);
        if (piece.parts > 1) piece.slot = atomicAdd(&slots, piece.parts);
        for (; piece.part < piece.parts; piece.part++) {
            piece.first_tile = piece.part * length;
            piece.end_tile = piece.parts > 1 ? min(end, piece.first_tile + length) : end;
            const int bucket = bucket_of(piece.kv_head, piece.end_tile - piece.first_tile);
            p.pieces[atomicAdd(&buckets[bucket], 1)] = piece;
        }
    }
}

struct hopper_paged {
    template <int D> using shape = hopper_paged_shape<D>;
};

/* Keys of a box: what divides a page and a tile. */
inline int hopper_box_rows(const struct attn_problem *p) {
    int rows = TILE_KEYS;
    while (p->page_size % rows) rows /= 2;
    return rows;
}

inline int64_t hopper_pieces_each(const struct attn_problem *p) {
    const int shares =
        hopper_shape_for<hopper_paged>(p, [](auto shape) { return decltype(shape)::SHARES; });
    const int64_t tiles = (p->q_len + SHARE_ROWS - 1) / SHARE_ROWS;
    return (tiles * (p->q_heads / p->kv_heads) + shares - 1) / shares;
}

inline const char *hopper_paged_refuse(const struct attn_problem *p) {
    const char *reason = prefill_refuse(p);
    if (reason) return reason;
    if (p->page_size % 8) return "page size is not a multiple of 8 (prefill_paged_mma takes any)";
    if (p->pages * 2 * p->kv_heads * p->page_size > INT32_MAX)
        return "the cache has more than 2^31 rows";
    return NULL;
}

/* Partial results, how many pieces there are, and these. */
inline size_t hopper_paged_partials(const struct attn_problem *problem) {
    return hopper_shape_for<hopper_paged>(
        problem, [](auto shape) { return hopper_partials<decltype(shape)>::BYTES; });
}

inline size_t hopper_paged_scratch(const struct attn_problem *p) {
    const int64_t pieces = p->batch * p->kv_heads * hopper_pieces_each(p);
    return hopper_paged_partials(p) + sizeof(hopper_piece) +
           sizeof(hopper_piece) *
               (size_t)(pieces + hopper_partials<hopper_paged_shape<64>>::PIECES_MAX);
}

inline const char *hopper_paged_prepare(const struct attn_problem *problem,
                                        struct attn_call *call) {
    const char *fault = refuse_but_hopper();
    if (fault) return fault;
    const auto map = [problem](auto shape, const struct attn_call *of, hopper_state *state) {
        constexpr int D = decltype(shape)::D;
        const int box_rows = hopper_box_rows(problem);
        const int64_t values = problem->kv_heads * problem->page_size; /* rows after their keys */
        const int64_t rows = problem->pages * 2 * values;
        const key_bases bases = key_bases_of(problem, of);
        if (rows == 0) return (const char *)NULL;
        const char *reason = hopper_map_rows<decltype(shape)>(problem, of, state);
        if (!reason) reason = tensor_map_make(&state->k, bases.k, 1, rows, D, box_rows, true);
        if (!reason)
            reason = tensor_map_make(&state->v, bases.v, 1, rows - values, D, box_rows, true);
        return reason;
    };
    return hopper_prepare_form<hopper_paged>(problem, call, map);
}

inline const char *hopper_paged_launch(const struct attn_problem *problem,
                                       const struct attn_call *call) {
    const char *fault = keys_check(problem, call);
    if (fault) return fault;
    const hopper_state *state = static_cast<const hopper_state *>(call->state);
    char *made = static_cast<char *>(call->scratch) + hopper_paged_partials(problem);
    hopper_planning planning = {
        .cut = hopper_shape_for<hopper_paged>(
            problem, [problem](auto shape) { return hopper_cut_of<decltype(shape)>(problem); }),
        .keys = keys_make(paged_keys{}, problem, call),
        .q_lens = static_cast<const int32_t *>(call->tensors[ATTN_Q_LENS].data),
        .batch = (int)problem->batch,
        .q_len = (int)problem->q_len,
        .each = (int)hopper_pieces_each(problem),
        .blocks = state->clusters,
        .parts_max = hopper_partials<hopper_paged_shape<64>>::PIECES_MAX,
        .pairs = hopper_shape_for<hopper_paged>(
            problem, [](auto shape) { return (int)decltype(shape)::PAIRS; }),
        .heads_together = hopper_heads_together(problem),
        .pieces = reinterpret_cast<hopper_piece *>(made) + 1,
        .made = reinterpret_cast<int *>(made),
    };
    void *planned[] = {&planning};
    const cudaError_t error =
        cudaLaunchKernel((const void *)hopper_plan_kernel, dim3(1), dim3(PLANNERS), planned, 0,
                         static_cast<cudaStream_t>(call->stream));
    if (error != cudaSuccess) return cudaGetErrorString(error);

    hopper_paged_args args;
    static_cast<hopper_any_args &>(args) = hopper_args_of(problem, call, state);
    args.causal = 1; /* there is always a diagonal, which `behind` may put out of sight */
    args.pieces = planning.pieces;
    args.unseen = 1;
    args.keys = planning.keys;
    args.made = planning.made;
    args.box_rows = hopper_box_rows(problem);
    void *parameters[] = {
        const_cast<CUtensorMap *>(&state->q), const_cast<CUtensorMap *>(&state->k),
        const_cast<CUtensorMap *>(&state->v), const_cast<CUtensorMap *>(&state->out), &args};
    return overlap_launch(state->kernel, state->clusters, parameters, call->stream);
}

} // namespace attn

#endif
