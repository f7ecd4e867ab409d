#include "report.h"
#include "export.h"
#include "print.h"
#include "../verb.h"
#include "../verbs/fuzz.h"
#include "../worker/driver.h"
#include "../../fixtures/test_folder.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define D1 "0123456789abcdef0123456789abcdef" /* digests */
#define D2 "fedcba98765432100123456789abcdef"

static struct row row_of(const char *kernel, const char *variant, double warm_us) {
    struct row row = {.kept_ratio = 1,
                      .kept_mass = NAN,
                      .batch = 1,
                      .q_heads = 32,
                      .kv_heads = 8,
                      .q_len = 1,
                      .kv_len = 32000,
                      .head_dim = 128,
                      .flops = 2e9,
                      .bytes = 3 << 20,
                      .tflops = 0.125,
                      .gbs = 12.5,
                      .ceiling_percent = 61.5};
    snprintf(row.kernel, sizeof row.kernel, "cpu/%s", kernel);
    strcpy(row.device, "cpu");
    snprintf(row.variant, sizeof row.variant, "%s", variant);
    snprintf(row.line, sizeof row.line, "f16-%s-line", variant);
    strcpy(row.dtype, "f16");
    strcpy(row.fixture_digest, D1);
    strcpy(row.status, "PASS");
    strcpy(row.grade, "A");
    strcpy(row.ceiling, "bytes");
    row.revision = 1;
    row.deviation = (struct deviation){.elements = 4096,
                                       .max_ref = 0.4567,
                                       .max_out = 0.4568,
                                       .max_abs = 0.000123,
                                       .t_max = 0.31,
                                       .rho = 1.01,
                                       .rho_block = 1.07,
                                       .lse_judged = true,
                                       .lse_max = 0.25};
    row.warm = (struct timing){
        .n = 50, .q1_us = 0.9 * warm_us, .median_us = warm_us, .q3_us = 1.1 * warm_us};
    row.cold = (struct timing){
        .n = 50, .q1_us = 1.9 * warm_us, .median_us = 2 * warm_us, .q3_us = 2.1 * warm_us};
    return row;
}

static const struct report_options options = {"a run", "*_naive_*"};

static char folder[64], path[128], output[128];

static void make_folder(void) {
    test_folder_make(folder);
    snprintf(path, sizeof path, "%s/run.jsonl", folder);
    snprintf(output, sizeof output, "%s/report", folder);
}

static void remove_folder(void) {
    test_folder_remove(folder);
}

/* The run's file, which is not there any longer when this returns: an index holds it open. */
static struct row_index index_of(const struct run *run, const char *baseline) {
    struct row_index index;
    struct fault fault = {0};
    make_folder();
    FILE *to = fopen(path, "w");
    print_json(to, machine_to_json(&run->machine), JSON_COMPACT);
    for (int64_t n = 0; n < run->count; n++)
        print_json(to, row_to_json(&run->rows[n]), JSON_COMPACT);
    fclose(to);
    cr_assert(row_index_make(&index, folder, baseline, &fault), "%s", fault.text);
    remove_folder();
    return index;
}

static char *markdown(const struct run *run) {
    char *text = NULL;
    size_t bytes;
    struct fault fault = {0};
    struct row_index index = index_of(run, options.baseline);
    FILE *to = open_memstream(&text, &bytes);
    cr_assert(report_markdown(to, &index, &options, &fault), "%s", fault.text);
    fclose(to);
    row_index_free(&index);
    return text;
}

