/* Vector calls: which bytes of UB each operand touches, checks, then 64 lanes at a time. Emulated;
 * never run on a 910B2. */
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "core.h"
#include "lanes.h"

using namespace twin;

namespace {

/* One operand of a call: where lane l of repeat r lies. */
struct vector_operand {
    operand in;
    unsigned element;
    int64_t block_stride, repeat_stride; /* bytes */

    uint64_t repeat_at(int64_t r) const {
        return in.first + static_cast<uint64_t>(r * repeat_stride);
    }
    /* Offset in the repeat. */
    uint64_t lane_at(int lane) const {
        const int a_block = static_cast<int>(block_bytes / element);
        return static_cast<uint64_t>(lane / a_block * block_stride) +
               static_cast<uint64_t>(lane % a_block) * element;
    }
    bool dense() const {
        return block_stride == static_cast<int64_t>(block_bytes) &&
               repeat_stride == static_cast<int64_t>(element) * per_repeat;
    }
    int per_repeat; /* lanes: 64, or 128 where all elements have 16 bits */
};

/* Lanes [from, to) that take part and lie in a row in memory. */
struct piece {
    int from, to;
};

/* A call: its repeats, and the lanes of each. The last of a counted call is shorter. */
struct call {
    core &c;
    twin_site at;
    int64_t repeats;
    int per_repeat;
    uint64_t count;   /* all lanes, counted calls; else 0 */
    uint64_t mask[2]; /* lanes of every repeat, calls with repeats */
};

} // namespace

static bool full(const call &k) {
    return !k.count && k.mask[0] == ~uint64_t{0} && (k.per_repeat == 64 || k.mask[1] == k.mask[0]);
}

static call begin(const twin_form &form, int per_repeat, twin_site at) {
    core &c = issue(PIPE_V, at);
    call k = {c, at, form.repeat, per_repeat, 0, {0, 0}};
    if (form.counted) {
        require(form.count, 1, ASC_UB_BYTES, "the count of elements", at);
        k.count = form.count;
        k.repeats = (form.count + per_repeat - 1) / per_repeat;
        c.mask_known = false;
    } else {
        require(form.repeat, 0, 255, "repeat", at);
        if (!c.mask_known) {
            finding("CRASH: limit", at,
                    "the mask is undefined after a call of a count; asc_set_mask_norm and "
                    "asc_set_vector_mask define it");
        }
        k.mask[0] = c.mask[0];
        k.mask[1] = per_repeat == 64 ? 0 : c.mask[1];
        if (!(k.mask[0] | k.mask[1])) finding("CRASH: limit", at, "the mask is empty");
    }
    c.count.vector_repeats += static_cast<uint64_t>(k.repeats);
    return k;
}

static vector_operand operand_of(const call &k, const void *place, bool write, unsigned element,
                                 const twin_form &form, int which, int64_t stride_max) {
    static const char *const names[] = {"dst", "src0", "src1"};
    vector_operand v;
    v.in = place_of(k.c, TWIN_UB, place, write, 0, k.at);
    v.element = element;
    v.per_repeat = k.per_repeat;
    if (k.count) {
        v.block_stride = block_bytes;
        v.repeat_stride = static_cast<int64_t>(element) * k.per_repeat;
        return v;
    }
    char what[64];
    snprintf(what, sizeof what, "the block stride of %s", names[which]);
    require(form.block_stride[which], 0, stride_max, what, k.at);
    snprintf(what, sizeof what, "the repeat stride of %s", names[which]);
    require(form.repeat_stride[which], 0, stride_max, what, k.at);
    v.block_stride = form.block_stride[which] * static_cast<int64_t>(block_bytes);
    v.repeat_stride = form.repeat_stride[which] * static_cast<int64_t>(block_bytes);
    return v;
}

