/* An NVIDIA GPU as a device, through the driver's library as it is found when a kernel is loaded:
 * this file builds without the toolkit, and the program starts without a driver. Kernels come with
 * the runtime API, which works in the device's primary context; so does this.
 *
 * The stream is an ordinary one: it waits for copies on the default stream, and they for it; a
 * kernel that forgets call->stream is still timed whole. Times are between two events, around one
 * launch or around the replay of a graph of many. ATTEST_LIBCUDA names another library in the
 * driver's place. */
#include "device.h"
#include "protocol.h"
#include "nvml.h"
#include "../../oracle/clock.h"

#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long cuda_address;

enum {
    CUDA_SUCCESS = 0,
    CUDA_ATTRIBUTE_PROCESSORS = 16,
    CUDA_ATTRIBUTE_L2_BYTES = 38,
    CUDA_CAPTURE_THREAD_LOCAL = 1,
    CUDA_MEMORY_OF_DEVICE = 2
};

enum { FOLLOWING_MAX = 16 };

/* The driver's CUDA_MEMCPY2D. */
struct cuda_side {
    size_t x, y;
    int type;
    void *host;
    cuda_address device;
    void *array;
    size_t pitch;
};
struct cuda_rows {
    struct cuda_side from, to;
    size_t width, rows;
};

/* X(our name, the library's, arguments); each returns a CUresult. */
#define CUDA_FUNCTIONS(X)                                                                          \
    X(init, cuInit, (unsigned flags))                                                              \
    X(version, cuDriverGetVersion, (int *version))                                                 \
    X(error_name, cuGetErrorName, (int error, const char **name))                                  \
    X(error_text, cuGetErrorString, (int error, const char **text))                                \
    X(device_count, cuDeviceGetCount, (int *count))                                                \
    X(device_get, cuDeviceGet, (int *device, int index))                                           \
    X(device_name, cuDeviceGetName, (char *name, int bytes, int device))                           \
    X(device_bytes, cuDeviceTotalMem_v2, (size_t * bytes, int device))                             \
    X(device_bus, cuDeviceGetPCIBusId, (char *id, int bytes, int device))                          \
    X(attribute, cuDeviceGetAttribute, (int *value, int attribute, int device))                    \
    X(context_retain, cuDevicePrimaryCtxRetain, (void **context, int device))                      \
    X(context_set, cuCtxSetCurrent, (void *context))                                               \
    X(context_wait, cuCtxSynchronize, (void))                                                      \
    X(stream_create, cuStreamCreate, (void **stream, unsigned flags))                              \
    X(stream_wait, cuStreamSynchronize, (void *stream))                                            \
    X(capture_begin, cuStreamBeginCapture_v2, (void *stream, int mode))                            \
    X(capture_end, cuStreamEndCapture, (void *stream, void **graph))                               \
    X(graph_ready, cuGraphInstantiateWithFlags,                                                    \
      (void **ready, void *graph, unsigned long long flags))                                       \
    X(graph_launch, cuGraphLaunch, (void *ready, void *stream))                                    \
    X(graph_ready_free, cuGraphExecDestroy, (void *ready))                                         \
    X(graph_free, cuGraphDestroy, (void *graph))                                                   \
    X(event_create, cuEventCreate, (void **event, unsigned flags))                                 \
    X(event_record, cuEventRecord, (void *event, void *stream))                                    \
    X(event_ms, cuEventElapsedTime, (float *ms, void *from, void *to))                             \
    X(allocate, cuMemAlloc_v2, (cuda_address * address, size_t bytes))                             \
    X(release, cuMemFree_v2, (cuda_address address))                                               \
    X(memory, cuMemGetInfo_v2, (size_t * unused, size_t * all))                                    \
    X(upload, cuMemcpyHtoD_v2, (cuda_address to, const void *from, size_t bytes))                  \
    X(download, cuMemcpyDtoH_v2, (void *to, cuda_address from, size_t bytes))                      \
    X(copy, cuMemcpyDtoD_v2, (cuda_address to, cuda_address from, size_t bytes))                   \
    X(fill, cuMemsetD8_v2, (cuda_address to, unsigned char byte, size_t bytes))                    \
    X(fill_on, cuMemsetD8Async, (cuda_address to, unsigned char byte, size_t bytes, void *stream)) \
    X(fill_2_on, cuMemsetD16Async,                                                                 \
      (cuda_address to, unsigned short word, size_t count, void *stream))                          \
    X(fill_4_on, cuMemsetD32Async, (cuda_address to, unsigned word, size_t count, void *stream))   \
    X(copy_on, cuMemcpyDtoDAsync_v2,                                                               \
      (cuda_address to, cuda_address from, size_t bytes, void *stream))                            \
    X(copy_rows_on, cuMemcpy2DAsync_v2, (const struct cuda_rows *rows, void *stream))

