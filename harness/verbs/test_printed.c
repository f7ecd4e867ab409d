/* What the program prints, and where: results that cannot be written, readers that leave, texts
 * that others wrote, and lines that fit. */
#define _GNU_SOURCE
#include "../record/record.h"
#include "../test_program.h"
#include "../trial/plugin.h"
#include "../../fixtures/fixture.h"
#include "../../fixtures/test_drawn.h"
#include "../../fixtures/test_folder.h"
#include "../../oracle/text.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define LINE "f16-b1-hq2-hkv2-q1-kv64-d64-normal-seed1"

/* Runs a command of bash in which $attest is the program; its exit status, and what it said. */
static int shell(const char *command, char **out, char **err) {
    char names[2][32] = {"/tmp/attest-test-XXXXXX", "/tmp/attest-test-XXXXXX"};
    int files[2], status = 0;
    setenv("attest", verb_program(), 1);
    for (int n = 0; n < 2; n++) {
        files[n] = mkstemp(names[n]);
        unlink(names[n]);
    }
    const pid_t pid = fork();
    if (pid == 0) {
        signal(SIGPIPE, SIG_DFL);
        dup2(files[0], STDOUT_FILENO);
        dup2(files[1], STDERR_FILENO);
        execlp("bash", "bash", "-c", command, NULL);
        _exit(127);
    }
    cr_assert(waitpid(pid, &status, 0) == pid);
    for (int n = 0; n < 2; n++) {
        const off_t bytes = lseek(files[n], 0, SEEK_END);
        char *text = calloc((size_t)bytes + 1, 1);
        cr_assert(pread(files[n], text, (size_t)bytes, 0) == bytes);
        close(files[n]);
        *(n == 0 ? out : err) = text;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int occurrences(const char *text, const char *of) {
    int count = 0;
    for (; (text = strstr(text, of)) != NULL; text++) count++;
    return count;
}

Test(results, that_cannot_be_written_fail_every_verb_and_that_is_said_once) {
    static const char *const verbs[] = {
        "--help",
        "--version",
        "--man",
        "list kernels",
        "list fields --json",
        "run --help",
        "doctor",
        "probe --seconds 0.05",
        "make $LINE",
        "fuzz --count 2 --kernels decode_naive_r1",
        "run --no-probe --no-time decode_naive_r1 decode_flash_r1 $LINE --out $RUN",
        "report $RUN",
        "report $RUN --csv",
        "report $RUN --json",
        "report $RUN --summary",
        "compare $RUN $RUN",
        "compare $RUN $RUN --summary",
        "list schema",
        "compare $RUN $RUN --json",
        "merge $RUN-merged $RUN",
        "oracle $FILE",
    };
    char folder[64], run[128], file[4096];
    test_folder_make(folder);
    snprintf(run, sizeof run, "%s/run", folder);
    snprintf(file, sizeof file, "%s/a.h5", folder);
    setenv("RUN", run, 1);
    setenv("FILE", file, 1);
    setenv("LINE", LINE, 1);
    struct fixture fixture = test_answered(LINE);
    struct fault fault;
    cr_assert(fixture_write(&fixture, file, &fault), "%s", fault.text);
    fixture_free(&fixture);
    for (size_t n = 0; n < sizeof verbs / sizeof verbs[0]; n++) {
        char command[512], *out, *err;
        snprintf(command, sizeof command, "\"$attest\" %s >/dev/full", verbs[n]);
        const int status = shell(command, &out, &err);
        cr_assert(status == FAULT_INPUT, "%s: %d\n%s", verbs[n], status, err);
        cr_assert(occurrences(err, "attest: cannot write to standard output: No space left") == 1,
                  "%s: %s", verbs[n], err);
        free(out);
        free(err);
    }
    struct run read; /* what was computed is there all the same */
    cr_assert(run_read(&read, run, &fault) && read.count == 2);
    run_free(&read);
    test_folder_remove(folder);
}

Test(results, go_nowhere_else_where_standard_output_is_closed) {
    char *out, *err;
    cr_assert(shell("\"$attest\" list kernels >&-", &out, &err) == FAULT_INPUT);
    cr_assert(strstr(err, "cannot write to standard output: Bad file descriptor") != NULL, "%s",
              err);
    free(out);
    free(err);
}

Test(results, whose_reader_leaves_end_the_program_quietly_and_the_run_goes_on_later) {
    char folder[64], command[1024], *out, *err;
    test_folder_make(folder);
    setenv("RUN", folder, 1);
    static const char *const verbs[] = {"list fields", "--man"};
    for (size_t n = 0; n < 2; n++) {
        snprintf(command, sizeof command, "\"$attest\" %s | head -1; exit ${PIPESTATUS[0]}",
                 verbs[n]);
        const int status = shell(command, &out, &err); /* 0: it was done before head was */
        cr_assert((status == 128 + SIGPIPE || status == 0) && *err == '\0', "%d %s", status, err);
        free(out);
        free(err);
    }
    /* Nobody reads from the start; also under a parent that ignores SIGPIPE. */
    static const char *const starts[] = {"", "trap '' PIPE; "};
    for (size_t n = 0; n < 2; n++) {
        snprintf(command, sizeof command,
                 "%s\"$attest\" run --no-probe --no-time decode_naive_r1 decode_flash_r1 " LINE
                 " f32-b1-hq2-kv33-d32 %s $RUN/run > >(exec true); exit $?",
                 starts[n], n == 0 ? "--out" : "--resume");
        const int status = shell(command, &out, &err);
        cr_assert(status == 128 + SIGPIPE, "%d %s", status, err);
        cr_assert(occurrences(err, "\n") == 0 && *err == '\0', "%s", err);
        free(out);
        free(err);
    }
    cr_assert(shell("\"$attest\" run --no-probe --no-time decode_naive_r1 decode_flash_r1 " LINE
                    " f32-b1-hq2-kv33-d32 --resume $RUN/run",
                    &out, &err) == 0,
              "%s", err);
    free(out);
    free(err);
    struct run run;
    struct fault fault;
    char path[128];
    snprintf(path, sizeof path, "%s/run", folder);
    cr_assert(run_read(&run, path, &fault) && run.count == 4 && run.torn == 0);
    for (int64_t n = 0; n < run.count; n++) cr_assert(!strcmp(run.rows[n].status, "PASS"));
    run_free(&run);
    test_folder_remove(folder);
}

Test(results, a_message_that_nobody_reads_is_not_a_kernels_death) {
    char folder[64], *out, *err;
    test_folder_make(folder);
    setenv("RUN", folder, 1);
    setenv("CHATTY", verb_kernels(), 1);
    shell("\"$attest\" run --no-probe --no-time $CHATTY/../odd/cpu/decode_chatty_r1.so " LINE
          " --json --out $RUN/run 2> >(exec true)",
          &out, &err);
    cr_assert(strstr(out, "CRASH") == NULL, "%s", out);
    free(out);
    free(err);
    test_folder_remove(folder);
}

Test(results, a_report_file_appears_whole_or_not_at_all) {
    char folder[64], *out, *err;
    test_folder_make(folder);
    setenv("RUN", folder, 1);
    cr_assert(shell("\"$attest\" run --no-probe --no-time decode_naive_r1 " LINE " --out $RUN/run",
                    &out, &err) == 0);
    free(out);
    free(err);
    cr_assert(shell(
                  /* what counts lines would write half of its files */
                  "echo old >$RUN/report; ulimit -f 1; export GCOV_PREFIX=/dev/null; "
                  "\"$attest\" report --json $RUN/run -o $RUN/report",
                  &out, &err) == FAULT_INPUT,
              "%s", err);
    cr_assert(strstr(err, "File too large") != NULL, "%s", err);
    free(out);
    free(err);
    cr_assert(shell("cat $RUN/report; ls -A $RUN", &out, &err) == 0);
    cr_assert(!strcmp(out, "old\nreport\nrun\n"), "%s", out);
    free(out);
    free(err);
    cr_assert(shell("\"$attest\" report $RUN/run -o /dev/full", &out, &err) == FAULT_INPUT);
    free(out);
    free(err);
    cr_assert(shell("\"$attest\" report $RUN/run -o /dev/stdout | grep -c '^## Kernels'", &out,
                    &err) == 0);
    free(out);
    free(err);
    test_folder_remove(folder);
}

Test(results, a_report_goes_nowhere_where_it_would_harm_or_wait) {
    char folder[64], *out, *err;
    static const struct {
        const char *command;
        int status;
        const char *text;
    } expected[] = {
        {"-o $RUN/run/samples.h5", FAULT_INPUT, "is the name of a run's own file"},
        {"-o $RUN/run/at-hand", FAULT_INPUT, "is the name of a run's own file"},
        {"-o samples", FAULT_INPUT, "'samples' is the name of a run's own file"},
        {"-o $RUN/run/report.md", 0, ""},
        {"-o $RUN/at-hand", 0, ""},
        {"-o $RUN/kernel.so", FAULT_INPUT, "is a library or a program"},
        {"-o $RUN/pipe", FAULT_INPUT, "pipe': nobody reads it"},
        {"--csv --json", FAULT_INPUT, "are one form each"},
        {"--json --json", 0, ""},
        {"--baseline=", FAULT_INPUT, "--baseline is empty"},
        {"--baseline=a --baseline=b", FAULT_INPUT, "--baseline is 'a' already, not 'b' too"},
        {"-o a -o b", FAULT_INPUT, "--output is 'a' already, not 'b' too"},
    };
    test_folder_make(folder);
    setenv("RUN", folder, 1);
    setenv("KERNELS", verb_kernels(), 1);
    cr_assert(shell("mkfifo $RUN/pipe; cp $KERNELS/cpu/decode_naive_r1.so $RUN/kernel.so; "
                    "\"$attest\" run --no-probe --no-time decode_naive_r1 " LINE " --out $RUN/run",
                    &out, &err) == 0,
              "%s", err);
    free(out);
    free(err);
    for (size_t n = 0; n < sizeof expected / sizeof expected[0]; n++) {
        char command[256];
        snprintf(command, sizeof command, "cd $RUN/run; timeout 20 \"$attest\" report $RUN/run %s",
                 expected[n].command);
        const int status = shell(command, &out, &err);
        cr_assert(status == expected[n].status, "%s: %d: %s", command, status, err);
        cr_assert(strstr(err, expected[n].text) != NULL, "%s: %s", command, err);
        free(out);
        free(err);
    }
    cr_assert(shell("exec 3<>$RUN/pipe; timeout 20 \"$attest\" report $RUN/run -o $RUN/pipe && "
                    "echo end >&3 && sed '/^end$/q' <&3 | grep -c '^## Kernels' >&2",
                    &out, &err) == 0 &&
                  !strcmp(err, "1\n"),
              "somebody reads it: %s", err);
    free(out);
    free(err);
    cr_assert(shell("ATTEST_LOAD_SECONDS=x \"$attest\" report $RUN/run", &out, &err) ==
              FAULT_INPUT);
    cr_assert(strstr(err, "ATTEST_LOAD_SECONDS is 'x', expected a whole number") != NULL, "%s",
              err);
    free(out);
    free(err);
    test_folder_remove(folder);
}

/* Texts */

static void assert_plain(const char *text, const char *what) {
    uint32_t character;
    for (int length; (length = text_next(text, &character)) > 0; text += length)
        cr_assert(text_is_plain(character) || strchr("\n\r\t", (int)character) != NULL,
                  "%s holds %x at %.60s", what, character, text);
}

/* A kernel of odd.c whose name, change and reason are made to harm; in ODD/cpu. */
#define MARKS "=1+1|`<b>*_x_[l](u)\x1b[31m\xe2\x80\xae\xe2\x80\xac\xff\nPASS A"
static void make_marked(const char *folder) {
    char from[4400], to[512], command[1024], *out, *err;
    snprintf(from, sizeof from, "%s/../odd/cpu/decode_marked_r1.so", verb_kernels());
    snprintf(to, sizeof to, "%s/kernels/cpu/decode_" MARKS "_r1.so", folder);
    setenv("FROM", from, 1);
    setenv("TO", to, 1);
    snprintf(command, sizeof command, "mkdir -p %s/kernels/cpu && cp \"$FROM\" \"$TO\"", folder);
    cr_assert(shell(command, &out, &err) == 0, "%s", err);
    free(out);
    free(err);
    snprintf(to, sizeof to, "%s/kernels", folder);
    setenv("ATTEST_KERNELS", to, 1);
}

Test(texts, of_a_kernel_steer_no_terminal_table_or_spreadsheet) {
    static const struct {
        const char *command, *holds;
    } cases[] = {
        {"list kernels", "cpu/decode_=1+1|`<b>*_x_[l](u)\\x1b[31m\\u202e\\u202c\\xff\\nPASS A_r1"},
        {"list kernels --markdown",
         "\\|\\`\\<b>\\*\\_x\\_\\[l](u)\\x1b\\[31m\\u202e\\u202c\\xff\\nPASS A"},
        {"list kernels --json", "\\u001B[31m\\u202E\\u202C\\\\xff\\nPASS A"},
        {"run --no-probe --no-time " LINE " --out $RUN",
         "=1+1|`<b>*_x_[l](u)\\x1b[31m\\u202e\\u202c\\xff\\nPASS A"},
        {"run --no-probe --no-time " LINE " --json", "\\u001B[31m\\u202E\\u202C\\\\xff\\nPASS A"},
        {"report $RUN", "\\|\\`\\<b>\\*\\_x\\_\\[l](u)\\x1b\\[31m\\u202e\\u202c\\xff\\nPASS A"},
        {"report $RUN --json", "\\u001B[31m\\u202E\\u202C\\\\xff\\nPASS A"},
        {"report $RUN --csv", "\"'=1+1|`<b>*_x_[l](u)\\x1b[31m\\u202e\\u202c\\xff\nPASS A\""},
        {"compare $RUN $RUN", "=1+1|`<b>*_x_[l](u)\\x1b[31m\\u202e\\u202c\\xff\\nPASS"},
        {"compare $RUN $RUN --markdown",
         "\\|\\`\\<b>\\*\\_x\\_\\[l](u)\\x1b\\[31m\\u202e\\u202c\\xff\\nPASS A"},
        {"compare $RUN $RUN --json", "\\u001B[31m\\u202E\\u202C\\\\xff\\nPASS A"},
    };
    char folder[64], run[128];
    test_folder_make(folder);
    snprintf(run, sizeof run, "%s/run", folder);
    setenv("RUN", run, 1);
    setenv("ATTEST_RUNS", folder, 1);
    make_marked(folder);
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        char command[512], *out, *err;
        snprintf(command, sizeof command, "\"$attest\" %s", cases[n].command);
        const int status = shell(command, &out, &err);
        cr_assert(status == (n == 3 || n == 4 ? EXIT_CRASH : 0), "%s: %d %s", cases[n].command,
                  status, err);
        cr_assert(strstr(out, cases[n].holds) != NULL, "%s:\n%s", cases[n].command, out);
        cr_assert(strstr(out, "\nPASS A_r1") == NULL || n == 7, "%s:\n%s", cases[n].command, out);
        assert_plain(out, cases[n].command);
        assert_plain(err, cases[n].command);
        free(out);
        free(err);
    }
    test_folder_remove(folder);
}

Test(texts, that_are_typed_come_back_plain) {
    char *out, *err;
    static const char *const words[] = {
        "$'v\\x1b[31m\\n\\xff'", "run --$'\\x1b[31m\\n\\xff'", "report $'/none/\\u202e\\n\\xff'",
        "list $'\\x1b[31m\\n\\xff'", "report a $'\\x1b[31m\\n\\xff'"};
    for (size_t n = 0; n < sizeof words / sizeof words[0]; n++) {
        char command[256];
        snprintf(command, sizeof command, "\"$attest\" %s", words[n]);
        cr_assert(shell(command, &out, &err) == FAULT_INPUT, "%s", words[n]);
        assert_plain(err, words[n]);
        cr_assert(strstr(err, "\\xff") != NULL, "%s", err);
        free(out);
        free(err);
    }
}

/* Of 600 bytes and more, with bytes that are no UTF-8, quotes, controls and a backslash. */
static void make_odd_path(char path[4096], const char *folder, const char *name) {
    snprintf(path, 4096, "%s/it's \xff\xfe \\xff\n\x1b[31m\xe2\x80\xae\xe2\x80\xac/", folder);
    cr_assert(mkdir(path, 0700) == 0);
    for (int n = 0; n < 5; n++) {
        const size_t length = strlen(path);
        memset(path + length, 'a' + n, 130);
        strcpy(path + length + 130, "/");
        cr_assert(mkdir(path, 0700) == 0);
    }
    strcat(path, name);
}

Test(paths, of_any_bytes_and_length_are_found_again_and_their_commands_run) {
    char folder[64], file[4096], kernel[4096], run_folder[128];
    char from[4400], *out, *err;
    test_folder_make(folder);
    snprintf(run_folder, sizeof run_folder, "%s/run", folder);
    setenv("RUN", run_folder, 1);
    make_odd_path(file, folder, "mine.h5");
    setenv("FILE", file, 1);
    strcpy(kernel, file);
    strcpy(strrchr(kernel, '/') + 1, "decode_fails_r1.so");
    setenv("KERNEL", kernel, 1);
    snprintf(from, sizeof from, "%s/../odd/cpu/decode_fails_r1.so", verb_kernels());
    setenv("FROM", from, 1);
    struct fixture fixture = test_answered(LINE);
    struct fault fault = {0};
    cr_assert(fixture_write(&fixture, file, &fault), "%s", fault.text);
    fixture_free(&fixture);
    cr_assert(shell("cp \"$FROM\" \"$KERNEL\"", &out, &err) == 0);
    free(out);
    free(err);
    static const char *const how[] = {"--out", "--resume"};
    for (int n = 0; n < 2; n++) {
        char command[512];
        snprintf(command, sizeof command,
                 "\"$attest\" run --no-probe --no-time \"$KERNEL\" decode_naive_r1 -f \"$FILE\" "
                 "--shard 1/1 %s $RUN",
                 how[n]);
        const int status = shell(command, &out, &err);
        cr_assert(status == EXIT_CRASH, "%d %s", status, err); /* of the whole run */
        assert_plain(out, "run");
        assert_plain(err, "run");
        free(out);
        free(err);
        struct run run;
        cr_assert(run_read(&run, run_folder, &fault), "%s", fault.text);
        cr_assert(run.count == 2 && run.torn == 0, "%lld", (long long)run.count);
        for (int64_t m = 0; m < 2; m++)
            cr_assert(!strcmp(run.rows[m].file, file), "%s", run.rows[m].file);
        const struct row *row = &run.rows[strcmp(run.rows[0].status, "PASS") == 0];
        cr_assert(!strcmp(row->status, "CRASH") && strlen(row->repeat) > 1400, "%s", row->repeat);
        assert_plain(row->repeat, "repeat");
        assert_plain(run.machine.command, "command");
        /* It is pasted: "attest run ..." */
        char *pasted = NULL;
        cr_assert(asprintf(&pasted,
                           "attest() { \"$attest\" \"$@\" --no-time --no-probe --json; }\n%s",
                           row->repeat) > 0);
        setenv("ATTEST_RUNS", folder, 1);
        const int again = shell(pasted, &out, &err);
        cr_assert(again == EXIT_CRASH && strstr(out, "the moon is full") != NULL, "%d %s %s", again,
                  err, row->repeat);
        free(pasted);
        free(out);
        free(err);
        run_free(&run);
    }
    test_folder_remove(folder);
}

/* Lines */

static int widest(const char *text, const char *what) {
    int most = 0;
    while (*text != '\0') {
        char line[4096];
        const size_t length = strcspn(text, "\n");
        snprintf(line, sizeof line, "%.*s", (int)length, text);
        /* What is copied is not broken: a command, a path, a word. */
        const char *word = line + strspn(line, " ");
        const bool copied = !strncmp(word, "repeat: ", 8) || strchr(word, ' ') == NULL;
        if (!copied && text_columns(line) > most) most = text_columns(line);
        text += length + (text[length] == '\n');
    }
    cr_assert(most > 0, "%s prints nothing", what);
    return most;
}

Test(lines, fit_100_columns_and_what_is_copied_is_whole) {
    static const char *const verbs[] = {
        "--help",
        "list kernels",
        "list suites",
        "list traits",
        "list devices",
        "list fields",
        "list statuses",
        "list data",
        "list coverage",
        "doctor",
        "probe --seconds 0.05",
        "make $LINE",
        "run --no-probe --time-ms 20 'decode_*' $WRONG $LINE $PAGED --out $RUN",
        "compare $RUN $RUN",
        "compare $RUN --kernels '*_naive_*' '*_flash_*'",
        "fuzz --count 8 --kernels 'decode_*'",
    };
    char folder[64], run[128], wrong[4400];
    test_folder_make(folder);
    snprintf(run, sizeof run, "%s/run", folder);
    snprintf(wrong, sizeof wrong, "%s/../planted/cpu/decode_zeros_r1.so", verb_kernels());
    setenv("RUN", run, 1);
    setenv("WRONG", wrong, 1);
    setenv("LINE", LINE, 1);
    setenv("PAGED", "f16-b3-hq4-hkv2-q1-kv400-d64-page64-lens400,100,190-normal-seed1", 1);
    for (size_t n = 0; n < sizeof verbs / sizeof verbs[0]; n++) {
        char command[512], *out, *err;
        snprintf(command, sizeof command, "\"$attest\" %s", verbs[n]);
        shell(command, &out, &err);
        cr_assert(widest(out, verbs[n]) <= 100, "%s\n%s", verbs[n], out);
        cr_assert(strstr(out, "e+0") == NULL && strstr(out, " 1 rows") == NULL, "%s", out);
        if (strstr(verbs[n], "--out") != NULL) {
            char last[200];
            snprintf(last, sizeof last, "\nattest report %s\n", run);
            cr_assert(strstr(out, last) != NULL, "%s", out);
            /* PASS or, on a busy machine, UNSTABLE */
            cr_assert(strstr(out, " A  cpu/decode_naive_r1  " LINE "\n    t 0.") != NULL, "%s",
                      out);
        }
        free(out);
        free(err);
    }
    test_folder_remove(folder);
}

/* What a verb prints on a terminal of 80 columns, without its colours. */
static char *on_terminal(const char *command) {
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    int terminal;
    const size_t room = 1 << 18;
    char *text = calloc(room, 1);
    size_t used = 0;
    setenv("attest", verb_program(), 1);
    const pid_t pid = forkpty(&terminal, NULL, NULL, &size);
    if (pid == 0) {
        setenv("TERM", "xterm", 1);
        setenv("NO_COLOR", "1", 1);
        execlp("bash", "bash", "-c", command, NULL);
        _exit(127);
    }
    for (ssize_t n; (n = read(terminal, text + used, room - 1 - used)) > 0;) used += (size_t)n;
    close(terminal);
    test_finish(pid);
    return text;
}

Test(lines, fit_a_narrower_terminal_and_have_no_colour_where_none_is_wanted) {
    static const char *const commands[] = {"\"$attest\" list kernels", "\"$attest\" list traits",
                                           "\"$attest\" run --no-probe --no-time 'decode_*' " LINE
                                           " --out $RUN/run 2>/dev/null"};
    char folder[64];
    test_folder_make(folder);
    setenv("RUN", folder, 1);
    for (size_t n = 0; n < sizeof commands / sizeof commands[0]; n++) {
        char *text = on_terminal(commands[n]);
        for (char *at = text; (at = strstr(at, "\r\n")) != NULL;) memmove(at, at + 1, strlen(at));
        cr_assert(strchr(text, '\033') == NULL && widest(text, commands[n]) <= 80, "%s", text);
        cr_assert(n < 2 || strstr(text, "PASS A  cpu/decode_naive_r1") != NULL, "%s", text);
        free(text);
    }
    test_folder_remove(folder);
}
