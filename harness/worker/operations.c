#define _GNU_SOURCE
#include "operations.h"
#include "driver.h"
#include "edges.h"
#include "foreign.h"
#include "hide.h"
#include "protocol.h"
#include "survey.h"
#include "../../oracle/clock.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SCRATCH_GUARD_BYTES = 4096, SCRATCH_GUARD = 0xa7, SCRATCH_NAN = 0xff };

struct subject worker_subject(const struct worker *worker, const struct side *side) {
    return (struct subject){.device = worker->device,
                            .kernel = &side->kernel,
                            .problem = &side->given_problem,
                            .call = &side->given_call,
                            .memories = worker->memories,
                            .memory_count = worker->memory_count,
                            .scratch_bytes = worker->scratch_bytes};
}

static json_t *answer(void) {
    return json_pack("{s:b}", "ok", 1);
}

/* memcpy, for padding counts when they are compared. */
static void give(const struct worker *worker, struct side *side) {
    memcpy(&side->given_problem, &worker->problem, sizeof worker->problem);
    memcpy(&side->given_call, &side->call, sizeof side->call);
}

json_t *worker_look_at_given(const struct worker *worker, const struct side *side) {
    if (memcmp(&side->given_problem, &worker->problem, sizeof worker->problem) == 0 &&
        memcmp(&side->given_call, &side->call, sizeof side->call) == 0)
        return NULL;
    return refusal_json("error",
                        "FAIL_INPUT_CHANGED: wrote to the problem or the call that it was given: "
                        "pointers, shapes and sizes are attest's");
}

/* What a file exports, and the library's handle, NULL of an interpreter's kernel; NULL, and why. */
static const struct attn_kernel *find_export(const char *path, void **opened, char text[1024]) {
    *opened = NULL;
    if (foreign_is(path)) {
        if (foreign.open != NULL) return foreign.open(path, text);
        snprintf(text, 1024, "'%s' is for an interpreter, which this is not", path);
        return NULL;
    }
    *opened = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct attn_kernel *export = *opened != NULL ? dlsym(*opened, "attn_export") : NULL;
    if (*opened == NULL)
        snprintf(text, 1024, "%s", dlerror());
    else if (export == NULL)
        snprintf(text, 1024, "'%s' exports no symbol attn_export", path);
    return export;
}

/* Opens a library and copies what it exports; the copy is never longer than the library's own. It
 * stays open: closing runs more of its code, and runtimes it brought may have threads by now. */
static json_t *open_library(const char *path, struct attn_kernel *kernel, void **opened) {
    char text[1024];
    const struct attn_kernel *export = find_export(path, opened, text);
    if (export == NULL) return refusal_json("error", text);
    if (export->abi != ATTN_ABI) {
        snprintf(text, sizeof text, "'%s' was built for contract %u, this program speaks %u", path,
                 export->abi, ATTN_ABI);
        return refusal_json("error", text);
    }
    *kernel = (struct attn_kernel){0};
    memcpy(kernel, export, export->bytes < sizeof *kernel ? export->bytes : sizeof *kernel);
    if (export->bytes < offsetof(struct attn_kernel, lse_grade) || kernel->name == NULL ||
        kernel->launch == NULL) {
        snprintf(text, sizeof text, "'%s' exports a kernel without %s", path,
                 kernel->name == NULL ? "name" : "launch");
        return refusal_json("error", text);
    }
    return NULL;
}

static json_t *do_hello(struct worker *worker, const json_t *request) {
    (void)worker, (void)request;
    return json_pack("{s:b, s:i, s:s}", "ok", 1, "protocol", PROTOCOL_VERSION, "worker",
                     "attest " ATTEST_VERSION);
}

/* As the first request with a library in it says; later ones say the same. */
static void hide_once(struct worker *worker, const json_t *request, const char *library) {
    if (!worker->hidden) hide(json_object_get(request, "hide"), library);
    worker->hidden = true;
}

static json_t *do_describe(struct worker *worker, const json_t *request) {
    char room[PATH_MAX];
    const char *path = path_from_json(json_object_get(request, "library"), room);
    if (path == NULL) return refusal_json("error", "describe without library");
    hide_once(worker, request, path);
    struct attn_kernel kernel;
    void *handle;
    json_t *reply = open_library(path, &kernel, &handle);
    if (reply == NULL) {
        reply = answer();
        json_object_set_new(reply, "kernel", kernel_to_json(&kernel));
    }
    return reply;
}