/* The pieces of a repeat; at most one a lane. */
static int pieces_of(const call &k, const vector_operand &v, int64_t r, piece *pieces) {
    const int a_block = static_cast<int>(block_bytes / v.element);
    int last = k.per_repeat;
    if (k.count)
        last = static_cast<int>(std::min<uint64_t>(
            static_cast<uint64_t>(k.per_repeat),
            k.count - static_cast<uint64_t>(r) * static_cast<uint64_t>(k.per_repeat)));
    const bool in_row = v.block_stride == static_cast<int64_t>(block_bytes);
    if (k.count || (full(k) && in_row)) {
        pieces[0] = {0, last};
        return 1;
    }
    int n = 0;
    for (int lane = 0; lane < last; lane++) {
        if (!(k.mask[lane / 64] >> lane % 64 & 1)) continue;
        const bool goes_on = n && pieces[n - 1].to == lane && (in_row || lane % a_block);
        if (goes_on) {
            pieces[n - 1].to = lane + 1;
        } else {
            pieces[n++] = {lane, lane + 1};
        }
    }
    return n;
}

/* Calls do(from, to) with each range of bytes. */
template <typename Do> static void ranges(const call &k, const vector_operand &v, Do &&each) {
    if (!k.repeats) return;
    if (k.count) {
        each(v.in.first, v.in.first + k.count * v.element);
        return;
    }
    if (full(k) && v.dense()) {
        each(v.in.first, v.repeat_at(k.repeats));
        return;
    }
    piece pieces[128];
    const int n = pieces_of(k, v, 0, pieces);
    for (int64_t r = 0; r < k.repeats; r++) {
        for (int p = 0; p < n; p++) {
            const uint64_t from = v.repeat_at(r) + v.lane_at(pieces[p].from);
            each(from, from + static_cast<uint64_t>(pieces[p].to - pieces[p].from) * v.element);
        }
        if (!v.repeat_stride) return; /* the same bytes again */
    }
}

static void check_source(const call &k, const vector_operand &v) {
    ranges(k, v,
           [&](uint64_t from, uint64_t to) { check_read(k.c, PIPE_V, v.in, from, to, k.at); });
}
static void check_result(const call &k, const vector_operand &v) {
    ranges(k, v,
           [&](uint64_t from, uint64_t to) { check_write(k.c, PIPE_V, v.in, from, to, k.at); });
}
static void record_source(const call &k, const vector_operand &v) {
    ranges(k, v,
           [&](uint64_t from, uint64_t to) { record_read(k.c, PIPE_V, v.in, from, to, k.at); });
}
static void record_result(const call &k, const vector_operand &v) {
    ranges(k, v,
           [&](uint64_t from, uint64_t to) { record_write(k.c, PIPE_V, v.in, from, to, k.at); });
}

static uint64_t end_of(const call &k, const vector_operand &v) {
    if (!k.repeats) return v.in.first;
    return v.repeat_at(k.repeats - 1) + v.lane_at(k.per_repeat - 1) + v.element;
}

/* Fails where a block of 32 bytes is of both dst, whose ranges of bytes `each_range` gives, and
 * src. */
template <typename EachRange>
static void refuse_overlap(const call &k, const operand &dst, const vector_operand &src,
                           EachRange &&each_range) {
    static thread_local bool taken[ASC_UB_BYTES / block_bytes + 1];
    auto mark = [&](bool value) {
        each_range([&](uint64_t from, uint64_t to) {
            for (uint64_t b = from / block_bytes; b * block_bytes < to; b++) taken[b] = value;
        });
    };
    bool overlap = false;
    mark(true);
    ranges(k, src, [&](uint64_t from, uint64_t to) {
        for (uint64_t b = from / block_bytes; b * block_bytes < to; b++) overlap |= taken[b];
    });
    mark(false);
    if (overlap) {
        finding("FAIL_RACE", k.at, "dst, ub[%llu..], overlaps a source, ub[%llu..], shifted",
                static_cast<unsigned long long>(dst.first),
                static_cast<unsigned long long>(src.in.first));
    }
}

/* A source may be dst itself; shifted, one repeat would read what another wrote (page: general
 * instructions and constraints, overlap of addresses). */
