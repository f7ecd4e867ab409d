/* The page of a comparison: what became wrong or slower, then each variant's ratios. */
#define _GNU_SOURCE
#include "pages.h"
#include "headline.h"
#include "html.h"
#include "pictures.h"

#include <math.h>
#include <string.h>

enum { ONLY_MOST = 200 };

struct leaf {
    const struct comparison *comparison;
    const char *before, *after;
    struct headline headline;
    struct album album;
    int64_t forests[ATTN_VARIANT_COUNT];
};

static const struct html_column pair_columns[] = {
    {"kernel", NULL, true},
    {"verdict", NULL, true},
    {"ratio", "new over old; below 1 is faster", false},
    {"interval", "of the ratio", false},
    {"q", "share of false ones among rows as striking", false},
    {"old", "median", false},
    {"new", "median", false},
    {"samples", "old, new", false},
    {"control", "new over old", false},
    {"status", NULL, true},
    {"grade", NULL, true},
    {"rho", "worst block; 1 is what an honest kernel has", true},
    {"prepare", "once, apart", true},
    {"problem", NULL, true},
};
enum { PAIR_COLUMNS = sizeof pair_columns / sizeof pair_columns[0] };

static void write_change(FILE *to, const char *before, const char *after) {
    if (strcmp(before, after) != 0)
        print_html(to, "<td class=\"t\">%s → %s</td>", before, after);
    else
        print_html(to, "<td class=\"t\">%s</td>", after);
}

static struct number time_number(const struct row *row, bool cold) {
    const struct timing *timing = row_timing(row, cold);
    return number_time(timing->n > 0 ? timing->median_us : NAN);
}

static void write_verdict(FILE *to, const struct compare_pair *pair) {
    const char *kind = pair->regression ? "bad" : pair->verdict == COMPARE_FASTER ? "good" : "soft";
    print_html(to, "<td class=\"t\"><span class=\"s %s\">%s%s</span>", kind,
               compare_verdict_name(pair->verdict), pair->regression ? ", regression" : "");
    if (text_given(pair->why)) print_html(to, " <small>%s</small>", pair->why);
    fputs("</td>", to);
}

static void write_pair(FILE *to, const struct compare_pair *pair, bool cold) {
    const struct row *a = pair->before, *b = pair->after;
    fputs("<tr>", to);
    write_change(to, a->kernel, b->kernel);
    write_verdict(to, pair);
    fprintf(to, "<td>%s</td><td>", number_plain(pair->ratio).text);
    html_interval(to, pair->low, pair->high);
    fprintf(to, "</td><td>%s</td><td>%s</td><td>%s</td><td>%lld, %lld</td><td>%s</td>",
            number_plain(pair->q).text, time_number(a, cold).text, time_number(b, cold).text,
            (long long)pair->n_before, (long long)pair->n_after, number_plain(pair->control).text);
    write_change(to, a->status, b->status);
    write_change(to, a->grade, b->grade);
    write_change(to, number_plain(a->deviation.rho_block).text,
                 number_plain(b->deviation.rho_block).text);
    write_change(to, number_time(a->prepare_us > 0 ? a->prepare_us : NAN).text,
                 number_time(b->prepare_us > 0 ? b->prepare_us : NAN).text);
    print_html(to, "<td class=\"t\"><code>%s</code></td></tr>\n", b->line);
}

static void write_pairs(FILE *to, const struct comparison *comparison,
                        bool (*wanted)(const struct compare_pair *pair, const char *variant),
                        const char *variant) {
    html_table(to, pair_columns, PAIR_COLUMNS);
    for (int64_t n = 0; n < comparison->pair_count; n++)
        if (wanted(&comparison->pairs[n], variant))
            write_pair(to, &comparison->pairs[n], comparison->options.cold);
    html_table_end(to);
}

static bool is_regression(const struct compare_pair *pair, const char *variant) {
    (void)variant;
    return pair->regression;
}

static bool is_of(const struct compare_pair *pair, const char *variant) {
    return strcmp(pair->after->variant, variant) == 0;
}

static void write_wrong(FILE *to, const struct comparison *comparison) {
    fputs("<h2 id=\"wrong\">What is wrong or slower</h2>\n", to);
    if (comparison->machines_differ[0] != '\0')
        print_html(to,
                   "<p><strong>The machines differ: %s.</strong> Times are not comparable; only "
                   "statuses count as regressions.</p>\n",
                   comparison->machines_differ);
    if (comparison->redrawn > 0)
        fprintf(to,
                "<p>Of %s the inputs changed: same line, another fixture digest. They are not "
                "compared.</p>\n",
                number_count(comparison->redrawn, "row").text);
    if (comparison->regressions == 0)
        fputs("<p>Nothing: no row became slower or worse.</p>\n", to);
    else
        write_pairs(to, comparison, is_regression, NULL);
}

static const struct html_column summary_columns[] = {
    {"variant", NULL, true},
    {"rows", NULL, false},
    {"ratio", "new over old, geometric mean", false},
    {"interval", "of that", false},
    {"same", NULL, false},
    {"faster", NULL, false},
    {"slower", NULL, false},
    {"other", "unstable, undecided or untimed", false},
    {"worse", "in status", false},
    {"better", "in status", false},
};

