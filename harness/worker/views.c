#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include "views.h"
#include "../../fixtures/fixture.h"
#include "../../kernels/attn_number.h"
#include "../../oracle/rule.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE_BYTES = 4096, VECTOR_BYTES = 16 };

static size_t round_up(size_t bytes, size_t to) {
    return (bytes + to - 1) / to * to;
}

size_t span_bytes(const struct attn_tensor *tensor) {
    int64_t last = 0;
    for (int n = 0; n < tensor->rank; n++) {
        if (tensor->shape[n] == 0) return 0;
        last += (tensor->shape[n] - 1) * tensor->stride[n];
    }
    return (size_t)((last + 1) * attn_dtype_bytes(tensor->dtype));
}

static int64_t width_of(const struct view *view) {
    return attn_dtype_bytes(view->laid.dtype);
}

/* Rows: what is contiguous on both sides, a run of the last axis */

struct rows {
    int64_t count, bytes;
    int64_t index[5];
    int64_t laid, dense; /* bytes from element 0 */
};

/* The row behind, in any order; false: that was the last. */
static bool next_row(const struct view *view, struct rows *rows) {
    const int64_t width = width_of(view);
    for (int axis = view->laid.rank - 2; axis >= 0; axis--) {
        rows->laid += view->laid.stride[axis] * width;
        rows->dense += view->dense.stride[axis] * width;
        if (++rows->index[axis] < view->laid.shape[axis]) return true;
        rows->laid -= view->laid.stride[axis] * width * rows->index[axis];
        rows->dense -= view->dense.stride[axis] * width * rows->index[axis];
        rows->index[axis] = 0;
    }
    return false;
}

/* Calls `see` for each row: of a packed tensor each token of each head, whose tokens lie one behind
 * the other. */
static void each_row(const struct view *view, void *context,
                     void (*see)(void *context, int64_t laid, int64_t dense, size_t bytes)) {
    const int64_t width = width_of(view);
    const struct attn_tensor *laid = &view->laid, *dense = &view->dense;
    if (view->first == NULL) {
        struct rows rows = {.count = 1};
        for (int axis = 0; axis < laid->rank; axis++) rows.count *= laid->shape[axis];
        if (rows.count == 0) return;
        rows.bytes = laid->shape[laid->rank - 1] * width;
        do see(context, rows.laid, rows.dense, (size_t)rows.bytes);
        while (next_row(view, &rows));
        return;
    }
    const size_t bytes = (size_t)((laid->rank == 3 ? laid->shape[2] : 1) * width);
    for (int64_t b = 0; b < dense->shape[0]; b++)
        for (int64_t h = 0; h < dense->shape[1]; h++)
            for (int64_t i = 0; i < view->first[b + 1] - view->first[b]; i++)
                see(context, ((view->first[b] + i) * laid->stride[0] + h * laid->stride[1]) * width,
                    (b * dense->stride[0] + h * dense->stride[1] + i * dense->stride[2]) * width,
                    bytes);
}

struct copy {
    unsigned char *laid, *dense;
};

static void lay_row(void *context, int64_t laid, int64_t dense, size_t bytes) {
    const struct copy *copy = context;
    memcpy(copy->laid + laid, copy->dense + dense, bytes);
}

static void fetch_row(void *context, int64_t laid, int64_t dense, size_t bytes) {
    const struct copy *copy = context;
    memcpy(copy->dense + dense, copy->laid + laid, bytes);
}

void view_scatter(const struct view *view, unsigned char *laid, const unsigned char *dense) {
    each_row(view, &(struct copy){laid, (unsigned char *)dense}, lay_row);
}

void view_gather(const struct view *view, unsigned char *dense, const unsigned char *laid) {
    each_row(view, &(struct copy){(unsigned char *)laid, dense}, fetch_row);
}

/* What is around elements */

