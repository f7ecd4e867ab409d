/* A stand-in for libcuda.so.1: GPUs whose memory is memory of this process and whose kernels are
 * host functions, so that the CUDA path is tested where there is no GPU. Only what device_cuda.c
 * and hosted.c call is here, by the driver API's names and numbers.
 *
 * It is as slow to act as the driver may be: what is put on a stream runs when somebody waits for
 * it, so that a result taken too early is the old one; but for an event on a stream that has
 * nothing to do, which passes at once. Calls that a capture cannot hold fail and spoil it; an error
 * on the device stays until the process ends. One thread.
 *
 * Environment: STANDIN_CUDA_DEVICES (2), STANDIN_CUDA_BYTES of memory each (256 MiB),
 * STANDIN_CUDA_L2 (256 KiB), STANDIN_CUDA_LAUNCH_US (0) that the host takes to launch a graph,
 * STANDIN_CUDA_LOG, a file that gets "DEVICE BEGIN END" of each graph that runs, in seconds;
 * STANDIN_CUDA_OVERLAP: the last of a graph's nodes waits for the one before to let it start. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* X(our name, the driver's number, its name, its text) */
#define ERRORS(X)                                                                                  \
    X(SUCCESS, 0, "CUDA_SUCCESS", "no error")                                                      \
    X(INVALID_VALUE, 1, "CUDA_ERROR_INVALID_VALUE", "invalid argument")                            \
    X(OUT_OF_MEMORY, 2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory")                               \
    X(NOT_INITIALIZED, 3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error")                    \
    X(NO_DEVICE, 100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected")                \
    X(INVALID_DEVICE, 101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal")                  \
    X(INVALID_CONTEXT, 201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context")                \
    X(INVALID_HANDLE, 400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle")                 \
    X(ILLEGAL_STATE, 401, "CUDA_ERROR_ILLEGAL_STATE", "the operation cannot be performed now")     \
    X(NOT_READY, 600, "CUDA_ERROR_NOT_READY", "device not ready")                                  \
    X(ILLEGAL_ADDRESS, 700, "CUDA_ERROR_ILLEGAL_ADDRESS",                                          \
      "an illegal memory access was encountered")                                                  \
    X(CAPTURE_UNSUPPORTED, 900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",                           \
      "operation not permitted when stream is capturing")                                          \
    X(CAPTURE_INVALIDATED, 901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",                           \
      "operation failed due to a previous error during capture")                                   \
    X(CAPTURE_IMPLICIT, 906, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",                                 \
      "operation would make the legacy stream depend on a capturing blocking stream")

enum {
#define X(symbol, number, name, text) symbol = number,
    ERRORS(X)
#undef X
        NON_BLOCKING = 1,
    CAPTURE_RELAXED = 2,
    ATTRIBUTE_PROCESSORS = 16,
    ATTRIBUTE_L2_BYTES = 38,
    DEVICES_MAX = 8,
    STREAMS_MAX = 16,
};

/* Something to be done, with what it needs copied. */
struct operation {
    void (*run)(const void *arguments);
    void *arguments;
    size_t bytes;
};

struct list {
    struct operation *items;
    size_t count;
};

struct stream {
    int device;
    bool ordinary; /* waits for the default stream, and that for it */
    struct list queue;
    bool capturing, spoilt;
    int mode;
    struct list captured;
};

struct event {
    int device;
    bool recorded, passed;
    double seconds;
};

struct block {
    struct block *next;
    void *data;
    size_t bytes;
};

static bool initialised;
static int broken;       /* the error that all calls return from now on */
static int current = -1; /* device */
static struct {
    struct block *blocks;
    size_t used;
} devices[DEVICES_MAX];
static struct stream streams[STREAMS_MAX];
static int stream_count;

static size_t setting(const char *variable, size_t otherwise) {
    const char *text = getenv(variable);
    return text != NULL ? (size_t)strtoull(text, NULL, 0) : otherwise;
}

static int device_count(void) {
    const size_t count = setting("STANDIN_CUDA_DEVICES", 2);
    return count < DEVICES_MAX ? (int)count : DEVICES_MAX;
}

static size_t memory_bytes(void) {
    return setting("STANDIN_CUDA_BYTES", (size_t)256 << 20);
}

/* For kernels: what a bad access does. */
void standin_break(void) {
    broken = ILLEGAL_ADDRESS;
}

/* The error that keeps any call from doing anything. */
static int state(void) {
    if (!initialised) return NOT_INITIALIZED;
    return broken != SUCCESS ? broken : current < 0 ? INVALID_CONTEXT : SUCCESS;
}

static void append(struct list *list, void (*run)(const void *), const void *arguments,
                   size_t bytes) {
    list->items = realloc(list->items, (list->count + 1) * sizeof *list->items);
    if (list->items == NULL) abort();
    struct operation *added = &list->items[list->count++];
    added->run = run;
    added->bytes = bytes;
    added->arguments = malloc(bytes);
    if (added->arguments == NULL) abort();
    memcpy(added->arguments, arguments, bytes);
}

static void run_list(const struct list *list) {
    for (size_t n = 0; n < list->count && broken == SUCCESS; n++)
        list->items[n].run(list->items[n].arguments);
}

static void clear(struct list *list) {
    for (size_t n = 0; n < list->count; n++) free(list->items[n].arguments);
    free(list->items);
    *list = (struct list){0};
}

static void drain(struct stream *stream) {
    run_list(&stream->queue);
    clear(&stream->queue);
}

/* Asks whether the call would wait for a stream that captures; that spoils the capture. */
static int spoil(bool ordinary_only, bool allowed_when_relaxed, int error) {
    int result = SUCCESS;
    for (int n = 0; n < stream_count; n++) {
        struct stream *stream = &streams[n];
        if (!stream->capturing || stream->device != current) continue;
        if (ordinary_only && !stream->ordinary) continue;
        if (allowed_when_relaxed && stream->mode == CAPTURE_RELAXED) continue;
        stream->spoilt = true;
        result = error;
    }
    return result;
}

/* What a call on the default stream waits for. */
static int drain_ordinary(void) {
    int error = state();
    if (error == SUCCESS) error = spoil(true, false, CAPTURE_IMPLICIT);
    for (int n = 0; error == SUCCESS && n < stream_count; n++) {
        if (streams[n].ordinary && streams[n].device == current) drain(&streams[n]);
    }
    return error == SUCCESS ? broken : error;
}

/* To the stream, its capture, or, on the default stream, done. */
static int enqueue(struct stream *stream, void (*run)(const void *), const void *arguments,
                   size_t bytes) {
    int error = stream == NULL ? drain_ordinary() : state();
    if (error != SUCCESS) return error;
    if (stream == NULL) {
        run(arguments);
        return broken;
    }
    if (stream->capturing && stream->spoilt) return CAPTURE_INVALIDATED;
    append(stream->capturing ? &stream->captured : &stream->queue, run, arguments, bytes);
    return SUCCESS;
}

static void *memory(uint64_t address) {
    void *pointer;
    _Static_assert(sizeof pointer == sizeof address, "addresses are 64 bits wide");
    memcpy(&pointer, &address, sizeof pointer);
    return pointer;
}

/* Whether all of it is in one allocation. */
static bool allocated(uint64_t address, size_t bytes) {
    for (int n = 0; n < DEVICES_MAX; n++) {
        for (const struct block *block = devices[n].blocks; block != NULL; block = block->next) {
            const uint64_t at = address - (uintptr_t)block->data;
            if (at < block->bytes && bytes <= block->bytes - at) return true;
        }
    }
    return false;
}

/* The driver's functions, by its names. */

static const struct {
    int number;
    const char *name, *text;
} errors[] = {
#define X(symbol, number, name, text) {number, name, text},
    ERRORS(X)
#undef X
};

int cuGetErrorName(int error, const char **name) {
    *name = NULL;
    for (size_t n = 0; n < sizeof errors / sizeof errors[0]; n++) {
        if (errors[n].number == error) *name = errors[n].name;
    }
    return *name != NULL ? SUCCESS : INVALID_VALUE;
}

int cuGetErrorString(int error, const char **text) {
    *text = NULL;
    for (size_t n = 0; n < sizeof errors / sizeof errors[0]; n++) {
        if (errors[n].number == error) *text = errors[n].text;
    }
    return *text != NULL ? SUCCESS : INVALID_VALUE;
}

int cuInit(unsigned flags) {
    if (flags != 0) return INVALID_VALUE;
    if (device_count() == 0) return NO_DEVICE;
    initialised = true;
    return SUCCESS;
}

int cuDriverGetVersion(int *version) {
    *version = 13000;
    return SUCCESS;
}

int cuDeviceGetCount(int *count) {
    *count = device_count();
    return initialised ? SUCCESS : NOT_INITIALIZED;
}

int cuDeviceGet(int *device, int index) {
    if (!initialised) return NOT_INITIALIZED;
    if (index < 0 || index >= device_count()) return INVALID_DEVICE;
    *device = index;
    return SUCCESS;
}

int cuDeviceGetName(char *name, int bytes, int device) {
    snprintf(name, (size_t)bytes, "stand-in %d", device);
    return SUCCESS;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    *bytes = memory_bytes();
    return device < device_count() ? SUCCESS : INVALID_DEVICE;
}

int cuDeviceGetPCIBusId(char *id, int bytes, int device) {
    snprintf(id, (size_t)bytes, "0000:%d:00.0", 17 + device);
    return SUCCESS;
}

int cuDeviceGetUuid_v2(unsigned char uuid[16], int device) {
    for (int n = 0; n < 16; n++) uuid[n] = (unsigned char)(16 * n + device);
    return device < device_count() ? SUCCESS : INVALID_DEVICE;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    if (device >= device_count()) return INVALID_DEVICE;
    if (attribute == ATTRIBUTE_PROCESSORS) {
        *value = 4;
    } else if (attribute == ATTRIBUTE_L2_BYTES) {
        *value = (int)setting("STANDIN_CUDA_L2", (size_t)256 << 10);
    } else {
        return INVALID_VALUE;
    }
    return SUCCESS;
}

/* A context is its device's number and one, so that none is NULL. */
int cuDevicePrimaryCtxRetain(void **context, int device) {
    if (!initialised) return NOT_INITIALIZED;
    *context = memory((uint64_t)device + 1);
    return device < device_count() ? SUCCESS : INVALID_DEVICE;
}

int cuCtxSetCurrent(void *context) {
    current = (int)(uintptr_t)context - 1;
    return initialised ? SUCCESS : NOT_INITIALIZED;
}

int cuCtxSynchronize(void) {
    int error = state();
    if (error == SUCCESS) error = spoil(false, false, CAPTURE_UNSUPPORTED);
    for (int n = 0; error == SUCCESS && n < stream_count; n++) {
        if (streams[n].device == current) drain(&streams[n]);
    }
    return error == SUCCESS ? broken : error;
}

int cuStreamCreate(struct stream **stream, unsigned flags) {
    if (state() != SUCCESS) return state();
    if (stream_count == STREAMS_MAX) return OUT_OF_MEMORY;
    *stream = &streams[stream_count++];
    **stream = (struct stream){.device = current, .ordinary = !(flags & NON_BLOCKING)};
    return SUCCESS;
}

int cuStreamSynchronize(struct stream *stream) {
    if (stream == NULL) return drain_ordinary();
    if (state() != SUCCESS) return state();
    if (stream->capturing) {
        stream->spoilt = true;
        return CAPTURE_UNSUPPORTED;
    }
    drain(stream);
    return broken;
}

int cuStreamBeginCapture_v2(struct stream *stream, int mode) {
    if (state() != SUCCESS) return state();
    if (stream == NULL) return CAPTURE_UNSUPPORTED;
    if (stream->capturing) return ILLEGAL_STATE;
    stream->capturing = true;
    stream->spoilt = false;
    stream->mode = mode;
    return SUCCESS;
}

int cuStreamEndCapture(struct stream *stream, struct list **graph) {
    *graph = NULL;
    if (!stream->capturing) return ILLEGAL_STATE;
    stream->capturing = false;
    if (stream->spoilt) {
        clear(&stream->captured);
        return CAPTURE_INVALIDATED;
    }
    *graph = malloc(sizeof **graph);
    if (*graph == NULL) return OUT_OF_MEMORY;
    **graph = stream->captured;
    stream->captured = (struct list){0};
    return state();
}

int cuGraphGetNodes(const struct list *graph, void **nodes, size_t *count) {
    if (nodes != NULL) return INVALID_VALUE; /* only their number */
    *count = graph->count;
    return state();
}

/* What is to be launched is a graph of its own: the other may be destroyed. */
int cuGraphInstantiateWithFlags(struct list **ready, const struct list *graph,
                                unsigned long long flags) {
    if (state() != SUCCESS) return state();
    if (flags != 0 || graph == NULL) return INVALID_VALUE;
    *ready = calloc(1, sizeof **ready);
    if (*ready == NULL) return OUT_OF_MEMORY;
    for (size_t n = 0; n < graph->count; n++)
        append(*ready, graph->items[n].run, graph->items[n].arguments, graph->items[n].bytes);
    return SUCCESS;
}

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* A line in one write, for several processes have the file. */
static void note(double begin_s, double end_s) {
    static FILE *log;
    const char *path = getenv("STANDIN_CUDA_LOG");
    if (path == NULL || (log == NULL && (log = fopen(path, "ae")) == NULL)) return;
    fprintf(log, "%d %.9f %.9f\n", current, begin_s, end_s);
    fflush(log);
}

static void run_graph(const void *arguments) {
    const double begin_s = now_s();
    run_list(*(struct list *const *)arguments);
    note(begin_s, now_s());
}

int cuGraphLaunch(struct list *ready, struct stream *stream) {
    const double end_s = now_s() + (double)setting("STANDIN_CUDA_LAUNCH_US", 0) * 1e-6;
    while (now_s() < end_s) {
    }
    return enqueue(stream, run_graph, &ready, sizeof(void *));
}

/* A graph is a line of nodes; the last two are an edge apart, and the rest is not told. */
int cuGraphGetEdges_v2(struct list *graph, void **from, void **to, unsigned char *edges,
                       size_t *count) {
    enum { EDGE_BYTES = 8, TYPE = 2, PROGRAMMATIC = 1 };
    if (state() != SUCCESS) return state();
    *count = graph->count > 1;
    if (*count == 0 || from == NULL) return SUCCESS;
    from[0] = &graph->items[graph->count - 2];
    to[0] = &graph->items[graph->count - 1];
    memset(edges, 0, EDGE_BYTES);
    if (getenv("STANDIN_CUDA_OVERLAP") != NULL) edges[TYPE] = PROGRAMMATIC;
    return SUCCESS;
}

int cuGraphDestroy(struct list *graph) {
    clear(graph);
    free(graph);
    return SUCCESS;
}

/* The driver keeps it until what was launched has run. */
int cuGraphExecDestroy(struct list *ready) {
    for (int n = 0; n < stream_count; n++) drain(&streams[n]);
    return cuGraphDestroy(ready);
}

int cuEventCreate(struct event **event, unsigned flags) {
    if (state() != SUCCESS || flags != 0) return state() != SUCCESS ? state() : INVALID_VALUE;
    *event = calloc(1, sizeof **event);
    if (*event == NULL) return OUT_OF_MEMORY;
    (*event)->device = current;
    return SUCCESS;
}

static void pass(const void *arguments) {
    struct event *event = *(struct event *const *)arguments;
    event->seconds = now_s();
    event->passed = true;
}

/* In a capture it orders work and takes no time. */
int cuEventRecord(struct event *event, struct stream *stream) {
    if (state() != SUCCESS) return state();
    if (stream != NULL && stream->device != event->device) return INVALID_HANDLE;
    event->passed = false;
    event->recorded = stream == NULL || !stream->capturing;
    if (!event->recorded) return SUCCESS;
    if (stream == NULL || stream->queue.count > 0)
        return enqueue(stream, pass, &event, sizeof(void *));
    pass(&event);
    return SUCCESS;
}

int cuEventElapsedTime(float *ms, const struct event *from, const struct event *to) {
    if (state() != SUCCESS) return state();
    if (!from->recorded || !to->recorded) return INVALID_HANDLE;
    if (!from->passed || !to->passed) return NOT_READY;
    *ms = (float)((to->seconds - from->seconds) * 1e3);
    return SUCCESS;
}

int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    enum { ALIGNMENT = 256 };
    int error = state();
    if (error == SUCCESS) error = spoil(false, true, CAPTURE_UNSUPPORTED);
    if (error == SUCCESS && bytes == 0) error = INVALID_VALUE;
    if (error == SUCCESS && bytes > memory_bytes() - devices[current].used) error = OUT_OF_MEMORY;
    if (error != SUCCESS) return error;
    struct block *block = malloc(sizeof *block);
    if (block == NULL) return OUT_OF_MEMORY;
    block->bytes = bytes;
    block->data = aligned_alloc(ALIGNMENT, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    if (block->data == NULL) {
        free(block);
        return OUT_OF_MEMORY;
    }
    memset(block->data, 0xff, bytes); /* NaN: nothing is promised about it */
    block->next = devices[current].blocks;
    devices[current].blocks = block;
    devices[current].used += bytes;
    *address = (uintptr_t)block->data;
    return SUCCESS;
}

/* Waits for everything that may use it. */
int cuMemFree_v2(uint64_t address) {
    int error = spoil(false, true, CAPTURE_UNSUPPORTED);
    if (error == SUCCESS) error = cuCtxSynchronize();
    if (error != SUCCESS) return error;
    struct block **at = &devices[current].blocks;
    while (*at != NULL && (*at)->data != memory(address)) at = &(*at)->next;
    if (*at == NULL) return INVALID_VALUE;
    struct block *block = *at;
    *at = block->next;
    devices[current].used -= block->bytes;
    free(block->data);
    free(block);
    return SUCCESS;
}

int cuMemGetInfo_v2(size_t *unused, size_t *all) {
    if (state() != SUCCESS) return state();
    *all = memory_bytes();
    *unused = *all - devices[current].used;
    return SUCCESS;
}

int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes) {
    int error = drain_ordinary();
    if (error == SUCCESS && !allocated(to, bytes)) error = INVALID_VALUE;
    if (error == SUCCESS) memcpy(memory(to), from, bytes);
    return error;
}

