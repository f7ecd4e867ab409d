/* Are inputs read anew? Between two calls inputs change in ways whose right answer is known: V
 * negated; q and k negated together, which leaves every logit its bits; keys in another order, with
 * their values, and lists that name them; pages elsewhere, with the tables that name them;
 * sequences in another order, with all that is theirs. Each is its own inverse, and so is what it
 * does to the output. They are made all at once, in one launch that costs what a launch costs: a
 * kernel that has kept anything computes with parts of two calls. Only when that is wrong are they
 * made one at a time, to say which it is. Where queries see keys by their place, P could be kept
 * and all of that pass for one sequence: there q is negated alone, and rows are checked by the
 * definition. */
#include "trial_inside.h"
#include "../worker/turn.h"
#include "../../kernels/attn_number.h"
#include "../../oracle/oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t width_of(const struct attn_tensor *tensor) {
    return (size_t)attn_dtype_bytes(tensor->dtype);
}

static void swap(unsigned char *a, unsigned char *b, size_t bytes) {
    unsigned char block[4096];
    for (size_t at = 0; at < bytes && a != b; at += sizeof block) {
        const size_t part = bytes - at < sizeof block ? bytes - at : sizeof block;
        memcpy(block, a + at, part);
        memcpy(a + at, b + at, part);
        memcpy(b + at, block, part);
    }
}

/* `count` blocks of `bytes` each, the last first. */
static void reverse(unsigned char *at, int64_t count, size_t bytes) {
    for (int64_t n = 0; n < count / 2; n++)
        swap(at + (size_t)n * bytes, at + (size_t)(count - 1 - n) * bytes, bytes);
}

/* Elements from, from + 1, ..., of each `step`, `count` of them. */
static void negate(const struct attn_tensor *tensor, int64_t from, int64_t count, int64_t step) {
    const int64_t width = (int64_t)width_of(tensor), elements = tensor_bytes(tensor) / width;
    const uint32_t all = ~0u;
    for (int64_t at = from; at < elements; at += step)
        turn_flip((unsigned char *)tensor->data + at * width, count, (enum attn_dtype)tensor->dtype,
                  &all);
}

/* All keys, or all values, those hidden too. */
static void negate_half(struct fixture *fixture, bool values) {
    const struct attn_tensor *cache = &fixture->tensors[ATTN_KV_CACHE];
    const struct attn_tensor *dense = &fixture->tensors[values ? ATTN_V : ATTN_K];
    const int64_t half = cache->stride[1]; /* keys, values, keys, values, ... */
    if (cache->data != NULL) {
        negate(cache, values ? half : 0, half, 2 * half);
    } else {
        const int64_t all = tensor_bytes(dense) / (int64_t)width_of(dense);
        negate(dense, 0, all, all > 0 ? all : 1);
    }
}

static void negate_q(struct fixture *fixture) {
    const struct attn_tensor *q = &fixture->tensors[ATTN_Q];
    const int64_t all = tensor_bytes(q) / (int64_t)width_of(q);
    negate(q, 0, all, all > 0 ? all : 1);
}

static void change_values(struct fixture *fixture) {
    negate_half(fixture, true);
}

static void change_signs(struct fixture *fixture) {
    negate_q(fixture);
    negate_half(fixture, false);
}

/* Tokens that change places: 0 .. count - 1, in blocks of so many, the last block first. */
struct moved {
    int64_t blocks, block;
};

static struct moved moved_of(const struct rule_view *view, int64_t b) {
    const int64_t page = view->problem->page_size, keys = rules_kv_len(view, b);
    return page > 0 ? (struct moved){keys / page, page} : (struct moved){keys, 1};
}

static int64_t moved_to(struct moved moved, int64_t t) {
    const int64_t block = t / moved.block;
    return block < moved.blocks ? (moved.blocks - 1 - block) * moved.block + t % moved.block : t;
}