static json_t *do_kernels(struct worker *worker, const json_t *request) {
    char room[PATH_MAX], text[FOREIGN_TEXT_BYTES] = "this is no interpreter";
    const char *path = path_from_json(json_object_get(request, "library"), room);
    if (path == NULL) return refusal_json("error", "kernels without a file");
    hide_once(worker, request, path);
    const char *names = foreign.list != NULL ? foreign.list(path, text) : NULL;
    return names != NULL ? json_pack("{s:b, s:s}", "ok", 1, "kernels", names)
                         : refusal_json("error", text);
}

/* Before the library is, and before the fences are up: a driver may start programs of its own, with
 * more rights than ours, that make what a device needs. */
static json_t *open_device(struct worker *worker, const json_t *request) {
    const char *name = json_string_value(json_object_get(request, "device"));
    enum attn_device kind = ATTN_CPU;
    while (name != NULL && kind <= ATTN_ASCEND_TWIN && strcmp(name, device_name(kind)) != 0) kind++;
    worker->device = device_find(kind);
    if (worker->device == NULL) return refusal_json("refused", "this program has no such device");
    worker->memory_max = json_integer_value(json_object_get(request, "memory_max"));
    worker->sides[0].call = (struct attn_call){
        .abi = ATTN_ABI,
        .threads = (int32_t)json_integer_value(json_object_get(request, "threads")),
        .device_index = (int32_t)json_integer_value(json_object_get(request, "device_index")),
    };
    const char *reason = worker->device->open(&worker->sides[0].call);
    if (reason != NULL) {
        worker->device = NULL; /* nothing of it is there to be unloaded */
        return refusal_json("refused", reason);
    }
    if (driver_of(kind)->library == NULL && !worker->fenced) fence_raise(worker->keepers);
    worker->fenced |= driver_of(kind)->library == NULL;
    return NULL;
}

/* From here on, `bytes` more than the process has now; the next kernel beside this one has as much
 * again, which only the soft limit allows. */
static void limit_memory(int64_t bytes) {
    long pages = 0;
    struct rlimit limit;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL) return;
    if (fscanf(file, "%ld", &pages) == 1 && getrlimit(RLIMIT_AS, &limit) == 0) {
        const rlim_t most = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (rlim_t)bytes;
        limit.rlim_cur = most < limit.rlim_max ? most : limit.rlim_max;
        setrlimit(RLIMIT_AS, &limit);
    }
    fclose(file);
}

/* Room for `bytes` of scratch and guards around it, of which all sides that need some are told. No
 * kernel is prepared yet, and none may rely on what a launch before its own has left there. */
static bool grow_scratch(struct worker *worker, size_t bytes) {
    const struct device *device = worker->device;
    unsigned char *scratch = device->allocate(bytes + 2 * SCRATCH_GUARD_BYTES);
    if (scratch == NULL) return false;
    if (worker->scratch != NULL) device->release(worker->scratch);
    worker->scratch = scratch;
    worker->scratch_bytes = bytes;
    device->fill(worker->scratch, SCRATCH_GUARD, SCRATCH_GUARD_BYTES);
    device->fill(worker->scratch + SCRATCH_GUARD_BYTES + bytes, SCRATCH_GUARD, SCRATCH_GUARD_BYTES);
    for (int n = 0; n < SIDES_MAX; n++) {
        struct attn_call *call = &worker->sides[n].call;
        if (call->scratch_bytes > 0) call->scratch = worker->scratch + SCRATCH_GUARD_BYTES;
    }
    return true;
}

static json_t *allocate_scratch(struct worker *worker, struct side *side) {
    size_t bytes = 0;
    char text[96];
    if (side->kernel.scratch_bytes != NULL)
        bytes = side->kernel.scratch_bytes(&side->given_problem);
    snprintf(text, sizeof text, "cannot allocate %zu bytes of scratch", bytes);
    if (worker->memory_max > 0) limit_memory(worker->memory_max);
    if (bytes > SIZE_MAX / 2 || (bytes > worker->scratch_bytes && !grow_scratch(worker, bytes)))
        return refusal_json("oom", text);
    side->call.scratch_bytes = bytes;
    if (bytes > 0) side->call.scratch = worker->scratch + SCRATCH_GUARD_BYTES;
    return json_pack("{s:b, s:I}", "ok", 1, "scratch_bytes", (json_int_t)bytes);
}

