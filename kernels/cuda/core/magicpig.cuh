/* MagicPIG's correction of one logit, in f32.
 *
 * With t(y) = log1p(y) - y the sum (L-1) log1p(-x) + log1p((L-1) x) is (L-1) t(-x) + t((L-1) x):
 * the linear terms cancel in the algebra instead of in the arithmetic, and both that remain are
 * negative. So f32 does what would otherwise take double: u keeps its digits down to 1e-10. */
#ifndef ATTN_CUDA_MAGICPIG_CUH
#define ATTN_CUDA_MAGICPIG_CUH

namespace attn {

/* log1p(y) - y, for y > -1. Near 0 from log1p(y) = 2 atanh(s), s = y / (2 + y), which leaves
 * -s y + 2 s^3 (1/3 + s^2/5 + ...); |s| <= 1/3 there, and what is cut off is below 2^-26 of it. */
__device__ __forceinline__ float log1p_less(float y) {
    const float s = y / (2.f + y), z = s * s;
    float series = 1.f / 17;
    series = fmaf(series, z, 1.f / 15);
    series = fmaf(series, z, 1.f / 13);
    series = fmaf(series, z, 1.f / 11);
    series = fmaf(series, z, 1.f / 9);
    series = fmaf(series, z, 1.f / 7);
    series = fmaf(series, z, 1.f / 5);
    series = fmaf(series, z, 1.f / 3);
    const float near_zero = fmaf(2.f * s * z, series, -s * y);
    return fabsf(y) <= 0.5f ? near_zero : log1pf(y) - y;
}

/* log u of a token with q.k = dot, sampled by LSH with K = lsh_k, L = lsh_l. */
__device__ __forceinline__ float magicpig_log_u(float dot, float q_norm, float k_norm, float lsh_k,
                                                float lsh_l) {
    const float limit = 1.f - 1e-7f;
    const float c = fminf(fmaxf(dot / fmaf(q_norm, k_norm, 1e-8f), -limit), limit);
    /* 1 - acos(c) / pi without its cancellation near c = -1 */
    const float p = acosf(-c) * 0.318309886183790672f;
    const float x = powf(p, lsh_k);
    const float u = -expm1f(fmaf(lsh_l - 1.f, log1p_less(-x), log1p_less((lsh_l - 1.f) * x)));
    return logf(fmaxf(u, 1e-10f));
}

} // namespace attn

#endif
