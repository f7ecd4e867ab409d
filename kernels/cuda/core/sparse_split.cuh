/* Decode over lists for sm_90: the kernels of sparse_rows.cuh and sparse.cuh, with fewer trips to
 * memory that wait for one another. A launch begins while the one before it ends, and finds its
 * rows, through lists and tables, before it waits (overlap.cuh). The blocks of a row whose list was
 * cut add up a slice of its columns each, which takes a store and a load (slices.cuh); those that
 * share the line still leave it to the last to arrive, which holds up nobody else. */
#ifndef ATTN_CUDA_SPARSE_SPLIT_CUH
#define ATTN_CUDA_SPARSE_SPLIT_CUH

#include "overlap.cuh"
#include "slices.cuh"
#include "sparse_rows.cuh"

namespace attn {

template <typename T, int D, typename Keys, bool MAGICPIG>
__global__ void __launch_bounds__(ROW_WARPS_MAX *WARP, 1)
    sparse_split_row_kernel(const sparse_args a, const Keys keys, const int parts,
                            const part_places places) {
    using shape = sparse_shape<D>;
    constexpr int ADDERS = ROW_WARPS_MIN * WARP;
    __shared__ __align__(16) float warp_sums[ROW_WARPS_MAX][D];
    __shared__ float2 warp_stats[ROW_WARPS_MAX];
    __shared__ __align__(16) float4 room[ADDERS + ADDERS / 2];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    const int row = (int)blockIdx.x / parts, index = (int)blockIdx.x - row * parts;
    const int part_keys = warps * shape::WARP_KEYS;

    let_next_start();
    if (!LISTS_BEFORE_WAIT) wait_for_previous();
    const int nnz = __ldg(&a.nnz[row]);
    const int i = index * part_keys + warp * shape::WARP_KEYS + lane;
    const bool listed = lane < shape::WARP_KEYS && i < a.kept_max;
    const int token = listed ? __ldg(&a.ind[(int64_t)row * a.kept_max + i]) : 0;
    const int b = row / a.q_heads, g = (row - b * a.q_heads) / a.group;
    const uint32_t begin = keys.begin(b, g);
    const uint32_t found = listed && i < nnz ? keys.row(begin, g, token) : NO_ROW;
    if (LISTS_BEFORE_WAIT) wait_for_previous();
    sparse_warp<T, D, MAGICPIG> state;
    state.start(a, row);
    {
        uint4 k[shape::DEPTH], v[shape::DEPTH];
        const bool key = load_rows<D>(k, v, found, a.bases);
        /* Without a branch here the compiler asks for the last rows after it used the first. */
        if (__any_sync(ALL_LANES, key)) state.add_tile(k, v, key, a.scale);
    }
    /* Not before the rows: the compiler moves nothing across, and would find them only after. */
    const int used = max(1, ceil_div(nnz, part_keys)); /* blocks; one says that a list is empty */
    if (index >= used) return;
    state.hand_over(warp_sums, warp_stats);
    __syncthreads();

    T *out = static_cast<T *>(a.out) + (int64_t)row * D;
    if (threadIdx.x < D / 4) {
        column_sum sum = column_of_nothing();
        for (int w = 0; w < warps; w++) sum.top = fmaxf(sum.top, warp_stats[w].x);
#pragma unroll 4
        for (int w = 0; w < warps; w++)
            column_add(sum, warp_stats[w],
                       reinterpret_cast<const float4 *>(warp_sums[w])[threadIdx.x]);
        if (used > 1)
            places.put((int)blockIdx.x, index == 0, (int)threadIdx.x, sum);
        else
            write_column<T, D>(out, a.lse + row, (int)threadIdx.x, sum);
    }
    if (used == 1) return;
    const slice mine = slice_of(D / 4, used, index);
    if (mine.count == 0) return;
    add_slice<ADDERS, T, D>(parts_in_memory{places, row * parts}, used, mine, out, a.lse + row,
                            room);
}

template <typename T, int D, typename Keys, bool MAGICPIG>
__global__ void __launch_bounds__(sparse_shape<D>::THREADS, sparse_shape<D>::BLOCKS_PER_SM)
    sparse_split_kernel(const sparse_args a, const Keys keys) {
    using shape = sparse_shape<D>;
    constexpr int DEPTH = shape::DEPTH;
    __shared__ __align__(16) float warp_sums[shape::WARPS][D], sums[D];
    __shared__ float2 warp_stats[shape::WARPS], stats;
    __shared__ int flag;

    let_next_start();
    if (!LISTS_BEFORE_WAIT) wait_for_previous();
    const sparse_segments<D> segments{a.nnz, a.rows, 1};
    const part mine = part_of_block(segments);
    place at{};
    sparse_lookup<D, Keys> lookup{segments, a, keys};
    if (mine.first < mine.end) {
        at = place_of(segments, mine.first);
        lookup.start(at, mine.end - mine.first);
    }
    if (LISTS_BEFORE_WAIT) wait_for_previous();
    if (mine.first < mine.end) {
        sparse_warp<T, D, MAGICPIG> state;

        for (int tile = mine.first; tile < mine.end;) {
            const int count = min(at.tiles - at.tile, mine.end - tile);
            state.start(a, at.outer);
            for (int n = 0; n < count; n++) {
                uint4 k[DEPTH], v[DEPTH];
                const bool key = load_rows<D>(k, v, lookup.row, a.bases);
                lookup.step();
                state.add_tile(k, v, key, a.scale);
            }
            state.merge(sums, &stats, warp_sums, warp_stats);
            settle<8>(segment_sums<T, D>{sums, D, &stats, 1,
                                         static_cast<T *>(a.out) + (int64_t)at.outer * D,
                                         a.lse + at.outer, at.outer, tile - at.tile, at.tiles},
                      mine, a.store, &flag);
            __syncthreads();
            tile += count;
            if (tile < mine.end) at.advance(segments, count);
        }
    }
    clear_empty_rows<D>(a);
}

struct sparse_split_state {
    struct kernel_state *kernel;
    row_cut cut;
    part_places places;
};

inline void sparse_split_finish(const struct attn_problem *problem, struct attn_call *call) {
    sparse_split_state *state = static_cast<sparse_split_state *>(call->state);
    if (!state) return;
    cudaFree(state->places.data);
    call->state = state->kernel;
    kernel_state_free(problem, call);
    delete state;
}

template <typename Keys, bool MAGICPIG>
const char *sparse_split_prepare(const struct attn_problem *problem, struct attn_call *call) {
    const char *fault = overlap_refuse();
    if (fault) return fault;
    const int64_t rows = problem->batch * problem->q_heads;
    const row_cut cut = row_cut_of(problem, processor_count());
    fault = kernel_state_make(problem, call, rows, [cut](auto type, auto dim) {
        using T = decltype(type);
        constexpr int D = decltype(dim)::value;
        if (cut.parts > 0)
            return kernel_choice{(const void *)sparse_split_row_kernel<T, D, Keys, MAGICPIG>,
                                 cut.warps * WARP, 0};
        return kernel_choice{(const void *)sparse_split_kernel<T, D, Keys, MAGICPIG>,
                             sparse_shape<D>::THREADS, 0};
    });
    if (fault) return fault;
    sparse_split_state *state = new (std::nothrow) sparse_split_state{};
    if (!state) {
        kernel_state_free(problem, call);
        return "out of host memory";
    }
    state->kernel = static_cast<kernel_state *>(call->state);
    state->cut = cut;
    call->state = state;
    if (cut.parts > 1)
        fault = part_places_make(&state->places, rows * cut.parts, problem->head_dim / 4);
    if (fault) sparse_split_finish(problem, call);
    return fault;
}

template <typename Keys>
const char *sparse_split_launch(const struct attn_problem *problem, const struct attn_call *call) {
    const char *fault = sparse_check(problem, call);
    if (fault) return fault;
    const sparse_split_state *state = static_cast<const sparse_split_state *>(call->state);
    struct attn_call inner = *call;
    inner.state = state->kernel;
    sparse_args args = sparse_args_of(problem, &inner);
    Keys keys = keys_make(Keys{}, problem, call);
    int parts = state->cut.parts;
    part_places places = state->places;
    void *parameters[] = {&args, &keys, &parts, &places};
    const int resident =
        state->kernel->resident < BLOCKS_MAX ? state->kernel->resident : BLOCKS_MAX;
    const int blocks = parts > 0 ? args.rows * parts : resident;
    if (args.rows == 0) return NULL;
    overlap_launch launch;
    overlap_launch_make(&launch, state->kernel, blocks, 1, true, call->stream);
    const cudaError_t error =
        cudaLaunchKernelExC(&launch.config, state->kernel->function, parameters);
    return error == cudaSuccess ? NULL : cudaGetErrorString(error);
}

} // namespace attn

#endif
