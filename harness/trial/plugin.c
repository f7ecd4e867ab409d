/* Finding kernels: file names first, then what the files say of themselves. A child opens the
 * libraries one after the other. What goes wrong there need not be the fault of the library that
 * was asked for: one before it may have left a thread that ends the process a moment later. So it
 * is asked again in a child of its own, and only what fails alone has failed. */
#include "plugin.h"
#include "client.h"
#include "interpreter.h"
#include "../worker/protocol.h"
#include "../../fixtures/problem.h"
#include "../../oracle/nearest.h"
#include "../../oracle/rule.h"
#include "../../oracle/text.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static bool is_path(const char *glob) {
    return text_ends_with(glob, ".so") || interpreter_runs(glob);
}

/* "decode_flash_r1" of ".../cpu/decode_flash_r1.so" and of ".../mine.py:decode_flash_r1". */
static void stem_of(const char *path, char stem[80]) {
    const char *slash = strrchr(path, '/'), *own = interpreter_name(path);
    const char *name = slash != NULL ? slash + 1 : path;
    if (own != NULL)
        snprintf(stem, 80, "%s", own);
    else
        snprintf(stem, 80, "%.*s", (int)(strlen(name) - 3), name);
}

/* Of a path to a kernel, that to the file which it is in. */
static void file_of(const char *path, char file[PATH_MAX]) {
    snprintf(file, PATH_MAX, "%.*s", interpreter_file(path), path);
}

/* Whether a glob is for a file of this stem in a folder of this name ("" for the top). */
static bool glob_matches(const char *glob, const char *folder, const char *stem) {
    char id[256];
    snprintf(id, sizeof id, "%.160s/%s", folder, stem);
    return fnmatch(glob, strchr(glob, '/') != NULL ? id : stem, 0) == 0;
}

/* Whether two paths are to one kernel, of which a file may have several; to any of them where none
 * is named. */
static bool is_same_kernel(const char *a, const char *b) {
    struct stat one, other;
    char files[2][PATH_MAX];
    const char *names[] = {interpreter_name(a), interpreter_name(b)};
    file_of(a, files[0]);
    file_of(b, files[1]);
    return stat(files[0], &one) == 0 && stat(files[1], &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino &&
           (names[0] == NULL || names[1] == NULL || !strcmp(names[0], names[1]));
}

bool plugin_is_for(const struct plugin *plugin, int variant) {
    return plugin->kernel.variant == variant || plugin->kernel.variant == PLUGIN_VARIANT_UNKNOWN;
}

bool plugin_matches(const struct plugin *plugin, const char *glob) {
    char folder[PATH_MAX], stem[80];
    if (is_path(glob)) return is_same_kernel(glob, plugin->path);
    stem_of(plugin->path, stem);
    snprintf(folder, sizeof folder, "%s", plugin->path);
    *strrchr(folder, '/') = '\0';
    const char *slash = strrchr(folder, '/');
    return glob_matches(glob, slash != NULL ? slash + 1 : folder, stem);
}

/* The libraries that a scan comes by, and which globs they were matched by. */
struct scan {
    struct plugin_list *list;
    const char *const *globs;
    int64_t glob_count;
    bool *matched; /* of each glob */
    char (*ids)[96];
    size_t id_count;
    double seconds; /* that a file may take */
};

static bool note_id(struct scan *scan, const char *folder, const char *stem, struct fault *fault) {
    void *ids = realloc(scan->ids, (scan->id_count + 1) * sizeof *scan->ids);
    if (ids == NULL) return fault_set(fault, FAULT_OURS, "out of memory for kernels");
    scan->ids = ids;
    snprintf(scan->ids[scan->id_count++], sizeof *scan->ids, "%.15s%s%s", folder,
             *folder != '\0' ? "/" : "", stem);
    return true;
}

static bool is_wanted(struct scan *scan, const char *folder, const char *stem) {
    bool wanted = scan->glob_count == 0;
    for (int64_t n = 0; n < scan->glob_count; n++) {
        if (is_path(scan->globs[n]) || !glob_matches(scan->globs[n], folder, stem)) continue;
        wanted = scan->matched[n] = true;
    }
    return wanted;
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

static bool scan_folder(struct scan *scan, const char *path, const char *folder,
                        struct fault *fault) {
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
            well = scan_folder(scan, full, entry->d_name, fault);
        } else if (S_ISREG(status.st_mode) && text_ends_with(entry->d_name, ".so")) {
            stem_of(full, stem);
            well = note_id(scan, folder, stem, fault) &&
                   (!is_wanted(scan, folder, stem) || list_add(scan->list, full, true, fault));
        }
    }
    closedir(directory);
    return well;
}

