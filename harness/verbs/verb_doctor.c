/* attest doctor: what this machine has, what it lacks, and what to do about it. Each check is one
 * function that adds lines; only those that keep attest from running decide the exit status. */
#define _GNU_SOURCE
#include "../report/table.h"
#include "../trial/client.h"
#include "../trial/machine.h"
#include "../trial/obtain.h"
#include "../trial/trial.h"
#include "../verb.h"
#include "../worker/driver.h"
#include "../worker/host.h"
#include "../worker/protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { OPTION_JSON = 256, FREE_GIB_MIN = 4, DETAIL_AT = 20 };

static const struct argp_option argp_options[] = {
    {"json", OPTION_JSON, NULL, 0, "an array of checks", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    bool *json = state->input;
    switch (key) {
    case OPTION_JSON:
        *json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "doctor takes no arguments: '%s'", argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .doc = "Looks at everything attest needs and says what is missing and what to do: the machine, "
           "the cache, libraries, kernels, suites, drivers, what disturbs timing, and one small "
           "problem from its line to a verdict. Exit status 4 if attest cannot run here.",
};

enum state { OK, ABSENT /* not needed */, WARNING, MISSING };

static void note(json_t *checks, enum state state, const char *what, const char *advice,
                 const char *format, ...) __attribute__((format(printf, 5, 6)));

/* `advice` is NULL when there is nothing to do. */
static void note(json_t *checks, enum state state, const char *what, const char *advice,
                 const char *format, ...) {
    static const char *const names[] = {"ok", "absent", "warning", "missing"};
    char *detail = NULL;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&detail, format, arguments) < 0) detail = NULL;
    va_end(arguments);
    json_array_append_new(checks,
                          json_pack("{s:s, s:s, s:o, s:s}", "state", names[state], "what", what,
                                    "detail", text_to_json(detail != NULL ? detail : ""), "advice",
                                    advice != NULL ? advice : ""));
    free(detail);
}

static const char *read_setting(const char *path, char text[128]) {
    FILE *file = fopen(path, "r");
    text[0] = 0;
    if (file != NULL && fgets(text, 128, file) == NULL) text[0] = 0;
    if (file != NULL) fclose(file);
    text[strcspn(text, "\n")] = 0;
    return text;
}

static void check_machine(json_t *checks, const struct machine *machine) {
    note(checks, OK, "CPU", NULL, "%s, %s", machine->cpu, machine->isa);
    note(checks, OK, "cores", NULL, "%lld", (long long)machine->cores);
    const double gib = 1 << 30, free_gib = (double)host_memory_free() / gib;
    note(checks, free_gib < FREE_GIB_MIN ? WARNING : OK, "memory",
         free_gib < FREE_GIB_MIN ? "the seed suite at full size takes up to 4 GiB" : NULL,
         "%s, %s free", number_bytes(machine->memory_bytes).text,
         number_bytes(free_gib * gib).text);
}

/* OpenBLAS that is older than the CPU falls back to its Haswell kernels; Zen's are the same. */
static void check_libraries(json_t *checks, const struct machine *machine) {
    note(checks, OK, "HDF5", NULL, "%s", machine->hdf5);
    const bool avx2_kernels =
        strstr(machine->blas, "Haswell") != NULL || strstr(machine->blas, "Zen") != NULL;
    const bool slow = avx2_kernels && strstr(machine->isa, "avx512") != NULL;
    note(checks, slow ? WARNING : OK, "OpenBLAS",
         slow ? "it does not use this CPU's AVX-512: OPENBLAS_CORETYPE=SKYLAKEX makes answers and "
                "the GEMM ceilings faster"
              : NULL,
         "%s", machine->blas);
}

/* Shortens a path to the closest folder that exists. */
static void climb(char *path) {
    while (access(path, F_OK) != 0) {
        char *slash = strrchr(path, '/');
        if (slash == NULL)
            strcpy(path, ".");
        else
            slash[slash == path] = 0;
    }
}

