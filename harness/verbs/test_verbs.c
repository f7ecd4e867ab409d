/* The verbs that look around: list, doctor, fuzz; on the kernels of this build. */
#define _GNU_SOURCE
#include "../judge/judge.h"
#include "../record/record.h"
#include "../test_program.h"
#include "../trial/plugin.h"
#include "../../oracle/rule.h"

#include <criterion/criterion.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Runs a verb and takes what it prints; the caller's. */
static char *output_of(const struct verb *verb, int *status, const char *const *words) {
    char name[] = "/tmp/attest-test-XXXXXX", *argv[16] = {0}, *text = NULL;
    int argc = 0;
    size_t room = 0;
    for (; words[argc] != NULL; argc++) argv[argc] = strdup(words[argc]);
    const int file = mkstemp(name);
    cr_assert(file >= 0);
    fflush(stdout);
    const int kept = dup(STDOUT_FILENO);
    dup2(file, STDOUT_FILENO);
    *status = verb->run(argc, argv);
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
    while (argc > 0) free(argv[--argc]);
    return text;
}
#define OUTPUT(verb, status, ...) output_of(&verb, status, (const char *const[]){__VA_ARGS__, NULL})

static json_t *json_of(const struct verb *verb, int *status, const char *const *words) {
    char *text = output_of(verb, status, words);
    json_t *json = json_loads(text, 0, NULL);
    cr_assert(json != NULL, "'%s' is no JSON", text);
    free(text);
    return json;
}
#define JSON(verb, status, ...) json_of(&verb, status, (const char *const[]){__VA_ARGS__, NULL})

static const char *text_in(const json_t *json, const char *key) {
    return json_string_value(json_object_get(json, key));
}

static json_int_t number_in(const json_t *json, const char *key) {
    return json_integer_value(json_object_get(json, key));
}

Test(list, kernels_are_those_that_match_in_order_of_id) {
    int status;
    json_t *all = JSON(verb_list, &status, "list", "kernels", "--json");
    cr_assert(status == 0 && json_array_size(all) >= 17);
    for (size_t n = 1; n < json_array_size(all); n++)
        cr_assert(strcmp(text_in(json_array_get(all, n - 1), "kernel"),
                         text_in(json_array_get(all, n), "kernel")) < 0);
    json_decref(all);
    json_t *some = JSON(verb_list, &status, "list", "--json", "kernels", "decode_naive_*");
    cr_assert(json_array_size(some) == 1);
    const json_t *kernel = json_array_get(some, 0);
    cr_assert(strcmp(text_in(kernel, "kernel"), "cpu/decode_naive_r1") == 0);
    cr_assert(strcmp(text_in(kernel, "variant"), "decode") == 0);
    cr_assert(strcmp(text_in(kernel, "dtypes"), "f32 f16 bf16") == 0);
    json_decref(some);
}

Test(list, a_glob_that_no_kernel_matches_is_refused_also_beside_one_that_does) {
    int status;
    char *text = OUTPUT(verb_list, &status, "list", "kernels", "decode_naive_r1", "no_such_*");
    cr_assert(status == FAULT_INPUT && text[0] == 0);
    free(text);
}

Test(list, a_named_kernel_that_cannot_be_loaded_is_exit_3_beside_those_that_can) {
    int status;
    char folder[4400];
    snprintf(folder, sizeof folder, "%s/../odd", verb_kernels());
    setenv("ATTEST_KERNELS", folder, 1);
    json_t *named =
        JSON(verb_list, &status, "list", "kernels", "--json", "decode_dies_*", "decode_fails_r1");
    cr_assert(status == EXIT_CRASH && json_array_size(named) == 1);
    json_decref(named);
    json_t *all = JSON(verb_list, &status, "list", "kernels", "--json");
    cr_assert(status == 0 && json_array_size(all) > 10); /* the others are left out */
    json_decref(all);
}

Test(list, every_field_status_trait_and_kind_of_data_is_listed) {
    int64_t fields = 0, traits = 0;
    while (row_fields[fields].name != NULL) fields++;
    for (int64_t n = 0; machine_fields[n].name != NULL; n++) fields++;
    for (int64_t n = 0; machine_device_fields[n].name != NULL; n++) fields++;
    while (rules[traits] != NULL) traits++;
    const struct {
        const char *what;
        int64_t count;
    } listings[] = {
        {"fields", fields}, {"statuses", STATUS_COUNT}, {"traits", traits}, {"data", DATA_COUNT},
        {"devices", 4},
    };
    for (size_t n = 0; n < sizeof listings / sizeof listings[0]; n++) {
        int status;
        json_t *list = JSON(verb_list, &status, "list", "--json", listings[n].what);
        cr_assert(status == 0);
        cr_assert((int64_t)json_array_size(list) == listings[n].count, "%s", listings[n].what);
        json_decref(list);
    }
}

