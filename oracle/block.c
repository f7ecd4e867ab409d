/* One block: its rows by 256 keys at a time, with running maxima and sums (the online softmax), so
 * that what a thread holds does not grow with the lengths.
 *
 * Four sums a row: p, p v beside p |v| (one product with [v, |v|]), and p^2 v^2; and the maximum of
 * |q||k|, a product of its own. A row with a list is a block by itself, or one with those that
 * share it, and gathers what it lists.
 *
 * Logits are taken relative to that of the first key, as scale q.(k - k_first), for a softmax does
 * not mind and differences are exact where keys are alike: logits near -2e5 would otherwise be off
 * by 1e-11 before exp sees them. Not so where a rule wants the logit itself.
 *
 * NaN and infinity: a product would carry them from a key that some rows do not see into those rows
 * (0 * NaN). A block that meets one among the tokens it gathers is done again row by row, by plain
 * loops over exactly the keys that the row sees. */
#include "blas.h"
#include "block.h"
#include "bulk.h"
#include "../kernels/attn_number.h"

#include <math.h>
#include <string.h>

/* What has been summed for each row of a block over the keys so far; p is relative to exp(max). */
struct sums {
    double *max, *p, *logit_abs, *min; /* [rows] */
    double *tied, *tied_top;           /* [rows] ties below the largest logit, and at it */
    double *pv;                        /* [rows, 2 Dv]: p v, then p |v| */
    double *pv_square;                 /* [rows, Dv] */
};

/* ---- Memory ---- */

static int64_t padded(int64_t doubles) {
    return (doubles + 7) / 8 * 8;
}

int64_t block_sums_doubles(int64_t rows, int64_t Dv) {
    return padded(rows * (6 + 3 * Dv));
}

static struct sums sums_at(double *memory, int64_t rows, int64_t Dv) {
    return (struct sums){
        .max = memory,
        .p = memory + rows,
        .logit_abs = memory + 2 * rows,
        .min = memory + 3 * rows,
        .tied = memory + 4 * rows,
        .tied_top = memory + 5 * rows,
        .pv = memory + 6 * rows,
        .pv_square = memory + (6 + 2 * Dv) * rows,
    };
}

/* Lays a space out in `memory`, or only measures it if that is NULL; returns its size in doubles.
 * Parts begin at multiples of 64 bytes. */
int64_t space_lay(struct space *space, double *memory, int64_t rows, int64_t D, int64_t Dv) {
    const int64_t keys = BLOCK_KEYS;
    const struct {
        double **part;
        int64_t doubles;
    } parts[] = {
        {&space->q, rows * D},
        {&space->q_abs, rows * D},
        {&space->q_norm, rows},
        {&space->k, keys * D > Dv ? keys * D : Dv}, /* sum_lost has one value's room there */
        {&space->k_abs, keys * D},
        {&space->k_norm, keys},
        {&space->k_first, D},
        {&space->v, keys * 2 * Dv},
        {&space->v_square, keys * Dv},
        {&space->score, rows * keys},
        {&space->other, rows * keys},
        {&space->lost, rows * Dv},
        {&space->lost_square, rows * Dv},
        {&space->sums, block_sums_doubles(rows, Dv)},
    };
    int64_t at = 0;
    space->memory = memory;
    for (size_t n = 0; n < sizeof parts / sizeof *parts; n++) {
        if (memory) *parts[n].part = memory + at;
        at += padded(parts[n].doubles);
    }
    return at;
}

/* ---- Rows ---- */

/* Row r of a block: of those that read (b, g), queries outermost, so that the rows of a causal
 * block see about as many keys. */
struct place {
    int64_t h, i;       /* query head and query */
    int64_t answer_row; /* in rows of the answer */
};

static struct place place_of(const struct job *job, const struct block *block, int64_t r) {
    const struct answer *answer = job->answer;
    const int64_t n = (block->first + r) / job->group;
    const int64_t h = block->g * job->group + (block->first + r) % job->group;
    return (struct place){
        .h = h,
        .i = answer->rows[n],
        .answer_row = (block->b * answer->q_heads + h) * answer->row_count + n,
    };
}

