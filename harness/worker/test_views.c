/* Tensors that lie elsewhere than the parent has them: every element is where attn.h says, nothing
 * else is anything's, and what was written around them is told. */
#include "views.h"
#include "../../fixtures/fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A call of the parent's, its numbers all different. */
struct dense {
    struct problem problem;
    struct attn_tensor tensors[ATTN_SLOT_ROOM];
    int32_t seq_lens[4], q_lens[4];
    struct views views;
};

static void make(struct dense *dense, const char *line) {
    struct fault fault;
    *dense = (struct dense){.seq_lens = {5, 0, 3}, .q_lens = {2, 3, 0}};
    cr_assert(problem_parse(&dense->problem, line, &fault), "%s: %s", line, fault.text);
    struct attn_problem *attn = &dense->problem.attn;
    attn->pages = attn->traits & ATTN_PAGE ? 5 : 0;
    for (enum attn_slot slot = 0; slot < ATTN_SLOT_COUNT; slot++) {
        const bool large = slot == ATTN_Q || slot == ATTN_K || slot == ATTN_V ||
                           slot == ATTN_KV_CACHE || slot == ATTN_OUT || slot == ATTN_LSE;
        if (!large) continue;
        cr_assert(tensor_shape(&dense->tensors[slot], attn, slot, &fault));
        if (dense->tensors[slot].rank == 0) continue;
        const size_t bytes = (size_t)tensor_bytes(&dense->tensors[slot]);
        unsigned char *data = malloc(bytes + 1);
        for (size_t at = 0; at < bytes; at++) data[at] = (unsigned char)(at % 251 + slot);
        dense->tensors[slot].data = data;
    }
    const struct attn_tensor lens = {.dtype = ATTN_I32, .rank = 1, .shape = {3}, .stride = {1}};
    if (attn->traits & ATTN_RAGGED && !(attn->traits & ATTN_PAGE)) {
        dense->tensors[ATTN_SEQ_LENS] = lens;
        dense->tensors[ATTN_SEQ_LENS].data = dense->seq_lens;
    }
    if (attn->traits & ATTN_QLENS) {
        dense->tensors[ATTN_Q_LENS] = lens;
        dense->tensors[ATTN_Q_LENS].data = dense->q_lens;
    }
    cr_assert(views_make(&dense->views, attn, dense->tensors) == NULL);
    dense->views.gaps = POISON_NAN;
}

static void end(struct dense *dense) {
    for (int n = 0; n < dense->views.count; n++)
        munmap(dense->views.view[n].room, dense->views.view[n].bytes);
    views_free(&dense->views);
    for (int slot = 0; slot < ATTN_SLOT_ROOM; slot++) {
        if (slot != ATTN_SEQ_LENS && slot != ATTN_Q_LENS) free(dense->tensors[slot].data);
    }
}

static unsigned char *element(const struct view *view, const int64_t index[5]) {
    int64_t at = 0;
    for (int axis = 0; axis < view->laid.rank; axis++) at += index[axis] * view->laid.stride[axis];
    return view->room + view->at + at * (view->laid.dtype == ATTN_F32 ? 4 : 2);
}

static const char *const lines[] = {
    "f16-b3-hq4-hkv2-q1-kv9-d8-strided",
    "f16-b3-hq4-hkv2-q7-kv9-d5-dv12-strided",
    "f32-b3-hq4-hkv2-q4-kv6-d8-lens6,2,3-qlens2,3,0-strided",
    "f16-b3-hq4-hkv2-q1-kv9-d8-page4-nhd",
    "f16-b3-hq4-hkv2-q1-kv9-d8-page4-nhd-strided",
    "f16-b3-hq4-hkv2-q1-kv9-d8-page4-strided",
    "f32-b3-hq4-hkv2-q3-kv9-d8-dv5-page4-qlens2,3,0-lens5,9,3-nhd-thd-strided",
    "f16-b3-hq4-hkv2-q5-kv5-d8-lens5,0,3-thd",
    "bf16-b3-hq4-hkv2-q3-kv5-d8-kshared-lens5,0,3-qlens2,3,0-thd-strided",
    "f16-b3-hq4-hkv2-q1-kv9-d8-kve4m3-page4-nhd-strided",
    "f16-b3-hq4-hkv2-q3-kv9-d8-dv5-kshared-kve4m3token-page4-qlens2,3,0-lens5,9,3-nhd-thd-strided",
    "f16-b3-hq4-hkv2-q3-kv5-d8-dv12-kvint8token-lens5,0,3-qlens2,3,0-thd-strided",
};
enum { LINES = sizeof lines / sizeof lines[0] };

