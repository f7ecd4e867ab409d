/* Where fixtures come from: the cache while it is what it says, and made anew where it is not; and
 * the two verbs that only obtain. */
#include "obtain.h"
#include "../verb.h"
#include "../../fixtures/test_folder.h"

#include <criterion/criterion.h>
#include <jansson.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char line[] = "f16-b2-hq4-hkv2-q5-kv7-d16-causal-normal-seed1";
static const char other[] = "f16-b2-hq4-hkv2-q5-kv7-d16-causal-normal-seed2";

static char folder[64];
static char cache[64], path[128], other_path[128];

static void setup(void) {
    cr_assert(getenv("ATTEST_PROGRAM") != NULL, "ATTEST_PROGRAM is not set (ctest sets it)");
    test_folder_make(folder);
    snprintf(cache, sizeof cache, "%s/new/cache", folder); /* its folders are made */
    setenv("ATTEST_CACHE", cache, 1);
    snprintf(path, sizeof path, "%s/%s.h5", cache, line);
    snprintf(other_path, sizeof other_path, "%s/%s.h5", cache, other);
}

static void teardown(void) {
    test_folder_remove(folder);
}

/* cppcheck-suppress unknownMacro */
TestSuite(obtain, .init = setup, .fini = teardown);

static struct obtain_report obtained(const char *text, struct obtain_options options,
                                     struct fixture *fixture) {
    struct obtain_report report = {.cached = false};
    struct fault fault = {.text = ""};
    options.program = verb_program();
    options.report = &report;
    cr_assert(obtain_line(fixture, text, &options, &fault), "%s", fault.text);
    cr_assert(fixture->answer.rows != NULL);
    return report;
}

static bool was_cached(const char *text) {
    struct fixture fixture;
    const struct obtain_report report =
        obtained(text, (struct obtain_options){.must_store = true}, &fixture);
    fixture_free(&fixture);
    return report.cached;
}

Test(obtain, a_line_is_drawn_once) {
    struct fixture first, second;
    obtained(line, (struct obtain_options){.must_store = true}, &first);
    cr_assert(access(path, F_OK) == 0);
    const struct obtain_report report = obtained(line, (struct obtain_options){0}, &second);
    cr_assert(report.cached && report.load_seconds > 0 && report.generate_seconds == 0);
    cr_assert(!strcmp(first.digest, second.digest));
    cr_assert(first.answer.out[0] == second.answer.out[0]);
    fixture_free(&first);
    fixture_free(&second);
}

static ino_t number_of(const char *file) {
    struct stat status;
    return stat(file, &status) == 0 ? status.st_ino : 0;
}

/* Processes stand for hosts: what they share is the folder alone. */
Test(obtain, of_two_that_make_a_fixture_at_once_the_first_is_kept_and_both_agree) {
    enum { MAKERS = 4 };
    static const char large[] = "f16-b2-hq8-hkv2-q64-kv512-d64-normal-seed1";
    char file[256];
    int ends[2];
    pid_t makers[MAKERS];
    ino_t first = 0;
    snprintf(file, sizeof file, "%s/%s.h5", cache, large);
    cr_assert(pipe(ends) == 0);
    for (int n = 0; n < MAKERS; n++) {
        makers[n] = fork();
        if (makers[n] != 0) continue;
        struct fixture fixture;
        char go;
        close(ends[1]);
        if (read(ends[0], &go, 1) < 0) _exit(1); /* until all are there */
        obtained(large, (struct obtain_options){.must_store = true, .threads = 1}, &fixture);
        _exit(strcmp(fixture.digest, "") == 0);
    }
    close(ends[0]);
    close(ends[1]);
    for (int left = MAKERS; left > 0;) {
        const ino_t number = number_of(file);
        if (first == 0) first = number;
        cr_assert(number == first, "it was replaced");
        for (int n = 0; n < MAKERS; n++) {
            int status;
            if (makers[n] == 0 || waitpid(makers[n], &status, WNOHANG) == 0) continue;
            cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
            makers[n] = 0;
            left--;
        }
    }
    cr_assert(number_of(file) == first && first != 0);
    struct fixture kept, drawn;
    cr_assert(obtained(large, (struct obtain_options){0}, &kept).cached);
    obtained(large, (struct obtain_options){.uncached = true}, &drawn);
    cr_assert(!strcmp(kept.digest, drawn.digest));
    fixture_free(&kept);
    fixture_free(&drawn);
    cr_assert(unlink(file) == 0 && rmdir(cache) == 0, "there is more");
}