struct rule_keys block_keys(const struct job *job, const struct block *block, int64_t r) {
    const struct place place = place_of(job, block, r);
    return rules_keys(job->view, block->b, place.h, place.i);
}

static bool widen_q(const struct job *job, int64_t b, struct place place, double *q,
                    double *q_abs) {
    const struct attn_problem *problem = job->view->problem;
    const int64_t row = (b * problem->q_heads + place.h) * problem->q_len + place.i;
    const int64_t row_bytes = job->D * attn_dtype_bytes(problem->dtype);
    return bulk_widen(q, q_abs, NULL,
                      (const char *)job->view->tensors[ATTN_Q].data + row * row_bytes,
                      (enum attn_dtype)problem->dtype, job->D);
}

static bool widen_k(const struct job *job, int64_t b, int64_t g, int64_t t, double *k,
                    double *k_abs) {
    return bulk_widen_kv(k, k_abs, NULL, job->view, b, g, t, false, job->D);
}

static bool widen_v(const struct job *job, int64_t b, int64_t g, int64_t t, double *v,
                    double *v_square) {
    return bulk_widen_kv(v, v + job->Dv, v_square, job->view, b, g, t, true, job->Dv);
}

/* In long double: squares of equal numbers round to the same side, in a double's sum of 987 by 120
 * units in all, and MagicPIG multiplies that by S. */
static double norm(const double *x, int64_t D) {
    long double sum = 0;
    for (int64_t d = 0; d < D; d++) sum += (long double)x[d] * x[d];
    return (double)sqrtl(sum);
}

static bool gather_q(const struct job *job, struct space *space, const struct block *block) {
    const int64_t D = job->D;
    bool finite = true;
    for (int64_t r = 0; r < block->rows; r++) {
        finite &=
            widen_q(job, block->b, place_of(job, block, r), space->q + r * D, space->q_abs + r * D);
    }
    return finite;
}

/* All that any row of the block sees. */
static struct rule_keys all_keys(const struct job *job, const struct block *block) {
    return (struct rule_keys){
        .first = block->key, .count = block->keys, .list = block_keys(job, block, 0).list};
}

static bool gather_k(const struct job *job, struct space *space, const struct block *block,
                     const struct rule_keys *keys, int64_t first, int64_t count) {
    const int64_t D = job->D;
    bool finite = true;
    for (int64_t j = 0; j < count; j++) {
        double *k = space->k + j * D;
        finite &=
            widen_k(job, block->b, block->g, rule_token(keys, first + j), k, space->k_abs + j * D);
    }
    return finite;
}

static bool gather_v(const struct job *job, struct space *space, const struct block *block,
                     const struct rule_keys *keys, int64_t first, int64_t count) {
    const int64_t Dv = job->Dv;
    bool finite = true;
    for (int64_t j = 0; j < count; j++) {
        finite &= widen_v(job, block->b, block->g, rule_token(keys, first + j),
                          space->v + j * 2 * Dv, space->v_square + j * Dv);
    }
    return finite;
}

/* ---- Products, counted ---- */

static void multiply(struct space *space, double *out, double factor, const double *a,
                     const double *b, int64_t rows, int64_t columns, int64_t depth) {
    space->flops += 2.0 * (double)rows * (double)columns * (double)depth;
    blas_multiply(out, factor, a, b, rows, columns, depth);
}

static void multiply_add(struct space *space, double *out, const double *a, const double *b,
                         int64_t rows, int64_t columns, int64_t depth) {
    space->flops += 2.0 * (double)rows * (double)columns * (double)depth;
    blas_multiply_add(out, a, b, rows, columns, depth);
}

/* ---- One range of a block ---- */

/* Some of the keys gathered: from .. from + count - 1 of them, which are the block's from `key` on.
 */
struct part {
    int64_t from, count, key;
};

/* Of the `count` keys from the block's `first` on, those that row r sees. */
static struct part part_seen(const struct job *job, const struct block *block, int64_t r,
                             int64_t first, int64_t count) {
    const struct rule_keys keys = block_keys(job, block, r);
    const int64_t begin = keys.list ? 0 : keys.first - block->key, end = begin + keys.count;
    const int64_t from = begin > first ? begin - first : 0;
    const int64_t to = end - first < count ? end - first : count;
    return to > from ? (struct part){from, to - from, first + from} : (struct part){0};
}

