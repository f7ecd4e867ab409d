/* An Ascend NPU as a device, through AscendCL as it is found when a kernel is loaded: this file
 * builds without CANN, and the program starts without a driver. Written from the public
 * documentation (hiascend.com, "AscendCL API Reference", CANN 8.0 to 9.1; page titles stand beside
 * what was taken from them) and tested on a stand-in (odd/standin_acl.c): never run on an NPU.
 *
 * All work is on one stream. Unlike CUDA's, copies and the release of memory wait for no stream
 * ("aclrtMemcpy", "aclrtFree"), so this file waits before each of them. A launch is waited for by
 * its stream alone: what a kernel puts elsewhere than on call->stream is not there when its output
 * is looked at. Times are between two events on the stream; cold, 4 times the L2 is filled on the
 * stream before the first of them. Launches are not recorded. ATTEST_LIBASCENDCL names another
 * library in AscendCL's place. */
#include "device.h"
#include "protocol.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ACL_SUCCESS = 0,                      /* "aclError", as is the next */
    ACL_ERROR_REPEAT_INITIALIZE = 100002, /* a kernel's library may have been first */
    ACL_MEM_MALLOC_HUGE_FIRST = 0,        /* "aclrtMalloc": the first of aclrtMemMallocPolicy */
    ACL_MEMCPY_HOST_TO_DEVICE = 1,        /* "aclrtMemcpyKind" counts from 0, HOST_TO_HOST */
    ACL_MEMCPY_DEVICE_TO_HOST = 2,
    ACL_MEMCPY_DEVICE_TO_DEVICE = 3,
    ACL_HBM_MEM = 1,              /* "aclrtGetMemInfo": the second of aclrtMemAttr */
    ACL_EVENT_TIME_LINE = 8,      /* "aclrtCreateEventWithFlag" */
    ACL_DEVICE_INFO_AI_CORES = 0, /* "aclDeviceInfo": ..._AI_CORE_NUM, ..._L2_SIZE */
    ACL_DEVICE_INFO_L2_BYTES = 2,
};

/* X(our name, the library's, arguments), each the title of its page; each returns an aclError. */
#define ACL_FUNCTIONS(X)                                                                           \
    X(init, aclInit, (const char *configuration))                                                  \
    X(version, aclrtGetVersion, (int32_t * major, int32_t * minor, int32_t * patch))               \
    X(device_count, aclrtGetDeviceCount, (uint32_t * count))                                       \
    X(device_set, aclrtSetDevice, (int32_t index))                                                 \
    X(device_reset, aclrtResetDevice, (int32_t index))                                             \
    X(device_wait, aclrtSynchronizeDevice, (void))                                                 \
    X(capability, aclGetDeviceCapability, (uint32_t index, int what, int64_t *value))              \
    X(stream_create, aclrtCreateStream, (void **stream))                                           \
    X(stream_wait, aclrtSynchronizeStream, (void *stream))                                         \
    X(event_create, aclrtCreateEventWithFlag, (void **event, uint32_t flag))                       \
    X(event_record, aclrtRecordEvent, (void *event, void *stream))                                 \
    X(event_ms, aclrtEventElapsedTime, (float *ms, void *from, void *to))                          \
    X(allocate, aclrtMalloc, (void **memory, size_t bytes, int policy))                            \
    X(release, aclrtFree, (void *memory))                                                          \
    X(memory, aclrtGetMemInfo, (int attribute, size_t *unused, size_t *all))                       \
    X(copy, aclrtMemcpy, (void *to, size_t room, const void *from, size_t bytes, int kind))        \
    X(fill, aclrtMemset, (void *to, size_t room, int32_t value, size_t bytes))                     \
    X(fill_on, aclrtMemsetAsync, (void *to, size_t room, int32_t value, size_t bytes, void *stream))

static struct acl {
#define ACL_X(name, symbol, arguments) int(*name) arguments;
    ACL_FUNCTIONS(ACL_X)
#undef ACL_X
    const char *(*soc_name)(void);     /* aclrtGetSocName */
    const char *(*recent_error)(void); /* aclGetRecentErrMsg: forgets what it returns */
} acl;

static int device = -1;               /* that is open */
static void *stream, *before, *after; /* events */
static int first_error;               /* of what cannot return one */
static char error_text[512];

/* The first line of what AscendCL says itself, the latest first ("aclGetRecentErrMsg"). */
static const char *describe(const char *what, int error) {
    const char *text = acl.recent_error();
    const int length = text != NULL ? (int)strcspn(text, "\n") : 0;
    if (length > 0)
        snprintf(error_text, sizeof error_text, "%s: %.*s (aclError %d)", what,
                 length < 300 ? length : 300, text, error);
    else
        snprintf(error_text, sizeof error_text, "%s: aclError %d", what, error);
    return error_text;
}

