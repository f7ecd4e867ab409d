/* Texts are made plain when they come in: from there on a character is a column. */
#define _GNU_SOURCE
#include "table.h"
#include "../../oracle/text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { WIDTH_MAX = 100, INDENT = 4, GAP = 2, PROSE_MIN = 36, COLUMN_MIN = 10 };

int print_width(void) {
    struct winsize size;
    const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40;
    return known && size.ws_col < WIDTH_MAX ? size.ws_col : WIDTH_MAX;
}

/* A text of the caller's, formatted by the printer; "" where there is no memory for it. */
static char *format_plain(const char *format, va_list *arguments) {
    char *text = NULL, *line = NULL;
    size_t bytes = 0;
    if (vasprintf(&text, format, *arguments) < 0) text = NULL;
    FILE *to = open_memstream(&line, &bytes);
    if (to != NULL) {
        print_plain(to, "%s", text != NULL ? text : "");
        fclose(to);
    }
    free(text);
    return line != NULL ? line : calloc(1, 1);
}

static int columns_of(const char *text, size_t bytes) {
    int columns = 0;
    for (size_t n = 0; n < bytes; n++) columns += ((unsigned char)text[n] & 0xc0) != 0x80;
    return columns;
}

void print_piece(struct print_line *line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *text = format_plain(format, &arguments);
    va_end(arguments);
    const int columns = text_columns(text);
    if (line->used > 0 && line->used + GAP + columns > print_width()) {
        fprintf(line->to, "\n%*s", INDENT, "");
        line->used = INDENT;
    } else if (line->used > 0) {
        fprintf(line->to, "%*s", GAP, "");
        line->used += GAP;
    }
    fputs(text, line->to);
    line->used += columns;
    free(text);
}

void print_line_end(struct print_line *line) {
    fputc('\n', line->to);
    line->used = 0;
}

/* How many bytes of `text` a line of `width` columns takes: whole words, at least one. */
static size_t line_of(const char *text, int width) {
    size_t taken = 0;
    for (size_t at = 0; text[at] != '\0';) {
        at += strspn(text + at, " ");
        if (text[at] == '\0') break;
        at += strcspn(text + at, " ");
        if (taken > 0 && columns_of(text, at) > width) break;
        taken = at;
    }
    return taken;
}

void print_words(FILE *to, int at, int indent, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *text = format_plain(format, &arguments), *left = text;
    va_end(arguments);
    size_t bytes = line_of(left, print_width() - at);
    fprintf(to, "%.*s\n", (int)bytes, left);
    for (left += bytes; *(left += strspn(left, " ")) != '\0'; left += bytes) {
        bytes = line_of(left, print_width() - indent);
        fprintf(to, "%*s%.*s\n", indent, "", (int)bytes, left);
    }
    free(text);
}

void table_add(struct table *table, const char *format, ...) {
    if (table->count == table->room) {
        const int64_t room = 2 * table->room + 64;
        char **cells = realloc(table->cells, (size_t)room * sizeof *cells);
        if (cells == NULL) return;
        table->cells = cells;
        table->room = room;
    }
    va_list arguments;
    va_start(arguments, format);
    char *text = NULL;
    if (vasprintf(&text, format, arguments) < 0) text = calloc(1, 1);
    va_end(arguments);
    table->cells[table->count++] = text;
}

/* The cells as they are printed, and how wide each column is. */
struct layout {
    int columns, widths[16];
    bool apart; /* the last column has lines of its own */
    char **cells;
};

static int sum_of(const struct layout *layout, int columns) {
    int sum = 0;
    for (int column = 0; column < columns; column++)
        sum += layout->widths[column] + (column > 0 ? GAP : 0);
    return sum;
}

