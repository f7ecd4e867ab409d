/* The program itself: runs that are interrupted, killed, resumed, divided, dealt. */
#include "../record/record.h"
#include "../test_program.h"
#include "../../fixtures/fixture.h"
#include "../../fixtures/test_folder.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LINES                                                                                      \
    "f16-b2-hq4-hkv2-kv100-d64-normal-seed1", "f32-b1-hq2-kv33-d32-normal-seed1",                  \
        "bf16-b2-hq4-hkv4-kv64-d64-uniform-seed2",                                                 \
        "f16-b2-hq4-hkv2-kv100-d64-page16-lens100,37-normal-seed1",                                \
        "f32-b1-hq2-q32-kv32-d32-causal-normal-seed1"
enum { LINE_COUNT = 5, ROWS = 10 /* each has a naive and a flash kernel */ };

/* Starts `attest run --no-probe --no-time naive and flash kernels, LINES, ...`. */
static pid_t start(const char *const *more, int out) {
    const char *arguments[40] = {
        "attest", "run", "--no-probe", "--no-time", "cpu/*_naive_r1", "cpu/*_flash_r1", LINES};
    int count = 6 + LINE_COUNT;
    for (; *more != NULL; more++) arguments[count++] = *more;
    return test_start(arguments, out);
}

static struct run read_run(const char *folder) {
    struct run run;
    struct fault fault = {0};
    cr_assert(run_read(&run, folder, &fault), "%s", fault.text);
    return run;
}

