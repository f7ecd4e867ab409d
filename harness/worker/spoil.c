#include "spoil.h"
#include "../../kernels/attn_number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SPOILT = 1, TOUCHED, ALONE, RECORDED };
enum { BLOCKS_MAX = 4, LAUNCHES_MIN = 2, LAUNCHES_MAX = 32, REPLAYS = 5, ROUNDS_MAX = 12 };

/* Launches of one recording, together; and memory for it on the device. */
static const double replay_us = 300;
static const size_t kept_bytes_max = (size_t)64 << 20, blocks_bytes_max = (size_t)128 << 20;

struct block {
    struct turn_block of;
    unsigned char *plain, *negated; /* on the device */
};

struct work {
    const struct spoil *spoil;
    struct block blocks[BLOCKS_MAX];
    int block_count;
    unsigned char *memory, *other,
        *kept; /* on the device: all of it; outputs to fill, and to keep */
    int64_t launches, first_kept, kept_count;
    unsigned char block[LAUNCHES_MAX], negated[LAUNCHES_MAX]; /* before each launch */
};

static size_t rounded(size_t bytes) {
    return (bytes + 255) & ~(size_t)255;
}

static size_t bytes_of(const struct turn_block *block) {
    return block->rows * block->width;
}

static size_t output_bytes(const struct watch *watch) {
    return rounded(watch->out_bytes) + rounded(watch->lse_bytes);
}

static const struct attn_call *call_of(const struct work *work, int64_t launch) {
    return &work->spoil->calls[launch % work->spoil->count];
}

/* Heads that differ, as many as there is room for. */
static size_t draw_blocks(struct work *work) {
    size_t bytes = 0;
    for (int n = 0; n < BLOCKS_MAX; n++) {
        const struct turn_block block = turn_block(work->spoil->watch->turn);
        bool known = bytes_of(&block) == 0;
        for (int m = 0; m < work->block_count; m++) known |= work->blocks[m].of.at == block.at;
        const size_t more = 2 * rounded(bytes_of(&block));
        if (known || (n > 0 && bytes + more > blocks_bytes_max)) continue;
        work->blocks[work->block_count++].of = block;
        bytes += more;
    }
    return bytes;
}

/* Each launch finds one block with another sign than that copy of it had: of more copies than there
 * are launches the first ones are used, once. */
static void draw_launches(struct work *work) {
    unsigned char state[LAUNCHES_MAX][BLOCKS_MAX] = {0};
    struct turn *turn = work->spoil->watch->turn;
    for (int64_t n = 0; n < work->launches; n++) {
        work->block[n] = (unsigned char)turn_draw(turn, work->block_count);
        work->negated[n] = state[n % work->spoil->count][work->block[n]] ^= 1;
    }
    work->first_kept = turn_draw(turn, work->launches - work->kept_count + 1);
}

static bool upload_blocks(struct work *work) {
    const struct device *device = work->spoil->subject->device;
    unsigned char *at = work->memory;
    for (int n = 0; n < work->block_count; n++) {
        struct block *block = &work->blocks[n];
        const size_t bytes = bytes_of(&block->of);
        unsigned char *host = malloc(2 * bytes);
        if (host == NULL) return false;
        turn_read(work->spoil->watch->turn, &block->of, host, host + bytes);
        block->plain = at;
        block->negated = at + rounded(bytes);
        device->upload(block->plain, host, bytes);
        device->upload(block->negated, host + bytes, bytes);
        free(host);
        at += 2 * rounded(bytes);
    }
    work->other = at;
    work->kept = at + output_bytes(work->spoil->watch);
    return true;
}

/* NULL, or why it cannot be. */
static const char *plan(struct work *work) {
    const struct spoil *spoil = work->spoil;
    const struct device *device = spoil->subject->device;
    if (spoil->subject->problem->traits & ATTN_KSHARED) return "values are part of keys";
    if (spoil->watch->out_view != NULL) return "tensors are laid out";
    const size_t output = output_bytes(spoil->watch), blocks = draw_blocks(work);
    const double launches = ceil(replay_us / fmax(spoil->single_us, 1));
    if (work->block_count == 0) return "there is nothing to turn";
    work->launches = (int64_t)fmin(fmax(launches, LAUNCHES_MIN), LAUNCHES_MAX);
    work->kept_count = (int64_t)(kept_bytes_max / (output + 1));
    if (work->kept_count > work->launches) work->kept_count = work->launches;
    const size_t bytes = blocks + (size_t)(1 + work->kept_count) * output;
    if (bytes > device->room() / 2 || (work->memory = device->allocate(bytes)) == NULL)
        return "there is no room to turn values";
    if (!upload_blocks(work)) return "out of memory to turn values";
    draw_launches(work);
    return NULL;
}

