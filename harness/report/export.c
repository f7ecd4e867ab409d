/* A row is read, written and forgotten. */
#include "export.h"
#include "print.h"
#include "../worker/protocol.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void print_csv_value(FILE *to, const json_t *value) {
    if (json_is_string(value))
        print_csv(to, json_string_value(value));
    else if (json_is_integer(value))
        fprintf(to, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        fprintf(to, "%.17g", json_real_value(value));
    else if (json_is_boolean(value))
        fputc(json_is_true(value) ? '1' : '0', to);
}

bool export_csv(FILE *to, struct row_index *index, struct fault *fault) {
    for (const struct row_field *field = row_fields; field->name; field++) {
        if (field > row_fields) fputc(',', to);
        print_csv(to, field->name);
    }
    fputs("\r\n", to);
    for (int64_t n = 0; n < index->total; n++) {
        struct row row;
        if (!run_row_at(&index->reader, index->rows[n].at, &row, fault)) return false;
        json_t *json = row_to_json(&row);
        for (const struct row_field *field = row_fields; field->name; field++) {
            if (field > row_fields) fputc(',', to);
            print_csv_value(to, json_object_get(json, field->name));
        }
        fputs("\r\n", to);
        json_decref(json);
    }
    return true;
}

static json_t *real_or_null(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

/* Where a value stands in a larger one, and so how far its lines are indented. */
struct nested {
    FILE *to;
    int indent;
};

static int write_nested(const char *text, size_t bytes, void *context) {
    const struct nested *nested = context;
    for (size_t n = 0; n < bytes; n++) {
        fputc(text[n], nested->to);
        if (text[n] == '\n') fprintf(nested->to, "%*s", nested->indent, "");
    }
    return 0;
}

/* `"name": value` of an object that is printed member by member. Takes `value`. */
static void print_member(FILE *to, const char *separator, const char *name, json_t *value) {
    struct nested nested = {to, 2};
    fprintf(to, "%s\n  \"%s\": ", separator, name);
    json_dump_callback(value, write_nested, &nested,
                       JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
    json_decref(value);
}

static json_t *count_statuses(const struct row_index *index) {
    json_t *statuses = json_object();
    for (int64_t n = 0; n < index->count; n++) {
        const char *status = row_index_at(index, n)->status;
        const json_int_t before = json_integer_value(json_object_get(statuses, status));
        json_object_set_new(statuses, status, json_integer(before + 1));
    }
    return statuses;
}

static bool print_row(FILE *to, struct row_index *index, int64_t place, struct fault *fault) {
    struct nested nested = {to, 4};
    struct row row;
    const struct indexed_row *at = row_index_at(index, place);
    if (!row_index_read(index, place, &row, fault)) return false;
    json_t *json = row_to_json(&row);
    json_object_set_new(json, "speedup_baseline",
                        real_or_null(row_index_speedup(index, at, at->baseline)));
    json_object_set_new(json, "speedup_bymask",
                        real_or_null(row_index_speedup(index, at, at->bymask)));
    fputs(place > 0 ? ",\n    " : "\n    ", to);
    json_dump_callback(json, write_nested, &nested, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    json_decref(json);
    return true;
}

bool export_json(FILE *to, struct row_index *index, const char *baseline, struct fault *fault) {
    print_member(to, "{", "machine", machine_to_json(&index->reader.machine));
    print_member(to, ",", "torn", json_integer(index->reader.torn));
    print_member(to, ",", "baseline", text_to_json(baseline));
    print_member(to, ",", "statuses", count_statuses(index));
    fputs(",\n  \"rows\": [", to);
    for (int64_t n = 0; n < index->count; n++)
        if (!print_row(to, index, n, fault)) return false;
    fputs(index->count > 0 ? "\n  ]\n}\n" : "]\n}\n", to);
    return true;
}
