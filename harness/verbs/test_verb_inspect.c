/* attest inspect: files as others write them, and what is said of them. */
#include "../verb.h"
#include "../../fixtures/fixture.h"
#include "../../fixtures/test_drawn.h"
#include "../../fixtures/test_folder.h"
#include "../../fixtures/test_put.h"
#include "../../oracle/text.h"

#include <jansson.h>

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static char path[80];

static void setup(void) {
    cr_assert(getenv("ATTEST_PROGRAM") != NULL, "ATTEST_PROGRAM is not set (ctest sets it)");
    test_folder_make(folder);
    snprintf(path, sizeof path, "%s/x.h5", folder);
}

static void teardown(void) {
    test_folder_remove(folder);
}

/* cppcheck-suppress unknownMacro */
TestSuite(inspect, .init = setup, .fini = teardown);

/* Runs attest VERB with all it says in one; in memory that lasts until the next. */
static const char *attest(const char *arguments, int status) {
    static char output[16384];
    char command[1024];
    snprintf(command, sizeof command, "'%s' %s 2>&1", verb_program(), arguments);
    FILE *pipe = popen(command, "r"); /* NOLINT(cert-env33-c) */
    cr_assert(pipe != NULL);
    output[fread(output, 1, sizeof output - 1, pipe)] = '\0';
    const int ended = pclose(pipe);
    cr_assert(WIFEXITED(ended) && WEXITSTATUS(ended) == status, "attest %s: %d, %s", arguments,
              WEXITSTATUS(ended), output);
    return output;
}

static const char *inspected(void) {
    char arguments[128];
    snprintf(arguments, sizeof arguments, "inspect %s", path);
    return attest(arguments, 0);
}

/* What is wrapped is one line again; no line is too long for a terminal. */
static const char *unwrapped(const char *text) {
    static char lines[16384];
    char *to = lines;
    for (const char *at = text; *at != '\0';) {
        if (text == at || at[-1] == '\n')
            cr_assert(text_bytes(at, 100) >= strcspn(at, "\n"), "%s", text);
        const bool wrapped = *at == '\n' && strspn(at + 1, " ") == 12;
        *to++ = wrapped ? ' ' : *at;
        at += wrapped ? 13 : 1;
    }
    *to = '\0';
    return lines;
}

static void says(const char *words) {
    const char *text = unwrapped(inspected());
    cr_assert(strstr(text, words) != NULL, "'%s' is not said:\n%s", words, text);
}

static void says_not(const char *words) {
    const char *text = inspected();
    cr_assert(strstr(text, words) == NULL, "'%s' is said:\n%s", words, text);
}

static json_t *json_of(void) {
    char arguments[128];
    snprintf(arguments, sizeof arguments, "inspect --json %s", path);
    const char *text = attest(arguments, 0);
    json_t *json = json_loads(text, 0, NULL);
    cr_assert(json != NULL, "%s", text);
    return json;
}

/* A file of zeros as a stranger writes it, with these shapes; rank 0: not this one. */
struct stranger {
    hsize_t q[4], k[4], kv_cache[5];
};

static void write_stranger(const struct stranger *stranger) {
    static const float zeros[1 << 14];
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    put_text(file, "format", "attest-fixture");
    put_number(file, "version", 1);
    put(file, "q", H5T_IEEE_F32LE, 4, stranger->q, H5P_DEFAULT, zeros);
    if (stranger->k[0] > 0)
        for (int value = 0; value < 2; value++)
            put(file, value ? "v" : "k", H5T_IEEE_F32BE, 4, stranger->k, H5P_DEFAULT, zeros);
    if (stranger->kv_cache[0] > 0) {
        put(file, "kv_cache", H5T_IEEE_F32LE, 5, stranger->kv_cache, H5P_DEFAULT, zeros);
        put(file, "kv_page_indptr", H5T_STD_I64LE, 1, (hsize_t[]){2}, H5P_DEFAULT,
            (int64_t[]){0, 2});
        put(file, "kv_page_indices", H5T_STD_I32LE, 1, (hsize_t[]){2}, H5P_DEFAULT,
            (int32_t[]){1, 0});
        put(file, "kv_last_page_len", H5T_STD_I32LE, 1, (hsize_t[]){1}, H5P_DEFAULT,
            (int32_t[]){3});
    }
    H5Fclose(file);
}

