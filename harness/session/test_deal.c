/* Dealing rows to processes, with rows that only count themselves. */
#include "deal.h"
#include "crew.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { PROBLEMS = 20, ROWS_MAX = 7, MEMBERS = 4, NOBODY = -1 };

struct table {
    struct deal *deal;
    _Atomic int taken[PROBLEMS][ROWS_MAX]; /* how often */
    _Atomic int last_taker[PROBLEMS][ROWS_MAX];
    _Atomic int lost, dying;
    struct crew_lock lock;
    char how[64];
    struct deal_row missing;
};

static int64_t rows_of(int64_t problem) {
    return 1 + problem * 5 % ROWS_MAX;
}

static struct table *lay(int members) {
    int64_t counts[PROBLEMS];
    struct fault fault = {0};
    struct table *table = crew_memory(sizeof *table);
    cr_assert(table != NULL);
    for (int64_t n = 0; n < PROBLEMS; n++) counts[n] = rows_of(n);
    table->deal = deal_make(counts, PROBLEMS, members, &fault);
    cr_assert(table->deal != NULL, "%s", fault.text);
    table->dying = NOBODY;
    return table;
}

static void clear(struct table *table) {
    deal_free(table->deal);
    crew_release(table, sizeof *table);
}

static void pause_us(long us) {
    nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
}

static int take_all(void *context, int member) {
    struct table *table = context;
    struct deal_row row;
    while (deal_next(table->deal, member, &row)) {
        if (member == table->dying && row.problem > 2) raise(SIGKILL);
        table->taken[row.problem][row.row]++;
        table->last_taker[row.problem][row.row] = member;
        pause_us(500);
    }
    return member == 2 ? 3 : 0;
}

static bool lose(void *context, int member, const char *how) {
    struct table *table = context;
    table->lost++;
    snprintf(table->how, sizeof table->how, "%s", how);
    cr_assert(deal_at_hand(table->deal, member, &table->missing));
    return false;
}

static int run(struct table *table, int members) {
    return crew_run(&(struct crew_task){.work = take_all, .lost = lose, .context = table}, members);
}

Test(deal, each_row_is_taken_once_by_whoever_is_free) {
    struct table *table = lay(MEMBERS);
    int64_t by[MEMBERS] = {0};
    cr_assert(run(table, MEMBERS) == 3 && table->lost == 0); /* the worst of 0, 0, 3, 0 */
    for (int64_t n = 0; n < PROBLEMS; n++) {
        for (int64_t row = 0; row < ROWS_MAX; row++) {
            cr_assert(table->taken[n][row] == (row < rows_of(n)), "%d", (int)n);
            if (row < rows_of(n)) by[table->last_taker[n][row]]++;
        }
    }
    for (int member = 0; member < MEMBERS; member++) cr_assert(by[member] > 0);
    cr_assert(deal_left(table->deal) == 0);
    clear(table);
}

Test(deal, a_process_that_dies_costs_the_row_it_had_and_no_other) {
    struct table *table = lay(MEMBERS);
    int untaken = 0;
    table->dying = 1;
    cr_assert(run(table, MEMBERS) == FAULT_OURS);
    cr_assert(table->lost == 1);
    cr_assert_str_eq(table->how, "SIGKILL");
    for (int64_t n = 0; n < PROBLEMS; n++) {
        for (int64_t row = 0; row < rows_of(n); row++) untaken += table->taken[n][row] == 0;
    }
    cr_assert(untaken == 1 && table->taken[table->missing.problem][table->missing.row] == 0);
    clear(table);
}

Test(deal, when_all_have_died_the_rest_is_known) {
    struct table *table = lay(1);
    int64_t rows = 0, taken = 0;
    table->dying = 0;
    cr_assert(run(table, 1) == FAULT_OURS);
    for (int64_t n = 0; n < PROBLEMS; n++) {
        rows += rows_of(n);
        for (int64_t row = 0; row < rows_of(n); row++) taken += table->taken[n][row];
    }
    cr_assert(taken > 0 && deal_left(table->deal) == rows - taken - 1);
    clear(table);
}

static struct deal_row next(struct deal *deal, int member) {
    struct deal_row row = {.problem = NOBODY};
    deal_next(deal, member, &row);
    return row;
}

static void expect_next(struct deal *deal, int member, int64_t problem, int64_t row) {
    const struct deal_row dealt = next(deal, member);
    cr_assert(dealt.problem == problem && dealt.row == row, "%d.%d instead of %d.%d",
              (int)dealt.problem, (int)dealt.row, (int)problem, (int)row);
}

Test(deal, a_process_stays_with_its_problem_and_the_largest_is_shared_in_the_end) {
    struct fault fault = {0};
    struct deal *deal = deal_make((const int64_t[]){2, 0, 5, 3}, 4, 3, &fault);
    cr_assert(deal != NULL);
    expect_next(deal, 0, 0, 0);
    expect_next(deal, 1, 2, 0); /* problem 1 has no rows */
    expect_next(deal, 0, 0, 1);
    expect_next(deal, 1, 2, 1);
    expect_next(deal, 0, 3, 0); /* nobody has begun it */
    expect_next(deal, 2, 2, 2); /* all are begun: most rows are left here, 3 of 5 */
    expect_next(deal, 1, 2, 3);
    expect_next(deal, 0, 3, 1);
    expect_next(deal, 0, 3, 2);
    expect_next(deal, 0, 2, 4);
    for (int member = 0; member < 3; member++) cr_assert(next(deal, member).problem == NOBODY);
    struct deal_row row;
    cr_assert(!deal_at_hand(deal, 0, &row));
    deal_free(deal);
}

Test(deal, a_problem_can_turn_out_to_have_fewer_rows) {
    struct fault fault = {0};
    struct deal *deal = deal_make((const int64_t[]){5, 5, 1}, 3, 2, &fault);
    cr_assert(deal != NULL);
    expect_next(deal, 0, 0, 0);
    expect_next(deal, 1, 1, 0);
    deal_limit(deal, 0, 2);
    deal_limit(deal, 1, 0);
    expect_next(deal, 0, 0, 1);
    expect_next(deal, 0, 2, 0);
    cr_assert(next(deal, 0).problem == NOBODY && next(deal, 1).problem == NOBODY);
    cr_assert(deal_left(deal) == 0);
    deal_free(deal);
}

static int die_with_the_lock(void *context, int member) {
    struct table *table = context;
    crew_lock(&table->lock);
    if (member == 0) raise(SIGKILL);
    table->taken[0][0]++;
    crew_unlock(&table->lock);
    return 0;
}

Test(crew, the_death_of_its_holder_releases_a_lock) {
    struct fault fault = {0};
    struct table *table = lay(2);
    cr_assert(crew_lock_make(&table->lock, &fault));
    const struct crew_task task = {.work = die_with_the_lock, .lost = lose, .context = table};
    struct deal_row row;
    for (int member = 0; member < 2; member++) deal_next(table->deal, member, &row); /* for lose */
    cr_assert(crew_run(&task, 2) == FAULT_OURS);
    crew_lock(&table->lock);
    cr_assert(table->taken[0][0] == 1);
    crew_unlock(&table->lock);
    clear(table);
}
