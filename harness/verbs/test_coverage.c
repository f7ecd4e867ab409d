#include "coverage.h"
#include "../verb.h"
#include "../../fixtures/test_folder.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A row of "twin/decode_flash_r1" on problem `line`, judged unless it was refused. */
static struct row row_of(const char *device, const char *variant, const char *line,
                         const char *status, char grade) {
    struct row row = {.grade = {grade, '\0'}};
    snprintf(row.kernel, sizeof row.kernel, "%s/%s_flash_r1", device, variant);
    snprintf(row.device, sizeof row.device, "%s", device);
    snprintf(row.variant, sizeof row.variant, "%s", variant);
    snprintf(row.line, sizeof row.line, "%s", line);
    snprintf(row.status, sizeof row.status, "%s", status);
    if (grade != '-') {
        row.deviation.elements = 64;
        snprintf(row.fixture_digest, sizeof row.fixture_digest, "of %.30s", line);
    }
    return row;
}

static struct coverage cover(const struct run *runs, int64_t count) {
    struct coverage coverage;
    struct fault fault = {0};
    cr_assert(coverage_make(&coverage, runs, count, &fault), "%s", fault.text);
    return coverage;
}

enum { CPU, CUDA, TWIN, ASCEND }; /* columns */

static void is(const struct coverage_cell *cell, int64_t right, int64_t taken, int64_t refused,
               char grade) {
    cr_assert(cell->right == right && cell->taken == taken && cell->refused == refused &&
                  cell->grade == grade,
              "%lld/%lld, %lld refused, %c", (long long)cell->right, (long long)cell->taken,
              (long long)cell->refused, cell->grade);
}

Test(coverage, counts_rows_by_variant_and_device_and_keeps_the_worst_grade) {
    struct row rows[] = {
        row_of("cpu", "decode", "l1", "PASS", 'A'),
        row_of("cpu", "decode", "l2", "UNSTABLE", 'B'),
        row_of("cpu", "decode", "l3", "FAIL_ACCURACY", 'F'),
        row_of("cpu", "decode", "l4", "CRASH", '-'),
        row_of("cpu", "decode", "l5", "REFUSED", '-'),
        row_of("twin", "decode", "l1", "PASS", 'A'),
        row_of("twin", "prefill", "l6", "REFUSED", '-'),
        row_of("anchor", "prefill", "l6", "PASS", 'A'),
    };
    const struct run run = {.rows = rows, .count = sizeof rows / sizeof rows[0]};
    const struct coverage coverage = cover(&run, 1);
    const struct coverage_variant *decode = &coverage.variants[ATTN_DECODE];
    is(&decode->cells[CPU], 2, 4, 1, 'B');
    is(&decode->cells[CUDA], 0, 0, 0, '-');
    is(&decode->cells[TWIN], 1, 1, 0, 'A');
    is(&decode->cells[ASCEND], 0, 0, 0, '-');
    cr_assert(decode->answered == 3);
    is(&coverage.variants[ATTN_PREFILL].cells[TWIN], 0, 0, 1, '-');
    cr_assert(coverage.variants[ATTN_PREFILL].answered == 1);
    cr_assert(coverage.variants[ATTN_SPARSE_DECODE].answered == 0);
}

Test(coverage, a_row_that_a_later_run_repeats_counts_once_and_as_it_ended_last) {
    struct row first[] = {row_of("twin", "decode", "l1", "FAIL_RACE", '-'),
                          row_of("twin", "decode", "l2", "PASS", 'C')};
    struct row second[] = {row_of("twin", "decode", "l1", "PASS", 'A'),
                           row_of("twin", "decode", "l3", "PASS", 'A')};
    const struct run runs[] = {
        {.rows = first, .count = 2}, {.rows = NULL, .count = 0}, {.rows = second, .count = 2}};
    struct coverage coverage = cover(runs, 3);
    is(&coverage.variants[ATTN_DECODE].cells[TWIN], 3, 3, 0, 'C');
    cr_assert(coverage.variants[ATTN_DECODE].answered == 3);
    coverage = cover(runs, 1);
    is(&coverage.variants[ATTN_DECODE].cells[TWIN], 1, 2, 0, 'C');
}

Test(coverage, one_line_with_other_tensors_is_another_problem) {
    struct row rows[] = {row_of("cpu", "decode", "l1", "PASS", 'A'),
                         row_of("twin", "decode", "l1", "PASS", 'A'),
                         row_of("cpu", "decode", "l1", "PASS", 'A')};
    strcpy(rows[2].fixture_digest, "another");
    const struct run run = {.rows = rows, .count = 3};
    const struct coverage coverage = cover(&run, 1);
    cr_assert(coverage.variants[ATTN_DECODE].answered == 2);
    is(&coverage.variants[ATTN_DECODE].cells[CPU], 2, 2, 0, 'A');
}

static const char *text_in(json_t *listing, int variant, const char *key) {
    return json_string_value(json_object_get(json_array_get(listing, (size_t)variant), key));
}

