/* Two sets of rows side by side: which kernel became faster, slower, or wrong. Pure functions over
 * runs that were read back; no device, no files.
 *
 * Rows are joined by problem -- line and fixture digest -- and by kernel. Without globs
 * that is the same kernel in both runs. With globs (`--kernels OLD NEW`, within one run or across
 * two) a kernel is paired with its next of kin: for each variant, pairs that share device and
 * method if there are any, else those that share the device, else the method, else all. So
 * '*_r1' against '*_r2' pairs each method with itself, and 'decode_naive_*' against
 * 'decode_flash_*' pairs the two.
 *
 * The verdict on time is by the interval of the ratio (effect.h): slower and faster when all of it
 * is beyond `least` and the row stands out among all that were compared (discovery.h), same when
 * all of it is within, else undecided. Where both rows are of one library there is nothing to
 * decide: what differs is the machine. Two hosts may differ although they are of one kind, and the
 * interval is wider by what their probes and controls say. */
#ifndef ATTEST_COMPARE_H
#define ATTEST_COMPARE_H

#include "row_set.h"

enum compare_verdict {
    COMPARE_SAME,
    COMPARE_FASTER,
    COMPARE_SLOWER,
    COMPARE_UNDECIDED,
    COMPARE_UNSTABLE, /* a timing that its own run did not trust */
    COMPARE_UNTIMED,
    COMPARE_VERDICT_COUNT
};
const char *compare_verdict_name(enum compare_verdict verdict);

struct compare_options {
    const char *kernels_before, *kernels_after; /* globs, both or neither */
    bool cold;                                  /* compare cold timings instead of warm ones */
    double least; /* a difference that matters: 0.01 is 1 %, either way */
};
extern const double compare_least; /* what `least` is unless asked */

struct compare_pair {
    const struct row *before, *after;
    const struct machine *machine_before, *machine_after; /* theirs; NULL: one, of a live run */
    /* Time after / time before and its interval, with all that widens it; NaN unless both were
     * timed and right. p: of no difference; q: p after Benjamini and Hochberg over the rows. */
    double ratio, low, high, p, q;
    double control; /* the same ratio of the control; NaN: not known */
    /* Rows of two machines (machines_are_one): what the old one's probe found of what bounds the
     * row, over the new one's; NaN: one machine, or not known. */
    double ceiling;
    bool other_machine;
    bool alike;   /* the machines, as far as this row is concerned: else time is no regression */
    double shift; /* that part of the interval, as a logarithm, that other rows do not make less */
    int64_t n_before, n_after; /* samples; pairs, if they were launched in turn */
    enum compare_verdict verdict;
    const char *why;   /* why it is no other one, short; "" if there is nothing to say. text_kept */
    int status_change; /* 1 worse, -1 better, 0 neither */
    int grade_change;  /* the same for the grade reached */
    bool regression;   /* slower, on machines that are alike, or a worse status */
};

struct comparison {
    struct compare_options options;
    double confidence; /* of the intervals */
    bool live;         /* launched in turn, in one process; else of runs that were stored */
    /* The control, after / before, the median over the rows; and how far apart one and the same
     * thing is, as a logarithm (effect.h). NaN: not known. */
    double control, spread;
    int64_t pair_count;
    struct compare_pair *pairs; /* by variant, then in the order of the old run */
    int64_t before_only_count, after_only_count;
    const struct row **before_only, **after_only;
    int64_t redrawn; /* of those rows, how many have a counterpart with another fixture digest */
    int64_t regressions;
    char machines_differ[512]; /* how, for the first row that is concerned; "": for none */
};

/* What a line of the summary says, for a variant or (NULL) all. */
struct compare_summary {
    int64_t pairs, verdicts[COMPARE_VERDICT_COUNT], worse, better;
    double ratio, low, high; /* geometric mean of the ratios, its interval; NaN if there are none */
};

/* `after` may be `before`. The runs must outlive the comparison. */
bool compare_runs(struct comparison *comparison, const struct run *before, const struct run *after,
                  const struct compare_options *options, struct fault *fault);
/* Of the rows of one run that were launched in turn with another (`attest compare --live`): each of
 * these with that one. The verdict is by what their rounds say (paired.h); of `options` cold and
 * least are looked at. */
bool compare_live(struct comparison *comparison, const struct run *run,
                  const struct compare_options *options, struct fault *fault);
/* Whether the run has such rows, that have cold or warm times. */
bool run_is_live(const struct run *run);
bool run_has_duels(const struct run *run, bool cold);
void compare_summarise(struct compare_summary *summary, const struct comparison *comparison,
                       const char *variant);
void compare_free(struct comparison *comparison);

/* What a reader of two runs must know before he compares times: the first differences in CPU,
 * cores, device, threads; "" if none. True iff there are none. */
bool machines_alike(const struct machine *a, const struct machine *b, char text[512]);
/* The same of two rows alone: of an accelerator its name counts and not the host around it, of a
 * CPU no accelerator beside it. */
bool rows_alike(const struct machine *a, const struct row *row_a, const struct machine *b,
                const struct row *row_b, char text[512]);

/* In columns, or as Markdown. */
void compare_print(FILE *to, const struct comparison *comparison, const char *before,
                   const char *after, bool markdown);
json_t *compare_json(const struct comparison *comparison);

#endif
