/* What the past run's rows took, under a hash of their names, and, to tell what others take, sums
 * over each kernel's and each device's rows beside what these were estimated at. Rows are sorted
 * once and then searched: a million take 48 MB. */
#include "costs.h"
#include "../record/record.h"
#include "../../fixtures/fixture.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct costs_row {
    uint64_t key; /* of kernel and line or file */
    int64_t rank; /* its place in the run */
    int64_t us;
    uint64_t kernel, device; /* keys of these */
    int64_t estimated_us;    /* 0: it says nothing of others */
};
struct costs_kind {
    uint64_t key;
    int64_t us, estimated_us;
};

static const int64_t us_max = INT64_C(1) << 40; /* 12 days; a million of them can be summed up */

static uint64_t add_text(uint64_t key, const char *text) {
    return XXH64(text, strlen(text), key + 1);
}

static uint64_t row_key(const char *kernel, const char *line, const char *file) {
    const bool named = file != NULL && *file != '\0';
    return add_text(add_text(named ? 3 : 2, kernel), named ? file : line);
}

static uint64_t kernel_key(const char *kernel) {
    return add_text(0, kernel);
}

static uint64_t device_key(const char *kernel) {
    return XXH64(kernel, strcspn(kernel, "/"), 1);
}

static int64_t times(int64_t a, int64_t b) {
    int64_t product;
    return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

/* At most so many (query, key) pairs of a head, over all sequences. */
static int64_t pairs_of(const struct problem *problem, int64_t queries) {
    const struct attn_problem *attn = &problem->attn;
    int64_t keys = attn->kv_len, pairs = 0;
    const int64_t window = attn->window_left + 1 + attn->window_right;
    if (attn->traits & ATTN_WINDOW && window < keys) keys = window;
    if (problem->keep_count > 0 && problem->keep_count < keys) keys = problem->keep_count;
    if (problem->keep_probability > 0)
        keys = (int64_t)(problem->keep_probability * (double)keys) + 1;
    for (int64_t b = 0; b < attn->batch; b++) {
        const int64_t len = b < problem->lens_count ? problem->lens[b] : keys;
        const int64_t q_len = b < problem->q_lens_count ? problem->q_lens[b] : queries;
        const int64_t more = times(q_len < queries ? q_len : queries, len < keys ? len : keys);
        pairs = pairs > INT64_MAX - more ? INT64_MAX : pairs + more;
    }
    if (problem->ragged_drawn) pairs /= 2;
    return attn->traits & ATTN_CAUSAL && queries > 1 ? pairs / 2 + 1 : pairs;
}

static int64_t flops_of(const struct problem *problem, int64_t queries) {
    const struct attn_problem *attn = &problem->attn;
    return times(times(2 * (attn->head_dim + attn->value_dim), attn->q_heads),
                 pairs_of(problem, queries));
}

/* By least squares over an H200's 1,279 rows (reports/baseline/h200.jsonl), of a CPU and the twin
 * by eye: a row is launched some 20 times for its answer alone, placed three times and judged on
 * the host. What matters is how rows compare; all else a past run knows better. */
struct rates {
    const char *device;
    int64_t fixed_us, flops_per_us, bytes_per_us, elements_per_us;
};
static const struct rates rates[] = {
    {"cuda/", 250000, 1400000, 300, 10},
    {"twin/", 100000, 8000, 300, 10},
    {"", 300000, 2500, 300, 10}, /* a CPU */
};

static int64_t bytes_of(const struct problem *problem) {
    return problem->data == DATA_FILE ? layout_bytes(&problem->attn) : fixture_bytes(problem);
}

static int64_t estimate(const char *kernel, const struct problem *problem) {
    const struct attn_problem *attn = &problem->attn;
    const struct rates *rate = rates;
    while (strncmp(kernel, rate->device, strlen(rate->device)) != 0) rate++;
    const int64_t elements =
        attn->batch * attn->q_heads * attn->value_dim *
        (problem->rows > 0 && problem->rows < attn->q_len ? problem->rows : attn->q_len);
    const int64_t bytes = bytes_of(problem);
    const int64_t us = rate->fixed_us + flops_of(problem, attn->q_len) / rate->flops_per_us +
                       bytes / rate->bytes_per_us + elements / rate->elements_per_us;
    return us < us_max ? us : us_max;
}

/* Bytes at 500 MB/s, drawn and written, or read at 1 GB/s; answers at 40 GFLOP/s: a host of some
 * ten cores. Two cores of an EPYC that ten processes shared drew 0.7 GB/s and answered 5 GFLOP/s.
 */
int64_t costs_problem_us(const struct problem *problem) {
    const int64_t q_len = problem->attn.q_len;
    const int64_t rows = problem->rows > 0 && problem->rows < q_len ? problem->rows : q_len;
    const bool drawn = problem->data != DATA_FILE;
    const int64_t us = 5000 + bytes_of(problem) / (drawn ? 500 : 1000) +
                       (drawn ? flops_of(problem, rows) / 40000 : 0);
    return us < us_max ? us : us_max;
}

static int row_order(const void *left, const void *right) {
    const struct costs_row *a = left, *b = right;
    if (a->key != b->key) return a->key < b->key ? -1 : 1;
    return (a->rank > b->rank) - (a->rank < b->rank);
}

/* What a refused row took says nothing of others, and of a file sizes alone are not known. */
static bool add_row(struct costs *costs, const struct row *row, struct fault *fault) {
    struct problem problem;
    struct fault none;
    const double us = row->seconds * 1e6;
    if (!(us >= 0)) return true;
    if ((costs->row_count & (costs->row_count + 1)) == 0) { /* 0, 1, 3, 7, ...: room doubles */
        const size_t room = (size_t)(2 * costs->row_count + 1);
        struct costs_row *more = realloc(costs->rows, room * sizeof *more);
        if (more == NULL) return fault_set(fault, FAULT_OURS, "out of memory for costs");
        costs->rows = more;
    }
    const bool telling =
        !row_is_refused(row) && *row->file == '\0' && problem_parse(&problem, row->line, &none);
    costs->rows[costs->row_count] =
        (struct costs_row){.key = row_key(row->kernel, row->line, row->file),
                           .rank = costs->row_count,
                           .us = us < (double)us_max ? (int64_t)us : us_max,
                           .kernel = kernel_key(row->kernel),
                           .device = device_key(row->kernel),
                           .estimated_us = telling ? estimate(row->kernel, &problem) : 0};
    costs->row_count++;
    return true;
}

static struct costs_kind *find_kind(const struct costs *costs, uint64_t key) {
    for (int64_t n = 0; n < costs->kind_count; n++)
        if (costs->kinds[n].key == key) return &costs->kinds[n];
    return NULL;
}

static bool add_to_kind(struct costs *costs, uint64_t key, const struct costs_row *row,
                        struct fault *fault) {
    struct costs_kind *kind = find_kind(costs, key);
    if (kind == NULL) {
        struct costs_kind *more =
            realloc(costs->kinds, (size_t)(costs->kind_count + 1) * sizeof *more);
        if (more == NULL) return fault_set(fault, FAULT_OURS, "out of memory for costs");
        costs->kinds = more;
        kind = &more[costs->kind_count++];
        *kind = (struct costs_kind){.key = key};
    }
    kind->us += row->us;
    kind->estimated_us += row->estimated_us;
    return true;
}

/* Of a row that is there several times the last counts: it took what those before it did, too. */
static bool settle(struct costs *costs, struct fault *fault) {
    int64_t kept = 0;
    bool well = true;
    if (costs->row_count == 0) return true;
    qsort(costs->rows, (size_t)costs->row_count, sizeof *costs->rows, row_order);
    for (int64_t n = 0; well && n < costs->row_count; n++) {
        const struct costs_row row = costs->rows[n];
        if (n + 1 < costs->row_count && costs->rows[n + 1].key == row.key) continue;
        costs->rows[kept++] = row;
        if (row.estimated_us > 0)
            well = add_to_kind(costs, row.kernel, &row, fault) &&
                   add_to_kind(costs, row.device, &row, fault);
    }
    costs->row_count = kept;
    return well;
}

bool costs_read(struct costs *costs, const char *run, struct fault *fault) {
    struct run_reader reader;
    struct row row;
    *costs = (struct costs){0};
    if (!run_open(&reader, run, fault)) return false;
    bool well = true;
    while (well && run_next(&reader, &row)) well = add_row(costs, &row, fault);
    run_close(&reader);
    well = well && settle(costs, fault);
    if (!well) costs_free(costs);
    return well;
}

void costs_free(struct costs *costs) {
    free(costs->rows);
    free(costs->kinds);
    *costs = (struct costs){0};
}

static const struct costs_row *find_row(const struct costs *costs, uint64_t key) {
    int64_t begin = 0, end = costs->row_count;
    while (begin < end) {
        const int64_t middle = begin + (end - begin) / 2;
        if (costs->rows[middle].key < key)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin < costs->row_count && costs->rows[begin].key == key ? &costs->rows[begin] : NULL;
}

int64_t costs_row_us(const struct costs *costs, const char *kernel, const char *line,
                     const char *file, const struct problem *problem) {
    const struct costs_row *known = find_row(costs, row_key(kernel, line, file));
    if (known != NULL) return known->us;
    const struct costs_kind *kind = find_kind(costs, kernel_key(kernel));
    if (kind == NULL) kind = find_kind(costs, device_key(kernel));
    const int64_t us = estimate(kernel, problem);
    if (kind == NULL) return us;
    const int64_t per_mille = times(kind->us, 1000) / kind->estimated_us;
    const int64_t likely = times(us, per_mille < 1000000 ? per_mille : 1000000) / 1000;
    return likely < us_max ? likely : us_max;
}
