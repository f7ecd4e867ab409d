/* Small samples: see the header. */
#include "chance.h"
#include "../../fixtures/clones.h"
#include "../../oracle/bulk.h"

#include <math.h>

enum { SAMPLES = 16, CHUNK = 256 };

/* Six standard deviations of a normal variable: 10^-9. */
static const double sigmas = 6;

FOR_EVERY_MACHINE static double chance_dot(const double *x, const double *y, int64_t n) {
    double sum[16] = {0};
    int64_t d = 0;
    for (; d + 16 <= n; d += 16) {
        for (int l = 0; l < 16; l++) sum[l] += x[d + l] * y[d + l];
    }
    for (; d < n; d++) sum[d % 16] += x[d] * y[d];
    double all = 0;
    for (int l = 0; l < 16; l++) all += sum[l];
    return all;
}

double chance_columns(const struct rule_view *view, int64_t b, int64_t h, int64_t i) {
    const struct attn_problem *problem = view->problem;
    const struct rule_keys keys = rules_keys(view, b, h, i);
    const int64_t g = h / (problem->q_heads / problem->kv_heads);
    const int64_t samples = keys.count < SAMPLES ? keys.count : SAMPLES;
    const int64_t n = problem->value_dim < CHUNK ? problem->value_dim : CHUNK;
    double values[SAMPLES][CHUNK];
    double square = 0, product2 = 0;
    for (int64_t s = 0; s < samples; s++) {
        const int64_t at = s * keys.count / samples;
        bulk_widen_kv(values[s], NULL, NULL, view, b, g, rule_token(&keys, at), true, n);
        square += chance_dot(values[s], values[s], n);
        for (int64_t t = 0; t < s; t++) {
            const double product = chance_dot(values[s], values[t], n);
            product2 += product * product;
        }
    }
    if (samples < 2) return 1;
    const double mean2 = square / (double)samples * (square / (double)samples);
    const double columns = mean2 / (product2 / (double)(samples * (samples - 1) / 2));
    return columns >= 1 ? fmin(columns, (double)n) : 1; /* 1 too if something is not finite */
}

double chance_ratio(double degrees_of_freedom) {
    const double width = 2.0 / 9.0 / degrees_of_freedom;
    return sqrt(pow(1 - width + sigmas * sqrt(width), 3));
}
