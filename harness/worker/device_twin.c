/* The twin of an Ascend NPU as a device: kernels for the NPU that were built with attest's
 * emulation of it (kernels/ascend/twin) run in this process, on host memory, and return when they
 * are done. What they do is checked by the emulation, whose findings are texts of the launch; how
 * long they take means nothing, so nobody times them. Emulated; never run on a 910B2. */
#include "device.h"
#include "../../oracle/clock.h"

#include <stdlib.h>
#include <string.h>

static const char *twin_open(struct attn_call *call) {
    call->stream = NULL;
    return NULL;
}

static void *twin_allocate(size_t bytes) {
    void *memory = NULL;
    return posix_memalign(&memory, 4096, bytes) == 0 ? memory : NULL;
}

static void *twin_place(void *host, size_t bytes) {
    (void)bytes;
    return host;
}

static void twin_unplace(void *placed) {
    (void)placed;
}

static void twin_copy(void *to, const void *from, size_t bytes) {
    if (to != from) memcpy(to, from, bytes);
}

static void twin_fill(void *memory, int byte, size_t bytes) {
    memset(memory, byte, bytes);
}

/* The time is the emulation's: how many more launches can be afforded. */
static const char *twin_launch(const struct attn_kernel *kernel, const struct attn_problem *problem,
                               const struct attn_call *call, double *us,
                               struct device_state *state) {
    (void)state;
    const double start = clock_s();
    const char *reason = kernel->launch(problem, call);
    *us = (clock_s() - start) * 1e6;
    return reason;
}

const struct device device_twin = {
    .kind = ATTN_ASCEND_TWIN,
    .open = twin_open,
    .allocate = twin_allocate,
    .release = free,
    .place = twin_place,
    .unplace = twin_unplace,
    .upload = twin_copy,
    .download = twin_copy,
    .fill = twin_fill,
    .launch = twin_launch,
};