static void move_list(const struct rule_view *view, int64_t b, struct moved moved) {
    const struct attn_problem *problem = view->problem;
    const int32_t *nnz = view->tensors[ATTN_SPARSE_NNZ].data;
    int32_t *lists = view->tensors[ATTN_SPARSE_IND].data;
    unsigned char *masks = view->tensors[ATTN_SPARSE_MASK].data;
    const int64_t per = rule_lists_count(problem) / problem->batch;
    for (int64_t row = b * per; row < (b + 1) * per; row++) {
        int32_t *list = lists + row * problem->kept_max;
        for (int32_t n = 0; n < nnz[row]; n++) list[n] = (int32_t)moved_to(moved, list[n]);
        reverse((unsigned char *)list, nnz[row], sizeof *list);
        if (masks != NULL && moved.block == 1)
            reverse(masks + row * problem->kv_len, moved.blocks, 1);
        for (int64_t n = 0; masks != NULL && moved.block > 1 && n < moved.blocks / 2; n++)
            swap(masks + row * problem->kv_len + n * moved.block,
                 masks + row * problem->kv_len + (moved.blocks - 1 - n) * moved.block,
                 (size_t)moved.block);
    }
}

static void change_keys(struct fixture *fixture) {
    const struct rule_view view = fixture_view(fixture);
    const struct attn_problem *problem = view.problem;
    static const enum attn_slot slots[] = {ATTN_K, ATTN_V, ATTN_K_SCALE, ATTN_V_SCALE};
    const int count = problem->traits & ATTN_KV_TOKEN ? 4 : 2; /* scales move with their tokens */
    for (int64_t b = 0; b < problem->batch; b++) {
        const struct moved moved = moved_of(&view, b);
        if (problem->traits & ATTN_PAGE) {
            int32_t *pages = (int32_t *)fixture->tensors[ATTN_KV_PAGE_INDICES].data +
                             ((const int32_t *)fixture->tensors[ATTN_KV_PAGE_INDPTR].data)[b];
            reverse((unsigned char *)pages, moved.blocks, sizeof *pages);
        } else {
            for (int64_t n = 0; n < count * problem->kv_heads; n++) {
                const struct attn_tensor *tensor = &fixture->tensors[slots[n % count]];
                if (tensor->data == NULL) continue; /* values are part of the keys */
                const size_t width = width_of(tensor);
                const int64_t at = b * tensor->stride[0] + n / count * tensor->stride[1];
                reverse((unsigned char *)tensor->data + (size_t)at * width, moved.blocks,
                        (size_t)tensor->stride[2] * width);
            }
        }
        if (problem->traits & ATTN_KEEP) move_list(&view, b, moved);
    }
}

static void change_pages(struct fixture *fixture) {
    const struct attn_problem *problem = &fixture->problem.attn;
    static const enum attn_slot pools[] = {ATTN_KV_CACHE, ATTN_K, ATTN_V, ATTN_K_SCALE,
                                           ATTN_V_SCALE};
    int32_t *pages = fixture->tensors[ATTN_KV_PAGE_INDICES].data;
    for (size_t n = 0; n < sizeof pools / sizeof pools[0]; n++) {
        const struct attn_tensor *pool = &fixture->tensors[pools[n]];
        const bool scale = pools[n] == ATTN_K_SCALE || pools[n] == ATTN_V_SCALE;
        if (pool->data != NULL && (!scale || problem->traits & ATTN_KV_TOKEN))
            reverse(pool->data, problem->pages, (size_t)pool->stride[0] * width_of(pool));
    }
    const int32_t used =
        ((const int32_t *)fixture->tensors[ATTN_KV_PAGE_INDPTR].data)[problem->batch];
    for (int32_t n = 0; n < used; n++) pages[n] = (int32_t)problem->pages - 1 - pages[n];
}

/* Segments of a list of pages, the last first: all of it reversed, then each. */
static void reverse_tables(struct fixture *fixture) {
    const int64_t batch = fixture->problem.attn.batch;
    int32_t *first = fixture->tensors[ATTN_KV_PAGE_INDPTR].data;
    int32_t *pages = fixture->tensors[ATTN_KV_PAGE_INDICES].data;
    const int32_t used = first[batch];
    reverse((unsigned char *)pages, used, sizeof *pages);
    reverse((unsigned char *)first, batch + 1, sizeof *first);
    for (int64_t b = 0; b <= batch; b++) first[b] = used - first[b];
    for (int64_t b = 0; b < batch; b++)
        reverse((unsigned char *)(pages + first[b]), first[b + 1] - first[b], sizeof *pages);
}

