/* The 64 rows of a warpgroup: scores, softmax and output in registers, and how they get from there
 * to memory. */
#ifndef ATTN_CUDA_PREFILL_HOPPER_ROWS_CUH
#define ATTN_CUDA_PREFILL_HOPPER_ROWS_CUH

#include "prefill_hopper_shape.cuh"

namespace attn {

/* What a warpgroup holds of its 64 rows. */
template <typename T, typename shape> struct hopper_rows {
    static constexpr int D = shape::D, KEYS = shape::KEYS;
    float s[KEYS / 2], out[D / 2];
    uint32_t p[KEYS / 16][4];
    float max[2], sum[2], factor[2];
    float minus[2]; /* minus_reference of max */
    bool moved;

    static __device__ __forceinline__ int lane() {
        return threadIdx.x % WARP;
    }
    /* The first of the two rows of this lane, of 64. */
    static __device__ __forceinline__ int row() {
        return threadIdx.x % WARPGROUP / WARP * 16 + lane() / 4;
    }

    __device__ __forceinline__ void start() {
#pragma unroll
        for (int i = 0; i < D / 2; i++) out[i] = 0.f;
        max[0] = max[1] = -INFINITY;
        sum[0] = sum[1] = 0.f;
    }

    /* Begins s = Q K^T; both are operands. */
    __device__ __forceinline__ void begin_scores(uint64_t queries, uint64_t keys) {
        product_fence();
#pragma unroll
        for (int i = 0; i < D / 16; i++) {
            const int at = (i / 4 * shape::PANEL_BYTES + i % 4 * 32) / 16;
            warpgroup_product<T, KEYS>::multiply(s, queries + at, keys + at, i != 0);
        }
        product_commit();
    }

    /* Begins out += P V. */
    __device__ __forceinline__ void begin_values(uint64_t values) {
        product_fence();
#pragma unroll
        for (int i = 0; i < KEYS / 16; i++)
            warpgroup_product<T, D>::multiply_rows(out, p[i], values + i * (2048 / 16));
        product_commit();
    }

    /* Row r sees keys below `seen` + causal r, and none from kv_len on. Which of the lane's scores
     * that leaves are bits of a word, which are tested seven at a time. */
    __device__ __forceinline__ void mask(int first_key, int seen, int kv_len, int causal) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int limit =
                min(seen + causal * (row() + r * 8), kv_len) - first_key - (lane() & 3) * 2;
            const int count = limit < 0 ? 0 : limit / 8 * 2 + min(limit % 8, 2);
            const uint32_t bits = count < KEYS / 4 ? (1u << count) - 1 : ~0u;
#pragma unroll
            for (int i = 0; i < KEYS / 4; i++)
                if (!(bits & 1u << i)) s[i / 2 * 4 + r * 2 + i % 2] = -INFINITY;
        }
    }

    /* Nor does row r see those below `low` + r. */
    __device__ __forceinline__ void mask_low(int first_key, int low) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int limit = low + row() + r * 8 - first_key - (lane() & 3) * 2;
            const int count = limit < 0 ? 0 : limit / 8 * 2 + min(limit % 8, 2);
            const uint32_t bits = count < KEYS / 4 ? (1u << count) - 1 : ~0u;
