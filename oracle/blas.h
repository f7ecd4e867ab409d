/* The little of OpenBLAS that the oracle needs; blas.c is the only file that knows it. All matrices
 * are dense and row-major. Callers multiply from several threads, BLAS itself uses one. */
#ifndef ATTEST_BLAS_H
#define ATTEST_BLAS_H

#include <stdint.h>

/* Before the first product of those below. */
void blas_use_one_thread(void);

/* out [rows, columns] = factor * a [rows, depth] b^T [columns, depth] */
void blas_multiply(double *out, double factor, const double *a, const double *b, int64_t rows,
                   int64_t columns, int64_t depth);

/* out [rows, columns] += a [rows, depth] b [depth, columns] */
void blas_multiply_add(double *out, const double *a, const double *b, int64_t rows, int64_t columns,
                       int64_t depth);

#endif
