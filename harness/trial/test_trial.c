#include "trial.h"
#include "machine.h"
#include "obtain.h"
#include "outputs.h"
#include "../judge/work.h"
#include "../verb.h"
#include "../../fixtures/test_folder.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char small[] = "f16-b2-hq4-hkv2-kv100-d64-normal-seed1";

static struct fixture obtain(const char *line) {
    struct fixture fixture = {0};
    struct fault fault = {0};
    const struct obtain_options options = {.program = verb_program(), .uncached = true};
    cr_assert(obtain_line(&fixture, line, &options, &fault), "%s", fault.text);
    return fixture;
}

/* The one kernel of that name in a folder beside the kernels'. */
static struct plugin_list kernel(const char *folder, const char *name) {
    char path[4096];
    struct plugin_list list = {0};
    struct fault fault = {0};
    snprintf(path, sizeof path, "%s/../%s", verb_kernels(), folder);
    cr_assert(plugin_scan(&list, verb_program(), path, &name, 1, &fault), "%s", fault.text);
    cr_assert(list.count == 1, "%s", name);
    return list;
}

static struct trial_options checks(void) {
    struct trial_options options = trial_defaults;
    options.program = verb_program();
    options.time = false;
    options.watchdog_seconds = 20;
    return options;
}

static struct row run(const char *folder, const char *name, struct fixture *fixture,
                      const struct trial_options *options) {
    struct row row;
    struct fault fault = {0};
    bool spoilt = true;
    struct plugin_list list = kernel(folder, name);
    cr_assert(trial_run(&row, &list.plugins[0], fixture, options, &spoilt, &fault), "%s",
              fault.text);
    cr_assert(!spoilt || strcmp(row.status, "PASS") != 0);
    plugin_list_free(&list);
    return row;
}

Test(trial, an_honest_kernel_passes_and_its_row_is_complete) {
    struct fixture fixture = obtain(small);
    struct machine machine = {0};
    struct trial_options options = checks();
    options.time = true;
    options.plan.total_ms_max = 50;
    machine_describe(&machine, 0, NULL);
    machine.sgemm_flops = machine.read_bytes_s = 1e15; /* nothing is suspicious */
    machine.fma_flops = 1e15;
    options.machine = &machine;
    const struct row row = run("kernels", "decode_naive_r1", &fixture, &options);
    cr_assert(!strcmp(row.status, "PASS") || !strcmp(row.status, "UNSTABLE"), "%s: %s", row.status,
              row.reason);
    cr_assert(!strcmp(row.kernel, "cpu/decode_naive_r1") && !strcmp(row.device, "cpu"));
    cr_assert(!strcmp(row.variant, "decode") && !strcmp(row.method, "naive"));
    cr_assert(!strcmp(row.line, fixture.line) && !strcmp(row.dtype, "f16"));
    cr_assert(!strcmp(row.fixture_digest, fixture.digest) && strlen(row.library_digest) == 32);
    cr_assert(row.batch == 2 && row.q_heads == 4 && row.kv_heads == 2 && row.head_dim == 64);
    cr_assert(row.deviation.elements == 2 * 4 * 64 && row.nan_ratio == 0);
    cr_assert(row.grade[0] == 'A' && row.kept_ratio == 1);
    cr_assert(row.cold.n >= 1 && row.warm.n >= 5 && row.warm.median_us > 0);
    cr_assert(row.tflops > 0 && row.gbs > 0 && row.ceiling_percent > 0 && row.ceiling[0] != '\0');
    cr_assert_str_eq(row.ceiling_from, "measured");
    cr_assert(row.seconds > 0 && (row.repeat[0] == '\0') == !strcmp(row.status, "PASS"));
    fixture_free(&fixture);
}

/* With poison in what must not be read, as users run it. */
Test(trial, a_wrong_output_is_diagnosed_and_a_right_one_is_not) {
    struct fixture fixture = obtain("f16-b1-hq8-hkv8-q1-kv1000-d64-normal-seed1");
    const struct trial_options options = checks();
    const struct row wrong = run("planted", "decode_last_key_dropped_r1", &fixture, &options);
    cr_assert_str_eq(wrong.diagnosis, "as if a query saw one key fewer, the last left out, and its "
                                      "lse as well; wrong in 8 of 8 rows");
    const struct row right = run("planted", "decode_flash_r1", &fixture, &options);
    cr_assert_str_eq(right.status, "PASS");
    cr_assert_str_eq(right.diagnosis, "");
    const struct row other = run("planted", "decode_out_overrun_r1", &fixture, &options);
    cr_assert_str_eq(other.diagnosis, "");
    fixture_free(&fixture);
}

Test(trial, a_leak_is_told_where_it_shows) {
    struct fixture fixture = obtain("f16-b2-hq4-hkv2-q1-kv190-d64-page64-lens190,180-normal-seed1");
    struct trial_options options = checks();
    struct samples samples = {0};
    options.samples = &samples;
    const struct row row = run("planted", "decode_paged_key_too_many_r1", &fixture, &options);
    cr_assert_str_eq(row.status, "FAIL_OOB_READ");
    cr_assert(!strncmp(row.diagnosis, "out differs first at b=", 23), "%s", row.diagnosis);
    cr_assert(strstr(row.diagnosis, "d=0: nan where what must not be read holds NaN, ") != NULL,
              "%s", row.diagnosis);
    cr_assert(strstr(row.diagnosis, " where it holds 6e4; in ") != NULL, "%s", row.diagnosis);
    cr_assert(samples.out.count == 64 && samples.lse.count == 0);
    cr_assert(samples.out.index[63][0] == 0 && samples.out.index[63][3] == 63);
    for (int n = 0; n < 64; n++) {
        cr_assert(isfinite(samples.out.got[n]) && isnan(samples.out.expected[n]));
        cr_assert(samples.out.tolerance[n] == 0);
    }
    samples_free(&samples);
    fixture_free(&fixture);
}

