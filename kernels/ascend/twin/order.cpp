/* What orders instructions: flags and barriers between the pipes of a core, arrivals and waits
 * between cores; and who waits for whom when nothing can go on. Emulated; never run on a 910B2. */
#include <algorithm>
#include <string>

#include "core.h"
#include "machine_state.h"

using namespace twin;

static void join(clock_row &to, const clock_row &from) {
    for (size_t p = 0; p < pipes; p++) to[p] = std::max(to[p], from[p]);
}

/* All that pipe p of this core has done so far, and all it knows; what comes later is a new
 * epoch. */
static clock_row release(core &c, pipe_t p) {
    clock_row row = c.known[p];
    row[p] = c.now[p];
    c.now[p]++;
    return row;
}

/* ---- Between pipes ---------------------------------------------------------------------------
 */

/* Tables 2 and 3 of the overview. */
static void require_pair(const core &c, pipe_t from, pipe_t to, twin_site at) {
    bool fine = from != to && has_pipe(c, from) && has_pipe(c, to);
    if (c.cube) {
        fine = fine && from != PIPE_S && to != PIPE_S && !(from == PIPE_M && to == PIPE_MTE3) &&
               !(from == PIPE_MTE3 && to == PIPE_M);
    }
    if (!fine) {
        finding("CRASH: limit", at, "a %s core has no flag from %s to %s",
                c.cube ? "cube" : "vector", name_of(from), name_of(to));
    }
}

static event_flag &flag_of(core &c, pipe_t from, pipe_t to, int id, twin_site at) {
    if (from >= PIPE_ALL || to >= PIPE_ALL) {
        finding("CRASH: limit", at, "a flag is between two pipes, not PIPE_ALL");
    }
    require_pair(c, from, to, at);
    require(id, 0, events - 1, "the flag's id", at);
    return c.flags[static_cast<size_t>(from * pipes + to) * events + static_cast<size_t>(id)];
}

void asc_sync_notify(pipe_t from, pipe_t to, int id, twin_site at) {
    core &c = self(at);
    event_flag &f = flag_of(c, from, to, id, at);
    if (f.set) {
        finding("FAIL_RACE", at, "flag %d from %s to %s is set twice: first at %s", id,
                name_of(from), name_of(to), text_of(f.at).text);
    }
    /* The pipe that waits may not have come to its wait when this one sets the flag again. */
    if (f.taken > c.known[from][to] && !state().blind) {
        finding("FAIL_RACE", at,
                "flag %d from %s to %s may be set again, after %s, before %s has taken it", id,
                name_of(from), name_of(to), text_of(f.at).text, name_of(to));
    }
    f = {true, 0, release(c, from), at};
    c.count.notifies++;
}

void asc_sync_wait(pipe_t from, pipe_t to, int id, twin_site at) {
    core &c = self(at);
    event_flag &f = flag_of(c, from, to, id, at);
    if (!f.set) {
        finding("HANG: deadlock", at, "%s waits for flag %d from %s, which nothing set before",
                name_of(to), id, name_of(from));
    }
    f.set = false;
    join(c.known[to], f.known);
    if (to != PIPE_S) {
        f.taken = c.now[to]++;
        return;
    }
    /* What is issued after S waited comes after what S waited for; not after S's own stores. */
    clock_row row = c.known[PIPE_S];
    row[PIPE_S] = 0;
    for (clock_row &known : c.known) join(known, row);
}

void asc_sync_pipe(pipe_t pipe, twin_site at) {
    core &c = self(at);
    c.count.barriers++;
    if (pipe == PIPE_ALL) {
        clock_row row = c.now;
        for (uint32_t &epoch : c.now) epoch++;
        for (clock_row &known : c.known) join(known, row);
        return;
    }
    if (pipe == PIPE_S || pipe > PIPE_ALL || !has_pipe(c, pipe)) {
        finding("CRASH: limit", at, "asc_sync_pipe(PIPE_%s) on a %s core", name_of(pipe),
                c.cube ? "cube" : "vector");
    }
    c.known[pipe] = release(c, pipe);
}

void asc_sync(twin_site at) {
    asc_sync_pipe(PIPE_ALL, at);
}

/* ---- Between cores ---------------------------------------------------------------------------
 */

static void join(clock_table &to, const clock_table &from) {
    for (size_t i = 0; i < to.size(); i++) join(to[i], from[i]);
}

static const char *const mode_names[] = {"ASC_ALL_CORES", "ASC_VECTOR_PAIR", "ASC_CUBE_VECTOR"};

/* Who must arrive for c's arrival to count, and who is told then. */
static bool arrives_with(int mode, const core &c, const core &other) {
    if (c.cube != other.cube) return false;
    switch (mode) {
    case ASC_ALL_CORES:
        return true;
    default:
        return c.block == other.block;
    }
}
static bool is_told(int mode, const core &c, const core &other) {
    switch (mode) {
    case ASC_ALL_CORES:
        return c.cube == other.cube;
    case ASC_VECTOR_PAIR:
        return !other.cube && c.block == other.block;
    default:
        return c.cube != other.cube && c.block == other.block;
    }
}

