/* A picture on its way: points, a part of the script, a file of gnuplot's, that file without what a
 * page has once for all its pictures. Colours are those of Okabe and Ito, which eyes of all kinds
 * tell apart, each with a mark of its own; black is left to the page, which may be dark. */
#define _GNU_SOURCE
#include "plot.h"
#include "print.h"
#include "../../oracle/fault.h"
#include "../../oracle/text.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WIDTH = 560, HEIGHT = 320, PATH_BYTES = 4096 + 64, SVG_BYTES_MAX = 16 << 20 };

extern char **environ;

static const char *const colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                      "#e69f00", "#56b4e9", "#8a6d3b", "#7f7f7f"};
static const int marks[] = {7, 5, 9, 13, 11, 6, 4, 8};
enum { COLOURS = sizeof colours / sizeof colours[0] };

const char plot_marks[] =
    "<svg class=\"marks\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>"
    "<circle id=\"gpDot\" r=\"0.5\" stroke-width=\"0.5\" stroke=\"currentColor\"/>"
    "<path id=\"gpPt0\" stroke-width=\"0.2\" stroke=\"currentColor\" d=\"M-1,0 h2 M0,-1 v2\"/>"
    "<path id=\"gpPt1\" stroke-width=\"0.2\" stroke=\"currentColor\" d=\"M-1,-1 L1,1 M1,-1 "
    "L-1,1\"/>"
    "<rect id=\"gpPt3\" stroke-width=\"0.4\" stroke=\"currentColor\" x=\"-1\" y=\"-1\" "
    "width=\"2\" height=\"2\"/>"
    "<rect id=\"gpPt4\" fill=\"currentColor\" x=\"-1\" y=\"-1\" width=\"2\" height=\"2\"/>"
    "<circle id=\"gpPt5\" stroke-width=\"0.4\" stroke=\"currentColor\" r=\"1\"/>"
    "<circle id=\"gpPt6\" fill=\"currentColor\" r=\"1\"/>"
    "<path id=\"gpPt7\" stroke-width=\"0.4\" stroke=\"currentColor\" d=\"M0,-1.33 L-1.33,0.67 "
    "L1.33,0.67 z\"/>"
    "<path id=\"gpPt8\" fill=\"currentColor\" stroke=\"none\" d=\"M0,-1.33 L-1.33,0.67 "
    "L1.33,0.67 z\"/>"
    "<path id=\"gpPt10\" fill=\"currentColor\" stroke=\"none\" d=\"M0,1.33 L-1.33,-0.67 "
    "L1.33,-0.67 z\"/>"
    "<path id=\"gpPt12\" fill=\"currentColor\" stroke=\"none\" d=\"M0,-1.4 L1.4,0 L0,1.4 L-1.4,0 "
    "z\"/></defs></svg>\n";

struct plot_series *plot_series(struct plot *plot, const char *name, enum plot_style style) {
    for (int64_t n = 0; n < plot->series_count; n++)
        if (strcmp(plot->series[n].name, name) == 0) return &plot->series[n];
    struct plot_series *larger =
        realloc(plot->series, (size_t)(plot->series_count + 1) * sizeof *larger);
    if (larger == NULL) abort();
    plot->series = larger;
    struct plot_series *made = &plot->series[plot->series_count++];
    *made = (struct plot_series){.style = style};
    text_copy(made->name, sizeof made->name, name);
    return made;
}

void plot_add(struct plot_series *series, struct plot_point point) {
    if (!isfinite(point.x) || !isfinite(point.y)) return;
    if (series->count == series->room) {
        series->room = 2 * series->room + 16;
        struct plot_point *larger =
            realloc(series->points, (size_t)series->room * sizeof *series->points);
        if (larger == NULL) abort();
        series->points = larger;
    }
    series->points[series->count++] = point;
}

int64_t plot_points(const struct plot *plot) {
    int64_t count = 0;
    for (int64_t n = 0; n < plot->series_count; n++) count += plot->series[n].count;
    return count;
}

