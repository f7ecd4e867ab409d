/* Flash attention on wgmma, for prefill with and without lengths.
 *
 * A block has an SM to itself: one warpgroup that copies and 2 to 4 that compute. One of these owns
 * a share, 64 queries of one head; together they take neighbouring shares of one kv head, heads
 * first, so that K and V, 64 keys at a time, are copied once for all of them into a ring. The
 * scores of a tile are begun before the values of the last are added, and softmax runs under both.
 *
 * What is to be done is a list made by prepare, which knows the lengths: pieces, heaviest first,
 * that blocks take from a counter. The copying thread posts a piece with its queries, the next one
 * while this one is computed, and asks for another when two tiles are left: who has less to do has
 * it sooner. Where pieces are few or long, their keys are divided, and the last warpgroup to arrive
 * adds the parts up, with the same bits whoever that is.
 *
 * In a cluster the pieces are as many times larger, each block copies its part of the tiles, and
 * the TMA brings them to all.
 *
 * With keys in pages (prefill_hopper_paged.cuh) a warp copies, and pieces are made on the device.
 *
 * With shape::ANY the same for windows, sinks and lengths of queries, known at run time: a piece's
 * tiles begin at the first key that its first query sees, wherever that is, and everything but the
 * copies counts keys from there.
 *
 * A piece of S = 1024, D = 64 takes 5,000 of its 17,300 clocks before and after its loop (H200,
 * clock64 in the first of the warpgroups, medians): 600 to find it, 510 for the first scores, 1,470
 * for their softmax and 1,770 for the output, since the warpgroups come there together and a
 * scheduler has the instructions of four warps to issue. With 400 instead of 300 instructions of
 * each for softmax and output these were 1,800 and 2,140.
 */
#ifndef ATTN_CUDA_PREFILL_HOPPER_CUH
#define ATTN_CUDA_PREFILL_HOPPER_CUH

#include "prefill_hopper_compute.cuh"
#include "prefill_hopper_plan.cuh"

namespace attn {

/* What prepare leaves for launch. */
struct hopper_state {
    kernel_state *kernel;
    CUtensorMap q, k, v, out;
    hopper_piece *pieces; /* on the device */
    int count;
    int cluster, clusters; /* blocks of one; how many the device holds at once */
    double end;            /* when all is done, in steps of a tile */
};

inline void hopper_prefill_finish(const struct attn_problem *problem, struct attn_call *call) {
    hopper_state *state = static_cast<hopper_state *>(call->state);
    if (!state) return;
    cudaFree(state->pieces);
    call->state = state->kernel;
    delete state;
    kernel_state_free(problem, call);
}

/* How the TMA sees queries and output. */
template <typename shape>
const char *hopper_map_rows(const struct attn_problem *p, const struct attn_call *call,
                            hopper_state *state) {
    const int64_t heads = p->batch * p->q_heads;
    const char *fault = tensor_map_make(&state->q, call->tensors[ATTN_Q].data, heads, p->q_len,
                                        shape::D, shape::ROWS);
    return fault ? fault
                 : tensor_map_make(&state->out, call->tensors[ATTN_OUT].data, heads, p->q_len,
                                   shape::D, shape::ROWS);
}

/* Kv heads whose keys and values stay in L2 together. */
inline int hopper_heads_together(const struct attn_problem *p) {
    constexpr double L2_BYTES = 40e6; /* of 60 MB, what K and V may take */
    const double head_bytes = 4. * (double)p->kv_len * (double)p->head_dim;
    return std::max(1, (int)std::min(L2_BYTES / head_bytes, 1e6));
}

/* Makes the pieces, and keeps them on the device. */
template <typename shape>
const char *hopper_keep_pieces(const struct attn_problem *p, const struct attn_call *call,
                               hopper_state *state) {
    const std::vector<hopper_piece> pieces = hopper_schedule(
        hopper_pieces<shape>(p, call), state->clusters, hopper_partials<shape>::PIECES_MAX,
        hopper_heads_together(p), shape::PAIRS, &state->end);
    if (shape::CLUSTER > 1) {
        const hopper_costs cost;
        state->end *= shape::D == 128 ? cost.shared_128 : cost.shared_256;
        state->end += cost.together;
    }
    state->count = (int)pieces.size();
    if (pieces.empty()) return NULL;
    const size_t bytes = pieces.size() * sizeof pieces[0];
    cudaError_t error = cudaMalloc((void **)&state->pieces, bytes);
    if (error == cudaSuccess)
        error = cudaMemcpy(state->pieces, pieces.data(), bytes, cudaMemcpyHostToDevice);
    return error == cudaSuccess ? NULL : cudaGetErrorString(error);
}

template <typename shape>
const char *hopper_plan(const struct attn_problem *p, const struct attn_call *call,
                        hopper_state *state) {
    const int64_t kv_heads = p->batch * p->kv_heads;
    const auto map = [&](CUtensorMap *to, enum attn_slot slot) {
        return tensor_map_make(to, call->tensors[slot].data, kv_heads, p->kv_len, shape::D,
                               shape::KEYS);
    };
    const char *fault = hopper_keep_pieces<shape>(p, call, state);
    if (fault || state->count == 0) return fault;
    fault = hopper_map_rows<shape>(p, call, state);
    if (!fault) fault = map(&state->k, ATTN_K);
    return fault ? fault : map(&state->v, ATTN_V);
}

/* Calls pick(shape{}) with a form's shape for the problem's head dim. */
template <typename FORM, typename Pick>
auto hopper_shape_for(const struct attn_problem *p, Pick &&pick) {
    if (p->head_dim == 64) return pick(typename FORM::template shape<64>{});
    if (p->head_dim == 128) return pick(typename FORM::template shape<128>{});
    return pick(typename FORM::template shape<256>{});
}

/* What a revision is made of: one form or several, of which the plan takes one. */
struct hopper_alone {
    template <int D> using shape = hopper_shape<D, 1>;
};
struct hopper_in_twos {
    template <int D> using shape = hopper_shape<D, D == 64 ? 1 : 2>;
};
struct hopper_any {
    template <int D> using shape = hopper_shape<D, 1, true>;
};
struct hopper_alone_pairs {
    template <int D> using shape = hopper_shape<D, 1, false, true>;
};
struct hopper_in_twos_pairs {
    template <int D> using shape = hopper_shape<D, D == 64 ? 1 : 2, false, true>;
};

inline bool hopper_is_any(const struct attn_problem *p) {
    return p->traits & (ATTN_WINDOW | ATTN_SINK | ATTN_QLENS);
}

inline size_t hopper_prefill_scratch(const struct attn_problem *problem) {
    return hopper_shape_for<hopper_alone>(
        problem, [](auto shape) { return hopper_partials<decltype(shape)>::BYTES; });
}

/* A launch of `clusters` of them; `attribute` is where it says how large they are. */
inline cudaLaunchConfig_t hopper_config(const kernel_state *kernel, int clusters, int cluster,
                                        void *stream, cudaLaunchAttribute *attribute) {
    attribute->id = cudaLaunchAttributeClusterDimension;
    attribute->val.clusterDim = {(unsigned)cluster, 1, 1};
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)(clusters * cluster));
    config.blockDim = dim3((unsigned)kernel->threads);
    config.dynamicSmemBytes = (size_t)kernel->shared_bytes;
    config.stream = static_cast<cudaStream_t>(stream);
    config.attrs = attribute;
    config.numAttrs = cluster > 1;
    return config;
}