/* The name without its folder, and the folder of a path. */
static const char *name_in(const char *path, char folder[PATH_MAX]) {
    const char *slash = strrchr(path, '/');
    snprintf(folder, PATH_MAX, "%.*s", slash != NULL ? (int)(slash - path) : 1,
             slash != NULL ? path : ".");
    if (slash == path) snprintf(folder, PATH_MAX, "/");
    return slash != NULL ? slash + 1 : path;
}

/* " here are kernels for cpu and twin" where the folder before the '/' of a glob is not there. */
static void tell_folders(const struct scan *scan, const char *glob, char *text, size_t bytes) {
    const char *slash = strchr(glob, '/');
    size_t used = 0;
    text[0] = '\0';
    if (slash == NULL) return;
    for (size_t n = 0; n < scan->id_count; n++) {
        const char *id = scan->ids[n];
        const int length = (int)strcspn(id, "/");
        char folder[sizeof scan->ids[0]], known[sizeof scan->ids[0] + 2];
        snprintf(folder, sizeof folder, "%.*s", length, id);
        snprintf(known, sizeof known, " %s", folder);
        if (length == (int)(slash - glob) && !strncmp(id, glob, (size_t)length)) {
            text[0] = '\0';
            return;
        }
        if (id[length] == '\0' || strstr(text, known) != NULL || used >= bytes) continue;
        used += (size_t)snprintf(text + used, bytes - used, "%s%s",
                                 used > 0 ? ","
                                          : "; there are "
                                            "kernels for",
                                 known);
    }
}

/* The kernel that a glob, or a file's name, is a slip of; NULL if none is near. */
static const char *nearest_kernel(const struct scan *scan, const char *glob) {
    const char **names = calloc(scan->id_count + 1, sizeof *names);
    for (size_t n = 0; names != NULL && n < scan->id_count; n++) {
        const char *slash = strchr(scan->ids[n], '/');
        names[n] = strchr(glob, '/') != NULL || slash == NULL ? scan->ids[n] : slash + 1;
    }
    const char *meant = names != NULL ? nearest(glob, names, scan->id_count) : NULL;
    free(names);
    return meant;
}

static bool refuse_unmatched(const struct scan *scan, const char *glob, const char *directory,
                             struct fault *fault) {
    char text[512] = "";
    const char *meant = nearest_kernel(scan, glob);
    if (meant != NULL)
        snprintf(text, sizeof text, ", did you mean '%s'?", meant);
    else if (scan->id_count == 0)
        snprintf(text, sizeof text, ": there are none in '%.400s'", directory);
    else
        tell_folders(scan, glob, text, sizeof text);
    scan->list->unmatched = glob;
    return fault_set(fault, FAULT_INPUT, "no kernel matches '%s'%s", glob, text);
}

static bool refuse_path(const struct scan *scan, const char *path, struct fault *fault) {
    const int error = errno;
    char folder[PATH_MAX], near[NEAREST_BYTES], meant[PATH_MAX + 64] = "";
    const char *name = name_in(path, folder), *kernel = nearest_kernel(scan, name);
    if (nearest_file(name, folder, ".so", near))
        snprintf(meant, sizeof meant, ", did you mean '%.*s%s.so'?", (int)(name - path), path,
                 near);
    else if (kernel != NULL)
        snprintf(meant, sizeof meant, ", did you mean '%s'?", kernel);
    return fault_set(fault, FAULT_INPUT, "cannot open kernel '%s': %s%s", path, strerror(error),
                     meant);
}