/* Whether a tensor's first axis may be that of sequences. */
static bool is_of_batch(const struct attn_problem *problem, enum attn_slot slot) {
    const enum rule_size first = rules_tensor(problem, slot).shape[0];
    return first == SIZE_BATCH || first == SIZE_BIAS_BATCH ||
           (first == SIZE_SCALE_BLOCKS && !(problem->traits & ATTN_PAGE));
}

static void change_batch(struct fixture *fixture) {
    static const enum attn_slot slots[] = {
        ATTN_Q,          ATTN_K,          ATTN_V,           ATTN_SEQ_LENS, ATTN_KV_LAST_PAGE_LEN,
        ATTN_SPARSE_IND, ATTN_SPARSE_NNZ, ATTN_SPARSE_MASK, ATTN_LSH_K,    ATTN_LSH_L,
        ATTN_Q_LENS,     ATTN_BIAS,       ATTN_K_SCALE,     ATTN_V_SCALE};
    const int64_t batch = fixture->problem.attn.batch;
    for (size_t n = 0; n < sizeof slots / sizeof slots[0]; n++) {
        const struct attn_tensor *tensor = &fixture->tensors[slots[n]];
        if (tensor->data != NULL && is_of_batch(&fixture->problem.attn, slots[n]) &&
            tensor->shape[0] == batch) /* else it is of all */
            reverse(tensor->data, batch, (size_t)(tensor_bytes(tensor) / batch));
    }
    if (fixture->tensors[ATTN_KV_PAGE_INDPTR].data != NULL) reverse_tables(fixture);
}

/* +0 and -0 are equal. */
static void change_out_signs(struct trial *trial) {
    unsigned char *out = trial->outputs.memory + trial->outputs.out_at;
    const size_t width = (size_t)attn_dtype_bytes(rules_out_dtype(trial->view.problem));
    for (size_t at = 0; at < trial->outputs.out_bytes; at += width) {
        uint32_t bits = 0;
        memcpy(&bits, out + at, width); /* little-endian, as all machines here are */
        if ((bits << (33 - 8 * width)) != 0) out[at + width - 1] ^= 0x80;
    }
}

/* Values that are part of the keys are negated with them. */
static void change_shared_signs(struct trial *trial) {
    if (trial->view.problem->traits & ATTN_KSHARED) change_out_signs(trial);
}

static void change_out_batch(struct trial *trial) {
    const struct outputs *outputs = &trial->outputs;
    const int64_t batch = trial->view.problem->batch;
    reverse(outputs->memory + outputs->out_at, batch, outputs->out_bytes / (size_t)batch);
    reverse(outputs->memory + outputs->lse_at, batch, outputs->lse_bytes / (size_t)batch);
}

static const char *no_keys(const struct rule_view *view) {
    const struct attn_problem *problem = view->problem;
    const char *by_place = rules_by_place(problem);
    if (by_place != NULL) return by_place;
    for (int64_t b = 0; b < problem->batch; b++) {
        if (moved_of(view, b).blocks > 1) return NULL;
    }
    return problem->page_size > 0 ? "no two full pages" : "no two keys";
}

static const char *no_pages(const struct rule_view *view) {
    return !(view->problem->traits & ATTN_PAGE) ? "" : view->problem->pages < 2 ? "one page" : NULL;
}

static const char *no_batch(const struct rule_view *view) {
    return view->problem->batch < 2 ? "one sequence" : NULL;
}

/* Integers of 8 bits are negated, and not all can be. */
static const char *no_sign(const struct rule_view *view) {
    static const enum attn_slot slots[] = {ATTN_K, ATTN_V, ATTN_KV_CACHE};
    for (size_t n = 0; n < sizeof slots / sizeof slots[0]; n++) {
        const struct attn_tensor *tensor = &view->tensors[slots[n]];
        if (tensor->data != NULL && !turn_can_flip(tensor)) return "-128 has no negative";
    }
    return NULL;
}

static const char *no_values(const struct rule_view *view) {
    return view->problem->traits & ATTN_KSHARED ? "they are part of the keys" : no_sign(view);
}

