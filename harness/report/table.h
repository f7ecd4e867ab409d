/* Lines and tables that fit a terminal, and the same tables in Markdown. Nothing is cut: what is
 * longer than its place goes on a line of its own. */
#ifndef ATTEST_TABLE_H
#define ATTEST_TABLE_H

#include "print.h"

#include <stdbool.h>
#include <stdint.h>

/* The columns of what stdout is shown on, 100 at most; 100 where that is no terminal. */
int print_width(void);

/* A line of pieces, two spaces apart; one that does not fit begins an indented line. */
struct print_line {
    FILE *to;
    int used;
};
PRINT_FORMAT(2) void print_piece(struct print_line *line, const char *format, ...);
void print_line_end(struct print_line *line);
/* Words on as many lines as they take: the first goes on from column `at`, which the line has come
 * to, the others begin after `indent` columns. Ends the last. */
PRINT_FORMAT(4) void print_words(FILE *to, int at, int indent, const char *format, ...);

/* Cells in rows, made one after the other, the titles first. */
struct table {
    int columns;
    unsigned right; /* columns, each by its bit: aligned right */
    unsigned code;  /* code spans in Markdown */
    char **cells;
    int64_t count, room;
};
PRINT_FORMAT(2) void table_add(struct table *table, const char *format, ...);
/* Where there is no room, the last column is on a line of its own, indented; others wrap. */
void table_print(FILE *to, const struct table *table);
void table_print_markdown(FILE *to, const struct table *table);
void table_free(struct table *table);

#endif
