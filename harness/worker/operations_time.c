/* What is timed, and how a request says so. */
#define _GNU_SOURCE
#include "operations.h"
#include "priority.h"
#include "protocol.h"
#include "../../kernels/attn_number.h"
#include "../../oracle/clock.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static json_t *reals(const double *x, int64_t count) {
    json_t *list = json_array();
    for (int64_t n = 0; n < count; n++) json_array_append_new(list, real_or_null(x[n]));
    return list;
}

static struct memory *output_memory(struct worker *worker, const struct side *side,
                                    enum attn_slot slot) {
    const unsigned char *data = side->call.tensors[slot].data;
    for (size_t n = 0; n < worker->memory_count; n++) {
        struct memory *memory = &worker->memories[n];
        if (data >= memory->device && data < memory->device + memory->bytes) return memory;
    }
    return NULL;
}

/* False with *watch empty where none is asked for. */
static bool begin_watch(struct worker *worker, const struct side *side, struct watch *watch,
                        struct turn *turn, int64_t *q_lens, const json_t *asked) {
    const struct memory *memory = output_memory(worker, side, ATTN_OUT);
    const json_t *list = json_object_get(asked, "q_lens");
    if (memory == NULL || json_array_size(list) != (size_t)worker->problem.batch) return false;
    for (int64_t b = 0; b < worker->problem.batch; b++)
        q_lens[b] = json_integer_value(json_array_get(list, (size_t)b));
    const struct attn_tensor *out = &side->call.tensors[ATTN_OUT];
    const struct attn_tensor *lse = &side->call.tensors[ATTN_LSE];
    const bool with_lse = json_is_true(json_object_get(asked, "lse"));
    const struct attn_problem *problem = &worker->problem;
    const size_t rows = (size_t)(problem->batch * problem->q_heads * problem->q_len);
    const size_t row_bytes = (size_t)problem->value_dim * attn_dtype_bytes(out->dtype);
    *watch = (struct watch){.device = worker->device,
                            .problem = &worker->problem,
                            .dtype = out->dtype,
                            .out = out->data,
                            .out_bytes = rows * row_bytes,
                            .out_view = views_find(&worker->views, ATTN_OUT),
                            .lse = with_lse ? lse->data : NULL,
                            .lse_bytes = with_lse ? rows * sizeof(float) : 0,
                            .lse_view = views_find(&worker->views, ATTN_LSE),
                            .q_lens = q_lens,
                            .here = memory->host == memory->device};
    if (turn->turned != NULL || turn_begin(turn, worker->device, &worker->problem, &side->call))
        watch->turn = turn;
    worker_upload(worker, true);
    if (watch_begin(watch, (uint32_t)json_integer_value(json_object_get(asked, "unwritten")),
                    (uint32_t)json_integer_value(json_object_get(asked, "unwritten_lse"))))
        return true;
    watch_end(watch);
    return false;
}

/* Into shared memory. */
static void hand_over(struct worker *worker, const struct side *side, const struct watch *watch,
                      enum attn_slot slot, const unsigned char *from, size_t bytes) {
    const struct memory *memory = output_memory(worker, side, slot);
    const unsigned char *data = side->call.tensors[slot].data;
    const struct view *view = views_find(&worker->views, slot);
    if (watch->differed > 0 && view != NULL && bytes > 0)
        memcpy(view->dense.data, from, bytes);
    else if (watch->differed > 0 && memory != NULL && bytes > 0)
        memcpy(memory->host + (data - memory->device), from, bytes);
}

static json_t *spoilt_json(const struct spoilt *spoilt) {
    return json_pack("{s:I, s:f, s:f, s:f, s:o, s:s}", "launches", (json_int_t)spoilt->launches,
                     "us", spoilt->us, "touched_us", spoilt->touched_us, "alone_us",
                     spoilt->alone_us, "usual_us", real_or_null(spoilt->usual_us), "why",
                     spoilt->why);
}