Test(inspect, says_what_is_in_a_file_and_what_was_assumed) {
    write_stranger(&(struct stranger){.q = {2, 4, 5, 16}, .k = {2, 2, 9, 16}});
    says("variant   prefill of f32");
    says("2 sequences, 4 query heads, 2 key/value heads");
    says("5 query tokens, 9 key tokens, 16 elements a head");
    says("40 rows see 9 keys");
    says("scale     0.25\n");
    says("dataset   q                32-bit floats [2, 4, 5, 16]");
    says("dataset   k                32-bit floats, big-endian [2, 2, 9, 16]");
    says("answer    none: `attest oracle");
    says("assumed   elements are f32, as those of q: there is no attribute 'dtype'");
    says("assumed   scale is 1/sqrt(16): there is no attribute 'scale'");
    says("assumed   queries see keys after themselves: there is no attribute 'causal'");
    says_not("hint");
    json_t *json = json_of();
    const json_t *sizes = json_object_get(json, "sizes");
    cr_assert(json_integer_value(json_object_get(sizes, "q_heads")) == 4);
    cr_assert(json_array_size(json_object_get(json, "datasets")) == 3);
    cr_assert(json_array_size(json_object_get(json, "assumed")) == 4);
    cr_assert(json_array_size(json_object_get(json, "hints")) == 0);
    json_decref(json);
}

Test(inspect, what_a_file_says_is_not_assumed) {
    write_stranger(&(struct stranger){.q = {2, 4, 5, 16}, .k = {2, 2, 9, 16}});
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    put_number(file, "causal", 1);
    put_number(file, "scale", 1. / 3);
    put_text(file, "dtype", "f32");
    H5Fclose(file);
    says("40 rows see 5 to 9 keys, 7 in the mean");
    says("causal    query i sees key j iff");
    says("scale     0.33333333333333331");
    says_not("there is no attribute");
}

/* Pages of latents, whose bytes are in k. */
Test(inspect, bytes_are_assumed_to_be_what_an_attribute_says) {
    static const uint8_t k[2 * 4 * 16];
    write_stranger(&(struct stranger){.q = {1, 4, 1, 16}, .kv_cache = {2, 2, 1, 4, 16}});
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    H5Ldelete(file, "kv_cache", H5P_DEFAULT);
    put(file, "k", H5T_STD_U8LE, 4, (hsize_t[]){2, 1, 4, 16}, H5P_DEFAULT, k);
    put(file, "k_scale", H5T_IEEE_F32LE, 1, (hsize_t[]){1}, H5P_DEFAULT, (float[]){1});
    put_number(file, "kshared", 1);
    put_text(file, "kv_dtype", "e4m3");
    H5Fclose(file);
    says("assumed   8-bit unsigned integers of k are bits of e4m3: the attribute 'kv_dtype' says "
         "so");
}

Test(inspect, an_output_of_8_bits_is_assumed_of_a_scale) {
    write_stranger(&(struct stranger){.q = {1, 4, 1, 16}, .kv_cache = {2, 2, 1, 4, 16}});
    says_not("out_scale");
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    put(file, "out_scale", H5T_IEEE_F32LE, 1, (hsize_t[]){1}, H5P_DEFAULT, (float[]){0.5f});
    H5Fclose(file);
    says("assumed   the output is e4m3, times out_scale: it is there");
}

/* The commonest mistake that nothing refuses: S divides S, and so Hkv divides Hq. */
Test(inspect, heads_that_are_tokens_are_hinted_at) {
    write_stranger(&(struct stranger){.q = {1, 32, 4, 16}, .k = {1, 32, 4, 16}});
    says("32 query heads are more than there are tokens (4 queries, 4 keys): are the tensors "
         "[B,S,H,D]? they are read as [B,H,S,D]");
    write_stranger(&(struct stranger){.q = {1, 4, 32, 16}, .k = {1, 4, 32, 16}});
    says_not("hint");
    write_stranger(&(struct stranger){.q = {1, 16, 1, 16}, .kv_cache = {2, 2, 16, 4, 16}});
    says("is kv_cache [pages,2,P,Hkv,D]? it is read as [pages,2,Hkv,P,D]");
    says("2 pages of 4 tokens");
    says("assumed   there are 7 key tokens, as the longest sequence has");
    write_stranger(&(struct stranger){.q = {1, 4, 1, 16}, .kv_cache = {2, 2, 4, 16, 16}});
    says_not("hint");
}

Test(inspect, other_things_that_are_seldom_meant_are_hinted_at) {
    write_stranger(&(struct stranger){.q = {1, 2, 3, 20}, .k = {1, 2, 20, 20}});
    says("k is as long as it is wide (20)");
    says("20 elements a head are unusual");
    write_stranger(&(struct stranger){.q = {1, 2, 1, 16}, .k = {1, 2, 0, 16}});
    says("2 rows see 0 keys");
    says("2 rows see no key: their out is 0, their lse -infinity");
    write_stranger(&(struct stranger){.q = {1, 2, 1, 64}, .k = {1, 2, 9, 64}});
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    put_number(file, "scale", 8);
    put_number(file, "causal", 1);
    H5Fclose(file);
    says("scale is 64 times 1/sqrt(64)");
    says("one query sees all keys: 'causal' changes nothing");
    says("variant   decode of f32");
}

