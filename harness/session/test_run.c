/* The program itself: runs that are resumed, divided, dealt. */
#include "test_runs.h"
#include "../../fixtures/fixture.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <glob.h>
#include <math.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

Test(run, rows_are_on_disk_and_the_exit_status_is_0_when_all_is_well) {
    char folder[64];
    test_folder_make(folder);
    cr_assert(test_finish(start((const char *[]){"--out", folder, NULL}, -1)) == 0);
    assert_complete(folder);
    test_folder_remove(folder);
}

/* Parts of `all`, each resumed once, which adds nothing. */
static void assert_divides(const struct run *all, const char *costs) {
    enum { SHARDS = 3 };
    bool seen[ROWS] = {false};
    int64_t rows = 0;
    for (int shard = 1; shard <= SHARDS; shard++) {
        char folder[64], part[16];
        test_folder_make(folder);
        snprintf(part, sizeof part, "%d/%d", shard, SHARDS);
        const char *words[] = {"--out", folder, "--shard", part, costs != NULL ? "--by" : NULL,
                               costs,   NULL};
        for (int times = 0; times < (costs != NULL ? 2 : 1); times++) {
            words[0] = times == 0 ? "--out" : "--resume";
            cr_assert(test_finish(start(words, -1)) % 5 == 0); /* 5: a part may be empty */
        }
        struct run run = read_run(folder);
        rows += run.count;
        for (int64_t n = 0; n < run.count; n++) {
            for (int64_t m = 0; m < all->count; m++) {
                if (!same_row(&run.rows[n], &all->rows[m])) continue;
                cr_assert(!seen[m]);
                seen[m] = true;
            }
        }
        run_free(&run);
        words[0] = "--resume";
        words[3] = "1/4";
        if (costs != NULL) cr_assert(test_finish(start(words, -1)) == FAULT_INPUT);
        test_folder_remove(folder);
    }
    cr_assert(rows == ROWS);
    for (int m = 0; m < ROWS; m++) cr_assert(seen[m], "%s", all->rows[m].line);
}

Test(run, shards_are_disjoint_and_together_everything) {
    char whole[64];
    test_folder_make(whole);
    cr_assert(test_finish(start((const char *[]){"--out", whole, NULL}, -1)) == 0);
    struct run all = read_run(whole);
    cr_assert(all.count == ROWS);
    assert_divides(&all, NULL);
    assert_divides(&all, "work");
    assert_divides(&all, whole);
    run_free(&all);
    test_folder_remove(whole);
}

/* The last JSON line of what was printed; *count is how many there are. */
static struct row printed_row(FILE *out, int *count) {
    char line[65536];
    struct row row = {.warm = {.n = 0}};
    rewind(out);
    *count = 0;
    while (fgets(line, sizeof line, out) != NULL) {
        json_t *json = json_loads(line, 0, NULL);
        if (json == NULL) continue;
        cr_assert(row_from_json(&row, json));
        ++*count;
        json_decref(json);
    }
    return row;
}

/* again.h's rule, of a row that was right and took less than 10 ms. */
static bool wants_again(const struct timing *warm) {
    return warm->processes < 3 || (warm->processes < 8 && log(warm->next_us / warm->q1_us) > 0.01);
}

/* Of `now`, what stood before it and another process's. */
static void assert_joined(const struct timing *before, const struct timing *now) {
    cr_assert(now->processes == before->processes + 1);
    cr_assert(now->q1_us <= before->q1_us && now->next_us >= now->q1_us);
    cr_assert(isnan(before->next_us) || now->next_us <= before->next_us);
    cr_assert(now->q1_us == before->q1_us || now->next_us == before->q1_us);
}

/* A busy machine makes a process UNSTABLE, and then the warm timing of another stands alone; what
 * is cold is never set aside. */
static void assert_each_was_joined(const struct run *run) {
    for (int64_t n = 0; n < run->count; n++) {
        const struct timing *warm = &run->rows[n].warm, *cold = &run->rows[n].cold;
        cr_assert((n == run->count - 1) == (n == 7 || !wants_again(warm)));
        if (n == 0) {
            cr_assert(warm->processes == 1 && isnan(warm->next_us));
            cr_assert(cold->processes == 1 && isnan(cold->next_us));
            continue;
        }
        const struct row *before = &run->rows[n - 1];
        assert_joined(&before->cold, cold);
        if (warm->processes > before->warm.processes)
            assert_joined(&before->warm, warm);
        else if (status_of(before) == STATUS_PASS)
            cr_assert(warm->processes == before->warm.processes &&
                      warm->q1_us == before->warm.q1_us);
        else
            cr_assert(warm->processes == 1 && status_of(&run->rows[n]) == STATUS_PASS);
    }
}

