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

int64_t host_memory_free(void) {
    int64_t bytes = kilobytes("/proc/meminfo", "MemAvailable:");
    char group[256], path[512], text[64];
    first_line("/proc/self/cgroup", group, sizeof group); /* "0::/path" with version 2 */
    if (bytes < 0) bytes = INT64_MAX;
    if (strncmp(group, "0::", 3) != 0) return bytes;
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", group + 3);
    first_line(path, text, sizeof text);
    const int64_t most = strtoll(text, NULL, 10);
    if (most <= 0) return bytes; /* "max", or no such file */
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.current", group + 3);
    first_line(path, text, sizeof text);
    const int64_t left = most - strtoll(text, NULL, 10);
    return left < bytes ? left : bytes;
}

int64_t host_memory_bytes(void) {
    return kilobytes("/proc/meminfo", "MemTotal:");
}