static off_t bytes_of(const char *file) {
    struct stat status;
    cr_assert(stat(file, &status) == 0);
    return status.st_size;
}

static bool is_link(const char *file) {
    struct stat status;
    cr_assert(lstat(file, &status) == 0);
    return S_ISLNK(status.st_mode);
}

Test(obtain, a_link_in_the_cache_is_replaced_and_what_it_leads_to_left_alone) {
    char elsewhere[128];
    struct fixture fixture;
    struct fault fault;
    snprintf(elsewhere, sizeof elsewhere, "%s/precious", folder);
    cr_assert(!was_cached(line));
    FILE *file = fopen(elsewhere, "w");
    cr_assert(file != NULL && fputs("precious", file) > 0 && fclose(file) == 0);
    cr_assert(unlink(path) == 0 && symlink(elsewhere, path) == 0);
    cr_assert(!was_cached(line) && was_cached(line));
    cr_assert(bytes_of(elsewhere) == 8 && !is_link(path));

    /* also where only the answer is missing */
    obtained(line, (struct obtain_options){0}, &fixture);
    answer_free(&fixture.answer);
    cr_assert(fixture_write(&fixture, elsewhere, &fault), "%s", fault.text);
    fixture_free(&fixture);
    const off_t bytes = bytes_of(elsewhere);
    cr_assert(unlink(path) == 0 && symlink(elsewhere, path) == 0);
    cr_assert(!was_cached(line) && was_cached(line));
    cr_assert(bytes_of(elsewhere) == bytes && !is_link(path));

    cr_assert(unlink(path) == 0 && mkfifo(path, 0600) == 0);
    cr_assert(!was_cached(line) && was_cached(line));
}

Test(obtain, any_way_to_write_a_line_is_the_same_fixture) {
    cr_assert(!was_cached(line));
    cr_assert(was_cached("b2-f16-hkv2-hq4-q5-kv7-d16-causal"));
}

Test(obtain, again_draws_anew_and_uncached_leaves_nothing) {
    struct fixture fixture;
    obtained(line, (struct obtain_options){.uncached = true}, &fixture);
    fixture_free(&fixture);
    cr_assert(access(cache, F_OK) != 0);
    cr_assert(!was_cached(line));
    const struct obtain_report report =
        obtained(line, (struct obtain_options){.again = true}, &fixture);
    cr_assert(!report.cached && report.generate_seconds > 0 && report.write_seconds > 0);
    fixture_free(&fixture);
}

Test(obtain, what_the_cache_holds_wrongly_is_made_anew) {
    cr_assert(!was_cached(line));
    cr_assert(truncate(path, 3000) == 0);
    cr_assert(!was_cached(line), "a damaged file");
    cr_assert(was_cached(line));

    cr_assert(!was_cached(other));
    cr_assert(rename(other_path, path) == 0);
    cr_assert(!was_cached(line), "another line's file");
    cr_assert(was_cached(line));

    struct fixture fixture;
    struct fault fault;
    obtained(line, (struct obtain_options){0}, &fixture);
    fixture.generator = FIXTURE_GENERATOR + 1;
    cr_assert(fixture_write(&fixture, path, &fault));
    fixture_free(&fixture);
    cr_assert(!was_cached(line), "a file of another generator");
}

Test(obtain, a_missing_answer_is_computed_and_kept) {
    struct fixture fixture;
    struct fault fault;
    obtained(line, (struct obtain_options){0}, &fixture);
    struct answer answer = fixture.answer;
    fixture.answer = (struct answer){.rows = NULL};
    cr_assert(fixture_write(&fixture, path, &fault));
    answer_free(&answer);
    fixture_free(&fixture);

    const struct obtain_report report = obtained(line, (struct obtain_options){0}, &fixture);
    cr_assert(!report.cached && report.oracle_seconds > 0 && report.generate_seconds == 0);
    fixture_free(&fixture);
    cr_assert(was_cached(line));
}

Test(obtain, a_cache_that_cannot_be_written_is_a_warning_or_a_fault) {
    struct fixture fixture;
    struct fault fault = {.code = FAULT_NONE};
    setenv("ATTEST_CACHE", "/dev/null/cache", 1);
    obtained(line, (struct obtain_options){0}, &fixture);
    fixture_free(&fixture);
    const struct obtain_options options = {.program = verb_program(), .must_store = true};
    cr_assert(!obtain_line(&fixture, line, &options, &fault));
    cr_assert(fault.code == FAULT_INPUT && strstr(fault.text, "/dev/null"), "%s", fault.text);
    cr_assert(fixture.memory == NULL);
}

