/* Lines and the bar. */
#include "show.h"
#include "../report/table.h"
#include "../../oracle/clock.h"
#include "../../oracle/text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool wants_colour(void) {
    const char *no_colour = getenv("NO_COLOR"), *terminal = getenv("TERM");
    return isatty(STDOUT_FILENO) && (no_colour == NULL || *no_colour == '\0') && terminal != NULL &&
           strcmp(terminal, "dumb") != 0;
}

/* Of what the bar is on. */
static int width(void) {
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

/* The bar steers the terminal, and goes to it past stderr (output.h). */
static void write_bar(const char *text, size_t bytes) {
    fflush(stderr);
    if (write(STDERR_FILENO, text, bytes) < 0) return; /* it is only a bar */
}

static void erase_bar(const struct show *show) {
    static const char erase[] = "\r\033[K";
    if (show->bar) write_bar(erase, sizeof erase - 1);
}

static void draw_bar(const struct show *show) {
    enum { CELLS = 20 };
    if (!show->bar) return;
    const int64_t total = show->total > show->done ? show->total : show->done;
    const int full = total > 0 ? (int)(CELLS * show->done / total) : 0;
    char *line = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&line, &bytes);
    if (to == NULL) return;
    fprintf(to, "[%.*s%.*s] %lld/%lld %.0f s  ", full, "####################", CELLS - full,
            "....................", (long long)show->done, (long long)total,
            clock_s() - show->start_s);
    text_show(to, show->step);
    if (fclose(to) == 0) {
        erase_bar(show);
        write_bar(line, text_bytes(line, width() - 1));
    }
    free(line);
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
    text_copy(show->step, sizeof show->step, step);
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

/* "PASS A  cpu/decode_flash_r1  f16-...  t 0.41  rho 1.02  84.1 µs  12.4 GFLOP/s  24.9 GB/s", on as
 * many lines as that takes. */
static void print_row(const struct show *show, const struct row *row, enum status status) {
    struct print_line line = {.to = stdout};
    const bool graded = row->grade[0] != '-';
    if (show->colour) fputs(colour_of(status), stdout);
    print_piece(&line, "%s%s%s", row->status, graded ? " " : "", graded ? row->grade : "");
    if (show->colour) fputs("\033[0m", stdout);
    print_piece(&line, "%s", row->kernel);
    print_piece(&line, "%s", text_given(row->file) ? row->file : row->line);
    char text[128] = "";
    size_t used = 0;
    if (row->deviation.elements > 0)
        used = (size_t)snprintf(text, sizeof text, "t %.2f  rho %.2f", row->deviation.t_max,
                                row->deviation.rho);
    if (row->warm.n > 0)
        snprintf(text + used, sizeof text - used, "%s%s  %s  %s", used > 0 ? "  " : "",
                 number_time(row->warm.median_us).text,
                 number_rate(row->tflops * 1e12, "FLOP/s").text,
                 number_rate(row->gbs * 1e9, "B/s").text);
    if (text[0] != '\0') print_piece(&line, "%s", text);
    print_line_end(&line);
    if (status != STATUS_PASS) print_words(stdout, 0, 4, "    %s", row->reason);
    if (text_given(row->diagnosis)) print_words(stdout, 0, 4, "    %s", row->diagnosis);
    if (text_given(row->repeat)) print_plain(stdout, "    repeat: %s\n", row->repeat);
}

static void print(const struct show *show, const struct row *row, bool final, bool seen) {
    const enum status status = status_of(row);
    erase_bar(show);
    if (show->json && !show->silent && final)
        print_json(stdout, row_to_json(row), JSON_COMPACT);
    else if (!show->json && !show->silent && !seen && (status != STATUS_PASS || !show->quiet))
        print_row(show, row, status);
    fflush(stdout);
    draw_bar(show);
}

static void count(struct show *show, const struct row *row, int by) {
    const enum status status = status_of(row);
    if (status < STATUS_COUNT) show->counts[status] += by;
}

void show_row(struct show *show, const struct row *row, bool final) {
    crew_lock(&show->lock);
    show->done++;
    count(show, row, 1);
    print(show, row, final, false);
    crew_unlock(&show->lock);
}

void show_again(struct show *show, const struct row *row, const struct row *before, bool final) {
    crew_lock(&show->lock);
    count(show, before, -1);
    count(show, row, 1);
    print(show, row, final, status_of(row) == status_of(before));
    crew_unlock(&show->lock);
}

void show_end(struct show *show, const char *folder) {
    FILE *to = show->json || show->silent ? stderr : stdout;
    char counts[32 * STATUS_COUNT] = "", resumed[64] = "";
    size_t used = 0;
    for (int status = 0; status < STATUS_COUNT; status++) {
        if (show->counts[status] > 0)
            used +=
                (size_t)snprintf(counts + used, sizeof counts - used, " %lld %s",
                                 (long long)show->counts[status], status_name((enum status)status));
    }
    if (show->resumed > 0)
        snprintf(resumed, sizeof resumed, ", %lld %s there already", (long long)show->resumed,
                 show->resumed == 1 ? "was" : "were");
    erase_bar(show);
    print_words(to, 0, 0, "%s in %s%s%s%s", number_count(show->done, "row").text,
                number_time((clock_s() - show->start_s) * 1e6).text, show->done > 0 ? ":" : "",
                counts, resumed);
    fputs("attest report ", to);
    text_quote(to, folder);
    fputc('\n', to);
    fflush(to);
}
