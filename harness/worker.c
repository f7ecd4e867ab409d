/* A kernel's process: `attest worker`.
 *
 * Protocol 1. The parent writes one JSON object a line to standard input, the worker answers each
 * with one line on standard output: {"ok": true, ...} or {"ok": false, "what": W, "text": T}, W
 * being "refused" (this kernel does not take this problem), "oom" (no memory) or "error". Memory is
 * shared: the parent leaves open files 3, 4, ... for the worker to map. Standard error is free.
 *
 *   {"op": "hello"}
 *       -> "protocol": 1, "worker": "attest 0.1.0"
 *   {"op": "describe", "library": PATH}
 *       -> "kernel": {abi, device, variant, name, revision, grade, change, traits: [...],
 *          dtypes: [...], p_dtype, flags: [...], head_dim_max}, all as in kernels/attn.h by name.
 *          May be asked for many libraries, one after the other.
 *   {"op": "load", "library": PATH, "problem": {variant, dtype, traits: [...], scale, batch,
 *    q_heads, kv_heads, q_len, kv_len, head_dim, page_size, pages, page_entries, kept_max},
 *    "threads": N, "device_index": N, "memory_max": BYTES (0: no limit)}
 *       The kernel's own refuse() is asked here.
 *   {"op": "map", "memories": [{"file": FD, "bytes": N}, ...], "tensors": [{"slot": "q",
 *    "memory": INDEX, "offset": BYTES, "dtype", "shape": [...], "stride": [...],
 *    "output": false}, ...]}
 *       -> "scratch_bytes": N. The worker allocates scratch, with guards of its own around it.
 *   {"op": "prepare"}
 *       Inputs are final. -> "us": T. Repeated with changed inputs after "finish".
 *   {"op": "launch"}
 *       Scratch is filled with NaN, the kernel launched once and waited for; outputs are in shared
 *       memory when the answer comes. -> "us": T, "scratch": "intact" | "before" | "after", the
 *       guard that was overwritten.
 *   {"op": "time", "cold": BOOL, "samples_min", "samples_max", "total_ms_max", "ci_target"}
 *       Launches until timing_enough (timing.h) is content; cold: caches emptied before each.
 *       -> "samples_us": [...], "stop": WHY, "scratch" as above
 *   {"op": "finish"}
 *       Inputs are in shared memory as the kernel left them.
 *   {"op": "bye"}
 *       The worker exits with 0. */
#define _GNU_SOURCE
#include "worker.h"
#include "device.h"
#include "plugin.h"
#include "protocol.h"
#include "timing.h"
#include "../oracle/clock.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MEMORIES_MAX = 4, SCRATCH_GUARD_BYTES = 4096, SCRATCH_GUARD = 0xa7, SCRATCH_NAN = 0xff };

/* A memory of the parent's, placed whole: the guards around its tensors are on the device too. */
struct placed {
    unsigned char *host, *device;
    size_t bytes;
    bool output;
};

struct worker {
    struct attn_kernel kernel;
    struct attn_problem problem;
    struct attn_call call;
    const struct device *device;
    struct placed placed[MEMORIES_MAX];
    size_t placed_count;
    int64_t memory_max;
    unsigned char *scratch; /* with its guards */
    bool prepared;
};

static json_t *answer(void) {
    return json_pack("{s:b}", "ok", 1);
}

static json_t *failed(const char *text) {
    const bool memory = strcasestr(text, "out of memory") || strcasestr(text, "cannot allocate") ||
                        strcasestr(text, "no memory");
    return refusal_json(memory ? "oom" : "error", text);
}

/* Opens a library and copies what it exports; the copy is never longer than the library's own. It
 * stays open: closing runs more of its code, and runtimes it brought may have threads by now. */
