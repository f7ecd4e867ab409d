#include "echo.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Test(echo, what_steers_a_terminal_is_escaped_as_elsewhere) {
    static const char printed[] = "a\x1b[2Jb\xe2\x80\xae\xff\tc\0d \xc3\xa9\nlast";
    char *text = NULL;
    size_t bytes = 0;
    struct echo echo;
    const int end = echo_open(&echo);
    cr_assert(end >= 0 && write(end, printed, sizeof printed - 1) == (ssize_t)sizeof printed - 1);
    close(end);
    FILE *before = stderr;
    stderr = open_memstream(&text, &bytes);
    cr_assert(stderr != NULL);
    echo_end_row(&echo);
    fclose(stderr);
    stderr = before;
    cr_assert_str_eq(text, "a\\x1b[2Jb\\u202e\\xff\\tc\\x00d \xc3\xa9\nlast\n");
    free(text);
    echo_close(&echo);
}
