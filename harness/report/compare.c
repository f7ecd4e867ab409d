/* Join, ratio, verdict. A join is a binary search in rows that are sorted by problem; everything
 * else looks at one pair at a time. */
#include "compare.h"
#include "headline.h"
#include "discovery.h"
#include "effect.h"
#include "table.h"
#include "../worker/protocol.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const double compare_least = 0.01;

const char *compare_verdict_name(enum compare_verdict verdict) {
    static const char *const names[] = {"same",      "faster",   "slower",
                                        "undecided", "unstable", "untimed"};
    return names[verdict];
}

/* How many threads a command asks for, 0 if it does not say. */
static long threads_of(const char *command) {
    if (command == NULL) return 0;
    static const char *const options[] = {" --threads", " -t"};
    for (int n = 0; n < 2; n++) {
        const char *at = strstr(command, options[n]);
        if (at == NULL) continue;
        at += strlen(options[n]);
        return strtol(at + (*at == ' ' || *at == '='), NULL, 10);
    }
    return 0;
}

bool machines_alike(const struct machine *a, const struct machine *b, char text[512]) {
    const struct {
        const char *what, *a, *b;
    } texts[] = {
        {"CPU", a->cpu, b->cpu},
        {"instruction set", a->isa, b->isa},
        {"device", a->device, b->device},
    };
    const struct {
        const char *what;
        long a, b;
    } numbers[] = {
        {"cores", (long)a->cores, (long)b->cores},
        {"--threads", threads_of(a->command), threads_of(b->command)},
    };
    size_t used = 0;
    text[0] = 0;
    for (size_t n = 0; n < sizeof texts / sizeof texts[0] && used < 400; n++) {
        if (strcmp(texts[n].a, texts[n].b) == 0) continue;
        used += (size_t)snprintf(text + used, 512 - used, "%s%s '%.60s' and '%.60s'",
                                 used > 0 ? ", " : "", texts[n].what, texts[n].a, texts[n].b);
    }
    for (size_t n = 0; n < sizeof numbers / sizeof numbers[0] && used < 400; n++) {
        if (numbers[n].a == numbers[n].b) continue;
        used += (size_t)snprintf(text + used, 512 - used, "%s%s %ld and %ld", used > 0 ? ", " : "",
                                 numbers[n].what, numbers[n].a, numbers[n].b);
    }
    return used == 0;
}

/* How bad a status is: right, not taken, wrong, dead. */
static int status_rank(const struct row *row) {
    const enum status status = status_of(row);
    if (status == STATUS_REFUSED) return 1;
    if (status == STATUS_COUNT) return 2;
    const int exit = status_exit(status);
    return exit == 0 ? 0 : exit == EXIT_CRASH ? 3 : 2;
}

static int sign(int difference) {
    return (difference > 0) - (difference < 0);
}

/* Why times of two rows are not compared although both were taken; "" if they are. */
static const char *doubt(const struct timing *old, const struct timing *new) {
    char why[96];
    effect_doubt(old, why);
    if (why[0] == '\0') effect_doubt(new, why);
    return why[0] == '\0' ? "" : text_kept(why);
}

static struct compare_pair pair_of(const struct row *before, const struct row *after, bool cold) {
    struct compare_pair pair = {.before = before,
                                .after = after,
                                .ratio = NAN,
                                .low = NAN,
                                .high = NAN,
                                .p = NAN,
                                .q = NAN,
                                .control = NAN,
                                .why = ""};
    const struct timing *old = row_timing(before, cold), *new = row_timing(after, cold);
    pair.n_before = old->n;
    pair.n_after = new->n;
    pair.status_change = sign(status_rank(after) - status_rank(before));
    if (before->grade[0] >= 'A' && after->grade[0] >= 'A')
        pair.grade_change = sign(after->grade[0] - before->grade[0]);
    if (old->n == 0 || new->n == 0 || status_rank(before) != 0 || status_rank(after) != 0) {
        pair.verdict = COMPARE_UNTIMED;
        return pair;
    }
    const bool unstable =
        status_of(before) == STATUS_UNSTABLE || status_of(after) == STATUS_UNSTABLE;
    pair.verdict = unstable ? COMPARE_UNSTABLE : COMPARE_UNDECIDED;
    pair.why = doubt(old, new);
    return pair;
}

