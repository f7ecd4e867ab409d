/* What a run is of: problems, kernels and devices, the machine, and what is there already. */
#include "session.h"
#include "again.h"
#include "costs.h"
#include "rounds.h"
#include "shards.h"
#include "../record/number.h"
#include "../report/destination.h"
#include "../report/export.h"
#include "../trial/client.h"
#include "../trial/devices.h"
#include "../trial/ceilings.h"
#include "../trial/machine.h"
#include "../trial/probe.h"
#include "../trial/sanitizer.h"
#include "../trial/timing_lock.h"
#include "../worker/driver.h"
#include "../worker/protocol.h"
#include "../worker/regime.h"
#include "../../oracle/nearest.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* For the ceilings of the CPU, and of each accelerator. */
static const double cpu_probe_s = 1, device_probe_s = 2;

static const char in_turn[] = "in turn"; /* as a record says */

static int id_order(const void *id, const void *plugin) {
    return strcmp(id, ((const struct plugin *)plugin)->id);
}

/* Of the kernel, or, of an anchor, which is computed beside other rows, of the problem's first. */
static int32_t part_of(const struct session *session, const char *id, const struct item *item) {
    const struct plugin_list *kernels = &session->kernels;
    const int32_t *parts = session->parts + (item - session->items) * kernels->count;
    const struct plugin *kernel =
        bsearch(id, kernels->plugins, (size_t)kernels->count, sizeof *kernel, id_order);
    if (kernel != NULL) return parts[kernel - kernels->plugins];
    int64_t n = 0;
    while (n < kernels->count - 1 && parts[n] < 0) n++;
    return parts[n];
}

/* By what the row is, so that no part needs to know another; or as all parts deal alike. */
bool session_in_shard(const struct session *session, const char *kernel, const struct item *item) {
    const struct session_options *options = &session->options;
    if (options->shards == 0) return true;
    const int64_t part = session->parts != NULL
                             ? part_of(session, kernel, item)
                             : shards_hashed(kernel, item_name(item), options->shards);
    return part == options->shard - 1;
}

const struct row *session_find(const struct session *session, const struct plugin *kernel,
                               const struct item *item, const char *fixture_digest) {
    for (int64_t n = session->done.count - 1; n >= 0; n--) {
        const struct row *row = &session->done.rows[n];
        if (!strcmp(row->kernel, kernel->id) && !strcmp(row->library_digest, kernel->digest) &&
            (item->file != NULL
                 ? !strcmp(row->fixture_digest, fixture_digest) && !strcmp(row->file, item->file)
                 : !strcmp(row->line, item->line) && *row->file == '\0'))
            return row;
    }
    return NULL;
}

bool session_has(const struct session *session, const struct plugin *kernel,
                 const struct item *item, const char *fixture_digest) {
    return session_find(session, kernel, item, fixture_digest) != NULL;
}

/* Which variant one is for that cannot be loaded, its file's name may not tell. */
static bool is_for(const struct plugin *kernel, int variant) {
    return kernel->kernel.variant == variant || kernel->kernel.variant == PLUGIN_VARIANT_UNKNOWN;
}

/* Kernels of another variant are no part of a run, unless both were named: then they are refused.
 */
static bool offered(const struct session *session, const struct plugin *kernel,
                    const struct item *item) {
    const struct texts *globs = &session->options.globs;
    if (is_for(kernel, item->problem.attn.variant)) return true;
    if (kernel->among) return false;
    if (!item->named || !kernel->found) return item->named;
    for (int64_t n = 0; n < globs->count; n++) {
        const char *slash = strchr(kernel->id, '/');
        if (!strcmp(globs->list[n], kernel->id) || !strcmp(globs->list[n], slash + 1)) return true;
    }
    return false;
}

