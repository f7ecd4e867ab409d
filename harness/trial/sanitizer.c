/* compute-sanitizer's log is text: a finding is a line that begins with "=========" and one of the
 * beginnings below, and the line after it that begins with "at" says where. */
#define _GNU_SOURCE
#include "sanitizer.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

const char sanitizer_tools[] = "memcheck, racecheck, initcheck, synccheck";

static const char *const tools[] = {"memcheck", "racecheck", "initcheck", "synccheck"};

/* The gravest first. A word in the middle tells reads from writes. */
static const struct finding {
    const char *begins, *holds;
    enum status status;
} findings[] = {
    {"Invalid", "write", STATUS_FAIL_OOB_WRITE},
    {"Invalid", "atomic", STATUS_FAIL_OOB_WRITE},
    {"Invalid", "read", STATUS_FAIL_OOB_READ},
    {"Invalid", "", STATUS_CRASH},
    {"Error: Race reported", "", STATUS_FAIL_RACE},
    {"Warning: Race reported", "", STATUS_FAIL_RACE},
    {"Barrier error", "", STATUS_FAIL_RACE},
    {"Uninitialized", "", STATUS_FAIL_UNINITIALISED},
};
enum { FINDINGS = sizeof findings / sizeof findings[0] };

/* On the PATH, or where the CUDA toolkit is installed. */
static const char *find_program(void) {
    static char path[4096];
    const char *folders = getenv("PATH");
    snprintf(path, sizeof path, "%s:/usr/local/cuda/bin", folders != NULL ? folders : "");
    char *list = strdup(path), *rest = list;
    for (char *folder; list != NULL && (folder = strsep(&rest, ":")) != NULL;) {
        snprintf(path, sizeof path, "%.4000s/compute-sanitizer", folder);
        if (access(path, X_OK) != 0) continue;
        free(list);
        return path;
    }
    free(list);
    return NULL;
}

/* Removes logs beside the one to be made whose owners are gone: a living one has its log locked. */
static void sweep_logs(const char *name) {
    char pattern[sizeof((struct sanitizer *)0)->log];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%.*s*", (int)(strlen(name) - strlen("XXXXXX")), name);
    if (glob(pattern, GLOB_NOSORT, NULL, &found) != 0) return;
    for (size_t n = 0; n < found.gl_pathc; n++) {
        struct stat status;
        const int file = open(found.gl_pathv[n], O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (file < 0) continue;
        if (fstat(file, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
            flock(file, LOCK_EX | LOCK_NB) == 0)
            unlink(found.gl_pathv[n]);
        close(file);
    }
    globfree(&found);
}

bool sanitizer_open(struct sanitizer *sanitizer, const char *tool, struct fault *fault) {
    size_t known = 0;
    *sanitizer = (struct sanitizer){0};
    while (known < sizeof tools / sizeof tools[0] && strcmp(tools[known], tool) != 0) known++;
    if (known == sizeof tools / sizeof tools[0])
        return fault_set(fault, FAULT_INPUT, "unknown sanitizer '%s', expected one of %s", tool,
                         sanitizer_tools);
    const char *program = find_program(), *folder = getenv("TMPDIR");
    if (program == NULL)
        return fault_set(fault, FAULT_INPUT,
                         "compute-sanitizer is neither on the PATH nor in /usr/local/cuda/bin");
    snprintf(sanitizer->tool, sizeof sanitizer->tool, "%s", tool);
    snprintf(sanitizer->log, sizeof sanitizer->log, "%.4000s/attest-sanitizer-XXXXXX",
             folder != NULL ? folder : "/tmp");
    sweep_logs(sanitizer->log);
    const int file = sanitizer->lock = mkostemp(sanitizer->log, O_CLOEXEC);
    if (file < 0) {
        const int error = errno;
        fault_set(fault, FAULT_OURS, "cannot make the sanitizer's log '%s': %s", sanitizer->log,
                  strerror(error));
        sanitizer->log[0] = '\0';
        return false;
    }
    flock(file, LOCK_SH);
    /* What the driver's and cuBLAS' own calls return is theirs to handle. Padding: allocations may
     * follow each other without a gap, and the first byte behind one be the next one's. */
    const bool pads = !strcmp(tool, "memcheck");
    const char *const command[] = {program,
                                   "--tool",
                                   sanitizer->tool,
                                   "--log-file",
                                   sanitizer->log,
                                   "--report-api-errors",
                                   "no",
                                   "--print-limit",
                                   "1000",
                                   pads ? "--padding" : NULL,
                                   "256",
                                   NULL};
    memcpy(sanitizer->command, command, sizeof command);
    return true;
}

void sanitizer_close(struct sanitizer *sanitizer) {
    if (sanitizer->log[0] == '\0') return;
    unlink(sanitizer->log);
    close(sanitizer->lock);
    sanitizer->log[0] = '\0';
}

static const char *text_of(const char *line) {
    line += strspn(line, "=");
    return line + strspn(line, " ");
}

static int finding_of(const char *line) {
    if (strncmp(line, "=========", 9) != 0) return FINDINGS;
    const char *text = text_of(line);
    for (int n = 0; n < FINDINGS; n++) {
        if (!strncmp(text, findings[n].begins, strlen(findings[n].begins)) &&
            strstr(text, findings[n].holds) != NULL)
            return n;
    }
    return FINDINGS;
}

enum status sanitizer_look(struct sanitizer *sanitizer, char reason[256]) {
    int worst = FINDINGS, count = 0;
    bool where = false, misaligned = false; /* where: the next line may say it */
    char *line = NULL, text[160] = "", place[80] = "";
    size_t room = 0;
    FILE *file = fopen(sanitizer->log, "re");
    if (file != NULL) fseek(file, sanitizer->seen, SEEK_SET);
    for (ssize_t bytes; file != NULL && (bytes = getline(&line, &room, file)) > 0;) {
        if (line[bytes - 1] != '\n') break; /* still being written */
        sanitizer->seen += bytes;
        line[bytes - 1] = '\0';
        const int finding = finding_of(line);
        count += finding < FINDINGS;
        if (where && !strncmp(text_of(line), "at ", 3))
            snprintf(place, sizeof place, " %s", text_of(line));
        misaligned = misaligned || strstr(line, "is misaligned") != NULL;
        where = finding < worst;
        if (!where) continue;
        worst = finding;
        place[0] = '\0';
        snprintf(text, sizeof text, "%s", text_of(line));
    }
    if (file != NULL) fclose(file);
    free(line);
    if (worst == FINDINGS) return STATUS_PASS;
    snprintf(reason, 256, "%s: %s%s%s; %d finding%s", sanitizer->tool, text, place,
             misaligned ? ", misaligned" : "", count, count == 1 ? "" : "s");
    return misaligned && findings[worst].status <= STATUS_FAIL_OOB_READ ? STATUS_CRASH
                                                                        : findings[worst].status;
}
