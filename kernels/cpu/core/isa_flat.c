/* Flash attention for few rows: decoding. Keys and values are read from where they lie, in their
 * own type, once for all the query heads of a group; the head dimension lies across the lanes.
 * A lane sum is turned into scores WIDTH at a time: WIDTH accumulators, of WIDTH / ROWS keys by
 * ROWS rows, are added up pairwise into one vector of scores [key][row], and in that order the
 * scores of a block stay. ROWS is 1, 2 or 4; a group of more heads goes in fours.
 *
 * Where a row's list or mask decides, positions that are not seen have the score -infinity, and
 * their values are blanked bit by bit before they are multiplied: they may be NaN. */
#include "isa.h"

enum { ROWS_MAX = 4, SCORES_MAX = KEY_BLOCK * ROWS_MAX };

/* ROWS rows on their way over the keys. Lane n of max and sum belongs to row n % ROWS. */
struct quad {
    int64_t row, rows; /* of the group; fewer than ROWS in the last one */
    float *query;      /* [ROWS][depth] */
    float *out;        /* [ROWS][value_depth] */
    struct magicpig magicpig[ROWS_MAX];
    float max[WIDTH], sum[WIDTH];
};

struct block {
    int64_t key, count; /* first position, how many */
    /* Where each lies; behind the last up to a multiple of WIDTH, the last again. */
    const void *keys[KEY_BLOCK], *values[KEY_BLOCK];
    /* The block after this one: while this one's rows are used, its are prefetched, line by line.
     * Behind its last row anything that is an address. */
    int64_t next_count, keys_most;
    const void *next_keys[KEY_BLOCK], *next_values[KEY_BLOCK];
    bool widened;               /* not where they lie, but in f32: then `step` prefetches */
    int64_t depth, value_depth; /* of those rows: D, and Dv, rounded up to WIDTH */
    bool partly;                /* some row sees only some of the keys */
    float scores[SCORES_MAX];   /* [key][ROWS] */
    int32_t seen[SCORES_MAX];   /* the same shape, all ones or zero; where partly */
    float square[KEY_BLOCK];    /* |k|^2, for MagicPIG */
};

#if defined(ATTN_ISA_avx512)
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#elif defined(ATTN_ISA_avx2)
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define ODD 1, 3, 5, 7, 9, 11, 13, 15
#else
#define EVEN 0, 2, 4, 6
#define ODD 1, 3, 5, 7
#endif

/* Lane n becomes the sum of the lanes of parts[n]. */
TEMPLATE floats lane_sums(floats *parts) {
    UNROLL(level, 4) {
        UNROLL(n, WIDTH / 2) {
            if (n < WIDTH >> (level + 1))
                parts[n] = __builtin_shufflevector(parts[2 * n], parts[2 * n + 1], EVEN) +
                           __builtin_shufflevector(parts[2 * n], parts[2 * n + 1], ODD);
        }
    }
    return parts[0];
}

TEMPLATE void score(int32_t dtype, int rows, struct block *block, const struct quad *quad) {
    const int step = WIDTH / rows;
    const int64_t size = attn_dtype_bytes(dtype);
    for (int64_t j = 0; j < block->count; j += step) {
        floats parts[WIDTH] = {0};
        for (int64_t d = 0; d < block->depth; d += WIDTH) {
            floats query[ROWS_MAX];
            UNROLL(r, rows) query[r] = load(quad->query + r * block->depth + d);
            UNROLL(u, step) {
                const floats key = load_row(block->keys[j + u], d, dtype);
                if (d * size % 64 == 0 && !block->widened)
                    __builtin_prefetch((const char *)block->next_keys[j + u] + d * size, 0, 2);
                UNROLL(r, rows) parts[u * rows + r] += key * query[r];
            }
        }
        store(block->scores + j * rows, lane_sums(parts));
    }
}

TEMPLATE void square_keys(int32_t dtype, struct block *block) {
    for (int64_t j = 0; j < block->count; j += WIDTH) {
        floats parts[WIDTH] = {0};
        for (int64_t d = 0; d < block->depth; d += WIDTH) {
            UNROLL(u, WIDTH) {
                const floats key = load_row(block->keys[j + u], d, dtype);
                parts[u] += key * key;
            }
        }
        store(block->square + j, lane_sums(parts));
    }
}

