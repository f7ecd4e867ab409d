/* Loading is asking: a driver that cannot be loaded could not be used either. */
#include "driver.h"

#include <dlfcn.h>
#include <stddef.h>

const struct driver drivers[] = {
    {ATTN_CPU, NULL, "the processor this program runs on"},
    {ATTN_CUDA, "libcuda.so.1", "NVIDIA GPUs, through the CUDA driver"},
    {ATTN_ASCEND, "libascendcl.so", "Ascend NPUs, through AscendCL"},
    {0},
};

bool driver_present(const struct driver *driver) {
    if (driver->library == NULL) return true;
    void *library = dlopen(driver->library, RTLD_LAZY | RTLD_LOCAL);
    if (library == NULL) return false;
    dlclose(library);
    return true;
}
