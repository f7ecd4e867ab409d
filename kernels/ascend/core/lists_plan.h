/* Which core attends to which tiles of which kept lists, and where their tokens lie; the host's
 * side of it too. What is done with a tile is in lists.h. Emulated; never run on a 910B2.
 *
 * Division. A tile is 64 tokens of one list, and a row without any token one empty tile. All tiles
 * of all rows, in order, are cut into equal shares, one a core. A list of fewer than 8 tiles (512
 * tokens) is not cut, its nearer end is taken; no cut leaves less than two tiles of a list on a
 * side. So every core has whole rows but for its first and its last one. Every core computes the
 * same cuts from sparse_nnz by its scalar unit: two walks over it.
 *
 * The other choices: rows dealt out whole leave 16 of 48 cores idle for 32 rows, and 47 for one;
 * combining in a second launch costs a launch where meeting costs an arrival. */
#ifndef ATTEST_ASCEND_LISTS_PLAN_H
#define ATTEST_ASCEND_LISTS_PLAN_H

#include "host.h"

/* What a launch says; strides in elements. */
struct lists_call {
    __gm__ void *q, *out, *k, *v; /* v of pages: the first value of page 0 */
    __gm__ float *lse, *lsh_k, *lsh_l;
    __gm__ int32_t *list, *nnz, *indptr, *indices;
    __gm__ float *parts; /* (512 + 4 D) / 4 a core */
    int64_t q_stride[2], out_stride[2], lse_stride[2], list_stride[2], nnz_stride[2];
    int64_t lsh_k_stride[2], lsh_l_stride[2];
    int64_t k_stride[3], v_stride[3]; /* of a sequence or page, a head, a token */
    uint64_t flags_address;
    float scale;
    int32_t rows, q_heads, group, page_size, head_dim;
};

static constexpr int lists_tile = 64;         /* tokens: one repeat of f32 */
static constexpr int lists_cut_tiles_min = 8; /* a list of 512 tokens may be cut, */
static constexpr int lists_end_tiles_min = 2; /* and neither end is shorter than this */
static constexpr int lists_part_tiles = 4;    /* where there are more cores than work */

/* ---- Which tiles are whose ------------------------------------------------------------------ */

__aicore__ inline int64_t lists_nnz(const lists_call &call, int64_t row) {
    return asc_gm_get(call.nnz + row / call.q_heads * call.nnz_stride[0] +
                      row % call.q_heads * call.nnz_stride[1]);
}
__aicore__ inline int64_t lists_tiles(int64_t nnz) {
    return nnz > 0 ? (nnz + lists_tile - 1) / lists_tile : 1;
}

/* Where a cut that falls `inside` tiles into a row of `tiles` goes. */
__aicore__ inline int64_t lists_cut(int64_t inside, int64_t tiles, int64_t share) {
    if (tiles < lists_cut_tiles_min) return 2 * inside < tiles ? 0 : tiles;
    if (share < lists_part_tiles)
        inside = (inside + lists_part_tiles / 2) / lists_part_tiles * lists_part_tiles;
    if (inside < lists_end_tiles_min) return 0;
    return tiles - inside < lists_end_tiles_min ? tiles : inside;
}

/* The tiles [first, last) of a core in the order of all rows, and where they begin. */
struct lists_share {
    int64_t share; /* tiles a core before cuts are moved */
    int64_t first, last;
    int64_t row, row_first; /* the row of `first`, and its first tile */
    bool cut;               /* some row may be on two cores */
};

