/* Reading a machine off /proc, /sys and the programs it has. */
#define _GNU_SOURCE
#include "machine.h"
#include "../worker/haste.h"
#include "../worker/host.h"
#include "../../oracle/oracle.h"
#include "../../oracle/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void describe_cpu(char text[128]) {
    char line[512];
    FILE *file = fopen("/proc/cpuinfo", "re");
    snprintf(text, 128, "unknown");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *colon = strchr(line, ':');
        if (colon == NULL || strncmp(line, "model name", 10) != 0) continue;
        snprintf(text, 128, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (file != NULL) fclose(file);
}

static void describe_isa(char text[32]) {
#if defined(__x86_64__)
    snprintf(text, 32, "x86-64%s%s%s", __builtin_cpu_supports("avx2") ? " avx2" : "",
             __builtin_cpu_supports("avx512f") ? " avx512" : "",
             __builtin_cpu_supports("avx512bf16") ? " bf16" : "");
#else
    struct utsname system;
    uname(&system);
    snprintf(text, 32, "%.31s", system.machine);
#endif
}

static void describe_os(char text[128]) {
    struct utsname system;
    char line[256], name[80] = "Linux";
    FILE *file = fopen("/etc/os-release", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (!strncmp(line, "PRETTY_NAME=\"", 13))
            snprintf(name, sizeof name, "%.*s", (int)strcspn(line + 13, "\"\n"), line + 13);
    }
    if (file != NULL) fclose(file);
    uname(&system);
    snprintf(text, 128, "%s, %.40s", name, system.release);
}

/* What `git -C <source> ARGUMENTS` prints, up to `bytes`; false when it fails. */
static bool git(char *const arguments[], char *text, size_t bytes) {
    int pair[2];
    text[0] = '\0';
    if (pipe2(pair, O_CLOEXEC) != 0) return false;
    const pid_t pid = fork();
    if (pid == 0) {
        const int null = open("/dev/null", O_WRONLY);
        dup2(pair[1], STDOUT_FILENO);
        if (null >= 0) dup2(null, STDERR_FILENO);
        execvp("git", arguments);
        _exit(127);
    }
    close(pair[1]);
    size_t used = 0;
    for (ssize_t n = 1; pid > 0 && n > 0;) {
        n = read(pair[0], text + used, bytes - 1 - used);
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n > 0)
            used += (size_t)n;
    }
    text[used] = '\0';
    close(pair[0]);
    int status = -1;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    /* A reader that has seen enough closes the pipe: git then ends by SIGPIPE. */
    return pid > 0 && (status == 0 || used > 0);
}

/* A source tree that was copied without its git may be told what it is: "<commit>[-dirty]". */
static bool commit_told(struct machine *machine) {
    static const char dirty[] = "-dirty";
    const char *told = getenv("ATTEST_COMMIT");
    if (told == NULL || *told == '\0') return false;
    const size_t length = strlen(told), end = sizeof dirty - 1;
    machine->dirty = length > end && !strcmp(told + length - end, dirty);
    snprintf(machine->commit, sizeof machine->commit, "%.*s",
             (int)(length - (machine->dirty ? end : 0)), told);
    return true;
}

static void describe_commit(struct machine *machine) {
    if (commit_told(machine)) return;
    char changes[64];
    char *const head[] = {"git", "-C", ATTEST_SOURCE_DIR, "rev-parse", "HEAD", NULL};
    char *const status[] = {"git", "-C", ATTEST_SOURCE_DIR, "status", "--porcelain", "-uno", NULL};
    if (!git(head, machine->commit, sizeof machine->commit))
        snprintf(machine->commit, sizeof machine->commit, "attest-" ATTEST_VERSION);
    machine->commit[strcspn(machine->commit, "\n")] = '\0';
    machine->dirty = git(status, changes, sizeof changes) && changes[0] != '\0';
}

/* As a shell reads it back; argv[0] is "attest run". */
static const char *describe_command(int argc, char **argv) {
    char *text = NULL;
    size_t bytes;
    FILE *to = open_memstream(&text, &bytes);
    if (to == NULL) return "";
    if (argc > 0) fputs(argv[0], to);
    for (int n = 1; n < argc; n++) {
        fputc(' ', to);
        text_quote(to, argv[n]);
    }
    const char *command = fclose(to) == 0 ? text_kept(text) : "";
    free(text);
    return command;
}

void machine_describe(struct machine *machine, int argc, char **argv) {
    *machine = (struct machine){.cores = host_cores(), .device = "cpu"};
    machine->haste = haste() > 1 ? haste() : 0;
    const time_t now = time(NULL);
    struct tm utc;
    strftime(machine->time, sizeof machine->time, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    gethostname(machine->host, sizeof machine->host - 1);
    describe_commit(machine);
    machine->command = describe_command(argc, argv);
    describe_cpu(machine->cpu);
    describe_isa(machine->isa);
    describe_os(machine->os);
    machine->memory_bytes = (double)host_memory_bytes();
#if defined(__clang__)
    snprintf(machine->compiler, sizeof machine->compiler, "clang %s", __clang_version__);
#else
    snprintf(machine->compiler, sizeof machine->compiler, "gcc %s", __VERSION__);
#endif
    snprintf(machine->blas, sizeof machine->blas, "%s", oracle_blas());
    snprintf(machine->hdf5, sizeof machine->hdf5, "%s", ATTEST_HDF5_VERSION);
}
