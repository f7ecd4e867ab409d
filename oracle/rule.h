/* A trait is one file in rules/, and this is what such a file says: which tensors the trait needs,
 * what a legal one looks like, how one is drawn, which keys a row sees, where a token is stored,
 * and how a logit changes. The oracle, the generator, the loader and the poisoner ask the
 * functions at the end, which consult every rule whose trait the problem has; none of them knows a
 * trait by name. */
#ifndef ATTEST_RULE_H
#define ATTEST_RULE_H

#include "fault.h"
#include "../kernels/attn.h"

#include <stdbool.h>
#include <stdint.h>

/* A problem and its tensors by enum attn_slot, `data` in host memory, dense. Owns nothing. */
struct rule_view {
    const struct attn_problem *problem;
    const struct attn_tensor *tensors;
};

/* The sizes a shape is made of. */
enum rule_size {
    SIZE_2 = 1,
    SIZE_1,
    SIZE_BATCH,
    SIZE_BATCH_1, /* B + 1 */
    SIZE_Q_HEADS,
    SIZE_KV_HEADS,
    SIZE_Q_LEN,
    SIZE_KV_LEN,
    SIZE_HEAD_DIM,
    SIZE_VALUE_DIM,
    SIZE_BIAS_BATCH,
    SIZE_BIAS_HEADS,
    SIZE_PAGE,
    SIZE_PAGES,
    SIZE_PAGE_ENTRIES,
    SIZE_KEPT_MAX,
    SIZE_SCALE_BLOCKS, /* B; with pages their number */
    SIZE_SCALE_TOKENS  /* Skv; with pages P */
};

struct rule_tensor {
    enum attn_slot slot;
    enum attn_dtype dtype; /* ATTN_INPUT: the problem's, of k, v and kv_cache rules_kv_dtype, of out
                              rules_out_dtype */
    int rank;
    enum rule_size shape[5];
};

/* Random bits as a pure function of (seed, tensor, index): the caller's generator. */
struct rule_random {
    uint32_t (*word)(const struct rule_random *random, enum attn_slot tensor, uint64_t index);
    uint64_t seed;
};

/* What a problem line says about the tables to draw. `lens` and `q_lens` are the caller's, [B]:
 * given, or filled by the rules `ragged` and `qlens` where they are not. */
struct rule_draw {
    struct rule_random random;
    int64_t *lens, *q_lens;
    bool lens_given, q_lens_given;
    double keep_probability; /* each token that a query may see, per list; 0: use keep_count */
    int64_t keep_count;      /* exactly this many tokens (or all, if there are fewer) */
    bool keep_top; /* the probability is a part, and the lists are left for the caller to fill: only
                      their lengths are drawn */
    bool undrawn;  /* only sizes are asked for, in no time: lists of a probability are not counted
                      but taken to be as long as they may come out */
    bool pages_ordered; /* identity page table, no unused pages */
    bool pages_shared;  /* sequences share pages: page n of b is page n of b - 1 wherever both
                           are full, for every odd b */
};

/* One logit on its way through the rules. */
struct rule_logit {
    double value;          /* scale * q.k, then what the rules make of it */
    double dot;            /* q.k */
    int64_t i, t;          /* the query, and the key's token */
    double q_norm, k_norm; /* |q|, |k|, Euclidean; filled iff the rule asks (needs_norms) */
    double size; /* scale * sum |q||k|, then what the rules make of it: a kernel that computes in
                    f32 errs by (8 size + 8) u32 at most (accuracy gate 2; the largest is S) */
};

/* The tokens a row sees: list[0..count), or the `count` from `first` on when list is NULL. */
struct rule_keys {
    int64_t first; /* 0 with a list */
    int64_t count;
    const int32_t *list;
};

static inline int64_t rule_token(const struct rule_keys *keys, int64_t n) {
    return keys->list ? keys->list[n] : keys->first + n;
}