/* What goes out comes back, and nothing is said of it. */
Test(views, bring_and_return_every_element) {
    for (size_t n = 0; n < LINES; n++) {
        struct dense dense;
        make(&dense, lines[n]);
        for (int outputs = 0; outputs < 2; outputs++) {
            views_bring(&dense.views, outputs);
            cr_assert(views_return(&dense.views, outputs) == NULL, "%s", lines[n]);
        }
        for (int slot = 0; slot < ATTN_SLOT_ROOM; slot++) {
            const unsigned char *data = dense.tensors[slot].data;
            const bool table = slot == ATTN_SEQ_LENS || slot == ATTN_Q_LENS;
            const size_t bytes = data != NULL ? (size_t)tensor_bytes(&dense.tensors[slot]) : 0;
            for (size_t at = 0; at < bytes && !table; at++)
                cr_assert(data[at] == (unsigned char)(at % 251 + (size_t)slot), "%s", lines[n]);
        }
        end(&dense);
    }
}

/* Two elements nowhere share a byte: each write is found again. */
Test(views, keep_elements_apart_and_tell_of_what_is_written_between) {
    for (size_t n = 0; n < LINES; n++) {
        struct dense dense;
        make(&dense, lines[n]);
        for (int v = 0; v < dense.views.count; v++) {
            struct view *view = &dense.views.view[v];
            size_t told = 0;
            views_bring(&dense.views, view->output);
            const size_t from = view->at - 32, to = view->at + span_bytes(&view->laid) + 32;
            for (size_t at = from; at < to; at++) {
                view->room[at] ^= 0x55;
                const char *around = views_return(&dense.views, view->output);
                told += around != NULL;
                cr_assert(around == NULL || !strcmp(around, slot_name(view->slot)));
                view->room[at] ^= 0x55;
            }
            views_return(&dense.views, view->output); /* as it was */
            int64_t elements = 1;
            for (int axis = 0; axis < view->laid.rank; axis++) elements *= view->laid.shape[axis];
            const bool made = view->slot == ATTN_CU_SEQLENS_Q || view->slot == ATTN_CU_SEQLENS_KV;
            const size_t mine = made
                                    ? 0
                                    : (size_t)elements * (size_t)tensor_bytes(&(struct attn_tensor){
                                                             .dtype = view->laid.dtype, .rank = 0});
            cr_assert(told == to - from - mine, "%s, %s: %zu, not %zu", lines[n],
                      slot_name(view->slot), told, to - from - mine);
        }
        end(&dense);
    }
}

Test(views, begin_at_multiples_of_16_bytes_and_have_such_strides_where_rows_are) {
    for (size_t n = 0; n < LINES; n++) {
        struct dense dense;
        make(&dense, lines[n]);
        for (int v = 0; v < dense.views.count; v++) {
            const struct view *view = &dense.views.view[v];
            const int64_t width =
                tensor_bytes(&(struct attn_tensor){.dtype = view->laid.dtype, .rank = 0});
            const int last = view->laid.rank - 1;
            cr_assert(view->at % 16 == 0 && view->at >= 4096);
            cr_assert(view->laid.stride[last] == 1);
            for (int axis = 0; axis < last && view->laid.shape[last] * width % 16 == 0; axis++)
                cr_assert(view->laid.stride[axis] * width % 16 == 0);
        }
        views_place(&dense.views, true);
        for (int v = 0; v < dense.views.count; v++) {
            const struct view *view = &dense.views.view[v];
            const size_t end = view->at + span_bytes(&view->laid);
            if (!view->output) cr_assert((end + 15) / 16 * 16 % 4096 == 0 && view->at >= 4096);
        }
        views_bring(&dense.views, false);
        cr_assert(views_return(&dense.views, false) == NULL);
        end(&dense);
    }
}

