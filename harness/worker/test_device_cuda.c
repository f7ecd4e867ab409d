/* The CUDA path on a machine without a GPU: stand-ins take the places of NVIDIA's libraries
 * (odd/standin_cuda.c, odd/standin_nvml.c), and kernels compute on the host (odd/hosted.c). */
#include "device.h"
#include "../trial/ceilings.h"
#include "../trial/client.h"
#include "../trial/devices.h"
#include "../trial/duel.h"
#include "../trial/machine.h"
#include "../trial/obtain.h"
#include "../trial/trial.h"
#include "../test_program.h"
#include "../verb.h"
#include "../../fixtures/test_folder.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { KEYS = 8, DIM = 16, ROW_BYTES = DIM * sizeof(uint16_t) };

static const uint16_t one = 0x3c00; /* f16, as is the next */
static const uint16_t unwritten = 0x7e00;

static void use(const char *variable, const char *library) {
    char path[4400];
    snprintf(path, sizeof path, "%s/../standin/%s", verb_kernels(), library);
    setenv(variable, path, 1);
}

static void use_standins(void) {
    use("ATTEST_LIBCUDA", "libcuda.so.1");
    use("ATTEST_NVML", "libnvidia-ml.so.1");
}

static void went_well(const char *reason) {
    cr_assert(reason == NULL, "%s", reason);
}

static void says(const char *reason, const char *text) {
    cr_assert(reason != NULL && strstr(reason, text) != NULL, "%s: %s", text, reason);
}

static const struct attn_kernel *kernel(const char *name) {
    char path[4400];
    snprintf(path, sizeof path, "%s/../standin/cuda/decode_%s_r1.so", verb_kernels(), name);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    cr_assert(library != NULL, "%s", dlerror());
    return dlsym(library, "attn_export");
}

static const struct attn_problem problem = {.abi = ATTN_ABI,
                                            .variant = ATTN_DECODE,
                                            .dtype = ATTN_F16,
                                            .batch = 1,
                                            .q_heads = 1,
                                            .kv_heads = 1,
                                            .q_len = 1,
                                            .kv_len = KEYS,
                                            .head_dim = DIM,
                                            .value_dim = DIM,
                                            .scale = 1};

/* Memory on the device, of halves that are all `value`. */
static void *place(size_t count, uint16_t value) {
    uint16_t host[KEYS * DIM];
    void *placed = device_cuda.place(host, count * sizeof *host);
    cr_assert(placed != NULL);
    for (size_t n = 0; n < count; n++) host[n] = value;
    device_cuda.upload(placed, host, count * sizeof *host);
    return placed;
}

/* A call whose every value is `value`: so is its output. */
static struct attn_call make_call(uint16_t value) {
    struct attn_call call = {.abi = ATTN_ABI};
    went_well(device_cuda.open(&call));
    cr_assert(call.stream != NULL);
    call.tensors[ATTN_Q].data = place(DIM, one);
    call.tensors[ATTN_K].data = place((size_t)KEYS * DIM, one);
    call.tensors[ATTN_V].data = place((size_t)KEYS * DIM, value);
    call.tensors[ATTN_OUT].data = place(DIM, unwritten);
    call.tensors[ATTN_LSE].data = place(2, unwritten);
    call.scratch_bytes = kernel("honest")->scratch_bytes(&problem);
    call.scratch = device_cuda.allocate(call.scratch_bytes);
    cr_assert(call.scratch != NULL);
    return call;
}

/* The output's last element. */
static uint16_t output(const struct attn_call *call) {
    uint16_t row[DIM];
    device_cuda.download(row, call->tensors[ATTN_OUT].data, sizeof row);
    return row[DIM - 1];
}

static void clear_output(const struct attn_call *call) {
    uint16_t row[DIM];
    for (int d = 0; d < DIM; d++) row[d] = unwritten;
    device_cuda.upload(call->tensors[ATTN_OUT].data, row, sizeof row);
}

static const uint16_t two = 0x4000, three = 0x4200;

static const char *record(const struct attn_kernel *wayward, const struct attn_call *calls,
                          int64_t count, int64_t launches) {
    struct device_step steps[4] = {0};
    for (int64_t n = 0; n < launches; n++) steps[n].call = &calls[n % count];
    return device_cuda.record(0, wayward, &problem, steps, launches);
}

Test(cuda, a_launch_is_waited_for_and_timed) {
    use_standins();
    double us = -1;
    const struct attn_call call = make_call(two);
    went_well(device_cuda.launch(kernel("honest"), &problem, &call, &us, NULL));
    cr_assert(output(&call) == two && us > 0);
}

Test(cuda, what_is_recorded_happens_when_it_is_replayed) {
    use_standins();
    double us = -1;
    const struct attn_call calls[2] = {make_call(two), make_call(three)};
    went_well(record(kernel("honest"), calls, 2, 3));
    cr_assert(output(&calls[0]) == unwritten);
    for (int n = 0; n < 2; n++) {
        went_well(device_cuda.replay(0, false, &us, NULL));
        cr_assert(output(&calls[0]) == two && output(&calls[1]) == three && us > 0);
        clear_output(&calls[0]);
        clear_output(&calls[1]);
    }
    device_cuda.erase();
    device_cuda.erase(); /* twice is harmless */
    went_well(record(kernel("honest"), calls, 2, 1));
    went_well(device_cuda.replay(0, false, &us, NULL));
    cr_assert(output(&calls[0]) == two && output(&calls[1]) == unwritten);
    device_cuda.erase();
}