/* Row r's scores of `count` keys, and beside them |q||k|: 0 but of those that it sees. */
static void blank(struct space *space, int64_t r, int64_t count, struct part seen) {
    const int64_t end = seen.from + seen.count;
    double *const rows[] = {space->score + r * count, space->other + r * count};
    for (int n = 0; n < 2; n++) {
        memset(rows[n], 0, (size_t)seen.from * sizeof *rows[n]);
        memset(rows[n] + end, 0, (size_t)(count - end) * sizeof *rows[n]);
    }
}

/* Makes logits of row r's dots with the keys of a part; and sizes of |q||k|. */
static void apply_rules(const struct job *job, const struct space *space, const struct block *block,
                        int64_t r, struct part part, double *score, double *other) {
    const struct place place = place_of(job, block, r);
    const struct rule_keys keys = all_keys(job, block);
    for (int64_t j = 0; j < part.count; j++) {
        struct rule_logit logit = {.value = job->view->problem->scale * score[j],
                                   .dot = score[j],
                                   .size = other[j],
                                   .i = place.i,
                                   .t = rule_token(&keys, part.key + j)};
        if (job->norms) {
            logit.q_norm = space->q_norm[r];
            logit.k_norm = space->k_norm[part.from + j];
        }
        rules_logit(job->view, block->b, place.h, &logit);
        score[j] = logit.value;
        other[j] = logit.value == -INFINITY ? 0 : logit.size;
    }
}

/* The smallest that is not -infinity; infinity if there is none. */
static double finite_min(const double *x, int64_t n) {
    double min = INFINITY;
    for (int64_t j = 0; j < n; j++) min = x[j] < min && x[j] != -INFINITY ? x[j] : min;
    return min;
}

/* Takes row r's logits and |q||k| of the keys that it sees, of the `count` gathered, into its sums,
 * and leaves p and p^2 in their place, 0 where it does not see the key. */
static void absorb(const struct job *job, struct space *space, const struct sums *sums,
                   const struct block *block, int64_t r, struct part part, int64_t count) {
    const int64_t Dv = job->Dv, seen = part.count;
    double *score = space->score + r * count + part.from;
    double *other = space->other + r * count + part.from;
    blank(space, r, count, part);
    if (seen == 0) return;

    if (job->ruled) apply_rules(job, space, block, r, part, score, other);
    const double min = bulk_min(score, seen);
    sums->min[r] = fmin(sums->min[r], min == -INFINITY ? finite_min(score, seen) : min);
    sums->logit_abs[r] = fmax(sums->logit_abs[r], bulk_max(other, seen));
    const double max = bulk_max(score, seen);
    if (max > sums->max[r]) {
        const double factor = exp(sums->max[r] - max);
        for (int64_t d = 0; d < 2 * Dv; d++) sums->pv[r * 2 * Dv + d] *= factor;
        for (int64_t d = 0; d < Dv; d++) sums->pv_square[r * Dv + d] *= factor * factor;
        sums->p[r] *= factor;
        sums->max[r] = max;
        sums->tied[r] += sums->tied_top[r];
        sums->tied_top[r] = 0;
    }
    if (sums->max[r] == -INFINITY) { /* nothing but logits of -infinity so far */
        memset(score, 0, (size_t)seen * sizeof *score);
        memset(other, 0, (size_t)seen * sizeof *other);
        return;
    }
    double at_top;
    sums->tied[r] += bulk_ties(score, seen, sums->max[r], &at_top);
    sums->tied_top[r] += at_top;
    sums->p[r] += bulk_exp_sum(score, other, seen, sums->max[r]);
}

static double *sums_memory(const struct job *job, const struct space *space,
                           const struct block *block, int range) {
    return block->range_sums ? block->range_sums + range * block_sums_doubles(block->rows, job->Dv)
                             : space->sums;
}