static void require_apart(const call &k, const vector_operand &dst, const vector_operand &src) {
    if (dst.in.first >= end_of(k, src) || src.in.first >= end_of(k, dst)) return;
    if (dst.in.first == src.in.first && dst.element == src.element &&
        dst.block_stride == src.block_stride && dst.repeat_stride == src.repeat_stride) {
        return;
    }
    refuse_overlap(k, dst.in, src, [&](auto &&take) { ranges(k, dst, take); });
}

/* Lanes of repeat r, to and from a row. Lanes that take no part keep what the row holds. */
static void load(const call &k, const vector_operand &v, int64_t r, lane_row &row) {
    const unsigned char *base = v.in.in->base + v.repeat_at(r);
    unsigned char *to = reinterpret_cast<unsigned char *>(&row);
    piece pieces[128];
    const int n = pieces_of(k, v, r, pieces);
    if (n == 1 && v.element == 4 && pieces[0].to - pieces[0].from == 64) {
        memcpy(to, base, sizeof row);
        return;
    }
    for (int p = 0; p < n; p++) {
        memcpy(to + static_cast<unsigned>(pieces[p].from) * v.element,
               base + v.lane_at(pieces[p].from),
               static_cast<unsigned>(pieces[p].to - pieces[p].from) * v.element);
    }
}
static void store(const call &k, const vector_operand &v, int64_t r, const lane_row &row) {
    unsigned char *base = v.in.in->base + v.repeat_at(r);
    const unsigned char *from = reinterpret_cast<const unsigned char *>(&row);
    piece pieces[128];
    const int n = pieces_of(k, v, r, pieces);
    if (n == 1 && v.element == 4 && pieces[0].to - pieces[0].from == 64) {
        memcpy(base, from, sizeof row);
        return;
    }
    for (int p = 0; p < n; p++) {
        memcpy(base + v.lane_at(pieces[p].from),
               from + static_cast<unsigned>(pieces[p].from) * v.element,
               static_cast<unsigned>(pieces[p].to - pieces[p].from) * v.element);
    }
}

void twin_binary(twin_operation operation, void *dst, void *src0, void *src1, const twin_form &form,
                 twin_site at) {
    const call k = begin(form, lanes, at);
    const vector_operand d = operand_of(k, dst, true, 4, form, 0, 255);
    const vector_operand a = operand_of(k, src0, false, 4, form, 1, 255);
    const vector_operand b = operand_of(k, src1, false, 4, form, 2, 255);
    check_source(k, a);
    check_source(k, b);
    check_result(k, d);
    require_apart(k, d, a);
    require_apart(k, d, b);
    const lane_function compute = lanes_of(operation);
    lane_row x = {}, y = {}, z;
    for (int64_t r = 0; r < k.repeats; r++) {
        load(k, a, r, x);
        load(k, b, r, y);
        compute(z, x, y);
        store(k, d, r, z);
    }
    record_source(k, a);
    record_source(k, b);
    record_result(k, d);
}

static unsigned element_of(twin_operation operation, bool dst) {
    switch (operation) {
    case TWIN_half2float:
    case TWIN_bfloat162float:
        return dst ? 4 : 2;
    case TWIN_float2half:
    case TWIN_float2bfloat16:
        return dst ? 2 : 4;
    default:
        return 4;
    }
}

void twin_unary(twin_operation operation, void *dst, void *src, uint32_t value,
                const twin_form &form, twin_site at) {
    const call k = begin(form, lanes, at);
    const vector_operand d = operand_of(k, dst, true, element_of(operation, true), form, 0, 65535);
    const vector_operand a =
        operand_of(k, src, false, element_of(operation, false), form, 1, 65535);
    check_source(k, a);
    check_result(k, d);
    require_apart(k, d, a);
    const lane_function compute = lanes_of(operation);
    lane_row x = {}, y, z;
    std::fill_n(y.u32, lanes, value);
    for (int64_t r = 0; r < k.repeats; r++) {
        load(k, a, r, x);
        compute(z, x, y);
        store(k, d, r, z);
    }
    record_source(k, a);
    record_result(k, d);
}

