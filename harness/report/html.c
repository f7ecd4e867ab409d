/* One style for all pages, written into each: a page that is mailed alone is still whole. Text and
 * lines of pictures that gnuplot made black take the page's colour. */
#define _GNU_SOURCE
#include "html.h"
#include "../judge/judge.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char generator[] = "<meta name=\"generator\" content=\"attest report\">";

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1b1f24;--soft:#5b6570;--page:#fff;--line:#d8dde3;"
    "--band:#f5f7f9;--link:#0b5cad;--good:#00694b;--bad:#b3400a;--odd:#7a5600}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e4e8ec;--soft:#9aa5b1;--page:#14181c;"
    "--line:#343b43;--band:#1c2228;--link:#7ab8f5;--good:#4cc79b;--bad:#ff9a66;--odd:#e8bf55}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0 auto;max-width:80rem;padding:1.5rem 1.25rem 4rem;background:var(--page);"
    "color:var(--ink);font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}\n"
    "a{color:var(--link)}\n"
    "h1{font-size:1.55rem;line-height:1.3;font-weight:600;margin:.25rem 0 .75rem;max-width:56rem}\n"
    "h2{font-size:1.2rem;font-weight:600;margin:2.75rem 0 .75rem;padding-top:.75rem;"
    "border-top:1px solid var(--line)}\n"
    "h3{font-size:1rem;font-weight:600;margin:1.75rem 0 .5rem}\n"
    "p,ul,dl{max-width:56rem;margin:.5rem 0}\n"
    "nav{font-size:.9rem;display:flex;flex-wrap:wrap;gap:.25rem 1.1rem}\n"
    ".soft,small,figcaption span{color:var(--soft)}\n"
    "code,pre{font:.86em/1.45 ui-monospace,monospace}\n"
    "pre{background:var(--band);padding:.6rem .8rem;margin:.4rem 0;white-space:pre-wrap}\n"
    ".scroll{overflow-x:auto;margin:.5rem 0;max-width:100%}\n"
    "table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}\n"
    "th,td{padding:.28rem .7rem .28rem 0;text-align:right;vertical-align:top;white-space:nowrap;"
    "overflow-wrap:normal}\n"
    "th{font-weight:600;border-bottom:1px solid var(--ink);vertical-align:bottom}\n"
    "th small{display:block;font-weight:400;min-width:5rem;max-width:9.5rem;white-space:normal;"
    "margin-left:auto;line-height:1.25}\n"
    "td{border-bottom:1px solid var(--line)}\n"
    "th:first-child,td:first-child,.t{text-align:left}\n"
    "th.t small{margin-left:0}\n"
    "@media(min-width:60rem){th:first-child,td:first-child{position:sticky;left:0;"
    "background:var(--page)}}\n"
    "td.w{white-space:normal;min-width:16rem;overflow-wrap:anywhere}\n"
    ".s{font-weight:600;white-space:nowrap}.good{color:var(--good)}.bad{color:var(--bad)}"
    ".odd{color:var(--odd)}\n"
    ".c{display:inline-block;width:.8em;height:.8em;margin-right:.35em;border-radius:2px;"
    "vertical-align:-.05em}\n"
    ".key{display:flex;flex-wrap:wrap;gap:.1rem 1rem;font-size:.82rem;margin:.4rem 0}\n"
    ".key svg{display:inline-block;width:auto;min-width:0;height:.72em;margin-right:.4em}\n"
    ".pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));"
    "gap:1.5rem 2rem;align-items:start}\n"
    "figure{margin:1rem 0;min-width:0;break-inside:avoid}\n"
    "figcaption{font-weight:600;margin-bottom:.4rem}\n"
    "figcaption span{display:block;font-weight:400;font-size:.86rem}\n"
    ".scroll>svg{display:block;width:100%;min-width:24rem;height:auto}\n"
    "figure.wide .scroll>svg{min-width:46rem}\n"
    "svg.marks{position:absolute}\n"
    "svg text{fill:var(--ink)}\n"
    "svg [stroke=black],svg [stroke='rgb(  0,   0,   0)']{stroke:var(--ink)}svg "
    "[color=black]{color:var(--ink)}"
    "svg [fill=black]{fill:var(--ink)}\n"
    "details{font-size:.9rem;margin:.4rem 0}summary{cursor:pointer;color:var(--soft)}\n"
    ".wrong{border-left:3px solid var(--bad);padding:.1rem 0 .1rem .9rem;margin:1rem 0;"
    "break-inside:avoid}\n"
    "@media print{:root{--ink:#000;--soft:#444;--page:#fff;--line:#bbb;--band:#f3f3f3}"
    "body{max-width:none;padding:0;font-size:10pt}nav{display:none}"
    "a{color:inherit;text-decoration:none}.scroll{overflow:visible}"
    ".pictures{grid-template-columns:1fr 1fr;gap:.5rem 1rem}"
    ".scroll>svg,figure.wide .scroll>svg{min-width:0;max-height:7cm}table{font-size:7pt}"
    "td,th{white-space:normal;overflow-wrap:break-word;padding-right:.4rem}"
    "td code{overflow-wrap:anywhere}th small{min-width:0}tr{break-inside:avoid}"
    "h2,h3{break-after:avoid}}\n";

