/* OpenBLAS: the oracle's products, and how fast this machine does them at best.
 *
 * One row goes through gemv: gemm would copy the whole matrix to use it once (9-11 against 2-4
 * GFLOP/s). With BLAS on one thread, gemm and gemv give the same bits for any number of callers. */
#include "blas.h"
#include "clock.h"
#include "oracle.h"

#include <cblas.h>
#include <stdlib.h>

enum { RATE_REPEATS = 7 };

void blas_use_one_thread(void) {
    openblas_set_num_threads(1);
}

void blas_multiply(double *out, double factor, const double *a, const double *b, int64_t rows,
                   int64_t columns, int64_t depth) {
    const blasint M = (blasint)rows, N = (blasint)columns, K = (blasint)depth;
    if (rows == 1)
        cblas_dgemv(CblasRowMajor, CblasNoTrans, N, K, factor, b, K, a, 1, 0, out, 1);
    else
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, M, N, K, factor, a, K, b, K, 0, out,
                    N);
}

void blas_multiply_add(double *out, const double *a, const double *b, int64_t rows, int64_t columns,
                       int64_t depth) {
    const blasint M = (blasint)rows, N = (blasint)columns, K = (blasint)depth;
    if (rows == 1)
        cblas_dgemv(CblasRowMajor, CblasTrans, K, N, 1, b, N, a, 1, 1, out, 1);
    else
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, M, N, K, 1, a, K, b, N, 1, out, N);
}

/* An n x n product of either type. Of the doubles that `memory` holds, all 1, the halves are floats
 * too: 0 and 1.875. */
static void square_product(void *memory, int64_t n, bool wide) {
    const blasint N = (blasint)n;
    if (wide) {
        double *a = memory, *b = a + n * n, *c = b + n * n;
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, N, N, N, 1, a, N, b, N, 0, c, N);
    } else {
        float *a = memory, *b = a + n * n, *c = b + n * n;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, N, N, N, 1, a, N, b, N, 0, c, N);
    }
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* FLOP/s; 0 without the memory to try. */
static double rate(int64_t n, int threads, bool wide) {
    double *memory = malloc((size_t)(3 * n * n) * sizeof *memory);
    double seconds[RATE_REPEATS];
    if (!memory) return 0;
    for (int64_t at = 0; at < 3 * n * n; at++) memory[at] = 1;
    openblas_set_num_threads(threads > 0 ? threads : openblas_get_num_procs());
    square_product(memory, n, wide); /* wakes the threads and touches the memory */
    for (int r = 0; r < RATE_REPEATS; r++) {
        const double start = clock_s();
        square_product(memory, n, wide);
        seconds[r] = clock_s() - start;
    }
    free(memory);
    qsort(seconds, RATE_REPEATS, sizeof *seconds, ascending);
    return 2.0 * (double)n * (double)n * (double)n / seconds[RATE_REPEATS / 2];
}

double oracle_dgemm_rate(int64_t n, int threads) {
    return rate(n, threads, true);
}

double oracle_sgemm_rate(int64_t n, int threads) {
    return rate(n, threads, false);
}

const char *oracle_blas(void) {
    return openblas_get_config();
}
