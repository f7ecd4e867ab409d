/* attest run: kernels x problems. Problems are taken one at a time, so that a fixture is in memory
 * once and for all kernels that it is for; each row is on disk before the next begins. */
#include "anchor.h"
#include "client.h"
#include "compare.h"
#include "machine.h"
#include "obtain.h"
#include "probe.h"
#include "protocol.h"
#include "select.h"
#include "show.h"
#include "trial.h"
#include "verb.h"
#include "writer.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

enum { INTERRUPTED = 130, PROBE_MS = 1000 };

/* Visible pairs times head dim that the textbook anchor may cost: about a second. */
static const double anchor_work_max = 1e9;

struct texts {
    const char **list;
    int64_t count;
};

struct arguments {
    struct texts globs, suites, files, lines, words;
    const char *out, *resume;
    int64_t shard, shards; /* 1..shards; 0: all */
    bool anchors, no_probe, json, quiet;
    struct trial_options trial;
};

enum {
    KEY_OUT = 256,
    KEY_RESUME,
    KEY_SHARD,
    KEY_NO_POISON,
    KEY_NO_TIME,
    KEY_TIME_MS,
    KEY_WATCHDOG,
    KEY_REPEATS,
    KEY_NO_PROBE,
    KEY_ANCHORS,
};

static const struct argp_option options[] = {
    {"suite", 's', "SUITE", 0, "Problems of a suite (or of a file of lines); may be repeated", 0},
    {"file", 'f', "FILE", 0, "A fixture made elsewhere; may be repeated", 0},
    {"out", KEY_OUT, "DIR", 0, "Where the run goes; default reports/runs/<time>-<commit>-<device>",
     0},
    {"resume", KEY_RESUME, "DIR", 0, "Add to that run what it does not hold yet", 0},
    {"shard", KEY_SHARD, "I/N", 0, "Only part I of N; the parts are disjoint, and all of it", 0},
    {"threads", 't', "N", 0, "Threads for kernels, oracle and judge; default: all cores", 0},
    {"no-poison", KEY_NO_POISON, NULL, 0, "Leave what must not be read as the fixture has it", 0},
    {"no-time", KEY_NO_TIME, NULL, 0, "Check only", 0},
    {"time-ms", KEY_TIME_MS, "MS", 0, "Cap on timing, for cold and for warm each; default 300", 0},
    {"watchdog", KEY_WATCHDOG, "SECONDS", 0, "A launch that takes longer hangs; default 60", 0},
    {"repeats", KEY_REPEATS, "N", 0, "Launches that must agree bit by bit; default 10", 0},
    {"anchors", KEY_ANCHORS, NULL, 0,
     "Add rows for two kernels that are computed here: ideal, the answer rounded once, and std16, "
     "the textbook with S and P in 16 bits",
     0},
    {"no-probe", KEY_NO_PROBE, NULL, 0, "Do not measure the machine's ceilings first", 0},
    {"json", 'j', NULL, 0, "Print the rows as JSON lines", 0},
    {"quiet", 'q', NULL, 0, "Print rows that did not pass only", 0},
    {0},
};

static void add_text(struct texts *texts, const char *text, struct argp_state *state) {
    const char **list = realloc(texts->list, (size_t)(texts->count + 1) * sizeof *texts->list);
    if (list == NULL) {
        argp_failure(state, FAULT_OURS, 0, "out of memory");
        return;
    }
    texts->list = list;
    texts->list[texts->count++] = text;
}

/* "f16-...": a problem line begins with a dtype. */
static bool is_line(const char *argument) {
    char word[16];
    enum attn_dtype dtype;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(argument, "-"), argument);
    return strchr(argument, '-') != NULL && dtype_parse(&dtype, word);
}

