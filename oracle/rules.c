/* The one place that walks the rules. Everything a problem means beyond plain attention is asked
 * here, and answered by the files in rules/ whose trait the problem has; this file knows the
 * tensors that every problem has, and nothing of any trait. */
#include "rule.h"
#include "../kernels/attn_number.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>

const struct rule *const rules[] = {
    &rule_gqa,      &rule_dv,       &rule_causal, &rule_window,     &rule_ragged,  &rule_page,
    &rule_kshared,  &rule_qlens,    &rule_keep,   &rule_keep_group, &rule_softcap, &rule_alibi,
    &rule_bias,     &rule_magicpig, &rule_sinks,  &rule_kv_e4m3,    &rule_kv_int8, &rule_kv_head,
    &rule_kv_token, &rule_out_e4m3, &rule_nhd,    &rule_thd,        &rule_strided, NULL};

static const struct rule_tensor plain_tensors[] = {
    {ATTN_Q, ATTN_INPUT, 4, {SIZE_BATCH, SIZE_Q_HEADS, SIZE_Q_LEN, SIZE_HEAD_DIM}},
    {ATTN_K, ATTN_INPUT, 4, {SIZE_BATCH, SIZE_KV_HEADS, SIZE_KV_LEN, SIZE_HEAD_DIM}},
    {ATTN_V, ATTN_INPUT, 4, {SIZE_BATCH, SIZE_KV_HEADS, SIZE_KV_LEN, SIZE_VALUE_DIM}},
    {ATTN_OUT, ATTN_INPUT, 4, {SIZE_BATCH, SIZE_Q_HEADS, SIZE_Q_LEN, SIZE_VALUE_DIM}},
    {ATTN_LSE, ATTN_F32, 3, {SIZE_BATCH, SIZE_Q_HEADS, SIZE_Q_LEN}},
    {.rank = 0}};

static const char *const slot_names[] = {
#define ATTN_X(symbol, name) #name,
    ATTN_SLOTS(ATTN_X)
#undef ATTN_X
};

static bool applies(const struct rule *rule, const struct attn_problem *problem) {
    return (problem->traits & rule->trait) != 0;
}

int64_t rules_size(const struct attn_problem *problem, enum rule_size size) {
    static const size_t at[] = {
        [SIZE_BATCH] = offsetof(struct attn_problem, batch),
        [SIZE_Q_HEADS] = offsetof(struct attn_problem, q_heads),
        [SIZE_KV_HEADS] = offsetof(struct attn_problem, kv_heads),
        [SIZE_Q_LEN] = offsetof(struct attn_problem, q_len),
        [SIZE_KV_LEN] = offsetof(struct attn_problem, kv_len),
        [SIZE_HEAD_DIM] = offsetof(struct attn_problem, head_dim),
        [SIZE_VALUE_DIM] = offsetof(struct attn_problem, value_dim),
        [SIZE_BIAS_BATCH] = offsetof(struct attn_problem, bias_batch),
        [SIZE_BIAS_HEADS] = offsetof(struct attn_problem, bias_heads),
        [SIZE_PAGE] = offsetof(struct attn_problem, page_size),
        [SIZE_PAGES] = offsetof(struct attn_problem, pages),
        [SIZE_PAGE_ENTRIES] = offsetof(struct attn_problem, page_entries),
        [SIZE_KEPT_MAX] = offsetof(struct attn_problem, kept_max),
    };
    const bool paged = problem->traits & ATTN_PAGE;
    if (size == SIZE_2) return 2;
    if (size == SIZE_1) return 1;
    if (size == SIZE_SCALE_BLOCKS) size = paged ? SIZE_PAGES : SIZE_BATCH;
    if (size == SIZE_SCALE_TOKENS) size = paged ? SIZE_PAGE : SIZE_KV_LEN;
    if (size == SIZE_BATCH_1) return problem->batch + 1;
    return *(const int64_t *)((const char *)problem + at[size]);
}

static const struct rule_tensor *find(const struct rule_tensor *tensors, enum attn_slot slot) {
    for (; tensors && tensors->rank; tensors++)
        if (tensors->slot == slot) return tensors;
    return NULL;
}

