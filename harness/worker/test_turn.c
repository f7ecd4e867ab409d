/* What of V is turned, and that outputs are expected to follow, on a device whose memory is memory.
 */
#include "watch.h"

#include <criterion/criterion.h>
#include <string.h>

enum { DIM = 4, PAGE = 2 };

static const struct attn_problem dense = {.dtype = ATTN_F16,
                                          .batch = 2,
                                          .q_heads = 4,
                                          .kv_heads = 2,
                                          .q_len = 1,
                                          .kv_len = 3,
                                          .head_dim = DIM,
                                          .value_dim = DIM};
static const int32_t lens[] = {3, 1};

static struct attn_tensor tensor_of(void *data, int64_t s0, int64_t s1, int64_t s2, int64_t s3) {
    return (struct attn_tensor){.data = data,
                                .host = data,
                                .dtype = ATTN_F16,
                                .rank = s3 == 1 ? 4 : 5,
                                .stride = {s0, s1, s2, s3, 1}};
}

static struct attn_call dense_call(uint16_t *v) {
    struct attn_call call = {0};
    call.tensors[ATTN_V] = tensor_of(v, 2 * 3 * DIM, 3 * DIM, DIM, 1);
    call.tensors[ATTN_SEQ_LENS].host = lens;
    return call;
}

/* Every bit is where the slices so far have put it. */
static void follow(unsigned char signs[2][2][3][DIM], const struct turn_slice *slice) {
    for (int64_t b = slice->b0; b < slice->b1; b++)
        for (int64_t t = 0; t < lens[b]; t++)
            for (int64_t d = slice->d0; d < slice->d1; d++) signs[b][slice->g][t][d] ^= 1;
}

Test(turn, changes_the_sign_of_columns_of_valid_tokens_of_a_head_and_back) {
    uint16_t v[2][2][3][DIM];
    unsigned char signs[2][2][3][DIM] = {0}, seen[2][2] = {0};
    struct turn turn;
    memset(v, 0x11, sizeof v);
    const struct attn_call call = dense_call(&v[0][0][0][0]);
    cr_assert(turn_begin(&turn, &device_cpu, &dense, &call));
    for (int n = 0; n < 100; n++) {
        const struct turn_slice slice = turn_next(&turn);
        cr_assert(slice.b1 == slice.b0 + 1 && slice.d0 >= 0 && slice.d0 < slice.d1);
        cr_assert(slice.b0 < 2 && slice.g < 2 && slice.d1 <= DIM);
        seen[slice.b0][slice.g] = 1;
        follow(signs, &slice);
        turn_touch(&turn); /* changes nothing */
        for (int at = 0; at < 2 * 2 * 3 * DIM; at++)
            cr_assert((&v[0][0][0][0])[at] == ((&signs[0][0][0][0])[at] ? 0x9111 : 0x1111));
        for (int64_t d = 0; d < DIM; d++)
            cr_assert(turn_is(&turn, slice.b0, slice.g, d) == signs[slice.b0][slice.g][0][d]);
    }
    cr_assert(seen[0][0] && seen[0][1] && seen[1][0] && seen[1][1]);
    cr_assert(turn.lines_bytes >= 3 * 64);
    turn_back(&turn);
    for (int at = 0; at < 2 * 2 * 3 * DIM; at++) cr_assert((&v[0][0][0][0])[at] == 0x1111);
    turn_end(&turn);
    turn_end(&turn);
}

Test(turn, draws_other_places_every_time) {
    uint16_t v[2][2][3][DIM] = {0};
    const struct attn_call call = dense_call(&v[0][0][0][0]);
    struct turn a, b;
    cr_assert(turn_begin(&a, &device_cpu, &dense, &call));
    cr_assert(turn_begin(&b, &device_cpu, &dense, &call));
    bool same = true;
    for (int n = 0; n < 20; n++) same &= turn_draw(&a, 1 << 30) == turn_draw(&b, 1 << 30);
    cr_assert(!same);
    turn_end(&a);
    turn_end(&b);
}

/* Three pages of two heads; sequence 0 has pages 2 and 0 and three tokens, sequence 1 page `other`
 * and two. */
