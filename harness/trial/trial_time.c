/* Timing a kernel that is right: cold and warm, each followed by the launch that was timed, into
 * outputs that hold nothing, and compared with what was judged. Then what its rates are worth. */
#include "ceilings.h"
#include "devices.h"
#include "probe.h"
#include "trial_inside.h"
#include "../../kernels/attn_number.h"
#include "../record/number.h"
#include "../worker/host.h"
#include "../worker/protocol.h"
#include "../worker/regime.h"
#include "../../oracle/clock.h"

#include <limits.h>
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

/* A launch after values were turned may take longer by what it takes to read lines again that were
 * just written, at 2 GB/s, and by what it takes to wake threads; where it was compared with
 * launches after lines were written in the same way, there is nothing to allow. */
static const double turned_bytes_us = 2e3, turned_us = 300;

/* A verdict (report/effect.h) needs as many samples, or 8 of launches this long. */
enum { SLOW_SAMPLES = 8, SLOW_COLD_SAMPLES = 10 };
static const double long_ms = 10;
/* What caches take to be emptied before a sample, at most. */
static const double between_ms = 500;

/* So many warm launches are timed at least, where the cap on timing has room for them: one of a
 * hundred that is wrong is among them, or among those that checked it. */
enum { WATCHED_SAMPLES = 100 };

/* Where a burst's median is further than this from the sustained one it is a row's. */
static const double burst_differs = 0.02;

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

/* Of the control beside the samples that count, NaN where there is none. Sorts. */
static void summarise_control(struct timing *timing, double *control_us, int64_t count) {
    for (int64_t third = 0; third < 3; third++) {
        struct timing part = {.q1_us = NAN};
        const int64_t first = third * count / 3, end = (third + 1) * count / 3;
        timing_summarise(&part, control_us + first, end - first);
        timing->control_us[third] = part.q1_us;
    }
}

/* What the other regime says, where it says something else. */
static void read_burst(struct row *row, const json_t *reply) {
    const double us = read_real(json_object_get(reply, "burst_us"));
    if (!(fabs(us / row->warm.median_us - 1) > burst_differs)) return;
    row->burst_us = us;
    row->burst_clock_mhz = read_real(json_object_get(reply, "burst_clock_mhz"));
    row->burst_watts = read_real(json_object_get(reply, "burst_watts"));
}

/* What the worker found, without the samples that do not count. */
void trial_read_samples(struct trial *trial, bool cold, const json_t *reply) {
    struct row *row = trial->row;
    struct timing *timing = cold ? &row->cold : &row->warm;
    const json_t *list = json_object_get(reply, "samples_us");
    const size_t count = json_array_size(list), bytes = (count + 1) * sizeof(double);
    read_text(row->slowed, sizeof row->slowed, reply, "slowed");
    read_text(row->regime, sizeof row->regime, reply, "regime");
    double *us = malloc(bytes), *clock = malloc(bytes), *control = malloc(bytes);
    if (us != NULL && clock != NULL && control != NULL) {
        double only_here = 0, quiet_here = 0;
        double *session = trial->options->clock_mhz, *quiet = trial->options->quiet_us;
        int64_t kept = (int64_t)count;
        read_reals(us, list, count);
        read_reals(clock, json_object_get(reply, "clock_mhz"), count);
        read_reals(control, json_object_get(reply, "control_us"), count);
        samples_keep_times(trial->options->samples, cold, us, clock, control, kept);
        if (trial->plugin->kernel.device == ATTN_CPU) {
            kept = timing_keep_quiet(us, control, kept, trial->options->plan.samples_min,
                                     quiet != NULL ? quiet : &quiet_here);
            timing->clock_mhz = NAN;
            summarise_control(timing, control, kept);
        } else {
            summarise_control(timing, control, kept);
            const bool limited = row->slowed[0] != '\0' && !trial->options->burst;
            kept = timing_set_aside(us, clock, kept, limited,
                                    session != NULL ? session : &only_here, &timing->clock_mhz);
        }
        timing->set_aside = (int64_t)count - kept;
        timing->processes = 1;
        timing->next_us = NAN;
        timing_summarise(timing, us, kept); /* sorts */
    }
    free(us);
    free(clock);
    free(control);
    read_text(timing->stop, sizeof timing->stop, reply, "stop");
    read_text(timing->how, sizeof timing->how, reply, "how");
    timing->interrupted = json_integer_value(json_object_get(reply, "interrupted"));
    timing->launches = json_integer_value(json_object_get(reply, "launches"));
    timing->copies = json_integer_value(json_object_get(reply, "copies"));
    read_text(row->unrecorded, sizeof row->unrecorded, reply, "unrecorded");
    const double single_us = json_number_value(json_object_get(reply, "single_us"));
    row->single_us = single_us > 0 ? single_us : NAN;
    row->watts = read_real(json_object_get(reply, "watts"));
    row->celsius = read_real(json_object_get(reply, "celsius"));
    row->overlapped = json_is_true(json_object_get(reply, "overlapped"));
    if (!cold) read_burst(row, reply);
}

