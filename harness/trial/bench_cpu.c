/* How fast is a CPU kernel beside its machine? Times one dense problem, and in turn with it, so
 * that both meet the same disturbances, the ceiling it is measured by: for a prefill kernel
 * OpenBLAS' sgemm of 1024^3, for a decoding kernel reading 1 GiB, each on as many threads.
 *
 *     bench_cpu KERNEL.so [f32|f16|bf16] [causal] [b1] [hq8] [hkv8] [q4096] [kv4096] [d128] [dv128]
 *               [kshared] [t2]
 *
 * A product counts 2 B Hq Sq Skv (D + Dv), half of it if causal; a read K and V once. For all other
 * variants there is `attest run`. */
#define _GNU_SOURCE
#include "../../kernels/attn.h"
#include "../../kernels/attn_number.h"
#include "../../oracle/oracle.h"

#include <dlfcn.h>
#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 15, SGEMM = 1024 };
static const size_t read_bytes = (size_t)1 << 30;

struct words {
    struct attn_problem problem;
    int threads;
};

static bool parse(struct words *words, int count, char **word) {
    struct attn_problem *p = &words->problem;
    const struct {
        const char *prefix;
        int64_t *value;
    } sizes[] = {{"b", &p->batch},   {"hq", &p->q_heads}, {"hkv", &p->kv_heads}, {"q", &p->q_len},
                 {"kv", &p->kv_len}, {"d", &p->head_dim}, {"dv", &p->value_dim}};
    const struct {
        const char *name;
        int32_t dtype;
    } dtypes[] = {{"f32", ATTN_F32}, {"f16", ATTN_F16}, {"bf16", ATTN_BF16}};
    for (int n = 0; n < count; n++) {
        bool known = false;
        const size_t letters = strcspn(word[n], "0123456789");
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            if (strlen(sizes[s].prefix) == letters && !strncmp(word[n], sizes[s].prefix, letters))
                known = (*sizes[s].value = atoll(word[n] + letters)) > 0;
        for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++)
            if (!strcmp(word[n], dtypes[d].name)) known = (p->dtype = dtypes[d].dtype);
        if (!strcmp(word[n], "causal")) known = (p->traits |= ATTN_CAUSAL);
        if (!strcmp(word[n], "kshared")) known = (p->traits |= ATTN_KSHARED);
        if (word[n][0] == 't' && letters == 1) known = (words->threads = atoi(word[n] + 1)) > 0;
        if (!known) {
            fprintf(stderr, "bench_cpu: unknown word '%s'\n", word[n]);
            return false;
        }
    }
    return true;
}

static void *allocate(size_t bytes) {
    void *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!memory) {
        fprintf(stderr, "bench_cpu: no memory for %zu bytes\n", bytes);
        exit(70);
    }
    return memory;
}

/* A tensor [x, y, z, D] of uniform numbers in [-1, 1). */
static struct attn_tensor fill(int32_t dtype, int64_t x, int64_t y, int64_t z, int64_t D) {
    const size_t count = (size_t)(x * y * z * D), bytes = attn_dtype_bytes(dtype);
    struct attn_tensor tensor = {.dtype = dtype,
                                 .rank = 4,
                                 .shape = {x, y, z, D},
                                 .stride = {y * z * D, z * D, D, 1},
                                 .data = allocate(count * bytes)};
    tensor.host = tensor.data;
#pragma omp parallel for
    for (size_t n = 0; n < count; n++) {
        const uint32_t bits = (uint32_t)((n + 1) * 0x9e3779b97f4a7c15u >> 40);
        const float value = (float)bits * 0x1p-23f - 1.0f;
        if (dtype == ATTN_F32)
            ((float *)tensor.data)[n] = value;
        else
            ((uint16_t *)tensor.data)[n] =
                dtype == ATTN_F16 ? attn_f32_to_f16(value) : attn_f32_to_bf16(value);
    }
    return tensor;
}

