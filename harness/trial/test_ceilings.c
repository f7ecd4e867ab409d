/* What is known of a machine without measuring it. */
#include "ceilings.h"
#include "../../fixtures/test_folder.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* A machine with a GPU, of which so much is known. */
static struct machine *machine_of(const char *cpu, const char *gpu, double rate) {
    struct machine *machine = calloc(1, sizeof *machine);
    cr_assert(machine != NULL);
    snprintf(machine->cpu, sizeof machine->cpu, "%s", cpu);
    machine->fma_flops = machine->read_bytes_s = rate;
    machine->device_count = 1;
    snprintf(machine->devices[0].name, sizeof machine->devices[0].name, "%s", gpu);
    machine->devices[0].index = 3;
    machine->devices[0].read_bytes_s = machine->devices[0].gather_128_bytes_s = rate;
    return machine;
}

static bool knows(const char *cpu, const char *gpu, int threads, double cpu_rate, double gpu_rate) {
    struct machine *machine = machine_of(cpu, gpu, 0);
    ceilings_settle(machine, threads);
    const struct machine_device *device = &machine->devices[0];
    const bool as_said = machine->fma_flops == cpu_rate && machine->read_bytes_s == cpu_rate &&
                         !strcmp(machine->ceilings, cpu_rate > 0 ? "kept" : "") &&
                         device->gather_128_bytes_s == gpu_rate &&
                         device->read_bytes_s == gpu_rate &&
                         !strcmp(device->ceilings, gpu_rate > 0 ? "kept" : "") &&
                         device->index == 3 && !strcmp(device->name, gpu);
    free(machine);
    return as_said;
}

Test(ceilings, are_kept_for_the_next_run_on_such_a_machine) {
    char folder[64];
    test_folder_make(folder);
    setenv("ATTEST_CACHE", folder, 1);
    cr_assert(knows("a/b @ 2", "GPU", 2, 0, 0));
    struct machine *machine = machine_of("a/b @ 2", "GPU", 5);
    ceilings_settle(machine, 2);
    cr_assert(!strcmp(machine->ceilings, "measured"));
    cr_assert(!strcmp(machine->devices[0].ceilings, "measured") && machine->device_count == 1);
    free(machine);
    cr_assert(knows("a/b @ 2", "GPU", 2, 5, 5));
    cr_assert(knows("a/b @ 2", "GPU 2", 2, 5, 0));
    cr_assert(knows("a/b @ 2", "GPU", 1, 0, 5), "another number of threads is another ceiling");
    cr_assert(knows("c", "GPU", 2, 0, 5));
    machine = machine_of("a/b @ 2", "GPU", 7);
    ceilings_settle(machine, 2);
    free(machine);
    cr_assert(knows("a/b @ 2", "GPU", 2, 7, 7), "the last ones");
    test_folder_remove(folder);
    cr_assert(knows("a/b @ 2", "GPU", 2, 0, 0), "without the folder nothing is known");
}

Test(ceilings, of_data_sheets_go_by_whole_names) {
    static const struct {
        const char *name;
        double flops, bytes_s;
    } expected[] = {
        {"NVIDIA H200", 989.5e12, 4.8e12},           {"NVIDIA H100 80GB HBM3", 989.5e12, 3.35e12},
        {"NVIDIA H100 PCIe", 756e12, 2.0e12},        {"NVIDIA A100-SXM4-40GB", 312e12, 1.555e12},
        {"NVIDIA A100-SXM4-80GB", 312e12, 2.039e12}, {"NVIDIA GH200 480GB", 0, 0},
        {"NVIDIA GeForce RTX 3090", 0, 0},           {"", 0, 0},
    };
    for (size_t n = 0; n < sizeof expected / sizeof expected[0]; n++) {
        const struct ceilings sheet = ceilings_of_sheet(expected[n].name);
        cr_assert(sheet.flops == expected[n].flops && sheet.bytes_s == expected[n].bytes_s, "%s",
                  expected[n].name);
    }
}

Test(ceilings, that_no_cpu_reaches_grow_with_it) {
    const struct ceilings two = ceilings_bound(2, "x86-64 avx2"),
                          four = ceilings_bound(4, "x86-64 avx2 avx512");
    cr_assert(two.flops > 10e9 && four.flops == 4 * two.flops && four.bytes_s == 2 * two.bytes_s);
}
