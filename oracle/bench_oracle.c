/* How fast the oracle is beside the machine's own matrix product, measured in turns so that both
 * see the same machine; the best of each counts.
 *
 *   bench_oracle [B Hq Hkv Sq Skv D Dv [causal|kshared]]     default: 1 8 8 4096 4096 128 128 */
#include "oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TURNS = 3 };

static float *numbers(int64_t count, uint32_t seed) {
    float *values = malloc((size_t)count * sizeof *values);
    for (int64_t n = 0; values && n < count; n++) {
        seed = seed * 1664525u + 1013904223u;
        values[n] = (float)(int32_t)seed * 0x1p-31f;
    }
    return values;
}

int main(int argc, char **argv) {
    struct attn_problem problem = {.dtype = ATTN_F32,
                                   .batch = 1,
                                   .q_heads = 8,
                                   .kv_heads = 8,
                                   .q_len = 4096,
                                   .kv_len = 4096,
                                   .head_dim = 128,
                                   .value_dim = 128,
                                   .traits = ATTN_DV};
    int64_t *sizes[] = {&problem.batch,  &problem.q_heads,  &problem.kv_heads, &problem.q_len,
                        &problem.kv_len, &problem.head_dim, &problem.value_dim};
    for (int n = 0; n < 7 && n + 1 < argc; n++) *sizes[n] = atoll(argv[n + 1]);
    if (argc > 8 && strcmp(argv[8], "causal") == 0) problem.traits |= ATTN_CAUSAL;
    if (argc > 8 && strcmp(argv[8], "kshared") == 0) problem.traits |= ATTN_KSHARED;
    problem.scale = 1 / sqrt((double)problem.head_dim);
    struct fault fault = {0};
    if (!rules_variant(&problem, &fault)) {
        fprintf(stderr, "bench_oracle: %s\n", fault.text);
        return fault.code;
    }

    struct attn_tensor tensors[ATTN_SLOT_ROOM] = {0};
    const int64_t q_count = problem.batch * problem.q_heads * problem.q_len * problem.head_dim;
    const int64_t rows = problem.batch * problem.kv_heads * problem.kv_len;
    tensors[ATTN_Q].data = numbers(q_count, 1);
    tensors[ATTN_K].data = numbers(rows * problem.head_dim, 2);
    if (!(problem.traits & ATTN_KSHARED))
        tensors[ATTN_V].data = numbers(rows * problem.value_dim, 3);
    const struct rule_view view = {.problem = &problem, .tensors = tensors};

    double dgemm = 0, sgemm = 0, seconds = INFINITY;
    struct oracle_cost cost = {0};
    bool good = tensors[ATTN_Q].data && tensors[ATTN_K].data &&
                (tensors[ATTN_V].data || problem.traits & ATTN_KSHARED);
    for (int turn = 0; good && turn < TURNS; turn++) {
        struct answer answer;
        dgemm = fmax(dgemm, oracle_dgemm_rate(1024, 0));
        sgemm = fmax(sgemm, oracle_sgemm_rate(1024, 0));
        good = oracle_answer(&answer, &view, 0, 0, &cost, &fault);
        if (good) answer_free(&answer);
        seconds = fmin(seconds, cost.seconds);
    }
    if (good) {
        const double rate = cost.product_flops / seconds;
        printf("%s\n", oracle_blas());
        printf("dgemm 1024^3      %8.1f GFLOP/s\n", dgemm * 1e-9);
        printf("sgemm 1024^3      %8.1f GFLOP/s\n", sgemm * 1e-9);
        printf("oracle's products %8.1f GFLOP/s, %.0f %% of dgemm; %.3f s\n", rate * 1e-9,
               100 * rate / dgemm, seconds);
        printf("memory a thread   %8.1f MB\n", (double)cost.memory_bytes * 1e-6);
    } else
        fprintf(stderr, "bench_oracle: %s\n", fault.text);
    free(tensors[ATTN_Q].data);
    free(tensors[ATTN_K].data);
    free(tensors[ATTN_V].data);
    return good ? 0 : 70;
}