static void parse_shard(struct arguments *arguments, const char *text, struct argp_state *state) {
    char rest;
    long long part, parts;
    if (sscanf(text, "%lld/%lld%c", &part, &parts, &rest) != 2 || parts < 1 || part < 1 ||
        part > parts)
        argp_error(state, "--shard takes I/N with I in 1..N, not '%s'", text);
    arguments->shard = part;
    arguments->shards = parts;
}

static error_t parse(int key, char *text, struct argp_state *state) {
    struct arguments *arguments = state->input;
    struct trial_options *trial = &arguments->trial;
    switch (key) {
    case 's':
        add_text(&arguments->suites, text, state);
        return 0;
    case 'f':
        add_text(&arguments->files, text, state);
        return 0;
    case KEY_OUT:
        arguments->out = text;
        return 0;
    case KEY_RESUME:
        arguments->resume = text;
        return 0;
    case KEY_SHARD:
        parse_shard(arguments, text, state);
        return 0;
    case 't':
        trial->threads = (int)verb_count(text, 1, VERB_THREADS_MAX, "threads", state);
        return 0;
    case KEY_NO_POISON:
        trial->poison = false;
        return 0;
    case KEY_NO_TIME:
        trial->time = false;
        return 0;
    case KEY_TIME_MS:
        trial->plan.total_ms_max = verb_number(text, 1, 1e6, "time-ms", state);
        return 0;
    case KEY_WATCHDOG:
        trial->watchdog_seconds = verb_number(text, 0.1, 1e5, "watchdog", state);
        return 0;
    case KEY_REPEATS:
        trial->repeats = (int)verb_count(text, 1, 200, "repeats", state);
        return 0;
    case KEY_ANCHORS:
        arguments->anchors = true;
        return 0;
    case KEY_NO_PROBE:
        arguments->no_probe = true;
        return 0;
    case 'j':
        arguments->json = true;
        return 0;
    case 'q':
        arguments->quiet = true;
        return 0;
    case ARGP_KEY_ARG:
        add_text(select_is_word(text) ? &arguments->words
                 : is_line(text)      ? &arguments->lines
                                      : &arguments->globs,
                 text, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "[KERNEL...] [-s SUITE|-f FILE|LINE...] [WORD...]",
    .doc = "Checks kernels against exact answers and times them. KERNEL is a glob over names as "
           "`attest list kernels` prints them, or a path to an .so; without one, all kernels run. "
           "LINE is a problem, WORD selects among the problems: variant=decode_paged dtype=bf16 "
           "kv>=4096. Without a problem, the suite smoke is run.\vWhat was done stays done: a run "
           "that was interrupted is readable, and --resume with the same arguments completes it.",
};

/* One problem: a line, or a file whose line is known when it is loaded. */
struct item {
    char line[PROBLEM_LINE_BYTES];
    const char *file;
    bool named; /* by the user, not by a suite */
    struct problem problem;
};

struct session {
    struct arguments arguments;
    struct select_word *words;
    struct item *items;
    int64_t item_count;
    struct plugin_list kernels;
    struct machine machine;
    struct run done; /* what the resumed run holds */
    struct writer writer;
    struct show show;
    struct samples samples; /* of the row at hand */
    double std16_rho;       /* of the problem at hand; NaN: not known */
    int64_t rows, resumed;
    int exit_status;
};

/* Which part of a sharded run a row is in: by what it is, so that no part needs to know another. */
static bool in_shard(const struct arguments *arguments, const char *kernel, const char *problem) {
    char key[1024];
    if (arguments->shards == 0) return true;
    const int length = snprintf(key, sizeof key, "%s\n%s", kernel, problem);
    return (int64_t)(XXH64(key, (size_t)length, 0) % (uint64_t)arguments->shards) ==
           arguments->shard - 1;
}

static bool was_done(const struct run *run, const struct plugin *kernel, const struct item *item,
                     const char *fixture_digest) {
    for (int64_t n = 0; n < run->count; n++) {
        const struct row *row = &run->rows[n];
        if (!strcmp(row->kernel, kernel->id) && !strcmp(row->library_digest, kernel->digest) &&
            (item->file != NULL
                 ? !strcmp(row->fixture_digest, fixture_digest) && !strcmp(row->file, item->file)
                 : !strcmp(row->line, item->line) && row->file[0] == '\0'))
            return true;
    }
    return false;
}

/* Kernels of another variant are no part of a run, unless both were named: then they are refused.
 */
static bool offered(const struct session *session, const struct plugin *kernel,
                    const struct item *item) {
    if (kernel->kernel.variant == item->problem.attn.variant) return true;
    if (!item->named || !kernel->found) return item->named;
    for (int64_t n = 0; n < session->arguments.globs.count; n++) {
        const char *slash = strchr(kernel->id, '/');
        if (!strcmp(session->arguments.globs.list[n], kernel->id) ||
            !strcmp(session->arguments.globs.list[n], slash + 1))
            return true;
    }
    return false;
}

/* The kernels that `item` is still to be run with, as indices into the list. */
static int64_t choose(const struct session *session, const struct item *item,
                      const char *fixture_digest, int64_t *chosen, int64_t *resumed) {
    int64_t count = 0;
    for (int64_t n = 0; n < session->kernels.count; n++) {
        const struct plugin *kernel = &session->kernels.plugins[n];
        if (!offered(session, kernel, item) ||
            !in_shard(&session->arguments, kernel->id, item->file ? item->file : item->line))
            continue;
        if (was_done(&session->done, kernel, item, fixture_digest)) {
            ++*resumed;
        } else {
            chosen[count++] = n;
        }
    }
    return count;
}

static bool keep_row(struct session *session, struct row *row, struct fault *fault) {
    const int exit_status = status_exit(status_of(row));
    if (exit_status > session->exit_status) session->exit_status = exit_status;
    session->rows++;
    row->deviation.rho_std16 = row->deviation.rho / session->std16_rho;
    if (!samples_write(session->writer.folder, row, &session->samples, fault) ||
        !writer_append(&session->writer, row, fault))
        return false;
    samples_free(&session->samples);
    show_row(&session->show, row);
    return true;
}

/* A row that needs no fixture to be decided. */
static bool refuse(struct session *session, const struct plugin *kernel, const struct item *item,
                   struct fault *fault) {
    struct row row;
    bool spoilt;
    struct fixture empty = {.problem = item->problem};
    snprintf(empty.line, sizeof empty.line, "%s", item->line);
    return trial_run(&row, kernel, &empty, &session->arguments.trial, &spoilt, fault) &&
           keep_row(session, &row, fault);
}

static bool too_large(struct session *session, const struct plugin *kernel, const struct item *item,
                      int64_t bytes, struct fault *fault) {
    struct row row;
    trial_describe(&row, kernel, &(struct fixture){.problem = item->problem},
                   &session->arguments.trial);
    snprintf(row.line, sizeof row.line, "%s", item->line);
    snprintf(row.status, sizeof row.status, "%s", status_name(STATUS_OOM));
    snprintf(row.reason, sizeof row.reason, "the problem needs %.1f GiB, %.1f GiB are free",
             (double)bytes / 1073741824, (double)machine_memory_free() / 1073741824);
    return keep_row(session, &row, fault);
}

static bool obtain(struct session *session, struct fixture *fixture, const struct item *item,
                   struct fault *fault) {
    const struct obtain_options how = {.program = session->arguments.trial.program,
                                       .threads = session->arguments.trial.threads};
    fixture_free(fixture);
    show_step(&session->show, item->file ? item->file : item->line);
    return item->file != NULL ? obtain_file(fixture, item->file, &how, fault)
                              : obtain_line(fixture, item->line, &how, fault);
}

/* Anchors are measured, never judged: what they say is how good a row can be, and how good people
 * are used to. */
static bool run_anchor(struct session *session, const struct item *item,
                       const struct fixture *fixture, enum anchor anchor, struct fault *fault) {
    struct row row;
    struct plugin computed = {.kernel = {.variant = item->problem.attn.variant}};
    const struct rule_view view = fixture_view(fixture);
    snprintf(computed.id, sizeof computed.id, "anchor/%s", anchor_name(anchor));
    snprintf(computed.name, sizeof computed.name, "%s", anchor_name(anchor));
    trial_describe(&row, &computed, fixture, &session->arguments.trial);
    snprintf(row.device, sizeof row.device, "anchor");
    show_step(&session->show, computed.id);
    if (!anchor_measure(&row.deviation, anchor, &view, &fixture->answer, anchor_work_max,
                        session->arguments.trial.threads, fault))
        return false;
    const struct verdict verdict = judge(&row.deviation, &(struct observation){0});
    snprintf(row.status, sizeof row.status, "%s", status_name(STATUS_PASS));
    snprintf(row.grade, sizeof row.grade, "%c", verdict.grade);
    snprintf(row.reason, sizeof row.reason, "computed, not run");
    if (anchor == ANCHOR_STD16) session->std16_rho = row.deviation.rho;
    if (!in_shard(&session->arguments, computed.id, item->file ? item->file : item->line) ||
        was_done(&session->done, &computed, item, fixture->digest))
        return true;
    return keep_row(session, &row, fault);
}

static bool run_anchors(struct session *session, const struct item *item,
                        const struct fixture *fixture, struct fault *fault) {
    bool well = true;
    for (int n = ANCHOR_COUNT - 1; well && n >= 0; n--) { /* std16 first: others refer to it */
        if (anchor_exists((enum anchor)n, &item->problem.attn))
            well = run_anchor(session, item, fixture, (enum anchor)n, fault);
    }
    return well;
}

/* Runs the chosen kernels on a fixture that is in memory already, or is obtained for the first of
 * them that does not refuse. */
static bool run_item(struct session *session, const struct item *item, struct fixture *fixture,
                     const int64_t *chosen, int64_t count, struct fault *fault) {
    const int64_t bytes = item->file == NULL ? fixture_bytes(&item->problem) : 0;
    const bool fits = bytes < machine_memory_free();
    bool anchored = !session->arguments.anchors;
    session->arguments.trial.file = item->file;
    session->std16_rho = NAN;
    for (int64_t n = 0; n < count; n++) {
        struct row row;
        char reason[256];
        bool spoilt = false, well;
        const struct plugin *kernel = &session->kernels.plugins[chosen[n]];
        if (plugin_refusal(&kernel->kernel, &item->problem.attn, reason) != NULL) {
            well = refuse(session, kernel, item, fault);
        } else if (!fits) {
            well = too_large(session, kernel, item, bytes, fault);
        } else {
            if (fixture->memory == NULL && !obtain(session, fixture, item, fault)) return false;
            if (!anchored && !run_anchors(session, item, fixture, fault)) return false;
            anchored = true;
            show_step(&session->show, kernel->id);
            well = trial_run(&row, kernel, fixture, &session->arguments.trial, &spoilt, fault) &&
                   keep_row(session, &row, fault);
        }
        if (!well) return false;
        if (spoilt) fixture_free(fixture);
    }
    return true;
}

/* A problem that cannot be had costs its rows and the exit status; a machine that fails, all. */
static bool run_problem(struct session *session, struct item *item, int64_t *chosen,
                        struct fault *fault) {
    struct fixture fixture = {0};
    bool well = true;
    if (item->file != NULL) {
        well = obtain(session, &fixture, item, fault);
        if (well) {
            item->problem = fixture.problem;
            snprintf(item->line, sizeof item->line, "%s", fixture.line);
        }
    }
    if (well && (item->file == NULL ||
                 select_holds(session->words, session->arguments.words.count, &item->problem))) {
        const int64_t count = choose(session, item, fixture.digest, chosen, &session->resumed);
        well = run_item(session, item, &fixture, chosen, count, fault);
    }
    fixture_free(&fixture);
    if (well || fault->code == FAULT_OURS) return well;
    verb_fault(fault);
    if ((int)fault->code > session->exit_status) session->exit_status = (int)fault->code;
    return true;
}

static bool add_item(struct session *session, const char *line, const char *file, bool named,
                     struct fault *fault) {
    struct item item = {.file = file, .named = named};
    if (line != NULL) {
        if (!problem_parse(&item.problem, line, fault)) return false;
        problem_print(&item.problem, item.line);
        if (!select_holds(session->words, session->arguments.words.count, &item.problem))
            return true;
        for (int64_t n = 0; n < session->item_count; n++) {
            if (!strcmp(session->items[n].line, item.line)) return true;
        }
    }
    struct item *items = realloc(session->items, (size_t)(session->item_count + 1) * sizeof *items);
    if (items == NULL) return fault_set(fault, FAULT_OURS, "out of memory for problems");
    session->items = items;
    session->items[session->item_count++] = item;
    return true;
}

static bool add_suite(struct session *session, const char *name, struct fault *fault) {
    struct suite suite = {0};
    bool well = suite_read(&suite, verb_suites(), name, fault);
    for (int64_t n = 0; well && n < suite.count; n++)
        well = add_item(session, suite.lines[n], NULL, false, fault);
    suite_free(&suite);
    return well;
}

static bool gather(struct session *session, struct fault *fault) {
    const struct arguments *arguments = &session->arguments;
    bool well = true;
    session->words = calloc((size_t)arguments->words.count + 1, sizeof *session->words);
    if (session->words == NULL) return fault_set(fault, FAULT_OURS, "out of memory for words");
    for (int64_t n = 0; well && n < arguments->words.count; n++)
        well = select_parse(&session->words[n], arguments->words.list[n], fault);
    for (int64_t n = 0; well && n < arguments->lines.count; n++)
        well = add_item(session, arguments->lines.list[n], NULL, true, fault);
    for (int64_t n = 0; well && n < arguments->suites.count; n++)
        well = add_suite(session, arguments->suites.list[n], fault);
    for (int64_t n = 0; well && n < arguments->files.count; n++)
        well = add_item(session, NULL, arguments->files.list[n], true, fault);
    if (well && arguments->lines.count + arguments->suites.count + arguments->files.count == 0)
        well = add_suite(session, "smoke", fault);
    return well && plugin_scan(&session->kernels, arguments->trial.program, verb_kernels(),
                               arguments->globs.list, arguments->globs.count, fault);
}

/* Rows to come, as far as that is known before files are opened. */
static int64_t expect(const struct session *session, int64_t *chosen) {
    int64_t rows = 0, resumed = 0;
    for (int64_t n = 0; n < session->item_count; n++)
        rows += session->items[n].file != NULL
                    ? 1
                    : choose(session, &session->items[n], "", chosen, &resumed);
    return rows + resumed;
}

static bool open_run(struct session *session, struct fault *fault) {
    const struct arguments *arguments = &session->arguments;
    char suffix[64] = "";
    if (arguments->resume != NULL) {
        if (!run_read(&session->done, arguments->resume, fault) ||
            !writer_resume(&session->writer, arguments->resume, fault))
            return false;
        const struct machine *first = &session->done.machine; /* one run, the same ceilings */
        session->machine.sgemm_flops = first->sgemm_flops;
        session->machine.fma_flops = first->fma_flops;
        session->machine.read_bytes_s = first->read_bytes_s;
        return true;
    }
    if (!arguments->no_probe)
        probe_measure(&session->machine, arguments->trial.threads, PROBE_MS * 1e-3);
    if (arguments->shards > 0)
        snprintf(suffix, sizeof suffix, "-shard%lldof%lld", (long long)arguments->shard,
                 (long long)arguments->shards);
    return writer_create(&session->writer, arguments->out, verb_runs(), suffix, &session->machine,
                         fault);
}

/* Ctrl-C. Every finished row is in the file already, so there is nothing to finish: end the worker,
 * say where the run is, leave. Only calls that are safe in a signal handler. */
static char farewell[12288];

static void leave(int signal_number) {
    (void)signal_number;
    const pid_t worker = client_running;
    if (worker > 0) kill(-worker, SIGKILL);
    if (write(STDERR_FILENO, farewell, strlen(farewell)) < 0) _exit(INTERRUPTED);
    _exit(INTERRUPTED);
}

static void prepare_to_leave(const struct session *session) {
    const char *command = session->machine.command;
    const bool resumed = session->arguments.resume != NULL;
    snprintf(farewell, sizeof farewell,
             "\nattest: interrupted; what is done is in %s\nattest: to go on: %s%s%s\n",
             session->writer.folder, command, resumed ? "" : " --resume ",
             resumed ? "" : session->writer.folder);
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t n = 0; n < sizeof signals / sizeof signals[0]; n++) {
        struct sigaction action;
        if (sigaction(signals[n], NULL, &action) != 0 || action.sa_handler == SIG_IGN)
            continue; /* as under nohup */
        action = (struct sigaction){.sa_handler = leave};
        sigaction(signals[n], &action, NULL);
    }
}

static bool run_all(struct session *session, struct fault *fault) {
    int64_t *chosen = calloc((size_t)session->kernels.count + 1, sizeof *chosen);
    if (chosen == NULL) return fault_set(fault, FAULT_OURS, "out of memory for kernels");
    bool well = open_run(session, fault);
    if (well) {
        prepare_to_leave(session);
        session->arguments.trial.machine = &session->machine;
        show_start(&session->show, session->arguments.json, session->arguments.quiet,
                   expect(session, chosen));
        for (int64_t n = 0; well && n < session->item_count; n++)
            well = run_problem(session, &session->items[n], chosen, fault);
        well = writer_close(&session->writer, fault) && well;
        well = well && samples_finish(session->writer.folder, fault);
        show_end(&session->show, session->writer.folder, session->resumed);
    }
    free(chosen);
    return well;
}

static int run_run(int argc, char **argv) {
    struct fault fault = {0};
    struct session session = {.arguments = {.trial = trial_defaults}, .writer = {.file = -1}};
    argp_parse(&argp, argc, argv, 0, NULL, &session.arguments);
    session.arguments.trial.program = verb_program();
    session.arguments.trial.samples = &session.samples;
    machine_describe(&session.machine, argc, argv);
    bool well = gather(&session, &fault);
    if (well && (session.item_count == 0 || session.kernels.count == 0))
        well = fault_set(&fault, FAULT_NOTHING, "nothing to run: %lld problems, %lld kernels",
                         (long long)session.item_count, (long long)session.kernels.count);
    well = well && run_all(&session, &fault);
    if (well && session.rows == 0 && session.resumed == 0 && session.exit_status == 0)
        well = fault_set(&fault, FAULT_NOTHING, "no kernel is for any of the problems");
    const int status = well ? session.exit_status : verb_fault(&fault);
    plugin_list_free(&session.kernels);
    run_free(&session.done);
    samples_free(&session.samples);
    free(session.items);
    free(session.words);
    free(session.arguments.globs.list);
    free(session.arguments.suites.list);
    free(session.arguments.files.list);
    free(session.arguments.lines.list);
    free(session.arguments.words.list);
    return status;
}

const struct verb verb_run = {
    .name = "run",
    .arguments = "[KERNEL...] [-s SUITE|-f FILE|LINE...]",
    .summary = "check and time",
    .argp = &argp,
    .run = run_run,
};
