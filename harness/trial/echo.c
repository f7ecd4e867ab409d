/* Lines in, lines out. */
#define _GNU_SOURCE
#include "echo.h"
#include "../../oracle/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int echo_open(struct echo *echo) {
    int ends[2];
    *echo = (struct echo){.open = false};
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    echo->file = ends[0];
    echo->open = true;
    return ends[1];
}

/* At once, since several processes print. */
static void show_line(const struct echo *echo) {
    char *shown = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&shown, &bytes);
    if (to == NULL) return;
    for (size_t at = 0; at <= echo->used; at += strlen(echo->line + at) + 1) {
        if (at > 0) fputs("\\x00", to);
        text_show(to, echo->line + at);
    }
    fputc('\n', to);
    if (fclose(to) == 0) fwrite(shown, 1, bytes, stderr);
    free(shown);
}

static void end_line(struct echo *echo) {
    echo->line[echo->used] = '\0';
    if (echo->lines++ < ECHO_LINES_MAX) show_line(echo);
    echo->used = 0;
}

static void take(struct echo *echo, const char *text, size_t bytes) {
    for (size_t n = 0; n < bytes; n++) {
        if (text[n] == '\n')
            end_line(echo);
        else if (echo->used < ECHO_LINE_BYTES)
            echo->line[echo->used++] = text[n];
    }
}

void echo_take(struct echo *echo) {
    enum { READS_MAX = 64 }; /* one that never stops must not keep us */
    char text[16384];
    for (int n = 0; echo->open && n < READS_MAX; n++) {
        const ssize_t got = read(echo->file, text, sizeof text);
        if (got == 0) echo_close(echo); /* nobody has the other end any more */
        if (got <= 0) return;
        take(echo, text, (size_t)got);
    }
}

void echo_end_row(struct echo *echo) {
    echo_take(echo);
    if (echo->used > 0) end_line(echo);
    if (echo->lines > ECHO_LINES_MAX)
        fprintf(stderr, "... and %lld more lines that the kernel printed\n",
                (long long)(echo->lines - ECHO_LINES_MAX));
    echo->lines = 0;
}

void echo_close(struct echo *echo) {
    if (echo->open) close(echo->file);
    echo->open = false;
}
