/* A kernel's process: `attest worker [PROCESS...]`, processes being those that a kernel must not
 * reach for (fence.h): who started it, and who started them.
 *
 * Protocol 2. The parent writes one JSON object a line to standard input, the worker answers each
 * with one line on standard output: {"ok": true, ...} or {"ok": false, "what": W, "text": T}, W
 * being "refused" (this kernel does not take this problem), "oom" (no memory) or "error". Memory is
 * shared: open files to map come with a request as ancillary data (SCM_RIGHTS; standard input is a
 * Unix socket). Standard error is free.
 *
 * Each request has a "nonce", random text, that its answer repeats; an answer without it, or a
 * second one, is none of the worker's, and ends it. So a kernel that writes to all descriptors
 * forges nothing. It can still find the text, or rewrite the worker, for it is in its process: the
 * text is overwritten where we keep it, which is the best that can be done from here. The worker
 * ends, with EXIT_ROBBED, where its descriptors are no longer those that it was started with.
 *
 *   {"op": "hello"}
 *       -> "protocol": 2, "worker": "attest 0.1.0"
 *   {"op": "describe", "library": PATH}
 *       -> "kernel": {abi, device, variant, name, revision, grade, change, traits: [...],
 *          dtypes: [...], p_dtype, flags: [...], head_dim_max}, all as in kernels/attn.h by name.
 *          May be asked for many libraries, one after the other.
 *   {"op": "load", "library": PATH, "device": "cpu", "problem": {variant, dtype, traits: [...],
 *    scale, batch, q_heads, kv_heads, q_len, kv_len, head_dim, page_size, pages, page_entries,
 *    kept_max}, "threads": N, "device_index": N, "memory_max": BYTES (0: no limit)}
 *       The kernel's own refuse() is asked here. "device" is the library's ("cpu" if not told): a
 *       GPU is opened before the library is, unless nothing is to be hidden.
 *       Both, the first time: "hide": [PATH, ...], which nothing in this process can reach from
 *       then on (hide.h).
 *   {"op": "map", "memories": [{"bytes": N}, ...], "tensors": [{"slot": "q", "memory": INDEX,
 *    "offset": BYTES, "dtype", "shape": [...], "stride": [...], "output": false}, ...]}
 *       Comes with a file for each memory. "apart": true: on the device each tensor is a memory of
 *       its own, without guards, for tools that know where each begins and ends.
 *       -> "scratch_bytes": N. The worker allocates scratch, with guards of its own around it.
 *   {"op": "prepare"}
 *       Inputs are final. -> "us": T. Repeated with changed inputs after "finish".
 *   {"op": "place", "tensors": [{"slot": "q", "offset": BYTES}, ...]}
 *       Inputs have been moved within their memory, and are there from now on. Not of a kernel that
 *       is prepared.
 *   {"op": "launch", "recorded": BOOL, "fill_scratch": X, "edges": BOOL}
 *       Scratch is filled with floats X, null being NaN, or left alone where X is not told; the
 *       kernel launched once and waited for; outputs are in shared memory when the answer comes.
 *       "recorded": what "time" recorded is replayed instead, if it did. "edges": inputs are behind
 *       protected pages meanwhile (edges.h), for which each has a page of its memory to itself
 *       before its first and one behind its last; of a CPU's kernel only.
 *       -> "us": T, "scratch": "intact" | "before" | "after", the guard that was overwritten; of a
 *       library that estimates (kernels/ascend/estimate.h) also "estimate_us": T, "counted": TEXT
 *   {"op": "time", "cold": BOOL, "touched_bytes", "samples_min", "samples_max", "total_ms_max",
 *    "ci_target", "control": PATH, "quiet_us", "watch": {"q_lens": [...], "lse": BOOL,
 *    "unwritten": WORD, "unwritten_lse": WORD}}
 *       Takes samples (sampling.h) until timing_enough (timing.h) is content. With "watch", outputs
 *       in shared memory are what each sample should leave (watch.h), and hold, when the answer
 *       comes, that of what samples left which is furthest from it; values are turned meanwhile
 *       (turn.h) and as they were afterwards; then also
 *       -> "looked": N, "differed": N, "first": N, the first sample that differed, from 1,
 *          "stale": N that did so in signs alone, "surprised_us": [...], "touched_us": [...],
 *          "turned_bytes", "spoilt": {"launches", "us", "touched_us", "alone_us", "why"} (spoil.h)
 *       Beside each sample "control" is timed (control.h), the library's for a GPU.
 *       -> "samples_us": [...], "clock_mhz": [...], "control_us": [...], "interrupted": N, "stop",
 *          "how", "launches", "copies", "single_us", "unrecorded": WHY, "watts", "celsius",
 *          "slowed": WHY, "scratch" as above
 *   {"op": "repeat", "times": N}
 *       What was timed last, so many times, one after the other, and no more: who asks has a clock
 *       too. -> "us": T for all of them
 *   {"op": "finish"}
 *       Inputs are in shared memory as the kernel left them.
 *   {"op": "unload"}
 *       Gives back all memory; another "load" may follow. An error says that the device is not well
 *       and this worker of no more use.
 *   {"op": "devices", "device": "cuda"}
 *       -> "devices": [{"name", "driver", ...}, ...], fields of struct machine_device (record.h)
 *   {"op": "probe", "device": "cuda", "device_index": N, "library": PATH, "seconds": S}
 *       -> "ceilings": {...}, fields of the same, as the library measured them (probe_library.h)
 *   {"op": "bye"}
 *       The worker exits with 0. */