void plot_free(struct plot *plot) {
    for (int64_t n = 0; n < plot->series_count; n++) free(plot->series[n].points);
    free(plot->series);
    free(plot->owned);
    free(plot->svg);
    *plot = (struct plot){0};
}

/* The script */

/* Of a text of others, in quotes: what might mean something to gnuplot is a '?'. A '%' does, in the
 * names of an axis, and one that it does not know ends gnuplot. */
static void write_text(FILE *to, const char *text) {
    static const char safe[] = " .,:;/+-_=()[]*<>&#~|!";
    uint32_t character;
    fputc('\'', to);
    for (int n; (n = text_next(text, &character)) > 0; text += n) {
        const bool word = (character >= '0' && character <= '9') ||
                          ((character | 32) >= 'a' && (character | 32) <= 'z') ||
                          (character >= 0xa0 && text_is_plain(character));
        if (character == '\'')
            fputs("''", to);
        else if (word || (character < 0x80 && strchr(safe, (int)character) != NULL))
            fwrite(text, 1, (size_t)n, to);
        else
            fputc('?', to);
    }
    fputc('\'', to);
}

static double scale_of(enum plot_unit unit) {
    return unit == PLOT_TIME_US ? 1e-6 : unit == PLOT_PERCENT ? 100 : 1;
}

static void write_axis(FILE *to, const char *name, const struct plot_axis *axis) {
    static const char *const formats[] = {"%g", "%.0s%c", "%.0f", "%.0s %cs", "%.0s%c", "%g %%"};
    fprintf(to, "set %slabel ", name);
    write_text(to, axis->title);
    const bool halves = axis->unit == PLOT_TIME_US && !axis->log;
    fprintf(to, "\nset format %s '%s'\n", name, halves ? "%.1s %cs" : formats[axis->unit]);
    if (axis->log) fprintf(to, "set logscale %s %d\n", name, axis->unit == PLOT_LENGTH ? 2 : 10);
    if (axis->names != NULL) {
        fprintf(to, "set %stics scale 0 (", name);
        for (int64_t n = 0; n < axis->name_count; n++) {
            if (n > 0) fputs(", ", to);
            write_text(to, axis->names[n]);
            fprintf(to, " %lld", (long long)n);
        }
        const double begin = -0.6, end = (double)axis->name_count - 0.4;
        const bool down = name[0] == 'y'; /* the first name is the uppermost */
        fprintf(to, ")\nset %srange [%g:%g]\n", name, down ? end : begin, down ? begin : end);
    } else if (axis->least < axis->most) {
        fprintf(to, "set %srange [%.9g:%.9g]\n", name, axis->least * scale_of(axis->unit),
                axis->most * scale_of(axis->unit));
        if (axis->unit == PLOT_LENGTH && axis->most - axis->least < 20)
            fprintf(to, "set %stics 1\n", name); /* there are no halves of what is counted */
    }
}

/* The places of a cloud that are taken: of 20,000 points few lie where no other does, and one that
 * is covered need not be drawn. */
enum { GRID = 1024 };
struct cloud {
    bool taken[GRID][GRID];
    double x_least, x_most, y_least, y_most;
};

static double on_axis(const struct plot_axis *axis, double value) {
    return axis->log ? log10(value) : value;
}

static const struct plot_axis *y_axis(const struct plot *plot, const struct plot_series *series) {
    return series->second ? &plot->second : &plot->y;
}

static bool is_shown(const struct plot *plot, const struct plot_series *series,
                     const struct plot_point *point) {
    return !(plot->x.log && point->x <= 0) && !(y_axis(plot, series)->log && point->y <= 0);
}

static void measure(struct cloud *cloud, const struct plot *plot,
                    const struct plot_series *series) {
    *cloud = (struct cloud){
        .x_least = INFINITY, .x_most = -INFINITY, .y_least = INFINITY, .y_most = -INFINITY};
    for (int64_t n = 0; n < series->count; n++) {
        if (!is_shown(plot, series, &series->points[n])) continue;
        const double x = on_axis(&plot->x, series->points[n].x);
        const double y = on_axis(y_axis(plot, series), series->points[n].y);
        cloud->x_least = fmin(cloud->x_least, x);
        cloud->x_most = fmax(cloud->x_most, x);
        cloud->y_least = fmin(cloud->y_least, y);
        cloud->y_most = fmax(cloud->y_most, y);
    }
}

