/* Structures of the contract as JSON objects: a table of members, and sets as lists of names. */
#define _GNU_SOURCE /* strcasestr */
#include "protocol.h"
#include "../../fixtures/problem.h"
#include "../../oracle/rule.h"
#include "../../oracle/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct name {
    const char *name;
    uint64_t value;
};

static const struct name devices[] = {{"cpu", ATTN_CPU},
                                      {"cuda", ATTN_CUDA},
                                      {"ascend", ATTN_ASCEND},
                                      {"twin", ATTN_ASCEND_TWIN},
                                      {NULL, 0}};

static const struct name variants[] = {
#define ATTN_X(symbol, name, traits) {#name, ATTN_##symbol},
    ATTN_VARIANTS(ATTN_X)
#undef ATTN_X
        {NULL, 0}};

static const struct name dtypes[] = {{"input", ATTN_INPUT}, {"f32", ATTN_F32}, {"f16", ATTN_F16},
                                     {"bf16", ATTN_BF16},   {"i32", ATTN_I32}, {"u8", ATTN_U8},
                                     {"e4m3", ATTN_E4M3},   {"int8", ATTN_I8}, {NULL, 0}};

static const struct name dtype_bits[] = {
    {"f32", 1u << ATTN_F32}, {"f16", 1u << ATTN_F16}, {"bf16", 1u << ATTN_BF16}, {NULL, 0}};

static const struct name traits[] = {{"gqa", ATTN_GQA},
                                     {"causal", ATTN_CAUSAL},
                                     {"ragged", ATTN_RAGGED},
                                     {"page", ATTN_PAGE},
                                     {"keep", ATTN_KEEP},
                                     {"magicpig", ATTN_MAGICPIG},
                                     {"window", ATTN_WINDOW},
                                     {"softcap", ATTN_SOFTCAP},
                                     {"sinks", ATTN_SINK},
                                     {"qlens", ATTN_QLENS},
                                     {"alibi", ATTN_ALIBI},
                                     {"bias", ATTN_BIASED},
                                     {"dv", ATTN_DV},
                                     {"kshared", ATTN_KSHARED},
                                     {"kve4m3", ATTN_KV_E4M3},
                                     {"kvint8", ATTN_KV_INT8},
                                     {"kvhead", ATTN_KV_HEAD},
                                     {"kvtoken", ATTN_KV_TOKEN},
                                     {"keepgroup", ATTN_KEEP_GROUP},
                                     {"oute4m3", ATTN_OUT_E4M3},
                                     {"nhd", ATTN_NHD},
                                     {"thd", ATTN_THD},
                                     {"strided", ATTN_STRIDED},
                                     {NULL, 0}};

static const struct name flags[] = {{"writes_lse", ATTN_WRITES_LSE},
                                    {"nondeterministic", ATTN_NONDETERMINISTIC},
                                    {"lse_base_2", ATTN_LSE_BASE_2},
                                    {NULL, 0}};

/* Members of which there is nothing to say but their number. */
static const struct {
    const char *name;
    size_t offset;
} sizes[] = {
    {"batch", offsetof(struct attn_problem, batch)},
    {"q_heads", offsetof(struct attn_problem, q_heads)},
    {"kv_heads", offsetof(struct attn_problem, kv_heads)},
    {"q_len", offsetof(struct attn_problem, q_len)},
    {"kv_len", offsetof(struct attn_problem, kv_len)},
    {"head_dim", offsetof(struct attn_problem, head_dim)},
    {"page_size", offsetof(struct attn_problem, page_size)},
    {"pages", offsetof(struct attn_problem, pages)},
    {"page_entries", offsetof(struct attn_problem, page_entries)},
    {"kept_max", offsetof(struct attn_problem, kept_max)},
    {"window_left", offsetof(struct attn_problem, window_left)},
    {"window_right", offsetof(struct attn_problem, window_right)},
    {"bias_batch", offsetof(struct attn_problem, bias_batch)},
    {"bias_heads", offsetof(struct attn_problem, bias_heads)},
    {"value_dim", offsetof(struct attn_problem, value_dim)},
};
enum { SIZE_COUNT = sizeof sizes / sizeof sizes[0] };

static json_t *one_to_json(const struct name *names, uint64_t value) {
    for (; names->name != NULL; names++) {
        if (names->value == value) return json_string(names->name);
    }
    return json_null();
}

static bool one_from_json(const struct name *names, const json_t *json, int32_t *value) {
    const char *text = json_string_value(json);
    for (; text != NULL && names->name != NULL; names++) {
        if (strcmp(names->name, text) != 0) continue;
        *value = (int32_t)names->value;
        return true;
    }
    return false;
}