Test(cuda, what_the_host_takes_to_launch_a_graph_is_not_in_its_time) {
    use_standins();
    setenv("STANDIN_CUDA_LAUNCH_US", "5000", 1);
    double us = -1, least_us = INFINITY;
    const struct attn_call call = make_call(two);
    went_well(record(kernel("honest"), &call, 1, 1));
    for (int n = 0; n < 5; n++) { /* on a busy machine */
        clear_output(&call);
        went_well(device_cuda.replay(0, true, &us, NULL));
        cr_assert(output(&call) == two);
        least_us = fmin(least_us, us);
    }
    cr_assert(least_us < 4000, "%g us", least_us);
    device_cuda.erase();
}

Test(cuda, what_cannot_be_recorded_says_why_and_can_still_be_launched) {
    static const struct {
        const char *kernel, *reason;
    } expected[] = {{"waits", "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"},
                    {"streamless", "legacy stream"}};
    use_standins();
    for (int n = 0; n < 2; n++) {
        double us;
        const struct attn_call call = make_call(two);
        const struct attn_kernel *wayward = kernel(expected[n].kernel);
        says(record(wayward, &call, 1, 1), expected[n].reason);
        went_well(device_cuda.launch(wayward, &problem, &call, &us, NULL));
        cr_assert(output(&call) == two);
        went_well(record(kernel("honest"), &call, 1, 4));
        device_cuda.erase();
        went_well(device_cuda.fault());
    }
}

Test(cuda, an_error_on_the_device_is_told_by_every_call_that_follows) {
    use_standins();
    double us;
    const struct attn_kernel *breaks = kernel("breaks");
    const struct attn_call call = make_call(two);
    went_well(device_cuda.launch(breaks, &problem, &call, &us, NULL));
    went_well(device_cuda.launch(breaks, &problem, &call, &us, NULL));
    went_well(device_cuda.fault());
    says(device_cuda.launch(breaks, &problem, &call, &us, NULL), "illegal memory access");
    cr_assert(device_cuda.launch(kernel("honest"), &problem, &call, &us, NULL) != NULL);
    says(device_cuda.fault(), "CUDA_ERROR_ILLEGAL_ADDRESS");
    cr_assert(device_cuda.allocate(256) == NULL && device_cuda.room() == 0);
}

Test(cuda, memory_is_what_there_is_and_comes_back) {
    use_standins();
    setenv("STANDIN_CUDA_BYTES", "1000000", 1);
    struct attn_call call = {0};
    went_well(device_cuda.open(&call));
    cr_assert(device_cuda.room() == 1000000);
    void *most = device_cuda.allocate(900000);
    cr_assert(most != NULL && (uintptr_t)most % 256 == 0);
    cr_assert(device_cuda.room() == 100000 && device_cuda.allocate(100001) == NULL);
    device_cuda.release(most);
    cr_assert(device_cuda.room() == 1000000);
    went_well(device_cuda.fault()); /* to have no memory is no error of the device */
}

Test(cuda, the_rest_of_the_last_16_bytes_of_what_is_placed_may_be_read) {
    use_standins();
    struct attn_call call = {0};
    went_well(device_cuda.open(&call));
    const size_t before = device_cuda.room();
    cr_assert(device_cuda.place(NULL, 36) != NULL);
    cr_expect(before - device_cuda.room() == 48);
}

Test(cuda, copies_stay_on_the_device) {
    use_standins();
    struct attn_call call = make_call(two);
    device_cuda.copy(call.tensors[ATTN_OUT].data, call.tensors[ATTN_V].data, ROW_BYTES);
    cr_assert(output(&call) == two);
    device_cuda.fill(call.tensors[ATTN_OUT].data, 0, ROW_BYTES);
    cr_assert(output(&call) == 0 && device_cuda.fault() == NULL);
}

Test(cuda, a_copy_beyond_what_was_allocated_does_not_pass_unnoticed) {
    use_standins();
    double us;
    uint16_t rows[2 * DIM] = {0};
    const struct attn_call call = make_call(two);
    device_cuda.upload(call.tensors[ATTN_OUT].data, rows, sizeof rows);
    says(device_cuda.launch(kernel("honest"), &problem, &call, &us, NULL),
         "CUDA_ERROR_INVALID_VALUE");
}

Test(cuda, caches_are_forgotten_after_four_times_their_size) {
    use_standins();
    setenv("STANDIN_CUDA_L2", "65536", 1);
    struct attn_call call = {0};
    went_well(device_cuda.open(&call));
    cr_assert(device_cuda.forget_bytes() == 4 * 65536);
    const size_t room = device_cuda.room();
    cr_assert(device_cuda.evict(1) && device_cuda.evict(1));
    cr_assert(room - device_cuda.room() == 4 * 65536);
}

Test(cuda, without_a_gpu_there_is_a_reason) {
    struct attn_call call = {0};
    use("ATTEST_LIBCUDA", "libnothing.so");
    cr_assert(device_cuda.count() == 0);
    says(device_cuda.open(&call), "no NVIDIA driver");
    use("ATTEST_LIBCUDA", "libnvidia-ml.so.1");
    says(device_cuda.open(&call), "has no cuInit");
    use("ATTEST_LIBCUDA", "libcuda.so.1");
    setenv("STANDIN_CUDA_DEVICES", "0", 1);
    cr_assert(device_cuda.count() == 0);
    says(device_cuda.open(&call), "CUDA_ERROR_NO_DEVICE");
}

Test(cuda, a_process_has_one_of_the_gpus) {
    use_standins();
    struct attn_call call = {.device_index = 2};
    cr_assert(device_cuda.count() == 2);
    says(device_cuda.open(&call), "no GPU 2 among 2");
    call.device_index = 1;
    went_well(device_cuda.open(&call));
    void *stream = call.stream;
    cr_assert(device_cuda.open(&call) == NULL && call.stream == stream);
    call.device_index = 0;
    says(device_cuda.open(&call), "open already");
}