Test(coverage, says_what_never_ran) {
    struct row rows[] = {row_of("cpu", "decode", "l1", "PASS", 'A'),
                         row_of("cuda", "decode", "l1", "FAIL_NAN", 'F'),
                         row_of("twin", "decode", "l1", "REFUSED", '-')};
    const struct run run = {.rows = rows, .count = 3};
    const struct coverage coverage = cover(&run, 1);
    json_t *listing = coverage_to_listing(&coverage), *json = coverage_to_json(&coverage);
    cr_assert(json_array_size(listing) == ATTN_VARIANT_COUNT);
    cr_assert_str_eq(text_in(listing, ATTN_DECODE, "variant"), "decode");
    cr_assert_str_eq(text_in(listing, ATTN_DECODE, "oracle"), "1 problem");
    cr_assert_str_eq(text_in(listing, ATTN_DECODE, "cpu"), "1/1 A");
    cr_assert_str_eq(text_in(listing, ATTN_DECODE, "cuda"), "0/1");
    cr_assert_str_eq(text_in(listing, ATTN_DECODE, "twin"), "refused");
    cr_assert_str_eq(text_in(listing, ATTN_DECODE, "ascend"), "never run");
    cr_assert_str_eq(text_in(listing, ATTN_PREFILL, "oracle"), "never run");
    const json_t *decode = json_array_get(json, ATTN_DECODE);
    const json_t *cpu = json_object_get(decode, "cpu");
    cr_assert(json_integer_value(json_object_get(cpu, "right")) == 1);
    cr_assert_str_eq(json_string_value(json_object_get(cpu, "grade")), "A");
    cr_assert(json_integer_value(json_object_get(decode, "answered")) == 1);
    cr_assert(json_is_null(json_object_get(decode, "ascend")));
    json_decref(listing);
    json_decref(json);
}

/* The verb. */

static char *print_coverage(int *status, const char *const *words) {
    char *argv[8] = {"list", "coverage"}, name[] = "/tmp/attest-test-XXXXXX", *text = NULL;
    int argc = 2;
    size_t room = 0;
    while (*words != NULL) argv[argc++] = (char *)*words++;
    const int file = mkstemp(name), kept = dup(STDOUT_FILENO);
    fflush(stdout);
    cr_assert(file >= 0 && dup2(file, STDOUT_FILENO) >= 0);
    *status = verb_list.run(argc, argv);
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    close(file);
    FILE *from = fopen(name, "r");
    if (getdelim(&text, &room, 0, from) < 0) {
        free(text);
        text = strdup("");
    }
    fclose(from);
    unlink(name);
    return text;
}
#define COVERAGE(status, ...) print_coverage(status, (const char *const[]){__VA_ARGS__, NULL})

/* A run of one row, as a file. */
static void write_run(const char *path, const struct row *row) {
    FILE *to = fopen(path, "w");
    cr_assert(to != NULL);
    fputs("{\"format\": \"attest-run\", \"version\": 1}\n", to);
    json_t *json = row_to_json(row);
    json_dumpf(json, to, JSON_COMPACT);
    fputc('\n', to);
    json_decref(json);
    fclose(to);
}

Test(list, coverage_is_of_the_committed_runs_unless_others_are_named) {
    char folder[64], path[128], within[128];
    int status;
    test_folder_make(folder);
    setenv("ATTEST_BASELINE", folder, 1);
    char *text = COVERAGE(&status, NULL);
    cr_assert(status == FAULT_NOTHING && text[0] == '\0');
    free(text);

    struct row row = row_of("cpu", "decode", "l1", "PASS", 'A');
    snprintf(path, sizeof path, "%s/one.jsonl", folder);
    write_run(path, &row);
    snprintf(within, sizeof within, "%s/two", folder);
    cr_assert(mkdir(within, 0700) == 0);
    snprintf(within, sizeof within, "%s/two/run.jsonl", folder);
    row = row_of("twin", "decode", "l1", "PASS", 'B');
    write_run(within, &row);

    text = COVERAGE(&status, "--markdown");
    cr_assert(status == 0);
    cr_assert(strstr(text, "| variant | oracle | cpu | cuda | twin | ascend |\n"
                           "|---|---|---|---|---|---|\n| prefill | never run |") == text,
              "%s", text);
    cr_assert(strstr(text, "\n| decode | 1 problem | 1/1 A | never run | 1/1 B | never run |\n"),
              "%s", text);
    free(text);
    text = COVERAGE(&status, path, "--json");
    json_t *json = json_loads(text, 0, NULL);
    const json_t *decode = json_array_get(json, ATTN_DECODE);
    cr_assert(status == 0 && json_is_null(json_object_get(decode, "twin")));
    cr_assert(json_is_object(json_object_get(decode, "cpu")));
    json_decref(json);
    free(text);
    text = COVERAGE(&status, "/nonexistent");
    cr_assert(status == FAULT_INPUT && text[0] == '\0');
    free(text);
    test_folder_remove(folder);
}