struct rule_tensor rules_tensor(const struct attn_problem *problem, enum attn_slot slot) {
    const struct rule_tensor *found = find(plain_tensors, slot);
    for (int r = 0; rules[r]; r++) {
        if (!applies(rules[r], problem)) continue;
        const struct rule_tensor *own = find(rules[r]->tensors, slot);
        if (own) found = own;
        if (rules[r]->hides & 1u << slot) found = NULL;
    }
    struct rule_tensor tensor = found ? *found : (struct rule_tensor){.slot = slot};
    for (int r = 0; rules[r]; r++)
        if (rules[r]->reshape && applies(rules[r], problem)) rules[r]->reshape(problem, &tensor);
    const bool stored = slot == ATTN_K || slot == ATTN_V || slot == ATTN_KV_CACHE;
    if (tensor.rank > 0 && tensor.dtype == ATTN_INPUT)
        tensor.dtype = stored             ? rules_kv_dtype(problem)
                       : slot == ATTN_OUT ? rules_out_dtype(problem)
                                          : (enum attn_dtype)problem->dtype;
    return tensor;
}

enum attn_dtype rules_kv_dtype(const struct attn_problem *problem) {
    for (int r = 0; rules[r]; r++)
        if (rules[r]->kv_dtype && applies(rules[r], problem)) return rules[r]->kv_dtype;
    return (enum attn_dtype)problem->dtype;
}

enum attn_dtype rules_out_dtype(const struct attn_problem *problem) {
    for (int r = 0; rules[r]; r++)
        if (rules[r]->out_dtype && applies(rules[r], problem)) return rules[r]->out_dtype;
    return (enum attn_dtype)problem->dtype;
}

double rules_out_scale(const struct rule_view *view) {
    const float *scale = view->tensors[ATTN_OUT_SCALE].data;
    return scale != NULL ? (double)*scale : 1;
}

/* Which variant the traits and sizes are of, where they are of one. */
static enum attn_variant variant_of(const struct attn_problem *problem) {
    const uint64_t traits = problem->traits;
    const bool one = problem->q_len == 1, alike = problem->q_len == problem->kv_len;
    if (traits & ATTN_MAGICPIG) return ATTN_MAGICPIG_DECODE_PAGED;
    if (traits & ATTN_KEEP && one)
        return traits & ATTN_PAGE ? ATTN_SPARSE_DECODE_PAGED : ATTN_SPARSE_DECODE;
    if (traits & ATTN_PAGE) return one ? ATTN_DECODE_PAGED : ATTN_PREFILL_PAGED;
    if (traits & ATTN_RAGGED && (alike || !one)) return ATTN_PREFILL_VARLEN;
    return one ? ATTN_DECODE : ATTN_PREFILL;
}

