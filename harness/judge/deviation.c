/* Measuring an output against the answer. The work is cut into units -- one (head, block of 128
 * queries) each, which is also what rho_block is taken over -- that threads take in any order and
 * that are summed up in one, so that the numbers do not depend on the thread count. Within a unit
 * one row of D elements at a time goes through a few plain loops over arrays that stay in the L1
 * cache and that a compiler turns into vectors; what is not finite is rare and handled before,
 * element by element. No log and no pow per element: a bin of the ulp histogram is the exponent and
 * four bits of the mantissa. */
#include "deviation.h"
#include "chance.h"
#include "tolerance.h"
#include "../../fixtures/clones.h"
#include "../../fixtures/spread.h"
#include "../../kernels/attn_number.h"
#include "../../oracle/bulk.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCK_ROWS = DEVIATION_BLOCK_ROWS,
    CHUNK = 256, /* elements of a row at once, nearly always the row */
    LANES = 8,   /* partial sums of a reduction: one order of summation on every machine */
    BIN_SHIFT = 52 - 4,
    BIN_OCTAVES = 80,
    BINS = BIN_OCTAVES << 4,
};

/* The smallest ulp count with a bin of its own; less is "0 ulp". */
static const double bin_least = 0x1p-20;

/* Of exact data an element may be off the nearest by what few roundings in f32 come to: shares of
 * the keys that are each divided by their sum before they are merged are not exact, and where the
 * answer is 0 or halfway between two values that shows. A key that is missing from 2^16 is more. */
static const double exact_slack = 8 * 0x1p-24;

/* A rounding error is at most 2.4 times its root mean square, and a few keys' no more together, as
 * long as they are independent. In f32 they are not where the logits of many keys round alike: of
 * 11,000 problems drawn at random the largest was 4.3 (MagicPIG, D 1, one element). */
static const double chance_most = 6;

/* The counts, sums and maxima of a unit, and then of all units. */
struct unit {
    int64_t elements, nan_count, inf_count, unwritten_count, structure_count, inexact_count;
    int64_t empty_row_count, empty_row_wrong, lse_wrong, lse_beyond_a, lse_beyond_b;
    int64_t pad_rows, pad_left, pad_zeroed, pad_overwritten;
    int64_t compared;                       /* elements that the sums are over */
    double error, error2, toward, relative; /* |e|, e^2, sign(o) e, |e| / (|o| + 1e-7) */
    double model2, spread;                  /* model^2, and half its variance: sum_elements */
    double s_model2;                        /* what S in 16 bits adds to model^2 */
    double ref2, out2, product;
    double max_ref, max_out, max_error, max_relative, max_ulp;
    struct deviation_place worst, lse_worst, inexact;
    enum { BY_TOLERANCE, BY_STRUCTURE, UNWRITTEN } worst_kind;
    double t_max, lse_max;
};

struct job {
    const struct rule_view *view;
    const struct answer *answer;
    const void *out;
    const float *lse;
    struct rounding rounding;
    char lse_grade;
    int64_t blocks;             /* units of one head */
    int64_t *block_start;       /* [blocks + 1] into answer->rows */
    struct unit *units;         /* [batch * q_heads * blocks] */
    _Atomic int64_t *histogram; /* [BINS] ulp counts; bin 0: less than bin_least */
};

/* A unit on its way. */
struct measurer {
    const struct job *job;
    double o[CHUNK], a[CHUNK], r[CHUNK]; /* copies, where an element is not finite */
    double lost_abs[CHUNK], lost_rms[CHUNK];
    double got[CHUNK];
    double error[CHUNK], toward[CHUNK], relative[CHUNK], ulps[CHUNK], model2[CHUNK];
    double tau[CHUNK], t[CHUNK], off_nearest[CHUNK];
    int64_t histogram[BINS];
};

static double max_of(double a, double b) {
    return a > b ? a : b;
}

/* Inlined into the clones below, so that they are vectors there too. */
#define IN_CLONES static inline __attribute__((always_inline))

