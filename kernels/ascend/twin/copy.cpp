/* Copies by MTE2, MTE3 and, within UB, by V: bursts with gaps. Emulated; never run on a 910B2. */
#include <cstring>

#include "core.h"

using namespace twin;

static constexpr int64_t unit = block_bytes;

/* n runs of `bytes`; the next begins `step` bytes after the last began. */
struct runs {
    int64_t n, bytes, step;
};

static runs blocks(int64_t n, int64_t length, int64_t gap) {
    return {n, length * unit, (length + gap) * unit};
}

static void require_bursts(int64_t n, int64_t length, int64_t src_gap, int64_t dst_gap,
                           twin_site at) {
    require(n, 1, 4095, "the number of bursts", at);
    require(length, 1, 65535, "the length of a burst in 32 bytes", at);
    require(src_gap, 0, 65535, "the gap in the source in 32 bytes", at);
    require(dst_gap, 0, 65535, "the gap in the destination in 32 bytes", at);
}

/* The form with bytes alone is one burst. */
static int64_t blocks_in(uint32_t bytes, twin_site at) {
    if (!bytes || bytes % unit) {
        finding("CRASH: limit", at, "%u bytes are not whole blocks of 32", bytes);
    }
    return bytes / unit;
}

static unsigned char *shift(void *p, int64_t bytes) {
    return static_cast<unsigned char *>(p) + bytes;
}

/* Global memory to UB. */
static void move_in(core &c, const operand &to, void *from, runs dst, runs src, twin_site at) {
    for (int64_t i = 0; i < src.n; i++) {
        const uint64_t first = to.first + static_cast<uint64_t>(i * dst.step);
        const uint64_t last = first + static_cast<uint64_t>(dst.bytes);
        gm_read(c, PIPE_MTE2, shift(from, i * src.step), static_cast<uint64_t>(src.bytes), at);
        check_write(c, PIPE_MTE2, to, first, last, at);
        record_write(c, PIPE_MTE2, to, first, last, at);
        memcpy(to.in->base + first, shift(from, i * src.step), static_cast<size_t>(src.bytes));
        forget(to, first + static_cast<uint64_t>(src.bytes), last);
    }
    c.count.bytes[gm_ub] += static_cast<uint64_t>(src.n * src.bytes);
}

static void gm_to_ub(void *dst, void *src, int64_t n, int64_t length, int64_t src_gap,
                     int64_t dst_gap, twin_site at) {
    core &c = issue(PIPE_MTE2, at);
    require_bursts(n, length, src_gap, dst_gap, at);
    const operand to = place_of(c, TWIN_UB, dst, true, 0, at);
    move_in(c, to, src, blocks(n, length, dst_gap), blocks(n, length, src_gap), at);
}

void asc_copy_gm2ub(void *dst, void *src, uint32_t bytes, twin_site at) {
    gm_to_ub(dst, src, 1, blocks_in(bytes, at), 0, 0, at);
}
void asc_copy_gm2ub(void *dst, void *src, int n, int length, int src_gap, int dst_gap,
                    twin_site at) {
    gm_to_ub(dst, src, n, length, src_gap, dst_gap, at);
}
/* UB to global memory: runs of `bytes`, of which whole blocks are read. */
static void move_out(core &c, void *to, const operand &from, runs dst, runs src, twin_site at) {
    for (int64_t i = 0; i < dst.n; i++) {
        const uint64_t first = from.first + static_cast<uint64_t>(i * src.step);
        check_read(c, PIPE_MTE3, from, first, first + static_cast<uint64_t>(dst.bytes), at);
        gm_write(c, PIPE_MTE3, shift(to, i * dst.step), static_cast<uint64_t>(dst.bytes), at);
        record_read(c, PIPE_MTE3, from, first, first + static_cast<uint64_t>(dst.bytes), at);
        memcpy(shift(to, i * dst.step), from.in->base + first, static_cast<size_t>(dst.bytes));
    }
    c.count.bytes[ub_gm] += static_cast<uint64_t>(dst.n * dst.bytes);
}

static void ub_to_gm(void *dst, void *src, int64_t n, int64_t length, int64_t src_gap,
                     int64_t dst_gap, twin_site at) {
    core &c = issue(PIPE_MTE3, at);
    require_bursts(n, length, src_gap, dst_gap, at);
    const operand from = place_of(c, TWIN_UB, src, false, 0, at);
    move_out(c, dst, from, blocks(n, length, dst_gap), blocks(n, length, src_gap), at);
}