static void write_summary(FILE *to, const struct comparison *comparison, const char *variant) {
    struct compare_summary summary;
    compare_summarise(&summary, comparison, variant);
    if (summary.pairs == 0) return;
    const int64_t said = summary.verdicts[COMPARE_SAME] + summary.verdicts[COMPARE_FASTER] +
                         summary.verdicts[COMPARE_SLOWER];
    if (variant != NULL)
        print_html(to, "<tr><td><a href=\"#%s\">%s</a></td>", variant, variant);
    else
        fputs("<tr><td>all</td>", to);
    fprintf(to,
            "<td>%lld</td><td>%s</td><td>%s – %s</td><td>%lld</td><td>%lld</td><td>%lld</td>"
            "<td>%lld</td><td>%lld</td><td>%lld</td></tr>\n",
            (long long)summary.pairs, number_plain(summary.ratio).text,
            number_plain(summary.low).text, number_plain(summary.high).text,
            (long long)summary.verdicts[COMPARE_SAME], (long long)summary.verdicts[COMPARE_FASTER],
            (long long)summary.verdicts[COMPARE_SLOWER], (long long)(summary.pairs - said),
            (long long)summary.worse, (long long)summary.better);
}

static void write_only(FILE *to, const char *name, const struct row *const *rows, int64_t count) {
    if (count == 0) return;
    print_html(to, "<details><summary>Only in %s: %lld</summary>\n<ul>\n", name, (long long)count);
    for (int64_t n = 0; n < count && n < ONLY_MOST; n++)
        print_html(to, "<li>%s <code>%s</code> %s</li>\n", rows[n]->kernel, rows[n]->line,
                   rows[n]->status);
    if (count > ONLY_MOST) fprintf(to, "<li>and %lld more</li>\n", (long long)(count - ONLY_MOST));
    fputs("</ul></details>\n", to);
}

static void write_variant(FILE *to, const struct leaf *leaf, enum attn_variant variant) {
    const char *name = variant_name(variant);
    struct compare_summary summary;
    compare_summarise(&summary, leaf->comparison, name);
    if (summary.pairs == 0) return;
    print_html(to, "<h2 id=\"%s\">%s</h2>\n", name, name);
    html_figure(to, &leaf->album, leaf->forests[variant]);
    write_pairs(to, leaf->comparison, is_of, name);
}

static void write_how(FILE *to, const struct leaf *leaf) {
    const struct comparison *comparison = leaf->comparison;
    print_html(to, "<p class=\"soft\">%s → %s, %s, %s. ", leaf->before, leaf->after,
               comparison->options.cold ? "cold" : "warm",
               comparison->live ? "launched in turn" : "of stored runs");
    fprintf(to,
            "Faster and slower: all of the interval (%.3g %%) is beyond %.3g %%, and q at most "
            "%.3g %%; same: all of it is within; undecided: neither.",
            100 * comparison->confidence, 100 * comparison->options.least,
            100 * (1 - comparison->confidence));
    if (isfinite(comparison->control))
        fprintf(to, " The control, which is the same thing on both sides, has %s.",
                number_plain(comparison->control).text);
    fputs("</p>\n", to);
}

static bool write_leaf(const struct html_folder *folder, const struct leaf *leaf,
                       struct fault *fault) {
    const struct comparison *comparison = leaf->comparison;
    FILE *to = html_page(folder, "index.html", "Comparison", NULL, fault);
    if (to == NULL) return false;
    print_html(to, "<h1>%s</h1>\n", leaf->headline.verdict);
    write_how(to, leaf);
    write_wrong(to, comparison);
    fputs("<h2 id=\"fast\">What is faster, and what is the same</h2>\n", to);
    html_table(to, summary_columns, sizeof summary_columns / sizeof summary_columns[0]);
    for (int n = 0; n < ATTN_VARIANT_COUNT; n++) write_summary(to, comparison, variant_name(n));
    write_summary(to, comparison, NULL);
    html_table_end(to);
    for (int n = 0; n < ATTN_VARIANT_COUNT; n++) write_variant(to, leaf, n);
    write_only(to, leaf->before, comparison->before_only, comparison->before_only_count);
    write_only(to, leaf->after, comparison->after_only, comparison->after_only_count);
    return html_page_end(to, folder, fault);
}

bool pages_compare(const char *path, const struct comparison *comparison, const char *before,
                   const char *after, struct fault *fault) {
    struct html_folder folder;
    struct leaf leaf = {.comparison = comparison, .before = before, .after = after};
    if (!headline_of_comparison(&leaf.headline, comparison, fault) ||
        !html_begin(&folder, path, fault)) {
        headline_free(&leaf.headline);
        return false;
    }
    for (int n = 0; n < ATTN_VARIANT_COUNT; n++) {
        struct plot *plot = album_begin(&leaf.album);
        leaf.forests[n] = album_end(&leaf.album, picture_forest(plot, variant_name(n), comparison));
    }
    album_draw(&leaf.album, folder.temporary);
    const bool well = write_leaf(&folder, &leaf, fault) && html_commit(&folder, fault);
    html_abort(&folder);
    album_free(&leaf.album);
    headline_free(&leaf.headline);
    return well;
}
