#include "product.h"

namespace twin {

using row8 = float __attribute__((vector_size(32), aligned(4), may_alias));

/* Four rows by sixteen columns in registers, and 16 of k: their sum from zero, then added to c.
 * Inlined into each instruction set's function. */
template <int rows>
__attribute__((always_inline)) static inline void
strip(float *c, const float *a, const float *b, int64_t k, int64_t n, int64_t from, int64_t to) {
    for (int64_t j = 0; j < n; j += 16) {
        row8 sum[rows][2] = {};
        for (int64_t p = from; p < to; p++) {
            const row8 b0 = *reinterpret_cast<const row8 *>(b + p * n + j);
            const row8 b1 = *reinterpret_cast<const row8 *>(b + p * n + j + 8);
            for (int r = 0; r < rows; r++) {
                const float x = a[r * k + p];
                sum[r][0] += x * b0;
                sum[r][1] += x * b1;
            }
        }
        for (int r = 0; r < rows; r++) {
            *reinterpret_cast<row8 *>(c + r * n + j) += sum[r][0];
            *reinterpret_cast<row8 *>(c + r * n + j + 8) += sum[r][1];
        }
    }
}

__attribute__((always_inline)) static inline void product(float *c, const float *a, const float *b,
                                                          int64_t m, int64_t k, int64_t n) {
    for (int64_t from = 0; from < k; from += 16) {
        const int64_t to = from + 16 < k ? from + 16 : k;
        int64_t i = 0;
        for (; i + 4 <= m; i += 4) strip<4>(c + i * n, a + i * k, b, k, n, from, to);
        for (; i < m; i++) strip<1>(c + i * n, a + i * k, b, k, n, from, to);
    }
}

static void product_plain(float *c, const float *a, const float *b, int64_t m, int64_t k,
                          int64_t n) {
    product(c, a, b, m, k, n);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void
product_avx2(float *c, const float *a, const float *b, int64_t m, int64_t k, int64_t n) {
    product(c, a, b, m, k, n);
}
#endif

void product_add(float *c, const float *a, const float *b, int64_t m, int64_t k, int64_t n) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        product_avx2(c, a, b, m, k, n);
        return;
    }
#endif
    product_plain(c, a, b, m, k, n);
}

} // namespace twin
