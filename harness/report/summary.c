/* A summary is pieces, each made in memory and printed if it fits: a section takes up to half of
 * what the sections before it have left. */
#define _GNU_SOURCE
#include "summary.h"
#include "overview.h"
#include "print.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NOTE_BYTES = 200, NOTES_BYTES = 6 * NOTE_BYTES }; /* what the notes of all sections take */

struct summary {
    FILE *to;
    size_t left;     /* bytes, of which the section that is printed */
    size_t room;     /* may take these */
    int64_t printed; /* pieces of the section */
    /* the piece that is made */
    FILE *piece;
    char *text;
    size_t bytes;
};

static struct summary begin_summary(FILE *to) {
    return (struct summary){.to = to, .left = SUMMARY_BYTES - NOTES_BYTES};
}

static void begin_section(struct summary *summary) {
    summary->room = summary->left / 2;
    summary->printed = 0;
}

/* To write to; a piece without memory goes nowhere. */
static FILE *begin_piece(struct summary *summary) {
    summary->piece = open_memstream(&summary->text, &summary->bytes);
    if (summary->piece == NULL) summary->piece = fopen("/dev/null", "we");
    return summary->piece;
}

/* Whether it fitted; the first that does not is the section's last. */
static bool end_piece(struct summary *summary) {
    if (summary->piece == NULL) return false;
    fclose(summary->piece);
    const bool fits = summary->text != NULL && summary->bytes <= summary->room;
    if (fits) {
        fwrite(summary->text, 1, summary->bytes, summary->to);
        summary->room -= summary->bytes;
        summary->left -= summary->bytes;
        summary->printed++;
    } else {
        summary->room = 0;
    }
    free(summary->text);
    summary->text = NULL;
    summary->bytes = 0;
    return fits;
}

/* What of `count` pieces was left out. */
static void end_section(struct summary *summary, int64_t count, const char *what) {
    if (summary->printed < count)
        print_markdown(summary->to, "\n*%s%s left out here.*\n",
                       number_count(count - summary->printed, what).text,
                       count - summary->printed == 1 ? " is" : " are");
}

static void print_items(struct summary *summary, const struct headline *headline,
                        const char *what) {
    begin_section(summary);
    for (int64_t n = 0; n < headline->item_count; n++) {
        const struct headline_item *item = &headline->items[n];
        FILE *to = begin_piece(summary);
        headline_print_item(to, item);
        if (item->repeat[0] != '\0') print_markdown_block(to, "  ", "sh", item->repeat);
        if (!end_piece(summary)) break;
    }
    end_section(summary, headline->item_count, what);
}

static void print_title(struct summary *summary, const char *title) {
    FILE *to = begin_piece(summary);
    fprintf(to, "\n#### %s\n\n", title);
    end_piece(summary);
    summary->printed = 0;
}

static bool print_failures(struct summary *summary, struct row_index *index,
                           const struct headline *headline, struct fault *fault) {
    struct row row;
    int64_t failures = 0;
    for (int64_t n = 0; n < headline->item_count; n++) failures += headline->items[n].rows;
    if (failures <= headline->item_count) return true; /* each of them is an item */
    begin_section(summary);
    print_title(summary, "Rows that fail");
    for (int64_t n = 0; n < index->count; n++) {
        if (!row_index_at(index, n)->failed) continue;
        if (!row_index_read(index, n, &row, fault)) return false;
        FILE *to = begin_piece(summary);
        print_markdown(to, "- %s `%s` `%s`: `%s`\n", row.status, row.kernel, row.line, row.reason);
        if (!end_piece(summary)) break;
    }
    end_section(summary, failures, "row");
    return true;
}

static void print_kernels(struct summary *summary, const struct overview *overview,
                          const char *baseline) {
    begin_section(summary);
    print_title(summary, "Kernels");
    FILE *to = begin_piece(summary);
    tallies_print_titles(to, baseline);
    tally_print(to, &overview->tallies[0]);
    if (end_piece(summary)) {
        for (int64_t n = 1; n < overview->tally_count; n++) {
            tally_print(begin_piece(summary), &overview->tallies[n]);
            if (!end_piece(summary)) break;
        }
    }
    end_section(summary, overview->tally_count, "kernel");
}

static void print_run(struct summary *summary, const struct machine *machine) {
    begin_section(summary);
    FILE *to = begin_piece(summary);
    print_markdown(to, "\n%s, %lld cores%s%s, commit %.12s%s, %s%s\n", machine->cpu,
                   (long long)machine->cores, strcmp(machine->device, "cpu") != 0 ? ", " : "",
                   strcmp(machine->device, "cpu") != 0 ? machine->device : "",
                   machine->commit[0] != '\0' ? machine->commit : "unknown",
                   machine->dirty ? " (dirty)" : "", machine->time, machine_doubt(machine));
    end_piece(summary);
    to = begin_piece(summary);
    if (text_given(machine->command)) print_markdown_block(to, "", "sh", machine->command);
    end_piece(summary);
}

bool summary_of_run(FILE *to, struct row_index *index, const struct report_options *options,
                    struct fault *fault) {
    struct overview overview;
    struct summary summary = begin_summary(to);
    bool well = overview_make(&overview, index, fault);
    if (well) {
        begin_section(&summary);
        print_markdown(begin_piece(&summary), "### %s\n", overview.headline.verdict);
        end_piece(&summary);
        print_items(&summary, &overview.headline, "kind of failure");
        well = print_failures(&summary, index, &overview.headline, fault);
    }
    if (well) {
        if (overview.tally_count > 0) print_kernels(&summary, &overview, options->baseline);
        print_run(&summary, &index->reader.machine);
    }
    overview_free(&overview);
    return well;
}

