/* The program itself: what is asked of `attest run`, and how it ends. */
#include "../record/record.h"
#include "../trial/obtain.h"
#include "../test_program.h"
#include "../../fixtures/fixture.h"
#include "../../fixtures/test_folder.h"

#include <criterion/criterion.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct run read_run(const char *folder) {
    struct run run;
    struct fault fault = {0};
    cr_assert(run_read(&run, folder, &fault), "%s", fault.text);
    return run;
}

static bool same_row(const struct row *a, const struct row *b) {
    return !strcmp(a->kernel, b->kernel) && !strcmp(a->line, b->line);
}

static int status_of_run(const char *const *arguments) {
    return test_finish(test_start(arguments, -1));
}

static int runs_in(const char *folder) {
    glob_t found = {0};
    char pattern[256];
    snprintf(pattern, sizeof pattern, "%s/*", folder);
    const int count = glob(pattern, 0, NULL, &found) == 0 ? (int)found.gl_pathc : 0;
    globfree(&found);
    return count;
}

#define KERNEL "decode_flash_r1"
#define LINE "f16-b1-hq1-hkv1-q1-kv7-d8"

Test(session, what_is_not_understood_or_selects_nothing_begins_nothing) {
    static const struct {
        const char *arguments[8];
        int status;
        const char *text;
    } expected[] = {
        {{KERNEL, "decode_flsh_r1", LINE}, FAULT_INPUT, "did you mean 'decode_flash_r1'?"},
        {{"no_such_kernel"}, FAULT_INPUT, "no kernel matches 'no_such_kernel'"},
        {{KERNEL, "mine.h5"}, FAULT_INPUT, "'mine.h5' is no kernel; a fixture is named with -f"},
        {{KERNEL, "fp16-b1-hq1-hkv1-q1-kv7-d8"}, FAULT_INPUT, "did you mean 'f16'?"},
        {{KERNEL, "f16-b1-nonsense"}, FAULT_INPUT, "'f16-b1-nonsense': unknown word 'nonsense'"},
        {{KERNEL, "-f", "/dev/null", "b.h5"}, FAULT_INPUT, "'/dev/null' is no regular file"},
        {{KERNEL, "-f", __FILE__, "b.h5"}, FAULT_INPUT, "each with its own: -f 'b.h5'"},
        {{KERNEL, "-f", "/nowhere.h5"}, FAULT_INPUT, "cannot open fixture '/nowhere.h5'"},
        {{KERNEL, "-f", LINE}, FAULT_INPUT, "is a problem, expected a file after -f"},
        {{KERNEL, "-f", __FILE__ "c"}, FAULT_INPUT, "session/test_session.c'?"},
        {{KERNEL, "/tmp.so", LINE}, FAULT_INPUT, "kernel '/tmp.so': No such file"},
        {{"smoke"}, FAULT_INPUT, "'smoke' is no kernel but a suite: -s smoke"},
        {{"smoke.txt"}, FAULT_INPUT, "'smoke.txt' is no kernel but a suite: -s smoke"},
        {{"-s", "smoek"}, FAULT_INPUT, "did you mean 'smoke'?"},
        {{"-s", LINE}, FAULT_INPUT, "is a problem, expected a suite's name"},
        {{"kv"}, FAULT_INPUT, "'kv>=1' needs quotes"},
        {{"twin"}, FAULT_INPUT, "'twin' is no kernel but a device: --device twin"},
        {{"kv>=1e9"}, FAULT_NOTHING, "no problem is picked by kv>=1e9"},
        {{"colour=red"}, FAULT_INPUT, "unknown field 'colour'"},
        {{"dtype!=fp16"}, FAULT_INPUT, "did you mean 'f16'?"},
        {{"--shard", "4/3"}, FAULT_INPUT, "I in 1..N"},
        {{"--shard", "1/3", "--shard", "2/3"}, FAULT_INPUT, "--shard is 1/3 already"},
        {{"--by", "work"}, FAULT_INPUT, "so there is --shard I/N"},
        {{"--shard", "1/3", "--by", "/nowhere"}, FAULT_INPUT, "cannot open run '/nowhere'"},
        {{"--shard", "1/3", "--by", __FILE__}, FAULT_INPUT, "test_session.c' holds nothing"},
        {{"--out", "a", "--out", "b"}, FAULT_INPUT, "--out is 'a' already, not 'b' too"},
        {{"--out", "a", "--resume", "b"}, FAULT_INPUT, "so there is no --out 'a'"},
        {{"--no-such-option"}, FAULT_INPUT, "unrecognized option"},
        {{"--warm", "--no-time"}, FAULT_INPUT, "--no-time that nothing is"},
        {{"--device", "gpu"}, FAULT_INPUT, "'gpu' is no device"},
        {{"--device", "cuda:1"}, FAULT_INPUT, "there is no device cuda:1"},
        {{"--device", "cuda:all"}, FAULT_NOTHING, "there is no device cuda:all"},
        {{KERNEL, "--device", "twin", LINE}, FAULT_INPUT, "is for cpu, which --device leaves out"},
        {{KERNEL, "--device", "cpu,twin", LINE}, FAULT_NOTHING, "is for the device twin"},
        {{KERNEL, "prefill_*_r1", LINE},
         FAULT_NOTHING,
         "is for prefill, prefill_varlen, prefill_paged, and no"},
        {{KERNEL, "prefill_naive_r1", "-s", "seed", "variant=decode"},
         FAULT_NOTHING,
         "'prefill_naive_r1' is for prefill, and no problem is"},
    };
    char runs[64];
    test_folder_make(runs);
    setenv("ATTEST_RUNS", runs, 1);
    setenv("ATTEST_LIBCUDA", "/nowhere.so", 1);
    cr_assert(chdir(runs) == 0);
    for (size_t n = 0; n < sizeof expected / sizeof expected[0]; n++) {
        const char *arguments[11] = {"attest", "run"};
        int status;
        memcpy(arguments + 2, expected[n].arguments, sizeof expected[n].arguments);
        char *text = test_words(arguments, &status);
        cr_assert(status == expected[n].status, "%s %s: %d: %s", arguments[2], arguments[3], status,
                  text);
        cr_assert(strstr(text, expected[n].text) != NULL, "%s: %s", expected[n].text, text);
        cr_assert(runs_in(runs) == 0, "%s %s", arguments[2], arguments[3]);
        free(text);
    }
    cr_assert(chdir("/") == 0);
    test_folder_remove(runs);
}

