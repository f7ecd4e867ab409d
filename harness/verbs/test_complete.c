/* What shells are offered, and that the program's texts know all of its options and variables. */
#include "complete.h"
#include "../verb.h"

#include <criterion/criterion.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* What a shell command prints; "%s" of the format may be the program. The caller's. */
__attribute__((format(printf, 1, 2))) static char *said(const char *format, ...) {
    char command[8192], *text = NULL;
    size_t room = 0;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    FILE *from = popen(command, "r"); /* NOLINT(cert-env33-c) */
    cr_assert(from != NULL);
    if (getdelim(&text, &room, 0, from) < 0) {
        free(text);
        text = strdup("");
    }
    pclose(from);
    return text;
}

/* The folder harness/ of the sources. */
static const char *harness(void) {
    static char path[4096];
    snprintf(path, sizeof path, "%s", __FILE__);
    return dirname(dirname(path));
}

static void know_all(const char *text) {
    char copy[512], *rest = copy;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *token; (token = strsep(&rest, " |[].\n")) != NULL;) {
        if (*token >= 'A' && *token <= 'Z') cr_assert(complete_knows(token), "%s", token);
    }
}

Test(complete, every_stand_in_of_every_verb_is_known) {
    for (int n = 0; verbs[n] != NULL; n++) {
        if (verbs[n]->argp->args_doc != NULL) know_all(verbs[n]->argp->args_doc);
        for (const struct argp_option *option = verbs[n]->argp->options;
             option != NULL && option->name != NULL; option++) {
            if (option->arg != NULL && !complete_knows(option->arg)) know_all(option->arg);
        }
    }
}

static const struct {
    const char *typed;    /* behind "attest"; what is completed comes last */
    const char *expected; /* one of the lines, up to the tab */
    const char *never;    /* none of them */
} positions[] = {
    {"''", "run \t", "worker"},
    {"ca", "cache \t", "run"},
    {"--m", "--man \t", "--help"},
    {"run --q", "--quiet \t", "--suite"},
    {"run --su", "--suite=\t", "--suite= "},
    {"run -s sm", "smoke \t", "seed"},
    {"run --suite=sm", "--suite=smoke \t", "seed"},
    {"run -ssm", "-ssmoke \t", "seed"},
    {"run -s smoke ''", "decode_flash_r1 \t", "smoke "},
    {"run decode_fl", "decode_flash_r1 \t", "cpu/"},
    {"run cpu/decode_fl", "cpu/decode_flash_r1 \t", "twin"},
    {"run bf", "bf16\t", "f32"},
    {"run f16-b2-h", "f16-b2-hkv\t", "f16-b2-b"},
    {"run f16-hq8-hkv8-q1-d64-c", "f16-hq8-hkv8-q1-d64-causal\t", "-file"},
    {"run f16-causal-q8-c", "f16-causal-q8-constv\t", "causal-q8-causal"},
    {"run vari", "variant=\t", "variant=d"},
    {"run variant=p", "variant=prefill_varlen \t", "=decode"},
    {"run --device cpu,cu", "cpu,cuda:all\t", "ascend"},
    {"run --sanitize r", "racecheck \t", "memcheck"},
    {"run --regime b", "burst \t", "sustained"},
    {"compare --live a b --regime=", "--regime=sustained \t", "racecheck"},
    {"run -f ''", ":files\n", "smoke"},
    {"run --out ''", ":folders\n", "smoke"},
    {"list ''", "kernels \t", "smoke"},
    {"list kernels magic", "magicpig_decode_paged_flash_r1 \t", "suites"},
    {"list suites ''", "", "kernels"},
    {"compare --kernels decode_n", "decode_naive_r1 \t", "flash"},
    {"compare --live decode_n", "decode_naive_r1 \t", "flash"},
    {"compare --live decode_n", ":files\n", "flash"},
    {"compare --live a b f16-b2-h", "f16-b2-hkv\t", "f16-b2-b"},
    {"compare decode_n", ":files\n", "decode_naive"},
    {"cache clean sm", "smoke \t", "seed"},
    {"worker ''", "", "\t"},
};

Test(complete, each_position_of_the_line_has_its_candidates) {
    for (size_t n = 0; n < sizeof positions / sizeof positions[0]; n++) {
        char *text = said("%s complete %s", verb_program(), positions[n].typed);
        const char *found = strstr(text, positions[n].expected);
        cr_assert(found != NULL && (found == text || found[-1] == '\n'), "%s: %s",
                  positions[n].typed, text);
        cr_assert(strstr(text, positions[n].never) == NULL, "%s: %s", positions[n].typed, text);
        free(text);
    }
}

