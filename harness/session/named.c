#include "named.h"
#include "../trial/client.h"
#include "../trial/devices.h"
#include "../trial/sanitizer.h"
#include "../worker/driver.h"
#include "../worker/protocol.h"
#include "../../oracle/nearest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_there(const struct session *session, const struct item *item) {
    for (int64_t n = 0; n < session->item_count; n++) {
        const struct item *other = &session->items[n];
        if (item->file != NULL ? other->file != NULL && !strcmp(other->file, item->file)
                               : !strcmp(other->line, item->line))
            return true;
    }
    return false;
}

static bool add_item(struct session *session, const struct item *item, struct fault *fault) {
    if (is_there(session, item)) return true;
    struct item *items = realloc(session->items, (size_t)(session->item_count + 1) * sizeof *items);
    if (items == NULL) return fault_set(fault, FAULT_OURS, "out of memory for problems");
    session->items = items;
    session->items[session->item_count++] = *item;
    return true;
}

static bool add_line(struct session *session, const char *line, bool named, struct fault *fault) {
    struct item item = {.named = named};
    struct fault wrong;
    if (!problem_parse(&item.problem, line, &wrong))
        return fault_set(fault, wrong.code, "'%.200s': %.800s", line, wrong.text);
    problem_print(&item.problem, item.line);
    return !select_holds(session->words, session->options.words.count, &item.problem) ||
           add_item(session, &item, fault);
}

static bool add_file(struct session *session, const char *path, struct fault *fault) {
    struct stat status;
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    char folder[4096] = ".", near[NEAREST_BYTES], meant[4096 + NEAREST_BYTES] = "";
    if (stat(path, &status) == 0)
        return S_ISREG(status.st_mode)
                   ? add_item(session, &(struct item){.file = path, .named = true}, fault)
                   : fault_set(fault, FAULT_INPUT, "fixture '%s' is no regular file", path);
    const int error = errno;
    if (select_is_line(path))
        return fault_set(fault, FAULT_INPUT, "'%s' is a problem, expected a file after -f", path);
    if (slash != NULL) snprintf(folder, sizeof folder, "%.*s", (int)(name - path), path);
    if (nearest_file(name, folder, "", near))
        snprintf(meant, sizeof meant, ", did you mean '%.*s%s'?", (int)(name - path), path, near);
    return fault_set(fault, FAULT_INPUT, "cannot open fixture '%s': %s%s", path, strerror(error),
                     meant);
}

static bool add_suite(struct session *session, const char *name, struct fault *fault) {
    struct suite suite = {0};
    bool well = suite_read(&suite, session->options.suites_folder, name, fault);
    for (int64_t n = 0; well && n < suite.count; n++)
        well = add_line(session, suite.lines[n], false, fault);
    suite_free(&suite);
    return well;
}

enum { FOUND_MAX = 2 * MACHINE_DEVICES_MAX };

/* The accelerators of this machine, of the kinds that targets are of. */
static bool find_devices(const struct session *session, struct machine_device found[FOUND_MAX],
                         int64_t *count, struct fault *fault) {
    bool well = true;
    *count = 0;
    for (const struct driver *driver = drivers; well && driver->meaning != NULL; driver++) {
        int64_t more = 0;
        if (driver->library == NULL || !targets_have(&session->targets, driver->device) ||
            *count > FOUND_MAX - MACHINE_DEVICES_MAX)
            continue;
        well = devices_find(driver->device, found + *count, &more, session->options.trial.program,
                            fault);
        *count += more;
    }
    return well;
}

/* What --device says; without it the first device of each kind that there is a kernel for. If that
 * is not there, or its driver is of no use, its rows say so. */
static bool choose_targets(struct session *session, struct fault *fault) {
    const struct texts *named = &session->options.devices;
    struct machine_device *found = calloc(FOUND_MAX, sizeof *found);
    int64_t count;
    if (found == NULL) return fault_set(fault, FAULT_OURS, "out of memory for devices");
    for (int64_t n = 0; named->count == 0 && n < session->kernels.count; n++) {
        const enum attn_device kind = (enum attn_device)session->kernels.plugins[n].kernel.device;
        targets_add(&session->targets, (struct target){.kind = kind}, fault);
    }
    bool well = find_devices(session, found, &count, fault);
    if (named->count > 0) {
        well = well && targets_resolve(&session->targets, found, count, fault);
    } else if (!well && fault->code != FAULT_OURS) {
        fault_tell(fault);
        well = true;
    }
    struct machine *machine = &session->machine;
    for (int64_t t = 0; well && t < session->targets.count; t++) {
        const struct target *target = &session->targets.list[t];
        for (int64_t n = 0; n < count; n++) {
            if (!strcmp(found[n].device, device_name(target->kind)) &&
                found[n].index == target->index && machine->device_count < MACHINE_DEVICES_MAX)
                machine->devices[machine->device_count++] = found[n];
        }
    }
    if (machine->device_count > 0)
        snprintf(machine->device, sizeof machine->device, "%.31s", machine->devices[0].name);
    free(found);
    return well;
}