static json_t *exported_json(const struct run *run) {
    char *text = NULL;
    size_t bytes;
    struct fault fault = {0};
    struct row_index index = index_of(run, options.baseline);
    FILE *to = open_memstream(&text, &bytes);
    cr_assert(export_json(to, &index, options.baseline, &fault), "%s", fault.text);
    fclose(to);
    row_index_free(&index);
    json_t *json = json_loads(text, 0, NULL);
    cr_assert(json != NULL, "%s", text);
    char *whole = json_dumps(json, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    text[bytes - 1] = '\0'; /* a newline */
    cr_assert(strcmp(text, whole) == 0, "%s\nis not as it would be in one piece", text);
    free(whole);
    free(text);
    return json;
}

#define CONTAINS(text, fragment)                                                                   \
    cr_assert(strstr(text, fragment) != NULL, "'%s' is not in\n%s", fragment, text)

Test(report, shows_what_the_original_scripts_print) {
    struct row rows[] = {row_of("sparse_decode_naive_r1", "sparse_decode", 8000),
                         row_of("sparse_decode_flash_r1", "sparse_decode", 1000),
                         row_of("sparse_decode_bymask_r1", "sparse_decode", 64000)};
    for (int n = 0; n < 3; n++) rows[n].kept_ratio = 0.020013;
    rows[1].deviation.nan_count = 1024;
    rows[1].nan_ratio = 0.25;
    const struct run run = {.rows = rows, .count = 3};
    char *text = markdown(&run);
    CONTAINS(text, "**3 rows**: 3 PASS.\n");
    CONTAINS(text, "q, out [1, 32, 1, 128] · k, v [1, 8, 32000, 128] · kept ratio 0.020013");
    CONTAINS(text, "| cpu/sparse_decode_flash_r1 | PASS | A | 1.01 | 1.07 | 0.31 | 0.25 | 1024 "
                   "(25 %) | 0.457 | 0.457 | 0.000123 |\n");
    CONTAINS(text, "| cpu/sparse_decode_flash_r1 | 2.00 ms [1.90 ms, 2.10 ms] | 1.00 ms [900 µs, "
                   "1.10 ms] | 0.125 | 12.5 | 61.5 % of bytes | 8x | 64x |\n");
    CONTAINS(text, "| cpu/sparse_decode_naive_r1 | 16.0 ms [15.2 ms, 16.8 ms] | 8.00 ms [7.20 ms, "
                   "8.80 ms] | 0.125 | 12.5 | 61.5 % of bytes | – | 8x |\n");
    CONTAINS(text, "| cpu/sparse_decode_flash_r1 | 1 | 0 | 0 | A | 1.07 | 0.31 | 8x |\n");
    free(text);
}

Test(report, says_what_was_not_shown_and_why) {
    struct row rows[] = {row_of("prefill_flash_r1", "prefill", 1),
                         row_of("prefill_flash_r1", "prefill", 1),
                         row_of("decode_flash_r1", "decode", 1)};
    strcpy(rows[1].fixture_digest, D2);
    strcpy(rows[0].checks, "values signs fresh; not keys (causal); not batch (one sequence)");
    strcpy(rows[1].checks, "values signs; not keys (no two keys); not batch (one sequence)");
    strcpy(rows[2].checks, "values signs keys batch");
    const struct run run = {.rows = rows, .count = 3};
    char *text = markdown(&run);
    CONTAINS(text, "## Not shown to be read anew\n\n- keys: 2 rows (causal, ...)\n"
                   "- batch: 2 rows (one sequence)\n");
    free(text);
    const struct run complete = {.rows = rows + 2, .count = 1};
    text = markdown(&complete);
    cr_assert(strstr(text, "read anew") == NULL);
    free(text);
}

Test(report, what_is_done_once_has_a_column_where_there_is_any) {
    struct row rows[] = {row_of("decode_flash_r1", "decode", 1000),
                         row_of("decode_naive_r1", "decode", 1000)};
    rows[0].prepare_us = NAN;
    rows[1].prepare_us = 2000;
    const struct run run = {.rows = rows, .count = 2};
    char *text = markdown(&run);
    CONTAINS(text, "| warm [quartiles] | prepare | TFLOP/s |");
    CONTAINS(text, "1.00 ms [900 µs, 1.10 ms] | 2.00 ms | 0.125 |");
    CONTAINS(text, "1.00 ms [900 µs, 1.10 ms] | – | 0.125 |");
    free(text);
    const struct run none = {.rows = rows, .count = 1};
    text = markdown(&none);
    cr_assert(strstr(text, "| prepare |") == NULL);
    free(text);
}

Test(report, bursts_have_columns_where_there_are_any_and_no_speed_up_over_what_is_sustained) {
    struct row rows[] = {row_of("decode_flash_r1", "decode", 1000),
                         row_of("decode_naive_r1", "decode", 3000)};
    const struct run run = {.rows = rows, .count = 2};
    char *text = markdown(&run);
    CONTAINS(text, "| 3x |");
    cr_assert(strstr(text, "in a burst |") == NULL && strstr(text, "| regime |") == NULL);
    free(text);
    strcpy(rows[0].regime, "sustained");
    rows[0].burst_us = 900;
    rows[0].burst_clock_mhz = 1980;
    rows[0].burst_watts = 500;
    rows[0].warm.clock_mhz = 1650;
    rows[0].watts = 700;
    text = markdown(&run);
    CONTAINS(text, "| warm [quartiles] | warm, in a burst |");
    CONTAINS(text, "| 900 µs at 1980 MHz, 500 W; not 1650 MHz, 700 W |");
    CONTAINS(text, "| 3x |"); /* the other does not say */
    free(text);
    strcpy(rows[1].regime, "burst");
    text = markdown(&run);
    CONTAINS(text, "| regime | warm, in a burst |");
    CONTAINS(text, "| burst | – |");
    cr_assert(strstr(text, "| 3x |") == NULL);
    free(text);
}

Test(report, says_whose_ceilings_they_are) {
    struct row row = row_of("decode_flash_r1", "decode", 1000);
    struct run run = {.rows = &row, .count = 1};
    run.machine.sgemm_flops = 1e9;
    strcpy(row.ceiling_from, "data sheet");
    strcpy(run.machine.ceilings, "kept");
    char *text = markdown(&run);
    CONTAINS(text, "| 61.5 % of bytes, data sheet |");
    CONTAINS(text, "| ceilings, as an earlier run measured them | sgemm");
    free(text);
}

Test(report, the_baseline_is_of_the_same_problem_and_device_and_the_latest_revision) {
    struct row rows[] = {
        row_of("decode_naive_r1", "decode", 800), row_of("decode_naive_r2", "decode", 400),
        row_of("decode_flash_r1", "decode", 100), row_of("decode_flash_r1", "decode", 1),
        row_of("decode_flash_r1", "decode", 1),
    };
    rows[1].revision = 2;
    strcpy(rows[3].kernel, "cuda/decode_flash_r1");
    strcpy(rows[3].device, "cuda");
    strcpy(rows[4].fixture_digest, D2);
    const struct run run = {.rows = rows, .count = 5};
    json_t *json = exported_json(&run);
    const json_t *list = json_object_get(json, "rows");
    static const struct {
        const char *kernel;
        double speedup; /* NAN: none */
    } expected[] = {{"cpu/decode_flash_r1", 4},
                    {"cpu/decode_naive_r1", 0.5},
                    {"cpu/decode_naive_r2", NAN},
                    {"cuda/decode_flash_r1", NAN},
                    {"cpu/decode_flash_r1", NAN}};
    cr_assert(json_array_size(list) == 5);
    for (size_t n = 0; n < 5; n++) {
        const json_t *row = json_array_get(list, n);
        const json_t *speedup = json_object_get(row, "speedup_baseline");
        const char *kernel = json_string_value(json_object_get(row, "kernel"));
        cr_assert(strcmp(kernel, expected[n].kernel) == 0, "%zu is %s", n, kernel);
        if (isnan(expected[n].speedup))
            cr_assert(json_is_null(speedup), "%zu", n);
        else
            cr_assert(json_real_value(speedup) == expected[n].speedup, "%zu", n);
    }
    json_decref(json);
}

Test(report, json_of_a_run_without_rows_is_whole) {
    const struct run run = {.machine = {.host = "a \"host\"\n"}};
    json_t *json = exported_json(&run);
    cr_assert(json_array_size(json_object_get(json, "rows")) == 0);
    cr_assert(json_object_size(json_object_get(json, "statuses")) == 0);
    json_decref(json);
}

Test(report, an_estimate_is_no_time) {
    struct row rows[] = {row_of("decode_flash_r1", "decode", 100),
                         row_of("decode_split_r1", "decode", 100)};
    strcpy(rows[1].kernel, "twin/decode_split_r1");
    strcpy(rows[1].device, "twin");
    strcpy(rows[1].counted, "HBM 3 bytes\n2 syncs");
    rows[0].estimate_us = NAN;
    rows[1].estimate_us = 16;
    rows[1].warm.n = rows[1].cold.n = 0;
    const struct run run = {.rows = rows, .count = 2};
    char *text = markdown(&run);
    CONTAINS(text, "| kernel | estimate, not a time: 910B2 at least | TFLOP/s at most |\n"
                   "|---|--:|--:|\n| twin/decode_split_r1 | 16.0 µs | 125 |\n\n"
                   "twin/decode_split_r1, what the estimate is of:\n\n"
                   "```\nHBM 3 bytes\n2 syncs\n```\n");
    cr_assert(strstr(text, "| twin/decode_split_r1 | –") == NULL); /* not among the times */
    free(text);
    rows[1].estimate_us = NAN;
    text = markdown(&run);
    cr_assert(strstr(text, "estimate") == NULL);
    free(text);
}

Test(report, a_failure_comes_with_its_reason_and_the_command_that_repeats_it) {
    struct row rows[] = {row_of("decode_flash_r1", "decode", 100)};
    strcpy(rows[0].status, "FAIL_ACCURACY");
    strcpy(rows[0].grade, "F");
    strcpy(rows[0].reason, "|got - o| is 3 tau at b=0");
    rows[0].diagnosis = "as if a query saw |q| keys; wrong in 2 of 2 rows";
    rows[0].repeat = "attest run cpu/decode_flash_r1 f16-decode-line";
    rows[0].warm.n = rows[0].cold.n = 0;
    const struct run run = {.rows = rows, .count = 1};
    char *text = markdown(&run);
    CONTAINS(text, "**1 row**: 1 FAIL_ACCURACY.\n");
    CONTAINS(text,
             "- **FAIL_ACCURACY** cpu/decode_flash_r1 `f16-decode-line`\n  \\|got - o\\| is 3 tau "
             "at b=0\n\n  as if a query saw \\|q\\| keys; wrong in 2 of 2 rows\n\n  ```sh\n  "
             "attest run cpu/decode_flash_r1 f16-decode-line\n  ```\n");
    cr_assert(strstr(text, "cold [quartiles]") == NULL);
    free(text);
}

Test(report, begins_with_the_verdict_and_what_is_wrong_and_says_what_columns_mean) {
    struct row rows[] = {row_of("decode_flash_r1", "decode", 100),
                         row_of("decode_naive_r1", "decode", 100)};
    strcpy(rows[0].status, "FAIL_LSE");
    strcpy(rows[0].reason, "an lse is 2 times its bound");
    const struct run run = {.rows = rows, .count = 2};
    char *text = markdown(&run);
    CONTAINS(text, "# a run\n\n**1 of 2 rows fails, in 1 of 2 kernels: 1 FAIL_LSE.**\n\n"
                   "- `cpu/decode_flash_r1` 1 of 1 row FAIL_LSE `f16-decode-line`: `an lse is 2 "
                   "times its bound`\n\n| machine");
    CONTAINS(text, "1 is what an honest kernel has");
    free(text);
}

static struct row_index unclosed(const struct row *rows, int64_t count) {
    const struct run run = {.rows = (struct row *)rows, .count = count};
    return index_of(&run, options.baseline);
}

Test(index, has_the_order_and_the_rows_of_a_row_set) {
    struct row rows[24];
    for (int n = 0; n < 24;
         n++) { /* 4 lines of 2 variants, 3 kernels, 2 digests or none, some twice */
        static const char *const kernels[] = {"decode_naive_r1", "decode_flash_r1", "decode_a_r2"};
        static const char *const digests[] = {D2, "", D1};
        rows[n] = row_of(kernels[n * 7 % 3], n % 4 > 1 ? "prefill" : "decode", 100 + n);
        snprintf(rows[n].line, sizeof rows[n].line, "line%d", n * 5 % 4);
        strcpy(rows[n].fixture_digest, digests[n / 5 % 3]);
    }
    const struct run run = {.rows = rows, .count = 24};
    struct row_index index = unclosed(rows, 24);
    struct row_set set;
    struct fault fault;
    cr_assert(row_set_make(&set, &run, &fault));
    row_set_arrange(&set);
    cr_assert(index.total == 24 && index.count == set.count && set.count < 24);
    int64_t problems[2] = {0};
    for (int64_t n = 0; n < set.count; n++) {
        struct row row;
        cr_assert(row_index_read(&index, n, &row, &fault), "%s", fault.text);
        cr_assert(row.warm.median_us == set.places[n].row->warm.median_us, "%lld", (long long)n);
        if (n == 0) continue;
        problems[0] += !row_index_same_problem(&index, n - 1, n);
        problems[1] += strcmp(set.places[n - 1].row->line, set.places[n].row->line) != 0 ||
                       strcmp(set.places[n - 1].digest, set.places[n].digest) != 0;
    }
    cr_assert(problems[0] == problems[1] && problems[0] > 4);
    row_set_free(&set);
    row_index_free(&index);
}

Test(index, says_so_where_the_run_is_another_than_it_was) {
    struct row rows[] = {row_of("decode_flash_r1", "decode", 1)}, row;
    struct row_index index = unclosed(rows, 1);
    struct fault fault;
    cr_assert(row_index_read(&index, 0, &row, &fault));
    index.rows[0].at += 1;
    cr_assert(!row_index_read(&index, 0, &row, &fault) && fault.code == FAULT_INPUT);
    cr_assert(strstr(fault.text, "changed while it was read") != NULL, "%s", fault.text);
    row_index_free(&index);
}

Test(report, refusals_and_warnings_are_told_apart_from_failures) {
    struct row rows[] = {row_of("decode_flash_r1", "decode", 100),
                         row_of("decode_naive_r1", "decode", 100)};
    strcpy(rows[0].status, "REFUSED");
    strcpy(rows[0].reason, "head dim 256 is above 128");
    rows[0].fixture_digest[0] = 0;
    rows[0].deviation.elements = rows[0].warm.n = rows[0].cold.n = 0;
    strcpy(rows[1].status, "UNSTABLE");
    strcpy(rows[1].reason, "quartiles 30 % apart");
    rows[1].bias_warning = 1;
    rows[1].deviation.bias = 0.5;
    const struct run run = {.rows = rows, .count = 2};
    char *text = markdown(&run);
    cr_assert(strstr(text, "## Failures") == NULL);
    CONTAINS(text, "cpu/decode_flash_r1 refused: head dim 256 is above 128\n");
    const char *problem = strstr(text, "### `f16-decode-line`");
    cr_assert(problem != NULL && strstr(problem + 1, "### `f16-decode-line`") == NULL);
    CONTAINS(text, "- cpu/decode_naive_r1 `f16-decode-line`: biased, mean(sign(o) error) is 0.5 of "
                   "the model's rms (at most 0.3 expected); UNSTABLE quartiles 30 % apart\n");
    free(text);
}

Test(report, variants_come_in_the_contracts_order_and_problems_as_they_were_run) {
    struct row rows[] = {row_of("decode_flash_r1", "decode", 1),
                         row_of("prefill_flash_r1", "prefill", 1),
                         row_of("decode_flash_r1", "decode", 1)};
    strcpy(rows[0].line, "z");
    strcpy(rows[2].line, "a");
    const struct run run = {.rows = rows, .count = 3};
    char *text = markdown(&run);
    const char *prefill = strstr(text, "\n## prefill\n"), *decode = strstr(text, "\n## decode\n");
    const char *z = strstr(text, "### `z`"), *a = strstr(text, "### `a`");
    cr_assert(prefill != NULL && prefill < decode && decode < z && z < a);
    free(text);
}

Test(report, numbers_are_short_and_have_units) {
    static const struct {
        double us;
        const char *text;
    } cases[] = {{0.25, "0.25 µs"}, {12.34, "12.3 µs"}, {999.4, "999 µs"},
                 {1234, "1.23 ms"}, {5e6, "5.00 s"},    {NAN, "–"}};
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        const struct number time = number_time(cases[n].us);
        cr_assert(strcmp(time.text, cases[n].text) == 0, "%s", time.text);
    }
}

