/* Kernels with one planted bug each, and some honest ones that look suspicious: what the judge is
 * tested on (`attest selftest`, test_planted.c). All are one flash kernel for 16-bit inputs of all
 * variants -- blocks of 64 keys, online softmax, P rounded to 16 bits, sums in f32 -- that goes
 * wrong at one place.
 *
 *   place.c          where a row's query, keys and values lie, and the bugs of that: C, and device
 *                    code of CUDA
 *   row.c            a query row and the bugs that show in one: the same
 *   planted_cpu.c    the rows one after the other, and the bugs around them
 *   cheats.c         kernels that want to pass and not to compute, on a CPU
 *   clocked.c        bugs of time alone, on a CPU
 *   planted_cuda.cu  a warp for each row, and the bugs around them
 *   planted.c        a library: compiled once for each bug and device, and linked to the others,
 *                    which are compiled once and told the bug
 * The unit test calls planted_row directly. */
#ifndef ATTEST_PLANTED_H
#define ATTEST_PLANTED_H

#include "../../kernels/attn.h"

#include <stdbool.h>

enum { PLANTED_BLOCK = 64, PLANTED_HEAD_DIM_MAX = 1024, PLANTED_SHARES = 4 };

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
    X(SUM_PAIRWISE, sum_pairwise, prefill_varlen, all, "honest: sums the denominator in pairs")    \
    X(SPLIT_ANY_ORDER, split_any_order, decode, all, "honest: shares in any order, and says so")   \
    X(P_NORMALISED, p_normalised, decode, all, "honest, grade B: P is divided, then rounded")  \
    X(BASE_2, base_2, decode_paged, all, "honest: writes the lse in base 2, and says so")          \
    X(MAGICPIG_F32, magicpig_f32, magicpig_decode_paged, all, "honest: u in f32 as attn.h has it") \
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
    X(LSE_NOT_BASE_2, lse_not_base_2, decode, all, "says base 2, and writes a natural lse")        \
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
    X(PAGE_STRIDE_IGNORED, page_stride_ignored, decode_paged, cpu, "has pages a page apart")       \
    X(HEADS_FOR_ROWS, heads_for_rows, decode_paged, cpu, "has heads of a page for its rows")       \
    X(BASE_ROUNDED, base_rounded, decode, cpu, "begins k at a multiple of 64 bytes")               \
    X(GAP_READ, gap_read, decode, cpu, "adds 0 times what is behind a row of v")                   \
    X(GAP_WRITTEN, gap_written, decode, cpu, "writes one element more in each row")                \
    X(PACKED_PADDING, packed_padding, prefill_varlen, cpu, "writes 0 to padding that is none")     \
    X(KEYS_BY_QUERIES, keys_by_queries, prefill_varlen, cpu, "finds keys where queries are")       \
    X(CRASHES, crashes, decode, all, "writes where there is no memory")                            \
    X(HANGS, hangs, decode, all, "never returns")                                                  \
    X(CAUSAL_TOP_LEFT, causal_top_left, prefill, all, "aligns the causal mask to the top left")    \
    X(CAUSAL_LEFT_OUT, causal_left_out, prefill, all, "masks nothing")                             \
    X(CAUSAL_UNASKED, causal_unasked, prefill, all, "is always causal")                            \
    X(CAUSAL_BY_TILES, causal_by_tiles, prefill, all, "masks whole tiles only")                    \
    X(DIAGONAL_HIDDEN, diagonal_hidden, prefill, all, "hides the diagonal too")                    \
    X(DIAGONAL_BEHIND, diagonal_behind, prefill, all, "shows the key behind the diagonal")         \
    X(WINDOW_LEFT_OUT, window_left_out, prefill, all, "has no window")                             \
    X(WINDOW_KEY_MORE, window_key_more, prefill, all, "begins the window a key early")             \
    X(WINDOW_KEY_FEWER, window_key_fewer, decode_paged, all, "begins the window a key late")       \
    X(WINDOW_KEY_BEHIND, window_key_behind, prefill, all, "ends the window a key late")            \
    X(WINDOW_ONE_SIDED, window_one_sided, prefill, all, "ends the window at the diagonal")         \
    X(WINDOW_BY_TILES, window_by_tiles, decode_paged, all, "begins the window with its tile")      \
    X(WINDOW_TOP_LEFT, window_top_left, prefill, all, "aligns the window to the top left")         \
    X(SOFTCAP_LEFT_OUT, softcap_left_out, decode, all, "does not cap logits")                      \
    X(SOFTCAP_UNSCALED, softcap_unscaled, decode_paged, all, "caps q.k, and scales that")          \
    X(SOFTCAP_MASK, softcap_mask, prefill, all, "caps -infinity, too")                             \
    X(SINKS_LEFT_OUT, sinks_left_out, decode, all, "knows no sinks")                               \
    X(SINKS_NOT_IN_LSE, sinks_not_in_lse, prefill, all, "leaves sinks out of the lse")             \
    X(SINKS_SCALED, sinks_scaled, decode, all, "scales sinks")                                     \
    X(SINKS_IN_SHARES, sinks_in_shares, decode_paged, all, "counts a sink in each share")          \
    X(SINK_OF_KV_HEAD, sink_of_kv_head, decode, all, "reads the sink of the kv head")              \
    X(QLENS_IGNORED, qlens_ignored, prefill_paged, all, "takes the room for the queries there are") \
    X(CHUNK_TOP_LEFT, chunk_top_left, prefill_paged, all, "aligns a chunk to the first key")       \
    X(CHUNK_BEHIND, chunk_behind, prefill_paged, all, "sees the next chunk's keys, too")           \
    X(ALIBI_LEFT_OUT, alibi_left_out, decode, all, "knows no alibi")                               \
    X(ALIBI_SIGN, alibi_sign, prefill, all, "has slopes of the other sign")                        \
    X(SLOPE_OF_KV_HEAD, slope_of_kv_head, decode_paged, all, "reads the slope of the kv head")     \
    X(HEADS_SHIFTED, heads_shifted, decode, all, "writes the row of the next head")                \
    X(QUERIES_SHIFTED, queries_shifted, prefill, all, "writes the row of the next query")          \
    X(QUERY_OF_WARP_OFF, query_of_warp_off, prefill, all, "reads the next query, one warp in 4")   \
    X(QUERY_MODULO_128, query_modulo_128, prefill, all, "reads the first 128 queries again")       \
    X(KV_HEAD_MODULO, kv_head_modulo, decode, all, "reads kv head h % Hkv")                        \
    X(GROUP_OF_8, group_of_8, decode, all, "takes a group for 8 heads")                            \
    X(BATCH_STRIDE, batch_stride, decode, all, "has sequences a kv head apart")                    \
    X(BATCH_IGNORED, batch_ignored, decode, all, "always reads sequence 0")                        \
    X(LENGTH_OF_FIRST, length_of_first, decode_paged, all, "takes all for as long as sequence 0")  \
    X(LENGTH_OF_BEFORE, length_of_before, decode_paged, all, "has the length of the one before")   \
    X(LENGTHS_IGNORED, lengths_ignored, prefill_varlen, all, "counts the padding of K")            \
    X(LAST_PAGE_FULL, last_page_full, decode_paged, all, "takes the last page for full")           \
    X(LAST_PAGE_MODULO, last_page_modulo, decode_paged, all, "takes a full last page for empty")   \
    X(TABLE_OF_FIRST, table_of_first, decode_paged, all, "reads the first sequence's pages")       \
    X(TABLE_OF_NEXT, table_of_next, decode_paged, all, "reads the next sequence's pages")          \
    X(PAGE_BEFORE, page_before, decode_paged, all, "turns pages a token late")                     \
    X(PAGE_BEHIND, page_behind, decode_paged, all, "turns pages a token early")                    \
    X(PAGE_OF_16, page_of_16, decode_paged, all, "takes a page for 16 tokens")                     \
    X(INDEX_OF_15_BITS, index_of_15_bits, decode, all, "keeps token numbers in a short")           \
    X(SCALE_OF_FIRST_HEAD, scale_of_first_head, decode, all, "has the first kv head's scales")     \
    X(V_SCALE_LEFT_OUT, v_scale_left_out, prefill, all, "forgets the scale of the values")         \
    X(SCALES_SWAPPED, scales_swapped, decode, all, "has the scale of keys for values, and back")   \
    X(SCALE_PAGE_BEFORE, scale_page_before, decode_paged, all, "has scales from the page before")  \
    X(SCALE_OF_QUERY_HEAD, scale_of_query_head, prefill_paged, all, "has query head h's scales")   \
    X(OUT_SCALE_FORGOTTEN, out_scale_forgotten, decode, cpu, "forgets the scale of its output")     \
    X(OUT_MULTIPLIED, out_multiplied, prefill, cpu, "multiplies its output with the scale")         \
    X(E5M2, e5m2, prefill_paged, all, "reads E4M3 as E5M2")                                        \
    X(BIAS_LEFT_OUT, bias_left_out, decode, all, "forgets the bias")                               \
    X(BIAS_OF_FIRST_HEAD, bias_of_first_head, prefill, all, "takes the first head's bias for all") \
    X(BIAS_OF_FIRST, bias_of_first, decode_paged, all, "takes the first sequence's bias")          \
    X(BIAS_TRANSPOSED, bias_transposed, prefill, all, "reads the bias transposed")                 \
    X(BIAS_BEFORE_SCALE, bias_before_scale, decode, all, "adds the bias before the scale")         \
    X(BIAS_ROW_NAN, bias_row_nan, prefill, all, "divides by zero where the bias hides all keys")   \
    X(VALUE_TAIL_DROPPED, value_tail_dropped, prefill, all, "writes as many columns as a key has") \
    X(VALUES_AS_WIDE, values_as_wide, decode, all, "takes rows of v for as long as those of k")    \
    X(SCALE_OF_VALUES, scale_of_values, decode, all, "scales with 1/sqrt(Dv)")                     \
    X(SCALE_OF_KEYS, scale_of_keys, decode, all, "scales with 1/sqrt(D), whatever is asked")       \
    X(KEY_TAILS, key_tails, decode_paged, all, "reads the ends of keys for values")                \
    X(VALUE_BEFORE, value_before, decode, all, "reads the value of the key before")                \
    X(KEYS_FOR_VALUES, keys_for_values, decode, all, "reads keys for values, values for keys")     \
    X(KEYS_TWICE, keys_twice, decode_paged, all, "reads keys for values")                          \
    X(LIST_OF_FIRST_HEAD, list_of_first_head, sparse_decode, all, "reads the first head's list")   \
    X(LIST_ENTRY_DROPPED, list_entry_dropped, sparse_decode_paged, all, "drops the last entry")    \
    X(LIST_ASCENDING, list_ascending, sparse_decode, all, "ends a list where it does not ascend")  \
    X(LIST_PADDING, list_padding, sparse_decode_paged, all, "takes padding for token 0")           \
    X(LIST_IGNORED, list_ignored, sparse_decode, all, "sees all tokens")                           \
    X(LIST_MODULO, list_modulo, sparse_decode, all, "shares the list of kv head h % Hkv")          \
    X(LIST_OF_NEXT, list_of_next, sparse_decode_paged, all, "reads the next kv head's list")       \
    X(LIST_BEFORE, list_before, prefill_paged, all, "reads the list of the query before")          \
    X(LIST_FOR_ALL, list_for_all, prefill_paged, all, "reads the first query's list for all")      \
    X(CORRECTION_LEFT_OUT, correction_left_out, magicpig_decode_paged, all, "forgets log u")       \
    X(CORRECTION_ADDED, correction_added, magicpig_decode_paged, all, "adds log u")                \
    X(LSH_K_IGNORED, lsh_k_ignored, magicpig_decode_paged, all, "takes K for 1")                   \
    X(LSH_L_LESS_1, lsh_l_less_1, magicpig_decode_paged, all, "takes L - 1 for L")                 \
    X(LSH_OF_FIRST_HEAD, lsh_of_first_head, magicpig_decode_paged, all, "reads head 0's K and L")  \
    X(EPSILON_MISSING, epsilon_missing, magicpig_decode_paged, all, "divides by norms of 0")       \
    X(CHANCE_CANCELS, chance_cancels, magicpig_decode_paged, all, "the textbook's u, in f32")      \
    X(CHANCE_IN_F32, chance_in_f32, magicpig_decode_paged, cpu, "evaluates u in f32 as in f64")    \
    X(UNSCALED, unscaled, decode, all, "forgets the scale")                                        \
    X(SCALED_TWICE, scaled_twice, decode, all, "scales twice: by 1/D")                             \
    X(SCALE_OF_64, scale_of_64, prefill, all, "has the scale of D 64")                             \
    X(LOG2_E_MISSING, log2_e_missing, decode, all, "takes exp2 for exp")                           \
    X(LOG2_E_TWICE, log2_e_twice, decode, all, "takes exp of logits for exp2")                     \
    X(DIM_TAIL_IGNORED, dim_tail_ignored, prefill, all, "multiplies whole tiles of 32 columns")    \
    X(PRODUCTS_16BIT, products_16bit, prefill, all, "keeps q.k in 16 bit")                         \
    X(SCORES_16BIT, scores_16bit, prefill, all, "keeps scores in 16 bit")                          \
    X(FIRST_KEY_DROPPED, first_key_dropped, decode, all, "begins one key late")                    \
    X(LAST_KEY_TWICE, last_key_twice, decode, all, "counts the last key twice")                    \
    X(BLOCK_SKIPPED, block_skipped, decode, all, "skips the second block")                         \
    X(BLOCK_TWICE, block_twice, decode, all, "counts the second block twice")                      \
    X(FIRST_BLOCK_ONLY, first_block_only, decode, all, "stops after the first block")              \
    X(PARTIAL_BLOCK_DROPPED, partial_block_dropped, decode, all, "stops after the last full one")  \
    X(PADDING_COUNTED, padding_counted, decode, all, "counts logits of 0 behind the last key")     \
    X(MAXIMUM_FROM_0, maximum_from_0, decode, all, "begins the maximum at 0")                      \
    X(MAXIMUM_OF_FIRST_BLOCK, maximum_of_first_block, decode, all, "keeps the first maximum")      \
    X(MAXIMUM_LEFT_OUT, maximum_left_out, decode, all, "takes exp of logits as they are")          \
    X(RESCALE_NEVER, rescale_never, decode, all, "never rescales the output")                      \
    X(RESCALE_TWICE, rescale_twice, decode, all, "rescales the output twice")                      \
    X(P_FLUSHED, p_flushed, decode, all, "flushes P below 2^-14 to 0")                             \
    X(P_DIVIDED, p_divided, decode, all, "divides P, then rounds, and promises A")                 \
    X(SHARES_AVERAGED, shares_averaged, decode_paged, all, "averages four shares of the keys")     \
    X(SHARES_UNSCALED, shares_unscaled, decode_paged, all, "adds shares of different maxima")      \
    X(SHARE_LAST, share_last, decode_paged, all, "takes the last share for all")                   \
    X(SHARE_OF_NOTHING, share_of_nothing, decode_paged, all, "combines shares without a key")      \
    X(NOT_DIVIDED, not_divided, decode, all, "forgets the denominator")                            \
    X(DIVIDED_TWICE, divided_twice, decode, all, "divides by the denominator twice")               \
    X(HALVES_EXCHANGED, halves_exchanged, decode, all, "exchanges the halves of a row")            \
    X(LSE_OF_MAXIMUM, lse_of_maximum, decode, all, "writes the maximum for the lse")               \
    X(LSE_OF_SUM, lse_of_sum, decode, all, "writes an lse without the maximum")                    \
    X(LSE_UNSCALED, lse_unscaled, decode, all, "writes an lse of the unscaled maximum")            \
    X(LSE_OF_TWO_BASES, lse_of_two_bases, decode, all, "writes an lse of two bases")               \
    X(LSE_NEGATIVE, lse_negative, decode, all, "writes the lse with the other sign")               \
    X(LSE_OF_NOTHING, lse_of_nothing, decode_paged, all, "writes 0 where no key is seen")          \
    X(RACE, race, decode, cuda, "shares a sum in a block without a barrier")                       \
    X(UNINITIALISED, uninitialised, decode, cuda, "reads what nothing wrote, to no effect")        \
    X(WRONG_STREAM, wrong_stream, decode, cuda, "launches on a stream of its own")                 \
    X(SYNCHRONISES, synchronises, decode, cuda, "honest: waits for its stream")                    \
    X(ANSWER_STANDS, answer_stands, decode, all, "returns where its answer still stands")          \
    X(FINGERPRINTS_INPUTS, fingerprints_inputs, decode, all, "looks at some words of its inputs")  \
    X(HASHES_INPUTS, hashes_inputs, decode, cpu, "computes again only if any input has changed")   \
    X(PREPARE_DOES_ALL, prepare_does_all, decode, all, "computes in prepare, copies in launch")    \
    X(PATCHED_CLOCK, patched_clock, decode, cpu, "hides 95 % of its time from the worker's clock")
