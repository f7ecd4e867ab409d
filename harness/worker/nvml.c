/* NVML by dlopen, with the few of its values that are needed declared here: this file builds
 * without the toolkit. What the library has not, or declines for this GPU, is one reading that is
 * not known; the others stand. */
#include "nvml.h"

#include <dlfcn.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NVML_SUCCESS = 0,
    CLOCK_SM = 1,
    TEMPERATURE_GPU = 0,
    ECC_ON = 1,
    ERRORS_UNCORRECTED = 1,
    SINCE_DRIVER_LOADED = 0, /* NVML: volatile; its other counter is for the card's life */
    NO_WAIT_MS = 0,
};

static const unsigned long long xid_event = 8;

/* As nvmlEventSetWait_v2 fills it; nvmlEventSetWait, the older, ends with `number`. */
struct event {
    void *device;
    unsigned long long type, number;
    unsigned gpu_instance, compute_instance;
};

/* X(our name, the library's, an older one of the same arguments, arguments). */
/* clang-format off */
#define NVML_FUNCTIONS(X)                                                                          \
    X(init, nvmlInit_v2, nvmlInit, (void))                                                         \
    X(shutdown, nvmlShutdown, nvmlShutdown, (void))                                                \
    X(by_bus, nvmlDeviceGetHandleByPciBusId_v2, nvmlDeviceGetHandleByPciBusId,                     \
      (const char *pci_bus_id, void **gpu))                                                        \
    X(clock, nvmlDeviceGetClockInfo, nvmlDeviceGetClockInfo,                                       \
      (void *gpu, int clock, unsigned *mhz))                                                       \
    X(clock_max, nvmlDeviceGetMaxClockInfo, nvmlDeviceGetMaxClockInfo,                             \
      (void *gpu, int clock, unsigned *mhz))                                                       \
    X(temperature, nvmlDeviceGetTemperature, nvmlDeviceGetTemperature,                             \
      (void *gpu, int sensor, unsigned *celsius))                                                  \
    X(power, nvmlDeviceGetPowerUsage, nvmlDeviceGetPowerUsage, (void *gpu, unsigned *milliwatts))  \
    X(reasons, nvmlDeviceGetCurrentClocksEventReasons, nvmlDeviceGetCurrentClocksThrottleReasons,  \
      (void *gpu, unsigned long long *reasons))                                                    \
    X(errors, nvmlDeviceGetTotalEccErrors, nvmlDeviceGetTotalEccErrors,                            \
      (void *gpu, int type, int since, unsigned long long *count))                                 \
    X(ecc_mode, nvmlDeviceGetEccMode, nvmlDeviceGetEccMode, (void *gpu, int *now, int *pending))   \
    X(set_create, nvmlEventSetCreate, nvmlEventSetCreate, (void **set))                            \
    X(set_free, nvmlEventSetFree, nvmlEventSetFree, (void *set))                                   \
    X(set_add, nvmlDeviceRegisterEvents, nvmlDeviceRegisterEvents,                                 \
      (void *gpu, unsigned long long types, void *set))                                            \
    X(set_wait, nvmlEventSetWait_v2, nvmlEventSetWait,                                             \
      (void *set, struct event *event, unsigned timeout_ms))
/* clang-format on */

/* Any function is NULL where the library has none. */
static struct nvml {
#define NVML_X(name, symbol, older, arguments) int(*name) arguments;
    NVML_FUNCTIONS(NVML_X)
#undef NVML_X
    void *library, *gpu;
    void *events; /* NULL: nobody listens */
} nvml;

/* Those not here are no slowdown: an idle GPU, for one. */
static const struct {
    uint64_t bit;
    const char *name;
} reasons[] = {
    {0x2, "app_clocks"},  {0x4, "sw_power_cap"}, {0x8, "hw_slowdown"},     {0x10, "sync_boost"},
    {0x20, "sw_thermal"}, {0x40, "hw_thermal"},  {0x80, "hw_power_brake"}, {0x100, "display"},
};
enum { REASON_COUNT = sizeof reasons / sizeof reasons[0] };