/* Traits that do not go together. */
static bool check_traits(const struct attn_problem *problem, struct fault *fault) {
    const uint64_t traits = problem->traits, of_page = ATTN_RAGGED | ATTN_PAGE;
    uint64_t known = 0;
    for (int r = 0; rules[r]; r++) known |= rules[r]->trait;
    if (traits & ~known)
        return fault_set(fault, FAULT_INPUT, "unknown traits 0x%" PRIx64, traits & ~known);
    if (traits & ATTN_PAGE && !(traits & ATTN_RAGGED))
        return fault_set(fault, FAULT_INPUT,
                         "pages need the length of each sequence (lens, ragged)");
    if (traits & ATTN_QLENS && !(traits & ATTN_RAGGED))
        return fault_set(fault, FAULT_INPUT,
                         "lengths of queries need those of keys (lens, ragged)");
    if (traits & ATTN_MAGICPIG && (traits & (of_page | ATTN_KEEP)) != (of_page | ATTN_KEEP))
        return fault_set(fault, FAULT_INPUT, "magicpig needs page and keep");
    if (traits & ATTN_KEEP && traits & ATTN_RAGGED && !(traits & ATTN_PAGE))
        return fault_set(fault, FAULT_INPUT, "keep with lengths needs page");
    if (traits & ATTN_KEEP_GROUP && !(traits & ATTN_KEEP))
        return fault_set(fault, FAULT_INPUT,
                         "keepgroup without keep: expected the lists that heads share");
    if (traits & ATTN_KEEP_GROUP && traits & ATTN_MAGICPIG)
        return fault_set(fault, FAULT_INPUT,
                         "keepgroup beside magicpig: expected lists of each query head, whose "
                         "samples they are");
    if (traits & ATTN_MAGICPIG && problem->q_len > 1)
        return fault_set(fault, FAULT_INPUT, "magicpig is for one query token (q1)");
    if (traits & ATTN_KEEP && problem->q_len > 1 && !(traits & ATTN_PAGE))
        return fault_set(fault, FAULT_INPUT,
                         "keep without page is for one query token (q1): expected page for lists "
                         "of several");
    if (traits & ATTN_RAGGED && !(traits & (ATTN_PAGE | ATTN_QLENS)) && problem->q_len > 1 &&
        problem->q_len != problem->kv_len)
        return fault_set(fault, FAULT_INPUT,
                         "lengths without page or qlens need q and kv alike, not %" PRId64
                         " and %" PRId64,
                         problem->q_len, problem->kv_len);
    if (traits & ATTN_WINDOW && traits & ATTN_KEEP)
        return fault_set(fault, FAULT_INPUT,
                         "a window beside kept lists: expected lists of the tokens in it");
    if (traits & ATTN_WINDOW && (problem->window_left < 0 || problem->window_right < 0))
        return fault_set(fault, FAULT_INPUT,
                         "a window of %" PRId64 ",%" PRId64 " tokens: expected 0 or more",
                         problem->window_left, problem->window_right);
    if (traits & ATTN_BIASED && traits & ATTN_KEEP)
        return fault_set(fault, FAULT_INPUT,
                         "a bias beside kept lists: expected lists of the tokens that are seen");
    if (traits & ATTN_BIASED &&
        ((problem->bias_batch != 1 && problem->bias_batch != problem->batch) ||
         (problem->bias_heads != 1 && problem->bias_heads != problem->q_heads)))
        return fault_set(fault, FAULT_INPUT,
                         "a bias of %" PRId64 " sequences and %" PRId64 " query heads: expected 1 "
                         "or %" PRId64 ", and 1 or %" PRId64,
                         problem->bias_batch, problem->bias_heads, problem->batch,
                         problem->q_heads);
    if (traits & ATTN_KSHARED && traits & ATTN_DV && problem->value_dim > problem->head_dim)
        return fault_set(fault, FAULT_INPUT,
                         "values of %" PRId64 " elements from keys of %" PRId64
                         ": expected at most as many with kshared",
                         problem->value_dim, problem->head_dim);
    const uint64_t stored = traits & (ATTN_KV_E4M3 | ATTN_KV_INT8);
    if (stored == (ATTN_KV_E4M3 | ATTN_KV_INT8))
        return fault_set(fault, FAULT_INPUT, "kve4m3 beside kvint8: expected one of them");
    if (traits & (ATTN_KV_HEAD | ATTN_KV_TOKEN) && !stored)
        return fault_set(fault, FAULT_INPUT,
                         "scales of keys and values without kve4m3 or kvint8: expected one");
    if ((traits & ATTN_KV_HEAD) && (traits & ATTN_KV_TOKEN))
        return fault_set(fault, FAULT_INPUT, "kvhead beside kvtoken: expected one of them");
    if (traits & ATTN_NHD && !(traits & ATTN_PAGE))
        return fault_set(fault, FAULT_INPUT,
                         "nhd without pages: expected page, or strided for another order of axes");
    if (traits & ATTN_THD && !(traits & ATTN_RAGGED))
        return fault_set(fault, FAULT_INPUT,
                         "thd packs sequences, whose lengths are not told (lens, ragged)");
    return !(traits & ATTN_SOFTCAP) || problem->softcap > 0 ||
           fault_set(fault, FAULT_INPUT, "a softcap of %g: expected a number above 0",
                     problem->softcap);
}