/* Asks the kernel itself. NULL: it takes the problem. */
static json_t *ask(struct worker *worker, struct side *side) {
    if (device_find((enum attn_device)side->kernel.device) != worker->device)
        return refusal_json("error", "the library is for another device than was said");
    give(worker, side);
    const char *reason =
        side->kernel.refuse != NULL ? side->kernel.refuse(&side->given_problem) : NULL;
    return reason != NULL ? refusal_json("refused", reason) : NULL;
}

/* A library that came as a file, which stays open: the loader knows libraries by name, too, and
 * this one's would be another's if it were closed. */
static json_t *open_copy(int file, struct attn_kernel *kernel) {
    char path[32];
    void *handle;
    const int kept = fcntl(file, F_DUPFD_CLOEXEC, 0);
    if (kept < 0) return refusal_json("error", "too many open files for a library");
    snprintf(path, sizeof path, "/proc/self/fd/%d", kept);
    return open_library(path, kernel, &handle);
}

/* Another kernel, on the problem and the tensors of the first. */
static json_t *join(struct worker *worker, const json_t *request, struct side *side) {
    char room[PATH_MAX];
    void *handle;
    const char *path = path_from_json(json_object_get(request, "library"), room);
    const bool copied = worker->inbox->file_count > 0;
    if (worker->mapping_count == 0 || side->kernel.launch != NULL || path == NULL)
        return refusal_json("error", "another kernel before map, or twice, or without library");
    for (int n = 0; n < SIDES_MAX; n++) {
        if (worker->sides[n].prepared)
            return refusal_json("error", "another kernel beside one that is prepared");
    }
    foreign.anew = json_is_true(json_object_get(request, "copy"));
    json_t *reply = copied ? open_copy(worker->inbox->files[0], &side->kernel)
                           : open_library(path, &side->kernel, &handle);
    inbox_close_files(worker->inbox);
    if (reply == NULL) {
        side->call = worker->sides[0].call;
        side->call.state = side->call.scratch = NULL;
        side->call.scratch_bytes = 0;
        reply = ask(worker, side);
    }
    if (reply == NULL) return allocate_scratch(worker, side);
    *side = (struct side){.prepared = false};
    return reply;
}

static json_t *do_load(struct worker *worker, const json_t *request) {
    char room[PATH_MAX];
    const int64_t number = json_integer_value(json_object_get(request, "side"));
    if (number < 0 || number >= SIDES_MAX) return refusal_json("error", "no such side");
    if (number > 0) return join(worker, request, &worker->sides[number]);
    struct side *side = &worker->sides[0];
    const char *path = path_from_json(json_object_get(request, "library"), room);
    if (path == NULL || !problem_from_json(&worker->problem, json_object_get(request, "problem")))
        return refusal_json("error", "load without a library or a whole problem");
    if (worker->mapping_count > 0) return refusal_json("error", "load before unload");
    foreign.anew = false;
    const bool hides = json_object_get(request, "hide") != NULL;
    json_t *reply = hides ? open_device(worker, request) : NULL;
    if (reply != NULL) return reply;
    hide_once(worker, request, path);
    void *handle;
    reply = open_library(path, &side->kernel, &handle);
    if (reply == NULL && !hides) reply = open_device(worker, request);
    if (reply != NULL) return reply;
    side->estimate = handle != NULL ? dlsym(handle, "attest_estimate") : NULL;
    reply = ask(worker, side);
    return reply != NULL ? reply : answer();
}

static void add_written(json_t *reply, const char *around) {
    if (around != NULL) json_object_set_new(reply, "written_around", json_string(around));
}

/* The side that a request names, 0 if none; NULL: there is no such, or nothing loaded. */
static struct side *side_of(struct worker *worker, const json_t *request) {
    const int64_t number = json_integer_value(json_object_get(request, "side"));
    if (worker->device == NULL || number < 0 || number >= SIDES_MAX) return NULL;
    struct side *side = &worker->sides[number];
    return side->kernel.launch != NULL ? side : NULL;
}

struct side *worker_prepared(struct worker *worker, const json_t *request) {
    struct side *side = side_of(worker, request);
    return side != NULL && side->prepared ? side : NULL;
}

