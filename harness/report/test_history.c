/* Runs of several hosts: one real run of a stand-in for a GPU, of which the machine, the times and
 * what the probe and the control say are edited. */
#include "../session/test_runs.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { HISTORY_ROWS = 6 };

struct edit { /* of a run; us 0: its rows stay as they are */
    const char *name, *time, *host, *device;
    double us, read_bytes_s, control_us;
    const char *library;
};

static struct gpus gpus;
static char folder[64], path[8][256];

static const char *in_folder(const char *name) {
    static int turn;
    char *at = path[turn++ % 8];
    snprintf(at, sizeof path[0], "%s/%s", folder, name);
    return at;
}

static void begin(void) {
    char cap[] = "5";
    gpus = gpus_make();
    test_folder_make(folder);
    const char *arguments[] = {"attest",    "run",   "--no-probe", "--time-ms", cap,
                               gpus.kernel, "-s",    gpus.suite,   "-d",        "cuda:0",
                               "seed<=6",   "--out", gpus.folder,  NULL};
    cr_assert(status_of_run(arguments) == 0);
    mkdir(in_folder("all"), 0777);
}

static void end(void) {
    test_folder_remove(folder);
    test_folder_remove(gpus.folder);
}

/* cppcheck-suppress unknownMacro */
TestSuite(history, .init = begin, .fini = end);

static void set_real(json_t *json, const char *name, double value) {
    cr_assert(json_object_get(json, name) != NULL, "%s", name);
    json_object_set_new(json, name, json_real(value));
}

static void set_text(json_t *json, const char *name, const char *value) {
    cr_assert(json_object_get(json, name) != NULL, "%s", name);
    json_object_set_new(json, name, json_string(value));
}

static void edit_machine(json_t *machine, const struct edit *edit) {
    json_t *device = json_array_get(json_object_get(machine, "devices"), 0);
    set_text(machine, "time", edit->time);
    set_text(machine, "host", edit->host);
    set_text(machine, "device", edit->device);
    set_text(machine, "cpu", edit->host); /* hosts of one GPU may have any CPU */
    set_text(device, "name", edit->device);
    set_text(device, "uuid", edit->host);
    set_text(device, "ceilings", "measured");
    set_real(device, "read_bytes_s", edit->read_bytes_s);
}

static void edit_row(json_t *row, const struct edit *edit) {
    static const char *const times[] = {"warm_min_us",    "warm_ci_low_us", "warm_q1_us",
                                        "warm_median_us", "warm_q3_us",     "warm_ci_high_us",
                                        "warm_max_us"};
    static const char *const controls[] = {"warm_control_begin_us", "warm_control_middle_us",
                                           "warm_control_end_us"};
    for (int n = 0; n < 7; n++) set_real(row, times[n], edit->us * (1 + 1e-4 * n));
    for (int n = 0; n < 3; n++) set_real(row, controls[n], edit->control_us * (1 + 1e-4 * n));
    json_object_set_new(row, "warm_n", json_integer(100));
    json_object_set_new(row, "warm_interrupted", json_integer(0));
    set_text(row, "status", "PASS");
    set_text(row, "ceiling", "bytes");
    set_text(row, "library_digest", edit->library);
}

static void write_run(const struct edit *edit, const char *real) {
    char name[64], line[65536];
    snprintf(name, sizeof name, "all/%s", edit->name);
    mkdir(in_folder(name), 0777);
    snprintf(name, sizeof name, "all/%s/run.jsonl", edit->name);
    FILE *to = fopen(in_folder(name), "w");
    snprintf(line, sizeof line, "%s/run.jsonl", real);
    FILE *from = fopen(line, "r");
    cr_assert(from != NULL && to != NULL);
    for (int n = 0; fgets(line, sizeof line, from) != NULL; n++) {
        json_t *json = json_loads(line, 0, NULL);
        cr_assert(json != NULL && n <= HISTORY_ROWS);
        if (n == 0)
            edit_machine(json, edit);
        else if (edit->us > 0)
            edit_row(json, edit);
        cr_assert(json_dumpf(json, to, JSON_COMPACT) == 0 && fputc('\n', to) != EOF);
        json_decref(json);
    }
    fclose(from);
    fclose(to);
}

/* The new run on the fourth of January, after three hosts' and before another's. */
static void write_history(struct edit new) {
    static const char *const device = "NVIDIA H200";
    const struct edit old[] = {
        {"1", "2026-01-01T00:00:00Z", "first", device, 100, 4e12, 42, "old"},
        {"2", "2026-01-02T00:00:00Z", "second", "NVIDIA H100", 50, 3e12, 42, "old"},
        {"3", "2026-01-03T00:00:00Z", "third", device, 120, 4e12, 42, "old"},
        {"5", "2026-01-05T00:00:00Z", "fifth", device, 10, 4e12, 42, "old"},
    };
    for (size_t n = 0; n < sizeof old / sizeof old[0]; n++) write_run(&old[n], gpus.folder);
    new.name = "4";
    new.time = "2026-01-04T00:00:00Z";
    new.host = "fourth";
    new.device = device;
    new.library = "new";
    write_run(&new, gpus.folder);
}

