#define _GNU_SOURCE
#include "interpreter.h"
#include "sanitizer.h"
#include "timing_lock.h"
#include "trial_inside.h"
#include "../judge/diagnosis.h"
#include "../judge/work.h"
#include "../worker/driver.h"
#include "../worker/host.h"
#include "../worker/protocol.h"
#include "../../oracle/clock.h"
#include "../../oracle/text.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* An emulated launch takes so much longer; that it waits for ever the emulation finds itself. */
static const double twin_patience = 10;

const struct trial_options trial_defaults = {
    .poison = true,
    .repeats = 10,
    .watchdog_seconds = 60,
    .repeat_seconds = 2,
    .time = true,
    .plan = {.samples_min = 30, .samples_max = 2000, .total_ms_max = 300, .ci_target = 0.005},
};

bool trial_end(struct trial *trial, enum status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    trial->verdict.status = status;
    vsnprintf(trial->verdict.reason, sizeof trial->verdict.reason, format, arguments);
    va_end(arguments);
    return false;
}

bool trial_ask_with(struct trial *trial, json_t *request, const int *files, int file_count,
                    double seconds, json_t **reply) {
    char during[16];
    *reply = NULL;
    trial->blamed = trial->side;
    snprintf(during, sizeof during, "%s", json_string_value(json_object_get(request, "op")));
    json_t *answer = client_ask_with(trial->client, request, files, file_count, seconds);
    if (answer == NULL) {
        if (trial->client->end == CLIENT_HUNG)
            return trial_end(trial, STATUS_HANG, "%s in %s", trial->client->how, during);
        if (trial->client->signal == SIGKILL) /* not ours: that would have been a hang */
            return trial_end(trial, STATUS_OOM, "killed in %s, most likely for its memory", during);
        return trial_end(trial, STATUS_CRASH, "%s in %s%s", trial->client->how, during,
                         trial->client->signal == SIGSYS
                             ? ": most likely it reached for processes that are not its own"
                             : "");
    }
    if (json_is_true(json_object_get(answer, "ok"))) {
        *reply = answer;
        return true;
    }
    const char *what = json_string_value(json_object_get(answer, "what"));
    const json_t *side = json_object_get(answer, "side");
    if (json_is_integer(side)) trial->blamed = (int)json_integer_value(side);
    const char *text = json_string_value(json_object_get(answer, "text"));
    enum status told;
    const char *reason;
    if (text == NULL) text = "no reason given";
    if (status_told(text, &told, &reason)) {
        trial_end(trial, told, "%s", reason);
    } else if (what != NULL && !strcmp(what, "refused")) {
        trial_end(trial, STATUS_REFUSED, "%s", text);
    } else if (what != NULL && !strcmp(what, "oom")) {
        trial_end(trial, STATUS_OOM, "%s", text);
    } else {
        trial_end(trial, STATUS_CRASH, "%s failed: %s", during, text);
    }
    json_decref(answer);
    return false;
}

bool trial_ask(struct trial *trial, json_t *request, double seconds, json_t **reply) {
    return trial_ask_with(trial, request, NULL, 0, seconds, reply);
}

json_t *trial_request(const struct trial *trial, const char *op) {
    json_t *request = json_pack("{s:s}", "op", op);
    if (trial->side > 0) json_object_set_new(request, "side", json_integer(trial->side));
    return request;
}

/* ... where the answer holds nothing but "ok". */
static bool tell(struct trial *trial, const char *op, double seconds) {
    json_t *reply;
    if (!trial_ask(trial, trial_request(trial, op), seconds, &reply)) return false;
    json_decref(reply);
    return true;
}

