/* Layouts of the cube's memories against positions worked out by hand, and products and fixpipe
 * against plain loops. */
#include <cmath>

#include "lanes.h"
#include "test_bench.h"

using twin::float_to_half;
using twin::half_to_float;

/* Row-major f16 matrices whose element (r, c) is 100 r + c, so that a place names its element. */
static gm_array<half> numbered(int rows, int columns) {
    gm_array<half> m(static_cast<size_t>(rows * columns));
    for (int i = 0; i < rows * columns; i++) {
        m[static_cast<size_t>(i)] = {
            float_to_half(static_cast<float>(100 * (i / columns) + i % columns))};
    }
    return m;
}

static float value(const half *p) {
    return half_to_float(p->bits);
}

struct layout {
    gm_array<half> a, b;
    gm_array<float> c{65536};
    gm_array<half> c16{65536};
    layout(int m, int k, int n) : a(numbered(m, k)), b(numbered(k, n)) {
    }
    template <typename Body> std::string run(Body body) {
        asc_host_begin(1);
        asc_host_gm(a.data, a.bytes(), ASC_GM_IN, "a");
        asc_host_gm(b.data, b.bytes(), ASC_GM_IN, "b");
        asc_host_gm(c.data, c.bytes(), ASC_GM_OUT, "c");
        asc_host_gm(c16.data, c16.bytes(), ASC_GM_OUT, "c16");
        const char *found = twin_launch(ASC_CUBE, 1, "layout", [&] {
            asc_init();
            body();
        });
        return found ? found : "";
    }
};

static void ordered(pipe_t from, pipe_t to) {
    asc_sync_notify(from, to, EVENT_ID0);
    asc_sync_wait(from, to, EVENT_ID0);
}

Test(layout, nd2nz_puts_columns_of_fractals_after_each_other) {
    layout l(32, 48, 16);
    expect_clean(l.run(
        [&] { asc_copy_gm2l1_nd2nz(asc_l1<half>(0), l.a.data, 1, 32, 48, 0, 48, 32, 1, 1); }));
    const half *l1 = memory_of<half>(0, TWIN_L1);
    /* Fractal (r, c) of 2 x 3 is number 2 c + r; element (17, 35): fractal (1, 2), row 1, column 3.
     */
    cr_expect_eq(value(l1 + (2 * 2 + 1) * 256 + 1 * 16 + 3), 1735);
    cr_expect_eq(value(l1), 0);
    cr_expect_eq(value(l1 + 1), 1);
    cr_expect_eq(value(l1 + 16), 100);     /* the next row */
    cr_expect_eq(value(l1 + 256), 1600);   /* the next fractal is below */
    cr_expect_eq(value(l1 + 2 * 256), 16); /* and then the next column of fractals */
    cr_expect_eq(l1[6 * 256 - 1].bits, float_to_half(3147)); /* the last */
}

Test(layout, nd2nz_fills_a_narrow_last_column_with_zeros_and_leaves_missing_rows) {
    layout l(20, 24, 16);
    expect_clean(l.run(
        [&] { asc_copy_gm2l1_nd2nz(asc_l1<half>(0), l.a.data, 1, 20, 24, 0, 24, 32, 1, 1); }));
    const half *l1 = memory_of<half>(0, TWIN_L1);
    cr_expect_eq(value(l1 + 2 * 256 + 7), 23);
    cr_expect_eq(value(l1 + 2 * 256 + 8), 0);
    cr_expect(std::isnan(value(l1 + 256 + 4 * 16)), "row 20 is not written");
}

Test(layout, nd2nz_takes_rows_apart_in_the_source_and_several_matrices) {
    layout l(64, 32, 16);
    /* Two matrices of 16 rows by 16 columns, from rows 0 and 16, of rows 32 elements apart. */
    expect_clean(l.run([&] {
        asc_copy_gm2l1_nd2nz(asc_l1<half>(0), l.a.data, 2, 16, 16, 16 * 32, 32, 16, 1, 512);
    }));
    const half *l1 = memory_of<half>(0, TWIN_L1);
    cr_expect_eq(value(l1 + 3 * 16 + 5), 305);
    cr_expect_eq(value(l1 + 512 + 3 * 16 + 5), 1905);
}

