/* Lines are put together from words and read back by problem_parse, so that what is drawn is what
 * anybody could have written. */
#include "fuzz.h"

#include <math.h>
#include <string.h>

/* SplitMix64. */
struct dice {
    uint64_t state;
};

static uint64_t roll(struct dice *dice) {
    uint64_t z = dice->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* 0..sides-1 */
static int64_t below(struct dice *dice, int64_t sides) {
    return (int64_t)(roll(dice) % (uint64_t)sides);
}

static bool one_in(struct dice *dice, int64_t sides) {
    return below(dice, sides) == 0;
}

#define PICK(dice, array) (array)[below(dice, (int64_t)(sizeof(array) / sizeof *(array)))]

/* 1..most, the better of two draws among the octaves; half of the time next to a power of two,
 * where blocks end. */
static int64_t pick_length(struct dice *dice, int64_t most) {
    int octaves = 0;
    while (most >> octaves > 1) octaves++;
    const int64_t one = below(dice, octaves + 1), other = below(dice, octaves + 1);
    const int64_t power = (int64_t)1 << (one > other ? one : other);
    int64_t length = one_in(dice, 2) ? power + below(dice, 3) - 1 : power + below(dice, power);
    if (length < 1) length = 1;
    return length < most ? length : most;
}

/* A sequence's valid tokens: nothing, one, around a page's end, all, or any. */
static int64_t pick_valid(struct dice *dice, int64_t most, int64_t page_size) {
    const int64_t edges[] = {0, 1, page_size - 1, page_size, page_size + 1, most, most - 1};
    const int64_t length = one_in(dice, 2) ? PICK(dice, edges) : below(dice, most + 1);
    return length < 0 ? 0 : length < most ? length : most;
}

struct text {
    char *to;
    size_t used;
};

static void add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const size_t room = 2 * PROBLEM_LINE_BYTES - text->used;
    const int length = vsnprintf(text->to + text->used, room, format, arguments);
    va_end(arguments);
    text->used += (size_t)length < room ? (size_t)length : room - 1;
}

static const uint64_t variant_traits[] = {
#define ATTN_X(symbol, name, traits) traits,
    ATTN_VARIANTS(ATTN_X)
#undef ATTN_X
};

static const char *const data_words[] = {
#define X(symbol, word, std, meaning) #word,
    PROBLEM_DATA(X)
#undef X
};

static void add_lens(struct text *text, struct dice *dice, int64_t batch, int64_t kv_len,
                     int64_t page_size) {
    if (one_in(dice, 2)) {
        add(text, "-ragged");
        return;
    }
    for (int64_t b = 0; b < batch; b++)
        add(text, "%s%lld", b == 0 ? "-lens" : ",",
            (long long)(b == 0 ? kv_len : pick_valid(dice, kv_len, page_size)));
}

static void add_qlens(struct text *text, struct dice *dice, int64_t batch, int64_t q_len) {
    if (one_in(dice, 2)) {
        add(text, "-qragged");
        return;
    }
    for (int64_t b = 0; b < batch; b++)
        add(text, "%s%lld", b == 0 ? "-qlens" : ",",
            (long long)(b == 0 ? q_len : pick_valid(dice, q_len, 1)));
}

static void add_keep(struct text *text, struct dice *dice, int64_t kv_len) {
    static const char *const probabilities[] = {"0.01", "0.1", "0.5", "0.9", "1.0"};
    if (one_in(dice, 2)) {
        add(text, "%s%s", one_in(dice, 4) ? "-keeptop" : "-keep", PICK(dice, probabilities));
    } else {
        const int64_t counts[] = {0, 1, kv_len, pick_length(dice, kv_len)};
        add(text, "%s%lld", one_in(dice, 4) ? "-keeptop" : "-keep", (long long)PICK(dice, counts));
    }
}

static void add_window(struct text *text, struct dice *dice, int64_t kv_len) {
    const int64_t widths[] = {0, 1, 15, 63, 64, 127, kv_len, pick_length(dice, kv_len + 1)};
    add(text, "-window%lld", (long long)PICK(dice, widths));
    if (one_in(dice, 2)) add(text, ",%lld", (long long)PICK(dice, widths));
}

/* A head dim: half of the time of those that there are. */
static int64_t pick_width(struct dice *dice) {
    return 1 + below(dice, one_in(dice, 2) ? 256 : PROBLEM_HEAD_DIM_MAX);
}

