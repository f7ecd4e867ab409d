/* Prefill over pages on wgmma: prefill_hopper.cuh with keys looked up in the page table.
 *
 * A tile of 64 keys is up to 8 x D / 64 boxes of the TMA, each of keys of one page and of one panel
 * of 64 columns: as many keys as divide both a page and a tile, at least 8, which is what a panel
 * is swizzled in. So a tile lies in shared memory as a dense one does. Of a last page only boxes
 * with keys of the sequence are copied, and expected; what lies beyond is masked, and cleared where
 * it is values. */
#ifndef ATTN_CUDA_PREFILL_HOPPER_PAGED_CUH
#define ATTN_CUDA_PREFILL_HOPPER_PAGED_CUH

#include "prefill_hopper.cuh"

namespace attn {

struct hopper_paged {
    template <int D> using shape = hopper_paged_shape<D>;
};

/* Keys of a box: what divides a page and a tile. */
inline int hopper_box_rows(const struct attn_problem *p) {
    int rows = TILE_KEYS;
    while (p->page_size % rows) rows /= 2;
    return rows;
}

inline const char *hopper_paged_refuse(const struct attn_problem *p) {
    const char *reason = prefill_refuse(p);
    if (reason) return reason;
    if (p->page_size % 8) return "page size is not a multiple of 8 (prefill_paged_mma takes any)";
    if (p->pages * 2 * p->kv_heads * p->page_size > INT32_MAX)
        return "the cache has more than 2^31 rows";
    return NULL;
}

inline size_t hopper_paged_scratch(const struct attn_problem *problem) {
    return hopper_shape_for<hopper_paged>(
        problem, [](auto shape) { return hopper_partials<decltype(shape)>::BYTES; });
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
        const char *reason = hopper_keep_pieces<decltype(shape)>(problem, of, state);
        if (reason || state->count == 0) return reason;
        reason = hopper_map_rows<decltype(shape)>(problem, of, state);
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
    hopper_paged_args args;
    static_cast<hopper_any_args &>(args) = hopper_args_of(problem, call, state);
    args.causal = 1; /* there is always a diagonal, which `behind` may put out of sight */
    args.unseen = 1;
    args.keys = keys_make(paged_keys{}, problem, call);
    args.box_rows = hopper_box_rows(problem);
    return hopper_start(state, state->clusters, &args, call->stream);
}

} // namespace attn

#endif
