/* Keys and values of 8 bits, E4M3 or integers, times scales of a tensor, a kv head or a token.
 *
 * Every element is exact in f16 and in bf16, so it is widened and multiplied as one of these. A
 * key's scale multiplies its scores; a value's is part of the weight that the reference
 * (online.cuh) follows, so that P is what f16 holds, whatever the scales are. A score s becomes y =
 * s m + e, in units of log2, where m is the key's scale times what scores are worth and e is log2
 * of the value's but for f, which is nearly 1; P is 2^(y - r) f, and 2^-e of 2^(y - r) goes into
 * the sum, which is f32. So the largest weight of a row is a power of two. Were it that times the
 * scale, and this one of all tokens, the largest of all rows would be rounded alike: rho 1.3
 * where 1.25 is allowed, of 300 keys in f16. */
#ifndef ATTN_CUDA_BYTES_CUH
#define ATTN_CUDA_BYTES_CUH

#include "keys.cuh"
#include "online.cuh"

namespace attn {

/* Two E4M3, in the lower or the upper half of each of x, as f16. */
__device__ __forceinline__ void e4m3_to_halves(uint32_t (&pairs)[2], uint32_t x) {
#if !defined __CUDA_ARCH__ || __CUDA_ARCH__ >= 890
    asm("{\n\t.reg .b16 low, high;\n\tmov.b32 {low, high}, %2;\n\t"
        "cvt.rn.f16x2.e4m3x2 %0, low;\n\tcvt.rn.f16x2.e4m3x2 %1, high;\n\t}"
        : "=r"(pairs[0]), "=r"(pairs[1])
        : "r"(x));
#else
    /* The same bits are 2^-8 of it in f16; beyond 448 there is only NaN. */
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const uint32_t wide = __byte_perm(x, 0, i ? 0x3424 : 0x1404);
        const uint32_t bits = (wide & 0x80008000u) | ((wide & 0x7f007f00u) >> 1);
        const __half2 two = __hmul2(reinterpret_cast<const __half2 &>(bits), __float2half2_rn(256));
        pairs[i] = reinterpret_cast<const uint32_t &>(two) |
                   __hgt2_mask(__habs2(two), __float2half2_rn(464));
    }
#endif
}

template <typename T> __device__ __forceinline__ uint32_t from_halves(uint32_t pair) {
    if constexpr (std::is_same_v<T, __half>) return pair;
    const float2 two = number<__half>::unpack(pair);
    return number<T>::pack(two.x, two.y);
}

/* Two integers, whose bytes are `low` and `high` of x, as the lower bits of numbers that have just
 * that distance. Of bf16 these are 7, and what they are subtracted from has the eighth. */
template <typename T> __device__ __forceinline__ uint32_t from_integers(uint32_t x, int bytes) {
    if constexpr (std::is_same_v<T, __half>) {
        const uint32_t above = __byte_perm(x ^ 0x80808080u, 0x64646464u, bytes);
        const uint32_t middle = 0x64806480u; /* 1024 + 128 */
        const __half2 two = __hsub2(reinterpret_cast<const __half2 &>(above),
                                    reinterpret_cast<const __half2 &>(middle));
        return reinterpret_cast<const uint32_t &>(two);
    } else {
        const uint32_t above = __byte_perm(x, 0x43434343u, bytes);
        const uint32_t number = above & 0xff7fff7fu; /* 128 and its lower bits */
        const uint32_t zero = above & 0xff80ff80u;   /* 128, or 256 of a negative one */
        const __nv_bfloat162 two = __hsub2(reinterpret_cast<const __nv_bfloat162 &>(number),
                                           reinterpret_cast<const __nv_bfloat162 &>(zero));
        return reinterpret_cast<const uint32_t &>(two);
    }
}

/* Bytes 0 and 1, and 2 and 3, as pairs of T. DTYPE: ATTN_E4M3 or ATTN_I8. */
template <typename T, int DTYPE>
__device__ __forceinline__ void widen(uint32_t (&pairs)[2], uint32_t x) {
    if constexpr (DTYPE == ATTN_E4M3) {
        uint32_t halves[2];
        e4m3_to_halves(halves, x);
        pairs[0] = from_halves<T>(halves[0]);
        pairs[1] = from_halves<T>(halves[1]);
    } else {
        pairs[0] = from_integers<T>(x, 0x5140);
        pairs[1] = from_integers<T>(x, 0x5342);
    }
}

