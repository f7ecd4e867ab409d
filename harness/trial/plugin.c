/* Finding kernels: file names first, then what the files say of themselves. A child opens the
 * libraries one after the other; one that kills the child costs a line on stderr, and the next one
 * gets a new child. */
#include "plugin.h"
#include "client.h"
#include "../worker/protocol.h"
#include "../../fixtures/problem.h"
#include "../../oracle/rule.h"
#include "../../oracle/text.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { DESCRIBE_SECONDS = 30 }; /* loading a CUDA library may initialise a driver */

static bool ends_with_so(const char *name) {
    const size_t length = strlen(name);
    return length > 3 && !strcmp(name + length - 3, ".so");
}

/* "decode_flash_r1" of ".../cpu/decode_flash_r1.so". */
static void stem_of(const char *path, char stem[80]) {
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    snprintf(stem, 80, "%.*s", (int)(strlen(name) - 3), name);
}

/* Whether a file of this stem in a folder of this name ("" for the top) was asked for. */
static bool wanted(const char *folder, const char *stem, const char *const *globs, int64_t count) {
    char id[256];
    int64_t patterns = 0;
    snprintf(id, sizeof id, "%s/%s", folder, stem);
    for (int64_t n = 0; n < count; n++) {
        if (ends_with_so(globs[n])) continue;
        patterns++;
        if (fnmatch(globs[n], strchr(globs[n], '/') != NULL ? id : stem, 0) == 0) return true;
    }
    return patterns == 0 && count == 0;
}

static bool list_add(struct plugin_list *list, const char *path, bool found, struct fault *fault) {
    for (int64_t n = 0; n < list->count; n++) {
        if (!strcmp(list->plugins[n].path, path)) return true;
    }
    struct plugin *plugins =
        realloc(list->plugins, (size_t)(list->count + 1) * sizeof *list->plugins);
    if (plugins == NULL) return fault_set(fault, FAULT_OURS, "out of memory for kernels");
    list->plugins = plugins;
    struct plugin *plugin = &list->plugins[list->count++];
    *plugin = (struct plugin){.found = found};
    snprintf(plugin->path, sizeof plugin->path, "%s", path);
    return true;
}

static bool scan_folder(struct plugin_list *list, const char *path, const char *folder,
                        const char *const *globs, int64_t count, struct fault *fault) {
    DIR *directory = opendir(path);
    if (directory == NULL) {
        if (errno == ENOENT) return true; /* nothing was built or installed there */
        return fault_set(fault, FAULT_INPUT, "cannot read folder '%s': %s", path, strerror(errno));
    }
    bool well = true;
    for (const struct dirent *entry; well && (entry = readdir(directory)) != NULL;) {
        char full[PATH_MAX], stem[80];
        struct stat status;
        if (entry->d_name[0] == '.' ||
            snprintf(full, sizeof full, "%s/%s", path, entry->d_name) >= (int)sizeof full ||
            stat(full, &status) != 0)
            continue;
        if (S_ISDIR(status.st_mode) && *folder == '\0') {
            well = scan_folder(list, full, entry->d_name, globs, count, fault);
        } else if (S_ISREG(status.st_mode) && ends_with_so(entry->d_name)) {
            stem_of(full, stem);
            if (wanted(folder, stem, globs, count)) well = list_add(list, full, true, fault);
        }
    }
    closedir(directory);
    return well;
}

static bool add_named(struct plugin_list *list, const char *path, struct fault *fault) {
    char full[PATH_MAX];
    if (realpath(path, full) == NULL)
        return fault_set(fault, FAULT_INPUT, "cannot open kernel '%s': %s", path, strerror(errno));
    return list_add(list, full, false, fault);
}

static bool digest_file(const char *path, char digest[40], struct fault *fault) {
    static unsigned char buffer[1 << 16];
    FILE *file = fopen(path, "rbe");
    XXH3_state_t *state = XXH3_createState();
    bool well = file != NULL && state != NULL;
    if (well) XXH3_128bits_reset(state);
    for (size_t n; well && (n = fread(buffer, 1, sizeof buffer, file)) > 0;)
        XXH3_128bits_update(state, buffer, n);
    if (well) {
        const XXH128_hash_t hash = XXH3_128bits_digest(state);
        snprintf(digest, 40, "%016llx%016llx", (unsigned long long)hash.high64,
                 (unsigned long long)hash.low64);
        well = !ferror(file);
    }
    if (!well) fault_set(fault, FAULT_INPUT, "cannot read '%s': %s", path, strerror(errno));
    if (file != NULL) fclose(file);
    XXH3_freeState(state);
    return well;
}

