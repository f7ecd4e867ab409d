/* What the rules accept, refuse and draw. */
#include "rule.h"
#include "../fixtures/test_drawn.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int32_t *table(const struct fixture *fixture, enum attn_slot slot) {
    return fixture->tensors[slot].data;
}

static const char chunks[] =
    "f16-b2-hq4-hkv2-q3-d8-page16-causal-lens40,33-qlens3,2-keep10-keepgroup";
static const char paged[] = "f16-b3-hq4-hkv2-d8-page16-lens40,0,33-keep10-magicpig";
static const char varlen[] = "f16-b3-hq2-hkv2-q20-kv20-d8-lens20,0,7";

/* One number of a good table made bad, and what is said about it. kv_page_indptr is 0 3 3 6. */
static const struct refusal {
    const char *line;
    enum attn_slot slot;
    int64_t index;
    double value;
    const char *says;
} refusals[] = {
    {varlen, ATTN_SEQ_LENS, 1, -1, "seq_lens[1] is -1: expected 0..20"},
    {varlen, ATTN_SEQ_LENS, 2, 21, "seq_lens[2] is 21: expected 0..20"},
    {paged, ATTN_KV_PAGE_INDPTR, 0, 1, "kv_page_indptr[0] is 1: expected 0"},
    {paged, ATTN_KV_PAGE_INDPTR, 1, -1, "kv_page_indptr[1] is -1: expected 0..6"},
    {paged, ATTN_KV_PAGE_INDPTR, 2, 2, "kv_page_indptr[2] is 2: expected 3..6"},
    {paged, ATTN_KV_PAGE_INDPTR, 3, 7, "kv_page_indptr[3] is 7: expected 3..6"},
    {paged, ATTN_KV_PAGE_INDPTR, 3, INT32_MAX, "expected 3..6"},
    {paged, ATTN_KV_PAGE_INDPTR, 2, 6, "kv_last_page_len[1] is 0: expected 1..16"},
    {paged, ATTN_KV_PAGE_INDPTR, 1, 4, "sequence 0 has pages for 56 tokens: expected at most 40"},
    {paged, ATTN_KV_LAST_PAGE_LEN, 0, 0, "kv_last_page_len[0] is 0: expected 1..16"},
    {paged, ATTN_KV_LAST_PAGE_LEN, 0, 17, "kv_last_page_len[0] is 17: expected 1..16"},
    {paged, ATTN_KV_LAST_PAGE_LEN, 1, 1, "kv_last_page_len[1] is 1: expected 0..0"},
    {paged, ATTN_KV_PAGE_INDICES, 0, -1, "kv_page_indices[0] is -1: expected 0..6"},
    {paged, ATTN_KV_PAGE_INDICES, 5, 7, "kv_page_indices[5] is 7: expected 0..6"},
    {paged, ATTN_SPARSE_NNZ, 0, -1, "sparse_nnz[0,0] is -1: expected 0..10"},
    {paged, ATTN_SPARSE_NNZ, 11, 11, "sparse_nnz[2,3] is 11: expected 0..10"},
    {paged, ATTN_SPARSE_NNZ, 4, 1, "sparse_ind[1,0,0] is -1: expected a token of 0..-1"},
    {paged, ATTN_SPARSE_NNZ, 1, 9, "expected -1 beyond sparse_nnz"},
    {paged, ATTN_SPARSE_IND, 3, -1, "sparse_ind[0,0,3] is -1: expected a token of 0..39"},
    {paged, ATTN_SPARSE_IND, 119, 33, "sparse_ind[2,3,9] is 33: expected a token of 0..32"},
    {paged, ATTN_SPARSE_IND, 40, 0, "sparse_ind[1,0,0] is 0: expected -1 beyond sparse_nnz"},
    {chunks, ATTN_SPARSE_NNZ, 0, 11, "sparse_nnz[0,0,0] is 11: expected 0..10"},
    {chunks, ATTN_SPARSE_NNZ, 8, 1, "sparse_nnz[1,0,2] is 1: expected 0 beyond the queries of a"},
    {chunks, ATTN_SPARSE_IND, 34, 38,
     "sparse_ind[0,1,0,4] is 38: expected a token that its query may see, of 0..37"},
    {chunks, ATTN_SPARSE_IND, 34, 40, "sparse_ind[0,1,0,4] is 40: expected a token of 0..37"},
    {chunks, ATTN_SPARSE_IND, 44, -1, "sparse_ind[0,1,1,4] is -1: expected a token of 0..38"},
    {chunks, ATTN_SPARSE_IND, 80, 5, "sparse_ind[1,0,2,0] is 5: expected -1 beyond sparse_nnz"},
    {paged, ATTN_LSH_K, 5, 0.5, "lsh_k[1,1] is 0.5: expected a number from 1 up"},
    {paged, ATTN_LSH_L, 11, NAN, "lsh_l[2,3] is nan: expected a number from 1 up"},
    {paged, ATTN_LSH_L, 0, INFINITY, "lsh_l[0,0] is inf: expected a number from 1 up"},
};

Test(rules, refuse_every_bad_number_and_say_where_it_is) {
    for (size_t n = 0; n < sizeof refusals / sizeof *refusals; n++) {
        const struct refusal *refusal = &refusals[n];
        struct fixture fixture = test_drawn(refusal->line, 1);
        const struct rule_view view = fixture_view(&fixture);
        struct attn_tensor *tensor = &fixture.tensors[refusal->slot];
        struct fault fault = {0};
        cr_assert(rules_check(&view, &fault), "%s", fault.text);
        if (tensor->dtype == ATTN_F32)
            ((float *)tensor->data)[refusal->index] = (float)refusal->value;
        else
            ((int32_t *)tensor->data)[refusal->index] = (int32_t)refusal->value;
        cr_expect(!rules_check(&view, &fault), "expected: %s", refusal->says);
        cr_expect(fault.code == FAULT_INPUT);
        cr_expect(strstr(fault.text, refusal->says), "'%s' does not say '%s'", fault.text,
                  refusal->says);
        fixture_free(&fixture);
    }
}

