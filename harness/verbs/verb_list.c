/* attest list: what there is. Every listing is an array of JSON objects with the same keys; printed
 * as they are with --json, and otherwise as aligned columns under those keys, or as a table. */
#include "coverage.h"
#include "../record/record.h"
#include "../record/schema.h"
#include "../report/table.h"
#include "../session/targets.h"
#include "../trial/devices.h"
#include "../trial/interpreter.h"
#include "../trial/plugin.h"
#include "../verb.h"
#include "../worker/driver.h"
#include "../worker/protocol.h"
#include "../../oracle/nearest.h"
#include "../../oracle/rule.h"

#include <dirent.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

enum { OPTION_JSON = 256, OPTION_MARKDOWN, OPTION_PYTHON, NAMES_BYTES = 256 };

struct options {
    bool json, markdown;
    const char *what;
    const char **globs; /* or runs */
    int64_t glob_count;
};

static json_t *list_kernels(const struct options *options, struct fault *fault);
static json_t *list_suites(const struct options *options, struct fault *fault);
static json_t *list_traits(const struct options *options, struct fault *fault);
static json_t *list_devices(const struct options *options, struct fault *fault);
static json_t *list_fields(const struct options *options, struct fault *fault);
static json_t *list_statuses(const struct options *options, struct fault *fault);
static json_t *list_data(const struct options *options, struct fault *fault);
static json_t *list_coverage(const struct options *options, struct fault *fault);
static json_t *list_schema(const struct options *options, struct fault *fault);

/* NULL and a fault when the listing cannot be made; a code alone is the exit status of one that
 * can. */
static const struct listing {
    const char *name;
    json_t *(*make)(const struct options *options, struct fault *fault);
    bool picks; /* takes words beside its name */
} listings[] = {
    {"kernels", list_kernels, true},    {"suites", list_suites, false},
    {"traits", list_traits, false},     {"devices", list_devices, false},
    {"fields", list_fields, false},     {"data", list_data, false},
    {"statuses", list_statuses, false}, {"coverage", list_coverage, true},
    {"schema", list_schema, false},
};
enum { LISTING_COUNT = sizeof listings / sizeof listings[0] };

static const struct argp_option argp_options[] = {
    {"json", OPTION_JSON, NULL, 0, "an array of objects instead of columns", 0},
    {"markdown", OPTION_MARKDOWN, NULL, 0, "a table in Markdown instead of columns", 0},
    {"python", OPTION_PYTHON, "PROGRAM", 0,
     "the interpreter for kernels in Python; default $ATTEST_PYTHON, then python3", 0},
    {0},
};

static const struct listing *listing_named(const char *name) {
    for (int n = 0; n < LISTING_COUNT; n++) {
        if (strcmp(name, listings[n].name) == 0) return &listings[n];
    }
    return NULL;
}

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    struct options *options = state->input;
    const struct listing *listing;
    switch (key) {
    case OPTION_JSON:
        options->json = true;
        return 0;
    case OPTION_PYTHON:
        interpreter_set(argument, verb_modules(), verb_worker());
        return 0;
    case OPTION_MARKDOWN:
        options->markdown = true;
        return 0;
    case ARGP_KEY_ARG:
        if (options->what == NULL)
            options->what = argument;
        else
            options->globs[options->glob_count++] = argument;
        return 0;
    case ARGP_KEY_END:
        if (options->what == NULL) {
            argp_error(state, "what to list is missing");
            return 0;
        }
        listing = listing_named(options->what);
        if (options->glob_count > 0 && listing != NULL && !listing->picks)
            argp_error(state, "only kernels are picked by globs, and coverage by runs");
        if (options->markdown && listing != NULL && listing->make == list_schema)
            argp_error(state, "the schema is JSON, expected no --markdown");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .args_doc =
        "kernels [GLOB...]\ncoverage [RUN...]\nsuites|traits|devices|fields|statuses|data|schema",
    .doc =
        "Lists kernels (found by scanning, with what each declares of itself), suites of "
        "problems, traits and the words that ask for them, devices (as `run --device` takes them), "
        "the fields of a row, the statuses a row can have, and kinds of data. Coverage is what "
        "runs, by default the committed ones, show of each variant on each kind of device: rows "
        "that are right of those that were taken, and the worst of their grades. Schema is that of "
        "a line of run.jsonl, JSON Schema 2020-12.",
};

/* "gqa causal", from the rules whose trait is among `traits`. */
static void trait_names(uint64_t traits, char names[NAMES_BYTES]) {
    size_t used = 0;
    names[0] = 0;
    for (int r = 0; rules[r] != NULL; r++) {
        if ((traits & rules[r]->trait) != 0 && used < NAMES_BYTES - 32)
            used += (size_t)snprintf(names + used, NAMES_BYTES - used, "%s%s", used ? " " : "",
                                     rules[r]->name);
    }
}

