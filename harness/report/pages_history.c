/* Kernels over runs. Of a run only what the pages need is kept, so that many runs fit into memory:
 * one at a time is read. Times on devices of different kinds are on lines of their own, hosts of
 * one kind beside each other. */
#define _GNU_SOURCE
#include "pages.h"
#include "history.h"
#include "hosts.h"
#include "html.h"
#include "pictures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LINES_MOST = 8 }; /* problems in the picture of a kernel */

struct moment { /* a run */
    const struct history_run *run;
    int64_t right, failed;
};
struct trace { /* a row of a run */
    const char *kernel, *variant, *problem;
    const char *kind;     /* what it ran on (host_kind) */
    const char *regime;   /* as in struct row */
    int64_t moment, host; /* their places */
    double us, rho;       /* us NaN: not timed, or wrong */
    double control_us;    /* NaN: not known */
    bool failed, refused;
};
struct chronicle {
    struct history history;
    struct moment *moments; /* of its runs */
    int64_t moment_count;
    struct hosts hosts;
    struct trace *traces; /* by kernel, problem and time */
    int64_t trace_count, trace_room;
    struct album album;
    int64_t times[ATTN_VARIANT_COUNT];
};

static void *grown(void *memory, int64_t count, int64_t *room, size_t bytes) {
    if (count < *room) return memory;
    *room = 2 * *room + 64;
    memory = realloc(memory, (size_t)*room * bytes);
    if (memory == NULL) abort();
    return memory;
}

static void chronicle_free(struct chronicle *chronicle) {
    free(chronicle->moments);
    free(chronicle->traces);
    hosts_free(&chronicle->hosts);
    album_free(&chronicle->album);
    history_free(&chronicle->history);
}

/* Reading */

static void add_trace(struct chronicle *chronicle, const struct row_place *place, int64_t moment) {
    const struct machine *machine = &chronicle->moments[moment].run->machine;
    const struct row *row = place->row;
    char problem[PROBLEM_LINE_BYTES + 48];
    if (!strcmp(row->device, "anchor")) return;
    snprintf(problem, sizeof problem, "%s~%s", row->line, place->digest);
    const bool failed = row_is_failure(row), refused = row_is_refused(row);
    chronicle->traces = grown(chronicle->traces, chronicle->trace_count, &chronicle->trace_room,
                              sizeof *chronicle->traces);
    chronicle->traces[chronicle->trace_count++] = (struct trace){
        .kernel = text_kept(row->kernel),
        .variant = text_kept(row->variant),
        .problem = text_kept(problem),
        .kind = host_kind(machine, row),
        .regime = text_kept(row->regime),
        .moment = moment,
        .host = hosts_add(&chronicle->hosts, machine, row),
        .us = !failed && !refused && row->warm.n > 0 ? row->warm.median_us : NAN,
        .rho = row->deviation.elements > 0 ? row->deviation.rho_block : NAN,
        .control_us = timing_control_us(&row->warm),
        .failed = failed,
        .refused = refused,
    };
    chronicle->moments[moment].failed += failed;
    chronicle->moments[moment].right += !failed && !refused;
}

static bool read_run(struct chronicle *chronicle, int64_t moment, struct fault *fault) {
    struct run run;
    struct row_set set;
    if (!run_read(&run, chronicle->moments[moment].run->path, fault)) return false;
    const bool well = row_set_make(&set, &run, fault);
    for (int64_t n = 0; well && n < set.count; n++) add_trace(chronicle, &set.places[n], moment);
    row_set_free(&set);
    run_free(&run);
    return well;
}

static int trace_order(const void *left, const void *right) {
    const struct trace *a = left, *b = right;
    int order = strcmp(a->kernel, b->kernel);
    if (order == 0) order = strcmp(a->problem, b->problem);
    return order != 0 ? order : (a->moment > b->moment) - (a->moment < b->moment);
}

