#include "series.h"
#include "timing.h"

#include <math.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { LAUNCHES_MAX = 512, SINGLES = 5 };

static size_t rounded(size_t bytes) {
    return (bytes + 255) & ~(size_t)255;
}

static size_t input_bytes(const struct subject *subject) {
    size_t bytes = 0;
    for (size_t n = 0; n < subject->memory_count; n++) {
        if (!subject->memories[n].output) bytes += rounded(subject->memories[n].bytes);
    }
    return bytes;
}

void series_forget(struct series *series, const struct subject *subject) {
    if (series->recorded) subject->device->erase();
    for (int64_t n = 1; n < series->count; n++) {
        if (subject->kernel->finish != NULL)
            subject->kernel->finish(subject->problem, &series->calls[n]);
        if (series->placed[n] != NULL) subject->device->release(series->placed[n]);
    }
    series->count = 0;
    series->recorded = false;
}

/* Lets the tensors of `call` point to `placed`, and copies all inputs there if it is `own`. */
static void move_inputs(const struct subject *subject, struct attn_call *call,
                        unsigned char *placed, bool own) {
    for (size_t n = 0; n < subject->memory_count; n++) {
        const struct memory *memory = &subject->memories[n];
        if (memory->output) continue;
        if (own) subject->device->copy(placed, memory->device, memory->bytes);
        for (int slot = 0; slot < ATTN_SLOT_ROOM; slot++) {
            unsigned char *data = subject->call->tensors[slot].data;
            if (data >= memory->device && data < memory->device + memory->bytes)
                call->tensors[slot].data = placed + (data - memory->device);
        }
        placed += rounded(memory->bytes);
    }
}

/* `lent` NULL: a copy of its own. */
static bool add_copy(struct series *series, const struct subject *subject, void *lent) {
    struct attn_call *call = &series->calls[series->count];
    *call = *subject->call;
    call->state = NULL;
    void *own = lent == NULL ? subject->device->allocate(input_bytes(subject)) : NULL;
    if (lent == NULL && own == NULL) return false;
    move_inputs(subject, call, lent != NULL ? lent : own, lent == NULL);
    if (subject->kernel->prepare != NULL &&
        subject->kernel->prepare(subject->problem, call) != NULL) {
        if (own != NULL) subject->device->release(own);
        return false;
    }
    series->placed[series->count++] = own;
    return true;
}

static bool has_room(const struct subject *subject, double copies) {
    return copies <= SERIES_COPIES_MAX &&
           (copies - 1) * (double)input_bytes(subject) <= 0.8 * (double)subject->device->room();
}

bool series_fill(struct series *series, const struct subject *subject, bool cold,
                 double touched_bytes, const struct series *lender) {
    double copies = 1;
    series->calls[0] = *subject->call;
    series->placed[0] = NULL;
    series->count = 1;
    if (lender != NULL)
        copies = (double)lender->count;
    else if (cold)
        copies = 1 + ceil((double)subject->device->forget_bytes() / fmax(touched_bytes, 1));
    bool well = lender != NULL || copies == 1 || has_room(subject, copies);
    while (well && series->count < (int64_t)copies)
        well = add_copy(series, subject, lender != NULL ? lender->placed[series->count] : NULL);
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
        steps[n].call = &series->calls[n % series->count];
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
    const char *reason = subject->device->replay(series->which, us, state);
    *us /= (double)series->launches;
    return reason;
}

double series_launch_us(const struct series *series, const struct subject *subject) {
    double us = 0;
    const char *reason = series_replay(series, subject, &us, NULL);
    if (reason == NULL) reason = series_replay(series, subject, &us, NULL);
    return reason == NULL ? us : 0;
}

const char *subject_launch(const struct subject *subject, double *us) {
    return subject->device->launch(subject->kernel, subject->problem, subject->call, us);
}

const char *subject_time(const struct subject *subject, double *us) {
    double taken[SINGLES];
    int n = 0;
    do {
        const char *reason = subject_launch(subject, &taken[n++]);
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
