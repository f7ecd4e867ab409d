/* Decode over short lists: every block has one round of rows to gather, and nothing else to find
 * out. When a whole problem is a few microseconds, the time is not in the bytes but in the trips to
 * memory that wait for one another. To spread the lists evenly (sparse.cuh) takes all of nnz, a
 * prefix sum and divisions before the list can be read, and then a second round in some blocks.
 *
 * Here a row's list is cut where the host says, by its room and not by its length: a block reads
 * its tokens, the row's length and the query at once, then all its rows at once, WARP_KEYS a warp;
 * tokens beyond the length are dropped when it is known. There are no more blocks than processors,
 * because two on one would take twice as long and the others wait, and no more warps in a block
 * than its tokens need. The last of a row's blocks to arrive adds the partial sums, in their order:
 * the same bits on every run. Blocks beyond a row's length leave and nobody waits for them.
 *
 * Lists too long for this, or too many, and problems with traits go to the kernels of sparse.cuh.
 */
#ifndef ATTN_CUDA_SPARSE_ROWS_CUH
#define ATTN_CUDA_SPARSE_ROWS_CUH

#include "sparse.cuh"

namespace attn {

constexpr int ROW_WARPS_MIN = 8; /* partial sums cost something too */
constexpr int ROW_WARPS_MAX = 16;

/* How the lists are cut: `parts` blocks a row, of `warps` warps; none: the lists do not fit. */
struct row_cut {
    int parts, warps;
};

inline row_cut row_cut_of(const struct attn_problem *p, int processors) {
    const int64_t rows = p->batch * p->q_heads;
    if (!is_plain(p) || rows < 1 || rows > processors || processors > BLOCKS_MAX) return {0, 0};
    const int64_t parts_max = processors / rows;
    const int64_t warp_keys = p->head_dim == 64    ? sparse_shape<64>::WARP_KEYS
                              : p->head_dim == 128 ? sparse_shape<128>::WARP_KEYS
                                                   : sparse_shape<256>::WARP_KEYS;
    const int64_t warps_all = (p->kept_max + warp_keys - 1) / warp_keys;
    const int64_t warps_even = (warps_all + parts_max - 1) / parts_max;
    if (warps_even > ROW_WARPS_MAX) return {0, 0};
    const int warps = warps_even > ROW_WARPS_MIN ? (int)warps_even : ROW_WARPS_MIN;
    const int parts = (int)((warps_all + warps - 1) / warps);
    return {parts > 1 ? parts : 1, warps};
}

/* By all threads of a block after it wrote what the others need: whether it is the last of
 * `arrivals` to come here, and so may read what they wrote. `flag` is shared; the counter wraps to
 * zero with the last arrival. */
__device__ __forceinline__ bool last_to_arrive(unsigned *counter, int arrivals, int *flag) {
    __syncthreads();
    if (threadIdx.x == 0) { /* its fences stand for the block's: the barriers come before, after */
        __threadfence();
        *flag = atomicInc(counter, (unsigned)(arrivals - 1)) == (unsigned)(arrivals - 1);
        __threadfence();
    }
    __syncthreads();
    return *flag;
}

template <typename T, int D, typename Keys, bool MAGICPIG, bool OVERLAP>
__global__ void __launch_bounds__(ROW_WARPS_MAX *WARP, 1)
    sparse_row_kernel(const sparse_args a, const Keys keys, const int parts) {
    using shape = sparse_shape<D>;
    static_assert(D / 2 <= ROW_WARPS_MIN * WARP, "a thread for every two columns");
    __shared__ __align__(16) float warp_sums[ROW_WARPS_MAX][D];
    __shared__ float2 warp_stats[ROW_WARPS_MAX];
    __shared__ int flag;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    const int row = (int)blockIdx.x / parts, index = (int)blockIdx.x - row * parts;
    const int part_keys = warps * shape::WARP_KEYS;

    if constexpr (OVERLAP) let_next_start();
    const int nnz = __ldg(&a.nnz[row]);
    const int i = index * part_keys + warp * shape::WARP_KEYS + lane;
    const bool listed = lane < shape::WARP_KEYS && i < a.kept_max;
    const int token = listed ? __ldg(&a.ind[(int64_t)row * a.kept_max + i]) : 0;
    const int b = row / a.q_heads, g = (row - b * a.q_heads) / a.group;
    const uint32_t begin = keys.begin(b, g);
    sparse_warp<T, D, MAGICPIG> state;
    uint32_t found = NO_ROW;
    if constexpr (OVERLAP) {
        if (listed && i < nnz) found = keys.row(begin, g, token);
        wait_for_previous_with(found);
    }
    state.start(a, row);

    {
        uint4 k[shape::DEPTH], v[shape::DEPTH];
        if (!OVERLAP && listed && i < nnz) found = keys.row(begin, g, token);
        const bool key = load_rows<D>(k, v, found, a.bases);
        /* Without a branch here the compiler asks for the last rows after it used the first. */
        if (__any_sync(ALL_LANES, key)) state.add_tile(k, v, key, a.scale);
    }
    /* Not before the rows: the compiler moves nothing across, and would find them only after. */
    const int used = max(1, ceil_div(nnz, part_keys)); /* blocks; one says that a list is empty */
    if (index >= used) return;
    state.hand_over(warp_sums, warp_stats);
    __syncthreads();

    float *partial = partial_at<D>(a.store, 2 * (int)blockIdx.x + (index == 0 ? 1 : 0));
    if (threadIdx.x < D / 2) {
        float2 stats[ROW_WARPS_MAX];
        float top = -INFINITY, weight = 0.f, x = 0.f, y = 0.f;
#pragma unroll
        for (int w = 0; w < ROW_WARPS_MAX; w++) {
            stats[w] = w < warps ? warp_stats[w] : make_float2(-INFINITY, 0.f);
            top = fmaxf(top, stats[w].x);
        }
#pragma unroll
        for (int w = 0; w < ROW_WARPS_MAX; w++) {
            const float2 two = w < warps
                                   ? reinterpret_cast<const float2 *>(warp_sums[w])[threadIdx.x]
                                   : make_float2(0.f, 0.f);
            const float factor = toward(top, stats[w].x);
            weight = fmaf(factor, stats[w].y, weight);
            x = fmaf(factor, two.x, x);
            y = fmaf(factor, two.y, y);
        }
        if (used > 1) {
            reinterpret_cast<float2 *>(partial)[threadIdx.x] = make_float2(x, y);
            if (threadIdx.x == 0)
                *reinterpret_cast<float2 *>(partial + D) = make_float2(top, weight);
        } else {
            const float inverse = weight > 0.f ? inverse_of(weight) : 0.f;
            static_cast<uint32_t *>(a.out)[(int64_t)row * (D / 2) + threadIdx.x] =
                pack_out<T>(x * inverse, y * inverse);
            if (threadIdx.x == 0) a.lse[row] = lse_of(top, weight);
        }
    }
    if (used == 1 || !last_to_arrive(&a.store.counters[row], used, &flag)) return;
    const int first = row * parts;
    combine<8>(segment_sums<T, D>{.rows = 1,
                                  .out = static_cast<T *>(a.out) + (int64_t)row * D,
                                  .lse = a.lse + row},
               a.store, first, first + used - 1);
}

template <typename Keys, bool MAGICPIG, bool OVERLAP = false>
const char *sparse_rows_prepare(const struct attn_problem *problem, struct attn_call *call) {
    const row_cut cut = row_cut_of(problem, processor_count());
    if (!cut.parts) return sparse_prepare<Keys, MAGICPIG, OVERLAP>(problem, call);
    if (OVERLAP)
        if (const char *fault = refuse_but_hopper()) return fault;
    return kernel_state_make(
        problem, call, problem->batch * problem->q_heads, [cut](auto type, auto dim) {
            using T = decltype(type);
            constexpr int D = decltype(dim)::value;
            return kernel_choice{(const void *)sparse_row_kernel<T, D, Keys, MAGICPIG, OVERLAP>,
                                 cut.warps * WARP, 0};
        });
}

template <typename Keys, bool OVERLAP = false>
const char *sparse_rows_launch(const struct attn_problem *problem, const struct attn_call *call) {
    const row_cut cut = row_cut_of(problem, processor_count());
    if (!cut.parts) return sparse_launch<Keys, OVERLAP>(problem, call);
    const char *fault = sparse_check(problem, call);
    if (fault) return fault;
    const struct kernel_state *state = static_cast<const struct kernel_state *>(call->state);
    sparse_args args = sparse_args_of(problem, call);
    Keys keys = keys_make(Keys{}, problem, call);
    int parts = cut.parts;
    void *parameters[] = {&args, &keys, &parts};
    return launch_either_way<OVERLAP>(state, args.rows * parts, parameters, call);
}

} // namespace attn

#endif
