/* Flash attention for many rows. The rows lie across the lanes: queries and outputs are held
 * transposed, so that scores of 64 keys, their maximum, exponentials and sums are all vertical
 * operations, keys and values are read in their own layout, one element broadcast at a time, and
 * nothing but the queries is ever transposed.
 *
 *     S^T[key][row]   = sum over d    K[key][d] Q^T[d][row]
 *     O^T[d][row]    += sum over keys V[key][d] P^T[key][row]
 *
 * A task takes up to TALL_TILES tiles of TILE vectors of rows; each block of 64 keys is widened to
 * f32 once and used by all of them. For D = 128 and AVX-512 a tile's queries are 24 KiB and its
 * scores 12 KiB, which share L1; the key and value block and the other tiles wait in L2. */
#include "isa.h"

struct tile {
    int64_t row, rows; /* of the group; fewer than LANES in the last tile */
    float *query;      /* [depth][LANES] */
    float *out;        /* [value_depth][LANES] */
    floats max[TILE], sum[TILE];
    /* Keys of the block that any row sees, and among them those that every row does; `from` to
     * all_from and all_to to `to` some do, each those from `low` to high - 1. */
    int64_t from, to, all_from, all_to;
    ints low[TILE], high[TILE];
    floats slope[TILE], place[TILE]; /* alibi's, and the rows' on the diagonal */
};

struct block {
    float *keys, *values;       /* [KEY_BLOCK][depth], [KEY_BLOCK][value_depth] */
    float *scores;              /* [KEY_BLOCK][LANES] */
    int64_t key;                /* the position of the first */
    int64_t head_dim;           /* D */
    int64_t depth, value_depth; /* D, and Dv, rounded up to STEP */
    float scale;
};

/* The sum over d goes in stretches of 32, added up in the end: for D = 128 that halves the rounding
 * error of an f32 score and costs 3 % of the product. */
TEMPLATE void score(int vectors, const struct block *block, const struct tile *tile) {
    enum { STRETCH = 32 };
    for (int64_t j = tile->from / STEP * STEP; j < tile->to; j += STEP) {
        const float *key = block->keys + j * block->depth;
        float *score = block->scores + j * LANES;
        for (int64_t start = 0; start < block->head_dim; start += STRETCH) {
            const int64_t left = block->head_dim - start;
            const int64_t end = start + (left < STRETCH ? left : STRETCH);
            floats acc[STEP][TILE] = {0};
            for (int64_t d = start; d < end; d++) {
                floats query[TILE];
                UNROLL(n, vectors) query[n] = load(tile->query + d * LANES + n * WIDTH);
                UNROLL(u, STEP) {
                    const floats element = splat(key[u * block->depth + d]);
                    UNROLL(n, vectors) acc[u][n] += element * query[n];
                }
            }
            UNROLL(u, STEP) UNROLL(n, vectors) {
                float *to = score + u * LANES + n * WIDTH;
                store(to, start > 0 ? acc[u][n] + load(to) : acc[u][n]);
            }
        }
    }
}

/* Which lanes of vector n see key j of the block: of those that some do not see. */
TEMPLATE ints sees(const struct tile *tile, int n, int64_t j) {
    return (tile->low[n] <= (int32_t)j) & (tile->high[n] > (int32_t)j);
}

/* Makes -infinity of the scores from key `from` to end - 1 in lanes that do not see them. */
TEMPLATE void hide(int vectors, const struct block *block, const struct tile *tile, int64_t from,
                   int64_t end, floats *max) {
    const floats none = splat(-INFINITY);
    for (int64_t j = from; j < end; j++) {
        UNROLL(n, vectors) {
            float *score = block->scores + j * LANES + n * WIDTH;
            const floats seen = choose(sees(tile, n, j), load(score), none);
            store(score, seen);
            max[n] = larger(seen, max[n]);
        }
    }
}