static void dtype_names(uint32_t dtypes, char names[NAMES_BYTES]) {
    size_t used = 0;
    names[0] = 0;
    for (int dtype = ATTN_F32; dtype <= ATTN_BF16; dtype++) {
        if ((dtypes & 1u << dtype) != 0)
            used += (size_t)snprintf(names + used, NAMES_BYTES - used, "%s%s", used ? " " : "",
                                     dtype_name(dtype));
    }
}

static json_t *list_kernels(const struct options *options, struct fault *fault) {
    struct plugin_list list = {0};
    if (!plugin_scan(&list, verb_program(), verb_kernels(), options->globs, options->glob_count,
                     fault)) {
        plugin_list_free(&list);
        return NULL;
    }
    json_t *listing = json_array();
    for (int64_t n = 0; n < list.count; n++) {
        const struct plugin *plugin = &list.plugins[n];
        const struct attn_kernel *kernel = &plugin->kernel;
        if (plugin->trouble != STATUS_PASS) {
            fault_say("kernel '%s' cannot be loaded: %s: %s", plugin->path,
                      status_name(plugin->trouble), plugin->why);
            fault->code = (enum fault_code)EXIT_CRASH;
            continue;
        }
        char traits[NAMES_BYTES], dtypes[NAMES_BYTES], grade[2] = {(char)kernel->grade, 0};
        trait_names(kernel->traits, traits);
        dtype_names(kernel->dtypes, dtypes);
        json_array_append_new(listing, json_pack("{s:o, s:s, s:s, s:i, s:s, s:s, s:i, s:s, s:o}",
                                                 "kernel", text_to_json(plugin->id), "device",
                                                 device_name(kernel->device), "variant",
                                                 variant_name(kernel->variant), "revision",
                                                 kernel->revision, "grade", grade, "dtypes", dtypes,
                                                 "d_max", kernel->head_dim_max, "traits", traits,
                                                 "change", text_to_json(plugin->change)));
    }
    plugin_list_tell_left_out(&list);
    plugin_list_free(&list);
    if (json_array_size(listing) > 0 || fault->code != FAULT_NONE) return listing;
    fault_set(fault, FAULT_NOTHING, "no kernels in '%s'", verb_kernels());
    json_decref(listing);
    return NULL;
}

static int is_suite(const struct dirent *entry) {
    const char *dot = strrchr(entry->d_name, '.');
    return entry->d_name[0] != '.' && dot != NULL && strcmp(dot, ".txt") == 0;
}

static json_t *list_suites(const struct options *options, struct fault *fault) {
    (void)options;
    struct dirent **entries;
    const int count = scandir(verb_suites(), &entries, is_suite, alphasort);
    if (count < 0) {
        fault_set(fault, FAULT_INPUT, "cannot read the suites' folder '%s'", verb_suites());
        return NULL;
    }
    json_t *listing = json_array();
    bool ok = true;
    for (int n = 0; n < count; n++) {
        struct suite suite = {0};
        *strrchr(entries[n]->d_name, '.') = 0;
        ok = ok && suite_read(&suite, verb_suites(), entries[n]->d_name, fault);
        if (ok)
            json_array_append_new(listing,
                                  json_pack("{s:o, s:I}", "suite", text_to_json(entries[n]->d_name),
                                            "problems", (json_int_t)suite.count));
        suite_free(&suite);
        free(entries[n]);
    }
    free(entries);
    if (ok) return listing;
    json_decref(listing);
    return NULL;
}

static json_t *list_traits(const struct options *options, struct fault *fault) {
    (void)options, (void)fault;
    json_t *listing = json_array();
    for (int r = 0; rules[r] != NULL; r++)
        json_array_append_new(listing,
                              json_pack("{s:s, s:s, s:s}", "trait", rules[r]->name, "words",
                                        rules[r]->words, "meaning", rules[r]->meaning));
    return listing;
}

static void add_device(json_t *listing, const char *device, bool here, const char *name,
                       const char *driver) {
    json_array_append_new(listing, json_pack("{s:s, s:s, s:o, s:o}", "device", device, "here",
                                             here ? "yes" : "no", "name", text_to_json(name),
                                             "driver", text_to_json(driver)));
}

/* As `run --device` takes them. */
static void add_accelerators(json_t *listing, const struct driver *driver) {
    struct machine_device found[MACHINE_DEVICES_MAX];
    struct fault fault = {0};
    char reason[320] = "";
    int64_t count = 0;
    if (!devices_find(driver->device, found, &count, verb_program(), &fault))
        snprintf(reason, sizeof reason, "%.300s", fault.text);
    else if (count == 0)
        snprintf(reason, sizeof reason, "%s %s", driver->library,
                 driver_present(driver) ? "finds none" : "cannot be loaded");
    for (int64_t n = 0; n < count; n++) {
        const struct target target = {.kind = driver->device, .index = found[n].index};
        char name[TARGET_NAME_BYTES];
        target_name(&target, name);
        add_device(listing, name, true, found[n].name, found[n].driver);
    }
    if (reason[0] != 0)
        add_device(listing, device_name(driver->device), false, driver->meaning, reason);
}

