#include "discovery.h"

#include <criterion/criterion.h>
#include <math.h>

/* As R's p.adjust(p, "BH") has it. */
Test(discovery, rates_are_those_of_benjamini_and_hochberg) {
    const double p[] = {0.01, 0.04, NAN, 0.03, 0.005, 0.9};
    const double expected[] = {0.025, 0.05, NAN, 0.05, 0.025, 0.9};
    double q[6];
    cr_assert(discovery_rates(q, p, 6));
    for (int n = 0; n < 6; n++)
        cr_assert(isnan(p[n]) ? isnan(q[n]) : fabs(q[n] - expected[n]) < 1e-12, "%d: %g", n, q[n]);
}

Test(discovery, one_question_is_what_it_is_and_none_is_none) {
    double p = 0.2;
    cr_assert(discovery_rates(&p, &p, 1) && fabs(p - 0.2) < 1e-15);
    cr_assert(discovery_rates(&p, &p, 0));
}
