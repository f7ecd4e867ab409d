/* What is turned is the host's copy, and a device whose memory is another gets the tokens that
 * were: on both a kernel finds the same. Padding, and what else must not be read, stays as it is
 * unless sequences share pages: then all pages of a head are turned, used or not. */
#define _GNU_SOURCE
#include "turn.h"
#include "views.h"
#include "../../kernels/attn_number.h"
#include "../../fixtures/random.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { COLUMNS_MAX = 32, LINE_BYTES = 64, DRAWS_MAX = 16 };

static bool is_paged(const struct turn *turn) {
    return turn->problem->traits & ATTN_PAGE;
}

/* Keys, then values, in each page. */
static bool in_cache(const struct turn *turn) {
    return turn->tensors[ATTN_KV_CACHE].data != NULL;
}

static const struct attn_tensor *values(const struct turn *turn) {
    if (in_cache(turn)) return &turn->tensors[ATTN_KV_CACHE];
    return &turn->tensors[turn->tensors[ATTN_V].data != NULL ? ATTN_V : ATTN_K];
}

/* From where a page, or a sequence, begins to the values of kv head g. */
static int64_t values_from(const struct turn *turn, int64_t g) {
    const int64_t *stride = values(turn)->stride;
    return in_cache(turn) ? stride[1] + g * stride[2] : g * stride[1];
}

static enum attn_dtype dtype_of(const struct turn *turn) {
    return (enum attn_dtype)values(turn)->dtype;
}

static int64_t width_of(const struct turn *turn) {
    return attn_dtype_bytes(dtype_of(turn));
}

static const int32_t *table(const struct turn *turn, enum attn_slot slot) {
    return turn->tensors[slot].host;
}

/* Whether a page is some sequence's twice, or two sequences'. False as well without memory to tell.
 */
static bool tell_shared(const struct turn *turn, bool *shared) {
    const int32_t used = table(turn, ATTN_KV_PAGE_INDPTR)[turn->problem->batch];
    const int32_t *pages = table(turn, ATTN_KV_PAGE_INDICES);
    unsigned char *seen = calloc((size_t)turn->problem->pages + 1, 1);
    *shared = false;
    for (int32_t n = 0; seen != NULL && n < used; n++) *shared |= seen[pages[n]]++ > 0;
    free(seen);
    return seen != NULL;
}

bool turn_begin(struct turn *turn, const struct device *device, const struct attn_problem *problem,
                const struct attn_call *call) {
    *turn = (struct turn){
        .device = device, .problem = problem, .tensors = call->tensors, .groups = problem->batch};
    if (problem->batch * problem->kv_heads * problem->value_dim == 0 ||
        values(turn)->host == NULL || !turn_can_flip(values(turn)) ||
        (is_paged(turn) && !tell_shared(turn, &turn->whole)))
        return false;
    if (turn->whole) turn->groups = 1;
    turn->turned = calloc((size_t)(turn->groups * problem->kv_heads * problem->value_dim), 1);
    if (getrandom(&turn->seed, sizeof turn->seed, 0) != sizeof turn->seed)
        turn->seed = (uintptr_t)turn->turned;
    return turn->turned != NULL;
}

void turn_end(struct turn *turn) {
    free(turn->turned);
    *turn = (struct turn){0};
}

int64_t turn_draw(struct turn *turn, int64_t count) {
    const struct random_stream stream = {.seed = turn->seed};
    return random_word(stream, turn->drawn++) % count;
}

/* Tokens that lie as far apart as one another: all of a sequence, those of a page. */
struct piece {
    int64_t at, step, tokens; /* at, step: elements */
};

static int64_t step_of(const struct turn *turn) {
    const struct attn_tensor *tensor = values(turn);
    return tensor->rank == 3 ? tensor->stride[0] : tensor->stride[tensor->rank - 2];
}

static int64_t pieces_of(const struct turn *turn, int64_t group) {
    if (!is_paged(turn)) return 1;
    if (turn->whole) return turn->problem->pages;
    const int32_t *first = table(turn, ATTN_KV_PAGE_INDPTR);
    return first[group + 1] - first[group];
}