Test(list, columns_are_aligned) {
    int status;
    char *text = OUTPUT(verb_list, &status, "list", "statuses");
    const char *exit = strstr(text, "exit"), *line = strchr(text, '\n') + 1;
    cr_assert(status == 0 && exit != NULL);
    const char *pass = strstr(line, "PASS");
    cr_assert(pass == line && pass[exit - text] == '0' && pass[exit - text - 1] == ' ');
    free(text);
}

Test(list, suites_come_with_their_number_of_problems) {
    int status;
    json_t *list = JSON(verb_list, &status, "list", "--json", "suites");
    bool found = false;
    size_t index;
    const json_t *suite;
    json_array_foreach(list, index, suite) {
        if (strcmp(text_in(suite, "suite"), "seed") == 0)
            found = number_in(suite, "problems") == 10;
    }
    cr_assert(status == 0 && found);
    json_decref(list);
}

Test(list, what_cannot_be_listed_is_the_users_to_mend) {
    int status;
    char *text = OUTPUT(verb_list, &status, "list", "stars");
    cr_assert(status == FAULT_INPUT && text[0] == 0);
    free(text);
    setenv("ATTEST_SUITES", "/nonexistent", 1);
    text = OUTPUT(verb_list, &status, "list", "suites");
    cr_assert(status == FAULT_INPUT && text[0] == 0);
    free(text);
}

static const char *state_of(const json_t *checks, const char *what) {
    size_t index;
    const json_t *check;
    json_array_foreach(checks, index, check) {
        if (strcmp(text_in(check, "what"), what) == 0) return text_in(check, "state");
    }
    return "not checked";
}

Test(doctor, a_machine_with_kernels_ends_in_a_trial) {
    int status;
    json_t *checks = JSON(verb_doctor, &status, "doctor", "--json");
    cr_assert(status == 0);
    cr_assert(strcmp(state_of(checks, "kernels"), "ok") == 0);
    cr_assert(strcmp(state_of(checks, "trial"), "ok") == 0);
    json_decref(checks);
}

Test(doctor, a_library_that_cannot_be_loaded_is_a_warning) {
    int status;
    char kernels[8800];
    snprintf(kernels, sizeof kernels, "%s/../odd:%s", verb_kernels(), verb_kernels());
    setenv("ATTEST_KERNELS", kernels, 1);
    char *text = OUTPUT(verb_doctor, &status, "doctor");
    cr_assert(strstr(text, "cpu/decode_dies_loading_r1") != NULL, "%s", text);
    free(text);
    json_t *checks = JSON(verb_doctor, &status, "doctor", "--json");
    cr_assert(strcmp(state_of(checks, "kernels"), "warning") == 0);
    json_decref(checks);
}

Test(doctor, what_is_missing_is_named_with_what_to_do) {
    int status;
    setenv("ATTEST_KERNELS", "/nonexistent", 1);
    setenv("ATTEST_SUITES", "/nonexistent", 1);
    setenv("ATTEST_CACHE", "/proc/nonexistent", 1);
    json_t *checks = JSON(verb_doctor, &status, "doctor", "--json");
    cr_assert(status == FAULT_INPUT);
    cr_assert(strcmp(state_of(checks, "kernels"), "missing") == 0);
    cr_assert(strcmp(state_of(checks, "suites"), "missing") == 0);
    cr_assert(strcmp(state_of(checks, "cache"), "missing") == 0);
    cr_assert(strcmp(state_of(checks, "trial"), "not checked") == 0);
    json_decref(checks);
    char *text = OUTPUT(verb_doctor, &status, "doctor");
    cr_assert(strstr(text, "-> build them, or set ATTEST_KERNELS to their folder\n") != NULL);
    free(text);
}