/* Turns scores into exponentials; says by what the earlier sums shrink. */
TEMPLATE void soften(int vectors, const struct block *block, struct tile *tile, floats *shrink) {
    const floats none = splat(-INFINITY);
    floats max[TILE], origin[TILE], sum[TILE];
    UNROLL(n, vectors) max[n] = tile->max[n];
    hide(vectors, block, tile, tile->from, tile->all_from, max);
    for (int64_t j = tile->all_from; j < tile->all_to; j++) {
        UNROLL(n, vectors) max[n] = larger(load(block->scores + j * LANES + n * WIDTH), max[n]);
    }
    hide(vectors, block, tile, tile->all_to, tile->to, max);
    UNROLL(n, vectors) {
        /* A lane that has seen nothing yet: any finite origin will do. */
        origin[n] = choose(max[n] == none, (floats){0}, max[n]);
        shrink[n] = exp_nonpositive((tile->max[n] - origin[n]) * block->scale);
        sum[n] = (floats){0};
    }
    for (int64_t j = tile->from; j < tile->to; j++) {
        UNROLL(n, vectors) {
            float *score = block->scores + j * LANES + n * WIDTH;
            const floats p = exp_nonpositive((load(score) - origin[n]) * block->scale);
            store(score, p);
            sum[n] += p;
        }
    }
    UNROLL(n, vectors) {
        tile->max[n] = max[n];
        tile->sum[n] = tile->sum[n] * shrink[n] + sum[n];
    }
}

/* A value may be NaN in a key that some of the lanes do not see: those select, as 0 * NaN = NaN. */
TEMPLATE void add_seen(int vectors, const struct block *block, const struct tile *tile,
                       int64_t from, int64_t end, int64_t d, floats acc[STEP][TILE]) {
    for (int64_t j = from; j < end; j++) {
        const float *value = block->values + j * block->value_depth + d;
        UNROLL(n, vectors) {
            const floats p = load(block->scores + j * LANES + n * WIDTH);
            const ints lanes = sees(tile, n, j);
            UNROLL(u, STEP) acc[u][n] = choose(lanes, acc[u][n] + value[u] * p, acc[u][n]);
        }
    }
}

TEMPLATE void add_values(int vectors, const struct block *block, const struct tile *tile,
                         const floats *shrink) {
    for (int64_t d = 0; d < block->value_depth; d += STEP) {
        floats acc[STEP][TILE] = {0};
        add_seen(vectors, block, tile, tile->from, tile->all_from, d, acc);
        for (int64_t j = tile->all_from; j < tile->all_to; j++) {
            const float *value = block->values + j * block->value_depth + d;
            floats p[TILE];
            UNROLL(n, vectors) p[n] = load(block->scores + j * LANES + n * WIDTH);
            UNROLL(u, STEP) {
                const floats element = splat(value[u]);
                UNROLL(n, vectors) acc[u][n] += element * p[n];
            }
        }
        add_seen(vectors, block, tile, tile->all_to, tile->to, d, acc);
        UNROLL(u, STEP) UNROLL(n, vectors) {
            float *out = tile->out + (d + u) * LANES + n * WIDTH;
            store(out, load(out) * shrink[n] + acc[u][n]);
        }
    }
}

TEMPLATE void make_logits(int vectors, const struct task *task, const struct block *block,
                          const struct tile *tile) {
    for (int64_t j = tile->from; j < tile->to; j++) {
        UNROLL(n, vectors) {
            float *score = block->scores + j * LANES + n * WIDTH;
            store(score, cap(task, load(score)) +
                             tile->slope[n] * ((float)(block->key + j) - tile->place[n]));
        }
    }
    for (int64_t lane = 0; task->bias && lane < tile->rows; lane++) {
        const float *bias = bias_of(task, tile->row + lane) + block->key;
        for (int64_t j = tile->from; j < tile->to; j++) block->scores[j * LANES + lane] += bias[j];
    }
}

TEMPLATE void advance(int vectors, const struct task *task, const struct block *block,
                      struct tile *tile) {
    floats shrink[TILE];
    score(vectors, block, tile);
    if (task->logits) make_logits(vectors, task, block, tile);
    soften(vectors, block, tile, shrink);
    add_values(vectors, block, tile, shrink);
}

static void limit_lanes(struct tile *tile, const struct task *task, int64_t key, int64_t count) {
    const int64_t first = tile->row, last = tile->row + tile->rows - 1;
    tile->from = seen_from(task, first, key, count);
    tile->to = seen_end(task, last, key, count);
    tile->all_from = seen_from(task, last, key, count);
    tile->all_to = seen_end(task, first, key, count);
    if (tile->all_from >= tile->all_to) tile->all_from = tile->all_to = tile->to; /* no key */
    if (tile->from == tile->all_from && tile->to == tile->all_to) return;
    for (int64_t lane = 0; lane < LANES; lane++) {
        const int64_t r = tile->row + lane < last ? tile->row + lane : last;
        tile->low[lane / WIDTH][lane % WIDTH] = (int32_t)seen_from(task, r, key, count);
        tile->high[lane / WIDTH][lane % WIDTH] = (int32_t)seen_end(task, r, key, count);
    }
}