static bool read_runs(struct chronicle *chronicle, struct fault *fault) {
    bool well = true;
    chronicle->moment_count = chronicle->history.count;
    chronicle->moments = allocate_or_abort(chronicle->moment_count, sizeof *chronicle->moments);
    for (int64_t n = 0; well && n < chronicle->moment_count; n++) {
        chronicle->moments[n] = (struct moment){.run = &chronicle->history.runs[n]};
        well = read_run(chronicle, n, fault);
    }
    if (well && chronicle->trace_count > 0)
        qsort(chronicle->traces, (size_t)chronicle->trace_count, sizeof *chronicle->traces,
              trace_order);
    if (well) hosts_settle(&chronicle->hosts);
    return well;
}

/* A kernel: its traces, and what each run has of it */

struct standing {
    int64_t right, failed, refused, ratios;
    double log_sum, rho;       /* ratios: to the first time on such a device */
    const struct trace *trace; /* one of them; NULL: none */
};

static int64_t kernel_end(const struct chronicle *chronicle, int64_t begin) {
    int64_t end = begin;
    while (end < chronicle->trace_count &&
           strcmp(chronicle->traces[begin].kernel, chronicle->traces[end].kernel) == 0)
        end++;
    return end;
}

static bool are_comparable(const struct trace *a, const struct trace *b) {
    return strcmp(a->problem, b->problem) == 0 && strcmp(a->kind, b->kind) == 0 &&
           isfinite(a->us) && isfinite(b->us) &&
           (*a->regime == '\0' || *b->regime == '\0' || strcmp(a->regime, b->regime) == 0);
}

/* The first timing of a problem on a device such as that of `trace`, and in its regime if both are
 * known. */
static const struct trace *first_of(const struct chronicle *chronicle, int64_t begin, int64_t end,
                                    const struct trace *trace) {
    for (int64_t n = begin; n < end; n++) {
        if (are_comparable(&chronicle->traces[n], trace)) return &chronicle->traces[n];
    }
    return NULL;
}

/* The timing before that; NULL: there is none. `first` is the kernel's. */
static const struct trace *previous_of(const struct trace *first, const struct trace *trace) {
    for (const struct trace *at = trace; at > first && !strcmp(at[-1].problem, trace->problem);) {
        at--;
        if (at->moment < trace->moment && are_comparable(at, trace)) return at;
    }
    return NULL;
}

static void stand(const struct chronicle *chronicle, int64_t begin, int64_t end,
                  struct standing *standings) {
    for (int64_t n = 0; n < chronicle->moment_count; n++)
        standings[n] = (struct standing){.rho = NAN};
    for (int64_t problem = begin, n = begin; n < end; n++) {
        const struct trace *trace = &chronicle->traces[n];
        struct standing *standing = &standings[trace->moment];
        if (strcmp(chronicle->traces[problem].problem, trace->problem) != 0) problem = n;
        standing->failed += trace->failed;
        standing->refused += trace->refused;
        standing->right += !trace->failed && !trace->refused;
        standing->rho = fmax(standing->rho, trace->rho);
        standing->trace = trace;
        if (!isfinite(trace->us)) continue;
        standing->log_sum += log(trace->us / first_of(chronicle, problem, n + 1, trace)->us);
        standing->ratios++;
    }
}

static double ratio_of(const struct standing *standing) {
    return standing->ratios > 0 ? exp(standing->log_sum / (double)standing->ratios) : NAN;
}

/* Pictures */

/* The series of a kernel on a kind of device, which is told where there are several. */
static void series_name(char name[96], const struct chronicle *chronicle,
                        const struct trace *trace) {
    bool several = false;
    for (int64_t n = 1; n < chronicle->hosts.count && !several; n++)
        several = strcmp(chronicle->hosts.list[n].kind, chronicle->hosts.list[0].kind) != 0;
    if (several)
        snprintf(name, 96, "%.50s, %.40s", trace->kernel, trace->kind);
    else
        snprintf(name, 96, "%.95s", trace->kernel);
}