static void draw(struct text *text, struct dice *dice) {
    static const char *const dtypes[] = {"f16", "bf16", "f32"};
    static const int64_t head_dims[] = {64, 128, 64, 128, 1, 8, 16, 32, 80, 96, 192, 256, 576};
    static const int64_t groups[] = {1, 1, 2, 3, 4, 7, 8};
    static const int64_t page_sizes[] = {1, 2, 16, 61, 64, 256};
    static const char *const scales[] = {"0.01", "0.25", "1", "3"};
    static const char *const softcaps[] = {"0.5", "5", "30", "50"};
    static const char *const of_scales[] = {"", "head", "token"};
    static const char *const numbers[] = {"0.1", "0.5", "2"};
    static const char *const poisons[] = {"nan", "inf", "big"};

    const int variant = (int)below(dice, ATTN_VARIANT_COUNT);
    const uint64_t traits = variant_traits[variant];
    const bool is_prefill =
        variant == ATTN_PREFILL || variant == ATTN_PREFILL_VARLEN || variant == ATTN_PREFILL_PAGED;
    const bool has_lens = traits & ATTN_RAGGED || (variant == ATTN_DECODE && one_in(dice, 4));
    const bool has_qlens = has_lens && one_in(dice, is_prefill ? 2 : 16);
    const int64_t batch = 1 + below(dice, 4), kv_heads = 1 + below(dice, 3);
    const int64_t q_heads = kv_heads * PICK(dice, groups);
    const int64_t head_dim = one_in(dice, 4) ? pick_width(dice) : PICK(dice, head_dims);
    const bool has_lists = traits & ATTN_KEEP || (variant == ATTN_PREFILL_PAGED && one_in(dice, 4));
    const bool is_shared = one_in(dice, 8), has_dv = one_in(dice, is_shared ? 2 : 6);
    const int64_t value_dim = !has_dv           ? head_dim
                              : is_shared       ? 1 + below(dice, head_dim)
                              : one_in(dice, 2) ? pick_width(dice)
                                                : PICK(dice, head_dims);
    const int64_t page_size =
        traits & ATTN_PAGE ? one_in(dice, 4) ? 1 + below(dice, 300) : PICK(dice, page_sizes) : 1;
    const int64_t wider = head_dim > value_dim ? head_dim : value_dim;
    const int64_t rest = FUZZ_PRODUCTS_MAX / (batch * q_heads * wider);
    int64_t q_len = 1, kv_len = pick_length(dice, rest < 4096 ? rest : 4096);
    if (is_prefill) {
        kv_len = pick_length(dice, (int64_t)sqrt((double)rest));
        q_len = (variant == ATTN_PREFILL_VARLEN && !has_qlens) || one_in(dice, 2)
                    ? kv_len
                    : pick_length(dice, one_in(dice, 4) ? rest / kv_len : kv_len);
    }
    if (variant != ATTN_PREFILL_VARLEN && one_in(dice, 32)) kv_len = 0;

    add(text, "%s-b%lld-hq%lld-hkv%lld-q%lld-kv%lld-d%lld", PICK(dice, dtypes), (long long)batch,
        (long long)q_heads, (long long)kv_heads, (long long)q_len, (long long)kv_len,
        (long long)head_dim);
    if (has_dv) add(text, "-dv%lld", (long long)value_dim);
    if (is_shared) add(text, "-kshared");
    if (traits & ATTN_PAGE) {
        add(text, "-page%lld", (long long)page_size);
        if (one_in(dice, 4)) add(text, one_in(dice, 2) ? "-pagesordered" : "-pagesshared");
    }
    if (is_prefill && one_in(dice, 2)) add(text, "-causal");
    if (!has_lists && one_in(dice, 4)) add_window(text, dice, kv_len);
    if (has_lens) add_lens(text, dice, batch, kv_len, page_size);
    if (has_qlens) add_qlens(text, dice, batch, q_len);
    if (has_lists) add_keep(text, dice, kv_len);
    if (has_lists && !(traits & ATTN_MAGICPIG) && one_in(dice, 2)) add(text, "-keepgroup");
    if (traits & ATTN_MAGICPIG) add(text, "-magicpig");
    if (one_in(dice, 8)) add(text, "-scale%s", PICK(dice, scales));
    if (one_in(dice, 8)) add(text, "-softcap%s", PICK(dice, softcaps));
    if (one_in(dice, 4)) add(text, "-sinks");
    if (one_in(dice, 8)) add(text, "-alibi");
    if (!has_lists && one_in(dice, 8)) {
        add(text, "-bias");
        if (one_in(dice, 2))
            add(text, "%lld,%lld", (long long)(one_in(dice, 2) ? 1 : batch),
                (long long)(one_in(dice, 2) ? 1 : q_heads));
    }
    if (one_in(dice, 4))
        add(text, "-%s%s", one_in(dice, 2) ? "kve4m3" : "kvint8", PICK(dice, of_scales));
    if (one_in(dice, 8)) add(text, "-oute4m3");
    if (traits & ATTN_PAGE && one_in(dice, 4)) add(text, "-nhd");
    if (has_lens && one_in(dice, 4)) add(text, "-thd");
    if (one_in(dice, 4)) add(text, "-strided");
    const int data = (int)below(dice, one_in(dice, 2) ? DATA_FILE : DATA_PEAKED);
    add(text, "-%s", data_words[data]);
    if (data < DATA_PEAKED && one_in(dice, 2)) add(text, "%s", PICK(dice, numbers));
    if (one_in(dice, 4)) add(text, "-poison%s", PICK(dice, poisons));
    const int64_t rows = 1 + below(dice, q_len), seed = 1 + below(dice, 1000000);
    if (is_prefill && q_len > 2 && one_in(dice, 8)) add(text, "-rows%lld", (long long)rows);
    add(text, "-seed%lld", (long long)seed);
}

