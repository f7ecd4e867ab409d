/* What the kernels of this folder share. A kernel file says how its variant finds keys (struct
 * lookup) and which method runs; the methods are
 *   naive    one row at a time, as a textbook has it
 *   flash    blocks of keys, online softmax; threads over heads, row blocks and key splits
 * and either may go over a row's list of tokens, or over all tokens under a mask made of the list.
 *
 * The arithmetic is in isa_*.c, compiled once for every instruction set; choose.c picks one. The
 * division of work depends on the problem and the lengths alone, never on the number of threads or
 * on time, so a call gives the same bits on any number of threads. */
#ifndef ATTN_CPU_ATTENTION_H
#define ATTN_CPU_ATTENTION_H

#include "../../attn_number.h"

#include <stdbool.h>

enum {
    HEAD_DIM_MAX = 1024,
    KEY_BLOCK = 64 /* the most keys that are looked up, scored and added together */
};

/* The storage of `count` tokens of kv head g of sequence b: those on `list`, or, where it is NULL,
 * first, first + 1, ... */
typedef void place_fn(const struct attn_call *call, int64_t b, int64_t g, const int32_t *list,
                      int64_t first, int64_t count, const void **keys, const void **values);

/* How a variant finds what a row sees. SEES_ALL: all tokens, or, of a problem with lists, those. */
struct lookup {
    place_fn *place;
    enum { SEES_ALL, SEES_LIST, SEES_MASK } sees;
};

/* The valid queries and key tokens of a sequence. */
int64_t lookup_queries(const struct attn_call *call, int64_t b);
int64_t lookup_tokens(const struct attn_call *call, int64_t b);
place_fn lookup_dense;
place_fn lookup_paged;
/* What k, v or kv_cache are stored as; and the scales of tokens, as place_fn has them. */
int32_t lookup_dtype(const struct attn_call *call);
void lookup_scales(const struct attn_call *call, int64_t b, int64_t g, const int32_t *list,
                   int64_t first, int64_t count, float *k_scale, float *v_scale);

/* Some rows of one kv head and some of the keys they see. Row r of a group of query heads is query
 * r / group of its head r % group. */
struct task {
    const struct attn_problem *problem;
    const struct attn_call *call;
    place_fn *place;
    int64_t b, g, group;
    int64_t row, rows;    /* first row, how many */
    int64_t key, key_end; /* positions: on the list if there is one, else tokens */
    const int32_t *list;  /* the tokens that its rows see, all of one query; NULL: all tokens */
    const uint8_t *mask;  /* [head of the group][mask_stride], 1 where a token is seen; or NULL */
    int64_t mask_stride;
    int32_t stored; /* the dtype of keys and values */
    bool scaled;    /* and times scales they are what is meant */
    /* Row r sees the positions from p - before to p + behind, p = r / group + diagonal. */
    int64_t diagonal, before, behind;
    bool magicpig;
    bool logits;         /* they are more than products scaled, and go where products went */
    float product_scale; /* the problem's; it may be negative */
    float softcap;       /* 0: none */
    const float *slopes; /* alibi's, of the group's heads; NULL: none */
    const float *bias;   /* of query 0 of the group's first head; NULL: none */
    int64_t bias_head, bias_query; /* from one to the next */
    /* logit = softmax_scale * query_sign * q.k; with MagicPIG or where `logits` both are 1.
     * softmax_scale >= 0: the largest product has the largest logit. */
    float softmax_scale, query_sign;
    /* The result: with c = softmax_scale, max of logit / c, sum of exp(logit - c max), and
     * [rows][value_dim] of sum exp(logit - c max) v: where `partial` as it is, so that adding up
     * parts rounds only once, else divided by `sum`. Of rows that see none of the keys -infinity,
     * 0 and anything. */
    bool partial;
    float *max, *sum, *out;
    void *workspace; /* 64-byte aligned */
};

/* The first position from `key` on that row r sees, and the one behind its last of the `count`
 * there: both counted from `key`, 0 to count. */
static inline int64_t seen_from(const struct task *task, int64_t r, int64_t key, int64_t count) {
    const int64_t from = r / task->group + task->diagonal - task->before - key;
    return from < 0 ? 0 : from > count ? count : from;
}
static inline int64_t seen_end(const struct task *task, int64_t r, int64_t key, int64_t count) {
    const int64_t end = r / task->group + task->diagonal + task->behind + 1 - key;
    return end < 0 ? 0 : end > count ? count : end;
}

/* The bias of row r, by token. */
static inline const float *bias_of(const struct task *task, int64_t r) {
    return task->bias + r % task->group * task->bias_head + r / task->group * task->bias_query;
}

/* What alibi and a bias add to the logit of row r at a position. */
static inline float added(const struct task *task, int64_t r, int64_t position) {
    const int64_t token = task->list ? task->list[position] : position;
    const int64_t distance = token - r / task->group - task->diagonal;
    const float bias = task->bias ? bias_of(task, r)[token] : 0;
    return task->slopes ? task->slopes[r % task->group] * (float)distance + bias : bias;
}

/* The arithmetic, for one instruction set: methods that do a task. Workspaces are in bytes. */
struct isa {
    const char *name;
    int64_t tall_rows; /* the most rows of a task */
    void (*tall)(const struct task *task);
    size_t (*tall_workspace)(int64_t head_dim, int64_t value_dim);
    void (*flat)(const struct task *task);
    size_t (*flat_workspace)(int64_t head_dim, int64_t value_dim);
    void (*naive)(const struct task *task); /* one row; its workspace is a float a key */
    /* Values rounded to dtype. */
    void (*narrow)(void *row, const float *values, int64_t count, int32_t dtype);
};
enum { FLAT_ROWS = 16 }; /* the most rows of a task for flat; more than that are tall */

extern const struct isa isa_portable;
#if defined(__x86_64__)
extern const struct isa isa_avx2, isa_avx512;
#endif

/* The best instruction set this CPU has, or the one the environment variable ATTN_CPU_ISA names. */
const struct isa *choose_isa(void);

/* MagicPIG's correction; see attn.h. What it needs of row r of the group, and what a logit becomes
 * of a token with this q.k and |k|^2. */
struct magicpig {
    double scale, softcap, query_norm, k, l;
};
struct magicpig magicpig_row(const struct task *task, int64_t r, const float *query);
float magicpig_logit(const struct magicpig *row, float dot, float key_square, float bias);

/* Element (x, y, z, 0) of a tensor of rank 4, (x, y, z) of rank 3. */
void *tensor_at(const struct attn_tensor *tensor, int64_t x, int64_t y, int64_t z);
/* The row of q, out or lse (which is one number) that is query i of head h, valid or, unless
 * sequences are packed, padding. */
void *lookup_row(const struct attn_call *call, enum attn_slot slot, int64_t b, int64_t h,
                 int64_t i);

enum method { NAIVE, FLASH };

/* attn_kernel's functions, less what the variant and method fix. */
size_t attention_scratch_bytes(const struct attn_problem *problem, const struct lookup *lookup,
                               enum method method);
const char *attention_launch(const struct attn_problem *problem, const struct attn_call *call,
                             const struct lookup *lookup, enum method method);

#endif