static json_t *open_library(const char *path, struct attn_kernel *kernel) {
    char text[1024];
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) return refusal_json("error", dlerror());
    const struct attn_kernel *export = dlsym(handle, "attn_export");
    if (export == NULL) {
        snprintf(text, sizeof text, "'%s' exports no symbol attn_export", path);
        return refusal_json("error", text);
    }
    if (export->abi != ATTN_ABI) {
        snprintf(text, sizeof text, "'%s' was built for contract %u, this program speaks %u", path,
                 export->abi, ATTN_ABI);
        return refusal_json("error", text);
    }
    *kernel = (struct attn_kernel){0};
    memcpy(kernel, export, export->bytes < sizeof *kernel ? export->bytes : sizeof *kernel);
    if (export->bytes < offsetof(struct attn_kernel, reserved) || kernel->name == NULL ||
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

static json_t *do_describe(struct worker *worker, const json_t *request) {
    (void)worker;
    const char *path = json_string_value(json_object_get(request, "library"));
    if (path == NULL) return refusal_json("error", "describe without library");
    struct attn_kernel kernel;
    json_t *reply = open_library(path, &kernel);
    if (reply == NULL) {
        reply = answer();
        json_object_set_new(reply, "kernel", kernel_to_json(&kernel));
    }
    return reply;
}

static json_t *do_load(struct worker *worker, const json_t *request) {
    const char *path = json_string_value(json_object_get(request, "library"));
    if (path == NULL || !problem_from_json(&worker->problem, json_object_get(request, "problem")))
        return refusal_json("error", "load without a library or a whole problem");
    json_t *reply = open_library(path, &worker->kernel);
    if (reply != NULL) return reply;
    worker->device = device_find(worker->kernel.device);
    if (worker->device == NULL) return refusal_json("refused", "this program has no such device");
    worker->memory_max = json_integer_value(json_object_get(request, "memory_max"));
    worker->call = (struct attn_call){
        .abi = ATTN_ABI,
        .threads = (int32_t)json_integer_value(json_object_get(request, "threads")),
        .device_index = (int32_t)json_integer_value(json_object_get(request, "device_index")),
    };
    const char *reason = worker->device->open(&worker->call);
    if (reason != NULL) return refusal_json("refused", reason);
    reason = worker->kernel.refuse != NULL ? worker->kernel.refuse(&worker->problem) : NULL;
    return reason != NULL ? refusal_json("refused", reason) : answer();
}

/* From here on, `bytes` more than the process has now. */
static void limit_memory(int64_t bytes) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL) return;
    if (fscanf(file, "%ld", &pages) == 1) {
        const rlim_t most = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (rlim_t)bytes;
        setrlimit(RLIMIT_AS, &(struct rlimit){most, most});
    }
    fclose(file);
}

static json_t *allocate_scratch(struct worker *worker) {
    size_t bytes = 0;
    if (worker->kernel.scratch_bytes != NULL)
        bytes = worker->kernel.scratch_bytes(&worker->problem);
    if (worker->memory_max > 0) limit_memory(worker->memory_max);
    if (bytes > 0) {
        char text[96];
        snprintf(text, sizeof text, "cannot allocate %zu bytes of scratch", bytes);
        if (bytes > SIZE_MAX / 2) return refusal_json("oom", text);
        worker->scratch = worker->device->allocate(bytes + 2 * SCRATCH_GUARD_BYTES);
        if (worker->scratch == NULL) return refusal_json("oom", text);
        worker->device->fill(worker->scratch, SCRATCH_GUARD, SCRATCH_GUARD_BYTES);
        worker->device->fill(worker->scratch + SCRATCH_GUARD_BYTES + bytes, SCRATCH_GUARD,
                             SCRATCH_GUARD_BYTES);
        worker->call.scratch = worker->scratch + SCRATCH_GUARD_BYTES;
        worker->call.scratch_bytes = bytes;
    }
    return json_pack("{s:b, s:I}", "ok", 1, "scratch_bytes", (json_int_t)bytes);
}

static int slot_find(const char *name) {
    static const char *const names[] = {
#define ATTN_X(symbol, name) #name,
        ATTN_SLOTS(ATTN_X)
#undef ATTN_X
    };
    for (int slot = 0; name != NULL && slot < ATTN_SLOT_COUNT; slot++) {
        if (!strcmp(names[slot], name)) return slot;
    }
    return -1;
}

static size_t span_bytes(const struct attn_tensor *tensor) {
    static const size_t widths[] = {
        [ATTN_F32] = 4, [ATTN_F16] = 2, [ATTN_BF16] = 2, [ATTN_I32] = 4, [ATTN_U8] = 1};
    int64_t last = 0;
    for (int n = 0; n < tensor->rank; n++) {
        if (tensor->shape[n] == 0) return 0;
        last += (tensor->shape[n] - 1) * tensor->stride[n];
    }
    return (size_t)(last + 1) * widths[tensor->dtype];
}