static char *csv(const struct run *run) {
    char *text = NULL;
    size_t bytes;
    struct fault fault = {0};
    struct row_index index = index_of(run, options.baseline);
    FILE *to = open_memstream(&text, &bytes);
    cr_assert(export_csv(to, &index, &fault), "%s", fault.text);
    fclose(to);
    row_index_free(&index);
    return text;
}

/* Splits RFC 4180 text into cells; a newline outside quotes is a cell "\n". */
static int64_t parse_csv(const char *text, char (*cells)[64], int64_t room) {
    int64_t count = 0;
    while (*text && count < room) {
        char *to = cells[count++];
        const bool quoted = *text == '"';
        for (text += quoted; *text; text++) {
            if (quoted && *text == '"' && text[1] != '"') break;
            if (quoted && *text == '"') text++;
            if (!quoted && strchr(",\r", *text)) break;
            if (to - cells[count - 1] < 63) *to++ = *text;
        }
        *to = 0;
        text += quoted;
        if (*text == ',') {
            text++;
        } else {
            cr_assert(strncmp(text, "\r\n", 2) == 0);
            text += 2;
            strcpy(cells[count++], "\n");
        }
    }
    return count;
}

Test(report, csv_has_every_field_and_quotes_what_needs_it) {
    struct row rows[] = {row_of("decode_flash_r1", "decode", 100)};
    strcpy(rows[0].reason, "a \"b\", c\r\nd");
    rows[0].kept_mass = NAN;
    const struct run run = {.rows = rows, .count = 1};
    char *text = csv(&run);
    static char cells[1024][64];
    int64_t fields = 0;
    while (row_fields[fields].name != NULL) fields++;
    cr_assert(parse_csv(text, cells, 1024) == 2 * (fields + 1));
    for (int64_t n = 0; n < fields; n++) {
        const char *name = row_fields[n].name, *value = cells[fields + 1 + n];
        cr_assert(strcmp(cells[n], name) == 0, "%s is not %s", cells[n], name);
        if (strcmp(name, "reason") == 0) cr_assert(strcmp(value, rows[0].reason) == 0);
        if (strcmp(name, "kept_mass") == 0) cr_assert(value[0] == 0);
        if (strcmp(name, "kv_len") == 0) cr_assert(strcmp(value, "32000") == 0);
        if (strcmp(name, "max_abs") == 0) cr_assert(strtod(value, NULL) == 0.000123);
    }
    free(text);
}

