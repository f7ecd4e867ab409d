/* How far chance alone carries a ratio of mean squares. rho^2 over few values scatters, and its
 * degrees of freedom are not the elements: the rounding of one p moves all of a row at once. */
#ifndef ATTEST_CHANCE_H
#define ATTEST_CHANCE_H

#include "../../oracle/rule.h"

/* How many of the D columns of V move independently when the p of row (b, h, i) are wrong at
 * random: (mean |v|^2)^2 / mean (v.w)^2 over pairs of a few of the values it sees. D for random
 * values, 1 for V that are multiples of one vector. */
double chance_columns(const struct rule_view *view, int64_t b, int64_t h, int64_t i);

/* What an honest ratio rms(error) / rms(model) stays below but once in 10^9: the square root of
 * that quantile of chi^2 / degrees of freedom (Wilson and Hilferty, 1931). */
double chance_ratio(double degrees_of_freedom);

#endif