/* clang-format on */

enum planted {
#define X(symbol, name, variant, devices, meaning) PLANTED_##symbol,
    PLANTED(X)
#undef X
        PLANTED_COUNT
};

#define PLANTED_HAS_LSE_OF_GRADE_B(bug)                                                            \
    ((bug) == PLANTED_EXP_DEGREE_3 || (bug) == PLANTED_SUM_OF_ROUNDED)
#define PLANTED_SAYS_BASE_2(bug) ((bug) == PLANTED_BASE_2 || (bug) == PLANTED_LSE_NOT_BASE_2)
/* What it promises. Equal weights that are divided first are rounded alike: rho 1.53 of 1,000. */
#define PLANTED_GRADE(bug) ((bug) == PLANTED_P_NORMALISED ? 'B' : 'A')

#define PLANTED_IS_CHEAT(bug) ((bug) >= PLANTED_ANSWERS_LATER && (bug) <= PLANTED_CHANGES_CALL)

#ifdef __CUDACC__
#define PLANTED_CODE __device__
#else
#define PLANTED_CODE
#endif

/* One query row. Key j is token list[j], or first + j where list is NULL; token t is row t %
 * page_size of page pages[t / page_size], or of page t / page_size where pages is NULL. The key
 * after the last is only looked for by bugs that read it. */