bool trial_load(struct trial *trial) {
    json_t *reply, *request = client_about("load", trial->plugin->path);
    json_t *more = json_pack("{s:s, s:o, s:i, s:i, s:I}", "device",
                             device_name((enum attn_device)trial->plugin->kernel.device), "problem",
                             problem_to_json(trial->view.problem), "threads", trial->threads,
                             "device_index", (int)trial->options->device_index, "memory_max",
                             (json_int_t)trial->options->memory_max);
    json_object_update(request, more);
    json_decref(more);
    /* A sanitizer's worker opens libraries and devices as any program would, and times nothing. */
    if (trial->options->sanitizer != NULL) json_object_del(request, "hide");
    if (!trial_ask(trial, request, trial->options->watchdog_seconds, &reply)) return false;
    json_decref(reply);
    return true;
}

static void add_tensor(json_t *tensors, enum attn_slot slot, const struct attn_tensor *tensor,
                       int memory, size_t offset) {
    json_t *json = tensor_to_json(tensor);
    json_object_set_new(json, "slot", json_string(slot_name(slot)));
    json_object_set_new(json, "memory", json_integer(memory));
    json_object_set_new(json, "offset", json_integer((json_int_t)offset));
    json_object_set_new(json, "output", json_boolean(memory == 1));
    json_array_append_new(tensors, json);
}

bool trial_map(struct trial *trial) {
    const struct fixture *fixture = trial->fixture;
    const struct outputs *outputs = &trial->outputs;
    json_t *tensors = json_array();
    for (int slot = 0; slot < ATTN_SLOT_COUNT; slot++) {
        if (fixture->tensors[slot].data != NULL)
            add_tensor(tensors, (enum attn_slot)slot, &fixture->tensors[slot], 0,
                       (size_t)fixture_offset(fixture, (enum attn_slot)slot));
    }
    struct attn_tensor out, lse;
    struct fault fault = {0};
    if (!tensor_shape(&out, trial->view.problem, ATTN_OUT, &fault) ||
        !tensor_shape(&lse, trial->view.problem, ATTN_LSE, &fault)) {
        json_decref(tensors);
        return trial_end(trial, STATUS_OOM, "%s", fault.text);
    }
    add_tensor(tensors, ATTN_OUT, &out, 1, outputs->out_at);
    add_tensor(tensors, ATTN_LSE, &lse, 1, outputs->lse_at);
    const int files[] = {fixture->memory_file, outputs->file};
    json_t *reply,
        *request = json_pack("{s:s, s:[{s:I}, {s:I}], s:o, s:b}", "op", "map", "memories", "bytes",
                             (json_int_t)fixture->memory_bytes, "bytes", (json_int_t)outputs->bytes,
                             "tensors", tensors, "apart", trial->options->sanitizer != NULL);
    if (!trial_ask_with(trial, request, files, 2, trial->options->watchdog_seconds, &reply))
        return false;
    trial->scratch_bytes = json_integer_value(json_object_get(reply, "scratch_bytes"));
    json_decref(reply);
    return true;
}

static bool is_twin(const struct trial *trial) {
    return trial->plugin->kernel.device == ATTN_ASCEND_TWIN;
}

bool trial_prepare(struct trial *trial) {
    static const char *const words[] = {"none", "nan", "inf", "big"};
    json_t *reply, *request = trial_request(trial, "prepare");
    if (trial_lays_out(trial))
        json_object_set_new(request, "gaps", json_string(words[trial->gaps]));
    if (trial_lays_out(trial) && trial->nan_around != ATTN_SLOT_COUNT)
        json_object_set_new(request, "nan_around", json_string(slot_name(trial->nan_around)));
    if (!trial_ask(trial, request, trial->options->watchdog_seconds, &reply)) return false;
    if (!is_twin(trial)) trial->row->prepare_us = json_number_value(json_object_get(reply, "us"));
    json_decref(reply);
    return true;
}

static void look_around(struct trial *trial, const json_t *reply) {
    const char *slot = json_string_value(json_object_get(reply, "written_around"));
    if (slot != NULL) trial_break_guard(trial, "between rows of %s, or around it", slot);
}

