/* What readers get of texts that others wrote. */
#define _GNU_SOURCE
#include "text.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char *made(void (*print)(FILE *to, const char *text), const char *text) {
    char *out = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&out, &bytes);
    print(to, text);
    fclose(to);
    return out;
}

Test(text, what_a_terminal_would_obey_or_misplace_is_shown_instead) {
    static const char *const cases[][2] = {
        {"plain, 0.5 µs – ü", "plain, 0.5 µs – ü"},
        {"\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"},
        {"two\nlines\tand\r", "two\\nlines\\tand\\r"},
        {"a\u202egnp.exe\u202c\u200b\u2028", "a\\u202egnp.exe\\u202c\\u200b\\u2028"},
        {"\302\2332J\x7f", "\\u009b2J\\x7f"},
        {"\U000e0041", "\\U000e0041"},
        {"\xff\xc3(", "\\xff\\xc3("},
        {"\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80", "\\xc0\\xaf\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80"},
        {"cut \xe2\x82", "cut \\xe2\\x82"},
        {"", ""},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        char *shown = made(text_show, cases[n][0]);
        cr_assert(!strcmp(shown, cases[n][1]), "%s, expected %s", shown, cases[n][1]);
        free(shown);
    }
}

Test(text, a_quoted_word_is_read_back_by_bash_and_is_plain) {
    static const char *const words[] = {
        "decode_flash_r1",
        "",
        "two words",
        "it's",
        "$HOME `id` \"x\" \\",
        "-f",
        "~",
        "*",
        "a\nb\tc",
        "\x1b[31m",
        "\xff\xfe.h5",
        "\0011 it's \\x",
        "ü \u202e \u202c",
        "!!",
        "a;b|c&d>e<f(g)#h",
    };
    for (size_t n = 0; n < sizeof words / sizeof words[0]; n++) {
        char *quoted = made(text_quote, words[n]), *command = NULL, back[256] = "", *shown;
        cr_assert(asprintf(&command, "printf %%s %s", quoted) > 0);
        shown = made(text_show, quoted);
        cr_assert(!strcmp(shown, quoted), "%s", shown);
        char *argv[] = {"bash", "-c", command, NULL};
        int pair[2];
        cr_assert(pipe(pair) == 0);
        const pid_t pid = fork();
        if (pid == 0) {
            dup2(pair[1], 1);
            execvp("bash", argv);
            _exit(127);
        }
        close(pair[1]);
        size_t used = 0;
        for (ssize_t got; (got = read(pair[0], back + used, sizeof back - 1 - used)) > 0;)
            used += (size_t)got;
        close(pair[0]);
        waitpid(pid, NULL, 0);
        cr_assert(!strcmp(back, words[n]), "%s is read as %s", quoted, back);
        free(shown);
        free(command);
        free(quoted);
    }
}