Test(cuda, is_described_without_being_opened) {
    use_standins();
    setenv("STANDIN_MHZ_MAX", "1980", 1);
    setenv("STANDIN_ECC", "1", 1);
    cr_assert(device_cuda.count() == 2);
    json_t *first = json_object(), *second = json_object();
    device_cuda.describe(0, first);
    device_cuda.describe(1, second);
    cr_assert(!strcmp(json_string_value(json_object_get(first, "name")), "stand-in 0"));
    cr_assert(!strcmp(json_string_value(json_object_get(first, "driver")), "CUDA 13.0"));
    cr_assert_str_eq(json_string_value(json_object_get(second, "uuid")),
                     "GPU-01112131-4151-6171-8191-a1b1c1d1e1f1");
    cr_assert(json_integer_value(json_object_get(first, "processors")) == 4);
    cr_assert(json_number_value(json_object_get(first, "memory_bytes")) == 256 << 20);
    cr_assert(json_number_value(json_object_get(first, "cache_bytes")) == 256 << 10);
    cr_assert(json_integer_value(json_object_get(first, "ecc")) == 1);
    cr_assert(json_number_value(json_object_get(first, "clock_mhz")) == 1980);
    cr_assert(!strcmp(json_string_value(json_object_get(second, "name")), "stand-in 1"));
    cr_assert(json_integer_value(json_object_get(second, "ecc")) == -1); /* NVML has no such GPU */
    json_decref(first);
    json_decref(second);
}

Test(cuda, devices_are_found_by_a_process_that_opens_none) {
    use_standins();
    struct machine_device devices[MACHINE_DEVICES_MAX];
    struct fault fault = {0};
    int64_t count = -1;
    setenv("STANDIN_ECC", "0", 1);
    cr_assert(devices_find(ATTN_CUDA, devices, &count, verb_program(), &fault), "%s", fault.text);
    cr_assert(count == 2 && devices[0].index == 0 && devices[1].index == 1);
    cr_assert(!strcmp(devices[1].device, "cuda") && !strcmp(devices[1].name, "stand-in 1"));
    cr_assert(devices[0].ecc == 0 && devices[0].cache_bytes == 256 << 10);
    cr_assert(!(devices[0].read_bytes_s > 0) && !(devices[0].f16_flops > 0)); /* not measured */
    use("ATTEST_LIBCUDA", "libnothing.so");
    cr_assert(devices_find(ATTN_CUDA, devices, &count, verb_program(), &fault), "%s", fault.text);
    cr_assert(count == 0);
}

Test(cuda, a_replay_tells_what_the_gpu_did_meanwhile) {
    use_standins();
    setenv("STANDIN_MHZ", "1755", 1);
    setenv("STANDIN_MILLIWATTS", "698500", 1);
    setenv("STANDIN_REASONS", "0x4", 1);
    double us;
    struct device_state state;
    const struct attn_call call = make_call(two);
    went_well(record(kernel("honest"), &call, 1, 1));
    went_well(device_cuda.replay(0, false, &us, &state));
    cr_assert(state.clock_mhz == 1755 && state.watts == 698.5 && isnan(state.celsius));
    cr_assert(!strcmp(state.slowed, "sw_power_cap"), "%s", state.slowed);
    device_cuda.erase();
}

Test(cuda, errors_of_its_memory_are_counted_from_the_beginning) {
    use_standins();
    setenv("STANDIN_ECC", "1", 1);
    setenv("STANDIN_ECC_ERRORS", "5", 1);
    setenv("STANDIN_XIDS", "", 1);
    struct attn_call call = {0};
    went_well(device_cuda.open(&call));
    went_well(device_cuda.fault());
    setenv("STANDIN_ECC_ERRORS", "7", 1);
    says(device_cuda.fault(), "2 uncorrected");
}

Test(cuda, an_xid_is_a_fault) {
    use_standins();
    setenv("STANDIN_XIDS", "", 1);
    struct attn_call call = {0};
    went_well(device_cuda.open(&call));
    went_well(device_cuda.fault());
    setenv("STANDIN_XIDS", "31", 1);
    says(device_cuda.fault(), "Xid 31");
}

/* From here on, whole rows. */

static const char small[] = "f16-b2-hq4-hkv2-kv100-d64-normal-seed1";

static struct fixture obtain(const char *line) {
    struct fixture fixture = {0};
    struct fault fault = {0};
    const struct obtain_options options = {.program = verb_program(), .uncached = true};
    cr_assert(obtain_line(&fixture, line, &options, &fault), "%s", fault.text);
    return fixture;
}

static struct trial_options options_for(struct client *client) {
    struct trial_options options = trial_defaults;
    options.program = verb_program();
    options.probes = verb_probes();
    options.watchdog_seconds = 20;
    options.plan.total_ms_max = 20;
    options.client = client;
    return options;
}

static struct plugin_list hosted(const char *name) {
    char path[4400], stem[64];
    const char *const glob = stem;
    struct plugin_list list = {0};
    struct fault fault = {0};
    snprintf(path, sizeof path, "%s/../standin", verb_kernels());
    snprintf(stem, sizeof stem, "cuda/decode_%s_r1", name);
    cr_assert(plugin_scan(&list, verb_program(), path, &glob, 1, &fault), "%s", fault.text);
    cr_assert(list.count == 1, "%s", name);
    return list;
}