/* Of outputs from byte to byte another, so that no run of equal values passes for it. */
static void fill_around(const struct views *views, const struct view *view, unsigned char *room) {
    for (size_t at = 0; view->output && at < view->bytes; at++)
        room[at] = (unsigned char)(0x5a ^ (at * 31));
    if (view->output) return;
    const enum poison poison = view->slot == views->nan_around ? POISON_NAN : views->gaps;
    const uint32_t pattern = poison_pattern(poison, (enum attn_dtype)view->laid.dtype);
    for (size_t at = 0; at < view->bytes; at += sizeof pattern)
        memcpy(room + at, &pattern, sizeof pattern);
}

struct wipe {
    unsigned char *to;
    const unsigned char *from;
};

static void wipe_row(void *context, int64_t laid, int64_t dense, size_t bytes) {
    const struct wipe *wipe = context;
    (void)dense;
    memcpy(wipe->to + laid, wipe->from + laid, bytes);
}

/* Whether all that is no element is as fill_around left it. Without memory to tell it is. */
static bool is_intact(const struct views *views, const struct view *view) {
    unsigned char *around = malloc(view->bytes);
    if (around == NULL) return true;
    fill_around(views, view, around);
    each_row(view, &(struct wipe){around + view->at, view->room + view->at}, wipe_row);
    const bool intact = memcmp(around, view->room, view->bytes) == 0;
    free(around);
    return intact;
}

/* Lengths */

static int64_t queries_of(const struct views *views, int64_t b) {
    const struct attn_problem *problem = views->problem;
    if (views->q_lens != NULL) return views->q_lens[b];
    const bool alike = views->seq_lens != NULL && problem->q_len == problem->kv_len;
    return alike ? views->seq_lens[b] : problem->q_len;
}

static void add_lengths(struct views *views) {
    for (int64_t b = 0; b < views->problem->batch; b++) {
        if (views->first_q != NULL)
            views->first_q[b + 1] = views->first_q[b] + (int32_t)queries_of(views, b);
        if (views->first_kv != NULL)
            views->first_kv[b + 1] = views->first_kv[b] + views->seq_lens[b];
    }
}

/* Strides */

