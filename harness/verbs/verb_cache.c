/* attest cache: what drawn fixtures take on disk, and rid of them. A file is known by its name
 * alone, which is its line; only regular files that are named, and begin, like a fixture of ours
 * are counted and removed, because ATTEST_CACHE may be a folder that holds other things. Links are
 * never followed, nor folders entered. */
#define _GNU_SOURCE
#include "../report/print.h"
#include "../session/select.h"
#include "../trial/obtain.h"
#include "../verb.h"
#include "../worker/protocol.h"
#include "../../fixtures/fixture.h"
#include "../../fixtures/replace.h"

#include <jansson.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { KEY_JSON = 256, KEY_STALE, KEY_OLDER };

/* STALE_LINE: another version of attest spelt it so, and this one will not look for it. STALE_PART:
 * what a process that was killed had begun to write. */
enum state { CURRENT, STALE_LINE, STALE_PART, NOT_OURS };
static const char *const states[] = {"current", "stale", "leftover"};

struct entry {
    char name[NAME_MAX + 1]; /* LINE.h5 */
    enum state state;
    int64_t bytes;
    time_t used; /* read or written last; reading is noted once a day (relatime) */
};

struct cache {
    char folder[4096];
    int file;   /* the folder's; -1: there is none */
    bool alone; /* nobody writes there, and will not while this is so (replace_lock) */
    int64_t count, others;
    struct entry *entries;
};

struct options {
    bool json, stale;
    double days; /* not used for so long; negative: any */
    const char *what;
    int64_t picked_count, word_count;
    struct suite *picked; /* one an argument */
    struct select_word *words;
};

static const struct argp_option argp_options[] = {
    {"older-than", KEY_OLDER, "DAYS", 0, "only what was not used for so long", 0},
    {"stale", KEY_STALE, NULL, 0,
     "only what no run will read: leftovers of processes that were killed, lines that this version "
     "spells otherwise",
     0},
    {"json", KEY_JSON, NULL, 0, "JSON instead of text", 0},
    {0},
};

static bool add_pick(struct options *options, const char *argument, struct fault *fault) {
    const bool word = select_is_word(argument);
    const size_t count = (size_t)(word ? options->word_count : options->picked_count) + 1;
    void *list = word ? realloc(options->words, count * sizeof *options->words)
                      : realloc(options->picked, count * sizeof *options->picked);
    if (list == NULL) return fault_set(fault, FAULT_OURS, "out of memory");
    if (word) {
        options->words = list;
        return select_parse(&options->words[options->word_count++], argument, fault);
    }
    options->picked = list;
    return obtain_lines(&options->picked[options->picked_count++], argument, verb_suites(), fault);
}

