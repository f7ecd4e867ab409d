/* O_NONBLOCK, or opening a pipe waits for its writer; of a file it means nothing. */
#define _GNU_SOURCE
#include "regular.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

FILE *regular_open(const char *path) {
    struct stat status;
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0) return NULL;
    int error = 0;
    if (fstat(file, &status) != 0)
        error = errno;
    else if (S_ISDIR(status.st_mode))
        error = EISDIR;
    else if (!S_ISREG(status.st_mode))
        error = ENOTSUP;
    FILE *opened = error == 0 ? fdopen(file, "r") : NULL;
    if (opened == NULL) {
        if (error == 0) error = errno;
        close(file);
        errno = error;
    }
    return opened;
}

const char *regular_error(int error) {
    return error == ENOTSUP ? "it is no regular file" : strerror(error);
}
