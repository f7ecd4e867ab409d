/* A stand-in for libnvidia-ml.so.1 with one GPU, at 0000:17:00.0: every reading is the number in an
 * environment variable, and one that this GPU does not have where that is not set. STANDIN_OLD
 * makes the library of an old driver: it has the older names only, and knows nothing of
 * temperatures. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TIMEOUT = 10 };

#ifdef STANDIN_OLD
#define NAME(now, older) older
#else
#define NAME(now, older) now
#endif

struct event {
    void *device;
    unsigned long long type, data;
#ifndef STANDIN_OLD
    unsigned gpu_instance, compute_instance;
#endif
};

static char gpu, set;
static int users;
static bool listening;
static int delivered; /* of $STANDIN_XIDS */

static int answer(const char *variable, unsigned long long *value) {
    const char *text = users > 0 ? getenv(variable) : NULL;
    if (text == NULL) return NOT_SUPPORTED;
    *value = strtoull(text, NULL, 0);
    return SUCCESS;
}

static int answer_small(const char *variable, unsigned *value) {
    unsigned long long wide = 0;
    const int result = answer(variable, &wide);
    if (result == SUCCESS) *value = (unsigned)wide;
    return result;
}

int NAME(nvmlInit_v2, nvmlInit)(void) {
    if (getenv("STANDIN_NVML_DEAD") != NULL) return NOT_SUPPORTED;
    users++;
    return SUCCESS;
}

int nvmlShutdown(void) {
    users--;
    return SUCCESS;
}

int NAME(nvmlDeviceGetHandleByPciBusId_v2, nvmlDeviceGetHandleByPciBusId)(const char *bus,
                                                                          void **device) {
    if (strcmp(bus, "0000:17:00.0") != 0) return NOT_FOUND;
    *device = &gpu;
    return users > 0 ? SUCCESS : NOT_SUPPORTED;
}

int nvmlDeviceGetClockInfo(void *device, int clock, unsigned *mhz) {
    if (device != &gpu || clock != 1) return INVALID_ARGUMENT; /* 1: SM */
    return answer_small("STANDIN_MHZ", mhz);
}

int nvmlDeviceGetMaxClockInfo(void *device, int clock, unsigned *mhz) {
    if (device != &gpu || clock != 1) return INVALID_ARGUMENT;
    return answer_small("STANDIN_MHZ_MAX", mhz);
}

#ifndef STANDIN_OLD
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius) {
    if (device != &gpu || sensor != 0) return INVALID_ARGUMENT;
    return answer_small("STANDIN_CELSIUS", celsius);
}
#endif

int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts) {
    return device == &gpu ? answer_small("STANDIN_MILLIWATTS", milliwatts) : INVALID_ARGUMENT;
}

int NAME(nvmlDeviceGetCurrentClocksEventReasons,
         nvmlDeviceGetCurrentClocksThrottleReasons)(void *device, unsigned long long *reasons) {
    return device == &gpu ? answer("STANDIN_REASONS", reasons) : INVALID_ARGUMENT;
}

int nvmlDeviceGetTotalEccErrors(void *device, int type, int counter, unsigned long long *count) {
    if (device != &gpu || type != 1 || counter != 0) return INVALID_ARGUMENT;
    return answer("STANDIN_ECC_ERRORS", count);
}

int nvmlDeviceGetEccMode(void *device, int *now, int *pending) {
    unsigned mode = 0;
    const int result = device == &gpu ? answer_small("STANDIN_ECC", &mode) : (int)INVALID_ARGUMENT;
    if (result == SUCCESS) *now = *pending = (int)mode;
    return result;
}

int nvmlEventSetCreate(void **events) {
    *events = &set;
    return SUCCESS;
}

int nvmlEventSetFree(void *events) {
    listening = false;
    return events == &set ? SUCCESS : INVALID_ARGUMENT;
}

int nvmlDeviceRegisterEvents(void *device, unsigned long long types, void *events) {
    if (device != &gpu || events != &set) return INVALID_ARGUMENT;
    listening = types & 8;
    return getenv("STANDIN_XIDS") != NULL ? SUCCESS : NOT_SUPPORTED;
}

/* $STANDIN_XIDS, "79 31", is what happens one after the other; 0 is an event of another kind. */
int NAME(nvmlEventSetWait_v2, nvmlEventSetWait)(void *events, struct event *event,
                                                unsigned timeout_ms) {
    char *at = getenv("STANDIN_XIDS");
    if (events != &set || !listening || timeout_ms != 0 || at == NULL) return INVALID_ARGUMENT;
    unsigned long long xid = 0;
    for (int n = 0; n <= delivered; n++) {
        char *end = at;
        xid = strtoull(at, &end, 10);
        if (end == at) return TIMEOUT;
        at = end;
    }
    delivered++;
    *event = (struct event){.device = &gpu, .type = xid != 0 ? 8 : 16, .data = xid};
    return SUCCESS;
}