Test(fuzz, honest_kernels_are_right_and_the_same_seed_draws_the_same_problems) {
    int status;
    json_t *once = JSON(verb_fuzz, &status, "fuzz", "--count", "8", "--seed", "3", "--json");
    cr_assert(status == 0);
    cr_assert(number_in(once, "problems") == 8 && number_in(once, "right") >= 8);
    cr_assert(number_in(once, "answers_wrong") == 0);
    json_t *twice = JSON(verb_fuzz, &status, "fuzz", "-n8", "-s3", "--json");
    cr_assert(json_equal(once, twice));
    json_decref(once);
    json_decref(twice);
}

static void use_planted_kernels(void) {
    char program[4096], folder[4096 + 16];
    snprintf(program, sizeof program, "%s", verb_program());
    snprintf(folder, sizeof folder, "%s/planted", dirname(dirname(program)));
    setenv("ATTEST_KERNELS", folder, 1);
}

Test(fuzz, a_wrong_kernel_is_found_and_its_problem_shrunk) {
    use_planted_kernels();
    int status;
    json_t *json = JSON(verb_fuzz, &status, "fuzz", "--count", "30", "--kernels", "decode_zeros_*",
                        "--threads", "1", "--json");
    cr_assert(status == EXIT_WRONG_RESULT && number_in(json, "wrong") > 0);
    const json_t *failure = json_array_get(json_object_get(json, "failures"), 0);
    cr_assert(strcmp(text_in(failure, "status"), "FAIL_ACCURACY") == 0);
    cr_assert(strstr(text_in(failure, "shrunk"), "b1-hq1-hkv1-q1-kv1-d1-normal-seed1") != NULL,
              "%s", text_in(failure, "shrunk"));
    json_decref(json);
}

Test(fuzz, a_crash_is_told_with_the_command_that_repeats_it) {
    use_planted_kernels();
    int status;
    char *text =
        OUTPUT(verb_fuzz, &status, "fuzz", "--count", "30", "--kernels", "decode_crashes_*");
    cr_assert(status == EXIT_CRASH);
    cr_assert(strstr(text, "CRASH  cpu/decode_crashes_r1") == text);
    cr_assert(strstr(text, "\n    repeat: attest run ") != NULL);
    free(text);
}

Test(fuzz, it_stops_when_its_time_is_up) {
    int status;
    json_t *json = JSON(verb_fuzz, &status, "fuzz", "--minutes", "0.01", "--json");
    cr_assert(status == 0 && number_in(json, "problems") > 0 && number_in(json, "problems") < 500);
    json_decref(json);
}

Test(fuzz, a_glob_that_no_kernel_matches_is_refused_before_anything_is_drawn) {
    int status;
    char *text = OUTPUT(verb_fuzz, &status, "fuzz", "-k", "decode_*", "-k", "no_such_*");
    cr_assert(status == FAULT_INPUT && text[0] == 0);
    free(text);
    setenv("ATTEST_KERNELS", "/nonexistent", 1);
    text = OUTPUT(verb_fuzz, &status, "fuzz");
    cr_assert(status == FAULT_NOTHING && text[0] == 0);
    free(text);
}

static void use_odd_kernels(void) {
    char folder[4400];
    snprintf(folder, sizeof folder, "%s/../odd", verb_kernels());
    setenv("ATTEST_KERNELS", folder, 1);
}

Test(fuzz, where_no_row_is_judged_nothing_was_selected) {
    int status;
    use_odd_kernels();
    /* Seed 6 draws two problems that are plain enough for it, as few are. */
    json_t *json =
        JSON(verb_fuzz, &status, "fuzz", "-k", "decode_refuses_r1", "-n200", "-s6", "--json");
    cr_assert(status == FAULT_NOTHING);
    cr_assert(number_in(json, "refused") > 0 && number_in(json, "right") == 0);
    json_decref(json);
    /* and of each that was named one is */
    json = JSON(verb_fuzz, &status, "fuzz", "-k", "decode_scratch_zero_r1", "-k",
                "decode_refuses_r1", "-n1", "--json");
    cr_assert(status == FAULT_NOTHING && number_in(json, "wrong") == 0);
    json_decref(json);
}

Test(fuzz, a_named_kernel_that_cannot_be_loaded_is_one_row) {
    int status;
    use_odd_kernels();
    json_t *json = JSON(verb_fuzz, &status, "fuzz", "-k", "decode_dies_*", "-n20", "--json");
    cr_assert(status == EXIT_CRASH && number_in(json, "dead") == 1);
    const json_t *failure = json_array_get(json_object_get(json, "failures"), 0);
    cr_assert_str_eq(text_in(failure, "kernel"), "cpu/decode_dies_loading_r1");
    cr_assert_str_eq(text_in(failure, "reason"), "SIGABRT while it was loaded");
    json_decref(json);
}

