/* bench_shards RUN SUITE... N...: what parts of the suites' rows would take on N devices like the
 * one of RUN, dealt by these costs and by hash, in a table. By hand: bench_shards
 * reports/baseline/h200.jsonl models scale 1 8 64. Efficiency is the whole on one device over N
 * times the longest part; what a host does for several devices at once, fixtures, is taken to be
 * theirs. */
#include "test_past.h"

#include <stdio.h>

static struct past past;
static int32_t part[PAST_ROWS_MAX];

static void deal_by_hash(int64_t parts) {
    for (int64_t n = 0; n < past.count; n++)
        part[n] = (int32_t)shards_hashed(past.kernels[n], past.lines[past.rows[n].problem], parts);
}

static void print(const char *how, int64_t parts, double whole) {
    const struct balance of = past_balance(&past, part, parts);
    printf("| %lld | %s | %.1f s | %.1f s | %.1f s | %lld | %.0f %% |\n", (long long)parts, how,
           (double)of.least * 1e-6, of.mean * 1e-6, (double)of.most * 1e-6, (long long)of.made,
           100 * whole / ((double)parts * (double)of.most));
}

int main(int argc, char **argv) {
    struct fault fault;
    int suites = 0;
    while (2 + suites < argc && strtoll(argv[2 + suites], NULL, 10) == 0) suites++;
    if (suites == 0) {
        fault_set(&fault, FAULT_INPUT, "RUN SUITE... N... are needed");
        return fault_tell(&fault);
    }
    if (!past_read(&past, argv[1], (const char *const *)argv + 2, suites, &fault))
        return fault_tell(&fault);
    if (!shards_deal(part, past.rows, past.count, past.problem_us, 1, &fault))
        return fault_tell(&fault);
    const struct balance whole = past_balance(&past, part, 1);
    printf("%lld rows of %lld problems, %.0f s; the longest row and its fixture %.1f s\n\n",
           (long long)past.count, (long long)whole.made, whole.mean * 1e-6,
           (double)whole.longest_row * 1e-6);
    printf("| devices | dealt by | shortest part | mean | longest | fixtures made | efficiency |\n"
           "|--:|---|--:|--:|--:|--:|--:|\n");
    for (int n = 2 + suites; n < argc; n++) {
        const int64_t parts = strtoll(argv[n], NULL, 10);
        if (parts < 1 || parts > PAST_PARTS_MAX) continue;
        if (!shards_deal(part, past.rows, past.count, past.problem_us, parts, &fault))
            return fault_tell(&fault);
        print("costs", parts, whole.mean);
        deal_by_hash(parts);
        print("hash", parts, whole.mean);
    }
    return 0;
}
