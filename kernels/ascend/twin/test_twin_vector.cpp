/* Vector calls and copies against plain loops: counts, strides, masks, reductions, conversions. */
#include <cmath>

#include "../../attn_number.h"
#include "lanes.h"
#include "test_bench.h"

/* 16 KiB of known numbers at ub[0], whatever `body` does, and then ub[0..65535] as it was left. */
struct vector_bench : bench {
    template <typename Body> const float *left_by(Body body) {
        expect_clean(run(ASC_VECTOR, 1, [&] {
            asc_copy_gm2ub(asc_ub<float>(0), in.data, 16384);
            asc_sync();
            body(asc_ub<float>(0), asc_ub<float>(16384));
        }));
        return memory_of<float>(0, TWIN_UB);
    }
};
constexpr int out_at = 4096; /* of 16384 bytes, in f32 */

static void full_mask() {
    asc_set_mask_norm();
    asc_set_vector_mask(~uint64_t{0}, ~uint64_t{0});
}

Test(vector, a_count_of_elements_is_computed_and_no_more) {
    vector_bench b;
    const float *ub = b.left_by([](float *x, float *y) { asc_mul_scalar(y, x, 3.0f, 100); });
    for (int i = 0; i < 100; i++) cr_assert_eq(ub[out_at + i], 3 * b.in[static_cast<size_t>(i)]);
    cr_expect(std::isnan(ub[out_at + 100]));
}

Test(vector, strides_go_from_block_to_block_and_from_repeat_to_repeat) {
    vector_bench b;
    const float *ub = b.left_by([](float *x, float *y) {
        full_mask();
        /* src0 dense, src1 every second block, dst with a block between repeats */
        asc_sub(y, x, x, 3, 1, 1, 2, 9, 8, 16);
    });
    for (int r = 0; r < 3; r++) {
        for (int i = 0; i < 64; i++) {
            const size_t s0 = static_cast<size_t>(64 * r + i);
            const size_t s1 = static_cast<size_t>(128 * r + i / 8 * 16 + i % 8);
            cr_assert_eq(ub[out_at + 72 * r + i], b.in[s0] - b.in[s1], "repeat %d lane %d", r, i);
        }
        cr_assert(std::isnan(ub[out_at + 72 * r + 64]));
    }
}

Test(vector, a_block_stride_of_0_reads_one_block_for_all_eight) {
    vector_bench b;
    const float *ub = b.left_by([](float *x, float *y) {
        full_mask();
        asc_mul(y, x, x, 2, 1, 1, 0, 8, 8, 1);
    });
    for (int i = 0; i < 128; i++) {
        const size_t s1 = static_cast<size_t>(i / 64 * 8 + i % 8);
        cr_assert_eq(ub[out_at + i], b.in[static_cast<size_t>(i)] * b.in[s1], "%d", i);
    }
}

Test(vector, a_repeat_stride_of_0_accumulates) {
    vector_bench b;
    const float *ub = b.left_by([](float *x, float *y) {
        asc_duplicate(y, 0.0f, 64);
        asc_sync_pipe(PIPE_V);
        full_mask();
        asc_add(y, x, y, 5, 1, 1, 1, 0, 8, 0);
    });
    for (size_t i = 0; i < 64; i++) {
        float sum = 0;
        for (size_t r = 0; r < 5; r++) sum += b.in[64 * r + i];
        cr_assert_eq(ub[out_at + i], sum);
    }
}

Test(vector, lanes_outside_the_mask_are_not_written) {
    vector_bench b;
    const float *ub = b.left_by([](float *x, float *y) {
        asc_duplicate(y, 9.0f, 128);
        asc_sync_pipe(PIPE_V);
        asc_set_mask_norm();
        asc_set_vector_mask(0, 0xf0ull << 32 | 5);
        asc_abs(y, x, 2, 1, 1, 8, 8);
    });
    for (int i = 0; i < 128; i++) {
        const bool in = (0xf000000005ull >> i % 64 & 1) != 0;
        const float there = std::fabs(b.in[static_cast<size_t>(i)]);
        cr_assert_eq(ub[out_at + i], in ? there : 9, "%d", i);
    }
}

Test(vector, reductions_give_one_number_a_repeat) {
    vector_bench b;
    const float *ub = b.left_by([](float *x, float *y) {
        full_mask();
        asc_repeat_reduce_max(y, x, 4, 1, 1, 8);
        asc_repeat_reduce_sum(y + 64, x, 4, 2, 1, 8);
    });
    for (int r = 0; r < 4; r++) {
        const float *x = &b.in[static_cast<size_t>(64 * r)];
        cr_expect_eq(ub[out_at + r], *std::max_element(x, x + 64));
        float sum = 0;
        for (int i = 0; i < 64; i++) sum += x[i];
        cr_expect_eq(ub[out_at + 64 + 2 * r], sum);
    }
}