/* q.k of the gathered keys, relative to the first key's and times scale unless a rule wants it. */
static void multiply_scores(const struct job *job, struct space *space, int64_t rows,
                            int64_t count) {
    const int64_t D = job->D;
    for (int64_t j = 0; j < count; j++)
        if (job->norms)
            space->k_norm[j] = norm(space->k + j * D, D);
        else if (!job->ruled)
            bulk_subtract(space->k + j * D, space->k_first, D);
    multiply(space, space->score, job->ruled ? 1 : job->view->problem->scale, space->q, space->k,
             rows, count, D);
}

/* False when NaN or infinity came up. */
static bool sum_range(const struct job *job, struct space *space, const struct block *block,
                      int range) {
    const int64_t D = job->D, Dv = job->Dv, rows = block->rows;
    const double scale = job->view->problem->scale;
    const struct rule_keys keys = all_keys(job, block);
    double *memory = sums_memory(job, space, block, range);
    const struct sums sums = sums_at(memory, rows, Dv);
    int64_t end = (range + 1) * block->range_keys;
    if (end > block->keys) end = block->keys;

    memset(memory, 0, (size_t)block_sums_doubles(rows, Dv) * sizeof *memory);
    for (int64_t r = 0; r < rows; r++) {
        sums.max[r] = -INFINITY;
        sums.min[r] = INFINITY;
    }
    if (!gather_q(job, space, block) || !isfinite(scale)) return false;
    for (int64_t r = 0; job->norms && r < rows; r++) space->q_norm[r] = norm(space->q + r * D, D);
    if (block->keys) widen_k(job, block->b, block->g, rule_token(&keys, 0), space->k_first, NULL);
    for (int64_t first = range * block->range_keys; first < end; first += BLOCK_KEYS) {
        const int64_t count = end - first < BLOCK_KEYS ? end - first : BLOCK_KEYS;
        if (!gather_k(job, space, block, &keys, first, count) ||
            !gather_v(job, space, block, &keys, first, count))
            return false;
        multiply(space, space->other, fabs(scale), space->q_abs, space->k_abs, rows, count, D);
        multiply_scores(job, space, rows, count);
        for (int64_t r = 0; r < rows; r++)
            absorb(job, space, &sums, block, r, part_seen(job, block, r, first, count), count);
        multiply_add(space, sums.pv, space->score, space->v, rows, 2 * Dv, count);
        multiply_add(space, sums.pv_square, space->other, space->v_square, rows, Dv, count);
    }
    return true;
}

void block_sum(const struct job *job, struct space *space, struct block *block, int range) {
    if (!sum_range(job, space, block, range)) atomic_store(&block->special, true);
}

/* ---- The answer of a block ---- */

/* What row r's logits were taken relative to. */
static double first_logit(const struct job *job, struct space *space, const struct block *block,
                          int64_t r) {
    double sum = 0;
    if (job->ruled) return 0;
    widen_q(job, block->b, place_of(job, block, r), space->q, NULL);
    const struct rule_keys keys = all_keys(job, block);
    widen_k(job, block->b, block->g, rule_token(&keys, 0), space->k, NULL);
    for (int64_t d = 0; d < job->D; d++) sum += space->q[d] * space->k[d];
    return job->view->problem->scale * sum;
}

