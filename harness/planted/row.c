/* The flash row and what can be wrong with it. Each bug is a word in the line where it bites. */
#include "planted.h"
#include "../../kernels/attn_number.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

static const float log2_e = 1.44269504f;

/* The softmax over some of the keys: maximum, denominator, unnormalised output. */
struct share {
    float m, l;
    float acc[PLANTED_HEAD_DIM_MAX];
    bool rescale_was_missed;
};

static float widen(int32_t dtype, uint16_t code) {
    return dtype == ATTN_F16 ? attn_f16_to_f32(code) : attn_bf16_to_f32(code);
}

static uint16_t narrow(int32_t dtype, float x) {
    return dtype == ATTN_F16 ? attn_f32_to_f16(x) : attn_f32_to_bf16(x);
}

static uint16_t cut_off(int32_t dtype, float x) {
    const uint16_t nearest = narrow(dtype, x);
    return fabsf(widen(dtype, nearest)) > fabsf(x) ? (uint16_t)(nearest - 1) : nearest;
}

static float round_to(int32_t dtype, float x) {
    return widen(dtype, narrow(dtype, x));
}

static void widen_row(int32_t dtype, const uint16_t *codes, int64_t n, float *restrict values) {
    if (dtype == ATTN_F16) {
        for (int64_t d = 0; d < n; d++) values[d] = attn_f16_to_f32(codes[d]);
    } else {
        for (int64_t d = 0; d < n; d++) values[d] = attn_bf16_to_f32(codes[d]);
    }
}

