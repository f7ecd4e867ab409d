/* Attention from its definition: for each row a loop over its visible keys, in long double (64 bits
 * of precision on x86-64), nothing blocked, nothing rescaled, no library but libm. It shares with
 * oracle.c only what the rules say about where a token lies; lengths, who sees whom, logits,
 * MagicPIG's correction and all sums are written again, from attn.h, so that the two agree only
 * when both are right. */
#include "oracle.h"
#include "../kernels/attn_number.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

struct worker {
    const struct rule_view *view;
    struct answer *answer;
    double *mass;           /* [B, Hq, rows]; -1 of a row that could see no token */
    atomic_llong *row_next; /* (b, h) not yet taken */
    atomic_bool *subnormal; /* some weight is below 2^-14 */
    long double *memory;    /* [2 D + 6 Dv + kv_len] */
    int64_t *tokens;        /* [kv_len] those that a row sees */
    pthread_t thread;
};

static int64_t key_tokens(const struct rule_view *view, int64_t b) {
    const struct attn_problem *problem = view->problem;
    const int32_t *lens = view->tensors[ATTN_SEQ_LENS].data;
    const int32_t *indptr = view->tensors[ATTN_KV_PAGE_INDPTR].data;
    const int32_t *last_page_len = view->tensors[ATTN_KV_LAST_PAGE_LEN].data;
    if (problem->traits & ATTN_PAGE) {
        const int64_t pages = indptr[b + 1] - indptr[b];
        return pages == 0 ? 0 : problem->page_size * (pages - 1) + last_page_len[b];
    }
    return problem->traits & ATTN_RAGGED ? lens[b] : problem->kv_len;
}

static int64_t query_tokens(const struct rule_view *view, int64_t b) {
    const struct attn_problem *problem = view->problem;
    const int32_t *q_lens = view->tensors[ATTN_Q_LENS].data;
    const int32_t *seq_lens = view->tensors[ATTN_SEQ_LENS].data;
    if (problem->traits & ATTN_QLENS) return q_lens[b];
    const bool padded = problem->traits & ATTN_RAGGED && !(problem->traits & ATTN_PAGE);
    return padded && problem->q_len == problem->kv_len ? seq_lens[b] : problem->q_len;
}

static bool sees(const struct attn_problem *problem, int64_t place, int64_t j) {
    if (problem->traits & ATTN_CAUSAL && j > place) return false;
    if (!(problem->traits & ATTN_WINDOW)) return true;
    return place - problem->window_left <= j && j <= place + problem->window_right;
}

/* Where the list of query i of head h is: sparse_nnz is [B, Hq], with keepgroup [B, Hkv], and of
 * several queries [.., Sq]. */
static int64_t list_at(const struct attn_problem *problem, int64_t b, int64_t h, int64_t i) {
    int64_t at = b * problem->q_heads + h;
    if (problem->traits & ATTN_KEEP_GROUP)
        at = b * problem->kv_heads + h / (problem->q_heads / problem->kv_heads);
    return problem->q_len > 1 ? at * problem->q_len + i : at;
}

/* Into `tokens` those that query i of head h sees; returns how many. */
static int64_t tokens_seen(const struct rule_view *view, int64_t b, int64_t h, int64_t i,
                           int64_t *tokens) {
    const struct attn_problem *problem = view->problem;
    const int64_t queries = query_tokens(view, b), keys = key_tokens(view, b);
    int64_t count = 0;
    if (i >= queries) return 0;
    if (problem->traits & ATTN_KEEP) {
        const int64_t row = list_at(problem, b, h, i);
        const int32_t *list = view->tensors[ATTN_SPARSE_IND].data;
        count = ((const int32_t *)view->tensors[ATTN_SPARSE_NNZ].data)[row];
        for (int64_t n = 0; n < count; n++) tokens[n] = list[row * problem->kept_max + n];
        return count;
    }
    for (int64_t j = 0; j < keys; j++)
        if (sees(problem, i + keys - queries, j)) tokens[count++] = j;
    return count;
}

/* What a row is made of. */
struct row {
    int64_t b, h, i, g;
    const long double *q;
};