/* Leaves the merged max, min and p in the sums of the first range. */
static void merge_row(const struct job *job, struct space *space, const struct block *block,
                      int64_t r) {
    const int64_t Dv = job->Dv, at = place_of(job, block, r).answer_row;
    double *out = job->answer->out + at * Dv;
    double *p_abs_v = job->answer->p_abs_v + at * Dv, *p_rms_v = job->answer->p_rms_v + at * Dv;
    double key_max = -INFINITY, min = INFINITY, p, logit_abs = 0, tied = 0;
    const double sink = rules_sink(job->view, block->b, place_of(job, block, r).h);
    for (int range = 0; range < block->ranges; range++) {
        const struct sums sums = sums_at(sums_memory(job, space, block, range), block->rows, Dv);
        key_max = fmax(key_max, sums.max[r]);
        min = fmin(min, sums.min[r]);
        logit_abs = fmax(logit_abs, sums.logit_abs[r]);
    }
    job->answer->lse[at] = sink;
    if (key_max == -INFINITY) return; /* sees no key: the rest of the answer is there already */
    const double first = first_logit(job, space, block, r), max = fmax(key_max, sink - first);
    p = exp(sink - first - max);
    /* Written before they are read: a page from calloc that is read first faults twice, and the
     * second time interrupts the other threads' cores (virtual machine, 2-core EPYC, Zen 5: 0.13
     * against 0.07 s in the kernel for 100 MB of answer). */
    memset(out, 0, (size_t)Dv * sizeof *out);
    memset(p_abs_v, 0, (size_t)Dv * sizeof *p_abs_v);
    memset(p_rms_v, 0, (size_t)Dv * sizeof *p_rms_v);
    for (int range = 0; range < block->ranges; range++) {
        const struct sums sums = sums_at(sums_memory(job, space, block, range), block->rows, Dv);
        const double factor = exp(sums.max[r] - max);
        p += factor * sums.p[r];
        tied += sums.tied[r] + (sums.max[r] < max ? sums.tied_top[r] : 0);
        for (int64_t d = 0; d < Dv; d++) {
            out[d] += factor * sums.pv[r * 2 * Dv + d];
            p_abs_v[d] += factor * sums.pv[r * 2 * Dv + Dv + d];
            p_rms_v[d] += factor * factor * sums.pv_square[r * Dv + d];
        }
    }
    for (int64_t d = 0; d < Dv; d++) {
        out[d] /= p;
        p_abs_v[d] /= p;
        p_rms_v[d] = sqrt(p_rms_v[d]) / p;
    }
    job->answer->lse[at] = first + max + log(p);
    job->answer->logit_abs[at] = logit_abs;
    job->answer->logit_max[at] = fmax(fabs(first + key_max), fabs(first + min));
    job->answer->sum_bias[at] = tied * 0x1p-24;
    const struct sums merged = sums_at(sums_memory(job, space, block, 0), block->rows, Dv);
    merged.max[r] = max;
    merged.min[r] = min;
    merged.p[r] = p;
}

/* ---- Weights that f16 keeps as subnormals ---- */

static const double subnormal = 0x1p-14, vanishing = 0x1p-25;

/* exp(-14 ln 2) is `subnormal`. */
static bool has_subnormal(const struct sums *merged, int64_t r) {
    return merged->min[r] - merged->max[r] < -14 * 0x1.62e42fefa39efp-1;
}

/* What of a weight, and of its square, is lost in f16. */
static void lose(double e, double *lost, double *square) {
    *lost = e < vanishing ? e : 0;
    *square = e < vanishing ? e * e : e < subnormal ? vanishing * vanishing / 3 : 0;
}

/* A second look at the keys, now that each row's largest logit is known. */
static void sum_lost(const struct job *job, struct space *space, const struct block *block,
                     const struct sums *merged) {
    const int64_t Dv = job->Dv, rows = block->rows;
    const struct rule_keys keys = all_keys(job, block);
    memset(space->lost, 0, (size_t)(rows * Dv) * sizeof *space->lost);
    memset(space->lost_square, 0, (size_t)(rows * Dv) * sizeof *space->lost_square);
    gather_q(job, space, block);
    widen_k(job, block->b, block->g, rule_token(&keys, 0), space->k_first, NULL);
    for (int64_t first = 0; first < block->keys; first += BLOCK_KEYS) {
        const int64_t left = block->keys - first, count = left < BLOCK_KEYS ? left : BLOCK_KEYS;
        gather_k(job, space, block, &keys, first, count);
        multiply_scores(job, space, rows, count);
        for (int64_t j = 0; j < count; j++) /* |v| where v was */
            bulk_widen_kv(space->k, space->v + j * Dv, space->v_square + j * Dv, job->view,
                          block->b, block->g, rule_token(&keys, first + j), true, Dv);
        for (int64_t r = 0; r < rows; r++) {
            const struct part seen = part_seen(job, block, r, first, count);
            double *score = space->score + r * count + seen.from;
            double *other = space->other + r * count + seen.from;
            if (job->ruled) apply_rules(job, space, block, r, seen, score, other);
            bulk_exp_sum(score, other, seen.count, merged->max[r]);
            const double p = merged->p[r];
            const bool counted = has_subnormal(merged, r);
            double *sum_bias = &job->answer->sum_bias[place_of(job, block, r).answer_row];
            for (int64_t j = 0; j < seen.count; j++) {
                if (counted && score[j] < 0x1p-22 * p) *sum_bias += fmin(score[j] / p, 0x1p-24);
                lose(score[j], &score[j], &other[j]);
            }
            blank(space, r, count, seen);
        }
        multiply_add(space, space->lost, space->score, space->v, rows, Dv, count);
        multiply_add(space, space->lost_square, space->other, space->v_square, rows, Dv, count);
    }
}

