/* Checks and times CUDA kernels on their own, without the harness:
 * cuda_check [--small] [--seed] [--every N] KERNEL.so ...
 * (--small and --seed: only those problems; --every: of the small ones, one in N)
 *
 * Problems are small odd ones, judged on every row, and large ones, judged on sampled rows and
 * timed. The answer is computed in double by a plain kernel. Everything that must not be read holds
 * NaN, then Inf, then 6e4, and the three outputs must be the same bits; so must repeats with other
 * garbage in scratch. Verdicts are accuracy's: tau (every element), rho (the whole tensor), lse.
 * Timing replays graphs, warm (one copy of the inputs) and cold (copies in turn, so that a launch
 * touches what was last used four L2 sizes ago), and prints medians. */
#include "../attn.h"
#include "../attn_number.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <random>
#include <string>
#include <vector>

#define CHECK(call)                                                                                \
    do {                                                                                           \
        const cudaError_t check_error = (call);                                                    \
        if (check_error != cudaSuccess) {                                                          \
            printf("cuda_check: %s: %s\n", #call, cudaGetErrorString(check_error));                \
            fflush(stdout);                                                                        \
            _exit(3);                                                                              \
        }                                                                                          \
    } while (0)

extern "C" void _exit(int);

enum data_kind { NORMAL, PEAKED, DEEP, ASCENDING };
static const char *const data_names[] = {"", "-peaked", "-deep", "-ascending"};

struct spec {
    int variant = 0, dtype = ATTN_F16;
    int64_t b = 1, hq = 1, hkv = 1, sq = 1, skv = 1, d = 64;
    bool causal = false;
    int64_t page = 0;
    std::vector<int> lens;
    double keep = 0; /* below 0: a mixture of 0, 1, few, a third and all tokens */
    data_kind data = NORMAL;
    bool large_lsh = false;
    bool timed = false, seed = false;
    std::string name() const;
};

static const char *const variant_names[] = {
#define X(symbol, name, traits) #name,
    ATTN_VARIANTS(X)
#undef X
};

std::string spec::name() const {
    char text[300];
    snprintf(text, sizeof text, "%s-b%lld-hq%lld-hkv%lld-q%lld-kv%lld-d%lld%s",
             dtype == ATTN_F16 ? "f16" : "bf16", (long long)b, (long long)hq, (long long)hkv,
             (long long)sq, (long long)skv, (long long)d, causal ? "-causal" : "");
    std::string s = text;
    if (page) s += "-page" + std::to_string(page);
    if (!lens.empty() && lens.size() < 9) {
        s += "-lens";
        for (size_t i = 0; i < lens.size(); i++) s += (i ? "," : "") + std::to_string(lens[i]);
    } else if (!lens.empty()) {
        s += "-ragged";
    }
    if (keep > 0) {
        snprintf(text, sizeof text, "-keep%g", keep);
        s += text;
    } else if (keep < 0) {
        s += "-keepmixed";
    }
    return s + data_names[data] + (large_lsh ? "-lshlarge" : "");
}

/* ---- data ---- */

struct layout {
    int64_t b, hq, hkv, group, sq, skv, d, page, kept_max;
    const int32_t *indptr, *indices;
    int dtype;
    data_kind data;
    uint64_t seed;

    /* Element offset of token t's key; its value is `value_offset` further in V's tensor. */
    __host__ __device__ int64_t row(int64_t bb, int64_t g, int64_t t) const {
        if (!page) return ((bb * hkv + g) * skv + t) * d;
#ifdef __CUDA_ARCH__
        const int64_t p = indices[indptr[bb] + t / page];
        return ((p * 2 * hkv + g) * page + t % page) * d;
#else
        return 0;
#endif
    }
};

__host__ __device__ inline uint64_t mix(uint64_t x) {
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ull;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

/* Nearly normal: the sum of four uniform numbers, variance 1. */
__device__ float draw(uint64_t seed, uint64_t index) {
    const uint64_t r = mix(seed + index * 0x9e3779b97f4a7c15ull);
    const float sum =
        (float)(r & 65535) + (float)(r >> 16 & 65535) + (float)(r >> 32 & 65535) + (float)(r >> 48);
    return (sum * (1.f / 65536) - 2.f) * 1.7320508f;
}

__device__ uint16_t encode(float x, int dtype) {
    return dtype == ATTN_F16 ? attn_f32_to_f16(x) : attn_f32_to_bf16(x);
}

__host__ __device__ inline double decode(uint16_t x, int dtype) {
    return dtype == ATTN_F16 ? attn_f16_to_f64(x) : attn_bf16_to_f64(x);
}

__device__ float element(const layout &l, int what, int64_t index, double place) {
    const float x = draw(l.seed + what, index);
    const float c = l.d == 64 ? 56.f : l.d == 128 ? 40.f : 28.f; /* c c D is near 2e5 */
    if (what == 0)
        return l.data == PEAKED ? 8 * x : l.data == DEEP ? c : l.data == ASCENDING ? 1.f : x;
    if (what == 1 && l.data == DEEP) return -c + x * .05f;
    if (what == 1 && l.data == ASCENDING) return (float)(place * 16 - 8) + x * .5f;
    return x;
}

__global__ void fill_bits(uint16_t *to, int64_t count, uint16_t bits) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < count;
         i += (int64_t)gridDim.x * blockDim.x)
        to[i] = bits;
}

/* Queries of valid tokens. */
__global__ void fill_queries(layout l, uint16_t *q, const int32_t *lens) {
    const int64_t total = l.b * l.hq * l.sq * l.d;
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < total;
         i += (int64_t)gridDim.x * blockDim.x) {
        const int64_t row = i / l.d, b = row / l.sq / l.hq;
        if (!lens || row % l.sq < lens[b]) q[i] = encode(element(l, 0, i, 0), l.dtype);
    }
}

/* Keys and values of tokens below each sequence's length, or on the lists. One block a (b, g) or
 * (b, h) and slice. */
__global__ void fill_tokens(layout l, uint16_t *k, uint16_t *v, const int32_t *lens,
                            const int32_t *ind, const int32_t *nnz) {
    const int64_t heads = ind ? l.hq : l.hkv;
    const int64_t b = blockIdx.y / heads, h = blockIdx.y % heads, g = ind ? h / l.group : h;
    const int64_t count = ind ? nnz[blockIdx.y] : lens ? lens[b] : l.skv;
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < count * l.d;
         i += (int64_t)gridDim.x * blockDim.x) {
        const int64_t n = i / l.d, t = ind ? ind[blockIdx.y * l.kept_max + n] : n;
        const int64_t at = l.row(b, g, t) + i % l.d;
        k[at] = encode(element(l, 1, at, (double)t / (double)(l.skv + 1)), l.dtype);
        v[at] = encode(element(l, 2, at, 0), l.dtype);
    }
}

/* ---- the answer, in double ---- */

struct answer_args {
    layout l;
    const uint16_t *q, *k, *v;
    const int32_t *lens, *ind, *nnz;
    const float *lsh_k, *lsh_l;
    const int64_t *rows; /* [count] of B Hq Sq */
    double *logits;      /* [blocks][keys_max] */
    int64_t keys_max;
    double *out, *abs_v, *square_v; /* [count][D] */
    double *lse, *size;             /* [count]; size: S */
    int64_t count;
    double scale;
    int causal;
};