Test(layout, l0a_is_rows_of_fractals_and_l0b_transposes_them) {
    layout l(32, 48, 16);
    expect_clean(l.run([&] {
        asc_copy_gm2l1_nd2nz(asc_l1<half>(0), l.a.data, 1, 32, 48, 0, 48, 32, 1, 1);
        ordered(PIPE_MTE2, PIPE_MTE1);
        for (int m1 = 0; m1 < 2; m1++) {
            asc_copy_l12l0a(asc_l0a<half>(static_cast<uint32_t>(m1 * 3 * 512)), asc_l1<half>(0), m1,
                            3, 2, 0);
            asc_copy_l12l0b_trans(asc_l0b<half>(static_cast<uint32_t>(m1 * 3 * 512)),
                                  asc_l1<half>(0), m1, 3, 2, 0, false, 0);
        }
    }));
    const half *a = memory_of<half>(0, TWIN_L0A), *b = memory_of<half>(0, TWIN_L0B);
    /* Zz: fractal (1, 2) of 2 x 3 is number 1 * 3 + 2. */
    cr_expect_eq(value(a + 5 * 256 + 1 * 16 + 3), 1735);
    cr_expect_eq(value(a + 1 * 256), 16);
    /* Zn of the same 32 x 48 as k x n: the same fractal, element (k, n) at 16 n + k. */
    cr_expect_eq(value(b + 5 * 256 + 3 * 16 + 1), 1735);
    cr_expect_eq(value(b + 1), 100);
}

/* c = a b with the whole way from rows to rows. b is k x n, or n x k and taken as its transpose. */
static void multiply(layout &l, int m, int k, int n, bool b_transposed) {
    const int m16 = (m + 15) / 16 * 16, k16 = (k + 15) / 16 * 16, n16 = (n + 15) / 16 * 16;
    asc_copy_gm2l1_nd2nz(asc_l1<half>(0), l.a.data, 1, m, k, 0, k, m16, 1, 1);
    const uint32_t b_at = 65536;
    if (b_transposed) {
        asc_copy_gm2l1_nd2nz(asc_l1<half>(b_at), l.b.data, 1, n, k, 0, k, n16, 1, 1);
    } else {
        asc_copy_gm2l1_nd2nz(asc_l1<half>(b_at), l.b.data, 1, k, n, 0, n, k16, 1, 1);
    }
    ordered(PIPE_MTE2, PIPE_MTE1);
    for (int m1 = 0; m1 < m16 / 16; m1++) {
        asc_copy_l12l0a(asc_l0a<half>(static_cast<uint32_t>(m1 * k16 * 32)), asc_l1<half>(0), m1,
                        k16 / 16, m16 / 16, 0);
    }
    if (b_transposed) {
        asc_copy_l12l0b(asc_l0b<half>(0), asc_l1<half>(b_at), 0, k16 * n16 / 256, 1, 0);
    } else {
        for (int k1 = 0; k1 < k16 / 16; k1++) {
            asc_copy_l12l0b_trans(asc_l0b<half>(static_cast<uint32_t>(k1 * n16 * 32)),
                                  asc_l1<half>(b_at), k1, n16 / 16, k16 / 16, 0, false, 0);
        }
    }
    ordered(PIPE_MTE1, PIPE_M);
    asc_mmad(asc_l0c<float>(0), asc_l0a<half>(0), asc_l0b<half>(0), m, k, n, 0, false, false, true);
    asc_sync_pipe(PIPE_M);
    asc_mmad(asc_l0c<float>(0), asc_l0a<half>(0), asc_l0b<half>(0), m, k, n, 0, false, false,
             false);
    ordered(PIPE_M, PIPE_FIX);
    asc_set_l0c_copy_params(1, 1, 1);
    asc_copy_l0c2gm(l.c.data, asc_l0c<float>(0), n, m, static_cast<uint32_t>(n + 8), m16, 0,
                    NoQuant, 0, false, true);
    asc_copy_l0c2gm(l.c16.data, asc_l0c<float>(0), n, m, static_cast<uint32_t>(n), m16, 0, F322F16,
                    0, false, true);
}

