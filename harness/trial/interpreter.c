#include "interpreter.h"

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
    const size_t length = strlen(path);
    const char *colon = strstr(path, ".py:");
    if (colon != NULL) return colon + 3;
    return length > 3 && !strcmp(path + length - 3, ".py") ? path + length : NULL;
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

const char *const *interpreter_command(void) {
    point_at_modules();
    return command;
}

const char *interpreter_library(void) {
    return worker;
}
