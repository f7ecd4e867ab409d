/* The table, and before it each of its functions: a bend, or the number that one needs. */
#include "hypothesis.h"
#include "search.h"
#include "../../kernels/attn_number.h"

/* More candidates are not tried: each costs what a row costs. */
enum { CANDIDATES_MAX = 64 };

static int64_t at_most(int64_t count) {
    return count < CANDIDATES_MAX ? count : CANDIDATES_MAX;
}

static bool has(const struct course *course, uint64_t trait) {
    return (course->traits & trait) != 0;
}

static int64_t query_of(const struct course *course) {
    return course->answer->rows[course->row];
}

/* Which keys */

static bool last_left_out(struct course *course) {
    if (has(course, ATTN_KEEP)) return false;
    course->end--;
    return course->end > 0;
}

static bool last_entry_left_out(struct course *course) {
    course->end--;
    return has(course, ATTN_KEEP) && course->end > 0;
}

static bool one_more(struct course *course) {
    course->end++;
    return course->list == NULL;
}

static bool first_left_out(struct course *course) {
    course->first++;
    return course->end > course->first;
}

static bool first_twice(struct course *course) {
    course->again_end = 1;
    return true;
}

static bool last_twice(struct course *course) {
    course->again = course->end - 1;
    course->again_end = course->end;
    return true;
}

/* 16, 32, 64, 128 */
static int64_t tiles(const struct rule_view *view) {
    (void)view;
    return 4;
}

static bool partial_tile_left_out(struct course *course) {
    const int64_t tile = 16 << (int)course->number, rest = course->end % tile;
    course->said[0] = (double)tile;
    course->end -= rest;
    return course->end > 0;
}

static bool last_tile_left_out(struct course *course) {
    const int64_t tile = 16 << (int)course->number;
    course->said[0] = (double)tile;
    course->end -= tile;
    return course->end > 0;
}

static bool first_tile_only(struct course *course) {
    const int64_t tile = 16 << (int)course->number;
    course->said[0] = (double)tile;
    if (course->end > tile) course->end = tile;
    return true;
}

static bool top_left(struct course *course) {
    const int64_t seen = query_of(course) + 1, all = rules_kv_len(course->view, course->b);
    course->end = seen < all ? seen : all;
    return has(course, ATTN_CAUSAL);
}

static bool not_causal(struct course *course) {
    course->end = rules_kv_len(course->view, course->b);
    return has(course, ATTN_CAUSAL);
}

static bool causal_unasked(struct course *course) {
    const int64_t seen = query_of(course) + 1 + rules_kv_len(course->view, course->b) -
                         rules_q_len(course->view, course->b);
    if (seen < course->end) course->end = seen;
    return !has(course, ATTN_CAUSAL) && course->view->problem->q_len > 1 && course->end > 0;
}

static bool causal_unasked_top_left(struct course *course) {
    if (query_of(course) + 1 < course->end) course->end = query_of(course) + 1;
    return !has(course, ATTN_CAUSAL) && course->view->problem->q_len > 1;
}

static bool lengths_ignored(struct course *course) {
    const int64_t room = course->view->problem->kv_len;
    if (!has(course, ATTN_RAGGED) || has(course, ATTN_KEEP)) return false;
    if (!has(course, ATTN_CAUSAL) || course->end == rules_kv_len(course->view, course->b))
        course->end = room;
    return true;
}

static int64_t sequences(const struct rule_view *view) {
    return at_most(view->problem->batch);
}

static int64_t other_sequences(const struct rule_view *view) {
    return at_most(view->problem->batch - 1);
}

static bool length_of_another(struct course *course) {
    const int64_t b = (int64_t)course->number;
    course->said[0] = course->number;
    course->end = rules_kv_len(course->view, b);
    return has(course, ATTN_RAGGED) && !has(course, ATTN_KEEP | ATTN_CAUSAL) && course->end > 0;
}

static bool list_ignored(struct course *course) {
    course->list = NULL;
    course->end = rules_kv_len(course->view, course->b);
    return has(course, ATTN_KEEP);
}

static int64_t q_heads(const struct rule_view *view) {
    return at_most(view->problem->q_heads);
}

static int64_t other_q_heads(const struct rule_view *view) {
    return at_most(view->problem->q_heads - 1);
}

static bool list_of_another(struct course *course) {
    const struct rule_keys keys =
        rules_keys(course->view, course->b, (int64_t)course->number, query_of(course));
    course->said[0] = course->number;
    course->list = keys.list;
    course->end = keys.count;
    return has(course, ATTN_KEEP);
}

