/* The contract between attest and an attention kernel.
 *
 * A kernel is one shared library that exports one symbol, `attn_export`, of type `struct
 * attn_kernel`. attest opens it with dlopen in a process of its own, offers it problems, and hands
 * it tensors that attest allocated; the kernel links nothing of attest's and includes only this
 * file (and, if it likes, attn_number.h). Compiles as C11, C17, C++17, C++20 and with nvcc.
 *
 * Words: B batch, Hq query heads, Hkv key/value heads (Hkv divides Hq; query head h reads key head
 * h / (Hq / Hkv)), Sq query tokens, Skv key tokens, D head dim, of values Dv (D unless the trait dv
 * says otherwise), P page size. Layouts are row-major, last index dense. Index letters: b h g i j d
 * = batch, query head, kv head, query, key, element.
 *
 * What is computed, for every row (b, h, i) and over its visible keys j only:
 *     logit_j = scale * q.k_j,  p = softmax(logit),  out = sum_j p_j v_j,  lse = log sum exp(logit)
 * Skv may be 0. A row with no visible key has out = 0 and lse = -infinity, with sinks lse = its
 * sink. Nothing but a sequence's
 * visible tokens may influence the result: padding, the tail of a last page, unused pages and
 * unselected tokens may hold NaN. Rows of `out` and `lse` beyond a sequence's length may be left,
 * zeroed or overwritten; kernels of this repository write zeros to both.
 *
 * The structures only ever grow at their end, into what is reserved now. A library built against
 * an older attn.h still loads; a trait it has never heard of is a bit it did not set, and attest
 * refuses such a problem on its behalf. */
#ifndef ATTN_H
#define ATTN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ATTN_ABI 1u

/* Element types. ATTN_INPUT stands for "the dtype of q" where a kernel declares what it does. */
enum attn_dtype {
    ATTN_INPUT = 0,
    ATTN_F32 = 1,
    ATTN_F16 = 2, /* IEEE binary16 */
    ATTN_BF16 = 3,
    ATTN_I32 = 4,
    ATTN_U8 = 5,
    ATTN_E4M3 = 6, /* OCP's 8-bit float, e4m3fn: no infinity, 0x7f and 0xff are NaN, 448 at most */
    ATTN_I8 = 7
};

/* ATTN_ASCEND_TWIN: a kernel for an Ascend NPU built with attest's emulation of one
 * (kernels/ascend/twin): memory is host memory, the launch returns when it is done. */
enum attn_device { ATTN_CPU = 1, ATTN_CUDA = 2, ATTN_ASCEND = 3, ATTN_ASCEND_TWIN = 4 };

/* X(symbol, name, traits a problem of this variant always has) */
#define ATTN_VARIANTS(X)                                                                           \
    X(PREFILL, prefill, 0)                                                                         \
    X(PREFILL_VARLEN, prefill_varlen, ATTN_RAGGED)                                                 \
    X(DECODE, decode, 0)                                                                           \
    X(DECODE_PAGED, decode_paged, ATTN_RAGGED | ATTN_PAGE)                                         \
    X(SPARSE_DECODE, sparse_decode, ATTN_KEEP)                                                     \
    X(SPARSE_DECODE_PAGED, sparse_decode_paged, ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP)               \
    X(MAGICPIG_DECODE_PAGED, magicpig_decode_paged,                                                \
      ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_MAGICPIG)                                         \
    X(PREFILL_PAGED, prefill_paged, ATTN_RAGGED | ATTN_PAGE)

enum attn_variant {
#define ATTN_X(symbol, name, traits) ATTN_##symbol,
    ATTN_VARIANTS(ATTN_X)
#undef ATTN_X
        ATTN_VARIANT_COUNT
};

