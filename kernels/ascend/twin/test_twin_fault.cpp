/* Every check of the twin, by a small kernel with that fault planted; and beside the subtle ones,
 * the nearest kernel that has none. */
#include "test_bench.h"

static void ordered(pipe_t from, pipe_t to) {
    asc_sync_notify(from, to, EVENT_ID0);
    asc_sync_wait(from, to, EVENT_ID0);
}

/* ---- Bounds and capacities -------------------------------------------------------------------
 */

Test(fault, writing_past_the_end_of_ub) {
    bench b;
    const uint32_t last = ASC_UB_BYTES - 32;
    expect_clean(b.run(ASC_VECTOR, 1, [&] { asc_duplicate(asc_ub<float>(last), 0.0f, 8); }));
    const std::string found =
        b.run(ASC_VECTOR, 1, [&] { asc_duplicate(asc_ub<float>(last), 0.0f, 9); });
    expect_finding(found, "FAIL_OOB_WRITE", __FILE__, __LINE__ - 1);
    cr_expect(says(found, "ub["), "%s", found.c_str());
}

Test(fault, a_place_beyond_ub) {
    bench b;
    expect_finding(
        b.run(ASC_VECTOR, 1, [&] { asc_duplicate(asc_ub<float>(ASC_UB_BYTES), 0.0f, 8); }),
        "FAIL_OOB_WRITE", __FILE__, __LINE__ - 1);
}

Test(fault, reading_past_the_end_of_l1) {
    bench b;
    expect_finding(b.run(ASC_CUBE, 1,
                         [&] {
                             asc_copy_l12l0a(asc_l0a<half>(0), asc_l1<half>(ASC_L1_BYTES - 256), 0,
                                             1, 0, 0);
                         }),
                   "FAIL_OOB_READ", __FILE__, 0);
}

Test(fault, l0c_is_too_small_for_the_product) {
    bench b;
    half *in = reinterpret_cast<half *>(b.in.data);
    expect_finding(b.run(ASC_CUBE, 1,
                         [&] {
                             for (uint32_t i = 0; i < 2; i++) {
                                 asc_copy_gm2l1_nd2nz(asc_l1<half>(0), in, 1, 512, 16, 0, 16, 512,
                                                      1, 1);
                                 ordered(PIPE_MTE2, PIPE_MTE1);
                                 asc_copy_l12l0a(asc_l0a<half>(0), asc_l1<half>(0), 0, 32, 1, 0);
                                 asc_copy_l12l0b(asc_l0b<half>(0), asc_l1<half>(0), 0, 32, 1, 0);
                                 ordered(PIPE_MTE1, PIPE_M);
                                 asc_mmad(asc_l0c<float>(ASC_L0C_BYTES - 65536), asc_l0a<half>(0),
                                          asc_l0b<half>(0), 512, 16, 512, 0, false, false, true);
                             }
                         }),
                   "FAIL_OOB_WRITE", __FILE__, 0);
}

Test(fault, reading_global_memory_past_a_tensor) {
    bench b;
    expect_finding(b.run(ASC_VECTOR, 1,
                         [&] { asc_copy_gm2ub(asc_ub<float>(0), b.in.data + b.in.size - 8, 64); }),
                   "FAIL_OOB_READ", __FILE__, 0);
}

Test(fault, writing_global_memory_past_a_tensor) {
    bench b;
    const std::string found = b.run(ASC_VECTOR, 1, [&] {
        asc_duplicate(asc_ub<float>(0), 0.0f, 64);
        ordered(PIPE_V, PIPE_MTE3);
        asc_copy_ub2gm(b.out.data + b.out.size - 8, asc_ub<float>(0), 64);
    });
    expect_finding(found, "FAIL_OOB_WRITE", __FILE__, __LINE__ - 2);
    cr_expect(says(found, "out["), "%s", found.c_str());
}