/* Leaves the tile's result, its rows again row by row. */
static void finish(const struct task *task, struct tile *tile) {
    const int64_t value_dim = task->problem->value_dim, first = tile->row - task->row;
    for (int64_t d = 0; d < value_dim && !task->partial; d++) {
        UNROLL(n, TILE) {
            float *out = tile->out + d * LANES + n * WIDTH;
            store(out, load(out) / tile->sum[n]);
        }
    }
    for (int64_t lane = 0; lane < tile->rows; lane++) {
        task->max[first + lane] = tile->max[lane / WIDTH][lane % WIDTH];
        task->sum[first + lane] = tile->sum[lane / WIDTH][lane % WIDTH];
        for (int64_t d = 0; d < value_dim; d++)
            task->out[(first + lane) * value_dim + d] = tile->out[d * LANES + lane];
    }
}

static int64_t round_up(int64_t head_dim) {
    return (head_dim + STEP - 1) / STEP * STEP;
}

size_t ISA_NAME(tall_workspace_)(int64_t head_dim, int64_t value_dim) {
    const int64_t both = round_up(head_dim) + round_up(value_dim);
    return sizeof(float) * (size_t)(KEY_BLOCK * (LANES + both) + TALL_TILES * both * LANES);
}

void ISA_NAME(tall_)(const struct task *task) {
    const int64_t head_dim = task->problem->head_dim, depth = round_up(head_dim);
    const int64_t value_dim = task->problem->value_dim, value_depth = round_up(value_dim);
    const int64_t tiles = (task->rows + LANES - 1) / LANES;
    float *room = task->workspace;
    struct tile tile[TALL_TILES];
    struct block block = {.head_dim = head_dim,
                          .depth = depth,
                          .value_depth = value_depth,
                          .scale = task->softmax_scale};
    block.scores = room, room += KEY_BLOCK * LANES;
    block.keys = room, room += KEY_BLOCK * depth;
    block.values = room, room += KEY_BLOCK * value_depth;
    for (int64_t t = 0; t < tiles; t++) {
        const int64_t left = task->rows - t * LANES;
        tile[t] = (struct tile){.row = task->row + t * LANES, .rows = left < LANES ? left : LANES};
        tile[t].query = room, room += depth * LANES;
        tile[t].out = room, room += value_depth * LANES;
        for (int n = 0; n < TILE; n++) tile[t].max[n] = splat(-INFINITY);
        memset(tile[t].query, 0, sizeof(float) * (size_t)(depth * LANES));
        memset(tile[t].out, 0, sizeof(float) * (size_t)(value_depth * LANES));
        for (int64_t lane = 0; lane < tile[t].rows; lane++) {
            float row[HEAD_DIM_MAX];
            widen_query(row, task, tile[t].row + lane, head_dim);
            for (int64_t d = 0; d < head_dim; d++) tile[t].query[d * LANES + lane] = row[d];
            if (task->slopes == NULL) continue;
            const int64_t r = tile[t].row + lane;
            tile[t].slope[lane / WIDTH][lane % WIDTH] = task->slopes[r % task->group];
            tile[t].place[lane / WIDTH][lane % WIDTH] = (float)(r / task->group + task->diagonal);
        }
    }

    for (int64_t key = task->key; key < task->key_end; key += KEY_BLOCK) {
        const int64_t count = task->key_end - key < KEY_BLOCK ? task->key_end - key : KEY_BLOCK;
        const void *keys[KEY_BLOCK], *values[KEY_BLOCK];
        task->place(task->call, task->b, task->g, task->list, key, count, keys, values);
        block.key = key;
        widen_block(block.keys, block.values, task, key, count, depth, value_depth, keys, values);
        for (int64_t t = 0; t < tiles; t++) {
            limit_lanes(&tile[t], task, key, count);
            if (tile[t].from >= tile[t].to) continue;
            if (tile[t].rows > 2 * WIDTH)
                advance(TILE, task, &block, &tile[t]);
            else if (tile[t].rows > WIDTH)
                advance(2, task, &block, &tile[t]);
            else
                advance(1, task, &block, &tile[t]);
        }
    }

    for (int64_t t = 0; t < tiles; t++) finish(task, &tile[t]);
}