static error_t parse(int key, char *argument, struct argp_state *state) {
    struct options *options = state->input;
    struct fault fault;
    switch (key) {
    case KEY_JSON:
        options->json = true;
        return 0;
    case KEY_STALE:
        options->stale = true;
        return 0;
    case KEY_OLDER:
        options->days = verb_number(argument, 0, 1e5, "older-than", state);
        return 0;
    case ARGP_KEY_ARG:
        if (options->what == NULL) {
            options->what = argument;
            if (strcmp(argument, "list") != 0 && strcmp(argument, "clean") != 0)
                argp_error(state, "unknown '%s', expected list or clean", argument);
        } else if (!add_pick(options, argument, &fault)) {
            argp_failure(state, fault.code, 0, "%s", fault.text);
        }
        return 0;
    case ARGP_KEY_END:
        if (options->what == NULL && (options->stale || options->days >= 0))
            argp_error(state, "--stale and --older-than belong to list or clean");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .args_doc = "\nlist [SUITE|LINE|WORD...]\nclean [SUITE|LINE|WORD...]",
    .doc = "Says where drawn fixtures are kept ($ATTEST_CACHE, by default fixtures/cache) and what "
           "they take. list prints them, the largest first; clean removes what list prints under "
           "the same arguments, which are those of make: all of it, or the problems of suites and "
           "lines, of these the ones for which all WORDs hold. What is removed is drawn again when "
           "it is asked for. Files that are not fixtures of this cache are left alone.",
};

/* "LINE.h5" */
static enum state state_of_fixture(const char *name) {
    char line[PROBLEM_LINE_BYTES], canonical[PROBLEM_LINE_BYTES];
    struct problem problem;
    struct fault fault;
    const size_t length = strlen(name);
    if (length < 4 || length - 3 >= sizeof line || strcmp(name + length - 3, ".h5") != 0)
        return NOT_OURS;
    snprintf(line, sizeof line, "%.*s", (int)(length - 3), name);
    if (!problem_parse(&problem, line, &fault) || problem.data == DATA_FILE) return NOT_OURS;
    problem_print(&problem, canonical);
    return strcmp(line, canonical) == 0 ? CURRENT : STALE_LINE;
}

static bool is_hdf5(int folder, const char *name) {
    static const char signature[] = "\x89HDF\r\n\x1a\n";
    char head[sizeof signature - 1];
    const int file = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    const bool is = file >= 0 && read(file, head, sizeof head) == (ssize_t)sizeof head &&
                    memcmp(head, signature, sizeof head) == 0;
    if (file >= 0) close(file);
    return is;
}

static bool add_entry(struct cache *cache, const char *name, struct fault *fault) {
    struct stat status;
    if (!strcmp(name, ".") || !strcmp(name, "..")) return true;
    const bool regular =
        fstatat(cache->file, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode);
    const bool left = regular && cache->alone && replace_is_temporary(name);
    enum state state = left ? STALE_PART : NOT_OURS;
    if (regular && state == NOT_OURS) {
        state = state_of_fixture(name);
        if (state != NOT_OURS && !is_hdf5(cache->file, name)) state = NOT_OURS;
    }
    if (state == NOT_OURS) {
        cache->others++;
        return true;
    }
    void *entries = realloc(cache->entries, (size_t)(cache->count + 1) * sizeof *cache->entries);
    if (entries == NULL) return fault_set(fault, FAULT_OURS, "out of memory");
    cache->entries = entries;
    struct entry *entry = &cache->entries[cache->count++];
    *entry = (struct entry){
        .state = state,
        .bytes = (int64_t)status.st_blocks * 512,
        .used = status.st_atime > status.st_mtime ? status.st_atime : status.st_mtime,
    };
    snprintf(entry->name, sizeof entry->name, "%s", name);
    return true;
}

static int by_size(const void *a, const void *b) {
    const struct entry *left = a, *right = b;
    if (left->bytes != right->bytes) return left->bytes < right->bytes ? 1 : -1;
    return strcmp(left->name, right->name);
}

static bool scan(struct cache *cache, struct fault *fault) {
    fixture_cache_path("", cache->folder);
    *strrchr(cache->folder, '/') = '\0';
    cache->file = open(cache->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cache->file < 0 && errno == ENOENT) return true; /* nothing was drawn yet */
    cache->alone = cache->file >= 0 && replace_lock(cache->file);
    DIR *folder = cache->file >= 0 ? fdopendir(dup(cache->file)) : NULL;
    if (folder == NULL)
        return fault_set(fault, FAULT_INPUT, "cannot read the cache '%.900s': %s", cache->folder,
                         strerror(errno));
    bool well = true;
    for (const struct dirent *entry; well && (entry = readdir(folder)) != NULL;)
        well = add_entry(cache, entry->d_name, fault);
    closedir(folder);
    if (cache->count > 0)
        qsort(cache->entries, (size_t)cache->count, sizeof *cache->entries, by_size);
    return well;
}

/* Without its ending where it is a line. */
static void line_of(const struct entry *entry, char line[NAME_MAX + 1]) {
    const size_t length = strlen(entry->name) - (entry->state != STALE_PART ? 3 : 0);
    snprintf(line, NAME_MAX + 1, "%.*s", (int)length, entry->name);
}

static bool is_picked(const struct entry *entry, const struct options *options) {
    char line[NAME_MAX + 1], canonical[PROBLEM_LINE_BYTES];
    struct problem problem;
    struct fault fault;
    if (options->stale && entry->state == CURRENT) return false;
    if (difftime(time(NULL), entry->used) < options->days * 86400) return false;
    if (options->picked_count == 0 && options->word_count == 0) return true;
    line_of(entry, line);
    if (entry->state == STALE_PART || !problem_parse(&problem, line, &fault)) return false;
    problem_print(&problem, canonical);
    bool named = options->picked_count == 0;
    for (int64_t n = 0; n < options->picked_count; n++) {
        const struct suite *suite = &options->picked[n];
        for (int64_t at = 0; at < suite->count; at++)
            named = named || strcmp(suite->lines[at], canonical) == 0;
    }
    return named && select_holds(options->words, options->word_count, &problem);
}

static void print_amount(int64_t count, const char *what, int64_t bytes) {
    printf("%s, %s", number_count(count, what).text, number_bytes((double)bytes).text);
}

static void sum_up(const struct cache *cache, bool as_json) {
    int64_t counts[2] = {0}, bytes[2] = {0};
    for (int64_t n = 0; n < cache->count; n++) {
        counts[cache->entries[n].state != CURRENT]++;
        bytes[cache->entries[n].state != CURRENT] += cache->entries[n].bytes;
    }
    if (as_json) {
        print_json(stdout,
                   json_pack("{s:o, s:I, s:I, s:I, s:I, s:I}", "folder",
                             path_to_json(cache->folder), "fixtures", (json_int_t)counts[0],
                             "bytes", (json_int_t)bytes[0], "stale", (json_int_t)counts[1],
                             "stale_bytes", (json_int_t)bytes[1], "others",
                             (json_int_t)cache->others),
                   JSON_INDENT(2));
        return;
    }
    print_plain(stdout, "%s: ", cache->folder);
    print_amount(counts[0], "fixture", bytes[0]);
    putchar('\n');
    if (counts[1] > 0) {
        print_amount(counts[1], "stale file", bytes[1]);
        puts(" (attest cache clean --stale)");
    }
    if (cache->others > 0) printf("%lld of something else, left alone\n", (long long)cache->others);
}

static void list(const struct cache *cache, const struct options *options) {
    json_t *listing = json_array();
    for (int64_t n = 0; n < cache->count; n++) {
        const struct entry *entry = &cache->entries[n];
        char line[NAME_MAX + 1], used[32];
        struct tm day;
        if (!is_picked(entry, options)) continue;
        line_of(entry, line);
        strftime(used, sizeof used, "%Y-%m-%d", localtime_r(&entry->used, &day));
        if (options->json) {
            json_array_append_new(listing,
                                  json_pack("{s:o, s:I, s:s, s:s}", "line", text_to_json(line),
                                            "bytes", (json_int_t)entry->bytes, "used", used,
                                            "state", states[entry->state]));
            continue;
        }
        print_plain(stdout, "%9s  %s  %s%s%s\n", number_bytes((double)entry->bytes).text, used,
                    line, entry->state != CURRENT ? "  " : "",
                    entry->state != CURRENT ? states[entry->state] : "");
    }
    if (options->json)
        print_json(stdout, listing, JSON_INDENT(2));
    else
        json_decref(listing);
}

/* Goes on where one cannot be removed, and tells of the first. */
static bool clean(const struct cache *cache, const struct options *options, struct fault *fault) {
    int64_t count = 0, bytes = 0;
    bool well = true;
    for (int64_t n = 0; n < cache->count; n++) {
        const struct entry *entry = &cache->entries[n];
        if (!is_picked(entry, options)) continue;
        if (unlinkat(cache->file, entry->name, 0) == 0) {
            count++;
            bytes += entry->bytes;
        } else if (errno != ENOENT && well) {
            well = fault_set(fault, FAULT_INPUT, "cannot remove '%s' from '%.600s': %s",
                             entry->name, cache->folder, strerror(errno));
        }
    }
    if (options->json) {
        print_json(
            stdout,
            json_pack("{s:I, s:I}", "removed", (json_int_t)count, "bytes", (json_int_t)bytes),
            JSON_INDENT(2));
        return well;
    }
    fputs("removed ", stdout);
    print_amount(count, "file", bytes);
    putchar('\n');
    return well;
}

static bool picks_any(const struct cache *cache, const struct options *options,
                      struct fault *fault) {
    const bool asked = options->picked_count > 0 || options->word_count > 0;
    bool any = !asked;
    for (int64_t n = 0; n < cache->count && !any; n++) any = is_picked(&cache->entries[n], options);
    return any || fault_set(fault, FAULT_NOTHING, "nothing in the cache '%.900s' is among these",
                            cache->folder);
}

static int cache_run(int argc, char **argv) {
    struct options options = {.days = -1};
    struct cache cache = {.file = -1};
    struct fault fault = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    bool well = scan(&cache, &fault);
    const bool cleans = options.what != NULL && strcmp(options.what, "clean") == 0;
    if (cache.alone && !cleans) flock(cache.file, LOCK_UN); /* who reads a list may take long */
    if (well && options.what == NULL) {
        sum_up(&cache, options.json);
    } else if (well && (well = picks_any(&cache, &options, &fault))) {
        if (cleans)
            well = clean(&cache, &options, &fault);
        else
            list(&cache, &options);
    }
    for (int64_t n = 0; n < options.picked_count; n++) suite_free(&options.picked[n]);
    free(options.picked);
    free(options.words);
    free(cache.entries);
    if (cache.file >= 0) close(cache.file);
    return well ? 0 : fault_tell(&fault);
}

const struct verb verb_cache = {
    .name = "cache",
    .arguments = "[list|clean [SUITE|LINE|WORD...]]",
    .summary = "what drawn fixtures take on disk",
    .argp = &argp,
    .run = cache_run,
};
