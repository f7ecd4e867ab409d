/* A stand-in for libascendcl.so: NPUs whose memory is memory of this process and whose kernels are
 * host functions, so that the path to them is tested where there is none. Only what device_ascend.c
 * and hosted.c call is here, by AscendCL's names and numbers, from the public documentation.
 *
 * It takes the liberties that the documentation leaves AscendCL: what is put on a stream runs when
 * that stream or the device is waited for, copies and the release of memory wait for no stream, and
 * memory begins at a multiple of 64 bytes and no more. And it is stricter: copies must say rightly
 * which side is the device's, everything must lie within one allocation, and memory that is
 * released while a stream has work is an error of the device, which stays. One thread.
 *
 * Environment: STANDIN_ACL_DEVICES (2), STANDIN_ACL_BYTES of memory each (256 MiB), STANDIN_ACL_L2
 * (256 KiB; 0: it is not told). */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SUCCESS = 0,
    INVALID_PARAM = 100000,
    UNINITIALIZED = 100001,
    REPEATED_INIT = 100002,
    INVALID_DEVICE = 107001,
    NO_CONTEXT = 107002,
    OUT_OF_MEMORY = 207001,
    CORE_EXCEPTION = 507015,
    HOST_TO_DEVICE = 1,
    DEVICE_TO_HOST = 2,
    DEVICE_TO_DEVICE = 3,
    HUGE_FIRST = 0,
    HBM = 1,
    TIME_LINE = 8,
    DEVICES_MAX = 8,
    STREAMS_MAX = 16,
};

/* Something to be done, with what it needs copied. */
struct operation {
    void (*run)(const void *arguments);
    void *arguments;
};

struct stream {
    int device;
    struct operation *queue;
    size_t count;
};

struct event {
    const struct stream *stream; /* that it was recorded on last */
    bool passed;
    double seconds;
};

struct block {
    struct block *next;
    unsigned char *data;
    void *allocated; /* data is a little further */
    size_t bytes;
};

static bool initialised;
static int broken;       /* the error that all calls return from now on */
static int current = -1; /* device */
static struct {
    struct block *blocks;
    size_t used;
    struct stream defaults;
} devices[DEVICES_MAX];
static struct stream streams[STREAMS_MAX];
static int stream_count;
static char message[256]; /* of the calls that failed, until it is asked for */

static size_t setting(const char *variable, size_t otherwise) {
    const char *text = getenv(variable);
    return text != NULL ? (size_t)strtoull(text, NULL, 0) : otherwise;
}

static int device_count(void) {
    const size_t count = setting("STANDIN_ACL_DEVICES", 2);
    return count < DEVICES_MAX ? (int)count : DEVICES_MAX;
}

static size_t memory_bytes(void) {
    return setting("STANDIN_ACL_BYTES", (size_t)256 << 20);
}

static int fail(int error, const char *text) {
    snprintf(message, sizeof message, "EE%d: %s\n        a second line, for experts\n", error,
             text);
    return error;
}

/* The error that keeps any call from doing anything. */
static int state(void) {
    if (!initialised) return fail(UNINITIALIZED, "aclInit was not called");
    if (current < 0) return fail(NO_CONTEXT, "no device is set");
    return broken != SUCCESS ? fail(broken, "the aicore execution is abnormal") : SUCCESS;
}

/* For kernels: what a bad access does. */
void standin_break(void) {
    broken = CORE_EXCEPTION;
}

static struct stream *stream_of(struct stream *stream) {
    return stream != NULL ? stream : &devices[current].defaults;
}

static void drain(struct stream *stream) {
    for (size_t n = 0; n < stream->count; n++) {
        if (broken == SUCCESS) stream->queue[n].run(stream->queue[n].arguments);
        free(stream->queue[n].arguments);
    }
    free(stream->queue);
    stream->queue = NULL;
    stream->count = 0;
}

static int enqueue(struct stream *asked, void (*run)(const void *), const void *arguments,
                   size_t bytes) {
    if (state() != SUCCESS) return state();
    struct stream *stream = stream_of(asked);
    if (asked != NULL && asked->device != current)
        return fail(INVALID_PARAM, "the stream is of another device");
    stream->queue = realloc(stream->queue, (stream->count + 1) * sizeof *stream->queue);
    if (stream->queue == NULL) abort();
    struct operation *added = &stream->queue[stream->count++];
    added->run = run;
    added->arguments = malloc(bytes);
    if (added->arguments == NULL) abort();
    memcpy(added->arguments, arguments, bytes);
    return SUCCESS;
}

