/* What a worker needs of a device. One of these for each kind, in device_<kind>.c; the worker knows
 * no device by name, and the parent none at all. */
#ifndef ATTEST_DEVICE_H
#define ATTEST_DEVICE_H

#include "../kernels/attn.h"

#include <stdbool.h>

struct device {
    enum attn_device kind;
    /* Sets call->stream for call->device_index; NULL, or why there is no such device here. */
    const char *(*open)(struct attn_call *call);
    /* Scratch: at least 256-byte aligned; NULL when there is no more. */
    void *(*allocate)(size_t bytes);
    void (*release)(void *memory);
    /* Where kernels on this device find a buffer of host memory; NULL when there is no room. On a
     * CPU that is the buffer itself, and upload and download have nothing to move. */
    void *(*place)(void *host, size_t bytes);
    void (*upload)(void *placed, const void *host, size_t bytes);
    void (*download)(void *host, const void *placed, size_t bytes);
    void (*fill)(void *memory, int byte, size_t bytes);
    /* One launch from the moment it is asked for until its result is there; *us is its time.
     * Returns what the kernel returned. */
    const char *(*launch)(const struct attn_kernel *kernel, const struct attn_problem *problem,
                          const struct attn_call *call, double *us);
    /* Leaves nothing of the tensors in any cache; false when there is no memory to do it with. */
    bool (*evict)(int threads);
};

/* NULL when this program does not know it. */
const struct device *device_find(enum attn_device kind);

extern const struct device device_cpu, device_cuda;

#endif