IN_CLONES double product_of(const double *x, const double *y, int64_t n) {
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) lane[l] += x[i + l] * y[i + l];
    }
    for (; i < n; i++) lane[i % LANES] += x[i] * y[i];
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) +
           ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

IN_CLONES double sum_of(const double *x, int64_t n) {
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) lane[l] += x[i + l];
    }
    for (; i < n; i++) lane[i % LANES] += x[i];
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) +
           ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

IN_CLONES double largest_of(const double *x, int64_t n) {
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) lane[l] = max_of(fabs(x[i + l]), lane[l]);
    }
    for (; i < n; i++) lane[0] = max_of(fabs(x[i]), lane[0]);
    for (int l = 1; l < LANES; l++) lane[0] = max_of(lane[l], lane[0]);
    return lane[0];
}

static const void *element(const struct job *job, int64_t at) {
    return (const char *)job->out + at * attn_dtype_bytes(job->rounding.dtype);
}

FOR_EVERY_MACHINE static bool answer_is_finite(const double *x, int64_t n) {
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) lane[l] += x[i + l] - x[i + l];
    }
    for (; i < n; i++) lane[0] += x[i] - x[i];
    return sum_of(lane, LANES) == 0;
}

uint32_t deviation_unwritten(enum attn_dtype dtype) {
    return dtype == ATTN_F16    ? UNWRITTEN_16
           : dtype == ATTN_BF16 ? UNWRITTEN_BF16
           : dtype == ATTN_E4M3 ? UNWRITTEN_E4M3
                                : UNWRITTEN_32;
}

bool deviation_is_unwritten(const void *element, enum attn_dtype dtype) {
    const uint32_t word = deviation_unwritten(dtype);
    return memcmp(element, &word, (size_t)attn_dtype_bytes(dtype)) == 0; /* little-endian */
}

/* Fills the arrays of `work` from o, a, r and work->got, element by element; where weights are lost
 * (tolerance.h), from these too. */
IN_CLONES void compare_all(struct measurer *restrict work, const double *restrict o,
                           const double *restrict a, const double *restrict r,
                           const double *restrict lost_abs, const double *restrict lost_rms,
                           bool lossy, int64_t n, const struct row_bounds *row_bounds,
                           const struct rounding *rounding) {
    const struct row_bounds bounds = *row_bounds;
    const double spacing = 2 * rounding->roundoff, least = rounding->ulp_least;
    const double unit = rounding->unit, inverse = 1 / unit;
    for (int64_t i = 0; i < n; i++) {
        const double got = work->got[i], error = got - o[i], size = fabs(o[i]);
        /* The distance of the type's values around o: from its exponent alone, as it is stored. */
        const double stored = o[i] * inverse;
        const uint64_t exponent = attn_f64_bits(stored) & 0x7ff0000000000000u;
        const double step = max_of(attn_f64_from_bits(exponent) * spacing, least);
        /* At 1.5 * 2^52 ulp doubles lie one ulp apart: adding that rounds o to the type. */
        const double rounded = ((stored + 0x1.8p52 * step) - 0x1.8p52 * step) * unit;
        const double ulp = step * unit;
        const double lost = lossy ? tolerance_lost(lost_abs[i], lost_rms[i]) : 0;
        const double lost2 = lossy ? lost_rms[i] * lost_rms[i] : 0;
        const double tau = tolerance_tau(&bounds, o[i], a[i], r[i], lost);
        work->error[i] = fabs(error);
        work->toward[i] = o[i] > 0 ? error : o[i] < 0 ? -error : 0;
        work->relative[i] = fabs(error) / (size + 1e-7);
        work->ulps[i] = fabs(error) / ulp;
        work->model2[i] = (rounded - o[i]) * (rounded - o[i]) + bounds.r2_slope * r[i] * r[i] +
                          bounds.o2_slope * o[i] * o[i] + lost2;
        work->tau[i] = tau;
        work->t[i] = fabs(error) / tau;
        work->off_nearest[i] =
            got != rounded && fabs(error) > ulp / 2 + exact_slack * (size + a[i]) ? 1 : 0;
    }
}