Test(trial, what_was_read_though_it_must_not_be_is_named) {
    static const struct {
        const char *folder, *kernel, *line, *where;
    } expected[] = {
        {"planted", "decode_paged_key_too_many_r1",
         "f16-b2-hq4-hkv2-q1-kv190-d64-page64-lens190,180-normal-seed1",
         "read: keys of sequence 0 at token 190, beyond the length (page "},
        {"planted", "decode_paged_length_overread_r1",
         "f16-b2-hq4-hkv2-q1-kv190-d64-page64-lens190,180-normal-seed1",
         "read: values of sequence 0 at token 190, beyond the length (page "},
        {"odd", "prefill_varlen_leaks_padding_r1", "f32-b2-hq2-q40-kv40-d8-lens40,17-normal-seed1",
         "read: q of sequence 1 at i=17, beyond the length (h=0)"},
        {"odd", "sparse_decode_leaks_unlisted_r1", "f32-b2-hq4-hkv2-kv50-d8-keep5-normal-seed1",
         "on no list (g=0); v of sequence 0 at token "},
        {"odd", "decode_paged_leaks_unused_r1", "f32-b2-hq2-d8-page16-lens40,17-normal-seed1",
         ", which no sequence has (g=1, row 15)"},
    };
    for (size_t n = 0; n < sizeof expected / sizeof expected[0]; n++) {
        struct fixture fixture = obtain(expected[n].line);
        struct trial_options options = checks();
        options.repeat_seconds = 60;
        const struct row row = run(expected[n].folder, expected[n].kernel, &fixture, &options);
        cr_assert_str_eq(row.status, "FAIL_OOB_READ");
        cr_assert(strstr(row.reason, expected[n].where) != NULL, "%s: %s", row.kernel, row.reason);
        /* And no more than the tensor where there is no time. */
        options.repeat_seconds = 0;
        const struct row hasty = run(expected[n].folder, expected[n].kernel, &fixture, &options);
        cr_assert(strstr(hasty.reason, "must not be read: ") != NULL, "%s", hasty.reason);
        cr_assert(strstr(hasty.reason, "(") == NULL, "%s", hasty.reason);
        fixture_free(&fixture);
    }
}

Test(trial, a_machine_that_was_never_measured_has_a_bound_and_no_share_of_it) {
    struct fixture fixture = obtain(small);
    struct machine machine = {0};
    struct trial_options options = checks();
    options.time = true;
    options.plan.total_ms_max = 20;
    machine_describe(&machine, 0, NULL);
    options.machine = &machine;
    const struct row row = run("kernels", "decode_flash_r1", &fixture, &options);
    cr_assert(!strcmp(row.status, "PASS") || !strcmp(row.status, "UNSTABLE"), "%s", row.reason);
    cr_assert_str_eq(row.ceiling_from, "bound");
    cr_assert(isnan(row.ceiling_percent) && row.ceiling[0] == '\0');
    fixture_free(&fixture);
}

Test(trial, a_rate_that_no_machine_has_is_not_believed) {
    struct fixture fixture = obtain("f32-b1-hq8-q256-kv256-d64-normal-seed1");
    struct machine machine = {.fma_flops = 1}; /* measured again before the accusation */
    struct trial_options options = checks();
    options.time = true;
    options.plan.total_ms_max = 20;
    options.machine = &machine;
    const struct row row = run("kernels", "prefill_flash_r1", &fixture, &options);
    cr_assert(!strcmp(row.status, "PASS") || !strcmp(row.status, "UNSTABLE"), "%s: %s", row.status,
              row.reason);
    fixture_free(&fixture);
}

Test(trial, inputs_that_may_be_read_are_as_they_were) {
    struct fixture fixture = obtain("f16-b2-hq4-hkv2-kv100-d64-page16-lens100,37-normal-seed1");
    const struct trial_options options = checks();
    const struct attn_tensor *cache = &fixture.tensors[ATTN_KV_CACHE];
    const struct rule_view view = fixture_view(&fixture);
    const size_t row_bytes = 64 * sizeof(uint16_t);
    unsigned char *before = malloc((size_t)tensor_bytes(cache));
    cr_assert(before != NULL);
    memcpy(before, cache->data, (size_t)tensor_bytes(cache));
    const struct row row = run("kernels", "decode_paged_flash_r1", &fixture, &options);
    cr_assert(!strcmp(row.status, "PASS"), "%s", row.reason);
    for (int64_t b = 0; b < 2; b++) {
        for (int64_t t = 0; t < rules_kv_len(&view, b); t++) {
            for (int value = 0; value < 2; value++) {
                const size_t at = (size_t)rules_row_index(&view, b, 1, t, value) * row_bytes;
                cr_assert(memcmp((char *)cache->data + at, before + at, row_bytes) == 0);
            }
        }
    }
    free(before);
    fixture_free(&fixture);
}

