/* Kernels over runs. Of a run only what the pages need is kept, so that many runs fit into memory:
 * one at a time is read. Times of different machines are on lines of their own. */
#define _GNU_SOURCE
#include "pages.h"
#include "html.h"
#include "pictures.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LINES_MOST = 8 }; /* problems in the picture of a kernel */

struct moment { /* a run; texts are text_kept */
    const char *path, *time, *commit, *machine;
    int64_t right, failed;
};
struct trace { /* a row of a run */
    const char *kernel, *variant, *problem;
    const char *regime; /* as in struct row */
    int64_t moment;
    double us, rho; /* us NaN: not timed, or wrong */
    bool failed, refused;
};
struct history {
    struct moment *moments;
    int64_t moment_count, moment_room;
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

static void history_free(struct history *history) {
    free(history->moments);
    free(history->traces);
    album_free(&history->album);
}

/* Reading */

static void add_trace(struct history *history, const struct row_place *place, int64_t moment) {
    const struct row *row = place->row;
    char problem[PROBLEM_LINE_BYTES + 48];
    if (!strcmp(row->device, "anchor")) return;
    snprintf(problem, sizeof problem, "%s~%s", row->line, place->digest);
    const bool failed = row_is_failure(row), refused = row_is_refused(row);
    history->traces =
        grown(history->traces, history->trace_count, &history->trace_room, sizeof *history->traces);
    history->traces[history->trace_count++] = (struct trace){
        .kernel = text_kept(row->kernel),
        .variant = text_kept(row->variant),
        .problem = text_kept(problem),
        .regime = text_kept(row->regime),
        .moment = moment,
        .us = !failed && !refused && row->warm.n > 0 ? row->warm.median_us : NAN,
        .rho = row->deviation.elements > 0 ? row->deviation.rho_block : NAN,
        .failed = failed,
        .refused = refused,
    };
    history->moments[moment].failed += failed;
    history->moments[moment].right += !failed && !refused;
}

static bool add_run(struct history *history, const char *path, struct fault *fault) {
    struct run run;
    struct row_set set;
    char machine[512];
    if (!run_read(&run, path, fault)) return false;
    const struct machine *made_on = &run.machine;
    snprintf(machine, sizeof machine, "%s, %lld cores%s%s", made_on->cpu, (long long)made_on->cores,
             made_on->device_count > 0 ? ", " : "",
             made_on->device_count > 0 ? made_on->device : "");
    history->moments = grown(history->moments, history->moment_count, &history->moment_room,
                             sizeof *history->moments);
    history->moments[history->moment_count] = (struct moment){.path = text_kept(path),
                                                              .time = text_kept(made_on->time),
                                                              .commit = text_kept(made_on->commit),
                                                              .machine = text_kept(machine)};
    const bool well = row_set_make(&set, &run, fault);
    for (int64_t n = 0; well && n < set.count; n++)
        add_trace(history, &set.places[n], history->moment_count);
    history->moment_count++;
    row_set_free(&set);
    run_free(&run);
    return well;
}

static bool is_run(const char *path) {
    char inside[4096 + 16];
    struct stat status;
    if (stat(path, &status) != 0) return false;
    if (!S_ISDIR(status.st_mode))
        return strlen(path) > 6 && !strcmp(path + strlen(path) - 6, ".jsonl");
    snprintf(inside, sizeof inside, "%s/run.jsonl", path);
    return stat(inside, &status) == 0;
}

/* A run, or a folder with runs in it; what cannot be read there is left out, and said. */
static bool add_path(struct history *history, const char *path, struct fault *fault) {
    struct stat status;
    const int64_t before = history->moment_count;
    if (is_run(path) || stat(path, &status) != 0 || !S_ISDIR(status.st_mode))
        return add_run(history, path, fault);
    DIR *folder = opendir(path);
    if (folder == NULL)
        return fault_set(fault, FAULT_INPUT, "cannot open '%.900s': %s", path, strerror(errno));
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char inside[4096 + 300];
        struct fault unread;
        snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] == '.' || !is_run(inside)) continue;
        if (!add_run(history, inside, &unread)) fault_say("%s; left out", unread.text);
    }
    closedir(folder);
    return history->moment_count > before ||
           fault_set(fault, FAULT_INPUT, "'%.900s' is no run and holds none", path);
}