FOR_EVERY_MACHINE static void compare_elements(struct measurer *work, const double *o,
                                               const double *a, const double *r, int64_t n,
                                               const struct row_bounds *bounds,
                                               const struct rounding *rounding) {
    compare_all(work, o, a, r, NULL, NULL, false, n, bounds, rounding);
}

FOR_EVERY_MACHINE static void compare_lossy(struct measurer *work, const double *o, const double *a,
                                            const double *r, const double *lost_abs,
                                            const double *lost_rms, int64_t n,
                                            const struct row_bounds *bounds,
                                            const struct rounding *rounding) {
    compare_all(work, o, a, r, lost_abs, lost_rms, true, n, bounds, rounding);
}

FOR_EVERY_MACHINE static void sum_elements(struct unit *unit, const struct measurer *work,
                                           const double *o, const double *a, const double *r,
                                           const double *lost_rms, int64_t n,
                                           const struct row_bounds *bounds, bool exact) {
    const double r2 = product_of(r, r, n), a2 = product_of(a, a, n), o2 = product_of(o, o, n);
    unit->error += sum_of(work->error, n);
    unit->error2 += product_of(work->error, work->error, n);
    unit->toward += sum_of(work->toward, n);
    unit->relative += sum_of(work->relative, n);
    unit->model2 += sum_of(work->model2, n);
    unit->s_model2 += bounds->s2_slope * r2;
    /* Half the variance of a row's sum of e^2. Elements scatter each on its own; beyond that what
     * comes from P scatters as n_eff keys and as fewer columns, the denominator's part as one. */
    const double lost2 = lost_rms != NULL ? product_of(lost_rms, lost_rms, n) : 0;
    const double of_p = bounds->r2_slope * r2 + lost2, of_sum = bounds->o2_slope * o2;
    const double n_eff_inverse = a2 > 0 ? r2 / a2 : 0;
    unit->spread += product_of(work->model2, work->model2, n) +
                    of_p * of_p * (n_eff_inverse + bounds->shared) + of_sum * of_sum;
    unit->ref2 += o2;
    unit->out2 += product_of(work->got, work->got, n);
    unit->product += product_of(work->got, o, n);
    unit->max_ref = max_of(unit->max_ref, largest_of(o, n));
    unit->max_out = max_of(unit->max_out, largest_of(work->got, n));
    unit->max_error = max_of(unit->max_error, largest_of(work->error, n));
    unit->max_relative = max_of(unit->max_relative, largest_of(work->relative, n));
    unit->max_ulp = max_of(unit->max_ulp, largest_of(work->ulps, n));
    if (exact) unit->inexact_count += (int64_t)sum_of(work->off_nearest, n);
}

FOR_EVERY_MACHINE static double worst_of_elements(const struct measurer *work, int64_t n) {
    return largest_of(work->t, n);
}

/* Bins begin at bin_least; everything below shares bin 0, everything too large the last. */
static uint64_t bin_base(void) {
    return (attn_f64_bits(bin_least) >> BIN_SHIFT) - 1;
}

static void count_ulps(struct measurer *work, int64_t n) {
    const int64_t base = (int64_t)bin_base();
    for (int64_t i = 0; i < n; i++) {
        const int64_t bin = (int64_t)(attn_f64_bits(work->ulps[i]) >> BIN_SHIFT) - base;
        work->histogram[bin < 0 ? 0 : bin >= BINS ? BINS - 1 : bin]++;
    }
}

/* The upper edge of the bin below which that share of all counts lies. */
static double ulp_quantile(const _Atomic int64_t histogram[BINS], double share) {
    int64_t all = 0, below = 0, bin = 0;
    for (int64_t n = 0; n < BINS; n++) all += histogram[n];
    for (; bin < BINS - 1; bin++) {
        below += histogram[bin];
        if ((double)below >= share * (double)all) break;
    }
    return bin == 0 ? 0 : attn_f64_from_bits((bin_base() + (uint64_t)bin + 1) << BIN_SHIFT);
}

