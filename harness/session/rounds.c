/* The parent while a run goes on: one round of processes for each kind of device, and waiting. It
 * starts no threads, so that it can fork, and never runs a kernel. */
#include "rounds.h"
#include "again.h"
#include "deal.h"
#include "keep.h"
#include "lane.h"
#include "../report/row_index.h"
#include "../worker/driver.h"
#include "../worker/host.h"
#include "../../oracle/text.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INTERRUPTED = 130 };

/* Ctrl-C. Every finished row is in the file already, so there is nothing to finish: end the others,
 * say where the run is, leave. Only calls that are safe in a signal handler. */
static char *farewell; /* what a terminal shows, since it goes past stderr */
static size_t farewell_bytes;
static const struct hands *at_hand;

static void leave(int signal_number) {
    (void)signal_number;
    crew_stop();
    hands_remove(at_hand); /* it ends in order */
    if (write(STDERR_FILENO, farewell, farewell_bytes) < 0) _exit(INTERRUPTED);
    _exit(INTERRUPTED);
}

/* "--out" as argp takes it, also shortened; *takes_next: its value is the argument after it. */
static bool is_out(const char *argument, bool *takes_next) {
    static const char out[] = "--out";
    const size_t length = strcspn(argument, "=");
    *takes_next = argument[length] == '\0';
    return length > 2 && length < sizeof out && !strncmp(argument, out, length);
}

/* The command that resumes this one: where rows go is said by --resume, which comes first because
 * nothing is an option after "--". */
static void print_resuming(FILE *to, const struct session *session) {
    bool options = true, takes_next;
    if (session->options.resume != NULL) {
        fputs(session->machine.command, to);
        return;
    }
    fprintf(to, "%s --resume ", session->argv[0]);
    text_quote(to, session->writer.folder);
    for (int n = 1; n < session->argc; n++) {
        options = options && strcmp(session->argv[n], "--") != 0;
        if (options && session->options.out != NULL && is_out(session->argv[n], &takes_next)) {
            n += takes_next;
            continue;
        }
        fputc(' ', to);
        text_quote(to, session->argv[n]);
    }
}

static void prepare_to_leave(const struct session *session) {
    at_hand = &session->hands;
    const char *folder = session->writer.folder;
    FILE *to = open_memstream(&farewell, &farewell_bytes);
    if (to == NULL) return;
    fputs("\nattest: interrupted; what is done is in ", to);
    text_show(to, folder);
    fputs("\nattest: to go on: ", to);
    print_resuming(to, session);
    fputc('\n', to);
    if (fclose(to) != 0) return;
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t n = 0; n < sizeof signals / sizeof signals[0]; n++) {
        struct sigaction action;
        if (sigaction(signals[n], NULL, &action) != 0 || action.sa_handler == SIG_IGN)
            continue; /* as under nohup */
        action = (struct sigaction){.sa_handler = leave};
        sigaction(signals[n], &action, NULL);
    }
}

/* All devices of one kind, at once. */
struct round {
    struct session *session;
    struct deal *deal;
    struct target targets[TARGETS_MAX];
    int count;
    int64_t *chosen;    /* room for the kernels */
    int idle[CREW_MAX]; /* how often a process of each was lost that had no row at hand */
    int exit_status;    /* of what else was lost */
};

static int run_lane(void *context, int member) {
    const struct round *round = context;
    const int threads = round->session->options.trial.threads, cores = host_cores();
    return lane_run(&(struct lane_options){
        .session = round->session,
        .deal = round->deal,
        .member = member,
        .target = round->targets[member],
        .threads = threads > 0 || round->count == 1 ? threads
                   : cores > round->count           ? cores / round->count
                                                    : 1,
    });
}

enum { IDLE_MAX = 3 };

/* What a file that was loaded turned out to be; false: it was not, and nothing is known. */
static bool know_file(struct session *session, int64_t problem) {
    struct item *item = &session->items[problem];
    const struct mark *mark = &session->board->marks[problem];
    struct fault fault;
    if (mark->line[0] == '\0' || !problem_parse(&item->problem, mark->line, &fault)) return false;
    snprintf(item->line, sizeof item->line, "%s", mark->line);
    return true;
}

