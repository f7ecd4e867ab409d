/* First every row is looked at, for where it is wrong; then a few, for how. */
#include "diagnosis.h"
#include "hypothesis.h"
#include "../../kernels/attn_number.h"
#include "../../oracle/bulk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SCREENED = 8,           /* columns of the worst row, that most hypotheses fail in */
    SEARCHED_ELEMENTS = 64, /* that a number is searched for in, at least */
    LOOKED_MAX = 16,
    RANGES_MAX = 4 /* said of a set */
};

/* By how much nearer than the right answer a hypothesis has to be, of rms over model; and how far
 * beyond the limit of a grade a few rows may be by chance. */
static const double nearer = 1.25, chance = 1.6;
/* By how much nearer than one before it, which is said otherwise. */
static const double better = 1.1;

enum row_state { UNJUDGED, RIGHT, WRONG };

struct place {
    int64_t b, h, row;
};

struct scan {
    const struct diagnosis_output *output;
    struct rounding rounding;
    bool of_lse; /* lse is looked at, not out */
    int64_t dim, rows_of_head, rows, wrong, unwritten, not_finite, beyond;
    unsigned char *state; /* [batch, q_heads, row_count], enum row_state */
    bool *column;         /* [head_dim]: whether it is wrong in some row */
    double *got;
};

static int64_t element_at(const struct scan *scan, const struct place *place) {
    const struct attn_problem *problem = scan->output->view->problem;
    return (place->b * problem->q_heads + place->h) * problem->q_len +
           scan->output->answer->rows[place->row];
}

static int64_t answer_at(const struct scan *scan, const struct place *place) {
    const struct answer *answer = scan->output->answer;
    return (place->b * answer->q_heads + place->h) * answer->row_count + place->row;
}

static struct place place_at(const struct scan *scan, int64_t at) {
    const struct answer *answer = scan->output->answer;
    return (struct place){.b = at / answer->row_count / answer->q_heads,
                          .h = at / answer->row_count % answer->q_heads,
                          .row = at % answer->row_count};
}

static const void *row_of(const struct scan *scan, const struct place *place) {
    const size_t bytes = attn_dtype_bytes(scan->rounding.dtype);
    return (const char *)scan->output->out + (size_t)(element_at(scan, place) * scan->dim) * bytes;
}

static void widen(const struct scan *scan, const struct place *place, double *got) {
    bulk_widen_out(got, scan->output->view, row_of(scan, place), scan->dim);
}

static bool is_unwritten(const struct scan *scan, const void *row, int64_t d) {
    const enum attn_dtype dtype = scan->rounding.dtype;
    return deviation_is_unwritten((const char *)row + d * attn_dtype_bytes(dtype), dtype);
}

static bool wrong_lse(const struct scan *scan, const struct place *place) {
    const struct diagnosis_output *output = scan->output;
    const double expected = output->answer->lse[answer_at(scan, place)];
    const double got = scan->rounding.lse_unit * (double)output->lse[element_at(scan, place)];
    if (!isfinite(expected)) return isnan(expected) ? isfinite(got) : got != expected;
    const struct row_size size =
        row_size_of(output->view, output->answer, place->b, place->h, place->row);
    return !(fabs(got - expected) <=
             tolerance_of_lse(&scan->rounding, &size, expected, output->promise.lse_grade));
}

