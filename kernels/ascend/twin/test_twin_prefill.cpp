/* What prefill_cube_r1 moves is what core/prefill.h says, byte for byte, and the floor that this
 * implies at 8192 tokens. Its answers are the harness's business. Emulated; never run on a 910B2:
 * estimates, never times. */
#include <algorithm>
#include <cmath>
#include <utility>

#include "lanes.h"
#include "test_left_out.h"

#include "../prefill_cube_r1.asc"

struct shape {
    int64_t q_heads, q_len, kv_len, head_dim;
    bool causal;
    int64_t before = -1, behind = 0; /* a window, where before is not -1 */
    bool sinks = false;
};

/* Keys [first, end) of query i. */
static std::pair<int64_t, int64_t> keys_of(const shape &s, int64_t i) {
    const int64_t place = i + s.kv_len - s.q_len;
    int64_t first = 0, end = s.kv_len;
    if (s.before >= 0) {
        first = std::max<int64_t>(first, place - s.before);
        end = std::min(end, place + s.behind + 1);
    }
    if (s.causal) end = std::min(end, place + 1);
    return {first, std::max(first, end)};
}

static struct attn_problem problem_of(const shape &s) {
    struct attn_problem problem = {};
    problem.abi = ATTN_ABI;
    problem.variant = ATTN_PREFILL;
    problem.dtype = ATTN_F16;
    problem.traits = (s.causal ? ATTN_CAUSAL : 0) | (s.before >= 0 ? ATTN_WINDOW : 0) |
                     (s.sinks ? ATTN_SINK : 0);
    problem.window_left = s.before;
    problem.window_right = s.behind;
    problem.batch = 1;
    problem.q_heads = problem.kv_heads = s.q_heads;
    problem.q_len = s.q_len;
    problem.kv_len = s.kv_len;
    problem.head_dim = s.head_dim;
    problem.scale = 0.125;
    return problem;
}

/* Queries of zeros and values of ones: a row of n keys has out 1 and lse log n, where its head's
 * sink is log n_s n / (n + n_s) and log(n + n_s). Keys that no query sees, and their values, are
 * NaN. What the twin found is returned; where it is nothing, the answers are right. */
static std::string launch(const shape &s) {
    const struct attn_problem problem = problem_of(s);
    const size_t queries = static_cast<size_t>(s.q_heads * s.q_len);
    const size_t keys = static_cast<size_t>(s.q_heads * s.kv_len);
    const size_t width = static_cast<size_t>(s.head_dim);
    gm_array<half> q(queries * width), k(keys * width), v(keys * width), out(queries * width);
    gm_array<float> lse(queries);
    gm_array<uint8_t> work(prefill_scratch(&problem));
    for (size_t i = 0; i < q.size; i++) q[i] = {0};
    for (size_t i = 0; i < k.size; i++) {
        const int64_t key = static_cast<int64_t>(i) / s.head_dim % s.kv_len;
        const bool seen = key >= keys_of(s, 0).first && key < keys_of(s, s.q_len - 1).second;
        k[i] = v[i] = {static_cast<uint16_t>(seen ? 0x3c00 : 0x7e00)};
    }
    gm_array<float> sinks(static_cast<size_t>(s.q_heads));
    for (size_t h = 0; h < sinks.size; h++) sinks[h] = std::log(5.0f * static_cast<float>(h + 1));
    struct attn_call call = {};
    call.threads = 2;
    call_set(call, ATTN_Q, q.data, ATTN_F16, {1, s.q_heads, s.q_len, s.head_dim}, 4);
    call_set(call, ATTN_K, k.data, ATTN_F16, {1, s.q_heads, s.kv_len, s.head_dim}, 4);
    call_set(call, ATTN_V, v.data, ATTN_F16, {1, s.q_heads, s.kv_len, s.head_dim}, 4);
    call_set(call, ATTN_OUT, out.data, ATTN_F16, {1, s.q_heads, s.q_len, s.head_dim}, 4);
    call_set(call, ATTN_LSE, lse.data, ATTN_F32, {1, s.q_heads, s.q_len, 0}, 3);
    if (s.sinks) call_set(call, ATTN_SINKS, sinks.data, ATTN_F32, {s.q_heads}, 1);
    call.scratch = work.data;
    call.scratch_bytes = work.size;
    const char *found = attn_export.launch(&problem, &call);
    if (found != nullptr) return found;
    for (size_t i = 0; i < lse.size; i++) {
        const auto [first, end] = keys_of(s, static_cast<int64_t>(i) % s.q_len);
        const double n = static_cast<double>(end - first);
        const double all =
            n + (s.sinks ? 5.0 * static_cast<double>(static_cast<int64_t>(i) / s.q_len + 1) : 0);
        if (all > 0) {
            cr_assert_float_eq(lse[i], std::log(all), 1e-5, "lse[%zu]", i);
        } else {
            cr_assert_eq(lse[i], -INFINITY, "lse[%zu]", i);
        }
        for (size_t d = 0; d < width; d++) {
            const double got = twin::half_to_float(out[i * width + d].bits);
            cr_assert_float_eq(got, n > 0 ? n / all : 0, 1e-3, "out[%zu]", i * width + d);
        }
    }
    return "";
}
static twin::counts run(const shape &s) {
    expect_clean(launch(s));
    return twin::estimate_total();
}