json_t *worker_time(struct worker *worker, const json_t *request) {
    const struct side *side = worker_prepared(worker, request);
    if (side == NULL || side != &worker->sides[0])
        return refusal_json("error", "time before prepare");
    struct sampling sampling = {
        .plan = {.samples_min = json_integer_value(json_object_get(request, "samples_min")),
                 .samples_max = json_integer_value(json_object_get(request, "samples_max")),
                 .total_ms_max = json_number_value(json_object_get(request, "total_ms_max")),
                 .ci_target = json_number_value(json_object_get(request, "ci_target"))},
        .cold = json_is_true(json_object_get(request, "cold")),
        .burst = json_is_true(json_object_get(request, "burst")),
        .touched_bytes = json_number_value(json_object_get(request, "touched_bytes")),
    };
    if (sampling.plan.samples_max < 1 || sampling.plan.samples_max > 1 << 20)
        return refusal_json("error", "samples_max must be in 1..1048576");
    char room[PATH_MAX];
    sampling.quiet_us = json_number_value(json_object_get(request, "quiet_us"));
    sampling.control = path_from_json(json_object_get(request, "control"), room);
    const struct subject subject = worker_subject(worker, side);
    struct watch watch = {0};
    struct turn turn = {0};
    int64_t *q_lens = calloc((size_t)worker->problem.batch + 1, sizeof *q_lens);
    if (q_lens != NULL &&
        begin_watch(worker, side, &watch, &turn, q_lens, json_object_get(request, "watch")))
        sampling.watch = &watch;
    sampling.watched_min =
        json_integer_value(json_object_get(json_object_get(request, "watch"), "samples_min"));
    const bool raised = priority_raise();
    const char *reason = sampling_take(&sampling, &subject);
    priority_lower(raised);
    json_t *reply = reason != NULL ? failure_json(reason) : worker_look_at_given(worker, side);
    if (reply == NULL) {
        worker_download(worker, true);
        hand_over(worker, side, &watch, ATTN_OUT, watch.furthest, watch.out_bytes);
        hand_over(worker, side, &watch, ATTN_LSE, watch.furthest + watch.out_bytes,
                  watch.lse_bytes);
        reply =
            json_pack("{s:b, s:o, s:o, s:s, s:s, s:I, s:I, s:f, s:s, s:o, s:o, s:s, s:s}", "ok", 1,
                      "samples_us", reals(sampling.us, sampling.n), "clock_mhz",
                      reals(sampling.clock_mhz, sampling.n), "stop", sampling.stop, "how",
                      sampling.how, "launches", (json_int_t)sampling.launches, "copies",
                      (json_int_t)sampling.copies, "single_us", sampling.single_us, "unrecorded",
                      sampling.unrecorded, "watts", real_or_null(sampling.last.watts), "celsius",
                      real_or_null(sampling.last.celsius), "slowed", sampling.last.slowed,
                      "scratch", worker_scratch_state(worker, worker->scratch_bytes));
        json_object_set_new(reply, "regime", json_string(sampling.regime));
        json_object_set_new(reply, "overlapped", json_boolean(sampling.last.overlapped));
        json_object_set_new(reply, "burst_us", real_or_null(sampling.burst_beside.us));
        json_object_set_new(reply, "burst_clock_mhz",
                            real_or_null(sampling.burst_beside.clock_mhz));
        json_object_set_new(reply, "burst_watts", real_or_null(sampling.burst_beside.watts));
        json_object_set_new(reply, "interrupted", json_integer(sampling.interrupted));
        json_object_set_new(reply, "control_us", reals(sampling.control_us, sampling.n));
        json_object_set_new(reply, "looked", json_integer(watch.looked));
        json_object_set_new(reply, "differed", json_integer(watch.differed));
        json_object_set_new(reply, "first", json_integer(watch.first));
        json_object_set_new(reply, "stale", json_integer(watch.stale));
        json_object_set_new(reply, "bare", json_integer(watch.bare));
        json_object_set_new(reply, "surprised_us",
                            reals(sampling.surprised_us, sampling.surprised));
        json_object_set_new(reply, "touched_us", reals(sampling.touched_us, sampling.touched));
        json_object_set_new(reply, "plain_us", reals(sampling.plain_us, sampling.plain));
        json_object_set_new(reply, "turned_bytes", json_real(sampling.turned_bytes));
        json_object_set_new(reply, "spoilt", spoilt_json(&sampling.spoilt));
    }
    watch_end(&watch);
    turn_end(&turn);
    free(q_lens);
    free(sampling.us);
    free(sampling.clock_mhz);
    free(sampling.control_us);
    return reply;
}

json_t *worker_repeat(struct worker *worker, const json_t *request) {
    const struct side *side = worker_prepared(worker, request);
    if (side == NULL || side != &worker->sides[0])
        return refusal_json("error", "repeat before prepare");
    const struct subject subject = worker_subject(worker, side);
    const int64_t times = json_integer_value(json_object_get(request, "times"));
    const double start = clock_s();
    for (int64_t n = 0; n < times; n++) {
        const char *reason = sampling_repeat(&subject);
        if (reason != NULL) return failure_json(reason);
    }
    return json_pack("{s:b, s:f}", "ok", 1, "us", (clock_s() - start) * 1e6);
}

void worker_end_watches(struct worker *worker) {
    for (int n = 0; n < SIDES_MAX; n++) {
        watch_end(&worker->sides[n].watch);
        free(worker->sides[n].q_lens);
        worker->sides[n].q_lens = NULL;
    }
    turn_end(&worker->turn);
}