Test(rules, refuse_a_token_listed_twice) {
    struct fixture fixture = test_drawn(paged, 1);
    const struct rule_view view = fixture_view(&fixture);
    struct fault fault = {0};
    int32_t *list = fixture.tensors[ATTN_SPARSE_IND].data;
    list[7] = list[2];
    cr_expect(!rules_check(&view, &fault));
    cr_expect(strstr(fault.text, "sparse_ind[0,0,7] is"), "%s", fault.text);
    cr_expect(strstr(fault.text, "expected no token twice"), "%s", fault.text);
    fixture_free(&fixture);
}

Test(rules, refuse_a_missing_a_foreign_and_a_misshapen_dataset) {
    struct fault fault = {0};
    struct fixture fixture = test_drawn(varlen, 1);
    const struct rule_view view = fixture_view(&fixture);
    const struct attn_tensor lens = fixture.tensors[ATTN_SEQ_LENS];

    fixture.tensors[ATTN_SEQ_LENS].data = NULL;
    cr_expect(!rules_check(&view, &fault));
    cr_expect(strstr(fault.text, "dataset 'seq_lens' is missing"), "%s", fault.text);
    fixture.tensors[ATTN_SEQ_LENS] = lens;
    fixture.tensors[ATTN_SEQ_LENS].shape[0] = 4;
    cr_expect(!rules_check(&view, &fault));
    cr_expect(strstr(fault.text, "dimension 0 of dataset 'seq_lens' is 4, not 3"), "%s",
              fault.text);
    fixture.tensors[ATTN_SEQ_LENS] = lens;
    fixture.tensors[ATTN_SEQ_LENS].dtype = ATTN_F32;
    cr_expect(!rules_check(&view, &fault));
    cr_expect(strstr(fault.text, "dataset 'seq_lens' has dtype"), "%s", fault.text);
    fixture.tensors[ATTN_SEQ_LENS] = lens;
    fixture.tensors[ATTN_SPARSE_NNZ] = lens;
    cr_expect(!rules_check(&view, &fault));
    cr_expect(strstr(fault.text, "dataset 'sparse_nnz' is not part of this problem"), "%s",
              fault.text);
    fixture_free(&fixture);
}

static const struct {
    uint64_t traits;
    int64_t q_heads, kv_heads, q_len, kv_len;
    int variant;      /* or -1: */
    const char *says; /* refused with these words */
} combinations[] = {
    {0, 4, 2, 8, 16, ATTN_PREFILL, NULL},
    {ATTN_CAUSAL, 4, 4, 1, 16, ATTN_DECODE, NULL},
    {ATTN_CAUSAL, 4, 4, 2, 16, ATTN_PREFILL, NULL},
    {0, 4, 4, 1, 0, ATTN_DECODE, NULL},
    {0, 4, 4, 1, 16, ATTN_DECODE, NULL},
    {ATTN_RAGGED | ATTN_CAUSAL, 4, 4, 16, 16, ATTN_PREFILL_VARLEN, NULL},
    {ATTN_RAGGED, 4, 4, 1, 1, ATTN_PREFILL_VARLEN, NULL},
    {ATTN_RAGGED | ATTN_PAGE, 4, 1, 1, 16, ATTN_DECODE_PAGED, NULL},
    {ATTN_KEEP, 4, 4, 1, 16, ATTN_SPARSE_DECODE, NULL},
    {ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP, 4, 4, 1, 16, ATTN_SPARSE_DECODE_PAGED, NULL},
    {ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_MAGICPIG, 4, 4, 1, 16, ATTN_MAGICPIG_DECODE_PAGED,
     NULL},
    {0, 4, 3, 8, 16, -1, "3 key/value heads do not divide 4 query heads"},
    {ATTN_PAGE, 4, 4, 1, 16, -1, "length of each sequence"},
    {ATTN_MAGICPIG, 4, 4, 1, 16, -1, "magicpig needs page and keep"},
    {ATTN_RAGGED | ATTN_KEEP, 4, 4, 16, 16, -1, "needs page"},
    {ATTN_KEEP, 4, 4, 2, 16, -1, "keep without page is for one query token"},
    {ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP, 4, 4, 2, 16, ATTN_PREFILL_PAGED, NULL},
    {ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_KEEP_GROUP, 4, 2, 2, 16, ATTN_PREFILL_PAGED, NULL},
    {ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_KEEP_GROUP | ATTN_CAUSAL | ATTN_QLENS, 4, 1, 2, 16,
     ATTN_PREFILL_PAGED, NULL},
    {ATTN_KEEP | ATTN_KEEP_GROUP, 4, 2, 1, 16, ATTN_SPARSE_DECODE, NULL},
    {ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_KEEP_GROUP, 4, 2, 1, 16, ATTN_SPARSE_DECODE_PAGED,
     NULL},
    {ATTN_KEEP_GROUP, 4, 2, 1, 16, -1, "keepgroup without keep"},
    {ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_KEEP_GROUP | ATTN_MAGICPIG, 4, 2, 1, 16, -1,
     "lists of each query head"},
    {ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_MAGICPIG, 4, 4, 2, 16, -1,
     "magicpig is for one query token"},
    {ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_WINDOW, 4, 4, 2, 16, -1, "a window beside kept"},
    {ATTN_RAGGED | ATTN_PAGE | ATTN_KEEP | ATTN_BIASED, 4, 4, 2, 16, -1, "a bias beside kept"},
    {ATTN_RAGGED | ATTN_PAGE | ATTN_CAUSAL, 4, 4, 1, 16, ATTN_DECODE_PAGED, NULL},
    {ATTN_RAGGED | ATTN_PAGE | ATTN_CAUSAL, 4, 4, 2, 16, ATTN_PREFILL_PAGED, NULL},
    {ATTN_RAGGED | ATTN_PAGE | ATTN_QLENS, 4, 4, 2, 16, ATTN_PREFILL_PAGED, NULL},
    {ATTN_RAGGED | ATTN_QLENS, 4, 4, 8, 16, ATTN_PREFILL_VARLEN, NULL},
    {ATTN_RAGGED, 4, 4, 1, 16, ATTN_DECODE, NULL},
    {ATTN_QLENS, 4, 4, 2, 16, -1, "lengths of queries need those of keys"},
    {ATTN_WINDOW | ATTN_SINK, 4, 4, 2, 16, ATTN_PREFILL, NULL},
    {ATTN_WINDOW | ATTN_KEEP, 4, 4, 1, 16, -1, "a window beside kept lists"},
    {ATTN_SOFTCAP, 4, 4, 1, 16, -1, "a softcap of 0"},
    {ATTN_RAGGED, 4, 4, 8, 16, -1, "need q and kv alike, not 8 and 16"},
    {ATTN_STRIDED, 4, 4, 1, 16, ATTN_DECODE, NULL},
    {ATTN_RAGGED | ATTN_PAGE | ATTN_NHD | ATTN_THD | ATTN_STRIDED, 4, 4, 2, 16, ATTN_PREFILL_PAGED,
     NULL},
    {ATTN_NHD, 4, 4, 1, 16, -1, "nhd without pages"},
    {ATTN_THD, 4, 4, 1, 16, -1, "whose lengths are not told"},
    {1 << 30, 4, 4, 1, 16, -1, "unknown traits 0x40000000"},
};