/* Files. */

static char *read_text(const char *name) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *from = fopen(name, "r");
    cr_assert(from != NULL, "cannot open %s", name);
    const ssize_t length = getdelim(&text, &bytes, 0, from);
    fclose(from);
    cr_assert(length > 0);
    return text;
}

static void write_run(int64_t count, const char *tail) {
    FILE *to = fopen(path, "w");
    const struct machine machine = {.cpu = "a CPU", .cores = 2, .command = "attest run a|b"};
    json_t *json = machine_to_json(&machine);
    for (int64_t n = 0; n <= count; n++) {
        json_dumpf(json, to, JSON_COMPACT);
        fputc('\n', to);
        json_decref(json);
        struct row row = row_of("decode_flash_r1", "decode", 100);
        snprintf(row.line, sizeof row.line, "line%lld", (long long)n);
        json = n < count ? row_to_json(&row) : NULL;
    }
    fputs(tail, to);
    fclose(to);
}

static int call_report(const char *form) {
    char *argv[] = {"report", folder, (char *)form, "-o", output, NULL};
    return verb_report.run(5, argv);
}

Test(files, a_run_that_was_killed_is_reported_as_far_as_it_came) {
    make_folder();
    write_run(2, "{\"kernel\": \"cpu/dec");
    cr_assert(call_report("--markdown") == 0);
    char *text = read_text(output);
    CONTAINS(text, "**2 rows**: 2 PASS.\n");
    CONTAINS(text, "its file ends torn (1 unreadable line), so it was killed");
    CONTAINS(text, "| command | `attest run a\\|b` |");
    free(text);
    remove_folder();
}

