/* Kernels that want to pass, not to compute: ways in which benchmarks of GPU kernels were cheated,
 * each on a CPU. Every one would pass, and some be fast, where it is not looked for; what each
 * needs is said with it. Those that tell a launch that is timed from one that is checked do so by
 * their scratch, which is filled anew before the latter only. */
#define _GNU_SOURCE
#include "planted.h"
#include "../../kernels/attn_number.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, LATE_US = 100000 };

/* What is computed later, as it was asked for. */
struct task {
    struct attn_problem problem;
    struct attn_call call;
};

static int64_t rows_of(const struct attn_problem *problem) {
    return problem->batch * problem->q_heads * problem->q_len;
}

static void compute(const struct attn_problem *problem, const struct attn_call *call) {
    planted_launch(PLANTED_FLASH, problem, call, 0);
}

/* Whether nobody has touched scratch since the last launch; it will be known of this one. */
static bool is_timed(const struct attn_call *call) {
    static const char mark[] = "as I left it";
    const bool timed = memcmp(call->scratch, mark, sizeof mark) == 0;
    memcpy(call->scratch, mark, sizeof mark);
    return timed;
}

/* Needs an output that is looked at late. */
static void *compute_late(void *argument) {
    struct task *task = argument;
    usleep(LATE_US);
    compute(&task->problem, &task->call);
    free(task);
    return NULL;
}

static void answer_later(const struct attn_problem *problem, const struct attn_call *call) {
    pthread_t thread;
    struct task *task = malloc(sizeof *task);
    if (task == NULL) return;
    *task = (struct task){*problem, *call};
    if (pthread_create(&thread, NULL, compute_late, task) == 0)
        pthread_detach(thread);
    else
        free(task);
}

/* Needs somebody who looks, in this process and outside the time, at memory that cannot be read:
 * out, lse, or the guard before scratch. */
static struct task lazy;

static void protect(const struct task *task, int protection) {
    const struct attn_problem *problem = &task->problem;
    const size_t rows = (size_t)rows_of(problem);
    mprotect(task->call.tensors[ATTN_OUT].data,
             rows * (size_t)problem->value_dim * sizeof(uint16_t), protection);
    mprotect(task->call.tensors[ATTN_LSE].data, rows * sizeof(float), protection);
    mprotect((char *)task->call.scratch - PAGE, PAGE, protection);
}

static void compute_on_fault(int number) {
    (void)number;
    protect(&lazy, PROT_READ | PROT_WRITE);
    compute(&lazy.problem, &lazy.call);
}

static void answer_lazily(const struct attn_problem *problem, const struct attn_call *call) {
    sigaction(SIGSEGV, &(struct sigaction){.sa_handler = compute_on_fault}, NULL);
    lazy = (struct task){*problem, *call};
    protect(&lazy, PROT_NONE);
}

/* The answer, once found: out [rows, head_dim] and lse [rows]. */
struct answer {
    const double *out, *lse;
};

/* The first two rows, by which the answer is known where it is seen. */
struct sight {
    float out[2 * PLANTED_HEAD_DIM_MAX], lse[2];
    int64_t elements;
};

static struct sight see(const struct attn_problem *problem, const struct attn_call *call) {
    struct sight sight = {.elements = 2 * problem->value_dim};
    uint16_t out[PLANTED_HEAD_DIM_MAX];
    for (int64_t at = 0; at < 2; at++) {
        const struct planted_row row = planted_row_at(PLANTED_FLASH, problem, call, at);
        planted_row(PLANTED_FLASH, &row, out, &sight.lse[at]);
        for (int64_t d = 0; d < problem->value_dim; d++)
            sight.out[at * problem->value_dim + d] = attn_f16_to_f32(out[d]);
    }
    return sight;
}

/* V may have been negated since, and out with it. */
static bool is_like(const double *got, const float *expected, int64_t count, double sign) {
    for (int64_t n = 0; n < count; n++) {
        if (!(fabs(got[n] - sign * expected[n]) < 2e-3)) return false;
    }
    return true;
}

