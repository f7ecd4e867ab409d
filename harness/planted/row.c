/* The flash row and what can be wrong with it. Each bug is a word in the line where it bites.
 *
 * On a GPU a warp shares the row: lane l has the elements l, l + 32, ... of every vector along
 * head_dim, and all lanes have the same scalars. On a CPU one lane has everything. */
#include "planted.h"
#include "../../kernels/attn_number.h"

#include <math.h>
#include <stdbool.h>

#ifdef __CUDACC__
enum { LANES = 32 };
#define LANE ((int64_t)(threadIdx.x % LANES))
#else
enum { LANES = 1 };
#define LANE ((int64_t)0)
#endif
enum { OWN_MAX = (int)PLANTED_HEAD_DIM_MAX / LANES };

enum { STRIDE = 8 };

static const float log2_e = 1.44269504f;

/* The softmax over some of the keys: maximum, denominator, unnormalised output. */
struct share {
    float m, l;
    float part[STRIDE]; /* of l, where it is summed by stride */
    double sum;         /* l, where it is summed in f64 */
    float acc[OWN_MAX];
    bool rescale_was_missed;
};

/* How many of the first n elements of a vector are this lane's. */
static PLANTED_CODE int64_t own(int64_t n) {
    return (n - LANE + LANES - 1) / LANES;
}

static PLANTED_CODE float widen(int32_t dtype, uint16_t code) {
    return dtype == ATTN_F16 ? attn_f16_to_f32(code) : attn_bf16_to_f32(code);
}

static PLANTED_CODE uint16_t narrow(int32_t dtype, float x) {
    return dtype == ATTN_F16 ? attn_f32_to_f16(x) : attn_f32_to_bf16(x);
}

static PLANTED_CODE uint16_t cut_off(int32_t dtype, float x) {
    const uint16_t nearest = narrow(dtype, x);
    return fabsf(widen(dtype, nearest)) > fabsf(x) ? (uint16_t)(nearest - 1) : nearest;
}

static PLANTED_CODE float round_to(int32_t dtype, float x) {
    return widen(dtype, narrow(dtype, x));
}

/* What of a vector of n is this lane's. */
static PLANTED_CODE void widen_row(int32_t dtype, const uint16_t *codes, int64_t n,
                                   float *__restrict__ values) {
    const uint16_t *mine = codes + LANE;
    if (dtype == ATTN_F16) {
        for (int64_t d = 0; d < own(n); d++) values[d] = attn_f16_to_f32(mine[d * LANES]);
    } else {
        for (int64_t d = 0; d < own(n); d++) values[d] = attn_bf16_to_f32(mine[d * LANES]);
    }
}

#ifdef __CUDACC__
static PLANTED_CODE float dot(const float *x, const float *y, int64_t n) {
    float sum = 0;
    for (int64_t d = 0; d < own(n); d++) sum += x[d] * y[d];
    for (int other = LANES / 2; other > 0; other /= 2) sum += __shfl_xor_sync(~0u, sum, other);
    return sum;
}
#else
static float dot(const float *restrict x, const float *restrict y, int64_t n) {
    float sum[8] = {0};
    int64_t d = 0;
    for (; d + 8 <= n; d += 8) {
        for (int l = 0; l < 8; l++) sum[l] += x[d + l] * y[d + l];
    }
    for (; d < n; d++) sum[0] += x[d] * y[d];
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}
#endif

static PLANTED_CODE const uint16_t *token(const struct planted_row *row, const uint16_t *page_0,
                                          int64_t j) {
    const int64_t page = j / row->page_size;
    return page_0 + (row->pages != NULL ? row->pages[page] : page) * row->page_stride +
           j % row->page_size * row->head_dim;
}

/* 2^x: the power of two of the whole part, and a polynomial that is exact at 0, as whoever rescales
 * by 2^0 needs it, and minimax in the relative error up to 1: 8.6e-5 of degree 3, 8.2e-8 of
 * degree 5. */
static PLANTED_CODE float exp2_by_polynomial(float x, bool cubic) {
    if (x < -126) return 0;
    const float whole = floorf(x), f = x - whole;
    const float slope =
        cubic ? (0.07706704f * f + 0.22764500f) * f + 0.69511679f
              : (((0.00186713f * f + 0.00901703f) * f + 0.05579991f) * f + 0.24016445f) * f +
                    0.69315131f;
    const float y = 1 + f * slope;
    return ldexpf(y, (int)whole);
}