static int moment_order(const void *left, const void *right, void *moments) {
    const struct moment *a = (struct moment *)moments + *(const int64_t *)left;
    const struct moment *b = (struct moment *)moments + *(const int64_t *)right;
    const int order = strcmp(a->time, b->time);
    return order != 0 ? order : strcmp(a->path, b->path);
}

static int trace_order(const void *left, const void *right) {
    const struct trace *a = left, *b = right;
    int order = strcmp(a->kernel, b->kernel);
    if (order == 0) order = strcmp(a->problem, b->problem);
    return order != 0 ? order : (a->moment > b->moment) - (a->moment < b->moment);
}

/* Runs by their time, rows by kernel, problem and time. */
static void arrange(struct history *history) {
    const int64_t count = history->moment_count;
    int64_t *order = allocate_or_abort(count, sizeof *order);
    int64_t *place = allocate_or_abort(count, sizeof *place);
    struct moment *moments = allocate_or_abort(count, sizeof *moments);
    for (int64_t n = 0; n < count; n++) order[n] = n;
    qsort_r(order, (size_t)count, sizeof *order, moment_order, history->moments);
    for (int64_t n = 0; n < count; n++) {
        moments[n] = history->moments[order[n]];
        place[order[n]] = n;
    }
    for (int64_t n = 0; n < history->trace_count; n++)
        history->traces[n].moment = place[history->traces[n].moment];
    free(history->moments);
    history->moments = moments;
    history->moment_room = count;
    free(order);
    free(place);
    if (history->trace_count > 0)
        qsort(history->traces, (size_t)history->trace_count, sizeof *history->traces, trace_order);
}

/* A kernel: its traces, and what each run has of it */

struct standing {
    int64_t right, failed, refused, ratios;
    double log_sum, rho; /* ratios: to the first time on such a machine */
};

static int64_t kernel_end(const struct history *history, int64_t begin) {
    int64_t end = begin;
    while (end < history->trace_count &&
           strcmp(history->traces[begin].kernel, history->traces[end].kernel) == 0)
        end++;
    return end;
}

/* The first timing of a problem on the machine of `trace`, and in its regime if both are known. */
static const struct trace *first_of(const struct history *history, int64_t begin, int64_t end,
                                    const struct trace *trace) {
    const char *machine = history->moments[trace->moment].machine;
    for (int64_t n = begin; n < end; n++) {
        const struct trace *other = &history->traces[n];
        if (strcmp(other->problem, trace->problem) == 0 && isfinite(other->us) &&
            strcmp(history->moments[other->moment].machine, machine) == 0 &&
            (*other->regime == '\0' || *trace->regime == '\0' ||
             strcmp(other->regime, trace->regime) == 0))
            return other;
    }
    return NULL;
}

static void stand(const struct history *history, int64_t begin, int64_t end,
                  struct standing *standings) {
    for (int64_t n = 0; n < history->moment_count; n++)
        standings[n] = (struct standing){.rho = NAN};
    for (int64_t problem = begin, n = begin; n < end; n++) {
        const struct trace *trace = &history->traces[n];
        struct standing *standing = &standings[trace->moment];
        if (strcmp(history->traces[problem].problem, trace->problem) != 0) problem = n;
        standing->failed += trace->failed;
        standing->refused += trace->refused;
        standing->right += !trace->failed && !trace->refused;
        standing->rho = fmax(standing->rho, trace->rho);
        if (!isfinite(trace->us)) continue;
        standing->log_sum += log(trace->us / first_of(history, problem, n + 1, trace)->us);
        standing->ratios++;
    }
}

static double ratio_of(const struct standing *standing) {
    return standing->ratios > 0 ? exp(standing->log_sum / (double)standing->ratios) : NAN;
}

/* Pictures */

/* The series of a kernel on a machine: machines are told where there are several. */
static void series_name(char name[96], const struct history *history, const char *kernel,
                        int64_t moment) {
    bool several = false;
    for (int64_t n = 1; n < history->moment_count; n++)
        several = several || strcmp(history->moments[n].machine, history->moments[0].machine) != 0;
    if (several)
        snprintf(name, 96, "%.50s, %.40s", kernel, history->moments[moment].machine);
    else
        snprintf(name, 96, "%.95s", kernel);
}

static void add_kernel(struct plot *plot, const struct history *history, int64_t begin, int64_t end,
                       struct standing *standings) {
    char name[96];
    stand(history, begin, end, standings);
    for (int64_t n = 0; n < history->moment_count; n++) {
        const double ratio = ratio_of(&standings[n]);
        if (!isfinite(ratio)) continue;
        series_name(name, history, history->traces[begin].kernel, n);
        plot_add(
            plot_series(plot, name, PLOT_LINES),
            (struct plot_point){.x = (double)n + 1, .y = ratio, .label = history->moments[n].time});
    }
}

