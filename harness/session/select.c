/* Selection words: a field, an operator, a value. */
#include "select.h"
#include "../../oracle/nearest.h"
#include "../../oracle/rule.h"

#include <ctype.h>
#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const operators[] = {"!=", "<=", ">=", "=", "<", ">"}; /* long ones first */
enum { OPERATOR_COUNT = sizeof operators / sizeof operators[0] };

static const struct {
    const char *name;
    size_t offset;
} sizes[] = {
    {"b", offsetof(struct problem, attn.batch)},
    {"hq", offsetof(struct problem, attn.q_heads)},
    {"hkv", offsetof(struct problem, attn.kv_heads)},
    {"q", offsetof(struct problem, attn.q_len)},
    {"kv", offsetof(struct problem, attn.kv_len)},
    {"d", offsetof(struct problem, attn.head_dim)},
    {"dv", offsetof(struct problem, attn.value_dim)},
    {"page", offsetof(struct problem, attn.page_size)},
    {"seed", offsetof(struct problem, seed)},
};
enum { SIZE_COUNT = sizeof sizes / sizeof sizes[0] };

const char *select_field(int64_t n) {
    static const char *const texts[] = {"variant", "dtype", "data"};
    enum { TEXT_COUNT = sizeof texts / sizeof texts[0] };
    if (n < TEXT_COUNT) return texts[n];
    if ((n -= TEXT_COUNT) < SIZE_COUNT) return sizes[n].name;
    n -= SIZE_COUNT;
    for (const struct rule *const *rule = rules; *rule != NULL; rule++) {
        if ((*rule)->trait != ATTN_PAGE && n-- == 0) return (*rule)->name; /* page is a size */
    }
    return NULL;
}

bool select_is_file(const char *argument) {
    const char *dot = strrchr(argument, '.');
    return dot != NULL && (!strcasecmp(dot, ".h5") || !strcasecmp(dot, ".hdf5"));
}

bool select_is_word(const char *argument) {
    return strpbrk(argument, "<>=") != NULL && strchr(argument, '/') == NULL &&
           !select_is_file(argument);
}

bool select_is_line(const char *argument) {
    static const char *const stems[] = {"b", "hq", "hkv", "q", "kv", "d"};
    struct problem problem;
    struct fault fault;
    char word[16];
    enum attn_dtype dtype;
    if (argument[strcspn(argument, "/_*?[]")] != '\0' || select_is_file(argument)) return false;
    if (problem_parse(&problem, argument, &fault)) return true;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(argument, "-"), argument);
    if (strchr(argument, '-') != NULL && dtype_parse(&dtype, word)) return true;
    for (const char *at = strchr(argument, '-'); at != NULL; at = strchr(at, '-')) {
        const size_t length = strcspn(++at, "0123456789-");
        for (size_t n = 0; n < sizeof stems / sizeof stems[0] && isdigit(at[length]); n++) {
            if (strlen(stems[n]) == length && !strncmp(at, stems[n], length)) return true;
        }
    }
    return false;
}

static const struct rule *trait_find(const char *name) {
    for (const struct rule *const *rule = rules; *rule != NULL; rule++) {
        if (!strcmp((*rule)->name, name)) return *rule;
    }
    return NULL;
}

static const char *text_of(const char *field, const struct problem *problem) {
    if (!strcmp(field, "variant")) return variant_name((enum attn_variant)problem->attn.variant);
    if (!strcmp(field, "dtype")) return dtype_name((enum attn_dtype)problem->attn.dtype);
    if (!strcmp(field, "data")) return data_name(problem->data);
    return NULL;
}

/* Sizes, traits as 0 and 1 (page is its size), and gqa as the ratio of the heads. */
static bool number_of(const char *field, const struct problem *problem, double *number) {
    for (int n = 0; n < SIZE_COUNT; n++) {
        if (strcmp(field, sizes[n].name) != 0) continue;
        *number = (double)*(const int64_t *)((const char *)problem + sizes[n].offset);
        return true;
    }
    if (!strcmp(field, "gqa")) {
        *number = (double)problem->attn.q_heads / (double)problem->attn.kv_heads;
        return true;
    }
    const struct rule *rule = trait_find(field);
    if (rule != NULL) *number = (problem->attn.traits & rule->trait) != 0;
    return rule != NULL;
}

/* What a problem without contents has to say of fields. */
static const struct problem any = {.attn = {.kv_heads = 1, .dtype = ATTN_F16}};

bool select_is_field(const char *argument) {
    double number;
    return text_of(argument, &any) != NULL || number_of(argument, &any, &number);
}

