/* Numbers and texts for people. What others wrote -- kernels' words, names of files and hosts, runs
 * read back -- is printed by these and never by printf: a %s is escaped for where it goes, the
 * format is ours. Formats are those of printf, of which %s, %d, %c and %e, %f, %g are known, and
 * '*' in %.*s alone. */
#ifndef ATTEST_PRINT_H
#define ATTEST_PRINT_H

#include "../record/number.h"

#include <jansson.h>
#include <stdio.h>

#if defined(__GNUC__)
#define PRINT_FORMAT(n) __attribute__((format(printf, n, n + 1)))
#else
#define PRINT_FORMAT(n)
#endif

/* For a terminal, or what is read as one: control characters and the like are shown (text.h). */
PRINT_FORMAT(2) void print_plain(FILE *to, const char *format, ...);
/* In Markdown: also without effect there. A `%s` is a code span; in a format with a '|', one in a
 * table. */
PRINT_FORMAT(2) void print_markdown(FILE *to, const char *format, ...);
/* In HTML or XML, between tags or in an attribute that is quoted. */
PRINT_FORMAT(2) void print_html(FILE *to, const char *format, ...);
/* Lines of their own between fences, each after `indent`. */
void print_markdown_block(FILE *to, const char *indent, const char *language, const char *text);
/* A field of RFC 4180 that a spreadsheet does not take for a formula. */
void print_csv(FILE *to, const char *text);
/* On a line of its own, in ASCII, which has an escape for everything; takes `json`. */
void print_json(FILE *to, json_t *json, size_t flags);

#endif