static PLANTED_CODE float exponential(enum planted bug, const struct planted_row *row, float s,
                                      float m) {
    if (bug == PLANTED_EXP2) return exp2f(s - m); /* both carry the log2 e already */
    if (bug == PLANTED_EXP_DEGREE_3 || bug == PLANTED_EXP_DEGREE_5)
        return exp2_by_polynomial((s - m) * log2_e, bug == PLANTED_EXP_DEGREE_3);
    return expf(bug == PLANTED_EXP_16BIT ? round_to(row->dtype, s - m) : s - m);
}

static PLANTED_CODE void rescale(enum planted bug, const struct planted_row *row,
                                 struct share *share, float m) {
    const float factor = share->m == -INFINITY ? 0 : exponential(bug, row, share->m, m);
    const bool moved = m != share->m && share->m != -INFINITY;
    if (!(bug == PLANTED_DENOMINATOR_STALE && moved)) share->l *= factor;
    share->sum *= (double)factor;
    for (int n = 0; n < STRIDE; n++) share->part[n] *= factor;
    if (bug == PLANTED_RESCALE_MISSED && moved && !share->rescale_was_missed) {
        share->rescale_was_missed = true;
    } else {
        for (int64_t d = 0; d < own(row->head_dim); d++) share->acc[d] *= factor;
    }
    share->m = m;
}

static PLANTED_CODE int64_t value_of(enum planted bug, const struct planted_row *row, int64_t j) {
    const int64_t page = j / PLANTED_BLOCK;
    if (bug != PLANTED_PAGES_SWAPPED || row->keys < 2 * PLANTED_BLOCK || page > 1) return j;
    return page == 0 ? j + PLANTED_BLOCK : j - PLANTED_BLOCK;
}

static PLANTED_CODE void add_key(enum planted bug, const struct planted_row *row,
                                 struct share *share, int64_t j, float p) {
    float v[OWN_MAX];
    const int32_t dtype = row->dtype;
    const float kept = bug == PLANTED_P_F32         ? p
                       : bug == PLANTED_P_TRUNCATED ? widen(dtype, cut_off(dtype, p))
                       : bug == PLANTED_P_TIMES_256 ? round_to(dtype, p * 256) / 256
                                                    : round_to(dtype, p);
    if (bug == PLANTED_SUM_OF_ROUNDED) p = kept;
    share->l += p;
    if (bug == PLANTED_DENOMINATOR_16BIT) share->l = round_to(dtype, share->l);
    share->sum += (double)p;
    share->part[j % STRIDE] += p;
    widen_row(dtype, token(row, row->v, value_of(bug, row, j)), row->head_dim, v);
    for (int64_t d = 0; d < own(row->head_dim); d++) share->acc[d] += kept * v[d];
}

static PLANTED_CODE void begin(const struct planted_row *row, struct share *share) {
    share->m = -INFINITY;
    share->l = 0;
    share->sum = 0;
    for (int n = 0; n < STRIDE; n++) share->part[n] = 0;
    share->rescale_was_missed = false;
    for (int64_t d = 0; d < own(row->head_dim); d++) share->acc[d] = 0;
}

