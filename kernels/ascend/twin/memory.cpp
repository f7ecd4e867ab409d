/* Bounds, unwritten bytes and races, range by range. Emulated; never run on a 910B2. */
#include "memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "core.h"
#include "machine_state.h"

namespace twin {

static const struct {
    const char *name;
    uint32_t capacity, align;
    pipe_t reader[readers_max];
} kinds[TWIN_MEMORIES] = {
    {"ub", ASC_UB_BYTES, 32, {PIPE_V, PIPE_MTE3, PIPE_S}},
    {"l1", ASC_L1_BYTES, 32, {PIPE_MTE1, PIPE_ALL, PIPE_ALL}},
    {"l0a", ASC_L0A_BYTES, 512, {PIPE_M, PIPE_ALL, PIPE_ALL}},
    {"l0b", ASC_L0B_BYTES, 512, {PIPE_M, PIPE_ALL, PIPE_ALL}},
    {"l0c", ASC_L0C_BYTES, 64, {PIPE_M, PIPE_FIX, PIPE_ALL}},
};

const char *name_of(twin_memory_kind kind) {
    return kinds[kind].name;
}
uint32_t capacity_of(twin_memory_kind kind) {
    return kinds[kind].capacity;
}

template <typename T> static zeroed<T> zeros(uint64_t n) {
    void *p = calloc(n ? n : 1, sizeof(T));
    if (!p) throw std::bad_alloc();
    return zeroed<T>(static_cast<T *>(p));
}

void trace::allocate(uint64_t blocks) {
    last = zeros<stamp>(blocks);
    bytes = zeros<uint32_t>(blocks);
}

/* The bits of [from, to) that fall into word w. */
static uint64_t bits_of(uint64_t w, uint64_t from, uint64_t to) {
    uint64_t mask = ~uint64_t{0};
    if (from > w * 64) mask &= ~uint64_t{0} << (from - w * 64);
    if (to < w * 64 + 64) mask &= ~uint64_t{0} >> (w * 64 + 64 - to);
    return mask;
}
void written_map::set(uint64_t from, uint64_t to) {
    for (uint64_t w = from / 64; w * 64 < to; w++) bits[w] |= bits_of(w, from, to);
}
void written_map::clear(uint64_t from, uint64_t to) {
    for (uint64_t w = from / 64; w * 64 < to; w++) bits[w] &= ~bits_of(w, from, to);
}
uint64_t written_map::first_missing(uint64_t from, uint64_t to) const {
    for (uint64_t w = from / 64; w * 64 < to; w++) {
        const uint64_t missing = ~bits[w] & bits_of(w, from, to);
        if (missing) return w * 64 + static_cast<uint64_t>(__builtin_ctzll(missing));
    }
    return to;
}

void memory::allocate(twin_memory_kind kind) {
    capacity = kinds[kind].capacity;
    used = capacity;
    base = static_cast<unsigned char *>(aligned_alloc(512, (capacity + 511) / 512 * 512));
    if (!base) throw std::bad_alloc();
    const uint64_t blocks = (capacity + block_bytes - 1) / block_bytes;
    written.bits = zeros<uint64_t>(capacity / 64 + 1);
    writes.allocate(blocks);
    for (int r = 0; r < readers_max; r++) {
        reader[r] = kinds[kind].reader[r];
        if (reader[r] != PIPE_ALL) reads[r].allocate(blocks);
    }
}
void memory::release() {
    free(base);
    base = nullptr;
    written = {};
    writes = {};
    for (trace &t : reads) t = {};
    capacity = 0;
}
void memory::freshen() {
    memset(base, 0xff, used);
    written.clear(0, used);
    used = 0;
}

operand place_of(core &c, twin_memory_kind kind, const void *place, bool write, uint32_t align,
                 twin_site at) {
    memory &m = c.memories[kind];
    const unsigned char *p = static_cast<const unsigned char *>(place);
    if (!m.capacity) {
        finding("CRASH: limit", at, "a %s core has no %s", c.cube ? "cube" : "vector",
                name_of(kind));
    }
    if (p < m.base || p >= m.base + m.capacity) {
        for (int other = 0; other < TWIN_MEMORIES; other++) {
            const memory &o = c.memories[other];
            if (o.capacity && p >= o.base && p < o.base + o.capacity) {
                finding("CRASH: limit", at, "a place in %s is given where one in %s belongs",
                        kinds[other].name, name_of(kind));
            }
        }
        const ptrdiff_t offset = p - m.base;
        finding(write ? "FAIL_OOB_WRITE" : "FAIL_OOB_READ", at,
                "%s[%td] of %u bytes that a kernel may use", name_of(kind), offset, m.capacity);
    }
    const uint64_t first = static_cast<uint64_t>(p - m.base);
    if (!align) align = kinds[kind].align;
    if (first % align) {
        finding("CRASH: limit", at, "%s[%llu] is no multiple of %u bytes", name_of(kind),
                static_cast<unsigned long long>(first), align);
    }
    return {&m, kind, first};
}

/* Which bytes of block b are in [from, to). */
static uint32_t bytes_of(uint64_t b, uint64_t from, uint64_t to) {
    const uint64_t low = b * block_bytes;
    uint32_t mask = ~0u;
    if (from > low) mask &= ~0u << (from - low);
    if (to < low + block_bytes) mask &= ~0u >> (low + block_bytes - to);
    return mask;
}

[[noreturn]] static void race(core &c, pipe_t pipe, const char *memory, bool now_writes,
                              bool then_wrote, uint64_t from, uint64_t to, stamp s, twin_site at) {
    const bool same = stamp_core(s) == static_cast<uint32_t>(c.number);
    const pipe_t other = static_cast<pipe_t>(stamp_pipe(s));
    char who[48] = "";
    if (!same) core_name(who, sizeof who, static_cast<int>(stamp_core(s)));
    finding("FAIL_RACE", at, "%s %s %s[%llu..%llu] %s by %s%s%s at %s without %s between",
            name_of(pipe), now_writes ? "writes" : "reads", memory,
            static_cast<unsigned long long>(from), static_cast<unsigned long long>(to - 1),
            then_wrote ? "written" : "read", name_of(other), same ? "" : " of ", who,
            text_of(site_of(stamp_site(s))).text,
            !same           ? "an arrival and a wait"
            : other == pipe ? "asc_sync_pipe"
                            : "a flag");
}

/* Fails on an access in `t` to bytes of [from, to) that does not come before this one. */
static void check_trace(core &c, pipe_t pipe, const trace &t, const char *memory, bool writes,
                        bool wrote, uint64_t from, uint64_t to, twin_site at) {
    if (state().blind) return;
    stamp fine = 0;
    for (uint64_t b = from / block_bytes; b * block_bytes < to; b++) {
        const stamp s = t.last[b];
        if (s == fine || !s) continue;
        if (comes_before(c, pipe, s)) {
            fine = s;
        } else if (t.bytes[b] & bytes_of(b, from, to)) {
            race(c, pipe, memory, writes, wrote, from, to, s, at);
        }
    }
}

/* A stamp of the same pipe and epoch at another place in the block adds to what is known. */
static void record_part(trace &t, uint64_t b, uint32_t bytes, stamp s) {
    const uint64_t epoch_and_pipe = ~((uint64_t{1} << 22) - 1);
    if (((t.last[b] ^ s) & epoch_and_pipe) == 0) {
        t.bytes[b] |= bytes;
    } else {
        t.bytes[b] = bytes;
    }
    t.last[b] = s;
}
static void record_trace(trace &t, uint64_t from, uint64_t to, stamp s) {
    uint64_t b = from / block_bytes;
    const uint64_t end = to / block_bytes;
    if (from % block_bytes || b == end) {
        record_part(t, b, bytes_of(b, from, to), s);
        b++;
    }
    for (; b < end; b++) {
        t.last[b] = s;
        t.bytes[b] = ~0u;
    }
    if (b == end && to % block_bytes) record_part(t, b, bytes_of(b, from, to), s);
}

static void check_bounds(const operand &o, bool write, uint64_t from, uint64_t to, twin_site at) {
    if (to > o.in->capacity) {
        finding(write ? "FAIL_OOB_WRITE" : "FAIL_OOB_READ", at,
                "%s[%llu..%llu] of %u bytes that a kernel may use", name_of(o.kind),
                static_cast<unsigned long long>(from), static_cast<unsigned long long>(to - 1),
                o.in->capacity);
    }
}

void check_read(core &c, pipe_t pipe, const operand &o, uint64_t from, uint64_t to, twin_site at) {
    if (from >= to) return;
    check_bounds(o, false, from, to, at);
    const uint64_t missing = o.in->written.first_missing(from, to);
    if (missing != to) {
        finding("FAIL_UNINITIALISED", at, "%s reads %s[%llu..%llu], byte %llu of it never written",
                name_of(pipe), name_of(o.kind), static_cast<unsigned long long>(from),
                static_cast<unsigned long long>(to - 1), static_cast<unsigned long long>(missing));
    }
    check_trace(c, pipe, o.in->writes, name_of(o.kind), false, true, from, to, at);
}

void check_passed(core &c, pipe_t pipe, const operand &o, uint64_t from, uint64_t to,
                  twin_site at) {
    if (from >= to) return;
    check_bounds(o, false, from, to, at);
    check_trace(c, pipe, o.in->writes, name_of(o.kind), false, true, from, to, at);
}

void check_write(core &c, pipe_t pipe, const operand &o, uint64_t from, uint64_t to, twin_site at) {
    if (from >= to) return;
    check_bounds(o, true, from, to, at);
    check_trace(c, pipe, o.in->writes, name_of(o.kind), true, true, from, to, at);
    for (int r = 0; r < readers_max; r++) {
        if (o.in->reader[r] != PIPE_ALL) {
            check_trace(c, pipe, o.in->reads[r], name_of(o.kind), true, false, from, to, at);
        }
    }
}

void record_read(core &c, pipe_t pipe, const operand &o, uint64_t from, uint64_t to, twin_site at) {
    if (from >= to) return;
    for (int r = 0; r < readers_max; r++) {
        if (o.in->reader[r] == pipe) {
            record_trace(o.in->reads[r], from, to, make_stamp(c, pipe, at));
            return;
        }
    }
}

void record_write(core &c, pipe_t pipe, const operand &o, uint64_t from, uint64_t to,
                  twin_site at) {
    if (from >= to) return;
    record_trace(o.in->writes, from, to, make_stamp(c, pipe, at));
    o.in->written.set(from, to);
    if (to > o.in->used) o.in->used = static_cast<uint32_t>(to);
}

void forget(const operand &o, uint64_t from, uint64_t to) {
    if (from >= to) return;
    memset(o.in->base + from, 0xff, to - from);
    o.in->written.clear(from, to);
}

/* ---- Global memory ---------------------------------------------------------------------------
 */

constexpr uint64_t chunk_bytes = 16384; /* a lock each */

static region &region_of(core &c, const void *place, uint64_t bytes, bool write, twin_site at) {
    std::vector<region> &regions = state().regions;
    const unsigned char *p = static_cast<const unsigned char *>(place);
    auto inside = [p](const region &r) { return p >= r.base && p < r.base + r.bytes; };
    if (c.region >= regions.size() || !inside(regions[c.region])) {
        for (c.region = 0; c.region < regions.size(); c.region++) {
            if (inside(regions[c.region])) break;
        }
    }
    const char *status = write ? "FAIL_OOB_WRITE" : "FAIL_OOB_READ";
    if (c.region == regions.size()) {
        const region *near = nullptr;
        for (const region &r : regions) {
            if (r.base <= p && (!near || r.base > near->base)) near = &r;
        }
        if (near && p - near->base < (1 << 20)) {
            finding(status, at, "%s[%td..%td] of %llu bytes", near->name, p - near->base,
                    p - near->base + static_cast<ptrdiff_t>(bytes) - 1,
                    static_cast<unsigned long long>(near->bytes));
        }
        finding(status, at, "global memory that the host did not declare");
    }
    region &r = regions[c.region];
    const uint64_t from = static_cast<uint64_t>(p - r.base);
    if (bytes > r.bytes - from) {
        finding(status, at, "%s[%llu..%llu] of %llu bytes", r.name,
                static_cast<unsigned long long>(from),
                static_cast<unsigned long long>(from + bytes - 1),
                static_cast<unsigned long long>(r.bytes));
    }
    if (write && r.access == TWIN_GM_IN) {
        finding("FAIL_OOB_WRITE", at, "%s is an input, and %s[%llu..%llu] is written", r.name,
                r.name, static_cast<unsigned long long>(from),
                static_cast<unsigned long long>(from + bytes - 1));
    }
    c.moved[c.region] += bytes;
    return r;
}

template <typename Do> static void by_chunk(region &r, uint64_t from, uint64_t to, Do &&step) {
    for (uint64_t at = from; at < to;) {
        const uint64_t end = std::min(to, (at / chunk_bytes + 1) * chunk_bytes);
        const std::lock_guard<std::mutex> hold(r.lock[at / chunk_bytes]);
        step(at, end);
        at = end;
    }
}

/* In the place of a reader that this one comes after, if there is one. */
static void record_gm_read(const core &c, pipe_t pipe, region &r, uint64_t from, uint64_t to,
                           stamp s) {
    for (uint64_t b = from / block_bytes; b * block_bytes < to; b++) {
        int slot = 1;
        for (int k = 0; k < 2; k++) {
            const stamp old = r.reads[k].last[b];
            const bool mine = stamp_core(old) == stamp_core(s) && stamp_pipe(old) == pipe;
            if (!old || mine || comes_before(c, pipe, old)) {
                slot = k;
                break;
            }
        }
        record_part(r.reads[slot], b, bytes_of(b, from, to), s);
    }
}

void gm_read(core &c, pipe_t pipe, const void *place, uint64_t bytes, twin_site at) {
    if (!bytes) return;
    region &r = region_of(c, place, bytes, false, at);
    if (r.access == TWIN_GM_IN) return;
    const uint64_t first =
        static_cast<uint64_t>(static_cast<const unsigned char *>(place) - r.base);
    const stamp s = make_stamp(c, pipe, at);
    by_chunk(r, first, first + bytes, [&](uint64_t from, uint64_t to) {
        const uint64_t missing = r.written.first_missing(from, to);
        if (missing != to) {
            finding("FAIL_UNINITIALISED", at, "%s reads %s[%llu..%llu], byte %llu never written",
                    name_of(pipe), r.name, static_cast<unsigned long long>(from),
                    static_cast<unsigned long long>(to - 1),
                    static_cast<unsigned long long>(missing));
        }
        check_trace(c, pipe, r.writes, r.name, false, true, from, to, at);
        record_gm_read(c, pipe, r, from, to, s);
    });
}

void gm_write(core &c, pipe_t pipe, void *place, uint64_t bytes, twin_site at) {
    if (!bytes) return;
    region &r = region_of(c, place, bytes, true, at);
    const uint64_t first = static_cast<uint64_t>(static_cast<unsigned char *>(place) - r.base);
    const stamp s = make_stamp(c, pipe, at);
    by_chunk(r, first, first + bytes, [&](uint64_t from, uint64_t to) {
        check_trace(c, pipe, r.writes, r.name, true, true, from, to, at);
        check_trace(c, pipe, r.reads[0], r.name, true, false, from, to, at);
        check_trace(c, pipe, r.reads[1], r.name, true, false, from, to, at);
        record_trace(r.writes, from, to, s);
        r.written.set(from, to);
    });
}

void gm_scalar(core &c, const void *place, uint64_t bytes, twin_site at) {
    region &r = region_of(c, place, bytes, false, at);
    if (r.access == TWIN_GM_IN) return;
    const uint64_t from = static_cast<uint64_t>(static_cast<const unsigned char *>(place) - r.base);
    const std::lock_guard<std::mutex> hold(r.lock[from / chunk_bytes]);
    if (r.written.first_missing(from, from + bytes) != from + bytes) {
        finding("FAIL_UNINITIALISED", at, "the scalar unit reads %s[%llu], never written", r.name,
                static_cast<unsigned long long>(from));
    }
    const stamp s = r.writes.last[from / block_bytes];
    if (stamp_epoch(s) > state().epoch_before) {
        finding("FAIL_RACE", at,
                "the scalar unit reads %s[%llu] through its cache, written in this launch by %s at "
                "%s",
                r.name, static_cast<unsigned long long>(from),
                name_of(static_cast<pipe_t>(stamp_pipe(s))), text_of(site_of(stamp_site(s))).text);
    }
    record_gm_read(c, PIPE_S, r, from, from + bytes, make_stamp(c, PIPE_S, at));
}

void region_open(region &r) {
    if (r.access == TWIN_GM_IN) return;
    const uint64_t blocks = r.bytes / block_bytes + 1;
    r.written.bits = zeros<uint64_t>(r.bytes / 64 + 1);
    r.writes.allocate(blocks);
    for (trace &t : r.reads) t.allocate(blocks);
    r.lock = std::make_unique<std::mutex[]>(r.bytes / chunk_bytes + 1);
}

} // namespace twin
