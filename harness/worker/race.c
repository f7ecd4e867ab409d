#define _GNU_SOURCE
#include "race.h"
#include "paired.h"
#include "priority.h"
#include "regime.h"
#include "../../fixtures/random.h"
#include "../../oracle/clock.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

/* A replay lasts about this long, a third of what it does in sampling.h: rounds are what counts,
 * and half a microsecond that events are off is 0.1 % of it. */
static const double replay_us = 500;
/* Fewer rounds than a verdict needs are of no use, as long as they do not take longer than this. */
static const double fewest_ms_max = 20e3;
enum { CHECK_FIRST = 30, TRIES = 4 };

static const struct device_state unknown = {NAN, NAN, NAN, NAN, "", false};

struct course {
    struct race *race;
    struct series series[RACERS_MAX];
    bool recorded;
    struct regime regime;
    struct random_stream random;
    uint64_t drawn;
    double start_s, start_used_s;
    long interruptions; /* until the last launch ended */
    bool interrupted;   /* the last launch was, or the caches were others' before it */
    bool turned;        /* since this round began */
    bool asked; /* the device for its state, which takes longer than a replay, in this round */
};

static int64_t draw(struct course *course, int64_t count) {
    return random_word(course->random, course->drawn++) % count;
}

static void forget(struct course *course) {
    for (int n = course->race->count - 1; n >= 0; n--) /* the lender last */
        series_forget(&course->series[n], &course->race->racers[n].subject);
    course->recorded = false;
}

static const char *time_singles(struct race *race, int *which) {
    for (int n = 0; n < race->count; n++) {
        *which = n;
        const char *reason = subject_time(&race->racers[n].subject, &race->racers[n].single_us);
        if (reason != NULL) return reason;
    }
    return NULL;
}

static const char *record_each(struct course *course, double launches) {
    const char *reason = NULL;
    for (int n = 0; n < course->race->count && reason == NULL; n++)
        reason = series_record(&course->series[n], &course->race->racers[n].subject, n, launches);
    return reason;
}

/* Once more where single launches have told too few. */
static const char *record_longer(struct course *course) {
    double slowest_us = 0;
    for (int n = 0; n < course->race->count; n++)
        slowest_us = fmax(slowest_us,
                          series_launch_us(&course->series[n], &course->race->racers[n].subject));
    if (slowest_us == 0 || slowest_us * (double)course->series[0].launches >= replay_us / 2)
        return NULL;
    course->race->racers[0].subject.device->erase();
    return record_each(course, replay_us / slowest_us);
}

/* All with as many launches, so that what a replay costs beside them is the same; as many as the
 * slowest has time for. */
static void record(struct course *course) {
    struct race *race = course->race;
    double slowest_us = 0.1;
    for (int n = 0; n < race->count; n++) slowest_us = fmax(slowest_us, race->racers[n].single_us);
    if (race->racers[0].subject.device->record == NULL || slowest_us > series_us_max) return;
    const char *reason = NULL;
    bool well = true;
    const struct series_plan plan = {race->cold, race->touched_bytes, slowest_us};
    for (int n = 0; n < race->count && well; n++)
        well = series_fill(&course->series[n], &race->racers[n].subject, &plan,
                           n > 0 ? &course->series[0] : NULL);
    if (well) reason = record_each(course, replay_us / slowest_us);
    if (well && reason == NULL) reason = record_longer(course);
    course->recorded = well && reason == NULL;
    if (reason != NULL) snprintf(race->unrecorded, sizeof race->unrecorded, "%s", reason);
    if (!course->recorded) {
        forget(course);
        return;
    }
    race->launches = course->series[0].launches;
    race->copies = race->cold ? course->series[0].count : 0;
}

/* One turns, all expect it. */
static void turn(struct race *race) {
    const struct turn_slice slice = watch_turn(race->racers[0].watch);
    for (int n = 1; n < race->count; n++) watch_expect(race->racers[n].watch, &slice);
}

static bool turns(const struct course *course) {
    return course->race->racers[0].watch->turn != NULL &&
           !(course->recorded && course->race->cold); /* copies are not turned */
}

static bool has_regime(const struct course *course) {
    return course->race->racers[0].subject.device->record != NULL;
}

static const char *launch(struct course *course, struct racer *racer, double *us, double *clock) {
    const struct series *series = &course->series[racer - course->race->racers];
    const struct subject *subject = &racer->subject;
    const double start = clock_s();
    struct device_state state = unknown,
                        *asked = course->asked || !has_regime(course) ? NULL : &state;
    const char *reason;
    if (course->recorded) {
        reason = series_replay(series, subject, us, asked);
    } else {
        if (course->race->cold && !subject->device->evict(subject->call->threads))
            return "out of memory to empty the caches";
        if (course->race->cold) course->interruptions = series_interruptions();
        reason = subject_launch(subject, us, racer->single_us > series_us_max ? asked : NULL);
        const long now = series_interruptions();
        course->interrupted = !subject->device->events && now != course->interruptions;
        course->interruptions = now;
    }
    if (asked != NULL) course->race->last = state;
    course->asked = true;
    *clock = course->race->last.clock_mhz;
    regime_note(&course->regime, (clock_s() - start) * 1e6); /* a replay has others beside it */
    return reason;
}