/* All that an interpreter finds in a file. */
static bool add_all(struct scan *scan, const char *file, struct fault *fault) {
    struct client client = {0};
    char path[2 * PATH_MAX];
    if (!client_start(&client, interpreter_library(), interpreter_command(), fault)) {
        client_stop(&client);
        return false;
    }
    json_t *reply = client_ask(&client, client_about("kernels", file), scan->seconds);
    const char *names = json_string_value(json_object_get(reply, "kernels"));
    const char *why = json_string_value(json_object_get(reply, "text"));
    bool well = names != NULL && *names != '\0';
    if (names == NULL)
        fault_set(fault, FAULT_INPUT, "cannot import '%s': %s", file,
                  why != NULL ? why : client.how);
    else if (!well)
        fault_set(fault, FAULT_INPUT,
                  "'%s' has no kernel: no function is decorated with attest.kernel", file);
    for (const char *at = names; well && *at != '\0'; at += strcspn(at, "\n"), at += *at == '\n') {
        snprintf(path, sizeof path, "%.*s:%.*s", PATH_MAX, file, (int)strcspn(at, "\n"), at);
        const int64_t before = scan->list->count;
        well = list_add(scan->list, path, false, fault);
        if (well && scan->list->count > before) scan->list->plugins[before].among = true;
    }
    json_decref(reply);
    client_stop(&client);
    return well;
}

static bool add_named(struct scan *scan, const char *path, struct fault *fault) {
    char file[PATH_MAX], full[2 * PATH_MAX];
    const char *name = interpreter_name(path);
    struct stat status;
    file_of(path, file);
    if (realpath(file, full) == NULL || stat(full, &status) != 0)
        return refuse_path(scan, path, fault);
    if (!S_ISREG(status.st_mode))
        return fault_set(fault, FAULT_INPUT, "kernel '%s' is no regular file", path);
    if (interpreter_runs(path) && name == NULL) return add_all(scan, full, fault);
    if (name != NULL) snprintf(full + strlen(full), PATH_MAX, ":%s", name);
    for (int64_t n = 0; n < scan->list->count; n++) { /* a glob may have found it by another path */
        if (is_same_kernel(scan->list->plugins[n].path, full)) return true;
    }
    return list_add(scan->list, full, false, fault);
}

/* What files there are, by their names. */
static bool find_files(struct scan *scan, const char *directory, struct fault *fault) {
    bool well = true;
    for (const char *at = directory; well && *at != '\0';) {
        char path[PATH_MAX];
        const size_t length = strcspn(at, ":");
        snprintf(path, sizeof path, "%.*s", (int)length, at);
        if (length > 0) well = scan_folder(scan, path, "", fault);
        at += length + (at[length] == ':');
    }
    for (int64_t n = 0; well && n < scan->glob_count; n++) {
        const char *glob = scan->globs[n];
        if (is_path(glob))
            well = add_named(scan, glob, fault);
        else if (!scan->matched[n])
            well = refuse_unmatched(scan, glob, directory, fault);
    }
    return well;
}

/* Of the file; of a kernel in one of Python's, which may have several, of its name as well. */
static bool digest_kernel(const char *kernel, char digest[40], struct fault *fault) {
    static unsigned char buffer[1 << 16];
    char path[PATH_MAX];
    const char *name = interpreter_name(kernel);
    file_of(kernel, path);
    FILE *file = fopen(path, "rbe");
    XXH3_state_t *state = XXH3_createState();
    bool well = file != NULL && state != NULL;
    if (well) XXH3_128bits_reset(state);
    for (size_t n; well && (n = fread(buffer, 1, sizeof buffer, file)) > 0;)
        XXH3_128bits_update(state, buffer, n);
    if (well && name != NULL) XXH3_128bits_update(state, name, strlen(name));
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
    if (kernel->grade < 'A' || kernel->grade > 'C') {
        const bool letter = kernel->grade >= 'A' && kernel->grade <= 'z' && isalpha(kernel->grade);
        snprintf(reason, 512,
                 letter ? "its grade is '%c', expected 'A', 'B' or 'C'"
                        : "its grade is %d, expected 'A', 'B' or 'C'",
                 kernel->grade);
        return reason;
    }
    if (kernel->lse_grade != 'A' && kernel->lse_grade != 'B') {
        snprintf(reason, 512, "its lse grade is %d, expected 'A' or 'B'", kernel->lse_grade);
        return reason;
    }
    snprintf(plugin->id, sizeof plugin->id, "%s/%.80s",
             device_name((enum attn_device)kernel->device), expected);
    return NULL;
}

