/* Completion: where the cursor is follows from the verb's options and from its args_doc, and what
 * may stand there from the name of the argument in them, SUITE or LINE. */
#define _GNU_SOURCE
#include "complete.h"
#include "../session/select.h"
#include "../trial/sanitizer.h"
#include "../worker/regime.h"
#include "../verb.h"
#include "../worker/driver.h"
#include "../worker/protocol.h"
#include "../../fixtures/problem.h"
#include "../../oracle/rule.h"

#include <glob.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 64 };

static void offer(const char *typed, const char *before, const char *text, const char *end,
                  const char *meaning) {
    char whole[PATH_MAX];
    snprintf(whole, sizeof whole, "%s%s%s", before, text, end);
    if (strncmp(whole, typed, strlen(typed)) == 0) printf("%s\t%s\n", whole, meaning);
}

/* The names without their ending of the files that a pattern matches, "decode_flash_r1", and where
 * a slash is typed with their folder's name, "cpu/decode_flash_r1". */
static void offer_files(const char *typed, const char *before, const char *pattern,
                        const char *meaning) {
    const bool folder = strchr(typed + strlen(before), '/') != NULL;
    glob_t found;
    if (glob(pattern, 0, NULL, &found) != 0) return;
    for (size_t n = 0; n < found.gl_pathc; n++) {
        char *path = found.gl_pathv[n], *name = strrchr(path, '/');
        if (folder) name = memrchr(path, '/', (size_t)(name - path));
        *strrchr(path, '.') = '\0';
        if (name != NULL) offer(typed, before, name + 1, " ", meaning);
    }
    globfree(&found);
}

static void offer_kernels(const char *typed, const char *before) {
    for (const char *at = verb_kernels(); *at != '\0';) {
        char pattern[PATH_MAX];
        const int length = (int)strcspn(at, ":");
        snprintf(pattern, sizeof pattern, "%.*s/*/*.so", length, at);
        offer_files(typed, before, pattern, "kernel");
        at += length + (at[length] == ':');
    }
    puts(":files");
}

static void offer_suites(const char *typed, const char *before) {
    char pattern[PATH_MAX];
    snprintf(pattern, sizeof pattern, "%s/*.txt", verb_suites());
    offer_files(typed, before, pattern, "suite");
    puts(":files");
}

static void offer_lines(const char *typed, const char *before) {
    char line[PROBLEM_LINE_BYTES], meaning[96];
    const char *expected;
    for (int64_t n = 0; problem_complete(line, &expected, typed + strlen(before), n); n++) {
        snprintf(meaning, sizeof meaning, "then %s", expected);
        offer(typed, before, line, "", strcmp(expected, "nothing") != 0 ? meaning : "");
    }
}

static void offer_words(const char *typed, const char *before) {
    char field[48];
    const char *name;
    for (int64_t n = 0; (name = select_field(n)) != NULL; n++) offer(typed, before, name, "=", "");
    for (int n = 0; n < ATTN_VARIANT_COUNT; n++) {
        snprintf(field, sizeof field, "variant=%s", variant_name((enum attn_variant)n));
        if (strchr(typed, '=') != NULL) offer(typed, before, field, " ", "");
    }
    for (int n = ATTN_F32; n <= ATTN_BF16; n++) {
        snprintf(field, sizeof field, "dtype=%s", dtype_name((enum attn_dtype)n));
        if (strchr(typed, '=') != NULL) offer(typed, before, field, " ", "");
    }
    for (int n = 0; n < DATA_COUNT; n++) {
        snprintf(field, sizeof field, "data=%s", data_name((enum problem_data)n));
        if (strchr(typed, '=') != NULL) offer(typed, before, field, " ", "");
    }
}

static void offer_devices(const char *typed, const char *before) {
    for (const struct driver *driver = drivers; driver->meaning != NULL; driver++) {
        const char *name = device_name(driver->device);
        offer(typed, before, name, "", driver->meaning);
        if (driver->library == NULL) continue;
        offer(typed, before, name, ":all", "all that are here");
    }
}

