/* Timing a kernel that is right: cold and warm, each followed by the launch that was timed, into
 * outputs that hold nothing, and compared with what was judged. Then what its rates are worth. */
#include "ceilings.h"
#include "devices.h"
#include "probe.h"
#include "trial_inside.h"
#include "../record/number.h"
#include "../worker/host.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A longer launch is timed by the launches that checked it: what a first launch pays once is
 * nothing beside it, and no row should take minutes. */
static const double slow_us = 1e6;

/* So much faster than a ceiling a kernel may seem before it is accused of magic. */
static const double physics_margin = 1.25;

/* Timing is unstable when the middle half of the samples spreads over more than this share of the
 * median although sampling went on to its cap; or when launches replayed take longer, by this
 * factor and time, than the same launch alone: something else was at work. */
static const double unstable_spread = 0.5, replay_factor = 1.5, replay_us = 10;

/* So many warm launches are timed at least, where the cap on timing has room for them: one of a
 * hundred that is wrong is among them, or among those that checked it. */
enum { WATCHED_SAMPLES = 100 };

static double read_real(const json_t *value) {
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void read_reals(double *to, const json_t *list, size_t count) {
    for (size_t n = 0; n < count; n++) to[n] = read_real(json_array_get(list, n));
}

static void read_text(char *to, size_t bytes, const json_t *reply, const char *name) {
    const char *text = json_string_value(json_object_get(reply, name));
    snprintf(to, bytes, "%s", text != NULL ? text : "");
}

/* What the worker found, without the samples that do not count. */
static void read_samples(struct trial *trial, bool cold, const json_t *reply) {
    struct row *row = trial->row;
    struct timing *timing = cold ? &row->cold : &row->warm;
    const json_t *list = json_object_get(reply, "samples_us");
    const size_t count = json_array_size(list);
    double *us = malloc((count + 1) * sizeof *us), *clock = malloc((count + 1) * sizeof *clock);
    if (us != NULL && clock != NULL) {
        read_reals(us, list, count);
        read_reals(clock, json_object_get(reply, "clock_mhz"), count);
        samples_keep_times(trial->options->samples, cold, us, clock, (int64_t)count);
        double only_here = 0;
        double *session = trial->options->clock_mhz;
        const int64_t kept = timing_set_aside(
            us, clock, (int64_t)count, session != NULL ? session : &only_here, &timing->clock_mhz);
        timing->set_aside = (int64_t)count - kept;
        timing_summarise(timing, us, kept); /* sorts */
    }
    free(us);
    free(clock);
    read_text(timing->stop, sizeof timing->stop, reply, "stop");
    read_text(timing->how, sizeof timing->how, reply, "how");
    timing->launches = json_integer_value(json_object_get(reply, "launches"));
    timing->copies = json_integer_value(json_object_get(reply, "copies"));
    read_text(row->slowed, sizeof row->slowed, reply, "slowed");
    read_text(row->unrecorded, sizeof row->unrecorded, reply, "unrecorded");
    const double single_us = json_number_value(json_object_get(reply, "single_us"));
    row->single_us = single_us > 0 ? single_us : NAN;
    row->watts = read_real(json_object_get(reply, "watts"));
    row->celsius = read_real(json_object_get(reply, "celsius"));
}

/* What every sample should leave, and is compared with in the worker. */
static json_t *watch_for(struct trial *trial, bool cold) {
    const struct attn_problem *problem = trial->view.problem;
    json_t *q_lens = json_array();
    for (int64_t b = 0; b < problem->batch; b++)
        json_array_append_new(q_lens, json_integer(rules_q_len(&trial->view, b)));
    outputs_put(&trial->outputs, trial->first);
    return json_pack("{s:o, s:b, s:I, s:I, s:i}", "q_lens", q_lens, "lse", trial->writes_lse,
                     "unwritten", (json_int_t)outputs_unwritten((enum attn_dtype)problem->dtype),
                     "unwritten_lse", (json_int_t)outputs_unwritten(ATTN_F32), "samples_min",
                     cold ? 0 : WATCHED_SAMPLES);
}

/* Samples that left another output than was judged: the furthest is at hand. Another output of a
 * kernel that may vary must be right. */
static bool look_at_samples(struct trial *trial, bool cold, const json_t *reply) {
    const int64_t differed = json_integer_value(json_object_get(reply, "differed"));
    if (differed == 0) return true;
    struct deviation deviation;
    const struct observation nothing = {.grade_promised = trial->plugin->kernel.grade};
    const struct verdict now = trial_judge_now(trial, &deviation, &nothing);
    trial->seen.repeat_differed = true;
    if (now.status == STATUS_PASS && trial->nondeterministic) return true;
    const bool varies =
        now.status == STATUS_PASS || (now.status > STATUS_FAIL_NONDET && !trial->nondeterministic);
    return trial_end(
        trial, varies ? STATUS_FAIL_NONDET : now.status,
        "as it was timed: %lld of %lld %s samples left another output, the first was "
        "number %lld; %s%.150s",
        (long long)differed, (long long)json_integer_value(json_object_get(reply, "looked")),
        cold ? "cold" : "warm", (long long)json_integer_value(json_object_get(reply, "first")),
        now.status == STATUS_PASS ? "right, but not the same bits" : "", now.reason);
}

static bool sample(struct trial *trial, bool cold) {
    struct timing_plan plan = trial->options->plan;
    const double launch_ms = trial->launches_us[trial->launches - 1] * 1e-3;
    if (plan.total_ms_max < (double)plan.samples_min * launch_ms)
        plan.total_ms_max = (double)plan.samples_min * launch_ms;
    json_t *reply,
        *request = json_pack("{s:s, s:b, s:f, s:I, s:I, s:f, s:f, s:o}", "op", "time", "cold", cold,
                             "touched_bytes", trial->read_bytes, "samples_min",
                             (json_int_t)plan.samples_min, "samples_max",
                             (json_int_t)plan.samples_max, "total_ms_max", plan.total_ms_max,
                             "ci_target", plan.ci_target, "watch", watch_for(trial, cold));
    const double seconds = 2 * trial->options->watchdog_seconds + plan.total_ms_max * 2e-3;
    if (!trial_ask(trial, request, seconds, &reply)) return false;
    read_samples(trial, cold, reply);
    trial_look_at_scratch(trial, reply);
    const bool well = look_at_samples(trial, cold, reply);
    json_decref(reply);
    return well;
}

/* Once more what was timed. An output that is right and yet not the same bits is for the judge. */
static bool repeat(struct trial *trial) {
    if (!trial_launch(trial, true)) return false;
    if (trial_same_as_first(trial)) return true;
    struct deviation deviation;
    const struct observation nothing = {.grade_promised = trial->plugin->kernel.grade};
    const struct verdict verdict = trial_judge_now(trial, &deviation, &nothing);
    trial->seen.repeat_differed = true;
    if (verdict.status == STATUS_PASS) return true;
    return trial_end(trial, verdict.status, "as it was timed: %.200s", verdict.reason);
}

static void take_checking_launches(struct trial *trial) {
    struct timing *warm = &trial->row->warm;
    samples_keep_times(trial->options->samples, false, trial->launches_us, NULL, trial->launches);
    timing_summarise(warm, trial->launches_us, trial->launches);
    warm->launches = 1;
    warm->clock_mhz = NAN;
    snprintf(warm->stop, sizeof warm->stop, "cap");
    snprintf(warm->how, sizeof warm->how, "%s",
             trial->plugin->kernel.device == ATTN_CPU ? "clock" : "events");
}

bool trial_time(struct trial *trial) {
    if (trial->launches_us[trial->launches - 1] > slow_us) {
        take_checking_launches(trial);
        return true;
    }
    const uint64_t digest = trial_digest_inputs(trial->fixture);
    if (!trial_prepare(trial) || !sample(trial, true) ||
        (trial->row->cold.copies > 0 && !repeat(trial)) || !sample(trial, false) ||
        !repeat(trial) || !trial_finish(trial))
        return false;
    trial_look_at_inputs(trial, POISON_NONE, digest);
    return true;
}

/* What the row's device can reach; 0: not known. */
struct ceiling {
    double flops, read_bytes_s, bytes_s; /* bytes_s: in the row's pattern */
    double cache_bytes;
    const char *bytes; /* what bytes_s is of */
    const char *from;  /* as in a row */
};

static const char *measured(const char *ceilings) {
    return *ceilings != '\0' ? ceilings : "measured";
}

static struct ceiling ceiling_of_cpu(const struct machine *machine) {
    const double cache_bytes = (double)host_cache_bytes();
    if (machine->fma_flops > 0)
        return (struct ceiling){machine->fma_flops,
                                machine->read_bytes_s,
                                machine->read_bytes_s,
                                cache_bytes,
                                "bytes",
                                measured(machine->ceilings)};
    const struct ceilings bound = ceilings_bound(host_cores(), machine->isa);
    return (struct ceiling){bound.flops, bound.bytes_s, bound.bytes_s,
                            cache_bytes, "bytes",       "bound"};
}

/* Lists are gathered, row by row; the rates of rows between two sizes are those of the smaller. */
static struct ceiling ceiling_of_gpu(const struct machine_device *device,
                                     const struct trial *trial) {
    const struct attn_problem *problem = trial->view.problem;
    const double rates[] = {device->gather_128_bytes_s, device->gather_256_bytes_s,
                            device->gather_512_bytes_s, device->gather_1024_bytes_s};
    const int64_t row_bytes = problem->head_dim * (problem->dtype == ATTN_F32 ? 4 : 2);
    int size = 0;
    while (size < 3 && row_bytes >= (int64_t)256 << size) size++;
    if (!(device->read_bytes_s > 0)) {
        const struct ceilings sheet = ceilings_of_sheet(device->name);
        return (struct ceiling){problem->dtype != ATTN_F32 ? sheet.flops : 0,
                                sheet.bytes_s,
                                sheet.bytes_s,
                                device->cache_bytes,
                                "bytes",
                                "data sheet"};
    }
    const bool gathers = problem->traits & ATTN_KEEP;
    return (struct ceiling){problem->dtype == ATTN_F16    ? device->f16_flops
                            : problem->dtype == ATTN_BF16 ? device->bf16_flops
                                                          : 0,
                            device->read_bytes_s,
                            gathers ? rates[size] : device->read_bytes_s,
                            device->cache_bytes,
                            gathers ? "gather" : "bytes",
                            measured(device->ceilings)};
}

static const struct machine_device *device_of(const struct trial *trial,
                                              const struct machine *machine) {
    for (int64_t n = 0; n < machine->device_count; n++) {
        const struct machine_device *device = &machine->devices[n];
        if (!strcmp(device->device, trial->row->device) &&
            device->index == trial->row->device_index)
            return device;
    }
    return NULL;
}

static struct ceiling ceiling_of(const struct trial *trial, const struct machine *machine) {
    if (machine == NULL) return (struct ceiling){0};
    if (trial->plugin->kernel.device == ATTN_CPU) return ceiling_of_cpu(machine);
    const struct machine_device *device = device_of(trial, machine);
    return device != NULL ? ceiling_of_gpu(device, trial) : (struct ceiling){0};
}

/* Says in what a row is faster than the machine, if it is. Dot products of bfloat16 double what f32
 * multiply-adds of a CPU reach; traffic is bounded by memory only where no cache holds it: by
 * copies in turn, or by its size. */
static bool beyond(const struct trial *trial, const struct machine *machine, char text[128]) {
    const struct row *row = trial->row;
    const struct ceiling ceiling = ceiling_of(trial, machine);
    const bool doubled = trial->plugin->kernel.device == ATTN_CPU && machine != NULL &&
                         strcmp(row->dtype, "f32") != 0 && strstr(machine->isa, "bf16") != NULL;
    const double flops = ceiling.flops * (doubled ? 2 : 1);
    if (flops > 0 && row->tflops * 1e12 > physics_margin * flops) {
        snprintf(text, 128, "%s, the machine has %s",
                 number_rate(row->tflops * 1e12, "FLOP/s").text, number_rate(flops, "FLOP/s").text);
        return true;
    }
    const bool uncached = row->cold.copies > 0 || row->bytes > 8 * ceiling.cache_bytes;
    if (ceiling.read_bytes_s > 0 && row->cold.n > 0 && uncached &&
        row->gbs * 1e9 > physics_margin * ceiling.read_bytes_s) {
        snprintf(text, 128, "%s, the machine reads %s", number_rate(row->gbs * 1e9, "B/s").text,
                 number_rate(ceiling.read_bytes_s, "B/s").text);
        return true;
    }
    return false;
}

/* Measures what a row is accused of once more, on top of what is known. */
static void measure_again(const struct trial *trial, struct machine *machine) {
    const struct machine before = *machine;
    struct fault fault = {0};
    if (trial->plugin->kernel.device == ATTN_CPU) {
        probe_measure(machine, trial->threads, 2);
        machine->fma_flops = fmax(machine->fma_flops, before.fma_flops);
        machine->read_bytes_s = fmax(machine->read_bytes_s, before.read_bytes_s);
        return;
    }
    struct machine_device *device = (struct machine_device *)device_of(trial, machine);
    const struct machine_device known = *device;
    if (!devices_probe(device, trial->options->program, trial->options->probes, 2, &fault))
        *device = known;
    device->f16_flops = fmax(device->f16_flops, known.f16_flops);
    device->bf16_flops = fmax(device->bf16_flops, known.bf16_flops);
    device->read_bytes_s = fmax(device->read_bytes_s, known.read_bytes_s);
}

/* Ceilings may have been measured while somebody else used the machine: before accusing a kernel
 * they are measured again, under what it ran under itself. */
static void doubt_speed(struct trial *trial) {
    char text[128];
    if (!beyond(trial, trial->options->machine, text)) return;
    struct machine *now = malloc(sizeof *now);
    if (now == NULL) return;
    *now = *trial->options->machine;
    measure_again(trial, now);
    if (beyond(trial, now, text)) trial_end(trial, STATUS_INVALID_PHYSICS, "%s", text);
    free(now);
}

static void doubt_timing(struct trial *trial) {
    const struct row *row = trial->row;
    const struct timing *warm = &row->warm;
    if (!strcmp(warm->stop, "cap") && warm->n >= trial->options->plan.samples_min &&
        warm->q3_us - warm->q1_us > unstable_spread * warm->median_us)
        trial_end(trial, STATUS_UNSTABLE, "half of %lld launches took %s to %s", (long long)warm->n,
                  number_time(warm->q1_us).text, number_time(warm->q3_us).text);
    if (!strcmp(warm->how, "graph") && warm->median_us > replay_factor * row->single_us + replay_us)
        trial_end(trial, STATUS_UNSTABLE, "%s a launch when replayed, %s alone",
                  number_time(warm->median_us).text, number_time(row->single_us).text);
}

void trial_rate(struct trial *trial) {
    struct row *row = trial->row;
    if (row->warm.n == 0) return;
    const struct timing *for_bytes = row->cold.n > 0 ? &row->cold : &row->warm;
    row->tflops = row->flops / row->warm.median_us * 1e-6;
    row->gbs = row->bytes / for_bytes->median_us * 1e-3;
    const struct ceiling ceiling = ceiling_of(trial, trial->options->machine);
    const double of_flops = ceiling.flops > 0 ? 100 * row->tflops * 1e12 / ceiling.flops : 0;
    const double of_bytes = ceiling.bytes_s > 0 ? 100 * row->gbs * 1e9 / ceiling.bytes_s : 0;
    if (ceiling.from != NULL && of_flops + of_bytes > 0) {
        snprintf(row->ceiling_from, sizeof row->ceiling_from, "%s", ceiling.from);
        if (strcmp(ceiling.from, "bound") != 0) {
            row->ceiling_percent = fmax(of_flops, of_bytes);
            snprintf(row->ceiling, sizeof row->ceiling, "%s",
                     of_flops > of_bytes ? "flops" : ceiling.bytes);
        }
    }
    doubt_timing(trial);
    doubt_speed(trial);
}