static void read_some(struct timing *timing, const json_t *list) {
    const size_t count = json_array_size(list);
    double *us = malloc((count + 1) * sizeof *us);
    if (us == NULL) return;
    read_reals(us, list, count);
    timing_summarise(timing, us, (int64_t)count);
    free(us);
}

/* A kernel that keeps what it computed, and looks at its inputs to see whether they have changed,
 * is faster as long as they have not: than launches beside those after a change, if there are some,
 * else than its samples, of which those count that otherwise do not, too. */
static bool look_at_changes(struct trial *trial, const json_t *reply) {
    const double bytes = read_real(json_object_get(reply, "turned_bytes"));
    struct timing usual = {0}, surprised = {0}, touched = {0};
    const json_t *plain = json_object_get(reply, "plain_us");
    read_some(&usual, json_array_size(plain) > 0 ? plain : json_object_get(reply, "samples_us"));
    read_some(&surprised, json_object_get(reply, "surprised_us"));
    read_some(&touched, json_object_get(reply, "touched_us"));
    if (surprised.n > 0) trial->row->changed_us = surprised.median_us;
    const bool beside = timing_apart(&touched, &surprised, 0, true);
    if (!beside && !timing_apart(&usual, &surprised, turned_us + bytes / turned_bytes_us, true))
        return true;
    return trial_end(
        trial, STATUS_INVALID_PHYSICS,
        "a launch after the sign of some values changed takes %s, %s %s: it keeps what "
        "it computed before",
        number_time(surprised.median_us).text,
        beside ? "after they were written again as they are" : "else",
        number_time(beside ? touched.median_us : usual.median_us).text);
}

/* The same of launches that are recorded. Also beside samples: a kernel might notice that something
 * was done before it, and not what. */
static bool look_at_spoilt(struct trial *trial, bool cold, const json_t *reply) {
    struct row *row = trial->row;
    const json_t *spoilt = json_object_get(reply, "spoilt");
    read_text(row->unspoilt, sizeof row->unspoilt, spoilt, "why");
    if (json_integer_value(json_object_get(spoilt, "launches")) == 0) return true;
    const double us = read_real(json_object_get(spoilt, "us"));
    const double beside_us = read_real(json_object_get(spoilt, "touched_us"));
    const double sample_us = read_real(json_object_get(spoilt, "usual_us"));
    if (!cold) {
        row->spoilt_us = us;
        row->beside_us = beside_us;
        row->spoil_us = read_real(json_object_get(spoilt, "alone_us"));
    }
    const bool beside = timing_spoilt(us, beside_us) > 0;
    if (!beside && !(timing_noticed(us, sample_us) > 0)) return true;
    return trial_end(trial, STATUS_INVALID_PHYSICS,
                     "a %s launch whose output was filled and whose values changed takes %s, %s "
                     "%s: it keeps what it computed before",
                     cold ? "cold" : "warm", number_time(us).text,
                     beside ? "beside one as it was left" : "else",
                     number_time(beside ? beside_us : sample_us).text);
}

/* What every sample should leave, and is compared with in the worker. */
json_t *trial_watch_for(struct trial *trial, bool cold) {
    const struct attn_problem *problem = trial->view.problem;
    json_t *q_lens = json_array();
    for (int64_t b = 0; b < problem->batch; b++)
        json_array_append_new(q_lens, json_integer(rules_q_len(&trial->view, b)));
    outputs_put(&trial->outputs, trial->first);
    return json_pack("{s:o, s:b, s:I, s:I, s:i}", "q_lens", q_lens, "lse", trial->writes_lse,
                     "unwritten", (json_int_t)deviation_unwritten(rules_out_dtype(problem)),
                     "unwritten_lse", (json_int_t)deviation_unwritten(ATTN_F32), "samples_min",
                     cold ? 0 : WATCHED_SAMPLES);
}