Test(views, of_strided_are_larger_than_what_they_hold_and_the_same_each_time) {
    struct dense one, other;
    make(&one, lines[1]);
    make(&other, lines[1]);
    for (int v = 0; v < one.views.count; v++) {
        const struct view *view = &one.views.view[v];
        cr_assert(span_bytes(&view->laid) > (size_t)tensor_bytes(&view->dense));
        cr_assert(!memcmp(&view->laid, &other.views.view[v].laid, sizeof view->laid));
    }
    cr_assert(views_find(&one.views, ATTN_Q)->at % 32 == 16);
    end(&one);
    end(&other);
}

/* Row r of head g of page p is at [p][r][g] of keys, and of values, alone. */
Test(views, of_nhd_are_pages_token_by_token) {
    struct dense dense;
    make(&dense, lines[3]);
    views_bring(&dense.views, false);
    cr_assert(views_find(&dense.views, ATTN_KV_CACHE) == NULL);
    for (int value = 0; value < 2; value++) {
        const struct view *view = views_find(&dense.views, value ? ATTN_V : ATTN_K);
        const uint16_t *cache = dense.tensors[ATTN_KV_CACHE].data;
        const uint16_t *laid = (const uint16_t *)(const void *)(view->room + view->at);
        for (int p = 0; p < 5; p++)
            for (int r = 0; r < 4; r++)
                for (int g = 0; g < 2; g++)
                    cr_assert(!memcmp(laid + ((p * 4 + r) * 2 + g) * 8,
                                      cache + (((p * 2 + value) * 2 + g) * 4 + r) * 8, 16));
        const int64_t index[5] = {1, 1, 2, 0}; /* by shape a page is [heads, rows] all the same */
        cr_assert(element(view, index) == (unsigned char *)(laid + ((1 * 4 + 2) * 2 + 1) * 8));
    }
    end(&dense);
}

Test(views, of_thd_are_sequences_one_behind_another) {
    struct dense dense;
    make(&dense, lines[8]);
    views_bring(&dense.views, false);
    views_bring(&dense.views, true);
    const struct view *first_q = views_find(&dense.views, ATTN_CU_SEQLENS_Q);
    const struct view *first_kv = views_find(&dense.views, ATTN_CU_SEQLENS_KV);
    static const int32_t sums_q[] = {0, 2, 5, 5}, sums_kv[] = {0, 5, 5, 8};
    cr_assert(!memcmp(first_q->room + first_q->at, sums_q, sizeof sums_q));
    cr_assert(!memcmp(first_kv->room + first_kv->at, sums_kv, sizeof sums_kv));
    const struct view *q = views_find(&dense.views, ATTN_Q), *k = views_find(&dense.views, ATTN_K);
    cr_assert(q->laid.rank == 3 && q->laid.shape[0] == 5 && q->laid.shape[1] == 4);
    cr_assert(k->laid.shape[0] == 8 && k->laid.shape[1] == 2);
    cr_assert(views_find(&dense.views, ATTN_LSE)->laid.rank == 2);
    const int64_t of_q[5] = {2 + 1, 3}, of_k[5] = {5 + 2, 1}; /* b=1 i=1 h=3; b=2 j=2 g=1 */
    cr_assert(!memcmp(element(q, of_q),
                      (uint16_t *)dense.tensors[ATTN_Q].data + ((1 * 4 + 3) * 3 + 1) * 8, 16));
    cr_assert(!memcmp(element(k, of_k),
                      (uint16_t *)dense.tensors[ATTN_K].data + ((2 * 2 + 1) * 5 + 2) * 8, 16));
    end(&dense);
}

/* Sequences in another order, as when inputs are changed between two calls. */
Test(views, follow_lengths_that_change) {
    struct dense dense;
    make(&dense, lines[7]);
    dense.seq_lens[0] = 3;
    dense.seq_lens[2] = 5;
    views_bring(&dense.views, false);
    const struct view *first = views_find(&dense.views, ATTN_CU_SEQLENS_KV);
    static const int32_t sums[] = {0, 3, 3, 8};
    cr_assert(!memcmp(first->room + first->at, sums, sizeof sums));
    cr_assert(views_return(&dense.views, false) == NULL);
    ((int32_t *)(void *)(first->room + first->at))[1]++;
    cr_assert(!strcmp(views_return(&dense.views, false), "cu_seqlens_kv"));
    end(&dense);
}