static void check_cache(json_t *checks) {
    char path[4096], existing[4096];
    fixture_cache_path("line", path);
    *strrchr(path, '/') = 0;
    memcpy(existing, path, sizeof existing);
    climb(existing);
    char probe[4096 + 16];
    struct statvfs disk;
    snprintf(probe, sizeof probe, "%s/.doctor-XXXXXX", existing);
    const int file = mkstemp(probe); /* access() says yes to root, wherever it is */
    if (file < 0 || statvfs(existing, &disk) != 0) {
        note(checks, MISSING, "cache", "set ATTEST_CACHE to a folder that can be written",
             "%s cannot be made: %s", path, strerror(errno));
        return;
    }
    close(file);
    unlink(probe);
    const double free_gib = (double)disk.f_bavail * (double)disk.f_frsize / (1 << 30);
    note(checks, free_gib < FREE_GIB_MIN ? WARNING : OK, "cache",
         free_gib < FREE_GIB_MIN ? "the seed suite takes 2 GiB: set ATTEST_CACHE to a larger disk"
                                 : NULL,
         "%s, %s free", path, number_bytes(free_gib * (1 << 30)).text);
}

static void check_kernels(json_t *checks, struct plugin_list *kernels) {
    struct fault fault = {0};
    const bool scanned = plugin_scan(kernels, verb_program(), verb_kernels(), NULL, 0, &fault);
    const bool some = kernels->left_out > 0;
    note(checks,
         kernels->count == 0 ? MISSING
         : some              ? WARNING
                             : OK,
         "kernels",
         kernels->count == 0 ? "build them, or set ATTEST_KERNELS to their folder"
         : some              ? "`attest list kernels` and their names tell why"
                             : NULL,
         "%lld in %s%s%s", (long long)kernels->count, verb_kernels(),
         !scanned ? ": "
         : some   ? "; cannot be loaded: "
                  : "",
         !scanned ? fault.text
         : some   ? kernels->left_out_names
                  : "");
}

static void check_suites(json_t *checks, struct suite *smoke) {
    struct fault fault = {0};
    if (suite_read(smoke, verb_suites(), "smoke", &fault) && smoke->count > 0)
        note(checks, OK, "suites", NULL, "%s; smoke has %s", verb_suites(),
             number_count(smoke->count, "problem").text);
    else
        note(checks, MISSING, "suites", "set ATTEST_SUITES to their folder", "%s",
             fault.text[0] ? fault.text : "smoke has no problems");
}

static void check_fence(json_t *checks) {
    const bool stands = client_hides();
    note(checks, stands ? OK : WARNING, "fence",
         stands ? NULL
                : "kernels that look for answers will find them: judge none of strangers' here",
         "%s",
         stands ? "kernels reach neither answers nor runs nor this process's memory"
                : "the system cannot keep answers from kernels (landlock: Linux 5.13, not "
                  "forbidden by a container, folders on the way to the cache listable)");
}

static void check_drivers(json_t *checks) {
    for (const struct driver *driver = drivers; driver->meaning != NULL; driver++) {
        if (driver->library == NULL) continue;
        const bool present = driver_present(driver);
        note(checks, present ? OK : ABSENT, device_name(driver->device), NULL, "%s %s",
             driver->library, present ? "loads" : "is not here: no such device, or no driver");
    }
}

static void check_timing(json_t *checks) {
    char text[128];
    read_setting("/sys/devices/system/clocksource/clocksource0/current_clocksource", text);
    const bool slow_clock = strcmp(text, "hpet") == 0 || strcmp(text, "acpi_pm") == 0;
    note(checks, slow_clock ? WARNING : OK, "clock",
         slow_clock ? "reading it takes microseconds: short kernels are timed too long" : NULL,
         "%s", text[0] ? text : "not readable");
    read_setting("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", text);
    const bool saves = text[0] != 0 && strcmp(text, "performance") != 0;
    note(checks,
         saves     ? WARNING
         : text[0] ? OK
                   : ABSENT,
         "governor", saves ? "cpupower frequency-set -g performance makes timings steadier" : NULL,
         "%s", text[0] ? text : "not readable: the host decides, or the firmware");
    read_setting("/sys/kernel/mm/transparent_hugepage/enabled", text);
    note(checks, text[0] ? OK : ABSENT, "huge pages", NULL, "%s", text[0] ? text : "not readable");
}