/* Marks what each row sees of a block that is seen partly, and hides the other scores. */
static void hide(int rows, const struct task *task, struct block *block, const struct quad *quad) {
    for (int r = 0; r < rows; r++) {
        const int64_t row = quad->row + r, head = row % task->group;
        const uint8_t *mask =
            task->mask ? task->mask + head * task->mask_stride + block->key : NULL;
        const int64_t from = seen_from(task, row, block->key, block->count);
        const int64_t end = seen_end(task, row, block->key, block->count);
        for (int64_t j = 0; j < block->count; j++) {
            const bool sees = r < quad->rows && (mask ? mask[j] : j >= from && j < end);
            block->seen[j * rows + r] = -(int32_t)sees;
            if (!sees) block->scores[j * rows + r] = -INFINITY;
        }
    }
}

static void correct(int rows, const struct task *task, struct block *block,
                    const struct quad *quad) {
    for (int64_t j = 0; j < block->count; j++)
        for (int64_t r = 0; r < quad->rows; r++) {
            float *score = &block->scores[j * rows + r];
            const float bias = added(task, quad->row + r, block->key + j);
            if (!block->partly || block->seen[j * rows + r])
                *score = magicpig_logit(&quad->magicpig[r], *score, block->square[j], bias);
        }
}

TEMPLATE void make_logits(int rows, const struct task *task, struct block *block,
                          const struct quad *quad) {
    for (int64_t n = 0; n < block->count * rows; n += WIDTH)
        store(block->scores + n, cap(task, load(block->scores + n)));
    for (int64_t j = 0; (task->slopes || task->bias) && j < block->count; j++)
        for (int64_t r = 0; r < quad->rows; r++)
            block->scores[j * rows + r] += added(task, quad->row + r, block->key + j);
}

/* Turns scores into exponentials; returns by what the earlier sums shrink. */
TEMPLATE floats soften(int rows, float scale, struct block *block, struct quad *quad) {
    const int64_t scores = block->count * rows, whole = (scores + WIDTH - 1) / WIDTH * WIDTH;
    for (int64_t n = scores; n < whole; n++) block->scores[n] = -INFINITY;
    const floats before = load(quad->max), none = splat(-INFINITY);
    floats max = before;
    for (int64_t n = 0; n < whole; n += WIDTH) max = larger(load(block->scores + n), max);
    float lanes[WIDTH];
    store(lanes, max);
    for (int n = rows; n < WIDTH; n++)
        lanes[n % rows] = lanes[n] > lanes[n % rows] ? lanes[n] : lanes[n % rows];
    for (int n = rows; n < WIDTH; n++) lanes[n] = lanes[n % rows];
    max = load(lanes);
    const floats origin = choose(max == none, (floats){0}, max);
    const floats shrink = exp_nonpositive((before - origin) * scale);
    floats sum = {0};
    for (int64_t n = 0; n < whole; n += WIDTH) {
        const floats p = exp_nonpositive((load(block->scores + n) - origin) * scale);
        store(block->scores + n, p);
        sum += p;
    }
    store(quad->max, max);
    store(quad->sum, load(quad->sum) * shrink + sum);
    return shrink;
}

TEMPLATE void add_chunk(int32_t dtype, int rows, int vectors, bool partly,
                        const struct block *block, const struct quad *quad, const float *shrink,
                        int64_t d) {
    floats acc[ROWS_MAX][4] = {0};
    const int64_t size = attn_dtype_bytes(dtype);
    for (int64_t j = 0; j < block->count; j++) {
        for (int64_t at = 0; at < vectors * WIDTH * size && !block->widened; at += 64)
            __builtin_prefetch((const char *)block->next_values[j] + d * size + at, 0, 2);
        floats value[4];
        UNROLL(n, vectors) value[n] = load_row(block->values[j], d + n * WIDTH, dtype);
        UNROLL(r, rows) {
            const floats p = splat(block->scores[j * rows + r]);
            const ints seen = (ints){0} + (partly ? block->seen[j * rows + r] : -1);
            UNROLL(n, vectors) {
                acc[r][n] += p * (partly ? (floats)(seen & (ints)value[n]) : value[n]);
            }
        }
    }
    UNROLL(r, rows) UNROLL(n, vectors) {
        float *out = quad->out + r * block->value_depth + d + n * WIDTH;
        store(out, load(out) * shrink[r] + acc[r][n]);
    }
}

