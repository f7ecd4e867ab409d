/* Longest processing time first: rows are tied into pieces by problem, and pieces, the costliest
 * first, go to the part that has least. The most that a part is above the mean by is then a piece,
 * and the last pieces are small. A piece of a fifth of the mean keeps that below 1.2 whatever the
 * costs are, unless a row alone is longer; a piece that costs as much as its problem wastes no more
 * than it does. Of models, scale and edge on an H200 (1,334
 * rows of 487 problems, 673 s; bench_shards), 20 parts are 38.0 to 39.6 s, the longest one row and
 * its fixture, and make 518 fixtures, 31 of them a second time. */
#include "shards.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

bool shards_parse(const char *text, int64_t *shard, int64_t *shards) {
    long long part, parts;
    char rest;
    if (sscanf(text, "%lld/%lld%c", &part, &parts, &rest) != 2 || parts < 1 || part < 1 ||
        part > parts || parts > SHARDS_MAX)
        return false;
    *shard = part;
    *shards = parts;
    return true;
}

int64_t shards_hashed(const char *kernel, const char *problem, int64_t shards) {
    char key[2 * PATH_MAX];
    snprintf(key, sizeof key, "%s\n%s", kernel, problem);
    return (int64_t)(XXH64(key, strlen(key), 0) % (uint64_t)shards);
}

/* So many entries from `begin` on. */
struct piece {
    int64_t us, begin, count;
};
struct entry {
    int64_t problem, us, row;
};

static int entry_order(const void *left, const void *right) {
    const struct entry *a = left, *b = right;
    if (a->problem != b->problem) return a->problem < b->problem ? -1 : 1;
    if (a->us != b->us) return a->us > b->us ? -1 : 1;
    return (a->row > b->row) - (a->row < b->row);
}

static int piece_order(const void *left, const void *right) {
    const struct piece *a = left, *b = right;
    if (a->us != b->us) return a->us > b->us ? -1 : 1;
    return (a->begin > b->begin) - (a->begin < b->begin);
}

/* How many pieces. */
static int64_t tie(struct piece *pieces, const struct entry *entries, int64_t count,
                   const int64_t *problem_us, int64_t fifth) {
    int64_t made = 0;
    for (int64_t n = 0; n < count; n++) {
        const int64_t own = problem_us[entries[n].problem];
        const int64_t most = fifth > 2 * own ? fifth : 2 * own;
        struct piece *last = made > 0 ? &pieces[made - 1] : NULL;
        if (last != NULL && entries[last->begin].problem == entries[n].problem &&
            last->us + entries[n].us <= most) {
            last->us += entries[n].us;
            last->count++;
        } else {
            pieces[made++] = (struct piece){own + entries[n].us, n, 1};
        }
    }
    return made;
}

/* The parts as a heap, the one with least on top; of equal ones the first. */
struct load {
    int64_t us;
    int32_t part;
};

static bool is_less(const struct load *a, const struct load *b) {
    return a->us != b->us ? a->us < b->us : a->part < b->part;
}

static void sink(struct load *loads, int64_t count) {
    for (int64_t at = 0;;) {
        int64_t least = at;
        for (int64_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++)
            if (is_less(&loads[child], &loads[least])) least = child;
        if (least == at) return;
        const struct load moved = loads[at];
        loads[at] = loads[least];
        loads[least] = moved;
        at = least;
    }
}

static void hand_out(int32_t *part, const struct entry *entries, const struct piece *pieces,
                     int64_t count, struct load *loads, int64_t shards) {
    for (int64_t n = 0; n < shards; n++) loads[n] = (struct load){0, (int32_t)n};
    for (int64_t n = 0; n < count; n++) {
        for (int64_t m = 0; m < pieces[n].count; m++)
            part[entries[pieces[n].begin + m].row] = loads[0].part;
        loads[0].us += pieces[n].us;
        sink(loads, shards);
    }
}

bool shards_deal(int32_t *part, const struct shards_row *rows, int64_t count,
                 const int64_t *problem_us, int64_t shards, struct fault *fault) {
    struct entry *entries = calloc((size_t)count + 1, sizeof *entries);
    struct piece *pieces = calloc((size_t)count + 1, sizeof *pieces);
    struct load *loads = calloc((size_t)shards, sizeof *loads);
    const bool well = entries != NULL && pieces != NULL && loads != NULL;
    if (!well) fault_set(fault, FAULT_OURS, "out of memory for %lld rows", (long long)count);
    if (well) {
        int64_t all_us = 0, last = -1;
        for (int64_t n = 0; n < count; n++)
            entries[n] = (struct entry){rows[n].problem, rows[n].us, n};
        qsort(entries, (size_t)count, sizeof *entries, entry_order);
        for (int64_t n = 0; n < count; n++) {
            all_us +=
                entries[n].us + (entries[n].problem != last ? problem_us[entries[n].problem] : 0);
            last = entries[n].problem;
        }
        const int64_t made = tie(pieces, entries, count, problem_us, all_us / shards / 5);
        qsort(pieces, (size_t)made, sizeof *pieces, piece_order);
        hand_out(part, entries, pieces, made, loads, shards);
    }
    free(entries);
    free(pieces);
    free(loads);
    return well;
}