static struct piece piece_at(const struct turn *turn, int64_t group, int64_t g, int64_t n) {
    const int64_t *stride = values(turn)->stride, size = turn->problem->page_size;
    const int64_t step = step_of(turn);
    if (!is_paged(turn)) {
        const int32_t *lens = table(turn, ATTN_SEQ_LENS);
        const int32_t *first = table(turn, ATTN_CU_SEQLENS_KV); /* of sequences that are packed */
        return (struct piece){(first != NULL ? first[group] : group) * stride[0] +
                                  values_from(turn, g),
                              step, lens != NULL ? lens[group] : turn->problem->kv_len};
    }
    const int32_t first = table(turn, ATTN_KV_PAGE_INDPTR)[group];
    const int64_t page = turn->whole ? n : table(turn, ATTN_KV_PAGE_INDICES)[first + n];
    const bool last = !turn->whole && n == pieces_of(turn, group) - 1;
    return (struct piece){page * stride[0] + values_from(turn, g), step,
                          last ? table(turn, ATTN_KV_LAST_PAGE_LEN)[group] : size};
}

/* `all` is volatile: to write what is there is writing, too. */
void turn_flip(void *at, int64_t count, enum attn_dtype dtype, volatile const uint32_t *all) {
    uint32_t *words = at;
    uint16_t *halves = at;
    uint8_t *bytes = at;
    for (int64_t n = 0; n < count; n++) {
        if (dtype == ATTN_F32)
            words[n] ^= *all & 0x80000000u;
        else if (dtype == ATTN_E4M3)
            bytes[n] ^= (uint8_t)(*all & 0x80u);
        else if (dtype == ATTN_I8)
            bytes[n] = (uint8_t)(*all & 1 ? 0u - bytes[n] : bytes[n]);
        else
            halves[n] ^= (uint16_t)(*all & 0x8000u);
    }
}

bool turn_can_flip(const struct attn_tensor *tensor) {
    const size_t bytes = tensor->dtype == ATTN_I8 ? span_bytes(tensor) : 0;
    return bytes == 0 || memchr(tensor->host, 0x80, bytes) == NULL;
}

static double apply_to(const struct turn *turn, const struct attn_tensor *tensor,
                       struct piece piece, int64_t d0, int64_t d1, bool really) {
    const int64_t width = attn_dtype_bytes(tensor->dtype), step = piece.step;
    const int64_t row = tensor->shape[tensor->rank - 1];
    const uint32_t all = really ? ~0u : 0;
    unsigned char *host = (unsigned char *)tensor->host, *placed = tensor->data;
    for (int64_t t = 0; t < piece.tokens; t++)
        turn_flip(host + (piece.at + t * step + d0) * width, d1 - d0,
                  (enum attn_dtype)tensor->dtype, &all);
    if (placed != host && piece.tokens > 0)
        turn->device->upload(placed + piece.at * width, host + piece.at * width,
                             (size_t)(((piece.tokens - 1) * step + row) * width));
    return (double)piece.tokens * (double)((d1 - d0) * width / LINE_BYTES + 2) * LINE_BYTES;
}

/* Turns columns, or with sign 0 touches them. Returns the bytes of the lines they are in. Where
 * values are part of keys the same columns of q are turned, and no q.k changes a bit. */
static double apply(const struct turn *turn, int64_t group, int64_t g, int64_t d0, int64_t d1,
                    bool really) {
    const struct attn_problem *problem = turn->problem;
    const struct attn_tensor *q = &turn->tensors[ATTN_Q];
    const bool with_q = problem->traits & ATTN_KSHARED;
    const int64_t heads = problem->q_heads / problem->kv_heads;
    const int32_t *first_q = table(turn, ATTN_CU_SEQLENS_Q);
    double lines = 0;
    for (int64_t n = 0; n < pieces_of(turn, group); n++)
        lines += apply_to(turn, values(turn), piece_at(turn, group, g, n), d0, d1, really);
    const int64_t from = turn->whole ? 0 : group, end = turn->whole ? problem->batch : group + 1;
    for (int64_t n = from * heads; with_q && n < end * heads; n++) {
        const int64_t b = n / heads, h = g * heads + n % heads;
        struct piece rows = {b * q->stride[0] + h * q->stride[1], q->stride[2], problem->q_len};
        if (first_q != NULL)
            rows = (struct piece){first_q[b] * q->stride[0] + h * q->stride[1], q->stride[0],
                                  first_q[b + 1] - first_q[b]};
        lines += apply_to(turn, q, rows, d0, d1, really);
    }
    return lines;
}