Test(obtain, lines_that_cannot_be_made_say_why) {
    static const struct {
        const char *line, *text;
    } wrong[] = {
        {"f16-b2-hq4-wide", "wide"},
        {"f16-b1-hq1-kv9-d8-file", "made elsewhere"},
        {"f16-b64-hq64-q65536-kv65536-d128", "GiB of memory"},
    };
    struct fixture fixture;
    struct fault fault;
    for (size_t n = 0; n < sizeof wrong / sizeof wrong[0]; n++) {
        const struct obtain_options options = {.program = verb_program()};
        cr_assert(!obtain_line(&fixture, wrong[n].line, &options, &fault));
        cr_assert(fault.code == FAULT_INPUT && strstr(fault.text, wrong[n].text), "%s", fault.text);
    }
}

Test(obtain, an_argument_is_a_line_or_a_suite) {
    struct suite lines;
    struct fault fault = {.text = ""};
    cr_assert(obtain_lines(&lines, "b2-f16-hkv2-hq4-q5-kv7-d16-causal", verb_suites(), &fault),
              "%s", fault.text);
    cr_assert(lines.count == 1 && !strcmp(lines.lines[0], line));
    suite_free(&lines);
    cr_assert(obtain_lines(&lines, "smoke", verb_suites(), &fault), "%s", fault.text);
    cr_assert(lines.count > 7);
    suite_free(&lines);
    cr_assert(!obtain_lines(&lines, "f16-b2-hq4-q5-kv7-d16-casual", verb_suites(), &fault));
    cr_assert(strstr(fault.text, "casual") && !strstr(fault.text, "suite"), "%s", fault.text);
    cr_assert(!obtain_lines(&lines, "smoky", verb_suites(), &fault));
    cr_assert(strstr(fault.text, "suite 'smoky'"), "%s", fault.text);
}

/* The verbs, as they are called */

/* Runs attest; its standard output, "" if there is none, in memory that lasts until the next. */
static const char *attest(const char *arguments, int status) {
    static char output[16384];
    char command[1024];
    snprintf(command, sizeof command, "'%s' %s 2> %s/stderr", verb_program(), arguments, folder);
    FILE *pipe = popen(command, "r"); /* NOLINT(cert-env33-c) */
    cr_assert(pipe != NULL);
    output[fread(output, 1, sizeof output - 1, pipe)] = '\0';
    const int ended = pclose(pipe);
    cr_assert(WIFEXITED(ended) && WEXITSTATUS(ended) == status, "attest %s: %d", arguments,
              WEXITSTATUS(ended));
    return output;
}

static const char *complaint(void) {
    static char text[4096];
    char name[96];
    snprintf(name, sizeof name, "%s/stderr", folder);
    FILE *file = fopen(name, "r");
    cr_assert(file != NULL);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

static json_t *parsed(const char *text) {
    json_t *json = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL);
    cr_assert(json != NULL, "%s", text);
    return json;
}

Test(obtain, make_prints_digest_size_time_and_path) {
    char arguments[256], printed[256], digest[64], units[2][8];
    double size, time;
    snprintf(arguments, sizeof arguments, "make %s", line);
    cr_assert(sscanf(attest(arguments, 0), "%63s %lf %7s %lf %7s %255s", digest, &size, units[0],
                     &time, units[1], printed) == 6);
    struct stat status;
    cr_assert(!strcmp(printed, path) && stat(path, &status) == 0 && size > 0 && time > 0);
    cr_assert(!strcmp(units[0], "KiB") && fabs((double)status.st_size / 1024 / size - 1) < 0.01);
    cr_assert(strlen(digest) == 32 && strchr(units[1], 's') != NULL);
    cr_assert(strstr(complaint(), "1/1") && strstr(complaint(), "drawn in"), "%s", complaint());

    snprintf(arguments, sizeof arguments, "make %s --json", line);
    json_t *json = parsed(attest(arguments, 0));
    cr_assert(json_is_true(json_object_get(json, "cached")));
    cr_assert(!strcmp(json_string_value(json_object_get(json, "digest")), digest));
    json_decref(json);
}

Test(obtain, make_takes_words_that_pick_lines) {
    const char *made = attest("make smoke variant=decode dtype=f32 --json", 0);
    json_t *json = parsed(made);
    cr_assert(strncmp(json_string_value(json_object_get(json, "line")), "f32-", 4) == 0);
    json_decref(json);
    attest("make smoke b=77", FAULT_NOTHING);
    attest("make smoke nonsense=1", FAULT_INPUT);
    attest("make", FAULT_INPUT);
    attest("make nothing-such", FAULT_INPUT);
    attest("make smoke --threads=0", FAULT_INPUT);
}

