/* The oracle: attention in f64. Query rows that read one kv head of one sequence are stacked,
 * whatever their query head, and cut into blocks (block.c); threads take blocks until none is left.
 *
 * A unit of work is a block, or a range of its keys where there are too few blocks to go round;
 * whoever ends a block's last range merges the ranges in their order. Blocks and ranges depend on
 * the problem alone and BLAS runs on one thread, so neither the number of threads nor who did what
 * changes a bit. */
#define _GNU_SOURCE
#include "blas.h"
#include "block.h"
#include "clock.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>

enum {
    UNITS_WANTED = 128,     /* enough to keep many cores busy to the end */
    RANGE_KEYS_MIN = 2048,  /* below, merging costs more than it spreads */
    RANGE_BYTES = 32 << 20, /* all ranges' sums together */
};
static const double mass_flops_max = 4e10; /* beyond, the dense pass for kept_mass is not cheap */

struct unit {
    struct block *block;
    int range;
};

struct work {
    struct job job;
    int64_t listed; /* rows of a query that share a list, and then blocks; 0: there are no lists */
    int64_t block_rows, space_rows; /* the most rows of a block; of anything done in a space */
    int64_t block_count, unit_count;
    struct block *blocks;
    struct unit *units;
    double *range_memory;
    int64_t range_doubles; /* in range_memory */
    double *mass; /* [B, Hkv, rows, heads of a group] share of the softmax on listed tokens; NULL:
                     not asked */
    atomic_llong units_left, masses_left;
};

struct worker {
    struct work *work;
    struct space space;
    pthread_t thread;
};

static void do_unit(struct job *job, struct space *space, const struct unit *unit) {
    struct block *block = unit->block;
    block_sum(job, space, block, unit->range);
    if (atomic_fetch_sub(&block->ranges_left, 1) == 1) block_finish(job, space, block);
}

/* One query's rows of one (sequence, kv head), of what it would see without lists. */
static void do_mass(const struct work *work, struct space *space, int64_t at) {
    const struct job *job = &work->job;
    const int64_t kv_heads = job->view->problem->kv_heads, rows = job->answer->row_count;
    const struct block block = {.b = at / rows / kv_heads,
                                .g = at / rows % kv_heads,
                                .first = at % rows * job->group,
                                .rows = job->group};
    const struct rule_keys all = rules_span(job->view, block.b, job->answer->rows[at % rows]);
    if (all.count > 0) block_mass(job, space, &block, all, work->mass + at * job->group);
}

static void *run_worker(void *argument) {
    struct worker *worker = argument;
    struct work *work = worker->work;
    for (long long n; (n = atomic_fetch_sub(&work->units_left, 1)) > 0;)
        do_unit(&work->job, &worker->space, &work->units[n - 1]);
    for (long long n; (n = atomic_fetch_sub(&work->masses_left, 1)) > 0;)
        do_mass(work, &worker->space, n - 1);
    return NULL;
}

static int64_t quotient_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

static void add_blocks(struct work *work, int64_t b, int64_t g) {
    const struct job *job = &work->job;
    const int64_t q_len = rules_q_len(job->view, b);
    int64_t rows = 0;
    while (rows < job->answer->row_count && job->answer->rows[rows] < q_len) rows++;
    rows *= job->group;
    for (int64_t first = 0, next; first < rows; first = next) {
        struct block *block = &work->blocks[work->block_count++];
        const int64_t left = work->listed ? work->listed - first % work->listed : rows - first;
        *block = (struct block){.b = b, .g = g, .first = first};
        block->rows = left < work->block_rows ? left : work->block_rows;
        next = first + block->rows;
        int64_t key = INT64_MAX, end = 0;
        for (int64_t r = 0; r < block->rows; r++) {
            const struct rule_keys keys = block_keys(job, block, r);
            if (keys.count == 0) continue;
            if (keys.first < key) key = keys.first;
            if (keys.first + keys.count > end) end = keys.first + keys.count;
        }
        if (end > 0) block->key = key, block->keys = end - key;
    }
}

