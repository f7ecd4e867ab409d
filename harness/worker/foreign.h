/* A worker in a program that is not attest: an interpreter, whose kernels are its own functions. It
 * loads the worker as a shared library (kernels/python/attest/worker.py), fills `foreign`, and
 * calls foreign_main. Its kernels are named by a file and a name in it,
 * "/home/me/mine.py:decode_mine_r1"; libraries are opened as ever. */
#ifndef ATTEST_FOREIGN_H
#define ATTEST_FOREIGN_H

#include "../../kernels/attn.h"

#include <stdbool.h>

enum { FOREIGN_TEXT_BYTES = 1024 };

struct foreign {
    /* The kernel of that name; if `anew`, one that shares nothing with those before it but what the
     * interpreter shares. It is prepared before it is launched; prepare sets call->state
     * to the object that a launch calls, which answers nothing, or bytes: why it failed. What is
     * returned stays. NULL, and why in `text`. */
    const struct attn_kernel *(*open)(const char *path, char text[FOREIGN_TEXT_BYTES]);
    /* The names of the kernels in a file, a line each. */
    const char *(*list)(const char *file, char text[FOREIGN_TEXT_BYTES]);
    /* Python's, of the interpreter that this is in: PyGILState_Ensure and _Release,
     * PyObject_CallObject, Py_DecRef, PyErr_Clear, PyBytes_AsString, and None. */
    int (*hold)(void);
    void (*release)(int held);
    void *(*call)(void *object, void *arguments);
    void (*drop)(void *object);
    void (*clear)(void);
    const char *(*text)(void *bytes);
    void *nothing;
    bool anew; /* set by the worker before it opens a kernel: it is a copy */
};
/* All NULL: there is no interpreter. */
extern struct foreign foreign;
/* Of attn_problem, attn_call, attn_kernel and foreign, so that who fills them sees whether it knows
 * the same. */
extern const size_t foreign_sizes[4];

/* Whether `path` names what an interpreter has, by ".py:" in it. */
bool foreign_is(const char *path);
/* worker_main, for who fills them. */
int foreign_main(int argc, char **argv);

/* What its kernels have for `launch`: a call without arguments, 0.2 us (EPYC, Zen 5). */
const char *foreign_launch(const struct attn_problem *problem, const struct attn_call *call);

#endif
