/* The launch: every core a thread, at most `threads` of them computing at once, one that waits for
 * another core giving up its turn, so that any number of waiting cores cannot stop the rest; its
 * findings, and what every instruction begins with. Emulated; never run on a 910B2. */
#include "machine.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <system_error>
#include <thread>

#include "core.h"
#include "machine_state.h"

namespace twin {

machine &state() {
    static machine m;
    return m;
}

static thread_local core *me;

const char *name_of(pipe_t pipe) {
    static const char *const names[] = {"S", "V", "M", "MTE1", "MTE2", "MTE3", "FIX", "ALL"};
    return names[pipe];
}

site_text text_of(twin_site at) {
    site_text t;
    const char *slash = strrchr(at.file, '/');
    snprintf(t.text, sizeof t.text, "%s:%d", slash ? slash + 1 : at.file, at.line);
    return t;
}

void core_name(char *text, size_t bytes, int number) {
    const core &c = *state().cores[static_cast<size_t>(number)];
    if (c.cube) {
        snprintf(text, bytes, "block %d cube", c.block);
    } else if (state().kind == ASC_MIX_1_2) {
        snprintf(text, bytes, "block %d vector %d", c.block, c.sub_block);
    } else {
        snprintf(text, bytes, "block %d", c.block);
    }
}

/* ---- Findings --------------------------------------------------------------------------------
 */

void fail(machine &m, const char *status, twin_site at, const char *what, const core *who) {
    if (m.failed) return;
    m.text = std::string(status) + ": " + (at.file ? text_of(at).text : "launch") + ": " + what;
    if (who) {
        char name[48];
        core_name(name, sizeof name, who->number);
        m.text += std::string(" (") + name + ")";
    }
    m.failed = true;
    for (auto &c : m.cores) c->woken.notify_all();
    m.turn.notify_all();
}

/* The lock is held. */
static void keep_finding(const char *status, twin_site at, const char *format, va_list list) {
    char what[1200];
    vsnprintf(what, sizeof what, format, list);
    fail(state(), status, at, what, me);
}

void finding(const char *status, twin_site at, const char *format, ...) {
    {
        const std::lock_guard<std::mutex> hold(state().lock);
        va_list list;
        va_start(list, format);
        keep_finding(status, at, format, list);
        va_end(list);
    }
    throw stop{};
}

void finding_locked(const char *status, twin_site at, const char *format, ...) {
    va_list list;
    va_start(list, format);
    keep_finding(status, at, format, list);
    va_end(list);
    throw stop{};
}

void require(int64_t value, int64_t low, int64_t high, const char *what, twin_site at) {
    if (value < low || value > high) {
        finding("CRASH: limit", at, "%s is %lld, may be %lld to %lld", what,
                static_cast<long long>(value), static_cast<long long>(low),
                static_cast<long long>(high));
    }
}

/* ---- Places in kernels -----------------------------------------------------------------------
 */

namespace {
struct site_table {
    std::mutex lock;
    std::vector<twin_site> sites{{nullptr, 0}};
    uint32_t find(twin_site at) {
        const std::lock_guard<std::mutex> hold(lock);
        for (uint32_t i = 1; i < sites.size(); i++) {
            if (sites[i].line == at.line && !strcmp(sites[i].file, at.file)) return i;
        }
        sites.push_back(at);
        return static_cast<uint32_t>(sites.size() - 1);
    }
};
site_table &all_sites() {
    static site_table t;
    return t;
}
} // namespace

uint32_t site_number(twin_site at) {
    struct seen {
        const char *file;
        int line;
        uint32_t number;
    };
    static thread_local seen cache[256];
    seen &entry =
        cache[(reinterpret_cast<uintptr_t>(at.file) / 8 + static_cast<unsigned>(at.line)) % 256];
    if (entry.file != at.file || entry.line != at.line) {
        entry = {at.file, at.line, all_sites().find(at)};
    }
    return entry.number;
}

twin_site site_of(uint32_t number) {
    const std::lock_guard<std::mutex> hold(all_sites().lock);
    return all_sites().sites[number];
}

/* ---- Instructions ----------------------------------------------------------------------------
 */

core &self(twin_site at) {
    if (!me) {
        fprintf(stderr, "twin: %s: a call outside a launch\n", text_of(at).text);
        abort();
    }
    if (state().failed.load(std::memory_order_relaxed)) throw stop{};
    return *me;
}

bool has_pipe(const core &c, pipe_t pipe) {
    switch (pipe) {
    case PIPE_V:
        return !c.cube;
    case PIPE_M:
    case PIPE_MTE1:
    case PIPE_FIX:
        return c.cube;
    default:
        return true;
    }
}

core &issue(pipe_t pipe, twin_site at) {
    core &c = self(at);
    if (!c.initialised) finding("CRASH: limit", at, "asc_init was not called");
    if (!has_pipe(c, pipe)) {
        finding("CRASH: limit", at, "a %s core has no pipe %s", c.cube ? "cube" : "vector",
                name_of(pipe));
    }
    c.count.instructions[pipe]++;
    return c;
}

} // namespace twin