static void note(int error) {
    if (first_error == ACL_SUCCESS) first_error = error;
}

static const char *find_functions(void) {
    static const struct {
        const char *symbol;
        size_t offset;
    } wanted[] = {
#define ACL_X(name, symbol, arguments) {#symbol, offsetof(struct acl, name)},
        ACL_FUNCTIONS(ACL_X)
#undef ACL_X
            {"aclrtGetSocName", offsetof(struct acl, soc_name)},
        {"aclGetRecentErrMsg", offsetof(struct acl, recent_error)},
    };
    const char *given = getenv("ATTEST_LIBASCENDCL");
    const char *name = given != NULL ? given : "libascendcl.so";
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        snprintf(error_text, sizeof error_text,
                 "%.160s is not here: CANN is not installed, or its set_env.sh was not sourced",
                 name);
        return error_text;
    }
    for (size_t n = 0; n < sizeof wanted / sizeof wanted[0]; n++) {
        void *const function = dlsym(library, wanted[n].symbol);
        if (function == NULL) {
            snprintf(error_text, sizeof error_text, "%.160s has no %s", name, wanted[n].symbol);
            return error_text;
        }
        memcpy((char *)&acl + wanted[n].offset, &function, sizeof function);
    }
    const int error = acl.init(NULL);
    return error != ACL_SUCCESS && error != ACL_ERROR_REPEAT_INITIALIZE
               ? describe("AscendCL does not start", error)
               : NULL;
}

static const char *open_device(int index) {
    uint32_t count = 0;
    int error = acl.device_count(&count);
    if (error == ACL_SUCCESS && (index < 0 || (uint32_t)index >= count)) {
        snprintf(error_text, sizeof error_text, "there is no NPU %d among %u", index, count);
        return error_text;
    }
    if (error == ACL_SUCCESS) error = acl.device_set(index);
    if (error == ACL_SUCCESS) error = acl.stream_create(&stream);
    if (error == ACL_SUCCESS) error = acl.event_create(&before, ACL_EVENT_TIME_LINE);
    if (error == ACL_SUCCESS) error = acl.event_create(&after, ACL_EVENT_TIME_LINE);
    return error != ACL_SUCCESS ? describe("the NPU cannot be opened", error) : NULL;
}

static const char *ascend_open(struct attn_call *call) {
    if (device != call->device_index) {
        const char *reason = device >= 0 ? "another NPU is open already" : find_functions();
        if (reason == NULL) reason = open_device(call->device_index);
        if (reason != NULL) return reason;
        device = call->device_index;
    }
    call->stream = stream;
    return NULL;
}

static int ascend_count(void) {
    uint32_t count = 0;
    return find_functions() == NULL && acl.device_count(&count) == ACL_SUCCESS ? (int)count : 0;
}

/* 192 MiB, of a 910B2: l2_size of Ascend910B2C.ini, platform_config of CANN's public runtime. */
static int64_t cache_bytes(int index) {
    int64_t bytes = 0;
    if (acl.capability((uint32_t)index, ACL_DEVICE_INFO_L2_BYTES, &bytes) != ACL_SUCCESS ||
        bytes <= 0)
        bytes = (int64_t)192 << 20;
    return bytes;
}

/* What memory there is, a device says of itself only when it is in use. */
static double memory_bytes(int index) {
    size_t unused = 0, all = 0;
    if (device >= 0 || acl.device_set(index) != ACL_SUCCESS) return 0;
    acl.memory(ACL_HBM_MEM, &unused, &all);
    acl.device_reset(index);
    return (double)all;
}

static void ascend_describe(int index, json_t *json) {
    const char *name = acl.soc_name();
    char driver[48];
    int32_t major = 0, minor = 0, patch = 0;
    int64_t cores = 0;
    acl.version(&major, &minor, &patch);
    acl.capability((uint32_t)index, ACL_DEVICE_INFO_AI_CORES, &cores);
    snprintf(driver, sizeof driver, "AscendCL %d.%d.%d", (int)major, (int)minor, (int)patch);
    json_object_set_new(json, "name", text_to_json(name != NULL ? name : "an NPU without name"));
    json_object_set_new(json, "driver", text_to_json(driver));
    json_object_set_new(json, "processors", json_integer(cores));
    json_object_set_new(json, "memory_bytes", json_real(memory_bytes(index)));
    json_object_set_new(json, "cache_bytes", json_integer(cache_bytes(index)));
    json_object_set_new(json, "ecc", json_integer(-1));
}

/* "aclrtMalloc" promises a multiple of 64 bytes, the contract one of 256. Where it returns no
 * multiple of 256, the next one is handed out, and a list remembers what was returned. */