Test(session, a_named_kernel_that_cannot_be_loaded_is_a_row_for_every_problem_once) {
    static const struct {
        const char *kernel, *status, *reason;
    } expected[] = {{"aborts", "CRASH", "SIGABRT while it was loaded"},
                    {"exportless", "CRASH", "exports no symbol attn_export"},
                    {"graded_d", "CRASH", "its grade is 'D', expected 'A', 'B' or 'C'"},
                    {"leaves", "CRASH", "exit status 7 while it was loaded"},
                    {"newer", "CRASH", "was built for contract 2, this program speaks 1"},
                    {"unresolved", "CRASH", "undefined symbol: attn_function_of_nobody"},
                    {"waits", "HANG", "no answer within 1 s while it was loaded"}};
    enum { KERNELS = sizeof expected / sizeof expected[0], PROBLEMS = 2 };
    char folder[64], kernels[4400];
    test_folder_make(folder);
    snprintf(kernels, sizeof kernels, "%s/../odd-loading:%s", verb_kernels(), verb_kernels());
    setenv("ATTEST_KERNELS", kernels, 1);
    const char *how = "--out";
    for (int round = 0; round < 2; round++, how = "--resume") {
        const char *arguments[] = {"attest",
                                   "run",
                                   "decode_[aeglnuw]*[!s]_r1",
                                   "decode_*s_r1",
                                   "decode_naive_r1",
                                   "--no-time",
                                   "--no-probe",
                                   "--watchdog",
                                   "1",
                                   how,
                                   folder,
                                   LINE,
                                   "f32-b1-hq2-kv9-d8",
                                   NULL};
        cr_assert(status_of_run(arguments) == EXIT_CRASH);
        struct run run = read_run(folder);
        int64_t rows = 0;
        for (int64_t n = 0; n < run.count; n++) {
            const struct row *row = &run.rows[n];
            for (int k = 0; k < KERNELS; k++) {
                if (strcmp(row->method, expected[k].kernel) != 0) continue;
                cr_assert_str_eq(row->status, expected[k].status);
                cr_assert_str_eq(row->reason, expected[k].reason);
                cr_assert(!strcmp(row->variant, "decode") && row->revision == 1);
                cr_assert(strstr(row->repeat, expected[k].kernel) != NULL);
                rows++;
            }
            for (int64_t m = 0; m < n; m++) cr_assert(!same_row(&run.rows[n], &run.rows[m]));
        }
        cr_assert(rows == PROBLEMS * KERNELS, "%lld", (long long)rows);
        run_free(&run);
    }
    cr_assert(status_of_run((const char *[]){"attest", "report", folder, NULL}) == 0);
    cr_assert(status_of_run((const char *[]){"attest", "compare", folder, folder, NULL}) == 0);
    test_folder_remove(folder);
}

