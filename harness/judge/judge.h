/* One small function turns what was measured into a verdict (reports/README.md, "When is a kernel
 * right"): structure, hard gate, quality, lse. Bias warns. */
#ifndef ATTEST_JUDGE_H
#define ATTEST_JUDGE_H

#include "deviation.h"

/* In order of precedence when several apply: what happened to the process first, then what makes
 * other numbers meaningless, then accuracy. */
#define STATUSES(X)                                                                                \
    X(PASS)                                                                                        \
    X(REFUSED)                                                                                     \
    X(CRASH)                                                                                       \
    X(HANG)                                                                                        \
    X(OOM)                                                                                         \
    X(FAIL_OOB_WRITE)                                                                              \
    X(FAIL_INPUT_CHANGED)                                                                          \
    X(FAIL_UNWRITTEN)                                                                              \
    X(FAIL_OOB_READ)                                                                               \
    X(FAIL_RACE)                                                                                   \
    X(FAIL_UNINITIALISED)                                                                          \
    X(FAIL_NONDET)                                                                                 \
    X(FAIL_NAN)                                                                                    \
    X(FAIL_ACCURACY)                                                                               \
    X(FAIL_LSE)                                                                                    \
    X(UNSTABLE)                                                                                    \
    X(INVALID_PHYSICS)

enum status {
#define X(name) STATUS_##name,
    STATUSES(X)
#undef X
        STATUS_COUNT
};

const char *status_name(enum status status);
/* 0, 1 or 3 as the program's exit code counts it. */
int status_exit(enum status status);
/* Whether a text begins with the name of a status that fails and a colon, as findings do that a
 * kernel or its emulation report themselves; then *reason is what follows. */
bool status_told(const char *text, enum status *status, const char **reason);

/* What the trial saw beside the numbers. */
struct observation {
    bool guard_broken, input_changed, poison_leaked, repeat_differed;
    bool nondeterminism_declared;
    bool exact_expected; /* the data are `exact`: every element must be the answer rounded once */
    char guard_where[128];
    char input_where[128];   /* what was written to an input that cannot be; "": nothing */
    char read_where[128];    /* what was read beyond an input that has an end there; "": nothing */
    char leaked_where[192];  /* what of it changed the result, where poison_leaked; "": not known */
    char scratch_read[32];   /* "1, 0": numbers in scratch that change the output; "": none do */
    int32_t grade_promised;  /* 'A', 'B', 'C' */
    char lse_grade_promised; /* 'A', 'B'; for words only: deviation_measure knows it */
    bool lse_base_2;         /* it says so; the same */
    double scale;            /* of the logits, for words only; 0: not told */
};

struct verdict {
    enum status status;
    char grade; /* 'A', 'B', 'C' reached, 'F' none, '-' not judged */
    bool bias_warning;
    char reason[256]; /* one line: the gate, the number, the bound, the place */
};

struct verdict judge(const struct deviation *deviation, const struct observation *observation);

#endif
