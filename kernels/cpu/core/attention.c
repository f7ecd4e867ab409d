/* Divides a problem into tasks, runs them on threads, and writes their results.
 *
 * A task is a block of rows of one kv head by a stretch of the keys. Stretches are one unless there
 * are too few blocks to occupy a machine; then the partial results wait in scratch and are put
 * together in a second pass. All of this follows from the problem and the lengths, so the bits do
 * not depend on the number of threads. */
#include "attention.h"

#include <math.h>
#include <omp.h>
#include <string.h>

enum {
    TASKS_WANTED = 256,  /* enough for the largest machines to share out evenly */
    KEYS_WORTH = 1024,   /* fewer keys are not worth a task, */
    WORK_WORTH = 1 << 20 /* and fewer products q k not a thread: in cache one does them in 25 us */
};

/* How a problem is divided, and where in scratch things are. */
struct division {
    const struct isa *isa;
    void (*method)(const struct task *task);
    bool lists;          /* rows see lists */
    int64_t group, rows; /* query heads and rows of a kv head */
    int64_t alike; /* rows that may be in one block: with lists those that share one, else all */
    int64_t row_block, row_blocks, splits;
    int64_t keys;   /* the most that a row can see */
    int64_t blocks; /* of rows, over all heads; a task is one of these and one split */
    /* Scratch: masks, partial results, then for each thread a workspace and a result. */
    size_t partial_at, threads_at, result_at, thread_bytes;
};

static size_t align(size_t bytes) {
    return (bytes + 255) / 256 * 256;
}

static int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

static struct division divide(const struct attn_problem *problem, const struct lookup *lookup,
                              enum method method) {
    struct division d = {.isa = choose_isa(), .splits = 1};
    d.group = problem->q_heads / problem->kv_heads;
    d.rows = d.group * problem->q_len;
    d.lists = lookup->sees != SEES_MASK && problem->traits & ATTN_KEEP;
    d.alike = !d.lists ? d.rows : problem->traits & ATTN_KEEP_GROUP ? d.group : 1;
    d.keys = d.lists ? problem->kept_max : problem->kv_len;
    if (problem->traits & ATTN_WINDOW) {
        const int64_t wide = problem->window_left + problem->window_right + problem->q_len;
        d.keys = wide < d.keys ? wide : d.keys;
    }
    size_t workspace;
    if (method == NAIVE) {
        d.method = d.isa->naive;
        d.row_block = 1;
        workspace = sizeof(float) * (size_t)d.keys;
    } else if (lookup->sees == SEES_MASK || d.alike <= FLAT_ROWS ||
               (d.lists && problem->traits & ATTN_ALIBI)) { /* tall takes positions for tokens */
        d.method = d.isa->flat;
        d.row_block = d.alike < FLAT_ROWS && d.lists ? d.alike : FLAT_ROWS;
        workspace = d.isa->flat_workspace(problem->head_dim, problem->value_dim);
    } else {
        d.method = d.isa->tall;
        d.row_block = d.isa->tall_rows;
        workspace = d.isa->tall_workspace(problem->head_dim, problem->value_dim);
    }
    d.row_blocks = d.rows / d.alike * ceil_div(d.alike, d.row_block);
    d.blocks = problem->batch * problem->kv_heads * d.row_blocks;
    if (method == FLASH && d.blocks > 0 && d.blocks < TASKS_WANTED) {
        const int64_t worth = d.keys / KEYS_WORTH, wanted = ceil_div(TASKS_WANTED, d.blocks);
        d.splits = worth < 1 ? 1 : worth < wanted ? worth : wanted;
    }
    const size_t row_bytes = sizeof(float) * (size_t)(problem->value_dim + 2);
    const size_t rows = (size_t)(problem->batch * problem->kv_heads * d.rows);
    if (lookup->sees == SEES_MASK) d.partial_at = align(rows * (size_t)problem->kv_len);
    d.threads_at = d.partial_at;
    if (d.splits > 1)
        d.threads_at += align((size_t)(d.blocks * d.splits * d.row_block) * row_bytes);
    d.result_at = align(workspace);
    d.thread_bytes = d.result_at + align((size_t)d.row_block * row_bytes);
    return d;
}

