#define _GNU_SOURCE
#include "sampling.h"
#include "control.h"
#include "regime.h"
#include "spoil.h"
#include "../../oracle/clock.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A verdict takes 30 samples (report/effect.h); some may be set aside. */
enum { REPLAYS_MIN = 32, BURST_MAX = 128, LOOKED_AT_EVERY = 8 };
/* Of 40 the 95 % interval leaves out the 13 most extreme on each side. */
enum { SURPRISE_EVERY = 8, BESIDE_MIN = 3, BESIDE = 40, ROUNDS = 3 };

/* A sample lasts about this long: events tell half a microsecond apart. */
static const double sample_us = 1500;
/* A clock that much below the highest is lower. */
static const double clock_below = 0.99;
static const double quiet_share = 1.0 / 3;

static struct series series;
static const struct device_state unknown = {NAN, NAN, NAN, NAN, "", false};

void sampling_forget(const struct subject *subject) {
    series_forget(&series, subject);
}

/* As many as last for a sample; once more where single launches have told too few. */
static const char *record_launches(struct sampling *sampling, const struct subject *subject) {
    const char *reason =
        series_record(&series, subject, 0, sample_us / fmax(sampling->single_us, 0.1));
    const double us = reason == NULL ? series_launch_us(&series, subject) : 0;
    if (us == 0 || us * (double)series.launches >= sample_us / 2) return reason;
    subject->device->erase();
    return series_record(&series, subject, 0, sample_us / us);
}

/* Samples are replays, where they can be. What stands against it is no failure:
 * sampling->unrecorded. */
static void record(struct sampling *sampling, const struct subject *subject) {
    const struct series_plan plan = {sampling->cold, sampling->touched_bytes, sampling->single_us};
    if (subject->device->record == NULL || sampling->single_us > series_us_max ||
        !series_fill(&series, subject, &plan, NULL))
        return;
    const char *reason = record_launches(sampling, subject);
    if (reason != NULL) {
        snprintf(sampling->unrecorded, sizeof sampling->unrecorded, "%s", reason);
        return;
    }
    sampling->launches = series.launches;
    sampling->copies = sampling->cold ? series.count : 0;
}

/* Of what is timed one, *us of a launch. A long launch alone says what the GPU did as well. */
static const char *run_one(const struct sampling *sampling, const struct subject *subject,
                           double *us, struct device_state *state) {
    *us = 0;
    if (series.recorded) return series_replay(&series, subject, us, state);
    if (sampling->cold && !subject->device->evict(subject->call->threads))
        return "out of memory to empty the caches";
    return subject_launch(subject, us, sampling->single_us > series_us_max ? state : NULL);
}

/* The same, taken note of: of GPUs. */
static const char *work(struct sampling *sampling, const struct subject *subject,
                        struct regime *regime, double *us, struct device_state *state) {
    const double start = clock_s();
    const char *reason = run_one(sampling, subject, us, state);
    regime_note(regime, (clock_s() - start) * 1e6); /* a replay has others beside it */
    return reason;
}

static bool has_regime(const struct subject *subject) {
    return subject->device->record != NULL;
}

/* Until it has settled, of a burst once. A replay is cheap: with so many the interval of the median
 * is no accident. */
static const char *settle(struct sampling *sampling, const struct subject *subject,
                          struct regime *regime) {
    struct settling settling = {0};
    struct device_state state = unknown;
    const char *reason = NULL;
    double us = 0;
    bool settled = false;
    while (reason == NULL && !settled) {
        reason = work(sampling, subject, regime, &us, &state);
        settled = settling_add(&settling, us * (double)sampling->launches, state.clock_mhz) ||
                  regime->burst;
    }
    sampling->last = state;
    if (!series.recorded) return reason;
    if (sampling->plan.samples_min < REPLAYS_MIN) sampling->plan.samples_min = REPLAYS_MIN;
    const double least_ms =
        (double)sampling->plan.samples_min * us * (double)sampling->launches * 1e-3;
    sampling->plan.total_ms_max = fmax(sampling->plan.total_ms_max, least_ms);
    return reason;
}