/* Samples that left another output than was judged: the furthest is at hand, and what a kernel has
 * written to it since. Another output of a kernel that may vary must be right. */
bool trial_look_at_samples(struct trial *trial, bool cold, const json_t *reply) {
    const int64_t differed = json_integer_value(json_object_get(reply, "differed"));
    const int64_t stale = json_integer_value(json_object_get(reply, "stale"));
    const int64_t bare = json_integer_value(json_object_get(reply, "bare"));
    if (differed == 0) return true;
    struct deviation deviation;
    const struct verdict now = trial_judge_now(trial, &deviation);
    trial->seen.repeat_differed = true;
    if (bare == 0 && now.status == STATUS_PASS && trial->nondeterministic) return true;
    const bool varies = stale > 0 || now.status == STATUS_PASS ||
                        (now.status > STATUS_FAIL_NONDET && !trial->nondeterministic);
    return trial_end(
        trial,
        bare > 0 ? STATUS_FAIL_UNWRITTEN
        : varies ? STATUS_FAIL_NONDET
                 : now.status,
        "as it was timed: %lld of %lld %s samples left another output, the first was "
        "number %lld; %s%s%s%.150s",
        (long long)differed, (long long)json_integer_value(json_object_get(reply, "looked")),
        cold ? "cold" : "warm", (long long)json_integer_value(json_object_get(reply, "first")),
        bare > 0 ? "when launch had returned not all of it was written; " : "",
        stale > 0 ? "an answer to values as they were before their sign changed; " : "",
        bare == 0 && now.status == STATUS_PASS ? "right, but not the same bits" : "", now.reason);
}

static bool look_at_sum(struct trial *trial, const json_t *reply, double wall_us) {
    const json_t *list = json_object_get(reply, "samples_us");
    const double launches = json_number_value(json_object_get(reply, "launches"));
    double sum_us = 0;
    for (size_t n = 0; n < json_array_size(list); n++)
        sum_us += read_real(json_array_get(list, n)) * launches;
    return trial_look_at_sum(trial, sum_us, (double)json_array_size(list) * launches, wall_us);
}

/* Of launches that take long fewer samples have to be enough, cold ten at least. */
static int64_t samples_min(const struct trial *trial, bool cold, double launch_ms) {
    const int64_t most = cold ? SLOW_COLD_SAMPLES : SLOW_SAMPLES;
    const int64_t asked = trial->options->plan.samples_min;
    return launch_ms > long_ms && asked > most ? most : asked;
}

static json_t *control_library(const struct trial *trial) {
    char library[PATH_MAX];
    if (trial->options->probes == NULL) return json_null();
    snprintf(library, sizeof library, "%s/%s_control.so", trial->options->probes,
             trial->row->device);
    return path_to_json(library);
}

/* What a GPU settles or rests, at most, and each sample could follow a rest. */
static double rest_seconds(const struct trial *trial, double total_ms) {
    if (trial->plugin->kernel.device == ATTN_CPU) return 0;
    return trial->options->burst ? 60 + total_ms * 1e-3 * 2 * regime_rest_us / regime_burst_us : 10;
}

