/* Opening what a user named to read it. A pipe would keep us waiting and a device may never end:
 * only files are read. */
#ifndef ATTEST_REGULAR_H
#define ATTEST_REGULAR_H

#include <stdio.h>

/* NULL with errno set where it cannot be opened, EISDIR of a folder and ENOTSUP of what is no file
 * either. Never waits. */
FILE *regular_open(const char *path);
/* What errno then means. */
const char *regular_error(int error);

#endif
