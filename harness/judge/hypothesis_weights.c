/* How a row's keys may have been weighed, and what may have been made of the weights. */
#include "hypothesis.h"
#include "../../kernels/attn_number.h"

static bool has(const struct course *course, uint64_t trait) {
    return (course->traits & trait) != 0;
}

/* Tiles of 16, 32, 64, 128; shares of 2, 4, 8, 16. */
static int64_t tiles(const struct rule_view *view) {
    (void)view;
    return 4;
}

static int64_t shares(const struct rule_view *view) {
    return tiles(view);
}

/* Which weights */

static bool uncorrected(struct course *course) {
    course->traits &= ~(uint64_t)ATTN_MAGICPIG;
    return course->traits != course->view->problem->traits;
}

static bool correction_added(struct course *course) {
    course->correction = -1;
    return has(course, ATTN_MAGICPIG);
}

static bool one_bit(struct course *course) {
    course->lsh_k = 1;
    return has(course, ATTN_MAGICPIG);
}

static bool one_table_fewer(struct course *course) {
    course->lsh_l -= 1;
    return has(course, ATTN_MAGICPIG);
}

static int64_t q_heads(const struct rule_view *view) {
    const int64_t heads = view->problem->q_heads;
    return heads < 64 ? heads : 64;
}

static bool hashes_of_another(struct course *course) {
    const struct attn_tensor *tensors = course->view->tensors;
    if (!has(course, ATTN_MAGICPIG)) return false;
    const int64_t at = course->b * course->view->problem->q_heads + (int64_t)course->number;
    course->said[0] = course->number;
    course->lsh_k = ((const float *)tensors[ATTN_LSH_K].data)[at];
    course->lsh_l = ((const float *)tensors[ATTN_LSH_L].data)[at];
    return true;
}

static bool uncapped(struct course *course) {
    course->traits &= ~(uint64_t)ATTN_SOFTCAP;
    return course->traits != course->view->problem->traits;
}

/* scale c tanh(x / c) is c' tanh(scale x / c') where c' = scale c. */
static bool capped_before_scale(struct course *course) {
    course->softcap *= course->view->problem->scale;
    return has(course, ATTN_SOFTCAP) && course->view->problem->scale != 1;
}

static bool cap_not_divided_by(struct course *course) {
    course->scale = course->softcap;
    return has(course, ATTN_SOFTCAP) && course->softcap != 1;
}

static void weigh_cap_not_multiplied(const struct course *course, const double *s, double *e,
                                     int64_t count, double *l) {
    double m = -INFINITY;
    for (int64_t n = 0; n < count; n++) m = fmax(m, s[n]);
    *l = 0;
    for (int64_t n = 0; n < count; n++) *l += e[n] = exp((s[n] - m) / course->softcap);
}

static bool cap_not_multiplied(struct course *course) {
    course->weigh = weigh_cap_not_multiplied;
    return has(course, ATTN_SOFTCAP) && course->softcap != 1;
}

/* What -infinity becomes where it is capped. */
static void weigh_mask_capped(const struct course *course, const double *s, double *e,
                              int64_t count, double *l) {
    const struct rule_keys seen = rules_keys(course->view, course->b, course->h, course->query);
    double m = -INFINITY;
    for (int64_t n = 0; n < count; n++) m = fmax(m, s[n]);
    *l = 0;
    for (int64_t n = 0; n < count; n++) {
        const bool sees = n >= seen.first && n < seen.first + seen.count;
        *l += e[n] = exp((sees ? s[n] : -course->softcap) - m);
    }
}

static bool mask_capped(struct course *course) {
    const int64_t tokens = rules_kv_len(course->view, course->b);
    const bool masked = course->first > 0 || course->end < tokens;
    course->first = 0;
    course->end = tokens;
    course->weigh = masked ? weigh_mask_capped : NULL;
    return has(course, ATTN_SOFTCAP) && course->list == NULL;
}

static bool sink_as(struct course *course, double sink) {
    course->sink = sink;
    return has(course, ATTN_SINK);
}

