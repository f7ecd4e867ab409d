/* Whether a round's ratio lies above the median is a sign; the interval of a median depends on
 * nothing but how the sum of n signs scatters. Of independent rounds that is binomial. Of others it
 * is wider, by the variance of the sum of b neighbours over b: that is measured for batches of 1,
 * 2, 4, ... rounds, as long as there are at least so many batches that the variance means
 * something, and the largest counts. */
#include "paired.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCHES_MIN = 12 };

static const double confidence = 0.99;
/* The interval of new over old, and half the control's, are narrower than this part of `least`. */
static const double enough = 0.15;

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double middle(const double *sorted, int64_t n) {
    return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

/* At least k heads of n fair coins. Summed from where it is largest: the first addend of the longer
 * tail may be 0 as a double. */
static double tail(int64_t n, int64_t k) {
    const bool longer = 2 * k <= n;
    if (k <= 0) return 1;
    if (longer) k = n - k + 1;
    double p = k > n ? 0
                     : exp(lgamma((double)n + 1) - lgamma((double)k + 1) -
                           lgamma((double)(n - k) + 1) - (double)n * log(2));
    double sum = 0;
    for (; k <= n && p > 0; k++) {
        sum += p;
        p *= (double)(n - k) / (double)(k + 1);
    }
    if (sum > 1) sum = 1;
    return longer ? 1 - sum : sum;
}

/* The largest rank, from 1, whose smallest and largest of n enclose the median surely enough; 0:
 * none does. */
static int64_t rank_of(int64_t n) {
    int64_t low = 0, high = n / 2 + 1;
    while (high - low > 1) {
        const int64_t rank = low + (high - low) / 2;
        if (2 * tail(n, n - rank + 1) <= 1 - confidence)
            low = rank;
        else
            high = rank;
    }
    return low;
}

/* At least `least`, what it is where neighbours are independent. */
static double inflation_of(const double *differences, int64_t n, double median, double least) {
    double largest = least;
    for (int64_t length = 2; n / length >= BATCHES_MIN; length *= 2) {
        const int64_t batches = n / length;
        double squares = 0;
        for (int64_t b = 0; b < batches; b++) {
            double sum = 0;
            for (int64_t i = 0; i < length; i++) {
                const double by = differences[b * length + i] - median;
                sum += (by > 0) - (by < 0);
            }
            squares += sum * sum;
        }
        largest = fmax(largest, squares / (double)(batches * length));
    }
    return largest;
}

/* By what a copy's times differ from its original's. */
static bool measure_copy(struct paired *paired, const double *const us[2], int64_t n) {
    const struct paired_times times = {.old_us = {us[0]}, .new_us = {us[1]}, .n = n};
    *paired = (struct paired){.low = 0};
    return us[1] == NULL || paired_measure(paired, &times);
}

/* The differences of all rounds, one after the other, and room to sort them. */
struct differences {
    double *values, *sorted;
    int64_t count;
    int each;              /* of a round */
    int neighbours;        /* how many others of a round a difference has a time in common with */
    double widening;       /* half of what a copy differs by, the one that does so more */
    struct paired control; /* that one */
};

static void gather(struct differences *all, const struct paired_times *times, const double off[2]) {
    const int olds = times->old_us[1] != NULL ? 2 : 1, news = times->new_us[1] != NULL ? 2 : 1;
    all->each = olds * news;
    all->neighbours = olds - 1 + news - 1;
    for (int64_t i = 0; i < times->n; i++) {
        for (int n = 0; n < all->each; n++) {
            const int old = n % olds, new = n / olds;
            all->values[all->count++] = log(times->new_us[new][i] / times->old_us[old][i]) +
                                        (new == 0 ? off[1] : -off[1]) -
                                        (old == 0 ? off[0] : -off[0]);
        }
    }
    all->sorted = all->values + all->count;
}

/* Of a kernel and its copy the middle: both are moved there by half of what they differ by. */
static bool find_differences(struct differences *all, const struct paired_times *times) {
    struct paired old, new;
    *all = (struct differences){.values = malloc((size_t)(8 * times->n + 1) * sizeof(double))};
    if (all->values == NULL || !measure_copy(&old, times->old_us, times->n) ||
        !measure_copy(&new, times->new_us, times->n))
        return false;
    const double off[2] = {old.median / 2, new.median / 2};
    all->control = fabs(off[1]) > fabs(off[0]) || old.n == 0 ? new : old;
    all->widening = fabs(all->control.median) / 2;
    gather(all, times, off);
    return true;
}

/* How many independent differences they are worth. */
static int64_t worth(const struct paired *paired) {
    return (int64_t)((double)paired->n / paired->inflation);
}

static void measure(struct paired *paired, const struct differences *all) {
    /* Of three independent times two differences have a time in common: their signs agree by 1/3
     * more often than not. */
    const double least = 1 + all->neighbours / 3.0;
    const int64_t n = all->count;
    double *sorted = all->sorted;
    *paired = (struct paired){
        .n = n / all->each, .low = -INFINITY, .high = INFINITY, .inflation = least / all->each};
    if (n == 0) return;
    memcpy(sorted, all->values, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    paired->median = middle(sorted, n);
    paired->inflation = inflation_of(all->values, n, paired->median, least) / all->each;
    const int64_t free = worth(paired), rank = rank_of(free);
    if (rank == 0) return;
    /* The same share of the samples below it as among independent ones. */
    int64_t at = (int64_t)((double)rank / (double)(free + 1) * (double)(n + 1));
    if (at < 1) at = 1;
    paired->low = sorted[at - 1];
    paired->high = sorted[n - at];
}

bool paired_measure(struct paired *paired, const struct paired_times *times) {
    struct differences all;
    const bool well = find_differences(&all, times);
    if (well) measure(paired, &all);
    free(all.values);
    return well;
}

static double width(const struct paired *paired) {
    return (paired->high - paired->low) / 2;
}

/* Two-sided: that the median is no farther from 0 than `by`. */
static double p_of(const struct paired *paired, const struct differences *all, double by) {
    const double sign = paired->median < 0 ? -1 : 1;
    int64_t beyond = 0;
    for (int64_t i = 0; i < all->count; i++) beyond += sign * all->values[i] > by;
    const int64_t free = worth(paired);
    const double share = all->count > 0 ? (double)beyond / (double)all->count : 0;
    return fmin(1, 2 * tail(free, (int64_t)floor(share * (double)free)));
}

/* To tell on which side of the nearer edge of +-least a median lies, if it and the control's stay
 * where they are: an interval's width goes with the square root of n. */
static double needed(const struct paired *paired, double wider, double least) {
    const double gap = fabs(fabs(paired->median) - log1p(least)) - wider;
    const double narrows = width(paired);
    if (!isfinite(narrows)) return PAIRED_MIN;
    if (!(gap > 0)) return 0;
    return ceil((double)paired->n * fmax(1, pow(narrows / gap, 2)));
}

bool paired_compare(struct versus *versus, const struct paired_times *times, double least) {
    struct paired paired;
    struct differences all;
    *versus = (struct versus){
        .pairs = times->n, .needed = NAN, .control = NAN, .control_low = NAN, .control_high = NAN};
    const bool well = find_differences(&all, times);
    if (well) {
        measure(&paired, &all);
        if (times->n < PAIRED_MIN) paired.low = -INFINITY, paired.high = INFINITY;
        versus->ratio = exp(paired.median);
        versus->low = exp(paired.low - all.widening);
        versus->high = exp(paired.high + all.widening);
        versus->p = p_of(&paired, &all, all.widening);
        versus->inflation = paired.inflation;
        if (all.control.n > 0) {
            versus->control = exp(all.control.median);
            versus->control_low = exp(all.control.low);
            versus->control_high = exp(all.control.high);
        }
        if (times->n > 0 && paired_verdict(versus, least) == PAIRED_UNDECIDED)
            versus->needed = needed(&paired, all.widening, least);
    }
    free(all.values);
    return well;
}

bool paired_enough(const struct paired_times *times, double least) {
    const double most = enough * log1p(least);
    struct paired paired;
    struct differences all;
    bool well = find_differences(&all, times);
    if (well) {
        measure(&paired, &all);
        well = times->n >= PAIRED_MIN && width(&paired) <= most &&
               (all.control.n == 0 || width(&all.control) / 2 <= most);
    }
    free(all.values);
    return well;
}

enum paired_verdict paired_verdict(const struct versus *versus, double least) {
    if (versus->low > 1 + least) return PAIRED_SLOWER;
    if (versus->high < 1 / (1 + least)) return PAIRED_FASTER;
    return versus->low >= 1 / (1 + least) && versus->high <= 1 + least ? PAIRED_SAME
                                                                       : PAIRED_UNDECIDED;
}