static void count_octaves(int64_t counts[DEVIATION_OCTAVES],
                          const _Atomic int64_t histogram[BINS]) {
    const int first = (int)((attn_f64_bits(DEVIATION_ULP_LEAST) >> BIN_SHIFT) - bin_base());
    for (int bin = 0; bin < BINS; bin++) {
        const int octave = bin < first ? 0 : 1 + (bin - first) / 16;
        counts[octave < DEVIATION_OCTAVES ? octave : DEVIATION_OCTAVES - 1] += histogram[bin];
    }
}

static bool same_structure(double got, double expected) {
    return isnan(expected) ? isnan(got) : got == expected;
}

/* Counts what is not finite among the n elements in `work` and sets it to 0 on both sides, where it
 * weighs nothing in any sum. */
static void set_aside(struct unit *unit, struct measurer *work, const struct row_bounds *bounds,
                      struct deviation_place place, int64_t at, int64_t n) {
    const struct job *job = work->job;
    for (int64_t i = 0; i < n; i++) {
        const double got = work->got[i], o = work->o[i];
        if (isfinite(got) && isfinite(o)) continue;
        const double lost = tolerance_lost(work->lost_abs[i], work->lost_rms[i]);
        const double tau = isfinite(o) ? tolerance_tau(bounds, o, work->a[i], work->r[i], lost) : 0;
        const double target = rounding_target(&job->rounding, o);
        int kind = BY_TOLERANCE;
        if (deviation_is_unwritten(element(job, at + i), job->rounding.dtype)) {
            unit->unwritten_count++;
            kind = UNWRITTEN;
        } else {
            unit->nan_count += isnan(got) ? 1 : 0;
            unit->inf_count += isinf(got) ? 1 : 0;
            const bool rounds_to_inf = isinf(got) && isfinite(o) && (got > 0) == (o > 0) &&
                                       fabs(o) + tau >= job->rounding.overflow;
            if (!same_structure(got, target) && !rounds_to_inf) {
                unit->structure_count++;
                kind = BY_STRUCTURE;
            }
        }
        if (kind > (int)unit->worst_kind) {
            unit->worst_kind = kind;
            unit->t_max = INFINITY;
            unit->worst = (struct deviation_place){
                place.b, place.h, place.i, place.d + i, isnan(got) ? (double)NAN : got,
                target,  tau}; /* a NaN without its sign, for print */
        }
        work->got[i] = work->o[i] = work->a[i] = work->r[i] = 0;
        work->lost_abs[i] = work->lost_rms[i] = 0;
        unit->compared--;
        work->histogram[0]--;
    }
}

static void copy_or_clear(double *to, const double *from, int64_t n) {
    if (from != NULL)
        memcpy(to, from, (size_t)n * sizeof *to);
    else
        memset(to, 0, (size_t)n * sizeof *to);
}

/* What f32 may lose is looked for where it is asked for: where an element is off, and next to
 * nothing. */
static void allow_flushed(struct measurer *work, struct deviation_place place, int64_t from,
                          int64_t n) {
    const struct answer *answer = work->job->answer;
    const int64_t row = from / answer->value_dim % answer->row_count;
    for (int64_t i = 0; i < n; i++) {
        if (!(work->t[i] > 1)) continue;
        const double flushed = tolerance_flushed(work->job->view, answer, place.b, place.h, row,
                                                 from % answer->value_dim + i);
        work->tau[i] += flushed;
        work->t[i] = work->error[i] / work->tau[i];
        work->model2[i] += flushed * flushed;
    }
}

/* n <= CHUNK elements of the row `place`, which begin at `at` in out and at `from` in the answer.
 */