static bool no_sink(struct course *course) {
    return sink_as(course, -INFINITY);
}

static bool sink_of_another(struct course *course) {
    course->said[0] = course->number;
    return sink_as(course, rules_sink(course->view, course->b, (int64_t)course->number));
}

static bool sink_of_kv_head(struct course *course) {
    const struct attn_problem *problem = course->view->problem;
    const int64_t g = course->h / (problem->q_heads / problem->kv_heads);
    return sink_as(course, rules_sink(course->view, course->b, g)) && has(course, ATTN_GQA);
}

static bool sink_scaled(struct course *course) {
    return sink_as(course, course->sink * course->view->problem->scale);
}

static bool sink_in_base_2(struct course *course) {
    return sink_as(course, course->sink * 0x1.62e42fefa39efp-1); /* ln 2 */
}

static bool sink_in_each_share(struct course *course) {
    course->said[0] = 2 << (int)course->number;
    return sink_as(course, course->sink + log(course->said[0]));
}

static bool no_alibi(struct course *course) {
    course->traits &= ~(uint64_t)ATTN_ALIBI;
    return course->traits != course->view->problem->traits;
}

static bool slope_as(struct course *course, int64_t h) {
    const float *slopes = course->view->tensors[ATTN_SLOPES].data;
    if (slopes == NULL) return false;
    course->slope = slopes[h];
    return true;
}

static bool slope_of_another(struct course *course) {
    course->said[0] = course->number;
    return slope_as(course, (int64_t)course->number);
}

static bool slope_of_kv_head(struct course *course) {
    const struct attn_problem *problem = course->view->problem;
    return has(course, ATTN_GQA) &&
           slope_as(course, course->h / (problem->q_heads / problem->kv_heads));
}

static bool slope_negative(struct course *course) {
    course->slope = -course->slope;
    return has(course, ATTN_ALIBI);
}

static bool slope_scaled(struct course *course) {
    course->slope *= (float)course->view->problem->scale;
    return has(course, ATTN_ALIBI);
}

static bool no_bias(struct course *course) {
    course->bias = NULL;
    return has(course, ATTN_BIASED);
}

static void bias_as(struct course *course, int64_t b, int64_t h) {
    if (course->bias != NULL)
        course->bias = rules_bias(course->view, b, h, course->answer->rows[course->row]);
}

static bool bias_of_head(struct course *course) {
    course->said[0] = course->number;
    bias_as(course, course->b, (int64_t)course->number);
    return course->view->problem->bias_heads > 1;
}

static bool bias_of_kv_head(struct course *course) {
    const struct attn_problem *problem = course->view->problem;
    bias_as(course, course->b, course->h / (problem->q_heads / problem->kv_heads));
    return problem->bias_heads > 1 && has(course, ATTN_GQA);
}

static bool bias_of_first_sequence(struct course *course) {
    bias_as(course, 0, course->h);
    return course->view->problem->bias_batch > 1;
}

static bool bias_transposed(struct course *course) {
    const struct attn_problem *problem = course->view->problem;
    if (!has(course, ATTN_BIASED) || problem->q_len != problem->kv_len || problem->q_len < 2)
        return false;
    course->bias =
        rules_bias(course->view, course->b, course->h, 0) + course->answer->rows[course->row];
    course->bias_step = problem->kv_len;
    return true;
}

static bool bias_times(struct course *course, double scale) {
    course->bias_scale = scale;
    return has(course, ATTN_BIASED) && scale != 1;
}

static bool bias_scaled(struct course *course) {
    return bias_times(course, course->view->problem->scale);
}

static bool bias_in_base_2(struct course *course) {
    return bias_times(course, 0x1.62e42fefa39efp-1); /* ln 2 */
}

static bool bias_capped(struct course *course) {
    course->bias_capped = true;
    return has(course, ATTN_BIASED) && has(course, ATTN_SOFTCAP);
}

static bool bias_as_mask(struct course *course) {
    course->bias_is_mask = true;
    return has(course, ATTN_BIASED);
}