bool rules_variant(struct attn_problem *problem, struct fault *fault) {
    if (problem->kv_heads < 1 || problem->q_heads % problem->kv_heads != 0)
        return fault_set(fault, FAULT_INPUT,
                         "%" PRId64 " key/value heads do not divide %" PRId64 " query heads",
                         problem->kv_heads, problem->q_heads);
    if (!check_traits(problem, fault)) return false;
    problem->variant = (int32_t)variant_of(problem);
    problem->traits &= ~(uint64_t)ATTN_GQA;
    if (!(problem->traits & ATTN_DV)) problem->value_dim = problem->head_dim;
    if (problem->value_dim == problem->head_dim) problem->traits &= ~(uint64_t)ATTN_DV;
    if (!(problem->traits & ATTN_WINDOW)) problem->window_left = problem->window_right = 0;
    if (!(problem->traits & ATTN_SOFTCAP)) problem->softcap = 0;
    if (!(problem->traits & ATTN_BIASED)) problem->bias_batch = problem->bias_heads = 0;
    if (problem->q_len == 1 || problem->traits & ATTN_CAUSAL) problem->window_right = 0;
    if (problem->q_len == 1) problem->traits &= ~(uint64_t)ATTN_CAUSAL;
    if (problem->kv_heads < problem->q_heads) problem->traits |= ATTN_GQA;
    if (problem->kv_heads == 1) problem->traits &= ~(uint64_t)ATTN_KV_HEAD;
    if (problem->kv_heads == problem->q_heads) problem->traits &= ~(uint64_t)ATTN_KEEP_GROUP;
    return true;
}

int64_t rules_q_len(const struct rule_view *view, int64_t b) {
    int64_t length = view->problem->q_len;
    for (int r = 0; rules[r]; r++)
        if (rules[r]->q_len && applies(rules[r], view->problem)) length = rules[r]->q_len(view, b);
    return length;
}

int64_t rules_kv_len(const struct rule_view *view, int64_t b) {
    int64_t length = view->problem->kv_len;
    for (int r = 0; rules[r]; r++)
        if (rules[r]->kv_len && applies(rules[r], view->problem))
            length = rules[r]->kv_len(view, b);
    return length;
}

struct rule_keys rules_span(const struct rule_view *view, int64_t b, int64_t i) {
    struct rule_keys keys = {.count = 0, .list = NULL};
    if (i >= rules_q_len(view, b)) return keys;
    int64_t end = rules_kv_len(view, b);
    for (int r = 0; rules[r]; r++)
        if (rules[r]->span && applies(rules[r], view->problem))
            rules[r]->span(view, b, i, &keys.first, &end);
    if (end > keys.first)
        keys.count = end - keys.first;
    else
        keys.first = 0;
    return keys;
}

struct rule_keys rules_keys(const struct rule_view *view, int64_t b, int64_t h, int64_t i) {
    struct rule_keys keys = rules_span(view, b, i);
    if (i >= rules_q_len(view, b)) return keys;
    for (int r = 0; rules[r]; r++)
        if (rules[r]->keys && applies(rules[r], view->problem))
            rules[r]->keys(view, b, h, i, &keys);
    return keys;
}

int64_t rule_place(const struct rule_view *view, int64_t b, int64_t i) {
    return i + rules_kv_len(view, b) - rules_q_len(view, b);
}

const float *rules_bias(const struct rule_view *view, int64_t b, int64_t h, int64_t i) {
    const struct attn_problem *problem = view->problem;
    const int64_t of = problem->bias_batch > 1 ? b : 0, head = problem->bias_heads > 1 ? h : 0;
    return (const float *)view->tensors[ATTN_BIAS].data +
           ((of * problem->bias_heads + head) * problem->q_len + i) * problem->kv_len;
}

int64_t rules_row_index(const struct rule_view *view, int64_t b, int64_t g, int64_t t, bool value) {
    for (int r = 0; rules[r]; r++)
        if (rules[r]->row_index && applies(rules[r], view->problem))
            return rules[r]->row_index(view, b, g, t, value);
    return (b * view->problem->kv_heads + g) * view->problem->kv_len + t;
}

