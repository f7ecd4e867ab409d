/* Where a row's query, keys and values lie, how many keys it sees, and what can be wrong with that:
 * each bug is a case where it bites. */
#include "planted.h"
#include "../../kernels/attn_number.h"

#include <math.h>
#include <stdbool.h>

static PLANTED_CODE const int32_t *table(const struct attn_call *call, enum attn_slot slot) {
    return (const int32_t *)call->tensors[slot].data;
}

/* Which sequence's table of pages, or keys and values, sequence b reads. */
static PLANTED_CODE int64_t table_of(enum planted bug, const struct attn_problem *problem,
                                     int64_t b) {
    switch (bug) {
    case PLANTED_TABLE_OF_FIRST:
    case PLANTED_BATCH_IGNORED:
        return 0;
    case PLANTED_TABLE_OF_NEXT:
        return (b + 1) % problem->batch;
    default:
        return b;
    }
}

static PLANTED_CODE int64_t length_of(enum planted bug, int64_t b) {
    switch (bug) {
    case PLANTED_LENGTH_OF_FIRST:
        return 0;
    case PLANTED_LENGTH_OF_BEFORE:
        return b > 0 ? b - 1 : 0;
    default:
        return b;
    }
}

static PLANTED_CODE int64_t paged_keys(enum planted bug, const struct attn_problem *problem,
                                       const struct attn_call *call, int64_t b) {
    const int32_t *first = table(call, ATTN_KV_PAGE_INDPTR);
    const int64_t pages = first[b + 1] - first[b], page = problem->page_size;
    const int64_t last = table(call, ATTN_KV_LAST_PAGE_LEN)[b];
    if (pages == 0) return 0;
    return (pages - 1) * page + (bug == PLANTED_LAST_PAGE_FULL     ? page
                                 : bug == PLANTED_LAST_PAGE_MODULO ? last % page
                                                                   : last);
}

static PLANTED_CODE int64_t sequence_keys(enum planted bug, const struct attn_problem *problem,
                                          const struct attn_call *call, int64_t of) {
    const int64_t b = length_of(bug, of);
    if (!(problem->traits & ATTN_RAGGED) || bug == PLANTED_LENGTHS_IGNORED) return problem->kv_len;
    if (problem->traits & ATTN_PAGE) {
        /* No more than its own pages hold: beyond them any number may stand. */
        const int32_t *first = table(call, ATTN_KV_PAGE_INDPTR);
        const int64_t keys = paged_keys(bug, problem, call, b),
                      room = (first[of + 1] - first[of]) * problem->page_size;
        return keys < room ? keys : room;
    }
    return table(call, ATTN_SEQ_LENS)[b];
}

static PLANTED_CODE int64_t sequence_queries(enum planted bug, const struct attn_problem *problem,
                                             const struct attn_call *call, int64_t b) {
    const bool ragged = problem->traits & ATTN_RAGGED && !(problem->traits & ATTN_PAGE);
    if (problem->traits & ATTN_QLENS)
        return bug == PLANTED_QLENS_IGNORED ? problem->q_len : table(call, ATTN_Q_LENS)[b];
    return ragged && problem->q_len == problem->kv_len ? table(call, ATTN_SEQ_LENS)[b]
                                                       : problem->q_len;
}

/* How many of `keys` keys query i of `queries` sees. */
static PLANTED_CODE int64_t seen(enum planted bug, const struct attn_problem *problem, int64_t i,
                                 int64_t queries, int64_t keys) {
    const bool causal = problem->traits & ATTN_CAUSAL;
    int64_t end = causal || bug == PLANTED_CAUSAL_UNASKED ? i + keys - queries + 1 : keys;
    switch (bug) {
    case PLANTED_CAUSAL_TOP_LEFT:
    case PLANTED_CHUNK_TOP_LEFT:
        end = i + 1;
        break;
    case PLANTED_CHUNK_BEHIND:
        return end + queries; /* whoever plants it sees to it that there are pages */
    case PLANTED_CAUSAL_LEFT_OUT:
        end = keys;
        break;
    case PLANTED_DIAGONAL_HIDDEN:
        end--;
        break;
    case PLANTED_DIAGONAL_BEHIND:
        end++;
        break;
    case PLANTED_CAUSAL_BY_TILES:
        end = (end + PLANTED_BLOCK - 1) / PLANTED_BLOCK * PLANTED_BLOCK;
        break;
    default:
        break;
    }
    return end < 0 ? 0 : end < keys ? end : keys;
}