static void add_kernel(struct plot *plot, const struct chronicle *chronicle, int64_t begin,
                       int64_t end, struct standing *standings) {
    char name[96];
    stand(chronicle, begin, end, standings);
    for (int64_t n = 0; n < chronicle->moment_count; n++) {
        const double ratio = ratio_of(&standings[n]);
        if (!isfinite(ratio)) continue;
        series_name(name, chronicle, standings[n].trace);
        plot_add(plot_series(plot, name, PLOT_LINES),
                 (struct plot_point){.x = (double)n + 1,
                                     .y = ratio,
                                     .label = chronicle->moments[n].run->machine.time});
    }
}

static void frame(struct plot *plot, const struct chronicle *chronicle, const char *title) {
    snprintf(plot->title, sizeof plot->title, "%s: time over the runs", title);
    plot->name_title = "kernel";
    plot->label_title = "made";
    plot->x = (struct plot_axis){.title = "run",
                                 .unit = PLOT_LENGTH,
                                 .least = 0.5,
                                 .most = (double)chronicle->moment_count + 0.5};
    plot->y = (struct plot_axis){.title = "time over the first run's"};
}

/* One run is no history. */
static bool is_a_course(const struct plot *plot) {
    for (int64_t n = 0; n < plot->series_count; n++)
        if (plot->series[n].count > 1) return true;
    return false;
}

static int64_t plan_variant(struct chronicle *chronicle, const char *variant,
                            struct standing *standings) {
    struct plot *plot = album_begin(&chronicle->album);
    for (int64_t begin = 0, end; begin < chronicle->trace_count; begin = end) {
        end = kernel_end(chronicle, begin);
        if (strcmp(chronicle->traces[begin].variant, variant) == 0)
            add_kernel(plot, chronicle, begin, end, standings);
    }
    frame(plot, chronicle, variant);
    snprintf(plot->note, sizeof plot->note,
             "Warm medians over those of the first run on such a device, geometric mean over the "
             "problems of both; below 1 is faster.");
    return album_end(&chronicle->album, is_a_course(plot));
}

/* The problems of a kernel that most runs have. */
static int64_t plan_kernel(struct chronicle *chronicle, int64_t begin, int64_t end) {
    struct plot *plot = album_begin(&chronicle->album);
    int64_t taken = 0;
    for (int64_t least = chronicle->moment_count; least > 0 && taken < LINES_MOST; least--) {
        for (int64_t from = begin, to; from < end && taken < LINES_MOST; from = to) {
            const struct trace *traces = chronicle->traces;
            int64_t timed = 0;
            for (to = from; to < end && !strcmp(traces[from].problem, traces[to].problem); to++)
                timed += isfinite(traces[to].us);
            if (timed != least) continue;
            taken++;
            for (int64_t n = from; n < to; n++)
                plot_add(plot_series(plot, traces[n].problem, PLOT_LINES),
                         (struct plot_point){
                             .x = (double)traces[n].moment + 1,
                             .y = traces[n].us,
                             .label = chronicle->moments[traces[n].moment].run->machine.time});
        }
    }
    frame(plot, chronicle, chronicle->traces[begin].kernel);
    snprintf(plot->note, sizeof plot->note, "Warm medians of the problems that most runs have.");
    for (int64_t n = 0; n < plot->series_count; n++) /* without the digest */
        plot->series[n].name[strcspn(plot->series[n].name, "~")] = '\0';
    plot->name_title = "problem";
    plot->y = (struct plot_axis){.title = "time", .unit = PLOT_TIME_US, .log = true};
    return album_end(&chronicle->album, is_a_course(plot));
}

/* Pages */

static const struct html_column run_columns[] = {
    {"run", NULL, false},    {"made", "UTC", true},         {"commit", NULL, true},
    {"host", NULL, true},    {"machine", NULL, true},       {"right", "rows", false},
    {"failed", NULL, false}, {"what was read", NULL, true},
};

