/* One walk through a format serves all places; what differs is how a text is escaped. */
#define _GNU_SOURCE
#include "print.h"
#include "../../oracle/text.h"

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* text_show's, as a text of the caller's; `bytes` of it at most, whole characters. */
static char *shown(const char *text, size_t bytes) {
    char *line = NULL;
    size_t length = 0;
    FILE *to = open_memstream(&line, &length);
    uint32_t character;
    for (int n; to != NULL && (n = text_next(text, &character)) > 0 && (size_t)n <= bytes;
         text += n, bytes -= (size_t)n)
        text_show_character(to, text, n, character);
    if (to != NULL) fclose(to);
    return line;
}

static bool is_word(char c) {
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80;
}

/* Whether the character at `at` of a text would mark it up. At the text's ends it may: what stands
 * beside it there is not known. */
static bool marks_up(const char *text, const char *at, bool begins_line) {
    const char before = at > text ? at[-1] : '\0', after = at[1];
    switch (*at) {
    case '`':
    case '|':
    case '[':
        return true;
    case '\\':
        return after == '\0' || ispunct((unsigned char)after);
    case '*':
        return before != ' ' || after != ' ';
    case '_':
        return !is_word(before) || !is_word(after);
    case '<':
        return after == '\0' || isalpha((unsigned char)after) || strchr("/!?", after) != NULL;
    case '&':
        return after == '\0' || after == '#' || isalpha((unsigned char)after);
    case '~':
        return before == '~' || after == '~' || before == '\0' || after == '\0';
    default:
        return begins_line && at == text && strchr("#>-+=:", *at) != NULL;
    }
}

static void escape_markdown(FILE *to, const char *text, bool begins_line) {
    for (const char *at = text; *at != '\0'; at++) {
        if (marks_up(text, at, begins_line)) fputc('\\', to);
        fputc(*at, to);
    }
}

static int longest_fence(const char *text) {
    int longest = 0;
    for (int n; *text != '\0'; text += n > 0 ? n : 1) {
        n = (int)strspn(text, "`");
        if (n > longest) longest = n;
    }
    return longest;
}

/* The fence is longer than any in the text. In a table '|' is escaped in code too. */
static void print_code(FILE *to, const char *text, bool in_table) {
    const size_t length = strlen(text);
    const bool apart = length == 0 || text[0] == '`' || text[length - 1] == '`';
    const int fence = longest_fence(text) + 1;
    for (int n = 0; n < fence; n++) fputc('`', to);
    if (apart) fputc(' ', to);
    for (; *text != '\0'; text++) {
        if (*text == '|' && in_table) fputc('\\', to);
        fputc(*text, to);
    }
    if (apart) fputc(' ', to);
    for (int n = 0; n < fence; n++) fputc('`', to);
}

/* One conversion of a format: "%-34s", "%.*s", "%lld". */
struct conversion {
    char text[24]; /* as printf takes it */
    size_t length;
    int width;
    bool left, starred;
    char size, kind; /* size: 'l', 'L' for ll, 'z' or '\0' */
};

static struct conversion conversion_at(const char *format) {
    struct conversion found = {0};
    size_t n = 1;
    found.left = format[n] == '-';
    n += strspn(format + n, "-+ #0");
    found.width = (int)strtol(format + n, NULL, 10);
    n += strspn(format + n, "0123456789");
    n += strspn(format + n, ".0123456789");
    found.starred = format[n] == '*';
    n += found.starred;
    const size_t sizes = strspn(format + n, "lz");
    found.size = sizes == 2 ? 'L' : sizes == 1 ? format[n] : '\0';
    n += sizes;
    found.kind = format[n++];
    assert(n < sizeof found.text);
    memcpy(found.text, format, n);
    found.length = n;
    return found;
}

/* Flags are for numbers that are not whole. */
static void print_value(FILE *to, const struct conversion *conversion, va_list *arguments) {
    if (conversion->kind == 'c') {
        fputc(va_arg(*arguments, int), to);
    } else if (conversion->kind == 'd') {
        const long long value = conversion->size == 'L'    ? va_arg(*arguments, long long)
                                : conversion->size != '\0' ? va_arg(*arguments, long)
                                                           : va_arg(*arguments, int);
        fprintf(to, "%*lld", conversion->left ? -conversion->width : conversion->width, value);
    } else {
        char line[400];
        assert(strchr("efg", conversion->kind) != NULL);
        snprintf(line, sizeof line, conversion->text, va_arg(*arguments, double));
        fputs(line, to);
    }
}