void asc_copy_ub2gm(void *dst, void *src, uint32_t bytes, twin_site at) {
    ub_to_gm(dst, src, 1, blocks_in(bytes, at), 0, 0, at);
}
void asc_copy_ub2gm(void *dst, void *src, int n, int length, int src_gap, int dst_gap,
                    twin_site at) {
    ub_to_gm(dst, src, n, length, src_gap, dst_gap, at);
}

static void ub_to_ub(void *dst, void *src, int64_t n, int64_t length, int64_t src_gap,
                     int64_t dst_gap, twin_site at) {
    core &c = issue(PIPE_V, at);
    require_bursts(n, length, src_gap, dst_gap, at);
    const operand to = place_of(c, TWIN_UB, dst, true, 0, at);
    const operand from = place_of(c, TWIN_UB, src, false, 0, at);
    const runs out = blocks(n, length, dst_gap), in = blocks(n, length, src_gap);
    auto each = [&](auto &&step) {
        for (int64_t i = 0; i < n; i++) {
            step(from.first + static_cast<uint64_t>(i * in.step),
                 to.first + static_cast<uint64_t>(i * out.step), static_cast<uint64_t>(in.bytes));
        }
    };
    each([&](uint64_t f, uint64_t t, uint64_t bytes) {
        check_read(c, PIPE_V, from, f, f + bytes, at);
        check_write(c, PIPE_V, to, t, t + bytes, at);
    });
    each([&](uint64_t f, uint64_t t, uint64_t bytes) {
        if (f < t + bytes && t < f + bytes) {
            finding("FAIL_RACE", at, "a copy within ub overlaps itself");
        }
        memcpy(to.in->base + t, from.in->base + f, bytes);
        record_read(c, PIPE_V, from, f, f + bytes, at);
        record_write(c, PIPE_V, to, t, t + bytes, at);
    });
    c.count.bytes[ub_ub] += static_cast<uint64_t>(n * in.bytes);
    c.count.vector_repeats += static_cast<uint64_t>(n * ((length + 7) / 8));
}

void asc_copy_ub2ub(void *dst, void *src, uint32_t bytes, twin_site at) {
    ub_to_ub(dst, src, 1, blocks_in(bytes, at), 0, 0, at);
}
void asc_copy_ub2ub(void *dst, void *src, int n, int length, int src_gap, int dst_gap,
                    twin_site at) {
    ub_to_ub(dst, src, n, length, src_gap, dst_gap, at);
}

/* ---- Any number of bytes ---------------------------------------------------------------------
 */

static void require_align(const void *gm, int64_t n, int64_t bytes, int64_t gm_gap, int64_t ub_gap,
                          unsigned element, twin_site at) {
    require(n, 1, 4095, "the number of bursts", at);
    require(bytes, 1, 2097151, "the bytes of a burst", at);
    require(element, 1, 4, "the bytes of an element", at);
    require(ub_gap, 0, 65535, "the gap in UB in 32 bytes", at);
    if (gm_gap) {
        finding("CRASH: limit", at,
                "pages differ on the unit of a gap in global memory; only 0 is emulated");
    }
    if (reinterpret_cast<uintptr_t>(gm) % element || bytes % element) {
        finding("CRASH: limit", at, "global memory at no multiple of the element's %u bytes",
                element);
    }
}

static int64_t whole_blocks(int64_t bytes) {
    return (bytes + unit - 1) / unit * unit;
}

void twin_gm2ub_align(void *dst, void *src, int64_t n, int64_t bytes, int64_t left, int64_t right,
                      int64_t src_gap, int64_t dst_gap, unsigned element, twin_site at) {
    core &c = issue(PIPE_MTE2, at);
    require_align(src, n, bytes, src_gap, dst_gap, element, at);
    require(left, 0, 0, "the padding at the left", at);
    require(right, 0, 0, "the padding at the right", at);
    const operand to = place_of(c, TWIN_UB, dst, true, 0, at);
    const int64_t room = whole_blocks(bytes);
    move_in(c, to, src, {n, room, room + dst_gap * unit}, {n, bytes, bytes}, at);
}

void twin_ub2gm_align(void *dst, void *src, int64_t n, int64_t bytes, int64_t left, int64_t right,
                      int64_t src_gap, int64_t dst_gap, unsigned element, twin_site at) {
    core &c = issue(PIPE_MTE3, at);
    require_align(dst, n, bytes, dst_gap, src_gap, element, at);
    require(left, 0, 0, "the padding at the left", at);
    require(right, 0, 0, "the padding at the right", at);
    const operand from = place_of(c, TWIN_UB, src, false, 0, at);
    move_out(c, dst, from, {n, bytes, bytes}, {n, bytes, whole_blocks(bytes) + src_gap * unit}, at);
}
