/* One row after the other. A problem that cannot be had costs its rows and the exit status; memory
 * or a process that cannot be had costs a row; a run that cannot be written ends the process. */
#include "lane.h"
#include "again.h"
#include "keep.h"
#include "../judge/anchor.h"
#include "../record/number.h"
#include "../trial/client.h"
#include "../trial/duel.h"
#include "../trial/obtain.h"
#include "../trial/sanitizer.h"
#include "../trial/timing_lock.h"
#include "../worker/driver.h"
#include "../worker/host.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Visible pairs times head dim that the textbook anchor may cost: about a second. */
static const double anchor_work_max = 1e9;

/* Launches that must agree, of a row that was checked before, if no number was asked for. */
enum { AGAIN_REPEATS = 2 };

/* A run that was killed so often at one row, parent and all, does not try it again. */
enum { TIMES_MAX = 2 };

struct lane {
    struct session *session;
    struct lane_options options;
    struct trial_options trial;
    struct client client;
    struct samples samples;     /* of the row at hand */
    struct samples old_samples; /* and, of a live run, of its partner's */
    /* the problem at hand */
    int64_t problem;
    struct item *item; /* NULL: none yet */
    struct mark *mark;
    struct fixture fixture; /* empty until needed */
    int64_t *chosen, count;
    int64_t bytes; /* that it takes; 0: it is there already */
    bool fits;
    bool stuck; /* a row cannot be written: there is no use in another */
    int exit_status;
    double clock_mhz, quiet_us; /* as in struct trial_options */
};

/* `before`: the row that is there; NULL: none is. */
static bool keep(struct lane *lane, struct row *row, const struct row *before,
                 struct samples *samples, struct fault *fault) {
    row->deviation.rho_std16 = row->deviation.rho / lane->mark->std16_rho;
    lane->stuck = before == NULL ? !keep_row(lane->session, row, samples, fault)
                                 : !keep_again(lane->session, row, before, samples, fault);
    samples_free(samples);
    return !lane->stuck;
}

/* A row that ends before its kernel runs. */
static bool lose(struct lane *lane, const struct plugin *kernel, enum status status,
                 const char *reason, struct fault *fault) {
    lane->stuck =
        !keep_lost(lane->session, kernel, lane->item, &lane->trial, status, reason, fault);
    return !lane->stuck;
}

static bool is_refused(const struct lane *lane, const struct plugin *kernel) {
    char reason[256];
    return kernel->trouble != STATUS_PASS ||
           plugin_refusal(&kernel->kernel, &lane->item->problem.attn, reason) != NULL;
}

/* A row that needs no fixture to be decided. */
static bool refuse(struct lane *lane, const struct plugin *kernel, struct row *row,
                   struct fault *fault) {
    bool spoilt;
    struct fixture empty = {.problem = lane->item->problem};
    snprintf(empty.line, sizeof empty.line, "%s", lane->item->line);
    snprintf(empty.digest, sizeof empty.digest, "%s", lane->mark->digest);
    return trial_run(row, kernel, &empty, &lane->trial, &spoilt, fault);
}

static bool too_large(struct lane *lane, const struct plugin *kernel, struct fault *fault) {
    char reason[256];
    const int64_t left = host_memory_free();
    if (lane->bytes >= left)
        snprintf(reason, sizeof reason, "the problem needs %s, %s are free",
                 number_bytes((double)lane->bytes).text, number_bytes((double)left).text);
    else
        snprintf(reason, sizeof reason,
                 "the problem needs %s, %s are the most that it is given: 0.9 of the machine",
                 number_bytes((double)lane->bytes).text,
                 number_bytes((double)obtain_bytes_max()).text);
    return lose(lane, kernel, STATUS_OOM, reason, fault);
}

/* Anchors are measured, never judged: what they say is how good a row can be, and how good people
 * are used to. */