Test(session, a_library_that_nobody_named_is_left_out_and_that_is_said_at_the_end) {
    char folder[64], kernels[4400];
    int status;
    test_folder_make(folder);
    snprintf(kernels, sizeof kernels, "%s/../odd", verb_kernels());
    setenv("ATTEST_KERNELS", kernels, 1);
    const char *arguments[] = {"attest",
                               "run",
                               "--no-time",
                               "--no-probe",
                               "--out",
                               folder,
                               "f16-b1-hq1-q4-kv4-d8",
                               "f16-b1-hq1-kv4-d128",
                               NULL};
    char *text = test_words(arguments, &status);
    const char *end = strstr(text, folder), *said = strstr(text, "attest: left out, because");
    cr_assert(status == FAULT_NOTHING, "%d: %s", status, text); /* none takes d128, or a prefill */
    cr_assert(end != NULL && said > end, "%s", text);
    cr_assert(strstr(said, "cannot be loaded: cpu/decode_dies_loading_r1, cpu/decode_marked"), "%s",
              text);
    free(text);
    test_folder_remove(folder);
}

Test(session, a_run_in_which_no_row_was_judged_is_exit_5_and_resumed_it_is_what_it_holds) {
    char folder[64], refuses[4400], exits[4400];
    test_folder_make(folder);
    snprintf(refuses, sizeof refuses, "%s/../odd/cpu/decode_refuses_r1.so", verb_kernels());
    snprintf(exits, sizeof exits, "%s/../odd/cpu/decode_exits_r1.so", verb_kernels());
    const struct {
        const char *kernel;
        int status;
        int64_t rows;
    } steps[] = {{refuses, FAULT_NOTHING, 1},
                 {refuses, FAULT_NOTHING, 1},
                 {KERNEL, 0, 2},
                 {KERNEL, 0, 2},
                 {refuses, 0, 2},
                 {exits, EXIT_CRASH, 3},
                 {KERNEL, EXIT_CRASH, 3}};
    for (size_t n = 0; n < sizeof steps / sizeof steps[0]; n++) {
        const char *arguments[] = {"attest",
                                   "run",
                                   steps[n].kernel,
                                   "--no-time",
                                   LINE,
                                   "--no-probe",
                                   n == 0 ? "--out" : "--resume",
                                   folder,
                                   NULL};
        const int status = status_of_run(arguments);
        cr_assert(status == steps[n].status, "step %zu: %d", n, status);
        struct run run = read_run(folder);
        cr_assert(run.count == steps[n].rows, "step %zu: %lld", n, (long long)run.count);
        run_free(&run);
    }
    test_folder_remove(folder);
}

/* The anchors of a problem are computed, which judges no kernel. */
Test(session, anchors_alone_judge_nothing) {
    char folder[64], refuses[4400];
    test_folder_make(folder);
    snprintf(refuses, sizeof refuses, "%s/../odd/cpu/decode_refuses_r1.so", verb_kernels());
    const char *arguments[] = {"attest",    "run",        refuses, LINE,   "--anchors",
                               "--no-time", "--no-probe", "--out", folder, NULL};
    cr_assert(status_of_run(arguments) == FAULT_NOTHING);
    struct run run = read_run(folder);
    cr_assert(run.count == 3);
    run_free(&run);
    test_folder_remove(folder);
}

