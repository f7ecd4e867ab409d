/* Exact attention on a CPU, in double, through OpenBLAS' dgemm.
 *
 * Query rows that share keys are blocked: the scores held at once are a block of rows by a block of
 * keys, never Sq x Skv. Threads take blocks, or ranges of a block's keys, with BLAS on one thread;
 * how the work is cut depends on the problem alone, so the bits do not depend on the thread count.
 * Only visible keys are gathered, so what a problem forbids to read is not even multiplied by zero
 * (except for kept_mass, which asks about it). Working memory beyond inputs and answer: at most
 * 64 MB a thread; 4 MB for a prefill with D = 128. */
#ifndef ATTEST_ORACLE_H
#define ATTEST_ORACLE_H

#include "answer.h"
#include "rule.h"

/* Goes into answers, and up when they may change in more than the last bits: older ones that
 * attest stored are then computed again. */
#define ORACLE_VERSION "oracle 2"

struct oracle_cost {
    double seconds;
    double product_flops; /* of the matrix products: 2 m n k each; keys that no row of a block
                             sees are not multiplied */
    int64_t memory_bytes; /* the most that one thread held at once */
};

/* Answers `view`, whose tables rules_check has accepted. `rows` asks for that many query rows of
 * each head, spread over 0..q_len-1 with both ends (0: all). threads 0: one a core. The caller
 * frees `answer` with answer_free, also after a failure. `cost` may be NULL. */
bool oracle_answer(struct answer *answer, const struct rule_view *view, int64_t rows, int threads,
                   struct oracle_cost *cost, struct fault *fault);

/* The same from the definition: a plain loop over visible keys, long double throughout. Slow;
 * the second opinion of the tests and of `attest oracle --definition`. */
bool definition_answer(struct answer *answer, const struct rule_view *view, int64_t rows,
                       int threads, struct fault *fault);

/* Sets sizes and allocates the arrays, zeroed (lse -infinity); rows as for oracle_answer. */
bool answer_alloc(struct answer *answer, const struct attn_problem *problem, int64_t rows,
                  struct fault *fault);
/* Takes lost_abs_v and lost_rms_v away: there is nothing in them. */
void answer_drop_lost(struct answer *answer);
void answer_free(struct answer *answer);

/* exp(x) for x in f64, n values, in place; relative error at most 2^-51 for x in [-745, 709] (the
 * test's bound; one in the last place where the result is subnormal), 0 below -746, infinity from
 * 710, NaN stays NaN. */
void oracle_exp(double *x, int64_t n);

/* Ceilings of this machine, FLOP/s: an n^3 product on all cores, median of several. */
double oracle_dgemm_rate(int64_t n, int threads);
double oracle_sgemm_rate(int64_t n, int threads);
/* OpenBLAS' description of itself; a pointer into static memory. */
const char *oracle_blas(void);

#endif