void fuzz_line(char line[PROBLEM_LINE_BYTES], uint64_t seed, uint64_t number) {
    struct dice dice = {seed};
    dice.state = roll(&dice) + number;
    struct problem problem;
    struct fault fault;
    bool legal;
    do {
        char words[2 * PROBLEM_LINE_BYTES];
        struct text text = {words, 0};
        draw(&text, &dice);
        legal = problem_parse(&problem, words, &fault);
    } while (!legal);
    problem_print(&problem, line);
}

int64_t fuzz_products(const struct problem *problem) {
    const struct attn_problem *attn = &problem->attn;
    const int64_t wider = attn->head_dim > attn->value_dim ? attn->head_dim : attn->value_dim;
    return attn->batch * attn->q_heads * attn->q_len * attn->kv_len * wider;
}

/* What a simpler neighbour is: each changes `problem` or leaves it as it is. Sizes come as a half
 * and as one less. */

static int64_t smaller(int64_t size, bool by_one) {
    if (size <= 1) return size;
    return by_one ? size - 1 : size / 2;
}

static void shrink_batch(struct problem *problem, bool by_one) {
    problem->attn.batch = smaller(problem->attn.batch, by_one);
    if (problem->lens_count > 0) problem->lens_count = problem->attn.batch;
    if (problem->q_lens_count > 0) problem->q_lens_count = problem->attn.batch;
}
static void shrink_kv_heads(struct problem *problem, bool by_one) {
    const int64_t group = problem->attn.q_heads / problem->attn.kv_heads;
    problem->attn.kv_heads = smaller(problem->attn.kv_heads, by_one);
    problem->attn.q_heads = group * problem->attn.kv_heads;
}
static void shrink_group(struct problem *problem, bool by_one) {
    const int64_t group = problem->attn.q_heads / problem->attn.kv_heads;
    problem->attn.q_heads = smaller(group, by_one) * problem->attn.kv_heads;
}
static void shrink_head_dim(struct problem *problem, bool by_one) {
    problem->attn.head_dim = smaller(problem->attn.head_dim, by_one);
}
static void shrink_value_dim(struct problem *problem, bool by_one) {
    problem->attn.value_dim = smaller(problem->attn.value_dim, by_one);
}
static void shrink_page(struct problem *problem, bool by_one) {
    problem->attn.page_size = smaller(problem->attn.page_size, by_one);
}

static void clamp_to(int64_t *value, int64_t most) {
    if (*value > most) *value = most;
}

