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
    for (size_t n = 0; n < json_array_size(value); n++)
        fprintf(to, "%s%" JSON_INTEGER_FORMAT, n > 0 ? " " : "",
                json_integer_value(json_array_get(value, n)));
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

/* Rows `begin` to `end` of the order, which are of one variant. */
struct suite_counts {
    int64_t failures, skipped;
    double seconds;
};

static struct suite_counts count_suite(const struct row_index *index, int64_t begin, int64_t end) {
    struct suite_counts counts = {0};
    for (int64_t n = begin; n < end; n++) {
        const struct indexed_row *row = row_index_at(index, n);
        counts.failures += row->failed;
        counts.skipped += !strcmp(row->status, status_name(STATUS_REFUSED));
        counts.seconds += row->seconds;
    }
    return counts;
}

static void print_property(FILE *to, const char *name, const char *value) {
    if (text_given(value))
        print_html(to, "      <property name=\"%s\" value=\"%s\"/>\n", name, value);
}

/* The schemas take no zone, and want a host. */
static void print_suite(FILE *to, const struct machine *machine, const struct row *first,
                        const struct suite_counts *counts, int64_t rows, int64_t number) {
    const bool dated = strlen(machine->time) >= 19 && machine->time[10] == 'T';
    print_html(to, "  <testsuite name=\"%s\" package=\"attest\" id=\"%lld\" tests=\"%lld\" ",
               first->variant[0] != '\0' ? first->variant : "unknown", (long long)number,
               (long long)rows);
    print_html(to, "failures=\"%lld\" errors=\"0\" skipped=\"%lld\" time=\"%.3f\" ",
               (long long)counts->failures, (long long)counts->skipped, counts->seconds);
    print_html(to, "timestamp=\"%.*s\" hostname=\"%s\">\n    <properties>\n", 19,
               dated ? machine->time : "1970-01-01T00:00:00",
               machine->host[0] != '\0' ? machine->host : "localhost");
    print_property(to, "commit", machine->commit);
    print_property(to, "command", machine->command);
    print_property(to, "cpu", machine->cpu);
    print_property(to, "device", machine->device);
    if (machine->haste > 0) print_property(to, "haste", "its times are none");
    fputs("    </properties>\n", to);
}

static void print_case(FILE *to, const struct row *row) {
    print_html(to, "    <testcase classname=\"%s\" name=\"%s%s%s\" time=\"%.3f\"", row->kernel,
               row->line, text_given(row->file) ? " " : "", text_given(row->file) ? row->file : "",
               row->seconds > 0 ? row->seconds : 0);
    if (status_of(row) == STATUS_REFUSED) {
        print_html(to, "><skipped message=\"%s\"/></testcase>\n", row->reason);
    } else if (row_is_failure(row)) {
        print_html(to, ">\n      <failure type=\"%s\" message=\"%s\">", row->status, row->reason);
        if (text_given(row->diagnosis)) print_html(to, "%s\n", row->diagnosis);
        if (text_given(row->repeat)) print_html(to, "repeat: %s\n", row->repeat);
        fputs("</failure>\n    </testcase>\n", to);
    } else {
        fputs("/>\n", to);
    }
}

bool export_junit(FILE *to, struct row_index *index, struct fault *fault) {
    struct row row;
    int64_t suites = 0;
    fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n", to);
    for (int64_t begin = 0, end; begin < index->count; begin = end) {
        for (end = begin + 1; end < index->count; end++)
            if (row_index_at(index, end)->variant != row_index_at(index, begin)->variant) break;
        const struct suite_counts counts = count_suite(index, begin, end);
        for (int64_t n = begin; n < end; n++) {
            if (!row_index_read(index, n, &row, fault)) return false;
            if (n == begin)
                print_suite(to, &index->reader.machine, &row, &counts, end - begin, suites++);
            print_case(to, &row);
        }
        fputs("    <system-out/>\n    <system-err/>\n  </testsuite>\n", to);
    }
    fputs("</testsuites>\n", to);
    return true;
}