Test(run, a_row_of_the_cpu_is_timed_in_several_processes_and_the_fastest_stands) {
    char folder[64];
    int count;
    FILE *out = tmpfile();
    cr_assert(out != NULL);
    const char *words[] = {"attest",
                           "run",
                           "--no-probe",
                           "--json",
                           "--time-ms",
                           "5",
                           "-t",
                           "1",
                           "--out",
                           folder,
                           "cpu/decode_naive_r1",
                           "f16-b1-hq2-hkv2-q1-kv64-d64-normal-seed1",
                           NULL};
    /* Until three processes were left in peace: never, where they are not joined. */
    for (int64_t tries = 0, counted = 0; counted < 3; tries++) {
        cr_assert(tries < 20, "%lld processes count", (long long)counted);
        test_folder_make(folder);
        words[8] = "--out";
        cr_assert(ftruncate(fileno(out), 0) == 0);
        rewind(out);
        cr_assert(test_finish(test_start(words, fileno(out))) == 0);
        const struct row shown = printed_row(out, &count);
        struct run run = read_run(folder);
        cr_assert(count == 1 && run.count >= 3 && run.count <= 8, "%d, %lld", count,
                  (long long)run.count);
        assert_each_was_joined(&run);
        const struct timing last = run.rows[run.count - 1].warm;
        cr_assert(shown.warm.q1_us == last.q1_us && shown.warm.processes == last.processes);
        counted = last.processes;
        /* and nothing is left to do, which one process would have done */
        words[8] = "--resume";
        cr_assert(test_finish(test_start(words, fileno(out))) == 0);
        struct run resumed = read_run(folder);
        cr_assert(wants_again(&last) || resumed.count == run.count);
        run_free(&resumed);
        run_free(&run);
        test_folder_remove(folder);
    }
    test_folder_make(folder);
    words[3] = "--processes=1";
    words[4] = "--warm";
    words[5] = "--time-ms=5";
    words[8] = "--out";
    cr_assert(test_finish(test_start(words, fileno(out))) == 0);
    struct run run = read_run(folder);
    cr_assert(run.count == 1 && run.rows[0].warm.processes == 1);
    cr_assert(run.rows[0].cold.n == 0 && isnan(run.rows[0].cold.median_us));
    run_free(&run);
    fclose(out);
    test_folder_remove(folder);
}

Test(run, json_rows_go_to_standard_output) {
    char folder[64], line[65536];
    FILE *out = tmpfile();
    int rows = 0;
    cr_assert(out != NULL);
    test_folder_make(folder);
    const char *more[] = {"--out", folder, "--json", NULL};
    cr_assert(test_finish(start(more, fileno(out))) == 0);
    rewind(out);
    while (fgets(line, sizeof line, out) != NULL) {
        json_t *json = json_loads(line, 0, NULL); /* the summary, on standard error, is none */
        struct row row;
        if (json == NULL) continue;
        cr_assert(row_from_json(&row, json));
        rows++;
        json_decref(json);
    }
    cr_assert(rows == ROWS);
    fclose(out);
    test_folder_remove(folder);
}

