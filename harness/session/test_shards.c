/* Dealing to parts: balance on what an H200's rows took, and what a deal must not depend on. */
#include "costs.h"
#include "test_past.h"
#include "shards.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct past past;

static void read_past(void) {
    static const char *const suites[] = {"models", "scale", "edge"};
    char run[4096];
    struct fault fault;
    snprintf(run, sizeof run, "%s/h200.jsonl", verb_baseline());
    cr_assert(past_read(&past, run, suites, 3, &fault), "%s", fault.text);
    cr_assert(past.count > 1000);
}

static struct balance deal(int32_t *part, int64_t shards) {
    struct fault fault;
    cr_assert(shards_deal(part, past.rows, past.count, past.problem_us, shards, &fault));
    return past_balance(&past, part, shards);
}

Test(shards, twenty_differ_by_less_than_a_fifth) {
    static int32_t part[PAST_ROWS_MAX];
    read_past();
    const struct balance balance = deal(part, 20);
    cr_assert((double)balance.most < 1.2 * (double)balance.least, "%g s and %g s",
              (double)balance.most * 1e-6, (double)balance.least * 1e-6);
}

Test(shards, of_a_hundred_the_longest_is_little_longer_than_the_mean_or_the_longest_row) {
    static int32_t part[PAST_ROWS_MAX];
    read_past();
    const struct balance balance = deal(part, 100);
    const double bound =
        balance.mean > (double)balance.longest_row ? balance.mean : (double)balance.longest_row;
    cr_assert((double)balance.most <= 1.2 * bound, "%g s, of %g s", (double)balance.most * 1e-6,
              bound * 1e-6);
}

/* Longest first, to the part with least; of equal ones in order. A problem of 12 stays together,
 * one of 50 does not, and each of its rows takes its own part. */
Test(shards, a_deal_is_known_beforehand) {
    static const struct shards_row rows[] = {{0, 25}, {0, 25}, {1, 3}, {1, 3}, {1, 6}, {2, 10}};
    static const int64_t problem_us[] = {1, 0, 0};
    static const int32_t expected[] = {0, 1, 2, 2, 2, 2};
    int32_t part[6];
    struct fault fault;
    cr_assert(shards_deal(part, rows, 6, problem_us, 3, &fault));
    for (int n = 0; n < 6; n++) cr_assert(part[n] == expected[n], "row %d: %d", n, part[n]);
}

Test(shards, a_problem_that_costs_more_than_its_rows_is_paid_for_once) {
    static const struct shards_row rows[] = {{0, 1}, {0, 2}, {0, 3}, {1, 1}, {1, 1}, {1, 1}};
    static const int64_t problem_us[] = {10, 10};
    int32_t part[6];
    struct fault fault;
    cr_assert(shards_deal(part, rows, 6, problem_us, 2, &fault));
    for (int n = 0; n < 6; n++) cr_assert(part[n] == rows[n].problem);
}

Test(shards, more_parts_than_rows_leave_some_empty) {
    static const struct shards_row rows[] = {{0, 0}, {1, 0}};
    static const int64_t problem_us[] = {0, 0};
    int32_t part[2];
    struct fault fault;
    cr_assert(shards_deal(part, rows, 2, problem_us, 1000, &fault));
    cr_assert(part[0] == 0 || part[1] == 0);
    cr_assert(part[0] >= 0 && part[0] < 1000 && part[1] >= 0 && part[1] < 1000);
    cr_assert(shards_deal(part, rows, 0, problem_us, 7, &fault));
}

/* One row of a flash kernel that took a tenth of what was estimated; refused ones, which take
 * nothing, say nothing of others. */
Test(shards, a_row_that_is_not_known_costs_as_its_kernels_others_do) {
    static const char one[] = "f16-b2-hq4-kv100-d64", other[] = "f16-b2-hq4-kv4096-d64";
    static const char *const lines[] = {"cpu/decode_flash_r1", "cpu/decode_other_r1",
                                        "cuda/decode_mma_r1"};
    char path[] = "/tmp/attest-costs-XXXXXX";
    struct problem problem;
    struct costs none = {0}, costs;
    struct fault fault;
    cr_assert(problem_parse(&problem, one, &fault));
    const int64_t guess = costs_row_us(&none, lines[0], one, NULL, &problem);
    FILE *file = fdopen(mkstemp(path), "w");
    fprintf(file, "{\"format\":\"attest-run\"}\n");
    fprintf(file, "{\"kernel\":\"%s\",\"line\":\"%s\",\"status\":\"PASS\",\"seconds\":99}\n",
            lines[0], one);
    fprintf(file, "{\"kernel\":\"%s\",\"line\":\"%s\",\"status\":\"PASS\",\"seconds\":%g}\n",
            lines[0], one, (double)guess * 1e-7);
    fprintf(file, "{\"kernel\":\"%s\",\"line\":\"%s\",\"status\":\"REFUSED\",\"seconds\":0}\n",
            lines[1], one);
    fclose(file);
    cr_assert(costs_read(&costs, path, &fault), "%s", fault.text);
    cr_assert(llabs(costs_row_us(&costs, lines[0], one, NULL, &problem) - guess / 10) <= 1);
    cr_assert(costs_row_us(&costs, lines[1], one, NULL, &problem) == 0);
    cr_assert(problem_parse(&problem, other, &fault));
    const int64_t cpu = costs_row_us(&none, lines[0], other, NULL, &problem);
    const int64_t cuda = costs_row_us(&none, lines[2], other, NULL, &problem);
    cr_assert(cpu > guess && cuda < cpu);
    const int64_t likely = costs_row_us(&costs, lines[0], other, NULL, &problem);
    cr_assert(llabs(likely - cpu / 10) <= cpu / 100);
    cr_assert(costs_row_us(&costs, lines[1], other, NULL, &problem) == likely);
    cr_assert(costs_row_us(&costs, lines[2], other, NULL, &problem) == cuda);
    costs_free(&costs);
    unlink(path);
}

/* 2 (D + Dv) operations a pair: as of a head dim of their mean. */
Test(shards, values_cost_by_their_own_width) {
    struct problem narrower, mean;
    struct costs none = {0};
    struct fault fault;
    static const char kernel[] = "cpu/prefill_flash_r1";
    static const char *const lines[] = {"f16-b1-hq32-hkv1-q8192-kv8192-d192-dv64",
                                        "f16-b1-hq32-hkv1-q8192-kv8192-d128"};
    cr_assert(problem_parse(&narrower, lines[0], &fault), "%s", fault.text);
    cr_assert(problem_parse(&mean, lines[1], &fault));
    const double of_row = (double)costs_row_us(&none, kernel, lines[0], NULL, &narrower) /
                          (double)costs_row_us(&none, kernel, lines[1], NULL, &mean);
    const double of_answer = (double)costs_problem_us(&narrower) / (double)costs_problem_us(&mean);
    cr_assert(of_row > 0.9 && of_row < 1.01, "%g", of_row);
    cr_assert(of_answer > 0.9 && of_answer < 1.01, "%g", of_answer);
}

Test(shards, what_a_part_is_called) {
    int64_t shard, shards;
    cr_assert(shards_parse("3/20", &shard, &shards) && shard == 3 && shards == 20);
    static const char *const wrong[] = {"0/3", "4/3", "1/0", "1", "1/2x", "", "1/9999999"};
    for (size_t n = 0; n < sizeof wrong / sizeof *wrong; n++)
        cr_assert(!shards_parse(wrong[n], &shard, &shards), "%s", wrong[n]);
}