static bool columns_left_out(struct course *course) {
    const int64_t tile = 16 << (int)course->number, dim = course->view->problem->head_dim;
    course->columns = dim / tile * tile;
    course->said[0] = (double)course->columns;
    return course->columns > 0 && course->columns < dim;
}

static bool no_scale(struct course *course) {
    course->scale = 1 / course->view->problem->scale;
    return course->view->problem->scale != 1;
}

static bool scale_of(struct course *course, int64_t width) {
    const double scale = 1 / sqrt((double)width);
    course->scale = scale / course->view->problem->scale;
    course->said[0] = (double)width;
    return fabs(course->scale - 1) > 1e-6;
}

static bool scale_of_value(struct course *course) {
    return has(course, ATTN_DV) && scale_of(course, course->view->problem->value_dim);
}

static bool scale_of_key(struct course *course) {
    return scale_of(course, course->view->problem->head_dim);
}

static bool scale_twice(struct course *course) {
    course->scale = course->view->problem->scale;
    return course->scale != 1;
}

static bool base_2(struct course *course) {
    course->scale = 0x1.62e42fefa39efp-1; /* ln 2 */
    return true;
}

static bool base_2_twice(struct course *course) {
    course->scale = 0x1.71547652b82fep+0; /* log2 e */
    return true;
}

static void weigh_evenly(const struct course *course, const double *s, double *e, int64_t count,
                         double *l) {
    (void)course, (void)s;
    for (int64_t n = 0; n < count; n++) e[n] = 1;
    *l = (double)count;
}

static bool even(struct course *course) {
    course->weigh = weigh_evenly;
    return true;
}

static void weigh_wholly(const struct course *course, const double *s, double *e, int64_t count,
                         double *l) {
    (void)course, (void)s, (void)e, (void)count;
    *l = 1;
}

static bool not_divided(struct course *course) {
    course->weigh = weigh_wholly;
    return true;
}

static void weigh_twice_divided(const struct course *course, const double *s, double *e,
                                int64_t count, double *l) {
    (void)course, (void)s, (void)e, (void)count;
    *l *= *l;
}

static bool divided_twice(struct course *course) {
    course->weigh = weigh_twice_divided;
    return true;
}

/* The last tile is filled up. */
static void weigh_padding(const struct course *course, const double *s, double *e, int64_t count,
                          double *l) {
    const int64_t tile = 16 << (int)course->number;
    double m = -INFINITY;
    (void)e;
    for (int64_t n = 0; n < count; n++) m = fmax(m, s[n]);
    *l += (double)((tile - count % tile) % tile) * exp(-m);
}

/* Relative to the maximum that an online softmax had then. */
static void weigh_flushed(const struct course *course, const double *s, double *e, int64_t count,
                          double *l) {
    const int64_t block = 16 << (int)course->number;
    double m = -INFINITY;
    (void)l;
    for (int64_t from = 0; from < count; from += block) {
        const int64_t end = from + block < count ? from + block : count;
        for (int64_t n = from; n < end; n++) m = fmax(m, s[n]);
        for (int64_t n = from; n < end; n++) e[n] = s[n] - m < log(0x1p-14) ? 0 : e[n];
    }
}

/* Shares: 2, 4, 8 or 16 of whole blocks of 64 keys, as even as can be. */

enum sharing { AVERAGED, UNSCALED };

static int64_t share_of(const struct course *course, int64_t count) {
    const int64_t shares = 2 << (int)course->number, blocks = (count + 63) / 64;
    return (blocks + shares - 1) / shares * 64;
}

static void weigh_shares(const struct course *course, const double *s, double *e, int64_t count,
                         double *l, enum sharing fault) {
    const int64_t step = share_of(course, count);
    double sum = 0;
    for (int64_t from = 0; from < count; from += step) {
        const int64_t end = from + step < count ? from + step : count;
        double m = -INFINITY, of_share = 0;
        for (int64_t n = from; n < end; n++) m = fmax(m, s[n]);
        for (int64_t n = from; n < end; n++) of_share += e[n] = exp(s[n] - m);
        for (int64_t n = from; n < end && fault == AVERAGED; n++) e[n] /= of_share;
        sum += fault == AVERAGED ? 1 : of_share;
    }
    *l = sum;
}

