/* What is checked between cores, by small kernels with a fault planted each, and beside the subtle
 * ones the nearest kernel that has none. */
#include "test_bench.h"

static void ordered(pipe_t from, pipe_t to) {
    asc_sync_notify(from, to, EVENT_ID0);
    asc_sync_wait(from, to, EVENT_ID0);
}

Test(cores, two_cores_writing_the_same_bytes) {
    bench b;
    auto run = [&](int64_t apart) {
        return b.run(ASC_VECTOR, 2, [&, apart] {
            asc_duplicate(asc_ub<float>(0), 0.0f, 64);
            ordered(PIPE_V, PIPE_MTE3);
            asc_copy_ub2gm_align(b.out.data + apart * asc_block(), asc_ub<float>(0), 12);
        });
    };
    expect_clean(run(3)); /* neighbours in a block of 32 bytes */
    expect_finding(run(2), "FAIL_RACE", __FILE__, 0);
}

/* Core 0 writes, core 1 reads. */
static std::string pass_on(bench &b, bool barrier, bool scalar) {
    return b.run(ASC_MIX_0_1, 2, [&, barrier, scalar] {
        if (asc_block() == 0) {
            asc_duplicate(asc_ub<float>(0), 5.0f, 64);
            ordered(PIPE_V, PIPE_MTE3);
            asc_copy_ub2gm(b.work.data, asc_ub<float>(0), 256);
        }
        if (barrier) {
            asc_core_arrive(PIPE_MTE3, ASC_ALL_CORES, 4);
            asc_core_wait(4);
        }
        if (asc_block() == 1 && scalar) asc_gm_get(b.work.data);
        if (asc_block() == 1 && !scalar) asc_copy_gm2ub(asc_ub<float>(0), b.work.data, 256);
    });
}
Test(cores, reading_what_another_core_writes) {
    for (int i = 0; i < 10; i++) {
        bench b;
        expect_clean(pass_on(b, true, false));
        const std::string found = pass_on(b, false, false);
        cr_expect(begins_with(found, "FAIL_RACE: ") || begins_with(found, "FAIL_UNINITIALISED: "),
                  "%s", found.c_str());
    }
}
Test(cores, the_scalar_cache_does_not_see_what_another_core_wrote) {
    bench b;
    expect_finding(pass_on(b, true, true), "FAIL_RACE", __FILE__, 0);
}

/* Core 0 reads by the scalar unit what core 1 writes in the same launch. The arrivals fix who is
 * first here, but only those of MTE3 after a flag from S order the read before the write. */
static std::string scalar_read_and_write(bool read_first, bool arrive_in_order) {
    bench b;
    auto write = [&] {
        asc_duplicate(asc_ub<float>(0), 5.0f, 64);
        ordered(PIPE_V, PIPE_MTE3);
        asc_copy_ub2gm(b.work.data, asc_ub<float>(0), 256);
    };
    expect_clean(b.run(ASC_MIX_0_1, 1, write));
    return b.again(ASC_MIX_0_1, 2, [&] {
        if (asc_block() == 0 && read_first) asc_gm_get(b.work.data);
        if (asc_block() == 1 && !read_first) write();
        if (arrive_in_order) ordered(PIPE_S, PIPE_MTE3);
        asc_core_arrive(arrive_in_order ? PIPE_MTE3 : PIPE_MTE2, ASC_ALL_CORES, 4);
        asc_core_wait(4);
        if (asc_block() == 0 && !read_first) asc_gm_get(b.work.data);
        if (asc_block() == 1 && read_first) write();
    });
}
Test(cores, a_scalar_read_of_what_another_core_writes_is_a_race_whichever_is_first) {
    expect_finding(scalar_read_and_write(false, false), "FAIL_RACE", __FILE__, 0);
    const std::string found = scalar_read_and_write(true, false);
    expect_finding(found, "FAIL_RACE", __FILE__, 0);
    cr_expect(says(found, "MTE3 writes work[0..255] read by S of block 0"), "%s", found.c_str());
    expect_clean(scalar_read_and_write(true, true));
}

