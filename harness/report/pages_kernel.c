/* The page of a kernel: what is wrong, its pictures, its rows. */
#include "pages_inside.h"

#include <math.h>

enum { WARNINGS_OPEN = 5 };

void write_failure(FILE *to, const struct row *row) {
    print_html(to, " <code>%s</code><br>%s", row->line, row->reason);
    if (text_given(row->diagnosis)) print_html(to, "<br><strong>%s</strong>", row->diagnosis);
    if (text_given(row->repeat)) print_html(to, "<pre>%s</pre>", row->repeat);
}

static bool is_warned_of(const struct row *row) {
    return row->bias_warning || status_of(row) == STATUS_UNSTABLE;
}

void write_warnings(FILE *to, const struct shown *shown, int64_t count) {
    static const struct html_column columns[] = {
        {"kernel", NULL, true}, {"problem", NULL, true}, {"warning", NULL, true}};
    int64_t all = 0, written = 0;
    for (int64_t n = 0; n < count; n++) all += is_warned_of(shown[n].row);
    if (all == 0) return;
    fprintf(to, "<details%s><summary>%s</summary>\n", all <= WARNINGS_OPEN ? " open" : "",
            number_count(all, "warning").text);
    html_table(to, columns, 3);
    for (int64_t n = 0; n < count && written < FAILURES_MOST; n++) {
        const struct row *row = shown[n].row;
        if (!is_warned_of(row)) continue;
        written++;
        print_html(to, "<tr><td>%s</td><td class=\"t\"><code>%s</code></td><td class=\"t w\">",
                   row->kernel, row->line);
        if (row->bias_warning)
            fprintf(to,
                    "biased: mean(sign(o) error) is %s of the model's rms, at most 0.3 expected ",
                    number_plain(row->deviation.bias).text);
        if (status_of(row) == STATUS_UNSTABLE) print_html(to, "%s: %s", row->status, row->reason);
        fputs("</td></tr>\n", to);
    }
    html_table_end(to);
    if (all > written) fprintf(to, "<p>%lld more are left out.</p>\n", (long long)(all - written));
    fputs("</details>\n", to);
}

static const struct html_column row_columns[] = {
    {"problem", NULL, true},
    {"status", NULL, true},
    {"grade", "reached", true},
    {"rho", "1 is what an honest kernel has", false},
    {"t", "error over tolerance; beyond 1 is wrong", false},
    {"cold", "median, caches emptied", false},
    {"warm", "median", false},
    {"quartiles", "warm", false},
    {"of ceiling", "as measured", false},
    {"x baseline", "times as fast", false},
    {"x by-mask", "times as fast", false},
    {"TFLOP/s", NULL, false},
    {"GB/s", NULL, false},
    {"prepare", "once, apart", false},
    {"worst block", "rho of a head and 128 queries", false},
    {"lse", "error over tolerance", false},
    {"NaN", "elements", false},
    {"max |out|", NULL, false},
    {"max error", NULL, false},
};
enum { ROW_COLUMNS = sizeof row_columns / sizeof row_columns[0] };

static void write_number(FILE *to, struct number number) {
    fprintf(to, "<td>%s</td>", number.text);
}

static void write_row(FILE *to, const struct shown *shown) {
    const struct row *row = shown->row;
    const struct deviation *deviation = &row->deviation;
    const bool judged = deviation->elements > 0, timed = row_is_timed(row);
    print_html(to, "<tr><td><code>%s</code></td><td class=\"t\">", row->line);
    html_status(to, row->status);
    print_html(to, "</td><td class=\"t\">%s</td>", row->grade);
    write_number(to, number_plain(judged ? deviation->rho : NAN));
    write_number(to, number_plain(judged ? deviation->t_max : NAN));
    write_number(to, number_time(row->cold.n > 0 ? row->cold.median_us : NAN));
    fprintf(to, "<td>%s", number_time(row->warm.n > 0 ? row->warm.median_us : NAN).text);
    if (row_has_burst(row)) fprintf(to, ", %s in a burst", number_time(row->burst_us).text);
    fprintf(to, "%s</td>", timed && row_is_burst(row) ? " (burst)" : "");
    if (row->warm.n > 0)
        fprintf(to, "<td>%s – %s</td>", number_time(row->warm.q1_us).text,
                number_time(row->warm.q3_us).text);
    else
        fputs("<td>–</td>", to);
    if (timed && row->ceiling[0] != '\0' && isfinite(row->ceiling_percent))
        print_html(to, "<td>%.3g %% of %s</td>", row->ceiling_percent, row->ceiling);
    else
        fputs("<td>–</td>", to);
    write_number(to, number_plain(row_speedup(row, shown->baseline)));
    write_number(to, number_plain(row_speedup(row, shown->bymask)));
    write_number(to, number_plain(timed ? row->tflops : NAN));
    write_number(to, number_plain(timed ? row->gbs : NAN));
    write_number(to, number_time(row->prepare_us > 0 ? row->prepare_us : NAN));
    write_number(to, number_plain(judged ? deviation->rho_block : NAN));
    write_number(to, number_plain(judged && deviation->lse_judged ? deviation->lse_max : NAN));
    write_number(to, number_plain(judged ? (double)deviation->nan_count : NAN));
    write_number(to, number_plain(judged ? deviation->max_out : NAN));
    write_number(to, number_plain(judged ? deviation->max_abs : NAN));
    fputs("</tr>\n", to);
}

static bool row_is_taken(const struct shown *shown) {
    return !row_is_refused(shown->row);
}