static bool run_anchor(struct lane *lane, enum anchor anchor, bool again, struct fault *fault) {
    struct row row;
    const struct item *item = lane->item;
    struct plugin computed = {.kernel = {.variant = item->problem.attn.variant}};
    const struct rule_view view = fixture_view(&lane->fixture);
    snprintf(computed.id, sizeof computed.id, "anchor/%s", anchor_name(anchor));
    snprintf(computed.name, sizeof computed.name, "%s", anchor_name(anchor));
    trial_describe(&row, &computed, &lane->fixture, &lane->trial);
    snprintf(row.device, sizeof row.device, "anchor");
    show_step(&lane->session->board->show, computed.id);
    if (!anchor_measure(&row.deviation, anchor, &view, &lane->fixture.answer, anchor_work_max,
                        lane->trial.threads, fault))
        return false;
    const struct verdict verdict = judge(&row.deviation, &(struct observation){0});
    snprintf(row.status, sizeof row.status, "%s", status_name(STATUS_PASS));
    snprintf(row.grade, sizeof row.grade, "%c", verdict.grade);
    snprintf(row.reason, sizeof row.reason, "computed, not run");
    if (anchor == ANCHOR_STD16) lane->mark->std16_rho = row.deviation.rho;
    if (!session_in_shard(lane->session, computed.id, item) ||
        session_has(lane->session, &computed, item, lane->fixture.digest) ||
        (again && keep_has(lane->session, &computed, item)))
        return true;
    return keep(lane, &row, NULL, &lane->samples, fault);
}

static bool run_anchors(struct lane *lane, struct fault *fault) {
    bool well = true;
    const bool again = lane->mark->begun; /* by one that died */
    lane->mark->begun = true;
    for (int n = ANCHOR_COUNT - 1; well && n >= 0; n--) { /* std16 first: others refer to it */
        if (anchor_exists((enum anchor)n, &lane->item->problem.attn))
            well = run_anchor(lane, (enum anchor)n, again, fault);
    }
    return well;
}

/* Under the problem's lock: whoever comes second finds the fixture in the cache and the anchors
 * computed. */
static bool obtain(struct lane *lane, struct fault *fault) {
    const struct item *item = lane->item;
    const struct obtain_options how = {.program = lane->trial.program,
                                       .threads = lane->trial.threads};
    crew_lock(&lane->mark->lock);
    fixture_free(&lane->fixture);
    show_step(&lane->session->board->show, item_name(item));
    const bool well = item->file != NULL ? obtain_file(&lane->fixture, item->file, &how, fault)
                                         : obtain_line(&lane->fixture, item->line, &how, fault);
    crew_unlock(&lane->mark->lock);
    return well;
}

static bool add_anchors(struct lane *lane, struct fault *fault) {
    bool well = true;
    if (!lane->session->options.anchors) return true;
    crew_lock(&lane->mark->lock);
    if (!lane->mark->anchored) well = run_anchors(lane, fault);
    lane->mark->anchored = true;
    crew_unlock(&lane->mark->lock);
    return well;
}

static bool try_kernel(struct lane *lane, const struct plugin *kernel, struct row *row,
                       struct fault *fault) {
    bool spoilt = false;
    if (is_refused(lane, kernel)) return refuse(lane, kernel, row, fault);
    if ((lane->fixture.memory == NULL && !obtain(lane, fault)) || !add_anchors(lane, fault))
        return false;
    show_step(&lane->session->board->show, kernel->id);
    if (!trial_run(row, kernel, &lane->fixture, &lane->trial, &spoilt, fault)) return false;
    if (spoilt) fixture_free(&lane->fixture);
    return true;
}

/* The old row's partner, NULL in an ordinary run. */
static const struct plugin *partner_of(const struct lane *lane, const struct plugin *kernel) {
    const struct session *session = lane->session;
    return session->partners != NULL
               ? &session->old.plugins[session->partners[kernel - session->kernels.plugins]]
               : NULL;
}

/* Of a pair, by itself: timed for a moment, and as in an ordinary run before that says more than
 * that it is right. */
static bool try_alone(struct lane *lane, const struct plugin *kernel, struct row *row,
                      struct samples *samples, struct fault *fault) {
    const struct timing_plan briefly = lane->trial.plan;
    lane->trial.samples = samples;
    bool well = try_kernel(lane, kernel, row, fault);
    if (well && status_of(row) == STATUS_INVALID_PHYSICS) {
        lane->trial.plan = trial_defaults.plan;
        samples_free(samples);
        well = try_kernel(lane, kernel, row, fault);
        lane->trial.plan = briefly;
    }
    return well;
}