int64_t session_choose(const struct session *session, enum attn_device kind,
                       const struct item *item, const char *fixture_digest, int64_t *chosen,
                       int64_t *resumed) {
    int64_t count = 0;
    for (int64_t n = 0; n < session->kernels.count; n++) {
        const struct plugin *kernel = &session->kernels.plugins[n];
        if ((enum attn_device)kernel->kernel.device != kind || !offered(session, kernel, item) ||
            !session_in_shard(session, kernel->id, item))
            continue;
        const struct row *row = session_find(session, kernel, item, fixture_digest);
        if (session->again ? row != NULL && again_wants(session, row) : row == NULL)
            chosen[count++] = n;
        else if (!session->again)
            ++*resumed;
    }
    return count;
}

/* What is run */

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
                of_use = is_for(kernel, session->items[i].problem.attn.variant);
        }
        if (!of_use) return globs->list[n];
    }
    return NULL;
}

static bool check_idle(const struct session *session, struct fault *fault) {
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

/* Samples hold what was expected. Not the folder: --out may be where kernels are. */
static void hide_run(const struct session *session) {
    static const char *const names[] = {"run.jsonl", "samples.h5", "samples", HANDS_NAME};
    char path[PATH_MAX + 16];
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
        snprintf(path, sizeof path, "%s/%s", session->writer.folder, names[n]);
        client_hide(path);
    }
}

/* How close two kernels are that can be launched in one process; 0: they cannot. What cannot be
 * loaded may be for any variant. */
