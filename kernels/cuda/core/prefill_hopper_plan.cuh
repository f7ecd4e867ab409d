/* What prepare makes of the lengths: pieces, whole or in parts, in the order that ends soonest. */
#ifndef ATTN_CUDA_PREFILL_HOPPER_PLAN_CUH
#define ATTN_CUDA_PREFILL_HOPPER_PLAN_CUH

#include "prefill_hopper_shape.cuh"

#include <algorithm>
#include <queue>
#include <vector>

namespace attn {

/* What pieces cost, in steps of one tile of keys. Fitted on an H200 to what the plans of the suite
 * models' prefills take there, sustained. */
struct hopper_costs {
    double piece = 2.5; /* beside its tiles: queries, the first scores, the output */
    double part = 4;    /* to write a partial result and to read it again */
    double pair = 1.5;  /* with shape::PAIRS, of two parts; .8 and 2.5 make the same plans */
    /* Where two blocks share copies: what is left of all that, at D = 128 and 256, and what it
     * takes once to begin and to end together. */
    double shared_128 = .96, shared_256 = .92, together = 1.2;
};

/* To add one of so many parts to the others. */
constexpr double hopper_joining(int parts, bool pairs) {
    constexpr hopper_costs cost;
    return parts == 1 ? 0 : parts == 2 && pairs ? cost.pair : cost.part;
}

inline int hopper_bound(int64_t keys) {
    return (int)(keys < NO_BOUND ? keys : NO_BOUND);
}

/* How the queries of a kv head become pieces. */
struct hopper_cut {
    int group;   /* query heads of a kv head */
    int shares;  /* of a piece */
    int bounded; /* 0: all keys are seen, else those from `before` before a query's place on */
    int before, behind; /* the diagonal to `behind` behind it, as hopper_share_of has it */
    int align;          /* a piece's tiles begin at a multiple of so many keys */
};

template <typename shape> hopper_cut hopper_cut_of(const struct attn_problem *p) {
    const bool causal = p->traits & ATTN_CAUSAL, window = p->traits & ATTN_WINDOW;
    return {.group = (int)(p->q_heads / p->kv_heads),
            .shares = shape::SHARES,
            .bounded = shape::ANY || causal,
            .before = hopper_bound(window ? p->window_left : NO_BOUND),
            .behind = causal ? 0 : hopper_bound(window ? p->window_right : NO_BOUND),
            .align = shape::PAGED ? TILE_KEYS : 1};
}

/* Shares of the queries of a sequence that no key is seen by. */
inline int hopper_shares_unseen(const hopper_cut &cut, int q_len, int kv_len) {
    return cut.bounded ? std::max(0, q_len - kv_len - cut.behind) / SHARE_ROWS * cut.group : 0;
}

/* Pieces of a kv head, and the n-th of them, undivided. */
inline int hopper_piece_count(const hopper_cut &cut, int q_len, int kv_len) {
    if (kv_len <= 0) return 0;
    const int shares = ceil_div(q_len, SHARE_ROWS) * cut.group;
    return ceil_div(std::max(0, shares - hopper_shares_unseen(cut, q_len, kv_len)), cut.shares);
}

inline hopper_piece hopper_piece_of(const hopper_cut &cut, int kv_head, int q_len, int kv_len,
                                    int n) {
    const int shares = ceil_div(q_len, SHARE_ROWS) * cut.group;
    const int first = hopper_shares_unseen(cut, q_len, kv_len) + n * cut.shares;
    const int count = std::min(cut.shares, shares - first);
    const int queries = ((first + count - 1) / cut.group + 1) * SHARE_ROWS;
    const int seen = cut.bounded ? std::min(queries + kv_len - q_len + cut.behind, kv_len) : kv_len;
    const int begin = std::max(0, first / cut.group * SHARE_ROWS + kv_len - q_len - cut.before);
    const int first_key = begin / cut.align * cut.align;
    return {.kv_head = kv_head,
            .first_tile = 0,
            .end_tile = ceil_div(seen - first_key, TILE_KEYS),
            .shares = count,
            .query_tile = first / cut.group,
            .member = first % cut.group,
            .q_len = q_len,
            .kv_len = kv_len - first_key,
            .part = 0,
            .parts = 1,
            .slot = 0,
            .first_key = first_key};
}

/* Valid tokens of sequence b, by what the host has of lengths. */
inline hopper_lengths hopper_lengths_of(const struct attn_problem *p, const struct attn_call *call,
                                        int64_t b) {
    const auto at = [call](enum attn_slot slot, int64_t i) {
        return static_cast<const int32_t *>(call->tensors[slot].host)[i];
    };
    const int room = (int)p->q_len, q_len = p->traits & ATTN_QLENS ? at(ATTN_Q_LENS, b) : room;
    if (p->traits & ATTN_PAGE) {
        const int pages = at(ATTN_KV_PAGE_INDPTR, b + 1) - at(ATTN_KV_PAGE_INDPTR, b);
        const int before = (pages - 1) * (int)p->page_size;
        return {q_len, pages > 0 ? before + at(ATTN_KV_LAST_PAGE_LEN, b) : 0};
    }
    if (!(p->traits & ATTN_RAGGED)) return {q_len, (int)p->kv_len};
    const int valid = at(ATTN_SEQ_LENS, b);
    if (p->traits & ATTN_QLENS) return {q_len, valid};
    return {std::min(valid, room), std::min({valid, room, (int)p->kv_len})};
}

/* All pieces, undivided, in the order of kv heads. */
template <typename shape>
std::vector<hopper_piece> hopper_pieces(const struct attn_problem *p,
                                        const struct attn_call *call) {
    const hopper_cut cut = hopper_cut_of<shape>(p);
    std::vector<hopper_piece> pieces;
    for (int kv_head = 0; kv_head < (int)(p->batch * p->kv_heads); kv_head++) {
        const hopper_lengths length = hopper_lengths_of(p, call, kv_head / p->kv_heads);
        for (int n = 0; n < hopper_piece_count(cut, length.q, length.kv); n++)
            pieces.push_back(hopper_piece_of(cut, kv_head, length.q, length.kv, n));
    }
    return pieces;
}

/* Into how many parts of `length` tiles a piece is divided, the last of which may be shorter;
 * length 0: it is whole. */
inline int hopper_parts(int tiles, int length) {
    return length > 0 ? ceil_div(tiles, length) : 1;
}

/* In parts, and heaviest first; but whole pieces of kv heads whose keys and values would not stay
 * in L2 together come one group of kv heads after the other. */
inline std::vector<hopper_piece> hopper_order(const std::vector<hopper_piece> &pieces, int length,
                                              int heads_together) {
    std::vector<hopper_piece> ordered;
    int slots = 0;
    for (hopper_piece piece : pieces) {
        const int tiles = piece.end_tile;
        piece.parts = hopper_parts(tiles, length);
        piece.slot = slots;
        if (piece.parts > 1) slots += piece.parts;
        for (piece.part = 0; piece.part < piece.parts; piece.part++) {
            piece.first_tile = piece.part * length;
            piece.end_tile = piece.parts > 1 ? std::min(tiles, piece.first_tile + length) : tiles;
            ordered.push_back(piece);
        }
    }
    std::stable_sort(ordered.begin(), ordered.end(),
                     [length, heads_together](const hopper_piece &x, const hopper_piece &y) {
                         const int group_x = length > 0 ? 0 : x.kv_head / heads_together,
                                   group_y = length > 0 ? 0 : y.kv_head / heads_together;
                         return group_x != group_y
                                    ? group_x < group_y
                                    : x.end_tile - x.first_tile > y.end_tile - y.first_tile;
                     });
    return ordered;
}

/* When the last of `blocks` is done, if they take pieces one by one. */
inline double hopper_makespan(const std::vector<hopper_piece> &pieces, int blocks, bool pairs) {
    const hopper_costs cost;
    std::priority_queue<double, std::vector<double>, std::greater<double>> until;
    for (int n = 0; n < blocks; n++) until.push(0);
    double end = 0;
    for (const hopper_piece &piece : pieces) {
        const double done = until.top() + (piece.end_tile - piece.first_tile) + cost.piece +
                            hopper_joining(piece.parts, pairs);
        until.pop();
        until.push(done);
        end = std::max(end, done);
    }
    return end;
}

/* The order in which all blocks are done soonest, of pieces that are whole or in parts, `parts_max`
 * of these at most; it matters only where blocks have few pieces each. Lengths are tried a
 * hundredth apart: 48 pieces of 124 tiles keep 66 clusters busy as parts of 97 and 27, not as
 * halves. `end_of_all`: when that is. */
inline std::vector<hopper_piece> hopper_schedule(const std::vector<hopper_piece> &pieces,
                                                 int blocks, int parts_max, int heads_together,
                                                 bool pairs, double *end_of_all) {
    int most = 0;
    for (const hopper_piece &piece : pieces) most = std::max(most, piece.end_tile);
    std::vector<hopper_piece> best = hopper_order(pieces, 0, heads_together);
    double &soonest = *end_of_all = hopper_makespan(best, blocks, pairs);
    if ((int64_t)pieces.size() > 8 * (int64_t)blocks) return best;
    for (int length = most - 1; length >= std::max(4, most / 64);
         length -= std::max(1, most / 100)) {
        int parts = 0;
        for (const hopper_piece &piece : pieces) {
            const int n = hopper_parts(piece.end_tile, length);
            parts += n > 1 ? n : 0;
        }
        if (parts > parts_max) break;
        std::vector<hopper_piece> other = hopper_order(pieces, length, heads_together);
        const double end = hopper_makespan(other, blocks, pairs);
        if (end < soonest) {
            soonest = end;
            best = std::move(other);
        }
    }
    return best;
}

} // namespace attn

#endif
