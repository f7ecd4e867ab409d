/* What readers see of texts that others wrote, and tables that fit. */
#include "table.h"
#include "../../oracle/text.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define PRINTED(text, print, ...)                                                                  \
    do {                                                                                           \
        size_t bytes;                                                                              \
        FILE *to = open_memstream(&(text), &bytes);                                                \
        print(to, __VA_ARGS__);                                                                    \
        fclose(to);                                                                                \
    } while (0)

static void is(char *text, const char *expected) {
    cr_assert(!strcmp(text, expected), "%s\nexpected %s", text, expected);
    free(text);
}

Test(markdown, escapes_what_would_mark_up_and_nothing_else) {
    static const char *const cases[][2] = {
        {"cpu/decode_flash_r1", "cpu/decode_flash_r1"},
        {"4 * D, Sq <= 4 & 5", "4 * D, Sq <= 4 & 5"},
        {"*a* _b_ `c` [d](e) <f> &amp; ~~g~~ h|i",
         "\\*a\\* \\_b\\_ \\`c\\` \\[d](e) \\<f> \\&amp; \\~\\~g\\~\\~ h\\|i"},
        {"a\\*b c:\\dir", "a\\\\\\*b c:\\dir"},
        {"ends\\", "ends\\\\"},
        {"# not\na heading", "\\# not\\na heading"},
        {"\x1b[1m\xff", "\\x1b\\[1m\\xff"},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        char *text, expected[128];
        snprintf(expected, sizeof expected, "\n%s", cases[n][1]);
        PRINTED(text, print_markdown, "\n%s", cases[n][0]);
        is(text, expected);
    }
}

Test(markdown, a_code_span_holds_whatever_it_is_given) {
    char *text;
    PRINTED(text, print_markdown, "`%s` at %.3g %%, %lld", "a|b_c", 1.5, 7LL);
    is(text, "`a|b_c` at 1.5 %, 7");
    PRINTED(text, print_markdown, "| `%s` |", "a|b");
    is(text, "| `a\\|b` |");
    PRINTED(text, print_markdown, "`%s`", "x``y`");
    is(text, "``` x``y` ```");
    PRINTED(text, print_markdown_block, "  ", "sh", "a\n```\nb\x1b");
    is(text, "  ````sh\n  a\n  ```\n  b\\x1b\n  ````\n");
}

Test(csv, leaves_numbers_and_grades_and_disarms_formulas) {
    static const char *const cases[][2] = {
        {"plain", "plain"},
        {"-1.5e3", "-1.5e3"},
        {"+7", "+7"},
        {"-", "-"},
        {"=1+1", "\"'=1+1\""},
        {"-1+1", "\"'-1+1\""},
        {"@SUM(A1)", "\"'@SUM(A1)\""},
        {"\t=1", "\"'\t=1\""},
        {"a,\"b\"\nc", "\"a,\"\"b\"\"\nc\""},
        {"\x1b[1m", "\\x1b[1m"},
        {"", ""},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        char *text;
        PRINTED(text, print_csv, cases[n][0]);
        is(text, cases[n][1]);
    }
}

Test(plain, pads_by_what_is_shown) {
    char *text;
    PRINTED(text, print_plain, "[%-6s|%6s|%.2s]", "µs\n", "\xff", "abc");
    is(text, "[µs\\n  |  \\xff|ab]");
    cr_assert(!strcmp(number_count(1, "row").text, "1 row"));
    cr_assert(!strcmp(number_count(0, "row").text, "0 rows"));
    cr_assert(!strcmp(number_time(1.83e5).text, "183 ms"));
}

static char *table_of(int columns, int cells, const char *const *texts) {
    struct table table = {.columns = columns};
    char *text;
    for (int n = 0; n < cells; n++) table_add(&table, "%s", texts[n]);
    PRINTED(text, table_print, &table);
    table_free(&table);
    return text;
}

Test(table, wraps_prose_and_never_breaks_a_word) {
    static const char prose[] = "one two three four five six seven eight nine ten eleven twelve "
                                "thirteen fourteen fifteen sixteen seventeen";
    char path[160];
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    const char *const beside[] = {"name", "meaning", "x", prose};
    is(table_of(2, 4, beside),
       "name  meaning\n"
       "x     one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
       "fifteen\n      sixteen seventeen\n");
    const char *const apart[] = {"name", "n", "meaning", path, "7", prose};
    char *text = table_of(3, 6, apart);
    cr_assert(strstr(text, path) != NULL && strstr(text, "\n    one two three") != NULL, "%s",
              text);
    cr_assert(strstr(text, " 7\n") != NULL, "%s", text);
    free(text);
    is(table_of(0, 0, NULL), "");
}