/* Without the path that a loader's or the worker's words begin with, for a row has it already. */
static const char *without_path(const char *text, const char *path) {
    const size_t length = strlen(path);
    const char *at = text + (*text == '\'');
    if (strncmp(at, path, length) != 0) return text;
    at += length;
    return at + strspn(at, "': ");
}

static void set_trouble(struct plugin *plugin, enum status status, const char *why,
                        const char *when) {
    plugin->trouble = status;
    snprintf(plugin->why, sizeof plugin->why, "%.220s%s", without_path(why, plugin->path), when);
}

/* Fills one plugin through the child, which is started when there is none. False only when no child
 * can be had. */
static bool ask(struct plugin *plugin, struct client *client, const char *program, double seconds,
                struct fault *fault) {
    static const char loading[] = " while it was loaded";
    char reason[512];
    const bool interpreted = interpreter_runs(plugin->path);
    const char *const *under = interpreted ? interpreter_command() : NULL;
    if (client->pid == 0 || client->under != under) {
        client_stop(client);
        if (!client_start(client, interpreted ? interpreter_library() : program, under, fault))
            return false;
    }
    plugin->trouble = STATUS_PASS;
    json_t *reply = client_ask(client, client_about("describe", plugin->path), seconds);
    const char *why = reply != NULL ? understand(plugin, reply, reason) : NULL;
    if (why != NULL)
        set_trouble(plugin, STATUS_CRASH, why, "");
    else if (reply == NULL && client->end == CLIENT_HUNG)
        set_trouble(plugin, STATUS_HANG, client->how, loading);
    else if (reply == NULL && client->signal == SIGKILL)
        set_trouble(plugin, STATUS_OOM, "killed, most likely for its memory,", loading);
    else if (reply == NULL)
        set_trouble(plugin, STATUS_CRASH, client->how, loading);
    json_decref(reply);
    return true;
}

/* What the names of file and folder tell of a library that tells nothing itself:
 * ".../cpu/decode_paged_flash_r1.so". */
static void describe_by_name(struct plugin *plugin) {
    char stem[80], folder[PATH_MAX];
    stem_of(plugin->path, stem);
    name_in(plugin->path, folder);
    const char *slash = strrchr(folder, '/'), *rest = stem;
    plugin->kernel = (struct attn_kernel){.device = ATTN_CPU, .variant = PLUGIN_VARIANT_UNKNOWN};
    for (int device = ATTN_CPU; slash != NULL && device <= ATTN_ASCEND_TWIN; device++) {
        if (!strcmp(slash + 1, device_name((enum attn_device)device)))
            plugin->kernel.device = device;
    }
    for (int variant = 0; variant < ATTN_VARIANT_COUNT; variant++) { /* the longest that fits */
        const char *name = variant_name((enum attn_variant)variant);
        const size_t length = strlen(name);
        if (strncmp(stem, name, length) != 0 || stem[length] != '_' || stem + length + 1 <= rest)
            continue;
        plugin->kernel.variant = variant;
        rest = stem + length + 1;
    }
    const char *revision = strrchr(rest, 'r');
    const bool revised = revision > rest && revision[-1] == '_' && isdigit(revision[1]);
    if (revised) plugin->kernel.revision = (int32_t)strtol(revision + 1, NULL, 10);
    snprintf(plugin->name, sizeof plugin->name, "%.*s",
             revised ? (int)(revision - 1 - rest) : (int)strlen(rest), rest);
    plugin->change[0] = '\0';
    snprintf(plugin->id, sizeof plugin->id, "%s/%s",
             device_name((enum attn_device)plugin->kernel.device), stem);
}