static bool is_targeted(const struct session *session, enum attn_device kind) {
    return targets_have(&session->targets, kind);
}

static bool is_sanitized(const struct session *session, enum attn_device kind) {
    return session->options.sanitize == NULL || kind == ATTN_CUDA;
}

/* Keeps the kernels for devices that `option` leaves; each glob must keep one. */
static bool keep_kernels(struct session *session, const char *option,
                         bool (*wanted)(const struct session *session, enum attn_device kind),
                         struct fault *fault) {
    const struct texts *globs = &session->options.globs;
    struct plugin_list *kernels = &session->kernels;
    int64_t kept = 0;
    for (int64_t n = 0; n < globs->count; n++) {
        bool of_use = false;
        const char *device = NULL;
        for (int64_t k = 0; k < kernels->count && !of_use; k++) {
            const enum attn_device kind = (enum attn_device)kernels->plugins[k].kernel.device;
            if (!plugin_matches(&kernels->plugins[k], globs->list[n])) continue;
            of_use = wanted(session, kind);
            device = device_name(kind);
        }
        if (!of_use && device != NULL)
            return fault_set(fault, FAULT_INPUT, "'%s' is for %s, which %s leaves out",
                             globs->list[n], device, option);
    }
    for (int64_t n = 0; n < kernels->count; n++) {
        const struct plugin *plugin = &kernels->plugins[n];
        if (wanted(session, (enum attn_device)plugin->kernel.device))
            kernels->plugins[kept++] = *plugin;
    }
    kernels->count = kept;
    return true;
}

/* Each device that was named has a kernel to run. */
static bool check_targets(const struct session *session, struct fault *fault) {
    const struct plugin_list *kernels = &session->kernels;
    for (int64_t t = 0; t < session->targets.count && session->options.devices.count > 0; t++) {
        const struct target *target = &session->targets.list[t];
        char name[TARGET_NAME_BYTES];
        int64_t n = 0;
        while (n < kernels->count && kernels->plugins[n].kernel.device != (int32_t)target->kind)
            n++;
        target_name(target, name);
        if (n == kernels->count)
            return fault_set(fault, FAULT_NOTHING, "no kernel%s is for the device %s",
                             session->options.globs.count > 0 ? " that was named" : " here", name);
    }
    return true;
}

/* A kernel argument that is for no problem, NULL if there is none. */
static const char *find_idle(const struct session *session) {
    const struct texts *globs = &session->options.globs;
    for (int64_t n = 0; n < globs->count; n++) {
        bool of_use = false;
        for (int64_t k = 0; k < session->kernels.count && !of_use; k++) {
            const struct plugin *kernel = &session->kernels.plugins[k];
            if (!plugin_matches(kernel, globs->list[n])) continue;
            for (int64_t i = 0; i < session->item_count && !of_use; i++)
                of_use = plugin_is_for(kernel, session->items[i].problem.attn.variant);
        }
        if (!of_use) return globs->list[n];
    }
    return NULL;
}

bool named_are_of_use(const struct session *session, struct fault *fault) {
    const char *glob = find_idle(session);
    char text[256] = "";
    uint32_t variants = 0;
    size_t used = 0;
    for (int64_t n = 0; glob != NULL && n < session->kernels.count; n++) {
        const struct plugin *kernel = &session->kernels.plugins[n];
        const int own = kernel->kernel.variant;
        if (own >= 0 && plugin_matches(kernel, glob)) variants |= UINT32_C(1) << own;
    }
    for (int n = 0; n < ATTN_VARIANT_COUNT; n++) {
        if (variants >> n & 1)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", used > 0 ? ", " : "",
                                     variant_name((enum attn_variant)n));
    }
    return glob == NULL ||
           fault_set(fault, FAULT_NOTHING, "'%s' is for %s, and no problem is", glob, text);
}

