/* What a kernel's process cannot reach: answers, and the run that it is judged in. */
#ifndef ATTEST_HIDE_H
#define ATTEST_HIDE_H

#include <jansson.h>
#include <stdbool.h>

/* From now on this thread, and those and the processes that it starts, can neither read nor write
 * what is at `paths` (an array of path_to_json's), beneath them, or comes to be there; nor look
 * into the memory or the open files of processes that are not its descendants. All else stays as it
 * is, but for what is made anew, by anybody, in a folder that leads to one of them: that cannot be
 * read either. A path that leads to `needed`, a library, is not hidden. False where the system has
 * no such thing (before Linux 5.13, or forbidden in a container), or a folder on the way cannot be
 * listed: then nothing is hidden. */
bool hide(const json_t *paths, const char *needed);

#endif