static bool is_one_library(const struct compare_pair *pair) {
    return pair->before->library_digest[0] != '\0' &&
           strcmp(pair->before->library_digest, pair->after->library_digest) == 0;
}

static bool on_device_of(const struct compare_pair *pair, const struct compare_pair *other) {
    return strcmp(pair->before->device, other->before->device) == 0 &&
           strcmp(pair->after->device, other->after->device) == 0;
}

/* What is found of the pairs that were timed on the devices of pairs[first]. What is said of the
 * machine is of the device where that is worst. */
static bool measure_device(struct comparison *comparison, int64_t first, struct effect *effects,
                           int64_t *at) {
    const bool cold = comparison->options.cold;
    struct compare_pair *pairs = comparison->pairs;
    struct effect_machine machine;
    int64_t count = 0;
    for (int64_t n = first; n < comparison->pair_count; n++) {
        if (pairs[n].verdict == COMPARE_UNTIMED || !on_device_of(&pairs[n], &pairs[first]))
            continue;
        effects[count] = (struct effect){.before = row_timing(pairs[n].before, cold),
                                         .after = row_timing(pairs[n].after, cold),
                                         .same = is_one_library(&pairs[n])};
        at[count++] = n;
    }
    if (!effects_measure(effects, count, comparison->options.kernels_before == NULL, &machine))
        return false;
    for (int64_t n = 0; n < count; n++) {
        struct compare_pair *pair = &pairs[at[n]];
        pair->ratio = effects[n].ratio;
        pair->low = effects[n].low;
        pair->high = effects[n].high;
        pair->control = effects[n].control;
        pair->shift = effects[n].shift;
        if (pair->verdict == COMPARE_UNDECIDED && pair->why[0] == '\0') pair->p = effects[n].p;
    }
    comparison->control = fmax(comparison->control, exp(machine.shift));
    comparison->spread = fmax(comparison->spread, machine.spread);
    return true;
}

static bool measure(struct comparison *comparison) {
    const size_t room = (size_t)comparison->pair_count + 1;
    struct effect *effects = calloc(room, sizeof *effects);
    int64_t *at = calloc(room, sizeof *at);
    bool ok = effects != NULL && at != NULL;
    for (int64_t n = 0; ok && n < comparison->pair_count; n++) {
        const struct compare_pair *pair = &comparison->pairs[n];
        if (pair->verdict != COMPARE_UNTIMED && isnan(pair->ratio))
            ok = measure_device(comparison, n, effects, at);
    }
    free(effects);
    free(at);
    return ok;
}

/* Of a pair that is asked, all q being known. */
static enum compare_verdict verdict_of(const struct compare_pair *pair, double least) {
    const bool striking = pair->q <= 1 - effect_confidence;
    if (striking && pair->low > 1 + least) return COMPARE_SLOWER;
    if (striking && pair->high < 1 / (1 + least)) return COMPARE_FASTER;
    return pair->low >= 1 / (1 + least) && pair->high <= 1 + least ? COMPARE_SAME
                                                                   : COMPARE_UNDECIDED;
}

static void decide(struct compare_pair *pair, const struct comparison *comparison) {
    if (!isnan(pair->p)) pair->verdict = verdict_of(pair, comparison->options.least);
    if ((pair->verdict == COMPARE_SLOWER || pair->verdict == COMPARE_FASTER) &&
        is_one_library(pair)) {
        pair->verdict = COMPARE_UNDECIDED;
        pair->why = "same library: the machine";
    }
    pair->regression = pair->status_change > 0 ||
                       (comparison->machines_differ[0] == '\0' && pair->verdict == COMPARE_SLOWER);
}

static bool decide_all(struct comparison *comparison) {
    const int64_t count = comparison->pair_count;
    double *values = calloc((size_t)count + 1, sizeof *values);
    for (int64_t n = 0; values != NULL && n < count; n++) values[n] = comparison->pairs[n].p;
    const bool ok = values != NULL && discovery_rates(values, values, count);
    for (int64_t n = 0; ok && n < count; n++) {
        struct compare_pair *pair = &comparison->pairs[n];
        pair->q = values[n];
        decide(pair, comparison);
        comparison->regressions += pair->regression;
    }
    free(values);
    return ok;
}

