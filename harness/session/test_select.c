#include "select.h"

#include <criterion/criterion.h>
#include <string.h>

static struct problem problem_of(const char *line) {
    struct problem problem;
    struct fault fault = {0};
    cr_assert(problem_parse(&problem, line, &fault), "%s", fault.text);
    return problem;
}

static bool holds(const char *argument, const char *line) {
    struct select_word word;
    struct fault fault = {0};
    const struct problem problem = problem_of(line);
    cr_assert(select_parse(&word, argument, &fault), "%s", fault.text);
    return select_holds(&word, 1, &problem);
}

static const char dense[] = "f16-b2-hq8-hkv2-q1-kv4096-d128-normal-seed3";
static const char paged[] = "bf16-b2-hq4-hkv4-kv300-d64-page64-lens300,20-uniform-seed1";

Test(select, sizes_compare_as_numbers) {
    cr_assert(holds("kv>=4096", dense));
    cr_assert(!holds("kv>4096", dense));
    cr_assert(holds("kv<10000", dense)); /* as text, 4096 is not below 10000 */
    cr_assert(holds("d=128", dense));
    cr_assert(holds("hq!=4", dense) && !holds("hq!=8", dense));
    cr_assert(holds("seed<=3", dense) && !holds("seed<3", dense));
    cr_assert(holds("gqa=4", dense) && holds("gqa=1", paged));
    cr_assert(holds("b>1", dense));
}

Test(select, names_compare_as_globs) {
    cr_assert(holds("variant=decode", dense) && !holds("variant=decode", paged));
    cr_assert(holds("variant=*paged", paged) && holds("variant!=*paged", dense));
    cr_assert(holds("dtype=bf16", paged) && !holds("dtype=bf16", dense));
    cr_assert(holds("data=uni*", paged));
}

Test(select, traits_are_0_or_1_and_page_is_its_size) {
    cr_assert(holds("ragged=1", paged) && holds("ragged=0", dense));
    cr_assert(holds("causal=0", paged) && holds("keep=0", paged));
    cr_assert(holds("page=64", paged) && holds("page=0", dense));
}

Test(select, all_words_must_hold) {
    struct select_word words[2];
    struct fault fault = {0};
    const struct problem problem = problem_of(dense);
    cr_assert(select_parse(&words[0], "d=128", &fault));
    cr_assert(select_parse(&words[1], "d=64", &fault));
    cr_assert(select_holds(words, 0, &problem));
    cr_assert(select_holds(words, 1, &problem));
    cr_assert(!select_holds(words, 2, &problem));
}

Test(select, what_it_does_not_understand_is_quoted_back) {
    static const struct {
        const char *argument, *expected;
    } wrong[] = {
        {"speed=3", "unknown field 'speed'"},
        {"kv=many", "'many' is not a number"},
        {"kv", "none of the operators"},
        {"dtype<f16", "takes = and != only"},
        {"kv=", "not FIELD=VALUE"},
        {"kv!4", "none of the operators"},
        {"kv=nan", "'nan' is not a number"},
        {"dtype=fp16", "no dtype is 'fp16', did you mean 'f16'"},
        {"dtype!=fp16", "did you mean 'f16'"},
        {"variant=decod", "did you mean 'decode'"},
        {"data=x*", "no data is 'x*'; expected one of normal"},
        {"casual=1", "unknown field 'casual', did you mean 'causal'"},
    };
    for (size_t n = 0; n < sizeof wrong / sizeof wrong[0]; n++) {
        struct select_word word;
        struct fault fault = {0};
        cr_assert(!select_parse(&word, wrong[n].argument, &fault), "%s", wrong[n].argument);
        cr_assert(fault.code == FAULT_INPUT);
        cr_assert(strstr(fault.text, wrong[n].expected) != NULL, "%s: %s", wrong[n].argument,
                  fault.text);
    }
}

Test(select, tells_what_is_meant_as_a_line_from_names_of_kernels) {
    static const char *const lines[] = {"f16-b1-nonsense", "fp16-b1-hq1-hkv1-q1-kv7-d8", "d64",
                                        "b1-f16-d64", "F16-KV7-d8"};
    static const char *const others[] = {
        "decode_flash_r1",   "decode-flash-r1", "decode_[a-d64]*", "smoke",  "/tmp/f16-kv7-d8",
        "decode_f16-kv7_r1", "mine.h5",         "f16-kv7-d8.h5",   "cuda/*", ""};
    for (size_t n = 0; n < sizeof lines / sizeof lines[0]; n++)
        cr_assert(select_is_line(lines[n]), "%s", lines[n]);
    for (size_t n = 0; n < sizeof others / sizeof others[0]; n++)
        cr_assert(!select_is_line(others[n]), "%s", others[n]);
}

Test(select, knows_a_field_without_its_operator) {
    cr_assert(select_is_field("kv") && select_is_field("dtype") && select_is_field("causal"));
    cr_assert(!select_is_field("kv>=1") && !select_is_field("") && !select_is_field("smoke"));
}

Test(select, tells_words_from_kernels_and_lines) {
    cr_assert(select_is_word("kv>=4096") && select_is_word("dtype=f16"));
    cr_assert(!select_is_word("decode_*_r1") && !select_is_word(dense));
    cr_assert(!select_is_word("/tmp/a=b/decode_x_r1.so") && !select_is_word("a=1.H5"));
    cr_assert(select_is_file("mine.hdf5") && !select_is_file("h5") && !select_is_file(dense));
}
