/* Launches that are recorded, once more and in the way: beside the recording that is timed there
 * are three more of fewer launches. `spoilt` has, before each launch, its outputs filled with what
 * was never written, and a head of V copied there with the other sign than it has (turn.h).
 * `touched` fills other memory of the same size, and copies the head as it is. `alone` has the
 * copies of the first and no launches. So what a launch takes that finds neither its answer nor its
 * inputs as they were is known, beside one that does and has had as much done before it. Outputs of
 * the first are kept, after each launch, and looked at. */
#ifndef ATTEST_SPOIL_H
#define ATTEST_SPOIL_H

#include "sampling.h"

struct spoil {
    /* What is recorded: the launches of calls[0], calls[1], ..., calls[0], ... */
    const struct subject *subject;
    const struct attn_call *calls;
    int64_t count;
    double single_us;        /* about a launch */
    double sample_us;        /* a launch, by the median of the samples, */
    int64_t sample_launches; /* of so many, recorded as number 0 */
    struct watch *watch;
};

/* Measures, and leaves inputs as they were. Where it cannot be done, found->launches is 0 and
 * found->why says why. NULL, or what went wrong on the device. */
const char *spoil_measure(const struct spoil *spoil, struct spoilt *found);

#endif