/* The kernel of a row that was dealt, NULL while that is not known: what a file's rows are is known
 * when it is loaded. */
static const struct plugin *kernel_of(struct round *round, int member,
                                      const struct deal_row *dealt) {
    struct session *session = round->session;
    struct item *item = &session->items[dealt->problem];
    const struct mark *mark = &session->board->marks[dealt->problem];
    int64_t resumed = 0;
    if (item->file != NULL && !know_file(session, dealt->problem)) return NULL;
    const int64_t count =
        session_choose(session, round->targets[member].kind, item,
                       item->file != NULL ? mark->digest : "", round->chosen, &resumed);
    return dealt->row < count ? &session->kernels.plugins[round->chosen[dealt->row]] : NULL;
}

/* The process that judges was killed, or died: that costs the row it had at hand, and another goes
 * on. */
static bool lose_lane(void *context, int member, const char *how) {
    struct round *round = context;
    struct session *session = round->session;
    struct deal_row dealt;
    struct fault fault = {0};
    char name[TARGET_NAME_BYTES], reason[128];
    target_name(&round->targets[member], name);
    /* Who reads what is printed has seen enough: that ends the run. */
    if (!strcmp(how, "SIGPIPE")) {
        crew_stop();
        hands_remove(&session->hands);
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
    }
    if (!deal_at_hand(round->deal, member, &dealt)) {
        fault_say("the process for %s ended between rows: %s", name, how);
        return ++round->idle[member] <= IDLE_MAX;
    }
    struct item *item = &session->items[dealt.problem];
    const struct plugin *kernel = kernel_of(round, member, &dealt);
    deal_done(round->deal, member);
    if (kernel == NULL && item->file == NULL) return true; /* there is no such row */
    if (kernel == NULL) {
        fault_say("the process for %s ended with '%s': %s", name, item->file, how);
        deal_limit(round->deal, dealt.problem, 0);
        round->exit_status = EXIT_CRASH;
        return true;
    }
    if (keep_has(session, kernel, item)) return true;
    struct trial_options trial = session->options.trial;
    trial.file = item->file;
    trial.device_index = round->targets[member].index;
    const bool killed = !strcmp(how, "SIGKILL");
    snprintf(reason, sizeof reason, "the process that judges it was ended%s: %s",
             killed ? ", most likely for memory" : "", how);
    if (keep_lost(session, kernel, item, &trial, killed ? STATUS_OOM : STATUS_CRASH, reason,
                  &fault))
        return true;
    round->exit_status = fault_tell(&fault);
    return false;
}

static bool run_round(struct session *session, enum attn_device kind, int *exit_status,
                      struct fault *fault) {
    struct round round = {.session = session};
    double *cap_ms = &session->options.trial.plan.total_ms_max;
    const double asked_ms = *cap_ms;
    int64_t resumed = 0, rows = 0;
    for (int64_t n = 0; n < session->targets.count; n++) {
        if (session->targets.list[n].kind == kind)
            round.targets[round.count++] = session->targets.list[n];
    }
    int64_t *counts = calloc((size_t)session->item_count + 1, sizeof *counts);
    round.chosen = calloc((size_t)session->kernels.count + 1, sizeof *round.chosen);
    bool well = counts != NULL && round.chosen != NULL;
    if (!well) fault_set(fault, FAULT_OURS, "out of memory for rows");
    for (int64_t n = 0; well && n < session->item_count; n++) {
        const struct item *item = &session->items[n];
        counts[n] = item->file == NULL
                        ? session_choose(session, kind, item, "", round.chosen, &resumed)
                    : session->again && know_file(session, n)
                        ? session_choose(session, kind, item, session->board->marks[n].digest,
                                         round.chosen, &resumed)
                        : session->kernels.count;
        rows += counts[n];
    }
    if (kind == ATTN_CPU && again_may(session)) *cap_ms = again_cap_ms(session, rows);
    if (well && rows > 0 && round.count > 0) {
        round.deal = deal_make(counts, session->item_count, round.count, fault);
        well = round.deal != NULL;
        const struct crew_task task = {.work = run_lane, .lost = lose_lane, .context = &round};
        const int status = well ? crew_run(&task, round.count) : 0;
        if (status > *exit_status) *exit_status = status;
        if (round.exit_status > *exit_status) *exit_status = round.exit_status;
        if (well && deal_left(round.deal) > 0)
            fault_say("%lld rows were not run: no process is left for them",
                      (long long)deal_left(round.deal));
        deal_free(round.deal);
    }
    *cap_ms = asked_ms;
    free(round.chosen);
    free(counts);
    return well;
}