/* What a kernel does as a process, and the row that it gets. */
Test(trial, misbehaviour_is_a_status_with_a_reason) {
    static const struct {
        const char *kernel, *status, *reason;
    } expected[] = {
        {"decode_refuses_r1", "REFUSED", "not on a Sunday"},
        {"decode_fails_r1", "CRASH", "launch failed: the moon is full"},
        {"decode_exits_r1", "CRASH", "exit status 0 in launch"},
        {"decode_orphans_r1", "CRASH", "SIGABRT in launch"},
        {"decode_no_memory_r1", "OOM", "Out of memory on the device"},
        {"decode_scratch_huge_r1", "OOM", "bytes of scratch"},
        {"decode_scratch_after_r1", "FAIL_OOB_WRITE", "after scratch"},
        {"decode_scratch_before_r1", "FAIL_OOB_WRITE", "before scratch"},
        {"decode_chatty_r1", "FAIL_ACCURACY", "gate 2"},
        {"decode_scratch_zero_r1", "FAIL_UNINITIALISED", "with 0 in it"},
        {"decode_changes_r1", "FAIL_NONDET", "differed"},
        {"decode_babbles_r1", "CRASH", "not the protocol's"},
        {"decode_garbles_r1", "CRASH", "not the protocol's"},
        {"decode_shrinks_r1", "FAIL_ACCURACY", "gate 2"},
        {"decode_forks_r1", "FAIL_ACCURACY", "gate 2"},
        {"decode_refuses_here_r1", "REFUSED", "not on this machine"},
        {"decode_kills_parent_r1", "CRASH", "SIGSYS in launch: most likely it reached for"},
        {"decode_stops_parent_r1", "CRASH", "SIGSYS"},
        {"decode_traces_parent_r1", "CRASH", "SIGSYS"},
        {"decode_reads_parent_r1", "CRASH", "SIGSYS"},
        {"decode_signals_all_r1", "CRASH", "SIGSYS"},
        {"decode_catches_r1", "FAIL_ACCURACY", "gate 2"},
        {"decode_reads_on_r1", "FAIL_OOB_READ",
         "reads byte 1 past the end of q, behind b=1 h=3 i=0"},
        {"decode_writes_on_r1", "FAIL_OOB_WRITE", "writes byte 17 past the end of q"},
    };
    struct fixture fixture = obtain(small);
    const struct trial_options options = checks();
    for (size_t n = 0; n < sizeof expected / sizeof expected[0]; n++) {
        const struct row row = run("odd", expected[n].kernel, &fixture, &options);
        cr_assert(!strcmp(row.status, expected[n].status), "%s: %s, %s", expected[n].kernel,
                  row.status, row.reason);
        cr_assert(strstr(row.reason, expected[n].reason) != NULL, "%s: %s", expected[n].kernel,
                  row.reason);
        const bool failed = strcmp(row.status, "REFUSED") != 0;
        cr_assert((strstr(row.repeat, fixture.line) != NULL) == failed, "%s", row.repeat);
    }
    fixture_free(&fixture);
}

/* Of two causes the one that is there: a merge of what nobody wrote is right as long as that is
 * NaN, and a kernel that varies by itself, once the poison is another, has not read it. */
Test(trial, a_difference_has_its_cause_named) {
    static const struct {
        const char *kernel, *line, *status, *reason;
        int repeats;
    } expected[] = {
        {"decode_paged_split_unwritten_r1",
         "f16-b2-hq4-hkv2-q1-kv1000-d64-page64-lens1000,190-normal-seed1", "FAIL_UNINITIALISED",
         "with 1, 60000 in it", 10},
        {"decode_paged_split_unwritten_r1",
         "f16-b2-hq4-hkv2-q1-kv1000-d64-page64-lens1000,190-normal-seed1", "FAIL_UNINITIALISED",
         "in it", 1},
        {"decode_paged_split_r1", "f16-b2-hq4-hkv2-q1-kv1000-d64-page64-lens1000,190-normal-seed1",
         "PASS", "", 10},
        {"decode_varies_late_r1", small, "FAIL_NONDET", "differed", 10},
        {"decode_varies_late_r1", small, "PASS", "", 6},
        {"decode_paged_length_overread_r1",
         "f16-b2-hq4-hkv2-q1-kv1000-d64-page64-lens1000,190-normal-seed1", "FAIL_OOB_READ",
         "must not be read", 10},
    };
    for (size_t n = 0; n < sizeof expected / sizeof expected[0]; n++) {
        struct fixture fixture = obtain(expected[n].line);
        struct trial_options options = checks();
        options.repeats = expected[n].repeats;
        const struct row row = run("planted", expected[n].kernel, &fixture, &options);
        cr_assert(!strcmp(row.status, expected[n].status), "%s: %s, %s", row.kernel, row.status,
                  row.reason);
        cr_assert(strstr(row.reason, expected[n].reason) != NULL, "%s: %s", row.kernel, row.reason);
        fixture_free(&fixture);
    }
}

/* What changes neither memory nor a result, wherever tensors end and however large they are. */
Test(trial, what_goes_beyond_an_input_is_found_though_it_does_no_harm) {
    static const struct {
        const char *kernel, *line, *status, *reason;
    } expected[] = {
        {"decode_past_end_r1", "f16-b1-hq2-hkv2-kv301-d56-normal-seed1", "FAIL_OOB_READ",
         "reads byte 1 past the end of v, behind b=0 g=1 j=300 d=55"},
        {"decode_past_end_r1", "f16-b1-hq2-hkv2-kv3-d63-normal-seed1", "FAIL_OOB_READ",
         "reads byte 13 past the end of v"}, /* 756 bytes: poison is up to a multiple of 16 */
        {"decode_past_end_r1", "bf16-b1-hq2-hkv2-kv64-d64-normal-seed1", "FAIL_OOB_READ",
         "reads byte 1 past the end of v"},
        {"decode_past_end_r1", "f16-b1-hq8-hkv8-kv66001-d64-normal-seed1", "FAIL_OOB_READ",
         "reads byte 1 past the end of v"}, /* 64 MiB each and a row */
        {"decode_before_begin_r1", "f16-b1-hq2-hkv2-kv301-d56-normal-seed1", "FAIL_OOB_READ",
         "reads byte 112 before the beginning of k"},
        {"decode_before_begin_r1", "f16-b1-hq2-hkv2-kv64-d64-normal-seed1", "FAIL_OOB_READ",
         "reads byte 128 before the beginning of k"},
        {"decode_writes_back_r1", small, "FAIL_INPUT_CHANGED", "writes to q, at b=0 h=0 i=0 d=1"},
        {"decode_keeps_addresses_r1", small, "FAIL_NONDET", "with inputs at other addresses"},
        {"decode_flash_r1", "f16-b1-hq2-hkv2-kv301-d63-normal-seed1", "PASS", ""},
    };
    for (size_t n = 0; n < sizeof expected / sizeof expected[0]; n++) {
        struct fixture fixture = obtain(expected[n].line);
        const struct trial_options options = checks();
        const struct row row = run("planted", expected[n].kernel, &fixture, &options);
        cr_assert(!strcmp(row.status, expected[n].status), "%s: %s, %s", row.kernel, row.status,
                  row.reason);
        cr_assert(strstr(row.reason, expected[n].reason) != NULL, "%s: %s", row.kernel, row.reason);
        cr_assert(row.deviation.t_max < 1, "%s: %g", row.kernel, row.deviation.t_max);
        fixture_free(&fixture);
    }
}