static json_t *set_to_json(const struct name *names, uint64_t bits) {
    json_t *list = json_array();
    for (; names->name != NULL; names++) {
        if (bits & names->value) json_array_append_new(list, json_string(names->name));
    }
    return list;
}

static bool set_from_json(const struct name *names, const json_t *json, uint64_t *bits) {
    size_t n;
    json_t *item;
    *bits = 0;
    json_array_foreach(json, n, item) {
        int32_t bit;
        if (!one_from_json(names, item, &bit)) return false;
        *bits |= (uint64_t)bit;
    }
    return json_is_array(json);
}

json_t *problem_to_json(const struct attn_problem *problem) {
    json_t *json = json_object();
    json_object_set_new(json, "variant", one_to_json(variants, (uint64_t)problem->variant));
    json_object_set_new(json, "dtype", one_to_json(dtypes, (uint64_t)problem->dtype));
    json_object_set_new(json, "traits", set_to_json(traits, problem->traits));
    json_object_set_new(json, "scale", json_real(problem->scale));
    json_object_set_new(json, "softcap", json_real(problem->softcap));
    for (int n = 0; n < SIZE_COUNT; n++) {
        const int64_t *size = (const int64_t *)((const char *)problem + sizes[n].offset);
        json_object_set_new(json, sizes[n].name, json_integer(*size));
    }
    return json;
}

bool problem_from_json(struct attn_problem *problem, const json_t *json) {
    *problem = (struct attn_problem){.abi = ATTN_ABI};
    problem->scale = json_number_value(json_object_get(json, "scale"));
    problem->softcap = json_number_value(json_object_get(json, "softcap"));
    for (int n = 0; n < SIZE_COUNT; n++) {
        const json_t *size = json_object_get(json, sizes[n].name);
        if (!json_is_integer(size)) return false;
        *(int64_t *)((char *)problem + sizes[n].offset) = json_integer_value(size);
    }
    return one_from_json(variants, json_object_get(json, "variant"), &problem->variant) &&
           one_from_json(dtypes, json_object_get(json, "dtype"), &problem->dtype) &&
           set_from_json(traits, json_object_get(json, "traits"), &problem->traits);
}

static bool is_letter(int32_t grade) {
    return (grade >= 'A' && grade <= 'Z') || (grade >= 'a' && grade <= 'z');
}

/* A letter, or what is there instead as a number. */
static void print_grade(char text[16], int32_t grade) {
    snprintf(text, 16, is_letter(grade) ? "%c" : "%d", grade);
}

static int32_t read_grade(const char *text) {
    return is_letter(text[0]) ? text[0] : (int32_t)strtol(text, NULL, 10);
}

json_t *kernel_to_json(const struct attn_kernel *kernel) {
    char grade[16], lse_grade[16];
    print_grade(grade, kernel->grade);
    print_grade(lse_grade, kernel->lse_grade != 0 ? kernel->lse_grade : 'A');
    json_t *json = json_object();
    json_object_set_new(json, "abi", json_integer(kernel->abi));
    json_object_set_new(json, "device", one_to_json(devices, (uint64_t)kernel->device));
    json_object_set_new(json, "variant", one_to_json(variants, (uint64_t)kernel->variant));
    json_object_set_new(json, "name", text_to_json(kernel->name));
    json_object_set_new(json, "revision", json_integer(kernel->revision));
    json_object_set_new(json, "grade", json_string(grade));
    json_object_set_new(json, "lse_grade", json_string(lse_grade));
    json_object_set_new(json, "change", text_to_json(kernel->change ? kernel->change : ""));
    json_object_set_new(json, "traits", set_to_json(traits, kernel->traits));
    json_object_set_new(json, "dtypes", set_to_json(dtype_bits, kernel->dtypes));
    json_object_set_new(json, "p_dtype", one_to_json(dtypes, (uint64_t)kernel->p_dtype));
    json_object_set_new(json, "flags", set_to_json(flags, kernel->flags));
    json_object_set_new(json, "head_dim_max", json_integer(kernel->head_dim_max));
    return json;
}

bool kernel_from_json(struct attn_kernel *kernel, const json_t *json) {
    uint64_t dtype_set, flag_set;
    *kernel = (struct attn_kernel){.bytes = sizeof *kernel};
    kernel->abi = (uint32_t)json_integer_value(json_object_get(json, "abi"));
    kernel->name = json_string_value(json_object_get(json, "name"));
    kernel->revision = (int32_t)json_integer_value(json_object_get(json, "revision"));
    kernel->change = json_string_value(json_object_get(json, "change"));
    kernel->head_dim_max = (int32_t)json_integer_value(json_object_get(json, "head_dim_max"));
    const char *grade = json_string_value(json_object_get(json, "grade"));
    const char *lse_grade = json_string_value(json_object_get(json, "lse_grade"));
    if (!one_from_json(devices, json_object_get(json, "device"), &kernel->device) ||
        !one_from_json(variants, json_object_get(json, "variant"), &kernel->variant) ||
        !one_from_json(dtypes, json_object_get(json, "p_dtype"), &kernel->p_dtype) ||
        !set_from_json(traits, json_object_get(json, "traits"), &kernel->traits) ||
        !set_from_json(dtype_bits, json_object_get(json, "dtypes"), &dtype_set) ||
        !set_from_json(flags, json_object_get(json, "flags"), &flag_set) || kernel->name == NULL ||
        kernel->change == NULL || grade == NULL)
        return false;
    kernel->grade = read_grade(grade);
    kernel->lse_grade = lse_grade != NULL ? read_grade(lse_grade) : 'A';
    kernel->dtypes = (uint32_t)dtype_set;
    kernel->flags = (uint32_t)flag_set;
    return true;
}