static bool sample(struct trial *trial, bool cold) {
    struct timing_plan plan = trial->options->plan;
    const double launch_ms = trial->launches_us[trial->launches - 1] * 1e-3;
    plan.samples_min = samples_min(trial, cold, launch_ms);
    const double *quiet = trial->options->quiet_us;
    const double quiet_us = quiet != NULL && trial->plugin->kernel.device == ATTN_CPU ? *quiet : 0;
    json_t *reply,
        *request = json_pack(
            "{s:s, s:b, s:b, s:f, s:I, s:I, s:f, s:f, s:o, s:o, s:f}", "op", "time", "cold", cold,
            "burst", trial->options->burst, "touched_bytes", trial->read_bytes, "samples_min",
            (json_int_t)plan.samples_min, "samples_max", (json_int_t)plan.samples_max,
            "total_ms_max", plan.total_ms_max, "ci_target", plan.ci_target, "watch",
            trial_watch_for(trial, cold), "control", control_library(trial), "quiet_us", quiet_us);
    const double seconds = 2 * trial->options->watchdog_seconds + plan.total_ms_max * 2e-3 +
                           (double)plan.samples_min * (launch_ms + between_ms) * 2e-3 +
                           rest_seconds(trial, plan.total_ms_max);
    const double start = clock_s();
    if (!trial_ask(trial, request, seconds, &reply)) return false;
    const double wall_us = (clock_s() - start) * 1e6;
    trial_read_samples(trial, cold, reply);
    trial_look_at_scratch(trial, reply);
    const bool well = trial_look_at_samples(trial, cold, reply) &&
                      look_at_sum(trial, reply, wall_us) &&
                      (cold || look_at_changes(trial, reply)) && look_at_spoilt(trial, cold, reply);
    json_decref(reply);
    return well;
}

/* Once more what was timed. An output that is right and yet not the same bits is for the judge. */
static bool repeat(struct trial *trial) {
    if (!trial_launch(trial, true)) return false;
    if (trial_same_as_first(trial)) return true;
    struct deviation deviation;
    const struct verdict verdict = trial_judge_now(trial, &deviation);
    trial->seen.repeat_differed = true;
    if (verdict.status == STATUS_PASS) return true;
    return trial_end(trial, verdict.status, "as it was timed: %.200s", verdict.reason);
}

static void take_checking_launches(struct trial *trial) {
    struct timing *warm = &trial->row->warm;
    samples_keep_times(trial->options->samples, false, trial->launches_us, NULL, NULL,
                       trial->launches);
    timing_summarise(warm, trial->launches_us, trial->launches);
    warm->launches = warm->processes = 1;
    warm->clock_mhz = warm->next_us = NAN;
    if (trial->plugin->kernel.device == ATTN_CUDA) /* a second's work is no burst */
        snprintf(trial->row->regime, sizeof trial->row->regime, "%s", regime_name(false));
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
    if (!trial_prepare(trial) || (!trial->options->only_warm && !sample(trial, true)) ||
        (trial->row->cold.copies > 0 && !repeat(trial)) || !sample(trial, false) ||
        !trial_clock_outside(trial) || !repeat(trial) || !trial_finish(trial))
        return false;
    trial_look_at_inputs(trial, POISON_NONE, digest);
    return true;
}

/* What the row's device can reach; 0: not known. */
struct ceiling {
    double flops, read_bytes_s, bytes_s; /* bytes_s: in the row's pattern */
    double flops_max;                    /* in any regime */
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
        return (struct ceiling){.flops = machine->fma_flops,
                                .read_bytes_s = machine->read_bytes_s,
                                .bytes_s = machine->read_bytes_s,
                                .flops_max = machine->fma_flops,
                                .cache_bytes = cache_bytes,
                                .bytes = "bytes",
                                .from = measured(machine->ceilings)};
    const struct ceilings bound = ceilings_bound(host_cores(), machine->isa);
    return (struct ceiling){.flops = bound.flops,
                            .read_bytes_s = bound.bytes_s,
                            .bytes_s = bound.bytes_s,
                            .flops_max = bound.flops,
                            .cache_bytes = cache_bytes,
                            .bytes = "bytes",
                            .from = "bound"};
}

static double flops_of(int32_t dtype, double f16_flops, double bf16_flops) {
    return dtype == ATTN_F16 ? f16_flops : dtype == ATTN_BF16 ? bf16_flops : 0;
}

/* Products are limited by power, and a row's share is of those in its own regime; memory is not.
 * Lists are gathered, row by row; the rates of rows between two sizes are those of the smaller. */
