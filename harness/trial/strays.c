/* /proc/thread-self/children lists the children of this thread, to which the kernel gives orphans
 * as well. Reading it needs neither memory nor locks. */
#define _GNU_SOURCE
#include "strays.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* 64 members of a crew (crew.h), or a few workers; and what was there before. */
enum { KEPT_MAX = 256, SECONDS = 5 };

/* Read by a signal handler: 0 where nobody is. */
static volatile pid_t kept[KEPT_MAX];
static pid_t adopter; /* the process that `kept` is about */

void strays_keep(pid_t child) {
    for (int n = 0; n < KEPT_MAX; n++) {
        if (kept[n] != 0) continue;
        kept[n] = child;
        return;
    }
}

void strays_drop(pid_t child) {
    for (int n = 0; n < KEPT_MAX; n++) {
        if (kept[n] == child) kept[n] = 0;
    }
}

static bool is_kept(pid_t child) {
    for (int n = 0; n < KEPT_MAX; n++) {
        if (kept[n] == child) return true;
    }
    return false;
}

/* Calls `act` for the first few hundred numbers in the file, and returns how often that was true.
 */
static int for_each_child(const char *path, bool (*act)(pid_t child)) {
    char text[4096];
    int count = 0;
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    const ssize_t bytes = read(file, text, sizeof text - 1);
    close(file);
    pid_t child = 0;
    for (ssize_t n = 0; n < bytes; n++) {
        if (text[n] >= '0' && text[n] <= '9') {
            child = child * 10 + (text[n] - '0');
        } else if (child > 0) { /* each number ends with a space; one that was cut off does not */
            count += act(child);
            child = 0;
        }
    }
    return count;
}

static bool keep(pid_t child) {
    strays_keep(child);
    return true;
}

static bool end(pid_t child) {
    if (is_kept(child)) return false;
    kill(child, SIGKILL);
    waitpid(child, NULL, WNOHANG);
    return true;
}

static bool count(pid_t child) {
    return child > 0;
}

static const char children[] = "/proc/thread-self/children";

void strays_adopt(void) {
    if (adopter == getpid()) return;
    adopter = getpid();
    for (int n = 0; n < KEPT_MAX; n++) kept[n] = 0;
    for_each_child(children, keep);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}

void strays_end(void) {
    const struct timespec moment = {.tv_nsec = 1000000};
    siginfo_t info;
    if (adopter != getpid()) return;
    /* A list that changes while it is read may miss some: none has to be there twice. */
    for (int tries = 0, none = 0; tries < SECONDS * 1000 && none < 2; tries++) {
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 && errno == ECHILD) return;
        none = for_each_child(children, end) == 0 ? none + 1 : 0;
        if (none == 0) nanosleep(&moment, NULL);
    }
}

bool strays_has_children(pid_t process) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)process, (int)process);
    return for_each_child(path, count) > 0;
}
