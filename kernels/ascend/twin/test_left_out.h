/* Kernels that are included behind this can be run with a barrier left out: asc_sync and
 * asc_sync_pipe of one line, on all cores. */
#ifndef ATTEST_ASCEND_TWIN_TEST_LEFT_OUT_H
#define ATTEST_ASCEND_TWIN_TEST_LEFT_OUT_H

#include <functional>
#include <mutex>

#include "test_bench.h"

namespace left_out {

inline std::mutex lock;
inline std::vector<twin_site> met; /* lines with a barrier, each once */
inline const twin_site *which;     /* the one left out, or NULL */

inline bool same(const twin_site &a, const twin_site &b) {
    return a.line == b.line && strcmp(a.file, b.file) == 0;
}
inline bool now(twin_site at) {
    if (which != nullptr) return same(at, *which);
    const std::lock_guard<std::mutex> held(lock);
    for (const twin_site &before : met) {
        if (same(at, before)) return false;
    }
    met.push_back(at);
    return false;
}

/* All launches are right, and with any of their barriers left out one of them has a finding. */
inline void expect_each_missed(const std::vector<std::function<std::string()>> &launches) {
    which = nullptr;
    met.clear();
    for (const auto &launch : launches) expect_clean(launch());
    cr_assert(!met.empty());
    for (const twin_site &site : met) {
        which = &site;
        bool missed = false;
        for (size_t i = 0; i < launches.size() && !missed; i++) missed = !launches[i]().empty();
        cr_expect(missed, "nobody misses %s:%d", site.file, site.line);
    }
    which = nullptr;
}

} // namespace left_out

#define asc_sync_pipe(pipe) (left_out::now(twin_site::here()) ? (void)0 : asc_sync_pipe(pipe))
#define asc_sync() (left_out::now(twin_site::here()) ? (void)0 : asc_sync())

#endif
