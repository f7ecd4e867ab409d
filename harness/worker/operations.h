/* What a worker does when it is asked (worker.c has the protocol): operations.c loads kernels and
 * launches, operations_memory.c has their memory, operations_time.c times. */
#ifndef ATTEST_OPERATIONS_H
#define ATTEST_OPERATIONS_H

#include "fence.h"
#include "inbox.h"
#include "race.h"
#include "sampling.h"
#include "views.h"
#include "../../kernels/ascend/estimate.h"

enum { SIDES_MAX = RACERS_MAX };

/* A kernel on the worker's problem. */
struct side {
    struct attn_kernel kernel;              /* launch NULL: none is loaded */
    const struct attest_estimate *estimate; /* the library's, NULL if it has none */
    struct attn_call call;
    /* What kernels are given, copies: what one does to them changes nothing here. */
    struct attn_problem given_problem;
    struct attn_call given_call;
    bool prepared;
    struct watch watch; /* what its launches should leave, once that was said */
    int64_t *q_lens;    /* the watch's */
};

struct mapping {
    unsigned char *host;
    size_t bytes;
};

struct worker {
    struct attn_problem problem;
    struct side sides[SIDES_MAX]; /* on the same tensors, inputs and outputs */
    struct turn turn;             /* of their watches */
    unsigned char *scratch;       /* of all sides, with its guards: where it lies takes time */
    size_t scratch_bytes;         /* as many as the side needs that needs most */
    const struct device *device;
    struct inbox *inbox; /* the files that came with the request at hand */
    /* The parent's memories, here; behind them those of tensors that lie elsewhere. */
    struct mapping mappings[INBOX_FILES_MAX + ATTN_SLOT_ROOM];
    size_t mapping_count;
    struct views views;
    /* And on the device. Placed whole, the guards around their tensors are there too. */
    struct memory memories[ATTN_SLOT_ROOM];
    size_t memory_count;
    int64_t memory_max;
    pid_t keepers[FENCE_KEEPERS];
    int answers;       /* the file that they are written to, */
    const char *nonce; /* and what the next one repeats */
    bool hidden;       /* what is to be is, or cannot be */
    bool fenced;       /* fence_raise was called, once */
};

/* The answer to a request, but for its nonce. */
json_t *worker_perform(struct worker *worker, const json_t *request);
/* Gives back the memory of its sides. */
void worker_release(struct worker *worker);

/* operations.c: for both */
struct subject worker_subject(const struct worker *worker, const struct side *side);
/* The side that a request names, 0 if none; NULL where nothing is prepared there. */
struct side *worker_prepared(struct worker *worker, const json_t *request);
/* Whether a kernel has written to what it was called with, as it may not: a refusal, or NULL. */
json_t *worker_look_at_given(const struct worker *worker, const struct side *side);
/* "intact", or which guard of so many bytes of scratch was written to. */
const char *worker_scratch_state(const struct worker *worker, size_t bytes);

/* operations_memory.c */
/* A refusal, or NULL. */
json_t *worker_map(struct worker *worker, const json_t *request);
json_t *worker_place(struct worker *worker, const json_t *request);
/* What is between elements of inputs from the next upload on, as "prepare" says. */
void worker_choose_gaps(struct worker *worker, const json_t *request);
void worker_upload(struct worker *worker, bool outputs);
/* The name of a laid-out tensor around which something was written (views.h), or NULL. */
const char *worker_download(struct worker *worker, bool outputs);
/* In which of the worker's mappings an input lies; NULL: in none. */
struct mapping *worker_mapping(struct worker *worker, const struct attn_tensor *tensor);

/* operations_time.c */
json_t *worker_time(struct worker *worker, const json_t *request);
json_t *worker_repeat(struct worker *worker, const json_t *request);
json_t *worker_expect(struct worker *worker, const json_t *request);
json_t *worker_race(struct worker *worker, const json_t *request);
json_t *worker_furthest(struct worker *worker, const json_t *request);
/* What was expected of its sides is so no more. */
void worker_end_watches(struct worker *worker);

#endif
