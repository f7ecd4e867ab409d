/* What `attest run` and `attest compare --live` are asked in the same words: kernels, problems and
 * devices. */
#ifndef ATTEST_ASK_H
#define ATTEST_ASK_H

#include "../session/session.h"

#include <argp.h>

/* Options that both have, with their keys; for an argp_option list. */
enum {
    ASK_NO_POISON = 512,
    ASK_WATCHDOG,
    ASK_REPEATS,
    ASK_OUT,
    ASK_PYTHON,
    ASK_REGIME,
    ASK_TOGETHER
};
#define ASK_OPTION(name, key, argument, text)                                                      \
    { name, key, argument, 0, text, 0 }
#define ASK_OPTIONS                                                                                \
    ASK_OPTION("suite", 's', "SUITE",                                                              \
               "Problems of a suite (or of a file of lines); may be repeated"),                    \
        ASK_OPTION("file", 'f', "FILE", "A fixture made elsewhere; may be repeated"),              \
        ASK_OPTION("python", ASK_PYTHON, "PROGRAM",                                                \
                   "The interpreter for kernels in Python; default $ATTEST_PYTHON, then python3"), \
        ASK_OPTION("regime", ASK_REGIME, "REGIME",                                                 \
                   "Time GPU rows sustained (default), when clock and median have settled, or in " \
                   "bursts: the first 40 ms of work after half a second of rest"),                 \
        ASK_OPTION("together", ASK_TOGETHER, NULL,                                                 \
                   "Time on several GPUs at once. Without it those of a host take turns, also "    \
                   "with other runs that have the same cache, and judge side by side"),            \
        ASK_OPTION("out", ASK_OUT, "DIR",                                                          \
                   "Where the run goes; default reports/runs/<time>-<commit>-<device>"),           \
        ASK_OPTION("no-poison", ASK_NO_POISON, NULL,                                               \
                   "Leave what must not be read as the fixture has it"),                           \
        ASK_OPTION("watchdog", ASK_WATCHDOG, "SECONDS",                                            \
                   "A launch that takes longer hangs; default 60. Loading a library may take as "  \
                   "long, 30 at most"),                                                            \
        ASK_OPTION("repeats", ASK_REPEATS, "N",                                                    \
                   "Launches that must agree bit by bit, up to 1000000, whatever time they take; " \
                   "default 10, or what two seconds are enough for")

/* 0 if it was one of them, 'd' or 't', or an argument: a word, a line or, else, one of *others. */
error_t ask_parse(struct session_options *asked, struct texts *others, int key, char *text,
                  struct argp_state *state);
/* Where things are, as the environment says. */
void ask_complete(struct session_options *asked);
void ask_free(struct session_options *asked);

void texts_add(struct texts *texts, const char *text, struct argp_state *state);
/* An option that takes one value would lose the first of two. */
void take_once(const char **value, const char *text, const char *option, struct argp_state *state);

#endif
