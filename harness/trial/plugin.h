/* Kernels as files: a plug-in is a shared library that exports attn_export (kernels/attn.h). The
 * harness keeps no list of them: it scans folders. Describing one runs its code, so the parent does
 * it in a child (worker.h). */
#ifndef ATTEST_PLUGIN_H
#define ATTEST_PLUGIN_H

#include "../../kernels/attn.h"
#include "../../oracle/fault.h"

#include <stdbool.h>

/* What a library says of itself, copied out of it. */
struct plugin {
    char id[96];               /* "cpu/decode_flash_r1" */
    char path[4096];           /* of the .so */
    char digest[40];           /* XXH3-128 of the file */
    struct attn_kernel kernel; /* function pointers are not valid in the parent */
    char name[48], change[256];
    bool found; /* by scanning the folder; else the path is what names it on a command line */
};

struct plugin_list {
    int64_t count;
    struct plugin *plugins;
};

/* Every library in `directory` (folders joined by ':') and its device folders whose id matches one
 * of `globs` (all when glob_count is 0; a glob without '/' matches the file's name alone; a path to
 * an .so names that library). In order of id. A library that cannot be described, or whose file is
 * not called <variant>_<name>_r<revision>, is a line on stderr, not the end. */
bool plugin_scan(struct plugin_list *list, const char *program, const char *directory,
                 const char *const *globs, int64_t glob_count, struct fault *fault);
/* Takes the kernels for one kind of device out. */
void plugin_list_leave_out(struct plugin_list *list, enum attn_device device);
void plugin_list_free(struct plugin_list *list);

/* Why this kernel is not given this problem -- undeclared device, variant, trait, dtype, head dim
 * -- or NULL; its own refuse() is asked in the worker. The text is static or in `reason`. */
const char *plugin_refusal(const struct attn_kernel *kernel, const struct attn_problem *problem,
                           char reason[256]);

#endif