static int cell_of(double value, double least, double most) {
    const double at = (value - least) / (most - least) * (GRID - 1);
    return at >= 0 && at < GRID ? (int)at : 0; /* not of NaN, nor beyond what a double is */
}

static bool take_place(struct cloud *cloud, double x, double y) {
    bool *taken = &cloud->taken[cell_of(x, cloud->x_least, cloud->x_most)]
                               [cell_of(y, cloud->y_least, cloud->y_most)];
    const bool was_free = !*taken;
    *taken = true;
    return was_free;
}

static void write_data(FILE *to, const struct plot *plot, int64_t which, struct cloud *cloud) {
    const struct plot_series *series = &plot->series[which];
    const double xs = scale_of(plot->x.unit), ys = scale_of(y_axis(plot, series)->unit);
    if (series->style == PLOT_POINTS) measure(cloud, plot, series);
    fprintf(to, "$d%lld << EOD\n", (long long)which);
    for (int64_t n = 0; n < series->count; n++) {
        const struct plot_point *point = &series->points[n];
        if (!is_shown(plot, series, point)) continue;
        if (series->style == PLOT_POINTS && !take_place(cloud, on_axis(&plot->x, point->x),
                                                        on_axis(y_axis(plot, series), point->y)))
            continue;
        if (point->apart) fputc('\n', to);
        fprintf(to, "%.9g %.9g", point->x * xs, point->y * ys);
        if (series->style == PLOT_INTERVALS)
            fprintf(to, " %.9g %.9g", point->low * xs, point->high * xs);
        if (series->style == PLOT_CELLS) fprintf(to, " %u", point->colour);
        fputc('\n', to);
    }
    fputs("EOD\n", to);
}

static bool has_shown(const struct plot *plot, const struct plot_series *series) {
    for (int64_t n = 0; n < series->count; n++)
        if (is_shown(plot, series, &series->points[n])) return true;
    return false;
}

/* Of the colours, and of the marks. */
static int colour_of(const struct plot *plot, int64_t which) {
    if (plot->series[which].colour > 0) return (plot->series[which].colour - 1) % COLOURS;
    int place = 0;
    for (int64_t n = 0; n < which; n++)
        place += has_shown(plot, &plot->series[n]) && plot->series[n].style != PLOT_ROOF;
    return place % COLOURS;
}

/* The first roof is dashed, the second dotted. */
static int dashes_of(const struct plot *plot, int64_t which) {
    int before = 0;
    for (int64_t n = 0; n < which; n++) before += plot->series[n].style == PLOT_ROOF;
    return before == 0 ? 2 : 3;
}

void plot_key(FILE *to, const struct plot *plot) {
    if (plot->series_count == 1 && plot->name_title == NULL) return;
    fputs("<div class=\"key\">", to);
    for (int64_t n = 0; n < plot->series_count; n++) {
        const struct plot_series *series = &plot->series[n];
        const int colour = colour_of(plot, n);
        if (!has_shown(plot, series) || series->style == PLOT_CELLS) continue;
        if (series->style == PLOT_ROOF)
            fprintf(to,
                    "<span><svg viewBox=\"0 0 24 8\" fill=\"none\"><path d=\"M0,4 h24\" "
                    "stroke=\"black\" "
                    "stroke-width=\"1.5\" stroke-dasharray=\"%s\"/></svg>",
                    dashes_of(plot, n) == 2 ? "6,4" : "2,3");
        else
            fprintf(to,
                    "<span><svg viewBox=\"-1.7 -1.7 3.4 3.4\" fill=\"none\"><use href=\"#gpPt%d\" "
                    "color=\"%s\"/></svg>",
                    marks[colour] - 1, colours[colour]);
        print_html(to, "%s</span>", series->name);
    }
    fputs("</div>\n", to);
}