static struct row run(const char *name, struct fixture *fixture,
                      const struct trial_options *options) {
    struct plugin_list list = hosted(name);
    struct row row;
    struct fault fault = {0};
    bool spoilt = true;
    cr_assert(trial_run(&row, &list.plugins[0], fixture, options, &spoilt, &fault), "%s",
              fault.text);
    cr_assert(!spoilt);
    plugin_list_free(&list);
    return row;
}

/* Times that spread on a busy machine are no matter here. */
static void is_right(const struct row *row) {
    cr_assert(!strcmp(row->status, "PASS") || !strcmp(row->status, "UNSTABLE"), "%s: %s: %s",
              row->kernel, row->status, row->reason);
}

static void is(const struct row *row, const char *status, const char *reason) {
    cr_assert(!strcmp(row->status, status), "%s: %s: %s", row->kernel, row->status, row->reason);
    cr_assert(strstr(row->reason, reason) != NULL, "%s: %s", row->kernel, row->reason);
}

Test(row, of_an_honest_kernel_is_timed_by_replays) {
    use_standins();
    setenv("STANDIN_MHZ", "1755", 1);
    setenv("STANDIN_REASONS", "0x20", 1);
    struct fixture fixture = obtain(small);
    const struct trial_options options = options_for(NULL);
    const struct row row = run("honest", &fixture, &options);
    is_right(&row);
    cr_assert(!strcmp(row.kernel, "cuda/decode_honest_r1") && !strcmp(row.device, "cuda"));
    cr_assert(!strcmp(row.cold.how, "graph") && !strcmp(row.warm.how, "graph"));
    cr_assert(row.unrecorded[0] == '\0', "%s", row.unrecorded);
    cr_assert(row.warm.launches >= 1 && row.warm.copies == 0 && row.warm.median_us > 0);
    /* 1 MiB is to be touched between two uses of 102 kB, of which outputs do not count */
    const double read_bytes = row.bytes - (double)sizeof(uint16_t) * 2 * 4 * 64;
    cr_assert((double)(row.cold.copies - 1) * read_bytes >= 1 << 20);
    cr_assert((double)(row.cold.copies - 2) * read_bytes < 1 << 20);
    cr_assert(row.cold.launches % row.cold.copies == 0);
    cr_assert(row.warm.clock_mhz == 1755 && row.warm.set_aside == 0 && isnan(row.watts));
    cr_assert_str_eq(row.regime, "sustained");
    cr_assert(!strcmp(row.slowed, "sw_thermal"), "%s", row.slowed);
    cr_assert(row.single_us > 0 && row.deviation.elements == 2 * 4 * 64);
    cr_assert(row.unspoilt[0] == '\0' && row.spoilt_us > 0 && row.beside_us > 0 && row.spoil_us > 0,
              "%s", row.unspoilt);
    fixture_free(&fixture);
}

/* Launches of the stand-in are the host's, and on a busy one may take too long to be recorded. */
enum { TRIES = 8 };

/* On the stand-in by a kernel that tires, as a GPU at its power limit does. */
static struct row run_tiring(bool burst, struct fixture *fixture) {
    struct trial_options options = options_for(NULL);
    options.burst = burst;
    const struct row row = run("tires", fixture, &options);
    is_right(&row);
    cr_assert_str_eq(row.regime, burst ? "burst" : "sustained");
    return row;
}

static bool burst_is_faster(const struct row *sustained, const struct row *burst) {
    return sustained->burst_us < 0.9 * sustained->warm.median_us &&
           burst->warm.median_us < 0.9 * sustained->warm.median_us &&
           burst->cold.median_us < 0.9 * sustained->cold.median_us;
}

Test(row, says_whether_launches_overlap) {
    use_standins();
    struct fixture fixture = obtain(small);
    const struct trial_options options = options_for(NULL);
    bool told = false;
    for (int tries = 0; !told && tries < TRIES; tries++) {
        unsetenv("STANDIN_CUDA_OVERLAP");
        const struct row one_by_one = run("honest", &fixture, &options);
        setenv("STANDIN_CUDA_OVERLAP", "1", 1);
        const struct row overlapped = run("honest", &fixture, &options);
        is_right(&one_by_one);
        is_right(&overlapped);
        told = one_by_one.overlapped == 0 && overlapped.overlapped == 1;
    }
    cr_expect(told);
    fixture_free(&fixture);
}

Test(row, of_a_gpu_that_was_slowed_has_the_time_of_a_burst_as_well) {
    use_standins();
    unsetenv("ATTEST_HASTE"); /* it tires, and rests, in its own time */
    setenv("STANDIN_MHZ", "1980", 1);
    setenv("STANDIN_MHZ_MAX", "1980", 1);
    setenv("STANDIN_MILLIWATTS", "700000", 1);
    setenv("STANDIN_REASONS", "0x4", 1);
    struct fixture fixture = obtain(small);
    struct row sustained = run_tiring(false, &fixture), burst = run_tiring(true, &fixture);
    for (int n = 1; n < TRIES && !burst_is_faster(&sustained, &burst); n++) {
        sustained = run_tiring(false, &fixture);
        burst = run_tiring(true, &fixture);
    }
    cr_assert(burst_is_faster(&sustained, &burst), "%g, %g and %g us; cold %g and %g us",
              sustained.burst_us, burst.warm.median_us, sustained.warm.median_us,
              burst.cold.median_us, sustained.cold.median_us);
    cr_assert(sustained.burst_clock_mhz == 1980 && sustained.burst_watts == 700 &&
              sustained.watts == 700);
    cr_assert(isnan(burst.burst_us) && burst.warm.n >= 30 && burst.cold.n >= 30);
    unsetenv("STANDIN_REASONS"); /* at its highest clock, and not slowed: no burst */
    const struct row fast = run_tiring(false, &fixture);
    cr_assert(isnan(fast.burst_us) && isnan(fast.burst_clock_mhz));
    setenv("STANDIN_MHZ", "1950", 1);
    struct row slow = {.burst_us = NAN};
    for (int n = 0; n < TRIES && isnan(slow.burst_us); n++) slow = run_tiring(false, &fixture);
    cr_assert(slow.burst_us > 0 && slow.burst_clock_mhz == 1950);
    fixture_free(&fixture);
}

