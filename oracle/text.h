/* Texts that others wrote -- a kernel's words, a path, a host's name -- on their way to a reader.
 * Any bytes are legal; what is no UTF-8 is escaped byte by byte. */
#ifndef ATTEST_TEXT_H
#define ATTEST_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* The length of the character that `text` begins with, and the character itself; a byte that begins
 * none is one of length 1 and value TEXT_NOT_UTF8. 0 at the end. */
int text_next(const char *text, uint32_t *character);
#define TEXT_NOT_UTF8 UINT32_MAX

/* The columns a text takes, one a character, and how many bytes of it are in `columns` of them. */
int text_columns(const char *text);
size_t text_bytes(const char *text, int columns);

/* As much of the text as `room` bytes take, in whole characters. */
void text_copy(char *to, size_t room, const char *text);

/* Whether a terminal shows the character, and where it stands: false for control characters, marks
 * of direction and those without a width, and for TEXT_NOT_UTF8. */
bool text_is_plain(uint32_t character);

/* The text in one line, with \n, \x1b, \u202e and the like for what is not plain. */
void text_show(FILE *to, const char *text);
void text_show_character(FILE *to, const char *text, int length, uint32_t character);

/* Whether it ends so, and has something before. */
bool text_ends_with(const char *text, const char *end);

/* The text as one word for bash: as it is, in '', or, with characters that are not plain, in $''.
 */
void text_quote(FILE *to, const char *text);

#endif