/* Rows that could not be tried once more, for a process that was lost or memory that was not there,
 * stay as they are: what waited for them has them now. */
static bool show_unfinished(struct session *session, struct fault *fault) {
    struct row_index index;
    struct row row;
    if (!session->options.json) return true;
    if (!row_index_make(&index, session->writer.folder, "", fault)) return false;
    bool well = true;
    for (int64_t n = 0; well && n < index.count; n++) {
        well = row_index_read(&index, n, &row, fault);
        if (well && again_wants(session, &row)) show_again(&session->board->show, &row, &row, true);
    }
    row_index_free(&index);
    return well;
}

static bool run_again(struct session *session, int *exit_status, struct fault *fault) {
    bool well = true;
    session->again = true;
    for (int n = 1; well && n < AGAIN_PROCESSES_MAX; n++) {
        run_free(&session->done);
        well = run_read(&session->done, session->writer.folder, fault) &&
               run_round(session, ATTN_CPU, exit_status, fault);
    }
    well = well && show_unfinished(session, fault);
    session->again = false;
    return well;
}

/* Adds rows to come, as far as that is known before files are opened, and those that are there. */
static bool expect(const struct session *session, int64_t *rows, int64_t *resumed,
                   struct fault *fault) {
    int64_t *chosen = calloc((size_t)session->kernels.count + 1, sizeof *chosen);
    if (chosen == NULL) return fault_set(fault, FAULT_OURS, "out of memory for kernels");
    for (int64_t n = 0; n < session->item_count; n++) {
        const struct item *item = &session->items[n];
        if (item->file != NULL) {
            ++*rows;
            continue;
        }
        for (const struct driver *driver = drivers; driver->meaning != NULL; driver++)
            *rows += session_choose(session, driver->device, item, "", chosen, resumed);
    }
    free(chosen);
    return true;
}

static bool make_board(struct session *session, size_t bytes, struct fault *fault) {
    const struct session_options *options = &session->options;
    int64_t rows = 0, resumed = 0;
    if (!expect(session, &rows, &resumed, fault)) return false;
    session->board = crew_memory(bytes);
    if (session->board == NULL) return fault_set(fault, FAULT_OURS, "out of memory for problems");
    bool well = crew_lock_make(&session->board->writing, fault);
    for (int64_t n = 0; well && n < session->item_count; n++) {
        struct mark *mark = &session->board->marks[n];
        mark->std16_rho = NAN;
        well = crew_lock_make(&mark->lock, fault);
    }
    if (!well || !show_start(&session->board->show, options->json, options->quiet, rows, fault))
        return false;
    session->board->show.silent = options->live.old != NULL;
    show_resumed(&session->board->show, resumed);
    return true;
}

bool rounds_run(struct session *session, int *exit_status, struct fault *fault) {
    const size_t bytes =
        sizeof *session->board + (size_t)session->item_count * sizeof *session->board->marks;
    bool well = make_board(session, bytes, fault);
    if (well) {
        hands_open(&session->hands, session->writer.folder);
        prepare_to_leave(session);
        for (const struct driver *driver = drivers;
             well && driver->meaning != NULL && *exit_status != FAULT_OURS; driver++) {
            well = run_round(session, driver->device, exit_status, fault);
            if (well && driver->device == ATTN_CPU && again_may(session))
                well = run_again(session, exit_status, fault);
        }
        if (session->board->exit_status > *exit_status) *exit_status = session->board->exit_status;
        well = samples_finish(session->writer.folder, fault) && well;
        hands_remove(&session->hands);
        well = writer_close(&session->writer, fault) && well;
        show_end(&session->board->show, session->writer.folder);
    }
    if (session->board != NULL) {
        session->rows = session->board->show.done;
        session->judged = session->board->judged;
    }
    crew_release(session->board, bytes);
    session->board = NULL;
    return well;
}