Test(rules, know_the_variants_and_refuse_the_rest) {
    for (size_t n = 0; n < sizeof combinations / sizeof *combinations; n++) {
        struct attn_problem problem = {.traits = combinations[n].traits,
                                       .q_heads = combinations[n].q_heads,
                                       .kv_heads = combinations[n].kv_heads,
                                       .q_len = combinations[n].q_len,
                                       .kv_len = combinations[n].kv_len};
        struct fault fault = {0};
        const bool good = rules_variant(&problem, &fault);
        cr_expect(good == (combinations[n].variant >= 0), "combination %zu: %s", n, fault.text);
        if (good) {
            cr_expect(problem.variant == combinations[n].variant, "combination %zu", n);
            cr_expect(((problem.traits & ATTN_GQA) != 0) == (problem.kv_heads < problem.q_heads));
            cr_expect(!(problem.traits & ATTN_CAUSAL) || problem.q_len > 1, "combination %zu", n);
        } else
            cr_expect(strstr(fault.text, combinations[n].says), "%s", fault.text);
    }
}

Test(rules, give_each_variant_its_tensors) {
    const struct attn_problem dense = {.dtype = ATTN_BF16,
                                       .batch = 2,
                                       .q_heads = 4,
                                       .kv_heads = 2,
                                       .q_len = 8,
                                       .kv_len = 16,
                                       .head_dim = 32};
    const struct rule_tensor k = rules_tensor(&dense, ATTN_K);
    cr_expect(k.rank == 4 && k.dtype == ATTN_BF16);
    cr_expect(rules_size(&dense, k.shape[1]) == 2 && rules_size(&dense, k.shape[2]) == 16);
    cr_expect(rules_tensor(&dense, ATTN_KV_CACHE).rank == 0);
    cr_expect(rules_tensor(&dense, ATTN_LSE).dtype == ATTN_F32);

    struct attn_problem page = dense;
    page.traits = ATTN_RAGGED | ATTN_PAGE;
    page.pages = 9;
    page.page_size = 5;
    const struct rule_tensor cache = rules_tensor(&page, ATTN_KV_CACHE);
    const int64_t expected[] = {9, 2, 2, 5, 32};
    cr_expect(cache.rank == 5 && cache.dtype == ATTN_BF16);
    for (int r = 0; r < 5; r++) cr_expect(rules_size(&page, cache.shape[r]) == expected[r]);
    cr_expect(rules_tensor(&page, ATTN_K).rank == 0 && rules_tensor(&page, ATTN_V).rank == 0);
    cr_expect(rules_tensor(&page, ATTN_SEQ_LENS).rank == 0);
    const struct rule_tensor indptr = rules_tensor(&page, ATTN_KV_PAGE_INDPTR);
    cr_expect(indptr.dtype == ATTN_I32 && rules_size(&page, indptr.shape[0]) == 3);
}

Test(rules, align_causal_bottom_right_with_each_sequences_own_length) {
    struct fixture fixture = test_drawn("f16-b3-hq2-hkv2-q20-kv20-d8-lens20,0,7-causal", 1);
    const struct rule_view view = fixture_view(&fixture);
    for (int64_t i = 0; i < 20; i++) {
        cr_expect(rules_keys(&view, 0, 1, i).count == i + 1);
        cr_expect(rules_keys(&view, 1, 1, i).count == 0);
        cr_expect(rules_keys(&view, 2, 1, i).count == (i < 7 ? i + 1 : 0));
    }
    fixture_free(&fixture);
    fixture = test_drawn("f16-b1-hq2-hkv2-q9-kv5-d8-causal", 1);
    const struct rule_view more_queries = fixture_view(&fixture);
    for (int64_t i = 0; i < 9; i++)
        cr_expect(rules_keys(&more_queries, 0, 0, i).count == (i < 4 ? 0 : i - 3));
    fixture_free(&fixture);
}

