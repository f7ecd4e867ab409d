/* What decode_cube_r1 moves is what core/decode.h says, byte for byte, also of windows, which are
 * all that it reads; and each barrier is needed. Emulated; never run on a 910B2. */
#include <algorithm>
#include <cmath>

#include "lanes.h"
#include "test_left_out.h"

#include "../decode_cube_r1.asc"

struct shape {
    int64_t batch, q_heads, kv_heads, kv_len, head_dim;
    int64_t window = -1; /* keys before the query's own, where it is not -1 */
    bool sinks = false;
    std::vector<int32_t> lens = {}, q_lens = {}; /* none: all of kv_len, one query each */
};

static struct attn_problem problem_of(const shape &s) {
    struct attn_problem problem = {};
    problem.abi = ATTN_ABI;
    problem.variant = ATTN_DECODE;
    problem.dtype = ATTN_F16;
    problem.traits = (s.window >= 0 ? ATTN_WINDOW : 0) | (s.sinks ? ATTN_SINK : 0) |
                     (s.lens.empty() ? 0 : ATTN_RAGGED) | (s.q_lens.empty() ? 0 : ATTN_QLENS);
    problem.batch = s.batch;
    problem.q_heads = s.q_heads;
    problem.kv_heads = s.kv_heads;
    problem.q_len = 1;
    problem.kv_len = s.kv_len;
    problem.head_dim = s.head_dim;
    problem.window_left = s.window;
    problem.scale = 0.125;
    return problem;
}

/* Keys [first, end) of sequence b. */
static token_span keys_of(const shape &s, int64_t b) {
    const size_t at = static_cast<size_t>(b);
    const int64_t end = s.lens.empty() ? s.kv_len : s.lens[at];
    if (!s.q_lens.empty() && s.q_lens[at] == 0) return {0, 0};
    return {s.window < 0 ? 0 : std::max<int64_t>(0, end - 1 - s.window), end};
}

/* Queries of zeros and values of ones: over n keys out is 1 and lse log n, where a head's sink is
 * log n_s n / (n + n_s) and log(n + n_s), where there is no query 0 and 0. Keys that nobody sees,
 * and their values, are NaN. What the twin found is returned; where it is nothing, the answers are
 * right. */