__device__ double log_u(double c, double k, double l) {
    const double limit = 1 - 1e-7;
    c = fmin(fmax(c, -limit), limit);
    const double x = pow(1 - acos(c) / 3.14159265358979323846, k);
    return log(fmax(-expm1((l - 1) * log1p(-x) + log1p((l - 1) * x)), 1e-10));
}

__device__ double block_reduce(double x, bool maximum) {
    __shared__ double shared[256];
    __syncthreads();
    shared[threadIdx.x] = x;
    __syncthreads();
    for (int step = 128; step; step /= 2) {
        if ((int)threadIdx.x < step) {
            const double other = shared[threadIdx.x + step];
            shared[threadIdx.x] =
                maximum ? fmax(shared[threadIdx.x], other) : shared[threadIdx.x] + other;
        }
        __syncthreads();
    }
    return shared[0];
}

__global__ void __launch_bounds__(256) answer_rows(const answer_args a) {
    const layout &l = a.l;
    double *logits = a.logits + blockIdx.x * a.keys_max;
    __shared__ double parts[3][256];
    for (int64_t n = blockIdx.x; n < a.count; n += gridDim.x) {
        const int64_t row = a.rows[n], i = row % l.sq, bh = row / l.sq, b = bh / l.hq;
        const int64_t g = bh % l.hq / l.group;
        const int64_t len = a.lens ? a.lens[b] : l.skv;
        const int64_t queries = a.lens && !l.page ? len : l.sq;
        const int32_t *list = a.ind ? a.ind + bh * l.kept_max : NULL;
        int64_t keys = list ? a.nnz[bh] : len;
        if (a.causal) keys = max((int64_t)0, min(keys, i + len - queries + 1));
        if (a.lens && !l.page && i >= len) keys = 0;
        const uint16_t *q = a.q + row * l.d;

        double max = -INFINITY, size = 0;
        for (int64_t j = threadIdx.x; j < keys; j += 256) {
            const uint16_t *k = a.k + l.row(b, g, list ? list[j] : j);
            double dot = 0, absolute = 0, qq = 0, kk = 0;
            for (int64_t d = 0; d < l.d; d++) {
                const double x = decode(q[d], l.dtype), y = decode(k[d], l.dtype);
                dot += x * y;
                absolute += fabs(x * y);
                qq += x * x;
                kk += y * y;
            }
            double logit = dot * a.scale, s = absolute * a.scale;
            if (a.lsh_k) {
                const double c = dot / (sqrt(qq) * sqrt(kk) + 1e-8);
                const double here = log_u(c, a.lsh_k[bh], a.lsh_l[bh]);
                const double h = fmin(1e-6, (1 - fabs(c)) / 2);
                if (h > 0)
                    s += fabs(log_u(c + h, a.lsh_k[bh], a.lsh_l[bh]) -
                              log_u(c - h, a.lsh_k[bh], a.lsh_l[bh])) /
                         (2 * h);
                logit -= here;
            }
            logits[j] = logit;
            max = fmax(max, logit);
            size = fmax(size, s);
        }
        max = block_reduce(max, true);
        size = block_reduce(size, true);
        double sum = 0;
        for (int64_t j = threadIdx.x; j < keys; j += 256) sum += exp(logits[j] - max);
        sum = block_reduce(sum, false);
        if (threadIdx.x == 0) {
            a.lse[n] = keys > 0 ? max + log(sum) : -INFINITY;
            a.size[n] = size;
        }
        const int64_t slices = 256 / min((int64_t)256, l.d), d = threadIdx.x % l.d;
        const int64_t slice = threadIdx.x / l.d;
        double out = 0, abs_v = 0, square_v = 0;
        for (int64_t j = slice; j < keys; j += slices) {
            const double p = exp(logits[j] - max) / sum;
            const double v = decode(a.v[l.row(b, g, list ? list[j] : j) + d], l.dtype);
            out += p * v;
            abs_v += p * fabs(v);
            square_v += p * p * v * v;
        }
        parts[0][threadIdx.x] = out;
        parts[1][threadIdx.x] = abs_v;
        parts[2][threadIdx.x] = square_v;
        __syncthreads();
        if (slice == 0) {
            double total[3] = {};
            for (int64_t s = 0; s < slices; s++)
                for (int x = 0; x < 3; x++) total[x] += parts[x][s * l.d + d];
            a.out[n * l.d + d] = total[0];
            a.abs_v[n * l.d + d] = total[1];
            a.square_v[n * l.d + d] = total[2];
        }
        __syncthreads();
    }
}

__global__ void count_differences(const uint32_t *a, const uint32_t *b, int64_t words,
                                  unsigned long long *count) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < words;
         i += (int64_t)gridDim.x * blockDim.x)
        if (a[i] != b[i]) atomicAdd(count, 1ull);
}

__global__ void read_all(const uint4 *from, int64_t count, unsigned *sink) {
    const int64_t stride = (int64_t)gridDim.x * blockDim.x;
    uint4 sum = {};
    int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
    for (; i + 7 * stride < count; i += 8 * stride) {
        uint4 x[8];
#pragma unroll
        for (int n = 0; n < 8; n++) x[n] = __ldcs(from + i + n * stride);
#pragma unroll
        for (int n = 0; n < 8; n++) sum.x ^= x[n].x ^ x[n].y ^ x[n].z ^ x[n].w;
    }
    if (sum.x == 0x12345678u) *sink = sum.x;
}

/* ---- a problem with its tensors ---- */

struct buffer {
    char *base = NULL;
    size_t bytes = 0;
    static constexpr size_t GUARD = 4096;

    void make(size_t size) {
        bytes = (size + 255) / 256 * 256;
        CHECK(cudaMalloc((void **)&base, bytes + 2 * GUARD));
        CHECK(cudaMemset(base, 0xa5, bytes + 2 * GUARD));
    }
    char *data() const {
        return base + GUARD;
    }
    bool guards_hold() const {
        std::vector<unsigned char> guard(GUARD);
        for (size_t at : {(size_t)0, GUARD + bytes}) {
            CHECK(cudaMemcpy(guard.data(), base + at, GUARD, cudaMemcpyDeviceToHost));
            for (unsigned char x : guard)
                if (x != 0xa5) return false;
        }
        return true;
    }
    void drop() {
        if (base) CHECK(cudaFree(base));
        base = NULL;
    }
};

struct instance {
    spec s;
    struct attn_problem p = {};
    struct attn_call call = {};
    std::vector<buffer> buffers;
    std::vector<std::vector<int32_t>> mirrors;
    size_t slot_bytes[ATTN_SLOT_COUNT] = {};
    std::vector<int32_t> lens; /* of every sequence; empty: all */
    const int32_t *lens_device = NULL;
    uint16_t *k = NULL, *v = NULL;
    int64_t kv_elements = 0;
    layout l = {};
    double flops = 0, bytes = 0;
    /* the answer */
    std::vector<int64_t> rows;
    std::vector<double> out, abs_v, square_v, lse, size;