static json_t *do_prepare(struct worker *worker, const json_t *request) {
    struct side *side = side_of(worker, request);
    if (side == NULL) return refusal_json("error", "prepare before load");
    worker_choose_gaps(worker, request);
    worker_upload(worker, false);
    side->call.state = NULL;
    give(worker, side);
    const double start = clock_s();
    const char *reason = NULL;
    if (side->kernel.prepare != NULL)
        reason = side->kernel.prepare(&side->given_problem, &side->given_call);
    const double us = (clock_s() - start) * 1e6;
    static const char refused[] = "REFUSED:";
    if (reason != NULL && !strncmp(reason, refused, sizeof refused - 1))
        return refusal_json("refused",
                            reason + sizeof refused - 1 + strspn(reason + sizeof refused - 1, " "));
    if (reason != NULL) return failure_json(reason);
    side->call.state = side->given_call.state;
    json_t *refusal = worker_look_at_given(worker, side);
    if (refusal != NULL) return refusal;
    side->prepared = true;
    return json_pack("{s:b, s:f}", "ok", 1, "us", side->kernel.prepare != NULL ? us : 0);
}

const char *worker_scratch_state(const struct worker *worker, size_t bytes) {
    unsigned char guard[SCRATCH_GUARD_BYTES];
    for (int end = 0; bytes > 0 && end < 2; end++) {
        const size_t at = end * (SCRATCH_GUARD_BYTES + bytes);
        worker->device->download(guard, worker->scratch + at, sizeof guard);
        for (size_t n = 0; n < sizeof guard; n++) {
            if (guard[n] != SCRATCH_GUARD) return end == 0 ? "before" : "after";
        }
    }
    return "intact";
}

static void add_estimate(json_t *reply, const struct attest_estimate *estimate) {
    if (estimate == NULL) return;
    json_object_set_new(reply, "estimate_us", real_or_null(estimate->estimate_us));
    if (estimate->text != NULL) json_object_set_new(reply, "counted", text_to_json(estimate->text));
}

/* Devices fill with bytes; other floats are brought there, a block at a time. */
static void fill_scratch(const struct worker *worker, const struct side *side, float x) {
    enum { BLOCK = 1 << 16 };
    static float block[BLOCK];
    unsigned char *scratch = side->call.scratch;
    const size_t bytes = side->call.scratch_bytes;
    if (isnan(x) || x == 0) {
        worker->device->fill(scratch, isnan(x) ? SCRATCH_NAN : 0, bytes);
        return;
    }
    for (size_t n = 0; n < BLOCK; n++) block[n] = x;
    for (size_t at = 0; at < bytes; at += sizeof block)
        worker->device->upload(scratch + at, block,
                               bytes - at < sizeof block ? bytes - at : sizeof block);
}

/* False where memory cannot be protected, or a tensor has no page before or behind it. */
static bool raise_edges(struct worker *worker, const struct side *side) {
    struct edge edges[ATTN_SLOT_ROOM];
    size_t count = 0;
    if (worker->device->kind != ATTN_CPU) return false;
    for (int slot = 0; slot < ATTN_SLOT_COUNT; slot++) {
        const struct attn_tensor *tensor = &side->call.tensors[slot];
        const struct mapping *mapping = worker_mapping(worker, tensor);
        if (mapping == NULL) continue;
        const size_t at = (size_t)((const unsigned char *)tensor->host - mapping->host);
        const size_t bytes = span_bytes(tensor);
        if (at < EDGES_PAGE_BYTES || at + bytes + EDGES_PAGE_BYTES > mapping->bytes) return false;
        edges[count++] = (struct edge){(enum attn_slot)slot, tensor, bytes};
    }
    return edges_raise(edges, count, worker->answers, worker->nonce);
}