Test(rules, show_a_window_around_the_diagonal_of_each_sequence) {
    struct fixture fixture = test_drawn("f16-b3-hq2-hkv2-q20-kv20-d8-lens20,0,7-window3,1", 1);
    const struct rule_view view = fixture_view(&fixture);
    for (int64_t b = 0; b < 3; b++)
        for (int64_t i = 0; i < 20; i++) {
            const int64_t tokens = b == 0 ? 20 : b == 1 ? 0 : 7;
            const struct rule_keys keys = rules_keys(&view, b, 1, i);
            int64_t seen = 0;
            for (int64_t j = 0; j < tokens && i < tokens; j++) {
                const bool sees = j >= i - 3 && j <= i + 1;
                cr_expect(sees == (j >= keys.first && j < keys.first + keys.count));
                seen += sees;
            }
            cr_expect(keys.count == seen && keys.list == NULL);
        }
    fixture_free(&fixture);
    fixture = test_drawn("f16-b1-hq2-hkv2-q4-kv10-d8-causal-window2", 1);
    const struct rule_view chunk = fixture_view(&fixture);
    for (int64_t i = 0; i < 4; i++) {
        const struct rule_keys keys = rules_keys(&chunk, 0, 0, i);
        cr_expect(keys.first == i + 4 && keys.count == 3 && rule_token(&keys, 2) == i + 6);
    }
    fixture_free(&fixture);
    fixture = test_drawn("f16-b1-hq2-hkv2-q9-kv5-d8-window1", 1); /* places -4 to 4 */
    const struct rule_view more_queries = fixture_view(&fixture);
    const int64_t counts[] = {0, 0, 0, 1, 2, 3, 3, 3, 2};
    for (int64_t i = 0; i < 9; i++)
        cr_expect(rules_keys(&more_queries, 0, 0, i).count == counts[i]);
    fixture_free(&fixture);
    fixture = test_drawn("f16-b2-hq2-hkv1-d8-page4-lens30,2-window7", 1);
    const struct rule_view paged = fixture_view(&fixture);
    cr_expect(rules_keys(&paged, 0, 0, 0).first == 22 && rules_keys(&paged, 0, 0, 0).count == 8);
    cr_expect(rules_keys(&paged, 1, 0, 0).first == 0 && rules_keys(&paged, 1, 0, 0).count == 2);
    fixture_free(&fixture);
}

Test(rules, know_lengths_of_queries_apart_from_those_of_keys) {
    struct fixture fixture = test_drawn("f16-b3-hq2-hkv2-kv20-d8-causal-lens20,0,7-qlens4,2,3", 1);
    const struct rule_view view = fixture_view(&fixture);
    cr_expect(view.problem->variant == ATTN_PREFILL_VARLEN && view.problem->q_len == 4);
    for (int64_t i = 0; i < 4; i++) {
        cr_expect(rules_keys(&view, 0, 1, i).count == i + 17);
        cr_expect(rules_keys(&view, 1, 1, i).count == 0);
        cr_expect(rules_keys(&view, 2, 1, i).count == (i < 3 ? i + 5 : 0));
    }
    fixture_free(&fixture);
    fixture = test_drawn("f16-b2-hq2-hkv2-d8-page4-causal-lens9,2-qlens3,0", 1);
    const struct rule_view paged = fixture_view(&fixture);
    cr_expect(paged.problem->variant == ATTN_PREFILL_PAGED);
    cr_expect(rules_q_len(&paged, 0) == 3 && rules_q_len(&paged, 1) == 0);
    cr_expect(rules_keys(&paged, 0, 0, 0).count == 7 && rules_keys(&paged, 0, 0, 2).count == 9);
    fixture_free(&fixture);
    fixture = test_drawn("f16-b2-hq2-hkv2-d8-q5-page4-lens9,2", 1);
    const struct rule_view chunk = fixture_view(&fixture);
    cr_expect(rules_q_len(&chunk, 1) == 5 && rules_keys(&chunk, 1, 0, 0).count == 2);
    fixture_free(&fixture);
    fixture = test_drawn("f16-b2-hq2-hkv2-kv9-d8-lens9,0", 1); /* decode over a dense cache */
    const struct rule_view dense = fixture_view(&fixture);
    cr_expect(dense.problem->variant == ATTN_DECODE && rules_q_len(&dense, 1) == 1);
    cr_expect(rules_keys(&dense, 0, 0, 0).count == 9 && rules_keys(&dense, 1, 0, 0).count == 0);
    fixture_free(&fixture);
    fixture = test_drawn("f16-b40-hq2-hkv2-q9-kv30-d8-ragged-qragged", 1);
    const struct rule_view drawn = fixture_view(&fixture);
    int64_t shorter = 0;
    for (int64_t b = 0; b < 40; b++) {
        cr_expect(rules_q_len(&drawn, b) >= 0 && rules_q_len(&drawn, b) <= 9);
        shorter += rules_q_len(&drawn, b) < 9;
    }
    cr_expect(rules_q_len(&drawn, 0) == 9 && shorter > 20);
    fixture_free(&fixture);
}

Test(rules, give_each_query_head_its_sink) {
    struct fixture fixture = test_drawn("f16-b2-hq4-hkv2-q1-kv9-d8-sinks", 1);
    const struct rule_view view = fixture_view(&fixture);
    const float *sinks = fixture.tensors[ATTN_SINKS].data;
    for (int64_t h = 0; h < 4; h++) {
        cr_expect(rules_sink(&view, 0, h) == (double)sinks[h] && sinks[h] >= 0 && sinks[h] < 8);
        cr_expect(rules_sink(&view, 1, h) == (double)sinks[h]);
    }
    cr_expect(sinks[0] != sinks[1] && rules_tensor(view.problem, ATTN_SINKS).rank == 1);
    fixture_free(&fixture);
    fixture = test_drawn("f16-b2-hq4-hkv2-q1-kv9-d8", 1);
    const struct rule_view plain = fixture_view(&fixture);
    cr_expect(rules_sink(&plain, 0, 0) == -INFINITY);
    cr_expect(rules_tensor(plain.problem, ATTN_SINKS).rank == 0);
    fixture_free(&fixture);
}