static void offer_tools(const char *typed, const char *before) {
    char *tools = strdup(sanitizer_tools), *rest = tools;
    for (char *tool; tools != NULL && (tool = strsep(&rest, ", ")) != NULL;) {
        if (*tool != '\0') offer(typed, before, tool, " ", "of compute-sanitizer");
    }
    free(tools);
}

static void offer_regimes(const char *typed, const char *before) {
    offer(typed, before, regime_name(false), " ", "when clock and median have settled");
    offer(typed, before, regime_name(true), " ", "40 ms of work after half a second of rest");
}

static void offer_paths(const char *typed, const char *before) {
    (void)typed, (void)before;
    puts(":files");
}

static void offer_folders(const char *typed, const char *before) {
    (void)typed, (void)before;
    puts(":folders");
}

static void offer_nothing(const char *typed, const char *before) {
    (void)typed, (void)before;
}

/* What stands for an argument in the verbs' texts. */
static const struct {
    const char *name;
    void (*offer)(const char *typed, const char *before);
} stand_ins[] = {
    {"KERNEL", offer_kernels}, {"GLOB", offer_kernels},    {"OLD NEW", offer_kernels},
    {"SUITE", offer_suites},   {"LINE", offer_lines},      {"WORD", offer_words},
    {"LIST", offer_devices},   {"REGIME", offer_regimes},  {"TOOL", offer_tools},
    {"FILE", offer_paths},     {"FIXTURE", offer_paths},   {"OUTPUT", offer_paths},
    {"RUN", offer_paths},      {"OLD", offer_paths},       {"NEW", offer_paths},
    {"OUT", offer_paths},      {"DIR", offer_folders},     {"COSTS", offer_paths},
    {"N", offer_nothing},      {"M", offer_nothing},       {"MS", offer_nothing},
    {"S", offer_nothing},      {"SECONDS", offer_nothing}, {"PROGRAM", offer_paths},
    {"FROM", offer_paths},     {"TO", offer_paths},        {"GRADE", offer_nothing},
    {"DTYPE", offer_nothing},  {"NAME", offer_nothing},    {"SHARE", offer_nothing},
    {"I/N", offer_nothing},    {"DAYS", offer_nothing},    {"HISTORY", offer_folders},
};
enum { STAND_INS = sizeof stand_ins / sizeof stand_ins[0] };

static int stand_in_of(const char *name) {
    for (int n = 0; n < STAND_INS; n++) {
        if (strcmp(stand_ins[n].name, name) == 0) return n;
    }
    return -1;
}

bool complete_knows(const char *name) {
    return stand_in_of(name) >= 0;
}

static void offer_argument(const char *name, const char *typed, const char *before) {
    const int stand_in = stand_in_of(name);
    if (stand_in >= 0) stand_ins[stand_in].offer(typed, before);
}

/* Of an option: after a comma the next of a list, as in "GLOB[,GLOB...]". */
static void offer_value(const struct argp_option *option, const char *typed, int64_t prefix) {
    char before[PATH_MAX], name[NAME_BYTES];
    const char *comma = strrchr(typed + prefix, ',');
    if (comma != NULL) prefix = comma + 1 - typed;
    snprintf(before, sizeof before, "%.*s", (int)prefix, typed);
    snprintf(name, sizeof name, "%.*s", (int)strcspn(option->arg, "[."), option->arg);
    offer_argument(name, typed, before);
}

static void offer_options(const struct argp_option *options, const char *typed) {
    for (const struct argp_option *option = options; option != NULL && option->name != NULL;
         option++) {
        if (!(option->flags & OPTION_HIDDEN))
            offer(typed, "--", option->name, option->arg != NULL ? "=" : " ", option->doc);
    }
    offer(typed, "--", "help", " ", "tell more");
}