Test(files, every_form_can_be_written_to_a_file) {
    make_folder();
    write_run(3, "");
    cr_assert(call_report("--csv") == 0);
    char *text = read_text(output);
    cr_assert(strncmp(text, "kernel,device,", 14) == 0);
    free(text);
    cr_assert(call_report("--json") == 0);
    json_t *json = json_load_file(output, 0, NULL);
    cr_assert(json_array_size(json_object_get(json, "rows")) == 3);
    cr_assert(json_integer_value(json_object_get(json_object_get(json, "statuses"), "PASS")) == 3);
    json_decref(json);
    remove_folder();
}

Test(files, a_run_that_is_not_there_is_the_users_to_mend) {
    make_folder();
    cr_assert(call_report("--csv") == FAULT_INPUT);
    remove_folder();
}

/* Documentation. */

static char *readme(void) {
    char name[4096];
    snprintf(name, sizeof name, "%s", __FILE__);
    char *slash = strrchr(name, '/');
    cr_assert(slash != NULL);
    snprintf(slash, sizeof name - (size_t)(slash - name), "/../../reports/README.md");
    return read_text(name);
}

/* '|' would end a cell. */
static void escape(char *to, const char *from) {
    for (; *from; *to++ = *from++)
        if (*from == '|') *to++ = '\\';
    *to = 0;
}

