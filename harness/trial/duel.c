/* Four sides of one worker: old, new, and both once more, each a file of its own in memory, for the
 * loader has one copy of a file however often it opens it. A library that looks for others beside
 * itself has no copy. */
#define _GNU_SOURCE
#include "duel.h"
#include "interpreter.h"
#include "timing_lock.h"
#include "trial_inside.h"
#include "../worker/protocol.h"
#include "../worker/race.h"
#include "../../oracle/clock.h"
#include "../../oracle/text.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct versus unknown = {.ratio = NAN,
                                      .low = NAN,
                                      .high = NAN,
                                      .p = NAN,
                                      .control = NAN,
                                      .control_low = NAN,
                                      .control_high = NAN,
                                      .inflation = NAN,
                                      .needed = NAN};

static const struct timing untimed = {.min_us = NAN,
                                      .q1_us = NAN,
                                      .median_us = NAN,
                                      .q3_us = NAN,
                                      .max_us = NAN,
                                      .ci_low_us = NAN,
                                      .ci_high_us = NAN,
                                      .control_us = {NAN, NAN, NAN},
                                      .clock_mhz = NAN,
                                      .next_us = NAN};

enum {
    OLD = RACER_OLD,
    NEW = RACER_NEW,
    OLD_COPY = RACER_OLD_COPY,
    NEW_COPY = RACER_NEW_COPY,
    SIDES = RACERS_MAX
};
enum { ROUNDS_MAX = 1 << 14 };

struct match {
    const struct duel *duel;
    struct trial sides[SIDES]; /* one worker, client and outputs: those of the first */
    struct row copies[2];      /* nobody's rows */
    int count;                 /* SIDES, or fewer: the last copies cannot be had */
    double waited_s;           /* for its turn */
    struct trial_options options[SIDES];
};

/* An open file in memory that holds what is at `path`; -1: it cannot be had. */
static int copy_of(const char *path) {
    struct stat status;
    const int from = open(path, O_RDONLY | O_CLOEXEC);
    const int to = from >= 0 ? memfd_create("library", MFD_CLOEXEC) : -1;
    bool well = to >= 0 && fstat(from, &status) == 0;
    for (off_t left = well ? status.st_size : 0; well && left > 0;) {
        const ssize_t sent = sendfile(to, from, NULL, (size_t)left);
        well = sent > 0;
        left -= sent;
    }
    if (from >= 0) close(from);
    if (well || to < 0) return to;
    close(to);
    return -1;
}

