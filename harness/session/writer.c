/* Appending to a run. */
#define _GNU_SOURCE
#include "writer.h"
#include "hands.h"
#include "../../oracle/clock.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Forcing each row to disk would cost small problems more than running them does. What is written
 * outlives the process at once; this bounds what a power cut takes. */
static const double sync_every_s = 2;

static bool failed(const struct writer *writer, const char *what, struct fault *fault) {
    return fault_set(fault, FAULT_INPUT, "cannot %s '%.900s/run.jsonl': %s", what, writer->folder,
                     strerror(errno));
}

/* Where the last whole line ends. */
static off_t whole_lines(int file, off_t end) {
    char byte;
    while (end > 0 && pread(file, &byte, 1, end - 1) == 1 && byte != '\n') end--;
    return end;
}

/* Cuts off what a process that was killed left of a line, or a full disk. */
static bool cut_torn(const struct writer *writer, struct fault *fault) {
    const off_t end = lseek(writer->file, 0, SEEK_END);
    const off_t whole = end > 0 ? whole_lines(writer->file, end) : end;
    return (end >= 0 && (whole == end || ftruncate(writer->file, whole) == 0)) ||
           failed(writer, "cut", fault);
}

static bool write_whole(const struct writer *writer, const char *text, size_t bytes,
                        struct fault *fault) {
    for (size_t at = 0; at < bytes;) {
        const ssize_t written = write(writer->file, text + at, bytes - at);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) {
            struct fault cutting;
            failed(writer, "write to", fault);
            cut_torn(writer, &cutting);
            return false;
        }
        at += (size_t)written;
    }
    return true;
}

static bool write_line(struct writer *writer, json_t *json, struct fault *fault) {
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    if (text == NULL) return fault_set(fault, FAULT_OURS, "out of memory for a record");
    const size_t bytes = strlen(text);
    text[bytes] = '\n';
    const bool written = cut_torn(writer, fault) && write_whole(writer, text, bytes + 1, fault);
    free(text);
    if (written && clock_s() - writer->synced_s > sync_every_s) {
        fdatasync(writer->file);
        writer->synced_s = clock_s();
    }
    return written;
}

/* Processes of a run that was killed a moment ago may still have it. */
static bool lock(const struct writer *writer, struct fault *fault) {
    enum { TRIES = 100 };
    const struct timespec moment = {.tv_nsec = 20000000};
    for (int n = 0; n < TRIES; n++) {
        if (flock(writer->file, LOCK_EX | LOCK_NB) == 0) return true;
        if (errno != EWOULDBLOCK && errno != EINTR) return true; /* no locks on this file system */
        nanosleep(&moment, NULL);
    }
    return fault_set(fault, FAULT_INPUT, "'%.900s' is being written to by another attest",
                     writer->folder);
}

/* A run begins with its first whole line; what was killed or out of disk before it was none. A part
 * of a line that cannot become our first is somebody's. */
static bool is_begun(const struct writer *writer) {
    static const char first[] = "{\"time\":";
    char begin[sizeof first - 1];
    const off_t end = lseek(writer->file, 0, SEEK_END);
    const ssize_t bytes = pread(writer->file, begin, sizeof begin, 0);
    return end > 0 && (bytes < 0 || memcmp(begin, first, (size_t)bytes) != 0 ||
                       whole_lines(writer->file, end) > 0);
}

static bool is_free(const struct writer *writer, struct fault *fault) {
    return !is_begun(writer) ||
           fault_set(fault, FAULT_INPUT, "'%.900s/run.jsonl' exists; --resume adds to a run",
                     writer->folder);
}

/* Opens run.jsonl, regular and locked; `create`: one in which no run began, or that is not there.
 */
static bool open_file(struct writer *writer, bool create, struct fault *fault) {
    char path[4200];
    struct stat status;
    snprintf(path, sizeof path, "%s/run.jsonl", writer->folder);
    const int flags = O_RDWR | O_APPEND | O_CLOEXEC | O_NONBLOCK | (create ? O_CREAT : 0);
    writer->file = open(path, flags, 0666);
    if (writer->file < 0) return failed(writer, create ? "make" : "resume", fault);
    bool well = fstat(writer->file, &status) == 0 && S_ISREG(status.st_mode);
    if (!well) fault_set(fault, FAULT_INPUT, "'%.900s' is not a file", path);
    well = well && (!create || is_free(writer, fault)) && lock(writer, fault) &&
           (!create || is_free(writer, fault)); /* another may have been first */
    if (well) return true;
    close(writer->file);
    writer->file = -1;
    return false;
}