#pragma unroll
            for (int i = 0; i < KEYS / 4; i++)
                if (bits & 1u << i) s[i / 2 * 4 + r * 2 + i % 2] = -INFINITY;
        }
    }

    /* Whether some row may have outgrown its reference by more than the slack. The bits of positive
     * floats are in order, and three integers are compared at once; where a threshold is not
     * positive, or is NaN, the answer is yes, and follow looks again. */
    __device__ __forceinline__ bool outgrown(float slack) const {
        bool grown = false;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            int x = 0, y = 0;
#pragma unroll
            for (int n = 0; n < KEYS / 2; n += 8) {
                x = __vimax3_s32(x, __float_as_int(s[n + r * 2]), __float_as_int(s[n + 4 + r * 2]));
                y = __vimax3_s32(y, __float_as_int(s[n + r * 2 + 1]),
                                 __float_as_int(s[n + 5 + r * 2]));
            }
            const float limit = max[r] + slack;
            grown |= !(limit > 0.f) || ::max(x, y) > __float_as_int(limit);
        }
        return grown;
    }

    /* Moves the references to the maxima of what was seen so far, FIRST: of the first tile; false:
     * no row outgrew its own after all. `out` is rescaled later, when nothing is being added to it.
     */
    template <bool FIRST> __device__ __forceinline__ bool follow(softmax_scale scale) {
        float top[2];
        bool grown = FIRST;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            top[r] = fmaxf(s[r * 2], s[r * 2 + 1]);
#pragma unroll
            for (int n = 4; n < KEYS / 2; n += 4)
                top[r] = fmaxf(top[r], fmaxf(s[n + r * 2], s[n + r * 2 + 1]));
            grown |= !(top[r] <= max[r] + scale.slack);
        }
        if (!FIRST && !__any_sync(ALL_LANES, grown)) return false;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            top[r] = quad_max(top[r]);
            if (!FIRST) {
                top[r] = fmaxf(top[r], max[r]);
                factor[r] = rescaling(max[r], top[r], scale.to_log2);
                sum[r] *= factor[r];
            }
            max[r] = top[r];
            minus[r] = minus_reference(top[r], scale.to_log2);
        }
        return true;
    }

    /* Weights of the scores in their place. */
    template <bool FIRST> __device__ __forceinline__ void weigh(softmax_scale scale) {
        moved = FIRST || __any_sync(ALL_LANES, outgrown(scale.slack));
        if (moved) moved = follow<FIRST>(scale);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float x = FIRST ? 0.f : sum[r], y = 0.f;
#pragma unroll
            for (int n = 0; n < KEYS / 2; n += 4) {
                float &low = s[n + r * 2], &high = s[n + r * 2 + 1];
                low = exp2_fast(fmaf(low, scale.to_log2, minus[r]));
                high = exp2_fast(fmaf(high, scale.to_log2, minus[r]));
                x += low;
                y += high;
            }
            sum[r] = x + y;
        }
    }

    /* A panel of out times the rows' factors, packed as store_matrix takes 16 columns: row half
     * i % 2, column half i / 2. A mean of finite values is one itself, but a rounded P may say
     * otherwise: only where that happened each element is looked at. */
    __device__ __forceinline__ void normalise(uint32_t (&bits)[4][4], int panel,
                                              const float (&inverse)[2]) const {
        uint32_t largest = 0;
#pragma unroll
        for (int i = 0; i < 16; i++) {
            const float *o = &out[panel * 32 + i / 4 * 8 + i % 4 / 2 * 4 + i % 2 * 2];
            bits[i / 4][i % 4] = number<T>::pack(o[0] * inverse[i % 2], o[1] * inverse[i % 2]);
            largest = number<T>::larger(largest, bits[i / 4][i % 4]);
        }
        if (!number<T>::overflowed(largest)) return;
#pragma unroll
        for (int i = 0; i < 16; i++) {
            const float *o = &out[panel * 32 + i / 4 * 8 + i % 4 / 2 * 4 + i % 2 * 2];
            bits[i / 4][i % 4] = pack_out<T>(o[0] * inverse[i % 2], o[1] * inverse[i % 2]);
        }
    }

    __device__ __forceinline__ void rescale() {
        if (!moved) return;
#pragma unroll
        for (int i = 0; i < D / 2; i++) out[i] *= factor[i / 2 % 2];
    }

    __device__ __forceinline__ void pack() {
#pragma unroll
        for (int i = 0; i < KEYS / 16; i++)
#pragma unroll
            for (int h = 0; h < 4; h++)
                p[i][h] = number<T>::pack(s[i * 8 + h * 2], s[i * 8 + h * 2 + 1]);
    }
};

