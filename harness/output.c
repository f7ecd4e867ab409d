/* stdout and stderr are streams of ours (fopencookie), which processes that are forked inherit. At
 * exit -- also argp's, after --help -- what is left is written and the exit status corrected. */
#define _GNU_SOURCE
#include "output.h"
#include "../oracle/fault.h"
#include "../oracle/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The first error of any of the processes; 0: none. In shared memory. */
static atomic_int *failed;

static ssize_t write_all(int file, const char *text, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        const ssize_t n = write(file, text + at, bytes - at);
        if (n < 0 && errno == EINTR) continue;
        struct pollfd room = {.fd = file, .events = POLLOUT};
        if (n < 0 && errno == EAGAIN && poll(&room, 1, -1) >= 0) continue;
        if (n < 0) return 0; /* how a cookie says that it failed */
        at += (size_t)n;
    }
    return (ssize_t)bytes;
}

static ssize_t write_result(void *cookie, const char *text, size_t bytes) {
    (void)cookie;
    const ssize_t written = write_all(STDOUT_FILENO, text, bytes);
    if (written == 0 && bytes > 0 && errno == EPIPE) {
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
    }
    int none = 0;
    if (written == 0 && bytes > 0 && atomic_compare_exchange_strong(failed, &none, errno))
        fault_say("cannot write to standard output: %s", strerror(errno));
    return written;
}

/* Messages have their line ends; everything else is as text_show has it. */
static ssize_t write_message(void *cookie, const char *text, size_t bytes) {
    (void)cookie;
    char *shown = NULL, *copy = strndup(text, bytes);
    size_t length = 0;
    FILE *to = open_memstream(&shown, &length);
    if (copy != NULL && to != NULL) {
        uint32_t character;
        const char *at = copy;
        for (int n; (n = text_next(at, &character)) > 0; at += n) {
            if (character == '\n')
                fputc('\n', to);
            else
                text_show_character(to, at, n, character);
        }
    }
    if (to != NULL) fclose(to);
    if (shown != NULL) write_all(STDERR_FILENO, shown, length);
    free(shown);
    free(copy);
    return (ssize_t)bytes;
}

static void finish(int status, void *nothing) {
    (void)nothing;
    fflush(NULL);
    if (atomic_load(failed) != 0 && status != FAULT_OURS) _exit(FAULT_INPUT);
}

static FILE *stream(cookie_write_function_t *function, int mode) {
    FILE *made = fopencookie(NULL, "w", (cookie_io_functions_t){.write = function});
    if (made != NULL) setvbuf(made, NULL, mode, BUFSIZ);
    return made;
}

void output_begin(void) {
    /* A file that is opened must not become what is printed to. */
    for (int file = 0; file <= STDERR_FILENO; file++) {
        if (fcntl(file, F_GETFD) < 0) open("/dev/null", file == 0 ? O_WRONLY : O_RDONLY);
    }
    /* Only a reader of results who leaves ends us (write_result): no message that nobody reads, and
     * nobody who sends the signal; workers inherit that. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit is EFBIG, and said */
    failed = mmap(NULL, sizeof *failed, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    FILE *results = stream(write_result, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF);
    FILE *messages = stream(write_message, _IOLBF);
    if (failed == MAP_FAILED || results == NULL || messages == NULL) {
        fault_say("out of memory");
        exit(FAULT_OURS);
    }
    stdout = results;
    stderr = messages;
    on_exit(finish, NULL);
}
