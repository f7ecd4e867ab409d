#include "series.h"
#include "timing.h"
#include "../../oracle/clock.h"

#include <math.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { LAUNCHES_MAX = 512, SINGLES = 5 };
static const double round_us_max = 100e3, prepare_s_max = 2;

static size_t rounded(size_t bytes) {
    return (bytes + 255) & ~(size_t)255;
}

/* Of all that a copy has of its own. */
static size_t copy_bytes(const struct subject *subject) {
    size_t bytes = rounded(subject->scratch_bytes);
    for (size_t n = 0; n < subject->memory_count; n++) bytes += rounded(subject->memories[n].bytes);
    return bytes;
}

void series_forget(struct series *series, const struct subject *subject) {
    if (series->recorded) subject->device->erase();
    for (int64_t n = 1; n < series->count; n++) {
        if (subject->kernel->finish != NULL)
            subject->kernel->finish(subject->problem, &series->calls[n]);
    }
    if (series->placed != NULL && !series->lent) subject->device->release(series->placed);
    free(series->calls);
    *series = (struct series){0};
}

/* Lets tensors and scratch of `call` point to `placed`. */
static void move_tensors(const struct subject *subject, struct attn_call *call,
                         unsigned char *placed) {
    for (size_t n = 0; n < subject->memory_count; n++) {
        const struct memory *memory = &subject->memories[n];
        for (int slot = 0; slot < ATTN_SLOT_ROOM; slot++) {
            unsigned char *data = subject->call->tensors[slot].data;
            if (data >= memory->device && data < memory->device + memory->bytes)
                call->tensors[slot].data = placed + (data - memory->device);
        }
        placed += rounded(memory->bytes);
    }
    if (call->scratch_bytes > 0) call->scratch = placed;
}

/* The first from what the subject has, and from those that are there twice as many each time. */
static bool place_copies(struct series *series, const struct subject *subject, size_t copies) {
    const size_t bytes = copy_bytes(subject);
    unsigned char *at = series->placed = subject->device->allocate(copies * bytes);
    if (at == NULL) return false;
    for (size_t n = 0; n < subject->memory_count; n++) {
        const struct memory *memory = &subject->memories[n];
        if (memory->bytes > 0) subject->device->copy(at, memory->device, memory->bytes);
        at += rounded(memory->bytes);
    }
    for (size_t done = 1; done < copies; done *= 2) {
        const size_t more = done < copies - done ? done : copies - done;
        subject->device->copy(series->placed + done * bytes, series->placed, more * bytes);
    }
    return true;
}

static bool add_call(struct series *series, const struct subject *subject) {
    struct attn_call *call = &series->calls[series->count];
    *call = *subject->call;
    call->state = NULL;
    move_tensors(subject, call, series->placed + (size_t)(series->count - 1) * copy_bytes(subject));
    if (subject->kernel->prepare != NULL &&
        subject->kernel->prepare(subject->problem, call) != NULL)
        return false;
    series->count++;
    return true;
}

static bool has_room(const struct subject *subject, double copies, double launch_us) {
    const double bytes = (copies - 1) * (double)copy_bytes(subject);
    return copies <= SERIES_COPIES_MAX && bytes <= 0.8 * (double)subject->device->room() &&
           (copies <= SERIES_COPIES_FEW || copies * launch_us <= round_us_max);
}

bool series_fill(struct series *series, const struct subject *subject,
                 const struct series_plan *plan, const struct series *lender) {
    double copies = 1;
    if (lender != NULL)
        copies = (double)lender->count;
    else if (plan->cold)
        copies = 1 + ceil((double)subject->device->forget_bytes() / fmax(plan->touched_bytes, 1));
    if (lender == NULL && copies > 1 && !has_room(subject, copies, plan->launch_us)) return false;
    *series = (struct series){.calls = calloc((size_t)copies, sizeof *series->calls)};
    if (series->calls == NULL) return false;
    series->calls[0] = *subject->call;
    series->count = 1;
    series->lent = lender != NULL;
    if (series->lent) series->placed = lender->placed;
    bool well = series->lent || copies == 1 || place_copies(series, subject, (size_t)copies - 1);
    const double start = clock_s();
    while (well && series->count < (int64_t)copies)
        well = add_call(series, subject) &&
               (series->count <= SERIES_COPIES_FEW || clock_s() - start <= prepare_s_max);
    if (!well) series_forget(series, subject);
    return well;
}

const char *series_record(struct series *series, const struct subject *subject, int which,
                          double launches) {
    launches = fmin(ceil(launches), LAUNCHES_MAX);
    launches = ceil(launches / (double)series->count) * (double)series->count;
    struct device_step *steps = calloc((size_t)launches, sizeof *steps);
    const char *reason = "out of memory for what is recorded";
    for (int64_t n = 0; steps != NULL && n < (int64_t)launches; n++)
        steps[n].call = &series->calls[(n + 1) % series->count];
    if (steps != NULL)
        reason = subject->device->record(which, subject->kernel, subject->problem, steps,
                                         (int64_t)launches);
    free(steps);
    series->which = which;
    series->launches = (int64_t)launches;
    series->recorded = reason == NULL;
    if (reason != NULL) series_forget(series, subject);
    return reason;
}

const char *series_replay(const struct series *series, const struct subject *subject, double *us,
                          struct device_state *state) {
    const char *reason = subject->device->replay(series->which, true, us, state);
    *us /= (double)series->launches;
    return reason;
}

const char *series_look(const struct series *series, const struct subject *subject,
                        struct watch *watch, int64_t sample) {
    double us;
    for (int64_t n = 0; n < series->count; n++) {
        watch_aim(watch, &series->calls[n]);
        watch_fill(watch, INFINITY);
    }
    const char *reason = series_replay(series, subject, &us, NULL);
    for (int64_t n = series->count - 1; n >= 0; n--) { /* the subject's own last, and for good */
        watch_aim(watch, &series->calls[n]);
        if (reason == NULL) watch_look(watch, sample);
    }
    return reason;
}

double series_launch_us(const struct series *series, const struct subject *subject) {
    double us = 0;
    const char *reason = series_replay(series, subject, &us, NULL);
    if (reason == NULL) reason = series_replay(series, subject, &us, NULL);
    return reason == NULL ? us : 0;
}

const char *subject_launch(const struct subject *subject, double *us, struct device_state *state) {
    return subject->device->launch(subject->kernel, subject->problem, subject->call, us, state);
}

const char *subject_time(const struct subject *subject, double *us) {
    double taken[SINGLES];
    int n = 0;
    do {
        const char *reason = subject_launch(subject, &taken[n++], NULL);
        if (reason != NULL) return reason;
    } while (n < SINGLES && taken[0] < series_us_max);
    struct timing timing = {0};
    timing_summarise(&timing, taken, n);
    *us = timing.median_us;
    return NULL;
}

long series_interruptions(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_nivcsw : 0;
}