json_t *tensor_to_json(const struct attn_tensor *tensor) {
    json_t *json = json_object(), *shape = json_array(), *stride = json_array();
    for (int n = 0; n < tensor->rank; n++) {
        json_array_append_new(shape, json_integer(tensor->shape[n]));
        json_array_append_new(stride, json_integer(tensor->stride[n]));
    }
    json_object_set_new(json, "dtype", one_to_json(dtypes, (uint64_t)tensor->dtype));
    json_object_set_new(json, "shape", shape);
    json_object_set_new(json, "stride", stride);
    return json;
}

bool tensor_from_json(struct attn_tensor *tensor, const json_t *json) {
    const json_t *shape = json_object_get(json, "shape"), *stride = json_object_get(json, "stride");
    const size_t rank = json_array_size(shape);
    *tensor = (struct attn_tensor){.rank = (int32_t)rank};
    if (rank < 1 || rank > 5 || json_array_size(stride) != rank) return false;
    for (size_t n = 0; n < rank; n++) {
        tensor->shape[n] = json_integer_value(json_array_get(shape, n));
        tensor->stride[n] = json_integer_value(json_array_get(stride, n));
    }
    return one_from_json(dtypes, json_object_get(json, "dtype"), &tensor->dtype);
}

const char *device_name(enum attn_device device) {
    for (const struct name *name = devices; name->name != NULL; name++) {
        if (name->value == (uint64_t)device) return name->name;
    }
    return "unknown";
}

static json_t *bytes_to_json(const char *text, bool reversible) {
    json_t *json = reversible && strchr(text, '\\') != NULL ? NULL : json_string(text);
    if (json != NULL) return json;
    char *utf8 = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&utf8, &bytes);
    uint32_t character;
    for (int length; to != NULL && (length = text_next(text, &character)) > 0; text += length) {
        if (character == TEXT_NOT_UTF8)
            fprintf(to, "\\x%02x", (unsigned char)*text);
        else if (character == '\\' && reversible)
            fputs("\\\\", to);
        else
            fwrite(text, 1, (size_t)length, to);
    }
    if (to != NULL && fclose(to) == 0) json = json_stringn(utf8, bytes);
    free(utf8);
    return json;
}

json_t *real_or_null(double x) {
    json_t *json = json_real(x); /* NULL of NaN */
    return json != NULL ? json : json_null();
}

json_t *text_to_json(const char *text) {
    return bytes_to_json(text, false);
}

json_t *path_to_json(const char *path) {
    return bytes_to_json(path, true);
}

void path_from_text(char *path, const char *text) {
    while (*text != '\0') {
        const bool escape = text[0] == '\\';
        if (escape && text[1] == '\\') {
            text += 1;
        } else if (escape && text[1] == 'x' && isxdigit(text[2]) && isxdigit(text[3])) {
            const char digits[3] = {text[2], text[3], '\0'};
            *path++ = (char)strtol(digits, NULL, 16);
            text += 4;
            continue;
        }
        *path++ = *text++;
    }
    *path = '\0';
}

const char *path_from_json(const json_t *json, char path[PATH_MAX]) {
    if (!json_is_string(json) || json_string_length(json) >= 4 * PATH_MAX) return NULL;
    char longest[4 * PATH_MAX];
    path_from_text(longest, json_string_value(json));
    const size_t bytes = strlen(longest) + 1;
    return bytes <= PATH_MAX ? memcpy(path, longest, bytes) : NULL;
}

json_t *refusal_json(const char *what, const char *text) {
    json_t *json = json_object();
    json_object_set_new(json, "ok", json_false());
    json_object_set_new(json, "what", json_string(what));
    json_object_set_new(json, "text", text_to_json(text));
    return json;
}

json_t *failure_json(const char *text) {
    const bool memory = strcasestr(text, "out of memory") || strcasestr(text, "cannot allocate") ||
                        strcasestr(text, "no memory");
    return refusal_json(memory ? "oom" : "error", text);
}