void twin_duplicate(void *dst, uint32_t bits, unsigned element, const twin_form &form,
                    twin_site at) {
    const call k = begin(form, static_cast<int>(256 / element), at);
    const vector_operand d = operand_of(k, dst, true, element, form, 0, 65535);
    check_result(k, d);
    lane_row z;
    std::fill_n(z.u32, lanes, element == 4 ? bits : bits | bits << 16);
    for (int64_t r = 0; r < k.repeats; r++) store(k, d, r, z);
    record_result(k, d);
}

/* The mask as it stands, without a say in this call. */
static call begin_unmasked(int repeat, twin_site at) {
    core &c = issue(PIPE_V, at);
    require(repeat, 0, 255, "repeat", at);
    c.count.vector_repeats += static_cast<uint64_t>(repeat);
    return {c, at, repeat, lanes, 0, {~uint64_t{0}, 0}};
}

void twin_brcb(float *dst, float *src, int dst_block_stride, int dst_repeat_stride, int repeat,
               twin_site at) {
    const call k = begin_unmasked(repeat, at);
    const twin_form form = twin_repeat(repeat, dst_block_stride, 1, 1, dst_repeat_stride, 0, 0);
    require(dst_repeat_stride, 0, 4095, "the repeat stride of dst", at);
    const vector_operand d = operand_of(k, dst, true, 4, form, 0, 65535);
    const operand s = place_of(k.c, TWIN_UB, src, false, 0, at);
    const uint64_t end = s.first + static_cast<uint64_t>(repeat) * 32;
    check_read(k.c, PIPE_V, s, s.first, end, at);
    check_result(k, d);
    if (s.first < end_of(k, d) && d.in.first < end) {
        finding("FAIL_RACE", at, "dst of asc_brcb overlaps src");
    }
    const unsigned char *from = s.in->base + s.first;
    lane_row z;
    for (int64_t r = 0; r < k.repeats; r++) {
        for (int64_t i = 0; i < lanes; i++) memcpy(&z.f32[i], from + (r * 8 + i / 8) * 4, 4);
        store(k, d, r, z);
    }
    record_read(k.c, PIPE_V, s, s.first, end, at);
    record_result(k, d);
}

void twin_reduce(bool sum, float *dst, float *src, int repeat, int dst_repeat_stride,
                 int src_block_stride, int src_repeat_stride, twin_site at) {
    const twin_form form = twin_repeat(repeat, 0, src_block_stride, 0, 0, src_repeat_stride, 0);
    const call k = begin(form, lanes, at);
    const vector_operand a = operand_of(k, src, false, 4, form, 1, 65535);
    const operand d = place_of(k.c, TWIN_UB, dst, true, 0, at);
    require(dst_repeat_stride, 0, 65535, "the repeat stride of dst", at);
    check_source(k, a);
    auto each = [&](auto &&step) {
        for (int64_t r = 0; r < k.repeats; r++) {
            const uint64_t first = d.first + static_cast<uint64_t>(r * dst_repeat_stride) * 4;
            step(r, first, first + 4);
        }
    };
    each([&](int64_t, uint64_t from, uint64_t to) { check_write(k.c, PIPE_V, d, from, to, at); });
    refuse_overlap(k, d, a, [&](auto &&take) {
        each([&](int64_t, uint64_t from, uint64_t to) { take(from, to); });
    });
    record_source(k, a);
    lane_row x;
    each([&](int64_t r, uint64_t from, uint64_t to) {
        std::fill_n(x.f32, lanes, sum ? 0.0f : -__builtin_inff());
        load(k, a, r, x);
        float value = sum ? tree_sum(x.f32, lanes) : x.f32[0];
        for (int i = 1; !sum && i < lanes; i++) value = x.f32[i] > value ? x.f32[i] : value;
        memcpy(d.in->base + from, &value, sizeof value);
        record_write(k.c, PIPE_V, d, from, to, at);
    });
}

