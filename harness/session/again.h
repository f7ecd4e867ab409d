/* A kernel of the CPU is timed in several processes, and the fastest stands. How long a launch
 * takes there depends on what a process finds: where its memory lies, which it decides once, and
 * what its neighbours do on the same cores, which lasts for seconds; no number of samples in one
 * process says anything of the next. So the rows of a run are gone through again, from the first to
 * the last, in new processes: one is a while away from the other, and where two agree is where
 * others are not.
 *
 * Three processes; where the two fastest differ by more than 1 %, up to eight. Not of launches over
 * 10 ms, of which a timing takes seconds by itself. (Measured, 2 cores of an EPYC, 17 rows x 40
 * processes, the lower quartile of the same library, two runs in |log|: of one process each 15.8 %
 * in one row of 20 and 26.5 % in one of 100, of two 2.9 and 5.4 %, of three 1.7 and 3.8 %; ending
 * as soon as two agree leaves 14.8 % in one of 1,000, for neighbours last longer than two rows.
 * Where a neighbour has the other half of a core most of the time, a third slower, 17 rows x 70
 * processes on 2 cores of a Xeon beside a load of 4: up to five, half of the rows of two runs are
 * within 2.7 %, up to eight within 1.4, up to ten within 1.2.) */
#ifndef ATTEST_AGAIN_H
#define ATTEST_AGAIN_H

#include "session.h"

enum { AGAIN_PROCESSES_MAX = 8 };

/* Whether rows of this run are timed again at all. */
bool again_may(const struct session *session);
/* Whether this one is, as it stands. */
bool again_wants(const struct session *session, const struct row *row);
/* The cap on timing, in milliseconds, for one of cold and warm in one process: of what was asked
 * for a third, and as much of it as keeps a process and the next some seconds apart where there are
 * few rows. */
double again_cap_ms(const struct session *session, int64_t rows);

#endif