static bool wrong_out(struct scan *scan, const struct place *place) {
    const struct answer *answer = scan->output->answer;
    const int64_t from = answer_at(scan, place) * scan->dim;
    const struct row_size size =
        row_size_of(scan->output->view, answer, place->b, place->h, place->row);
    const struct row_bounds bounds = row_bounds_of(&scan->rounding, &size, 1, scan->dim);
    const bool lossy = scan->rounding.p_subnormal && answer->lost_abs_v != NULL;
    const void *row = row_of(scan, place);
    bool wrong = false;
    widen(scan, place, scan->got);
    for (int64_t d = 0; d < scan->dim; d++) {
        const double o = rounding_target(&scan->rounding, answer->out[from + d]);
        const double got = scan->got[d];
        const double lost =
            lossy ? tolerance_lost(answer->lost_abs_v[from + d], answer->lost_rms_v[from + d]) : 0;
        const double tau =
            tolerance_tau(&bounds, o, answer->p_abs_v[from + d], answer->p_rms_v[from + d], lost);
        if (fabs(got - o) <= tau || got == o || (isnan(o) && isnan(got))) continue;
        if (fabs(got - o) <=
            tau + tolerance_flushed(scan->output->view, answer, place->b, place->h, place->row, d))
            continue;
        if (is_unwritten(scan, row, d))
            scan->unwritten++;
        else if (!isfinite(got))
            scan->not_finite++;
        else
            scan->beyond++;
        scan->column[d] = wrong = true;
    }
    return wrong;
}

static void look_at_all(struct scan *scan) {
    const struct attn_problem *problem = scan->output->view->problem;
    for (int64_t at = 0; at < scan->rows_of_head * problem->batch * problem->q_heads; at++) {
        const struct place place = place_at(scan, at);
        if (scan->output->answer->rows[place.row] >= rules_q_len(scan->output->view, place.b))
            continue;
        const bool wrong = scan->of_lse ? wrong_lse(scan, &place) : wrong_out(scan, &place);
        scan->state[at] = wrong ? WRONG : RIGHT;
        scan->rows++;
        scan->wrong += wrong;
    }
}

/* Where */

/* "0-3, 8", "every 16th from 15". `in` and `there`: of the numbers 0 .. count - 1, or of names[],
 * the wrong ones and those judged. Nothing where all are wrong. */
static void say_set(FILE *to, const char *what, const bool *in, const bool *there, int64_t count,
                    const int64_t *names) {
    int64_t wrong = 0, judged = 0, first = -1, second = -1, last = -1;
    bool even = true;
    for (int64_t n = 0; n < count; n++) {
        judged += there[n];
        if (!in[n]) continue;
        const int64_t name = names != NULL ? names[n] : n;
        if (wrong == 1) second = name;
        if (wrong > 1) even &= name - last == second - first;
        if (wrong == 0) first = name;
        last = name;
        wrong++;
    }
    if (wrong == judged || wrong == 0) return;
    fprintf(to, ", %s%s ", what, wrong > 1 ? "s" : "");
    if (wrong > 2 && even && second - first > 1) {
        fprintf(to, "%lld, %lld, ... %lld", (long long)first, (long long)second, (long long)last);
        return;
    }
    int ranges = 0;
    for (int64_t n = 0; n < count; n++) {
        if (!in[n]) continue;
        const int64_t from = n;
        while (n + 1 < count && (in[n + 1] || !there[n + 1])) n++;
        while (!in[n]) n--; /* one that was not judged is not named at an end */
        if (ranges++ == RANGES_MAX) {
            fprintf(to, " and more, %lld of %lld", (long long)wrong, (long long)judged);
            return;
        }
        fprintf(to, "%s%lld", ranges > 1 ? ", " : "", (long long)(names ? names[from] : from));
        if (n > from) fprintf(to, "-%lld", (long long)(names ? names[n] : n));
    }
}

