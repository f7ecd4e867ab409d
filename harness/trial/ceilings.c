#include "ceilings.h"
#include "../worker/host.h"
#include "../../fixtures/fixture.h"
#include "../../fixtures/replace.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "ceilings-NVIDIA_H200.json", in the cache's folder. */
static void path_of(const char *name, char path[4096]) {
    char file[160], entry[4096];
    size_t used = (size_t)snprintf(file, sizeof file, "ceilings-");
    for (; *name != '\0' && used + 1 < sizeof file; name++)
        file[used++] = (char)(isalnum((unsigned char)*name) ? *name : '_');
    file[used] = '\0';
    fixture_cache_path("", entry); /* FOLDER/.h5 */
    snprintf(path, 4096, "%.*s/%s.json", (int)(strrchr(entry, '/') - entry), entry, file);
}

/* A run without rows. */
static void keep(const char *name, const struct machine *machine) {
    char path[4096];
    struct replace replace = {0};
    struct fault fault;
    path_of(name, path);
    json_t *json = machine_to_json(machine);
    if (replace_begin_entry(&replace, path, &fault)) {
        FILE *file = fopen(replace.temporary, "we");
        bool well = file != NULL && json_dumpf(json, file, JSON_COMPACT) == 0;
        well = well && fputc('\n', file) != EOF;
        if (file != NULL && fclose(file) == 0 && well) replace_commit(&replace, &fault);
    }
    replace_abort(&replace);
    json_decref(json);
}

/* What was measured in haste is for others in haste. */
static bool recall(const char *name, const struct machine *machine, struct run *kept) {
    char path[4096];
    struct fault fault;
    path_of(name, path);
    if (!run_read(kept, path, &fault)) return false;
    if (kept->machine.haste == machine->haste) return true;
    run_free(kept);
    return false;
}

static void settle_cpu(struct machine *machine, int threads) {
    char name[160];
    struct run kept;
    snprintf(name, sizeof name, "%s %d", machine->cpu, threads > 0 ? threads : host_cores());
    if (machine->fma_flops > 0) {
        struct machine alone = *machine;
        alone.device_count = 0;
        snprintf(machine->ceilings, sizeof machine->ceilings, "measured");
        keep(name, &alone);
    } else if (recall(name, machine, &kept)) {
        machine->dgemm_flops = kept.machine.dgemm_flops;
        machine->sgemm_flops = kept.machine.sgemm_flops;
        machine->fma_flops = kept.machine.fma_flops;
        machine->read_bytes_s = kept.machine.read_bytes_s;
        machine->copy_bytes_s = kept.machine.copy_bytes_s;
        snprintf(machine->ceilings, sizeof machine->ceilings, "kept");
        run_free(&kept);
    }
}

static void settle_device(struct machine *machine, struct machine_device *device) {
    struct run kept;
    if (device->read_bytes_s > 0) {
        struct machine alone = *machine;
        alone.device_count = 1;
        alone.devices[0] = *device;
        snprintf(device->ceilings, sizeof device->ceilings, "measured");
        keep(device->name, &alone);
    } else if (recall(device->name, machine, &kept)) {
        const struct machine_device identity = *device;
        if (kept.machine.device_count == 1 && !strcmp(kept.machine.devices[0].name, device->name)) {
            *device = kept.machine.devices[0];
            snprintf(device->driver, sizeof device->driver, "%s", identity.driver);
            device->index = identity.index;
            device->ecc = identity.ecc;
            snprintf(device->ceilings, sizeof device->ceilings, "kept");
        }
        run_free(&kept);
    }
}

void ceilings_settle(struct machine *machine, int threads) {
    settle_cpu(machine, threads);
    for (int64_t n = 0; n < machine->device_count; n++)
        settle_device(machine, &machine->devices[n]);
}

/* NVIDIA's data sheets: H200 (2024), H100 (2023; SXM, PCIe, NVL), A100 (2021; SXM4 and PCIe, 40 and
 * 80 GB), L40S (2023), the Blackwell architecture's brief (2024; a B200 of an HGX) and that of the
 * Ada architecture (2023; RTX 4090, sums in f16). Rates with sparsity are halved. The first whose
 * words are all in the name, the more particular before. */
struct ceilings ceilings_of_sheet(const char *name) {
    static const struct {
        const char *words[2];
        struct ceilings ceilings;
    } sheets[] = {
        {{"H200", ""}, {989.5e12, 4.8e12}},          {{"H100", "PCIe"}, {756e12, 2.0e12}},
        {{"H100", "NVL"}, {835.5e12, 3.9e12}},       {{"H100", ""}, {989.5e12, 3.35e12}},
        {{"A100", "SXM4-40GB"}, {312e12, 1.555e12}}, {{"A100", "PCIE-40GB"}, {312e12, 1.555e12}},
        {{"A100", "PCIe"}, {312e12, 1.935e12}},      {{"A100", ""}, {312e12, 2.039e12}},
        {{"B200", ""}, {2250e12, 8.0e12}},           {{"L40S", ""}, {362e12, 0.864e12}},
        {{"RTX 4090", ""}, {330.3e12, 1.008e12}},
    };
    for (size_t n = 0; n < sizeof sheets / sizeof sheets[0]; n++) {
        /* A GB200 and a GH200 are no B200 and H200. */
        const char *found = strstr(name, sheets[n].words[0]);
        if (found != NULL && (found == name || found[-1] == ' ') &&
            strstr(name, sheets[n].words[1]) != NULL)
            return sheets[n].ceilings;
    }
    return (struct ceilings){0};
}

/* The highest clock that the kernel knows of any core, in Hz; 6 GHz, which no server's has, where
 * it tells none. */
static double clock_max(void) {
    double highest = 6e9, khz;
    FILE *file = fopen("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "re");
    if (file == NULL) return highest;
    if (fscanf(file, "%lf", &khz) == 1 && khz > 0) highest = khz * 1e3;
    fclose(file);
    return highest;
}

/* Two units a core as wide as the instructions go, two operations each; no core reads 100 GB/s (of
 * those that do most, Apple's and Nvidia's Arm cores, one reads half of that to all of it). */
struct ceilings ceilings_bound(int64_t cores, const char *isa) {
    const double lanes = strstr(isa, "avx512") != NULL ? 16 : strstr(isa, "avx2") != NULL ? 8 : 4;
    const double units = lanes > 4 ? 2 : 4; /* Arm's cores have four units of four lanes */
    return (struct ceilings){(double)cores * clock_max() * units * lanes * 2,
                             (double)cores * 100e9};
}
