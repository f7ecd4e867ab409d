/* Counting. A row says all that is needed: its variant, its device, how it ended, and whether there
 * was an answer to judge it by. */
#include "coverage.h"
#include "../report/row_set.h"
#include "../worker/protocol.h"

#include <stdlib.h>
#include <string.h>

const enum attn_device coverage_devices[COVERAGE_DEVICES] = {ATTN_CPU, ATTN_CUDA, ATTN_ASCEND_TWIN,
                                                             ATTN_ASCEND};

static struct coverage_variant *variant_of(struct coverage *coverage, const struct row *row) {
    for (int v = 0; v < ATTN_VARIANT_COUNT; v++) {
        if (!strcmp(row->variant, variant_name((enum attn_variant)v)))
            return &coverage->variants[v];
    }
    return NULL;
}

/* NULL of a row that is computed, not run. */
static struct coverage_cell *cell_of(struct coverage_variant *variant, const struct row *row) {
    for (int d = 0; d < COVERAGE_DEVICES; d++) {
        if (!strcmp(row->device, device_name(coverage_devices[d]))) return &variant->cells[d];
    }
    return NULL;
}

static void add_row(struct coverage_cell *cell, const struct row *row) {
    const enum status status = status_of(row);
    if (status == STATUS_REFUSED) {
        cell->refused++;
        return;
    }
    cell->taken++;
    if (status == STATUS_COUNT || status_exit(status) != 0) return;
    cell->right++;
    if (row->grade[0] >= 'A' && row->grade[0] > cell->grade) cell->grade = row->grade[0];
}

/* Counts a problem with the first of its rows that was judged. Those of a line are neighbours. */
static bool is_first_judged(const struct row_set *set, int64_t at) {
    const struct row_place *place = &set->places[at];
    if (place->row->deviation.elements == 0) return false;
    for (int64_t n = at - 1; n >= 0; n--) {
        const struct row_place *other = &set->places[n];
        if (strcmp(other->row->line, place->row->line) != 0) break;
        if (other->row->deviation.elements > 0 && !strcmp(other->digest, place->digest))
            return false;
    }
    return true;
}

static void count_rows(struct coverage *coverage, const struct row_set *set) {
    for (int v = 0; v < ATTN_VARIANT_COUNT; v++) {
        for (int d = 0; d < COVERAGE_DEVICES; d++) coverage->variants[v].cells[d].grade = '-';
    }
    for (int64_t n = 0; n < set->count; n++) {
        const struct row *row = set->places[n].row;
        struct coverage_variant *variant = variant_of(coverage, row);
        if (variant == NULL) continue;
        struct coverage_cell *cell = cell_of(variant, row);
        if (cell != NULL) add_row(cell, row);
        variant->answered += is_first_judged(set, n);
    }
}

bool coverage_make(struct coverage *coverage, const struct run *runs, int64_t count,
                   struct fault *fault) {
    struct run all = {.count = 0};
    struct row_set set = {0};
    *coverage = (struct coverage){0};
    for (int64_t n = 0; n < count; n++) all.count += runs[n].count;
    all.rows = malloc((size_t)(all.count + 1) * sizeof *all.rows);
    if (all.rows == NULL) return fault_set(fault, FAULT_OURS, "out of memory for the runs' rows");
    for (int64_t n = 0, at = 0; n < count; at += runs[n++].count) {
        if (runs[n].count > 0)
            memcpy(all.rows + at, runs[n].rows, (size_t)runs[n].count * sizeof *all.rows);
    }
    const bool well = row_set_make(&set, &all, fault);
    if (well) count_rows(coverage, &set);
    row_set_free(&set);
    run_free(&all);
    return well;
}

static bool was_run(const struct coverage_cell *cell) {
    return cell->taken + cell->refused > 0;
}

json_t *coverage_to_json(const struct coverage *coverage) {
    json_t *listing = json_array();
    for (int v = 0; v < ATTN_VARIANT_COUNT; v++) {
        const struct coverage_variant *variant = &coverage->variants[v];
        json_t *json = json_pack("{s:s, s:I}", "variant", variant_name((enum attn_variant)v),
                                 "answered", (json_int_t)variant->answered);
        for (int d = 0; d < COVERAGE_DEVICES; d++) {
            const struct coverage_cell *cell = &variant->cells[d];
            const char grade[2] = {cell->grade, '\0'};
            json_object_set_new(json, device_name(coverage_devices[d]),
                                was_run(cell) ? json_pack("{s:I, s:I, s:I, s:s}", "right",
                                                          (json_int_t)cell->right, "taken",
                                                          (json_int_t)cell->taken, "refused",
                                                          (json_int_t)cell->refused, "grade", grade)
                                              : json_null());
        }
        json_array_append_new(listing, json);
    }
    return listing;
}

static json_t *cell_to_text(const struct coverage_cell *cell) {
    if (!was_run(cell)) return json_string("never run");
    if (cell->taken == 0) return json_string("refused");
    if (cell->right == 0) return json_sprintf("0/%lld", (long long)cell->taken);
    return json_sprintf("%lld/%lld %c", (long long)cell->right, (long long)cell->taken,
                        cell->grade);
}

json_t *coverage_to_listing(const struct coverage *coverage) {
    json_t *listing = json_array();
    for (int v = 0; v < ATTN_VARIANT_COUNT; v++) {
        const struct coverage_variant *variant = &coverage->variants[v];
        const long long answered = variant->answered;
        json_t *json = json_object();
        json_object_set_new(json, "variant", json_string(variant_name((enum attn_variant)v)));
        json_object_set_new(json, "oracle",
                            answered > 0
                                ? json_sprintf("%lld problem%s", answered, answered == 1 ? "" : "s")
                                : json_string("never run"));
        for (int d = 0; d < COVERAGE_DEVICES; d++)
            json_object_set_new(json, device_name(coverage_devices[d]),
                                cell_to_text(&variant->cells[d]));
        json_array_append_new(listing, json);
    }
    return listing;
}
