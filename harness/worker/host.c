/* Reading the host off /proc and /sys. */
#define _GNU_SOURCE
#include "host.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int host_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    return (int)sysconf(_SC_NPROCESSORS_ONLN); /* more than 1024 CPUs */
}

/* The first line of a file, without its end; "" if there is none. */
static void first_line(const char *path, char *text, size_t bytes) {
    FILE *file = fopen(path, "re");
    text[0] = '\0';
    if (file == NULL) return;
    if (fgets(text, (int)bytes, file) == NULL) text[0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    fclose(file);
}

/* sysconf(_SC_LEVEL3_CACHE_SIZE) is no use: on a 2-core part of an EPYC it says 384 MiB, the whole
 * package's, where these cores share 32 MiB. */
int64_t host_cache_bytes(void) {
    enum { CPUS_MAX = 1024, LEVELS = 5 };
    static int64_t known;
    bool seen[CPUS_MAX] = {false};
    const long cpus = sysconf(_SC_NPROCESSORS_CONF);
    if (known > 0) return known;
    for (int cpu = 0; cpu < cpus && cpu < CPUS_MAX; cpu++) {
        char path[96], text[64];
        for (int index = LEVELS - 1; index >= 2; index--) {
            snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cache/index%d/size", cpu,
                     index);
            first_line(path, text, sizeof text);
            char *unit;
            int64_t size = strtoll(text, &unit, 10);
            if (*unit == 'K') size <<= 10;
            if (*unit == 'M') size <<= 20;
            if (size <= 0) continue;
            /* one cache for all CPUs of its list, which the first of them stands for */
            snprintf(path, sizeof path,
                     "/sys/devices/system/cpu/cpu%d/cache/index%d/shared_cpu_list", cpu, index);
            first_line(path, text, sizeof text);
            const long first = strtol(text, NULL, 10);
            if (first >= 0 && first < CPUS_MAX && !seen[first]) known += size;
            if (first >= 0 && first < CPUS_MAX) seen[first] = true;
            break;
        }
    }
    if (known <= 0) known = (int64_t)32 << 20;
    return known;
}

/* A number behind `name` in a file of "name: number kB" lines, in bytes; -1 if it is not there. */
static int64_t kilobytes(const char *path, const char *name) {
    char line[256];
    int64_t bytes = -1;
    FILE *file = fopen(path, "re");
    while (file != NULL && bytes < 0 && fgets(line, sizeof line, file) != NULL) {
        if (!strncmp(line, name, strlen(name)))
            bytes = strtoll(line + strlen(name), NULL, 10) << 10;
    }
    if (file != NULL) fclose(file);
    return bytes;
}

/* The number after `name` in a file of "name number" lines, or with "" the file's only one; -1. */
static int64_t number_in(const char *folder, const char *file, const char *name) {
    char path[768], line[256];
    int64_t number = -1;
    const size_t length = strlen(name);
    snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *from = fopen(path, "re");
    while (from != NULL && number < 0 && fgets(line, sizeof line, from) != NULL) {
        char *rest;
        if (strncmp(line, name, length) != 0) continue;
        const int64_t value = strtoll(line + length, &rest, 10);
        if (rest != line + length) number = value; /* "max" is none */
    }
    if (from != NULL) fclose(from);
    return number;
}

/* What the control groups have in files of the two versions. A cache of files that is not in use
 * counts as used, and is given up before anybody is killed. */
struct group_files {
    const char *root, *most, *used, *idle;
};
static const struct group_files versions[] = {
    {"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file "},
    {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
     "total_inactive_file "},
};

/* What a group and those above it leave. In a container, where the root is the group itself, no
 * folder below it may have its name. */
static int64_t left_in_group(const struct group_files *files, char *group) {
    int64_t least = INT64_MAX;
    for (bool above = true; above;) {
        char folder[512];
        snprintf(folder, sizeof folder, "%s%s", files->root, group);
        const int64_t most = number_in(folder, files->most, "");
        const int64_t used = number_in(folder, files->used, "");
        const int64_t idle = number_in(folder, "memory.stat", files->idle);
        const int64_t left = most - used + (idle > 0 ? idle : 0);
        if (most > 0 && used >= 0 && left < least) least = left > 0 ? left : 0;
        char *slash = strrchr(group, '/');
        above = slash != NULL;
        if (above) *slash = '\0';
    }
    return least;
}

int64_t host_memory_free(void) {
    int64_t bytes = kilobytes("/proc/meminfo", "MemAvailable:");
    char line[512];
    if (bytes < 0) bytes = INT64_MAX;
    FILE *groups = fopen("/proc/self/cgroup", "re"); /* "0::/path", "4:memory:/path" */
    while (groups != NULL && fgets(line, sizeof line, groups) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *first = strstr(line, ":memory:");
        const bool second = !strncmp(line, "0::", 3);
        if (!second && first == NULL) continue;
        const int64_t left = second ? left_in_group(&versions[0], line + strlen("0::"))
                                    : left_in_group(&versions[1], first + strlen(":memory:"));
        if (left < bytes) bytes = left;
    }
    if (groups != NULL) fclose(groups);
    return bytes;
}

int64_t host_memory_bytes(void) {
    return kilobytes("/proc/meminfo", "MemTotal:");
}
