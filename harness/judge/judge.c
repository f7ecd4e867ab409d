/* The verdict. Each possible finding is one function that says whether it holds and in what words;
 * the table puts them in the order of precedence of judge.h, and the first that holds wins. */
#include "judge.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Grades by what they admit: a good flash kernel, S and P kept in 16 bit, a sum in 16 bit. */
static const struct {
    char grade;
    double rho;
} grades[] = {{'A', RHO_GRADE_A}, {'B', 2.5}, {'C', 5.0}};
enum { GRADES = sizeof grades / sizeof grades[0] };

static const double bias_limit = 0.3;

const char *status_name(enum status status) {
    static const char *const names[] = {
#define X(name) #name,
        STATUSES(X)
#undef X
    };
    return status >= 0 && status < STATUS_COUNT ? names[status] : "?";
}

int status_exit(enum status status) {
    switch (status) {
    case STATUS_PASS:
    case STATUS_REFUSED:
    case STATUS_UNSTABLE:
        return 0;
    case STATUS_CRASH:
    case STATUS_HANG:
    case STATUS_OOM:
        return EXIT_CRASH;
    default:
        return EXIT_WRONG_RESULT;
    }
}

bool status_told(const char *text, enum status *status, const char **reason) {
    const size_t length = strcspn(text, ":");
    if (text[length] == '\0') return false;
    for (int n = 0; n < STATUS_COUNT; n++) {
        const char *name = status_name((enum status)n);
        if (strlen(name) != length || strncmp(text, name, length) != 0 ||
            status_exit((enum status)n) == 0)
            continue;
        *status = (enum status)n;
        *reason = text + length + 1 + strspn(text + length + 1, " ");
        return true;
    }
    return false;
}

struct evidence {
    const struct deviation *deviation;
    const struct observation *observation;
    char *reason;
    size_t reason_bytes;
};

#define SAY(evidence, ...)                                                                         \
    (snprintf((evidence)->reason, (evidence)->reason_bytes, __VA_ARGS__), true)

#define PLACE_FORMAT "at b=%lld h=%lld i=%lld d=%lld"
#define PLACE(place)                                                                               \
    (long long)(place).b, (long long)(place).h, (long long)(place).i, (long long)(place).d

static bool broke_guard(const struct evidence *e) {
    if (!e->observation->guard_broken) return false;
    return SAY(e, "wrote outside its buffers: %s", e->observation->guard_where);
}

static bool changed_input(const struct evidence *e) {
    const char *where = e->observation->input_where;
    if (where[0] != '\0') return SAY(e, "%s", where);
    return e->observation->input_changed && SAY(e, "an input changed during the launch");
}

static bool left_unwritten(const struct evidence *e) {
    const struct deviation *d = e->deviation;
    if (d->unwritten_count == 0) return false;
    return SAY(e, "%lld of %lld elements were never written, the first " PLACE_FORMAT,
               (long long)d->unwritten_count, (long long)d->elements, PLACE(d->worst));
}

static bool read_beyond(const struct evidence *e) {
    const char *where = e->observation->read_where;
    return where[0] != '\0' && SAY(e, "%s", where);
}

static bool leaked_poison(const struct evidence *e) {
    const char *where = e->observation->leaked_where;
    return e->observation->poison_leaked &&
           SAY(e, "the output depends on memory that must not be read: %s",
               where[0] != '\0' ? where : "it differs between the poisons NaN, Inf and 6e4");
}

static bool read_unwritten(const struct evidence *e) {
    const char *fillings = e->observation->scratch_read;
    return fillings[0] != '\0' && SAY(e,
                                      "read scratch that nothing had written: with %s in it the "
                                      "output is another than with NaN",
                                      fillings);
}

static bool differed(const struct evidence *e) {
    if (!e->observation->repeat_differed || e->observation->nondeterminism_declared) return false;
    return SAY(e, "launches of one problem differed, and the kernel does not declare that they "
                  "may");
}

static bool wrong_structure(const struct evidence *e) {
    const struct deviation *d = e->deviation;
    if (d->structure_count == 0) return false;
    return SAY(e,
               "gate 1, structure: %lld of %lld elements are NaN or Inf where the answer is not, "
               "or the reverse; the first " PLACE_FORMAT ": got %g, expected %g",
               (long long)d->structure_count, (long long)d->elements, PLACE(d->worst), d->worst.got,
               d->worst.expected);
}

static bool filled_empty_row(const struct evidence *e) {
    const struct deviation *d = e->deviation;
    if (d->empty_row_wrong == 0) return false;
    return SAY(e,
               "gate 1, structure: %lld of %lld rows that see no key are not exactly 0; "
               "worst " PLACE_FORMAT ": got %.9g",
               (long long)d->empty_row_wrong, (long long)d->empty_row_count, PLACE(d->worst),
               d->worst.got);
}

static bool inexact(const struct evidence *e) {
    const struct deviation *d = e->deviation;
    if (!e->observation->exact_expected || d->inexact_count == 0) return false;
    return SAY(
        e,
        "exact data: %lld of %lld elements are not the answer rounded once; the first " PLACE_FORMAT
        ": got %.9g, expected %.9g",
        (long long)d->inexact_count, (long long)d->elements, PLACE(d->inexact), d->inexact.got,
        d->inexact.expected);
}