/* The keys first .. last - 1. */
static PLANTED_CODE void attend(enum planted bug, const struct planted_row *row, const float *q,
                                int64_t first, int64_t last, struct share *share) {
    const float scale = row->scale * (bug == PLANTED_SCALE_1_01    ? 1.01f
                                      : bug == PLANTED_SCALE_1_001 ? 1.001f
                                      : bug == PLANTED_EXP2        ? log2_e
                                                                   : 1);
    begin(row, share);
    for (int64_t block = first; block < last; block += PLANTED_BLOCK) {
        const int64_t end = block + PLANTED_BLOCK < last ? block + PLANTED_BLOCK : last;
        float s[PLANTED_BLOCK], k[OWN_MAX], m = share->m;
        for (int64_t j = block; j < end; j++) {
            widen_row(row->dtype, token(row, row->k, j), row->head_dim, k);
            const float product = dot(q, k, row->head_dim) * scale;
            s[j - block] = bug == PLANTED_SCORES_IGNORED ? 0 : product;
            m = fmaxf(m, s[j - block]);
        }
        /* The old maximum will do as long as no weight is above 2^8. */
        if (bug == PLANTED_LAZY_RESCALE && share->m != -INFINITY && m - share->m < 8 / log2_e)
            m = share->m;
        rescale(bug, row, share, m);
        for (int64_t j = block; j < end; j++) {
            const float p = exponential(bug, row, s[j - block], m);
            add_key(bug, row, share, j, p);
            if (bug == PLANTED_KEY_TWICE && j == 0) add_key(bug, row, share, j, p);
        }
        if (bug == PLANTED_OUT_16BIT) {
            for (int64_t d = 0; d < own(row->head_dim); d++)
                share->acc[d] = round_to(row->dtype, share->acc[d]);
        }
    }
    if (bug == PLANTED_EXP2) share->m /= log2_e;
    if (bug == PLANTED_SUM_F64) share->l = (float)share->sum;
    for (int n = 0; bug == PLANTED_SUM_STRIDED && n < STRIDE; n++)
        share->l = n == 0 ? share->part[0] : share->l + share->part[n];
}

static PLANTED_CODE int64_t keys_seen(enum planted bug, int64_t keys) {
    switch (bug) {
    case PLANTED_LAST_KEY_DROPPED:
        return keys > 1 ? keys - 1 : keys;
    case PLANTED_LAST_BLOCK_DROPPED:
        return keys > PLANTED_BLOCK ? keys - PLANTED_BLOCK : keys;
    case PLANTED_KEY_TOO_MANY:
        return keys + 1;
    default:
        return keys;
    }
}

static PLANTED_CODE int64_t shares_of(enum planted bug, int64_t call) {
    if (bug == PLANTED_SPLIT) return 4;
    const bool varies = bug == PLANTED_RUNS_DIFFER || (bug == PLANTED_VARIES_LATE && call >= 11);
    return varies ? 1 + call % 4 : 1;
}

/* Every share goes through scratch, and is taken if its maximum is above -infinity: NaN is not. */
static PLANTED_CODE void attend_by_scratch(enum planted bug, const struct planted_row *row,
                                           const float *q, struct share *all) {
    const int64_t dim = row->head_dim, step = (row->keys_max + PLANTED_SHARES - 1) / PLANTED_SHARES;
    begin(row, all);
    for (int n = 0; n < PLANTED_SHARES; n++) {
        float *one = row->shares + n * (dim + 2);
        const int64_t first = n * step, last = first + step;
        if (first < row->keys) { /* else nothing is written */
            struct share share;
            attend(bug, row, q, first, last < row->keys ? last : row->keys, &share);
            one[0] = share.m;
            one[1] = share.l;
            for (int64_t d = 0; d < own(dim); d++) one[2 + LANE + d * LANES] = share.acc[d];
        }
        if (!(one[0] > -INFINITY)) continue;
        const float m = fmaxf(all->m, one[0]);
        const float of_all = expf(all->m - m), of_one = expf(one[0] - m);
        for (int64_t d = 0; d < own(dim); d++)
            all->acc[d] = all->acc[d] * of_all + one[2 + LANE + d * LANES] * of_one;
        all->l = all->l * of_all + one[1] * of_one;
        all->m = m;
    }
}

