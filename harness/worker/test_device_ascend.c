/* The path to Ascend NPUs on a machine without one: a stand-in takes AscendCL's place
 * (odd/standin_acl.c), and kernels compute on the host (odd/hosted.c). Then the twin of an NPU as a
 * device, with kernels that say what its emulation would (odd/twin.c). */
#include "device.h"
#include "../test_program.h"
#include "../trial/client.h"
#include "../trial/devices.h"
#include "../trial/obtain.h"
#include "../trial/trial.h"
#include "../../fixtures/test_folder.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS = 8, DIM = 16, ROW_BYTES = DIM * sizeof(uint16_t), SPARE = 256 };

static const uint16_t one = 0x3c00, two = 0x4000; /* f16, as is the next */
static const uint16_t unwritten = 0x7e00;

static void use(const char *library) {
    char path[4400];
    snprintf(path, sizeof path, "%s/../standin/%s", verb_kernels(), library);
    setenv("ATTEST_LIBASCENDCL", path, 1);
}

static void use_standin(void) {
    use("libascendcl.so");
}

static void went_well(const char *reason) {
    cr_assert(reason == NULL, "%s", reason);
}

static void says(const char *reason, const char *text) {
    cr_assert(reason != NULL && strstr(reason, text) != NULL, "%s: %s", text, reason);
}

static const struct attn_kernel *kernel(const char *name) {
    char path[4400];
    snprintf(path, sizeof path, "%s/../standin/ascend/decode_%s_r1.so", verb_kernels(), name);
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
    void *placed = device_ascend.place(host, count * sizeof *host);
    cr_assert(placed != NULL);
    for (size_t n = 0; n < count; n++) host[n] = value;
    device_ascend.upload(placed, host, count * sizeof *host);
    return placed;
}

static struct attn_call open_device(void) {
    struct attn_call call = {.abi = ATTN_ABI};
    went_well(device_ascend.open(&call));
    cr_assert(call.stream != NULL);
    return call;
}

/* A call whose every value is 2: so is its output. */
static struct attn_call make_call(void) {
    struct attn_call call = open_device();
    call.tensors[ATTN_Q].data = place(DIM, one);
    call.tensors[ATTN_K].data = place((size_t)KEYS * DIM, one);
    call.tensors[ATTN_V].data = place((size_t)KEYS * DIM, two);
    call.tensors[ATTN_OUT].data = place(DIM, unwritten);
    call.tensors[ATTN_LSE].data = place(2, unwritten);
    call.scratch_bytes = kernel("honest")->scratch_bytes(&problem);
    call.scratch = device_ascend.allocate(call.scratch_bytes);
    cr_assert(call.scratch != NULL);
    return call;
}

/* The output's last element. */
static uint16_t output(const struct attn_call *call) {
    uint16_t row[DIM];
    device_ascend.download(row, call->tensors[ATTN_OUT].data, sizeof row);
    return row[DIM - 1];
}

Test(ascend, a_launch_is_waited_for_and_timed_between_events) {
    use_standin();
    double us = -1;
    const struct attn_call call = make_call();
    went_well(device_ascend.launch(kernel("honest"), &problem, &call, &us, NULL));
    cr_assert(output(&call) == two && us > 0);
    went_well(device_ascend.fault());
}

Test(ascend, copies_and_fills_wait_for_the_stream) {
    use_standin();
    const struct attn_kernel *honest = kernel("honest");
    const struct attn_call call = make_call();
    void *const out = call.tensors[ATTN_OUT].data;
    went_well(honest->launch(&problem, &call)); /* queued, and no more */
    cr_assert(output(&call) == two);
    went_well(honest->launch(&problem, &call));
    device_ascend.fill(out, 0, ROW_BYTES);
    cr_assert(output(&call) == 0);
    went_well(honest->launch(&problem, &call));
    device_ascend.copy(out, call.tensors[ATTN_K].data, ROW_BYTES);
    cr_assert(output(&call) == one);
    went_well(device_ascend.fault());
}