static void add_lost(struct job *job, struct space *space, const struct block *block) {
    const int64_t Dv = job->Dv;
    const struct sums merged = sums_at(sums_memory(job, space, block, 0), block->rows, Dv);
    bool any = false;
    for (int64_t r = 0; r < block->rows; r++) any |= has_subnormal(&merged, r);
    if (!any) return;
    atomic_store(&job->subnormal, true);
    sum_lost(job, space, block, &merged);
    for (int64_t r = 0; r < block->rows; r++) {
        const int64_t at = place_of(job, block, r).answer_row * Dv;
        if (!has_subnormal(&merged, r)) continue;
        for (int64_t d = 0; d < Dv; d++) {
            job->answer->lost_abs_v[at + d] = space->lost[r * Dv + d] / merged.p[r];
            job->answer->lost_rms_v[at + d] = sqrt(space->lost_square[r * Dv + d]) / merged.p[r];
        }
    }
}

/* The larger, and NaN once there is one. */
static double max_or_nan(double a, double b) {
    return isnan(a) || a >= b ? a : b;
}

/* One row from plain loops: the maximum in a first pass, the sums in a second. */
static void special_row(struct job *job, struct space *space, const struct block *block,
                        int64_t r) {
    const int64_t D = job->D, Dv = job->Dv, b = block->b, g = block->g;
    const struct place place = place_of(job, block, r);
    const struct rule_keys keys = block_keys(job, block, r);
    const double scale = job->view->problem->scale;
    double *out = job->answer->out + place.answer_row * Dv;
    double *p_abs_v = job->answer->p_abs_v + place.answer_row * Dv;
    double *p_rms_v = job->answer->p_rms_v + place.answer_row * Dv;
    double *lost_abs_v = job->answer->lost_abs_v + place.answer_row * Dv;
    double *lost_rms_v = job->answer->lost_rms_v + place.answer_row * Dv;
    const double sink = rules_sink(job->view, b, place.h);
    double max = sink, logit_abs = 0, logit_max = 0, p_sum = 0;
    bool any_lost = false;

    widen_q(job, b, place, space->q, space->q_abs);
    for (int pass = 0; pass < 2 && keys.count > 0 && (pass == 0 || max != -INFINITY); pass++)
        for (int64_t j = 0; j < keys.count; j++) {
            const int64_t t = rule_token(&keys, j);
            double dot = 0, absolute = 0;
            widen_k(job, b, g, t, space->k, space->k_abs);
            for (int64_t d = 0; d < D; d++) {
                dot += space->q[d] * space->k[d];
                absolute += space->q_abs[d] * space->k_abs[d];
            }
            struct rule_logit logit = {.value = scale * dot,
                                       .dot = dot,
                                       .size = fabs(scale) * absolute,
                                       .i = place.i,
                                       .t = t};
            if (job->norms) {
                logit.q_norm = norm(space->q, D);
                logit.k_norm = norm(space->k, D);
            }
            rules_logit(job->view, b, place.h, &logit);
            if (pass == 0) {
                max = max_or_nan(max, logit.value);
                if (logit.value == -INFINITY) continue; /* its weight is 0, whatever its size */
                logit_abs = max_or_nan(logit_abs, logit.size);
                logit_max = max_or_nan(logit_max, fabs(logit.value));
                continue;
            }
            const double p = exp(logit.value - max);
            widen_v(job, b, g, t, space->v, space->v_square);
            p_sum += p;
            for (int64_t d = 0; d < Dv; d++) {
                out[d] += p * space->v[d];
                p_abs_v[d] += p * space->v[Dv + d];
                p_rms_v[d] += p * p * space->v_square[d];
            }
            if (!(p < subnormal) || logit.value == -INFINITY) continue;
            double lost, square;
            lose(p, &lost, &square);
            any_lost = true;
            for (int64_t d = 0; d < Dv; d++) {
                lost_abs_v[d] += lost * space->v[Dv + d];
                lost_rms_v[d] += square * space->v_square[d];
            }
        }
    job->answer->lse[place.answer_row] = sink;
    if (keys.count == 0 || max == -INFINITY) return;
    p_sum += exp(sink - max);
    for (int64_t d = 0; d < Dv; d++) {
        out[d] /= p_sum;
        p_abs_v[d] /= p_sum;
        p_rms_v[d] = sqrt(p_rms_v[d]) / p_sum;
        lost_abs_v[d] /= p_sum;
        lost_rms_v[d] = sqrt(lost_rms_v[d]) / p_sum;
    }
    if (any_lost) atomic_store(&job->subnormal, true);
    job->answer->lse[place.answer_row] = max + log(p_sum);
    job->answer->logit_abs[place.answer_row] = logit_abs;
    job->answer->logit_max[place.answer_row] = logit_max;
}

