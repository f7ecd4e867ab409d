/* Where the tensors of a call lie, when the problem's layout (nhd, thd, strided: attn.h) asks for
 * another place than the parent's memory, where all are dense. Each has memory of its own here,
 * `room`, is laid out in it before prepare (inputs) and before each launch (outputs), and is
 * brought back into the parent's memory afterwards: so the parent, which draws, poisons, changes
 * and judges, knows of no layout. What is no element -- between rows, before the first, behind the
 * last -- holds poison, as padding does; around outputs it holds bytes that tell whether they were
 * written to. Strides are a function of the problem's sizes: a line is laid out alike each time. */
#ifndef ATTEST_VIEWS_H
#define ATTEST_VIEWS_H

#include "../../fixtures/problem.h"

#include <stddef.h>

struct view {
    enum attn_slot slot; /* of the call */
    enum attn_slot from; /* of the parent's tensor; a cu_seqlens is made of lengths, and its own */
    bool output;
    struct attn_tensor dense; /* the parent's, with the view's axes, or [B, H, S, ...] if packed */
    struct attn_tensor laid;  /* shape and strides; no data */
    const int32_t *first;     /* packed: where each sequence begins, [B + 1]; else NULL */
    unsigned char *room;      /* a page before and one behind what may be used */
    size_t bytes, at;         /* of it; of element 0 in it */
};

struct views {
    struct view view[ATTN_SLOT_ROOM];
    int count;                   /* 0: all lies where the parent has it */
    int32_t *first_q, *first_kv; /* [B + 1] each; NULL where nothing is packed by them */
    const struct attn_problem *problem;
    const int32_t *seq_lens, *q_lens; /* the parent's; NULL: none */
    enum poison gaps;                 /* what is around inputs, */
    enum attn_slot nan_around; /* but for this tensor, around which is NaN; COUNT: for none */
};

/* Of a call on the parent's tensors, all of it: tables have memory of their own, too. NULL, or what
 * was out of memory. Tensors without data are absent. */
const char *views_make(struct views *views, const struct attn_problem *problem,
                       const struct attn_tensor tensors[ATTN_SLOT_ROOM]);
/* The rooms are the caller's to unmap. */
void views_free(struct views *views);

/* Lays inputs, or outputs, out as the parent has them, with what is around them anew. */
void views_bring(struct views *views, bool outputs);
/* Brings them back. The name of a tensor around which, or between whose rows, something was
 * written, or NULL. */
const char *views_return(struct views *views, bool outputs);
/* The parent's tensor is somewhere else. Inputs begin where they did, or with `ends` end, rounded
 * up to 16 bytes, where a page does. */
void views_move(struct views *views, enum attn_slot from, void *data);
void views_place(struct views *views, bool ends);

const struct view *views_find(const struct views *views, enum attn_slot slot);
/* One tensor, from and to memory with its elements as the parent has them, `dense`, and as they are
 * laid out, from element 0 on. Elements that are packed away stay as they are. */
void view_scatter(const struct view *view, unsigned char *laid, const unsigned char *dense);
void view_gather(const struct view *view, unsigned char *dense, const unsigned char *laid);

/* From the first element to behind the last; 0 of none. */
size_t span_bytes(const struct attn_tensor *tensor);

#endif
