#include "record.h"
#include "../session/writer.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct row sample(const char *line) {
    struct row row = {.kernel = "cpu/decode_flash_r1",
                      .status = "PASS",
                      .revision = 1,
                      .batch = (int64_t)1 << 53,
                      .tflops = 0.1,
                      .deviation = {.rho = NAN,
                                    .t_max = INFINITY,
                                    .lse_max = 0.25,
                                    .ulp_counts = {7, 0, (int64_t)1 << 40}}};
    snprintf(row.line, sizeof row.line, "%s", line);
    return row;
}

static struct writer create(struct machine *machine) {
    static char folder[64];
    struct writer writer;
    struct fault fault = {0};
    snprintf(folder, sizeof folder, "/tmp/attest-test-XXXXXX");
    cr_assert(mkdtemp(folder) != NULL);
    *machine = (struct machine){.cpu = "a \"CPU\"", .cores = 3, .read_bytes_s = 1e10};
    cr_assert(writer_create(&writer, folder, "unused", "", machine, &fault), "%s", fault.text);
    return writer;
}

static void append(struct writer *writer, const char *line) {
    struct fault fault = {0};
    const struct row row = sample(line);
    cr_assert(writer_append(writer, &row, &fault), "%s", fault.text);
}

static void scribble(const struct writer *writer, const char *text) {
    cr_assert(write(writer->file, text, strlen(text)) == (ssize_t)strlen(text));
}

static void discard(const struct writer *writer) {
    char path[4200];
    snprintf(path, sizeof path, "%s/run.jsonl", writer->folder);
    unlink(path);
    rmdir(writer->folder);
}

Test(record, a_row_survives_json_to_the_bit) {
    const struct row row = sample("f16-b1");
    struct row back;
    json_t *json = row_to_json(&row);
    char *text = json_dumps(json, 0);
    json_t *again = json_loads(text, 0, NULL);
    cr_assert(row_from_json(&back, again));
    cr_assert(!strcmp(back.kernel, row.kernel) && !strcmp(back.line, row.line));
    cr_assert(back.batch == (int64_t)1 << 53 && back.revision == 1);
    cr_assert(back.tflops == 0.1);
    cr_assert(json_array_size(json_object_get(again, "ulp_counts")) == 3);
    cr_assert(!memcmp(back.deviation.ulp_counts, row.deviation.ulp_counts,
                      sizeof row.deviation.ulp_counts));
    cr_assert(back.deviation.lse_judged && back.deviation.lse_max == 0.25);
    free(text);
    json_decref(json);
    json_decref(again);
}

Test(record, nan_and_infinity_are_null_and_come_back_as_nan) {
    const struct row row = sample("f16-b1");
    struct row back;
    json_t *json = row_to_json(&row);
    cr_assert(json_is_null(json_object_get(json, "rho")));
    cr_assert(json_is_null(json_object_get(json, "t_max")));
    cr_assert(row_from_json(&back, json));
    cr_assert(isnan(back.deviation.rho) && isnan(back.deviation.t_max));
    json_decref(json);
}

Test(record, a_text_too_long_is_cut_and_a_row_without_identity_is_none) {
    struct row row;
    char longest[4096];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    json_t *json = json_pack("{s:s, s:s, s:s}", "kernel", longest, "line", "l", "status", "PASS");
    cr_assert(row_from_json(&row, json));
    cr_assert(strlen(row.kernel) == sizeof row.kernel - 1);
    json_object_del(json, "line");
    cr_assert(!row_from_json(&row, json));
    json_decref(json);
}

Test(record, every_field_has_a_name_of_its_own_and_fits_its_struct) {
    const struct {
        const struct row_field *fields;
        size_t bytes;
    } tables[] = {{row_fields, sizeof(struct row)}, {machine_fields, sizeof(struct machine)}};
    for (int t = 0; t < 2; t++) {
        for (const struct row_field *field = tables[t].fields; field->name; field++) {
            cr_assert(field->offset + field->bytes <= tables[t].bytes);
            cr_assert(field->type == ROW_TEXT || field->type == ROW_COUNTS || field->bytes == 8,
                      "%s", field->name);
            for (const struct row_field *other = tables[t].fields; other < field; other++) {
                cr_assert(strcmp(field->name, other->name) != 0, "%s", field->name);
                cr_assert(field->offset != other->offset, "%s %s", field->name, other->name);
            }
        }
    }
}

