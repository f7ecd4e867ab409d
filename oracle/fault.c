/* Telling: one line on stderr, whatever is in it. */
#define _GNU_SOURCE
#include "fault.h"
#include "text.h"

#include <stdlib.h>

void *allocate_or_abort(int64_t count, size_t bytes) {
    void *memory = calloc((size_t)count + 1, bytes);
    if (memory == NULL) abort();
    return memory;
}

void fault_say(const char *format, ...) {
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0) text = NULL;
    va_end(arguments);
    /* At once: several processes tell. */
    char *line = NULL;
    size_t bytes = 0;
    FILE *memory = open_memstream(&line, &bytes);
    if (memory != NULL) {
        fputs("attest: ", memory);
        text_show(memory, text != NULL ? text : format);
        fputc('\n', memory);
        if (fclose(memory) == 0) fwrite(line, 1, bytes, stderr);
    }
    free(line);
    free(text);
}

int fault_tell(const struct fault *fault) {
    fault_say("%s", fault->text);
    return fault->code;
}