static void frame(struct plot *plot, const struct history *history, const char *title) {
    snprintf(plot->title, sizeof plot->title, "%s: time over the runs", title);
    plot->name_title = "kernel";
    plot->label_title = "made";
    plot->x = (struct plot_axis){.title = "run",
                                 .unit = PLOT_LENGTH,
                                 .least = 0.5,
                                 .most = (double)history->moment_count + 0.5};
    plot->y = (struct plot_axis){.title = "time over the first run's"};
}

/* One run is no history. */
static bool is_a_course(const struct plot *plot) {
    for (int64_t n = 0; n < plot->series_count; n++)
        if (plot->series[n].count > 1) return true;
    return false;
}

static int64_t plan_variant(struct history *history, const char *variant,
                            struct standing *standings) {
    struct plot *plot = album_begin(&history->album);
    for (int64_t begin = 0, end; begin < history->trace_count; begin = end) {
        end = kernel_end(history, begin);
        if (strcmp(history->traces[begin].variant, variant) == 0)
            add_kernel(plot, history, begin, end, standings);
    }
    frame(plot, history, variant);
    snprintf(plot->note, sizeof plot->note,
             "Warm medians over those of the first run on such a machine, geometric mean over the "
             "problems of both; below 1 is faster.");
    return album_end(&history->album, is_a_course(plot));
}

/* The problems of a kernel that most runs have. */
static int64_t plan_kernel(struct history *history, int64_t begin, int64_t end) {
    struct plot *plot = album_begin(&history->album);
    int64_t taken = 0;
    for (int64_t least = history->moment_count; least > 0 && taken < LINES_MOST; least--) {
        for (int64_t from = begin, to; from < end && taken < LINES_MOST; from = to) {
            const struct trace *traces = history->traces;
            int64_t timed = 0;
            for (to = from; to < end && !strcmp(traces[from].problem, traces[to].problem); to++)
                timed += isfinite(traces[to].us);
            if (timed != least) continue;
            taken++;
            for (int64_t n = from; n < to; n++)
                plot_add(plot_series(plot, traces[n].problem, PLOT_LINES),
                         (struct plot_point){.x = (double)traces[n].moment + 1,
                                             .y = traces[n].us,
                                             .label = history->moments[traces[n].moment].time});
        }
    }
    frame(plot, history, history->traces[begin].kernel);
    snprintf(plot->note, sizeof plot->note, "Warm medians of the problems that most runs have.");
    for (int64_t n = 0; n < plot->series_count; n++) /* without the digest */
        plot->series[n].name[strcspn(plot->series[n].name, "~")] = '\0';
    plot->name_title = "problem";
    plot->y = (struct plot_axis){.title = "time", .unit = PLOT_TIME_US, .log = true};
    return album_end(&history->album, is_a_course(plot));
}

/* Pages */

static const struct html_column run_columns[] = {
    {"run", NULL, false},          {"made", "UTC", true},    {"commit", NULL, true},
    {"machine", NULL, true},       {"right", "rows", false}, {"failed", NULL, false},
    {"what was read", NULL, true},
};

