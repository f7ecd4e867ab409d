#include "pages.h"
#include "html.h"
#include "pictures.h"
#include "../session/writer.h"
#include "../../fixtures/test_folder.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static const char *in_folder(const char *name) {
    static char paths[8][400];
    static int turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void make_folder(void) {
    test_folder_make(folder);
}

static void remove_folder(void) {
    test_folder_remove(folder);
}

/* cppcheck-suppress unknownMacro */
TestSuite(pages, .init = make_folder, .fini = remove_folder);

static struct row row_of(const char *kernel, const char *line, double warm_us) {
    struct row row = {.kept_ratio = 1,
                      .kept_mass = NAN,
                      .batch = 1,
                      .q_heads = 8,
                      .kv_heads = 8,
                      .q_len = 1,
                      .kv_len = 512,
                      .head_dim = 64,
                      .revision = 1,
                      .flops = 2e9,
                      .bytes = 3 << 20,
                      .tflops = 0.125,
                      .gbs = 12.5,
                      .ceiling_percent = 61.5};
    snprintf(row.kernel, sizeof row.kernel, "cpu/%s", kernel);
    strcpy(row.device, "cpu");
    strcpy(row.variant, "decode");
    strcpy(row.method, "flash");
    strcpy(row.library_digest, "0123");
    snprintf(row.line, sizeof row.line, "%s", line);
    strcpy(row.fixture_digest, "d1");
    strcpy(row.dtype, "f16");
    strcpy(row.status, "PASS");
    strcpy(row.grade, "A");
    strcpy(row.ceiling, "bytes");
    row.deviation = (struct deviation){.elements = 4096,
                                       .t_max = 0.31,
                                       .rho = 1.01,
                                       .rho_block = 1.07,
                                       .ulp_median = 0.25,
                                       .ulp_p99 = 0.5,
                                       .ulp_max = 0.75};
    row.warm = (struct timing){.n = 50,
                               .q1_us = 0.9 * warm_us,
                               .median_us = warm_us,
                               .q3_us = 1.1 * warm_us,
                               .ci_low_us = 0.99 * warm_us,
                               .ci_high_us = 1.01 * warm_us,
                               .control_us = {14, 14, 14}};
    return row;
}

static void fail(struct row *row, const char *reason, const char *diagnosis) {
    strcpy(row->status, "FAIL_ACCURACY");
    snprintf(row->reason, sizeof row->reason, "%s", reason);
    row->diagnosis = diagnosis;
    row->repeat = "attest run 'x'";
}

static const struct report_options options = {"a run", "*_naive_*"};

static char *page_of(const char *report, const char *page) {
    char path[800], *text = NULL;
    size_t room = 0;
    snprintf(path, sizeof path, "%s/%s", in_folder(report), page);
    FILE *file = fopen(path, "re");
    cr_assert(file != NULL, "%s", path);
    cr_assert(getdelim(&text, &room, '\0', file) > 0);
    fclose(file);
    return text;
}

static void write_run(const char *name, struct row *rows, int64_t count) {
    struct fault fault = {0};
    const struct run run = {.rows = rows, .count = count};
    cr_assert(pages_run(in_folder(name), &run, &options, &fault), "%s", fault.text);
}

static int entries_of(const char *path) {
    int count = 0;
    DIR *open = opendir(path);
    cr_assert(open != NULL);
    while (readdir(open) != NULL) count++;
    closedir(open);
    return count - 2;
}

#define CONTAINS(text, fragment)                                                                   \
    cr_assert(strstr(text, fragment) != NULL, "'%s' is not in\n%s", fragment, text)
#define LACKS(text, fragment)                                                                      \
    cr_assert(strstr(text, fragment) == NULL, "'%s' is in\n%s", fragment, text)

Test(pages, the_verdict_comes_first_then_what_is_wrong_then_what_is_fast) {
    struct row rows[] = {row_of("decode_flash_r1", "f16-kv512", 100),
                         row_of("decode_naive_r1", "f16-kv512", 400)};
    fail(&rows[1], "gate 2: 51 times", "as if a query saw one key fewer");
    write_run("report", rows, 2);
    char *text = page_of("report", "index.html");
    const char *verdict =
        strstr(text, "<h1>1 of 2 rows fails, in 1 of 2 kernels: 1 FAIL_ACCURACY.</h1>");
    const char *wrong = strstr(text, "as if a query saw one key fewer");
    const char *fast = strstr(text, "<h2 id=\"fast\">");
    cr_assert(verdict != NULL && wrong > verdict && fast > wrong, "%s", text);
    CONTAINS(text, "attest run &#39;x&#39;");
    CONTAINS(text, "1 is what an honest kernel has");
    free(text);
    text = page_of("report", "kernel-2-cpu-decode_naive_r1.html");
    CONTAINS(text, "gate 2: 51 times");
    free(text);
}

