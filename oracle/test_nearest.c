#include "nearest.h"
#include "../fixtures/test_folder.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const names[] = {"causal", "scale", "dtype",           "line",
                                    "kv",     "q",     "decode_flash_r1", "decode_flash_r2"};

static void assert_means(const char *word, const char *name) {
    const char *found = nearest(word, names, sizeof names / sizeof names[0]);
    if (name == NULL)
        cr_assert(found == NULL, "%s: got %s", word, found);
    else
        cr_assert(found != NULL && !strcmp(found, name), "%s: got %s", word, found ? found : "-");
}

Test(nearest, one_letter_more_less_other_or_swapped_is_a_slip) {
    assert_means("casual", "causal");
    assert_means("causall", "causal");
    assert_means("scal", "scale");
    assert_means("skale", "scale");
    assert_means("decode_flsh_r1", "decode_flash_r1");
    assert_means("qv", "kv");
}

Test(nearest, the_nearer_of_two_is_meant_and_of_equals_the_first) {
    assert_means("decode_flash_r22", "decode_flash_r2");
    assert_means("decode_flash_r3", "decode_flash_r1");
}

Test(nearest, a_name_within_the_word_or_around_it_is_meant) {
    assert_means("is_causal", "causal");
    assert_means("softmax_scale", "scale");
    assert_means("flash_r2", "decode_flash_r2");
}

Test(nearest, capitals_do_not_matter) {
    assert_means("CASUAL", "causal");
    assert_means("Scale", "scale");
}

Test(nearest, another_word_is_nothing_near) {
    assert_means("window", NULL);
    assert_means("softcap", NULL);
    assert_means("", NULL);
    assert_means("xyz", NULL); /* two edits make it q */
    cr_assert(nearest("causal", names, 0) == NULL);
}

Test(nearest, texts_too_long_to_be_slips_are_not_compared) {
    char longer[4096];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    const char *const own[] = {longer, "kv"};
    cr_assert(nearest(longer, own, 2) == NULL);
    cr_assert(nearest("kw", own, 2) == own[1]);
}

Test(nearest, files_of_a_folder_are_compared_without_their_suffix) {
    static const char *const files[] = {"smoke.txt", "edge.txt", "notes.md", ".smok.txt"};
    char folder[64], path[128], name[NEAREST_BYTES];
    test_folder_make(folder);
    for (size_t n = 0; n < sizeof files / sizeof files[0]; n++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[n]);
        FILE *file = fopen(path, "w");
        cr_assert(file != NULL && fclose(file) == 0);
    }
    snprintf(path, sizeof path, "%s/dangling.txt", folder);
    cr_assert(symlink("nowhere", path) == 0);
    cr_assert(!nearest_file("dangling.txt", folder, ".txt", name));
    cr_assert(nearest_file("smok", folder, ".txt", name) && !strcmp(name, "smoke"));
    cr_assert(nearest_file("egde.txt", folder, ".txt", name) && !strcmp(name, "edge"));
    cr_assert(nearest_file("smoke.tx", folder, "", name) && !strcmp(name, "smoke.txt"));
    cr_assert(!nearest_file("notes", folder, ".txt", name));
    test_folder_remove(folder);
    cr_assert(!nearest_file("smoke", folder, ".txt", name));
}