/* How many clusters the device holds at once: an SM without a neighbour has none. */
template <typename shape> const char *hopper_count_clusters(hopper_state *state) {
    state->cluster = shape::CLUSTER;
    state->clusters = state->kernel->resident;
    if (shape::CLUSTER == 1) return NULL;
    cudaLaunchAttribute attribute;
    const cudaLaunchConfig_t config = hopper_config(state->kernel, state->clusters / shape::CLUSTER,
                                                    shape::CLUSTER, NULL, &attribute);
    const cudaError_t error =
        cudaOccupancyMaxActiveClusters(&state->clusters, state->kernel->function, &config);
    if (error != cudaSuccess) return cudaGetErrorString(error);
    return state->clusters > 0 ? NULL : "no cluster of blocks fits on this device";
}

/* Leaves in call->state what it takes to launch FORM; plan(shape{}, call, state) adds to that. */
template <typename FORM, typename Plan>
const char *hopper_prepare_form(const struct attn_problem *problem, struct attn_call *call,
                                Plan &&plan) {
    using most = typename FORM::template shape<64>;
    const int64_t counters = 1 + (most::PAIRS ? 2 : 1) * hopper_partials<most>::PLACES;
    const char *fault = kernel_state_make(problem, call, counters, [](auto type, auto dim) {
        using shape = typename FORM::template shape<decltype(dim)::value>;
        return kernel_choice{(const void *)hopper_prefill_kernel<decltype(type), shape>,
                             shape::THREADS, shape::SHARED_BYTES};
    });
    if (fault) return fault;
    hopper_state *state = new (std::nothrow) hopper_state{};
    if (!state) {
        kernel_state_free(problem, call);
        return "out of host memory";
    }
    state->kernel = static_cast<kernel_state *>(call->state);
    call->state = state;
    fault = hopper_shape_for<FORM>(problem, [&](auto shape) {
        const char *reason = hopper_count_clusters<decltype(shape)>(state);
        return reason ? reason : plan(shape, call, state);
    });
    if (fault) hopper_prefill_finish(problem, call);
    return fault;
}

