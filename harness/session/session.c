/* A run from its beginning to its end: what it is of, the machine, and what is there already. */
#include "session.h"
#include "again.h"
#include "costs.h"
#include "named.h"
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
#include "../trial/timing_lock.h"
#include "../worker/regime.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
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

/* Kernels of another variant are no part of a run, unless both were named: then they are refused.
 */
static bool offered(const struct session *session, const struct plugin *kernel,
                    const struct item *item) {
    const struct texts *globs = &session->options.globs;
    if (plugin_is_for(kernel, item->problem.attn.variant)) return true;
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

/* Samples hold what was expected. Not the folder: --out may be where kernels are. */
static void hide_run(const struct session *session) {
    static const char *const names[] = {"run.jsonl", "samples.h5", "samples", HANDS_NAME};
    char path[PATH_MAX + 16];
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
        snprintf(path, sizeof path, "%s/%s", session->writer.folder, names[n]);
        client_hide(path);
    }
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
    if (!named_read(session, fault)) return false;
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
    return named_are_of_use(session, fault) && deal_shards(session, fault);
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