static void read_row(long double *row, const void *source, int32_t dtype, int64_t D) {
    for (int64_t d = 0; d < D; d++)
        row[d] = dtype == ATTN_F16    ? (long double)attn_f16_to_f64(((const uint16_t *)source)[d])
                 : dtype == ATTN_BF16 ? (long double)attn_bf16_to_f64(((const uint16_t *)source)[d])
                                      : (long double)((const float *)source)[d];
}

/* OCP's table (8-bit Floating Point Specification, 1.0, section 5): s eeee mmm, bias 7, subnormals,
 * s 1111 111 is NaN. */
static long double e4m3[256];

static void fill_e4m3(void) {
    for (int code = 0; code < 256; code++) {
        const int exponent = code >> 3 & 15, mantissa = code & 7;
        long double size =
            exponent == 0 ? ldexpl(mantissa, -9) : ldexpl(8 + mantissa, exponent - 10);
        if (exponent == 15 && mantissa == 7) size = NAN;
        e4m3[code] = code & 0x80 ? -size : size;
    }
}

/* The key, or the value, of token t. */
static void read_kv(long double *row, const struct rule_view *view, int64_t b, int64_t g, int64_t t,
                    bool value) {
    const struct attn_problem *problem = view->problem;
    const bool of_key = !value || problem->traits & ATTN_KSHARED; /* its first Dv elements */
    const float *scales = view->tensors[of_key ? ATTN_K_SCALE : ATTN_V_SCALE].data;
    const int32_t *first = view->tensors[ATTN_KV_PAGE_INDPTR].data;
    const int32_t *pages = view->tensors[ATTN_KV_PAGE_INDICES].data;
    const int64_t P = problem->page_size;
    const void *source = rules_row(view, b, g, t, value);
    const int64_t D = value ? problem->value_dim : problem->head_dim;
    if (!(problem->traits & (ATTN_KV_E4M3 | ATTN_KV_INT8))) {
        read_row(row, source, problem->dtype, D);
        return;
    }
    int64_t at = problem->traits & ATTN_KV_HEAD ? g : 0;
    if (problem->traits & ATTN_KV_TOKEN)
        at = problem->traits & ATTN_PAGE
                 ? (pages[first[b] + t / P] * problem->kv_heads + g) * P + t % P
                 : (b * problem->kv_heads + g) * problem->kv_len + t;
    for (int64_t d = 0; d < D; d++)
        row[d] = (long double)scales[at] * (problem->traits & ATTN_KV_INT8
                                                ? (long double)((const int8_t *)source)[d]
                                                : e4m3[((const uint8_t *)source)[d]]);
}

static long double dot(const long double *x, const long double *y, int64_t D) {
    long double sum = 0;
    for (int64_t d = 0; d < D; d++) sum += x[d] * y[d];
    return sum;
}

/* Keeps NaN, which fmaxl would drop. */
static long double larger(long double a, long double b) {
    return isnan(a) || isnan(b) ? NAN : a > b ? a : b;
}

/* log u, and in *slope |d log u / d c|. */
static long double magicpig_log_u(long double q_k, long double q_norm, long double k_norm,
                                  long double K, long double L, long double *slope) {
    const long double pi = acosl(-1);
    long double c = q_k / (q_norm * k_norm + 1e-8L);
    if (c > 1 - 1e-7L) c = 1 - 1e-7L;
    if (c < -(1 - 1e-7L)) c = -(1 - 1e-7L);
    const long double p = 1 - acosl(c) / pi;
    const long double x = powl(p, K);
    long double u = -expm1l((L - 1) * log1pl(-x) + log1pl((L - 1) * x));
    if (u < 1e-10L) u = 1e-10L;
    const long double du_dx = L * (L - 1) * x * powl(1 - x, L - 2);
    const long double dx_dc = K * powl(p, K - 1) / (pi * sqrtl(1 - c * c));
    *slope = du_dx * dx_dc / u;
    return logl(u);
}