Test(record, a_run_reads_back) {
    struct machine machine;
    struct run run;
    struct fault fault = {0};
    struct writer writer = create(&machine);
    append(&writer, "f16-b1");
    append(&writer, "f16-b2");
    cr_assert(writer_close(&writer, &fault));
    cr_assert(run_read(&run, writer.folder, &fault), "%s", fault.text);
    cr_assert(run.count == 2 && run.torn == 0);
    cr_assert(!strcmp(run.rows[1].line, "f16-b2"));
    cr_assert(!strcmp(run.machine.cpu, machine.cpu) && run.machine.cores == 3);
    cr_assert(run.machine.read_bytes_s == 1e10);
    run_free(&run);
    discard(&writer);
}

Test(record, a_torn_last_line_costs_itself_and_is_cut_off_by_resuming) {
    struct machine machine;
    struct run run;
    struct fault fault = {0};
    struct writer writer = create(&machine);
    append(&writer, "f16-b1");
    scribble(&writer, "{\"kernel\": \"cpu/de");
    cr_assert(writer_close(&writer, &fault));
    cr_assert(run_read(&run, writer.folder, &fault), "%s", fault.text);
    cr_assert(run.count == 1 && run.torn == 1);
    run_free(&run);

    char folder[4096];
    snprintf(folder, sizeof folder, "%s", writer.folder);
    cr_assert(writer_resume(&writer, folder, &fault), "%s", fault.text);
    append(&writer, "f16-b2");
    cr_assert(writer_close(&writer, &fault));
    cr_assert(run_read(&run, folder, &fault), "%s", fault.text);
    cr_assert(run.count == 2 && run.torn == 0 && !strcmp(run.rows[1].line, "f16-b2"));
    run_free(&run);
    discard(&writer);
}

/* Whatever byte a run was cut at, it reads, but for the header. */
Test(record, a_run_cut_anywhere_reads_up_to_there) {
    struct machine machine;
    struct run run;
    struct fault fault = {0};
    struct writer writer = create(&machine);
    const off_t header = lseek(writer.file, 0, SEEK_END);
    for (int n = 0; n < 3; n++) append(&writer, "f16-b1");
    off_t end = lseek(writer.file, 0, SEEK_END);
    const off_t row = (end - header) / 3;
    for (; end >= header; end -= 97) {
        cr_assert(ftruncate(writer.file, end) == 0);
        cr_assert(run_read(&run, writer.folder, &fault), "%s", fault.text);
        cr_assert(run.count == (end - header) / row);
        cr_assert(run.torn == ((end - header) % row != 0));
        run_free(&run);
    }
    cr_assert(ftruncate(writer.file, header - 1) == 0);
    cr_assert(!run_read(&run, writer.folder, &fault) && fault.code == FAULT_INPUT);
    cr_assert(writer_close(&writer, &fault));
    discard(&writer);
}

Test(record, what_is_not_a_run_is_refused) {
    struct run run;
    struct fault fault = {0};
    cr_assert(!run_read(&run, "/nowhere", &fault));
    cr_assert(fault.code == FAULT_INPUT && strstr(fault.text, "/nowhere") != NULL);
    cr_assert(!run_read(&run, "/etc/passwd", &fault) && fault.code == FAULT_INPUT);
    cr_assert(!run_read(&run, "/dev/null", &fault) && fault.code == FAULT_INPUT);
}

Test(record, a_run_is_never_overwritten_and_a_folder_gets_a_name_of_its_own) {
    struct machine machine;
    struct fault fault = {0};
    struct writer writer = create(&machine), other, another;
    cr_assert(!writer_create(&other, writer.folder, "unused", "", &machine, &fault));
    cr_assert(strstr(fault.text, "exists") != NULL, "%s", fault.text);

    snprintf(machine.time, sizeof machine.time, "2026-01-02T03:04:05Z");
    snprintf(machine.commit, sizeof machine.commit, "0123456789");
    snprintf(machine.device, sizeof machine.device, "cpu");
    cr_assert(writer_create(&other, NULL, writer.folder, "-x", &machine, &fault), "%s", fault.text);
    cr_assert(writer_create(&another, NULL, writer.folder, "-x", &machine, &fault), "%s",
              fault.text);
    cr_assert(strstr(other.folder, "/2026-01-02T030405-0123456-cpu-x") != NULL, "%s", other.folder);
    cr_assert(strcmp(other.folder, another.folder) != 0);
    cr_assert(writer_close(&other, &fault) && writer_close(&another, &fault));
    discard(&other);
    discard(&another);
    cr_assert(writer_close(&writer, &fault));
    discard(&writer);
}