void twin_compare(twin_operation operation, uint8_t *dst, float *src, float value,
                  const twin_form &form, twin_site at) {
    const call k = begin_unmasked(form.repeat, at);
    require(form.block_stride[0], 1, 1, "the block stride of dst", at);
    require(form.repeat_stride[0], 8, 8, "the repeat stride of dst", at);
    const vector_operand a = operand_of(k, src, false, 4, form, 1, 65535);
    const operand d = place_of(k.c, TWIN_UB, dst, true, 0, at);
    const uint64_t end = d.first + static_cast<uint64_t>(form.repeat) * 8;
    check_source(k, a);
    check_write(k.c, PIPE_V, d, d.first, end, at);
    const lane_function compute = lanes_of(operation);
    lane_row x, y, z;
    std::fill_n(y.f32, lanes, value);
    for (int64_t r = 0; r < k.repeats; r++) {
        load(k, a, r, x);
        compute(z, x, y);
        uint64_t bits = 0;
        for (int i = 0; i < lanes; i++) bits |= static_cast<uint64_t>(z.u32[i]) << i;
        memcpy(d.in->base + d.first + static_cast<uint64_t>(r) * 8, &bits, sizeof bits);
    }
    record_source(k, a);
    record_write(k.c, PIPE_V, d, d.first, end, at);
}

void asc_set_cmp_mask(void *bits, twin_site at) {
    core &c = issue(PIPE_V, at);
    const operand o = place_of(c, TWIN_UB, bits, false, 0, at);
    check_read(c, PIPE_V, o, o.first, o.first + 8, at);
    if (!comes_before(c, PIPE_V, c.compare_mask_used)) {
        finding("FAIL_RACE", at, "asc_set_cmp_mask without asc_sync_pipe after asc_select at %s",
                text_of(site_of(stamp_site(c.compare_mask_used))).text);
    }
    record_read(c, PIPE_V, o, o.first, o.first + 8, at);
    memcpy(c.compare_mask, o.in->base + o.first, 8);
    c.compare_mask_known = true;
    c.compare_mask_set = make_stamp(c, PIPE_V, at);
}

void asc_select(float *dst, float *src0, float *src1, int repeat, int dst_block_stride,
                int src0_block_stride, int src1_block_stride, int dst_repeat_stride,
                int src0_repeat_stride, int src1_repeat_stride, twin_site at) {
    const twin_form form =
        twin_repeat(repeat, dst_block_stride, src0_block_stride, src1_block_stride,
                    dst_repeat_stride, src0_repeat_stride, src1_repeat_stride);
    const call k = begin(form, lanes, at);
    if (!k.c.compare_mask_known) {
        finding("FAIL_UNINITIALISED", at, "asc_set_cmp_mask was not called");
    }
    if (!comes_before(k.c, PIPE_V, k.c.compare_mask_set)) {
        finding("FAIL_RACE", at, "asc_select without asc_sync_pipe after asc_set_cmp_mask at %s",
                text_of(site_of(stamp_site(k.c.compare_mask_set))).text);
    }
    const vector_operand d = operand_of(k, dst, true, 4, form, 0, 255);
    const vector_operand a = operand_of(k, src0, false, 4, form, 1, 255);
    const vector_operand b = operand_of(k, src1, false, 4, form, 2, 255);
    check_source(k, a);
    check_source(k, b);
    check_result(k, d);
    require_apart(k, d, a);
    require_apart(k, d, b);
    lane_row x = {}, y = {}, z;
    for (int64_t r = 0; r < k.repeats; r++) {
        load(k, a, r, x);
        load(k, b, r, y);
        for (int i = 0; i < lanes; i++) {
            z.u32[i] = k.c.compare_mask[0] >> i & 1 ? x.u32[i] : y.u32[i];
        }
        store(k, d, r, z);
    }
    record_source(k, a);
    record_source(k, b);
    record_result(k, d);
    k.c.compare_mask_used = make_stamp(k.c, PIPE_V, at);
}

void asc_set_mask_norm(twin_site at) {
    issue(PIPE_S, at);
}

void asc_set_vector_mask(uint64_t high, uint64_t low, twin_site at) {
    core &c = issue(PIPE_S, at);
    c.mask[0] = low;
    c.mask[1] = high;
    c.mask_known = true;
}