bool trial_finish(struct trial *trial) {
    json_t *reply;
    if (!trial_ask(trial, trial_request(trial, "finish"), trial->options->watchdog_seconds, &reply))
        return false;
    look_around(trial, reply);
    json_decref(reply);
    return true;
}

bool trial_call(struct trial *trial) {
    return trial_prepare(trial) && trial_launch(trial, false) && trial_finish(trial);
}

void trial_break_guard(struct trial *trial, const char *format, const char *where) {
    if (trial->seen.guard_broken) return; /* the first says most */
    trial->seen.guard_broken = true;
    snprintf(trial->seen.guard_where, sizeof trial->seen.guard_where, format, where);
}

void trial_look_at_scratch(struct trial *trial, const json_t *reply) {
    const char *state = json_string_value(json_object_get(reply, "scratch"));
    if (state != NULL && strcmp(state, "intact") != 0)
        trial_break_guard(trial, "%s scratch", state);
}

static void read_estimate(struct row *row, const json_t *reply) {
    const json_t *us = json_object_get(reply, "estimate_us");
    const char *counted = json_string_value(json_object_get(reply, "counted"));
    if (json_is_number(us)) row->estimate_us = json_number_value(us);
    if (counted != NULL) snprintf(row->counted, sizeof row->counted, "%s", counted);
}

/* The first ones, and always the last. */
static void keep_time(struct trial *trial, double us) {
    if (trial->launches < LAUNCHES_MAX) trial->launches++;
    trial->launches_us[trial->launches - 1] = us;
}

bool trial_launch(struct trial *trial, bool recorded) {
    outputs_fill(&trial->outputs, rules_out_dtype(trial->view.problem));
    json_t *reply, *request = trial_request(trial, "launch");
    json_object_set_new(request, "recorded", json_boolean(recorded));
    if (trial->options->sanitizer == NULL)
        json_object_set_new(request, "fill_scratch",
                            isnan(trial->filling) ? json_null() : json_real(trial->filling));
    if (trial->edges) json_object_set_new(request, "edges", json_true());
    if (!trial_ask(trial, request, trial->options->watchdog_seconds, &reply)) return false;
    if (!recorded && !trial->edges)
        keep_time(trial, json_number_value(json_object_get(reply, "us")));
    trial_look_at_scratch(trial, reply);
    look_around(trial, reply);
    read_estimate(trial->row, reply);
    json_decref(reply);
    const char *where = outputs_guard_broken(&trial->outputs);
    if (where != NULL) trial_break_guard(trial, "%s", where);
    return true;
}

bool trial_same_as_first(const struct trial *trial) {
    return outputs_equal(&trial->outputs, trial->first, &trial->view, trial->writes_lse);
}

static struct verdict judge_output(const struct trial *trial, struct deviation *deviation,
                                   const unsigned char *out, const unsigned char *lse,
                                   const struct observation *seen) {
    deviation_measure(deviation, &trial->view, &trial->fixture->answer, out,
                      trial->writes_lse ? (const float *)lse : NULL, &trial->promise,
                      trial->threads);
    return judge(deviation, seen);
}

static struct verdict judge_first(const struct trial *trial, struct deviation *deviation,
                                  const struct observation *seen) {
    return judge_output(trial, deviation, trial->first + trial->outputs.lse_bytes, trial->first,
                        seen);
}

/* Nothing but the numbers speaks against an output. */
static struct observation nothing(const struct trial *trial) {
    return (struct observation){.grade_promised = trial->plugin->kernel.grade};
}

struct verdict trial_judge_now(const struct trial *trial, struct deviation *deviation) {
    const unsigned char *memory = trial->outputs.memory;
    const struct observation seen = nothing(trial);
    return judge_output(trial, deviation, memory + trial->outputs.out_at,
                        memory + trial->outputs.lse_at, &seen);
}