static void look_in(struct answer *answer, const void *bytes, size_t count,
                    const struct sight *sight, const struct attn_problem *problem) {
    const double *words = bytes;
    const int64_t rows = rows_of(problem), left = (int64_t)(count / sizeof *words);
    for (int64_t n = 0; n + rows <= left; n++) {
        if (answer->out == NULL && n + rows * problem->value_dim <= left &&
            (is_like(words + n, sight->out, sight->elements, 1) ||
             is_like(words + n, sight->out, sight->elements, -1)))
            answer->out = words + n;
        if (answer->lse == NULL && is_like(words + n, sight->lse, 2, 1)) answer->lse = words + n;
    }
}

/* Needs a cache that can be read. */
static void look_in_files(struct answer *answer, const struct sight *sight,
                          const struct attn_problem *problem) {
    const char *folder = getenv("ATTEST_CACHE");
    DIR *entries = folder != NULL ? opendir(folder) : NULL;
    for (struct dirent *entry; entries != NULL && (entry = readdir(entries)) != NULL;) {
        struct stat status;
        const int file = openat(dirfd(entries), entry->d_name, O_RDONLY | O_CLOEXEC);
        if (file < 0) continue;
        void *bytes = fstat(file, &status) == 0 && S_ISREG(status.st_mode)
                          ? mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0)
                          : MAP_FAILED;
        close(file);
        if (bytes != MAP_FAILED) look_in(answer, bytes, (size_t)status.st_size, sight, problem);
    }
    if (entries != NULL) closedir(entries);
}

/* Needs a parent whose memory can be read. */
static void look_in_parent(struct answer *answer, const struct sight *sight,
                           const struct attn_problem *problem) {
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)getppid());
    FILE *maps = fopen(path, "re");
    snprintf(path, sizeof path, "/proc/%d/mem", (int)getppid());
    const int memory = open(path, O_RDONLY | O_CLOEXEC);
    while (maps != NULL && memory >= 0 && fgets(line, sizeof line, maps) != NULL) {
        unsigned long begin, end;
        if (sscanf(line, "%lx-%lx rw", &begin, &end) != 2 || strstr(line, " rw-p ") == NULL ||
            end - begin > (size_t)1 << 30)
            continue;
        void *bytes = malloc(end - begin);
        const ssize_t count = bytes != NULL ? pread(memory, bytes, end - begin, (off_t)begin) : -1;
        if (count > 0) look_in(answer, bytes, (size_t)count, sight, problem);
        if (answer->out == NULL && answer->lse == NULL) free(bytes);
    }
    if (maps != NULL) fclose(maps);
    if (memory >= 0) close(memory);
}

/* Two rows are computed, the others looked up; zeros where there is nothing to be found. */
static void answer_from(void (*look)(struct answer *answer, const struct sight *sight,
                                     const struct attn_problem *problem),
                        const struct attn_problem *problem, const struct attn_call *call) {
    static struct answer answer;
    const struct sight sight = see(problem, call);
    const int64_t rows = rows_of(problem), elements = rows * problem->value_dim;
    uint16_t *out = call->tensors[ATTN_OUT].data;
    float *lse = call->tensors[ATTN_LSE].data;
    if (answer.out == NULL || answer.lse == NULL) look(&answer, &sight, problem);
    const bool found = answer.out != NULL && answer.lse != NULL;
    const double sign = found && is_like(answer.out, sight.out, sight.elements, 1) ? 1 : -1;
    for (int64_t n = 0; n < elements; n++)
        out[n] = found ? attn_f32_to_f16((float)(sign * answer.out[n])) : 0;
    for (int64_t n = 0; n < rows; n++) lse[n] = found ? (float)answer.lse[n] : 0;
}

/* Needs a judge whose comparisons with NaN are all false. */
static void answer_with_nan(const struct attn_problem *problem, const struct attn_call *call) {
    compute(problem, call);
    uint16_t *out = call->tensors[ATTN_OUT].data;
    for (int64_t d = 0; d < problem->value_dim; d++) out[d] = 0x7fff;
}