Test(pages, what_others_wrote_is_text) {
    struct row rows[] = {row_of("x/../<img src=a>\"'&\xff\x1b[2J", "f16-kv512", 100)};
    fail(&rows[0], "<script>alert(1)</script>", "</pre><b>");
    write_run("report", rows, 1);
    char *text = page_of("report", "index.html");
    LACKS(text, "<img");
    LACKS(text, "<script");
    LACKS(text, "</pre><b>");
    LACKS(text, "\x1b");
    CONTAINS(text, "&lt;script&gt;");
    CONTAINS(text, "\\xff\\x1b");
    CONTAINS(text, "href=\"kernel-1-cpu-x-----img-src-a");
    free(text);
    cr_assert(entries_of(in_folder("report")) == 2);
}

/* gnuplot would run what is between backquotes, and end at a % that it does not know. */
Test(pages, nothing_that_others_wrote_reaches_gnuplot) {
    char name[96];
    snprintf(name, sizeof name, "%%q`touch %s`'\n!touch %s\n", in_folder("a"), in_folder("b"));
    struct row rows[] = {row_of(name, "f16-kv512", 100), row_of("decode_naive_r1", "f16-kv512", 1)};
    write_run("report", rows, 2);
    cr_assert(access(in_folder("a"), F_OK) != 0 && access(in_folder("b"), F_OK) != 0);
    cr_assert(entries_of(folder) == 1);
    char *text = page_of("report", "index.html");
    CONTAINS(text, "<svg viewBox=\"0 0 ");
    free(text);
}

Test(pages, what_was_found_beside_another_is_on_the_kernels_page) {
    struct row rows[] = {row_of("decode_flash_r1@old", "f16-kv512", 100),
                         row_of("decode_flash_r1", "f16-kv512", 110),
                         row_of("decode_flash_r1", "f16-kv1024", 110)};
    for (int n = 1; n < 3; n++) strcpy(rows[n].versus, rows[0].kernel);
    rows[1].versus_warm = (struct versus){
        .pairs = 391, .ratio = 1.098, .low = 1.095, .high = 1.107, .control = 0.999, .needed = NAN};
    strcpy(rows[2].versus_why, "the old one is wrong");
    write_run("report", rows, 3);
    char *text = page_of("report", "kernel-1-cpu-decode_flash_r1.html");
    CONTAINS(text, "<h2 id=\"beside\">");
    CONTAINS(text, "warm</td><td>1.1</td><td>1.09 – 1.11</td><td>0.999</td><td>391</td>");
    CONTAINS(text, "the old one is wrong");
    free(text);
    text = page_of("report", "kernel-2-cpu-decode_flash_r1-old.html");
    LACKS(text, "id=\"beside\"");
    free(text);
}

/* No run of ours has it. */
Test(pages, a_kernel_that_is_an_anchor_too_has_a_page_without_those_rows) {
    struct row rows[] = {row_of("decode_flash_r1", "f16-kv512", 100),
                         row_of("decode_flash_r1", "f16-kv1024", 100)};
    for (int n = 0; n < 2; n++) snprintf(rows[n].kernel, sizeof rows[n].kernel, "a/kernel");
    strcpy(rows[1].device, "anchor");
    write_run("report", rows, 2);
    char *text = page_of("report", "kernel-1-a-kernel.html");
    CONTAINS(text, "f16-kv512");
    LACKS(text, "f16-kv1024");
    free(text);
}

Test(pages, without_gnuplot_the_numbers_are_there) {
    struct row rows[] = {row_of("decode_flash_r1", "f16-kv512", 100),
                         row_of("decode_naive_r1", "f16-kv512", 400)};
    setenv("PATH", folder, 1);
    write_run("report", rows, 2);
    char *text = page_of("report", "index.html");
    LACKS(text, "<svg viewBox=\"0 0 ");
    CONTAINS(text, "<figure");
    CONTAINS(text, "4 x</td>");
    free(text);
}

