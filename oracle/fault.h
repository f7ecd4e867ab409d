/* One error, told once, by the place that knows: what failed, the subject quoted, what was
 * expected; lower case, no full stop. Functions that can fail return bool and take a fault;
 * `return fault_set(fault, FAULT_INPUT, ...)` is both at once. The code is the exit status. */
#ifndef ATTEST_FAULT_H
#define ATTEST_FAULT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum fault_code {
    FAULT_NONE = 0,
    FAULT_INPUT = 4,   /* usage, or a file or line that is not as it must be */
    FAULT_NOTHING = 5, /* nothing selected, or not comparable */
    FAULT_OURS = 70    /* the machine or we failed: out of memory, disk full, a broken invariant */
};

/* The exit statuses that are no fault: what was found out. */
enum { EXIT_WRONG_RESULT = 1, EXIT_REGRESSION = 2, EXIT_CRASH = 3 };

struct fault {
    enum fault_code code;
    char text[1024];
};

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static inline bool
fault_set(struct fault *fault, enum fault_code code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fault->code = code;
    vsnprintf(fault->text, sizeof fault->text, format, arguments);
    va_end(arguments);
    return false;
}

/* Zeroed room for `count` and one more, so that it is never NULL: for what is small beside that
 * which it is of. */
void *allocate_or_abort(int64_t count, size_t bytes);

/* Prints "attest: ..." on stderr, in one line: what a terminal would not show is escaped (text.h).
 */
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
void fault_say(const char *format, ...);
/* The same with the fault's text; returns the exit status. */
int fault_tell(const struct fault *fault);

#endif
