/* Cube cores: global memory to L1 as fractals, L1 to L0, products, L0C to global memory. Emulated;
 * never run on a 910B2. */
#include <algorithm>
#include <cstring>

#include "core.h"
#include "lanes.h"
#include "product.h"

using namespace twin;

static constexpr int side = 16;         /* of a fractal */
static constexpr int64_t fractal = 512; /* bytes, 16-bit elements */
static constexpr int64_t fractal_f32 = 1024;

static int64_t ceil16(int64_t n) {
    return (n + side - 1) / side * side;
}

void twin_nd2nz(void *dst, void *src, int nd_num, int n_value, int d_value, int src_matrix_stride,
                int src_d_value, int dst_c0_stride, int dst_n_stride, int dst_matrix_stride,
                twin_site at) {
    core &c = issue(PIPE_MTE2, at);
    require(nd_num, 0, 4095, "nd_num", at);
    require(n_value, 0, 16384, "n_value", at);
    require(d_value, 0, 65535, "d_value", at);
    require(src_matrix_stride, 0, 65535, "src_matrix_stride", at);
    require(src_d_value, 1, 65535, "src_d_value", at);
    require(dst_c0_stride, 1, 16384, "dst_c0_stride", at);
    require(dst_n_stride, 1, 16384, "dst_n_stride", at);
    require(dst_matrix_stride, 1, 65535, "dst_matrix_stride", at);
    if (reinterpret_cast<uintptr_t>(src) % 2) finding("CRASH: limit", at, "src at an odd address");
    const operand to = place_of(c, TWIN_L1, dst, true, 0, at);
    const int64_t columns = ceil16(d_value) / side, row_bytes = 2 * int64_t{d_value};
    for (int64_t matrix = 0; matrix < nd_num; matrix++) {
        const unsigned char *from =
            static_cast<const unsigned char *>(src) + 2 * matrix * src_matrix_stride;
        const uint64_t base = to.first + static_cast<uint64_t>(2 * matrix * dst_matrix_stride);
        auto place = [&](int64_t column, int64_t n) {
            return base + static_cast<uint64_t>(32 * (column * dst_c0_stride + n * dst_n_stride));
        };
        for (int64_t column = 0; column < columns; column++) {
            const int64_t run = dst_n_stride == 1 ? n_value : 1;
            for (int64_t n = 0; n < n_value; n += run) {
                const uint64_t first = place(column, n);
                check_write(c, PIPE_MTE2, to, first, first + static_cast<uint64_t>(32 * run), at);
                record_write(c, PIPE_MTE2, to, first, first + static_cast<uint64_t>(32 * run), at);
            }
        }
        for (int64_t n = 0; n < n_value; n++) {
            const unsigned char *row = from + 2 * n * src_d_value;
            gm_read(c, PIPE_MTE2, row, static_cast<uint64_t>(row_bytes), at);
            for (int64_t column = 0; column < columns; column++) {
                unsigned char *part = to.in->base + place(column, n);
                const int64_t bytes = std::min<int64_t>(32, row_bytes - 32 * column);
                memcpy(part, row + 32 * column, static_cast<size_t>(bytes));
                memset(part + bytes, 0, static_cast<size_t>(32 - bytes));
            }
        }
    }
    c.count.bytes[gm_l1] += static_cast<uint64_t>(nd_num * n_value * row_bytes);
}

/* Which elements of a fractal are unwritten stays so in its copy. */
static void pass_on(const operand &from, uint64_t f, const operand &to, uint64_t t,
                    bool transpose) {
    const unsigned char *in = from.in->base + f;
    unsigned char *out = to.in->base + t;
    const bool whole = from.in->written.first_missing(f, f + fractal) == f + fractal;
    if (!transpose) memcpy(out, in, fractal);
    for (int i = 0; i < side * side && (transpose || !whole); i++) {
        const int to_i = transpose ? i % side * side + i / side : i;
        memcpy(out + 2 * to_i, in + 2 * i, 2);
        const uint64_t byte = f + 2 * static_cast<uint64_t>(i);
        if (!whole && from.in->written.first_missing(byte, byte + 2) != byte + 2) {
            const uint64_t lost = t + 2 * static_cast<uint64_t>(to_i);
            forget(to, lost, lost + 2);
        }
    }
}