static void expect_fields(const char *text, const struct row_field *fields) {
    for (; fields->name != NULL; fields++) {
        char meaning[512], line[1024];
        escape(meaning, fields->meaning);
        snprintf(line, sizeof line, "\n| `%s` | %s | %s |\n", fields->name, fields->unit, meaning);
        cr_assert(strstr(text, line) != NULL, "reports/README.md lacks the line%s", line);
    }
}

Test(readme, documents_every_field_as_the_program_does) {
    char *text = readme();
    expect_fields(text, row_fields);
    expect_fields(text, machine_fields);
    expect_fields(text, machine_device_fields);
    free(text);
}

Test(readme, documents_every_status) {
    char *text = readme();
    for (int status = 0; status < STATUS_COUNT; status++) {
        char line[64];
        snprintf(line, sizeof line, "| `%s` | %d | ", status_name(status), status_exit(status));
        CONTAINS(text, line);
    }
    free(text);
}

/* Drawing and shrinking. */

Test(fuzz, lines_are_a_function_of_seed_and_number_and_cover_what_there_is) {
    bool variants[ATTN_VARIANT_COUNT] = {0}, data[DATA_COUNT] = {0}, dtypes[ATTN_U8 + 1] = {0};
    for (uint64_t n = 0; n < 2000; n++) {
        char line[PROBLEM_LINE_BYTES], again[PROBLEM_LINE_BYTES];
        struct problem problem;
        struct fault fault;
        fuzz_line(line, 7, n);
        fuzz_line(again, 7, n);
        cr_assert(strcmp(line, again) == 0);
        cr_assert(problem_parse(&problem, line, &fault), "%s: %s", line, fault.text);
        problem_print(&problem, again);
        cr_assert(strcmp(line, again) == 0);
        cr_assert(fuzz_products(&problem) <= FUZZ_PRODUCTS_MAX, "%s", line);
        variants[problem.attn.variant] = true;
        data[problem.data] = true;
        dtypes[problem.attn.dtype] = true;
    }
    for (int n = 0; n < ATTN_VARIANT_COUNT; n++) cr_assert(variants[n], "%s", variant_name(n));
    for (int n = 0; n < DATA_FILE; n++) cr_assert(data[n], "%s", data_name(n));
    cr_assert(dtypes[ATTN_F32] && dtypes[ATTN_F16] && dtypes[ATTN_BF16]);
}