/* Also by the path of its library, which is a name like another. */
Test(session, a_kernel_that_is_for_no_file_is_told_and_a_refused_file_is_not_run_again) {
    char folder[64], file[4096], library[4400];
    int status;
    test_folder_make(folder);
    const char *made[] = {"attest", "make", LINE, NULL};
    cr_assert(status_of_run(made) == 0);
    fixture_cache_path("f16-b1-hq1-hkv1-q1-kv7-d8-normal-seed1", file);
    snprintf(library, sizeof library, "%s/cpu/prefill_naive_r1.so", verb_kernels());
    const char *const idles[] = {"prefill_n*", "prefill_naive_r1", library};
    for (int n = 0; n < 6; n++) {
        const char *idle[] = {"attest",    "run",        KERNEL,  idles[n % 3], n < 3 ? "-f" : LINE,
                              "--no-time", "--no-probe", "--out", folder,       NULL,
                              NULL};
        char text[4500];
        if (n < 3) memmove(idle + 6, idle + 5, 5 * sizeof *idle), idle[5] = file;
        char *words = test_words(idle, &status);
        cr_assert(status == FAULT_NOTHING, "%d: %s", status, words);
        snprintf(text, sizeof text, "'%s' is for prefill, and no problem is", idles[n % 3]);
        cr_assert(strstr(words, text) != NULL, "%s", words);
        cr_assert(runs_in(folder) == 0);
        free(words);
    }
    const char *both[] = {
        "attest",     "run",      KERNEL, "prefill_naive_r1",          "-f", file, "--no-time",
        "--no-probe", "--resume", folder, "f16-b1-hq1-hkv1-q2-kv2-d8", NULL};
    for (int round = 0; round < 2; round++) {
        cr_assert(status_of_run(both) == 0);
        struct run run = read_run(folder);
        int64_t refused = 0;
        cr_assert(run.count == 4, "%lld", (long long)run.count);
        for (int64_t n = 0; n < run.count; n++) {
            if (strcmp(run.rows[n].status, "REFUSED") != 0) continue;
            refused++;
            cr_assert(*run.rows[n].file == '\0' || !strcmp(run.rows[n].method, "naive"));
        }
        cr_assert(refused == 2);
        run_free(&run);
    }
    test_folder_remove(folder);
}

Test(session, files_are_loaded_and_picked_before_a_run_begins) {
    char runs[64], folder[64], file[4096], spoilt[128];
    test_folder_make(runs);
    test_folder_make(folder);
    setenv("ATTEST_RUNS", runs, 1);
    cr_assert(status_of_run((const char *[]){"attest", "make", LINE, NULL}) == 0);
    fixture_cache_path("f16-b1-hq1-hkv1-q1-kv7-d8-normal-seed1", file);
    snprintf(spoilt, sizeof spoilt, "%s/spoilt.h5", folder);
    FILE *text = fopen(spoilt, "w");
    cr_assert(text != NULL && fputs("no HDF5", text) >= 0 && fclose(text) == 0);
    const struct {
        const char *first, *second, *word;
        int status;
        const char *text;
    } expected[] = {
        {file, file, "kv=17", FAULT_NOTHING, "no problem is picked by kv=17"},
        {spoilt, file, "kv=7", FAULT_INPUT, "spoilt.h5': not a readable HDF5 file"},
        {file, spoilt, "kv=7", FAULT_INPUT, "spoilt.h5': not a readable HDF5 file"},
    };
    for (size_t n = 0; n < sizeof expected / sizeof expected[0]; n++) {
        int status;
        const char *arguments[] = {
            "attest",         "run", KERNEL, "-f", expected[n].first, "-f", expected[n].second,
            expected[n].word, NULL};
        char *words = test_words(arguments, &status);
        cr_assert(status == expected[n].status, "%d: %s", status, words);
        cr_assert(strstr(words, expected[n].text) != NULL, "%s", words);
        cr_assert(runs_in(runs) == 0);
        free(words);
    }
    test_folder_remove(folder);
    test_folder_remove(runs);
}

