/* Rows are sorted as numbers, and what is asked of one line is asked of neighbours. */
#define _GNU_SOURCE
#include "row_index.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static struct index_digest digest_of(const char *text) {
    struct index_digest digest = {0};
    if (*text == '\0') return digest;
    if (strlen(text) == 32 && strspn(text, "0123456789abcdef") == 32) {
        char high[17] = "";
        memcpy(high, text, 16);
        digest = (struct index_digest){strtoull(high, NULL, 16), strtoull(text + 16, NULL, 16)};
    } else {
        const XXH128_hash_t hash = XXH3_128bits(text, strlen(text));
        digest = (struct index_digest){hash.high64, hash.low64};
    }
    if (digest.high == 0 && digest.low == 0) digest.low = 1;
    return digest;
}

static int digest_order(struct index_digest a, struct index_digest b) {
    if (a.high != b.high) return a.high < b.high ? -1 : 1;
    return (a.low > b.low) - (a.low < b.low);
}

static bool digest_given(struct index_digest digest) {
    return digest.high != 0 || digest.low != 0;
}

/* As rows_share_inputs. */
static bool share_inputs(const struct indexed_row *a, const struct indexed_row *b) {
    return !digest_given(a->inputs) || !digest_given(b->inputs) ||
           digest_order(a->inputs, b->inputs) == 0;
}

/* The first half sorts neighbours, the second for people. */
static int key_order(const void *left, const void *right, void *context) {
    const struct indexed_row *rows = context;
    const int32_t a = *(const int32_t *)left, b = *(const int32_t *)right;
    int order = digest_order(rows[a].line, rows[b].line);
    if (order == 0 && rows[a].kernel != rows[b].kernel)
        order = strcmp(rows[a].kernel, rows[b].kernel);
    return order != 0 ? order : (a > b) - (a < b);
}

static int reading_order(const void *left, const void *right, void *context) {
    const struct indexed_row *rows = context;
    const struct indexed_row *a = &rows[*(const int32_t *)left];
    const struct indexed_row *b = &rows[*(const int32_t *)right];
    int order = a->variant - b->variant;
    if (order == 0) order = (a->first > b->first) - (a->first < b->first);
    if (order == 0) order = digest_order(a->inputs, b->inputs);
    return order != 0 ? order : strcmp(a->kernel, b->kernel);
}

static bool keep(struct row_index *index, const struct row *row, struct fault *fault) {
    if ((index->total & (index->total + 1)) == 0) { /* 0, 1, 3, 7, ...: room doubles */
        const size_t room = (size_t)(2 * index->total + 1);
        struct indexed_row *rows = realloc(index->rows, room * sizeof *rows);
        if (rows == NULL) return fault_set(fault, FAULT_OURS, "out of memory for a run's rows");
        index->rows = rows;
    }
    if (index->total == INT32_MAX)
        return fault_set(fault, FAULT_INPUT, "'%s' has more than %d rows", index->reader.path,
                         INT32_MAX);
    index->rows[index->total++] =
        (struct indexed_row){.at = index->reader.at,
                             .line = digest_of(row->line),
                             .inputs = digest_of(row->fixture_digest),
                             .kernel = text_kept(row->kernel),
                             .device = text_kept(row->device),
                             .status = text_kept(row->status),
                             .warm_us = row->warm.n > 0 ? row->warm.median_us : NAN,
                             .revision = (int32_t)row->revision,
                             .baseline = -1,
                             .bymask = -1,
                             .seconds = row->seconds > 0 ? (float)row->seconds : 0,
                             .variant = (uint8_t)variant_rank(row),
                             .failed = row_is_failure(row),
                             .sustained = row->regime[0] != '\0' && !row_is_burst(row),
                             .burst = row_is_burst(row)};
    return true;
}

/* The rows of one line, which are neighbours. */
struct group {
    struct indexed_row *rows; /* of the index */
    const int32_t *numbers;
    int64_t count;
};

static void find_replaced(const struct group *group) {
    for (int64_t n = 0; n < group->count; n++) {
        struct indexed_row *row = &group->rows[group->numbers[n]];
        for (int64_t m = n + 1; m < group->count && !row->replaced; m++) {
            const struct indexed_row *later = &group->rows[group->numbers[m]];
            if (later->kernel != row->kernel) break;
            row->replaced = share_inputs(later, row);
        }
    }
}