/* What the numbers of keys tell: whether rows are wrong from one on, or where no tile is full. */
static void say_keys(FILE *to, const struct scan *scan) {
    int64_t wrong_min = INT64_MAX, wrong_max = -1, right_min = INT64_MAX, right_max = -1;
    bool partial[4] = {true, true, true, true};
    const int64_t count = scan->rows_of_head * scan->output->view->problem->batch *
                          scan->output->view->problem->q_heads;
    for (int64_t at = 0; at < count; at++) {
        if (scan->state[at] == UNJUDGED) continue;
        const struct place place = place_at(scan, at);
        const bool wrong = scan->state[at] == WRONG;
        const int64_t keys =
            rules_keys(scan->output->view, place.b, place.h, scan->output->answer->rows[place.row])
                .count;
        int64_t *least = wrong ? &wrong_min : &right_min, *most = wrong ? &wrong_max : &right_max;
        if (keys < *least) *least = keys;
        if (keys > *most) *most = keys;
        for (int n = 0; n < 4; n++) partial[n] &= (keys % (16 << n) != 0) == wrong;
    }
    if (wrong_max == 0) {
        fputs(", all of them rows that see no key", to);
        return;
    }
    if (scan->wrong < 2 || scan->rows - scan->wrong < 2) return;
    if (wrong_min > right_max)
        fprintf(to, ", all rows that see %lld keys or more", (long long)wrong_min);
    else if (wrong_max < right_min)
        fprintf(to, ", all rows that see %lld keys or fewer", (long long)wrong_max);
    for (int n = 3; n >= 0; n--) {
        if (!partial[n]) continue;
        fprintf(to, ", all rows whose keys do not fill tiles of %d", 16 << n);
        return;
    }
}

static bool say_where(FILE *to, const struct scan *scan) {
    const struct attn_problem *problem = scan->output->view->problem;
    const int64_t counts[] = {problem->batch, problem->q_heads, scan->rows_of_head};
    const char *const names[] = {"sequence", "head", problem->q_len > 1 ? "query row" : "query"};
    bool *sets[3][2] = {{NULL}}, well = true;
    for (int n = 0; n < 3; n++) {
        for (int of = 0; of < 2; of++) {
            sets[n][of] = calloc((size_t)counts[n] + 1, sizeof(bool));
            well &= sets[n][of] != NULL;
        }
    }
    for (int64_t at = 0; well && at < counts[0] * counts[1] * counts[2]; at++) {
        const struct place place = place_at(scan, at);
        const int64_t numbers[] = {place.b, place.h, place.row};
        for (int n = 0; n < 3; n++) {
            sets[n][0][numbers[n]] |= scan->state[at] == WRONG;
            sets[n][1][numbers[n]] |= scan->state[at] != UNJUDGED;
        }
    }
    if (well) {
        fprintf(to, "wrong in %lld of %lld row%s", (long long)scan->wrong, (long long)scan->rows,
                scan->rows > 1 ? "s" : "");
        for (int n = 0; n < 3; n++)
            say_set(to, names[n], sets[n][0], sets[n][1], counts[n],
                    n == 2 ? scan->output->answer->rows : NULL);
        say_keys(to, scan);
    }
    for (int n = 0; n < 6; n++) free(sets[n / 2][n % 2]);
    return well;
}

/* Columns are said where there were elements enough to see all of them. */
static void say_columns(FILE *to, const struct scan *scan) {
    const int64_t elements = scan->unwritten + scan->not_finite + scan->beyond;
    bool *all = malloc((size_t)scan->dim * sizeof *all);
    int64_t wrong = 0;
    if (all == NULL) return;
    for (int64_t d = 0; d < scan->dim; d++) {
        all[d] = true;
        wrong += scan->column[d];
    }
    if (elements == wrong * scan->wrong || elements >= 4 * scan->dim)
        say_set(to, "column", scan->column, all, scan->dim, NULL);
    free(all);
}

/* How */

struct looked {
    struct place place;
    double *got;
    struct course right;
    struct course_fit fit; /* of the right answer, in this row and those before */
    struct course_keys known;
};

static double limit_of(char grade) {
    return grade == 'B' ? 2.5 : grade == 'C' ? 5 : RHO_GRADE_A;
}

/* How far an lse is from that of a course, over its tolerance. One that is multiplied may be off by
 * as much more. */