/* How close two kernels are; see the head of compare.h. */
static int kinship(const struct row *a, const struct row *b) {
    return 2 * !strcmp(a->device, b->device) + !strcmp(a->method, b->method);
}

static bool kernels_match(const struct compare_options *options, const struct row *before,
                          const struct row *after) {
    if (options->kernels_before == NULL) return strcmp(before->kernel, after->kernel) == 0;
    return kernel_matches(before->kernel, options->kernels_before) &&
           kernel_matches(after->kernel, options->kernels_after);
}

static bool is_partner(const struct compare_options *options, const struct row *before,
                       const struct row *after) {
    return rows_share_inputs(before, after) && kernels_match(options, before, after);
}

/* The last member is the kinship that pairs of a variant must have. */
struct join {
    const struct compare_options *options;
    const struct row_set *before, *after;
    int closest[ATTN_VARIANT_COUNT + 1];
};

static void find_closest(struct join *join) {
    for (int64_t n = 0; n < join->before->count; n++) {
        const struct row *row = join->before->places[n].row;
        int *closest = &join->closest[variant_rank(row)];
        int64_t count;
        const struct row_place *others = row_set_find(join->after, row, &count);
        for (int64_t m = 0; m < count; m++) {
            if (!is_partner(join->options, row, others[m].row)) continue;
            const int kin = kinship(row, others[m].row);
            if (kin > *closest) *closest = kin;
        }
    }
}

static bool is_joined(const struct join *join, const struct row *before, const struct row *after) {
    return is_partner(join->options, before, after) &&
           kinship(before, after) == join->closest[variant_rank(before)];
}

static bool keep_pair(struct comparison *comparison, int64_t *room, struct compare_pair pair,
                      struct fault *fault) {
    if (comparison->pair_count == *room) {
        *room = 2 * *room + 64;
        struct compare_pair *larger =
            realloc(comparison->pairs, (size_t)*room * sizeof *comparison->pairs);
        if (larger == NULL) return fault_set(fault, FAULT_OURS, "out of memory for the pairs");
        comparison->pairs = larger;
    }
    comparison->pairs[comparison->pair_count++] = pair;
    return true;
}

/* Rows of `set` that nobody on the other side pairs with. */
static const struct row **unpaired(const struct join *join, const struct row_set *set,
                                   const char *glob, bool is_before, int64_t *count) {
    const struct row_set *other = is_before ? join->after : join->before;
    const struct row **rows = calloc((size_t)set->count + 1, sizeof(const struct row *));
    *count = 0;
    for (int64_t n = 0; rows != NULL && n < set->count; n++) {
        const struct row *row = set->places[n].row;
        if (glob != NULL && !kernel_matches(row->kernel, glob)) continue;
        int64_t others_count;
        bool joined = false;
        const struct row_place *others = row_set_find(other, row, &others_count);
        for (int64_t m = 0; m < others_count && !joined; m++)
            joined = is_before ? is_joined(join, row, others[m].row)
                               : is_joined(join, others[m].row, row);
        if (!joined) rows[(*count)++] = row;
    }
    return rows;
}

static int64_t count_redrawn(const struct comparison *comparison) {
    int64_t count = 0;
    for (int64_t n = 0; n < comparison->before_only_count; n++) {
        for (int64_t m = 0; m < comparison->after_only_count; m++) {
            const struct row *a = comparison->before_only[n], *b = comparison->after_only[m];
            if (strcmp(a->line, b->line) == 0 && !rows_share_inputs(a, b) &&
                kernels_match(&comparison->options, a, b)) {
                count++;
                break;
            }
        }
    }
    return count;
}

