#include "plugin.h"
#include "../verb.h"
#include "../../fixtures/test_folder.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
        {"*/decode_[ef]*", 3},
    };
    for (size_t n = 0; n < sizeof expected / sizeof expected[0]; n++) {
        struct plugin_list list = scan("odd", expected[n].glob);
        cr_assert(list.count == expected[n].count, "%s: %lld", expected[n].glob,
                  (long long)list.count);
        plugin_list_free(&list);
    }
}

/* What a scan for a glob, or a path, that is not there says. */
static const char *refusal_of(const char *glob) {
    static struct fault fault;
    char folder[4096];
    struct plugin_list list = {0};
    folder_beside_kernels("odd", folder);
    cr_assert(!plugin_scan(&list, verb_program(), folder, &glob, 1, &fault), "%s", glob);
    cr_assert(fault.code == FAULT_INPUT && list.count == 0);
    cr_assert((list.unmatched == glob) == (strstr(glob, ".so") == NULL));
    return fault.text;
}

Test(plugin, a_glob_that_matches_nothing_is_told_the_nearest_name) {
    char path[4200], folder[4096];
    cr_assert_str_eq(refusal_of("decode_refuse_r1"),
                     "no kernel matches 'decode_refuse_r1', did you mean 'decode_refuses_r1'?");
    cr_assert_str_eq(refusal_of("cpu/decode_hoard*_r2"), "no kernel matches 'cpu/decode_hoard*_r2',"
                                                         " did you mean 'cpu/decode_hoards_r1'?");
    cr_assert_str_eq(refusal_of("cuda/*"), "no kernel matches 'cuda/*'; there are kernels for cpu");
    cr_assert_str_eq(refusal_of("xyz"), "no kernel matches 'xyz'");
    cr_assert_str_eq(refusal_of("decode_refuse_r1.so"),
                     "cannot open kernel 'decode_refuse_r1.so': No such file or directory, did you "
                     "mean 'decode_refuses_r1'?");
    folder_beside_kernels("odd", folder);
    snprintf(path, sizeof path, "%s/cpu/decode_refuse_r1.so", folder);
    const char *text = refusal_of(path);
    cr_assert(strstr(text, "/cpu/decode_refuses_r1.so'?") != NULL, "%s", text);
    cr_assert(strstr(refusal_of("/dev/null/x.so"), "Not a directory") != NULL);
}

Test(plugin, one_misspelt_glob_among_right_ones_is_the_end) {
    const char *globs[] = {"decode_refuses_r1", "decode_fials_r1"};
    char folder[4096];
    struct plugin_list list = {0};
    struct fault fault = {0};
    folder_beside_kernels("odd", folder);
    cr_assert(!plugin_scan(&list, verb_program(), folder, globs, 2, &fault));
    cr_assert(fault.code == FAULT_INPUT && list.unmatched == globs[1]);
    cr_assert(strstr(fault.text, "did you mean 'decode_fails_r1'?") != NULL, "%s", fault.text);
}

Test(plugin, a_named_library_that_cannot_be_loaded_stays_with_its_trouble) {
    static const struct {
        const char *name;
        enum status status;
        const char *why;
    } expected[] = {
        {"aborts", STATUS_CRASH, "SIGABRT while it was loaded"},
        {"leaves", STATUS_CRASH, "exit status 7 while it was loaded"},
        {"waits", STATUS_HANG, "no answer within 1 s while it was loaded"},
        {"exportless", STATUS_CRASH, "exports no symbol attn_export"},
        {"unresolved", STATUS_CRASH, "undefined symbol: attn_function_of_nobody"},
        {"newer", STATUS_CRASH, "was built for contract 2, this program speaks 1"},
        {"graded_d", STATUS_CRASH, "its grade is 'D', expected 'A', 'B' or 'C'"},
        {"gradeless", STATUS_CRASH, "its grade is 0, expected 'A', 'B' or 'C'"},
    };
    char folder[4096], path[4200], id[96];
    folder_beside_kernels("odd-loading", folder);
    for (size_t n = 0; n < 2 * sizeof expected / sizeof expected[0]; n++) {
        struct plugin_list list = {.patience_s = 1};
        struct fault fault = {0};
        const char *name = expected[n / 2].name, *glob = path;
        snprintf(id, sizeof id, "cpu/decode_%s_r1", name);
        if (n % 2 == 0)
            snprintf(path, sizeof path, "%s", id);
        else
            snprintf(path, sizeof path, "%s/%s.so", folder, id);
        cr_assert(plugin_scan(&list, verb_program(), folder, &glob, 1, &fault), "%s", fault.text);
        cr_assert(list.count == 1 && list.left_out == 0, "%s", name);
        const struct plugin *plugin = &list.plugins[0];
        cr_assert(plugin->trouble == expected[n / 2].status, "%s: %d", name, plugin->trouble);
        cr_assert_str_eq(plugin->why, expected[n / 2].why);
        cr_assert_str_eq(plugin->id, id);
        cr_assert_str_eq(plugin->name, name);
        cr_assert(plugin->kernel.variant == ATTN_DECODE && plugin->kernel.revision == 1);
        cr_assert(plugin->kernel.device == ATTN_CPU && strlen(plugin->digest) == 32);
        cr_assert(plugin->found == (n % 2 == 0) && plugin_matches(plugin, path));
        cr_assert(!plugin_matches(plugin, "decode_other_r1"));
        plugin_list_free(&list);
    }
}