/* Calls `each` with the steps of one block, as it goes through them. */
template <typename Each> static void steps_of(const shape &s, int32_t block, Each each) {
    const struct attn_problem problem = problem_of(s);
    const struct attn_call nowhere = {};
    prefill_args args = {};
    const char *wrong = prefill_args_set(args, &problem, &nowhere);
    cr_assert(wrong == nullptr, "%s", wrong ? wrong : "");
    prefill_walk walk = prefill_begin(args, block, static_cast<int32_t>(prefill_blocks(&problem)));
    prefill_step step;
    while (prefill_next(walk, args, step)) each(step);
}
static int32_t blocks_of(const shape &s) {
    const struct attn_problem problem = problem_of(s);
    return static_cast<int32_t>(prefill_blocks(&problem));
}

/* The table of core/prefill.h. */
static twin::counts formula(const shape &s) {
    twin::counts sum = {};
    const uint64_t d = static_cast<uint64_t>(s.head_dim);
    for (int32_t block = 0; block < blocks_of(s); block++) {
        sum.bytes[twin::ub_gm] += 32 * d;
        steps_of(s, block, [&](const prefill_step &step) {
            const uint64_t r = (static_cast<uint64_t>(step.rows) + 15) / 16 * 16;
            const uint64_t c = (static_cast<uint64_t>(prefill_width(step)) + 15) / 16 * 16;
            sum.bytes[twin::gm_l1] += 4 * c * d + 2 * r * c;
            sum.bytes[twin::l1_l0a] += 2 * r * d + 2 * r * c * ((d + 127) / 128);
            sum.bytes[twin::l1_l0b] += 4 * c * d;
            sum.bytes[twin::l0c_gm] += 4 * r * c + 4 * r * d;
            sum.bytes[twin::gm_ub] += 4 * r * c + 4 * r * d;
            sum.bytes[twin::ub_gm] += 2 * r * c;
            sum.macs_f16 += 2 * r * c * d;
            if (step.step > 0) return;
            sum.bytes[twin::gm_l1] += 2 * r * d;
        });
    }
    sum.bytes[twin::ub_gm] += static_cast<uint64_t>(s.q_heads * s.q_len) * (2 * d + 4);
    return sum;
}

static void expect_formula(const shape &s) {
    const twin::counts counted = run(s), expected = formula(s);
    for (int path = 0; path < twin::ub_ub; path++) {
        cr_expect_eq(counted.bytes[path], expected.bytes[path], "path %d: %llu bytes, not %llu",
                     path, static_cast<unsigned long long>(counted.bytes[path]),
                     static_cast<unsigned long long>(expected.bytes[path]));
    }
    cr_expect_eq(counted.macs_f16, expected.macs_f16);
}