/* Sequences may be empty: a few draws find one that is not, if there are many. */
static struct turn_slice draw(struct turn *turn, int64_t *group) {
    const struct attn_problem *problem = turn->problem;
    const int64_t most = problem->value_dim < COLUMNS_MAX ? problem->value_dim : COLUMNS_MAX;
    const int64_t g = turn_draw(turn, problem->kv_heads), columns = 1 + turn_draw(turn, most);
    const int64_t d0 = turn_draw(turn, problem->value_dim - columns + 1);
    for (int n = 0; n < DRAWS_MAX; n++) {
        *group = turn_draw(turn, turn->groups);
        if (pieces_of(turn, *group) > 0 && piece_at(turn, *group, g, 0).tokens > 0) break;
    }
    const int64_t last = turn->whole ? problem->batch : *group + 1;
    return (struct turn_slice){*group, last, g, d0, d0 + columns};
}

void turn_note(struct turn *turn, const struct turn_slice *slice) {
    const int64_t heads = turn->problem->kv_heads, dim = turn->problem->value_dim;
    for (int64_t group = slice->b0; group < (turn->whole ? 1 : slice->b1); group++) {
        for (int64_t d = slice->d0; d < slice->d1; d++)
            turn->turned[(group * heads + slice->g) * dim + d] ^= 1;
    }
}

struct turn_slice turn_next(struct turn *turn) {
    int64_t group;
    const struct turn_slice slice = draw(turn, &group);
    const double lines = apply(turn, group, slice.g, slice.d0, slice.d1, true);
    if (lines > turn->lines_bytes) turn->lines_bytes = lines;
    turn_note(turn, &slice);
    return slice;
}

void turn_touch(struct turn *turn) {
    int64_t group;
    const struct turn_slice slice = draw(turn, &group);
    apply(turn, group, slice.g, slice.d0, slice.d1, false);
}

void turn_back(struct turn *turn) {
    const int64_t dim = turn->problem != NULL ? turn->problem->value_dim : 0;
    for (int64_t row = 0; dim > 0 && row < turn->groups * turn->problem->kv_heads; row++) {
        unsigned char *turned = turn->turned + row * dim;
        for (int64_t d0 = 0, d1; d0 < dim; d0 = d1) {
            for (d1 = d0 + 1; d1 < dim && turned[d1] == turned[d0]; d1++) continue;
            if (turned[d0])
                apply(turn, row / turn->problem->kv_heads, row % turn->problem->kv_heads, d0, d1,
                      true);
        }
        memset(turned, 0, (size_t)dim);
    }
}

struct turn_block turn_block(struct turn *turn) {
    const struct attn_problem *problem = turn->problem;
    const int64_t *stride = values(turn)->stride;
    const size_t width = (size_t)width_of(turn);
    int64_t group;
    struct turn_slice slice = draw(turn, &group);
    slice.d0 = 0;
    slice.d1 = problem->value_dim;
    if (!is_paged(turn)) {
        const struct piece piece = piece_at(turn, group, slice.g, 0);
        const size_t bytes = (size_t)(piece.tokens * problem->value_dim) * width;
        return (struct turn_block){slice, (size_t)piece.at * width, bytes, bytes, 1};
    }
    slice.b0 = 0;
    slice.b1 = problem->batch;
    return (struct turn_block){
        slice, (size_t)values_from(turn, slice.g) * width, (size_t)stride[0] * width,
        (size_t)(problem->page_size * problem->value_dim) * width, (size_t)problem->pages};
}

void turn_read(const struct turn *turn, const struct turn_block *block, unsigned char *plain,
               unsigned char *negated) {
    const uint32_t all = ~0u;
    const unsigned char *host = values(turn)->host;
    for (size_t row = 0; row < block->rows; row++)
        memcpy(plain + row * block->width, host + block->at + row * block->pitch, block->width);
    memcpy(negated, plain, block->rows * block->width);
    turn_flip(negated, (int64_t)(block->rows * block->width) / width_of(turn), dtype_of(turn),
              &all);
}
