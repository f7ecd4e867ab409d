/* Rows sorted by line, so that all that is asked of one problem is asked of neighbours. */
#include "row_set.h"
#include "../../oracle/nearest.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

bool kernel_matches(const char *kernel, const char *glob) {
    const char *slash = strrchr(kernel, '/');
    if (strchr(glob, '/') == NULL && slash != NULL) kernel = slash + 1;
    return fnmatch(glob, kernel, 0) == 0;
}

bool kernel_matches_any(const char *kernel, const char *globs) {
    char glob[128];
    for (size_t length; *globs != '\0'; globs += length + (globs[length] == ',')) {
        length = strcspn(globs, ",");
        snprintf(glob, sizeof glob, "%.*s", (int)length, globs);
        if (kernel_matches(kernel, glob)) return true;
    }
    return false;
}

bool kernels_have(const char **kernels, int64_t count, const char *name, const char *glob,
                  struct fault *fault) {
    for (int64_t n = 0; n < count; n++) {
        const char *slash = strrchr(kernels[n], '/');
        if (kernel_matches(kernels[n], glob)) return true;
        if (strchr(glob, '/') == NULL && slash != NULL) kernels[n] = slash + 1;
    }
    const char *meant = nearest(glob, kernels, (size_t)count);
    return fault_set(fault, FAULT_INPUT, "no kernel in '%s' matches '%s'%s%s%s", name, glob,
                     meant != NULL ? ", did you mean '" : "", meant != NULL ? meant : "",
                     meant != NULL ? "'?" : "");
}

bool run_has_kernel(const struct run *run, const char *name, const char *glob,
                    struct fault *fault) {
    const char **kernels = calloc((size_t)run->count + 1, sizeof *kernels);
    if (kernels == NULL) return fault_set(fault, FAULT_OURS, "out of memory for the kernels");
    for (int64_t n = 0; n < run->count; n++) kernels[n] = run->rows[n].kernel;
    const bool has = kernels_have(kernels, run->count, name, glob, fault);
    free(kernels);
    return has;
}

int variant_rank(const struct row *row) {
    int variant = 0;
    while (variant < ATTN_VARIANT_COUNT && strcmp(variant_name(variant), row->variant) != 0)
        variant++;
    return variant;
}

bool rows_share_inputs(const struct row *a, const struct row *b) {
    return a->fixture_digest[0] == 0 || b->fixture_digest[0] == 0 ||
           strcmp(a->fixture_digest, b->fixture_digest) == 0;
}

/* Later rows of one kernel and line come last: the run's rows are one array. */
static int key_order(const void *left, const void *right) {
    const struct row *a = ((const struct row_place *)left)->row;
    const struct row *b = ((const struct row_place *)right)->row;
    int order = strcmp(a->line, b->line);
    if (order == 0) order = strcmp(a->kernel, b->kernel);
    return order != 0 ? order : (a > b) - (a < b);
}

static int reading_order(const void *left, const void *right) {
    const struct row_place *a = left, *b = right;
    int order = variant_rank(a->row) - variant_rank(b->row);
    if (order == 0) order = (a->first > b->first) - (a->first < b->first);
    if (order == 0) order = strcmp(a->digest, b->digest);
    return order != 0 ? order : strcmp(a->row->kernel, b->row->kernel);
}

static bool is_replaced(const struct row_place *place, const struct row_place *end) {
    for (const struct row_place *later = place + 1; later < end; later++) {
        if (strcmp(later->row->kernel, place->row->kernel) != 0) break;
        if (rows_share_inputs(later->row, place->row)) return true;
    }
    return false;
}

/* What the rows of one line have in common. */
static void describe_line(struct row_place *places, int64_t count, const struct row *rows) {
    int64_t first = INT64_MAX;
    const char *digest = "";
    for (int64_t n = 0; n < count; n++) {
        if (places[n].row - rows < first) first = places[n].row - rows;
        if (digest[0] == 0) digest = places[n].row->fixture_digest;
    }
    for (int64_t n = 0; n < count; n++) {
        const char *own = places[n].row->fixture_digest;
        places[n].first = first;
        places[n].digest = own[0] != 0 ? own : digest;
    }
}

bool row_set_make(struct row_set *set, const struct run *run, struct fault *fault) {
    *set = (struct row_set){0};
    struct row_place *places = calloc((size_t)run->count + 1, sizeof *places);
    if (places == NULL) return fault_set(fault, FAULT_OURS, "out of memory for the rows");
    set->places = places;
    for (int64_t n = 0; n < run->count; n++) places[n].row = &run->rows[n];
    qsort(places, (size_t)run->count, sizeof *places, key_order);

    for (int64_t begin = 0, end; begin < run->count; begin = end) {
        for (end = begin + 1; end < run->count; end++)
            if (strcmp(places[begin].row->line, places[end].row->line) != 0) break;
        describe_line(&places[begin], end - begin, run->rows);
        for (int64_t n = begin; n < end; n++)
            if (!is_replaced(&places[n], &places[end])) places[set->count++] = places[n];
    }
    return true;
}

const struct row_place *row_set_find(const struct row_set *set, const struct row *row,
                                     int64_t *count) {
    int64_t low = 0, high = set->count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (strcmp(set->places[middle].row->line, row->line) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *count = 0;
    while (low + *count < set->count && strcmp(set->places[low + *count].row->line, row->line) == 0)
        ++*count;
    return *count > 0 ? &set->places[low] : NULL;
}

void row_set_arrange(struct row_set *set) {
    if (set->count > 0) qsort(set->places, (size_t)set->count, sizeof *set->places, reading_order);
}

void row_set_free(struct row_set *set) {
    free(set->places);
    *set = (struct row_set){0};
}