static int32_t find_baseline(const struct group *group, int32_t number, const char *globs) {
    const struct indexed_row *row = &group->rows[number];
    int32_t found = -1;
    for (int64_t n = 0; n < group->count; n++) {
        const struct indexed_row *other = &group->rows[group->numbers[n]];
        if (other->replaced || other->device != row->device || !share_inputs(other, row) ||
            !kernel_matches_any(other->kernel, globs))
            continue;
        if (found < 0 || other->revision > group->rows[found].revision) found = group->numbers[n];
    }
    return found != number ? found : -1;
}

static void describe_line(const struct group *group) {
    int32_t first = INT32_MAX;
    struct index_digest digest = {0};
    for (int64_t n = 0; n < group->count; n++) {
        if (group->numbers[n] < first) first = group->numbers[n];
        if (!digest_given(digest)) digest = group->rows[group->numbers[n]].inputs;
    }
    for (int64_t n = 0; n < group->count; n++) {
        struct indexed_row *row = &group->rows[group->numbers[n]];
        row->first = first;
        if (!digest_given(row->inputs)) row->inputs = digest;
    }
}

static void relate(const struct group *group, const char *baseline) {
    find_replaced(group);
    for (int64_t n = 0; n < group->count; n++) {
        struct indexed_row *row = &group->rows[group->numbers[n]];
        if (row->replaced || isnan(row->warm_us)) continue;
        row->baseline = find_baseline(group, group->numbers[n], baseline);
        row->bymask = find_baseline(group, group->numbers[n], "*_bymask_*");
    }
    describe_line(group);
}

static void arrange(struct row_index *index, const char *baseline) {
    struct indexed_row *rows = index->rows;
    const size_t total = (size_t)index->total;
    for (int64_t n = 0; n < index->total; n++) index->order[n] = (int32_t)n;
    if (total > 0) qsort_r(index->order, total, sizeof *index->order, key_order, rows);
    for (int64_t begin = 0, end; begin < index->total; begin = end) {
        const struct index_digest line = rows[index->order[begin]].line;
        for (end = begin + 1; end < index->total; end++)
            if (digest_order(rows[index->order[end]].line, line) != 0) break;
        relate(&(struct group){rows, index->order + begin, end - begin}, baseline);
    }
    for (int64_t n = 0; n < index->total; n++)
        if (!rows[index->order[n]].replaced) index->order[index->count++] = index->order[n];
    const size_t count = (size_t)index->count;
    if (count > 0) qsort_r(index->order, count, sizeof *index->order, reading_order, rows);
}

bool row_index_make(struct row_index *index, const char *path, const char *baseline,
                    struct fault *fault) {
    struct row row;
    *index = (struct row_index){0};
    if (!run_open(&index->reader, path, fault)) return false;
    bool well = true;
    while (well && run_next(&index->reader, &row)) well = keep(index, &row, fault);
    if (well) index->order = calloc((size_t)index->total + 1, sizeof *index->order);
    if (index->order != NULL) {
        arrange(index, baseline);
        return true;
    }
    if (well) fault_set(fault, FAULT_OURS, "out of memory for a run's rows");
    row_index_free(index);
    return false;
}

struct indexed_row *row_index_at(const struct row_index *index, int64_t place) {
    return &index->rows[index->order[place]];
}

bool row_index_read(struct row_index *index, int64_t place, struct row *row, struct fault *fault) {
    return run_row_at(&index->reader, row_index_at(index, place)->at, row, fault);
}

bool row_index_same_problem(const struct row_index *index, int64_t a, int64_t b) {
    const struct indexed_row *left = row_index_at(index, a), *right = row_index_at(index, b);
    return left->first == right->first && digest_order(left->inputs, right->inputs) == 0;
}

double row_index_speedup(const struct row_index *index, const struct indexed_row *row,
                         int32_t over) {
    if (over < 0) return NAN;
    const struct indexed_row *other = &index->rows[over];
    const bool another = (row->burst && other->sustained) || (row->sustained && other->burst);
    return another ? NAN : other->warm_us / row->warm_us;
}

bool row_index_has_kernel(const struct row_index *index, const char *name, const char *glob,
                          struct fault *fault) {
    const char **kernels = calloc((size_t)index->total + 1, sizeof *kernels);
    if (kernels == NULL) return fault_set(fault, FAULT_OURS, "out of memory for the kernels");
    for (int64_t n = 0; n < index->total; n++) kernels[n] = index->rows[n].kernel;
    const bool has = kernels_have(kernels, index->total, name, glob, fault);
    free(kernels);
    return has;
}

void row_index_free(struct row_index *index) {
    run_close(&index->reader);
    free(index->rows);
    free(index->order);
    *index = (struct row_index){0};
}
