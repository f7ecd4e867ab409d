/* What samples leave, on a device whose memory is memory. */
#include "watch.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* Two sequences of a head: two rows of two elements, of which the second sequence has one. */
static const struct attn_problem problem = {
    .dtype = ATTN_F32, .batch = 2, .q_heads = 1, .q_len = 2, .head_dim = 2, .value_dim = 2};
static const int64_t q_lens[] = {2, 1};
static const uint32_t unwritten = 0x7fabcdef;

static void fill_and_write(struct watch *watch, float *out, const float *written, int64_t sample) {
    watch_fill(watch, 1e9);
    for (int n = 0; n < 8; n++) {
        uint32_t word;
        memcpy(&word, &out[n], sizeof word);
        cr_assert(word == unwritten, "%d", n);
    }
    memcpy(out, written, 8 * sizeof *out);
    watch_look(watch, sample);
}

Test(watch, keeps_the_furthest_of_the_outputs_that_differ_where_they_count) {
    static const bool here[] = {true, false};
    for (int n = 0; n < 2; n++) {
        float out[8] = {1, 2, 3, 4, 5, 6, 7, 8};
        const float right[8] = {1, 2, 3, 4, 5, 6, 0, 0}, near[8] = {1, 2, 3, 4.5F, 5, 6, 7, 8},
                    far[8] = {1, 2, 3, 4, 5, 9, 7, 8}, lost[8] = {1, NAN, 3, 4, 5, 6, 7, 8};
        struct watch watch = {.device = &device_cpu,
                              .problem = &problem,
                              .dtype = ATTN_F32,
                              .out = (unsigned char *)out,
                              .out_bytes = sizeof out,
                              .q_lens = q_lens,
                              .here = here[n]};
        cr_assert(watch_begin(&watch, unwritten, unwritten));
        fill_and_write(&watch, out, right, 1);
        cr_assert(watch.differed == 0);
        fill_and_write(&watch, out, near, 2);
        fill_and_write(&watch, out, far, 3);
        fill_and_write(&watch, out, near, 4);
        cr_assert(watch.looked == 4 && watch.differed == 3 && watch.first == 2);
        cr_assert(watch.distance == 3 && !memcmp(watch.furthest, far, sizeof far));
        fill_and_write(&watch, out, lost, 5);
        cr_assert(isinf(watch.distance) && !memcmp(watch.furthest, lost, sizeof lost));
        cr_assert(watch.bare == 0);
        watch_fill(&watch, INFINITY);
        watch_look(&watch, 6);
        cr_assert(watch.differed == 5 && watch.bare == 1);
        float blank, unread[8];
        memcpy(&blank, &unwritten, sizeof blank);
        memcpy(unread, near, sizeof unread);
        unread[6] = unread[7] = blank; /* beyond the rows that count */
        fill_and_write(&watch, out, unread, 7);
        cr_assert(watch.differed == 6 && watch.bare == 1);
        unread[2] = blank;
        fill_and_write(&watch, out, unread, 8);
        cr_assert(watch.differed == 7 && watch.bare == 2);
        watch_end(&watch);
        watch_end(&watch);
    }
}

Test(watch, fetches_no_longer_than_half_the_time) {
    float out[8] = {0};
    struct watch watch = {.device = &device_cpu,
                          .problem = &problem,
                          .dtype = ATTN_F32,
                          .out = (unsigned char *)out,
                          .out_bytes = sizeof out,
                          .q_lens = q_lens};
    cr_assert(watch_begin(&watch, unwritten, unwritten));
    watch.spent_s = 1;
    watch_fill(&watch, 1.5);
    watch_look(&watch, 1);
    cr_assert(watch.looked == 0 && out[0] == 0);
    watch_fill(&watch, 2.5);
    watch_look(&watch, 2);
    cr_assert(watch.looked == 1 && watch.differed == 1 && watch.first == 2);
    watch_end(&watch);
}

/* 0xff is unwritten, and another NaN than 0x7f; 0x80 is -0. */
Test(watch, looks_at_outputs_of_8_bits_byte_by_byte) {
    uint8_t out[8] = {0x38, 0x00, 0x7f, 0x40, 0x30, 0x31, 0x32, 0x33};
    const uint8_t alike[8] = {0x38, 0x80, 0x7f, 0x40, 0x30, 0x31, 0, 0};
    const uint8_t off[8] = {0x38, 0x00, 0x7f, 0x42, 0x30, 0x31, 0x32, 0x33};
    const uint8_t negated[8] = {0xb8, 0x00, 0x7f, 0xc0, 0x30, 0x31, 0x32, 0x33};
    struct watch watch = {.device = &device_cpu,
                          .problem = &problem,
                          .dtype = ATTN_E4M3,
                          .out = out,
                          .out_bytes = sizeof out,
                          .q_lens = q_lens,
                          .here = true};
    cr_assert(watch_begin(&watch, 0xff, unwritten));
    const uint8_t *const written[] = {alike, off, negated};
    for (int n = 0; n < 3; n++) {
        watch_fill(&watch, 0);
        for (int at = 0; at < 8; at++) cr_assert(out[at] == 0xff);
        memcpy(out, written[n], sizeof out);
        watch_look(&watch, n + 1);
        cr_assert(watch.differed == n, "%d", n);
    }
    cr_assert(watch.first == 2 && watch.stale == 1 && watch.bare == 0 && watch.distance == 4);
    watch_fill(&watch, 0);
    memcpy(out, alike, 4);
    watch_look(&watch, 4); /* the second sequence's is as it was filled */
    cr_assert(watch.differed == 3 && watch.bare == 1 && isinf(watch.distance));
    watch_end(&watch);
}