/* Of the forms the one that is done first by its plan. */
template <typename FORM, typename... OTHERS>
const char *hopper_prefill_prepare(const struct attn_problem *problem, struct attn_call *call) {
    const auto plan = [problem](auto shape, const struct attn_call *of, hopper_state *state) {
        return hopper_plan<decltype(shape)>(problem, of, state);
    };
    const char *fault = refuse_but_hopper();
    if (!fault) fault = hopper_prepare_form<FORM>(problem, call, plan);
    [[maybe_unused]] const auto compare = [&](auto form) {
        const int cluster = hopper_shape_for<decltype(form)>(
            problem, [](auto shape) { return decltype(shape)::CLUSTER; });
        if (fault || cluster == static_cast<hopper_state *>(call->state)->cluster) return;
        struct attn_call other = *call;
        fault = hopper_prepare_form<decltype(form)>(problem, &other, plan);
        if (fault) {
            hopper_prefill_finish(problem, call);
            return;
        }
        if (static_cast<hopper_state *>(other.state)->end <
            static_cast<hopper_state *>(call->state)->end)
            std::swap(call->state, other.state);
        hopper_prefill_finish(problem, &other);
    };
    (compare(OTHERS{}), ...);
    return fault;
}

/* The same of a revision that takes windows, sinks and lengths of queries, in single blocks. */
template <typename... FORMS>
const char *hopper_prefill_prepare_any(const struct attn_problem *problem, struct attn_call *call) {
    return hopper_is_any(problem) ? hopper_prefill_prepare<hopper_any>(problem, call)
                                  : hopper_prefill_prepare<FORMS...>(problem, call);
}

/* What a launch is told, of which the plain kernel's arguments are the beginning. */
inline hopper_any_args hopper_args_of(const struct attn_problem *problem,
                                      const struct attn_call *call, const hopper_state *state) {
    const struct attn_tensor *tensors = call->tensors;
    const bool causal = problem->traits & ATTN_CAUSAL, ragged = problem->traits & ATTN_RAGGED;
    const bool any = hopper_is_any(problem), window = problem->traits & ATTN_WINDOW;
    hopper_any_args args;
    args.before = window ? hopper_bound(problem->window_left) : NO_BOUND;
    args.behind = causal ? 0 : window ? hopper_bound(problem->window_right) : NO_BOUND;
    args.sinks = static_cast<const float *>(tensors[ATTN_SINKS].data);
    args.q_lens = static_cast<const int32_t *>(tensors[ATTN_Q_LENS].data);
    static_cast<hopper_args &>(args) = {
        .pieces = state->pieces,
        .next = state->kernel->counters,
        .arrivals = state->kernel->counters + 1,
        .partials = static_cast<float *>(call->scratch),
        .out = tensors[ATTN_OUT].data,
        .lse = static_cast<float *>(tensors[ATTN_LSE].data),
        .seq_lens = static_cast<const int32_t *>(tensors[ATTN_SEQ_LENS].data),
        .count = state->count,
        .group = (int)(problem->q_heads / problem->kv_heads),
        .q_heads = (int)problem->q_heads,
        .heads = (int)(problem->batch * problem->q_heads),
        .q_len = (int)problem->q_len,
        .kv_len = (int)problem->kv_len,
        .causal = causal || any,
        .unseen =
            ragged || problem->kv_len == 0 || ((causal || any) && problem->q_len > problem->kv_len),
        .scale = softmax_scale_of(problem),
    };
    return args;
}

inline const char *hopper_start(const hopper_state *state, int clusters, void *args, void *stream) {
    void *parameters[] = {
        const_cast<CUtensorMap *>(&state->q), const_cast<CUtensorMap *>(&state->k),
        const_cast<CUtensorMap *>(&state->v), const_cast<CUtensorMap *>(&state->out), args};
    cudaLaunchAttribute attribute;
    const cudaLaunchConfig_t config =
        hopper_config(state->kernel, clusters, state->cluster, stream, &attribute);
    const cudaError_t error = cudaLaunchKernelExC(&config, state->kernel->function, parameters);
    return error == cudaSuccess ? NULL : cudaGetErrorString(error);
}

inline const char *hopper_prefill_launch(const struct attn_problem *problem,
                                         const struct attn_call *call) {
    const char *fault = call_check(problem, call, {ATTN_Q, ATTN_K, ATTN_V});
    if (fault) return fault;
    const hopper_state *state = static_cast<const hopper_state *>(call->state);
    hopper_any_args args = hopper_args_of(problem, call, state);
    const int clusters = args.unseen ? state->clusters : std::min(state->count, state->clusters);
    return clusters > 0 ? hopper_start(state, clusters, &args, call->stream) : NULL;
}

} // namespace attn

#endif