static struct cuda {
#define CUDA_X(name, symbol, arguments) int(*name) arguments;
    CUDA_FUNCTIONS(CUDA_X)
#undef CUDA_X
} cuda;

/* What one node of a graph waits for of another. */
struct cuda_edge {
    unsigned char from_port, to_port, type, reserved[5];
};
enum { CUDA_EDGE_PROGRAMMATIC = 1 }; /* that it has let others start */
/* Since CUDA 12.3; NULL before. */
static int (*graph_edges)(void *graph, void **from, void **to, struct cuda_edge *edges,
                          size_t *count);
/* Since CUDA 11.4; NULL before. */
static int (*device_uuid)(unsigned char uuid[16], int device);

static int device;
static bool monitored; /* NVML knows the device */
static double clock_max_mhz;
static int64_t memory_errors;
static void *stream, *before, *after;  /* events */
static void *recorded[DEVICE_RECORDS]; /* graphs that can be launched */
static bool overlapped[DEVICE_RECORDS];
static int first_error; /* of what cannot return one */
static char error_text[256];

static const char *describe(const char *what, int error) {
    const char *name = NULL, *text = NULL;
    cuda.error_name(error, &name);
    cuda.error_text(error, &text);
    snprintf(error_text, sizeof error_text, "%s: %s (%s)", what, text != NULL ? text : "no text",
             name != NULL ? name : "an error without name");
    return error_text;
}

static void note(int error) {
    if (first_error == CUDA_SUCCESS) first_error = error;
}

static void *pointer(cuda_address address) {
    void *memory;
    _Static_assert(sizeof memory == sizeof address, "device addresses are 64 bits wide");
    memcpy(&memory, &address, sizeof memory);
    return memory;
}

static cuda_address address_of(const void *memory) {
    return (uintptr_t)memory;
}

static const char *find_functions(void) {
    static const struct {
        const char *symbol;
        size_t offset;
    } wanted[] = {
#define CUDA_X(name, symbol, arguments) {#symbol, offsetof(struct cuda, name)},
        CUDA_FUNCTIONS(CUDA_X)
#undef CUDA_X
    };
    const char *given = getenv("ATTEST_LIBCUDA"), *name = given != NULL ? given : "libcuda.so.1";
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        snprintf(error_text, sizeof error_text, "%.160s is not here: no NVIDIA driver is installed",
                 name);
        return error_text;
    }
    for (size_t n = 0; n < sizeof wanted / sizeof wanted[0]; n++) {
        void *const function = dlsym(library, wanted[n].symbol);
        if (function == NULL) {
            snprintf(error_text, sizeof error_text, "%.160s has no %s", name, wanted[n].symbol);
            return error_text;
        }
        memcpy((char *)&cuda + wanted[n].offset, &function, sizeof function);
    }
    void *const edges = dlsym(library, "cuGraphGetEdges_v2");
    memcpy(&graph_edges, &edges, sizeof edges);
    void *const uuid = dlsym(library, "cuDeviceGetUuid_v2");
    memcpy(&device_uuid, &uuid, sizeof uuid);
    const int error = cuda.init(0);
    return error != CUDA_SUCCESS ? describe("the driver does not start", error) : NULL;
}