Test(rules, bias_logits_by_the_distance_from_the_diagonal) {
    struct fixture fixture =
        test_drawn("f16-b2-hq4-hkv2-q5-kv9-d8-causal-lens9,6-qlens5,2-alibi", 1);
    const struct rule_view view = fixture_view(&fixture);
    const float *slopes = fixture.tensors[ATTN_SLOPES].data;
    for (int64_t b = 0; b < 2; b++)
        for (int64_t h = 0; h < 4; h++) {
            const int64_t place = 1 + 4; /* of query 1, in both */
            struct rule_logit logit = {.value = 2, .size = 3, .i = 1, .t = 2};
            rules_logit(&view, b, h, &logit);
            cr_expect(logit.value == 2 + (double)slopes[h] * (double)(2 - place));
            cr_expect(logit.size == 3 + (double)slopes[h] * (double)(place - 2));
            cr_expect(slopes[h] > 0 && slopes[h] <= 0.5f);
        }
    cr_expect(!strcmp(rules_by_place(view.problem), "causal"));
    fixture_free(&fixture);
}

Test(rules, add_to_logits_the_bias_of_their_place) {
    static const char *const lines[] = {"f16-b2-hq4-hkv2-q5-kv9-d8-bias",
                                        "f16-b2-hq4-hkv2-q5-kv9-d8-bias1,4",
                                        "f16-b2-hq4-hkv2-q5-kv9-d8-bias2,1"};
    for (int n = 0; n < 3; n++) {
        struct fixture fixture = test_drawn(lines[n], 1);
        const struct rule_view view = fixture_view(&fixture);
        const struct attn_tensor *tensor = &fixture.tensors[ATTN_BIAS];
        cr_expect(tensor->shape[0] == (n == 1 ? 1 : 2) && tensor->shape[1] == (n == 2 ? 1 : 4));
        int64_t hidden = 0;
        for (int64_t at = 0; at < 2 * 4 * 5 * 9; at++) {
            const int64_t t = at % 9, i = at / 9 % 5, h = at / 45 % 4, b = at / 180;
            const int64_t from = n == 0 ? at : n == 1 ? at % 180 : (b * 5 + i) * 9 + t;
            const double bias = (double)((const float *)tensor->data)[from];
            struct rule_logit logit = {.value = 2, .size = 3, .i = i, .t = t};
            rules_logit(&view, b, h, &logit);
            cr_expect(logit.value == 2 + bias);
            cr_expect(logit.size == (bias == -INFINITY ? 3 : 3 + fabs(bias)));
            hidden += bias == -INFINITY;
        }
        cr_expect(hidden > 10 && hidden < 180);
        fixture_free(&fixture);
    }
}

Test(rules, find_the_scale_of_what_is_stored_in_a_row) {
    const struct attn_problem dense = {
        .traits = ATTN_KV_E4M3, .batch = 2, .kv_heads = 3, .kv_len = 5, .dtype = ATTN_F16};
    struct attn_problem problem = dense;
    cr_expect(rules_kv_dtype(&problem) == ATTN_E4M3);
    cr_expect(rules_scale_index(&problem, 29) == 0);
    problem.traits |= ATTN_KV_HEAD;
    for (int64_t row = 0; row < 30; row++)
        cr_expect(rules_scale_index(&problem, row) == row / 5 % 3);
    problem.traits = ATTN_KV_INT8 | ATTN_KV_TOKEN;
    cr_expect(rules_kv_dtype(&problem) == ATTN_I8);
    for (int64_t row = 0; row < 30; row++) cr_expect(rules_scale_index(&problem, row) == row);
    problem.traits |= ATTN_PAGE;
    problem.page_size = 4;
    for (int64_t row = 0; row < 2 * 2 * 3 * 4; row++) /* page, key or value, kv head, token */
        cr_expect(rules_scale_index(&problem, row) == (row / 24 * 3 + row / 4 % 3) * 4 + row % 4);
    problem.traits |= ATTN_DV; /* pages of keys, and pages of values */
    for (int64_t row = 0; row < 2 * 3 * 4; row++)
        cr_expect(rules_scale_index(&problem, row) == row);
    cr_expect(rules_tensor(&problem, ATTN_V_SCALE).rank == 3);
    problem.traits |= ATTN_KSHARED;
    cr_expect(rules_tensor(&problem, ATTN_K_SCALE).rank == 3);
    cr_expect(rules_tensor(&problem, ATTN_V_SCALE).rank == 0);
    problem.traits = 0;
    cr_expect(rules_kv_dtype(&problem) == ATTN_F16 && rules_scale_index(&problem, 7) == -1);
}

Test(rules, an_output_of_8_bits_has_a_scale) {
    struct fixture fixture = test_drawn("bf16-b2-hq4-hkv2-d24-kv9-kvint8-oute4m3", 1);
    const struct rule_view view = fixture_view(&fixture);
    struct attn_problem plain = fixture.problem.attn;
    float *scale = fixture.tensors[ATTN_OUT_SCALE].data;
    struct fault fault = {0};
    plain.traits = 0;
    cr_expect(rules_out_dtype(&plain) == ATTN_BF16);
    cr_expect(rules_tensor(&plain, ATTN_OUT).dtype == ATTN_BF16);
    cr_expect(rules_tensor(&plain, ATTN_OUT_SCALE).rank == 0);
    cr_expect(rules_out_dtype(view.problem) == ATTN_E4M3);
    cr_expect(rules_tensor(view.problem, ATTN_OUT).dtype == ATTN_E4M3);
    cr_expect(rules_kv_dtype(view.problem) == ATTN_I8);
    cr_expect(rules_out_scale(&view) == (double)*scale && *scale > 0);
    cr_expect(rules_check(&view, &fault), "%s", fault.text);
    const float wrong[] = {0, -1, INFINITY, NAN};
    for (int n = 0; n < 4; n++) {
        *scale = wrong[n];
        cr_expect(!rules_check(&view, &fault), "%g", (double)wrong[n]);
        cr_expect(strstr(fault.text, "out_scale[0] is ") != NULL, "%s", fault.text);
    }
    fixture_free(&fixture);
}

