/* Appending to a run. */
#define _GNU_SOURCE
#include "writer.h"
#include "../../oracle/clock.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Forcing each row to disk would cost small problems more than running them does. What is written
 * outlives the process at once; this bounds what a power cut takes. */
static const double sync_every_s = 2;

static bool write_line(struct writer *writer, json_t *json, struct fault *fault) {
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    if (text == NULL) return fault_set(fault, FAULT_OURS, "out of memory for a record");
    const size_t bytes = strlen(text);
    text[bytes] = '\n';
    ssize_t written;
    do {
        written = write(writer->file, text, bytes + 1);
    } while (written < 0 && errno == EINTR);
    const int error = errno;
    free(text);
    if (written != (ssize_t)bytes + 1)
        return fault_set(fault, FAULT_OURS, "cannot write to '%s/run.jsonl': %s", writer->folder,
                         written < 0 ? strerror(error) : "the disk is full");
    if (clock_s() - writer->synced_s > sync_every_s) {
        fdatasync(writer->file);
        writer->synced_s = clock_s();
    }
    return true;
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
    snprintf(folder, bytes, "%s/%s-%.7s-%s%s", runs, time, machine->commit, device, suffix);
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
    char path[4200];
    snprintf(path, sizeof path, "%s/run.jsonl", writer->folder);
    writer->file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (writer->file < 0 && errno == EEXIST)
        return fault_set(fault, FAULT_INPUT, "'%.900s' exists; --resume adds to a run", path);
    if (writer->file < 0)
        return fault_set(fault, FAULT_INPUT, "cannot make '%.900s': %s", path, strerror(errno));
    return write_line(writer, machine_to_json(machine), fault);
}

/* Where the last whole line ends. */
static off_t whole_lines(int file, off_t end) {
    char byte;
    while (end > 0 && pread(file, &byte, 1, end - 1) == 1 && byte != '\n') end--;
    return end;
}

bool writer_resume(struct writer *writer, const char *folder, struct fault *fault) {
    char path[4200];
    *writer = (struct writer){.file = -1, .synced_s = clock_s()};
    snprintf(writer->folder, sizeof writer->folder, "%s", folder);
    snprintf(path, sizeof path, "%s/run.jsonl", writer->folder);
    writer->file = open(path, O_RDWR | O_APPEND | O_CLOEXEC);
    if (writer->file < 0)
        return fault_set(fault, FAULT_INPUT, "cannot resume '%.900s': %s", path, strerror(errno));
    const off_t end = lseek(writer->file, 0, SEEK_END);
    if (end < 0 || ftruncate(writer->file, whole_lines(writer->file, end)) != 0)
        return fault_set(fault, FAULT_OURS, "cannot cut '%.900s': %s", path, strerror(errno));
    return true;
}

bool writer_append(struct writer *writer, const struct row *row, struct fault *fault) {
    return write_line(writer, row_to_json(row), fault);
}

bool writer_close(struct writer *writer, struct fault *fault) {
    if (writer->file < 0) return true;
    const bool well = (fdatasync(writer->file) == 0 || errno == EINVAL) && close(writer->file) == 0;
    writer->file = -1;
    if (well) return true;
    return fault_set(fault, FAULT_OURS, "cannot finish '%.900s': %s", writer->folder,
                     strerror(errno));
}