size_t attention_scratch_bytes(const struct attn_problem *problem, const struct lookup *lookup,
                               enum method method) {
    const struct division d = divide(problem, lookup, method);
    return d.threads_at + d.thread_bytes * (size_t)omp_get_num_procs();
}

/* Gives the sink its part of what the keys have, out[0 .. count) divided by their sum; returns lse.
 */
static float add_sink(float *out, int64_t count, double max, float sum, float sink) {
    if (sum == 0) return sink;
    const double largest = max > sink ? max : sink, keys = sum * exp(max - largest);
    const double all = keys + exp(sink - largest);
    const float part = (float)(keys / all);
    for (int64_t d = 0; d < count; d++) out[d] *= part;
    return (float)(largest + log(all));
}

/* Writes row r of the group; `out` NULL for one beyond the sequence. */
static void write_row(const struct task *task, const struct isa *isa, int64_t r, float max,
                      float sum, float *out) {
    const int64_t h = task->g * task->group + r % task->group, i = r / task->group;
    const struct attn_tensor *sinks = &task->call->tensors[ATTN_SINKS];
    const int64_t value_dim = task->problem->value_dim;
    const struct attn_tensor *lse = &task->call->tensors[ATTN_LSE];
    const struct attn_tensor *scale = &task->call->tensors[ATTN_OUT_SCALE];
    const int32_t dtype = task->call->tensors[ATTN_OUT].dtype;
    void *row = lookup_row(task->call, ATTN_OUT, task->b, h, i);
    float log_sum = 0; /* of rows beyond the sequence */
    if (out) log_sum = sum == 0 ? -INFINITY : (float)((double)task->softmax_scale * max + log(sum));
    if (out && sinks->data)
        log_sum = add_sink(out, value_dim, (double)task->softmax_scale * max, sum,
                           ((const float *)sinks->data)[h * sinks->stride[0]]);
    for (int64_t d = 0; out && scale->data && d < value_dim; d++)
        out[d] /= *(const float *)scale->data;
    if (out && sum != 0)
        isa->narrow(row, out, value_dim, dtype);
    else
        memset(row, 0, (size_t)value_dim * attn_dtype_bytes(dtype));
    if (lse->data) *(float *)lookup_row(task->call, ATTN_LSE, task->b, h, i) = log_sum;
}

/* One call, as its threads share it. */
struct run {
    const struct attn_problem *problem;
    const struct attn_call *call;
    const struct lookup *lookup;
    struct division division;
    char *scratch;
};

/* Where the list of query i of head h is, of those that heads may share and queries have each. */
static int64_t list_at(const struct attn_problem *problem, const struct attn_tensor *tensor,
                       int64_t b, int64_t h, int64_t i) {
    const int64_t group = problem->q_heads / problem->kv_heads;
    const int64_t head = problem->traits & ATTN_KEEP_GROUP ? h / group : h;
    const int64_t query = problem->q_len > 1 ? i * tensor->stride[2] : 0;
    return b * tensor->stride[0] + head * tensor->stride[1] + query;
}

/* Its tokens; returns how many. */
static int64_t find_list(const struct run *run, int64_t b, int64_t h, int64_t i,
                         const int32_t **tokens) {
    const struct attn_tensor *list = &run->call->tensors[ATTN_SPARSE_IND];
    const struct attn_tensor *nnz = &run->call->tensors[ATTN_SPARSE_NNZ];
    *tokens = (const int32_t *)list->data + list_at(run->problem, list, b, h, i);
    return ((const int32_t *)nnz->data)[list_at(run->problem, nnz, b, h, i)];
}

/* The row behind the last of a block that begins with `row`, valid or not. */
static int64_t block_end(const struct division *d, int64_t row) {
    const int64_t end = row - row % d->alike + d->alike;
    return row + d->row_block < end ? row + d->row_block : end;
}

/* Block n: its rows that are in the sequence, and the keys that any of them sees. Blocks of a head
 * follow one another, those with most keys first. */
static struct task task_of(const struct run *run, int64_t n) {
    const struct attn_problem *problem = run->problem;
    const struct division *d = &run->division;
    const struct attn_tensor *tensors = run->call->tensors;
    const int64_t block = d->row_blocks - 1 - n % d->row_blocks;
    const int64_t kv_heads = problem->kv_heads, head = n / d->row_blocks;
    struct task task = {.problem = problem, .call = run->call, .place = run->lookup->place};
    task.stored = lookup_dtype(run->call);
    task.scaled = tensors[ATTN_K_SCALE].data != NULL;
    task.b = head / kv_heads;
    task.g = head % kv_heads;
    task.group = d->group;
    const int64_t apart = ceil_div(d->alike, d->row_block);
    task.row = block / apart * d->alike + block % apart * d->row_block;
    task.rows = block_end(d, task.row) - task.row;