static double lse_error(const struct scan *scan, const struct looked *looked,
                        const struct course_row *row, double scale) {
    const double got =
        scan->rounding.lse_unit * (double)scan->output->lse[element_at(scan, &looked->place)];
    if (got == row->lse) return 0;
    return fabs(got - row->lse) /
           (fmax(fabs(scale), 1) * tolerance_of_lse(&scan->rounding, &row->size, row->lse,
                                                    scan->output->promise.lse_grade));
}

struct trying {
    const struct scan *scan;
    struct looked *looked;
    int64_t count;
    struct course_row room;
    int64_t worst_d;
    double rho; /* of the best so far, which is said */
    double said[2];
    const struct hypothesis *best;
    bool lse_agrees;
};

static double rho_of(const struct course_fit *fit) {
    return sqrt(fit->error2 / fit->model2);
}

/* Whether a course is within its tolerance where the worst row is worst: a few columns cost little.
 */
static bool passes_at_worst(struct trying *try, const struct course *course) {
    const int64_t dim = try->scan->dim, columns = dim < SCREENED ? dim : SCREENED;
    const int64_t from = try->worst_d / columns * columns + columns > dim
                             ? dim - columns
                             : try->worst_d / columns * columns;
    struct course_fit fit = {0};
    if (!course_compute(&try->room, course, from, columns)) return false;
    course_compare(&fit, &try->room, &try->scan->rounding, try->looked[0].got, from, columns);
    return fit.beyond == 0;
}

/* Tries a hypothesis with that number. It is kept if it explains all rows -- of which the worst is
 * the first -- and better than the one that is: by so much that it is not chance. */
static void try_number(struct trying *try, const struct hypothesis *of, double number) {
    const struct scan *scan = try->scan;
    struct course_fit fit = {0};
    double said[2] = {0};
    bool lse_agrees = scan->output->lse != NULL && of->of & OF_LSE;
    for (int64_t n = 0; n < try->count; n++) {
        struct looked *looked = &try->looked[n];
        struct course course = looked->right;
        course.number = number;
        course.size = of->size;
        if (!of->bend(&course)) return;
        if (n == 0 && !scan->of_lse && !passes_at_worst(try, &course)) return;
        if (!course_compute(&try->room, &course, 0, scan->of_lse ? 0 : scan->dim)) return;
        if (n == 0) memcpy(said, course.said, sizeof said);
        lse_agrees = lse_agrees && lse_error(scan, looked, &try->room, course.lse_scale) <= 1;
        if (scan->of_lse && !lse_agrees) return;
        if (scan->of_lse) continue;
        course_compare(&fit, &try->room, &scan->rounding, looked->got, 0, scan->dim);
        if (fit.beyond > 0 || rho_of(&fit) > rho_of(&looked->fit)) return;
    }
    const double rho = scan->of_lse ? 0 : rho_of(&fit),
                 limit = limit_of(scan->output->promise.grade);
    if (!scan->of_lse &&
        (rho > chance * limit || rho * nearer > rho_of(&try->looked[try->count - 1].fit)))
        return;
    if (try->best != NULL && rho * better >= try->rho) return;
    try->rho = rho;
    try->best = of;
    try->lse_agrees = lse_agrees;
    memcpy(try->said, said, sizeof said);
}

static void try_one(struct trying *try, const struct hypothesis *of) {
    const struct rule_view *view = try->scan->output->view;
    const int64_t candidates = of->candidates != NULL ? of->candidates(view) : 1;
    if (of->find == NULL) {
        for (int64_t n = 0; n < candidates; n++) try_number(try, of, (double)n);
        return;
    }
    struct course courses[LOOKED_MAX];
    double number;
    if (try->best != NULL) return; /* a number that is found fits more than it explains */
    for (int64_t n = 0; n < try->count; n++) courses[n] = try->looked[n].right;
    if (try->scan->dim * try->count >= SEARCHED_ELEMENTS &&
        of->find(courses, try->count, of->size, &number))
        try_number(try, of, number);
}

