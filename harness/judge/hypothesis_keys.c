/* Which keys a row may have seen, whose, and where they may have been read. */
#include "hypothesis.h"
#include "search.h"

/* More candidates are not tried: each costs what a row costs. */
enum { CANDIDATES_MAX = 64 };

static int64_t at_most(int64_t count) {
    return count < CANDIDATES_MAX ? count : CANDIDATES_MAX;
}

static bool has(const struct course *course, uint64_t trait) {
    return (course->traits & trait) != 0;
}

static int64_t query_of(const struct course *course) {
    return course->answer->rows[course->row];
}

/* A list is of what its query may see: it alone decides, and places on the diagonal say nothing. */
static bool is_placed(const struct course *course, uint64_t trait) {
    return has(course, trait) && course->list == NULL;
}

/* It sees what the rules of its traits let a query see whose place on the diagonal is `place`, of a
 * sequence of so many tokens. */
static void see_from(struct course *course, int64_t place, int64_t tokens) {
    const struct attn_problem *problem = course->view->problem;
    const bool windowed = has(course, ATTN_WINDOW);
    const int64_t first = windowed ? place - problem->window_left : 0;
    int64_t end = windowed ? place + problem->window_right + 1 : tokens;
    if (has(course, ATTN_CAUSAL) && place + 1 < end) end = place + 1;
    course->first = first > 0 ? first : 0;
    course->end = end < tokens ? end : tokens;
}

/* The sequence has so many tokens. */
static void see_tokens(struct course *course, int64_t tokens) {
    course->end = tokens;
    if (course->view->problem->q_len == 1) see_from(course, tokens - 1, tokens);
}

static int64_t place_of(const struct course *course) {
    return rule_place(course->view, course->b, query_of(course));
}

/* 16, 32, 64, 128 */
static int64_t tiles(const struct rule_view *view) {
    (void)view;
    return 4;
}

/* Which keys */

static bool last_left_out(struct course *course) {
    if (has(course, ATTN_KEEP)) return false;
    course->end--;
    return course->end > 0;
}

static bool last_entry_left_out(struct course *course) {
    course->end--;
    return has(course, ATTN_KEEP) && course->end > 0;
}

static bool one_more(struct course *course) {
    course->end++;
    return course->list == NULL;
}

static bool first_left_out(struct course *course) {
    course->first++;
    return course->end > course->first;
}

static bool first_twice(struct course *course) {
    course->again = course->first;
    course->again_end = course->first + 1;
    return true;
}

static bool last_twice(struct course *course) {
    course->again = course->end - 1;
    course->again_end = course->end;
    return true;
}

static bool partial_tile_left_out(struct course *course) {
    const int64_t tile = 16 << (int)course->number, rest = course->end % tile;
    course->said[0] = (double)tile;
    course->end -= rest;
    return course->end > 0;
}

static bool last_tile_left_out(struct course *course) {
    const int64_t tile = 16 << (int)course->number;
    course->said[0] = (double)tile;
    course->end -= tile;
    return course->end > 0;
}

static bool first_tile_only(struct course *course) {
    const int64_t tile = 16 << (int)course->number;
    course->said[0] = (double)tile;
    if (course->end > course->first + tile) course->end = course->first + tile;
    return true;
}

static bool top_left(struct course *course) {
    see_from(course, query_of(course), rules_kv_len(course->view, course->b));
    return is_placed(course, ATTN_CAUSAL);
}

static bool not_causal(struct course *course) {
    course->end = rules_kv_len(course->view, course->b);
    return is_placed(course, ATTN_CAUSAL);
}

/* The window. */

static bool window_left_out(struct course *course) {
    const bool asked = has(course, ATTN_WINDOW);
    course->traits &= ~(uint64_t)ATTN_WINDOW;
    see_from(course, place_of(course), rules_kv_len(course->view, course->b));
    return asked;
}

static bool window_begins(struct course *course, int64_t earlier) {
    const int64_t first = place_of(course) - course->view->problem->window_left - earlier;
    course->first = first > 0 ? first : 0;
    return has(course, ATTN_WINDOW);
}

static bool window_key_more(struct course *course) {
    return window_begins(course, 1);
}

static bool window_key_fewer(struct course *course) {
    return window_begins(course, -1);
}