static struct row beside(const char *old_name, const char *new_name, const char *how, bool burst,
                         struct row *old_row) {
    struct fixture fixture = obtain(small);
    struct trial_options options = options_for(NULL);
    struct plugin_list old = hosted(old_name), new = hosted(new_name);
    const struct duel duel = {&old.plugins[0], &new.plugins[0], true, true, 0.01, 30};
    static struct row row;
    options.time = false;
    options.burst = burst;
    for (int n = 0; n < TRIES; n++) {
        struct fault fault = {0};
        bool spoilt = true;
        *old_row = run(old_name, &fixture, &options);
        row = run(new_name, &fixture, &options);
        cr_assert(duel_run(old_row, &row, &duel, &fixture, &options, NULL, &spoilt, &fault), "%s",
                  fault.text);
        cr_assert(!spoilt);
        if (!strcmp(row.warm.how, how) && !strcmp(row.cold.how, how)) break;
    }
    plugin_list_free(&old);
    plugin_list_free(&new);
    fixture_free(&fixture);
    return row;
}

/* Both, and the old one's copy, as one graph each; cold, over the same copies of inputs. */
Test(row, of_a_kernel_beside_another_is_timed_by_replays_in_turn) {
    static const struct {
        const char *old, *new, *how;
        bool burst;
    } cases[] = {{"honest", "honest", "graph", false},
                 {"honest", "waits", "events", false},
                 {"tires", "tires", "graph", true}};
    use_standins();
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        struct row old_row;
        const struct row row =
            beside(cases[n].old, cases[n].new, cases[n].how, cases[n].burst, &old_row);
        is_right(&row);
        is_right(&old_row);
        cr_assert_str_eq(row.versus_why, "");
        cr_assert(row.versus_warm.pairs >= PAIRED_MIN && row.versus_cold.pairs >= PAIRED_MIN);
        cr_assert(row.versus_warm.ratio > 0 && row.versus_warm.control_low > 0);
        cr_assert_str_eq(row.warm.how, cases[n].how);
        cr_assert_str_eq(old_row.cold.how, cases[n].how);
        cr_assert_str_eq(row.regime, cases[n].burst ? "burst" : "sustained");
        cr_assert_str_eq(old_row.regime, row.regime);
        cr_assert((row.cold.copies > 1) == (n != 1) && row.cold.copies == old_row.cold.copies);
    }
}

Test(row, is_cold_by_emptied_caches_where_copies_have_no_room) {
    use_standins();
    setenv("STANDIN_CUDA_L2", "4194304", 1);
    setenv("STANDIN_CUDA_BYTES", "20000000", 1);
    struct fixture fixture = obtain(small);
    const struct trial_options options = options_for(NULL);
    const struct row row = run("honest", &fixture, &options);
    is_right(&row);
    cr_assert(!strcmp(row.cold.how, "events") && row.cold.copies == 0 && row.cold.launches == 1);
    cr_assert(!strcmp(row.warm.how, "graph") && row.unrecorded[0] == '\0');
    fixture_free(&fixture);
}

/* Of few bytes each. On a busy host going through them may seem to take too long. */
Test(row, is_cold_by_hundreds_of_copies_where_they_are_small) {
    use_standins();
    setenv("STANDIN_CUDA_L2", "163840", 1);
    struct fixture fixture = obtain("f16-b1-hq2-hkv1-kv40-d16-normal-seed1");
    const struct trial_options options = options_for(NULL);
    struct row row = {.cold.copies = 0};
    for (int n = 0; n < TRIES && row.cold.copies == 0; n++) row = run("honest", &fixture, &options);
    is_right(&row);
    cr_assert(row.cold.copies > 200 && row.cold.copies < 300, "%lld", (long long)row.cold.copies);
    cr_assert(!strcmp(row.cold.how, "graph") && row.cold.launches == row.cold.copies);
    cr_assert(row.cold.n >= 30, "enough for a verdict");
    cr_assert_str_eq(row.unspoilt, "");
    fixture_free(&fixture);
}

/* Each copy has outputs of its own, and all of them are looked at. */
Test(row, of_a_kernel_that_is_wrong_with_one_copy_only_is_wrong) {
    use_standins();
    struct fixture fixture = obtain(small);
    struct trial_options options = options_for(NULL);
    struct row row = run("elsewhere", &fixture, &options);
    cr_assert(strncmp(row.status, "FAIL_", 5) == 0, "%s: %s", row.status, row.reason);
    cr_assert(strstr(row.reason, "cold samples left another output") != NULL, "%s", row.reason);
    options.time = false; /* where there are no copies, it is right */
    row = run("elsewhere", &fixture, &options);
    is_right(&row);
    fixture_free(&fixture);
}

Test(row, of_a_kernel_beside_another_is_looked_at_with_each_copy) {
    struct row old_row;
    use_standins();
    const struct row row = beside("honest", "elsewhere", "graph", false, &old_row);
    cr_assert(strncmp(row.status, "FAIL_", 5) == 0, "%s: %s", row.status, row.reason);
    cr_assert(strstr(row.reason, "cold samples left another output") != NULL, "%s", row.reason);
    is_right(&old_row);
}

