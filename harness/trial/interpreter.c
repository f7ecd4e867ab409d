#include "interpreter.h"
#include "../../oracle/text.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *command[] = {"python3", "-m", "attest.worker", NULL};
static const char *folder = "", *worker = "";

void interpreter_set(const char *python, const char *modules, const char *library) {
    command[0] = python;
    folder = modules;
    worker = library;
}

static const char *end_of_file(const char *path) {
    const char *colon = strstr(path, ".py:");
    if (colon != NULL) return colon + 3;
    return text_ends_with(path, ".py") ? path + strlen(path) : NULL;
}

bool interpreter_runs(const char *path) {
    return end_of_file(path) != NULL;
}

int interpreter_file(const char *path) {
    const char *end = end_of_file(path);
    return end != NULL ? (int)(end - path) : (int)strlen(path);
}

const char *interpreter_name(const char *path) {
    const char *end = end_of_file(path);
    return end != NULL && *end == ':' ? end + 1 : NULL;
}

/* Where it finds the module: for processes that are started from now on. */
static void point_at_modules(void) {
    char path[2 * PATH_MAX];
    const char *others = getenv("PYTHONPATH");
    const size_t length = strlen(folder);
    if (others != NULL && strncmp(others, folder, length) == 0) return;
    snprintf(path, sizeof path, "%s%s%s", folder, others != NULL && *others ? ":" : "",
             others != NULL ? others : "");
    setenv("PYTHONPATH", path, 1);
}

bool interpreter_is(const char *const *asked) {
    return asked == command;
}

const char *const *interpreter_command(void) {
    point_at_modules();
    return command;
}

static int threads_told;

void interpreter_threads(int threads) {
    threads_told = threads;
}

/* BLAS, OpenMP and MKL, of NumPy and of torch. */
size_t interpreter_environment(char **environment, size_t count) {
    static char words[INTERPRETER_WORDS][40];
    static const char *const names[INTERPRETER_WORDS] = {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS",
                                                         "MKL_NUM_THREADS"};
    for (int n = 0; n < INTERPRETER_WORDS && threads_told > 0; n++) {
        const size_t length = (size_t)snprintf(words[n], sizeof words[n], "%s=", names[n]);
        snprintf(words[n] + length, sizeof words[n] - length, "%d", threads_told);
        size_t kept = 0;
        for (size_t at = 0; at < count; at++)
            if (strncmp(environment[at], words[n], length) != 0)
                environment[kept++] = environment[at];
        count = kept;
        environment[count++] = words[n];
    }
    return count;
}

const char *interpreter_library(void) {
    return worker;
}
