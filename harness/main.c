/* attest: the verbs, their help, and the three verbs people do not call: `worker` runs a kernel,
 * `load` reads a stranger's file, each in a process of its own, and `complete` is a shell's. */
#include "output.h"
#include "verb.h"
#include "report/table.h"
#include "trial/client.h"
#include "trial/interpreter.h"
#include "verbs/complete.h"
#include "worker/worker.h"
#include "../fixtures/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char introduction[] =
    "attest finds out whether an attention kernel is right and how fast it is: it runs kernels for "
    "CPUs, GPUs and NPUs against stored problems with exact answers, and compares revisions.";

static const char exits[] =
    "Exit status: 0 all well, 1 wrong result, 2 regression, 3 crash or hang, 4 usage or input, "
    "5 nothing selected or not comparable, 70 our bug, 130 interrupted.";

static void print_help(FILE *to) {
    enum { SUMMARY_AT = 53, MEANING_AT = 22 };
    fputs("usage: attest VERB [ARGUMENT...]\n\n", to);
    print_words(to, 0, 0, "%s", introduction);
    fputc('\n', to);
    for (int n = 0; verbs[n] != NULL; n++) {
        fprintf(to, "  %-9s %-40s ", verbs[n]->name, verbs[n]->arguments);
        print_words(to, SUMMARY_AT, SUMMARY_AT, "%s", verbs[n]->summary);
    }
    if (to == stdout) fprintf(to, "\nEnvironment:\n");
    for (int n = 0; to == stdout && variables[n].name != NULL; n++) {
        fprintf(to, "  %-19s ", variables[n].name);
        print_words(to, MEANING_AT, MEANING_AT, "%s", variables[n].meaning);
    }
    fputc('\n', to);
    print_words(to, 0, 0, "`attest VERB --help` tells more. %s", exits);
}

/* roff wants a backslash before a leading dot, quote or any hyphen that is not one. */
static void print_roff(const char *text) {
    for (; *text; text++) {
        if (*text == '\v') {
            fputs("\n.PP\n", stdout);
        } else if (*text == '\\' || *text == '-') {
            printf("\\%c", *text);
        } else {
            putchar(*text);
        }
    }
}

static void print_man(void) {
    printf(".TH ATTEST 1 \"\" \"attest " ATTEST_VERSION "\"\n.SH NAME\nattest \\- correctness and "
           "speed of attention kernels\n.SH SYNOPSIS\n.B attest\n.I VERB\n[\\fIARGUMENT\\fR...]\n"
           ".SH DESCRIPTION\n");
    print_roff(introduction);
    printf("\n.SH VERBS\n");
    for (int n = 0; verbs[n] != NULL; n++) {
        const struct verb *verb = verbs[n];
        printf(".SS attest %s \\fI", verb->name);
        print_roff(verb->arguments);
        printf("\\fR\n");
        print_roff(verb->summary);
        printf(".\n");
        if (verb->argp->doc != NULL) {
            printf(".PP\n");
            print_roff(verb->argp->doc);
            printf("\n");
        }
        for (const struct argp_option *option = verb->argp->options;
             option != NULL && option->name != NULL; option++) {
            printf(".TP\n");
            if (option->key > ' ' && option->key < 127) printf("\\fB\\-%c\\fR, ", option->key);
            printf("\\fB\\-\\-");
            print_roff(option->name);
            printf("\\fR");
            if (option->arg != NULL) printf("=\\fI%s\\fR", option->arg);
            printf("\n");
            print_roff(option->doc);
            printf("\n");
        }
    }
    printf(".SH ENVIRONMENT\nIn the defaults fixtures/ and reports/ are those of the source tree, "
           "share/ and lib/ those of the prefix that the program was installed to.\n");
    for (int n = 0; variables[n].name != NULL; n++) {
        printf(".TP\n.B %s\n", variables[n].name);
        print_roff(variables[n].meaning);
        printf("\n");
    }
    printf(".SH EXIT STATUS\n");
    print_roff(exits);
    printf("\n");
}

/* What is set, and would be passed over in silence. */
static bool check_environment(void) {
    const char *name = "ATTEST_LOAD_SECONDS", *text = getenv(name);
    char *end;
    if (text == NULL || *text == '\0') return true;
    const long long seconds = strtoll(text, &end, 10);
    if (*end == '\0' && seconds > 0 && seconds < 1000000000) return true;
    fault_say("%s is '%s', expected a whole number of seconds", name, text);
    return false;
}

/* What a kernel has no business with: answers, the lines that are asked, and runs, whose samples
 * hold what was expected. */
static void hide_from_kernels(void) {
    char cache[4096];
    fixture_cache_path("line", cache);
    *strrchr(cache, '/') = '\0';
    client_hide(cache);
    client_hide(verb_suites());
    client_hide(verb_runs());
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "";
    if (!strcmp(name, "worker")) return worker_main(argc - 1, argv + 1);
    if (!strcmp(name, "load")) return fixture_child(argc - 1, argv + 1);
    if (!strcmp(name, "complete")) return complete_main(argc - 1, argv + 1);
    output_begin();
    argp_err_exit_status = FAULT_INPUT;
    for (int n = 0; verbs[n] != NULL; n++) {
        if (strcmp(name, verbs[n]->name) != 0) continue;
        if (!check_environment()) return FAULT_INPUT;
        hide_from_kernels();
        interpreter_set(verb_python(), verb_modules(), verb_worker());
        char both[32]; /* what argp calls the program in usage and messages */
        snprintf(both, sizeof both, "attest %s", name);
        argv[1] = both;
        return verbs[n]->run(argc - 1, argv + 1);
    }
    if (!strcmp(name, "--version")) {
        puts("attest " ATTEST_VERSION);
    } else if (!strcmp(name, "--man")) {
        print_man();
    } else if (!strcmp(name, "--help") || !strcmp(name, "help") || !strcmp(name, "-h")) {
        print_help(stdout);
    } else {
        if (*name) fault_say("unknown verb '%s'", name);
        print_help(stderr);
        return FAULT_INPUT;
    }
    return 0;
}