/* The option that `word` is or begins with, and where its value begins in it; 0: in the next. */
static const struct argp_option *option_of(const struct argp_option *options, const char *word,
                                           int64_t *value) {
    if (word[0] != '-' || word[1] == '\0') return NULL;
    for (const struct argp_option *option = options; option != NULL && option->name != NULL;
         option++) {
        if (option->arg == NULL) continue;
        const size_t length = strlen(option->name);
        if (word[1] == '-' && strncmp(word + 2, option->name, length) == 0 &&
            (word[2 + length] == '=' || word[2 + length] == '\0')) {
            *value = word[2 + length] == '=' ? (int64_t)length + 3 : 0;
            return option;
        }
        if (word[1] != '-' && word[1] == option->key) {
            *value = word[2] != '\0' ? 2 : 0;
            return option;
        }
    }
    return NULL;
}

/* A line of args_doc: "kernels [GLOB...]". What begins with a small letter stands for itself and
 * comes first; an option and its argument are not an argument of the verb. */
static void offer_line(const char *line, size_t length, const char *first, const char *typed) {
    char copy[256], *rest = copy;
    bool literal = false, chosen = false;
    snprintf(copy, sizeof copy, "%.*s", (int)length, line);
    for (char *token; (token = strsep(&rest, " |[].")) != NULL;) {
        if (*token >= 'a' && *token <= 'z') {
            literal = true;
            if (first == NULL) offer(typed, "", token, " ", "");
            chosen = chosen || (first != NULL && strcmp(first, token) == 0);
        } else if (*token == '-') {
            strsep(&rest, " |[].");
        } else if (*token != '\0' && (!literal || chosen)) {
            offer_argument(token, typed, "");
        }
    }
}

/* Where a line begins with an option ("--live OLD NEW [LINE...]") it is for words that have that,
 * and no other line is then. Returns what follows the option, NULL: there is no such. */
static const char *line_of(const char *lines, int count, char **words) {
    for (const char *line = lines; line != NULL; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        const size_t length = strcspn(line, " ");
        for (int n = 0; n < count && *line == '-'; n++) {
            if (strlen(words[n]) == length && !strncmp(words[n], line, length))
                return line + length;
        }
    }
    return NULL;
}

static void complete_verb(const struct verb *verb, int count, char **words) {
    const struct argp_option *options = verb->argp->options;
    const char *typed = words[count - 1], *first = NULL;
    int64_t value = 0;
    for (int n = 0; n < count - 1; n++) {
        const struct argp_option *option = option_of(options, words[n], &value);
        if (option != NULL && value == 0 && n + 1 == count - 1) {
            offer_value(option, typed, 0);
            return;
        }
        if (option != NULL && value == 0)
            n++;
        else if (words[n][0] != '-' && first == NULL)
            first = words[n];
    }
    const struct argp_option *option = option_of(options, typed, &value);
    if (option != NULL && value > 0) {
        offer_value(option, typed, value);
        return;
    }
    if (typed[0] == '-') {
        offer_options(options, typed);
        return;
    }
    const char *only = line_of(verb->argp->args_doc, count - 1, words);
    if (only != NULL) {
        offer_kernels(typed, "");
        offer_line(only, strcspn(only, "\n"), first, typed);
        return;
    }
    for (const char *line = verb->argp->args_doc; line != NULL && *line != '\0';) {
        const size_t length = strcspn(line, "\n");
        offer_line(line, length, first, typed);
        line += length + (line[length] != '\0');
    }
}

int complete_main(int argc, char **argv) {
    if (argc < 2) return 0;
    for (int n = 0; verbs[n] != NULL; n++) {
        if (argc == 2)
            offer(argv[1], "", verbs[n]->name, " ", verbs[n]->summary);
        else if (strcmp(argv[1], verbs[n]->name) == 0)
            complete_verb(verbs[n], argc - 2, argv + 2);
    }
    if (argc == 2 && argv[1][0] == '-') {
        offer(argv[1], "", "--help", " ", "the verbs, and what the environment says");
        offer(argv[1], "", "--version", " ", "");
        offer(argv[1], "", "--man", " ", "this as a man page");
    }
    return 0;
}