Test(row, of_a_kernel_that_cannot_be_recorded_is_timed_by_events_and_says_why) {
    static const char *const kernels[] = {"waits", "streamless"};
    use_standins();
    struct fixture fixture = obtain(small);
    const struct trial_options options = options_for(NULL);
    for (int n = 0; n < 2; n++) {
        struct row row = run(kernels[n], &fixture, &options);
        for (int tries = 1; row.unrecorded[0] == '\0' && tries < TRIES; tries++)
            row = run(kernels[n], &fixture, &options); /* that seemed too long to be recorded */
        is_right(&row);
        cr_assert(!strcmp(row.cold.how, "events") && !strcmp(row.warm.how, "events"));
        cr_assert(row.warm.launches == 1 && row.cold.copies == 0 && row.warm.n >= 5);
        cr_assert(strstr(row.unrecorded, "captur") != NULL, "%s: %s", kernels[n], row.unrecorded);
    }
    fixture_free(&fixture);
}

Test(row, of_a_kernel_that_a_replay_does_not_run_is_wrong) {
    use_standins();
    struct fixture fixture = obtain(small);
    struct trial_options options = options_for(NULL);
    struct row row = run("outside", &fixture, &options);
    is(&row, "FAIL_UNWRITTEN", "as it was timed");
    options.time = false; /* launched, it is right */
    row = run("outside", &fixture, &options);
    is_right(&row);
    fixture_free(&fixture);
}

Test(row, of_a_kernel_that_breaks_the_device_is_a_crash_and_the_next_has_a_new_worker) {
    use_standins();
    struct client client = {0};
    struct fixture fixture = obtain(small);
    struct trial_options options = options_for(&client);
    options.time = false;
    struct row row = run("honest", &fixture, &options);
    is_right(&row);
    const pid_t first = client.pid;
    cr_assert(first > 0);
    row = run("breaks", &fixture, &options);
    is(&row, "CRASH", "an illegal memory access was encountered");
    row = run("honest", &fixture, &options);
    is_right(&row);
    cr_assert(client.pid > 0 && client.pid != first);
    client_stop(&client);
    fixture_free(&fixture);
}