Test(rules, a_value_that_is_part_of_a_key_has_its_scale) {
    struct fixture fixture =
        test_drawn("f16-b2-hq4-hkv2-d24-dv16-kshared-page8-lens20,9-kvint8token", 1);
    const struct rule_view view = fixture_view(&fixture);
    const float *scales = fixture.tensors[ATTN_K_SCALE].data;
    struct fault fault = {0};
    cr_expect(rules_check(&view, &fault), "%s", fault.text);
    cr_expect(fixture.tensors[ATTN_V_SCALE].data == NULL && fixture.tensors[ATTN_V].data == NULL);
    for (int64_t t = 0; t < 20; t++) {
        const int64_t row = rules_row_index(&view, 0, 1, t, false);
        cr_expect(rules_row_index(&view, 0, 1, t, true) == row);
        cr_expect(rules_row(&view, 0, 1, t, true) == rules_row(&view, 0, 1, t, false));
        cr_expect(rules_scale(&view, row, true) == (double)scales[row]);
        cr_expect(rules_scale(&view, row, false) == (double)scales[row]);
    }
    fixture_free(&fixture);
}

/* A scale is checked where a query sees its token. */
Test(rules, look_only_at_scales_that_are_of_use) {
    static const char *const lines[] = {"f16-b2-hq4-hkv2-q5-kv9-d8-lens9,4-qlens5,2-kve4m3token",
                                        "f16-b2-hq4-hkv2-d8-page4-lens9,4-keep2-kvint8token",
                                        "f16-b1-hq4-hkv2-d8-kv9-window3-kve4m3token"};
    for (int n = 0; n < 3; n++) {
        struct fixture fixture = test_drawn(lines[n], 1);
        const struct rule_view view = fixture_view(&fixture);
        const struct attn_tensor *tensor = &fixture.tensors[ATTN_V_SCALE];
        struct fault fault = {.text = ""};
        fixture_poison(&fixture, POISON_NAN, 1);
        cr_expect(rules_check(&view, &fault), "%s", fault.text);
        int64_t refused = 0, count = 1;
        for (int axis = 0; axis < 3; axis++) count *= tensor->shape[axis];
        for (int64_t at = 0; at < count; at++) {
            float *scale = (float *)tensor->data + at, was = *scale;
            const bool poison = isnan(was);
            *scale = 0;
            cr_expect(rules_check(&view, &fault) == poison);
            refused += !poison;
            *scale = was;
        }
        cr_expect(refused > 0 && refused < count);
        cr_expect(strstr(fault.text, "v_scale[") && strstr(fault.text, "is 0: expected a finite"),
                  "%s", fault.text);
        fixture_free(&fixture);
    }
}

Test(rules, cap_logits_and_what_f32_errs_by) {
    const struct attn_problem problem = {.traits = ATTN_SOFTCAP, .q_heads = 1, .softcap = 5};
    const struct rule_view view = {.problem = &problem};
    for (double x = -40; x <= 40; x += 0.5) {
        struct rule_logit logit = {.value = x, .size = 3}, above = {.value = x + 1e-6};
        rules_logit(&view, 0, 0, &logit);
        rules_logit(&view, 0, 0, &above);
        cr_expect(fabs(logit.value - 5 * tanh(x / 5)) < 1e-15);
        const double slope = (above.value - logit.value) / 1e-6;
        cr_expect(fabs(logit.size - (3 * slope + fabs(logit.value))) < 1e-5);
    }
}

Test(rules, find_a_token_through_the_page_table) {
    struct fixture fixture = test_drawn("f32-b2-hq2-hkv2-d4-page3-lens7,5", 1);
    const struct rule_view view = fixture_view(&fixture);
    const int32_t *indptr = table(&fixture, ATTN_KV_PAGE_INDPTR);
    const int32_t *indices = table(&fixture, ATTN_KV_PAGE_INDICES);
    const float *cache = fixture.tensors[ATTN_KV_CACHE].data;
    for (int64_t b = 0; b < 2; b++)
        for (int64_t t = 0; t < rules_kv_len(&view, b); t++)
            for (int64_t g = 0; g < 2; g++)
                for (int value = 0; value < 2; value++) {
                    const int64_t page = indices[indptr[b] + t / 3];
                    const int64_t row = ((page * 2 + value) * 2 + g) * 3 + t % 3;
                    cr_expect(rules_row_index(&view, b, g, t, value) == row);
                    cr_expect(rules_row(&view, b, g, t, value) == cache + row * 4);
                }
    fixture_free(&fixture);
}

Test(page, tables_are_shuffled_distinct_and_leave_pages_unused) {
    struct fixture fixture = test_drawn("f16-b4-hq2-hkv2-d8-page4-lens200,0,131,77", 1);
    const struct attn_problem *problem = &fixture.problem.attn;
    const int32_t *indices = table(&fixture, ATTN_KV_PAGE_INDICES);
    const int64_t entries = 50 + 0 + 33 + 20;
    cr_assert(problem->page_entries == entries && problem->pages == entries + entries / 16);
    bool *used = calloc((size_t)problem->pages, sizeof *used);
    int64_t in_order = 0;
    for (int64_t n = 0; n < entries; n++) {
        cr_expect(!used[indices[n]]);
        used[indices[n]] = true;
        in_order += n > 0 && indices[n] == indices[n - 1] + 1;
    }
    cr_expect(in_order < 10);
    free(used);
    fixture_free(&fixture);
}