/* Each by itself, and then both. */
static bool try_pair(struct lane *lane, const struct plugin *old, const struct plugin *new,
                     struct row *old_row, struct row *new_row, struct fault *fault) {
    const struct session_live *live = &lane->session->options.live;
    const struct duel duel = {old, new, live->cold, live->warm, live->least, live->total_ms_max};
    bool spoilt = false;
    bool well = try_alone(lane, old, old_row, &lane->old_samples, fault) &&
                try_alone(lane, new, new_row, &lane->samples, fault);
    well = well && (lane->fixture.memory != NULL || is_refused(lane, new) || obtain(lane, fault)) &&
           duel_run(old_row, new_row, &duel, &lane->fixture, &lane->trial, &lane->old_samples,
                    &spoilt, fault);
    if (spoilt) fixture_free(&lane->fixture);
    return well;
}

/* What the machine does not give costs the row: memory, or a process. */
static bool run_kernel(struct lane *lane, const struct plugin *kernel, struct fault *fault) {
    static struct row row, old_row;
    const struct plugin *partner = partner_of(lane, kernel);
    samples_free(&lane->samples);
    samples_free(&lane->old_samples);
    if (partner == NULL)
        return try_kernel(lane, kernel, &row, fault) &&
               keep(lane, &row, NULL, &lane->samples, fault);
    return try_pair(lane, partner, kernel, &old_row, &row, fault) &&
           keep(lane, &old_row, NULL, &lane->old_samples, fault) &&
           keep(lane, &row, NULL, &lane->samples, fault);
}

/* In a process that has not had it, nor has this lane's worker. What the machine does not give
 * leaves the row as it is. */
static bool run_again(struct lane *lane, const struct plugin *kernel, struct fault *fault) {
    static struct row row;
    const struct session *session = lane->session;
    const struct row *before = session_find(session, kernel, lane->item,
                                            lane->item->file != NULL ? lane->mark->digest : "");
    struct samples earlier = {0};
    const int repeats = lane->trial.repeats;
    if (!lane->fits || before == NULL ||
        hands_times(&session->hands, kernel->id, item_name(lane->item)) >= TIMES_MAX)
        return true;
    hands_take(&session->hands, lane->options.member, kernel->id, item_name(lane->item));
    samples_free(&lane->samples);
    if (!lane->trial.repeats_asked && repeats > AGAIN_REPEATS) lane->trial.repeats = AGAIN_REPEATS;
    const bool tried = try_kernel(lane, kernel, &row, fault);
    lane->trial.repeats = repeats;
    if (!tried) return fault->code == FAULT_OURS;
    if (status_of(&row) == STATUS_OOM) return true;
    if (row_is_right(&row)) {
        samples_read_row(session->writer.folder, before, &earlier);
        trial_join(&row, before, lane->trial.machine, &lane->samples, &earlier);
        samples_free(&earlier);
    }
    return keep(lane, &row, before, &lane->samples, fault);
}

static bool run_row(struct lane *lane, const struct plugin *kernel, struct fault *fault) {
    const struct hands *hands = &lane->session->hands;
    const struct plugin *partner = partner_of(lane, kernel);
    char reason[256];
    if (is_refused(lane, kernel) && (partner == NULL || is_refused(lane, partner)))
        return run_kernel(lane, kernel, fault);
    if (!lane->fits) return too_large(lane, kernel, fault);
    const int64_t times = hands_times(hands, kernel->id, item_name(lane->item));
    if (times >= TIMES_MAX) {
        snprintf(reason, sizeof reason,
                 "the run ended without a word while this was at hand, %lld times",
                 (long long)times);
        return lose(lane, kernel, STATUS_CRASH, reason, fault);
    }
    hands_take(hands, lane->options.member, kernel->id, item_name(lane->item));
    if (run_kernel(lane, kernel, fault)) return true;
    if (lane->stuck || fault->code != FAULT_OURS) return false;
    struct fault why = *fault;
    return lose(lane, kernel, STATUS_OOM, why.text, fault);
}

