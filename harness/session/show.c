/* Lines and the bar. */
#include "show.h"
#include "../../oracle/clock.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool wants_colour(void) {
    const char *no_colour = getenv("NO_COLOR"), *terminal = getenv("TERM");
    return isatty(STDOUT_FILENO) && (no_colour == NULL || *no_colour == '\0') && terminal != NULL &&
           strcmp(terminal, "dumb") != 0;
}

static int width(void) {
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

static void erase_bar(const struct show *show) {
    if (show->bar) fputs("\r\033[K", stderr);
}

static void draw_bar(const struct show *show) {
    enum { CELLS = 20 };
    if (!show->bar) return;
    const int64_t total = show->total > show->done ? show->total : show->done;
    const int full = total > 0 ? (int)(CELLS * show->done / total) : 0;
    char line[512];
    snprintf(line, sizeof line, "[%.*s%.*s] %lld/%lld %.0f s  %s", full, "####################",
             CELLS - full, "....................", (long long)show->done, (long long)total,
             clock_s() - show->start_s, show->step);
    fprintf(stderr, "\r\033[K%.*s", width() - 1, line);
    fflush(stderr);
}

bool show_start(struct show *show, bool json, bool quiet, int64_t total, struct fault *fault) {
    *show = (struct show){.json = json,
                          .quiet = quiet,
                          .bar = isatty(STDERR_FILENO),
                          .colour = wants_colour(),
                          .total = total,
                          .start_s = clock_s()};
    draw_bar(show);
    return crew_lock_make(&show->lock, fault);
}

void show_step(struct show *show, const char *step) {
    crew_lock(&show->lock);
    snprintf(show->step, sizeof show->step, "%s", step);
    draw_bar(show);
    crew_unlock(&show->lock);
}

void show_resumed(struct show *show, int64_t rows) {
    crew_lock(&show->lock);
    show->resumed += rows;
    crew_unlock(&show->lock);
}

static const char *colour_of(enum status status) {
    switch (status) {
    case STATUS_PASS:
        return "\033[32m";
    case STATUS_REFUSED:
    case STATUS_UNSTABLE:
        return "\033[33m";
    default:
        return "\033[31m";
    }
}

/* "PASS A  cpu/decode_flash_r1  f16-...  t 0.41  rho 1.02  84.1 us  12.4 GFLOP/s  24.9 GB/s" */
static void print_line(const struct show *show, const struct row *row, enum status status) {
    printf("%s%s%s%s%s  %s  %s", show->colour ? colour_of(status) : "", row->status,
           row->grade[0] == '-' ? "" : " ", row->grade[0] == '-' ? "" : row->grade,
           show->colour ? "\033[0m" : "", row->kernel, text_given(row->file) ? row->file : row->line);
    if (row->deviation.elements > 0)
        printf("  t %.2f  rho %.2f", row->deviation.t_max, row->deviation.rho);
    if (row->warm.n > 0)
        printf("  %.4g us  %.3g GFLOP/s  %.3g GB/s", row->warm.median_us, row->tflops * 1e3,
               row->gbs);
    putchar('\n');
    if (status != STATUS_PASS) printf("    %s\n", row->reason);
    if (text_given(row->repeat)) printf("    repeat: %s\n", row->repeat);
}

void show_row(struct show *show, const struct row *row) {
    const enum status status = status_of(row);
    crew_lock(&show->lock);
    show->done++;
    if (status < STATUS_COUNT) show->counts[status]++;
    erase_bar(show);
    if (show->json) {
        json_t *json = row_to_json(row);
        json_dumpf(json, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(json);
    } else if (status != STATUS_PASS || !(show->quiet || show->bar)) {
        print_line(show, row, status);
    }
    fflush(stdout);
    draw_bar(show);
    crew_unlock(&show->lock);
}

void show_end(struct show *show, const char *folder) {
    FILE *to = show->json ? stderr : stdout;
    erase_bar(show);
    fprintf(to, "%lld rows in %.1f s%s", (long long)show->done, clock_s() - show->start_s,
            show->done > 0 ? ":" : "");
    for (int status = 0; status < STATUS_COUNT; status++) {
        if (show->counts[status] > 0)
            fprintf(to, " %lld %s", (long long)show->counts[status],
                    status_name((enum status)status));
    }
    if (show->resumed > 0) fprintf(to, ", %lld were there already", (long long)show->resumed);
    fprintf(to, "\n%s\n", folder);
    fflush(to);
}
