/* attest compare --live, as a user calls it. */
#include "../judge/judge.h"
#include "../record/record.h"
#include "../test_program.h"
#include "../../fixtures/test_folder.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 24 };
static const char line[] = "f16-b2-hq4-hkv2-q1-kv500-d64-normal-seed1";

static const char *planted(const char *name) {
    static char room[8][4400];
    static int next;
    char *path = room[next++ % 8];
    snprintf(path, sizeof room[0], "%s/../planted/cpu/decode_%s_r1.so", verb_kernels(), name);
    return path;
}

/* What it says, the caller's. */
static char *live(const char *old, const char *new, const char *folder, const char *const *more,
                  int *status) {
    const char *words[WORDS_MAX] = {verb_program(), "compare", "--live", old, new,
                                    "--out",        folder,    "-t",     "1", "--time-ms",
                                    "20",           "--warm"};
    for (int n = 12; *more != NULL && n + 1 < WORDS_MAX; n++) words[n] = *more++;
    return test_words(words, status);
}
#define LIVE(old, new, folder, status, ...)                                                        \
    live(old, new, folder, (const char *const[]){__VA_ARGS__, NULL}, status)

static struct run read_run(const char *folder) {
    struct run run;
    struct fault fault;
    cr_assert(run_read(&run, folder, &fault), "%s", fault.text);
    return run;
}

static json_t *compare_again(const char *folder, int expected) {
    int status;
    char *text = test_words(
        (const char *const[]){verb_program(), "compare", folder, "--json", NULL}, &status);
    json_t *json = json_loads(text, 0, NULL);
    cr_assert(status == expected && json != NULL, "%d: %s", status, text);
    free(text);
    return json;
}

static const char *verdict_of(const json_t *json) {
    const json_t *pairs = json_object_get(json, "pairs");
    cr_assert(json_array_size(pairs) == 1);
    return json_string_value(json_object_get(json_array_get(pairs, 0), "verdict"));
}

Test(live, slower_is_exit_status_2_and_can_be_shown_again) {
    char folder[64];
    int status;
    test_folder_make(folder);
    char *text = LIVE("decode_flash_r1", "decode_naive_r1", folder, &status,
                      "f16-b1-hq8-hkv2-q1-kv2000-d64");
    cr_assert(status == EXIT_REGRESSION, "%d: %s", status, text);
    cr_assert(strstr(text, "slower,") != NULL && strstr(text, "regression") != NULL, "%s", text);
    free(text);
    struct run run = read_run(folder);
    cr_assert(run.count == 2);
    cr_assert_str_eq(run.rows[0].kernel, "cpu/decode_flash_r1");
    cr_assert_str_eq(run.rows[1].versus, "cpu/decode_flash_r1");
    cr_assert_str_eq(run.rows[1].status, "PASS");
    cr_assert(run.rows[1].versus_warm.low > 1.01 && run.rows[1].versus_least == 0.01);
    cr_assert(run.rows[0].warm.n == run.rows[1].versus_warm.pairs && run.rows[0].cold.n == 0);
    run_free(&run);
    json_t *json = compare_again(folder, EXIT_REGRESSION);
    cr_assert_str_eq(verdict_of(json), "slower");
    cr_assert(json_is_true(json_object_get(json, "live")) && json_object_get(json, "cold") == NULL);
    json_decref(json);
    test_folder_remove(folder);
}

Test(live, one_library_twice_is_no_regression) {
    char folder[64];
    int status;
    test_folder_make(folder);
    char *text = LIVE(planted("flash"), planted("flash"), folder, &status, line);
    cr_assert(status == 0, "%d: %s", status, text);
    free(text);
    struct run run = read_run(folder);
    cr_assert(run.count == 2);
    cr_assert_str_eq(run.rows[0].kernel, "cpu/decode_flash_r1@old");
    cr_assert_str_eq(run.rows[1].kernel, "cpu/decode_flash_r1");
    cr_assert_str_eq(run.rows[1].versus, run.rows[0].kernel);
    run_free(&run);
    test_folder_remove(folder);
}