static bool window_ends(struct course *course, int64_t later) {
    const int64_t tokens = rules_kv_len(course->view, course->b);
    const int64_t end = place_of(course) + course->view->problem->window_right + 1 + later;
    course->end = end < tokens ? end : tokens;
    return has(course, ATTN_WINDOW) && !has(course, ATTN_CAUSAL) &&
           course->view->problem->q_len > 1;
}

static bool window_key_more_behind(struct course *course) {
    return window_ends(course, 1);
}

static bool window_key_fewer_behind(struct course *course) {
    return window_ends(course, -1);
}

static bool window_one_sided(struct course *course) {
    return window_ends(course, -course->view->problem->window_right);
}

static bool window_by_tiles(struct course *course) {
    const int64_t tile = 16 << (int)course->number;
    course->said[0] = (double)tile;
    course->first -= course->first % tile;
    return has(course, ATTN_WINDOW);
}

static bool window_top_left(struct course *course) {
    see_from(course, query_of(course), rules_kv_len(course->view, course->b));
    return has(course, ATTN_WINDOW);
}

static bool qlens_ignored(struct course *course) {
    const int64_t tokens = rules_kv_len(course->view, course->b);
    see_from(course, query_of(course) + tokens - course->view->problem->q_len, tokens);
    return has(course, ATTN_QLENS) && is_placed(course, ATTN_CAUSAL | ATTN_WINDOW);
}

static bool next_chunk(struct course *course) {
    course->end += rules_q_len(course->view, course->b);
    return has(course, ATTN_PAGE) && is_placed(course, ATTN_CAUSAL);
}

static bool causal_by_tiles(struct course *course) {
    const int64_t tile = 16 << (int)course->number, all = rules_kv_len(course->view, course->b);
    const int64_t end = (course->end + tile - 1) / tile * tile;
    course->said[0] = (double)tile;
    course->end = end < all ? end : all;
    return is_placed(course, ATTN_CAUSAL);
}

static bool causal_unasked(struct course *course) {
    const int64_t seen = place_of(course) + 1;
    if (seen < course->end) course->end = seen;
    return !has(course, ATTN_CAUSAL | ATTN_KEEP) && course->view->problem->q_len > 1 &&
           course->end > 0;
}

static bool causal_unasked_top_left(struct course *course) {
    if (query_of(course) + 1 < course->end) course->end = query_of(course) + 1;
    return !has(course, ATTN_CAUSAL | ATTN_KEEP) && course->view->problem->q_len > 1;
}

static bool lengths_ignored(struct course *course) {
    const int64_t room = course->view->problem->kv_len;
    if (!has(course, ATTN_RAGGED) || has(course, ATTN_KEEP)) return false;
    if (!has(course, ATTN_CAUSAL) || course->end == rules_kv_len(course->view, course->b))
        see_tokens(course, room);
    return true;
}

static int64_t sequences(const struct rule_view *view) {
    return at_most(view->problem->batch);
}

static int64_t other_sequences(const struct rule_view *view) {
    return at_most(view->problem->batch - 1);
}

static bool length_of_another(struct course *course) {
    const int64_t b = (int64_t)course->number;
    course->said[0] = course->number;
    see_tokens(course, rules_kv_len(course->view, b));
    return has(course, ATTN_RAGGED) && !has(course, ATTN_KEEP | ATTN_CAUSAL) && course->end > 0;
}

static bool length_of_before(struct course *course) {
    if (course->b > 0) see_tokens(course, rules_kv_len(course->view, course->b - 1));
    return has(course, ATTN_RAGGED) && !has(course, ATTN_KEEP | ATTN_CAUSAL) && course->end > 0;
}

static bool last_page_full(struct course *course) {
    const int64_t page = course->view->problem->page_size;
    if (!has(course, ATTN_PAGE) || has(course, ATTN_KEEP)) return false;
    see_tokens(course, (course->end + page - 1) / page * page);
    return true;
}

static bool list_ignored(struct course *course) {
    course->list = NULL;
    course->end = rules_span(course->view, course->b, query_of(course)).count;
    return has(course, ATTN_KEEP);
}

static bool list_of(struct course *course, int64_t h, int64_t i) {
    const struct rule_keys keys = rules_keys(course->view, course->b, h, i);
    course->list = keys.list;
    course->end = keys.count;
    return has(course, ATTN_KEEP) && keys.list != NULL;
}

static int64_t q_heads(const struct rule_view *view) {
    return at_most(view->problem->q_heads);
}