bool compare_runs(struct comparison *comparison, const struct run *before, const struct run *after,
                  const struct compare_options *options, struct fault *fault) {
    *comparison = (struct comparison){
        .options = *options, .confidence = effect_confidence, .control = NAN, .spread = NAN};
    struct row_set old = {0}, new = {0}, old_read = {0}, new_read = {0};
    machines_alike(&before->machine, &after->machine, comparison->machines_differ);
    /* Two orders of each side: one to search, one to read. */
    bool ok = row_set_make(&old, before, fault) && row_set_make(&new, after, fault) &&
              row_set_make(&old_read, before, fault) && row_set_make(&new_read, after, fault);
    row_set_arrange(&old_read);
    row_set_arrange(&new_read);

    struct join join = {.options = options, .before = &old, .after = &new};
    if (ok) find_closest(&join);
    int64_t room = 0;
    for (int64_t n = 0; ok && n < old_read.count; n++) {
        const struct row *row = old_read.places[n].row;
        int64_t count;
        const struct row_place *others = row_set_find(&new, row, &count);
        for (int64_t m = 0; ok && m < count; m++) {
            if (!is_joined(&join, row, others[m].row)) continue;
            ok = keep_pair(comparison, &room, pair_of(row, others[m].row, options->cold), fault);
        }
    }
    if (ok && !(measure(comparison) && decide_all(comparison)))
        ok = fault_set(fault, FAULT_OURS, "out of memory for the verdicts");
    if (ok) {
        comparison->before_only = unpaired(&join, &old_read, options->kernels_before, true,
                                           &comparison->before_only_count);
        comparison->after_only = unpaired(&join, &new_read, options->kernels_after, false,
                                          &comparison->after_only_count);
        if (comparison->before_only == NULL || comparison->after_only == NULL)
            ok = fault_set(fault, FAULT_OURS, "out of memory for the rows");
        else
            comparison->redrawn = count_redrawn(comparison);
    }
    row_set_free(&old);
    row_set_free(&new);
    row_set_free(&old_read);
    row_set_free(&new_read);
    return ok;
}

static const struct versus *versus_of(const struct row *row, bool cold) {
    return cold ? &row->versus_cold : &row->versus_warm;
}

bool run_is_live(const struct run *run) {
    for (int64_t n = 0; n < run->count; n++) {
        if (run->rows[n].versus[0] != '\0') return true;
    }
    return false;
}

bool run_has_duels(const struct run *run, bool cold) {
    for (int64_t n = 0; n < run->count; n++) {
        if (versus_of(&run->rows[n], cold)->pairs > 0) return true;
    }
    return false;
}

/* How many pairs it would take, where that is another number than there are; it is known of the
 * difference alone that mattered when they were launched. */
static const char *what_it_takes(const struct row *row, const struct versus *versus, double least) {
    char text[64];
    if (isnan(versus->needed) || row->versus_least != least) return "";
    if (versus->needed == 0) return "the control differs as much";
    snprintf(text, sizeof text, "%lld of about %.3g pairs", (long long)versus->pairs,
             versus->needed);
    return text_kept(text);
}

static struct compare_pair live_pair_of(const struct row *before, const struct row *after,
                                        const struct compare_options *options) {
    struct compare_pair pair = pair_of(before, after, options->cold);
    const struct versus *versus = versus_of(after, options->cold);
    pair.n_before = pair.n_after = versus->pairs;
    pair.p = NAN;
    pair.why = text_kept(after->versus_why);
    pair.verdict = COMPARE_UNTIMED;
    if (versus->pairs == 0) return pair;
    pair.ratio = versus->ratio;
    pair.low = isnan(versus->low) ? 0 : versus->low; /* endless ones are read back as NaN */
    pair.high = isnan(versus->high) ? INFINITY : versus->high;
    pair.p = versus->p;
    pair.control = versus->control;
    pair.why = what_it_takes(after, versus, options->least);
    return pair;
}

/* The row that this one was launched in turn with; NULL if the run lost it. */
static const struct row *other_of(const struct row_set *set, const struct row *row) {
    int64_t count;
    const struct row_place *others = row_set_find(set, row, &count);
    for (int64_t n = 0; n < count; n++) {
        const struct row *other = others[n].row;
        if (!strcmp(other->kernel, row->versus) && rows_share_inputs(other, row)) return other;
    }
    return NULL;
}

