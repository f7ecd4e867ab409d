#define _GNU_SOURCE /* strcasestr */
#include "nearest.h"

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LONGEST = 127, PART = 4 };

static int least(int a, int b) {
    return a < b ? a : b;
}

/* Insertions, deletions, substitutions and swaps of neighbours between two texts. */
static int edits(const char *a, const char *b) {
    int rows[3][LONGEST + 1]; /* of row i, i - 1 and i - 2 */
    const int a_length = (int)strlen(a), b_length = (int)strlen(b);
    for (int i = 0; i <= a_length; i++) {
        int *cost = rows[i % 3];
        const int *above = rows[(i + 2) % 3], *above_that = rows[(i + 1) % 3];
        for (int j = 0; j <= b_length; j++) {
            if (i == 0 || j == 0) {
                cost[j] = i + j;
                continue;
            }
            const int change = tolower(a[i - 1]) != tolower(b[j - 1]);
            cost[j] = least(above[j - 1] + change, 1 + least(above[j], cost[j - 1]));
            if (i > 1 && j > 1 && tolower(a[i - 1]) == tolower(b[j - 2]) &&
                tolower(a[i - 2]) == tolower(b[j - 1]))
                cost[j] = least(cost[j], above_that[j - 2] + 1);
        }
    }
    return rows[a_length % 3][b_length];
}

static bool is_slip(const char *name, int distance) {
    const int length = (int)strlen(name);
    return distance <= (length / 4 > 2 ? length / 4 : 2) && 2 * distance <= length;
}

static bool is_part(const char *part, const char *whole) {
    return strlen(part) >= PART && strcasestr(whole, part) != NULL;
}

const char *nearest(const char *word, const char *const *names, size_t count) {
    const char *slip_of = NULL, *part_of = NULL;
    int slip_edits = 2 * LONGEST, part_edits = 2 * LONGEST;
    if (strlen(word) > LONGEST) return NULL;
    for (size_t n = 0; n < count; n++) {
        if (strlen(names[n]) > LONGEST) continue;
        const int distance = edits(word, names[n]);
        if (distance < slip_edits && is_slip(names[n], distance)) {
            slip_edits = distance;
            slip_of = names[n];
        }
        if (distance < part_edits && (is_part(names[n], word) || is_part(word, names[n]))) {
            part_edits = distance;
            part_of = names[n];
        }
    }
    return slip_of != NULL ? slip_of : part_of;
}

/* The length of `name` without `suffix`; 0 if that is not how it ends. */
static size_t stem_length(const char *name, const char *suffix) {
    const size_t length = strlen(name), end = strlen(suffix);
    return length > end && !strcmp(name + length - end, suffix) ? length - end : 0;
}

/* A link whose target is gone was not meant: it may be what was asked for. */
static bool leads_somewhere(const char *folder, const char *name) {
    char path[4096];
    return snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path &&
           access(path, F_OK) == 0;
}

bool nearest_file(const char *word, const char *folder, const char *suffix,
                  char name[NEAREST_BYTES]) {
    char asked[NEAREST_BYTES];
    struct dirent **entries;
    const int count = scandir(folder, &entries, NULL, alphasort);
    if (count < 0) return false;
    const size_t length = stem_length(word, suffix);
    snprintf(asked, sizeof asked, "%.*s", (int)(length > 0 ? length : strlen(word)), word);
    const char **stems = calloc((size_t)count + 1, sizeof *stems);
    size_t kept = 0;
    for (int n = 0; stems != NULL && n < count; n++) {
        char *entry = entries[n]->d_name;
        if (entry[0] == '.' || stem_length(entry, suffix) == 0 || !leads_somewhere(folder, entry))
            continue;
        entry[stem_length(entry, suffix)] = '\0';
        stems[kept++] = entry;
    }
    const char *found = stems != NULL ? nearest(asked, stems, kept) : NULL;
    if (found != NULL) snprintf(name, NEAREST_BYTES, "%s", found);
    for (int n = 0; n < count; n++) free(entries[n]);
    free(entries);
    free(stems);
    return found != NULL;
}