/* Whose keys and values */

static bool kv_head_modulo(struct course *course) {
    course->g = course->h % course->view->problem->kv_heads;
    return has(course, ATTN_GQA);
}

static int64_t kv_heads(const struct rule_view *view) {
    return at_most(view->problem->kv_heads);
}

static bool kv_head_of_number(struct course *course) {
    course->g = (int64_t)course->number;
    course->said[0] = course->number;
    return true;
}

static bool keys_of_another(struct course *course) {
    course->keys_b = (int64_t)course->number;
    course->said[0] = course->number;
    return !has(course, ATTN_KEEP);
}

static int64_t row_before(const struct course *course, int64_t t) {
    (void)course;
    return t > 0 ? t - 1 : t;
}

static int64_t row_after(const struct course *course, int64_t t) {
    return t + 1 < rules_kv_len(course->view, course->keys_b) ? t + 1 : t;
}

static bool values_before(struct course *course) {
    course->value_of = row_before;
    return true;
}

static bool values_after(struct course *course) {
    course->value_of = row_after;
    return true;
}

static int64_t page_of_token_before(const struct course *course, int64_t t) {
    const int64_t page = course->view->problem->page_size;
    return t > 0 && t % page == 0 ? t - page : t;
}

static bool page_before(struct course *course) {
    course->key_of = course->value_of = page_of_token_before;
    return has(course, ATTN_PAGE);
}

/* Tiles `number` and the next one in each other's place. */
static int64_t swapped(const struct course *course, int64_t t) {
    const int64_t tile = t / course->size - (int64_t)course->number;
    return tile == 0 ? t + course->size : tile == 1 ? t - course->size : t;
}

static bool values_swapped(struct course *course) {
    if (course->size == 0) course->size = course->view->problem->page_size;
    if (course->size == 0 || course->list != NULL) return false;
    course->value_of = swapped;
    course->said[0] = course->number;
    course->said[1] = course->number + 1;
    /* A row without them is as it should be. */
    if (course->end < (course->number + 2) * (double)course->size) course->value_of = NULL;
    return true;
}

/* Which weights */

static bool uncorrected(struct course *course) {
    course->traits &= ~(uint64_t)ATTN_MAGICPIG;
    return course->traits != course->view->problem->traits;
}