void twin_l12l0(twin_memory_kind kind, void *dst, void *src, int start_index, int repeat,
                int src_stride, int dst_gap, bool transpose, bool decrement, twin_site at) {
    core &c = issue(PIPE_MTE1, at);
    require(start_index, 0, 65535, "start_index", at);
    require(repeat, 1, 255, "repeat", at);
    require(src_stride, 0, 65535, "src_stride", at);
    require(dst_gap, 0, 65535, "dst_gap", at);
    require(decrement, 0, 0, "decrement", at);
    const operand to = place_of(c, kind, dst, true, 0, at);
    const operand from = place_of(c, TWIN_L1, src, false, 0, at);
    for (int64_t i = 0; i < repeat; i++) {
        const uint64_t f =
            from.first + static_cast<uint64_t>((start_index + i * src_stride) * fractal);
        const uint64_t t = to.first + static_cast<uint64_t>(i * (1 + dst_gap) * fractal);
        check_passed(c, PIPE_MTE1, from, f, f + fractal, at);
        check_write(c, PIPE_MTE1, to, t, t + fractal, at);
        record_read(c, PIPE_MTE1, from, f, f + fractal, at);
        record_write(c, PIPE_MTE1, to, t, t + fractal, at);
        pass_on(from, f, to, t, transpose);
    }
    c.count.bytes[kind == TWIN_L0A ? l1_l0a : l1_l0b] += static_cast<uint64_t>(repeat * fractal);
}

/* ---- Products --------------------------------------------------------------------------------
 */

/* Checks the elements of `o` that count: `rows` rows by `columns` columns of each of its fractals,
 * by the place of row r, column k. */
template <typename Place>
static void check_elements(core &c, const operand &o, uint64_t bytes, int64_t rows, int64_t columns,
                           int64_t element, Place &&place, twin_site at) {
    const uint64_t end = o.first + bytes;
    check_passed(c, PIPE_M, o, o.first, end, at);
    if (o.in->written.first_missing(o.first, end) == end) return;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t k = 0; k < columns; k += side) {
            const uint64_t first = o.first + static_cast<uint64_t>(place(r, k));
            const int64_t n = std::min<int64_t>(side, columns - k);
            check_read(c, PIPE_M, o, first, first + static_cast<uint64_t>(n * element), at);
        }
    }
}

void twin_mmad(float *dst, void *left, void *right, bool bf16, int m, int k, int n, int unit_flag,
               bool k_align, bool bias, bool init_zero, twin_site at) {
    core &c = issue(PIPE_M, at);
    require(m, 0, 4095, "m", at);
    require(k, 0, 4095, "k", at);
    require(n, 0, 4095, "n", at);
    require(unit_flag, 0, 0, "unit_flag", at);
    require(k_align, 0, 0, "k_align", at);
    require(bias, 0, 0, "bias", at);
    const operand oc = place_of(c, TWIN_L0C, dst, true, 0, at);
    const operand oa = place_of(c, TWIN_L0A, left, false, 0, at);
    const operand ob = place_of(c, TWIN_L0B, right, false, 0, at);
    if (!m || !k || !n) return;
    const int64_t rows = ceil16(m), depth = ceil16(k), width = ceil16(n);
    const uint64_t a_bytes = static_cast<uint64_t>(2 * rows * depth);
    const uint64_t b_bytes = static_cast<uint64_t>(2 * depth * width);
    const uint64_t c_bytes = static_cast<uint64_t>(4 * rows * width);
    /* Places in bytes; a by (m, k), b by (n, k), c by (m, n): the second is dense in a fractal. */
    auto a_at = [&](int64_t i, int64_t j) {
        return (i / side * (depth / side) + j / side) * fractal + i % side * 32 + j % side * 2;
    };
    auto b_at = [&](int64_t i, int64_t j) {
        return (j / side * (width / side) + i / side) * fractal + i % side * 32 + j % side * 2;
    };
    auto c_at = [&](int64_t i, int64_t j) {
        return (j / side * (rows / side) + i / side) * fractal_f32 + i % side * 64 + j % side * 4;
    };
    check_elements(c, oa, a_bytes, m, k, 2, a_at, at);
    check_elements(c, ob, b_bytes, n, k, 2, b_at, at);
    if (!init_zero) check_elements(c, oc, c_bytes, m, n, 4, c_at, at);
    check_write(c, PIPE_M, oc, oc.first, oc.first + c_bytes, at);

    static thread_local std::vector<float> a, b, out;
    a.assign(static_cast<size_t>(rows * k), 0);
    b.assign(static_cast<size_t>(k * width), 0);
    out.assign(static_cast<size_t>(rows * width), 0);
    const unsigned char *pa = oa.in->base + oa.first, *pb = ob.in->base + ob.first;
    unsigned char *pc = oc.in->base + oc.first;
    auto number = [bf16](const unsigned char *p) {
        uint16_t bits;
        memcpy(&bits, p, 2);
        return bf16 ? bfloat16_to_float(bits) : half_to_float(bits);
    };
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < k; j++) a[static_cast<size_t>(i * k + j)] = number(pa + a_at(i, j));
    }
    for (int64_t j = 0; j < k; j++) {
        for (int64_t i = 0; i < n; i++) {
            b[static_cast<size_t>(j * width + i)] = number(pb + b_at(i, j));
        }
    }
    auto copy_c = [&](bool in) {
        for (int64_t i = 0; i < m; i++) {
            for (int64_t j = 0; j < n; j += side) {
                float *row = &out[static_cast<size_t>(i * width + j)];
                const size_t bytes = static_cast<size_t>(std::min<int64_t>(side, n - j)) * 4;
                if (in) {
                    memcpy(row, pc + c_at(i, j), bytes);
                } else {
                    memcpy(pc + c_at(i, j), row, bytes);
                }
            }
        }
    };
    if (!init_zero) copy_c(true);
    product_add(out.data(), a.data(), b.data(), m, k, width);
    record_read(c, PIPE_M, oa, oa.first, oa.first + a_bytes, at);
    record_read(c, PIPE_M, ob, ob.first, ob.first + b_bytes, at);
    record_write(c, PIPE_M, oc, oc.first, oc.first + c_bytes, at);
    if (m < rows || n < width) forget(oc, oc.first, oc.first + c_bytes);
    copy_c(false);
    for (int64_t i = 0; i < m && (m < rows || n < width); i++) {
        for (int64_t j = 0; j < n; j += side) {
            const uint64_t first = oc.first + static_cast<uint64_t>(c_at(i, j));
            oc.in->written.set(first,
                               first + static_cast<uint64_t>(std::min<int64_t>(side, n - j) * 4));
        }
    }
    (bf16 ? c.count.macs_bf16 : c.count.macs_f16) += static_cast<uint64_t>(rows * depth * width);
}