Test(cores, arriving_with_the_wrong_pipe) {
    bench b;
    expect_finding(b.run(ASC_MIX_0_1, 2,
                         [&] {
                             if (asc_block() == 0) {
                                 asc_duplicate(asc_ub<float>(0), 5.0f, 64);
                                 ordered(PIPE_V, PIPE_MTE3);
                                 asc_copy_ub2gm(b.work.data, asc_ub<float>(0), 256);
                             }
                             asc_core_arrive(PIPE_V, ASC_ALL_CORES, 4);
                             asc_core_wait(4);
                             if (asc_block() == 1) {
                                 asc_copy_gm2ub(asc_ub<float>(0), b.work.data, 256);
                             }
                         }),
                   "FAIL_RACE", __FILE__, 0);
}

Test(cores, cores_that_wait_for_each_other) {
    for (int threads : {1, 2, 8}) {
        bench b;
        const std::string found = b.run(
            ASC_MIX_1_2, 2,
            [&] {
                if (asc_on_cube()) {
                    asc_core_wait(1);
                    asc_core_arrive(PIPE_FIX, ASC_CUBE_VECTOR, 2);
                } else {
                    asc_core_wait(2);
                    asc_core_arrive(PIPE_MTE3, ASC_CUBE_VECTOR, 1);
                }
            },
            threads);
        expect_finding(found, "HANG: deadlock", __FILE__, 0);
        cr_expect(says(found, "block 0 cube waits at"), "%s", found.c_str());
        cr_expect(says(found, "block 0 vector 0 waits at"), "%s", found.c_str());
        cr_expect(says(found, "for flag 2"), "%s", found.c_str());
    }
}

Test(cores, a_barrier_that_one_core_leaves_out) {
    bench b;
    const std::string found = b.run(ASC_MIX_0_1, 3, [&] {
        if (asc_block() == 1) return;
        asc_core_arrive(PIPE_MTE3, ASC_ALL_CORES, 4);
        asc_core_wait(4);
    });
    expect_finding(found, "HANG: deadlock", __FILE__, __LINE__ - 2);
    cr_expect(says(found, "for flag 4 of block 1 (has ended)"), "%s", found.c_str());
}

Test(cores, many_blocks_meet_on_one_thread) {
    bench b;
    expect_clean(b.run(
        ASC_MIX_1_2, 24,
        [&] {
            for (int i = 0; i < 20; i++) {
                asc_core_arrive(asc_on_cube() ? PIPE_FIX : PIPE_MTE3, ASC_ALL_CORES,
                                asc_on_cube() ? 1 : 2);
                asc_core_wait(asc_on_cube() ? 1 : 2);
            }
        },
        1));
}

Test(cores, a_counter_above_15) {
    bench b;
    expect_finding(b.run(ASC_MIX_1_2, 1,
                         [&] {
                             for (int i = 0; asc_on_cube() && i < 16; i++) {
                                 asc_core_arrive(PIPE_FIX, ASC_CUBE_VECTOR, 0);
                             }
                         }),
                   "CRASH: limit", __FILE__, 0);
}

Test(cores, a_counter_left_above_0) {
    bench b;
    expect_finding(b.run(ASC_MIX_1_2, 1,
                         [&] {
                             if (asc_on_cube()) asc_core_arrive(PIPE_FIX, ASC_CUBE_VECTOR, 0);
                         }),
                   "FAIL_RACE", __FILE__, 0);
}

Test(cores, one_flag_in_two_modes) {
    bench b;
    expect_finding(b.run(ASC_MIX_1_2, 1,
                         [&] {
                             asc_core_arrive(asc_on_cube() ? PIPE_FIX : PIPE_MTE3,
                                             asc_on_cube() ? ASC_CUBE_VECTOR : ASC_VECTOR_PAIR, 0);
                         }),
                   "CRASH: limit", __FILE__, 0);
}

Test(cores, flags_between_cores_need_a_mixed_kernel_and_an_address) {
    bench b;
    auto meet = [] {
        asc_init();
        asc_core_arrive(PIPE_MTE3, ASC_ALL_CORES, 4);
        asc_core_wait(4);
    };
    expect_clean(b.run(ASC_MIX_0_1, 2, meet));
    expect_finding(b.run(ASC_VECTOR, 2, meet), "CRASH: limit", __FILE__, 0);
    expect_finding(b.run(ASC_MIX_0_1, 2, meet, 2, false), "CRASH: limit", __FILE__, 0);
}