static void write_runs(FILE *to, const struct chronicle *chronicle) {
    fputs("<h2 id=\"runs\">The runs</h2>\n", to);
    html_table(to, run_columns, sizeof run_columns / sizeof run_columns[0]);
    for (int64_t n = 0; n < chronicle->moment_count; n++) {
        const struct moment *moment = &chronicle->moments[n];
        const struct machine *machine = &moment->run->machine;
        print_html(to,
                   "<tr><td>%lld</td><td class=\"t\">%s</td><td class=\"t\">%.12s</td>"
                   "<td class=\"t\">%s</td><td class=\"t\">%s, %lld cores%s%s</td>",
                   (long long)n + 1, machine->time, machine->commit, machine->host, machine->cpu,
                   (long long)machine->cores, machine->device_count > 0 ? ", " : "",
                   machine->device_count > 0 ? machine->device : "");
        print_html(to, "<td>%lld</td><td>%lld</td><td class=\"t\">%s</td></tr>\n",
                   (long long)moment->right, (long long)moment->failed, moment->run->path);
    }
    html_table_end(to);
}

static const struct html_column standing_columns[] = {
    {"run", NULL, true},
    {"made", "UTC", true},
    {"right", "rows", false},
    {"failed", NULL, false},
    {"refused", NULL, false},
    {"rho", "worst block; 1 is what an honest kernel has", false},
    {"time", "over the first run's on such a device", false},
    {"problems", "that this is of", false},
    {"host", "and by what it is slower than its like", true},
};

/* "node3", "node4 cuda:0: reading is slower by 6 %". */
static void write_host(FILE *to, const struct chronicle *chronicle, const struct trace *trace) {
    const struct host *host = &chronicle->hosts.list[trace->host];
    print_html(to, "<td class=\"t\">%s%s%s</td>", host->name, host->slower[0] != '\0' ? ": " : "",
               host->slower);
}

static bool write_kernel(const struct html_folder *folder, const struct chronicle *chronicle,
                         const char *page, int64_t begin, const struct standing *standings,
                         int64_t picture, struct fault *fault) {
    const char *kernel = chronicle->traces[begin].kernel;
    FILE *to = html_page(folder, page, kernel, "index.html", fault);
    if (to == NULL) return false;
    print_html(to, "<h1>%s over the runs</h1>\n", kernel);
    html_figure(to, &chronicle->album, picture);
    html_table(to, standing_columns, sizeof standing_columns / sizeof standing_columns[0]);
    for (int64_t n = 0; n < chronicle->moment_count; n++) {
        const struct standing *standing = &standings[n];
        if (standing->right + standing->failed + standing->refused == 0) continue;
        print_html(
            to, "<tr><td>%lld</td><td class=\"t\">%s</td><td>%lld</td><td>%lld</td><td>%lld</td>",
            (long long)n + 1, chronicle->moments[n].run->machine.time, (long long)standing->right,
            (long long)standing->failed, (long long)standing->refused);
        fprintf(to, "<td>%s</td><td>%s</td><td>%lld</td>", number_plain(standing->rho).text,
                number_plain(ratio_of(standing)).text, (long long)standing->ratios);
        write_host(to, chronicle, standing->trace);
        fputs("</tr>\n", to);
    }
    html_table_end(to);
    return html_page_end(to, folder, fault);
}

static void write_headline(FILE *to, const struct chronicle *chronicle) {
    const struct moment *last = &chronicle->moments[chronicle->moment_count - 1];
    fprintf(to, "<h1>%s", number_count(chronicle->moment_count, "run").text);
    print_html(to, ", the last of %s: ", last->run->machine.time);
    if (last->failed > 0)
        fprintf(to, "%lld wrong of %s there.</h1>\n", (long long)last->failed,
                number_count(last->failed + last->right, "row").text);
    else
        fprintf(to, "all %s right there.</h1>\n", number_count(last->right, "row").text);
}

