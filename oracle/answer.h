/* What is exact about a problem: types only, filled by the oracle, stored in a fixture's /answer,
 * read by the judge. All values are f64 and never rounded to the kernel's type. */
#ifndef ATTEST_ANSWER_H
#define ATTEST_ANSWER_H

#include <stdint.h>

struct answer {
    int64_t batch, q_heads, value_dim;
    int64_t row_count; /* query rows computed of each (b, h) */
    int64_t *rows; /* [row_count] their indices i, ascending; 0..q_len-1 when all were computed */

    double *out;     /* [batch, q_heads, row_count, value_dim]  o = sum p v; 0 where no key is seen
                        and in rows beyond the sequence's length */
    double *p_abs_v; /* the same shape: A = sum p |v| */
    double *p_rms_v; /* the same shape: R = sqrt(sum p^2 v^2) */
    /* What is lost where weights e = exp(logit - m) are kept in f16, m being the row's largest
     * logit and l = sum e: below 2^-14 they are subnormals, 2^-24 apart, and below 2^-25 they are
     * 0. Both the same shape; both NULL if no e of any row is below 2^-14. */
    double *lost_abs_v; /* sum e |v| / l over e < 2^-25 */
    double *lost_rms_v; /* sqrt(sum v^2 2^-50 / 3 over 2^-25 <= e < 2^-14, and e^2 v^2 below) / l */
    double *lse;        /* [batch, q_heads, row_count], natural; -infinity where no key is seen */
    double *logit_abs; /* the same shape: S = max over visible keys of scale * sum |q||k|, plus what
                          a rule adds for its own first-order error; 0 where no key is seen. A key
                          of logit -infinity has no part in it: its weight is exactly 0 */

    double *logit_max; /* the same shape: max |logit| over visible keys, those of logit -infinity
                          left out; 0 where no key is seen */
    double *sum_bias;  /* the same shape: by which part of l a plain f32 sum of e = exp(logit - m)
                          may  be off because errors of one sign add up: 2^-24 for each key whose
                          logit,  to 2^-26, is that of the key 16 before (of the first 16: behind)
                          and  not  the row's largest; and min(e, 2^-24 l) / l for each e < 2^-22 l
                          where  some  e is below 2^-14: addends that vanish beside the sum. Not
                          counted  where  NaN or infinity is about */

    double kept_ratio; /* kept tokens / tokens that rows may see; 1 for dense problems */
    double kept_mass;  /* mean share of the dense softmax mass that lies on kept tokens, from plain
                          logits; 1 for dense problems, NaN where it was not computed (too much
                          work, or tokens that are not kept hold NaN) */
    char oracle[64];   /* ORACLE_VERSION of oracle.h, or whatever a stranger's file says */
    char blas[128];    /* OpenBLAS' own description: version, core type */
    char cpu[128];
};

#endif
