/* Counts, then a sentence of clauses: what was judged, how it went, what was not. */
#define _GNU_SOURCE
#include "headline.h"
#include "print.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const struct legend accuracy_legend[] = {
    {"grade", "A: as good as a flash kernel with S and P in f32; B: they are kept in 16 bits; C: a "
              "sum in 16 bits; F: none of these; -: no element was judged"},
    {"rho", "rms error over the rms error that an honest kernel would have on this very problem: 1 "
            "is what an honest kernel has, up to 1.25 is grade A"},
    {"worst block", "the same of the worst head and 128 queries; it decides the grade"},
    {"t_max", "the largest error of an element over its tolerance: above 1 is wrong"},
    {"lse", "the largest error of an lse over its bound: above 1 is wrong"},
    {"NaN", "elements that are NaN, and their share"},
    {"max abs ref, out, diff", "the largest |answer|, |output| and |output - answer|"},
    {NULL, NULL},
};
const struct legend speed_legend[] = {
    {"cold, warm",
     "median of a launch and its quartiles; caches emptied before each launch, or one "
     "launch after the other; of a GPU sustained, from when clock and median have settled on, "
     "unless regime says burst: the first 40 ms of work after half a second of rest"},
    {"prepare", "what the kernel does once, before its launches; in neither time"},
    {"ceiling", "share of what this machine was measured to reach: of flops, of bytes, or of bytes "
                "at random places (gather)"},
    {"x baseline, x by-mask", "how many times as fast, warm, as the baseline kernel, and as the "
                              "dense kernel with a mask, on the same problem"},
    {NULL, NULL},
};
const struct legend compare_legend[] = {
    {"rho", "rms error over that of an honest kernel, worst block: 1 is what an honest kernel has"},
    {"grade", "A is the best; B and C have intermediates or sums in 16 bits; F is wrong"},
    {NULL, NULL},
};

/* Appends; what there is no room for is left out. */
__attribute__((format(printf, 2, 3))) static void say(char text[512], const char *format, ...) {
    const size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, 512 - used, format, arguments);
    va_end(arguments);
}

static char *copy_of(const char *text) {
    return strdup(text != NULL ? text : "");
}

static struct headline_item *add_item(struct headline *headline) {
    const size_t bytes = (size_t)(headline->item_count + 1) * sizeof *headline->items;
    struct headline_item *items = realloc(headline->items, bytes);
    if (items == NULL) return NULL;
    headline->items = items;
    items[headline->item_count] = (struct headline_item){0};
    return &items[headline->item_count++];
}

static void free_texts(struct headline_item *item) {
    free(item->kernel);
    free(item->what);
    free(item->line);
    free(item->reason);
    free(item->repeat);
}

/* Takes `what`. */
static bool describe(struct headline_item *item, const struct row *row, char *what) {
    free_texts(item);
    item->kernel = copy_of(row->kernel);
    item->what = what;
    item->line = copy_of(row->line);
    item->reason = copy_of(row->reason);
    item->repeat = copy_of(row->repeat);
    return item->kernel != NULL && item->what != NULL && item->line != NULL &&
           item->reason != NULL && item->repeat != NULL;
}

static struct headline_kernel *kernel_of(struct headline *headline, const struct row *row) {
    for (int64_t n = 0; n < headline->kernel_count; n++)
        if (!strcmp(headline->kernels[n].name, row->kernel)) return &headline->kernels[n];
    const size_t bytes = (size_t)(headline->kernel_count + 1) * sizeof *headline->kernels;
    struct headline_kernel *kernels = realloc(headline->kernels, bytes);
    if (kernels == NULL) return NULL;
    headline->kernels = kernels;
    kernels[headline->kernel_count] = (struct headline_kernel){.name = text_kept(row->kernel)};
    return &kernels[headline->kernel_count++];
}

static int exit_of(const struct row *row) {
    const enum status status = status_of(row);
    return status < STATUS_COUNT ? status_exit(status) : EXIT_WRONG_RESULT;
}

/* An infinite one is null in a record, and read back as NaN. */
static double t_max_of(const struct row *row) {
    if (row->deviation.elements == 0) return 0;
    return isnan(row->deviation.t_max) ? INFINITY : row->deviation.t_max;
}

/* Until the headline is concluded `what` is the status alone. */
static bool add_failure(struct headline *headline, const struct row *row) {
    struct headline_item *item = NULL;
    for (int64_t n = 0; item == NULL && n < headline->item_count; n++) {
        struct headline_item *other = &headline->items[n];
        if (!strcmp(other->kernel, row->kernel) && !strcmp(other->what, row->status)) item = other;
    }
    const bool first = item == NULL;
    if (first) item = add_item(headline);
    if (item == NULL) return false;
    item->rows++;
    if (!first && !(t_max_of(row) > item->t_max)) return true;
    item->t_max = t_max_of(row);
    item->exit = exit_of(row);
    return describe(item, row, strdup(row->status));
}

