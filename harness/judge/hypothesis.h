/* What a kernel may have done instead of what was asked: in words, and as a course (course.h). Of
 * several that explain an output equally well the first is said. */
#ifndef ATTEST_HYPOTHESIS_H
#define ATTEST_HYPOTHESIS_H

#include "course.h"

/* What a hypothesis may explain. */
enum { OF_OUT = 1, OF_LSE = 2, OF_BOTH = OF_OUT | OF_LSE };

struct hypothesis {
    const char *words; /* after "as if"; %1$.5g and %2$.5g are what the course says */
    int of;
    int64_t size; /* goes into the course */
    /* How many numbers it has, 0 first; NULL: one. */
    int64_t (*candidates)(const struct rule_view *view);
    /* Or the one number that fits best, found from the rows [0 .. count), the worst first, each on
     * its right course. Such a number is no surprise where there is little that it must explain. */
    bool (*find)(const struct course *rows, int64_t count, int64_t size, double *number);
    /* Bends the right course of a row; course->number is given. False where it does not apply. */
    bool (*bend)(struct course *course);
};

/* The hypotheses one after the other, in the order in which they are preferred; NULL at the end. */
const struct hypothesis *hypothesis_at(int64_t at);

/* Its parts; each ends with words == NULL. */
extern const struct hypothesis hypotheses_of_keys[], hypotheses_of_weights[], hypotheses_of_kv8[];

#endif