static const char *open_device(int index) {
    char bus[32];
    void *context;
    int count = 0, error = cuda.device_count(&count);
    if (error == CUDA_SUCCESS && (index < 0 || index >= count)) {
        snprintf(error_text, sizeof error_text, "there is no GPU %d among %d", index, count);
        return error_text;
    }
    if (error == CUDA_SUCCESS) error = cuda.device_get(&device, index);
    if (error == CUDA_SUCCESS) error = cuda.context_retain(&context, device);
    if (error == CUDA_SUCCESS) error = cuda.context_set(context);
    if (error == CUDA_SUCCESS) error = cuda.stream_create(&stream, 0);
    if (error == CUDA_SUCCESS) error = cuda.event_create(&before, 0);
    if (error == CUDA_SUCCESS) error = cuda.event_create(&after, 0);
    if (error != CUDA_SUCCESS) return describe("the GPU cannot be opened", error);
    monitored = cuda.device_bus(bus, sizeof bus, device) == CUDA_SUCCESS && nvml_open(bus);
    clock_max_mhz = monitored ? nvml_clock_max() : NAN;
    memory_errors = monitored ? nvml_uncorrected_errors() : -1;
    return NULL;
}

static const char *cuda_open(struct attn_call *call) {
    static int opened = -1; /* its index */
    if (opened != call->device_index) {
        const char *reason = opened >= 0 ? "another GPU is open already" : find_functions();
        if (reason == NULL) reason = open_device(call->device_index);
        if (reason != NULL) return reason;
        opened = call->device_index;
    } else if (monitored) {
        nvml_xid(); /* what came before is not this kernel's */
    }
    call->stream = stream;
    return NULL;
}

static int cuda_count(void) {
    int count = 0;
    return find_functions() == NULL && cuda.device_count(&count) == CUDA_SUCCESS ? count : 0;
}

/* "GPU-89f5e4b1-...", as nvidia-smi prints it. */
static void print_uuid(const unsigned char uuid[16], char text[48]) {
    size_t used = (size_t)snprintf(text, 48, "GPU");
    for (int n = 0; n < 16; n++)
        used += (size_t)snprintf(text + used, 48 - used,
                                 n == 0 || n == 4 || n == 6 || n == 8 || n == 10 ? "-%02x" : "%02x",
                                 uuid[n]);
}

static void cuda_describe(int index, json_t *json) {
    char name[96] = "", driver[48], bus[32], text[48];
    unsigned char uuid[16];
    int number, version = 0, processors = 0, cache = 0;
    size_t bytes = 0;
    if (cuda.device_get(&number, index) != CUDA_SUCCESS) return;
    cuda.device_name(name, sizeof name, number);
    cuda.version(&version);
    cuda.device_bytes(&bytes, number);
    cuda.attribute(&processors, CUDA_ATTRIBUTE_PROCESSORS, number);
    cuda.attribute(&cache, CUDA_ATTRIBUTE_L2_BYTES, number);
    snprintf(driver, sizeof driver, "CUDA %d.%d", version / 1000, version % 1000 / 10);
    const bool known = stream == NULL && /* while one is open, NVML is for that */
                       cuda.device_bus(bus, sizeof bus, number) == CUDA_SUCCESS && nvml_open(bus);
    json_object_set_new(json, "name", text_to_json(name));
    if (device_uuid != NULL && device_uuid(uuid, number) == CUDA_SUCCESS) {
        print_uuid(uuid, text);
        json_object_set_new(json, "uuid", json_string(text));
    }
    json_object_set_new(json, "driver", text_to_json(driver));
    json_object_set_new(json, "processors", json_integer(processors));
    json_object_set_new(json, "memory_bytes", json_real((double)bytes));
    json_object_set_new(json, "cache_bytes", json_integer(cache));
    json_object_set_new(json, "ecc", json_integer(known ? nvml_ecc() : -1));
    if (known && isfinite(nvml_clock_max()))
        json_object_set_new(json, "clock_mhz", json_real(nvml_clock_max()));
    if (known) nvml_close();
}

static void *cuda_allocate(size_t bytes) {
    cuda_address address;
    return cuda.allocate(&address, bytes) == CUDA_SUCCESS ? pointer(address) : NULL;
}

static void cuda_release(void *memory) {
    cuda.release(address_of(memory));
}

/* With the rest of the last 16 bytes, which may be read (attn.h): memcheck knows where memory ends.
 */
static void *cuda_place(void *host, size_t bytes) {
    (void)host;
    return cuda_allocate((bytes + 15) / 16 * 16);
}

static void cuda_upload(void *placed, const void *host, size_t bytes) {
    note(cuda.upload(address_of(placed), host, bytes));
}

