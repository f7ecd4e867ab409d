/* An NVIDIA GPU as a device, through the driver's library as it is found when a kernel is loaded:
 * this file builds without the toolkit, and the program starts without a driver. Kernels come with
 * the runtime API, which works in the device's primary context; so does this.
 *
 * The stream is an ordinary one: it waits for copies on the default stream, and they for it; a
 * kernel that forgets call->stream is still timed whole. Times are between two events around one
 * launch. */
#include "device.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef unsigned long long cuda_address;

enum { CUDA_SUCCESS = 0, CUDA_ATTRIBUTE_L2_BYTES = 38 };

/* X(our name, the library's, arguments); each returns a CUresult. */
#define CUDA_FUNCTIONS(X)                                                                          \
    X(init, cuInit, (unsigned flags))                                                              \
    X(error_name, cuGetErrorName, (int error, const char **name))                                  \
    X(error_text, cuGetErrorString, (int error, const char **text))                                \
    X(device_get, cuDeviceGet, (int *device, int index))                                           \
    X(attribute, cuDeviceGetAttribute, (int *value, int attribute, int device))                    \
    X(context_retain, cuDevicePrimaryCtxRetain, (void **context, int device))                      \
    X(context_set, cuCtxSetCurrent, (void *context))                                               \
    X(stream_create, cuStreamCreate, (void **stream, unsigned flags))                              \
    X(stream_wait, cuStreamSynchronize, (void *stream))                                            \
    X(event_create, cuEventCreate, (void **event, unsigned flags))                                 \
    X(event_record, cuEventRecord, (void *event, void *stream))                                    \
    X(event_ms, cuEventElapsedTime, (float *ms, void *from, void *to))                             \
    X(allocate, cuMemAlloc_v2, (cuda_address * address, size_t bytes))                             \
    X(release, cuMemFree_v2, (cuda_address address))                                               \
    X(upload, cuMemcpyHtoD_v2, (cuda_address to, const void *from, size_t bytes))                  \
    X(download, cuMemcpyDtoH_v2, (void *to, cuda_address from, size_t bytes))                      \
    X(fill, cuMemsetD8_v2, (cuda_address to, unsigned char byte, size_t bytes))                    \
    X(fill_on, cuMemsetD8Async, (cuda_address to, unsigned char byte, size_t bytes, void *stream))

static struct cuda {
#define CUDA_X(name, symbol, arguments) int(*name) arguments;
    CUDA_FUNCTIONS(CUDA_X)
#undef CUDA_X
} cuda;

static int device;
static void *stream, *before, *after; /* events */
static int first_error;               /* of what cannot return one */
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
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return "libcuda.so.1 is not here: no NVIDIA driver is installed";
    for (size_t n = 0; n < sizeof wanted / sizeof wanted[0]; n++) {
        void *const function = dlsym(library, wanted[n].symbol);
        if (function == NULL) {
            snprintf(error_text, sizeof error_text, "libcuda.so.1 has no %s", wanted[n].symbol);
            return error_text;
        }
        memcpy((char *)&cuda + wanted[n].offset, &function, sizeof function);
    }
    return NULL;
}

static const char *cuda_open(struct attn_call *call) {
    const char *reason = find_functions();
    if (reason != NULL) return reason;
    void *context;
    int error = cuda.init(0);
    if (error == CUDA_SUCCESS) error = cuda.device_get(&device, call->device_index);
    if (error == CUDA_SUCCESS) error = cuda.context_retain(&context, device);
    if (error == CUDA_SUCCESS) error = cuda.context_set(context);
    if (error == CUDA_SUCCESS) error = cuda.stream_create(&stream, 0);
    if (error == CUDA_SUCCESS) error = cuda.event_create(&before, 0);
    if (error == CUDA_SUCCESS) error = cuda.event_create(&after, 0);
    call->stream = stream;
    return error != CUDA_SUCCESS ? describe("the GPU cannot be opened", error) : NULL;
}

static void *cuda_allocate(size_t bytes) {
    cuda_address address;
    return cuda.allocate(&address, bytes) == CUDA_SUCCESS ? pointer(address) : NULL;
}

static void cuda_release(void *memory) {
    cuda.release(address_of(memory));
}

static void *cuda_place(void *host, size_t bytes) {
    (void)host;
    return cuda_allocate(bytes);
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

/* Also where a failed copy before it comes to light. */
static const char *cuda_launch(const struct attn_kernel *kernel, const struct attn_problem *problem,
                               const struct attn_call *call, double *us) {
    float ms = 0;
    note(cuda.event_record(before, stream));
    const char *reason = kernel->launch(problem, call);
    note(cuda.event_record(after, stream));
    note(cuda.stream_wait(stream));
    note(cuda.event_ms(&ms, before, after));
    *us = (double)ms * 1e3;
    if (reason != NULL) return reason;
    return first_error != CUDA_SUCCESS ? describe("the GPU says", first_error) : NULL;
}

/* Not waited for: the launch that follows is queued behind it. */
static bool cuda_evict(int threads) {
    (void)threads;
    static void *buffer;
    static size_t bytes;
    if (buffer == NULL) {
        int cache = 0;
        if (cuda.attribute(&cache, CUDA_ATTRIBUTE_L2_BYTES, device) != CUDA_SUCCESS || cache <= 0)
            return false;
        bytes = 4 * (size_t)cache;
        buffer = cuda_allocate(bytes);
        if (buffer == NULL) return false;
    }
    note(cuda.fill_on(address_of(buffer), 0, bytes, stream));
    return true;
}

const struct device device_cuda = {
    .kind = ATTN_CUDA,
    .open = cuda_open,
    .allocate = cuda_allocate,
    .release = cuda_release,
    .place = cuda_place,
    .upload = cuda_upload,
    .download = cuda_download,
    .fill = cuda_fill,
    .launch = cuda_launch,
    .evict = cuda_evict,
};