static void weigh_averaged(const struct course *course, const double *s, double *e, int64_t count,
                           double *l) {
    weigh_shares(course, s, e, count, l, AVERAGED);
}

static void weigh_unscaled(const struct course *course, const double *s, double *e, int64_t count,
                           double *l) {
    weigh_shares(course, s, e, count, l, UNSCALED);
}

static bool in_shares(struct course *course, void (*weigh)(const struct course *, const double *,
                                                           double *, int64_t, double *)) {
    course->weigh = weigh;
    course->said[0] = 2 << (int)course->number;
    return course->end > 64;
}

static bool shares_averaged(struct course *course) {
    return in_shares(course, weigh_averaged);
}

static bool shares_unscaled(struct course *course) {
    return in_shares(course, weigh_unscaled);
}

static bool last_share_only(struct course *course) {
    const int64_t step = share_of(course, course->end);
    course->said[0] = 2 << (int)course->number;
    course->first = (course->end - 1) / step * step;
    return course->end > 64;
}

/* The output, or l alone, of an online softmax whose maximum moves from block to block, brought to
 * a new maximum twice, or once or never not. */
enum rescaling { OUTPUT_ONCE, OUTPUT_NEVER, OUTPUT_TWICE, SUM_NEVER };

static void weigh_in_blocks(const struct course *course, const double *s, double *e, int64_t count,
                            double *l, enum rescaling fault) {
    const int64_t block = 16 << (int)course->number;
    double m = -INFINITY, sum = 0;
    int64_t moved_at = 0;
    for (int64_t from = 0; from < count; from += block) {
        const int64_t end = from + block < count ? from + block : count;
        const double before = m;
        for (int64_t n = from; n < end; n++) m = fmax(m, s[n]);
        if (fault == OUTPUT_ONCE && moved_at == 0 && from > 0 && m > before) {
            moved_at = from;
            for (int64_t n = 0; n < from; n++) e[n] *= exp(m - before);
        }
        for (int64_t n = 0; n < from && fault == OUTPUT_TWICE && m > before; n++)
            e[n] *= exp(before - m);
        for (int64_t n = from; n < end; n++) {
            sum += exp(s[n] - m);
            if (fault == OUTPUT_NEVER) e[n] = exp(s[n] - m);
        }
    }
    if (fault == SUM_NEVER) *l = sum;
}

static void weigh_output_once(const struct course *course, const double *s, double *e,
                              int64_t count, double *l) {
    weigh_in_blocks(course, s, e, count, l, OUTPUT_ONCE);
}

static void weigh_output_never(const struct course *course, const double *s, double *e,
                               int64_t count, double *l) {
    weigh_in_blocks(course, s, e, count, l, OUTPUT_NEVER);
}

static void weigh_output_twice(const struct course *course, const double *s, double *e,
                               int64_t count, double *l) {
    weigh_in_blocks(course, s, e, count, l, OUTPUT_TWICE);
}

static void weigh_sum_never(const struct course *course, const double *s, double *e, int64_t count,
                            double *l) {
    weigh_in_blocks(course, s, e, count, l, SUM_NEVER);
}

static bool in_blocks(struct course *course, void (*weigh)(const struct course *, const double *,
                                                           double *, int64_t, double *)) {
    course->weigh = weigh;
    course->said[0] = 16 << (int)course->number;
    return true;
}

static bool small_flushed(struct course *course) {
    return course->view->problem->dtype == ATTN_F16 && in_blocks(course, weigh_flushed);
}

static bool output_once(struct course *course) {
    return in_blocks(course, weigh_output_once);
}

static bool output_never(struct course *course) {
    return in_blocks(course, weigh_output_never);
}

static bool output_twice(struct course *course) {
    return in_blocks(course, weigh_output_twice);
}

static bool padding_counted(struct course *course) {
    return in_blocks(course, weigh_padding);
}