static void turn_pages(uint16_t cache[3][2][2][PAGE][DIM], int32_t other, struct turn *turn) {
    static const int32_t first[] = {0, 2, 3}, last[] = {1, 2};
    static int32_t pages[3];
    static const struct attn_problem paged = {.dtype = ATTN_BF16,
                                              .traits = ATTN_PAGE,
                                              .batch = 2,
                                              .q_heads = 2,
                                              .kv_heads = 2,
                                              .q_len = 1,
                                              .kv_len = 3,
                                              .head_dim = DIM,
                                              .value_dim = DIM,
                                              .page_size = PAGE,
                                              .pages = 3};
    static struct attn_call call;
    memcpy(pages, (const int32_t[]){2, 0, other}, sizeof pages);
    call.tensors[ATTN_KV_CACHE] = tensor_of(cache, 4 * PAGE * DIM, 2 * PAGE * DIM, PAGE * DIM, DIM);
    call.tensors[ATTN_KV_PAGE_INDPTR].host = first;
    call.tensors[ATTN_KV_PAGE_INDICES].host = pages;
    call.tensors[ATTN_KV_LAST_PAGE_LEN].host = last;
    memset(cache, 0, sizeof(uint16_t) * 3 * 2 * 2 * PAGE * DIM);
    cr_assert(turn_begin(turn, &device_cpu, &paged, &call));
    for (int n = 0; n < 200; n++) turn_next(turn);
}

Test(turn, follows_the_table_of_pages) {
    uint16_t cache[3][2][2][PAGE][DIM];
    struct turn turn;
    turn_pages(cache, 1, &turn);
    cr_assert(!turn.whole);
    for (int64_t g = 0; g < 2; g++) {
        for (int64_t d = 0; d < DIM; d++) {
            const uint16_t ours = turn_is(&turn, 0, g, d) ? 0x8000 : 0;
            const uint16_t theirs = turn_is(&turn, 1, g, d) ? 0x8000 : 0;
            cr_assert(cache[2][1][g][0][d] == ours && cache[2][1][g][1][d] == ours);
            cr_assert(cache[0][1][g][0][d] == ours);
            cr_assert(cache[0][1][g][1][d] == 0, "the tail of a last page");
            cr_assert(cache[1][1][g][0][d] == theirs && cache[1][1][g][1][d] == theirs);
            for (int64_t page = 0; page < 3; page++)
                cr_assert(cache[page][0][g][0][d] == 0 && cache[page][0][g][1][d] == 0, "keys");
        }
    }
    turn_end(&turn);
}

Test(turn, turns_all_sequences_where_they_share_pages) {
    uint16_t cache[3][2][2][PAGE][DIM];
    struct turn turn;
    turn_pages(cache, 2, &turn);
    cr_assert(turn.whole);
    const struct turn_slice slice = turn_next(&turn);
    cr_assert(slice.b0 == 0 && slice.b1 == 2);
    for (int64_t page = 0; page < 3; page++) {
        for (int64_t d = 0; d < DIM; d++) {
            cr_assert(cache[page][1][1][1][d] == (turn_is(&turn, 0, 1, d) ? 0x8000 : 0));
            cr_assert(turn_is(&turn, 0, 1, d) == turn_is(&turn, 1, 1, d));
        }
    }
    turn_back(&turn);
    for (int64_t page = 0; page < 3; page++) cr_assert(cache[page][1][1][0][0] == 0);
    turn_end(&turn);
}

/* What a device copies between launches: of pages a head of all of them, of dense values a
 * sequence.
 */