struct rule {
    uint64_t trait;
    const char *name;                  /* as in ATTN_TRAITS' comment and on command lines */
    const char *meaning;               /* one line for `attest list traits` */
    const char *words;                 /* how a problem line asks for it: "causal", "page64", ... */
    const struct rule_tensor *tensors; /* ends with rank 0; NULL: none */
    uint32_t hides; /* 1u << slot, or-ed: tensors of earlier rules that this trait does without */
    /* Gives `tensor` another shape, or none (rank 0), where other traits ask for it. */
    void (*reshape)(const struct attn_problem *problem, struct rule_tensor *tensor);
    bool needs_norms;
    bool corrects; /* its change of logits makes up for keys left out: a softmax over all has it not
                    */
    bool by_place; /* what a row sees, or how it weighs it, depends on where tokens stand */
    enum attn_dtype kv_dtype;  /* what k, v and kv_cache are stored as; ATTN_INPUT: as q is */
    enum attn_dtype out_dtype; /* the same of out */
    /* Each NULL where the trait has nothing to say. Of several traits that give a length, or a
     * place, the last decides. */
    int64_t (*q_len)(const struct rule_view *view, int64_t b);  /* valid query tokens */
    int64_t (*kv_len)(const struct rule_view *view, int64_t b); /* valid key tokens */
    /* Narrows the tokens *first .. *end - 1 to those that query i sees. */
    void (*span)(const struct rule_view *view, int64_t b, int64_t i, int64_t *first, int64_t *end);
    void (*keys)(const struct rule_view *view, int64_t b, int64_t h, int64_t i,
                 struct rule_keys *keys);
    /* rules_row_index, for a trait that stores tokens its own way. */
    int64_t (*row_index)(const struct rule_view *view, int64_t b, int64_t g, int64_t t, bool value);
    /* Which of k_scale, or v_scale, belongs to what is stored in a row (rules_row_index). */
    int64_t (*scale_index)(const struct attn_problem *problem, int64_t row);
    /* One more logit in the denominator, without a key. */
    double (*sink)(const struct rule_view *view, int64_t b, int64_t h);
    void (*logit)(const struct rule_view *view, int64_t b, int64_t h, struct rule_logit *logit);
    /* Every number in the trait's tensors, before anyone follows one. */
    bool (*check)(const struct rule_view *view, struct fault *fault);
    /* Sets the sizes that depend on the draw (pages, page_entries, kept_max; ragged: lens). */
    void (*size)(struct attn_problem *problem, const struct rule_draw *draw);
    /* Fills the trait's tensors, allocated to those sizes. */
    void (*draw)(const struct rule_view *view, const struct rule_draw *draw);
};

/* The traits that say where a kernel finds tensors. Nothing here, in a file or in an answer depends
 * on them. */
enum { RULE_LAYOUTS = ATTN_NHD | ATTN_THD | ATTN_STRIDED };

/* All rules, in the order in which they are consulted; ends with NULL. */
extern const struct rule *const rules[];

/* The shape and dtype of `slot` in `problem`; rank 0 if the problem has no such tensor. Covers
 * q, k, v, out and lse too. sparse_mask is optional in a file and never part of a generated
 * fixture; it is described here all the same. */
struct rule_tensor rules_tensor(const struct attn_problem *problem, enum attn_slot slot);
int64_t rules_size(const struct attn_problem *problem, enum rule_size size);
/* Whether a slot is what a kernel reads: all are but out and lse. */
static inline bool rules_is_input(enum attn_slot slot) {
    return slot != ATTN_OUT && slot != ATTN_LSE;
}

/* The trait set that goes with the sizes and traits given: sets problem->variant and the trait gqa,
 * takes causal from a single query, which sees all keys, and makes window_right 0 where no key is
 * behind a query's place.
 * Refuses combinations that are none of the variants: q_len = 1 is decode, but for lengths of q and
 * kv alike, which are prefill_varlen; with qlens those of kv need not be so. */
bool rules_variant(struct attn_problem *problem, struct fault *fault);

int64_t rules_q_len(const struct rule_view *view, int64_t b);
int64_t rules_kv_len(const struct rule_view *view, int64_t b);
struct rule_keys rules_keys(const struct rule_view *view, int64_t b, int64_t h, int64_t i);
/* What query i sees but for lists: of these tokens its lists are made. */
struct rule_keys rules_span(const struct rule_view *view, int64_t b, int64_t i);
bool rules_check(const struct rule_view *view, struct fault *fault);

/* Which tensor holds the values. */
enum attn_slot rules_values(const struct attn_problem *problem);
/* The row of D elements that holds token t of sequence b for kv head g: a key (value = false), or
 * its value, of Dv. In elements of rules_kv_dtype; t must be below rules_kv_len. What they mean,
 * widened: bulk_widen_kv. */