static void add_chunk(struct unit *unit, struct measurer *work, const struct row_bounds *bounds,
                      struct deviation_place place, int64_t at, int64_t from, int64_t n,
                      bool exact) {
    const struct job *job = work->job;
    const double *o = job->answer->out + from, *a = job->answer->p_abs_v + from,
                 *r = job->answer->p_rms_v + from;
    const bool lossy = job->rounding.p_subnormal && job->answer->lost_abs_v != NULL;
    const double *lost_abs = lossy ? job->answer->lost_abs_v + from : NULL;
    const double *lost_rms = lossy ? job->answer->lost_rms_v + from : NULL;
    unit->elements += n;
    unit->compared += n;
    const bool finite = bulk_widen_out(work->got, job->view, element(job, at), n);
    const double most = job->rounding.most;
    if (!finite || !answer_is_finite(o, n) || (most < INFINITY && largest_of(o, n) > most)) {
        memcpy(work->o, o, (size_t)n * sizeof *o);
        memcpy(work->a, a, (size_t)n * sizeof *a);
        memcpy(work->r, r, (size_t)n * sizeof *r);
        copy_or_clear(work->lost_abs, lost_abs, n);
        copy_or_clear(work->lost_rms, lost_rms, n);
        set_aside(unit, work, bounds, place, at, n);
        for (int64_t i = 0; i < n; i++) work->o[i] = rounding_target(&job->rounding, work->o[i]);
        o = work->o, a = work->a, r = work->r;
        if (lossy) lost_abs = work->lost_abs, lost_rms = work->lost_rms;
    }
    if (lossy)
        compare_lossy(work, o, a, r, lost_abs, lost_rms, n, bounds, &job->rounding);
    else
        compare_elements(work, o, a, r, n, bounds, &job->rounding);
    allow_flushed(work, place, from, n);
    const int64_t inexact_before = unit->inexact_count;
    sum_elements(unit, work, o, a, r, lost_rms, n, bounds, exact);
    for (int64_t i = 0; inexact_before == 0 && unit->inexact_count > 0 && i < n; i++) {
        if (work->off_nearest[i] == 0) continue;
        unit->inexact = (struct deviation_place){place.b,      place.h, place.i,     place.d + i,
                                                 work->got[i], o[i],    work->tau[i]};
        break;
    }
    count_ulps(work, n);
    if (unit->worst_kind != BY_TOLERANCE || !(worst_of_elements(work, n) >= unit->t_max)) return;
    for (int64_t i = 0; i < n; i++) {
        if (unit->worst.b >= 0 && work->t[i] <= unit->t_max) continue;
        unit->t_max = work->t[i];
        unit->worst = (struct deviation_place){place.b,      place.h, place.i,     place.d + i,
                                               work->got[i], o[i],    work->tau[i]};
    }
}

static void add_lse(struct unit *unit, const struct job *job, double got, double expected,
                    const struct row_size *size, struct deviation_place place) {
    /* Of a row that holds no number, an lse may say so as NaN or as infinity. */
    const bool same = isnan(expected) ? !isfinite(got) : got == expected;
    const bool finite = isfinite(got) && isfinite(expected);
    const double error = finite ? fabs(got - expected) : same ? 0 : INFINITY;
    const double of = isfinite(expected) ? expected : 0;
    const double a = tolerance_of_lse(&job->rounding, size, of, 'A');
    const double b = tolerance_of_lse(&job->rounding, size, of, 'B');
    const double bound = job->lse_grade == 'B' ? b : a, t = error / bound;
    if (t > 1) unit->lse_wrong++;
    if (error > a) unit->lse_beyond_a++;
    if (error > b) unit->lse_beyond_b++;
    if (unit->lse_worst.b >= 0 && t <= unit->lse_max) return;
    unit->lse_max = t;
    unit->lse_worst = (struct deviation_place){
        place.b, place.h, place.i, -1, got, expected, isfinite(expected) ? bound : 0};
}