Test(turn, blocks_are_rows_of_a_head_with_both_signs) {
    uint16_t cache[3][2][2][PAGE][DIM], plain[3][PAGE][DIM], negated[3][PAGE][DIM];
    struct turn turn;
    turn_pages(cache, 1, &turn);
    turn_back(&turn);
    const struct turn_block block = turn_block(&turn);
    cr_assert(block.slice.b0 == 0 && block.slice.b1 == 2 && block.slice.d1 == DIM);
    cr_assert(block.rows == 3 && block.width == sizeof plain[0]);
    cr_assert(block.pitch == sizeof cache[0]);
    cache[2][1][block.slice.g][1][3] = 0x3f80;
    turn_read(&turn, &block, (unsigned char *)plain, (unsigned char *)negated);
    cr_assert(plain[2][1][3] == 0x3f80 && negated[2][1][3] == 0xbf80 && plain[2][1][2] == 0);
    cr_assert(block.at == (size_t)((char *)cache[0][1][block.slice.g] - (char *)cache));
    turn_note(&turn, &block.slice);
    cr_assert(turn_is(&turn, 0, block.slice.g, 0) && turn_is(&turn, 1, block.slice.g, DIM - 1));
    cr_assert(!turn_is(&turn, 0, 1 - block.slice.g, 0));
    turn_end(&turn);

    uint16_t v[2][2][3][DIM] = {0};
    const struct attn_call call = dense_call(&v[0][0][0][0]);
    cr_assert(turn_begin(&turn, &device_cpu, &dense, &call));
    const struct turn_block own = turn_block(&turn);
    cr_assert(own.rows == 1 && own.slice.b1 == own.slice.b0 + 1);
    cr_assert(own.width == (size_t)lens[own.slice.b0] * DIM * sizeof(uint16_t));
    cr_assert(own.at == (size_t)((char *)v[own.slice.b0][own.slice.g] - (char *)v));
    turn_end(&turn);
}

/* Of E4M3 a bit is, of integers the number; -128 has no negative, and nothing is turned then. */
Test(turn, bytes_have_a_sign_of_their_kind) {
    static const unsigned char first[] = {0x00, 0x01, 0x7f, 0xff, 0x81, 0x38};
    static const unsigned char floats[] = {0x80, 0x81, 0xff, 0x7f, 0x01, 0xb8};
    static const unsigned char integers[] = {0x00, 0xff, 0x81, 0x01, 0x7f, 0xc8};
    const uint32_t all = ~0u, none = 0;
    unsigned char bytes[sizeof first];
    for (int of_floats = 0; of_floats < 2; of_floats++) {
        const enum attn_dtype dtype = of_floats ? ATTN_E4M3 : ATTN_I8;
        memcpy(bytes, first, sizeof bytes);
        turn_flip(bytes, sizeof bytes, dtype, &none);
        cr_assert(memcmp(bytes, first, sizeof bytes) == 0);
        turn_flip(bytes, sizeof bytes, dtype, &all);
        cr_assert(memcmp(bytes, of_floats ? floats : integers, sizeof bytes) == 0);
        turn_flip(bytes, sizeof bytes, dtype, &all);
        cr_assert(memcmp(bytes, first, sizeof bytes) == 0);
    }
    unsigned char v[2 * 2 * 3 * DIM] = {0};
    struct attn_call call = {0};
    call.tensors[ATTN_SEQ_LENS].host = lens;
    call.tensors[ATTN_V] = (struct attn_tensor){.data = v,
                                                .host = v,
                                                .dtype = ATTN_I8,
                                                .rank = 4,
                                                .shape = {2, 2, 3, DIM},
                                                .stride = {2 * 3 * DIM, 3 * DIM, DIM, 1}};
    struct turn turn;
    cr_assert(turn_begin(&turn, &device_cpu, &dense, &call));
    turn_end(&turn);
    v[7] = 0x80;
    cr_assert(!turn_begin(&turn, &device_cpu, &dense, &call));
    call.tensors[ATTN_V].dtype = ATTN_E4M3;
    cr_assert(turn_begin(&turn, &device_cpu, &dense, &call));
    turn_end(&turn);
}

/* Values that are the first half of their keys: what is turned of them is turned of the queries
 * that read them, too, and nothing of the other half. */