Test(fault, global_memory_that_the_host_did_not_declare) {
    bench b;
    static float elsewhere[64];
    expect_finding(b.run(ASC_VECTOR, 1, [&] { asc_copy_gm2ub(asc_ub<float>(0), elsewhere, 64); }),
                   "FAIL_OOB_READ", __FILE__, __LINE__ - 1);
}

Test(fault, writing_an_input) {
    bench b;
    expect_finding(b.run(ASC_VECTOR, 1,
                         [&] {
                             asc_duplicate(asc_ub<float>(0), 0.0f, 64);
                             ordered(PIPE_V, PIPE_MTE3);
                             asc_copy_ub2gm(b.in.data, asc_ub<float>(0), 64);
                         }),
                   "FAIL_OOB_WRITE", __FILE__, 0);
}

Test(fault, a_cube_core_touching_ub) {
    bench b;
    const std::string found =
        b.run(ASC_MIX_1_2, 1, [&] { asc_copy_gm2ub(asc_ub<float>(0), b.in.data, 64); });
    expect_finding(found, "CRASH: limit", __FILE__, __LINE__ - 1);
    cr_expect(says(found, "a cube core has no ub"), "%s", found.c_str());
}

Test(fault, a_vector_core_touching_l1) {
    bench b;
    half *in = reinterpret_cast<half *>(b.in.data);
    expect_finding(
        b.run(ASC_VECTOR, 1,
              [&] { asc_copy_gm2l1_nd2nz(asc_l1<half>(0), in, 1, 16, 16, 0, 16, 16, 1, 1); }),
        "CRASH: limit", __FILE__, 0);
}

Test(fault, a_place_in_one_memory_given_for_another) {
    bench b;
    const std::string found =
        b.run(ASC_CUBE, 1, [&] { asc_copy_l12l0a(asc_l0b<half>(0), asc_l1<half>(0), 0, 1, 0, 0); });
    expect_finding(found, "CRASH: limit", __FILE__, 0);
    cr_expect(says(found, "in l0b is given where one in l0a"), "%s", found.c_str());
}

/* ---- Unwritten bytes -------------------------------------------------------------------------
 */

Test(fault, reading_ub_that_nothing_wrote) {
    bench b;
    expect_finding(b.run(ASC_VECTOR, 1,
                         [&] {
                             asc_duplicate(asc_ub<float>(0), 0.0f, 63);
                             asc_sync_pipe(PIPE_V);
                             asc_exp(asc_ub<float>(512), asc_ub<float>(0), 64);
                         }),
                   "FAIL_UNINITIALISED", __FILE__, 0);
}

Test(fault, what_the_last_launch_left_in_ub_is_unwritten) {
    bench b;
    expect_clean(b.run(ASC_VECTOR, 1, [&] { asc_duplicate(asc_ub<float>(0), 0.0f, 64); }));
    expect_finding(
        b.again(ASC_VECTOR, 1, [&] { asc_exp(asc_ub<float>(512), asc_ub<float>(0), 64); }),
        "FAIL_UNINITIALISED", __FILE__, __LINE__ - 1);
}

Test(fault, reading_a_workspace_that_nothing_wrote) {
    bench b;
    expect_finding(b.run(ASC_VECTOR, 1, [&] { asc_copy_gm2ub(asc_ub<float>(0), b.work.data, 64); }),
                   "FAIL_UNINITIALISED", __FILE__, __LINE__ - 1);
}

Test(fault, what_an_earlier_launch_of_the_call_wrote_may_be_read) {
    bench b;
    expect_clean(b.run(ASC_VECTOR, 2, [&] {
        asc_duplicate(asc_ub<float>(0), 7.0f, 64);
        ordered(PIPE_V, PIPE_MTE3);
        asc_copy_ub2gm(b.work.data + 64 * asc_block(), asc_ub<float>(0), 256);
    }));
    expect_clean(b.again(ASC_VECTOR, 1, [&] {
        asc_copy_gm2ub(asc_ub<float>(0), b.work.data, 512);
        cr_assert_eq(asc_gm_get(b.work.data + 64), 7.0f);
    }));
}

