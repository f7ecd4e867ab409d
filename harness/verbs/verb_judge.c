/* attest judge: outputs that were computed elsewhere, as the outputs of kernels are judged. */
#include "../record/exchange.h"
#include "../record/samples.h"
#include "../report/print.h"
#include "../session/select.h"
#include "../session/show.h"
#include "../session/writer.h"
#include "../trial/ceilings.h"
#include "../trial/interpreter.h"
#include "../trial/machine.h"
#include "../trial/obtain.h"
#include "../trial/trial.h"
#include "../verb.h"
#include "../../fixtures/schema.h"
#include "../../oracle/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    OPTION_JSON = 256,
    OPTION_OUT,
    OPTION_P_DTYPE,
    OPTION_GRADE,
    OPTION_LSE_GRADE,
    OPTION_LSE_BASE_2,
    OPTION_NAME,
    OPTION_PYTHON
};

/* Of an output in HDF5. */
enum { READ_SECONDS = 120 };
static const int64_t chunk_bytes_max = (int64_t)1 << 30;

/* An output, and what it should be of. */
struct source {
    const char *path;
    const struct attn_problem *problem;
};

struct options {
    bool json, lse_base_2;
    int threads;
    const char *out, *name, *fixture;
    int32_t p_dtype;
    char grade, lse_grade;
    const char **outputs;
    int64_t count;
};

static const struct argp_option argp_options[] = {
    {"grade", OPTION_GRADE, "GRADE", 0, "the accuracy that is asked of out: A (default), B, C", 0},
    {"lse-grade", OPTION_LSE_GRADE, "GRADE", 0, "and of lse: A (default), B", 0},
    {"lse-base-2", OPTION_LSE_BASE_2, NULL, 0, "lse is to base 2, not natural", 0},
    {"p-dtype", OPTION_P_DTYPE, "DTYPE", 0,
     "what P = softmax was rounded to before P V: input (default), f32, f16, bf16", 0},
    {"name", OPTION_NAME, "NAME", 0, "who computed it; default: the file's name", 0},
    {"out", OPTION_OUT, "DIR", 0, "where the run goes; default reports/runs/<time>-<commit>-judged",
     0},
    {"python", OPTION_PYTHON, "PROGRAM", 0,
     "the interpreter that reads npy and npz; default $ATTEST_PYTHON, then python3", 0},
    {"threads", 't', "N", 0, "how many threads compute (default: one a core)", 0},
    {"json", OPTION_JSON, NULL, 0, "print the rows as JSON lines", 0},
    {0},
};

static char read_grade(const char *text, char most, const char *option, struct argp_state *state) {
    if (text[0] < 'A' || text[0] > most || text[1] != '\0')
        argp_error(state, "--%s takes A to %c, not '%s'", option, most, text);
    return text[0];
}

static int32_t read_dtype(const char *text, struct argp_state *state) {
    enum attn_dtype dtype = ATTN_INPUT;
    if (strcmp(text, "input") != 0 && (!dtype_parse(&dtype, text) || dtype > ATTN_BF16))
        argp_error(state, "--p-dtype takes input, f32, f16 or bf16, not '%s'", text);
    return dtype;
}

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case OPTION_JSON:
        options->json = true;
        return 0;
    case OPTION_OUT:
        options->out = argument;
        return 0;
    case OPTION_NAME:
        options->name = argument;
        return 0;
    case OPTION_PYTHON:
        interpreter_set(argument, verb_modules(), verb_worker());
        return 0;
    case OPTION_GRADE:
        options->grade = read_grade(argument, 'C', "grade", state);
        return 0;
    case OPTION_LSE_GRADE:
        options->lse_grade = read_grade(argument, 'B', "lse-grade", state);
        return 0;
    case OPTION_LSE_BASE_2:
        options->lse_base_2 = true;
        return 0;
    case OPTION_P_DTYPE:
        options->p_dtype = read_dtype(argument, state);
        return 0;
    case 't':
        options->threads = (int)verb_count(argument, 1, VERB_THREADS_MAX, "threads", state);
        return 0;
    case ARGP_KEY_ARG:
        if (options->fixture == NULL)
            options->fixture = argument;
        else
            options->outputs[options->count++] = argument;
        return 0;
    case ARGP_KEY_END:
        if (options->count == 0)
            argp_error(state, "expected a fixture, or a problem line, and outputs to it");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .args_doc = "FIXTURE|LINE OUTPUT...",
    .doc =
        "Judges outputs that were computed elsewhere, on any machine, against the exact answer: "
        "out "
        "[B, Hq, Sq, D] of q's dtype, or E4M3 beside out_scale, and, if it is there, lse [B, Hq, "
        "Sq] f32, natural unless "
        "--lse-base-2. OUTPUT is "
        "safetensors, npz, HDF5 (arrays named so) or npy (out alone); FIXTURE is a fixture file, "
        "safetensors of one (attest convert), or the line of one that is drawn."
        "\vRows, statuses, reports and diagnoses are those of `attest run`. What takes a kernel to "
        "launch is not shown, and said so: whether it reads what it must not, repeats itself, or "
        "is "
        "fast. bf16 in npy and npz is uint16, E4M3 uint8.",
};