static int64_t other_q_heads(const struct rule_view *view) {
    return at_most(view->problem->q_heads - 1);
}

static int64_t kv_heads(const struct rule_view *view) {
    return at_most(view->problem->kv_heads);
}

static int64_t other_kv_heads(const struct rule_view *view) {
    return at_most(view->problem->kv_heads - 1);
}

static bool list_of_another(struct course *course) {
    course->said[0] = course->number;
    return !has(course, ATTN_KEEP_GROUP) &&
           list_of(course, (int64_t)course->number, query_of(course));
}

/* Of lists that heads share. */

static int64_t group_of(const struct course *course) {
    return course->view->problem->q_heads / course->view->problem->kv_heads;
}

static bool list_of_kv_head(struct course *course) {
    course->said[0] = course->number;
    return has(course, ATTN_KEEP_GROUP) &&
           list_of(course, (int64_t)course->number * group_of(course), query_of(course));
}

static bool list_of_further(struct course *course) {
    const int64_t step = (int64_t)course->number + 1, kv_heads = course->view->problem->kv_heads;
    course->said[0] = (double)step;
    return has(course, ATTN_KEEP_GROUP) &&
           list_of(course, (course->g + step) % kv_heads * group_of(course), query_of(course));
}

static bool list_modulo(struct course *course) {
    const int64_t kv_heads = course->view->problem->kv_heads;
    return has(course, ATTN_KEEP_GROUP) &&
           list_of(course, course->h % kv_heads * group_of(course), query_of(course));
}

/* And of several queries. */

static bool list_of_query(struct course *course, int64_t i) {
    const int64_t queries = rules_q_len(course->view, course->b);
    return queries > 1 && i < queries && list_of(course, course->h, i);
}

static bool list_of_query_before(struct course *course) {
    return list_of_query(course, query_of(course) > 0 ? query_of(course) - 1 : 0);
}

static bool list_of_query_behind(struct course *course) {
    const int64_t last = rules_q_len(course->view, course->b) - 1;
    return list_of_query(course, query_of(course) < last ? query_of(course) + 1 : last);
}

static bool list_of_first_query(struct course *course) {
    return list_of_query(course, 0);
}

static bool list_ascending(struct course *course) {
    for (int64_t n = 1; course->list != NULL && n < course->end; n++) {
        if (course->list[n] < course->list[n - 1]) course->end = n;
    }
    return has(course, ATTN_KEEP);
}

/* Whose keys and values */

static bool kv_head_modulo(struct course *course) {
    course->g = course->h % course->view->problem->kv_heads;
    return has(course, ATTN_GQA);
}

static bool kv_head_of_number(struct course *course) {
    course->g = (int64_t)course->number;
    course->said[0] = course->number;
    return true;
}

/* h / 2, 4, 8, 16 */
static int64_t groups(const struct rule_view *view) {
    (void)view;
    return 4;
}

static bool group_of_number(struct course *course) {
    const int64_t group = 2 << (int)course->number, g = course->h / group;
    course->said[0] = (double)group;
    course->g = g;
    return has(course, ATTN_GQA) && g < course->view->problem->kv_heads;
}

/* Sequence b begins b heads behind sequence 0. */
static bool kv_head_apart(struct course *course) {
    const int64_t kv_heads = course->view->problem->kv_heads, head = course->b + course->g;
    course->keys_b = head / kv_heads;
    course->g = head % kv_heads;
    return !has(course, ATTN_PAGE) && kv_heads > 1 && course->view->problem->batch > 1;
}

static bool keys_of_another(struct course *course) {
    course->keys_b = (int64_t)course->number;
    course->said[0] = course->number;
    return !has(course, ATTN_KEEP);
}

static bool keys_of_further(struct course *course) {
    const int64_t step = (int64_t)course->number + 1;
    course->keys_b = (course->b + step) % course->view->problem->batch;
    course->said[0] = (double)step;
    return !has(course, ATTN_KEEP);
}

static bool exchanged(struct course *course) {
    course->keys_of_values = course->values_of_keys = true;
    return !has(course, ATTN_KSHARED);
}

static bool values_of_keys(struct course *course) {
    course->values_of_keys = true;
    return !has(course, ATTN_KSHARED);
}

static int64_t row_before(const struct course *course, int64_t t) {
    (void)course;
    return t > 0 ? t - 1 : t;
}

