/* A file of lines of one width, one a process: "TIMES KERNEL ITEM", blanks to the end. After those
 * of the living come those that an earlier run left, which count on until their rows are there. */
#define _GNU_SOURCE
#include "hands.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 1024 };

static void write_entry(const struct hands *hands, int64_t at, const struct hands_entry *entry) {
    char line[LINE_BYTES + 1];
    if (hands->file < 0) return;
    snprintf(line, sizeof line, "%lld %s %s", (long long)entry->times, entry->kernel, entry->item);
    const size_t used = strlen(line);
    memset(line + used, ' ', LINE_BYTES - used);
    line[LINE_BYTES - 1] = '\n';
    if (pwrite(hands->file, line, LINE_BYTES, (off_t)at * LINE_BYTES) < 0) return;
}

static void read_entries(struct hands *hands) {
    char line[LINE_BYTES + 1];
    const int64_t room = sizeof hands->before / sizeof hands->before[0];
    for (int64_t at = 0; hands->before_count < room; at++) {
        struct hands_entry *entry = &hands->before[hands->before_count];
        if (pread(hands->file, line, LINE_BYTES, (off_t)at * LINE_BYTES) != LINE_BYTES) return;
        line[LINE_BYTES - 1] = '\0'; /* the line's end */
        char *rest, *kernel;
        entry->times = strtoll(line, &rest, 10);
        if (entry->times < 1 || *rest != ' ') continue; /* nobody's */
        kernel = rest + 1;
        rest = strchr(kernel, ' ');
        if (rest == NULL) continue;
        *rest++ = '\0';
        for (size_t end = strlen(rest); end > 0 && rest[end - 1] == ' ';) rest[--end] = '\0';
        snprintf(entry->kernel, sizeof entry->kernel, "%s", kernel);
        snprintf(entry->item, sizeof entry->item, "%s", rest);
        hands->before_count++;
    }
}

void hands_open(struct hands *hands, const char *folder) {
    *hands = (struct hands){.file = -1};
    snprintf(hands->path, sizeof hands->path, "%s/" HANDS_NAME, folder);
    hands->file = open(hands->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (hands->file < 0) return;
    read_entries(hands);
    if (ftruncate(hands->file, 0) != 0) return;
    for (int64_t n = 0; n < hands->before_count; n++)
        write_entry(hands, CREW_MAX + n, &hands->before[n]);
}

int64_t hands_times(const struct hands *hands, const char *kernel, const char *item) {
    int64_t times = 0;
    for (int64_t n = 0; n < hands->before_count; n++) {
        const struct hands_entry *entry = &hands->before[n];
        if (!strcmp(entry->kernel, kernel) && !strncmp(entry->item, item, sizeof entry->item - 1) &&
            entry->times > times)
            times = entry->times;
    }
    return times;
}

void hands_take(const struct hands *hands, int member, const char *kernel, const char *item) {
    struct hands_entry entry = {.times = hands_times(hands, kernel, item) + 1};
    snprintf(entry.kernel, sizeof entry.kernel, "%s", kernel);
    snprintf(entry.item, sizeof entry.item, "%s", item);
    write_entry(hands, member, &entry);
}

void hands_remove(const struct hands *hands) {
    if (hands->file >= 0) unlink(hands->path);
}
