/* The definition's loops, with a bend wherever a course may take one. */
#include "course.h"
#include "../../fixtures/fixture.h"
#include "../../kernels/attn_number.h"
#include "../../oracle/bulk.h"

#include <stdlib.h>
#include <string.h>

struct course course_right(const struct rule_view *view, const struct answer *answer, int64_t b,
                           int64_t h, int64_t row) {
    const struct attn_problem *problem = view->problem;
    const struct rule_keys keys = rules_keys(view, b, h, answer->rows[row]);
    const float *lsh_k = view->tensors[ATTN_LSH_K].data, *lsh_l = view->tensors[ATTN_LSH_L].data;
    const float *slopes = view->tensors[ATTN_SLOPES].data;
    const bool hashed = problem->traits & ATTN_MAGICPIG;
    return (struct course){
        .view = view,
        .answer = answer,
        .b = b,
        .h = h,
        .row = row,
        .traits = problem->traits,
        .keys_b = b,
        .g = h / (problem->q_heads / problem->kv_heads),
        .first = keys.first,
        .end = keys.first + keys.count,
        .list = keys.list,
        .query = answer->rows[row],
        .scale = 1,
        .softcap = problem->softcap,
        .sink = rules_sink(view, b, h),
        .slope = slopes != NULL ? slopes[h] : 0,
        .bias = problem->traits & ATTN_BIASED ? rules_bias(view, b, h, answer->rows[row]) : NULL,
        .bias_step = 1,
        .bias_scale = 1,
        .scale_g = -1,
        .k_scale_power = 1,
        .v_scale_power = 1,
        .correction = 1,
        .lsh_k = hashed ? lsh_k[b * problem->q_heads + h] : 0,
        .lsh_l = hashed ? lsh_l[b * problem->q_heads + h] : 0,
        .out_scale = 1,
        .lse_scale = 1,
        .lse_m = 1,
        .lse_l = 1,
        .of_b = -1};
}

/* No course sees more than the room for keys, and as many as there are queries. */
static int64_t keys_most(const struct rule_view *view) {
    return view->problem->kv_len + view->problem->q_len;
}

bool course_room(struct course_row *row, const struct rule_view *view) {
    const struct attn_problem *problem = view->problem;
    const size_t dim =
        (size_t)(problem->head_dim > problem->value_dim ? problem->head_dim : problem->value_dim);
    double *memory = calloc(8 * dim + 2 * (size_t)keys_most(view), sizeof *memory);
    if (memory == NULL) return false;
    *row = (struct course_row){.out = memory};
    double **const parts[] = {&row->a, &row->r, &row->lost_abs, &row->lost_rms,
                              &row->q, &row->k, &row->v,        &row->s};
    for (size_t n = 0; n < sizeof parts / sizeof parts[0]; n++) *parts[n] = memory += dim;
    row->e = row->s + keys_most(view);
    return true;
}

void course_free(struct course_row *row) {
    free(row->out);
    *row = (struct course_row){0};
}

bool course_know(struct course_keys *known, const struct rule_view *view) {
    const int64_t room = keys_most(view);
    known->dot = malloc((size_t)(3 * room) * sizeof *known->dot);
    if (known->dot == NULL) return false;
    known->size = known->dot + room;
    known->norm = known->size + room;
    for (int64_t t = 0; t < room; t++) known->dot[t] = NAN;
    return true;
}

void course_forget(struct course_keys *known) {
    free(known->dot);
    *known = (struct course_keys){0};
}

/* Whether a token can be found that may be beyond a sequence's end: what lies behind it in memory
 * is in the tensor. */
