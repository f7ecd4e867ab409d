/* Shares whose keys are divided: how what warpgroups have of one is added up.
 *
 * Of two parts one is left in memory by the warpgroup that comes first, the other stays in the
 * registers of the second. Who is first shows before the last values are added, so that nobody
 * waits for the answer. Of more parts, or at D = 256, all are left, and the last to arrive adds
 * them up. */
#ifndef ATTN_CUDA_PREFILL_HOPPER_PARTS_CUH
#define ATTN_CUDA_PREFILL_HOPPER_PARTS_CUH

#include "prefill_hopper_rows.cuh"

namespace attn {

/* Where a thread of a warpgroup has its own of a place. */
template <typename shape>
__device__ __forceinline__ float4 *hopper_part_of(const hopper_args &a, int place) {
    return reinterpret_cast<float4 *>(a.partials) +
           (int64_t)place * (hopper_partials<shape>::FLOATS / 4) + threadIdx.x % WARPGROUP;
}

template <typename T, typename shape>
__device__ __forceinline__ void hopper_leave(const hopper_rows<T, shape> &x, float4 *to) {
    constexpr int D = shape::D;
#pragma unroll
    for (int i = 0; i < D / 8; i++)
        to[i * WARPGROUP] =
            make_float4(x.out[i * 4], x.out[i * 4 + 1], x.out[i * 4 + 2], x.out[i * 4 + 3]);
    to[D / 8 * WARPGROUP] = make_float4(x.max[0], x.max[1], x.sum[0], x.sum[1]);
}

/* Adds to `x` what another warpgroup left. Who adds which to which makes no difference to a bit. */
template <typename T, typename shape>
__device__ __forceinline__ void hopper_add(hopper_rows<T, shape> &x, const float4 *from,
                                           softmax_scale scale) {
    constexpr int D = shape::D;
    const float4 stats = __ldcg(from + D / 8 * WARPGROUP);
    const float max[2] = {stats.x, stats.y}, sum[2] = {stats.z, stats.w};
    float kept[2], added[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const float top = fmaxf(x.max[r], max[r]);
        kept[r] = rescaling(x.max[r], top, scale.to_log2);
        added[r] = rescaling(max[r], top, scale.to_log2);
        x.max[r] = top;
    }
    const auto sum_of = [&kept, &added](float mine, float other, int r) {
        return __fadd_rn(__fmul_rn(mine, kept[r]), __fmul_rn(other, added[r]));
    };
    x.sum[0] = sum_of(x.sum[0], sum[0], 0);
    x.sum[1] = sum_of(x.sum[1], sum[1], 1);
#pragma unroll
    for (int i = 0; i < D / 8; i++) {
        const float4 y = __ldcg(from + i * WARPGROUP);
        float *o = &x.out[i * 4];
        o[0] = sum_of(o[0], y.x, 0);
        o[1] = sum_of(o[1], y.y, 0);
        o[2] = sum_of(o[2], y.z, 1);
        o[3] = sum_of(o[3], y.w, 1);
    }
}

/* Of a share in two parts, by a warpgroup whose leader has left in `flag` whether the other came
 * first. False: the other will finish; and nothing but this warpgroup keeps it waiting. */
template <typename T, typename shape>
__device__ __forceinline__ bool hopper_pair(hopper_rows<T, shape> &x, const hopper_args &a,
                                            int place, int warpgroup, bool leader, uint32_t flag) {
    unsigned *there = a.arrivals + hopper_partials<shape>::PLACES + place;
    float4 *part = hopper_part_of<shape>(a, place);
    named_barrier(1 + warpgroup, WARPGROUP);
    const bool second = load_shared_word(flag);
    if (!second) {
        hopper_leave(x, part);
        __threadfence();
    } else if (leader) {
        while (load_acquire(there) == 0) continue;
        *there = 0;
    }
    named_barrier(1 + warpgroup, WARPGROUP);
    if (second)
        hopper_add(x, part, a.scale);
    else if (leader)
        store_relaxed(there, 1);
    return second;
}

/* Leaves this part of a result for others, or, as the last to arrive, adds all of them up in `x`.
 * By a warpgroup; false: another will. */
template <typename T, typename shape>
__device__ __forceinline__ bool hopper_combine(hopper_rows<T, shape> &x, const hopper_args &a,
                                               const hopper_piece &piece, int warpgroup, int number,
                                               uint32_t flag) {
    constexpr int D = shape::D;
    const int thread = threadIdx.x % WARPGROUP, place = piece.slot * shape::SHARES + number;
    float4 *const first = hopper_part_of<shape>(a, place);
    const auto part = [&](int n) { return first + (int64_t)n * hopper_partials<shape>::STEP; };
    hopper_leave(x, part(piece.part));
    __threadfence();
    named_barrier(1 + warpgroup, WARPGROUP);
    if (thread == 0) /* wraps to zero with the last arrival */
        store_shared(flag, (uint32_t)(atomicInc(&a.arrivals[place], (unsigned)piece.parts - 1) ==
                                      (unsigned)piece.parts - 1));
    named_barrier(1 + warpgroup, WARPGROUP);
    if (load_shared_word(flag) == 0) return false;
    __threadfence();
    x.start();
    for (int n = 0; n < piece.parts; n++) {
        const float4 *from = part(n);
        const float4 stats = __ldcg(from + D / 8 * WARPGROUP);
        const float max[2] = {stats.x, stats.y}, sum[2] = {stats.z, stats.w};
        float kept[2], added[2];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const float top = fmaxf(x.max[r], max[r]);
            kept[r] = rescaling(x.max[r], top, a.scale.to_log2);
            added[r] = rescaling(max[r], top, a.scale.to_log2);
            x.max[r] = top;
            x.sum[r] = x.sum[r] * kept[r] + sum[r] * added[r];
        }
#pragma unroll
        for (int i = 0; i < D / 8; i++) {
            const float4 y = __ldcg(from + i * WARPGROUP);
            float *o = &x.out[i * 4];
            o[0] = o[0] * kept[0] + y.x * added[0];
            o[1] = o[1] * kept[0] + y.y * added[0];
            o[2] = o[2] * kept[1] + y.z * added[1];
            o[3] = o[3] * kept[1] + y.w * added[1];
        }
    }
    return true;
}

} // namespace attn

#endif
