#include "plugin.h"
#include "../verb.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static void folder_beside_kernels(const char *name, char path[4096]) {
    snprintf(path, 4096, "%s/../%s", verb_kernels(), name);
}

static struct plugin_list scan(const char *folder, const char *glob) {
    char path[4096];
    struct plugin_list list = {0};
    struct fault fault = {0};
    folder_beside_kernels(folder, path);
    cr_assert(plugin_scan(&list, verb_program(), path, &glob, glob != NULL, &fault), "%s",
              fault.text);
    return list;
}

static const struct plugin *find(const struct plugin_list *list, const char *id) {
    for (int64_t n = 0; n < list->count; n++) {
        if (!strcmp(list->plugins[n].id, id)) return &list->plugins[n];
    }
    return NULL;
}

Test(plugin, libraries_that_cannot_be_described_cost_themselves_only) {
    static const char *const out[] = {"cpu/decode_dies_loading_r1", "cpu/decode_misnamed_r1",
                                      "cpu/decode_misnamed_r2", "cpu/decode_newer_r1",
                                      "cpu/decode_nameless_r1"};
    static const char *const in[] = {"cpu/decode_chatty_r1", "cpu/decode_exits_r1",
                                     "cpu/decode_scratch_zero_r1"};
    struct plugin_list list = scan("odd", NULL);
    for (size_t n = 0; n < sizeof out / sizeof out[0]; n++)
        cr_assert(find(&list, out[n]) == NULL, "%s", out[n]);
    for (size_t n = 0; n < sizeof in / sizeof in[0]; n++)
        cr_assert(find(&list, in[n]) != NULL, "%s", in[n]);
    cr_assert(list.count >= 12, "%lld", (long long)list.count);
    for (int64_t n = 1; n < list.count; n++)
        cr_assert(strcmp(list.plugins[n - 1].id, list.plugins[n].id) < 0);
    plugin_list_free(&list);
}

Test(plugin, describes_a_library_as_it_describes_itself) {
    struct plugin_list list = scan("odd", "decode_refuses_r1");
    cr_assert(list.count == 1);
    const struct plugin *plugin = &list.plugins[0];
    cr_assert(!strcmp(plugin->name, "refuses") && !strcmp(plugin->change, "odd"));
    cr_assert(plugin->kernel.variant == ATTN_DECODE && plugin->kernel.device == ATTN_CPU);
    cr_assert(plugin->kernel.revision == 1 && plugin->kernel.grade == 'A');
    cr_assert(plugin->kernel.traits == ATTN_GQA && plugin->kernel.p_dtype == ATTN_INPUT);
    cr_assert(plugin->kernel.dtypes == (1u << ATTN_F16 | 1u << ATTN_F32));
    cr_assert(plugin->kernel.head_dim_max == 64);
    cr_assert(strlen(plugin->digest) == 32);
    plugin_list_free(&list);
}

Test(plugin, globs_match_the_name_or_with_a_slash_the_whole_id) {
    static const struct {
        const char *glob;
        int64_t count;
    } expected[] = {
        {"decode_scratch_*", 4},
        {"cpu/decode_scratch_*", 4},
        {"cuda/*", 0},
        {"scratch", 0},
    };
    for (size_t n = 0; n < sizeof expected / sizeof expected[0]; n++) {
        struct plugin_list list = scan("odd", expected[n].glob);
        cr_assert(list.count == expected[n].count, "%s: %lld", expected[n].glob,
                  (long long)list.count);
        plugin_list_free(&list);
    }
}

Test(plugin, a_path_names_one_library) {
    char path[4200], folder[4096];
    folder_beside_kernels("odd", folder);
    snprintf(path, sizeof path, "%s/cpu/decode_chatty_r1.so", folder);
    const char *globs[] = {path};
    struct plugin_list list = {0};
    struct fault fault = {0};
    cr_assert(plugin_scan(&list, verb_program(), verb_kernels(), globs, 1, &fault), "%s",
              fault.text);
    cr_assert(list.count == 1 && !strcmp(list.plugins[0].id, "cpu/decode_chatty_r1"));
    cr_assert(!list.plugins[0].found);
    plugin_list_free(&list);

    globs[0] = "/nowhere/decode_x_r1.so";
    cr_assert(!plugin_scan(&list, verb_program(), verb_kernels(), globs, 1, &fault));
    cr_assert(fault.code == FAULT_INPUT && strstr(fault.text, "/nowhere/") != NULL);
}

Test(plugin, a_folder_that_is_not_there_holds_no_kernels) {
    struct plugin_list list = scan("no-such-folder", NULL);
    cr_assert(list.count == 0);
    plugin_list_free(&list);
}

Test(plugin, a_program_that_is_no_worker_is_our_fault) {
    char folder[4096];
    struct plugin_list list = {0};
    struct fault fault = {0};
    folder_beside_kernels("odd", folder);
    cr_assert(!plugin_scan(&list, "/bin/cat", folder, NULL, 0, &fault)); /* echoes the greeting */
    cr_assert(fault.code == FAULT_OURS);
    cr_assert(!plugin_scan(&list, "/bin/false", folder, NULL, 0, &fault));
    cr_assert(strstr(fault.text, "exit status") != NULL, "%s", fault.text);
}

Test(plugin, what_is_not_declared_is_refused_with_a_reason) {
    const struct attn_kernel kernel = {
        .variant = ATTN_PREFILL, .traits = ATTN_GQA, .dtypes = 1u << ATTN_F16, .head_dim_max = 128};
    const struct attn_problem taken = {
        .variant = ATTN_PREFILL, .traits = ATTN_GQA, .dtype = ATTN_F16, .head_dim = 128};
    struct attn_problem problem = taken;
    char reason[256];
    cr_assert(plugin_refusal(&kernel, &problem, reason) == NULL);
    problem.traits |= ATTN_CAUSAL;
    cr_assert(strstr(plugin_refusal(&kernel, &problem, reason), "causal") != NULL);
    problem = taken;
    problem.traits |= (uint64_t)1 << 40;
    cr_assert(plugin_refusal(&kernel, &problem, reason) != NULL);
    problem = taken;
    problem.dtype = ATTN_BF16;
    cr_assert(strstr(plugin_refusal(&kernel, &problem, reason), "bf16") != NULL);
    problem = taken;
    problem.head_dim = 192;
    cr_assert(strstr(plugin_refusal(&kernel, &problem, reason), "192") != NULL);
    problem = taken;
    problem.variant = ATTN_DECODE;
    cr_assert(strstr(plugin_refusal(&kernel, &problem, reason), "prefill") != NULL);
}