/* What a kernel's launch comes to; the real one has no such name. */
int standin_launch(void (*function)(const void *arguments), const void *arguments, size_t bytes,
                   struct stream *stream) {
    return enqueue(stream, function, arguments, bytes);
}

static const struct block *block_at(const void *memory) {
    for (int n = 0; n < DEVICES_MAX; n++) {
        for (const struct block *block = devices[n].blocks; block != NULL; block = block->next) {
            if ((uintptr_t)memory - (uintptr_t)block->data < block->bytes) return block;
        }
    }
    return NULL;
}

/* Whether all of it is in one allocation. */
static bool allocated(const void *memory, size_t bytes) {
    const struct block *block = block_at(memory);
    return block != NULL && bytes <= block->bytes - ((uintptr_t)memory - (uintptr_t)block->data);
}

/* AscendCL's functions, by its names. */

const char *aclGetRecentErrMsg(void) {
    static char told[sizeof message];
    if (message[0] == '\0') return NULL;
    memcpy(told, message, sizeof told);
    message[0] = '\0';
    return told;
}

int aclInit(const char *configuration) {
    if (configuration != NULL) return fail(INVALID_PARAM, "there is no such file");
    if (initialised) return fail(REPEATED_INIT, "aclInit was called before");
    initialised = true;
    return SUCCESS;
}

int aclrtGetVersion(int32_t *major, int32_t *minor, int32_t *patch) {
    *major = 1;
    *minor = 15;
    *patch = 0;
    return SUCCESS;
}

const char *aclrtGetSocName(void) {
    return "stand-in 910B2";
}

int aclrtGetDeviceCount(uint32_t *count) {
    if (!initialised) return fail(UNINITIALIZED, "aclInit was not called");
    *count = (uint32_t)device_count();
    return SUCCESS;
}

int aclGetDeviceCapability(uint32_t index, int what, int64_t *value) {
    const size_t l2 = setting("STANDIN_ACL_L2", (size_t)256 << 10);
    if (!initialised) return fail(UNINITIALIZED, "aclInit was not called");
    if (index >= (uint32_t)device_count() || (what != 0 && (what != 2 || l2 == 0)))
        return fail(INVALID_PARAM, "that is not known");
    *value = what == 0 ? 24 : (int64_t)l2;
    return SUCCESS;
}

int aclrtSetDevice(int32_t index) {
    if (!initialised) return fail(UNINITIALIZED, "aclInit was not called");
    if (index < 0 || index >= device_count()) return fail(INVALID_DEVICE, "no such device");
    current = index;
    devices[index].defaults.device = index;
    return SUCCESS;
}

int aclrtResetDevice(int32_t index) {
    if (index != current) return fail(INVALID_DEVICE, "it was not set");
    current = -1;
    return SUCCESS;
}

int aclrtSynchronizeDevice(void) {
    if (state() != SUCCESS) return state();
    for (int n = 0; n < stream_count; n++) {
        if (streams[n].device == current) drain(&streams[n]);
    }
    drain(&devices[current].defaults);
    return state();
}

int aclrtCreateStream(struct stream **stream) {
    if (state() != SUCCESS) return state();
    if (stream_count == STREAMS_MAX) return fail(INVALID_PARAM, "too many streams");
    *stream = &streams[stream_count++];
    **stream = (struct stream){.device = current};
    return SUCCESS;
}

int aclrtSynchronizeStream(struct stream *stream) {
    if (state() != SUCCESS) return state();
    drain(stream_of(stream));
    return state();
}

int aclrtCreateEventWithFlag(struct event **event, uint32_t flag) {
    if (state() != SUCCESS) return state();
    if (flag != TIME_LINE) return fail(INVALID_PARAM, "only events with a time are here");
    *event = calloc(1, sizeof **event);
    return *event != NULL ? SUCCESS : fail(OUT_OF_MEMORY, "no memory for an event");
}

static void pass(const void *arguments) {
    struct event *event = *(struct event *const *)arguments;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    event->seconds = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    event->passed = true;
}

int aclrtRecordEvent(struct event *event, struct stream *stream) {
    if (state() != SUCCESS) return state();
    event->stream = stream_of(stream);
    event->passed = false;
    return enqueue(stream, pass, &event, sizeof(void *));
}

