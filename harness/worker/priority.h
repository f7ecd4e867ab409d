/* That a launch which is timed is not interrupted by others who want the processor: where the
 * system lets it, threads of this process have a niceness of -10 meanwhile. */
#ifndef ATTEST_PRIORITY_H
#define ATTEST_PRIORITY_H

#include <stdbool.h>

/* Those of niceness 0. Whether the system has let one: then they are to be lowered again. */
bool priority_raise(void);
void priority_lower(bool raised);

#endif