template <typename T, int DTYPE>
__device__ __forceinline__ void widen_eight(uint32_t (&to)[4], uint32_t low, uint32_t high) {
    uint32_t pairs[2];
    widen<T, DTYPE>(pairs, low);
    to[0] = pairs[0], to[1] = pairs[1];
    widen<T, DTYPE>(pairs, high);
    to[2] = pairs[0], to[3] = pairs[1];
}

/* A value's scale as 2^e f. f is 1 to a few units of 2^-24, unless the scale is too far from 1 for
 * a sum of 2^-e. */
struct value_scale {
    float e, f, inverse; /* inverse: 2^-e */
};

constexpr float VALUE_E_MAX = 60;

__device__ __forceinline__ value_scale value_scale_of(float scale) {
    const float e = fminf(fmaxf(log2_fast(scale), -VALUE_E_MAX), VALUE_E_MAX);
    const float inverse = exp2_fast(-e);
    return {e, scale * inverse, inverse};
}

/* As of Keys, with keys and values of 8 bits. */
template <typename Keys, int TYPE> struct byte_keys : Keys {
    static constexpr int BYTES = 1; /* of an element */
    static constexpr int DTYPE = TYPE;
    const float *k_scale, *v_scale;
    int by_head, by_token; /* 1: there is one for each; of a token that is not there, any */

    __device__ __forceinline__ float scale(const float *scales, uint32_t beginning, int g,
                                           int token) const {
        uint32_t at = by_head ? (uint32_t)g : 0;
        if (by_token) at = Keys::scale_row(beginning, g, token);
        return __ldg(&scales[at]);
    }
    /* What a score is multiplied with, of a key with this scale. */
    __device__ __forceinline__ float factor(float scale, softmax_scale softmax) const {
        if constexpr (Keys::ANY)
            if (Keys::inner > 0.f) return scale * Keys::inner;
        return scale * softmax.to_log2;
    }
    /* A score of such a key, and of a value with such an e, in units of log2. */
    __device__ __forceinline__ float apply(float s, float factor, float e,
                                           softmax_scale softmax) const {
        if constexpr (Keys::ANY)
            if (Keys::inner > 0.f) return fmaf(tanh_of(s * factor), softmax.to_log2, e);
        return fmaf(s, factor, e);
    }
};

template <typename Keys, int TYPE>
byte_keys<Keys, TYPE> keys_make(byte_keys<Keys, TYPE>, const struct attn_problem *p,
                                const struct attn_call *call) {
    byte_keys<Keys, TYPE> keys{keys_make(Keys{}, p, call)};
    keys.k_scale = static_cast<const float *>(call->tensors[ATTN_K_SCALE].data);
    keys.v_scale = static_cast<const float *>(call->tensors[ATTN_V_SCALE].data);
    keys.by_head = p->traits & ATTN_KV_HEAD ? 1 : 0;
    keys.by_token = p->traits & ATTN_KV_TOKEN ? 1 : 0;
    return keys;
}

/* Of keys of 8 bits, or 0. */
template <typename Keys> __host__ __device__ constexpr int dtype_of() {
    if constexpr (Keys::BYTES == 1)
        return Keys::DTYPE;
    else
        return 0;
}

/* Calls pick(Keys{}), or of byte_keys of these, for the problem's elements. */
template <typename Keys, typename Pick>
kernel_choice choose_bytes(const struct attn_problem *p, Pick &&pick) {
    if (p->traits & ATTN_KV_E4M3) return pick(byte_keys<Keys, ATTN_E4M3>{});
    if (p->traits & ATTN_KV_INT8) return pick(byte_keys<Keys, ATTN_I8>{});
    return pick(Keys{});
}

/* What scores are worth where weights are made of them. */
template <typename Keys>
__device__ __forceinline__ softmax_scale softmax_scale_in(softmax_scale scale) {
    if constexpr (Keys::BYTES == 1)
        return {1.f, scale.slack * scale.to_log2};
    else
        return scale;
}

} // namespace attn

#endif
