/* attest cache: what it counts, lists and removes, and what it leaves alone. */
#include "../verb.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

/* Every command here is the test's own. NOLINTBEGIN(cert-env33-c) */
static char folder[] = "/tmp/attest-test-XXXXXX";

/* Two fixtures, and everything else that may lie there. */
static void fill(void) {
    static const char *const commands[] = {
        "mkdir %s/cache && %s make f32-b1-hq1-hkv1-q1-kv7-d8 f16-b1-hq1-hkv1-q4-kv900-d64-causal",
        "cd %s/cache && cp f32*.h5 f32-b1-kv7-d9.h5 && cp f32-b1-hq1*.h5 mine.h5",
        "cd %s/cache && echo 1 >.attest-4194303-0.tmp && echo 1 >.attest-1-0.tmp",
        "cd %s/cache && echo text >f32-b1-hq1-hkv1-q1-kv8-d8-normal-seed1.h5 && echo 1 >notes",
        "cp %s/cache/mine.h5 $(dirname $ATTEST_CACHE)/far.h5",
        "ln -s ../far.h5 %s/cache/f32-b1-hq1-hkv1-q1-kv9-d8-normal-seed1.h5",
        "mkdir %s/cache/f32-b1-hq1-hkv1-q1-kv10-d8-normal-seed1.h5",
    };
    char cache[64], command[8192];
    cr_assert(mkdtemp(folder) != NULL);
    snprintf(cache, sizeof cache, "%s/cache", folder);
    setenv("ATTEST_CACHE", cache, 1);
    for (size_t n = 0; n < sizeof commands / sizeof commands[0]; n++) {
        snprintf(command, sizeof command, commands[n], folder, verb_program());
        strcat(command, " >/dev/null");
        cr_assert(system(command) == 0, "%s", command);
    }
}

static void drop(void) {
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", folder);
    cr_assert(system(command) == 0);
}

/* What the program prints, without its messages; the caller's. */
static char *cache(int *status, const char *arguments) {
    char command[8192], *text = NULL;
    size_t room = 0;
    snprintf(command, sizeof command, "%s cache %s 2>/dev/null", verb_program(), arguments);
    FILE *from = popen(command, "r");
    cr_assert(from != NULL);
    if (getdelim(&text, &room, 0, from) < 0) {
        free(text);
        text = strdup("");
    }
    *status = WEXITSTATUS(pclose(from));
    return text;
}

static json_t *cache_json(const char *arguments) {
    char with[256];
    int status;
    snprintf(with, sizeof with, "%s --json", arguments);
    char *text = cache(&status, with);
    json_t *json = json_loads(text, 0, NULL);
    cr_assert(status == 0 && json != NULL, "%s", text);
    free(text);
    return json;
}

static json_int_t number(json_t *json, const char *key) {
    return json_integer_value(json_object_get(json, key));
}

static bool is_there(const char *name) {
    char path[256];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return lstat(path, &status) == 0;
}

#define SMALL "f32-b1-hq1-hkv1-q1-kv7-d8-normal-seed1"
#define LARGE "f16-b1-hq1-hkv1-q4-kv900-d64-causal-normal-seed1"

/* cppcheck-suppress unknownMacro */
TestSuite(cache, .init = fill, .fini = drop);

Test(cache, counts_what_is_its_own) {
    json_t *sum = cache_json("");
    cr_assert(number(sum, "fixtures") == 2 && number(sum, "bytes") > 900 * 64 * 2 * 2);
    cr_assert(number(sum, "stale") == 3 && number(sum, "others") == 5);
    json_decref(sum);
    int status;
    char *text = cache(&status, "");
    cr_assert(status == 0 && strstr(text, "/cache: 2 fixtures, ") != NULL, "%s", text);
    cr_assert(strstr(text, "\n3 stale files, ") != NULL, "%s", text);
    free(text);
}

Test(cache, lists_the_largest_first) {
    json_t *list = cache_json("list");
    cr_assert(json_array_size(list) == 5);
    json_t *first = json_array_get(list, 0);
    cr_assert(strcmp(json_string_value(json_object_get(first, "line")), LARGE) == 0);
    cr_assert(strcmp(json_string_value(json_object_get(first, "state")), "current") == 0);
    json_decref(list);
    list = cache_json("list --stale");
    cr_assert(json_array_size(list) == 3);
    json_decref(list);
    list = cache_json("list dtype=f32 kv=7 d=8");
    cr_assert(json_array_size(list) == 1);
    json_decref(list);
}