Test(page, tables_in_order_are_the_identity_without_unused_pages) {
    struct fixture fixture = test_drawn("f16-b3-hq2-hkv2-d8-page4-lens20,0,13-pagesordered", 1);
    const int32_t *indices = table(&fixture, ATTN_KV_PAGE_INDICES);
    cr_assert(fixture.problem.attn.pages == 9);
    for (int32_t n = 0; n < 9; n++) cr_expect(indices[n] == n);
    fixture_free(&fixture);
}

Test(page, sharing_gives_odd_sequences_the_full_pages_of_their_neighbour) {
    struct fixture fixture = test_drawn("f16-b5-hq2-hkv2-d8-page4-lens18,30,9,8,12-pagesshared", 1);
    const int32_t *indptr = table(&fixture, ATTN_KV_PAGE_INDPTR);
    const int32_t *indices = table(&fixture, ATTN_KV_PAGE_INDICES);
    const int64_t shared[] = {0, 4, 0, 2, 0};
    bool used[64] = {false};
    int64_t distinct = 0;
    for (int64_t b = 0; b < 5; b++)
        for (int64_t n = 0; n < indptr[b + 1] - indptr[b]; n++) {
            const int32_t page = indices[indptr[b] + n];
            if (n < shared[b]) {
                cr_expect(page == indices[indptr[b - 1] + n]);
                continue;
            }
            cr_expect(!used[page]);
            used[page] = true;
            distinct++;
        }
    cr_expect(distinct == 5 + 4 + 3 + 0 + 3);
    cr_expect(fixture.problem.attn.pages == distinct + 1);
    fixture_free(&fixture);
}

Test(page, a_table_of_empty_sequences_is_still_a_table) {
    struct fixture fixture = test_drawn("f16-b2-hq2-hkv2-d8-page4-lens0,0", 1);
    const struct rule_view view = fixture_view(&fixture);
    struct fault fault = {0};
    cr_expect(rules_check(&view, &fault), "%s", fault.text);
    cr_expect(fixture.problem.attn.pages == 1 && fixture.problem.attn.page_entries == 1);
    cr_expect(rules_kv_len(&view, 0) == 0 && rules_keys(&view, 1, 0, 0).count == 0);
    fixture_free(&fixture);
}

Test(keep, by_probability_keeps_about_so_many_in_order) {
    struct fixture fixture = test_drawn("f16-b1-hq16-hkv2-kv20000-d8-keep0.02", 1);
    const struct rule_view view = fixture_view(&fixture);
    int64_t total = 0, most = 0;
    for (int64_t h = 0; h < 16; h++) {
        const struct rule_keys keys = rules_keys(&view, 0, h, 0);
        for (int64_t n = 1; n < keys.count; n++) cr_assert(keys.list[n] > keys.list[n - 1]);
        most = keys.count > most ? keys.count : most;
        total += keys.count;
    }
    cr_expect(llabs(total - 6400) < 5 * 80, "%lld", (long long)total); /* 5 standard deviations */
    cr_expect(fixture.problem.attn.kept_max == most);
    fixture_free(&fixture);
}

Test(keep, by_count_keeps_exactly_so_many_or_all_in_any_order) {
    struct fixture fixture = test_drawn("f16-b3-hq4-hkv2-d8-page16-lens300,40,0-keep64", 1);
    const struct rule_view view = fixture_view(&fixture);
    struct fault fault = {0};
    const int64_t expected[] = {64, 40, 0};
    int64_t descents = 0;
    for (int64_t b = 0; b < 3; b++)
        for (int64_t h = 0; h < 4; h++) {
            const struct rule_keys keys = rules_keys(&view, b, h, 0);
            cr_expect(keys.count == expected[b]);
            for (int64_t n = 1; n < keys.count; n++) descents += keys.list[n] < keys.list[n - 1];
        }
    cr_expect(descents > 100); /* half of 408 */
    cr_expect(rules_check(&view, &fault), "%s", fault.text);
    fixture_free(&fixture);
}

Test(keep, query_heads_of_a_group_read_one_list_and_each_query_its_own) {
    struct fixture fixture =
        test_drawn("f16-b2-hq6-hkv2-q5-d8-page16-causal-lens40,3-qlens5,4-keep6-keepgroup", 1);
    const struct rule_view view = fixture_view(&fixture);
    const struct attn_problem *problem = view.problem;
    struct fault fault = {0};
    cr_expect(rules_check(&view, &fault), "%s", fault.text);
    cr_expect(fixture.tensors[ATTN_SPARSE_IND].rank == 4 && rule_lists_count(problem) == 20);
    for (int64_t b = 0; b < 2; b++)
        for (int64_t h = 0; h < 6; h++)
            for (int64_t i = 0; i < rules_q_len(&view, b); i++) {
                const struct rule_keys keys = rules_keys(&view, b, h, i);
                const struct rule_list at = rule_list_at(problem, rule_list_of(problem, b, h, i));
                const int64_t may =
                    b == 0 ? 36 + i : i; /* the place of query i is 35 + i, -1 + i */
                cr_expect(at.b == b && at.h == h / 3 * 3 && at.i == i);
                cr_expect(keys.count == (may < 6 ? may : 6), "%lld", (long long)keys.count);
                cr_expect(rules_span(&view, b, i).count == may);
                cr_expect(keys.list == rules_keys(&view, b, h / 3 * 3, i).list);
                cr_expect(i == 0 || keys.list != rules_keys(&view, b, h, i - 1).list);
                cr_expect(keys.list != rules_keys(&view, b, (h + 3) % 6, i).list);
            }
    cr_expect(rules_keys(&view, 1, 0, 4).count == 0);
    fixture_free(&fixture);
}

