/* Who runs kernels that are functions of a file of Python's: the user's own interpreter, with a
 * worker of attest in it (kernels/python/attest/worker.py). */
#ifndef ATTEST_INTERPRETER_H
#define ATTEST_INTERPRETER_H

#include <stdbool.h>
#include <stddef.h>

/* Said once, before any is started: the interpreter, a path or a name in PATH; the folder that the
 * module `attest` is in; and the worker as a shared library. */
void interpreter_set(const char *python, const char *modules, const char *library);

/* "mine.py" and "mine.py:decode_mine_r1". */
bool interpreter_runs(const char *path);
/* How long the part of it is that names the file. */
int interpreter_file(const char *path);
/* "decode_mine_r1", NULL where none is named. */
const char *interpreter_name(const char *path);

/* How many threads its libraries are told to use from the next start on, as a kernel is; 0: they
 * are told nothing. */
void interpreter_threads(int threads);
/* Puts that into an environment, which has room for INTERPRETER_WORDS more; its new length. */
enum { INTERPRETER_WORDS = 3 };
size_t interpreter_environment(char **environment, size_t count);

/* For client_start, as `under` and in the program's place. The same pointer each time. */
const char *const *interpreter_command(void);
bool interpreter_is(const char *const *command);
const char *interpreter_library(void);

#endif