    char *allocate(size_t size) {
        buffers.emplace_back();
        buffers.back().make(size);
        return buffers.back().data();
    }
    void set(int slot, int dtype, std::vector<int64_t> shape, const void *host, size_t width) {
        struct attn_tensor *t = &call.tensors[slot];
        int64_t count = 1;
        t->dtype = dtype;
        t->rank = (int)shape.size();
        for (int i = t->rank - 1; i >= 0; i--) {
            t->shape[i] = shape[i];
            t->stride[i] = count;
            count *= shape[i];
        }
        slot_bytes[slot] = (size_t)count * width;
        t->data = allocate(slot_bytes[slot]);
        t->host = host;
        if (host && count)
            CHECK(cudaMemcpy(t->data, host, slot_bytes[slot], cudaMemcpyHostToDevice));
    }
    int32_t *mirror(std::vector<int32_t> values) {
        if (values.empty()) values.push_back(-1);
        mirrors.push_back(std::move(values));
        return mirrors.back().data();
    }

    void make(const spec &sp);
    void poison_and_fill(uint16_t poison);
    void solve();
    void drop() {
        for (buffer &b : buffers) b.drop();
        buffers.clear();
    }
};

void instance::make(const spec &sp) {
    s = sp;
    mirrors.reserve(16);
    const bool paged = s.page > 0, kept = s.keep != 0;
    std::mt19937_64 random(12345);
    p.abi = ATTN_ABI;
    p.variant = s.variant;
    p.dtype = s.dtype;
    p.traits = (s.hq != s.hkv ? ATTN_GQA : 0) | (s.causal ? ATTN_CAUSAL : 0);
    p.batch = s.b;
    p.q_heads = s.hq;
    p.kv_heads = s.hkv;
    p.q_len = s.sq;
    p.kv_len = s.skv;
    p.head_dim = s.d;
    p.page_size = s.page;
    p.scale = 1 / sqrt((double)s.d);
    call.abi = ATTN_ABI;
    set(ATTN_Q, s.dtype, {s.b, s.hq, s.sq, s.d}, NULL, 2);
    set(ATTN_OUT, s.dtype, {s.b, s.hq, s.sq, s.d}, NULL, 2);
    set(ATTN_LSE, ATTN_F32, {s.b, s.hq, s.sq}, NULL, 4);
    lens.assign(s.lens.begin(), s.lens.end());
    if (paged) {
        p.traits |= ATTN_RAGGED | ATTN_PAGE;
        std::vector<int32_t> indptr{0}, last, indices;
        for (int len : lens) {
            indptr.push_back(indptr.back() + (int)((len + s.page - 1) / s.page));
            last.push_back(len ? (int)((len - 1) % s.page) + 1 : 0);
        }
        p.page_entries = indptr.back();
        p.pages = p.page_entries + 3;
        for (int64_t i = 0; i < p.pages; i++) indices.push_back((int)i);
        std::shuffle(indices.begin(), indices.end(), random);
        indices.resize((size_t)p.page_entries);
        set(ATTN_KV_PAGE_INDPTR, ATTN_I32, {s.b + 1}, mirror(indptr), 4);
        set(ATTN_KV_PAGE_INDICES, ATTN_I32, {p.page_entries}, mirror(indices), 4);
        set(ATTN_KV_LAST_PAGE_LEN, ATTN_I32, {s.b}, mirror(last), 4);
        kv_elements = p.pages * 2 * s.hkv * s.page * s.d;
        set(ATTN_KV_CACHE, s.dtype, {p.pages, 2, s.hkv, s.page, s.d}, NULL, 2);
        k = (uint16_t *)call.tensors[ATTN_KV_CACHE].data;
        v = k + s.hkv * s.page * s.d;
    } else {
        kv_elements = s.b * s.hkv * s.skv * s.d;
        set(ATTN_K, s.dtype, {s.b, s.hkv, s.skv, s.d}, NULL, 2);
        set(ATTN_V, s.dtype, {s.b, s.hkv, s.skv, s.d}, NULL, 2);
        k = (uint16_t *)call.tensors[ATTN_K].data;
        v = (uint16_t *)call.tensors[ATTN_V].data;
        if (!lens.empty()) {
            p.traits |= ATTN_RAGGED;
            set(ATTN_SEQ_LENS, ATTN_I32, {s.b}, mirror(lens), 4);
        }
    }
    if (!lens.empty()) {
        lens_device = (const int32_t *)allocate(lens.size() * 4);
        CHECK(
            cudaMemcpy((void *)lens_device, lens.data(), lens.size() * 4, cudaMemcpyHostToDevice));
    }
    double kept_tokens = 0;
    if (kept) {
        p.traits |= ATTN_KEEP;
        std::vector<std::vector<int32_t>> lists;
        std::vector<int32_t> nnz, ind, order;
        for (int64_t row = 0; row < s.b * s.hq; row++) {
            const int len = lens.empty() ? (int)s.skv : lens[(size_t)(row / s.hq)];
            int n = (int)lround(s.keep * len);
            if (s.keep < 0) {
                const int choices[] = {len, 0, len / 3, 1, (len + 9) / 10};
                n = std::min(choices[row % 5], len);
            }
            order.resize((size_t)len);
            for (int i = 0; i < len; i++) order[(size_t)i] = i;
            for (int i = 0; i < n; i++)
                std::swap(order[(size_t)i],
                          order[(size_t)i + (size_t)(random() % (uint64_t)(len - i))]);
            lists.emplace_back(order.begin(), order.begin() + n);
            if (s.keep > 0) std::sort(lists.back().begin(), lists.back().end());
            nnz.push_back(n);
            p.kept_max = std::max(p.kept_max, (int64_t)n);
            kept_tokens += n;
        }
        for (auto &list : lists) {
            list.resize((size_t)p.kept_max, -1);
            ind.insert(ind.end(), list.begin(), list.end());
        }
        set(ATTN_SPARSE_IND, ATTN_I32, {s.b, s.hq, p.kept_max}, mirror(ind), 4);
        set(ATTN_SPARSE_NNZ, ATTN_I32, {s.b, s.hq}, mirror(nnz), 4);
    }
    if (s.variant == ATTN_MAGICPIG_DECODE_PAGED) {
        p.traits |= ATTN_MAGICPIG;
        for (int slot : {ATTN_LSH_K, ATTN_LSH_L}) {
            std::vector<int32_t> bits;
            for (int64_t i = 0; i < s.b * s.hq; i++) {
                const float unit = (float)(random() % 65536) / 65536;
                const float x = !s.large_lsh         ? 1 + 5 * unit
                                : slot == ATTN_LSH_K ? 8 + 4 * unit
                                                     : 75 + 150 * unit;
                bits.push_back((int32_t)attn_f32_bits(x));
            }
            set(slot, ATTN_F32, {s.b, s.hq}, mirror(bits), 4);
        }
    }
    l = {s.b,
         s.hq,
         s.hkv,
         s.hq / s.hkv,
         s.sq,
         s.skv,
         s.d,
         s.page,
         p.kept_max,
         (const int32_t *)call.tensors[ATTN_KV_PAGE_INDPTR].data,
         (const int32_t *)call.tensors[ATTN_KV_PAGE_INDICES].data,
         s.dtype,
         s.data,
         977};
    double pairs = 0, tokens = 0; /* of a head */
    for (int64_t b = 0; b < s.b; b++) {
        const double n = lens.empty() ? (double)s.skv : lens[(size_t)b];
        const double m = paged || lens.empty() ? (double)s.sq : n;
        tokens += n;
        pairs += s.causal ? m * (n - m) + m * (m + 1) / 2 : m * n;
    }
    flops = 4.0 * (double)s.d * (kept ? kept_tokens : pairs * (double)s.hq);
    bytes = 4.0 * (double)s.d * (kept ? kept_tokens : tokens * (double)s.hkv);
}