int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes) {
    int error = drain_ordinary();
    if (error == SUCCESS && !allocated(from, bytes)) error = INVALID_VALUE;
    if (error == SUCCESS) memcpy(to, memory(from), bytes);
    return error;
}

int cuMemcpyDtoD_v2(uint64_t to, uint64_t from, size_t bytes) {
    int error = drain_ordinary();
    if (error == SUCCESS && !(allocated(to, bytes) && allocated(from, bytes)))
        error = INVALID_VALUE;
    if (error == SUCCESS) memcpy(memory(to), memory(from), bytes);
    return error;
}

struct fill {
    uint64_t to;
    unsigned char byte;
    size_t bytes;
};

static void fill(const void *arguments) {
    const struct fill *what = arguments;
    memset(memory(what->to), what->byte, what->bytes);
}

int cuMemsetD8Async(uint64_t to, unsigned char byte, size_t bytes, struct stream *stream) {
    if (!allocated(to, bytes)) return INVALID_VALUE;
    return enqueue(stream, fill, &(struct fill){to, byte, bytes}, sizeof(struct fill));
}

/* Of words of 2 or 4 bytes. */
struct fill_words {
    uint64_t to;
    uint32_t word;
    size_t width, count;
};

static void fill_words(const void *arguments) {
    const struct fill_words *what = arguments;
    for (size_t n = 0; n < what->count; n++)
        memcpy((char *)memory(what->to) + n * what->width, &what->word, what->width);
}