/* The window: of tokens *first .. *end - 1 those near the diagonal. */
static PLANTED_CODE void look_near(enum planted bug, const struct attn_problem *problem,
                                   int64_t place, int64_t *first, int64_t *end) {
    int64_t from = place - problem->window_left, to = place + problem->window_right + 1;
    if (!(problem->traits & ATTN_WINDOW) || bug == PLANTED_WINDOW_LEFT_OUT) return;
    switch (bug) {
    case PLANTED_WINDOW_KEY_MORE:
        from--;
        break;
    case PLANTED_WINDOW_KEY_FEWER:
        from++;
        break;
    case PLANTED_WINDOW_KEY_BEHIND:
        to++;
        break;
    case PLANTED_WINDOW_ONE_SIDED:
        to = place + 1;
        break;
    case PLANTED_WINDOW_BY_TILES:
        from = from < 0 ? 0 : from / PLANTED_BLOCK * PLANTED_BLOCK;
        break;
    default:
        break;
    }
    *first = from > 0 ? from : 0;
    *end = to < *end ? to : *end;
}

static PLANTED_CODE int64_t kv_head_of(enum planted bug, const struct attn_problem *problem,
                                       int64_t h) {
    switch (bug) {
    case PLANTED_WRONG_KV_HEAD:
        if (h == 0) return problem->kv_heads - 1;
        break;
    case PLANTED_KV_HEAD_MODULO:
        return h % problem->kv_heads;
    case PLANTED_GROUP_OF_8:
        return h / 8;
    default:
        break;
    }
    return h / (problem->q_heads / problem->kv_heads);
}

/* Whose row is written at (h, i): everything of it is that one's. */
static PLANTED_CODE void shift(enum planted bug, const struct attn_problem *problem, int64_t *h,
                               int64_t *i) {
    if (bug == PLANTED_HEADS_SHIFTED) *h = (*h + 1) % problem->q_heads;
    if (bug == PLANTED_QUERIES_SHIFTED && *i + 1 < problem->q_len) ++*i;
}

static PLANTED_CODE int64_t query_of(enum planted bug, const struct attn_problem *problem,
                                     int64_t i) {
    if (bug == PLANTED_QUERY_MODULO_128) return i % 128;
    if (bug == PLANTED_QUERY_OF_WARP_OFF && i % 64 >= 48 && i + 1 < problem->q_len) return i + 1;
    return i;
}

/* Element (x, y, 0, ...). */
static PLANTED_CODE const void *element(const struct attn_tensor *tensor, int64_t x, int64_t y) {
    return (const char *)tensor->data +
           (x * tensor->stride[0] + y * tensor->stride[1]) * attn_dtype_bytes(tensor->dtype);
}

/* From a token to the next. */
static PLANTED_CODE int64_t step_of(const struct attn_tensor *tensor) {
    return tensor->stride[tensor->rank == 3 ? 0 : tensor->rank - 2];
}

/* Keys and values in tensors of their own, from sequence, page or, packed, token x on; or values
 * that are part of keys. */
static PLANTED_CODE void find_apart(const struct attn_problem *problem,
                                    const struct attn_call *call, int64_t x, int64_t g,
                                    struct planted_row *row) {
    const struct attn_tensor *k = &call->tensors[ATTN_K];
    const struct attn_tensor *v = problem->traits & ATTN_KSHARED ? k : &call->tensors[ATTN_V];
    row->key_step = step_of(k);
    row->value_step = step_of(v);
    row->page_stride = k->stride[0];
    row->value_page_stride = v->stride[0];
    row->stored = k->dtype;
    row->k = element(k, x, g);
    row->v = element(v, x, g);
}