int aclrtEventElapsedTime(float *ms, const struct event *from, const struct event *to) {
    if (state() != SUCCESS) return state();
    if (from->stream == NULL || from->stream != to->stream)
        return fail(INVALID_PARAM, "the events are not of one stream");
    if (!from->passed || !to->passed) return fail(INVALID_PARAM, "the stream was not waited for");
    *ms = (float)((to->seconds - from->seconds) * 1e3);
    return SUCCESS;
}

int aclrtMalloc(void **memory, size_t bytes, int policy) {
    enum { ALIGNMENT = 256, OFF = 64 };
    if (state() != SUCCESS) return state();
    if (bytes == 0 || policy != HUGE_FIRST) return fail(INVALID_PARAM, "0 bytes, or that policy");
    if (bytes > memory_bytes() - devices[current].used)
        return fail(OUT_OF_MEMORY, "there is no memory");
    struct block *block = malloc(sizeof *block);
    if (block == NULL) return fail(OUT_OF_MEMORY, "there is no memory");
    block->bytes = bytes;
    block->allocated =
        aligned_alloc(ALIGNMENT, (OFF + bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    if (block->allocated == NULL) {
        free(block);
        return fail(OUT_OF_MEMORY, "there is no memory");
    }
    block->data = (unsigned char *)block->allocated + OFF;
    memset(block->data, 0xff, bytes); /* NaN: nothing is promised about it */
    block->next = devices[current].blocks;
    devices[current].blocks = block;
    devices[current].used += bytes;
    *memory = block->data;
    return SUCCESS;
}

int aclrtFree(void *memory) {
    if (state() != SUCCESS) return state();
    struct block **at = &devices[current].blocks;
    while (*at != NULL && (*at)->data != memory) at = &(*at)->next;
    if (*at == NULL) return fail(INVALID_PARAM, "no memory begins there");
    size_t waiting = devices[current].defaults.count;
    for (int n = 0; n < stream_count; n++) waiting += streams[n].count;
    if (waiting > 0) broken = CORE_EXCEPTION;
    struct block *block = *at;
    *at = block->next;
    devices[current].used -= block->bytes;
    free(block->allocated);
    free(block);
    return SUCCESS;
}

int aclrtGetMemInfo(int attribute, size_t *unused, size_t *all) {
    *unused = *all = 0;
    if (state() != SUCCESS) return state();
    if (attribute != HBM) return SUCCESS; /* it has no memory of another kind */
    *all = memory_bytes();
    *unused = *all - devices[current].used;
    return SUCCESS;
}

int aclrtMemcpy(void *to, size_t room, const void *from, size_t bytes, int kind) {
    if (state() != SUCCESS) return state();
    if (bytes > room || kind < HOST_TO_DEVICE || kind > DEVICE_TO_DEVICE)
        return fail(INVALID_PARAM, "more than there is room for, or of no kind");
    const bool to_device = kind != DEVICE_TO_HOST, from_device = kind != HOST_TO_DEVICE;
    if (to_device ? !allocated(to, bytes) : block_at(to) != NULL)
        return fail(INVALID_PARAM, "it does not go there");
    if (from_device ? !allocated(from, bytes) : block_at(from) != NULL)
        return fail(INVALID_PARAM, "it does not come from there");
    memcpy(to, from, bytes);
    return SUCCESS;
}

struct fill {
    void *to;
    int byte;
    size_t bytes;
};

static void fill(const void *arguments) {
    const struct fill *what = arguments;
    memset(what->to, what->byte, what->bytes);
}

static int check_fill(const void *to, size_t room, size_t bytes) {
    if (state() != SUCCESS) return state();
    return bytes <= room && allocated(to, bytes) ? SUCCESS
                                                 : fail(INVALID_PARAM, "it is not all there");
}

int aclrtMemset(void *to, size_t room, int32_t value, size_t bytes) {
    const int error = check_fill(to, room, bytes);
    if (error == SUCCESS) fill(&(struct fill){to, value, bytes});
    return error;
}

int aclrtMemsetAsync(void *to, size_t room, int32_t value, size_t bytes, struct stream *stream) {
    const int error = check_fill(to, room, bytes);
    return error != SUCCESS
               ? error
               : enqueue(stream, fill, &(struct fill){to, value, bytes}, sizeof(struct fill));
}