using namespace twin;

unsigned char *twin_place(twin_memory_kind kind, uint32_t byte) {
    /* Whole numbers: a kernel may name a memory that this core lacks, or a place beyond its end. */
    const core &c = self({"asc_ub and its like", 0});
    const uintptr_t base = reinterpret_cast<uintptr_t>(c.memories[kind].base);
    return reinterpret_cast<unsigned char *>((base ? base : 4096) + byte);
}

void asc_init(twin_site at) {
    core &c = self(at);
    c.initialised = true;
    c.mask_known = true;
    c.mask[0] = c.mask[1] = ~uint64_t{0};
}

int64_t asc_block() {
    return self({"asc_block", 0}).block;
}
int64_t asc_blocks() {
    self({"asc_blocks", 0});
    return state().blocks;
}
int64_t asc_sub_block() {
    return self({"asc_sub_block", 0}).sub_block;
}
bool asc_on_cube() {
    return self({"asc_on_cube", 0}).cube;
}
bool asc_on_vector() {
    return !asc_on_cube();
}

void asc_set_ffts_base_addr(uint64_t address, twin_site at) {
    core &c = self(at);
    require(address != 0, 1, 1, "asc_set_ffts_base_addr's address being other than 0", at);
    c.synchronised = true;
}

void twin_scalar(const void *place, unsigned bytes, bool gm, bool write, twin_site at) {
    core &c = issue(PIPE_S, at);
    if (reinterpret_cast<uintptr_t>(place) % bytes) {
        finding("CRASH: limit", at, "a scalar access of %u bytes at no multiple of them", bytes);
    }
    if (gm) {
        gm_scalar(c, place, bytes, at);
        return;
    }
    const operand o = place_of(c, TWIN_UB, place, write, bytes, at);
    if (write) {
        check_write(c, PIPE_S, o, o.first, o.first + bytes, at);
        record_write(c, PIPE_S, o, o.first, o.first + bytes, at);
    } else {
        check_read(c, PIPE_S, o, o.first, o.first + bytes, at);
        record_read(c, PIPE_S, o, o.first, o.first + bytes, at);
    }
}

/* ---- The launch ------------------------------------------------------------------------------
 */

void twin_begin(int threads) {
    machine &m = state();
    m.regions.clear();
    m.threads = std::max(threads, 1);
    m.text.clear();
    m.failed = false;
    estimate_begin();
}

void twin_declare(const void *data, uint64_t bytes, twin_access access, const char *name) {
    if (!bytes) return;
    region r;
    r.base = static_cast<const unsigned char *>(data);
    r.bytes = bytes;
    r.access = access;
    r.name = name;
    region_open(r);
    state().regions.push_back(std::move(r));
}

static void make_core(machine &m, int number, int block, int sub_block, bool cube) {
    if (m.cores.size() <= static_cast<size_t>(number)) m.cores.push_back(std::make_unique<core>());
    core &c = *m.cores[static_cast<size_t>(number)];
    c.number = number;
    c.block = block;
    c.sub_block = sub_block;
    const bool same = c.cube == cube && c.memories[cube ? TWIN_L1 : TWIN_UB].capacity;
    c.cube = cube;
    for (int k = 0; k < TWIN_MEMORIES; k++) {
        memory &mem = c.memories[k];
        if ((k == TWIN_UB) != cube) {
            if (!same) mem.allocate(static_cast<twin_memory_kind>(k));
            mem.freshen();
        } else if (!same) {
            mem.release();
        }
    }
    c.now.fill(m.epoch_before + 1);
    for (clock_row &row : c.known) row.fill(m.epoch_before);
    c.known[PIPE_S][PIPE_S] = UINT32_MAX; /* scalar accesses follow each other */
    for (clock_row &row : c.foreign) row.fill(m.epoch_before);
    c.flags.assign(size_t{pipes} * pipes * events, {});
    c.count = {};
    c.initialised = c.synchronised = c.mask_known = c.copy_params_known = false;
    c.compare_mask_known = false;
    c.compare_mask_used = 0;
    for (auto &queue : c.counter) queue.clear();
    c.waiting = c.finished = false;
    c.region = 0;
    c.moved.assign(m.regions.size(), 0);
}

