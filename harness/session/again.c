#include "again.h"

#include <math.h>
#include <string.h>

enum { PROCESSES = 3 };
static const double agree_within = 0.01;
static const double long_us = 10e3;
static const double apart_ms = 10e3;

static int64_t processes(const struct session *session) {
    const int64_t asked = session->options.processes;
    return asked > 0 ? asked : PROCESSES;
}

bool again_may(const struct session *session) {
    const struct session_options *options = &session->options;
    return options->trial.time && options->live.old == NULL && options->sanitize == NULL &&
           processes(session) > 1 && targets_have(&session->targets, ATTN_CPU);
}

bool again_wants(const struct session *session, const struct row *row) {
    const struct timing *warm = &row->warm;
    if (!again_may(session) || strcmp(row->device, "cpu") != 0 || !row_is_right(row) ||
        !row_is_timed(row) || warm->median_us > long_us)
        return false;
    return warm->processes < processes(session) ||
           (warm->processes < AGAIN_PROCESSES_MAX && timing_gap(warm) > agree_within);
}

double again_cap_ms(const struct session *session, int64_t rows) {
    const double whole = session->options.trial.plan.total_ms_max;
    const double room = apart_ms / (2 * fmax(1, (double)rows)); /* cold and warm */
    return fmin(whole, fmax(whole / (double)processes(session), room));
}
