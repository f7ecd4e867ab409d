/* A comparison for people, in columns or as Markdown, and for programs. */
#include "compare.h"
#include "headline.h"
#include "table.h"
#include "../worker/protocol.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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
        comparison->live ? "a copy of the old or new library over it, launched in turn with both"
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

static json_t *side_json(const struct row *row, const struct machine *machine, bool cold) {
    const struct timing *timing = row_timing(row, cold);
    json_t *side =
        json_pack("{s:s, s:s, s:s, s:o, s:o, s:I}", "kernel", row->kernel, "status", row->status,
                  "grade", row->grade, "rho_block", real_or_null(row->deviation.rho_block), "t_max",
                  real_or_null(row->deviation.t_max), "n", (json_int_t)timing->n);
    if (machine != NULL) {
        json_object_set_new(side, "host", text_to_json(machine->host));
        json_object_set_new(side, "time", json_string(machine->time));
    }
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
    json_t *json = json_pack(
        "{s:s, s:s, s:o, s:o, s:s, s:s, s:i, s:i, s:b}", "line", pair->after->line, "variant",
        pair->after->variant, "old", side_json(pair->before, pair->machine_before, cold), "new",
        side_json(pair->after, pair->machine_after, cold), "verdict",
        compare_verdict_name(pair->verdict), "why", pair->why, "status_change", pair->status_change,
        "grade_change", pair->grade_change, "regression", pair->regression);
    const struct {
        const char *name;
        double value;
    } reals[] = {{"ratio", pair->ratio},
                 {"low", pair->low},
                 {"high", pair->high},
                 {"p", pair->p},
                 {"q", pair->q},
                 {"control", pair->control},
                 {"ceiling", pair->ceiling}};
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