void instance::poison_and_fill(uint16_t poison) {
    const int64_t q_elements = s.b * s.hq * s.sq * s.d;
    fill_bits<<<1024, 256>>>((uint16_t *)call.tensors[ATTN_Q].data, q_elements, poison);
    if (s.page) {
        fill_bits<<<4096, 256>>>(k, kv_elements, poison);
    } else {
        fill_bits<<<4096, 256>>>(k, kv_elements, poison);
        fill_bits<<<4096, 256>>>(v, kv_elements, poison);
    }
    fill_queries<<<1024, 256>>>(l, (uint16_t *)call.tensors[ATTN_Q].data,
                                s.page ? NULL : lens_device);
    const int64_t heads = s.b * (s.keep != 0 ? s.hq : s.hkv);
    const int64_t tokens = s.keep != 0 ? p.kept_max : s.skv;
    if (tokens > 0)
        fill_tokens<<<dim3((unsigned)std::min<int64_t>(256, (tokens * s.d + 255) / 256),
                           (unsigned)heads),
                      256>>>(l, k, v, lens_device,
                             (const int32_t *)call.tensors[ATTN_SPARSE_IND].data,
                             (const int32_t *)call.tensors[ATTN_SPARSE_NNZ].data);
    CHECK(cudaGetLastError());
    CHECK(cudaDeviceSynchronize());
}

template <typename V> static V *device_copy(const std::vector<V> &host) {
    V *device;
    CHECK(cudaMalloc((void **)&device, host.size() * sizeof(V)));
    CHECK(cudaMemcpy(device, host.data(), host.size() * sizeof(V), cudaMemcpyHostToDevice));
    return device;
}

void instance::solve() {
    const int64_t all = s.b * s.hq * s.sq;
    std::mt19937_64 random(99);
    if (all * std::max<int64_t>(1, s.skv) <= 40000000 && all <= 20000)
        for (int64_t i = 0; i < all; i++) rows.push_back(i);
    else
        for (int i = 0; i < 512; i++)
            rows.push_back(i == 0 ? 0 : i == 1 ? all - 1 : (int64_t)(random() % (uint64_t)all));
    const int64_t n = (int64_t)rows.size(), keys = std::max<int64_t>(1, s.skv);
    const int blocks = (int)std::min<int64_t>(n, 512);
    out.resize((size_t)(n * s.d));
    abs_v = square_v = out;
    lse.resize((size_t)n);
    size = lse;
    answer_args a = {};
    a.l = l;
    a.q = (const uint16_t *)call.tensors[ATTN_Q].data;
    a.k = k;
    a.v = v;
    a.lens = lens_device;
    a.ind = (const int32_t *)call.tensors[ATTN_SPARSE_IND].data;
    a.nnz = (const int32_t *)call.tensors[ATTN_SPARSE_NNZ].data;
    a.lsh_k = (const float *)call.tensors[ATTN_LSH_K].data;
    a.lsh_l = (const float *)call.tensors[ATTN_LSH_L].data;
    int64_t *rows_device = device_copy(rows);
    a.rows = rows_device;
    a.keys_max = keys;
    CHECK(cudaMalloc((void **)&a.logits, (size_t)(blocks * keys) * 8));
    a.out = device_copy(out);
    a.abs_v = device_copy(out);
    a.square_v = device_copy(out);
    a.lse = device_copy(lse);
    a.size = device_copy(lse);
    a.count = n;
    a.scale = p.scale;
    a.causal = s.causal;
    answer_rows<<<blocks, 256>>>(a);
    CHECK(cudaGetLastError());
    CHECK(cudaDeviceSynchronize());
    const auto fetch = [](std::vector<double> &to, double *from) {
        CHECK(cudaMemcpy(to.data(), from, to.size() * 8, cudaMemcpyDeviceToHost));
        CHECK(cudaFree(from));
    };
    fetch(out, a.out);
    fetch(abs_v, a.abs_v);
    fetch(square_v, a.square_v);
    fetch(lse, a.lse);
    fetch(size, a.size);
    CHECK(cudaFree(rows_device));
    CHECK(cudaFree(a.logits));
}

/* ---- judging ---- */

struct verdict {
    std::string status = "PASS";
    double t_max = 0, rho = 0, lse_max = 0, max_abs = 0; /* lse_max: in units of its gate */
    double warm_us = 0, cold_us = 0;
};

struct kernel {
    std::string name;
    const struct attn_kernel *k;
};