static json_t *do_map(struct worker *worker, const json_t *request) {
    size_t n;
    json_t *item;
    const json_t *list = json_object_get(request, "memories");
    const size_t count = json_array_size(list);
    if (worker->device == NULL || count < 1 || count > MEMORIES_MAX)
        return refusal_json("error", "map before load, or without memories");
    json_array_foreach(list, n, item) {
        const int file = (int)json_integer_value(json_object_get(item, "file"));
        const size_t bytes = (size_t)json_integer_value(json_object_get(item, "bytes"));
        void *host = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (host == MAP_FAILED) return refusal_json("oom", "cannot map the tensors");
        close(file);
        void *device = worker->device->place(host, bytes);
        if (device == NULL) return refusal_json("oom", "no room for the tensors");
        worker->placed[n] = (struct placed){.host = host, .device = device, .bytes = bytes};
    }
    worker->placed_count = count;
    json_array_foreach(json_object_get(request, "tensors"), n, item) {
        struct attn_tensor tensor;
        const int slot = slot_find(json_string_value(json_object_get(item, "slot")));
        const int64_t memory = json_integer_value(json_object_get(item, "memory"));
        const int64_t offset = json_integer_value(json_object_get(item, "offset"));
        if (slot < 0 || memory < 0 || (size_t)memory >= count || !tensor_from_json(&tensor, item) ||
            offset < 0 || (size_t)offset + span_bytes(&tensor) > worker->placed[memory].bytes)
            return refusal_json("error", "map names a tensor that is not in its memory");
        struct placed *placed = &worker->placed[memory];
        placed->output = json_is_true(json_object_get(item, "output"));
        tensor.data = placed->device + offset;
        tensor.host = placed->output ? NULL : placed->host + offset;
        worker->call.tensors[slot] = tensor;
    }
    return allocate_scratch(worker);
}

static void upload(struct worker *worker, bool outputs) {
    for (size_t n = 0; n < worker->placed_count; n++) {
        const struct placed *placed = &worker->placed[n];
        if (placed->output == outputs)
            worker->device->upload(placed->device, placed->host, placed->bytes);
    }
}

static void download(struct worker *worker, bool outputs) {
    for (size_t n = 0; n < worker->placed_count; n++) {
        const struct placed *placed = &worker->placed[n];
        if (placed->output == outputs)
            worker->device->download(placed->host, placed->device, placed->bytes);
    }
}

static json_t *do_prepare(struct worker *worker, const json_t *request) {
    (void)request;
    if (worker->device == NULL) return refusal_json("error", "prepare before load");
    upload(worker, false);
    worker->call.state = NULL;
    const double start = clock_s();
    const char *reason = NULL;
    if (worker->kernel.prepare != NULL)
        reason = worker->kernel.prepare(&worker->problem, &worker->call);
    const double us = (clock_s() - start) * 1e6;
    if (reason != NULL) return failed(reason);
    worker->prepared = true;
    return json_pack("{s:b, s:f}", "ok", 1, "us", worker->kernel.prepare != NULL ? us : 0);
}

/* "intact", or which guard of the scratch was written to. */
static const char *scratch_state(const struct worker *worker) {
    unsigned char guard[SCRATCH_GUARD_BYTES];
    for (int side = 0; worker->scratch != NULL && side < 2; side++) {
        const size_t at = side * (SCRATCH_GUARD_BYTES + worker->call.scratch_bytes);
        worker->device->download(guard, worker->scratch + at, sizeof guard);
        for (size_t n = 0; n < sizeof guard; n++) {
            if (guard[n] != SCRATCH_GUARD) return side == 0 ? "before" : "after";
        }
    }
    return "intact";
}

static json_t *do_launch(struct worker *worker, const json_t *request) {
    (void)request;
    if (!worker->prepared) return refusal_json("error", "launch before prepare");
    upload(worker, true);
    if (worker->scratch != NULL)
        worker->device->fill(worker->call.scratch, SCRATCH_NAN, worker->call.scratch_bytes);
    double us;
    const char *reason =
        worker->device->launch(&worker->kernel, &worker->problem, &worker->call, &us);
    if (reason != NULL) return failed(reason);
    download(worker, true);
    return json_pack("{s:b, s:f, s:s}", "ok", 1, "us", us, "scratch", scratch_state(worker));
}