static const struct change {
    const char *name, *meaning;
    /* Why it cannot be made; "": there is no such thing in the problem; NULL: it can. */
    const char *(*forbidden)(const struct rule_view *view);
    void (*make)(struct fixture *fixture); /* made twice it is undone */
    void (*undo_out)(struct trial *trial);
} changes[] = {
    {"values", "V negated", no_values, change_values, change_out_signs},
    {"signs", "q and k negated", no_sign, change_signs, change_shared_signs},
    {"keys", "keys in another order", no_keys, change_keys, NULL},
    {"pages", "pages at other places", no_pages, change_pages, NULL},
    {"batch", "sequences in another order", no_batch, change_batch, change_out_batch},
};
enum { CHANGES = sizeof changes / sizeof changes[0], ALL = (1 << CHANGES) - 1, VALUES = 1 };

static bool is_in(const struct trial *trial, int n, int set) {
    return set & 1 << n &&
           (changes[n].forbidden == NULL || changes[n].forbidden(&trial->view) == NULL);
}

/* Right, whatever the grade: another order of the keys is another rounding. */
static bool is_right(const struct trial *trial) {
    struct deviation deviation;
    if (trial_same_as_first(trial)) return true;
    const enum status now = trial_judge_now(trial, &deviation).status;
    if (now == STATUS_PASS || (now == STATUS_FAIL_ACCURACY && deviation.t_max <= 1)) return true;
    return !trial_first_was_right(trial);
}

/* One launch with inputs changed, behind protected pages where all are; *right: what it left is, in
 * the order of the first. Prepares anew: a kernel may do so with its inputs. Finishes too: what a
 * device still has of them is not what the fixture holds afterwards. */
static bool launch_changed(struct trial *trial, int set, bool *right) {
    for (int n = 0; n < CHANGES; n++) {
        if (is_in(trial, n, set)) changes[n].make(trial->fixture);
    }
    const uint64_t digest = trial_digest_inputs(trial->fixture);
    const bool ran = set == ALL
                         ? trial_prepare(trial) && trial_launch_edges(trial) && trial_finish(trial)
                         : trial_call(trial);
    /* Tables that a kernel wrote to are not followed; the inputs are drawn anew. */
    if (trial_digest_inputs(trial->fixture) != digest) {
        trial->seen.input_changed = *right = true;
        return ran;
    }
    for (int n = CHANGES - 1; n >= 0; n--) {
        if (!is_in(trial, n, set)) continue;
        changes[n].make(trial->fixture);
        if (ran && changes[n].undo_out != NULL) changes[n].undo_out(trial);
    }
    *right = ran && is_right(trial);
    if (ran && set == VALUES && !*right) {
        change_out_signs(trial);
        trial->stale = outputs_row_kept(&trial->outputs, trial->first, &trial->view);
    }
    return ran;
}

struct changed {
    int set;
    bool right;
};

static bool ask_changed(struct trial *trial, void *argument) {
    struct changed *changed = argument;
    return launch_changed(trial, changed->set, &changed->right);
}

/* Which it is; of a kernel that is wrong again with nothing changed it is none. */
static bool name_changes(struct trial *trial) {
    char *text = trial->kept;
    const size_t room = sizeof trial->kept;
    bool right;
    if (!launch_changed(trial, 0, &right)) return false;
    if (trial->seen.input_changed) return true;
    if (!right) {
        trial->seen.repeat_differed = true;
        return true;
    }
    size_t used = 0;
    struct changed wrong = {.set = ALL};
    for (int n = 0; n < CHANGES && !trial->seen.input_changed; n++) {
        if (!is_in(trial, n, ALL)) continue;
        if (!launch_changed(trial, 1 << n, &right)) return false;
        if (right || used >= room) continue;
        if (used == 0) wrong.set = 1 << n;
        used += (size_t)snprintf(text + used, room - used, "%s%s", used > 0 ? "; " : "",
                                 changes[n].meaning);
    }
    if (used == 0) snprintf(text, room, "all of them changed at once");
    trial->stateless = trial_ask_afresh(trial, ask_changed, &wrong) && !wrong.right;
    return true;
}

/* The keys, or the values, of one kv head of a sequence in a row, as many as there are, from
 * malloc; NULL: no memory. */