static void judge(const instance &x, const struct attn_kernel *k, verdict *v) {
    const int64_t d = x.s.d, n = (int64_t)x.rows.size();
    const double u32 = ldexp(1, -24), u_out = ldexp(1, x.s.dtype == ATTN_F16 ? -11 : -8);
    const double u_p = k->p_dtype == ATTN_F32 ? u32 : u_out;
    const double subnormal = x.s.dtype == ATTN_F16 ? ldexp(1, -25) : ldexp(1, -134);
    std::vector<uint16_t> row((size_t)d), all;
    std::vector<float> all_lse((size_t)(x.s.b * x.s.hq * x.s.sq));
    CHECK(cudaMemcpy(all_lse.data(), x.call.tensors[ATTN_LSE].data, all_lse.size() * 4,
                     cudaMemcpyDeviceToHost));
    const bool whole = n == x.s.b * x.s.hq * x.s.sq;
    if (whole) {
        all.resize((size_t)(n * d));
        CHECK(cudaMemcpy(all.data(), x.call.tensors[ATTN_OUT].data, all.size() * 2,
                         cudaMemcpyDeviceToHost));
    }
    double error2 = 0, model2 = 0;
    const char *fault = NULL;
    for (int64_t r = 0; r < n; r++) {
        const int64_t at = x.rows[(size_t)r];
        if (whole)
            memcpy(row.data(), &all[(size_t)(r * d)], (size_t)d * 2);
        else
            CHECK(cudaMemcpy(row.data(), (const uint16_t *)x.call.tensors[ATTN_OUT].data + at * d,
                             (size_t)d * 2, cudaMemcpyDeviceToHost));
        const float lse = all_lse[(size_t)at];
        const int64_t b = at / x.s.sq / x.s.hq;
        if (!x.s.page && !x.lens.empty() && at % x.s.sq >= x.lens[(size_t)b]) {
            for (int64_t i = 0; i < d; i++)
                if (row[(size_t)i]) fault = "PADDING";
            if (lse != 0) fault = "PADDING";
            continue;
        }
        const double s = x.size[(size_t)r], want_lse = x.lse[(size_t)r];
        if (std::isinf(want_lse)) {
            if (!(std::isinf(lse) && lse < 0)) fault = "EMPTY_LSE";
            for (int64_t i = 0; i < d; i++)
                if (row[(size_t)i] & 0x7fff) fault = "EMPTY_OUT";
            continue;
        }
        const double lse_ratio =
            fabs(lse - want_lse) / (2 * (u32 * (8 * s + 8) + ldexp(1 + fabs(want_lse), -22)));
        v->lse_max = std::isnan(lse_ratio) ? INFINITY : fmax(v->lse_max, lse_ratio);
        for (int64_t i = 0; i < d; i++) {
            const double got = decode(row[(size_t)i], x.s.dtype), o = x.out[(size_t)(r * d + i)];
            const double a = x.abs_v[(size_t)(r * d + i)], r2 = x.square_v[(size_t)(r * d + i)];
            const double tau = u_out * fabs(o) + fmin(u_p * a, 4 * u_p * sqrt(r2)) +
                               2 * u32 * (8 * s + 8) * a + 8 * u32 * a + subnormal;
            const double rounded = x.s.dtype == ATTN_F16 ? attn_f16_to_f64(attn_f64_to_f16(o))
                                                         : attn_bf16_to_f64(attn_f64_to_bf16(o));
            const double error = fabs(got - o);
            if (std::isnan(got)) fault = "NAN";
            v->t_max = std::isnan(error) ? INFINITY : fmax(v->t_max, error / tau);
            v->max_abs = fmax(v->max_abs, error);
            error2 += error * error;
            model2 += (rounded - o) * (rounded - o) + 0.18 * u_p * u_p * r2;
        }
    }
    v->rho = model2 > 0 ? sqrt(error2 / model2) : 0;
    const double rho_max = k->grade == 'A' ? 1.25 : k->grade == 'B' ? 2.5 : 5;
    /* A few elements, or logits in whose size f32 has no digits left, say nothing about quality. */
    const bool graded = n * d >= 2048 && x.s.data != DEEP && x.s.data != ASCENDING;
    if (fault)
        v->status = fault;
    else if (!(v->t_max <= 1))
        v->status = "ACCURACY";
    else if (graded && !(v->rho <= rho_max))
        v->status = "GRADE";
    else if (k->flags & ATTN_WRITES_LSE && !(v->lse_max <= 1))
        v->status = "LSE";
}

/* ---- running ---- */

static int64_t l2_bytes;
static cudaStream_t stream;
static double read_gbs, gemm_tflops;

static double median(std::vector<double> x) {
    std::sort(x.begin(), x.end());
    return x.empty() ? 0 : x[x.size() / 2];
}

static double time_graph(cudaGraphExec_t graph, int launches, int replays) {
    cudaEvent_t from, to;
    CHECK(cudaEventCreate(&from));
    CHECK(cudaEventCreate(&to));
    std::vector<double> us;
    for (int i = 0; i < replays + 2; i++) {
        CHECK(cudaEventRecord(from, stream));
        CHECK(cudaGraphLaunch(graph, stream));
        CHECK(cudaEventRecord(to, stream));
        CHECK(cudaEventSynchronize(to));
        float ms;
        CHECK(cudaEventElapsedTime(&ms, from, to));
        if (i >= 2) us.push_back(ms * 1e3 / launches);
    }
    CHECK(cudaEventDestroy(from));
    CHECK(cudaEventDestroy(to));
    return median(us);
}

static cudaGraphExec_t capture(const instance &x, const struct attn_kernel *k,
                               std::vector<struct attn_call> &calls, int launches,
                               std::string *status) {
    cudaGraph_t graph;
    cudaGraphExec_t exec = NULL;
    CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    const char *fault = NULL;
    for (int i = 0; i < launches && !fault; i++)
        fault = k->launch(&x.p, &calls[(size_t)i % calls.size()]);
    const cudaError_t error = cudaStreamEndCapture(stream, &graph);
    if (fault || error != cudaSuccess) {
        *status = std::string("CAPTURE:") + (fault ? fault : cudaGetErrorString(error));
        cudaGetLastError();
        return NULL;
    }
    CHECK(cudaGraphInstantiate(&exec, graph, 0));
    CHECK(cudaGraphDestroy(graph));
    return exec;
}

static float time_once(const instance &x, const struct attn_kernel *k,
                       const struct attn_call &call) {
    cudaEvent_t from, to;
    CHECK(cudaEventCreate(&from));
    CHECK(cudaEventCreate(&to));
    CHECK(cudaEventRecord(from, stream));
    k->launch(&x.p, &call);
    CHECK(cudaEventRecord(to, stream));
    CHECK(cudaEventSynchronize(to));
    float ms;
    CHECK(cudaEventElapsedTime(&ms, from, to));
    CHECK(cudaEventDestroy(from));
    CHECK(cudaEventDestroy(to));
    return ms;
}

static void time_kernel(instance &x, const struct attn_kernel *k, struct attn_call &call, bool cold,
                        verdict *v) {
    const float ms = time_once(x, k, call);
    const int launches = std::max(1, std::min(40, (int)(4 / std::max(ms, 1e-3f))));
    const int replays = ms > 20 ? 3 : ms > 2 ? 9 : 21;
    std::vector<struct attn_call> calls{call};
    cudaGraphExec_t graph = capture(x, k, calls, launches, &v->status);
    if (!graph) return;
    v->warm_us = time_graph(graph, launches, replays);
    CHECK(cudaGraphExecDestroy(graph));
    if (!cold) return;

    const double touched = x.bytes + 4.0 * (double)(x.s.b * x.s.hq * x.s.sq * x.s.d);
    const int copies = (int)std::min(100.0, ceil(4.0 * (double)l2_bytes / touched) + 1);
    if (copies == 100) return; /* too small for copies to be cold: not measured */
    std::vector<void *> owned;
    for (int c = 1; c < copies; c++) {
        struct attn_call other = call;
        for (int slot = 0; slot < ATTN_SLOT_COUNT; slot++) {
            if (!call.tensors[slot].data || !x.slot_bytes[slot]) continue;
            void *copy;
            CHECK(cudaMalloc(&copy, x.slot_bytes[slot]));
            CHECK(cudaMemcpy(copy, call.tensors[slot].data, x.slot_bytes[slot],
                             cudaMemcpyDeviceToDevice));
            owned.push_back(copy);
            other.tensors[slot].data = copy;
        }
        calls.push_back(other);
    }
    /* Copies within the device do not wait for themselves, and `stream` does not wait for them. */
    CHECK(cudaDeviceSynchronize());
    const int rounds = std::max(1, launches / copies) * copies;
    graph = capture(x, k, calls, rounds, &v->status);
    if (graph) {
        v->cold_us = time_graph(graph, rounds, replays);
        CHECK(cudaGraphExecDestroy(graph));
    }
    for (void *copy : owned) CHECK(cudaFree(copy));
}