enum attn_slot rules_values(const struct attn_problem *problem) {
    for (enum attn_slot slot = ATTN_KV_CACHE; slot > ATTN_K; slot--)
        if (rules_tensor(problem, slot).rank > 0) return slot;
    return ATTN_K;
}

const void *rules_row(const struct rule_view *view, int64_t b, int64_t g, int64_t t, bool value) {
    const struct attn_tensor *tensors = view->tensors, *tensor = &tensors[ATTN_KV_CACHE];
    const bool of_v = value && tensors[ATTN_V].data;
    if (!tensor->data) tensor = &tensors[of_v ? ATTN_V : ATTN_K];
    const int64_t width = of_v ? view->problem->value_dim : view->problem->head_dim;
    return (const char *)tensor->data + rules_row_index(view, b, g, t, value) * width *
                                            attn_dtype_bytes(rules_kv_dtype(view->problem));
}

void rules_seen(const struct rule_view *view, int64_t g,
                void (*see)(void *context, int64_t b, int64_t g, int64_t t), void *context) {
    const struct attn_problem *problem = view->problem;
    const int64_t group = problem->q_heads / problem->kv_heads;
    for (int64_t b = 0; b < problem->batch; b++) {
        const int64_t q_len = rules_q_len(view, b);
        /* What rows without a list see begins and ends later the later the query, and is the same
         * for all heads: tokens before it were seen, as far as rows that are left see them. */
        int64_t done = 0;
        for (int64_t row = 0; row < group * q_len; row++) {
            const int64_t i = row % q_len;
            const struct rule_keys keys = rules_keys(view, b, g * group + row / q_len, i);
            /* Heads may share a list. */
            if (row >= q_len && keys.list && keys.list == rules_keys(view, b, g * group, i).list)
                continue;
            for (int64_t n = 0; keys.list && n < keys.count; n++) see(context, b, g, keys.list[n]);
            const int64_t end = keys.list ? 0 : keys.first + keys.count;
            for (int64_t t = keys.first > done ? keys.first : done; t < end; t++)
                see(context, b, g, t);
            done = end > done ? end : done;
        }
    }
}

int64_t rules_scale_index(const struct attn_problem *problem, int64_t row) {
    int64_t index = -1;
    for (int r = 0; rules[r]; r++)
        if (rules[r]->scale_index && applies(rules[r], problem))
            index = rules[r]->scale_index(problem, row);
    return index;
}

double rules_scale(const struct rule_view *view, int64_t row, bool value) {
    const int64_t index = rules_scale_index(view->problem, row);
    const bool of_key =
        !value || view->problem->traits & ATTN_KSHARED; /* a part of it has its scale */
    const float *scales = view->tensors[of_key ? ATTN_K_SCALE : ATTN_V_SCALE].data;
    return index < 0 ? 1 : (double)scales[index];
}

/* Presence, dtype and shape, so that a rule may follow its numbers. */
static bool check_tensor(const struct rule_view *view, enum attn_slot slot, struct fault *fault) {
    const struct rule_tensor expected = rules_tensor(view->problem, slot);
    const struct attn_tensor *tensor = &view->tensors[slot];
    if (!tensor->data) {
        if (expected.rank == 0 || slot == ATTN_SPARSE_MASK) return true;
        return fault_set(fault, FAULT_INPUT, "dataset '%s' is missing", slot_names[slot]);
    }
    if (expected.rank == 0)
        return fault_set(fault, FAULT_INPUT, "dataset '%s' is not part of this problem",
                         slot_names[slot]);
    if (tensor->dtype != (int32_t)expected.dtype || tensor->rank != expected.rank)
        return fault_set(fault, FAULT_INPUT, "dataset '%s' has dtype %d and rank %d, not %d and %d",
                         slot_names[slot], (int)tensor->dtype, (int)tensor->rank,
                         (int)expected.dtype, expected.rank);
    for (int r = 0; r < expected.rank; r++) {
        const int64_t size = rules_size(view->problem, expected.shape[r]);
        if (tensor->shape[r] != size)
            return fault_set(fault, FAULT_INPUT,
                             "dimension %d of dataset '%s' is %" PRId64 ", not %" PRId64, r,
                             slot_names[slot], tensor->shape[r], size);
    }
    return true;
}