static bool is_there(const struct course *course, int64_t t, bool value) {
    const struct attn_problem *problem = course->view->problem;
    const struct attn_tensor *tensors = course->view->tensors;
    if (t < 0) return false;
    if (problem->traits & ATTN_PAGE) {
        const int32_t *first = tensors[ATTN_KV_PAGE_INDPTR].data;
        const int64_t entry = first[course->keys_b] + t / problem->page_size;
        if (entry >= problem->page_entries) return false;
        const int32_t page = ((const int32_t *)tensors[ATTN_KV_PAGE_INDICES].data)[entry];
        if (page < 0 || page >= problem->pages) return false;
    } else if ((course->keys_b * problem->kv_heads + course->g) * problem->kv_len + t >=
               problem->batch * problem->kv_heads * problem->kv_len) {
        return false;
    }
    if (value && course->values_as_wide) {
        const struct attn_tensor *v = &tensors[ATTN_V];
        const int64_t row = rules_row_index(course->view, course->keys_b, course->g, t, true);
        const int64_t end = tensor_bytes(v) / attn_dtype_bytes(v->dtype);
        return row * problem->head_dim + problem->value_dim <= end;
    }
    const bool among_values = value ? !course->values_of_keys : course->keys_of_values;
    const int64_t asked = value ? problem->value_dim : problem->head_dim;
    return asked <= (among_values ? problem->value_dim : problem->head_dim);
}

/* What elements of token t are multiplied with. */
static double scale_of(const struct course *course, int64_t t, bool value) {
    const struct rule_view *view = course->view;
    const int64_t g = course->scale_g < 0 ? course->g : course->scale_g;
    if (!(course->traits & (ATTN_KV_E4M3 | ATTN_KV_INT8))) return 1;
    if (course->scale_of != NULL) t = course->scale_of(course, t);
    const int64_t row = rules_row_index(view, course->keys_b, g, t, value);
    const double scale = rules_scale(view, row, value != course->scales_swapped);
    return pow(scale, value ? course->v_scale_power : course->k_scale_power);
}

/* Its key, or its value. */
static const unsigned char *stored(const struct course *course, int64_t t, bool among_values) {
    const struct attn_problem *problem = course->view->problem;
    const int64_t rows = problem->page_size, heads = problem->kv_heads;
    int64_t g = course->g;
    if (course->heads_for_rows) {
        const bool nhd = course->traits & ATTN_NHD;
        const int64_t row = t % rows, n = nhd ? g * rows + row : row * heads + g;
        g = nhd ? n % heads : n / rows;
        t += (nhd ? n / heads : n % rows) - row;
    }
    return rules_row(course->view, course->keys_b, g, t, among_values);
}

/* Elements first .. first + count - 1 of the key, or the value, of token t. */
static void widen_token(double *to, const struct course *course, int64_t t, bool value,
                        int64_t first, int64_t count) {
    const enum attn_dtype dtype = rules_kv_dtype(course->view->problem);
    const bool among_values = value ? !course->values_of_keys : course->keys_of_values;
    const struct attn_problem *problem = course->view->problem;
    const unsigned char *from = stored(course, t, among_values);
    const double scale = scale_of(course, t, value);
    if (value && course->values_as_wide)
        from = (const unsigned char *)course->view->tensors[ATTN_V].data +
               rules_row_index(course->view, course->keys_b, course->g, t, true) *
                   problem->head_dim * attn_dtype_bytes(dtype);
    from += first * attn_dtype_bytes(dtype);
    if (course->decode == NULL) bulk_widen(to, NULL, NULL, from, dtype, count);
    for (int64_t d = 0; course->decode != NULL && d < count; d++) to[d] = course->decode(from[d]);
    if (scale != 1) bulk_scale(to, scale, count);
}

static double dot(const double *x, const double *y, int64_t n) {
    double sum = 0;
    for (int64_t d = 0; d < n; d++) sum += x[d] * y[d];
    return sum;
}

static double dot_of_sizes(const double *x, const double *y, int64_t n) {
    double sum = 0;
    for (int64_t d = 0; d < n; d++) sum += fabs(x[d] * y[d]);
    return sum;
}

static double times_counted(const struct course *course, int64_t n) {
    if (n >= course->skip && n < course->skip_end) return 0;
    return n >= course->again && n < course->again_end ? 2 : 1;
}

static int64_t token_of(const struct course *course, int64_t n) {
    return course->list != NULL ? course->list[n] : n;
}

/* What course_keys holds of token t. */
struct product {
    double dot, size, norm;
};

/* Whether the row's q.k are those of the right course. */
static bool has_own_products(const struct course *course) {
    const struct attn_problem *problem = course->view->problem;
    return course->keys_b == course->b && course->key_of == NULL && !course->keys_of_values &&
           course->columns == 0 && course->query == course->answer->rows[course->row] &&
           course->g == course->h / (problem->q_heads / problem->kv_heads) &&
           !course->heads_for_rows && course->decode == NULL && course->scale_g < 0 &&
           course->scale_of == NULL && !course->scales_swapped && course->k_scale_power == 1;
}

