/* One core of the emulated machine, as the twin's own files see it: its pipes' clocks, its flags,
 * its memories and its counts.
 *
 * Time is counted in epochs. Pipe p of core c has an epoch of its own, `now[p]`, that ends whenever
 * something could be told about it: at a notify, a barrier, an arrival. `known[q][p]` is the last
 * epoch of pipe p that instructions of pipe q issued from here on come after. An access is a stamp
 * (epoch, core, pipe, place in the kernel); it comes before an instruction of pipe q iff its epoch
 * is known to q. An instruction's own epoch is not known to its own pipe: that is why two dependent
 * instructions of one pipe need a barrier.
 *
 * Waiting for another core blocks all pipes, so what a core knows of other cores is one row,
 * `foreign`, for all its pipes. Epochs go on from launch to launch: everything before a launch is
 * known to it. */
#ifndef ATTEST_ASCEND_TWIN_CORE_H
#define ATTEST_ASCEND_TWIN_CORE_H

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <vector>

#include "count.h"
#include "memory.h"
#include "../asc.h"

namespace twin {

constexpr int pipes = PIPE_ALL;
constexpr int events = 8;
constexpr int core_flags = 16;
constexpr int cores_max = ASC_CUBE_CORES + ASC_VECTOR_CORES;

using clock_row = std::array<uint32_t, pipes>;
/* What is known of every pipe of every core. */
using clock_table = std::array<clock_row, cores_max>;

struct event_flag {
    bool set;
    uint32_t taken; /* the epoch of the pipe that waited, when it last did */
    clock_row known;
    twin_site at; /* of the last notify */
};

struct core {
    int number, block, sub_block;
    bool cube;
    clock_row now;
    std::array<clock_row, pipes> known;
    clock_table foreign;
    std::vector<event_flag> flags; /* [from][to][id] */
    memory memories[TWIN_MEMORIES];
    counts count;

    bool initialised, synchronised; /* asc_init, asc_set_ffts_base_addr */
    bool mask_known, copy_params_known;
    uint64_t mask[2]; /* low, high */
    uint64_t compare_mask[2];
    bool compare_mask_known;
    stamp compare_mask_set, compare_mask_used; /* last */

    /* Under the launch's lock. */
    std::deque<clock_table> counter[core_flags]; /* its value is the length */
    bool waiting, finished;
    int waiting_flag;
    twin_site waiting_at;
    std::condition_variable woken;

    size_t region;               /* where the last access to global memory fell */
    std::vector<uint64_t> moved; /* bytes a region */
};

/* The core that this thread is; `at` is only for the message if it is none. */
core &self(twin_site at);

/* Begins an instruction of `pipe`: stops a launch that already failed, refuses a core without that
 * pipe, counts. */
core &issue(pipe_t pipe, twin_site at);

/* Ends the launch with a finding: "STATUS: file:line: block 0 vector 1: ...". */
[[noreturn]] void finding(const char *status, twin_site at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same, for callers that hold the launch's lock. */
[[noreturn]] void finding_locked(const char *status, twin_site at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Limits of the documentation: "CRASH: limit" unless low <= value <= high. */
void require(int64_t value, int64_t low, int64_t high, const char *what, twin_site at);

/* "fifo.asc:12" */
struct site_text {
    char text[96];
};
site_text text_of(twin_site at);
const char *name_of(pipe_t pipe);

/* Places in kernels, as small numbers. */
uint32_t site_number(twin_site at);
twin_site site_of(uint32_t number);

inline stamp make_stamp(const core &c, pipe_t pipe, twin_site at) {
    return stamp_of(c.now[pipe], static_cast<uint32_t>(c.number), static_cast<uint32_t>(pipe),
                    site_number(at));
}

/* Whether the access stamped comes before what `pipe` of this core now issues. */
inline bool comes_before(const core &c, pipe_t pipe, stamp s) {
    const uint32_t epoch = stamp_epoch(s);
    const int other = static_cast<int>(stamp_core(s));
    const uint32_t of = stamp_pipe(s);
    if (other == c.number) {
        return epoch <= c.known[pipe][of];
    }
    return epoch <= c.foreign[static_cast<size_t>(other)][of];
}

} // namespace twin

#endif
