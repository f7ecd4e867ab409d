/* What is said of a run as a whole: the headline, each kernel in one line, and what was not shown
 * of how inputs are read. */
#ifndef ATTEST_OVERVIEW_H
#define ATTEST_OVERVIEW_H

#include "headline.h"
#include "row_index.h"

/* A kernel's rows. */
struct tally {
    const char *kernel; /* text_kept */
    int64_t right, refused, failed;
    char grade;              /* the worst; '-': none */
    double t_max, rho_block; /* the worst; NaN: none was judged */
    double log_sum;          /* of the speed-ups over the baseline, where there is one */
    int64_t log_count;
};

enum { LEFT_OUT = 6 };
extern const char *const left_out_names[LEFT_OUT]; /* as a row's `checks` has them */

struct overview {
    struct headline headline;
    int64_t tally_count;
    struct tally *tallies; /* by name */
    struct {
        int64_t rows;
        char why[64];
    } left_out[LEFT_OUT]; /* what was not shown to be read anew, in how many rows, and why */
};

/* Reads every row of the index, and notes there which are to be warned of. */
bool overview_make(struct overview *overview, struct row_index *index, struct fault *fault);
void overview_free(struct overview *overview);

/* A table in Markdown, line by line. */
void tallies_print_titles(FILE *to, const char *baseline);
void tally_print(FILE *to, const struct tally *tally);

#endif