/* What a problem asks beyond plain attention; a kernel declares those it implements.
 *   gqa       Hkv < Hq
 *   causal    query i sees key j iff j <= i + Skv - Sq (bottom-right), lengths taken per sequence
 *   ragged    sequence b has fewer valid tokens than the tensor has room for: of q and kv alike
 *             where Sq = Skv and there is no qlens, else of kv
 *   qlens     and a number of queries of its own, at most Sq
 *   page      keys and values live in pages of P tokens, found through a table
 *   keep      a row sees only the tokens on its list. Of several queries each has lists of its own,
 *             with causal of tokens up to its own place
 *   keepgroup those lists are one for each kv head: all query heads that read it share them
 *   window    query i sees key j iff i' - window_left <= j <= i' + window_right, where
 *             i' = i + Skv - Sq is its place on the diagonal, lengths taken per sequence
 *   sinks     one more logit for each query head, sinks[h], in softmax's denominator and in lse,
 *             without a value
 *   alibi     logit += slopes[h] * (j - i'), after a softcap, i' as of a window
 *   bias      logit += bias[b][h][i][j], after a softcap; bias may be the same for all b, or h.
 *             Where it is -infinity the key has weight 0, and is seen all the same: no NaN is
 *             put in its place. A row of nothing else is as one with no visible key
 *   kve4m3    k, v and kv_cache are E4M3, and what is stored times a scale is meant: that of
 *             k_scale for keys, of v_scale for values, one each; with kshared k_scale alone
 *   kvint8    the same of I8
 *   kvhead    those scales are one for each kv head
 *   kvtoken   those scales are one for each token of each kv head, and lie as tokens do
 *   oute4m3   out is E4M3, and what is stored times out_scale is meant: a kernel divides by it and
 *             rounds once, to nearest even. What is beyond 448, or infinite, is stored as 448 of
 *             its sign, NaN as 0x7f, as cvt.rn.satfinite does
 *   softcap   logit = softcap * tanh(scale * q.k / softcap), before any mask or correction
 *   dv        values, and so out, have Dv elements, not D; the scale knows nothing of Dv
 *   kshared   there is no v: value j is the first Dv elements of key j (Dv <= D), the same memory
 *   magicpig  logit -= log u, the probability that the token was sampled by LSH:
 *             c = q.k/(|q||k| + 1e-8) clamped to +-(1 - 1e-7), p = 1 - acos(c)/pi, x = p^K,
 *             u = 1 - (1-x)^L - L x (1-x)^(L-1), at least 1e-10, evaluated as
 *             -expm1((L-1) log1p(-x) + log1p((L-1) x)) because the textbook form cancels.
 *             In f32 that cancels too (an lse 84 times its bound): take double, or
 *             y = (L-1) t(-x) + t((L-1) x) and -expm1(y), with t(z) = log1p(z) - z, which for
 *             |z| < 1/2 is the series of 2 atanh(z / (2 + z)) less its linear term
 * And where tensors lie, which changes no number; without these all are dense, row-major:
 *   nhd       a page is [P, Hkv, D], and keys and values have pages of their own: k and v, also
 *             where without it there is kv_cache, have the shape [pages, Hkv, P, D] all the same,
 *             and the strides of [pages, P, Hkv, D]
 *   thd       no padding: q, out and lse, and without page k and v, hold one sequence's tokens
 *             behind another's, [tokens, heads, D]. Those of sequence b are in q, out and lse
 *             cu_seqlens_q[b] .. cu_seqlens_q[b + 1] - 1, in k and v the same of cu_seqlens_kv
 *   strided   q, k, v, kv_cache, out and lse are parts of larger tensors: all axes but the last
 *             are in any order (with nhd and thd in theirs), as far apart as strides say, and what
 *             is between is others', not to be read, nor written. Where rows are multiples of 16
 *             bytes strides are, too */
