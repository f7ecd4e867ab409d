/* Lines in, lines out. */
#define _GNU_SOURCE
#include "echo.h"

#include <fcntl.h>
#include <stdio.h>
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

static void end_line(struct echo *echo) {
    echo->line[echo->used] = '\0';
    if (echo->lines++ < ECHO_LINES_MAX) fprintf(stderr, "%s\n", echo->line);
    echo->used = 0;
}

static void take(struct echo *echo, const char *text, size_t bytes) {
    for (size_t n = 0; n < bytes; n++) {
        const unsigned char byte = (unsigned char)text[n];
        if (byte == '\n') {
            end_line(echo);
        } else if (echo->used < ECHO_LINE_BYTES) {
            const bool steers = (byte < ' ' && byte != '\t') || byte == 0x7f;
            echo->line[echo->used++] = steers ? '?' : (char)byte;
        }
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