Test(ascend, memory_is_not_released_under_a_launch) {
    use_standin();
    const struct attn_call call = make_call();
    went_well(kernel("honest")->launch(&problem, &call));
    device_ascend.unplace(call.tensors[ATTN_V].data);
    device_ascend.release(call.scratch);
    went_well(device_ascend.fault());
    cr_assert(output(&call) == two);
}

Test(ascend, what_is_put_on_another_stream_is_not_there) {
    use_standin();
    double us;
    const struct attn_call call = make_call();
    went_well(device_ascend.launch(kernel("streamless"), &problem, &call, &us, NULL));
    cr_assert(output(&call) == unwritten);
}

Test(ascend, an_error_on_the_device_is_told_by_every_call_that_follows) {
    use_standin();
    double us;
    const struct attn_kernel *breaks = kernel("breaks");
    const struct attn_call call = make_call();
    went_well(device_ascend.launch(breaks, &problem, &call, &us, NULL));
    went_well(device_ascend.launch(breaks, &problem, &call, &us, NULL));
    went_well(device_ascend.fault());
    says(device_ascend.launch(breaks, &problem, &call, &us, NULL), "aicore execution is abnormal");
    cr_assert(device_ascend.launch(kernel("honest"), &problem, &call, &us, NULL) != NULL);
    says(device_ascend.fault(), "aclError 507015");
    cr_assert(strchr(device_ascend.fault(), '\n') == NULL);
    cr_assert(device_ascend.allocate(256) == NULL && device_ascend.room() == 0);
}

Test(ascend, memory_is_aligned_for_any_tensor_and_comes_back) {
    use_standin();
    setenv("STANDIN_ACL_BYTES", "1000000", 1);
    open_device();
    cr_assert(device_ascend.room() == 1000000);
    void *first = device_ascend.allocate(1000), *second = device_ascend.allocate(900000);
    void *third = device_ascend.allocate(2000);
    cr_assert(first != NULL && second != NULL && third != NULL);
    cr_assert((uintptr_t)first % 256 == 0 && (uintptr_t)second % 256 == 0);
    cr_assert(device_ascend.room() == 1000000 - 903000 - 3 * SPARE);
    cr_assert(device_ascend.allocate(97000) == NULL);
    cr_assert(device_ascend.allocate(SIZE_MAX) == NULL);
    device_ascend.fill((char *)second + 899999, 7, 1); /* all of it is there */
    device_ascend.release(second);
    device_ascend.release(first);
    device_ascend.release(third);
    cr_assert(device_ascend.room() == 1000000);
    went_well(device_ascend.fault()); /* to have no memory is no error of the device */
}

static void upload_to_released(const struct attn_call *call) {
    const uint16_t row[DIM] = {0};
    void *placed = place(DIM, one);
    device_ascend.unplace(placed);
    (void)call;
    device_ascend.upload(placed, row, sizeof row);
}

static void upload_too_much(const struct attn_call *call) {
    static const uint16_t rows[KEYS * DIM + SPARE];
    device_ascend.upload(call->tensors[ATTN_OUT].data, rows, sizeof rows);
}

static void download_to_the_device(const struct attn_call *call) {
    device_ascend.download(call->tensors[ATTN_OUT].data, call->tensors[ATTN_Q].data, ROW_BYTES);
}

static void copy_from_the_host(const struct attn_call *call) {
    const uint16_t row[DIM] = {0};
    device_ascend.copy(call->tensors[ATTN_OUT].data, row, sizeof row);
}

static void fill_the_host(const struct attn_call *call) {
    uint16_t row[DIM];
    (void)call;
    device_ascend.fill(row, 0, sizeof row);
}

static void release_twice(const struct attn_call *call) {
    void *memory = device_ascend.allocate(ROW_BYTES);
    (void)call;
    device_ascend.release(memory);
    device_ascend.release(memory);
}

/* An error that is noted stays: each has a device of its own. */
static void is_told(void (*misuse)(const struct attn_call *call)) {
    use_standin();
    double us;
    const struct attn_call call = make_call();
    went_well(device_ascend.fault());
    misuse(&call);
    says(device_ascend.launch(kernel("honest"), &problem, &call, &us, NULL), "aclError 100000");
}

