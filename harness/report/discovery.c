#include "discovery.h"

#include <math.h>
#include <stdlib.h>

struct question {
    double p;
    int64_t at;
};

static int descending(const void *a, const void *b) {
    const double x = ((const struct question *)a)->p, y = ((const struct question *)b)->p;
    return (x < y) - (x > y);
}

bool discovery_rates(double *q, const double *p, int64_t count) {
    struct question *questions = calloc((size_t)count + 1, sizeof *questions);
    int64_t asked = 0;
    for (int64_t n = 0; n < count; n++) {
        if (questions != NULL && !isnan(p[n])) questions[asked++] = (struct question){p[n], n};
        q[n] = isnan(p[n]) ? NAN : 1;
    }
    if (questions == NULL) return false;
    qsort(questions, (size_t)asked, sizeof *questions, descending);
    double least = 1; /* of this rank and all above it */
    for (int64_t n = 0; n < asked; n++) {
        least = fmin(least, questions[n].p * (double)asked / (double)(asked - n));
        q[questions[n].at] = least;
    }
    free(questions);
    return true;
}
