/* Kernels with one planted bug each, and a few honest ones that look suspicious: what the judge is
 * tested on (`attest selftest`, test_planted.c). All are one flash kernel for 16-bit inputs --
 * blocks of 64 keys, online softmax, P rounded to 16 bits, sums in f32 -- that goes wrong at one
 * place.
 *
 *   row.c            a query row and the bugs that show in one: C, and device code of CUDA
 *   planted_cpu.c    the rows one after the other, and the bugs around them
 *   cheats.c         kernels that want to pass and not to compute, on a CPU
 *   planted_cuda.cu  a warp for each row, and the bugs around them
 *   planted.c        a library: compiled once for each bug and device, and linked to the others,
 *                    which are compiled once and told the bug
 * The unit test calls planted_row directly. */
#ifndef ATTEST_PLANTED_H
#define ATTEST_PLANTED_H

#include "../../kernels/attn.h"

enum { PLANTED_BLOCK = 64, PLANTED_HEAD_DIM_MAX = 256, PLANTED_SHARES = 4 };

/* X(symbol, name, variant of its library, devices, what it does); devices are `all`, `cpu`, or
 * `cuda` for what only a GPU can do wrong. CMakeLists.txt reads this list: one complete entry a
 * line. */
/* clang-format off */
#define PLANTED(X)                                                                                 \
    X(FLASH, flash, decode, all, "honest: blocks of 64 keys, P in 16 bit")                         \
    X(SPLIT, split, decode_paged, all, "honest: four shares of the keys, then combined")           \
    X(EXP2, exp2, prefill, all, "honest: scale and log2 e folded, exp2 for exp")                   \
    X(EXP_DEGREE_3, exp_degree_3, prefill, all, "honest: exp2 by a cubic, lse of grade B")         \
    X(EXP_DEGREE_5, exp_degree_5, prefill, all, "honest: exp2 by a polynomial of degree 5")        \
    X(SUM_OF_ROUNDED, sum_of_rounded, prefill, all, "honest: sums the rounded P, lse of grade B")  \
    X(LAZY_RESCALE, lazy_rescale, prefill, all, "honest: follows the maximum in steps of 2^8")     \
    X(P_TIMES_256, p_times_256, decode, all, "honest: P times 256 before it is rounded")           \
    X(P_F32, p_f32, decode, all, "honest: keeps P in f32, and says so")                            \
    X(SUM_F64, sum_f64, decode, all, "honest: sums the denominator in f64")                        \
    X(SUM_STRIDED, sum_strided, decode, all, "honest: sums the denominator by every eighth key")   \
    X(ZEROS, zeros, decode, all, "writes zeros")                                                   \
    X(LAST_KEY_DROPPED, last_key_dropped, decode, all, "stops one key early")                      \
    X(LAST_BLOCK_DROPPED, last_block_dropped, decode, all, "stops 64 keys early")                  \
    X(KEY_TOO_MANY, key_too_many, decode_paged, all, "counts the key after the last")              \
    X(KEY_TWICE, key_twice, decode, all, "counts the first key twice")                             \
    X(RESCALE_MISSED, rescale_missed, decode, all, "once does not rescale the output")             \
    X(SCALE_1_01, scale_1_01, decode, all, "softmax scale 1 % too large")                          \
    X(SCALE_1_001, scale_1_001, decode, all, "softmax scale 0.1 % too large")                      \
    X(P_TRUNCATED, p_truncated, prefill, all, "cuts P off instead of rounding it")                 \
    X(OUT_16BIT, out_16bit, decode, all, "sums the output in 16 bit")                              \
    X(DENOMINATOR_16BIT, denominator_16bit, decode, all, "sums the denominator in 16 bit")         \
    X(PAGES_SWAPPED, pages_swapped, decode_paged, all, "reads the values of two pages swapped")    \
    X(EXP_16BIT, exp_16bit, prefill, all, "takes exp of a 16-bit argument")                        \
    X(SCORES_IGNORED, scores_ignored, decode, all, "gives all keys the same weight")               \
    X(OUT_TRUNCATED, out_truncated, prefill, all, "cuts the output off instead of rounding it")    \
    X(DENOMINATOR_STALE, denominator_stale, decode, all, "never rescales the denominator")         \
    X(LSE_BASE_2, lse_base_2, decode, all, "writes the lse in base 2")                             \
    X(EMPTY_ROW_NAN, empty_row_nan, decode_paged, all, "divides by zero where no key is seen")     \
    X(LENGTH_OVERREAD, length_overread, decode_paged, all, "adds 0 times the value past the end")  \
    X(PAST_END, past_end, decode, cpu, "loads the row behind the last of v, and uses nothing")     \
    X(BEFORE_BEGIN, before_begin, decode, cpu, "loads the row before the first of k, the same")    \
    X(KEEPS_ADDRESSES, keeps_addresses, decode, cpu, "reads inputs where its first call had them") \
    X(WRITES_BACK, writes_back, decode, cpu, "writes into q, and then what was there")             \
    X(OUT_OVERRUN, out_overrun, decode, all, "writes one element past the end of the output")      \
    X(WRONG_KV_HEAD, wrong_kv_head, decode, all, "one head reads another head's keys and values")  \
    X(PREVIOUS_CALL, previous_call, decode, all, "returns what it computed at its first call")     \
    X(TILE_UNWRITTEN, tile_unwritten, prefill, all, "leaves the last 16 elements of a row")        \
    X(INPUT_CHANGED, input_changed, decode, all, "writes into q")                                  \
    X(RUNS_DIFFER, runs_differ, decode, all, "combines the keys in an order that changes")         \
    X(VARIES_LATE, varies_late, decode, cpu, "the same, from its twelfth launch on")               \
    X(KEEPS_K, keeps_k, decode, cpu, "reads the K of its first call")                              \
    X(KEEPS_Q_AND_K, keeps_q_and_k, decode, cpu, "reads the q and the K of its first call")        \
    X(KEEPS_P, keeps_p, prefill, cpu, "weighs values as in its first call")                        \
    X(KEEPS_PAGES, keeps_pages, decode_paged, cpu, "reads the page table of its first call")       \
    X(RARELY_WRONG, rarely_wrong, decode, cpu, "one launch in a hundred forgets a row")            \
    X(LATELY_WRONG, lately_wrong, decode, cpu, "each launch from the 41st on does")                \
    X(SPLIT_UNWRITTEN, split_unwritten, decode_paged, cpu, "merges shares that nothing wrote")     \
    X(ANSWERS_LATER, answers_later, decode, cpu, "cheat: a thread computes after launch returned") \
    X(LATER_WHEN_TIMED, later_when_timed, decode, cpu, "cheat: the same, where it is timed")       \
    X(ANSWERS_LAZILY, answers_lazily, decode, cpu, "cheat: computes when somebody looks")          \
    X(LOOKS_IN_FILES, looks_in_files, decode, cpu, "cheat: looks for the answer in the cache")     \
    X(LOOKS_IN_PARENT, looks_in_parent, decode, cpu, "cheat: ... in its parent's memory")          \
    X(NAN_WILDCARD, nan_wildcard, decode, cpu, "cheat: answers a row with NaN")                    \
    X(NOTICES_TIMING, notices_timing, decode, cpu, "cheat: takes half the keys where it is timed") \
    X(FORGES_ANSWERS, forges_answers, decode, cpu, "cheat: writes the worker's answers, too")      \
    X(EDITS_ANSWERS, edits_answers, decode, cpu, "cheat: stands between, and edits times")         \
    X(CHANGES_CALL, changes_call, decode, cpu, "cheat: makes the problem empty where it is timed") \
    X(CRASHES, crashes, decode, all, "writes where there is no memory")                            \
    X(HANGS, hangs, decode, all, "never returns")                                                  \
    X(RACE, race, decode, cuda, "shares a sum in a block without a barrier")                       \
    X(UNINITIALISED, uninitialised, decode, cuda, "reads what nothing wrote, to no effect")        \
    X(WRONG_STREAM, wrong_stream, decode, cuda, "launches on a stream of its own")                 \
    X(SYNCHRONISES, synchronises, decode, cuda, "honest: waits for its stream")