/* Into how many ranges, each of whole steps of keys. */
static void cut_block(const struct work *work, struct block *block) {
    const int64_t bytes =
        block_sums_doubles(work->block_rows, work->job.Dv) * (int64_t)sizeof(double);
    const int64_t bounds[] = {quotient_up(UNITS_WANTED, work->block_count),
                              quotient_up(block->keys, RANGE_KEYS_MIN),
                              RANGE_BYTES / (bytes * work->block_count)};
    int64_t ranges = bounds[0];
    for (int n = 1; n < 3; n++) ranges = bounds[n] < ranges ? bounds[n] : ranges;
    if (ranges < 1) ranges = 1;
    block->range_keys = quotient_up(quotient_up(block->keys, ranges), BLOCK_KEYS) * BLOCK_KEYS;
    block->ranges = block->keys ? (int)quotient_up(block->keys, block->range_keys) : 1;
    atomic_init(&block->ranges_left, block->ranges);
}

static void list_units(struct work *work) {
    double *range_sums = work->range_memory;
    struct unit *unit = work->units;
    for (int64_t n = 0; n < work->block_count; n++) {
        struct block *block = &work->blocks[n];
        for (int range = 0; range < block->ranges; range++)
            *unit++ = (struct unit){.block = block, .range = range};
        if (block->ranges == 1) continue;
        block->range_sums = range_sums;
        range_sums += block->ranges * block_sums_doubles(block->rows, work->job.Dv);
    }
}

/* False when memory ran out. */
static bool plan(struct work *work, bool with_mass) {
    const struct attn_problem *problem = work->job.view->problem;
    const int64_t heads = problem->batch * problem->kv_heads;
    const int64_t queries = work->job.answer->row_count, head_rows = queries * work->job.group;
    const int64_t alike = work->listed ? work->listed : head_rows;
    const int64_t blocks_max = heads * (head_rows / alike) * quotient_up(alike, work->block_rows);
    work->blocks = calloc((size_t)blocks_max, sizeof *work->blocks);
    if (!work->blocks) return false;
    for (int64_t head = 0; head < heads; head++)
        add_blocks(work, head / problem->kv_heads, head % problem->kv_heads);

    for (int64_t n = 0; n < work->block_count; n++) {
        struct block *block = &work->blocks[n];
        cut_block(work, block);
        work->unit_count += block->ranges;
        if (block->ranges > 1)
            work->range_doubles += block->ranges * block_sums_doubles(block->rows, work->job.Dv);
    }
    work->units = calloc((size_t)work->unit_count + 1, sizeof *work->units);
    work->range_memory = aligned_alloc(64, (size_t)(work->range_doubles + 8) * sizeof(double));
    if (with_mass) work->mass = calloc((size_t)(heads * head_rows), sizeof *work->mass);
    if (!work->units || !work->range_memory || (with_mass && !work->mass)) return false;
    list_units(work);
    atomic_init(&work->units_left, work->unit_count);
    atomic_init(&work->masses_left, with_mass ? heads * queries : 0);
    return true;
}

/* False when memory ran out. */
static bool run(struct work *work, int threads, struct oracle_cost *cost) {
    const int64_t doubles =
        space_lay(&(struct space){0}, NULL, work->space_rows, work->job.D, work->job.Dv);
    struct worker *workers = calloc((size_t)threads, sizeof *workers);
    bool ready = workers != NULL;
    for (int n = 0; ready && n < threads; n++) {
        double *memory = aligned_alloc(64, (size_t)doubles * sizeof *memory);
        workers[n].work = work;
        space_lay(&workers[n].space, memory, work->space_rows, work->job.D, work->job.Dv);
        ready = memory != NULL;
    }
    int started = 1; /* this thread is the first worker; fewer than asked for do as well */
    while (ready && started < threads &&
           pthread_create(&workers[started].thread, NULL, run_worker, &workers[started]) == 0)
        started++;
    if (ready) run_worker(&workers[0]);
    for (int n = 1; n < started; n++) pthread_join(workers[n].thread, NULL);

    cost->memory_bytes = (doubles + work->range_doubles / threads) * (int64_t)sizeof(double);
    for (int n = 0; workers && n < threads; n++) {
        cost->product_flops += workers[n].space.flops;
        free(workers[n].space.memory);
    }
    free(workers);
    return ready;
}