    const int64_t queries = lookup_queries(run->call, task.b);
    const int64_t valid = queries * d->group - task.row;
    task.rows = valid < 0 ? 0 : valid < task.rows ? valid : task.rows;
    task.key_end = lookup_tokens(run->call, task.b);
    task.diagonal = task.key_end - queries;
    task.before = task.behind = INT32_MAX;
    if (problem->traits & ATTN_WINDOW) {
        task.before = problem->window_left;
        task.behind = problem->window_right;
    }
    if (problem->traits & ATTN_CAUSAL) task.behind = 0;
    task.magicpig = problem->traits & ATTN_MAGICPIG;
    task.softcap = (float)problem->softcap;
    task.product_scale = (float)problem->scale;
    if (tensors[ATTN_SLOPES].data)
        task.slopes = (const float *)tensors[ATTN_SLOPES].data + task.g * d->group;
    const struct attn_tensor *bias = &tensors[ATTN_BIAS];
    if (bias->data) {
        task.bias_head = bias->shape[1] > 1 ? bias->stride[1] : 0;
        task.bias_query = bias->stride[2];
        task.bias = (const float *)bias->data +
                    (bias->shape[0] > 1 ? task.b * bias->stride[0] : 0) +
                    task.g * d->group * task.bias_head;
    }
    /* MagicPIG's are made where they are corrected. */
    task.logits = !task.magicpig && (task.softcap > 0 || task.slopes != NULL || task.bias != NULL);
    const bool scaled = task.magicpig || task.logits;
    task.softmax_scale = scaled ? 1.0f : fabsf((float)problem->scale);
    task.query_sign = !scaled && problem->scale < 0 ? -1.0f : 1.0f;

    if (d->lists) { /* which are of what rows see, and whose places are no tokens */
        task.before = task.behind = INT32_MAX;
        task.key_end = find_list(run, task.b, task.g * d->group + task.row % d->group,
                                 task.row / d->group, &task.list);
    } else if (run->lookup->sees == SEES_MASK) {
        task.mask_stride = problem->kv_len;
        task.mask = (const uint8_t *)run->scratch +
                    (task.b * problem->q_heads + task.g * d->group) * task.mask_stride;
    }
    if (task.rows > 0 && task.list == NULL) {
        task.key = seen_from(&task, task.row, 0, task.key_end);
        task.key_end = seen_end(&task, task.row + task.rows - 1, 0, task.key_end);
    }
    return task;
}

/* Where split s of block n leaves its result for combine. */
static float *partial_at(const struct run *run, int64_t n, int64_t s) {
    const struct division *d = &run->division;
    const int64_t width = run->problem->value_dim + 2;
    return (float *)(run->scratch + d->partial_at) + (n * d->splits + s) * d->row_block * width;
}

/* A result: of every row max and sum, then out. */
static void place_result(const struct run *run, struct task *task, float *at) {
    task->max = at;
    task->sum = at + run->division.row_block;
    task->out = at + 2 * run->division.row_block;
}

static void write_block(const struct run *run, const struct task *task) {
    const int64_t value_dim = run->problem->value_dim;
    for (int64_t r = 0; r < task->rows; r++)
        write_row(task, run->division.isa, task->row + r, task->max[r], task->sum[r],
                  task->out + r * value_dim);
    if (run->problem->traits & ATTN_THD) return; /* what is behind is another sequence's */
    const int64_t end = block_end(&run->division, task->row);
    for (int64_t r = task->row + task->rows; r < end; r++)
        write_row(task, run->division.isa, r, 0, 0, NULL);
}