static void add_row(struct unit *unit, struct measurer *work, int64_t b, int64_t h, int64_t row,
                    double columns) {
    const struct job *job = work->job;
    const struct answer *answer = job->answer;
    const struct attn_problem *problem = job->view->problem;
    const int64_t i = answer->rows[row], dim = problem->value_dim;
    const int64_t at = (b * problem->q_heads + h) * problem->q_len + i;
    const int64_t from = (b * problem->q_heads + h) * answer->row_count + row;
    const struct row_size size = row_size_of(job->view, answer, b, h, row);
    const struct row_bounds bounds = row_bounds_of(&job->rounding, &size, columns, dim);
    const bool power_of_two = size.keys > 0 && (size.keys & (size.keys - 1)) == 0 &&
                              rules_sink(job->view, b, h) == -INFINITY;
    struct deviation_place place = {.b = b, .h = h, .i = i};

    const double max_out = unit->max_out;
    const int64_t special = unit->nan_count + unit->inf_count + unit->unwritten_count;
    unit->max_out = 0;
    for (place.d = 0; place.d < dim; place.d += CHUNK) {
        const int64_t n = dim - place.d < CHUNK ? dim - place.d : CHUNK;
        add_chunk(unit, work, &bounds, place, at * dim + place.d, from * dim + place.d, n,
                  power_of_two);
    }
    if (size.keys == 0) {
        unit->empty_row_count++;
        if (unit->max_out != 0 ||
            unit->nan_count + unit->inf_count + unit->unwritten_count != special)
            unit->empty_row_wrong++;
    }
    unit->max_out = max_of(unit->max_out, max_out);
    if (job->lse != NULL)
        add_lse(unit, job, job->rounding.lse_unit * (double)job->lse[at], answer->lse[from], &size,
                place);
}

/* What a kernel did to a row beyond the sequence's length. */
static void add_padding(struct unit *unit, const struct job *job, int64_t b, int64_t h, int64_t i) {
    const struct attn_problem *problem = job->view->problem;
    const int64_t dim = problem->value_dim;
    const int64_t at = ((b * problem->q_heads + h) * problem->q_len + i) * dim;
    int64_t unwritten = 0, zero = 0;
    for (int64_t d = at; d < at + dim; d++) {
        double value;
        unwritten += deviation_is_unwritten(element(job, d), job->rounding.dtype);
        bulk_widen(&value, NULL, NULL, element(job, d), job->rounding.dtype, 1);
        zero += value == 0;
    }
    unit->pad_rows++;
    int64_t *policy = unwritten == dim ? &unit->pad_left
                      : zero == dim    ? &unit->pad_zeroed
                                       : &unit->pad_overwritten;
    ++*policy;
}

static void measure_unit(void *context, int64_t index) {
    const struct job *job = context;
    struct measurer work;
    work.job = job;
    memset(work.histogram, 0, sizeof work.histogram);
    const struct attn_problem *problem = job->view->problem;
    struct unit *unit = &job->units[index];
    const int64_t block = index % job->blocks, head = index / job->blocks;
    const int64_t b = head / problem->q_heads, h = head % problem->q_heads;
    const int64_t q_len = rules_q_len(job->view, b);
    const int64_t begin = job->block_start[block];
    int64_t end = job->block_start[block + 1];
    while (end > begin && job->answer->rows[end - 1] >= q_len) end--;
    unit->worst.b = unit->lse_worst.b = -1;
    if (end > begin) {
        const double columns = chance_columns(job->view, b, h, job->answer->rows[end - 1]);
        for (int64_t row = begin; row < end; row++) add_row(unit, &work, b, h, row, columns);
    }
    for (int64_t i = q_len; i < problem->q_len && block == 0; i++) add_padding(unit, job, b, h, i);
    for (int64_t bin = 0; bin < BINS; bin++) {
        if (work.histogram[bin] != 0) job->histogram[bin] += work.histogram[bin];
    }
}