/* Times that spread on a busy machine are no matter here. */
static void is(const struct row *row, const char *status) {
    cr_assert(!strcmp(row->status, status) ||
                  (!strcmp(status, "PASS") && !strcmp(row->status, "UNSTABLE")),
              "%s: %s: %s", row->kernel, row->status, row->reason);
}

/* Rows, not an end: the other problem's is there too. */
Test(live, a_kernel_that_is_wrong_or_dies_is_a_row_on_either_side) {
    static const struct {
        const char *old, *new, *status;
        int exit;
    } cases[] = {
        {"flash", "crashes", "CRASH", EXIT_REGRESSION},
        {"flash", "scaled_twice", "FAIL_ACCURACY", EXIT_REGRESSION},
        {"scaled_twice", "flash", "PASS", 0},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        char folder[64];
        int status;
        test_folder_make(folder);
        char *text = LIVE(planted(cases[n].old), planted(cases[n].new), folder, &status, line,
                          "f16-b1-hq1-hkv1-q1-kv100-d64");
        cr_assert(status == cases[n].exit, "%s: %d: %s", cases[n].new, status, text);
        cr_assert(strstr(text, "untimed") != NULL, "%s", text);
        free(text);
        struct run run = read_run(folder);
        cr_assert(run.count == 4);
        is(&run.rows[1], cases[n].status);
        is(&run.rows[3], cases[n].status);
        cr_assert(run.rows[1].versus_why[0] != '\0' && run.rows[1].versus_warm.pairs == 0);
        run_free(&run);
        test_folder_remove(folder);
    }
}

Test(live, revisions_are_compared_by_variant_and_method) {
    char folder[64];
    int status;
    test_folder_make(folder);
    char *text = LIVE("decode_*_r1", "*_naive_r1", folder, &status, line,
                      "f16-b1-hq1-hkv1-q1-kv100-d64-page16", "variant=decode");
    free(text);
    struct run run = read_run(folder); /* of decode_paged a pair too, which the word leaves out */
    cr_assert(run.count == 2);
    cr_assert_str_eq(run.rows[0].kernel, "cpu/decode_naive_r1@old");
    cr_assert_str_eq(run.rows[1].kernel, "cpu/decode_naive_r1");
    run_free(&run);
    test_folder_remove(folder);
}

Test(live, what_cannot_be_meant_is_told_in_a_line) {
    static const struct {
        const char *words[8], *text;
        int exit;
    } cases[] = {
        {{"--live", "decode_flash_r1"}, "two kernels: OLD NEW", 4},
        {{"--live", "a", "b", "c"}, "'c' is no problem", 4},
        {{"--live", "decode_flash_r1", "decode_nave_r1", line}, "did you mean", 4},
        {{"--live", "decode_nave_r1", "decode_flash_r1", line}, "did you mean", 4},
        {{"--live", "prefill_flash_r1", "decode_flash_r1", line}, "no kernel of 'prefill_flash", 5},
        {{"--live", "a", "b", "--cold", "--warm"}, "each leave out the other", 4},
        {{"--live", "a", "b", "--kernels", "a", "b"}, "--kernels picks rows of runs", 4},
        {{"a", "b", "--time-ms", "5"}, "--time-ms is for --live", 4},
        {{"a", "b", "-s", "smoke"}, "--suite is for --live", 4},
        {{"a", line}, "is a problem, which is for --live", 4},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        const char *words[WORDS_MAX] = {verb_program(), "compare"};
        int status;
        for (int w = 0; w < 8 && cases[n].words[w] != NULL; w++) words[2 + w] = cases[n].words[w];
        char *text = test_words(words, &status);
        cr_assert(status == cases[n].exit && strstr(text, cases[n].text) != NULL, "%zu: %d: %s", n,
                  status, text);
        free(text);
    }
}
