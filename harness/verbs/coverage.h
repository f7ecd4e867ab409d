/* What has been shown where: for each variant the problems whose answer the oracle gave, and on
 * each device how many rows of them were right. Made of what runs hold and of nothing else, so that
 * a device on which a variant never ran says so. */
#ifndef ATTEST_COVERAGE_H
#define ATTEST_COVERAGE_H

#include "../record/record.h"

/* As coverage_devices names them, in the order in which they are shown. */
enum { COVERAGE_DEVICES = 4 };
extern const enum attn_device coverage_devices[COVERAGE_DEVICES];

struct coverage {
    struct coverage_variant {
        int64_t answered; /* problems that rows were judged on */
        struct coverage_cell {
            int64_t right;   /* PASS, or UNSTABLE, which is right too */
            int64_t taken;   /* not refused */
            int64_t refused; /* 0 of all three: never run */
            char grade;      /* the worst of those that are right; '-' without any */
        } cells[COVERAGE_DEVICES];
    } variants[ATTN_VARIANT_COUNT];
};

/* Of all runs together: where several hold a row of one kernel, problem and fixture, the last one
 * counts. */
bool coverage_make(struct coverage *coverage, const struct run *runs, int64_t count,
                   struct fault *fault);
/* Everything: [{"variant": ..., "answered": n, "cpu": {"right", "taken", "refused", "grade"}, ...},
 * ...], null for a device that it never ran on. */
json_t *coverage_to_json(const struct coverage *coverage);
/* For people: [{"variant": ..., "oracle": "36 problems", "cpu": "72/72 A", "cuda": "never run",
 * ...}, ...]. */
json_t *coverage_to_listing(const struct coverage *coverage);

#endif