Test(pages, a_report_is_replaced_and_nothing_else_is) {
    struct fault fault = {0};
    struct row rows[] = {row_of("decode_flash_r1", "f16-kv512", 100),
                         row_of("decode_naive_r1", "f16-kv512", 400)};
    const struct run run = {.rows = rows, .count = 1};
    write_run("report", rows, 2);
    cr_assert(entries_of(in_folder("report")) == 3);
    write_run("report", rows, 1);
    cr_assert(entries_of(in_folder("report")) == 2);
    cr_assert(mkdir(in_folder("empty"), 0777) == 0);
    write_run("empty", rows, 1);

    FILE *other = fopen(in_folder("report/notes.txt"), "we");
    fclose(other);
    cr_assert(!pages_run(in_folder("report"), &run, &options, &fault));
    cr_assert(fault.code == FAULT_INPUT && strstr(fault.text, "'notes.txt'"), "%s", fault.text);
    cr_assert(!pages_run(in_folder("report/notes.txt"), &run, &options, &fault));
    cr_assert(fault.code == FAULT_INPUT && strstr(fault.text, "is no folder"), "%s", fault.text);
    cr_assert(!pages_run(in_folder("none/report"), &run, &options, &fault));
    cr_assert(fault.code == FAULT_INPUT, "%s", fault.text);
    cr_assert(mkdir(in_folder("site"), 0777) == 0);
    other = fopen(in_folder("site/index.html"), "we");
    fputs("<!DOCTYPE html>\n<title>somebody's</title>\n", other);
    fclose(other);
    cr_assert(!pages_run(in_folder("site"), &run, &options, &fault));
    cr_assert(strstr(fault.text, "are not a report's"), "%s", fault.text);
    cr_assert(entries_of(in_folder("site")) == 1 && entries_of(folder) == 3);
}

/* As a run leaves them: a row that failed, and one of a GPU whose clock was watched. */
static void write_samples(struct row *wrong, struct row *timed) {
    struct fault fault = {0};
    struct writer writer;
    struct machine machine = {.cores = 1};
    double us[60], mhz[60], got[64] = {0}, expected[64] = {0}, tolerance[64];
    int64_t index[64][4];
    for (int n = 0; n < 60; n++) us[n] = 100 + n, mhz[n] = 1980;
    for (int n = 0; n < 64; n++) {
        tolerance[n] = 1;
        index[n][0] = index[n][1] = index[n][2] = 0;
        index[n][3] = n;
    }
    got[63] = 40;
    struct samples times = {.warm_us = us, .warm_clock_mhz = mhz, .warm_count = 60};
    struct samples block = {.out = {64, index, got, expected, tolerance}};
    cr_assert(mkdir(in_folder("run"), 0777) == 0);
    cr_assert(writer_create(&writer, in_folder("run"), "unused", "", &machine, &fault));
    cr_assert(samples_write(in_folder("run"), wrong, &block, &fault), "%s", fault.text);
    cr_assert(writer_append(&writer, wrong, &fault));
    cr_assert(samples_write(in_folder("run"), timed, &times, &fault), "%s", fault.text);
    cr_assert(writer_append(&writer, timed, &fault));
    cr_assert(samples_finish(in_folder("run"), &fault), "%s", fault.text);
    cr_assert(writer_close(&writer, &fault));
}

Test(pages, samples_are_shown_one_by_one_and_a_failing_block_as_a_map) {
    struct row rows[] = {row_of("decode_wrong_r1", "f16-kv512", 100),
                         row_of("decode_flash_r1", "f16-kv512", 130)};
    struct fault fault = {0};
    fail(&rows[0], "gate 2", "");
    write_samples(&rows[0], &rows[1]);
    const struct run run = {.rows = rows, .count = 2};
    char path[400];
    snprintf(path, sizeof path, "%s", in_folder("run"));
    cr_assert(
        pages_run(in_folder("report"), &run, &(struct report_options){path, "*_naive_*"}, &fault),
        "%s", fault.text);
    char *text = page_of("report", "kernel-2-cpu-decode_wrong_r1.html");
    CONTAINS(text, "Error over tolerance around the worst element");
    CONTAINS(text, "<td>31</td><td>0</td><td>40</td>");
    free(text);
    text = page_of("report", "kernel-1-cpu-decode_flash_r1.html");
    CONTAINS(text, "Samples in the order taken");
    CONTAINS(text, "<tr><td>the GPU&#39;s clock, MHz</td><td>60</td><td>1980</td></tr>");
    CONTAINS(text, "<tr><td>warm launches</td><td>60</td><td>159 µs</td></tr>");
    free(text);
}