/* Lane t of four has word t of each of four rows of words, and gets row t. */
__device__ __forceinline__ void transpose_quad(uint32_t (&x)[4]) {
    const int lane = threadIdx.x;
#pragma unroll
    for (int step = 1; step <= 2; step *= 2) {
        const bool high = lane & step;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (i & step) continue;
            uint32_t &a = x[i], &b = x[i + step];
            const uint32_t other = __shfl_xor_sync(ALL_LANES, high ? a : b, step);
            (high ? a : b) = other;
        }
    }
}

/* Normalises rows and stores them, from registers or by way of `to`, where the queries were; rows
 * beyond the sequence become zeros. */
template <typename T, typename shape>
__device__ __forceinline__ void hopper_finish(const hopper_rows<T, shape> &x,
                                              const typename shape::args &a,
                                              const hopper_piece &piece, int warpgroup, int number,
                                              uint32_t to, const CUtensorMap *out) {
    const hopper_rows_place rows =
        hopper_rows_of<shape>(a, piece.kv_head, piece.query_tile, piece.member, number);
    const int lane = x.lane(), first = rows.query + x.row();
    const int64_t row = (int64_t)rows.head * a.q_len + first;
    const bool ends = rows.query + shape::ROWS > piece.q_len; /* some rows are beyond */
    float total[2], inverse[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        total[r] = quad_sum(x.sum[r]);
        inverse[r] = total[r] > 0.f ? inverse_of(total[r]) : 0.f;
    }
    /* Of the four lanes of two rows two have a logarithm to take. */
    const bool second = lane & 1;
    const int query = first + second * 8;
    if constexpr (shape::ANY) {
        const float sink = a.sinks ? __ldg(&a.sinks[rows.head % a.q_heads]) : -INFINITY;
        row_end end[2];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            end[r] = end_with_sink(reference(x.max[r], a.scale.to_log2), total[r], sink);
            inverse[r] = end[r].factor;
        }
        if ((lane & 2) == 0 && query < a.q_len)
            a.lse[row + second * 8] =
                query < piece.q_len ? (second ? end[1].lse : end[0].lse) : 0.f;
    } else if ((lane & 2) == 0 && query < a.q_len)
        a.lse[row + second * 8] =
            query < piece.q_len ? lse_of(reference(second ? x.max[1] : x.max[0], a.scale.to_log2),
                                         second ? total[1] : total[0])
                                : 0.f;
    uint4 *to_row = static_cast<uint4 *>(a.out) + row * (shape::D / 8) + (lane & 3);
    const int y = threadIdx.x % WARPGROUP / WARP * 16 + (lane & 15), chunk = lane >> 4;
    /* All four warps have read their queries. */
    if (!shape::DIRECT) named_barrier(1 + warpgroup, WARPGROUP);
#pragma unroll
    for (int panel = 0; panel < shape::PANELS; panel++) {
        uint32_t bits[4][4];
        x.normalise(bits, panel, inverse);
        if (ends)
#pragma unroll
            for (int i = 0; i < 16; i++)
                if (first + i % 2 * 8 >= piece.q_len) bits[i / 4][i % 4] = 0;
        if constexpr (shape::DIRECT) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int r = i % 2, half = i / 2 * 2;
                uint32_t w[4] = {bits[half][r], bits[half][r + 2], bits[half + 1][r],
                                 bits[half + 1][r + 2]};
                transpose_quad(w);
                if (!ends || first + r * 8 < a.q_len)
                    to_row[r * 8 * (shape::D / 8) + panel * 8 + half * 2] =
                        make_uint4(w[0], w[1], w[2], w[3]);
            }
        } else {
#pragma unroll
            for (int n = 0; n < 4; n++)
                store_matrix(to + panel * shape::PANEL_BYTES + y * 128 +
                                 (((n * 2 + chunk) ^ (y & 7)) << 4),
                             bits[n]);
        }
    }
    if (shape::DIRECT) return;
    fence_for_async();
    named_barrier(1 + warpgroup, WARPGROUP);
    if (threadIdx.x % WARPGROUP != 0) return;
    store_tile(out, rows.query, rows.head, to);
    store_commit();
}

} // namespace attn

#endif
