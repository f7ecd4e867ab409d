/* For tests: the program as a process of its own, in what ctest names as $ATTEST_PROGRAM. */
#ifndef ATTEST_TEST_PROGRAM_H
#define ATTEST_TEST_PROGRAM_H

#include "verb.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Starts it with what it says going to `out`, or nowhere if that is -1. */
static inline pid_t test_start(const char *const *arguments, int out) {
    const pid_t pid = fork();
    if (pid == 0) {
        const int null = open("/dev/null", O_RDWR);
        dup2(null, STDIN_FILENO);
        dup2(out >= 0 ? out : null, STDOUT_FILENO);
        dup2(out >= 0 ? out : null, STDERR_FILENO);
        execv(verb_program(), (char **)arguments);
        _exit(127);
    }
    cr_assert(pid > 0);
    return pid;
}

/* Its exit status, or 1000 more than the signal that ended it. */
static inline int test_finish(pid_t pid) {
    int status = 0;
    cr_assert(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* Runs it and takes what it says, on both streams; the caller's. */
static inline char *test_words(const char *const *arguments, int *status) {
    char *text = NULL;
    size_t room = 0;
    FILE *out = tmpfile();
    cr_assert(out != NULL);
    *status = test_finish(test_start(arguments, fileno(out)));
    rewind(out);
    if (getdelim(&text, &room, '\0', out) < 0) text[0] = '\0';
    fclose(out);
    return text;
}

#endif