TEMPLATE void add_values(int32_t dtype, int rows, bool partly, const struct block *block,
                         const struct quad *quad, floats shrink) {
    float by_row[WIDTH];
    store(by_row, shrink);
    int64_t d = 0;
    for (; d + 4 * WIDTH <= block->value_depth; d += 4 * WIDTH)
        add_chunk(dtype, rows, 4, partly, block, quad, by_row, d);
    for (; d < block->value_depth; d += WIDTH)
        add_chunk(dtype, rows, 1, partly, block, quad, by_row, d);
}

TEMPLATE void advance(int32_t dtype, int rows, const struct task *task, struct block *block,
                      struct quad *quad) {
    score(dtype, rows, block, quad);
    if (task->logits) make_logits(rows, task, block, quad);
    if (block->partly) hide(rows, task, block, quad);
    if (task->magicpig) correct(rows, task, block, quad);
    const floats shrink = soften(rows, task->softmax_scale, block, quad);
    if (block->partly)
        add_values(dtype, rows, true, block, quad, shrink);
    else
        add_values(dtype, rows, false, block, quad, shrink);
}

/* The dtypes and row counts as constants. */
#define ADVANCE(dtype, rows)                                                                       \
    static void advance_##dtype##_##rows(const struct task *task, struct block *block,             \
                                         struct quad *quad) {                                      \
        advance(ATTN_##dtype, rows, task, block, quad);                                            \
    }
#define DTYPE(dtype)                                                                               \
    ADVANCE(dtype, 1)                                                                              \
    ADVANCE(dtype, 2)                                                                              \
    ADVANCE(dtype, 4)                                                                              \
    static void square_##dtype(struct block *block) {                                              \
        square_keys(ATTN_##dtype, block);                                                          \
    }
DTYPE(F32)
DTYPE(F16)
DTYPE(BF16)

/* By dtype - ATTN_F32, and log2 ROWS. */
static void (*const advances[3][3])(const struct task *, struct block *, struct quad *) = {
    {advance_F32_1, advance_F32_2, advance_F32_4},
    {advance_F16_1, advance_F16_2, advance_F16_4},
    {advance_BF16_1, advance_BF16_2, advance_BF16_4},
};
static void (*const squares[3])(struct block *) = {square_F32, square_F16, square_BF16};

static int64_t round_up(int64_t head_dim) {
    return (head_dim + WIDTH - 1) / WIDTH * WIDTH;
}

size_t ISA_NAME(flat_workspace_)(int64_t head_dim, int64_t value_dim) {
    return sizeof(float) *
           (size_t)((round_up(head_dim) + round_up(value_dim)) * (FLAT_ROWS + KEY_BLOCK));
}

/* Keys of a block: for prefetching's sake about 4 KiB of them, but at least a vector of scores. On
 * a 2-core EPYC (Zen 5) decoding f16 at D = 128 a core reads 18 GB/s with blocks of 64 keys, 21
 * with 32, 22 with 16. */
static int64_t keys_most(int64_t row_bytes) {
    const int64_t keys = 4096 / row_bytes / 16 * 16;
    return keys < 16 ? 16 : keys > KEY_BLOCK ? KEY_BLOCK : keys;
}

/* Looks up the rows after the current block. */
static void look_ahead(const struct task *task, struct block *block) {
    const int64_t left = task->key_end - block->key - block->count;
    block->next_count = left < block->keys_most ? left : block->keys_most;
    task->place(task->call, task->b, task->g, task->list, block->key + block->count,
                block->next_count, block->next_keys, block->next_values);
}

/* Steps to the rows looked up. A width that is no multiple of WIDTH is widened into `room`, so that
 * no load runs past a row, and rows of 8 bits are, times their scales; values that are part of keys
 * are there with them. Returns the dtype of the rows. */
static int32_t step(const struct task *task, struct block *block, float *room) {
    const int64_t head_dim = task->problem->head_dim, value_dim = task->problem->value_dim;
    const int64_t count = block->next_count;
    const bool shared = task->problem->traits & ATTN_KSHARED;
    block->key += block->count;
    block->count = count;
    memcpy(block->keys, block->next_keys, sizeof block->keys);
    memcpy(block->values, block->next_values, sizeof block->values);
    look_ahead(task, block);
    const bool widen = block->widened =
        head_dim != block->depth || (value_dim != block->value_depth && !shared) || task->scaled;
    if (widen) {
        const int64_t bytes = head_dim * attn_dtype_bytes(task->stored);
        for (int64_t n = 0; n < block->next_count; n++)
            for (int64_t at = 0; at < bytes; at += 64) {
                __builtin_prefetch((const char *)block->next_keys[n] + at, 0, 2);
                __builtin_prefetch((const char *)block->next_values[n] + at, 0, 2);
            }
        float *values = room + KEY_BLOCK * block->depth;
        widen_block(room, shared ? NULL : values, task, block->key, count, block->depth,
                    block->value_depth, block->keys, block->values);
        for (int64_t n = 0; n < count; n++) {
            block->keys[n] = room + n * block->depth;
            block->values[n] = shared ? block->keys[n] : values + n * block->value_depth;
        }
    }
    for (int64_t n = count; n % WIDTH; n++) block->keys[n] = block->keys[count - 1];
    return widen ? ATTN_F32 : task->stored;
}

void ISA_NAME(flat_)(const struct task *task) {
    const int64_t head_dim = task->problem->head_dim, depth = round_up(head_dim);
    const int64_t value_dim = task->problem->value_dim, value_depth = round_up(value_dim);
    float *wide = task->workspace, *room = wide + KEY_BLOCK * (depth + value_depth);
    struct block block = {.depth = depth, .value_depth = value_depth};
    block.keys_most = keys_most(head_dim * attn_dtype_bytes(task->stored));
    for (int n = 0; n < KEY_BLOCK; n++) block.next_keys[n] = block.next_values[n] = wide;
    struct quad quads[FLAT_ROWS];
    int64_t quad_count = 0;
    const int size = task->rows == 1 ? 0 : task->rows == 2 ? 1 : 2, rows = 1 << size;
    for (int64_t r = 0; r < task->rows; r += rows) {
        struct quad *quad = &quads[quad_count++];
        *quad = (struct quad){.row = task->row + r, .query = room, .out = room + rows * depth};
        quad->rows = task->rows - r < rows ? task->rows - r : rows;
        room += rows * (depth + value_depth);
        memset(quad->query, 0, sizeof(float) * (size_t)(rows * (depth + value_depth)));
        for (int64_t u = 0; u < quad->rows; u++) {
            float *query = quad->query + u * depth;
            widen_query(query, task, quad->row + u, depth);
            if (task->magicpig) quad->magicpig[u] = magicpig_row(task, quad->row + u, query);
        }
        for (int n = 0; n < WIDTH; n++) quad->max[n] = -INFINITY;
    }

    block.key = task->key;
    look_ahead(task, &block);
    while (block.next_count > 0) {
        const int32_t dtype = step(task, &block, wide);
        block.partly = task->mask ||
                       seen_end(task, task->row, block.key, block.count) < block.count ||
                       seen_from(task, task->row + task->rows - 1, block.key, block.count) > 0;
        if (task->magicpig) squares[dtype - ATTN_F32](&block);
        for (int64_t n = 0; n < quad_count; n++)
            advances[dtype - ATTN_F32][size](task, &block, &quads[n]);
    }

    for (int64_t r = 0; r < task->rows; r++) {
        const struct quad *quad = &quads[r / rows];
        const int64_t u = r % rows;
        task->max[r] = quad->max[u];
        task->sum[r] = 0;
        for (int64_t n = u; n < WIDTH; n += rows) task->sum[r] += quad->sum[n];
        const float divisor = task->partial ? 1 : task->sum[r];
        for (int64_t d = 0; d < value_dim; d++)
            task->out[r * value_dim + d] = quad->out[u * value_depth + d] / divisor;
    }
}
