/* What --device takes, on machines with other devices than this one. */
#include "targets.h"

#include <criterion/criterion.h>
#include <string.h>

static const struct machine_device two[] = {{.device = "cuda", .index = 0},
                                            {.device = "cuda", .index = 1}};

/* "cpu cuda:1" of what `lists` say, one --device each, where the first `count` of two are there; or
 * the fault's text. */
static enum fault_code name_all(char text[512], int64_t count, const char *const *lists) {
    struct targets targets = {.count = 0};
    struct fault fault = {0};
    bool well = true;
    for (; well && *lists != NULL; lists++) well = targets_parse(&targets, *lists, &fault);
    well = well && targets_resolve(&targets, two, count, &fault);
    text[0] = '\0';
    if (!well) {
        snprintf(text, 512, "%.500s", fault.text);
        return fault.code;
    }
    for (int64_t n = 0; n < targets.count; n++) {
        char name[TARGET_NAME_BYTES];
        target_name(&targets.list[n], name);
        snprintf(text + strlen(text), 512 - strlen(text), "%s%s", n > 0 ? " " : "", name);
    }
    return FAULT_NONE;
}

#define NAMES(count, text, ...) name_all(text, count, (const char *const[]){__VA_ARGS__, NULL})

Test(targets, lists_are_joined_and_each_device_is_taken_once) {
    char text[512];
    cr_assert(NAMES(0, text, "cpu") == FAULT_NONE);
    cr_assert_str_eq(text, "cpu");
    cr_assert(NAMES(2, text, "cuda") == FAULT_NONE);
    cr_assert_str_eq(text, "cuda:0");
    cr_assert(NAMES(2, text, "cuda:1,cpu", "cuda:1") == FAULT_NONE);
    cr_assert_str_eq(text, "cuda:1 cpu");
    cr_assert(NAMES(2, text, "cuda:1,cuda:all") == FAULT_NONE);
    cr_assert_str_eq(text, "cuda:1 cuda:0");
}

Test(targets, what_is_no_device_is_told_what_is) {
    static const char *const wrong[] = {"gpu",      "cuda:",    "cuda:one", "cuda:-1",
                                        "cuda:1x",  "cpu:0",    "cpu,",     "",
                                        "cuda all", "cuda:0:1", "cud",      "cuda:99999999999"};
    for (size_t n = 0; n < sizeof wrong / sizeof wrong[0]; n++) {
        char text[512];
        cr_assert(NAMES(2, text, wrong[n]) == FAULT_INPUT, "%s", wrong[n]);
        cr_assert(strstr(text, "is no device: expected cpu, cuda, cuda:N, cuda:all") != NULL, "%s",
                  text);
    }
}

Test(targets, a_slip_is_told_what_was_meant) {
    char text[512];
    cr_assert(NAMES(2, text, "cdua:1") == FAULT_INPUT);
    cr_assert(strstr(text, "twin; did you mean 'cuda:1'?") != NULL, "%s", text);
    cr_assert(NAMES(2, text, "cpu,ascent") == FAULT_INPUT);
    cr_assert(strstr(text, "'ascent' is no device") != NULL, "%s", text);
    cr_assert(strstr(text, "did you mean 'ascend'?") != NULL, "%s", text);
    cr_assert(NAMES(2, text, "cpu:0") == FAULT_INPUT && strstr(text, "mean") == NULL, "%s", text);
}

Test(targets, a_device_that_is_not_there_is_told_what_there_is) {
    char text[512];
    cr_assert(NAMES(2, text, "cuda:2") == FAULT_INPUT);
    cr_assert_str_eq(text, "there is no device cuda:2; here is cpu, cuda:0, cuda:1");
    cr_assert(NAMES(0, text, "cpu,cuda") == FAULT_INPUT);
    cr_assert_str_eq(text, "there is no device cuda:0; here is cpu");
    cr_assert(NAMES(2, text, "ascend") == FAULT_INPUT);
}

Test(targets, all_of_none_is_nothing) {
    char text[512];
    cr_assert(NAMES(0, text, "cuda:all") == FAULT_NOTHING);
    cr_assert(NAMES(2, text, "ascend:all") == FAULT_NOTHING);
}

Test(targets, the_twin_is_there_without_a_driver_and_has_no_number) {
    char text[512];
    cr_assert(NAMES(0, text, "twin") == FAULT_NONE);
    cr_assert_str_eq(text, "twin");
    cr_assert(NAMES(2, text, "twin,cuda:1", "twin") == FAULT_NONE);
    cr_assert_str_eq(text, "twin cuda:1");
    cr_assert(NAMES(0, text, "twin:0") == FAULT_INPUT);
    cr_assert(NAMES(0, text, "twin:all") == FAULT_INPUT);
    cr_assert(strstr(text, "ascend:all, twin") != NULL, "%s", text);
}