static void shrink_kv_len(struct problem *problem, bool by_one) {
    struct attn_problem *attn = &problem->attn;
    attn->kv_len = smaller(attn->kv_len, by_one);
    if (attn->variant == ATTN_PREFILL_VARLEN && !(attn->traits & ATTN_QLENS))
        attn->q_len = attn->kv_len;
    for (int64_t b = 0; b < problem->lens_count; b++) clamp_to(&problem->lens[b], attn->kv_len);
    clamp_to(&problem->keep_count, attn->kv_len);
    clamp_to(&problem->rows, attn->q_len);
}
static void shrink_q_len(struct problem *problem, bool by_one) {
    if (problem->attn.variant == ATTN_PREFILL_VARLEN && !(problem->attn.traits & ATTN_QLENS))
        return;
    problem->attn.q_len = smaller(problem->attn.q_len, by_one);
    for (int64_t b = 0; b < problem->q_lens_count; b++)
        clamp_to(&problem->q_lens[b], problem->attn.q_len);
    clamp_to(&problem->rows, problem->attn.q_len);
}
static void shrink_keep(struct problem *problem, bool by_one) {
    problem->keep_count = smaller(problem->keep_count, by_one);
}
static void plain_lists(struct problem *problem, bool by_one) {
    (void)by_one;
    problem->keep_top = false;
}
static void plain_data(struct problem *problem, bool by_one) {
    (void)by_one;
    problem->data = DATA_NORMAL;
    problem->data_number = 1;
}
static void plain_scale(struct problem *problem, bool by_one) {
    (void)by_one;
    problem->scale_given = false;
}
static void plain_poison(struct problem *problem, bool by_one) {
    (void)by_one;
    problem->poison = POISON_NONE;
}
static void plain_pages(struct problem *problem, bool by_one) {
    (void)by_one;
    problem->pages_ordered = problem->attn.traits & ATTN_PAGE;
    problem->pages_shared = false;
}
static void plain_qlens(struct problem *problem, bool by_one) {
    (void)by_one;
    problem->attn.traits &= ~(uint64_t)ATTN_QLENS;
    problem->q_ragged_drawn = false;
    problem->q_lens_count = 0;
}
static void plain_rows(struct problem *problem, bool by_one) {
    (void)by_one;
    problem->rows = 0;
}
static void plain_seed(struct problem *problem, bool by_one) {
    (void)by_one;
    problem->seed = 1;
}

static const struct {
    void (*make)(struct problem *problem, bool by_one); /* or NULL: */
    uint64_t without;                                   /* traits that nothing else hangs on */
} simplifications[] = {
    {shrink_batch, 0},
    {shrink_kv_heads, 0},
    {shrink_group, 0},
    {shrink_kv_len, 0},
    {shrink_q_len, 0},
    {shrink_head_dim, 0},
    {shrink_page, 0},
    {shrink_keep, 0},
    {plain_data, 0},
    {plain_scale, 0},
    {plain_poison, 0},
    {plain_pages, 0},
    {NULL, ATTN_CAUSAL},
    {NULL, ATTN_KEEP_GROUP},
    {plain_lists, 0},
    {NULL, ATTN_WINDOW},
    {plain_rows, 0},
    {NULL, ATTN_SOFTCAP},
    {NULL, ATTN_SINK},
    {plain_qlens, 0},
    {NULL, ATTN_ALIBI},
    {NULL, ATTN_BIASED},
    {shrink_value_dim, 0},
    {NULL, ATTN_DV},
    {NULL, ATTN_KSHARED},
    {NULL, ATTN_KV_HEAD | ATTN_KV_TOKEN},
    {NULL, ATTN_KV_E4M3 | ATTN_KV_INT8 | ATTN_KV_HEAD | ATTN_KV_TOKEN},
    {NULL, ATTN_OUT_E4M3},
    {NULL, ATTN_NHD},
    {NULL, ATTN_THD},
    {NULL, ATTN_STRIDED},
    {plain_seed, 0},
};
enum { SIMPLIFICATIONS = sizeof simplifications / sizeof simplifications[0] };

void fuzz_shrink(char line[PROBLEM_LINE_BYTES], bool (*fails)(const char *line, void *context),
                 void *context, int budget) {
    for (int untouched = 0; untouched < 2 * SIMPLIFICATIONS;) {
        for (int n = 0; n < 2 * SIMPLIFICATIONS && untouched < 2 * SIMPLIFICATIONS; n++) {
            struct problem problem;
            struct fault fault;
            char simpler[PROBLEM_LINE_BYTES];
            if (!problem_parse(&problem, line, &fault)) return;
            const bool of_b = problem.attn.bias_batch > 1, of_h = problem.attn.bias_heads > 1;
            problem.attn.traits &= ~simplifications[n / 2].without;
            if (simplifications[n / 2].make) simplifications[n / 2].make(&problem, n % 2 == 1);
            problem.attn.bias_batch = of_b ? problem.attn.batch : 1;
            problem.attn.bias_heads = of_h ? problem.attn.q_heads : 1;
            problem_print(&problem, simpler);
            untouched++;
            /* Not every neighbour is legal. */
            if (strcmp(simpler, line) == 0 || !problem_parse(&problem, simpler, &fault)) continue;
            if (budget-- == 0) return;
            if (!fails(simpler, context)) continue;
            snprintf(line, PROBLEM_LINE_BYTES, "%s", simpler);
            untouched = 0;
        }
    }
}