static int64_t row_after(const struct course *course, int64_t t) {
    return t + 1 < rules_kv_len(course->view, course->keys_b) ? t + 1 : t;
}

static bool values_before(struct course *course) {
    course->value_of = row_before;
    return true;
}

static bool values_after(struct course *course) {
    course->value_of = row_after;
    return true;
}

static int64_t page_of_token_before(const struct course *course, int64_t t) {
    const int64_t page = course->view->problem->page_size;
    return t > 0 && t % page == 0 ? t - page : t;
}

static bool page_before(struct course *course) {
    course->key_of = course->value_of = page_of_token_before;
    return has(course, ATTN_PAGE);
}

static int64_t page_of_token_behind(const struct course *course, int64_t t) {
    const int64_t page = course->view->problem->page_size;
    const bool ends = t % page == page - 1 && t + 1 < rules_kv_len(course->view, course->keys_b);
    return ends ? t + page : t;
}

static bool page_behind(struct course *course) {
    course->key_of = course->value_of = page_of_token_behind;
    return has(course, ATTN_PAGE);
}

static bool heads_for_rows(struct course *course) {
    course->heads_for_rows = true;
    return has(course, ATTN_PAGE) && course->view->problem->kv_heads > 1 &&
           course->view->problem->page_size > 1;
}

static int64_t row_modulo(const struct course *course, int64_t t) {
    const int64_t page = course->view->problem->page_size;
    return t - t % page + t % page % course->size;
}

/* 128, 64, 32, 16 */
static bool page_of_number(struct course *course) {
    course->size = 128 >> (int)course->number;
    course->said[0] = (double)course->size;
    course->key_of = course->value_of = row_modulo;
    return has(course, ATTN_PAGE) && course->size < course->view->problem->page_size;
}

static int64_t token_modulo(const struct course *course, int64_t t) {
    return t % course->size;
}

static int64_t index_sizes(const struct rule_view *view) {
    (void)view;
    return 2;
}

/* 2^16, 2^15 */
static bool index_of_number(struct course *course) {
    course->size = 0x10000 >> (int)course->number;
    course->said[0] = (double)course->size;
    course->key_of = course->value_of = token_modulo;
    return course->view->problem->kv_len > course->size;
}

/* Tiles `number` and the next one in each other's place. */
static int64_t swapped(const struct course *course, int64_t t) {
    const int64_t tile = t / course->size - (int64_t)course->number;
    return tile == 0 ? t + course->size : tile == 1 ? t - course->size : t;
}

static bool values_swapped(struct course *course) {
    if (course->size == 0) course->size = course->view->problem->page_size;
    if (course->size == 0 || course->list != NULL) return false;
    course->value_of = swapped;
    course->said[0] = course->number;
    course->said[1] = course->number + 1;
    /* A row without them is as it should be. */
    if (course->end < (course->number + 2) * (double)course->size) course->value_of = NULL;
    return true;
}

/* Whose row */

static bool of_q_head(struct course *course) {
    course->of_b = course->b;
    course->of_h = (course->h + 1 + (int64_t)course->number) % course->answer->q_heads;
    course->said[0] = course->number + 1;
    return course->of_h != course->h;
}

static bool of_sequence(struct course *course) {
    course->of_b = (course->b + 1 + (int64_t)course->number) % course->answer->batch;
    course->of_h = course->h;
    course->said[0] = course->number + 1;
    return course->of_b != course->b;
}

static bool of_query(struct course *course, int64_t step) {
    const struct answer *answer = course->answer;
    const int64_t row = course->row + step;
    course->of_b = course->b;
    course->of_h = course->h;
    if (row < 0 || row >= answer->row_count) return false;
    const bool next = answer->rows[row] == answer->rows[course->row] + step;
    course->row = row;
    return next;
}

static bool of_query_before(struct course *course) {
    return of_query(course, -1);
}

static bool of_query_after(struct course *course) {
    return of_query(course, 1);
}

static bool query_modulo(struct course *course) {
    const int64_t tile = 16 << (int)course->number;
    course->query %= tile;
    course->said[0] = (double)tile;
    return course->view->problem->q_len > tile;
}

static bool query_behind(struct course *course) {
    course->query++;
    return course->query < course->view->problem->q_len;
}