json_t *worker_expect(struct worker *worker, const json_t *request) {
    struct side *side = worker_prepared(worker, request);
    if (side == NULL || side->q_lens != NULL)
        return refusal_json("error", "expect before prepare, or twice");
    side->q_lens = calloc((size_t)worker->problem.batch + 1, sizeof *side->q_lens);
    if (side->q_lens == NULL) return refusal_json("oom", "out of memory for what is expected");
    return begin_watch(worker, side, &side->watch, &worker->turn, side->q_lens, request)
               ? json_pack("{s:b}", "ok", 1)
               : refusal_json("oom",
                              "out of memory for what is expected, or nothing of it is told");
}

static json_t *racer_json(const struct worker *worker, const struct racer *racer, int64_t rounds) {
    const struct watch *watch = racer->watch;
    return json_pack("{s:o, s:o, s:f, s:I, s:I, s:I, s:I, s:I, s:s}", "samples_us",
                     reals(racer->us, rounds), "clock_mhz", reals(racer->clock_mhz, rounds),
                     "single_us", racer->single_us, "looked", (json_int_t)watch->looked, "differed",
                     (json_int_t)watch->differed, "first", (json_int_t)watch->first, "stale",
                     (json_int_t)watch->stale, "bare", (json_int_t)watch->bare, "scratch",
                     worker_scratch_state(worker, worker->scratch_bytes));
}

static json_t *race_json(const struct worker *worker, const struct race *race) {
    json_t *list = json_array();
    for (int n = 0; n < race->count; n++)
        json_array_append_new(list, racer_json(worker, &race->racers[n], race->rounds));
    return json_pack("{s:b, s:o, s:s, s:s, s:s, s:I, s:I, s:s, s:o, s:o, s:s}", "ok", 1, "sides",
                     list, "regime", race->regime, "stop", race->stop, "how", race->how, "launches",
                     (json_int_t)race->launches, "copies", (json_int_t)race->copies, "unrecorded",
                     race->unrecorded, "watts", real_or_null(race->last.watts), "celsius",
                     real_or_null(race->last.celsius), "slowed", race->last.slowed);
}

/* All sides that are ready, from the first on: two to four. */
static int line_up(struct worker *worker, struct racer *racers, double *memory, int64_t room) {
    int count = 0;
    for (; count < SIDES_MAX; count++) {
        struct side *side = &worker->sides[count];
        if (!side->prepared || side->watch.expected == NULL) break;
        side->watch.looked = side->watch.differed = side->watch.first = 0;
        side->watch.stale = side->watch.bare = 0;
        side->watch.distance = side->watch.spent_s = 0;
        racers[count] = (struct racer){.subject = worker_subject(worker, side),
                                       .watch = &side->watch,
                                       .us = memory + 2 * count * room,
                                       .clock_mhz = memory + (2 * count + 1) * room};
    }
    return count;
}

json_t *worker_race(struct worker *worker, const json_t *request) {
    struct racer racers[SIDES_MAX];
    struct race race = {
        .racers = racers,
        .cold = json_is_true(json_object_get(request, "cold")),
        .burst = json_is_true(json_object_get(request, "burst")),
        .touched_bytes = json_number_value(json_object_get(request, "touched_bytes")),
        .rounds_max = json_integer_value(json_object_get(request, "rounds_max")),
        .total_ms_max = json_number_value(json_object_get(request, "total_ms_max")),
        .least = json_number_value(json_object_get(request, "least")),
    };
    if (race.rounds_max < 1 || race.rounds_max > 1 << 20)
        return refusal_json("error", "rounds_max must be in 1..1048576");
    double *memory = malloc((size_t)(2 * SIDES_MAX * race.rounds_max) * sizeof *memory);
    if (memory == NULL) return refusal_json("oom", "out of memory for the samples");
    race.count = line_up(worker, racers, memory, race.rounds_max);
    int which = 0;
    json_t *reply = NULL;
    if (race.count < 2) {
        reply = refusal_json("error", "a race of one");
    } else {
        const char *reason = race_run(&race, &which);
        if (reason != NULL) reply = failure_json(reason);
        for (int n = 0; n < race.count && reply == NULL; n++) {
            reply = worker_look_at_given(worker, &worker->sides[n]);
            if (reply != NULL) which = n;
        }
        if (reply != NULL) json_object_set_new(reply, "side", json_integer(which));
    }
    if (reply == NULL) reply = race_json(worker, &race);
    free(memory);
    return reply;
}

json_t *worker_furthest(struct worker *worker, const json_t *request) {
    struct side *side = worker_prepared(worker, request);
    if (side == NULL || side->watch.differed == 0)
        return refusal_json("error", "furthest of a side of which nothing differed");
    worker_download(worker, true); /* guards, too */
    hand_over(worker, side, &side->watch, ATTN_OUT, side->watch.furthest, side->watch.out_bytes);
    hand_over(worker, side, &side->watch, ATTN_LSE, side->watch.furthest + side->watch.out_bytes,
              side->watch.lse_bytes);
    return json_pack("{s:b}", "ok", 1);
}