Test(inspect, says_whose_answer_a_file_holds) {
    struct fixture fixture = test_drawn("f16-b2-hq4-hkv2-q5-kv7-d16-causal", 1);
    struct fault fault;
    char arguments[128];
    cr_assert(fixture_write(&fixture, path, &fault), "%s", fault.text);
    says("answer    none");
    snprintf(arguments, sizeof arguments, "oracle --rows 2 %s", path);
    attest(arguments, 0);
    says("answer    current: 2 of 5 rows a head, '" ORACLE_VERSION "', OpenBLAS");

    const struct rule_view view = fixture_view(&fixture);
    cr_assert(oracle_answer(&fixture.answer, &view, 0, 1, NULL, &fault), "%s", fault.text);
    strcpy(fixture.answer.oracle, "oracle 0");
    cr_assert(fixture_write_answer(&fixture, path, &fault), "%s", fault.text);
    says("answer    by another oracle: 5 of 5 rows a head, 'oracle 0', OpenBLAS");
    says("this program has '" ORACLE_VERSION "', and makes it anew");

    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    H5Adelete_by_name(file, "v", "digest", H5P_DEFAULT);
    const hid_t v = H5Dopen2(file, "v", H5P_DEFAULT), type = H5Dget_type(v);
    static const uint16_t zeros[2 * 2 * 7 * 16];
    cr_assert(H5Dwrite(v, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros) >= 0);
    H5Tclose(type);
    H5Dclose(v);
    H5Fclose(file);
    says("answer    to other tensors: `attest oracle");
    const hid_t again = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    H5Adelete_by_name(again, "answer", "inputs", H5P_DEFAULT);
    H5Fclose(again);
    says("answer    does not say to which inputs: `attest oracle");
    fixture_free(&fixture);
}

Test(inspect, lists_and_masks_are_told_apart) {
    struct fixture fixture = test_drawn("f16-b1-hq2-kv9-d16-keep3", 1);
    struct fault fault;
    uint8_t mask[2 * 9] = {0};
    const int32_t *list = fixture.tensors[ATTN_SPARSE_IND].data;
    for (int n = 0; n < 6; n++) mask[n / 3 * 9 + list[n]] = 1;
    cr_assert(fixture_write(&fixture, path, &fault), "%s", fault.text);
    says("2 rows see 3 keys");
    says_not("sparse_mask");
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    put(file, "sparse_mask", H5T_STD_U8LE, 3, (hsize_t[]){1, 2, 9}, H5P_DEFAULT, mask);
    H5Fclose(file);
    says("assumed   sparse_ind and sparse_mask choose the same tokens");
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    H5Ldelete(file, "sparse_ind", H5P_DEFAULT);
    H5Ldelete(file, "sparse_nnz", H5P_DEFAULT);
    H5Fclose(file);
    says("assumed   sparse_ind is the tokens of sparse_mask in ascending order");
    fixture_free(&fixture);
}

Test(inspect, refuses_as_other_verbs_do_and_goes_on) {
    char arguments[256];
    write_stranger(&(struct stranger){.q = {2, 4, 5, 16}, .k = {2, 2, 9, 16}});
    snprintf(arguments, sizeof arguments, "inspect /nowhere.h5 %s /dev/null", path);
    const char *text = attest(arguments, FAULT_INPUT);
    cr_assert(strstr(text, "cannot open '/nowhere.h5'") && strstr(text, "variant   prefill"), "%s",
              text);
    cr_assert(strstr(text, "'/dev/null' is not a file"), "%s", text);
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    put_number(file, "window", 4);
    H5Fclose(file);
    snprintf(arguments, sizeof arguments, "inspect %s", path);
    cr_assert(strstr(attest(arguments, FAULT_INPUT), "attribute 'window' is not"));
    attest("inspect", FAULT_INPUT);
    cr_assert(strstr(attest("inspect --help", 0), "Usage: attest inspect"));
}

Test(inspect, writes_nothing) {
    struct stat before, after;
    write_stranger(&(struct stranger){.q = {2, 4, 5, 16}, .k = {2, 2, 9, 16}});
    cr_assert(chmod(path, 0400) == 0 && stat(path, &before) == 0);
    inspected();
    cr_assert(stat(path, &after) == 0 && before.st_ino == after.st_ino);
    cr_assert(before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
}

Test(inspect, a_path_is_quoted_as_a_shell_reads_it) {
    struct fixture fixture = test_drawn("f16-b1-hq1-q1-kv8-d16", 1);
    struct fault fault;
    char odd[128];
    snprintf(odd, sizeof odd, "%s/a b'\"c\x1b.h5", folder);
    cr_assert(fixture_write(&fixture, odd, &fault), "%s", fault.text);
    char arguments[160], quoted[160];
    snprintf(arguments, sizeof arguments, "inspect %s/a*", folder);
    snprintf(quoted, sizeof quoted, "`attest oracle $'%s/a b\\'\"c\\033.h5'` computes it", folder);
    const char *text = attest(arguments, 0);
    cr_assert(strstr(text, quoted) != NULL, "%s is not said:\n%s", quoted, text);
    cr_assert(strstr(text, "\"c\\x1b.h5\n  variant") != NULL, "%s", text);
    remove(odd);
    fixture_free(&fixture);
}
