/* A query sees the keys near its place on the diagonal: window_left before it, window_right behind.
 * A model's window of W keys, the query's own included, is window_left = W - 1. With kept lists
 * there is none: a list says itself what is seen. */
#include "../rule.h"

static void span(const struct rule_view *view, int64_t b, int64_t i, int64_t *first, int64_t *end) {
    const int64_t place = rule_place(view, b, i);
    const int64_t from = place - view->problem->window_left;
    const int64_t to = place + view->problem->window_right + 1;
    *first = from > *first ? from : *first;
    *end = to < *end ? to : *end;
}

const struct rule rule_window = {
    .trait = ATTN_WINDOW,
    .name = "window",
    .meaning = "query i sees keys i' - left to i' + right, i' = i + Skv - Sq",
    .words = "window127 or window127,16",
    .by_place = true,
    .span = span,
};