Test(obtain, make_divides_lines_among_hosts) {
    static const char lines[] = "f16-kv70-d8 f16-kv71-d8 f32-kv72-d8 f32-kv73-d8 f32-kv74-d8";
    char arguments[256];
    int made = 0;
    for (int part = 1; part <= 2; part++) {
        snprintf(arguments, sizeof arguments, "make --shard %d/2 %s", part, lines);
        const char *printed = attest(arguments, 0);
        for (const char *at = printed; (at = strstr(at, ".h5")) != NULL; at++) made++;
        cr_assert(strstr(complaint(), "drawn in") && !strstr(complaint(), "cached"));
    }
    cr_assert(made == 5);
    attest("make --shard 3/3 f16-kv70-d8 f16-kv71-d8", FAULT_NOTHING);
    cr_assert(strstr(complaint(), "part 3 of 3 is empty") != NULL, "%s", complaint());
    attest("make --shard 3/2 f16-kv70-d8", FAULT_INPUT);
}

Test(obtain, oracle_answers_files_and_compares_with_the_definition) {
    char arguments[512];
    cr_assert(!was_cached(line));
    snprintf(arguments, sizeof arguments, "oracle %s --rows 2 --definition --json", path);
    json_t *json = parsed(attest(arguments, 0));
    cr_assert(json_integer_value(json_object_get(json, "rows")) == 2);
    cr_assert(json_is_false(json_object_get(json, "cached")));
    cr_assert(json_real_value(json_object_get(json, "definition_out")) < 1e-12);
    json_decref(json);
    cr_assert(!was_cached(line), "a line without rows is not answered by two of them");
    snprintf(arguments, sizeof arguments, "oracle %s --definition", path);
    const char *text = attest(arguments, 0);
    cr_assert(strstr(text, "5 of 5 rows a head, oracle") && strstr(text, "as stored"), "%s", text);
    cr_assert(strstr(text, "of sum p|v|"), "%s", text);
}

/* Says of the cached file's answer that someone else made it. */
static void forge(const char *oracle) {
    struct fixture fixture;
    struct fault fault;
    cr_assert(fixture_read(&fixture, path, &fault) && fixture.answer.rows != NULL);
    snprintf(fixture.answer.oracle, sizeof fixture.answer.oracle, "%s", oracle);
    fixture.answer.out[0] = 1e9;
    cr_assert(fixture_write_answer(&fixture, path, &fault), "%s", fault.text);
    fixture_free(&fixture);
}

Test(obtain, an_answer_by_another_oracle_is_made_anew_for_as_many_rows_and_said_to_be) {
    char arguments[512];
    cr_assert(!was_cached(line));
    snprintf(arguments, sizeof arguments, "oracle %s --rows 2", path);
    attest(arguments, 0);
    forge("oracle 0\x1b[31m");
    snprintf(arguments, sizeof arguments, "oracle %s --definition --json", path);
    json_t *json = parsed(attest(arguments, 0));
    cr_assert(
        strstr(complaint(), "is by 'oracle 0\\x1b[31m' and is made anew by '" ORACLE_VERSION "'"),
        "%s", complaint());
    cr_assert(json_is_false(json_object_get(json, "cached")));
    cr_assert(json_integer_value(json_object_get(json, "rows")) == 2);
    cr_assert(json_real_value(json_object_get(json, "definition_out")) < 1e-12);
    json_decref(json);
    json = parsed(attest(arguments, 0));
    cr_assert(json_is_true(json_object_get(json, "cached")) && complaint()[0] == '\0');
    json_decref(json);
    forge("definition 1");
    snprintf(arguments, sizeof arguments,
             "run prefill_naive_r1 -f %s --no-time --no-probe --out %s/run", path, folder);
    attest(arguments, 0);
    cr_assert(strstr(complaint(), "is by 'definition 1' and is made anew"), "%s", complaint());
}

Test(obtain, oracle_does_the_other_files_after_a_bad_one) {
    char arguments[512];
    cr_assert(!was_cached(line));
    snprintf(arguments, sizeof arguments, "oracle /nowhere.h5 %s", path);
    cr_assert(strstr(attest(arguments, FAULT_INPUT), path) != NULL);
    cr_assert(strstr(complaint(), "cannot open '/nowhere.h5'") != NULL, "%s", complaint());
    attest("oracle", FAULT_INPUT);
    attest("oracle --rows=none x.h5", FAULT_INPUT);
    attest("oracle --threads=none x.h5", FAULT_INPUT);
}