struct planted_row {
    int32_t dtype; /* ATTN_F16 or ATTN_BF16 */
    int64_t first, keys, head_dim, value_dim;
    const uint16_t *q;
    const void *k, *v; /* page 0; without pages token 0 */
    int32_t stored;    /* their dtype; 0: as q's */
    /* Of 8 bits: token t's scales, at scale_page times its page and scale_row times its row. */
    const float *k_scale, *v_scale;
    int64_t scale_page, scale_row;
    const float *out_scale; /* of an output of 8 bits; NULL: it is as q */
    const int32_t *pages;
    int64_t page_size, page_stride; /* rows in a page; elements from a page to the next */
    /* Of the values; and from a row to the next, of keys and of values. */
    int64_t value_page_stride, key_step, value_step;
    const int32_t *list;        /* -1 where it is padded */
    float scale, softcap, sink; /* softcap: 0, sink: -infinity without */
    float slope;                /* alibi's, from the token `place` on */
    const float *bias;          /* of token t at bias_step t; NULL: none */
    int64_t bias_step;
    int64_t place;
    int64_t seen;   /* of the keys, where the others are not left out but masked */
    bool corrected; /* by MagicPIG, of lsh_k bits in lsh_l tables */
    float lsh_k, lsh_l;
    int64_t call; /* how many calls came before */
    /* Scratch of SPLIT_UNWRITTEN: m, l and the sums of PLANTED_SHARES shares of keys_max / 4 keys.
     */
    float *shares;
    int64_t keys_max;
};