/* The geometric mean of the controls, and by how much one of them widened an interval at most. */
static void sum_controls(struct comparison *comparison) {
    double sum = 0, widest = 0;
    int64_t count = 0;
    for (int64_t n = 0; n < comparison->pair_count; n++) {
        const double control = log(comparison->pairs[n].control);
        if (!isfinite(control)) continue;
        sum += control;
        widest = fmax(widest, fabs(control) / 2);
        count++;
    }
    if (count == 0) return;
    comparison->control = exp(sum / (double)count);
    comparison->spread = widest;
}

bool compare_live(struct comparison *comparison, const struct run *run,
                  const struct compare_options *options, struct fault *fault) {
    struct row_set set = {0}, read = {0};
    *comparison = (struct comparison){.options = *options,
                                      .confidence = effect_confidence,
                                      .live = true,
                                      .control = NAN,
                                      .spread = NAN};
    bool ok = row_set_make(&set, run, fault) && row_set_make(&read, run, fault);
    row_set_arrange(&read);
    int64_t room = 0;
    for (int64_t n = 0; ok && n < read.count; n++) {
        const struct row *row = read.places[n].row;
        const struct row *other = row->versus[0] != '\0' ? other_of(&set, row) : NULL;
        if (other != NULL)
            ok = keep_pair(comparison, &room, live_pair_of(other, row, options), fault);
    }
    if (ok && !decide_all(comparison))
        ok = fault_set(fault, FAULT_OURS, "out of memory for the pairs");
    sum_controls(comparison);
    row_set_free(&set);
    row_set_free(&read);
    return ok;
}

void compare_free(struct comparison *comparison) {
    free(comparison->pairs);
    free(comparison->before_only);
    free(comparison->after_only);
    *comparison = (struct comparison){0};
}

void compare_summarise(struct compare_summary *summary, const struct comparison *comparison,
                       const char *variant) {
    double sum = 0, variance = 0, shift = 0;
    int64_t timed = 0;
    *summary = (struct compare_summary){.ratio = NAN, .low = NAN, .high = NAN};
    for (int64_t n = 0; n < comparison->pair_count; n++) {
        const struct compare_pair *pair = &comparison->pairs[n];
        if (variant != NULL && strcmp(pair->after->variant, variant) != 0) continue;
        summary->pairs++;
        summary->verdicts[pair->verdict]++;
        summary->worse += pair->status_change > 0;
        summary->better += pair->status_change < 0;
        if (!isfinite(pair->ratio) || !(pair->ratio > 0)) continue;
        sum += log(pair->ratio);
        variance += pow(log(pair->high / pair->low) / 2 - pair->shift, 2);
        shift += pair->shift;
        timed++;
    }
    if (timed == 0) return;
    const double half = (sqrt(variance) + shift) / (double)timed;
    summary->ratio = exp(sum / (double)timed);
    summary->low = summary->ratio * exp(-half);
    summary->high = summary->ratio * exp(half);
}

/* "1.02 ms [1.01, 1.05] n 100": the median and quartiles in its unit, and of how many samples. */
static void add_time(struct table *table, const struct timing *timing, int64_t n) {
    if (timing->n == 0) {
        table_add(table, "–");
        return;
    }
    const struct number median = number_time(timing->median_us);
    const double unit = timing->median_us / strtod(median.text, NULL);
    table_add(table, "%s [%s, %s] n %lld", median.text, number_plain(timing->q1_us / unit).text,
              number_plain(timing->q3_us / unit).text, (long long)n);
}

/* Of kernels that were launched in turn thousandths are known. */
static void add_ratio(struct table *table, double ratio, double low, double high, bool live) {
    if (isnan(ratio))
        table_add(table, "–");
    else if (live)
        table_add(table, "%.4g [%.4g, %.4g]", ratio, low, high);
    else
        table_add(table, "%s [%s, %s]", number_plain(ratio).text, number_plain(low).text,
                  number_plain(high).text);
}

/* "B", or "A → C" where it changed. */
static void add_change(struct table *table, const char *before, const char *after) {
    if (strcmp(before, after) != 0)
        table_add(table, "%s → %s", before, after);
    else
        table_add(table, "%s", after);
}