Test(pages, of_more_rows_than_there_is_room_for_those_that_became_slower_are_shown) {
    enum { PAIRS = 60 };
    static struct row before[PAIRS], after[PAIRS];
    for (int n = 0; n < PAIRS; n++) {
        char line[32];
        snprintf(line, sizeof line, "f16-kv%d", n + 1);
        before[n] = row_of("decode_flash_r1", line, 100);
        after[n] = row_of("decode_flash_r1", line, n == 30 ? 125 : 20);
        strcpy(after[n].library_digest, "4567");
    }
    const struct run old = {.rows = before, .count = PAIRS}, new = {.rows = after, .count = PAIRS};
    const struct compare_options usual = {.least = compare_least};
    struct comparison comparison;
    struct fault fault = {0};
    struct plot plot = {0};
    cr_assert(compare_runs(&comparison, &old, &new, &usual, &fault));
    cr_assert(picture_forest(&plot, "decode", &comparison));
    cr_assert(plot_points(&plot) == 40 + 2); /* the line at 1 */
    cr_assert(plot_series(&plot, "slower", PLOT_INTERVALS)->count == 1);
    CONTAINS(plot.note, "20 rows that differ less");
    plot_free(&plot);
    cr_assert(pages_compare(in_folder("report"), &comparison, "old", "new", &fault));
    compare_free(&comparison);
    char *text = page_of("report", "index.html");
    CONTAINS(text, "<h1>1 of 60 rows became worse: 1 slower, by 25 % at most; 59 faster.</h1>");
    CONTAINS(text, "slower, regression");
    free(text);
}

Test(pages, time_over_length_stands_beside_what_the_bytes_take) {
    enum { LENGTHS = 3 };
    static struct row rows[2 * LENGTHS];
    static struct shown shown[2 * LENGTHS];
    for (int n = 0; n < 2 * LENGTHS; n++) {
        char line[32];
        const int64_t keys = INT64_C(256) << n % LENGTHS;
        snprintf(line, sizeof line, "f16-hq8-kv%lld", (long long)keys);
        rows[n] = row_of(n < LENGTHS ? "decode_flash_r1" : "decode_naive_r1", line,
                         n < LENGTHS ? 10 : 40);
        rows[n].kv_len = keys;
        if (n >= LENGTHS) rows[n].ceiling_percent /= 4;
        shown[n] = (struct shown){.row = &rows[n]};
    }
    struct plot plot = {0};
    cr_assert(picture_length(&plot, "decode", shown, 2 * LENGTHS));
    const struct plot_series *floor = plot_series(&plot, "at the ceiling", PLOT_ROOF);
    cr_assert(plot.series_count == 3 && floor->count == LENGTHS);
    for (int n = 0; n < LENGTHS; n++) {
        cr_assert(floor->points[n].x == 256 << n && fabs(floor->points[n].y - 6.15) < 1e-9);
        cr_assert_eq(floor->points[n].apart, false);
    }
    plot_free(&plot);
}

Test(pages, a_history_is_of_one_machine_and_knows_what_was_first) {
    struct fault fault = {0};
    const double us[] = {100, 80, 60};
    for (int n = 0; n < 3; n++) {
        struct writer writer;
        struct machine machine = {.cores = 1 + n / 2};
        char name[16];
        struct row row = row_of("decode_flash_r1", "f16-kv512", us[n]);
        snprintf(name, sizeof name, "runs/%d", n);
        snprintf(machine.time, sizeof machine.time, "2026-01-0%dT00:00:00Z", n + 1);
        mkdir(in_folder("runs"), 0777);
        mkdir(in_folder(name), 0777);
        cr_assert(writer_create(&writer, in_folder(name), "unused", "", &machine, &fault), "%s",
                  fault.text);
        cr_assert(writer_append(&writer, &row, &fault));
        cr_assert(writer_close(&writer, &fault));
    }
    const char *runs[] = {in_folder("runs")};
    cr_assert(pages_history(in_folder("report"), runs, 1, &fault), "%s", fault.text);
    char *text = page_of("report", "kernel-1-cpu-decode_flash_r1.html");
    CONTAINS(text, "2026-01-02T00:00:00Z</td><td>1</td><td>0</td><td>0</td><td>1.07</td><td>0.8<");
    CONTAINS(text, "2026-01-03T00:00:00Z</td><td>1</td><td>0</td><td>0</td><td>1.07</td><td>1<");
    free(text);
    mkdir(in_folder("nothing"), 0777);
    const char *nothing[] = {in_folder("nothing")};
    cr_assert(!pages_history(in_folder("other"), nothing, 1, &fault));
    cr_assert(fault.code == FAULT_INPUT && strstr(fault.text, "is no run and holds none"));
    cr_assert(access(in_folder("other"), F_OK) != 0);
}