/* The reasons of all samples, each once. */
static void add_reasons(char to[96], const char *reasons) {
    char words[96];
    snprintf(words, sizeof words, "%s", reasons);
    for (char *rest = words, *word; (word = strsep(&rest, " ")) != NULL;) {
        const size_t used = strlen(to);
        if (*word != '\0' && strstr(to, word) == NULL)
            snprintf(to + used, 96 - used, "%s%s", used > 0 ? " " : "", word);
    }
}

/* A launch that is no sample: after values were turned, after lines were written as they are, or
 * after nothing. */
enum extra { TURNED, TOUCHED, PLAIN, EXTRAS };

static const char *take_extra(struct sampling *sampling, const struct subject *subject,
                              enum extra extra) {
    double *const to[EXTRAS] = {sampling->surprised_us, sampling->touched_us, sampling->plain_us};
    int64_t *const counts[EXTRAS] = {&sampling->surprised, &sampling->touched, &sampling->plain};
    if (*counts[extra] == SAMPLING_EXTRA_MAX) return NULL;
    watch_fill(sampling->watch, INFINITY);
    if (extra == TURNED) watch_turn(sampling->watch);
    if (extra == TOUCHED) turn_touch(sampling->watch->turn);
    const char *reason = subject_launch(subject, &to[extra][(*counts[extra])++], NULL);
    if (reason == NULL) watch_look(sampling->watch, sampling->n);
    return reason;
}

/* Samples stay in their order; of none, without memory. */
static struct timing summary_of(const double *us, int64_t n) {
    struct timing timing = {.median_us = NAN};
    double *sorted = malloc((size_t)(n + 1) * sizeof *sorted);
    if (sorted == NULL) return timing;
    memcpy(sorted, us, (size_t)n * sizeof *sorted);
    timing_summarise(&timing, sorted, n);
    free(sorted);
    return timing;
}

/* By their medians alone: what one hiccup of the machine cannot hide. */
static bool seem_apart(const double *usual_us, int64_t usual, const double *other_us,
                       int64_t other) {
    const struct timing a = summary_of(usual_us, usual), b = summary_of(other_us, other);
    return timing_apart(&a, &b, 0, false);
}

/* One launch of each kind, in any order: a host's other users may have a rhythm. */
static const char *take_each(struct sampling *sampling, const struct subject *subject) {
    const int64_t first = turn_draw(sampling->watch->turn, EXTRAS);
    const int64_t step = 1 + turn_draw(sampling->watch->turn, EXTRAS - 1);
    const char *reason = NULL;
    for (int64_t n = 0; reason == NULL && n < EXTRAS; n++)
        reason = take_extra(sampling, subject, (enum extra)((first + n * step) % EXTRAS));
    return reason;
}

static bool still_seem_apart(const struct sampling *sampling) {
    return seem_apart(sampling->touched_us, sampling->touched, sampling->surprised_us,
                      sampling->surprised) ||
           seem_apart(sampling->plain_us, sampling->plain, sampling->surprised_us,
                      sampling->surprised);
}

/* Three kinds of launches beside each other, until it no longer seems so or there are enough of
 * them to tell. In rounds: others on the machine may make one look so. (With one, four honest rows
 * of 1,180 were accused beside 10 to 18 others who wanted two processors.) */
static const char *doubt(struct sampling *sampling, const struct subject *subject) {
    const char *reason = NULL;
    bool apart = seem_apart(sampling->us, sampling->n, sampling->surprised_us, sampling->surprised);
    for (int round = 0; reason == NULL && apart && round < ROUNDS; round++) {
        sampling->surprised = sampling->touched = sampling->plain = 0;
        for (int n = 0; reason == NULL && apart && n < BESIDE; n++) {
            reason = take_each(sampling, subject);
            apart = n + 1 < BESIDE_MIN || still_seem_apart(sampling);
        }
    }
    return reason;
}

/* Every eighth at random, and one at least. */
static const char *maybe_surprise(struct sampling *sampling, const struct subject *subject,
                                  bool last) {
    const bool due = turn_draw(sampling->watch->turn, SURPRISE_EVERY) == 0;
    return due || (last && sampling->surprised == 0) ? take_extra(sampling, subject, TURNED) : NULL;
}