static bool count_row(struct headline *headline, const struct row *row) {
    headline->rows++;
    headline->counts[status_of(row)]++;
    if (!row_is_judged(row) && !row_is_failure(row)) {
        headline->computed += status_of(row) != STATUS_REFUSED;
        return true;
    }
    struct headline_kernel *kernel = kernel_of(headline, row);
    if (kernel == NULL) return false;
    kernel->judged++;
    if (row_is_failure(row)) {
        kernel->failed = true;
        return add_failure(headline, row);
    }
    if (row->grade[0] >= 'A' && row->grade[0] <= 'F')
        headline->grades[row->grade[0] - 'A']++;
    else
        headline->ungraded++;
    return true;
}

bool headline_add(struct headline *headline, const struct row *row, struct fault *fault) {
    return count_row(headline, row) ||
           fault_set(fault, FAULT_OURS, "out of memory for the headline");
}

/* The dead first, then by how many rows they stand for. */
static int item_order(const void *left, const void *right) {
    const struct headline_item *a = left, *b = right;
    if (a->exit != b->exit) return b->exit - a->exit;
    if (a->rows != b->rows) return a->rows < b->rows ? 1 : -1;
    if (a->t_max != b->t_max) return a->t_max < b->t_max ? 1 : -1;
    const int order = strcmp(a->kernel, b->kernel);
    return order != 0 ? order : strcmp(a->line, b->line);
}

static void sort_items(struct headline *headline) {
    headline->well = headline->item_count == 0;
    if (!headline->well)
        qsort(headline->items, (size_t)headline->item_count, sizeof *headline->items, item_order);
}

static void say_failures(struct headline *headline, int64_t failed, int64_t judged) {
    char *text = headline->verdict;
    int64_t kernels = 0;
    for (int64_t n = 0; n < headline->kernel_count; n++) kernels += headline->kernels[n].failed;
    say(text, "%lld of %s %s, in %lld of %s", (long long)failed, number_count(judged, "row").text,
        failed == 1 ? "fails" : "fail", (long long)kernels,
        number_count(headline->kernel_count, "kernel").text);
    const char *separator = ": ";
    for (int status = 0; status <= STATUS_COUNT; status++) {
        const int64_t count = headline->counts[status];
        if (count == 0 || (status < STATUS_COUNT && status_exit((enum status)status) == 0))
            continue;
        say(text, "%s%lld %s", separator, (long long)count,
            status < STATUS_COUNT ? status_name((enum status)status) : "unknown");
        separator = ", ";
    }
}

static void say_grades(struct headline *headline, int64_t judged) {
    char *text = headline->verdict;
    if (headline->grades[0] == judged) {
        say(text, judged == 1 ? ", of grade A" : ", all of grade A");
        return;
    }
    for (int grade = 0; grade < 6; grade++) {
        if (headline->grades[grade] > 0)
            say(text, ", %lld of grade %c", (long long)headline->grades[grade], 'A' + grade);
    }
    if (headline->ungraded > 0) say(text, ", %lld without a grade", (long long)headline->ungraded);
}

void headline_conclude(struct headline *headline, int64_t torn) {
    char *text = headline->verdict;
    const int64_t refused = headline->counts[STATUS_REFUSED];
    const int64_t unstable = headline->counts[STATUS_UNSTABLE];
    int64_t judged = 0, failed = 0;
    for (int64_t n = 0; n < headline->kernel_count; n++) judged += headline->kernels[n].judged;
    for (int64_t n = 0; n < headline->item_count; n++) {
        struct headline_item *item = &headline->items[n];
        const struct headline_kernel *kernel = headline->kernels;
        while (strcmp(kernel->name, item->kernel) != 0) kernel++;
        char *what = NULL;
        if (asprintf(&what, "%lld of %s %s", (long long)item->rows,
                     number_count(kernel->judged, "row").text, item->what) > 0) {
            free(item->what);
            item->what = what;
        }
        failed += item->rows;
    }
    sort_items(headline);
    *text = '\0';
    if (failed > 0) {
        say_failures(headline, failed, judged);
    } else if (judged == 1) {
        say(text, "The row that was judged is right");
    } else if (judged > 1) {
        say(text, "All %lld rows that were judged are right", (long long)judged);
    } else {
        say(text, "No row was judged");
    }
    if (failed == 0 && judged > 0) say_grades(headline, judged);
    if (refused > 0)
        say(text, "; %lld %s refused", (long long)refused, refused == 1 ? "is" : "are");
    if (headline->computed > 0)
        say(text, "; %lld %s computed, not run", (long long)headline->computed,
            headline->computed == 1 ? "is" : "are");
    if (unstable > 0)
        say(text, "; %lld %s UNSTABLE", (long long)unstable,
            unstable == 1 ? "has a time that is" : "have times that are");
    if (torn > 0) say(text, "; the run is not complete: it was killed");
    say(text, ".");
}