/* What its rows are is known of a line; a file says it itself. */
static bool take_up(struct lane *lane, const struct deal_row *dealt, struct fault *fault) {
    struct session *session = lane->session;
    struct item *item = &session->items[dealt->problem];
    int64_t resumed = 0;
    bool wanted = true;
    fixture_free(&lane->fixture);
    lane->problem = dealt->problem;
    lane->item = item;
    lane->mark = &session->board->marks[dealt->problem];
    lane->trial.file = item->file;
    lane->count = 0;
    if (item->file != NULL) {
        if (!obtain(lane, fault)) return false;
        item->problem = lane->fixture.problem;
        snprintf(item->line, sizeof item->line, "%s", lane->fixture.line);
        snprintf(lane->mark->digest, sizeof lane->mark->digest, "%s", lane->fixture.digest);
        snprintf(lane->mark->line, sizeof lane->mark->line, "%s", lane->fixture.line);
        wanted = select_holds(session->words, session->options.words.count, &item->problem);
    }
    lane->bytes = item->file == NULL ? fixture_bytes(&item->problem) : 0;
    lane->fits = lane->bytes < host_memory_free() && lane->bytes < obtain_bytes_max();
    if (wanted)
        lane->count = session_choose(session, lane->options.target.kind, item, lane->fixture.digest,
                                     lane->chosen, &resumed);
    if (item->file == NULL) return true;
    deal_limit(lane->options.deal, lane->problem, lane->count);
    if (dealt->row == 0) show_resumed(&session->board->show, resumed);
    return true;
}

/* Says so once, whoever else finds it out. */
static void give_up(struct lane *lane, const struct fault *fault) {
    deal_limit(lane->options.deal, lane->problem, 0);
    crew_lock(&lane->mark->lock);
    if (!lane->mark->failed) fault_tell(fault);
    lane->mark->failed = true;
    crew_unlock(&lane->mark->lock);
    lane->count = 0;
    if ((int)fault->code > lane->exit_status) lane->exit_status = (int)fault->code;
}

static bool work(struct lane *lane, struct fault *fault) {
    struct deal_row dealt;
    bool well = true;
    while (well && deal_next(lane->options.deal, lane->options.member, &dealt)) {
        if (lane->item == NULL || dealt.problem != lane->problem)
            well = take_up(lane, &dealt, fault);
        if (well && dealt.row < lane->count) {
            const int64_t kernel = lane->chosen[dealt.row];
            const struct plugin *plugin = &lane->session->kernels.plugins[kernel];
            well = lane->session->again ? run_again(lane, plugin, fault)
                                        : run_row(lane, plugin, fault);
        }
        if (well) deal_done(lane->options.deal, lane->options.member);
        if (!well && !lane->stuck) {
            give_up(lane, fault);
            well = true;
        }
    }
    return well;
}

/* What the sanitizer said when the last worker ended is no row's any more. */
static void look_at_the_end(struct lane *lane, struct sanitizer *sanitizer) {
    char reason[256];
    const enum status found = sanitizer_look(sanitizer, reason);
    if (found == STATUS_PASS) return;
    fault_say("after the last row: %s: %s", status_name(found), reason);
    if (status_exit(found) > lane->exit_status) lane->exit_status = status_exit(found);
}

int lane_run(const struct lane_options *options) {
    struct session *session = options->session;
    struct fault fault = {0};
    struct lane lane = {
        .session = session,
        .options = *options,
        .trial = session->options.trial,
        .chosen = calloc((size_t)session->kernels.count + 1, sizeof *lane.chosen),
    };
    lane.trial.threads = options->threads;
    lane.trial.device_index = options->target.index;
    lane.trial.machine = &session->machine;
    lane.trial.samples = &lane.samples;
    lane.trial.client = &lane.client;
    lane.trial.clock_mhz = &lane.clock_mhz;
    lane.trial.quiet_us = &lane.quiet_us;
    struct sanitizer sanitizer = {0}; /* a log for each process */
    struct timing_lock timing_lock = {.file = -1};
    const char *tool = session->options.sanitize;
    const bool accelerator = driver_of(options->target.kind)->library != NULL;
    if (tool != NULL) lane.trial.sanitizer = &sanitizer;
    bool well = tool == NULL || sanitizer_open(&sanitizer, tool, &fault);
    if (well && accelerator && session_takes_turns(session))
        well = timing_lock_open(&timing_lock, &fault);
    lane.trial.timing_lock = &timing_lock;
    if (lane.chosen == NULL) well = fault_set(&fault, FAULT_OURS, "out of memory for kernels");
    well = well && work(&lane, &fault);
    if (!well) lane.exit_status = fault_tell(&fault);
    client_stop(&lane.client);
    if (tool != NULL) look_at_the_end(&lane, &sanitizer);
    sanitizer_close(&sanitizer);
    timing_lock_close(&timing_lock);
    fixture_free(&lane.fixture);
    samples_free(&lane.samples);
    samples_free(&lane.old_samples);
    free(lane.chosen);
    return lane.exit_status;
}
