/* Loading is asking: a driver that cannot be loaded could not be used either. A device without a
 * library is this host itself: there is one of it, and it has no number. */
#include "driver.h"

#include <dlfcn.h>
#include <stddef.h>

const struct driver drivers[] = {
    {ATTN_CPU, NULL, "the processor this program runs on"},
    {ATTN_CUDA, "libcuda.so.1", "NVIDIA GPUs, through the CUDA driver"},
    {ATTN_ASCEND, "libascendcl.so", "Ascend NPUs, through AscendCL"},
    {ATTN_ASCEND_TWIN, NULL, "an Ascend 910B2, emulated on the processor; run when asked for"},
    {0},
};

const struct driver *driver_of(enum attn_device device) {
    const struct driver *driver = drivers;
    while (driver->meaning != NULL && driver->device != device) driver++;
    return driver;
}

bool driver_present(const struct driver *driver) {
    if (driver->library == NULL) return true;
    void *library = dlopen(driver->library, RTLD_LAZY | RTLD_LOCAL);
    if (library == NULL) return false;
    dlclose(library);
    return true;
}