/* Tokens on lists over those that could be, both per row of the answer, and the mean of `mass`. */
static void summarise_lists(const struct work *work) {
    const struct rule_view *view = work->job.view;
    const struct answer *answer = work->job.answer;
    const int64_t q_heads = view->problem->q_heads, group = work->job.group;
    double kept = 0, valid = 0, mass = 0, rows = 0;
    for (int64_t row = 0; row < view->problem->batch * q_heads * answer->row_count; row++) {
        const int64_t b = row / answer->row_count / q_heads, h = row / answer->row_count % q_heads;
        const int64_t n = row % answer->row_count, i = answer->rows[n];
        const int64_t tokens = rules_span(view, b, i).count;
        const int64_t at = ((b * (q_heads / group) + h / group) * answer->row_count + n) * group;
        if (tokens == 0) continue;
        kept += (double)rules_keys(view, b, h, i).count;
        valid += (double)tokens;
        mass += work->mass ? work->mass[at + h % group] : NAN;
        rows++;
    }
    if (rows == 0) return;
    work->job.answer->kept_ratio = kept / valid;
    work->job.answer->kept_mass = mass / rows;
}

static int cores(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

/* Whether some row has a list; then all that see a token have, for one rule gives them. */
static bool has_lists(const struct rule_view *view) {
    for (int64_t b = 0; b < view->problem->batch; b++)
        if (rules_keys(view, b, 0, 0).list) return true;
    return false;
}

static double dense_flops(const struct rule_view *view) {
    double tokens = 0;
    for (int64_t b = 0; b < view->problem->batch; b++) tokens += (double)rules_kv_len(view, b);
    return 2 * tokens * (double)(view->problem->q_heads * view->problem->head_dim);
}

static void describe_machine(struct answer *answer) {
    snprintf(answer->oracle, sizeof answer->oracle, ORACLE_VERSION);
    snprintf(answer->blas, sizeof answer->blas, "%s", oracle_blas());
    struct utsname name;
    if (uname(&name) == 0) snprintf(answer->cpu, sizeof answer->cpu, "%s", name.machine);
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[256];
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "model name : %127[^\n]", answer->cpu) == 1) break;
    if (file) fclose(file);
}

bool oracle_answer(struct answer *answer, const struct rule_view *view, int64_t rows, int threads,
                   struct oracle_cost *cost, struct fault *fault) {
    const struct attn_problem *problem = view->problem;
    const double start = clock_s();
    struct oracle_cost unasked;
    if (!cost) cost = &unasked;
    *cost = (struct oracle_cost){0};
    if (!answer_alloc(answer, problem, rows, fault)) return false;
    describe_machine(answer);

    struct work work = {
        .job = {.view = view,
                .answer = answer,
                .D = problem->head_dim,
                .Dv = problem->value_dim,
                .group = problem->q_heads / problem->kv_heads,
                .ruled = rules_change_logits(problem),
                .norms = rules_need_norms(problem)},
        .listed = has_lists(view) ? rule_lists(problem).group : 0,
    };
    const int64_t head_rows = answer->row_count * work.job.group;
    const int64_t alike = work.listed ? work.listed : head_rows;
    work.block_rows = alike < BLOCK_ROWS ? alike : BLOCK_ROWS;
    work.space_rows = work.listed ? work.job.group : work.block_rows;
    blas_use_one_thread();
    const double dense = dense_flops(view) * (double)answer->row_count;
    const bool done = plan(&work, work.listed && dense <= mass_flops_max) &&
                      run(&work, threads > 0 ? threads : cores(), cost);
    if (done && work.listed) summarise_lists(&work);
    if (!atomic_load(&work.job.subnormal)) answer_drop_lost(answer);
    free(work.blocks);
    free(work.units);
    free(work.range_memory);
    free(work.mass);
    cost->seconds = clock_s() - start;
    if (done) return true;
    answer_free(answer);
    return fault_set(fault, FAULT_OURS, "out of memory for the working space of an answer");
}