static bool same_bits(const instance &x, const char *out, const char *lse) {
    static unsigned long long *count;
    if (!count) CHECK(cudaMalloc((void **)&count, 8));
    CHECK(cudaMemset(count, 0, 8));
    count_differences<<<1024, 256>>>((const uint32_t *)x.call.tensors[ATTN_OUT].data,
                                     (const uint32_t *)out, (int64_t)x.slot_bytes[ATTN_OUT] / 4,
                                     count);
    count_differences<<<1024, 256>>>((const uint32_t *)x.call.tensors[ATTN_LSE].data,
                                     (const uint32_t *)lse, (int64_t)x.slot_bytes[ATTN_LSE] / 4,
                                     count);
    unsigned long long differences;
    CHECK(cudaMemcpy(&differences, count, 8, cudaMemcpyDeviceToHost));
    return differences == 0;
}

static verdict run(instance &x, const struct attn_kernel *k) {
    verdict v;
    const uint64_t undeclared = x.p.traits & ~k->traits;
    const char *refusal = undeclared                       ? "a trait is not declared"
                          : !(k->dtypes >> x.p.dtype & 1)  ? "the dtype is not declared"
                          : x.p.head_dim > k->head_dim_max ? "the head dim is too large"
                          : k->refuse                      ? k->refuse(&x.p)
                                                           : NULL;
    if (refusal) {
        v.status = std::string("REFUSED: ") + refusal;
        return v;
    }
    struct attn_call call = x.call;
    buffer scratch;
    call.scratch_bytes = k->scratch_bytes ? k->scratch_bytes(&x.p) : 0;
    scratch.make(call.scratch_bytes);
    call.scratch = scratch.data();
    call.stream = stream;
    call.threads = 1;
    const char *fault = k->prepare ? k->prepare(&x.p, &call) : NULL;
    char *first_out, *first_lse;
    CHECK(cudaMalloc((void **)&first_out, x.slot_bytes[ATTN_OUT] + 256));
    CHECK(cudaMalloc((void **)&first_lse, x.slot_bytes[ATTN_LSE] + 256));
    const auto launch = [&](int garbage) {
        CHECK(cudaMemset(call.tensors[ATTN_OUT].data, 0x7f, x.slot_bytes[ATTN_OUT]));
        CHECK(cudaMemset(call.tensors[ATTN_LSE].data, 0x7f, x.slot_bytes[ATTN_LSE]));
        CHECK(cudaMemset(call.scratch, garbage, call.scratch_bytes));
        CHECK(cudaDeviceSynchronize());
        if (!fault) fault = k->launch(&x.p, &call);
        CHECK(cudaStreamSynchronize(stream));
    };
    launch(0xff);
    if (fault) {
        v.status = std::string("FAULT: ") + fault;
    } else {
        judge(x, k, &v);
        CHECK(cudaMemcpy(first_out, call.tensors[ATTN_OUT].data, x.slot_bytes[ATTN_OUT],
                         cudaMemcpyDeviceToDevice));
        CHECK(cudaMemcpy(first_lse, call.tensors[ATTN_LSE].data, x.slot_bytes[ATTN_LSE],
                         cudaMemcpyDeviceToDevice));
        for (int repeat = 0; repeat < 3; repeat++) {
            launch(repeat == 0 ? 0x00 : repeat == 1 ? 0x7f : 0x3c);
            if (!same_bits(x, first_out, first_lse) && v.status == "PASS") v.status = "NONDET";
        }
        if (!x.s.timed) {
            const bool f16 = x.s.dtype == ATTN_F16;
            const uint16_t poisons[] = {(uint16_t)(f16 ? 0x7c00 : 0x7f80),
                                        (uint16_t)(f16 ? 0x7b53 : 0x476a),
                                        (uint16_t)(f16 ? 0x7e01 : 0x7fc1)};
            for (uint16_t poison : poisons) { /* Inf, about 6e4, and NaN as before */
                x.poison_and_fill(poison);
                launch(0xff);
                if (!same_bits(x, first_out, first_lse) && v.status == "PASS")
                    v.status = "OOB_READ";
            }
        }
        if (v.status == "PASS" && !scratch.guards_hold()) v.status = "OOB_SCRATCH";
        for (const buffer &b : x.buffers)
            if (!x.s.timed && v.status == "PASS" && !b.guards_hold()) v.status = "OOB_WRITE";
        if (x.s.timed) {
            const bool baseline = strcmp(k->name, "mma") != 0;
            time_kernel(x, k, call, !baseline, &v);
            CHECK(cudaStreamSynchronize(stream));
            if (!same_bits(x, first_out, first_lse) && v.status == "PASS") v.status = "TIMED_DIFF";
        }
    }
    if (k->finish) k->finish(&x.p, &call);
    CHECK(cudaFree(first_out));
    CHECK(cudaFree(first_lse));
    scratch.drop();
    return v;
}

static void measure_ceilings() {
    uint4 *big;
    unsigned *sink;
    const int64_t bytes = (int64_t)2 << 30;
    CHECK(cudaMalloc((void **)&big, (size_t)bytes));
    CHECK(cudaMalloc((void **)&sink, 4));
    fill_bits<<<4096, 256>>>((uint16_t *)big, bytes / 2, 0x1234);
    cudaEvent_t from, to;
    CHECK(cudaEventCreate(&from));
    CHECK(cudaEventCreate(&to));
    std::vector<double> rates;
    float ms;
    for (int i = 0; i < 12; i++) {
        CHECK(cudaEventRecord(from));
        read_all<<<132 * 8, 512>>>(big, bytes / 16, sink);
        CHECK(cudaEventRecord(to));
        CHECK(cudaEventSynchronize(to));
        CHECK(cudaEventElapsedTime(&ms, from, to));
        if (i > 1) rates.push_back((double)bytes / ms / 1e6);
    }
    read_gbs = median(rates);
    const int n = 8192;
    layout l = {};
    l.b = l.hq = l.sq = 1;
    l.d = (int64_t)n * n;
    l.dtype = ATTN_F16;
    uint16_t *x = (uint16_t *)big, *y = x + (int64_t)n * n, *z = y + (int64_t)n * n;
    fill_queries<<<4096, 256>>>(l, x, NULL);
    l.seed = 5;
    fill_queries<<<4096, 256>>>(l, y, NULL);
    cublasHandle_t cublas;
    cublasCreate(&cublas);
    const float one = 1, zero = 0;
    rates.clear();
    for (int i = 0; i < 12; i++) {
        CHECK(cudaEventRecord(from));
        cublasGemmEx(cublas, CUBLAS_OP_T, CUBLAS_OP_N, n, n, n, &one, x, CUDA_R_16F, n, y,
                     CUDA_R_16F, n, &zero, z, CUDA_R_16F, n, CUBLAS_COMPUTE_32F,
                     CUBLAS_GEMM_DEFAULT);
        CHECK(cudaEventRecord(to));
        CHECK(cudaEventSynchronize(to));
        CHECK(cudaEventElapsedTime(&ms, from, to));
        if (i > 1) rates.push_back(2.0 * n * n * n / ms / 1e9);
    }
    gemm_tflops = median(rates);
    cublasDestroy(cublas);
    CHECK(cudaFree(big));
    CHECK(cudaFree(sink));
    CHECK(cudaEventDestroy(from));
    CHECK(cudaEventDestroy(to));
}