static PLANTED_CODE void misplace_pages(enum planted bug, const struct attn_problem *problem,
                                        const struct attn_call *call, int64_t g,
                                        struct planted_row *row) {
    const struct attn_tensor *k = &call->tensors[ATTN_K];
    if (bug == PLANTED_PAGE_STRIDE_IGNORED)
        row->page_stride = problem->page_size * problem->kv_heads * problem->head_dim;
    if (bug != PLANTED_HEADS_FOR_ROWS) return;
    row->key_step = row->value_step = k->stride[1];
    const int64_t head = problem->page_size * k->stride[1], bytes = attn_dtype_bytes(k->dtype);
    row->k = (const char *)k->data + g * head * bytes;
    row->v = (const char *)call->tensors[ATTN_V].data + g * head * bytes;
}

static PLANTED_CODE void find_pages(enum planted bug, const struct attn_problem *problem,
                                    const struct attn_call *call, int64_t b, int64_t g,
                                    struct planted_row *row) {
    const int32_t *first = table(call, ATTN_KV_PAGE_INDPTR);
    const struct attn_tensor *cache = &call->tensors[ATTN_KV_CACHE];
    row->page_size = problem->page_size;
    row->pages = table(call, ATTN_KV_PAGE_INDICES) + first[table_of(bug, problem, b)];
    if (cache->data == NULL) {
        find_apart(problem, call, 0, g, row);
        misplace_pages(bug, problem, call, g, row);
        return;
    }
    const int64_t bytes = attn_dtype_bytes(cache->dtype);
    row->page_stride = row->value_page_stride = cache->stride[0];
    row->key_step = row->value_step = cache->stride[3];
    row->stored = cache->dtype;
    int64_t head = cache->stride[2];
    if (bug == PLANTED_HEADS_FOR_ROWS) {
        head = problem->head_dim;
        row->key_step = row->value_step = problem->kv_heads * head;
    }
    row->k = (const char *)cache->data + g * head * bytes;
    row->v = (const char *)row->k + cache->stride[1] * bytes;
}

static PLANTED_CODE void find_rows(enum planted bug, const struct attn_problem *problem,
                                   const struct attn_call *call, int64_t b, int64_t g,
                                   struct planted_row *row) {
    const int64_t of = table_of(bug, problem, b);
    const int32_t *begin =
        table(call, bug == PLANTED_KEYS_BY_QUERIES ? ATTN_CU_SEQLENS_Q : ATTN_CU_SEQLENS_KV);
    if (bug == PLANTED_BATCH_STRIDE)
        find_apart(problem, call, 0, of + g, row);
    else
        find_apart(problem, call, begin != NULL ? begin[of] : of, g, row);
    if (bug == PLANTED_VALUES_AS_WIDE) {
        row->value_step = problem->head_dim;
        row->v = (const char *)call->tensors[ATTN_V].data +
                 (of * problem->kv_heads + g) * problem->kv_len * problem->head_dim *
                     attn_dtype_bytes(row->stored);
    }
    if (bug == PLANTED_BASE_ROUNDED) row->k = (const void *)((uintptr_t)row->k & ~(uintptr_t)63);
    row->page_size = 1;
    row->page_stride = row->key_step;
    row->value_page_stride = row->value_step;
    row->pages = NULL;
}

static PLANTED_CODE void find_scales(enum planted bug, const struct attn_problem *problem,
                                     const struct attn_call *call, int64_t b, int64_t h, int64_t g,
                                     struct planted_row *row) {
    const float *k = (const float *)call->tensors[ATTN_K_SCALE].data;
    const bool shared = problem->traits & ATTN_KSHARED; /* a value has its key's */
    const float *v = (const float *)call->tensors[shared ? ATTN_K_SCALE : ATTN_V_SCALE].data;
    const bool of_page = problem->traits & ATTN_PAGE, of_token = problem->traits & ATTN_KV_TOKEN;
    const int64_t tokens = of_page ? problem->page_size : problem->kv_len;
    if (!(problem->traits & (ATTN_KV_E4M3 | ATTN_KV_INT8))) return;
    if (bug == PLANTED_SCALE_OF_FIRST_HEAD) g = 0;
    if (bug == PLANTED_SCALE_OF_QUERY_HEAD) g = h % problem->kv_heads;
    int64_t at = problem->traits & ATTN_KV_HEAD ? g : 0;
    if (of_token) at = ((of_page ? 0 : b * problem->kv_heads) + g) * tokens;
    row->k_scale = (bug == PLANTED_SCALES_SWAPPED ? v : k) + at;
    row->v_scale = (bug == PLANTED_SCALES_SWAPPED ? k : v) + at;
    if (!of_token) return;
    row->scale_page = of_page ? problem->kv_heads * tokens : 1;
    row->scale_row = 1;
}