static bool sum_never(struct course *course) {
    return in_blocks(course, weigh_sum_never);
}

static double round_to(int32_t dtype, double x) {
    return dtype == ATTN_F16    ? attn_f16_to_f64(attn_f64_to_f16(x))
           : dtype == ATTN_BF16 ? attn_bf16_to_f64(attn_f64_to_bf16(x))
                                : (double)(float)x;
}

static void weigh_rounded(const struct course *course, const double *s, double *e, int64_t count,
                          double *l) {
    const struct attn_problem *problem = course->view->problem;
    const double unit = course->number == 0 ? 1 : problem->scale;
    double m = -INFINITY;
    for (int64_t n = 0; n < count; n++) {
        e[n] = unit * round_to(problem->dtype, s[n] / unit);
        m = fmax(m, e[n]);
    }
    *l = 0;
    for (int64_t n = 0; n < count; n++) *l += e[n] = exp(e[n] - m);
}

static bool logits_rounded(struct course *course) {
    course->number = 0;
    course->weigh = weigh_rounded;
    return course->view->problem->dtype != ATTN_F32;
}

static bool products_rounded(struct course *course) {
    const bool applies = logits_rounded(course);
    course->number = 1;
    return applies;
}

/* As in blocks, with each argument of exp rounded, those of rescaling too. */
static void weigh_arguments_rounded(const struct course *course, const double *s, double *e,
                                    int64_t count, double *l) {
    const int32_t dtype = course->view->problem->dtype;
    const int64_t block = 16 << (int)course->number;
    double m = -INFINITY;
    for (int64_t from = 0; from < count; from += block) {
        const int64_t end = from + block < count ? from + block : count;
        const double before = m;
        for (int64_t n = from; n < end; n++) m = fmax(m, s[n]);
        const double factor = exp(round_to(dtype, before - m));
        for (int64_t n = 0; n < from && m > before; n++) e[n] *= factor;
        for (int64_t n = from; n < end; n++) e[n] = exp(round_to(dtype, s[n] - m));
    }
    *l = 0;
    for (int64_t n = 0; n < count; n++) *l += e[n];
}

static bool arguments_rounded(struct course *course) {
    return course->view->problem->dtype != ATTN_F32 && in_blocks(course, weigh_arguments_rounded);
}

static void weigh_normalised(const struct course *course, const double *s, double *e, int64_t count,
                             double *l) {
    (void)s;
    for (int64_t n = 0; n < count; n++)
        e[n] = *l * round_to(course->view->problem->dtype, e[n] / *l);
}

static bool normalised(struct course *course) {
    course->weigh = weigh_normalised;
    return course->view->problem->dtype == ATTN_F16;
}

/* By u / mantissa in the mean, which is 0.72 u. Of 8 bits it is the output, and shows in each. */
static bool cut_off(struct course *course) {
    const enum attn_dtype dtype = rules_out_dtype(course->view->problem);
    course->cut_off = dtype == ATTN_E4M3;
    if (!course->cut_off) course->out_scale = 1 - 0.72 * unit_roundoff(dtype);
    return dtype != ATTN_F32;
}

/* lse alone */

static bool lse_in_base_2(struct course *course) {
    course->lse_scale = 0x1.71547652b82fep+0;
    return !course->lse_base_2;
}

static bool lse_natural(struct course *course) {
    course->lse_scale = 0x1.62e42fefa39efp-1;
    return course->lse_base_2;
}

static bool lse_in_base_10(struct course *course) {
    course->lse_scale = 0x1.bcb7b1526e50ep-2;
    return true;
}

static bool lse_without_scale(struct course *course) {
    course->lse_m = 1 / course->view->problem->scale;
    return course->lse_m != 1;
}

static bool lse_times_scale(struct course *course) {
    course->lse_scale = course->view->problem->scale;
    return course->lse_scale != 1;
}

static bool lse_over_scale(struct course *course) {
    course->lse_scale = 1 / course->view->problem->scale;
    return course->lse_scale != 1;
}