Test(session, a_part_of_a_run_may_be_empty_and_says_so) {
    int empty = 0;
    for (int part = 1; part <= 2; part++) {
        char folder[64], shard[8];
        int status;
        test_folder_make(folder);
        snprintf(shard, sizeof shard, "%d/2", part);
        const char *arguments[] = {"attest",  "run", KERNEL,  LINE,   "--no-time", "--no-probe",
                                   "--shard", shard, "--out", folder, NULL};
        char *words = test_words(arguments, &status), text[64];
        snprintf(text, sizeof text, "no row was judged: part %d of 2 is empty", part);
        cr_assert(status == 0 || status == FAULT_NOTHING);
        cr_assert((status == FAULT_NOTHING) == (strstr(words, text) != NULL), "%s", words);
        empty += status == FAULT_NOTHING;
        free(words);
        test_folder_remove(folder);
    }
    cr_assert(empty == 1);
}

Test(session, two_kernels_of_one_name_are_refused_but_one_named_twice_is_one) {
    char folder[64], original[4400], copy[128], command[4700];
    int status;
    test_folder_make(folder);
    snprintf(original, sizeof original, "%s/cpu/" KERNEL ".so", verb_kernels());
    snprintf(copy, sizeof copy, "%s/" KERNEL ".so", folder);
    snprintf(command, sizeof command, "cp '%s' '%s'", original, copy);
    cr_assert(system(command) == 0); /* NOLINT(cert-env33-c) */
    const char *arguments[] = {"attest",    "run",   copy,         KERNEL, LINE,
                               "--no-time", "--out", "--no-probe", NULL};
    char out[96];
    snprintf(out, sizeof out, "--out=%s/run", folder);
    arguments[6] = out;
    char *words = test_words(arguments, &status);
    cr_assert(status == FAULT_INPUT, "%d: %s", status, words);
    cr_assert(strstr(words, "two kernels are called 'cpu/" KERNEL "': '") != NULL, "%s", words);
    cr_assert(runs_in(folder) == 1); /* the copy */
    free(words);
    arguments[2] = original;
    cr_assert(status_of_run(arguments) == 0);
    test_folder_remove(folder);
}

/* Larger than what a fixture may take, and perhaps smaller than what is free. */
Test(session, a_problem_of_nearly_all_memory_is_a_row_as_a_larger_one_is) {
    char folder[64], line[PROBLEM_LINE_BYTES];
    struct problem problem;
    struct fault fault;
    int64_t kv = 1 << 20;
    test_folder_make(folder);
    do {
        snprintf(line, sizeof line, "f16-b1-hq1-hkv1-q1-kv%lld-d8", (long long)kv);
        cr_assert(problem_parse(&problem, line, &fault), "%s", fault.text);
        kv += kv / 64;
    } while (fixture_bytes(&problem) < obtain_bytes_max());
    const char *arguments[] = {"attest",     "run",   KERNEL, line, "--no-time",
                               "--no-probe", "--out", folder, NULL};
    cr_assert(status_of_run(arguments) == EXIT_CRASH);
    struct run run = read_run(folder);
    cr_assert(run.count == 1);
    cr_assert_str_eq(run.rows[0].status, "OOM");
    double needed, given;
    cr_assert(sscanf(run.rows[0].reason, "the problem needs %lf GiB, %lf GiB are", &needed,
                     &given) == 2 &&
                  needed > given,
              "%s", run.rows[0].reason);
    run_free(&run);
    test_folder_remove(folder);
    int status;
    char *words = test_words((const char *[]){"attest", "make", line, NULL}, &status);
    const char *takes = strstr(words, "takes ");
    cr_assert(status == FAULT_INPUT && takes != NULL, "%s", words);
    cr_assert(sscanf(takes, "takes %lf GiB of memory with its answer, expected less than %lf",
                     &needed, &given) == 2 &&
                  needed > given,
              "%s", words);
    free(words);
}

Test(session, one_problem_is_no_problems) {
    int status;
    char *words = test_words((const char *[]){"attest", "make", LINE, "dtype=bf16", NULL}, &status);
    cr_assert(status == FAULT_NOTHING);
    cr_assert(strstr(words, "nothing to make: 1 problem, and the words pick none") != NULL, "%s",
              words);
    free(words);
}