static void write_refusals(FILE *to, const struct chapter *chapter) {
    int64_t refused = 0;
    for (int64_t n = 0; n < chapter->count; n++) refused += !row_is_taken(&chapter->shown[n]);
    if (refused == 0) return;
    fprintf(to, "<details><summary>Refused: %s</summary>\n<ul>\n",
            number_count(refused, "row").text);
    for (int64_t n = 0; n < chapter->count; n++) {
        const struct row *row = chapter->shown[n].row;
        if (row_is_refused(row))
            print_html(to, "<li><code>%s</code> %s</li>\n", row->line, row->reason);
    }
    fputs("</ul></details>\n", to);
}

static void write_chapter_failures(FILE *to, const struct book *book,
                                   const struct chapter *chapter) {
    int64_t failures = 0, written = 0;
    for (int64_t n = 0; n < chapter->count; n++) failures += row_is_failure(chapter->shown[n].row);
    if (failures == 0) return;
    fputs("<h2 id=\"wrong\">What is wrong</h2>\n", to);
    for (int64_t n = 0; n < chapter->count; n++) {
        const struct row *row = chapter->shown[n].row;
        if (!row_is_failure(row) || written++ >= FAILURES_MOST) continue;
        fputs("<div class=\"wrong\">", to);
        html_status(to, row->status);
        write_failure(to, row);
        for (int64_t m = 0; m < chapter->heat_count; m++)
            if (chapter->heats[m].row == row)
                html_figure(to, &book->album, chapter->heats[m].picture);
        fputs("</div>\n", to);
    }
}

static const struct html_column versus_columns[] = {
    {"problem", NULL, true},     {"beside", "launched in turn with", true},
    {"", "caches", true},        {"ratio", "its time over that one's; below 1 is faster", false},
    {"interval", "99 %", false}, {"control", "a copy over its original, in the same rounds", false},
    {"rounds", NULL, false},     {"a verdict takes", "rounds, at this ratio", false},
};
enum { VERSUS_COLUMNS = sizeof versus_columns / sizeof versus_columns[0] };

static void write_versus(FILE *to, const struct row *row, const struct versus *versus,
                         const char *caches) {
    if (versus->pairs == 0) return;
    print_html(to,
               "<tr><td><code>%s</code></td><td class=\"t\">%s</td><td class=\"t\">%s</td>"
               "<td>%s</td><td>",
               row->line, row->versus, caches, number_plain(versus->ratio).text);
    html_interval(to, versus->low, versus->high);
    fprintf(to, "</td><td>%s</td><td>%lld</td><td>", number_plain(versus->control).text,
            (long long)versus->pairs);
    if (versus->needed > 0)
        fputs(number_plain(versus->needed).text, to);
    else
        fputs(isnan(versus->needed) ? "–" : "no number is enough", to);
    fputs("</td></tr>\n", to);
}

/* What `attest compare --live` found of it beside another. */
static void write_chapter_versus(FILE *to, const struct chapter *chapter) {
    int64_t others = 0;
    for (int64_t n = 0; n < chapter->count; n++) others += chapter->shown[n].row->versus[0] != '\0';
    if (others == 0) return;
    fputs("<h2 id=\"beside\">Beside another kernel</h2>\n", to);
    html_table(to, versus_columns, VERSUS_COLUMNS);
    for (int64_t n = 0; n < chapter->count; n++) {
        const struct row *row = chapter->shown[n].row;
        if (text_given(row->versus_why))
            print_html(to,
                       "<tr><td><code>%s</code></td><td class=\"t\">%s</td>"
                       "<td class=\"t\" colspan=\"6\">%s</td></tr>\n",
                       row->line, row->versus, row->versus_why);
        write_versus(to, row, &row->versus_warm, "warm");
        write_versus(to, row, &row->versus_cold, "cold");
    }
    html_table_end(to);
}

bool write_chapter(const struct html_folder *folder, const struct book *book,
                   const struct chapter *chapter, struct fault *fault) {
    FILE *to = html_page(folder, chapter->page, chapter->kernel, "index.html", fault);
    if (to == NULL) return false;
    const struct row *row = chapter->shown[0].row;
    const struct tally tally = tally_of(chapter->shown, chapter->count, chapter->kernel);
    print_html(to, "<h1>%s: ", chapter->kernel);
    if (tally.failed > 0) fprintf(to, "%lld wrong, ", (long long)tally.failed);
    fprintf(to, "%lld right, %lld refused</h1>\n", (long long)tally.right,
            (long long)tally.refused);
    if (row->change[0] != '\0') print_html(to, "<p>%s</p>\n", row->change);
    print_html(to, "<p class=\"soft\">Library <code>%s</code>, run %s, %s</p>\n",
               row->library_digest[0] != '\0' ? row->library_digest : "unknown",
               book->options->name, book->run->machine.time);
    write_chapter_failures(to, book, chapter);
    write_warnings(to, chapter->shown, chapter->count);
    fputs("<h2>Pictures</h2>\n<div class=\"pictures\">\n", to);
    html_figure(to, &book->album, chapter->length);
    html_figure(to, &book->album, chapter->ulp);
    for (int64_t n = 0; n < chapter->strip_count; n++)
        html_figure(to, &book->album, chapter->strips[n]);
    fputs("</div>\n<h2>Rows</h2>\n", to);
    html_table(to, row_columns, ROW_COLUMNS);
    for (int64_t n = 0; n < chapter->count; n++)
        if (row_is_taken(&chapter->shown[n])) write_row(to, &chapter->shown[n]);
    html_table_end(to);
    write_chapter_versus(to, chapter);
    write_refusals(to, chapter);
    return html_page_end(to, folder, fault);
}