static void write_runs(FILE *to, const struct history *history) {
    fputs("<h2 id=\"runs\">The runs</h2>\n", to);
    html_table(to, run_columns, sizeof run_columns / sizeof run_columns[0]);
    for (int64_t n = 0; n < history->moment_count; n++) {
        const struct moment *moment = &history->moments[n];
        print_html(
            to,
            "<tr><td>%lld</td><td class=\"t\">%s</td><td class=\"t\">%.12s</td>"
            "<td class=\"t\">%s</td><td>%lld</td><td>%lld</td><td class=\"t\">%s</td></tr>\n",
            (long long)n + 1, moment->time, moment->commit, moment->machine,
            (long long)moment->right, (long long)moment->failed, moment->path);
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
    {"time", "over the first run's on such a machine", false},
    {"problems", "that this is of", false},
};

static bool write_kernel(const struct html_folder *folder, const struct history *history,
                         const char *page, int64_t begin, const struct standing *standings,
                         int64_t picture, struct fault *fault) {
    const char *kernel = history->traces[begin].kernel;
    FILE *to = html_page(folder, page, kernel, "index.html", fault);
    if (to == NULL) return false;
    print_html(to, "<h1>%s over the runs</h1>\n", kernel);
    html_figure(to, &history->album, picture);
    html_table(to, standing_columns, sizeof standing_columns / sizeof standing_columns[0]);
    for (int64_t n = 0; n < history->moment_count; n++) {
        const struct standing *standing = &standings[n];
        if (standing->right + standing->failed + standing->refused == 0) continue;
        print_html(
            to, "<tr><td>%lld</td><td class=\"t\">%s</td><td>%lld</td><td>%lld</td><td>%lld</td>",
            (long long)n + 1, history->moments[n].time, (long long)standing->right,
            (long long)standing->failed, (long long)standing->refused);
        fprintf(to, "<td>%s</td><td>%s</td><td>%lld</td></tr>\n", number_plain(standing->rho).text,
                number_plain(ratio_of(standing)).text, (long long)standing->ratios);
    }
    html_table_end(to);
    return html_page_end(to, folder, fault);
}

static void write_headline(FILE *to, const struct history *history) {
    const struct moment *last = &history->moments[history->moment_count - 1];
    fprintf(to, "<h1>%s", number_count(history->moment_count, "run").text);
    print_html(to, ", the last of %s: ", last->time);
    if (last->failed > 0)
        fprintf(to, "%lld wrong of %s there.</h1>\n", (long long)last->failed,
                number_count(last->failed + last->right, "row").text);
    else
        fprintf(to, "all %s right there.</h1>\n", number_count(last->right, "row").text);
}

static void write_kernels(FILE *to, const struct history *history) {
    fputs("<h2 id=\"kernels\">The kernels</h2>\n<ul>\n", to);
    int64_t number = 0;
    for (int64_t begin = 0, end; begin < history->trace_count; begin = end) {
        char page[HTML_NAME_BYTES];
        end = kernel_end(history, begin);
        html_kernel_page(page, history->traces[begin].kernel, number++);
        print_html(to, "<li><a href=\"%s\">%s</a></li>\n", page, history->traces[begin].kernel);
    }
    fputs("</ul>\n", to);
}

static bool write_index(const struct html_folder *folder, const struct history *history,
                        struct fault *fault) {
    FILE *to = html_page(folder, "index.html", "History", NULL, fault);
    if (to == NULL) return false;
    write_headline(to, history);
    if (history->album.count == 0)
        fputs("<p>No kernel was timed twice on one machine, so there is no course to show.</p>\n",
              to);
    fputs("<div class=\"pictures\">\n", to);
    for (int n = 0; n < ATTN_VARIANT_COUNT; n++)
        html_figure(to, &history->album, history->times[n]);
    fputs("</div>\n", to);
    write_kernels(to, history);
    write_runs(to, history);
    return html_page_end(to, folder, fault);
}

static bool write_pages(const struct html_folder *folder, struct history *history,
                        struct fault *fault) {
    struct standing *standings = allocate_or_abort(history->moment_count, sizeof *standings);
    int64_t *pictures = allocate_or_abort(history->trace_count, sizeof *pictures), number = 0;
    for (int n = 0; n < ATTN_VARIANT_COUNT; n++)
        history->times[n] = plan_variant(history, variant_name(n), standings);
    for (int64_t begin = 0, end; begin < history->trace_count; begin = end) {
        end = kernel_end(history, begin);
        pictures[number++] = plan_kernel(history, begin, end);
    }
    album_draw(&history->album, folder->temporary);
    bool well = write_index(folder, history, fault);
    number = 0;
    for (int64_t begin = 0, end; well && begin < history->trace_count; begin = end, number++) {
        char page[HTML_NAME_BYTES];
        end = kernel_end(history, begin);
        html_kernel_page(page, history->traces[begin].kernel, number);
        stand(history, begin, end, standings);
        well = write_kernel(folder, history, page, begin, standings, pictures[number], fault);
    }
    free(standings);
    free(pictures);
    return well;
}

bool pages_history(const char *path, const char *const *runs, int64_t count, struct fault *fault) {
    struct history history = {0};
    struct html_folder folder = {0};
    bool well = true;
    for (int64_t n = 0; well && n < count; n++) well = add_path(&history, runs[n], fault);
    if (well) arrange(&history);
    well = well && html_begin(&folder, path, fault) && write_pages(&folder, &history, fault) &&
           html_commit(&folder, fault);
    html_abort(&folder);
    history_free(&history);
    return well;
}
