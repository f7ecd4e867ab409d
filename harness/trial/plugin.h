/* Kernels as files: a plug-in is a shared library that exports attn_export (kernels/attn.h). The
 * harness keeps no list of them: it scans folders. Describing one runs its code, so the parent does
 * it in a child (worker.h). */
#ifndef ATTEST_PLUGIN_H
#define ATTEST_PLUGIN_H

#include "../judge/judge.h"
#include "../../kernels/attn.h"
#include "../../oracle/fault.h"

#include <stdbool.h>

/* What a library says of itself, copied out of it. */
struct plugin {
    char id[96];     /* "cpu/decode_flash_r1" */
    char path[4096]; /* of the .so, or "/home/me/mine.py:decode_mine_r1" */
    char digest[40]; /* XXH3-128 of the file, and of the name in it; "" where it cannot be read */
    struct attn_kernel kernel; /* function pointers are not valid in the parent */
    char name[48], change[256];
    bool found; /* by scanning the folder; else the path is what names it on a command line */
    bool among; /* others of a file of Python's, which alone was named */
    /* Not STATUS_PASS: it was named and cannot be loaded, as `why` says; each of its rows has this
     * status. Of the members above those are known that its file and its folder are named after;
     * a device that they do not tell is the CPU, a variant PLUGIN_VARIANT_UNKNOWN. */
    enum status trouble;
    char why[256];
};
enum { PLUGIN_VARIANT_UNKNOWN = -1 };

enum { PLUGIN_PATIENCE_S = 30 }; /* loading a CUDA library may initialise a driver */

struct plugin_list {
    int64_t count;
    struct plugin *plugins;
    double patience_s; /* for plugin_scan: describing a library that takes longer hangs; 0 and more
                          than PLUGIN_PATIENCE_S: these */
    /* Libraries that nobody named and that cannot be loaded: how many, and some of their names. */
    int64_t left_out;
    char left_out_names[256];
    const char *unmatched; /* the glob that a scan failed for, NULL if it was not that */
};

/* Every library in `directory` (folders joined by ':') and its device folders whose id matches one
 * of `globs` (all when glob_count is 0; a glob without '/' matches the file's name alone; a path to
 * an .so names that library, "mine.py" all kernels in that file of Python's and
 * "mine.py:decode_mine_r1" one of them). In order of id. A glob that no file matches is
 * FAULT_INPUT, with the name it may have been meant for. A library that cannot be described, or
 * whose file is not called <variant>_<name>_r<revision>, is not the end: it stays in the list, with
 * its trouble, if a glob named it, and else is left out and a line on stderr. Before that it is
 * asked a second time, in a process that has seen no other library. */
bool plugin_scan(struct plugin_list *list, const char *program, const char *directory,
                 const char *const *globs, int64_t glob_count, struct fault *fault);
/* One that cannot be loaded may be for any, if its file's name does not tell. */
bool plugin_is_for(const struct plugin *plugin, int variant);
/* Whether a glob or path, as plugin_scan takes them, is for this kernel. */
bool plugin_matches(const struct plugin *plugin, const char *glob);
/* Once more on stderr, after all that was printed since: which libraries were left out. */
void plugin_list_tell_left_out(const struct plugin_list *list);
/* Takes the kernels for one kind of device out. */
void plugin_list_leave_out(struct plugin_list *list, enum attn_device device);
void plugin_list_free(struct plugin_list *list);

/* Why this kernel is not given this problem -- undeclared device, variant, trait, dtype, head dim
 * -- or NULL; its own refuse() is asked in the worker. The text is static or in `reason`. */
const char *plugin_refusal(const struct attn_kernel *kernel, const struct attn_problem *problem,
                           char reason[256]);

#endif