enum { ALIGNMENT = 256 };

static struct moved {
    void *memory, *allocated;
    struct moved *next;
} * moved;

static void *align(void *allocated) {
    const size_t off = (uintptr_t)allocated % ALIGNMENT;
    if (off == 0) return allocated;
    struct moved *entry = malloc(sizeof *entry);
    if (entry == NULL) {
        acl.release(allocated);
        return NULL;
    }
    *entry = (struct moved){(char *)allocated + ALIGNMENT - off, allocated, moved};
    moved = entry;
    return entry->memory;
}

static void *ascend_allocate(size_t bytes) {
    void *allocated = NULL;
    if (bytes > SIZE_MAX - ALIGNMENT ||
        acl.allocate(&allocated, bytes + ALIGNMENT, ACL_MEM_MALLOC_HUGE_FIRST) != ACL_SUCCESS)
        return NULL;
    return align(allocated);
}

static void wait_for_stream(void) {
    note(acl.stream_wait(stream));
}

static void ascend_release(void *memory) {
    void *allocated = memory;
    for (struct moved **at = &moved; *at != NULL; at = &(*at)->next) {
        struct moved *const entry = *at;
        if (entry->memory != memory) continue;
        allocated = entry->allocated;
        *at = entry->next;
        free(entry);
        break;
    }
    wait_for_stream();
    note(acl.release(allocated));
}

static void *ascend_place(void *host, size_t bytes) {
    (void)host;
    return ascend_allocate(bytes);
}

static void copy(void *to, const void *from, size_t bytes, int kind) {
    wait_for_stream();
    if (bytes > 0) note(acl.copy(to, bytes, from, bytes, kind));
}

static void ascend_upload(void *placed, const void *host, size_t bytes) {
    copy(placed, host, bytes, ACL_MEMCPY_HOST_TO_DEVICE);
}

static void ascend_download(void *host, const void *placed, size_t bytes) {
    copy(host, placed, bytes, ACL_MEMCPY_DEVICE_TO_HOST);
}

static void ascend_copy(void *to, const void *from, size_t bytes) {
    copy(to, from, bytes, ACL_MEMCPY_DEVICE_TO_DEVICE);
}

static void ascend_fill(void *memory, int byte, size_t bytes) {
    wait_for_stream();
    note(acl.fill(memory, bytes, byte, bytes));
}

static size_t ascend_room(void) {
    size_t unused = 0, all;
    return acl.memory(ACL_HBM_MEM, &unused, &all) == ACL_SUCCESS ? unused : 0;
}

/* What the first call that failed since the last one said. */
static const char *first_reason(const char *reason) {
    if (reason != NULL) return reason;
    return first_error != ACL_SUCCESS ? describe("the NPU says", first_error) : NULL;
}

/* In the order that "aclrtEventElapsedTime" asks for: both events on one stream, the stream waited
 * for, then the time between them. */
static const char *ascend_launch(const struct attn_kernel *kernel,
                                 const struct attn_problem *problem, const struct attn_call *call,
                                 double *us, struct device_state *state) {
    (void)state;
    float ms = 0;
    note(acl.event_record(before, stream));
    const char *reason = kernel->launch(problem, call);
    note(acl.event_record(after, stream));
    wait_for_stream();
    note(acl.event_ms(&ms, before, after));
    *us = (double)ms * 1e3;
    return first_reason(reason);
}

static size_t ascend_forget_bytes(void) {
    return 4 * (size_t)cache_bytes(device);
}

/* Not waited for: the launch that follows is queued behind it. That such a fill goes through the L2
 * is not documented, and nobody has measured it for this program. */
static bool ascend_evict(int threads) {
    (void)threads;
    static void *buffer;
    const size_t bytes = ascend_forget_bytes();
    if (buffer == NULL) buffer = ascend_allocate(bytes);
    if (buffer == NULL) return false;
    note(acl.fill_on(buffer, bytes, 0, bytes, stream));
    return true;
}

static const char *ascend_fault(void) {
    note(acl.device_wait());
    return first_reason(NULL);
}

const struct device device_ascend = {
    .kind = ATTN_ASCEND,
    .events = true,
    .open = ascend_open,
    .allocate = ascend_allocate,
    .release = ascend_release,
    .place = ascend_place,
    .unplace = ascend_release,
    .upload = ascend_upload,
    .download = ascend_download,
    .fill = ascend_fill,
    .launch = ascend_launch,
    .evict = ascend_evict,
    .forget_bytes = ascend_forget_bytes,
    .room = ascend_room,
    .copy = ascend_copy,
    .fault = ascend_fault,
    .count = ascend_count,
    .describe = ascend_describe,
};