static void do_split(const struct run *run, int64_t n, int64_t s, char *room) {
    struct task task = task_of(run, n);
    const int64_t splits = run->division.splits;
    place_result(run, &task,
                 splits > 1 ? partial_at(run, n, s) : (float *)(room + run->division.result_at));
    task.workspace = room;
    if (splits > 1) {
        task.partial = true;
        const int64_t keys = task.key_end > task.key ? task.key_end - task.key : 0;
        const int64_t stretch = ceil_div(ceil_div(keys, splits), KEY_BLOCK) * KEY_BLOCK;
        const int64_t end = task.key + (s + 1) * stretch;
        task.key += s * stretch;
        task.key_end = end < task.key_end ? end : task.key_end;
    }
    if (task.rows > 0) run->division.method(&task);
    if (splits == 1) write_block(run, &task);
}

/* Adds up the splits of block n, in double and in order, into the first of them. */
static void combine(const struct run *run, int64_t n) {
    const int64_t value_dim = run->problem->value_dim;
    struct task whole = task_of(run, n);
    place_result(run, &whole, partial_at(run, n, 0));
    for (int64_t r = 0; r < whole.rows; r++) {
        struct task part = whole;
        float max = -INFINITY;
        for (int64_t s = 0; s < run->division.splits; s++) {
            place_result(run, &part, partial_at(run, n, s));
            max = part.max[r] > max ? part.max[r] : max;
        }
        double sum = 0, out[HEAD_DIM_MAX] = {0};
        for (int64_t s = 0; s < run->division.splits; s++) {
            place_result(run, &part, partial_at(run, n, s));
            if (part.sum[r] == 0) continue;
            const double weight = exp((double)whole.softmax_scale * ((double)part.max[r] - max));
            sum += weight * part.sum[r];
            for (int64_t d = 0; d < value_dim; d++) out[d] += weight * part.out[r * value_dim + d];
        }
        whole.max[r] = max;
        whole.sum[r] = (float)sum;
        for (int64_t d = 0; d < value_dim; d++)
            whole.out[r * value_dim + d] = (float)(out[d] / sum);
    }
    write_block(run, &whole);
}

/* The lists as a mask [B][Hq][kv_len]: 1 where a token is on it. */
static void make_mask(const struct run *run, int64_t row) {
    const int64_t b = row / run->problem->q_heads, h = row % run->problem->q_heads;
    const int32_t *tokens;
    const int64_t count = find_list(run, b, h, 0, &tokens);
    char *mask = run->scratch + row * run->problem->kv_len;
    memset(mask, 0, (size_t)run->problem->kv_len);
    for (int64_t n = 0; n < count; n++) mask[tokens[n]] = 1;
}

/* As many as were given, as the scratch has room for, and as the work is worth. */
static int thread_count(const struct run *run) {
    const struct attn_problem *problem = run->problem;
    const struct division *d = &run->division;
    const size_t room = (run->call->scratch_bytes - d->threads_at) / d->thread_bytes;
    const int64_t rows = problem->batch * problem->kv_heads * d->rows;
    const int64_t worth = 1 + rows * d->keys * problem->head_dim / WORK_WORTH;
    const int most = (size_t)run->call->threads < room ? run->call->threads : (int)room;
    return worth < most ? (int)worth : most;
}

const char *attention_launch(const struct attn_problem *problem, const struct attn_call *call,
                             const struct lookup *lookup, enum method method) {
    const struct run run = {
        problem, call, lookup, divide(problem, lookup, method), call->scratch,
    };
    const struct division *d = &run.division;
    if (d->blocks == 0) return NULL;
    if (call->scratch_bytes < d->threads_at + d->thread_bytes) return "scratch is too small";
    for (int64_t b = 0; b < problem->batch; b++)
        if (lookup_tokens(call, b) > problem->kv_len) return "a sequence is longer than kv_len";
    const int64_t masks = lookup->sees == SEES_MASK ? problem->batch * problem->q_heads : 0;
#pragma omp parallel num_threads(thread_count(&run))
    {
        char *mine = run.scratch + d->threads_at + (size_t)omp_get_thread_num() * d->thread_bytes;
        if (masks > 0) {
#pragma omp for
            for (int64_t n = 0; n < masks; n++) make_mask(&run, n);
        }
#pragma omp for schedule(dynamic) nowait
        for (int64_t n = 0; n < d->blocks * d->splits; n++)
            do_split(&run, n / d->splits, n % d->splits, mine);
        if (d->splits > 1) {
#pragma omp barrier
#pragma omp for schedule(dynamic) nowait
            for (int64_t n = 0; n < d->blocks; n++) combine(&run, n);
        }
    }
    return NULL;
}