Test(misuse, an_upload_to_released_memory_is_told) {
    is_told(upload_to_released);
}
Test(misuse, an_upload_beyond_the_memory_is_told) {
    is_told(upload_too_much);
}
Test(misuse, a_download_to_the_device_is_told) {
    is_told(download_to_the_device);
}
Test(misuse, a_copy_from_the_host_is_told) {
    is_told(copy_from_the_host);
}
Test(misuse, a_fill_of_the_host_is_told) {
    is_told(fill_the_host);
}
Test(misuse, memory_released_twice_is_told) {
    is_told(release_twice);
}

Test(ascend, caches_are_forgotten_after_four_times_their_size) {
    use_standin();
    setenv("STANDIN_ACL_L2", "65536", 1);
    open_device();
    cr_assert(device_ascend.forget_bytes() == 4 * 65536);
    const size_t room = device_ascend.room();
    cr_assert(device_ascend.evict(1) && device_ascend.evict(1));
    cr_assert(room - device_ascend.room() == 4 * 65536 + SPARE);
    went_well(device_ascend.fault());
    setenv("STANDIN_ACL_L2", "0", 1); /* it is not told: then it is a 910B2's */
    cr_assert(device_ascend.forget_bytes() == (size_t)4 * 192 << 20);
}

Test(ascend, without_room_to_empty_the_caches_there_is_no_cold_launch) {
    use_standin();
    setenv("STANDIN_ACL_BYTES", "100000", 1);
    open_device();
    cr_assert(!device_ascend.evict(1));
    went_well(device_ascend.fault());
}

Test(ascend, without_an_npu_there_is_a_reason) {
    struct attn_call call = {0};
    use("libnothing.so");
    cr_assert(device_ascend.count() == 0);
    says(device_ascend.open(&call), "CANN is not installed");
    use("libcuda.so.1");
    says(device_ascend.open(&call), "has no aclInit");
    use_standin();
    setenv("STANDIN_ACL_DEVICES", "0", 1);
    cr_assert(device_ascend.count() == 0);
    says(device_ascend.open(&call), "no NPU 0 among 0");
}

Test(ascend, a_process_has_one_of_the_npus) {
    use_standin();
    struct attn_call call = {.device_index = 2};
    cr_assert(device_ascend.count() == 2);
    says(device_ascend.open(&call), "no NPU 2 among 2");
    call.device_index = 1;
    went_well(device_ascend.open(&call));
    void *stream = call.stream;
    cr_assert(device_ascend.open(&call) == NULL && call.stream == stream);
    call.device_index = 0;
    says(device_ascend.open(&call), "open already");
}

Test(ascend, devices_are_found_by_a_process_that_opens_none) {
    use_standin();
    struct machine_device devices[MACHINE_DEVICES_MAX];
    struct fault fault = {0};
    int64_t count = -1;
    cr_assert(devices_find(ATTN_ASCEND, devices, &count, verb_program(), &fault), "%s", fault.text);
    cr_assert(count == 2 && devices[0].index == 0 && devices[1].index == 1);
    cr_assert(!strcmp(devices[1].device, "ascend") && !strcmp(devices[1].name, "stand-in 910B2"));
    cr_assert(!strcmp(devices[0].driver, "AscendCL 1.15.0") && devices[0].processors == 24);
    cr_assert(devices[0].cache_bytes == 256 << 10 && devices[0].memory_bytes == 256 << 20);
    cr_assert(devices[1].memory_bytes == 256 << 20 && devices[0].ecc == -1);
    cr_assert(!(devices[0].read_bytes_s > 0) && !(devices[0].f16_flops > 0)); /* not measured */
    use("libnothing.so");
    cr_assert(devices_find(ATTN_ASCEND, devices, &count, verb_program(), &fault), "%s", fault.text);
    cr_assert(count == 0);
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
    options.watchdog_seconds = 20;
    options.plan.total_ms_max = 20;
    options.client = client;
    return options;
}