static const char *take_one(struct sampling *sampling, const struct subject *subject,
                            struct regime *regime) {
    double *us = &sampling->us[sampling->n], *clock = &sampling->clock_mhz[sampling->n];
    if (has_regime(subject)) {
        struct device_state state = unknown;
        const char *reason = work(sampling, subject, regime, us, &state);
        *clock = state.clock_mhz;
        add_reasons(state.slowed, sampling->last.slowed);
        sampling->last = state;
        return reason;
    }
    *clock = NAN;
    if (sampling->cold && !subject->device->evict(subject->call->threads))
        return "out of memory to empty the caches";
    const long before = series_interruptions();
    const char *reason = subject_launch(subject, us, NULL);
    if (!subject->device->events && series_interruptions() != before) sampling->interrupted++;
    return reason;
}

/* Outputs were looked at, and the GPU cools meanwhile: launches that do not count make up for it.
 */
static const char *make_up(struct sampling *sampling, const struct subject *subject,
                           struct regime *regime) {
    const double lost_us = regime_lost_us(regime, *sampling->last.slowed != '\0');
    const char *reason = NULL;
    double us;
    for (double made_us = 0; reason == NULL && made_us < lost_us;
         made_us += us * (double)sampling->launches)
        reason = work(sampling, subject, regime, &us, NULL);
    return reason;
}

static bool turns(const struct sampling *sampling) {
    return sampling->watch != NULL && sampling->watch->turn != NULL;
}

static bool rotates(const struct sampling *sampling) {
    return series.recorded && sampling->cold;
}

/* Copies of inputs are not turned: what is recorded reads them in turn. Of their outputs a sample
 * has those of one filled and looked at, the next sample those of the next. Where looking is a
 * pause, samples follow each other and few are looked at (regime.h). */
static const char *sample(struct sampling *sampling, const struct subject *subject,
                          struct regime *regime, double elapsed_s) {
    const bool looks = !regime->pauses || sampling->n % LOOKED_AT_EVERY == 0;
    struct watch *watch = looks ? sampling->watch : NULL;
    const char *reason = NULL;
    if (has_regime(subject)) {
        regime_begin(regime);
        reason = make_up(sampling, subject, regime);
    }
    if (watch != NULL && rotates(sampling))
        watch_aim(watch, &series.calls[watch->looked % series.count]);
    if (watch != NULL) watch_fill(watch, elapsed_s);
    if (watch != NULL && turns(sampling) && watch->due &&
        (series.recorded ? !sampling->cold : sampling->cold))
        watch_turn(watch);
    if (reason == NULL) reason = take_one(sampling, subject, regime);
    if (watch != NULL && reason == NULL) watch_look(watch, sampling->n + 1);
    sampling->n++;
    return reason;
}

/* NaN: there is none. */
static double take_control(const struct sampling *sampling, const struct subject *subject) {
    double us;
    return control_take(&us, subject->call, subject->device->kind, sampling->control) ? us : NAN;
}

/* Although there are enough to know the time: to watch, or to see the CPU quiet, for which some of
 * the time is waited. */
static bool wants_more(const struct sampling *sampling, int64_t quiet, double total_ms) {
    const struct timing_plan *plan = &sampling->plan;
    if (sampling->n >= plan->samples_max || total_ms >= plan->total_ms_max) return false;
    return sampling->n < sampling->watched_min ||
           (quiet < plan->samples_min && total_ms < quiet_share * plan->total_ms_max);
}

static const char *take_all(struct sampling *sampling, const struct subject *subject,
                            struct regime *regime) {
    const bool surprises = turns(sampling) && !series.recorded && !sampling->cold;
    const char *reason;
    const double start = clock_s();
    double before_us = take_control(sampling, subject);
    int64_t quiet = 0;
    bool enough = false, more;
    do {
        reason = sample(sampling, subject, regime, clock_s() - start - regime->rested_s);
        const double after_us = take_control(sampling, subject);
        const double control_us = fmax(before_us, after_us);
        const double total_ms = (clock_s() - start - regime->rested_s) * 1e3;
        sampling->control_us[sampling->n - 1] = control_us;
        before_us = after_us;
        quiet += sampling->quiet_us == 0 || timing_is_quiet(control_us, sampling->quiet_us);
        if (!enough)
            enough =
                timing_enough(sampling->us, sampling->n, total_ms, &sampling->plan, sampling->stop);
        more = !enough || wants_more(sampling, quiet, total_ms);
        if (reason == NULL && surprises) reason = maybe_surprise(sampling, subject, !more);
    } while (reason == NULL && more);
    return reason == NULL && surprises ? doubt(sampling, subject) : reason;
}