static void *gather(const struct rule_view *view, int64_t b, int64_t g, bool values) {
    const int64_t tokens = rules_kv_len(view, b);
    const int64_t dim = values ? view->problem->value_dim : view->problem->head_dim;
    const size_t row_bytes = (size_t)(dim * attn_dtype_bytes(rules_kv_dtype(view->problem)));
    unsigned char *rows = malloc((size_t)tokens * row_bytes + 1);
    for (int64_t t = 0; rows != NULL && t < tokens; t++)
        memcpy(rows + (size_t)t * row_bytes, rules_row(view, b, g, t, values), row_bytes);
    return rows;
}

/* The scale of each of them. */
static float *gather_scales(const struct rule_view *view, int64_t b, int64_t g, bool values) {
    const int64_t tokens = rules_kv_len(view, b);
    float *scales = malloc((size_t)tokens * sizeof *scales + 1);
    for (int64_t t = 0; scales != NULL && t < tokens; t++)
        scales[t] = (float)rules_scale(view, rules_row_index(view, b, g, t, values), values);
    return scales;
}

/* The bias of one head, as `gather`. */
static float *gather_bias(const struct rule_view *view, int64_t b, int64_t h) {
    const int64_t queries = rules_q_len(view, b), tokens = rules_kv_len(view, b);
    float *rows = malloc((size_t)(queries * tokens) * sizeof *rows + 1);
    for (int64_t i = 0; rows != NULL && i < queries; i++)
        memcpy(rows + i * tokens, rules_bias(view, b, h, i), (size_t)tokens * sizeof *rows);
    return rows;
}

/* Whether one head is right, by the definition: as a problem of its own, without pages or padding.
 */
static bool head_is_right(const struct trial *trial, int64_t b, int64_t h) {
    enum { ROWS = 4 };
    const struct attn_problem *whole = trial->view.problem;
    const int64_t g = h / (whole->q_heads / whole->kv_heads), at = b * whole->q_heads + h;
    const int64_t list = rule_list_of(whole, b, h, 0); /* those of its queries follow */
    const int64_t width = (int64_t)width_of(&trial->view.tensors[ATTN_Q]);
    const int64_t row_bytes = whole->value_dim * attn_dtype_bytes(rules_out_dtype(whole));
    struct attn_problem problem = *whole;
    problem.batch = problem.q_heads = problem.kv_heads = 1;
    problem.q_len = rules_q_len(&trial->view, b);
    problem.kv_len = rules_kv_len(&trial->view, b);
    problem.traits &=
        ~(uint64_t)(ATTN_PAGE | ATTN_RAGGED | ATTN_QLENS | ATTN_KSHARED | ATTN_KEEP_GROUP);
    struct attn_tensor own[ATTN_SLOT_ROOM] = {0};
    own[ATTN_Q] = trial->view.tensors[ATTN_Q];
    own[ATTN_Q].data = (char *)own[ATTN_Q].data + at * whole->q_len * whole->head_dim * width;
    own[ATTN_K].data = gather(&trial->view, b, g, false);
    own[ATTN_V].data = gather(&trial->view, b, g, true);
    const bool scaled = whole->traits & (ATTN_KV_E4M3 | ATTN_KV_INT8);
    if (scaled) {
        problem.traits = (problem.traits | ATTN_KV_TOKEN) & ~(uint64_t)ATTN_KV_HEAD;
        own[ATTN_K_SCALE].data = gather_scales(&trial->view, b, g, false);
        own[ATTN_V_SCALE].data = gather_scales(&trial->view, b, g, true);
    }
    const bool biased = whole->traits & ATTN_BIASED;
    if (biased) {
        problem.bias_batch = problem.bias_heads = 1;
        own[ATTN_BIAS] = (struct attn_tensor){.data = gather_bias(&trial->view, b, h),
                                              .shape = {1, 1, problem.q_len, problem.kv_len}};
    }
    const struct {
        enum attn_slot slot;
        int64_t from; /* its numbers of that head */
    } tables[] = {{ATTN_SINKS, h},         {ATTN_SLOPES, h},
                  {ATTN_LSH_K, at},        {ATTN_LSH_L, at},
                  {ATTN_SPARSE_NNZ, list}, {ATTN_SPARSE_IND, list * whole->kept_max}};
    for (size_t n = 0; n < sizeof tables / sizeof tables[0]; n++) {
        struct attn_tensor *table = &own[tables[n].slot];
        *table = trial->view.tensors[tables[n].slot];
        if (table->data != NULL) table->data = (char *)table->data + 4 * tables[n].from;
    }
    own[ATTN_OUT_SCALE] = trial->view.tensors[ATTN_OUT_SCALE];
    const struct rule_view view = {&problem, own};
    struct answer answer = {0};
    struct deviation deviation;
    struct fault fault = {0};
    bool right = true; /* without memory for an answer nobody is accused */
    if (problem.q_len > 0 && own[ATTN_K].data != NULL && own[ATTN_V].data != NULL &&
        (!biased || own[ATTN_BIAS].data != NULL) &&
        (!scaled || (own[ATTN_K_SCALE].data != NULL && own[ATTN_V_SCALE].data != NULL)) &&
        definition_answer(&answer, &view, problem.q_len < ROWS ? 0 : ROWS, trial->threads,
                          &fault)) {
        const unsigned char *memory = trial->outputs.memory;
        const unsigned char *lse = memory + trial->outputs.lse_at + at * whole->q_len * 4;
        deviation_measure(&deviation, &view, &answer,
                          memory + trial->outputs.out_at + at * whole->q_len * row_bytes,
                          trial->writes_lse ? (const float *)(const void *)lse : NULL,
                          &trial->promise, trial->threads);
        right = deviation.t_max <= 1 && deviation.structure_count == 0 &&
                deviation.unwritten_count == 0;
    }
    free(own[ATTN_K].data);
    free(own[ATTN_V].data);
    free(own[ATTN_K_SCALE].data);
    free(own[ATTN_V_SCALE].data);
    free(own[ATTN_BIAS].data);
    answer_free(&answer);
    return right;
}