/* The whole of the script, as bash calls it: what COMPREPLY holds, each between brackets. */
static char *bash(const char *typed) {
    return said("bash -c 'PATH=$(dirname %s):$PATH; . %s/attest.bash; COMP_LINE=\"attest %s\"; "
                "COMP_POINT=${#COMP_LINE}; _attest; printf \"[%%s]\" \"${COMPREPLY[@]}\"' 2>&1",
                verb_program(), harness(), typed);
}

Test(complete, bash_replies) {
    static const char *const replies[][2] = {
        {"sel", "[selftest ]"},
        {"run -s sm", "[smoke ]"},
        {"run --suite=sm", "[smoke ]"}, /* bash replaces what is behind the '=' only */
        {"run --device cuda:a", "[all]"},
        {"run f16-b1-hk", "[f16-b1-hkv]"},
        {"run -s smoke decode_naive", "[decode_naive_r1 ]"},
        {"run -f /etc/hostn", "[/etc/hostname]"},
        {"no_such_verb ", "[]"},
    };
    for (size_t n = 0; n < sizeof replies / sizeof replies[0]; n++) {
        char *text = bash(replies[n][0]);
        cr_assert(strcmp(text, replies[n][1]) == 0, "%s: %s", replies[n][0], text);
        free(text);
    }
}

/* Zsh in a terminal of its own, which `zpty` makes: what the line has become after the Tab key. */
Test(complete, zsh_completes_the_line) {
    char *there = said("zsh -c 'zmodload zsh/zpty && echo yes' 2>/dev/null");
    if (strcmp(there, "yes\n") != 0) cr_skip_test("no zsh here");
    free(there);
    static const char *const lines[][2] = {
        {"sel", "selftest "},
        {"run -s sm", "run -s smoke "},
        {"run --suite=sm", "run --suite=smoke "},
        {"run f16-b1-hk", "run f16-b1-hkv"},
        {"run -s smoke decode_naive", "run -s smoke decode_naive_r1 "},
        {"run -f /etc/hostn", "run -f /etc/hostname "},
    };
    for (size_t n = 0; n < sizeof lines / sizeof lines[0]; n++) {
        char expected[128],
            *text = said("PROGRAM=%s SCRIPT=%s/attest.zsh TYPED='%s' zsh -f %s/test_zsh",
                         verb_program(), harness(), lines[n][0], harness());
        snprintf(expected, sizeof expected, "[attest %s]", lines[n][1]);
        cr_assert(strstr(text, expected) != NULL, "%s: %s", lines[n][0], text);
        free(text);
    }
}

Test(variables, all_that_are_read_are_in_the_table_and_the_other_way_round) {
    char *text = said("cd %s/.. && grep -rhoE '(getenv|place)\\(\"(ATTEST|ATTN)_[A-Z_]+' harness "
                      "fixtures oracle kernels --include=*.[ch] --include=*.cpp --include=*.cu* "
                      "--include=*.asc | grep -oE '[A-Z][A-Z_]+' | sort -u",
                      harness());
    int64_t read = 0, known = 0;
    char *rest = text;
    for (char *name; (name = strsep(&rest, "\n")) != NULL && *name != '\0'; read++) {
        int n = 0;
        while (variables[n].name != NULL && strcmp(variables[n].name, name) != 0) n++;
        cr_assert(variables[n].name != NULL, "%s", name);
    }
    for (int n = 0; variables[n].name != NULL; n++) known += variables[n].name[0] == 'A';
    cr_assert(read == known && read >= 14, "%lld read", (long long)read);
    free(text);
}

Test(variables, the_man_page_and_help_name_each_and_every_verb) {
    char *man = said("%s --man", verb_program()), *help = said("%s --help", verb_program());
    for (int n = 0; variables[n].name != NULL; n++) {
        char entry[64];
        snprintf(entry, sizeof entry, "\n.B %s\n", variables[n].name);
        cr_assert(strstr(man, entry) != NULL, "%s", variables[n].name);
        cr_assert(strstr(help, variables[n].name) != NULL, "%s", variables[n].name);
    }
    for (int n = 0; verbs[n] != NULL; n++) {
        char entry[64];
        snprintf(entry, sizeof entry, "\n.SS attest %s ", verbs[n]->name);
        cr_assert(strstr(man, entry) != NULL, "%s", verbs[n]->name);
    }
    free(man);
    free(help);
}

Test(variables, help_fits_a_hundred_columns) {
    char *help = said("%s --help", verb_program());
    char *rest = help;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (line[0] == ' ') cr_assert(strlen(line) <= 100, "%s", line);
    }
    free(help);
}