/* The logit of key t; in *size what it adds to S. `k` is scratch. */
static long double logit_of(const struct rule_view *view, const struct row *row, int64_t t,
                            long double *k, long double *size) {
    const struct attn_problem *problem = view->problem;
    const int64_t D = problem->head_dim;
    read_kv(k, view, row->b, row->g, t, false);
    const long double q_k = dot(row->q, k, D);
    long double logit = problem->scale * q_k;
    *size = 0;
    for (int64_t d = 0; d < D; d++) *size += fabsl(problem->scale * row->q[d] * k[d]);
    if (problem->traits & ATTN_SOFTCAP) {
        const long double slope = 1 / coshl(logit / problem->softcap); /* its square */
        logit = problem->softcap * tanhl(logit / problem->softcap);
        *size = *size * slope * slope + fabsl(logit);
    }
    if (problem->traits & ATTN_ALIBI) {
        const float *slopes = view->tensors[ATTN_SLOPES].data;
        const int64_t place = row->i + key_tokens(view, row->b) - query_tokens(view, row->b);
        logit += (long double)slopes[row->h] * (t - place);
        *size += fabsl((long double)slopes[row->h] * (t - place));
    }
    if (problem->traits & ATTN_BIASED) {
        const struct attn_tensor *bias = &view->tensors[ATTN_BIAS];
        const int64_t at = (bias->shape[0] == 1 ? 0 : row->b) * bias->shape[1] +
                           (bias->shape[1] == 1 ? 0 : row->h);
        const float added =
            ((const float *)bias->data)[(at * problem->q_len + row->i) * problem->kv_len + t];
        logit += (long double)added;
        *size += fabsl((long double)added);
    }
    if (problem->traits & ATTN_MAGICPIG) {
        const int64_t at = row->b * problem->q_heads + row->h;
        long double slope;
        logit -= magicpig_log_u(q_k, sqrtl(dot(row->q, row->q, D)), sqrtl(dot(k, k, D)),
                                ((const float *)view->tensors[ATTN_LSH_K].data)[at],
                                ((const float *)view->tensors[ATTN_LSH_L].data)[at], &slope);
        *size += slope;
    }
    return logit;
}