/* It runs what it ran, and is not given what its attn.h had no name for. */
Test(trial, a_library_built_before_a_trait_is_refused_where_it_must_be) {
    static const struct {
        const char *line, *status, *reason;
    } expected[] = {
        {"f32-b2-hq4-hkv2-kv77-d64-normal-seed1", "PASS", ""},
        {"f32-b2-hq4-hkv2-kv77-d64-scale0.3-peaked-seed1", "PASS", ""},
        {"f32-b2-hq4-hkv2-kv77-d64-window9-normal-seed1", "REFUSED", "the trait window"},
        {"f32-b2-hq4-hkv2-kv77-d64-softcap5-normal-seed1", "REFUSED", "the trait softcap"},
        {"f32-b2-hq4-hkv2-kv77-d64-sinks-normal-seed1", "REFUSED", "the trait sinks"},
        {"f32-b2-hq4-hkv2-kv77-d64-dv32-normal-seed1", "REFUSED", "the trait dv"},
        {"f32-b2-hq4-hkv2-kv77-d64-dv32-kshared-normal-seed1", "REFUSED", "the trait dv"},
        {"f32-b2-hq4-hkv2-kv77-d64-kshared-normal-seed1", "REFUSED", "the trait kshared"},
        {"f32-b2-hq4-hkv2-kv77-d64-lens77,3-normal-seed1", "REFUSED", "the trait ragged"},
        {"f32-b2-hq4-hkv2-kv77-d64-lens77,3-qlens1,0-normal-seed1", "REFUSED", "the trait ragged"},
        {"f32-b2-hq4-hkv2-q9-kv77-d64-page16-normal-seed1", "REFUSED", "prefill_paged"},
        {"f32-b2-hq4-hkv2-kv77-d64-kve4m3-normal-seed1", "REFUSED", "the trait kve4m3"},
        {"f32-b2-hq4-hkv2-kv77-d64-kvint8token-normal-seed1", "REFUSED", "the trait kvint8"},
        {"f32-b2-hq4-hkv2-kv77-d64-strided-normal-seed1", "REFUSED", "the trait strided"},
        {"f32-b2-hq4-hkv2-kv77-d64-page16-nhd-normal-seed1", "REFUSED", "decode_paged"},
    };
    for (size_t n = 0; n < sizeof expected / sizeof expected[0]; n++) {
        struct fixture fixture = obtain(expected[n].line);
        const struct trial_options options = checks();
        const struct row row = run("odd-before", "decode_example_r1", &fixture, &options);
        cr_assert(!strcmp(row.status, expected[n].status), "%s: %s, %s", expected[n].line,
                  row.status, row.reason);
        cr_assert(strstr(row.reason, expected[n].reason) != NULL, "%s", row.reason);
        fixture_free(&fixture);
    }
}

Test(trial, repeats_that_are_asked_for_are_all_made) {
    struct fixture fixture = obtain(small);
    struct trial_options options = checks();
    options.repeats = 15;
    options.repeat_seconds = 0;
    const struct row few = run("planted", "decode_varies_late_r1", &fixture, &options);
    cr_assert(!strcmp(few.status, "PASS"), "%s", few.reason);
    options.repeats_asked = true;
    const struct row all = run("planted", "decode_varies_late_r1", &fixture, &options);
    cr_assert(!strcmp(all.status, "FAIL_NONDET"), "%s", all.status);
    cr_assert(strstr(all.repeat, " --repeats 15") != NULL, "%s", all.repeat);
    fixture_free(&fixture);
}

/* Whatever a kernel keeps of its first call, and whatever the size: every input is another in a
 * later one. The row says which could be changed. */