Test(vector, reductions_leave_lanes_outside_the_mask_out) {
    vector_bench b;
    const float *ub = b.left_by([](float *x, float *y) {
        asc_set_mask_norm();
        asc_set_vector_mask(0, 7);
        asc_repeat_reduce_max(y, x, 1, 1, 1, 8);
        asc_repeat_reduce_sum(y + 8, x, 1, 1, 1, 8);
    });
    cr_expect_eq(ub[out_at], -98);
    cr_expect_eq(ub[out_at + 8], -100 - 99 - 98);
}

Test(vector, brcb_fills_a_block_with_each_element) {
    vector_bench b;
    const float *ub = b.left_by([](float *x, float *y) { asc_brcb(y, x, 1, 8, 2); });
    for (size_t i = 0; i < 128; i++) cr_assert_eq(ub[out_at + i], b.in[i / 8], "%zu", i);
}

Test(vector, compare_and_select_choose_by_bits) {
    vector_bench b;
    const float *ub = b.left_by([](float *x, float *y) {
        asc_lt_scalar(reinterpret_cast<uint8_t *>(y), x, -50.0f, 1, 1, 1, 8, 8);
        asc_sync_pipe(PIPE_V);
        asc_set_cmp_mask(y);
        asc_duplicate(y + 64, 7.0f, 64);
        asc_sync_pipe(PIPE_V);
        full_mask();
        asc_select(y + 128, x, y + 64, 1, 1, 1, 1, 8, 8, 8);
    });
    for (size_t i = 0; i < 64; i++) {
        const float x = b.in[i];
        cr_assert_eq(ub[out_at + 128 + i], x < -50 ? x : 7, "%zu", i);
    }
}

Test(vector, conversions_of_strides_of_their_own_elements) {
    vector_bench b;
    const float *ub = b.left_by([](float *x, float *y) {
        half *h = reinterpret_cast<half *>(y + 1024);
        full_mask();
        asc_float2half_rn(h, x, 2, 1, 1, 4, 8);
        asc_sync_pipe(PIPE_V);
        asc_half2float(y, h, 2, 1, 1, 8, 4);
        asc_sync_pipe(PIPE_V);
        bfloat16_t *wide = reinterpret_cast<bfloat16_t *>(y + 2048);
        asc_float2bfloat16_rn(wide, x, 130);
        asc_sync_pipe(PIPE_V);
        asc_bfloat162float(y + 128, wide, 130);
    });
    for (size_t i = 0; i < 128; i++) cr_assert_eq(ub[out_at + i], b.in[i], "%zu", i);
    for (size_t i = 0; i < 130; i++) cr_assert_eq(ub[out_at + 128 + i], b.in[i], "%zu", i);
}

Test(vector, copies_have_gaps_on_both_sides) {
    vector_bench b;
    const float *ub = b.left_by([](float *x, float *y) { asc_copy_ub2ub(y, x, 3, 2, 1, 4); });
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < 16; j++) {
            cr_assert_eq(ub[out_at + i * 48 + j], b.in[i * 24 + j]);
        }
        cr_assert(std::isnan(ub[out_at + i * 48 + 16]));
    }
}

Test(vector, loads_of_any_number_of_bytes_begin_a_block_each) {
    vector_bench b;
    const float *ub = b.left_by(
        [&](float *, float *y) { asc_copy_gm2ub_align(y, b.in.data, 2, 20, 0, 0, 0, 1); });
    for (size_t i = 0; i < 5; i++) {
        cr_assert_eq(ub[out_at + i], b.in[i]);
        cr_assert_eq(ub[out_at + 16 + i], b.in[5 + i]);
    }
    cr_assert(std::isnan(ub[out_at + 5]));
}

Test(vector, stores_write_the_bytes_asked_for_and_no_more) {
    vector_bench b;
    b.out[5] = 77;
    b.left_by([&](float *x, float *) { asc_copy_ub2gm_align(b.out.data, x, 20); });
    for (size_t i = 0; i < 5; i++) cr_assert_eq(b.out[i], b.in[i]);
    cr_assert_eq(b.out[5], 77);
}

Test(vector, f16_and_bf16_round_as_the_contract_does) {
    for (uint32_t i = 0; i < 65536; i++) {
        const uint16_t bits = static_cast<uint16_t>(i);
        const double h = attn_f16_to_f64(bits), w = attn_bf16_to_f64(bits);
        if (!std::isnan(h)) {
            cr_assert_eq(static_cast<double>(twin::half_to_float(bits)), h, "%04x", i);
            cr_assert_eq(twin::float_to_half(static_cast<float>(h)), bits, "%04x", i);
        }
        if (!std::isnan(w)) {
            cr_assert_eq(twin::float_to_bfloat16(static_cast<float>(w)), bits, "%04x", i);
        }
    }
    uint32_t x = 1;
    for (int i = 0; i < 1000000; i++) {
        x = x * 1664525 + 1013904223;
        float f;
        memcpy(&f, &x, 4);
        if (std::isnan(f)) continue;
        cr_assert_eq(twin::float_to_half(f), attn_f64_to_f16(f), "%a", static_cast<double>(f));
        cr_assert_eq(twin::float_to_bfloat16(f), attn_f64_to_bf16(f), "%a", static_cast<double>(f));
    }
}