enum attn_trait {
    ATTN_GQA = 1 << 0,
    ATTN_CAUSAL = 1 << 1,
    ATTN_RAGGED = 1 << 2,
    ATTN_PAGE = 1 << 3,
    ATTN_KEEP = 1 << 4,
    ATTN_MAGICPIG = 1 << 5,
    ATTN_WINDOW = 1 << 6,
    ATTN_SOFTCAP = 1 << 7,
    ATTN_SINK = 1 << 8,
    ATTN_QLENS = 1 << 9,
    ATTN_ALIBI = 1 << 10,
    ATTN_BIASED = 1 << 11, /* bias */
    ATTN_DV = 1 << 12,
    ATTN_KSHARED = 1 << 13,
    ATTN_KV_E4M3 = 1 << 14,
    ATTN_KV_INT8 = 1 << 15,
    ATTN_KV_HEAD = 1 << 16,
    ATTN_KV_TOKEN = 1 << 17,
    ATTN_KEEP_GROUP = 1 << 18, /* keepgroup */
    ATTN_OUT_E4M3 = 1 << 19,   /* oute4m3 */
    ATTN_NHD = 1 << 20,
    ATTN_THD = 1 << 21,
    ATTN_STRIDED = 1 << 22
};

/* X(symbol, name): the tensors of a call. Absent ones have data == NULL.
 *   q               [B, Hq, Sq, D]
 *   k               [B, Hkv, Skv, D]                       without the trait page
 *   v               [B, Hkv, Skv, Dv]                      the same, without kshared
 *   kv_cache        [pages, 2, Hkv, P, D]                  page; 0 = keys, 1 = values
 *   k               [pages, Hkv, P, D]                     page with dv, kshared or nhd, where
 *   v               [pages, Hkv, P, Dv]                      there is no kv_cache; v not with
 *                                                            kshared
 *                                                            k, v, kv_cache: q's dtype, or 8 bits
 *   kv_page_indptr  [B + 1] i32                            page; sequence b owns entries
 *   kv_page_indices [indptr[B]] i32                          indptr[b] .. indptr[b+1]-1 of these
 *   kv_last_page_len[B] i32                                page; 1..P, 0 for an empty sequence
 *   seq_lens        [B] i32                                ragged without page
 *   q_lens          [B] i32                                qlens; 0..Sq
 *   sparse_ind      [B, Hq, Lmax] i32, padded with -1      keep; distinct tokens, in any order
 *   sparse_nnz      [B, Hq] i32                            keep; how many of them
 *   sparse_mask     [B, Hq, Skv] u8                        keep; the same choice as 0 and 1
 *                   [B, Hkv, ...], all three               keepgroup
 *                   [B, Hq or Hkv, Sq, ...], all three     keep where Sq > 1: lists for each query;
 *                                                            of those beyond q_lens nnz is 0
 *   lsh_k, lsh_l    [B, Hq] f32                            magicpig
 *   sinks           [Hq] f32                               sinks; finite
 *   slopes          [Hq] f32                               alibi; finite
 *   bias            [1 or B, 1 or Hq, Sq, Skv] f32         bias; -1000 to 1000, or -infinity
 *   k_scale, v_scale f32, above 0, and finite where a query sees the token
 *                   [1]                                    kve4m3, kvint8
 *                   [Hkv]                                  kvhead
 *                   [B, Hkv, Skv], [pages, Hkv, P]         kvtoken; of a token that no query sees
 *                                                            they may be NaN
 *                                                            v_scale not with kshared: a value has
 *                                                            its key's scale
 *   out_scale       [1] f32, above 0 and finite            oute4m3
 *   out             [B, Hq, Sq, Dv], dtype of q, or E4M3   written by the kernel
 *   lse             [B, Hq, Sq] f32, natural logarithm     written if the kernel says so
 *   q, out, lse     [tokens, Hq, D or Dv], [tokens, Hq]    thd, instead of those above; tokens are
 *   k, v            [tokens, Hkv, D or Dv]                   all that count; k, v without page
 *   cu_seqlens_q    [B + 1] i32                            thd; 0 and sums of lengths, of queries
 *   cu_seqlens_kv   [B + 1] i32                            thd without page; of keys. seq_lens and
 *                                                            q_lens are there as well
 * Token t of sequence b in pages: page kv_page_indices[kv_page_indptr[b] + t / P], row t % P. Keys
 * and values of different widths have pages of their own under one table, as libraries take them;
 * with kshared and one kv head that is the cache of MLA kernels, [pages, P, 1, D], byte for byte.
 */
