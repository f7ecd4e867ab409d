/* Lines that arrive in pieces, files that arrive beside them. */
#define _GNU_SOURCE
#include "inbox.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Adds what comes next, and the files that come with it; false at the end. A worker that is tried
 * by hand has a pipe or a terminal for a socket. */
static bool receive(struct inbox *inbox) {
    if (inbox->room - inbox->used < 4096) {
        inbox->room = 2 * inbox->room + 65536;
        char *text = realloc(inbox->text, inbox->room);
        if (text == NULL) return false;
        inbox->text = text;
    }
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(INBOX_FILES_MAX * sizeof(int))];
    struct iovec part = {inbox->text + inbox->used, inbox->room - inbox->used};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    ssize_t n = recvmsg(STDIN_FILENO, &message, MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == ENOTSOCK) {
        message.msg_controllen = 0;
        n = read(STDIN_FILENO, part.iov_base, part.iov_len);
    }
    if (n <= 0) return n < 0 && errno == EINTR;
    inbox->used += (size_t)n;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        inbox->file_count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(inbox->files, CMSG_DATA(header), inbox->file_count * sizeof(int));
    }
    return true;
}

void inbox_close_files(struct inbox *inbox) {
    for (size_t n = 0; n < inbox->file_count; n++) close(inbox->files[n]);
    inbox->file_count = 0;
}

const char *inbox_next(struct inbox *inbox) {
    inbox_close_files(inbox);
    if (inbox->taken > 0)
        memmove(inbox->text, inbox->text + inbox->taken, inbox->used - inbox->taken);
    inbox->used -= inbox->taken;
    inbox->taken = 0;
    char *end;
    while ((end = inbox->used > 0 ? memchr(inbox->text, '\n', inbox->used) : NULL) == NULL) {
        if (!receive(inbox)) return NULL;
    }
    *end = '\0';
    inbox->taken = (size_t)(end - inbox->text) + 1;
    return inbox->text;
}

void inbox_wipe(struct inbox *inbox) {
    explicit_bzero(inbox->text, inbox->taken);
}

void inbox_free(struct inbox *inbox) {
    inbox_close_files(inbox);
    free(inbox->text);
    *inbox = (struct inbox){0};
}