static void pause_ms(long ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* Waits until the run in `folder` has so many rows. */
static void await_rows(const char *folder, int64_t rows) {
    for (int tries = 0; tries < 4000; tries++, pause_ms(5)) {
        struct run run;
        struct fault fault = {0};
        if (!run_read(&run, folder, &fault)) continue;
        const bool enough = run.count >= rows;
        run_free(&run);
        if (enough) return;
    }
    cr_assert(false, "'%s' does not fill", folder);
}

static bool same_row(const struct row *a, const struct row *b) {
    return !strcmp(a->kernel, b->kernel) && !strcmp(a->line, b->line);
}

static void assert_complete(const char *folder) {
    struct run run = read_run(folder);
    cr_assert(run.count == ROWS && run.torn == 0, "%lld rows, %lld torn", (long long)run.count,
              (long long)run.torn);
    for (int64_t n = 0; n < run.count; n++) {
        cr_assert(!strcmp(run.rows[n].status, "PASS"), "%s: %s", run.rows[n].kernel,
                  run.rows[n].reason);
        for (int64_t m = 0; m < n; m++) cr_assert(!same_row(&run.rows[n], &run.rows[m]));
    }
    run_free(&run);
}

/* Processes that work in `folder`: a worker inherits it, and keeps it when its parent is gone. */
static int processes_in(const char *folder) {
    int count = 0;
    DIR *processes = opendir("/proc");
    cr_assert(processes != NULL);
    for (const struct dirent *entry; (entry = readdir(processes)) != NULL;) {
        char path[300], target[4096];
        if (strtol(entry->d_name, NULL, 10) <= 0) continue;
        snprintf(path, sizeof path, "/proc/%s/cwd", entry->d_name);
        const ssize_t length = readlink(path, target, sizeof target - 1);
        target[length > 0 ? length : 0] = '\0';
        count += !strcmp(target, folder);
    }
    closedir(processes);
    return count;
}

Test(run, rows_are_on_disk_and_the_exit_status_is_0_when_all_is_well) {
    char folder[64];
    test_folder_make(folder);
    cr_assert(test_finish(start((const char *[]){"--out", folder, NULL}, -1)) == 0);
    assert_complete(folder);
    test_folder_remove(folder);
}

Test(run, killed_it_leaves_a_readable_run_and_no_worker_and_can_be_resumed) {
    char folder[64], home[64];
    test_folder_make(folder);
    test_folder_make(home);
    cr_assert(chdir(home) == 0);
    const pid_t pid = start((const char *[]){"--out", folder, NULL}, -1);
    await_rows(folder, 3);
    kill(pid, SIGKILL);
    cr_assert(test_finish(pid) == 1000 + SIGKILL);
    for (int tries = 0; tries < 200 && processes_in(home) > 1; tries++) pause_ms(10);
    cr_assert(processes_in(home) == 1, "%d", processes_in(home)); /* this one */

    struct run run = read_run(folder);
    cr_assert(run.count >= 3 && run.count < ROWS && run.torn <= 1);
    char first[4096];
    snprintf(first, sizeof first, "%s %.17g", run.rows[0].kernel, run.rows[0].seconds);
    run_free(&run);

    cr_assert(test_finish(start((const char *[]){"--resume", folder, NULL}, -1)) == 0);
    assert_complete(folder);
    run = read_run(folder);
    char still[4096];
    snprintf(still, sizeof still, "%s %.17g", run.rows[0].kernel, run.rows[0].seconds);
    cr_assert(!strcmp(first, still)); /* kept, not run again */
    run_free(&run);
    cr_assert(chdir("/") == 0);
    rmdir(home);
    test_folder_remove(folder);
}

Test(run, interrupted_it_says_where_the_run_is_and_how_to_go_on) {
    char folder[64], text[16384] = "";
    int pair[2];
    test_folder_make(folder);
    cr_assert(pipe(pair) == 0);
    const pid_t pid = start((const char *[]){"--out", folder, NULL}, pair[1]);
    close(pair[1]);
    await_rows(folder, 2);
    kill(pid, SIGINT);
    size_t used = 0;
    for (ssize_t n; (n = read(pair[0], text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t)n;
    close(pair[0]);
    cr_assert(test_finish(pid) == 130);
    cr_assert(strstr(text, "interrupted; what is done is in") != NULL, "%s", text);
    cr_assert(strstr(text, "--resume") != NULL && strstr(text, folder) != NULL, "%s", text);
    struct run run = read_run(folder);
    cr_assert(run.count >= 2 && run.count < ROWS && run.torn == 0);
    run_free(&run);
    cr_assert(test_finish(start((const char *[]){"--resume", folder, NULL}, -1)) == 0);
    assert_complete(folder);
    test_folder_remove(folder);
}

Test(run, shards_are_disjoint_and_together_everything) {
    enum { SHARDS = 3 };
    bool seen[ROWS] = {false};
    char whole[64];
    int64_t rows = 0;
    test_folder_make(whole);
    cr_assert(test_finish(start((const char *[]){"--out", whole, NULL}, -1)) == 0);
    struct run all = read_run(whole);
    cr_assert(all.count == ROWS);
    for (int shard = 1; shard <= SHARDS; shard++) {
        char folder[64], part[16];
        test_folder_make(folder);
        snprintf(part, sizeof part, "%d/%d", shard, SHARDS);
        cr_assert(test_finish(start((const char *[]){"--out", folder, "--shard", part, NULL}, -1)) %
                      5 ==
                  0); /* 5: a part may be empty */
        struct run run = read_run(folder);
        rows += run.count;
        for (int64_t n = 0; n < run.count; n++) {
            for (int64_t m = 0; m < all.count; m++) {
                if (!same_row(&run.rows[n], &all.rows[m])) continue;
                cr_assert(!seen[m]);
                seen[m] = true;
            }
        }
        run_free(&run);
        test_folder_remove(folder);
    }
    cr_assert(rows == ROWS);
    for (int m = 0; m < ROWS; m++) cr_assert(seen[m], "%s", all.rows[m].line);
    run_free(&all);
    test_folder_remove(whole);
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

static int status_of_run(const char *const *arguments) {
    return test_finish(test_start(arguments, -1));
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

/* Two GPUs that are stand-ins (odd/standin_cuda.c), a kernel for them, and problems for it. */
struct gpus {
    char kernel[4400], folder[64], suite[128];
};
enum { GPU_ROWS = 40 };

static struct gpus gpus_make(void) {
    struct gpus gpus = {.kernel = ""};
    char driver[4400];
    snprintf(driver, sizeof driver, "%s/../standin/libcuda.so.1", verb_kernels());
    setenv("ATTEST_LIBCUDA", driver, 1);
    snprintf(gpus.kernel, sizeof gpus.kernel, "%s/../standin/cuda/decode_honest_r1.so",
             verb_kernels());
    test_folder_make(gpus.folder);
    snprintf(gpus.suite, sizeof gpus.suite, "%s/many.txt", gpus.folder);
    FILE *suite = fopen(gpus.suite, "w");
    cr_assert(suite != NULL);
    for (int seed = 1; seed <= GPU_ROWS; seed++)
        fprintf(suite, "f16-b1-hq1-kv64-d16-normal-seed%d\n", seed);
    fclose(suite);
    return gpus;
}

/* Starts `attest run --no-probe --no-time KERNEL -s SUITE HOW FOLDER MORE...`. */
static pid_t gpus_start(const struct gpus *gpus, const char *how, const char *const *more) {
    const char *arguments[20] = {"attest", "run",       "--no-probe", "--no-time", gpus->kernel,
                                 "-s",     gpus->suite, how,          gpus->folder};
    for (int count = 9; *more != NULL; more++) arguments[count++] = *more;
    return test_start(arguments, -1);
}

static void assert_each_once(const struct run *run, int64_t least) {
    cr_assert(run->count >= least && run->count <= GPU_ROWS && run->torn == 0, "%lld rows",
              (long long)run->count);
    for (int64_t n = 0; n < run->count; n++) {
        cr_assert(!strcmp(run->rows[n].status, "PASS"), "%s", run->rows[n].reason);
        for (int64_t m = 0; m < n; m++) cr_assert(!same_row(&run->rows[n], &run->rows[m]));
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

/* The first process that was started by `parent`. */
static pid_t child_of(pid_t parent) {
    char path[64];
    int child = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    FILE *file = fopen(path, "r");
    cr_assert(file != NULL && fscanf(file, "%d", &child) == 1);
    fclose(file);
    return child;
}

/* Each row once, and none of another status than PASS but for one at most that was lost. */
static int64_t assert_lost_at_most_one(const char *folder, int64_t rows) {
    struct run run = read_run(folder);
    int64_t lost = 0;
    cr_assert(run.count == rows && run.torn == 0, "%lld rows", (long long)run.count);
    for (int64_t n = 0; n < run.count; n++) {
        lost += !strcmp(run.rows[n].status, "OOM");
        cr_assert(!strcmp(run.rows[n].status, "OOM") || !strcmp(run.rows[n].status, "PASS"), "%s",
                  run.rows[n].reason);
        for (int64_t m = 0; m < n; m++) cr_assert(!same_row(&run.rows[n], &run.rows[m]));
    }
    run_free(&run);
    cr_assert(lost <= 1);
    return lost;
}

Test(run, when_the_process_that_judges_is_killed_that_costs_a_row_and_another_goes_on) {
    char folder[64];
    test_folder_make(folder);
    const pid_t pid = start((const char *[]){"--out", folder, NULL}, -1);
    await_rows(folder, 3);
    kill(child_of(pid), SIGKILL);
    const int status = test_finish(pid);
    cr_assert(status == (assert_lost_at_most_one(folder, ROWS) > 0 ? EXIT_CRASH : 0), "%d", status);
    cr_assert(test_finish(start((const char *[]){"--resume", folder, NULL}, -1)) == status);
    assert_lost_at_most_one(folder, ROWS); /* a row that was lost is not tried again */
    test_folder_remove(folder);
}

/* By a kernel that no fence holds, or a cgroup that ends as one: the second time is the last. */
Test(run, a_row_that_ends_the_whole_run_is_not_tried_for_ever) {
    static const char line[] = "f16-b1-hq2-hkv2-q1-kv64-d64-normal-seed1";
    char folder[64], path[128];
    test_folder_make(folder);
    snprintf(path, sizeof path, "%s/at-hand", folder);
    const char *arguments[] = {"attest", "run",       "decode_naive_r1", "decode_flash_r1",
                               line,     "--no-time", "--no-probe",      "--out",
                               folder,   NULL};
    cr_assert(status_of_run(arguments) == 0);
    cr_assert(access(path, F_OK) != 0); /* it ended in order */
    for (int times = 1; times <= 2; times++) {
        char text[1025], lines[512];
        snprintf(lines, sizeof lines, "%s/run.jsonl", folder);
        FILE *run = fopen(lines, "r+"), *hands = fopen(path, "w");
        cr_assert(run != NULL && hands != NULL);
        char *header = NULL;
        size_t room = 0;
        const ssize_t bytes = getline(&header, &room, run);
        cr_assert(bytes > 0 && ftruncate(fileno(run), bytes) == 0);
        free(header);
        fclose(run);
        snprintf(text, sizeof text, "%d cpu/decode_naive_r1 %s", times, line);
        fprintf(hands, "%-1023s\n", text);
        fclose(hands);
        arguments[7] = "--resume";
        cr_assert(status_of_run(arguments) == (times < 2 ? 0 : EXIT_CRASH));
        struct run after = read_run(folder);
        cr_assert(after.count == 2);
        for (int64_t n = 0; n < 2; n++) {
            const bool given_up =
                times == 2 && !strcmp(after.rows[n].kernel, "cpu/decode_naive_r1");
            cr_assert(!strcmp(after.rows[n].status, given_up ? "CRASH" : "PASS"));
            cr_assert(!given_up || strstr(after.rows[n].reason, "2 times") != NULL, "%s",
                      after.rows[n].reason);
        }
        run_free(&after);
    }
    test_folder_remove(folder);
}

static void write_text(const char *folder, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    cr_assert(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

Test(run, a_folder_whose_first_line_was_never_written_is_begun_anew) {
    static const char *const firsts[] = {"", "{\"time\": \"2026-11-2"};
    for (int n = 0; n < 4; n++) {
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

Test(run, when_the_process_of_one_gpu_dies_the_other_goes_on) {
    struct gpus gpus = gpus_make();
    const char *more[] = {"-d", "cuda:all", NULL};
    const pid_t pid = gpus_start(&gpus, "--out", more);
    await_rows(gpus.folder, 2);
    kill(child_of(pid), SIGKILL);
    const int status = test_finish(pid);
    cr_assert(status == (assert_lost_at_most_one(gpus.folder, GPU_ROWS) > 0 ? EXIT_CRASH : 0));
    test_folder_remove(gpus.folder);
}

Test(run, ended_alone_the_parent_ends_the_processes_of_all_gpus) {
    struct gpus gpus = gpus_make();
    char home[64];
    test_folder_make(home);
    cr_assert(chdir(home) == 0);
    const char *more[] = {"-d", "cuda:all", NULL};
    const pid_t pid = gpus_start(&gpus, "--out", more);
    await_rows(gpus.folder, 2);
    kill(pid, SIGTERM);
    cr_assert(test_finish(pid) == 130);
    for (int tries = 0; tries < 200 && processes_in(home) > 1; tries++) pause_ms(10);
    cr_assert(processes_in(home) == 1); /* this one */
    struct run run = read_run(gpus.folder);
    cr_assert(run.count >= 2 && run.count < GPU_ROWS && run.torn == 0);
    run_free(&run);
    cr_assert(test_finish(gpus_start(&gpus, "--resume", more)) == 0);
    run = read_run(gpus.folder);
    assert_each_once(&run, GPU_ROWS);
    run_free(&run);
    cr_assert(chdir("/") == 0);
    rmdir(home);
    test_folder_remove(gpus.folder);
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
    test_folder_remove(runs);
    test_folder_remove(gpus.folder);
}