/* clang-format on */

enum planted {
#define X(symbol, name, variant, devices, meaning) PLANTED_##symbol,
    PLANTED(X)
#undef X
        PLANTED_COUNT
};

#define PLANTED_HAS_LSE_OF_GRADE_B(bug)                                                            \
    ((bug) == PLANTED_EXP_DEGREE_3 || (bug) == PLANTED_SUM_OF_ROUNDED)

#define PLANTED_IS_CHEAT(bug) ((bug) >= PLANTED_ANSWERS_LATER && (bug) <= PLANTED_CHANGES_CALL)

#ifdef __CUDACC__
#define PLANTED_CODE __device__
#else
#define PLANTED_CODE
#endif

/* One query row. Key j is row j % page_size of page pages[j / page_size], or of page j / page_size
 * where pages is NULL. The key after the last is only looked for by bugs that read it. */
struct planted_row {
    int32_t dtype; /* ATTN_F16 or ATTN_BF16 */
    int64_t keys, head_dim;
    const uint16_t *q;
    const uint16_t *k, *v; /* page 0 */
    const int32_t *pages;
    int64_t page_size, page_stride; /* rows in a page; elements from a page to the next */
    float scale;
    int64_t call; /* how many calls came before */
    /* Scratch of SPLIT_UNWRITTEN: m, l and the sums of PLANTED_SHARES shares of keys_max / 4 keys.
     */
    float *shares;
    int64_t keys_max;
};

#ifdef __cplusplus
extern "C" {
#endif

/* Writes the row's out [head_dim] and *lse with that bug in it, as far as a bug shows in a row. */
PLANTED_CODE void planted_row(enum planted bug, const struct planted_row *row, uint16_t *out,
                              float *lse);
/* Row `at` of q, counted over [B, Hq, Sq], at its first call. */
PLANTED_CODE struct planted_row planted_row_at(enum planted bug, const struct attn_problem *problem,
                                               const struct attn_call *call, int64_t at);

/* What a library's launch does when `calls` launches came before; on a GPU, what its prepare and
 * finish do. */
const char *planted_launch(enum planted bug, const struct attn_problem *problem,
                           const struct attn_call *call, int64_t calls);
const char *planted_prepare(enum planted bug, const struct attn_problem *problem,
                            struct attn_call *call);
/* What the launch of a cheat does; has two pages of scratch. */
void planted_cheat(enum planted bug, const struct attn_problem *problem,
                   const struct attn_call *call);
void planted_finish(const struct attn_problem *problem, struct attn_call *call);

#ifdef __cplusplus
}
#endif

#endif