/* mkdir -p; whether the last folder is new, or also an old one will do. */
static bool make_folders(const char *path, bool must_be_new) {
    char part[4096];
    snprintf(part, sizeof part, "%s", path);
    for (char *at = part + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST) return false;
        *at = '/';
    }
    return mkdir(part, 0777) == 0 || (errno == EEXIST && !must_be_new);
}

/* "nvidia-h200" of "NVIDIA H200". */
static void name_device(char *to, size_t bytes, const char *device) {
    size_t used = 0;
    for (; *device != '\0' && used + 1 < bytes; device++) {
        const bool plain = isalnum((unsigned char)*device);
        if (plain || (used > 0 && to[used - 1] != '-'))
            to[used++] = plain ? (char)tolower((unsigned char)*device) : '-';
    }
    while (used > 0 && to[used - 1] == '-') used--;
    to[used] = '\0';
}

/* "2026-11-22T11:20:49Z" with what file names can do without. */
static void name_folder(char *folder, size_t bytes, const char *runs, const char *suffix,
                        const struct machine *machine) {
    char time[32], device[sizeof machine->device];
    size_t used = 0;
    for (const char *from = machine->time; *from && used + 1 < sizeof time; from++) {
        if (*from != ':' && *from != 'Z') time[used++] = *from;
    }
    time[used] = '\0';
    name_device(device, sizeof device, machine->device);
    const bool released = strncmp(machine->commit, "attest-", 7) == 0; /* not of a git */
    snprintf(folder, bytes, "%s/%s-%.*s-%s%s", runs, time, released ? 31 : 7, machine->commit,
             device, suffix);
}

bool writer_create(struct writer *writer, const char *folder, const char *runs, const char *suffix,
                   const struct machine *machine, struct fault *fault) {
    *writer = (struct writer){.file = -1, .synced_s = clock_s()};
    bool made;
    if (folder != NULL) {
        snprintf(writer->folder, sizeof writer->folder, "%s", folder);
        made = make_folders(folder, false);
    } else {
        char base[4000];
        name_folder(base, sizeof base, runs, suffix, machine);
        snprintf(writer->folder, sizeof writer->folder, "%s", base);
        made = make_folders(writer->folder, true);
        /* Two runs may start in one second. */
        for (int n = 2; !made && errno == EEXIST && n < 100; n++) {
            snprintf(writer->folder, sizeof writer->folder, "%s-%d", base, n);
            made = make_folders(writer->folder, true);
        }
    }
    if (!made)
        return fault_set(fault, FAULT_INPUT, "cannot make folder '%.900s': %s", writer->folder,
                         strerror(errno));
    return open_file(writer, true, fault) && write_line(writer, machine_to_json(machine), fault);
}

bool writer_resume(struct writer *writer, const char *folder, struct fault *fault) {
    *writer = (struct writer){.file = -1, .synced_s = clock_s()};
    snprintf(writer->folder, sizeof writer->folder, "%s", folder);
    return open_file(writer, false, fault);
}

/* Nothing is in it but what a run that was killed early has made. */
static bool holds_nothing_else(const char *folder) {
    bool nothing = true;
    DIR *entries = opendir(folder);
    if (entries == NULL) return false;
    for (const struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        const char *name = entry->d_name;
        nothing =
            nothing && (!strcmp(name, ".") || !strcmp(name, "..") || !strcmp(name, "run.jsonl") ||
                        !strcmp(name, "samples") || !strcmp(name, HANDS_NAME));
    }
    closedir(entries);
    return nothing;
}

bool writer_never_began(const char *folder) {
    struct writer writer = {.file = -1};
    char path[4200];
    snprintf(path, sizeof path, "%s/run.jsonl", folder);
    writer.file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (writer.file < 0) return errno == ENOENT && holds_nothing_else(folder);
    struct stat status;
    const bool begun =
        fstat(writer.file, &status) != 0 || !S_ISREG(status.st_mode) || is_begun(&writer);
    close(writer.file);
    return !begun;
}

bool writer_append(struct writer *writer, const struct row *row, struct fault *fault) {
    return write_line(writer, row_to_json(row), fault);
}

bool writer_close(struct writer *writer, struct fault *fault) {
    if (writer->file < 0) return true;
    const bool synced = fdatasync(writer->file) == 0 || errno == EINVAL;
    if (!synced) failed(writer, "finish", fault);
    const bool closed = close(writer->file) == 0;
    if (synced && !closed) failed(writer, "finish", fault);
    writer->file = -1;
    return synced && closed;
}
