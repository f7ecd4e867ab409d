/* What a run is of: problems, kernels and devices, the machine, and what is there already. */
#include "session.h"
#include "rounds.h"
#include "../trial/devices.h"
#include "../trial/machine.h"
#include "../trial/probe.h"
#include "../trial/sanitizer.h"
#include "../worker/driver.h"
#include "../worker/protocol.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* For the ceilings of the CPU, and of each accelerator. */
static const double cpu_probe_s = 1, device_probe_s = 2;

/* By what the row is, so that no part needs to know another. */
bool session_in_shard(const struct session *session, const char *kernel, const struct item *item) {
    char key[1024];
    const struct session_options *options = &session->options;
    if (options->shards == 0) return true;
    const int length = snprintf(key, sizeof key, "%s\n%s", kernel, item_name(item));
    return (int64_t)(XXH64(key, (size_t)length, 0) % (uint64_t)options->shards) ==
           options->shard - 1;
}

bool session_has(const struct session *session, const struct plugin *kernel,
                 const struct item *item, const char *fixture_digest) {
    for (int64_t n = 0; n < session->done.count; n++) {
        const struct row *row = &session->done.rows[n];
        if (!strcmp(row->kernel, kernel->id) && !strcmp(row->library_digest, kernel->digest) &&
            (item->file != NULL
                 ? !strcmp(row->fixture_digest, fixture_digest) && !strcmp(row->file, item->file)
                 : !strcmp(row->line, item->line) && row->file[0] == '\0'))
            return true;
    }
    return false;
}

/* Kernels of another variant are no part of a run, unless both were named: then they are refused.
 */
static bool offered(const struct session *session, const struct plugin *kernel,
                    const struct item *item) {
    const struct texts *globs = &session->options.globs;
    if (kernel->kernel.variant == item->problem.attn.variant) return true;
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
        if (session_has(session, kernel, item, fixture_digest)) {
            ++*resumed;
        } else {
            chosen[count++] = n;
        }
    }
    return count;
}

/* What is run */

static bool add_item(struct session *session, const char *line, const char *file, bool named,
                     struct fault *fault) {
    struct item item = {.file = file, .named = named};
    if (line != NULL) {
        if (!problem_parse(&item.problem, line, fault)) return false;
        problem_print(&item.problem, item.line);
        if (!select_holds(session->words, session->options.words.count, &item.problem)) return true;
        for (int64_t n = 0; n < session->item_count; n++) {
            if (!strcmp(session->items[n].line, item.line)) return true;
        }
    }
    struct item *items = realloc(session->items, (size_t)(session->item_count + 1) * sizeof *items);
    if (items == NULL) return fault_set(fault, FAULT_OURS, "out of memory for problems");
    session->items = items;
    session->items[session->item_count++] = item;
    return true;
}

