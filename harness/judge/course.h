/* A row as a kernel computes it that takes another course than the right one: it sees other keys,
 * weighs them otherwise, or pairs them with other values. Computed by the definition, in double,
 * with the sizes that say how far an output of that course may be from it (tolerance.h). What lies
 * outside the tensors is not read: then there is no such course. */
#ifndef ATTEST_COURSE_H
#define ATTEST_COURSE_H

#include "tolerance.h"

/* What of the keys that a row sees of its own sequence and kv head is the same on every course. */
struct course_keys {
    double *dot, *size, *norm; /* by token, NaN until asked for: q.k, sum |q||k|, |k| */
};

struct course {
    const struct rule_view *view;
    const struct answer *answer;
    int64_t b, h, row; /* whose query: `row` counts the rows that the answer holds of (b, h) */
    uint64_t traits;   /* the problem's; without one, its rule does not change the logits */
    /* It sees the keys numbered first .. end - 1 of sequence keys_b and kv head g, without those
     * from skip to skip_end - 1, and with those from again to again_end - 1 counted twice. */
    int64_t keys_b, g, first, end, skip, skip_end, again, again_end;
    const int32_t *list; /* token of a number; NULL: the number */
    /* Where the key, and the value, of token t are looked for; NULL: at t. */
    int64_t (*key_of)(const struct course *course, int64_t t);
    int64_t (*value_of)(const struct course *course, int64_t t);
    bool keys_of_values, values_of_keys; /* each looked for among the other */
    bool heads_for_rows; /* of a page; as the problem's kernels have it: of NHD taken for HND */
    bool values_as_wide; /* v's rows are taken to be as long as k's */
    int64_t value_from;  /* a value's first element, where it is part of its key */
    int64_t written;     /* columns from it on are 0; 0: none is */
    int64_t query;       /* whose q: a row of [q_len] */
    int64_t columns;     /* q.k is summed over the first of them; 0: over all */
    int64_t turn;        /* column d of the output is column d + turn, modulo Dv */
    double scale;        /* times that of the problem */
    double softcap;      /* the problem's */
    double sink;         /* a logit without a key; -infinity: none */
    float slope;         /* of alibi */
    /* Of token t bias[bias_step t] times bias_scale is added, before the cap where bias_capped;
     * NULL: none. Of a mask only what is -infinity is. */
    const float *bias;
    int64_t bias_step;
    double bias_scale;
    bool bias_capped, bias_is_mask;
    /* Of 8 bits: bytes are read as `decode` has them, NULL: as they are. The scale is that of kv
     * head scale_g, -1: of g; of token scale_of(t), NULL: of t; of keys for values and the reverse
     * where they are swapped; to these powers, each 1. */
    double (*decode)(uint8_t code);
    int64_t scale_g;
    int64_t (*scale_of)(const struct course *course, int64_t t);
    bool scales_swapped;
    double k_scale_power, v_scale_power;
    double correction;  /* times MagicPIG's */
    float lsh_k, lsh_l; /* the row's, where it has them */
    /* A hypothesis' own: which of its candidates, a size, and what it says of them. */
    double number;
    int64_t size;
    double said[2];
    const double *got;         /* [value_dim] what the kernel wrote; NaN for what it did not */
    struct course_keys *known; /* of the right course's keys; NULL: all is computed */
    /* Changes weights e[0 .. count), exp(s - largest s), and their sum *l. */
    void (*weigh)(const struct course *course, const double *s, double *e, int64_t count,
                  double *l);
    double out_scale;               /* times the output */
    bool cut_off;                   /* of 8 bits: it is not rounded */
    double lse_scale, lse_m, lse_l; /* lse = lse_scale (lse_m m + lse_l log l), m the largest s */
    bool lse_base_2;                /* the kernel says so: then it was multiplied with ln 2 */
    /* It has the answer of row `row` of (of_b, of_h), whatever is above; of_b < 0: it has not. */
    int64_t of_b, of_h;
};

/* Room for a row: out, and what its tolerance is made of, [value_dim] each; a few vectors more. */
struct course_row {
    double *out, *a, *r, *lost_abs, *lost_rms;
    double *q, *k, *v, *s, *e;
    bool lossy; /* lost_abs and lost_rms hold something */
    double lse;
    struct row_size size;
};

/* The right course of a row. */
struct course course_right(const struct rule_view *view, const struct answer *answer, int64_t b,
                           int64_t h, int64_t row);
bool course_room(struct course_row *row, const struct rule_view *view);
void course_free(struct course_row *row);
bool course_know(struct course_keys *known, const struct rule_view *view);
void course_forget(struct course_keys *known);
/* Of `columns` elements from `from` on; elsewhere the row then holds anything. False where it would
 * leave the tensors, or sees no key. */
bool course_compute(struct course_row *row, const struct course *course, int64_t from,
                    int64_t columns);
/* What d out / d scale is at the course computed last, in all columns, into [value_dim]. */
void course_slope(const struct course_row *row, const struct course *course, double *slope);

/* How far an output is from a row. Sums, so that rows may be added up. */
struct course_fit {
    double t_max, error2, model2;
    int64_t beyond;  /* elements whose |error| is above tau */
    double surprise; /* sum of log(t / 2) where that is positive: how unlikely it is that something
                        that is not there is within tau by chance */
};
void course_compare(struct course_fit *fit, const struct course_row *row,
                    const struct rounding *rounding, const double *got, int64_t from,
                    int64_t columns);

#endif
