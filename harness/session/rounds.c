/* The parent while a run goes on: one round of processes for each kind of device, and waiting. It
 * starts no threads, so that it can fork, and never runs a kernel. */
#include "rounds.h"
#include "deal.h"
#include "lane.h"
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

static void leave(int signal_number) {
    (void)signal_number;
    crew_stop();
    if (write(STDERR_FILENO, farewell, farewell_bytes) < 0) _exit(INTERRUPTED);
    _exit(INTERRUPTED);
}

static void prepare_to_leave(const struct session *session) {
    const char *folder = session->writer.folder;
    FILE *to = open_memstream(&farewell, &farewell_bytes);
    if (to == NULL) return;
    fputs("\nattest: interrupted; what is done is in ", to);
    text_show(to, folder);
    fprintf(to, "\nattest: to go on: %s", session->machine.command);
    if (session->options.resume == NULL) {
        fputs(" --resume ", to);
        text_quote(to, folder);
    }
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
    int64_t *chosen; /* room for the kernels */
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

static void lose_lane(void *context, int member, const char *how) {
    const struct round *round = context;
    const struct session *session = round->session;
    char name[TARGET_NAME_BYTES], what[sizeof session->items->line + 256] = "";
    struct deal_row row;
    target_name(&round->targets[member], name);
    if (deal_at_hand(round->deal, member, &row)) {
        const struct item *item = &session->items[row.problem];
        int64_t resumed = 0;
        const bool known =
            item->file == NULL && row.row < session_choose(session, round->targets[member].kind,
                                                           item, "", round->chosen, &resumed);
        snprintf(what, sizeof what, " in%s%s %s", known ? " " : "",
                 known ? session->kernels.plugins[round->chosen[row.row]].id : "", item_name(item));
    }
    fault_say("the process for %s ended: %s%s; --resume adds what is missing", name, how, what);
}

static bool run_round(struct session *session, enum attn_device kind, int *exit_status,
                      struct fault *fault) {
    struct round round = {.session = session};
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
        counts[n] = item->file != NULL
                        ? session->kernels.count
                        : session_choose(session, kind, item, "", round.chosen, &resumed);
        rows += counts[n];
    }
    if (well && rows > 0 && round.count > 0) {
        round.deal = deal_make(counts, session->item_count, round.count, fault);
        well = round.deal != NULL;
        const struct crew_task task = {.work = run_lane, .lost = lose_lane, .context = &round};
        const int status = well ? crew_run(&task, round.count) : 0;
        if (status > *exit_status) *exit_status = status;
        if (well && deal_left(round.deal) > 0)
            fault_say("%lld rows were not run: no process is left for them",
                      (long long)deal_left(round.deal));
        deal_free(round.deal);
    }
    free(round.chosen);
    free(counts);
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
    bool well = true;
    for (int64_t n = 0; well && n < session->item_count; n++) {
        struct mark *mark = &session->board->marks[n];
        mark->std16_rho = NAN;
        well = crew_lock_make(&mark->lock, fault);
    }
    if (!well || !show_start(&session->board->show, options->json, options->quiet, rows, fault))
        return false;
    show_resumed(&session->board->show, resumed);
    return true;
}

bool rounds_run(struct session *session, int *exit_status, struct fault *fault) {
    const size_t bytes =
        sizeof *session->board + (size_t)session->item_count * sizeof *session->board->marks;
    bool well = make_board(session, bytes, fault);
    if (well) {
        prepare_to_leave(session);
        for (const struct driver *driver = drivers;
             well && driver->meaning != NULL && *exit_status != FAULT_OURS; driver++)
            well = run_round(session, driver->device, exit_status, fault);
        well = writer_close(&session->writer, fault) && well;
        well = samples_finish(session->writer.folder, fault) && well;
        show_end(&session->board->show, session->writer.folder);
    }
    if (session->board != NULL) {
        session->rows = session->board->show.done;
        session->judged = session->board->judged;
        session->file_variants = session->board->file_variants;
    }
    crew_release(session->board, bytes);
    session->board = NULL;
    return well;
}
