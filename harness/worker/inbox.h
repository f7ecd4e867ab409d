/* What a worker is told: lines of text on standard input, and the open files that come with them as
 * ancillary data (SCM_RIGHTS). */
#ifndef ATTEST_INBOX_H
#define ATTEST_INBOX_H

#include <stddef.h>

enum { INBOX_FILES_MAX = 4 };

struct inbox {
    char *text;
    size_t used, room, taken;   /* taken: the length of the line that was returned last */
    int files[INBOX_FILES_MAX]; /* that came with that line */
    size_t file_count;
};

/* The next line, without its end, which lives until the next call; NULL when there will be none.
 * The files of the line before are closed. */
const char *inbox_next(struct inbox *inbox);
/* Of the line that was returned last: overwrites its text; closes its files before the next. */
void inbox_wipe(struct inbox *inbox);
void inbox_close_files(struct inbox *inbox);
void inbox_free(struct inbox *inbox);

#endif