static json_t *compare_new(int *status) {
    const char *arguments[] = {"attest",           "compare", in_folder("all"),
                               in_folder("all/4"), "--json",  NULL};
    FILE *out = tmpfile();
    cr_assert(out != NULL);
    *status = test_finish(test_start(arguments, fileno(out)));
    rewind(out);
    json_t *json = json_loadf(out, 0, NULL);
    fclose(out);
    cr_assert(json != NULL, "exit status %d", *status);
    cr_assert_str_eq(json_string_value(json_object_get(json, "machines_differ")), "");
    cr_assert(json_array_size(json_object_get(json, "pairs")) == HISTORY_ROWS);
    cr_assert(json_array_size(json_object_get(json, "only_old")) == 0);
    return json;
}

static void expect(struct edit new, int status, const char *verdict, const char *why) {
    size_t n;
    int found;
    json_t *pair;
    write_history(new);
    json_t *json = compare_new(&found);
    json_array_foreach(json_object_get(json, "pairs"), n, pair) {
        const char *is = json_string_value(json_object_get(pair, "verdict"));
        const char *because = json_string_value(json_object_get(pair, "why"));
        const double ratio = json_number_value(json_object_get(pair, "ratio"));
        cr_assert(ratio > new.us / 120 - 0.01 && ratio < new.us / 120 + 0.01, "%g", ratio);
        cr_assert_str_eq(is, verdict, "%s: %s", is, because);
        cr_assert_str_eq(because, why);
        const json_t *old = json_object_get(pair, "old");
        cr_assert_str_eq(json_string_value(json_object_get(old, "host")), "third");
    }
    json_decref(json);
    cr_assert(found == status, "%d", found);
}

Test(history, a_row_is_compared_with_the_last_before_it_on_such_a_device) {
    expect((struct edit){.us = 120.1, .read_bytes_s = 4e12, .control_us = 42}, 0, "same", "");
}

Test(history, slower_on_a_host_like_the_others_is_a_regression) {
    expect((struct edit){.us = 180, .read_bytes_s = 4e12, .control_us = 42}, EXIT_REGRESSION,
           "slower", "");
}

Test(history, on_a_host_that_is_slower_than_its_like_it_is_the_machine) {
    expect((struct edit){.us = 132, .read_bytes_s = 4e12 / 1.1, .control_us = 42}, 0, "undecided",
           "the machine: its ceiling of bytes is 10 % lower");
    expect((struct edit){.us = 132, .read_bytes_s = 4e12, .control_us = 42 * 1.08}, 0, "undecided",
           "the machine: its control is 8 % slower");
    /* which explains so much and no more */
    expect((struct edit){.us = 180, .read_bytes_s = 4e12 / 1.1, .control_us = 42}, EXIT_REGRESSION,
           "slower", "");
}

Test(history, what_only_checked_does_not_hide_what_was_timed) {
    int status;
    char checked[300];
    write_history((struct edit){.us = 120.1, .read_bytes_s = 4e12, .control_us = 42});
    snprintf(checked, sizeof checked, "%s", in_folder("checked"));
    const char *check[] = {"attest", "run",      "--no-probe", "--no-time", gpus.kernel,
                           "-s",     gpus.suite, "-d",         "cuda:0",    "seed<=6",
                           "--out",  checked,    NULL};
    cr_assert(status_of_run(check) == 0);
    write_run(&(struct edit){.name = "checked",
                             .time = "2026-01-03T12:00:00Z",
                             .host = "third",
                             .device = "NVIDIA H200",
                             .read_bytes_s = 4e12},
              checked);
    json_decref(compare_new(&status));
    cr_assert(status == 0);
}

Test(history, pages_say_which_host_is_slower_and_what_was_last) {
    char text[65536];
    int status;
    write_history((struct edit){.us = 180, .read_bytes_s = 4e12 / 1.1, .control_us = 42});
    free(test_words((const char *[]){"attest", "report", in_folder("all"), "--history", "--html",
                                     in_folder("pages"), NULL},
                    &status));
    cr_assert(status == 0);
    FILE *file = fopen(in_folder("pages/index.html"), "r");
    cr_assert(file != NULL);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    cr_assert(
        strstr(text,
               "fourth cuda:0</td><td class=\"t\">NVIDIA H200</td><td>1</td><td>0.909</td>") !=
            NULL,
        "%s", text);
    cr_assert(strstr(text, "<td class=\"t\">reading is slower by 10 %</td>") != NULL);
    /* the last on an H200 is the fifth's, over the fourth's */
    cr_assert(strstr(text,
                     "NVIDIA H200</td><td>5</td><td class=\"t\">2026-01-05T00:00:00Z</td>"
                     "<td>0.0556</td><td>1</td><td>6</td><td class=\"t\">fifth cuda:0</td>") !=
                  NULL,
              "%s", text);
    cr_assert(strstr(text, "NVIDIA H100</td><td>2</td>") != NULL);
}

Test(history, a_folder_without_an_earlier_run_is_told) {
    int status;
    write_run(
        &(struct edit){"1", "2026-01-01T00:00:00Z", "first", "NVIDIA H200", 100, 4e12, 42, "old"},
        gpus.folder);
    char *text = test_words(
        (const char *[]){"attest", "compare", in_folder("all"), in_folder("all/1"), NULL}, &status);
    cr_assert(status == FAULT_NOTHING && strstr(text, "in an earlier run on such a device"), "%s",
              text);
    free(text);
}