Test(run, on_a_terminal_there_is_a_bar_and_rows_are_printed_as_elsewhere) {
    char folder[64], text[65536] = "";
    int terminal;
    test_folder_make(folder);
    const pid_t pid = forkpty(&terminal, NULL, NULL, NULL);
    cr_assert(pid >= 0);
    if (pid == 0) {
        char refuses[4400];
        snprintf(refuses, sizeof refuses, "%s/../odd/cpu/decode_refuses_r1.so", verb_kernels());
        setenv("TERM", "xterm", 1);
        unsetenv("NO_COLOR");
        execl(verb_program(), "attest", "run", "--no-probe", "--no-time", "--out", folder,
              "decode_naive_r1", refuses, "f16-b1-hq2-kv64-d64-normal-seed1", NULL);
        _exit(127);
    }
    size_t used = 0;
    for (ssize_t n;
         used < sizeof text - 1 && (n = read(terminal, text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t)n;
    close(terminal);
    cr_assert(test_finish(pid) == 0);
    cr_assert(strstr(text, "[####################] 2/2") != NULL, "%s", text);
    cr_assert(strstr(text, "\033[33mREFUSED") != NULL, "%s", text);
    cr_assert(strstr(text, "not on a Sunday") != NULL);
    cr_assert(strstr(text, "\033[32mPASS A\033[0m  cpu/decode_naive_r1") != NULL, "%s", text);
    cr_assert(strstr(text, "1 PASS 1 REFUSED\r\nattest report /tmp/") != NULL, "%s", text);
    test_folder_remove(folder);
}

Test(run, a_fixture_can_be_named_by_its_file_and_resumed_by_its_digest) {
    static const char line[] = "f16-b1-hq2-hkv2-q1-kv64-d64-normal-seed1";
    char folder[64], file[4096];
    test_folder_make(folder);
    const char *by_line[] = {
        "attest", "run", "decode_naive_r1", line, "--no-probe", "--no-time", "--out", folder, NULL};
    cr_assert(status_of_run(by_line) == 0); /* and it is in the cache */
    fixture_cache_path(line, file);
    for (int64_t rows = 2; rows < 4; rows++) {
        const char *by_file[] = {
            "attest", "run", "decode_naive_r1", "-f", file, "--no-time", "--resume", folder, NULL};
        cr_assert(status_of_run(by_file) == 0);
        struct run run = read_run(folder);
        cr_assert(run.count == 2, "%lld", (long long)run.count); /* no third: it was there */
        cr_assert(!strcmp(run.rows[1].file, file) && !strcmp(run.rows[1].status, "PASS"));
        cr_assert(!strcmp(run.rows[1].fixture_digest, run.rows[0].fixture_digest));
        run_free(&run);
    }
    test_folder_remove(folder);
}

Test(run, anchors_are_rows_to_compare_with) {
    char folder[64];
    test_folder_make(folder);
    const char *arguments[] = {"attest",    "run",       "decode_naive_r1",
                               "--anchors", "--no-time", "--no-probe",
                               "--out",     folder,      "f16-b1-hq2-kv64-d64-normal-seed1",
                               NULL};
    cr_assert(status_of_run(arguments) == 0);
    struct run run = read_run(folder);
    cr_assert(run.count == 3);
    cr_assert(!strcmp(run.rows[0].kernel, "anchor/std16"));
    cr_assert(!strcmp(run.rows[1].kernel, "anchor/ideal") && run.rows[1].grade[0] == 'A');
    cr_assert(!strcmp(run.rows[0].device, "anchor") && !strcmp(run.rows[2].device, "cpu"));
    cr_assert(run.rows[0].deviation.rho_std16 == 1);
    const double ratio = run.rows[2].deviation.rho / run.rows[0].deviation.rho;
    cr_assert(run.rows[2].deviation.rho_std16 == ratio && ratio > 0);
    run_free(&run);
    test_folder_remove(folder);
}

Test(run, a_problem_larger_than_memory_is_a_row_not_a_crash) {
    char folder[64];
    test_folder_make(folder);
    const char *arguments[] = {"attest",
                               "run",
                               "prefill_naive_r1",
                               "--no-time",
                               "--no-probe",
                               "--out",
                               folder,
                               "f32-b512-hq64-q8192-kv8192-d128-normal-seed1",
                               NULL};
    cr_assert(status_of_run(arguments) == EXIT_CRASH);
    struct run run = read_run(folder);
    cr_assert(run.count == 1 && !strcmp(run.rows[0].status, "OOM"));
    cr_assert(strstr(run.rows[0].reason, "GiB are free") != NULL, "%s", run.rows[0].reason);
    run_free(&run);
    test_folder_remove(folder);
}

Test(run, the_exit_status_is_that_of_the_worst_row) {
    static const char line[] = "f16-b1-hq2-kv64-d64-normal-seed1";
    static const struct {
        const char *kernel;
        int status;
    } expected[] = {{"odd/cpu/decode_refuses_r1.so", 5}, /* none was judged */
                    {"odd/cpu/decode_scratch_after_r1.so", 1},
                    {"odd/cpu/decode_exits_r1.so", 3},
                    {"kernels/cpu/decode_nothing_r1.so", 4}};
    for (size_t n = 0; n < sizeof expected / sizeof expected[0]; n++) {
        char folder[64], path[4400];
        test_folder_make(folder);
        snprintf(path, sizeof path, "%s/../%s", verb_kernels(), expected[n].kernel);
        const char *arguments[] = {"attest",    "run",   path,   line, "--no-probe",
                                   "--no-time", "--out", folder, NULL};
        const int status = status_of_run(arguments);
        cr_assert(status == expected[n].status, "%s: %d", expected[n].kernel, status);
        test_folder_remove(folder);
    }
}

Test(run, several_gpus_share_the_rows) {
    struct gpus gpus = gpus_make();
    bool used[2] = {false};
    cr_assert(test_finish(gpus_start(&gpus, "--out", (const char *[]){"-d", "cuda:all", NULL})) ==
              0);
    struct run run = read_run(gpus.folder);
    assert_each_once(&run, GPU_ROWS);
    for (int64_t n = 0; n < run.count; n++) used[run.rows[n].device_index] = true;
    cr_assert(used[0] && used[1]);
    cr_assert(run.machine.device_count == 2 && run.machine.devices[1].index == 1);
    cr_assert_str_eq(run.machine.device, "stand-in 0");
    run_free(&run);
    test_folder_remove(gpus.folder);
}

Test(run, only_kernels_for_the_named_devices_run_and_only_there) {
    struct gpus gpus = gpus_make();
    char kernels[8800];
    snprintf(kernels, sizeof kernels, "%s/../standin:%s", verb_kernels(), verb_kernels());
    setenv("ATTEST_KERNELS", kernels, 1);
    /* honest and naive, for GPUs, NPUs and CPUs: one name for the wrong device would be refused */
    snprintf(gpus.kernel, sizeof gpus.kernel, "decode_[hn]??[ev]*_r1");
    const char *more[] = {"f16-b1-hq1-kv64-d16-normal-seed1", "seed=1", "-d", "cuda:1", NULL};
    cr_assert(test_finish(gpus_start(&gpus, "--out", more)) == 0);
    struct run run = read_run(gpus.folder);
    cr_assert(run.count == 1 && !strcmp(run.rows[0].device, "cuda"));
    cr_assert(run.rows[0].device_index == 1);
    cr_assert(run.machine.device_count == 1 && run.machine.devices[0].index == 1);
    run_free(&run);
    more[3] = "cpu";
    cr_assert(test_finish(gpus_start(&gpus, "--resume", more)) == 0);
    run = read_run(gpus.folder);
    cr_assert(run.count == 2 && !strcmp(run.rows[1].device, "cpu"));
    run_free(&run);
    test_folder_remove(gpus.folder);
}

Test(run, kernels_for_the_cpu_run_first_where_both_are_named) {
    struct gpus gpus = gpus_make();
    const char *more[] = {"cpu/decode_naive_r1", "-d", "cuda:all,cpu", "seed<4", NULL};
    cr_assert(test_finish(gpus_start(&gpus, "--out", more)) == 0);
    struct run run = read_run(gpus.folder);
    cr_assert(run.count == 6);
    for (int n = 0; n < 6; n++) cr_assert_str_eq(run.rows[n].device, n < 3 ? "cpu" : "cuda");
    run_free(&run);
    test_folder_remove(gpus.folder);
}

static void write_text(const char *folder, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    cr_assert(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

Test(run, a_folder_whose_first_line_was_never_written_is_begun_anew) {
    static const char *const firsts[] = {"", "{\"ti", "{\"time\":\"2026-11-2"};
    for (int n = 0; n < 6; n++) {
        char folder[64];
        test_folder_make(folder);
        write_text(folder, "run.jsonl", firsts[n / 2]);
        const char *how = n % 2 ? "--resume" : "--out";
        cr_assert(test_finish(start((const char *[]){how, folder, NULL}, -1)) == 0, "%d", n);
        assert_complete(folder);
        test_folder_remove(folder);
    }
    char folder[64];
    test_folder_make(folder); /* or not even the file was */
    cr_assert(test_finish(start((const char *[]){"--resume", folder, NULL}, -1)) == 0);
    assert_complete(folder);
    test_folder_remove(folder);
    test_folder_make(folder); /* but this is somebody's */
    write_text(folder, "notes.txt", "mine");
    cr_assert(test_finish(start((const char *[]){"--resume", folder, NULL}, -1)) == FAULT_INPUT);
    test_folder_remove(folder);
}

Test(run, a_file_of_one_line_that_is_no_runs_is_left_as_it_is) {
    static const char *const lines[] = {"notes", "{}", "{\"tim\": 1}", "{\"time\" : 1}"};
    for (int n = 0; n < 8; n++) {
        char folder[64], path[128], text[64] = "";
        test_folder_make(folder);
        write_text(folder, "run.jsonl", lines[n / 2]);
        const char *how = n % 2 ? "--resume" : "--out";
        cr_assert(test_finish(start((const char *[]){how, folder, NULL}, -1)) == FAULT_INPUT);
        snprintf(path, sizeof path, "%s/run.jsonl", folder);
        FILE *file = fopen(path, "r");
        cr_assert(file != NULL && fgets(text, sizeof text, file) != NULL);
        fclose(file);
        cr_assert_str_eq(text, lines[n / 2]);
        test_folder_remove(folder);
    }
}

Test(run, two_do_not_write_to_one_folder) {
    char folder[64], path[128], text[4096] = "";
    test_folder_make(folder);
    cr_assert(test_finish(start((const char *[]){"--out", folder, NULL}, -1)) == 0);
    snprintf(path, sizeof path, "%s/run.jsonl", folder);
    const int file = open(path, O_RDWR);
    cr_assert(file >= 0 && flock(file, LOCK_EX) == 0);
    int pair[2];
    cr_assert(pipe(pair) == 0);
    const pid_t pid = start((const char *[]){"--resume", folder, NULL}, pair[1]);
    close(pair[1]);
    size_t used = 0;
    for (ssize_t n; (n = read(pair[0], text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t)n;
    close(pair[0]);
    cr_assert(test_finish(pid) == FAULT_INPUT);
    cr_assert(strstr(text, "is being written to by another attest") != NULL, "%s", text);
    close(file); /* and it is gone with its owner */
    cr_assert(test_finish(start((const char *[]){"--resume", folder, NULL}, -1)) == 0);
    assert_complete(folder);
    test_folder_remove(folder);
}

/* Also a resumed run, which finds what was written whole. */
Test(run, a_disk_that_takes_no_more_is_the_users_and_nothing_is_torn) {
    enum { LONG = 400000, ROOM = 10000 }; /* memory files count as files: what is long is the run */
    char folder[64], path[128];
    struct rlimit before;
    test_folder_make(folder);
    cr_assert(test_finish(start((const char *[]){"--out", folder, "kv=100", NULL}, -1)) == 0);
    snprintf(path, sizeof path, "%s/run.jsonl", folder);
    FILE *file = fopen(path, "a");
    cr_assert(file != NULL && fprintf(file, "{\"pad\": \"%0*d\"}\n", LONG, 0) > LONG);
    const rlim_t most = (rlim_t)ftell(file) + ROOM;
    fclose(file);
    struct run run = read_run(folder);
    const int64_t count = run.count;
    run_free(&run);
    cr_assert(getrlimit(RLIMIT_FSIZE, &before) == 0);
    signal(SIGXFSZ, SIG_IGN);
    cr_assert(setrlimit(RLIMIT_FSIZE, &(struct rlimit){most, before.rlim_max}) == 0);
    cr_assert(test_finish(start((const char *[]){"--resume", folder, NULL}, -1)) == FAULT_INPUT);
    cr_assert(setrlimit(RLIMIT_FSIZE, &before) == 0);
    run = read_run(folder);
    cr_assert(run.count > count && run.count < ROWS, "%lld", (long long)run.count);
    cr_assert(run.torn == 1); /* the long one */
    run_free(&run);
    cr_assert(test_finish(start((const char *[]){"--resume", folder, NULL}, -1)) == 0);
    run = read_run(folder);
    cr_assert(run.count == ROWS && run.torn == 1);
    run_free(&run);
    test_folder_remove(folder);
}

Test(run, what_is_no_file_is_refused_at_once) {
    char folder[64], path[128];
    test_folder_make(folder);
    snprintf(path, sizeof path, "%s/run.jsonl", folder);
    cr_assert(mkfifo(path, 0600) == 0);
    alarm(20);
    cr_assert(test_finish(start((const char *[]){"--resume", folder, NULL}, -1)) == FAULT_INPUT);
    cr_assert(test_finish(start((const char *[]){"--out", folder, NULL}, -1)) == FAULT_INPUT);
    cr_assert(status_of_run((const char *[]){"attest", "report", path, NULL}) == FAULT_INPUT);
    cr_assert(status_of_run((const char *[]){"attest", "compare", path, path, NULL}) ==
              FAULT_INPUT);
    cr_assert(status_of_run((const char *[]){"attest", "make", path, NULL}) == FAULT_INPUT);
    cr_assert(status_of_run((const char *[]){"attest", "oracle", path, NULL}) == FAULT_INPUT);
    cr_assert(status_of_run((const char *[]){"attest", "make", folder, NULL}) == FAULT_INPUT);
    cr_assert(status_of_run((const char *[]){"attest", "report", "/dev/zero", NULL}) ==
              FAULT_INPUT);
    alarm(0);
    test_folder_remove(folder);
}

/* Whatever else is seen of it: times that are none are not taken for some. */
Test(run, a_run_in_haste_says_so_and_is_resumed_in_haste_only) {
    char parent[64], folder[96];
    test_folder_make(parent);
    snprintf(folder, sizeof folder, "%s/run", parent);
    const char *arguments[] = {"attest",    "run",        "decode_flash_r1", "f32-b1-hq2-kv33-d32",
                               "--no-time", "--no-probe", "--out",           folder,
                               NULL};
    const char *report[] = {"attest", "report", folder, NULL, NULL};
    static const char *const forms[] = {NULL, "--summary"};
    for (int64_t haste = 0; haste <= 20; haste += 20) {
        if (haste > 0)
            setenv("ATTEST_HASTE", "20", 1);
        else
            unsetenv("ATTEST_HASTE");
        arguments[6] = "--out";
        cr_assert(status_of_run(arguments) == 0);
        struct run run = read_run(folder);
        cr_assert(run.machine.haste == haste);
        run_free(&run);
        for (int form = 0; form < 2; form++) {
            int status;
            report[3] = forms[form];
            char *text = test_words(report, &status);
            cr_assert(status == 0 && (strstr(text, "in haste") != NULL) == (haste > 0), "%s", text);
            free(text);
        }
        arguments[6] = "--resume";
        cr_assert(status_of_run(arguments) == 0);
        setenv("ATTEST_HASTE", haste > 0 ? "10" : "20", 1);
        cr_assert(status_of_run(arguments) == FAULT_INPUT);
        test_folder_remove(folder);
    }
    test_folder_remove(parent);
}

Test(run, a_run_is_named_after_its_gpu_and_the_commit_that_it_is_told) {
    struct gpus gpus = gpus_make();
    char runs[64];
    test_folder_make(runs);
    setenv("ATTEST_RUNS", runs, 1);
    setenv("ATTEST_COMMIT", "0123456789abcdef-dirty", 1);
    const char *arguments[] = {"attest",   "run",    "--no-probe", "--no-time", gpus.kernel, "-s",
                               gpus.suite, "seed=1", "--device",   "cuda",      NULL};
    cr_assert(status_of_run(arguments) == 0);
    glob_t found;
    char pattern[256];
    snprintf(pattern, sizeof pattern, "%s/*-0123456-stand-in-0", runs);
    cr_assert(glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc == 1);
    struct run run = read_run(found.gl_pathv[0]);
    cr_assert_str_eq(run.machine.commit, "0123456789abcdef");
    cr_assert(run.machine.dirty == 1);
    run_free(&run);
    globfree(&found);
    setenv("ATTEST_COMMIT", "attest-1.2.3", 1); /* as where there is no git */
    cr_assert(status_of_run(arguments) == 0);
    snprintf(pattern, sizeof pattern, "%s/*-attest-1.2.3-stand-in-0", runs);
    cr_assert(glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc == 1);
    globfree(&found);
    test_folder_remove(runs);
    test_folder_remove(gpus.folder);
}