static void fit(struct layout *layout, int width) {
    const int last = layout->columns - 1;
    if (sum_of(layout, layout->columns) <= width) return;
    const int room = width - sum_of(layout, last) - GAP;
    if (room >= PROSE_MIN || layout->columns == 1) {
        layout->widths[last] = layout->columns == 1 ? width : room;
        return;
    }
    layout->apart = true;
    layout->widths[last] = width - INDENT;
    for (int excess; (excess = sum_of(layout, last) - width) > 0;) {
        int widest = 0;
        for (int column = 1; column < last; column++) {
            if (layout->widths[column] > layout->widths[widest]) widest = column;
        }
        int *shrunk = &layout->widths[widest];
        if (*shrunk <= COLUMN_MIN) return;
        *shrunk = *shrunk - excess > COLUMN_MIN ? *shrunk - excess : COLUMN_MIN;
    }
}

static void pad(FILE *to, int columns) {
    if (columns > 0) fprintf(to, "%*s", columns, "");
}

/* One row on as many lines as its cells take. */
static void print_row(FILE *to, const struct layout *layout, char *const *cells, unsigned right) {
    const int beside = layout->columns - layout->apart;
    const char *left[16];
    bool more = true;
    for (int column = 0; column < beside; column++) left[column] = cells[column];
    while (more) {
        int at = 0, begin = 0; /* columns printed, and where this one begins */
        more = false;
        for (int column = 0; column < beside; column++) {
            const int width = layout->widths[column];
            const size_t bytes = line_of(left[column], width);
            const int columns = columns_of(left[column], bytes);
            if (bytes > 0 && at > 0 &&
                at + GAP > begin) { /* the one before is longer than its column */
                fputc('\n', to);
                at = 0;
            }
            if (bytes > 0) {
                const int gap = (right >> column & 1) != 0 ? width - columns : 0;
                pad(to, begin - at + (gap > 0 ? gap : 0));
                fwrite(left[column], 1, bytes, to);
                at = begin + (gap > 0 ? gap : 0) + columns;
                left[column] += bytes;
                left[column] += strspn(left[column], " ");
            }
            more = more || *left[column] != '\0';
            begin += width + GAP;
        }
        fputc('\n', to);
    }
    if (layout->apart && cells[beside][0] != '\0')
        print_words(to, 0, INDENT, "%*s%s", INDENT, "", cells[beside]);
}

void table_print(FILE *to, const struct table *table) {
    struct layout layout = {.columns = table->columns,
                            .cells = calloc((size_t)table->count + 1, sizeof *layout.cells)};
    for (int64_t n = 0; layout.cells != NULL && n < table->count; n++) {
        char *plain = NULL;
        size_t bytes = 0;
        FILE *memory = open_memstream(&plain, &bytes);
        if (memory != NULL) {
            print_plain(memory, "%s", table->cells[n]);
            fclose(memory);
        }
        layout.cells[n] = plain != NULL ? plain : calloc(1, 1);
        int *width = &layout.widths[n % table->columns];
        const int columns = text_columns(layout.cells[n]);
        if (columns > *width) *width = columns;
    }
    if (layout.cells != NULL) {
        fit(&layout, print_width());
        for (int64_t n = 0; n < table->count; n += table->columns)
            print_row(to, &layout, layout.cells + n, table->right);
        for (int64_t n = 0; n < table->count; n++) free(layout.cells[n]);
    }
    free(layout.cells);
}

void table_print_markdown(FILE *to, const struct table *table) {
    for (int64_t n = 0; n < table->count; n++) {
        const int column = (int)(n % table->columns);
        const char *cell = table->cells[n];
        const bool code = n >= table->columns && (table->code >> column & 1) != 0;
        if (code && *cell != '\0')
            print_markdown(to, "| `%s` ", cell);
        else
            print_markdown(to, "| %s ", cell);
        if (column < table->columns - 1) continue;
        fputs("|\n", to);
        if (n >= table->columns) continue;
        for (int c = 0; c < table->columns; c++)
            fputs((table->right >> c & 1) != 0 ? "|--:" : "|---", to);
        fputs("|\n", to);
    }
}

void table_free(struct table *table) {
    for (int64_t n = 0; n < table->count; n++) free(table->cells[n]);
    free(table->cells);
    *table = (struct table){.columns = table->columns};
}