/* Comparisons. */

static void print_ratio(FILE *to, double ratio, double low, double high) {
    fputs(number_plain(ratio).text, to);
    if (isfinite(low) && isfinite(high))
        fprintf(to, " [%s, %s]", number_plain(low).text, number_plain(high).text);
}

static void print_variants(struct summary *summary, const struct comparison *comparison) {
    begin_section(summary);
    FILE *to = begin_piece(summary);
    fputs("\n| variant | rows | new / old |", to);
    for (int n = 0; n < COMPARE_VERDICT_COUNT; n++) fprintf(to, " %s |", compare_verdict_name(n));
    fputs(" worse | better |\n|---|--:|--:|", to);
    for (int n = 0; n < COMPARE_VERDICT_COUNT; n++) fputs("--:|", to);
    fputs("--:|--:|\n", to);
    for (int variant = 0; variant <= ATTN_VARIANT_COUNT; variant++) {
        const char *name = variant < ATTN_VARIANT_COUNT ? variant_name(variant) : NULL;
        struct compare_summary sum;
        compare_summarise(&sum, comparison, name);
        if (sum.pairs == 0) continue;
        fprintf(to, "| %s | %lld | ", name != NULL ? name : "all", (long long)sum.pairs);
        print_ratio(to, sum.ratio, sum.low, sum.high);
        for (int n = 0; n < COMPARE_VERDICT_COUNT; n++)
            fprintf(to, " | %lld", (long long)sum.verdicts[n]);
        fprintf(to, " | %lld | %lld |\n", (long long)sum.worse, (long long)sum.better);
    }
    end_piece(summary);
}

/* Slower and faster ones by how much, then those of which nothing is known yet. */
static int pair_order(const void *left, const void *right) {
    const struct compare_pair *a = *(const struct compare_pair *const *)left;
    const struct compare_pair *b = *(const struct compare_pair *const *)right;
    static const int rank[COMPARE_VERDICT_COUNT] = {
        [COMPARE_SLOWER] = 0,   [COMPARE_FASTER] = 1,  [COMPARE_UNDECIDED] = 2,
        [COMPARE_UNSTABLE] = 3, [COMPARE_UNTIMED] = 4, [COMPARE_SAME] = 5};
    if (a->verdict != b->verdict) return rank[a->verdict] - rank[b->verdict];
    const double by = fabs(log(b->ratio)) - fabs(log(a->ratio));
    if (by > 0 || by < 0) return by > 0 ? 1 : -1;
    return (a > b) - (a < b);
}

static void print_pair(FILE *to, const struct compare_pair *pair, bool cold) {
    const struct timing *before = cold ? &pair->before->cold : &pair->before->warm;
    const struct timing *after = cold ? &pair->after->cold : &pair->after->warm;
    print_markdown(to, "| `%s` | `%s` | %s | %s | ", pair->after->kernel, pair->after->line,
                   number_time(before->n > 0 ? before->median_us : NAN).text,
                   number_time(after->n > 0 ? after->median_us : NAN).text);
    print_ratio(to, pair->ratio, pair->low, pair->high);
    print_markdown(to, " | %s%s%s |\n", compare_verdict_name(pair->verdict),
                   text_given(pair->why) ? ": " : "", text_given(pair->why) ? pair->why : "");
}

static bool print_pairs(struct summary *summary, const struct comparison *comparison,
                        struct fault *fault) {
    const int64_t count = comparison->pair_count;
    const struct compare_pair **pairs = calloc((size_t)count + 1, sizeof(void *));
    if (pairs == NULL) return fault_set(fault, FAULT_OURS, "out of memory for the summary");
    for (int64_t n = 0; n < count; n++) pairs[n] = &comparison->pairs[n];
    if (count > 0) qsort(pairs, (size_t)count, sizeof(void *), pair_order);
    begin_section(summary);
    print_title(summary, "Rows");
    FILE *to = begin_piece(summary);
    fputs("| kernel | problem | old | new | new / old | |\n|---|---|--:|--:|--:|---|\n", to);
    if (end_piece(summary)) {
        summary->printed = 0;
        for (int64_t n = 0; n < count; n++) {
            print_pair(begin_piece(summary), pairs[n], comparison->options.cold);
            if (!end_piece(summary)) break;
        }
    }
    end_section(summary, count, "row");
    free(pairs);
    return true;
}

bool summary_of_comparison(FILE *to, const struct comparison *comparison, const char *before,
                           const char *after, struct fault *fault) {
    struct headline headline;
    struct summary summary = begin_summary(to);
    if (!headline_of_comparison(&headline, comparison, fault)) return false;
    begin_section(&summary);
    print_markdown(begin_piece(&summary), "### %s\n", headline.verdict);
    end_piece(&summary);
    print_markdown(begin_piece(&summary), "\n%s → %s, %s medians%s%s\n\n", before, after,
                   comparison->options.cold ? "cold" : "warm",
                   comparison->machines_differ[0] != '\0' ? "; the machines differ: " : "",
                   comparison->machines_differ);
    end_piece(&summary);
    print_items(&summary, &headline, "regression");
    print_variants(&summary, comparison);
    const bool well = print_pairs(&summary, comparison, fault);
    begin_section(&summary);
    FILE *last = begin_piece(&summary);
    if (comparison->before_only_count > 0 || comparison->after_only_count > 0)
        print_markdown(last, "\nOnly in %s: %lld rows; only in %s: %lld rows.\n", before,
                       (long long)comparison->before_only_count, after,
                       (long long)comparison->after_only_count);
    end_piece(&summary);
    headline_free(&headline);
    return well;
}