static bool multiply(struct product *product, struct course_row *row, const struct course *course,
                     int64_t t) {
    const struct attn_problem *problem = course->view->problem;
    const int64_t dim = problem->head_dim, columns = course->columns > 0 ? course->columns : dim;
    struct course_keys *known = has_own_products(course) ? course->known : NULL;
    const int64_t at = course->key_of ? course->key_of(course, t) : t;
    if (!is_there(course, at, false)) return false;
    if (known != NULL && !isnan(known->dot[t])) {
        *product = (struct product){known->dot[t], known->size[t], known->norm[t]};
        return true;
    }
    widen_token(row->k, course, at, false, 0, dim);
    *product = (struct product){dot(row->q, row->k, columns), dot_of_sizes(row->q, row->k, columns),
                                sqrt(dot(row->k, row->k, dim))};
    if (known != NULL)
        known->dot[t] = product->dot, known->size[t] = product->size,
        known->norm[t] = product->norm;
    return true;
}

static double bias_of(const struct course *course, int64_t t) {
    if (course->bias == NULL || t >= course->view->problem->kv_len) return 0;
    const double bias = (double)course->bias[course->bias_step * t];
    return bias == -INFINITY ? bias : course->bias_is_mask ? 0 : course->bias_scale * bias;
}

/* The logit of a key, as the rules of the course's traits have it. */
static struct rule_logit logit_of(const struct course *course, const struct product *product,
                                  int64_t t, double q_norm) {
    const double scale = course->view->problem->scale * course->scale;
    struct rule_logit logit = {.value = scale * product->dot,
                               .dot = product->dot,
                               .q_norm = q_norm,
                               .k_norm = product->norm,
                               .size = fabs(scale) * product->size,
                               .i = rule_place(course->view, course->b, course->query),
                               .t = t};
    /* The rules are shown a problem of one row and no length, so that its place is its number; with
     * the course's own cap, slope, K and L. */
    float lsh_k = course->lsh_k, lsh_l = course->lsh_l, slope = course->slope;
    struct attn_tensor tensors[ATTN_SLOT_COUNT] = {[ATTN_LSH_K] = {.data = &lsh_k},
                                                   [ATTN_LSH_L] = {.data = &lsh_l},
                                                   [ATTN_SLOPES] = {.data = &slope}};
    struct attn_problem one = {.traits = course->traits & (ATTN_SOFTCAP | ATTN_ALIBI),
                               .q_heads = 1,
                               .softcap = course->softcap};
    const struct rule_view view = {&one, tensors};
    const double bias = bias_of(course, t);
    if (course->bias_capped) logit.value += bias;
    rules_logit(&view, 0, 0, &logit);
    if (!course->bias_capped) logit.value += bias;
    if (bias != -INFINITY) logit.size += fabs(bias);
    if (!(course->traits & ATTN_MAGICPIG)) return logit;
    const double plain = logit.value;
    one.traits = ATTN_MAGICPIG;
    rules_logit(&view, 0, 0, &logit);
    if (course->correction != 1) logit.value = plain + course->correction * (logit.value - plain);
    return logit;
}

/* The logits of all keys, and their sizes. */
static bool score(struct course_row *row, const struct course *course) {
    const struct attn_problem *problem = course->view->problem;
    const int64_t dim = problem->head_dim;
    const double q_norm = sqrt(dot(row->q, row->q, dim));
    for (int64_t n = course->first; n < course->end; n++) {
        struct product product;
        if (!multiply(&product, row, course, token_of(course, n))) return false;
        const struct rule_logit logit = logit_of(course, &product, token_of(course, n), q_norm);
        row->s[n - course->first] = logit.value;
        if (logit.value == -INFINITY || times_counted(course, n) == 0) continue;
        row->size.logit_abs = fmax(row->size.logit_abs, logit.size);
        row->size.logit_max = fmax(row->size.logit_max, fabs(logit.value));
    }
    return true;
}

/* One key's part in the sums over columns from .. end - 1; what f16 loses of it as answer.h has it.
 */
