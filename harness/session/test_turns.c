/* The program itself: GPUs of one host, which are stand-ins, take turns to be timed. The stand-in
 * notes when each graph ran on which, and graphs run for nothing but times. */
#include "test_runs.h"
#include "../trial/timing_lock.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { TIMED_ROWS = 6, NOTES_MAX = 1 << 16 };

/* Kernels cannot reach the cache, nor does what notes for them. */
static char cache[64], noted_in[64], notes[128];

static struct gpus begin(void) {
    struct gpus gpus = gpus_make();
    test_folder_make(cache);
    test_folder_make(noted_in);
    setenv("ATTEST_CACHE", cache, 1);
    snprintf(notes, sizeof notes, "%s/notes", noted_in);
    setenv("STANDIN_CUDA_LOG", notes, 1);
    return gpus;
}

static void end(struct gpus *gpus) {
    test_folder_remove(gpus->folder);
    test_folder_remove(cache);
    test_folder_remove(noted_in);
}

static pid_t run_timed(const struct gpus *gpus, const char *how, const char *rows,
                       const char *more) {
    const char *arguments[] = {"attest",     "run", "--no-probe", "--time-ms", "60",
                               gpus->kernel, "-s",  gpus->suite,  "-d",        "cuda:all",
                               rows,         how,   gpus->folder, more,        NULL};
    return test_start(arguments, -1);
}

/* Of what ran: how often it was another GPU's than before, and graphs of both at one time. */
struct noted {
    int64_t count, of_second, switches, overlaps;
};
struct note {
    int device;
    double begin_s, end_s;
};

static int note_order(const void *left, const void *right) {
    const struct note *a = left, *b = right;
    return (a->begin_s > b->begin_s) - (a->begin_s < b->begin_s);
}

static struct noted read_notes(void) {
    static struct note list[NOTES_MAX];
    struct noted noted = {0};
    double end_s[2] = {0, 0};
    FILE *file = fopen(notes, "r");
    if (file == NULL) return noted;
    while (noted.count < NOTES_MAX &&
           fscanf(file, "%d %lf %lf", &list[noted.count].device, &list[noted.count].begin_s,
                  &list[noted.count].end_s) == 3)
        noted.count++;
    fclose(file);
    qsort(list, (size_t)noted.count, sizeof *list, note_order);
    for (int64_t n = 0; n < noted.count; n++) {
        const struct note *note = &list[n];
        cr_assert(note->device == 0 || note->device == 1);
        noted.of_second += note->device == 1;
        noted.switches += n > 0 && note->device != list[n - 1].device;
        noted.overlaps += note->begin_s < end_s[!note->device];
        end_s[note->device] = note->end_s;
    }
    return noted;
}

static void assert_timed(const struct gpus *gpus, const char *how) {
    bool used[2] = {false};
    struct run run = read_run(gpus->folder);
    cr_assert(run.count == TIMED_ROWS && run.torn == 0, "%lld rows", (long long)run.count);
    cr_assert_str_eq(run.machine.gpus_timed, how);
    for (int64_t n = 0; n < run.count; n++) {
        cr_assert(row_is_right(&run.rows[n]), "%s", run.rows[n].reason); /* be it UNSTABLE */
        for (int64_t m = 0; m < n; m++) cr_assert(!same_row(&run.rows[n], &run.rows[m]));
        cr_assert(run.rows[n].warm.n > 0 && !strcmp(run.rows[n].warm.how, "graph"));
        used[run.rows[n].device_index] = true;
    }
    cr_assert(used[0] && used[1]);
    run_free(&run);
}

Test(turns, one_gpu_is_timed_at_a_time) {
    struct gpus gpus = begin();
    cr_assert(test_finish(run_timed(&gpus, "--out", "seed<=6", NULL)) == 0);
    assert_timed(&gpus, "in turn");
    const struct noted noted = read_notes();
    cr_assert(noted.of_second > 0 && noted.of_second < noted.count && noted.overlaps == 0 &&
                  noted.switches < TIMED_ROWS,
              "%lld graphs, %lld switches, %lld overlaps", (long long)noted.count,
              (long long)noted.switches, (long long)noted.overlaps);
    int status;
    char *text = test_words((const char *[]){"attest", "report", gpus.folder, NULL}, &status);
    cr_assert(status == 0 && strstr(text, "| GPUs timed | in turn, ") != NULL, "%s", text);
    free(text);
    /* and are not timed otherwise when it is resumed */
    cr_assert(test_finish(run_timed(&gpus, "--resume", "seed<=7", "--together")) == FAULT_INPUT);
    end(&gpus);
}

/* What the test above looks for is there where it is asked for. */
Test(turns, together_gpus_are_timed_at_once) {
    struct gpus gpus = begin();
    cr_assert(test_finish(run_timed(&gpus, "--out", "seed<=6", "--together")) == 0);
    assert_timed(&gpus, "together");
    const struct noted noted = read_notes();
    cr_assert(noted.overlaps > 0 && noted.switches >= TIMED_ROWS,
              "%lld graphs, %lld switches, %lld overlaps", (long long)noted.count,
              (long long)noted.switches, (long long)noted.overlaps);
    end(&gpus);
}

/* Whoever it is. */
Test(turns, another_process_of_the_host_that_times_is_waited_for) {
    struct gpus gpus = begin();
    struct timing_lock lock;
    struct fault fault;
    cr_assert(timing_lock_open(&lock, &fault), "%s", fault.text);
    cr_assert(timing_lock_take(&lock) < 1);
    pid_t pid = run_timed(&gpus, "--out", "seed<=2", NULL);
    pause_ms(1500);
    cr_assert(waitpid(pid, NULL, WNOHANG) == 0 && read_notes().count == 0);
    timing_lock_release(&lock);
    const int status = test_finish(pid);
    cr_assert(status == 0 && read_notes().count > 0, "%d", status);
    cr_assert(timing_lock_take(&lock) < 1);
    struct gpus again = gpus;
    snprintf(again.folder, sizeof again.folder, "%.40s/again", gpus.folder);
    pid = run_timed(&again, "--out", "seed<=2", "--together");
    cr_assert(test_finish(pid) == 0);
    timing_lock_close(&lock);
    end(&gpus);
}

Test(turns, where_no_lock_can_be_had_that_is_recorded) {
    struct gpus gpus = begin();
    char path[128];
    snprintf(path, sizeof path, "%s/timing.lock", cache);
    cr_assert(mkdir(path, 0777) == 0);
    cr_assert(test_finish(run_timed(&gpus, "--out", "seed<=1", NULL)) == 0);
    struct run run = read_run(gpus.folder);
    cr_assert_str_eq(run.machine.gpus_timed, "together");
    run_free(&run);
    end(&gpus);
}