/* Which list of its sequence query i of head h reads. */
static PLANTED_CODE int64_t list_of(enum planted bug, const struct attn_problem *problem, int64_t h,
                                    int64_t i) {
    const int64_t kv_heads = problem->kv_heads;
    int64_t head = bug == PLANTED_LIST_OF_FIRST_HEAD ? 0 : h;
    if (problem->traits & ATTN_KEEP_GROUP) {
        head /= problem->q_heads / kv_heads;
        if (bug == PLANTED_LIST_MODULO) head = h % kv_heads;
        if (bug == PLANTED_LIST_OF_NEXT) head = (head + 1) % kv_heads;
    }
    if (bug == PLANTED_LIST_BEFORE && i > 0) i--;
    if (bug == PLANTED_LIST_FOR_ALL) i = 0;
    return head * problem->q_len + i;
}

/* The kept list, and how many of it are taken. */
static PLANTED_CODE void find_list(enum planted bug, const struct attn_problem *problem,
                                   const struct attn_call *call, int64_t b, int64_t h, int64_t i,
                                   struct planted_row *row) {
    const int64_t heads = problem->traits & ATTN_KEEP_GROUP ? problem->kv_heads : problem->q_heads,
                  at = b * heads * problem->q_len + list_of(bug, problem, h, i),
                  room = problem->kept_max;
    if (!(problem->traits & ATTN_KEEP) || bug == PLANTED_LIST_IGNORED) return;
    row->first = 0;
    row->list = table(call, ATTN_SPARSE_IND) + at * room;
    row->keys = table(call, ATTN_SPARSE_NNZ)[at];
    switch (bug) {
    case PLANTED_LIST_ENTRY_DROPPED:
        if (row->keys > 1) row->keys--;
        break;
    case PLANTED_LIST_PADDING:
        row->keys = (row->keys + 15) / 16 * 16;
        row->keys = row->keys < room ? row->keys : room;
        break;
    case PLANTED_LIST_ASCENDING:
        for (int64_t n = 1; n < row->keys; n++) {
            if (row->list[n] < row->list[n - 1]) row->keys = n;
        }
        break;
    default:
        break;
    }
}

static PLANTED_CODE void find_hashes(enum planted bug, const struct attn_problem *problem,
                                     const struct attn_call *call, int64_t b, int64_t h,
                                     struct planted_row *row) {
    const int64_t at = b * problem->q_heads + (bug == PLANTED_LSH_OF_FIRST_HEAD ? 0 : h);
    if (!(problem->traits & ATTN_MAGICPIG) || bug == PLANTED_CORRECTION_LEFT_OUT) return;
    row->lsh_k = ((const float *)call->tensors[ATTN_LSH_K].data)[at];
    row->lsh_l = ((const float *)call->tensors[ATTN_LSH_L].data)[at];
    if (bug == PLANTED_LSH_K_IGNORED) row->lsh_k = 1;
    if (bug == PLANTED_LSH_L_LESS_1) row->lsh_l -= 1;
    row->corrected = true;
}

static PLANTED_CODE void find_bias(enum planted bug, const struct attn_problem *problem,
                                   const struct attn_call *call, int64_t b, int64_t h, int64_t i,
                                   struct planted_row *row) {
    const int64_t of = problem->bias_batch > 1 && bug != PLANTED_BIAS_OF_FIRST ? b : 0;
    const int64_t head = problem->bias_heads > 1 && bug != PLANTED_BIAS_OF_FIRST_HEAD ? h : 0;
    const int64_t first = (of * problem->bias_heads + head) * problem->q_len * problem->kv_len;
    if (!(problem->traits & ATTN_BIASED) || bug == PLANTED_BIAS_LEFT_OUT) return;
    row->bias = (const float *)call->tensors[ATTN_BIAS].data + first;
    row->bias_step = 1;
    if (bug == PLANTED_BIAS_TRANSPOSED)
        row->bias += i, row->bias_step = problem->kv_len;
    else
        row->bias += i * problem->kv_len;
}

