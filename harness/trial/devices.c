#include "devices.h"
#include "client.h"
#include "../worker/protocol.h"

#include <stdio.h>
#include <string.h>

/* Asks a worker that is there for this question only. NULL: there is none, or it said no; the
 * worker may have died of a driver, which is no fault of ours. */
static json_t *ask_worker(const char *program, json_t *request, double seconds,
                          struct fault *fault) {
    struct client client;
    if (!client_start(&client, program, NULL, fault)) {
        json_decref(request);
        return NULL;
    }
    json_t *reply = client_ask(&client, request, seconds);
    client_stop(&client);
    if (reply != NULL && json_is_true(json_object_get(reply, "ok"))) return reply;
    const char *text = json_string_value(json_object_get(reply, "text"));
    fault_set(fault, FAULT_INPUT, "%s", text != NULL ? text : "a worker ended without an answer");
    json_decref(reply);
    return NULL;
}

bool devices_find(enum attn_device kind, struct machine_device *devices, int64_t *count,
                  const char *program, struct fault *fault) {
    size_t n;
    json_t *item;
    *count = 0;
    json_t *reply = ask_worker(
        program, json_pack("{s:s, s:s}", "op", "devices", "device", device_name(kind)), 60, fault);
    if (reply == NULL) return false;
    json_array_foreach(json_object_get(reply, "devices"), n, item) {
        if (*count < MACHINE_DEVICES_MAX) machine_device_from_json(&devices[(*count)++], item);
    }
    json_decref(reply);
    return true;
}

/* Puts what was measured among what is known, which the reply does not repeat. */
static void take_ceilings(struct machine_device *device, const json_t *ceilings) {
    for (const struct row_field *field = machine_device_fields; field->name != NULL; field++) {
        const json_t *value = json_object_get(ceilings, field->name);
        if (field->type == ROW_REAL && json_is_number(value))
            *(double *)((char *)device + field->offset) = json_number_value(value);
    }
}

bool devices_probe(struct machine_device *device, const char *program, const char *probes,
                   double seconds, struct fault *fault) {
    char library[4200];
    snprintf(library, sizeof library, "%s/%s.so", probes, device->device);
    FILE *file = fopen(library, "re");
    if (file == NULL) return true;
    fclose(file);
    json_t *reply = ask_worker(program,
                               json_pack("{s:s, s:s, s:I, s:o, s:f}", "op", "probe", "device",
                                         device->device, "device_index", (json_int_t)device->index,
                                         "library", path_to_json(library), "seconds", seconds),
                               60 + 10 * seconds, fault);
    if (reply == NULL) return false;
    take_ceilings(device, json_object_get(reply, "ceilings"));
    json_decref(reply);
    return true;
}