/* Also in an attribute between quotes. */
static void escape_html(FILE *to, const char *text) {
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&':
            fputs("&amp;", to);
            break;
        case '<':
            fputs("&lt;", to);
            break;
        case '>':
            fputs("&gt;", to);
            break;
        case '"':
            fputs("&quot;", to);
            break;
        case '\'':
            fputs("&#39;", to);
            break;
        default:
            fputc(*text, to);
        }
    }
}

enum place { PLACE_PLAIN, PLACE_MARKDOWN, PLACE_HTML };

static void print_formatted(FILE *to, enum place place, const char *format, va_list *arguments) {
    const bool markdown = place == PLACE_MARKDOWN, in_table = strchr(format, '|') != NULL;
    for (const char *at = format; *at != '\0';) {
        const bool code = markdown && !strncmp(at, "`%s`", 4);
        if (*at != '%' && !code) {
            fputc(*at++, to);
            continue;
        }
        if (at[0] == '%' && at[1] == '%') {
            fputc('%', to);
            at += 2;
            continue;
        }
        const struct conversion conversion = conversion_at(at + code);
        if (conversion.kind != 's') {
            print_value(to, &conversion, arguments);
        } else {
            const int most = conversion.starred ? va_arg(*arguments, int) : -1;
            const char *dot = strchr(conversion.text, '.');
            const size_t bytes = conversion.starred && most >= 0      ? (size_t)most
                                 : dot != NULL && !conversion.starred ? strtoul(dot + 1, NULL, 10)
                                                                      : SIZE_MAX;
            char *text = shown(va_arg(*arguments, const char *), bytes);
            const char *line = text != NULL ? text : "";
            const int pad = conversion.width - text_columns(line);
            if (!conversion.left && pad > 0) fprintf(to, "%*s", pad, "");
            if (code)
                print_code(to, line, in_table);
            else if (markdown)
                escape_markdown(to, line, at > format && at[-1] == '\n');
            else if (place == PLACE_HTML)
                escape_html(to, line);
            else
                fputs(line, to);
            if (conversion.left && pad > 0) fprintf(to, "%*s", pad, "");
            free(text);
        }
        at += conversion.length + (code ? 2 : 0);
    }
}

void print_plain(FILE *to, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_formatted(to, PLACE_PLAIN, format, &arguments);
    va_end(arguments);
}

void print_markdown(FILE *to, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_formatted(to, PLACE_MARKDOWN, format, &arguments);
    va_end(arguments);
}

void print_html(FILE *to, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_formatted(to, PLACE_HTML, format, &arguments);
    va_end(arguments);
}

void print_markdown_block(FILE *to, const char *indent, const char *language, const char *text) {
    int fence = longest_fence(text) + 1;
    if (fence < 3) fence = 3;
    fputs(indent, to);
    for (int n = 0; n < fence; n++) fputc('`', to);
    fprintf(to, "%s\n", language);
    while (*text != '\0') {
        const size_t length = strcspn(text, "\n");
        char *line = shown(text, length);
        fprintf(to, "%s%s\n", indent, line != NULL ? line : "");
        free(line);
        text += length + (text[length] == '\n');
    }
    fputs(indent, to);
    for (int n = 0; n < fence; n++) fputc('`', to);
    fputc('\n', to);
}

/* What a spreadsheet would compute (OWASP, CSV injection) gets a ' before it; numbers do not, nor a
 * sign alone, which a grade may be. */
static bool is_formula(const char *text) {
    char *end;
    if (*text == '\0' || strchr("=+-@\t\r\n", *text) == NULL || text[1] == '\0') return false;
    strtod(text, &end);
    return *end != '\0' || isspace((unsigned char)*text);
}

void print_csv(FILE *to, const char *text) {
    const bool formula = is_formula(text), quoted = formula || strpbrk(text, ",;\"\r\n") != NULL;
    if (quoted) fputc('"', to);
    if (formula) fputc('\'', to);
    uint32_t character;
    for (int length; (length = text_next(text, &character)) > 0; text += length) {
        if (character == '"') fputc('"', to);
        if (strchr("\n\r\t", *text) != NULL)
            fputc(*text, to);
        else
            text_show_character(to, text, length, character);
    }
    if (quoted) fputc('"', to);
}

void print_json(FILE *to, json_t *json, size_t flags) {
    json_dumpf(json, to, flags | JSON_ENSURE_ASCII);
    fputc('\n', to);
    json_decref(json);
}
