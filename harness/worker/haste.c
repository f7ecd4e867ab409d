#include "haste.h"

#include <stdlib.h>

/* No build that people use knows it, and so no table of variables has it. */
static const char variable[] = "ATTEST_HASTE";

int64_t haste(void) {
#ifdef HASTE_KNOWN
    enum { MOST = 1000 };
    const char *text = getenv(variable);
    char *end;
    const long long times = text != NULL ? strtoll(text, &end, 10) : 1;
    return times > 1 && times <= MOST && *end == '\0' ? times : 1;
#else
    (void)variable;
    return 1;
#endif
}
