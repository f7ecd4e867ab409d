/* A value is kept of each row, and each host's sorted once: medians, for a host may have been busy
 * in some of its runs. */
#include "hosts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double slower_by = 0.03;

enum measure { CONTROL, READ, FLOPS, MEASURES };
struct host_value {
    int64_t host;
    enum measure measure;
    double value;
};

const char *host_kind(const struct machine *machine, const struct row *row) {
    char text[256];
    const struct machine_device *device =
        machine_device_of(machine, row->device, row->device_index);
    if (device != NULL) return text_kept(device->name);
    snprintf(text, sizeof text, "%s, %lld cores%s%s", machine->cpu, (long long)machine->cores,
             strcmp(row->device, "cpu") != 0 ? ", " : "",
             strcmp(row->device, "cpu") != 0 ? row->device : "");
    return text_kept(text);
}

static void *grown(void *memory, int64_t count, int64_t *room, size_t bytes) {
    if (count < *room) return memory;
    *room = 2 * *room + 64;
    memory = realloc(memory, (size_t)*room * bytes);
    if (memory == NULL) abort();
    return memory;
}

static bool is_host(const struct host *host, const char *name, const char *kind, const char *uuid) {
    return strcmp(host->kind, kind) == 0 && strcmp(host->uuid, uuid) == 0 &&
           (uuid[0] != '\0' || strcmp(host->name, name) == 0);
}

static int64_t place_of(struct hosts *hosts, const char *name, const char *kind, const char *uuid) {
    for (int64_t n = 0; n < hosts->count; n++) {
        if (is_host(&hosts->list[n], name, kind, uuid)) return n;
    }
    hosts->list = grown(hosts->list, hosts->count, &hosts->room, sizeof *hosts->list);
    hosts->list[hosts->count] =
        (struct host){.name = text_kept(name), .kind = text_kept(kind), .uuid = text_kept(uuid)};
    return hosts->count++;
}

static void add_value(struct hosts *hosts, int64_t host, enum measure measure, double value) {
    if (!(value > 0)) return;
    hosts->values =
        grown(hosts->values, hosts->value_count, &hosts->value_room, sizeof *hosts->values);
    hosts->values[hosts->value_count++] = (struct host_value){host, measure, value};
}

int64_t hosts_add(struct hosts *hosts, const struct machine *machine, const struct row *row) {
    const struct machine_device *device =
        machine_device_of(machine, row->device, row->device_index);
    char name[300];
    if (device != NULL)
        snprintf(name, sizeof name, "%s %s:%lld", machine->host, device->device,
                 (long long)device->index);
    else
        snprintf(name, sizeof name, "%s", machine->host);
    const int64_t host =
        place_of(hosts, name, host_kind(machine, row), device != NULL ? device->uuid : "");
    const bool cpu = strcmp(row->device, "cpu") == 0;
    add_value(hosts, host, CONTROL, timing_control_us(&row->warm));
    if (strcmp(device != NULL ? device->ceilings : machine->ceilings, "kept") == 0) return host;
    if (device == NULL && !cpu) return host;
    add_value(hosts, host, READ, device != NULL ? device->read_bytes_s : machine->read_bytes_s);
    add_value(hosts, host, FLOPS, device != NULL ? device->f16_flops : machine->fma_flops);
    return host;
}

static int value_order(const void *left, const void *right) {
    const struct host_value *a = left, *b = right;
    if (a->host != b->host) return a->host < b->host ? -1 : 1;
    if (a->measure != b->measure) return a->measure < b->measure ? -1 : 1;
    return (a->value > b->value) - (a->value < b->value);
}

static int ascending(const void *left, const void *right) {
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double *measure_of(struct host *host, enum measure measure) {
    return measure == CONTROL ? &host->control_us
           : measure == READ  ? &host->read_bytes_s
                              : &host->flops;
}

static void take_medians(struct hosts *hosts) {
    const struct host_value *values = hosts->values;
    for (int64_t n = 0; n < hosts->count; n++) {
        struct host *host = &hosts->list[n];
        host->control_us = host->read_bytes_s = host->flops = NAN;
    }
    if (hosts->value_count > 0)
        qsort(hosts->values, (size_t)hosts->value_count, sizeof *hosts->values, value_order);
    for (int64_t begin = 0, end; begin < hosts->value_count; begin = end) {
        for (end = begin + 1; end < hosts->value_count; end++) {
            if (values[end].host != values[begin].host ||
                values[end].measure != values[begin].measure)
                break;
        }
        *measure_of(&hosts->list[values[begin].host], values[begin].measure) =
            values[begin + (end - begin) / 2].value;
    }
}

/* Its measure over the median of the others'. */
static double ratio_of(struct hosts *hosts, int64_t which, enum measure measure, double *others) {
    struct host *host = &hosts->list[which];
    int64_t count = 0;
    for (int64_t n = 0; n < hosts->count; n++) {
        const double value = *measure_of(&hosts->list[n], measure);
        if (n != which && !strcmp(hosts->list[n].kind, host->kind) && isfinite(value))
            others[count++] = value;
    }
    if (count == 0) return NAN;
    qsort(others, (size_t)count, sizeof *others, ascending);
    return *measure_of(host, measure) / ((others[(count - 1) / 2] + others[count / 2]) / 2);
}

static void say(struct host *host, double slowness, const char *what) {
    const size_t used = strlen(host->slower);
    if (slowness > 1 + slower_by)
        snprintf(host->slower + used, sizeof host->slower - used, "%s%s by %.2g %%",
                 used > 0 ? ", " : "", what, 100 * (slowness - 1));
}

void hosts_settle(struct hosts *hosts) {
    double *others = calloc((size_t)hosts->count + 1, sizeof *others);
    if (others == NULL) abort();
    take_medians(hosts);
    for (int64_t n = 0; n < hosts->count; n++) {
        struct host *host = &hosts->list[n];
        host->others = 0;
        for (int64_t m = 0; m < hosts->count; m++)
            host->others += m != n && !strcmp(hosts->list[m].kind, host->kind);
        host->control_ratio = ratio_of(hosts, n, CONTROL, others);
        host->read_ratio = ratio_of(hosts, n, READ, others);
        host->flops_ratio = ratio_of(hosts, n, FLOPS, others);
        host->slower[0] = '\0';
        say(host, host->control_ratio, "its control is slower");
        say(host, 1 / host->read_ratio, "reading is slower");
        say(host, 1 / host->flops_ratio, "arithmetic is slower");
    }
    free(others);
    free(hosts->values);
    hosts->values = NULL;
    hosts->value_count = hosts->value_room = 0;
}

void hosts_free(struct hosts *hosts) {
    free(hosts->list);
    free(hosts->values);
    *hosts = (struct hosts){0};
}
