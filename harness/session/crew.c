/* Fork, wait, and what survives a death. Members die with their parent whatever ends it
 * (PDEATHSIG); ended in order, by crew_stop, they end their own workers first, whose children need
 * not know of them. */
#define _GNU_SOURCE
#include "crew.h"
#include "../trial/client.h"
#include "../trial/strays.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
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
    client_volunteer(300);
    strays_adopt();
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

/* Starts a member; false when it cannot be. */
static bool start(const struct crew_task *task, int member, char how[64]) {
    sigset_t blocked, before;
    const pid_t parent = getpid();
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGHUP);
    fflush(NULL); /* or it would print again what is waiting */
    sigprocmask(SIG_BLOCK, &blocked, &before);
    const pid_t pid = fork();
    const int error = errno;
    if (pid == 0) become_member(task, member, parent, &before);
    members[member] = pid > 0 ? pid : 0;
    if (pid > 0) strays_keep(pid);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0) snprintf(how, 64, "cannot be started: %s", strerror(error));
    return pid > 0;
}

/* The next member that ended, and how; -1 of a child that is nobody's, -2 when there is none. */
static int await(int count, int *status) {
    for (;;) {
        const pid_t pid = waitpid(-1, status, WUNTRACED);
        if (pid < 0 && errno == EINTR) continue;
        if (pid < 0) return -2;
        const int member = member_of(pid, count);
        if (!WIFSTOPPED(*status)) {
            strays_drop(pid);
            return member;
        }
        /* Not by a terminal, which stops and continues us with it. */
        if (member >= 0 && WSTOPSIG(*status) == SIGSTOP) kill(pid, SIGCONT);
    }
}

int crew_run(const struct crew_task *task, int count) {
    int worst = 0, alive = 0;
    char how[64];
    strays_adopt();
    for (int n = 0; n < count; n++) {
        const bool started = start(task, n, how);
        alive += started;
        if (started) continue;
        task->lost(task->context, n, how);
        worst = FAULT_OURS;
    }
    while (alive > 0) {
        int status;
        const int member = await(count, &status);
        if (member == -2) break; /* taken from us */
        if (member < 0) continue;
        members[member] = 0;
        const int exit_status = judge_end(status, how);
        if (how[0] != '\0') {
            strays_end(); /* its worker, and what that started: nobody else ends them now */
            const bool again = task->lost(task->context, member, how);
            if (again && start(task, member, how)) continue;
            if (again) task->lost(task->context, member, how);
        }
        alive--;
        if (exit_status > worst) worst = exit_status;
    }
    strays_end();
    return worst;
}

void crew_stop(void) {
    const struct timespec moment = {.tv_nsec = 5000000};
    for (int n = 0; n < CREW_MAX; n++) {
        if (members[n] > 0) kill(members[n], SIGTERM);
    }
    for (int n = 0; n < CREW_MAX; n++) {
        for (int tries = 0; members[n] > 0 && waitpid(members[n], NULL, WNOHANG) == 0; tries++) {
            if (tries == 400) kill(members[n], SIGKILL); /* stopped, or deaf */
            if (tries == 800) break;
            nanosleep(&moment, NULL);
        }
        if (members[n] > 0) strays_drop(members[n]);
    }
    strays_end();
}