static void expect_product(int m, int k, int n, bool b_transposed) {
    layout l(m, k, n);
    for (size_t i = 0; i < l.a.size; i++) l.a[i] = {float_to_half(static_cast<float>(i % 13) - 6)};
    for (size_t i = 0; i < l.b.size; i++) l.b[i] = {float_to_half(static_cast<float>(i % 7) - 3)};
    expect_clean(l.run([&] { multiply(l, m, k, n, b_transposed); }));
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < n; j++) {
            float sum = 0;
            for (int p = 0; p < k; p++) {
                const size_t at = static_cast<size_t>(b_transposed ? j * k + p : p * n + j);
                sum += value(&l.a[static_cast<size_t>(i * k + p)]) * value(&l.b[at]);
            }
            cr_assert_eq(l.c[static_cast<size_t>(i * (n + 8) + j)], 2 * sum, "%d %d", i, j);
            cr_assert_eq(value(&l.c16[static_cast<size_t>(i * n + j)]), 2 * sum, "%d %d", i, j);
        }
    }
}

Test(layout, rows_by_columns_is_the_product) {
    expect_product(32, 64, 48, false);
}
Test(layout, keys_stored_by_rows_are_already_transposed) {
    expect_product(16, 128, 32, true);
}
Test(layout, sizes_that_are_no_multiple_of_16_are_the_product) {
    expect_product(20, 40, 24, false);
    expect_product(5, 16, 33, true);
}

Test(layout, l0c_is_columns_of_fractals) {
    layout l(32, 16, 32);
    for (size_t i = 0; i < l.b.size; i++) l.b[i] = {float_to_half(i / 32 == i % 32 ? 1 : 0)};
    expect_clean(l.run([&] { multiply(l, 32, 16, 32, false); }));
    const float *c = memory_of<float>(0, TWIN_L0C);
    /* b is the unit matrix on its first 16 columns: c (17, 3) = 2 a (17, 3), in fractal (1, 0). */
    cr_expect_eq(c[1 * 256 + 1 * 16 + 3], 2 * 1703);
    cr_expect_eq(c[2 * 256 + 3], 0, "fractal (0, 1) is number 2");
}

/* 2^24 + 1 is no f32: sixteen ones count only where they are summed apart. */
Test(layout, each_16_of_k_are_summed_before_they_are_added) {
    layout l(16, 32, 16);
    for (size_t i = 0; i < l.a.size; i++) {
        l.a[i] = {float_to_half(i % 32 == 0 ? 4096 : i % 32 < 16 ? 0 : 1)};
    }
    for (size_t i = 0; i < l.b.size; i++) l.b[i] = {float_to_half(i / 16 == 0 ? 4096 : 1)};
    expect_clean(l.run([&] { multiply(l, 16, 32, 16, false); }));
    for (size_t i = 0; i < 16; i++) cr_assert_eq(l.c[24 * i + i], 2 * (0x1p24f + 16));
}

Test(layout, fixpipe_saturates) {
    layout l(16, 16, 16);
    for (size_t i = 0; i < l.a.size; i++) l.a[i] = {float_to_half(i < 16 ? 1e4f : -1e4f)};
    for (size_t i = 0; i < l.b.size; i++) l.b[i] = {float_to_half(1)};
    expect_clean(l.run([&] { multiply(l, 16, 16, 16, false); }));
    cr_expect_eq(value(&l.c16[0]), 65504);
    cr_expect_eq(value(&l.c16[16]), -65504);
}

Test(layout, macs_count_whole_fractals_and_paths_count_bytes) {
    layout l(20, 40, 24);
    for (size_t i = 0; i < l.a.size; i++) l.a[i] = {0};
    for (size_t i = 0; i < l.b.size; i++) l.b[i] = {0};
    expect_clean(l.run([&] { multiply(l, 20, 40, 24, false); }));
    const twin::counts &count = twin::estimate_total();
    cr_expect_eq(count.macs_f16, 2u * 32 * 48 * 32);
    cr_expect_eq(count.bytes[twin::gm_l1], 2u * (20 * 40 + 40 * 24));
    cr_expect_eq(count.bytes[twin::l1_l0a], 2u * 32 * 48);
    cr_expect_eq(count.bytes[twin::l1_l0b], 2u * 48 * 32);
    cr_expect_eq(count.bytes[twin::l0c_gm], 20u * 24 * (4 + 2));
    cr_expect_gt(attest_estimate.estimate_us, 0);
}