#define _GNU_SOURCE
#include "worker.h"
#include "device.h"
#include "driver.h"
#include "edges.h"
#include "fence.h"
#include "hide.h"
#include "inbox.h"
#include "protocol.h"
#include "sampling.h"
#include "survey.h"
#include "watch.h"
#include "../../kernels/ascend/estimate.h"
#include "../../oracle/clock.h"
#include "../../oracle/fault.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SCRATCH_GUARD_BYTES = 4096, SCRATCH_GUARD = 0xa7, SCRATCH_NAN = 0xff };

struct mapping {
    unsigned char *host;
    size_t bytes;
};

struct worker {
    struct attn_kernel kernel;
    const struct attest_estimate *estimate; /* the library's, NULL if it has none */
    struct attn_problem problem;
    struct attn_call call;
    /* What kernels are given, copies: what one does to them changes nothing here. */
    struct attn_problem given_problem;
    struct attn_call given_call;
    const struct device *device;
    struct inbox *inbox;                      /* the files that came with the request at hand */
    struct mapping mappings[INBOX_FILES_MAX]; /* the parent's memories, here */
    size_t mapping_count;
    /* And on the device. Placed whole, the guards around their tensors are there too. */
    struct memory memories[ATTN_SLOT_ROOM];
    size_t memory_count;
    int64_t memory_max;
    pid_t keepers[FENCE_KEEPERS];
    int answers;            /* the file that they are written to, */
    const char *nonce;      /* and what the next one repeats */
    unsigned char *scratch; /* with its guards */
    bool prepared;
    bool hidden; /* what is to be is, or cannot be */
};

static struct subject subject_of(const struct worker *worker) {
    return (struct subject){.device = worker->device,
                            .kernel = &worker->kernel,
                            .problem = &worker->given_problem,
                            .call = &worker->given_call,
                            .memories = worker->memories,
                            .memory_count = worker->memory_count};
}

static json_t *answer(void) {
    return json_pack("{s:b}", "ok", 1);
}

/* memcpy, for padding counts when they are compared. */
static void give(struct worker *worker) {
    memcpy(&worker->given_problem, &worker->problem, sizeof worker->problem);
    memcpy(&worker->given_call, &worker->call, sizeof worker->call);
}

/* Whether a kernel has written to what it was called with, as it may not: a refusal, or NULL. */
static json_t *look_at_given(const struct worker *worker) {
    if (memcmp(&worker->given_problem, &worker->problem, sizeof worker->problem) == 0 &&
        memcmp(&worker->given_call, &worker->call, sizeof worker->call) == 0)
        return NULL;
    return refusal_json("error",
                        "FAIL_INPUT_CHANGED: wrote to the problem or the call that it was given: "
                        "pointers, shapes and sizes are attest's");
}