static bool beyond_tolerance(const struct evidence *e) {
    const struct deviation *d = e->deviation;
    if (d->t_max <= 1) return false;
    return SAY(e,
               "gate 2, every element: %.3g times the tolerance " PLACE_FORMAT
               ": got %.9g, expected %.9g +- %.3g",
               d->t_max, PLACE(d->worst), d->worst.got, d->worst.expected, d->worst.tolerance);
}

static double limit_of(char grade) {
    for (int n = 0; n < GRADES; n++) {
        if (grades[n].grade == grade) return grades[n].rho;
    }
    return RHO_GRADE_A; /* a kernel that promises no grade we know is held to the best */
}

static bool missed_grade(const struct evidence *e) {
    const struct deviation *d = e->deviation;
    const char promised = (char)e->observation->grade_promised;
    const double limit = limit_of(promised) * d->rho_chance * d->rho_wide;
    const double block = limit_of(promised) * d->rho_block_chance * d->rho_block_wide;
    if (!(d->rho <= limit)) {
        return SAY(e,
                   "gate 3, quality: rho %.3g > %.3g of grade %c; worst element " PLACE_FORMAT
                   ": got %.9g, expected %.9g +- %.3g",
                   d->rho, limit, promised, PLACE(d->worst), d->worst.got, d->worst.expected,
                   d->worst.tolerance);
    }
    if (!(d->rho_block <= block)) {
        return SAY(e,
                   "gate 3, quality: rho %.3g > %.3g of grade %c in the block at b=%lld h=%lld "
                   "i=%lld",
                   d->rho_block, block, promised, (long long)d->rho_block_b,
                   (long long)d->rho_block_h, (long long)d->rho_block_i);
    }
    return false;
}

/* What an lse that is off by a factor looks like. */
static const char *guess_of_lse(const struct deviation_place *worst,
                                const struct observation *observation) {
    const double ratio = worst->got / worst->expected, scale = observation->scale;
    if (observation->lse_base_2 && fabs(ratio - 0.6931471806) < 1e-3)
        return ": natural, not in base 2?";
    if (!observation->lse_base_2 && fabs(ratio - 1.4426950409) < 1e-3) return ": in base 2, not e?";
    if (scale > 0 && fabs(scale - 1) > 1e-2 &&
        (fabs(ratio / scale - 1) < 1e-3 || fabs(ratio * scale - 1) < 1e-3))
        return ": off by the scale of the logits?";
    return "";
}

static bool wrong_lse(const struct evidence *e) {
    const struct deviation *d = e->deviation;
    if (!d->lse_judged || d->lse_wrong == 0) return false;
    return SAY(e,
               "gate 5, lse: %.3g times the tolerance in the worst of %lld rows, at b=%lld h=%lld "
               "i=%lld: got %.9g%s, expected %.9g +- %.3g of lse grade %c%s",
               d->lse_max, (long long)d->lse_wrong, (long long)d->lse_worst.b,
               (long long)d->lse_worst.h, (long long)d->lse_worst.i, d->lse_worst.got,
               e->observation->lse_base_2 ? " (times ln 2)" : "", d->lse_worst.expected,
               d->lse_worst.tolerance, e->observation->lse_grade_promised == 'B' ? 'B' : 'A',
               guess_of_lse(&d->lse_worst, e->observation));
}

static const struct {
    enum status status;
    bool (*holds)(const struct evidence *evidence);
} findings[] = {
    {STATUS_FAIL_OOB_WRITE, broke_guard},
    {STATUS_FAIL_INPUT_CHANGED, changed_input},
    {STATUS_FAIL_UNWRITTEN, left_unwritten},
    {STATUS_FAIL_OOB_READ, leaked_poison},
    {STATUS_FAIL_OOB_READ, read_beyond},
    {STATUS_FAIL_UNINITIALISED, read_unwritten},
    {STATUS_FAIL_NONDET, differed},
    {STATUS_FAIL_NAN, wrong_structure},
    {STATUS_FAIL_ACCURACY, filled_empty_row},
    {STATUS_FAIL_ACCURACY, inexact},
    {STATUS_FAIL_ACCURACY, beyond_tolerance},
    {STATUS_FAIL_ACCURACY, missed_grade},
    {STATUS_FAIL_LSE, wrong_lse},
};

static char grade_reached(const struct deviation *d) {
    if (d->elements == 0) return '-';
    if (d->structure_count > 0 || d->unwritten_count > 0 || d->empty_row_wrong > 0 ||
        !(d->t_max <= 1))
        return 'F';
    for (int n = 0; n < GRADES; n++) {
        const bool wide = grades[n].grade != 'A';
        const double limit = grades[n].rho;
        if (d->rho <= limit * d->rho_chance * (wide ? d->rho_wide : 1) &&
            d->rho_block <= limit * d->rho_block_chance * (wide ? d->rho_block_wide : 1) &&
            (wide || d->rho_block_most <= limit))
            return grades[n].grade;
    }
    return 'F';
}

struct verdict judge(const struct deviation *deviation, const struct observation *observation) {
    struct verdict verdict = {.status = STATUS_PASS,
                              .grade = grade_reached(deviation),
                              .bias_warning = !(fabs(deviation->bias) <= bias_limit)};
    const struct evidence evidence = {deviation, observation, verdict.reason,
                                      sizeof verdict.reason};
    for (size_t n = 0; n < sizeof findings / sizeof findings[0]; n++) {
        if (findings[n].holds(&evidence)) {
            verdict.status = findings[n].status;
            break;
        }
    }
    return verdict;
}
