#include "interpreter.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

Test(interpreter, runs_files_of_pythons_and_what_is_named_in_them) {
    static const struct {
        const char *path;
        bool runs;
        int file;
        const char *name;
    } cases[] = {
        {"mine.py", true, 7, NULL},
        {"/home/me/mine.py:decode_mine_r1", true, 16, "decode_mine_r1"},
        {"mine.py:", true, 7, ""},
        {"mine.pyc", false, 8, NULL},
        {".py", false, 3, NULL},
        {"decode_mine_r1.so", false, 17, NULL},
        {"decode_*", false, 8, NULL},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        const char *name = interpreter_name(cases[n].path);
        cr_assert(interpreter_runs(cases[n].path) == cases[n].runs, "%s", cases[n].path);
        cr_assert(interpreter_file(cases[n].path) == cases[n].file, "%s", cases[n].path);
        cr_assert((name == NULL) == (cases[n].name == NULL), "%s", cases[n].path);
        cr_assert(name == NULL || !strcmp(name, cases[n].name), "%s", name);
    }
}

/* The user's own modules stay where they are; ours are there once. */
Test(interpreter, is_started_where_it_finds_the_module) {
    setenv("PYTHONPATH", "/a:/b", 1);
    interpreter_set("/opt/python", "/modules", "/lib/worker.so");
    const char *const *command = interpreter_command();
    cr_assert(command[0] != NULL && !strcmp(command[0], "/opt/python") &&
              !strcmp(command[2], "attest.worker"));
    cr_assert(command[3] == NULL && !strcmp(interpreter_library(), "/lib/worker.so"));
    cr_assert(command == interpreter_command());
    const char *path = getenv("PYTHONPATH");
    cr_assert(path != NULL && !strcmp(path, "/modules:/a:/b"), "%s", path);
}