/* Rows are known by their kernel's name: of two that share it, one would hide the other. */
static bool check_names(const struct plugin_list *kernels, struct fault *fault) {
    for (int64_t n = 1; n < kernels->count; n++) { /* in order of id */
        const struct plugin *one = &kernels->plugins[n - 1], *other = &kernels->plugins[n];
        if (!strcmp(one->id, other->id))
            return fault_set(fault, FAULT_INPUT, "two kernels are called '%s': '%.400s', '%.400s'",
                             one->id, one->path, other->path);
    }
    return true;
}

/* What is in the files that were named, as far as it is wanted. They are loaded again when they are
 * run: 2 s for 2 GB, and no memory that waits. */
static bool read_files(struct session *session, struct fault *fault) {
    int64_t kept = 0;
    for (int64_t n = 0; n < session->item_count; n++) {
        struct item item = session->items[n];
        struct fixture fixture;
        if (item.file != NULL) {
            if (!fixture_load(&fixture, session->options.trial.program, item.file, fault))
                return false;
            item.problem = fixture.problem;
            snprintf(item.line, sizeof item.line, "%s", fixture.line);
            fixture_free(&fixture);
            if (!select_holds(session->words, session->options.words.count, &item.problem))
                continue;
        }
        session->items[kept++] = item;
    }
    session->item_count = kept;
    return true;
}

/* An argument that no kernel matches may have been meant as something else. */
static bool explain(const struct session *session, const char *argument, struct fault *fault) {
    struct targets targets = {.count = 0};
    struct suite suite = {0};
    struct fault none;
    if (select_is_file(argument))
        return fault_set(
            fault, FAULT_INPUT,
            "'%s' is no kernel; a fixture is named with -f, each with its own: -f '%s'", argument,
            argument);
    if (select_is_field(argument))
        return fault_set(
            fault, FAULT_INPUT,
            "'%s' is no kernel; a word such as '%s>=1' needs quotes, or the shell takes "
            "a part of it",
            argument, argument);
    if (targets_parse(&targets, argument, &none))
        return fault_set(fault, FAULT_INPUT, "'%s' is no kernel but a device: --device %s",
                         argument, argument);
    char name[256]; /* a file of that name, or a suite's with its ending */
    const size_t length = strlen(argument), ends = strlen(".txt");
    const bool ended = length > ends && !strcmp(argument + length - ends, ".txt");
    snprintf(name, sizeof name, "%s", argument);
    bool is_suite =
        suite_read(&suite, session->options.suites_folder, name, &none) && suite.count > 0;
    suite_free(&suite);
    if (!is_suite && ended && length < sizeof name && strchr(name, '/') == NULL) {
        name[length - ends] = '\0';
        is_suite =
            suite_read(&suite, session->options.suites_folder, name, &none) && suite.count > 0;
        suite_free(&suite);
    }
    return !is_suite ||
           fault_set(fault, FAULT_INPUT, "'%s' is no kernel but a suite: -s %s", argument, name);
}

/* Before anything is begun: the program is there, and the tool is one of its. */
static bool can_sanitize(const char *tool, struct fault *fault) {
    struct sanitizer sanitizer;
    if (tool == NULL) return true;
    const bool well = sanitizer_open(&sanitizer, tool, fault);
    sanitizer_close(&sanitizer);
    return well;
}

/* Parses everything that was named, problems first. */
static bool read_names(struct session *session, struct fault *fault) {
    const struct session_options *options = &session->options;
    bool well = true;
    session->words = calloc((size_t)options->words.count + 1, sizeof *session->words);
    if (session->words == NULL) return fault_set(fault, FAULT_OURS, "out of memory for words");
    for (int64_t n = 0; well && n < options->words.count; n++)
        well = select_parse(&session->words[n], options->words.list[n], fault);
    for (int64_t n = 0; well && n < options->devices.count; n++)
        well = targets_parse(&session->targets, options->devices.list[n], fault);
    for (int64_t n = 0; well && n < options->lines.count; n++)
        well = add_line(session, options->lines.list[n], true, fault);
    for (int64_t n = 0; well && n < options->suites.count; n++)
        well = add_suite(session, options->suites.list[n], fault);
    for (int64_t n = 0; well && n < options->files.count; n++)
        well = add_file(session, options->files.list[n], fault);
    if (well && options->lines.count + options->suites.count + options->files.count == 0)
        well = add_suite(session, "smoke", fault);
    return well && can_sanitize(options->sanitize, fault);
}