enum { NAMES_MAX = 48 };

/* The names that a field's value can be. */
static size_t list_values(const char *field, const char *names[NAMES_MAX]) {
    const bool variants = !strcmp(field, "variant"), data = !strcmp(field, "data");
    const int first = variants || data ? 0 : ATTN_F32;
    const int end = variants ? ATTN_VARIANT_COUNT : data ? DATA_COUNT : ATTN_BF16 + 1;
    size_t count = 0;
    for (int n = first; n < end; n++)
        names[count++] = variants ? variant_name((enum attn_variant)n)
                         : data   ? data_name((enum problem_data)n)
                                  : dtype_name((enum attn_dtype)n);
    return count;
}

/* ", did you mean 'f16'?; expected f32 f16 bf16" */
static void tell_names(const char *word, const char *const *names, size_t count, char text[512]) {
    const char *meant = nearest(word, names, count);
    size_t used = 0;
    text[0] = '\0';
    if (meant != NULL) used = (size_t)snprintf(text, 512, ", did you mean '%s'?", meant);
    used += (size_t)snprintf(text + used, 512 - used, "; expected one of");
    for (size_t n = 0; n < count && used < 512; n++)
        used += (size_t)snprintf(text + used, 512 - used, " %s", names[n]);
}

/* A name that no problem can have is a slip: != with it would select everything. */
static bool check_value(const struct select_word *word, const char *argument, struct fault *fault) {
    const char *names[NAMES_MAX];
    char text[512];
    const size_t count = list_values(word->field, names);
    for (size_t n = 0; n < count; n++) {
        if (fnmatch(word->value, names[n], 0) == 0) return true;
    }
    tell_names(word->value, names, count, text);
    return fault_set(fault, FAULT_INPUT, "'%s': no %s is '%s'%s", argument, word->field,
                     word->value, text);
}

bool select_parse(struct select_word *word, const char *argument, struct fault *fault) {
    const size_t length = strcspn(argument, "!<>=");
    const char *op = NULL;
    for (int n = 0; n < OPERATOR_COUNT && op == NULL; n++) {
        if (!strncmp(argument + length, operators[n], strlen(operators[n]))) op = operators[n];
    }
    if (op == NULL)
        return fault_set(fault, FAULT_INPUT,
                         "'%s' has none of the operators = != < <= > >=", argument);
    const char *value = argument + length + strlen(op);
    if (length >= sizeof word->field || strlen(value) >= sizeof word->value || *value == '\0')
        return fault_set(fault, FAULT_INPUT, "'%s' is not FIELD%sVALUE", argument, op);
    snprintf(word->field, sizeof word->field, "%.*s", (int)length, argument);
    snprintf(word->operator, sizeof word->operator, "%s", op);
    snprintf(word->value, sizeof word->value, "%s", value);

    if (text_of(word->field, &any) != NULL) {
        if (strchr("<>", word->operator[0]) == NULL) return check_value(word, argument, fault);
        return fault_set(fault, FAULT_INPUT, "'%s': %s is a name, it takes = and != only", argument,
                         word->field);
    }
    if (!select_is_field(word->field)) {
        const char *names[NAMES_MAX];
        char text[512];
        int64_t count = 0;
        while (count < NAMES_MAX && (names[count] = select_field(count)) != NULL) count++;
        tell_names(word->field, names, (size_t)count, text);
        return fault_set(fault, FAULT_INPUT, "'%s': unknown field '%s'%s", argument, word->field,
                         text);
    }
    char *end;
    const double number = strtod(word->value, &end);
    if (*end != '\0' || isnan(number))
        return fault_set(fault, FAULT_INPUT, "'%s': '%s' is not a number", argument, word->value);
    return true;
}

static bool holds(const struct select_word *word, const struct problem *problem) {
    const char *text = text_of(word->field, problem);
    if (text != NULL) return (fnmatch(word->value, text, 0) == 0) == (word->operator[0] == '=');
    double number = 0;
    number_of(word->field, problem, &number);
    const double value = strtod(word->value, NULL);
    const bool equal = number == value, or_equal = word->operator[1] == '=';
    switch (word->operator[0]) {
    case '<':
        return number < value || (or_equal && equal);
    case '>':
        return number > value || (or_equal && equal);
    case '!':
        return !equal;
    default:
        return equal;
    }
}

bool select_holds(const struct select_word *words, int64_t count, const struct problem *problem) {
    for (int64_t n = 0; n < count; n++) {
        if (!holds(&words[n], problem)) return false;
    }
    return true;
}
