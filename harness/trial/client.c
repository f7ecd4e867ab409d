/* A worker seen from its parent. It is exec'd, in a process group of its own, with a socket as its
 * standard input and output, over which files come too, and nothing else of the parent's. */
#define _GNU_SOURCE
#include "client.h"
#include "interpreter.h"
#include "strays.h"
#include "../worker/hide.h"
#include "../worker/protocol.h"
#include "../../oracle/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { UNDER_MAX = 16, FIRST_FILE = 3, LINE_MAX_BYTES = 64 << 20, STARTS_MAX = 3 };
enum { NO_PROGRAM = 127 }; /* as a shell says it */

volatile pid_t client_running;
static json_t *hidden; /* what workers do not reach; NULL: nothing */

void client_hide(const char *path) {
    if (hidden == NULL) hidden = json_array();
    json_array_append_new(hidden, path_to_json(path));
}

bool client_hides(void) {
    int status = 1;
    const pid_t pid = fork();
    if (pid == 0) _exit(hide(hidden, "") ? 0 : 1);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

json_t *client_about(const char *op, const char *library) {
    json_t *request = json_pack("{s:s, s:o}", "op", op, "library", path_to_json(library));
    if (hidden != NULL) json_object_set(request, "hide", hidden);
    return request;
}

extern char **environ;

void client_volunteer(int points) {
    char text[16];
    const int file = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    const ssize_t bytes = read(file, text, sizeof text - 1);
    text[bytes > 0 ? bytes : 0] = '\0';
    const long before = strtol(text, NULL, 10);
    const int length =
        snprintf(text, sizeof text, "%ld", before + points < 1000 ? before + points : 1000);
    if (before < 1000 && pwrite(file, text, (size_t)length, 0) < 0) errno = 0; /* it goes without */
    close(file);
}

/* Between fork and exec: only what is safe after a fork of a threaded process. */
static _Noreturn void become_worker(char *const *command, char **environment, int socket,
                                    int messages, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(NO_PROGRAM); /* it died before we could ask to die with it */
    client_volunteer(1000);
    setpgid(0, 0);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    const int moved = fcntl(socket, F_DUPFD, FIRST_FILE); /* it may be 0 or 1 itself */
    if (messages >= 0) dup2(messages, STDERR_FILENO);
    dup2(moved, STDIN_FILENO);
    dup2(moved, STDOUT_FILENO);
    close_range(FIRST_FILE, ~0u, 0);
    execvpe(command[0], command, environment);
    _exit(NO_PROGRAM);
}

/* The parent's environment, and in it: BLAS on one thread, because the worker links OpenBLAS and
 * never calls it, and starting its threads would be most of the start-up -- an interpreter's own is
 * told how many it has; and OpenMP threads that
 * soon sleep without work. By default libgomp's spin for milliseconds, on the cores
 * that empty the caches before the next cold launch: decode read 6 GB/s cold instead of 38 (2-core
 * EPYC, Zen 5). Who sets GOMP_SPINCOUNT or OMP_WAIT_POLICY is obeyed. NULL-terminated; the caller
 * frees it. */
static char **worker_environment(bool interpreted) {
    static char one_thread[] = "OPENBLAS_NUM_THREADS=1", short_spin[] = "GOMP_SPINCOUNT=5000";
    size_t count = 0, kept = 0;
    while (environ[count] != NULL) count++;
    char **list = malloc((count + 3 + INTERPRETER_WORDS) * sizeof *list);
    if (list == NULL) return NULL;
    for (size_t n = 0; n < count; n++) {
        if (strncmp(environ[n], one_thread, strlen("OPENBLAS_NUM_THREADS=")) != 0)
            list[kept++] = environ[n];
    }
    if (!interpreted) list[kept++] = one_thread;
    if (getenv("GOMP_SPINCOUNT") == NULL && getenv("OMP_WAIT_POLICY") == NULL)
        list[kept++] = short_spin;
    if (interpreted) kept = interpreter_environment(list, kept);
    list[kept] = NULL;
    return list;
}

/* fault->code stays FAULT_NONE where a worker was started and is no more. */
static bool start(struct client *client, const char *program, const char *const *under,
                  struct fault *fault) {
    client->socket = client->process = -1;
    client->end = CLIENT_ALIVE;
    client->signal = 0;
    char *command[UNDER_MAX + 5], parents[2][16];
    size_t words = 0;
    const pid_t parent = getpid();
    for (; under != NULL && words < UNDER_MAX && under[words] != NULL; words++)
        command[words] = (char *)under[words];
    snprintf(parents[0], sizeof parents[0], "%d", (int)parent);
    snprintf(parents[1], sizeof parents[1], "%d", (int)getppid());
    char *const own[] = {(char *)program, "worker", parents[0], parents[1], NULL};
    memcpy(command + words, own, sizeof own);
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return fault_set(fault, FAULT_OURS, "cannot make a socket pair: %s", strerror(errno));
    /* A request is read at once, or by nobody: what is in the way is a kernel's doing. */
    const struct timeval send_max = {.tv_sec = 20};
    setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &send_max, sizeof send_max);
    const int messages = echo_open(&client->echo);
    char **environment = worker_environment(interpreter_is(under));
    strays_adopt();
    const pid_t pid = environment != NULL ? fork() : -1;
    const int error = errno;
    if (pid == 0) become_worker(command, environment, pair[1], messages, parent);
    free(environment);
    close(pair[1]);
    if (messages >= 0) close(messages);
    if (pid < 0) {
        close(pair[0]);
        echo_close(&client->echo);
        return fault_set(fault, FAULT_OURS, "cannot start a worker: %s", strerror(error));
    }
    setpgid(pid, pid); /* both sides ask, whoever is first */
    strays_keep(pid);
    client->before = client_running;
    client->pid = client_running = pid;
    client->socket = pair[0];
    client->process = pidfd_open(pid, 0);
    json_t *hello = client_ask(client, json_pack("{s:s}", "op", "hello"), under != NULL ? 120 : 30);
    if (hello == NULL) return false;
    const json_int_t protocol = json_integer_value(json_object_get(hello, "protocol"));
    json_decref(hello);
    if (protocol == PROTOCOL_VERSION) return true;
    client_stop(client);
    return fault_set(fault, FAULT_OURS, "'%s worker' does not speak protocol %d", program,
                     PROTOCOL_VERSION);
}