Test(cache, clean_removes_its_own_and_nothing_else) {
    json_t *removed = cache_json("clean");
    cr_assert(number(removed, "removed") == 5 && number(removed, "bytes") > 900 * 64 * 2 * 2);
    json_decref(removed);
    static const char *const left[] = {
        "far.h5",
        "cache/mine.h5",
        "cache/notes",
        "cache/f32-b1-hq1-hkv1-q1-kv8-d8-normal-seed1.h5",
        "cache/f32-b1-hq1-hkv1-q1-kv9-d8-normal-seed1.h5",
        "cache/f32-b1-hq1-hkv1-q1-kv10-d8-normal-seed1.h5",
    };
    for (size_t n = 0; n < sizeof left / sizeof left[0]; n++)
        cr_assert(is_there(left[n]), "%s", left[n]);
    cr_assert(!is_there("cache/" SMALL ".h5") && !is_there("cache/" LARGE ".h5"));
    cr_assert(!is_there("cache/f32-b1-kv7-d9.h5") && !is_there("cache/.attest-4194303-0.tmp"));
    cr_assert(!is_there("cache/.attest-1-0.tmp")); /* process 1 lives, and is not it */
}

/* Whoever writes there holds the folder's lock, in whatever container it is. */
Test(cache, clean_leaves_what_is_being_written) {
    char path[128];
    snprintf(path, sizeof path, "%s/cache", folder);
    const int writer = open(path, O_RDONLY | O_DIRECTORY);
    cr_assert(writer >= 0 && flock(writer, LOCK_SH) == 0);
    json_t *removed = cache_json("clean");
    cr_assert(number(removed, "removed") == 3);
    json_decref(removed);
    cr_assert(is_there("cache/.attest-4194303-0.tmp") && is_there("cache/.attest-1-0.tmp"));
    close(writer);
    removed = cache_json("clean --stale");
    cr_assert(number(removed, "removed") == 2);
    json_decref(removed);
}

Test(cache, clean_removes_what_is_picked) {
    int status;
    free(cache(&status, "clean f32-kv7-d8")); /* as it may be typed */
    cr_assert(status == 0 && !is_there("cache/" SMALL ".h5") && is_there("cache/" LARGE ".h5"));
    free(cache(&status, "clean --stale"));
    cr_assert(status == 0 && !is_there("cache/f32-b1-kv7-d9.h5") && is_there("cache/" LARGE ".h5"));
    char command[256];
    free(cache(&status, "clean --older-than 30"));
    cr_assert(status == 0 && is_there("cache/" LARGE ".h5"));
    snprintf(command, sizeof command, "touch -d '40 days ago' %s/cache/" LARGE ".h5", folder);
    cr_assert(system(command) == 0);
    free(cache(&status, "clean --older-than 30"));
    cr_assert(status == 0 && !is_there("cache/" LARGE ".h5"));
}

Test(cache, exit_statuses_are_those_of_everywhere) {
    static const struct {
        const char *arguments;
        int status;
    } asked[] = {
        {"", 0},
        {"list", 0},
        {"list smoke", FAULT_NOTHING},
        {"clean kv=123456", FAULT_NOTHING},
        {"clean f32-kv77-d8", FAULT_NOTHING},
        {"empty", FAULT_INPUT},
        {"clean no_such_suite", FAULT_INPUT},
        {"clean f32-kw7-d8", FAULT_INPUT},
        {"clean kw=7", FAULT_INPUT},
        {"--stale", FAULT_INPUT},
        {"list --older-than soon", FAULT_INPUT},
    };
    for (size_t n = 0; n < sizeof asked / sizeof asked[0]; n++) {
        int status;
        free(cache(&status, asked[n].arguments));
        cr_assert(status == asked[n].status, "%s: %d", asked[n].arguments, status);
    }
    int status;
    setenv("ATTEST_CACHE", "/nonexistent", 1);
    free(cache(&status, "")); /* nothing was drawn yet */
    cr_assert(status == 0);
    setenv("ATTEST_CACHE", "/etc/passwd", 1);
    free(cache(&status, "clean"));
    cr_assert(status == FAULT_INPUT);
}
/* NOLINTEND(cert-env33-c) */