/* SplitMix64. */
static uint64_t roll(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t dice_of(const struct attn_problem *problem, enum attn_slot slot) {
    const int64_t sizes[] = {problem->batch,     problem->q_heads,   problem->kv_heads,
                             problem->q_len,     problem->kv_len,    problem->head_dim,
                             problem->page_size, problem->value_dim, slot};
    uint64_t state = 0;
    for (size_t n = 0; n < sizeof sizes / sizeof sizes[0]; n++) {
        state ^= (uint64_t)sizes[n];
        state = roll(&state);
    }
    return state;
}

static bool is_large(enum attn_slot slot) {
    return slot == ATTN_Q || slot == ATTN_K || slot == ATTN_V || slot == ATTN_KV_CACHE ||
           slot == ATTN_OUT || slot == ATTN_LSE;
}

/* The axes from the outermost on: without a layout that says how, and with strides, in any order.
 */
static void order_axes(const struct view *view, const struct attn_problem *problem, uint64_t *dice,
                       int order[5]) {
    const int outer = view->laid.rank - 1;
    const bool in_pages = problem->traits & ATTN_PAGE && view->laid.rank == 4 &&
                          (view->slot == ATTN_K || view->slot == ATTN_V);
    if (problem->traits & ATTN_NHD && in_pages) {
        order[1] = 2;
        order[2] = 1;
    } else if (problem->traits & ATTN_STRIDED && is_large(view->slot) && view->first == NULL) {
        for (int n = outer - 1; n > 0; n--) {
            const int other = (int)(roll(dice) % (uint64_t)(n + 1)), axis = order[n];
            order[n] = order[other];
            order[other] = axis;
        }
    }
}

/* Gaps: always between rows, and as a rule between blocks of them; one of the blocks is half of a
 * larger one, as k is of k and v. */
static void set_strides(struct view *view, const struct attn_problem *problem) {
    struct attn_tensor *laid = &view->laid;
    uint64_t dice = dice_of(problem, view->slot);
    const bool strided = problem->traits & ATTN_STRIDED && is_large(view->slot);
    const int outer = laid->rank - 1;
    const int64_t width = width_of(view), row_bytes = laid->shape[outer] * width;
    const int64_t unit = row_bytes % VECTOR_BYTES == 0 ? VECTOR_BYTES / width : 1;
    const int doubled = (int)(roll(&dice) % (uint64_t)(outer + 1));
    int order[5] = {0, 1, 2, 3, 4};
    order_axes(view, problem, &dice, order);
    int64_t step = laid->shape[outer];
    laid->stride[outer] = 1;
    for (int n = outer - 1; n >= 0; n--) {
        const int axis = order[n];
        const int64_t units = (int64_t)(roll(&dice) % 4) + (n == outer - 1);
        if (strided) step += units * unit + (n == doubled ? step : 0);
        laid->stride[axis] = step;
        step *= laid->shape[axis] > 0 ? laid->shape[axis] : 1;
    }
}

/* A multiple of 16 bytes, and with `strided` of no more. */
static size_t begin_of(const struct view *view, const struct attn_problem *problem) {
    uint64_t dice = dice_of(problem, view->slot) + 1;
    const bool strided = problem->traits & ATTN_STRIDED && is_large(view->slot);
    return PAGE_BYTES + (strided ? VECTOR_BYTES * (2 * (roll(&dice) % 8) + 1) : 0);
}

/* Making them */

static bool add_room(struct view *view, const struct attn_problem *problem) {
    view->at = begin_of(view, problem);
    view->bytes = round_up(view->at + span_bytes(&view->laid), PAGE_BYTES) + PAGE_BYTES;
    view->room =
        mmap(NULL, view->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return view->room != MAP_FAILED;
}

static bool add_view(struct views *views, enum attn_slot slot, enum attn_slot from,
                     const struct attn_tensor *dense, const struct attn_tensor *laid,
                     const int32_t *first) {
    struct view *view = &views->view[views->count];
    *view = (struct view){.slot = slot,
                          .from = from,
                          .output = !rules_is_input(slot),
                          .dense = *dense,
                          .laid = *laid,
                          .first = first};
    view->laid.data = NULL;
    view->laid.host = NULL;
    set_strides(view, views->problem);
    if (!add_room(view, views->problem)) return false;
    views->count++;
    return true;
}

/* Keys, or values, of a cache of both. */
static bool add_half(struct views *views, const struct attn_tensor *cache, bool value) {
    struct attn_tensor half = {.dtype = cache->dtype, .rank = 4};
    for (int axis = 0; axis < 4; axis++) {
        half.shape[axis] = cache->shape[axis + (axis > 0)];
        half.stride[axis] = cache->stride[axis + (axis > 0)];
    }
    half.data = (unsigned char *)cache->data +
                (value ? cache->stride[1] * attn_dtype_bytes(cache->dtype) : 0);
    return add_view(views, value ? ATTN_V : ATTN_K, ATTN_KV_CACHE, &half, &half, NULL);
}

static bool add_packed(struct views *views, enum attn_slot slot, const struct attn_tensor *dense,
                       const int32_t *first) {
    struct attn_tensor laid = {.dtype = dense->dtype, .rank = dense->rank - 1};
    laid.shape[0] = first[views->problem->batch];
    laid.shape[1] = dense->shape[1];
    laid.shape[2] = dense->shape[3];
    return add_view(views, slot, slot, dense, &laid, first);
}

static bool add_first(struct views *views, enum attn_slot slot, int32_t *first) {
    const struct attn_tensor table = {.dtype = ATTN_I32,
                                      .rank = 1,
                                      .shape = {views->problem->batch + 1},
                                      .stride = {1},
                                      .data = first};
    return first == NULL || add_view(views, slot, slot, &table, &table, NULL);
}

static const int32_t *packed_by(const struct views *views, enum attn_slot slot) {
    if (slot == ATTN_Q || slot == ATTN_OUT || slot == ATTN_LSE) return views->first_q;
    return slot == ATTN_K || slot == ATTN_V ? views->first_kv : NULL;
}

static bool add_tensor(struct views *views, enum attn_slot slot, const struct attn_tensor *tensor) {
    const int32_t *first = packed_by(views, slot);
    if (slot == ATTN_KV_CACHE && views->problem->traits & ATTN_NHD)
        return add_half(views, tensor, false) && add_half(views, tensor, true);
    return first != NULL ? add_packed(views, slot, tensor, first)
                         : add_view(views, slot, slot, tensor, tensor, NULL);
}

const char *views_make(struct views *views, const struct attn_problem *problem,
                       const struct attn_tensor tensors[ATTN_SLOT_ROOM]) {
    const bool packed = problem->traits & ATTN_THD, paged = problem->traits & ATTN_PAGE;
    const size_t table = (size_t)problem->batch + 1;
    *views = (struct views){.problem = problem,
                            .seq_lens = tensors[ATTN_SEQ_LENS].data,
                            .q_lens = tensors[ATTN_Q_LENS].data,
                            .nan_around = ATTN_SLOT_COUNT};
    if (packed) views->first_q = calloc(table, sizeof *views->first_q);
    if (packed && !paged) views->first_kv = calloc(table, sizeof *views->first_kv);
    bool well = !packed || (views->first_q != NULL && (paged || views->first_kv != NULL));
    if (well) add_lengths(views);
    for (int slot = 0; slot < ATTN_SLOT_COUNT && well; slot++) {
        if (tensors[slot].data != NULL)
            well = add_tensor(views, (enum attn_slot)slot, &tensors[slot]);
    }
    well = well && add_first(views, ATTN_CU_SEQLENS_Q, views->first_q) &&
           add_first(views, ATTN_CU_SEQLENS_KV, views->first_kv);
    return well ? NULL : "no room to lay the tensors out";
}

void views_free(struct views *views) {
    free(views->first_q);
    free(views->first_kv);
    *views = (struct views){0};
}

/* Using them */

void views_bring(struct views *views, bool outputs) {
    if (!outputs && views->count > 0) add_lengths(views);
    for (int n = 0; n < views->count; n++) {
        const struct view *view = &views->view[n];
        if (view->output != outputs) continue;
        fill_around(views, view, view->room);
        view_scatter(view, view->room + view->at, view->dense.data);
    }
}

/* A cu_seqlens that was written to is put right by the next lengths. */
const char *views_return(struct views *views, bool outputs) {
    const char *written = NULL;
    for (int n = 0; n < views->count; n++) {
        const struct view *view = &views->view[n];
        if (view->output != outputs) continue;
        const bool made = view->slot == ATTN_CU_SEQLENS_Q || view->slot == ATTN_CU_SEQLENS_KV;
        const bool kept =
            !made || memcmp(view->room + view->at, view->dense.data, span_bytes(&view->laid)) == 0;
        if (written == NULL && (!kept || !is_intact(views, view))) written = slot_name(view->slot);
        if (!made) view_gather(view, view->dense.data, view->room + view->at);
    }
    return written;
}

void views_move(struct views *views, enum attn_slot from, void *data) {
    if (from == ATTN_SEQ_LENS) views->seq_lens = data;
    if (from == ATTN_Q_LENS) views->q_lens = data;
    for (int n = 0; n < views->count; n++) {
        struct view *view = &views->view[n];
        if (view->from != from) continue;
        const bool half = view->slot == ATTN_V && from == ATTN_KV_CACHE;
        view->dense.data = data;
        if (half) /* values follow keys, as far as a half of a page is long */
            view->dense.data = (unsigned char *)data + view->dense.stride[0] / 2 * width_of(view);
    }
}

void views_place(struct views *views, bool ends) {
    for (int n = 0; n < views->count; n++) {
        struct view *view = &views->view[n];
        if (view->output) continue;
        const size_t span = round_up(span_bytes(&view->laid), VECTOR_BYTES);
        view->at = ends ? view->bytes - PAGE_BYTES - span : begin_of(view, views->problem);
    }
}

const struct view *views_find(const struct views *views, enum attn_slot slot) {
    for (int n = 0; n < views->count; n++) {
        if (views->view[n].slot == slot) return &views->view[n];
    }
    return NULL;
}