/* From a line to a verdict, with the first kernel that takes the first smoke problem. */
static void check_trial(json_t *checks, const struct plugin_list *kernels,
                        const struct suite *smoke) {
    const char *const advice = "`attest run -s smoke` shows more";
    const char *line = smoke->lines[0];
    struct fault fault = {0};
    struct fixture fixture = {0};
    struct row row = {0};
    struct trial_options trial = trial_defaults;
    trial.program = verb_program();
    trial.time = false;
    const struct obtain_options obtain = {.program = verb_program(), .uncached = true};
    const struct plugin *kernel = NULL;
    bool spoilt, ok = obtain_line(&fixture, line, &obtain, &fault);
    for (int64_t n = 0; ok && kernel == NULL && n < kernels->count; n++) {
        char reason[256];
        if (plugin_refusal(&kernels->plugins[n].kernel, &fixture.problem.attn, reason) == NULL)
            kernel = &kernels->plugins[n];
    }
    ok = ok && kernel != NULL && trial_run(&row, kernel, &fixture, &trial, &spoilt, &fault);
    const bool right = ok && status_of(&row) == STATUS_PASS;
    note(checks, right ? OK : MISSING, "trial", right ? NULL : advice, "%s on %s: %s %s",
         kernel != NULL ? kernel->id : "no kernel", line, row.status, ok ? row.reason : fault.text);
    fixture_free(&fixture);
}

static bool able(const json_t *checks) {
    size_t index;
    const json_t *check;
    json_array_foreach(checks, index, check) {
        if (strcmp(json_string_value(json_object_get(check, "state")), "missing") == 0)
            return false;
    }
    return true;
}

static void print_checks(const json_t *checks) {
    size_t index;
    const json_t *check;
    json_array_foreach(checks, index, check) {
        const char *advice = json_string_value(json_object_get(check, "advice"));
        printf("%-8s %-10s ", json_string_value(json_object_get(check, "state")),
               json_string_value(json_object_get(check, "what")));
        print_words(stdout, DETAIL_AT, DETAIL_AT, "%s",
                    json_string_value(json_object_get(check, "detail")));
        if (*advice) print_words(stdout, 0, DETAIL_AT, "%*s-> %s", DETAIL_AT, "", advice);
    }
}

static int doctor(int argc, char **argv) {
    bool json = false;
    argp_parse(&argp, argc, argv, 0, NULL, &json);
    struct machine machine = {0};
    struct plugin_list kernels = {0};
    struct suite smoke = {0};
    json_t *checks = json_array();
    machine_describe(&machine, argc, argv);
    check_machine(checks, &machine);
    check_libraries(checks, &machine);
    check_cache(checks);
    check_kernels(checks, &kernels);
    check_suites(checks, &smoke);
    check_drivers(checks);
    check_fence(checks);
    check_timing(checks);
    if (able(checks)) check_trial(checks, &kernels, &smoke);
    if (json) {
        print_json(stdout, json_incref(checks), JSON_INDENT(2));
    } else {
        print_checks(checks);
    }
    const bool well = able(checks);
    json_decref(checks);
    suite_free(&smoke);
    plugin_list_free(&kernels);
    return well ? 0 : FAULT_INPUT;
}

const struct verb verb_doctor = {
    .name = "doctor",
    .arguments = "",
    .summary = "what this machine has and lacks",
    .argp = &argp,
    .run = doctor,
};
