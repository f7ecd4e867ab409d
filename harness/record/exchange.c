#include "exchange.h"
#include "../../fixtures/schema.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_number(const char *name) {
    static const char *const numbers[] = {"version",     "causal",       "scale",
                                          "window_left", "window_right", "softcap",
                                          "value_dim",   "kshared",      "generator_version"};
    bool found = false;
    for (size_t n = 0; n < sizeof numbers / sizeof numbers[0]; n++)
        found |= !strcmp(name, numbers[n]);
    return found;
}

static bool write_attribute(store_id file, const char *name, const char *text,
                            struct fault *fault) {
    if (!is_number(name)) return store_write_text(file, name, text, fault);
    const bool is_true = !strcasecmp(text, "true"), named = is_true || !strcasecmp(text, "false");
    char *rest = (char *)text;
    const double value = named ? is_true : strtod(text, &rest);
    if (!named && (rest == text || *rest != '\0'))
        return fault_set(fault, FAULT_INPUT, "attribute '%s' is '%.60s', expected a number", name,
                         text);
    const bool real = !strcmp(name, "scale") || !strcmp(name, "softcap");
    const bool whole = fabs(value) <= INT32_MAX && value == floor(value);
    return whole && !real ? store_write_integer(file, name, (int32_t)value, fault)
                          : store_write_double(file, name, value, fault);
}

static bool write_attributes(store_id file, const json_t *metadata, struct fault *fault) {
    const char *name;
    json_t *text;
    bool well = true;
    json_object_foreach((json_t *)metadata, name, text) {
        well = well && (json_is_string(text)
                            ? write_attribute(file, name, json_string_value(text), fault)
                            : fault_set(fault, FAULT_INPUT, "metadata '%.60s' is no text", name));
    }
    return well;
}

static bool write_arrays(store_id file, const struct tensors *tensors, struct fault *fault) {
    bool well = true;
    for (int n = 0; n < tensors->count && well; n++) {
        const struct tensors_entry *entry = &tensors->entries[n];
        if (strchr(entry->name, '.') != NULL) continue; /* of an answer, which is made anew */
        well = entry->array.type != STORE_OTHER
                   ? store_write_array(file, entry->name, &entry->array, entry->data, false, fault)
                   : fault_set(fault, FAULT_INPUT,
                               "'%s' is of type %s, expected F64, F32, F16, BF16, BOOL or integers",
                               entry->name, entry->array.type_text);
    }
    return well;
}

bool exchange_write(const struct tensors *tensors, const char *path, struct fault *fault) {
    store_id file = store_create(path, fault);
    const bool well = file >= 0 && write_attributes(file, tensors->metadata, fault) &&
                      write_arrays(file, tensors, fault);
    return file < 0 ? false : store_close(&file, well ? fault : &(struct fault){0}) && well;
}

void exchange_rename(struct fault *fault, const char *temporary, const char *path) {
    char text[sizeof fault->text];
    const char *at = strstr(fault->text, temporary);
    if (at == NULL) return;
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - fault->text), fault->text, path,
             at + strlen(temporary));
    fault_set(fault, fault->code, "%s", text);
}

static void take_answer(struct tensors *tensors, const struct answer *answer) {
    struct store_array array = {
        .type = STORE_F64,
        .rank = 4,
        .shape = {answer->batch, answer->q_heads, answer->row_count, answer->value_dim}};
    const struct store_array rows = {.type = STORE_I64, .rank = 1, .shape = {answer->row_count}};
    if (answer->rows == NULL) return;
    tensors_add(tensors, "answer.out", &array, answer->out);
    array.rank = 3;
    tensors_add(tensors, "answer.lse", &array, answer->lse);
    tensors_add(tensors, "answer.rows", &rows, answer->rows);
}

static void set_number(json_t *metadata, const char *name, double number) {
    char text[40];
    snprintf(text, sizeof text, "%.17g", number);
    json_object_set_new(metadata, name, json_string(text));
}

void exchange_take(struct tensors *tensors, const struct fixture *fixture) {
    const struct attn_problem *problem = &fixture->problem.attn;
    *tensors = (struct tensors){.count = 0};
    for (int slot = 0; slot < ATTN_SLOT_COUNT; slot++) {
        const struct attn_tensor *tensor = &fixture->tensors[slot];
        if (tensor->data == NULL) continue;
        const struct store_array array = schema_array(tensor);
        tensors_add(tensors, slot_name((enum attn_slot)slot), &array, tensor->data);
    }
    take_answer(tensors, &fixture->answer);
    tensors->metadata =
        json_pack("{s:s, s:s, s:s, s:s, s:s}", "format", "attest-fixture", "version", "1", "line",
                  fixture->line, "dtype", dtype_name((enum attn_dtype)problem->dtype), "causal",
                  problem->traits & ATTN_CAUSAL ? "1" : "0");
    set_number(tensors->metadata, "scale", problem->scale);
    if (problem->traits & ATTN_WINDOW) {
        set_number(tensors->metadata, "window_left", (double)problem->window_left);
        set_number(tensors->metadata, "window_right", (double)problem->window_right);
    }
    if (problem->traits & ATTN_DV)
        set_number(tensors->metadata, "value_dim", (double)problem->value_dim);
    if (problem->traits & ATTN_KSHARED) set_number(tensors->metadata, "kshared", 1);
    if (problem->traits & ATTN_SOFTCAP) set_number(tensors->metadata, "softcap", problem->softcap);
    const enum attn_dtype kv_dtype = rules_kv_dtype(problem);
    if ((int32_t)kv_dtype != problem->dtype)
        json_object_set_new(tensors->metadata, "kv_dtype", json_string(dtype_name(kv_dtype)));
}