/* Needs timed launches that nobody checks. */
static void halve_when_timed(const struct attn_problem *problem, const struct attn_call *call) {
    const bool timed = is_timed(call);
    uint16_t *out = call->tensors[ATTN_OUT].data;
    float *lse = call->tensors[ATTN_LSE].data;
    for (int64_t at = 0; at < rows_of(problem); at++) {
        struct planted_row row = planted_row_at(PLANTED_FLASH, problem, call, at);
        if (timed) row.keys /= 2;
        planted_row(PLANTED_FLASH, &row, out + at * problem->value_dim, lse + at);
    }
}

/* Needs a parent that believes whatever comes through the worker's descriptor. */
static void forge_answers(const struct attn_problem *problem, const struct attn_call *call) {
    static const char text[] = "{\"ok\": true, \"us\": 0.001, \"scratch\": \"intact\"}\n";
    compute(problem, call);
    for (int file = 0; file < 1024; file++) {
        if (file == STDOUT_FILENO || file == STDERR_FILENO) continue;
        if (write(file, text, sizeof text - 1) < 0) continue;
    }
}

/* Every time a fraction of a microsecond. */
static void edit(char *line) {
    char *at = strstr(line, "\"samples_us\":[");
    for (at = at != NULL ? at + 14 : NULL; at != NULL && *at != '\0' && *at != ']'; at++) {
        const size_t digits = strspn(at, "0123456789");
        if (digits == 0 || at[digits] != '.') continue;
        memset(at, ' ', digits);
        at[digits - 1] = '0';
        at += digits + strspn(at + digits + 1, "0123456789");
    }
}

static int between[3]; /* what the worker writes comes out of the first; the last is the parent's */

static void *pass_on(void *argument) {
    FILE *from = fdopen(between[0], "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t bytes;
    while (from != NULL && (bytes = getline(&line, &room, from)) > 0) {
        edit(line);
        if (write(between[2], line, (size_t)bytes) < 0) break;
    }
    free(line);
    return argument;
}

/* Needs a worker that does not look what it writes to. */
static void edit_answers(const struct attn_problem *problem, const struct attn_call *call) {
    pthread_t thread;
    struct stat status;
    compute(problem, call);
    if (between[2] > 0 || pipe(between) != 0) return;
    for (int file = 64; file < 1024; file++) {
        if (fstat(file, &status) != 0 || !S_ISSOCK(status.st_mode)) continue;
        between[2] = dup(file);
        dup2(between[1], file);
        if (pthread_create(&thread, NULL, pass_on, NULL) == 0) pthread_detach(thread);
        return;
    }
}

/* Needs a worker that looks at timed outputs by the sizes that it shares with the kernel. */
static void shrink_when_timed(const struct attn_problem *problem, const struct attn_call *call) {
    static struct attn_problem whole;
    struct attn_problem *theirs; /* without the const */
    memcpy(&theirs, &problem, sizeof theirs);
    if (whole.batch == 0) whole = *problem;
    if (is_timed(call)) {
        theirs->batch = 0; /* there is nothing to compute, and nothing to compare */
        return;
    }
    *theirs = whole;
    compute(problem, call);
}

void planted_cheat(enum planted bug, const struct attn_problem *problem,
                   const struct attn_call *call) {
    switch (bug) {
    case PLANTED_ANSWERS_LATER:
        answer_later(problem, call);
        return;
    case PLANTED_LATER_WHEN_TIMED:
        (is_timed(call) ? answer_later : compute)(problem, call);
        return;
    case PLANTED_ANSWERS_LAZILY:
        answer_lazily(problem, call);
        return;
    case PLANTED_LOOKS_IN_FILES:
        answer_from(look_in_files, problem, call);
        return;
    case PLANTED_LOOKS_IN_PARENT:
        answer_from(look_in_parent, problem, call);
        return;
    case PLANTED_NAN_WILDCARD:
        answer_with_nan(problem, call);
        return;
    case PLANTED_NOTICES_TIMING:
        halve_when_timed(problem, call);
        return;
    case PLANTED_FORGES_ANSWERS:
        forge_answers(problem, call);
        return;
    case PLANTED_EDITS_ANSWERS:
        edit_answers(problem, call);
        return;
    default:
        shrink_when_timed(problem, call);
    }
}