static void require_flags(const core &c, int flag, twin_site at) {
    require(flag, 0, core_flags - 1, "the flag between cores", at);
    const int kind = state().kind;
    if (kind == ASC_VECTOR || kind == ASC_CUBE) {
        finding("CRASH: limit", at, "flags between cores need a kernel of a __mix__ kind");
    }
    if (!c.synchronised) {
        finding("CRASH: limit", at, "asc_set_ffts_base_addr was not called");
    }
}

void asc_core_arrive(pipe_t pipe, int mode, int flag, twin_site at) {
    core &c = self(at);
    machine &m = state();
    require_flags(c, flag, at);
    require(mode, 0, 2, "the mode of an arrival", at);
    if (pipe >= PIPE_ALL || !has_pipe(c, pipe)) {
        finding("CRASH: limit", at, "a %s core has no pipe %s to arrive",
                c.cube ? "cube" : "vector", name_of(pipe));
    }
    if ((mode == ASC_VECTOR_PAIR && (c.cube || m.kind != ASC_MIX_1_2)) ||
        (mode == ASC_CUBE_VECTOR && m.kind != ASC_MIX_1_2)) {
        finding("CRASH: limit", at, "%s on %s core of this kind of kernel", mode_names[mode],
                c.cube ? "the cube" : "a vector");
    }
    c.count.arrivals++;
    clock_table table = c.foreign;
    table[static_cast<size_t>(c.number)] = release(c, pipe);

    const std::lock_guard<std::mutex> hold(m.lock);
    if (m.flag_mode[flag] >= 0 && m.flag_mode[flag] != mode) {
        finding_locked("CRASH: limit", at, "flag %d is used in mode %s and in %s", flag,
                       mode_names[m.flag_mode[flag]], mode_names[mode]);
    }
    m.flag_mode[flag] = mode;
    auto &queues = m.arrived[flag];
    queues[static_cast<size_t>(c.number)].push_back(table);
    std::vector<int> with;
    for (int i = 0; i < m.cores_used; i++) {
        if (!arrives_with(mode, c, *m.cores[static_cast<size_t>(i)])) continue;
        if (queues[static_cast<size_t>(i)].empty()) return;
        with.push_back(i);
    }
    clock_table all{};
    for (int i : with) {
        join(all, queues[static_cast<size_t>(i)].front());
        queues[static_cast<size_t>(i)].pop_front();
    }
    for (int i = 0; i < m.cores_used; i++) {
        core &other = *m.cores[static_cast<size_t>(i)];
        if (!is_told(mode, c, other)) continue;
        if (other.counter[flag].size() == 15) {
            char who[48];
            core_name(who, sizeof who, i);
            finding_locked("CRASH: limit", at, "flag %d of %s goes above 15", flag, who);
        }
        other.counter[flag].push_back(all);
        if (other.waiting && other.waiting_flag == flag) {
            other.waiting = false;
            m.waiting--;
            other.woken.notify_one();
        }
    }
}

/* Who waits for whom. The lock is held. */
static void deadlock(machine &m) {
    std::string text;
    twin_site at = {nullptr, 0};
    int told = 0;
    for (int i = 0; i < m.cores_used; i++) {
        const core &c = *m.cores[static_cast<size_t>(i)];
        if (!c.waiting) continue;
        if (!told) at = c.waiting_at;
        if (++told > 4) continue;
        char who[48];
        core_name(who, sizeof who, i);
        text += (told > 1 ? "; " : "") + std::string(who) + " waits at " +
                text_of(c.waiting_at).text + " for flag " + std::to_string(c.waiting_flag);
        const int mode = m.flag_mode[c.waiting_flag];
        if (mode < 0) {
            text += ", at which nobody arrived";
            continue;
        }
        std::string missing;
        int more = 0;
        for (int j = 0; j < m.cores_used; j++) {
            const core &other = *m.cores[static_cast<size_t>(j)];
            if (!is_told(mode, other, c) ||
                !m.arrived[c.waiting_flag][static_cast<size_t>(j)].empty()) {
                continue;
            }
            if (++more > 2) continue;
            core_name(who, sizeof who, j);
            missing += std::string(more > 1 ? ", " : "") + who +
                       (other.finished ? " (has ended)" : " (waits too)");
        }
        text += " of " + missing + (more > 2 ? " and others" : "");
    }
    if (told > 4) text += "; and " + std::to_string(told - 4) + " more";
    fail(m, "HANG: deadlock", at, text.c_str(), nullptr);
}

void twin::deadlock_if_any(machine &m) {
    if (m.waiting && m.waiting + m.finished == m.cores_used && !m.failed) deadlock(m);
}

void asc_core_wait(int flag, twin_site at) {
    core &c = self(at);
    machine &m = state();
    require_flags(c, flag, at);
    {
        std::unique_lock<std::mutex> hold(m.lock);
        if (c.counter[flag].empty()) {
            c.waiting = true;
            c.waiting_flag = flag;
            c.waiting_at = at;
            m.waiting++;
            m.running--;
            m.turn.notify_one();
            deadlock_if_any(m);
            c.woken.wait(hold, [&] { return !c.waiting || m.failed; });
            m.turn.wait(hold, [&] { return m.running < m.threads || m.failed; });
            m.running++;
        }
        if (m.failed) throw stop{};
        join(c.foreign, c.counter[flag].front());
        c.counter[flag].pop_front();
    }
    const clock_row &own = c.foreign[static_cast<size_t>(c.number)];
    for (clock_row &known : c.known) join(known, own);
}