/* Opens a library and copies what it exports; the copy is never longer than the library's own. It
 * stays open: closing runs more of its code, and runtimes it brought may have threads by now. */
static json_t *open_library(const char *path, struct attn_kernel *kernel, void **opened) {
    char text[1024];
    void *handle = *opened = dlopen(path, RTLD_NOW | RTLD_LOCAL);
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

/* Before the library is, and before the fences are up: a driver may start programs of its own, with
 * more rights than ours, that make what a device needs. */
static json_t *open_device(struct worker *worker, const json_t *request) {
    const char *name = json_string_value(json_object_get(request, "device"));
    enum attn_device kind = ATTN_CPU;
    while (name != NULL && kind <= ATTN_ASCEND_TWIN && strcmp(name, device_name(kind)) != 0) kind++;
    worker->device = device_find(kind);
    if (worker->device == NULL) return refusal_json("refused", "this program has no such device");
    worker->memory_max = json_integer_value(json_object_get(request, "memory_max"));
    worker->call = (struct attn_call){
        .abi = ATTN_ABI,
        .threads = (int32_t)json_integer_value(json_object_get(request, "threads")),
        .device_index = (int32_t)json_integer_value(json_object_get(request, "device_index")),
    };
    const char *reason = worker->device->open(&worker->call);
    if (reason != NULL) {
        worker->device = NULL; /* nothing of it is there to be unloaded */
        return refusal_json("refused", reason);
    }
    if (driver_of(kind)->library == NULL) fence_raise(worker->keepers);
    return NULL;
}

static json_t *do_load(struct worker *worker, const json_t *request) {
    char room[PATH_MAX];
    const char *path = path_from_json(json_object_get(request, "library"), room);
    if (path == NULL || !problem_from_json(&worker->problem, json_object_get(request, "problem")))
        return refusal_json("error", "load without a library or a whole problem");
    if (worker->mapping_count > 0) return refusal_json("error", "load before unload");
    const bool hides = json_object_get(request, "hide") != NULL;
    json_t *reply = hides ? open_device(worker, request) : NULL;
    if (reply != NULL) return reply;
    hide_once(worker, request, path);
    void *handle;
    reply = open_library(path, &worker->kernel, &handle);
    if (reply == NULL && !hides) reply = open_device(worker, request);
    if (reply != NULL) return reply;
    worker->estimate = dlsym(handle, "attest_estimate");
    if (device_find((enum attn_device)worker->kernel.device) != worker->device)
        return refusal_json("error", "the library is for another device than was said");
    give(worker);
    const char *reason =
        worker->kernel.refuse != NULL ? worker->kernel.refuse(&worker->given_problem) : NULL;
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
        bytes = worker->kernel.scratch_bytes(&worker->given_problem);
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

static json_t *map_files(struct worker *worker, const json_t *list) {
    size_t n;
    json_t *item;
    json_array_foreach(list, n, item) {
        const size_t bytes = (size_t)json_integer_value(json_object_get(item, "bytes"));
        void *host = n < worker->inbox->file_count ? mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                                                          MAP_SHARED, worker->inbox->files[n], 0)
                                                   : MAP_FAILED;
        if (host == MAP_FAILED) return refusal_json("oom", "cannot map the tensors");
        worker->mappings[worker->mapping_count++] = (struct mapping){host, bytes};
    }
    return NULL;
}

/* Where on the device a part of a mapping is, that another tensor may have brought there. */
static struct memory *place(struct worker *worker, unsigned char *host, size_t bytes) {
    for (size_t n = 0; n < worker->memory_count; n++) {
        if (worker->memories[n].host == host) return &worker->memories[n];
    }
    struct memory *memory = &worker->memories[worker->memory_count];
    *memory = (struct memory){.host = host, .bytes = bytes};
    memory->device = worker->device->place(host, bytes > 0 ? bytes : 1);
    if (memory->device == NULL) return NULL;
    worker->memory_count++;
    return memory;
}

static json_t *map_tensor(struct worker *worker, const json_t *item, bool apart) {
    struct attn_tensor tensor;
    const int slot = slot_find(json_string_value(json_object_get(item, "slot")));
    const int64_t index = json_integer_value(json_object_get(item, "memory"));
    const int64_t offset = json_integer_value(json_object_get(item, "offset"));
    if (slot < 0 || index < 0 || (size_t)index >= worker->mapping_count ||
        !tensor_from_json(&tensor, item) || offset < 0 ||
        (size_t)offset + span_bytes(&tensor) > worker->mappings[index].bytes)
        return refusal_json("error", "map names a tensor that is not in its memory");
    const struct mapping *mapping = &worker->mappings[index];
    struct memory *memory = apart ? place(worker, mapping->host + offset, span_bytes(&tensor))
                                  : place(worker, mapping->host, mapping->bytes);
    if (memory == NULL) return refusal_json("oom", "no room for the tensors");
    memory->output = json_is_true(json_object_get(item, "output"));
    tensor.data = memory->device + (apart ? 0 : offset);
    tensor.host = memory->output ? NULL : mapping->host + offset;
    worker->call.tensors[slot] = tensor;
    return NULL;
}

static json_t *do_map(struct worker *worker, const json_t *request) {
    size_t n;
    json_t *item;
    const json_t *list = json_object_get(request, "memories");
    const bool apart = json_is_true(json_object_get(request, "apart"));
    const size_t count = json_array_size(list);
    if (worker->device == NULL || worker->mapping_count > 0 || count < 1 || count > INBOX_FILES_MAX)
        return refusal_json("error", "map before load, or twice, or without memories");
    json_t *refusal = map_files(worker, list);
    inbox_close_files(worker->inbox); /* before any of the kernel's code runs */
    json_array_foreach(json_object_get(request, "tensors"), n, item) {
        if (refusal == NULL) refusal = map_tensor(worker, item, apart);
    }
    return refusal != NULL ? refusal : allocate_scratch(worker);
}

/* Where the tensor lies in the parent's memory. */
static struct mapping *mapping_of(struct worker *worker, const struct attn_tensor *tensor) {
    const unsigned char *host = tensor->host;
    for (size_t n = 0; n < worker->mapping_count && host != NULL; n++) {
        struct mapping *mapping = &worker->mappings[n];
        if (host >= mapping->host && host <= mapping->host + mapping->bytes) return mapping;
    }
    return NULL;
}

static json_t *do_place(struct worker *worker, const json_t *request) {
    size_t n;
    json_t *item;
    if (worker->prepared) return refusal_json("error", "place of a kernel that is prepared");
    json_array_foreach(json_object_get(request, "tensors"), n, item) {
        const int slot = slot_find(json_string_value(json_object_get(item, "slot")));
        const int64_t offset = json_integer_value(json_object_get(item, "offset"));
        struct attn_tensor *tensor = &worker->call.tensors[slot < 0 ? ATTN_OUT : slot];
        const struct mapping *mapping = mapping_of(worker, tensor);
        if (mapping == NULL || offset < 0 || (size_t)offset + span_bytes(tensor) > mapping->bytes)
            return refusal_json("error", "place names no input, or not in its memory");
        const ptrdiff_t way = mapping->host + offset - (const unsigned char *)tensor->host;
        tensor->data = (unsigned char *)tensor->data + way;
        tensor->host = mapping->host + offset;
    }
    return answer();
}

static void upload(struct worker *worker, bool outputs) {
    for (size_t n = 0; n < worker->memory_count; n++) {
        const struct memory *memory = &worker->memories[n];
        if (memory->output == outputs)
            worker->device->upload(memory->device, memory->host, memory->bytes);
    }
}

static void download(struct worker *worker, bool outputs) {
    for (size_t n = 0; n < worker->memory_count; n++) {
        const struct memory *memory = &worker->memories[n];
        if (memory->output == outputs)
            worker->device->download(memory->host, memory->device, memory->bytes);
    }
}

static json_t *do_prepare(struct worker *worker, const json_t *request) {
    (void)request;
    if (worker->device == NULL) return refusal_json("error", "prepare before load");
    upload(worker, false);
    worker->call.state = NULL;
    give(worker);
    const double start = clock_s();
    const char *reason = NULL;
    if (worker->kernel.prepare != NULL)
        reason = worker->kernel.prepare(&worker->given_problem, &worker->given_call);
    const double us = (clock_s() - start) * 1e6;
    if (reason != NULL) return failure_json(reason);
    worker->call.state = worker->given_call.state;
    json_t *refusal = look_at_given(worker);
    if (refusal != NULL) return refusal;
    worker->prepared = true;
    return json_pack("{s:b, s:f}", "ok", 1, "us", worker->kernel.prepare != NULL ? us : 0);
}

static json_t *real_or_null(double x) {
    json_t *json = json_real(x); /* NULL of NaN */
    return json != NULL ? json : json_null();
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

static void add_estimate(json_t *reply, const struct attest_estimate *estimate) {
    if (estimate == NULL) return;
    json_object_set_new(reply, "estimate_us", real_or_null(estimate->estimate_us));
    if (estimate->text != NULL) json_object_set_new(reply, "counted", text_to_json(estimate->text));
}

/* Devices fill with bytes; other floats are brought there, a block at a time. */
static void fill_scratch(struct worker *worker, float x) {
    enum { BLOCK = 1 << 16 };
    static float block[BLOCK];
    unsigned char *scratch = worker->call.scratch;
    const size_t bytes = worker->call.scratch_bytes;
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
static bool raise_edges(struct worker *worker) {
    struct edge edges[ATTN_SLOT_ROOM];
    size_t count = 0;
    if (worker->device->kind != ATTN_CPU) return false;
    for (int slot = 0; slot < ATTN_OUT; slot++) {
        const struct attn_tensor *tensor = &worker->call.tensors[slot];
        const struct mapping *mapping = mapping_of(worker, tensor);
        if (mapping == NULL) continue;
        const size_t at = (size_t)((const unsigned char *)tensor->host - mapping->host);
        const size_t bytes = span_bytes(tensor);
        if (at < EDGES_PAGE_BYTES || at + bytes + EDGES_PAGE_BYTES > mapping->bytes) return false;
        edges[count++] = (struct edge){(enum attn_slot)slot, tensor, bytes};
    }
    return edges_raise(edges, count, worker->answers, worker->nonce);
}

static json_t *do_launch(struct worker *worker, const json_t *request) {
    if (!worker->prepared) return refusal_json("error", "launch before prepare");
    upload(worker, true);
    const json_t *filling = json_object_get(request, "fill_scratch");
    if (worker->scratch != NULL && filling != NULL)
        fill_scratch(worker, json_is_number(filling) ? (float)json_number_value(filling) : NAN);
    const struct subject subject = subject_of(worker);
    const bool edges = json_is_true(json_object_get(request, "edges"));
    double us = 0;
    if (edges && !raise_edges(worker)) return refusal_json("error", "no pages can be protected");
    const char *reason =
        json_is_true(json_object_get(request, "recorded"))
            ? sampling_repeat(&subject)
            : worker->device->launch(subject.kernel, subject.problem, subject.call, &us);
    if (edges) edges_lower();
    json_t *refusal = reason != NULL ? failure_json(reason) : look_at_given(worker);
    if (refusal != NULL) return refusal;
    download(worker, true);
    json_t *reply =
        json_pack("{s:b, s:f, s:s}", "ok", 1, "us", us, "scratch", scratch_state(worker));
    add_estimate(reply, worker->estimate);
    return reply;
}

static json_t *reals(const double *x, int64_t count) {
    json_t *list = json_array();
    for (int64_t n = 0; n < count; n++) json_array_append_new(list, real_or_null(x[n]));
    return list;
}

static struct memory *output_memory(struct worker *worker, enum attn_slot slot) {
    const unsigned char *data = worker->call.tensors[slot].data;
    for (size_t n = 0; n < worker->memory_count; n++) {
        struct memory *memory = &worker->memories[n];
        if (data >= memory->device && data < memory->device + memory->bytes) return memory;
    }
    return NULL;
}

/* False with *watch empty where none is asked for. */
static bool begin_watch(struct worker *worker, struct watch *watch, struct turn *turn,
                        int64_t *q_lens, const json_t *asked) {
    const struct memory *memory = output_memory(worker, ATTN_OUT);
    const json_t *list = json_object_get(asked, "q_lens");
    if (memory == NULL || json_array_size(list) != (size_t)worker->problem.batch) return false;
    for (int64_t b = 0; b < worker->problem.batch; b++)
        q_lens[b] = json_integer_value(json_array_get(list, (size_t)b));
    const struct attn_tensor *out = &worker->call.tensors[ATTN_OUT];
    const struct attn_tensor *lse = &worker->call.tensors[ATTN_LSE];
    const bool with_lse = json_is_true(json_object_get(asked, "lse"));
    *watch = (struct watch){.device = worker->device,
                            .problem = &worker->problem,
                            .out = out->data,
                            .out_bytes = span_bytes(out),
                            .lse = with_lse ? lse->data : NULL,
                            .lse_bytes = with_lse ? span_bytes(lse) : 0,
                            .q_lens = q_lens,
                            .here = memory->host == memory->device};
    if (turn_begin(turn, worker->device, &worker->problem, &worker->call)) watch->turn = turn;
    upload(worker, true);
    if (watch_begin(watch, (uint32_t)json_integer_value(json_object_get(asked, "unwritten")),
                    (uint32_t)json_integer_value(json_object_get(asked, "unwritten_lse"))))
        return true;
    watch_end(watch);
    return false;
}

/* Into shared memory. */
static void hand_over(struct worker *worker, const struct watch *watch, enum attn_slot slot,
                      const unsigned char *from, size_t bytes) {
    const struct memory *memory = output_memory(worker, slot);
    const unsigned char *data = worker->call.tensors[slot].data;
    if (watch->differed > 0 && memory != NULL && bytes > 0)
        memcpy(memory->host + (data - memory->device), from, bytes);
}

static json_t *spoilt_json(const struct spoilt *spoilt) {
    return json_pack("{s:I, s:f, s:f, s:f, s:s}", "launches", (json_int_t)spoilt->launches, "us",
                     spoilt->us, "touched_us", spoilt->touched_us, "alone_us", spoilt->alone_us,
                     "why", spoilt->why);
}

static json_t *do_time(struct worker *worker, const json_t *request) {
    if (!worker->prepared) return refusal_json("error", "time before prepare");
    struct sampling sampling = {
        .plan = {.samples_min = json_integer_value(json_object_get(request, "samples_min")),
                 .samples_max = json_integer_value(json_object_get(request, "samples_max")),
                 .total_ms_max = json_number_value(json_object_get(request, "total_ms_max")),
                 .ci_target = json_number_value(json_object_get(request, "ci_target"))},
        .cold = json_is_true(json_object_get(request, "cold")),
        .touched_bytes = json_number_value(json_object_get(request, "touched_bytes")),
    };
    if (sampling.plan.samples_max < 1 || sampling.plan.samples_max > 1 << 20)
        return refusal_json("error", "samples_max must be in 1..1048576");
    char room[PATH_MAX];
    sampling.quiet_us = json_number_value(json_object_get(request, "quiet_us"));
    sampling.control = path_from_json(json_object_get(request, "control"), room);
    const struct subject subject = subject_of(worker);
    struct watch watch = {0};
    struct turn turn = {0};
    int64_t *q_lens = calloc((size_t)worker->problem.batch + 1, sizeof *q_lens);
    if (q_lens != NULL &&
        begin_watch(worker, &watch, &turn, q_lens, json_object_get(request, "watch")))
        sampling.watch = &watch;
    sampling.watched_min =
        json_integer_value(json_object_get(json_object_get(request, "watch"), "samples_min"));
    const char *reason = sampling_take(&sampling, &subject);
    json_t *reply = reason != NULL ? failure_json(reason) : look_at_given(worker);
    if (reply == NULL) {
        download(worker, true);
        hand_over(worker, &watch, ATTN_OUT, watch.furthest, watch.out_bytes);
        hand_over(worker, &watch, ATTN_LSE, watch.furthest + watch.out_bytes, watch.lse_bytes);
        reply = json_pack(
            "{s:b, s:o, s:o, s:s, s:s, s:I, s:I, s:f, s:s, s:o, s:o, s:s, s:s}", "ok", 1,
            "samples_us", reals(sampling.us, sampling.n), "clock_mhz",
            reals(sampling.clock_mhz, sampling.n), "stop", sampling.stop, "how", sampling.how,
            "launches", (json_int_t)sampling.launches, "copies", (json_int_t)sampling.copies,
            "single_us", sampling.single_us, "unrecorded", sampling.unrecorded, "watts",
            real_or_null(sampling.last.watts), "celsius", real_or_null(sampling.last.celsius),
            "slowed", sampling.last.slowed, "scratch", scratch_state(worker));
        json_object_set_new(reply, "interrupted", json_integer(sampling.interrupted));
        json_object_set_new(reply, "control_us", reals(sampling.control_us, sampling.n));
        json_object_set_new(reply, "looked", json_integer(watch.looked));
        json_object_set_new(reply, "differed", json_integer(watch.differed));
        json_object_set_new(reply, "first", json_integer(watch.first));
        json_object_set_new(reply, "stale", json_integer(watch.stale));
        json_object_set_new(reply, "surprised_us",
                            reals(sampling.surprised_us, sampling.surprised));
        json_object_set_new(reply, "touched_us", reals(sampling.touched_us, sampling.touched));
        json_object_set_new(reply, "turned_bytes", json_real(sampling.turned_bytes));
        json_object_set_new(reply, "spoilt", spoilt_json(&sampling.spoilt));
    }
    watch_end(&watch);
    turn_end(&turn);
    free(q_lens);
    free(sampling.us);
    free(sampling.clock_mhz);
    free(sampling.control_us);
    return reply;
}

static json_t *do_repeat(struct worker *worker, const json_t *request) {
    if (!worker->prepared) return refusal_json("error", "repeat before prepare");
    const struct subject subject = subject_of(worker);
    const int64_t times = json_integer_value(json_object_get(request, "times"));
    const double start = clock_s();
    for (int64_t n = 0; n < times; n++) {
        const char *reason = sampling_repeat(&subject);
        if (reason != NULL) return failure_json(reason);
    }
    return json_pack("{s:b, s:f}", "ok", 1, "us", (clock_s() - start) * 1e6);
}

static void end_kernel(struct worker *worker) {
    const struct subject subject = subject_of(worker);
    if (!worker->prepared) return;
    sampling_forget(&subject);
    if (worker->kernel.finish != NULL)
        worker->kernel.finish(&worker->given_problem, &worker->given_call);
    worker->prepared = false;
}

static json_t *do_finish(struct worker *worker, const json_t *request) {
    (void)request;
    const bool prepared = worker->prepared;
    end_kernel(worker);
    if (prepared) download(worker, false);
    return answer();
}

static json_t *do_unload(struct worker *worker, const json_t *request) {
    (void)request;
    if (worker->device == NULL) return answer();
    const struct device *device = worker->device;
    end_kernel(worker);
    const char *reason = device->fault != NULL ? device->fault() : NULL;
    for (size_t n = 0; n < worker->memory_count; n++) device->unplace(worker->memories[n].device);
    for (size_t n = 0; n < worker->mapping_count; n++)
        munmap(worker->mappings[n].host, worker->mappings[n].bytes);
    if (worker->scratch != NULL) device->release(worker->scratch);
    *worker = (struct worker){.inbox = worker->inbox,
                              .keepers = {worker->keepers[0], worker->keepers[1]},
                              .answers = worker->answers,
                              .nonce = worker->nonce,
                              .hidden = worker->hidden};
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

static const struct {
    const char *name;
    json_t *(*run)(struct worker *worker, const json_t *request);
} operations[] = {
    {"hello", do_hello},   {"describe", do_describe}, {"load", do_load},
    {"map", do_map},       {"place", do_place},       {"prepare", do_prepare},
    {"launch", do_launch}, {"time", do_time},         {"repeat", do_repeat},
    {"finish", do_finish}, {"unload", do_unload},     {"devices", do_devices},
    {"probe", do_probe},
};

static json_t *perform(struct worker *worker, const json_t *request) {
    const char *op = json_string_value(json_object_get(request, "op"));
    for (size_t n = 0; op != NULL && n < sizeof operations / sizeof operations[0]; n++) {
        if (strcmp(op, operations[n].name) != 0) continue;
        json_t *reply = operations[n].run(worker, request);
        fence_faults(false); /* as a launch left it */
        return reply;
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

/* Takes the request's nonce out of it, and out of the inbox. What json_loads allocated on its way
 * is beyond us. */
static void take_nonce(char nonce[NONCE_BYTES], json_t *request, struct inbox *inbox) {
    const char *text = json_string_value(json_object_get(request, "nonce"));
    snprintf(nonce, NONCE_BYTES, "%s", text != NULL ? text : "");
    if (text != NULL) explicit_bzero((char *)text, strlen(text));
    json_object_del(request, "nonce");
    inbox_wipe(inbox);
}

/* Both ends of the conversation are one socket: a kernel that put something between, to read or
 * edit what goes by, has made it two. By hand they may be two from the beginning. */
struct ends {
    ino_t in, out;
};

static struct ends ends_now(FILE *to) {
    struct stat in = {0}, out = {0};
    fstat(STDIN_FILENO, &in);
    fstat(fileno(to), &out);
    return (struct ends){in.st_ino, out.st_ino};
}

static void check_ends(FILE *to, const struct ends *given) {
    const struct ends now = ends_now(to);
    if (now.in != given->in || now.out != given->out) _exit(EXIT_ROBBED);
}

static void send_answer(FILE *to, json_t *reply, char nonce[NONCE_BYTES]) {
    if (*nonce != '\0') json_object_set_new(reply, "nonce", json_string(nonce));
    json_dumpf(reply, to, JSON_COMPACT);
    fputc('\n', to);
    fflush(to);
    json_decref(reply);
}

int worker_main(int argc, char **argv) {
    forbid_cores();
    /* The conversation moves to a file that only we know: what a kernel prints goes to stderr. */
    const int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 64);
    FILE *to = out >= 0 && dup2(STDERR_FILENO, STDOUT_FILENO) >= 0 ? fdopen(out, "w") : NULL;
    if (to == NULL) return FAULT_OURS;
    const struct ends ends = ends_now(to);
    struct inbox inbox = {0};
    static struct worker worker;
    worker.inbox = &inbox;
    worker.answers = out;
    for (int n = 0; n < FENCE_KEEPERS; n++)
        worker.keepers[n] = argc > 1 + n ? (pid_t)strtol(argv[1 + n], NULL, 10) : getppid();
    const char *line;
    bool end = false;
    char nonce[NONCE_BYTES];
    worker.nonce = nonce;
    while (!end && (line = inbox_next(&inbox)) != NULL) {
        json_t *request = json_loads(line, 0, NULL);
        take_nonce(nonce, request, &inbox);
        const char *op = json_string_value(json_object_get(request, "op"));
        end = op != NULL && !strcmp(op, "bye");
        json_t *reply = end ? answer() : perform(&worker, request);
        check_ends(to, &ends);
        send_answer(to, reply, nonce);
        json_decref(request);
    }
    if (worker.scratch != NULL) worker.device->release(worker.scratch);
    worker.inbox = NULL;
    worker.nonce = NULL;
    inbox_free(&inbox);
    fclose(to);
    return 0;
}