/* Flags that nobody took. */
static void check_left_over(core &c) {
    for (int i = 0; i < pipes * pipes * events; i++) {
        const event_flag &f = c.flags[static_cast<size_t>(i)];
        if (!f.set) continue;
        finding("FAIL_RACE", f.at, "flag %d from %s to %s is left set at the end", i % events,
                name_of(static_cast<pipe_t>(i / events / pipes)),
                name_of(static_cast<pipe_t>(i / events % pipes)));
    }
}

static void run_core(machine &m, core &c, void (*body)(void *), void *context) {
    me = &c;
    {
        std::unique_lock<std::mutex> hold(m.lock);
        m.turn.wait(hold, [&] { return m.running < m.threads; });
        m.running++;
    }
    try {
        if (!m.failed) {
            body(context);
            check_left_over(c);
        }
    } catch (const stop &) {
    }
    const std::lock_guard<std::mutex> hold(m.lock);
    c.finished = true;
    m.finished++;
    m.running--;
    m.turn.notify_one();
    deadlock_if_any(m);
    me = nullptr;
}

static void check_counters(machine &m) {
    for (int flag = 0; flag < core_flags; flag++) {
        for (int i = 0; i < m.cores_used; i++) {
            const size_t n = static_cast<size_t>(i);
            const size_t left = m.cores[n]->counter[flag].size() + m.arrived[flag][n].size();
            if (!left) continue;
            char who[48];
            core_name(who, sizeof who, i);
            finding("FAIL_RACE", {nullptr, 0},
                    "flag %d between cores is left at %zu at the end on %s", flag, left, who);
        }
    }
}

static void run_all(machine &m, void (*body)(void *), void *context) {
    std::vector<std::thread> threads;
    threads.reserve(static_cast<size_t>(m.cores_used));
    for (int i = 0; i < m.cores_used; i++) {
        core &c = *m.cores[static_cast<size_t>(i)];
        threads.emplace_back([&m, &c, body, context] { run_core(m, c, body, context); });
    }
    for (std::thread &t : threads) t.join();
}

/* Bytes of global memory that the launch had to move at least once. */
static double compulsory_bytes(const machine &m) {
    double bytes = 0;
    for (size_t r = 0; r < m.regions.size(); r++) {
        uint64_t moved = 0;
        for (int i = 0; i < m.cores_used; i++) moved += m.cores[static_cast<size_t>(i)]->moved[r];
        bytes += static_cast<double>(std::min(moved, m.regions[r].bytes));
    }
    return bytes;
}

const char *twin_run(int kind, int blocks, const char *name, void (*body)(void *), void *context) {
    machine &m = state();
    if (m.failed) return m.text.c_str();
    try {
        const bool mix = kind == ASC_MIX_1_2, cube = kind == ASC_MIX_1_0 || kind == ASC_CUBE;
        m.kind = kind;
        m.blocks = blocks;
        const twin_site nowhere = {nullptr, 0};
        require(kind, 0, ASC_CUBE, "the kind of launch", nowhere);
        require(blocks, 1, mix || cube ? ASC_CUBE_CORES : ASC_VECTOR_CORES, "the number of blocks",
                nowhere);
        m.cores_used = mix ? blocks * 3 : blocks;
        for (int i = 0; i < m.cores_used; i++) {
            if (mix) {
                make_core(m, i, i / 3, i % 3 ? i % 3 - 1 : 0, i % 3 == 0);
            } else {
                make_core(m, i, i, 0, cube);
            }
        }
        m.running = m.waiting = m.finished = 0;
        for (int f = 0; f < core_flags; f++) {
            m.flag_mode[f] = -1;
            m.arrived[f].assign(static_cast<size_t>(m.cores_used), {});
        }
        run_all(m, body, context);
        for (int i = 0; i < m.cores_used; i++) {
            const clock_row &now = m.cores[static_cast<size_t>(i)]->now;
            m.epoch_before = std::max(m.epoch_before, *std::max_element(now.begin(), now.end()));
        }
        if (m.failed) return m.text.c_str();
        check_counters(m);
    } catch (const stop &) {
        return m.text.c_str();
    }
    std::vector<counts> each;
    each.reserve(static_cast<size_t>(m.cores_used));
    for (int i = 0; i < m.cores_used; i++) {
        each.push_back(m.cores[static_cast<size_t>(i)]->count);
    }
    estimate_add(name, blocks, each.data(), m.cores_used, compulsory_bytes(m));
    return nullptr;
}