#define ATTN_SLOTS(X)                                                                              \
    X(Q, q)                                                                                        \
    X(K, k)                                                                                        \
    X(V, v)                                                                                        \
    X(KV_CACHE, kv_cache)                                                                          \
    X(KV_PAGE_INDPTR, kv_page_indptr)                                                              \
    X(KV_PAGE_INDICES, kv_page_indices)                                                            \
    X(KV_LAST_PAGE_LEN, kv_last_page_len)                                                          \
    X(SEQ_LENS, seq_lens)                                                                          \
    X(SPARSE_IND, sparse_ind)                                                                      \
    X(SPARSE_NNZ, sparse_nnz)                                                                      \
    X(SPARSE_MASK, sparse_mask)                                                                    \
    X(LSH_K, lsh_k)                                                                                \
    X(LSH_L, lsh_l)                                                                                \
    X(OUT, out)                                                                                    \
    X(LSE, lse)                                                                                    \
    X(SINKS, sinks)                                                                                \
    X(Q_LENS, q_lens)                                                                              \
    X(SLOPES, slopes)                                                                              \
    X(BIAS, bias)                                                                                  \
    X(K_SCALE, k_scale)                                                                            \
    X(V_SCALE, v_scale)                                                                            \
    X(CU_SEQLENS_Q, cu_seqlens_q)                                                                  \
    X(CU_SEQLENS_KV, cu_seqlens_kv)                                                                \
    X(OUT_SCALE, out_scale)

enum attn_slot {
#define ATTN_X(symbol, name) ATTN_##symbol,
    ATTN_SLOTS(ATTN_X)
#undef ATTN_X
        ATTN_SLOT_COUNT,
    ATTN_SLOT_ROOM = 32 /* the arrays below never change their length */
};

/* The sizes of a problem. `variant` is the family, `traits` what it asks on top. */
struct attn_problem {
    uint32_t abi;
    int32_t variant; /* enum attn_variant */
    int32_t dtype;   /* enum attn_dtype of q, and of k, v and out but where they are of 8 bits */
    int32_t reserved0;
    uint64_t traits; /* enum attn_trait, or-ed */
    int64_t batch, q_heads, kv_heads, q_len, kv_len, head_dim;
    int64_t page_size;    /* P; 0 without pages */
    int64_t pages;        /* pages in kv_cache */
    int64_t page_entries; /* entries of kv_page_indices */
    int64_t kept_max;     /* Lmax, the room for one row's list; 0 without keep */
    double scale;
    int64_t window_left; /* keys before a query's place on the diagonal that it sees; with window */
    int64_t window_right;           /* and behind it: with causal 0 */
    double softcap;                 /* above 0 with the trait, else 0 */
    int64_t bias_batch, bias_heads; /* 1 or B, 1 or Hq; 0 without bias */
    int64_t value_dim;              /* Dv; without dv it is D */
    int64_t reserved[10];
};

/* A view: it never owns `data`. shape and stride count elements, outermost first; the last stride
 * is 1. `data` is aligned to 16 bytes, on a GPU or NPU, but with strided, to 256. Inputs may be
 * mapped read-only; past the end of one a launch may read up to the next multiple of 16 bytes,
 * where anything may be, and no further. `host` holds the same values in host memory for inputs, so
 * that a kernel on a device may plan; NULL for outputs. */
struct attn_tensor {
    void *data;
    const void *host;
    int32_t dtype; /* enum attn_dtype */
    int32_t rank;
    int64_t shape[5];
    int64_t stride[5];
};