static struct device_step copy_step(void *to, const void *from, size_t bytes) {
    return (struct device_step){.move = {.to = to,
                                         .from = from,
                                         .to_pitch = bytes,
                                         .from_pitch = bytes,
                                         .width = bytes,
                                         .rows = 1}};
}

static struct device_step fill_step(const struct watch *watch, void *to, bool lse) {
    const int word_bytes = (int)attn_dtype_bytes(lse ? ATTN_F32 : watch->dtype);
    struct device_step step = {.move = {.to = to,
                                        .width = lse ? watch->lse_bytes : watch->out_bytes,
                                        .rows = 1,
                                        .word_bytes = word_bytes}};
    memcpy(&step.move.word, watch->blank + (lse ? watch->out_bytes : 0), (size_t)word_bytes);
    return step;
}

static struct device_step block_step(const struct block *block, const struct attn_call *call,
                                     bool negated) {
    const struct attn_tensor *cache = &call->tensors[ATTN_KV_CACHE];
    unsigned char *values = cache->data != NULL ? cache->data : call->tensors[ATTN_V].data;
    return (struct device_step){.move = {.to = values + block->of.at,
                                         .from = negated ? block->negated : block->plain,
                                         .to_pitch = block->of.pitch,
                                         .from_pitch = block->of.width,
                                         .width = block->of.width,
                                         .rows = block->of.rows}};
}

/* At most six for each launch. */
static int64_t steps_of(const struct work *work, int which, int64_t n, struct device_step *steps) {
    const struct watch *watch = work->spoil->watch;
    const size_t lse_at = rounded(watch->out_bytes);
    const struct attn_tensor *tensors = call_of(work, n)->tensors;
    unsigned char *out = which == TOUCHED ? work->other : tensors[ATTN_OUT].data;
    unsigned char *lse = which == TOUCHED ? work->other + lse_at : tensors[ATTN_LSE].data;
    int64_t count = 0;
    steps[count++] = fill_step(watch, out, false);
    if (watch->lse != NULL) steps[count++] = fill_step(watch, lse, true);
    steps[count++] = block_step(&work->blocks[work->block[n]], call_of(work, n),
                                which == SPOILT && work->negated[n]);
    if (which != ALONE) steps[count++] = (struct device_step){.call = call_of(work, n)};
    if (n < work->first_kept || n >= work->first_kept + work->kept_count) return count;
    unsigned char *kept = work->kept + (size_t)(n - work->first_kept) * output_bytes(watch);
    steps[count++] = copy_step(kept, tensors[ATTN_OUT].data, watch->out_bytes);
    if (watch->lse != NULL)
        steps[count++] = copy_step(kept + lse_at, tensors[ATTN_LSE].data, watch->lse_bytes);
    return count;
}

static const char *record(const struct work *work, int which) {
    enum { STEPS = 6 };
    const struct subject *subject = work->spoil->subject;
    struct device_step *steps = calloc((size_t)work->launches * STEPS, sizeof *steps);
    if (steps == NULL) return "out of memory for what is recorded";
    int64_t count = 0;
    for (int64_t n = 0; n < work->launches; n++) count += steps_of(work, which, n, steps + count);
    const char *reason =
        subject->device->record(which, subject->kernel, subject->problem, steps, count);
    free(steps);
    return reason;
}

/* Each copy that a launch may have turned. */
static void put_back(const struct work *work) {
    for (int64_t copy = 0; copy < work->spoil->count && copy < work->launches; copy++) {
        for (int n = 0; n < work->block_count; n++) {
            const struct device_step step =
                block_step(&work->blocks[n], call_of(work, copy), false);
            work->spoil->subject->device->move(&step.move);
        }
    }
}

