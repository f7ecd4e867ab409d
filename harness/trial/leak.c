/* Which of what must not be read was. Under NaN and under another poison the output is not the
 * same; now all holds that other one, and one tensor NaN: a tensor that makes a difference was
 * read. Of its rows the first that does is found by halves: NaN from the beginning to there, the
 * other poison behind. (The other way round a second row that was read, and still held NaN, would
 * hide the first: NaN is what sums do not forget.) */
#include "trial_inside.h"
#include "../../oracle/clock.h"
#include "../../oracle/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct leak {
    struct trial *trial;
    enum poison poison;  /* the other one */
    unsigned char *base; /* the output with it everywhere */
    double deadline;
};

static bool launch(struct trial *trial) {
    trial->inputs = trial_digest_inputs(trial->fixture);
    return trial_call(trial);
}

static void poison_rows(struct leak *leak, enum attn_slot slot, int64_t first, int64_t last,
                        enum poison poison) {
    fixture_poison_rows(leak->trial->fixture, slot, first, last, poison, leak->trial->threads);
}

/* Whether the output is another than with no NaN at all. */
static bool differs(struct leak *leak, bool *well) {
    const struct trial *trial = leak->trial;
    *well = launch(leak->trial);
    return *well && !outputs_equal(&trial->outputs, leak->base, &trial->view, trial->writes_lse);
}

enum { UNKNOWN = -2 };

/* The first row of `slot`, all of which holds NaN, that makes the difference. UNKNOWN when there is
 * no time for it. */
static int64_t first_row(struct leak *leak, enum attn_slot slot) {
    int64_t first = -1, last = fixture_rows(leak->trial->fixture, slot), nan_to = last;
    bool well = true;
    while (first < last && well && clock_s() < leak->deadline) {
        const int64_t middle = first + (last - first) / 2;
        if (middle < nan_to)
            poison_rows(leak, slot, middle + 1, nan_to, leak->poison);
        else
            poison_rows(leak, slot, nan_to + 1, middle, POISON_NAN);
        nan_to = middle;
        if (differs(leak, &well))
            last = middle;
        else
            first = middle + 1;
    }
    return first == last && well ? first : UNKNOWN;
}

/* Words for a row */

static const char *why_hidden(const struct rule_view *view, int64_t b, int64_t t) {
    return t >= rules_kv_len(view, b)          ? "beyond the length"
           : view->problem->traits & ATTN_KEEP ? "on no list"
                                               : "which no query sees";
}

/* A page is the first sequence's that has it. */
static void describe_page(const struct rule_view *view, enum attn_slot slot, int64_t row,
                          char *text, size_t room) {
    const struct attn_problem *problem = view->problem;
    const int32_t *first = view->tensors[ATTN_KV_PAGE_INDPTR].data;
    const int32_t *pages = view->tensors[ATTN_KV_PAGE_INDICES].data;
    const int64_t at = row % problem->page_size, rest = row / problem->page_size;
    const int64_t g = rest % problem->kv_heads, half = rest / problem->kv_heads;
    const bool both = slot == ATTN_KV_CACHE; /* keys, then values in each page */
    const int64_t page = both ? half / 2 : half;
    const bool scale = slot == ATTN_K_SCALE || slot == ATTN_V_SCALE;
    const char *what = scale                                       ? slot_name(slot)
                       : slot == ATTN_K || (both && half % 2 == 0) ? "keys"
                                                                   : "values";
    for (int64_t b = 0; b < problem->batch; b++) {
        for (int32_t n = first[b]; n < first[b + 1]; n++) {
            if (pages[n] != page) continue;
            const int64_t t = (n - first[b]) * problem->page_size + at;
            snprintf(text, room, "%s of sequence %lld at token %lld, %s (page %lld, g=%lld)", what,
                     (long long)b, (long long)t, why_hidden(view, b, t), (long long)page,
                     (long long)g);
            return;
        }
    }
    snprintf(text, room, "%s in page %lld, which no sequence has (g=%lld, row %lld)", what,
             (long long)page, (long long)g, (long long)at);
}