/* q negated alone: other logits, another P, and an answer that the first does not tell. */
static bool ask_negated(struct trial *trial, void *argument) {
    const struct attn_problem *problem = trial->view.problem;
    bool *right = argument;
    negate_q(trial->fixture);
    const bool ran = trial_call(trial);
    *right = ran && head_is_right(trial, 0, 0) &&
             head_is_right(trial, problem->batch - 1, problem->q_heads - 1);
    negate_q(trial->fixture);
    return ran;
}

static bool launch_fresh(struct trial *trial) {
    bool right;
    if (!ask_negated(trial, &right)) return false;
    if (right || !trial_first_was_right(trial)) return true;
    snprintf(trial->kept, sizeof trial->kept, "q negated");
    trial->stateless = trial_ask_afresh(trial, ask_negated, &right) && !right;
    return true;
}

/* What the row says was looked at, and what was not. */
static void note(struct trial *trial, const char *left_out, bool fresh) {
    char *text = trial->row->checks;
    const size_t room = sizeof trial->row->checks;
    size_t used = 0;
    text[0] = '\0';
    if (left_out == NULL && trial->no_edges == NULL) used += (size_t)snprintf(text, room, "edges");
    for (int n = 0; n < CHANGES; n++) {
        if (left_out == NULL && is_in(trial, n, ALL))
            used += (size_t)snprintf(text + used, room - used, "%s%s", used > 0 ? " " : "",
                                     changes[n].name);
    }
    if (fresh) used += (size_t)snprintf(text + used, room - used, " fresh");
    if (left_out != NULL) used += (size_t)snprintf(text + used, room - used, "none (%s)", left_out);
    for (int n = 0; left_out == NULL && n < CHANGES; n++) {
        const char *why = changes[n].forbidden != NULL ? changes[n].forbidden(&trial->view) : NULL;
        if (why != NULL && *why != '\0' && used < room)
            used +=
                (size_t)snprintf(text + used, room - used, "; not %s (%s)", changes[n].name, why);
    }
    if (left_out == NULL && trial->no_edges != NULL && used < room)
        snprintf(text + used, room - used, "; not edges (%s)", trial->no_edges);
}

bool trial_renew(struct trial *trial, const char *left_out) {
    const bool by_place = rules_by_place(trial->view.problem) != NULL;
    bool right;
    note(trial, left_out, left_out == NULL && by_place);
    if (left_out != NULL) return true;
    if (!trial_finish(trial) || !launch_changed(trial, ALL, &right)) return false;
    if (!right) return name_changes(trial);
    return trial->seen.input_changed || !by_place || launch_fresh(trial);
}
