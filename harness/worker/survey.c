/* A device says what it is; what it can reach, the library that was built with its kernels says. */
#include "survey.h"
#include "device.h"
#include "driver.h"
#include "probe_library.h"
#include "protocol.h"

#include <dlfcn.h>
#include <limits.h>
#include <string.h>

static const struct device *device_named(const json_t *request) {
    const char *name = json_string_value(json_object_get(request, "device"));
    for (const struct driver *driver = drivers; name != NULL && driver->meaning != NULL; driver++) {
        if (!strcmp(name, device_name(driver->device))) return device_find(driver->device);
    }
    return NULL;
}

json_t *survey_devices(const json_t *request) {
    const struct device *device = device_named(request);
    json_t *list = json_array();
    const int count = device != NULL && device->count != NULL ? device->count() : 0;
    for (int index = 0; index < count; index++) {
        json_t *json = json_pack("{s:s, s:i}", "device", device_name(device->kind), "index", index);
        device->describe(index, json);
        json_array_append_new(list, json);
    }
    return json_pack("{s:b, s:o}", "ok", 1, "devices", list);
}

json_t *survey_probe(const json_t *request) {
    const struct device *device = device_named(request);
    char room[PATH_MAX];
    const char *path = path_from_json(json_object_get(request, "library"), room);
    struct attn_call call = {
        .device_index = (int32_t)json_integer_value(json_object_get(request, "device_index"))};
    if (device == NULL || path == NULL) return refusal_json("error", "probe without a device");
    const char *reason = device->open(&call);
    if (reason != NULL) return refusal_json("refused", reason);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return refusal_json("refused", dlerror());
    const char *(*probe)(void *stream, double seconds, struct probe_ceilings *ceilings);
    *(void **)&probe = dlsym(library, "attest_probe");
    if (probe == NULL) return refusal_json("error", "the library exports no attest_probe");
    struct probe_ceilings found = {0};
    reason = probe(call.stream, json_number_value(json_object_get(request, "seconds")), &found);
    if (reason != NULL) return failure_json(reason);
    return json_pack("{s:b, s:{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}}", "ok",
                     1, "ceilings", "copy_bytes_s", found.copy_bytes_s, "read_bytes_s",
                     found.read_bytes_s, "gather_128_bytes_s", found.gather_bytes_s[0],
                     "gather_256_bytes_s", found.gather_bytes_s[1], "gather_512_bytes_s",
                     found.gather_bytes_s[2], "gather_1024_bytes_s", found.gather_bytes_s[3],
                     "f16_flops", found.f16_flops, "bf16_flops", found.bf16_flops,
                     "f16_burst_flops", found.f16_burst_flops, "bf16_burst_flops",
                     found.bf16_burst_flops, "launch_us", found.launch_us, "graph_launch_us",
                     found.graph_launch_us);
}
