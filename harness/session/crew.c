/* Fork, wait, and what survives a death. Members die with their parent whatever ends it
 * (PDEATHSIG); ended in order, by crew_stop, they end their own workers first, whose children need
 * not know of them. */
#define _GNU_SOURCE
#include "crew.h"
#include "../trial/client.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Read by a signal handler: 0 where nobody runs. */
static volatile pid_t members[CREW_MAX];

void *crew_memory(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

void crew_release(void *memory, size_t bytes) {
    if (memory != NULL) munmap(memory, bytes);
}

bool crew_lock_make(struct crew_lock *lock, struct fault *fault) {
    pthread_mutexattr_t shared;
    int error = pthread_mutexattr_init(&shared);
    if (error == 0) error = pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    if (error == 0) error = pthread_mutexattr_setrobust(&shared, PTHREAD_MUTEX_ROBUST);
    if (error == 0) error = pthread_mutex_init(&lock->mutex, &shared);
    return error == 0 || fault_set(fault, FAULT_OURS, "cannot make a lock: %s", strerror(error));
}

void crew_lock(struct crew_lock *lock) {
    if (pthread_mutex_lock(&lock->mutex) == EOWNERDEAD) pthread_mutex_consistent(&lock->mutex);
}

void crew_unlock(struct crew_lock *lock) {
    pthread_mutex_unlock(&lock->mutex);
}

/* Of a member: its worker first, then as it was told. */
static void leave(int signal_number) {
    const pid_t worker = client_running;
    if (worker > 0) kill(-worker, SIGKILL);
    raise(signal_number);
}

/* In the child, with the signals of `blocked` blocked. Ctrl-C reaches every process of a terminal:
 * the parent tells the members, so that it can wait for them. */
static _Noreturn void become_member(const struct crew_task *task, int member, pid_t parent,
                                    const sigset_t *before) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(FAULT_OURS); /* it died before we could ask to die with it */
    memset((void *)members, 0, sizeof members);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigaction(SIGTERM,
              &(struct sigaction){.sa_handler = leave, .sa_flags = SA_RESETHAND | SA_NODEFER},
              NULL);
    sigprocmask(SIG_SETMASK, before, NULL);
    exit(task->work(task->context, member));
}

/* How a child that is no more ended; "" if it returned. */
static int judge_end(int status, char how[64]) {
    how[0] = '\0';
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    snprintf(how, 64, "SIG%s", sigabbrev_np(WTERMSIG(status)));
    return FAULT_OURS;
}

static int member_of(pid_t pid, int count) {
    for (int n = 0; n < count; n++) {
        if (members[n] == pid) return n;
    }
    return -1;
}

int crew_run(const struct crew_task *task, int count) {
    int worst = 0, alive = 0;
    char how[64];
    sigset_t blocked, before;
    const pid_t parent = getpid();
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGHUP);
    fflush(NULL); /* or each would print again what is waiting */
    for (int n = 0; n < count; n++) {
        sigprocmask(SIG_BLOCK, &blocked, &before);
        const pid_t pid = fork();
        const int error = errno;
        if (pid == 0) become_member(task, n, parent, &before);
        members[n] = pid > 0 ? pid : 0;
        sigprocmask(SIG_SETMASK, &before, NULL);
        alive += pid > 0;
        if (pid > 0) continue;
        snprintf(how, sizeof how, "cannot be started: %s", strerror(error));
        task->lost(task->context, n, how);
        worst = FAULT_OURS;
    }
    while (alive > 0) {
        int status;
        const pid_t pid = waitpid(-1, &status, 0);
        if (pid < 0 && errno == EINTR) continue;
        const int member = member_of(pid, count);
        if (member < 0) continue; /* a child of somebody else's */
        members[member] = 0;
        alive--;
        /* Who reads the results has seen enough (output.h): that ends the program, not a row. */
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE) {
            crew_stop();
            signal(SIGPIPE, SIG_DFL);
            raise(SIGPIPE);
        }
        const int exit_status = judge_end(status, how);
        if (how[0] != '\0') task->lost(task->context, member, how);
        if (exit_status > worst) worst = exit_status;
    }
    return worst;
}

void crew_stop(void) {
    for (int n = 0; n < CREW_MAX; n++) {
        if (members[n] > 0) kill(members[n], SIGTERM);
    }
    for (int n = 0; n < CREW_MAX; n++) {
        while (members[n] > 0 && waitpid(members[n], NULL, 0) < 0 && errno == EINTR) continue;
    }
}