/* What was turned is in the caches then, and what it displaced is not -- in another place each
 * time, by which a decode of 4,096 keys varied by a fifth. A launch of another racer that is not
 * timed leaves what launches leave. */
static bool levels(const struct course *course) {
    return !course->recorded && !course->race->cold &&
           !course->race->racers[0].subject.device->events;
}

static const char *level(struct course *course, const struct racer *other, int *which) {
    const int asked = *which;
    double us;
    *which = (int)(other - course->race->racers);
    const char *reason = subject_launch(&other->subject, &us, NULL);
    if (reason == NULL) *which = asked;
    course->interruptions = series_interruptions();
    return reason;
}

/* `anew`: on values that it has not seen, and after `other`. */
static const char *sample_once(struct course *course, struct racer *racer,
                               const struct racer *other, bool anew, int *which) {
    struct race *race = course->race;
    const char *reason = NULL;
    const struct series *series = &course->series[racer - race->racers];
    if (course->recorded && race->cold)
        watch_aim(racer->watch, &series->calls[race->rounds % series->count]);
    watch_fill(racer->watch, (clock_s() - course->start_s - course->regime.rested_s) / race->count);
    if (anew) course->turned = false;
    if (!course->turned && turns(course) && racer->watch->due) {
        turn(race);
        course->turned = true;
    }
    if (anew && levels(course)) {
        reason = level(course, other, which);
        watch_fill(racer->watch, INFINITY);
    }
    if (reason == NULL)
        reason = launch(course, racer, &racer->us[race->rounds], &racer->clock_mhz[race->rounds]);
    if (reason == NULL) watch_look(racer->watch, race->rounds + 1);
    return reason;
}

/* By the host's clock a sample during which others got the processor says how long they had it, and
 * one before which they did what they left in the caches: it is taken again, a few times. */
static const char *sample(struct course *course, struct racer *racer, const struct racer *other,
                          bool anew, int *which) {
    const char *reason = NULL;
    int tries = 0;
    do {
        course->interrupted = false;
        reason = sample_once(course, racer, other, anew || tries > 0, which);
    } while (reason == NULL && course->interrupted && ++tries < TRIES);
    return reason;
}

static void exchange(int *a, int *b) {
    const int kept = *a;
    *a = *b;
    *b = kept;
}

/* What is launched untimed has then seen the values: the copy of the old kernel, which is not the
 * first of a round, for a kernel that follows itself finds its scratch in a cache. (A prefill was
 * 2.7 % faster.) Of two racers either is preceded by the other. */
static const char *take_samples(struct course *course, int *which) {
    int order[RACERS_MAX] = {0};
    const int count = course->race->count;
    struct racer *racers = course->race->racers;
    for (int n = 0; n < count; n++) {
        const int64_t at = draw(course, n + 1);
        if (at < n) order[n] = order[at];
        order[at] = n;
    }
    course->asked = false;
    if (order[0] == RACER_OLD_COPY) exchange(&order[0], &order[1 + draw(course, count - 1)]);
    for (int n = 0; n < count; n++) {
        const int other = count > RACER_OLD_COPY && order[n] != RACER_OLD_COPY ? RACER_OLD_COPY
                          : n > 0                                              ? order[n - 1]
                                                                               : order[1];
        *which = order[n];
        const char *reason = sample(course, &racers[order[n]], &racers[other],
                                    n == 0 || count <= RACER_OLD_COPY, which);
        if (reason != NULL) return reason;
    }
    course->race->rounds++;
    return NULL;
}

/* Of each one launch that does not count, *us for all of them. */
static const char *work(struct course *course, int *which, double *us) {
    const char *reason = NULL;
    double clock, one_us;
    *us = 0;
    course->asked = false;
    for (*which = 0; *which < course->race->count; ++*which) {
        reason = launch(course, &course->race->racers[*which], &one_us, &clock);
        if (reason != NULL) return reason;
        *us += one_us * (double)course->race->launches;
    }
    *which = 0;
    return NULL;
}

/* Until it has settled (regime.h), of a burst once. Where replays are long the time that there is
 * grows, so that a verdict's rounds have room in it. */
static const char *settle(struct course *course, int *which) {
    struct race *race = course->race;
    struct settling settling = {0};
    const char *reason = NULL;
    double us = 0;
    for (bool settled = false; reason == NULL && !settled;) {
        reason = work(course, which, &us);
        settled = settling_add(&settling, us, race->last.clock_mhz) || race->burst;
    }
    if (course->recorded) race->total_ms_max = fmax(race->total_ms_max, CHECK_FIRST * us * 1e-3);
    return reason;
}