/* The last run of a kernel on a kind of device, beside the times before it there. */
struct latest {
    const struct trace *trace; /* one of the run; NULL: none was timed there */
    int64_t ratios, controls;
    double log_sum, control_log_sum;
};

static struct latest latest_on(const struct chronicle *chronicle, int64_t begin, int64_t end,
                               const char *kind) {
    struct latest latest = {0};
    const struct trace *traces = chronicle->traces;
    for (int64_t n = begin; n < end; n++) {
        if (isfinite(traces[n].us) && strcmp(traces[n].kind, kind) == 0 &&
            (latest.trace == NULL || traces[n].moment > latest.trace->moment))
            latest.trace = &traces[n];
    }
    for (int64_t n = begin; latest.trace != NULL && n < end; n++) {
        const struct trace *trace = &traces[n], *before;
        if (trace->moment != latest.trace->moment || strcmp(trace->kind, kind) != 0) continue;
        if ((before = previous_of(&traces[begin], trace)) == NULL) continue;
        latest.log_sum += log(trace->us / before->us);
        latest.ratios++;
        if (!isfinite(trace->control_us / before->control_us)) continue;
        latest.control_log_sum += log(trace->control_us / before->control_us);
        latest.controls++;
    }
    return latest;
}

static double mean_of(double log_sum, int64_t count) {
    return count > 0 ? exp(log_sum / (double)count) : NAN;
}

static const struct html_column latest_columns[] = {
    {"kernel", NULL, true},
    {"device", NULL, true},
    {"last run", "with a time there", false},
    {"made", "UTC", true},
    {"time", "over the one before it on such a device, whichever host's", false},
    {"control", "over that beside it", false},
    {"problems", "that this is of", false},
    {"host", "and by what it is slower than its like", true},
};

static void write_latest(FILE *to, const struct chronicle *chronicle, const char *page,
                         const struct latest *latest) {
    const struct trace *trace = latest->trace;
    print_html(to,
               "<tr><td class=\"t\"><a href=\"%s\">%s</a></td><td class=\"t\">%s</td>"
               "<td>%lld</td><td class=\"t\">%s</td>",
               page, trace->kernel, trace->kind, (long long)trace->moment + 1,
               chronicle->moments[trace->moment].run->machine.time);
    fprintf(to, "<td>%s</td><td>%s</td><td>%lld</td>",
            number_plain(mean_of(latest->log_sum, latest->ratios)).text,
            number_plain(mean_of(latest->control_log_sum, latest->controls)).text,
            (long long)latest->ratios);
    write_host(to, chronicle, trace);
    fputs("</tr>\n", to);
}

static void write_kernels(FILE *to, const struct chronicle *chronicle) {
    fputs("<h2 id=\"kernels\">The kernels</h2>\n", to);
    html_table(to, latest_columns, sizeof latest_columns / sizeof latest_columns[0]);
    int64_t number = 0;
    for (int64_t begin = 0, end; begin < chronicle->trace_count; begin = end) {
        char page[HTML_NAME_BYTES];
        bool any = false;
        end = kernel_end(chronicle, begin);
        html_kernel_page(page, chronicle->traces[begin].kernel, number++);
        for (int64_t n = 0; n < chronicle->hosts.count; n++) {
            const char *kind = chronicle->hosts.list[n].kind;
            const struct latest latest = latest_on(chronicle, begin, end, kind);
            bool told = latest.trace == NULL;
            for (int64_t m = 0; m < n; m++)
                told = told || strcmp(chronicle->hosts.list[m].kind, kind) == 0;
            if (!told) write_latest(to, chronicle, page, &latest);
            any = any || latest.trace != NULL;
        }
        if (!any)
            print_html(to, "<tr><td class=\"t\"><a href=\"%s\">%s</a></td></tr>\n", page,
                       chronicle->traces[begin].kernel);
    }
    html_table_end(to);
}

