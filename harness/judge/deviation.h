/* How far an output is from the answer: numbers only, no verdict (that is judge.h). Every number is
 * taken over the valid rows the answer holds, against the unrounded answer; tau and the model are
 * those of tolerance.h:
 *
 *   t       = |got - o| / tau
 *   rho     = rms(got - o) / rms(model)
 *
 * Small samples: rms(got - o)^2 / rms(model)^2 scatters with fewer degrees of freedom than there
 * are elements (chance.h). A row has 1 / (1/columns + 1/n_eff) of them where P dominates, n_eff =
 * sum A^2 / sum R^2; rows add up as Satterthwaite has it. Where an honest ratio reaches beyond the
 * limit of grade A once in 10^9 blocks, rho_chance is by how much: 1 from about 310 degrees of
 * freedom on, never above 6. The judge multiplies its limits with it. */
#ifndef ATTEST_DEVIATION_H
#define ATTEST_DEVIATION_H

#include "tolerance.h"

/* What an output holds before a launch: a NaN no arithmetic produces. E4M3 has two NaN, of which
 * this is the one that GPUs' conversions do not make. */
enum { UNWRITTEN_16 = 0x7dab /* f16 */, UNWRITTEN_BF16 = 0x7fab, UNWRITTEN_E4M3 = 0xff };
#define UNWRITTEN_32 0x7fabcdefu
/* Of an element's width. */
uint32_t deviation_unwritten(enum attn_dtype dtype);
/* Whether an element holds it. */
bool deviation_is_unwritten(const void *element, enum attn_dtype dtype);

/* rho up to which a kernel is as good as a flash kernel can be; see judge.c for the other grades.
 */
#define RHO_GRADE_A 1.25

enum { DEVIATION_BLOCK_ROWS = 128 }; /* queries of a head that rho_block is taken over */
enum { DEVIATION_OCTAVES = 24 };     /* of ulp_counts */
#define DEVIATION_ULP_LEAST 0x1p-7   /* ulp: so that the last is beyond 2^15 */

struct deviation_place {
    int64_t b, h, i, d; /* -1 when there is none; d is -1 in a place of lse */
    double got, expected, tolerance;
};

/* Elements that are unwritten or of the wrong structure are counted as that and take no part in
 * any other number. */
struct deviation {
    int64_t elements;                              /* judged elements of out */
    int64_t nan_count, inf_count, unwritten_count; /* an unwritten element is not a NaN as well */
    int64_t structure_count; /* NaN or a signed Inf where the answer has none, or the reverse; an
                                Inf is forgiven where o + tau rounds to it */
    int64_t empty_row_count; /* rows that see no key */
    int64_t empty_row_wrong; /* ... whose out is not exactly 0 */
    int64_t inexact_count;   /* elements in rows that see a power of two of keys, and that are not
                                o rounded once, by more than 2^-21 (|o| + A): 0 is asked of the
                                data `exact` */
    struct deviation_place inexact; /* the first of them */
    double max_ref, max_out;        /* max |o|, max |got| over finite values */
    double max_abs, mean_abs;       /* |got - o| */
    double rms_abs;
    struct deviation_place worst; /* an unwritten element, else a structure mismatch, else the
                                     element with the largest |got - o| / tau */
    double t_max;                 /* max |got - o| / tau */
    double rho;                   /* rms(got - o) / rms(model) */
    double rho_chance;            /* what chance may multiply it with, at least 1 */
    double rho_wide;              /* what large logits, kept in 16 bits, may multiply it with, at
                                     least 1; 1 of a promise of grade A */
    double rho_block;             /* the same over one (head, block of 128 queries): the block whose
                                     rho_block / (rho_block_chance rho_block_wide) is largest */
    double rho_block_chance, rho_block_wide;
    double rho_block_most; /* the largest rho_block / rho_block_chance */
    int64_t rho_block_b, rho_block_h, rho_block_i;
    double bias; /* mean(sign(o)(got - o)) / rms(model) */
    /* |got - o| in ulp of o in the output type. Median and p99 come from a histogram with 16 bins
     * an octave: they are the upper edge of their bin, at most 6.3 % too large. */
    double ulp_median, ulp_p99, ulp_max;
    /* The same histogram in octaves: elements below DEVIATION_ULP_LEAST, then from there to twice
     * that, and so on; the last has all beyond. */
    int64_t ulp_counts[DEVIATION_OCTAVES];
    double cosine, rms_relative; /* rms(got - o) / rms(o) */
    double mere, mare;           /* mean and max of |got - o| / (|o| + 1e-7) */
    double rho_std16; /* rms(got - o) / rms of the textbook 16-bit kernel (anchor.h); NaN until
                         somebody sets it */
    bool lse_judged;
    int64_t lse_wrong; /* rows beyond the promised bound; in an empty row, not -infinity */
    char lse_grade;    /* whose bound all rows are within: 'A', 'B', or 'F' */
    double lse_max;    /* max |got - lse| / promised bound */
    struct deviation_place lse_worst;
    int64_t pad_rows, pad_left, pad_zeroed, pad_overwritten; /* rows beyond a sequence's length */
};

/* out and lse in host memory, laid out as the contract says; lse NULL if not written.
 * An lse to base 2, by its promise, is made natural first. threads 0: one a core; the numbers do
 * not depend on it, to the bit. */
void deviation_measure(struct deviation *deviation, const struct rule_view *view,
                       const struct answer *answer, const void *out, const float *lse,
                       const struct promise *promise, int threads);

#endif
