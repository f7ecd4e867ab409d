#include "ask.h"
#include "../trial/interpreter.h"
#include "../verb.h"
#include "../worker/regime.h"

#include <stdlib.h>
#include <string.h>

void texts_add(struct texts *texts, const char *text, struct argp_state *state) {
    const char **list = realloc(texts->list, (size_t)(texts->count + 1) * sizeof *texts->list);
    if (list == NULL) {
        argp_failure(state, FAULT_OURS, 0, "out of memory");
        return;
    }
    texts->list = list;
    texts->list[texts->count++] = text;
}

void take_once(const char **value, const char *text, const char *option, struct argp_state *state) {
    if (*value != NULL && strcmp(*value, text) != 0)
        argp_error(state, "--%s is '%s' already, not '%s' too", option, *value, text);
    *value = text;
}

error_t ask_parse(struct session_options *asked, struct texts *others, int key, char *text,
                  struct argp_state *state) {
    switch (key) {
    case 's':
        texts_add(&asked->suites, text, state);
        return 0;
    case 'f':
        texts_add(&asked->files, text, state);
        return 0;
    case 'd':
        texts_add(&asked->devices, text, state);
        return 0;
    case 't':
        asked->trial.threads = (int)verb_count(text, 1, VERB_THREADS_MAX, "threads", state);
        return 0;
    case ASK_OUT:
        take_once(&asked->out, text, "out", state);
        return 0;
    case ASK_PYTHON:
        interpreter_set(text, verb_modules(), verb_worker());
        return 0;
    case ASK_REGIME:
        if (!regime_find(text, &asked->trial.burst))
            argp_error(state, "--regime takes sustained or burst, not '%s'", text);
        return 0;
    case ASK_TOGETHER:
        asked->together = true;
        return 0;
    case ASK_NO_POISON:
        asked->trial.poison = false;
        return 0;
    case ASK_WATCHDOG:
        asked->trial.watchdog_seconds = verb_number(text, 0.1, 1e5, "watchdog", state);
        return 0;
    case ASK_REPEATS:
        asked->trial.repeats = (int)verb_count(text, 1, 1000000, "repeats", state);
        asked->trial.repeats_asked = true;
        return 0;
    case ARGP_KEY_ARG:
        texts_add(select_is_word(text)   ? &asked->words
                  : select_is_line(text) ? &asked->lines
                                         : others,
                  text, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

void ask_complete(struct session_options *asked) {
    asked->suites_folder = verb_suites();
    asked->kernels_folder = verb_kernels();
    asked->runs_folder = verb_runs();
    asked->trial.program = verb_program();
    asked->trial.probes = verb_probes();
}

void ask_free(struct session_options *asked) {
    struct texts *const texts[] = {&asked->globs, &asked->suites, &asked->files,
                                   &asked->lines, &asked->words,  &asked->devices};
    for (size_t n = 0; n < sizeof texts / sizeof texts[0]; n++) {
        free(texts[n]->list);
        *texts[n] = (struct texts){0};
    }
}