Test(fault, the_filling_of_a_last_block_is_unwritten) {
    bench b;
    auto read = [&](uint32_t bytes, uint32_t count) {
        return b.run(ASC_VECTOR, 1, [&, bytes, count] {
            asc_copy_gm2ub_align(asc_ub<float>(0), b.in.data, bytes);
            ordered(PIPE_MTE2, PIPE_V);
            asc_exp(asc_ub<float>(512), asc_ub<float>(0), count);
        });
    };
    expect_clean(read(20, 5));
    expect_finding(read(20, 6), "FAIL_UNINITIALISED", __FILE__, 0);
}

Test(fault, multiplying_what_was_not_loaded) {
    bench b;
    expect_finding(b.run(ASC_CUBE, 1,
                         [&] {
                             asc_mmad(asc_l0c<float>(0), asc_l0a<half>(0), asc_l0b<half>(0), 16, 16,
                                      16, 0, false, false, true);
                         }),
                   "FAIL_UNINITIALISED", __FILE__, 0);
}

/* A tile with 12 of 16 rows: the product is fine for 12 rows, and unwritten beyond them. */
static std::string product_of_12_rows(bench &b, int m, int rows_out) {
    half *in = reinterpret_cast<half *>(b.in.data);
    return b.run(ASC_CUBE, 1, [&, in, m, rows_out] {
        asc_copy_gm2l1_nd2nz(asc_l1<half>(0), in, 1, 12, 16, 0, 16, 16, 1, 1);
        asc_copy_gm2l1_nd2nz(asc_l1<half>(512), in, 1, 16, 16, 0, 16, 16, 1, 1);
        ordered(PIPE_MTE2, PIPE_MTE1);
        asc_copy_l12l0a(asc_l0a<half>(0), asc_l1<half>(0), 0, 1, 0, 0);
        asc_copy_l12l0b_trans(asc_l0b<half>(0), asc_l1<half>(512), 0, 1, 0, 0, false, 0);
        ordered(PIPE_MTE1, PIPE_M);
        asc_mmad(asc_l0c<float>(0), asc_l0a<half>(0), asc_l0b<half>(0), m, 16, 16, 0, false, false,
                 true);
        ordered(PIPE_M, PIPE_FIX);
        asc_set_l0c_copy_params(1, 1, 1);
        asc_copy_l0c2gm(b.out.data, asc_l0c<float>(0), 16, rows_out, 16, 16, 0, NoQuant, 0, false,
                        true);
    });
}
Test(fault, rows_that_pad_a_tile_may_be_passed_on_but_not_used) {
    bench b;
    expect_clean(product_of_12_rows(b, 12, 12));
    expect_finding(product_of_12_rows(b, 13, 12), "FAIL_UNINITIALISED", __FILE__, 0);
    expect_finding(product_of_12_rows(b, 12, 13), "FAIL_UNINITIALISED", __FILE__, 0);
}

/* ---- Limits ----------------------------------------------------------------------------------
 */

Test(fault, places_must_be_aligned) {
    bench b;
    expect_finding(b.run(ASC_VECTOR, 1, [&] { asc_duplicate(asc_ub<float>(16), 0.0f, 8); }),
                   "CRASH: limit", __FILE__, __LINE__ - 1);
    expect_finding(b.run(ASC_CUBE, 1,
                         [&] {
                             asc_mmad(asc_l0c<float>(32), asc_l0a<half>(0), asc_l0b<half>(0), 16,
                                      16, 16, 0, false, false, true);
                         }),
                   "CRASH: limit", __FILE__, 0);
    expect_finding(b.run(ASC_CUBE, 1,
                         [&] { asc_copy_l12l0a(asc_l0a<half>(256), asc_l1<half>(0), 0, 1, 0, 0); }),
                   "CRASH: limit", __FILE__, __LINE__ - 1);
}

