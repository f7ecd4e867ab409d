/* A definition for each table. */
#include "schema.h"
#include "record.h"

static json_t *type_of(enum row_type type) {
    switch (type) {
    case ROW_INTEGER:
        return json_string("integer");
    case ROW_REAL:
        return json_pack("[s, s]", "number", "null"); /* null: not measured, or no number */
    default:
        return json_string("string");
    }
}

static json_t *property_of(const struct row_field *field) {
    if (field->type == ROW_COUNTS)
        return json_pack("{s:s, s:s, s:{s:s, s:i}}", "type", "array", "description", field->meaning,
                         "items", "type", "integer", "minimum", 0);
    return json_pack("{s:o, s:s}", "type", type_of(field->type), "description", field->meaning);
}

static json_t *properties_of(const struct row_field *fields) {
    json_t *properties = json_object();
    for (; fields->name != NULL; fields++) {
        json_t *property = property_of(fields);
        if (fields->unit[0] != '\0')
            json_object_set_new(property, "unit", json_string(fields->unit));
        json_object_set_new(properties, fields->name, property);
    }
    return properties;
}

static void restrict_to(json_t *properties, const char *name, json_t *values) {
    json_object_set_new(json_object_get(properties, name), "enum", values);
}

static json_t *row_schema(void) {
    json_t *properties = properties_of(row_fields), *statuses = json_array();
    for (int status = 0; status < STATUS_COUNT; status++)
        json_array_append_new(statuses, json_string(status_name((enum status)status)));
    restrict_to(properties, "status", statuses);
    restrict_to(properties, "regime", json_pack("[s, s, s]", "sustained", "burst", ""));
    restrict_to(properties, "grade", json_pack("[s, s, s, s, s]", "A", "B", "C", "F", "-"));
    restrict_to(properties, "lse_grade", json_pack("[s, s, s, s]", "A", "B", "F", ""));
    return json_pack("{s:s, s:s, s:o, s:[s, s, s]}", "type", "object", "description",
                     "one kernel on one problem", "properties", properties, "required", "kernel",
                     "line", "status");
}

static json_t *machine_schema(void) {
    json_t *properties = properties_of(machine_fields);
    json_object_set_new(properties, "devices",
                        json_pack("{s:s, s:s, s:{s:s}}", "type", "array", "description",
                                  "accelerators that rows were on", "items", "$ref",
                                  "#/$defs/device"));
    json_object_set_new(properties, "format", json_pack("{s:s}", "const", "attest-run"));
    json_object_set_new(properties, "version", json_pack("{s:i}", "const", 1));
    return json_pack("{s:s, s:s, s:o, s:[s, s]}", "type", "object", "description",
                     "the machine that the run was made on", "properties", properties, "required",
                     "format", "version");
}

json_t *run_schema(void) {
    return json_pack(
        "{s:s, s:s, s:s, s:[{s:s}, {s:s}], s:{s:o, s:o, s:o}}", "$schema",
        "https://json-schema.org/draft/2020-12/schema", "title", "attest run", "description",
        "a line of run.jsonl: the first is the machine, the others are rows", "oneOf", "$ref",
        "#/$defs/machine", "$ref", "#/$defs/row", "$defs", "machine", machine_schema(), "device",
        json_pack("{s:s, s:o}", "type", "object", "properties",
                  properties_of(machine_device_fields)),
        "row", row_schema());
}