/* Fills a folder with links, under names of its own, to libraries of the build. */
static void link_library(const char *folder, const char *from, const char *name) {
    char target[4200], path[4200];
    folder_beside_kernels(from, target);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    cr_assert(symlink(target, path) == 0, "%s", path);
}

Test(plugin, what_file_and_folder_are_called_tells_of_one_that_tells_nothing) {
    static const struct {
        const char *file, *id, *name;
        int32_t variant, revision;
    } expected[] = {
        {"decode_paged_two_words_r12.so", "cpu/decode_paged_two_words_r12", "two_words",
         ATTN_DECODE_PAGED, 12},
        {"prefill_varlen_x.so", "cpu/prefill_varlen_x", "x", ATTN_PREFILL_VARLEN, 0},
        {"libmine.so", "cpu/libmine", "libmine", PLUGIN_VARIANT_UNKNOWN, 0},
    };
    char folder[64], path[4200];
    test_folder_make(folder);
    for (size_t n = 0; n < sizeof expected / sizeof expected[0]; n++) {
        struct plugin_list list = {0};
        struct fault fault = {0};
        const char *glob = "*";
        link_library(folder, "odd-loading/cpu/decode_exportless_r1.so", expected[n].file);
        cr_assert(plugin_scan(&list, verb_program(), folder, &glob, 1, &fault), "%s", fault.text);
        cr_assert(list.count == 1 && list.plugins[0].trouble == STATUS_CRASH);
        cr_assert_str_eq(list.plugins[0].id, expected[n].id);
        cr_assert_str_eq(list.plugins[0].name, expected[n].name);
        cr_assert(list.plugins[0].kernel.variant == expected[n].variant);
        cr_assert(list.plugins[0].kernel.revision == expected[n].revision);
        plugin_list_free(&list);
        snprintf(path, sizeof path, "%s/%s", folder, expected[n].file);
        unlink(path);
    }
    test_folder_remove(folder);
}

Test(plugin, a_thread_that_one_library_leaves_takes_no_other_out) {
    char folder[64], first[128], planted[4096];
    struct plugin_list alone = {0}, list = {0};
    struct fault fault = {0};
    folder_beside_kernels("planted", planted);
    cr_assert(plugin_scan(&alone, verb_program(), planted, NULL, 0, &fault), "%s", fault.text);
    test_folder_make(folder);
    snprintf(first, sizeof first, "%s/first", folder); /* libraries are described in this order */
    cr_assert(mkdir(first, 0777) == 0);
    link_library(first, "odd-loading/cpu/decode_later_r1.so", "decode_later_r1.so");
    link_library(folder, "planted/cpu", "then");
    cr_assert(alone.count > 20);
    /* All but the one, which may die a moment too early to be described itself: then it does no
     * harm, hence several times. */
    for (int time = 0; time < 5; time++) {
        cr_assert(plugin_scan(&list, verb_program(), folder, NULL, 0, &fault), "%s", fault.text);
        for (int64_t n = 0; n < alone.count; n++) {
            if (alone.plugins[n].kernel.device == ATTN_CPU)
                cr_assert(find(&list, alone.plugins[n].id) != NULL, "%s", alone.plugins[n].id);
        }
        cr_assert(list.left_out <= 1, "%s", list.left_out_names);
        plugin_list_free(&list);
    }
    plugin_list_free(&alone);
    test_folder_remove(folder);
}

Test(plugin, libraries_that_are_left_out_are_counted_and_named) {
    struct plugin_list list = scan("odd", NULL);
    cr_assert(list.left_out == 5, "%lld", (long long)list.left_out);
    cr_assert_str_eq(list.left_out_names, "cpu/decode_dies_loading_r1, cpu/decode_marked_r1, "
                                          "cpu/decode_misnamed_r1, cpu/decode_nameless_r1, "
                                          "cpu/decode_newer_r1");
    plugin_list_free(&list);
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
    problem.value_dim = 256;
    cr_assert(strstr(plugin_refusal(&kernel, &problem, reason), "values of 256") != NULL);
    problem = taken;
    problem.variant = ATTN_DECODE;
    cr_assert(strstr(plugin_refusal(&kernel, &problem, reason), "prefill") != NULL);
}