static bool fails_from_17_keys(const char *line, void *context) {
    struct problem problem;
    struct fault fault;
    ++*(int *)context;
    cr_assert(problem_parse(&problem, line, &fault), "%s: %s", line, fault.text);
    return problem.attn.kv_len >= 17 && problem.data == DATA_DEEP;
}

Test(fuzz, shrinking_keeps_what_fails_and_drops_the_rest) {
    char line[PROBLEM_LINE_BYTES] = "bf16-b3-hq12-hkv3-q1-kv1000-d80-page61-pagesshared-lens1000,5,"
                                    "999-keep0.5-scale0.25-deep-poisonnan-seed99";
    int asked = 0;
    fuzz_shrink(line, fails_from_17_keys, &asked, 200);
    cr_assert(strcmp(line, "bf16-b1-hq1-hkv1-q1-kv17-d1-page1-pagesordered-lens17-keep0.5-deep-"
                           "seed1") == 0,
              "%s", line);
    cr_assert(asked <= 200);
}

Test(fuzz, shrinking_stops_when_its_budget_is_spent) {
    char line[PROBLEM_LINE_BYTES] = "bf16-b3-hq12-hkv3-q1-kv1000-d80-deep-seed99";
    int asked = 0;
    fuzz_shrink(line, fails_from_17_keys, &asked, 3);
    cr_assert(asked == 3);
}

Test(driver, the_cpu_needs_none) {
    cr_assert(drivers[0].device == ATTN_CPU && driver_present(&drivers[0]));
}