static bool values_as_wide(struct course *course) {
    const struct attn_problem *problem = course->view->problem;
    course->values_as_wide = true;
    return problem->traits & ATTN_DV && !(problem->traits & ATTN_KSHARED);
}

static bool values_of_tails(struct course *course) {
    const struct attn_problem *problem = course->view->problem;
    course->value_from = problem->head_dim - problem->value_dim;
    return problem->traits & ATTN_KSHARED && course->value_from > 0;
}

static bool written_to(struct course *course, int64_t columns) {
    course->written = columns;
    course->said[0] = (double)columns;
    return columns > 0 && columns < course->answer->value_dim;
}

static bool written_as_keys(struct course *course) {
    return written_to(course, course->view->problem->head_dim);
}

static bool written_by_tiles(struct course *course) {
    const int64_t tile = 16 << (int)course->number;
    return written_to(course, course->answer->value_dim / tile * tile);
}

static bool halves_exchanged(struct course *course) {
    course->turn = course->answer->value_dim / 2;
    return course->answer->value_dim % 2 == 0;
}

const struct hypothesis hypotheses_of_keys[] = {
    {"the window were left out", OF_BOTH, 0, NULL, NULL, window_left_out},
    {"the window began one key earlier", OF_BOTH, 0, NULL, NULL, window_key_more},
    {"the window began one key later", OF_BOTH, 0, NULL, NULL, window_key_fewer},
    {"the window ended one key later", OF_BOTH, 0, NULL, NULL, window_key_more_behind},
    {"the window ended one key earlier", OF_BOTH, 0, NULL, NULL, window_key_fewer_behind},
    {"the window ended with the query's own key", OF_BOTH, 0, NULL, NULL, window_one_sided},
    {"the window's first tile of %1$.0f keys were seen whole", OF_BOTH, 0, tiles, NULL,
     window_by_tiles},
    {"the window were aligned to the top left, not to the bottom right", OF_BOTH, 0, NULL, NULL,
     window_top_left},
    {"a query saw one key fewer, the last left out", OF_BOTH, 0, NULL, NULL, last_left_out},
    {"the last entry of the kept list were left out", OF_BOTH, 0, NULL, NULL, last_entry_left_out},
    {"a query saw one key more, the one after its last", OF_BOTH, 0, NULL, NULL, one_more},
    {"the first key were left out", OF_BOTH, 0, NULL, NULL, first_left_out},
    {"the first key were counted twice", OF_BOTH, 0, NULL, NULL, first_twice},
    {"the last key were counted twice", OF_BOTH, 0, NULL, NULL, last_twice},
    {"the causal mask were aligned to the top left, not to the bottom right", OF_BOTH, 0, NULL,
     NULL, top_left},
    {"a sequence asked as many queries as there is room for, its diagonal shifted by that", OF_BOTH,
     0, NULL, NULL, qlens_ignored},
    {"a query saw the keys of the next chunk, too, as many as there are queries", OF_BOTH, 0, NULL,
     NULL, next_chunk},
    {"the causal mask were left out", OF_BOTH, 0, NULL, NULL, not_causal},
    {"the causal mask were left out in the tile of %1$.0f keys that it cuts", OF_BOTH, 0, tiles,
     NULL, causal_by_tiles},
    {"it were causal, which is not asked", OF_BOTH, 0, NULL, NULL, causal_unasked},
    {"it were causal from the top left, which is not asked", OF_BOTH, 0, NULL, NULL,
     causal_unasked_top_left},
    {"the keys that do not fill a tile of %1$.0f at the end were left out", OF_BOTH, 0, tiles, NULL,
     partial_tile_left_out},
    {"the last %1$.0f keys were left out", OF_BOTH, 0, tiles, NULL, last_tile_left_out},
    {"only the first %1$.0f keys were seen", OF_BOTH, 0, tiles, NULL, first_tile_only},
    {"lengths were ignored and all room for keys seen", OF_BOTH, 0, NULL, NULL, lengths_ignored},
    {"all sequences had the length of sequence %1$.0f", OF_BOTH, 0, sequences, NULL,
     length_of_another},
    {"a sequence had the length of the one before", OF_BOTH, 0, NULL, NULL, length_of_before},
    {"the last page of a sequence were full", OF_BOTH, 0, NULL, NULL, last_page_full},
    {"the kept list were ignored and all keys seen", OF_BOTH, 0, NULL, NULL, list_ignored},
    {"a kept list ended where it does not ascend", OF_BOTH, 0, NULL, NULL, list_ascending},
    {"it used the kept list of query head %1$.0f", OF_BOTH, 0, q_heads, NULL, list_of_another},
    {"query head h used the kept list of kv head h %% Hkv, not h / (Hq / Hkv)", OF_BOTH, 0, NULL,
     NULL, list_modulo},
    {"it used the kept list of the kv head %1$.0f further", OF_BOTH, 0, other_kv_heads, NULL,
     list_of_further},
    {"it used the kept list of kv head %1$.0f", OF_BOTH, 0, kv_heads, NULL, list_of_kv_head},
    {"it used the kept list of the query before", OF_BOTH, 0, NULL, NULL, list_of_query_before},
    {"it used the kept list of the query behind", OF_BOTH, 0, NULL, NULL, list_of_query_behind},
    {"it used the kept list of the first query", OF_BOTH, 0, NULL, NULL, list_of_first_query},
    {"query head h read kv head h %% Hkv, not h / (Hq / Hkv)", OF_BOTH, 0, NULL, NULL,
     kv_head_modulo},
    {"it read kv head %1$.0f", OF_BOTH, 0, kv_heads, NULL, kv_head_of_number},
    {"query head h read kv head h / %1$.0f, not h / (Hq / Hkv)", OF_BOTH, 0, groups, NULL,
     group_of_number},
    {"sequences were one kv head apart", OF_BOTH, 0, NULL, NULL, kv_head_apart},
    {"it read the keys and values of sequence %1$.0f", OF_BOTH, 0, sequences, NULL,
     keys_of_another},
    {"it read the keys and values of the sequence %1$.0f further", OF_BOTH, 0, other_sequences,
     NULL, keys_of_further},
    {"keys and values were exchanged", OF_BOTH, 0, NULL, NULL, exchanged},
    {"values were read from the keys", OF_OUT, 0, NULL, NULL, values_of_keys},
    {"the first token of a page were read from the page before", OF_BOTH, 0, NULL, NULL,
     page_before},
    {"the last token of a page were read from the page behind", OF_BOTH, 0, NULL, NULL,
     page_behind},
    {"rows and heads of a page were taken for each other", OF_BOTH, 0, NULL, NULL, heads_for_rows},
    {"a token's row in its page were taken modulo %1$.0f", OF_BOTH, 0, tiles, NULL, page_of_number},
    {"tokens from %1$.0f on were read from 0 again", OF_BOTH, 0, index_sizes, NULL,
     index_of_number},
    {"the values of pages %1$.0f and %2$.0f were swapped", OF_OUT, 0, NULL, search_swapped,
     values_swapped},
    {"the values of tiles %1$.0f and %2$.0f of 64 keys were swapped", OF_OUT, 64, NULL,
     search_swapped, values_swapped},
    {"the value of key j were read from the row before", OF_OUT, 0, NULL, NULL, values_before},
    {"the value of key j were read from the row behind", OF_OUT, 0, NULL, NULL, values_after},
    {"it wrote the row of the query head %1$.0f further", OF_BOTH, 0, other_q_heads, NULL,
     of_q_head},
    {"it wrote the row of the sequence %1$.0f further", OF_BOTH, 0, other_sequences, NULL,
     of_sequence},
    {"it wrote the row of the query before", OF_BOTH, 0, NULL, NULL, of_query_before},
    {"it wrote the row of the query behind", OF_BOTH, 0, NULL, NULL, of_query_after},
    {"query i had the q of query i modulo %1$.0f", OF_BOTH, 0, tiles, NULL, query_modulo},
    {"it had the q of the query behind", OF_BOTH, 0, NULL, NULL, query_behind},
    {"values had rows as long as those of keys", OF_OUT, 0, NULL, NULL, values_as_wide},
    {"values were the last elements of keys, not the first", OF_OUT, 0, NULL, NULL,
     values_of_tails},
    {"an output had %1$.0f columns, as a key has, and 0 behind", OF_OUT, 0, NULL, NULL,
     written_as_keys},
    {"columns from %1$.0f on were left out", OF_OUT, 0, tiles, NULL, written_by_tiles},
    {"columns d and d + Dv / 2 were exchanged", OF_OUT, 0, NULL, NULL, halves_exchanged},
    {NULL, 0, 0, NULL, NULL, NULL},
};