bool trial_first_was_right(const struct trial *trial) {
    struct deviation deviation;
    const struct observation seen = nothing(trial);
    return judge_first(trial, &deviation, &seen).status == STATUS_PASS;
}

static void judge_row(struct trial *trial) {
    const struct verdict first = trial->verdict =
        judge_first(trial, &trial->row->deviation, &trial->seen);
    if (trial->verdict.status == STATUS_PASS && trial->later.status != STATUS_PASS)
        trial_end(trial, trial->later.status, "right at first, and in a later launch: %.200s",
                  trial->later.reason);
    if (trial->verdict.status == STATUS_FAIL_UNWRITTEN && trial->late)
        trial_end(trial, STATUS_FAIL_UNWRITTEN,
                  "written after launch had returned: when it did, %lld of %lld elements were not",
                  (long long)trial->row->deviation.unwritten_count,
                  (long long)trial->row->deviation.elements);
    const bool open =
        trial->verdict.status == STATUS_PASS || trial->verdict.status > STATUS_FAIL_NONDET;
    if (open && trial->stale) {
        trial_end(trial, STATUS_FAIL_NONDET,
                  "returned the previous call's output: V changed its sign, out did not");
    } else if (open && trial->kept[0] != '\0' && trial->stateless) {
        trial_end(trial, STATUS_FAIL_ACCURACY,
                  "%swrong with %s, also in a process that has read no others",
                  trial->verdict.status == STATUS_PASS ? "right with these inputs, " : "",
                  trial->kept);
    } else if (open && trial->kept[0] != '\0') {
        trial_end(trial, STATUS_FAIL_NONDET,
                  "does not read its inputs anew: wrong in a later call, with %s", trial->kept);
    }
    const unsigned char *lse = trial->first, *out = lse + trial->outputs.lse_bytes;
    const struct samples_output judged = {
        .view = &trial->view,
        .answer = &trial->fixture->answer,
        .out = out,
        .lse = trial->writes_lse ? (const float *)(const void *)lse : NULL,
        .promise = trial->promise,
    };
    samples_keep_failure(trial->options->samples, trial->verdict.status, &trial->row->deviation,
                         &judged);
    if (trial->verdict.status != STATUS_FAIL_OOB_READ) trial->row->diagnosis = "";
    /* Of what is right with these inputs there is nothing to be seen. */
    char *diagnosis =
        first.status != STATUS_PASS
            ? diagnosis_make(trial->verdict.status, &trial->row->deviation,
                             &(struct diagnosis_output){judged.view, judged.answer, judged.out,
                                                        judged.lse, judged.promise})
            : NULL;
    if (diagnosis != NULL) trial->row->diagnosis = text_kept(diagnosis);
    free(diagnosis);
}

static void time_row(struct trial *trial) {
    if (!trial_time(trial)) return;
    trial->verdict = judge(&trial->row->deviation, &trial->seen);
    if (trial->verdict.status == STATUS_PASS) trial_rate(trial);
}

/* The middle: a worker that has the kernel and the memory, until the row's end. */
static void run(struct trial *trial) {
    if (!trial_load(trial) || !trial_map(trial) || (!trial_provoke(trial) && !trial->beyond))
        return;
    judge_row(trial);
    if (trial->verdict.status != STATUS_PASS || !trial->options->time || is_twin(trial) ||
        trial->options->sanitizer != NULL)
        return;
    trial->start_s += timing_lock_take(trial->options->timing_lock); /* it cost this row nothing */
    time_row(trial);
    timing_lock_release(trial->options->timing_lock);
}