static void define_row(struct worker *worker, int64_t b, int64_t h, int64_t n) {
    const struct rule_view *view = worker->view;
    struct answer *answer = worker->answer;
    const struct attn_problem *problem = view->problem;
    const int64_t D = problem->head_dim, Dv = problem->value_dim, i = answer->rows[n];
    const int64_t *tokens = worker->tokens;
    const int64_t count = tokens_seen(view, b, h, i, worker->tokens);
    const int64_t at = (b * problem->q_heads + h) * answer->row_count + n;
    long double *q = worker->memory, *k = q + D, *v = k + D;
    long double *out = v + Dv, *absolute = out + Dv, *square = absolute + Dv;
    long double *lost = square + Dv, *lost_square = lost + Dv, *logit = lost_square + Dv;
    const float *sinks = view->tensors[ATTN_SINKS].data;
    const long double sink = problem->traits & ATTN_SINK ? (long double)sinks[h] : -INFINITY;
    if (i < query_tokens(view, b)) answer->lse[at] = (double)sink;
    if (count == 0) return;

    const struct row row = {
        .b = b, .h = h, .i = i, .g = h / (problem->q_heads / problem->kv_heads), .q = q};
    const int64_t q_row = (b * problem->q_heads + h) * problem->q_len + i;
    const int64_t row_bytes = D * attn_dtype_bytes(problem->dtype);
    read_row(q, (const char *)view->tensors[ATTN_Q].data + q_row * row_bytes, problem->dtype, D);

    long double max = sink, size_max = 0, sum;
    for (int64_t j = 0; j < count; j++) {
        long double size;
        logit[j] = logit_of(view, &row, tokens[j], k, &size);
        max = larger(max, logit[j]);
        if (logit[j] != -INFINITY) size_max = larger(size_max, size); /* else its weight is 0 */
    }
    if (max == -INFINITY) return;
    sum = expl(sink - max);
    for (int64_t j = 0; j < count; j++) sum += expl(logit[j] - max);
    for (int64_t d = 0; d < Dv; d++)
        out[d] = absolute[d] = square[d] = lost[d] = lost_square[d] = 0;
    for (int64_t j = 0; j < count; j++) {
        const long double p = expl(logit[j] - max) / sum;
        read_kv(v, view, b, row.g, tokens[j], true);
        for (int64_t d = 0; d < Dv; d++) {
            const long double part = p * v[d];
            out[d] += part;
            absolute[d] += fabsl(part);
            square[d] += part * part;
        }
        const long double e = expl(logit[j] - max);
        if (!(e < 0x1p-14L) || logit[j] == -INFINITY) continue;
        atomic_store(worker->subnormal, true);
        const long double error = e < 0x1p-25L ? e : 0x1p-25L / sqrtl(3);
        for (int64_t d = 0; d < Dv; d++) {
            const long double of_value = fabsl(v[d]) / sum;
            if (e < 0x1p-25L) lost[d] += e * of_value;
            lost_square[d] += error * of_value * error * of_value;
        }
    }
    for (int64_t d = 0; d < Dv; d++) {
        answer->out[at * Dv + d] = (double)out[d];
        answer->p_abs_v[at * Dv + d] = (double)absolute[d];
        answer->p_rms_v[at * Dv + d] = (double)sqrtl(square[d]);
        answer->lost_abs_v[at * Dv + d] = (double)lost[d];
        answer->lost_rms_v[at * Dv + d] = (double)sqrtl(lost_square[d]);
    }
    answer->lse[at] = (double)(max + logl(sum));
    answer->logit_abs[at] = (double)size_max;
    long double least = INFINITY;
    for (int64_t j = 0; j < count; j++)
        if (logit[j] != -INFINITY) least = fminl(least, logit[j]);
    for (int64_t j = 0; j < count && expl(least - max) < 0x1p-14L; j++) {
        const long double part = expl(logit[j] - max) / sum;
        if (part < 0x1p-22L) answer->sum_bias[at] += fmin((double)part, 0x1p-24);
    }
    for (int64_t j = 0; j < count; j++) {
        const int64_t other = j < 16 ? j + 16 : j - 16;
        if (logit[j] == -INFINITY) continue;
        answer->logit_max[at] = fmax(answer->logit_max[at], (double)fabsl(logit[j]));
        if (other < count && max - logit[j] >= 0x1p-26L)
            answer->sum_bias[at] += fabsl(logit[j] - logit[other]) < 0x1p-26L ? 0x1p-24 : 0;
    }
}

/* How many tokens, from the first on, query i could have on its list. */
static int64_t tokens_there(const struct rule_view *view, int64_t b, int64_t i) {
    const int64_t queries = query_tokens(view, b), keys = key_tokens(view, b);
    int64_t count = 0;
    if (i >= queries) return 0;
    while (count < keys && sees(view->problem, i + keys - queries, count)) count++;
    return count;
}

/* The share of the plain softmax over all that query i could see that lies on those on its list. */
static double mass_of(struct worker *worker, int64_t b, int64_t h, int64_t i) {
    const struct attn_problem *problem = worker->view->problem;
    struct attn_problem plain = *problem;
    plain.traits &= ~(uint64_t)ATTN_MAGICPIG;
    const struct rule_view view = {.problem = &plain, .tensors = worker->view->tensors};
    const int64_t D = problem->head_dim, tokens = tokens_there(&view, b, i);
    const int64_t count = tokens_seen(&view, b, h, i, worker->tokens);
    if (tokens == 0) return -1;
    long double *q = worker->memory, *k = q + D, *logit = k + D, size;
    const struct row row = {
        .b = b, .h = h, .i = i, .g = h / (problem->q_heads / problem->kv_heads), .q = q};
    const int64_t q_row = (b * problem->q_heads + h) * problem->q_len + i;
    const int64_t row_bytes = D * attn_dtype_bytes(problem->dtype);
    read_row(q, (const char *)view.tensors[ATTN_Q].data + q_row * row_bytes, problem->dtype, D);

    long double max = -INFINITY, all = 0, kept = 0;
    for (int64_t t = 0; t < tokens; t++) {
        logit[t] = logit_of(&view, &row, t, k, &size);
        max = larger(max, logit[t]);
    }
    for (int64_t t = 0; t < tokens; t++) all += expl(logit[t] - max);
    for (int64_t j = 0; j < count; j++) kept += expl(logit[worker->tokens[j]] - max);
    return (double)(kept / all);
}