Test(row, of_a_kernel_that_leaves_a_process_behind_is_the_last_of_its_worker) {
    use_standins();
    struct client client = {0};
    struct fixture fixture = obtain(small);
    struct trial_options options = options_for(&client);
    options.time = false;
    struct row row = run("honest", &fixture, &options);
    is_right(&row);
    const pid_t first = client.pid;
    row = run("leaves", &fixture, &options);
    is_right(&row);
    cr_assert(client.pid == 0 && waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
    row = run("honest", &fixture, &options);
    is_right(&row);
    cr_assert(client.pid > 0 && client.pid != first);
    client_stop(&client);
    fixture_free(&fixture);
}

/* Right, and not in the time that it took: what a replay hides. */
Test(row, of_a_kernel_that_keeps_its_answer_is_not_timed_as_it_asks) {
    static const struct {
        const char *kernel, *status, *reason;
    } expected[] = {
        {"stands", "INVALID_PHYSICS", "whose output was filled and whose values changed takes"},
        {"hashes", "INVALID_PHYSICS", "whose output was filled and whose values changed takes"},
        {"keeps", "FAIL_NONDET", "an answer to values as they were before their sign changed"},
    };
    use_standins();
    struct fixture fixture = obtain(small);
    struct trial_options options = options_for(NULL);
    for (size_t n = 0; n < sizeof expected / sizeof expected[0]; n++) {
        options.time = false;
        struct row row = run(expected[n].kernel, &fixture, &options);
        is_right(&row);
        options.time = true;
        row = run(expected[n].kernel, &fixture, &options);
        /* The head that is looked at may be the only one that was drawn for a few launches. */
        if (!strcmp(expected[n].kernel, "keeps") && !strcmp(row.status, "INVALID_PHYSICS"))
            is(&row, "INVALID_PHYSICS", expected[0].reason);
        else
            is(&row, expected[n].status, expected[n].reason);
    }
    fixture_free(&fixture);
}

Test(row, shares_its_worker_and_leaves_nothing_behind) {
    static const char *const kernels[] = {"waits", "streamless", "honest"};
    use_standins();
    /* Just enough: an honest row wants 3 MB of room, for copies most of it, and what empties the
     * caches, which the worker keeps, takes 1 MiB. */
    setenv("STANDIN_CUDA_BYTES", "4600000", 1);
    struct client client = {0};
    struct fixture fixture = obtain(small);
    const struct trial_options options = options_for(&client);
    pid_t worker = 0;
    for (int n = 0; n < 6; n++) {
        const struct row row = run(kernels[n % 3], &fixture, &options);
        is_right(&row);
        cr_assert((row.cold.copies > 1) == (n % 3 == 2), "%d: %s", n, row.cold.how);
        cr_assert(client.pid > 0 && (n == 0 || client.pid == worker));
        worker = client.pid;
    }
    client_stop(&client);
    fixture_free(&fixture);
}

Test(row, without_room_is_out_of_memory) {
    use_standins();
    setenv("STANDIN_CUDA_BYTES", "100000", 1);
    struct fixture fixture = obtain(small);
    const struct trial_options options = options_for(NULL);
    const struct row row = run("honest", &fixture, &options);
    is(&row, "OOM", "no room for the tensors");
    fixture_free(&fixture);
}

Test(row, without_a_gpu_is_refused_with_the_reason) {
    use_standins();
    setenv("STANDIN_CUDA_DEVICES", "0", 1);
    struct fixture fixture = obtain(small);
    struct trial_options options = options_for(NULL);
    struct row row = run("honest", &fixture, &options);
    is(&row, "REFUSED", "no CUDA-capable device");
    setenv("STANDIN_CUDA_DEVICES", "2", 1);
    options.device_index = 7;
    row = run("honest", &fixture, &options);
    is(&row, "REFUSED", "no GPU 7 among 2");
    fixture_free(&fixture);
}

Test(row, runs_on_the_gpu_that_is_asked_for) {
    use_standins();
    setenv("STANDIN_MHZ", "1755", 1); /* NVML has GPU 0 only */
    struct fixture fixture = obtain(small);
    struct trial_options options = options_for(NULL);
    options.device_index = 1;
    const struct row row = run("honest", &fixture, &options);
    is_right(&row);
    cr_assert(row.device_index == 1 && isnan(row.warm.clock_mhz) && row.slowed[0] == '\0');
    fixture_free(&fixture);
}

Test(row, during_which_the_gpu_reported_an_error_does_not_pass) {
    use_standins();
    setenv("STANDIN_XIDS", "31", 1);
    struct client client = {0};
    struct fixture fixture = obtain(small);
    struct trial_options options = options_for(&client);
    options.time = false;
    const struct row row = run("honest", &fixture, &options);
    is(&row, "CRASH", "Xid 31");
    cr_assert(client.pid == 0);
    client_stop(&client);
    fixture_free(&fixture);
}

/* A run of the honest kernel in `folder`, without ceilings. */
static int status_of_run(const char *folder, const char *how, const char *regime) {
    char path[4400];
    snprintf(path, sizeof path, "%s/../standin/cuda/decode_honest_r1.so", verb_kernels());
    const char *const arguments[] = {"attest", "run",      path,   small,       "--no-probe", how,
                                     folder,   "--regime", regime, "--time-ms", "20",         NULL};
    return test_finish(test_start(arguments, -1));
}

Test(row, of_one_run_are_of_one_regime) {
    char folder[64], inside[80];
    struct run run;
    struct fault fault = {0};
    use_standins();
    test_folder_make(folder);
    snprintf(inside, sizeof inside, "%s/run", folder);
    cr_assert(status_of_run(inside, "--out", "heated") != 0 && !run_read(&run, inside, &fault));
    cr_assert(status_of_run(inside, "--out", "burst") == 0);
    cr_assert(status_of_run(inside, "--resume", "sustained") == FAULT_INPUT);
    cr_assert(status_of_run(inside, "--resume", "burst") == 0);
    cr_assert(run_read(&run, inside, &fault) && run.count == 1, "%s", fault.text);
    cr_assert_str_eq(run.rows[0].regime, "burst");
    run_free(&run);
    test_folder_remove(folder);
}

/* Ceilings */

/* The control is a library's; where there is none, nothing is known of it. */
Test(row, has_the_control_beside_it) {
    use_standins();
    struct fixture fixture = obtain(small);
    const struct trial_options none = options_for(NULL);
    const struct row without = run("honest", &fixture, &none);
    is_right(&without);
    cr_assert(isnan(without.warm.control_us[0]));
    use("ATTEST_PROBES", "probes");
    const struct trial_options options = options_for(NULL);
    const struct row row = run("honest", &fixture, &options);
    is_right(&row);
    for (int third = 0; third < 3; third++)
        cr_assert(row.warm.control_us[third] == 42 && row.cold.control_us[third] == 42);
    fixture_free(&fixture);
}

static void use_probe(const char *rate) {
    use_standins();
    use("ATTEST_PROBES", "probes");
    setenv("STANDIN_RATE", rate, 1);
}

/* The machine with what the probe says of the first GPU. */
static struct machine *probed(void) {
    struct fault fault = {0};
    struct machine *machine = calloc(1, sizeof *machine);
    cr_assert(
        devices_find(ATTN_CUDA, machine->devices, &machine->device_count, verb_program(), &fault) &&
        machine->device_count == 2);
    cr_assert(devices_probe(&machine->devices[0], verb_program(), verb_probes(), 1, &fault), "%s",
              fault.text);
    return machine;
}

Test(ceilings, are_what_the_library_measured_and_0_where_there_is_none) {
    use_probe("3e12");
    struct machine *machine = probed();
    const struct machine_device *device = machine->devices;
    cr_assert(device->read_bytes_s == 3e12 && device->gather_128_bytes_s == 3e12);
    cr_assert(device->gather_1024_bytes_s == 12e12 && device->bf16_flops == 3e12);
    cr_assert(device->launch_us == 5 && device->graph_launch_us == 0.5);
    cr_assert(device->processors > 0 && device->name[0] != '\0', "what was known stays");
    cr_assert(device[1].read_bytes_s == 0);
    free(machine);
    struct fault fault = {0};
    struct machine_device other = {.device = "cuda"};
    setenv("ATTEST_PROBES", "/nonexistent", 1);
    cr_assert(devices_probe(&other, verb_program(), verb_probes(), 1, &fault) &&
              other.read_bytes_s == 0);
}

Test(ceilings, that_cannot_be_measured_are_a_fault_with_the_reason) {
    use_probe("1");
    unsetenv("STANDIN_RATE");
    struct fault fault = {0};
    struct machine_device device = {.device = "cuda"};
    cr_assert(!devices_probe(&device, verb_program(), verb_probes(), 1, &fault));
    cr_assert(strstr(fault.text, "measuring nothing") != NULL, "%s", fault.text);
}

Test(ceilings, rows_are_shares_of_the_nearer_one) {
    use_probe("1e15");
    struct machine *machine = probed();
    struct fixture fixture = obtain(small);
    struct trial_options options = options_for(NULL);
    options.machine = machine;
    const struct row row = run("honest", &fixture, &options);
    is_right(&row);
    const double of_flops = 100 * row.tflops * 1e12 / 1e15, of_bytes = 100 * row.gbs * 1e9 / 1e15;
    cr_assert(fabs(row.ceiling_percent - fmax(of_flops, of_bytes)) < 1e-9);
    cr_assert(!strcmp(row.ceiling, of_flops > of_bytes ? "flops" : "bytes"), "%s", row.ceiling);
    fixture_free(&fixture);
    free(machine);
}

Test(ceilings, of_products_are_those_of_the_rows_regime) {
    use_probe("1");
    struct machine *machine = probed();
    cr_assert(machine->devices->f16_burst_flops == 1.5 &&
              machine->devices->bf16_burst_flops == 1.5);
    machine->devices->f16_flops = 1e12;
    machine->devices->f16_burst_flops = 2e12;
    machine->devices->read_bytes_s = 1e18;
    struct fixture fixture = obtain(small);
    struct trial_options options = options_for(NULL);
    options.machine = machine;
    for (int burst = 0; burst < 2; burst++) {
        options.burst = burst;
        const struct row row = run("honest", &fixture, &options);
        is_right(&row);
        cr_assert_str_eq(row.ceiling, "flops");
        cr_assert(fabs(row.ceiling_percent - 100 * row.tflops / (burst ? 2 : 1)) < 1e-9);
    }
    fixture_free(&fixture);
    free(machine);
}

Test(ceilings, a_row_beyond_them_is_measured_again_and_then_invalid) {
    use_probe("1");
    struct machine *machine = probed();
    struct fixture fixture = obtain(small);
    struct trial_options options = options_for(NULL);
    options.machine = machine;
    struct row row = run("honest", &fixture, &options);
    is(&row, "INVALID_PHYSICS", "FLOP/s, the machine has");
    setenv("STANDIN_RATE", "1e15", 1); /* somebody else had used it */
    row = run("honest", &fixture, &options);
    is_right(&row);
    fixture_free(&fixture);
    free(machine);
}

/* Not measured in this run, but once. */
Test(ceilings, hold_in_a_run_that_does_not_measure_them) {
    char folder[64];
    test_folder_make(folder);
    setenv("ATTEST_CACHE", folder, 1);
    use_probe("1");
    struct machine *machine = probed();
    ceilings_settle(machine, 0);
    free(machine);
    struct fault fault = {0};
    machine = calloc(1, sizeof *machine);
    cr_assert(
        devices_find(ATTN_CUDA, machine->devices, &machine->device_count, verb_program(), &fault));
    ceilings_settle(machine, 0);
    cr_assert_str_eq(machine->devices[0].ceilings, "kept");
    cr_assert(machine->devices[0].read_bytes_s == 1 && machine->devices[1].read_bytes_s == 0);
    struct fixture fixture = obtain(small);
    struct trial_options options = options_for(NULL);
    options.machine = machine;
    const struct row row = run("honest", &fixture, &options);
    is(&row, "INVALID_PHYSICS", "FLOP/s, the machine has");
    cr_assert_str_eq(row.ceiling_from, "kept");
    fixture_free(&fixture);
    free(machine);
    test_folder_remove(folder);
}

/* Between launches that are recorded: rows that do not follow one another, words of each size.
 */
Test(cuda, moves_happen_in_their_turn) {
    use_standins();
    double us;
    uint16_t rows[KEYS * DIM], wanted[2] = {three, three};
    const struct attn_call call = make_call(two);
    unsigned char *v = call.tensors[ATTN_V].data, *out = call.tensors[ATTN_OUT].data;
    void *threes = place(2, three), *kept = place(DIM, unwritten);
    const struct device_step steps[] = {
        {.move = {.to = out, .width = ROW_BYTES, .rows = 1, .word = one, .word_bytes = 2}},
        {.move = {out, kept, 2, 2, 2, 1, 0, 0}},
        {.call = &call},
        {.move = {kept, out, ROW_BYTES, ROW_BYTES, ROW_BYTES, 1, 0, 0}},
        {.move = {v + 2, threes, ROW_BYTES, 2, 2, 2, 0, 0}},
        {.move = {.to = v + ROW_BYTES * 2, .width = 4, .rows = 1, .word = 7, .word_bytes = 4}},
        {.move = {.to = v + ROW_BYTES * 2 + 6, .width = 1, .rows = 1, .word = 9, .word_bytes = 1}}};
    went_well(device_cuda.record(1, kernel("honest"), &problem, steps, 3));
    went_well(device_cuda.record(2, kernel("honest"), &problem, steps, 7));
    went_well(device_cuda.replay(1, false, &us, NULL));
    cr_assert(output(&call) == two);
    went_well(device_cuda.replay(2, false, &us, NULL));
    device_cuda.download(rows, kept, ROW_BYTES);
    cr_assert(rows[0] == two && rows[DIM - 1] == two);
    device_cuda.download(rows, v, 3 * ROW_BYTES);
    cr_assert(rows[0] == two && rows[1] == wanted[0] && rows[2] == two);
    cr_assert(rows[DIM] == two && rows[DIM + 1] == wanted[1]);
    cr_assert(rows[2 * DIM] == 7 && rows[2 * DIM + 1] == 0 && rows[2 * DIM + 2] == two);
    cr_assert(rows[2 * DIM + 3] == ((two & 0xff00) | 9));
    device_cuda.erase();
    const struct device_step beyond = {
        .move = {v, threes, ROW_BYTES, 2, 2, 2 * KEYS, 0, 0}}; /* more rows than there are */
    says(device_cuda.record(0, kernel("honest"), &problem, &beyond, 1), "INVALID_VALUE");
    went_well(device_cuda.fault()); /* which is no error of the device */
}