int cuMemsetD16Async(uint64_t to, unsigned short word, size_t count, struct stream *stream) {
    const struct fill_words what = {to, word, 2, count};
    if (to % 2 != 0 || !allocated(to, 2 * count)) return INVALID_VALUE;
    return enqueue(stream, fill_words, &what, sizeof what);
}

int cuMemsetD32Async(uint64_t to, unsigned word, size_t count, struct stream *stream) {
    const struct fill_words what = {to, word, 4, count};
    if (to % 4 != 0 || !allocated(to, 4 * count)) return INVALID_VALUE;
    return enqueue(stream, fill_words, &what, sizeof what);
}

struct side {
    size_t x, y;
    int type;
    void *host;
    uint64_t device;
    void *array;
    size_t pitch;
};
struct rows {
    struct side from, to;
    size_t width, rows;
};

static void copy_rows(const void *arguments) {
    const struct rows *what = arguments;
    for (size_t n = 0; n < what->rows; n++)
        memcpy((char *)memory(what->to.device) + n * what->to.pitch,
               (const char *)memory(what->from.device) + n * what->from.pitch, what->width);
}

/* Only between memories of devices, from their first byte. */
int cuMemcpy2DAsync_v2(const struct rows *what, struct stream *stream) {
    const struct side *sides[] = {&what->from, &what->to};
    for (int n = 0; n < 2; n++) {
        if (sides[n]->type != 2 || sides[n]->x != 0 || sides[n]->y != 0 ||
            sides[n]->pitch < what->width || what->rows == 0 ||
            !allocated(sides[n]->device, (what->rows - 1) * sides[n]->pitch + what->width))
            return INVALID_VALUE;
    }
    return enqueue(stream, copy_rows, what, sizeof *what);
}

int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, struct stream *stream) {
    const struct rows what = {
        {.device = from, .pitch = bytes}, {.device = to, .pitch = bytes}, bytes, 1};
    if (!(allocated(to, bytes) && allocated(from, bytes))) return INVALID_VALUE;
    return enqueue(stream, copy_rows, &what, sizeof what);
}

int cuMemsetD8_v2(uint64_t to, unsigned char byte, size_t bytes) {
    return cuMemsetD8Async(to, byte, bytes, NULL);
}

/* The function is one of this process, called once with the packed arguments. */
int cuLaunchKernel(void (*function)(const void *arguments), unsigned grid_x, unsigned grid_y,
                   unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
                   unsigned shared_bytes, struct stream *stream, void **parameters, void **extra) {
    (void)shared_bytes;
    /* extra: 1 (a pointer follows), the arguments, 2 (their size follows), the size, 0 */
    if (grid_x * grid_y * grid_z == 0 || block_x * block_y * block_z == 0 || parameters != NULL ||
        extra == NULL || (uintptr_t)extra[0] != 1 || (uintptr_t)extra[2] != 2)
        return INVALID_VALUE;
    return enqueue(stream, function, extra[1], *(const size_t *)extra[3]);
}