Test(trial, what_is_kept_of_an_earlier_call_is_found) {
    static const struct {
        const char *folder, *kernel, *line, *status, *reason, *checks;
    } expected[] = {
        {"planted", "decode_previous_call_r1", "f16-b1-hq8-hkv8-q1-kv33000-d64-normal-seed1",
         "FAIL_NONDET", "previous call's output", "not batch (one sequence)"},
        {"planted", "decode_keeps_k_r1", small, "FAIL_NONDET", "q and k negated", "batch"},
        {"planted", "decode_keeps_q_and_k_r1", "f16-b1-hq2-hkv2-kv100-d64-normal-seed1",
         "FAIL_NONDET", "keys in another order", "values signs keys; not batch"},
        {"planted", "prefill_keeps_p_r1", "f16-b1-hq2-hkv1-q64-kv100-d64-causal-normal-seed1",
         "FAIL_NONDET", "with q negated", "fresh; not keys (causal)"},
        {"planted", "decode_paged_keeps_pages_r1",
         "f16-b2-hq4-hkv2-q1-kv1000-d64-page64-lens1000,190-normal-seed1", "FAIL_NONDET",
         "pages at other places", "pages batch"},
        /* not kept: in the order that is drawn no maximum moves */
        {"planted", "decode_rescale_missed_r1", "f16-b1-hq2-hkv2-q1-kv100-d64-descending-seed1",
         "FAIL_ACCURACY",
         "right with these inputs, wrong with keys in another order, also in a process",
         "values signs keys"},
        {"kernels", "decode_flash_r1", small, "PASS", "", "edges values signs keys batch"},
        {"kernels", "prefill_varlen_flash_r1", "f32-b3-hq2-q80-kv80-d64-causal-lens80,0,33-seed1",
         "PASS", "", "values signs batch fresh; not keys (causal)"},
        {"kernels", "decode_paged_flash_r1",
         "f16-b4-hq4-hkv2-kv500-d64-page16-pagesshared-lens500,480,0,37-seed1", "PASS", "",
         "values signs keys pages batch"},
        {"kernels", "sparse_decode_paged_bymask_r1",
         "bf16-b2-hq4-hkv2-kv300-d64-page16-keep40-lens300,100-seed1", "PASS", "",
         "values signs keys pages batch"},
        {"kernels", "decode_flash_r1", "f16-b2-hq4-hkv2-kv100-d64-kvint8token-seed1", "PASS", "",
         "edges values signs keys batch"},
        {"kernels", "decode_paged_flash_r1",
         "f16-b4-hq4-hkv2-kv500-d64-page16-pagesshared-lens500,480,0,37-kve4m3token-seed1", "PASS",
         "", "values signs keys pages batch"},
        {"kernels", "prefill_paged_naive_r1",
         "f32-b2-hq4-hkv2-q9-kv90-d64-page16-causal-lens90,33-kvint8head-seed1", "PASS", "",
         "values signs pages batch fresh; not keys (causal)"},
        {"kernels", "prefill_flash_r1", "f16-b2-hq4-hkv2-q9-kv90-d64-causal-kve4m3token-seed1",
         "PASS", "", "values signs batch fresh; not keys (causal)"},
        {"kernels", "sparse_decode_flash_r1", "f16-b2-hq4-hkv2-kv300-d64-keep40-seed1", "PASS", "",
         "values signs keys batch"},
        {"kernels", "magicpig_decode_paged_flash_r1",
         "f16-b2-hq4-hkv2-kv300-d64-page16-keep40-magicpig-lens300,100-seed1", "PASS", "",
         "values signs keys pages batch"},
    };
    for (size_t n = 0; n < sizeof expected / sizeof expected[0]; n++) {
        struct fixture fixture = obtain(expected[n].line);
        const struct trial_options options = checks();
        const struct row row = run(expected[n].folder, expected[n].kernel, &fixture, &options);
        cr_assert(!strcmp(row.status, expected[n].status), "%s: %s, %s", row.kernel, row.status,
                  row.reason);
        cr_assert(strstr(row.reason, expected[n].reason) != NULL, "%s: %s", row.kernel, row.reason);
        cr_assert(strstr(row.checks, expected[n].checks) != NULL, "%s: %s", row.kernel, row.checks);
        fixture_free(&fixture);
    }
}

/* What is written late is told from what is never written. */
Test(trial, an_output_that_comes_late_is_not_there) {
    struct fixture fixture = obtain(small);
    const struct trial_options options = checks();
    const struct row late = run("planted", "decode_answers_later_r1", &fixture, &options);
    cr_assert_str_eq(late.status, "FAIL_UNWRITTEN");
    cr_assert(!strncmp(late.reason, "written after launch had returned", 33), "%s", late.reason);
    fixture_free(&fixture);
    fixture = obtain("f16-b1-hq2-hkv1-q64-kv100-d64-causal-normal-seed1");
    const struct row never = run("planted", "prefill_tile_unwritten_r1", &fixture, &options);
    cr_assert_str_eq(never.status, "FAIL_UNWRITTEN");
    cr_assert(strstr(never.reason, "never written") != NULL, "%s", never.reason);
    fixture_free(&fixture);
}

/* Rarely and late: what a launch leaves is compared when it is timed too. */
Test(trial, what_timed_launches_leave_is_compared) {
    static const char *const wrong[] = {"decode_rarely_wrong_r1", "decode_lately_wrong_r1"};
    struct fixture fixture = obtain(small);
    struct trial_options options = checks();
    options.plan.samples_min = 200; /* however slow and busy this host is */
    for (int n = 0; n < 2; n++) {
        options.time = false;
        const struct row few = run("planted", wrong[n], &fixture, &options);
        cr_assert(!strcmp(few.status, "PASS"), "%s: %s", few.kernel, few.reason);
        options.time = true;
        const struct row timed = run("planted", wrong[n], &fixture, &options);
        cr_assert(!strcmp(timed.status, "FAIL_NONDET"), "%s: %s", timed.kernel, timed.status);
        cr_assert(strstr(timed.reason, "samples left another output") != NULL, "%s", timed.reason);
        cr_assert(strstr(timed.reason, "gate 2") != NULL, "%s", timed.reason);
    }
    options.time = false;
    options.repeats_asked = true;
    options.repeats = 300;
    for (int n = 0; n < 2; n++) {
        const struct row many = run("planted", wrong[n], &fixture, &options);
        cr_assert(!strcmp(many.status, "FAIL_NONDET"), "%s: %s", many.kernel, many.status);
    }
    fixture_free(&fixture);
}

