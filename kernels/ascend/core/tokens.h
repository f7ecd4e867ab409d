/* The tokens of a call, for the kernels on cube and vector cores: where the rows of keys and values
 * lie, dense or in pages, how many a sequence has, how many queries it asks, and which keys these
 * see. Lengths and tables are read by the scalar unit. Emulated; never run on a 910B2. */
#ifndef ATTEST_ASCEND_TOKENS_H
#define ATTEST_ASCEND_TOKENS_H

#include "host.h"

/* Page p, kv head g, row r is at p * page + g * head + r * row elements. Dense rows are pages as
 * long as kv_len, one a sequence. */
struct token_rows {
    __gm__ void *base;
    int64_t page, head, row;
};

struct tokens {
    token_rows k, v;
    __gm__ int32_t *indptr, *indices, *last_page_len; /* NULL without pages */
    __gm__ int32_t *seq_lens, *q_lens;                /* NULL: as the sizes say */
    int64_t page_size;
    int32_t q_len, kv_len;
    int64_t before, behind; /* keys that a query sees beside that at its place; tokens_all: all */
};

/* More than any place, and small enough to be added to one. */
static constexpr int64_t tokens_all = int64_t{1} << 40;

/* ---- Who sees what --------------------------------------------------------------------------- */

/* Keys [first, end). */
struct token_span {
    int64_t first, end;
};

/* The valid part of a sequence. */
struct token_lengths {
    int64_t q, kv;
};

__aicore__ inline token_lengths tokens_lengths(const tokens &t, int64_t b) {
    token_lengths lengths = {t.q_len, t.kv_len};
    if (t.indptr != nullptr) {
        const int64_t pages = asc_gm_get(t.indptr + b + 1) - asc_gm_get(t.indptr + b);
        lengths.kv = pages > 0 ? (pages - 1) * t.page_size + asc_gm_get(t.last_page_len + b) : 0;
    } else if (t.seq_lens != nullptr) {
        const int64_t length = asc_gm_get(t.seq_lens + b);
        lengths.kv = length < t.kv_len ? length : t.kv_len;
        if (t.q_len == t.kv_len) lengths.q = lengths.kv; /* attn.h: of q and kv alike */
    }
    if (t.q_lens != nullptr) {
        const int64_t asked = asc_gm_get(t.q_lens + b);
        lengths.q = asked < t.q_len ? asked : t.q_len;
    }
    return lengths;
}

/* Of queries [first, end) of a sequence, at least one: the keys that one of them sees. There is
 * none between that no query sees, since each sees as many, a key further. */
__aicore__ inline token_span tokens_seen(const tokens &t, token_lengths lengths, int64_t first,
                                         int64_t end) {
    const int64_t shift = lengths.kv - lengths.q;
    token_span seen = {first + shift - t.before, end + shift + t.behind};
    if (seen.first < 0) seen.first = 0;
    if (seen.end > lengths.kv) seen.end = lengths.kv;
    if (seen.end < seen.first) seen.end = seen.first;
    return seen;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* Tokens [first, first + count) of sequence b and kv head g become the first rows of an Nz image of
 * `image` rows in L1, `columns` wide: one copy, or one a page that they touch, so that pages of any
 * size need not divide tiles. */
template <typename T>
__aicore__ inline void tokens_load(const tokens &t, const token_rows &from, int64_t b, int64_t g,
                                   int64_t first, int32_t count, int32_t columns, uint32_t l1,
                                   int32_t image) {
    __gm__ T *base = (__gm__ T *)from.base + g * from.head;
    const int stride = static_cast<int>(from.row);
    if (t.indptr == nullptr) {
        asc_copy_gm2l1_nd2nz(asc_l1<T>(l1), base + b * from.page + first * from.row, 1, count,
                             columns, 0, stride, image, 1, 1);
        return;
    }
    __gm__ int32_t *entry = t.indices + asc_gm_get(t.indptr + b) + first / t.page_size;
    int64_t in_page = first % t.page_size;
    for (int32_t row = 0; row < count; entry++) {
        const int64_t rest = t.page_size - in_page;
        const int32_t n = rest < count - row ? static_cast<int32_t>(rest) : count - row;
        __gm__ T *page = base + asc_gm_get(entry) * from.page;
        asc_copy_gm2l1_nd2nz(asc_l1<T>(l1 + 32 * static_cast<uint32_t>(row)),
                             page + in_page * from.row, 1, n, columns, 0, stride, image, 1, 1);
        row += n;
        in_page = 0;
    }
}

/* ---- The host -------------------------------------------------------------------------------- */

inline tokens tokens_of(const struct attn_problem *problem, const struct attn_call *call) {
    const bool window = (problem->traits & ATTN_WINDOW) != 0;
    const auto at_most_all = [](int64_t n) { return n < tokens_all ? n : tokens_all; };
    tokens t = {};
    if (problem->traits & ATTN_PAGE) {
        const auto stride = [&](int axis) { return host_stride(call, ATTN_KV_CACHE, axis); };
        t.k = {host_data<void>(call, ATTN_KV_CACHE), stride(0), stride(2), stride(3)};
        t.v = t.k;
        t.v.base = host_data<uint16_t>(call, ATTN_KV_CACHE) + stride(1);
    } else {
        t.k = {host_data<void>(call, ATTN_K), host_stride(call, ATTN_K, 0),
               host_stride(call, ATTN_K, 1), host_stride(call, ATTN_K, 2)};
        t.v = {host_data<void>(call, ATTN_V), host_stride(call, ATTN_V, 0),
               host_stride(call, ATTN_V, 1), host_stride(call, ATTN_V, 2)};
    }
    t.indptr = host_data<int32_t>(call, ATTN_KV_PAGE_INDPTR);
    t.indices = host_data<int32_t>(call, ATTN_KV_PAGE_INDICES);
    t.last_page_len = host_data<int32_t>(call, ATTN_KV_LAST_PAGE_LEN);
    t.seq_lens = host_data<int32_t>(call, ATTN_SEQ_LENS);
    t.q_lens = host_data<int32_t>(call, ATTN_Q_LENS);
    t.page_size = problem->page_size;
    t.q_len = static_cast<int32_t>(problem->q_len);
    t.kv_len = static_cast<int32_t>(problem->kv_len);
    t.before = window ? at_most_all(problem->window_left) : tokens_all;
    t.behind = window ? at_most_all(problem->window_right) : tokens_all;
    if (problem->traits & ATTN_CAUSAL) t.behind = 0;
    return t;
}

/* NULL, or why the copies cannot take them. */
inline const char *tokens_wrong(const tokens &t) {
    return t.k.row > 65535 || t.v.row > 65535 ? "rows more than 65,535 elements apart" : nullptr;
}

#endif