bool headline_of_run(struct headline *headline, const struct run *run, struct fault *fault) {
    struct row_set set;
    *headline = (struct headline){0};
    bool well = row_set_make(&set, run, fault);
    if (well) row_set_arrange(&set);
    for (int64_t n = 0; well && n < set.count; n++)
        well = headline_add(headline, set.places[n].row, fault);
    row_set_free(&set);
    if (well) headline_conclude(headline, run->torn);
    return well;
}

/* What became worse in a pair, for the caller to free. */
static char *change_of(const struct compare_pair *pair) {
    const char *before = pair->before->status, *after = pair->after->status;
    char *what = NULL;
    int length = 0;
    if (pair->status_change > 0)
        length = asprintf(&what, "%s → %s", before, after);
    else
        length =
            isfinite(pair->low) && pair->low > 0
                ? asprintf(&what, "slower by %s %% [%s, %s]",
                           number_plain(100 * (pair->ratio - 1)).text,
                           number_plain(100 * (pair->low - 1)).text,
                           number_plain(100 * (pair->high - 1)).text)
                : asprintf(&what, "slower by %s %%", number_plain(100 * (pair->ratio - 1)).text);
    return length >= 0 ? what : NULL;
}

static bool add_regression(struct headline *headline, const struct compare_pair *pair) {
    struct headline_item *item = add_item(headline);
    if (item == NULL || !describe(item, pair->after, change_of(pair))) return false;
    item->rows = 1;
    item->exit = pair->status_change > 0 ? exit_of(pair->after) : 0;
    item->t_max = isfinite(pair->ratio) ? pair->ratio : 0;
    return true;
}

static void say_comparison(struct headline *headline, const struct comparison *comparison) {
    char *text = headline->verdict;
    struct compare_summary all;
    compare_summarise(&all, comparison, NULL);
    int64_t slower = 0;
    double slowest = 1;
    for (int64_t n = 0; n < comparison->pair_count; n++) {
        const struct compare_pair *pair = &comparison->pairs[n];
        if (!pair->regression || pair->status_change > 0) continue;
        slower++;
        slowest = fmax(slowest, pair->ratio);
    }
    *text = '\0';
    if (headline->well) {
        say(text, "No regression in %s", number_count(all.pairs, "row").text);
    } else {
        say(text, "%lld of %s became worse:", (long long)headline->item_count,
            number_count(all.pairs, "row").text);
        if (all.worse > 0) say(text, " %lld by status", (long long)all.worse);
        if (slower > 0)
            say(text, "%s %lld slower, by %s %% at most", all.worse > 0 ? "," : "",
                (long long)slower, number_plain(100 * (slowest - 1)).text);
    }
    const char *separator = headline->well ? ": " : "; ";
    for (int verdict = 0; verdict < COMPARE_VERDICT_COUNT; verdict++) {
        if (all.verdicts[verdict] == 0 || (verdict == COMPARE_SLOWER && slower > 0)) continue;
        say(text, "%s%lld %s", separator, (long long)all.verdicts[verdict],
            compare_verdict_name((enum compare_verdict)verdict));
        separator = ", ";
    }
    if (comparison->machines_differ[0] != '\0')
        say(text, "; the machines differ, so times do not count");
    say(text, ".");
}

bool headline_of_comparison(struct headline *headline, const struct comparison *comparison,
                            struct fault *fault) {
    *headline = (struct headline){0};
    for (int64_t n = 0; n < comparison->pair_count; n++) {
        if (comparison->pairs[n].regression && !add_regression(headline, &comparison->pairs[n]))
            return fault_set(fault, FAULT_OURS, "out of memory for the headline");
    }
    sort_items(headline);
    say_comparison(headline, comparison);
    return true;
}

void headline_print_item(FILE *to, const struct headline_item *item) {
    /* The words of others are code: nobody is @mentioned by them. */
    print_markdown(to, "- `%s` %s%s `%s`", item->kernel, item->what,
                   item->rows > 1 ? ", the worst" : "", item->line);
    if (item->reason[0] != '\0') print_markdown(to, ": `%s`", item->reason);
    fputc('\n', to);
}

void headline_print_markdown(FILE *to, const struct headline *headline, int64_t most) {
    print_markdown(to, "**%s**\n\n", headline->verdict);
    for (int64_t n = 0; n < headline->item_count && n < most; n++)
        headline_print_item(to, &headline->items[n]);
    if (headline->item_count > most)
        fprintf(to, "- and %lld more, below\n", (long long)(headline->item_count - most));
    if (!headline->well) fputc('\n', to);
}

void legend_print_markdown(FILE *to, const struct legend *legend) {
    for (; legend->column != NULL; legend++)
        print_markdown(to, "- *%s*: %s\n", legend->column, legend->meaning);
}

void headline_free(struct headline *headline) {
    for (int64_t n = 0; n < headline->item_count; n++) free_texts(&headline->items[n]);
    free(headline->items);
    free(headline->kernels);
    *headline = (struct headline){0};
}