bool client_start(struct client *client, const char *program, const char *const *under,
                  struct fault *fault) {
    *client = (struct client){.socket = -1, .process = -1, .under = under};
    for (int n = 0; n < STARTS_MAX && client->end != CLIENT_HUNG; n++) {
        *fault = (struct fault){.code = FAULT_NONE};
        if (start(client, program, under, fault)) return true;
        if (fault->code != FAULT_NONE) {
            client->end = CLIENT_ALIVE; /* it is not the worker that failed */
            return false;
        }
    }
    if (client->end == CLIENT_DIED && client->signal == 0 && client->exit_status == NO_PROGRAM) {
        client->end = CLIENT_ALIVE;
        return fault_set(fault, FAULT_INPUT, "cannot start '%s'",
                         under != NULL ? under[0] : program);
    }
    return fault_set(fault, FAULT_OURS, "'%s%s%s worker' does not answer: %s",
                     under != NULL ? under[0] : "", under != NULL ? " ... " : "", program,
                     client->how);
}

/* Ends the worker and all that it started, and waits for it: for a few seconds at most, because one
 * that is traced is nobody's but its tracer's until that is gone. */
static int finish(const struct client *client) {
    const struct timespec moment = {.tv_nsec = 1000000};
    int status = 0;
    kill(-client->pid, SIGKILL);
    kill(client->pid, SIGKILL); /* it may have left its group */
    for (int tries = 0; tries < 5000; tries++) {
        const pid_t ended = waitpid(client->pid, &status, WNOHANG);
        if (ended == client->pid || (ended < 0 && errno != EINTR)) break;
        struct pollfd polled = {.fd = client->process, .events = POLLIN};
        if (tries > 0) strays_end();
        if (client->process < 0 || poll(&polled, 1, 10) < 0) nanosleep(&moment, NULL);
    }
    strays_drop(client->pid);
    strays_end();
    return status;
}

static void reap(struct client *client) {
    const int status = finish(client);
    echo_end_row(&client->echo);
    echo_close(&client->echo);
    client_running = client->before;
    client->pid = 0;
    close(client->socket);
    if (client->process >= 0) close(client->process);
    client->socket = client->process = -1;
    if (client->end == CLIENT_HUNG) return;
    if (WIFSIGNALED(status)) {
        client->signal = WTERMSIG(status);
        snprintf(client->how, sizeof client->how, "SIG%s", sigabbrev_np(client->signal));
    } else {
        client->exit_status = WEXITSTATUS(status);
        snprintf(client->how, sizeof client->how,
                 client->exit_status == EXIT_ROBBED ? "its connection to attest was replaced,"
                                                    : "exit status %d",
                 client->exit_status);
    }
}

/* The worker is dead, dying or talking nonsense. One that closed its socket gets a second to die of
 * its own cause, so that the cause can be told. */
static void died(struct client *client) {
    client->end = CLIENT_DIED;
    siginfo_t info = {0};
    const struct timespec moment = {.tv_nsec = 5000000};
    for (int tries = 0; info.si_pid == 0 && tries < 200; tries++) {
        if (waitid(P_PID, (id_t)client->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0) break;
        struct pollfd polled = {.fd = client->process, .events = POLLIN};
        if (info.si_pid == 0 && (client->process < 0 || poll(&polled, 1, 1000) < 0))
            nanosleep(&moment, NULL);
        else if (info.si_pid == 0 && polled.revents == 0)
            break;
    }
    const bool by_itself = info.si_pid != 0;
    reap(client);
    if (by_itself) return;
    client->signal = 0;
    snprintf(client->how, sizeof client->how,
             "an answer that is not the protocol's, as if a kernel wrote it,");
}

static void hung(struct client *client, double seconds) {
    client->end = CLIENT_HUNG;
    snprintf(client->how, sizeof client->how, "no answer within %.3g s", seconds);
    reap(client);
}

/* The files go with the first bytes. */
static ssize_t send_some(int socket, const char *text, size_t bytes, const int *files,
                         int file_count) {
    if (file_count == 0) return send(socket, text, bytes, MSG_NOSIGNAL);
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(CLIENT_FILES_MAX * sizeof(int))] = {0};
    struct iovec part = {.iov_base = (void *)text, .iov_len = bytes};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = CMSG_SPACE((size_t)file_count * sizeof *files)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN((size_t)file_count * sizeof *files);
    memcpy(CMSG_DATA(header), files, (size_t)file_count * sizeof *files);
    return sendmsg(socket, &message, MSG_NOSIGNAL);
}