static bool no_scale(struct course *course) {
    course->scale = 1 / course->view->problem->scale;
    return course->view->problem->scale != 1;
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

static bool scaled(struct course *course) {
    course->scale = course->number;
    course->said[0] = course->number;
    return fabs(course->number - 1) >= 5e-4; /* less is within what rounding does */
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

static bool zero(struct course *course) {
    course->out_scale = 0;
    return true;
}

/* The output, or l alone, of an online softmax whose maximum moves from block to block, once or
 * never brought to a new maximum. */
enum rescaling { OUTPUT_ONCE, OUTPUT_NEVER, SUM_NEVER };

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

static bool output_once(struct course *course) {
    return in_blocks(course, weigh_output_once);
}

static bool output_never(struct course *course) {
    return in_blocks(course, weigh_output_never);
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

/* By u / mantissa in the mean, which is 0.72 u. */
static bool cut_off(struct course *course) {
    course->out_scale = 1 - 0.72 * unit_roundoff((enum attn_dtype)course->view->problem->dtype);
    return course->view->problem->dtype != ATTN_F32;
}

/* A factor of the row's own. One that is nearly 1 is what cutting off instead of rounding does. */
static bool factor(struct course *course) {
    const int64_t dim = course->answer->head_dim;
    const double *o = course->answer->out + ((course->b * course->answer->q_heads + course->h) *
                                                 course->answer->row_count +
                                             course->row) *
                                                dim;
    double product = 0, square = 0;
    for (int64_t d = 0; d < dim; d++) {
        product += o[d] * course->got[d];
        square += o[d] * o[d];
    }
    course->out_scale = course->said[0] = product / square;
    return dim >= 8 && isfinite(course->out_scale) && course->out_scale != 0 &&
           fabs(course->out_scale - 1) >
               4 * unit_roundoff((enum attn_dtype)course->view->problem->dtype);
}

/* Whose row */

static bool of_q_head(struct course *course) {
    course->of_b = course->b;
    course->of_h = (course->h + 1 + (int64_t)course->number) % course->answer->q_heads;
    course->said[0] = course->number + 1;
    return course->of_h != course->h;
}

static bool of_sequence(struct course *course) {
    course->of_b = (course->b + 1 + (int64_t)course->number) % course->answer->batch;
    course->of_h = course->h;
    course->said[0] = course->number + 1;
    return course->of_b != course->b;
}

static bool of_query(struct course *course, int64_t step) {
    const struct answer *answer = course->answer;
    const int64_t row = course->row + step;
    course->of_b = course->b;
    course->of_h = course->h;
    if (row < 0 || row >= answer->row_count) return false;
    const bool next = answer->rows[row] == answer->rows[course->row] + step;
    course->row = row;
    return next;
}

static bool of_query_before(struct course *course) {
    return of_query(course, -1);
}

static bool of_query_after(struct course *course) {
    return of_query(course, 1);
}

/* Keys of a tile */

static bool tile_left_out(struct course *course) {
    course->skip = (int64_t)course->number * course->size;
    course->skip_end = course->skip + course->size;
    course->said[0] = (double)course->skip;
    course->said[1] = (double)(course->skip_end - 1);
    return course->end > course->size;
}

static bool tile_twice(struct course *course) {
    course->again = (int64_t)course->number * course->size;
    course->again_end = course->again + course->size;
    course->said[0] = (double)course->again;
    course->said[1] = (double)(course->again_end - 1);
    return true;
}

/* lse alone */

static bool lse_in_base_2(struct course *course) {
    course->lse_scale = 0x1.71547652b82fep+0;
    return true;
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

const struct hypothesis hypotheses[] = {
    {"it wrote zeros", OF_OUT, 0, NULL, NULL, zero},
    {"a query saw one key fewer, the last left out", OF_BOTH, 0, NULL, NULL, last_left_out},
    {"the last entry of the kept list were left out", OF_BOTH, 0, NULL, NULL, last_entry_left_out},
    {"a query saw one key more, the one after its last", OF_BOTH, 0, NULL, NULL, one_more},
    {"the first key were left out", OF_BOTH, 0, NULL, NULL, first_left_out},
    {"the first key were counted twice", OF_BOTH, 0, NULL, NULL, first_twice},
    {"the last key were counted twice", OF_BOTH, 0, NULL, NULL, last_twice},
    {"the causal mask were aligned to the top left, not to the bottom right", OF_BOTH, 0, NULL,
     NULL, top_left},
    {"the causal mask were left out", OF_BOTH, 0, NULL, NULL, not_causal},
    {"it were causal, which is not asked", OF_BOTH, 0, NULL, NULL, causal_unasked},
    {"it were causal from the top left, which is not asked", OF_BOTH, 0, NULL, NULL,
     causal_unasked_top_left},
    {"the keys that do not fill a tile of %1$.0f at the end were left out", OF_BOTH, 0, tiles, NULL,
     partial_tile_left_out},
    {"the last %1$.0f keys were left out", OF_BOTH, 0, tiles, NULL, last_tile_left_out},
    {"only the first %1$.0f keys were seen", OF_BOTH, 0, tiles, NULL, first_tile_only},
    {"lengths were ignored and all room for keys seen", OF_BOTH, 0, NULL, NULL, lengths_ignored},
    {"all sequences had the length of sequence %1$.0f", OF_BOTH, 0, sequences, NULL,
     length_of_another},
    {"the kept list were ignored and all keys seen", OF_BOTH, 0, NULL, NULL, list_ignored},
    {"it used the kept list of query head %1$.0f", OF_BOTH, 0, q_heads, NULL, list_of_another},
    {"query head h read kv head h % Hkv, not h / (Hq / Hkv)", OF_BOTH, 0, NULL, NULL,
     kv_head_modulo},
    {"it read kv head %1$.0f", OF_BOTH, 0, kv_heads, NULL, kv_head_of_number},
    {"it read the keys and values of sequence %1$.0f", OF_BOTH, 0, sequences, NULL,
     keys_of_another},
    {"the first token of a page were read from the page before", OF_BOTH, 0, NULL, NULL,
     page_before},
    {"the values of pages %1$.0f and %2$.0f were swapped", OF_OUT, 0, NULL, search_swapped,
     values_swapped},
    {"the values of tiles %1$.0f and %2$.0f of 64 keys were swapped", OF_OUT, 64, NULL,
     search_swapped, values_swapped},
    {"the value of key j were read from the row before", OF_OUT, 0, NULL, NULL, values_before},
    {"the value of key j were read from the row behind", OF_OUT, 0, NULL, NULL, values_after},
    {"MagicPIG's correction were left out", OF_BOTH, 0, NULL, NULL, uncorrected},
    {"logits were not scaled", OF_BOTH, 0, NULL, NULL, no_scale},
    {"logits were scaled twice", OF_BOTH, 0, NULL, NULL, scale_twice},
    {"exp2 were taken of logits without their log2 e", OF_OUT, 0, NULL, NULL, base_2},
    {"logits had the log2 e of exp2, and exp were taken", OF_OUT, 0, NULL, NULL, base_2_twice},
    {"scores were ignored and all keys had the same weight", OF_BOTH, 0, NULL, NULL, even},
    {"it were not divided by the sum of the weights", OF_OUT, 0, NULL, NULL, not_divided},
    {"it wrote the row of the query head %1$.0f further", OF_BOTH, 0, other_q_heads, NULL,
     of_q_head},
    {"it wrote the row of the sequence %1$.0f further", OF_BOTH, 0, other_sequences, NULL,
     of_sequence},
    {"it wrote the row of the query before", OF_BOTH, 0, NULL, NULL, of_query_before},
    {"it wrote the row of the query behind", OF_BOTH, 0, NULL, NULL, of_query_after},
    {"the output were not rescaled when the maximum first grew, in blocks of %1$.0f keys", OF_OUT,
     0, tiles, NULL, output_once},
    {"the output were never rescaled to a new maximum, in blocks of %1$.0f keys", OF_OUT, 0, tiles,
     NULL, output_never},
    {"the sum of the weights were never rescaled to a new maximum, in blocks of %1$.0f keys",
     OF_BOTH, 0, tiles, NULL, sum_never},
    {"logits were rounded to the type of q", OF_BOTH, 0, NULL, NULL, logits_rounded},
    {"q.k were rounded to the type of q, then scaled", OF_BOTH, 0, NULL, NULL, products_rounded},
    {"the arguments of exp were rounded to the type of q", OF_OUT, 0, tiles, NULL,
     arguments_rounded},
    {"the output, or the weights, were cut off and not rounded", OF_OUT, 0, NULL, NULL, cut_off},
    {"lse were in base 2", OF_LSE, 0, NULL, NULL, lse_in_base_2},
    {"lse were in base 10", OF_LSE, 0, NULL, NULL, lse_in_base_10},
    {"lse had the largest logit without its scale", OF_LSE, 0, NULL, NULL, lse_without_scale},
    {"lse had the largest logit in base 2", OF_LSE, 0, NULL, NULL, lse_maximum_in_base_2},
    {"lse were multiplied with the scale", OF_LSE, 0, NULL, NULL, lse_times_scale},
    {"lse were divided by the scale", OF_LSE, 0, NULL, NULL, lse_over_scale},
    {"lse were the log of the sum, without the largest logit", OF_LSE, 0, NULL, NULL, lse_of_sum},
    {"lse were the largest logit, without the log of the sum", OF_LSE, 0, NULL, NULL,
     lse_of_largest},
    {"lse had the other sign", OF_LSE, 0, NULL, NULL, lse_negative},
    /* These have a number that is found, and come last. */
    {"keys %1$.0f to %2$.0f were left out", OF_OUT, 128, NULL, search_left_out, tile_left_out},
    {"keys %1$.0f to %2$.0f were left out", OF_OUT, 64, NULL, search_left_out, tile_left_out},
    {"keys %1$.0f to %2$.0f were left out", OF_OUT, 32, NULL, search_left_out, tile_left_out},
    {"keys %1$.0f to %2$.0f were left out", OF_OUT, 16, NULL, search_left_out, tile_left_out},
    {"key %1$.0f were left out", OF_OUT, 1, NULL, search_left_out, tile_left_out},
    {"keys %1$.0f to %2$.0f were counted twice", OF_OUT, 128, NULL, search_twice, tile_twice},
    {"keys %1$.0f to %2$.0f were counted twice", OF_OUT, 64, NULL, search_twice, tile_twice},
    {"keys %1$.0f to %2$.0f were counted twice", OF_OUT, 32, NULL, search_twice, tile_twice},
    {"keys %1$.0f to %2$.0f were counted twice", OF_OUT, 16, NULL, search_twice, tile_twice},
    {"key %1$.0f were counted twice", OF_OUT, 1, NULL, search_twice, tile_twice},
    {"logits were %1$.5g times what they are", OF_OUT, 0, NULL, search_scale, scaled},
    {"the sum of the weights were off: a row is the answer times a number, %1$.5g in the worst",
     OF_OUT, 0, NULL, NULL, factor},
    {NULL, 0, 0, NULL, NULL, NULL},
};
