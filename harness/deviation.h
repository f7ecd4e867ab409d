/* How far an output is from the answer: numbers only, no verdict (that is judge.h).
 *
 * Every number is taken over the valid rows the answer holds, against the unrounded answer. The
 * formulas (tau, rho, bias) are those of reports/README.md, "When is a kernel right". */
#ifndef ATTEST_DEVIATION_H
#define ATTEST_DEVIATION_H

#include "../oracle/answer.h"
#include "../oracle/rule.h"

/* What an output holds before a launch: a NaN no arithmetic produces. */
enum { UNWRITTEN_16 = 0x7dab /* f16 */, UNWRITTEN_BF16 = 0x7fab };
#define UNWRITTEN_32 0x7fabcdefu

struct deviation_place {
    int64_t b, h, i, d; /* -1 when there is none */
    double got, expected, tolerance;
};

struct deviation {
    int64_t elements; /* judged elements of out */
    int64_t nan_count, inf_count, unwritten_count;
    int64_t structure_count;  /* NaN or a signed Inf where the answer has none, or the reverse */
    int64_t empty_row_count;  /* rows that see no key */
    int64_t empty_row_wrong;  /* ... whose out is not exactly 0 or whose lse is not -infinity */
    double max_ref, max_out;  /* max |o|, max |got| over finite values */
    double max_abs, mean_abs; /* |got - o| */
    struct deviation_place worst; /* the element with the largest |got - o| / tau (or a structure
                                     mismatch, or an unwritten one) */
    double t_max;                 /* max |got - o| / tau */
    double rho;                   /* rms(got - o) / rms(model) */
    double rho_block;             /* the same over the worst (head, block of 128 queries) */
    int64_t rho_block_b, rho_block_h, rho_block_i;
    double bias;                         /* mean(sign(o)(got - o)) / rms(model) */
    double ulp_median, ulp_p99, ulp_max; /* |got - o| in ulp of o in the output type */
    double cosine, rms_relative;         /* rms(got - o) / rms(o) */
    double mere, mare;                   /* mean and max of |got - o| / (|o| + 1e-7) */
    double rho_std16; /* rms(got - o) / rms of the textbook 16-bit kernel; NaN if not known */
    bool lse_judged;
    int64_t lse_wrong; /* rows beyond the bound */
    double lse_max;    /* max |got - lse| / bound */
    struct deviation_place lse_worst;
    int64_t pad_rows, pad_left, pad_zeroed, pad_overwritten; /* rows beyond a sequence's length */
};

/* out and lse in host memory, laid out as the contract says, dtype of q; lse NULL if not written.
 * p_dtype as in attn_kernel. threads as everywhere. */
void deviation_measure(struct deviation *deviation, const struct rule_view *view,
                       const struct answer *answer, const void *out, const float *lse,
                       enum attn_dtype p_dtype, int threads);

/* Unit roundoff of a float dtype: f16 2^-11, bf16 2^-8, f32 2^-24. */
double unit_roundoff(enum attn_dtype dtype);

#endif