static void add_titles(struct table *table, const char *const *titles) {
    for (; *titles != NULL; titles++) table_add(table, "%s", *titles);
}

/* Whether what is done once has grown so that it and one launch take longer than they did. */
static bool prepare_grew(const struct compare_pair *pair, bool cold) {
    static const double factor = 2, more_us = 10; /* it is timed but once */
    const double before = pair->before->prepare_us, after = pair->after->prepare_us;
    return pair->verdict != COMPARE_UNTIMED && after > factor * before + more_us &&
           after + row_timing(pair->after, cold)->median_us >
               before + row_timing(pair->before, cold)->median_us;
}

/* "PASS A 1.02": status, grade and rho; live, t as well. */
static void judged(char text[80], const struct row *row, bool live) {
    const int used = snprintf(text, 80, "%s %s %s", row->status, row->grade,
                              number_plain(row->deviation.rho_block).text);
    if (live)
        snprintf(text + used, 80 - (size_t)used, " %s", number_plain(row->deviation.t_max).text);
}

static void add_pair(struct table *table, const struct compare_pair *pair,
                     const struct comparison *comparison) {
    const bool cold = comparison->options.cold;
    const struct row *a = pair->before, *b = pair->after;
    add_change(table, a->kernel, b->kernel);
    add_time(table, row_timing(a, cold), pair->n_before);
    add_time(table, row_timing(b, cold), pair->n_after);
    add_ratio(table, pair->ratio, pair->low, pair->high, comparison->live);
    table_add(table, isnan(pair->q) ? "%s" : "%s, %.3f", number_plain(pair->control).text, pair->q);
    char prepare[96] = "";
    if (prepare_grew(pair, cold))
        snprintf(prepare, sizeof prepare, ", prepare %s → %s", number_time(a->prepare_us).text,
                 number_time(b->prepare_us).text);
    table_add(table, "%s%s%s%s%s", compare_verdict_name(pair->verdict),
              pair->why[0] != '\0' ? ", " : "", pair->why, pair->regression ? ", regression" : "",
              prepare);
    char before[80], after[80];
    judged(before, a, comparison->live);
    judged(after, b, comparison->live);
    add_change(table, before, after);
    table_add(table, "%s", b->line);
}

static void add_summary(struct table *table, const struct comparison *comparison,
                        const char *variant) {
    struct compare_summary summary;
    compare_summarise(&summary, comparison, variant);
    if (summary.pairs == 0) return;
    table_add(table, "%s", variant != NULL ? variant : "all");
    table_add(table, "%lld", (long long)summary.pairs);
    add_ratio(table, summary.ratio, summary.low, summary.high, comparison->live);
    for (int n = 0; n < COMPARE_VERDICT_COUNT; n++)
        table_add(table, "%lld", (long long)summary.verdicts[n]);
    table_add(table, "%lld/%lld", (long long)summary.worse, (long long)summary.better);
}

/* What is printed, and whether as Markdown. */
struct page {
    FILE *to;
    bool markdown;
};

static void print_rows(const struct page *page, struct table *table) {
    (page->markdown ? table_print_markdown : table_print)(page->to, table);
    table_free(table);
}

static void print_title(const struct page *page, int level, const char *text) {
    if (page->markdown)
        print_markdown(page->to, "%.*s %s\n\n", level, "###", text);
    else
        print_words(page->to, 0, 0, "%s", text);
}

static void print_note(const struct page *page, const char *text) {
    if (page->markdown)
        print_markdown(page->to, "\n**%s**\n", text);
    else
        print_words(page->to, 0, 0, "%s", text);
}

static void print_only(const struct page *page, const char *name, const struct row **rows,
                       int64_t count) {
    char title[1024];
    if (count == 0) return;
    snprintf(title, sizeof title, "Only in %s (%lld)", name, (long long)count);
    fputc('\n', page->to);
    print_title(page, 2, title);
    for (int64_t n = 0; n < count; n++) {
        struct print_line line = {.to = page->to};
        if (page->markdown) {
            print_markdown(page->to, "- %s `%s` %s\n", rows[n]->kernel, rows[n]->line,
                           rows[n]->status);
            continue;
        }
        print_piece(&line, "%s", rows[n]->status);
        print_piece(&line, "%s", rows[n]->kernel);
        print_piece(&line, "%s", rows[n]->line);
        print_line_end(&line);
    }
}