static int kinship(const struct plugin *old, const struct plugin *new) {
    if (old->kernel.device != new->kernel.device ||
        (!is_for(old, new->kernel.variant) && !is_for(new, old->kernel.variant)))
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

/* What tells whether two deals are one: which row is in which part. */
static void sign_deal(struct session *session) {
    const struct plugin_list *kernels = &session->kernels;
    uint64_t digest = (uint64_t)session->options.shards;
    for (int64_t i = 0; i < session->item_count; i++) {
        const char *name = item_name(&session->items[i]);
        digest = XXH64(name, strlen(name), digest);
        for (int64_t k = 0; k < kernels->count; k++) {
            const char *id = kernels->plugins[k].id;
            const int32_t part = session->parts[i * kernels->count + k];
            if (part >= 0) digest = XXH64(id, strlen(id), digest + (uint64_t)part + 1);
        }
    }
    snprintf(session->machine.deal, sizeof session->machine.deal, "%016llx",
             (unsigned long long)digest);
}

/* Rows of all kernels that are offered, for whatever device: also those that a resumed run holds.
 */
static int64_t list_rows(const struct session *session, const struct costs *costs,
                         struct shards_row *rows, int64_t *places) {
    const struct plugin_list *kernels = &session->kernels;
    int64_t count = 0;
    for (int64_t i = 0; i < session->item_count; i++) {
        const struct item *item = &session->items[i];
        for (int64_t k = 0; k < kernels->count; k++) {
            const char *id = kernels->plugins[k].id;
            if (!offered(session, &kernels->plugins[k], item)) continue;
            places[count] = i * kernels->count + k;
            rows[count++] = (struct shards_row){
                i, costs_row_us(costs, id, item->line, item->file, &item->problem)};
        }
    }
    return count;
}

static bool deal_shards(struct session *session, struct fault *fault) {
    const char *past = session->options.costs;
    const size_t problems = (size_t)session->item_count;
    const size_t room = problems * (size_t)session->kernels.count;
    struct costs costs = {0};
    if (past == NULL || session->options.shards == 0) return true;
    if (*past != '\0' && !costs_read(&costs, past, fault)) return false;
    int32_t *parts = malloc((room + 1) * sizeof *parts), *part = calloc(room + 1, sizeof *part);
    int64_t *places = calloc(room + 1, sizeof *places), *us = calloc(problems + 1, sizeof *us);
    struct shards_row *rows = calloc(room + 1, sizeof *rows);
    bool well = parts != NULL && part != NULL && places != NULL && us != NULL && rows != NULL;
    if (well) {
        const int64_t count = list_rows(session, &costs, rows, places);
        for (size_t n = 0; n < problems; n++) us[n] = costs_problem_us(&session->items[n].problem);
        for (size_t n = 0; n < room; n++) parts[n] = -1;
        well = shards_deal(part, rows, count, us, session->options.shards, fault);
        for (int64_t n = 0; well && n < count; n++) parts[places[n]] = part[n];
    } else {
        fault_set(fault, FAULT_OURS, "out of memory for rows");
    }
    session->parts = parts;
    if (well) sign_deal(session);
    free(part);
    free(places);
    free(us);
    free(rows);
    costs_free(&costs);
    return well;
}

/* Where they cannot take turns they are timed together, and the record says so. */
static void settle_turns(struct session *session) {
    const struct session_options *options = &session->options;
    struct machine *machine = &session->machine;
    struct timing_lock lock;
    struct fault fault;
    if (machine->device_count == 0 || !options->trial.time || options->sanitize != NULL) return;
    bool turns = !options->together;
    if (turns && !timing_lock_open(&lock, &fault)) {
        fault_say("%s: GPUs take no turns to be timed", fault.text);
        turns = false;
    } else if (turns) {
        timing_lock_close(&lock);
    }
    snprintf(machine->gpus_timed, sizeof machine->gpus_timed, "%s", turns ? in_turn : "together");
}

bool session_takes_turns(const struct session *session) {
    return strcmp(session->machine.gpus_timed, in_turn) == 0;
}

static bool gather(struct session *session, struct fault *fault) {
    if (!read_names(session, fault)) return false;
    hide_files(session);
    if (!find_kernels(session, fault) || !check_names(&session->kernels, fault) ||
        !read_files(session, fault))
        return false;
    if (session->item_count == 0 && session->options.words.count > 0)
        return fault_set(fault, FAULT_NOTHING, "nothing to run: no problem is picked by %s%s%s",
                         session->options.words.list[0],
                         session->options.words.count > 1 ? " and " : "",
                         session->options.words.count > 1 ? session->options.words.list[1] : "");
    if (session->item_count == 0 || session->kernels.count == 0)
        return fault_set(fault, FAULT_NOTHING, "nothing to run: %s, %s%s",
                         number_count(session->item_count, "problem").text,
                         number_count(session->kernels.count, "kernel").text,
                         session->options.sanitize != NULL ? " that a sanitizer can watch" : "");
    settle_turns(session);
    return check_idle(session, fault) && deal_shards(session, fault);
}

/* Ceilings */

struct cpu_probe {
    struct machine machine;
    int threads;
};

static int probe_cpu(void *context, int member) {
    struct cpu_probe *probe = context;
    (void)member;
    probe_measure(&probe->machine, probe->threads, cpu_probe_s);
    return 0;
}

static bool lose_probe(void *context, int member, const char *how) {
    (void)context, (void)member;
    fault_say("measuring the CPU's ceilings ended in %s", how);
    return false;
}

/* Rows can do without ceilings. */
static void probe_devices(struct session *session, struct fault *fault) {
    const struct trial_options *trial = &session->options.trial;
    struct machine *machine = &session->machine;
    struct timing_lock lock = {.file = -1};
    if (session_takes_turns(session)) timing_lock_open(&lock, fault);
    timing_lock_take(&lock);
    for (int64_t n = 0; n < machine->device_count; n++) {
        if (!devices_probe(&machine->devices[n], trial->program, trial->probes, device_probe_s,
                           fault))
            fault_tell(fault);
    }
    timing_lock_close(&lock);
}

static bool probe(struct session *session, struct fault *fault) {
    const struct trial_options *trial = &session->options.trial;
    struct machine *machine = &session->machine;
    probe_devices(session, fault);
    if (!targets_have(&session->targets, ATTN_CPU)) return true;
    struct cpu_probe *shared = crew_memory(sizeof *shared);
    if (shared == NULL) return fault_set(fault, FAULT_OURS, "out of memory");
    *shared = (struct cpu_probe){.machine = *machine, .threads = trial->threads};
    const struct crew_task task = {.work = probe_cpu, .lost = lose_probe, .context = shared};
    const bool well = crew_run(&task, 1) == 0 ||
                      fault_set(fault, FAULT_OURS, "cannot measure the CPU's ceilings");
    *machine = shared->machine;
    crew_release(shared, sizeof *shared);
    return well;
}

/* One run, the same ceilings. */
static void keep_ceilings(struct machine *machine, const struct machine *first) {
    machine->sgemm_flops = first->sgemm_flops;
    machine->fma_flops = first->fma_flops;
    machine->read_bytes_s = first->read_bytes_s;
    snprintf(machine->ceilings, sizeof machine->ceilings, "%s", first->ceilings);
    memcpy(machine->devices, first->devices, sizeof machine->devices);
    machine->device_count = first->device_count;
}

/* Rows of one run are compared. A launch of a second is no burst, whatever was asked. */
static bool resumes_its_regime(const struct session *session, struct fault *fault) {
    const bool burst = session->options.trial.burst;
    bool was_sustained = false, was_burst = false, of;
    for (int64_t n = 0; n < session->done.count; n++) {
        if (!regime_find(session->done.rows[n].regime, &of)) continue;
        was_burst |= of;
        was_sustained |= !of;
    }
    const bool differs = burst ? was_sustained && !was_burst : was_burst;
    return !differs || fault_set(fault, FAULT_INPUT,
                                 "'%s' was run with --regime %s, expected the same to resume",
                                 session->options.resume, regime_name(!burst));
}

/* What was measured in haste and what was not do not stand in one run. */
static bool resumes_its_haste(const struct session *session, struct fault *fault) {
    const int64_t was = session->done.machine.haste, is = session->machine.haste;
    return was == is ||
           fault_set(fault, FAULT_INPUT,
                     "'%s' was run with ATTEST_HASTE %lld, expected the same to resume, not %lld",
                     session->options.resume, (long long)was, (long long)is);
}

/* Runs of before there was a choice say nothing. */
static bool resumes_its_turns(const struct session *session, struct fault *fault) {
    const char *was = session->done.machine.gpus_timed, *is = session->machine.gpus_timed;
    return *was == '\0' || *is == '\0' || !strcmp(was, is) ||
           fault_set(fault, FAULT_INPUT,
                     "GPUs of '%s' were timed %s, expected the same to resume, not %s",
                     session->options.resume, was, is);
}

/* Rows under a sanitizer are not timed, so they do not stand for rows that are. */
static bool resumes_its_like(const struct session *session, struct fault *fault) {
    const bool was = strstr(session->done.machine.command, " --sanitize") != NULL;
    return was == (session->options.sanitize != NULL) ||
           fault_set(fault, FAULT_INPUT,
                     "'%s' was run with%s --sanitize, expected the same to resume",
                     session->options.resume, was ? "" : "out");
}

/* Other rows would be done by another part too, or by none. */
static bool resumes_its_part(const struct session *session, struct fault *fault) {
    const char *was = session->done.machine.deal, *is = session->machine.deal;
    return !strcmp(was, is) ||
           fault_set(fault, FAULT_INPUT,
                     "'%s' was dealt otherwise: expected the kernels, problems, --shard and costs "
                     "that it began with",
                     session->options.resume);
}

static bool open_run(struct session *session, struct fault *fault) {
    const struct session_options *options = &session->options;
    char suffix[64] = "";
    const bool anew = options->resume != NULL && writer_never_began(options->resume);
    if (options->resume != NULL && !anew) {
        if (!writer_resume(&session->writer, options->resume, fault) ||
            !run_read(&session->done, options->resume, fault) ||
            !resumes_its_like(session, fault) || !resumes_its_regime(session, fault) ||
            !resumes_its_haste(session, fault) || !resumes_its_turns(session, fault) ||
            !resumes_its_part(session, fault))
            return false;
        keep_ceilings(&session->machine, &session->done.machine);
        return true;
    }
    if (!options->no_probe && options->sanitize == NULL && !probe(session, fault)) return false;
    ceilings_settle(&session->machine, options->trial.threads);
    if (options->shards > 0)
        snprintf(suffix, sizeof suffix, "-shard%lldof%lld", (long long)options->shard,
                 (long long)options->shards);
    return writer_create(&session->writer, anew ? options->resume : options->out,
                         options->runs_folder, suffix, &session->machine, fault);
}

/* Rows of a resumed run count with those that were added, each kernel's last on a problem. */
static bool count_resumed(const struct session *session, int64_t *rows, int64_t *judged,
                          int *exit_status, struct fault *fault) {
    struct row_index index;
    struct row row;
    if (!row_index_make(&index, session->writer.folder, "", fault)) return false;
    bool well = true;
    *rows = index.count;
    *judged = 0;
    for (int64_t n = 0; n < index.count && (well = row_index_read(&index, n, &row, fault)); n++) {
        const int status = status_exit(status_of(&row));
        *judged += row_is_judged(&row);
        if (status > *exit_status) *exit_status = status;
    }
    row_index_free(&index);
    return well;
}

/* Whether other parts of a sharded run have rows. */
static bool is_empty_part(const struct session *session) {
    struct session whole = *session;
    whole.options.shards = 0;
    bool any = false;
    for (int64_t n = 0; n < whole.item_count; n++) {
        for (int64_t k = 0; k < whole.kernels.count; k++)
            any = any || offered(&whole, &whole.kernels.plugins[k], &whole.items[n]);
    }
    return any && session->options.shards > 0;
}

static bool write_junit(FILE *to, void *context, struct fault *fault) {
    return export_junit(to, context, fault);
}

/* Into the run's folder, which there will be, or where it can be written now. */
static bool check_junit(const struct session_options *options, struct fault *fault) {
    const char *junit = options->junit, *out = options->out;
    if (junit == NULL) return true;
    const size_t length = out != NULL ? strlen(out) : 0;
    const bool inside = length > 0 && !strncmp(junit, out, length) && junit[length] == '/' &&
                        strchr(junit + length + 1, '/') == NULL && junit[length + 1] != '\0';
    return (inside && access(out, F_OK) != 0) || destination_check(junit, fault);
}

/* Of what was done, whatever came of it. */
static bool report_junit(const struct session *session, struct fault *fault) {
    struct row_index index;
    const char *junit = session->options.junit;
    if (junit == NULL) return true;
    if (!row_index_make(&index, session->writer.folder, "", fault)) return false;
    const bool well =
        destination_check(junit, fault) && destination_write(junit, write_junit, &index, fault);
    row_index_free(&index);
    return well;
}

/* What rows, taken one by one, do not say: that nothing was judged. */
static bool conclude(const struct session *session, int *exit_status, struct fault *fault) {
    int64_t rows = session->rows, judged = session->judged;
    if (session->options.resume != NULL &&
        !count_resumed(session, &rows, &judged, exit_status, fault))
        return false;
    if (*exit_status != 0) return true;
    if (rows == 0 && is_empty_part(session))
        return fault_set(fault, FAULT_NOTHING, "no row was judged: part %lld of %lld is empty",
                         (long long)session->options.shard, (long long)session->options.shards);
    return judged > 0 ||
           fault_set(fault, FAULT_NOTHING, "%s",
                     rows > 0 ? "no row was judged: each was refused, or only computed"
                              : "no row was judged: no kernel is for any of the problems");
}

int session_run(const struct session_options *options, int argc, char **argv,
                char folder[SESSION_FOLDER_BYTES]) {
    struct fault fault = {0};
    int exit_status = 0;
    struct session session = {
        .options = *options, .argc = argc, .argv = argv, .writer = {.file = -1}};
    machine_describe(&session.machine, argc, argv);
    bool well =
        check_junit(options, &fault) && gather(&session, &fault) && open_run(&session, &fault);
    if (well) hide_run(&session);
    well = well && rounds_run(&session, &exit_status, &fault) && report_junit(&session, &fault) &&
           conclude(&session, &exit_status, &fault);
    if (!well) exit_status = fault_tell(&fault);
    if (folder != NULL) snprintf(folder, SESSION_FOLDER_BYTES, "%s", session.writer.folder);
    plugin_list_tell_left_out(&session.kernels);
    plugin_list_free(&session.kernels);
    plugin_list_free(&session.old);
    free(session.partners);
    free(session.parts);
    run_free(&session.done);
    free(session.items);
    free(session.words);
    return exit_status;
}
