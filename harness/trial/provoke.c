/* Provoking a kernel that runs: launches that must not come out otherwise. Again and again, with
 * other numbers in scratch, which nothing has written, and with another poison in what must not be
 * read. (Whether a kernel goes beyond its inputs at no harm is edges.c's, and whether inputs are
 * read anew renew.c's.)
 *
 * A difference has its cause looked for before a kernel is accused: what changed since the first
 * launch is put back, one thing at a time. */
#include "trial_inside.h"
#include "../../oracle/clock.h"
#include "../../oracle/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

/* What launches find in scratch, by turns, the first of them NaN; 1 next, since a part that is
 * merged though nobody wrote it shows best by it. */
static const double fillings[] = {NAN, 1, 0, 6e4};
enum { FILLINGS = sizeof fillings / sizeof fillings[0] };

/* Whether there is time for one more launch of those that are worth a part of the budget. */
static bool affordable(const struct trial *trial, double part) {
    const double last_s = trial->launches_us[trial->launches - 1] * 1e-6;
    return clock_s() - trial->start_s + last_s <= part * trial->options->repeat_seconds;
}

uint64_t trial_digest_inputs(const struct fixture *fixture) {
    uint64_t digest = 0;
    for (int slot = 0; slot < ATTN_SLOT_COUNT; slot++) {
        const struct attn_tensor *tensor = &fixture->tensors[slot];
        if (tensor->data != NULL)
            digest = XXH3_64bits_withSeed(tensor->data, (size_t)tensor_bytes(tensor), digest);
    }
    return digest;
}

static bool launch_with(struct trial *trial, double filling) {
    trial->filling = filling;
    const bool well = trial_launch(trial, false);
    trial->filling = NAN;
    return well;
}

/* ... of a kernel whose launches may differ, or do so by themselves. What such a kernel leaves that
 * is wrong is kept for the verdict. */
bool trial_stands(struct trial *trial) {
    if (trial_same_as_first(trial)) return true;
    if (!trial->nondeterministic && !trial->seen.repeat_differed) return false;
    if (!trial_first_was_right(trial)) return true;
    struct deviation deviation;
    const struct verdict now = trial_judge_now(trial, &deviation);
    if (now.status != STATUS_PASS) trial->later = now;
    return now.status == STATUS_PASS;
}

/* Which fillings of scratch the output depends on; none: it was not that. */
static bool name_fillings(struct trial *trial) {
    char *text = trial->seen.scratch_read;
    const size_t room = sizeof trial->seen.scratch_read;
    size_t used = 0;
    for (int n = 1; n < FILLINGS; n++) {
        if (!launch_with(trial, fillings[n])) return false;
        if (!trial_stands(trial) && used < room)
            used += (size_t)snprintf(text + used, room - used, "%s%g", used > 0 ? ", " : "",
                                     fillings[n]);
    }
    return true;
}

/* `filling` and perhaps another poison made another output than the first launch's. The same once
 * more, compared with that: a kernel that varies by itself is accused of nothing else. Then NaN in
 * scratch, as at first: that the difference is gone says where it came from. What is left is
 * *unexplained. */
static bool explain(struct trial *trial, double filling, bool *unexplained) {
    const struct outputs *outputs = &trial->outputs;
    unsigned char *now = malloc(outputs->out_bytes + outputs->lse_bytes + 1);
    *unexplained = false;
    if (now == NULL) return trial_end(trial, STATUS_OOM, "out of memory for an output");
    outputs_copy(outputs, now);
    bool well = launch_with(trial, filling);
    const bool again = well && (trial->nondeterministic || trial->seen.repeat_differed
                                    ? !trial_stands(trial)
                                    : outputs_equal(outputs, now, &trial->view, trial->writes_lse));
    free(now);
    if (!well) return false;
    if (!again) {
        trial->seen.repeat_differed = true;
        return true;
    }
    if (!isnan(filling)) {
        if (!launch_with(trial, NAN)) return false;
        if (trial_stands(trial)) return name_fillings(trial);
    }
    *unexplained = true;
    return true;
}

/* Launches again what should come out the same. The second is worth any time where there is
 * scratch. */