static bool describe(struct plugin *plugin, struct client *client, const char *program,
                     double seconds, struct fault *fault) {
    const bool alone = client->pid == 0;
    struct fault unread;
    if (!ask(plugin, client, program, seconds, fault)) return false;
    if (plugin->trouble != STATUS_PASS && !alone) {
        client_stop(client);
        if (!ask(plugin, client, program, seconds, fault)) return false;
    }
    if (!digest_kernel(plugin->path, plugin->digest, &unread) && plugin->trouble == STATUS_PASS)
        set_trouble(plugin, STATUS_CRASH, unread.text, "");
    if (plugin->trouble != STATUS_PASS) describe_by_name(plugin);
    return true;
}

static void leave_out(struct plugin_list *list, const struct plugin *plugin) {
    const size_t used = strlen(list->left_out_names), room = sizeof list->left_out_names;
    fault_say("kernel '%s' is left out: %s", plugin->path, plugin->why);
    if (used + strlen(plugin->id) + 8 < room)
        snprintf(list->left_out_names + used, room - used, "%s%s", used > 0 ? ", " : "",
                 plugin->id);
    list->left_out++;
}

void plugin_list_tell_left_out(const struct plugin_list *list) {
    if (list->left_out == 0) return;
    fault_say("left out, because %s cannot be loaded: %s", list->left_out > 1 ? "they" : "it",
              list->left_out_names);
}

static int by_path(const void *a, const void *b) {
    return strcmp(((const struct plugin *)a)->path, ((const struct plugin *)b)->path);
}

static int by_id(const void *a, const void *b) {
    return strcmp(((const struct plugin *)a)->id, ((const struct plugin *)b)->id);
}

/* What the files say of themselves, in the order of their paths. */
static bool describe_all(struct plugin_list *list, const char *program, bool named, double seconds,
                         struct fault *fault) {
    struct client client = {0};
    bool well = true;
    int64_t kept = 0;
    if (list->count > 0) qsort(list->plugins, (size_t)list->count, sizeof *list->plugins, by_path);
    for (int64_t n = 0; well && n < list->count; n++) {
        struct plugin *plugin = &list->plugins[n];
        well = describe(plugin, &client, program, seconds, fault);
        if (well && plugin->trouble != STATUS_PASS && !named)
            leave_out(list, plugin);
        else if (well)
            list->plugins[kept++] = *plugin;
    }
    client_stop(&client);
    list->count = kept;
    if (kept > 0) qsort(list->plugins, (size_t)kept, sizeof *list->plugins, by_id);
    return well;
}

bool plugin_scan(struct plugin_list *list, const char *program, const char *directory,
                 const char *const *globs, int64_t glob_count, struct fault *fault) {
    const bool given = list->patience_s > 0 && list->patience_s < PLUGIN_PATIENCE_S;
    const double seconds = given ? list->patience_s : PLUGIN_PATIENCE_S;
    *list = (struct plugin_list){0};
    struct scan scan = {.list = list,
                        .globs = globs,
                        .glob_count = glob_count,
                        .seconds = seconds,
                        .matched = calloc((size_t)glob_count + 1, sizeof *scan.matched)};
    bool well = scan.matched != NULL;
    if (!well) fault_set(fault, FAULT_OURS, "out of memory for kernels");
    well = well && find_files(&scan, directory, fault) &&
           describe_all(list, program, glob_count > 0, seconds, fault);
    free(scan.matched);
    free(scan.ids);
    if (well) return true;
    const char *unmatched = list->unmatched;
    plugin_list_free(list);
    list->unmatched = unmatched;
    return false;
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
    if (problem->value_dim > kernel->head_dim_max) {
        snprintf(reason, 256, "values of %lld elements are larger than its head dim %d",
                 (long long)problem->value_dim, kernel->head_dim_max);
        return reason;
    }
    return NULL;
}