static void print_summaries(const struct page *page, const struct comparison *comparison) {
    static const char *const titles[] = {"variant", "rows",         "ratio",     "same",
                                         "faster",  "slower",       "undecided", "unstable",
                                         "untimed", "worse/better", NULL};
    struct table table = {.columns = 10, .right = 0x3fe};
    add_titles(&table, titles);
    for (int variant = 0; variant < ATTN_VARIANT_COUNT; variant++)
        add_summary(&table, comparison, variant_name(variant));
    add_summary(&table, comparison, NULL);
    fputc('\n', page->to);
    print_rows(page, &table);
}

static void print_pairs(const struct page *page, const struct comparison *comparison) {
    static const char *const titles[] = {"kernel",     "old",     "new", "ratio",
                                         "control, q", "verdict", NULL};
    for (int64_t n = 0; n < comparison->pair_count;) {
        const char *variant = comparison->pairs[n].after->variant;
        struct table table = {.columns = 8, .right = 0x1e, .code = 1 << 7};
        fputc('\n', page->to);
        print_title(page, 2, variant);
        add_titles(&table, titles);
        table_add(&table, "status, grade, rho%s", comparison->live ? ", t" : "");
        table_add(&table, "problem");
        for (; n < comparison->pair_count && !strcmp(comparison->pairs[n].after->variant, variant);
             n++)
            add_pair(&table, &comparison->pairs[n], comparison);
        print_rows(page, &table);
    }
}

static void print_headline(const struct page *page, const struct comparison *comparison) {
    struct headline headline;
    struct fault fault;
    if (!headline_of_comparison(&headline, comparison, &fault)) return;
    if (page->markdown)
        headline_print_markdown(page->to, &headline, HEADLINE_ITEMS);
    else
        print_words(page->to, 0, 0, "%s", headline.verdict);
    headline_free(&headline);
}

void compare_print(FILE *to, const struct comparison *comparison, const char *before,
                   const char *after, bool markdown) {
    const struct page page = {to, markdown};
    char text[sizeof comparison->machines_differ + 128];
    if (markdown)
        print_markdown(to, "# %s → %s\n\n", before, after);
    else
        print_words(to, 0, 0, "%s → %s", before, after);
    print_headline(&page, comparison);
    print_words(
        to, 0, 0,
        "%s medians [quartiles]; ratio = new / old with its %g %% interval, below 1 is "
        "faster; a verdict needs an interval beyond %g %% and q, the share of false ones to "
        "expect among such rows, at most %g; control: %s; worse and better are statuses.",
        comparison->options.cold ? "Cold" : "Warm", 100 * comparison->confidence,
        100 * comparison->options.least, 1 - comparison->confidence,
        comparison->live ? "a copy of the old library over it, launched in turn with both"
                         : "the same ratio of a fixed kernel, timed beside each row");
    if (comparison->machines_differ[0]) {
        snprintf(text, sizeof text,
                 "The machines differ: %s. Times are not comparable; only statuses count as "
                 "regressions.",
                 comparison->machines_differ);
        print_note(&page, text);
    }
    if (comparison->redrawn > 0) {
        snprintf(text, sizeof text,
                 "Same line but another fixture digest: %s. The inputs changed, "
                 "so these are not compared.",
                 number_count(comparison->redrawn, "row").text);
        print_note(&page, text);
    }
    if (markdown) {
        fputc('\n', to);
        legend_print_markdown(to, compare_legend);
    }
    print_summaries(&page, comparison);
    print_pairs(&page, comparison);
    print_only(&page, before, comparison->before_only, comparison->before_only_count);
    print_only(&page, after, comparison->after_only, comparison->after_only_count);
}

