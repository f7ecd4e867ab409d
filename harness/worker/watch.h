/* What timed launches leave, in the worker: outputs are filled before a launch that is timed and
 * compared after it, both outside the time. Of outputs that differ the one furthest from what was
 * expected is kept, for the parent to judge. A GPU's outputs have to be fetched first: there no
 * more time goes into it than into what is timed, and some samples are not looked at. Where values
 * are turned between samples (turn.h) outputs are expected to be; what is kept of them is turned
 * back. Zeros are equal, whatever their sign, and so are NaN. `struct watch w = {0}` watches
 * nothing.
 */
#ifndef ATTEST_WATCH_H
#define ATTEST_WATCH_H

#include "turn.h"
#include "views.h"

#include <stddef.h>

struct watch {
    const struct device *device;
    const struct attn_problem *problem;
    int32_t dtype;                          /* enum attn_dtype of out */
    unsigned char *out, *lse;               /* on the device; lse NULL: not compared */
    size_t out_bytes, lse_bytes;            /* dense, [B, Hq, Sq, Dv] and [B, Hq, Sq] */
    const struct view *out_view, *lse_view; /* how they lie there; NULL: dense */
    const int64_t *q_lens;                  /* of each sequence: the rows that count */
    struct turn *turn;                      /* NULL: values stay as they are */
    bool here;                              /* the device's memory can be read as it is */
    bool due;                               /* the sample at hand is looked at */
    double spent_s;
    /* out and then lse, each, dense */
    unsigned char *expected, *blank, *fetched, *furthest;
    unsigned char *image; /* of the larger of the two as it lies on the device */
    double
        distance; /* of the furthest: the largest difference of an element; NaN counts infinite */
    int64_t looked, differed, first; /* samples; `first` counts from 1, 0: none differed */
    int64_t stale; /* of those that differed, in nothing but signs: an answer to other values */
    int64_t bare;  /* of those that differed, where elements had not been written yet */
};

/* Expects what out and lse hold now. `unwritten` and `unwritten_lse` are the words that outputs are
 * filled with, of an element's width. `q_lens` stays the caller's. False: out of memory. */
bool watch_begin(struct watch *watch, uint32_t unwritten, uint32_t unwritten_lse);
/* Outputs are those of `call` from now on, which are laid out as they were: a copy's (series.h). */
void watch_aim(struct watch *watch, const struct attn_call *call);
/* Before and after sample number `sample` (from 1), which began `elapsed_s` after the first. */
void watch_fill(struct watch *watch, double elapsed_s);
void watch_look(struct watch *watch, int64_t sample);
/* Turns values for the launch that follows; only between watch_fill and it, if that is `due`. */
struct turn_slice watch_turn(struct watch *watch);
/* Expects what there is to be with that slice turned, and with all turned back: of several watches
 * that share a `turn`, of which one turns and the others are told. */
void watch_expect(struct watch *watch, const struct turn_slice *slice);
void watch_expect_back(struct watch *watch);
/* Outputs are expected as if a slice had been turned, by others. */
void watch_follow(struct watch *watch, const struct turn_slice *slice);
/* Turns values back, and expects what was expected at first. */
void watch_turn_back(struct watch *watch);
/* Looks at an output that was kept elsewhere, on the host. `lse` NULL: not looked at. */
void watch_compare(struct watch *watch, const unsigned char *out, const unsigned char *lse,
                   int64_t sample);
void watch_end(struct watch *watch);

#endif
