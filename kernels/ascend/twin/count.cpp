/* Counts and the floor they imply. Emulated; never run on a 910B2.
 *
 * Public figures (platform configuration Ascend910B2C.ini, [AICoreSpec] and [AICoreMemoryRates],
 * bytes a cycle): cube 16 x 16 x 16 MACs a cycle, vec_calc_size 128 16-bit elements, l2_rate 110
 * (read; UB and L1 fetch global memory through L2), ub_to_l2_rate 64, l1_to_l0_a_rate 512,
 * l1_to_l0_b_rate 256; clock 1.8 GHz. HBM 1.6 TB/s (architecture guide). Assumed, because nothing
 * public says it: L0C to global memory at l2_write_rate 86, one repeat of 256 bytes a cycle for
 * every vector call, and that all of it overlaps perfectly. */
#include "count.h"

#include <algorithm>
#include <cstdio>
#include <string>

struct attest_estimate attest_estimate = {0, nullptr};

namespace twin {

constexpr double cycles_a_us = 1800;
constexpr double hbm_bytes_a_us = 1.6e6;

static const struct {
    const char *name;
    double bytes_a_cycle;
} datapaths[paths] = {
    {"GM->UB", 110},  {"UB->GM", 64},  {"GM->L1", 110}, {"L1->L0A", 512},
    {"L1->L0B", 256}, {"L0C->GM", 86}, {"UB->UB", 256},
};

static struct {
    std::string text;
    counts total;
    double us;
} sum;

void counts_add(counts &to, const counts &from) {
    for (int p = 0; p < paths; p++) to.bytes[p] += from.bytes[p];
    for (int p = 0; p < 8; p++) to.instructions[p] += from.instructions[p];
    to.macs_f16 += from.macs_f16;
    to.macs_bf16 += from.macs_bf16;
    to.vector_repeats += from.vector_repeats;
    to.notifies += from.notifies;
    to.barriers += from.barriers;
    to.arrivals += from.arrivals;
}

static double cube_us(const counts &c) {
    return static_cast<double>(c.macs_f16 + c.macs_bf16) / 4096 / cycles_a_us;
}
static double vector_us(const counts &c) {
    return static_cast<double>(c.vector_repeats) / cycles_a_us;
}
static double path_us(const counts &c, int p) {
    return static_cast<double>(c.bytes[p]) / datapaths[p].bytes_a_cycle / cycles_a_us;
}

double counts_core_us(const counts &core) {
    double us = std::max(cube_us(core), vector_us(core));
    for (int p = 0; p < paths; p++) us = std::max(us, path_us(core, p));
    return us;
}

void estimate_begin() {
    sum = {};
    attest_estimate = {0, nullptr};
}

const counts &estimate_total() {
    return sum.total;
}

static void line(const char *what, double amount, const char *unit, double us) {
    char text[128];
    snprintf(text, sizeof text, "  %-12s %14.0f %-8s %10.2f us\n", what, amount, unit, us);
    sum.text += text;
}

void estimate_add(const char *kernel, int blocks, const counts *cores, int n, double hbm_bytes) {
    counts all{};
    double worst[paths] = {}, cube = 0, vector = 0, us = hbm_bytes / hbm_bytes_a_us;
    for (int i = 0; i < n; i++) {
        counts_add(all, cores[i]);
        for (int p = 0; p < paths; p++) worst[p] = std::max(worst[p], path_us(cores[i], p));
        cube = std::max(cube, cube_us(cores[i]));
        vector = std::max(vector, vector_us(cores[i]));
        us = std::max(us, counts_core_us(cores[i]));
    }
    counts_add(sum.total, all);
    sum.us += us;

    char head[160];
    snprintf(head, sizeof head, "%s, %d blocks: at least %.2f us (estimate, the core with most)\n",
             kernel, blocks, us);
    sum.text += head;
    for (int p = 0; p < paths; p++) {
        if (all.bytes[p]) {
            line(datapaths[p].name, static_cast<double>(all.bytes[p]), "bytes", worst[p]);
        }
    }
    if (all.macs_f16 + all.macs_bf16) {
        line(all.macs_bf16 ? "cube bf16" : "cube f16",
             static_cast<double>(all.macs_f16 + all.macs_bf16), "MACs", cube);
    }
    if (all.vector_repeats) {
        line("vector", static_cast<double>(all.vector_repeats), "repeats", vector);
    }
    line("HBM", hbm_bytes, "bytes", hbm_bytes / hbm_bytes_a_us);
    snprintf(head, sizeof head, "  syncs: %llu flags, %llu barriers, %llu arrivals\n",
             static_cast<unsigned long long>(all.notifies),
             static_cast<unsigned long long>(all.barriers),
             static_cast<unsigned long long>(all.arrivals));
    sum.text += head;
    attest_estimate = {sum.us, sum.text.c_str()};
}

} // namespace twin