/* ---- the problems ---- */

static std::vector<spec> small_specs() {
    std::vector<spec> all;
    const auto add = [&](spec s) {
        for (int dtype : {ATTN_F16, ATTN_BF16})
            for (int d : {64, 128, 256}) {
                s.dtype = dtype;
                s.d = d;
                all.push_back(s);
            }
    };
    const struct {
        int b, hq, hkv, sq, skv;
        bool causal;
    } prefills[] = {
        {1, 1, 1, 1, 1, true},      {2, 4, 2, 65, 65, true},    {1, 6, 2, 127, 300, true},
        {1, 2, 1, 300, 127, true},  {2, 8, 1, 200, 200, false}, {1, 3, 3, 257, 1000, false},
        {1, 16, 1, 130, 130, true}, {1, 7, 1, 33, 95, false},   {1, 2, 2, 17, 0, false},
        {1, 3, 1, 640, 640, true},  {1, 5, 5, 1, 193, true},    {3, 2, 1, 129, 128, false}};
    for (const auto &x : prefills) {
        spec s;
        s.variant = ATTN_PREFILL;
        s.b = x.b, s.hq = x.hq, s.hkv = x.hkv, s.sq = x.sq, s.skv = x.skv, s.causal = x.causal;
        add(s);
    }
    for (bool causal : {true, false})
        for (int heads : {0, 1, 2}) {
            spec s;
            s.variant = ATTN_PREFILL_VARLEN;
            s.causal = causal;
            s.hq = heads == 0 ? 4 : heads == 1 ? 16 : 3;
            s.hkv = heads == 0 ? 2 : heads == 1 ? 1 : 3;
            s.lens = heads == 0   ? std::vector<int>{1, 0, 63, 130, 129}
                     : heads == 1 ? std::vector<int>{200, 64, 65}
                                  : std::vector<int>{0, 0, 301};
            s.b = (int64_t)s.lens.size();
            s.sq = s.skv = *std::max_element(s.lens.begin(), s.lens.end()) + (heads == 1 ? 57 : 0);
            add(s);
        }
    const int decodes[][4] = {{1, 1, 1, 1},     {2, 4, 2, 63},   {1, 7, 1, 65},     {3, 16, 1, 129},
                              {1, 8, 8, 1000},  {2, 32, 2, 257}, {1, 32, 1, 500},   {1, 3, 1, 4097},
                              {4, 64, 16, 777}, {1, 2, 1, 0},    {1, 24, 2, 20011}, {40, 4, 4, 64}};
    for (const auto &x : decodes) {
        spec s;
        s.variant = ATTN_DECODE;
        s.b = x[0], s.hq = x[1], s.hkv = x[2], s.skv = x[3];
        add(s);
    }
    for (int variant : {ATTN_DECODE_PAGED, ATTN_SPARSE_DECODE_PAGED, ATTN_MAGICPIG_DECODE_PAGED})
        for (int page : {1, 16, 61, 64, 256}) {
            spec s;
            s.variant = variant;
            s.page = page;
            s.hq = page == 1 ? 16 : page == 61 ? 3 : 8;
            s.hkv = page == 1 ? 1 : page == 61 ? 3 : 2;
            s.lens = {0, 1, page - 1, page, page + 1, 300, 1900};
            if (page == 16) s.lens = {0, 0};
            if (page == 64) s.lens = {194, 22, 131, 5000};
            s.b = (int64_t)s.lens.size();
            s.skv = *std::max_element(s.lens.begin(), s.lens.end());
            s.keep = variant == ATTN_DECODE_PAGED ? 0 : page == 256 ? 0.1 : -1;
            s.large_lsh = variant == ATTN_MAGICPIG_DECODE_PAGED && page == 64;
            add(s);
        }
    const int lists[][4] = {
        {1, 4, 2, 100}, {2, 8, 8, 33}, {1, 16, 1, 3000}, {5, 6, 3, 640}, {1, 1, 1, 20000}};
    for (const auto &x : lists) {
        spec s;
        s.variant = ATTN_SPARSE_DECODE;
        s.b = x[0], s.hq = x[1], s.hkv = x[2], s.skv = x[3];
        s.keep = -1;
        add(s);
    }
    for (data_kind data : {PEAKED, DEEP, ASCENDING})
        for (int variant = 0; variant < ATTN_VARIANT_COUNT; variant++) {
            spec s;
            s.variant = variant;
            s.data = data;
            s.b = 2, s.hq = 8, s.hkv = 2, s.skv = 700;
            if (variant <= ATTN_PREFILL_VARLEN) s.sq = 700, s.causal = true;
            if (variant == ATTN_PREFILL_VARLEN) s.lens = {700, 333};
            if (variant == ATTN_DECODE_PAGED || variant >= ATTN_SPARSE_DECODE_PAGED)
                s.page = 64, s.lens = {700, 333};
            if (variant >= ATTN_SPARSE_DECODE) s.keep = 0.5;
            add(s);
        }
    return all;
}

static std::vector<spec> timed_specs() {
    std::vector<spec> all;
    const auto add = [&](int variant, bool seed, int64_t b, int64_t hq, int64_t hkv, int64_t sq,
                         int64_t skv, int64_t d) -> spec & {
        spec s;
        s.variant = variant, s.seed = seed, s.timed = true;
        s.b = b, s.hq = hq, s.hkv = hkv, s.sq = sq, s.skv = skv, s.d = d;
        all.push_back(s);
        return all.back();
    };
    add(ATTN_PREFILL, true, 8, 64, 16, 1024, 1024, 64).causal = true;
    spec &varlen = add(ATTN_PREFILL_VARLEN, true, 8, 64, 16, 1024, 1024, 64);
    varlen.causal = true;
    varlen.lens = {1024, 468, 631, 258, 353, 599, 732, 94};
    add(ATTN_DECODE, true, 8, 64, 16, 1, 1024, 64);
    spec &paged = add(ATTN_DECODE_PAGED, true, 3, 4, 2, 1, 194, 64);
    paged.page = 64;
    paged.lens = {194, 22, 131};
    add(ATTN_SPARSE_DECODE, true, 1, 32, 8, 1, 32000, 128).keep = 0.02;
    for (int variant : {ATTN_SPARSE_DECODE_PAGED, ATTN_MAGICPIG_DECODE_PAGED}) {
        spec &s = add(variant, true, 3, 32, 8, 1, 350 * 256, 256);
        s.page = 256;
        s.lens = {270 * 256, 350 * 256, 321 * 256};
        s.keep = 0.02;
    }
    add(ATTN_PREFILL, false, 8, 64, 16, 1024, 1024, 64).causal = true;
    all.back().dtype = ATTN_BF16;
    add(ATTN_PREFILL, false, 8, 64, 16, 1024, 1024, 128).causal = true;
    add(ATTN_PREFILL, false, 2, 32, 8, 8192, 8192, 64).causal = true;
    add(ATTN_PREFILL, false, 2, 32, 8, 8192, 8192, 128).causal = true;
    add(ATTN_PREFILL, false, 2, 32, 8, 8192, 8192, 128);
    add(ATTN_PREFILL, false, 2, 16, 4, 8192, 8192, 256).causal = true;
    add(ATTN_DECODE, false, 1, 32, 8, 1, 4096, 128);
    add(ATTN_DECODE, false, 64, 32, 8, 1, 8192, 128);
    all.back().dtype = ATTN_BF16;
    add(ATTN_DECODE, false, 64, 32, 8, 1, 8192, 128);
    add(ATTN_DECODE, false, 1, 32, 8, 1, 131072, 128);
    add(ATTN_DECODE, false, 16, 16, 4, 1, 16384, 256);
    for (int page : {64, 16}) {
        std::mt19937_64 random(7);
        spec &s = add(ATTN_DECODE_PAGED, false, 64, 32, 8, 1, 0, 128);
        s.page = page;
        for (int i = 0; i < 64; i++) s.lens.push_back(4096 + (int)(random() % 8193));
        s.skv = *std::max_element(s.lens.begin(), s.lens.end());
    }
    add(ATTN_SPARSE_DECODE, false, 16, 32, 8, 1, 65536, 128).keep = 0.02;
    return all;
}

