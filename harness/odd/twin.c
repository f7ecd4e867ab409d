/* Decode kernels that say what the twin of an NPU would: estimates beside an output that is right,
 * or findings. What the tests of the twin as a device run, without the emulation; one library each,
 * compiled from this file with ODD_KIND. */
#include "../planted/planted.h"
#include "../../kernels/ascend/estimate.h"

enum odd {
    RIGHT,  /* computes on the host, and estimates */
    RACES,  /* reports a race */
    READS,  /* reports a read out of bounds, in words that could mean something else */
    WAITS,  /* reports that its cores wait for each other */
    PASSES, /* reports that all is well, which is not its to say */
};

#define ODD_STRING(x) #x
#define ODD_NAME(x) ODD_STRING(x)
static const enum odd kind = ODD_KIND;

static const char *const texts[] = {
    [RIGHT] = NULL,
    [RACES] = "FAIL_RACE: x.asc:3: a read of UB before the write of x.asc:2 was waited for",
    [READS] = "FAIL_OOB_READ:x.asc:9: 32 bytes beyond k: out of memory that was declared",
    [WAITS] = "HANG: deadlock: core 0 waits for flag 1 of core 1, which has ended",
    [PASSES] = "PASS: all is well",
};

ATTN_PUBLIC struct attest_estimate attest_estimate;

static const char *launch(const struct attn_problem *problem, const struct attn_call *call) {
    attest_estimate.estimate_us = 12.5;
    attest_estimate.text = "HBM 1000 bytes\nsyncs: 3 | 4";
    if (texts[kind] != NULL) return texts[kind];
    return planted_launch(PLANTED_FLASH, problem, call, 0);
}

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_ASCEND_TWIN,
    .variant = ATTN_DECODE,
    .name = ODD_NAME(ODD_FILE),
    .revision = 1,
    .grade = 'A',
    .change = "says what the twin would",
    .traits = ATTN_GQA,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16,
    .p_dtype = ATTN_INPUT,
    .flags = ATTN_WRITES_LSE,
    .head_dim_max = PLANTED_HEAD_DIM_MAX,
    .launch = launch,
};