void trial_describe(struct row *row, const struct plugin *plugin, const struct fixture *fixture,
                    const struct trial_options *options) {
    const struct attn_problem *problem = &fixture->problem.attn;
    const struct answer *answer = &fixture->answer;
    *row = (struct row){
        .device_index = options->device_index,
        .revision = plugin->kernel.revision,
        .batch = problem->batch,
        .q_heads = problem->q_heads,
        .kv_heads = problem->kv_heads,
        .q_len = problem->q_len,
        .kv_len = problem->kv_len,
        .head_dim = problem->head_dim,
        .value_dim = problem->value_dim,
        .page_size = problem->page_size,
        .pages = problem->pages,
        .deviation = {.worst = {.b = -1, .h = -1, .i = -1, .d = -1},
                      .lse_worst = {.b = -1, .h = -1, .i = -1, .d = -1}},
    };
    for (const struct row_field *field = row_fields; field->name != NULL; field++) {
        if (field->type == ROW_REAL)
            *(double *)((char *)row + field->offset) = NAN; /* until known */
    }
    if (answer->rows != NULL) {
        row->kept_ratio = answer->kept_ratio;
        row->kept_mass = answer->kept_mass;
    }
    snprintf(row->kernel, sizeof row->kernel, "%s", plugin->id);
    snprintf(row->device, sizeof row->device, "%s",
             device_name((enum attn_device)plugin->kernel.device));
    snprintf(row->variant, sizeof row->variant, "%s",
             variant_name((enum attn_variant)problem->variant));
    snprintf(row->method, sizeof row->method, "%s", plugin->name);
    snprintf(row->change, sizeof row->change, "%s", plugin->change);
    snprintf(row->library_digest, sizeof row->library_digest, "%s", plugin->digest);
    snprintf(row->line, sizeof row->line, "%s", fixture->line);
    row->file = text_kept(options->file != NULL ? options->file : "");
    row->repeat = row->diagnosis = "";
    snprintf(row->fixture_digest, sizeof row->fixture_digest, "%s", fixture->digest);
    snprintf(row->dtype, sizeof row->dtype, "%s", dtype_name((enum attn_dtype)problem->dtype));
}

/* An id is a glob. */
static bool names_itself(const struct plugin *plugin) {
    return plugin->found && getenv("ATTEST_KERNELS") == NULL &&
           strpbrk(plugin->id, "*?[\\") == NULL;
}

void trial_repeat_python(FILE *to) {
    const char *python = interpreter_command()[0];
    if (!strcmp(python, "python3")) return;
    fputs(" --python ", to);
    text_quote(to, python);
}

static void describe_repeat(struct row *row, const struct plugin *plugin,
                            const struct trial_options *options) {
    char *command = NULL;
    size_t bytes;
    FILE *to = open_memstream(&command, &bytes);
    if (to == NULL) return;
    fputs("attest run ", to);
    text_quote(to, names_itself(plugin) ? plugin->id : plugin->path);
    if (*row->file || *row->line) { /* else it is no problem's row, but how the kernel was loaded */
        fputs(*row->file ? " -f " : " ", to);
        text_quote(to, *row->file ? row->file : row->line);
    }
    if (options->threads > 0) fprintf(to, " --threads %d", options->threads);
    if (options->burst && options->time) fputs(" --regime burst", to);
    if (interpreter_runs(plugin->path)) trial_repeat_python(to);
    if (!options->poison) fputs(" --no-poison", to);
    if (options->device_index > 0)
        fprintf(to, " --device %s:%lld", row->device, (long long)options->device_index);
    if (options->repeats_asked) fprintf(to, " --repeats %d", options->repeats);
    if (options->sanitizer != NULL) fprintf(to, " --sanitize %s", options->sanitizer->tool);
    if (fclose(to) == 0) row->repeat = text_kept(command);
    free(command);
}

void trial_lose(struct row *row, const struct plugin *plugin, const struct fixture *fixture,
                const struct trial_options *options, enum status status, const char *format, ...) {
    va_list arguments;
    trial_describe(row, plugin, fixture, options);
    snprintf(row->status, sizeof row->status, "%s", status_name(status));
    snprintf(row->grade, sizeof row->grade, "-");
    va_start(arguments, format);
    vsnprintf(row->reason, sizeof row->reason, format, arguments);
    va_end(arguments);
    describe_repeat(row, plugin, options);
}

