/* Two counters a problem, under one lock: dealing a row is nothing beside running it. */
#include "deal.h"
#include "crew.h"

struct pile {
    int64_t dealt, count;
};

struct deal {
    struct crew_lock lock;
    size_t bytes;
    int64_t problems;
    int64_t begun; /* no problem before this one is untouched */
    struct {
        struct deal_row row;
        bool holds, done;
    } hands[CREW_MAX];
    struct pile piles[];
};

struct deal *deal_make(const int64_t *counts, int64_t problems, int members, struct fault *fault) {
    const size_t bytes = sizeof(struct deal) + (size_t)problems * sizeof(struct pile);
    struct deal *deal = members <= CREW_MAX ? crew_memory(bytes) : NULL;
    if (deal == NULL) {
        fault_set(fault, FAULT_OURS, "out of memory for %lld problems and %d processes",
                  (long long)problems, members);
        return NULL;
    }
    deal->bytes = bytes;
    deal->problems = problems;
    for (int64_t n = 0; n < problems; n++) deal->piles[n].count = counts[n];
    if (crew_lock_make(&deal->lock, fault)) return deal;
    deal_free(deal);
    return NULL;
}

void deal_free(struct deal *deal) {
    if (deal != NULL) crew_release(deal, deal->bytes);
}

static int64_t left(const struct deal *deal, int64_t problem) {
    return deal->piles[problem].count - deal->piles[problem].dealt;
}

static int64_t untouched(struct deal *deal) {
    for (; deal->begun < deal->problems; deal->begun++) {
        if (deal->piles[deal->begun].dealt == 0 && left(deal, deal->begun) > 0) return deal->begun;
    }
    return -1;
}

static int64_t largest(const struct deal *deal) {
    int64_t largest = -1, most = 0;
    for (int64_t n = 0; n < deal->problems; n++) {
        if (left(deal, n) <= most) continue;
        most = left(deal, n);
        largest = n;
    }
    return largest;
}

bool deal_next(struct deal *deal, int member, struct deal_row *row) {
    crew_lock(&deal->lock);
    int64_t problem = deal->hands[member].holds ? deal->hands[member].row.problem : -1;
    if (problem < 0 || left(deal, problem) <= 0) problem = untouched(deal);
    if (problem < 0) problem = largest(deal);
    deal->hands[member].holds = problem >= 0;
    if (problem >= 0) {
        *row = (struct deal_row){.problem = problem, .row = deal->piles[problem].dealt++};
        deal->hands[member].row = *row;
        deal->hands[member].done = false;
    }
    crew_unlock(&deal->lock);
    return problem >= 0;
}

void deal_limit(struct deal *deal, int64_t problem, int64_t count) {
    crew_lock(&deal->lock);
    if (deal->piles[problem].count > count) deal->piles[problem].count = count;
    crew_unlock(&deal->lock);
}

void deal_done(struct deal *deal, int member) {
    deal->hands[member].done = true;
}

int64_t deal_left(const struct deal *deal) {
    int64_t rows = 0;
    for (int64_t n = 0; n < deal->problems; n++) rows += left(deal, n) > 0 ? left(deal, n) : 0;
    return rows;
}

bool deal_at_hand(const struct deal *deal, int member, struct deal_row *row) {
    *row = deal->hands[member].row;
    return deal->hands[member].holds && !deal->hands[member].done;
}