static json_t *list_devices(const struct options *options, struct fault *fault) {
    (void)options, (void)fault;
    json_t *listing = json_array();
    for (const struct driver *driver = drivers; driver->meaning != NULL; driver++) {
        if (driver->library == NULL)
            add_device(listing, device_name(driver->device), true, driver->meaning, "none needed");
        else
            add_accelerators(listing, driver);
    }
    return listing;
}

static json_t *list_fields(const struct options *options, struct fault *fault) {
    (void)options, (void)fault;
    const struct {
        const char *record;
        const struct row_field *fields;
    } records[] = {
        {"row", row_fields}, {"machine", machine_fields}, {"devices", machine_device_fields}};
    json_t *listing = json_array();
    for (size_t r = 0; r < sizeof records / sizeof records[0]; r++) {
        for (const struct row_field *field = records[r].fields; field->name != NULL; field++)
            json_array_append_new(
                listing, json_pack("{s:s, s:s, s:s, s:s}", "record", records[r].record, "field",
                                   field->name, "unit", field->unit, "meaning", field->meaning));
    }
    return listing;
}

static json_t *list_schema(const struct options *options, struct fault *fault) {
    (void)options, (void)fault;
    return run_schema();
}

static json_t *list_statuses(const struct options *options, struct fault *fault) {
    (void)options, (void)fault;
    static const char crash[] =
        "the kernel's process died (the reason names the signal, SIGSYS where it reached for "
        "processes that are not its own), or it cannot be loaded; or the process that judges it "
        "died, or the whole run twice";
    static const char uninitialised[] = "what scratch held before the launch changed the result; "
                                        "--sanitize, twin: read memory that nothing had written";
    static const char changed[] =
        "an input tensor, or the problem or call that the kernel was given, differs after the "
        "launch; or a tensor was written to";
    static const char read_beyond[] =
        "what must not be read changed the result, or was read beyond a tensor's ends";
    static const char oom[] = "memory for the kernel, or for judging it, was not to be had, or one "
                              "of the two was killed for it";
    static const char too_fast[] =
        "faster than the machine, than another clock says, or than where "
        "inputs or outputs changed: the work was not done";
    static const char *const meanings[STATUS_COUNT] = {
        [STATUS_PASS] = "right, and of the grade that the kernel promises",
        [STATUS_REFUSED] = "not taken: the reason says what the kernel does not declare",
        [STATUS_CRASH] = crash,
        [STATUS_HANG] = "a launch, or loading the kernel, took longer than the watchdog allows",
        [STATUS_OOM] = oom,
        [STATUS_FAIL_OOB_WRITE] = "a guard around a buffer was overwritten, or would have been",
        [STATUS_FAIL_INPUT_CHANGED] = changed,
        [STATUS_FAIL_UNWRITTEN] = "output elements still hold what was there before the launch",
        [STATUS_FAIL_OOB_READ] = read_beyond,
        [STATUS_FAIL_RACE] = "--sanitize, twin: accesses to memory without an order between them",
        [STATUS_FAIL_UNINITIALISED] = uninitialised,
        [STATUS_FAIL_NONDET] = "repeats differ although the kernel does not declare it",
        [STATUS_FAIL_NAN] = "NaN or infinity where the answer has none, or the reverse",
        [STATUS_FAIL_ACCURACY] = "beyond the hard gate, or a worse grade than promised",
        [STATUS_FAIL_LSE] = "the log-sum-exp is beyond its bound",
        [STATUS_UNSTABLE] = "right, but its timings spread too much to be trusted",
        [STATUS_INVALID_PHYSICS] = too_fast,
    };
    json_t *listing = json_array();
    for (int status = 0; status < STATUS_COUNT; status++)
        json_array_append_new(listing,
                              json_pack("{s:s, s:i, s:s}", "status", status_name(status), "exit",
                                        status_exit(status), "meaning", meanings[status]));
    return listing;
}

static json_t *list_data(const struct options *options, struct fault *fault) {
    (void)options, (void)fault;
    static const struct {
        const char *word;
        double number;
        const char *meaning;
    } kinds[] = {
#define X(symbol, word, std, meaning) {#word, std, meaning},
        PROBLEM_DATA(X)
#undef X
    };
    json_t *listing = json_array();
    for (int kind = 0; kind < DATA_COUNT; kind++)
        json_array_append_new(
            listing, json_pack("{s:s, s:o, s:s}", "data", kinds[kind].word, "number",
                               kinds[kind].number > 0 ? json_real(kinds[kind].number) : json_null(),
                               "meaning", kinds[kind].meaning));
    return listing;
}