/* How the right answer does on the rows: false where one has none that is a number. */
static bool fit_right(struct trying *try) {
    struct course_fit fit = {0};
    for (int64_t n = 0; n < try->count; n++) {
        struct looked *looked = &try->looked[n];
        looked->right = course_right(try->scan->output->view, try->scan->output->answer,
                                     looked->place.b, looked->place.h, looked->place.row);
        looked->right.got = looked->got;
        looked->right.lse_base_2 = try->scan->output->promise.lse_base_2;
        if (course_know(&looked->known, try->scan->output->view))
            looked->right.known = &looked->known;
        if (!course_compute(&try->room, &looked->right, 0, try->scan->dim)) return false;
        if (try->scan->of_lse)
            fit.surprise += log(fmax(lse_error(try->scan, looked, &try->room, 1) / 2, 1));
        else
            course_compare(&fit, &try->room, &try->scan->rounding, looked->got, 0, try->scan->dim);
        looked->fit = fit;
    }
    return true;
}

__attribute__((format(printf, 2, 0))) static void say_words(FILE *to, const char *words,
                                                            const double said[2]) {
    fputs("as if ", to);
    fprintf(to, words, said[0], said[1]);
}

/* Whether there is enough to explain that one of the hypotheses does not do so by chance: one in
 * 10^4 for each, or as many elements as make a rho. */
static bool is_surprising(const struct trying *try) {
    const bool many = !try->scan->of_lse && try->count * try->scan->dim >= SEARCHED_ELEMENTS;
    return many || try->looked[try->count - 1].fit.surprise >= 9.2;
}

static bool say_how(FILE *to, struct trying *try) {
    const int of = try->scan->of_lse ? OF_LSE : OF_OUT;
    if (!fit_right(try) || !is_surprising(try)) return false;
    const struct hypothesis *one;
    for (int64_t n = 0; (one = hypothesis_at(n)) != NULL; n++) {
        if (one->of & of) try_one(try, one);
    }
    if (try->best == NULL) return false;
    say_words(to, try->best->words, try->said);
    if (of == OF_OUT && try->lse_agrees) fputs(", and its lse as well", to);
    return true;
}

static bool all_finite(const double *got, int64_t dim) {
    for (int64_t d = 0; d < dim; d++) {
        if (!isfinite(got[d])) return false;
    }
    return true;
}

static void look_at(struct trying *try, int64_t at) {
    const struct scan *scan = try->scan;
    struct looked *looked = &try->looked[try->count];
    *looked = (struct looked){0};
    looked->place = place_at(scan, at);
    looked->got = scan->got + try->count * scan->dim;
    widen(scan, &looked->place, looked->got);
    if (all_finite(looked->got, scan->dim)) try->count++;
}

/* The worst row, and others of that state between `begin` and `end`, in order of (b, h, row): in
 * steps of the golden ratio, which no pattern of heads or queries has. */
static void choose(struct trying *try, int64_t worst, enum row_state state, int64_t begin,
                   int64_t end) {
    const struct scan *scan = try->scan;
    int64_t there = 0;
    for (int64_t at = begin; at < end; at++) there += scan->state[at] == state;
    look_at(try, worst);
    for (int n = 1; n < LOOKED_MAX && n < there; n++) {
        const double part = n * 0x1.9e3779b97f4a8p-1;
        int64_t rank = (int64_t)((part - floor(part)) * (double)there), at = begin;
        while (scan->state[at] != state || rank-- > 0) at++;
        if (at != worst) look_at(try, at);
    }
}

/* Which row of the answer is query i, or -1. */
static int64_t row_of_query(const struct answer *answer, int64_t i) {
    for (int64_t row = 0; row < answer->row_count; row++) {
        if (answer->rows[row] == i) return row;
    }
    return -1;
}

