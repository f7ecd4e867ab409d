/* What is escaped, and how, is decided here once. */
#include "text.h"

#include <string.h>

int text_next(const char *text, uint32_t *character) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000}; /* shorter forms are refused */
    const unsigned char *at = (const unsigned char *)text;
    const int length = at[0] < 0x80   ? 1
                       : at[0] < 0xc0 ? 0
                       : at[0] < 0xe0 ? 2
                       : at[0] < 0xf0 ? 3
                       : at[0] < 0xf8 ? 4
                                      : 0;
    uint32_t value = length == 1 ? at[0] : at[0] & (0x7fu >> length);
    *character = TEXT_NOT_UTF8;
    if (at[0] == '\0') return 0;
    for (int n = 1; n < length; n++) {
        if ((at[n] & 0xc0) != 0x80) return 1;
        value = value << 6 | (at[n] & 0x3f);
    }
    const bool surrogate = value >= 0xd800 && value <= 0xdfff;
    if (length == 0 || value < least[length] || value > 0x10ffff || surrogate) return 1;
    *character = value;
    return length;
}

static bool begins_character(char byte) {
    return ((unsigned char)byte & 0xc0) != 0x80;
}

int text_columns(const char *text) {
    int columns = 0;
    for (; *text != '\0'; text++) columns += begins_character(*text);
    return columns;
}

size_t text_bytes(const char *text, int columns) {
    size_t bytes = 0;
    for (; text[bytes] != '\0' && (columns > 0 || !begins_character(text[bytes])); bytes++)
        columns -= begins_character(text[bytes]);
    return bytes;
}

bool text_ends_with(const char *text, const char *end) {
    const size_t length = strlen(text), tail = strlen(end);
    return length > tail && strcmp(text + length - tail, end) == 0;
}

void text_copy(char *to, size_t room, const char *text) {
    uint32_t character;
    for (int length; (length = text_next(text, &character)) > 0 && (size_t)length < room;
         text += length, to += length, room -= (size_t)length)
        memcpy(to, text, (size_t)length);
    *to = '\0';
}

bool text_is_plain(uint32_t character) {
    static const uint32_t hidden[][2] = {
        {0x00, 0x1f},     {0x7f, 0x9f},     {0xad, 0xad},     {0x61c, 0x61c},
        {0x180e, 0x180e}, {0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f},
        {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xfffe, 0xffff}, {0xe0000, 0xe0fff},
    };
    for (size_t n = 0; n < sizeof hidden / sizeof hidden[0]; n++) {
        if (character >= hidden[n][0] && character <= hidden[n][1]) return false;
    }
    return character != TEXT_NOT_UTF8;
}

void text_show_character(FILE *to, const char *text, int length, uint32_t character) {
    if (text_is_plain(character)) {
        fwrite(text, 1, (size_t)length, to);
    } else if (character == '\n' || character == '\t' || character == '\r') {
        fprintf(to, "\\%c", character == '\n' ? 'n' : character == '\t' ? 't' : 'r');
    } else if (length == 1) {
        fprintf(to, "\\x%02x", (unsigned char)*text);
    } else {
        fprintf(to, character > 0xffff ? "\\U%08x" : "\\u%04x", character);
    }
}

void text_show(FILE *to, const char *text) {
    uint32_t character;
    for (int length; (length = text_next(text, &character)) > 0; text += length)
        text_show_character(to, text, length, character);
}

static bool is_plain(const char *text) {
    uint32_t character;
    for (int length; (length = text_next(text, &character)) > 0; text += length) {
        if (!text_is_plain(character)) return false;
    }
    return true;
}

/* Bytes, not characters: bash reads \u by its locale. */
static void quote_bytes(FILE *to, const char *text) {
    uint32_t character;
    fputs("$'", to);
    for (int length; (length = text_next(text, &character)) > 0; text += length) {
        if (character == '\'' || character == '\\') {
            fprintf(to, "\\%c", *text);
        } else if (text_is_plain(character)) {
            fwrite(text, 1, (size_t)length, to);
        } else {
            /* Three octal digits: a hexadecimal digit that follows \x1 would belong to it. */
            for (int n = 0; n < length; n++) fprintf(to, "\\%03o", (unsigned char)text[n]);
        }
    }
    fputc('\'', to);
}

void text_quote(FILE *to, const char *text) {
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "_./,:=+-";
    if (*text != '\0' && text[strspn(text, safe)] == '\0') {
        fputs(text, to);
    } else if (!is_plain(text)) {
        quote_bytes(to, text);
    } else {
        fputc('\'', to);
        for (; *text; text++) fputs(*text == '\'' ? "'\\''" : (const char[]){*text, '\0'}, to);
        fputc('\'', to);
    }
}