/* Behind scratch of which another side has more are a guard's bytes for this launch. */
static json_t *do_launch(struct worker *worker, const json_t *request) {
    struct side *side = worker_prepared(worker, request);
    if (side == NULL) return refusal_json("error", "launch before prepare");
    worker_upload(worker, true);
    const json_t *filling = json_object_get(request, "fill_scratch");
    if (side->call.scratch_bytes > 0 && filling != NULL)
        fill_scratch(worker, side,
                     json_is_number(filling) ? (float)json_number_value(filling) : NAN);
    if (side->call.scratch_bytes > 0 && side->call.scratch_bytes < worker->scratch_bytes)
        worker->device->fill((unsigned char *)side->call.scratch + side->call.scratch_bytes,
                             SCRATCH_GUARD, SCRATCH_GUARD_BYTES);
    const struct subject subject = worker_subject(worker, side);
    const bool edges = json_is_true(json_object_get(request, "edges"));
    double us = 0;
    if (edges && !raise_edges(worker, side))
        return refusal_json("error", "no pages can be protected");
    const char *reason = json_is_true(json_object_get(request, "recorded"))
                             ? sampling_repeat(&subject)
                             : subject_launch(&subject, &us, NULL);
    if (edges) edges_lower();
    json_t *refusal = reason != NULL ? failure_json(reason) : worker_look_at_given(worker, side);
    if (refusal != NULL) return refusal;
    const char *around = worker_download(worker, true);
    json_t *reply = json_pack("{s:b, s:f, s:s}", "ok", 1, "us", us, "scratch",
                              worker_scratch_state(worker, side->call.scratch_bytes));
    add_written(reply, around);
    add_estimate(reply, side->estimate);
    return reply;
}

/* What was recorded is the first side's. */
static void end_kernel(struct worker *worker, struct side *side) {
    const struct subject subject = worker_subject(worker, side);
    if (!side->prepared) return;
    if (side == &worker->sides[0]) sampling_forget(&subject);
    if (side->kernel.finish != NULL) side->kernel.finish(&side->given_problem, &side->given_call);
    side->prepared = false;
}

static json_t *do_finish(struct worker *worker, const json_t *request) {
    struct side *side = side_of(worker, request);
    const bool prepared = side != NULL && side->prepared;
    if (prepared) end_kernel(worker, side);
    const char *around = prepared ? worker_download(worker, false) : NULL;
    json_t *reply = answer();
    add_written(reply, around);
    return reply;
}

void worker_release(struct worker *worker) {
    if (worker->scratch != NULL) worker->device->release(worker->scratch);
    worker->scratch = NULL;
    worker_end_watches(worker);
}

static json_t *do_unload(struct worker *worker, const json_t *request) {
    (void)request;
    if (worker->device == NULL) return answer();
    const struct device *device = worker->device;
    for (int n = 0; n < SIDES_MAX; n++) end_kernel(worker, &worker->sides[n]);
    const char *reason = device->fault != NULL ? device->fault() : NULL;
    for (size_t n = 0; n < worker->memory_count; n++) device->unplace(worker->memories[n].device);
    for (size_t n = 0; n < worker->mapping_count; n++)
        munmap(worker->mappings[n].host, worker->mappings[n].bytes);
    views_free(&worker->views);
    worker_release(worker);
    *worker = (struct worker){.inbox = worker->inbox,
                              .keepers = {worker->keepers[0], worker->keepers[1]},
                              .answers = worker->answers,
                              .nonce = worker->nonce,
                              .hidden = worker->hidden,
                              .fenced = worker->fenced};
    return reason != NULL ? failure_json(reason) : answer();
}

static json_t *do_devices(struct worker *worker, const json_t *request) {
    (void)worker;
    return survey_devices(request);
}

static json_t *do_probe(struct worker *worker, const json_t *request) {
    (void)worker;
    return survey_probe(request);
}

static json_t *do_map(struct worker *worker, const json_t *request) {
    json_t *refusal = worker_map(worker, request);
    return refusal != NULL ? refusal : allocate_scratch(worker, &worker->sides[0]);
}

static const struct {
    const char *name;
    json_t *(*run)(struct worker *worker, const json_t *request);
} operations[] = {
    {"hello", do_hello},
    {"kernels", do_kernels},
    {"describe", do_describe},
    {"load", do_load},
    {"map", do_map},
    {"place", worker_place},
    {"prepare", do_prepare},
    {"launch", do_launch},
    {"time", worker_time},
    {"repeat", worker_repeat},
    {"expect", worker_expect},
    {"race", worker_race},
    {"furthest", worker_furthest},
    {"finish", do_finish},
    {"unload", do_unload},
    {"devices", do_devices},
    {"probe", do_probe},
};

json_t *worker_perform(struct worker *worker, const json_t *request) {
    const char *op = json_string_value(json_object_get(request, "op"));
    for (size_t n = 0; op != NULL && n < sizeof operations / sizeof operations[0]; n++) {
        if (strcmp(op, operations[n].name) != 0) continue;
        json_t *reply = operations[n].run(worker, request);
        fence_faults(false); /* as a launch left it */
        return reply;
    }
    return refusal_json("error", "no such operation");
}