static struct ceiling ceiling_of_gpu(const struct machine_device *device,
                                     const struct trial *trial) {
    const struct attn_problem *problem = trial->view.problem;
    const double rates[] = {device->gather_128_bytes_s, device->gather_256_bytes_s,
                            device->gather_512_bytes_s, device->gather_1024_bytes_s};
    const int64_t row_bytes = problem->value_dim * attn_dtype_bytes(problem->dtype);
    int size = 0;
    while (size < 3 && row_bytes >= (int64_t)256 << size) size++;
    if (!(device->read_bytes_s > 0)) {
        const struct ceilings sheet = ceilings_of_sheet(device->name);
        const double flops = problem->dtype != ATTN_F32 ? sheet.flops : 0;
        return (struct ceiling){.flops = flops,
                                .read_bytes_s = sheet.bytes_s,
                                .bytes_s = sheet.bytes_s,
                                .flops_max = flops,
                                .cache_bytes = device->cache_bytes,
                                .bytes = "bytes",
                                .from = "data sheet"};
    }
    const bool gathers = problem->traits & ATTN_KEEP;
    const double sustained = flops_of(problem->dtype, device->f16_flops, device->bf16_flops);
    const double burst =
        flops_of(problem->dtype, device->f16_burst_flops, device->bf16_burst_flops);
    return (struct ceiling){.flops = row_is_burst(trial->row) ? burst : sustained,
                            .read_bytes_s = device->read_bytes_s,
                            .bytes_s = gathers ? rates[size] : device->read_bytes_s,
                            .flops_max = fmax(sustained, burst),
                            .cache_bytes = device->cache_bytes,
                            .bytes = gathers ? "gather" : "bytes",
                            .from = measured(device->ceilings)};
}

static const struct machine_device *device_of(const struct trial *trial,
                                              const struct machine *machine) {
    return machine_device_of(machine, trial->row->device, trial->row->device_index);
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
    const double flops = ceiling.flops_max * (doubled ? 2 : 1);
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
    device->f16_burst_flops = fmax(device->f16_burst_flops, known.f16_burst_flops);
    device->bf16_burst_flops = fmax(device->bf16_burst_flops, known.bf16_burst_flops);
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

static void set_rates(struct row *row, const struct ceiling *ceiling) {
    if (row->warm.n == 0) return;
    const struct timing *for_bytes = row->cold.n > 0 ? &row->cold : &row->warm;
    row->tflops = row->flops / row->warm.median_us * 1e-6;
    row->gbs = row->bytes / for_bytes->median_us * 1e-3;
    const double of_flops = ceiling->flops > 0 ? 100 * row->tflops * 1e12 / ceiling->flops : 0;
    const double of_bytes = ceiling->bytes_s > 0 ? 100 * row->gbs * 1e9 / ceiling->bytes_s : 0;
    if (ceiling->from == NULL || !(of_flops + of_bytes > 0)) return;
    snprintf(row->ceiling_from, sizeof row->ceiling_from, "%s", ceiling->from);
    if (strcmp(ceiling->from, "bound") == 0) return;
    row->ceiling_percent = fmax(of_flops, of_bytes);
    snprintf(row->ceiling, sizeof row->ceiling, "%s",
             of_flops > of_bytes ? "flops" : ceiling->bytes);
}

void trial_set_rates(struct trial *trial) {
    const struct ceiling ceiling = ceiling_of(trial, trial->options->machine);
    set_rates(trial->row, &ceiling);
}

void trial_join(struct row *row, const struct row *before, const struct machine *machine,
                struct samples *samples, struct samples *earlier) {
    struct timing cold = row->cold, warm = row->warm;
    const bool cold_stands = timing_join(&cold, &before->cold);
    /* What one process was disturbed in says nothing of another. */
    const bool was_well = status_of(before) == STATUS_PASS, is_well = status_of(row) == STATUS_PASS;
    if (was_well && !is_well) warm = before->warm;
    const bool warm_stands =
        was_well == is_well ? timing_join(&warm, &before->warm) : was_well && !is_well;
    const double seconds = row->seconds + before->seconds;
    const struct ceiling ceiling = machine != NULL ? ceiling_of_cpu(machine) : (struct ceiling){0};
    if (warm_stands) *row = *before;
    row->cold = cold;
    row->warm = warm;
    row->seconds = seconds;
    set_rates(row, &ceiling);
    if (cold_stands) samples_exchange_times(samples, earlier, true);
    if (warm_stands) samples_exchange_times(samples, earlier, false);
}

void trial_rate(struct trial *trial) {
    if (trial->row->warm.n == 0) return;
    trial_set_rates(trial);
    doubt_timing(trial);
    doubt_speed(trial);
}