/* The rows the answer holds, cut where their indices pass a multiple of BLOCK_ROWS. */
static void cut_blocks(struct job *job) {
    const struct answer *answer = job->answer;
    job->block_start = calloc((size_t)answer->row_count + 1, sizeof *job->block_start);
    if (job->block_start == NULL) abort();
    for (int64_t row = 1; row <= answer->row_count; row++) {
        if (row < answer->row_count &&
            answer->rows[row] / BLOCK_ROWS == answer->rows[row - 1] / BLOCK_ROWS)
            continue;
        job->block_start[++job->blocks] = row;
    }
}

static void add_unit(struct unit *all, const struct unit *unit) {
    all->elements += unit->elements;
    all->compared += unit->compared;
    all->nan_count += unit->nan_count;
    all->inf_count += unit->inf_count;
    all->unwritten_count += unit->unwritten_count;
    all->structure_count += unit->structure_count;
    if (all->inexact_count == 0) all->inexact = unit->inexact;
    all->inexact_count += unit->inexact_count;
    all->empty_row_count += unit->empty_row_count;
    all->empty_row_wrong += unit->empty_row_wrong;
    all->lse_wrong += unit->lse_wrong;
    all->lse_beyond_a += unit->lse_beyond_a;
    all->lse_beyond_b += unit->lse_beyond_b;
    all->pad_rows += unit->pad_rows;
    all->pad_left += unit->pad_left;
    all->pad_zeroed += unit->pad_zeroed;
    all->pad_overwritten += unit->pad_overwritten;
    all->error += unit->error;
    all->error2 += unit->error2;
    all->toward += unit->toward;
    all->relative += unit->relative;
    all->model2 += unit->model2;
    all->s_model2 += unit->s_model2;
    all->spread += unit->spread;
    all->ref2 += unit->ref2;
    all->out2 += unit->out2;
    all->product += unit->product;
    all->max_ref = max_of(all->max_ref, unit->max_ref);
    all->max_out = max_of(all->max_out, unit->max_out);
    all->max_error = max_of(all->max_error, unit->max_error);
    all->max_relative = max_of(all->max_relative, unit->max_relative);
    all->max_ulp = max_of(all->max_ulp, unit->max_ulp);
    if (unit->worst.b >= 0 && (all->worst.b < 0 || unit->worst_kind > all->worst_kind ||
                               (unit->worst_kind == all->worst_kind && unit->t_max > all->t_max))) {
        all->worst = unit->worst;
        all->worst_kind = unit->worst_kind;
        all->t_max = unit->t_max;
    }
    if (unit->lse_worst.b >= 0 && (all->lse_worst.b < 0 || unit->lse_max > all->lse_max)) {
        all->lse_worst = unit->lse_worst;
        all->lse_max = unit->lse_max;
    }
}

static double ratio(double a, double b) {
    return b > 0 ? a / b : a > 0 ? INFINITY : 0;
}

static double chance_of(const struct unit *unit) {
    if (!(unit->spread > 0)) return 1;
    const double beyond = chance_ratio(unit->model2 * unit->model2 / unit->spread) / RHO_GRADE_A;
    return fmin(fmax(beyond, 1), chance_most);
}

/* Limits of B and C are for logits of a few units: half of what S in 16 bits makes of the model,
 * because X is the largest logit and not each. */
static double widening_of(const struct unit *unit) {
    return fmax(sqrt(ratio(unit->model2 + unit->s_model2, unit->model2)) / 2, 1);
}

static void find_worst_block(struct deviation *deviation, const struct job *job) {
    const struct attn_problem *problem = job->view->problem;
    double worst = -1;
    for (int64_t n = 0; n < problem->batch * problem->q_heads * job->blocks; n++) {
        const struct unit *unit = &job->units[n];
        if (unit->compared == 0) continue;
        const double rho = sqrt(ratio(unit->error2, unit->model2)), chance = chance_of(unit);
        const double wide = widening_of(unit);
        deviation->rho_block_most = fmax(deviation->rho_block_most, rho / chance);
        if (!(rho / (chance * wide) > worst)) continue;
        worst = rho / (chance * wide);
        deviation->rho_block = rho;
        deviation->rho_block_chance = chance;
        deviation->rho_block_wide = wide;
        deviation->rho_block_b = n / job->blocks / problem->q_heads;
        deviation->rho_block_h = n / job->blocks % problem->q_heads;
        deviation->rho_block_i = job->answer->rows[job->block_start[n % job->blocks]];
    }
}