void block_finish(struct job *job, struct space *space, const struct block *block) {
    const bool special = atomic_load(&block->special);
    for (int64_t r = 0; r < block->rows; r++)
        if (special)
            special_row(job, space, block, r);
        else
            merge_row(job, space, block, r);
    if (!special) add_lost(job, space, block);
}

/* ---- The share of the softmax that a list keeps ---- */

/* lse[0..rows) of uncorrected logits over `keys`, of the block's rows from r_first on: one query of
 * that many heads. */
static void plain_lse(const struct job *job, struct space *space, const struct block *block,
                      int64_t r_first, int64_t rows, struct rule_keys keys, double *lse) {
    const double *q = space->q + r_first * job->D;
    const struct sums sums = sums_at(space->sums, rows, job->Dv);
    const struct attn_problem plain = rules_uncorrected(job->view->problem);
    const struct rule_view view = {&plain, job->view->tensors};
    const bool ruled = rules_change_logits(&plain);
    const int64_t i = place_of(job, block, r_first).i;
    for (int64_t r = 0; r < rows; r++) {
        sums.max[r] = -INFINITY;
        sums.p[r] = 0;
    }
    for (int64_t first = 0; first < keys.count; first += BLOCK_KEYS) {
        const int64_t left = keys.count - first, count = left < BLOCK_KEYS ? left : BLOCK_KEYS;
        gather_k(job, space, block, &keys, first, count);
        multiply(space, space->score, plain.scale, q, space->k, rows, count, job->D);
        for (int64_t n = 0; ruled && n < rows * count; n++) {
            struct rule_logit logit = {
                .value = space->score[n], .i = i, .t = rule_token(&keys, first + n % count)};
            rules_logit(&view, block->b, block->g * job->group + r_first + n / count, &logit);
            space->score[n] = logit.value;
        }
        for (int64_t r = 0; r < rows; r++) {
            const double max = fmax(sums.max[r], bulk_max(space->score + r * count, count));
            sums.p[r] *= exp(sums.max[r] - max);
            sums.p[r] += bulk_exp_sum(space->score + r * count, space->other, count, max);
            sums.max[r] = max;
        }
    }
    for (int64_t r = 0; r < rows; r++)
        lse[r] = keys.count ? sums.max[r] + log(sums.p[r]) : -INFINITY;
}

void block_mass(const struct job *job, struct space *space, const struct block *block,
                struct rule_keys all, double *mass) {
    gather_q(job, space, block);
    plain_lse(job, space, block, 0, block->rows, all, mass);
    for (int64_t r = 0; r < block->rows; r++) {
        double kept;
        plain_lse(job, space, block, r, 1, block_keys(job, block, r), &kept);
        mass[r] = exp(kept - mass[r]);
    }
}