static void conclude(struct trial *trial) {
    struct row *row = trial->row;
    const struct verdict *verdict = &trial->verdict;
    const double elements = (double)row->deviation.elements; /* 0: the ratios are unknown */
    row->nan_ratio = (double)row->deviation.nan_count / elements;
    row->inf_ratio = (double)row->deviation.inf_count / elements;
    row->unwritten_ratio = (double)row->deviation.unwritten_count / elements;
    if (!row->deviation.lse_judged) row->deviation.lse_max = NAN;
    if (row->deviation.lse_judged && row->deviation.lse_grade != 0)
        snprintf(row->lse_grade, sizeof row->lse_grade, "%c", row->deviation.lse_grade);
    row->bias_warning = verdict->bias_warning;
    snprintf(row->status, sizeof row->status, "%s", status_name(verdict->status));
    snprintf(row->reason, sizeof row->reason, "%s", verdict->reason);
    snprintf(row->grade, sizeof row->grade, "%c", verdict->grade);
    if (verdict->status != STATUS_PASS && verdict->status != STATUS_REFUSED)
        describe_repeat(row, trial->plugin, trial->options);
    row->seconds = clock_s() - trial->start_s;
}

static const char *program_of(const struct trial *trial) {
    return trial->interpreted ? interpreter_library() : trial->options->program;
}

static const char *const *under_of(const struct trial *trial) {
    return trial->interpreted                  ? interpreter_command()
           : trial->options->sanitizer != NULL ? trial->options->sanitizer->command
                                               : NULL;
}

/* A worker for the row: the one that is kept, if it still answers, or a new one. Where several in a
 * row die before any kernel is in them, that costs this row; `fault` is for what costs the run. */
static bool start(struct trial *trial, struct client *own, struct fault *fault) {
    struct client *kept = trial->options->client;
    const bool slow = trial->interpreted ||
                      driver_of((enum attn_device)trial->plugin->kernel.device)->library != NULL;
    struct client *client = trial->client = kept != NULL && slow ? kept : own;
    const char *const *under = under_of(trial);
    const int threads = trial->interpreted ? trial->threads : 0;
    if (client->pid > 0 && (client->under != under || client->threads != threads))
        client_stop(client);
    interpreter_threads(threads);
    if (client->pid > 0) {
        json_t *hello = client_ask(client, json_pack("{s:s}", "op", "hello"), 5);
        json_decref(hello);
        if (hello != NULL) return true;
        client_stop(client);
    }
    if (client_start(client, program_of(trial), under, fault)) {
        client->threads = threads;
        return true;
    }
    if (client->end == CLIENT_ALIVE) return false;
    fault->code = FAULT_NONE;
    return client->end == CLIENT_HUNG ? trial_end(trial, STATUS_HANG, "before it: %s", client->how)
           : client->signal == SIGKILL
               ? trial_end(trial, STATUS_OOM,
                           "its processes are killed before it is loaded, most likely for memory")
               : trial_end(trial, STATUS_CRASH, "its processes end before it is loaded: %s",
                           client->how);
}

bool trial_ask_afresh(struct trial *trial, bool (*ask)(struct trial *trial, void *argument),
                      void *argument) {
    struct client *const client = trial->client;
    const struct verdict verdict = trial->verdict;
    const int64_t scratch_bytes = trial->scratch_bytes;
    struct client afresh = {0};
    struct fault fault;
    bool well = client_start(&afresh, program_of(trial),
                             trial->interpreted ? interpreter_command() : NULL, &fault);
    trial->client = &afresh;
    well = well && trial_load(trial) && trial_map(trial) && ask(trial, argument);
    client_stop(&afresh);
    trial->client = client;
    trial->verdict = verdict;
    trial->scratch_bytes = scratch_bytes;
    return well;
}

