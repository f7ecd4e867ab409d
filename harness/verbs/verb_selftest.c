/* attest selftest: is the judge to be believed? Kernels with one planted bug each (planted/) run in
 * real workers, on the CPU and on a GPU where there is one, and each must end in its own status,
 * for its own reason and with its own diagnosis; then every CPU kernel runs on the suite smoke and
 * must pass. */
#define _GNU_SOURCE
#include "../report/table.h"
#include "../trial/client.h"
#include "../trial/devices.h"
#include "../trial/interpreter.h"
#include "../trial/obtain.h"
#include "../trial/sanitizer.h"
#include "../trial/trial.h"
#include "../verb.h"
#include "../worker/protocol.h"
#include "../../oracle/clock.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OPTION_JSON = 256 };

struct options {
    bool json;
    int threads;
};

static const struct argp_option argp_options[] = {
    {"threads", 't', "N", 0, "threads for kernels (default: all cores)", 0},
    {"json", OPTION_JSON, NULL, 0, "one object instead of a table", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case 't':
        options->threads = (int)verb_count(argument, 1, VERB_THREADS_MAX, "threads", state);
        return 0;
    case OPTION_JSON:
        options->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'", argument);
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .doc =
        "Runs kernels with planted bugs -- a dropped key, a scale wrong by a thousandth, a write "
        "past the end, a crash -- and checks that each is found and diagnosed for what it is: on "
        "the CPU, in Python where NumPy is there and, where they are, on a GPU and under "
        "compute-sanitizer; then runs every CPU kernel on the suite smoke, where all must pass. "
        "Says which expectation failed, if one did.",
};

/* Problems on which a bug has to show. Sequences do not fill their last page: there is a key after
 * the last. */
#define DECODE "f16-b2-hq8-hkv2-q1-kv4096-d64-normal-seed1"
#define DECODE_F32 "f32-b2-hq4-hkv2-q1-kv300-d64-normal-seed1"
#define DECODE_SHORT "f16-b2-hq8-hkv2-q1-kv256-d64-normal-seed1"
#define DECODE_ONE "f16-b1-hq8-hkv2-q1-kv1024-d64-normal-seed1"
#define DECODE_ODD "f16-b1-hq2-hkv2-q1-kv301-d56-normal-seed1"
#define DECODE_LARGE "f16-b1-hq8-hkv8-q1-kv33000-d64-normal-seed1"
#define DECODE_BF16 "bf16-b2-hq8-hkv2-q1-kv4096-d64-normal-seed1"
#define PREFILL "f16-b1-hq2-hkv1-q64-kv1024-d64-causal-normal-seed1"
#define PREFILL_BF16 "bf16-b1-hq2-hkv1-q64-kv1024-d64-causal-normal-seed1"
#define PREFILL_MODEL "f16-b1-hq9-hkv3-q200-kv200-d64-causal-model-seed1"
#define DECODE_MODEL "f16-b2-hq8-hkv2-q1-kv32768-d64-model-seed1"
#define DECODE_LEAD "f16-b2-hq8-hkv2-q1-kv16385-d64-lead-seed1"
#define PAGED "f16-b3-hq4-hkv2-q1-kv4000-d64-page64-lens4000,1000,190-normal-seed1"
#define PAGED_EMPTY "f16-b3-hq4-hkv2-q1-kv1000-d64-page64-lens1000,0,190-normal-seed1"
/* What shows among a thousand keys: cheap. Of PAGED_FULL the last page is full. */
#define FEW "f16-b2-hq8-hkv2-q1-kv1000-d64-normal-seed1"
#define HEADS "f16-b2-hq16-hkv4-q1-kv300-d64-normal-seed1"
#define LARGE "f16-b1-hq2-hkv1-q1-kv33000-d64-normal-seed1"
#define LONG "f16-b1-hq1-hkv1-q1-kv131072-d64-normal-seed1"
#define MODEL "f16-b1-hq8-hkv2-q1-kv4096-d64-model-seed1"
#define DEEP "bf16-b1-hq4-hkv4-q1-kv300-d64-deep-seed1"
#define ASCENDING "f16-b2-hq4-hkv2-q1-kv1000-d64-ascending-seed1"
#define PEAKED "f16-b1-hq2-hkv2-q1-kv1000-d64-peaked64-seed1"
#define FULL "f16-b1-hq4-hkv2-q64-kv200-d64-normal-seed1"
#define CAUSAL "f16-b1-hq4-hkv2-q64-kv200-d64-causal-normal-seed1"
#define CAUSAL_D80 "f16-b1-hq4-hkv2-q64-kv200-d80-causal-normal-seed1"
#define CAUSAL_LONG "f16-b1-hq2-hkv1-q200-kv200-d64-causal-normal-seed1"
#define CAUSAL_DEEP "f16-b1-hq4-hkv2-q65-kv65-d64-causal-deep-seed1"
#define WINDOW "f16-b1-hq4-hkv2-q64-kv200-d64-causal-window40-normal-seed1"
#define WINDOW_FULL "f16-b1-hq4-hkv2-q64-kv200-d64-window20,30-normal-seed1"
#define WINDOW_PAGED "f16-b3-hq4-hkv2-q1-kv1000-d64-page64-window127-lens1000,90,500-normal-seed1"
#define CAPPED "f16-b2-hq8-hkv2-q1-kv1000-d64-softcap2-normal-seed1"
#define CAPPED_PAGED "f16-b3-hq4-hkv2-q1-kv1000-d64-page64-lens1000,90,500-softcap2-normal-seed1"
#define CAPPED_CAUSAL "f16-b1-hq4-hkv2-q64-kv200-d64-causal-softcap2-normal-seed1"
#define SINKS "f16-b2-hq8-hkv2-q1-kv1000-d64-sinks-normal-seed1"
#define SINKS_CAUSAL "f16-b1-hq4-hkv2-q64-kv200-d64-causal-sinks-normal-seed1"
#define SINKS_PAGED "f16-b3-hq4-hkv2-q1-kv1000-d64-page64-lens1000,0,500-sinks-normal-seed1"
#define CHUNKS                                                                                     \
    "f16-b3-hq4-hkv2-q64-kv1000-d64-page16-causal-lens1000,90,500-qlens64,20,7-normal-seed1"
/* The next chunk's keys would be in the same page. */
#define CHUNKS_APART "f16-b2-hq4-hkv2-q8-kv208-d64-page256-causal-lens208,40-normal-seed1"
#define ALIBI "f16-b2-hq8-hkv2-q1-kv1000-d64-alibi-normal-seed1"
#define ALIBI_CAUSAL "f16-b1-hq4-hkv2-q64-kv200-d64-causal-alibi-normal-seed1"
#define ALIBI_PAGED "f16-b3-hq4-hkv2-q1-kv1000-d64-page64-lens1000,0,500-alibi-normal-seed1"
#define BIASED_EXACT "f16-b2-hq4-hkv2-q1-kv256-d64-bias-exact-seed1"
#define BIASED "f16-b2-hq8-hkv2-q1-kv1000-d64-bias-normal-seed1"
#define BIASED_FULL "f16-b2-hq4-hkv2-q64-kv64-d64-bias1,4-normal-seed1"
#define BIASED_PAGED "f16-b3-hq4-hkv2-q1-kv1000-d64-page64-lens1000,0,500-bias3,1-normal-seed1"
#define KV_HEADS "f16-b2-hq8-hkv4-q1-kv1000-d64-kve4m3head-normal-seed1"
#define KV_FULL "f16-b2-hq4-hkv2-q64-kv64-d64-kvint8-normal-seed1"
#define KV_PAGED "f16-b3-hq4-hkv2-q1-kv1000-d64-page64-lens1000,0,500-kve4m3token-normal-seed1"
#define KV_PAGED_INT8 "f16-b3-hq4-hkv2-q1-kv1000-d64-page64-lens1000,0,500-kvint8token-normal-seed1"
#define KV_CHUNKS                                                                                  \
    "f16-b2-hq6-hkv3-q8-kv208-d64-page16-causal-lens208,40-qlens8,5-kve4m3head-normal-seed1"
#define KV_CHUNKS_OF_ALL                                                                           \
    "f16-b2-hq6-hkv3-q8-kv208-d64-page16-causal-lens208,40-qlens8,5-kve4m3-normal-seed1"
#define OUT8 "f16-b2-hq8-hkv2-q1-kv1000-d64-oute4m3-normal-seed1"
#define OUT8_FULL "bf16-b1-hq2-hkv1-q64-kv200-d64-causal-sinks-oute4m3-normal-seed1"
#define OUT8_PAGED                                                                                 \
    "f16-b3-hq4-hkv2-q1-kv1000-d64-page64-lens1000,0,500-kve4m3token-oute4m3-strided-normal-seed1"
#define KV_LATENT "f16-b2-hq8-hkv1-q1-kv300-d192-dv128-kshared-kvint8token-normal-seed1"
#define KV_LATENT_FULL "f16-b2-hq8-hkv1-q16-kv300-d96-dv64-kshared-kve4m3token-normal-seed1"
#define KV_LATENT_PAGED                                                                            \
    "f16-b2-hq8-hkv1-q1-kv300-d192-dv128-kshared-page64-lens300,90-kve4m3-normal-seed1"
#define WIDE "f16-b2-hq4-hkv2-q1-kv300-d64-dv80-normal-seed1"
#define WIDE_FULL "f16-b1-hq4-hkv2-q64-kv64-d64-dv80-normal-seed1"
#define LATENT "f16-b2-hq8-hkv1-q1-kv300-d192-dv128-kshared-scale0.125-normal-seed1"
#define LATENT_PAGED "f16-b2-hq8-hkv1-q1-kv300-d192-dv128-kshared-page64-lens300,90-normal-seed1"
#define VARLEN "f16-b2-hq4-hkv2-q64-kv64-d64-lens64,30-normal-seed1"
#define PAGED_EVEN "f16-b3-hq4-hkv2-q1-kv1000-d64-page64-normal-seed1"
#define PAGED_FULL "f16-b2-hq4-hkv2-q1-kv1024-d64-page64-normal-seed1"
#define PAGED_FALLING "f16-b3-hq4-hkv2-q1-kv1024-d64-page64-lens1024,700,190-normal-seed1"
#define PAGED_RISING "f16-b3-hq4-hkv2-q1-kv1000-d64-page64-lens190,700,1000-normal-seed1"
#define SPARSE "f16-b1-hq8-hkv1-q1-kv1000-d64-keep100-normal-seed1"
#define SPARSE_HEADS "f16-b2-hq8-hkv2-q1-kv1000-d64-keep0.1-normal-seed1"
#define SPARSE_PAGED "f16-b3-hq4-hkv2-q1-kv1000-d64-page64-lens1000,190,500-keep0.2-normal-seed1"
#define SHARED "f16-b2-hq8-hkv2-q1-kv1000-d64-keep100-keepgroup-normal-seed1"
#define SHARED_PAGED                                                                               \
    "f16-b3-hq4-hkv2-q1-kv1000-d64-page64-lens1000,190,500-keep0.2-keepgroup-normal-seed1"
#define SHARED_CHUNKS                                                                              \
    "f16-b3-hq4-hkv2-q64-kv1000-d64-page16-causal-lens1000,90,500-qlens64,20,7-keep50-keepgroup"   \
    "-normal-seed1"
#define SHARED_LATENT                                                                              \
    "f16-b2-hq8-hkv1-q8-kv500-d192-dv128-kshared-page64-causal-lens500,90-keeptop64-keepgroup"     \
    "-normal-seed1"
#define MAGICPIG "f16-b2-hq4-hkv2-q1-kv1000-d64-page16-lens1000,700-keep0.2-magicpig-normal-seed1"
#define MAGICPIG_D3 "f16-b2-hq4-hkv2-q1-kv1000-d3-page16-keep0.2-magicpig-normal-seed1"
#define MAGICPIG_Q_0 "f16-b2-hq4-hkv2-q1-kv300-d64-page16-keep0.2-magicpig-exact-seed1"

#define PAGED_NHD "f16-b3-hq4-hkv2-q1-kv1000-d64-page64-lens1000,0,500-nhd-normal-seed1"
#define PAGED_FULL_NHD "f16-b2-hq4-hkv2-q1-kv1024-d64-page64-nhd-normal-seed1"
#define PAGED_APART                                                                                \
    "f16-b3-hq4-hkv2-q1-kv1000-d64-page64-lens1000,0,500-nhd-thd-strided-normal-seed1"
#define APART "f16-b2-hq8-hkv2-q1-kv1000-d64-strided-normal-seed1"
#define PACKED "f16-b3-hq4-hkv2-q64-kv64-d64-lens20,64,30-thd-strided-normal-seed1"
#define PACKED_CHUNKS "f16-b3-hq4-hkv2-q64-kv200-d64-lens200,90,60-qlens64,20,7-thd-normal-seed1"

/* Where planted kernels run. Of the kernel that hangs a launch may take hang_seconds, of the others
 * 60 s, and repeats any time: what comes out must not depend on how busy the host is. On a GPU
 * opening it is part of all. */
enum { WATCHDOG_SECONDS = 60 };
static const struct place {
    const char *name;
    enum attn_device device;
    const char *tool; /* compute-sanitizer's */
    double hang_seconds, repeat_seconds;
    bool interpreted; /* those of planted.py */
} places[] = {{"cpu", ATTN_CPU, NULL, 2, 60, false},
              {"python", ATTN_CPU, NULL, 2, 60, true},
              {"cuda", ATTN_CUDA, NULL, 10, 20, false},
              {"memcheck", ATTN_CUDA, "memcheck", 60, 20, false},
              {"racecheck", ATTN_CUDA, "racecheck", 60, 20, false},
              {"initcheck", ATTN_CUDA, "initcheck", 60, 20, false}};
enum { PLACES = sizeof places / sizeof places[0] };
/* Several, each by its bit. */
enum {
    CPU = 1,
    PYTHON = 2,
    CUDA = 4,
    BOTH = CPU | CUDA,
    MEMCHECK = 8,
    RACECHECK = 16,
    INITCHECK = 32,
    TOOLS = MEMCHECK | RACECHECK | INITCHECK
};

enum {
    UNPOISONED = 1, /* on memory as it is, so that only the numbers can tell */
    TIMED = 2,
    HIDING = 4 /* only where answers can be hidden: elsewhere a cheat finds them, and passes */
};

static const struct expectation {
    const char *kernel, *line;
    enum status status;
    const char *reason; /* what the reason says among other things; of a time, how it was taken */
    int places, options;
} expectations[] = {
    {"decode_flash_r1", DECODE, STATUS_PASS, "", BOTH, 0},
    {"decode_flash_r1", DECODE_BF16, STATUS_PASS, "", BOTH, 0},
    {"decode_flash_r1", APART, STATUS_PASS, "", CPU, 0},
    {"decode_paged_split_r1", PAGED_NHD, STATUS_PASS, "", CPU, 0},
    {"decode_paged_split_r1", PAGED_APART, STATUS_PASS, "", CPU, 0},
    {"prefill_varlen_sum_pairwise_r1", PACKED, STATUS_PASS, "", CPU, 0},
    {"prefill_varlen_sum_pairwise_r1", PACKED_CHUNKS, STATUS_PASS, "", CPU, 0},
    {"decode_paged_page_stride_ignored_r1", PAGED_NHD, STATUS_PASS, "", CPU, 0},
    {"decode_paged_page_stride_ignored_r1", PAGED_APART, STATUS_FAIL_OOB_READ,
     "what lies between rows of k", CPU, 0},
    {"decode_paged_heads_for_rows_r1", PAGED_FULL, STATUS_FAIL_ACCURACY, "gate 2", CPU, 0},
    {"decode_paged_heads_for_rows_r1", PAGED_FULL_NHD, STATUS_FAIL_ACCURACY, "gate 2", CPU, 0},
    {"decode_base_rounded_r1", APART, STATUS_FAIL_OOB_READ, "what lies between rows of k", CPU, 0},
    {"decode_gap_read_r1", APART, STATUS_FAIL_OOB_READ, "what lies between rows of v", CPU, 0},
    {"decode_writes_back_r1", APART, STATUS_FAIL_INPUT_CHANGED, "writes to q, at b=0 h=0 i=0 d=1",
     CPU, 0},
    {"decode_gap_written_r1", APART, STATUS_FAIL_OOB_WRITE, "between rows of out", CPU, 0},
    {"prefill_varlen_packed_padding_r1", PACKED, STATUS_FAIL_ACCURACY, "gate 2", CPU, 0},
    {"prefill_varlen_keys_by_queries_r1", PACKED_CHUNKS, STATUS_FAIL_ACCURACY, "gate 2", CPU, 0},
    {"decode_zeros_r1", DECODE, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_last_key_dropped_r1", DECODE, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_last_block_dropped_r1", DECODE, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_key_twice_r1", DECODE, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_rescale_missed_r1", DECODE, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_scale_1_01_r1", DECODE, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_scale_1_001_r1", DECODE, STATUS_FAIL_ACCURACY, "gate", BOTH, 0},
    {"decode_out_16bit_r1", DECODE, STATUS_FAIL_ACCURACY, "gate", BOTH, 0},
    {"decode_denominator_16bit_r1", DECODE, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_scores_ignored_r1", DECODE, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_denominator_stale_r1", DECODE, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_wrong_kv_head_r1", DECODE, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_lse_base_2_r1", DECODE, STATUS_FAIL_LSE, "in base 2, not e?", BOTH, 0},
    {"decode_lse_not_base_2_r1", DECODE, STATUS_FAIL_LSE, "natural, not in base 2?", BOTH, 0},
    {"decode_paged_base_2_r1", SINKS_PAGED, STATUS_PASS, "", BOTH, 0},
    {"decode_paged_base_2_r1", PAGED_EMPTY, STATUS_PASS, "", BOTH, 0},
    {"decode_out_overrun_r1", DECODE, STATUS_FAIL_OOB_WRITE, "out", BOTH, 0},
    {"decode_input_changed_r1", DECODE, STATUS_FAIL_INPUT_CHANGED, "", BOTH, 0},
    {"decode_previous_call_r1", DECODE, STATUS_FAIL_NONDET, "previous call", BOTH, 0},
    {"decode_previous_call_r1", DECODE_LARGE, STATUS_FAIL_NONDET, "previous call", BOTH, 0},
    {"decode_keeps_k_r1", DECODE, STATUS_FAIL_NONDET, "q and k negated", CPU, 0},
    {"decode_keeps_q_and_k_r1", DECODE, STATUS_FAIL_NONDET, "keys in another order", CPU, 0},
    {"prefill_keeps_p_r1", PREFILL, STATUS_FAIL_NONDET, "q negated", CPU, 0},
    {"decode_paged_keeps_pages_r1", PAGED, STATUS_FAIL_NONDET, "pages at other places", CPU, 0},
    {"decode_runs_differ_r1", DECODE, STATUS_FAIL_NONDET, "differed", BOTH, 0},
    {"decode_rarely_wrong_r1", DECODE_SHORT, STATUS_FAIL_NONDET, "timed", CPU, TIMED},
    {"decode_lately_wrong_r1", DECODE_SHORT, STATUS_FAIL_NONDET, "timed", CPU, TIMED},
    {"decode_answers_later_r1", DECODE, STATUS_FAIL_UNWRITTEN, "after launch had", CPU, 0},
    {"decode_later_when_timed_r1", DECODE_SHORT, STATUS_FAIL_UNWRITTEN, "timed", CPU, TIMED},
    {"decode_answers_lazily_r1", DECODE_SHORT, STATUS_CRASH, "SIGSEGV in launch", CPU, TIMED},
    {"decode_looks_in_files_r1", DECODE_ONE, STATUS_FAIL_ACCURACY, "gate 2", CPU, HIDING},
    {"decode_looks_in_parent_r1", DECODE_ONE, STATUS_FAIL_ACCURACY, "gate 2", CPU, HIDING},
    {"decode_nan_wildcard_r1", DECODE, STATUS_FAIL_NAN, "gate 1", CPU, 0},
    {"decode_notices_timing_r1", DECODE_SHORT, STATUS_FAIL_NONDET, "timed", CPU, TIMED},
    {"decode_forges_answers_r1", DECODE, STATUS_CRASH, "not the protocol's", CPU, 0},
    {"decode_edits_answers_r1", DECODE, STATUS_CRASH, "connection", CPU, 0},
    {"decode_changes_call_r1", DECODE_SHORT, STATUS_FAIL_INPUT_CHANGED, "call", CPU, TIMED},
    /* where it stands, or else after signs changed: whichever is seen first */
    {"decode_answer_stands_r1", DECODE_SHORT, STATUS_INVALID_PHYSICS, "takes", CPU, TIMED},
    {"decode_answer_stands_r1", DECODE, STATUS_INVALID_PHYSICS, "output was filled", CUDA, TIMED},
    {"decode_fingerprints_inputs_r1", DECODE_SHORT, STATUS_FAIL_NONDET, "their sign", BOTH, TIMED},
    {"decode_hashes_inputs_r1", DECODE_SHORT, STATUS_INVALID_PHYSICS, "keeps what it computed", CPU,
     TIMED},
    {"decode_prepare_does_all_r1", DECODE_SHORT, STATUS_FAIL_NONDET, "their sign", BOTH, TIMED},
    {"decode_patched_clock_r1", DECODE_SHORT, STATUS_INVALID_PHYSICS, "the worker's clock", CPU,
     TIMED},
    {"decode_varies_late_r1", DECODE, STATUS_FAIL_NONDET, "differed", CPU, 0},
    {"decode_crashes_r1", DECODE, STATUS_CRASH, "", CPU, 0},
    {"decode_crashes_r1", DECODE, STATUS_CRASH, "ILLEGAL_ADDRESS", CUDA, 0},
    {"decode_hangs_r1", DECODE, STATUS_HANG, "", BOTH, 0},
    {"decode_wrong_stream_r1", DECODE, STATUS_FAIL_UNWRITTEN, "never written", CUDA, TIMED},
    {"decode_flash_r1", DECODE_SHORT, STATUS_PASS, "graph", CUDA, TIMED},
    {"decode_synchronises_r1", DECODE_SHORT, STATUS_PASS, "events", CUDA, TIMED},
    {"decode_flash_r1", DECODE_SHORT, STATUS_PASS, "", TOOLS, 0},
    {"decode_out_overrun_r1", DECODE_SHORT, STATUS_FAIL_OOB_WRITE, "memcheck", MEMCHECK, 0},
    {"decode_race_r1", DECODE_SHORT, STATUS_FAIL_RACE, "racecheck", RACECHECK, 0},
    {"decode_uninitialised_r1", DECODE_SHORT, STATUS_FAIL_UNINITIALISED, "initcheck", INITCHECK, 0},
    {"decode_right_r1", DECODE_F32, STATUS_PASS, "", PYTHON, 0},
    {"decode_other_head_r1", DECODE_F32, STATUS_FAIL_ACCURACY, "gate 2", PYTHON, 0},
    {"decode_stale_r1", DECODE_F32, STATUS_FAIL_NONDET, "previous call", PYTHON, 0},
    {"decode_keeps_r1", DECODE_F32, STATUS_FAIL_NONDET, "their sign", PYTHON, TIMED},
    {"decode_unwritten_r1", DECODE_F32, STATUS_FAIL_UNWRITTEN, "never written", PYTHON, 0},
    {"decode_nan_r1", DECODE_F32, STATUS_FAIL_NAN, "NaN", PYTHON, 0},
    {"decode_reads_on_r1", DECODE_F32, STATUS_FAIL_OOB_READ, "v", PYTHON, 0},
    {"decode_writes_input_r1", DECODE_F32, STATUS_CRASH, "read-only (planted.py, line", PYTHON, 0},
    {"decode_later_r1", DECODE_F32, STATUS_FAIL_UNWRITTEN, "", PYTHON, 0},
    {"decode_raises_r1", DECODE_F32, STATUS_CRASH, "ValueError: kv_len is 300 (pl", PYTHON, 0},
    {"decode_exits_r1", DECODE_F32, STATUS_CRASH, "SystemExit: 7", PYTHON, 0},
    {"decode_dies_r1", DECODE_F32, STATUS_CRASH, "exit status 7", PYTHON, 0},
    {"decode_aborts_r1", DECODE_F32, STATUS_CRASH, "SIGABRT", PYTHON, 0},
    {"decode_hangs_r1", DECODE_F32, STATUS_HANG, "no answer within 2 s", PYTHON, 0},
    {"prefill_exp2_r1", PREFILL, STATUS_PASS, "", BOTH, 0},
    {"prefill_exp2_r1", PREFILL_MODEL, STATUS_PASS, "", BOTH, 0},
    {"prefill_exp_degree_3_r1", PREFILL, STATUS_PASS, "", BOTH, 0},
    {"prefill_exp_degree_3_r1", PREFILL_MODEL, STATUS_PASS, "", BOTH, 0},
    {"prefill_exp_degree_5_r1", PREFILL, STATUS_PASS, "", BOTH, 0},
    {"prefill_sum_of_rounded_r1", PREFILL, STATUS_PASS, "", BOTH, 0},
    {"prefill_sum_of_rounded_r1", PREFILL_BF16, STATUS_PASS, "", BOTH, 0},
    {"prefill_lazy_rescale_r1", PREFILL, STATUS_PASS, "", BOTH, 0},
    {"prefill_lazy_rescale_r1", PREFILL_MODEL, STATUS_PASS, "", BOTH, 0},
    {"decode_p_times_256_r1", DECODE_MODEL, STATUS_PASS, "", BOTH, 0},
    {"decode_p_f32_r1", DECODE, STATUS_PASS, "", BOTH, 0},
    {"decode_p_f32_r1", DECODE_MODEL, STATUS_PASS, "", BOTH, 0},
    {"decode_sum_f64_r1", DECODE, STATUS_PASS, "", BOTH, 0},
    {"decode_sum_strided_r1", DECODE_MODEL, STATUS_PASS, "", BOTH, 0},
    {"decode_flash_r1", DECODE_MODEL, STATUS_PASS, "", BOTH, 0},
    {"decode_flash_r1", DECODE_LEAD, STATUS_PASS, "", BOTH, 0},
    {"decode_scale_1_001_r1", DECODE_MODEL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_last_block_dropped_r1", DECODE_MODEL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_p_truncated_r1", PREFILL, STATUS_FAIL_ACCURACY, "gate 3", BOTH, 0},
    {"prefill_exp_16bit_r1", PREFILL, STATUS_FAIL_ACCURACY, "gate 3", BOTH, 0},
    {"prefill_out_truncated_r1", PREFILL, STATUS_FAIL_ACCURACY, "gate 3", BOTH, 0},
    {"prefill_tile_unwritten_r1", PREFILL, STATUS_FAIL_UNWRITTEN, "never written", BOTH, 0},
    {"prefill_exp2_r1", PREFILL_BF16, STATUS_PASS, "", BOTH, 0},
    {"prefill_p_truncated_r1", PREFILL_BF16, STATUS_FAIL_ACCURACY, "gate 3", BOTH, 0},
    {"prefill_out_truncated_r1", PREFILL_BF16, STATUS_FAIL_ACCURACY, "gate 3", BOTH, 0},
    {"decode_paged_split_r1", PAGED, STATUS_PASS, "", BOTH, 0},
    {"decode_paged_pages_swapped_r1", PAGED, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_paged_key_too_many_r1", PAGED, STATUS_FAIL_ACCURACY, "gate 2", BOTH, UNPOISONED},
    {"decode_paged_key_too_many_r1", PAGED, STATUS_FAIL_OOB_READ, "read: keys of", BOTH, 0},
    {"decode_paged_length_overread_r1", PAGED, STATUS_FAIL_OOB_READ, "read: values of", BOTH, 0},
    {"decode_past_end_r1", DECODE, STATUS_FAIL_OOB_READ, "byte 1 past the end of v", CPU, 0},
    {"decode_past_end_r1", DECODE_ODD, STATUS_FAIL_OOB_READ, "byte 1 past the end of v", CPU, 0},
    {"decode_past_end_r1", DECODE_LARGE, STATUS_FAIL_OOB_READ, "past the end of v", CPU, 0},
    {"decode_before_begin_r1", DECODE_ODD, STATUS_FAIL_OOB_READ, "before the beginning", CPU, 0},
    {"decode_keeps_addresses_r1", DECODE_ODD, STATUS_FAIL_NONDET, "other addresses", CPU, 0},
    {"decode_writes_back_r1", DECODE, STATUS_FAIL_INPUT_CHANGED, "writes to q, at", CPU, 0},
    {"decode_paged_split_unwritten_r1", PAGED, STATUS_FAIL_UNINITIALISED, "with 1", CPU, 0},
    {"decode_paged_split_r1", PAGED_EMPTY, STATUS_PASS, "", BOTH, 0},
    {"decode_paged_empty_row_nan_r1", PAGED_EMPTY, STATUS_FAIL_NAN, "gate 1", BOTH, 0},
    {"prefill_varlen_sum_pairwise_r1", VARLEN, STATUS_PASS, "", BOTH, 0},
    {"decode_split_any_order_r1", FEW, STATUS_PASS, "", BOTH, 0},
    {"decode_p_normalised_r1", FEW, STATUS_PASS, "", BOTH, 0},
    {"decode_p_normalised_r1", MODEL, STATUS_PASS, "", BOTH, 0},
    {"magicpig_decode_paged_magicpig_f32_r1", MAGICPIG, STATUS_PASS, "", BOTH, 0},
    {"magicpig_decode_paged_magicpig_f32_r1", MAGICPIG_D3, STATUS_PASS, "", BOTH, 0},
    {"prefill_causal_top_left_r1", CAUSAL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_causal_left_out_r1", CAUSAL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_causal_unasked_r1", FULL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_causal_by_tiles_r1", CAUSAL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_diagonal_hidden_r1", CAUSAL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_diagonal_behind_r1", CAUSAL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_window_left_out_r1", WINDOW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, UNPOISONED},
    {"prefill_window_left_out_r1", WINDOW, STATUS_FAIL_OOB_READ, "must not be read", BOTH, 0},
    {"prefill_window_key_more_r1", WINDOW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, UNPOISONED},
    {"decode_paged_window_key_fewer_r1", WINDOW_PAGED, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_window_key_behind_r1", WINDOW_FULL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_window_one_sided_r1", WINDOW_FULL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_paged_window_by_tiles_r1", WINDOW_PAGED, STATUS_FAIL_ACCURACY, "gate 2", BOTH,
     UNPOISONED},
    {"decode_paged_window_by_tiles_r1", WINDOW_PAGED, STATUS_FAIL_OOB_READ, "must not be read",
     BOTH, 0},
    {"prefill_window_top_left_r1", WINDOW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, UNPOISONED},
    {"decode_softcap_left_out_r1", CAPPED, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_paged_softcap_unscaled_r1", CAPPED_PAGED, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_softcap_mask_r1", CAPPED_CAUSAL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_sinks_left_out_r1", SINKS, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_sinks_not_in_lse_r1", SINKS_CAUSAL, STATUS_FAIL_LSE, "gate 5", BOTH, 0},
    {"decode_sinks_scaled_r1", SINKS, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_paged_sinks_in_shares_r1", SINKS_PAGED, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_sink_of_kv_head_r1", SINKS, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_paged_qlens_ignored_r1", CHUNKS, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_paged_chunk_top_left_r1", CHUNKS, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_paged_chunk_behind_r1", CHUNKS_APART, STATUS_FAIL_ACCURACY, "gate 2", BOTH,
     UNPOISONED},
    {"prefill_paged_chunk_behind_r1", CHUNKS_APART, STATUS_FAIL_OOB_READ, "must not be read", BOTH,
     0},
    {"decode_flash_r1", WIDE, STATUS_PASS, "", BOTH, 0},
    {"decode_flash_r1", LATENT, STATUS_PASS, "", BOTH, 0},
    {"decode_paged_split_r1", LATENT_PAGED, STATUS_PASS, "", BOTH, 0},
    {"prefill_value_tail_dropped_r1", WIDE_FULL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_values_as_wide_r1", WIDE, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_scale_of_values_r1", WIDE, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_scale_of_keys_r1", LATENT, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_paged_key_tails_r1", LATENT_PAGED, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_flash_r1", BIASED_EXACT, STATUS_PASS, "", BOTH, 0},
    {"decode_bias_left_out_r1", BIASED, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_bias_of_first_head_r1", BIASED_FULL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_paged_bias_of_first_r1", BIASED_PAGED, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_bias_transposed_r1", BIASED_FULL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_bias_before_scale_r1", BIASED, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_bias_row_nan_r1", BIASED_FULL, STATUS_FAIL_NAN, "", BOTH, 0},
    {"decode_flash_r1", KV_HEADS, STATUS_PASS, "", BOTH, 0},
    {"decode_paged_split_r1", KV_PAGED, STATUS_PASS, "", BOTH, 0},
    {"decode_scale_of_first_head_r1", KV_HEADS, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_scales_swapped_r1", KV_HEADS, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_v_scale_left_out_r1", KV_FULL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_v_scale_left_out_r1", KV_LATENT_FULL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_flash_r1", KV_LATENT, STATUS_PASS, "", BOTH, 0},
    {"decode_paged_key_tails_r1", KV_LATENT_PAGED, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_paged_scale_page_before_r1", KV_PAGED, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_paged_scale_of_query_head_r1", KV_CHUNKS, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_paged_e5m2_r1", KV_CHUNKS_OF_ALL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_paged_length_overread_r1", KV_PAGED, STATUS_FAIL_OOB_READ, "read: values of", BOTH, 0},
    {"decode_paged_length_overread_r1", KV_PAGED_INT8, STATUS_FAIL_OOB_READ, "read: v_scale of",
     BOTH, 0},
    {"decode_flash_r1", OUT8, STATUS_PASS, "", CPU, 0},
    {"prefill_exp_degree_3_r1", OUT8_FULL, STATUS_PASS, "", CPU, 0},
    {"decode_paged_split_r1", OUT8_PAGED, STATUS_PASS, "", CPU, 0},
    {"decode_out_scale_forgotten_r1", OUT8, STATUS_FAIL_ACCURACY, "gate 2", CPU, 0},
    {"prefill_out_multiplied_r1", OUT8_FULL, STATUS_FAIL_ACCURACY, "gate 2", CPU, 0},
    {"prefill_out_truncated_r1", OUT8_FULL, STATUS_FAIL_ACCURACY, "gate 2", CPU, 0},
    {"prefill_tile_unwritten_r1", OUT8_FULL, STATUS_FAIL_UNWRITTEN, "never written", CPU, 0},
    {"decode_last_key_dropped_r1", OUT8, STATUS_FAIL_ACCURACY, "gate 2", CPU, 0},
    {"decode_keeps_k_r1", OUT8, STATUS_FAIL_NONDET, "q and k negated", CPU, 0},
    {"decode_alibi_left_out_r1", ALIBI, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_alibi_sign_r1", ALIBI_CAUSAL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_paged_slope_of_kv_head_r1", ALIBI_PAGED, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_heads_shifted_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_queries_shifted_r1", CAUSAL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_query_of_warp_off_r1", CAUSAL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_query_modulo_128_r1", CAUSAL_LONG, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_kv_head_modulo_r1", HEADS, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_group_of_8_r1", HEADS, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_batch_stride_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_batch_ignored_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_paged_length_of_first_r1", PAGED_RISING, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_paged_length_of_before_r1", PAGED_RISING, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_varlen_lengths_ignored_r1", VARLEN, STATUS_FAIL_ACCURACY, "gate 2", BOTH, UNPOISONED},
    {"prefill_varlen_lengths_ignored_r1", VARLEN, STATUS_FAIL_OOB_READ, "must not be read", BOTH,
     0},
    {"decode_paged_last_page_full_r1", PAGED_FALLING, STATUS_FAIL_ACCURACY, "gate 2", BOTH,
     UNPOISONED},
    {"decode_paged_last_page_full_r1", PAGED_FALLING, STATUS_FAIL_OOB_READ, "must not be read",
     BOTH, 0},
    {"decode_paged_last_page_modulo_r1", PAGED_FULL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_paged_table_of_first_r1", PAGED_EVEN, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_paged_table_of_next_r1", PAGED_EVEN, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_paged_page_before_r1", PAGED_EVEN, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_paged_page_behind_r1", PAGED_FULL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_paged_page_of_16_r1", PAGED_EVEN, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_index_of_15_bits_r1", LARGE, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_value_before_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_keys_for_values_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_paged_keys_twice_r1", PAGED_EVEN, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"sparse_decode_list_of_first_head_r1", SPARSE, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"sparse_decode_paged_list_entry_dropped_r1", SPARSE_PAGED, STATUS_FAIL_ACCURACY, "gate 2",
     BOTH, 0},
    {"sparse_decode_list_ascending_r1", SPARSE, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"sparse_decode_paged_list_padding_r1", SPARSE_PAGED, STATUS_FAIL_OOB_READ, "must not be read",
     BOTH, 0},
    {"sparse_decode_list_ignored_r1", SPARSE_HEADS, STATUS_FAIL_ACCURACY, "gate 2", BOTH,
     UNPOISONED},
    {"sparse_decode_list_ignored_r1", SPARSE_HEADS, STATUS_FAIL_OOB_READ, "must not be read", BOTH,
     0},
    {"sparse_decode_list_modulo_r1", SHARED, STATUS_FAIL_ACCURACY, "gate 2", BOTH, UNPOISONED},
    {"sparse_decode_list_modulo_r1", SHARED, STATUS_FAIL_OOB_READ, "must not be read", BOTH, 0},
    {"sparse_decode_paged_list_of_next_r1", SHARED_PAGED, STATUS_FAIL_ACCURACY, "gate 2", BOTH,
     UNPOISONED},
    {"sparse_decode_paged_list_of_next_r1", SHARED_PAGED, STATUS_FAIL_OOB_READ, "must not be read",
     BOTH, 0},
    {"prefill_paged_list_before_r1", SHARED_CHUNKS, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_paged_list_before_r1", SHARED_LATENT, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_paged_list_for_all_r1", SHARED_CHUNKS, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"magicpig_decode_paged_correction_left_out_r1", MAGICPIG, STATUS_FAIL_ACCURACY, "gate 2", BOTH,
     0},
    {"magicpig_decode_paged_correction_added_r1", MAGICPIG, STATUS_FAIL_ACCURACY, "gate 2", BOTH,
     0},
    {"magicpig_decode_paged_lsh_k_ignored_r1", MAGICPIG, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"magicpig_decode_paged_lsh_l_less_1_r1", MAGICPIG, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"magicpig_decode_paged_lsh_of_first_head_r1", MAGICPIG, STATUS_FAIL_ACCURACY, "gate 2", BOTH,
     0},
    {"magicpig_decode_paged_epsilon_missing_r1", MAGICPIG_Q_0, STATUS_FAIL_NAN, "gate 1", BOTH, 0},
    {"magicpig_decode_paged_chance_cancels_r1", MAGICPIG_D3, STATUS_FAIL_ACCURACY, "gate 2", BOTH,
     0},
    {"magicpig_decode_paged_chance_in_f32_r1", MAGICPIG_D3, STATUS_FAIL_ACCURACY, "gate 2", CPU, 0},
    {"decode_unscaled_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_scaled_twice_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_scale_of_64_r1", CAUSAL_D80, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_log2_e_missing_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_log2_e_twice_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_dim_tail_ignored_r1", CAUSAL_D80, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"prefill_products_16bit_r1", CAUSAL_D80, STATUS_FAIL_ACCURACY, "gate", BOTH, 0},
    {"prefill_products_16bit_r1", CAUSAL_DEEP, STATUS_FAIL_NAN, "gate 1", BOTH, 0},
    {"prefill_scores_16bit_r1", CAUSAL, STATUS_FAIL_ACCURACY, "gate", BOTH, 0},
    {"decode_first_key_dropped_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_last_key_twice_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_block_skipped_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_block_twice_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_first_block_only_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_partial_block_dropped_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_padding_counted_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_maximum_from_0_r1", DEEP, STATUS_FAIL_NAN, "gate 1", BOTH, 0},
    {"decode_maximum_of_first_block_r1", ASCENDING, STATUS_FAIL_NAN, "gate 1", BOTH, 0},
    {"decode_maximum_left_out_r1", PEAKED, STATUS_FAIL_NAN, "gate 1", BOTH, 0},
    {"decode_rescale_never_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_rescale_twice_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_p_flushed_r1", MODEL, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_p_divided_r1", LONG, STATUS_FAIL_ACCURACY, "gate 3", BOTH, 0},
    {"decode_paged_shares_averaged_r1", PAGED_EVEN, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_paged_shares_unscaled_r1", PAGED_EVEN, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_paged_share_last_r1", PAGED_EVEN, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_paged_share_of_nothing_r1", PAGED_EMPTY, STATUS_FAIL_NAN, "gate 1", BOTH, 0},
    {"decode_not_divided_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_divided_twice_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_halves_exchanged_r1", FEW, STATUS_FAIL_ACCURACY, "gate 2", BOTH, 0},
    {"decode_lse_of_maximum_r1", FEW, STATUS_FAIL_LSE, "lse", BOTH, 0},
    {"decode_lse_of_sum_r1", FEW, STATUS_FAIL_LSE, "lse", BOTH, 0},
    {"decode_lse_unscaled_r1", FEW, STATUS_FAIL_LSE, "lse", BOTH, 0},
    {"decode_lse_of_two_bases_r1", FEW, STATUS_FAIL_LSE, "lse", BOTH, 0},
    {"decode_lse_negative_r1", FEW, STATUS_FAIL_LSE, "lse", BOTH, 0},
    {"decode_paged_lse_of_nothing_r1", PAGED_EMPTY, STATUS_FAIL_LSE, "lse", BOTH, 0},
};
enum { EXPECTATIONS = sizeof expectations / sizeof expectations[0] };

/* What a wrong output is said to look like, among other things, wherever the kernel fails by its
 * numbers; "" where no hypothesis describes it, and none may be said. Of NaN none is looked for. */
static const struct {
    const char *kernel, *words;
} diagnoses[] = {
    {"decode_zeros_r1", "as if it wrote zeros"},
    {"decode_last_key_dropped_r1", "as if a query saw one key fewer"},
    {"decode_last_block_dropped_r1", "as if the last 64 keys were left out"},
    {"decode_key_twice_r1", "as if the first key were counted twice"},
    {"decode_rescale_missed_r1", "as if the output were not rescaled when the maximum first grew"},
    {"decode_scale_1_01_r1", "as if logits were 1.01 times what they are"},
    {"decode_scale_1_001_r1", "as if logits were 1.00"},
    {"decode_out_16bit_r1", ""},
    {"decode_denominator_16bit_r1", "as if the sum of the weights were off"},
    {"decode_scores_ignored_r1", "as if scores were ignored"},
    {"decode_denominator_stale_r1", "as if the sum of the weights were never rescaled"},
    {"decode_wrong_kv_head_r1", "as if it read kv head 1"},
    {"decode_wrong_kv_head_r1", "wrong in 2 of 16 rows, head 0"},
    {"decode_looks_in_files_r1", "as if it wrote zeros"},
    {"decode_looks_in_parent_r1", "as if it wrote zeros"},
    {"decode_lse_base_2_r1", "as if lse were in base 2"},
    {"decode_lse_not_base_2_r1", "as if lse were natural, not in base 2"},
    {"prefill_p_truncated_r1", "as if the output, or the weights, were cut off"},
    {"prefill_exp_16bit_r1", "as if the arguments of exp were rounded"},
    {"prefill_out_truncated_r1", "as if the output, or the weights, were cut off"},
    {"prefill_tile_unwritten_r1", "wrong in 128 of 128 rows, columns 48-63"},
    {"decode_paged_pages_swapped_r1", "as if the values of pages 0 and 1 were swapped"},
    {"decode_paged_key_too_many_r1", "as if a query saw one key more"},
    {"decode_paged_empty_row_nan_r1", "sequence 1, all of them rows that see no key"},
    {"prefill_causal_top_left_r1", "as if the causal mask were aligned to the top left"},
    {"prefill_causal_left_out_r1", "as if the causal mask were left out, and its lse"},
    {"prefill_causal_unasked_r1", "as if it were causal, which is not asked"},
    {"prefill_causal_by_tiles_r1", "as if the causal mask were left out in the tile of 64 keys"},
    {"decode_paged_heads_for_rows_r1",
     "as if rows and heads of a page were taken for each other, and"},
    {"prefill_diagonal_hidden_r1", "as if a query saw one key fewer"},
    {"prefill_diagonal_behind_r1", "as if a query saw one key more"},
    {"prefill_window_left_out_r1", "as if the window were left out, and its lse"},
    {"prefill_window_key_more_r1", "as if the window began one key earlier, and its lse"},
    {"decode_paged_window_key_fewer_r1", "as if the window began one key later"},
    {"prefill_window_key_behind_r1", "as if the window ended one key later, and its lse"},
    {"prefill_window_one_sided_r1", "as if the window ended with the query's own key"},
    {"decode_paged_window_by_tiles_r1", "as if the window's first tile of 64 keys were seen whole"},
    {"prefill_window_top_left_r1", "as if the window were aligned to the top left"},
    {"decode_softcap_left_out_r1", "as if the softcap were left out, and its lse"},
    {"decode_paged_softcap_unscaled_r1", "as if q.k were capped before they were scaled"},
    {"prefill_softcap_mask_r1", "as if the softcap were taken after the mask"},
    {"decode_sinks_left_out_r1", "as if the sinks were left out, and its lse"},
    {"prefill_sinks_not_in_lse_r1", "as if the sinks were left out"},
    {"decode_sinks_scaled_r1", "as if the sinks were scaled as q.k are, and its lse"},
    {"decode_paged_sinks_in_shares_r1", "as if the sinks were counted 4 times"},
    {"decode_sink_of_kv_head_r1", "as if query head h had the sink of kv head"},
    {"prefill_paged_qlens_ignored_r1", "as if a sequence asked as many queries as there is room"},
    {"prefill_paged_chunk_top_left_r1", "as if the causal mask were aligned to the top left"},
    {"prefill_paged_chunk_behind_r1", "as if a query saw the keys of the next chunk"},
    {"prefill_value_tail_dropped_r1", "as if an output had 64 columns, as a key has, and 0 behind"},
    {"decode_values_as_wide_r1", "as if values had rows as long as those of keys"},
    {"decode_scale_of_values_r1", "as if logits were scaled with 1 / sqrt(Dv), Dv being 80"},
    {"decode_scale_of_keys_r1", "as if logits were scaled with 1 / sqrt(D), which is not asked"},
    {"decode_paged_key_tails_r1", "as if values were the last elements of keys, not the first"},
    {"decode_bias_left_out_r1", "as if the bias were left out, and its lse"},
    {"prefill_bias_of_first_head_r1", "as if all had the bias of query head 0, and its lse"},
    {"decode_paged_bias_of_first_r1", "as if all had the bias of the first sequence, and its lse"},
    {"prefill_bias_transposed_r1", "as if the bias were transposed, and its lse"},
    {"decode_bias_before_scale_r1", "as if the bias were scaled as q.k are, and its lse"},
    {"decode_scale_of_first_head_r1", "as if all had the scales of kv head 0, and its lse"},
    {"decode_scales_swapped_r1", "as if keys had the scales of values, and values those of keys"},
    {"prefill_v_scale_left_out_r1", "as if the scales of values were left out"},
    {"decode_paged_scale_page_before_r1",
     "as if a token had the scales of its place in the page before, and its lse"},
    {"prefill_paged_scale_of_query_head_r1",
     "as if query head h had the scales of kv head h % Hkv, and its lse"},
    {"prefill_paged_e5m2_r1", "as if E4M3 were read as E5M2, and its lse"},
    {"decode_out_scale_forgotten_r1", "as if out_scale were forgotten"},
    {"prefill_out_multiplied_r1", "as if the output were multiplied with out_scale"},
    {"decode_alibi_left_out_r1", "as if alibi were left out, and its lse"},
    {"prefill_alibi_sign_r1", "as if alibi's slopes had the other sign, and its lse"},
    {"decode_paged_slope_of_kv_head_r1", "as if query head h had the slope of kv head"},
    {"decode_heads_shifted_r1", "as if it wrote the row of the query head 1 further"},
    {"prefill_queries_shifted_r1", "as if it wrote the row of the query behind"},
    {"prefill_query_of_warp_off_r1", "as if it had the q of the query behind"},
    {"prefill_query_of_warp_off_r1", "wrong in 60 of 256 rows, query rows 48-62"},
    {"prefill_query_modulo_128_r1", "as if query i had the q of query i modulo 128"},
    {"decode_kv_head_modulo_r1", "as if query head h read kv head h % Hkv"},
    {"decode_group_of_8_r1", "as if query head h read kv head h / 8"},
    {"decode_batch_stride_r1", "as if sequences were one kv head apart"},
    {"decode_batch_ignored_r1", "as if it read the keys and values of sequence 0"},
    {"decode_paged_length_of_first_r1", "as if all sequences had the length of sequence 0"},
    {"decode_paged_length_of_before_r1", "as if a sequence had the length of the one before"},
    {"prefill_varlen_lengths_ignored_r1", "as if lengths were ignored"},
    {"decode_paged_last_page_full_r1", "as if the last page of a sequence were full"},
    {"decode_paged_last_page_modulo_r1", "as if the last 64 keys were left out"},
    {"decode_paged_table_of_first_r1", "as if it read the keys and values of sequence 0"},
    {"decode_paged_table_of_next_r1",
     "as if it read the keys and values of the sequence 1 further"},
    {"decode_paged_page_before_r1",
     "as if the first token of a page were read from the page before"},
    {"decode_paged_page_behind_r1",
     "as if the last token of a page were read from the page behind"},
    {"decode_paged_page_of_16_r1", "as if a token's row in its page were taken modulo 16"},
    {"decode_index_of_15_bits_r1", "as if tokens from 32768 on were read from 0 again"},
    {"decode_value_before_r1", "as if the value of key j were read from the row before"},
    {"decode_keys_for_values_r1", "as if keys and values were exchanged"},
    {"decode_paged_keys_twice_r1", "as if values were read from the keys"},
    {"sparse_decode_list_of_first_head_r1", "as if it used the kept list of query head 0"},
    {"sparse_decode_paged_list_entry_dropped_r1",
     "as if the last entry of the kept list were left out"},
    {"sparse_decode_list_ascending_r1", "as if a kept list ended where it does not ascend"},
    {"sparse_decode_list_ignored_r1", "as if the kept list were ignored"},
    {"sparse_decode_list_modulo_r1", "as if query head h used the kept list of kv head h % Hkv"},
    {"sparse_decode_paged_list_of_next_r1", "as if it used the kept list of the kv head 1 further"},
    {"prefill_paged_list_before_r1", "as if it used the kept list of the query before"},
    {"prefill_paged_list_for_all_r1", "as if it used the kept list of the first query"},
    {"magicpig_decode_paged_correction_left_out_r1", "as if MagicPIG's correction were left out"},
    {"magicpig_decode_paged_correction_added_r1", "as if MagicPIG's correction were added"},
    {"magicpig_decode_paged_lsh_k_ignored_r1", "as if MagicPIG's K were 1"},
    {"magicpig_decode_paged_lsh_l_less_1_r1", "as if MagicPIG's L were one less"},
    {"magicpig_decode_paged_lsh_of_first_head_r1",
     "as if MagicPIG's K and L were those of query head 0"},
    {"magicpig_decode_paged_epsilon_missing_r1", "wrong in 8 of 8 rows"},
    {"magicpig_decode_paged_chance_cancels_r1", ""},
    {"magicpig_decode_paged_chance_in_f32_r1", ""},
    {"decode_unscaled_r1", "as if logits were not scaled"},
    {"decode_scaled_twice_r1", "as if logits were scaled twice"},
    {"prefill_scale_of_64_r1", "as if logits were 1.118 times what they are"},
    {"decode_log2_e_missing_r1", "as if exp2 were taken of logits without their log2 e"},
    {"decode_log2_e_twice_r1", "as if logits had the log2 e of exp2"},
    {"prefill_dim_tail_ignored_r1", "as if q.k were summed over the first 64 columns"},
    {"prefill_products_16bit_r1", "as if q.k were rounded to the type of q"},
    {"prefill_scores_16bit_r1", "as if logits were rounded to the type of q"},
    {"decode_first_key_dropped_r1", "as if the first key were left out"},
    {"decode_last_key_twice_r1", "as if the last key were counted twice"},
    {"decode_block_skipped_r1", "as if keys 64 to 127 were left out"},
    {"decode_block_twice_r1", "as if keys 64 to 127 were counted twice"},
    {"decode_first_block_only_r1", "as if only the first 64 keys were seen"},
    {"decode_partial_block_dropped_r1", "as if the keys that do not fill a tile of 64"},
    {"decode_padding_counted_r1", "filled up with logits of 0, and its lse"},
    {"decode_maximum_from_0_r1", "wrong in 4 of 4 rows"},
    {"decode_maximum_of_first_block_r1", "wrong in 8 of 8 rows"},
    {"decode_maximum_left_out_r1", "wrong in 2 of 2 rows"},
    {"decode_rescale_never_r1", "as if the output were never rescaled to a new maximum"},
    {"decode_rescale_twice_r1", "as if the output were rescaled twice to a new maximum"},
    {"decode_p_flushed_r1", "as if weights below 2^-14 of the largest so far were 0"},
    {"decode_p_divided_r1", "as if weights were divided by their sum, then rounded"},
    {"decode_paged_shares_averaged_r1", "as if 4 shares of the keys were averaged"},
    {"decode_paged_shares_unscaled_r1", "as if 4 shares of the keys were added without regard"},
    {"decode_paged_share_last_r1", "as if only the last of 4 shares of the keys were taken"},
    {"decode_paged_share_of_nothing_r1", "sequence 1, all of them rows that see no key"},
    {"decode_not_divided_r1", "as if it were not divided by the sum"},
    {"decode_divided_twice_r1", "as if it were divided twice by the sum"},
    {"decode_halves_exchanged_r1", "as if columns d and d + Dv / 2 were exchanged"},
    {"decode_lse_of_maximum_r1", "as if lse were the largest logit, without"},
    {"decode_lse_of_sum_r1", "as if lse were the log of the sum, without"},
    {"decode_lse_unscaled_r1", "as if lse had the largest logit without its scale"},
    {"decode_lse_of_two_bases_r1", "as if lse had the largest logit in base 2"},
    {"decode_lse_negative_r1", "as if lse had the other sign"},
    {"decode_paged_lse_of_nothing_r1", "sequence 1, all of them rows that see no key"},
};
enum { DIAGNOSES = sizeof diagnoses / sizeof diagnoses[0] };

static bool fails_by_numbers(enum status status) {
    return status == STATUS_FAIL_ACCURACY || status == STATUS_FAIL_LSE ||
           status == STATUS_FAIL_NAN || status == STATUS_FAIL_UNWRITTEN;
}

/* The diagnosis that this one should be and is not, or NULL. */
static const char *missed_diagnosis(const char *kernel, enum status status, const char *diagnosis) {
    if (!fails_by_numbers(status)) return NULL;
    if (diagnosis == NULL) diagnosis = "";
    for (int n = 0; n < DIAGNOSES; n++) {
        const char *words = diagnoses[n].words;
        if (strcmp(diagnoses[n].kernel, kernel) != 0) continue;
        if (status == STATUS_FAIL_NAN && strstr(words, "as if") == words) continue;
        if (*words == '\0' && strstr(diagnosis, "as if") != NULL) return "no hypothesis";
        if (strstr(diagnosis, words) == NULL) return words;
    }
    return NULL;
}

enum { LEFT_OUT_BYTES = 128 };
struct tally {
    int64_t right, wrong;
    int64_t found[STATUS_COUNT];   /* of those that are right */
    char left_out[LEFT_OUT_BYTES]; /* why nothing was run */
};

struct selftest {
    struct options options;
    struct plugin_list planted, python, kernels;
    struct suite smoke;
    struct fixture fixture;
    char line[PROBLEM_LINE_BYTES]; /* of the fixture that is held; "" when it is not as drawn */
    json_t *rows;
    bool hides; /* there is an answer, and it can be hidden here */
    struct tally at[PLACES];
    int64_t honest_right, honest_wrong;
};

/* Holds the fixture of `line`. */
static bool hold(struct selftest *test, const char *line, struct fault *fault) {
    const struct obtain_options options = {
        .program = verb_program(), .threads = test->options.threads, .uncached = true};
    if (!strcmp(test->line, line)) return true;
    fixture_free(&test->fixture);
    test->fixture = (struct fixture){0};
    test->line[0] = '\0';
    if (!obtain_line(&test->fixture, line, &options, fault)) return false;
    snprintf(test->line, sizeof test->line, "%s", line);
    return true;
}

static bool run_kernel(struct selftest *test, const struct plugin *plugin, const char *line,
                       const struct trial_options *options, struct row *row, struct fault *fault) {
    bool spoilt;
    if (!options->poison) test->line[0] = '\0'; /* an earlier trial left its poison */
    *row = (struct row){0};
    if (!hold(test, line, fault) ||
        !trial_run(row, plugin, &test->fixture, options, &spoilt, fault))
        return false;
    if (spoilt) test->line[0] = '\0';
    return true;
}

static const struct plugin *find(const struct plugin_list *list, enum attn_device device,
                                 const char *name) {
    for (int64_t n = 0; n < list->count; n++) {
        const char *slash = strrchr(list->plugins[n].id, '/');
        if (list->plugins[n].kernel.device == (int32_t)device &&
            !strcmp(slash != NULL ? slash + 1 : list->plugins[n].id, name))
            return &list->plugins[n];
    }
    return NULL;
}

static void report(struct selftest *test, const struct row *row, const char *expected, bool right) {
    if (test->options.json) {
        json_array_append_new(test->rows,
                              json_pack("{s:o, s:s, s:s, s:s, s:o, s:s, s:s, s:b, s:f}", "kernel",
                                        text_to_json(row->kernel), "line", row->line, "expected",
                                        expected, "status", row->status, "reason",
                                        text_to_json(row->reason), "diagnosis",
                                        row->diagnosis != NULL ? row->diagnosis : "", "grade",
                                        row->grade, "right", right, "seconds", row->seconds));
        return;
    }
    struct print_line line = {.to = stdout};
    print_piece(&line, "%s", right ? "right" : "WRONG");
    print_piece(&line, "%-35s", row->kernel);
    print_piece(&line, "%s", row->status);
    print_line_end(&line);
    if (row->reason[0] != '\0') print_words(stdout, 0, 7, "       %s", row->reason);
    if (text_given(row->diagnosis)) print_words(stdout, 0, 7, "       %s", row->diagnosis);
    if (!right) printf("       expected %s\n", expected);
    if (!right && text_given(row->repeat)) print_plain(stdout, "       repeat: %s\n", row->repeat);
    fflush(stdout);
}

static bool as_expected(const struct row *row, const struct expectation *expectation) {
    const bool pass = expectation->status == STATUS_PASS;
    const bool timed = pass && expectation->options & TIMED;
    return !strcmp(row->status, status_name(expectation->status)) &&
           strstr(timed ? row->warm.how : row->reason, expectation->reason) != NULL &&
           (!pass || row->grade[0] == 'A');
}

/* `options` are the place's. */
static bool run_expectation(struct selftest *test, const struct expectation *expectation,
                            const struct place *place, struct trial_options *options,
                            struct tally *tally, struct fault *fault) {
    struct row row;
    const struct plugin *plugin = find(place->interpreted ? &test->python : &test->planted,
                                       place->device, expectation->kernel);
    if (plugin == NULL)
        return fault_set(fault, FAULT_NOTHING, "no planted kernel '%s' for %s in '%s'",
                         expectation->kernel, place->name, verb_planted());
    options->watchdog_seconds =
        expectation->status == STATUS_HANG ? place->hang_seconds : WATCHDOG_SECONDS;
    options->time = expectation->options & TIMED;
    options->poison = !(expectation->options & UNPOISONED);
    if (!run_kernel(test, plugin, expectation->line, options, &row, fault)) return false;
    const char *missed = missed_diagnosis(expectation->kernel, expectation->status, row.diagnosis);
    const bool as_said = as_expected(&row, expectation), right = as_said && missed == NULL;
    ++*(right ? &tally->right : &tally->wrong);
    if (right) tally->found[expectation->status]++;
    report(test, &row, as_said && missed != NULL ? missed : status_name(expectation->status),
           right);
    return true;
}

static bool run_place(struct selftest *test, int place, struct sanitizer *sanitizer,
                      struct fault *fault) {
    struct client client = {0};
    struct trial_options options = trial_defaults;
    options.program = verb_program();
    options.threads = test->options.threads;
    options.client = &client;
    options.repeat_seconds = places[place].repeat_seconds;
    options.plan.total_ms_max =
        3000; /* for a hundred samples, however slow and busy this host is */
    options.sanitizer = sanitizer;
    bool well = true;
    for (int n = 0; well && n < EXPECTATIONS; n++) {
        if (expectations[n].options & HIDING && !test->hides) continue;
        if (expectations[n].places >> place & 1)
            well = run_expectation(test, &expectations[n], &places[place], &options,
                                   &test->at[place], fault);
    }
    client_stop(&client);
    return well;
}

/* The answer that a cheat looks for, in a cache of its own within the cache, which is hidden. */
static void make_answer(struct selftest *test) {
    const struct obtain_options options = {
        .program = verb_program(), .threads = test->options.threads, .must_store = true};
    struct fixture fixture = {0};
    struct fault fault = {0};
    char path[4096], folder[sizeof path + 32];
    fixture_cache_path(DECODE_ONE, path);
    *strrchr(path, '/') = '\0';
    snprintf(folder, sizeof folder, "%s/selftest-%d", path, (int)getpid());
    setenv("ATTEST_CACHE", folder, 1); /* nothing else here reads or writes it */
    test->hides = obtain_line(&fixture, DECODE_ONE, &options, &fault) && client_hides();
    fixture_free(&fixture);
}

static void remove_answer(void) {
    char path[4096];
    fixture_cache_path(DECODE_ONE, path);
    unlink(path);
    *strrchr(path, '/') = '\0';
    rmdir(path);
}

/* Why no planted kernel runs on a GPU; "" when one does. */
static bool look_for_gpu(const struct selftest *test, char why[LEFT_OUT_BYTES],
                         struct fault *fault) {
    struct machine_device found[MACHINE_DEVICES_MAX];
    int64_t count = 0;
    bool built = false;
    for (int64_t n = 0; n < test->planted.count; n++)
        built |= test->planted.plugins[n].kernel.device == ATTN_CUDA;
    if (built && !devices_find(ATTN_CUDA, found, &count, verb_program(), fault)) return false;
    snprintf(why, LEFT_OUT_BYTES, "%s",
             !built       ? "none were built"
             : count == 0 ? "there is no GPU here"
                          : "");
    return true;
}

/* Whether the interpreter is there, and has NumPy. */
static bool has_numpy(void) {
    const char *const python = interpreter_command()[0];
    char *const command[] = {(char *)python, "-c", "import numpy", NULL};
    posix_spawn_file_actions_t quiet;
    pid_t child;
    int status = -1;
    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (posix_spawnp(&child, python, &quiet, NULL, command, environ) == 0)
        waitpid(child, &status, 0);
    posix_spawn_file_actions_destroy(&quiet);
    return status == 0;
}

/* Finds planted.py's kernels; or why none of them runs. */
static bool look_for_python(struct selftest *test, char why[LEFT_OUT_BYTES], struct fault *fault) {
    char path[4096 + 16];
    const char *const file = path;
#ifdef __SANITIZE_ADDRESS__
    snprintf(why, LEFT_OUT_BYTES, "no interpreter loads a worker that is sanitized");
    return true;
#endif
    snprintf(path, sizeof path, "%s/planted.py", verb_planted());
    if (!has_numpy()) {
        snprintf(why, LEFT_OUT_BYTES, "%.80s does not import NumPy", interpreter_command()[0]);
        return true;
    }
    const bool well = plugin_scan(&test->python, verb_program(), verb_planted(), &file, 1, fault);
    for (int64_t n = 0; n < test->python.count; n++) test->python.plugins[n].found = false;
    return well;
}

static bool run_planted(struct selftest *test, struct fault *fault) {
    char no_gpu[LEFT_OUT_BYTES];
    if (!look_for_gpu(test, no_gpu, fault)) return false;
    /* `attest run` does not look in this folder: what repeats a row names the file. */
    for (int64_t n = 0; n < test->planted.count; n++) test->planted.plugins[n].found = false;
    for (int place = 0; place < PLACES; place++) {
        struct sanitizer sanitizer = {0};
        struct fault missing = {0};
        char *why = test->at[place].left_out;
        const char *tool = places[place].tool;
        if (places[place].device != ATTN_CPU) snprintf(why, LEFT_OUT_BYTES, "%s", no_gpu);
        if (places[place].interpreted && !look_for_python(test, why, fault)) return false;
        if (*why == '\0' && tool != NULL && !sanitizer_open(&sanitizer, tool, &missing))
            snprintf(why, LEFT_OUT_BYTES, "%.*s", LEFT_OUT_BYTES - 1, missing.text);
        const bool well =
            *why != '\0' || run_place(test, place, tool != NULL ? &sanitizer : NULL, fault);
        sanitizer_close(&sanitizer);
        if (!well) return false;
    }
    return true;
}

/* The table prints only what went wrong here: hundreds of rows that pass say nothing. */
static bool run_honest(struct selftest *test, struct fault *fault) {
    struct trial_options options = trial_defaults;
    options.program = verb_program();
    options.threads = test->options.threads;
    options.time = false;
    for (int64_t line = 0; line < test->smoke.count; line++) {
        for (int64_t n = 0; n < test->kernels.count; n++) {
            const struct plugin *plugin = &test->kernels.plugins[n];
            struct row row;
            char reason[256];
            if (plugin->kernel.device != ATTN_CPU) continue;
            if (!hold(test, test->smoke.lines[line], fault)) return false;
            if (plugin_refusal(&plugin->kernel, &test->fixture.problem.attn, reason) != NULL)
                continue;
            if (!run_kernel(test, plugin, test->smoke.lines[line], &options, &row, fault))
                return false;
            if (!strcmp(row.status, status_name(STATUS_REFUSED))) continue;
            const bool right = !strcmp(row.status, status_name(STATUS_PASS));
            ++*(right ? &test->honest_right : &test->honest_wrong);
            if (!right || test->options.json) report(test, &row, status_name(STATUS_PASS), right);
        }
    }
    return true;
}

static json_t *tally_json(const struct tally *tally) {
    json_t *json = json_pack("{s:I, s:I}", "right", (json_int_t)tally->right, "wrong",
                             (json_int_t)tally->wrong);
    if (tally->left_out[0] != '\0')
        json_object_set_new(json, "left_out", text_to_json(tally->left_out));
    return json;
}

static void print_object(const struct selftest *test, double seconds) {
    json_t *planted = json_object();
    for (int place = 0; place < PLACES; place++)
        json_object_set_new(planted, places[place].name, tally_json(&test->at[place]));
    json_t *json = json_pack("{s:O, s:o, s:I, s:I, s:f}", "rows", test->rows, "planted", planted,
                             "honest_right", (json_int_t)test->honest_right, "honest_wrong",
                             (json_int_t)test->honest_wrong, "seconds", seconds);
    print_json(stdout, json, JSON_INDENT(2));
}

static void print_summary(const struct selftest *test, double seconds) {
    putchar('\n');
    for (int place = 0; place < PLACES; place++) {
        const struct tally *tally = &test->at[place];
        char found[32 * STATUS_COUNT] = "";
        size_t used = 0;
        for (int status = 0; status < STATUS_COUNT; status++) {
            if (tally->found[status] > 0)
                used += (size_t)snprintf(found + used, sizeof found - used, " %s %lld",
                                         status_name((enum status)status),
                                         (long long)tally->found[status]);
        }
        if (tally->left_out[0] != '\0')
            print_words(stdout, 0, 4, "planted, %s: not run: %s", places[place].name,
                        tally->left_out);
        else
            print_words(stdout, 0, 4, "planted, %s: %lld as expected, %lld not:%s",
                        places[place].name, (long long)tally->right, (long long)tally->wrong,
                        found);
    }
    if (!test->hides)
        puts("not run: cheats that look for answers, which this system cannot hide: see doctor");
    printf("honest CPU kernels on smoke: %lld pass, %lld do not\n%s\n",
           (long long)test->honest_right, (long long)test->honest_wrong,
           number_time(seconds * 1e6).text);
}

static int run_selftest(int argc, char **argv) {
    const double start = clock_s();
    struct selftest test = {.rows = json_array()};
    struct fault fault = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &test.options);
    make_answer(&test);
    const bool ran = plugin_scan(&test.planted, verb_program(), verb_planted(), NULL, 0, &fault) &&
                     plugin_scan(&test.kernels, verb_program(), verb_kernels(), NULL, 0, &fault) &&
                     suite_read(&test.smoke, verb_suites(), "smoke", &fault) &&
                     run_planted(&test, &fault) && run_honest(&test, &fault);
    if (ran) (test.options.json ? print_object : print_summary)(&test, clock_s() - start);
    int64_t wrong = test.honest_wrong;
    for (int place = 0; place < PLACES; place++) wrong += test.at[place].wrong;
    const int status = !ran                     ? fault_tell(&fault)
                       : wrong > 0              ? EXIT_WRONG_RESULT
                       : test.honest_right == 0 ? FAULT_NOTHING
                                                : 0;
    remove_answer();
    fixture_free(&test.fixture);
    plugin_list_free(&test.planted);
    plugin_list_free(&test.python);
    plugin_list_free(&test.kernels);
    suite_free(&test.smoke);
    json_decref(test.rows);
    return status;
}

const struct verb verb_selftest = {
    .name = "selftest",
    .arguments = "",
    .summary = "planted bugs are found, CPU kernels right",
    .argp = &argp,
    .run = run_selftest,
};