static void add_value(struct course_row *row, double e, double l, int64_t from, int64_t end) {
    const double p = e / l, lost = (e < 0x1p-25 ? e : 0x1p-25 / sqrt(3)) / l;
    for (int64_t d = from; d < end; d++) {
        const double x = p * row->v[d];
        row->out[d] += x;
        row->a[d] += fabs(x);
        row->r[d] += x * x;
    }
    if (!(e < 0x1p-14)) return;
    row->lossy = true;
    for (int64_t d = from; d < end; d++) {
        const double x = lost * fabs(row->v[d]);
        row->lost_abs[d] += e < 0x1p-25 ? x : 0;
        row->lost_rms[d] += x * x;
    }
}

/* The answer of another row, with its sizes. */
static void copy_answer(struct course_row *row, const struct course *course) {
    const struct answer *answer = course->answer;
    const size_t dim = (size_t)answer->value_dim;
    const int64_t from =
        (course->of_b * answer->q_heads + course->of_h) * answer->row_count + course->row;
    const size_t at = (size_t)from * dim;
    memcpy(row->out, answer->out + at, dim * sizeof *row->out);
    memcpy(row->a, answer->p_abs_v + at, dim * sizeof *row->a);
    memcpy(row->r, answer->p_rms_v + at, dim * sizeof *row->r);
    row->lossy = answer->lost_abs_v != NULL;
    if (row->lossy) {
        memcpy(row->lost_abs, answer->lost_abs_v + at, dim * sizeof *row->lost_abs);
        memcpy(row->lost_rms, answer->lost_rms_v + at, dim * sizeof *row->lost_rms);
    }
    row->lse = answer->lse[from];
    row->size = row_size_of(course->view, answer, course->of_b, course->of_h, course->row);
}

/* Of a value what columns from .. from + columns - 1 of the output are made of. */
static void widen_value(struct course_row *row, const struct course *course, int64_t t,
                        int64_t from, int64_t columns) {
    const int64_t dim = course->view->problem->value_dim;
    const int64_t first = course->value_from + (from + course->turn) % dim;
    const int64_t end = course->value_from + dim;
    const int64_t straight = first + columns > end ? end - first : columns;
    widen_token(row->v + from, course, t, true, first, straight);
    if (straight < columns)
        widen_token(row->v + from + straight, course, t, true, course->value_from,
                    columns - straight);
}

/* What values of E4M3 that are cut off are half an ulp around: they are up to a whole one nearer to
 * 0, but on this side of a power of two. */
static double cut_off(double o, double unit) {
    const double stored = fabs(o) / unit, power = stored < 0x1p-6 ? 0 : ldexp(1, ilogb(stored));
    const double ulp = fmax(power / 8, 0x1p-9);
    return copysign(unit * fmax(stored - ulp / 2, power), o);
}