Test(keep, lists_of_a_group_are_those_of_heads_where_each_has_its_own_kv_head) {
    struct fixture fixture = test_drawn("f16-hq4-hkv4-d8-kv40-keep6-keepgroup", 1);
    cr_expect(!(fixture.problem.attn.traits & ATTN_KEEP_GROUP));
    cr_expect(strstr(fixture.line, "keepgroup") == NULL, "%s", fixture.line);
    fixture_free(&fixture);
}

static void count_seen(void *context, int64_t b, int64_t g, int64_t t) {
    int64_t *counts = context;
    (void)b, (void)g;
    counts[t]++;
}

Test(keep, a_list_that_heads_share_is_seen_once) {
    struct fixture fixture = test_drawn("f16-hq8-hkv1-q2-d8-page16-lens40-keep6-keepgroup", 1);
    const struct rule_view view = fixture_view(&fixture);
    int64_t counts[40] = {0}, all = 0;
    rules_seen(&view, 0, count_seen, counts);
    for (int t = 0; t < 40; t++) all += counts[t];
    cr_expect(all == 12, "%lld", (long long)all);
    fixture_free(&fixture);
}

/* Counts upward instead of drawing: shows which words are asked for. */
static uint32_t counted(const struct rule_random *random, enum attn_slot tensor, uint64_t index) {
    (void)tensor;
    return (uint32_t)(index * 2654435761u + random->seed);
}

Test(draw, chooses_every_number_about_equally_often) {
    int64_t taken[20] = {0};
    for (uint64_t seed = 0; seed < 4000; seed++) {
        const struct rule_random random = {.word = counted, .seed = seed * 0x9e3779b9u};
        int32_t chosen[5];
        rule_choose(&random, ATTN_K, 0, 20, 5, chosen);
        for (int n = 0; n < 5; n++) taken[chosen[n]]++;
    }
    for (int n = 0; n < 20; n++)
        cr_expect(taken[n] > 600 && taken[n] < 1400, "%d: %lld", n, (long long)taken[n]);
}

Test(magicpig, draws_k_and_l_in_1_to_6_in_steps_of_2_to_the_minus_16) {
    struct fixture fixture =
        test_drawn("f16-b4-hq32-hkv2-d8-page16-lens40,1,2,3-keep10-magicpig", 1);
    const enum attn_slot slots[] = {ATTN_LSH_K, ATTN_LSH_L};
    for (int s = 0; s < 2; s++) {
        const float *values = fixture.tensors[slots[s]].data;
        float least = 6, most = 1;
        for (int64_t n = 0; n < 128; n++) {
            cr_expect(values[n] >= 1 && values[n] < 6);
            cr_expect(values[n] * 0x1p16f == floorf(values[n] * 0x1p16f));
            least = fminf(least, values[n]);
            most = fmaxf(most, values[n]);
        }
        cr_expect(least < 1.5f && most > 5.5f);
    }
    fixture_free(&fixture);
}

Test(magicpig, takes_log_u_from_the_logit_also_where_the_textbook_form_cancels) {
    static const double K_L_c[][3] = {{1, 1.5, 0.3}, {6, 6, -0.9}, {3, 1, 0.5},  {4, 150, -0.5},
                                      {2, 2, 1},     {5, 3, -1},   {10, 150, 0}, {1, 6, 0.999}};
    for (size_t n = 0; n < sizeof K_L_c / sizeof *K_L_c; n++) {
        float k = (float)K_L_c[n][0], l = (float)K_L_c[n][1];
        const struct attn_problem problem = {.traits = ATTN_MAGICPIG, .batch = 1, .q_heads = 1};
        struct attn_tensor tensors[ATTN_SLOT_ROOM] = {0};
        tensors[ATTN_LSH_K].data = &k;
        tensors[ATTN_LSH_L].data = &l;
        const struct rule_view view = {.problem = &problem, .tensors = tensors};
        struct rule_logit logit = {
            .value = 2, .dot = 1e6 * K_L_c[n][2], .q_norm = 1e3, .k_norm = 1e3};
        rules_logit(&view, 0, 0, &logit);

        long double c = (long double)K_L_c[n][2];
        c = fminl(fmaxl(c, -(1 - 1e-7L)), 1 - 1e-7L);
        const long double x = powl(1 - acosl(c) / acosl(-1), (long double)k);
        long double u =
            -expm1l(((long double)l - 1) * log1pl(-x) + log1pl(((long double)l - 1) * x));
        u = fmaxl(u, 1e-10L);
        cr_expect(fabsl(2 - logl(u) - (long double)logit.value) < 1e-9L, "K %g L %g c %g", k, l,
                  K_L_c[n][2]);
        cr_expect(isfinite(logit.size) && logit.size >= 0);
    }
}

Test(magicpig, reports_the_slope_of_log_u) {
    float k = 4, l = 5;
    const struct attn_problem problem = {.traits = ATTN_MAGICPIG, .batch = 1, .q_heads = 1};
    struct attn_tensor tensors[ATTN_SLOT_ROOM] = {0};
    tensors[ATTN_LSH_K].data = &k;
    tensors[ATTN_LSH_L].data = &l;
    const struct rule_view view = {.problem = &problem, .tensors = tensors};
    const double step = 1e-6;
    for (double c = -0.9; c < 0.95; c += 0.1) {
        struct rule_logit low = {.dot = c - step, .q_norm = 1, .k_norm = 1};
        struct rule_logit high = {.dot = c + step, .q_norm = 1, .k_norm = 1};
        struct rule_logit here = {.dot = c, .q_norm = 1, .k_norm = 1};
        rules_logit(&view, 0, 0, &low);
        rules_logit(&view, 0, 0, &high);
        rules_logit(&view, 0, 0, &here);
        const double slope = (low.value - high.value) / (2 * step);
        cr_expect(fabs(here.size - slope) < 1e-6 * slope, "c %g: %g, not %g", c, here.size, slope);
    }
}