static bool lse_of_sum(struct course *course) {
    course->lse_m = 0;
    return true;
}

static bool lse_of_largest(struct course *course) {
    course->lse_l = 0;
    return true;
}

static bool lse_maximum_in_base_2(struct course *course) {
    course->lse_m = 0x1.71547652b82fep+0;
    return true;
}

static bool lse_negative(struct course *course) {
    course->lse_scale = -1;
    return true;
}

const struct hypothesis hypotheses_of_weights[] = {
    {"MagicPIG's correction were left out", OF_BOTH, 0, NULL, NULL, uncorrected},
    {"MagicPIG's correction were added, not taken off", OF_BOTH, 0, NULL, NULL, correction_added},
    {"MagicPIG's K were 1", OF_BOTH, 0, NULL, NULL, one_bit},
    {"MagicPIG's L were one less", OF_BOTH, 0, NULL, NULL, one_table_fewer},
    {"MagicPIG's K and L were those of query head %1$.0f", OF_BOTH, 0, q_heads, NULL,
     hashes_of_another},
    {"the sinks were left out", OF_BOTH, 0, NULL, NULL, no_sink},
    {"query head h had the sink of kv head h / (Hq / Hkv)", OF_BOTH, 0, NULL, NULL,
     sink_of_kv_head},
    {"all had the sink of query head %1$.0f", OF_BOTH, 0, q_heads, NULL, sink_of_another},
    {"the sinks were scaled as q.k are", OF_BOTH, 0, NULL, NULL, sink_scaled},
    {"exp2 were taken of the sinks without their log2 e", OF_BOTH, 0, NULL, NULL, sink_in_base_2},
    {"the sinks were counted %1$.0f times, as once in each share of the keys", OF_BOTH, 0, shares,
     NULL, sink_in_each_share},
    {"alibi were left out", OF_BOTH, 0, NULL, NULL, no_alibi},
    {"query head h had the slope of kv head h / (Hq / Hkv)", OF_BOTH, 0, NULL, NULL,
     slope_of_kv_head},
    {"all had the slope of query head %1$.0f", OF_BOTH, 0, q_heads, NULL, slope_of_another},
    {"alibi's slopes had the other sign", OF_BOTH, 0, NULL, NULL, slope_negative},
    {"alibi's slopes were scaled as q.k are", OF_BOTH, 0, NULL, NULL, slope_scaled},
    {"the bias were left out", OF_BOTH, 0, NULL, NULL, no_bias},
    {"all had the bias of query head %1$.0f", OF_BOTH, 0, q_heads, NULL, bias_of_head},
    {"query head h had the bias of kv head h / (Hq / Hkv)", OF_BOTH, 0, NULL, NULL,
     bias_of_kv_head},
    {"all had the bias of the first sequence", OF_BOTH, 0, NULL, NULL, bias_of_first_sequence},
    {"the bias were transposed", OF_BOTH, 0, NULL, NULL, bias_transposed},
    {"the bias were scaled as q.k are", OF_BOTH, 0, NULL, NULL, bias_scaled},
    {"exp2 were taken of the bias without its log2 e", OF_BOTH, 0, NULL, NULL, bias_in_base_2},
    {"the bias were capped with q.k", OF_BOTH, 0, NULL, NULL, bias_capped},
    {"the bias were a mask of yes and no", OF_BOTH, 0, NULL, NULL, bias_as_mask},
    {"the softcap were left out", OF_BOTH, 0, NULL, NULL, uncapped},
    {"q.k were capped before they were scaled", OF_BOTH, 0, NULL, NULL, capped_before_scale},
    {"tanh were taken of logits that were not divided by the softcap", OF_BOTH, 0, NULL, NULL,
     cap_not_divided_by},
    {"tanh of logits were not multiplied with the softcap", OF_OUT, 0, NULL, NULL,
     cap_not_multiplied},
    {"the softcap were taken after the mask, of logits of -infinity too", OF_BOTH, 0, NULL, NULL,
     mask_capped},
    {"logits were not scaled", OF_BOTH, 0, NULL, NULL, no_scale},
    {"logits were scaled with 1 / sqrt(Dv), Dv being %1$.0f", OF_BOTH, 0, NULL, NULL,
     scale_of_value},
    {"logits were scaled with 1 / sqrt(D), which is not asked", OF_BOTH, 0, NULL, NULL,
     scale_of_key},
    {"logits were scaled twice", OF_BOTH, 0, NULL, NULL, scale_twice},
    {"exp2 were taken of logits without their log2 e", OF_OUT, 0, NULL, NULL, base_2},
    {"logits had the log2 e of exp2, and exp were taken", OF_OUT, 0, NULL, NULL, base_2_twice},
    {"q.k were summed over the first %1$.0f columns", OF_BOTH, 0, tiles, NULL, columns_left_out},
    {"scores were ignored and all keys had the same weight", OF_BOTH, 0, NULL, NULL, even},
    {"it were not divided by the sum of the weights", OF_OUT, 0, NULL, NULL, not_divided},
    {"it were divided twice by the sum of the weights", OF_OUT, 0, NULL, NULL, divided_twice},
    {"the last tile of %1$.0f keys were filled up with logits of 0", OF_BOTH, 0, tiles, NULL,
     padding_counted},
    {"the output were not rescaled when the maximum first grew, in blocks of %1$.0f keys", OF_OUT,
     0, tiles, NULL, output_once},
    {"the output were never rescaled to a new maximum, in blocks of %1$.0f keys", OF_OUT, 0, tiles,
     NULL, output_never},
    {"the output were rescaled twice to a new maximum, in blocks of %1$.0f keys", OF_OUT, 0, tiles,
     NULL, output_twice},
    {"the sum of the weights were never rescaled to a new maximum, in blocks of %1$.0f keys",
     OF_BOTH, 0, tiles, NULL, sum_never},
    {"%1$.0f shares of the keys were averaged, whatever they weigh", OF_OUT, 0, shares, NULL,
     shares_averaged},
    {"%1$.0f shares of the keys were added without regard to their maxima", OF_BOTH, 0, shares,
     NULL, shares_unscaled},
    {"only the last of %1$.0f shares of the keys were taken", OF_BOTH, 0, shares, NULL,
     last_share_only},
    {"logits were rounded to the type of q", OF_BOTH, 0, NULL, NULL, logits_rounded},
    {"q.k were rounded to the type of q, then scaled", OF_BOTH, 0, NULL, NULL, products_rounded},
    {"the arguments of exp were rounded to the type of q", OF_OUT, 0, tiles, NULL,
     arguments_rounded},
    {"the output, or the weights, were cut off and not rounded", OF_OUT, 0, NULL, NULL, cut_off},
    {"weights below 2^-14 of the largest so far were 0", OF_OUT, 0, tiles, NULL, small_flushed},
    {"weights were divided by their sum, then rounded to f16", OF_OUT, 0, NULL, NULL, normalised},
    {"lse were in base 2", OF_LSE, 0, NULL, NULL, lse_in_base_2},
    {"lse were natural, not in base 2", OF_LSE, 0, NULL, NULL, lse_natural},
    {"lse were in base 10", OF_LSE, 0, NULL, NULL, lse_in_base_10},
    {"lse had the largest logit without its scale", OF_LSE, 0, NULL, NULL, lse_without_scale},
    {"lse had the largest logit in base 2", OF_LSE, 0, NULL, NULL, lse_maximum_in_base_2},
    {"lse were multiplied with the scale", OF_LSE, 0, NULL, NULL, lse_times_scale},
    {"lse were divided by the scale", OF_LSE, 0, NULL, NULL, lse_over_scale},
    {"lse were the log of the sum, without the largest logit", OF_LSE, 0, NULL, NULL, lse_of_sum},
    {"lse were the largest logit, without the log of the sum", OF_LSE, 0, NULL, NULL,
     lse_of_largest},
    {"lse had the other sign", OF_LSE, 0, NULL, NULL, lse_negative},
    {NULL, 0, 0, NULL, NULL, NULL},
};