/* The folder */

static bool is_page(const char *name) {
    const size_t length = strlen(name);
    return length > 5 && strcmp(name + length - 5, ".html") == 0;
}

static bool is_dot(const char *name) {
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static bool is_ours(const char *path) {
    char name[4096 + 300], line[256];
    snprintf(name, sizeof name, "%s/index.html", path);
    FILE *file = fopen(name, "re");
    bool ours = false;
    for (int n = 0; file != NULL && !ours && n < 4 && fgets(line, sizeof line, file); n++)
        ours = strstr(line, generator) != NULL;
    if (file != NULL) fclose(file);
    return ours;
}

/* A folder is replaced where all that is in it is a report's. */
static bool may_replace(const char *path, struct fault *fault) {
    struct stat status;
    if (lstat(path, &status) != 0) {
        return errno == ENOENT ||
               fault_set(fault, FAULT_INPUT, "cannot look at '%.900s': %s", path, strerror(errno));
    }
    DIR *open = S_ISDIR(status.st_mode) ? opendir(path) : NULL;
    if (open == NULL)
        return fault_set(fault, FAULT_INPUT, "'%.900s' is no folder, expected one for a report",
                         path);
    char other[256] = "";
    bool any = false;
    for (const struct dirent *entry; (entry = readdir(open)) != NULL;) {
        any = any || !is_dot(entry->d_name);
        if (!is_dot(entry->d_name) && !is_page(entry->d_name))
            snprintf(other, sizeof other, "%s", entry->d_name);
    }
    closedir(open);
    if (other[0] != '\0')
        return fault_set(fault, FAULT_INPUT,
                         "folder '%.600s' holds '%s', which no report has; expected a new folder "
                         "or a report to replace",
                         path, other);
    return !any || is_ours(path) ||
           fault_set(fault, FAULT_INPUT,
                     "the pages in folder '%.600s' are not a report's; expected a new folder or a "
                     "report to replace",
                     path);
}

static void remove_folder(const char *path) {
    DIR *open = opendir(path);
    for (const struct dirent *entry; open != NULL && (entry = readdir(open)) != NULL;)
        if (!is_dot(entry->d_name)) unlinkat(dirfd(open), entry->d_name, 0);
    if (open != NULL) closedir(open);
    rmdir(path);
}

bool html_begin(struct html_folder *folder, const char *path, struct fault *fault) {
    *folder = (struct html_folder){0};
    char *target = realpath(path, NULL); /* a link is followed */
    int length = snprintf(folder->path, sizeof folder->path, "%s", target != NULL ? target : path);
    free(target);
    while (length > 1 && length < 4000 && folder->path[length - 1] == '/')
        folder->path[--length] = '\0';
    if (length == 0 || length > 4000)
        return fault_set(fault, FAULT_INPUT, "'%.100s' is no name of a folder", path);
    if (!may_replace(folder->path, fault)) return false;
    snprintf(folder->temporary, sizeof folder->temporary, "%.4000s.tmpXXXXXX", folder->path);
    if (mkdtemp(folder->temporary) == NULL) {
        folder->temporary[0] = '\0';
        return fault_set(fault, FAULT_INPUT, "cannot make folder '%.900s': %s", folder->path,
                         strerror(errno));
    }
    const mode_t mask = umask(0);
    umask(mask);
    chmod(folder->temporary, 0777 & ~mask); /* mkdtemp's is its owner's alone */
    return true;
}

/* The two folders change places, so that at no moment there is none. */
bool html_commit(struct html_folder *folder, struct fault *fault) {
    if (!may_replace(folder->path, fault)) return false;
    if (renameat2(AT_FDCWD, folder->temporary, AT_FDCWD, folder->path, RENAME_EXCHANGE) == 0) {
        html_abort(folder); /* what was there before */
        return true;
    }
    if (rename(folder->temporary, folder->path) != 0)
        return fault_set(fault, FAULT_INPUT, "cannot rename '%.900s': %s", folder->temporary,
                         strerror(errno));
    folder->temporary[0] = '\0';
    return true;
}

void html_abort(struct html_folder *folder) {
    if (folder->temporary[0] != '\0') remove_folder(folder->temporary);
    folder->temporary[0] = '\0';
}

void html_kernel_page(char name[HTML_NAME_BYTES], const char *kernel, int64_t number) {
    char plain[100];
    size_t used = 0;
    for (; *kernel != '\0' && used + 1 < sizeof plain; kernel++)
        plain[used++] = (char)(isalnum((unsigned char)*kernel) || *kernel == '_' ? *kernel : '-');
    plain[used] = '\0';
    snprintf(name, HTML_NAME_BYTES, "kernel-%lld-%s.html", (long long)number + 1, plain);
}

/* A page */

FILE *html_page(const struct html_folder *folder, const char *name, const char *title,
                const char *above, struct fault *fault) {
    char path[4096 + HTML_NAME_BYTES];
    snprintf(path, sizeof path, "%s/%s", folder->temporary, name);
    FILE *page = fopen(path, "wex");
    if (page == NULL) {
        fault_set(fault, FAULT_INPUT, "cannot write '%.900s': %s", path, strerror(errno));
        return NULL;
    }
    fprintf(page, "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n%s\n", generator);
    print_html(page,
               "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
               "<link rel=\"icon\" href=\"data:,\">\n<title>%s</title>\n",
               title);
    fprintf(page, "<style>\n%s</style>\n<body>\n", style);
    if (above != NULL)
        print_html(page, "<nav><a href=\"%s\">← the whole report</a></nav>\n", above);
    fputs(plot_marks, page);
    return page;
}

bool html_page_end(FILE *page, const struct html_folder *folder, struct fault *fault) {
    fputs("</body>\n</html>\n", page);
    const bool failed = ferror(page) != 0;
    if (fclose(page) == 0 && !failed) return true;
    return fault_set(fault, FAULT_INPUT, "cannot write a page in '%.900s': %s", folder->temporary,
                     strerror(errno));
}

void html_table(FILE *to, const struct html_column *columns, int count) {
    fputs("<div class=\"scroll\"><table><thead><tr>", to);
    for (int n = 0; n < count; n++) {
        print_html(to, columns[n].text ? "<th class=\"t\">%s" : "<th>%s", columns[n].title);
        if (columns[n].legend != NULL) print_html(to, "<small>%s</small>", columns[n].legend);
        fputs("</th>", to);
    }
    fputs("</tr></thead><tbody>\n", to);
}

void html_table_end(FILE *to) {
    fputs("</tbody></table></div>\n", to);
}

void html_interval(FILE *to, double low, double high) {
    if (isfinite(low) && isfinite(high))
        fprintf(to, "%s – %s", number_plain(low).text, number_plain(high).text);
}

void html_status(FILE *to, const char *status) {
    int known = 0;
    while (known < STATUS_COUNT && strcmp(status_name(known), status) != 0) known++;
    const char *kind = known == STATUS_PASS       ? "good"
                       : known == STATUS_REFUSED  ? "soft"
                       : known == STATUS_UNSTABLE ? "odd"
                                                  : "bad";
    print_html(to, "<span class=\"s %s\">%s</span>", kind, status);
}

/* Pictures */

static struct number number_of(const struct plot_axis *axis, double value) {
    struct number number;
    switch (axis->unit) {
    case PLOT_TIME_US:
        return number_time(value);
    case PLOT_RATE:
        return number_rate(value, "");
    case PLOT_PERCENT:
        snprintf(number.text, sizeof number.text, "%.3g %%", 100 * value);
        return number;
    case PLOT_COUNT:
    case PLOT_LENGTH:
        snprintf(number.text, sizeof number.text, "%.0f", value);
        return number;
    case PLOT_PLAIN:
        break;
    }
    return number_plain(value);
}

static void write_value(FILE *to, const struct plot_axis *axis, double value) {
    const int64_t n = (int64_t)value;
    if (axis->names != NULL && n >= 0 && n < axis->name_count)
        print_html(to, "<td class=\"t\">%s</td>", axis->names[n]);
    else
        fprintf(to, "<td>%s</td>", number_of(axis, value).text);
}

void html_figure_begin(FILE *to, const struct plot *plot, void (*key)(FILE *to)) {
    fprintf(to, "<figure%s>", plot->width > 600 ? " class=\"wide\"" : "");
    print_html(to, "<figcaption>%s<span>%s</span></figcaption>\n", plot->title, plot->note);
    if (plot->svg != NULL) fprintf(to, "<div class=\"scroll\">%s</div>\n", plot->svg);
    if (plot->svg != NULL && key != NULL)
        key(to);
    else if (plot->svg != NULL)
        plot_key(to, plot);
    fputs("<details><summary>its numbers</summary>\n", to);
}

void html_figure_end(FILE *to) {
    fputs("</details></figure>\n", to);
}

static void write_point(FILE *to, const struct plot *plot, const struct plot_series *series,
                        const struct plot_point *point, bool intervals) {
    fputs("<tr>", to);
    if (plot->name_title != NULL) print_html(to, "<td>%s</td>", series->name);
    if (plot->label_title != NULL)
        print_html(to, "<td class=\"t\"><code>%s</code></td>",
                   point->label != NULL ? point->label : "");
    write_value(to, &plot->x, point->x);
    if (intervals)
        fprintf(to, "<td>%s</td><td>%s</td>", number_of(&plot->x, point->low).text,
                number_of(&plot->x, point->high).text);
    write_value(to, series->second ? &plot->second : &plot->y, point->y);
    if (plot->value_title != NULL) fprintf(to, "<td>%s</td>", number_plain(point->low).text);
    fputs("</tr>\n", to);
}

void html_figure(FILE *to, const struct album *album, int64_t number) {
    if (number < 0) return;
    const struct plot *plot = album->plots[number];
    struct html_column columns[7];
    int count = 0;
    bool intervals = false;
    for (int64_t n = 0; n < plot->series_count; n++)
        intervals = intervals || plot->series[n].style == PLOT_INTERVALS;
    if (plot->name_title != NULL)
        columns[count++] = (struct html_column){plot->name_title, NULL, true};
    if (plot->label_title != NULL)
        columns[count++] = (struct html_column){plot->label_title, NULL, true};
    columns[count++] = (struct html_column){plot->x.title, NULL, plot->x.names != NULL};
    if (intervals) {
        columns[count++] = (struct html_column){"from", NULL, false};
        columns[count++] = (struct html_column){"to", NULL, false};
    }
    columns[count++] = (struct html_column){plot->y.title, NULL, plot->y.names != NULL};
    if (plot->value_title != NULL)
        columns[count++] = (struct html_column){plot->value_title, NULL, false};
    html_figure_begin(to, plot, NULL);
    html_table(to, columns, count);
    int64_t rows = 0;
    const int64_t all = plot_points(plot);
    for (int64_t n = 0; n < plot->series_count; n++)
        for (int64_t m = 0; m < plot->series[n].count && rows < HTML_ROWS_MOST; m++, rows++)
            write_point(to, plot, &plot->series[n], &plot->series[n].points[m], intervals);
    html_table_end(to);
    if (all > rows)
        fprintf(to,
                "<p class=\"soft\">%lld more are in run.jsonl, and on the kernels' pages.</p>\n",
                (long long)(all - rows));
    html_figure_end(to);
}
