/* Which of several machines of a kind is slower than its like. */
#include "compare.h"
#include "hosts.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static struct machine machine_of(const char *host, int64_t gpus, const double *read_bytes_s) {
    struct machine machine = {.cores = 2, .device_count = gpus};
    snprintf(machine.host, sizeof machine.host, "%s", host);
    for (int64_t n = 0; n < gpus; n++) {
        struct machine_device *device = &machine.devices[n];
        strcpy(device->device, "cuda");
        strcpy(device->name, "NVIDIA H200");
        strcpy(device->ceilings, "measured");
        device->index = n;
        device->read_bytes_s = read_bytes_s[n];
        device->f16_flops = 7e14;
    }
    return machine;
}

static struct row row_on(const char *device, int64_t index, double control_us) {
    struct row row = {.device_index = index, .warm = {.n = 9}};
    for (int third = 0; third < 3; third++) row.warm.control_us[third] = control_us;
    strcpy(row.device, device);
    return row;
}

static int64_t add(struct hosts *hosts, const struct machine *machine, const char *device,
                   int64_t index, double control_us) {
    const struct row row = row_on(device, index, control_us);
    return hosts_add(hosts, machine, &row);
}

Test(hosts, one_gpu_of_several_is_slower) {
    struct hosts hosts = {0};
    const struct machine first = machine_of("a", 2, (const double[]){4e12, 3.6e12});
    const struct machine second = machine_of("b", 1, (const double[]){4e12});
    for (int n = 0; n < 3; n++) {
        add(&hosts, &first, "cuda", 0, 15);
        add(&hosts, &first, "cuda", 1, 15);
        /* it was busy once, which is not what it is */
        add(&hosts, &second, "cuda", 0, n == 0 ? 30 : 15);
    }
    hosts_settle(&hosts);
    cr_assert(hosts.count == 3);
    for (int64_t n = 0; n < 3; n++) cr_assert(hosts.list[n].others == 2);
    cr_assert_str_eq(hosts.list[1].name, "a cuda:1");
    cr_assert_str_eq(hosts.list[0].slower, "");
    cr_assert_str_eq(hosts.list[1].slower, "reading is slower by 11 %");
    cr_assert_str_eq(hosts.list[2].slower, "");
    cr_assert(fabs(hosts.list[1].read_ratio - 0.9) < 1e-9);
    hosts_free(&hosts);
}

Test(hosts, of_a_kind_alone_nothing_is_said_and_what_was_kept_is_anothers) {
    struct hosts hosts = {0};
    struct machine first = machine_of("a", 1, (const double[]){4e12});
    struct machine kept = machine_of("c", 1, (const double[]){1e12});
    strcpy(kept.devices[0].ceilings, "kept");
    strcpy(first.cpu, "a CPU");
    add(&hosts, &first, "cpu", 0, 13);
    add(&hosts, &first, "cuda", 0, 15);
    add(&hosts, &kept, "cuda", 0, 15);
    hosts_settle(&hosts);
    cr_assert(hosts.count == 3 && hosts.list[0].others == 0);
    for (int64_t n = 0; n < 3; n++) cr_assert_str_eq(hosts.list[n].slower, "");
    cr_assert(isnan(hosts.list[0].control_ratio) && isnan(hosts.list[2].read_bytes_s));
    hosts_free(&hosts);
}

/* Containers have a name each, and clones of a machine one. */
Test(hosts, a_gpu_is_known_by_its_uuid) {
    struct hosts hosts = {0};
    struct machine first = machine_of("vm", 1, (const double[]){4e12});
    struct machine clone = first, container = machine_of("1f3a", 1, (const double[]){4e12});
    strcpy(first.devices[0].uuid, "GPU-1");
    strcpy(clone.devices[0].uuid, "GPU-2");
    strcpy(container.devices[0].uuid, "GPU-1");
    cr_assert(add(&hosts, &first, "cuda", 0, 15) == 0);
    cr_assert(add(&hosts, &clone, "cuda", 0, 18) == 1);
    cr_assert(add(&hosts, &container, "cuda", 0, 15) == 0);
    hosts_settle(&hosts);
    cr_assert_str_eq(hosts.list[0].slower, "");
    cr_assert_str_eq(hosts.list[1].slower, "its control is slower by 20 %");
    hosts_free(&hosts);
    const struct row row = row_on("cuda", 0, 15);
    cr_assert(machines_are_one(&first, &row, &container, &row));
    cr_assert(!machines_are_one(&first, &row, &clone, &row));
    clone.devices[0].uuid[0] = '\0';
    cr_assert(machines_are_one(&first, &row, &clone, &row)); /* as far as is known */
}

/* Times are comparable on one kind of GPU, whatever host it is in, and timed in one way. */
Test(hosts, rows_of_a_gpu_are_alike_by_its_name) {
    char text[512];
    const struct row gpu = row_on("cuda", 0, 15), cpu = row_on("cpu", 0, 15);
    struct machine first = machine_of("a", 1, (const double[]){4e12}), second = first;
    strcpy(first.cpu, "a CPU");
    strcpy(second.cpu, "another");
    second.cores = 64;
    cr_assert(rows_alike(&first, &gpu, &second, &gpu, text) && text[0] == '\0');
    cr_assert(!rows_alike(&first, &cpu, &second, &cpu, text));
    cr_assert_str_eq(text, "CPU 'a CPU' and 'another', cores 2 and 64");
    strcpy(first.gpus_timed, "in turn"); /* and of the other it is not known */
    cr_assert(rows_alike(&first, &gpu, &second, &gpu, text));
    strcpy(second.gpus_timed, "together");
    cr_assert(!rows_alike(&first, &gpu, &second, &gpu, text));
    cr_assert_str_eq(text, "GPUs timed 'in turn' and 'together'");
    strcpy(second.gpus_timed, "in turn");
    strcpy(second.devices[0].name, "NVIDIA H100");
    cr_assert(!rows_alike(&first, &gpu, &second, &gpu, text));
    cr_assert_str_eq(text, "device 'NVIDIA H200' and 'NVIDIA H100'");
    /* a GPU beside a CPU is none of its rows' business */
    second = first;
    second.device_count = 0;
    cr_assert(rows_alike(&first, &cpu, &second, &cpu, text));
    second.haste = 20;
    cr_assert(!rows_alike(&first, &cpu, &second, &cpu, text));
    cr_assert_str_eq(text, "haste 0 and 20");
}
