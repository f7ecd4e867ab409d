/* Online softmax with a lazy reference. Weights are 2^(s c - r) with c = scale log2 e folded in
 * f32 and r = max c - P_BIAS, where max is a maximum seen so far and not always the latest: it
 * moves only when some row of the warp outgrew it by 2^P_SLACK, so most tiles need neither the
 * shuffles of a row maximum nor a rescaling of the output. P_BIAS lifts small weights out of the
 * subnormals of binary16; 2^(P_BIAS + P_SLACK) stays below 65504. In bfloat16, which has room, of
 * 2,048 causal keys of data like a model's 16 rows outgrow it in 0.2 % of the tiles; in 10 % by
 * 2^8, 6 % by 2^10. */
#ifndef ATTN_CUDA_ONLINE_CUH
#define ATTN_CUDA_ONLINE_CUH

#include "../../attn.h"
#include "tensor_core.cuh"

namespace attn {

constexpr float P_BIAS = 5;
constexpr float P_SLACK = 10;
constexpr float P_SLACK_BF16 = 24;
constexpr float LN_2 = 0.693147180559945309f;
constexpr double LOG2_E = 1.44269504088896340736;

/* Of scores, which are q.k or, where logits are capped, tanh(q.k scale / softcap). */
struct softmax_scale {
    float to_log2; /* scale log2 e, or softcap log2 e */
    float slack;   /* in units of scores */
};

inline softmax_scale softmax_scale_of(const struct attn_problem *p) {
    const double scale = p->traits & ATTN_SOFTCAP ? p->softcap : p->scale;
    const double slack = p->dtype == ATTN_BF16 ? P_SLACK_BF16 : P_SLACK;
    return {(float)(scale * LOG2_E), (float)(slack / (scale * LOG2_E))};
}

/* Within 3.2 units of 2^-24 of the result, which is what a capped logit may be off: both ways are
 * gone, because lanes would go both. The polynomial is that of libdevice's tanhf. */
__device__ __forceinline__ float tanh_of(float x) {
    const float size = fabsf(x), square = x * x;
    float series = fmaf(1.57396831e-2f, square, -5.23039624e-2f);
    series = fmaf(series, square, 1.33152977e-1f);
    series = fmaf(series, square, -3.33327681e-1f);
    const float near_zero = fmaf(series * square, x, x);
    const float beyond = 1.f - 2.f * inverse_of(exp2_fast(size * (float)(2 * LOG2_E)) + 1.f);
    return size < 0.6f ? near_zero : copysignf(beyond, x);
}

/* -r. A row that saw no key yet gets 0, so that its weights 2^-inf are 0 and not NaN. */
__device__ __forceinline__ float minus_reference(float max, float to_log2) {
    return max == -INFINITY ? 0.f : fmaf(-max, to_log2, P_BIAS);
}

/* What sums under the reference of `max` are worth under that of `max_new`. */
__device__ __forceinline__ float rescaling(float max, float max_new, float to_log2) {
    const float factor =
        exp2_fast(minus_reference(max_new, to_log2) - minus_reference(max, to_log2));
    return max == -INFINITY ? 0.f : factor;
}

/* r, and -infinity for a row that saw no key: what sums are compared and merged by. */
__device__ __forceinline__ float reference(float max, float to_log2) {
    return max == -INFINITY ? -INFINITY : -minus_reference(max, to_log2);
}

/* The factor that takes sums from reference r to `top`, the largest of several. */
__device__ __forceinline__ float toward(float top, float r) {
    return r == -INFINITY ? 0.f : exp2f(r - top);
}

__device__ __forceinline__ float lse_of(float r, float sum) {
    return sum > 0.f ? (log2f(sum) + r) * LN_2 : -INFINITY;
}

/* What a row with a sink, one logit more without a value, makes of sums of reference r: their
 * factor, and its lse. Without keys all weight is the sink's; a sink of -infinity is none. */
struct row_end {
    float factor, lse;
};

__device__ __forceinline__ row_end end_with_sink(float r, float sum, float sink) {
    if (sum == 0.f) return {0.f, sink};
    const float above = fmaf(sink, (float)LOG2_E, -r); /* how far, in powers of two */
    const float kept = exp2f(fminf(-above, 0.f));
    const float total = fmaf(kept, sum, exp2f(fminf(above, 0.f)));
    const float lse = log2f(total) * LN_2;
    return {kept * inverse_of(total), above > 0.f ? lse + sink : fmaf(r, LN_2, lse)};
}

} // namespace attn

#endif
