/* Logs as compute-sanitizer writes them, and what becomes of a row. */
#include "sanitizer.h"
#include "../../fixtures/test_folder.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct sanitizer logged(const char *text) {
    struct sanitizer sanitizer = {.tool = "memcheck", .log = "/tmp/attest-test-log-XXXXXX"};
    const int file = sanitizer.lock = mkstemp(sanitizer.log);
    cr_assert(file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text));
    return sanitizer;
}

static void assert_found(const char *text, enum status status, const char *words) {
    char reason[256] = "";
    struct sanitizer sanitizer = logged(text);
    const enum status found = sanitizer_look(&sanitizer, reason);
    cr_assert(found == status, "%s instead of %s: %s", status_name(found), status_name(status),
              text);
    cr_assert(strstr(reason, words) != NULL, "'%s' lacks '%s'", reason, words);
    cr_assert(sanitizer_look(&sanitizer, reason) == STATUS_PASS, "the same finding twice");
    sanitizer_close(&sanitizer);
}

Test(sanitizer, findings_become_statuses) {
    assert_found("========= COMPUTE-SANITIZER\n", STATUS_PASS, "");
    assert_found("========= COMPUTE-SANITIZER\n"
                 "========= Invalid __global__ write of size 4 bytes\n"
                 "=========     at void decode_kernel<float>(args)+0x90 in decode.cu:123\n"
                 "=========     by thread (0,0,0) in block (0,0,0)\n",
                 STATUS_FAIL_OOB_WRITE, "decode.cu:123");
    assert_found("========= Invalid __global__ read of size 16 bytes\n", STATUS_FAIL_OOB_READ,
                 "of size 16 bytes; 1 finding");
    assert_found("========= Invalid __shared__ atomic of size 4 bytes\n", STATUS_FAIL_OOB_WRITE,
                 "memcheck: ");
    assert_found("========= Error: Race reported between Write access at a.cu:4 and Read\n",
                 STATUS_FAIL_RACE, "Race");
    assert_found("========= Warning: Race reported between Write access at a.cu:4\n",
                 STATUS_FAIL_RACE, "Race");
    assert_found("========= Uninitialized __global__ memory read of size 4 bytes\n",
                 STATUS_FAIL_UNINITIALISED, "Uninitialized");
    assert_found("========= Barrier error detected. Divergent thread(s) in warp\n",
                 STATUS_FAIL_RACE, "Barrier");
    assert_found("========= Invalid __global__ write of size 4 bytes\n"
                 "=========     at f+0x10 in a.cu:3\n"
                 "=========     Address 0x7f0000000002 is misaligned\n",
                 STATUS_CRASH, "a.cu:3, misaligned");
    assert_found("========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n",
                 STATUS_PASS, "");
}

Test(sanitizer, the_gravest_of_several_counts) {
    assert_found("========= Invalid __global__ read of size 2 bytes\n"
                 "=========     at reads+0x1 in a.cu:1\n"
                 "========= Invalid __global__ write of size 2 bytes\n"
                 "=========     at writes+0x1 in a.cu:2\n"
                 "========= Invalid __global__ read of size 2 bytes\n"
                 "=========     at reads+0x1 in a.cu:3\n",
                 STATUS_FAIL_OOB_WRITE, "at writes+0x1 in a.cu:2; 3 findings");
}

Test(sanitizer, a_row_has_only_what_came_since_the_last) {
    char reason[256];
    struct sanitizer sanitizer = logged("========= Invalid __global__ read of size 2 bytes\n");
    cr_assert(sanitizer_look(&sanitizer, reason) == STATUS_FAIL_OOB_READ);
    FILE *file = fopen(sanitizer.log, "a");
    fputs("========= Uninitialized __global__ memory read of size 4 by", file);
    fclose(file);
    cr_assert(sanitizer_look(&sanitizer, reason) == STATUS_PASS, "half a line is none");
    file = fopen(sanitizer.log, "a");
    fputs("tes\n", file);
    fclose(file);
    cr_assert(sanitizer_look(&sanitizer, reason) == STATUS_FAIL_UNINITIALISED);
    sanitizer_close(&sanitizer);
    cr_assert(sanitizer_look(&sanitizer, reason) == STATUS_PASS);
}

Test(sanitizer, what_cannot_run_is_the_users_to_mend) {
    struct sanitizer sanitizer;
    struct fault fault = {0};
    cr_assert(!sanitizer_open(&sanitizer, "mindcheck", &fault) && fault.code == FAULT_INPUT);
    cr_assert(strstr(fault.text, "'mindcheck'") && strstr(fault.text, "racecheck"));

    char folder[] = "/tmp/attest-test-XXXXXX", program[64];
    cr_assert(mkdtemp(folder) != NULL);
    snprintf(program, sizeof program, "%s/compute-sanitizer", folder);
    FILE *file = fopen(program, "w");
    cr_assert(file != NULL && fclose(file) == 0 && chmod(program, 0700) == 0);
    setenv("PATH", folder, 1);
    cr_assert(sanitizer_open(&sanitizer, "racecheck", &fault), "%s", fault.text);
    cr_assert(!strcmp(sanitizer.command[0], program) && !strcmp(sanitizer.command[2], "racecheck"));
    cr_assert(access(sanitizer.log, R_OK) == 0);
    sanitizer_close(&sanitizer);
    sanitizer_close(&sanitizer); /* twice is harmless */
    unlink(program);
    rmdir(folder);
}

Test(sanitizer, logs_of_killed_processes_are_removed_and_those_of_living_ones_are_not) {
    char folder[64], program[128], dead[128], path[8192];
    struct sanitizer living, other;
    struct fault fault = {0};
    test_folder_make(folder);
    snprintf(program, sizeof program, "%s/compute-sanitizer", folder);
    snprintf(dead, sizeof dead, "%s/attest-sanitizer-dead00", folder);
    snprintf(path, sizeof path, "%s:%s", folder, getenv("PATH"));
    setenv("PATH", path, 1);
    setenv("TMPDIR", folder, 1);
    cr_assert(symlink("/bin/true", program) == 0);
    close(creat(dead, 0600));
    cr_assert(sanitizer_open(&living, "memcheck", &fault), "%s", fault.text);
    cr_assert(access(dead, F_OK) != 0);
    cr_assert(sanitizer_open(&other, "memcheck", &fault), "%s", fault.text);
    cr_assert(access(living.log, F_OK) == 0 && access(other.log, F_OK) == 0);
    sanitizer_close(&other);
    sanitizer_close(&living);
    cr_assert(unlink(program) == 0);
    cr_assert(rmdir(folder) == 0); /* nothing else is left */
}