/* Right, and not in the time that it took. */
Test(trial, what_is_faster_than_it_should_be_is_found) {
    static const struct {
        const char *kernel, *status, *reason;
    } expected[] = {
        {"decode_answer_stands_r1", "INVALID_PHYSICS", "takes"}, /* where it stands, or else */
        {"decode_fingerprints_inputs_r1", "FAIL_NONDET", "values as they were"},
        {"decode_hashes_inputs_r1", "INVALID_PHYSICS", "it keeps what it computed before"},
        {"decode_prepare_does_all_r1", "FAIL_NONDET", "values as they were"},
        {"decode_patched_clock_r1", "INVALID_PHYSICS", "the worker's clock says"},
    };
    struct fixture fixture = obtain("f16-b2-hq8-hkv2-q1-kv256-d64-normal-seed1");
    struct trial_options options = checks();
    for (size_t n = 0; n < sizeof expected / sizeof expected[0]; n++) {
        options.time = false;
        const struct row untimed = run("planted", expected[n].kernel, &fixture, &options);
        cr_assert(!strcmp(untimed.status, "PASS"), "%s: %s", untimed.kernel, untimed.reason);
        options.time = true;
        const struct row row = run("planted", expected[n].kernel, &fixture, &options);
        cr_assert(!strcmp(row.status, expected[n].status), "%s: %s: %s", row.kernel, row.status,
                  row.reason);
        cr_assert(strstr(row.reason, expected[n].reason) != NULL, "%s: %s", row.kernel, row.reason);
    }
    fixture_free(&fixture);
}

/* Of each way that values lie, and are turned: bits of the inputs are as they were. */
Test(trial, honest_kernels_are_timed_while_values_change) {
    static const struct {
        const char *kernel, *line;
    } honest[] = {
        {"prefill_varlen_flash_r1", "bf16-b3-hq4-hkv2-q48-kv48-d64-causal-lens48,1,30-seed1"},
        {"decode_flash_r1", "f32-b2-hq4-hkv2-kv100-d64-normal-seed1"},
        {"decode_paged_flash_r1", "f16-b3-hq4-hkv2-kv190-d64-page16-lens190,0,131-normal-seed1"},
        {"decode_paged_flash_r1", "f16-b4-hq4-hkv2-kv190-d64-page16-pagesshared-normal-seed1"},
        {"sparse_decode_flash_r1", "f16-b1-hq8-hkv2-kv1000-d64-keep0.1-normal-seed1"},
    };
    for (size_t n = 0; n < sizeof honest / sizeof honest[0]; n++) {
        struct fixture fixture = obtain(honest[n].line);
        struct trial_options options = checks();
        options.time = true;
        options.plan.total_ms_max = 50;
        const struct row row = run("kernels", honest[n].kernel, &fixture, &options);
        cr_assert(!strcmp(row.status, "PASS") || !strcmp(row.status, "UNSTABLE"), "%s: %s: %s",
                  row.line, row.status, row.reason);
        cr_assert(row.changed_us > 0 && row.outside_us > 0);
        fixture_free(&fixture);
    }
}

/* Processes that work in `folder`, as this one and all that come of it do; without this one. */
static int others_in(const char *folder) {
    int count = 0;
    DIR *processes = opendir("/proc");
    cr_assert(processes != NULL);
    for (const struct dirent *entry; (entry = readdir(processes)) != NULL;) {
        char path[300], target[4096];
        if (strtol(entry->d_name, NULL, 10) <= 0) continue;
        snprintf(path, sizeof path, "/proc/%s/cwd", entry->d_name);
        const ssize_t length = readlink(path, target, sizeof target - 1);
        target[length > 0 ? length : 0] = '\0';
        count += !strcmp(target, folder);
    }
    closedir(processes);
    return count - 1;
}

Test(trial, no_process_of_a_kernel_outlives_its_row) {
    static const char *const names[] = {"decode_leaves_r1", "decode_forks_r1"};
    struct fixture fixture = obtain(small);
    const struct trial_options options = checks();
    char home[64];
    test_folder_make(home);
    cr_assert(chdir(home) == 0);
    for (int n = 0; n < 2; n++) {
        const struct row row = run("odd", names[n], &fixture, &options);
        cr_assert(strcmp(row.status, "PASS") != 0);
        cr_assert(others_in(home) == 0, "%s", names[n]);
    }
    cr_assert(chdir("/") == 0);
    test_folder_remove(home);
    fixture_free(&fixture);
}

Test(trial, a_kernel_that_does_not_come_back_hangs_wherever_it_went) {
    static const char *const names[] = {"decode_stops_r1", "decode_regroups_r1",
                                        "decode_is_traced_r1"};
    struct fixture fixture = obtain(small);
    struct trial_options options = checks();
    char home[64];
    test_folder_make(home);
    cr_assert(chdir(home) == 0);
    options.watchdog_seconds = 0.5;
    for (int n = 0; n < 3; n++) {
        const struct row row = run("odd", names[n], &fixture, &options);
        cr_assert(!strcmp(row.status, "HANG"), "%s: %s", row.status, row.reason);
        cr_assert(row.seconds < 5 && others_in(home) == 0, "%s", names[n]);
    }
    cr_assert(chdir("/") == 0);
    test_folder_remove(home);
    fixture_free(&fixture);
}

/* Whoever comes next has what he would have had alone. */
Test(trial, inputs_that_a_kernel_changed_and_left_are_spoilt) {
    static const struct {
        const char *kernel;
        bool spoils;
    } expected[] = {{"decode_scribbles_r1", true},
                    {"decode_leaves_r1", true},
                    {"decode_exits_r1", false},
                    {"decode_orphans_r1", false}};
    struct fixture fixture = obtain(small);
    const struct trial_options options = checks();
    for (size_t n = 0; n < sizeof expected / sizeof expected[0]; n++) {
        struct plugin_list list = kernel("odd", expected[n].kernel);
        struct row row;
        struct fault fault = {0};
        bool spoilt = !expected[n].spoils;
        cr_assert(trial_run(&row, &list.plugins[0], &fixture, &options, &spoilt, &fault));
        cr_assert(spoilt == expected[n].spoils, "%s: %s", row.kernel, row.reason);
        if (spoilt) {
            fixture_free(&fixture);
            fixture = obtain(small);
        }
        plugin_list_free(&list);
    }
    fixture_free(&fixture);
}

