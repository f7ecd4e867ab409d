#include "priority.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { PREFERRED = -10 };

static bool move(int from, int to) {
    bool moved = false;
    DIR *folder = opendir("/proc/self/task");
    for (const struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        const id_t thread = (id_t)strtol(entry->d_name, NULL, 10);
        if (thread > 0 && getpriority(PRIO_PROCESS, thread) == from)
            moved |= setpriority(PRIO_PROCESS, thread, to) == 0;
    }
    if (folder != NULL) closedir(folder);
    return moved;
}

bool priority_raise(void) {
    return move(0, PREFERRED);
}

void priority_lower(bool raised) {
    if (raised) move(PREFERRED, 0);
}