/* Copies a description out of the child's answer; the reason it will not do, or NULL. */
static const char *understand(struct plugin *plugin, const json_t *reply, char reason[512]) {
    if (!json_is_true(json_object_get(reply, "ok"))) {
        const char *text = json_string_value(json_object_get(reply, "text"));
        snprintf(reason, 512, "%s", text != NULL ? text : "no description");
        return reason;
    }
    struct attn_kernel *kernel = &plugin->kernel;
    if (!kernel_from_json(kernel, json_object_get(reply, "kernel")))
        return "its description names a device, variant or dtype that this program does not know";
    snprintf(plugin->name, sizeof plugin->name, "%s", kernel->name);
    text_copy(plugin->change, sizeof plugin->change, kernel->change);
    kernel->name = kernel->change = NULL; /* the texts beside it outlive a copy of the struct */
    char file[80], stem[4 * sizeof file], expected[160];
    stem_of(plugin->path, file);
    json_t *text = text_to_json(file); /* as the name came */
    snprintf(stem, sizeof stem, "%s", json_string_value(text));
    json_decref(text);
    snprintf(expected, sizeof expected, "%s_%s_r%d",
             variant_name((enum attn_variant)kernel->variant), plugin->name, kernel->revision);
    if (strcmp(stem, expected) != 0) {
        snprintf(reason, 512, "it says it is '%s'; a kernel's file is named so", expected);
        return reason;
    }
    snprintf(plugin->id, sizeof plugin->id, "%s/%.80s",
             device_name((enum attn_device)kernel->device), expected);
    return NULL;
}

/* Fills one plugin through the child, which is started when there is none. *described says whether
 * it worked; false is returned only when no child can be had. */
static bool describe(struct plugin *plugin, struct client *client, const char *program,
                     bool *described, struct fault *fault) {
    char reason[512] = "";
    const char *why = reason;
    struct fault trouble = {0};
    *described = false;
    if (client->pid == 0) {
        client_stop(client);
        if (!client_start(client, program, NULL, fault)) return false;
    }
    json_t *reply = client_ask(
        client, json_pack("{s:s, s:o}", "op", "describe", "library", path_to_json(plugin->path)),
        DESCRIBE_SECONDS);
    if (reply == NULL) {
        snprintf(reason, sizeof reason, "loading it ended the process: %s", client->how);
    } else if (!digest_file(plugin->path, plugin->digest, &trouble)) {
        why = trouble.text;
    } else {
        why = understand(plugin, reply, reason);
    }
    json_decref(reply);
    *described = why == NULL;
    if (why != NULL) fault_say("kernel '%s' is left out: %s", plugin->path, why);
    return true;
}

static int by_id(const void *a, const void *b) {
    return strcmp(((const struct plugin *)a)->id, ((const struct plugin *)b)->id);
}

bool plugin_scan(struct plugin_list *list, const char *program, const char *directory,
                 const char *const *globs, int64_t glob_count, struct fault *fault) {
    *list = (struct plugin_list){0};
    bool well = true;
    for (int64_t n = 0; well && n < glob_count; n++) {
        if (ends_with_so(globs[n])) well = add_named(list, globs[n], fault);
    }
    for (const char *at = directory; well && *at != '\0';) {
        char path[PATH_MAX];
        const size_t length = strcspn(at, ":");
        snprintf(path, sizeof path, "%.*s", (int)length, at);
        if (length > 0) well = scan_folder(list, path, "", globs, glob_count, fault);
        at += length + (at[length] == ':');
    }
    struct client client = {0};
    int64_t kept = 0;
    for (int64_t n = 0; well && n < list->count; n++) {
        bool described;
        well = describe(&list->plugins[n], &client, program, &described, fault);
        if (well && described) list->plugins[kept++] = list->plugins[n];
    }
    client_stop(&client);
    if (!well) {
        plugin_list_free(list);
        return false;
    }
    list->count = kept;
    if (kept > 0) qsort(list->plugins, (size_t)kept, sizeof *list->plugins, by_id);
    return true;
}

void plugin_list_leave_out(struct plugin_list *list, enum attn_device device) {
    int64_t kept = 0;
    for (int64_t n = 0; n < list->count; n++) {
        if ((enum attn_device)list->plugins[n].kernel.device != device)
            list->plugins[kept++] = list->plugins[n];
    }
    list->count = kept;
}

void plugin_list_free(struct plugin_list *list) {
    free(list->plugins);
    *list = (struct plugin_list){0};
}

const char *plugin_refusal(const struct attn_kernel *kernel, const struct attn_problem *problem,
                           char reason[256]) {
    if (kernel->variant != problem->variant) {
        snprintf(reason, 256, "it is a %s kernel, the problem is %s",
                 variant_name((enum attn_variant)kernel->variant),
                 variant_name((enum attn_variant)problem->variant));
        return reason;
    }
    const uint64_t missing = problem->traits & ~kernel->traits;
    for (const struct rule *const *rule = rules; missing != 0 && *rule != NULL; rule++) {
        if (!((*rule)->trait & missing)) continue;
        snprintf(reason, 256, "it does not declare the trait %s", (*rule)->name);
        return reason;
    }
    if (missing != 0) return "it does not declare a trait of the problem";
    if (!(kernel->dtypes >> problem->dtype & 1)) {
        snprintf(reason, 256, "it does not declare the dtype %s",
                 dtype_name((enum attn_dtype)problem->dtype));
        return reason;
    }
    if (problem->head_dim > kernel->head_dim_max) {
        snprintf(reason, 256, "head dim %lld is larger than its %d", (long long)problem->head_dim,
                 kernel->head_dim_max);
        return reason;
    }
    return NULL;
}