static bool explain(FILE *to, struct scan *scan, const struct deviation *d) {
    struct looked looked[LOOKED_MAX];
    struct trying try = {
        .scan = scan, .looked = looked, .worst_d = d->worst.d > 0 ? d->worst.d : 0};
    const struct answer *answer = scan->output->answer;
    const int64_t all = answer->batch * answer->q_heads * answer->row_count;
    const bool by_quality = !scan->of_lse && scan->wrong == 0;
    const struct deviation_place *worst = scan->of_lse ? &d->lse_worst : &d->worst;
    const int64_t b = by_quality ? d->rho_block_b : worst->b,
                  h = by_quality ? d->rho_block_h : worst->h,
                  row = row_of_query(answer, by_quality ? d->rho_block_i : worst->i);
    if (b < 0 || row < 0 || !course_room(&try.room, scan->output->view)) return false;
    const int64_t at = (b * answer->q_heads + h) * answer->row_count + row;
    if (!by_quality) {
        choose(&try, at, WRONG, 0, all);
    } else if (d->rho > limit_of(scan->output->promise.grade)) {
        choose(&try, at, RIGHT, 0, all);
    } else {
        int64_t end = row;
        while (end < answer->row_count &&
               answer->rows[end] / DEVIATION_BLOCK_ROWS == answer->rows[row] / DEVIATION_BLOCK_ROWS)
            end++;
        choose(&try, at, RIGHT, at, at + end - row);
    }
    const bool said = try.count > 0 && say_how(to, &try);
    for (int64_t n = 0; n < try.count; n++) course_forget(&try.looked[n].known);
    course_free(&try.room);
    return said;
}

/* What the numbers tell where no hypothesis does. */
static void say_more(FILE *to, const struct scan *scan, const struct deviation *d) {
    if (scan->of_lse) {
        if (d->lse_grade == 'B') fputs("; every lse is within the bound of grade B", to);
        return;
    }
    if (scan->wrong == 0 && d->bias < -0.3)
        fputs("; errors lean towards 0: something is cut off, not rounded", to);
    if (scan->wrong == 0 && d->bias > 0.3) fputs("; errors lean away from 0", to);
}

static void say_all(FILE *to, struct scan *scan, enum status status, const struct deviation *d) {
    look_at_all(scan);
    const bool said =
        (status == STATUS_FAIL_ACCURACY || status == STATUS_FAIL_LSE) && explain(to, scan, d);
    if (said) fputs("; ", to);
    if (scan->wrong == 0) fputs("no element alone is beyond its tolerance", to);
    if (scan->wrong > 0 && say_where(to, scan) && !scan->of_lse) say_columns(to, scan);
    if (!said) say_more(to, scan, d);
}

char *diagnosis_make(enum status status, const struct deviation *deviation,
                     const struct diagnosis_output *output) {
    const bool of_lse = status == STATUS_FAIL_LSE;
    if (!of_lse && status != STATUS_FAIL_UNWRITTEN && status != STATUS_FAIL_NAN &&
        status != STATUS_FAIL_ACCURACY)
        return NULL;
    const struct answer *answer = output->answer;
    struct scan scan = {
        .output = output,
        .rounding = rounding_of(output->view, &output->promise),
        .of_lse = of_lse,
        .dim = answer->value_dim,
        .rows_of_head = answer->row_count,
    };
    char *text = NULL;
    size_t bytes;
    FILE *to = open_memstream(&text, &bytes);
    scan.state = calloc((size_t)(answer->batch * answer->q_heads * answer->row_count) + 1, 1);
    scan.column = calloc((size_t)scan.dim, sizeof *scan.column);
    scan.got = calloc((size_t)(scan.dim * LOOKED_MAX), sizeof *scan.got);
    if (to != NULL && scan.state != NULL && scan.column != NULL && scan.got != NULL)
        say_all(to, &scan, status, deviation);
    free(scan.state);
    free(scan.column);
    free(scan.got);
    if (to == NULL || fclose(to) != 0 || text[0] != '\0') return text;
    free(text);
    return NULL;
}