static double read_seconds(const uint64_t *memory, int threads) {
    uint64_t sum = 0;
    const double start = omp_get_wtime();
#pragma omp parallel for simd reduction(+ : sum) num_threads(threads)
    for (size_t n = 0; n < read_bytes / sizeof *memory; n++) sum += memory[n];
    const double seconds = omp_get_wtime() - start;
    if (sum == 1) printf("\n"); /* so that the sum is wanted */
    return seconds;
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    struct words words = {.threads = omp_get_num_procs()};
    struct attn_problem *p = &words.problem;
    *p = (struct attn_problem){.abi = ATTN_ABI,
                               .dtype = ATTN_F32,
                               .batch = 1,
                               .q_heads = 8,
                               .kv_heads = 8,
                               .q_len = 1,
                               .kv_len = 4096,
                               .head_dim = 128};
    if (argc < 2 || !parse(&words, argc - 2, argv + 2)) return 4;
    void *library = dlopen(argv[1], RTLD_NOW);
    const struct attn_kernel *kernel = library ? dlsym(library, "attn_export") : NULL;
    if (!kernel || (kernel->variant != ATTN_PREFILL && kernel->variant != ATTN_DECODE)) {
        fprintf(stderr, "bench_cpu: '%s' is no prefill or decode kernel\n", argv[1]);
        return 4;
    }
    const bool decode = kernel->variant == ATTN_DECODE;
    p->variant = kernel->variant;
    p->scale = 1 / sqrt((double)p->head_dim);
    if (p->value_dim == 0) p->value_dim = p->head_dim;
    if (p->value_dim != p->head_dim) p->traits |= ATTN_DV;
    const bool shared = p->traits & ATTN_KSHARED;
    if (p->kv_heads < p->q_heads) p->traits |= ATTN_GQA;

    struct attn_call call = {.abi = ATTN_ABI, .threads = words.threads};
    call.tensors[ATTN_Q] = fill(p->dtype, p->batch, p->q_heads, p->q_len, p->head_dim);
    call.tensors[ATTN_K] = fill(p->dtype, p->batch, p->kv_heads, p->kv_len, p->head_dim);
    if (!shared)
        call.tensors[ATTN_V] = fill(p->dtype, p->batch, p->kv_heads, p->kv_len, p->value_dim);
    call.tensors[ATTN_OUT] = fill(p->dtype, p->batch, p->q_heads, p->q_len, p->value_dim);
    call.scratch_bytes = kernel->scratch_bytes ? kernel->scratch_bytes(p) : 0;
    call.scratch = allocate(call.scratch_bytes);
    uint64_t *memory = decode ? allocate(read_bytes) : NULL;
    if (memory) memset(memory, 1, read_bytes);

    double seconds[ROUNDS], ceiling[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        ceiling[round] = decode ? (double)read_bytes / read_seconds(memory, words.threads)
                                : oracle_sgemm_rate(SGEMM, words.threads);
        const double start = omp_get_wtime();
        const char *reason = kernel->launch(p, &call);
        seconds[round] = omp_get_wtime() - start;
        if (reason) {
            fprintf(stderr, "bench_cpu: '%s': %s\n", argv[1], reason);
            return 1;
        }
    }
    qsort(seconds, ROUNDS, sizeof *seconds, compare);
    qsort(ceiling, ROUNDS, sizeof *ceiling, compare);
    const double heads = (double)(p->batch * p->q_heads), kv = (double)(p->batch * p->kv_heads);
    const double both = (double)p->kv_len * (double)(p->head_dim + p->value_dim);
    const double stored = shared ? (double)(p->kv_len * p->head_dim) : both;
    const double flops =
        2 * heads * (double)p->q_len * both * (p->traits & ATTN_CAUSAL ? 0.5 : 1.0);
    const double bytes = kv * stored * attn_dtype_bytes(p->dtype);
    const double best = seconds[0], middle = seconds[ROUNDS / 2];
    const double work = decode ? bytes : flops;
    printf("%s  best of %d %.3f ms, median %.3f ms  %.1f GFLOP/s  %.1f GB/s\n", argv[1], ROUNDS,
           best * 1e3, middle * 1e3, flops / best * 1e-9, bytes / best * 1e-9);
    printf("%s  best %.1f %s, median %.1f  kernel is %.0f %% of the best, median %.0f %%\n",
           decode ? "reading 1 GiB" : oracle_blas(), ceiling[ROUNDS - 1] * 1e-9,
           decode ? "GB/s" : "GFLOP/s", ceiling[ROUNDS / 2] * 1e-9,
           100 * work / best / ceiling[ROUNDS - 1], 100 * work / middle / ceiling[ROUNDS / 2]);
    return 0;
}