static void write_series(FILE *to, const struct plot *plot, int64_t which) {
    static const char *const forms[] = {
        [PLOT_POINTS] = "using 1:2 with points",
        [PLOT_LINES] = "using 1:2 with linespoints lw 1.5",
        [PLOT_ROOF] = "using 1:2 with lines lw 1.5",
        [PLOT_INTERVALS] = "using 1:2:3:4 with xerrorbars lw 1.5",
        [PLOT_CELLS] = "using 1:2:(0.46):(0.42):3 with boxxyerror fs solid noborder"};
    const struct plot_series *series = &plot->series[which];
    const int colour = colour_of(plot, which);
    fprintf(to, "$d%lld %s%s", (long long)which, forms[series->style],
            series->second ? " axes x1y2" : "");
    if (series->style == PLOT_CELLS) {
        fputs(" lc rgb variable", to);
        return;
    }
    if (series->style == PLOT_ROOF)
        fprintf(to, " lc rgb 'black' dt %d", dashes_of(plot, which));
    else
        fprintf(to, " lc rgb '%s' pt %d ps 0.45", colours[colour], marks[colour]);
}

static void write_plot(FILE *to, const struct plot *plot, int64_t number, struct cloud *cloud) {
    fprintf(to,
            "reset\nset term svg size %d,%d font 'sans-serif,12' noenhanced\n"
            "set output '%lld.svg'\n"
            "set border 3 lw 0.7\nset tics nomirror out scale 0.6\n"
            "set grid lc rgb '#808080' lw 0.4 dt 3\n"
            "unset key\n",
            plot->width > 0 ? plot->width : WIDTH, plot->height > 0 ? plot->height : HEIGHT,
            (long long)number);
    write_axis(to, "x", &plot->x);
    write_axis(to, "y", &plot->y);
    bool second = false, cells = false;
    for (int64_t n = 0; n < plot->series_count; n++) {
        second = second || plot->series[n].second;
        cells = cells || plot->series[n].style == PLOT_CELLS;
    }
    if (cells) fputs("unset grid\n", to);
    if (second) {
        fputs("set border 11\nset y2tics nomirror out\n", to);
        write_axis(to, "y2", &plot->second);
    }
    for (int64_t n = 0; n < plot->series_count; n++) write_data(to, plot, n, cloud);
    const char *separator = "plot ";
    for (int64_t n = 0; n < plot->series_count; n++) {
        if (!has_shown(plot, &plot->series[n])) continue;
        fputs(separator, to);
        write_series(to, plot, n);
        separator = ", \\\n     ";
    }
    fputs("\nunset output\n", to);
}

/* Drawing */

static bool write_script(const struct album *album, const char *path, struct fault *fault) {
    FILE *to = fopen(path, "we");
    struct cloud *cloud = malloc(sizeof *cloud);
    if (to == NULL || cloud == NULL) {
        if (to != NULL) fclose(to);
        free(cloud);
        return fault_set(fault, FAULT_INPUT, "cannot write '%.900s': %s", path, strerror(errno));
    }
    fputs("set encoding utf8\n", to);
    for (int64_t n = 0; n < album->count; n++) {
        const struct plot *plot = album->plots[n];
        bool any = false;
        for (int64_t m = 0; m < plot->series_count; m++)
            any = any || has_shown(plot, &plot->series[m]);
        if (any) write_plot(to, plot, n, cloud);
    }
    free(cloud);
    const bool failed = ferror(to) != 0;
    if (fclose(to) == 0 && !failed) return true;
    return fault_set(fault, FAULT_INPUT, "cannot write '%.900s': %s", path, strerror(errno));
}

/* In `folder`, where it leaves its files; what it says is of no use to anyone. */
static bool run_gnuplot(const char *folder, struct fault *fault) {
    static const char program[] = "gnuplot";
    char *const arguments[] = {(char *)program, "-d", "script", NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status = 0;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, folder);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    const int error = posix_spawnp(&child, program, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error == ENOENT)
        return fault_set(fault, FAULT_INPUT,
                         "gnuplot is not installed (Debian package gnuplot-nox)");
    if (error != 0)
        return fault_set(fault, FAULT_INPUT, "gnuplot cannot be run: %s", strerror(error));
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) break;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
    if (WIFSIGNALED(status))
        return fault_set(fault, FAULT_INPUT, "gnuplot was ended by signal %d", WTERMSIG(status));
    return fault_set(fault, FAULT_INPUT, "gnuplot ended with exit status %d", WEXITSTATUS(status));
}