static float dot(const float *restrict x, const float *restrict y, int64_t n) {
    float sum[8] = {0};
    int64_t d = 0;
    for (; d + 8 <= n; d += 8) {
        for (int l = 0; l < 8; l++) sum[l] += x[d + l] * y[d + l];
    }
    for (; d < n; d++) sum[0] += x[d] * y[d];
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

static float exponential(enum planted bug, const struct planted_row *row, float s, float m) {
    if (bug == PLANTED_EXP2) return exp2f(s - m); /* both carry the log2 e already */
    return expf(bug == PLANTED_EXP_16BIT ? round_to(row->dtype, s - m) : s - m);
}

static void rescale(enum planted bug, const struct planted_row *row, struct share *share, float m) {
    const float factor = share->m == -INFINITY ? 0 : exponential(bug, row, share->m, m);
    const bool moved = m != share->m && share->m != -INFINITY;
    if (!(bug == PLANTED_DENOMINATOR_STALE && moved)) share->l *= factor;
    if (bug == PLANTED_RESCALE_MISSED && moved && !share->rescale_was_missed) {
        share->rescale_was_missed = true;
    } else {
        for (int64_t d = 0; d < row->head_dim; d++) share->acc[d] *= factor;
    }
    share->m = m;
}

static int64_t value_of(enum planted bug, const struct planted_row *row, int64_t j) {
    const int64_t page = j / PLANTED_BLOCK;
    if (bug != PLANTED_PAGES_SWAPPED || row->keys < 2 * PLANTED_BLOCK || page > 1) return j;
    return page == 0 ? j + PLANTED_BLOCK : j - PLANTED_BLOCK;
}

static void add_key(enum planted bug, const struct planted_row *row, struct share *share, int64_t j,
                    float p) {
    float v[PLANTED_HEAD_DIM_MAX];
    const int32_t dtype = row->dtype;
    share->l += p;
    if (bug == PLANTED_DENOMINATOR_16BIT) share->l = round_to(dtype, share->l);
    p = widen(dtype, bug == PLANTED_P_TRUNCATED ? cut_off(dtype, p) : narrow(dtype, p));
    widen_row(dtype, row->v[value_of(bug, row, j)], row->head_dim, v);
    for (int64_t d = 0; d < row->head_dim; d++) share->acc[d] += p * v[d];
}

/* The keys first .. last - 1. */
static void attend(enum planted bug, const struct planted_row *row, const float *q, int64_t first,
                   int64_t last, struct share *share) {
    const float scale = row->scale * (bug == PLANTED_SCALE_1_01    ? 1.01f
                                      : bug == PLANTED_SCALE_1_001 ? 1.001f
                                      : bug == PLANTED_EXP2        ? log2_e
                                                                   : 1);
    *share = (struct share){.m = -INFINITY};
    for (int64_t block = first; block < last; block += PLANTED_BLOCK) {
        const int64_t end = block + PLANTED_BLOCK < last ? block + PLANTED_BLOCK : last;
        float s[PLANTED_BLOCK], k[PLANTED_HEAD_DIM_MAX], m = share->m;
        for (int64_t j = block; j < end; j++) {
            widen_row(row->dtype, row->k[j], row->head_dim, k);
            const float product = dot(q, k, row->head_dim) * scale;
            s[j - block] = bug == PLANTED_SCORES_IGNORED ? 0 : product;
            m = fmaxf(m, s[j - block]);
        }
        rescale(bug, row, share, m);
        for (int64_t j = block; j < end; j++) {
            const float p = exponential(bug, row, s[j - block], m);
            add_key(bug, row, share, j, p);
            if (bug == PLANTED_KEY_TWICE && j == 0) add_key(bug, row, share, j, p);
        }
        if (bug == PLANTED_OUT_16BIT) {
            for (int64_t d = 0; d < row->head_dim; d++)
                share->acc[d] = round_to(row->dtype, share->acc[d]);
        }
    }
    if (bug == PLANTED_EXP2) share->m /= log2_e;
}

static int64_t keys_seen(enum planted bug, int64_t keys) {
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

static int64_t shares_of(enum planted bug, int64_t call) {
    if (bug == PLANTED_SPLIT) return 4;
    return bug == PLANTED_RUNS_DIFFER ? 1 + call % 4 : 1;
}

void planted_row(enum planted bug, const struct planted_row *row, uint16_t *out, float *lse) {
    const int64_t dim = row->head_dim;
    if ((row->keys == 0 && bug != PLANTED_EMPTY_ROW_NAN) || bug == PLANTED_ZEROS) {
        memset(out, 0, (size_t)dim * sizeof *out);
        *lse = row->keys == 0 ? -INFINITY : 0;
        return;
    }
    const int64_t keys = keys_seen(bug, row->keys), shares = shares_of(bug, row->call);
    const int64_t blocks = (keys + PLANTED_BLOCK - 1) / PLANTED_BLOCK;
    const int64_t step = (blocks + shares - 1) / shares * PLANTED_BLOCK;
    float q[PLANTED_HEAD_DIM_MAX];
    widen_row(row->dtype, row->q, dim, q);
    /* Shares are combined as they come: the sum so far is a share too. */
    struct share all = {.m = -INFINITY}, one;
    for (int64_t first = 0; first < keys; first += step) {
        attend(bug, row, q, first, first + step < keys ? first + step : keys, &one);
        const float m = fmaxf(all.m, one.m);
        const float of_all = expf(all.m - m), of_one = expf(one.m - m);
        for (int64_t d = 0; d < dim; d++) all.acc[d] = all.acc[d] * of_all + one.acc[d] * of_one;
        all.l = all.l * of_all + one.l * of_one;
        all.m = m;
    }
    if (bug == PLANTED_LENGTH_OVERREAD) {
        float v[PLANTED_HEAD_DIM_MAX];
        widen_row(row->dtype, row->v[row->keys], dim, v);
        for (int64_t d = 0; d < dim; d++) all.acc[d] += 0.0f * v[d];
    }
    const int64_t written = bug == PLANTED_TILE_UNWRITTEN && dim > 16 ? dim - 16 : dim;
    for (int64_t d = 0; d < written; d++) {
        const float o = all.acc[d] / all.l;
        out[d] = bug == PLANTED_OUT_TRUNCATED ? cut_off(row->dtype, o) : narrow(row->dtype, o);
    }
    *lse = (all.m + logf(all.l)) * (bug == PLANTED_LSE_BASE_2 ? log2_e : 1);
}
