/* What all cores of a launch share. */
#ifndef ATTEST_ASCEND_TWIN_MACHINE_STATE_H
#define ATTEST_ASCEND_TWIN_MACHINE_STATE_H

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core.h"

namespace twin {

struct machine {
    std::vector<region> regions; /* as the host declared them */
    std::vector<std::unique_ptr<core>> cores;
    int cores_used = 0, blocks = 0, kind = 0;
    int threads = 1;
    uint32_t epoch_before = 0; /* all of earlier launches is known to this one */
    bool blind = false; /* no races are looked for: what the numbers alone would tell (tests) */

    std::mutex lock; /* of all below, and of what core.h says */
    std::condition_variable turn;
    int running = 0; /* cores that compute now; at most `threads` */
    int waiting = 0, finished = 0;
    int flag_mode[core_flags];                                /* -1: not used yet */
    std::vector<std::deque<clock_table>> arrived[core_flags]; /* by core, not yet complete */
    std::atomic<bool> failed{false};
    std::string text; /* the finding */
};
machine &state();

/* "block 3 vector 1" */
void core_name(char *text, size_t bytes, int number);

void region_open(region &r);

/* Thrown to leave a kernel once the launch has failed. */
struct stop {};

/* Keeps the first finding and wakes everybody. The lock is held. `who` may be NULL. */
void fail(machine &m, const char *status, twin_site at, const char *what, const core *who);

bool has_pipe(const core &c, pipe_t pipe);

/* Fails if every core that has not ended waits for another. The lock is held. */
void deadlock_if_any(machine &m);

} // namespace twin

#endif