__aicore__ inline lists_share lists_share_of(const lists_call &call, int64_t core, int64_t cores) {
    int64_t all = 0;
    for (int64_t row = 0; row < call.rows; row++) all += lists_tiles(lists_nnz(call, row));
    lists_share mine = {(all + cores - 1) / cores, all, all, call.rows, all, false};
    const int64_t from = core * mine.share, to = from + mine.share;
    int64_t first = 0;
    for (int64_t row = 0; row < call.rows; row++) {
        const int64_t tiles = lists_tiles(lists_nnz(call, row)), end = first + tiles;
        if (first <= from && from < end)
            mine.first = first + lists_cut(from - first, tiles, mine.share);
        if (first <= to && to < end) mine.last = first + lists_cut(to - first, tiles, mine.share);
        if (first <= mine.first && mine.first < end) {
            mine.row = row;
            mine.row_first = first;
        }
        if (tiles >= lists_cut_tiles_min && first / mine.share != (end - 1) / mine.share)
            mine.cut = true;
        first = end;
    }
    return mine;
}

/* One tile of a core. */
struct lists_work {
    int64_t row, b, h;
    int64_t token;      /* on the list */
    int32_t count;      /* tokens; 0 for a row without any */
    bool opens, closes; /* the first, the last of its row on this core */
    bool begins, ends;  /* this core has the row's first, last tile */
    int64_t row_first, row_tiles;
};

struct lists_cursor {
    int64_t row, row_first, at;
};

__aicore__ inline bool lists_next(const lists_call &call, const lists_share &mine,
                                  lists_cursor &cursor, lists_work &work) {
    if (cursor.at >= mine.last) return false;
    const int64_t nnz = lists_nnz(call, cursor.row), tiles = lists_tiles(nnz);
    const int64_t inside = cursor.at - cursor.row_first, end = cursor.row_first + tiles;
    const int64_t left = nnz - inside * lists_tile;
    work.row = cursor.row;
    work.b = cursor.row / call.q_heads;
    work.h = cursor.row % call.q_heads;
    work.token = inside * lists_tile;
    work.count = static_cast<int32_t>(left < lists_tile ? left : lists_tile);
    work.opens = inside == 0 || cursor.at == mine.first;
    work.begins = mine.first <= cursor.row_first;
    work.ends = end <= mine.last;
    work.row_first = cursor.row_first;
    work.row_tiles = tiles;
    cursor.at++;
    work.closes = cursor.at == end || cursor.at == mine.last;
    if (cursor.at == end) {
        cursor.row++;
        cursor.row_first = end;
    }
    return true;
}

/* ---- Where tokens lie ----------------------------------------------------------------------- */

/* `more` tokens from this one on lie in order. */
template <typename T> struct lists_place {
    __gm__ T *key, *value;
    int64_t more;
};

template <typename T> struct lists_dense {
    __aicore__ inline static lists_place<T> find(const lists_call &call, int64_t b, int64_t g,
                                                 int64_t token) {
        return {(__gm__ T *)call.k + b * call.k_stride[0] + g * call.k_stride[1] +
                    token * call.k_stride[2],
                (__gm__ T *)call.v + b * call.v_stride[0] + g * call.v_stride[1] +
                    token * call.v_stride[2],
                lists_tile};
    }
};

template <typename T> struct lists_paged {
    __aicore__ inline static lists_place<T> find(const lists_call &call, int64_t b, int64_t g,
                                                 int64_t token) {
        const uint32_t size = static_cast<uint32_t>(call.page_size);
        const uint32_t entry = static_cast<uint32_t>(token) / size;
        const uint32_t inside = static_cast<uint32_t>(token) - entry * size;
        const int64_t page = asc_gm_get(call.indices + asc_gm_get(call.indptr + b) + entry);
        return {(__gm__ T *)call.k + page * call.k_stride[0] + g * call.k_stride[1] +
                    inside * call.k_stride[2],
                (__gm__ T *)call.v + page * call.v_stride[0] + g * call.v_stride[1] +
                    inside * call.v_stride[2],
                static_cast<int64_t>(size - inside)};
    }
};

/* ---- The host's side ------------------------------------------------------------------------- */

