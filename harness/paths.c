/* Where things are: what the environment says, else the build tree this program was built in, else
 * the places it was installed to, which are found from the program's own place so that an
 * installation can be moved. */
#include "verb.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct variable variables[] = {
    {"ATTEST_CACHE", "folder of drawn fixtures and their answers; default: fixtures/cache"},
    {"ATTEST_SUITES", "folder of suites; default: the build's, or share/attest/suites"},
    {"ATTEST_KERNELS",
     "folders of kernels, joined by ':'; default: the build's, or lib/attest/kernels"},
    {"ATTEST_RUNS", "folder that runs go to; default: reports/runs, or attest-runs where you are"},
    {"ATTEST_BASELINE", "folder of committed runs (list coverage); default: reports/baseline"},
    {"ATTEST_PLANTED", "folder of selftest's wrong kernels; default: as of kernels"},
    {"ATTEST_PROBES", "folder of the libraries that measure GPUs; default: as of kernels"},
    {"ATTEST_PROGRAM", "the attest that is started as worker and reader; default: this one"},
    {"ATTEST_PYTHON", "the interpreter for kernels in Python; default: python3"},
    {"ATTEST_MODULES", "folder that Python's module attest is in; default: the source's, or "
                       "share/attest/python"},
    {"ATTEST_WORKER", "the worker as a shared library; default: as of kernels"},
    {"ATTEST_COMMIT", "what runs give as the commit; default: what git says of the tree"},
    {"ATTEST_LOAD_SECONDS",
     "how long a fixture file may take to read; default: 10, and 1 per 20 MB"},
    {"ATTEST_LIBCUDA", "the driver of NVIDIA GPUs; default: libcuda.so.1"},
    {"ATTEST_NVML", "the library that tells their clocks; default: libnvidia-ml.so.1"},
    {"ATTEST_LIBASCENDCL", "the runtime of Ascend NPUs; default: libascendcl.so"},
    {"ATTN_CPU_ISA", "portable, avx2 or avx512: what the CPU kernels use; default: the best here"},
    {"NO_COLOR", "set to anything: no colours on a terminal"},
    {"PATH", "where compute-sanitizer is looked for (run --sanitize)"},
    {"TMPDIR", "folder of what compute-sanitizer writes; default: /tmp"},
    {0},
};

const char *verb_program(void) {
    static char path[PATH_MAX];
    const char *given = getenv("ATTEST_PROGRAM");
    if (given != NULL && *given != '\0') return given;
    if (path[0] == '\0') {
        const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
        path[length > 0 ? length : 0] = '\0';
    }
    return path;
}

static bool in_build_tree(const char *program) {
    const size_t length = strlen(ATTEST_BINARY_DIR);
    return strncmp(program, ATTEST_BINARY_DIR, length) == 0 && program[length] == '/';
}

/* `installed` is relative to the program's folder. */
static const char *place(const char *variable, const char *built, const char *installed,
                         char path[PATH_MAX]) {
    const char *given = getenv(variable), *program = verb_program();
    if (given != NULL && *given != '\0') return given;
    if (in_build_tree(program)) return built;
    const char *slash = strrchr(program, '/');
    const int folder = slash != NULL ? (int)(slash - program) : 0;
    snprintf(path, PATH_MAX, "%.*s/%s", folder, program, installed);
    return path;
}

const char *verb_suites(void) {
    static char path[PATH_MAX];
    return place("ATTEST_SUITES", ATTEST_SOURCE_DIR "/fixtures/suites",
                 ATTEST_INSTALLED_DATA "/attest/suites", path);
}

const char *verb_kernels(void) {
    static char path[PATH_MAX];
    return place("ATTEST_KERNELS", ATTEST_BINARY_DIR "/kernels",
                 ATTEST_INSTALLED_LIB "/attest/kernels", path);
}

const char *verb_planted(void) {
    static char path[PATH_MAX];
    return place("ATTEST_PLANTED", ATTEST_BINARY_DIR "/planted",
                 ATTEST_INSTALLED_LIB "/attest/planted", path);
}

const char *verb_probes(void) {
    static char path[PATH_MAX];
    return place("ATTEST_PROBES", ATTEST_BINARY_DIR "/probes",
                 ATTEST_INSTALLED_LIB "/attest/probes", path);
}

const char *verb_modules(void) {
    static char path[PATH_MAX];
    return place("ATTEST_MODULES", ATTEST_SOURCE_DIR "/kernels/python",
                 ATTEST_INSTALLED_DATA "/attest/python", path);
}

const char *verb_worker(void) {
    static char path[PATH_MAX];
    return place("ATTEST_WORKER", ATTEST_BINARY_DIR "/harness/libattest-worker.so",
                 ATTEST_INSTALLED_LIB "/attest/libattest-worker.so", path);
}

const char *verb_python(void) {
    const char *given = getenv("ATTEST_PYTHON");
    return given != NULL && *given != '\0' ? given : "python3";
}

const char *verb_baseline(void) {
    const char *given = getenv("ATTEST_BASELINE");
    return given != NULL && *given != '\0' ? given : ATTEST_SOURCE_DIR "/reports/baseline";
}

/* An installed program leaves runs where the user is. */
const char *verb_runs(void) {
    const char *given = getenv("ATTEST_RUNS");
    if (given != NULL && *given != '\0') return given;
    return in_build_tree(verb_program()) ? ATTEST_SOURCE_DIR "/reports/runs" : "attest-runs";
}
