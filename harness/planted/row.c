/* The flash row and what can be wrong with its arithmetic. Each bug is a word, or a case, where it
 * bites.
 *
 * On a GPU a warp shares the row: lane l has the elements l, l + 32, ... of every vector along
 * head_dim or value_dim, and all lanes have the same scalars. On a CPU one lane has everything. */
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

enum { STRIDE = 8, LEVELS = 24 };

static const float log2_e = 1.44269504f;

/* The softmax over some of the keys: maximum, denominator, unnormalised output. */
struct share {
    float m, l;
    /* Of l: where it is summed by stride, of every eighth key; where in pairs, of 2^n blocks. */
    float part[LEVELS];
    int64_t blocks; /* so far, where it is summed in pairs */
    double sum;     /* l, where it is summed in f64 */
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

/* Of those of 8 bits; E5M2 is f16 cut off. */
static PLANTED_CODE float widen_byte(enum planted bug, int32_t stored, uint8_t code) {
    if (stored == ATTN_I8) return (float)(int8_t)code;
    if (bug == PLANTED_E5M2) return attn_f16_to_f32((uint16_t)(code << 8));
    return attn_e4m3_to_f32(code);
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

/* What of token t, among the keys or the values, is this lane's. */
static PLANTED_CODE void widen_token(enum planted bug, const struct planted_row *row, bool value,
                                     int64_t t, float *values) {
    int64_t page = t / row->page_size, at = t % row->page_size;
    switch (bug) {
    case PLANTED_PAGE_BEFORE:
        if (at == 0 && t > 0) page--;
        break;
    case PLANTED_PAGE_BEHIND:
        if (at == row->page_size - 1 && t + 1 < row->keys) page++;
        break;
    case PLANTED_PAGE_OF_16:
        at %= 16;
        break;
    default:
        break;
    }
    const int64_t n = row->pages != NULL ? row->pages[page] : page;
    const int64_t stride = value ? row->value_page_stride : row->page_stride;
    const int64_t dim = value ? row->value_dim : row->head_dim;
    const int64_t first = n * stride + at * (value ? row->value_step : row->key_step);
    const void *codes = value ? row->v : row->k;
    if (row->k_scale == NULL) {
        widen_row(row->dtype, (const uint16_t *)codes + first, dim, values);
        return;
    }
    const uint8_t *mine = (const uint8_t *)codes + first + LANE;
    const int64_t scaled = bug == PLANTED_SCALE_PAGE_BEFORE && page > 0 && row->pages != NULL
                               ? row->pages[page - 1]
                               : n;
    float scale =
        (value ? row->v_scale : row->k_scale)[scaled * row->scale_page + at * row->scale_row];
    if (bug == PLANTED_V_SCALE_LEFT_OUT && value) scale = 1;
    for (int64_t d = 0; d < own(dim); d++)
        values[d] = scale * widen_byte(bug, row->stored, mine[d * LANES]);
}

/* Which token key j is. */
static PLANTED_CODE int64_t token_of(enum planted bug, const struct planted_row *row, int64_t j) {
    if (bug == PLANTED_INDEX_OF_15_BITS) j &= 0x7fff;
    if (row->list == NULL) return row->first + j;
    return row->list[j] < 0 ? 0 : row->list[j];
}

static PLANTED_CODE void widen_key(enum planted bug, const struct planted_row *row, int64_t j,
                                   float *k) {
    widen_token(bug, row, false, token_of(bug, row, j), k);
}

static PLANTED_CODE void widen_value(enum planted bug, const struct planted_row *row, int64_t j,
                                     float *v) {
    const int64_t page = j / PLANTED_BLOCK;
    if (bug == PLANTED_VALUE_BEFORE && j > 0) j--;
    if (bug == PLANTED_PAGES_SWAPPED && row->keys >= 2 * PLANTED_BLOCK && page <= 1)
        j = page == 0 ? j + PLANTED_BLOCK : j - PLANTED_BLOCK;
    widen_token(bug, row, true, token_of(bug, row, j), v);
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
    switch (bug) {
    case PLANTED_EXP2: /* both carry the log2 e already */
    case PLANTED_LOG2_E_MISSING:
        return exp2f(s - m);
    case PLANTED_EXP_DEGREE_3:
    case PLANTED_EXP_DEGREE_5:
        return exp2_by_polynomial((s - m) * log2_e, bug == PLANTED_EXP_DEGREE_3);
    case PLANTED_EXP_16BIT:
        return expf(round_to(row->dtype, s - m));
    default:
        return expf(s - m);
    }
}

static PLANTED_CODE float scale_of(enum planted bug, const struct planted_row *row) {
    switch (bug) {
    case PLANTED_SCALE_1_01:
        return row->scale * 1.01f;
    case PLANTED_SCALE_1_001:
        return row->scale * 1.001f;
    case PLANTED_EXP2:
    case PLANTED_LOG2_E_TWICE:
        return row->scale * log2_e;
    case PLANTED_UNSCALED:
        return 1;
    case PLANTED_SCALED_TWICE:
        return row->scale * row->scale;
    case PLANTED_SCALE_OF_64:
        return 0.125f;
    case PLANTED_SCALE_OF_KEYS:
        return 1 / sqrtf((float)row->head_dim);
    case PLANTED_SCALE_OF_VALUES:
        return 1 / sqrtf((float)row->value_dim);
    default:
        return row->scale;
    }
}

/* log1p(z) - z: 2 atanh(s) less z, for s = z / (2 + z). */
static PLANTED_CODE float log1p_less_z(float z) {
    if (fabsf(z) >= 0.5f) return log1pf(z) - z;
    const float s = z / (2 + z), s2 = s * s;
    float series = 0;
    for (int n = 15; n >= 3; n -= 2) series = series * s2 + 2.0f / (float)n;
    return s * (s2 * series - z);
}

/* u of attn.h, of x = p^K and L. */
static PLANTED_CODE double chance(enum planted bug, double x, double l) {
    const float x32 = (float)x, l32 = (float)l;
    switch (bug) {
    case PLANTED_MAGICPIG_F32:
        return -expm1f((l32 - 1) * log1p_less_z(-x32) + log1p_less_z((l32 - 1) * x32));
    case PLANTED_CHANCE_IN_F32:
        return -expm1f((l32 - 1) * log1pf(-x32) + log1pf((l32 - 1) * x32));
    case PLANTED_CHANCE_CANCELS:
        return 1 - powf(1 - x32, l32) - l32 * x32 * powf(1 - x32, l32 - 1);
    default:
        return -expm1((l - 1) * log1p(-x) + log1p((l - 1) * x));
    }
}

/* log u: what MagicPIG takes off the logit of a key. */
static PLANTED_CODE float correction(enum planted bug, const struct planted_row *row,
                                     const float *q, const float *k, float product) {
    const double q_norm = sqrt((double)dot(q, q, row->head_dim)),
                 k_norm = sqrt((double)dot(k, k, row->head_dim));
    const double limit = 1 - 1e-7, pi = 3.14159265358979323846;
    double c = (double)product / (q_norm * k_norm + (bug == PLANTED_EPSILON_MISSING ? 0 : 1e-8));
    c = c > limit ? limit : c < -limit ? -limit : c; /* NaN stays */
    const double x = pow(1 - acos(c) / pi, (double)row->lsh_k);
    const double u = chance(bug, x, (double)row->lsh_l);
    const float log_u = (float)log(u < 1e-10 ? 1e-10 : u);
    return bug == PLANTED_CORRECTION_ADDED ? -log_u : log_u;
}

static PLANTED_CODE float cap(enum planted bug, const struct planted_row *row, float s, int64_t j) {
    if (bug == PLANTED_SOFTCAP_LEFT_OUT) return s;
    if (j >= row->seen && bug == PLANTED_SOFTCAP_MASK) return -row->softcap;
    if (bug == PLANTED_SOFTCAP_UNSCALED)
        return row->scale * row->softcap * tanhf(s / row->scale / row->softcap);
    return row->softcap * tanhf(s / row->softcap);
}

static PLANTED_CODE float score(enum planted bug, const struct planted_row *row, const float *q,
                                int64_t j) {
    float k[OWN_MAX];
    const int64_t dim = row->head_dim;
    widen_key(bug, row, j, k);
    const float product = dot(q, k, bug == PLANTED_DIM_TAIL_IGNORED ? dim / 32 * 32 : dim);
    float s = product * scale_of(bug, row);
    if (bug == PLANTED_PRODUCTS_16BIT) s = round_to(row->dtype, product) * row->scale;
    if (bug == PLANTED_SCORES_16BIT) s = round_to(row->dtype, s);
    if (bug == PLANTED_SCORES_IGNORED) s = 0;
    const float unit = bug == PLANTED_EXP2 ? log2_e : 1; /* of s */
    if (row->softcap > 0) s = unit * cap(bug, row, s / unit, j);
    if (row->slope != 0) s += unit * row->slope * (float)(token_of(bug, row, j) - row->place);
    if (row->bias != NULL) {
        const float bias = row->bias[row->bias_step * token_of(bug, row, j)];
        s += unit * (bug == PLANTED_BIAS_BEFORE_SCALE ? row->scale * bias : bias);
    }
    return row->corrected ? s - correction(bug, row, q, k, product) : s;
}

/* To the maximum m. */
static PLANTED_CODE void rescale(enum planted bug, const struct planted_row *row,
                                 struct share *share, float m) {
    const float factor = share->m == -INFINITY ? 0 : exponential(bug, row, share->m, m);
    const bool moved = m != share->m && share->m != -INFINITY;
    float of_acc = factor;
    if (moved && (bug == PLANTED_RESCALE_NEVER ||
                  (bug == PLANTED_RESCALE_MISSED && !share->rescale_was_missed))) {
        share->rescale_was_missed = true;
        of_acc = 1;
    }
    if (bug == PLANTED_RESCALE_TWICE) of_acc *= factor;
    if (!(bug == PLANTED_DENOMINATOR_STALE && moved)) share->l *= factor;
    share->sum *= (double)factor;
    for (int n = 0; n < LEVELS; n++) share->part[n] *= factor;
    for (int64_t d = 0; d < own(row->value_dim); d++) share->acc[d] *= of_acc;
    share->m = m;
}

/* What is multiplied with the values. */
static PLANTED_CODE float kept_of(enum planted bug, int32_t dtype, float p) {
    switch (bug) {
    case PLANTED_P_F32:
        return p;
    case PLANTED_P_TRUNCATED:
        return widen(dtype, cut_off(dtype, p));
    case PLANTED_P_TIMES_256:
        return round_to(dtype, p * 256) / 256;
    case PLANTED_P_FLUSHED:
        return p < 0x1p-14f ? 0 : round_to(dtype, p);
    default:
        return round_to(dtype, p);
    }
}

static PLANTED_CODE void add_key(enum planted bug, const struct planted_row *row,
                                 struct share *share, int64_t j, float p) {
    float v[OWN_MAX];
    const int32_t dtype = row->dtype;
    const float kept = kept_of(bug, dtype, p);
    if (bug == PLANTED_SUM_OF_ROUNDED) p = kept;
    share->l += p;
    if (bug == PLANTED_DENOMINATOR_16BIT) share->l = round_to(dtype, share->l);
    share->sum += (double)p;
    if (bug == PLANTED_SUM_STRIDED) share->part[j % STRIDE] += p;
    widen_value(bug, row, j, v);
    for (int64_t d = 0; d < own(row->value_dim); d++) share->acc[d] += kept * v[d];
}

/* The sum of a block in pairs, and with it those of earlier blocks of the same size. */
static PLANTED_CODE void add_in_pairs(struct share *share, float *p, int64_t count) {
    for (int64_t step = 1; step < count; step *= 2) {
        for (int64_t n = 0; n + step < count; n += 2 * step) p[n] += p[n + step];
    }
    float sum = p[0];
    int level = 0;
    for (; share->blocks >> level & 1; level++) {
        sum += share->part[level];
        share->part[level] = 0;
    }
    share->part[level] = sum;
    share->blocks++;
}

static PLANTED_CODE void begin(enum planted bug, const struct planted_row *row,
                               struct share *share) {
    share->m = bug == PLANTED_MAXIMUM_FROM_0 ? 0 : -INFINITY;
    share->l = 0;
    share->sum = 0;
    for (int n = 0; n < LEVELS; n++) share->part[n] = 0;
    share->blocks = 0;
    share->rescale_was_missed = false;
    for (int64_t d = 0; d < own(row->value_dim); d++) share->acc[d] = 0;
}

/* How many times key j is counted. */
static PLANTED_CODE int times(enum planted bug, const struct planted_row *row, int64_t j) {
    switch (bug) {
    case PLANTED_KEY_TWICE:
        return j == 0 ? 2 : 1;
    case PLANTED_FIRST_KEY_DROPPED:
        return j == 0 && row->keys > 1 ? 0 : 1;
    case PLANTED_LAST_KEY_TWICE:
        return j == row->keys - 1 ? 2 : 1;
    case PLANTED_BLOCK_SKIPPED:
        return j / PLANTED_BLOCK == 1 ? 0 : 1;
    case PLANTED_BLOCK_TWICE:
        return j / PLANTED_BLOCK == 1 ? 2 : 1;
    default:
        return 1;
    }
}

/* What weights of a block are relative to, m being the largest logit so far. */
static PLANTED_CODE float maximum(enum planted bug, const struct share *share, float m, bool full) {
    const bool later = share->m != -INFINITY;
    switch (bug) {
    case PLANTED_LAZY_RESCALE: /* the old one will do as long as no weight is above 2^8 */
        return later && m - share->m < 8 / log2_e ? share->m : m;
    case PLANTED_MAXIMUM_OF_FIRST_BLOCK:
        return later ? share->m : m;
    case PLANTED_MAXIMUM_LEFT_OUT:
        return 0;
    case PLANTED_PADDING_COUNTED:
        return full ? m : fmaxf(m, 0);
    default:
        return m;
    }
}

/* The keys first .. last - 1. */
static PLANTED_CODE void attend(enum planted bug, const struct planted_row *row, const float *q,
                                int64_t first, int64_t last, struct share *share) {
    begin(bug, row, share);
    for (int64_t block = first; block < last; block += PLANTED_BLOCK) {
        const int64_t room = block + PLANTED_BLOCK, end = room < last ? room : last;
        float s[PLANTED_BLOCK], m = share->m;
        for (int64_t j = block; j < end; j++) {
            s[j - block] = score(bug, row, q, j);
            m = fmaxf(m, s[j - block]);
        }
        if (m == -INFINITY && row->bias != NULL && bug != PLANTED_BIAS_ROW_NAN) continue;
        m = maximum(bug, share, m, end == room);
        rescale(bug, row, share, m);
        for (int64_t j = block; j < end; j++) {
            const float p = s[j - block] = exponential(bug, row, s[j - block], m);
            for (int n = times(bug, row, j); n > 0; n--) add_key(bug, row, share, j, p);
        }
        if (bug == PLANTED_SUM_PAIRWISE) add_in_pairs(share, s, end - block);
        if (bug == PLANTED_PADDING_COUNTED)
            share->l += (float)(room - end) * exponential(bug, row, 0, m);
        if (bug == PLANTED_OUT_16BIT) {
            for (int64_t d = 0; d < own(row->value_dim); d++)
                share->acc[d] = round_to(row->dtype, share->acc[d]);
        }
    }
    if (bug == PLANTED_EXP2) share->m /= log2_e;
    if (bug == PLANTED_SUM_F64) share->l = (float)share->sum;
    if (bug != PLANTED_SUM_STRIDED && bug != PLANTED_SUM_PAIRWISE) return;
    share->l = 0;
    for (int n = 0; n < LEVELS; n++) share->l += share->part[n];
}

/* Once more, with P divided by the sum before it is rounded. */
static PLANTED_CODE void attend_normalised(enum planted bug, const struct planted_row *row,
                                           const float *q, struct share *share) {
    for (int64_t d = 0; d < own(row->value_dim); d++) share->acc[d] = 0;
    for (int64_t j = 0; j < row->keys; j++) {
        float v[OWN_MAX];
        const float p = expf(score(bug, row, q, j) - share->m) / share->l;
        const float kept = round_to(row->dtype, p);
        widen_value(bug, row, j, v);
        for (int64_t d = 0; d < own(row->value_dim); d++) share->acc[d] += kept * v[d];
    }
}

static PLANTED_CODE int64_t keys_seen(enum planted bug, int64_t keys) {
    switch (bug) {
    case PLANTED_LAST_KEY_DROPPED:
        return keys > 1 ? keys - 1 : keys;
    case PLANTED_LAST_BLOCK_DROPPED:
        return keys > PLANTED_BLOCK ? keys - PLANTED_BLOCK : keys;
    case PLANTED_PARTIAL_BLOCK_DROPPED:
        return keys > PLANTED_BLOCK ? keys / PLANTED_BLOCK * PLANTED_BLOCK : keys;
    case PLANTED_FIRST_BLOCK_ONLY:
        return keys > PLANTED_BLOCK ? PLANTED_BLOCK : keys;
    case PLANTED_KEY_TOO_MANY:
        return keys + 1;
    default:
        return keys;
    }
}

static PLANTED_CODE int64_t shares_of(enum planted bug, int64_t call) {
    switch (bug) {
    case PLANTED_SPLIT:
    case PLANTED_SPLIT_ANY_ORDER:
    case PLANTED_SHARES_AVERAGED:
    case PLANTED_SHARE_LAST:
    case PLANTED_SHARES_UNSCALED:
    case PLANTED_SHARE_OF_NOTHING:
        return PLANTED_SHARES;
    case PLANTED_RUNS_DIFFER:
        return 1 + call % 4;
    case PLANTED_VARIES_LATE:
        return call >= 11 ? 1 + call % 4 : 1;
    default:
        return 1;
    }
}

/* Takes a share into the sum of those before: that is a share too. */
static PLANTED_CODE void combine(enum planted bug, int64_t dim, struct share *all,
                                 const struct share *one) {
    const float m = fmaxf(all->m, one->m);
    float of_all = expf(all->m - m), of_one = expf(one->m - m), l = one->l;
    if (bug == PLANTED_SHARES_UNSCALED) of_all = of_one = 1;
    if (bug == PLANTED_SHARE_LAST) of_all = 0;
    if (bug == PLANTED_SHARES_AVERAGED) {
        of_all = 1;
        of_one = 1 / l;
    }
    for (int64_t d = 0; d < own(dim); d++)
        all->acc[d] = all->acc[d] * of_all + one->acc[d] * of_one;
    all->l = all->l * of_all + l * of_one;
    all->m = m;
}

/* In shares of whole blocks, one after the other, the first of them another at each call where any
 * order is right. A share that sees no key is left out, except by the bug that takes it too. */
static PLANTED_CODE void attend_in_shares(enum planted bug, const struct planted_row *row,
                                          const float *q, struct share *all) {
    const int64_t keys = keys_seen(bug, row->keys), shares = shares_of(bug, row->call);
    const int64_t blocks = (keys + PLANTED_BLOCK - 1) / PLANTED_BLOCK;
    const int64_t step = (blocks + shares - 1) / shares * PLANTED_BLOCK;
    const int64_t turn = bug == PLANTED_SPLIT_ANY_ORDER ? row->call : 0;
    begin(bug, row, all);
    all->m = -INFINITY;
    for (int64_t n = 0; n < shares; n++) {
        struct share one;
        const int64_t first = (n + turn) % shares * step, last = first + step;
        if (first >= keys && bug != PLANTED_SHARE_OF_NOTHING) continue;
        attend(bug, row, q, first, last < keys ? last : keys, &one);
        if (one.l == 0 && row->bias != NULL) continue;
        combine(bug, row->value_dim, all, &one);
    }
}

/* Every share goes through scratch, and is taken if its maximum is above -infinity: NaN is not. */
static PLANTED_CODE void attend_by_scratch(enum planted bug, const struct planted_row *row,
                                           const float *q, struct share *all) {
    const int64_t dim = row->value_dim,
                  step = (row->keys_max + PLANTED_SHARES - 1) / PLANTED_SHARES;
    begin(bug, row, all);
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

/* 0 times a value beyond the last is NaN where that is one. */
static PLANTED_CODE void add_nothing(enum planted bug, const struct planted_row *row,
                                     struct share *all) {
    float v[OWN_MAX];
    widen_token(bug, row, true, row->keys, v);
    for (int64_t d = 0; d < own(row->value_dim); d++) all->acc[d] += 0.0f * v[d];
}

/* One more logit, without a value. */
static PLANTED_CODE void add_sink(enum planted bug, const struct planted_row *row,
                                  struct share *all) {
    const float sink = bug == PLANTED_SINKS_SCALED ? row->sink * row->scale : row->sink;
    const float times = bug == PLANTED_SINKS_IN_SHARES ? PLANTED_SHARES : 1;
    if (row->sink == -INFINITY || bug == PLANTED_SINKS_LEFT_OUT) return;
    const float m = fmaxf(all->m, sink), less = expf(all->m - m);
    for (int64_t d = 0; d < own(row->value_dim); d++) all->acc[d] *= less;
    all->l = all->l * less + times * expf(sink - m);
    all->m = m;
}

static PLANTED_CODE float lse_of(enum planted bug, const struct planted_row *row,
                                 const struct share *all) {
    const float log_l = logf(all->l);
    switch (bug) {
    case PLANTED_BASE_2:
    case PLANTED_LSE_BASE_2:
        return (all->m + log_l) * log2_e;
    case PLANTED_LSE_OF_MAXIMUM:
        return all->m;
    case PLANTED_LSE_OF_SUM:
        return log_l;
    case PLANTED_LSE_UNSCALED:
        return all->m / row->scale + log_l;
    case PLANTED_LSE_OF_TWO_BASES:
        return all->m * log2_e + log_l;
    case PLANTED_LSE_NEGATIVE:
        return -(all->m + log_l);
    default:
        return all->m + log_l;
    }
}

/* The output in element d of those that are this lane's. */
static PLANTED_CODE float quotient(enum planted bug, const struct share *all, int64_t d) {
    switch (bug) {
    case PLANTED_P_NORMALISED: /* divided already */
    case PLANTED_P_DIVIDED:
    case PLANTED_NOT_DIVIDED:
        return all->acc[d];
    case PLANTED_DIVIDED_TWICE:
        return all->acc[d] / all->l / all->l;
    default:
        return all->acc[d] / all->l;
    }
}

/* Element d of the output, of 8 bits over its scale. */
static PLANTED_CODE void put(enum planted bug, const struct planted_row *row, void *out, int64_t d,
                             float o) {
    const bool cut = bug == PLANTED_OUT_TRUNCATED;
    if (row->out_scale == NULL) {
        ((uint16_t *)out)[d] = cut ? cut_off(row->dtype, o) : narrow(row->dtype, o);
        return;
    }
    const float x = bug == PLANTED_OUT_SCALE_FORGOTTEN ? o
                    : bug == PLANTED_OUT_MULTIPLIED    ? o * *row->out_scale
                                                       : o / *row->out_scale;
    const uint8_t nearest = attn_f32_to_e4m3_sat(x);
    const bool beyond = fabsf(attn_e4m3_to_f32(nearest)) > fabsf(x);
    ((uint8_t *)out)[d] = cut && beyond ? (uint8_t)(nearest - 1) : nearest;
}

static PLANTED_CODE void write(enum planted bug, const struct planted_row *row,
                               const struct share *all, void *out) {
    const int64_t dim = row->value_dim;
    const int64_t written = bug == PLANTED_TILE_UNWRITTEN && dim > 16 ? dim - 16 : dim;
    const int64_t turn = bug == PLANTED_HALVES_EXCHANGED ? dim / 2 : 0;
    for (int64_t d = 0; d < own(written); d++) {
        const bool dropped = bug == PLANTED_VALUE_TAIL_DROPPED && LANE + d * LANES >= row->head_dim;
        const float o = dropped ? 0 : quotient(bug, all, d);
        put(bug, row, out, (LANE + d * LANES + turn) % dim, o);
    }
}

static PLANTED_CODE void write_nothing(enum planted bug, const struct planted_row *row, void *out,
                                       float *lse) {
    const bool zero = bug == PLANTED_LSE_OF_NOTHING || bug == PLANTED_ZEROS;
    for (int64_t d = 0; d < own(row->value_dim); d++) put(bug, row, out, LANE + d * LANES, 0);
    if (LANE == 0) *lse = zero ? 0 : (bug == PLANTED_BASE_2 ? log2_e : 1) * row->sink;
}

PLANTED_CODE void planted_row(enum planted bug, const struct planted_row *row, void *out,
                              float *lse) {
    const int64_t dim = row->head_dim;
    const bool empty_too = bug == PLANTED_EMPTY_ROW_NAN || bug == PLANTED_SHARE_OF_NOTHING;
    if ((row->keys == 0 && !empty_too) || bug == PLANTED_ZEROS) {
        write_nothing(bug, row, out, lse);
        return;
    }
    float q[OWN_MAX];
    struct share all;
    widen_row(row->dtype, row->q, dim, q);
    if (bug == PLANTED_SPLIT_UNWRITTEN)
        attend_by_scratch(bug, row, q, &all);
    else
        attend_in_shares(bug, row, q, &all);
    if (all.l == 0 && row->bias != NULL) {
        write_nothing(bug, row, out, lse);
        return;
    }
    const float of_keys = all.m + logf(all.l);
    add_sink(bug, row, &all);
    if (bug == PLANTED_P_NORMALISED || bug == PLANTED_P_DIVIDED)
        attend_normalised(bug, row, q, &all);
    if (bug == PLANTED_LENGTH_OVERREAD) add_nothing(bug, row, &all);
    write(bug, row, &all, out);
    if (LANE == 0) *lse = bug == PLANTED_SINKS_NOT_IN_LSE ? of_keys : lse_of(bug, row, &all);
}
