/* Words that pick problems by what their line says: variant=decode_paged dtype=bf16 kv>=4096.
 * Fields: variant dtype b hq hkv q kv d page gqa keep data seed and the traits as causal=1;
 * operators = != < <= > >=; a text value may be a glob. All words must hold. */
#ifndef ATTEST_SELECT_H
#define ATTEST_SELECT_H

#include "../../fixtures/problem.h"

struct select_word {
    char field[24], operator[3], value[64];
};
/* The nth field's name; NULL behind the last. */
const char *select_field(int64_t n);
bool select_is_word(const char *argument);
/* Whether it is called as fixtures are: .h5. Then it is neither a word nor a line. */
bool select_is_file(const char *argument);
/* Whether an argument is meant as a problem's line: it is one, or it begins with a dtype or has one
 * of its sizes ("-kv7") and nothing that lines cannot have. */
bool select_is_line(const char *argument);
/* Whether a word could begin with this: what a shell leaves of an unquoted kv>=4096. */
bool select_is_field(const char *argument);
/* A field that there is not, a name that none of its values has and what is no number are
 * FAULT_INPUT, with what may have been meant. */
bool select_parse(struct select_word *word, const char *argument, struct fault *fault);
bool select_holds(const struct select_word *words, int64_t count, const struct problem *problem);

#endif