Test(fault, repeats_strides_and_sizes_have_limits) {
    bench b;
    const std::string found =
        b.run(ASC_VECTOR, 1, [&] { asc_duplicate(asc_ub<float>(0), 0.0f, 256, 1, 8); });
    expect_finding(found, "CRASH: limit", __FILE__, __LINE__ - 1);
    cr_expect(says(found, "repeat is 256, may be 0 to 255"), "%s", found.c_str());
    float *x = nullptr;
    expect_finding(b.run(ASC_VECTOR, 1,
                         [&] {
                             x = asc_ub<float>(0);
                             asc_add(x, x, x, 2, 1, 1, 1, 256, 8, 8);
                         }),
                   "CRASH: limit", __FILE__, 0);
    expect_finding(b.run(ASC_CUBE, 1,
                         [&] {
                             asc_mmad(asc_l0c<float>(0), asc_l0a<half>(0), asc_l0b<half>(0), 16,
                                      4096, 16, 0, false, false, true);
                         }),
                   "CRASH: limit", __FILE__, 0);
    expect_finding(b.run(ASC_VECTOR, 1, [&] { asc_copy_gm2ub(asc_ub<float>(0), b.in.data, 48); }),
                   "CRASH: limit", __FILE__, __LINE__ - 1);
    expect_finding(b.run(ASC_VECTOR, 49, [] {}), "CRASH: limit", __FILE__, 0);
    expect_finding(b.run(ASC_MIX_1_2, 25, [] {}), "CRASH: limit", __FILE__, 0);
}

Test(fault, a_core_must_be_initialised) {
    bench b;
    expect_finding(b.run(
                       ASC_VECTOR, 1, [&] { asc_duplicate(asc_ub<float>(0), 0.0f, 8); }, 1, false),
                   "CRASH: limit", __FILE__, __LINE__ - 1);
}

Test(fault, the_mask_is_undefined_after_a_call_of_a_count) {
    bench b;
    auto run = [&](bool again) {
        return b.run(ASC_VECTOR, 1, [&, again] {
            asc_duplicate(asc_ub<float>(0), 0.0f, 8);
            asc_sync_pipe(PIPE_V);
            if (again) {
                asc_set_mask_norm();
                asc_set_vector_mask(0, ~uint64_t{0});
            }
            asc_duplicate(asc_ub<float>(0), 0.0f, 1, 1, 8);
        });
    };
    expect_clean(run(true));
    expect_finding(run(false), "CRASH: limit", __FILE__, 0);
}

Test(fault, an_empty_mask) {
    bench b;
    expect_finding(b.run(ASC_VECTOR, 1,
                         [&] {
                             asc_set_vector_mask(~uint64_t{0}, 0);
                             asc_duplicate(asc_ub<float>(0), 0.0f, 1, 1, 8);
                         }),
                   "CRASH: limit", __FILE__, 0);
}

/* ---- Order within a core ---------------------------------------------------------------------
 */

Test(fault, writing_what_another_pipe_still_reads) {
    bench b;
    auto run = [&](bool with_flag) {
        return b.run(ASC_VECTOR, 1, [&, with_flag] {
            float *x = asc_ub<float>(0);
            asc_duplicate(x, 0.0f, 64);
            ordered(PIPE_V, PIPE_MTE3);
            asc_copy_ub2gm(b.out.data, x, 256);
            asc_sync_pipe(PIPE_V);
            if (with_flag) ordered(PIPE_MTE3, PIPE_V);
            asc_duplicate(x, 1.0f, 64);
        });
    };
    expect_clean(run(true));
    const std::string found = run(false);
    expect_finding(found, "FAIL_RACE", __FILE__, __LINE__ - 5);
    cr_expect(says(found, "V writes ub[0..255] read by MTE3"), "%s", found.c_str());
}

Test(fault, two_loads_to_one_place) {
    bench b;
    auto run = [&](bool barrier) {
        return b.run(ASC_VECTOR, 1, [&, barrier] {
            asc_copy_gm2ub(asc_ub<float>(0), b.in.data, 256);
            if (barrier) asc_sync_pipe(PIPE_MTE2);
            asc_copy_gm2ub(asc_ub<float>(224), b.in.data, 256);
        });
    };
    expect_clean(run(true));
    expect_finding(run(false), "FAIL_RACE", __FILE__, 0);
}