/* The first replay also uploads the graph. */
static const char *time_replays(const struct work *work, int which, double *median_us) {
    double us[REPLAYS + 1];
    struct timing timing = {0};
    for (int n = 0; n <= REPLAYS; n++) {
        const char *reason = work->spoil->subject->device->replay(which, false, &us[n], NULL);
        if (reason != NULL) return reason;
        if (which == SPOILT) put_back(work);
    }
    timing_summarise(&timing, us + 1, REPLAYS);
    *median_us = timing.median_us;
    return NULL;
}

/* What the last replay of the first has kept. */
static void look(const struct work *work) {
    struct watch *watch = work->spoil->watch;
    const size_t output = output_bytes(watch);
    unsigned char state[LAUNCHES_MAX][BLOCKS_MAX] = {0}, now[BLOCKS_MAX] = {0};
    unsigned char *kept = malloc((size_t)work->kept_count * output + 1);
    if (kept == NULL) return; /* nobody is accused without memory */
    work->spoil->subject->device->download(kept, work->kept, (size_t)work->kept_count * output);
    for (int64_t n = 0; n < work->launches; n++) {
        unsigned char *of = state[n % work->spoil->count];
        of[work->block[n]] = work->negated[n];
        const int64_t slot = n - work->first_kept;
        if (slot < 0 || slot >= work->kept_count) continue;
        for (int m = 0; m < work->block_count; m++) {
            if (now[m] != of[m]) watch_follow(watch, &work->blocks[m].of.slice);
            now[m] = of[m];
        }
        const unsigned char *out = kept + (size_t)slot * output;
        watch_compare(watch, out, watch->lse != NULL ? out + rounded(watch->out_bytes) : NULL,
                      n + 1);
    }
    for (int m = 0; m < work->block_count; m++) {
        if (now[m]) watch_follow(watch, &work->blocks[m].of.slice);
    }
    free(kept);
}

/* A launch of what was timed, as it is now, if that is slower: what was recorded then knows nothing
 * of what was recorded since. */
static const char *time_usual(const struct work *work, double *usual_us) {
    const struct spoil *spoil = work->spoil;
    double us;
    const char *reason = time_replays(work, 0, &us);
    if (reason != NULL) return reason;
    *usual_us = fmax(us / (double)spoil->sample_launches, spoil->sample_us);
    return NULL;
}

/* The round that speaks most for the kernel; more of them only where it is needed. A kernel that
 * keeps what it computed does so in all of them, other users of the machine do not. */
static const char *time_rounds(const struct work *work, struct spoilt *found) {
    double least = INFINITY;
    for (int n = 0; n < ROUNDS_MAX && least > 0; n++) {
        double us[RECORDED] = {0};
        for (int which = SPOILT; which < RECORDED; which++) {
            const char *reason = time_replays(work, which, &us[which]);
            if (reason != NULL) return reason;
            if (which == SPOILT && n == 0) look(work);
        }
        const double launches = (double)work->launches;
        struct spoilt round = {.launches = work->launches,
                               .usual_us = work->spoil->sample_us,
                               .us = fmax(us[SPOILT] - us[ALONE], 0) / launches,
                               .touched_us = fmax(us[TOUCHED] - us[ALONE], 0) / launches,
                               .alone_us = us[ALONE] / launches};
        if (timing_noticed(round.us, round.usual_us) > 0) {
            const char *reason = time_usual(work, &round.usual_us);
            if (reason != NULL) return reason;
        }
        const double beyond = fmax(timing_spoilt(round.us, round.touched_us),
                                   timing_noticed(round.us, round.usual_us));
        if (beyond < least) *found = round;
        least = fmin(least, beyond);
    }
    return NULL;
}

const char *spoil_measure(const struct spoil *spoil, struct spoilt *found) {
    struct work work = {.spoil = spoil};
    *found = (struct spoilt){0};
    const char *why = plan(&work), *reason = NULL;
    for (int which = SPOILT; why == NULL && which < RECORDED; which++) why = record(&work, which);
    if (why == NULL) reason = time_rounds(&work, found);
    if (why != NULL) snprintf(found->why, sizeof found->why, "%s", why);
    if (work.memory != NULL) spoil->subject->device->release(work.memory);
    return reason;
}