static bool same_file(const char *a, const char *b) {
    struct stat one, other;
    return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

static bool join(struct trial *side, bool copied) {
    json_t *reply, *request = trial_request(side, "load");
    const bool once = !interpreter_runs(side->plugin->path); /* of a file, for a loader */
    const int copy = copied && once ? copy_of(side->plugin->path) : -1;
    if (copied && once && copy < 0) {
        json_decref(request);
        return trial_end(side, STATUS_OOM, "no memory for a copy of the library");
    }
    json_object_set_new(request, "library", path_to_json(side->plugin->path));
    if (copied) json_object_set_new(request, "copy", json_true());
    const bool well =
        trial_ask_with(side, request, &copy, copy >= 0, side->options->watchdog_seconds, &reply);
    if (copy >= 0) close(copy);
    json_decref(reply);
    return well;
}

/* Which of both a side is, or a copy of. */
static int original(int side) {
    return side % 2;
}

/* A copy that cannot be had is none, nor are those behind it, unless it ended the worker. */
static bool do_without(struct match *match, int n) {
    struct trial *copy = &match->sides[n];
    match->count = n;
    copy->verdict = (struct verdict){.grade = '-'};
    return copy->client->end == CLIENT_ALIVE ||
           trial_end(&match->sides[original(n)], STATUS_CRASH, "loaded once more: %s",
                     copy->client->how);
}

static bool join_copies(struct match *match) {
    for (int n = OLD_COPY; n < match->count; n++) {
        if (!join(&match->sides[n], true) && !do_without(match, n)) return false;
    }
    return true;
}

/* One launch, into outputs that hold nothing; the guards and what it left are looked at, and the
 * worker told that this is what its launches leave. */
static bool get_ready(struct trial *side) {
    json_t *reply, *request;
    if (!trial_prepare(side) || !trial_launch(side, false)) return false;
    if (side->seen.guard_broken)
        return trial_end(side, STATUS_FAIL_OOB_WRITE, "wrote %s", side->seen.guard_where);
    struct deviation deviation;
    const struct verdict verdict = trial_judge_now(side, &deviation);
    if (verdict.status != STATUS_PASS)
        return trial_end(side, verdict.status, "%.220s", verdict.reason);
    outputs_copy(&side->outputs, side->first);
    request = trial_watch_for(side, false);
    json_object_set_new(request, "op", json_string("expect"));
    if (side->side > 0) json_object_set_new(request, "side", json_integer(side->side));
    if (!trial_ask(side, request, side->options->watchdog_seconds, &reply)) return false;
    json_decref(reply);
    return true;
}

/* What one of the sides is to blame for is in its own verdict. */
static bool blame(struct match *match, const struct trial *asked) {
    struct trial *blamed = &match->sides[asked->blamed % SIDES];
    const struct verdict verdict = asked->verdict;
    match->sides[NEW].verdict = (struct verdict){.grade = '-'};
    blamed->verdict = verdict;
    return false;
}

static double sum_of(const double *us, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += us[i];
    return sum;
}

/* The times of each side, in the order of rounds; false without memory. */
static bool read_times(double *us[SIDES], const json_t *sides, int64_t *rounds) {
    *rounds = (int64_t)json_array_size(json_object_get(json_array_get(sides, 0), "samples_us"));
    for (int n = 0; n < SIDES; n++) us[n] = NULL;
    for (size_t n = 0; n < json_array_size(sides) && n < SIDES; n++) {
        const json_t *list = json_object_get(json_array_get(sides, n), "samples_us");
        us[n] = calloc((size_t)*rounds + 1, sizeof(double));
        for (int64_t i = 0; us[n] != NULL && i < *rounds; i++)
            us[n][i] = json_number_value(json_array_get(list, (size_t)i));
    }
    return us[OLD] != NULL && us[NEW] != NULL;
}

static bool compare_times(struct match *match, bool cold, const json_t *reply, double wall_us) {
    struct row *row = match->sides[NEW].row;
    const json_t *sides = json_object_get(reply, "sides");
    const double launches = json_number_value(json_object_get(reply, "launches"));
    double *us[SIDES], sum_us = 0;
    int64_t rounds;
    bool well = read_times(us, sides, &rounds);
    const struct paired_times times = {
        .old_us = {us[OLD], us[OLD_COPY]}, .new_us = {us[NEW], us[NEW_COPY]}, .n = rounds};
    well = well &&
           paired_compare(cold ? &row->versus_cold : &row->versus_warm, &times, match->duel->least);
    if (!well) trial_end(&match->sides[NEW], STATUS_OOM, "out of memory for what was timed");
    for (int n = 0; n < SIDES && us[n] != NULL; n++) sum_us += sum_of(us[n], rounds) * launches;
    well = well && trial_look_at_sum(&match->sides[NEW], sum_us,
                                     (double)(rounds * match->count) * launches, wall_us);
    for (int n = 0; n < SIDES; n++) free(us[n]);
    return well;
}

/* What the samples left, of which a copy's is its original's doing. */
static bool look_at_side(struct match *match, int n, bool cold, json_t *reply) {
    struct trial *side = &match->sides[n];
    json_t *told, *of = json_array_get(json_object_get(reply, "sides"), (size_t)n);
    trial_look_at_scratch(side, of);
    if (side->seen.guard_broken)
        return trial_end(side, STATUS_FAIL_OOB_WRITE, "wrote %s", side->seen.guard_where);
    if (json_integer_value(json_object_get(of, "differed")) > 0) {
        if (!trial_ask(side, trial_request(side, "furthest"), side->options->watchdog_seconds,
                       &told))
            return false;
        json_decref(told);
    }
    if (!trial_look_at_samples(side, cold, of)) return false;
    json_object_update_missing(of, reply); /* how, stop and the like are of all */
    json_object_del(of, "sides");          /* which it is in: neither would ever be freed */
    trial_read_samples(side, cold, of);
    return true;
}

static bool race(struct match *match, bool cold) {
    struct trial *asked = &match->sides[NEW];
    const struct duel *duel = match->duel;
    const double total_ms = fmax(duel->total_ms_max, 20e3);
    json_t *reply, *request = json_pack("{s:s, s:b, s:b, s:f, s:i, s:f, s:f}", "op", "race", "cold",
                                        cold, "burst", asked->options->burst, "touched_bytes",
                                        match->sides[OLD].read_bytes, "rounds_max", ROUNDS_MAX,
                                        "total_ms_max", duel->total_ms_max, "least", duel->least);
    const double start = clock_s();
    if (!trial_ask(asked, request,
                   2 * asked->options->watchdog_seconds + total_ms * RACE_STRETCH_MAX * 1e-3,
                   &reply))
        return blame(match, asked);
    const double wall_us = (clock_s() - start) * 1e6;
    bool well = compare_times(match, cold, reply, wall_us);
    /* Guards are those of all: both were right by themselves, and new is what was changed. */
    static const int order[SIDES] = {NEW, OLD, OLD_COPY, NEW_COPY};
    for (int n = 0; n < match->count && well; n++)
        well = look_at_side(match, order[n], cold, reply);
    json_decref(reply);
    const char *where = outputs_guard_broken(&asked->outputs);
    if (well && where != NULL) well = trial_end(asked, STATUS_FAIL_OOB_WRITE, "wrote %s", where);
    return well;
}

static bool run(struct match *match) {
    struct trial *old = &match->sides[OLD], *new = &match->sides[NEW];
    if (!trial_load(old) || !trial_map(old)) return false;
    if (!join(new, same_file(old->plugin->path, new->plugin->path)) || !join_copies(match))
        return false;
    for (int n = 0; n < match->count; n++) {
        if (get_ready(&match->sides[n])) continue;
        const bool no_room = n >= OLD_COPY && match->sides[n].verdict.status == STATUS_OOM;
        if (!no_room || !do_without(match, n)) return false;
    }
    match->waited_s = timing_lock_take(old->options->timing_lock);
    bool well =
        (!match->duel->cold || race(match, true)) && (!match->duel->warm || race(match, false));
    timing_lock_release(old->options->timing_lock);
    for (int n = 0; n < match->count && well; n++) well = trial_finish(&match->sides[n]);
    return well;
}

/* Who did not do well, NULL: all did. */
static const struct trial *find_guilty(const struct match *match) {
    for (int n = 0; n < SIDES; n++) {
        if (match->sides[n].verdict.status != STATUS_PASS) return &match->sides[n];
    }
    return NULL;
}

static void describe_repeat(struct row *row, const struct match *match) {
    char *command = NULL;
    size_t bytes;
    FILE *to = open_memstream(&command, &bytes);
    if (to == NULL) return;
    fputs("attest compare --live ", to);
    text_quote(to, match->duel->old->path);
    fputc(' ', to);
    text_quote(to, match->duel->new->path);
    fputs(*row->file ? " -f " : " ", to);
    text_quote(to, *row->file ? row->file : row->line);
    if (match->options[OLD].threads > 0) fprintf(to, " --threads %d", match->options[OLD].threads);
    if (match->options[OLD].burst && match->options[OLD].time) fputs(" --regime burst", to);
    if (match->sides[OLD].interpreted) trial_repeat_python(to);
    if (fclose(to) == 0) row->repeat = text_kept(command);
    free(command);
}

static void conclude(struct match *match) {
    const struct trial *guilty = find_guilty(match);
    for (int n = OLD; n <= NEW; n++) {
        struct trial *side = &match->sides[n];
        struct row *row = side->row;
        const struct trial *of = guilty == &match->sides[n + OLD_COPY] ? guilty : side;
        const bool well = of->verdict.status == STATUS_PASS;
        snprintf(row->status, sizeof row->status, "%s", status_name(of->verdict.status));
        snprintf(row->reason, sizeof row->reason, "%s%s%s%.140s", well ? "" : "beside ",
                 well ? "" : match->sides[n == OLD ? NEW : OLD].plugin->id, well ? "" : ": ",
                 of->verdict.reason);
        if (!well) describe_repeat(row, match);
        if (well && guilty == NULL) trial_set_rates(side);
    }
    struct row *row = match->sides[NEW].row;
    if (guilty == NULL) return;
    row->versus_cold = row->versus_warm = unknown;
    snprintf(row->versus_why, sizeof row->versus_why, "%s is %s there",
             original((int)(guilty - match->sides)) == NEW ? "new" : "old",
             status_name(guilty->verdict.status));
}

static void make_side(struct match *match, int n, struct row *row, const struct plugin *plugin,
                      struct fixture *fixture) {
    struct trial *side = &match->sides[n];
    trial_make(side, row, plugin, fixture, &match->options[n]);
    side->side = n;
}

/* All sides see the first one's worker and outputs, and each has an output of its own to keep. */
static bool share(struct match *match, struct fault *fault) {
    const struct trial *first = &match->sides[OLD];
    for (int n = NEW; n < SIDES; n++) {
        struct trial *side = &match->sides[n];
        side->client = first->client;
        side->outputs = first->outputs;
        side->read_bytes = first->read_bytes;
        side->first = malloc(first->outputs.out_bytes + first->outputs.lse_bytes + 1);
        if (side->first == NULL) return fault_set(fault, FAULT_OURS, "out of memory for an output");
    }
    return true;
}

/* Who it is compared with, and why it is not, if one of them is not right. */
static bool begins(struct row *old_row, struct row *new_row, const struct duel *duel) {
    snprintf(new_row->versus, sizeof new_row->versus, "%s", old_row->kernel);
    snprintf(new_row->versus_digest, sizeof new_row->versus_digest, "%s", old_row->library_digest);
    new_row->versus_least = duel->least;
    const struct row *wrong = !row_is_right(old_row)   ? old_row
                              : !row_is_right(new_row) ? new_row
                                                       : NULL;
    if (wrong != NULL)
        snprintf(new_row->versus_why, sizeof new_row->versus_why, "%s is %s",
                 wrong == old_row ? "old" : "new", wrong->status);
    return wrong == NULL;
}

/* And what follows from them. It was right, so samples hold nothing else. */
static void forget_times(struct row *row, struct samples *samples) {
    row->cold = row->warm = untimed;
    row->burst_us = row->burst_clock_mhz = row->burst_watts = NAN;
    row->tflops = row->gbs = row->ceiling_percent = NAN;
    row->ceiling[0] = row->ceiling_from[0] = '\0';
    if (samples != NULL) samples_free(samples);
}

bool duel_run(struct row *old_row, struct row *new_row, const struct duel *duel,
              struct fixture *fixture, const struct trial_options *options,
              struct samples *old_samples, bool *fixture_spoilt, struct fault *fault) {
    *fixture_spoilt = false;
    if (!begins(old_row, new_row, duel)) return true;
    forget_times(old_row, old_samples);
    forget_times(new_row, options->samples);
    static struct match match;
    struct client own = {0};
    const double start = clock_s();
    match = (struct match){.duel = duel, .count = SIDES};
    for (int n = 0; n < SIDES; n++) {
        match.options[n] = *options;
        match.options[n].client = NULL;
        match.options[n].samples = n == NEW ? options->samples : n == OLD ? old_samples : NULL;
    }
    make_side(&match, OLD, old_row, duel->old, fixture);
    make_side(&match, NEW, new_row, duel->new, fixture);
    match.sides[OLD].interpreted |= match.sides[NEW].interpreted;
    make_side(&match, OLD_COPY, &match.copies[OLD], duel->old, fixture);
    make_side(&match, NEW_COPY, &match.copies[NEW], duel->new, fixture);
    const uint64_t digest = trial_digest_inputs(fixture);
    struct trial *first = &match.sides[OLD];
    first->inputs = digest;
    first->inputs_known = true;
    const bool entered = trial_enter(first, &own, fault);
    bool told = entered || fault->code == FAULT_NONE;
    if (entered && (told = share(&match, fault)) && run(&match) &&
        trial_digest_inputs(fixture) != digest)
        trial_end(&match.sides[NEW], STATUS_FAIL_INPUT_CHANGED, "one of both changed an input");
    const struct trial *guilty = find_guilty(&match);
    const struct verdict verdict = first->verdict;
    if (guilty != NULL) first->verdict = guilty->verdict; /* what the worker is worth now */
    *fixture_spoilt = !trial_leave(first, &own, entered);
    first->verdict = verdict;
    if (told) conclude(&match);
    new_row->seconds += clock_s() - start - match.waited_s;
    for (int n = NEW; n < SIDES; n++) free(match.sides[n].first);
    return told;
}