/* ---- Results ---------------------------------------------------------------------------------
 */

void asc_set_l0c_copy_params(int nd_num, int src_nd_stride, int dst_nd_stride, twin_site at) {
    core &c = self(at);
    require(nd_num, 1, 1, "nd_num", at);
    require(src_nd_stride, 1, 512, "src_nd_stride", at);
    require(dst_nd_stride, 1, 65535, "dst_nd_stride", at);
    c.copy_params_known = true;
}

/* Out of range is the largest number: the machine's quantisation has no infinity. */
static uint16_t quantise(float value, int kind) {
    const uint16_t largest = kind == F322F16 ? 0x7bff : 0x7f7f;
    const uint16_t bits = kind == F322F16 ? float_to_half(value) : float_to_bfloat16(value);
    const uint16_t infinity = static_cast<uint16_t>(largest + 1);
    return (bits & 0x7fff) == infinity ? static_cast<uint16_t>(bits - 1) : bits;
}

void twin_l0c2gm(void *dst, float *src, int element, int n_size, int m_size, int64_t dst_stride,
                 int src_stride, int unit_flag, uint64_t quant, int relu, bool split, bool nz2nd,
                 twin_site at) {
    core &c = issue(PIPE_FIX, at);
    require(m_size, 1, 8192, "m_size", at);
    require(n_size, 1, 4095, "n_size", at);
    require(dst_stride, 1, UINT32_MAX, "dst_stride", at);
    require(src_stride, 0, 65535, "src_stride", at);
    require(unit_flag, 0, 0, "unit_flag", at);
    require(relu, 0, 0, "relu", at);
    require(split, 0, 0, "split", at);
    require(nz2nd, 1, 1, "nz2nd", at);
    require(static_cast<int64_t>(quant), element, element, "quant for this type of dst", at);
    if (!c.copy_params_known) {
        finding("CRASH: limit", at, "asc_set_l0c_copy_params was not called");
    }
    if (reinterpret_cast<uintptr_t>(dst) % 32) {
        finding("CRASH: limit", at, "dst at no multiple of 32 bytes");
    }
    const operand from = place_of(c, TWIN_L0C, src, false, 0, at);
    const int64_t bytes = element == NoQuant ? 4 : 2;
    auto place = [&](int64_t i, int64_t j) {
        return from.first +
               static_cast<uint64_t>(j / side * src_stride * 64 + i * 64 + j % side * 4);
    };
    for (int64_t j = 0; j < n_size; j += side) {
        const int64_t n = std::min<int64_t>(side, n_size - j);
        const int64_t run = n == side ? m_size : 1;
        for (int64_t i = 0; i < m_size; i += run) {
            const uint64_t first = place(i, j);
            const uint64_t last = place(i + run - 1, j) + static_cast<uint64_t>(n * 4);
            check_read(c, PIPE_FIX, from, first, last, at);
            record_read(c, PIPE_FIX, from, first, last, at);
        }
    }
    for (int64_t i = 0; i < m_size; i++) {
        unsigned char *row = static_cast<unsigned char *>(dst) + i * dst_stride * bytes;
        gm_write(c, PIPE_FIX, row, static_cast<uint64_t>(n_size * bytes), at);
        for (int64_t j = 0; j < n_size; j++) {
            float value;
            memcpy(&value, from.in->base + place(i, j), 4);
            if (element == NoQuant) {
                memcpy(row + j * 4, &value, 4);
            } else {
                const uint16_t bits = quantise(value, element);
                memcpy(row + j * 2, &bits, 2);
            }
        }
    }
    c.count.bytes[l0c_gm] += static_cast<uint64_t>(int64_t{m_size} * n_size * bytes);
}