Test(fault, a_barrier_of_one_pipe_orders_no_other) {
    bench b;
    expect_finding(b.run(ASC_VECTOR, 1,
                         [&] {
                             asc_copy_gm2ub(asc_ub<float>(0), b.in.data, 256);
                             asc_sync_pipe(PIPE_MTE2);
                             asc_exp(asc_ub<float>(0), asc_ub<float>(0), 64);
                         }),
                   "FAIL_RACE", __FILE__, 0);
    expect_clean(b.run(ASC_VECTOR, 1, [&] {
        asc_copy_gm2ub(asc_ub<float>(0), b.in.data, 256);
        asc_sync();
        asc_exp(asc_ub<float>(0), asc_ub<float>(0), 64);
    }));
}

Test(fault, order_goes_through_a_third_pipe) {
    bench b;
    expect_clean(b.run(ASC_VECTOR, 1, [&] {
        asc_copy_gm2ub(asc_ub<float>(0), b.in.data, 256);
        ordered(PIPE_MTE2, PIPE_V);
        ordered(PIPE_V, PIPE_MTE3);
        asc_copy_ub2gm(b.out.data, asc_ub<float>(0), 256);
    }));
}

Test(fault, the_scalar_unit_needs_flags_too) {
    bench b;
    auto run = [&](bool before, bool after) {
        return b.run(ASC_VECTOR, 1, [&, before, after] {
            float *x = asc_ub<float>(0);
            asc_duplicate(x, 3.0f, 64);
            if (before) ordered(PIPE_V, PIPE_S);
            asc_ub_set(x, asc_ub_get(x) + 1);
            if (after) ordered(PIPE_S, PIPE_V);
            asc_exp(x, x, 64);
        });
    };
    expect_clean(run(true, true));
    expect_finding(run(false, true), "FAIL_RACE", __FILE__, 0);
    expect_finding(run(true, false), "FAIL_RACE", __FILE__, 0);
}

Test(fault, what_follows_a_wait_of_the_scalar_unit_comes_after_it) {
    bench b;
    expect_clean(b.run(ASC_VECTOR, 1, [&] {
        asc_duplicate(asc_ub<float>(0), 3.0f, 64);
        ordered(PIPE_V, PIPE_S);
        asc_copy_ub2gm(b.out.data, asc_ub<float>(0), 256);
    }));
}

Test(fault, neighbours_in_a_block_are_no_race) {
    bench b;
    expect_clean(b.run(ASC_VECTOR, 1, [&] {
        float *x = asc_ub<float>(0);
        asc_ub_set(x + 1, 1.0f);
        asc_set_vector_mask(0, 1);
        asc_duplicate(x, 0.0f, 1, 1, 8);
    }));
}

Test(fault, a_source_that_overlaps_the_result_shifted) {
    bench b;
    expect_finding(b.run(ASC_VECTOR, 1,
                         [&] {
                             asc_duplicate(asc_ub<float>(0), 1.0f, 256);
                             asc_sync_pipe(PIPE_V);
                             asc_exp(asc_ub<float>(256), asc_ub<float>(0), 128);
                         }),
                   "FAIL_RACE", __FILE__, 0);
}

Test(fault, a_reduction_into_its_source) {
    bench b;
    auto run = [&](uint32_t to) {
        return b.run(ASC_VECTOR, 1, [&, to] {
            asc_set_vector_mask(0, ~uint64_t{0});
            asc_duplicate(asc_ub<float>(0), 1.0f, 2, 1, 8);
            asc_sync_pipe(PIPE_V);
            asc_repeat_reduce_sum(asc_ub<float>(to), asc_ub<float>(0), 2, 1, 1, 8);
        });
    };
    expect_clean(run(512));
    for (uint32_t to : {0u, 32u, 480u}) expect_finding(run(to), "FAIL_RACE", __FILE__, 0);
}

