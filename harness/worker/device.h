/* What a worker needs of a device. One of these for each kind, in device_<kind>.c; the worker knows
 * no device by name, and the parent none at all. */
#ifndef ATTEST_DEVICE_H
#define ATTEST_DEVICE_H

#include "../../kernels/attn.h"

#include <jansson.h>
#include <stdbool.h>

/* What a GPU did during a sample; NaN and "" where nothing can say so. */
struct device_state {
    double clock_mhz, clock_max_mhz, watts, celsius; /* clock_max_mhz: that it is specified for */
    char slowed[96];                                 /* why the clock was not higher */
    bool overlapped; /* launches of a replay may begin before the one before has ended */
};

/* Rows of bytes that are copied, or with from == NULL filled with a word of `word_bytes`, 1, 2
 * or 4.
 */
struct device_move {
    void *to;
    const void *from;
    size_t to_pitch, from_pitch, width, rows;
    uint32_t word;
    int word_bytes;
};

/* A part of a recording: a launch, or with call == NULL a move. */
struct device_step {
    const struct attn_call *call;
    struct device_move move;
};

/* What can be recorded beside each other. */
enum { DEVICE_RECORDS = 4 };

struct device {
    enum attn_device kind;
    bool events; /* launches are timed between two events on the device, else by the host's clock */
    /* Sets call->stream for call->device_index; NULL, or why there is no such device here. May be
     * called again for the same index. */
    const char *(*open)(struct attn_call *call);
    /* Scratch: at least 256-byte aligned; NULL when there is no more. */
    void *(*allocate)(size_t bytes);
    void (*release)(void *memory);
    /* Where kernels on this device find a buffer of host memory; NULL when there is no room. On a
     * CPU that is the buffer itself, and upload and download have nothing to move. */
    void *(*place)(void *host, size_t bytes);
    void (*unplace)(void *placed);
    void (*upload)(void *placed, const void *host, size_t bytes);
    void (*download)(void *host, const void *placed, size_t bytes);
    void (*fill)(void *memory, int byte, size_t bytes);
    /* One launch from the moment it is asked for until its result is there; *us is its time.
     * `state`, of a long one, may be NULL, and is left as it is where nothing is known. Returns
     * what the kernel returned. */
    const char *(*launch)(const struct attn_kernel *kernel, const struct attn_problem *problem,
                          const struct attn_call *call, double *us, struct device_state *state);

    /* The rest is NULL where a device has no such thing. */

    /* Leaves nothing of the tensors in any cache; false when there is no memory to do it with. NULL
     * of a device that is not timed. */
    bool (*evict)(int threads);
    /* Bytes that must be touched between two uses of a line for it to have left every cache. */
    size_t (*forget_bytes)(void);
    /* Bytes that can still be allocated. */
    size_t (*room)(void);
    void (*copy)(void *to, const void *from, size_t bytes); /* both on the device */
    /* Puts it on the stream, or into what is recorded. */
    void (*move)(const struct device_move *move);
    /* Records steps, in their order, to be replayed as one; NULL, or why that cannot be. `which` is
     * below DEVICE_RECORDS, and not recorded. */
    const char *(*record)(int which, const struct attn_kernel *kernel,
                          const struct attn_problem *problem, const struct device_step *steps,
                          int64_t count);
    /* All that was recorded there, *us its time; `state` may be NULL. `again`: it may be replayed
     * before and after that, too, which keeps the device at work while the host is. NULL, or what
     * went wrong. */
    const char *(*replay)(int which, bool again, double *us, struct device_state *state);
    /* Forgets everything that was recorded. */
    void (*erase)(void);
    /* What went wrong on the device and no launch has said yet: errors of its memory, for one. */
    const char *(*fault)(void);
    /* How many there are; 0 without a driver. */
    int (*count)(void);
    /* What is known of number `index` without opening it: fields of struct machine_device. */
    void (*describe)(int index, json_t *json);
};

/* NULL when this program does not know it. */
const struct device *device_find(enum attn_device kind);

extern const struct device device_cpu, device_cuda, device_ascend, device_twin;

#endif