static json_t *side_json(const struct row *row, bool cold) {
    const struct timing *timing = row_timing(row, cold);
    json_t *side =
        json_pack("{s:s, s:s, s:s, s:o, s:o, s:I}", "kernel", row->kernel, "status", row->status,
                  "grade", row->grade, "rho_block", real_or_null(row->deviation.rho_block), "t_max",
                  real_or_null(row->deviation.t_max), "n", (json_int_t)timing->n);
    if (timing->n > 0) {
        json_object_set_new(side, "q1_us", real_or_null(timing->q1_us));
        json_object_set_new(side, "median_us", real_or_null(timing->median_us));
        json_object_set_new(side, "q3_us", real_or_null(timing->q3_us));
        json_object_set_new(side, "prepare_us", real_or_null(row->prepare_us));
    }
    return side;
}

static json_t *rows_json(const struct row **rows, int64_t count) {
    json_t *list = json_array();
    for (int64_t n = 0; n < count; n++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "kernel", rows[n]->kernel,
                                              "line", rows[n]->line, "fixture_digest",
                                              rows[n]->fixture_digest, "status", rows[n]->status));
    return list;
}

static json_t *summary_json(const struct comparison *comparison, const char *variant) {
    struct compare_summary summary;
    compare_summarise(&summary, comparison, variant);
    json_t *json =
        json_pack("{s:s, s:I, s:o, s:o, s:o, s:I, s:I}", "variant", variant ? variant : "all",
                  "rows", (json_int_t)summary.pairs, "ratio", real_or_null(summary.ratio), "low",
                  real_or_null(summary.low), "high", real_or_null(summary.high), "worse",
                  (json_int_t)summary.worse, "better", (json_int_t)summary.better);
    for (int n = 0; n < COMPARE_VERDICT_COUNT; n++)
        json_object_set_new(json, compare_verdict_name(n), json_integer(summary.verdicts[n]));
    return json;
}

static json_t *pair_json(const struct compare_pair *pair, bool cold) {
    json_t *json =
        json_pack("{s:s, s:s, s:o, s:o, s:s, s:s, s:i, s:i, s:b}", "line", pair->after->line,
                  "variant", pair->after->variant, "old", side_json(pair->before, cold), "new",
                  side_json(pair->after, cold), "verdict", compare_verdict_name(pair->verdict),
                  "why", pair->why, "status_change", pair->status_change, "grade_change",
                  pair->grade_change, "regression", pair->regression);
    const struct {
        const char *name;
        double value;
    } reals[] = {{"ratio", pair->ratio}, {"low", pair->low}, {"high", pair->high},
                 {"p", pair->p},         {"q", pair->q},     {"control", pair->control}};
    for (size_t n = 0; n < sizeof reals / sizeof reals[0]; n++)
        json_object_set_new(json, reals[n].name, real_or_null(reals[n].value));
    return json;
}

json_t *compare_json(const struct comparison *comparison) {
    const bool cold = comparison->options.cold;
    json_t *pairs = json_array(), *summaries = json_array();
    for (int64_t n = 0; n < comparison->pair_count; n++) {
        const struct compare_pair *pair = &comparison->pairs[n];
        json_array_append_new(pairs, pair_json(pair, cold));
    }
    for (int variant = 0; variant < ATTN_VARIANT_COUNT; variant++)
        json_array_append_new(summaries, summary_json(comparison, variant_name(variant)));
    json_array_append_new(summaries, summary_json(comparison, NULL));
    return json_pack("{s:s, s:b, s:f, s:f, s:o, s:o, s:o, s:I, s:I, s:o, s:o, s:o, s:o}", "timing",
                     cold ? "cold" : "warm", "live", comparison->live, "least",
                     comparison->options.least, "confidence", comparison->confidence, "control",
                     real_or_null(comparison->control), "spread", real_or_null(comparison->spread),
                     "machines_differ", text_to_json(comparison->machines_differ), "regressions",
                     (json_int_t)comparison->regressions, "redrawn",
                     (json_int_t)comparison->redrawn, "summary", summaries, "pairs", pairs,
                     "only_old", rows_json(comparison->before_only, comparison->before_only_count),
                     "only_new", rows_json(comparison->after_only, comparison->after_only_count));
}
