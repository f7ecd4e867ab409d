/* The program itself: runs whose processes are interrupted or killed. */
#include "test_runs.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

Test(killed, killed_it_leaves_a_readable_run_and_no_worker_and_can_be_resumed) {
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

/* The command it prints is run as it stands. */
static void interrupt(const char *const *how, const char *folder) {
    char text[16384] = "", command[20000];
    int pair[2];
    cr_assert(pipe(pair) == 0);
    const pid_t pid = start(how, pair[1]);
    close(pair[1]);
    await_rows(folder, 2);
    kill(pid, SIGINT);
    size_t used = 0;
    for (ssize_t n; (n = read(pair[0], text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t)n;
    close(pair[0]);
    cr_assert(test_finish(pid) == 130);
    cr_assert(strstr(text, "interrupted; what is done is in") != NULL, "%s", text);
    const char *go_on = strstr(text, "to go on: attest ");
    cr_assert(go_on != NULL && strstr(go_on, folder) != NULL, "%s", text);
    struct run run = read_run(folder);
    cr_assert(run.count >= 2 && run.count < ROWS && run.torn == 0);
    run_free(&run);
    snprintf(command, sizeof command, "%s %.*s >/dev/null 2>&1", verb_program(),
             (int)strcspn(go_on + 17, "\n"), go_on + 17);
    cr_assert(system(command) == 0, "%s", command); /* NOLINT(cert-env33-c) */
    assert_complete(folder);
}

Test(killed, interrupted_it_says_where_the_run_is_and_how_to_go_on) {
    char folder[64], joined[80];
    for (int n = 0; n < 3; n++) {
        test_folder_make(folder);
        snprintf(joined, sizeof joined, "--%s=%s", n == 1 ? "out" : "ou", folder);
        interrupt(n == 0 ? (const char *[]){"--out", folder, NULL}
                         : (const char *[]){joined, "--", "cpu/*_naive_r1", NULL},
                  folder);
        test_folder_remove(folder);
    }
}

Test(killed, when_the_process_that_judges_is_killed_that_costs_a_row_and_another_goes_on) {
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
Test(killed, a_row_that_ends_the_whole_run_is_not_tried_for_ever) {
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

Test(killed, when_the_process_of_one_gpu_dies_the_other_goes_on) {
    struct gpus gpus = gpus_make();
    const char *more[] = {"-d", "cuda:all", NULL};
    const pid_t pid = gpus_start(&gpus, "--out", more);
    await_rows(gpus.folder, 2);
    kill(child_of(pid), SIGKILL);
    const int status = test_finish(pid);
    cr_assert(status == (assert_lost_at_most_one(gpus.folder, GPU_ROWS) > 0 ? EXIT_CRASH : 0));
    test_folder_remove(gpus.folder);
}

Test(killed, ended_alone_the_parent_ends_the_processes_of_all_gpus) {
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