bool course_compute(struct course_row *row, const struct course *course, int64_t from,
                    int64_t columns) {
    const struct attn_problem *problem = course->view->problem;
    const enum attn_dtype dtype = (enum attn_dtype)problem->dtype;
    const int64_t dim = problem->head_dim, count = course->end - course->first;
    const size_t bytes = (size_t)problem->value_dim * sizeof(double);
    row->lossy = false;
    if (course->of_b >= 0) {
        copy_answer(row, course);
        return isfinite(row->lse);
    }
    if (count < 1 || count > keys_most(course->view)) return false;
    row->size = row_size_of(course->view, course->answer, course->b, course->h, course->row);
    row->size.keys = count;
    row->size.logit_abs = row->size.logit_max = 0;
    const int64_t at = (course->b * problem->q_heads + course->h) * problem->q_len + course->query;
    const size_t element = attn_dtype_bytes(dtype);
    bulk_widen(row->q, NULL, NULL,
               (const char *)course->view->tensors[ATTN_Q].data + (size_t)(at * dim) * element,
               dtype, dim);
    if (!score(row, course)) return false;
    double m = -INFINITY, l = 0;
    memset(row->out, 0, bytes);
    memset(row->a, 0, bytes);
    memset(row->r, 0, bytes);
    memset(row->lost_abs, 0, bytes);
    memset(row->lost_rms, 0, bytes);
    for (int64_t n = 0; n < count; n++) {
        if (times_counted(course, course->first + n) > 0) m = fmax(m, row->s[n]);
    }
    if (m == -INFINITY) { /* all hidden by a bias */
        for (int64_t n = 0; n < count; n++) {
            if (isnan(row->s[n])) return false; /* not so: they are poison */
            row->e[n] = 0;
        }
        row->lse = course->lse_scale * course->sink;
        return true;
    }
    for (int64_t n = 0; n < count; n++) {
        row->e[n] = exp(row->s[n] - m) * times_counted(course, course->first + n);
        l += row->e[n];
    }
    if (course->weigh != NULL) course->weigh(course, row->s, row->e, count, &l);
    const double largest = fmax(m, course->sink), less = exp(m - largest);
    const double of_lse = l + exp(course->sink - m);
    row->lse = course->lse_scale * (course->lse_m * m + course->lse_l * log(of_lse));
    for (int64_t n = 0; n < count; n++) row->e[n] *= less;
    l = l * less + exp(course->sink - largest);
    for (int64_t n = 0; n < count; n++) {
        if (row->e[n] == 0) continue;
        const int64_t t = token_of(course, course->first + n);
        const int64_t at = course->value_of ? course->value_of(course, t) : t;
        if (!is_there(course, at, true)) return false;
        widen_value(row, course, at, from, columns);
        add_value(row, row->e[n], l / course->out_scale, from, from + columns);
    }
    for (int64_t d = from; d < from + columns; d++) {
        row->r[d] = sqrt(row->r[d]);
        row->lost_rms[d] = sqrt(row->lost_rms[d]);
        if (course->written > 0 && d >= course->written) row->out[d] = 0;
        if (!isfinite(row->out[d])) return false;
        if (course->cut_off) row->out[d] = cut_off(row->out[d], rules_out_scale(course->view));
    }
    return isfinite(row->lse);
}

/* p s v summed, less the mean of s. */
void course_slope(const struct course_row *row, const struct course *course, double *slope) {
    const int64_t dim = course->view->problem->value_dim, count = course->end - course->first;
    double l = 0, mean = 0;
    for (int64_t n = 0; n < count; n++) {
        if (row->e[n] == 0) continue;
        l += row->e[n];
        mean += row->e[n] * row->s[n];
    }
    mean /= l;
    for (int64_t d = 0; d < dim; d++) slope[d] = 0;
    for (int64_t n = 0; n < count; n++) {
        if (row->e[n] == 0) continue;
        widen_token(row->v, course, token_of(course, course->first + n), true, 0, dim);
        const double weight = row->e[n] / l * (row->s[n] - mean) / course->scale;
        for (int64_t d = 0; d < dim; d++) slope[d] += weight * row->v[d];
    }
}

void course_compare(struct course_fit *fit, const struct course_row *row,
                    const struct rounding *rounding, const double *got, int64_t from,
                    int64_t columns) {
    /* Columns that move together do not matter here. */
    struct row_size size = row->size;
    size.head_dim = 1;
    const struct row_bounds bounds = row_bounds_of(rounding, &size, 1, 1);
    const bool lossy = row->lossy && rounding->p_subnormal;
    for (int64_t d = from; d < from + columns; d++) {
        const double o = rounding_target(rounding, row->out[d]), a = row->a[d], r = row->r[d];
        const double error = isfinite(got[d]) ? fabs(got[d] - o) : INFINITY;
        const double lost = lossy ? tolerance_lost(row->lost_abs[d], row->lost_rms[d]) : 0;
        const double t = error / tolerance_tau(&bounds, o, a, r, lost);
        const double rounded = rounding->roundoff * o, least = rounding->ulp_least * rounding->unit;
        fit->t_max = fmax(fit->t_max, t);
        fit->beyond += t > 1;
        fit->surprise += t > 2 ? log(t / 2) : 0;
        fit->error2 += error * error;
        /* Rounding the output, as the mean over mantissas has it. */
        fit->model2 += 0.18 * rounded * rounded + least * least / 12 + bounds.r2_slope * r * r +
                       bounds.o2_slope * o * o + (lossy ? row->lost_rms[d] * row->lost_rms[d] : 0);
    }
}