Test(fuzz, a_count_or_minutes_of_none_is_a_usage_error) {
    static const char *const wrong[][4] = {{"attest", "fuzz", "--count", "0"},
                                           {"attest", "fuzz", "-n", "-1"},
                                           {"attest", "fuzz", "--minutes", "0"}};
    for (size_t n = 0; n < sizeof wrong / sizeof wrong[0]; n++) {
        const char *arguments[5] = {wrong[n][0], wrong[n][1], wrong[n][2], wrong[n][3], NULL};
        const int status = test_finish(test_start(arguments, -1));
        cr_assert(status == FAULT_INPUT, "%s %s: %d", wrong[n][2], wrong[n][3], status);
    }
}

/* Ends `attest fuzz` when its first row is out, which needs no problem, and takes what it says. */
static char *fuzz_until(int signal_number, int *status) {
    const char *const arguments[] = {
        "attest", "fuzz",       "--minutes", "10", "-k", "decode_dies_*",
        "-k",     "*_flash_r1", "--threads", "1",  NULL};
    char *text = calloc(1, 1 << 16);
    FILE *out = tmpfile();
    cr_assert(text != NULL && out != NULL);
    const pid_t pid = test_start(arguments, fileno(out));
    for (int tries = 0; tries < 2000 && strstr(text, "CRASH") == NULL; tries++, usleep(10000))
        cr_assert(pread(fileno(out), text, (1 << 16) - 1, 0) >= 0);
    usleep(200000);
    kill(pid, signal_number);
    *status = test_finish(pid);
    cr_assert(pread(fileno(out), text, (1 << 16) - 1, 0) > 0);
    fclose(out);
    return text;
}

Test(fuzz, ended_by_a_signal_it_says_what_it_found) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    char kernels[8800];
    snprintf(kernels, sizeof kernels, "%s/../odd:%s", verb_kernels(), verb_kernels());
    setenv("ATTEST_KERNELS", kernels, 1);
    for (size_t n = 0; n < sizeof signals / sizeof signals[0]; n++) {
        int status;
        char *text = fuzz_until(signals[n], &status);
        cr_assert(status == EXIT_CRASH, "signal %d: %d: %s", signals[n], status, text);
        cr_assert(strstr(text, "seed 1: ") != NULL && strstr(text, " 1 dead; ") != NULL, "%s",
                  text);
        free(text);
    }
}

/* The probe */

static void use_standins(void) {
    static const char *const libraries[][2] = {{"ATTEST_LIBCUDA", "libcuda.so.1"},
                                               {"ATTEST_NVML", "libnvidia-ml.so.1"},
                                               {"ATTEST_PROBES", "probes"}};
    for (int n = 0; n < 3; n++) {
        char path[4400];
        snprintf(path, sizeof path, "%s/../standin/%s", verb_kernels(), libraries[n][1]);
        setenv(libraries[n][0], path, 1);
    }
    setenv("STANDIN_RATE", "2e12", 1);
}

Test(probe, measures_the_cpu_and_each_gpu) {
    int status;
    use_standins();
    json_t *json = JSON(verb_probe, &status, "probe", "--json", "--seconds", "0.1");
    cr_assert(status == 0);
    cr_assert(json_number_value(json_object_get(json, "fma_flops")) > 0);
    const json_t *devices = json_object_get(json, "devices");
    cr_assert(json_array_size(devices) == 2);
    const json_t *second = json_array_get(devices, 1);
    cr_assert(number_in(second, "index") == 1);
    cr_assert(json_number_value(json_object_get(second, "read_bytes_s")) == 2e12);
    json_decref(json);
}

Test(probe, prints_a_table_and_says_what_it_could_not_measure) {
    int status;
    use_standins();
    char *text = OUTPUT(verb_probe, &status, "probe", "--seconds", "0.1");
    cr_assert(status == 0 && strstr(text, "cuda:1") != NULL && strstr(text, "2.00 TB/s"), "%s",
              text);
    free(text);
    setenv("ATTEST_PROBES", "/nonexistent", 1);
    text = OUTPUT(verb_probe, &status, "probe", "--seconds", "0.1");
    cr_assert(status == 0 && strstr(text, "there is no probe for it here") != NULL, "%s", text);
    free(text);
}