/* A file may be named after the line that it is of. */
static bool is_line(const char *fixture) {
    return !text_ends_with(fixture, ".safetensors") && select_is_line(fixture);
}

/* A file of ours beside others' that goes when it was read. */
static bool make_temporary(char path[PATH_MAX], const char *end, struct fault *fault) {
    const char *folder = getenv("TMPDIR");
    snprintf(path, PATH_MAX, "%s/attest-XXXXXX%s",
             folder != NULL && *folder != '\0' ? folder : "/tmp", end);
    const int file = mkstemps(path, (int)strlen(end));
    if (file >= 0) close(file);
    return file >= 0 ||
           fault_set(fault, FAULT_INPUT, "cannot make '%s': %s", path, strerror(errno));
}

/* Reading formats of Python's is Python's. */
static bool run_python(const char *module, const char *from, const char *to, struct fault *fault) {
    extern char **environ;
    pid_t pid;
    int status = 0;
    const char *const *command = interpreter_command();
    char *const words[] = {(char *)command[0], "-m",       (char *)module,
                           (char *)from,       (char *)to, NULL};
    const int error = posix_spawnp(&pid, command[0], NULL, NULL, words, environ);
    if (error != 0)
        return fault_set(fault, FAULT_INPUT, "cannot start '%s' to read '%.400s': %s", command[0],
                         from, strerror(error));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    return (WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
           fault_set(fault, FAULT_INPUT, "'%.400s' cannot be read", from);
}

static void print_shape(char text[128], const int64_t *shape, int rank) {
    size_t used = (size_t)snprintf(text, 128, "[");
    for (int n = 0; n < rank && used < 128; n++)
        used += (size_t)snprintf(text + used, 128 - used, "%s%lld", n > 0 ? ", " : "",
                                 (long long)shape[n]);
    if (used < 127) snprintf(text + used, 128 - used, "]");
}

/* Whether the array is what the problem's tensor is; the bits of bf16 may be called 16-bit
 * integers, and those of E4M3 signed ones. */
static bool check(const struct tensors_entry *entry, const struct attn_problem *problem,
                  enum attn_slot slot, const char *path, struct fault *fault) {
    struct attn_tensor expected;
    char got[128], wanted[128];
    if (!tensor_shape(&expected, problem, slot, fault)) return false;
    const enum store_type type = entry->array.type;
    const bool bits = (expected.dtype == ATTN_BF16 && (type == STORE_U16 || type == STORE_I16)) ||
                      (expected.dtype == ATTN_E4M3 && type == STORE_I8);
    print_shape(got, entry->array.shape, entry->array.rank);
    print_shape(wanted, expected.shape, expected.rank);
    if (type != schema_type((enum attn_dtype)expected.dtype) && !bits)
        return fault_set(
            fault, FAULT_INPUT, "'%.300s': %s is of type %s, expected %s, the dtype of %s", path,
            entry->name, entry->array.type_text, dtype_name((enum attn_dtype)expected.dtype),
            slot != ATTN_OUT              ? "every lse"
            : expected.dtype == ATTN_E4M3 ? "an output with out_scale"
            : type == STORE_U8            ? "q, or out_scale beside the inputs of one of 8 bits"
                                          : "q");
    return strcmp(got, wanted) == 0 ||
           fault_set(fault, FAULT_INPUT, "'%.300s': %s is %s, expected %s: %s", path, entry->name,
                     got, wanted, slot == ATTN_OUT ? "[B, Hq, Sq, D]" : "[B, Hq, Sq]");
}

/* Out and lse of a stranger's HDF5, which are read once they are what they should be. */
static bool copy_array(struct tensors *tensors, void **data, store_id file, enum attn_slot slot,
                       const struct source *source, struct fault *fault) {
    struct tensors_entry entry = {.bytes = 0};
    int64_t chunk_bytes = 0;
    snprintf(entry.name, sizeof entry.name, "%s", slot_name(slot));
    if (!store_has(file, entry.name)) return true;
    STORE_HELD dataset = store_inspect(file, entry.name, &entry.array, &chunk_bytes, fault);
    if (dataset < 0 || !check(&entry, source->problem, slot, source->path, fault)) return false;
    if (chunk_bytes > chunk_bytes_max)
        return fault_set(fault, FAULT_INPUT, "'%.300s': %s has chunks of %lld bytes, at most %lld",
                         source->path, entry.name, (long long)chunk_bytes,
                         (long long)chunk_bytes_max);
    int64_t bytes = store_type_bytes(entry.array.type);
    for (int n = 0; n < entry.array.rank; n++) bytes *= entry.array.shape[n];
    *data = malloc((size_t)bytes + 1);
    if (*data == NULL) return fault_set(fault, FAULT_OURS, "out of memory for an output");
    return store_read(dataset, entry.name, *data, fault) &&
           tensors_add(tensors, entry.name, &entry.array, *data);
}

static bool copy_arrays(const struct source *source, const char *to, struct fault *fault) {
    struct tensors tensors = {.count = 0};
    void *data[2] = {NULL, NULL};
    STORE_HELD file = store_open(source->path, fault);
    bool well = file >= 0 && copy_array(&tensors, &data[0], file, ATTN_OUT, source, fault) &&
                copy_array(&tensors, &data[1], file, ATTN_LSE, source, fault);
    FILE *copy = well ? fopen(to, "wbe") : NULL;
    if (well && (copy == NULL || !tensors_write(&tensors, copy)))
        well = fault_set(fault, FAULT_INPUT, "cannot write '%s'", to);
    if (copy != NULL && fclose(copy) != 0) well = false;
    free(data[0]);
    free(data[1]);
    return well;
}

/* In a process of its own, which has little time for it. */
static bool read_hdf5(const struct source *source, const char *to, struct fault *fault) {
    const pid_t pid = fork();
    int status = 0;
    if (pid == 0) {
        setrlimit(RLIMIT_CPU, &(struct rlimit){READ_SECONDS, READ_SECONDS});
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        const bool well = copy_arrays(source, to, fault);
        if (!well) fault_say("'%.400s': %s", source->path, fault->text);
        _exit(well ? 0 : 1);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    return (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
           fault_set(fault, FAULT_INPUT, "'%.400s' cannot be read", source->path);
}

static bool open_output(struct tensors *tensors, const struct source *source, struct fault *fault) {
    char temporary[PATH_MAX];
    const char *path = source->path;
    if (text_ends_with(path, ".safetensors") || !strcmp(path, "-"))
        return tensors_open(tensors, path, fault);
    *tensors = (struct tensors){.count = 0};
    if (access(path, R_OK) != 0)
        return fault_set(fault, FAULT_INPUT, "cannot open '%.400s': %s", path, strerror(errno));
    if (!make_temporary(temporary, ".safetensors", fault)) return false;
    const bool pythons = text_ends_with(path, ".npy") || text_ends_with(path, ".npz");
    const bool well = (pythons ? run_python("attest.outputs", path, temporary, fault)
                               : read_hdf5(source, temporary, fault)) &&
                      tensors_open(tensors, temporary, fault);
    unlink(temporary);
    return well;
}

/* Of the name or, of out, the only one that there is. */
static const struct tensors_entry *find(const struct tensors *tensors, const char *name) {
    const struct tensors_entry *entry = tensors_find(tensors, name);
    return entry == NULL && !strcmp(name, "out") && tensors->count == 1 ? &tensors->entries[0]
                                                                        : entry;
}

/* Who made it, as a kernel is described. */
static void describe(struct plugin *made, const struct options *options,
                     const struct attn_problem *problem, const char *path,
                     const struct tensors *tensors, bool has_lse) {
    const char *slash = strrchr(path, '/'), *file = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(file, '.');
    const int stem = dot != NULL ? (int)(dot - file) : (int)strlen(file);
    *made = (struct plugin){.kernel = {.device = ATTN_CPU,
                                       .variant = problem->variant,
                                       .grade = options->grade,
                                       .lse_grade = options->lse_grade,
                                       .p_dtype = options->p_dtype,
                                       .flags = (has_lse ? ATTN_WRITES_LSE : 0) |
                                                (options->lse_base_2 ? ATTN_LSE_BASE_2 : 0)}};
    if (options->name != NULL)
        snprintf(made->name, sizeof made->name, "%s", options->name);
    else
        snprintf(made->name, sizeof made->name, "%.*s", stem > 0 ? stem : 6,
                 stem > 0 ? file : "output");
    store_digest(tensors->memory, (int64_t)tensors->memory_bytes, made->digest);
}

static void describe_repeat(struct row *row, const struct options *options, const char *path) {
    char *command = NULL;
    size_t bytes;
    FILE *to = open_memstream(&command, &bytes);
    if (to == NULL) return;
    fputs("attest judge ", to);
    text_quote(to, options->fixture);
    fputc(' ', to);
    text_quote(to, path);
    if (options->grade != 'A') fprintf(to, " --grade %c", options->grade);
    if (options->lse_grade != 'A') fprintf(to, " --lse-grade %c", options->lse_grade);
    if (options->lse_base_2) fputs(" --lse-base-2", to);
    if (options->p_dtype != ATTN_INPUT)
        fprintf(to, " --p-dtype %s", dtype_name((enum attn_dtype)options->p_dtype));
    if (fclose(to) == 0) row->repeat = text_kept(command);
    free(command);
}

struct judging {
    const struct options *options;
    char (*names)[48]; /* of those that were judged */
    int64_t named;
    struct fixture fixture;
    struct writer writer;
    struct show show;
    int exit_status;
};

/* A row is told from others by its name. */
static void name_apart(struct judging *judging, struct plugin *made) {
    char name[sizeof made->name];
    int64_t same = 1;
    snprintf(name, sizeof name, "%s", made->name);
    for (int64_t n = 0; n < judging->named; n++) {
        if (strcmp(judging->names[n], made->name) != 0) continue;
        snprintf(made->name, sizeof made->name, "%.26s-%lld", name, (long long)++same);
        n = -1;
    }
    snprintf(judging->names[judging->named++], sizeof *judging->names, "%s", made->name);
    snprintf(made->id, sizeof made->id, "judged/%s", made->name);
}

static bool judge_one(struct judging *judging, const char *path, struct fault *fault) {
    const struct options *options = judging->options;
    const struct attn_problem *problem = &judging->fixture.problem.attn;
    struct trial_options trial = trial_defaults;
    struct samples samples = {0};
    struct tensors tensors;
    struct plugin made;
    struct row row;
    bool well = open_output(&tensors, &(struct source){path, problem}, fault);
    const struct tensors_entry *out = well ? find(&tensors, "out") : NULL;
    const struct tensors_entry *lse = well ? find(&tensors, "lse") : NULL;
    if (well && out == NULL)
        well = fault_set(fault, FAULT_INPUT, "'%.400s' has no array named out", path);
    well = well && check(out, problem, ATTN_OUT, path, fault) &&
           (lse == NULL || check(lse, problem, ATTN_LSE, path, fault));
    if (well) {
        describe(&made, options, problem, path, &tensors, lse != NULL);
        name_apart(judging, &made);
        trial.threads = options->threads;
        trial.samples = &samples;
        if (!is_line(options->fixture)) trial.file = options->fixture;
        well = trial_judge(&row, &made, &judging->fixture, &trial, out->data,
                           lse != NULL ? lse->data : NULL, fault);
    }
    if (well) {
        snprintf(row.device, sizeof row.device, "judged");
        if (status_of(&row) != STATUS_PASS) describe_repeat(&row, options, path);
        if (status_exit(status_of(&row)) > judging->exit_status)
            judging->exit_status = status_exit(status_of(&row));
        well = samples_write(judging->writer.folder, &row, &samples, fault) &&
               writer_append(&judging->writer, &row, fault);
        if (well) show_row(&judging->show, &row, true);
    }
    samples_free(&samples);
    tensors_close(&tensors);
    return well;
}

/* Of safetensors a fixture file is made first: what makes one of it is the loader's to say. */
static bool obtain(struct judging *judging, struct fault *fault) {
    const struct options *options = judging->options;
    const struct obtain_options how = {.program = verb_program(), .threads = options->threads};
    const char *path = options->fixture;
    char temporary[PATH_MAX];
    struct tensors tensors;
    if (is_line(path)) return obtain_line(&judging->fixture, path, &how, fault);
    if (!text_ends_with(path, ".safetensors"))
        return obtain_file(&judging->fixture, path, &how, fault);
    if (!make_temporary(temporary, ".h5", fault)) return false;
    const bool well = tensors_open(&tensors, path, fault) &&
                      exchange_write(&tensors, temporary, fault) &&
                      obtain_file(&judging->fixture, temporary, &how, fault);
    if (!well) exchange_rename(fault, temporary, path);
    tensors_close(&tensors);
    unlink(temporary);
    return well;
}

static bool judge_all(struct judging *judging, int argc, char **argv, struct fault *fault) {
    const struct options *options = judging->options;
    struct machine *machine = calloc(1, sizeof *machine);
    if (machine == NULL) return fault_set(fault, FAULT_OURS, "out of memory");
    machine_describe(machine, argc, argv);
    bool well =
        obtain(judging, fault) &&
        writer_create(&judging->writer, options->out, verb_runs(), "-judged", machine, fault) &&
        show_start(&judging->show, options->json, false, options->count, fault);
    for (int64_t n = 0; well && n < options->count; n++)
        well = judge_one(judging, options->outputs[n], fault);
    if (judging->writer.file >= 0) {
        struct fault closing;
        const bool closed = samples_finish(judging->writer.folder, well ? fault : &closing) &&
                            writer_close(&judging->writer, well ? fault : &closing);
        well = well && closed;
    }
    if (well) show_end(&judging->show, judging->writer.folder);
    free(machine);
    return well;
}

static int judge_run(int argc, char **argv) {
    struct options options = {
        .grade = 'A', .lse_grade = 'A', .outputs = calloc((size_t)argc, sizeof(char *))};
    struct judging judging = {.options = &options, .writer = {.file = -1}};
    struct fault fault = {0};
    argp_err_exit_status = FAULT_INPUT;
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    judging.names = calloc((size_t)argc + 1, sizeof *judging.names);
    if (options.outputs == NULL || judging.names == NULL) abort();
    const bool well = judge_all(&judging, argc, argv, &fault);
    free(judging.names);
    fixture_free(&judging.fixture);
    free(options.outputs);
    return well ? judging.exit_status : fault_tell(&fault);
}

const struct verb verb_judge = {
    .name = "judge",
    .arguments = "FIXTURE|LINE OUTPUT...",
    .summary = "outputs that were computed elsewhere",
    .argp = &argp,
    .run = judge_run,
};