static void cuda_download(void *host, const void *placed, size_t bytes) {
    note(cuda.download(host, address_of(placed), bytes));
}

static void cuda_fill(void *memory, int byte, size_t bytes) {
    note(cuda.fill(address_of(memory), (unsigned char)byte, bytes));
}

static void cuda_copy(void *to, const void *from, size_t bytes) {
    note(cuda.copy(address_of(to), address_of(from), bytes));
}

static size_t cuda_room(void) {
    size_t unused = 0, all;
    return cuda.memory(&unused, &all) == CUDA_SUCCESS ? unused : 0;
}

/* What the first call that failed since the last one said; also where a failed copy comes to light.
 */
static const char *first_reason(const char *reason) {
    if (reason != NULL) return reason;
    return first_error != CUDA_SUCCESS ? describe("the GPU says", first_error) : NULL;
}

/* While it works: an idle GPU lowers its clock. */
static void read_state(struct device_state *state) {
    struct nvml_reading reading;
    if (!monitored) return;
    nvml_read(&reading);
    state->clock_mhz = reading.sm_mhz;
    state->clock_max_mhz = clock_max_mhz;
    state->watts = reading.watts;
    state->celsius = reading.celsius;
    nvml_reasons_text(reading.reasons, state->slowed);
}

static void time_stream(double *us) {
    float ms = 0;
    note(cuda.stream_wait(stream));
    note(cuda.event_ms(&ms, before, after));
    *us = (double)ms * 1e3;
}

static const char *cuda_launch(const struct attn_kernel *kernel, const struct attn_problem *problem,
                               const struct attn_call *call, double *us,
                               struct device_state *state) {
    note(cuda.event_record(before, stream));
    const char *reason = kernel->launch(problem, call);
    note(cuda.event_record(after, stream));
    if (state != NULL) read_state(state);
    time_stream(us);
    return first_reason(reason);
}

static void cuda_erase(void) {
    for (int which = 0; which < DEVICE_RECORDS; which++) {
        if (recorded[which] != NULL) cuda.graph_ready_free(recorded[which]);
        recorded[which] = NULL;
    }
}

static void cuda_move(const struct device_move *move) {
    const cuda_address to = address_of(move->to), from = address_of(move->from);
    if (move->from == NULL && move->word_bytes == 1) {
        note(cuda.fill_on(to, (unsigned char)move->word, move->width, stream));
    } else if (move->from == NULL && move->word_bytes == 2) {
        note(cuda.fill_2_on(to, (unsigned short)move->word, move->width / 2, stream));
    } else if (move->from == NULL) {
        note(cuda.fill_4_on(to, move->word, move->width / 4, stream));
    } else if (move->rows == 1) {
        note(cuda.copy_on(to, from, move->width, stream));
    } else {
        const struct cuda_rows rows = {
            {.type = CUDA_MEMORY_OF_DEVICE, .device = from, .pitch = move->from_pitch},
            {.type = CUDA_MEMORY_OF_DEVICE, .device = to, .pitch = move->to_pitch},
            move->width,
            move->rows};
        note(cuda.copy_rows_on(&rows, stream));
    }
}

static bool overlaps(void *graph) {
    size_t count = 0;
    if (graph_edges == NULL || graph_edges(graph, NULL, NULL, NULL, &count) != CUDA_SUCCESS ||
        count == 0)
        return false;
    void **nodes = malloc(2 * count * sizeof *nodes);
    struct cuda_edge *edges = calloc(count, sizeof *edges);
    bool found = false;
    if (nodes != NULL && edges != NULL &&
        graph_edges(graph, nodes, nodes + count, edges, &count) == CUDA_SUCCESS)
        for (size_t n = 0; n < count && !found; n++)
            found = edges[n].type == CUDA_EDGE_PROGRAMMATIC;
    free(nodes);
    free(edges);
    return found;
}