struct summary {
    int run = 0, passed = 0, refused = 0;
    double t_max = 0, rho = 0, lse = 0;
};

int main(int argc, char **argv) {
    std::vector<kernel> kernels;
    bool only_small = false, only_seed = false;
    int every = 1, turn = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--small")) {
            only_small = true;
            continue;
        }
        if (!strcmp(argv[i], "--seed")) {
            only_seed = true;
            continue;
        }
        if (!strcmp(argv[i], "--every") && i + 1 < argc) {
            every = std::max(1, atoi(argv[++i]));
            continue;
        }
        void *library = dlopen(argv[i], RTLD_NOW | RTLD_LOCAL);
        const struct attn_kernel *k =
            library ? (const struct attn_kernel *)dlsym(library, "attn_export") : NULL;
        if (!k) {
            printf("cuda_check: %s\n", dlerror());
            return 4;
        }
        kernels.push_back({std::string(variant_names[k->variant]) + "_" + k->name + "_r" +
                               std::to_string(k->revision),
                           k});
    }
    int device;
    cudaDeviceProp properties;
    CHECK(cudaGetDevice(&device));
    CHECK(cudaGetDeviceProperties(&properties, device));
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    l2_bytes = properties.l2CacheSize;
    setvbuf(stdout, NULL, _IOLBF, 0);

    std::vector<summary> summaries(kernels.size());
    std::vector<std::string> failures, timings;
    int failed = 0;
    const auto visit = [&](const spec &s, const auto &each) {
        const auto wanted = [&](const kernel &k) { return k.k->variant == s.variant; };
        if (std::none_of(kernels.begin(), kernels.end(), wanted)) return;
        instance x;
        x.make(s);
        x.poison_and_fill(s.dtype == ATTN_F16 ? 0x7e01 : 0x7fc1);
        x.solve();
        for (size_t i = 0; i < kernels.size(); i++) {
            if (!wanted(kernels[i])) continue;
            const bool baseline = strcmp(kernels[i].k->name, "mma") != 0;
            if (baseline && !s.timed && s.d == 256) continue;
            if (baseline && s.timed && !s.seed) continue;
            const verdict v = run(x, kernels[i].k);
            summary &sum = summaries[i];
            if (v.status.compare(0, 7, "REFUSED") == 0) {
                sum.refused++;
                if (s.seed || s.timed)
                    failures.push_back(kernels[i].name + " " + s.name() + " " + v.status);
                continue;
            }
            sum.run++;
            if (v.status == "PASS") sum.passed++;
            sum.t_max = std::max(sum.t_max, v.t_max);
            if (s.data == NORMAL || s.data == PEAKED) sum.rho = std::max(sum.rho, v.rho);
            sum.lse = std::max(sum.lse, v.lse_max);
            if (v.status != "PASS") {
                char text[200];
                snprintf(text, sizeof text, "%s t_max %.2g rho %.3g lse %.2g abs %.2g",
                         v.status.c_str(), v.t_max, v.rho, v.lse_max, v.max_abs);
                failures.push_back(kernels[i].name + " " + s.name() + " " + text);
                failed++;
            }
            each(kernels[i], v, s, x);
        }
        x.drop();
    };
    if (!only_small) measure_ceilings(); /* not just before the timing: it heats the chip */
    for (const spec &s : small_specs())
        if (!only_seed && turn++ % every == 0)
            visit(s, [](const kernel &, const verdict &, const spec &, const instance &) {});
    printf("small problems done, %d failed\n", failed);
    if (!only_small) {
        for (const spec &s : timed_specs()) {
            if (only_seed && !s.seed) continue;
            double mma_us = 0;
            visit(s, [&](const kernel &k, const verdict &v, const spec &sp, const instance &x) {
                if (!strcmp(k.k->name, "mma")) mma_us = v.warm_us;
                char text[400];
                snprintf(text, sizeof text,
                         "%-31s %-10s %9.2f %9.2f %6.0f %6.0f %5.1f  %5.2f %5.2f %5.2f  %s",
                         k.name.c_str(), v.status.substr(0, 10).c_str(), v.warm_us, v.cold_us,
                         v.warm_us > 0 ? x.flops / v.warm_us / 1e6 : 0,
                         v.warm_us > 0 ? x.bytes / v.warm_us / 1e3 : 0,
                         mma_us > 0 ? v.warm_us / mma_us : 0, v.t_max, v.rho, v.lse_max,
                         sp.name().c_str());
                timings.push_back(text);
                printf("%s\n", text);
            });
        }
    }

    printf("\n=== %s, L2 %lld MB, read %.0f GB/s, f16 GEMM %.0f TFLOP/s\n", properties.name,
           (long long)l2_bytes >> 20, read_gbs, gemm_tflops);
    printf("%-31s %5s %5s %7s  %5s %5s %5s (worst over all problems)\n", "kernel", "run", "pass",
           "refused", "t_max", "rho", "lse");
    for (size_t i = 0; i < kernels.size(); i++)
        printf("%-31s %5d %5d %7d  %5.2f %5.2f %5.2f\n", kernels[i].name.c_str(), summaries[i].run,
               summaries[i].passed, summaries[i].refused, summaries[i].t_max, summaries[i].rho,
               summaries[i].lse);
    if (!failures.empty()) printf("--- %zu not passed, the first 30\n", failures.size());
    for (size_t i = 0; i < failures.size() && i < 30; i++)
        printf("%s\n", failures[i].substr(0, 190).c_str());
    if (!timings.empty())
        printf(
            "--- timed: us warm, cold; TFLOP/s, GB/s of keys and values (warm); time over mma's\n"
            "%-31s %-10s %9s %9s %6s %6s %5s  %5s %5s %5s\n",
            "kernel", "status", "warm", "cold", "TF/s", "GB/s", "x", "t_max", "rho", "lse");
    for (const std::string &line : timings) printf("%s\n", line.c_str());
    return failed ? 1 : 0;
}