static bool send_line(struct client *client, json_t *request, const int *files, int file_count) {
    char *text = json_dumps(request, JSON_COMPACT);
    bool sent = text != NULL;
    size_t bytes = sent ? strlen(text) : 0;
    if (sent) text[bytes++] = '\n';
    for (size_t at = 0; sent && at < bytes;) {
        const ssize_t n =
            send_some(client->socket, text + at, bytes - at, files, at == 0 ? file_count : 0);
        if (n < 0 && errno == EINTR) continue;
        sent = n > 0;
        at += sent ? (size_t)n : 0;
    }
    free(text);
    return sent;
}

/* Appends what has arrived; false at the end or when there is no room for it. */
static bool receive(struct client *client) {
    if (client->room - client->used < 4096) {
        const size_t room = client->room < 65536 ? 65536 : 2 * client->room;
        char *line = room <= LINE_MAX_BYTES ? realloc(client->line, room) : NULL;
        if (line == NULL) return false;
        client->line = line;
        client->room = room;
    }
    const ssize_t n = recv(client->socket, client->line + client->used, client->room - client->used,
                           MSG_DONTWAIT);
    if (n > 0) client->used += (size_t)n;
    return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
}

json_t *client_ask(struct client *client, json_t *request, double seconds) {
    return client_ask_with(client, request, NULL, 0, seconds);
}

/* Random, so that who has not read the request cannot answer it. */
static void add_nonce(char nonce[NONCE_BYTES], json_t *request) {
    unsigned char bytes[(NONCE_BYTES - 1) / 2] = {0};
    if (getrandom(bytes, sizeof bytes, 0) < 0) bytes[0] = 1; /* no other would be better */
    for (size_t n = 0; n < sizeof bytes; n++) snprintf(nonce + 2 * n, 3, "%02x", bytes[n]);
    json_object_set_new(request, "nonce", json_string(nonce));
}

/* The worker's answer, and nothing beside it: the line, `bytes` long, is all that came. NULL: it is
 * another's. */
static json_t *read_answer(const struct client *client, size_t bytes, const char *nonce) {
    json_t *reply = json_loadb(client->line, bytes, 0, NULL);
    const char *repeated = json_string_value(json_object_get(reply, "nonce"));
    if (repeated != NULL && !strcmp(repeated, nonce) && client->used == bytes + 1) return reply;
    json_decref(reply);
    return NULL;
}

json_t *client_ask_with(struct client *client, json_t *request, const int *files, int file_count,
                        double seconds) {
    char nonce[NONCE_BYTES];
    add_nonce(nonce, request);
    const bool sent = client->end == CLIENT_ALIVE && client->pid > 0 &&
                      send_line(client, request, files, file_count);
    json_decref(request);
    if (client->pid <= 0) return NULL;
    if (!sent) {
        died(client);
        return NULL;
    }
    const double deadline = clock_s() + seconds;
    client->used = 0;
    for (size_t looked = 0;;) {
        const char *end = client->used > looked
                              ? memchr(client->line + looked, '\n', client->used - looked)
                              : NULL;
        looked = client->used;
        if (end != NULL) {
            json_t *reply = read_answer(client, (size_t)(end - client->line), nonce);
            if (reply == NULL) died(client);
            return reply;
        }
        const double left = deadline - clock_s();
        if (left <= 0) {
            hung(client, seconds);
            return NULL;
        }
        /* The process is watched too: a grandchild may keep the socket open. */
        struct pollfd polled[3] = {
            {.fd = client->socket, .events = POLLIN},
            {.fd = client->process, .events = POLLIN},
            {.fd = client->echo.open ? client->echo.file : -1, .events = POLLIN}};
        if (poll(polled, 3, left > 3600 ? 3600000 : (int)(left * 1000) + 1) <= 0) continue;
        if (polled[2].revents != 0) echo_take(&client->echo);
        const bool gone = polled[0].revents == 0 && polled[1].revents != 0;
        if (gone || (polled[0].revents != 0 && !receive(client))) {
            died(client);
            return NULL;
        }
    }
}

bool client_clean(struct client *client) {
    echo_end_row(&client->echo);
    strays_end();
    return !strays_has_children(client->pid);
}

void client_stop(struct client *client) {
    if (client->pid > 0) {
        json_decref(client_ask(client, json_pack("{s:s}", "op", "bye"), 2));
        if (client->pid > 0) died(client);
    }
    free(client->line);
    client->line = NULL;
    client->used = client->room = 0;
}