static bool did_well(const struct trial *trial) {
    const enum status status = trial->verdict.status;
    return status == STATUS_PASS || status == STATUS_REFUSED || status == STATUS_UNSTABLE;
}

/* Whether the inputs are what they were. Looked at when the worker, and all that it started, is
 * gone: after a row that did not end well the next one must not have to answer for it. */
static bool left_clean(const struct trial *trial, bool answered) {
    if (trial->seen.input_changed) return false;
    if (did_well(trial) || (answered && !trial->inputs_known)) return true; /* or before a launch */
    return trial->inputs_known && trial_digest_inputs(trial->fixture) == trial->inputs;
}

/* Under a sanitizer the process that we know is that, and its children its own business. */
static bool unloaded_clean(const struct trial *trial) {
    if (trial->options->sanitizer == NULL) return client_clean(trial->client);
    echo_end_row(&trial->client->echo);
    return true;
}

/* A worker that is kept has seen nothing but kernels that did well, and has nothing of theirs. */
static void leave(struct trial *trial, const struct client *own) {
    char reason[256];
    if (trial->client == own || !did_well(trial) ||
        !tell(trial, "unload", trial->options->watchdog_seconds) || !unloaded_clean(trial))
        client_stop(trial->client);
    if (trial->options->sanitizer == NULL) return;
    const enum status found = sanitizer_look(trial->options->sanitizer, reason);
    if (found == STATUS_PASS) return;
    trial_end(trial, found, "%s", reason);
    client_stop(trial->client);
}

/* Whether the row is not at its end before anything runs. */
static bool begins(struct trial *trial) {
    const struct plugin *plugin = trial->plugin;
    char reason[256];
    if (plugin->trouble != STATUS_PASS) return trial_end(trial, plugin->trouble, "%s", plugin->why);
    const char *refusal = plugin_refusal(&plugin->kernel, trial->view.problem, reason);
    return refusal == NULL || trial_end(trial, STATUS_REFUSED, "%s", refusal);
}

static const char *no_edges(enum attn_device device, const struct trial_options *options) {
    if (device == ATTN_ASCEND_TWIN) return "the twin looks itself";
    if (device != ATTN_CPU) return "memory of a device";
    if (options->sanitizer != NULL) return "sanitizer";
    return sysconf(_SC_PAGESIZE) > FIXTURE_GUARD_BYTES ? "large pages" : NULL;
}

void trial_make(struct trial *trial, struct row *row, const struct plugin *plugin,
                struct fixture *fixture, const struct trial_options *options) {
    *trial = (struct trial){
        .plugin = plugin,
        .options = options,
        .fixture = fixture,
        .row = row,
        .view = fixture_view(fixture),
        .threads = options->threads > 0 ? options->threads : host_cores(),
        .interpreted = interpreter_runs(plugin->path),
        .writes_lse = plugin->kernel.flags & ATTN_WRITES_LSE,
        .nondeterministic = plugin->kernel.flags & ATTN_NONDETERMINISTIC,
        .promise = {.p_dtype = (enum attn_dtype)plugin->kernel.p_dtype,
                    .grade = (char)plugin->kernel.grade,
                    .lse_grade = plugin->kernel.lse_grade == 'B' ? 'B' : 'A',
                    .lse_base_2 = plugin->kernel.flags & ATTN_LSE_BASE_2},
        .seen = {.nondeterminism_declared = plugin->kernel.flags & ATTN_NONDETERMINISTIC,
                 .exact_expected = fixture->problem.data == DATA_EXACT &&
                                   !(fixture->problem.attn.traits & (ATTN_ALIBI | ATTN_BIASED)),
                 .grade_promised = plugin->kernel.grade,
                 .lse_grade_promised = plugin->kernel.lse_grade == 'B' ? 'B' : 'A',
                 .lse_base_2 = plugin->kernel.flags & ATTN_LSE_BASE_2,
                 .scale = fixture->problem.attn.scale},
        .verdict = {.grade = '-'},
        .filling = NAN,
        .nan_around = ATTN_SLOT_COUNT,
        .no_edges = no_edges((enum attn_device)plugin->kernel.device, options),
        .start_s = clock_s(),
    };
}