Test(trial, what_a_kernel_prints_is_cut_and_steers_no_terminal) {
    struct fixture fixture = obtain(small);
    const struct trial_options options = checks();
    FILE *printed = tmpfile();
    cr_assert(printed != NULL);
    fflush(stderr);
    const int before = dup(STDERR_FILENO);
    dup2(fileno(printed), STDERR_FILENO);
    const struct row row = run("odd", "decode_prints_r1", &fixture, &options);
    fflush(stderr);
    dup2(before, STDERR_FILENO);
    close(before);
    cr_assert(!strcmp(row.status, "FAIL_ACCURACY"), "%s: %s", row.status, row.reason);
    char line[512], last[512] = "";
    int lines = 0;
    rewind(printed);
    for (; fgets(line, sizeof line, printed) != NULL; lines++) {
        cr_assert(strchr(line, '\033') == NULL);
        strcpy(last, line);
    }
    cr_assert(lines == 21, "%d", lines);
    cr_assert(strstr(last, " more lines that the kernel printed") != NULL, "%s", last);
    fclose(printed);
    fixture_free(&fixture);
}

Test(trial, processes_that_end_before_a_kernel_is_in_them_cost_the_row) {
    struct fixture fixture = obtain(small);
    struct trial_options options = checks();
    struct plugin_list list = kernel("kernels", "decode_naive_r1");
    struct row row;
    struct fault fault = {0};
    bool spoilt = true;
    options.program = "/bin/false";
    cr_assert(trial_run(&row, &list.plugins[0], &fixture, &options, &spoilt, &fault), "%s",
              fault.text);
    cr_assert(!spoilt && !strcmp(row.status, "CRASH"), "%s", row.status);
    cr_assert(strstr(row.reason, "exit status 1") != NULL, "%s", row.reason);
    options.program = "/nowhere/attest"; /* as while it is built anew */
    cr_assert(!trial_run(&row, &list.plugins[0], &fixture, &options, &spoilt, &fault));
    cr_assert(fault.code == FAULT_INPUT && strstr(fault.text, "/nowhere/attest") != NULL);
    plugin_list_free(&list);
    fixture_free(&fixture);
}

Test(trial, a_kernel_gets_no_more_memory_than_it_may_have) {
    struct fixture fixture = obtain(small);
    struct trial_options options = checks();
    options.memory_max = (int64_t)256 << 20;
    const struct row row = run("odd", "decode_hoards_r1", &fixture, &options);
    cr_assert(!strcmp(row.status, "OOM"), "%s: %s", row.status, row.reason);
    fixture_free(&fixture);
}

Test(trial, what_is_not_declared_is_refused_without_a_worker) {
    struct fixture fixture = obtain("bf16-b2-hq4-hkv2-kv100-d64-normal-seed1");
    struct trial_options options = checks();
    struct plugin_list list = kernel("odd", "decode_exits_r1");
    struct row row;
    struct fault fault = {0};
    bool spoilt;
    options.program = "/nowhere";
    cr_assert(trial_run(&row, &list.plugins[0], &fixture, &options, &spoilt, &fault));
    cr_assert(!strcmp(row.status, "REFUSED") && strstr(row.reason, "bf16") != NULL, "%s",
              row.reason);
    cr_assert(isnan(row.deviation.rho) && isnan(row.nan_ratio) && row.warm.n == 0);
    plugin_list_free(&list);
    fixture_free(&fixture);
}

static struct outputs outputs_for(const struct fixture *fixture) {
    struct outputs outputs;
    struct fault fault = {0};
    cr_assert(outputs_allocate(&outputs, &fixture->problem.attn, &fault), "%s", fault.text);
    outputs_guard(&outputs);
    outputs_fill(&outputs, rules_out_dtype(&fixture->problem.attn));
    return outputs;
}

Test(outputs, a_write_beside_a_tensor_is_noticed_wherever_it_is) {
    struct fixture fixture = obtain("f16-b1-hq3-kv5-d7-normal-seed1");
    struct outputs outputs = outputs_for(&fixture);
    for (size_t at = 0; at < outputs.bytes; at++) {
        const bool inside =
            at - outputs.out_at < outputs.out_bytes || at - outputs.lse_at < outputs.lse_bytes;
        outputs.memory[at] ^= 1;
        cr_assert((outputs_guard_broken(&outputs) == NULL) == inside, "%zu", at);
        outputs.memory[at] ^= 1;
    }
    cr_assert(outputs.out_bytes == 3 * 7 * 2 && outputs.lse_bytes == 3 * 4);
    cr_assert(outputs_guard_broken(&outputs) == NULL);
    outputs_free(&outputs);
    fixture_free(&fixture);
}

Test(outputs, rows_beyond_a_length_are_not_compared) {
    struct fixture fixture = obtain("f32-b2-hq2-q8-kv8-d4-lens8,3-normal-seed1");
    struct outputs outputs = outputs_for(&fixture);
    const struct rule_view view = fixture_view(&fixture);
    unsigned char *first = malloc(outputs.out_bytes + outputs.lse_bytes);
    cr_assert(first != NULL);
    outputs_copy(&outputs, first);
    float *out = (float *)(void *)(outputs.memory + outputs.out_at);
    float *lse = (float *)(void *)(outputs.memory + outputs.lse_at);
    const int64_t row = (1 * 2 + 1) * 8; /* b = 1, h = 1 */
    out[(row + 3) * 4] = 1;
    lse[row + 3] = 1;
    cr_assert(outputs_equal(&outputs, first, &view, true));
    lse[row + 2] = 1;
    cr_assert(!outputs_equal(&outputs, first, &view, true));
    cr_assert(outputs_equal(&outputs, first, &view, false));
    out[(row + 2) * 4] = 1;
    cr_assert(!outputs_equal(&outputs, first, &view, false));

    /* kept: the same bits, and a number among them */
    cr_assert(!outputs_row_kept(&outputs, first, &view)); /* what is the same is unwritten */
    for (int64_t n = 0; n < 2 * 2 * 8 * 4; n++) out[n] = 0;
    outputs_copy(&outputs, first);
    cr_assert(!outputs_row_kept(&outputs, first, &view));
    out[(row + 2) * 4] = 1;
    outputs_copy(&outputs, first);
    cr_assert(outputs_row_kept(&outputs, first, &view));
    out[(row + 2) * 4] = -1;
    cr_assert(!outputs_row_kept(&outputs, first, &view));
    free(first);
    outputs_free(&outputs);
    fixture_free(&fixture);
}

