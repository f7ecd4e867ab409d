/* attest probe: the machine's ceilings, as every run measures them at its start, but longer. */
#include "../report/table.h"
#include "../trial/devices.h"
#include "../trial/machine.h"
#include "../trial/probe.h"
#include "../trial/timing_lock.h"
#include "../verb.h"
#include "../worker/host.h"

#include <string.h>

struct arguments {
    bool json;
    int threads;
    double seconds;
};

static const struct argp_option options[] = {
    {"json", 'j', NULL, 0, "Print one JSON object instead of a table", 0},
    {"threads", 't', "N", 0, "Threads; default: all cores", 0},
    {"seconds", 's', "S", 0, "About how long to measure; default 5", 0},
    {0},
};

static error_t parse(int key, char *text, struct argp_state *state) {
    struct arguments *arguments = state->input;
    switch (key) {
    case 'j':
        arguments->json = true;
        return 0;
    case 't':
        arguments->threads = (int)verb_count(text, 1, 1024, "threads", state);
        return 0;
    case 's':
        arguments->seconds = verb_number(text, 0, 600, "seconds", state);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'", text);
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .doc = "Measures what this machine can do: products of OpenBLAS, multiply-adds, reading and "
           "copying memory; and of each GPU, where the CUDA kernels were built, copying, reading "
           "and gathering memory, 16-bit products, and launching a kernel.",
};

/* A GPU that cannot be measured is no reason not to print the rest. */
static void probe_devices(struct machine *machine, double seconds) {
    struct timing_lock lock = {.file = -1};
    struct fault fault = {0};
    if (!devices_find(ATTN_CUDA, machine->devices, &machine->device_count, verb_program(), &fault))
        fault_tell(&fault);
    if (machine->device_count > 0 && !timing_lock_open(&lock, &fault)) fault_tell(&fault);
    timing_lock_take(&lock);
    for (int64_t n = 0; n < machine->device_count; n++) {
        if (!devices_probe(&machine->devices[n], verb_program(), verb_probes(), seconds, &fault))
            fault_tell(&fault);
    }
    timing_lock_close(&lock);
}

/* "read      38.0 GB/s    what that is". */
static void print_rate(const char *what, double per_second, const char *unit, const char *meaning) {
    print_plain(stdout, *meaning ? "%-9s %-12s %s\n" : "%-9s %s%s\n", what,
                number_rate(per_second, unit).text, meaning);
}

static void print_time(const char *what, double us, const char *meaning) {
    print_plain(stdout, "%-9s %-12s %s\n", what, number_time(us).text, meaning);
}

enum { VALUE_AT = 10 };

static void print_device(const struct machine_device *device) {
    printf("\n%s:%-*lld ", device->device, VALUE_AT - 2 - (int)strlen(device->device),
           (long long)device->index);
    print_words(stdout, VALUE_AT, VALUE_AT, "%s, %s, %lld multiprocessors", device->name,
                device->driver, (long long)device->processors);
    printf("caches    %s L2, memory %s\n", number_bytes(device->cache_bytes).text,
           number_bytes(device->memory_bytes).text);
    if (!(device->read_bytes_s > 0)) {
        printf("          not measured: there is no probe for it here\n");
        return;
    }
    print_rate("f16", device->f16_flops, "FLOP/s", "product of random matrices");
    print_rate("bf16", device->bf16_flops, "FLOP/s", "");
    print_rate("f16", device->f16_burst_flops, "FLOP/s", "in 40 ms after 0.5 s of rest");
    print_rate("bf16", device->bf16_burst_flops, "FLOP/s", "");
    print_rate("read", device->read_bytes_s, "B/s", "");
    print_rate("copy", device->copy_bytes_s, "B/s", "read and written");
    print_rate("gather", device->gather_128_bytes_s, "B/s", "rows of 128 bytes at random places");
    print_rate("gather", device->gather_256_bytes_s, "B/s", "256 bytes");
    print_rate("gather", device->gather_512_bytes_s, "B/s", "512 bytes");
    print_rate("gather", device->gather_1024_bytes_s, "B/s", "1024 bytes");
    print_time("launch", device->launch_us, "an empty kernel alone");
    print_time("launch", device->graph_launch_us, "one of many in a graph");
}

static void print_machine(const struct machine *machine) {
    printf("cpu       ");
    print_words(stdout, VALUE_AT, VALUE_AT, "%s, %s, %s", machine->cpu,
                number_count(machine->cores, "core").text, machine->isa);
    printf("caches    %s last level, memory %s\n", number_bytes((double)host_cache_bytes()).text,
           number_bytes(machine->memory_bytes).text);
    printf("blas      ");
    print_words(stdout, VALUE_AT, VALUE_AT, "%s", machine->blas);
    print_rate("dgemm", machine->dgemm_flops, "FLOP/s", "1024^3");
    print_rate("sgemm", machine->sgemm_flops, "FLOP/s", "1024^3");
    print_rate("fma f32", machine->fma_flops, "FLOP/s", "in registers");
    print_rate("read", machine->read_bytes_s, "B/s", "");
    print_rate("copy", machine->copy_bytes_s, "B/s", "read and written");
    for (int64_t n = 0; n < machine->device_count; n++) print_device(&machine->devices[n]);
}

static int probe_run(int argc, char **argv) {
    struct arguments arguments = {.seconds = 5};
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    struct machine machine;
    machine_describe(&machine, argc, argv);
    probe_measure(&machine, arguments.threads, arguments.seconds);
    probe_devices(&machine, arguments.seconds);
    if (arguments.json)
        print_json(stdout, machine_to_json(&machine), JSON_INDENT(2));
    else
        print_machine(&machine);
    return 0;
}

const struct verb verb_probe = {
    .name = "probe",
    .arguments = "",
    .summary = "the machine's ceilings",
    .argp = &argp,
    .run = probe_run,
};
