#include "samples.h"
#include "../session/writer.h"
#include "../test_program.h"
#include "../trial/obtain.h"
#include "../trial/trial.h"
#include "../../fixtures/store.h"
#include "../../fixtures/test_folder.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char decode_line[] = "f16-b2-hq4-hkv2-q1-kv100-d64-normal-seed1";

static char folder[64];

static const char *in_folder(const char *name) {
    static char paths[4][4200];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static bool exists(const char *name) {
    return access(in_folder(name), F_OK) == 0;
}

/* Reading back, by nothing but the documented layout. */

static store_id open_samples(const char *run) {
    char path[4200];
    struct fault fault;
    snprintf(path, sizeof path, "%s/samples.h5", run);
    const store_id file = store_open(path, &fault);
    cr_assert(file >= 0, "%s: %s", path, fault.text);
    return file;
}

static store_id open_row(store_id file, const struct row *row) {
    struct fault fault;
    char name[SAMPLES_NAME_BYTES];
    samples_name(row, name);
    return store_open_group(file, name, &fault);
}

/* An array of that type; the caller's. NULL: there is none. */
static void *read_array(store_id group, const char *name, enum store_type type, int64_t *count) {
    struct store_array array;
    struct fault fault;
    int64_t chunk_bytes = 0;
    STORE_HELD dataset = store_inspect(group, name, &array, &chunk_bytes, &fault);
    if (dataset < 0) return NULL;
    cr_assert(array.type == type && array.rank == (type == STORE_I64 ? 2 : 1));
    cr_assert(array.rank == 1 || array.shape[1] == 4);
    *count = array.shape[0];
    void *data = malloc((size_t)array.shape[0] * 32);
    cr_assert(data != NULL && store_read(dataset, name, data, &fault), "%s", fault.text);
    return data;
}

static void assert_text(store_id group, const char *name, const char *expected) {
    char text[STORE_TEXT_BYTES];
    struct fault fault;
    cr_assert(store_read_text(group, name, text, sizeof text, &fault), "%s", fault.text);
    cr_assert(!strcmp(text, expected), "%s: '%s', expected '%s'", name, text, expected);
}

/* The group has the row's timings if it has any, and they give the row's median, unless some were
 * set aside. */
static void assert_times(store_id group, const char *name, const struct timing *timing) {
    int64_t count = 0;
    struct timing again = {0};
    double *us = read_array(group, name, STORE_F64, &count);
    cr_assert((us != NULL) == (timing->n > 0) && count == timing->n + timing->set_aside,
              "%lld, expected %lld", (long long)count, (long long)(timing->n + timing->set_aside));
    timing_summarise(&again, us, count);
    cr_assert(again.min_us <= timing->min_us && again.max_us >= timing->max_us);
    cr_assert(timing->set_aside > 0 || again.median_us == timing->median_us);
    free(us);
}

static bool same(double a, double b) {
    return a == b || (isnan(a) && isnan(b));
}

/* The group has a block, the worst element is in it, and no element is worse. */
static void assert_block(store_id group, const char *prefix, const struct deviation_place *worst,
                         double t_max, int64_t elements) {
    static const char *const names[] = {"got", "expected", "tolerance"};
    char name[64];
    int64_t count = 0;
    double *values[3], t_found = 0;
    bool found = false;
    snprintf(name, sizeof name, "%sindex", prefix);
    int64_t(*index)[4] = read_array(group, name, STORE_I64, &count);
    cr_assert(index != NULL && count == elements, "%lld elements", (long long)count);
    for (int n = 0; n < 3; n++) {
        snprintf(name, sizeof name, "%s%s", prefix, names[n]);
        values[n] = read_array(group, name, STORE_F64, &count);
        cr_assert(values[n] != NULL && count == elements);
    }
    for (int64_t n = 0; n < count; n++) {
        const double t = fabs(values[0][n] - values[1][n]) / values[2][n];
        cr_assert(index[n][0] == worst->b && index[n][1] == worst->h);
        if (!(t <= t_found)) t_found = isnan(t) ? INFINITY : t;
        if (index[n][2] != worst->i || index[n][3] != worst->d) continue;
        found = true;
        cr_assert(same(values[0][n], worst->got) && same(values[1][n], worst->expected) &&
                      same(values[2][n], worst->tolerance),
                  "%g %g %g", values[0][n], values[1][n], values[2][n]);
    }
    cr_assert(found && t_found == t_max, "%.17g, expected %.17g", t_found, t_max);
    for (int n = 0; n < 3; n++) free(values[n]);
    free(index);
}

/* The program */

#define RUN(...)                                                                                   \
    test_finish(                                                                                   \
        test_start((const char *const[]){"attest", "run", "--no-probe", __VA_ARGS__, NULL}, -1))

static const char *planted(const char *name) {
    static char paths[4][4400];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/../planted/cpu/%s.so", verb_kernels(), name);
    return path;
}

static struct run read_run(const char *path) {
    struct run run;
    struct fault fault = {0};
    cr_assert(run_read(&run, path, &fault), "%s", fault.text);
    return run;
}

Test(samples, of_a_failure_are_the_elements_around_the_worst) {
    test_folder_make(folder);
    cr_assert(RUN("--out", folder, "--no-time", decode_line,
                  "bf16-b1-hq2-hkv2-q200-kv300-d32-causal-normal-seed1",
                  planted("decode_scale_1_01_r1"), planted("decode_lse_base_2_r1"),
                  planted("prefill_tile_unwritten_r1"), "decode_naive_r1") == 1);
    struct run run = read_run(folder);
    STORE_HELD file = open_samples(folder);
    int accuracy = 0, lse = 0, unwritten = 0;
    for (int64_t n = 0; n < run.count; n++) {
        const struct row *row = &run.rows[n];
        const struct deviation *deviation = &row->deviation;
        STORE_HELD group = open_row(file, row);
        const bool failed = !strncmp(row->status, "FAIL", 4);
        cr_assert((group >= 0) == failed, "%s %s", row->kernel, row->status);
        if (!failed) continue;
        assert_text(group, "kernel", row->kernel);
        assert_text(group, "line", row->line);
        assert_text(group, "library_digest", row->library_digest);
        assert_text(group, "fixture_digest", row->fixture_digest);
        int64_t count;
        void *out = read_array(group, "got", STORE_F64, &count);
        cr_assert((out == NULL) == !strcmp(row->status, "FAIL_LSE"));
        free(out);
        if (!strcmp(row->status, "FAIL_LSE")) {
            assert_block(group, "lse_", &deviation->lse_worst, deviation->lse_max, 1);
            lse++;
        } else if (!strcmp(row->status, "FAIL_ACCURACY")) {
            assert_block(group, "", &deviation->worst, deviation->t_max, 64);
            accuracy++;
        } else {
            /* 128 queries of 200; infinite is written as null */
            cr_assert(!strcmp(row->status, "FAIL_UNWRITTEN"));
            assert_block(group, "", &deviation->worst, INFINITY, 128 * 32);
            unwritten++;
        }
    }
    cr_assert(accuracy == 1 && lse == 1 && unwritten == 1);
    run_free(&run);
    test_folder_remove(folder);
}

Test(samples, of_a_timed_row_are_its_timings_in_the_order_taken) {
    test_folder_make(folder);
    cr_assert(RUN("--out", folder, "--time-ms", "20", "decode_naive_r1", decode_line) == 0);
    struct run run = read_run(folder);
    const struct row *row = &run.rows[run.count - 1]; /* it is timed in several processes */
    cr_assert(row->warm.n >= 5 && row->cold.n >= 1 && row->cold.processes == run.count);
    STORE_HELD file = open_samples(folder);
    STORE_HELD group = open_row(file, row);
    assert_times(group, "cold_us", &row->cold);
    assert_times(group, "warm_us", &row->warm);
    assert_text(file, "format", "attest-samples");
    int64_t count, descents = 0;
    double *us = read_array(group, "warm_us", STORE_F64, &count);
    for (int64_t n = 1; n < count; n++) descents += us[n] < us[n - 1];
    cr_assert(descents > 0); /* not sorted */
    free(us);
    cr_assert(read_array(group, "got", STORE_F64, &count) == NULL);
    cr_assert(!exists("samples"));
    run_free(&run);
    test_folder_remove(folder);
}

Test(samples, are_none_where_rows_passed_and_were_not_timed) {
    test_folder_make(folder);
    cr_assert(RUN("--out", folder, "--no-time", "decode_naive_r1", decode_line) == 0);
    cr_assert(exists("run.jsonl") && !exists("samples") && !exists("samples.h5"));
    test_folder_remove(folder);
}

static const char *const kill_suite[] = {
    "f16-b1-hq2-hkv2-q1-kv64-d64-normal-seed1",  "f16-b1-hq2-hkv2-q1-kv65-d64-normal-seed1",
    "f16-b1-hq2-hkv2-q1-kv66-d64-normal-seed1",  "f16-b1-hq2-hkv2-q1-kv67-d64-normal-seed1",
    "bf16-b1-hq2-hkv2-q1-kv64-d64-normal-seed1", "bf16-b1-hq2-hkv2-q1-kv65-d64-normal-seed1",
};

static bool is_last(const struct run *run, int64_t n) {
    for (int64_t m = n + 1; m < run->count; m++) {
        if (!strcmp(run->rows[m].line, run->rows[n].line)) return false;
    }
    return true;
}

Test(samples, survive_kill_and_are_one_file_after_resume) {
    enum { ROWS = sizeof kill_suite / sizeof kill_suite[0] };
    const char *words[] = {"attest",      "run",         "--no-probe",  "--out",
                           NULL,          "--time-ms",   "20",          "decode_naive_r1",
                           kill_suite[0], kill_suite[1], kill_suite[2], kill_suite[3],
                           kill_suite[4], kill_suite[5], NULL};
    test_folder_make(folder);
    words[4] = folder;
    const pid_t pid = test_start(words, -1);
    int64_t rows = 0;
    for (int tries = 0; tries < 4000 && rows < 2; tries++) {
        struct run run;
        struct fault fault = {0};
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
        if (!run_read(&run, folder, &fault)) continue;
        rows = run.count;
        run_free(&run);
    }
    kill(pid, SIGKILL);
    cr_assert(test_finish(pid) == 1000 + SIGKILL && rows >= 2);
    cr_assert(exists("samples") && !exists("samples.h5"));
    words[3] = "--resume";
    cr_assert(test_finish(test_start(words, -1)) == 0);
    cr_assert(!exists("samples"));
    struct run run = read_run(folder);
    STORE_HELD file = open_samples(folder);
    int64_t last = 0;
    for (int64_t n = 0; n < run.count; n++) {
        if (!is_last(&run, n)) continue;
        last++;
        STORE_HELD group = open_row(file, &run.rows[n]);
        assert_times(group, "cold_us", &run.rows[n].cold);
        assert_times(group, "warm_us", &run.rows[n].warm);
        assert_text(group, "line", run.rows[n].line);
    }
    cr_assert(last == ROWS);
    run_free(&run);
    test_folder_remove(folder);
}

/* Runs written by hand: a row is its kernel, line, library and one warm timing. */

static struct row row_of(const char *line, const char *library, double us) {
    struct row row = {.warm = {.n = 1, .median_us = us}};
    strcpy(row.kernel, "cpu/decode_naive_r1");
    strcpy(row.status, "PASS");
    snprintf(row.line, sizeof row.line, "%s", line);
    snprintf(row.library_digest, sizeof row.library_digest, "%s", library);
    return row;
}

static void add_part(const char *run, const struct row *row) {
    struct fault fault = {0};
    double us = row->warm.median_us;
    const struct samples samples = {.warm_us = &us, .warm_count = row->warm.n};
    cr_assert(samples_write(run, row, &samples, &fault), "%s", fault.text);
}

static void write_run(const char *run, bool new, const struct row *rows, int64_t count) {
    struct fault fault = {0};
    struct writer writer;
    cr_assert(new ? writer_create(&writer, run, "", "", &(struct machine){0}, &fault)
                  : writer_resume(&writer, run, &fault),
              "%s", fault.text);
    for (int64_t n = 0; n < count; n++) {
        add_part(run, &rows[n]);
        cr_assert(writer_append(&writer, &rows[n], &fault), "%s", fault.text);
    }
    cr_assert(writer_close(&writer, &fault));
}

static void finish_run(const char *run) {
    struct fault fault = {0};
    cr_assert(samples_finish(run, &fault), "%s", fault.text);
}

/* What samples.h5 says the row took; NaN: it has no such row. */
static double us_of(const char *run, const struct row *row) {
    int64_t count;
    STORE_HELD file = open_samples(run);
    STORE_HELD group = open_row(file, row);
    if (group < 0) return NAN;
    assert_text(group, "library_digest", row->library_digest);
    double *us = read_array(group, "warm_us", STORE_F64, &count);
    const double first = us != NULL && count == 1 ? us[0] : -1;
    free(us);
    return first;
}

Test(samples, of_rows_that_come_later_are_added_to_those_that_are_there) {
    const struct row rows[] = {row_of("one", "lib1", 1), row_of("two", "lib1", 2),
                               row_of("one", "lib2", 3)};
    test_folder_make(folder);
    write_run(folder, true, rows, 2);
    finish_run(folder);
    cr_assert(us_of(folder, &rows[0]) == 1 && us_of(folder, &rows[1]) == 2);
    write_run(folder, false, &rows[2], 1); /* the kernel was built anew */
    finish_run(folder);
    cr_assert(us_of(folder, &rows[2]) == 3 && us_of(folder, &rows[1]) == 2);
    test_folder_remove(folder);
}

Test(samples, that_no_row_of_the_run_owns_are_dropped) {
    const struct row row = row_of("one", "lib1", 1), orphan = row_of("two", "lib1", 2),
                     stranger = row_of("one", "lib2", 3);
    test_folder_make(folder);
    write_run(folder, true, &row, 1);
    add_part(folder, &orphan); /* killed before the row was written */
    finish_run(folder);
    cr_assert(us_of(folder, &row) == 1 && isnan(us_of(folder, &orphan)));
    add_part(folder, &stranger);
    finish_run(folder);
    cr_assert(us_of(folder, &row) == 1 && !exists("samples"));
    test_folder_remove(folder);
}

Test(samples, of_a_fixture_named_by_its_file_have_its_digest_in_their_name) {
    struct row row = row_of("one", "lib1", 1), file = row_of("one", "lib1", 2);
    file.file = "made/elsewhere.h5";
    strcpy(file.fixture_digest, "0123456789abcdef");
    test_folder_make(folder);
    write_run(folder, true, (struct row[]){row, file}, 2);
    finish_run(folder);
    char name[SAMPLES_NAME_BYTES];
    samples_name(&file, name);
    cr_assert(!strcmp(name, "cpu/decode_naive_r1/one~0123456789abcdef"), "%s", name);
    cr_assert(us_of(folder, &row) == 1 && us_of(folder, &file) == 2);
    test_folder_remove(folder);
}

Test(samples, that_cannot_be_read_are_moved_aside_or_left_out_and_the_rest_is_kept) {
    const struct row rows[] = {row_of("one", "lib1", 1), row_of("two", "lib1", 2),
                               row_of("three", "lib1", 3)};
    test_folder_make(folder);
    write_run(folder, true, rows, 1);
    finish_run(folder);
    cr_assert(truncate(in_folder("samples.h5"), 100) == 0);
    write_run(folder, false, &rows[1], 2);
    char text[SAMPLES_NAME_BYTES], digest[40], part[128];
    samples_name(&rows[2], text);
    store_digest(text, (int64_t)strlen(text), digest);
    snprintf(part, sizeof part, "samples/%s.h5", digest);
    cr_assert(truncate(in_folder(part), 700) == 0);
    finish_run(folder);
    cr_assert(exists("samples.h5.unreadable") && !exists("samples"));
    cr_assert(isnan(us_of(folder, &rows[0])) && us_of(folder, &rows[1]) == 2 &&
              isnan(us_of(folder, &rows[2])));
    test_folder_remove(folder);
}

Test(samples, of_merged_runs_are_those_of_the_rows_that_are_kept) {
    const struct row one[] = {row_of("one", "lib1", 1), row_of("two", "lib1", 2)};
    const struct row two[] = {row_of("one", "lib1", 3), row_of("three", "lib1", 4)};
    char first[64], second[64], out[64];
    test_folder_make(folder);
    snprintf(first, sizeof first, "%s", in_folder("first"));
    snprintf(second, sizeof second, "%s", in_folder("second"));
    snprintf(out, sizeof out, "%s", in_folder("out"));
    write_run(first, true, one, 2);
    finish_run(first);
    write_run(second, true, two, 2); /* killed before it was finished */
    char *words[] = {"merge", out, first, (char *)in_folder("second/run.jsonl"), NULL};
    cr_assert(verb_merge.run(4, words) == 0);
    cr_assert(us_of(out, &two[0]) == 3 && us_of(out, &two[1]) == 4 && us_of(out, &one[1]) == 2);
    test_folder_remove(folder);
}

/* A verdict that every element's tolerance agrees with: the worst block, not the worst element. */
Test(samples, of_a_grade_that_was_missed_are_the_block_with_the_worst_rho) {
    struct fixture fixture = {0};
    struct fault fault = {0};
    const struct obtain_options how = {.program = verb_program()};
    cr_assert(obtain_line(&fixture, "f16-b1-hq2-hkv2-q200-kv200-d32-normal-seed1", &how, &fault),
              "%s", fault.text);
    const struct rule_view view = fixture_view(&fixture);
    uint16_t *out = calloc(2 * 200 * 32, sizeof *out);
    struct samples samples = {0};
    cr_assert(out != NULL);
    const struct samples_output output = {.view = &view, .answer = &fixture.answer, .out = out};
    const struct deviation deviation = {
        .t_max = 0.5, .worst = {.b = 0, .h = 0, .i = 3}, .rho_block_h = 1, .rho_block_i = 128};
    samples_keep_failure(&samples, STATUS_PASS, &deviation, &output);
    cr_assert(samples.out.count == 0);
    samples_keep_failure(NULL, STATUS_FAIL_ACCURACY, &deviation, &output);
    samples_keep_failure(&samples, STATUS_FAIL_ACCURACY, &deviation, &output);
    cr_assert(samples.out.count == 72 * 32 && samples.lse.count == 0);
    for (int64_t n = 0; n < samples.out.count; n++) {
        const int64_t *index = samples.out.index[n];
        cr_assert(index[1] == 1 && index[2] == 128 + n / 32 && index[3] == n % 32);
        cr_assert(samples.out.expected[n] ==
                  fixture.answer.out[(1 * 200 + index[2]) * 32 + index[3]]);
    }
    samples_free(&samples);
    samples_free(&samples);
    free(out);
    fixture_free(&fixture);
}
