/* What a name leads to is looked at before anything is written to it. */
#define _GNU_SOURCE
#include "destination.h"
#include "../record/record.h"
#include "../../fixtures/problem.h"
#include "../../fixtures/replace.h"
#include "../../oracle/regular.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A name that the run in the same folder uses, or will. */
static bool is_of_a_run(const char *path) {
    static const char *const names[] = {"run.jsonl", "samples.h5", "samples", "at-hand"};
    char folder[4096], run[4200];
    struct stat status;
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    bool is = false;
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) is = is || !strcmp(name, names[n]);
    snprintf(folder, sizeof folder, "%.*s", slash != NULL ? (int)(name - path) : 2,
             slash != NULL ? path : "./");
    snprintf(run, sizeof run, "%srun.jsonl", folder);
    return is && stat(run, &status) == 0;
}

static bool is_folder(const char *path) {
    struct stat status;
    if (stat(path, &status) != 0) return false;
    errno = ENOTDIR;
    return S_ISDIR(status.st_mode);
}

static bool check_folder(const char *path, struct fault *fault) {
    char folder[4096] = ".";
    const char *slash = strrchr(path, '/');
    if (slash != NULL) snprintf(folder, sizeof folder, "%.*s/", (int)(slash - path), path);
    if (*path == '\0' || is_folder(path))
        return fault_set(fault, FAULT_INPUT, "'%.900s' is %s, expected a file to write a report to",
                         path, *path == '\0' ? "no name" : "a folder");
    return is_folder(folder) ||
           fault_set(fault, FAULT_INPUT, "cannot write '%.900s': %s", path, strerror(errno));
}

/* A report is never written over what attest reads, or has open: a run, this one or another, a
 * fixture or the samples of a run, a suite, a kernel. */
bool destination_check(const char *path, struct fault *fault) {
    static const unsigned char hdf5[] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    static const unsigned char elf[] = {0x7f, 'E', 'L', 'F'};
    unsigned char begin[sizeof hdf5] = {0};
    const char *is = NULL;
    if (!check_folder(path, fault)) return false;
    char *target = realpath(path, NULL); /* a link is followed */
    const bool taken = is_of_a_run(target != NULL ? target : path);
    free(target);
    if (taken)
        return fault_set(fault, FAULT_INPUT,
                         "'%.900s' is the name of a run's own file, expected another", path);
    struct run_reader run;
    struct suite suite;
    struct fault none;
    FILE *file = regular_open(path);
    if (file == NULL) return true;
    if (fread(begin, 1, sizeof begin, file) == sizeof begin && !memcmp(begin, hdf5, sizeof hdf5))
        is = "an HDF5 file";
    else if (!memcmp(begin, elf, sizeof elf))
        is = "a library or a program";
    fclose(file);
    if (is == NULL && run_open(&run, path, &none)) {
        is = "a run";
        run_close(&run);
    }
    if (is == NULL && strchr(path, '.') != NULL && suite_read(&suite, "", path, &none)) {
        if (suite.count > 0) is = "a suite";
        suite_free(&suite);
    }
    return is == NULL ||
           fault_set(fault, FAULT_INPUT, "'%.900s' is %s, expected a file to write a report to",
                     path, is);
}

struct writing {
    bool (*write)(FILE *to, void *context, struct fault *fault);
    void *context;
};

/* Takes `path`, which is open for writing as `to`. */
static bool write_to(FILE *to, const char *path, const struct writing *writing,
                     struct fault *fault) {
    if (to == NULL)
        return fault_set(fault, FAULT_INPUT, "cannot write '%.900s': %s", path, strerror(errno));
    const bool made = writing->write(to, writing->context, fault);
    const bool failed = fflush(to) != 0;
    const int error = errno;
    const bool closed = fclose(to) == 0;
    if (made && (failed || !closed))
        return fault_set(fault, FAULT_INPUT, "cannot write '%.900s': %s", path,
                         strerror(failed ? error : errno));
    return made;
}

/* Opening a pipe would wait for its reader. */
static FILE *open_special(const char *path) {
    const int file = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file >= 0 && fcntl(file, F_SETFL, 0) == 0) return fdopen(file, "w");
    if (file >= 0) close(file);
    return NULL;
}

bool destination_write(const char *path,
                       bool (*write)(FILE *to, void *context, struct fault *fault), void *context,
                       struct fault *fault) {
    const struct writing writing = {write, context};
    struct stat status;
    if (stat(path, &status) == 0 && !S_ISREG(status.st_mode)) {
        FILE *to = open_special(path);
        if (to == NULL && errno == ENXIO)
            return fault_set(fault, FAULT_INPUT, "cannot write '%.900s': nobody reads it", path);
        return write_to(to, path, &writing, fault);
    }
    struct replace replace;
    const bool well = replace_begin(&replace, path, fault) &&
                      write_to(fopen(replace.temporary, "we"), path, &writing, fault) &&
                      replace_commit(&replace, fault);
    replace_abort(&replace);
    if (!well) fault->code = FAULT_INPUT; /* the user's folder or disk */
    return well;
}