static void find_functions(void) {
    static const struct {
        const char *symbol, *older;
        size_t offset;
    } wanted[] = {
#define NVML_X(name, symbol, older, arguments) {#symbol, #older, offsetof(struct nvml, name)},
        NVML_FUNCTIONS(NVML_X)
#undef NVML_X
    };
    for (size_t n = 0; n < sizeof wanted / sizeof wanted[0]; n++) {
        void *function = dlsym(nvml.library, wanted[n].symbol);
        if (function == NULL) function = dlsym(nvml.library, wanted[n].older);
        memcpy((char *)&nvml + wanted[n].offset, &function, sizeof function);
    }
}

static void listen_for_xids(void) {
    if (nvml.set_create == NULL || nvml.set_add == NULL || nvml.set_wait == NULL ||
        nvml.set_free == NULL || nvml.set_create(&nvml.events) != NVML_SUCCESS) {
        nvml.events = NULL;
    } else if (nvml.set_add(nvml.gpu, xid_event, nvml.events) != NVML_SUCCESS) {
        nvml.set_free(nvml.events);
        nvml.events = NULL;
    }
}

bool nvml_open(const char *pci_bus_id) {
    nvml_close();
    const char *path = getenv("ATTEST_NVML");
    nvml.library = dlopen(path != NULL ? path : "libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (nvml.library == NULL) return false;
    find_functions();
    const bool begun = nvml.init != NULL && nvml.init() == NVML_SUCCESS;
    if (!begun) nvml.shutdown = NULL;
    if (!begun || nvml.by_bus == NULL || nvml.by_bus(pci_bus_id, &nvml.gpu) != NVML_SUCCESS) {
        nvml_close();
        return false;
    }
    listen_for_xids();
    return true;
}

void nvml_close(void) {
    if (nvml.events != NULL) nvml.set_free(nvml.events);
    if (nvml.shutdown != NULL) nvml.shutdown();
    if (nvml.library != NULL) dlclose(nvml.library);
    nvml = (struct nvml){0};
}

static double ask(int (*query)(void *gpu, int kind, unsigned *value), int kind) {
    unsigned value;
    return query != NULL && query(nvml.gpu, kind, &value) == NVML_SUCCESS ? (double)value : NAN;
}

void nvml_read(struct nvml_reading *reading) {
    unsigned milliwatts;
    unsigned long long bits = 0;
    *reading = (struct nvml_reading){
        .sm_mhz = ask(nvml.clock, CLOCK_SM),
        .celsius = ask(nvml.temperature, TEMPERATURE_GPU),
        .watts = NAN,
    };
    if (nvml.power != NULL && nvml.power(nvml.gpu, &milliwatts) == NVML_SUCCESS)
        reading->watts = milliwatts * 1e-3;
    if (nvml.reasons == NULL || nvml.reasons(nvml.gpu, &bits) != NVML_SUCCESS) return;
    for (int n = 0; n < REASON_COUNT; n++) reading->reasons |= bits & reasons[n].bit;
}

const char *nvml_reasons_text(uint64_t bits, char text[96]) {
    size_t used = 0;
    text[0] = '\0';
    for (int n = 0; n < REASON_COUNT; n++) {
        if (bits & reasons[n].bit) /* all of them take 92 */
            used += (size_t)snprintf(text + used, 96 - used, "%s%s", used > 0 ? " " : "",
                                     reasons[n].name);
    }
    return text;
}

int64_t nvml_uncorrected_errors(void) {
    unsigned long long count;
    if (nvml_ecc() != 1 || nvml.errors == NULL ||
        nvml.errors(nvml.gpu, ERRORS_UNCORRECTED, SINCE_DRIVER_LOADED, &count) != NVML_SUCCESS)
        return -1;
    return (int64_t)count;
}

int64_t nvml_ecc(void) {
    int now, pending;
    if (nvml.ecc_mode == NULL || nvml.ecc_mode(nvml.gpu, &now, &pending) != NVML_SUCCESS) return -1;
    return now == ECC_ON;
}

int64_t nvml_xid(void) {
    int64_t first = 0;
    struct event event = {0};
    while (nvml.events != NULL && nvml.set_wait(nvml.events, &event, NO_WAIT_MS) == NVML_SUCCESS) {
        if (first == 0 && event.type == xid_event) first = (int64_t)event.number;
    }
    return first;
}

double nvml_clock_max(void) {
    return ask(nvml.clock_max, CLOCK_SM);
}