static std::string launch(const shape &s) {
    const struct attn_problem problem = problem_of(s);
    const size_t width = static_cast<size_t>(s.head_dim);
    const size_t rows = static_cast<size_t>(s.batch * s.q_heads);
    const size_t tokens = static_cast<size_t>(s.batch * s.kv_heads * s.kv_len);
    gm_array<half> q(rows * width), k(tokens * width), v(tokens * width), out(rows * width);
    gm_array<float> lse(rows), sinks(static_cast<size_t>(s.q_heads));
    gm_array<uint8_t> work(decode_scratch_bytes(&problem));
    gm_array<int32_t> lens(s.lens.size()), q_lens(s.q_lens.size());
    std::copy(s.lens.begin(), s.lens.end(), lens.data);
    std::copy(s.q_lens.begin(), s.q_lens.end(), q_lens.data);
    for (size_t i = 0; i < q.size; i++) q[i] = {0};
    for (size_t i = 0; i < k.size; i++) {
        const int64_t token = static_cast<int64_t>(i) / s.head_dim;
        const token_span seen = keys_of(s, token / s.kv_len / s.kv_heads);
        const int64_t key = token % s.kv_len;
        const bool inside = key >= seen.first && key < seen.end;
        k[i] = v[i] = {static_cast<uint16_t>(inside ? 0x3c00 : 0x7e00)};
    }
    for (size_t h = 0; h < sinks.size; h++) sinks[h] = std::log(100.0f * static_cast<float>(h + 1));
    struct attn_call call = {};
    call.threads = 2;
    call_set(call, ATTN_Q, q.data, ATTN_F16, {s.batch, s.q_heads, 1, s.head_dim}, 4);
    call_set(call, ATTN_K, k.data, ATTN_F16, {s.batch, s.kv_heads, s.kv_len, s.head_dim}, 4);
    call_set(call, ATTN_V, v.data, ATTN_F16, {s.batch, s.kv_heads, s.kv_len, s.head_dim}, 4);
    call_set(call, ATTN_OUT, out.data, ATTN_F16, {s.batch, s.q_heads, 1, s.head_dim}, 4);
    call_set(call, ATTN_LSE, lse.data, ATTN_F32, {s.batch, s.q_heads, 1}, 3);
    if (!s.lens.empty()) call_set(call, ATTN_SEQ_LENS, lens.data, ATTN_I32, {s.batch}, 1);
    if (!s.q_lens.empty()) call_set(call, ATTN_Q_LENS, q_lens.data, ATTN_I32, {s.batch}, 1);
    if (s.sinks) call_set(call, ATTN_SINKS, sinks.data, ATTN_F32, {s.q_heads}, 1);
    call.scratch = work.data;
    call.scratch_bytes = work.size;
    const char *found = attn_export.launch(&problem, &call);
    if (found != nullptr) return found;
    for (size_t i = 0; i < rows; i++) {
        const int64_t b = static_cast<int64_t>(i) / s.q_heads;
        const token_span seen = keys_of(s, b);
        const double n = static_cast<double>(seen.end - seen.first);
        const double head = static_cast<double>(static_cast<int64_t>(i) % s.q_heads + 1);
        const double all = n + (s.sinks ? 100 * head : 0);
        if (!s.q_lens.empty() && s.q_lens[static_cast<size_t>(b)] == 0) {
            cr_assert_eq(lse[i], 0, "lse[%zu]", i);
        } else if (all > 0) {
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

/* The traffic of core/decode.h, of sequences that are whole. */
template <int D> static void expect_formula(const shape &s) {
    const struct attn_problem problem = problem_of(s);
    const struct attn_call nowhere = {};
    decode_args args = {};
    decode_args_set(args, &problem, &nowhere);
    const int64_t blocks = decode_blocks(&problem);
    const uint64_t g = static_cast<uint64_t>(args.group), keys = decode_keys(D);
    const uint64_t split = g == 1 ? 4 * D + 64 : 4 * g * D + 128;
    twin::counts sum = {};
    int64_t met = 0;
    for (int64_t block = 0; block < blocks; block++) {
        decode_walk walk = decode_begin<decode_keys(D)>(args, block, blocks);
        decode_place at;
        sum.bytes[twin::ub_gm] += 512;
        if (block < walk.parts) sum.bytes[twin::gm_l1] += 4 * (16 - g) * (D + keys);
        while (decode_next<decode_keys(D)>(args, walk, at)) {
            const uint64_t c = static_cast<uint64_t>(decode_up16(at.count));
            met += at.count;
            sum.bytes[twin::gm_l1] += (4 * D + 2 * g) * c + (at.begins ? 2 * g * D : 0);
            sum.bytes[twin::l0c_gm] += 4 * g * (c + D);
            sum.bytes[twin::gm_ub] += 4 * g * (c + D);
            sum.bytes[twin::ub_gm] += 2 * g * c;
            if (at.ends && !(at.opened && at.closed)) {
                sum.bytes[twin::gm_ub] += split;
                sum.bytes[twin::ub_gm] += split;
            }
        }
    }
    sum.bytes[twin::ub_gm] += static_cast<uint64_t>(s.batch * s.q_heads) * (2 * D + 4);
    expect_clean(launch(s));
    const twin::counts counted = twin::estimate_total();
    for (int path : {twin::gm_l1, twin::l0c_gm, twin::gm_ub, twin::ub_gm}) {
        cr_expect_eq(counted.bytes[path], sum.bytes[path], "path %d: %llu bytes, not %llu", path,
                     static_cast<unsigned long long>(counted.bytes[path]),
                     static_cast<unsigned long long>(sum.bytes[path]));
    }
    const token_span seen = keys_of(s, 0);
    cr_expect_eq(met, s.batch * s.kv_heads * (seen.end - seen.first), "%lld keys",
                 static_cast<long long>(met));
}

Test(decode, moves_what_its_header_says) {
    expect_formula<64>({2, 4, 2, 700, 64});
    expect_formula<128>({1, 16, 1, 1500, 128});
    expect_formula<256>({3, 2, 2, 130, 256});
}
Test(decode, reads_no_key_outside_a_window) {
    expect_formula<64>({2, 4, 2, 1500, 64, 700});
    expect_formula<128>({1, 16, 1, 3000, 128, 1100, true});
    expect_formula<256>({3, 3, 3, 400, 256, 0});
}
Test(decode, answers_sequences_without_keys_or_queries) {
    for (bool sinks : {false, true}) {
        expect_clean(launch({5, 4, 2, 600, 64, 512, sinks, {600, 0, 33, 0, 1}, {1, 1, 0, 0, 1}}));
    }
}

/* Of whole segments, of combined ones, and of rows that see nothing but their sinks. */
Test(decode, needs_each_of_its_barriers) {
    left_out::expect_each_missed({
        [] {
            return launch({30, 6, 2, 100, 64});
        },
        [] {
            return launch({3, 6, 2, 600, 128});
        },
        [] {
            return launch({1, 16, 1, 3000, 128, 2500, true});
        },
        [] {
            return launch({60, 4, 2, 70, 64, 65, true});
        },
        [] {
            return launch({6, 4, 2, 600, 64, 512, true, {600, 0, 0, 0, 33, 0}});
        },
    });
}
