/* attest probe: the machine's ceilings, as every run measures them at its start, but longer. */
#include "../trial/devices.h"
#include "../trial/machine.h"
#include "../trial/probe.h"
#include "../verb.h"
#include "../worker/host.h"

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
    struct fault fault = {0};
    if (!devices_find(ATTN_CUDA, machine->devices, &machine->device_count, verb_program(), &fault))
        fault_tell(&fault);
    for (int64_t n = 0; n < machine->device_count; n++) {
        if (!devices_probe(&machine->devices[n], verb_program(), verb_probes(), seconds, &fault))
            fault_tell(&fault);
    }
}

static void print_device(const struct machine_device *device) {
    printf("\n%s:%lld    %s, %s, %lld multiprocessors\n", device->device, (long long)device->index,
           device->name, device->driver, (long long)device->processors);
    printf("caches    %.0f MiB L2, memory %.1f GiB\n", device->cache_bytes / 1048576,
           device->memory_bytes / 1073741824);
    if (!(device->read_bytes_s > 0)) {
        printf("          not measured: there is no probe for it here\n");
        return;
    }
    printf("f16       %8.1f TFLOP/s  product of random matrices\n", device->f16_flops * 1e-12);
    printf("bf16      %8.1f TFLOP/s\n", device->bf16_flops * 1e-12);
    printf("read      %8.1f GB/s\n", device->read_bytes_s * 1e-9);
    printf("copy      %8.1f GB/s     read and written\n", device->copy_bytes_s * 1e-9);
    printf("gather    %8.1f GB/s     rows of 128 bytes at random places\n",
           device->gather_128_bytes_s * 1e-9);
    printf("gather    %8.1f GB/s     256 bytes\n", device->gather_256_bytes_s * 1e-9);
    printf("gather    %8.1f GB/s     512 bytes\n", device->gather_512_bytes_s * 1e-9);
    printf("gather    %8.1f GB/s     1024 bytes\n", device->gather_1024_bytes_s * 1e-9);
    printf("launch    %8.2f us       an empty kernel alone\n", device->launch_us);
    printf("launch    %8.2f us       one of many in a graph\n", device->graph_launch_us);
}

static int probe_run(int argc, char **argv) {
    struct arguments arguments = {.seconds = 5};
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    struct machine machine;
    machine_describe(&machine, argc, argv);
    probe_measure(&machine, arguments.threads, arguments.seconds);
    probe_devices(&machine, arguments.seconds);
    if (arguments.json) {
        json_t *json = machine_to_json(&machine);
        json_dumpf(json, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(json);
        return 0;
    }
    printf("cpu       %s, %lld cores, %s\n", machine.cpu, (long long)machine.cores, machine.isa);
    printf("caches    %.0f MiB last level, memory %.1f GiB\n", (double)host_cache_bytes() / 1048576,
           machine.memory_bytes / 1073741824);
    printf("blas      %s\n", machine.blas);
    printf("dgemm     %8.1f GFLOP/s  1024^3\n", machine.dgemm_flops * 1e-9);
    printf("sgemm     %8.1f GFLOP/s  1024^3\n", machine.sgemm_flops * 1e-9);
    printf("fma f32   %8.1f GFLOP/s  in registers\n", machine.fma_flops * 1e-9);
    printf("read      %8.1f GB/s\n", machine.read_bytes_s * 1e-9);
    printf("copy      %8.1f GB/s     read and written\n", machine.copy_bytes_s * 1e-9);
    for (int64_t n = 0; n < machine.device_count; n++) print_device(&machine.devices[n]);
    return 0;
}

const struct verb verb_probe = {
    .name = "probe",
    .arguments = "",
    .summary = "the machine's ceilings",
    .argp = &argp,
    .run = probe_run,
};
