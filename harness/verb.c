/* What the verbs share: how they read numbers. */
#include "verb.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

const struct verb *const verbs[] = {
    &verb_make,    &verb_run,      &verb_judge,  &verb_convert, &verb_list,  &verb_oracle,
    &verb_inspect, &verb_compare,  &verb_report, &verb_merge,   &verb_probe, &verb_cache,
    &verb_fuzz,    &verb_selftest, &verb_doctor, NULL,
};

double verb_number(const char *text, double least, double most, const char *option,
                   struct argp_state *state) {
    char *rest;
    const double number = strtod(text, &rest);
    if (rest == text || *rest != '\0' || !(number >= least && number <= most))
        argp_error(state, "--%s takes a number from %.15g to %.15g, not '%s'", option, least, most,
                   text);
    return number;
}

double verb_share(const char *text, double most, const char *option, struct argp_state *state) {
    char *rest;
    double share = strtod(text, &rest);
    if (*rest == '%') {
        share /= 100;
        rest++;
    }
    if (rest == text || *rest != '\0' || !(share >= 0 && share <= most))
        argp_error(state, "--%s takes a share from 0 to %g, as 1%% or 0.01, not '%s'", option, most,
                   text);
    return share;
}

int64_t verb_count(const char *text, int64_t least, int64_t most, const char *option,
                   struct argp_state *state) {
    char *rest;
    errno = 0;
    const int64_t count = strtoll(text, &rest, 10);
    if (rest == text || *rest != '\0' || errno != 0 || count < least || count > most)
        argp_error(state, "--%s takes a whole number from %" PRId64 " to %" PRId64 ", not '%s'",
                   option, least, most, text);
    return count;
}
