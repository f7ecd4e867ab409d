/* Landlock. It knows rights that are given, and none that are taken: so every folder that leads to
 * what is hidden is walked, and all that lies in it and does not lead there is given: 2 us for
 * each, 0.2 ms for a cache in a source tree (EPYC, Zen 5). A process under it can look into others'
 * memory only where they are under it too, which its parent is not.
 *
 * Of what there is to be given, looking into folders (READ_DIR), running programs and talking to
 * devices (ioctl) are not asked about at all: they stay. */
#define _GNU_SOURCE
#include "hide.h"
#include "protocol.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Headers of before Linux 5.19 and 6.2 do not have these two, which came with the second and third
 * version. */
static const uint64_t refer = 1 << 13, truncation = 1 << 14;

static const uint64_t of_files = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE;
static const uint64_t of_folders =
    LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
    LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
    LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;

struct giving {
    int rules;
    uint64_t of_files, of_folders; /* rights that there are here */
    char **hidden;
    int count;
};

static long version(void) {
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

/* Whether `path` is `folder` or lies beneath it. */
static bool within(const char *path, const char *folder) {
    const size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '\0' || path[length] == '/' ||
                                                  (length > 0 && folder[length - 1] == '/'));
}

/* Where a path is, or will be: of what is not there yet the first part that is missing. */
static char *locate(const char *path) {
    char part[PATH_MAX], *where = NULL;
    snprintf(part, sizeof part, "%s%s", *path == '/' ? "" : "./", path);
    char *found = realpath(part, NULL);
    if (found != NULL) return found;
    for (char *slash; (slash = strrchr(part, '/')) != NULL;) {
        char name[NAME_MAX + 1];
        snprintf(name, sizeof name, "%s", slash + 1);
        *slash = '\0';
        found = realpath(*part != '\0' ? part : "/", NULL);
        if (found == NULL) continue;
        if (*name == '\0' || asprintf(&where, "%s/%s", found[1] != '\0' ? found : "", name) < 0)
            where = NULL;
        free(found);
        return where;
    }
    return NULL;
}

static void add_hidden(struct giving *giving, const json_t *path, const char *needed) {
    char text[PATH_MAX];
    if (path_from_json(path, text) == NULL) return;
    char *where = locate(text);
    if (where == NULL || within(needed, where)) {
        free(where);
        return;
    }
    giving->hidden[giving->count++] = where;
}

/* Gives what is at `path`, a folder with all beneath it or a file; what cannot be opened could not
 * be used either. */
static void give(const struct giving *giving, const char *path, bool is_file) {
    const int file = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct landlock_path_beneath_attr rule = {.allowed_access = giving->of_files,
                                              .parent_fd = file};
    if (file < 0) return;
    if (!is_file) rule.allowed_access |= giving->of_folders;
    /* Rights of folders are refused for a file, whatever the listing said. */
    if (syscall(SYS_landlock_add_rule, giving->rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0 &&
        !is_file)
        give(giving, path, true);
    close(file);
}

enum place { ELSEWHERE, ON_THE_WAY, HIDDEN };

static enum place place_of(const struct giving *giving, const char *path) {
    enum place place = ELSEWHERE;
    for (int n = 0; n < giving->count; n++) {
        if (!strcmp(path, giving->hidden[n])) return HIDDEN;
        if (within(giving->hidden[n], path)) place = ON_THE_WAY;
    }
    return place;
}

/* All that is in a folder on the way and does not lead on. Links need nothing: what they lead to
 * has a place of its own. */
static bool give_around(const struct giving *giving, const char *folder) {
    char path[PATH_MAX];
    DIR *entries = opendir(folder);
    bool well = entries != NULL;
    for (struct dirent *entry; well && (entry = readdir(entries)) != NULL;) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (entry->d_type == DT_LNK) continue;
        if (snprintf(path, sizeof path, "%s/%s", folder[1] != '\0' ? folder : "", entry->d_name) >=
            (int)sizeof path)
            continue;
        const enum place place = place_of(giving, path);
        const bool is_file = entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN;
        if (place == ELSEWHERE) give(giving, path, is_file);
        if (place == ON_THE_WAY) well = give_around(giving, path);
    }
    if (entries != NULL) closedir(entries);
    return well;
}

static bool restrict_self(int rules) {
    if (syscall(SYS_landlock_restrict_self, rules, 0) == 0) return true; /* as root */
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_landlock_restrict_self, rules, 0) == 0;
}

static bool give_and_restrict(struct giving *giving) {
    const long known = version();
    if (known < 1) return false;
    giving->of_files = of_files | (known >= 3 ? truncation : 0);
    giving->of_folders = of_folders | (known >= 2 ? refer : 0);
    const struct landlock_ruleset_attr asked = {.handled_access_fs =
                                                    giving->of_files | giving->of_folders};
    giving->rules = (int)syscall(SYS_landlock_create_ruleset, &asked, sizeof asked, 0);
    if (giving->rules < 0) return false;
    const bool well = give_around(giving, "/") && restrict_self(giving->rules);
    close(giving->rules);
    return well;
}

bool hide(const json_t *paths, const char *needed) {
    size_t n;
    const json_t *path;
    struct giving giving = {.hidden = calloc(json_array_size(paths) + 1, sizeof *giving.hidden)};
    if (giving.hidden == NULL) return false;
    char *library = locate(needed);
    json_array_foreach(paths, n, path) {
        add_hidden(&giving, path, library != NULL ? library : "");
    }
    const bool well = giving.count > 0 && give_and_restrict(&giving);
    for (int at = 0; at < giving.count; at++) free(giving.hidden[at]);
    free(giving.hidden);
    free(library);
    return well;
}