bool trial_enter(struct trial *trial, struct client *own, struct fault *fault) {
    struct work work;
    if (!work_count(&work, &trial->view, fault) ||
        !outputs_allocate(&trial->outputs, trial->view.problem, fault))
        return false;
    fault->code = FAULT_NONE;
    trial->row->flops = work.flops;
    trial->row->bytes = work.bytes;
    trial->read_bytes = work.read_bytes;
    outputs_guard(&trial->outputs);
    trial->first = malloc(trial->outputs.out_bytes + trial->outputs.lse_bytes + 1);
    return trial->first != NULL ? start(trial, own, fault)
                                : fault_set(fault, FAULT_OURS, "out of memory for an output");
}

bool trial_leave(struct trial *trial, struct client *own, bool entered) {
    const bool answered = entered && trial->client->end == CLIENT_ALIVE;
    if (entered)
        leave(trial, own);
    else
        client_stop(own);
    const bool clean = !entered || left_clean(trial, answered);
    outputs_free(&trial->outputs);
    free(trial->first);
    trial->first = NULL;
    return clean;
}

bool trial_judge(struct row *row, const struct plugin *plugin, struct fixture *fixture,
                 const struct trial_options *options, const void *out, const void *lse,
                 struct fault *fault) {
    static const char no_launch[] = "not values (an output); not signs (an output); not keys (an "
                                    "output); not batch (an output); "
                                    "not fresh (an output); not edges (an output)";
    struct trial trial;
    struct work work;
    trial_make(&trial, row, plugin, fixture, options);
    trial_describe(row, plugin, fixture, options);
    if (!work_count(&work, &trial.view, fault) ||
        !outputs_allocate(&trial.outputs, trial.view.problem, fault))
        return false;
    row->flops = work.flops;
    row->bytes = work.bytes;
    snprintf(row->checks, sizeof row->checks, "%s", no_launch);
    trial.first = malloc(trial.outputs.out_bytes + trial.outputs.lse_bytes + 1);
    if (trial.first == NULL) {
        outputs_free(&trial.outputs);
        return fault_set(fault, FAULT_OURS, "out of memory for an output");
    }
    memset(trial.first, 0, trial.outputs.lse_bytes);
    if (lse != NULL) memcpy(trial.first, lse, trial.outputs.lse_bytes);
    memcpy(trial.first + trial.outputs.lse_bytes, out, trial.outputs.out_bytes);
    judge_row(&trial);
    conclude(&trial);
    outputs_free(&trial.outputs);
    free(trial.first);
    return true;
}

bool trial_run(struct row *row, const struct plugin *plugin, struct fixture *fixture,
               const struct trial_options *asked, bool *fixture_spoilt, struct fault *fault) {
    struct trial_options patient = *asked;
    const struct trial_options *options = asked;
    if (plugin->kernel.device == ATTN_ASCEND_TWIN) {
        patient.watchdog_seconds *= twin_patience;
        options = &patient;
    }
    struct trial trial;
    struct client own = {0};
    *fixture_spoilt = false;
    trial_make(&trial, row, plugin, fixture, options);
    trial_describe(row, plugin, fixture, options);
    if (!begins(&trial)) {
        conclude(&trial);
        return true;
    }
    const bool entered = trial_enter(&trial, &own, fault);
    const bool told = entered || fault->code == FAULT_NONE;
    if (entered) run(&trial);
    *fixture_spoilt = !trial_leave(&trial, &own, entered);
    if (told) conclude(&trial);
    return told;
}
