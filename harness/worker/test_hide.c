/* What is hidden cannot be reached, and all around it can; each in a process of its own, for there
 * is no way back. */
#define _GNU_SOURCE
#include "hide.h"
#include "protocol.h"
#include "../../fixtures/test_folder.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* folder/{cache/answer, cache-2/file, link -> cache/answer, library} */
static char folder[64];

static const char *in(const char *name) {
    static char paths[4][128];
    static int at;
    char *path = paths[at++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name) {
    FILE *file = fopen(in(name), "w");
    cr_assert(file != NULL && fputs("1", file) >= 0 && fclose(file) == 0, "%s", name);
}

static void make(void) {
    test_folder_make(folder);
    cr_assert(mkdir(in("cache"), 0777) == 0 && mkdir(in("cache-2"), 0777) == 0);
    write_file("cache/answer");
    write_file("cache-2/file");
    write_file("library");
    cr_assert(symlink("cache/answer", in("link")) == 0);
}

static int try_open(const char *path, int flags) {
    const int file = open(path, flags | O_CLOEXEC, 0666);
    if (file >= 0) close(file);
    return file >= 0 ? 0 : errno;
}

/* What `look` returns in a process from which these are hidden: 0, or a line of this file. */
static int hidden_from(const char *needed, int (*look)(void)) {
    int status;
    json_t *paths = json_pack("[o, o, o]", path_to_json(in("cache")), path_to_json(in("late")),
                              path_to_json(in("none/deep")));
    const pid_t pid = fork();
    if (pid == 0) _exit(!hide(paths, needed) ? 255 : look());
    json_decref(paths);
    cr_assert(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    if (WEXITSTATUS(status) == 255) cr_skip_test("this system hides nothing");
    return WEXITSTATUS(status);
}

#define EXPECT(condition)                                                                          \
    if (!(condition)) return __LINE__ % 250 + 1

static int look_around(void) {
    EXPECT(try_open(in("cache/answer"), O_RDONLY) == EACCES);
    EXPECT(try_open(in("link"), O_RDONLY) == EACCES);
    EXPECT(try_open(in("cache/answer"), O_WRONLY) == EACCES);
    EXPECT(try_open(in("cache/new"), O_WRONLY | O_CREAT) == EACCES);
    EXPECT(truncate(in("cache/answer"), 0) != 0);
    EXPECT(unlink(in("cache/answer")) != 0);
    EXPECT(rename(in("cache"), in("cache-2/moved")) != 0);
    EXPECT(try_open(in("cache-2/file"), O_RDWR) == 0); /* its name only begins alike */
    EXPECT(try_open(in("library"), O_RDONLY) == 0);
    EXPECT(try_open(in("cache-2/new"), O_RDWR | O_CREAT) == 0);
    EXPECT(try_open("/proc/self/statm", O_RDONLY) == 0);
    EXPECT(try_open("/dev/null", O_RDWR) == 0);
    EXPECT(dlopen("libm.so.6", RTLD_NOW) != NULL);
    int status;
    const pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", "exit 7", NULL);
        _exit(1);
    }
    EXPECT(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7);
    return 0;
}

Test(hide, what_is_hidden_is_out_of_reach_and_nothing_else_is) {
    make();
    const int line = hidden_from("", look_around);
    test_folder_remove(folder);
    cr_assert(line == 0, "the expectation of line %d, modulo 250", line - 1);
}

static int wait_for_late(void) {
    for (int n = 0; n < 5000 && access(in("late"), F_OK) != 0; n++) usleep(1000);
    EXPECT(access(in("late"), F_OK) == 0);
    EXPECT(try_open(in("late"), O_RDONLY) == EACCES);
    EXPECT(try_open(in("none/deep"), O_RDONLY) == EACCES);
    return 0;
}

Test(hide, what_comes_to_be_there_is_hidden_too) {
    make();
    const pid_t writer = fork();
    if (writer == 0) {
        usleep(50000);
        mkdir(in("none"), 0777);
        write_file("none/deep");
        write_file("late");
        _exit(0);
    }
    const int line = hidden_from("", wait_for_late);
    waitpid(writer, NULL, 0);
    test_folder_remove(folder);
    cr_assert(line == 0, "the expectation of line %d, modulo 250", line - 1);
}

static int read_all(void) {
    EXPECT(try_open(in("cache/answer"), O_RDONLY) == 0);
    EXPECT(try_open(in("library"), O_RDONLY) == 0);
    return 0;
}

Test(hide, a_folder_with_the_library_in_it_is_not_hidden) {
    make();
    const int line = hidden_from(in("cache/answer"), read_all);
    test_folder_remove(folder);
    cr_assert(line == 0, "the expectation of line %d, modulo 250", line - 1);
}

static int look_at_parent(void) {
    char path[64];
    static const char *const files[] = {"mem", "root/tmp", "cwd/.", "fd/1", "exe"};
    for (size_t n = 0; n < sizeof files / sizeof files[0]; n++) {
        snprintf(path, sizeof path, "/proc/%d/%s", (int)getppid(), files[n]);
        EXPECT(try_open(path, O_RDONLY) != 0);
    }
    EXPECT(try_open("/proc/self/mem", O_RDONLY) == 0);
    return 0;
}

Test(hide, processes_above_are_not_looked_into) {
    make();
    const int line = hidden_from("", look_at_parent);
    test_folder_remove(folder);
    cr_assert(line == 0, "the expectation of line %d, modulo 250", line - 1);
}