static const struct html_column host_columns[] = {
    {"host", NULL, true},
    {"device", NULL, true},
    {"control", "over that of the others of its kind", false},
    {"reading", "its rate over theirs", false},
    {"arithmetic", "its rate over theirs", false},
    {"others", "of its kind", false},
    {"slower than its like", "by more than 3 %", true},
};

static void write_hosts(FILE *to, const struct chronicle *chronicle) {
    fputs("<h2 id=\"hosts\">The hosts</h2>\n", to);
    html_table(to, host_columns, sizeof host_columns / sizeof host_columns[0]);
    for (int64_t n = 0; n < chronicle->hosts.count; n++) {
        const struct host *host = &chronicle->hosts.list[n];
        print_html(to, "<tr><td class=\"t\">%s</td><td class=\"t\">%s</td>", host->name,
                   host->kind);
        fprintf(to, "<td>%s</td><td>%s</td><td>%s</td><td>%lld</td>",
                number_plain(host->control_ratio).text, number_plain(host->read_ratio).text,
                number_plain(host->flops_ratio).text, (long long)host->others);
        print_html(to, "<td class=\"t\">%s</td></tr>\n", host->slower);
    }
    html_table_end(to);
}

static bool write_index(const struct html_folder *folder, const struct chronicle *chronicle,
                        struct fault *fault) {
    FILE *to = html_page(folder, "index.html", "History", NULL, fault);
    if (to == NULL) return false;
    write_headline(to, chronicle);
    if (chronicle->album.count == 0)
        fputs("<p>No kernel was timed twice on one kind of device, so there is no course to "
              "show.</p>\n",
              to);
    fputs("<div class=\"pictures\">\n", to);
    for (int n = 0; n < ATTN_VARIANT_COUNT; n++)
        html_figure(to, &chronicle->album, chronicle->times[n]);
    fputs("</div>\n", to);
    write_kernels(to, chronicle);
    write_hosts(to, chronicle);
    write_runs(to, chronicle);
    return html_page_end(to, folder, fault);
}

static bool write_pages(const struct html_folder *folder, struct chronicle *chronicle,
                        struct fault *fault) {
    struct standing *standings = allocate_or_abort(chronicle->moment_count, sizeof *standings);
    int64_t *pictures = allocate_or_abort(chronicle->trace_count, sizeof *pictures), number = 0;
    for (int n = 0; n < ATTN_VARIANT_COUNT; n++)
        chronicle->times[n] = plan_variant(chronicle, variant_name(n), standings);
    for (int64_t begin = 0, end; begin < chronicle->trace_count; begin = end) {
        end = kernel_end(chronicle, begin);
        pictures[number++] = plan_kernel(chronicle, begin, end);
    }
    album_draw(&chronicle->album, folder->temporary);
    bool well = write_index(folder, chronicle, fault);
    number = 0;
    for (int64_t begin = 0, end; well && begin < chronicle->trace_count; begin = end, number++) {
        char page[HTML_NAME_BYTES];
        end = kernel_end(chronicle, begin);
        html_kernel_page(page, chronicle->traces[begin].kernel, number);
        stand(chronicle, begin, end, standings);
        well = write_kernel(folder, chronicle, page, begin, standings, pictures[number], fault);
    }
    free(standings);
    free(pictures);
    return well;
}

bool pages_history(const char *path, const char *const *runs, int64_t count, struct fault *fault) {
    struct chronicle chronicle = {0};
    struct html_folder folder = {0};
    bool well = true;
    for (int64_t n = 0; well && n < count; n++)
        well = history_add(&chronicle.history, runs[n], fault);
    well = well && read_runs(&chronicle, fault) && html_begin(&folder, path, fault) &&
           write_pages(&folder, &chronicle, fault) && html_commit(&folder, fault);
    html_abort(&folder);
    chronicle_free(&chronicle);
    return well;
}