/* Folders with a run in them, and runs that were committed without a folder. */
static bool find_baseline(glob_t *found, struct fault *fault) {
    static const char *const patterns[] = {"*/run.jsonl", "*.jsonl"};
    char pattern[4200];
    for (int n = 0; n < 2; n++) {
        snprintf(pattern, sizeof pattern, "%s/%s", verb_baseline(), patterns[n]);
        glob(pattern, n > 0 ? GLOB_APPEND : 0, NULL, found);
    }
    return found->gl_pathc > 0 ||
           fault_set(fault, FAULT_NOTHING, "no run is in '%s', and none was named",
                     verb_baseline());
}

static bool read_runs(struct run *runs, const char *const *paths, int64_t count,
                      struct fault *fault) {
    for (int64_t n = 0; n < count; n++) {
        if (!run_read(&runs[n], paths[n], fault)) return false;
    }
    return true;
}

static json_t *list_coverage(const struct options *options, struct fault *fault) {
    glob_t found = {0};
    const char *const *paths = options->globs;
    int64_t count = options->glob_count;
    struct coverage coverage;
    if (count == 0) {
        if (!find_baseline(&found, fault)) return NULL;
        paths = (const char *const *)found.gl_pathv;
        count = (int64_t)found.gl_pathc;
    }
    struct run *runs = calloc((size_t)count, sizeof *runs);
    bool well = runs != NULL || fault_set(fault, FAULT_OURS, "out of memory for runs");
    well = well && read_runs(runs, paths, count, fault) &&
           coverage_make(&coverage, runs, count, fault);
    for (int64_t n = 0; runs != NULL && n < count; n++) run_free(&runs[n]);
    free(runs);
    globfree(&found);
    if (!well) return NULL;
    return options->json ? coverage_to_json(&coverage) : coverage_to_listing(&coverage);
}

static void add_cell(struct table *table, const json_t *value) {
    if (json_is_integer(value))
        table_add(table, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        table_add(table, "%g", json_real_value(value));
    else
        table_add(table, "%s", json_is_string(value) ? json_string_value(value) : "");
}

static bool is_left_out(const char *const *names, const char *key) {
    while (*names != NULL && strcmp(*names, key) != 0) names++;
    return *names != NULL;
}

/* Columns leave out what the kernel's id says already. */
static void print_listing(const json_t *listing, bool markdown) {
    static const char *const all[] = {NULL};
    static const char *const told[] = {"device", "variant", "revision", NULL};
    json_t *first = json_array_get(listing, 0), *row, *value;
    const bool by_id = !markdown && json_object_get(first, "kernel") != NULL;
    const char *const *names = by_id ? told : all, *key;
    struct table table = {0};
    size_t index;
    json_object_foreach(first, key, value) {
        if (is_left_out(names, key)) continue;
        table_add(&table, "%s", key);
        table.columns++;
    }
    json_array_foreach(listing, index, row){json_object_foreach(first, key, value){
        if (!is_left_out(names, key)) add_cell(&table, json_object_get(row, key));
}
}
(markdown ? table_print_markdown : table_print)(stdout, &table);
table_free(&table);
}

static json_t *make_listing(const struct options *options, struct fault *fault) {
    const struct listing *listing = listing_named(options->what);
    if (listing != NULL) return listing->make(options, fault);
    const char *names[LISTING_COUNT];
    for (int n = 0; n < LISTING_COUNT; n++) names[n] = listings[n].name;
    const char *meant = nearest(options->what, names, LISTING_COUNT);
    fault_set(
        fault, FAULT_INPUT,
        "cannot list '%s': expected kernels, suites, traits, devices, fields, statuses, data, "
        "coverage or schema%s%s%s",
        options->what, meant != NULL ? "; did you mean '" : "", meant != NULL ? meant : "",
        meant != NULL ? "'?" : "");
    return NULL;
}

static int list(int argc, char **argv) {
    struct options options = {.globs = calloc((size_t)argc, sizeof *options.globs)};
    struct fault fault = {0};
    if (options.globs == NULL) {
        fault_set(&fault, FAULT_OURS, "out of memory");
        return fault_tell(&fault);
    }
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    json_t *listing = make_listing(&options, &fault);
    free(options.globs);
    if (listing == NULL) return fault_tell(&fault);
    if (options.json || !json_is_array(listing)) {
        print_json(stdout, listing, JSON_INDENT(2));
    } else {
        print_listing(listing, options.markdown);
        json_decref(listing);
    }
    return (int)fault.code;
}

const struct verb verb_list = {
    .name = "list",
    .arguments = "kernels|suites|traits|devices|fields|...",
    .summary = "what there is to run, and what words mean",
    .argp = &argp,
    .run = list,
};