#ifdef __cplusplus
extern "C" {
#endif

/* Writes the row's out [value_dim] and *lse with that bug in it, as far as a bug shows in a row. */
PLANTED_CODE void planted_row(enum planted bug, const struct planted_row *row, void *out,
                              float *lse);
/* Row `at` of q, counted over [B, Hq, Sq], at its first call. */
PLANTED_CODE struct planted_row planted_row_at(enum planted bug, const struct attn_problem *problem,
                                               const struct attn_call *call, int64_t at);

/* The row of q, out or lse of query i of head h. */
PLANTED_CODE void *planted_row_of(const struct attn_call *call, enum attn_slot slot, int64_t b,
                                  int64_t h, int64_t i);

/* What a library's launch does when `calls` launches came before, and what its prepare and finish
 * do. */
const char *planted_launch(enum planted bug, const struct attn_problem *problem,
                           const struct attn_call *call, int64_t calls);
const char *planted_prepare(enum planted bug, const struct attn_problem *problem,
                            struct attn_call *call);
/* What the launch of a cheat does; has two pages of scratch. */
void planted_cheat(enum planted bug, const struct attn_problem *problem,
                   const struct attn_call *call);
void planted_finish(enum planted bug, const struct attn_problem *problem, struct attn_call *call);

#ifndef __CUDACC__
/* The launch of a bug of time alone; false: it is none. */
_Bool planted_clocked(enum planted bug, const struct attn_problem *problem,
                      const struct attn_call *call);
#endif

#ifdef __cplusplus
}
#endif

#endif
