/* A record lock of fcntl and no flock: it is its process' own, not that of children that share the
 * file, a byte of it can be meant, and who waits is told who holds it. Waiting asks again and
 * again: 5 ms beside sections of a second. */
#include "timing_lock.h"
#include "obtain.h"
#include "../../oracle/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

static const double told_s = 60;
static const struct timespec pause_ns = {.tv_nsec = 5000000};

/* A host's name is its containers' own, and two hosts may have one. */
static off_t byte_of_boot(void) {
    char id[64] = "";
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (file != NULL) {
        if (fgets(id, sizeof id, file) == NULL) id[0] = '\0';
        fclose(file);
    }
    if (id[0] == '\0') gethostname(id, sizeof id - 1);
    return (off_t)(XXH64(id, strlen(id), 0) >> 2);
}

static int ask(const struct timing_lock *lock, int command, short type, pid_t *holder) {
    struct flock range = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = byte_of_boot(), .l_len = 1};
    const int status = fcntl(lock->file, command, &range);
    if (holder != NULL) *holder = range.l_pid;
    return status;
}

bool timing_lock_open(struct timing_lock *lock, struct fault *fault) {
    fixture_cache_path("", lock->path); /* FOLDER/.h5 */
    char *name = strrchr(lock->path, '/') + 1;
    snprintf(name, sizeof lock->path - (size_t)(name - lock->path), "timing.lock");
    lock->file = -1;
    if (!obtain_folders(lock->path, fault)) return false;
    lock->file = open(lock->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (lock->file >= 0 && ask(lock, F_GETLK, F_WRLCK, NULL) == 0) return true;
    const int error = errno;
    timing_lock_close(lock);
    return fault_set(fault, FAULT_INPUT, "cannot lock '%.900s': %s", lock->path, strerror(error));
}

double timing_lock_take(const struct timing_lock *lock) {
    if (lock == NULL || lock->file < 0) return 0;
    const double start = clock_s();
    bool told = false;
    pid_t holder;
    while (ask(lock, F_SETLK, F_WRLCK, NULL) != 0) {
        if (errno != EAGAIN && errno != EACCES && errno != EINTR) break;
        if (!told && clock_s() - start > told_s && ask(lock, F_GETLK, F_WRLCK, &holder) == 0) {
            fault_say("waiting for process %lld of this host, which times and holds '%s'",
                      (long long)holder, lock->path);
            told = true;
        }
        nanosleep(&pause_ns, NULL);
    }
    return clock_s() - start;
}

void timing_lock_release(const struct timing_lock *lock) {
    if (lock != NULL && lock->file >= 0) ask(lock, F_SETLK, F_UNLCK, NULL);
}

void timing_lock_close(struct timing_lock *lock) {
    if (lock->file >= 0) close(lock->file);
    lock->file = -1;
}