static bool repeat(struct trial *trial) {
    const struct trial_options *options = trial->options;
    const bool scratch = trial->scratch_bytes > 0;
    for (int n = 1; n < options->repeats; n++) {
        if (!options->repeats_asked && !(scratch && n == 1) && !affordable(trial, 0.5)) break;
        const double filling = scratch ? fillings[n % FILLINGS] : NAN;
        bool unexplained;
        if (!launch_with(trial, filling)) return false;
        if (trial_stands(trial)) continue;
        if (!explain(trial, filling, &unexplained)) return false;
        if (unexplained) trial->seen.repeat_differed = true;
        break;
    }
    return true;
}

void trial_look_at_inputs(struct trial *trial, enum poison poison, uint64_t digest) {
    char where[64];
    if (poison != POISON_NONE && !fixture_guards_intact(trial->fixture, poison, where))
        trial_break_guard(trial, "%s", where);
    if (trial_digest_inputs(trial->fixture) != digest) trial->seen.input_changed = true;
}

/* Launches with the inputs as they are now, between prepare and finish. */
static bool phase(struct trial *trial, enum poison poison,
                  bool (*launches)(struct trial *trial, enum poison poison)) {
    const uint64_t digest = trial->inputs = trial_digest_inputs(trial->fixture);
    trial->inputs_known = true;
    trial->gaps = poison;
    const bool well = trial_prepare(trial) && launches(trial, poison) && trial_finish(trial);
    /* Also of a kernel that died: they are used again. */
    trial_look_at_inputs(trial, poison, digest);
    return well;
}

/* Whether an output that was not complete when its launch returned changes, although nothing was
 * launched since: threads still write it. Waits a quarter of a second at most, for such rows only.
 */
static bool comes_late(const struct trial *trial) {
    enum { LOOKS = 250 };
    const struct timespec moment = {.tv_nsec = 1000000};
    if (trial->plugin->kernel.device != ATTN_CPU ||
        !outputs_any_unwritten(&trial->outputs, &trial->view))
        return false;
    for (int n = 0; n < LOOKS && trial_same_as_first(trial); n++) nanosleep(&moment, NULL);
    return !trial_same_as_first(trial);
}

static bool launch_first(struct trial *trial, enum poison poison) {
    if (!launch_with(trial, NAN)) return false;
    outputs_copy(&trial->outputs, trial->first);
    trial->late = comes_late(trial);
    if (trial->options->sanitizer != NULL) return trial_renew(trial, "sanitizer");
    if (!repeat(trial) || !trial_edges(trial, poison)) return false;
    const bool emulated = trial->plugin->kernel.device == ATTN_ASCEND_TWIN;
    return trial_renew(trial, emulated && !affordable(trial, 0.75) ? "emulated, too slow" : NULL);
}

/* Another poison, and another filling of scratch. */
static bool launch_poisoned(struct trial *trial, enum poison poison) {
    const double filling = trial->scratch_bytes == 0 ? NAN : poison == POISON_BIG ? 6e4 : 1;
    return launch_with(trial, filling) &&
           (trial_stands(trial) || explain(trial, filling, &trial->suspected));
}

/* The first poison again: an output that is still another has changed by itself. */
static bool launch_to_clear(struct trial *trial, enum poison poison) {
    (void)poison;
    if (!launch_with(trial, NAN)) return false;
    if (trial_stands(trial)) {
        trial->seen.poison_leaked = true;
    } else {
        trial->seen.repeat_differed = true;
    }
    return true;
}

/* NaN first: what is judged saw the worst. 6e4 before infinity, because a kernel that hides NaN
 * behind a product with 0 hides infinity there too. A problem that hides nothing but guards gets
 * the others only where launches are short. */
bool trial_provoke(struct trial *trial) {
    static const enum poison poisons[] = {POISON_NAN, POISON_BIG, POISON_INF};
    const int last = trial->options->sanitizer != NULL ? 1 : 3;
    if (!trial->options->poison) return phase(trial, POISON_NONE, launch_first);
    for (int n = 0; n < last && !trial->seen.guard_broken && !trial->seen.input_changed; n++) {
        const int64_t hidden = fixture_poison(trial->fixture, poisons[n], trial->threads);
        const bool hides = hidden > 0 || trial_lays_out(trial);
        if (n > 0 && !affordable(trial, 1) && !(n == 1 && hides)) break;
        if (!phase(trial, poisons[n], n == 0 ? launch_first : launch_poisoned)) return false;
        if (!trial->suspected) continue;
        fixture_poison(trial->fixture, poisons[0], trial->threads);
        if (!phase(trial, poisons[0], launch_to_clear)) return false;
        if (trial->seen.poison_leaked) trial_name_leak(trial, poisons[n]);
        return true;
    }
    return true;
}