void deviation_measure(struct deviation *deviation, const struct rule_view *view,
                       const struct answer *answer, const void *out, const float *lse,
                       const struct promise *promise, int threads) {
    const struct attn_problem *problem = view->problem;
    assert(answer->batch == problem->batch && answer->q_heads == problem->q_heads &&
           answer->value_dim == problem->value_dim);
    struct job job = {
        .view = view,
        .answer = answer,
        .out = out,
        .lse = lse,
        .rounding = rounding_of(view, promise),
        .lse_grade = promise->lse_grade,
    };
    cut_blocks(&job);
    const int64_t units = problem->batch * problem->q_heads * job.blocks;
    job.units = calloc((size_t)units + 1, sizeof *job.units);
    job.histogram = calloc(BINS, sizeof *job.histogram);
    if (job.units == NULL || job.histogram == NULL) abort();
    spread(threads, units, measure_unit, &job);
    struct unit all = {.worst.b = -1, .lse_worst.b = -1};
    for (int64_t n = 0; n < units; n++) add_unit(&all, &job.units[n]);
    const double count = (double)all.compared;
    const struct deviation_place nowhere = {.b = -1, .h = -1, .i = -1, .d = -1};
    *deviation = (struct deviation){
        .elements = all.elements,
        .nan_count = all.nan_count,
        .inf_count = all.inf_count,
        .unwritten_count = all.unwritten_count,
        .structure_count = all.structure_count,
        .empty_row_count = all.empty_row_count,
        .empty_row_wrong = all.empty_row_wrong,
        .inexact_count = all.inexact_count,
        .inexact = all.inexact_count > 0 ? all.inexact : nowhere,
        .max_ref = all.max_ref,
        .max_out = all.max_out,
        .max_abs = all.max_error,
        .mean_abs = ratio(all.error, count),
        .rms_abs = sqrt(ratio(all.error2, count)),
        .worst = all.worst.b < 0 ? nowhere : all.worst,
        .t_max = all.t_max,
        .rho = sqrt(ratio(all.error2, all.model2)),
        .rho_chance = chance_of(&all),
        .rho_wide = widening_of(&all),
        .rho_block_chance = 1,
        .rho_block_wide = 1,
        .rho_block_b = -1,
        .rho_block_h = -1,
        .rho_block_i = -1,
        .bias = copysign(ratio(fabs(all.toward), sqrt(count * all.model2)), all.toward),
        .ulp_median = ulp_quantile(job.histogram, 0.5),
        .ulp_p99 = ulp_quantile(job.histogram, 0.99),
        .ulp_max = all.max_ulp,
        .cosine = all.ref2 > 0 && all.out2 > 0 ? all.product / sqrt(all.ref2 * all.out2)
                  : all.ref2 == all.out2       ? 1
                                               : 0,
        .rms_relative = sqrt(ratio(all.error2, all.ref2)),
        .mere = ratio(all.relative, count),
        .mare = all.max_relative,
        .rho_std16 = NAN,
        .lse_judged = lse != NULL,
        .lse_wrong = all.lse_wrong,
        .lse_grade = all.lse_beyond_a == 0   ? 'A'
                     : all.lse_beyond_b == 0 ? 'B'
                                             : 'F',
        .lse_max = all.lse_max,
        .lse_worst = all.lse_worst.b < 0 ? nowhere : all.lse_worst,
        .pad_rows = all.pad_rows,
        .pad_left = all.pad_left,
        .pad_zeroed = all.pad_zeroed,
        .pad_overwritten = all.pad_overwritten,
    };
    count_octaves(deviation->ulp_counts, job.histogram);
    find_worst_block(deviation, &job);
    free(job.histogram);
    free(job.units);
    free(job.block_start);
}