/* Files that are named may hold their answers. */
static void hide_files(const struct session *session) {
    const struct texts *files = &session->options.files;
    for (int64_t n = 0; n < files->count; n++) client_hide(files->list[n]);
}

/* How close two kernels are that can be launched in one process; 0: they cannot. What cannot be
 * loaded may be for any variant. */
static int kinship(const struct plugin *old, const struct plugin *new) {
    if (old->kernel.device != new->kernel.device ||
        (!plugin_is_for(old, new->kernel.variant) && !plugin_is_for(new, old->kernel.variant)))
        return 0;
    return 1 + 2 * !strcmp(old->name, new->name) + (strcmp(old->path, new->path) != 0);
}

/* Rows are known by their kernel's name. */
static void rename_old(struct plugin *old) {
    static const char mark[] = "@old";
    const size_t length = strlen(old->id);
    if (length + sizeof mark <= sizeof old->id) memcpy(old->id + length, mark, sizeof mark);
    old->found = false; /* by its path from now on */
}

/* Each kernel's next of kin among the old ones, of several the latest revision; kernels that have
 * none go. */
static bool find_partners(struct session *session, struct fault *fault) {
    const struct session_options *options = &session->options;
    struct plugin_list *kernels = &session->kernels, *old = &session->old;
    int64_t kept = 0;
    if (options->live.old == NULL) return true;
    old->patience_s = options->trial.watchdog_seconds;
    if (!plugin_scan(old, options->trial.program, options->kernels_folder, &options->live.old, 1,
                     fault))
        return false;
    session->partners = calloc((size_t)kernels->count + 1, sizeof *session->partners);
    if (session->partners == NULL) return fault_set(fault, FAULT_OURS, "out of memory for kernels");
    for (int64_t n = 0; n < kernels->count; n++) {
        const struct plugin new = kernels->plugins[n];
        int64_t closest = -1;
        int kin = 1;
        for (int64_t m = 0; m < old->count; m++) {
            const int other = kinship(&old->plugins[m], &new);
            const bool as_close = closest >= 0 && other == kin;
            if (other < kin || (as_close && old->plugins[m].kernel.revision <
                                                old->plugins[closest].kernel.revision))
                continue;
            kin = other;
            closest = m;
        }
        if (closest < 0) continue;
        session->partners[kept] = closest;
        kernels->plugins[kept++] = new;
    }
    for (int64_t n = 0; n < kept; n++) {
        struct plugin *partner = &old->plugins[session->partners[n]];
        if (!strcmp(partner->id, kernels->plugins[n].id)) rename_old(partner);
    }
    kernels->count = kept;
    return kept > 0 || fault_set(fault, FAULT_NOTHING,
                                 "no kernel of '%s' is for the device and the variant of one of "
                                 "'%s'",
                                 options->live.old, options->globs.list[0]);
}

/* Emulated kernels have no time. */
static bool check_live(const struct session *session, struct fault *fault) {
    for (int64_t n = 0; session->options.live.old != NULL && n < session->kernels.count; n++) {
        const struct plugin *kernel = &session->kernels.plugins[n];
        if (kernel->kernel.device == ATTN_ASCEND_TWIN)
            return fault_set(fault, FAULT_INPUT,
                             "'%s' is for the twin, which is not timed: expected kernels for a "
                             "device",
                             kernel->id);
    }
    return true;
}

static bool find_kernels(struct session *session, struct fault *fault) {
    const struct session_options *options = &session->options;
    struct plugin_list *kernels = &session->kernels;
    kernels->patience_s = options->trial.watchdog_seconds;
    if (!plugin_scan(kernels, options->trial.program, options->kernels_folder, options->globs.list,
                     options->globs.count, fault)) {
        if (kernels->unmatched != NULL) explain(session, kernels->unmatched, fault);
        return false;
    }
    if (options->globs.count + options->devices.count == 0)
        plugin_list_leave_out(kernels, ATTN_ASCEND_TWIN); /* emulation takes minutes */
    return keep_kernels(session, "--sanitize", is_sanitized, fault) &&
           choose_targets(session, fault) &&
           keep_kernels(session, "--device", is_targeted, fault) && check_targets(session, fault) &&
           check_live(session, fault) && find_partners(session, fault);
}

bool named_read(struct session *session, struct fault *fault) {
    if (!read_names(session, fault)) return false;
    hide_files(session);
    return find_kernels(session, fault) && check_names(&session->kernels, fault) &&
           read_files(session, fault);
}