/* Warm samples of which a burst would say something else. */
static bool is_slowed(const struct sampling *sampling) {
    double *clock = sampling->clock_mhz; /* NaN, of all or of none */
    if (*sampling->regime == '\0' || sampling->burst || sampling->cold) return false;
    return *sampling->last.slowed != '\0' ||
           summary_of(clock, sampling->n).median_us < clock_below * sampling->last.clock_max_mhz;
}

/* What it leaves is looked at, too. */
static const char *take_burst(struct sampling *sampling, const struct subject *subject) {
    struct regime regime = {.burst = true};
    struct sampling_burst *burst = &sampling->burst_beside;
    double us[BURST_MAX], clock_mhz[BURST_MAX];
    struct device_state state = unknown;
    const char *reason = NULL;
    int64_t n = 0;
    regime_begin(&regime);
    if (sampling->watch != NULL) watch_fill(sampling->watch, INFINITY);
    while (reason == NULL && n < BURST_MAX && regime.busy_us < regime_burst_us) {
        reason = work(sampling, subject, &regime, &us[n], &state);
        clock_mhz[n++] = state.clock_mhz;
    }
    if (reason == NULL && sampling->watch != NULL) watch_look(sampling->watch, sampling->n);
    *burst = (struct sampling_burst){summary_of(us, n).median_us,
                                     summary_of(clock_mhz, n).median_us, state.watts};
    return reason;
}

/* Values are as they were, and outputs expected so. */
static const char *spoil(struct sampling *sampling, const struct subject *subject) {
    const double us = summary_of(sampling->us, sampling->n).median_us;
    const struct spoil spoil = {.subject = subject,
                                .calls = series.calls,
                                .count = series.count,
                                .single_us = fmin(sampling->single_us, us),
                                .sample_us = us,
                                .sample_launches = sampling->launches,
                                .watch = sampling->watch};
    return spoil_measure(&spoil, &sampling->spoilt);
}

const char *sampling_take(struct sampling *sampling, const struct subject *subject) {
    const char *reason = NULL;
    struct regime regime = {.burst = sampling->burst};
    sampling_forget(subject);
    sampling->us = malloc((size_t)sampling->plan.samples_max * sizeof *sampling->us);
    sampling->clock_mhz = malloc((size_t)sampling->plan.samples_max * sizeof *sampling->clock_mhz);
    sampling->control_us =
        malloc((size_t)sampling->plan.samples_max * sizeof *sampling->control_us);
    if (sampling->us == NULL || sampling->clock_mhz == NULL || sampling->control_us == NULL)
        return "out of memory for the samples";
    sampling->launches = 1;
    sampling->last = unknown;
    sampling->regime = has_regime(subject) ? regime_name(sampling->burst) : "";
    sampling->burst_beside = (struct sampling_burst){NAN, NAN, NAN};
    if (subject->device->record != NULL) reason = subject_time(subject, &sampling->single_us);
    if (reason == NULL) record(sampling, subject);
    if (reason == NULL && has_regime(subject)) reason = settle(sampling, subject, &regime);
    snprintf(sampling->how, sizeof sampling->how, "%s",
             series.recorded           ? "graph"
             : subject->device->events ? "events"
                                       : "clock");
    if (reason == NULL) reason = take_all(sampling, subject, &regime);
    if (reason == NULL && sampling->watch != NULL && rotates(sampling))
        reason = series_look(&series, subject, sampling->watch, sampling->n);
    if (reason == NULL && is_slowed(sampling)) reason = take_burst(sampling, subject);
    if (turns(sampling)) {
        sampling->turned_bytes = sampling->watch->turn->lines_bytes;
        watch_turn_back(sampling->watch);
    }
    if (reason == NULL && turns(sampling) && series.recorded) reason = spoil(sampling, subject);
    return reason;
}

const char *sampling_repeat(const struct subject *subject) {
    double us;
    return series.recorded ? series_replay(&series, subject, &us, NULL)
                           : subject_launch(subject, &us, NULL);
}