/* Of a kernel in a folder beside the kernels'. */
static struct row run(const char *folder, const char *name, struct fixture *fixture,
                      const struct trial_options *options) {
    char path[4400], stem[64];
    const char *const glob = stem;
    struct plugin_list list = {0};
    struct row row;
    struct fault fault = {0};
    bool spoilt = true;
    snprintf(path, sizeof path, "%s/../%s", verb_kernels(), folder);
    snprintf(stem, sizeof stem, "%s/decode_%s_r1", strcmp(folder, "standin") ? "twin" : "ascend",
             name);
    cr_assert(plugin_scan(&list, verb_program(), path, &glob, 1, &fault), "%s", fault.text);
    cr_assert(list.count == 1, "%s", name);
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

Test(row, of_an_npu_is_timed_by_events_cold_and_warm) {
    use_standin();
    struct fixture fixture = obtain(small);
    const struct trial_options options = options_for(NULL);
    const struct row row = run("standin", "honest", &fixture, &options);
    is_right(&row);
    cr_assert(!strcmp(row.kernel, "ascend/decode_honest_r1") && !strcmp(row.device, "ascend"));
    cr_assert(!strcmp(row.cold.how, "events") && !strcmp(row.warm.how, "events"));
    cr_assert(row.cold.n >= 5 && row.warm.n >= 5 && row.warm.launches == 1 && row.cold.copies == 0);
    cr_assert(row.warm.median_us > 0 && row.cold.median_us > 0 && isnan(row.estimate_us));
    cr_assert(row.unrecorded[0] == '\0' && row.deviation.elements == 2 * 4 * 64);
    fixture_free(&fixture);
}

Test(row, of_a_kernel_that_breaks_the_npu_is_a_crash_and_the_next_has_a_new_worker) {
    use_standin();
    struct client client = {0};
    struct fixture fixture = obtain(small);
    struct trial_options options = options_for(&client);
    options.time = false;
    struct row row = run("standin", "honest", &fixture, &options);
    is_right(&row);
    const pid_t first = client.pid;
    cr_assert(first > 0);
    row = run("standin", "breaks", &fixture, &options);
    is(&row, "CRASH", "the aicore execution is abnormal");
    row = run("standin", "honest", &fixture, &options);
    is_right(&row);
    cr_assert(client.pid > 0 && client.pid != first);
    client_stop(&client);
    fixture_free(&fixture);
}

Test(row, of_a_kernel_on_another_stream_is_not_right) {
    use_standin();
    struct fixture fixture = obtain(small);
    const struct trial_options options = options_for(NULL);
    const struct row row = run("standin", "streamless", &fixture, &options);
    is(&row, "FAIL_UNWRITTEN", "never written");
    fixture_free(&fixture);
}

Test(row, shares_its_worker_and_leaves_nothing_of_it_on_the_npu) {
    use_standin();
    /* An honest row wants 0.4 MB of room, and what empties the caches, which the worker keeps,
     * takes 1 MiB. */
    setenv("STANDIN_ACL_BYTES", "1700000", 1);
    struct client client = {0};
    struct fixture fixture = obtain(small);
    const struct trial_options options = options_for(&client);
    pid_t worker = 0;
    for (int n = 0; n < 5; n++) {
        const struct row row = run("standin", "honest", &fixture, &options);
        is_right(&row);
        cr_assert(client.pid > 0 && (n == 0 || client.pid == worker));
        worker = client.pid;
    }
    client_stop(&client);
    fixture_free(&fixture);
}

Test(row, without_room_on_the_npu_is_out_of_memory) {
    use_standin();
    setenv("STANDIN_ACL_BYTES", "100000", 1);
    struct fixture fixture = obtain(small);
    const struct trial_options options = options_for(NULL);
    const struct row row = run("standin", "honest", &fixture, &options);
    is(&row, "OOM", "no room for the tensors");
    fixture_free(&fixture);
}

Test(row, without_an_npu_is_refused_with_the_reason) {
    use("libnothing.so");
    struct fixture fixture = obtain(small);
    struct trial_options options = options_for(NULL);
    struct row row = run("standin", "honest", &fixture, &options);
    is(&row, "REFUSED", "CANN is not installed");
    use_standin();
    options.device_index = 7;
    row = run("standin", "honest", &fixture, &options);
    is(&row, "REFUSED", "no NPU 7 among 2");
    options.device_index = 1;
    row = run("standin", "honest", &fixture, &options);
    is_right(&row);
    cr_assert(row.device_index == 1);
    fixture_free(&fixture);
}

/* The twin. */

Test(twin, a_row_that_is_right_has_an_estimate_and_no_time) {
    struct client client = {0};
    struct fixture fixture = obtain(small);
    const struct trial_options options = options_for(&client);
    const struct row row = run("odd-twin", "right", &fixture, &options);
    is(&row, "PASS", "");
    cr_assert(!strcmp(row.kernel, "twin/decode_right_r1") && !strcmp(row.device, "twin"));
    cr_assert(row.estimate_us == 12.5);
    cr_assert_str_eq(row.counted, "HBM 1000 bytes\nsyncs: 3 | 4");
    cr_assert(row.warm.n == 0 && row.cold.n == 0 && isnan(row.tflops) && isnan(row.single_us));
    cr_assert(isnan(row.prepare_us) && row.deviation.elements == 2 * 4 * 64);
    cr_assert(client.pid == 0); /* as on a CPU, no other row sees its process */
    fixture_free(&fixture);
}

Test(twin, a_finding_is_the_rows_status_and_its_words_are_the_reason) {
    struct fixture fixture = obtain(small);
    const struct trial_options options = options_for(NULL);
    struct row row = run("odd-twin", "races", &fixture, &options);
    is(&row, "FAIL_RACE", "x.asc:3: a read of UB");
    cr_assert(!strncmp(row.reason, "x.asc:3", 7) && row.grade[0] == '-', "%s", row.reason);
    cr_assert(!strncmp(row.repeat, "attest run ", 11), "%s", row.repeat);
    row = run("odd-twin", "reads", &fixture, &options);
    is(&row, "FAIL_OOB_READ", "x.asc:9: 32 bytes beyond k");
    row = run("odd-twin", "waits", &fixture, &options);
    is(&row, "HANG", "deadlock: core 0 waits");
    row = run("odd-twin", "passes", &fixture, &options);
    is(&row, "CRASH", "launch failed: PASS: all is well");
    fixture_free(&fixture);
}

/* How many rows a run over the odd kernels of the twin wrote; its exit status is *status. */
static int64_t rows_of(const char *const *arguments, int *status) {
    char folder[64], kernels[4400];
    const char *all[16] = {"attest", "run", "--no-probe", "--out", folder, small};
    struct run run;
    struct fault fault = {0};
    test_folder_make(folder);
    snprintf(kernels, sizeof kernels, "%s/../odd-twin", verb_kernels());
    for (int n = 6; *arguments != NULL; n++) all[n] = *arguments++;
    const char *const before = getenv("ATTEST_KERNELS");
    cr_assert(before == NULL);
    char *const place = realpath(kernels, NULL);
    cr_assert(place != NULL);
    setenv("ATTEST_KERNELS", place, 1);
    *status = test_finish(test_start(all, -1));
    unsetenv("ATTEST_KERNELS");
    free(place);
    int64_t count = 0;
    if (run_read(&run, folder, &fault)) count = run.count;
    for (int64_t n = 0; n < count; n++) {
        cr_assert(run.machine.device_count == 0 && !strcmp(run.machine.device, "cpu"));
        cr_assert(!strcmp(run.rows[n].device, "twin") && run.rows[n].warm.n == 0);
    }
    if (count > 0) run_free(&run);
    test_folder_remove(folder);
    return count;
}

Test(twin, is_run_when_it_or_a_kernel_is_named_and_not_otherwise) {
    int status;
    cr_assert(rows_of((const char *[]){"--device", "twin", NULL}, &status) == 5);
    cr_assert(status == EXIT_CRASH);
    cr_assert(rows_of((const char *[]){"decode_right_r1", NULL}, &status) == 1 && status == 0);
    cr_assert(rows_of((const char *[]){"twin/*races*", NULL}, &status) == 1);
    cr_assert(status == EXIT_WRONG_RESULT);
    cr_assert(rows_of((const char *[]){NULL}, &status) == 0 && status == FAULT_NOTHING);
    cr_assert(rows_of((const char *[]){"--device", "cpu", NULL}, &status) == 0);
    cr_assert(status == FAULT_NOTHING);
}