static json_t *do_time(struct worker *worker, const json_t *request) {
    if (!worker->prepared) return refusal_json("error", "time before prepare");
    const bool cold = json_is_true(json_object_get(request, "cold"));
    const struct timing_plan plan = {
        .samples_min = json_integer_value(json_object_get(request, "samples_min")),
        .samples_max = json_integer_value(json_object_get(request, "samples_max")),
        .total_ms_max = json_number_value(json_object_get(request, "total_ms_max")),
        .ci_target = json_number_value(json_object_get(request, "ci_target")),
    };
    if (plan.samples_max < 1 || plan.samples_max > 1 << 20)
        return refusal_json("error", "samples_max must be in 1..1048576");
    double *samples = malloc((size_t)plan.samples_max * sizeof *samples);
    if (samples == NULL) return refusal_json("oom", "no memory for the samples");
    char stop[12] = "cap";
    int64_t n = 0;
    const char *reason = NULL;
    const double start = clock_s();
    do {
        if (cold && !worker->device->evict(worker->call.threads)) reason = "out of memory to evict";
        if (reason == NULL)
            reason = worker->device->launch(&worker->kernel, &worker->problem, &worker->call,
                                            &samples[n++]);
    } while (reason == NULL && n < plan.samples_max &&
             !timing_enough(samples, n, (clock_s() - start) * 1e3, &plan, stop));
    json_t *reply = reason != NULL ? failed(reason) : answer();
    if (reason == NULL) {
        download(worker, true);
        json_t *list = json_array();
        for (int64_t i = 0; i < n; i++) json_array_append_new(list, json_real(samples[i]));
        json_object_set_new(reply, "samples_us", list);
        json_object_set_new(reply, "stop", json_string(stop));
        json_object_set_new(reply, "scratch", json_string(scratch_state(worker)));
    }
    free(samples);
    return reply;
}

static json_t *do_finish(struct worker *worker, const json_t *request) {
    (void)request;
    if (worker->prepared && worker->kernel.finish != NULL)
        worker->kernel.finish(&worker->problem, &worker->call);
    if (worker->prepared) download(worker, false);
    worker->prepared = false;
    return answer();
}

static const struct {
    const char *name;
    json_t *(*run)(struct worker *worker, const json_t *request);
} operations[] = {
    {"hello", do_hello},     {"describe", do_describe}, {"load", do_load}, {"map", do_map},
    {"prepare", do_prepare}, {"launch", do_launch},     {"time", do_time}, {"finish", do_finish},
};

static json_t *perform(struct worker *worker, const json_t *request) {
    const char *op = json_string_value(json_object_get(request, "op"));
    for (size_t n = 0; op != NULL && n < sizeof operations / sizeof operations[0]; n++) {
        if (!strcmp(op, operations[n].name)) return operations[n].run(worker, request);
    }
    return refusal_json("error", "no such operation");
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1 /* as gcc says it */
#endif
#endif

#if defined(__SANITIZE_ADDRESS__)
/* Memory that is not there is an answer here too, not the end; and the leak check must be able to
 * attach to the process. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "allocator_may_return_null=1";
}
enum { DUMPABLE = 1 };
#else
enum { DUMPABLE = 0 };
#endif

/* No core files, nor pipes to a collector of them: a worker maps gigabytes, and crashing is what
 * some kernels are here for. */
static void forbid_cores(void) {
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    prctl(PR_SET_DUMPABLE, DUMPABLE);
}

int worker_main(int argc, char **argv) {
    (void)argc, (void)argv;
    forbid_cores();
    /* The conversation moves to a file that only we know: what a kernel prints goes to stderr. */
    const int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 64);
    FILE *to = out >= 0 && dup2(STDERR_FILENO, STDOUT_FILENO) >= 0 ? fdopen(out, "w") : NULL;
    if (to == NULL) return FAULT_OURS;
    struct worker worker = {0};
    char *line = NULL;
    size_t room = 0;
    bool end = false;
    while (!end && getline(&line, &room, stdin) > 0) {
        json_t *request = json_loads(line, 0, NULL);
        const char *op = json_string_value(json_object_get(request, "op"));
        end = op != NULL && !strcmp(op, "bye");
        json_t *reply = end ? answer() : perform(&worker, request);
        json_dumpf(reply, to, JSON_COMPACT);
        fputc('\n', to);
        fflush(to);
        json_decref(reply);
        json_decref(request);
    }
    if (worker.scratch != NULL) worker.device->release(worker.scratch);
    free(line);
    fclose(to);
    return 0;
}