struct attn_call {
    uint32_t abi;
    int32_t device_index; /* which GPU or NPU */
    int32_t threads;      /* CPU: how many to use, at least 1 */
    int32_t reserved0;
    struct attn_tensor tensors[ATTN_SLOT_ROOM]; /* by enum attn_slot */
    void *scratch;                              /* on the device, 256-byte aligned, contents
                                                   undefined before every launch */
    size_t scratch_bytes;
    void *stream; /* cudaStream_t, aclrtStream; NULL on a CPU and in the twin */
    void *state;  /* the kernel's own, set by prepare, released by finish */
    void *reserved[8];
};

enum attn_flag {
    ATTN_WRITES_LSE = 1 << 0,
    ATTN_NONDETERMINISTIC = 1 << 1, /* repeats of one call may differ in the last bits */
    ATTN_LSE_BASE_2 = 1 << 2        /* its lse is to base 2: log2 sum exp(logit) */
};

/* What a library exports. Functions that can fail return NULL when all is well and otherwise a
 * text that lives as long as the library. A text that begins with the name of a status that fails
 * and a colon, as "FAIL_RACE: decode.asc:12: ...", makes it the row's status, the rest its reason.
 */
struct attn_kernel {
    uint32_t abi;         /* ATTN_ABI */
    uint32_t bytes;       /* sizeof(struct attn_kernel) when it was built */
    int32_t device;       /* enum attn_device */
    int32_t variant;      /* enum attn_variant */
    const char *name;     /* the method: "flash"; the file is <variant>_<name>_r<revision> */
    int32_t revision;     /* from 1 */
    int32_t grade;        /* 'A', 'B' or 'C': the accuracy it promises (reports/README.md) */
    const char *change;   /* one line: what this revision tries */
    uint64_t traits;      /* enum attn_trait it implements */
    uint32_t dtypes;      /* 1u << enum attn_dtype, or-ed */
    int32_t p_dtype;      /* what P = softmax is rounded to before P V; ATTN_INPUT: as q */
    uint32_t flags;       /* enum attn_flag */
    int32_t head_dim_max; /* largest D, and largest Dv */
    /* A reason not to take a problem whose traits, dtype and D it declared; may be NULL. */
    const char *(*refuse)(const struct attn_problem *problem);
    size_t (*scratch_bytes)(const struct attn_problem *problem); /* NULL: none */
    /* Once for a problem, timed apart from launch; may set call->state. Both may be NULL. Between
     * launches numbers in q, k, v and kv_cache change: what prepare may rely on are the problem,
     * lengths, tables, lists and scales. (So `host` of those four says only what they were.) A text
     * that begins with "REFUSED:" is a reason not to take the problem, as of `refuse`: one that
     * only the device tells. */
    const char *(*prepare)(const struct attn_problem *problem, struct attn_call *call);
    void (*finish)(const struct attn_problem *problem, struct attn_call *call);
    /* Computes out (and lse); on a device it enqueues on the stream. Allocates nothing. */
    const char *(*launch)(const struct attn_problem *problem, const struct attn_call *call);
    int32_t lse_grade; /* 'A' (0 is the same) or 'B': the accuracy its lse promises */
    int32_t reserved0;
    void *reserved[7];
};

/* The one symbol: ATTN_PUBLIC const struct attn_kernel attn_export = {...}; In C++ the declaration
 * alone makes it visible, and ATTN_PUBLIC is empty: before the definition of a constant g++ ignores
 * the attribute, and warns of it. */
#define ATTN_VISIBLE __attribute__((visibility("default")))
#ifdef __cplusplus
#define ATTN_PUBLIC
#else
#define ATTN_PUBLIC ATTN_VISIBLE
#endif
extern ATTN_VISIBLE const struct attn_kernel attn_export;

#ifdef __cplusplus
}
#endif

#endif