static bool begins(const char *line, const char *with) {
    return strncmp(line, with, strlen(with)) == 0;
}

/* gnuplot's prefix for a millionth is a letter. */
static void write_line(FILE *to, const char *line) {
    const char *micro = strstr(line, " us</text>");
    if (micro != NULL)
        fprintf(to, "%.*s µs%s", (int)(micro - line), line, micro + 3);
    else
        fputs(line, to);
}

/* What gnuplot wrote, without its head, the marks, the names of its parts and groups of nothing. */
static char *trimmed(FILE *from, const struct plot *plot) {
    char *svg = NULL, *line = NULL, group[512] = "";
    size_t bytes = 0, room = 0;
    FILE *to = open_memstream(&svg, &bytes);
    if (to == NULL) return NULL;
    const int width = plot->width > 0 ? plot->width : WIDTH;
    const int height = plot->height > 0 ? plot->height : HEIGHT;
    fprintf(to, "<svg viewBox=\"0 0 %d %d\" style=\"max-width:%dpx\" role=\"img\">", width, height,
            width * 5 / 4);
    bool inside = false, head = true;
    while (getline(&line, &room, from) > 0 && bytes < SVG_BYTES_MAX) {
        const char *at = line + strspn(line, "\t ");
        if (head) {
            head = !begins(at, "</defs>");
            continue;
        }
        inside = true;
        if (begins(at, "</svg>")) break;
        if (begins(at, "<g id=")) at = "<g>\n";
        if (begins(at, "<g fill=") && strlen(at) < sizeof group) {
            fputs(group, to);
            strcpy(group, at); /* until something is in it */
            continue;
        }
        if (group[0] != '\0' && !begins(at, "</g>")) fputs(group, to);
        if (group[0] == '\0' || !begins(at, "</g>")) write_line(to, at);
        group[0] = '\0';
    }
    fputs("</svg>", to);
    fclose(to);
    free(line);
    if (inside) return svg;
    free(svg);
    return NULL;
}

static void path_of(char path[PATH_BYTES], const char *folder, int64_t number) {
    snprintf(path, PATH_BYTES, "%s/%lld.svg", folder, (long long)number);
}

void album_draw(struct album *album, const char *folder) {
    char script[PATH_BYTES], path[PATH_BYTES];
    struct fault fault;
    if (album->count == 0) return;
    snprintf(script, sizeof script, "%s/script", folder);
    const bool drawn = write_script(album, script, &fault) && run_gnuplot(folder, &fault);
    if (!drawn) fault_say("no pictures: %s", fault.text);
    for (int64_t n = 0; n < album->count; n++) {
        path_of(path, folder, n);
        FILE *from = drawn ? fopen(path, "re") : NULL;
        if (from != NULL) {
            album->plots[n]->svg = trimmed(from, album->plots[n]);
            fclose(from);
        }
        unlink(path);
    }
    unlink(script);
}

struct plot *album_begin(struct album *album) {
    if (album->count == album->room) {
        album->room = 2 * album->room + 16;
        struct plot **larger = realloc(album->plots, (size_t)album->room * sizeof(struct plot *));
        if (larger == NULL) abort();
        album->plots = larger;
    }
    struct plot *plot = calloc(1, sizeof *plot);
    if (plot == NULL) abort();
    album->plots[album->count] = plot;
    return plot;
}

int64_t album_end(struct album *album, bool keep) {
    if (keep) return album->count++;
    plot_free(album->plots[album->count]);
    free(album->plots[album->count]);
    return -1;
}

void album_free(struct album *album) {
    for (int64_t n = 0; n < album->count; n++) {
        plot_free(album->plots[n]);
        free(album->plots[n]);
    }
    free(album->plots);
    *album = (struct album){0};
}