bool rules_check(const struct rule_view *view, struct fault *fault) {
    const int64_t tokens = view->problem->kv_len;
    if (tokens < 0 || tokens > INT32_MAX)
        return fault_set(fault, FAULT_INPUT, "%" PRId64 " key tokens: expected at most 2^31 - 1",
                         tokens);
    for (int slot = 0; slot < ATTN_SLOT_COUNT; slot++)
        if (rules_is_input((enum attn_slot)slot) &&
            !check_tensor(view, (enum attn_slot)slot, fault))
            return false;
    for (int r = 0; rules[r]; r++)
        if (rules[r]->check && applies(rules[r], view->problem) && !rules[r]->check(view, fault))
            return false;
    return true;
}

bool rules_need_norms(const struct attn_problem *problem) {
    for (int r = 0; rules[r]; r++)
        if (rules[r]->needs_norms && applies(rules[r], problem)) return true;
    return false;
}

struct attn_problem rules_uncorrected(const struct attn_problem *problem) {
    struct attn_problem plain = *problem;
    for (int r = 0; rules[r]; r++)
        if (rules[r]->corrects) plain.traits &= ~rules[r]->trait;
    return plain;
}

bool rules_change_logits(const struct attn_problem *problem) {
    for (int r = 0; rules[r]; r++)
        if (rules[r]->logit && applies(rules[r], problem)) return true;
    return false;
}

const char *rules_by_place(const struct attn_problem *problem) {
    for (int r = 0; rules[r]; r++)
        if (rules[r]->by_place && applies(rules[r], problem)) return rules[r]->name;
    return NULL;
}

void rules_logit(const struct rule_view *view, int64_t b, int64_t h, struct rule_logit *logit) {
    for (int r = 0; rules[r]; r++)
        if (rules[r]->logit && applies(rules[r], view->problem)) rules[r]->logit(view, b, h, logit);
}

double rules_sink(const struct rule_view *view, int64_t b, int64_t h) {
    double sink = -INFINITY;
    for (int r = 0; rules[r]; r++)
        if (rules[r]->sink && applies(rules[r], view->problem)) sink = rules[r]->sink(view, b, h);
    return sink;
}

int64_t rule_draw_len(const struct attn_problem *problem, const struct rule_draw *draw, int64_t b) {
    return problem->traits & ATTN_RAGGED ? draw->lens[b] : problem->kv_len;
}

int64_t rule_draw_seen(const struct attn_problem *problem, const struct rule_draw *draw, int64_t b,
                       int64_t i) {
    const int64_t tokens = rule_draw_len(problem, draw, b);
    const int64_t queries = problem->traits & ATTN_QLENS ? draw->q_lens[b] : problem->q_len;
    if (problem->q_len == 1) return tokens;
    if (i >= queries) return 0;
    const int64_t seen = problem->traits & ATTN_CAUSAL ? i + tokens - queries + 1 : tokens;
    return seen < 0 ? 0 : seen;
}

int64_t rule_below(const struct rule_random *random, enum attn_slot tensor, uint64_t index,
                   int64_t range) {
    return (int64_t)((uint64_t)random->word(random, tensor, index) * (uint64_t)range >> 32);
}

void rule_choose(const struct rule_random *random, enum attn_slot tensor, uint64_t stream,
                 int64_t range, int64_t count, int32_t *chosen) {
    const uint64_t first = stream << 32;
    int64_t taken = 0; /* ascending: n is taken with probability (count - taken) / (range - n) */
    for (int64_t n = 0; taken < count; n++)
        if (rule_below(random, tensor, first | (uint64_t)n, range - n) < count - taken)
            chosen[taken++] = (int32_t)n;
    for (int64_t n = count - 1; n > 0; n--) {
        const int64_t other = rule_below(random, tensor, first | (uint64_t)(range + n), n + 1);
        const int32_t swapped = chosen[n];
        chosen[n] = chosen[other];
        chosen[other] = swapped;
    }
}