Test(prefill, moves_what_its_header_says_at_d64) {
    expect_formula({3, 500, 500, 64, true});
    expect_formula({1, 256, 384, 64, false});
}
Test(prefill, moves_what_its_header_says_at_d128) {
    expect_formula({1, 1024, 1024, 128, false});
    expect_formula({2, 300, 429, 128, true});
}
Test(prefill, moves_what_its_header_says_at_d256) {
    expect_formula({1, 256, 256, 256, false});
    expect_formula({2, 385, 385, 256, true});
}

/* Of a window a tile's steps begin at the first key that one of its queries sees, wherever that is,
 * and end behind the last. */
static void expect_met(const shape &s) {
    int64_t met = 0, seen = 0;
    for (int32_t block = 0; block < blocks_of(s); block++)
        steps_of(s, block, [&](const prefill_step &step) { met += prefill_width(step); });
    for (int64_t first = 0; first < s.q_len; first += 128) {
        const int64_t last = std::min(first + 128, s.q_len) - 1;
        if (keys_of(s, last).second > 0) seen += keys_of(s, last).second - keys_of(s, first).first;
    }
    cr_expect_eq(met, s.q_heads * seen, "%lld keys, not %lld", static_cast<long long>(met),
                 static_cast<long long>(s.q_heads * seen));
    expect_formula(s);
}
Test(prefill, reads_no_key_outside_a_window) {
    expect_met({2, 300, 1000, 64, true, 127});
    expect_met({1, 257, 700, 128, false, 65, 190});
    expect_met({1, 130, 390, 256, false, 0, 0, true});
    expect_met({1, 300, 100, 64, false, 20, 40, true}); /* queries before the first key */
}

/* Also of 49 heads, three items of 22 queries on block 0, and the 128 before them of heads 0 and
 * 48, which see nothing. */
Test(prefill, needs_each_of_its_barriers) {
    left_out::expect_each_missed({
        [] {
            return launch({1, 130, 300, 256, true});
        },
        [] {
            return launch({49, 150, 20, 64, true, 7, 0, true});
        },
    });
}

/* Every key that a tile sees is met once, and no block has much more to do than another. */
Test(prefill, deals_all_tiles_evenly) {
    const shape s = {7, 2000, 2000, 128, true};
    int64_t met = 0, most = 0;
    for (int32_t block = 0; block < blocks_of(s); block++) {
        int64_t steps = 0;
        steps_of(s, block, [&](const prefill_step &step) {
            met += prefill_width(step);
            steps++;
        });
        most = std::max(most, steps);
    }
    int64_t seen = 0, steps = 0;
    for (int64_t tile = 0; tile < 16; tile++) {
        seen += 7 * std::min<int64_t>(2000, 128 * (tile + 1));
        steps += 7 * (tile + 1);
    }
    cr_expect_eq(met, seen);
    cr_expect_leq(most, (steps + 23) / 24 * 1.15, "%lld steps of %lld",
                  static_cast<long long>(most), static_cast<long long>(steps));
}

/* D 128, 32 heads, 8192 tokens, full: the floor of one head at 1024 tokens, a step, times the steps
 * of the block that has most. */
Test(prefill, floor_at_8192_tokens_is_above_120_tflops) {
    const shape small = {1, 1024, 1024, 128, false}, large = {32, 8192, 8192, 128, false};
    run(small);
    const double step_us = attest_estimate.estimate_us / 8; /* 8 blocks, an item of 8 steps each */
    int64_t most = 0;
    for (int32_t block = 0; block < blocks_of(large); block++) {
        int64_t steps = 0;
        steps_of(large, block, [&](const prefill_step &) { steps++; });
        most = std::max(most, steps);
    }
    const double flop = 4.0 * 32 * 8192 * 8192 * 128;
    const double tflops = flop / (step_us * static_cast<double>(most)) / 1e6;
    cr_log_info("%s%.3f us a step, %lld steps: %.0f TFLOP/s\n", attest_estimate.text, step_us,
                static_cast<long long>(most), tflops);
    cr_expect_gt(tflops, 120, "%.1f", tflops);
}