inline const char *lists_refuse(const struct attn_problem *problem) {
    if (problem->q_len != 1) return "more than one query token";
    if (problem->batch * problem->q_heads > INT32_MAX) return "more than 2^31 rows";
    return host_refuse(problem);
}

/* No more cores than there can be tiles. */
inline int64_t lists_blocks(const struct attn_problem *problem) {
    const int64_t tiles = problem->batch * problem->q_heads * lists_tiles(problem->kept_max);
    return tiles < ASC_VECTOR_CORES ? tiles : ASC_VECTOR_CORES;
}

inline size_t lists_scratch_bytes(const struct attn_problem *problem) {
    return static_cast<size_t>(lists_blocks(problem) * (512 + 4 * problem->head_dim));
}

/* Fills `said`; NULL, or why not. */
inline const char *lists_say(lists_call &said, const struct attn_problem *problem,
                             const struct attn_call *call) {
    const struct attn_tensor *tensors = call->tensors;
    const bool paged = (problem->traits & ATTN_PAGE) != 0;
    const struct attn_tensor &k = tensors[paged ? ATTN_KV_CACHE : ATTN_K];
    const struct attn_tensor &v = tensors[paged ? ATTN_KV_CACHE : ATTN_V];
    if (call->scratch_bytes < lists_scratch_bytes(problem)) return "scratch is too small";
    said = {};
    said.q = tensors[ATTN_Q].data;
    said.out = tensors[ATTN_OUT].data;
    said.k = k.data;
    said.v = paged ? (void *)((uint16_t *)v.data + v.stride[1]) : v.data;
    said.lse = host_data<float>(call, ATTN_LSE);
    said.lsh_k = host_data<float>(call, ATTN_LSH_K);
    said.lsh_l = host_data<float>(call, ATTN_LSH_L);
    said.list = host_data<int32_t>(call, ATTN_SPARSE_IND);
    said.nnz = host_data<int32_t>(call, ATTN_SPARSE_NNZ);
    said.indptr = host_data<int32_t>(call, ATTN_KV_PAGE_INDPTR);
    said.indices = host_data<int32_t>(call, ATTN_KV_PAGE_INDICES);
    said.parts = host_scratch<float>(call, 0);
    for (int axis = 0; axis < 2; axis++) {
        said.q_stride[axis] = host_stride(call, ATTN_Q, axis);
        said.out_stride[axis] = host_stride(call, ATTN_OUT, axis);
        said.lse_stride[axis] = host_stride(call, ATTN_LSE, axis);
        said.list_stride[axis] = host_stride(call, ATTN_SPARSE_IND, axis);
        said.nnz_stride[axis] = host_stride(call, ATTN_SPARSE_NNZ, axis);
        said.lsh_k_stride[axis] = host_stride(call, ATTN_LSH_K, axis);
        said.lsh_l_stride[axis] = host_stride(call, ATTN_LSH_L, axis);
    }
    for (int axis = 0; axis < 3; axis++) {
        const int of = paged && axis > 0 ? axis + 1 : axis;
        said.k_stride[axis] = k.stride[of];
        said.v_stride[axis] = v.stride[of];
    }
    said.flags_address = host_flags_address();
    said.scale = static_cast<float>(problem->scale);
    said.rows = static_cast<int32_t>(problem->batch * problem->q_heads);
    said.q_heads = static_cast<int32_t>(problem->q_heads);
    said.group = static_cast<int32_t>(problem->q_heads / problem->kv_heads);
    said.page_size = static_cast<int32_t>(problem->page_size);
    said.head_dim = static_cast<int32_t>(problem->head_dim);
    const int64_t gaps[] = {said.k_stride[2] - said.head_dim, said.v_stride[2] - said.head_dim};
    for (const int64_t gap : gaps)
        if (gap % 16 != 0 || gap / 16 > 65535) return "rows of keys are apart by an odd distance";
    if (said.flags_address == 0) return "the device does not say where flags between cores are";
    return nullptr;
}

#endif