static void describe_row(const struct trial *trial, enum attn_slot slot, int64_t row, char *text,
                         size_t room) {
    const struct rule_view *view = &trial->view;
    const struct attn_problem *problem = view->problem;
    if (row == UNKNOWN) {
        snprintf(text, room, "%s", slot_name(slot));
    } else if (row < 0 || row >= fixture_rows(trial->fixture, slot)) {
        snprintf(text, room, "what lies %s %s", row < 0 ? "before" : "behind", slot_name(slot));
    } else if (slot != ATTN_Q && problem->traits & ATTN_PAGE) {
        describe_page(view, slot, row, text, room);
    } else if (slot == ATTN_Q) {
        snprintf(text, room, "q of sequence %lld at i=%lld, beyond the length (h=%lld)",
                 (long long)(row / problem->q_len / problem->q_heads),
                 (long long)(row % problem->q_len),
                 (long long)(row / problem->q_len % problem->q_heads));
    } else {
        const int64_t t = row % problem->kv_len, head = row / problem->kv_len;
        const int64_t b = head / problem->kv_heads;
        snprintf(text, room, "%s of sequence %lld at token %lld, %s (g=%lld)", slot_name(slot),
                 (long long)b, (long long)t, why_hidden(view, b, t),
                 (long long)(head % problem->kv_heads));
    }
}

static void name_tensors(struct leak *leak) {
    static const enum attn_slot slots[] = {ATTN_Q,        ATTN_K,       ATTN_V,
                                           ATTN_KV_CACHE, ATTN_K_SCALE, ATTN_V_SCALE};
    struct trial *trial = leak->trial;
    char *text = trial->seen.leaked_where;
    const size_t room = sizeof trial->seen.leaked_where;
    bool well = true;
    for (size_t n = 0; n < sizeof slots / sizeof slots[0] && well; n++) {
        const size_t used = strlen(text);
        if (!fixture_has_rows(trial->fixture, slots[n])) continue;
        const int64_t rows = fixture_rows(trial->fixture, slots[n]);
        poison_rows(leak, slots[n], -1, rows, POISON_NAN);
        if (differs(leak, &well)) {
            snprintf(text + used, room - used, "%s", used > 0 ? "; " : "");
            describe_row(trial, slots[n], first_row(leak, slots[n]), text + strlen(text),
                         room - strlen(text));
        }
        poison_rows(leak, slots[n], -1, rows, leak->poison);
    }
    /* As the kernel has them, which the parent does not. */
    for (size_t n = 0; n < sizeof slots / sizeof slots[0] && well && trial_lays_out(trial); n++) {
        const size_t used = strlen(text);
        trial->nan_around = slots[n];
        if (differs(leak, &well))
            snprintf(text + used, room - used, "%swhat lies between rows of %s, or around it",
                     used > 0 ? "; " : "", slot_name(slots[n]));
    }
    trial->nan_around = ATTN_SLOT_COUNT;
}

/* Where it shows that what must not be read was. */
static void say_where(const struct leak *leak) {
    struct trial *trial = leak->trial;
    struct deviation_place at;
    char text[256];
    const int64_t rows = outputs_difference(&trial->outputs, trial->first, &trial->view, &at);
    if (at.b < 0) return;
    const bool lse = at.d < 0;
    char element[32] = "";
    if (!lse) snprintf(element, sizeof element, " d=%lld", (long long)at.d);
    snprintf(text, sizeof text,
             "%s differs first at b=%lld h=%lld i=%lld%s: %.9g where what must not be read holds "
             "NaN, %.9g where it holds %s; in %lld row%s",
             lse ? "lse" : "out", (long long)at.b, (long long)at.h, (long long)at.i, element,
             isnan(at.expected) ? (double)NAN : at.expected, isnan(at.got) ? (double)NAN : at.got,
             leak->poison == POISON_BIG ? "6e4" : "infinity", (long long)rows, rows > 1 ? "s" : "");
    if (lse) *strstr(text, "; in ") = '\0';
    trial->row->diagnosis = text_kept(text);
    const unsigned char *lse_now = leak->base, *out_now = lse_now + trial->outputs.lse_bytes;
    samples_keep_difference(
        trial->options->samples, &trial->view, &at, out_now, (const float *)(const void *)lse_now,
        trial->first + trial->outputs.lse_bytes, (const float *)(const void *)trial->first);
}

/* What is prepared, launched and finished here costs the row nothing: it has failed already. */
void trial_name_leak(struct trial *trial, enum poison poison) {
    const struct outputs *outputs = &trial->outputs;
    struct leak leak = {.trial = trial,
                        .poison = poison,
                        .base = malloc(outputs->out_bytes + outputs->lse_bytes + 1),
                        .deadline = clock_s() + trial->options->repeat_seconds};
    fixture_poison(trial->fixture, poison, trial->threads);
    trial->gaps = poison;
    if (leak.base != NULL && !trial->nondeterministic && launch(trial)) {
        outputs_copy(outputs, leak.base);
        say_where(&leak);
        name_tensors(&leak);
    }
    free(leak.base);
}