static void *work(void *argument) {
    struct worker *worker = argument;
    const struct attn_problem *problem = worker->view->problem;
    const int64_t heads = problem->batch * problem->q_heads;
    for (long long at; (at = atomic_fetch_add(worker->row_next, 1)) < heads;) {
        const int64_t b = at / problem->q_heads, h = at % problem->q_heads;
        const struct answer *answer = worker->answer;
        for (int64_t n = 0; n < answer->row_count; n++) define_row(worker, b, h, n);
        for (int64_t n = 0; problem->traits & ATTN_KEEP && n < answer->row_count; n++)
            worker->mass[at * answer->row_count + n] = mass_of(worker, b, h, answer->rows[n]);
    }
    return NULL;
}

static void summarise(const struct rule_view *view, struct answer *answer, const double *mass) {
    const struct attn_problem *problem = view->problem;
    long double kept = 0, valid = 0, mass_sum = 0;
    int64_t rows = 0;
    for (int64_t row = 0; row < problem->batch * problem->q_heads * answer->row_count; row++) {
        const int64_t head = row / answer->row_count, i = answer->rows[row % answer->row_count];
        const int64_t b = head / problem->q_heads, h = head % problem->q_heads;
        const int64_t at = list_at(problem, b, h, i);
        if (mass[row] == -1) continue;
        kept += ((const int32_t *)view->tensors[ATTN_SPARSE_NNZ].data)[at];
        valid += (long double)tokens_there(view, b, i);
        mass_sum += mass[row];
        rows++;
    }
    answer->kept_ratio = valid > 0 ? (double)(kept / valid) : 1;
    answer->kept_mass = rows ? (double)(mass_sum / (long double)rows) : 1;
}

bool definition_answer(struct answer *answer, const struct rule_view *view, int64_t rows,
                       int threads, struct fault *fault) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const struct attn_problem *problem = view->problem;
    pthread_once(&once, fill_e4m3);
    if (!answer_alloc(answer, problem, rows, fault)) return false;
    snprintf(answer->oracle, sizeof answer->oracle, "definition 1");

    if (threads < 1) threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (threads < 1) threads = 1; /* it could not tell */
    const size_t memory =
        (size_t)(2 * problem->head_dim + 6 * problem->value_dim + problem->kv_len);
    const int64_t all_rows = problem->batch * problem->q_heads * answer->row_count;
    double *mass = calloc((size_t)all_rows, sizeof *mass);
    struct worker *workers = calloc((size_t)threads, sizeof *workers);
    atomic_llong row_next;
    atomic_bool subnormal;
    atomic_init(&row_next, 0);
    atomic_init(&subnormal, false);
    bool ready = mass && workers;
    for (int n = 0; ready && n < threads; n++) {
        workers[n] = (struct worker){.view = view,
                                     .answer = answer,
                                     .mass = mass,
                                     .row_next = &row_next,
                                     .subnormal = &subnormal};
        workers[n].memory = calloc(memory, sizeof *workers[n].memory);
        workers[n].tokens = calloc((size_t)problem->kv_len + 1, sizeof *workers[n].tokens);
        ready = workers[n].memory != NULL && workers[n].tokens != NULL;
    }
    int started = 1; /* this thread is the first worker */
    while (ready && started < threads &&
           pthread_create(&workers[started].thread, NULL, work, &workers[started]) == 0)
        started++;
    if (ready) work(&workers[0]);
    for (int n = 1; n < started; n++) pthread_join(workers[n].thread, NULL);

    if (ready && problem->traits & ATTN_KEEP) summarise(view, answer, mass);
    if (!atomic_load(&subnormal)) answer_drop_lost(answer);
    for (int n = 0; workers && n < threads; n++) {
        free(workers[n].memory);
        free(workers[n].tokens);
    }
    free(workers);
    free(mass);
    if (ready) return true;
    answer_free(answer);
    return fault_set(fault, FAULT_OURS, "out of memory for the definition's rows");
}