static bool add_suite(struct session *session, const char *name, struct fault *fault) {
    struct suite suite = {0};
    bool well = suite_read(&suite, session->options.suites_folder, name, fault);
    for (int64_t n = 0; well && n < suite.count; n++)
        well = add_item(session, suite.lines[n], NULL, false, fault);
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

static void keep_kernels(struct session *session,
                         bool (*wanted)(const struct session *session, enum attn_device kind)) {
    int64_t kept = 0;
    for (int64_t n = 0; n < session->kernels.count; n++) {
        const struct plugin *plugin = &session->kernels.plugins[n];
        if (wanted(session, (enum attn_device)plugin->kernel.device))
            session->kernels.plugins[kept++] = *plugin;
    }
    session->kernels.count = kept;
}

/* Before anything is begun: the program is there, and the tool is one of its. */
static bool can_sanitize(const char *tool, struct fault *fault) {
    struct sanitizer sanitizer;
    if (tool == NULL) return true;
    const bool well = sanitizer_open(&sanitizer, tool, fault);
    sanitizer_close(&sanitizer);
    return well;
}

static bool gather(struct session *session, struct fault *fault) {
    const struct session_options *options = &session->options;
    bool well = true;
    session->words = calloc((size_t)options->words.count + 1, sizeof *session->words);
    if (session->words == NULL) return fault_set(fault, FAULT_OURS, "out of memory for words");
    for (int64_t n = 0; well && n < options->words.count; n++)
        well = select_parse(&session->words[n], options->words.list[n], fault);
    for (int64_t n = 0; well && n < options->devices.count; n++)
        well = targets_parse(&session->targets, options->devices.list[n], fault);
    for (int64_t n = 0; well && n < options->lines.count; n++)
        well = add_item(session, options->lines.list[n], NULL, true, fault);
    for (int64_t n = 0; well && n < options->suites.count; n++)
        well = add_suite(session, options->suites.list[n], fault);
    for (int64_t n = 0; well && n < options->files.count; n++)
        well = add_item(session, NULL, options->files.list[n], true, fault);
    if (well && options->lines.count + options->suites.count + options->files.count == 0)
        well = add_suite(session, "smoke", fault);
    well = well && can_sanitize(options->sanitize, fault) &&
           plugin_scan(&session->kernels, options->trial.program, options->kernels_folder,
                       options->globs.list, options->globs.count, fault);
    if (options->globs.count + options->devices.count == 0)
        plugin_list_leave_out(&session->kernels, ATTN_ASCEND_TWIN); /* emulation takes minutes */
    keep_kernels(session, is_sanitized);
    if (!well || !choose_targets(session, fault)) return false;
    keep_kernels(session, is_targeted);
    return (session->item_count > 0 && session->kernels.count > 0) ||
           fault_set(fault, FAULT_NOTHING, "nothing to run: %lld problems, %lld kernels%s",
                     (long long)session->item_count, (long long)session->kernels.count,
                     options->devices.count > 0  ? " for these devices"
                     : options->sanitize != NULL ? " that a sanitizer can watch"
                                                 : "");
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
    fprintf(stderr, "attest: measuring the CPU's ceilings ended in %s\n", how);
    return false;
}

static bool probe(struct session *session, struct fault *fault) {
    const struct trial_options *trial = &session->options.trial;
    struct machine *machine = &session->machine;
    for (int64_t n = 0; n < machine->device_count; n++) { /* rows can do without ceilings */
        if (!devices_probe(&machine->devices[n], trial->program, trial->probes, device_probe_s,
                           fault))
            fault_tell(fault);
    }
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
    memcpy(machine->devices, first->devices, sizeof machine->devices);
    machine->device_count = first->device_count;
}

/* Rows under a sanitizer are not timed, so they do not stand for rows that are. */
static bool resumes_its_like(const struct session *session, struct fault *fault) {
    const bool was = strstr(session->done.machine.command, " --sanitize") != NULL;
    return was == (session->options.sanitize != NULL) ||
           fault_set(fault, FAULT_INPUT,
                     "'%s' was run with%s --sanitize, expected the same to resume",
                     session->options.resume, was ? "" : "out");
}

static bool open_run(struct session *session, struct fault *fault) {
    const struct session_options *options = &session->options;
    char suffix[64] = "";
    const bool anew = options->resume != NULL && writer_never_began(options->resume);
    if (options->resume != NULL && !anew) {
        if (!writer_resume(&session->writer, options->resume, fault) ||
            !run_read(&session->done, options->resume, fault) || !resumes_its_like(session, fault))
            return false;
        keep_ceilings(&session->machine, &session->done.machine);
        return true;
    }
    if (!options->no_probe && options->sanitize == NULL && !probe(session, fault)) return false;
    if (options->shards > 0)
        snprintf(suffix, sizeof suffix, "-shard%lldof%lld", (long long)options->shard,
                 (long long)options->shards);
    return writer_create(&session->writer, anew ? options->resume : options->out,
                         options->runs_folder, suffix, &session->machine, fault);
}

int session_run(const struct session_options *options, int argc, char **argv) {
    struct fault fault = {0};
    int exit_status = 0;
    struct session session = {.options = *options, .writer = {.file = -1}};
    machine_describe(&session.machine, argc, argv);
    const bool well = gather(&session, &fault) && open_run(&session, &fault) &&
                      rounds_run(&session, &exit_status, &fault);
    if (!well) exit_status = fault_tell(&fault);
    plugin_list_free(&session.kernels);
    run_free(&session.done);
    free(session.items);
    free(session.words);
    return exit_status;
}
