/* The kinds of device a kernel can be for, and whether this machine can open one: by asking the
 * loader for the driver's library, so that attest needs none of them to be built or to start. */
#ifndef ATTEST_DRIVER_H
#define ATTEST_DRIVER_H

#include "../../kernels/attn.h"

#include <stdbool.h>

struct driver {
    enum attn_device device;
    const char *library; /* NULL: none needed */
    const char *meaning;
};
extern const struct driver drivers[]; /* ends with meaning == NULL */
/* The entry of a kind; the last, which ends the table, of one that is unknown. */
const struct driver *driver_of(enum attn_device device);

bool driver_present(const struct driver *driver);

#endif