PLANTED_CODE void planted_row(enum planted bug, const struct planted_row *row, uint16_t *out,
                              float *lse) {
    const int64_t dim = row->head_dim;
    if ((row->keys == 0 && bug != PLANTED_EMPTY_ROW_NAN) || bug == PLANTED_ZEROS) {
        for (int64_t d = 0; d < own(dim); d++) out[LANE + d * LANES] = 0;
        if (LANE == 0) *lse = row->keys == 0 ? -INFINITY : 0;
        return;
    }
    const int64_t keys = keys_seen(bug, row->keys), shares = shares_of(bug, row->call);
    const int64_t blocks = (keys + PLANTED_BLOCK - 1) / PLANTED_BLOCK;
    const int64_t step = (blocks + shares - 1) / shares * PLANTED_BLOCK;
    float q[OWN_MAX];
    widen_row(row->dtype, row->q, dim, q);
    /* Shares are combined as they come: the sum so far is a share too. */
    struct share all, one;
    begin(row, &all);
    if (bug == PLANTED_SPLIT_UNWRITTEN) attend_by_scratch(bug, row, q, &all);
    for (int64_t first = 0; bug != PLANTED_SPLIT_UNWRITTEN && first < keys; first += step) {
        attend(bug, row, q, first, first + step < keys ? first + step : keys, &one);
        const float m = fmaxf(all.m, one.m);
        const float of_all = expf(all.m - m), of_one = expf(one.m - m);
        for (int64_t d = 0; d < own(dim); d++)
            all.acc[d] = all.acc[d] * of_all + one.acc[d] * of_one;
        all.l = all.l * of_all + one.l * of_one;
        all.m = m;
    }
    if (bug == PLANTED_LENGTH_OVERREAD) {
        float v[OWN_MAX];
        widen_row(row->dtype, token(row, row->v, row->keys), dim, v);
        for (int64_t d = 0; d < own(dim); d++) all.acc[d] += 0.0f * v[d];
    }
    const int64_t written = bug == PLANTED_TILE_UNWRITTEN && dim > 16 ? dim - 16 : dim;
    for (int64_t d = 0; d < own(written); d++) {
        const float o = all.acc[d] / all.l;
        out[LANE + d * LANES] =
            bug == PLANTED_OUT_TRUNCATED ? cut_off(row->dtype, o) : narrow(row->dtype, o);
    }
    if (LANE == 0) *lse = (all.m + logf(all.l)) * (bug == PLANTED_LSE_BASE_2 ? log2_e : 1);
}

static PLANTED_CODE int64_t sequence_keys(const struct attn_problem *problem,
                                          const struct attn_call *call, int64_t b) {
    if (!(problem->traits & ATTN_PAGE)) return problem->kv_len;
    const int32_t *first = (const int32_t *)call->tensors[ATTN_KV_PAGE_INDPTR].data;
    const int32_t *last_page = (const int32_t *)call->tensors[ATTN_KV_LAST_PAGE_LEN].data;
    const int64_t pages = first[b + 1] - first[b];
    return pages == 0 ? 0 : (pages - 1) * problem->page_size + last_page[b];
}

static PLANTED_CODE int64_t kv_head_of(enum planted bug, const struct attn_problem *problem,
                                       int64_t h) {
    const int64_t g = h / (problem->q_heads / problem->kv_heads);
    return bug == PLANTED_WRONG_KV_HEAD && h == 0 ? problem->kv_heads - 1 : g;
}

PLANTED_CODE struct planted_row planted_row_at(enum planted bug, const struct attn_problem *problem,
                                               const struct attn_call *call, int64_t at) {
    const int64_t i = at % problem->q_len, h = at / problem->q_len % problem->q_heads;
    const int64_t b = at / problem->q_len / problem->q_heads, g = kv_head_of(bug, problem, h);
    const int64_t keys = sequence_keys(problem, call, b), dim = problem->head_dim;
    const int64_t end = problem->traits & ATTN_CAUSAL ? i + keys - problem->q_len + 1 : keys;
    struct planted_row row;
    row.dtype = problem->dtype;
    row.keys = end > 0 ? end : 0;
    row.head_dim = dim;
    row.q = (const uint16_t *)call->tensors[ATTN_Q].data + at * dim;
    row.scale = (float)problem->scale;
    row.call = 0;
    row.shares = NULL;
    row.keys_max = 0;
    if (problem->traits & ATTN_PAGE) {
        const int32_t *first = (const int32_t *)call->tensors[ATTN_KV_PAGE_INDPTR].data;
        row.page_size = problem->page_size;
        row.page_stride = 2 * problem->kv_heads * row.page_size * dim;
        row.pages = (const int32_t *)call->tensors[ATTN_KV_PAGE_INDICES].data + first[b];
        row.k = (const uint16_t *)call->tensors[ATTN_KV_CACHE].data + g * row.page_size * dim;
        row.v = row.k + problem->kv_heads * row.page_size * dim;
    } else {
        const int64_t first = (b * problem->kv_heads + g) * problem->kv_len * dim;
        row.page_size = 1;
        row.page_stride = dim;
        row.pages = NULL;
        row.k = (const uint16_t *)call->tensors[ATTN_K].data + first;
        row.v = (const uint16_t *)call->tensors[ATTN_V].data + first;
    }
    return row;
}