PLANTED_CODE void *planted_row_of(const struct attn_call *call, enum attn_slot slot, int64_t b,
                                  int64_t h, int64_t i) {
    const struct attn_tensor *tensor = &call->tensors[slot];
    const int64_t *stride = tensor->stride;
    const int32_t *begin = table(call, ATTN_CU_SEQLENS_Q);
    const int64_t at = begin != NULL ? (begin[b] + i) * stride[0] + h * stride[1]
                                     : b * stride[0] + h * stride[1] + i * stride[2];
    return (char *)tensor->data + at * attn_dtype_bytes(tensor->dtype);
}

PLANTED_CODE struct planted_row planted_row_at(enum planted bug, const struct attn_problem *problem,
                                               const struct attn_call *call, int64_t at) {
    int64_t i = at % problem->q_len, h = at / problem->q_len % problem->q_heads;
    const int64_t b = at / problem->q_len / problem->q_heads;
    shift(bug, problem, &h, &i);
    const int64_t g = kv_head_of(bug, problem, h), keys = sequence_keys(bug, problem, call, b);
    const int64_t queries = sequence_queries(bug, problem, call, b), dim = problem->head_dim;
    const int64_t from = query_of(bug, problem, i);
    struct planted_row row = {0};
    row.dtype = problem->dtype;
    if (i < queries) {
        const int64_t place = i + (bug == PLANTED_WINDOW_TOP_LEFT ? 0 : keys - queries);
        int64_t end = seen(bug, problem, i, queries, keys);
        look_near(bug, problem, place, &row.first, &end);
        row.keys = end > row.first ? end - row.first : 0;
        row.seen = row.keys;
        if (bug == PLANTED_SOFTCAP_MASK && end > 0) row.keys = keys;
    }
    row.softcap = (float)problem->softcap;
    if (problem->traits & ATTN_ALIBI && bug != PLANTED_ALIBI_LEFT_OUT) {
        const float *slopes = (const float *)call->tensors[ATTN_SLOPES].data;
        row.slope = slopes[bug == PLANTED_SLOPE_OF_KV_HEAD ? g : h];
        if (bug == PLANTED_ALIBI_SIGN) row.slope = -row.slope;
        row.place = i + keys - queries;
    }
    find_bias(bug, problem, call, b, h, i, &row);
    row.sink = -INFINITY;
    if (problem->traits & ATTN_SINK)
        row.sink =
            ((const float *)call->tensors[ATTN_SINKS].data)[bug == PLANTED_SINK_OF_KV_HEAD ? g : h];
    row.head_dim = row.key_step = row.value_step = dim;
    row.value_dim = problem->value_dim;
    row.q = (const uint16_t *)planted_row_of(call, ATTN_Q, b, h, from);
    row.scale = (float)problem->scale;
    if (problem->traits & ATTN_PAGE)
        find_pages(bug, problem, call, b, g, &row);
    else
        find_rows(bug, problem, call, b, g, &row);
    find_scales(bug, problem, call, b, h, g, &row);
    row.out_scale = (const float *)call->tensors[ATTN_OUT_SCALE].data;
    find_list(bug, problem, call, b, h, i, &row);
    find_hashes(bug, problem, call, b, h, &row);
    const void *k = row.k;
    if (bug == PLANTED_KEYS_FOR_VALUES) row.k = row.v;
    if (bug == PLANTED_KEYS_FOR_VALUES || bug == PLANTED_KEYS_TWICE) row.v = k;
    if (bug == PLANTED_KEY_TAILS)
        row.v = (const char *)row.v + (dim - problem->value_dim) * attn_dtype_bytes(row.stored);
    return row;
}