Test(fault, a_select_needs_a_barrier_after_its_mask_and_before_the_next) {
    bench b;
    auto run = [&](bool after, bool before) {
        return b.run(ASC_VECTOR, 1, [&, after, before] {
            asc_duplicate(asc_ub<float>(0), 1.0f, 64);
            asc_set_mask_norm();
            asc_set_vector_mask(0, ~uint64_t{0});
            asc_sync_pipe(PIPE_V);
            asc_set_cmp_mask(asc_ub<void>(0));
            if (after) asc_sync_pipe(PIPE_V);
            asc_select(asc_ub<float>(512), asc_ub<float>(0), asc_ub<float>(0), 1, 1, 1, 1, 8, 8, 8);
            if (before) asc_sync_pipe(PIPE_V);
            asc_set_cmp_mask(asc_ub<void>(0));
        });
    };
    expect_clean(run(true, true));
    expect_finding(run(false, true), "FAIL_RACE", __FILE__, 0);
    const std::string found = run(true, false);
    expect_finding(found, "FAIL_RACE", __FILE__, __LINE__ - 6);
    cr_expect(says(found, "after asc_select"), "%s", found.c_str());
}

/* ---- Flags -----------------------------------------------------------------------------------
 */

Test(fault, a_flag_left_set) {
    bench b;
    expect_finding(b.run(ASC_VECTOR, 1, [&] { asc_sync_notify(PIPE_V, PIPE_MTE3, EVENT_ID3); }),
                   "FAIL_RACE", __FILE__, __LINE__ - 1);
}

Test(fault, a_flag_set_twice) {
    bench b;
    expect_finding(b.run(ASC_VECTOR, 1,
                         [&] {
                             asc_sync_notify(PIPE_V, PIPE_MTE3, EVENT_ID3);
                             asc_sync_notify(PIPE_V, PIPE_MTE3, EVENT_ID3);
                         }),
                   "FAIL_RACE", __FILE__, 0);
}

Test(fault, a_flag_set_again_before_it_may_have_been_taken) {
    bench b;
    auto run = [&](bool back) {
        return b.run(ASC_VECTOR, 1, [&, back] {
            for (uint32_t i = 0; i < 2; i++) {
                asc_copy_gm2ub(asc_ub<float>(256 * i), b.in.data, 256);
                ordered(PIPE_MTE2, PIPE_V);
                asc_exp(asc_ub<float>(256 * i), asc_ub<float>(256 * i), 64);
                if (back) ordered(PIPE_V, PIPE_MTE2);
            }
        });
    };
    expect_clean(run(true));
    const std::string found = run(false);
    expect_finding(found, "FAIL_RACE", __FILE__, 0);
    cr_expect(says(found, "may be set again"), "%s", found.c_str());
}

Test(fault, waiting_for_a_flag_that_nothing_sets) {
    bench b;
    expect_finding(b.run(ASC_VECTOR, 1,
                         [&] {
                             asc_sync_notify(PIPE_V, PIPE_MTE3, EVENT_ID3);
                             asc_sync_wait(PIPE_V, PIPE_MTE3, EVENT_ID4);
                         }),
                   "HANG: deadlock", __FILE__, 0);
}

Test(fault, a_pair_of_pipes_without_flags) {
    bench b;
    expect_finding(b.run(ASC_CUBE, 1, [&] { ordered(PIPE_M, PIPE_S); }), "CRASH: limit", __FILE__,
                   0);
    expect_finding(b.run(ASC_VECTOR, 1, [&] { ordered(PIPE_V, PIPE_M); }), "CRASH: limit", __FILE__,
                   0);
    expect_finding(b.run(ASC_VECTOR, 1, [&] { asc_sync_notify(PIPE_V, PIPE_S, 8); }),
                   "CRASH: limit", __FILE__, __LINE__ - 1);
}