/* What differs is told as what it means; a byte is a number unless it is 0 or NaN. */
Test(outputs, of_8_bits_are_compared_byte_by_byte) {
    struct fixture fixture = obtain("f32-b1-hq2-kv8-d4-oute4m3-normal-seed1");
    struct outputs outputs = outputs_for(&fixture);
    const struct rule_view view = fixture_view(&fixture);
    const double scale = rules_out_scale(&view);
    unsigned char *first = malloc(outputs.out_bytes + outputs.lse_bytes);
    unsigned char *out = outputs.memory + outputs.out_at;
    struct deviation_place place;
    cr_assert(first != NULL && outputs.out_bytes == 2 * 4 && out[7] == UNWRITTEN_E4M3);
    outputs_copy(&outputs, first);
    cr_assert(outputs_any_unwritten(&outputs, &view) && !outputs_row_kept(&outputs, first, &view));
    memset(out, 0x80, 8); /* -0 */
    outputs_copy(&outputs, first);
    cr_assert(!outputs_any_unwritten(&outputs, &view));
    cr_assert(!outputs_row_kept(&outputs, first, &view));
    out[1] = 0xfe;
    outputs_copy(&outputs, first);
    cr_assert(outputs_row_kept(&outputs, first, &view));
    out[1] = 0x3c;
    cr_assert(outputs_difference(&outputs, first, &view, &place) == 1);
    cr_assert(place.h == 0 && place.d == 1 && place.got == 1.5 * scale);
    cr_assert(place.expected == -448 * scale);
    free(first);
    outputs_free(&outputs);
    fixture_free(&fixture);
}

static struct work work_of(const char *line) {
    struct fixture fixture = obtain(line);
    const struct rule_view view = fixture_view(&fixture);
    struct work work;
    struct fault fault = {0};
    cr_assert(work_count(&work, &view, &fault), "%s", fault.text);
    fixture_free(&fixture);
    return work;
}

Test(work, counts_pairs_that_are_visible_and_rows_that_are_read_once) {
    /* 2 sequences x 8 heads x 100 keys; 2 x 2 x 100 rows of k and of v, 2 x 8 of q and of out */
    const struct work decode = work_of("f16-b2-hq8-hkv2-kv100-d64-normal-seed1");
    cr_assert(decode.flops == 4.0 * 64 * (2 * 8 * 100), "%g", decode.flops);
    cr_assert(decode.bytes == 2.0 * 64 * 2 * (2 * 2 * 100 + 2 * 8), "%g", decode.bytes);

    /* 1 + 2 + ... + 10 pairs */
    const struct work causal = work_of("f32-b1-hq1-q10-kv10-d8-causal-normal-seed1");
    cr_assert(causal.flops == 4.0 * 8 * 55, "%g", causal.flops);
    cr_assert(causal.bytes == 2.0 * 8 * 4 * (10 + 10), "%g", causal.bytes);

    /* 30 listed tokens a head; the heads of a group may list the same ones */
    const struct work kept = work_of("f16-b1-hq4-hkv2-kv200-d64-keep30-normal-seed1");
    cr_assert(kept.flops == 4.0 * 64 * (4 * 30), "%g", kept.flops);
    const double tables = 4 * 30 * 4 + 4 * 4, rows = (kept.bytes - tables) / (2 * 64 * 2) - 4;
    cr_assert(rows >= 2 * 30 && rows <= 4 * 30, "%g", rows);
}

Test(work, counts_a_byte_a_value_of_8_bits_and_the_scales_that_are_of_use) {
    const double q_and_out = 2.0 * 64 * 2 * (2 * 8), rows = 2.0 * 2 * 2 * 100;
    const struct work all = work_of("f16-b2-hq8-hkv2-kv100-d64-kve4m3-normal-seed1");
    cr_assert(all.bytes == q_and_out + 64 * rows + 2 * 4, "%g", all.bytes);
    const struct work narrow = work_of("f16-b2-hq8-hkv2-kv100-d64-kve4m3-oute4m3-normal-seed1");
    cr_assert(narrow.bytes == 0.75 * q_and_out + 64 * rows + 3 * 4, "%g", narrow.bytes);
    const struct work tokens = work_of("f16-b2-hq8-hkv2-kv100-d64-kvint8token-normal-seed1");
    cr_assert(tokens.bytes == q_and_out + 64 * rows + 4 * rows, "%g", tokens.bytes);
    const struct work seen = work_of("f16-b2-hq8-hkv2-kv100-d64-window9-kvint8token-normal-seed1");
    cr_assert(seen.bytes == q_and_out + (64 + 4) * rows / 10, "%g", seen.bytes);
}

Test(work, pages_that_are_shared_are_read_once) {
    const struct work apart = work_of("f16-b2-hq2-kv256-d64-page64-lens256,256-normal-seed1");
    const struct work shared =
        work_of("f16-b2-hq2-kv256-d64-page64-pagesshared-lens256,256-normal-seed1");
    cr_assert(apart.flops == shared.flops);
    cr_assert(apart.bytes - shared.bytes > 2.0 * 64 * 2 * 2 * 200, "%g %g", apart.bytes,
              shared.bytes);
}