static const char *make_up(struct course *course, int *which) {
    const double lost_us = regime_lost_us(&course->regime, *course->race->last.slowed != '\0');
    const char *reason = NULL;
    double us;
    for (double made_us = 0; reason == NULL && made_us < lost_us; made_us += us)
        reason = work(course, which, &us);
    return reason;
}

/* Rest and what makes up for pauses come before a round: it is of one temperature. */
static const char *take_round(struct course *course, int *which) {
    const char *reason = NULL;
    if (has_regime(course)) {
        regime_begin(&course->regime);
        reason = make_up(course, which);
    }
    return reason == NULL ? take_samples(course, which) : reason;
}

static double used_by_s(clockid_t whose) {
    struct timespec used = {0};
    clock_gettime(whose, &used);
    return (double)used.tv_sec + (double)used.tv_nsec * 1e-9;
}

/* What this thread has had a processor for, or all of them in the mean if that is more. */
static double used_s(const struct race *race) {
    return fmax(used_by_s(CLOCK_THREAD_CPUTIME_ID),
                used_by_s(CLOCK_PROCESS_CPUTIME_ID) / race->racers[0].subject.call->threads);
}

/* Of what has passed by the clock, on a CPU, what there was a processor for: beside others as many
 * rounds are taken as without them. A share of it at least. */
static double elapsed_ms(const struct course *course) {
    const double by_clock = clock_s() - course->start_s - course->regime.rested_s;
    if (course->race->racers[0].subject.device->kind != ATTN_CPU) return by_clock * 1e3;
    return fmax(used_s(course->race) - course->start_used_s, by_clock / RACE_STRETCH_MAX) * 1e3;
}

/* Looked at each time there are an eighth more. */
static bool is_enough(struct race *race, double elapsed_ms, int64_t *next) {
    const char *why = NULL;
    if (race->rounds == *next) {
        struct paired_times times = {.n = race->rounds};
        for (int n = 0; n < race->count; n++)
            (n % 2 == 0 ? times.old_us : times.new_us)[n / 2] = race->racers[n].us;
        *next += *next / 8;
        if (paired_enough(&times, race->least)) why = "width";
    }
    const double most_ms =
        race->rounds < PAIRED_MIN ? fmax(race->total_ms_max, fewest_ms_max) : race->total_ms_max;
    if (why == NULL && (elapsed_ms >= most_ms || race->rounds >= race->rounds_max)) why = "cap";
    if (why != NULL) snprintf(race->stop, sizeof race->stop, "%s", why);
    return why != NULL;
}

static const char *take_rounds(struct course *course, int *which) {
    const char *reason;
    int64_t next = CHECK_FIRST;
    course->start_s = clock_s();
    course->start_used_s = used_s(course->race);
    course->interruptions = series_interruptions();
    do {
        reason = take_round(course, which);
    } while (reason == NULL && !is_enough(course->race, elapsed_ms(course), &next));
    return reason;
}

/* What launches leave with each copy. */
static const char *look_at_copies(struct course *course, int *which) {
    const char *reason = NULL;
    for (int n = 0; n < course->race->count && reason == NULL; n++) {
        *which = n;
        reason = series_look(&course->series[n], &course->race->racers[n].subject,
                             course->race->racers[n].watch, course->race->rounds);
    }
    return reason;
}

static void turn_all_back(struct race *race) {
    if (race->racers[0].watch->turn == NULL) return;
    for (int n = 1; n < race->count; n++) watch_expect_back(race->racers[n].watch);
    watch_turn_back(race->racers[0].watch);
}

const char *race_run(struct race *race, int *which) {
    struct course course = {.race = race};
    const struct subject *first = &race->racers[0].subject;
    const char *reason = NULL;
    if (getrandom(&course.random.seed, sizeof course.random.seed, 0) < 0)
        course.random.seed = (uintptr_t)&course;
    *which = 0;
    race->rounds = race->copies = 0;
    race->launches = 1;
    race->last = unknown;
    race->regime = has_regime(&course) ? regime_name(race->burst) : "";
    course.regime.burst = race->burst;
    if (first->device->record != NULL) reason = time_singles(race, which);
    if (reason == NULL) record(&course);
    if (reason == NULL && has_regime(&course)) reason = settle(&course, which);
    snprintf(race->how, sizeof race->how, "%s",
             course.recorded         ? "graph"
             : first->device->events ? "events"
                                     : "clock");
    const bool raised = priority_raise();
    if (reason == NULL) reason = take_rounds(&course, which);
    priority_lower(raised);
    if (reason == NULL && course.recorded && race->cold) reason = look_at_copies(&course, which);
    turn_all_back(race);
    forget(&course);
    return reason;
}