/* Only this thread's calls that a capture cannot hold spoil it; then the stream is as before. */
static const char *cuda_record(int which, const struct attn_kernel *kernel,
                               const struct attn_problem *problem, const struct device_step *steps,
                               int64_t count) {
    void *graph = NULL;
    const char *reason = NULL;
    int error = cuda.capture_begin(stream, CUDA_CAPTURE_THREAD_LOCAL);
    if (error != CUDA_SUCCESS) return describe("no launch can be recorded", error);
    const int noted = first_error;
    for (int64_t n = 0; reason == NULL && n < count; n++) {
        if (steps[n].call != NULL)
            reason = kernel->launch(problem, steps[n].call);
        else
            cuda_move(&steps[n].move);
    }
    if (reason == NULL && first_error != noted) reason = describe("a copy", first_error);
    first_error = noted; /* of a capture, which is no error of the device */
    error = cuda.capture_end(stream, &graph);
    if (reason == NULL && error == CUDA_SUCCESS)
        error = cuda.graph_ready(&recorded[which], graph, 0);
    overlapped[which] = graph != NULL && overlaps(graph);
    if (graph != NULL) cuda.graph_free(graph);
    if (reason != NULL) return reason;
    return error != CUDA_SUCCESS ? describe("it cannot be recorded", error) : NULL;
}

/* On the stream a replay comes behind another, which does not count: the event before it and the
 * graph itself are launched while that one runs, so that what the host takes for it is not in the
 * time, and the GPU has been at work. (24 small fills in its place left 20 us of launching in
 * replays of 100 launches on an H200, 2 to 8 % of them.) NVML takes longer to answer than most
 * replays last: more of them follow, so that it is at work until then. */
static const char *cuda_replay(int which, bool again, double *us, struct device_state *state) {
    static double asking_us, replay_us;
    if (again) note(cuda.graph_launch(recorded[which], stream));
    note(cuda.event_record(before, stream));
    note(cuda.graph_launch(recorded[which], stream));
    note(cuda.event_record(after, stream));
    if (state != NULL) state->overlapped = overlapped[which];
    if (state != NULL && monitored) {
        const double start = clock_s();
        for (int n = 0; again && n < FOLLOWING_MAX && (n + 1) * replay_us < asking_us; n++)
            note(cuda.graph_launch(recorded[which], stream));
        read_state(state);
        asking_us = (clock_s() - start) * 1e6;
    }
    time_stream(us);
    replay_us = *us;
    return first_reason(NULL);
}

static const char *cuda_fault(void) {
    note(cuda.context_wait());
    if (first_error != CUDA_SUCCESS) return first_reason(NULL);
    const int64_t xid = monitored ? nvml_xid() : 0;
    const int64_t errors = monitored ? nvml_uncorrected_errors() : -1;
    if (xid != 0) {
        snprintf(error_text, sizeof error_text, "the GPU reported Xid %lld while this row ran",
                 (long long)xid);
        return error_text;
    }
    if (errors <= memory_errors) return NULL;
    snprintf(error_text, sizeof error_text, "the GPU's memory had %lld uncorrected errors",
             (long long)(errors - memory_errors));
    return error_text;
}

static size_t cuda_forget_bytes(void) {
    int cache = 0;
    cuda.attribute(&cache, CUDA_ATTRIBUTE_L2_BYTES, device);
    return 4 * (size_t)(cache > 0 ? cache : 0);
}

/* Not waited for: the launch that follows is queued behind it. */
static bool cuda_evict(int threads) {
    (void)threads;
    static void *buffer;
    const size_t bytes = cuda_forget_bytes();
    if (buffer == NULL && bytes > 0) buffer = cuda_allocate(bytes);
    if (buffer == NULL) return false;
    note(cuda.fill_on(address_of(buffer), 0, bytes, stream));
    return true;
}

const struct device device_cuda = {
    .kind = ATTN_CUDA,
    .events = true,
    .open = cuda_open,
    .allocate = cuda_allocate,
    .release = cuda_release,
    .place = cuda_place,
    .unplace = cuda_release,
    .upload = cuda_upload,
    .download = cuda_download,
    .fill = cuda_fill,
    .launch = cuda_launch,
    .evict = cuda_evict,
    .forget_bytes = cuda_forget_bytes,
    .room = cuda_room,
    .copy = cuda_copy,
    .move = cuda_move,
    .record = cuda_record,
    .replay = cuda_replay,
    .erase = cuda_erase,
    .fault = cuda_fault,
    .count = cuda_count,
    .describe = cuda_describe,
};