Test(turn, turns_q_with_keys_that_hold_the_values) {
    enum { WIDE = 2 * DIM };
    static const struct attn_problem shared = {.dtype = ATTN_F16,
                                               .traits = ATTN_DV | ATTN_KSHARED,
                                               .batch = 2,
                                               .q_heads = 4,
                                               .kv_heads = 2,
                                               .q_len = 1,
                                               .kv_len = 3,
                                               .head_dim = WIDE,
                                               .value_dim = DIM};
    uint16_t k[2][2][3][WIDE] = {0}, q[2][4][WIDE] = {0};
    struct attn_call call = {0};
    struct turn turn;
    call.tensors[ATTN_K] = tensor_of(k, 2 * 3 * WIDE, 3 * WIDE, WIDE, 1);
    call.tensors[ATTN_Q] = tensor_of(q, 4 * WIDE, WIDE, WIDE, 1);
    call.tensors[ATTN_SEQ_LENS].host = lens;
    cr_assert(turn_begin(&turn, &device_cpu, &shared, &call));
    for (int n = 0; n < 50; n++) turn_next(&turn);
    for (int at = 0; at < 2 * 2 * WIDE; at++) {
        const int64_t b = at / WIDE / 2, g = at / WIDE % 2, d = at % WIDE;
        const uint16_t sign = d < DIM && turn_is(&turn, b, g, d) ? 0x8000 : 0;
        for (int64_t t = 0; t < 3; t++) cr_assert(k[b][g][t][d] == (t < lens[b] ? sign : 0));
        cr_assert(q[b][2 * g][d] == sign && q[b][2 * g + 1][d] == sign);
    }
    turn_back(&turn);
    for (int at = 0; at < 2 * 2 * 3 * WIDE; at++) cr_assert((&k[0][0][0][0])[at] == 0);
    for (int at = 0; at < 2 * 4 * WIDE; at++) cr_assert((&q[0][0][0])[at] == 0);
    turn_end(&turn);
}

/* A "kernel" whose output is V of the first token, of which 0 and NaN have no sign to speak of. */
Test(turn, outputs_are_expected_to_follow_and_are_kept_as_if_they_had_not) {
    static const struct attn_problem one = {.dtype = ATTN_F16,
                                            .batch = 1,
                                            .q_heads = 2,
                                            .kv_heads = 1,
                                            .q_len = 1,
                                            .kv_len = 1,
                                            .head_dim = DIM,
                                            .value_dim = DIM};
    static const int64_t q_lens[] = {1};
    const uint16_t first[DIM] = {0x3c00, 0, 0x7e01, 0xc000};
    uint16_t v[DIM], out[2][DIM];
    struct attn_call call = {0};
    struct turn turn;
    memcpy(v, first, sizeof v);
    memcpy(out[0], v, sizeof v);
    memcpy(out[1], v, sizeof v);
    call.tensors[ATTN_V] = tensor_of(v, DIM, DIM, DIM, 1);
    cr_assert(turn_begin(&turn, &device_cpu, &one, &call));
    struct watch watch = {.device = &device_cpu,
                          .problem = &one,
                          .dtype = ATTN_F16,
                          .out = (unsigned char *)out,
                          .out_bytes = sizeof out,
                          .q_lens = q_lens,
                          .turn = &turn,
                          .here = true};
    cr_assert(watch_begin(&watch, 0x7dab, 0));
    for (int n = 1; n <= 50; n++) {
        watch_fill(&watch, 0);
        watch_turn(&watch);
        memcpy(out[0], v, sizeof v);
        memcpy(out[1], v, sizeof v);
        out[n % 2][1] = n % 3 ? 0x8000 : 0;
        out[n % 2][2] = n % 3 ? 0x7e00 : 0xfe02;
        watch_look(&watch, n);
        cr_assert(watch.differed == 0, "%d", n);
    }
    do {
        watch_turn(&watch);
    } while (!turn_is(&turn, 0, 0, 0));
    watch_fill(&watch, 0);
    memcpy(out[0], v, sizeof v);
    memcpy(out[1], first, sizeof v); /* what it was an age ago */
    watch_look(&watch, 51);
    cr_assert(watch.differed == 1 && watch.stale == 1 && watch.first == 51);
    uint16_t kept[2][DIM];
    memcpy(kept, watch.furthest, sizeof kept);
    cr_assert(kept[0][0] == 0x3c00 && kept[1][0] == 0xbc00);
    watch_fill(&watch, 0);
    memcpy(out[0], v, sizeof v);
    watch_look(&watch, 52); /* the second head is not written, and NaN is expected there too */
    cr_assert(watch.differed == 2 && watch.stale == 1);
    watch_end(&watch);
    turn_end(&turn);
}