const void *rules_row(const struct rule_view *view, int64_t b, int64_t g, int64_t t, bool value);
/* The same place as an index, for maps: which row of k, v or kv_cache; of a key and its value in k
 * and v the same. */
int64_t rules_row_index(const struct rule_view *view, int64_t b, int64_t g, int64_t t, bool value);
/* Calls `see` for what the query heads of one kv head see, in all sequences: each token, once for
 * all rows without a list, and for each list that it is on. */
void rules_seen(const struct rule_view *view, int64_t g,
                void (*see)(void *context, int64_t b, int64_t g, int64_t t), void *context);

/* What out is stored as, and times which number it is meant: of E4M3 out_scale, else 1. */
enum attn_dtype rules_out_dtype(const struct attn_problem *problem);
double rules_out_scale(const struct rule_view *view);
/* What k, v and kv_cache are stored as. */
enum attn_dtype rules_kv_dtype(const struct attn_problem *problem);
/* Which scale of k_scale, or v_scale, is that of what is stored in a row (rules_row_index): -1
 * where the problem has none. And that scale, 1 where it has none. */
int64_t rules_scale_index(const struct attn_problem *problem, int64_t row);
double rules_scale(const struct rule_view *view, int64_t row, bool value);

bool rules_need_norms(const struct attn_problem *problem);
/* The problem without the traits that make up for keys left out. */
struct attn_problem rules_uncorrected(const struct attn_problem *problem);
/* Whether rules_logit does anything. */
bool rules_change_logits(const struct attn_problem *problem);
/* The name of the trait for which tokens cannot change places with one another, their keys and
 * values with them; NULL: they can. */
const char *rules_by_place(const struct attn_problem *problem);
void rules_logit(const struct rule_view *view, int64_t b, int64_t h, struct rule_logit *logit);
/* The logit without a key of query head h: -infinity where there is none. */
double rules_sink(const struct rule_view *view, int64_t b, int64_t h);

/* What a bias adds to the logits of query i, by token. */
const float *rules_bias(const struct rule_view *view, int64_t b, int64_t h, int64_t i);

/* How kept lists lie, [B, heads, queries]: one for each `group` query heads, and for each query
 * where there are several. */
struct rule_lists {
    int64_t heads, group, queries;
};
struct rule_lists rule_lists(const struct attn_problem *problem);
int64_t rule_lists_count(const struct attn_problem *problem);
/* The number of the list that query i of head h reads. */
int64_t rule_list_of(const struct attn_problem *problem, int64_t b, int64_t h, int64_t i);
/* A list's sequence, the first query head that reads it, and its query: 0 where there is one. */
struct rule_list {
    int64_t b, h, i;
};
struct rule_list rule_list_at(const struct attn_problem *problem, int64_t list);

/* For the files in rules/. */

extern const struct rule rule_gqa, rule_dv, rule_causal, rule_window, rule_ragged, rule_page,
    rule_kshared, rule_qlens, rule_keep, rule_keep_group, rule_softcap, rule_alibi, rule_bias,
    rule_magicpig, rule_sinks, rule_kv_e4m3, rule_kv_int8, rule_kv_head, rule_kv_token,
    rule_out_e4m3, rule_nhd, rule_thd, rule_strided;

/* The place of query i on the diagonal, bottom-right aligned: the last query's is the last token.
 */
int64_t rule_place(const struct rule_view *view, int64_t b, int64_t i);

/* The valid tokens of sequence b while tables are being drawn. */
int64_t rule_draw_len(const struct attn_problem *problem, const struct rule_draw *draw, int64_t b);
/* Of these the first so many are what query i may see: none beyond the queries of the sequence, but
 * of one query, which has a list whether it is asked or not. */
int64_t rule_draw_seen(const struct attn_problem *problem, const struct rule_draw *draw, int64_t b,
                       int64_t i);
/* Uniform in 0..range-1 (range below 2^32): the top of a 32 x 32 bit product, integers only. */
int64_t rule_below(const struct rule_random *random, enum attn_slot tensor, uint64_t index,
                   int64_t range);
/* `count` distinct numbers of 0..range-1, every subset and order as likely as any other; uses the
 * words stream << 32 | 0..range+count-1 of `tensor`. */
void rule_choose(const struct rule_random *random, enum attn_slot tensor, uint64_t stream,
                 int64_t range, int64_t count, int32_t *chosen);

#endif
